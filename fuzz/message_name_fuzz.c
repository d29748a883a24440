/* The file name of a message: what is read must be written and read back the same. */
#include "format/message_name.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message_name first, second;
	char text[MESSAGE_NAME_MAX];
	struct writer w = writer_of(text, sizeof text);
	if (message_name_parse(bytes_of(data, size), &first) != MESSAGE_NAME_OK)
		return 0;
	message_name_put(&w, &first);
	if (w.full || message_name_parse(writer_bytes(&w), &second) != MESSAGE_NAME_OK ||
	    first.names_binary != second.names_binary || first.peak_mib != second.peak_mib ||
	    memcmp(first.bb_sha256, second.bb_sha256, sizeof first.bb_sha256) != 0)
		abort();
	return 0;
}
