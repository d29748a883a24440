/* The body of POST /prove, made while it is sent: file -> OpenPGP message -> base64 -> JSON, in a fixed
 * amount of memory. Its size is known before the first byte; a file that changes under way is an error. */
#ifndef CLI_SEALED_BODY_H
#define CLI_SEALED_BODY_H

#include "base/fail.h"
#include "crypto/crypto.h"
#include "format/message_name.h"
#include "openpgp/encrypt.h"

enum { SEALED_ROOM = 192 << 10 };

struct sealed_body {                             /* about 350 KiB */
	int fd;                                  /* borrowed; read from offset 0 */
	uint64_t input_size, read_at;
	uint64_t size;                           /* of the body, for Content-Length */
	struct pgp_encrypt encrypt;
	struct hash *ciphertext;                 /* of the message */
	bool done;
	uint8_t carry[3];                        /* message bytes that are no whole base64 quantum yet */
	size_t carry_n;
	uint8_t out[SEALED_ROOM];
	size_t out_n, out_at;
	struct err why;                          /* after a failed pull */
};

/* Encrypts to to, with name as the literal's file name: what the prover is held to. */
int sealed_body_open(struct sealed_body *b, int fd, uint64_t input_size, const struct pgp_recipient *to,
                     const struct message_name *name, struct err *err);
/* The next bytes of the body, at most cap; 0 at the end; -1 with b->why. */
long sealed_body_pull(struct sealed_body *b, uint8_t *to, size_t cap);
/* SHA-256 of the message, once all of it was pulled. */
bool sealed_body_digest(const struct sealed_body *b, uint8_t out[SHA256_SIZE]);
void sealed_body_close(struct sealed_body *b);   /* wipes; harmless on a zeroed one */

#endif
