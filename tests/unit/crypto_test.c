/* Published test vectors, and the refusals that callers rely on. */
#include "base/text.h"
#include "crypto/crypto.h"

#include <openssl/crypto.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* Bytes from hex, in one of a few buffers that are used in turn. */
static struct bytes hex(const char *text)
{
	static uint8_t room[8][256];
	static unsigned turn;
	uint8_t *p = room[turn++ % COUNT(room)];
	size_t n = strlen(text) / 2;
	assert_true(n <= sizeof room[0] && hex_decode(bytes_str(text), p, n));
	return bytes_of(p, n);
}

static void assert_hex(const void *got, const char *want)
{
	char text[513];
	assert_string_equal(hex_encode(bytes_of(got, strlen(want) / 2), text), want);
}

/* --- small things ----------------------------------------------------------------------------- */

static void equality_needs_every_byte(void **state)
{
	(void)state;
	assert_true(crypto_equal(BYTES_NONE, BYTES_NONE));
	assert_true(crypto_equal(BYTES_LIT("abc"), BYTES_LIT("abc")));
	assert_false(crypto_equal(BYTES_LIT("abc"), BYTES_LIT("abd")));
	assert_false(crypto_equal(BYTES_LIT("abc"), BYTES_LIT("abcd")));
	assert_false(crypto_equal(BYTES_LIT("abc"), BYTES_NONE));
}

static void random_bytes_differ(void **state)
{
	(void)state;
	uint8_t a[32] = { 0 }, b[32] = { 0 }, zero[32] = { 0 };
	assert_true(crypto_random(a, sizeof a));
	assert_true(crypto_random(b, sizeof b));
	assert_memory_not_equal(a, b, sizeof a);
	assert_memory_not_equal(a, zero, sizeof a);
	crypto_wipe(a, sizeof a);
	assert_memory_equal(a, zero, sizeof a);
}

/* FIPS 180-4, "abc". */
static const struct { enum hash_kind kind; const char *want; } digests[] = {
	{ HASH_SHA1, "a9993e364706816aba3e25717850c26c9cd0d89d" },
	{ HASH_SHA256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ HASH_SHA384, "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7" },
	{ HASH_SHA512, "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
	               "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f" },
};

static void digests_are_known(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(digests); i++) {
		uint8_t out[SHA512_SIZE];
		assert_true(crypto_hash(digests[i].kind, BYTES_LIT("abc"), out));
		assert_hex(out, digests[i].want);
	}
	uint8_t empty[SHA256_SIZE];
	assert_true(crypto_hash(HASH_SHA256, BYTES_NONE, empty));
	assert_hex(empty, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void running_digest_goes_on_after_a_look(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(digests); i++) {
		uint8_t out[SHA512_SIZE], of_a[SHA512_SIZE];
		struct hash *h = hash_new(digests[i].kind);
		assert_non_null(h);
		hash_update(h, BYTES_LIT("a"));
		assert_true(hash_peek(h, out));
		assert_true(crypto_hash(digests[i].kind, BYTES_LIT("a"), of_a));
		assert_memory_equal(out, of_a, strlen(digests[i].want) / 2);
		hash_update(h, BYTES_NONE);
		hash_update(h, BYTES_LIT("bc"));
		for (int twice = 0; twice < 2; twice++) {
			assert_true(hash_peek(h, out));
			assert_hex(out, digests[i].want);
		}
		hash_free(h);
	}
	hash_free(NULL);
}

/* --- derivation and wrapping --------------------------------------------------------------------- */

/* RFC 5869, A.1 to A.3. */
static void hkdf_is_rfc_5869(void **state)
{
	(void)state;
	static const struct { const char *ikm, *salt, *info, *want; } rows[] = {
		{ "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9",
		  "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865" },
		{ "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f"
		  "303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
		  "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f"
		  "909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
		  "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
		  "e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
		  "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
		  "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87" },
		{ "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
		  "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8" },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t out[128];
		size_t n = strlen(rows[i].want) / 2;
		assert_true(crypto_hkdf_sha256(hex(rows[i].ikm), hex(rows[i].salt), hex(rows[i].info), out, n));
		assert_hex(out, rows[i].want);
	}
}

/* RFC 3394, 4.1. */
static void key_wrap_is_rfc_3394(void **state)
{
	(void)state;
	struct bytes kek = hex("000102030405060708090a0b0c0d0e0f"), key = hex("00112233445566778899aabbccddeeff");
	uint8_t wrapped[24], back[16];
	assert_true(crypto_aes128_wrap(kek.p, key, wrapped));
	assert_hex(wrapped, "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5");
	assert_true(crypto_aes128_unwrap(kek.p, BYTES_ARRAY(wrapped), back));
	assert_memory_equal(back, key.p, 16);
	for (size_t bit = 0; bit < 8 * sizeof wrapped; bit++) {
		uint8_t untouched[16] = "fifteen letters";
		memcpy(back, untouched, 16);
		wrapped[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(crypto_aes128_unwrap(kek.p, BYTES_ARRAY(wrapped), back));
		assert_memory_equal(back, untouched, 16);
		wrapped[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static void key_wrap_takes_whole_blocks_only(void **state)
{
	(void)state;
	uint8_t kek[16] = { 1 }, in[320] = { 2 }, out[320], back[320];
	for (size_t n = 0; n <= 300; n++) {
		bool fits = n >= 16 && n % 8 == 0 && n <= 256;
		assert_int_equal(crypto_aes128_wrap(kek, bytes_of(in, n), out), fits);
		if (fits && n + 8 <= 256) {
			assert_true(crypto_aes128_unwrap(kek, bytes_of(out, n + 8), back));
			assert_memory_equal(back, in, n);
		}
		if (n < 24 || n % 8 != 0)
			assert_false(crypto_aes128_unwrap(kek, bytes_of(in, n), out));
	}
}

/* --- AEAD -------------------------------------------------------------------------------------------- */

/* GCM: the specification's test cases 1, 4, 13 and 16. OCB, which is published with shorter nonces only
 * elsewhere: the message of RFC 9580, A.8, and its final tag. */
static const struct { enum aead_kind kind; const char *key, *nonce, *aad, *plain, *cipher, *tag; } seals[] = {
	{ AEAD_AES128_GCM, "00000000000000000000000000000000", "000000000000000000000000", "", "", "",
	  "58e2fccefa7e3061367f1d57a4e7455a" },
	{ AEAD_AES128_GCM, "feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
	  "feedfacedeadbeeffeedfacedeadbeefabaddad2",
	  "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
	  "b16aedf5aa0de657ba637b39",
	  "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa05"
	  "1ba30b396a0aac973d58e091", "5bc94fbc3221a5db94fae95ae7121a47" },
	{ AEAD_AES256_GCM, "0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000",
	  "", "", "", "530f8afbc74536b9a963b4f1c4cb738b" },
	{ AEAD_AES256_GCM, "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
	  "feedfacedeadbeeffeedfacedeadbeefabaddad2",
	  "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
	  "b16aedf5aa0de657ba637b39",
	  "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
	  "c5f61e6393ba7a0abcc9f662", "76fc6ece0f4e1768cddf8853bb2d551b" },
	{ AEAD_AES128_OCB, "4512f7149d863341527c6567d5bffc42", "5faf3250212ff90000000000000000", "d202070206",
	  "cb1362000000000048656c6c6f2c20776f726c6421d50ec5a293072991628147d72c8f86b7",
	  "1ba9ebd2c0ec95bf569d25c999ee4a3de17058f40dfa8b4c682be3fbbbd7b27eb0f59bb500",
	  "5f80c7c6f40388c30ad406ab0513dcd6" },
	{ AEAD_AES128_OCB, "4512f7149d863341527c6567d5bffc42", "5faf3250212ff90000000000000001",
	  "d2020702060000000000000025", "", "", "f9fd737656286e1177d00f888adb31c4" },
};

/* The first `cut` bytes by aead_update, the rest at the end. */
static bool open_cut(struct aead *a, struct bytes nonce, struct bytes aad, struct bytes cipher, struct bytes tag,
                     size_t cut, uint8_t *out)
{
	return aead_start(a, nonce.p, aad) && aead_update(a, bytes_of(cipher.p, cut), out) &&
	       aead_last_decrypt(a, bytes_of(cipher.p + cut, cipher.n - cut), out + cut, tag.p);
}

static void aead_vectors_seal_and_open_in_any_pieces(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(seals); i++) {
		struct bytes key = hex(seals[i].key), nonce = hex(seals[i].nonce), aad = hex(seals[i].aad);
		struct bytes plain = hex(seals[i].plain), cipher = hex(seals[i].cipher), tag = hex(seals[i].tag);
		struct aead *seal = aead_new(seals[i].kind, true, key.p), *open = aead_new(seals[i].kind, false, key.p);
		assert_non_null(seal);
		assert_non_null(open);
		/* the same contexts again and again: nothing may be left of the message before */
		for (size_t cut = 0; cut <= plain.n; cut += 16) {
			uint8_t *out = malloc(plain.n + 1), got_tag[AEAD_TAG_SIZE];
			assert_true(aead_start(seal, nonce.p, aad));
			assert_true(aead_update(seal, bytes_of(plain.p, cut), out));
			assert_true(aead_last_encrypt(seal, bytes_of(plain.p + cut, plain.n - cut), out + cut, got_tag));
			assert_memory_equal(out, cipher.p, cipher.n);
			assert_memory_equal(got_tag, tag.p, AEAD_TAG_SIZE);
			assert_true(open_cut(open, nonce, aad, cipher, tag, cut, out));
			assert_memory_equal(out, plain.p, plain.n);
			free(out);
		}
		aead_free(seal);
		aead_free(open);
	}
	aead_free(NULL);
}

static void aead_works_in_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(seals); i++) {
		struct bytes cipher = hex(seals[i].cipher), key = hex(seals[i].key);
		uint8_t buf[128];
		struct aead *open = aead_new(seals[i].kind, false, key.p);
		memcpy(buf, cipher.p, cipher.n);
		assert_true(open_cut(open, hex(seals[i].nonce), hex(seals[i].aad), bytes_of(buf, cipher.n),
		                     hex(seals[i].tag), cipher.n - cipher.n % 16, buf));
		assert_hex(buf, seals[i].plain);
		aead_free(open);
	}
}

static void aead_refuses_every_change(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(seals); i++) {
		uint8_t key[32], parts[4][128], out[128];
		const char *const texts[4] = { seals[i].nonce, seals[i].aad, seals[i].cipher, seals[i].tag };
		struct bytes part[4];
		memcpy(key, hex(seals[i].key).p, strlen(seals[i].key) / 2);
		for (size_t p = 0; p < 4; p++) {
			part[p] = bytes_of(parts[p], strlen(texts[p]) / 2);
			memcpy(parts[p], hex(texts[p]).p, part[p].n);
		}
		struct aead *open = aead_new(seals[i].kind, false, key);
		for (size_t p = 0; p < 4; p++)
			for (size_t bit = 0; bit < 8 * part[p].n; bit++) {
				parts[p][bit / 8] ^= (uint8_t)(1u << bit % 8);
				assert_false(open_cut(open, part[0], part[1], part[2], part[3], 0, out));
				parts[p][bit / 8] ^= (uint8_t)(1u << bit % 8);
			}
		assert_true(open_cut(open, part[0], part[1], part[2], part[3], 0, out));
		aead_free(open);
	}
}

static void aead_updates_in_whole_blocks_only(void **state)
{
	(void)state;
	uint8_t key[32] = { 0 }, nonce[15] = { 0 }, buf[64] = { 0 };
	for (enum aead_kind kind = AEAD_AES128_GCM; kind <= AEAD_AES256_OCB; kind++) {
		struct aead *a = aead_new(kind, true, key);
		assert_true(aead_start(a, nonce, BYTES_NONE));
		for (size_t n = 0; n <= sizeof buf; n++)
			assert_int_equal(aead_update(a, bytes_of(buf, n), buf), n % 16 == 0);
		aead_free(a);
	}
}

/* --- Curve25519 ------------------------------------------------------------------------------------- */

/* RFC 8032, 7.1, tests 1 and 3. */
static void ed25519_is_rfc_8032(void **state)
{
	(void)state;
	static const struct { const char *secret, *public, *message, *signature; } rows[] = {
		{ "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
		  "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
		  "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
		  "d25bf5f0595bbe24655141438e7a100b" },
		{ "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
		  "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
		  "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
		  "4a7c15e9716ed28dc027beceea1ec40a" },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct bytes message = hex(rows[i].message);
		uint8_t public[32], sig[ED25519_SIGNATURE_SIZE];
		struct key25519 *k = ed25519_from_raw(hex(rows[i].secret).p);
		assert_non_null(k);
		assert_true(key25519_public(k, public));
		assert_hex(public, rows[i].public);
		assert_true(ed25519_sign(k, message, sig));
		assert_hex(sig, rows[i].signature);
		assert_true(ed25519_verify(public, message, sig));
		assert_false(ed25519_verify(public, BYTES_LIT("other"), sig));
		for (size_t bit = 0; bit < 8 * sizeof sig; bit++) {
			sig[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_false(ed25519_verify(public, message, sig));
			sig[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		public[0] ^= 1;
		assert_false(ed25519_verify(public, message, sig));
		key25519_free(k);
	}
}

/* RFC 7748, 5.2 and 6.1. */
static void x25519_is_rfc_7748(void **state)
{
	(void)state;
	static const struct { const char *secret, *peer, *shared; } rows[] = {
		{ "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
		  "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
		  "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552" },
		{ "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
		  "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
		  "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742" },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t shared[32], public[32];
		struct key25519 *k = x25519_from_raw(hex(rows[i].secret).p);
		assert_true(x25519_derive(k, hex(rows[i].peer).p, shared));
		assert_hex(shared, rows[i].shared);
		if (i == 1) {
			assert_true(key25519_public(k, public));
			assert_hex(public, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
		}
		key25519_free(k);
	}
}

static void points_of_small_order_are_refused(void **state)
{
	(void)state;
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"0000000000000000000000000000000000000000000000000000000000000080",
	};
	struct key25519 *k = x25519_generate();
	for (size_t i = 0; i < COUNT(points); i++) {
		uint8_t shared[32];
		assert_false(x25519_derive(k, hex(points[i]).p, shared));
	}
	key25519_free(k);
	key25519_free(NULL);
}

static void two_parties_agree(void **state)
{
	(void)state;
	struct key25519 *a = x25519_generate(), *b = x25519_generate();
	uint8_t pub_a[32], pub_b[32], ab[32], ba[32];
	assert_true(key25519_public(a, pub_a) && key25519_public(b, pub_b));
	assert_memory_not_equal(pub_a, pub_b, 32);
	assert_true(x25519_derive(a, pub_b, ab) && x25519_derive(b, pub_a, ba));
	assert_memory_equal(ab, ba, 32);
	key25519_free(a);
	key25519_free(b);
}

/* --- P-384 ------------------------------------------------------------------------------------------ */

/* RFC 6979, A.2.6: SHA-384 of "sample". */
#define POINT "04ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64def8f0ea9055866064a254515480bc13" \
              "8015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9f54ca84b3f1c9db1288b231c3ae0d4fe7344fd2533264720"
#define SIGNATURE "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c81a648152e44acf96e36dd1e80fabe46" \
                  "99ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329c145786e679e7b82c71a38628ac8"

static void p384_verifies_rfc_6979(void **state)
{
	(void)state;
	uint8_t sig[P384_SIGNATURE_SIZE], point[97];
	struct p384 *k = p384_from_point(hex(POINT));
	assert_non_null(k);
	memcpy(sig, hex(SIGNATURE).p, sizeof sig);
	assert_true(p384_verify(k, BYTES_LIT("sample"), sig));
	assert_false(p384_verify(k, BYTES_LIT("test"), sig));
	for (size_t bit = 0; bit < 8 * sizeof sig; bit += 3) {
		sig[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(p384_verify(k, BYTES_LIT("sample"), sig));
		sig[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (int half = 0; half < 2; half++) {                   /* r or s zero, or all ones */
		for (int ones = 0; ones < 2; ones++) {
			memcpy(sig, hex(SIGNATURE).p, sizeof sig);
			memset(sig + 48 * half, ones ? 0xff : 0, 48);
			assert_false(p384_verify(k, BYTES_LIT("sample"), sig));
		}
	}
	memset(sig, 0, sizeof sig);
	assert_false(p384_verify(k, BYTES_LIT("sample"), sig));
	assert_true(p384_point(k, point));
	assert_hex(point, POINT);
	p384_free(k);
	p384_free(NULL);
}

static void p384_refuses_points_off_the_curve(void **state)
{
	(void)state;
	uint8_t point[98] = { 0 };
	memcpy(point, hex(POINT).p, 97);
	assert_null(p384_from_point(bytes_of(point, 96)));
	assert_null(p384_from_point(bytes_of(point, 98)));
	assert_null(p384_from_point(bytes_of(point, 1)));
	assert_null(p384_from_point(BYTES_NONE));
	point[96] ^= 1;
	assert_null(p384_from_point(bytes_of(point, 97)));
	point[96] ^= 1;
	point[0] = 2;                                            /* compressed */
	assert_null(p384_from_point(bytes_of(point, 97)));
	assert_null(p384_from_point(bytes_of(point, 49)));
	point[0] = 6;                                            /* hybrid */
	assert_null(p384_from_point(bytes_of(point, 97)));
	memset(point, 0, sizeof point);
	assert_null(p384_from_point(bytes_of(point, 97)));
	point[0] = 4;
	assert_null(p384_from_point(bytes_of(point, 97)));
}

static void p384_keys_survive_pem(void **state)
{
	(void)state;
	uint8_t text[1024], sig[P384_SIGNATURE_SIZE], a[97], b[97];
	struct p384 *k = p384_generate();
	struct writer w = writer_of(text, sizeof text);
	assert_true(p384_to_pem(k, &w));
	struct p384 *again = p384_from_pem(writer_bytes(&w));
	assert_non_null(again);
	assert_true(p384_point(k, a) && p384_point(again, b));
	assert_memory_equal(a, b, sizeof a);
	assert_true(p384_sign(again, BYTES_LIT("message"), sig));
	struct p384 *public = p384_from_point(BYTES_ARRAY(a));
	assert_true(p384_verify(public, BYTES_LIT("message"), sig));
	assert_false(p384_verify(public, BYTES_LIT("massage"), sig));
	assert_false(p384_sign(public, BYTES_LIT("message"), sig));      /* it has no secret */
	assert_null(p384_from_pem(BYTES_LIT("not a key")));
	assert_null(p384_from_pem(BYTES_NONE));
	w = writer_of(text, 100);
	assert_false(p384_to_pem(k, &w));
	p384_free(k);
	p384_free(again);
	p384_free(public);
}

/* An Ed25519 key in PEM is a key, but not ours. */
static void p384_refuses_keys_of_other_kinds(void **state)
{
	(void)state;
	assert_null(p384_from_pem(BYTES_LIT(
		"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJQ2sg2aJw8USFbaMjslealFt8ChnWBQPukOBI89E3rU\n"
		"-----END PRIVATE KEY-----\n")));
	assert_null(p384_from_pem(BYTES_LIT(                     /* P-256 */
		"-----BEGIN PRIVATE KEY-----\n"
		"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg3diKSsWoR/2wNClb\n"
		"nCBMqBirreyio1eqASQMKsQrx0ahRANCAARqsrmoVRI9G5ebmRQBUBFOceXr57Wf\n"
		"k67dFPAQO5eRZtqFPMeEt8m5xingebHwxpb8Dsd0SSqmHiL0SvDIkFab\n"
		"-----END PRIVATE KEY-----\n")));
}

/* --- the secure heap --------------------------------------------------------------------------------- */

/* The last test: what it does lasts as long as the process. */
static void private_keys_live_in_locked_memory(void **state)
{
	(void)state;
	struct err err;
	if (crypto_lock_secrets(&err) != 0) {
		assert_non_null(strstr(err.text, "RLIMIT_MEMLOCK"));
		skip();                                          /* a user with a low limit */
	}
	size_t before = CRYPTO_secure_used();
	struct key25519 *a = ed25519_generate(), *b = x25519_generate();
	assert_true(CRYPTO_secure_used() >= before + 2 * KEY25519_SIZE);
	key25519_free(a);
	key25519_free(b);
	assert_int_equal(CRYPTO_secure_used(), before);
}

#ifdef __x86_64__
static void nothing_stays_in_vector_registers(void **state)
{
	static const uint8_t secret[16] = "0123456789abcde";
	uint8_t low[16], high[16];
	(void)state;
	__asm__ volatile("movdqu %0, %%xmm3\n\tmovdqu %0, %%xmm14" :: "m"(secret) : "xmm3", "xmm14");
	crypto_wipe_traces();
	__asm__ volatile("movdqu %%xmm3, %0\n\tmovdqu %%xmm14, %1" : "=m"(low), "=m"(high));
	for (size_t i = 0; i < sizeof low; i++)
		assert_true(low[i] == 0xff && high[i] == 0xff);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equality_needs_every_byte),
		cmocka_unit_test(random_bytes_differ),
		cmocka_unit_test(digests_are_known),
		cmocka_unit_test(running_digest_goes_on_after_a_look),
		cmocka_unit_test(hkdf_is_rfc_5869),
		cmocka_unit_test(key_wrap_is_rfc_3394),
		cmocka_unit_test(key_wrap_takes_whole_blocks_only),
		cmocka_unit_test(aead_vectors_seal_and_open_in_any_pieces),
		cmocka_unit_test(aead_works_in_place),
		cmocka_unit_test(aead_refuses_every_change),
		cmocka_unit_test(aead_updates_in_whole_blocks_only),
		cmocka_unit_test(ed25519_is_rfc_8032),
		cmocka_unit_test(x25519_is_rfc_7748),
		cmocka_unit_test(points_of_small_order_are_refused),
		cmocka_unit_test(two_parties_agree),
		cmocka_unit_test(p384_verifies_rfc_6979),
		cmocka_unit_test(p384_refuses_points_off_the_curve),
		cmocka_unit_test(p384_keys_survive_pem),
		cmocka_unit_test(p384_refuses_keys_of_other_kinds),
#ifdef __x86_64__
		cmocka_unit_test(nothing_stays_in_vector_registers),
#endif
		cmocka_unit_test(private_keys_live_in_locked_memory),
	};
	return cmocka_run_group_tests_name("crypto", tests, NULL, NULL);
}
