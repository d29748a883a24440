/* One table row per key: where the value goes, how it is read, written and bounded. The parser walks the lines, finds the
 * row and calls its reader; the writer walks the rows. What no single line can be blamed for (names that must exist,
 * ports that must differ, circles) is checked at the end. Nothing is allocated. */
#include "format/service_table.h"

#include "base/options.h"
#include "base/text.h"
#include "format/frame.h"
#include "format/key_lines.h"

#include <signal.h>
#include <stdio.h>

enum { KEYS_MAX = 40, SHOWN_MAX = 96 };

struct parser {
	struct service_table *t;
	struct service *service;                 /* of the section; NULL before the first */
	const char *file;
	unsigned line;
	unsigned seen[KEYS_MAX];                 /* line of each key in this section, 0 = not given */
	struct err *err;
};

struct key {
	bool of_service;
	const char *name;
	int (*read)(struct parser *p, const struct key *k, struct bytes value);
	void (*put)(struct writer *w, const struct key *k, const void *object);
	size_t offset;                           /* of the member in struct service or service_table */
	uint64_t min, max;                       /* of numbers; of lists: max lines */
	const char *const *words;                /* of enums, NULL-terminated */
	size_t count_offset;                     /* of lists */
};

#define AT(object, k, type) ((type *)(void *)((char *)(object) + (k)->offset))
#define CONST_AT(object, k, type) ((type const *)(const void *)((const char *)(object) + (k)->offset))

static void *object_of(struct parser *p, const struct key *k)
{
	return k->of_service ? (void *)p->service : (void *)p->t;
}

static uint32_t *count_of(struct parser *p, const struct key *k)
{
	return (uint32_t *)(void *)((char *)object_of(p, k) + k->count_offset);
}

static uint32_t count_in(const void *object, const struct key *k)
{
	return *(const uint32_t *)(const void *)((const char *)object + k->count_offset);
}

/* "file:line: key = value: " and then what is wrong with it. */
static int refuse(struct parser *p, const struct key *k, struct bytes value, const char *why)
{
	char shown[SHOWN_MAX];
	return fail(p->err, 0, "%s:%u: %s = %s: %s", p->file, p->line, k->name, text_escape(value, shown, sizeof shown), why);
}

/* --- words ------------------------------------------------------------------------------------ */
/* a-z 0-9 and '-' inside; starts with a letter */
static bool name_valid(struct bytes b)
{
	for (size_t i = 0; i < b.n; i++) {
		uint8_t c = b.p[i];
		bool letter = c >= 'a' && c <= 'z', inside = (c >= '0' && c <= '9') || c == '-';
		if (!letter && !(inside && i > 0))
			return false;
	}
	return b.n > 0 && b.n <= SERVICE_NAME_MAX;
}

static bool hostname_valid(struct bytes b)
{
	for (size_t i = 0; i < b.n; i++) {
		uint8_t c = b.p[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (!plain && !(c == '-' && i > 0 && i + 1 < b.n))
			return false;
	}
	return b.n > 0 && b.n <= SERVICE_HOSTNAME_MAX;
}

static const char *const layout_words[] = { "plain", "squashfs", NULL };
static const char *const root_words[] = { "app", "boot", NULL };
static const char *const ready_words[] = { "start", "fd", "accept", NULL };
static const char *const restart_words[] = { "always", "on-failure", "never", NULL };
static const char *const bool_words[] = { "no", "yes", NULL };
static const char *const log_words[] = { "events", "stderr", NULL };
static const char *const grant_words[] = { "nsm", "root-capabilities", "container-capabilities", NULL };

static const struct { const char *name; uint32_t number; } signals[] = {
	{ "HUP", SIGHUP }, { "INT", SIGINT }, { "QUIT", SIGQUIT }, { "KILL", SIGKILL }, { "USR1", SIGUSR1 }, { "USR2", SIGUSR2 },
	{ "PIPE", SIGPIPE }, { "ALRM", SIGALRM }, { "TERM", SIGTERM }, { "CONT", SIGCONT }, { "PWR", SIGPWR }, { "WINCH", SIGWINCH }
};
enum { SIGNAL_COUNT = sizeof signals / sizeof *signals };

uint32_t signal_number(struct bytes text)
{
	uint64_t number;
	if (text_to_u64(text, 64, &number))
		return (uint32_t)number;
	if (text.n > 3 && memcmp(text.p, "SIG", 3) == 0)
		text = bytes_of(text.p + 3, text.n - 3);
	for (size_t i = 0; i < SIGNAL_COUNT; i++)
		if (bytes_equal(text, bytes_str(signals[i].name)))
			return signals[i].number;
	return 0;
}

/* --- strings ---------------------------------------------------------------------------------- */
/* What is left of the line buffer in text[] always suffices: a line is longer than its value. */
static const char *keep(struct parser *p, struct bytes b)
{
	char *at = p->t->text + p->t->text_n;
	memcpy(at, b.p, b.n);
	at[b.n] = '\0';
	p->t->text_n += b.n + 1;
	return at;
}

/* Undoes the escapes into text[]; NULL (and nothing kept) when one is wrong. */
static const char *keep_unescaped(struct parser *p, struct bytes b)
{
	char *at = p->t->text + p->t->text_n;
	size_t n = 0;
	for (size_t i = 0; i < b.n; i++) {
		uint8_t c = b.p[i];
		if (c == '\\' && b.n - i >= 2 && b.p[i + 1] == '\\') {
			i++;
		} else if (c == '\\') {
			if (b.n - i < 4 || b.p[i + 1] != 'x' || !hex_decode(bytes_slice(b, i + 2, 2), &c, 1) || c == 0)
				return NULL;
			i += 3;
		}
		at[n++] = (char)c;
	}
	at[n] = '\0';
	p->t->text_n += n + 1;
	return at;
}

static void put_escaped(struct writer *w, const char *s)
{
	for (size_t i = 0; s[i] != '\0'; i++) {
		uint8_t c = (uint8_t)s[i];
		bool outer = i == 0 || s[i + 1] == '\0';
		if (c < 0x20 || c > 0x7e || c == '\\' || (outer && c == ' '))
			put_fmt(w, "\\x%02x", c);
		else
			put_u8(w, c);
	}
}

/* --- scalars ---------------------------------------------------------------------------------- */
static int read_u32(struct parser *p, const struct key *k, struct bytes value)
{
	uint64_t v;
	char why[96];
	if (text_to_u64(value, k->max, &v) && v >= k->min) {
		*AT(object_of(p, k), k, uint32_t) = (uint32_t)v;
		return 0;
	}
	snprintf(why, sizeof why, "a whole number from %llu to %llu is allowed", (unsigned long long)k->min, (unsigned long long)k->max);
	return refuse(p, k, value, why);
}

static void put_u32(struct writer *w, const struct key *k, const void *object)
{
	put_fmt(w, "%s = %u\n", k->name, *CONST_AT(object, k, uint32_t));
}

static int refuse_word(struct parser *p, const struct key *k, struct bytes value)
{
	char why[96];
	struct writer w = writer_of(why, sizeof why - 1);
	for (size_t i = 0; k->words[i] != NULL; i++)
		put_fmt(&w, "%s%s", i == 0 ? "" : k->words[i + 1] == NULL ? " or " : ", ", k->words[i]);
	put_str(&w, k->words[1] == NULL ? " is allowed" : " are allowed");
	why[w.at] = '\0';
	return refuse(p, k, value, why);
}

static int word_index(const struct key *k, struct bytes value)
{
	for (int i = 0; k->words[i] != NULL; i++)
		if (bytes_equal(value, bytes_str(k->words[i])))
			return i;
	return -1;
}

_Static_assert(sizeof(enum layout) == sizeof(unsigned) && sizeof(enum service_log) == sizeof(unsigned), "enums are read as unsigned");
static int read_word(struct parser *p, const struct key *k, struct bytes value)
{
	int i = word_index(k, value);
	if (i < 0)
		return refuse_word(p, k, value);
	*AT(object_of(p, k), k, unsigned) = (unsigned)i;
	return 0;
}

static void put_word(struct writer *w, const struct key *k, const void *object)
{
	put_fmt(w, "%s = %s\n", k->name, k->words[*CONST_AT(object, k, unsigned)]);
}

static int read_bool(struct parser *p, const struct key *k, struct bytes value)
{
	int i = word_index(k, value);
	if (i < 0)
		return refuse_word(p, k, value);
	*AT(object_of(p, k), k, bool) = i == 1;
	return 0;
}

static void put_bool(struct writer *w, const struct key *k, const void *object)
{
	put_fmt(w, "%s = %s\n", k->name, bool_words[*CONST_AT(object, k, bool)]);
}

static int read_hostname(struct parser *p, const struct key *k, struct bytes value)
{
	if (!hostname_valid(value))
		return refuse(p, k, value, "1-63 characters of A-Z a-z 0-9 - are allowed, - only inside");
	*AT(object_of(p, k), k, const char *) = keep(p, value);
	return 0;
}

static int read_directory(struct parser *p, const struct key *k, struct bytes value)
{
	const char *path = keep_unescaped(p, value);
	if (path == NULL || path[0] != '/')
		return refuse(p, k, value, "an absolute path is allowed; \\xNN and \\\\ are the only escapes");
	*AT(object_of(p, k), k, const char *) = path;
	return 0;
}

static void put_text(struct writer *w, const struct key *k, const void *object)
{
	put_fmt(w, "%s = ", k->name);
	put_escaped(w, *CONST_AT(object, k, const char *));
	put_u8(w, '\n');
}

static int read_signal(struct parser *p, const struct key *k, struct bytes value)
{
	uint32_t number = signal_number(value);
	if (number == 0)
		return refuse(p, k, value, "a signal is allowed: its name (SIGTERM, TERM) or number (1-64)");
	*AT(object_of(p, k), k, uint32_t) = number;
	return 0;
}

/* --- lists ------------------------------------------------------------------------------------ */
static int refuse_more(struct parser *p, const struct key *k, struct bytes value)
{
	char why[48];
	snprintf(why, sizeof why, "at most %llu are allowed", (unsigned long long)k->max);
	return refuse(p, k, value, why);
}

static bool list_full(struct parser *p, const struct key *k) { return *count_of(p, k) == k->max; }

static int read_text_item(struct parser *p, const struct key *k, struct bytes value)
{
	if (list_full(p, k))
		return refuse_more(p, k, value);
	const char *s = keep_unescaped(p, value);
	if (s == NULL)
		return refuse(p, k, value, "\\xNN and \\\\ are the only escapes, and no string holds a zero byte");
	AT(object_of(p, k), k, const char *)[(*count_of(p, k))++] = s;
	return 0;
}

static int read_env(struct parser *p, const struct key *k, struct bytes value)
{
	static const char *const ours[] = { "LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=" };
	int bad = read_text_item(p, k, value);
	if (bad != 0)
		return bad;
	struct service *s = p->service;
	const char *added = s->env[s->env_count - 1], *equals = strchr(added, '=');
	if (equals == NULL || equals == added)
		return refuse(p, k, value, "NAME=VALUE is allowed");
	size_t n = (size_t)(equals - added) + 1;
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		if (strncmp(added, ours[i], n) == 0 && ours[i][n] == '\0')
			return refuse(p, k, value, "tee-rex-init sets this variable itself");
	for (uint32_t i = 0; i + 1 < s->env_count; i++)
		if (strncmp(s->env[i], added, n) == 0)
			return refuse(p, k, value, "this variable is already set");
	return 0;
}

static void put_text_list(struct writer *w, const struct key *k, const void *object)
{
	for (uint32_t i = 0; i < count_in(object, k); i++) {
		put_fmt(w, "%s = ", k->name);
		put_escaped(w, CONST_AT(object, k, const char *)[i]);
		put_u8(w, '\n');
	}
}

static int read_group(struct parser *p, const struct key *k, struct bytes value)
{
	uint64_t v;
	if (list_full(p, k))
		return refuse_more(p, k, value);
	if (!text_to_u64(value, UINT32_MAX - 1, &v))
		return refuse(p, k, value, "a group's number is allowed");
	AT(object_of(p, k), k, uint32_t)[(*count_of(p, k))++] = (uint32_t)v;
	return 0;
}

static void put_groups(struct writer *w, const struct key *k, const void *object)
{
	for (uint32_t i = 0; i < count_in(object, k); i++)
		put_fmt(w, "%s = %u\n", k->name, CONST_AT(object, k, uint32_t)[i]);
}

static int read_grant(struct parser *p, const struct key *k, struct bytes value)
{
	int i = word_index(k, value);
	if (i < 0)
		return refuse_word(p, k, value);
	*AT(object_of(p, k), k, uint32_t) |= 1u << i;
	return 0;
}

static void put_grants(struct writer *w, const struct key *k, const void *object)
{
	for (unsigned i = 0; grant_words[i] != NULL; i++)
		if (*CONST_AT(object, k, uint32_t) & 1u << i)
			put_fmt(w, "%s = %s\n", k->name, grant_words[i]);
}

static void split(struct bytes value, struct bytes *ret_first, struct bytes *ret_second)
{
	size_t space = 0;
	while (space < value.n && value.p[space] != ' ')
		space++;
	*ret_first = bytes_slice(value, 0, space);
	*ret_second = bytes_slice(value, space + 1, value.n - space - (space < value.n));
}

static bool port_valid(struct bytes text, uint32_t *ret_port)
{
	uint64_t v;
	if (!text_to_u64(text, UINT32_MAX - 1, &v) || v == 0 || v == PORT_HEARTBEAT || v == PORT_CONTROL || v == PORT_SHUTDOWN)
		return false;
	*ret_port = (uint32_t)v;
	return true;
}
#define PORTS_ALLOWED "vsock ports are 1-4294967294 but for 9000, 9001 and 9003, which are init's"

static int read_listen(struct parser *p, const struct key *k, struct bytes value)
{
	struct bytes name, port;
	uint32_t number;
	if (list_full(p, k))
		return refuse_more(p, k, value);
	split(value, &name, &port);
	if (!name_valid(name) || !port_valid(port, &number))
		return refuse(p, k, value, "NAME PORT is allowed; " PORTS_ALLOWED);
	p->service->listen[p->service->listen_count++] = (struct service_listen){ keep(p, name), number };
	return 0;
}

static void put_listen(struct writer *w, const struct key *k, const void *object)
{
	const struct service *s = object;
	for (uint32_t i = 0; i < s->listen_count; i++)
		put_fmt(w, "%s = %s %u\n", k->name, s->listen[i].name, s->listen[i].port);
}

static int read_bridge(struct parser *p, const struct key *k, struct bytes value)
{
	struct bytes port, tcp;
	uint32_t number;
	uint64_t tcp_port;
	if (list_full(p, k))
		return refuse_more(p, k, value);
	split(value, &port, &tcp);
	if (!port_valid(port, &number) || !text_to_u64(tcp, 65535, &tcp_port) || tcp_port == 0)
		return refuse(p, k, value, "VSOCK_PORT TCP_PORT is allowed; " PORTS_ALLOWED);
	p->service->bridge[p->service->bridge_count++] = (struct service_bridge){ number, (uint16_t)tcp_port };
	return 0;
}

static void put_bridge(struct writer *w, const struct key *k, const void *object)
{
	const struct service *s = object;
	for (uint32_t i = 0; i < s->bridge_count; i++)
		put_fmt(w, "%s = %u %u\n", k->name, s->bridge[i].port, s->bridge[i].tcp_port);
}

static int read_name_item(struct parser *p, const struct key *k, struct bytes value)
{
	if (list_full(p, k))
		return refuse_more(p, k, value);
	if (!name_valid(value))
		return refuse(p, k, value, "a service's name is allowed");
	AT(object_of(p, k), k, const char *)[(*count_of(p, k))++] = keep(p, value);
	return 0;
}

/* --- the table -------------------------------------------------------------------------------- */
#define TOP(m) offsetof(struct service_table, m)
#define OF(m) offsetof(struct service, m)

static const struct key keys[] = {
	{ false, "epoch", read_u32, put_u32, TOP(epoch), 0, UINT32_MAX, NULL, 0 },
	{ false, "hostname", read_hostname, put_text, TOP(hostname), 0, 0, NULL, 0 },
	{ false, "layout", read_word, put_word, TOP(layout), 0, 0, layout_words, 0 },
	{ false, "writable_mib", read_u32, put_u32, TOP(writable_mib), 0, 1 << 20, NULL, 0 },
	{ false, "tmp_mib", read_u32, put_u32, TOP(tmp_mib), 1, 1 << 20, NULL, 0 },
	{ true, "arg", read_text_item, put_text_list, OF(arg), 0, SERVICE_ARGS_MAX, NULL, OF(arg_count) },
	{ true, "env", read_env, put_text_list, OF(env), 0, SERVICE_ENV_MAX, NULL, OF(env_count) },
	{ true, "workdir", read_directory, put_text, OF(workdir), 0, 0, NULL, 0 },
	{ true, "uid", read_u32, put_u32, OF(uid), 0, UINT32_MAX - 1, NULL, 0 },
	{ true, "gid", read_u32, put_u32, OF(gid), 0, UINT32_MAX - 1, NULL, 0 },
	{ true, "group", read_group, put_groups, OF(group), 0, SERVICE_GROUPS_MAX, NULL, OF(group_count) },
	{ true, "root", read_word, put_word, OF(root), 0, 0, root_words, 0 },
	{ true, "ready", read_word, put_word, OF(ready), 0, 0, ready_words, 0 },
	{ true, "ready_s", read_u32, put_u32, OF(ready_s), 0, 86400, NULL, 0 },
	{ true, "restart", read_word, put_word, OF(restart), 0, 0, restart_words, 0 },
	{ true, "essential", read_bool, put_bool, OF(essential), 0, 0, bool_words, 0 },
	{ true, "backoff_ms", read_u32, put_u32, OF(backoff_ms), 1, 3600000, NULL, 0 },
	{ true, "backoff_max_ms", read_u32, put_u32, OF(backoff_max_ms), 1, 3600000, NULL, 0 },
	{ true, "restarts_max", read_u32, put_u32, OF(restarts_max), 0, 1000000, NULL, 0 },
	{ true, "stable_s", read_u32, put_u32, OF(stable_s), 1, 86400, NULL, 0 },
	{ true, "memory_mib", read_u32, put_u32, OF(memory_mib), 0, 1 << 20, NULL, 0 },
	{ true, "pids_max", read_u32, put_u32, OF(pids_max), 0, 4194304, NULL, 0 },
	{ true, "cpu_weight", read_u32, put_u32, OF(cpu_weight), 1, 10000, NULL, 0 },
	{ true, "files_max", read_u32, put_u32, OF(files_max), 16, 1 << 20, NULL, 0 },
	{ true, "grant", read_grant, put_grants, OF(grants), 0, 0, grant_words, OF(grants) },
	{ true, "listen", read_listen, put_listen, OF(listen), 0, SERVICE_LISTEN_MAX, NULL, OF(listen_count) },
	{ true, "bridge", read_bridge, put_bridge, OF(bridge), 0, SERVICE_BRIDGE_MAX, NULL, OF(bridge_count) },
	{ true, "link", read_name_item, put_text_list, OF(link), 0, SERVICE_LINK_MAX, NULL, OF(link_count) },
	{ true, "after", read_name_item, put_text_list, OF(after), 0, SERVICES_MAX, NULL, OF(after_count) },
	{ true, "stop_signal", read_signal, put_u32, OF(stop_signal), 0, 0, NULL, 0 },
	{ true, "stop_s", read_u32, put_u32, OF(stop_s), 0, 3600, NULL, 0 },
	{ true, "log", read_word, put_word, OF(log), 0, 0, log_words, 0 },
};
enum { KEY_COUNT = sizeof keys / sizeof *keys };
_Static_assert(sizeof keys / sizeof *keys <= KEYS_MAX, "struct parser has a line number per key");

void service_table_defaults(struct service_table *ret)
{
	memset(ret, 0, sizeof *ret);
	ret->hostname = "enclave";
	ret->tmp_mib = 16;
}

void service_defaults(struct service *ret)
{
	*ret = (struct service){
		.workdir = "/", .ready_s = 60, .essential = true,
		.backoff_ms = 50, .backoff_max_ms = 30000, .stable_s = 60,
		.pids_max = 1024, .cpu_weight = 100, .files_max = 4096,
		.stop_signal = SIGTERM, .stop_s = 10,
	};
}

/* --- what must hold together ------------------------------------------------------------------ */
int service_table_find(const struct service_table *t, struct bytes name)
{
	for (uint32_t i = 0; i < t->service_count; i++)
		if (bytes_equal(name, bytes_str(t->service[i].name)))
			return (int)i;
	return -1;
}

static bool lists(const char *const *list, uint32_t count, const char *name)
{
	for (uint32_t i = 0; i < count; i++)
		if (strcmp(list[i], name) == 0)
			return true;
	return false;
}

bool services_linked(const struct service_table *t, uint32_t a, uint32_t b)
{
	const struct service *x = &t->service[a], *y = &t->service[b];
	return lists(x->link, x->link_count, y->name) || lists(y->link, y->link_count, x->name);
}

static int refuse_service(struct parser *p, const struct service *s, const char *why, const char *what)
{
	return fail(p->err, 0, "%s: [service %s]: %s%s", p->file, s->name, why, what);
}

static int check_names(struct parser *p, const struct service *s)
{
	const struct service_table *t = p->t;
	for (uint32_t i = 0; i < s->after_count; i++)
		if (service_table_find(t, bytes_str(s->after[i])) < 0)
			return refuse_service(p, s, "no service to start after is called ", s->after[i]);
	for (uint32_t i = 0; i < s->link_count; i++) {
		int peer = service_table_find(t, bytes_str(s->link[i]));
		if (peer < 0)
			return refuse_service(p, s, "no service to link with is called ", s->link[i]);
		const struct service *other = &t->service[peer];
		if (other == s)
			return refuse_service(p, s, "linked with itself", "");
		if (lists(s->link, i, s->link[i]) || lists(other->link, other->link_count, s->name))
			return refuse_service(p, s, "one link is enough, on one side only: ", s->link[i]);
	}
	return 0;
}

/* Listeners and link ends are told apart by name. */
static int check_descriptors(struct parser *p, const struct service *s)
{
	const struct service_table *t = p->t;
	uint32_t self = (uint32_t)(s - t->service), fds = s->listen_count;
	for (uint32_t i = 0; i < s->listen_count; i++) {
		const char *name = s->listen[i].name;
		int peer = service_table_find(t, bytes_str(name));
		bool twice = strcmp(name, "ready") == 0 || (peer >= 0 && services_linked(t, self, (uint32_t)peer));
		for (uint32_t k = 0; k < i; k++)
			twice = twice || strcmp(name, s->listen[k].name) == 0;
		if (twice)
			return refuse_service(p, s, "two descriptors would be called ", name);
	}
	for (uint32_t i = 0; i < t->service_count; i++) {
		bool linked = i != self && services_linked(t, self, i);
		if (linked && strcmp(t->service[i].name, "ready") == 0)
			return refuse_service(p, s, "two descriptors would be called ", "ready");
		fds += linked;
	}
	return fds <= SERVICE_FDS_MAX ? 0 : refuse_service(p, s, "more than 7 listeners and links", "");
}

static int check_ports(struct parser *p)
{
	uint32_t port[SERVICES_MAX * (SERVICE_LISTEN_MAX + SERVICE_BRIDGE_MAX)];
	size_t n = 0;
	for (uint32_t i = 0; i < p->t->service_count; i++) {
		const struct service *s = &p->t->service[i];
		size_t first = n;
		for (uint32_t k = 0; k < s->listen_count; k++)
			port[n++] = s->listen[k].port;
		for (uint32_t k = 0; k < s->bridge_count; k++)
			port[n++] = s->bridge[k].port;
		for (; first < n; first++)
			for (size_t k = 0; k < first; k++)
				if (port[k] == port[first]) {
					char number[16];
					snprintf(number, sizeof number, "%u", port[k]);
					return refuse_service(p, s, "somebody listens already on port ", number);
				}
	}
	return 0;
}

/* Takes away, again and again, what waits for nothing that is left. */
static int check_order(struct parser *p)
{
	const struct service_table *t = p->t;
	bool gone[SERVICES_MAX] = { false };
	for (uint32_t round = 0; round < t->service_count; round++)
		for (uint32_t i = 0; i < t->service_count; i++) {
			bool waits = false;
			for (uint32_t k = 0; k < t->service[i].after_count; k++)
				waits = waits || !gone[service_table_find(t, bytes_str(t->service[i].after[k]))];
			gone[i] = gone[i] || !waits;
		}
	for (uint32_t i = 0; i < t->service_count; i++)
		if (!gone[i])
			return refuse_service(p, &t->service[i], "\"after\" leads back to itself; it could never start", "");
	return 0;
}

static int check_whole(struct parser *p)
{
	const struct service_table *t = p->t;
	bool essential = false;
	int bad = 0;
	if (t->service_count == 0)
		return fail(p->err, 0, "%s: there is no [service NAME]; nothing would run", p->file);
	for (uint32_t i = 0; i < t->service_count && bad == 0; i++) {
		const struct service *s = &t->service[i];
		essential = essential || s->essential;
		if (s->arg_count == 0 || s->arg[0][0] == '\0')
			return refuse_service(p, s, "the first arg names the program; there is none", "");
		if (s->backoff_ms > s->backoff_max_ms)
			return refuse_service(p, s, "backoff_ms is more than backoff_max_ms", "");
		if (s->ready == READY_ACCEPT && s->bridge_count == 0)
			return refuse_service(p, s, "ready = accept needs a bridge line; a service with a listener says so itself (ready = fd)", "");
		if ((s->grants & GRANT_ROOT_CAPABILITIES) && (s->grants & GRANT_CONTAINER_CAPABILITIES))
			return refuse_service(p, s, "root-capabilities include container-capabilities; grant one", "");
		bad = check_names(p, s);
	}
	for (uint32_t i = 0; i < t->service_count && bad == 0; i++)
		bad = check_descriptors(p, &t->service[i]);
	if (bad == 0 && !essential)
		return fail(p->err, 0, "%s: no service is essential; nothing would keep the enclave up", p->file);
	if (bad == 0)
		bad = check_ports(p);
	return bad != 0 ? bad : check_order(p);
}

/* --- lines ------------------------------------------------------------------------------------ */
static int read_section(struct parser *p, struct bytes text)
{
	char shown[SHOWN_MAX];
	struct bytes kind, name;
	split(text, &kind, &name);
	if (!bytes_equal(kind, BYTES_LIT("service")) || !name_valid(name))
		return fail(p->err, 0, "%s:%u: [%s]: [service NAME] is allowed, NAME of 1-31 characters of a-z 0-9 -, a letter first",
		            p->file, p->line, text_escape(text, shown, sizeof shown));
	if (service_table_find(p->t, name) >= 0)
		return fail(p->err, 0, "%s:%u: there is a [service %.*s] already", p->file, p->line, (int)name.n, (const char *)name.p);
	if (p->t->service_count == SERVICES_MAX)
		return fail(p->err, 0, "%s:%u: at most %d services are allowed", p->file, p->line, SERVICES_MAX);
	p->service = &p->t->service[p->t->service_count];
	service_defaults(p->service);
	p->service->name = keep(p, name);
	p->t->service_count++;
	memset(p->seen, 0, sizeof p->seen);
	return 0;
}

static int unknown_key(struct parser *p, struct bytes name)
{
	char word[SHOWN_MAX];
	const char *here[KEY_COUNT], *where = p->service != NULL ? " in [service]" : " before the first section";
	size_t n = 0;

	text_escape(name, word, sizeof word);
	for (size_t i = 0; i < KEY_COUNT; i++) {
		if (keys[i].of_service == (p->service != NULL))
			here[n++] = keys[i].name;
		else if (bytes_equal(name, bytes_str(keys[i].name)))
			return fail(p->err, 0, "%s:%u: no key \"%s\"%s; it belongs %s", p->file, p->line, word, where,
			            keys[i].of_service ? "into a [service NAME]" : "before the first section");
	}
	const char *near = nearest_word(word, here, n);
	return near != NULL ? fail(p->err, 0, "%s:%u: unknown key \"%s\"%s; did you mean \"%s\"?", p->file, p->line, word, where, near) :
	       fail(p->err, 0, "%s:%u: unknown key \"%s\"%s; docs/SERVICES.md has those there are", p->file, p->line, word, where);
}

static int read_pair(struct parser *p, struct bytes name, struct bytes value)
{
	for (size_t i = 0; i < KEY_COUNT; i++) {
		const struct key *k = &keys[i];
		if (k->of_service != (p->service != NULL) || !bytes_equal(name, bytes_str(k->name)))
			continue;
		if (p->seen[i] != 0 && k->count_offset == 0)
			return fail(p->err, 0, "%s:%u: %s is already set in line %u; once is allowed", p->file, p->line, k->name, p->seen[i]);
		if (value.n == 0 && k->read != read_text_item)          /* an argument may be empty */
			return fail(p->err, 0, "%s:%u: %s has no value; leave the line out for the default", p->file, p->line, k->name);
		p->seen[i] = p->line;
		return k->read(p, k, value);
	}
	return unknown_key(p, name);
}

int service_table_parse(struct bytes text, const char *file, struct service_table *ret, struct err *err)
{
	struct parser p = { .t = ret, .file = file, .err = err };

	service_table_defaults(ret);
	if (text.n > SERVICE_TABLE_MAX)
		return fail(err, 0, "%s: the file has %zu bytes; %d are allowed", file, text.n, SERVICE_TABLE_MAX);
	struct key_lines lines = { .rest = text, .file = file, .section_form = "[service NAME]", .line_max = SERVICE_LINE_MAX };
	struct bytes name, value;
	int kind;
	while ((kind = key_lines_next(&lines, &name, &value, err)) > KEY_LINE_END) {
		p.line = lines.line;
		int bad = kind == KEY_LINE_SECTION ? read_section(&p, name) : read_pair(&p, name, value);
		if (bad != 0)
			return bad;
	}
	return kind < 0 ? kind : check_whole(&p);
}

/* --- writing ---------------------------------------------------------------------------------- */
void service_table_put(struct writer *w, const struct service_table *t)
{
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (!keys[i].of_service)
			keys[i].put(w, &keys[i], t);
	for (uint32_t s = 0; s < t->service_count; s++) {
		put_fmt(w, "\n[service %s]\n", t->service[s].name);
		for (size_t i = 0; i < KEY_COUNT; i++)
			if (keys[i].of_service)
				keys[i].put(w, &keys[i], &t->service[s]);
	}
}

/* Names are written as they are: one with a newline in it would become lines of its own. */
static const char *bad_name(const struct service_table *t)
{
	if (t->hostname == NULL || !hostname_valid(bytes_str(t->hostname)))
		return "hostname";
	for (uint32_t i = 0; i < t->service_count; i++) {
		const struct service *s = &t->service[i];
		if (s->name == NULL || !name_valid(bytes_str(s->name)))
			return "a service's name";
		for (uint32_t k = 0; k < s->listen_count; k++)
			if (s->listen[k].name == NULL || !name_valid(bytes_str(s->listen[k].name)))
				return "a listener's name";
		for (uint32_t k = 0; k < s->link_count; k++)
			if (!name_valid(bytes_str(s->link[k])))
				return "a link's name";
		for (uint32_t k = 0; k < s->after_count; k++)
			if (!name_valid(bytes_str(s->after[k])))
				return "an after's name";
	}
	return NULL;
}

/* What is refused when it is read is refused here: it is written and read. */
int service_table_check(const struct service_table *t, struct err *err)
{
	static uint8_t text[SERVICE_TABLE_MAX];
	static struct service_table again;
	struct writer w = writer_of(text, sizeof text);
	const char *bad = t->service_count > SERVICES_MAX ? "the number of services" : bad_name(t);
	if (bad != NULL)
		return fail(err, 0, "service table: %s is not valid", bad);
	service_table_put(&w, t);
	if (w.full)
		return fail(err, 0, "service table: longer than %d bytes", SERVICE_TABLE_MAX);
	return service_table_parse(writer_bytes(&w), "service table", &again, err);
}
