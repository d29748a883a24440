/* Access to one repository of a registry: requests that carry what it wants to see, and what its refusals mean.
 *
 * A 401 is answered once per request: with a token from the server that the registry names (scope: pull from this
 * repository, whatever it suggests), or with a user and password. Credentials come from image/credentials.h. */
#ifndef IMAGE_REGISTRY_AUTH_H
#define IMAGE_REGISTRY_AUTH_H

#include "format/oci.h"
#include "image/fetch.h"

enum { REGISTRY_HOST_MAX = 300, REGISTRY_AUTHORIZATION_MAX = 72 << 10, REGISTRY_URL_MAX = 1024 };

struct registry_access {
	struct fetcher *fetcher;             /* borrowed */
	bool plain;                          /* http, to this machine */
	char host[REGISTRY_HOST_MAX], repository[OCI_REPOSITORY_MAX + 1];
	char authorization[REGISTRY_AUTHORIZATION_MAX];      /* "" before the registry asked for one; a secret */
};

/* kind "manifests" or "blobs". */
void registry_url(const struct registry_access *r, const char *kind, const char *name, char url[REGISTRY_URL_MAX]);
/* fetch() and fetch_document(), authorized; they set q->authorization and q->plain. */
enum image_code registry_fetch(struct registry_access *r, struct fetch_request *q, struct fetch_answer *a, struct err *err);
enum image_code registry_fetch_document(struct registry_access *r, struct fetch_request *q, size_t max,
                                        struct fetch_answer *a, uint8_t **ret, size_t *ret_n, struct err *err);
/* The code and sentence of an answer that is no success. what: "blob …", for messages. */
enum image_code registry_refused(const struct registry_access *r, const struct fetch_answer *a, const char *what,
                                 struct err *err);

/* One parameter of a challenge (RFC 9110 §11.6.1), key="value" or key=value. False: not there or too long. */
bool challenge_parameter(const char *challenge, const char *key, char *out, size_t cap);

#endif
