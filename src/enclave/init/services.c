#include "enclave/init/services.h"

#include "base/cleanup.h"
#include "enclave/init/child.h"
#include "linux/spawn.h"
#include "linux/vsock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { ACCEPT_POLL_MS = 20 };

static struct services *services_of(struct supervise *s) { return CONTAINER_OF(s, struct services, supervise); }
static const struct service *service_of(const struct process *p) { return &p->of->table->service[p->index]; }

static void drop_watch(struct process *p, struct watch *w)
{
	int fd = w->fd;
	if (fd < 0)
		return;
	loop_del(p->of->loop, w);
	close(fd);
}

/* --- what it writes ----------------------------------------------------------------------------- */
static void end_line(struct process *p, bool cut)
{
	events_log(p->of->events, service_of(p)->name, bytes_of(p->line, p->line_n), cut);
	p->line_n = 0;
}

static void take_output(struct process *p, struct bytes b)
{
	while (b.n > 0) {
		size_t room = sizeof p->line - p->line_n;
		const uint8_t *newline = memchr(b.p, '\n', b.n);
		size_t n = newline == NULL ? b.n : (size_t)(newline - b.p);
		bool fits = n <= room;
		n = fits ? n : room;
		memcpy(p->line + p->line_n, b.p, n);
		p->line_n += n;
		if (!fits || newline != NULL)
			end_line(p, !fits);
		b = bytes_slice(b, n + (fits && newline != NULL), b.n - n - (fits && newline != NULL));
	}
}

/* False: nothing more will come. */
static bool read_output(struct process *p)
{
	static uint8_t buf[INIT_READ];
	ssize_t n = read(p->output.fd, buf, sizeof buf);
	if (n > 0)
		take_output(p, bytes_of(buf, (size_t)n));
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void on_output(struct watch *w, uint32_t events)
{
	struct process *p = CONTAINER_OF(w, struct process, output);
	(void)events;
	if (!read_output(p))
		drop_watch(p, w);
}

/* What it wrote before it died; a survivor of its group that goes on writing is not waited for. */
static void finish_output(struct process *p)
{
	for (int i = 0; i < 64 && p->output.fd >= 0; i++) {
		struct pollfd f = { .fd = p->output.fd, .events = POLLIN };
		if (poll(&f, 1, 0) <= 0 || !read_output(p))
			break;
	}
	if (p->line_n > 0)
		end_line(p, false);
}

/* --- whether it is ready ------------------------------------------------------------------------- */
static void is_ready(struct process *p)
{
	drop_watch(p, &p->ready);
	timer_disarm(&p->poll);
	supervise_event(&p->of->supervise, p->index, UNIT_READY, NULL);
}

static void on_ready(struct watch *w, uint32_t events)
{
	struct process *p = CONTAINER_OF(w, struct process, ready);
	char buf[64];
	(void)events;
	ssize_t n = read(w->fd, buf, sizeof buf);
	if (n > 0 && memchr(buf, '\n', (size_t)n) != NULL)
		is_ready(p);
	else if (n == 0)
		drop_watch(p, w);
}

/* Loopback answers at once or not at all. */
static bool takes_connections(uint16_t tcp_port)
{
	const struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(tcp_port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	CLEANUP(close_fd) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	if (connect(fd, (const struct sockaddr *)&a, sizeof a) == 0)
		return true;
	struct pollfd f = { .fd = fd, .events = POLLOUT };
	int error = 1;
	socklen_t n = sizeof error;
	return errno == EINPROGRESS && poll(&f, 1, 0) == 1 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 && error == 0;
}

static void on_poll(struct timer *t)
{
	struct process *p = CONTAINER_OF(t, struct process, poll);
	if (takes_connections(service_of(p)->bridge[0].tcp_port))
		is_ready(p);
	else
		timer_arm(p->of->loop, t, ACCEPT_POLL_MS);
}

/* The status pipe: a sentence, or nothing when execve closed it. */
static void on_status(struct watch *w, uint32_t events)
{
	struct process *p = CONTAINER_OF(w, struct process, status);
	(void)events;
	ssize_t n = read(w->fd, p->why + p->why_n, sizeof p->why - 1 - p->why_n);
	if (n > 0) {
		p->why_n += (size_t)n;
		return;
	}
	drop_watch(p, w);
	if (p->why_n > 0)
		return;                          /* its exit follows */
	if (service_of(p)->ready == READY_START)
		is_ready(p);
	else if (service_of(p)->ready == READY_ACCEPT)
		timer_arm(p->of->loop, &p->poll, 0);
}

/* --- starting ------------------------------------------------------------------------------------- */
/* Takes over *fd, if there is one. */
static bool adopt(struct process *p, struct watch *w, int *fd, void (*on_event)(struct watch *w, uint32_t events))
{
	w->on_event = on_event;
	if (*fd >= 0 && loop_add(p->of->loop, w, *fd, EPOLLIN) != 0)
		return false;
	*fd = -1;
	return true;
}

/* The parent's end does not block; the child's does, as programs expect. */
static int open_pipe(int ret[2], struct err *err)
{
	if (pipe2(ret, O_CLOEXEC) != 0)
		return fail(err, errno, "make a pipe");
	fcntl(ret[0], F_SETFL, O_NONBLOCK);
	return 0;
}

struct ends { int output[2], status[2], ready[2], link[SERVICE_FDS_MAX]; size_t links; };
static void close_ends(struct ends *e)
{
	for (int k = 0; k < 2; k++) {
		close_fd(&e->output[k]);
		close_fd(&e->status[k]);
		close_fd(&e->ready[k]);
	}
	for (size_t i = 0; i < e->links; i++)
		close_fd(&e->link[i]);
}

static void hand_down(struct child_plan *plan, int fd, const char *name)
{
	plan->fd[plan->fd_count] = fd;
	plan->fd_name[plan->fd_count++] = name;
}

static int open_ends(struct process *p, struct ends *e, struct child_plan *plan, struct err *err)
{
	const struct service *v = service_of(p);
	const struct service_table *t = p->of->table;
	int bad = open_pipe(e->status, err);
	if (bad == 0 && v->log == SERVICE_LOG_STDERR)
		bad = open_pipe(e->output, err);
	if (bad == 0 && v->ready == READY_FD)
		bad = open_pipe(e->ready, err);
	if (bad != 0)
		return bad;
	for (uint32_t k = 0; k < v->listen_count; k++)
		hand_down(plan, p->listener[k], v->listen[k].name);
	for (uint32_t k = 0; k < t->service_count; k++) {
		if (k == p->index || !services_linked(t, p->index, k))
			continue;
		int fd = links_take(&p->of->links, p->index, k, err);
		if (fd < 0)
			return fd;
		e->link[e->links++] = fd;
		hand_down(plan, fd, t->service[k].name);
	}
	if (e->ready[1] >= 0)
		hand_down(plan, e->ready[1], "ready");
	plan->status = e->status[1];
	plan->output = e->output[1];
	return 0;
}

static int start(struct supervise *s, uint32_t i, const char **ret_why)
{
	static struct err err;
	struct services *all = services_of(s);
	struct process *p = &all->process[i];
	CLEANUP(close_ends) struct ends e = { { -1, -1 }, { -1, -1 }, { -1, -1 }, { 0 }, 0 };
	struct child_plan plan = {
		.service = service_of(p), .app = all->app, .tmp_mib = all->table->tmp_mib, .nsm = all->nsm, .procs = p->group.procs
	};
	*ret_why = err.text;
	p->why_n = p->line_n = 0;
	p->oom_kills = group_oom_kills(p->group.own, true);
	p->limit_hits = group_limit_hits(p->group.path, true);
	p->forced = false;
	int bad = open_ends(p, &e, &plan, &err);
	if (bad != 0)
		return bad;
	pid_t pid = spawn_clone(CLONE_NEWNS, &p->pidfd, &err);
	if (pid < 0)
		return (int)pid;
	if (pid == 0)
		child_run(&plan);
	p->pid = pid;
	/* epoll refuses only when the kernel has no memory: the child ends, and is started anew like others */
	if (!adopt(p, &p->status, &e.status[0], on_status) || !adopt(p, &p->output, &e.output[0], on_output) ||
	    !adopt(p, &p->ready, &e.ready[0], on_ready))
		spawn_kill(p->pidfd);
	return 0;
}

/* --- signals and ends ------------------------------------------------------------------------------ */
static void send_signal(struct supervise *s, uint32_t i, uint32_t signal)
{
	struct process *p = &services_of(s)->process[i];
	if (p->pid > 0)
		syscall(SYS_pidfd_send_signal, p->pidfd, (int)signal, NULL, 0);
}

static void kill_all(struct supervise *s, uint32_t i)
{
	struct process *p = &services_of(s)->process[i];
	if (p->pid > 0 && !p->forced) {
		p->forced = true;
		p->oom_before = group_oom_kills(p->group.own, true) > p->oom_kills;
	}
	if (p->pid > 0)
		spawn_kill(p->pidfd);
	group_kill(&p->group);
}

static void on_timer(struct timer *t)
{
	struct process *p = CONTAINER_OF(t, struct process, timer);
	supervise_event(&p->of->supervise, p->index, UNIT_TIMER, NULL);
}

static void arm(struct supervise *s, uint32_t i, int64_t ms)
{
	struct services *all = services_of(s);
	if (ms < 0)
		timer_disarm(&all->process[i].timer);
	else
		timer_arm(all->loop, &all->process[i].timer, ms);
}

static struct unit_end how_it_ended(struct process *p, int status)
{
	struct unit_end end = { .code = WIFEXITED(status) ? WEXITSTATUS(status) : -1, .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0 };
	if (p->status.fd >= 0)
		on_status(&p->status, 0);
	p->why[p->why_n] = '\0';
	if (p->why_n > 0)
		end.why = p->why;
	/* its jobs may have died of it long before; and what init has killed did not */
	end.oom = end.signal == SIGKILL && (p->forced ? p->oom_before : group_oom_kills(p->group.own, true) > p->oom_kills);
	end.forced = p->forced && !end.oom;
	if (end.oom) {
		end.machine = group_limit_hits(p->group.path, true) == p->limit_hits;
		end.peak_bytes = group_number(p->group.path, "memory.peak");
		end.limit_bytes = group_number(p->group.path, "memory.max");
	}
	return end;
}

bool services_reaped(struct services *s, pid_t pid, int status)
{
	uint32_t i = 0;
	while (i < s->table->service_count && s->process[i].pid != pid)
		i++;
	if (i == s->table->service_count)
		return false;
	struct process *p = &s->process[i];
	finish_output(p);
	struct unit_end end = how_it_ended(p, status);
	p->pid = 0;
	drop_watch(p, &p->status);
	drop_watch(p, &p->output);
	drop_watch(p, &p->ready);
	timer_disarm(&p->poll);
	close_fd(&p->pidfd);
	group_kill(&p->group);                   /* what it left behind */
	bool cut[SERVICES_MAX] = { false };
	for (uint32_t k = 0; k < s->table->service_count; k++)
		cut[k] = k != i && services_linked(s->table, i, k) && links_cut(&s->links, i, k);
	supervise_event(&s->supervise, i, UNIT_EXITED, &end);
	for (uint32_t k = 0; k < s->table->service_count; k++)
		if (cut[k])
			supervise_event(&s->supervise, k, UNIT_CUT, NULL);
	return true;
}

/* --- news -------------------------------------------------------------------------------------------- */
static void tell(struct supervise *s, uint32_t i, enum unit_news news, const struct unit_end *end, int64_t delay_ms)
{
	static const char *const state[] = { "starting", "ready", "late", "exited", "waiting", "lost", "stopping" };
	struct services *all = services_of(s);
	struct control_field f[12];
	size_t n = 0;
	f[n++] = control_str("service", all->table->service[i].name);
	f[n++] = control_str("state", state[news]);
	f[n++] = control_number("restarts", s->unit[i].restarts);
	if (news == NEWS_READY)
		f[n++] = control_number("pid", all->process[i].pid);
	if (news == NEWS_WAITING)
		f[n++] = control_number("delay_ms", delay_ms);
	if (end != NULL && end->why != NULL)
		f[n++] = control_str("why", end->why);
	else if (end != NULL && end->signal != 0)
		f[n++] = control_number("signal", end->signal);
	else if (end != NULL)
		f[n++] = control_number("code", end->code);
	if (end != NULL && end->forced)
		f[n++] = control_flag("forced", true);
	if (end != NULL && end->oom) {
		f[n++] = control_flag("oom", true);
		if (end->machine)
			f[n++] = control_flag("machine", true);
		f[n++] = control_number("peak_bytes", (int64_t)end->peak_bytes);
		f[n++] = control_number("limit_bytes", (int64_t)end->limit_bytes);
	}
	f[n] = (struct control_field)CONTROL_END;
	events_tell(all->events, CONTROL_SERVICE, f);
}

static void over(struct supervise *s, const char *reason)
{
	struct services *all = services_of(s);
	all->on_over(all, reason);
}

static const struct supervise_ops ops = { start, send_signal, kill_all, arm, tell, over };

/* --- life --------------------------------------------------------------------------------------------- */
int services_open(struct services *s, struct err *err)
{
	links_init(&s->links);
	supervise_init(&s->supervise, s->table, &ops);
	for (uint32_t i = 0; i < s->table->service_count; i++) {
		struct process *p = &s->process[i];
		const struct service *v = &s->table->service[i];
		*p = (struct process){
			.of = s, .index = i, .pidfd = -1, .status.fd = -1, .output.fd = -1, .ready.fd = -1,
			.timer.on_expiry = on_timer, .poll.on_expiry = on_poll, .group = GROUP_NONE,
		};
		int bad = group_open(&p->group, v, err);
		for (uint32_t k = 0; k < v->listen_count && bad == 0; k++)
			bad = vsock_listen(v->listen[k].port, &p->listener[k], err);
		if (bad != 0)
			return fail_in(err, bad, "service %s", v->name);
	}
	return 0;
}

void services_start(struct services *s) { supervise_start(&s->supervise); }
void services_stop(struct services *s, const char *reason) { supervise_stop(&s->supervise, reason); }
