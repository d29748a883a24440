/* Encryption, read back by our own decryption (the kept vectors and the interop tests tie that to others). */
#include "openpgp_fixture.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static struct pgp_key key;

static int set_up(void **state) { (void)state; load_test_key(&key); return 0; }
static int tear_down(void **state) { (void)state; pgp_key_free(&key); return 0; }

static const struct { uint8_t cipher, mode; } suites[] = {
	{ PGP_CIPHER_AES256, PGP_AEAD_GCM }, { PGP_CIPHER_AES256, PGP_AEAD_OCB },
	{ PGP_CIPHER_AES128, PGP_AEAD_GCM }, { PGP_CIPHER_AES128, PGP_AEAD_OCB },
};

static void assert_round_trip(struct pgp_encrypt_options o, struct bytes data)
{
	CLEANUP(buffer_free) struct buffer m = encrypt(&key, o, BYTES_LIT("x"), data), out;
	assert_error(decrypt(&key, buffer_bytes(&m), 0, &out), PGP_OK);
	assert_true(bytes_equal(buffer_bytes(&out), data));
}

static void every_suite_and_chunk_size_round_trips(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer data = plaintext(300000);
	for (size_t s = 0; s < COUNT(suites); s++)
		for (uint8_t octet = 0; octet <= PGP_CHUNK_OCTET_MAX; octet++) {
			size_t size = octet < 4 ? 5000 : data.n;         /* small chunks make many */
			for (uint8_t part_bits = 0; part_bits <= 12; part_bits = (uint8_t)(part_bits + 12)) {
				struct pgp_encrypt_options o = { .cipher = suites[s].cipher, .mode = suites[s].mode,
				                                 .chunk_octet = octet, .part_bits = part_bits };
				assert_round_trip(o, bytes_of(data.p, size));
			}
		}
}

/* Every length around the ends of blocks, chunks, length forms and parts. */
static void every_small_length_round_trips(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer data = plaintext(8500);
	for (size_t n = 0; n <= 1100; n++)
		for (uint8_t part_bits = 0; part_bits <= 9; part_bits = (uint8_t)(part_bits + 9)) {
			struct pgp_encrypt_options o = PGP_ENCRYPT_DEFAULTS;
			o.chunk_octet = n % 2;
			o.part_bits = part_bits;
			assert_round_trip(o, bytes_of(data.p, n));
		}
	for (size_t n = 8300; n <= data.n; n++) {
		struct pgp_encrypt_options o = PGP_ENCRYPT_DEFAULTS;
		assert_round_trip(o, bytes_of(data.p, n));
	}
}

static void every_part_size_round_trips(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer data = plaintext(200000);
	for (uint8_t bits = PGP_PART_BITS_MIN; bits <= PGP_PART_BITS_MAX; bits++)
		for (size_t off = 0; off < 20; off++) {
			struct pgp_encrypt_options o = PGP_ENCRYPT_DEFAULTS;
			o.part_bits = bits;
			assert_round_trip(o, bytes_of(data.p, ((size_t)2 << bits) - off));
		}
}

static void feeding_in_pieces_gives_the_same_layout(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer data = plaintext(70000);
	struct pgp_recipient to = recipient_of(&key);
	struct pgp_encrypt *e = malloc(sizeof *e);
	static const size_t pieces[] = { 1, 13, 64, 4096, 32768, 70000 };
	size_t size = 0;
	for (size_t p = 0; p < COUNT(pieces); p++) {
		struct pgp_encrypt_options o = { PGP_CIPHER_AES256, PGP_AEAD_OCB, 6, 0, data.n, BYTES_LIT("f") };
		CLEANUP(buffer_free) struct buffer m = { 0 }, out;
		assert_error(pgp_encrypt_init(e, &to, &o, into_buffer, &m), PGP_OK);
		for (size_t at = 0; at < data.n; at += pieces[p]) {
			size_t n = data.n - at < pieces[p] ? data.n - at : pieces[p];
			assert_error(pgp_encrypt_feed(e, bytes_of(data.p + at, n)), PGP_OK);
		}
		assert_error(pgp_encrypt_finish(e), PGP_OK);
		pgp_encrypt_free(e);
		assert_error(decrypt(&key, buffer_bytes(&m), 0, &out), PGP_OK);
		assert_true(bytes_equal(buffer_bytes(&out), buffer_bytes(&data)));
		if (size == 0)
			size = m.n;
		assert_int_equal(m.n, size);
	}
	free(e);
}

static void same_data_never_encrypts_to_the_same(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer a = encrypt(&key, (struct pgp_encrypt_options)PGP_ENCRYPT_DEFAULTS, BYTES_NONE, BYTES_LIT("data"));
	CLEANUP(buffer_free) struct buffer b = encrypt(&key, (struct pgp_encrypt_options)PGP_ENCRYPT_DEFAULTS, BYTES_NONE, BYTES_LIT("data"));
	assert_int_equal(a.n, b.n);
	assert_memory_equal(a.p, b.p, 24);                       /* recipient */
	assert_memory_not_equal(a.p + 26, b.p + 26, 32);         /* ephemeral key */
	assert_memory_not_equal(a.p + 105, b.p + 105, 32);       /* salt */
	assert_memory_not_equal(a.p + 137, b.p + 137, 16);       /* data */
}

static void file_name_arrives(void **state)
{
	(void)state;
	uint8_t name[PGP_NAME_MAX];
	for (size_t i = 0; i < sizeof name; i++)
		name[i] = (uint8_t)(i + 1);
	struct pgp_decrypt *d = malloc(sizeof *d);
	const struct pgp_key *keys[] = { &key };
	for (size_t n = 0; n <= sizeof name; n++) {
		CLEANUP(buffer_free) struct buffer m = encrypt(&key, (struct pgp_encrypt_options)PGP_ENCRYPT_DEFAULTS,
		                                               bytes_of(name, n), BYTES_LIT("data")), out = { 0 };
		pgp_decrypt_init(d, keys, 1, 4, into_buffer, &out);
		assert_error(pgp_decrypt_feed(d, buffer_bytes(&m)), PGP_OK);
		assert_error(pgp_decrypt_finish(d), PGP_OK);
		assert_true(bytes_equal(pgp_decrypt_name(d), bytes_of(name, n)));
		pgp_decrypt_free(d);
	}
	free(d);
}

static enum pgp_error init_with(struct pgp_encrypt_options o, const struct pgp_recipient *to)
{
	struct pgp_encrypt *e = malloc(sizeof *e);
	CLEANUP(buffer_free) struct buffer out = { 0 };
	enum pgp_error r = pgp_encrypt_init(e, to, &o, into_buffer, &out);
	if (r != PGP_OK) {                                       /* sticky */
		assert_error(pgp_encrypt_feed(e, BYTES_LIT("x")), r);
		assert_error(pgp_encrypt_finish(e), r);
		assert_int_equal(out.n, 0);
	}
	pgp_encrypt_free(e);
	free(e);
	return r;
}

static void impossible_options_are_refused(void **state)
{
	(void)state;
	uint8_t name[256] = { 0 };
	const struct pgp_encrypt_options good = PGP_ENCRYPT_DEFAULTS;
	struct pgp_recipient to = recipient_of(&key);
	struct pgp_encrypt_options o = good;
	assert_error(init_with(o, &to), PGP_OK);
	o.name = BYTES_ARRAY(name);
	assert_error(init_with(o, &to), PGP_BAD_LITERAL);
	o = good, o.cipher = 8;
	assert_error(init_with(o, &to), PGP_SEIPD_CIPHER);
	o = good, o.mode = 1;
	assert_error(init_with(o, &to), PGP_SEIPD_MODE);
	o = good, o.chunk_octet = 17;
	assert_error(init_with(o, &to), PGP_SEIPD_CHUNK_SIZE);
	o = good, o.chunk_octet = 255;
	assert_error(init_with(o, &to), PGP_SEIPD_CHUNK_SIZE);
	o = good, o.part_bits = 8;
	assert_error(init_with(o, &to), PGP_BAD_LENGTH);
	o = good, o.part_bits = 17;
	assert_error(init_with(o, &to), PGP_BAD_LENGTH);
	o = good, o.length = UINT32_MAX;
	assert_error(init_with(o, &to), PGP_TOO_LARGE);
	o = good, o.length = UINT64_MAX;
	assert_error(init_with(o, &to), PGP_TOO_LARGE);
	o.length = UINT32_MAX - 6 - 100;                         /* fits the literal, not the encrypted data */
	assert_error(init_with(o, &to), PGP_TOO_LARGE);
	o.length = UINT32_MAX, o.part_bits = 16;
	assert_error(init_with(o, &to), PGP_OK);
}

static void recipient_of_small_order_is_refused(void **state)
{
	(void)state;
	struct pgp_recipient to = recipient_of(&key);
	memset(to.subkey_public, 0, sizeof to.subkey_public);
	assert_error(init_with((struct pgp_encrypt_options)PGP_ENCRYPT_DEFAULTS, &to), PGP_BAD_POINT);
}

static void promised_length_is_kept(void **state)
{
	(void)state;
	struct pgp_recipient to = recipient_of(&key);
	struct pgp_encrypt *e = malloc(sizeof *e);
	struct pgp_encrypt_options o = PGP_ENCRYPT_DEFAULTS;
	o.length = 4;
	for (int more = 0; more < 2; more++) {
		CLEANUP(buffer_free) struct buffer out = { 0 };
		assert_error(pgp_encrypt_init(e, &to, &o, into_buffer, &out), PGP_OK);
		if (more) {
			assert_error(pgp_encrypt_feed(e, BYTES_LIT("abcd")), PGP_OK);
			assert_error(pgp_encrypt_feed(e, BYTES_LIT("e")), PGP_CONTENT_LENGTH);
		} else {
			assert_error(pgp_encrypt_feed(e, BYTES_LIT("abc")), PGP_OK);
		}
		assert_error(pgp_encrypt_finish(e), PGP_CONTENT_LENGTH);
		pgp_encrypt_free(e);
	}
	free(e);
}

struct failing_sink { size_t left; };
static int take_some(void *arg, struct bytes piece)
{
	struct failing_sink *s = arg;
	if (piece.n > s->left)
		return -1;
	s->left -= piece.n;
	return 0;
}

/* Wherever the sink fails, init, feed or finish says so. */
static void failing_sink_is_told(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer data = plaintext(2000), whole = { 0 };
	struct pgp_recipient to = recipient_of(&key);
	struct pgp_encrypt *e = malloc(sizeof *e);
	for (uint8_t part_bits = 0; part_bits <= 9; part_bits = (uint8_t)(part_bits + 9)) {
		struct pgp_encrypt_options o = { PGP_CIPHER_AES256, PGP_AEAD_GCM, 2, part_bits, data.n, BYTES_NONE };
		whole = encrypt(&key, o, BYTES_NONE, buffer_bytes(&data));
		for (size_t n = 0; n < whole.n; n += 7) {
			struct failing_sink s = { n };
			enum pgp_error r = pgp_encrypt_init(e, &to, &o, take_some, &s);
			if (r == PGP_OK)
				r = pgp_encrypt_feed(e, buffer_bytes(&data));
			if (r == PGP_OK)
				r = pgp_encrypt_finish(e);
			assert_error(r, PGP_SINK);
			pgp_encrypt_free(e);
		}
		buffer_free(&whole);
	}
	free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_suite_and_chunk_size_round_trips),
		cmocka_unit_test(every_small_length_round_trips),
		cmocka_unit_test(every_part_size_round_trips),
		cmocka_unit_test(feeding_in_pieces_gives_the_same_layout),
		cmocka_unit_test(same_data_never_encrypts_to_the_same),
		cmocka_unit_test(file_name_arrives),
		cmocka_unit_test(impossible_options_are_refused),
		cmocka_unit_test(recipient_of_small_order_is_refused),
		cmocka_unit_test(promised_length_is_kept),
		cmocka_unit_test(failing_sink_is_told),
	};
	return cmocka_run_group_tests_name("openpgp_encrypt", tests, set_up, tear_down);
}
