/* libyaml splits the text into events; this keeps the depth it is at (document, section, list) and refuses every event
 * that the subset does not have. Nothing is expanded and nothing is built that is deeper than two names. */
#include "host/yaml_file.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <yaml.h>

enum { KEY_WORD_MAX = YAML_KEY_MAX / 2 - 2 };

enum level { AT_TOP, IN_FILE, IN_SECTION, IN_LIST };

struct walk {
	const char *name;                /* of the file, for messages */
	struct yaml_file *f;
	struct err *err;
	enum level level;
	bool list_in_section;            /* where the list that we are in belongs */
	bool have_key;                   /* the next event is its value */
	char section[YAML_KEY_MAX];
	char key[YAML_KEY_MAX];          /* whole: "section.key" */
	uint32_t key_line;
	bool ended;
};

static int refuse(const struct walk *w, size_t line, const char *what)
{
	return fail(w->err, 0, "%s:%zu: %s", w->name, line, what);
}

static int add(struct walk *w, enum yaml_kind kind, const char *value, size_t n, bool quoted, size_t line)
{
	if (w->f->n == YAML_ENTRIES_MAX)
		return refuse(w, line, "more entries than a configuration can have (512)");
	char *copy = malloc(n + 1);
	if (copy == NULL)
		return fail(w->err, ENOMEM, "%s:%zu", w->name, line);
	memcpy(copy, value, n);
	copy[n] = '\0';
	struct yaml_entry *e = &w->f->entry[w->f->n++];
	*e = (struct yaml_entry){ .kind = kind, .line = (uint32_t)line, .quoted = quoted, .value = copy };
	memcpy(e->key, w->key, sizeof e->key);
	return 0;
}

static bool key_known(const struct walk *w, uint32_t *ret_line)
{
	for (size_t i = 0; i < w->f->n; i++)
		if (w->f->entry[i].kind != YAML_ITEM && strcmp(w->f->entry[i].key, w->key) == 0) {
			*ret_line = w->f->entry[i].line;
			return true;
		}
	return false;
}

static bool key_valid(struct bytes k)
{
	for (size_t i = 0; i < k.n; i++)
		if (!((k.p[i] >= 'a' && k.p[i] <= 'z') || (k.p[i] >= 'A' && k.p[i] <= 'Z') || (k.p[i] >= '0' && k.p[i] <= '9') || k.p[i] == '_' || k.p[i] == '-'))
			return false;
	return k.n > 0 && k.n <= KEY_WORD_MAX;
}

static int take_key(struct walk *w, struct bytes k, size_t line)
{
	char shown[64];
	uint32_t before;
	if (bytes_equal(k, BYTES_LIT("<<")))
		return refuse(w, line, "merge keys (<<) are not supported: write the keys out");
	if (!key_valid(k))
		return fail(w->err, 0, "%s:%zu: \"%s\" is no key: keys are words of a-z, 0-9 and _", w->name, line,
		            text_escape(k, shown, sizeof shown));
	snprintf(w->key, sizeof w->key, "%.*s%s%.*s", KEY_WORD_MAX, w->level == IN_SECTION ? w->section : "",
	         w->level == IN_SECTION ? "." : "", (int)k.n, (const char *)k.p);
	if (key_known(w, &before))
		return fail(w->err, 0, "%s:%zu: %s was given in line %u already", w->name, line, w->key, before);
	w->have_key = true;
	w->key_line = (uint32_t)line;
	return 0;
}

static int take_scalar(struct walk *w, const yaml_event_t *e, size_t line)
{
	struct bytes v = bytes_of(e->data.scalar.value, e->data.scalar.length);
	bool quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	if (e->data.scalar.anchor != NULL)
		return refuse(w, line, "anchors (&) are not supported: write the value where it is needed");
	if (e->data.scalar.tag != NULL)
		return refuse(w, line, "tags (!) are not supported");
	if (w->level == AT_TOP) {
		if (v.n == 0 && !quoted)
			return 0;                                /* nothing but comments */
		return refuse(w, line, "a configuration starts with a section, as in \"gateway:\"");
	}
	if ((w->level == IN_FILE || w->level == IN_SECTION) && !w->have_key)
		return take_key(w, v, line);
	if (e->data.scalar.style == YAML_LITERAL_SCALAR_STYLE || e->data.scalar.style == YAML_FOLDED_SCALAR_STYLE ||
	    e->end_mark.line != e->start_mark.line)
		return refuse(w, line, "a value is on one line");
	if (v.n > YAML_VALUE_MAX)
		return refuse(w, line, "a value has up to 1024 bytes");
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] < 0x20 || v.p[i] == 0x7f || (v.p[i] == 0xc2 && i + 1 < v.n && v.p[i + 1] < 0xa0))
			return refuse(w, line, "a value has no control characters");
	w->have_key = false;
	return add(w, w->level == IN_LIST ? YAML_ITEM : YAML_SCALAR, (const char *)v.p, v.n, quoted, line);
}

static int open_mapping(struct walk *w, const yaml_event_t *e, size_t line)
{
	if (e->data.mapping_start.anchor != NULL)
		return refuse(w, line, "anchors (&) are not supported: write the value where it is needed");
	if (e->data.mapping_start.tag != NULL)
		return refuse(w, line, "tags (!) are not supported");
	if (w->level == AT_TOP) {
		w->level = IN_FILE;
		return 0;
	}
	if (w->level != IN_FILE || !w->have_key)
		return refuse(w, line, w->level == IN_LIST || w->have_key ? "nested too deep: sections hold keys, and keys hold values or lists of values"
		                                                          : "a mapping cannot be a key");
	w->have_key = false;
	memcpy(w->section, w->key, sizeof w->section);
	w->level = IN_SECTION;
	return add(w, YAML_SECTION, "", 0, false, w->key_line);
}

static int open_list(struct walk *w, const yaml_event_t *e, size_t line)
{
	if (e->data.sequence_start.anchor != NULL)
		return refuse(w, line, "anchors (&) are not supported: write the value where it is needed");
	if (e->data.sequence_start.tag != NULL)
		return refuse(w, line, "tags (!) are not supported");
	if (w->level == AT_TOP)
		return refuse(w, line, "a configuration starts with a section, as in \"gateway:\"");
	if (w->level == IN_LIST || !w->have_key)
		return refuse(w, line, w->level == IN_LIST ? "a list holds values, not lists" : "a list cannot be a key");
	w->have_key = false;
	w->list_in_section = w->level == IN_SECTION;
	w->level = IN_LIST;
	return add(w, YAML_LIST, "", 0, false, w->key_line);
}

static int take(struct walk *w, const yaml_event_t *e)
{
	size_t line = e->start_mark.line + 1;
	switch (e->type) {
	case YAML_STREAM_START_EVENT:
	case YAML_DOCUMENT_END_EVENT:
	case YAML_NO_EVENT:
		return 0;
	case YAML_DOCUMENT_START_EVENT:
		if (w->ended)
			return refuse(w, line, "a second document (---): one file is one configuration");
		w->ended = true;
		return 0;
	case YAML_ALIAS_EVENT:
		return refuse(w, line, "aliases (*) are not supported: write the value out");
	case YAML_SCALAR_EVENT:
		return take_scalar(w, e, line);
	case YAML_MAPPING_START_EVENT:
		return open_mapping(w, e, line);
	case YAML_SEQUENCE_START_EVENT:
		return open_list(w, e, line);
	case YAML_MAPPING_END_EVENT:
		w->level = w->level == IN_SECTION ? IN_FILE : AT_TOP;
		return 0;
	case YAML_SEQUENCE_END_EVENT:
		w->level = w->list_in_section ? IN_SECTION : IN_FILE;
		return 0;
	case YAML_STREAM_END_EVENT:
		return 0;
	}
	return refuse(w, line, "what this is nobody knows");
}

/* "[::1]:8080" without its quotes is a list to YAML, and what libyaml says about it helps nobody. */
static const char *hint(struct bytes text, size_t line)
{
	size_t at = 0;
	while (--line > 0 && at < text.n)
		while (at < text.n && text.p[at++] != '\n')
			;
	bool open = false;
	for (; at + 1 < text.n && text.p[at] != '\n'; at++) {
		open |= text.p[at] == '[';
		if (open && text.p[at] == ']' && text.p[at + 1] == ':')
			return " (an IPv6 address is written in quotes, as \"[::1]:8080\")";
	}
	return "";
}

/* Where libyaml's own complaint is: a mark, or for bytes that are no text an offset. */
static int syntax(const struct walk *w, const yaml_parser_t *p, struct bytes text)
{
	size_t line = p->problem_mark.line + 1;
	char what[160];
	if (p->error == YAML_MEMORY_ERROR)
		return fail(w->err, ENOMEM, "read %s", w->name);
	if (p->error == YAML_READER_ERROR) {
		line = 1;
		for (size_t i = 0; i < p->problem_offset && i < text.n; i++)
			line += text.p[i] == '\n';
	}
	return fail(w->err, 0, "%s:%zu: no YAML: %s%s", w->name, line,
	            text_escape(bytes_str(p->problem != NULL ? p->problem : "something is wrong"), what, sizeof what), hint(text, line));
}

int yaml_file_parse(struct bytes text, const char *name, struct yaml_file *ret, struct err *err)
{
	struct yaml_file f = { .entry = calloc(YAML_ENTRIES_MAX, sizeof *f.entry) };
	struct walk w = { .name = name, .f = &f, .err = err };
	yaml_parser_t p;
	bool done = false;
	int bad = 0;
	if (text.n > YAML_SIZE_MAX) {
		free(f.entry);
		return fail(err, 0, "%s:1: %zu bytes; a configuration has up to %d", name, text.n, YAML_SIZE_MAX);
	}
	if (f.entry == NULL || !yaml_parser_initialize(&p)) {
		free(f.entry);
		return fail(err, ENOMEM, "read %s", name);
	}
	yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&p, text.p != NULL ? text.p : (const uint8_t *)"", text.n);
	while (bad == 0 && !done) {
		yaml_event_t e;
		if (!yaml_parser_parse(&p, &e)) {
			bad = syntax(&w, &p, text);
			break;
		}
		done = e.type == YAML_STREAM_END_EVENT;
		bad = take(&w, &e);
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&p);
	if (bad < 0)
		yaml_file_close(&f);
	else
		*ret = f;
	return bad;
}

int yaml_file_load(const char *path, struct yaml_file *ret, struct err *err)
{
	struct stat st;
	size_t n = 0;
	CLEANUP(free_ptr) uint8_t *text = malloc(YAML_SIZE_MAX + 1);
	/* a FIFO must not hold us up */
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (text == NULL || fd < 0 || fstat(fd, &st) != 0)
		return fail(err, text == NULL ? ENOMEM : errno, "open %s", path);
	if (!S_ISREG(st.st_mode))
		return fail(err, 0, "%s is not a regular file", path);
	for (ssize_t got = 1; got > 0 && n <= YAML_SIZE_MAX; n += (size_t)got) {
		got = read(fd, text + n, YAML_SIZE_MAX + 1 - n);
		if (got < 0)
			return fail(err, errno, "read %s", path);
	}
	return yaml_file_parse(bytes_of(text, n), path, ret, err);
}

void yaml_file_close(struct yaml_file *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->entry[i].value);
	free(f->entry);
	*f = (struct yaml_file){ 0 };
}
