/* Slice-by-8: eight bytes a step, one table look-up each. Table k holds what a byte contributes when k more bytes
 * follow it. The tables are computed once, before main(), so that no caller needs to think of threads.
 *
 * Combining works on polynomials over GF(2) modulo the CRC's: appending n zero bytes to a multiplies its CRC by
 * x^(8n), and CRCs of strings of equal length add up; the inverted start and end values cancel. */
#include "format/crc32.h"

#include <endian.h>

enum { SLICES = 8 };
static const uint32_t polynomial = 0xedb88320;   /* bit 31 is x^0 */
static uint32_t table[SLICES][256];

__attribute__((constructor)) static void fill_tables(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;
		for (int bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ polynomial : c >> 1;
		table[0][i] = c;
	}
	for (int k = 1; k < SLICES; k++)
		for (uint32_t i = 0; i < 256; i++)
			table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 0xff];
}

static uint64_t load_le64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return le64toh(v);
}

uint32_t crc32_update(uint32_t crc, struct bytes in)
{
	uint32_t c = ~crc;
	const uint8_t *p = in.p;
	size_t n = in.n;
	for (; n >= 8; n -= 8, p += 8) {
		uint64_t v = load_le64(p) ^ c;
		c = table[7][v & 0xff] ^ table[6][v >> 8 & 0xff] ^ table[5][v >> 16 & 0xff] ^ table[4][v >> 24 & 0xff] ^
		    table[3][v >> 32 & 0xff] ^ table[2][v >> 40 & 0xff] ^ table[1][v >> 48 & 0xff] ^ table[0][v >> 56];
	}
	for (; n > 0; n--)
		c = c >> 8 ^ table[0][(c ^ *p++) & 0xff];
	return ~c;
}

/* a * b modulo the polynomial; the highest bit is x^0. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;
	for (; a != 0; a <<= 1) {
		if (a & 0x80000000)
			product ^= b;
		b = b & 1 ? b >> 1 ^ polynomial : b >> 1;
	}
	return product;
}

uint32_t crc32_combine(uint32_t crc_a, uint32_t crc_b, uint64_t size_b)
{
	uint32_t shift = 0x80000000;             /* x^0 */
	uint32_t square = 0x00800000;            /* x^8, one byte; then x^16, x^32 … */
	for (; size_b != 0; size_b >>= 1) {
		if (size_b & 1)
			shift = multiply(square, shift);
		square = multiply(square, square);
	}
	return multiply(shift, crc_a) ^ crc_b;
}
