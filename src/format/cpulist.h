/* Sets of CPUs, as the kernel writes them in lists: "0-3,8,10-11" (Documentation/admin-guide/cputopology.rst). */
#ifndef FORMAT_CPULIST_H
#define FORMAT_CPULIST_H

#include "base/bytes.h"

enum { CPU_MAX = 1024, CPULIST_TEXT_MAX = 4096 };

struct cpu_set { uint64_t bits[CPU_MAX / 64]; };

static inline bool cpu_set_has(const struct cpu_set *s, unsigned cpu)
{
	return cpu < CPU_MAX && (s->bits[cpu / 64] >> (cpu % 64) & 1) != 0;
}
static inline void cpu_set_add(struct cpu_set *s, unsigned cpu)
{
	if (cpu < CPU_MAX)
		s->bits[cpu / 64] |= UINT64_C(1) << (cpu % 64);
}
static inline bool cpu_set_equal(const struct cpu_set *a, const struct cpu_set *b) { return memcmp(a, b, sizeof *a) == 0; }

size_t cpu_set_count(const struct cpu_set *s);
static inline bool cpu_set_empty(const struct cpu_set *s) { return cpu_set_count(s) == 0; }
/* The first CPU of s that is at least from; CPU_MAX: none. */
unsigned cpu_set_next(const struct cpu_set *s, unsigned from);
void cpu_set_join(struct cpu_set *s, const struct cpu_set *more);
void cpu_set_remove(struct cpu_set *s, const struct cpu_set *less);
/* Whether every CPU of a is in b. */
bool cpu_set_within(const struct cpu_set *a, const struct cpu_set *b);

/* White space around the list is skipped; an empty list is an empty set, and so is the kernel's "(null)" of a parameter
 * that was never set. False: malformed, or a CPU that is not below CPU_MAX; *ret is then untouched. */
bool cpulist_parse(struct bytes text, struct cpu_set *ret);
/* In the kernel's form, ranges joined; nothing for the empty set. */
void put_cpulist(struct writer *w, const struct cpu_set *s);
/* The same as a zero-terminated string; returns buf. */
char *cpulist_text(const struct cpu_set *s, char buf[CPULIST_TEXT_MAX]);

#endif
