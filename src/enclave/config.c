/* One table row per key: where the value goes, how it is read, what is allowed. The parser walks the
 * lines, finds the row and calls its reader; every reader answers by writing into the configuration or
 * by saying "file:line: what, what is allowed". Nothing is allocated. */
#include "enclave/config.h"

#include "base/cleanup.h"
#include "base/options.h"
#include "base/text.h"
#include "enclave/recipe.h"
#include "format/key_lines.h"
#include "format/launch.h"

#include <fcntl.h>
#include <stdlib.h>

enum { KEYS_MAX = 48, SHOWN_MAX = 96 };

struct parser {
	struct config *c;
	const char *file;
	unsigned line;
	const char *section;
	unsigned seen[KEYS_MAX];                 /* line of each key, 0 = not given */
	enum guard_policy all_guards;            /* when all_given */
	bool all_given;
	struct err *err;
};

struct key {
	const char *section, *name;
	int (*read)(struct parser *p, const struct key *k, struct bytes value);
	size_t offset, size;                     /* of the member in struct config */
	uint64_t min, max;
	bool many;
};

#define AT(p, k, type) ((type *)(void *)((char *)(p)->c + (k)->offset))

/* "file:line: key = value: " and then what is wrong with it. */
static int refuse(struct parser *p, const struct key *k, struct bytes value, const char *why)
{
	char shown[SHOWN_MAX];
	return fail(p->err, 0, "%s:%u: %s = %s: %s", p->file, p->line, k->name,
	            text_escape(value, shown, sizeof shown), why);
}

static int refuse_number(struct parser *p, const struct key *k, struct bytes value)
{
	char why[96];
	snprintf(why, sizeof why, "a whole number from %llu to %llu is allowed",
	         (unsigned long long)k->min, (unsigned long long)k->max);
	return refuse(p, k, value, why);
}

static int refuse_more(struct parser *p, const struct key *k, struct bytes value, int max)
{
	char why[48];
	snprintf(why, sizeof why, "at most %d are allowed", max);
	return refuse(p, k, value, why);
}

/* --- readers ------------------------------------------------------------------------------ */
static int read_u64(struct parser *p, const struct key *k, struct bytes value)
{
	uint64_t v;
	if (!text_to_u64(value, k->max, &v) || v < k->min)
		return refuse_number(p, k, value);
	*AT(p, k, uint64_t) = v;
	return 0;
}

static int read_u32(struct parser *p, const struct key *k, struct bytes value)
{
	uint64_t v;
	if (!text_to_u64(value, k->max, &v) || v < k->min)
		return refuse_number(p, k, value);
	*AT(p, k, uint32_t) = (uint32_t)v;
	return 0;
}

static int read_nsm(struct parser *p, const struct key *k, struct bytes value)
{
	if (bytes_equal(value, BYTES_LIT("device")))
		p->c->nsm = CONFIG_NSM_DEVICE;
	else if (bytes_equal(value, BYTES_LIT("simulated-socket")))
		p->c->nsm = CONFIG_NSM_SIMULATED_SOCKET;
	else
		return refuse(p, k, value, "\"device\" or \"simulated-socket\" is allowed");
	return 0;
}

static int read_allow(struct parser *p, const struct key *k, struct bytes value)
{
	uint8_t digest[32];
	if (!hex_decode(value, digest, sizeof digest))
		return refuse(p, k, value, "a SHA-256 is allowed: 64 hex digits");
	if (p->c->allow_count == CONFIG_ALLOW_MAX)
		return refuse_more(p, k, value, CONFIG_ALLOW_MAX);
	for (uint32_t i = 0; i < p->c->allow_count; i++)
		if (memcmp(p->c->allow[i], digest, sizeof digest) == 0)
			return refuse(p, k, value, "already allowed by an earlier line");
	memcpy(p->c->allow[p->c->allow_count++], digest, sizeof digest);
	return 0;
}

/* Absolute, without "." and ".." components: what is measured is what is opened. */
static bool path_valid(struct bytes path)
{
	if (path.n < 2 || path.n >= CONFIG_STRING_MAX || path.p[0] != '/')
		return false;
	for (size_t at = 0; at < path.n;) {
		size_t end = at + 1;
		while (end < path.n && path.p[end] != '/')
			end++;
		struct bytes name = bytes_slice(path, at + 1, end - at - 1);
		if (name.n == 0 || bytes_equal(name, BYTES_LIT(".")) || bytes_equal(name, BYTES_LIT("..")))
			return false;
		at = end;
	}
	return true;
}

static int read_version(struct parser *p, const struct key *k, struct bytes value)
{
	size_t space = 0;
	while (space < value.n && value.p[space] != ' ')
		space++;
	struct bytes name = bytes_slice(value, 0, space), path = bytes_slice(value, space + 1, value.n - space - (space < value.n));
	if (!version_name_valid(name) || !path_valid(path))
		return refuse(p, k, value, "NAME PATH is allowed: 1-64 characters of A-Z a-z 0-9 . _ + -, "
		              "a space, and an absolute path without . or .. or //");
	if (p->c->version_count == FRAME_VERSIONS_MAX)
		return refuse_more(p, k, value, FRAME_VERSIONS_MAX);
	struct config_version *v = &p->c->version[p->c->version_count];
	bytes_to_cstr(name, v->name, sizeof v->name);
	bytes_to_cstr(path, v->path, sizeof v->path);
	for (uint32_t i = 0; i < p->c->version_count; i++)
		if (strcmp(p->c->version[i].name, v->name) == 0)
			return refuse(p, k, value, "a version of this name is already there");
	p->c->version_count++;
	return 0;
}

static int read_version_name(struct parser *p, const struct key *k, struct bytes value)
{
	if (!version_name_valid(value))
		return refuse(p, k, value, "1-64 characters of A-Z a-z 0-9 . _ + - are allowed, the first not . or -");
	bytes_to_cstr(value, AT(p, k, char), k->size);
	return 0;
}

static bool file_name_valid(struct bytes name)
{
	return name.n > 0 && name.n < CONFIG_FILE_NAME_MAX && name.p[0] != '.' && memchr(name.p, '/', name.n) == NULL;
}

static int read_file_name(struct parser *p, const struct key *k, struct bytes value)
{
	if (!file_name_valid(value))
		return refuse(p, k, value, "one file name of up to 63 characters is allowed, without /, not starting with .");
	bytes_to_cstr(value, AT(p, k, char), k->size);
	return 0;
}

static int read_crs(struct parser *p, const struct key *k, struct bytes value)
{
	if (bytes_equal(value, BYTES_LIT("none")))
		p->c->recipe.crs[0] = '\0';
	else if (path_valid(value))
		bytes_to_cstr(value, p->c->recipe.crs, sizeof p->c->recipe.crs);
	else
		return refuse(p, k, value, "an absolute path without . or .. or //, or \"none\", is allowed");
	return 0;
}

static int read_crs_sha256(struct parser *p, const struct key *k, struct bytes value)
{
	struct config_recipe *r = &p->c->recipe;
	struct config_crs_pin pin;
	size_t space = 0;
	while (space < value.n && value.p[space] != ' ')
		space++;
	struct bytes name = bytes_slice(value, 0, space), hex = bytes_slice(value, space + 1, value.n - space - (space < value.n));
	if (!file_name_valid(name) || !hex_decode(hex, pin.sha256, sizeof pin.sha256))
		return refuse(p, k, value, "FILE HEX is allowed: a file name in the crs directory, a space, and its SHA-256 of 64 hex digits");
	if (r->crs_pin_count == CONFIG_CRS_PINS_MAX)
		return refuse_more(p, k, value, CONFIG_CRS_PINS_MAX);
	bytes_to_cstr(name, pin.file, sizeof pin.file);
	for (uint32_t i = 0; i < r->crs_pin_count; i++)
		if (strcmp(r->crs_pin[i].file, pin.file) == 0)
			return refuse(p, k, value, "this file has a SHA-256 already");
	r->crs_pin[r->crs_pin_count++] = pin;
	return 0;
}

/* Copies a value that may hold placeholders. */
static int read_template(struct parser *p, const struct key *k, struct bytes value, char *to)
{
	char unknown[CONFIG_STRING_MAX], why[CONFIG_STRING_MAX + 96];
	if (!bytes_to_cstr(value, to, CONFIG_STRING_MAX))
		return refuse(p, k, value, "up to 255 characters are allowed");
	if (!recipe_unknown_placeholder(to, unknown))
		return 0;
	snprintf(why, sizeof why, "no placeholder {%s}; {input} {output_dir} {job_dir} {crs} {threads} are allowed", unknown);
	return refuse(p, k, value, why);
}

/* The first line of a list that has defaults replaces them. */
static bool first_of_list(const struct parser *p, const struct key *k);

static int read_arg(struct parser *p, const struct key *k, struct bytes value)
{
	struct config_recipe *r = &p->c->recipe;
	if (first_of_list(p, k))
		r->arg_count = 0;
	if (r->arg_count == CONFIG_ARGS_MAX)
		return refuse_more(p, k, value, CONFIG_ARGS_MAX);
	return read_template(p, k, value, r->arg[r->arg_count++]);
}

static int read_ro(struct parser *p, const struct key *k, struct bytes value)
{
	struct config_recipe *r = &p->c->recipe;
	if (first_of_list(p, k))
		r->ro_count = 0;
	if (!path_valid(value))
		return refuse(p, k, value, "an absolute path without . or .. or // is allowed");
	static const char *const ours[] = { RECIPE_JOB_DIR, RECIPE_CRS_DIR, "/proc", "/dev", "/sys" };
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
		size_t n = strlen(ours[i]);
		if (value.n >= n && memcmp(value.p, ours[i], n) == 0 && (value.n == n || value.p[n] == '/'))
			return refuse(p, k, value, "a job has its own /job, /crs, /proc, /dev and /sys; other paths are allowed");
	}
	if (r->ro_count == CONFIG_RO_MAX)
		return refuse_more(p, k, value, CONFIG_RO_MAX);
	bytes_to_cstr(value, r->ro[r->ro_count++], CONFIG_STRING_MAX);
	return 0;
}

static bool env_name_valid(struct bytes name)
{
	for (size_t i = 0; i < name.n; i++) {
		uint8_t c = name.p[i];
		bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
		if (!letter && (i == 0 || c < '0' || c > '9'))
			return false;
	}
	return name.n > 0 && name.n < CONFIG_STRING_MAX;
}

/* NAME=VALUE sets or replaces, NAME alone removes. */
static int read_env(struct parser *p, const struct key *k, struct bytes value)
{
	struct config_recipe *r = &p->c->recipe;
	size_t n = 0;
	while (n < value.n && value.p[n] != '=')
		n++;
	if (!env_name_valid(bytes_slice(value, 0, n)))
		return refuse(p, k, value, "NAME=VALUE is allowed, or NAME to remove a default; names of A-Z a-z 0-9 _");
	uint32_t at = 0;
	while (at < r->env_count && (memcmp(r->env[at], value.p, n) != 0 || r->env[at][n] != '='))
		at++;
	if (n == value.n) {
		if (at == r->env_count)
			return refuse(p, k, value, "there is no such variable to remove; NAME=VALUE sets one");
		r->env_count--;
		memmove(r->env[at], r->env[at + 1], (r->env_count - at) * sizeof *r->env);
		return 0;
	}
	if (at == CONFIG_ENV_MAX)
		return refuse_more(p, k, value, CONFIG_ENV_MAX);
	if (at == r->env_count)
		r->env_count++;
	return read_template(p, k, value, r->env[at]);
}

static int read_policy(struct parser *p, const struct key *k, struct bytes value)
{
	enum guard_policy policy;
	if (bytes_equal(value, BYTES_LIT("require")))
		policy = GUARD_REQUIRE;
	else if (bytes_equal(value, BYTES_LIT("degrade")))
		policy = GUARD_DEGRADE;
	else
		return refuse(p, k, value, "\"require\" or \"degrade\" is allowed");
	if (strcmp(k->name, "all") == 0)
		p->all_guards = policy, p->all_given = true;
	else
		*AT(p, k, enum guard_policy) = policy;
	return 0;
}

/* --- the table ------------------------------------------------------------------------------ */
#define MEMBER(m) offsetof(struct config, m), sizeof(((struct config *)NULL)->m)
#define RECIPE "recipe"
#define ISOLATION "isolation"

static const struct key keys[] = {
	{ "", "epoch", read_u64, MEMBER(epoch), 0, UINT32_MAX, false },
	{ "", "nsm", read_nsm, MEMBER(nsm), 0, 0, false },
	{ "", "key_rotate_s", read_u32, MEMBER(key_rotate_s), 1, 604800, false },
	{ "", "key_keep_s", read_u32, MEMBER(key_keep_s), 1, 604800, false },
	{ "", "document_cache_s", read_u32, MEMBER(document_cache_s), 0, 60, false },
	{ "", "payload_max_mib", read_u32, MEMBER(payload_max_mib), 1, 1024, false },
	{ "", "payload_budget_mib", read_u32, MEMBER(payload_budget_mib), 1, 65536, false },
	{ "", "proof_max", read_u32, MEMBER(proof_max), 32, FRAME_PROOF_MAX, false },
	{ "", "slots", read_u32, MEMBER(slots), 1, LAUNCH_SLOTS_MAX, false },
	{ "", "jobs", read_u32, MEMBER(jobs), 1, LAUNCH_SLOTS_MAX, false },
	{ "", "queue_max", read_u32, MEMBER(queue_max), 0, LAUNCH_SLOTS_MAX, false },
	{ "", "overtakes_max", read_u32, MEMBER(overtakes_max), 0, 1000, false },
	{ "", "memory_budget_mib", read_u32, MEMBER(memory_budget_mib), 0, 1 << 20, false },
	{ "", "request_s", read_u32, MEMBER(request_s), 1, 3600, false },
	{ "", "body_s", read_u32, MEMBER(body_s), 1, 3600, false },
	{ "", "body_stall_s", read_u32, MEMBER(body_stall_s), 1, 3600, false },
	{ "", "body_stall_kib", read_u32, MEMBER(body_stall_kib), 0, 1 << 20, false },
	{ "", "reply_s", read_u32, MEMBER(reply_s), 1, 3600, false },
	{ "", "upload_max_mib", read_u32, MEMBER(upload_max_mib), 1, 1024, false },
	{ "", "versions_max", read_u32, MEMBER(versions_max), 1, FRAME_VERSIONS_MAX, false },
	{ "", "versions_total_mib", read_u32, MEMBER(versions_total_mib), 1, 4096, false },
	{ "", "allow", read_allow, MEMBER(allow), 0, 0, true },
	{ "", "version", read_version, MEMBER(version), 0, 0, true },
	{ "", "default_version", read_version_name, MEMBER(default_version), 0, 0, false },
	{ RECIPE, "arg", read_arg, MEMBER(recipe.arg), 0, 0, true },
	{ RECIPE, "env", read_env, MEMBER(recipe.env), 0, 0, true },
	{ RECIPE, "ro", read_ro, MEMBER(recipe.ro), 0, 0, true },
	{ RECIPE, "input", read_file_name, MEMBER(recipe.input), 0, 0, false },
	{ RECIPE, "output", read_file_name, MEMBER(recipe.output), 0, 0, false },
	{ RECIPE, "crs", read_crs, MEMBER(recipe.crs), 0, 0, false },
	{ RECIPE, "crs_sha256", read_crs_sha256, MEMBER(recipe.crs_pin), 0, 0, true },
	{ RECIPE, "memory_mib", read_u32, MEMBER(recipe.memory_mib), 8, 1 << 20, false },
	{ RECIPE, "deadline_s", read_u32, MEMBER(recipe.deadline_s), 1, 86400, false },
	{ RECIPE, "threads", read_u32, MEMBER(recipe.threads), 0, 256, false },
	{ RECIPE, "cpu_weight", read_u32, MEMBER(recipe.cpu_weight), 1, 10000, false },
	{ RECIPE, "pids_max", read_u32, MEMBER(recipe.pids_max), 1, 32768, false },
	{ RECIPE, "uid_base", read_u32, MEMBER(recipe.uid_base), 1000, 2000000000, false },
	{ RECIPE, "output_log_kib", read_u32, MEMBER(recipe.output_log_kib), 0, 64, false },
	{ ISOLATION, "all", read_policy, 0, 0, 0, 0, false },
	{ ISOLATION, "uid", read_policy, MEMBER(policy[GUARD_UID]), 0, 0, false },
	{ ISOLATION, "memory", read_policy, MEMBER(policy[GUARD_MEMORY]), 0, 0, false },
	{ ISOLATION, "swap", read_policy, MEMBER(policy[GUARD_SWAP]), 0, 0, false },
	{ ISOLATION, "pids", read_policy, MEMBER(policy[GUARD_PIDS]), 0, 0, false },
	{ ISOLATION, "seccomp", read_policy, MEMBER(policy[GUARD_SECCOMP]), 0, 0, false },
	{ ISOLATION, "landlock", read_policy, MEMBER(policy[GUARD_LANDLOCK]), 0, 0, false },
};
enum { KEY_COUNT = sizeof keys / sizeof *keys };
_Static_assert(sizeof keys / sizeof *keys <= KEYS_MAX, "struct parser has a line number per key");

static const char *const sections[] = { RECIPE, ISOLATION };
enum { SECTION_COUNT = sizeof sections / sizeof *sections };

static bool first_of_list(const struct parser *p, const struct key *k)
{
	return p->seen[k - keys] == 0;
}

void config_defaults(struct config *ret)
{
	*ret = (struct config){
		.nsm = CONFIG_NSM_DEVICE,
		.key_rotate_s = 14400, .key_keep_s = 7200, .document_cache_s = 5,
		.payload_max_mib = 64, .payload_budget_mib = 256, .proof_max = FRAME_PROOF_MAX,
		.slots = 4, .jobs = 1, .queue_max = LAUNCH_SLOTS_MAX, .overtakes_max = 4,
		.request_s = 10, .body_s = 300, .reply_s = 60, .body_stall_s = 10, .body_stall_kib = 64,
		.upload_max_mib = 256, .versions_max = 4, .versions_total_mib = 512,
		.recipe = {
			.arg = { "bb", "prove", "--scheme", "chonk", "--ivc_inputs_path", "{input}", "-o", "{output_dir}" },
			.arg_count = 8,
			.env = {
				"CRS_PATH={crs}", "HARDWARE_CONCURRENCY={threads}", "HOME={job_dir}", "TMPDIR={job_dir}",
				/* give memory back as soon as it is free: a lower peak at no cost in time */
				"MALLOC_TRIM_THRESHOLD_=0", "MALLOC_MMAP_THRESHOLD_=65536"
			},
			.env_count = 6,
			.ro = { "/usr", "/lib", "/lib64" }, .ro_count = 3,
			.input = "input", .output = "proof", .crs = "/crs",
			.memory_mib = 1024, .deadline_s = 300, .cpu_weight = 50, .pids_max = 256, .uid_base = 64000,
		},
	};
}

/* --- lines ---------------------------------------------------------------------------------- */
static int unknown_section(struct parser *p, struct bytes name)
{
	char word[SHOWN_MAX];
	const char *near = nearest_word(text_escape(name, word, sizeof word), sections, SECTION_COUNT);
	return fail(p->err, 0, "%s:%u: unknown section [%s]; %s", p->file, p->line, word,
	            near == NULL ? "[recipe] and [isolation] are allowed" :
	            near == sections[0] ? "did you mean [recipe]?" : "did you mean [isolation]?");
}

static int read_section(struct parser *p, struct bytes name)
{
	for (size_t i = 0; i < SECTION_COUNT; i++)
		if (bytes_equal(name, bytes_str(sections[i]))) {
			p->section = sections[i];
			return 0;
		}
	return unknown_section(p, name);
}

static int unknown_key(struct parser *p, struct bytes name)
{
	char word[SHOWN_MAX], where[32] = "";
	const char *here[KEY_COUNT];
	size_t n = 0;

	text_escape(name, word, sizeof word);
	if (p->section[0] != '\0')
		snprintf(where, sizeof where, " in [%s]", p->section);
	for (size_t i = 0; i < KEY_COUNT; i++) {
		if (strcmp(keys[i].section, p->section) == 0)
			here[n++] = keys[i].name;
		else if (bytes_equal(name, bytes_str(keys[i].name)))
			return fail(p->err, 0, "%s:%u: no key \"%s\"%s; it belongs %s%s%s", p->file, p->line, word, where,
			            keys[i].section[0] ? "in [" : "before the first section",
			            keys[i].section, keys[i].section[0] ? "]" : "");
	}
	const char *near = nearest_word(word, here, n);
	if (near != NULL)
		return fail(p->err, 0, "%s:%u: unknown key \"%s\"%s; did you mean \"%s\"?", p->file, p->line, word, where, near);
	char list[320];
	struct writer w = writer_of(list, sizeof list);
	for (size_t i = 0; i < n; i++)
		put_fmt(&w, " %s", here[i]);
	return fail(p->err, 0, "%s:%u: unknown key \"%s\"%s; allowed are%.*s", p->file, p->line, word, where,
	            (int)writer_bytes(&w).n, list);
}

static int read_pair(struct parser *p, struct bytes name, struct bytes value)
{
	for (size_t i = 0; i < KEY_COUNT; i++) {
		const struct key *k = &keys[i];
		if (strcmp(k->section, p->section) != 0 || !bytes_equal(name, bytes_str(k->name)))
			continue;
		if (p->seen[i] != 0 && !k->many)
			return fail(p->err, 0, "%s:%u: %s is already set in line %u; once is allowed", p->file, p->line, k->name, p->seen[i]);
		if (value.n == 0)
			return fail(p->err, 0, "%s:%u: %s has no value; leave the line out for the default", p->file, p->line, k->name);
		int ret = k->read(p, k, value);
		p->seen[i] = p->line;
		return ret;
	}
	return unknown_key(p, name);
}

static bool given(const struct parser *p, const char *name)
{
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (strcmp(keys[i].name, name) == 0 && p->seen[i] != 0)
			return true;
	return false;
}

/* What no single line can be blamed for. */
static int check_whole(struct parser *p)
{
	struct config *c = p->c;
	if (c->jobs > c->slots)
		return fail(p->err, 0, "%s: jobs = %u is more than slots = %u; a running job takes a slot, so at most that many are allowed",
		            p->file, c->jobs, c->slots);
	if (c->memory_budget_mib != 0 && c->memory_budget_mib < c->recipe.memory_mib)
		return fail(p->err, 0, "%s: memory_budget_mib = %u is less than memory_mib = %u of one job; no job could ever start",
		            p->file, c->memory_budget_mib, c->recipe.memory_mib);
	if (!given(p, "payload_budget_mib"))
		c->payload_budget_mib = c->slots * c->payload_max_mib;
	if (c->payload_budget_mib < c->payload_max_mib)
		return fail(p->err, 0, "%s: payload_budget_mib = %u is less than payload_max_mib = %u; no job of that size could ever be taken",
		            p->file, c->payload_budget_mib, c->payload_max_mib);
	if (c->versions_max < c->version_count)
		return fail(p->err, 0, "%s: %u versions are listed but versions_max = %u are allowed", p->file,
		            c->version_count, c->versions_max);
	if (c->recipe.crs_pin_count > 0 && c->recipe.crs[0] == '\0')
		return fail(p->err, 0, "%s: crs = none, but crs_sha256 names files of it", p->file);
	/* beside a simulated NSM nothing is protected that a missing guard could lose; elsewhere it must be asked for */
	enum guard_policy others = p->all_given ? p->all_guards :
	                           c->nsm == CONFIG_NSM_SIMULATED_SOCKET ? GUARD_DEGRADE : GUARD_REQUIRE;
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (strcmp(keys[i].section, ISOLATION) == 0 && keys[i].size != 0 && p->seen[i] == 0)
			*AT(p, &keys[i], enum guard_policy) = others;
	struct recipe_command expanded;
	if (!recipe_expand(&c->recipe, c->recipe.threads, &expanded))
		return fail(p->err, 0, "%s: the arguments and environment of [recipe] are longer than %d bytes", p->file, JOB_TEXT_MAX);
	return 0;
}

int config_parse(struct bytes text, const char *file, struct config *ret, struct err *err)
{
	struct parser p = { .c = ret, .file = file, .section = "", .err = err };

	config_defaults(ret);
	if (text.n > CONFIG_FILE_MAX)
		return fail(err, 0, "%s: the file has %zu bytes; %d are allowed", file, text.n, CONFIG_FILE_MAX);
	struct key_lines lines = { .rest = text, .file = file, .section_form = "[section]", .line_max = CONFIG_LINE_MAX };
	struct bytes name, value;
	int kind;
	while ((kind = key_lines_next(&lines, &name, &value, err)) > KEY_LINE_END) {
		p.line = lines.line;
		int bad = kind == KEY_LINE_SECTION ? read_section(&p, name) : read_pair(&p, name, value);
		if (bad < 0)
			return bad;
	}
	return kind < 0 ? kind : check_whole(&p);
}

int config_load(const char *path, struct config *ret, struct err *err)
{
	static uint8_t text[CONFIG_FILE_MAX + 1];
	size_t n = 0;
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return fail(err, errno, "open configuration %s", path);
	while (n < sizeof text) {
		ssize_t got = read(fd, text + n, sizeof text - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail(err, errno, "read configuration %s", path);
		if (got == 0)
			break;
		n += (size_t)got;
	}
	return config_parse(bytes_of(text, n), path, ret, err);
}

static int compare_digests(const void *a, const void *b) { return memcmp(a, b, 32); }

void config_policy_text(const struct config *c, struct writer *w)
{
	uint8_t sorted[CONFIG_ALLOW_MAX][32];
	char hex[65];
	memcpy(sorted, c->allow, sizeof sorted);
	qsort(sorted, c->allow_count, sizeof *sorted, compare_digests);
	for (uint32_t i = 0; i < c->allow_count; i++) {
		put_str(w, hex_encode(BYTES_ARRAY(sorted[i]), hex));
		put_u8(w, '\n');
	}
}
