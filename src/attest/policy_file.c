/* The policy file: lines of text, written by the user, so an error names its line and says what would be
 * right. Format (tee-rex-verify(1) has it for users):
 *
 *     # comment                        until the end of the line; blank lines are skipped
 *     [release 1.4]                    starts a set; the name is for people
 *     pcr0 = 96 hex digits             pcr0 … pcr31
 *     min-epoch = 3
 *     not-after = 2027-06-30           or 2027-06-30T12:00:00Z
 */
#include "attest/policy.h"
#include "base/text.h"

#include <stdio.h>

int teerex_pcr_set_add(struct teerex_pcr_set *set, const char *text)
{
	const char *equals = strchr(text, '=');
	uint64_t index;
	if (equals == NULL || !text_to_u64(bytes_of(text, (size_t)(equals - text)), TEEREX_PCRS - 1, &index) ||
	    (set->mask >> index & 1) || !hex_decode(bytes_str(equals + 1), set->pcr[index], TEEREX_PCR_SIZE))
		return -1;
	set->mask |= UINT32_C(1) << index;
	return 0;
}

static bool is_space(uint8_t c) { return c == ' ' || c == '\t' || c == '\r'; }

static struct bytes trim(struct bytes b)
{
	while (b.n > 0 && is_space(b.p[0]))
		b = bytes_of(b.p + 1, b.n - 1);
	while (b.n > 0 && is_space(b.p[b.n - 1]))
		b.n--;
	return b;
}

/* Cuts b at the first c; the part after it goes to *ret_rest. False when there is none. */
static bool cut(struct bytes b, uint8_t c, struct bytes *ret_before, struct bytes *ret_rest)
{
	const uint8_t *at = b.n == 0 ? NULL : memchr(b.p, c, b.n);
	size_t n = at == NULL ? b.n : (size_t)(at - b.p);
	*ret_before = bytes_of(b.p, n);
	*ret_rest = at == NULL ? BYTES_NONE : bytes_of(at + 1, b.n - n - 1);
	return at != NULL;
}

bool policy_date(struct bytes text, uint64_t *ret_ms)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:ddZ";
	static const uint8_t days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	unsigned field[6] = { 0, 0, 0, 23, 59, 59 }, at = 0, value = 0;
	if (text.n != 10 && text.n != sizeof shape - 1)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = text.p[i];
		bool digit = c >= '0' && c <= '9';
		if (shape[i] == 'd' ? !digit : c != (uint8_t)shape[i])
			return false;
		value = digit ? value * 10 + (unsigned)(c - '0') : 0;
		if (digit)
			field[at] = value;
		else
			at++;
	}
	unsigned y = field[0], m = field[1], d = field[2];
	bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
	if (y < 1970 || m < 1 || m > 12 || d < 1 || d > days[m - 1] || (m == 2 && d == 29 && !leap) ||
	    field[3] > 23 || field[4] > 59 || field[5] > 59)
		return false;
	uint64_t total = 0;
	for (unsigned year = 1970; year < y; year++)
		total += (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 ? 366 : 365;
	for (unsigned month = 1; month < m; month++)
		total += month == 2 && !leap ? 28 : days[month - 1];
	total += d - 1;
	*ret_ms = ((total * 24 + field[3]) * 60 + field[4]) * 60000 + field[5] * 1000 + (text.n == 10 ? 999 : 0);
	return true;
}

/* One "key = value" line; NULL, or what is wrong. */
static const char *set_value(struct teerex_pcr_set *set, struct bytes key, struct bytes value)
{
	if (bytes_equal(key, BYTES_LIT("min-epoch"))) {
		if (set->min_epoch != 0)
			return "min-epoch is given twice in this set";
		if (!text_to_u64(value, UINT64_C(1) << 53, &set->min_epoch) || set->min_epoch == 0)
			return "min-epoch wants a whole number from 1";
		return NULL;
	}
	if (bytes_equal(key, BYTES_LIT("not-after"))) {
		if (set->not_after_ms != 0)
			return "not-after is given twice in this set";
		if (!policy_date(value, &set->not_after_ms) || set->not_after_ms == 0)
			return "not-after wants a date: 2027-06-30, or 2027-06-30T12:00:00Z";
		return NULL;
	}
	uint64_t index;
	if (key.n < 4 || memcmp(key.p, "pcr", 3) != 0 ||
	    !text_to_u64(bytes_of(key.p + 3, key.n - 3), TEEREX_PCRS - 1, &index))
		return "unknown key; pcr0 to pcr31, min-epoch and not-after are known";
	if (set->mask >> index & 1)
		return "this PCR is given twice in this set";
	if (!hex_decode(value, set->pcr[index], TEEREX_PCR_SIZE))
		return "a PCR wants 96 hex digits (SHA-384)";
	set->mask |= UINT32_C(1) << index;
	return NULL;
}

/* "[name]"; NULL, or what is wrong. */
static const char *set_name(struct teerex_pcr_set *set, struct bytes line)
{
	if (line.p[line.n - 1] != ']')
		return "a set starts with [name]";
	struct bytes name = trim(bytes_of(line.p + 1, line.n - 2));
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] < 0x20 || name.p[i] > 0x7e)
			return "a set's name is printable ASCII";
	return bytes_to_cstr(name, set->name, sizeof set->name) ? NULL : "a set's name has at most 63 characters";
}

int teerex_policy_parse(const char *text, size_t size, struct teerex_pcr_set *sets, size_t capacity,
                        size_t *ret_count, char *message, size_t message_size)
{
	struct bytes rest = bytes_of(text, size), line, comment;
	size_t count = 0, number = 0;
	const char *bad = NULL;
	while (rest.n > 0 && bad == NULL) {
		number++;
		(void)cut(rest, '\n', &line, &rest);
		(void)cut(line, '#', &line, &comment);
		line = trim(line);
		if (line.n == 0)
			continue;
		struct bytes key, value;
		if (line.p[0] == '[') {
			if (count > 0 && !pcr_set_strong(&sets[count - 1])) {
				bad = "the set before this line needs pcr0, or pcr8 and min-epoch (not all zeros)";
			} else if (count == capacity) {
				bad = "too many sets";
			} else {
				memset(&sets[count], 0, sizeof sets[count]);
				bad = set_name(&sets[count++], line);
			}
		} else if (count == 0) {
			bad = "a set must start with [name] before its values";
		} else if (!cut(line, '=', &key, &value)) {
			bad = "expected key = value";
		} else {
			bad = set_value(&sets[count - 1], trim(key), trim(value));
		}
	}
	if (bad == NULL && count == 0)
		bad = "there is no [set] in it";
	if (bad == NULL && !pcr_set_strong(&sets[count - 1]))
		bad = "the last set needs pcr0, or pcr8 and min-epoch (not all zeros)";
	if (bad == NULL) {
		*ret_count = count;
		return 0;
	}
	if (message_size > 0)
		snprintf(message, message_size, "line %zu: %s", number, bad);
	return -1;
}
