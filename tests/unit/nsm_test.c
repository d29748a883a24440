/* What must be refused is in tests/vectors/nsm (nsm_vectors_test.c). */
#include "format/nsm.h"

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

/* An exact heap copy, so that the sanitizer sees a read past the end. */
static struct bytes exact(const void *p, size_t n)
{
	uint8_t *copy = malloc(n == 0 ? 1 : n);
	assert_non_null(copy);
	if (n > 0)
		memcpy(copy, p, n);
	return bytes_of(copy, n);
}

static struct bytes from_hex(const char *hex)
{
	uint8_t buf[4096];
	size_t n = strlen(hex) / 2;
	assert_true(n <= sizeof buf);
	assert_true(hex_decode(bytes_str(hex), buf, n));
	return exact(buf, n);
}

static void assert_wire(struct bytes got, const char *want_hex)
{
	char hex[2 * 4096 + 1];
	assert_string_equal(hex_encode(got, hex), want_hex);
}

/* The encodings are cbor2's, made from the crate's documented shapes. */
#define DESCRIBE_PCR_5 "a16b4465736372696265504352a165696e64657805"
#define EXTEND_PCR_16 "a169457874656e64504352a265696e64657810646461746143010203"
#define LOCK_PCR_31 "a1674c6f636b504352a165696e646578181f"
#define LOCK_PCRS_32 "a1684c6f636b50435273a16572616e67651820"
#define DESCRIBE_NSM "6b44657363726962654e534d"
#define GET_RANDOM "6947657452616e646f6d"
#define ATTESTATION_NULLS "a16b4174746573746174696f6ea369757365725f64617461f6656e6f6e6365f66a7075626c69635f6b6579f6"
#define ATTESTATION_FULL "a16b4174746573746174696f6ea369757365725f6461746142aabb656e6f6e6365406a7075626c69635f6b657941cc"

static void requests_have_the_documented_encoding(void **state)
{
	(void)state;
	uint8_t none = 0;
	const struct { struct nsm_request q; const char *hex; } rows[] = {
		{ { .kind = NSM_DESCRIBE_PCR, .index = 5 }, DESCRIBE_PCR_5 },
		{ { .kind = NSM_EXTEND_PCR, .index = 16, .data = BYTES_LIT("\1\2\3") }, EXTEND_PCR_16 },
		{ { .kind = NSM_LOCK_PCR, .index = 31 }, LOCK_PCR_31 },
		{ { .kind = NSM_LOCK_PCRS, .range = 32 }, LOCK_PCRS_32 },
		{ { .kind = NSM_DESCRIBE_NSM }, DESCRIBE_NSM },
		{ { .kind = NSM_GET_RANDOM }, GET_RANDOM },
		{ { .kind = NSM_ATTESTATION }, ATTESTATION_NULLS },
		{ { .kind = NSM_ATTESTATION, .user_data = BYTES_LIT("\xaa\xbb"), .nonce = bytes_of(&none, 0),
		    .public_key = BYTES_LIT("\xcc") }, ATTESTATION_FULL },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t buf[256];
		struct writer w = writer_of(buf, sizeof buf);
		nsm_request_put(&w, &rows[i].q);
		assert_wire(writer_bytes(&w), rows[i].hex);

		struct nsm_request q;
		struct bytes in = exact(buf, w.at);
		assert_int_equal(nsm_request_parse(in, &q), NSM_OK);
		assert_int_equal(q.kind, rows[i].q.kind);
		assert_int_equal(q.index, rows[i].q.index);
		assert_int_equal(q.range, rows[i].q.range);
		assert_true(bytes_equal(q.data, rows[i].q.data));
		assert_true(bytes_equal(q.user_data, rows[i].q.user_data));
		assert_true(bytes_equal(q.public_key, rows[i].q.public_key));
		/* null and empty are two things */
		assert_int_equal(q.nonce.p == NULL, rows[i].q.nonce.p == NULL);

		/* every shorter input is refused, and every buffer too small for it */
		for (size_t n = 0; n < w.at; n++) {
			struct bytes part = exact(buf, n);
			assert_int_not_equal(nsm_request_parse(part, &q), NSM_OK);
			free((void *)part.p);
			uint8_t small[256];
			struct writer s = writer_of(small, n);
			nsm_request_put(&s, &rows[i].q);
			assert_true(s.full);
		}
		free((void *)in.p);
	}
}

static void unknown_fields_and_other_orders_are_fine(void **state)
{
	(void)state;
	struct nsm_request q;
	/* {"ExtendPCR": {"future": {"a": [1]}, "data": "hey" (text), "index": 300}} */
	struct bytes in = from_hex("a169457874656e64504352a366667574757265a161618101646461746163686579"
	                           "65696e64657819012c");
	assert_int_equal(nsm_request_parse(in, &q), NSM_OK);
	assert_int_equal(q.index, 300);
	assert_true(bytes_equal(q.data, BYTES_LIT("hey")));
	free((void *)in.p);
	/* {"Attestation": {}} is what leaving out three options looks like */
	in = from_hex("a16b4174746573746174696f6ea0");
	assert_int_equal(nsm_request_parse(in, &q), NSM_OK);
	assert_null(q.user_data.p);
	assert_null(q.nonce.p);
	assert_null(q.public_key.p);
	free((void *)in.p);
}

static void a_request_over_the_drivers_limit_is_too_long(void **state)
{
	(void)state;
	static uint8_t buf[NSM_REQUEST_MAX + 1];
	static const uint8_t zeros[NSM_REQUEST_MAX];
	struct nsm_request q = { .kind = NSM_EXTEND_PCR, .index = 16, .data = bytes_of(zeros, NSM_REQUEST_MAX - 27) };
	struct writer w = writer_of(buf, sizeof buf);
	nsm_request_put(&w, &q);
	assert_int_equal(w.at, NSM_REQUEST_MAX);
	assert_int_equal(nsm_request_parse(writer_bytes(&w), &q), NSM_OK);
	assert_int_equal(q.data.n, NSM_REQUEST_MAX - 27);
	assert_int_equal(nsm_request_parse(BYTES_ARRAY(buf), &q), NSM_TOO_LONG);
}

static void responses_have_the_documented_encoding(void **state)
{
	(void)state;
	static const uint8_t pcr[NSM_PCR_SIZE] = { 0xab };
	const struct { struct nsm_response p; const char *hex; } rows[] = {
		{ { .kind = NSM_DESCRIBE_PCR, .lock = true, .data = BYTES_ARRAY(pcr) },
		  "a16b4465736372696265504352a2646c6f636bf564646174615830"
		  "ab0000000000000000000000000000000000000000000000"
		  "000000000000000000000000000000000000000000000000" },
		{ { .kind = NSM_EXTEND_PCR, .data = BYTES_ARRAY(pcr) },
		  "a169457874656e64504352a164646174615830"
		  "ab0000000000000000000000000000000000000000000000"
		  "000000000000000000000000000000000000000000000000" },
		{ { .kind = NSM_LOCK_PCR }, "674c6f636b504352" },
		{ { .kind = NSM_LOCK_PCRS }, "684c6f636b50435273" },
		{ { .kind = NSM_DESCRIBE_NSM, .version_major = 1, .version_patch = 300, .module_id = BYTES_LIT("sim-1"),
		    .max_pcrs = 32, .locked_pcrs = 0x80000003, .digest = NSM_SHA384 },
		  "a16b44657363726962654e534da76d76657273696f6e5f6d616a6f72016d76657273696f6e5f6d696e6f72006d"
		  "76657273696f6e5f706174636819012c696d6f64756c655f69646573696d2d31686d61785f7063727318206b6c"
		  "6f636b65645f70637273830001181f6664696765737466534841333834" },
		{ { .kind = NSM_ATTESTATION, .document = BYTES_LIT("\x84") }, "a16b4174746573746174696f6ea168646f63756d656e744184" },
		/* the kernel's hwrng reader compares these bytes up to the head of the string */
		{ { .kind = NSM_GET_RANDOM, .random = BYTES_LIT("\1\2") }, "a16947657452616e646f6da16672616e646f6d420102" },
		{ { .kind = NSM_ERROR, .error = NSM_READ_ONLY_INDEX }, "a1654572726f726d526561644f6e6c79496e646578" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t buf[512];
		struct writer w = writer_of(buf, sizeof buf);
		nsm_response_put(&w, &rows[i].p);
		assert_wire(writer_bytes(&w), rows[i].hex);
		struct nsm_response p;
		struct bytes in = exact(buf, w.at);
		assert_int_equal(nsm_response_parse(in, &p), NSM_OK);
		assert_int_equal(p.kind, rows[i].p.kind);
		assert_int_equal(p.error, rows[i].p.error);
		assert_int_equal(p.lock, rows[i].p.lock);
		assert_true(bytes_equal(p.data, rows[i].p.data));
		assert_true(bytes_equal(p.document, rows[i].p.document));
		assert_true(bytes_equal(p.random, rows[i].p.random));
		assert_true(bytes_equal(p.module_id, rows[i].p.module_id));
		assert_int_equal(p.version_major, rows[i].p.version_major);
		assert_int_equal(p.version_patch, rows[i].p.version_patch);
		assert_int_equal(p.max_pcrs, rows[i].p.max_pcrs);
		assert_int_equal(p.locked_pcrs, rows[i].p.locked_pcrs);
		assert_int_equal(p.digest, rows[i].p.digest);
		for (size_t n = 0; n < w.at; n++) {
			struct bytes part = exact(buf, n);
			assert_int_not_equal(nsm_response_parse(part, &p), NSM_OK);
			free((void *)part.p);
		}
		free((void *)in.p);
	}
}

static void put_description(struct writer *w, const char *module_id, uint32_t locked)
{
	struct nsm_response p = { .kind = NSM_DESCRIBE_NSM, .module_id = bytes_str(module_id), .max_pcrs = 32,
	                          .locked_pcrs = locked, .digest = NSM_SHA384 };
	nsm_response_put(w, &p);
}

static void a_description_is_bounded(void **state)
{
	(void)state;
	uint8_t buf[512];
	struct nsm_response p;
	char id[NSM_MODULE_ID_MAX + 2];
	memset(id, 'x', sizeof id);
	for (size_t n = 0; n <= NSM_MODULE_ID_MAX + 1; n += n == 0 ? NSM_MODULE_ID_MAX : 1) {
		char text[NSM_MODULE_ID_MAX + 2];
		memcpy(text, id, n);
		text[n] = '\0';
		struct writer w = writer_of(buf, sizeof buf);
		put_description(&w, text, 0xffff);
		assert_int_equal(nsm_response_parse(writer_bytes(&w), &p),
		                 n == NSM_MODULE_ID_MAX ? NSM_OK : NSM_BAD_FIELD);
	}
	/* the array of locked PCRs is the last field but one: [0, 1] becomes [0, 0], [0, 32], [0, "1"] */
	struct writer w = writer_of(buf, sizeof buf);
	put_description(&w, "sim", 0x3);
	size_t at = w.at - strlen("\x66""digest\x66SHA384") - 1;
	assert_int_equal(buf[at - 2], 0x82);
	assert_int_equal(buf[at], 1);
	buf[at] = 0;
	assert_int_equal(nsm_response_parse(writer_bytes(&w), &p), NSM_BAD_FIELD);
	buf[at] = 0x20;
	assert_int_equal(nsm_response_parse(writer_bytes(&w), &p), NSM_BAD_FIELD);
	buf[at] = 1;
	assert_int_equal(nsm_response_parse(writer_bytes(&w), &p), NSM_OK);
	assert_int_equal(p.locked_pcrs, 3);
	buf[w.at - 1] = '5';                                      /* SHA385 */
	assert_int_equal(nsm_response_parse(writer_bytes(&w), &p), NSM_BAD_FIELD);
}

static void every_error_has_its_name(void **state)
{
	(void)state;
	for (enum nsm_error e = NSM_INVALID_ARGUMENT; e < NSM_ERROR_END; e++) {
		uint8_t buf[64];
		struct writer w = writer_of(buf, sizeof buf);
		struct nsm_response p = { .kind = NSM_ERROR, .error = e };
		nsm_response_put(&w, &p);
		p.error = 0;
		assert_int_equal(nsm_response_parse(writer_bytes(&w), &p), NSM_OK);
		assert_int_equal(p.error, e);
	}
	assert_string_equal(nsm_error_name(NSM_INPUT_TOO_LARGE), "InputTooLarge");
	assert_string_equal(nsm_error_name(NSM_INTERNAL_ERROR), "InternalError");
	assert_string_equal(nsm_kind_name(NSM_GET_RANDOM), "GetRandom");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_have_the_documented_encoding),
		cmocka_unit_test(unknown_fields_and_other_orders_are_fine),
		cmocka_unit_test(a_request_over_the_drivers_limit_is_too_long),
		cmocka_unit_test(responses_have_the_documented_encoding),
		cmocka_unit_test(a_description_is_bounded),
		cmocka_unit_test(every_error_has_its_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
