/* Prover versions: named binaries in sealed memfds, each allowed by the measured digest list.
 *
 * A binary enters by preloading from the image or by upload; both are hashed while they are copied
 * and take their name only when size, digest and allow list agree, so a name never points at a half
 * or a foreign binary. Replacing a name leaves the old memfd to the jobs that hold it. */
#ifndef ENCLAVE_PROVER_VERSIONS_H
#define ENCLAVE_PROVER_VERSIONS_H

#include "base/bytes.h"
#include "base/fail.h"
#include "crypto/crypto.h"
#include "enclave/config.h"
#include "enclave/limits.h"
#include "format/frame.h"
#include "format/launch.h"

struct version_binary {                  /* shared by the table and the jobs that run it */
	int fd;                          /* sealed memfd */
	uint64_t size;
	uint8_t sha256[SHA256_SIZE];
	unsigned refs;                   /* 0: this entry of the pool is free */
};

struct version_slot {
	char name[FRAME_VERSION_MAX + 1];        /* empty: unused */
	struct version_binary *binary;
};

struct version_upload {
	bool active;
	char name[FRAME_VERSION_MAX + 1];
	int fd;
	uint64_t size, received;
	uint8_t declared[SHA256_SIZE];
	struct hash *hash;
};

struct versions {
	const struct config *cfg;                /* borrowed */
	struct version_slot slot[FRAME_VERSIONS_MAX];
	/* the table, the running jobs and the one upload, each at its worst */
	struct version_binary pool[FRAME_VERSIONS_MAX + LAUNCH_SLOTS_MAX];
	struct version_upload upload;            /* one at a time */
	uint64_t generation;                     /* grows with every change of the list */
};

void versions_init(struct versions *v, const struct config *cfg);
/* Copies the configured binaries in. -errno: the measured image is inconsistent, do not start. */
int versions_preload(struct versions *v, struct err *err);

/* The binary for name, or for the default when name is empty (the configured one, else the only one
 * loaded), with a reference for the caller. NULL: *ret_why says which version is missing. */
struct version_binary *version_get(struct versions *v, struct bytes name, struct err *ret_why);
void version_put(struct version_binary *b);
/* Name of the default version; empty when none applies. */
struct bytes version_default(const struct versions *v);
/* Fills the reply's list (borrowed from v) in table order. */
void versions_list(const struct versions *v, struct frame_reply *reply);

/* An upload: begin, then data, then commit or abort. Anything but OUTCOME_OK from begin and data means
 * that nothing of it is left. */
enum outcome upload_begin(struct versions *v, struct bytes name, struct bytes sha256, uint64_t size, struct err *ret_why);
enum outcome upload_data(struct versions *v, struct bytes data, struct err *ret_why);
enum outcome upload_commit(struct versions *v, struct err *ret_why);
void upload_abort(struct versions *v);

/* user_data of a document (security.md, "What is bound to what"): JSON with "versions", the SHA-256 of
 * the allow policy as "policy", the image "epoch", and, when the list does not fit into max bytes whole,
 * the SHA-256 of the whole list as "digest" (over "name sha256hex\n" lines in table order). */
void versions_user_data(const struct versions *v, size_t max, struct writer *w);

#endif
