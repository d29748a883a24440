/* Frames and their maps: whatever parses must write and read back the same. First byte: which
 * parser; rest: its input. */
#include "format/frame.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t buf[FRAME_PAYLOAD_MAX + 4096], again[FRAME_PAYLOAD_MAX + 4096];

static void stream(struct bytes in)
{
	struct frame f;
	size_t used;
	while (frame_parse(in, &f, &used) == FRAME_OK) {
		if (used > in.n || f.payload.n != used - FRAME_HEADER_SIZE)
			abort();
		uint8_t header[FRAME_HEADER_SIZE];
		frame_header(f.kind, f.payload.n, header);
		if (memcmp(header, in.p, sizeof header) != 0)
			abort();
		in = bytes_of(in.p + used, in.n - used);
	}
}

#define ROUND_TRIP(parse, put, type)                                             \
	do {                                                                     \
		struct type first, second;                                       \
		if (!parse(in, &first))                                          \
			break;                                                   \
		struct writer w = writer_of(buf, sizeof buf);                    \
		put(&w, &first);                                                 \
		if (!parse(writer_bytes(&w), &second))                           \
			abort();                                                 \
		struct writer v = writer_of(again, sizeof again);                \
		put(&v, &second);                                                \
		if (!bytes_equal(writer_bytes(&w), writer_bytes(&v)))            \
			abort();                                                 \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	struct bytes in = bytes_of(data + 1, size - 1);
	switch (data[0] % 5) {
	case 0: stream(in); break;
	case 1: ROUND_TRIP(frame_request_parse, frame_request_put, frame_request); break;
	case 2: ROUND_TRIP(frame_reply_parse, frame_reply_put, frame_reply); break;
	case 3: ROUND_TRIP(frame_event_parse, frame_event_put, frame_event); break;
	case 4: ROUND_TRIP(frame_error_parse, frame_error_put, frame_error); break;
	}
	return 0;
}
