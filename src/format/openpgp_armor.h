/* ASCII armor of a public key (RFC 9580 section 6), with its CRC-24.
 *
 *     -----BEGIN PGP PUBLIC KEY BLOCK-----
 *     (empty line)
 *     base64, 64 characters a line
 *     =base64 of the CRC-24
 *     -----END PGP PUBLIC KEY BLOCK-----
 *
 * Reading is strict: no armor headers, lines of 1 to 76 characters ended by a line feed (the last one
 * may lack it), nothing before or after, and the checksum is required. A certificate travels inside
 * an attestation document, where nothing may have touched it. */
#ifndef FORMAT_OPENPGP_ARMOR_H
#define FORMAT_OPENPGP_ARMOR_H

#include "base/bytes.h"
#include "format/openpgp_error.h"

/* 24 bits over in (section 6.1.1). */
uint32_t pgp_crc24(struct bytes in);
/* Writes the armor of binary. */
void pgp_armor(struct writer *w, struct bytes binary);
/* PGP_BAD_ARMOR, PGP_BAD_CRC, or PGP_KEY_TOO_LARGE when more than cap bytes come out; then out holds
 * no more than garbage. */
enum pgp_error pgp_dearmor(struct bytes text, uint8_t *out, size_t cap, size_t *ret_n);

#endif
