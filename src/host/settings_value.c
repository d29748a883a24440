/* Readers of values. YAML's own opinions on what "yes", "0x10" or "1.5" is do not count: a value is its text, a number
 * is decimal digits, a switch is true or false. Where somebody wrote the right thing in another unit, the message says
 * what it is in ours. */
#include "host/settings_value.h"

#include "base/text.h"
#include "host/backend.h"
#include "host/client_address.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { SHOWN_MAX = 72 };

static int refuse(struct err *err, const char *value, const char *what)
{
	char shown[SHOWN_MAX];
	return fail(err, 0, "\"%s\": %s", text_escape(bytes_str(value), shown, sizeof shown), what);
}

/* --- numbers ------------------------------------------------------------------------------------------------- */

enum dimension { PURE, SIZE, TIME };

/* Units that people write, with what one is in the smallest of its dimension (bytes, milliseconds). */
static const struct { const char *name; enum dimension of; uint64_t size; } units[] = {
	{ "B", SIZE, 1 }, { "K", SIZE, 1 << 10 }, { "KiB", SIZE, 1 << 10 }, { "kB", SIZE, 1000 }, { "M", SIZE, 1 << 20 },
	{ "MiB", SIZE, 1 << 20 }, { "MB", SIZE, 1000000 }, { "G", SIZE, 1 << 30 }, { "GiB", SIZE, 1 << 30 },
	{ "GB", SIZE, 1000000000 }, { "T", SIZE, 1ull << 40 }, { "TiB", SIZE, 1ull << 40 },
	{ "ms", TIME, 1 }, { "s", TIME, 1000 }, { "sec", TIME, 1000 }, { "seconds", TIME, 1000 }, { "m", TIME, 60000 },
	{ "min", TIME, 60000 }, { "minutes", TIME, 60000 }, { "h", TIME, 3600000 }, { "hours", TIME, 3600000 },
	{ "d", TIME, 86400000 },
};

static enum dimension dimension_of(enum setting_unit u)
{
	return u == UNIT_MIB ? SIZE : u == UNIT_SECONDS || u == UNIT_MILLISECONDS ? TIME : PURE;
}

static uint64_t unit_size(enum setting_unit u) { return u == UNIT_MIB ? 1 << 20 : u == UNIT_SECONDS ? 1000 : 1; }

/* "a number of MiB" */
static const char *wanted(const struct setting *row, char buf[48])
{
	snprintf(buf, 48, row->unit == UNIT_NONE ? "a whole number" : row->unit == UNIT_PER_MINUTE ? "a number %s" : "a number of %s",
	         setting_unit_name(row->unit));
	return buf;
}

/* A number with a unit behind it: the right one said twice, another one, or of something else. */
static bool refuse_unit(const struct setting *row, const char *value, struct err *err)
{
	char number[24], buf[48];
	uint64_t v;
	size_t digits = strspn(value, "0123456789"), space = strspn(value + digits, " ");
	const char *unit = value + digits + space;
	if (digits == 0 || digits >= sizeof number || !text_to_u64(bytes_of(value, digits), UINT64_MAX, &v))
		return false;
	for (int pass = 0; pass < 2; pass++)                     /* as written, then in any case: "gib" */
		for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
			if (pass == 0 ? strcmp(units[i].name, unit) != 0 : strcasecmp(units[i].name, unit) != 0)
				continue;
			uint64_t one = unit_size(row->unit);
			if (dimension_of(row->unit) != units[i].of)
				fail(err, 0, "\"%.40s\" is %s; %s is wanted", value, units[i].of == SIZE ? "a size" : "a time", wanted(row, buf));
			else if (v <= UINT64_MAX / units[i].size && v * units[i].size % one == 0)
				fail(err, 0, "\"%.40s\": %s is wanted, without a unit: %llu", value, wanted(row, buf),
				     (unsigned long long)(v * units[i].size / one));
			else
				fail(err, 0, "\"%.40s\": %s is wanted, without a unit, and this is not a whole one", value, wanted(row, buf));
			return true;
		}
	return false;
}

static int read_number(const struct setting *row, const struct yaml_entry *e, uint64_t *ret, struct err *err)
{
	char buf[48];
	uint64_t v;
	if (e->quoted)
		return fail(err, 0, "\"%.40s\" in quotes is a text; %s is wanted, without quotes", e->value, wanted(row, buf));
	if (refuse_unit(row, e->value, err))
		return -EINVAL;
	if (!text_to_u64(bytes_str(e->value), UINT64_MAX, &v)) {
		char what[80];
		snprintf(what, sizeof what, "%s is wanted, in decimal digits", wanted(row, buf));
		return refuse(err, e->value, what);
	}
	if (v >= row->min && v <= row->max) {
		*ret = v;
		return 0;
	}
	const char *unit = row->unit == UNIT_NONE ? "" : " ", *name = setting_unit_name(row->unit);
	/* the usual slip: bytes where mebibytes belong, milliseconds where seconds do */
	uint64_t finer = row->unit == UNIT_MIB ? 1 << 20 : row->unit == UNIT_SECONDS ? 1000 : 0;
	if (finer != 0 && v > row->max && v % finer == 0 && v / finer >= row->min && v / finer <= row->max)
		return fail(err, 0, "%llu is not between %llu and %llu %s; these are %s: write %llu", (unsigned long long)v,
		            (unsigned long long)row->min, (unsigned long long)row->max, name,
		            row->unit == UNIT_MIB ? "bytes" : "milliseconds", (unsigned long long)(v / finer));
	return fail(err, 0, "%llu is not between %llu and %llu%s%s", (unsigned long long)v, (unsigned long long)row->min,
	            (unsigned long long)row->max, unit, name);
}

/* --- texts ------------------------------------------------------------------------------------------------------ */

static int read_switch(const struct yaml_entry *e, bool *ret, struct err *err)
{
	bool yes = strcmp(e->value, "true") == 0;
	if (e->quoted || (!yes && strcmp(e->value, "false") != 0))
		return refuse(err, e->value, e->quoted ? "true or false is wanted, without quotes" : "true or false is wanted");
	*ret = yes;
	return 0;
}

static int read_choice(const struct setting *row, const struct yaml_entry *e, const char **ret, struct err *err)
{
	char words[128], *at = words, *save = NULL;
	const char *word[8], *near;
	size_t n = 0;
	snprintf(words, sizeof words, "%s", row->allowed);
	for (char *w; n < 8 && (w = strtok_r(at, " ", &save)) != NULL; at = NULL)
		word[n++] = w;
	for (size_t i = 0; i < n; i++)
		if (strcmp(word[i], e->value) == 0) {
			*ret = e->value;
			return 0;
		}
	near = nearest_word(e->value, word, n);
	return fail(err, 0, "\"%.40s\": one of %s is wanted%s%s%s", e->value, row->allowed, near != NULL ? "; did you mean " : "",
	            near != NULL ? near : "", near != NULL ? "?" : "");
}

static int read_path(const struct yaml_entry *e, const char **ret, struct err *err)
{
	if (e->value[0] != '/')
		return refuse(err, e->value, "an absolute path is wanted: a service is not started in your directory");
	*ret = e->value;
	return 0;
}

static bool unix_path(const char *text)
{
	size_t n = strlen(text);
	return strncmp(text, "unix:/", 6) == 0 && n - 5 < 108;
}

static int read_address(const struct yaml_entry *e, bool service, const char **ret, struct err *err)
{
	const char *colon = strrchr(e->value, ':');
	uint64_t port;
	size_t host = colon != NULL ? (size_t)(colon - e->value) : 0;
	bool bracketed = host > 2 && e->value[0] == '[' && e->value[host - 1] == ']';
	*ret = e->value;
	if (strncmp(e->value, "unix:", 5) == 0)
		return unix_path(e->value) ? 0 : refuse(err, e->value, "unix:PATH wants an absolute path of up to 107 bytes");
	if (service)
		return refuse(err, e->value, "unix:PATH is wanted");
	if (host == 0 || !text_to_u64(bytes_str(colon + 1), UINT16_MAX, &port))
		return refuse(err, e->value, "ADDR:PORT or unix:PATH is wanted, as 127.0.0.1:8080");
	if (!bracketed && memchr(e->value, ':', host) != NULL)
		return refuse(err, e->value, "an IPv6 address is written in brackets and quotes, as \"[::1]:8080\"");
	return 0;
}

/* --- lists -------------------------------------------------------------------------------------------------------- */

static bool pcr_valid(const char *text)
{
	uint8_t value[48];
	uint64_t index;
	const char *equals = strchr(text, '=');
	return equals != NULL && text_to_u64(bytes_of(text, (size_t)(equals - text)), BACKEND_PCRS - 1, &index) &&
	       hex_decode(bytes_str(equals + 1), value, sizeof value);
}

static int read_item(const struct setting *row, const struct yaml_entry *e, struct err *err)
{
	struct option_list one = { .value = { e->value }, .n = 1 };
	static struct address_ranges unused;
	if (row->type == SETTING_PCRS && !pcr_valid(e->value))
		return refuse(err, e->value, "N=HEX is wanted, a register of 0 to 15 and its 96 hex digits");
	const char *address;
	if (row->type == SETTING_ADDRESSES)
		return read_address(e, false, &address, err);
	if (row->type == SETTING_RANGES && address_ranges_parse(&one, "", &unused, NULL) < 0)
		return refuse(err, e->value, "an address, a range as 10.0.0.0/8, or unix is wanted");
	return 0;
}

static int read_list(const struct setting *row, const struct yaml_entry *e, size_t n, struct option_list *ret, struct err *err)
{
	static struct option_list list;
	list.n = 0;
	if (e->kind == YAML_SCALAR)
		return fail(err, 0, "a list is wanted: [%.60s]", e->value);
	for (size_t i = 1; i < n; i++) {
		if (list.n == OPTION_LIST_MAX)
			return fail(err, 0, "up to %d values are allowed", OPTION_LIST_MAX);
		int bad = read_item(row, &e[i], err);
		if (bad < 0)
			return bad;
		list.value[list.n++] = e[i].value;
	}
	*ret = list;
	return 0;
}

/* --- any ---------------------------------------------------------------------------------------------------------- */

static bool is_null(const struct yaml_entry *e)
{
	static const char *const words[] = { "", "~", "null", "Null", "NULL" };
	for (size_t i = 0; e->kind == YAML_SCALAR && !e->quoted && i < sizeof words / sizeof words[0]; i++)
		if (strcmp(e->value, words[i]) == 0)
			return true;
	return false;
}

int setting_read(const struct setting *row, const struct yaml_entry *e, size_t n, struct settings *s, struct err *err)
{
	void *at = (char *)s + row->offset;
	bool list = row->type == SETTING_RANGES || row->type == SETTING_PCRS || row->type == SETTING_ADDRESSES;
	if (is_null(e))
		return fail(err, 0, "there is no value; without the line the default holds");
	if (!list && e->kind != YAML_SCALAR)
		return fail(err, 0, "one value is wanted, not a %s", e->kind == YAML_LIST ? "list" : "section");
	switch (row->type) {
	case SETTING_TEXT: *(const char **)at = e->value; return 0;
	case SETTING_PATH: return read_path(e, at, err);
	case SETTING_CHOICE: return read_choice(row, e, at, err);
	case SETTING_ADDRESS: return read_address(e, false, at, err);
	case SETTING_SERVICE: return read_address(e, true, at, err);
	case SETTING_NUMBER: return read_number(row, e, at, err);
	case SETTING_SWITCH: return read_switch(e, at, err);
	case SETTING_ADDRESSES:
	case SETTING_RANGES:
	case SETTING_PCRS: return read_list(row, e, n, at, err);
	}
	return fail(err, 0, "a row of the table without a type");
}
