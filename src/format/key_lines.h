/* The lines of the measured configuration and of the service table:
 *
 *     # a comment
 *     key = value
 *     [section]
 *
 * Printable ASCII (and tabs), each line ended by a newline alone; blanks around lines, keys and values do not count.
 * There are no quotes and no comments behind a value. What keys and sections mean is the caller's. */
#ifndef FORMAT_KEY_LINES_H
#define FORMAT_KEY_LINES_H

#include "base/bytes.h"
#include "base/fail.h"

struct key_lines {
	struct bytes rest;                       /* not read yet; borrowed */
	const char *file;                        /* its name, for the messages */
	const char *section_form;                /* what a section looks like, for the messages: "[section]" */
	size_t line_max;                         /* bytes of a line, without its newline */
	unsigned line;                           /* number of the line last read; 0 before the first */
};

enum key_line { KEY_LINE_END, KEY_LINE_SECTION, KEY_LINE_PAIR };

/* The next line that says something. KEY_LINE_SECTION: *ret_name is what stands between the brackets. KEY_LINE_PAIR:
 * *ret_name and *ret_value, either may be empty; both borrowed from the text. -EINVAL with "file:line: …" in err when the
 * line is none of these. */
int key_lines_next(struct key_lines *k, struct bytes *ret_name, struct bytes *ret_value, struct err *err);

#endif
