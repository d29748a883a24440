/* The YAML that a configuration file may be: one mapping of sections, each a mapping of keys to scalars or to lists of
 * scalars. Everything else that YAML can do is refused, with its line: anchors and aliases (a few lines of them expand
 * to gigabytes), merge keys, tags, further documents, nesting, a key twice, text over several lines, control characters.
 *
 *     enclave:                       ->  "enclave"                  SECTION
 *       memory_mib: 4096             ->  "enclave.memory_mib"       SCALAR "4096"
 *       pcrs: [ "0=aa", "1=bb" ]     ->  "enclave.pcrs"             LIST, ITEM "0=aa", ITEM "1=bb"
 *
 * A value keeps its text: what is a number is for the schema to say, so that no "norway problem" arises. Keys outside
 * of a section are entries without a dot. */
#ifndef HOST_YAML_FILE_H
#define HOST_YAML_FILE_H

#include "base/bytes.h"
#include "base/fail.h"

enum {
	YAML_SIZE_MAX = 64 << 10,        /* bytes of a file */
	YAML_ENTRIES_MAX = 512,
	YAML_KEY_MAX = 96,               /* "section.key" with its zero */
	YAML_VALUE_MAX = 1024            /* bytes of one scalar */
};

enum yaml_kind { YAML_SECTION, YAML_SCALAR, YAML_LIST, YAML_ITEM };

struct yaml_entry {
	enum yaml_kind kind;
	uint32_t line;                   /* from 1 */
	bool quoted;
	char key[YAML_KEY_MAX];
	char *value;                     /* owned by the file; "" for SECTION and LIST */
};

struct yaml_file {
	struct yaml_entry *entry;        /* owned */
	size_t n;
};

/* -EINVAL and "NAME:LINE: what" for what is no such YAML; -ENOMEM. *ret is to be closed after success only. */
int yaml_file_parse(struct bytes text, const char *name, struct yaml_file *ret, struct err *err);
/* The same for a regular file; what cannot be read is -errno with its path. */
int yaml_file_load(const char *path, struct yaml_file *ret, struct err *err);
void yaml_file_close(struct yaml_file *f);

#endif
