#include "host/history.h"

#include "base/cleanup.h"
#include "base/make_path.h"

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>
#include <time.h>

enum { HISTORY_FILE_MAX = 4096 };

static int64_t wall_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int directory(char *buf, size_t cap, struct err *err)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME"), *given = getenv("STATE_DIRECTORY");
	int n;
	if (given != NULL && given[0] == '/' && strchr(given, ':') == NULL)
		n = snprintf(buf, cap, "%s/history", given);
	else if (geteuid() == 0)
		n = snprintf(buf, cap, "/var/lib/tee-rex/history");
	else if (xdg != NULL && xdg[0] == '/')
		n = snprintf(buf, cap, "%s/tee-rex/history", xdg);
	else if (home != NULL && home[0] == '/')
		n = snprintf(buf, cap, "%s/.local/state/tee-rex/history", home);
	else
		return fail(err, 0, "neither XDG_STATE_HOME nor HOME is set");
	return n < 0 || (size_t)n >= cap ? fail(err, ENAMETOOLONG, "the directory of histories") : 0;
}

static int64_t number(const json_t *j, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(j, key));
	return v > 0 ? (int64_t)v : 0;
}

int history_load(const char *name, struct history *ret, struct err *err)
{
	char dir[PATH_MAX / 2], path[PATH_MAX], text[HISTORY_FILE_MAX];
	*ret = (struct history){ 0 };
	int bad = directory(dir, sizeof dir, err);
	if (bad < 0)
		return bad;
	snprintf(path, sizeof path, "%s/%s.json", dir, name);
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? 0 : fail(err, errno, "open %s", path);
	ssize_t n = read(fd, text, sizeof text);
	json_t *j = n < 0 ? NULL : json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(j)) {
		json_decref(j);
		return fail(err, n < 0 ? errno : 0, "%s is no history of an instance; it can be removed", path);
	}
	ret->starts = (uint64_t)number(j, "starts");
	ret->restarts = (uint64_t)number(j, "restarts");
	ret->quick = (uint64_t)number(j, "quick");
	ret->started_ms = number(j, "started_ms");
	ret->ended_ms = number(j, "ended_ms");
	ret->death_ms = number(j, "death_ms");
	ret->running = json_is_true(json_object_get(j, "running"));
	const char *death = json_string_value(json_object_get(j, "death"));
	snprintf(ret->death, sizeof ret->death, "%s", death != NULL ? death : "");
	json_decref(j);
	return 0;
}

static int save(const char *name, const struct history *h, struct err *err)
{
	char dir[PATH_MAX / 2], path[PATH_MAX], new[PATH_MAX];
	int bad = directory(dir, sizeof dir, err);
	if (bad == 0)
		bad = make_path(dir, 0755, err);
	if (bad < 0)
		return bad;
	snprintf(path, sizeof path, "%s/%s.json", dir, name);
	snprintf(new, sizeof new, "%s/.%s.new", dir, name);
	json_t *j = json_pack("{s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:s}", "starts", (json_int_t)h->starts, "restarts", (json_int_t)h->restarts,
	                      "quick", (json_int_t)h->quick,
	                      "started_ms", (json_int_t)h->started_ms, "ended_ms", (json_int_t)h->ended_ms, "running", h->running,
	                      "death_ms", (json_int_t)h->death_ms, "death", h->death);
	char *text = j != NULL ? json_dumps(j, JSON_ENSURE_ASCII) : NULL;
	json_decref(j);
	if (text == NULL)
		return fail(err, 0, "write %s: the cause is no text", path);
	CLEANUP(close_fd) int fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	bool done = fd >= 0 && dprintf(fd, "%s\n", text) > 0 && fsync(fd) == 0 && rename(new, path) == 0;
	free(text);
	return done ? 0 : fail(err, errno, "write %s", path);
}

/* Bytes that JSON cannot hold must not cost the whole record. */
static void remember(struct history *h, const char *cause)
{
	snprintf(h->death, sizeof h->death, "%.399s", cause);
	for (char *c = h->death; *c != '\0'; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
}

static bool died(const struct history *h) { return h->running || (h->death_ms != 0 && h->death_ms == h->ended_ms); }

/* Including the life that ended last; when nobody wrote its end, it counts by its beginning. */
static uint64_t quick_lives(const struct history *h, int64_t now)
{
	int64_t end = h->running ? now : h->ended_ms;
	bool quick = died(h) && end >= h->started_ms && end - h->started_ms < HISTORY_QUICK_MS;
	return quick ? h->quick + 1 : 0;
}

int64_t history_delay_ms(const struct history *h)
{
	uint64_t n = h->starts == 0 ? 0 : quick_lives(h, wall_ms());
	int64_t delay = n == 0 ? 0 : n > 6 ? HISTORY_DELAY_MAX_MS : INT64_C(1000) << (n - 1);
	return delay < HISTORY_DELAY_MAX_MS ? delay : HISTORY_DELAY_MAX_MS;
}

int history_begin(const char *name, struct err *err)
{
	struct history h;
	int64_t now = wall_ms();
	if (history_load(name, &h, err) < 0)
		h = (struct history){ 0 };
	h.quick = h.starts == 0 ? 0 : quick_lives(&h, now);
	bool again = h.starts > 0 && died(&h);
	if (h.running) {
		remember(&h, "tee-rex run was killed, or the host went down: no end was written");
		h.death_ms = 0;
	}
	h.restarts = again ? h.restarts + 1 : 0;
	h.starts++;
	h.started_ms = now;
	h.ended_ms = 0;
	h.running = true;
	return save(name, &h, err);
}

int history_end(const char *name, const struct err *why, struct err *err)
{
	struct history h;
	int bad = history_load(name, &h, err);
	if (bad < 0)
		return bad;
	h.ended_ms = wall_ms();
	h.running = false;
	if (why != NULL) {
		remember(&h, why->text);
		h.death_ms = h.ended_ms;
	}
	return save(name, &h, err);
}
