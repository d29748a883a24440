/* The compression function of SHA-256 with the SHA extensions of x86 processors (Intel's instruction set reference,
 * SHA256RNDS2, SHA256MSG1, SHA256MSG2). The instructions want the eight words of the state as ABEF and CDGH. */
#include "crypto/sha256_blocks.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

bool sha256_x86_usable(void)
{
	unsigned a, b, c, d;
	bool sse = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSSE3) && (c & bit_SSE4_1);
	return sse && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

__attribute__((target("sha,sse4.1,ssse3")))
void sha256_x86_blocks(uint32_t state[8], const uint8_t *p, size_t count)
{
	const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)state), 0xb1);
	__m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)(state + 4)), 0x1b);
	__m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);

	for (; count > 0; count--, p += 64) {
		const __m128i abef_before = abef, cdgh_before = cdgh;
		__m128i w[4];                    /* the last sixteen words of the schedule */
		for (unsigned i = 0; i < 16; i++) {      /* four rounds each */
			__m128i *now = &w[i % 4];
			if (i < 4) {
				*now = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)), big_endian);
			} else {
				__m128i before = w[(i + 3) % 4], seven = _mm_alignr_epi8(before, w[(i + 2) % 4], 4);
				*now = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(*now, w[(i + 1) % 4]), seven), before);
			}
			__m128i k = _mm_loadu_si128((const __m128i *)(const void *)(sha256_round_constants + 4 * i));
			__m128i sum = _mm_add_epi32(*now, k);
			cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
			abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
		}
		abef = _mm_add_epi32(abef, abef_before);
		cdgh = _mm_add_epi32(cdgh, cdgh_before);
	}
	__m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
	_mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}
#else
bool sha256_x86_usable(void) { return false; }
void sha256_x86_blocks(uint32_t state[8], const uint8_t *p, size_t count) { (void)state, (void)p, (void)count; }
#endif
