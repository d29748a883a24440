#include "base/cleanup.h"
#include "base/text.h"
#include "format/cbor.h"
#include "format/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static const uint8_t digest[32] = { 1, 2, 3 };

/* --- frames -------------------------------------------------------------------------------- */

static void parses_a_frame_byte_by_byte(void **state)
{
	(void)state;
	const uint8_t whole[] = { 0, 0, 0, 3, FRAME_DATA, 'a', 'b', 'c', 0xff };
	struct frame f;
	size_t used = 99;
	for (size_t n = 0; n < FRAME_HEADER_SIZE; n++) {
		assert_int_equal(frame_parse(bytes_of(whole, n), &f, &used), FRAME_MORE);
		assert_int_equal(used, 0);
	}
	for (size_t n = FRAME_HEADER_SIZE; n < 8; n++) {
		assert_int_equal(frame_parse(bytes_of(whole, n), &f, &used), FRAME_MORE);
		assert_int_equal(used, 8);
	}
	for (size_t n = 8; n <= sizeof whole; n++) {
		assert_int_equal(frame_parse(bytes_of(whole, n), &f, &used), FRAME_OK);
		assert_int_equal(used, 8);
		assert_int_equal(f.kind, FRAME_DATA);
		assert_true(bytes_equal(f.payload, BYTES_LIT("abc")));
	}
}

static void judges_length_by_kind_from_the_header_alone(void **state)
{
	(void)state;
	static const struct { uint32_t length; uint8_t kind; enum frame_result want; } rows[] = {
		{ 1, 0, FRAME_BAD_KIND }, { 1, 7, FRAME_BAD_KIND }, { 1, 255, FRAME_BAD_KIND },
		{ 0xffffffff, 7, FRAME_BAD_KIND },
		{ 0, FRAME_REQUEST, FRAME_BAD_LENGTH }, { FRAME_MAP_MAX, FRAME_REQUEST, FRAME_MORE },
		{ FRAME_MAP_MAX + 1, FRAME_REQUEST, FRAME_TOO_LONG },
		{ 0, FRAME_DATA, FRAME_BAD_LENGTH }, { FRAME_PAYLOAD_MAX, FRAME_DATA, FRAME_MORE },
		{ FRAME_PAYLOAD_MAX + 1, FRAME_DATA, FRAME_TOO_LONG }, { 0xffffffff, FRAME_DATA, FRAME_TOO_LONG },
		{ 0, FRAME_END, FRAME_OK }, { 1, FRAME_END, FRAME_BAD_LENGTH },
		{ 0xffffffff, FRAME_END, FRAME_BAD_LENGTH },
		{ 0, FRAME_REPLY, FRAME_BAD_LENGTH }, { FRAME_PAYLOAD_MAX, FRAME_REPLY, FRAME_MORE },
		{ FRAME_PAYLOAD_MAX + 1, FRAME_REPLY, FRAME_TOO_LONG },
		{ 0, FRAME_EVENT, FRAME_BAD_LENGTH }, { FRAME_MAP_MAX + 1, FRAME_EVENT, FRAME_TOO_LONG },
		{ 0, FRAME_ERROR, FRAME_BAD_LENGTH }, { FRAME_MAP_MAX + 1, FRAME_ERROR, FRAME_TOO_LONG },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t header[FRAME_HEADER_SIZE];
		struct writer w = writer_of(header, sizeof header);
		put_be32(&w, rows[i].length);
		put_u8(&w, rows[i].kind);
		struct frame f;
		size_t used;
		if (frame_parse(BYTES_ARRAY(header), &f, &used) != rows[i].want)
			fail_msg("row %zu", i);
	}
}

static void header_is_what_parse_reads(void **state)
{
	(void)state;
	uint8_t h[FRAME_HEADER_SIZE];
	frame_header(FRAME_REPLY, 0x01020, h);
	assert_memory_equal(h, "\x00\x00\x10\x20\x04", sizeof h);
}

static void version_names(void **state)
{
	(void)state;
	static const char *const good[] = { "5.0.0", "5.0.0-nightly.20260710", "a", "_", "+", "A_b+c-d.e" };
	static const char *const bad[] = { "", ".", "..", "../evil", ".hidden", "-rf", "a/b", "a\\b", "a b",
	                                   "a\n", "\xc3\xa9", "a%2e", "a:b" };
	for (size_t i = 0; i < COUNT(good); i++)
		assert_true(version_name_valid(bytes_str(good[i])));
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(version_name_valid(bytes_str(bad[i])));
	assert_false(version_name_valid(bytes_of("a\0b", 3)));
	char name[FRAME_VERSION_MAX + 1];
	memset(name, 'v', sizeof name);
	assert_true(version_name_valid(bytes_of(name, FRAME_VERSION_MAX)));
	assert_false(version_name_valid(bytes_of(name, FRAME_VERSION_MAX + 1)));
}

/* --- requests ------------------------------------------------------------------------------ */

static void requests_survive_the_trip(void **state)
{
	(void)state;
	const struct frame_request rows[] = {
		{ .op = OP_ATTEST },
		{ .op = OP_ATTEST, .nonce = bytes_of(digest, 16), .id = BYTES_LIT("abc") },
		{ .op = OP_ATTEST, .nonce = bytes_of(digest, 32) },
		{ .op = OP_PUBLIC_KEY, .id = BYTES_LIT("~!") },
		{ .op = OP_VERSIONS }, { .op = OP_HEALTH }, { .op = OP_METRICS },
		{ .op = OP_UPLOAD, .version = BYTES_LIT("5.0.0"), .sha256 = BYTES_ARRAY(digest), .size = 0 },
		{ .op = OP_PROVE, .size = UINT64_MAX },
		{ .op = OP_PROVE, .version = BYTES_LIT("5.0.0"), .size = 77, .id = BYTES_LIT("x") },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t buf[512];
		struct writer w = writer_of(buf, sizeof buf);
		frame_request_put(&w, &rows[i]);
		struct frame_request q;
		assert_true(frame_request_parse(writer_bytes(&w), &q));
		assert_int_equal(q.op, rows[i].op);
		assert_true(bytes_equal(q.nonce, rows[i].nonce));
		assert_true(bytes_equal(q.version, rows[i].version));
		assert_true(bytes_equal(q.sha256, rows[i].sha256));
		assert_true(bytes_equal(q.id, rows[i].id));
		assert_true(q.size == rows[i].size);
	}
}

/* Maps written by hand, one per reason. */
static struct bytes from_hex(const char *hex, uint8_t *buf)
{
	size_t n = strlen(hex) / 2;
	assert_true(hex_decode(bytes_str(hex), buf, n));
	return bytes_of(buf, n);
}

static void refuses_bad_requests(void **state)
{
	(void)state;
	static const struct { const char *hex, *why; } rows[] = {
		{ "", "nothing" },
		{ "a0", "no op" },
		{ "80", "an array" },
		{ "a1626f7063666f6f", "unknown op" },
		{ "a1626f7001", "op of another type" },
		{ "a2626f7066617474657374626f7066617474657374", "op twice" },
		{ "a2626f7066617474657374637878780a", "unknown key xxx" },
		{ "a1626f706661747465737400", "trailing byte" },
		{ "a1626f70666174746573", "truncated" },
		{ "bf626f7066617474657374ff", "indefinite map" },
		{ "a2626f7066617474657374656e6f6e63654f000102030405060708090a0b0c0d0e", "nonce of 15 bytes" },
		{ "a2626f7066617474657374656e6f6e636540", "empty nonce" },
		{ "a2626f7066617474657374656e6f6e63657061616161616161616161616161616161", "nonce as text" },
		{ "a2626f70666174746573746473697a6501", "attest with a size" },
		{ "a1626f706570726f7665", "prove without a size" },
		{ "a2626f706570726f76656473697a6520", "negative size" },
		{ "a3626f706570726f76656473697a65016776657273696f6e672e2e2f6576696c", "version ../evil" },
		{ "a3626f706570726f76656473697a65016776657273696f6e60", "empty version" },
		{ "a3626f706570726f76656473697a65016673686132353640", "prove with a digest" },
		{ "a3626f706675706c6f61646473697a65016776657273696f6e6161", "upload without a digest" },
		{ "a2626f70666865616c746862696463612062", "id with a space" },
		{ "a2626f70666865616c746862696460", "empty id" },
		{ "a2626f70666865616c74686269644161", "id as bytes" },
		{ "a2626f70666865616c7468626964627f61", "id with DEL" },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t buf[256];
		struct frame_request q;
		if (frame_request_parse(from_hex(rows[i].hex, buf), &q))
			fail_msg("accepted: %s", rows[i].why);
	}
	/* the rows differ from good ones only in what they name */
	uint8_t buf[256];
	struct frame_request q;
	assert_true(frame_request_parse(from_hex("a1626f7066617474657374", buf), &q));
	assert_true(frame_request_parse(from_hex("a3626f706570726f76656473697a65016776657273696f6e6161", buf), &q));
	assert_true(frame_request_parse(from_hex("a2626f70666865616c74686269646161", buf), &q));
}

static void request_fields_have_bounds(void **state)
{
	(void)state;
	char id[FRAME_ID_MAX + 1];
	uint8_t nonce[FRAME_NONCE_MAX + 1] = { 0 };
	memset(id, 'i', sizeof id);
	for (size_t extra = 0; extra < 2; extra++) {
		uint8_t buf[512];
		struct frame_request q;
		struct writer w = writer_of(buf, sizeof buf);
		frame_request_put(&w, &(struct frame_request){ .op = OP_HEALTH, .id = bytes_of(id, FRAME_ID_MAX + extra) });
		assert_int_equal(frame_request_parse(writer_bytes(&w), &q), extra == 0);
		w = writer_of(buf, sizeof buf);
		frame_request_put(&w, &(struct frame_request){ .op = OP_ATTEST, .nonce = bytes_of(nonce, FRAME_NONCE_MAX + extra) });
		assert_int_equal(frame_request_parse(writer_bytes(&w), &q), extra == 0);
	}
}

/* --- replies ------------------------------------------------------------------------------- */

static void replies_survive_the_trip(void **state)
{
	(void)state;
	CLEANUP(free_ptr) uint8_t *buf = malloc(FRAME_PAYLOAD_MAX);
	CLEANUP(free_ptr) uint8_t *proof = calloc(1, FRAME_PROOF_MAX + 1);
	uint8_t signature[64] = { 9 };
	assert_non_null(buf);
	assert_non_null(proof);
	struct frame_reply p = {
		.document = BYTES_LIT("doc"), .key = BYTES_LIT("-----BEGIN"),
		.default_version = BYTES_LIT("5.0.0"), .proof = bytes_of(proof, FRAME_PROOF_MAX),
		.bb_sha256 = BYTES_ARRAY(digest), .signature = BYTES_ARRAY(signature),
		.decrypt_ms = 1, .prove_ms = 2, .queue_ms = 3, .peak_bytes = UINT64_MAX,
		.uptime_ms = 5, .jobs_running = 6, .jobs_queued = 7, .metrics = BYTES_LIT("m 1\n"),
		.version_count = FRAME_VERSIONS_MAX,
	};
	char names[FRAME_VERSIONS_MAX][32];
	for (size_t i = 0; i < FRAME_VERSIONS_MAX; i++) {
		snprintf(names[i], sizeof names[i], "v%zu", i);
		p.version[i] = (struct frame_version){ bytes_str(names[i]), BYTES_ARRAY(digest) };
	}
	struct writer w = writer_of(buf, FRAME_PAYLOAD_MAX);
	frame_reply_put(&w, &p);
	assert_false(w.full);          /* the largest proof leaves room for everything beside it */
	struct frame_reply q;
	assert_true(frame_reply_parse(writer_bytes(&w), &q));
	assert_true(bytes_equal(q.document, p.document) && bytes_equal(q.key, p.key));
	assert_true(bytes_equal(q.default_version, p.default_version) && bytes_equal(q.proof, p.proof));
	assert_true(bytes_equal(q.bb_sha256, p.bb_sha256) && bytes_equal(q.signature, p.signature));
	assert_true(bytes_equal(q.metrics, p.metrics));
	assert_true(q.decrypt_ms == 1 && q.prove_ms == 2 && q.queue_ms == 3 && q.peak_bytes == UINT64_MAX);
	assert_true(q.uptime_ms == 5 && q.jobs_running == 6 && q.jobs_queued == 7);
	assert_int_equal(q.version_count, FRAME_VERSIONS_MAX);
	for (size_t i = 0; i < FRAME_VERSIONS_MAX; i++) {
		assert_true(bytes_equal(q.version[i].name, p.version[i].name));
		assert_true(bytes_equal(q.version[i].sha256, p.version[i].sha256));
	}
	p.proof.n++;
	w = writer_of(buf, FRAME_PAYLOAD_MAX);
	frame_reply_put(&w, &p);
	assert_false(frame_reply_parse(writer_bytes(&w), &q));
}

static void empty_reply_is_one_byte(void **state)
{
	(void)state;
	uint8_t buf[16];
	struct writer w = writer_of(buf, sizeof buf);
	frame_reply_put(&w, &(struct frame_reply){ 0 });
	assert_int_equal(w.at, 1);
	struct frame_reply q;
	assert_true(frame_reply_parse(writer_bytes(&w), &q));
	assert_int_equal(q.version_count, 0);
}

static void put_version_list(struct writer *w, size_t n, bool same_names, size_t digest_size)
{
	cbor_put_map(w, 1);
	cbor_put_str(w, "versions");
	cbor_put_array(w, n);
	for (size_t i = 0; i < n; i++) {
		char name[32];
		snprintf(name, sizeof name, "v%zu", same_names ? 0 : i);
		cbor_put_map(w, 3);
		cbor_put_str(w, "name");
		cbor_put_str(w, name);
		cbor_put_str(w, "future");
		cbor_put_array(w, 0);
		cbor_put_str(w, "sha256");
		cbor_put_bytes(w, bytes_of(digest, digest_size));
	}
}

static void version_lists_are_bounded(void **state)
{
	(void)state;
	static const struct { size_t n; bool same; size_t digest_size; bool good; } rows[] = {
		{ 0, false, 32, true }, { 2, false, 32, true }, { FRAME_VERSIONS_MAX, false, 32, true },
		{ FRAME_VERSIONS_MAX + 1, false, 32, false }, { 2, true, 32, false }, { 1, false, 31, false },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t buf[4096];
		struct writer w = writer_of(buf, sizeof buf);
		put_version_list(&w, rows[i].n, rows[i].same, rows[i].digest_size);
		struct frame_reply q;
		if (frame_reply_parse(writer_bytes(&w), &q) != rows[i].good)
			fail_msg("row %zu", i);
	}
}

static void replies_skip_what_they_do_not_know(void **state)
{
	(void)state;
	uint8_t buf[256];
	struct frame_reply p;
	struct frame_event e;
	struct frame_error x;
	/* {"later": [1, {"a": h'00'}], "key": "k"} */
	assert_true(frame_reply_parse(from_hex("a2656c617465728201a161614100636b6579616b", buf), &p));
	assert_true(bytes_equal(p.key, BYTES_LIT("k")));
	/* {"later": null, "stage": "queued", "position": 3} */
	assert_true(frame_event_parse(from_hex("a3656c61746572f665737461676566717565756564"
	                                       "68706f736974696f6e03", buf), &e));
	assert_true(bytes_equal(e.stage, BYTES_LIT("queued")) && e.position == 3);
	/* {"later": true, "code": "busy"} */
	assert_true(frame_error_parse(from_hex("a2656c61746572f564636f64656462757379", buf), &x));
	assert_int_equal(x.code, OUTCOME_BUSY);
	/* but not twice what they know, and not of another type */
	assert_false(frame_reply_parse(from_hex("a2636b6579616b636b6579616b", buf), &p));
	assert_false(frame_reply_parse(from_hex("a1636b6579416b", buf), &p));
	assert_false(frame_event_parse(from_hex("a168706f736974696f6e03", buf), &e));
	assert_false(frame_event_parse(from_hex("a1657374616765f6", buf), &e));
}

/* --- errors -------------------------------------------------------------------------------- */

static void errors_survive_the_trip(void **state)
{
	(void)state;
	for (unsigned code = 1; code < OUTCOME_COUNT; code++) {
		uint8_t buf[FRAME_MAP_MAX];
		struct writer w = writer_of(buf, sizeof buf);
		frame_error_put(&w, &(struct frame_error){ .code = (enum outcome)code, .message = BYTES_LIT("why"),
			.limit_bytes = 1, .peak_bytes = 2, .signal = 9, .exit_code = 4 });
		struct frame_error e;
		assert_true(frame_error_parse(writer_bytes(&w), &e));
		assert_int_equal(e.code, code);
		assert_true(bytes_equal(e.message, BYTES_LIT("why")));
		assert_true(e.limit_bytes == 1 && e.peak_bytes == 2 && e.signal == 9 && e.exit_code == 4);
	}
}

static void error_codes_are_words_we_know_or_internal(void **state)
{
	(void)state;
	uint8_t buf[256];
	struct frame_error e;
	assert_true(frame_error_parse(from_hex("a164636f6465666e6f76656c21", buf), &e));     /* "novel!" */
	assert_int_equal(e.code, OUTCOME_INTERNAL);
	assert_false(frame_error_parse(from_hex("a164636f6465626f6b", buf), &e));            /* "ok" */
	assert_false(frame_error_parse(from_hex("a164636f646560", buf), &e));                /* "" */
	assert_false(frame_error_parse(from_hex("a0", buf), &e));
	assert_false(frame_error_parse(from_hex("a164636f646505", buf), &e));
}

static void long_messages_are_cut_between_characters(void **state)
{
	(void)state;
	char text[FRAME_MESSAGE_MAX + 8];
	memset(text, 'a', sizeof text);
	memcpy(text + FRAME_MESSAGE_MAX - 1, "\xc3\xa9", 2);
	uint8_t buf[FRAME_MAP_MAX];
	struct writer w = writer_of(buf, sizeof buf);
	frame_error_put(&w, &(struct frame_error){ .code = OUTCOME_CRASHED, .message = BYTES_ARRAY(text) });
	struct frame_error e;
	assert_true(frame_error_parse(writer_bytes(&w), &e));
	assert_int_equal(e.message.n, FRAME_MESSAGE_MAX - 1);
	/* a text that is not UTF-8 ends where it stops being it */
	w = writer_of(buf, sizeof buf);
	frame_error_put(&w, &(struct frame_error){ .code = OUTCOME_CRASHED, .message = BYTES_LIT("ab\xff" "cd") });
	assert_true(frame_error_parse(writer_bytes(&w), &e));
	assert_true(bytes_equal(e.message, BYTES_LIT("ab")));
}

static void events_survive_the_trip(void **state)
{
	(void)state;
	uint8_t buf[64];
	struct writer w = writer_of(buf, sizeof buf);
	frame_event_put(&w, &(struct frame_event){ BYTES_LIT("proving"), 0 });
	struct frame_event e;
	assert_true(frame_event_parse(writer_bytes(&w), &e));
	assert_true(bytes_equal(e.stage, BYTES_LIT("proving")) && e.position == 0);
}

static void result_message_is_the_documented_one(void **state)
{
	(void)state;
	uint8_t a[32], b[32], c[32], out[RESULT_MESSAGE_SIZE];
	memset(a, 'a', 32), memset(b, 'b', 32), memset(c, 'c', 32);
	result_message(a, b, c, out);
	assert_memory_equal(out, "TEE-Rex result v1\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	                         "cccccccccccccccccccccccccccccccc", sizeof out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_a_frame_byte_by_byte),
		cmocka_unit_test(judges_length_by_kind_from_the_header_alone),
		cmocka_unit_test(header_is_what_parse_reads),
		cmocka_unit_test(version_names),
		cmocka_unit_test(requests_survive_the_trip),
		cmocka_unit_test(refuses_bad_requests),
		cmocka_unit_test(request_fields_have_bounds),
		cmocka_unit_test(replies_survive_the_trip),
		cmocka_unit_test(empty_reply_is_one_byte),
		cmocka_unit_test(version_lists_are_bounded),
		cmocka_unit_test(replies_skip_what_they_do_not_know),
		cmocka_unit_test(errors_survive_the_trip),
		cmocka_unit_test(error_codes_are_words_we_know_or_internal),
		cmocka_unit_test(long_messages_are_cut_between_characters),
		cmocka_unit_test(events_survive_the_trip),
		cmocka_unit_test(result_message_is_the_documented_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
