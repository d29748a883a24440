/* From a container image's configuration to the service table that the enclave's init reads: ENTRYPOINT and CMD, ENV,
 * WORKDIR, USER, EXPOSE and STOPSIGNAL, each of which the builder's options may override.
 *
 * What container engines do when they start an image happens here, so that it is measured and init does no
 * guessing: the program is looked up in PATH and its path written down, user names become numbers, PATH and HOME get
 * their defaults, the working directory is made when it is missing. Every exposed TCP port becomes a bridge from the vsock
 * port of the same number; whatever else was exposed is counted in ports_left_out. */
#ifndef IMAGE_APP_SERVICE_H
#define IMAGE_APP_SERVICE_H

#include "base/options.h"
#include "format/service_table.h"
#include "image/rootfs.h"

struct app_overrides {                           /* lists: NULL or empty: as the image says; one "" : none */
	const struct option_list *entrypoint, *cmd;  /* an entrypoint sets the image's cmd aside */
	const struct option_list *env;           /* NAME=VALUE sets, NAME takes away */
	const struct option_list *bridge;        /* PORT or PORT:TCP_PORT, in place of what is exposed */
	const char *user, *workdir;              /* NULL: as the image says */
	bool nsm;                                /* the service may use /dev/nsm */
};

struct app_service {
	struct service_table table;              /* its strings point to the image's configuration, the overrides and here */
	struct image_user user;
	uint64_t ports_left_out;
	char workdir[TREE_PATH_MAX + 2], program[TREE_PATH_MAX + 2], home[sizeof "HOME=" + 256];
};

/* Fills everything of ret (zeroed by the caller) but what concerns the enclave as a whole, which is the caller's to set.
 * Makes directories in the tree that init needs and the image has not. NO_PROGRAM, BAD_SERVICE, BAD_DIRECTORY, UNKNOWN_USER. */
enum image_code app_service_make(struct rootfs *r, const struct app_overrides *o, struct app_service *ret, struct err *err);

/* The directories that init mounts things on, where the image lacks them. */
enum image_code app_service_mount_points(struct rootfs *r, struct err *err);

/* For a table that was given as a file: whether the image has the program and the directory of each of its services. */
enum image_code app_service_check(struct rootfs *r, const struct service_table *t, struct err *err);

#endif
