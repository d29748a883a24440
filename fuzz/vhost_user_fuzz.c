/* What QEMU says: any sequence of messages with any descriptors, over one device; its queues are walked after each, as a
 * device would.
 *
 *     message   request | flags | descriptors | payload length | payload */
#include "../tests/unit/fake_driver.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOTHING, SEALED, OPEN_END, EVENT, SMALL, KINDS };

static int files[KINDS];

static void make_files(void)
{
	if (files[SEALED] != 0)
		return;
	files[NOTHING] = -1;
	files[SEALED] = fake_memfd(FAKE_MEMORY, true);
	files[OPEN_END] = fake_memfd(FAKE_MEMORY, false);
	files[EVENT] = eventfd(0, EFD_NONBLOCK);
	files[SMALL] = fake_memfd(4096, true);
}

static void walk(struct vhost_user *v)
{
	static const uint8_t answer[300];
	for (unsigned i = 0; i < v->queues; i++) {
		struct virtq_chain c;
		uint8_t buf[300];
		for (int n = 0; n < 8 && virtq_peek(&v->ring[i].q, &c); n++) {
			virtq_read(&c, 0, buf, sizeof buf);
			virtq_take(&v->ring[i].q);
			virtq_put(&v->ring[i].q, c.head, (uint32_t)virtq_write(&c, 0, BYTES_ARRAY(answer)));
		}
		vhost_user_notify(v, i);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = reader_of(bytes_of(data, size));
	struct vhost_user v = { .queues = 2, .config = BYTES_LIT("configuration space") };
	struct err err;
	int ret = 0;
	make_files();
	vhost_user_init(&v);
	while (ret == 0 && reader_left(&r) >= 4) {
		uint8_t buf[VHOST_USER_HEADER_SIZE + VHOST_USER_PAYLOAD_MAX];
		struct writer reply = writer_of(buf, sizeof buf);
		int fds[VHOST_USER_REGIONS_MAX];
		uint32_t request = get_u8(&r), flags = get_u8(&r);
		uint8_t kinds = get_u8(&r), length = get_u8(&r);
		size_t count = kinds >> 4 & 3, left = reader_left(&r);
		int file = files[(kinds & 15) % KINDS];
		for (size_t i = 0; i < count; i++)
			fds[i] = file < 0 ? dup(files[EVENT]) : dup(file);
		ret = vhost_user_handle(&v, request, flags, get_bytes(&r, length < left ? length : left), fds, count, &reply, &err);
		if (reply.full || (ret != 0 && (ret > 0 || reply.at > 0)))
			abort();
		if (ret == 0)
			walk(&v);
	}
	vhost_user_close(&v);
	return 0;
}
