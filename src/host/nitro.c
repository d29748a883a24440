#include "host/nitro.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "format/cpulist.h"
#include "format/frame.h"
#include "host/enclave_need.h"
#include "host/nitro_cpus.h"
#include "host/nitro_memory.h"
#include "host/nitro_room.h"
#include "host/vsock_share.h"
#include "image/sign.h"
#include "linux/ne_dev.h"
#include "linux/small_file.h"
#include "linux/vsock.h"

#include <fcntl.h>
#include <linux/nitro_enclaves.h>
#include <string.h>

enum {
	PORTS_MAX = 2,
	READY_MS = 180 * 1000,                   /* gigabytes of memory are scrubbed before the first instruction */
	STOP_MS = 15 * 1000,
	IMAGE_OFFSET = 8 << 20                   /* before the driver says so, for planning */
};
#define POOL_PATH "/sys/module/nitro_enclaves/parameters/ne_cpus"
#define NODES_PATH "/sys/devices/system/node/online"
#define SIBLINGS_PATH "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list"
#define SYSTEM ""                                /* the root of small files: this one */

struct nitro {
	struct backend b;
	const struct nitro_options *o;
	struct eif_file eif;
	struct enclave_need need;
	uint64_t memory;                         /* bytes that were asked for */
	struct nitro_node nodes[NITRO_NODES_MAX];
	size_t node_count;
	struct nitro_memory ways[NITRO_NODES_MAX];
	size_t way_count;
	unsigned cpus;
	struct nitro_room room;
	struct watch vm;                         /* the enclave's descriptor, owned */
	struct port { int given; struct vsock_share share; } port[PORTS_MAX];     /* given: what listen() returned; -1: free */
	struct shutdown_call shutdown;
	bool asked_to_stop;
	struct timer told;                       /* DRAINED or, when the descriptor is closed, DEAD: from the loop */
};

static struct nitro *nitro_of(struct backend *b) { return CONTAINER_OF(b, struct nitro, b); }

/* --- preparing ------------------------------------------------------------------------------------------------- */

static int measure_signer(struct nitro *g, struct err *err)
{
	uint8_t section[EIF_SIGNATURE_MAX];
	struct sign_certificate c;
	bool has = false;
	size_t n, i = eif_file_find(&g->eif, EIF_SIGNATURE);
	if (i >= g->eif.eif.count)
		return 0;
	int ret = eif_file_read(&g->eif, i, section, sizeof section, &n, err);
	if (ret < 0)
		return ret;
	enum eif_signature_result r = sign_check(bytes_of(section, n), g->b.pcr[0], &c, &has);
	if (r == EIF_SIGNATURE_OK)
		r = sign_certificate_check(&c, clock_wall_ms() / 1000);
	if (r != EIF_SIGNATURE_OK)
		return fail(err, 0, "%s: %s: %s (the hypervisor would not start it)", g->o->image, eif_signature_name(r),
		            eif_signature_message(r));
	if (has && pcr_of_certificate(bytes_of(c.der, c.der_n), g->b.pcr[8]))
		g->b.pcr_known |= 1 << 8;
	return 0;
}

static int measure(struct nitro *g, struct err *err)
{
	struct eif_measures m;
	int ret = eif_file_open(&g->eif, g->o->image, err);
	if (ret == 0)
		ret = eif_file_stream(&g->eif, NULL, &m, err);
	if (ret == 0 && !m.crc_ok)
		ret = eif_file_refuse_crc(&g->eif, err);
	if (ret < 0)
		return ret;
	memcpy(g->b.pcr[0], m.pcr0, PCR_SIZE);
	memcpy(g->b.pcr[1], m.pcr1, PCR_SIZE);
	memcpy(g->b.pcr[2], m.pcr2, PCR_SIZE);
	g->b.pcr_known = 1 << 0 | 1 << 1 | 1 << 2;
	return measure_signer(g, err);
}

static int plan_need(struct nitro *g, struct err *err)
{
	char text[224];
	int ret = enclave_need(&g->eif, IMAGE_OFFSET, &g->need, err);
	if (ret < 0)
		return ret;
	g->memory = g->o->memory_mib != 0 ? g->o->memory_mib << 20 : g->need.total + ((uint64_t)NITRO_WORK_MIB << 20);
	if (g->memory < g->need.total)
		return fail(err, 0, "%s needs %s; --memory %llu is less, and its service needs more on top", g->o->image,
		            enclave_need_text(&g->need, text, sizeof text), (unsigned long long)g->o->memory_mib);
	if (g->memory < (uint64_t)NE_MIN_MEMORY_MIB << 20)
		g->memory = (uint64_t)NE_MIN_MEMORY_MIB << 20;
	return 0;
}

/* Nodes whose pools have pages. */
static void read_nodes(struct nitro *g)
{
	char text[CPULIST_TEXT_MAX];
	struct cpu_set online;
	if (small_file_read(SYSTEM, NODES_PATH, text, sizeof text) < 0 || !cpulist_parse(bytes_str(text), &online))
		cpu_set_add((memset(&online, 0, sizeof online), &online), 0);
	g->node_count = 0;
	for (unsigned n = cpu_set_next(&online, 0); n < CPU_MAX && g->node_count < NITRO_NODES_MAX; n = cpu_set_next(&online, n + 1)) {
		struct nitro_node *node = &g->nodes[g->node_count++];
		*node = (struct nitro_node){ .node = (int)n };
		for (enum huge_size s = 0; s < HUGE_SIZES; s++) {
			struct huge_pool pool;
			hugepages_read(SYSTEM, (int)n, s, &pool);
			node->free[s] = pool.free;
			node->total[s] = pool.total;
		}
	}
}

static int plan_memory(struct nitro *g, struct err *err)
{
	read_nodes(g);
	g->way_count = nitro_memory_plan(g->nodes, g->node_count, g->memory, g->ways);
	return g->way_count > 0 ? 0 : nitro_memory_refuse(g->nodes, g->node_count, g->memory, err);
}

static int plan_cpus(struct nitro *g, struct err *err)
{
	char text[CPULIST_TEXT_MAX];
	struct cpu_set pool, siblings;
	int ret = small_file_read(SYSTEM, POOL_PATH, text, sizeof text);
	if (ret < 0)
		return fail(err, -ret, "read the pool of CPUs for enclaves (%s): is the driver nitro_enclaves loaded? tee-rex doctor "
		            "says more", POOL_PATH);
	if (!cpulist_parse(bytes_str(text), &pool))
		return fail(err, 0, "%s holds \"%.80s\", which is no list of CPUs", POOL_PATH, text);
	/* CPU 0 and the other threads of its core always stay with the parent, so this list is whole */
	unsigned threads = 1;
	if (small_file_read(SYSTEM, SIBLINGS_PATH, text, sizeof text) == 0 && cpulist_parse(bytes_str(text), &siblings) &&
	    !cpu_set_empty(&siblings))
		threads = (unsigned)cpu_set_count(&siblings);
	return nitro_cpus_plan(&pool, threads, g->o->cpus, &g->cpus, err);
}

static int prepare(struct backend *b, struct err *err)
{
	struct nitro *g = nitro_of(b);
	if (g->o->cid != 0 && (g->o->cid < NE_CID_MIN || g->o->cid > NE_CID_MAX))
		return fail(err, 0, "--cid %llu: 4 to 4294967294 are CIDs of enclaves (0 to 3 and 4294967295 are others'), none lets the "
		            "hypervisor pick", (unsigned long long)g->o->cid);
	int ret = measure(g, err);
	if (ret == 0)
		ret = plan_need(g, err);
	if (ret == 0)
		ret = plan_cpus(g, err);
	if (ret == 0)
		ret = plan_memory(g, err);
	return ret;
}

/* --- what the enclave calls --------------------------------------------------------------------------------------- */

static int listen_on(struct backend *b, uint32_t port, int *ret_fd, struct err *err)
{
	struct nitro *g = nitro_of(b);
	struct port *p = g->port;
	char base[BACKEND_PATH_MAX];
	while (p < g->port + PORTS_MAX && p->given >= 0)
		p++;
	if (p == g->port + PORTS_MAX)
		return fail(err, 0, "no more than %d ports of the parent are listened on", PORTS_MAX);
	/* beside the instances: shared by them. No instance has a name with a dot in front. */
	const char *slash = strrchr(b->owner->dir, '/');
	snprintf(base, sizeof base, "%.*s/.vsock", (int)(slash - b->owner->dir), b->owner->dir);
	int ret = vsock_share_open(&p->share, base, port, err);
	int fd = ret == 0 ? fcntl(p->share.epoll, F_DUPFD_CLOEXEC, 0) : -1;
	if (ret == 0 && fd < 0)
		ret = fail(err, errno, "listen on vsock port %u", port);
	if (ret < 0) {
		vsock_share_close(&p->share);
		return ret;
	}
	*ret_fd = p->given = fd;
	return 0;
}

static int accept_from(struct backend *b, int listener, int *ret_fd, uint32_t *ret_port, struct err *err)
{
	struct nitro *g = nitro_of(b);
	CLEANUP(close_fd) int fd = -1;
	uint32_t cid;
	size_t i = 0;
	while (i < PORTS_MAX && (g->port[i].given != listener || listener < 0))
		i++;
	if (i == PORTS_MAX)
		return fail(err, EBADF, "accept a connection of the enclave");
	int ret = vsock_share_accept(&g->port[i].share, &fd, err);
	if (ret == 0 && (ret = vsock_peer(fd, &cid, ret_port)) < 0)
		fail(err, -ret, "ask who called");
	if (ret == 0)
		*ret_fd = fd_steal(&fd);
	return ret;
}

static int connect_to(struct backend *b, uint32_t port, int *ret_fd, struct err *err)
{
	return b->cid == 0 ? fail(err, ENOTCONN, "the enclave has not started") : vsock_connect(b->cid, port, ret_fd, err);
}

static void address(const struct backend *b, char ret_text[BACKEND_ADDRESS_MAX])
{
	snprintf(ret_text, BACKEND_ADDRESS_MAX, "vsock:%u:%d", b->cid, PORT_SERVICE);
}

static int console(struct backend *b, int *ret_fd, struct err *err)
{
	if (!b->debug)
		return fail(err, 0, "an enclave in production mode has no console: the hypervisor throws away what it writes. Start it "
		            "with --debug to see it (its documents then show zero registers, and no client accepts them)"), -EPERM;
	return vsock_connect(VSOCK_HYPERVISOR, b->cid + VSOCK_CONSOLE_PORT_BASE, ret_fd, err);
}

/* --- its end ------------------------------------------------------------------------------------------------------- */

static void let_go(struct nitro *g)
{
	int fd = g->vm.fd;
	if (fd < 0)
		return;
	if (g->b.owner != NULL && g->b.owner->loop != NULL)
		loop_del(g->b.owner->loop, &g->vm);
	g->vm.fd = -1;
	close(fd);                               /* kills it, and returns only when it is gone */
	nitro_room_release(&g->room);
}

static void on_told(struct timer *t)
{
	struct nitro *g = CONTAINER_OF(t, struct nitro, told);
	g->b.owner->on_event(&g->b, g->vm.fd < 0 ? BACKEND_DEAD : BACKEND_DRAINED);
}

/* POLLHUP: its state changed without our doing, and the only change there is is the last. */
static void on_vm(struct watch *w, uint32_t events)
{
	struct nitro *g = CONTAINER_OF(w, struct nitro, vm);
	if (!(events & (EPOLLHUP | EPOLLERR)))
		return;
	if (!g->asked_to_stop)
		g->b.result = fail(&g->b.why, 0, "the enclave ended by itself: it powered off, its kernel died, or the hypervisor ended "
		                   "it (tee-rex logs shows its last words; run --debug shows its console)");
	let_go(g);
	timer_disarm(&g->told);
	g->b.owner->on_event(&g->b, BACKEND_DEAD);
}

/* --- starting ------------------------------------------------------------------------------------------------------ */

/* Memory with the image in it, from the first node that the driver takes it from. */
static int give_memory(struct nitro *g, int vm, uint64_t offset, struct err *err)
{
	int ret = -ENOMEM;
	for (size_t i = 0; i < g->way_count; i++) {
		const struct nitro_memory *way = &g->ways[i];
		bool nothing_given = true;
		ret = nitro_room_take(&g->room, way, g->node_count > 1, err);
		if (ret == 0)
			ret = nitro_room_load(&g->room, offset, g->eif.fd, g->eif.size, g->o->image, err);
		if (ret == 0)
			ret = nitro_room_give(&g->room, vm, &nothing_given, err);
		if (ret == 0) {
			size_t runs = nitro_pages_runs(g->room.pages, g->room.page_count);
			log_info("memory: %zu MiB on node %d, %llu pages of 1 GiB and %llu of 2 MiB, %zu contiguous regions%s",
			         g->room.n >> 20, way->node, (unsigned long long)way->pages[HUGE_1G],
			         (unsigned long long)way->pages[HUGE_2M], runs, runs == 0 ? " (0: not known without CAP_SYS_ADMIN)" : "");
			return 0;
		}
		/* pages that the driver has seen may be given back only when the enclave is gone */
		if (ret != -NE_ERR_MEM_DIFFERENT_NUMA_NODE || !nothing_given || i + 1 == g->way_count)
			return ret;
		log_info("node %d is not that of the CPU pool: trying node %d", way->node, g->ways[i + 1].node);
		nitro_room_release(&g->room);
	}
	return ret;
}

static int give_cpus(struct nitro *g, int vm, struct err *err)
{
	char list[CPULIST_TEXT_MAX];
	struct cpu_set given = { { 0 } };
	uint32_t cpu = 0;
	for (unsigned i = 0; i < g->cpus; i++) {
		int ret = ne_add_vcpu(vm, 0, &cpu, err);
		if (ret < 0)
			return fail_in(err, ret, "CPU %u of %u", i + 1, g->cpus);
		cpu_set_add(&given, cpu);
	}
	log_info("CPUs: %s", cpulist_text(&given, list));
	return 0;
}

static int boot(struct nitro *g, struct err *err)
{
	CLEANUP(close_fd) int device = -1;
	CLEANUP(close_fd) int vm = -1;
	uint64_t slot, offset, cid;
	int ret = ne_open(NE_DEVICE_PATH, &device, err);
	if (ret == 0)
		ret = ne_create_vm(device, &vm, &slot, err);
	if (ret == 0)
		ret = ne_image_offset(vm, &offset, err);
	if (ret == 0)
		ret = give_memory(g, vm, offset, err);
	if (ret == 0)
		ret = give_cpus(g, vm, err);
	if (ret == 0)
		ret = ne_start(vm, g->o->cid, g->b.debug, &cid, err);
	if (ret < 0)
		return ret;
	g->b.cid = (uint32_t)cid;
	nitro_room_seal(&g->room);
	g->vm.fd = fd_steal(&vm);
	return 0;
}

static int start(struct backend *b, struct err *err)
{
	struct nitro *g = nitro_of(b);
	int ret = boot(g, err);
	if (ret < 0) {
		nitro_room_release(&g->room);    /* the descriptor is closed: nobody has the pages */
		return ret;
	}
	int fd = g->vm.fd;
	g->vm.fd = -1;
	g->vm.on_event = on_vm;
	ret = loop_add(b->owner->loop, &g->vm, fd, EPOLLET);     /* EPOLLHUP comes unasked */
	g->vm.fd = fd;
	if (ret < 0)
		return fail(err, -ret, "watch the enclave");
	for (size_t i = 0; i < PORTS_MAX && ret == 0; i++)
		if (g->port[i].given >= 0)
			ret = vsock_share_claim(&g->port[i].share, b->cid, err);
	if (ret == 0)
		log_info("enclave: CID %u, %s", b->cid, b->debug ? "DEBUG: documents show zero registers" : "production");
	return ret;
}

static void stop(struct backend *b, enum backend_stop how)
{
	struct nitro *g = nitro_of(b);
	if (g->vm.fd < 0)
		return;
	if (how == BACKEND_DRAIN) {
		/* the gateway was what served; whoever speaks to the service directly sees init stop it in order */
		timer_arm(b->owner->loop, &g->told, 0);
		return;
	}
	g->asked_to_stop = true;
	if (how == BACKEND_TERM) {
		shutdown_call_ask(&g->shutdown, b);
		return;
	}
	let_go(g);
	timer_arm(b->owner->loop, &g->told, 0);
}

static void close_backend(struct backend *b)
{
	struct nitro *g = nitro_of(b);
	timer_disarm(&g->told);
	shutdown_call_close(&g->shutdown);
	let_go(g);
	nitro_room_release(&g->room);
	for (size_t i = 0; i < PORTS_MAX; i++)
		if (g->port[i].given >= 0)
			vsock_share_close(&g->port[i].share);
	eif_file_close(&g->eif);
}

static const struct backend_ops ops = {
	.name = "nitro", .simulated = false, .ready_ms = READY_MS, .stop_ms = STOP_MS,
	.prepare = prepare, .listen = listen_on, .accept = accept_from, .start = start, .connect = connect_to,
	.address = address, .console = console, .stop = stop, .close = close_backend,
};

struct backend *nitro_backend_open(const struct nitro_options *o)
{
	static struct nitro g;
	g = (struct nitro){ .b = { .ops = &ops, .debug = o->debug }, .o = o, .eif = EIF_FILE_NONE, .vm.fd = -1,
	                    .shutdown = SHUTDOWN_CALL_NONE, .told.on_expiry = on_told };
	for (size_t i = 0; i < PORTS_MAX; i++)
		g.port[i].given = -1;
	return &g.b;
}
