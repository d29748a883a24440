/* Our SHA-256 against the vectors of FIPS 180-4 and, in every length and division, against libcrypto's. */
#include "crypto/crypto.h"
#include "crypto/sha256.h"
#include "crypto/sha256_blocks.h"

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const char *hex_of(struct bytes data)
{
	static char hex[65];
	uint8_t digest[32];
	struct sha256 h;
	sha256_init(&h);
	sha256_update(&h, data);
	sha256_final(&h, digest);
	return hex_encode(BYTES_ARRAY(digest), hex);
}

static void published_vectors(void **state)
{
	(void)state;
	assert_string_equal(hex_of(BYTES_NONE), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_string_equal(hex_of(BYTES_LIT("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_string_equal(hex_of(BYTES_LIT("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
	                    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void a_million_letters(void **state)
{
	uint8_t digest[32];
	char hex[65];
	struct sha256 h;
	(void)state;
	sha256_init(&h);
	for (int i = 0; i < 100000; i++)
		sha256_update(&h, BYTES_LIT("aaaaaaaaaa"));
	sha256_final(&h, digest);
	assert_string_equal(hex_encode(BYTES_ARRAY(digest), hex), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Both ways to compress, whichever this processor would take. */
static void plain_and_x86_agree(void **state)
{
	(void)state;
	uint8_t data[64 * 9];
	if (!sha256_x86_usable())
		skip();
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * i + i / 7);
	for (size_t count = 0; count <= 9; count++) {
		uint32_t plain[8], x86[8];
		for (uint32_t i = 0; i < 8; i++)
			plain[i] = x86[i] = 0x9e3779b9u * (i + 1);
		sha256_plain_blocks(plain, data, count);
		sha256_x86_blocks(x86, data, count);
		assert_memory_equal(plain, x86, sizeof plain);
	}
}

static void every_length_in_two_pieces(void **state)
{
	uint8_t data[300], ours[32], theirs[32];
	(void)state;
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 7 + 3);
	for (size_t n = 0; n <= sizeof data; n++)
		for (size_t first = 0; first <= n; first += n < 140 ? 1 : 13) {
			struct sha256 h;
			sha256_init(&h);
			sha256_update(&h, bytes_of(data, first));
			sha256_update(&h, bytes_of(data + first, n - first));
			sha256_final(&h, ours);
			assert_true(crypto_hash(HASH_SHA256, bytes_of(data, n), theirs));
			assert_memory_equal(ours, theirs, 32);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_vectors), cmocka_unit_test(a_million_letters), cmocka_unit_test(plain_and_x86_agree), cmocka_unit_test(every_length_in_two_pieces),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
