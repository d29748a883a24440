#include "sim/software_nsm.h"

#include "attest/teerex_attest.h"
#include "crypto/x509.h"
#include "format/attest_doc.h"
#include "format/cose_sign1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static const int64_t now_ms = INT64_C(1760000000123);
static struct test_ca ca;
static struct software_nsm nsm;

static struct software_nsm_boot boot_of(bool debug)
{
	struct software_nsm_boot boot = { .debug = debug };
	for (unsigned i = 0; i < NSM_PCR_LOCKED_AT_BOOT; i++)
		memset(boot.pcr[i], (int)(0x10 + i), NSM_PCR_SIZE);
	return boot;
}

static int setup(void **state)
{
	(void)state;
	struct err err;
	struct software_nsm_boot boot = boot_of(false);
	if (ca.link[CA_ROOT].key == NULL &&
	    test_ca_in_memory(&ca, "sim-0123456789abcdef0-enc0123456789abcdef", now_ms / 1000, &err) < 0)
		return -1;
	software_nsm_init(&nsm, &boot, &ca);
	return 0;
}

static int close_ca(void **state)
{
	(void)state;
	test_ca_close(&ca);
	return 0;
}

static uint8_t answer[NSM_RESPONSE_MAX];

static struct nsm_response ask_raw(struct bytes request)
{
	struct writer w = writer_of(answer, sizeof answer);
	software_nsm_handle(&nsm, request, now_ms, &w);
	assert_false(w.full);
	struct nsm_response p;
	assert_int_equal(nsm_response_parse(writer_bytes(&w), &p), NSM_OK);
	return p;
}

static struct nsm_response ask(struct nsm_request q)
{
	static uint8_t buf[2 * NSM_REQUEST_MAX];
	struct writer w = writer_of(buf, sizeof buf);
	nsm_request_put(&w, &q);
	assert_false(w.full);
	return ask_raw(writer_bytes(&w));
}

#define ASK(...) ask((struct nsm_request){ __VA_ARGS__ })

static void assert_error(struct nsm_response p, enum nsm_error want)
{
	assert_int_equal(p.kind, NSM_ERROR);
	assert_string_equal(nsm_error_name(p.error), nsm_error_name(want));
}

static void assert_pcr(struct nsm_response p, bool lock, int fill)
{
	uint8_t want[NSM_PCR_SIZE];
	memset(want, fill, sizeof want);
	assert_int_equal(p.kind, NSM_DESCRIBE_PCR);
	assert_int_equal(p.lock, lock);
	assert_true(bytes_equal(p.data, BYTES_ARRAY(want)));
}

static void the_first_sixteen_are_locked_at_boot(void **state)
{
	(void)state;
	for (uint16_t i = 0; i < NSM_PCR_COUNT; i++)
		assert_pcr(ASK(.kind = NSM_DESCRIBE_PCR, .index = i), i < 16, i < 16 ? 0x10 + i : 0);
	struct nsm_response p = ASK(.kind = NSM_DESCRIBE_NSM);
	assert_int_equal(p.kind, NSM_DESCRIBE_NSM);
	assert_int_equal(p.version_major, 1);
	assert_int_equal(p.max_pcrs, 32);
	assert_int_equal(p.locked_pcrs, 0xffff);
	assert_int_equal(p.digest, NSM_SHA384);
	assert_true(bytes_equal(p.module_id, bytes_str(ca.module_id)));
	for (uint16_t i = 0; i < 16; i++) {
		assert_error(ASK(.kind = NSM_EXTEND_PCR, .index = i, .data = BYTES_LIT("x")), NSM_READ_ONLY_INDEX);
		assert_error(ASK(.kind = NSM_LOCK_PCR, .index = i), NSM_READ_ONLY_INDEX);
		assert_pcr(ASK(.kind = NSM_DESCRIBE_PCR, .index = i), true, 0x10 + i);
	}
}

static void a_debug_enclave_measures_no_image(void **state)
{
	(void)state;
	struct software_nsm_boot boot = boot_of(true);
	software_nsm_init(&nsm, &boot, &ca);
	for (uint16_t i = 0; i < 16; i++)
		assert_pcr(ASK(.kind = NSM_DESCRIBE_PCR, .index = i), true, i <= 2 || i == 8 ? 0 : 0x10 + i);
}

static void extend_hashes_old_and_data(void **state)
{
	(void)state;
	/* SHA-384(0^48 || "abc") and SHA-384(that || ""), by coreutils' sha384sum */
	static const uint8_t first[] = {
		0xb1, 0xc1, 0x6e, 0xb7, 0x63, 0x41, 0x12, 0xb7, 0xc9, 0xd5, 0xeb, 0xd2, 0x7e, 0x62, 0xa2, 0xd4,
		0x52, 0x8b, 0xbf, 0xcf, 0xd6, 0x8b, 0x62, 0xd3, 0xaf, 0xd9, 0xec, 0xf9, 0x8e, 0x0f, 0x41, 0x3a,
		0x84, 0x31, 0x4a, 0xcc, 0xe7, 0x83, 0x17, 0xfb, 0x69, 0xfd, 0x89, 0x51, 0x55, 0x34, 0x3e, 0x09
	};
	static const uint8_t second[] = {
		0x91, 0x7a, 0xfe, 0xe0, 0x4f, 0xee, 0x37, 0x6d, 0xd7, 0xbd, 0x91, 0x94, 0x68, 0x81, 0x7b, 0xde,
		0x18, 0xc3, 0x8a, 0x26, 0x81, 0x13, 0xc7, 0x72, 0xb2, 0x25, 0x24, 0x19, 0x51, 0x18, 0xfb, 0x16,
		0x38, 0x57, 0x7d, 0xf5, 0x26, 0x76, 0xc7, 0x21, 0xd7, 0x68, 0xe2, 0xe5, 0x25, 0xa8, 0x39, 0x57
	};
	struct nsm_response p = ASK(.kind = NSM_EXTEND_PCR, .index = 16, .data = BYTES_LIT("abc"));
	assert_int_equal(p.kind, NSM_EXTEND_PCR);
	assert_true(bytes_equal(p.data, BYTES_ARRAY(first)));
	p = ASK(.kind = NSM_EXTEND_PCR, .index = 16);
	assert_true(bytes_equal(p.data, BYTES_ARRAY(second)));
	p = ASK(.kind = NSM_DESCRIBE_PCR, .index = 16);
	assert_true(bytes_equal(p.data, BYTES_ARRAY(second)));
	assert_false(p.lock);
	assert_pcr(ASK(.kind = NSM_DESCRIBE_PCR, .index = 17), false, 0);

	/* as much as fits a request, and not a byte more */
	static const uint8_t big[NSM_REQUEST_MAX];
	p = ASK(.kind = NSM_EXTEND_PCR, .index = 31, .data = bytes_of(big, NSM_REQUEST_MAX - 28));
	assert_int_equal(p.kind, NSM_EXTEND_PCR);
	struct bytes before = p.data;
	uint8_t kept[NSM_PCR_SIZE];
	memcpy(kept, before.p, sizeof kept);
	assert_error(ASK(.kind = NSM_EXTEND_PCR, .index = 31, .data = bytes_of(big, NSM_REQUEST_MAX - 27)),
	             NSM_INPUT_TOO_LARGE);
	assert_true(bytes_equal(ASK(.kind = NSM_DESCRIBE_PCR, .index = 31).data, BYTES_ARRAY(kept)));
}

static void locks_hold(void **state)
{
	(void)state;
	assert_int_equal(ASK(.kind = NSM_LOCK_PCR, .index = 20).kind, NSM_LOCK_PCR);
	assert_error(ASK(.kind = NSM_LOCK_PCR, .index = 20), NSM_READ_ONLY_INDEX);
	assert_error(ASK(.kind = NSM_EXTEND_PCR, .index = 20, .data = BYTES_LIT("x")), NSM_READ_ONLY_INDEX);
	assert_int_equal(ASK(.kind = NSM_DESCRIBE_NSM).locked_pcrs, 0x0010ffff);

	assert_int_equal(ASK(.kind = NSM_LOCK_PCRS, .range = 0).kind, NSM_LOCK_PCRS);
	assert_int_equal(ASK(.kind = NSM_LOCK_PCRS, .range = 16).kind, NSM_LOCK_PCRS);
	assert_int_equal(ASK(.kind = NSM_DESCRIBE_NSM).locked_pcrs, 0x0010ffff);
	assert_int_equal(ASK(.kind = NSM_LOCK_PCRS, .range = 18).kind, NSM_LOCK_PCRS);     /* 0 … 17 */
	assert_int_equal(ASK(.kind = NSM_DESCRIBE_NSM).locked_pcrs, 0x0013ffff);
	assert_error(ASK(.kind = NSM_LOCK_PCRS, .range = 33), NSM_INVALID_INDEX);
	assert_error(ASK(.kind = NSM_LOCK_PCRS, .range = 65535), NSM_INVALID_INDEX);
	assert_int_equal(ASK(.kind = NSM_DESCRIBE_NSM).locked_pcrs, 0x0013ffff);
	assert_int_equal(ASK(.kind = NSM_LOCK_PCRS, .range = 32).kind, NSM_LOCK_PCRS);
	assert_int_equal(ASK(.kind = NSM_LOCK_PCRS, .range = 32).kind, NSM_LOCK_PCRS);
	assert_int_equal(ASK(.kind = NSM_DESCRIBE_NSM).locked_pcrs, 0xffffffff);
	assert_error(ASK(.kind = NSM_EXTEND_PCR, .index = 31, .data = BYTES_LIT("x")), NSM_READ_ONLY_INDEX);
}

static void indices_above_31_do_not_exist(void **state)
{
	(void)state;
	const uint16_t over[] = { 32, 33, 64, 255, 256, 65535 };
	for (size_t i = 0; i < sizeof over / sizeof *over; i++) {
		assert_error(ASK(.kind = NSM_DESCRIBE_PCR, .index = over[i]), NSM_INVALID_INDEX);
		assert_error(ASK(.kind = NSM_EXTEND_PCR, .index = over[i]), NSM_INVALID_INDEX);
		assert_error(ASK(.kind = NSM_LOCK_PCR, .index = over[i]), NSM_INVALID_INDEX);
	}
}

static void what_does_not_parse_is_an_invalid_operation(void **state)
{
	(void)state;
	const struct bytes bad[] = {
		BYTES_NONE, BYTES_LIT("\x00"), BYTES_LIT("\x69Getrandom"), BYTES_LIT("\x69GetRandom\x00"),
		BYTES_LIT("\xa1\x67LockPCR\xa0"), BYTES_LIT("\xa1\x67LockPCR\xa1\x65index\x20"), BYTES_LIT("\xbf\xff"),
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_error(ask_raw(bad[i]), NSM_INVALID_OPERATION);
	static const uint8_t zeros[NSM_REQUEST_MAX + 1];
	assert_error(ask_raw(bytes_of(zeros, NSM_REQUEST_MAX)), NSM_INVALID_OPERATION);
	assert_error(ask_raw(BYTES_ARRAY(zeros)), NSM_INPUT_TOO_LARGE);
}

static void random_bytes_are_256_and_differ(void **state)
{
	(void)state;
	struct nsm_response p = ASK(.kind = NSM_GET_RANDOM);
	assert_int_equal(p.random.n, NSM_RANDOM_SIZE);
	uint8_t first[NSM_RANDOM_SIZE];
	memcpy(first, p.random.p, sizeof first);
	p = ASK(.kind = NSM_GET_RANDOM);
	assert_false(bytes_equal(p.random, BYTES_ARRAY(first)));
}

/* Signature and chain, by the project's own verifying code; tests/e2e has an independent check. */
static struct attest_doc check_document(struct bytes document, int64_t at_s)
{
	struct cose_sign1 cose;
	struct attest_doc d;
	assert_int_equal(cose_sign1_parse(document, &cose), COSE_OK);
	assert_int_equal(attest_doc_parse(cose.payload, &d), DOC_OK);
	assert_int_equal(d.cabundle_count, 4);
	struct x509 c[5];
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(x509_parse(i < 4 ? d.cabundle[i] : d.certificate, &c[i]), X509_OK);
		const struct x509 *issuer = &c[i == 0 ? 0 : i - 1];
		assert_true(bytes_equal(c[i].issuer, issuer->subject));
		assert_true(x509_signed_by(&c[i], issuer->point));
		assert_true(c[i].not_before_s <= at_s && at_s <= c[i].not_after_s);
		assert_true(c[i].not_after_s <= issuer->not_after_s);
		assert_int_equal(c[i].ca, i < 4);
		const int path_len[] = { X509_NO_PATH_LEN, 2, 1, 0, X509_NO_PATH_LEN };
		assert_int_equal(c[i].path_len, path_len[i]);
		assert_true(c[i].key_usage & (i < 4 ? X509_KEY_CERT_SIGN : X509_DIGITAL_SIGNATURE));
		assert_non_null(memmem(c[i].subject.p, c[i].subject.n, "SIMULATED", 9));
	}
	assert_int_equal(c[4].not_after_s - c[4].not_before_s, 3 * 3600 + 3);
	uint8_t tbs[NSM_RESPONSE_MAX];
	struct writer w = writer_of(tbs, sizeof tbs);
	cose_sign1_tbs_put(&w, cose.protected_header, cose.payload);
	struct p384 *leaf = p384_from_point(c[4].point);
	assert_non_null(leaf);
	assert_true(p384_verify(leaf, writer_bytes(&w), cose.signature.p));
	tbs[w.at - 1] ^= 1;
	assert_false(p384_verify(leaf, writer_bytes(&w), cose.signature.p));
	p384_free(leaf);
	return d;
}

static void a_document_says_what_was_asked_and_locked(void **state)
{
	(void)state;
	static const uint8_t key[NSM_STRING_MAX] = { 1 }, data[NSM_USER_DATA_MAX] = { 2 }, nonce[NSM_NONCE_MAX] = { 3 };
	ASK(.kind = NSM_EXTEND_PCR, .index = 17, .data = BYTES_LIT("not locked"));
	struct nsm_response extended = ASK(.kind = NSM_EXTEND_PCR, .index = 18, .data = BYTES_LIT("locked"));
	uint8_t pcr18[NSM_PCR_SIZE];
	memcpy(pcr18, extended.data.p, sizeof pcr18);
	ASK(.kind = NSM_LOCK_PCR, .index = 18);

	uint64_t signed_before = nsm.documents;
	struct nsm_response p = ASK(.kind = NSM_ATTESTATION, .public_key = BYTES_ARRAY(key), .user_data = BYTES_ARRAY(data),
	                            .nonce = BYTES_ARRAY(nonce));
	assert_int_equal(p.kind, NSM_ATTESTATION);
	assert_int_equal(nsm.documents, signed_before + 1);
	struct attest_doc d = check_document(p.document, now_ms / 1000);
	assert_true(bytes_equal(d.module_id, bytes_str(ca.module_id)));
	assert_int_equal(d.timestamp_ms, now_ms);
	assert_true(bytes_equal(d.public_key, BYTES_ARRAY(key)));
	assert_true(bytes_equal(d.user_data, BYTES_ARRAY(data)));
	assert_true(bytes_equal(d.nonce, BYTES_ARRAY(nonce)));
	assert_int_equal(d.pcr_mask, 0x0004ffff);
	assert_true(bytes_equal(d.pcr[18], BYTES_ARRAY(pcr18)));
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(d.pcr[i].p[47], 0x10 + i);

	p = ASK(.kind = NSM_ATTESTATION);
	d = check_document(p.document, now_ms / 1000);
	assert_false(d.has_public_key || d.has_user_data || d.has_nonce);
	uint8_t none = 0;
	p = ASK(.kind = NSM_ATTESTATION, .user_data = bytes_of(&none, 0), .nonce = bytes_of(&none, 0));
	d = check_document(p.document, now_ms / 1000);
	assert_true(d.has_user_data && d.user_data.n == 0 && d.has_nonce && d.nonce.n == 0);
	/* all 32 locked is the largest document there is */
	ASK(.kind = NSM_LOCK_PCRS, .range = 32);
	p = ASK(.kind = NSM_ATTESTATION, .public_key = BYTES_ARRAY(key), .user_data = BYTES_ARRAY(data),
	        .nonce = BYTES_ARRAY(nonce));
	d = check_document(p.document, now_ms / 1000);
	assert_int_equal(d.pcr_mask, 0xffffffff);
}

static enum teerex_code verdict(bool under_our_root, const char *pcr0)
{
	static const uint8_t nonce[32] = { 7 };
	struct nsm_response p = ASK(.kind = NSM_ATTESTATION, .public_key = BYTES_LIT("key"), .nonce = BYTES_ARRAY(nonce));
	assert_int_equal(p.kind, NSM_ATTESTATION);
	struct teerex_pcr_set set = { .name = "" };
	assert_int_equal(teerex_pcr_set_add(&set, pcr0), 0);
	struct bytes root = test_ca_certificate(&ca, CA_ROOT);
	struct teerex_policy policy = { .root = under_our_root ? root.p : NULL, .root_size = under_our_root ? root.n : 0,
	                                .now_ms = (uint64_t)now_ms, .nonce = nonce, .nonce_size = sizeof nonce,
	                                .sets = &set, .set_count = 1 };
	struct teerex_result r;
	enum teerex_code code = teerex_verify(p.document.p, p.document.n, &policy, &r);
	assert_int_equal(r.simulated, under_our_root);
	return code;
}

#define HEX_16(x) x x x x x x x x x x x x x x x x
#define PCR0_OF(x) "0=" HEX_16(x) HEX_16(x) HEX_16(x)

static void the_strict_verifier_takes_it_under_its_root_alone(void **state)
{
	(void)state;
	assert_string_equal(teerex_code_name(verdict(true, PCR0_OF("10"))), "ok");
	assert_string_equal(teerex_code_name(verdict(false, PCR0_OF("10"))), "chain-wrong-root");
	assert_string_equal(teerex_code_name(verdict(true, PCR0_OF("11"))), "pcr-mismatch");
	struct software_nsm_boot boot = boot_of(true);
	software_nsm_init(&nsm, &boot, &ca);
	assert_string_equal(teerex_code_name(verdict(true, PCR0_OF("10"))), "debug-enclave");
}

static void attestation_inputs_have_limits(void **state)
{
	(void)state;
	static const uint8_t big[NSM_STRING_MAX + 1];
	uint64_t signed_before = nsm.documents;
	assert_error(ASK(.kind = NSM_ATTESTATION, .user_data = bytes_of(big, NSM_USER_DATA_MAX + 1)), NSM_INPUT_TOO_LARGE);
	assert_error(ASK(.kind = NSM_ATTESTATION, .nonce = bytes_of(big, NSM_NONCE_MAX + 1)), NSM_INPUT_TOO_LARGE);
	assert_error(ASK(.kind = NSM_ATTESTATION, .public_key = bytes_of(big, NSM_STRING_MAX + 1)), NSM_INPUT_TOO_LARGE);
	assert_error(ASK(.kind = NSM_ATTESTATION, .public_key = bytes_of(big, 0)), NSM_INVALID_ARGUMENT);
	assert_int_equal(nsm.documents, signed_before);
}

static void an_answer_that_does_not_fit_says_so(void **state)
{
	(void)state;
	uint8_t request[64];
	struct writer q = writer_of(request, sizeof request);
	nsm_request_put(&q, &(struct nsm_request){ .kind = NSM_EXTEND_PCR, .index = 16, .data = BYTES_LIT("abc") });
	for (size_t cap = 0; cap < 80; cap++) {
		struct software_nsm_boot boot = boot_of(false);
		software_nsm_init(&nsm, &boot, &ca);
		uint8_t *small = malloc(cap + 1);
		struct writer w = writer_of(small, cap);
		software_nsm_handle(&nsm, writer_bytes(&q), now_ms, &w);
		struct nsm_response p;
		if (cap < 22) {
			assert_true(w.full);             /* {"Error": "BufferTooSmall"} takes 22 bytes */
		} else {
			assert_int_equal(nsm_response_parse(writer_bytes(&w), &p), NSM_OK);
			assert_int_equal(p.kind, cap < 67 ? NSM_ERROR : NSM_EXTEND_PCR);
			if (p.kind == NSM_ERROR)
				assert_int_equal(p.error, NSM_BUFFER_TOO_SMALL);
		}
		/* done all the same */
		assert_true(ASK(.kind = NSM_DESCRIBE_PCR, .index = 16).data.p[0] != 0);
		free(small);
	}
}

static void certificates_are_cached_and_renewed(void **state)
{
	(void)state;
	struct test_ca_link before[CA_LEVELS];
	memcpy(before, ca.link, sizeof before);
	int64_t now_s = now_ms / 1000;
	/* seconds from now, and the highest level that must be new by then */
	const struct { int64_t after_s; enum test_ca_level from; } rows[] = {
		{ 60, CA_LEVELS }, { 3600, CA_LEVELS }, { 7199, CA_LEVELS }, { 7201, CA_LEAF }, { 9000, CA_LEVELS },
		{ 20 * 3600 + 1, CA_INSTANCE }, { 5 * 86400 + 1, CA_ZONE }, { 12 * 86400 + 1, CA_REGION },
		{ -86000, CA_REGION },                   /* the clock went back: nothing below the root is valid yet */
		{ 0, CA_INSTANCE }, { 1, CA_LEVELS },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		int64_t at_s = now_s + rows[i].after_s;
		uint8_t request[64];
		struct writer q = writer_of(request, sizeof request), w = writer_of(answer, sizeof answer);
		nsm_request_put(&q, &(struct nsm_request){ .kind = NSM_ATTESTATION });
		software_nsm_handle(&nsm, writer_bytes(&q), at_s * 1000, &w);
		struct nsm_response p;
		assert_int_equal(nsm_response_parse(writer_bytes(&w), &p), NSM_OK);
		assert_int_equal(p.kind, NSM_ATTESTATION);
		check_document(p.document, at_s);
		assert_true(ca.link[CA_LEAF].not_after_s - at_s >= 3600);
		for (enum test_ca_level l = CA_ROOT; l < CA_LEVELS; l++) {
			bool same = bytes_equal(bytes_of(before[l].der, before[l].n), test_ca_certificate(&ca, l));
			assert_int_equal(same, l < rows[i].from);
		}
		memcpy(before, ca.link, sizeof before);
	}
	/* outside the root's own time there is no document */
	const int64_t out[] = { -2 * 86400, 3640 * INT64_C(86400), -now_s, -now_s - 5 };
	for (size_t i = 0; i < sizeof out / sizeof *out; i++) {
		struct writer q = writer_of((uint8_t[64]){ 0 }, 64), w = writer_of(answer, sizeof answer);
		nsm_request_put(&q, &(struct nsm_request){ .kind = NSM_ATTESTATION });
		software_nsm_handle(&nsm, writer_bytes(&q), (now_s + out[i]) * 1000, &w);
		struct nsm_response p;
		assert_int_equal(nsm_response_parse(writer_bytes(&w), &p), NSM_OK);
		assert_error(p, NSM_INTERNAL_ERROR);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_first_sixteen_are_locked_at_boot, setup),
		cmocka_unit_test_setup(a_debug_enclave_measures_no_image, setup),
		cmocka_unit_test_setup(extend_hashes_old_and_data, setup),
		cmocka_unit_test_setup(locks_hold, setup),
		cmocka_unit_test_setup(indices_above_31_do_not_exist, setup),
		cmocka_unit_test_setup(what_does_not_parse_is_an_invalid_operation, setup),
		cmocka_unit_test_setup(random_bytes_are_256_and_differ, setup),
		cmocka_unit_test_setup(a_document_says_what_was_asked_and_locked, setup),
		cmocka_unit_test_setup(the_strict_verifier_takes_it_under_its_root_alone, setup),
		cmocka_unit_test_setup(attestation_inputs_have_limits, setup),
		cmocka_unit_test_setup(an_answer_that_does_not_fit_says_so, setup),
		cmocka_unit_test_setup(certificates_are_cached_and_renewed, setup),
	};
	return cmocka_run_group_tests(tests, NULL, close_ca);
}
