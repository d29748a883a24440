/* The words in a message's file name: what says something, what says nothing, what meant to and does not. */
#include "format/message_name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static void names_are_told_apart(void **state)
{
	static const struct { const char *name; enum message_name_result how; bool binary; uint32_t peak; } cases[] = {
		{ "", MESSAGE_NAME_OK, false, 0 },
		{ "input.msgpack", MESSAGE_NAME_OK, false, 0 },
		{ "peak-mib", MESSAGE_NAME_OK, false, 0 },
		{ "BB-SHA256=" HEX, MESSAGE_NAME_OK, false, 0 },
		{ " bb-sha256=" HEX, MESSAGE_NAME_OK, false, 0 },
		{ "bb-sha256=" HEX, MESSAGE_NAME_OK, true, 0 },
		{ "bb-sha256=" HEX " peak-mib=300", MESSAGE_NAME_OK, true, 300 },
		{ "peak-mib=1", MESSAGE_NAME_OK, false, 1 },
		{ "peak-mib=1048576", MESSAGE_NAME_OK, false, 1048576 },
		{ "bb-sha256=", MESSAGE_NAME_BAD_BINARY, false, 0 },
		{ "bb-sha256=" HEX "0", MESSAGE_NAME_BAD_BINARY, false, 0 },
		{ "bb-sha256=" HEX " ", MESSAGE_NAME_BAD_BINARY, false, 0 },
		{ "bb-sha256=" HEX "  peak-mib=3", MESSAGE_NAME_BAD_BINARY, false, 0 },
		{ "bb-sha256=" HEX "\npeak-mib=3", MESSAGE_NAME_BAD_BINARY, false, 0 },
		{ "bb-sha256=g" HEX, MESSAGE_NAME_BAD_BINARY, false, 0 },
		{ "peak-mib=", MESSAGE_NAME_BAD_PEAK, false, 0 },
		{ "peak-mib=0", MESSAGE_NAME_BAD_PEAK, false, 0 },
		{ "peak-mib=01", MESSAGE_NAME_BAD_PEAK, false, 0 },
		{ "peak-mib=-1", MESSAGE_NAME_BAD_PEAK, false, 0 },
		{ "peak-mib=1048577", MESSAGE_NAME_BAD_PEAK, false, 0 },
		{ "peak-mib=99999999999999999999", MESSAGE_NAME_BAD_PEAK, false, 0 },
		{ "peak-mib=300 bb-sha256=" HEX, MESSAGE_NAME_BAD_PEAK, false, 0 },
		{ "bb-sha256=" HEX " peak-mib=3 ", MESSAGE_NAME_BAD_PEAK, false, 0 },
		{ "bb-sha256=" HEX " peak-mib=3 peak-mib=3", MESSAGE_NAME_BAD_PEAK, false, 0 },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct message_name n = { .peak_mib = 77 };
		enum message_name_result how = message_name_parse(bytes_str(cases[i].name), &n);
		if (how != cases[i].how)
			fail_msg("\"%s\": %d, not %d", cases[i].name, how, cases[i].how);
		if (how != MESSAGE_NAME_OK) {
			assert_int_equal(n.peak_mib, 77);
			continue;
		}
		assert_int_equal(n.names_binary, cases[i].binary);
		assert_int_equal(n.peak_mib, cases[i].peak);
		assert_int_equal(n.bb_sha256[31], cases[i].binary ? 0x1f : 0);
	}
}

static void what_is_put_is_read(void **state)
{
	(void)state;
	for (unsigned binary = 0; binary < 2; binary++)
		for (uint32_t peak = 0; peak <= MESSAGE_PEAK_MIB_MAX; peak = peak * 7 + 1) {
			struct message_name in = { .names_binary = binary != 0, .peak_mib = peak }, out;
			memset(in.bb_sha256, binary ? 0xa7 : 0, sizeof in.bb_sha256);
			char text[MESSAGE_NAME_MAX];
			struct writer w = writer_of(text, sizeof text);
			message_name_put(&w, &in);
			assert_false(w.full);
			assert_int_equal(message_name_parse(writer_bytes(&w), &out), MESSAGE_NAME_OK);
			assert_int_equal(out.names_binary, in.names_binary);
			assert_int_equal(out.peak_mib, peak);
			assert_memory_equal(out.bb_sha256, in.bb_sha256, sizeof in.bb_sha256);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(names_are_told_apart), cmocka_unit_test(what_is_put_is_read) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
