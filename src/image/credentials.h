/* Names and secrets for registries, from where the container tools keep them.
 *
 * The file is $REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json or ~/.docker/config.json: credHelpers, then credsStore
 * (programs docker-credential-NAME), then auths. Without an entry, an Amazon ECR registry gets a token with the
 * instance's own role (image/ecr.c). */
#ifndef IMAGE_CREDENTIALS_H
#define IMAGE_CREDENTIALS_H

#include "base/bytes.h"
#include "image/code.h"
#include "image/fetch.h"

enum { SECRET_MAX = 32 << 10 };

struct credentials {
	bool found;
	bool identity_token;                 /* secret is an OAuth 2 refresh token, not a password */
	char user[256];
	char secret[SECRET_MAX];             /* zero-terminated; wiped with credentials_wipe() */
};

/* registry: host[:port]; repository narrows the search in auths. Nothing found is IMAGE_OK. */
enum image_code credentials_find(const char *registry, const char *repository, struct credentials *ret, struct err *err);
void credentials_wipe(struct credentials *c);
/* "Basic …" into w, zero-terminated. */
void credentials_put_basic(const struct credentials *c, struct writer *w);

/* --- Amazon ECR ------------------------------------------------------------------------------------------ */

struct ecr_registry { char region[32], endpoint[128]; };         /* endpoint: of the API, with its scheme */
/* True for ACCOUNT.dkr.ecr[-fips].REGION.amazonaws.com[.cn]. */
bool ecr_registry_parse(struct bytes host, struct ecr_registry *ret);

/* A registry token, by a signed call with the keys of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or
 * else of the instance's role (IMDSv2). The endpoints can be moved with AWS_EC2_METADATA_SERVICE_ENDPOINT and
 * AWS_ENDPOINT_URL_ECR (plain http on this machine only). CREDENTIALS when there are none. */
enum image_code ecr_credentials(struct fetcher *f, const struct ecr_registry *r, struct credentials *ret, struct err *err);

#endif
