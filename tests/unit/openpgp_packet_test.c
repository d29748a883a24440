/* The codecs: headers, bodies, literal content, armor. */
#include "format/openpgp_armor.h"
#include "format/openpgp_content.h"
#include "openpgp_fixture.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* --- headers ------------------------------------------------------------------------------------ */

/* Splits in and writes what happened: "H11+" header of tag 11 in parts, "5" body bytes, "E" end. Body pieces
 * that follow each other are added up, so that it does not matter how the input came. */
static const char *split(struct bytes in, size_t piece, char *story, size_t cap)
{
	struct pgp_split s = { 0 };
	size_t body = 0, n = 0;
	story[0] = '\0';
	for (size_t at = 0; at < in.n; at += piece) {
		struct bytes part = bytes_slice(in, at, in.n - at < piece ? in.n - at : piece), span;
		for (;;) {
			enum pgp_split_event e = pgp_split_next(&s, &part, &span);
			if (e == SPLIT_MORE)
				break;
			if (e == SPLIT_BODY) {
				body += span.n;
				continue;
			}
			if (body > 0)
				n += (size_t)snprintf(story + n, cap - n, "%zu ", body);
			body = 0;
			if (e == SPLIT_ERROR) {
				snprintf(story + n, cap - n, "%s", pgp_error_name(s.error));
				assert_int_equal(pgp_split_next(&s, &part, &span), SPLIT_ERROR);
				return story;
			}
			if (e == SPLIT_HEADER)
				n += (size_t)snprintf(story + n, cap - n, "H%u%s ", s.tag, s.streamed ? "+" : "");
			else
				n += (size_t)snprintf(story + n, cap - n, "E ");
		}
		assert_int_equal(part.n, 0);
	}
	if (body > 0)
		n += (size_t)snprintf(story + n, cap - n, "%zu ", body);
	snprintf(story + n, cap - n, "%s", pgp_split_idle(&s) ? "." : "?");
	return story;
}

static void splits_streams_into_packets(void **state)
{
	(void)state;
	static const struct { const char *head; size_t zeros; const char *tail; size_t more; const char *story; } rows[] = {
		{ "", 0, "", 0, "." },
		{ "cb00", 0, "", 0, "H11 E ." },
		{ "cb05", 5, "", 0, "H11 5 E ." },
		{ "cb05", 4, "", 0, "H11 4 ?" },
		{ "cbbf", 191, "", 0, "H11 191 E ." },
		{ "cbc000", 192, "", 0, "H11 192 E ." },
		{ "cbc0ff", 447, "", 0, "H11 447 E ." },
		{ "cbc100", 448, "", 0, "H11 448 E ." },
		{ "cbdfff", 8383, "", 0, "H11 8383 E ." },
		{ "cbff00000003", 3, "", 0, "H11 3 E ." },
		{ "cbff000020c0", 8384, "", 0, "H11 8384 E ." },
		{ "cbffffffffff", 3, "", 0, "H11 3 ?" },
		{ "cb00d50100ca03504750", 0, "", 0, "H11 E H21 1 E H10 3 E ." },
		{ "cbe9", 512, "05", 5, "H11+ 517 E ." },
		{ "d2e9", 512, "00", 0, "H18+ 512 E ." },
		{ "c8e9", 512, "e0", 1, "H8+ 513 ?" },
		{ "c9ea", 1024, "ff00000002", 2, "H9+ 1026 E ." },
		{ "cbe9", 512, "c000", 192, "H11+ 704 E ." },
		{ "cbfe", 20, "", 0, "H11+ 20 ?" },
		{ "cbe8", 256, "", 0, "bad-length" },
		{ "cbe0", 1, "", 0, "bad-length" },
		{ "c1e9", 512, "00", 0, "bad-length" },          /* not a packet of data */
		{ "d5e9", 512, "00", 0, "bad-length" },
		{ "cb", 0, "", 0, "?" },
		{ "cbc0", 0, "", 0, "?" },
		{ "cbff0000", 0, "", 0, "?" },
		{ "ac05", 5, "", 0, "old-format" },
		{ "80", 0, "", 0, "old-format" },
		{ "bf", 0, "", 0, "old-format" },
		{ "c000", 0, "", 0, "not-openpgp" },
		{ "2d", 0, "", 0, "not-openpgp" },
		{ "7f", 0, "", 0, "not-openpgp" },
		{ "cb0000", 0, "", 0, "H11 E not-openpgp" },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		CLEANUP(buffer_free) struct buffer in = { 0 };
		uint8_t octets[16];
		static const uint8_t zeros[8400];
		assert_true(hex_decode(bytes_str(rows[i].head), octets, strlen(rows[i].head) / 2));
		into_buffer(&in, bytes_of(octets, strlen(rows[i].head) / 2));
		into_buffer(&in, bytes_of(zeros, rows[i].zeros));
		assert_true(hex_decode(bytes_str(rows[i].tail), octets, strlen(rows[i].tail) / 2));
		into_buffer(&in, bytes_of(octets, strlen(rows[i].tail) / 2));
		into_buffer(&in, bytes_of(zeros, rows[i].more));
		static const size_t pieces[] = { 1, 2, 3, 7, 512, 1 << 20 };
		for (size_t p = 0; p < COUNT(pieces); p++) {
			char story[128];
			assert_string_equal(split(buffer_bytes(&in), pieces[p], story, sizeof story), rows[i].story);
		}
	}
}

static void writes_shortest_lengths_that_are_read_back(void **state)
{
	(void)state;
	static const struct { uint32_t length; const char *hex; } rows[] = {
		{ 0, "cb00" }, { 1, "cb01" }, { 191, "cbbf" }, { 192, "cbc000" }, { 8383, "cbdfff" },
		{ 8384, "cbff000020c0" }, { 0xffffffff, "cbffffffffff" },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t room[PGP_HEADER_MAX];
		char hex[2 * PGP_HEADER_MAX + 1];
		struct writer w = writer_of(room, sizeof room);
		pgp_put_header(&w, PGP_TAG_LITERAL, rows[i].length);
		assert_string_equal(hex_encode(writer_bytes(&w), hex), rows[i].hex);
		struct pgp_split s = { 0 };
		struct bytes in = writer_bytes(&w), body;
		assert_int_equal(pgp_split_next(&s, &in, &body), SPLIT_HEADER);
		assert_int_equal(s.left, rows[i].length);
	}
}

static void reads_whole_packets(void **state)
{
	(void)state;
	struct bytes body;
	struct reader r = reader_of(BYTES_LIT("\xcd\x07TEE-Rex\xc2\x00"));
	assert_int_equal(pgp_get_packet(&r, &body), PGP_TAG_USER_ID);
	assert_true(bytes_equal(body, BYTES_LIT("TEE-Rex")));
	assert_int_equal(pgp_get_packet(&r, &body), PGP_TAG_SIGNATURE);
	assert_int_equal(body.n, 0);
	assert_true(reader_done(&r));
	static const struct { const char *p; size_t n; } bad[] = {
		{ "", 0 }, { "\xcd", 1 }, { "\xcd\x07TEE-Re", 8 }, { "\xcd\xff\xff\xff\xff\xff", 6 }, { "\xb4\x01T", 3 },
		{ "\xcd\xe9", 2 }, { "\xcb\xe9", 2 },
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		r = reader_of(bytes_of(bad[i].p, bad[i].n));
		pgp_get_packet(&r, &body);
		assert_true(r.bad);
	}
}

/* --- bodies -------------------------------------------------------------------------------------- */

static void pkesk_is_read_as_written(void **state)
{
	(void)state;
	uint8_t fingerprint[20] = { 1 }, ephemeral[32] = { 2 }, wrapped[40] = { 3 }, room[128];
	for (size_t size = 24; size <= 40; size += 16) {
		struct writer w = writer_of(room, sizeof room);
		pgp_put_pkesk(&w, fingerprint, ephemeral, bytes_of(wrapped, size));
		struct reader r = reader_of(writer_bytes(&w));
		struct bytes body, got_ephemeral, got_wrapped;
		struct pgp_pkesk p;
		assert_int_equal(pgp_get_packet(&r, &body), PGP_TAG_PKESK);
		assert_true(reader_done(&r));
		assert_int_equal(body.n, size == 40 ? 97 : 81);
		assert_error(pgp_pkesk_parse(body, &p), PGP_OK);
		assert_int_equal(p.key_version, 4);
		assert_int_equal(p.algorithm, PGP_ALGORITHM_X25519);
		assert_memory_equal(p.fingerprint.p, fingerprint, 20);
		assert_error(pgp_pkesk_x25519(p.rest, &got_ephemeral, &got_wrapped), PGP_OK);
		assert_memory_equal(got_ephemeral.p, ephemeral, 32);
		assert_true(bytes_equal(got_wrapped, bytes_of(wrapped, size)));
		for (size_t n = 0; n < body.n; n++) {
			CLEANUP(buffer_free) struct buffer cut = buffer_copy(bytes_of(body.p, n));
			if (pgp_pkesk_parse(buffer_bytes(&cut), &p) == PGP_OK)
				assert_error(pgp_pkesk_x25519(p.rest, &got_ephemeral, &got_wrapped), PGP_BAD_PKESK);
		}
	}
}

static void wrapped_keys_of_other_sizes_are_refused(void **state)
{
	(void)state;
	for (size_t size = 0; size < 256; size++) {
		uint8_t rest[32 + 1 + 255] = { 0 };
		struct bytes ephemeral, wrapped;
		rest[32] = (uint8_t)size;
		assert_error(pgp_pkesk_x25519(bytes_of(rest, 33 + size), &ephemeral, &wrapped),
		             size == 24 || size == 40 ? PGP_OK : PGP_SESSION_KEY_SIZE);
	}
}

static void signature_fields_are_read_as_written(void **state)
{
	(void)state;
	uint8_t issuer[20] = { 7 }, room[512];
	struct pgp_signature s = {
		.type = PGP_SIG_CERTIFICATION, .created = 0x01020304, .issuer = BYTES_ARRAY(issuer),
		.features = BYTES_LIT("\x08"), .suites = BYTES_LIT("\x09\x03\x07\x02") }, got;
	struct writer w = writer_of(room, sizeof room);
	pgp_put_signature_hashed(&w, &s);
	size_t hashed = w.at;
	put_be16(&w, 0);
	put_bytes(&w, BYTES_LIT("LE"));
	uint8_t raw[64] = { 9 };
	put_bytes(&w, BYTES_ARRAY(raw));
	assert_error(pgp_signature_parse(writer_bytes(&w), &got), PGP_OK);
	assert_int_equal(got.type, PGP_SIG_CERTIFICATION);
	assert_int_equal(got.created, 0x01020304);
	assert_true(bytes_equal(got.issuer, s.issuer));
	assert_true(bytes_equal(got.features, s.features));
	assert_true(bytes_equal(got.suites, s.suites));
	assert_int_equal(got.key_flags.n, 0);
	assert_int_equal(got.hashed.n, hashed);
	assert_true(bytes_equal(got.left, BYTES_LIT("LE")));
	assert_true(bytes_equal(got.signature, BYTES_ARRAY(raw)));
	for (size_t n = 0; n < w.at; n++) {
		CLEANUP(buffer_free) struct buffer cut = buffer_copy(bytes_of(room, n));
		assert_int_not_equal(pgp_signature_parse(buffer_bytes(&cut), &got), PGP_OK);
	}
}

/* --- content --------------------------------------------------------------------------------------- */

static void content_is_the_same_in_any_pieces(void **state)
{
	(void)state;
	static const struct { const char *packets; size_t n; const char *data; enum pgp_error error; } rows[] = {
#define ROW(packets, data, error) { packets, sizeof packets - 1, data, error }
		ROW("\xcb\x09" "b\x00" "DATEabc", "abc", PGP_OK),
		ROW("\xcb\x0c" "u\x03" "xyzDATEabc", "abc", PGP_OK),
		ROW("\xca\x03PGP\xcb\x07" "t\x00" "DATEa\xca\x03PGP\xd5\x02xx\xca\x03PGP", "a", PGP_OK),
		ROW("\xcb\x06" "b\x00" "DATE", "", PGP_OK),
		ROW("\xcb\x05" "b\x00" "DAT", "", PGP_BAD_LITERAL),
		ROW("\xcb\x00", "", PGP_BAD_LITERAL),
		ROW("\xcb\x09" "b\x00" "DATEab", "ab", PGP_CONTENT_LENGTH),
		ROW("\xcb\x09", "", PGP_CONTENT_LENGTH),
		ROW("\xcb", "", PGP_CONTENT_LENGTH),
		ROW("", "", PGP_NO_LITERAL),
		ROW("\xca\x03PGP", "", PGP_NO_LITERAL),
		ROW("\xca\x03PGP\xca\x03PGQ", "", PGP_BAD_MARKER),
		ROW("\xcb\x0b" "b\x00" "DATEabcde", "", PGP_TOO_LARGE),
	};
	for (size_t i = 0; i < COUNT(rows); i++)
		for (size_t piece = 1; piece <= rows[i].n + 1; piece++) {
			struct pgp_content c;
			CLEANUP(buffer_free) struct buffer out = { 0 };
			pgp_content_init(&c, 4, into_buffer, &out);
			enum pgp_error e = PGP_OK;
			for (size_t at = 0; e == PGP_OK && at < rows[i].n; at += piece)
				e = pgp_content_feed(&c, bytes_of(rows[i].packets + at,
				                                  rows[i].n - at < piece ? rows[i].n - at : piece));
			assert_error(pgp_content_finish(&c), rows[i].error);
			if (rows[i].error == PGP_OK || rows[i].error == PGP_CONTENT_LENGTH)
				assert_true(bytes_equal(buffer_bytes(&out), bytes_str(rows[i].data)));
			assert_true(out.n <= 4);
		}
}

/* A marker must not disturb the literal's name, nor a second header. */
static void name_survives_what_follows(void **state)
{
	(void)state;
	struct pgp_content c;
	CLEANUP(buffer_free) struct buffer out = { 0 };
	pgp_content_init(&c, 4, into_buffer, &out);
	assert_error(pgp_content_feed(&c, BYTES_LIT("\xcb\x0c" "b\x03" "xyzDATEabc\xca\x03PGP\xd5\x04zzzz")), PGP_OK);
	assert_error(pgp_content_finish(&c), PGP_OK);
	assert_true(bytes_equal(pgp_content_name(&c), BYTES_LIT("xyz")));
	assert_int_equal(pgp_content_length(&c), 3);
}

/* --- armor ------------------------------------------------------------------------------------------ */

static void crc24_has_known_values(void **state)
{
	(void)state;
	assert_int_equal(pgp_crc24(BYTES_NONE), 0xb704ce);
	assert_int_equal(pgp_crc24(BYTES_LIT("123456789")), 0x21cf02);   /* the usual check value */
}

static void armor_round_trips_at_every_length(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer data = plaintext(200);
	for (size_t n = 0; n <= data.n; n++) {
		uint8_t text[1024], back[200];
		size_t back_n = 999;
		struct writer w = writer_of(text, sizeof text);
		pgp_armor(&w, bytes_of(data.p, n));
		CLEANUP(buffer_free) struct buffer exact = buffer_copy(writer_bytes(&w));
		assert_error(pgp_dearmor(buffer_bytes(&exact), back, n, &back_n), PGP_OK);
		assert_int_equal(back_n, n);
		assert_memory_equal(back, data.p, n);
		if (n > 0)
			assert_error(pgp_dearmor(buffer_bytes(&exact), back, n - 1, &back_n), PGP_KEY_TOO_LARGE);
	}
}

static void every_error_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (int a = 0; a < PGP_ERROR_COUNT; a++) {
		assert_true(strlen(pgp_error_text((enum pgp_error)a)) > 0);
		for (int b = 0; b < a; b++)
			assert_string_not_equal(pgp_error_name((enum pgp_error)a), pgp_error_name((enum pgp_error)b));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splits_streams_into_packets),
		cmocka_unit_test(writes_shortest_lengths_that_are_read_back),
		cmocka_unit_test(reads_whole_packets),
		cmocka_unit_test(pkesk_is_read_as_written),
		cmocka_unit_test(wrapped_keys_of_other_sizes_are_refused),
		cmocka_unit_test(signature_fields_are_read_as_written),
		cmocka_unit_test(content_is_the_same_in_any_pieces),
		cmocka_unit_test(name_survives_what_follows),
		cmocka_unit_test(crc24_has_known_values),
		cmocka_unit_test(armor_round_trips_at_every_length),
		cmocka_unit_test(every_error_has_a_name_of_its_own),
	};
	return cmocka_run_group_tests_name("openpgp_packet", tests, NULL, NULL);
}
