#include "host/reserve_record.h"

#include "base/text.h"
#include "linux/small_file.h"

#include <errno.h>
#include <stddef.h>

typedef unsigned long long ull;

enum kind { TEXT, NUMBER, FLAG, CPUS, NODE };

struct field { const char *name; enum kind kind; size_t offset; };

#define KERNEL(type, prefix, member) \
	{ prefix "node", NODE, offsetof(struct type, member.node) }, \
	{ prefix "pages_1g", NUMBER, offsetof(struct type, member.pages[HUGE_1G]) }, \
	{ prefix "pages_2m", NUMBER, offsetof(struct type, member.pages[HUGE_2M]) }, \
	{ prefix "has_pool", FLAG, offsetof(struct type, member.has_pool) }, \
	{ prefix "pool", CPUS, offsetof(struct type, member.pool) }

static const struct field record_fields[] = {
	{ "id", TEXT, offsetof(struct reserve_record, id) },
	{ "boot", TEXT, offsetof(struct reserve_record, boot) },
	{ "enclave_1_mib", NUMBER, offsetof(struct reserve_record, request.enclave_mib[0]) },
	{ "enclave_2_mib", NUMBER, offsetof(struct reserve_record, request.enclave_mib[1]) },
	{ "enclave_3_mib", NUMBER, offsetof(struct reserve_record, request.enclave_mib[2]) },
	{ "enclave_4_mib", NUMBER, offsetof(struct reserve_record, request.enclave_mib[3]) },
	{ "cpus", NUMBER, offsetof(struct reserve_record, request.cpus) },
	{ "has_cpu_list", FLAG, offsetof(struct reserve_record, request.has_cpu_list) },
	{ "cpu_list", CPUS, offsetof(struct reserve_record, request.cpu_list) },
	{ "host_reserve_mib", NUMBER, offsetof(struct reserve_record, request.host_reserve_mib) },
	{ "wanted_node", NODE, offsetof(struct reserve_record, request.node) },
	{ "regions_max", NUMBER, offsetof(struct reserve_record, request.regions_max) },
	{ "small_pages", FLAG, offsetof(struct reserve_record, request.small_pages) },
	KERNEL(reserve_record, "taken_", taken),
	KERNEL(reserve_record, "before_", before),
	{ "allocator_crc", NUMBER, offsetof(struct reserve_record, allocator_crc) },
	{ "replaced_crc", NUMBER, offsetof(struct reserve_record, replaced_crc) },
	{ "had_allocator", FLAG, offsetof(struct reserve_record, had_allocator) },
};
static const struct field journal_fields[] = {
	{ "id", TEXT, offsetof(struct reserve_journal, id) },
	{ "release", FLAG, offsetof(struct reserve_journal, release) },
	KERNEL(reserve_journal, "former_", former),
};
enum { RECORD_FIELDS = sizeof record_fields / sizeof *record_fields, JOURNAL_FIELDS = sizeof journal_fields / sizeof *journal_fields };

static void put_fields(struct writer *w, const char *what, const struct field *f, size_t n, const void *from)
{
	put_fmt(w, "# %s of tee-rex reserve; not for editing\nversion = 1\n", what);
	for (size_t i = 0; i < n; i++) {
		const void *at = (const char *)from + f[i].offset;
		put_fmt(w, "%s = ", f[i].name);
		switch (f[i].kind) {
		case TEXT: put_str(w, at); break;
		case NUMBER: put_fmt(w, "%llu", (ull)*(const uint64_t *)at); break;
		case FLAG: put_str(w, *(const bool *)at ? "yes" : "no"); break;
		case CPUS: put_cpulist(w, at); break;
		case NODE: put_fmt(w, "%d", *(const int *)at); break;
		}
		put_str(w, "\n");
	}
	put_str(w, "end = yes\n");               /* nothing was cut off */
}

static bool take_value(const struct field *f, struct bytes value, void *to)
{
	void *at = (char *)to + f->offset;
	uint64_t v;
	switch (f->kind) {
	case TEXT: return bytes_to_cstr(value, at, RESERVE_ID_MAX);
	case NUMBER: return text_to_u64(value, UINT64_MAX, at);
	case FLAG:
		*(bool *)at = bytes_equal(value, BYTES_LIT("yes"));
		return *(bool *)at || bytes_equal(value, BYTES_LIT("no"));
	case CPUS: return cpulist_parse(value, at);
	case NODE:
		if (bytes_equal(value, BYTES_LIT("-1"))) {
			*(int *)at = -1;
			return true;
		}
		if (!text_to_u64(value, CPU_MAX, &v))
			return false;
		*(int *)at = (int)v;
		return true;
	}
	return false;
}

/* Every field once, in its order: what we write ourselves needs no more tolerance. */
static bool get_fields(struct bytes text, const struct field *f, size_t n, void *to)
{
	size_t next = 0;
	bool version = false, end = false;
	for (size_t at = 0; at < text.n && !end;) {
		size_t stop = at, eq = at;
		while (stop < text.n && text.p[stop] != '\n')
			stop++;
		struct bytes line = bytes_slice(text, at, stop - at);
		at = stop + 1;
		if (line.n == 0 || line.p[0] == '#')
			continue;
		for (eq = 0; eq + 2 < line.n && memcmp(line.p + eq, " = ", 3) != 0;)
			eq++;
		struct bytes key = bytes_slice(line, 0, eq), value = bytes_slice(line, eq + 3, line.n - eq - 3);
		if (eq + 3 > line.n)
			return false;
		if (!version) {
			version = bytes_equal(line, BYTES_LIT("version = 1"));
			if (!version)
				return false;
		} else if (next == n) {
			end = bytes_equal(line, BYTES_LIT("end = yes"));
			if (!end)
				return false;
		} else if (!bytes_equal(key, bytes_str(f[next].name)) || !take_value(&f[next], value, to)) {
			return false;
		} else {
			next++;
		}
	}
	return end;
}

void reserve_record_put(struct writer *w, const struct reserve_record *r) { put_fields(w, "The record", record_fields, RECORD_FIELDS, r); }
void reserve_journal_put(struct writer *w, const struct reserve_journal *j) { put_fields(w, "The journal", journal_fields, JOURNAL_FIELDS, j); }

bool reserve_record_parse(struct bytes text, struct reserve_record *ret)
{
	struct reserve_record r = { .id = "" };
	if (!get_fields(text, record_fields, RECORD_FIELDS, &r))
		return false;
	while (r.request.enclaves < RESERVE_ENCLAVES_MAX && r.request.enclave_mib[r.request.enclaves] > 0)
		r.request.enclaves++;
	*ret = r;
	return true;
}

bool reserve_journal_parse(struct bytes text, struct reserve_journal *ret)
{
	struct reserve_journal j = { .id = "" };
	if (!get_fields(text, journal_fields, JOURNAL_FIELDS, &j))
		return false;
	*ret = j;
	return true;
}

int reserve_record_load(const char *root, struct reserve_record *ret, bool *ret_there, struct err *err)
{
	char text[RESERVE_TEXT_MAX];
	int r = small_file_read(root, RESERVE_RECORD_PATH, text, sizeof text);
	*ret_there = false;
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return fail(err, -r, "read %s%s", root, RESERVE_RECORD_PATH);
	if (!reserve_record_parse(bytes_str(text), ret))
		return fail(err, EINVAL, "%s%s is damaged or was written by a later version; look at it, move it away, and run tee-rex reserve again", root, RESERVE_RECORD_PATH);
	*ret_there = true;
	return 0;
}
