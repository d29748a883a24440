/* Cryptography: bytes in, bytes out. This layer alone sees libcrypto.
 *
 * Private keys live in libcrypto's secure heap (locked, left out of core dumps, wiped on
 * release) once crypto_lock_secrets() succeeded; programs that hold keys call it first.
 * Functions that can only fail for lack of memory or a broken library return false. */
#ifndef CRYPTO_CRYPTO_H
#define CRYPTO_CRYPTO_H

#include "base/bytes.h"
#include "base/fail.h"

enum {
	SHA256_SIZE = 32, SHA384_SIZE = 48, SHA512_SIZE = 64,
	KEY25519_SIZE = 32,                      /* X25519 and Ed25519 keys, both halves */
	ED25519_SIGNATURE_SIZE = 64,
	P384_SIGNATURE_SIZE = 96,                /* r || s, 48 bytes each */
	AEAD_TAG_SIZE = 16
};

/* Sets up the secure heap. -errno when its memory cannot be locked: fatal for whoever holds keys. */
int crypto_lock_secrets(struct err *err);
/* Overwrites memory in a way the compiler keeps. */
void crypto_wipe(void *p, size_t n);
/* Overwrites what calls to libcrypto left that were made from about here: the stack below the caller, vector registers. */
void crypto_wipe_traces(void);
/* Constant-time equality; false at once when the lengths differ. */
bool crypto_equal(struct bytes a, struct bytes b);
/* From libcrypto's generator, seeded by the kernel. */
bool crypto_random(void *p, size_t n);

/* --- digests ------------------------------------------------------------------------- */
enum hash_kind { HASH_SHA1, HASH_SHA256, HASH_SHA384, HASH_SHA512 };
bool crypto_hash(enum hash_kind kind, struct bytes in, uint8_t *out);    /* out: the kind's size */

struct hash;                                                             /* a running digest */
struct hash *hash_new(enum hash_kind kind);                              /* NULL on failure */
void hash_update(struct hash *h, struct bytes in);
/* The digest so far; the running digest goes on. False when any update failed. */
bool hash_peek(const struct hash *h, uint8_t *out);
void hash_free(struct hash *h);                                          /* NULL is fine */
static inline void hash_cleanup(struct hash **h) { hash_free(*h); }

/* --- HKDF-SHA256 (RFC 5869) and AES key wrap (RFC 3394), AES-128 key-encryption key ----- */
bool crypto_hkdf_sha256(struct bytes ikm, struct bytes salt, struct bytes info, uint8_t *out, size_t n);
/* in: 8 bytes longer than what comes out. False when the integrity check fails. */
bool crypto_aes128_unwrap(const uint8_t kek[16], struct bytes in, uint8_t *out);
bool crypto_aes128_wrap(const uint8_t kek[16], struct bytes in, uint8_t *out);

/* --- AEAD, streaming: GCM (12-byte nonces) and OCB (15-byte nonces, 16-byte tag) --------- */
enum aead_kind { AEAD_AES128_GCM, AEAD_AES256_GCM, AEAD_AES128_OCB, AEAD_AES256_OCB };
struct aead;                                                             /* one key, one direction */
struct aead *aead_new(enum aead_kind kind, bool encrypt, const uint8_t *key);
/* Starts a message. nonce: 12 (GCM) or 15 (OCB) bytes. */
bool aead_start(struct aead *a, const uint8_t *nonce, struct bytes aad);
/* Transforms whole 16-byte blocks: in.n must be a multiple of 16. out takes in.n bytes and may be in.p.
 * Plaintext is not authentic until aead_last_decrypt has returned true. */
bool aead_update(struct aead *a, struct bytes in, uint8_t *out);
/* The last piece of a message, of any size (also 0), and its tag. False: the message is not authentic,
 * and what out holds must not be used. */
bool aead_last_encrypt(struct aead *a, struct bytes in, uint8_t *out, uint8_t ret_tag[AEAD_TAG_SIZE]);
bool aead_last_decrypt(struct aead *a, struct bytes in, uint8_t *out, const uint8_t tag[AEAD_TAG_SIZE]);
void aead_free(struct aead *a);                                          /* wipes; NULL is fine */

/* --- Curve25519 (RFC 7748, RFC 8032) ----------------------------------------------------- */
struct key25519;                                                         /* a private key */
struct key25519 *ed25519_generate(void);
struct key25519 *x25519_generate(void);
/* From a raw secret; for tests and tools. */
struct key25519 *ed25519_from_raw(const uint8_t secret[KEY25519_SIZE]);
struct key25519 *x25519_from_raw(const uint8_t secret[KEY25519_SIZE]);
bool key25519_public(const struct key25519 *k, uint8_t out[KEY25519_SIZE]);
void key25519_free(struct key25519 *k);                                  /* wipes; NULL is fine */
bool ed25519_sign(const struct key25519 *k, struct bytes message, uint8_t sig[ED25519_SIGNATURE_SIZE]);
bool ed25519_verify(const uint8_t pub[KEY25519_SIZE], struct bytes message, const uint8_t sig[ED25519_SIGNATURE_SIZE]);
/* False also for an all-zero result (a peer's point of small order). */
bool x25519_derive(const struct key25519 *k, const uint8_t peer[KEY25519_SIZE], uint8_t out[KEY25519_SIZE]);

/* --- ECDSA on P-384 with SHA-384: signatures are raw r || s -------------------------------- */
struct p384;                                                             /* a key pair or a public key */
struct p384 *p384_generate(void);
struct p384 *p384_from_point(struct bytes uncompressed);                 /* 04 || x || y, 97 bytes */
struct p384 *p384_from_pem(struct bytes pem);                            /* a private key */
/* Private key as PKCS#8 PEM, written to w. */
bool p384_to_pem(const struct p384 *k, struct writer *w);
bool p384_point(const struct p384 *k, uint8_t out[97]);
bool p384_sign(const struct p384 *k, struct bytes message, uint8_t sig[P384_SIGNATURE_SIZE]);
bool p384_verify(const struct p384 *k, struct bytes message, const uint8_t sig[P384_SIGNATURE_SIZE]);
void p384_free(struct p384 *k);

#endif
