/* SHA-256's compression function, in the ways there are. state: eight words, as in FIPS 180-4; p: count blocks of 64 bytes. */
#ifndef CRYPTO_SHA256_BLOCKS_H
#define CRYPTO_SHA256_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern const uint32_t sha256_round_constants[64];

/* In plain C, anywhere. */
void sha256_plain_blocks(uint32_t state[8], const uint8_t *p, size_t count);
/* With instructions that not every processor has: ask first. */
bool sha256_x86_usable(void);
void sha256_x86_blocks(uint32_t state[8], const uint8_t *p, size_t count);

#endif
