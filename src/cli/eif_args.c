#include "cli/eif_args.h"

#include "base/text.h"
#include "cli/policy_args.h"

#include <string.h>
#include <time.h>

/* A file's last line end belongs to the file, not to the command line. */
int load_cmdline(const char *value, uint8_t buf[CMDLINE_BUFFER], struct bytes *ret, struct err *err)
{
	size_t n;
	*ret = bytes_str(value);
	if (value[0] != '@')
		return 0;
	int r = read_some(value + 1, buf, CMDLINE_BUFFER, &n, err);
	while (r == 0 && n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == '\r' || buf[n - 1] == ' '))
		n--;
	*ret = bytes_of(buf, r == 0 ? n : 0);
	return r;
}

int parse_build_time(const char *text, int64_t *ret_s, struct err *err)
{
	static const uint64_t year_10000_s = UINT64_C(253402300800);
	struct tm t = { 0 };
	uint64_t s;
	if (text_to_u64(bytes_str(text), year_10000_s - 1, &s)) {
		*ret_s = (int64_t)s;
		return 0;
	}
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &t);
	time_t at = end == NULL ? -1 : timegm(&t);
	if (end == NULL || (strcmp(end, "Z") != 0 && strcmp(end, "+00:00") != 0) || at < 0)
		return fail(err, 0, "--build-time wants seconds since 1970 or a time like 2026-01-31T12:00:00Z, not \"%.40s\"", text);
	*ret_s = at;
	return 0;
}
