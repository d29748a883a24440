/* Armor: what is accepted must come out the same after being armored again. */
#include "format/openpgp_armor.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t binary[512], text[1024], again[512];
	size_t n, m;
	if (pgp_dearmor(bytes_of(data, size), binary, sizeof binary, &n) != PGP_OK)
		return 0;
	struct writer w = writer_of(text, sizeof text);
	pgp_armor(&w, bytes_of(binary, n));
	if (pgp_dearmor(writer_bytes(&w), again, sizeof again, &m) != PGP_OK ||
	    !bytes_equal(bytes_of(binary, n), bytes_of(again, m)))
		abort();
	return 0;
}
