/* tee-rex prove: verify, encrypt, send, check, keep. Nothing of the input leaves this machine before the
 * document has been verified; what comes back is kept only when the key that the document vouches for has
 * signed it for exactly this message and this prover binary. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/attested.h"
#include "cli/commands.h"
#include "cli/http_error.h"
#include "cli/policy_args.h"
#include "cli/progress.h"
#include "cli/save_file.h"
#include "cli/sealed_body.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
	ANSWER_MAX = 4 << 20,                    /* JSON with the largest proof */
	PROOF_HEAD = 4, FIELD_SIZE = 32,
	TIMEOUT_DEFAULT_S = 1800
};

struct prove_args {
	struct policy_args policy;
	const char *output, *version;
	uint64_t timeout_s, peak_mib;
	bool no_nonce, json, quiet;
};

static const struct option_spec options[] = {
	{ 'o', "output", OPT_STRING, offsetof(struct prove_args, output), "PROOF", "where the proof goes (- for standard output); required" },
	{ 0, "version", OPT_STRING, offsetof(struct prove_args, version), "NAME", "prover version; needed when several are loaded" },
	{ 0, "peak", OPT_U64, offsetof(struct prove_args, peak_mib), "MIB", "memory the job will need: all it may have; starts sooner than one that may need the most" },
	POLICY_OPTIONS(struct prove_args, policy),
	{ 0, "no-nonce", OPT_FLAG, offsetof(struct prove_args, no_nonce), NULL, "for hosts that cannot pass a nonce: take a document without" },
	{ 0, "timeout", OPT_U64, offsetof(struct prove_args, timeout_s), "S", "for sending and proving together (1800)" },
	{ 'q', "quiet", OPT_FLAG, offsetof(struct prove_args, quiet), NULL, "no progress" },
	{ 0, "json", OPT_FLAG, offsetof(struct prove_args, json), NULL, "print the result as one JSON object" },
	OPTIONS_HELP,
	OPTIONS_END
};

struct job {
	const struct prove_args *args;
	struct http_base base;
	struct policy policy;
	struct attested enclave;
	const struct attested_version *version;
	int input_fd;
	uint64_t input_size;
	struct sealed_body body;
	struct progress progress;

	/* of the answer */
	char code[32];                           /* why not; a word of outcome.h or the verifier's */
	char request_id[HTTP_ID_MAX + 1];
	uint8_t *proof;                          /* owned: u32be(fields) || fields */
	size_t proof_n;
	uint64_t peak_bytes;
	int64_t started_ms, ended_ms;
};

/* --- the answer --------------------------------------------------------------------------------------- */

static void set_code(struct job *j, const char *code) { snprintf(j->code, sizeof j->code, "%s", code); }

static bool decode_member(json_t *answer, const char *name, uint8_t *out, size_t cap, size_t *ret_n)
{
	json_t *v = json_object_get(answer, name);
	struct bytes text = bytes_of(json_string_value(v), json_string_length(v));
	return text.n > 0 && base64_decode(text, out, cap, ret_n);
}

/* Whether proof is what the attested key signed for this message and this binary. */
static int check_signature(struct job *j, const uint8_t signature[ED25519_SIGNATURE_SIZE], struct err *err)
{
	uint8_t ciphertext[SHA256_SIZE], proof[SHA256_SIZE], message[RESULT_MESSAGE_SIZE];
	if (!sealed_body_digest(&j->body, ciphertext))
		return fail(err, 0, "the host answered before it had the whole message");
	if (!crypto_hash(HASH_SHA256, bytes_of(j->proof, j->proof_n), proof))
		return fail(err, 0, "hash the proof");
	result_message(ciphertext, j->version->sha256, proof, message);
	if (!ed25519_verify(j->enclave.key.primary_public, BYTES_ARRAY(message), signature)) {
		set_code(j, "bad-signature");
		return fail(err, 0, "refused: bad-signature: the attested enclave did not sign this proof for this input and "
		            "version %s; it was changed on the way, or made by something else", j->version->name);
	}
	return 0;
}

static int check_count(const struct job *j, struct err *err)
{
	struct reader r = reader_of(bytes_of(j->proof, j->proof_n));
	uint64_t fields = get_be32(&r);
	if (r.bad || fields == 0 || reader_left(&r) != fields * FIELD_SIZE)
		return fail(err, 0, "the proof is malformed: %zu bytes for %llu fields of %d bytes", j->proof_n,
		            (unsigned long long)fields, FIELD_SIZE);
	return 0;
}

static int read_answer(struct job *j, const struct http_answer *a, struct err *err)
{
	uint8_t signature[ED25519_SIGNATURE_SIZE];
	size_t n;
	json_t *answer = json_parse(bytes_of(a->body, a->body_n));
	j->proof = j->proof != NULL ? j->proof : malloc(FRAME_PROOF_MAX);
	int ret = 0;
	if (j->proof == NULL)
		ret = fail(err, ENOMEM, "make room for the proof");
	else if (answer == NULL || !decode_member(answer, "proof", j->proof, FRAME_PROOF_MAX, &j->proof_n))
		ret = fail(err, 0, "the host's answer holds no proof");
	else if (!decode_member(answer, "signature", signature, sizeof signature, &n) || n != sizeof signature)
		ret = fail(err, 0, "the host's answer holds no signature: nobody vouches for the proof");
	if (ret == 0)
		ret = check_signature(j, signature, err);
	if (ret == 0)
		ret = check_count(j, err);
	json_int_t peak = json_integer_value(json_object_get(answer, "peakBytes"));
	j->peak_bytes = peak > 0 ? (uint64_t)peak : 0;
	json_decref(answer);
	return ret;
}

/* --- sending --------------------------------------------------------------------------------------------- */

static long pull(void *arg, uint8_t *to, size_t cap)
{
	struct job *j = arg;
	long n = sealed_body_pull(&j->body, to, cap);
	return n < 0 ? HTTP_PULL_FAILED : n;
}

static void on_progress(void *arg, uint64_t sent)
{
	struct job *j = arg;
	progress_sending(&j->progress, sent, j->body.size);
}

static int send_body(struct job *j, struct http_answer *ret, struct err *err)
{
	char version[64 + FRAME_VERSION_MAX];
	snprintf(version, sizeof version, "X-Aztec-Version: %s", j->version->name);
	const struct http_request q = { .base = &j->base, .path = "/prove",
		.headers = { "Content-Type: application/json", version }, .answer_max = ANSWER_MAX,
		.connect_ms = ATTEST_CONNECT_MS, .total_ms = (long)(j->args->timeout_s * 1000), .pull = pull,
		.body_size = j->body.size, .progress = j->progress.on ? on_progress : NULL, .arg = j };
	progress_start(&j->progress);
	int result = http_perform(&q, ret, err);
	progress_end(&j->progress);
	if (result == -ECANCELED)
		*err = j->body.why;
	return result;
}

/* One attested exchange. -EAGAIN: the enclave has other keys by now. */
static int prove_once(struct job *j, struct err *err)
{
	uint8_t nonce[ATTESTED_NONCE_SIZE];
	if (!j->args->no_nonce) {
		if (!crypto_random(nonce, sizeof nonce))
			return fail(err, 0, "make a nonce");
		j->policy.policy.nonce = nonce;
		j->policy.policy.nonce_size = sizeof nonce;
	}
	int result = attested_open(&j->base, &j->policy.policy, &j->enclave, err);
	if (result < 0) {
		set_code(j, result == -EACCES ? teerex_code_name(j->enclave.result.code) : "unavailable");
		return result;
	}
	attested_warn("tee-rex prove", &j->enclave.result);
	j->version = attested_find(&j->enclave, j->args->version, err);
	if (j->version == NULL) {
		set_code(j, "unknown-version");
		return -EINVAL;
	}
	struct message_name name = { .names_binary = true, .peak_mib = (uint32_t)j->args->peak_mib };
	memcpy(name.bb_sha256, j->version->sha256, sizeof name.bb_sha256);
	result = sealed_body_open(&j->body, j->input_fd, j->input_size, &j->enclave.key, &name, err);
	if (result < 0)
		return result;
	struct http_answer answer = { 0 };
	result = send_body(j, &answer, err);
	snprintf(j->request_id, sizeof j->request_id, "%s", answer.request_id);
	if (result == 0 && answer.status != 200) {
		struct http_error e;
		http_error_read(&answer, &e);
		set_code(j, e.code);
		fail(err, 0, "%s", e.text);
		result = strcmp(e.code, outcome_name(OUTCOME_UNKNOWN_KEY)) == 0 ? -EAGAIN : -EIO;
	} else if (result == 0) {
		result = read_answer(j, &answer, err);
	}
	http_answer_free(&answer);
	sealed_body_close(&j->body);
	return result;
}

/* --- the result -------------------------------------------------------------------------------------------- */

static void print_json(const struct job *j, int result, const char *why)
{
	char hex[2 * SHA256_SIZE + 1];
	json_t *o = json_pack("{s:b}", "ok", result == 0);
	if (result == 0) {
		json_object_set_new(o, "output", json_string(j->args->output));
		json_object_set_new(o, "fields", json_integer((json_int_t)((j->proof_n - PROOF_HEAD) / FIELD_SIZE)));
		json_object_set_new(o, "version", json_string(j->version->name));
		json_object_set_new(o, "bb_sha256", json_string(hex_encode(BYTES_ARRAY(j->version->sha256), hex)));
		json_object_set_new(o, "elapsed_ms", json_integer(j->ended_ms - j->started_ms));
		json_object_set_new(o, "peak_bytes", json_integer((json_int_t)j->peak_bytes));
		json_object_set_new(o, "simulated", json_boolean(j->enclave.result.simulated));
		json_object_set_new(o, "debug", json_boolean(j->enclave.result.debug));
	} else {
		json_object_set_new(o, "code", json_string(j->code[0] != '\0' ? j->code : "failed"));
		json_object_set_new(o, "message", json_string(why));
	}
	json_object_set_new(o, "request_id", json_string(j->request_id));
	json_dumpf(o, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(o);
}

static void print_text(const struct job *j)
{
	char hex[2 * SHA256_SIZE + 1];
	hex_encode(BYTES_ARRAY(j->version->sha256), hex);
	printf("proved by %s (bb sha256 %.16s...) in %.1f s, %zu fields, signed by the attested key%s%s\n", j->version->name, hex,
	       (double)(j->ended_ms - j->started_ms) / 1000, (j->proof_n - PROOF_HEAD) / FIELD_SIZE,
	       j->enclave.result.simulated ? " [SIMULATED]" : "", j->enclave.result.debug ? " [DEBUG]" : "");
}

static int open_input(struct job *j, const char *path, struct err *err)
{
	struct stat st;
	j->input_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (j->input_fd < 0 || fstat(j->input_fd, &st) != 0)
		return fail(err, errno, "open the input %s", path);
	if (!S_ISREG(st.st_mode) || st.st_size == 0)
		return fail(err, 0, "the input %s is %s", path, S_ISREG(st.st_mode) ? "empty" : "no regular file");
	j->input_size = (uint64_t)st.st_size;
	return 0;
}

static int prove(struct job *j, struct err *err)
{
	j->started_ms = clock_monotonic_ms();
	int result = prove_once(j, err);
	if (result == -EAGAIN) {
		/* keys rotate, and a restart makes new ones: what was encrypted to the old is lost to everybody */
		if (!j->args->quiet)
			log_info("the enclave has new keys; attesting again");
		result = prove_once(j, err);
	}
	j->ended_ms = clock_monotonic_ms();
	if (result == 0)
		result = save_file(j->args->output, bytes_of(j->proof, j->proof_n), err);
	return result;
}

static int usage(const struct err *err)
{
	log_error("%s", err->text);
	return 2;
}

int prove_main(int argc, char **argv)
{
	static struct job job = { .input_fd = -1 };
	struct prove_args a = { .timeout_s = TIMEOUT_DEFAULT_S };
	const char *positional[2];
	size_t n;
	struct err err = { "" };
	log_init("tee-rex prove");
	enum option_result parsed = options_parse(options, &a, argc, argv, positional, 2, &n, &err);
	if (parsed == OPTIONS_WANT_HELP) {
		options_help(stdout, "prove", "URL INPUT -o PROOF [OPTIONS]",
		             "Verifies the enclave behind URL, encrypts the file INPUT to its key, has it proven, checks the\n"
		             "signature of the answer and writes u32be(fields) || proof. Exit status: 0 done, 1 refused or\n"
		             "failed, 2 used wrongly.", options);
		return 0;
	}
	if (parsed == OPTIONS_OK && (n != 2 || a.output == NULL)) {
		fail(&err, 0, "an URL, an input and -o PROOF are needed; see tee-rex prove --help");
		parsed = OPTIONS_USAGE;
	}
	if (parsed == OPTIONS_OK && (a.timeout_s == 0 || a.timeout_s > 86400)) {
		fail(&err, 0, "--timeout wants seconds between 1 and 86400");
		parsed = OPTIONS_USAGE;
	}
	if (parsed == OPTIONS_OK && a.peak_mib > MESSAGE_PEAK_MIB_MAX) {
		fail(&err, 0, "--peak wants MiB between 1 and %d", MESSAGE_PEAK_MIB_MAX);
		parsed = OPTIONS_USAGE;
	}
	if (parsed != OPTIONS_OK || http_base_parse(positional[0], &job.base, &err) < 0 ||
	    policy_load(&a.policy, &job.policy, &err) < 0 || open_input(&job, positional[1], &err) < 0 ||
	    save_file_check(a.output, &err) < 0)
		return usage(&err);
	job.args = &a;
	job.progress.on = !a.quiet && isatty(STDERR_FILENO);
	int result = prove(&job, &err);
	if (result < 0)
		log_error("%s", err.text);
	if (a.json && strcmp(a.output, "-") != 0)
		print_json(&job, result, err.text);
	else if (result == 0 && strcmp(a.output, "-") != 0)
		print_text(&job);
	free(job.proof);
	close_fd(&job.input_fd);
	return result == 0 ? 0 : 1;
}
