/* CRC-32 as IEEE 802.3, zlib and the EIF header use it: reflected polynomial edb88320, all ones in and out.
 *
 * A running value starts at 0 and is always a finished CRC, so it may be kept, compared or continued:
 *     crc = crc32_update(0, a);  crc = crc32_update(crc, b);       ->  the CRC of a || b */
#ifndef FORMAT_CRC32_H
#define FORMAT_CRC32_H

#include "base/bytes.h"

uint32_t crc32_update(uint32_t crc, struct bytes in);

/* The CRC of a || b from the CRCs of both and the size of b in bytes: for a header that is known only after
 * what follows it. Takes O(log size) time. */
uint32_t crc32_combine(uint32_t crc_a, uint32_t crc_b, uint64_t size_b);

#endif
