/* The recipe of a job: the configured argument and environment strings with their placeholders
 * replaced. Placeholders stand for paths inside the job's own root:
 *
 *     {input}       the input file              {crs}      the read-only CRS directory
 *     {output_dir}  where the proof is left     {threads}  a number
 *     {job_dir}     the one writable directory
 *
 * Anything else in braces made of lower-case letters and '_' is an error when the configuration is
 * read; other braces are themselves. */
#ifndef ENCLAVE_RECIPE_H
#define ENCLAVE_RECIPE_H

#include "enclave/config.h"

/* Names in the job's root directory. */
#define RECIPE_JOB_NAME "job"
#define RECIPE_CRS_NAME "crs"
#define RECIPE_JOB_DIR "/" RECIPE_JOB_NAME
#define RECIPE_CRS_DIR "/" RECIPE_CRS_NAME
#define RECIPE_OUTPUT_DIR_NAME "out"                     /* in the job directory */

/* What execve takes; points into itself, so it must not be copied. */
struct recipe_command {
	char *argv[CONFIG_ARGS_MAX + 1], *envp[CONFIG_ENV_MAX + 1];
	char text[JOB_TEXT_MAX];
};

/* The name of the first unknown placeholder of s into name (CONFIG_STRING_MAX bytes); false when all are known. */
bool recipe_unknown_placeholder(const char *s, char *name);

/* False when the expansion does not fit. threads: what {threads} becomes. */
bool recipe_expand(const struct config_recipe *r, uint32_t threads, struct recipe_command *ret);

#endif
