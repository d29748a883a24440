/* OpenPGP packets (RFC 9580), the subset that TEE-Rex speaks: headers in the current format with
 * definite and partial lengths, and the bodies of encrypted session keys, encrypted data headers,
 * version 4 keys and version 4 signatures. Pure codec: no cryptography, no I/O.
 *
 *     +--------+----------------+------------------+
 *     | 11tttt | length 1/2/5 B | body             |      definite
 *     +--------+----------------+------------------+
 *     | 11tttt | 2^n | 2^n B | 2^m | 2^m B | length | rest |      partial (4.2.1.4)
 *
 * Headers in the legacy format are refused everywhere: nobody may generate them any more
 * (section 4.2), and no client of ours does. */
#ifndef FORMAT_OPENPGP_PACKET_H
#define FORMAT_OPENPGP_PACKET_H

#include "base/bytes.h"
#include "format/openpgp_error.h"

enum pgp_tag {
	PGP_TAG_PKESK = 1, PGP_TAG_SIGNATURE = 2, PGP_TAG_SKESK = 3, PGP_TAG_ONE_PASS = 4,
	PGP_TAG_PUBLIC_KEY = 6, PGP_TAG_COMPRESSED = 8, PGP_TAG_SED = 9, PGP_TAG_MARKER = 10,
	PGP_TAG_LITERAL = 11, PGP_TAG_USER_ID = 13, PGP_TAG_PUBLIC_SUBKEY = 14, PGP_TAG_SEIPD = 18,
	PGP_TAG_AEAD = 20, PGP_TAG_PADDING = 21
};

enum {
	PGP_FINGERPRINT_SIZE = 20,               /* version 4 */
	PGP_ALGORITHM_X25519 = 25, PGP_ALGORITHM_ED25519 = 27,
	PGP_HASH_SHA512 = 10,
	PGP_CIPHER_AES128 = 7, PGP_CIPHER_AES256 = 9,
	PGP_AEAD_OCB = 2, PGP_AEAD_GCM = 3,
	PGP_CHUNK_OCTET_MAX = 16,                /* 4 MiB: 2^(octet + 6) bytes */
	PGP_PARTIAL_FIRST_MIN = 512,
	PGP_HEADER_MAX = 6                       /* tag and a five-byte length */
};

/* --- headers -------------------------------------------------------------------------- */

/* Takes a stream apart into packets, whatever pieces it comes in.
 *
 *     for (;;)
 *             switch (pgp_split_next(&s, &in, &body)) {
 *             case SPLIT_MORE:    return PGP_OK;      in is used up: come back with more
 *             case SPLIT_HEADER:  s.tag, s.left (bytes of the body, or of its first part), s.streamed
 *             case SPLIT_BODY:    the next piece of the body, borrowed from in
 *             case SPLIT_END:     the body is complete
 *             case SPLIT_ERROR:   s.error
 *             }
 */
enum pgp_split_event { SPLIT_MORE, SPLIT_HEADER, SPLIT_BODY, SPLIT_END, SPLIT_ERROR };
struct pgp_split {
	enum { SPLIT_AT_TAG, SPLIT_AT_LENGTH, SPLIT_IN_LENGTH, SPLIT_IN_BODY, SPLIT_BROKEN } state;
	uint8_t tag;
	bool streamed;                           /* the body came with partial lengths */
	bool first;                              /* no length of this packet is complete yet */
	bool partial;                            /* the current part is not the last */
	uint8_t need;                            /* octets of the length still missing */
	uint8_t bias;                            /* what its form adds to the number */
	uint32_t length;                         /* the number as far as read */
	uint32_t left;                           /* bytes of the current part still missing */
	enum pgp_error error;
};
enum pgp_split_event pgp_split_next(struct pgp_split *s, struct bytes *in, struct bytes *ret_body);
/* True between packets: where a stream may end. */
static inline bool pgp_split_idle(const struct pgp_split *s) { return s->state == SPLIT_AT_TAG; }

/* Writes tag and definite length, as short as possible. */
void pgp_put_header(struct writer *w, enum pgp_tag tag, uint32_t length);
/* The length alone. */
void pgp_put_length(struct writer *w, uint32_t length);
/* The octet that announces a part of 2^bits bytes (9 <= bits <= 30 for the first one). */
static inline uint8_t pgp_partial_octet(unsigned bits) { return (uint8_t)(0xe0 | bits); }

/* Reads one whole packet with a definite length from r; sets r->bad when there is none, or when its
 * header is in the legacy format. ret_body is borrowed. */
uint8_t pgp_get_packet(struct reader *r, struct bytes *ret_body);

/* --- bodies of a message ---------------------------------------------------------------- */

/* Encrypted session key, version 6 (5.1.2).
 *
 *     06 | 15 | 04 | fingerprint 20 | 19 | ephemeral 32 | 28 | wrapped 40
 *          size, version, fingerprint      X25519 (5.1.6); 40 or 24 bytes for a 32- or 16-byte key
 */
struct pgp_pkesk {
	uint8_t key_version;                     /* 4 or 6 */
	struct bytes fingerprint;                /* 20 or 32 bytes */
	uint8_t algorithm;
	struct bytes rest;                       /* what the algorithm defines */
};
enum {
	PGP_PKESK_MAX = 2048,                    /* accepted for other recipients (the largest known kind: 1.8 KB) */
	PGP_PKESK_X25519_MAX = 97,
	PGP_WRAPPED_MAX = 40
};
/* body may be cut: then rest is too. Borrowed. */
enum pgp_error pgp_pkesk_parse(struct bytes body, struct pgp_pkesk *ret);
/* Takes rest apart. PGP_BAD_PKESK, PGP_SESSION_KEY_SIZE. ret_ephemeral: 32 bytes. */
enum pgp_error pgp_pkesk_x25519(struct bytes rest, struct bytes *ret_ephemeral, struct bytes *ret_wrapped);
/* The packet with its header. wrapped: 24 or 40 bytes. */
void pgp_put_pkesk(struct writer *w, const uint8_t fingerprint[PGP_FINGERPRINT_SIZE],
                   const uint8_t ephemeral[32], struct bytes wrapped);

/* Start of encrypted data, version 2 (5.13.2): 02 | cipher | AEAD mode | chunk octet | salt 32 */
enum { PGP_SEIPD_HEADER_SIZE = 36, PGP_SALT_SIZE = 32 };
struct pgp_seipd { uint8_t cipher, mode, chunk_octet; struct bytes salt; };
/* PGP_TRUNCATED when head is shorter than its size and nothing worse is wrong with it. */
enum pgp_error pgp_seipd_parse(struct bytes head, struct pgp_seipd *ret);

/* Start of literal data (5.9): format | name size | name | date 4 */
enum { PGP_LITERAL_HEADER_MIN = 6, PGP_NAME_MAX = 255 };

/* --- bodies of a certificate -------------------------------------------------------------- */

/* Version 4 key packet of a 32-byte algorithm (5.5.2): 04 | creation time 4 | algorithm | key 32 */
enum { PGP_KEY_BODY_SIZE = 38 };
struct pgp_key_body { uint32_t created; uint8_t algorithm; struct bytes key; };
enum pgp_error pgp_key_body_parse(struct bytes body, struct pgp_key_body *ret);
void pgp_put_key_body(struct writer *w, const struct pgp_key_body *k);

/* Version 4 signature (5.2.3), Ed25519 with SHA-512:
 *
 *     04 | type | 1b | 0a | size 2 | hashed subpackets | 00 00 | left 2 | signature 64
 *     '------------- hashed, and the trailer is 04 ff size 4 -'  no unhashed subpackets
 */
enum pgp_signature_type { PGP_SIG_CERTIFICATION = 0x13, PGP_SIG_BINDING = 0x18 };
enum { PGP_FEATURE_SEIPD_V1 = 0x01, PGP_FEATURE_SEIPD_V2 = 0x08 };
enum { PGP_KEY_FLAGS_ENCRYPT = 0x0c };          /* communications and storage */
struct pgp_signature {
	uint8_t type;
	uint32_t created;                        /* subpacket 2 */
	struct bytes issuer;                     /* 33: fingerprint, without the version octet */
	struct bytes features;                   /* 30; empty: absent */
	struct bytes suites;                     /* 39: pairs cipher, mode; empty: absent */
	struct bytes key_flags;                  /* 27; empty: absent */
	struct bytes hashed;                     /* from the version octet on: what the digest covers */
	struct bytes left;                       /* 2 bytes of the digest */
	struct bytes signature;                  /* 64 bytes */
};
/* Strict: exactly the subpackets above, each at most once, 2 and 33 required. */
enum pgp_error pgp_signature_parse(struct bytes body, struct pgp_signature *ret);
/* Writes what the digest covers, from the fields up to key_flags. The caller appends
 * 00 00, left and signature. */
void pgp_put_signature_hashed(struct writer *w, const struct pgp_signature *s);

#endif
