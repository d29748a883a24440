/* The image's configuration: what is to be started in it, and how (OCI image specification, "Image
 * Configuration"; Docker's has the same members). */
#ifndef IMAGE_CONFIG_H
#define IMAGE_CONFIG_H

#include "format/oci.h"
#include "image/code.h"
#include "image/tree.h"

#include <stdbool.h>

struct json_t;

enum { USER_GROUPS_MAX = 64, CONFIG_STRINGS_MAX = 4096 };

struct strings { const char **v; size_t n; };                           /* zero-terminated; v owned */

/* USER, its names looked up in the image's /etc/passwd and /etc/group. */
struct image_user {
	uint32_t uid, gid;
	uint32_t group[USER_GROUPS_MAX];     /* supplementary, sorted, without gid */
	size_t group_count;
	char name[64];                       /* "" when /etc/passwd does not know the uid */
	char home[256];                      /* "/" when it does not know */
};

struct image_config {
	struct json_t *json;                 /* owned; the strings point into it */
	struct oci_platform platform;
	struct strings entrypoint, cmd, env; /* env: NAME=VALUE */
	struct strings exposed_ports;        /* 8080/tcp, 7000-7010/udp; sorted */
	const char *working_dir;             /* "" when the image has none */
	const char *user;                    /* as written: "", "name", "1000", "name:group" ... */
	const char *stop_signal;             /* as written; "" for none */
	int stop_signal_number;              /* SIGTERM for none */
	uint8_t (*diff_id)[OCI_SHA256_SIZE]; /* owned; of each layer, lowest first */
	size_t layer_count;
	struct image_user resolved_user;     /* once user_resolve() was called */
};

/* An empty one, for directories: linux and this architecture, nothing to start. */
enum image_code image_config_empty(const struct oci_platform *platform, struct image_config *ret, struct err *err);
/* *ret is written only for IMAGE_OK. what names the document in messages. */
enum image_code image_config_parse(struct bytes text, const char *what, struct image_config *ret, struct err *err);
void image_config_free(struct image_config *c);

/* Looks user up the way container runtimes do: "[USER][:GROUP]", names or numbers; a name wins over a number of the
 * same spelling; without a group the user's own and those that list it. passwd and group are the files' contents,
 * empty when the image has none. UNKNOWN_USER when a name is not in them. */
enum image_code user_resolve(const char *user, struct bytes passwd, struct bytes group, struct image_user *ret,
                             struct err *err);

#endif
