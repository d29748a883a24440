#include "format/cpulist.h"

#include "base/text.h"

size_t cpu_set_count(const struct cpu_set *s)
{
	size_t n = 0;
	for (size_t i = 0; i < CPU_MAX / 64; i++)
		n += (size_t)__builtin_popcountll(s->bits[i]);
	return n;
}

unsigned cpu_set_next(const struct cpu_set *s, unsigned from)
{
	while (from < CPU_MAX && !cpu_set_has(s, from))
		from++;
	return from < CPU_MAX ? from : CPU_MAX;
}

void cpu_set_join(struct cpu_set *s, const struct cpu_set *more)
{
	for (size_t i = 0; i < CPU_MAX / 64; i++)
		s->bits[i] |= more->bits[i];
}

void cpu_set_remove(struct cpu_set *s, const struct cpu_set *less)
{
	for (size_t i = 0; i < CPU_MAX / 64; i++)
		s->bits[i] &= ~less->bits[i];
}

bool cpu_set_within(const struct cpu_set *a, const struct cpu_set *b)
{
	for (size_t i = 0; i < CPU_MAX / 64; i++)
		if ((a->bits[i] & ~b->bits[i]) != 0)
			return false;
	return true;
}

static bool is_space(uint8_t c) { return c == ' ' || c == '\n' || c == '\t'; }

static struct bytes trim(struct bytes t)
{
	while (t.n > 0 && is_space(t.p[0]))
		t = bytes_slice(t, 1, t.n - 1);
	while (t.n > 0 && is_space(t.p[t.n - 1]))
		t.n--;
	return t;
}

/* "7" or "2-5". */
static bool add_range(struct bytes range, struct cpu_set *s)
{
	size_t dash = 0;
	while (dash < range.n && range.p[dash] != '-')
		dash++;
	uint64_t first, last;
	if (!text_to_u64(bytes_slice(range, 0, dash), CPU_MAX - 1, &first))
		return false;
	last = first;
	if (dash < range.n && !text_to_u64(bytes_slice(range, dash + 1, range.n - dash - 1), CPU_MAX - 1, &last))
		return false;
	if (last < first)
		return false;
	for (uint64_t cpu = first; cpu <= last; cpu++)
		cpu_set_add(s, (unsigned)cpu);
	return true;
}

bool cpulist_parse(struct bytes text, struct cpu_set *ret)
{
	struct cpu_set s = { { 0 } };
	text = trim(text);
	if (bytes_equal(text, BYTES_LIT("(null)")))
		text = BYTES_NONE;
	for (size_t at = 0; at < text.n;) {
		size_t end = at;
		while (end < text.n && text.p[end] != ',')
			end++;
		if (!add_range(bytes_slice(text, at, end - at), &s) || end + 1 == text.n)
			return false;
		at = end + 1;
	}
	*ret = s;
	return true;
}

void put_cpulist(struct writer *w, const struct cpu_set *s)
{
	const char *comma = "";
	for (unsigned first = cpu_set_next(s, 0); first < CPU_MAX; comma = ",") {
		unsigned last = first;
		while (cpu_set_has(s, last + 1))
			last++;
		put_fmt(w, last > first ? "%s%u-%u" : "%s%u", comma, first, last);
		first = cpu_set_next(s, last + 1);
	}
}

char *cpulist_text(const struct cpu_set *s, char buf[CPULIST_TEXT_MAX])
{
	struct writer w = writer_of(buf, CPULIST_TEXT_MAX - 1);
	put_cpulist(&w, s);
	buf[writer_bytes(&w).n] = '\0';
	return buf;
}
