#include "crypto/sha256.h"

#include "crypto/sha256_blocks.h"

const uint32_t sha256_round_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }

static void compress(uint32_t state[8], const uint8_t *block)
{
	uint32_t w[64], v[8];
	struct reader r = reader_of(bytes_of(block, 64));

	for (unsigned i = 0; i < 16; i++)
		w[i] = get_be32(&r);
	for (unsigned i = 16; i < 64; i++)
		w[i] = w[i - 16] + (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
		       (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10);
	memcpy(v, state, sizeof v);
	for (unsigned i = 0; i < 64; i++) {
		uint32_t t1 = v[7] + (rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) +
		              sha256_round_constants[i] + w[i];
		uint32_t t2 = (rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
		memmove(v + 1, v, 7 * sizeof *v);
		v[4] += t1;
		v[0] = t1 + t2;
	}
	for (unsigned i = 0; i < 8; i++)
		state[i] += v[i];
}

void sha256_plain_blocks(uint32_t state[8], const uint8_t *p, size_t count)
{
	for (; count > 0; count--, p += 64)
		compress(state, p);
}

static void blocks(struct sha256 *h, const uint8_t *p, size_t count)
{
	(h->x86 ? sha256_x86_blocks : sha256_plain_blocks)(h->state, p, count);
}

void sha256_init(struct sha256 *h)
{
	*h = (struct sha256){ .x86 = sha256_x86_usable(), .state = {
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 } };
}

void sha256_update(struct sha256 *h, struct bytes data)
{
	size_t held = h->bytes % 64;
	h->bytes += data.n;
	if (held > 0) {
		size_t n = data.n < 64 - held ? data.n : 64 - held;
		memcpy(h->block + held, data.p, n);
		data = bytes_slice(data, n, data.n - n);
		if (held + n < 64)
			return;
		blocks(h, h->block, 1);
	}
	blocks(h, data.p, data.n / 64);
	data = bytes_slice(data, data.n / 64 * 64, data.n % 64);
	if (data.n > 0)
		memcpy(h->block, data.p, data.n);
}

void sha256_final(struct sha256 *h, uint8_t ret_digest[32])
{
	uint8_t end[72] = { 0x80 };
	uint64_t bits = h->bytes * 8;
	/* up to eight bytes short of a block, then the length */
	size_t padding = (h->bytes % 64 < 56 ? 56 : 120) - h->bytes % 64;
	struct writer length = writer_of(end + padding, 8), digest = writer_of(ret_digest, 32);

	put_be64(&length, bits);
	sha256_update(h, bytes_of(end, padding + 8));
	for (unsigned i = 0; i < 8; i++)
		put_be32(&digest, h->state[i]);
}
