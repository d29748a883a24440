#include "host/collector.h"

#include "base/clock.h"
#include "base/text.h"
#include "linux/vsock.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REFILL_MS = 50, READ_SIZE = 16 << 10, DEPTH_MAX = 3, REOPENED_BYTES = COLLECTOR_PASSED_BYTES_S / 4 };

/* --- reading one line ------------------------------------------------------------------------------ */
/* jansson recurses; a flat object needs one level, so a deeper line is refused before it is parsed. */
static bool shallow(struct bytes line)
{
	int depth = 0;
	bool string = false;
	for (size_t i = 0; i < line.n; i++) {
		uint8_t c = line.p[i];
		if (string && c == '\\')
			i++;
		else if (c == '"')
			string = !string;
		else if (!string && (c == '{' || c == '['))
			depth++;
		else if (!string && (c == '}' || c == ']'))
			depth--;
		if (depth > DEPTH_MAX)
			return false;
	}
	return true;
}

static bool name_plain(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz_0123456789");
	return n > 0 && n <= 32 && s[n] == '\0';
}

/* Flat, few members, plain names, no reals. */
static bool acceptable(json_t *o)
{
	const char *name;
	json_t *v;
	if (!json_is_object(o) || json_object_size(o) > COLLECTOR_MEMBERS)
		return false;
	json_object_foreach(o, name, v)
		if (!name_plain(name) || !(json_is_string(v) || json_is_integer(v) || json_is_boolean(v)))
			return false;
	return true;
}

static int64_t number(json_t *o, const char *name, int64_t otherwise)
{
	json_t *v = json_object_get(o, name);
	return json_is_integer(v) ? (int64_t)json_integer_value(v) : otherwise;
}

/* A text member, printable; "" when it is not there. */
static const char *text(json_t *o, const char *name, char *buf, size_t cap)
{
	json_t *v = json_object_get(o, name);
	struct bytes b = json_is_string(v) ? bytes_of(json_string_value(v), json_string_length(v)) : BYTES_NONE;
	return text_escape(b, buf, cap);
}

/* --- numbers ---------------------------------------------------------------------------------------- */
/* False: this line was heard before. */
static bool count(struct collector *c, json_t *o, enum control_kind kind)
{
	char stream[8];
	int64_t seq = number(o, "seq", -1), dropped = kind == CONTROL_DROPPED ? number(o, "count", 0) : 0;
	bool log = kind == CONTROL_LOG || (kind == CONTROL_DROPPED && strcmp(text(o, "stream", stream, sizeof stream), "log") == 0);
	uint64_t at = (uint64_t)seq;
	if (kind == CONTROL_BUG)
		return true;                     /* said in passing, by a program that is dying */
	if (at < c->next[log]) {
		c->again++;
		return false;
	}
	c->lost[log] += at - c->next[log];
	c->taken[log] += kind != CONTROL_DROPPED;
	c->dropped[log] += (uint64_t)dropped;
	c->next[log] = at + (kind == CONTROL_DROPPED ? (uint64_t)dropped : 1);
	return true;
}

/* --- what is kept ------------------------------------------------------------------------------------ */
static struct collector_owner *owner_of(struct collector *c, json_t *o, const char *member)
{
	char name[COLLECTOR_NAME_MAX + 1];
	text(o, member, name, sizeof name);
	for (size_t i = 0; i < c->owners; i++)
		if (strcmp(c->owner[i].name, name) == 0)
			return &c->owner[i];
	if (name[0] == '\0' || c->owners == COLLECTOR_OWNERS)
		return NULL;
	struct collector_owner *new = &c->owner[c->owners++];
	*new = (struct collector_owner){ .code = -1 };
	snprintf(new->name, sizeof new->name, "%s", name);
	return new;
}

static const char *short_of(json_t *o)
{
	return json_is_true(json_object_get(o, "machine")) ? "the whole enclave out of memory" : "out of memory";
}

/* asked: init had told it to end, because what it is linked to ended or the enclave does: that is no death of its own, unless it
 * took more than its time or memory. */
static void keep_end(struct collector *c, struct collector_owner *w, json_t *o, bool asked)
{
	char why[160];
	w->ended = true;
	w->code = number(o, "code", -1);
	w->signal = number(o, "signal", 0);
	w->oom = json_is_true(json_object_get(o, "oom"));
	text(o, "why", why, sizeof why);
	if (asked && !w->oom && !json_is_true(json_object_get(o, "forced")) && why[0] == '\0')
		return;
	int n = snprintf(c->last_death, sizeof c->last_death, "%s: ", w->name);
	char *at = c->last_death + n;
	size_t left = sizeof c->last_death - (size_t)n;
	if (why[0] != '\0')
		snprintf(at, left, "%s", why);
	else if (w->oom)
		snprintf(at, left, "%s, peak %lld bytes, limit %lld bytes", short_of(o), (long long)number(o, "peak_bytes", 0),
		         (long long)number(o, "limit_bytes", 0));
	else if (w->signal != 0)
		snprintf(at, left, "signal %lld%s", (long long)w->signal, json_is_true(json_object_get(o, "forced")) ? ", by init" : "");
	else
		snprintf(at, left, "exit status %lld", (long long)w->code);
}

static void keep_service(struct collector *c, json_t *o)
{
	struct collector_owner *w = owner_of(c, o, "service");
	if (w == NULL)
		return;
	const bool asked = strcmp(w->state, "stopping") == 0;
	text(o, "state", w->state, sizeof w->state);
	w->restarts = number(o, "restarts", w->restarts);
	w->pid = number(o, "pid", strcmp(w->state, "exited") == 0 ? 0 : w->pid);
	if (strcmp(w->state, "exited") == 0)
		keep_end(c, w, o, asked);
}

static void keep_memory(struct collector *c, json_t *o)
{
	if (json_object_get(o, "owner") == NULL) {
		c->total_bytes = number(o, "total_bytes", 0);
		c->available_bytes = number(o, "available_bytes", 0);
		return;
	}
	struct collector_owner *w = owner_of(c, o, "owner");
	if (w == NULL)
		return;
	w->bytes = number(o, "owner_bytes", 0);
	w->peak_bytes = number(o, "owner_peak_bytes", 0);
	w->limit_bytes = number(o, "owner_limit_bytes", 0);
}

static void keep(struct collector *c, enum control_kind kind, json_t *o)
{
	char owner[COLLECTOR_NAME_MAX + 1];
	c->last_ms = number(o, "ms", c->last_ms);
	switch (kind) {
	case CONTROL_BOOT: text(o, "stage", c->stage, sizeof c->stage); break;
	case CONTROL_SERVICE: keep_service(c, o); break;
	case CONTROL_MEMORY: keep_memory(c, o); break;
	case CONTROL_CLOCK: c->drift_ms = number(o, "drift_ms", c->drift_ms); break;
	case CONTROL_SHUTDOWN: text(o, "reason", c->shutdown, sizeof c->shutdown); break;
	case CONTROL_BUG: text(o, "text", c->shutdown, sizeof c->shutdown); break;
	case CONTROL_OOM:
		snprintf(c->last_death, sizeof c->last_death, "%s: %s, peak %lld bytes, limit %lld bytes",
		         text(o, "owner", owner, sizeof owner), short_of(o), (long long)number(o, "peak_bytes", 0), (long long)number(o, "limit_bytes", 0));
		break;
	default: break;
	}
}

/* --- saying it ---------------------------------------------------------------------------------------- */
/* "12.345 service: service=prover state=ready …"; of a log line "12.345 prover| what it wrote". */
static void say(enum control_kind kind, json_t *o, char *buf, size_t cap)
{
	char value[3 * CONTROL_TEXT_MAX], service[COLLECTOR_NAME_MAX + 1];
	const char *name;
	json_t *v;
	struct writer w = writer_of(buf, cap - 1);
	int64_t ms = number(o, "ms", 0);
	put_fmt(&w, "%lld.%03d ", (long long)(ms / 1000), (int)(ms % 1000));
	if (kind == CONTROL_LOG) {
		put_fmt(&w, "%s| ", text(o, "service", service, sizeof service));
		put_str(&w, text(o, "text", value, sizeof value));
	} else {
		put_fmt(&w, "%s:", control_kind_name(kind));
		json_object_foreach(o, name, v) {
			if (strcmp(name, "kind") == 0 || strcmp(name, "seq") == 0 || strcmp(name, "ms") == 0)
				continue;
			if (json_is_integer(v))
				put_fmt(&w, " %s=%lld", name, (long long)json_integer_value(v));
			else if (json_is_boolean(v))
				put_fmt(&w, " %s=%s", name, json_is_true(v) ? "yes" : "no");
			else
				put_fmt(&w, " %s=%.300s", name, text(o, name, value, sizeof value));
		}
	}
	buf[w.at < cap ? w.at : cap - 1] = '\0';
}

/* Shut when the budget is used up, until a good part of it is there again: so the word about it is rare, too. */
static bool may_pass(struct collector *c, bool log)
{
	struct collector_passing *p = &c->passing[log];
	int64_t now = clock_monotonic_ms();
	p->left += (now - p->at_ms) * COLLECTOR_PASSED_BYTES_S / 1000;
	p->left = p->left < COLLECTOR_PASSED_BURST ? p->left : COLLECTOR_PASSED_BURST;
	p->at_ms = now;
	if (!p->shut && p->left <= 0)
		p->shut = true;
	if (p->shut && p->left >= REOPENED_BYTES) {
		p->shut = false;
		c->on_withheld(c, log, p->unsaid);
		p->unsaid = 0;
	}
	return !p->shut;
}

bool collector_take(struct collector *c, struct bytes line)
{
	static char again[8 * CONTROL_LINE_MAX], people[8 * CONTROL_LINE_MAX];
	char word[16];
	json_error_t error;
	json_t *o = !shallow(line) ? NULL : json_loadb((const char *)line.p, line.n, JSON_REJECT_DUPLICATES, &error);
	enum control_kind kind = o == NULL || !acceptable(o) ? CONTROL_KIND_COUNT : control_kind_of(bytes_str(text(o, "kind", word, sizeof word)));
	bool good = kind != CONTROL_KIND_COUNT && number(o, "seq", -1) >= 0 && number(o, "ms", -1) >= 0 &&
	            (kind != CONTROL_DROPPED || number(o, "count", -1) > 0);
	bool log = kind == CONTROL_LOG;
	if (good && count(c, o, kind)) {
		keep(c, kind, o);
		size_t n = 0;
		if (!may_pass(c, log)) {
			c->withheld[log]++;
			c->passing[log].unsaid++;
		} else {
			n = json_dumpb(o, again, sizeof again - 1, JSON_COMPACT | JSON_ENSURE_ASCII);
		}
		if (n > 0 && n < sizeof again) {
			again[n++] = '\n';
			say(kind, o, people, sizeof people);
			c->passing[log].left -= (int64_t)n;
			c->on_line(c, kind, bytes_of(again, n), people);
		}
	} else if (!good) {
		c->malformed++;
	}
	json_decref(o);
	return good;
}

/* --- connections ---------------------------------------------------------------------------------------- */
static void hang_up(struct collector_peer *p)
{
	int fd = p->watch.fd;
	if (fd < 0)
		return;
	loop_del(p->of->loop, &p->watch);
	close(fd);
}

/* Pieces into lines. False: it sends too much that is none. */
static bool take_bytes(struct collector_peer *p, struct bytes b)
{
	for (size_t i = 0; i < b.n; i++) {
		bool end = b.p[i] == '\n', whole = end && !p->skipping;
		bool bad = (whole && !collector_take(p->of, bytes_of(p->line, p->line_n))) || (!end && !p->skipping && p->line_n == sizeof p->line);
		if (bad && !end)
			p->of->malformed++;
		if (bad && ++p->malformed >= COLLECTOR_MALFORMED_MAX)
			return false;
		p->skipping = !end && (p->skipping || bad);
		if (end || p->skipping)
			p->line_n = 0;
		else
			p->line[p->line_n++] = b.p[i];
	}
	return true;
}

static void spend(struct collector *c, size_t n)
{
	c->budget -= (int64_t)n;
	if (c->budget > 0)
		return;
	for (size_t i = 0; i < COLLECTOR_CONNECTIONS; i++)
		if (c->peer[i].watch.fd >= 0)
			loop_set(c->loop, &c->peer[i].watch, 0);
	timer_arm(c->loop, &c->refill, REFILL_MS);
}

static void on_refill(struct timer *t)
{
	struct collector *c = CONTAINER_OF(t, struct collector, refill);
	int64_t now = clock_monotonic_ms();
	c->budget += (now - c->refilled_ms) * COLLECTOR_BYTES_S / 1000;
	c->budget = c->budget < COLLECTOR_BYTES_S ? c->budget : COLLECTOR_BYTES_S;
	c->refilled_ms = now;
	for (size_t i = 0; i < COLLECTOR_CONNECTIONS; i++)
		if (c->peer[i].watch.fd >= 0 && c->budget > 0)
			loop_set(c->loop, &c->peer[i].watch, EPOLLIN);
	bool open = true;
	for (int log = 0; log < 2; log++)
		open = may_pass(c, log) && open;
	if (c->budget < COLLECTOR_BYTES_S || !open)
		timer_arm(c->loop, t, REFILL_MS);
}

static void on_peer(struct watch *w, uint32_t events)
{
	struct collector_peer *p = CONTAINER_OF(w, struct collector_peer, watch);
	static uint8_t buf[READ_SIZE];
	(void)events;
	ssize_t n = recv(w->fd, buf, sizeof buf, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || !take_bytes(p, bytes_of(buf, (size_t)n))) {
		hang_up(p);
		return;
	}
	if (!timer_armed(&p->of->refill))
		on_refill(&p->of->refill);
	spend(p->of, (size_t)n);
}

bool collector_add(struct collector *c, int fd, uint32_t port)
{
	struct collector_peer *p = c->peer;
	if (port >= VSOCK_PRIVILEGED_PORTS) {
		c->refused++;
		close(fd);
		return false;
	}
	while (p < c->peer + COLLECTOR_CONNECTIONS && p->watch.fd >= 0)
		p++;
	if (p == c->peer + COLLECTOR_CONNECTIONS || loop_add(c->loop, &p->watch, fd, c->budget > 0 ? EPOLLIN : 0) != 0) {
		close(fd);
		return true;
	}
	p->line_n = 0;
	p->skipping = false;
	p->malformed = 0;
	return true;
}

bool collector_connected(const struct collector *c)
{
	for (size_t i = 0; i < COLLECTOR_CONNECTIONS; i++)
		if (c->peer[i].watch.fd >= 0)
			return true;
	return false;
}

void collector_init(struct collector *c, struct loop *loop)
{
	c->loop = loop;
	c->budget = COLLECTOR_BYTES_S;
	c->refilled_ms = clock_monotonic_ms();
	c->refill.on_expiry = on_refill;
	for (int log = 0; log < 2; log++)
		c->passing[log] = (struct collector_passing){ .left = COLLECTOR_PASSED_BURST, .at_ms = c->refilled_ms };
	for (size_t i = 0; i < COLLECTOR_CONNECTIONS; i++) {
		c->peer[i].of = c;
		c->peer[i].watch = (struct watch){ .fd = -1, .on_event = on_peer };
	}
}

void collector_close(struct collector *c)
{
	if (c->loop == NULL)
		return;
	timer_disarm(&c->refill);
	for (size_t i = 0; i < COLLECTOR_CONNECTIONS; i++)
		hang_up(&c->peer[i]);
}

/* --- status ------------------------------------------------------------------------------------------------ */
static json_t *owner_status(const struct collector_owner *w)
{
	json_t *o = json_pack("{s:s,s:I,s:I,s:I}", "name", w->name, "bytes", (json_int_t)w->bytes, "peak_bytes", (json_int_t)w->peak_bytes,
	                      "limit_bytes", (json_int_t)w->limit_bytes);
	if (o != NULL && w->state[0] != '\0') {
		json_object_set_new(o, "state", json_string(w->state));
		json_object_set_new(o, "restarts", json_integer((json_int_t)w->restarts));
		json_object_set_new(o, "pid", json_integer((json_int_t)w->pid));
	}
	if (o != NULL && w->ended) {
		json_object_set_new(o, w->signal != 0 ? "last_signal" : "last_code", json_integer((json_int_t)(w->signal != 0 ? w->signal : w->code)));
		json_object_set_new(o, "last_oom", json_boolean(w->oom));
	}
	return o;
}

json_t *collector_status(const struct collector *c)
{
	json_t *owners = json_array();
	for (size_t i = 0; owners != NULL && i < c->owners; i++)
		json_array_append_new(owners, owner_status(&c->owner[i]));
	return json_pack("{s:b,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s*,s:s*,s:o}", "connected", collector_connected(c), "stage", c->stage,
	                 "events", (json_int_t)c->taken[0], "log_lines", (json_int_t)c->taken[1], "again", (json_int_t)c->again, "malformed", (json_int_t)c->malformed,
	                 "refused", (json_int_t)c->refused,
	                 "events_dropped", (json_int_t)c->dropped[0], "log_lines_dropped", (json_int_t)c->dropped[1],
	                 "events_withheld", (json_int_t)c->withheld[0], "log_lines_withheld", (json_int_t)c->withheld[1],
	                 "events_lost", (json_int_t)c->lost[0], "log_lines_lost", (json_int_t)c->lost[1],
	                 "total_bytes", (json_int_t)c->total_bytes, "available_bytes", (json_int_t)c->available_bytes,
	                 "drift_ms", (json_int_t)c->drift_ms,
	                 "last_death", c->last_death[0] != '\0' ? c->last_death : NULL,
	                 "shutdown", c->shutdown[0] != '\0' ? c->shutdown : NULL, "owners", owners);
}
