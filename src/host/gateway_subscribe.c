/* Who waits for a job. A synchronous request is a subscriber for as long as it waits. With "Prefer: respond-async"
 * it is one that outlives its request: it is told its id, and asks with it until the answer has been kept for as
 * long as was promised. Ids are bearer secrets of 128 bits: whoever has one may read the answer and leave. They
 * begin with a tag of the run of the gateway that made them, so that one from before a restart, whose answer was not
 * kept (gateway_kept.c), is told what happened. */
#include "base/clock.h"
#include "base/text.h"
#include "host/gateway_server.h"

#include <stdio.h>
#include <stdlib.h>

enum { STATUS_TEXT_MAX = 256, POLL_AFTER_S = 2 };

static const char *state_name(const struct job *j)
{
	static const char *const names[] = {
		[JOB_WAITING] = "queued", [JOB_SENT] = "queued", [JOB_PROVING] = "proving", [JOB_DONE] = "done", [JOB_FAILED] = "failed",
	};
	return names[j->state];
}

static char *id_text(const struct subscriber *s, char buf[JOB_ID_TEXT + 1])
{
	hex_encode(BYTES_ARRAY(s->tag), buf);
	buf[2 * JOB_TAG_SIZE] = '-';
	hex_encode(BYTES_ARRAY(s->random), buf + 2 * JOB_TAG_SIZE + 1);
	return buf;
}

/* --- answers ---------------------------------------------------------------------------------------------------- */

/* What GET /jobs/ID says, and 202 as well. */
static void answer_status_of(struct request *r, const struct subscriber *s, unsigned status)
{
	const struct job *j = s->job;
	char id[JOB_ID_TEXT + 1];
	size_t cap = STATUS_TEXT_MAX + (j->state == JOB_FAILED ? (size_t)ANSWER_ERROR_MAX : 0);
	struct writer w = writer_of(malloc(cap), cap);
	if (w.p == NULL) {
		request_fail(r, 0, OUTCOME_INTERNAL, NULL);
		return;
	}
	int64_t until = j->ended_ms > 0 ? j->ended_ms : clock_monotonic_ms();
	put_fmt(&w, "{\"id\":\"%s\",\"state\":\"%s\",\"elapsed_ms\":%llu", id_text(s, id), state_name(j),
	        (unsigned long long)rounded_ms((uint64_t)(until - j->began_ms)));
	if (j->state == JOB_WAITING || j->state == JOB_SENT)
		put_fmt(&w, ",\"position\":%llu", (unsigned long long)job_position(j));
	if (j->state == JOB_FAILED) {
		const struct failure *f = &j->failure;
		const struct answer_details d = { bytes_of(f->detail, f->detail_n), f->limit_bytes, f->peak_bytes, f->signal };
		put_str(&w, ",\"error\":");
		answer_error_put(&w, f->status, f->code, f->text, r->id, &d);
	}
	if (status == 202)
		put_fmt(&w, ",\"answer_survives_restart\":%s", j->g->kept.dir >= 0 ? "true" : "false");
	put_u8(&w, '}');
	answer_json(&r->answer, (char *)w.p, writer_bytes(&w).n);
	r->answer.status = status;
	r->answer.no_store = true;
	if (j->state != JOB_FAILED)
		r->answer.retry_after_s = POLL_AFTER_S;
	if (status == 202) {
		snprintf(r->answer.location, sizeof r->answer.location, "/jobs/%s", id);
		r->answer.async = true;
	}
	request_answer(r);
}

static void answer_proof(struct request *r, const struct job *j, bool whole)
{
	if (whole)
		answer_shared(&r->answer, j->text);
	else
		answer_shared_part(&r->answer, j->text, j->result_at, j->result_n);
	r->answer.no_store = true;
	r->answer.timed = true;
	r->answer.prove_ms = j->prove_ms;
	r->answer.decrypt_ms = j->decrypt_ms;
	request_answer(r);
}

/* --- subscribers ------------------------------------------------------------------------------------------------- */

static void detach(struct subscriber *s)
{
	if (s->request != NULL)
		s->request->subscriber = NULL;
	s->request = NULL;
	timer_disarm(&s->wait);
}

static void drop(struct subscriber *s)
{
	struct jobs *js = &s->job->g->jobs;
	detach(s);
	js->subscriber_n--;
	js->promised -= s->accepted;
	LIST_REMOVE(s, of_job);
	LIST_REMOVE(s, of_all);
	free(s);
}

void subscribers_drop(struct job *j)
{
	struct subscriber *s;
	while ((s = LIST_FIRST(&j->subscribers)) != NULL)
		drop(s);
}

bool subscribers_promised(const struct job *j)
{
	const struct subscriber *s;
	LIST_FOREACH(s, &j->subscribers, of_job)
		if (s->accepted)
			return true;
	return false;
}

/* s's job has ended, and its request is told. Who had no id yet has no more to ask, and leaves. */
static void deliver(struct subscriber *s)
{
	struct request *r = s->request;
	struct job *j = s->job;
	detach(s);
	if (r->show && j->state == JOB_FAILED)
		answer_status_of(r, s, 200);
	else if (j->state == JOB_FAILED)
		request_fail_with(r, &j->failure);
	else
		answer_proof(r, j, r->show);
	if (!s->accepted)
		drop(s);
}

void subscribers_tell(struct job *j)
{
	struct subscriber *s, *next;
	for (s = LIST_FIRST(&j->subscribers); s != NULL; s = next) {
		next = LIST_NEXT(s, of_job);
		if (s->request != NULL)
			deliver(s);
	}
}

static void accept_async(struct subscriber *s)
{
	struct request *r = s->request;
	detach(s);
	s->accepted = true;
	s->job->g->jobs.promised++;
	answer_status_of(r, s, 202);
}

/* The request has waited long enough. */
static void on_wait(struct timer *t)
{
	struct subscriber *s = CONTAINER_OF(t, struct subscriber, wait);
	struct request *r = s->request;
	struct job *j = s->job;
	if (s->accepted) {
		detach(s);
		answer_status_of(r, s, 200);
	} else if (r->respond_async && subscribers_have_room(r, true)) {
		accept_async(s);
	} else {
		detach(s);
		drop(s);
		job_unsubscribed(j);
		request_fail(r, 0, r->respond_async ? OUTCOME_BUSY : OUTCOME_TIMED_OUT, NULL);
	}
}

bool subscriber_restore(struct job *j, struct kept_id id)
{
	struct jobs *js = &j->g->jobs;
	struct subscriber *s = js->subscriber_n < JOB_SUBSCRIBERS_MAX ? calloc(1, sizeof *s) : NULL;
	if (s == NULL)
		return false;
	s->job = j;
	s->accepted = true;
	s->wait.on_expiry = on_wait;
	memcpy(s->tag, id.tag, sizeof s->tag);
	memcpy(s->random, id.random, sizeof s->random);
	memcpy(s->client, id.client, sizeof s->client);
	LIST_INSERT_HEAD(&j->subscribers, s, of_job);
	LIST_INSERT_HEAD(&js->subscribers, s, of_all);
	js->subscriber_n++;
	js->promised++;
	return true;
}

static void attach(struct subscriber *s, struct request *r, int64_t wait_ms)
{
	s->request = r;
	r->subscriber = s;
	r->state = REQ_WAITING;
	timer_arm(&r->g->loop, &s->wait, wait_ms);
}

static bool has_promise(const struct request *r)
{
	uint8_t client[CLIENT_KEY_SIZE];
	const struct subscriber *s;
	client_key(&r->from, client);
	LIST_FOREACH(s, &r->g->jobs.subscribers, of_all)
		if (s->accepted && memcmp(s->client, client, sizeof client) == 0)
			return true;
	return false;
}

/* As with the places for jobs, which those who join take none of. */
bool subscribers_have_room(const struct request *r, bool promise)
{
	const struct jobs *js = &r->g->jobs;
	uint64_t max = r->g->o->results_max;
	if (js->subscriber_n >= JOB_SUBSCRIBERS_MAX)
		return false;
	return !promise || js->promised < max - max / 4 || (js->promised < max && !has_promise(r));
}

void subscribe(struct request *r, struct job *j)
{
	struct gateway *g = r->g;
	bool room = subscribers_have_room(r, r->respond_async);
	struct subscriber *s = room ? calloc(1, sizeof *s) : NULL;
	if (s == NULL) {
		job_unsubscribed(j);
		request_fail(r, 0, room ? OUTCOME_INTERNAL : OUTCOME_BUSY, NULL);
		return;
	}
	s->job = j;
	client_key(&r->from, s->client);
	s->wait.on_expiry = on_wait;
	memcpy(s->tag, g->jobs.tag, sizeof s->tag);
	random_bytes(s->random, sizeof s->random);
	LIST_INSERT_HEAD(&j->subscribers, s, of_job);
	LIST_INSERT_HEAD(&g->jobs.subscribers, s, of_all);
	g->jobs.subscriber_n++;
	uint64_t wait_s = r->respond_async ? r->prefer_wait_s : g->o->prove_s;
	attach(s, r, (int64_t)wait_s * 1000);
	if (j->state == JOB_DONE)
		deliver(s);
	else if (wait_s == 0)
		accept_async(s);
}

void job_forget(struct request *r)
{
	struct subscriber *s = r->subscriber;
	if (s == NULL)
		return;
	struct job *j = s->job;
	detach(s);
	if (s->accepted)
		return;
	drop(s);
	job_unsubscribed(j);
}

/* --- by id ----------------------------------------------------------------------------------------------------------- */

/* Without telling by its time how much of an id was right. */
static struct subscriber *find(const struct gateway *g, const uint8_t tag[JOB_TAG_SIZE], const uint8_t random[JOB_RANDOM_SIZE])
{
	struct subscriber *s, *found = NULL;
	LIST_FOREACH(s, &g->jobs.subscribers, of_all) {
		uint8_t differs = !s->accepted || memcmp(s->tag, tag, JOB_TAG_SIZE) != 0;        /* the tag is no secret */
		for (size_t i = 0; i < JOB_RANDOM_SIZE; i++)
			differs |= (uint8_t)(s->random[i] ^ random[i]);
		if (differs == 0)
			found = s;
	}
	return found;
}

/* NULL: r was answered. */
static struct subscriber *find_by_text(struct request *r, struct bytes id)
{
	uint8_t tag[JOB_TAG_SIZE], random[JOB_RANDOM_SIZE];
	struct subscriber *s;
	bool formed = id.n == JOB_ID_TEXT && id.p[2 * JOB_TAG_SIZE] == '-' && hex_decode(bytes_of(id.p, 2 * JOB_TAG_SIZE), tag, sizeof tag) &&
	              hex_decode(bytes_of(id.p + 2 * JOB_TAG_SIZE + 1, 2 * JOB_RANDOM_SIZE), random, sizeof random);
	s = formed ? find(r->g, tag, random) : NULL;
	if (s == NULL && formed && memcmp(tag, r->g->jobs.tag, sizeof tag) != 0)
		request_fail(r, 410, OUTCOME_CANCELLED, "The gateway was started anew since it accepted this job, whose answer was lost with it or "
		             "has been kept long enough: post the request again");
	else if (s == NULL)
		request_fail(r, 404, OUTCOME_BAD_REQUEST, "No such job: there was none, it was left, or its answer was kept long enough");
	return s;
}

void job_show(struct request *r, struct bytes id, uint64_t wait_s)
{
	struct subscriber *s = find_by_text(r, id);
	if (s == NULL)
		return;
	r->show = true;
	if (s->request != NULL) {                /* the later question is the one that somebody still listens to */
		struct request *earlier = s->request;
		detach(s);
		answer_status_of(earlier, s, 200);
	}
	attach(s, r, (int64_t)wait_s * 1000);
	if (s->job->state == JOB_DONE || s->job->state == JOB_FAILED) {
		deliver(s);
	} else if (wait_s == 0) {
		detach(s);
		answer_status_of(r, s, 200);
	}
}

void job_leave(struct request *r, struct bytes id)
{
	struct subscriber *s = find_by_text(r, id);
	if (s == NULL)
		return;
	struct job *j = s->job;
	struct request *asking = s->request;
	detach(s);
	if (asking != NULL)
		answer_status_of(asking, s, 200);
	drop(s);
	kept_save(j);
	job_unsubscribed(j);
	answer_nothing(&r->answer);
	request_answer(r);
}
