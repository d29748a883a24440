#include "format/allocator_yaml.h"

#include "base/text.h"

enum { MEMORY_MIB_MAX = 64 << 20, CPU_COUNT_MAX = CPU_MAX };

const char *allocator_result_message(enum allocator_result r)
{
	static const char *const text[ALLOCATOR_RESULT_COUNT] = {
		[ALLOCATOR_OK] = "it is well-formed",
		[ALLOCATOR_NO_MARKER] = "it has no \"---\" line, without which the stock allocator reads nothing; put one first",
		[ALLOCATOR_BAD_LINE] = "this line is not \"key: value\"; correct or remove it",
		[ALLOCATOR_UNKNOWN_KEY] = "the stock allocator fails on a key that is not memory_mib, cpu_count or cpu_pool; remove it",
		[ALLOCATOR_TWICE] = "this key is there twice; keep one",
		[ALLOCATOR_BAD_NUMBER] = "the value must be a whole number without a unit",
		[ALLOCATOR_BAD_POOL] = "cpu_pool must be a list of CPUs such as 2,3,6-9",
		[ALLOCATOR_BOTH_CPU_KEYS] = "cpu_count and cpu_pool exclude each other; keep one",
		[ALLOCATOR_NO_MEMORY] = "memory_mib is missing",
		[ALLOCATOR_NO_CPUS] = "cpu_count or cpu_pool is missing",
	};
	return text[r];
}

static bool is_blank(uint8_t c) { return c == ' ' || c == '\t' || c == '\r'; }

/* Without comment, blanks at both ends and quotes around. */
static struct bytes clean(struct bytes t)
{
	for (size_t i = 0; i < t.n; i++)
		if (t.p[i] == '#' && (i == 0 || is_blank(t.p[i - 1]))) {
			t.n = i;
			break;
		}
	while (t.n > 0 && is_blank(t.p[0]))
		t = bytes_slice(t, 1, t.n - 1);
	while (t.n > 0 && is_blank(t.p[t.n - 1]))
		t.n--;
	return t;
}

static struct bytes unquote(struct bytes t)
{
	if (t.n >= 2 && (t.p[0] == '"' || t.p[0] == '\'') && t.p[t.n - 1] == t.p[0])
		return bytes_slice(t, 1, t.n - 2);
	return t;
}

static enum allocator_result take(struct allocator_yaml *a, struct bytes key, struct bytes value)
{
	if (bytes_equal(key, BYTES_LIT("memory_mib"))) {
		if (a->has_memory)
			return ALLOCATOR_TWICE;
		a->has_memory = true;
		return text_to_u64(value, MEMORY_MIB_MAX, &a->memory_mib) ? ALLOCATOR_OK : ALLOCATOR_BAD_NUMBER;
	}
	if (bytes_equal(key, BYTES_LIT("cpu_count"))) {
		if (a->has_count)
			return ALLOCATOR_TWICE;
		a->has_count = true;
		return text_to_u64(value, CPU_COUNT_MAX, &a->cpu_count) ? ALLOCATOR_OK : ALLOCATOR_BAD_NUMBER;
	}
	if (bytes_equal(key, BYTES_LIT("cpu_pool"))) {
		if (a->has_pool)
			return ALLOCATOR_TWICE;
		a->has_pool = true;
		return value.n > 0 && cpulist_parse(unquote(value), &a->pool) ? ALLOCATOR_OK : ALLOCATOR_BAD_POOL;
	}
	return ALLOCATOR_UNKNOWN_KEY;
}

static enum allocator_result take_line(struct allocator_yaml *a, struct bytes line)
{
	size_t colon = 0;
	while (colon < line.n && line.p[colon] != ':')
		colon++;
	if (colon == line.n || colon == 0 || (colon + 1 < line.n && !is_blank(line.p[colon + 1])))
		return ALLOCATOR_BAD_LINE;
	return take(a, clean(bytes_slice(line, 0, colon)), clean(bytes_slice(line, colon + 1, line.n - colon - 1)));
}

enum allocator_result allocator_yaml_parse(struct bytes text, struct allocator_yaml *ret, unsigned *ret_line)
{
	struct allocator_yaml a = { 0 };
	bool marker = false;
	unsigned number = 0;
	for (size_t at = 0; at < text.n;) {
		size_t end = at;
		while (end < text.n && text.p[end] != '\n')
			end++;
		struct bytes line = clean(bytes_slice(text, at, end - at));
		at = end + 1;
		number++;
		if (line.n == 0)
			continue;
		if (bytes_equal(line, BYTES_LIT("---"))) {
			marker = true;
			continue;
		}
		enum allocator_result r = take_line(&a, line);
		if (r != ALLOCATOR_OK) {
			*ret_line = number;
			return r;
		}
	}
	*ret_line = 0;
	if (!marker)
		return ALLOCATOR_NO_MARKER;
	if (a.has_count && a.has_pool)
		return ALLOCATOR_BOTH_CPU_KEYS;
	if (!a.has_memory)
		return ALLOCATOR_NO_MEMORY;
	if (!a.has_count && !a.has_pool)
		return ALLOCATOR_NO_CPUS;
	*ret = a;
	return ALLOCATOR_OK;
}

bool allocator_yaml_agree(const struct allocator_yaml *a, const struct allocator_yaml *b)
{
	uint64_t cpus_a = a->has_pool ? cpu_set_count(&a->pool) : a->cpu_count;
	uint64_t cpus_b = b->has_pool ? cpu_set_count(&b->pool) : b->cpu_count;
	return a->memory_mib == b->memory_mib && cpus_a == cpus_b && (!a->has_pool || !b->has_pool || cpu_set_equal(&a->pool, &b->pool));
}

void allocator_yaml_put(struct writer *w, const struct allocator_yaml *a)
{
	put_str(w, "---\n# Written by tee-rex reserve; tee-rex release puts back what was here before.\n");
	put_fmt(w, "memory_mib: %llu\n", (unsigned long long)a->memory_mib);
	if (a->has_pool) {
		put_str(w, "cpu_pool: ");
		put_cpulist(w, &a->pool);
		put_str(w, "\n");
	} else {
		put_fmt(w, "cpu_count: %llu\n", (unsigned long long)a->cpu_count);
	}
}
