/* The host's configuration of one instance: /etc/tee-rex/NAME.yaml, checked against a table that has one row for every
 * key. The table gives the parsing, the ranges (of command-line options too), the defaults that are shown, the template
 * and the manual page tee-rex.yaml(5).
 *
 * Nothing in it reaches an enclave: what an enclave trusts is measured into its image (docs/CONFIG.md). */
#ifndef HOST_SETTINGS_H
#define HOST_SETTINGS_H

#include "host/gateway.h"
#include "host/yaml_file.h"

enum { SETTINGS_KEYS_MAX = 64, SETTINGS_PROBLEMS_MAX = 16 };
#define SETTINGS_BY_OPTION UINT32_MAX            /* as a line: given on the command line */

struct settings_enclave {
	const char *backend;             /* nitro, qemu, process */
	const char *image;               /* EIF; of nitro and qemu */
	const char *config;              /* measured configuration; of process, whose image it is part of */
	const char *state;               /* test root of the simulated NSM; not of nitro */
	struct option_list pcrs;         /* N=HEX presets; of process */
	uint64_t memory_mib;             /* 0: what the image needs */
	uint64_t cpus;                   /* 0: one core */
	uint64_t cid;                    /* 0: any free one */
	bool debug;
};

struct settings {
	struct settings_enclave enclave;
	struct gateway_options gateway;
	struct yaml_file file;                   /* owned: what the strings above point into */
	uint32_t line[SETTINGS_KEYS_MAX];        /* where row i of the table was given; 0: it was not */
};
#define SETTINGS_DEFAULTS { .enclave = { .backend = "nitro" }, .gateway = GATEWAY_DEFAULTS }

enum setting_type {
	SETTING_TEXT,
	SETTING_PATH,                    /* absolute */
	SETTING_CHOICE,                  /* one of the words in `allowed` */
	SETTING_ADDRESS,                 /* ADDR:PORT or unix:PATH */
	SETTING_SERVICE,                 /* unix:PATH */
	SETTING_NUMBER,                  /* uint64_t, min to max */
	SETTING_SWITCH,                  /* bool */
	SETTING_ADDRESSES,               /* list of them */
	SETTING_RANGES,                  /* list of ADDR, ADDR/BITS and "unix" */
	SETTING_PCRS                     /* list of N=HEX */
};

enum setting_unit { UNIT_NONE, UNIT_MIB, UNIT_SECONDS, UNIT_MILLISECONDS, UNIT_PER_MINUTE };

struct setting {
	const char *key;                 /* "section.key", the unit at its end */
	enum setting_type type;
	enum setting_unit unit;
	size_t offset;                   /* in struct settings */
	uint64_t min, max;
	const char *allowed;             /* of SETTING_CHOICE: words with spaces between */
	const char *option;              /* the long command-line option that overrides it, or NULL */
	const char *fallback;            /* what holds without it, where the number does not say it; or NULL */
	const char *help;
};

/* Each is a sentence "FILE:LINE: KEY: what". More than fit are counted only. */
struct settings_problems { size_t n; struct err at[SETTINGS_PROBLEMS_MAX]; };

const struct setting *settings_table(size_t *ret_n);
const char *setting_unit_name(enum setting_unit unit);

/* Where the configuration of an instance is: /etc/tee-rex/NAME.yaml, or what was given if it has a '/' or ends in
 * .yaml or .yml. -EINVAL when that is no name of an instance. */
int settings_path(const char *name_or_file, char *buf, size_t cap, struct err *err);

/* The NAME in DIR/NAME.yaml, into buf; "default" when that is no name. Returns buf. */
char *settings_name(const char *path, char *buf, size_t cap);

/* 0, or -errno with at least one problem. *ret is to be closed after success only. */
int settings_parse(struct bytes text, const char *name, struct settings *ret, struct settings_problems *p);
int settings_load(const char *path, struct settings *ret, struct settings_problems *p);
void settings_close(struct settings *s);

/* Whether the file had this row's key. */
static inline bool settings_given(const struct settings *s, size_t row) { return s->line[row] != 0; }

/* Ranges and combinations of a section once more, after command-line options have had their say. Names options instead
 * of keys. */
int settings_check_options(const struct settings *s, const char *section, struct err *err);

/* What was given of a section, as a command line that says the same: "--option", "value", …, NULL. Strings are borrowed
 * from the settings; those that are NULL and switches that are off are left out. */
enum { SETTINGS_LISTS_MAX = 4, SETTINGS_WORDS_MAX = 2 * (SETTINGS_KEYS_MAX + SETTINGS_LISTS_MAX * OPTION_LIST_MAX) };
struct settings_words {
	const char *word[SETTINGS_WORDS_MAX + 1];
	size_t n;
	char option[SETTINGS_KEYS_MAX][40], number[SETTINGS_KEYS_MAX][24];
};
void settings_words(const struct settings *s, const char *section, struct settings_words *ret);

#endif
