/* Errors of OS-facing code: a negative errno to act on and a sentence to read.
 *
 *     return fail(err, errno, "open %s", path);      ->  -ENOENT, "open /x: No such file or directory"
 *
 * The text lives in a buffer of the caller's, so failing allocates nothing. */
#ifndef BASE_FAIL_H
#define BASE_FAIL_H

struct err { char text[512]; };

/* Writes the formatted text, then ": " and strerror(errnum) when errnum is not 0, and
 * returns -errnum (-EINVAL when errnum is 0). err may be NULL. Too long a text is cut. */
int fail(struct err *err, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "text: " before what err already says and returns ret unchanged: for saying,
 * on the way up, what was being done. */
int fail_in(struct err *err, int ret, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
