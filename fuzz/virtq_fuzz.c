/* What a guest's NSM driver may put into its queue: the input is the queue's memory, written anywhere in pieces, with
 * requests taken and answered in between. */
#include "../tests/unit/fake_driver.h"
#include "sim/nsm_queue.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t answer[NSM_RESPONSE_MAX];
	static uint8_t memory[0x10000] __attribute__((aligned(4096)));
	const struct guest_memory m = { .region = { { 0x1000, sizeof memory, memory } }, .count = 1 };
	struct reader r = reader_of(bytes_of(data, size));
	struct nsm_queue n = { 0 };
	memset(memory, 0, sizeof memory);
	/* small, so that a few bytes say much: descriptors at 0, available at 0x100, used at 0x180, buffers behind */
	if (!virtq_start(&n.q, &m, 8, 0x1000, 0x1100, 0x1180, 0))
		abort();
	while (reader_left(&r) >= 3) {
		size_t at = get_be16(&r), length = get_u8(&r) & 31, left = reader_left(&r);
		struct bytes piece = get_bytes(&r, length < left ? length : left);
		if (piece.n > sizeof memory - at)
			piece.n = sizeof memory - at;
		if (piece.n > 0)
			memcpy(memory + at, piece.p, piece.n);
		struct bytes q = nsm_queue_request(&n);
		if (q.n > sizeof n.request || (n.q.broken != NULL && q.n > 0))
			abort();
		if (q.n > 0)
			nsm_queue_answer(&n, bytes_of(answer, q.p[0] * 48u));
	}
	return 0;
}
