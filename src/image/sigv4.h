/* AWS Signature Version 4: the Authorization header of a request with a body and no query, as the container registry's
 * token call needs it. Checked against the published test suite. */
#ifndef IMAGE_SIGV4_H
#define IMAGE_SIGV4_H

#include "base/bytes.h"

enum { SIGV4_AUTHORIZATION_MAX = 1024, SIGV4_DATE_SIZE = sizeof "20150830T123600Z" };

struct sigv4_header { const char *name, *value; };       /* name in lower case */

struct sigv4_request {
	const char *method, *path;           /* path: as sent, already encoded */
	const struct sigv4_header *header;   /* all that are signed, "host" and "x-amz-date" among them, sorted by name */
	size_t header_count;
	struct bytes body;
	const char *region, *service;
	const char *date;                    /* 20150830T123600Z */
	const char *access_key, *secret_key;
};
/* False when something does not fit. */
bool sigv4_authorization(const struct sigv4_request *q, char ret[SIGV4_AUTHORIZATION_MAX]);
/* unix seconds as 20150830T123600Z. */
void sigv4_date(int64_t seconds, char ret[SIGV4_DATE_SIZE]);

#endif
