#include "host/gateway_jobs.h"

#include "base/clock.h"
#include "base/text.h"
#include "host/gateway_server.h"

#include <stdio.h>
#include <stdlib.h>

enum { FIELD_SIZE = 32 };

static void schedule(struct gateway *g);

/* --- shares ------------------------------------------------------------------------------------------------- */

void client_key(const struct client_address *from, uint8_t key[CLIENT_KEY_SIZE])
{
	memset(key, 0, CLIENT_KEY_SIZE);
	if (from->known)
		memcpy(key, from->ip, address_is_v4(from) ? CLIENT_KEY_SIZE : 8);
}

static struct share *share_find(const struct gateway *g, const struct client_address *from)
{
	uint8_t key[CLIENT_KEY_SIZE];
	struct share *s;
	client_key(from, key);
	LIST_FOREACH(s, &g->jobs.shares, link)
		if (memcmp(s->key, key, sizeof key) == 0)
			return s;
	return NULL;
}

static struct share *share_take(struct gateway *g, const struct client_address *from)
{
	struct share *s = share_find(g, from);
	if (s == NULL && (s = calloc(1, sizeof *s)) != NULL) {
		client_key(from, s->key);
		LIST_INSERT_HEAD(&g->jobs.shares, s, link);
	}
	if (s != NULL)
		s->jobs++;
	return s;
}

static void share_drop(struct share *s)
{
	if (--s->jobs > 0)
		return;
	LIST_REMOVE(s, link);
	free(s);
}

/* The last quarter of the places is for clients that have none. */
bool job_admits(const struct request *r)
{
	const struct gateway *g = r->g;
	uint64_t used = g->uploads + g->jobs.unfinished, max = g->o->proves_max;
	if (used >= max)
		return false;
	return used < max - max / 4 || share_find(g, &r->from) == NULL;
}

/* --- states ------------------------------------------------------------------------------------------------- */

static void free_job(struct job *j)
{
	struct jobs *js = &j->g->jobs;
	if (j->state == JOB_DONE)
		js->kept--;
	kept_forget(j);
	timer_disarm(&j->timer);
	frame_client_close(&j->upstream);
	body_spool_close(&j->spool);
	answer_text_drop(j->text);
	TAILQ_REMOVE(&js->all, j, link);
	free(j);
}

/* Keeps the counts of job and share. */
static void enter(struct job *j, enum job_state state)
{
	struct jobs *js = &j->g->jobs;
	bool was_in = j->state == JOB_SENT || j->state == JOB_PROVING, is_in = state == JOB_SENT || state == JOB_PROVING;
	js->waiting -= j->state == JOB_WAITING;
	j->share->waiting -= j->state == JOB_WAITING;
	js->sent = js->sent - (j->state == JOB_SENT) + (state == JOB_SENT);
	js->exchanges = js->exchanges - was_in + is_in;
	j->share->running = j->share->running - was_in + is_in;
	j->state = state;
	if (state == JOB_DONE || state == JOB_FAILED) {
		js->unfinished--;
		share_drop(j->share);
		j->share = NULL;
	}
	if (state == JOB_DONE)
		js->kept++;
}

/* More answers than may be kept: the oldest that nobody was promised goes. */
static void make_room(struct gateway *g)
{
	struct job *j, *next;
	for (j = TAILQ_FIRST(&g->jobs.all); j != NULL && g->jobs.kept > g->o->results_max; j = next) {
		next = TAILQ_NEXT(j, link);
		if (j->state == JOB_DONE && LIST_EMPTY(&j->subscribers) && !j->telling)
			free_job(j);
	}
}

/* Nobody is subscribed any more. */
static void deserted(struct job *j)
{
	if (j->telling)
		return;
	if (j->state == JOB_FAILED)
		free_job(j);
	else if (j->state != JOB_DONE)
		timer_arm(&j->g->loop, &j->timer, (int64_t)j->g->o->leave_grace_s * 1000);
}

/* Somebody is about to subscribe. */
static void wanted(struct job *j)
{
	if (j->state == JOB_WAITING)
		timer_arm(&j->g->loop, &j->timer, (int64_t)JOB_QUEUE_MAX_S * 1000);
	else if (j->state != JOB_DONE)
		timer_disarm(&j->timer);
}

/* The outcome is known. */
static void end(struct job *j, enum job_state state)
{
	struct gateway *g = j->g;
	frame_client_close(&j->upstream);
	body_spool_close(&j->spool);
	j->ended_ms = clock_monotonic_ms();
	enter(j, state);
	timer_arm(&g->loop, &j->timer, (int64_t)g->o->result_keep_s * 1000);
	kept_save(j);                    /* before anybody is told */
	j->telling = true;
	subscribers_tell(j);
	j->telling = false;
	if (LIST_EMPTY(&j->subscribers))
		deserted(j);
	make_room(g);
	schedule(g);
}

static void job_fail(struct job *j, const struct failure *f)
{
	j->failure = *f;
	end(j, JOB_FAILED);
}

static void on_timer(struct timer *t)
{
	struct job *j = CONTAINER_OF(t, struct job, timer);
	const struct failure late = { .code = OUTCOME_TIMED_OUT };
	if (j->state == JOB_DONE || j->state == JOB_FAILED) {
		subscribers_drop(j);
		free_job(j);
	} else if (LIST_EMPTY(&j->subscribers) || j->state == JOB_WAITING) {
		job_fail(j, &late);      /* with nobody to hear it after a grace: that frees it */
	}
}

/* --- the exchange -------------------------------------------------------------------------------------------- */

static bool proof_complete(const struct frame_reply *p)
{
	struct reader r = reader_of(p->proof);
	uint64_t fields = get_be32(&r);
	return !r.bad && fields > 0 && reader_left(&r) == fields * FIELD_SIZE && p->bb_sha256.n > 0 && p->signature.n > 0;
}

static bool make_text(struct job *j, const struct frame_reply *p)
{
	char hex[2 * 32 + 1];
	struct answer_text *t = answer_text_new(base64_size(p->proof.n) + base64_size(p->signature.n) + 320);
	if (t == NULL)
		return false;
	struct writer w = writer_of(t->p, t->cap);
	put_fmt(&w, "{\"state\":\"done\",\"elapsed_ms\":%llu,\"result\":",
	        (unsigned long long)rounded_ms((uint64_t)(clock_monotonic_ms() - j->began_ms)));
	j->result_at = w.at;
	put_str(&w, "{\"proof\":\"");
	put_base64(&w, p->proof);
	put_fmt(&w, "\",\"bbSha256\":\"%s\",\"signature\":\"", hex_encode(p->bb_sha256, hex));
	put_base64(&w, p->signature);
	put_fmt(&w, "\",\"peakBytes\":%llu}", (unsigned long long)rounded_bytes(p->peak_bytes));
	j->result_n = w.at - j->result_at;
	put_u8(&w, '}');
	t->n = writer_bytes(&w).n;
	j->text = t;
	j->prove_ms = rounded_ms(p->prove_ms);
	j->decrypt_ms = rounded_ms(p->decrypt_ms);
	return true;
}

static void on_event(struct frame_client *c, const struct frame_event *e)
{
	struct job *j = CONTAINER_OF(c, struct job, upstream);
	if (bytes_equal(e->stage, BYTES_LIT("queued")))
		j->position = e->position;
	if (j->state != JOB_SENT || !bytes_equal(e->stage, BYTES_LIT("proving")))
		return;
	enter(j, JOB_PROVING);
	schedule(j->g);
}

static void on_end(struct frame_client *c, const struct frame_client_result *result)
{
	struct job *j = CONTAINER_OF(c, struct job, upstream);
	struct failure f = { .code = OUTCOME_INTERNAL };
	if (result->how == FRAME_CLIENT_REPLY && proof_complete(&result->reply)) {
		if (make_text(j, &result->reply)) {
			end(j, JOB_DONE);
			return;
		}
	} else {
		failure_of(j->g, result, &f);
	}
	job_fail(j, &f);
}

/* Moves what there is room for. */
static void on_room(struct frame_client *c)
{
	struct job *j = CONTAINER_OF(c, struct job, upstream);
	uint8_t *to;
	size_t room;
	while (j->sent < j->spool.size && (room = frame_client_room(c, &to)) > 0) {
		ssize_t n = body_spool_read(&j->spool, j->sent, to, room);
		if (n <= 0) {
			const struct failure f = { .code = OUTCOME_INTERNAL };
			job_fail(j, &f);
			return;
		}
		j->sent += (uint64_t)n;
		frame_client_commit(c, (size_t)n);
	}
	if (j->sent == j->spool.size)
		frame_client_end(c);
}

static void start(struct job *j)
{
	struct gateway *g = j->g;
	const struct frame_request q = { .op = OP_PROVE, .version = bytes_str(j->version), .size = j->spool.size > 0 ? j->spool.size : 1,
		.id = bytes_str(j->request_id) };
	const struct failure away = { .code = OUTCOME_UNAVAILABLE };
	struct err err;
	j->share->turn = ++g->jobs.turns;
	enter(j, JOB_SENT);
	timer_disarm(&j->timer);
	j->upstream.on_room = on_room;
	j->upstream.on_event = on_event;
	j->upstream.on_end = on_end;
	if (frame_client_open(&j->upstream, &g->loop, &g->enclave, &q, (int64_t)g->o->prove_s * 1000, &err) < 0)
		job_fail(j, &away);
	else
		on_room(&j->upstream);
}

/* --- whose turn it is ------------------------------------------------------------------------------------------ */

static bool before(const struct job *a, const struct job *b)
{
	if (a->share->running != b->share->running)
		return a->share->running < b->share->running;
	return a->share->turn != b->share->turn ? a->share->turn < b->share->turn : a->order < b->order;
}

static struct job *next_job(const struct gateway *g)
{
	struct job *j, *best = NULL;
	TAILQ_FOREACH(j, &g->jobs.all, link)
		if (j->state == JOB_WAITING && !LIST_EMPTY(&j->subscribers) && (best == NULL || before(j, best)))
			best = j;
	return best;
}

/* A job that fails to start frees its place at once; that must not lead back in here for every job in line. */
static void schedule(struct gateway *g)
{
	struct job *j;
	if (g->jobs.scheduling)
		return;
	g->jobs.scheduling = true;
	while (g->jobs.waiting > 0 && g->jobs.sent < g->o->enclave_queue && g->jobs.exchanges < JOB_EXCHANGES_MAX &&
	       (j = next_job(g)) != NULL)
		start(j);
	g->jobs.scheduling = false;
}

uint64_t job_position(const struct job *j)
{
	const struct share *s;
	const struct job *o;
	uint64_t rank = 0, ahead = 0;
	if (j->state != JOB_WAITING)
		return j->state == JOB_SENT && j->position > 0 ? j->position : j->state == JOB_SENT;
	TAILQ_FOREACH(o, &j->g->jobs.all, link)
		rank += o->state == JOB_WAITING && o->share == j->share && o->order < j->order;
	LIST_FOREACH(s, &j->g->jobs.shares, link) {
		bool first = s->running != j->share->running ? s->running < j->share->running : s->turn < j->share->turn;
		if (s != j->share)
			ahead += s->waiting < rank + first ? s->waiting : rank + first;
	}
	return j->g->jobs.sent + rank + ahead + 1;
}

/* --- beginning ------------------------------------------------------------------------------------------------- */

static struct job *find_equal(const struct gateway *g, const uint8_t sha256[32], const char *version)
{
	struct job *j;
	TAILQ_FOREACH(j, &g->jobs.all, link)
		if (j->state != JOB_FAILED && !j->outdated && memcmp(j->sha256, sha256, 32) == 0 && strcmp(j->version, version) == 0)
			return j;
	return NULL;
}

static struct job *begin(struct request *r, const uint8_t sha256[32])
{
	struct gateway *g = r->g;
	struct job *j = calloc(1, sizeof *j);
	struct share *share = j == NULL ? NULL : share_take(g, &r->from);
	if (share == NULL) {
		free(j);
		return NULL;
	}
	j->g = g;
	j->state = JOB_WAITING;
	j->share = share;
	j->order = ++g->jobs.orders;
	j->began_ms = clock_monotonic_ms();
	j->spool = r->spool;
	r->spool = (struct body_spool){ .fd = -1 };
	memcpy(j->sha256, sha256, sizeof j->sha256);
	memcpy(j->version, r->version, sizeof j->version);
	memcpy(j->request_id, r->id, sizeof j->request_id);
	j->from = r->from;
	j->timer.on_expiry = on_timer;
	LIST_INIT(&j->subscribers);
	TAILQ_INSERT_TAIL(&g->jobs.all, j, link);
	g->jobs.unfinished++;
	g->jobs.waiting++;
	share->waiting++;
	return j;
}

void job_submit(struct request *r)
{
	struct gateway *g = r->g;
	uint8_t sha256[32];
	struct job *j = NULL;
	bool hashed = body_spool_digest(&r->spool, sha256);
	prove_forget_upload(r);
	if (hashed && (j = find_equal(g, sha256, r->version)) != NULL) {
		g->jobs.joined++;
		body_spool_close(&r->spool);
	} else if (hashed) {
		j = begin(r, sha256);
	}
	if (j == NULL) {
		request_fail(r, 0, OUTCOME_INTERNAL, NULL);
		return;
	}
	wanted(j);
	subscribe(r, j);
	schedule(g);
}

void job_unsubscribed(struct job *j)
{
	if (LIST_EMPTY(&j->subscribers))
		deserted(j);
}

bool job_cancel(struct gateway *g, uint64_t order)
{
	const struct failure f = { .code = OUTCOME_CANCELLED, .text = "The operator cancelled this job" };
	struct job *j;
	TAILQ_FOREACH(j, &g->jobs.all, link)
		if (j->order == order && j->state != JOB_DONE && j->state != JOB_FAILED) {
			job_fail(j, &f);
			return true;
		}
	return false;
}

void jobs_outdate(struct gateway *g)
{
	struct job *j;
	TAILQ_FOREACH(j, &g->jobs.all, link)
		j->outdated = j->outdated || j->version[0] == '\0';
}

unsigned jobs_owed(const struct gateway *g)
{
	const struct job *j;
	unsigned n = 0;
	TAILQ_FOREACH(j, &g->jobs.all, link)
		n += j->state != JOB_DONE && j->state != JOB_FAILED && subscribers_promised(j);
	return n;
}

unsigned jobs_unkept(const struct gateway *g)
{
	const struct job *j;
	unsigned n = 0;
	TAILQ_FOREACH(j, &g->jobs.all, link)
		n += j->state == JOB_DONE && j->kept_as[0] == '\0' && subscribers_promised(j);
	return n;
}

bool job_restore(struct gateway *g, const struct kept_answer *a, const char *name, int64_t keep_ms)
{
	struct job *j = calloc(1, sizeof *j);
	struct answer_text *t = answer_text_new(a->text.n);
	bool ok = j != NULL && t != NULL;
	if (!ok) {
		free(j);
		answer_text_drop(t);
		return false;
	}
	j->g = g;
	j->state = JOB_DONE;
	j->order = ++g->jobs.orders;
	j->began_ms = j->ended_ms = clock_monotonic_ms();
	memcpy(j->sha256, a->sha256, sizeof j->sha256);
	bytes_to_cstr(a->version, j->version, sizeof j->version);
	j->outdated = a->version.n == 0;         /* the default may be another by now */
	j->prove_ms = a->prove_ms;
	j->decrypt_ms = a->decrypt_ms;
	memcpy(t->p, a->text.p, a->text.n);
	t->n = a->text.n;
	j->text = t;
	j->result_at = a->result_at;
	j->result_n = a->result_n;
	j->timer.on_expiry = on_timer;
	LIST_INIT(&j->subscribers);
	TAILQ_INSERT_TAIL(&g->jobs.all, j, link);
	g->jobs.kept++;
	for (size_t i = 0; ok && i < kept_answer_ids(a); i++)
		ok = subscriber_restore(j, kept_answer_id(a, i));
	if (!ok) {
		subscribers_drop(j);
		free_job(j);
		return false;
	}
	snprintf(j->kept_as, sizeof j->kept_as, "%s", name);
	timer_arm(&g->loop, &j->timer, keep_ms);
	return true;
}

/* --- the table -------------------------------------------------------------------------------------------------- */

void jobs_init(struct gateway *g)
{
	struct jobs *js = &g->jobs;
	TAILQ_INIT(&js->all);
	LIST_INIT(&js->shares);
	LIST_INIT(&js->subscribers);
	js->budget.max = g->o->spool_mib << 20;
	random_bytes(js->tag, sizeof js->tag);
}

void jobs_close(struct gateway *g)
{
	struct job *j;
	g->kept.closing = true;          /* the next gateway's */
	g->jobs.scheduling = true;       /* nothing starts any more */
	while ((j = TAILQ_FIRST(&g->jobs.all)) != NULL) {
		const struct failure f = { .code = OUTCOME_CANCELLED };
		subscribers_drop(j);
		if (j->share != NULL)
			job_fail(j, &f);         /* which frees it */
		else
			free_job(j);
	}
}
