/* An answer's file: what is read must be written and read back the same. */
#include "format/kept_answer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kept_answer a;
	if (!kept_answer_parse(bytes_of(data, size), &a))
		return 0;
	if (kept_answer_size(&a) != size || kept_answer_ids(&a) == 0 || kept_answer_id(&a, kept_answer_ids(&a) - 1).client >= data + size)
		abort();
	uint8_t *again = malloc(size);
	struct writer w = writer_of(again, size);
	kept_answer_put(&w, &a);
	if (!bytes_equal(writer_bytes(&w), bytes_of(data, size)))
		abort();
	free(again);
	return 0;
}
