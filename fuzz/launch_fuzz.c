/* Messages between prover and launcher: what parses is written again as the same bytes. */
#include "format/launch.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t buf[LAUNCH_MESSAGE_MAX];
	struct writer w = writer_of(buf, sizeof buf);
	struct launch_message m;

	if (!launch_parse(bytes_of(data, size), &m))
		return 0;
	launch_put(&w, &m);
	if (!bytes_equal(writer_bytes(&w), bytes_of(data, size)))
		abort();
	return 0;
}
