/* The measured configuration: one small file inside the image, read by the launcher and the prover
 * when they start. Whoever attests the image has attested this file; nothing else configures them.
 *
 *     # a comment
 *     payload_max_mib = 64
 *     allow = 3f0c…            (64 hex digits; a list key may be given many times)
 *     [recipe]
 *     arg = prove
 *
 * docs/CONFIG.md lists every key with unit and default. An empty file is valid and means Aztec's chonk
 * prover. A key or section nobody knows, a value out of range, and a scalar given twice are errors:
 * what was measured must be what was meant. */
#ifndef ENCLAVE_CONFIG_H
#define ENCLAVE_CONFIG_H

#include "base/bytes.h"
#include "base/fail.h"
#include "enclave/guards.h"
#include "enclave/limits.h"
#include "format/frame.h"

enum config_nsm { CONFIG_NSM_DEVICE, CONFIG_NSM_SIMULATED_SOCKET };

struct config_version { char name[FRAME_VERSION_MAX + 1]; char path[CONFIG_STRING_MAX]; };

/* A file of the CRS directory and what it must be. */
struct config_crs_pin { char file[CONFIG_FILE_NAME_MAX]; uint8_t sha256[32]; };

/* How one job is run. Strings of arg and env may hold placeholders (launcher/recipe.h). */
struct config_recipe {
	char arg[CONFIG_ARGS_MAX][CONFIG_STRING_MAX];    /* arg[0] is the program's name */
	uint32_t arg_count;
	char env[CONFIG_ENV_MAX][CONFIG_STRING_MAX];     /* NAME=VALUE */
	uint32_t env_count;
	char ro[CONFIG_RO_MAX][CONFIG_STRING_MAX];       /* absolute paths; missing ones are skipped */
	uint32_t ro_count;
	char input[CONFIG_FILE_NAME_MAX], output[CONFIG_FILE_NAME_MAX];
	char crs[CONFIG_STRING_MAX];                     /* directory; "" = the recipe needs none */
	struct config_crs_pin crs_pin[CONFIG_CRS_PINS_MAX];   /* with any, a job is shown these files and no others */
	uint32_t crs_pin_count;
	uint32_t memory_mib, deadline_s;                 /* also the most a START may ask for */
	uint32_t threads;                                /* 0: one per usable CPU */
	uint32_t cpu_weight;                             /* of all jobs together; the service's is 100 */
	uint32_t pids_max;                               /* processes and threads of a job */
	uint32_t uid_base;                               /* slot n runs as uid and gid uid_base + n */
	uint32_t output_log_kib;                         /* of a job's output to the log; 0 = none */
};

struct config {
	uint64_t epoch;                                  /* of the image: clients may require a minimum */
	enum config_nsm nsm;
	uint32_t key_rotate_s, key_keep_s, document_cache_s;
	uint32_t payload_max_mib;                        /* plaintext of one job */
	uint32_t proof_max;                              /* bytes of bb's proof file */
	uint32_t payload_budget_mib;                     /* plaintext of all jobs together */
	uint32_t slots, jobs, queue_max;
	uint32_t overtakes_max;                          /* of a waiting job, by ones that fit while it does not */
	uint32_t memory_budget_mib;                      /* of all jobs together; 0: recipe.memory_mib for each of jobs */
	uint32_t request_s, body_s, reply_s;             /* deadline of each stage of an exchange */
	uint32_t body_stall_s, body_stall_kib;           /* the least that must arrive, and in what time */
	uint32_t upload_max_mib, versions_max, versions_total_mib;
	uint8_t allow[CONFIG_ALLOW_MAX][32];             /* SHA-256 of uploads that may run */
	uint32_t allow_count;
	struct config_version version[FRAME_VERSIONS_MAX];   /* loaded at start, from the image */
	uint32_t version_count;
	char default_version[FRAME_VERSION_MAX + 1];     /* "" = none */
	enum guard_policy policy[GUARD_COUNT];           /* what to do about a guard the machine lacks */
	struct config_recipe recipe;
};

/* What an empty file means. */
void config_defaults(struct config *ret);

/* Parses a whole file over the defaults. file: its name, for the messages ("file:line: …").
 * -EINVAL with err set, and *ret unspecified, when anything in it is wrong. */
int config_parse(struct bytes text, const char *file, struct config *ret, struct err *err);

/* Reads and parses the file at path. */
int config_load(const char *path, struct config *ret, struct err *err);

/* The canonical text of the allow policy, for its digest: each allowed SHA-256 in lower-case hex and
 * a newline, sorted; the same bytes as `sort` gives. Empty when nothing is allowed.
 * At most CONFIG_ALLOW_MAX * 65 bytes. */
void config_policy_text(const struct config *c, struct writer *w);

#endif
