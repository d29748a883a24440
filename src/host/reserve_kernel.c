#include "host/reserve_kernel.h"

#include "linux/small_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

typedef unsigned long long ull;

__attribute__((format(printf, 2, 3))) static void say(const struct reserve_host *h, const char *fmt, ...)
{
	char text[400];
	va_list ap;
	if (h->say == NULL)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	h->say(text);
}

static int read_pool(const struct reserve_host *h, struct cpu_set *ret, struct err *err)
{
	char text[CPULIST_TEXT_MAX];
	int r = small_file_read(h->root, NE_CPUS_PATH, text, sizeof text);
	if (r < 0)
		return fail(err, -r, "read %s%s", h->root, NE_CPUS_PATH);
	text[strcspn(text, "\n")] = '\0';
	if (!cpulist_parse(bytes_str(text), ret))
		return fail(err, EINVAL, "%s%s says \"%.80s\", which is no list of CPUs", h->root, NE_CPUS_PATH, text);
	return 0;
}

int reserve_kernel_read(const struct reserve_host *h, int node, struct reserve_kernel *ret, struct err *err)
{
	struct reserve_kernel k = { .node = node };
	for (enum huge_size s = 0; s < HUGE_SIZES; s++) {
		struct huge_pool p;
		hugepages_read(h->root, node, s, &p);
		k.pages[s] = p.total;
	}
	k.has_pool = small_file_exists(h->root, NE_CPUS_PATH);
	int r = k.has_pool ? read_pool(h, &k.pool, err) : 0;
	if (r == 0)
		*ret = k;
	return r;
}

/* --- pages ----------------------------------------------------------------------------------- */

static uint64_t pages_now(const struct reserve_host *h, int node, enum huge_size s)
{
	struct huge_pool p;
	hugepages_read(h->root, node, s, &p);
	return p.total;
}

static int available_kib(const struct reserve_host *h, uint64_t *ret, struct err *err)
{
	char text[8192];
	int r = small_file_read(h->root, "/proc/meminfo", text, sizeof text);
	if (r < 0)
		return fail(err, -r, "read %s/proc/meminfo", h->root);
	return text_field_u64(text, "MemAvailable:", ret) ? 0 : fail(err, ENODATA, "MemAvailable in %s/proc/meminfo", h->root);
}

static int guard(const struct reserve_host *h, uint64_t takes_kib, uint64_t host_reserve_kib, struct err *err)
{
	uint64_t have;
	int r = available_kib(h, &have, err);
	if (r < 0)
		return r;
	if (have < takes_kib || have - takes_kib < host_reserve_kib)
		return fail(err, ENOMEM, "stopped before the host had less than its reserve of %llu MiB (%llu MiB are available): something else took memory meanwhile",
		            (ull)host_reserve_kib / 1024, (ull)have / 1024);
	return 0;
}

/* What can be done for the kernel to find more. That it cannot be done is worth a word, not a failure. */
static void make_room(const struct reserve_host *h, int node)
{
	struct err err;
	if (memory_drop_caches(h->root, &err) < 0)
		say(h, "caches could not be dropped, going on: %s", err.text);
	int r = memory_compact(h->root, node, &err);
	if (r < 0 && r != -ENOENT)
		say(h, "memory could not be compacted, going on: %s", err.text);
}

/* *ret: how many there are in the end, at most target. */
static int grow(const struct reserve_host *h, int node, enum huge_size s, uint64_t target, uint64_t host_reserve_kib, uint64_t *ret, struct err *err)
{
	uint64_t now = pages_now(h, node, s), step_max = s == HUGE_1G ? 1 : RESERVE_STEP_2M;
	for (unsigned idle = 0; now < target && idle < RESERVE_IDLE_ROUNDS;) {
		uint64_t step = target - now < step_max ? target - now : step_max;
		int r = guard(h, step * huge_kib(s), host_reserve_kib, err);
		if (r == 0)
			r = hugepages_ask(h->root, node, s, now + step, err);
		if (r < 0)
			return r;
		uint64_t got = pages_now(h, node, s);
		if (got > now) {
			idle = 0;
		} else {
			idle++;
			make_room(h, node);
		}
		now = got;
	}
	*ret = now;
	return 0;
}

static int shrink(const struct reserve_host *h, int node, enum huge_size s, uint64_t target, struct err *err)
{
	int r = pages_now(h, node, s) > target ? hugepages_ask(h->root, node, s, target, err) : 0;
	uint64_t now = pages_now(h, node, s);
	if (r == 0 && now > target)
		return fail(err, EBUSY, "node %d keeps %llu pages of %s where %llu were asked for: the others are in use", node, (ull)now, huge_name(s), (ull)target);
	return r;
}

static int short_of(int node, enum huge_size s, uint64_t got, uint64_t want, struct err *err)
{
	return fail(err, ENOMEM, "node %d gave %llu of %llu pages of %s, after dropping caches and compacting: memory is in too many pieces. Reserve at boot (the tee-rex-reserve "
	            "service, or the kernel command line that tee-rex plan prints)", node, (ull)got, (ull)want, huge_name(s));
}

static int apply_pages(const struct reserve_host *h, struct reserve_kernel *to, uint64_t host_reserve_kib, bool may_split, struct err *err)
{
	bool grows = false;
	int r = 0;
	for (enum huge_size s = 0; s < HUGE_SIZES && r == 0; s++) {
		grows = grows || pages_now(h, to->node, s) < to->pages[s];
		r = shrink(h, to->node, s, to->pages[s], err);
	}
	if (r == 0 && grows)
		make_room(h, to->node);
	for (enum huge_size s = 0; s < HUGE_SIZES && r == 0; s++) {
		uint64_t got;
		r = grow(h, to->node, s, to->pages[s], host_reserve_kib, &got, err);
		if (r < 0 || got >= to->pages[s])
			continue;
		if (s != HUGE_1G || !may_split)
			return short_of(to->node, s, got, to->pages[s], err);
		say(h, "%llu of %llu pages of 1 GiB are to be had; the rest is taken in 2 MiB pages", (ull)got, (ull)to->pages[s]);
		to->pages[HUGE_2M] += (to->pages[HUGE_1G] - got) * 512;
		to->pages[HUGE_1G] = got;
	}
	return r;
}

static int verify_pages(const struct reserve_host *h, const struct reserve_kernel *to, uint64_t host_reserve_kib, bool grew, struct err *err)
{
	for (enum huge_size s = 0; s < HUGE_SIZES; s++) {
		uint64_t now = pages_now(h, to->node, s);
		if (now != to->pages[s])
			return fail(err, EAGAIN, "node %d has %llu pages of %s where %llu were just set: somebody else changes them too", to->node, (ull)now, huge_name(s), (ull)to->pages[s]);
	}
	return grew ? guard(h, 0, host_reserve_kib, err) : 0;
}

/* --- the CPU pool ----------------------------------------------------------------------------- */

static int set_pool(const struct reserve_host *h, const struct cpu_set *to, struct err *err)
{
	char list[CPULIST_TEXT_MAX], line[CPULIST_TEXT_MAX + 1];
	struct cpu_set now;
	int r = read_pool(h, &now, err);
	snprintf(line, sizeof line, "%s\n", cpulist_text(to, list));
	if (r < 0 || cpu_set_equal(&now, to))
		return r;
	/* an empty list is refused as well (EINVAL), having emptied the pool */
	int wrote = small_file_write(h->root, NE_CPUS_PATH, line, err);
	if (wrote == -EPERM)
		return fail(err, EPERM, "the CPU pool cannot be changed while an enclave exists, not even a stopped one whose owner is still there; stop it "
		            "(tee-rex stop, nitro-cli terminate-enclave --all) and try again");
	struct err why;
	r = read_pool(h, &now, &why);
	if (r == 0 && cpu_set_equal(&now, to))
		return 0;
	if (wrote < 0)
		return fail_in(err, wrote, "the driver refused the CPU pool %s (dmesg says why)", list);
	return fail(err, EAGAIN, "the driver's CPU pool is not what was written to it");
}

/* --- both --------------------------------------------------------------------------------------- */

int reserve_kernel_apply(const struct reserve_host *h, struct reserve_kernel *to, uint64_t host_reserve_kib, bool may_split, struct err *err)
{
	struct reserve_kernel before;
	int r = reserve_kernel_read(h, to->node, &before, err);
	if (r == 0)
		r = apply_pages(h, to, host_reserve_kib, may_split, err);
	bool grew = r == 0 && (to->pages[HUGE_1G] > before.pages[HUGE_1G] || to->pages[HUGE_2M] > before.pages[HUGE_2M]);
	if (r == 0 && to->has_pool)
		r = set_pool(h, &to->pool, err);
	if (r == 0)
		r = verify_pages(h, to, host_reserve_kib, grew, err);
	return r;
}

/* Without the guard: the host had what it gets back, and what grows here it had given before. */
static int restore_pages(const struct reserve_host *h, const struct reserve_kernel *former, enum huge_size s, struct err *err)
{
	uint64_t now = pages_now(h, former->node, s);
	if (now > former->pages[s])
		return shrink(h, former->node, s, former->pages[s], err);
	int r = now < former->pages[s] ? grow(h, former->node, s, former->pages[s], 0, &now, err) : 0;
	return r == 0 && now < former->pages[s] ? short_of(former->node, s, now, former->pages[s], err) : r;
}

int reserve_kernel_restore(const struct reserve_host *h, const struct reserve_kernel *former, struct err *err)
{
	int first = 0;
	struct err why;
	/* what is too many goes first, for it may be the room for what is too few */
	for (int pass = 0; pass < 2; pass++)
		for (enum huge_size s = 0; s < HUGE_SIZES; s++) {
			bool too_many = pages_now(h, former->node, s) > former->pages[s];
			int r = too_many == (pass == 0) ? restore_pages(h, former, s, &why) : 0;
			if (r < 0 && first == 0) {
				first = r;
				*err = why;
			}
		}
	int r = former->has_pool ? set_pool(h, &former->pool, &why) : 0;
	if (r < 0 && first == 0) {
		first = r;
		*err = why;
	}
	return first;
}
