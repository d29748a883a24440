/* Messages to and from an NSM as files (tests/vectors/nsm, written by make_nsm.py there): what the parser makes of each, and what
 * a module answers. Both ways: each file gives its code, and each code has a file. */
#include "sim/software_nsm.h"

#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define VECTORS "tests/vectors/nsm/"
static const int64_t now_ms = INT64_C(1760000000123);

struct row { char file[128], verdict[32], answer[32], reason[160]; };
static struct test_ca ca;

static int make_ca(void **state)
{
	struct err err;
	(void)state;
	return test_ca_in_memory(&ca, "sim-0123456789abcdef0-enc0123456789abcdef", now_ms / 1000, &err);
}

static int close_ca(void **state)
{
	(void)state;
	test_ca_close(&ca);
	return 0;
}

static bool next_row(FILE *f, struct row *r)
{
	char line[512];
	if (fgets(line, sizeof line, f) == NULL)
		return false;
	assert_int_equal(sscanf(line, "%127s %31s %31s %159[^\n]", r->file, r->verdict, r->answer, r->reason), 4);
	return true;
}

/* An exact heap copy of a file, so that the sanitizer sees a read past the end. */
static struct bytes read_exact(const char *file)
{
	static uint8_t buf[2 * NSM_RESPONSE_MAX];
	char path[256];
	snprintf(path, sizeof path, VECTORS "%s", file);
	CLEANUP(close_file) FILE *f = fopen(path, "rb");
	if (f == NULL)
		fail_msg("cannot open %s (tests run in the top directory)", path);
	size_t n = fread(buf, 1, sizeof buf, f);
	assert_true(n < sizeof buf);
	uint8_t *copy = malloc(n == 0 ? 1 : n);
	assert_non_null(copy);
	memcpy(copy, buf, n);
	return bytes_of(copy, n);
}

static const char *answer_of(struct bytes request, bool with_20_locked)
{
	static struct software_nsm nsm;
	static uint8_t buf[NSM_RESPONSE_MAX];
	const struct software_nsm_boot boot = { .debug = false };
	struct nsm_response p;
	software_nsm_init(&nsm, &boot, &ca);
	if (with_20_locked)
		nsm.locked |= UINT32_C(1) << 20;
	struct writer w = writer_of(buf, sizeof buf);
	software_nsm_handle(&nsm, request, now_ms, &w);
	assert_false(w.full);
	assert_int_equal(nsm_response_parse(writer_bytes(&w), &p), NSM_OK);
	return p.kind == NSM_ERROR ? nsm_error_name(p.error) : nsm_kind_name(p.kind);
}

static enum nsm_result verdict_on(const struct row *r, struct bytes in)
{
	struct nsm_request q = { .kind = NSM_KIND_COUNT };
	struct nsm_response p = { .kind = NSM_KIND_COUNT };
	bool request = strncmp(r->file, "requests/", 9) == 0;
	enum nsm_result got = request ? nsm_request_parse(in, &q) : nsm_response_parse(in, &p);
	enum nsm_kind kind = request ? q.kind : p.kind;
	assert_int_equal(got == NSM_OK, kind != NSM_KIND_COUNT);         /* untouched by a refusal */
	return got;
}

static void each_file_gives_its_code(void **state)
{
	(void)state;
	size_t files = 0;
	struct row r;
	CLEANUP(close_file) FILE *list = fopen(VECTORS "manifest.txt", "r");
	assert_non_null(list);
	for (; next_row(list, &r); files++) {
		struct bytes in = read_exact(r.file);
		const char *verdict = nsm_result_name(verdict_on(&r, in));
		if (strcmp(verdict, r.verdict) != 0)
			fail_msg("%s (%s): %s instead of %s", r.file, r.reason, verdict, r.verdict);
		if (strcmp(r.answer, "-") != 0) {
			const char *answer = answer_of(in, strncmp(r.file, "requests/locked-", 16) == 0);
			if (strcmp(answer, r.answer) != 0)
				fail_msg("%s (%s): %s instead of %s", r.file, r.reason, answer, r.answer);
		}
		free((void *)in.p);
	}
	assert_true(files > 100);
}

static bool listed(const char *directory, const char *verdict, const char *answer)
{
	struct row r;
	CLEANUP(close_file) FILE *list = fopen(VECTORS "manifest.txt", "r");
	assert_non_null(list);
	while (next_row(list, &r))
		if (strncmp(r.file, directory, strlen(directory)) == 0 && (verdict == NULL || strcmp(r.verdict, verdict) == 0) &&
		    (answer == NULL || strcmp(r.answer, answer) == 0))
			return true;
	return false;
}

static void each_code_has_a_file(void **state)
{
	(void)state;
	for (enum nsm_result v = NSM_OK; v <= NSM_BAD_FIELD; v++)
		for (int i = 0; i < 2; i++)
			if (!listed(i == 0 ? "requests/" : "responses/", nsm_result_name(v), NULL))
				fail_msg("no vector for %s", nsm_result_name(v));
	for (enum nsm_kind k = NSM_DESCRIBE_PCR; k < NSM_ERROR; k++)
		if (!listed("requests/good-", "ok", nsm_kind_name(k)))
			fail_msg("no good %s", nsm_kind_name(k));
	for (enum nsm_error e = NSM_INVALID_ARGUMENT; e < NSM_ERROR_END; e++) {
		/* no request alone brings these about: software_nsm_test.c has the last two, the first is never given */
		bool by_state = e == NSM_INVALID_RESPONSE || e == NSM_BUFFER_TOO_SMALL || e == NSM_INTERNAL_ERROR;
		if (!by_state && !listed("requests/", NULL, nsm_error_name(e)))
			fail_msg("no vector for %s", nsm_error_name(e));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_file_gives_its_code),
		cmocka_unit_test(each_code_has_a_file),
	};
	return cmocka_run_group_tests_name("nsm_vectors", tests, make_ca, close_ca);
}
