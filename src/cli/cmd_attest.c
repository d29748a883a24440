/* tee-rex attest: fetches an attestation document with a fresh nonce and says what it is. With policy
 * options it is verified; without, what it says is shown as what it is: a claim of whoever answered. */
#include "base/log.h"
#include "base/text.h"
#include "cli/attested.h"
#include "cli/commands.h"
#include "cli/http_error.h"
#include "cli/policy_args.h"
#include "cli/save_file.h"
#include "format/attest_doc.h"
#include "format/cose_sign1.h"

#include <errno.h>
#include <jansson.h>
#include <time.h>

enum { TEXT_SHOWN = 600 };

struct attest_args {
	struct policy_args policy;
	const char *nonce, *output;
	bool no_nonce, json;
};

static const struct option_spec options[] = {
	{ 0, "nonce", OPT_STRING, offsetof(struct attest_args, nonce), "HEX", "16 to 64 bytes instead of a fresh random nonce" },
	{ 0, "no-nonce", OPT_FLAG, offsetof(struct attest_args, no_nonce), NULL, "for hosts that cannot pass a nonce: take a document without" },
	{ 'o', "output", OPT_STRING, offsetof(struct attest_args, output), "DOC", "keep the document (binary) in this file" },
	POLICY_OPTIONS(struct attest_args, policy),
	{ 0, "json", OPT_FLAG, offsetof(struct attest_args, json), NULL, "print what it is as one JSON object" },
	OPTIONS_HELP,
	OPTIONS_END
};

static bool wants_verdict(const struct policy_args *p)
{
	return p->root_path != NULL || p->policy_path != NULL || p->pcr.n > 0 || p->min_epoch != NULL ||
	       p->max_age_s != NULL || p->allow_debug;
}

/* --- what it says --------------------------------------------------------------------------------------- */

struct claims {                                  /* of a document, verified or not */
	bool verified;
	const char *code;                        /* the verifier's, or "not-verified" */
	const char *message;
	struct teerex_result r;
};

static void copy_field(struct bytes from, bool has, uint8_t *to, size_t *ret_n, int *ret_has)
{
	*ret_has = has;
	*ret_n = from.n;
	if (from.n > 0)
		memcpy(to, from.p, from.n);
}

/* Reads a document without believing it. */
static bool read_claims(struct bytes document, struct teerex_result *r)
{
	struct cose_sign1 sign1;
	struct attest_doc d;
	*r = (struct teerex_result){ 0 };
	if (cose_sign1_parse(document, &sign1) != COSE_OK || attest_doc_parse(sign1.payload, &d) != DOC_OK)
		return false;
	if (!bytes_to_cstr(d.module_id, r->module_id, sizeof r->module_id))
		return false;
	r->timestamp_ms = d.timestamp_ms;
	r->pcr_mask = d.pcr_mask;
	for (unsigned i = 0; i < TEEREX_PCRS; i++)
		if (d.pcr_mask >> i & 1)
			memcpy(r->pcr[i], d.pcr[i].p, TEEREX_PCR_SIZE);
	copy_field(d.public_key, d.has_public_key, r->public_key, &r->public_key_size, &r->has_public_key);
	copy_field(d.user_data, d.has_user_data, r->user_data, &r->user_data_size, &r->has_user_data);
	copy_field(d.nonce, d.has_nonce, r->nonce, &r->nonce_size, &r->has_nonce);
	return true;
}

/* The documents of a debug enclave carry zeros where its measurements would be. */
static bool is_zero(const uint8_t pcr[TEEREX_PCR_SIZE])
{
	static const uint8_t zero[TEEREX_PCR_SIZE];
	return memcmp(pcr, zero, sizeof zero) == 0;
}

static bool says_debug(const struct teerex_result *r) { return (r->pcr_mask & 1) && is_zero(r->pcr[0]); }

static void print_text(const struct claims *c)
{
	const struct teerex_result *r = &c->r;
	char hex[2 * TEEREX_FIELD_MAX + 1], text[TEXT_SHOWN + 1], when[32] = "?";
	time_t t = (time_t)(r->timestamp_ms / 1000);
	struct tm tm;
	if (gmtime_r(&t, &tm) != NULL)
		strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &tm);
	printf("%-12s %s%s%s\n", "verdict", c->verified ? "valid" : "NOT VERIFIED: this is what the document claims",
	       r->simulated ? " [SIMULATED]" : "", r->debug ? " [DEBUG]" : !c->verified && says_debug(r) ? " [claims DEBUG]" : "");
	printf("%-12s %s\n", "module", text_escape(bytes_str(r->module_id), text, sizeof text));
	printf("%-12s %s\n", "made at", when);
	for (unsigned i = 0; i < TEEREX_PCRS; i++)
		if ((r->pcr_mask >> i & 1) && (i <= 2 || !is_zero(r->pcr[i])))
			printf("PCR%-9u %s\n", i, hex_encode(BYTES_ARRAY(r->pcr[i]), hex));
	if (r->set_name[0] != '\0')
		printf("%-12s %s\n", "matched set", text_escape(bytes_str(r->set_name), text, sizeof text));
	struct pgp_recipient key;
	if (r->has_public_key && pgp_recipient_parse(bytes_of(r->public_key, r->public_key_size), &key) == PGP_OK)
		printf("%-12s %s (OpenPGP)\n", "public key", hex_encode(BYTES_ARRAY(key.fingerprint), hex));
	else
		printf("%-12s %s\n", "public key", r->has_public_key ? "none that tee-rex prove could use" : "none");
	printf("%-12s %s\n", "user data", r->has_user_data ?
	       text_escape(bytes_of(r->user_data, r->user_data_size), text, sizeof text) : "none");
	printf("%-12s %s\n", "nonce", r->has_nonce ? hex_encode(bytes_of(r->nonce, r->nonce_size), hex) : "none");
}

static void add_hex(json_t *o, const char *name, int has, const uint8_t *p, size_t n)
{
	char hex[2 * TEEREX_FIELD_MAX + 1];
	json_object_set_new(o, name, has ? json_string(hex_encode(bytes_of(p, n), hex)) : json_null());
}

/* The members that tee-rex verify --json has, and "verified". */
static void print_json(const struct claims *c, bool readable)
{
	const struct teerex_result *r = &c->r;
	json_t *o = json_object(), *pcrs = json_object();
	json_object_set_new(o, "verified", json_boolean(c->verified));
	json_object_set_new(o, "code", json_string(c->code));
	json_object_set_new(o, "message", json_string(c->message));
	json_object_set_new(o, "simulated", json_boolean(r->simulated));
	json_object_set_new(o, "debug", json_boolean(r->debug || (readable && says_debug(r))));
	if (readable) {
		char name[16], hex[2 * TEEREX_PCR_SIZE + 1];
		for (unsigned i = 0; i < TEEREX_PCRS; i++) {
			snprintf(name, sizeof name, "%u", i);
			if (r->pcr_mask >> i & 1)
				json_object_set_new(pcrs, name, json_string(hex_encode(BYTES_ARRAY(r->pcr[i]), hex)));
		}
		json_object_set_new(o, "timestamp_ms", json_integer((json_int_t)r->timestamp_ms));
		json_object_set_new(o, "module_id", json_string(r->module_id));
		json_object_set(o, "pcrs", pcrs);
		add_hex(o, "public_key", r->has_public_key, r->public_key, r->public_key_size);
		add_hex(o, "user_data", r->has_user_data, r->user_data, r->user_data_size);
		add_hex(o, "nonce", r->has_nonce, r->nonce, r->nonce_size);
		json_object_set_new(o, "epoch", json_integer((json_int_t)r->epoch));
		json_object_set_new(o, "set", json_string(r->set_name));
	}
	json_dumpf(o, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(pcrs);
	json_decref(o);
}

/* --- the command ------------------------------------------------------------------------------------------- */

static int choose_nonce(const struct attest_args *a, uint8_t nonce[FRAME_NONCE_MAX], size_t *ret_n, struct err *err)
{
	*ret_n = 0;
	if (a->no_nonce)
		return a->nonce == NULL ? 0 : fail(err, 0, "--nonce and --no-nonce exclude each other");
	if (a->nonce == NULL) {
		*ret_n = ATTESTED_NONCE_SIZE;
		return crypto_random(nonce, ATTESTED_NONCE_SIZE) ? 0 : fail(err, 0, "make a nonce");
	}
	size_t n = strlen(a->nonce) / 2;
	if (n < FRAME_NONCE_MIN || n > FRAME_NONCE_MAX || !hex_decode(bytes_str(a->nonce), nonce, n))
		return fail(err, 0, "--nonce wants %d to %d bytes in hex", FRAME_NONCE_MIN, FRAME_NONCE_MAX);
	*ret_n = n;
	return 0;
}

/* 0 when there is nothing to object to. */
static int judge(const struct attest_args *a, struct bytes document, struct teerex_policy *policy, struct claims *c,
                 bool *ret_readable)
{
	c->code = "not-verified";
	c->message = "no policy option was given, so nothing was checked";
	if (wants_verdict(&a->policy)) {
		enum teerex_code code = teerex_verify(document.p, document.n, policy, &c->r);
		c->verified = *ret_readable = code == TEEREX_OK;
		c->code = teerex_code_name(code);
		c->message = c->r.message;
		if (code != TEEREX_OK)
			log_error("refused: %s: %s", c->code, c->r.message);
		return code == TEEREX_OK ? 0 : -EACCES;
	}
	*ret_readable = read_claims(document, &c->r);
	if (!*ret_readable) {
		log_error("what the host sent is no attestation document");
		return -EINVAL;
	}
	/* the one thing that needs no policy: is this an answer to our question? */
	if (policy->nonce_size > 0 && !bytes_equal(bytes_of(c->r.nonce, c->r.nonce_size), bytes_of(policy->nonce, policy->nonce_size))) {
		c->code = "nonce-mismatch";
		c->message = "the document does not carry the nonce that was sent";
		log_error("refused: %s: %s", c->code, c->message);
		return -EACCES;
	}
	log_warn("NOT VERIFIED: give --pcr, --policy or --root to say whom you trust");
	return 0;
}

static int attest(const struct attest_args *a, const struct http_base *base, struct teerex_policy *policy, struct err *err)
{
	static uint8_t document[TEEREX_DOCUMENT_MAX];
	static struct claims c;
	bool readable = false;
	size_t n;
	int result = attestation_fetch(base, bytes_of(policy->nonce, policy->nonce_size), document, &n, err);
	if (result == 0 && a->output != NULL)
		result = save_file(a->output, bytes_of(document, n), err);
	if (result < 0) {
		log_error("%s", err->text);
		return result;
	}
	result = judge(a, bytes_of(document, n), policy, &c, &readable);
	if (c.verified)
		attested_warn("tee-rex attest", &c.r);
	if (a->output != NULL && strcmp(a->output, "-") == 0)
		return result;
	if (a->json)
		print_json(&c, readable);
	else if (readable)
		print_text(&c);
	return result;
}

int attest_main(int argc, char **argv)
{
	static struct policy policy;
	static struct http_base base;
	struct attest_args a = { 0 };
	const char *url;
	uint8_t nonce[FRAME_NONCE_MAX];
	size_t n, nonce_size = 0;
	struct err err = { "" };
	log_init("tee-rex attest");
	enum option_result parsed = options_parse(options, &a, argc, argv, &url, 1, &n, &err);
	if (parsed == OPTIONS_WANT_HELP) {
		options_help(stdout, "attest", "URL [OPTIONS]",
		             "Fetches the attestation document of the enclave behind URL and prints what it is. Without\n"
		             "policy options nothing is verified. Exit status: 0 valid (or shown), 1 refused or failed,\n"
		             "2 used wrongly.", options);
		return 0;
	}
	if (parsed == OPTIONS_OK && n != 1) {
		fail(&err, 0, "which URL? tee-rex attest URL (--help lists the options)");
		parsed = OPTIONS_USAGE;
	}
	if (parsed != OPTIONS_OK || http_base_parse(url, &base, &err) < 0 || policy_load(&a.policy, &policy, &err) < 0 ||
	    choose_nonce(&a, nonce, &nonce_size, &err) < 0 || (a.output != NULL && save_file_check(a.output, &err) < 0)) {
		log_error("%s", err.text);
		return 2;
	}
	policy.policy.nonce = nonce_size > 0 ? nonce : NULL;
	policy.policy.nonce_size = nonce_size;
	return attest(&a, &base, &policy.policy, &err) == 0 ? 0 : 1;
}
