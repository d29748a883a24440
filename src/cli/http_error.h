/* What the gateway's JSON says, read with care: it is the other side. */
#ifndef CLI_HTTP_ERROR_H
#define CLI_HTTP_ERROR_H

#include "format/outcome.h"
#include "host/http_client.h"

#include <jansson.h>

/* A JSON object, to be released with json_decref; NULL when text is none. */
json_t *json_parse(struct bytes text);

struct http_error {
	char code[32];                   /* of format/outcome.h, or empty */
	char text[400];                  /* one printable line: status, code, error, detail, limits */
};
/* Any answer that is not the one hoped for. */
void http_error_read(const struct http_answer *a, struct http_error *ret);

#endif
