/* Talking to a Nitro Secure Module: one open descriptor for the life of the process, requests
 * one after the other. Two kinds of descriptor behind one structure:
 *
 * - the character device /dev/nsm, the only kind a measured configuration for hardware takes;
 * - in the process backend alone, a SOCK_SEQPACKET socket to the software NSM: a packet a request, a
 *   packet a response. Whoever opens it decides which; nothing falls back from one to the other.
 *
 * Calls block: the driver gives up on a silent device after two minutes, a socket after timeout_ms.
 * Functions return 0 or -errno with a sentence in err; outputs are written on success only. An error
 * that the NSM itself answers comes back as EINVAL (InvalidArgument), ERANGE (InvalidIndex), EROFS
 * (ReadOnlyIndex), EOPNOTSUPP (InvalidOperation), ENOBUFS (BufferTooSmall), EMSGSIZE (InputTooLarge)
 * or EREMOTEIO (the rest). Not for use by several threads at once. */
#ifndef LINUX_NSM_DEV_H
#define LINUX_NSM_DEV_H

#include "base/bytes.h"
#include "base/fail.h"
#include "format/nsm.h"

enum { NSM_SOCKET_TIMEOUT_MS = 5000 };

struct nsm {
	int fd;                                  /* owned */
	bool is_socket;
	int timeout_ms;                          /* of one call on a socket */
	unsigned owed;                           /* answers that came too late and are still to be thrown away */
};

/* Opens path, which must be a character device. */
int nsm_open_device(struct nsm *n, const char *path, struct err *err);
/* Takes over fd, a connected Unix socket of type SOCK_SEQPACKET; on failure fd stays the caller's.
 * Give each process a connection of its own: answers carry no number to tell them apart by. */
int nsm_from_socket(struct nsm *n, int fd, struct err *err);
void nsm_close(struct nsm *n);

/* One raw exchange. request: at most NSM_REQUEST_MAX bytes; cap: at least NSM_RESPONSE_MAX, because
 * the driver cuts silently what does not fit. */
int nsm_call(struct nsm *n, struct bytes request, uint8_t *response, size_t cap, size_t *ret_n, struct err *err);

/* An attestation document (COSE_Sign1) of at most cap bytes. public_key: at most NSM_STRING_MAX bytes,
 * user_data NSM_USER_DATA_MAX, nonce NSM_NONCE_MAX; an empty one is sent as null. */
int nsm_attest(struct nsm *n, struct bytes public_key, struct bytes user_data, struct bytes nonce,
               uint8_t *document, size_t cap, size_t *ret_n, struct err *err);
/* Fills out; one call for every NSM_RANDOM_SIZE bytes. */
int nsm_random(struct nsm *n, uint8_t *out, size_t size, struct err *err);

struct nsm_description {
	uint16_t version_major, version_minor, version_patch;
	char module_id[NSM_MODULE_ID_MAX + 1];   /* as the NSM says it: escape before printing */
	uint16_t max_pcrs;
	uint32_t locked_pcrs;                    /* bit i: PCR i is locked */
	enum nsm_digest digest;
};
int nsm_describe(struct nsm *n, struct nsm_description *ret, struct err *err);
int nsm_describe_pcr(struct nsm *n, unsigned index, bool *ret_locked, uint8_t ret_value[NSM_PCR_SIZE], struct err *err);

#endif
