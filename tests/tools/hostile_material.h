/* What the hostile host has to work with: the enclave's key, honest messages to it whose right answers are
 * known, and prover binaries it may upload. It holds nothing that a real host would not.
 *
 * The enclave is expected to be set up for the test (tests/e2e/test_hostile_host.py): version "1.0" is the
 * evil prover and the default; the other names of hostile_versions[] are the small binary; no further name
 * can be loaded. */
#ifndef TESTS_HOSTILE_MATERIAL_H
#define TESTS_HOSTILE_MATERIAL_H

#include "base/fail.h"
#include "crypto/crypto.h"
#include "format/frame.h"
#include "openpgp/key.h"

enum { HOSTILE_PROVES = 9, HOSTILE_VERSIONS = 4, HOSTILE_UPLOAD_MAX = 256 << 20 };

extern const char *const hostile_versions[HOSTILE_VERSIONS];

struct hostile_prove {                   /* an honest message and what it is answered with */
	const char *act;                 /* first line of the plaintext: what the evil prover does */
	size_t padding;                  /* bytes after it */
	uint8_t chunk_octet, part_bits;  /* how it is encrypted */
	bool bound;                      /* names the evil prover's digest in the encrypted file name */
	enum outcome code;               /* how it ends */
	size_t proof;                    /* bytes of the proof file, when that is OUTCOME_OK */

	struct bytes ciphertext;         /* owned */
	uint8_t sha256[SHA256_SIZE];
};

struct hostile_material {
	struct pgp_recipient recipient;
	char key[FRAME_KEY_MAX + 1];     /* armored */
	struct hostile_prove prove[HOSTILE_PROVES];
	struct bytes evil, small;        /* owned: binaries that the enclave allows */
	uint8_t evil_sha256[SHA256_SIZE], small_sha256[SHA256_SIZE];
	uint64_t payload_max;            /* bytes, as the enclave is configured */
};

/* Reads the binaries and makes the messages to the key. -errno. */
int hostile_material_make(struct hostile_material *m, struct bytes armored_key, const char *evil_path,
                          const char *small_path, struct err *err);
void hostile_material_free(struct hostile_material *m);

#endif
