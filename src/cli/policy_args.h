/* The options by which a user says whom to trust, shared by every command that verifies a document, and
 * their way into a struct teerex_policy. */
#ifndef CLI_POLICY_ARGS_H
#define CLI_POLICY_ARGS_H

#include "attest/teerex_attest.h"
#include "base/fail.h"
#include "base/options.h"

enum { POLICY_SETS_MAX = 64, POLICY_FILE_MAX = 1 << 20, POLICY_ROOT_MAX = 2048 };

struct policy_args {                             /* zero, then options_parse; NULL: not given */
	const char *root_path;
	const char *policy_path;
	struct option_list pcr;
	const char *min_epoch;
	const char *max_age_s;
	bool allow_debug;
};

/* Rows of an option table; type has a member of struct policy_args. */
#define POLICY_OPTIONS(type, member) \
	{ 0, "root", OPT_STRING, offsetof(type, member.root_path), "PEM", "trust this root instead of AWS's (simulated enclaves)" }, \
	{ 0, "pcr", OPT_LIST, offsetof(type, member.pcr), "N=HEX", "PCR N must have this value; may be repeated" }, \
	{ 0, "min-epoch", OPT_STRING, offsetof(type, member.min_epoch), "N", "least image epoch; needed with --pcr 8 alone" }, \
	{ 0, "policy", OPT_STRING, offsetof(type, member.policy_path), "FILE", "sets of PCRs, one of which must match" }, \
	{ 0, "max-age", OPT_STRING, offsetof(type, member.max_age_s), "S", "refuse documents older than this many seconds" }, \
	{ 0, "allow-debug", OPT_FLAG, offsetof(type, member.allow_debug), NULL, "let debug enclaves pass: they measure NOTHING" }

struct policy {                                  /* keep it while ->policy is used: that borrows */
	struct teerex_policy policy;             /* no nonce, no time: for the caller to add */
	struct teerex_pcr_set sets[POLICY_SETS_MAX];
	uint8_t root[POLICY_ROOT_MAX];
	struct teerex_cache cache;
};

/* Reads the files and checks the values. 0, or negative with what is wrong and where. About 100 KiB:
 * *ret is best static or allocated. */
int policy_load(const struct policy_args *a, struct policy *ret, struct err *err);

/* A whole number from 1 to max, or an error that names the option. */
int option_number(const char *option, const char *text, uint64_t max, uint64_t *ret, struct err *err);

/* Reads at most cap bytes of a file ("-": standard input). *ret_n == cap: there may be more. -errno. */
int read_some(const char *path, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err);

#endif
