#include "enclave/guards.h"

#include <stdio.h>

const char *guard_name(enum guard g)
{
	static const char *const names[GUARD_COUNT] = {
		[GUARD_UID] = "uid",
		[GUARD_MEMORY] = "memory",
		[GUARD_SWAP] = "swap",
		[GUARD_PIDS] = "pids",
		[GUARD_SECCOMP] = "seccomp",
		[GUARD_LANDLOCK] = "landlock",
	};
	return names[g];
}

void guard_set(struct guards *g, enum guard which, bool given, const char *how, const char *why)
{
	struct guard_state *s = &g->state[which];
	s->given = given;
	snprintf(s->how, sizeof s->how, "%s", how);
	snprintf(s->why, sizeof s->why, "%s", why);
}

void guards_line(const struct guards *g, struct writer *w)
{
	const char *separator = "";
	for (unsigned i = 0; i < GUARD_COUNT; i++)
		put_fmt(w, "%s=%s ", guard_name((enum guard)i), g->state[i].how);
	put_fmt(w, "userns=%s proc=%s crs=%s missing=", g->userns ? "yes" : "no", g->proc ? "own" : "absent", g->crs);
	for (unsigned i = 0; i < GUARD_COUNT; i++)
		if (!g->state[i].given) {
			put_fmt(w, "%s%s", separator, guard_name((enum guard)i));
			separator = ",";
		}
	put_str(w, *separator == '\0' ? "none" : "");
}
