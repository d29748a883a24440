/* tee-rex verify: one attestation document, offline. The verdict is the library's; here it is read,
 * printed and turned into an exit status. The document is a stranger's: what it says is escaped before
 * it reaches a terminal. */
#include "base/text.h"
#include "cli/commands.h"
#include "cli/policy_args.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
	INPUT_MAX = 32 << 10,                    /* base64 of the largest document, and line ends */
	JSON_MAX = 64 << 10,                     /* the largest result takes a third of it */
	NONCE_MAX = TEEREX_FIELD_MAX,
	TEXT_SHOWN = 200                         /* characters of user data and nonce in the table */
};

struct verify_args {
	struct policy_args policy;
	const char *time_ms, *nonce;             /* NULL: not given */
	bool json;
};

static const struct option_spec options[] = {
	POLICY_OPTIONS(struct verify_args, policy),
	{ 0, "nonce", OPT_STRING, offsetof(struct verify_args, nonce), "HEX", "the document must carry this nonce" },
	{ 0, "time", OPT_STRING, offsetof(struct verify_args, time_ms), "MS", "verify as of this time (ms since 1970) instead of now" },
	{ 0, "json", OPT_FLAG, offsetof(struct verify_args, json), NULL, "print the verdict as one JSON object" },
	OPTIONS_HELP,
	OPTIONS_END
};

/* Base64 text cannot be mistaken for a document: that starts with byte 84, no ASCII character. Text that
 * does not decode is left as it is, for the verifier to refuse. */
static struct bytes decode_if_text(struct bytes in, uint8_t *out)
{
	struct base64 d = { 0 };
	size_t n = 0;
	for (size_t i = 0; i < in.n; i++) {
		if (in.p[i] != '\n' && in.p[i] != '\r' && in.p[i] != ' ')
			n += base64_feed(&d, bytes_of(in.p + i, 1), out + n);
		if (d.bad)
			return in;
	}
	return base64_done(&d) ? bytes_of(out, n) : in;
}

/* --- for people ------------------------------------------------------------------------- */

static const char simulated_label[] = "SIMULATED (signed under a root that is not AWS's: no hardware vouches for it)";
static const char debug_label[] = "DEBUG (whoever runs the enclave can read its memory; its measurements are zeros)";

static void print_time(uint64_t ms)
{
	time_t t = (time_t)(ms / 1000);
	struct tm tm;
	char text[64] = "?";
	if (gmtime_r(&t, &tm) != NULL)
		strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
	printf("%-12s %s.%03u UTC\n", "made at", text, (unsigned)(ms % 1000));
}

static bool is_zero(const uint8_t pcr[TEEREX_PCR_SIZE])
{
	static const uint8_t zero[TEEREX_PCR_SIZE];
	return memcmp(pcr, zero, sizeof zero) == 0;
}

static void print_pcrs(const struct teerex_result *r)
{
	char hex[2 * TEEREX_PCR_SIZE + 1], zeros[TEEREX_PCRS * 4] = "";
	size_t at = 0;
	for (unsigned i = 0; i < TEEREX_PCRS; i++) {
		if (!(r->pcr_mask >> i & 1))
			continue;
		if (is_zero(r->pcr[i]) && i > 2)
			at += (size_t)snprintf(zeros + at, sizeof zeros - at, " %u", i);
		else
			printf("PCR%-9u %s\n", i, hex_encode(BYTES_ARRAY(r->pcr[i]), hex));
	}
	if (at > 0)
		printf("%-12s%s\n", "zero PCRs", zeros);
}

/* Cut to a line or two; --json has all of it. */
static void print_text(const char *label, bool has, const uint8_t *p, size_t n)
{
	char text[TEXT_SHOWN + 1];
	if (has)
		printf("%-12s \"%s\" (%zu bytes)\n", label, text_escape(bytes_of(p, n), text, sizeof text), n);
	else
		printf("%-12s none\n", label);
}

static void print_nonce(const struct teerex_result *r)
{
	char hex[TEXT_SHOWN + 1];
	size_t shown = r->nonce_size < TEXT_SHOWN / 2 ? r->nonce_size : TEXT_SHOWN / 2;
	if (r->has_nonce)
		printf("%-12s %s%s (%zu bytes)\n", "nonce", hex_encode(bytes_of(r->nonce, shown), hex),
		       shown < r->nonce_size ? "..." : "", r->nonce_size);
	else
		printf("%-12s none\n", "nonce");
}

static void print_valid(const struct teerex_result *r)
{
	char hex[2 * SHA256_SIZE + 1], text[TEEREX_MODULE_ID_MAX * 4 + 4];
	uint8_t sha256[SHA256_SIZE];
	printf("%-12s %s\n", "verdict", "valid");
	if (r->simulated)
		printf("%-12s %s\n", "WARNING", simulated_label);
	if (r->debug)
		printf("%-12s %s\n", "WARNING", debug_label);
	printf("%-12s %s\n", "module", text_escape(bytes_str(r->module_id), text, sizeof text));
	print_time(r->timestamp_ms);
	print_pcrs(r);
	if (r->set_name[0] != '\0')
		printf("%-12s %s\n", "matched set", text_escape(bytes_str(r->set_name), text, sizeof text));
	if (r->epoch != 0)
		printf("%-12s %llu\n", "epoch", (unsigned long long)r->epoch);
	if (r->has_public_key && crypto_hash(HASH_SHA256, bytes_of(r->public_key, r->public_key_size), sha256))
		printf("%-12s %zu bytes, SHA-256 %s\n", "public key", r->public_key_size, hex_encode(BYTES_ARRAY(sha256), hex));
	else
		printf("%-12s none\n", "public key");
	print_text("user data", r->has_user_data, r->user_data, r->user_data_size);
	print_nonce(r);
}

/* --- for programs ----------------------------------------------------------------------- */

static void put_hex_member(struct writer *w, const char *name, bool has, const uint8_t *p, size_t n)
{
	char hex[2 * TEEREX_FIELD_MAX + 1];
	if (has)
		put_fmt(w, ",\"%s\":\"%s\"", name, hex_encode(bytes_of(p, n), hex));
	else
		put_fmt(w, ",\"%s\":null", name);
}

static void put_document(struct writer *w, const struct teerex_result *r)
{
	char hex[2 * TEEREX_PCR_SIZE + 1];
	const char *comma = "";
	put_fmt(w, ",\"timestamp_ms\":%llu,\"module_id\":", (unsigned long long)r->timestamp_ms);
	put_json_string(w, bytes_str(r->module_id));
	put_str(w, ",\"pcrs\":{");
	for (unsigned i = 0; i < TEEREX_PCRS; i++) {
		if (!(r->pcr_mask >> i & 1))
			continue;
		put_fmt(w, "%s\"%u\":\"%s\"", comma, i, hex_encode(BYTES_ARRAY(r->pcr[i]), hex));
		comma = ",";
	}
	put_str(w, "}");
	put_hex_member(w, "public_key", r->has_public_key, r->public_key, r->public_key_size);
	put_hex_member(w, "user_data", r->has_user_data, r->user_data, r->user_data_size);
	put_hex_member(w, "nonce", r->has_nonce, r->nonce, r->nonce_size);
	put_fmt(w, ",\"epoch\":%llu,\"set\":", (unsigned long long)r->epoch);
	put_json_string(w, bytes_str(r->set_name));
}

static void print_json(const struct teerex_result *r)
{
	static uint8_t buf[JSON_MAX];
	struct writer w = writer_of(buf, sizeof buf);
	bool valid = r->code == TEEREX_OK;
	put_fmt(&w, "{\"valid\":%s,\"code\":\"%s\",\"message\":", valid ? "true" : "false", teerex_code_name(r->code));
	put_json_string(&w, bytes_str(r->message));
	put_fmt(&w, ",\"simulated\":%s,\"debug\":%s", r->simulated ? "true" : "false", r->debug ? "true" : "false");
	if (valid)
		put_document(&w, r);
	else
		put_str(&w, ",\"timestamp_ms\":null,\"module_id\":null,\"pcrs\":null,\"public_key\":null,"
		            "\"user_data\":null,\"nonce\":null,\"epoch\":null,\"set\":null");
	put_str(&w, "}\n");
	fwrite(buf, 1, writer_bytes(&w).n, stdout);      /* the caller asks ferror() */
}

/* --- the command ------------------------------------------------------------------------- */

static int set_time_and_nonce(const struct verify_args *a, struct teerex_policy *p, uint8_t *nonce, struct err *err)
{
	if (a->time_ms != NULL) {
		int ret = option_number("time", a->time_ms, UINT64_C(1) << 53, &p->now_ms, err);
		if (ret < 0)
			return ret;
	}
	if (a->nonce != NULL) {
		size_t n = strlen(a->nonce) / 2;
		if (n == 0 || n > NONCE_MAX || !hex_decode(bytes_str(a->nonce), nonce, n))
			return fail(err, 0, "--nonce wants 1 to %d bytes in hex", NONCE_MAX);
		p->nonce = nonce;
		p->nonce_size = n;
	}
	return 0;
}

static int usage(const struct err *err)
{
	fprintf(stderr, "tee-rex verify: %s\n", err->text);
	return 2;
}

int verify_main(int argc, char **argv)
{
	static struct policy policy;
	static struct teerex_result result;
	static uint8_t input[INPUT_MAX], decoded[INPUT_MAX], nonce[NONCE_MAX];
	struct verify_args a = { .json = false };
	const char *path;
	size_t count, n;
	struct err err;
	enum option_result parsed = options_parse(options, &a, argc, argv, &path, 1, &count, &err);
	if (parsed == OPTIONS_WANT_HELP) {
		options_help(stdout, "verify", "DOC [OPTIONS]",
		             "Verifies an AWS Nitro attestation document (a file, or - for standard input; binary or\n"
		             "base64). Exit status: 0 valid, 1 refused, 2 used wrongly or a file could not be read.", options);
		return 0;
	}
	if (parsed == OPTIONS_OK && count != 1) {
		fail(&err, 0, "which document? tee-rex verify DOC (--help lists the options)");
		parsed = OPTIONS_USAGE;
	}
	if (parsed != OPTIONS_OK || policy_load(&a.policy, &policy, &err) < 0 ||
	    set_time_and_nonce(&a, &policy.policy, nonce, &err) < 0 ||
	    read_some(path, input, sizeof input, &n, &err) < 0)
		return usage(&err);

	struct bytes document = decode_if_text(bytes_of(input, n), decoded);
	if (n == sizeof input)                   /* cut: there may be more than was read */
		document = bytes_of(input, n);
	enum teerex_code code = teerex_verify(document.p, document.n, &policy.policy, &result);
	if (code == TEEREX_POLICY_BAD_ROOT || code == TEEREX_POLICY_INVALID) {
		fail(&err, 0, "%s: %s", teerex_code_name(code), result.message);
		return usage(&err);
	}
	if (code != TEEREX_OK)
		fprintf(stderr, "refused: %s: %s%s\n", teerex_code_name(code), result.message,
		        result.simulated ? " [SIMULATED: the root is not AWS's]" : "");
	if (a.json)
		print_json(&result);
	else if (code == TEEREX_OK)
		print_valid(&result);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fail(&err, errno, "print the verdict");
		return usage(&err);
	}
	return code == TEEREX_OK ? 0 : 1;
}
