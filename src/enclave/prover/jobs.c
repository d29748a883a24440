#include "enclave/prover/jobs.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "format/message_name.h"

#include <sys/mman.h>
#include <sys/stat.h>

void jobs_init(struct jobs *js, const struct config *cfg, struct keyring *keys, struct versions *versions,
               struct link *link)
{
	js->cfg = cfg;
	js->keys = keys;
	js->versions = versions;
	js->link = link;
	for (uint8_t i = 0; i < LAUNCH_SLOTS_MAX; i++) {
		js->job[i].slot = i;
		js->job[i].jobs = js;
		js->job[i].input_fd = -1;
		js->job[i].admission.state = ADMISSION_NONE;
		js->reply[i].reader = NULL;
	}
}

void jobs_count(const struct jobs *js, uint64_t *ret_running, uint64_t *ret_queued)
{
	*ret_running = *ret_queued = 0;
	for (size_t i = 0; i < LAUNCH_SLOTS_MAX; i++) {
		*ret_running += js->job[i].admission.state == ADMISSION_RUNS;
		*ret_queued += js->job[i].admission.state == ADMISSION_WAITS;
	}
}

/* Gives the pages of a big scratch buffer back, so that one large proof is not carried for ever. */
static void scratch_release(uint8_t *p, size_t n)
{
	uintptr_t from = ((uintptr_t)p + 4095) & ~(uintptr_t)4095, to = ((uintptr_t)p + n) & ~(uintptr_t)4095;
	if (to > from)
		madvise((void *)from, to - from, MADV_DONTNEED);
}

static int tell_launcher(struct job *j, enum launch_kind kind, int fd)
{
	struct err err;
	struct launch_message m = { .kind = kind, .slot = j->slot };
	if (kind == LAUNCH_OPEN)
		m.payload_bytes = j->size_limit;
	if (kind == LAUNCH_START)
		m.memory_bytes = j->admission.mib << 20;
	int ret = link_send(j->jobs->link, &m, fd, &err);
	if (ret < 0)
		j->jobs->link->on_lost(j->jobs->link, err.text);
	return ret;
}

/* --- what a job holds ---------------------------------------------------------------------------- */

static void release_keys(struct job *j)
{
	for (size_t i = 0; i < j->offered_n; i++)
		j->offered[i]->refs--;
	j->offered_n = 0;
	j->key = NULL;
	keyring_expire(j->jobs->keys);
}

static void release_all(struct job *j)
{
	pgp_decrypt_free(&j->decrypt);
	close_fd(&j->input_fd);
	hash_free(j->ciphertext);
	j->ciphertext = NULL;
	version_put(j->binary);
	j->binary = NULL;
	release_keys(j);
	j->client = NULL;
}

/* Everything but the launcher's slot goes at once; that one, and what was reserved, when it says CLOSED. */
static void begin_closing(struct job *j)
{
	if (j->state == JOB_FREE || j->state == JOB_CLOSING)
		return;
	release_all(j);
	j->state = JOB_CLOSING;
	if (j->admission.state == ADMISSION_WAITS)
		j->admission.state = ADMISSION_NONE;
	tell_launcher(j, LAUNCH_CLOSE, -1);
}

void job_abandon(struct job *j)
{
	j->client = NULL;
	begin_closing(j);
}

static void closed(struct job *j)
{
	j->state = JOB_FREE;
	j->admission.state = ADMISSION_NONE;
	j->jobs->payload_bytes -= j->payload_bytes;
	j->payload_bytes = 0;
}

/* A free buffer, or that of whoever has been reading longest. */
static struct job_reply *take_reply(struct jobs *js, struct job_client *reader)
{
	struct job_reply *r = &js->reply[0];
	for (size_t i = 0; i < LAUNCH_SLOTS_MAX && r->reader != NULL; i++)
		if (js->reply[i].reader == NULL || js->reply[i].order < r->order)
			r = &js->reply[i];
	if (r->reader != NULL)
		r->reader->on_reply_lost(r->reader);
	r->reader = reader;
	r->order = ++js->replies;
	return r;
}

void job_reply_sent(struct job_reply *r)
{
	r->reader = NULL;
	scratch_release(r->bytes, sizeof r->bytes);
}

/* --- receiving ------------------------------------------------------------------------------------ */

/* Plaintext into the job's tmpfs as it is decrypted; nothing reads it before job_queue(). */
static int sink(void *arg, struct bytes plain)
{
	struct job *j = arg;
	while (plain.n > 0) {
		ssize_t n = write(j->input_fd, plain.p, plain.n);
		if (n <= 0) {
			j->sink_error = n < 0 && (errno == ENOSPC || errno == ENOMEM) ? OUTCOME_NO_SPACE : OUTCOME_INTERNAL;
			return -1;
		}
		plain = bytes_of(plain.p + n, plain.n - (size_t)n);
	}
	return 0;
}

/* Whole pages, as the tmpfs takes them. */
static uint64_t payload_room(uint64_t size) { return (size + 4095) & ~(uint64_t)4095; }

static enum outcome may_open(const struct jobs *js, uint64_t size, struct refusal *r)
{
	const uint64_t budget = (uint64_t)js->cfg->payload_budget_mib << 20;
	uint64_t running, queued;

	jobs_count(js, &running, &queued);
	if (size == 0 || size > (uint64_t)js->cfg->payload_max_mib << 20) {
		fail(&r->why, 0, "the payload has %llu bytes, the limit is %u MiB", (unsigned long long)size, js->cfg->payload_max_mib);
		r->limit_bytes = (uint64_t)js->cfg->payload_max_mib << 20;
		return OUTCOME_TOO_LARGE;
	}
	if (queued >= js->cfg->queue_max && (queued > 0 || running >= js->cfg->jobs)) {
		fail(&r->why, 0, "all %u places in the queue are taken; try again later", js->cfg->queue_max);
		return OUTCOME_BUSY;
	}
	if (payload_room(size) > budget - js->payload_bytes) {
		fail(&r->why, 0, "there is no room for a payload of %llu bytes beside the %llu that others have reserved; try again later",
		     (unsigned long long)size, (unsigned long long)js->payload_bytes);
		r->limit_bytes = budget;
		return OUTCOME_NO_SPACE;
	}
	return OUTCOME_OK;
}

enum outcome job_open(struct jobs *js, struct job_client *client, struct version_binary *binary, uint64_t size,
                      struct job **ret_job, struct refusal *r)
{
	struct job *j = NULL;
	enum outcome refused = may_open(js, size, r);
	if (refused != OUTCOME_OK) {
		version_put(binary);
		return refused;
	}
	for (size_t i = 0; i < js->cfg->slots && j == NULL; i++)
		if (js->job[i].state == JOB_FREE)
			j = &js->job[i];
	struct hash *h = j == NULL ? NULL : hash_new(HASH_SHA256);
	if (h == NULL) {
		fail(&r->why, 0, "all %u job slots are taken; try again later", js->cfg->slots);
		version_put(binary);
		return OUTCOME_BUSY;
	}
	j->client = client;
	j->binary = binary;
	j->ciphertext = h;
	j->size_limit = size;
	j->payload_bytes = payload_room(size);
	js->payload_bytes += j->payload_bytes;
	j->received = 0;
	j->decrypt_us = 0;
	j->sink_error = OUTCOME_OK;
	const struct pgp_key *keys[KEYRING_MAX];
	j->offered_n = keyring_accepted(js->keys, j->offered);
	for (size_t i = 0; i < j->offered_n; i++) {
		j->offered[i]->refs++;
		keys[i] = &j->offered[i]->key;
	}
	pgp_decrypt_init(&j->decrypt, keys, j->offered_n, size, sink, j);
	j->state = JOB_OPENING;
	if (tell_launcher(j, LAUNCH_OPEN, -1) < 0) {
		fail(&r->why, 0, "the launcher is away");
		return OUTCOME_UNAVAILABLE;
	}
	*ret_job = j;
	return OUTCOME_OK;
}

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static enum outcome decrypt_failed(const struct job *j, enum pgp_error e, struct refusal *r)
{
	if (j->sink_error != OUTCOME_OK) {
		fail(&r->why, 0, "%s", j->sink_error == OUTCOME_NO_SPACE ? "the job's payload space is full" : "writing the payload failed");
		r->limit_bytes = j->sink_error == OUTCOME_NO_SPACE ? j->size_limit : 0;
		return j->sink_error;
	}
	if (e == PGP_UNKNOWN_KEY) {
		fail(&r->why, 0, "the message is encrypted to a key this enclave does not hold (any more); attest again");
		return OUTCOME_UNKNOWN_KEY;
	}
	fail(&r->why, 0, "the message does not decrypt: %s", pgp_error_name(e));
	return OUTCOME_BAD_INPUT;
}

enum outcome job_feed(struct job *j, struct bytes ciphertext, struct refusal *r)
{
	if (ciphertext.n > j->size_limit - j->received) {
		fail(&r->why, 0, "more than the announced %llu bytes arrived", (unsigned long long)j->size_limit);
		r->limit_bytes = j->size_limit;
		return OUTCOME_TOO_LARGE;
	}
	int64_t from = now_us();
	j->received += ciphertext.n;
	hash_update(j->ciphertext, ciphertext);
	enum pgp_error e = pgp_decrypt_feed(&j->decrypt, ciphertext);
	j->decrypt_us += now_us() - from;
	return e == PGP_OK ? OUTCOME_OK : decrypt_failed(j, e, r);
}

/* What the client wrote beside its input: the binary it verified, the peak it expects. */
static enum outcome heed_name(struct job *j, struct refusal *r)
{
	struct message_name n;
	const uint32_t most = j->jobs->cfg->recipe.memory_mib;
	enum message_name_result how = message_name_parse(pgp_decrypt_name(&j->decrypt), &n);

	if (how == MESSAGE_NAME_BAD_BINARY ||
	    (how == MESSAGE_NAME_OK && n.names_binary && memcmp(n.bb_sha256, j->binary->sha256, sizeof n.bb_sha256) != 0)) {
		fail(&r->why, 0, "the message is bound to another prover binary than the one it would run; attest again");
		return OUTCOME_VERSION_MISMATCH;
	}
	if (how == MESSAGE_NAME_BAD_PEAK) {
		fail(&r->why, 0, "peak-mib in the message's file name wants a whole number from 1 to %d", MESSAGE_PEAK_MIB_MAX);
		return OUTCOME_BAD_INPUT;
	}
	if (n.peak_mib > most) {
		fail(&r->why, 0, "the job states a peak of %u MiB, and no job may have more than %u MiB; it was not run", n.peak_mib, most);
		r->limit_bytes = (uint64_t)most << 20;
		r->peak_bytes = (uint64_t)n.peak_mib << 20;
		return OUTCOME_OUT_OF_MEMORY;
	}
	j->admission.mib = n.peak_mib == 0 ? most : n.peak_mib < JOB_STATED_MIB_MIN ? JOB_STATED_MIB_MIN : n.peak_mib;
	return OUTCOME_OK;
}

static void start_jobs(struct jobs *js);

enum outcome job_queue(struct job *j, struct refusal *r)
{
	struct jobs *js = j->jobs;
	uint64_t running, queued;
	int64_t from = now_us();
	enum pgp_error e = pgp_decrypt_finish(&j->decrypt);
	j->decrypt_us += now_us() - from;
	if (e != PGP_OK)
		return decrypt_failed(j, e, r);
	if (!hash_peek(j->ciphertext, j->ciphertext_sha256)) {
		fail(&r->why, 0, "hashing the message failed");
		return OUTCOME_INTERNAL;
	}
	enum outcome refused = heed_name(j, r);
	if (refused != OUTCOME_OK)
		return refused;
	j->key = j->offered[pgp_decrypt_matched(&j->decrypt)];
	pgp_decrypt_free(&j->decrypt);
	close_fd(&j->input_fd);
	j->state = JOB_QUEUED;
	j->admission = (struct admission_job){ ADMISSION_WAITS, ++js->arrivals, j->admission.mib, 0 };
	j->told_position = 0;
	j->queued_ms = clock_monotonic_ms();
	start_jobs(js);
	jobs_count(js, &running, &queued);
	if (j->state == JOB_QUEUED && queued > js->cfg->queue_max) {
		fail(&r->why, 0, "all %u places in the queue are taken; try again later", js->cfg->queue_max);
		return OUTCOME_BUSY;
	}
	return OUTCOME_OK;
}

/* --- running --------------------------------------------------------------------------------------- */

static struct job *next_job(struct jobs *js)
{
	const struct admission_limits limits = {
		.jobs = js->cfg->jobs, .budget_mib = js->cfg->memory_budget_mib, .overtakes_max = js->cfg->overtakes_max,
	};
	struct admission_job *all[LAUNCH_SLOTS_MAX];
	for (size_t i = 0; i < LAUNCH_SLOTS_MAX; i++)
		all[i] = &js->job[i].admission;
	struct admission_job *next = admission_next(&limits, all, LAUNCH_SLOTS_MAX);
	return next == NULL ? NULL : CONTAINER_OF(next, struct job, admission);
}

static uint64_t position(const struct jobs *js, const struct job *j)
{
	uint64_t ahead = 0;
	for (size_t i = 0; i < LAUNCH_SLOTS_MAX; i++)
		ahead += js->job[i].state == JOB_QUEUED && js->job[i].admission.order < j->admission.order;
	return ahead + 1;
}

static void start_jobs(struct jobs *js)
{
	for (struct job *j; (j = next_job(js)) != NULL;) {
		j->state = JOB_RUNNING;
		j->admission.state = ADMISSION_RUNS;
		j->started_ms = clock_monotonic_ms();
		if (tell_launcher(j, LAUNCH_START, j->binary->fd) < 0)
			return;
		if (j->client != NULL)
			j->client->on_stage(j->client, "proving", 0);
	}
	for (size_t i = 0; i < LAUNCH_SLOTS_MAX; i++) {
		struct job *j = &js->job[i];
		if (j->state != JOB_QUEUED || j->client == NULL)
			continue;
		uint64_t now = position(js, j);
		if (j->told_position != now)
			j->client->on_stage(j->client, "queued", now);
		j->told_position = now;
	}
}

/* Done, for better or worse: tells the client, if it is still there, and closes the slot. */
static void done(struct job *j, enum outcome code, struct job_reply *reply, const struct frame_error *e)
{
	struct job_client *c = j->client;
	j->admission.state = ADMISSION_NONE;     /* nothing of it runs any more */
	begin_closing(j);
	if (c != NULL)
		c->on_done(c, code, reply, e);
	start_jobs(j->jobs);
}

static void done_with_error(struct job *j, const struct launch_message *m, enum outcome code, const char *text)
{
	struct frame_error e = {
		.code = code, .message = bytes_str(text), .limit_bytes = m->limit_bytes, .peak_bytes = m->peak_bytes,
		.signal = m->signal, .exit_code = m->exit_code,
	};
	done(j, code, NULL, &e);
}

static const char *ending_text(enum outcome how)
{
	switch (how) {
	case OUTCOME_OUT_OF_MEMORY: return "the job reached its memory limit and was stopped";
	case OUTCOME_TIMED_OUT: return "the job did not end before its deadline and was stopped";
	case OUTCOME_CANCELLED: return "the job was cancelled";
	case OUTCOME_CRASHED: return "the prover program was killed by a signal";
	case OUTCOME_PROVER_ERROR: return "the prover program failed or left no usable proof; the input may be invalid";
	case OUTCOME_NO_SPACE: return "there is no room for a payload of this size";
	default: return "the job could not be run";
	}
}

/* u32be(fields) || proof file, into js->proof. Empty when the file is no whole number of fields. */
static struct bytes read_proof(struct jobs *js, int fd)
{
	struct stat st;
	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size % 32 != 0 ||
	    (uint64_t)st.st_size > FRAME_PROOF_MAX - 4)
		return BYTES_NONE;
	size_t n = (size_t)st.st_size, at = 0;
	struct writer w = writer_of(js->proof, 4);
	put_be32(&w, (uint32_t)(n / 32));
	while (at < n) {
		ssize_t got = pread(fd, js->proof + 4 + at, n - at, (off_t)at);
		if (got <= 0)
			return BYTES_NONE;
		at += (size_t)got;
	}
	return bytes_of(js->proof, 4 + n);
}

static void finish_ok(struct job *j, const struct launch_message *m, int proof_fd)
{
	uint8_t proof_sha256[SHA256_SIZE], message[RESULT_MESSAGE_SIZE], signature[ED25519_SIGNATURE_SIZE];
	struct bytes proof = read_proof(j->jobs, proof_fd);
	if (proof.n == 0) {
		done_with_error(j, m, OUTCOME_PROVER_ERROR, ending_text(OUTCOME_PROVER_ERROR));
		return;
	}
	bool ok = crypto_hash(HASH_SHA256, proof, proof_sha256);
	result_message(j->ciphertext_sha256, j->binary->sha256, proof_sha256, message);
	ok = ok && ed25519_sign(j->key->key.primary, BYTES_ARRAY(message), signature);
	struct frame_reply reply = {
		.proof = proof, .bb_sha256 = BYTES_ARRAY(j->binary->sha256), .signature = BYTES_ARRAY(signature),
		.decrypt_ms = (uint64_t)(j->decrypt_us + 999) / 1000, .prove_ms = m->wall_ms,
		.queue_ms = (uint64_t)(j->started_ms - j->queued_ms), .peak_bytes = m->peak_bytes,
	};
	struct job_reply *to = take_reply(j->jobs, j->client);
	struct writer w = writer_of(to->bytes, sizeof to->bytes);
	frame_reply_put(&w, &reply);
	to->n = w.at;
	if (!ok || w.full)
		job_reply_sent(to);
	if (ok && !w.full)
		done(j, OUTCOME_OK, to, NULL);
	else
		done_with_error(j, m, OUTCOME_INTERNAL, "the result could not be signed or does not fit");
	scratch_release(j->jobs->proof, sizeof j->jobs->proof);
}

void jobs_on_launcher(struct jobs *js, const struct launch_message *m, int taken_fd)
{
	CLEANUP(close_fd) int fd = taken_fd;
	struct job *j = &js->job[m->slot];
	char said[LAUNCH_TEXT_MAX * 4 + 1];
	if (j->state == JOB_FREE)
		return;
	if (j->state == JOB_CLOSING) {
		/* whatever else it still had to say crossed our CLOSE on the wire */
		if (m->kind == LAUNCH_CLOSED) {
			closed(j);
			start_jobs(js);
		}
		return;
	}
	switch (m->kind) {
	case LAUNCH_OPENED:
		if (j->state == JOB_OPENING && fd >= 0) {
			j->input_fd = fd_steal(&fd);
			j->state = JOB_RECEIVING;
			j->client->on_ready(j->client);
		}
		return;
	case LAUNCH_ENDED:
		if (j->state != JOB_RUNNING)
			return;
		if (m->how == OUTCOME_OK)
			finish_ok(j, m, fd);
		else
			done_with_error(j, m, m->how, ending_text(m->how));
		return;
	case LAUNCH_FAILED:
		log_warn("launcher: slot=%u %s: %s", m->slot, outcome_name(m->how), text_escape(m->text, said, sizeof said));
		done_with_error(j, m, m->how == OUTCOME_OK ? OUTCOME_INTERNAL : m->how, ending_text(m->how));
		return;
	default:
		return;
	}
}
