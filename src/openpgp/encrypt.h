/* Streaming encryption to one recipient (RFC 9580): PKESK v6 for X25519, SEIPD v2, one binary literal
 * inside. For our own client, and for making test messages of every kind that decrypt.h accepts.
 *
 *     struct pgp_encrypt_options o = PGP_ENCRYPT_DEFAULTS;
 *     o.length = size;
 *     e = pgp_encrypt_init(&enc, &recipient, &o, sink, sink_arg);
 *     while (more) e = pgp_encrypt_feed(&enc, piece);
 *     e = pgp_encrypt_finish(&enc);
 *     pgp_encrypt_free(&enc);
 *
 * Errors are sticky. The sink gets the binary message in pieces, from init on. */
#ifndef OPENPGP_ENCRYPT_H
#define OPENPGP_ENCRYPT_H

#include "format/openpgp_content.h"
#include "openpgp/key.h"
#include "openpgp/seipd.h"

enum { PGP_PART_BITS_MIN = 9, PGP_PART_BITS_MAX = 16 };

struct pgp_encrypt_options {
	uint8_t cipher, mode, chunk_octet;
	uint8_t part_bits;               /* 0: definite lengths; 9-16: partial lengths of 2^part_bits bytes */
	uint64_t length;                 /* bytes of data; with partial lengths it need not be known */
	struct bytes name;               /* the literal's file name, at most PGP_NAME_MAX bytes */
};
/* What openpgp.js does: AES-256-GCM in chunks of 256 KiB. */
#define PGP_ENCRYPT_DEFAULTS { .cipher = PGP_CIPHER_AES256, .mode = PGP_AEAD_GCM, .chunk_octet = 12 }

/* Writes the body of a packet: as it is, or in parts of 2^bits bytes. */
struct pgp_parts {
	pgp_sink *sink;
	void *sink_arg;
	uint8_t bits;                            /* 0: as it is */
	size_t n;
	uint8_t part[1 << PGP_PART_BITS_MAX];
};

/* The outer half: encrypts a stream of packets, whatever they are. */
struct pgp_seal {
	enum pgp_error error;
	uint64_t missing;                        /* bytes of plaintext still to come; definite lengths only */
	struct pgp_chunks chunks;
	struct pgp_parts parts;
	size_t work_n;
	uint8_t work[32 << 10];
};
enum pgp_error pgp_seal_init(struct pgp_seal *s, const struct pgp_recipient *to, const struct pgp_encrypt_options *o,
                             pgp_sink *sink, void *sink_arg);
enum pgp_error pgp_seal_feed(struct pgp_seal *s, struct bytes packets);
enum pgp_error pgp_seal_finish(struct pgp_seal *s);
void pgp_seal_free(struct pgp_seal *s);

struct pgp_encrypt {                             /* about 160 KiB */
	struct pgp_seal seal;
	struct pgp_parts literal;
};

/* PGP_TOO_LARGE (definite lengths end at 4 GiB), PGP_BAD_LITERAL (name too long), PGP_BAD_LENGTH
 * (part_bits), PGP_SEIPD_CIPHER, PGP_SEIPD_MODE, PGP_SEIPD_CHUNK_SIZE, PGP_BAD_POINT, PGP_SINK, PGP_CRYPTO. */
enum pgp_error pgp_encrypt_init(struct pgp_encrypt *e, const struct pgp_recipient *to,
                                const struct pgp_encrypt_options *o, pgp_sink *sink, void *sink_arg);
/* PGP_CONTENT_LENGTH, here or from finish, when the data is not as long as promised. */
enum pgp_error pgp_encrypt_feed(struct pgp_encrypt *e, struct bytes data);
enum pgp_error pgp_encrypt_finish(struct pgp_encrypt *e);
void pgp_encrypt_free(struct pgp_encrypt *e);    /* wipes; harmless on a zeroed one */

#endif
