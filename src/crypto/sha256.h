/* SHA-256 (FIPS 180-4) in a page of C, for the launcher: a root program that must not carry libcrypto, and
 * hashes only public files of the image. Everybody else uses crypto.h. About 250 MB/s, where the processor has
 * instructions for it five times that. */
#ifndef CRYPTO_SHA256_H
#define CRYPTO_SHA256_H

#include "base/bytes.h"

#include <stdbool.h>

struct sha256 { uint32_t state[8]; uint64_t bytes; uint8_t block[64]; bool x86; };

void sha256_init(struct sha256 *h);
void sha256_update(struct sha256 *h, struct bytes data);
void sha256_final(struct sha256 *h, uint8_t ret_digest[32]);

#endif
