/* Streaming decryption of an OpenPGP message (RFC 9580): PKESK v6 for X25519, then SEIPD v2 with
 * AES-128 or AES-256 in GCM or OCB, chunks up to 4 MiB, partial lengths, one literal inside.
 *
 *     CLEANUP(pgp_decrypt_free) struct pgp_decrypt d;  (large: embed it or allocate it)
 *     pgp_decrypt_init(&d, keys, nkeys, max_data, sink, sink_arg);
 *     while (more) e = pgp_decrypt_feed(&d, piece);      pieces of any size; errors are sticky
 *     e = pgp_decrypt_finish(&d);
 *
 * WHAT THE SINK GETS IS NOT AUTHENTIC until pgp_decrypt_finish has returned PGP_OK: it must go where
 * nothing looks at it before, and be thrown away after any error. Data is released before the tag of
 * its chunk is known, which is what keeps memory independent of the chunk size the sender chose.
 *
 * Recipients: one to PGP_RECIPIENTS_MAX session keys, exactly one of them for a key of ours; the rest may
 * be for others. One that names no recipient is refused, trying keys being a service for attackers only.
 * Also refused, although the RFC would skip it: a session key of another version, any unknown packet,
 * and anything after the encrypted data. Text literals are handed over as they are, without any conversion
 * of line ends. */
#ifndef OPENPGP_DECRYPT_H
#define OPENPGP_DECRYPT_H

#include "format/openpgp_content.h"
#include "openpgp/key.h"
#include "openpgp/seipd.h"

enum {
	PGP_KEYS_MAX = 4,                        /* held at the same time: current and predecessors */
	PGP_RECIPIENTS_MAX = 4,
	PGP_WORK_SIZE = 32 << 10                 /* largest piece given to the sink */
};

struct pgp_decrypt {
	const struct pgp_key *keys[PGP_KEYS_MAX];        /* borrowed until the encrypted data begins */
	size_t nkeys;
	enum { DECRYPT_KEYS, DECRYPT_DATA, DECRYPT_DONE } stage;
	enum pgp_error error;                    /* sticky */
	struct pgp_split split;
	unsigned recipients;                     /* session keys seen */
	int matched;                             /* index into keys, or -1 */
	struct pgp_session_key session;          /* from the session key to the start of the data */
	struct pgp_chunks chunks;
	struct pgp_content content;
	uint8_t head[128];                       /* start of a session key, a marker or the data */
	size_t head_n;
	uint8_t tail[64];                        /* ciphertext held back: its end may be tags */
	size_t tail_n;
	uint8_t work[PGP_WORK_SIZE];             /* plaintext of one piece */
};

/* keys: nkeys of them (<= PGP_KEYS_MAX). max_data: most bytes the sink will get. */
void pgp_decrypt_init(struct pgp_decrypt *d, const struct pgp_key *const *keys, size_t nkeys, uint64_t max_data,
                      pgp_sink *sink, void *sink_arg);
void pgp_decrypt_free(struct pgp_decrypt *d);            /* wipes; harmless on a zeroed one */

/* PGP_OK, or why the message is refused. PGP_UNKNOWN_KEY comes as soon as the session keys are over.
 * What is wrong inside the encryption is told only once the chunk it is in has proved authentic: before,
 * whoever alters a message would learn from the code what its plaintext was. PGP_SINK, the receiver's own
 * failure, is told at once. */
enum pgp_error pgp_decrypt_feed(struct pgp_decrypt *d, struct bytes in);
/* The message is over. PGP_OK: all of it is authentic, and the functions below say more about it. */
enum pgp_error pgp_decrypt_finish(struct pgp_decrypt *d);

/* Which of the keys it was for; known, and worth nothing yet, once a session key matched; before: -1. */
static inline int pgp_decrypt_matched(const struct pgp_decrypt *d) { return d->matched; }
/* After pgp_decrypt_finish returned PGP_OK: the literal's file name (any bytes, up to PGP_NAME_MAX,
 * borrowed from d) and the bytes given to the sink. */
static inline struct bytes pgp_decrypt_name(const struct pgp_decrypt *d) { return pgp_content_name(&d->content); }
static inline uint64_t pgp_decrypt_length(const struct pgp_decrypt *d) { return pgp_content_length(&d->content); }

#endif
