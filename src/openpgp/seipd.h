/* The two constructions that encrypting and decrypting share (RFC 9580): wrapping a session key for an
 * X25519 recipient (section 5.1.6) and the chunked authenticated encryption of the data (5.13.2).
 *
 *     session key -- HKDF-SHA256, salt, info = d2 02 cipher mode octet --> key, nonce prefix
 *
 *     +---------+-----+---------+-----+-   -+--------+-----+-----------+
 *     | chunk 0 | tag | chunk 1 | tag | ... | rest   | tag | final tag |     chunk: 2^(octet + 6) bytes
 *     +---------+-----+---------+-----+-   -+--------+-----+-----------+
 *     nonce = prefix || u64 index      AAD = info, for the final tag info || u64 plaintext bytes
 *
 * The index in the nonce keeps chunks in place, the count in the final tag keeps their number. */
#ifndef OPENPGP_SEIPD_H
#define OPENPGP_SEIPD_H

#include "crypto/crypto.h"
#include "format/openpgp_packet.h"

enum { PGP_SESSION_KEY_MAX = 32 };
struct pgp_session_key { uint8_t key[PGP_SESSION_KEY_MAX]; size_t n; };      /* secret: wipe */
void pgp_session_key_wipe(struct pgp_session_key *k);

/* PGP_BAD_POINT, PGP_BAD_SESSION_KEY, or what pgp_pkesk_x25519 finds. rest: as in struct pgp_pkesk. */
enum pgp_error pgp_session_key_unwrap(const struct key25519 *secret, const uint8_t public[KEY25519_SIZE],
                                      struct bytes rest, struct pgp_session_key *ret);
/* Writes a whole PKESK packet. PGP_BAD_POINT when the recipient's key is of small order. */
enum pgp_error pgp_session_key_wrap(struct writer *w, const uint8_t public[KEY25519_SIZE],
                                    const uint8_t fingerprint[PGP_FINGERPRINT_SIZE],
                                    const struct pgp_session_key *k);

enum { PGP_AAD_SIZE = 5, PGP_NONCE_MAX = 15 };
struct pgp_chunks {
	struct aead *aead;                       /* owned */
	uint8_t aad[PGP_AAD_SIZE + 8];           /* the last eight bytes for the final tag only */
	uint8_t nonce[PGP_NONCE_MAX];
	size_t nonce_size;
	size_t chunk_size;                       /* bytes of plaintext in a whole chunk */
	size_t left;                             /* of the current chunk */
	uint64_t index;                          /* of the current chunk */
	uint64_t total;                          /* bytes of plaintext so far */
};

/* Bytes of a session key for this cipher (AES-128 or AES-256). */
static inline size_t pgp_cipher_key_size(uint8_t cipher) { return cipher == PGP_CIPHER_AES256 ? 32 : 16; }

/* PGP_SESSION_KEY_SIZE or PGP_CRYPTO; head was accepted by pgp_seipd_parse. */
enum pgp_error pgp_chunks_open(struct pgp_chunks *c, bool encrypt, const struct pgp_seipd *head,
                               const struct pgp_session_key *k);
void pgp_chunks_close(struct pgp_chunks *c);     /* wipes; harmless on a zeroed one */
/* True at the start of a chunk, before any of its bytes. */
static inline bool pgp_chunks_fresh(const struct pgp_chunks *c) { return c->left == c->chunk_size; }

/* Transforms in.n bytes of the current chunk: a multiple of 16, and no more than c->left. */
enum pgp_error pgp_chunks_update(struct pgp_chunks *c, struct bytes in, uint8_t *out);
/* The last in.n bytes of a chunk (any number up to c->left); then the next chunk begins. PGP_BAD_TAG. */
enum pgp_error pgp_chunks_end_decrypt(struct pgp_chunks *c, struct bytes in, uint8_t *out,
                                      const uint8_t tag[AEAD_TAG_SIZE]);
enum pgp_error pgp_chunks_end_encrypt(struct pgp_chunks *c, struct bytes in, uint8_t *out,
                                      uint8_t ret_tag[AEAD_TAG_SIZE]);
/* The final tag, after the last chunk. PGP_BAD_FINAL_TAG. */
enum pgp_error pgp_chunks_check_final(struct pgp_chunks *c, const uint8_t tag[AEAD_TAG_SIZE]);
enum pgp_error pgp_chunks_make_final(struct pgp_chunks *c, uint8_t ret_tag[AEAD_TAG_SIZE]);

#endif
