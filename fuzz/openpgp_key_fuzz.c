/* Certificates. First byte even: the rest is armor; odd: a binary certificate that gets its armor here, so that
 * the checksum is no obstacle. */
#include "format/openpgp_armor.h"
#include "openpgp/key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t text[4096];
	struct pgp_recipient r;
	if (size < 1)
		return 0;
	struct bytes in = bytes_of(data + 1, size - 1);
	if (data[0] % 2 == 1) {
		struct writer w = writer_of(text, sizeof text);
		pgp_armor(&w, in);
		in = writer_bytes(&w);
	}
	pgp_recipient_parse(in, &r);
	return 0;
}
