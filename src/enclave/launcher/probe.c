#include "enclave/launcher/probe.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"

#include <fcntl.h>

/* --- building one ---------------------------------------------------------------------------------- */
static struct err failure;               /* of the one probe that runs */

static void on_opened(struct slot *s) { (void)s; }
static void on_failed(struct slot *s, const char *text) { (void)s; fail(&failure, 0, "%s", text); }
static void on_ended(struct slot *s, const struct launch_message *m, int proof) { (void)s; (void)m; (void)proof; }
static void on_closed(struct slot *s) { (void)s; }

static const struct slot_handler probing = { on_opened, on_failed, on_ended, on_closed };

static uint64_t read_setting(const char *path, uint64_t otherwise)
{
	char text[32];
	uint64_t v;
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
	while (n > 0 && text[n - 1] == '\n')
		n--;
	return n > 0 && text_to_u64(bytes_of(text, (size_t)n), UINT64_MAX, &v) ? v : otherwise;
}

/* Why an ordinary user gets no cell, as far as the kernel's settings tell. */
static const char *advice(bool own_ids, int error)
{
	if (error == ENOSYS)
		return "; the launcher needs Linux 5.14";
	if (own_ids && error == EINVAL)
		return "; inside a container: are the ids from uid_base on mapped?";
	if (own_ids || (error != EPERM && error != EACCES && error != ENOSPC && error != EUSERS))
		return "";
	if (read_setting("/proc/sys/user/max_user_namespaces", 1) == 0)
		return "; an ordinary user needs user namespaces, and user.max_user_namespaces is 0: raise it, or run as root";
	if (read_setting("/proc/sys/kernel/unprivileged_userns_clone", 1) == 0)
		return "; an ordinary user needs user namespaces, and kernel.unprivileged_userns_clone is 0: set it to 1, or run as root";
	if (read_setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) == 1)
		return "; an ordinary user needs user namespaces, and kernel.apparmor_restrict_unprivileged_userns is 1: "
		       "set it to 0, give this program an AppArmor profile with \"userns\", or run as root";
	return "; an ordinary user needs user namespaces, and a container or a policy seems to forbid them: run as root";
}

static int await_state(struct slot *s, enum slot_state state, struct err *err)
{
	while (s->state != state && s->state != SLOT_CLOSED) {
		int bad = loop_once(s->host->loop, -1, err);
		if (bad != 0)
			return bad;
	}
	return 0;
}

static int build_one(struct slot *s, struct err *err)
{
	failure.text[0] = '\0';
	int bad = slot_open(s, 0, &failure) == OUTCOME_OK ? await_state(s, SLOT_OPEN, err) : 0;
	if (bad != 0)
		return bad;
	if (s->state != SLOT_OPEN)
		return fail(err, 0, "no cell for jobs can be built: %.250s%s", failure.text, advice(s->host->own_ids, s->broken_error));
	return 0;
}

/* --- what it showed ---------------------------------------------------------------------------------- */
static bool machine_has_swap(void)
{
	char line[256];
	CLEANUP(close_file) FILE *f = fopen("/proc/swaps", "re");
	/* a heading, then a line each */
	return f != NULL && fgets(line, sizeof line, f) != NULL && fgets(line, sizeof line, f) != NULL;
}

static const char *version_word(enum cgroup_version v) { return v == CGROUP_V1 ? "cgroup-v1" : "cgroup-v2"; }

static void judge_uid(const struct slot_host *h, struct guards *g)
{
	char how[GUARD_HOW_MAX], why[GUARD_WHY_MAX];
	if (h->own_ids) {
		snprintf(how, sizeof how, "%u+slot", h->config->recipe.uid_base);
		guard_set(g, GUARD_UID, true, how, "");
		return;
	}
	snprintf(why, sizeof why, "the launcher is not root, so jobs run as its own user, %u", geteuid());
	guard_set(g, GUARD_UID, false, "shared", why);
}

static void judge_memory(const struct slot *s, const char *reason, struct guards *g)
{
	char why[GUARD_WHY_MAX];
	if (s->group.version != CGROUP_NONE) {
		guard_set(g, GUARD_MEMORY, true, version_word(s->group.version), "");
	} else {
		snprintf(why, sizeof why, "memory is limited for each process of a job, not for all of them together (%.150s)", reason);
		guard_set(g, GUARD_MEMORY, false, "rlimit", why);
	}
	if (s->group.version != CGROUP_NONE && cgroup_limits_swap(&s->group))
		guard_set(g, GUARD_SWAP, true, "limited", "");
	else if (!machine_has_swap())
		guard_set(g, GUARD_SWAP, true, "absent", "");
	else
		guard_set(g, GUARD_SWAP, false, "open", "the machine swaps, and a job's memory, the witness in it, may be written to disk");
}

static void judge_pids(const struct slot *s, struct guards *g)
{
	if (s->group.pids_fd >= 0)
		guard_set(g, GUARD_PIDS, true, version_word(s->host->homes->pids.version), "");
	else if (s->limits_tasks)
		guard_set(g, GUARD_PIDS, true, "rlimit", "");
	else
		guard_set(g, GUARD_PIDS, false, "open", "nothing limits how many processes a job makes "
		          "(no pids cgroup, and before Linux 5.14 RLIMIT_NPROC counts all of a user's processes)");
}

static void judge_landlock(const struct slot *s, struct guards *g)
{
	char how[GUARD_HOW_MAX];
	snprintf(how, sizeof how, "abi%d", s->landlock_abi);
	if (s->landlock_abi > 0)
		guard_set(g, GUARD_LANDLOCK, true, how, "");
	else
		guard_set(g, GUARD_LANDLOCK, false, "open", "the kernel has no landlock (CONFIG_SECURITY_LANDLOCK, or lsm= leaves it out): "
		          "the read-only root alone keeps a job from other files");
}

int probe_guards(struct slot *s, struct guards *ret, struct err *err)
{
	const struct slot_handler *handler = s->host->handler;
	const struct config_recipe *recipe = &s->host->config->recipe;
	struct guards g = {
		.userns = !s->host->own_ids,
		.crs = recipe->crs[0] == '\0' ? "none" : recipe->crs_pin_count > 0 ? "pinned" : "unpinned",
	};
	struct err reason = s->host->homes->why;

	s->host->handler = &probing;
	int bad = build_one(s, err);
	if (bad == 0 && cgroup_set_memory(&s->group, (uint64_t)s->host->config->recipe.memory_mib << 20, &reason) != 0) {
		slot_close(s);
		bad = await_state(s, SLOT_CLOSED, err);
		cgroup_homes_close(s->host->homes);
		if (bad == 0)
			bad = build_one(s, err);
	}
	if (bad == 0) {
		judge_uid(s->host, &g);
		judge_memory(s, reason.text, &g);
		judge_pids(s, &g);
		guard_set(&g, GUARD_SECCOMP, s->has_seccomp, s->has_seccomp ? "refusals" : "open",
		          s->has_seccomp ? "" : "the kernel or architecture has no system call filter");
		judge_landlock(s, &g);
		g.proc = s->has_proc;
		slot_close(s);
		bad = await_state(s, SLOT_CLOSED, err);
	}
	s->host->handler = handler;
	if (bad == 0)
		*ret = g;
	return bad;
}

bool probe_accept(const struct guards *g, const struct config *c)
{
	bool accept = true;
	for (unsigned i = 0; i < GUARD_COUNT; i++) {
		const struct guard_state *s = &g->state[i];
		const char *name = guard_name((enum guard)i);
		if (s->given)
			continue;
		if (c->policy[i] == GUARD_DEGRADE) {
			log_warn("not enforced: %s: %s", name, s->why);
		} else {
			log_error("refusing to run without the guard %s: %s; \"%s = degrade\" in [isolation] of the configuration "
			          "accepts that", name, s->why, name);
			accept = false;
		}
	}
	return accept;
}
