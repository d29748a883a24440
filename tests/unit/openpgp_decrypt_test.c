/* Decryption against other implementations' messages, against attacks, and against itself. */
#include "openpgp_fixture.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static struct pgp_key key;

static int set_up(void **state) { (void)state; load_test_key(&key); return 0; }
static int tear_down(void **state) { (void)state; pgp_key_free(&key); return 0; }

static const struct pgp_encrypt_options suites[] = {
	{ .cipher = PGP_CIPHER_AES256, .mode = PGP_AEAD_GCM }, { .cipher = PGP_CIPHER_AES256, .mode = PGP_AEAD_OCB },
	{ .cipher = PGP_CIPHER_AES128, .mode = PGP_AEAD_GCM }, { .cipher = PGP_CIPHER_AES128, .mode = PGP_AEAD_OCB },
};

static void assert_decrypts(struct bytes message, size_t piece, struct bytes want)
{
	CLEANUP(buffer_free) struct buffer out;
	assert_error(decrypt(&key, message, piece, &out), PGP_OK);
	assert_true(bytes_equal(buffer_bytes(&out), want));
}

/* --- files -------------------------------------------------------------------------------------- */

static void decrypts_messages_of_other_implementations(void **state)
{
	(void)state;
	char name[128], path[256];
	size_t size, count = 0;
	CLEANUP(close_file) FILE *list = fopen(VECTORS "messages.txt", "r");
	assert_non_null(list);
	for (; fscanf(list, "%127s %zu", name, &size) == 2; count++) {
		snprintf(path, sizeof path, VECTORS "%s", name);
		CLEANUP(buffer_free) struct buffer message = read_file(path);
		CLEANUP(buffer_free) struct buffer want = plaintext(size);
		static const size_t pieces[] = { 0, 1, 2, 15, 16, 17, 47, 1000, 65536 };
		for (size_t i = 0; i < COUNT(pieces); i++)
			assert_decrypts(buffer_bytes(&message), pieces[i], buffer_bytes(&want));
	}
	assert_true(count >= 30);
}

/* Each attack gives its own code, whole and byte by byte, and a message that is good is still read. */
static void judges_attack_vectors(void **state)
{
	(void)state;
	enum { LIMIT = 65536 };
	char line[512], name[128], code[64], path[256];
	size_t refused = 0, accepted = 0;
	CLEANUP(close_file) FILE *list = fopen(VECTORS "attack/manifest.txt", "r");
	assert_non_null(list);
	while (fgets(line, sizeof line, list) != NULL) {
		assert_int_equal(sscanf(line, "%127s %63s", name, code), 2);
		if (strstr(name, ".pgp") == NULL)
			continue;
		snprintf(path, sizeof path, VECTORS "attack/%s", name);
		CLEANUP(buffer_free) struct buffer message = read_file(path);
		for (size_t piece = 0; piece < 3; piece++) {
			CLEANUP(buffer_free) struct buffer out;
			enum pgp_error e = decrypt_limited(&key, buffer_bytes(&message), piece, LIMIT, &out);
			if (strcmp(pgp_error_name(e), code) != 0)
				fail_msg("%s: %s instead of %s", name, pgp_error_name(e), code);
			if (e == PGP_OK) {
				CLEANUP(buffer_free) struct buffer want = plaintext(out.n);
				assert_true(bytes_equal(buffer_bytes(&out), buffer_bytes(&want)));
			}
		}
		if (strcmp(code, "ok") == 0)
			accepted++;
		else
			refused++;
	}
	assert_true(accepted >= 20);
	assert_true(refused >= 100);
}

/* Every code that a message can have is in the manifest. */
static void attack_vectors_cover_every_code(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer manifest = read_file(VECTORS "attack/manifest.txt");
	uint8_t end = 0;
	into_buffer(&manifest, bytes_of(&end, 1));
	for (int e = PGP_OK; e < PGP_SINK; e++) {
		char code[80];
		snprintf(code, sizeof code, " %s ", pgp_error_name((enum pgp_error)e));
		if (strstr((char *)manifest.p, code) == NULL)
			fail_msg("no vector for%s", code);
	}
}

/* --- pieces, truncation, bit flips -------------------------------------------------------------- */

/* A small message with several chunks and parts, so that all boundaries are near. */
static struct buffer small_message(struct bytes data, bool in_parts)
{
	struct pgp_encrypt_options o = PGP_ENCRYPT_DEFAULTS;
	o.chunk_octet = 1;
	o.part_bits = in_parts ? 9 : 0;
	return encrypt(&key, o, BYTES_LIT("name"), data);
}

static void any_split_in_two_gives_the_same(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer data = plaintext(1100);
	for (int parts = 0; parts < 2; parts++) {
		CLEANUP(buffer_free) struct buffer m = small_message(buffer_bytes(&data), parts);
		for (size_t at = 0; at <= m.n; at++) {
			struct pgp_decrypt *d = malloc(sizeof *d);
			const struct pgp_key *keys[] = { &key };
			CLEANUP(buffer_free) struct buffer out = { 0 };
			pgp_decrypt_init(d, keys, 1, 4096, into_buffer, &out);
			assert_error(pgp_decrypt_feed(d, bytes_of(m.p, at)), PGP_OK);
			assert_error(pgp_decrypt_feed(d, bytes_of(m.p + at, m.n - at)), PGP_OK);
			assert_error(pgp_decrypt_finish(d), PGP_OK);
			assert_true(bytes_equal(buffer_bytes(&out), buffer_bytes(&data)));
			assert_true(bytes_equal(pgp_decrypt_name(d), BYTES_LIT("name")));
			pgp_decrypt_free(d);
			free(d);
		}
	}
}

static void every_truncation_is_refused(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer data = plaintext(1100);
	for (int parts = 0; parts < 2; parts++) {
		CLEANUP(buffer_free) struct buffer m = small_message(buffer_bytes(&data), parts);
		for (size_t n = 0; n < m.n; n++) {
			CLEANUP(buffer_free) struct buffer out, cut = buffer_copy(bytes_of(m.p, n));
			assert_error(decrypt(&key, buffer_bytes(&cut), 0, &out), PGP_TRUNCATED);
		}
	}
}

/* The same, but the packet's length is put right: as if the sender had stopped there. */
static void every_shortened_packet_is_refused(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer data = plaintext(600);
	for (size_t s = 0; s < COUNT(suites); s++) {
		struct pgp_encrypt_options o = suites[s];
		CLEANUP(buffer_free) struct buffer m = encrypt(&key, o, BYTES_NONE, buffer_bytes(&data));
		size_t at = 2u + m.p[1], start = at + 3;         /* after the length, which has two octets */
		assert_int_equal(m.p[at], 0xc0 | PGP_TAG_SEIPD);
		for (size_t n = 0; n < m.n - start; n++) {
			CLEANUP(buffer_free) struct buffer out, cut = buffer_copy(bytes_of(m.p, at));
			uint8_t room[PGP_HEADER_MAX];
			struct writer head = writer_of(room, sizeof room);
			pgp_put_header(&head, PGP_TAG_SEIPD, (uint32_t)n);
			into_buffer(&cut, writer_bytes(&head));
			into_buffer(&cut, bytes_of(m.p + start, n));
			enum pgp_error e = decrypt(&key, buffer_bytes(&cut), 0, &out);
			if (e != PGP_TRUNCATED && e != PGP_EMPTY_CHUNK && e != PGP_BAD_TAG && e != PGP_BAD_FINAL_TAG)
				fail_msg("%zu bytes: %s", n, pgp_error_name(e));
		}
	}
}

static void every_bit_flip_is_refused(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer data = plaintext(700);
	for (int parts = 0; parts < 2; parts++) {
		CLEANUP(buffer_free) struct buffer m = small_message(buffer_bytes(&data), parts);
		for (size_t bit = 0; bit < 8 * m.n; bit++) {
			m.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
			CLEANUP(buffer_free) struct buffer out;
			if (decrypt(&key, buffer_bytes(&m), 0, &out) == PGP_OK)
				fail_msg("bit %zu of byte %zu", bit % 8, bit / 8);
			m.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		assert_decrypts(buffer_bytes(&m), 0, buffer_bytes(&data));       /* and undamaged it is read */
	}
}

static void every_appended_byte_is_refused(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer m = small_message(BYTES_LIT("data"), false), out;
	for (unsigned c = 0; c < 256; c++) {
		uint8_t octet = (uint8_t)c;
		into_buffer(&m, bytes_of(&octet, 1));
		assert_error(decrypt(&key, buffer_bytes(&m), 0, &out), PGP_TRAILING);
		buffer_free(&out);
		m.n--;
	}
}

/* --- what is told when ----------------------------------------------------------------------------- */

/* Plaintext that its sender made badly, in the first of many chunks. */
static struct buffer badly_made(void)
{
	uint8_t packets[300] = { 0xc0 | PGP_TAG_LITERAL, 20, 'b' };      /* zeros follow its 20 bytes */
	struct pgp_encrypt_options o = PGP_ENCRYPT_DEFAULTS;
	o.chunk_octet = 0;
	return seal(&key, o, BYTES_ARRAY(packets));
}

/* The verdict on plaintext must wait until the plaintext is authentic; a changed chunk must look the
 * same whatever it decrypts to, also to the sink. */
static void content_errors_wait_for_the_tag(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer m = badly_made();
	size_t chunk = 99 + 3 + PGP_SEIPD_HEADER_SIZE;           /* where the first chunk begins */
	struct pgp_decrypt *d = malloc(sizeof *d);
	const struct pgp_key *keys[] = { &key };
	for (int tampered = 0; tampered < 2; tampered++) {
		CLEANUP(buffer_free) struct buffer got = { 0 };
		m.p[chunk + 64] ^= (uint8_t)tampered;                    /* in the tag */
		pgp_decrypt_init(d, keys, 1, 4096, into_buffer, &got);
		assert_error(pgp_decrypt_feed(d, bytes_of(m.p, chunk + 64)), PGP_OK);
		/* 16 bytes of tag and 16 held back; not one earlier */
		assert_error(pgp_decrypt_feed(d, bytes_of(m.p + chunk + 64, 31)), PGP_OK);
		assert_error(pgp_decrypt_feed(d, bytes_of(m.p + chunk + 64 + 31, 1)),
		             tampered ? PGP_BAD_TAG : PGP_NOT_OPENPGP);
		/* all but the two headers and the octet that was none, as if it were data */
		assert_int_equal(got.n, 64 - 8 - 1);
		pgp_decrypt_free(d);
	}
	free(d);
}

/* Flipping a bit of the literal's header or of a length inside never gives another code than flipping one
 * of its data. */
static void changed_structure_is_told_like_changed_data(void **state)
{
	(void)state;
	uint8_t packets[700] = { 0xc0 | PGP_TAG_LITERAL, 0xe0 | 9, 'b', 2, 'a', 'b' };
	packets[2 + 512] = 0xc0;                                 /* a two-octet length: 192 */
	struct pgp_encrypt_options o = PGP_ENCRYPT_DEFAULTS;
	CLEANUP(buffer_free) struct buffer m = seal(&key, o, bytes_of(packets, 2 + 512 + 2 + 170));
	size_t chunk = 99 + 3 + PGP_SEIPD_HEADER_SIZE;
	for (size_t at = 0; at < m.n - chunk; at++)
		for (unsigned bit = 0; bit < 8; bit++) {
			CLEANUP(buffer_free) struct buffer out;
			m.p[chunk + at] ^= (uint8_t)(1u << bit);
			assert_error(decrypt_limited(&key, buffer_bytes(&m), 0, 800, &out),
			             at < m.n - chunk - 16 ? PGP_BAD_TAG : PGP_BAD_FINAL_TAG);
			m.p[chunk + at] ^= (uint8_t)(1u << bit);
		}
}

static void unknown_key_is_told_before_the_data(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer m = small_message(BYTES_LIT("data"), false);
	m.p[10] ^= 1;                                            /* in the fingerprint */
	struct pgp_decrypt *d = malloc(sizeof *d);
	const struct pgp_key *keys[] = { &key };
	pgp_decrypt_init(d, keys, 1, 10, into_buffer, NULL);
	assert_error(pgp_decrypt_feed(d, bytes_of(m.p, 99)), PGP_OK);
	assert_error(pgp_decrypt_feed(d, bytes_of(m.p + 99, 2)), PGP_UNKNOWN_KEY);
	pgp_decrypt_free(d);
	free(d);
}

/* --- keys ---------------------------------------------------------------------------------------------- */

static void finds_the_key_among_several(void **state)
{
	(void)state;
	struct pgp_key other[2];
	for (size_t i = 0; i < 2; i++)
		assert_error(pgp_key_generate(&other[i], TEST_KEY_CREATED, 0), PGP_OK);
	const struct pgp_key *keys[] = { &other[0], &key, &other[1] };
	struct pgp_decrypt *d = malloc(sizeof *d);
	for (int i = 0; i < 3; i++) {
		struct pgp_encrypt_options o = PGP_ENCRYPT_DEFAULTS;
		CLEANUP(buffer_free) struct buffer m = encrypt(keys[i], o, BYTES_NONE, BYTES_LIT("data")), out = { 0 };
		pgp_decrypt_init(d, keys, 3, 10, into_buffer, &out);
		assert_int_equal(pgp_decrypt_matched(d), -1);
		assert_error(pgp_decrypt_feed(d, buffer_bytes(&m)), PGP_OK);
		assert_error(pgp_decrypt_finish(d), PGP_OK);
		assert_int_equal(pgp_decrypt_matched(d), i);
		assert_true(bytes_equal(buffer_bytes(&out), BYTES_LIT("data")));
		pgp_decrypt_free(d);

		pgp_decrypt_init(d, keys, 0, 10, into_buffer, &out);
		assert_error(pgp_decrypt_feed(d, buffer_bytes(&m)), PGP_UNKNOWN_KEY);
		pgp_decrypt_free(d);
	}
	free(d);
	for (size_t i = 0; i < 2; i++)
		pgp_key_free(&other[i]);
}

/* A session key for the current and one for the previous key: one too many. */
static void two_of_our_keys_are_too_many(void **state)
{
	(void)state;
	struct pgp_key other;
	assert_error(pgp_key_generate(&other, TEST_KEY_CREATED, 0), PGP_OK);
	const struct pgp_key *keys[] = { &key, &other };
	struct pgp_encrypt_options o = PGP_ENCRYPT_DEFAULTS;
	CLEANUP(buffer_free) struct buffer first = encrypt(&other, o, BYTES_NONE, BYTES_LIT("data"));
	CLEANUP(buffer_free) struct buffer second = encrypt(&key, o, BYTES_NONE, BYTES_LIT("data"));
	struct pgp_decrypt *d = malloc(sizeof *d);
	pgp_decrypt_init(d, keys, 2, 10, into_buffer, NULL);
	assert_error(pgp_decrypt_feed(d, bytes_of(first.p, 99)), PGP_OK);
	assert_error(pgp_decrypt_feed(d, bytes_of(second.p, 99)), PGP_DUPLICATE_RECIPIENT);
	pgp_decrypt_free(d);
	free(d);
	pgp_key_free(&other);
}

/* --- limits, sink, state --------------------------------------------------------------------------------- */

static void limit_is_exact(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer data = plaintext(3000);
	for (int parts = 0; parts < 2; parts++) {
		CLEANUP(buffer_free) struct buffer m = small_message(buffer_bytes(&data), parts), out;
		assert_error(decrypt_limited(&key, buffer_bytes(&m), 7, 3000, &out), PGP_OK);
		buffer_free(&out);
		assert_error(decrypt_limited(&key, buffer_bytes(&m), 7, 2999, &out), PGP_TOO_LARGE);
		buffer_free(&out);
		assert_error(decrypt_limited(&key, buffer_bytes(&m), 7, 0, &out), PGP_TOO_LARGE);
		assert_int_equal(out.n, 0);
	}
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

static void failing_sink_stops_at_once(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer data = plaintext(100000);
	CLEANUP(buffer_free) struct buffer m = encrypt(&key, (struct pgp_encrypt_options)PGP_ENCRYPT_DEFAULTS,
	                                               BYTES_NONE, buffer_bytes(&data));
	struct pgp_decrypt *d = malloc(sizeof *d);
	const struct pgp_key *keys[] = { &key };
	struct failing_sink s = { 40000 };
	pgp_decrypt_init(d, keys, 1, 1 << 20, take_some, &s);
	assert_error(pgp_decrypt_feed(d, bytes_of(m.p, 80000)), PGP_SINK);
	assert_error(pgp_decrypt_feed(d, bytes_of(m.p + 80000, m.n - 80000)), PGP_SINK);
	assert_error(pgp_decrypt_finish(d), PGP_SINK);
	pgp_decrypt_free(d);
	free(d);
}

static void state_is_bounded_and_wiped(void **state)
{
	(void)state;
	_Static_assert(sizeof(struct pgp_decrypt) <= 80 << 10, "fixed memory of a request");
	struct pgp_decrypt *d = malloc(sizeof *d);
	const struct pgp_key *keys[] = { &key };
	CLEANUP(buffer_free) struct buffer m = small_message(BYTES_LIT("secret data"), false), out = { 0 };
	memset(d, 0, sizeof *d);
	pgp_decrypt_init(d, keys, 1, 100, into_buffer, &out);
	assert_error(pgp_decrypt_feed(d, buffer_bytes(&m)), PGP_OK);
	pgp_decrypt_free(d);
	for (size_t i = 0; i < sizeof *d; i++)
		assert_int_equal(((uint8_t *)d)[i], 0);
	pgp_decrypt_free(d);                                     /* twice is harmless */
	free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decrypts_messages_of_other_implementations),
		cmocka_unit_test(judges_attack_vectors),
		cmocka_unit_test(attack_vectors_cover_every_code),
		cmocka_unit_test(any_split_in_two_gives_the_same),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(every_shortened_packet_is_refused),
		cmocka_unit_test(every_bit_flip_is_refused),
		cmocka_unit_test(every_appended_byte_is_refused),
		cmocka_unit_test(content_errors_wait_for_the_tag),
		cmocka_unit_test(changed_structure_is_told_like_changed_data),
		cmocka_unit_test(unknown_key_is_told_before_the_data),
		cmocka_unit_test(finds_the_key_among_several),
		cmocka_unit_test(two_of_our_keys_are_too_many),
		cmocka_unit_test(limit_is_exact),
		cmocka_unit_test(failing_sink_stops_at_once),
		cmocka_unit_test(state_is_bounded_and_wiped),
	};
	return cmocka_run_group_tests_name("openpgp_decrypt", tests, set_up, tear_down);
}
