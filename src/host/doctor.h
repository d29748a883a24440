/* What is wrong with a host, or would be at the next boot: a table of checks, each a function over one view of the system that is
 * read beforehand. Nothing is changed and nothing is connected to: /proc, /sys, /etc, /run and /var are read below a root directory,
 * which may be a copy taken from another machine. */
#ifndef HOST_DOCTOR_H
#define HOST_DOCTOR_H

#include "host/reserve.h"
#include "host/yaml_file.h"

enum {
	DOCTOR_FINDINGS_MAX = 128, DOCTOR_SENTENCE = 400,
	DOCTOR_FILES_MAX = 256, DOCTOR_PROCESSES_MAX = 8192, DOCTOR_FILE_SIZE = 65536
};

/* A text file, or a process by its command line (arguments separated by blanks). */
struct doctor_text { char name[128]; char *text; };              /* text: owned */
struct doctor_texts { struct doctor_text *at; size_t n; };       /* owned */

struct doctor_process { long pid; char command[512]; };

struct doctor_instance {
	char name[68];
	char path[160];                          /* of its configuration, without the root */
	struct yaml_file yaml;                   /* owned; empty when unreadable */
	bool readable;
	struct err why;                          /* why not */
};

struct host_view {
	const char *root;                        /* as in linux/small_file.h */
	int64_t now_ms;                          /* wall clock */
	struct host_state *state;                /* owned; NULL: could not be read */
	struct err state_why;
	struct reserve_record record;
	bool has_record;
	struct allocator_view allocator;
	struct doctor_texts units;               /* of /etc/systemd/system */
	struct doctor_texts sysctls;
	struct doctor_process *process;          /* owned */
	size_t process_count;
	struct doctor_instance *instance;        /* owned */
	size_t instance_count;
	bool wants_nitro;                        /* an instance is for the hardware, or there is none yet */
};

/* Only memory can be missing (-ENOMEM): what cannot be read is for the checks to say. To be closed in any case. */
int host_view_read(const char *root, struct host_view *ret, struct err *err);
void host_view_close(struct host_view *v);

/* A value of an instance's configuration, or NULL. */
const char *doctor_setting(const struct doctor_instance *i, const char *key);

struct finding {
	const char *code;                        /* stable */
	const char *why;                         /* what comes of it */
	char what[DOCTOR_SENTENCE], fix[DOCTOR_SENTENCE];
};
struct findings {
	size_t n, more;                          /* more: that had no room */
	struct finding at[DOCTOR_FINDINGS_MAX];
	const struct doctor_check *check;        /* that runs now */
};

struct doctor_check {
	const char *code, *why, *fix;
	void (*look)(const struct host_view *v, struct findings *f);
};

/* From within a check: one finding under its code. The fix is the check's unless finding_fix() says another. */
void finding_add(struct findings *f, const char *what, ...) __attribute__((format(printf, 2, 3)));
void finding_fix(struct findings *f, const char *fix, ...) __attribute__((format(printf, 2, 3)));

const struct doctor_check *doctor_checks(size_t *ret_n);
void doctor_run(const struct host_view *v, struct findings *ret);

#endif
