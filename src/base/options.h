/* Command-line options as tables: one entry gives the parsing, the --help line, the entry in the manual page and
 * the completion. --help=json prints the table, from which scripts/make-docs makes the last two.
 *
 *     static const struct option_spec options[] = {
 *         { 'o', "output", OPT_STRING, offsetof(struct prove_args, output), "FILE", "where the proof goes" },
 *         OPTIONS_END
 *     };
 *
 * Long options take "--name VALUE" and "--name=VALUE". "--" ends the options; everything else
 * is a positional argument. */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include "base/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum option_kind {
	OPT_FLAG,            /* bool; no value */
	OPT_STRING,          /* const char *; borrowed from argv */
	OPT_U64,             /* uint64_t; decimal */
	OPT_MIB,             /* uint64_t; decimal mebibytes, kept as mebibytes */
	OPT_LIST,            /* struct option_list; may be given many times */
	OPT_HELP             /* prints the help: no offset, no value but "json" */
};

enum { OPTION_LIST_MAX = 64 };
struct option_list { const char *value[OPTION_LIST_MAX]; size_t n; };

struct option_spec {
	char short_name;                 /* 0: none */
	const char *long_name;           /* NULL ends the table */
	enum option_kind kind;
	size_t offset;                   /* of the member in the caller's argument struct */
	const char *value_name;          /* NULL for flags */
	const char *help;
};
#define OPTIONS_HELP { 'h', "help", OPT_HELP, 0, NULL, "print this help" }
#define OPTIONS_END { 0, NULL, OPT_FLAG, 0, NULL, NULL }

enum option_result { OPTIONS_OK, OPTIONS_USAGE, OPTIONS_WANT_HELP };

/* Parses argv[1..argc-1] into args. Positional arguments are moved to positional[0..*ret_n-1]
 * (borrowed). OPTIONS_USAGE: err says what is wrong, naming the nearest option. */
enum option_result options_parse(const struct option_spec *table, void *args, int argc, char **argv,
                                 const char **positional, size_t positional_max, size_t *ret_n,
                                 struct err *err);

/* "Usage: tee-rex NAME SYNOPSIS", a sentence, and the option table. A command that starts with
 * "tee-rex" is a program's own name and stands alone. */
void options_help(FILE *to, const char *command, const char *synopsis, const char *about,
                  const struct option_spec *table);

/* The candidate nearest to word by edit distance, or NULL when none is near (distance > 3). */
const char *nearest_word(const char *word, const char *const *candidates, size_t n);

#endif
