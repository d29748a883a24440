/* The service table: what tee-rex-init starts, as whom and with what. One measured text file of the boot ramdisk
 * (/etc/tee-rex/init.conf), written by `tee-rex build` and read by PID 1.
 *
 *     epoch = 3                        keys of the whole enclave
 *     [service prover]                 then one section per service
 *     arg = /usr/bin/tee-rex-prover    (a list key may be given many times)
 *     listen = service 9002
 *
 * Same syntax as the measured configuration (docs/CONFIG.md), with one addition: arguments, variables and directories
 * come from foreign images, so in their values "\xNN" is a byte and "\\" a backslash. docs/SERVICES.md has every key.
 * A key nobody knows, a value out of range and a scalar given twice are errors: what was measured must be what was meant.
 *
 * Strings are borrowed: from text[] after parsing (so a parsed table must not be copied), or from whoever
 * fills a table to write it. */
#ifndef FORMAT_SERVICE_TABLE_H
#define FORMAT_SERVICE_TABLE_H

#include "base/bytes.h"
#include "base/fail.h"

enum {
	SERVICE_TABLE_MAX = 64 << 10,            /* bytes of the file */
	SERVICE_LINE_MAX = 16 << 10,             /* bytes of a line */
	SERVICES_MAX = 8,
	SERVICE_NAME_MAX = 31,                   /* of services and of descriptors (linux/listen_fds.h) */
	SERVICE_ARGS_MAX = 128,
	SERVICE_ENV_MAX = 128,
	SERVICE_GROUPS_MAX = 16,
	SERVICE_LISTEN_MAX = 4,
	SERVICE_BRIDGE_MAX = 4,
	SERVICE_LINK_MAX = 4,
	SERVICE_FDS_MAX = 7,                     /* listeners and link ends of one service; one more is "ready" */
	SERVICE_HOSTNAME_MAX = 63
};

enum layout { LAYOUT_PLAIN, LAYOUT_SQUASHFS };
enum service_root { SERVICE_ROOT_APP, SERVICE_ROOT_BOOT };
enum service_ready { READY_START, READY_FD, READY_ACCEPT };
enum service_restart { RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_NEVER };
enum service_log { SERVICE_LOG_EVENTS, SERVICE_LOG_STDERR };
enum {
	GRANT_NSM = 1 << 0,                      /* /dev/nsm, owned by the service's user, 0600 */
	GRANT_ROOT_CAPABILITIES = 1 << 1,        /* keeps every capability, may gain privileges, sees cgroups: the launcher */
	GRANT_CONTAINER_CAPABILITIES = 1 << 2    /* those that container engines leave to root, but for mknod, sys_chroot, net_raw */
};

struct service_listen { const char *name; uint32_t port; };
struct service_bridge { uint32_t port; uint16_t tcp_port; };

struct service {
	const char *name;
	const char *arg[SERVICE_ARGS_MAX + 1];   /* NULL-terminated, as is env; arg[0] without a slash is looked up in PATH */
	const char *env[SERVICE_ENV_MAX + 1];    /* NAME=VALUE */
	uint32_t arg_count, env_count;
	const char *workdir;                     /* absolute, in its root */
	uint32_t uid, gid;
	uint32_t group[SERVICE_GROUPS_MAX];      /* supplementary */
	uint32_t group_count;
	enum service_root root;
	enum service_ready ready;
	uint32_t ready_s;                        /* it must be ready by then; 0: whenever */
	enum service_restart restart;
	bool essential;
	uint32_t backoff_ms, backoff_max_ms;     /* before the first restart; doubled up to the second */
	uint32_t restarts_max;                   /* in a row, then it is lost for good; 0: any number */
	uint32_t stable_s;                       /* up for that long, it starts counting anew */
	uint32_t memory_mib, pids_max;           /* of the service and all below it; 0: no limit */
	uint32_t cpu_weight;
	uint32_t files_max;                      /* open descriptors of a process */
	uint32_t grants;                         /* GRANT_… */
	struct service_listen listen[SERVICE_LISTEN_MAX];
	struct service_bridge bridge[SERVICE_BRIDGE_MAX];
	const char *link[SERVICE_LINK_MAX];      /* peers' names; listed on one side only */
	const char *after[SERVICES_MAX];         /* started once these are ready */
	uint32_t listen_count, bridge_count, link_count, after_count;
	uint32_t stop_signal, stop_s;
	enum service_log log;
};

struct service_table {
	uint32_t epoch;
	const char *hostname;
	enum layout layout;
	uint32_t writable_mib;                   /* of the overlay over the application; 0: it is read-only */
	uint32_t tmp_mib;                        /* of /tmp and of /run of the application, each */
	struct service service[SERVICES_MAX];
	uint32_t service_count;
	char text[SERVICE_TABLE_MAX];            /* what the strings of a parsed table point into */
	size_t text_n;
};

/* What keys have that are not given. A service needs a name and at least one arg beside these. */
void service_table_defaults(struct service_table *ret);
void service_defaults(struct service *ret);

/* Parses a whole file. file: its name, for the messages ("file:line: …"). -EINVAL with err set, and *ret unspecified,
 * when anything in it is wrong. Nothing is allocated. */
int service_table_parse(struct bytes text, const char *file, struct service_table *ret, struct err *err);
/* Whether a table that a program filled could have been parsed; -EINVAL says what could not. */
int service_table_check(const struct service_table *t, struct err *err);
/* Writes every key in one fixed order: parsing it gives the same table, writing that the same bytes. The table must pass
 * service_table_check(). */
void service_table_put(struct writer *w, const struct service_table *t);

/* Index of the service of that name, or -1. */
int service_table_find(const struct service_table *t, struct bytes name);
/* Whether a and b are linked, whoever of them says so. */
bool services_linked(const struct service_table *t, uint32_t a, uint32_t b);
/* "SIGTERM", "TERM" or "15"; 0 when it is no signal. */
uint32_t signal_number(struct bytes text);

#endif
