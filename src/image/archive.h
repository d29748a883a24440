/* A tar file as a set of named members, read in any order: its headers are listed once, data is then read where it
 * lies. What cannot be read at any place (a pipe, a compressed file) is unpacked into an unlinked temporary file
 * first. */
#ifndef IMAGE_ARCHIVE_H
#define IMAGE_ARCHIVE_H

#include "image/source.h"

enum { ARCHIVE_MEMBERS_MAX = 65536, ARCHIVE_TEXT_MAX = 8 << 20 };      /* members; bytes of names and links */

struct member { const char *name; uint64_t at, size; const char *link; };       /* link: NULL for files */

struct archive {
	int fd;                              /* owned */
	struct member *member;               /* owned, sorted by name, links behind the files they name */
	size_t count, cap, text;             /* text: bytes of names and links */
	uint64_t spooled;                    /* bytes in the temporary file; 0: none was needed */
};

/* path "-" is standard input. */
enum image_code archive_open(const char *path, const struct source_options *o, struct archive *ret, struct err *err);
void archive_close(struct archive *a);
/* The file of that name, symbolic links between members followed; NULL: not there. */
const struct member *archive_find(const struct archive *a, const char *name);
/* Its bytes; borrows the archive. */
enum image_code archive_read(const struct archive *a, const struct member *m, struct stream **ret, struct err *err);

#endif
