/* The enclave's OpenPGP key and the certificate it publishes (RFC 9580, version 4):
 *
 *     primary key     Ed25519; its fingerprint is the certificate's. Also signs results.
 *     user id         TEE-Rex
 *     signature 0x13  asks for SEIPD v2 (feature 0x08), AES-256-GCM first
 *     subkey          X25519; its fingerprint is what a message names
 *     signature 0x18  binds the subkey for encryption (key flags 0x0c)
 *
 * About 310 bytes, 510 armored: an attestation document carries it in its public_key field. */
#ifndef OPENPGP_KEY_H
#define OPENPGP_KEY_H

#include "crypto/crypto.h"
#include "format/openpgp_packet.h"

enum {
	PGP_CERTIFICATE_MAX = 512,               /* bytes of a certificate, not armored */
	PGP_ARMOR_MAX = 1024,                    /* and armored */
	PGP_BACKDATE_S = 7 * 24 * 3600           /* see pgp_key_generate */
};
#define PGP_USER_ID "TEE-Rex"

struct pgp_key {                                 /* a secret key */
	struct key25519 *primary, *subkey;       /* owned */
	uint32_t created;                        /* seconds since 1970; of keys and signatures */
	uint8_t primary_public[KEY25519_SIZE], subkey_public[KEY25519_SIZE];
	uint8_t fingerprint[PGP_FINGERPRINT_SIZE], subkey_fingerprint[PGP_FINGERPRINT_SIZE];
};

/* A new key, said to be made backdate_s seconds before now_s (both in seconds; at most back to 1970):
 * clients refuse keys from their future, and clocks differ. PGP_CRYPTO. Release with pgp_key_free. */
enum pgp_error pgp_key_generate(struct pgp_key *ret, uint32_t now_s, uint32_t backdate_s);
/* From raw secrets; for tests and tools. */
enum pgp_error pgp_key_from_raw(struct pgp_key *ret, const uint8_t primary[KEY25519_SIZE],
                                const uint8_t subkey[KEY25519_SIZE], uint32_t created);
void pgp_key_free(struct pgp_key *k);            /* wipes; harmless on a zeroed one */

/* Writes the certificate, armored; the same bytes every time. PGP_CRYPTO, PGP_NO_ROOM (PGP_ARMOR_MAX
 * bytes are enough). */
enum pgp_error pgp_key_export(const struct pgp_key *k, struct writer *w);

struct pgp_recipient {                           /* a certificate, verified */
	uint32_t created;
	uint8_t primary_public[KEY25519_SIZE];   /* Ed25519: checks result signatures */
	uint8_t subkey_public[KEY25519_SIZE];    /* X25519: encrypts */
	uint8_t fingerprint[PGP_FINGERPRINT_SIZE], subkey_fingerprint[PGP_FINGERPRINT_SIZE];
};

/* Reads an armored certificate of exactly the layout above, whole and with nothing else in it, and
 * verifies both signatures. It says nothing about whose key this is: that is what the attestation
 * document around it is for. *ret is written on PGP_OK only. */
enum pgp_error pgp_recipient_parse(struct bytes armored, struct pgp_recipient *ret);

#endif
