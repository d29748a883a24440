/* Queues that a driver broke, one rule each; and those it did not. */
#include "fake_driver.h"
#include "sim/nsm_queue.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct fixture { struct fake_driver f; struct guest_memory m; struct virtq q; struct nsm_queue n; };

static int setup(void **state)
{
	static struct fixture x;
	memset(&x, 0, sizeof x);
	fake_open(&x.f);
	x.m = fake_memory(&x.f);
	assert_true(fake_start(&x.q, &x.m, 0));
	*state = &x;
	return 0;
}

static int teardown(void **state)
{
	fake_close(&((struct fixture *)*state)->f);
	return 0;
}

static void addresses(void **state)
{
	struct fixture *x = *state;
	struct guest_memory m = { .region = { { 0x1000, 0x1000, x->f.p }, { UINT64_MAX - 0xfff, 0xfff, x->f.p } }, .count = 2 };
	static const struct { uint64_t at, n; bool inside; } cases[] = {
		{ 0x1000, 0x1000, true }, { 0x1000, 0, true }, { 0x2000, 0, true }, { 0x1fff, 1, true },
		{ 0x1000, 0x1001, false }, { 0xfff, 1, false }, { 0x2000, 1, false }, { 0x1800, UINT64_MAX, false }, { 0x1800, UINT64_MAX - 0x17ff, false },
		{ UINT64_MAX - 0xfff, 0xfff, true }, { UINT64_MAX - 0xfff, 0x1000, false }, { UINT64_MAX, 1, false }, { 0, 0, false },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_int_equal(guest_memory_at(&m, cases[i].at, cases[i].n) != NULL, cases[i].inside);
}

static void rings_must_lie_in_memory(void **state)
{
	struct fixture *x = *state;
	const uint64_t d = FAKE_GUEST, a = FAKE_GUEST + 0x4000, u = FAKE_GUEST + 0x6000, end = FAKE_GUEST + FAKE_MEMORY;
	const struct { uint32_t size; uint64_t d, a, u; bool ok; } cases[] = {
		{ 64, d, a, u, true }, { 1, d, a, u, true }, { 1024, d, a, u, true },
		{ 0, d, a, u, false }, { 3, d, a, u, false }, { 2048, d, a, u, false }, { 65536, d, a, u, false },
		{ 64, d + 8, a, u, false }, { 64, d, a + 1, u, false }, { 64, d, a, u + 2, false },
		{ 64, end - 1008, a, u, false }, { 64, d, end - 130, u, false }, { 64, d, a, end - 512, false },
		{ 64, end - 1024, a, u, true }, { 64, d, end - 132, u, true }, { 64, d, a, end - 516, true },
		{ 64, 0, a, u, false }, { 64, d, UINT64_MAX - 1, u, false },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_int_equal(virtq_start(&x->q, &x->m, cases[i].size, cases[i].d, cases[i].a, cases[i].u, 0), cases[i].ok);
}

/* Writes a chain, then breaks it; peeking has to say which rule was broken. */
static void broken_chains(void **state)
{
	struct fixture *x = *state;
	enum breakage { OUTSIDE, TOO_LONG, WRAPPING, LOOP, INDEX, NEXT_INDEX, INDIRECT, ORDER, TOO_MANY };
	static const struct { enum breakage how; const char *rule; } cases[] = {
		{ OUTSIDE, "outside" }, { TOO_LONG, "outside" }, { WRAPPING, "outside" }, { LOOP, "without an end" },
		{ INDEX, "beyond the table" }, { NEXT_INDEX, "beyond the table" }, { INDIRECT, "not offered" }, { ORDER, "behind a writable" },
		{ TOO_MANY, "more available" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct virtq_chain c;
		fake_set_avail_idx(&x->f, 0, 0);
		assert_true(fake_start(&x->q, &x->m, 0));
		fake_desc(&x->f, 0, 0, FAKE_GUEST + FAKE_BUFFERS, 100, FAKE_NEXT, 1);
		fake_desc(&x->f, 0, 1, FAKE_GUEST + FAKE_BUFFERS + 100, 50, FAKE_WRITE, 0);
		fake_offer(&x->f, 0, 0);
		assert_true(virtq_peek(&x->q, &c));
		assert_int_equal(c.readable_bytes, 100);
		assert_int_equal(c.writable_bytes, 50);
		switch (cases[i].how) {
		case OUTSIDE: fake_desc(&x->f, 0, 1, FAKE_GUEST - 1, 50, FAKE_WRITE, 0); break;
		case TOO_LONG: fake_desc(&x->f, 0, 1, FAKE_GUEST + FAKE_BUFFERS, FAKE_MEMORY - FAKE_BUFFERS + 1, FAKE_WRITE, 0); break;
		case WRAPPING: fake_desc(&x->f, 0, 1, UINT64_MAX - 10, 50, FAKE_WRITE, 0); break;
		case LOOP: fake_desc(&x->f, 0, 1, FAKE_GUEST + FAKE_BUFFERS, 50, FAKE_NEXT, 0); break;
		case INDEX: fake_put16(&x->f, fake_avail_at(0) + 4, FAKE_SIZE); break;
		case NEXT_INDEX: fake_desc(&x->f, 0, 0, FAKE_GUEST + FAKE_BUFFERS, 100, FAKE_NEXT, FAKE_SIZE); break;
		case INDIRECT: fake_desc(&x->f, 0, 1, FAKE_GUEST + FAKE_BUFFERS, 48, 4, 0); break;
		case ORDER:
			fake_desc(&x->f, 0, 0, FAKE_GUEST + FAKE_BUFFERS, 100, FAKE_WRITE | FAKE_NEXT, 1);
			fake_desc(&x->f, 0, 1, FAKE_GUEST + FAKE_BUFFERS, 50, 0, 0);
			break;
		case TOO_MANY: fake_set_avail_idx(&x->f, 0, FAKE_SIZE + 1); break;
		}
		assert_false(virtq_peek(&x->q, &c));
		assert_non_null(x->q.broken);
		assert_non_null(strstr(x->q.broken, cases[i].rule));
		/* for good */
		fake_set_avail_idx(&x->f, 0, 1);
		assert_int_equal(virtq_waiting(&x->q), 0);
		uint16_t used = fake_get16(&x->f, fake_used_at(0) + 2);
		virtq_put(&x->q, 0, 0);
		assert_int_equal(fake_get16(&x->f, fake_used_at(0) + 2), used);
	}
}

static void indexes_wrap_around(void **state)
{
	struct fixture *x = *state;
	for (unsigned i = 0; i < 70000; i++) {
		struct virtq_chain c;
		uint32_t id, length;
		unsigned slot = i % FAKE_SIZE;
		uint8_t byte = (uint8_t)(i * 3), got;
		x->f.p[FAKE_BUFFERS + slot] = byte;
		fake_desc(&x->f, 0, slot, FAKE_GUEST + FAKE_BUFFERS + slot, 1, 0, 0);
		fake_offer(&x->f, 0, (uint16_t)slot);
		assert_int_equal(virtq_waiting(&x->q), 1);
		assert_true(virtq_peek(&x->q, &c));
		assert_int_equal(virtq_read(&c, 0, &got, 1), 1);
		assert_int_equal(got, byte);
		virtq_take(&x->q);
		virtq_put(&x->q, c.head, 7);
		assert_true(fake_used(&x->f, 0, &id, &length));
		assert_int_equal(id, slot);
		assert_int_equal(length, 7);
	}
}

static void pieces_are_one_stretch(void **state)
{
	struct fixture *x = *state;
	struct virtq_chain c;
	uint8_t buf[32];
	for (unsigned i = 0; i < 10; i++) {
		x->f.p[FAKE_BUFFERS + 16 * i] = (uint8_t)i;
		fake_desc(&x->f, 0, i, FAKE_GUEST + FAKE_BUFFERS + 16 * i, i == 4 ? 0 : 1, FAKE_NEXT, (uint16_t)(i + 1));
	}
	fake_desc(&x->f, 0, 10, FAKE_GUEST + FAKE_BUFFERS + 1000, 3, FAKE_WRITE | FAKE_NEXT, 11);
	fake_desc(&x->f, 0, 11, FAKE_GUEST + FAKE_BUFFERS + 2000, 3, FAKE_WRITE, 0);
	fake_offer(&x->f, 0, 0);
	assert_true(virtq_peek(&x->q, &c));
	assert_int_equal(virtq_read(&c, 2, buf, sizeof buf), 7);
	assert_memory_equal(buf, ((uint8_t[]){ 2, 3, 5, 6, 7, 8, 9 }), 7);
	assert_int_equal(virtq_read(&c, 9, buf, 1), 0);
	assert_int_equal(virtq_write(&c, 2, BYTES_LIT("abcdefgh")), 4);
	assert_memory_equal(x->f.p + FAKE_BUFFERS + 1002, "a", 1);
	assert_memory_equal(x->f.p + FAKE_BUFFERS + 2000, "bcd\0", 4);
}

static void interrupts_only_when_wanted(void **state)
{
	struct fixture *x = *state;
	assert_false(virtq_interrupt(&x->q));
	virtq_put(&x->q, 0, 0);
	assert_true(virtq_interrupt(&x->q));
	assert_false(virtq_interrupt(&x->q));
	fake_put16(&x->f, fake_avail_at(0), 1);
	virtq_put(&x->q, 0, 0);
	assert_false(virtq_interrupt(&x->q));
}

static void nsm_requests(void **state)
{
	struct fixture *x = *state;
	uint32_t id, length;
	assert_true(fake_start(&x->n.q, &x->m, 0));
	memcpy(x->f.p + FAKE_BUFFERS, "request", 7);
	fake_desc(&x->f, 0, 0, FAKE_GUEST + FAKE_BUFFERS, 7, 0, 0);
	fake_desc(&x->f, 0, 1, FAKE_GUEST + FAKE_BUFFERS + 0x1000, 5, FAKE_WRITE, 0);
	fake_offer(&x->f, 0, 0);
	assert_int_equal(nsm_queue_request(&x->n).n, 0);       /* the room for its answer is not there yet */
	assert_null(x->n.q.broken);
	fake_offer(&x->f, 0, 1);
	assert_true(bytes_equal(nsm_queue_request(&x->n), BYTES_LIT("request")));
	assert_true(nsm_queue_answer(&x->n, BYTES_LIT("response")));
	assert_memory_equal(x->f.p + FAKE_BUFFERS + 0x1000, "respo\0", 6);
	assert_true(fake_used(&x->f, 0, &id, &length) && id == 0 && length == 0);
	assert_true(fake_used(&x->f, 0, &id, &length) && id == 1 && length == 5);
	assert_false(nsm_queue_answer(&x->n, BYTES_LIT("nobody asked")));
	/* as long as it is, not longer than a request may be, and one more */
	fake_desc(&x->f, 0, 0, FAKE_GUEST + FAKE_BUFFERS, 0x3000, 0, 0);
	fake_offer(&x->f, 0, 0);
	fake_offer(&x->f, 0, 1);
	assert_int_equal(nsm_queue_request(&x->n).n, NSM_REQUEST_MAX + 1);
	assert_true(nsm_queue_answer(&x->n, BYTES_LIT("no")));
	/* the wrong way round */
	fake_offer(&x->f, 0, 1);
	fake_offer(&x->f, 0, 0);
	assert_int_equal(nsm_queue_request(&x->n).n, 0);
	assert_non_null(x->n.q.broken);
}

static void vhost_user_starts_and_stops(void **state)
{
	struct fixture *x = *state;
	struct vhost_user v = { .queues = 2 };
	struct err err;
	uint8_t buf[256];
	struct writer w = writer_of(buf, sizeof buf);
	vhost_user_init(&v);
	assert_int_equal(fake_negotiate(&x->f, &v, &err), 0);
	assert_true(v.ring[0].q.started && v.ring[1].q.started);
	struct virtq_chain c;
	fake_desc(&x->f, 1, 0, FAKE_GUEST + FAKE_BUFFERS, 4, 0, 0);
	fake_offer(&x->f, 1, 0);
	assert_true(virtq_peek(&v.ring[1].q, &c));
	virtq_take(&v.ring[1].q);
	virtq_put(&v.ring[1].q, c.head, 0);
	vhost_user_notify(&v, 1);
	uint64_t calls = 0;
	assert_int_equal(read(x->f.call[1], &calls, sizeof calls), sizeof calls);
	/* the base is where it was left, and it can go on from there */
	const struct fake_ring index = { 1, 0 };
	assert_int_equal(fake_message(&v, 11, &index, sizeof index, -1, &w, &err), 0);
	assert_int_equal(w.at, 20);
	assert_memory_equal(buf + 12, ((uint8_t[]){ 1, 0, 0, 0, 1, 0, 0, 0 }), 8);
	assert_false(v.ring[1].q.started);
	vhost_user_close(&v);
}

static void what_qemu_may_not_say(void **state)
{
	struct fixture *x = *state;
	int open_end = fake_memfd(FAKE_MEMORY, false), small = fake_memfd(4096, true), no_memfd = open("/dev/null", O_RDWR);
	const struct fake_table table = FAKE_TABLE, wraps = { 1, 0, UINT64_MAX - 10, FAKE_MEMORY, FAKE_USER, 0 },
		behind = { 1, 0, FAKE_GUEST, FAKE_MEMORY, FAKE_USER, 4096 }, unaligned = { 1, 0, FAKE_GUEST, 4096, FAKE_USER, 1 },
		two = { 2, 0, FAKE_GUEST, FAKE_MEMORY, FAKE_USER, 0 }, many = { 9, 0, FAKE_GUEST, FAKE_MEMORY, FAKE_USER, 0 },
		empty = { 1, 0, FAKE_GUEST, 0, FAKE_USER, 0 }, far = { 1, 0, FAKE_GUEST, FAKE_MEMORY, FAKE_USER, UINT64_MAX - 4095 };
	const struct fake_ring third = { 2, FAKE_SIZE }, odd = { 0, 3 }, large = { 0, 2048 }, base = { 0, 70000 }, twice = { 0, 2 };
	const struct fake_address nowhere = { 0, 0, 0, 0, 0, 0 };
	const uint64_t features = 1, ring = 7;
	const uint32_t config[3] = { 0, 300, 0 };
	const struct { uint32_t request; const void *p; size_t n; int fd; const char *said; } cases[] = {
		{ 0, NULL, 0, -1, "not offered" }, { 6, NULL, 0, -1, "not offered" }, { 99, NULL, 0, -1, "not offered" }, { UINT32_MAX, NULL, 0, -1, "not offered" },
		{ 1, &features, 8, -1, "length" }, { 2, &features, 8, -1, "features" }, { 2, &features, 7, -1, "length" }, { 16, &features, 8, -1, "features" },
		{ 5, &table, sizeof table, open_end, "cannot shrink" }, { 5, &table, sizeof table, small, "cannot shrink" },
		{ 5, &table, sizeof table, no_memfd, "cannot shrink" }, { 5, &table, sizeof table, -1, "descriptors" },
		{ 5, &two, sizeof two, x->f.memfd, "descriptors" }, { 5, &many, sizeof many, x->f.memfd, "descriptors" },
		{ 5, &table, 20, x->f.memfd, "cut off" }, { 5, &wraps, sizeof wraps, x->f.memfd, "wraps" }, { 5, &behind, sizeof behind, x->f.memfd, "cannot shrink" },
		{ 5, &unaligned, sizeof unaligned, x->f.memfd, "cannot shrink" }, { 5, &empty, sizeof empty, x->f.memfd, "cannot shrink" },
		{ 5, &far, sizeof far, x->f.memfd, "cannot shrink" },
		{ 8, &third, sizeof third, -1, "ring size" }, { 8, &odd, sizeof odd, -1, "ring size" }, { 8, &large, sizeof large, -1, "ring size" },
		{ 10, &base, sizeof base, -1, "ring base" }, { 11, &third, sizeof third, -1, "none" }, { 12, &ring, 8, -1, "none" }, { 13, &ring, 8, -1, "none" },
		{ 18, &third, sizeof third, -1, "no ring" }, { 18, &twice, sizeof twice, -1, "no ring" }, { 24, config, sizeof config, -1, "too much" },
		{ 9, &nowhere, 8, -1, "none" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct vhost_user v = { .queues = 2, .config = BYTES_LIT("configuration") };
		struct err err;
		uint8_t buf[1024];
		struct writer w = writer_of(buf, sizeof buf);
		vhost_user_init(&v);
		assert_int_equal(fake_message(&v, cases[i].request, cases[i].p, cases[i].n, cases[i].fd, &w, &err), -EPROTO);
		assert_non_null(strstr(err.text, cases[i].said));
		assert_int_equal(w.at, 0);
		vhost_user_close(&v);
	}
	/* everything right but the place of the ring */
	struct vhost_user v = { .queues = 2 };
	struct err err;
	uint8_t buf[1024];
	struct writer w = writer_of(buf, sizeof buf);
	vhost_user_init(&v);
	assert_int_equal(fake_negotiate(&x->f, &v, &err), 0);
	assert_int_equal(fake_message(&v, 9, &nowhere, sizeof nowhere, -1, &w, &err), -EPROTO);
	assert_non_null(strstr(err.text, "outside the memory table"));
	vhost_user_close(&v);
	close(open_end);
	close(small);
	close(no_memfd);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(addresses), T(rings_must_lie_in_memory), T(broken_chains), T(indexes_wrap_around), T(pieces_are_one_stretch),
		T(interrupts_only_when_wanted), T(nsm_requests), T(vhost_user_starts_and_stops), T(what_qemu_may_not_say),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
