#include "cli/reserve_args.h"

#include "base/text.h"
#include "cli/reserve_instances.h"

#include <errno.h>
#include <jansson.h>

typedef unsigned long long ull;

/* --- from options to a plan ---------------------------------------------------------------------- */

static int request_of_options(const struct reserve_args *a, struct reserve_request *q, struct err *err)
{
	*q = (struct reserve_request){ .node = -1, .cpus = a->cpus, .host_reserve_mib = a->host_reserve_mib, .regions_max = a->regions,
	                               .small_pages = a->small_pages };
	uint64_t node;
	if (a->memory.n > RESERVE_ENCLAVES_MAX)
		return fail(err, 0, "--memory was given %zu times: an instance runs at most %d enclaves", a->memory.n, RESERVE_ENCLAVES_MAX);
	for (size_t i = 0; i < a->memory.n; i++)
		if (!text_to_u64(bytes_str(a->memory.value[i]), UINT64_C(1) << 30, &q->enclave_mib[q->enclaves++]))
			return fail(err, 0, "--memory wants a whole number of MiB, not \"%.40s\"", a->memory.value[i]);
	if (a->instances && (a->memory.n > 0 || a->cpus > 0))
		return fail(err, 0, "--instances stands for --memory and --cpus: leave those out");
	int ret = a->instances ? reserve_instances(a->root != NULL ? a->root : "", q, err) : 0;
	if (ret < 0)
		return ret;
	if (a->node != NULL && !text_to_u64(bytes_str(a->node), NODES_MAX - 1, &node))
		return fail(err, 0, "--node wants a number below %d, not \"%.40s\"", NODES_MAX, a->node);
	if (a->node != NULL)
		q->node = (int)node;
	q->has_cpu_list = a->cpu_list != NULL;
	if (q->has_cpu_list && (!cpulist_parse(bytes_str(a->cpu_list), &q->cpu_list) || cpu_set_empty(&q->cpu_list)))
		return fail(err, 0, "--cpu-list wants CPUs such as 2,3,6-9, not \"%.80s\"", a->cpu_list);
	if (q->has_cpu_list && q->cpus > 0)
		return fail(err, 0, "%s and --cpu-list exclude each other", a->instances ? "enclave.cpus" : "--cpus");
	return 0;
}

/* Without --memory: what is written down; the shared file first, for it is what people edit. */
static void fill_in(struct reserve_request *q, const struct reserve_case *c)
{
	const struct allocator_yaml *y = &c->allocator.yaml;
	if (q->enclaves > 0)
		return;
	if (c->has_record && (c->allocator.standing == ALLOCATOR_OURS || c->allocator.standing == ALLOCATOR_ABSENT)) {
		q->enclaves = c->record.request.enclaves;
		memcpy(q->enclave_mib, c->record.request.enclave_mib, sizeof q->enclave_mib);
	} else if (c->allocator.standing == ALLOCATOR_STOCK || c->allocator.standing == ALLOCATOR_OTHERS) {
		q->enclaves = 1;
		q->enclave_mib[0] = y->memory_mib;
		if (q->cpus == 0 && !q->has_cpu_list) {
			q->has_cpu_list = y->has_pool && !cpu_set_empty(&y->pool);
			q->cpu_list = y->pool;
			q->cpus = q->has_cpu_list ? 0 : y->cpu_count;
		}
	}
}

int reserve_case_make(const struct reserve_args *a, struct reserve_case *ret, struct err *err)
{
	const char *root = a->root != NULL ? a->root : "";
	memset(ret, 0, sizeof *ret);
	int r = request_of_options(a, &ret->request, err);
	if (r == 0)
		r = host_state_read(root, &ret->state, err);
	if (r == 0)
		r = reserve_record_load(root, &ret->record, &ret->has_record, err);
	if (r < 0)
		return r;
	allocator_view_read(root, ret->has_record ? &ret->record : NULL, &ret->allocator);
	if (a->boot && ret->has_record)
		ret->request = ret->record.request;
	else
		fill_in(&ret->request, ret);
	reserve_plan_make(&ret->request, &ret->state, &ret->plan);
	struct reserve_kernel k = { .has_pool = ret->plan.sets_pool, .pool = ret->plan.pool };
	struct allocator_yaml wanted;
	memcpy(k.pages, ret->plan.pages, sizeof k.pages);
	allocator_yaml_of(&ret->request, &k, ret->state.threads, &wanted);
	ret->conflict = ret->allocator.standing == ALLOCATOR_OTHERS && !allocator_yaml_agree(&wanted, &ret->allocator.yaml);
	return 0;
}

static void put_values(struct writer *w, const struct allocator_yaml *y)
{
	put_fmt(w, "memory_mib %llu, ", (ull)y->memory_mib);
	if (y->has_pool) {
		put_str(w, "cpu_pool ");
		put_cpulist(w, &y->pool);
	} else {
		put_fmt(w, "cpu_count %llu", (ull)y->cpu_count);
	}
}

static const char *values(const struct allocator_yaml *y, char *buf, size_t cap)
{
	struct writer w = writer_of(buf, cap - 1);
	put_values(&w, y);
	buf[writer_bytes(&w).n] = '\0';
	return buf;
}

bool reserve_case_objection(const struct reserve_args *a, const struct reserve_case *c, struct err *err)
{
	char text[200];
	if (a->take_over)
		return false;
	if (c->conflict) {
		fail(err, 0, "%s has values that tee-rex did not write (%s). To use them, leave out --memory and --cpus; to replace them, say --take-over "
		     "(tee-rex release puts them back)", ALLOCATOR_YAML_PATH, values(&c->allocator.yaml, text, sizeof text));
		return true;
	}
	if (c->allocator.standing == ALLOCATOR_BROKEN) {
		fail(err, 0, "%s, line %u: %s. To replace the file, say --take-over", ALLOCATOR_YAML_PATH, c->allocator.line, allocator_result_message(c->allocator.result));
		return true;
	}
	return false;
}

/* --- printing ------------------------------------------------------------------------------------- */

static const char *standing_name(enum allocator_standing s)
{
	static const char *const names[] = { [ALLOCATOR_ABSENT] = "absent", [ALLOCATOR_STOCK] = "stock", [ALLOCATOR_OURS] = "ours",
	                                     [ALLOCATOR_OTHERS] = "others", [ALLOCATOR_BROKEN] = "broken" };
	return names[s];
}

static const char *cmdline(const struct reserve_case *c, char *buf, size_t cap)
{
	struct writer w = writer_of(buf, cap - 1);
	put_reserve_cmdline(&w, &c->plan, c->state.node_count);
	buf[writer_bytes(&w).n] = '\0';
	return buf;
}

static void set(json_t *to, const char *key, json_t *value) { (void)json_object_set_new(to, key, value); }
static json_t *number(uint64_t v) { return json_integer((json_int_t)v); }

static json_t *allocator_json(const struct reserve_case *c)
{
	json_t *j = json_object();
	char list[CPULIST_TEXT_MAX];
	set(j, "standing", json_string(standing_name(c->allocator.standing)));
	if (c->allocator.standing != ALLOCATOR_ABSENT && c->allocator.standing != ALLOCATOR_BROKEN) {
		set(j, "memory_mib", number(c->allocator.yaml.memory_mib));
		if (c->allocator.yaml.has_pool)
			set(j, "cpu_pool", json_string(cpulist_text(&c->allocator.yaml.pool, list)));
		else
			set(j, "cpu_count", number(c->allocator.yaml.cpu_count));
	}
	set(j, "conflict", json_boolean(c->conflict));
	set(j, "service_enabled", json_boolean(c->allocator.service_enabled));
	return j;
}

static json_t *reasons_json(const char *reasons)
{
	json_t *list = json_array();
	for (const char *line = reasons; *line != '\0';) {
		size_t n = strcspn(line, "\n");
		json_array_append_new(list, json_stringn(line, n));
		line += n + (line[n] == '\n');
	}
	return list;
}

static void print_json(const struct reserve_case *c)
{
	const struct reserve_plan *p = &c->plan;
	char list[CPULIST_TEXT_MAX], text[256];
	json_t *j = json_object(), *pages = json_object();
	set(j, "code", json_string(reserve_code_name(p->code)));
	if (p->code != RESERVE_OK)
		set(j, "refusal", json_string(p->refusal.text));
	set(j, "node", json_integer(p->node));
	set(pages, "1G", number(p->pages[HUGE_1G]));
	set(pages, "2M", number(p->pages[HUGE_2M]));
	set(j, "pages", pages);
	set(j, "pool_mib", number(p->pool_kib / 1024));
	set(j, "takes_mib", number(p->takes_kib / 1024));
	set(j, "gives_mib", number(p->gives_kib / 1024));
	set(j, "left_mib", number(p->left_kib / 1024));
	set(j, "host_reserve_mib", number(p->host_reserve_kib / 1024));
	set(j, "cpu_pool", p->sets_pool ? json_string(cpulist_text(&p->pool, list)) : json_null());
	set(j, "cpu_pool_changes", json_boolean(p->pool_changes));
	set(j, "kernel_command_line", json_string(cmdline(c, text, sizeof text)));
	set(j, "allocator", allocator_json(c));
	set(j, "reasons", reasons_json(p->reasons));
	json_dumpf(j, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(j);
}

static void print_text(const struct reserve_case *c)
{
	const struct reserve_plan *p = &c->plan;
	char text[256];
	fputs(p->reasons, stdout);
	printf("%s: %s", ALLOCATOR_YAML_PATH, standing_name(c->allocator.standing));
	if (c->allocator.standing == ALLOCATOR_BROKEN)
		printf(", line %u: %s", c->allocator.line, allocator_result_message(c->allocator.result));
	else if (c->allocator.standing != ALLOCATOR_ABSENT)
		printf(" (%s)%s", values(&c->allocator.yaml, text, sizeof text), c->conflict ? "; CONFLICTS with this plan" : "");
	putchar('\n');
	if (c->allocator.service_enabled)
		printf("nitro-enclaves-allocator.service starts at boot and would set its own values: systemctl disable --now nitro-enclaves-allocator.service\n");
	if (p->code != RESERVE_OK)
		return;
	printf("plan: node %d, %llu pages of 1 GiB and %llu of 2 MiB: %llu MiB", p->node, (ull)p->pages[HUGE_1G], (ull)p->pages[HUGE_2M], (ull)p->pool_kib / 1024);
	if (p->sets_pool) {
		char list[CPULIST_TEXT_MAX];
		printf("; CPU pool %s", cpulist_text(&p->pool, list));
	}
	printf("\nat boot: systemctl enable tee-rex-reserve.service; earlier still, on the kernel command line: %s\n", cmdline(c, text, sizeof text));
}

void reserve_case_print(const struct reserve_args *a, const struct reserve_case *c)
{
	if (a->json)
		print_json(c);
	else
		print_text(c);
}
