/* Bounded reading of JSON documents from strangers: how large and how many values before anything is built in
 * memory, no member twice (two readers could choose differently), and getters that tell "absent" from "wrong". */
#ifndef IMAGE_JSON_H
#define IMAGE_JSON_H

#include "base/bytes.h"
#include "image/code.h"

#include <jansson.h>

enum {
	JSON_DOCUMENT_MAX = 4 << 20,         /* bytes; registries refuse larger manifests too */
	JSON_VALUES_MAX = 100000,
	JSON_NESTING_MAX = 64
};

/* Parses an object or array. TOO_LARGE, BAD_JSON. what names the document in messages. */
enum image_code document_parse(struct bytes text, const char *what, json_t **ret, struct err *err);

static inline void json_cleanup(json_t **j) { json_decref(*j); }

/* Getters. False: there, and of another type. Absent and null give the default. Strings are borrowed from the
 * document and hold no zero bytes. */
bool json_get_string(json_t *object, const char *key, const char **ret, const char *otherwise);
bool json_get_object(json_t *object, const char *key, json_t **ret);             /* default NULL */
bool json_get_array(json_t *object, const char *key, json_t **ret);              /* default NULL */
/* A non-negative integer. */
bool json_get_u64(json_t *object, const char *key, uint64_t *ret, uint64_t otherwise);

#endif
