/* The verifier over tests/vectors/doc/cases.txt (written, like the documents, by tests/vectors/make_docs.py), with
 * and without a cache, and what the vectors cannot show: hostile policies, results, messages, the cache. */
#include "attest/teerex_attest.h"

#include "attest/chain.h"
#include "attest/code.h"
#include "attest/epoch.h"
#include "attest/policy.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "crypto/der.h"
#include "crypto/x509_issue.h"
#include "format/cbor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define DOCS "tests/vectors/doc/"
#define REAL "tests/vectors/attestation/"

static struct bytes load(const char *dir, const char *name, const char *suffix, uint8_t *buf, size_t cap)
{
	char path[256];
	snprintf(path, sizeof path, "%s%s%s", dir, name, suffix);
	CLEANUP(close_file) FILE *f = fopen(path, "rb");
	if (f == NULL)
		fail_msg("cannot open %s (tests run in the top directory)", path);
	size_t n = fread(buf, 1, cap, f);
	assert_true(n < cap);
	return bytes_of(buf, n);
}

/* --- the vectors ---------------------------------------------------------------------------- */

struct test_case {
	char name[64], expect[64];
	struct teerex_policy policy;
	struct teerex_pcr_set sets[4];
	uint8_t root[2048], nonce[1024];
};

static void set_option(struct test_case *c, const char *key, const char *value)
{
	static uint8_t buf[8192];
	if (strcmp(key, "time") == 0) {
		assert_true(text_to_u64(bytes_str(value), UINT64_MAX, &c->policy.now_ms));
	} else if (strcmp(key, "root") == 0 && strcmp(value, "aws") != 0) {
		struct bytes pem = load(DOCS, value, "", buf, sizeof buf);
		assert_int_equal(teerex_root_from_pem((const char *)pem.p, pem.n, c->root, sizeof c->root, &c->policy.root_size), 0);
		c->policy.root = c->root;
	} else if (strcmp(key, "pcr") == 0) {
		assert_int_equal(teerex_pcr_set_add(&c->sets[0], value), 0);
		c->policy.set_count = 1;
	} else if (strcmp(key, "nonce") == 0) {
		c->policy.nonce_size = strlen(value) / 2;
		assert_true(hex_decode(bytes_str(value), c->nonce, c->policy.nonce_size));
		c->policy.nonce = c->nonce;
	} else if (strcmp(key, "min_epoch") == 0) {
		assert_true(text_to_u64(bytes_str(value), UINT64_MAX, &c->sets[0].min_epoch));
		c->policy.set_count = 1;
	} else if (strcmp(key, "max_age") == 0) {
		assert_true(text_to_u64(bytes_str(value), UINT32_MAX, &c->policy.max_age_ms));
		c->policy.max_age_ms *= 1000;
	} else if (strcmp(key, "policy") == 0) {
		char message[TEEREX_MESSAGE_SIZE];
		struct bytes text = load(DOCS, value, "", buf, sizeof buf);
		if (teerex_policy_parse((const char *)text.p, text.n, c->sets, COUNT(c->sets), &c->policy.set_count,
		                        message, sizeof message) != 0)
			fail_msg("%s: %s", value, message);
	} else if (strcmp(key, "allow_debug") == 0) {
		c->policy.allow_debug = 1;
	} else if (strcmp(key, "root") != 0) {
		fail_msg("unknown option %s", key);
	}
}

static bool parse_case(char *line, struct test_case *c)
{
	char *save = NULL;
	char *word = strtok_r(line, " \n", &save);
	if (word == NULL || word[0] == '#')
		return false;
	*c = (struct test_case){ .policy = { .sets = c->sets } };
	snprintf(c->name, sizeof c->name, "%s", word);
	snprintf(c->expect, sizeof c->expect, "%s", strtok_r(NULL, " \n", &save));
	while ((word = strtok_r(NULL, " \n", &save)) != NULL) {
		char *value = strchr(word, '=');
		if (value != NULL)
			*value++ = '\0';
		set_option(c, word, value);
	}
	return true;
}

static void check_result(const struct test_case *c, const struct teerex_result *r, enum teerex_code code)
{
	static const struct teerex_result none;
	assert_int_equal(r->code, code);
	if (strcmp(teerex_code_name(code), c->expect) != 0)
		fail_msg("%s: %s (%s), wanted %s", c->name, teerex_code_name(code), r->message, c->expect);
	assert_int_equal(r->simulated, c->policy.root != NULL);
	assert_true(strlen(r->message) > 20 && strlen(r->message) < TEEREX_MESSAGE_SIZE - 1);
	for (const char *p = r->message; *p != '\0'; p++)
		assert_true(*p >= 0x20 && *p < 0x7f);
	if (code == TEEREX_OK)
		return;
	/* nothing of a refused document */
	struct teerex_result rest = *r;
	rest.code = none.code;
	rest.simulated = 0;
	memset(rest.message, 0, sizeof rest.message);
	assert_memory_equal(&rest, &none, sizeof none);
}

static void each_vector_gives_its_verdict_cached_or_not(void **state)
{
	(void)state;
	static struct teerex_cache shared;
	static struct teerex_result plain, first, second;
	static bool seen[TEEREX_CODE_COUNT];
	CLEANUP(close_file) FILE *f = fopen(DOCS "cases.txt", "r");
	assert_non_null(f);
	CLEANUP(free_ptr) char *line = NULL;
	CLEANUP(free_ptr) struct test_case *c = calloc(1, sizeof *c);
	CLEANUP(free_ptr) uint8_t *buf = malloc(65536);
	assert_true(c != NULL && buf != NULL);
	size_t cap = 0, count = 0;
	while (getline(&line, &cap, f) > 0) {
		if (!parse_case(line, c))
			continue;
		struct bytes file = load(DOCS, c->name, ".bin", buf, 65536);
		CLEANUP(free_ptr) uint8_t *exact = malloc(file.n == 0 ? 1 : file.n);
		assert_non_null(exact);
		memcpy(exact, file.p, file.n);
		memset(&plain, 0xaa, sizeof plain);
		check_result(c, &plain, teerex_verify(exact, file.n, &c->policy, &plain));
		c->policy.cache = &shared;
		check_result(c, &first, teerex_verify(exact, file.n, &c->policy, &first));
		check_result(c, &second, teerex_verify(exact, file.n, &c->policy, &second));
		assert_memory_equal(&plain, &first, sizeof plain);
		assert_memory_equal(&plain, &second, sizeof plain);
		seen[plain.code] = true;
		count++;
	}
	assert_true(count > 390);
	assert_true(shared.count_ > 3);
	seen[TEEREX_INTERNAL] = true;                            /* these three have tests of their own, or no cause */
	seen[TEEREX_POLICY_INVALID] = seen[TEEREX_POLICY_BAD_ROOT] = true;
	for (size_t i = 0; i < TEEREX_CODE_COUNT; i++)
		if (!seen[i])
			fail_msg("no vector for %s", teerex_code_name((enum teerex_code)i));
}

/* --- names ------------------------------------------------------------------------------------ */

static void every_code_has_a_name_and_a_sentence(void **state)
{
	(void)state;
	for (int i = 0; i < TEEREX_CODE_COUNT; i++) {
		const char *name = teerex_code_name((enum teerex_code)i);
		assert_non_null(name);
		assert_non_null(code_sentence((enum teerex_code)i));
		for (const char *p = name; *p != '\0'; p++)
			assert_true((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '-');
		for (int j = 0; j < i; j++)
			assert_string_not_equal(name, teerex_code_name((enum teerex_code)j));
	}
	assert_string_equal(teerex_code_name((enum teerex_code)TEEREX_CODE_COUNT), "internal");
	assert_string_equal(teerex_code_name((enum teerex_code)-1), "internal");
	/* a result that nobody mapped must not turn into "ok" */
	for (int i = 0; i < COSE_RESULT_COUNT; i++)
		assert_int_equal(code_of_cose((enum cose_result)i) == TEEREX_OK, i == COSE_OK);
	for (int i = 0; i < DOC_RESULT_COUNT; i++)
		assert_int_equal(code_of_doc((enum doc_result)i) == TEEREX_OK, i == DOC_OK);
	for (int i = 0; i < X509_RESULT_COUNT; i++) {
		assert_int_equal(code_of_x509((enum x509_result)i) == TEEREX_OK, i == X509_OK);
		assert_int_not_equal(code_of_x509((enum x509_result)i), TEEREX_INTERNAL);
	}
}

/* --- the real ones -------------------------------------------------------------------------------- */

static const char production_pcr0[] =
	"0=e72a46ca80a260fb044a125442f0c7e331813bcbaf9724d9f3857758992766f2d65710a27aa94ae3949dd54e7c9fe86a";
static const uint64_t production_ms = UINT64_C(1725719859545), debug_ms = UINT64_C(1725719886508);

static uint8_t real_buf[16384];
static struct teerex_result result;

static enum teerex_code verify_real(const char *name, const struct teerex_policy *p)
{
	struct bytes doc = load(REAL, name, "", real_buf, sizeof real_buf);
	return teerex_verify(doc.p, doc.n, p, &result);
}

static void the_embedded_root_is_awss(void **state)
{
	(void)state;
	size_t n;
	const uint8_t *der = teerex_aws_root(&n);
	uint8_t sha256[SHA256_SIZE];
	char hex[2 * SHA256_SIZE + 1];
	struct x509 root;
	assert_true(crypto_hash(HASH_SHA256, bytes_of(der, n), sha256));
	assert_string_equal(hex_encode(BYTES_ARRAY(sha256), hex),
	                    "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b");
	assert_true(chain_root_usable(bytes_of(der, n)));
	assert_int_equal(x509_parse(bytes_of(der, n), &root), X509_OK);
	assert_true(x509_signed_by(&root, root.point));
}

static void real_documents_give_their_verdicts(void **state)
{
	(void)state;
	struct teerex_pcr_set set = { .name = "production" };
	assert_int_equal(teerex_pcr_set_add(&set, production_pcr0), 0);
	struct teerex_policy p = { .now_ms = production_ms, .sets = &set, .set_count = 1 };
	assert_int_equal(verify_real("production.bin", &p), TEEREX_OK);
	assert_int_equal(result.simulated, 0);
	assert_int_equal(result.debug, 0);
	assert_true(result.timestamp_ms == production_ms);
	assert_string_equal(result.module_id, "i-0a22e5c5f24d22174-enc0191cceb4289903f");
	assert_string_equal(result.set_name, "production");
	assert_int_equal(result.pcr_mask, 0xffff);
	assert_memory_equal(result.pcr[0], set.pcr[0], TEEREX_PCR_SIZE);
	assert_true(result.has_public_key && result.has_user_data && result.has_nonce);
	assert_int_equal(result.public_key_size, 1024);
	assert_int_equal(result.nonce_size, 1024);

	/* the AWS root given as bytes is AWS's root all the same */
	p.root = teerex_aws_root(&p.root_size);
	assert_int_equal(verify_real("production.bin", &p), TEEREX_OK);
	assert_int_equal(result.simulated, 0);

	p.now_ms = 0;                                    /* today */
	assert_int_equal(verify_real("production.bin", &p), TEEREX_CHAIN_EXPIRED);
	p.now_ms = production_ms;
	p.set_count = 0;
	assert_int_equal(verify_real("production.bin", &p), TEEREX_POLICY_EMPTY);
	assert_non_null(strstr(result.message, production_pcr0 + 2));    /* tells what to pin */

	p.now_ms = debug_ms;
	assert_int_equal(verify_real("debug.bin", &p), TEEREX_DEBUG_ENCLAVE);
	p.allow_debug = 1;
	assert_int_equal(verify_real("debug.bin", &p), TEEREX_OK);
	assert_int_equal(result.debug, 1);
	p.now_ms = production_ms;
	assert_int_equal(verify_real("production.bin", &p), TEEREX_POLICY_EMPTY);
}

/* One bit of each byte in turn, everything else as it was: never valid. */
static void no_bit_of_a_document_can_be_changed(void **state)
{
	(void)state;
	static struct teerex_cache cache;
	struct teerex_pcr_set set = { 0 };
	assert_int_equal(teerex_pcr_set_add(&set, production_pcr0), 0);
	struct teerex_policy p = { .now_ms = production_ms, .sets = &set, .set_count = 1, .cache = &cache };
	struct bytes doc = load(REAL, "production.bin", "", real_buf, sizeof real_buf);
	for (size_t i = 0; i < doc.n; i++) {
		real_buf[i] ^= (uint8_t)(1 << i % 8);
		if (teerex_verify(doc.p, doc.n, &p, &result) == TEEREX_OK)
			fail_msg("byte %zu", i);
		real_buf[i] ^= (uint8_t)(1 << i % 8);
	}
	for (size_t n = 0; n < doc.n; n += 7)
		assert_int_equal(teerex_verify(doc.p, n, &p, &result), TEEREX_COSE_TRUNCATED);
	assert_int_equal(teerex_verify(doc.p, doc.n, &p, &result), TEEREX_OK);
}

/* --- policies that make no sense --------------------------------------------------------------------- */

static void unusable_policies_are_refused(void **state)
{
	(void)state;
	static const uint8_t some[2048] = { 1 };
	static struct teerex_pcr_set unterminated;
	memset(unterminated.name, 'x', sizeof unterminated.name);
	const struct teerex_policy rows[] = {
		{ .root = some }, { .root_size = 5 }, { .nonce = some }, { .nonce_size = 5 },
		{ .nonce = some, .nonce_size = TEEREX_FIELD_MAX + 1 }, { .set_count = 1 }, { .now_ms = UINT64_MAX },
		{ .max_age_ms = UINT64_MAX }, { .sets = &unterminated, .set_count = 1 },
	};
	assert_int_equal(verify_real("production.bin", NULL), TEEREX_POLICY_INVALID);
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_int_equal(verify_real("production.bin", &rows[i]), TEEREX_POLICY_INVALID);

	struct teerex_policy p = { .now_ms = production_ms, .root = some, .root_size = sizeof some };
	assert_int_equal(verify_real("production.bin", &p), TEEREX_POLICY_BAD_ROOT);
	/* the hardware's own intermediates and leaf are no roots: they do not name themselves as issuer */
	struct bytes doc = load(REAL, "production.bin", "", real_buf, sizeof real_buf);
	struct cose_sign1 cose;
	struct attest_doc d;
	assert_int_equal(cose_sign1_parse(doc, &cose), COSE_OK);
	assert_int_equal(attest_doc_parse(cose.payload, &d), DOC_OK);
	assert_true(chain_root_usable(d.cabundle[0]));
	assert_false(chain_root_usable(d.cabundle[1]));
	assert_false(chain_root_usable(d.certificate));
	assert_false(chain_root_usable(BYTES_NONE));
	p.root = d.cabundle[1].p;
	p.root_size = d.cabundle[1].n;
	assert_int_equal(teerex_verify(doc.p, doc.n, &p, &result), TEEREX_POLICY_BAD_ROOT);
	assert_int_equal(result.simulated, 1);

	/* self-issued is not enough: it must be an authority, and allowed to sign certificates */
	static const struct { bool ca; unsigned key_usage; bool usable; } roots[] = {
		{ true, X509_KEY_CERT_SIGN, true }, { true, X509_DIGITAL_SIGNATURE | X509_CRL_SIGN, false }, { true, 0, false },
		{ false, X509_KEY_CERT_SIGN, false },
	};
	struct p384 *key = p384_generate();
	for (size_t i = 0; i < COUNT(roots); i++) {
		struct x509_template t = { .common_name = "r", .not_after_s = 1, .ca = roots[i].ca, .path_len = X509_NO_PATH_LEN,
		                           .key_usage = roots[i].key_usage, .serial = BYTES_LIT("1") };
		uint8_t der[X509_ISSUED_MAX];
		struct writer w = writer_of(der, sizeof der);
		assert_true(x509_make_root(key, &t, &w));
		assert_int_equal(chain_root_usable(writer_bytes(&w)), roots[i].usable);
	}
	p384_free(key);

	struct teerex_policy empty = { .now_ms = production_ms };
	assert_int_equal(teerex_verify(NULL, 0, &empty, &result), TEEREX_COSE_TRUNCATED);
}

static void pcr_sets_by_text(void **state)
{
	(void)state;
	static const struct { const char *text; int ret; } rows[] = {
		{ "0=", -1 }, { "", -1 }, { "=", -1 }, { "0", -1 }, { "x=00", -1 }, { "-1=00", -1 }, { "00=00", -1 }, { "+0=00", -1 },
	};
	struct teerex_pcr_set set = { 0 };
	char text[128];
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_int_equal(teerex_pcr_set_add(&set, rows[i].text), rows[i].ret);
	assert_int_equal(teerex_pcr_set_add(&set, production_pcr0), 0);
	assert_int_equal(set.mask, 1);
	assert_int_equal(set.pcr[0][0], 0xe7);
	assert_int_equal(teerex_pcr_set_add(&set, production_pcr0), -1);        /* twice */
	snprintf(text, sizeof text, "31%s", production_pcr0 + 1);
	assert_int_equal(teerex_pcr_set_add(&set, text), 0);
	assert_int_equal(set.mask, 1u << 31 | 1);
	snprintf(text, sizeof text, "32%s", production_pcr0 + 1);
	assert_int_equal(teerex_pcr_set_add(&set, text), -1);
	snprintf(text, sizeof text, "1%s0", production_pcr0 + 1);               /* 97 digits */
	assert_int_equal(teerex_pcr_set_add(&set, text), -1);
	snprintf(text, sizeof text, "1%.96s", production_pcr0 + 1);             /* 95 */
	assert_int_equal(teerex_pcr_set_add(&set, text), -1);
	assert_int_equal(set.mask, 1u << 31 | 1);
}

#define HEX1 "111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111"
#define HEX0 "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"

static void policy_files(void **state)
{
	(void)state;
	static struct teerex_pcr_set sets[3];
	static const struct { const char *text, *message; } bad[] = {
		{ "", "line 0: there is no [set] in it" },
		{ "# only a comment", "line 1: there is no [set] in it" },
		{ "pcr0 = " HEX1, "line 1: a set must start with [name] before its values" },
		{ "[a", "line 1: a set starts with [name]" },
		{ "[a]", "line 1: the last set needs pcr0, or pcr8 and min-epoch (not all zeros)" },
		{ "[a]\npcr8 = " HEX1, "line 2: the last set needs pcr0, or pcr8 and min-epoch (not all zeros)" },
		{ "[a]\npcr0 = " HEX0, "line 2: the last set needs pcr0, or pcr8 and min-epoch (not all zeros)" },
		{ "[a]\npcr3 = " HEX1 "\n[b]\npcr0=" HEX1, "line 3: the set before this line needs pcr0, or pcr8 and min-epoch (not all zeros)" },
		{ "[a]\npcr0 = " HEX1 "\npcr0 = " HEX1, "line 3: this PCR is given twice in this set" },
		{ "[a]\npcr0 = " HEX1 "0", "line 2: a PCR wants 96 hex digits (SHA-384)" },
		{ "[a]\npcr0 =", "line 2: a PCR wants 96 hex digits (SHA-384)" },
		{ "[a]\npcr32 = " HEX1, "line 2: unknown key; pcr0 to pcr31, min-epoch and not-after are known" },
		{ "[a]\npcr = " HEX1, "line 2: unknown key; pcr0 to pcr31, min-epoch and not-after are known" },
		{ "[a]\nPCR0 = " HEX1, "line 2: unknown key; pcr0 to pcr31, min-epoch and not-after are known" },
		{ "[a]\npcr00 = " HEX1, "line 2: unknown key; pcr0 to pcr31, min-epoch and not-after are known" },
		{ "[a]\nallow-debug = 1", "line 2: unknown key; pcr0 to pcr31, min-epoch and not-after are known" },
		{ "[a]\npcr0 " HEX1, "line 2: expected key = value" },
		{ "[a]\nmin-epoch = 0", "line 2: min-epoch wants a whole number from 1" },
		{ "[a]\nmin-epoch = 01", "line 2: min-epoch wants a whole number from 1" },
		{ "[a]\nmin-epoch = 1\nmin-epoch = 2", "line 3: min-epoch is given twice in this set" },
		{ "[a]\nnot-after = tomorrow", "line 2: not-after wants a date: 2027-06-30, or 2027-06-30T12:00:00Z" },
		{ "[a]\nnot-after = 1970-01-01T00:00:00Z", "line 2: not-after wants a date: 2027-06-30, or 2027-06-30T12:00:00Z" },
		{ "[a]\nnot-after = 2027-01-01\nnot-after = 2028-01-01", "line 3: not-after is given twice in this set" },
		{ "[\x1b]\npcr0=" HEX1, "line 1: a set's name is printable ASCII" },
		{ "[1234567890123456789012345678901234567890123456789012345678901234]\npcr0=" HEX1, "line 1: a set's name has at most 63 characters" },
		{ "[a]\npcr0=" HEX1 "\n[b]\npcr0=" HEX1 "\n[c]\npcr0=" HEX1 "\n[d]\npcr0=" HEX1, "line 7: too many sets" },
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		char message[TEEREX_MESSAGE_SIZE] = "";
		size_t n = 99;
		assert_int_equal(teerex_policy_parse(bad[i].text, strlen(bad[i].text), sets, COUNT(sets), &n, message, sizeof message), -1);
		assert_string_equal(message, bad[i].message);
		assert_int_equal(n, 99);
	}
	static const char good[] = "# both\r\n[ first one ]   # name\r\n\tpcr0\t=\t" HEX1 "  # value\r\n\r\nnot-after=2027-06-30\r\n"
	                           "[second]\npcr8 = " HEX1 "\nmin-epoch = 9007199254740992\npcr31=" HEX0 "\nnot-after = 2024-02-29T12:30:15Z";
	char message[8];
	size_t n;
	assert_int_equal(teerex_policy_parse(good, sizeof good - 1, sets, COUNT(sets), &n, message, sizeof message), 0);
	assert_int_equal(n, 2);
	assert_string_equal(sets[0].name, "first one");
	assert_int_equal(sets[0].mask, 1);
	assert_true(sets[0].not_after_ms == UINT64_C(1814399999999));
	assert_true(sets[0].min_epoch == 0);
	assert_string_equal(sets[1].name, "second");
	assert_int_equal(sets[1].mask, 1u << 31 | 1u << 8);
	assert_true(sets[1].min_epoch == UINT64_C(1) << 53);
	assert_true(sets[1].not_after_ms == UINT64_C(1709209815000));
	assert_int_equal(teerex_policy_parse("[", 1, sets, COUNT(sets), &n, message, sizeof message), -1);
	assert_string_equal(message, "line 1:");         /* cut, but terminated */
	assert_int_equal(teerex_policy_parse("[", 1, sets, COUNT(sets), &n, NULL, 0), -1);
	assert_int_equal(teerex_policy_parse("[\0]\npcr0=" HEX1, 5 + 5 + 96, sets, COUNT(sets), &n, message, sizeof message), -1);
}

static void policy_dates(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"", "2027", "2027-6-30", "2027-06-30 ", "2027/06/30", "2027-13-01", "2027-00-01", "2027-01-00", "2027-02-29", "1900-02-29",
		"2100-02-29", "2027-04-31", "1969-12-31", "2027-06-30T12:00:00", "2027-06-30T24:00:00Z", "2027-06-30T12:60:00Z",
		"2027-06-30T12:00:60Z", "2027-06-30T12:00:00z", "2027-06-30t12:00:00Z", "2027-06-30T12:00:00+", "+027-06-30",
	};
	uint64_t ms;
	for (size_t i = 0; i < COUNT(bad); i++)
		if (policy_date(bytes_str(bad[i]), &ms))
			fail_msg("%s", bad[i]);
	/* against the C library, every day for 500 years */
	for (int64_t day = 0; day < 182621; day++) {
		time_t t = (time_t)(day * 86400);
		struct tm tm;
		char text[32];
		gmtime_r(&t, &tm);
		strftime(text, sizeof text, "%Y-%m-%d", &tm);
		assert_true(policy_date(bytes_str(text), &ms));
		assert_true(ms == (uint64_t)(day + 1) * 86400000 - 1);
	}
	assert_true(policy_date(BYTES_LIT("9999-12-31T23:59:59Z"), &ms) && ms == UINT64_C(253402300799000));
}

/* --- the cache --------------------------------------------------------------------------------------- */

/* Two roots of one name: what one has signed must not count for the other because it was seen before. */
static void the_cache_remembers_who_signed(void **state)
{
	(void)state;
	static struct teerex_cache cache;
	static uint8_t mine_buf[16384], other_buf[16384], mixed_buf[16384], document[16384];
	struct bytes mine = load(DOCS, "ok", ".bin", mine_buf, sizeof mine_buf);
	struct bytes other = load(DOCS, "chain-other-root", ".bin", other_buf, sizeof other_buf);
	struct cose_sign1 cose;
	struct attest_doc d, e;
	assert_int_equal(cose_sign1_parse(mine, &cose), COSE_OK);
	assert_int_equal(attest_doc_parse(cose.payload, &d), DOC_OK);
	assert_int_equal(cose_sign1_parse(other, &cose), COSE_OK);
	assert_int_equal(attest_doc_parse(cose.payload, &e), DOC_OK);

	struct teerex_pcr_set set = { .mask = 1 };
	memcpy(set.pcr[0], d.pcr[0].p, TEEREX_PCR_SIZE);
	struct teerex_policy p = { .now_ms = d.timestamp_ms, .sets = &set, .set_count = 1, .cache = &cache,
	                           .root = e.cabundle[0].p, .root_size = e.cabundle[0].n };
	assert_int_equal(teerex_verify(other.p, other.n, &p, &result), TEEREX_OK);
	assert_int_equal(cache.count_, 3);

	/* the other's chain with my root in front: the same names, and each signature is in the cache */
	struct writer mixed = writer_of(mixed_buf, sizeof mixed_buf), w = writer_of(document, sizeof document);
	e.cabundle[0] = d.cabundle[0];
	attest_doc_put(&mixed, &e);
	cose_sign1_put(&w, writer_bytes(&mixed), cose.signature.p);
	p.root = d.cabundle[0].p;
	p.root_size = d.cabundle[0].n;
	assert_int_equal(teerex_verify(document, w.at, &p, &result), TEEREX_CHAIN_BAD_SIGNATURE);
	assert_int_equal(cache.count_, 3);               /* and failures are not remembered */
	assert_int_equal(teerex_verify(mine.p, mine.n, &p, &result), TEEREX_OK);
	/* the two chains differ in the zonal certificate's signature; the rest was known */
	assert_int_equal(cache.count_, 4);
	assert_int_equal(teerex_verify(mine.p, mine.n, &p, &result), TEEREX_OK);
	assert_int_equal(cache.count_, 4);

	p.now_ms = d.timestamp_ms + UINT64_C(86400000);  /* dates are looked at every time */
	assert_int_equal(teerex_verify(mine.p, mine.n, &p, &result), TEEREX_CHAIN_EXPIRED);

	memset(&cache, 0xff, sizeof cache);              /* garbage in it costs time, not memory safety */
	p.now_ms = d.timestamp_ms;
	assert_int_equal(teerex_verify(mine.p, mine.n, &p, &result), TEEREX_OK);
}

static void the_cache_is_bounded(void **state)
{
	(void)state;
	enum { LEAVES = TEEREX_CACHE_ENTRIES + 6 };
	static uint8_t root[X509_ISSUED_MAX], leaf[LEAVES][X509_ISSUED_MAX];
	static struct teerex_cache cache;
	struct p384 *root_key = p384_generate(), *key = p384_generate();
	uint8_t serial[1] = { 1 };
	struct x509_template t = { .common_name = "r", .not_after_s = 2000000000, .ca = true, .path_len = X509_NO_PATH_LEN,
	                           .key_usage = X509_KEY_CERT_SIGN, .serial = BYTES_ARRAY(serial) };
	struct writer w = writer_of(root, sizeof root);
	assert_true(x509_make_root(root_key, &t, &w));
	struct chain c = { .root = writer_bytes(&w), .cert = { writer_bytes(&w) }, .count = 2, .now_s = 1000, .cache = &cache };
	t.ca = false;
	t.key_usage = X509_DIGITAL_SIGNATURE;
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < LEAVES; i++) {
			struct x509 parsed;
			struct chain_fault fault;
			serial[0] = (uint8_t)(i + 1);
			w = writer_of(leaf[i], sizeof leaf[i]);
			if (round == 0)
				assert_true(x509_issue(root_key, c.root, key, &t, &w));
			struct reader r = reader_of(BYTES_ARRAY(leaf[i]));
			c.cert[1] = der_get_element(&r);
			assert_int_equal(chain_verify(&c, &parsed, &fault), TEEREX_OK);
			assert_int_equal(cache.count_, round == 0 && i < TEEREX_CACHE_ENTRIES ? i + 1 : TEEREX_CACHE_ENTRIES);
		}
	leaf[LEAVES - 1][c.cert[1].n - 1] ^= 1;          /* not the signature that is remembered */
	struct x509 parsed;
	struct chain_fault fault;
	assert_int_not_equal(chain_verify(&c, &parsed, &fault), TEEREX_OK);
	p384_free(root_key);
	p384_free(key);
}

/* --- parts ------------------------------------------------------------------------------------------- */

static void epochs(void **state)
{
	(void)state;
	uint64_t v;
	assert_true(epoch_find(BYTES_LIT("{\"epoch\":0}"), &v) && v == 0);
	assert_true(epoch_find(BYTES_LIT("{\"epoch\":9007199254740992}"), &v) && v == UINT64_C(1) << 53);
	assert_true(epoch_find(BYTES_LIT("\n{\"a\":{\"epoch\":1},\"epoch\":2}\t"), &v) && v == 2);
	assert_true(epoch_find(BYTES_LIT("{\"\":0,\"epoch\":3}"), &v) && v == 3);
	static const char *const bad[] = {
		"", "{", "}", "{}", "[]", "null", "3", "{\"epoch\":9007199254740993}", "{\"epoch\":}", "{\"epoch\"}", "{\"epoch\" 5}", "{epoch:5}",
		"{\"epoch\":5}{\"epoch\":5}", "{,\"epoch\":5}", "{\"epoch\":5,,\"a\":1}", "{\"a\":[1,],\"epoch\":5}", "{\"a\":[,1],\"epoch\":5}",
		"{\"a\":[1 2],\"epoch\":5}", "{\"a\":{\"b\"},\"epoch\":5}", "{\"a\":01,\"epoch\":5}", "{\"a\":.5,\"epoch\":5}", "{\"a\":5.,\"epoch\":5}",
		"{\"a\":1e,\"epoch\":5}", "{\"a\":-,\"epoch\":5}", "{\"a\":+1,\"epoch\":5}", "{\"a\":tru,\"epoch\":5}", "{\"a\":NaN,\"epoch\":5}",
		"{\"a\":\"\\x\",\"epoch\":5}", "{\"a\":\"\\u12g4\",\"epoch\":5}", "{\"a\":\"\\u123\",\"epoch\":5}", "{\"a\":\"\\", "{\"a\":\"", "{\"epoch\":5]",
		"{\"a\":[}],\"epoch\":5}", "{\"epoch\":5,\"a\":'x'}", "{\"a\\u0062\":1,\"epoch\":5}", "{\"epoch\":5}\0",
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		size_t n = strlen(bad[i]) + (i == COUNT(bad) - 1);       /* the last with its zero */
		CLEANUP(free_ptr) uint8_t *exact = malloc(n == 0 ? 1 : n);
		assert_non_null(exact);
		memcpy(exact, bad[i], n);
		v = 4711;
		if (epoch_find(bytes_of(exact, n), &v) || v != 4711)
			fail_msg("%s", bad[i]);
	}
}

/* The verdict is of the set that came nearest, whatever their order. */
static void the_nearest_set_speaks(void **state)
{
	(void)state;
	static uint8_t buf[16384];
	struct bytes doc = load(DOCS, "ok", ".bin", buf, sizeof buf);
	struct cose_sign1 cose;
	struct attest_doc d;
	assert_int_equal(cose_sign1_parse(doc, &cose), COSE_OK);
	assert_int_equal(attest_doc_parse(cose.payload, &d), DOC_OK);
	static struct teerex_pcr_set mismatch = { .name = "mismatch", .mask = 1, .pcr = { { 1 } } };
	static struct teerex_pcr_set missing = { .name = "missing", .mask = 1 | 1u << 20 };
	static struct teerex_pcr_set expired = { .name = "expired", .mask = 1, .not_after_ms = 1 };
	static struct teerex_pcr_set old = { .name = "old", .mask = 1, .min_epoch = 6 };
	static struct teerex_pcr_set good = { .name = "good", .mask = 1, .min_epoch = 5 };
	struct teerex_pcr_set *const like_doc[] = { &missing, &expired, &old, &good };
	for (size_t i = 0; i < COUNT(like_doc); i++)
		memcpy(like_doc[i]->pcr[0], d.pcr[0].p, TEEREX_PCR_SIZE);
	static const struct { const struct teerex_pcr_set *a, *b; enum teerex_code code; const char *name; } rows[] = {
		{ &mismatch, &mismatch, TEEREX_PCR_MISMATCH, "mismatch" }, { &mismatch, &missing, TEEREX_PCR_MISSING, "missing" },
		{ &missing, &expired, TEEREX_PCR_EXPIRED, "expired" }, { &expired, &old, TEEREX_EPOCH_TOO_LOW, "old" },
		{ &mismatch, &expired, TEEREX_PCR_EXPIRED, "expired" }, { &old, &good, TEEREX_OK, "good" }, { &expired, &good, TEEREX_OK, "good" },
	};
	for (size_t i = 0; i < COUNT(rows); i++)
		for (int swap = 0; swap < 2; swap++) {
			struct teerex_pcr_set sets[2] = { swap ? *rows[i].b : *rows[i].a, swap ? *rows[i].a : *rows[i].b };
			struct teerex_policy p = { .sets = sets, .set_count = 2 };
			struct policy_match m;
			assert_int_equal(policy_match_sets(&p, &d, d.timestamp_ms, false, &m), rows[i].code);
			assert_string_equal(m.set->name, rows[i].name);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_vector_gives_its_verdict_cached_or_not),
		cmocka_unit_test(every_code_has_a_name_and_a_sentence),
		cmocka_unit_test(the_embedded_root_is_awss),
		cmocka_unit_test(real_documents_give_their_verdicts),
		cmocka_unit_test(no_bit_of_a_document_can_be_changed),
		cmocka_unit_test(unusable_policies_are_refused),
		cmocka_unit_test(pcr_sets_by_text),
		cmocka_unit_test(policy_files),
		cmocka_unit_test(policy_dates),
		cmocka_unit_test(the_cache_remembers_who_signed),
		cmocka_unit_test(the_cache_is_bounded),
		cmocka_unit_test(epochs),
		cmocka_unit_test(the_nearest_set_speaks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
