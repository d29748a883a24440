/* What the operator's socket serves beside the questions: prover versions going in, the table of jobs, stopping. Who
 * may connect is decided by the peer's credentials when it does; nothing here is on a listener that clients reach. */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "host/gateway_server.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { JOB_TEXT_MAX = 512, BODY_SLACK_S = 30, REPLY_S = 60 };

bool operator_admits(const struct gateway *g, int fd)
{
	struct ucred peer;
	socklen_t n = sizeof peer;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0 || n != sizeof peer)
		return false;
	bool ok = peer.uid == 0 || peer.uid == geteuid() || peer.uid == g->o->operator_uid;
	if (!ok)
		log_warn("operator socket: refused user %u (process %d)", (unsigned)peer.uid, (int)peer.pid);
	return ok;
}

/* --- uploads -------------------------------------------------------------------------------------------------- */

static void on_room(struct frame_client *c) { http_resume(CONTAINER_OF(c, struct request, upstream)->conn); }

static void on_end(struct frame_client *c, const struct frame_client_result *result)
{
	struct request *r = CONTAINER_OF(c, struct request, upstream);
	if (result->how != FRAME_CLIENT_REPLY) {
		request_fail_upstream(r, result);
		return;
	}
	/* documents name the versions, and the default one may be another now */
	attestation_drop(r->g);
	jobs_outdate(r->g);
	query_answer_versions(r, &result->reply);
}

void upload_start(struct request *r, struct bytes version)
{
	const struct frame_request q = { .op = OP_UPLOAD, .version = version, .sha256 = BYTES_ARRAY(r->sha256), .size = r->content_length,
		.id = bytes_str(r->id) };
	struct err err;
	if (!version_name_valid(version) || !r->sha256_given) {
		request_fail(r, 0, OUTCOME_BAD_REQUEST, r->sha256_given ? "Invalid version name" : "The digest is wanted first: X-Sha256, in hex");
		return;
	}
	if (r->content_length == 0 || r->content_length == HTTP1_CHUNKED) {
		request_fail(r, 0, OUTCOME_BAD_REQUEST, "The size is wanted first: Content-Length");
		return;
	}
	r->upstream.on_room = on_room;
	r->upstream.on_end = on_end;
	r->state = REQ_READING;
	if (frame_client_open(&r->upstream, &r->g->loop, &r->g->enclave, &q, ((int64_t)r->g->o->body_s + BODY_SLACK_S) * 1000, &err) < 0)
		request_fail(r, 0, OUTCOME_UNAVAILABLE, NULL);
}

size_t upload_feed(struct request *r, struct bytes data)
{
	size_t at = 0;
	while (at < data.n) {
		uint8_t *to;
		size_t room = frame_client_room(&r->upstream, &to), n = room < data.n - at ? room : data.n - at;
		if (n == 0)
			return at;
		memcpy(to, data.p + at, n);
		frame_client_commit(&r->upstream, n);
		at += n;
	}
	return at;
}

void upload_end(struct request *r)
{
	frame_client_end(&r->upstream);
	frame_client_deadline(&r->upstream, REPLY_S * 1000);
	r->state = REQ_WAITING;
}

/* --- jobs ------------------------------------------------------------------------------------------------------- */

static void put_job(struct writer *w, const struct job *j, bool first)
{
	static const char *const states[] = {
		[JOB_WAITING] = "waiting", [JOB_SENT] = "queued", [JOB_PROVING] = "proving", [JOB_DONE] = "done", [JOB_FAILED] = "failed",
	};
	char hex[2 * 32 + 1], from[CLIENT_ADDRESS_TEXT_MAX];
	unsigned n = 0;
	const struct subscriber *s;
	LIST_FOREACH(s, &j->subscribers, of_job)
		n++;
	int64_t until = j->ended_ms > 0 ? j->ended_ms : clock_monotonic_ms();
	put_fmt(w, "%s{\"job\":%llu,\"state\":\"%s\",\"client\":\"%s\",\"version\":\"%s\",\"request_id\":", first ? "" : ",",
	        (unsigned long long)j->order, states[j->state], address_text(&j->from, from), j->version);
	put_json_string(w, bytes_str(j->request_id));
	put_fmt(w, ",\"ciphertext_sha256\":\"%s\",\"subscribers\":%u,\"elapsed_ms\":%lld", hex_encode(BYTES_ARRAY(j->sha256), hex), n,
	        (long long)(until - j->began_ms));
	if (j->state == JOB_WAITING)
		put_fmt(w, ",\"position\":%llu", (unsigned long long)job_position(j));
	put_u8(w, '}');
}

void operator_jobs(struct request *r)
{
	const struct jobs *js = &r->g->jobs;
	const struct job *j;
	size_t n = 0;
	TAILQ_FOREACH(j, &js->all, link)
		n++;
	size_t cap = JOB_TEXT_MAX * (n + 1);
	struct writer w = writer_of(malloc(cap), cap);
	if (w.p == NULL) {
		request_fail(r, 0, OUTCOME_INTERNAL, NULL);
		return;
	}
	put_fmt(&w, "{\"uploads\":%u,\"spool_bytes\":%llu,\"draining\":%s,\"jobs\":[", r->g->uploads, (unsigned long long)js->budget.used,
	        r->g->draining ? "true" : "false");
	TAILQ_FOREACH(j, &js->all, link)
		put_job(&w, j, j == TAILQ_FIRST(&js->all));
	put_str(&w, "]}");
	answer_json(&r->answer, (char *)w.p, writer_bytes(&w).n);
	r->answer.no_store = true;
	request_answer(r);
}

void operator_cancel(struct request *r, struct bytes number)
{
	uint64_t order;
	if (!text_to_u64(number, UINT64_MAX, &order) || !job_cancel(r->g, order)) {
		request_fail(r, 404, OUTCOME_BAD_REQUEST, "No such job is under way");
		return;
	}
	answer_nothing(&r->answer);
	request_answer(r);
}
