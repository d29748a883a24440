/* An answer's file: what is read must be written and read back the same. Each input is also tried with the checksum that it
 * should have, so that chance does not have to find one. */
#include "format/crc32.h"
#include "format/kept_answer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_it(const uint8_t *data, size_t size)
{
	struct kept_answer a;
	if (!kept_answer_parse(bytes_of(data, size), &a))
		return;
	if (kept_answer_size(&a) != size || kept_answer_ids(&a) == 0 || kept_answer_id(&a, kept_answer_ids(&a) - 1).client >= data + size)
		abort();
	uint8_t *again = malloc(size);
	struct writer w = writer_of(again, size);
	kept_answer_put(&w, &a);
	if (!bytes_equal(writer_bytes(&w), bytes_of(data, size)))
		abort();
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { CRC_SIZE = 4 };
	try_it(data, size);
	if (size < CRC_SIZE)
		return 0;
	uint8_t *right = malloc(size);
	struct writer w = writer_of(right, size);
	put_bytes(&w, bytes_of(data, size - CRC_SIZE));
	put_be32(&w, crc32_update(0, bytes_of(data, size - CRC_SIZE)));
	try_it(right, size);
	free(right);
	return 0;
}
