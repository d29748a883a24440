/* Three descriptors tell a slot everything: the keeper's pidfd (it and with it its whole tree is dead),
 * its socket (the cell is ready; the program ended like this) and the output pipe. Nothing is judged
 * before the pidfd has spoken: the proof is looked at when nobody is left who could change it. */
#include "enclave/launcher/slot.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "enclave/launcher/cell.h"
#include "enclave/launcher/unsafe.h"
#include "linux/fdpass.h"
#include "linux/sandbox.h"
#include "linux/spawn.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void release(struct slot *s);

static uid_t job_uid(const struct slot *s)
{
	return s->host->own_ids && !guard_off("uid") ? s->host->config->recipe.uid_base + s->number : geteuid();
}

static gid_t job_gid(const struct slot *s)
{
	return s->host->own_ids && !guard_off("uid") ? s->host->config->recipe.uid_base + s->number : getegid();
}

/* --- what the keeper says -------------------------------------------------------------------------- */
static void on_ready(struct slot *s, const struct cell_report *r, struct fdpass_packet *p)
{
	if (s->state != SLOT_OPENING || p->fd_count != 2)
		return;
	timer_disarm(&s->deadline);
	s->tmpfs = fd_steal(&p->fd[0]);
	s->input = fd_steal(&p->fd[1]);
	p->fd_count = 0;
	s->has_proc = r->has_proc;
	s->has_seccomp = r->has_seccomp;
	s->landlock_abi = r->landlock_abi;
	s->state = SLOT_OPEN;
	s->host->handler->opened(s);
}

static void hear_keeper(struct slot *s)
{
	struct cell_report r;
	struct fdpass_packet p;

	while (s->control >= 0 && fdpass_receive(s->control, &r, sizeof r, true, &p) == 0) {
		if (p.size == 0) {               /* its end is closed: the pidfd has the rest of the story */
			loop_del(s->host->loop, &s->keeper_says);
			return;
		}
		if (p.size == sizeof r && r.kind == CELL_READY) {
			on_ready(s, &r, &p);
		} else if (p.size == sizeof r && r.kind == CELL_BROKEN) {
			fail(&s->broken, 0, "%.*s", (int)sizeof r.text, r.text);
			s->broken_error = r.error;
		} else if (p.size == sizeof r && r.kind == CELL_NOT_EXECUTED) {
			s->ending.exec_error = r.error;
		} else if (p.size == sizeof r && r.kind == CELL_EXITED) {
			s->ending.program_ended = true;
			s->ending.program_status = r.status;
		}
		fdpass_close(&p);
	}
}

static void on_keeper_says(struct watch *w, uint32_t events)
{
	(void)events;
	hear_keeper(CONTAINER_OF(w, struct slot, keeper_says));
}

static void forget_keeper(struct slot *s)
{
	s->keeper = 0;
	loop_del(s->host->loop, &s->keeper_end);
	loop_del(s->host->loop, &s->keeper_says);
	close_fd(&s->pidfd);
	close_fd(&s->control);
}

/* --- the end of a job ---------------------------------------------------------------------------- */
/* Opens the proof; what a hostile program may have put in its place is an error. */
static int open_proof(const struct slot *s, int *ret_fd, struct err *why)
{
	const struct config *c = s->host->config;
	char path[CONFIG_FILE_NAME_MAX + sizeof RECIPE_OUTPUT_DIR_NAME + 1];
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS,
	};
	struct stat st;

	snprintf(path, sizeof path, RECIPE_OUTPUT_DIR_NAME "/%s", c->recipe.output);
	CLEANUP(close_fd) int fd = (int)syscall(SYS_openat2, s->tmpfs, path, &how, sizeof how);
	if (fd < 0)
		return errno == ENOENT ? fail(why, 0, "the prover program left no proof") :
		       fail(why, errno, "the prover program left no proof that can be opened");
	if (fstat(fd, &st) != 0)
		return fail(why, errno, "look at the proof");
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1 || st.st_uid != job_uid(s))
		return fail(why, 0, "the prover program left something that is not a plain file as its proof");
	if (st.st_size == 0)
		return fail(why, 0, "the prover program left an empty proof");
	if ((uint64_t)st.st_size > c->proof_max)
		return fail(why, 0, "the proof has %lld bytes; proof_max = %u are allowed", (long long)st.st_size, c->proof_max);
	*ret_fd = fd_steal(&fd);
	return 0;
}

static void count_out(struct slot *s)
{
	s->host->running--;
	s->host->memory_bytes -= s->limit_bytes;
}

/* The tree is dead: judges and tells. */
static void settle(struct slot *s, int keeper_status, const struct spawn_usage *usage)
{
	struct ending *e = &s->ending;
	CLEANUP(close_fd) int proof = -1;
	struct err why;
	struct verdict v;
	int64_t wall_ms = clock_monotonic_ms() - s->started_ms;

	output_drain(&s->output);
	e->keeper_status = keeper_status;
	e->oom_kills = cgroup_oom_kills(&s->group);
	e->rlimit_memory = s->group.version == CGROUP_NONE;
	e->said_no_memory = s->output.said_no_memory;
	e->broken = s->broken.text[0] != '\0' ? s->broken.text : NULL;
	e->proof_error = open_proof(s, &proof, &why);
	e->proof_text = why.text;
	verdict_reach(e, &v);
	if (v.how != OUTCOME_OK)
		close_fd(&proof);

	uint64_t peak = cgroup_memory_peak(&s->group);
	struct launch_message m = {
		.kind = LAUNCH_ENDED, .slot = s->number, .how = v.how, .signal = v.signal, .exit_code = v.exit_code,
		.limit_bytes = s->limit_bytes, .peak_bytes = peak != 0 ? peak : usage->peak_rss_bytes,
		.wall_ms = wall_ms < UINT32_MAX ? (uint32_t)wall_ms : UINT32_MAX, .cpu_ms = usage->cpu_ms,
		.text = bytes_str(v.text.text),
	};
	timer_disarm(&s->deadline);
	timer_disarm(&s->tick);
	output_stop(&s->output);
	count_out(s);
	s->state = SLOT_ENDED;
	s->host->handler->ended(s, &m, proof);
	/* nobody needs the plaintext any more, whoever may still hold its descriptor */
	if (ftruncate(s->input, 0) != 0)
		log_warn("slot %u: the input file cannot be emptied", s->number);
}

static void on_keeper_end(struct watch *w, uint32_t events)
{
	struct slot *s = CONTAINER_OF(w, struct slot, keeper_end);
	struct spawn_usage usage;
	int status;
	(void)events;

	hear_keeper(s);                  /* what it said last is still in its socket */
	if (spawn_reap(s->keeper, &status, &usage) != 0)
		return;
	forget_keeper(s);
	switch (s->state) {
	case SLOT_OPENING:
		if (s->broken.text[0] == '\0')
			fail(&s->broken, 0, "the cell's keeper ended with status 0x%x before the cell was built", status);
		s->answer_failed = true;
		release(s);
		break;
	case SLOT_RUNNING:
		settle(s, status, &usage);
		break;
	case SLOT_CLOSING:
		release(s);
		break;
	default:                         /* OPEN: START finds out */
		break;
	}
}

/* --- timers ---------------------------------------------------------------------------------------- */
static void on_deadline(struct timer *t)
{
	struct slot *s = CONTAINER_OF(t, struct slot, deadline);
	if (s->state == SLOT_CLOSING) {
		log_error("slot %u: its processes do not end after SIGKILL; still waiting for them", s->number);
		return;
	}
	if (s->state == SLOT_OPENING)
		fail(&s->broken, 0, "the cell was not built within %d ms", JOB_OPEN_MS);
	else if (!s->ending.program_ended && s->ending.doom == DOOM_NONE)
		s->ending.doom = DOOM_DEADLINE;
	spawn_kill(s->pidfd);
}

static void on_tick(struct timer *t)
{
	struct slot *s = CONTAINER_OF(t, struct slot, tick);
	if (s->state == SLOT_CLOSING) {
		release(s);
		return;
	}
	if (s->state != SLOT_RUNNING)
		return;
	if (cgroup_oom_kills(&s->group) > 0 && !s->ending.program_ended && s->ending.doom == DOOM_NONE) {
		s->ending.doom = DOOM_MEMORY;
		spawn_kill(s->pidfd);
		return;
	}
	timer_arm(s->host->loop, &s->tick, JOB_OOM_POLL_MS);
}

/* --- opening ---------------------------------------------------------------------------------------- */
static uint64_t job_namespaces(const struct slot_host *h)
{
	return (cell_namespaces & ~(guard_off("pid-namespace") ? (uint64_t)CLONE_NEWPID : 0) &
	        ~(guard_off("net-namespace") ? (uint64_t)CLONE_NEWNET : 0) &
	        ~(guard_off("ipc-namespace") ? (uint64_t)CLONE_NEWIPC : 0)) | (h->own_ids ? 0 : CLONE_NEWUSER);
}

/* The keeper's process and the launcher's ends of its descriptors; its own ends close when this returns. */
static int make_keeper(struct slot *s, struct cell_plan *plan, struct err *err)
{
	const struct slot_host *h = s->host;
	CLEANUP(close_fd) int plan_control = -1;
	CLEANUP(close_fd) int plan_output = -1;
	CLEANUP(close_fd) int output = -1;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return fail(err, errno, "make the keeper's socket");
	s->control = ends[0], plan_control = ends[1];
	if (pipe2(ends, O_CLOEXEC) != 0)
		return fail(err, errno, "make the output pipe");
	output = ends[0], plan_output = ends[1];
	if (fcntl(output, F_SETFL, O_NONBLOCK) != 0)
		return fail(err, errno, "make the output pipe");
	struct cgroup_procs procs;
	int bad = cgroup_open_procs(&s->group, &procs, err);
	if (bad != 0)
		return bad;
	CLEANUP(close_fd) int memory = procs.memory;
	CLEANUP(close_fd) int pids = procs.pids;
	CLEANUP(close_fd) int cpu = procs.cpu;
	plan->control = plan_control;
	plan->output = plan_output;
	plan->procs = (struct cgroup_procs){ memory, pids, cpu };

	pid_t pid = spawn_clone(job_namespaces(h), &s->pidfd, err);
	if (pid == 0)
		cell_keep(plan);
	if (pid < 0)
		return (int)pid;
	s->keeper = pid;
	if ((bad = loop_add(h->loop, &s->keeper_end, s->pidfd, EPOLLIN)) != 0 ||
	    (bad = loop_add(h->loop, &s->keeper_says, s->control, EPOLLIN)) != 0 ||
	    (bad = output_start(&s->output, h->loop, output, s->number, h->config->recipe.output_log_kib << 10)) != 0)
		return fail(err, -bad, "watch the keeper");
	output = -1;                     /* the watcher's now */
	return 0;
}

/* What make_keeper left behind when it failed: a keeper nobody watches is waited for here. */
static void unmake_keeper(struct slot *s)
{
	struct spawn_usage usage;
	int status;

	spawn_kill(s->pidfd);
	while (s->keeper != 0 && spawn_reap(s->keeper, &status, &usage) == -EAGAIN)
		usleep(1000);
	forget_keeper(s);
}

enum outcome slot_open(struct slot *s, uint64_t payload_bytes, struct err *err)
{
	static struct recipe_command command;    /* read by the child, in its copy of our memory */
	struct slot_host *h = s->host;
	const struct config_recipe *recipe = &h->config->recipe;
	char name[16];

	if (payload_bytes > (uint64_t)h->config->payload_max_mib << 20) {
		fail(err, 0, "a payload of %llu bytes; payload_max_mib = %u is allowed", (unsigned long long)payload_bytes,
		     h->config->payload_max_mib);
		return OUTCOME_TOO_LARGE;
	}
	if (!recipe_expand(recipe, h->threads, &command)) {
		fail(err, 0, "the recipe's arguments and environment do not fit");
		return OUTCOME_INTERNAL;
	}
	s->limits_tasks = h->homes->pids.version == CGROUP_NONE && (h->own_ids || sandbox_counts_tasks_per_namespace());
	struct cell_plan plan = {
		.recipe = recipe, .command = &command, .crs = &h->crs,
		.own_ids = h->own_ids, .uid = job_uid(s), .gid = job_gid(s),
		.tmpfs_bytes = payload_bytes + h->config->proof_max + JOB_TMPFS_MARGIN,
		.tasks = s->limits_tasks ? recipe->pids_max + 1 : 0,     /* and the keeper */
	};
	s->ending = (struct ending){ .doom = DOOM_NONE };
	s->broken.text[0] = '\0';
	s->broken_error = 0;
	s->answer_failed = s->answer_closed = false;
	snprintf(name, sizeof name, "slot-%u", s->number);
	int bad = cgroup_create(&s->group, h->homes, name, err);
	if (bad == 0 && !guard_off("pids"))
		bad = cgroup_set_pids(&s->group, recipe->pids_max + 1, err);
	if (bad == 0)
		bad = make_keeper(s, &plan, err);
	if (bad != 0) {
		s->broken_error = -bad;
		unmake_keeper(s);
		slot_close(s);
		return OUTCOME_INTERNAL;
	}
	s->state = SLOT_OPENING;
	timer_arm(h->loop, &s->deadline, JOB_OPEN_MS);
	return OUTCOME_OK;
}

/* --- running ----------------------------------------------------------------------------------------- */
/* The program's bytes are what the prover hashed, and nobody can change them any more. */
static bool is_sealed(int fd)
{
	const int wanted = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);
	return seals >= 0 && (seals & wanted) == wanted && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
}

static enum outcome check_start(const struct slot *s, int program, uint64_t memory, uint32_t deadline_ms, struct err *err)
{
	const struct config *c = s->host->config;
	if (!is_sealed(program))
		fail(err, 0, "START wants a memfd sealed against writing, growing, shrinking and further seals");
	else if (memory > (uint64_t)c->recipe.memory_mib << 20)
		fail(err, 0, "START asks for %llu bytes of memory; memory_mib = %u is allowed", (unsigned long long)memory, c->recipe.memory_mib);
	else if (memory != 0 && memory < JOB_MEMORY_MIN)
		fail(err, 0, "START asks for %llu bytes of memory; at least %d are allowed", (unsigned long long)memory, JOB_MEMORY_MIN);
	else if (deadline_ms > (uint64_t)c->recipe.deadline_s * 1000)
		fail(err, 0, "START asks for a deadline of %u ms; deadline_s = %u is allowed", deadline_ms, c->recipe.deadline_s);
	else
		return OUTCOME_OK;
	return OUTCOME_BAD_REQUEST;
}

enum outcome slot_start(struct slot *s, int program, uint64_t memory_bytes, uint32_t deadline_ms, struct err *err)
{
	struct slot_host *h = s->host;
	const struct config_recipe *recipe = &h->config->recipe;
	struct cell_order order = { 0 };

	enum outcome refused = check_start(s, program, memory_bytes, deadline_ms, err);
	if (refused != OUTCOME_OK)
		return refused;
	if (h->running >= h->config->jobs) {
		fail(err, 0, "jobs = %u run already", h->config->jobs);
		return OUTCOME_BUSY;
	}
	const uint64_t budget = (uint64_t)h->config->memory_budget_mib << 20;
	const uint64_t limit = memory_bytes != 0 ? memory_bytes : (uint64_t)recipe->memory_mib << 20;
	if (budget != 0 && limit > budget - h->memory_bytes) {
		fail(err, 0, "memory_budget_mib = %u has no room for a job of %llu MiB now", h->config->memory_budget_mib,
		     (unsigned long long)(limit >> 20));
		return OUTCOME_BUSY;
	}
	s->limit_bytes = limit;
	if (s->group.version == CGROUP_NONE) {
		/* a thread's stack counts in full, its arena's address space as well, and both are little used */
		order.data_bytes = s->limit_bytes + (uint64_t)h->threads * JOB_STACK_BYTES;
		order.address_bytes = s->limit_bytes + (uint64_t)(h->threads + 2) * JOB_THREAD_ADDRESS_BYTES;
	}
	if (!guard_off("memory") && cgroup_set_memory(&s->group, s->limit_bytes, err) != 0)
		return OUTCOME_INTERNAL;
	int bad = s->keeper == 0 ? -EPIPE : fdpass_send(s->control, bytes_of(&order, sizeof order), &program, 1);
	if (bad != 0) {
		fail(err, -bad, "the cell's keeper is gone; close the slot");
		return OUTCOME_INTERNAL;
	}
	s->state = SLOT_RUNNING;
	s->started_ms = clock_monotonic_ms();
	h->running++;
	h->memory_bytes += s->limit_bytes;
	if (!guard_off("deadline"))
		timer_arm(h->loop, &s->deadline, deadline_ms != 0 ? deadline_ms : (int64_t)recipe->deadline_s * 1000);
	if (s->group.version != CGROUP_NONE)
		timer_arm(h->loop, &s->tick, JOB_OOM_POLL_MS);
	return OUTCOME_OK;
}

void slot_cancel(struct slot *s)
{
	if (!s->ending.program_ended && s->ending.doom == DOOM_NONE)
		s->ending.doom = DOOM_CANCELLED;
	spawn_kill(s->pidfd);
}

/* --- closing ------------------------------------------------------------------------------------------ */
/* The keeper is dead or never was: lets go of everything, and waits only for the cgroup. */
static void release(struct slot *s)
{
	struct slot_host *h = s->host;

	s->state = SLOT_CLOSING;
	output_stop(&s->output);
	if (s->input >= 0 && ftruncate(s->input, 0) != 0)
		log_warn("slot %u: the input file cannot be emptied", s->number);
	close_fd(&s->input);
	close_fd(&s->tmpfs);
	int bad = cgroup_remove(&s->group, h->homes);
	if (bad == -EBUSY) {
		cgroup_kill(&s->group);
		timer_arm(h->loop, &s->tick, 5);
		return;
	}
	if (bad != 0)
		log_warn("slot %u: its cgroup cannot be removed: %s", s->number, strerror(-bad));
	timer_disarm(&s->deadline);
	timer_disarm(&s->tick);
	s->state = SLOT_CLOSED;
	if (s->answer_failed)
		h->handler->failed(s, s->broken.text);
	if (s->answer_closed)
		h->handler->closed(s);
}

void slot_close(struct slot *s)
{
	if (s->state == SLOT_RUNNING)
		count_out(s);
	/* a failed slot_open() comes here as CLOSED: its caller answers */
	s->answer_closed = s->answer_closed || s->state != SLOT_CLOSED;
	if (s->state == SLOT_CLOSING)
		return;
	s->state = SLOT_CLOSING;
	if (s->keeper == 0) {
		release(s);
		return;
	}
	timer_disarm(&s->tick);
	timer_arm(s->host->loop, &s->deadline, JOB_REAP_MS);
	spawn_kill(s->pidfd);
}

void slot_init(struct slot *s, uint8_t number, struct slot_host *host)
{
	*s = (struct slot){
		.host = host, .number = number, .state = SLOT_CLOSED,
		.pidfd = -1, .control = -1, .output.fd = -1,
		.keeper_end = { .fd = -1, .on_event = on_keeper_end },
		.keeper_says = { .fd = -1, .on_event = on_keeper_says },
		.tmpfs = -1, .input = -1, .group = CGROUP_INIT,
		.deadline.on_expiry = on_deadline, .tick.on_expiry = on_tick,
	};
}
