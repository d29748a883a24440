/* memory.events of a service's cgroup counts for everything below it and wakes whoever polls it. The kernel then only says
 * that, not where: so the tree is walked, and every group's own count is compared with what was told before. A job's group may
 * be gone by then; the walks that its earlier pushes against the limit caused have seen it. */
#include "enclave/init/memory.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "linux/small_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { PRESSURE_QUIET_MS = 10000 };
#define PRESSURE_TRIGGER "some 200000 2000000"   /* microseconds stalled within microseconds */

/* --- out-of-memory kills ----------------------------------------------------------------------------- */
static void tell_kills(struct memory *m, const char *path, uint64_t kills, uint64_t peak, uint64_t limit)
{
	struct control_field f[6];
	size_t n = 0;
	f[n++] = control_str("owner", path + 1);
	f[n++] = control_number("kills", (int64_t)kills);
	if (peak > 0)
		f[n++] = control_number("peak_bytes", (int64_t)peak);
	if (limit > 0)
		f[n++] = control_number("limit_bytes", (int64_t)limit);
	if (m->machine)
		f[n++] = control_flag("machine", true);
	f[n] = (struct control_field)CONTROL_END;
	events_tell(m->events, CONTROL_OOM, f);
}

/* The entry of this group; of those that are not there any more the one unseen longest makes place for a new one. */
static struct memory_group *entry_of(struct memory *m, uint64_t inode, const char *path)
{
	struct memory_group *oldest = m->group;
	for (size_t i = 0; i < MEMORY_GROUPS_MAX; i++) {
		struct memory_group *g = &m->group[i];
		if (g->inode == inode && strcmp(g->path, path) == 0)
			return g;
		if (g->seen < oldest->seen)
			oldest = g;
	}
	*oldest = (struct memory_group){ .inode = inode };
	snprintf(oldest->path, sizeof oldest->path, "%s", path);
	return oldest;
}

/* Returns how many kills of this group were told now. */
static uint64_t look_at(struct memory *m, const char *path)
{
	char whole[ROOTED_PATH_MAX];
	struct stat st;
	if (stat(rooted_path(GROUP_ROOT, path, whole), &st) != 0)
		return 0;
	struct memory_group *g = entry_of(m, st.st_ino, path);
	uint64_t kills = group_oom_kills(path, true), limit = group_number(path, "memory.max"), peak = group_number(path, "memory.peak");
	g->there = true;
	g->seen = m->walks;
	g->limit_bytes = limit > 0 ? limit : g->limit_bytes;
	g->peak_bytes = peak > g->peak_bytes ? peak : g->peak_bytes;
	uint64_t more = kills > g->kills ? kills - g->kills : 0;
	g->kills += more;
	if (more > 0)
		tell_kills(m, path, more, g->peak_bytes, g->limit_bytes);
	return more;
}

struct directory_entry { uint64_t inode; int64_t next; uint16_t size; uint8_t type; char name[]; };

static uint64_t walk(struct memory *m, const char *path, unsigned depth)
{
	char whole[ROOTED_PATH_MAX], below[GROUP_PATH_MAX];
	_Alignas(8) uint8_t entries[4096];
	uint64_t told = look_at(m, path);
	CLEANUP(close_fd) int dir = depth == 0 ? -1 : open(rooted_path(GROUP_ROOT, path, whole), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long n;
	while (dir >= 0 && (n = syscall(SYS_getdents64, dir, entries, sizeof entries)) > 0)
		for (long at = 0; at < n;) {
			const struct directory_entry *e = (const void *)(entries + at);
			at += e->size;
			if (e->type == 4 /* DT_DIR */ && e->name[0] != '.' &&
			    (size_t)snprintf(below, sizeof below, "%s/%s", path, e->name) < sizeof below)
				told += walk(m, below, depth - 1);
		}
	return told;
}

/* Kills in groups that are gone: of those seen before, the one with the highest peak is it. */
static void tell_gone(struct memory *m, const char *path, uint64_t kills)
{
	struct memory_group *found = NULL;
	size_t n = strlen(path);
	for (size_t i = 0; i < MEMORY_GROUPS_MAX; i++) {
		struct memory_group *g = &m->group[i];
		bool below = strncmp(g->path, path, n) == 0 && g->path[n] == '/';
		if (below && !g->there && g->kills == 0 && (found == NULL || g->seen > found->seen))
			found = g;
	}
	if (found == NULL)
		tell_kills(m, path, kills, 0, 0);
	else
		tell_kills(m, found->path, kills, found->peak_bytes, found->limit_bytes);
	if (found != NULL)
		found->kills = kills;
}

static void check(struct memory_service *s)
{
	struct memory *m = s->of;
	const char *path = m->services->process[s->index].group.path;
	uint64_t kills = group_oom_kills(path, false), more = kills > s->kills ? kills - s->kills : 0;
	uint64_t hits = group_limit_hits(path, false);
	/* no limit was in the way since the last kill: it was the machine's memory */
	m->machine = hits == s->limit_hits;
	if (more > 0)
		s->limit_hits = hits;
	m->walks++;
	for (size_t i = 0; i < MEMORY_GROUPS_MAX; i++)
		m->group[i].there = false;
	uint64_t told = walk(m, path, MEMORY_DEPTH);
	s->kills += more > told ? more : told;
	if (more > told)
		tell_gone(m, path, more - told);
}

static void on_service(struct watch *w, uint32_t events)
{
	struct memory_service *s = CONTAINER_OF(w, struct memory_service, watch);
	char text[512];
	(void)events;
	/* reading arms the next wake-up */
	if (pread(w->fd, text, sizeof text, 0) >= 0)
		check(s);
}

/* --- pressure and who has how much --------------------------------------------------------------------- */
static void report(struct memory *m)
{
	char text[4096];
	uint64_t total = 0, available = 0, slab = 0;
	if (small_file_read("", "/proc/meminfo", text, sizeof text) == 0) {
		text_field_u64(text, "MemTotal:", &total);
		text_field_u64(text, "MemAvailable:", &available);
		text_field_u64(text, "Slab:", &slab);
	}
	TELL(m->events, CONTROL_MEMORY, control_number("total_bytes", (int64_t)total << 10),
	     control_number("available_bytes", (int64_t)available << 10), control_number("slab_bytes", (int64_t)slab << 10));
	for (uint32_t i = 0; i < m->services->table->service_count; i++) {
		const char *path = m->services->process[i].group.path;
		TELL(m->events, CONTROL_MEMORY, control_str("owner", path + 1),
		     control_number("owner_bytes", (int64_t)group_number(path, "memory.current")),
		     control_number("owner_peak_bytes", (int64_t)group_number(path, "memory.peak")),
		     control_number("owner_limit_bytes", (int64_t)group_number(path, "memory.max")));
	}
}

/* "12.34" of "avg10=12.34" after word, in hundredths. */
static int64_t average(const char *text, const char *word)
{
	const char *line = strstr(text, word), *at = line == NULL ? NULL : strstr(line, "avg10=");
	unsigned whole = 0, part = 0;
	return at != NULL && sscanf(at, "avg10=%u.%2u", &whole, &part) == 2 ? (int64_t)whole * 100 + part : 0;
}

static void on_pressure(struct watch *w, uint32_t events)
{
	struct memory *m = CONTAINER_OF(w, struct memory, pressure);
	int64_t now = clock_monotonic_ms();
	char text[512];
	if (events & EPOLLERR) {
		int fd = w->fd;
		loop_del(m->loop, w);
		close(fd);
		return;
	}
	if (m->pressure_told_ms != 0 && now - m->pressure_told_ms < PRESSURE_QUIET_MS)
		return;
	m->pressure_told_ms = now;
	if (small_file_read("", "/proc/pressure/memory", text, sizeof text) == 0)
		TELL(m->events, CONTROL_PRESSURE, control_str("resource", "memory"), control_number("some_avg10", average(text, "some")),
		     control_number("full_avg10", average(text, "full")));
	report(m);
}

static void on_report(struct timer *t)
{
	struct memory *m = CONTAINER_OF(t, struct memory, report);
	report(m);
	timer_arm(m->loop, t, INIT_MEMORY_S * 1000);
}

/* Kernels without pressure information have none to tell. */
static void watch_pressure(struct memory *m)
{
	CLEANUP(close_fd) int fd = open("/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	m->pressure = (struct watch){ .fd = -1, .on_event = on_pressure };
	if (fd >= 0 && write(fd, PRESSURE_TRIGGER, sizeof PRESSURE_TRIGGER) > 0 && loop_add(m->loop, &m->pressure, fd, EPOLLPRI) == 0)
		fd = -1;
}

int memory_open(struct memory *m, struct loop *loop, struct events *events, struct services *services, struct err *err)
{
	char name[ROOTED_PATH_MAX];
	m->loop = loop;
	m->events = events;
	m->services = services;
	m->report.on_expiry = on_report;
	for (uint32_t i = 0; i < services->table->service_count; i++) {
		struct memory_service *s = &m->service[i];
		*s = (struct memory_service){ .of = m, .index = i, .watch = { .fd = -1, .on_event = on_service } };
		snprintf(name, sizeof name, GROUP_ROOT "%s/memory.events", services->process[i].group.path);
		int fd = open(name, O_RDONLY | O_CLOEXEC);
		int bad = fd < 0 ? -errno : loop_add(loop, &s->watch, fd, EPOLLPRI);
		if (bad != 0)
			return fail(err, -bad, "watch %s", name);
		on_service(&s->watch, 0);
	}
	watch_pressure(m);
	timer_arm(loop, &m->report, 1000);
	return 0;
}
