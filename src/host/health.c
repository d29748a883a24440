#include "host/health.h"

#include "base/clock.h"

static void tell(struct health *h, bool answers, const struct err *why)
{
	h->answers = answers;
	if (answers)
		h->answered_ms = clock_monotonic_ms();
	h->on_result(h, answers, why);
}

static void keep_versions(struct health *h, const struct frame_reply *r)
{
	h->version_count = 0;
	for (size_t i = 0; i < r->version_count; i++) {
		if (!bytes_to_cstr(r->version[i].name, h->version[h->version_count].name, sizeof h->version[0].name) ||
		    r->version[i].sha256.n != sizeof h->version[0].sha256)
			continue;
		memcpy(h->version[h->version_count++].sha256, r->version[i].sha256.p, sizeof h->version[0].sha256);
	}
}

static void on_end(struct frame_client *c, const struct frame_client_result *r)
{
	struct health *h = CONTAINER_OF(c, struct health, client);
	bool answers = r->how == FRAME_CLIENT_REPLY;
	if (answers) {
		h->uptime_ms = r->reply.uptime_ms;
		h->jobs_running = r->reply.jobs_running;
		h->jobs_queued = r->reply.jobs_queued;
		keep_versions(h, &r->reply);
	}
	if (r->how == FRAME_CLIENT_ERROR)
		fail(&h->why, 0, "the service answered with the error %s", outcome_name(r->error.code));
	else
		h->why = r->why;
	tell(h, answers, &h->why);
}

static void on_later(struct timer *t)
{
	struct health *h = CONTAINER_OF(t, struct health, later);
	tell(h, false, &h->why);
}

int health_open(struct health *h, struct loop *loop, const char *address, struct err *err)
{
	h->loop = loop;
	h->client.on_end = on_end;
	h->later.on_expiry = on_later;
	return frame_address_parse(address, &h->to, err);
}

void health_ask(struct health *h)
{
	static const struct frame_request q = { .op = OP_HEALTH };
	if (h->loop == NULL || frame_client_is_open(&h->client) || timer_armed(&h->later))
		return;
	h->asked_ms = clock_monotonic_ms();
	if (frame_client_open(&h->client, h->loop, &h->to, &q, HEALTH_MS, &h->why) < 0)
		timer_arm(h->loop, &h->later, 0);
}

void health_close(struct health *h)
{
	frame_client_close(&h->client);
	timer_disarm(&h->later);
}
