#include "attest/pcr.h"

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void assert_hex(const uint8_t pcr[PCR_SIZE], const char *want)
{
	char hex[2 * PCR_SIZE + 1];
	assert_string_equal(hex_encode(bytes_of(pcr, PCR_SIZE), hex), want);
}

/* Values by Python's hashlib. */
#define EMPTY_IMAGE "21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c10edb30948c90ba67310f7b964fc500a"

static void registers_of_texts(void **state)
{
	(void)state;
	uint8_t pcr[PCR_SIZE];
	assert_true(pcr_of_role(BYTES_LIT("arn:aws:iam::123456789012:role/nitro"), pcr));
	assert_hex(pcr, "10dfa48a6cea7280d69680f920bf214cff882d2da799601528fba230f1888892b5e19e82821ea72b172f9d528cfc24cc");
	assert_true(pcr_of_instance(BYTES_LIT("i-0123456789abcdef0"), pcr));
	assert_hex(pcr, "d6432900ac1c343cb40286898792c55e962aef0cc35c4910c0c286145b51af19e782cb21cc31a042671d7dfbd398251c");
	assert_true(pcr_of_certificate(BYTES_LIT("certificate"), pcr));
	assert_hex(pcr, "e2ad58e7a1a9fdb1dcd72ae5858372974416919245e567ea8f717937e8b914f644320b0f88dcfca2d7a83b5ee6c832dd");
}

static void extending_goes_on(void **state)
{
	(void)state;
	uint8_t pcr[PCR_SIZE] = { 0 };
	assert_true(pcr_extend(pcr, BYTES_LIT("a")));
	assert_true(pcr_extend(pcr, BYTES_NONE));
	assert_hex(pcr, "748f1265e8ac2c6bac2e6bc3055abebd5a456267bf4311dc1cc53c43dcad5718e07d0bf16e5358f5324e4fe342527d8b");
}

static void an_image(void **state)
{
	(void)state;
	struct pcr_meter m;
	uint8_t pcr[3][PCR_SIZE];
	assert_true(pcr_meter_open(&m));
	assert_true(pcr_meter_read(&m, pcr[0], pcr[1], pcr[2]));
	assert_hex(pcr[0], EMPTY_IMAGE);
	assert_hex(pcr[2], EMPTY_IMAGE);
	pcr_meter_feed(&m, PCR_BOOT, BYTES_LIT("ker"));
	pcr_meter_feed(&m, PCR_BOOT, BYTES_LIT("nel"));
	pcr_meter_feed(&m, PCR_BOOT, BYTES_LIT("cmdline"));
	pcr_meter_feed(&m, PCR_BOOT, BYTES_LIT("boot"));
	pcr_meter_feed(&m, PCR_APPLICATION, BYTES_NONE);
	pcr_meter_feed(&m, PCR_APPLICATION, BYTES_LIT("app1"));
	pcr_meter_feed(&m, PCR_APPLICATION, BYTES_LIT("app2"));
	for (int again = 0; again < 2; again++) {
		assert_true(pcr_meter_read(&m, pcr[0], pcr[1], pcr[2]));
		assert_hex(pcr[0], "4899abbc99388c61e0c94fc2ee49378d9bcd4f95efba9c5a7faae0daa1700d5ea5c07dfd00cfbdb6a9a543de14220d6f");
		assert_hex(pcr[1], "57550eb13fb31d195ad533ebbb9e2c6d19fa967be171fe457072caef63398106d6704e4cb9ee4a0d637264a92241bfd8");
		assert_hex(pcr[2], "4d75c1ad1f691c63f15aea20df0bebd07ee6ba234ace95b71ec63d6ec100475dfbb9f6327f5546737a848a58eed2e089");
	}
	pcr_meter_close(&m);
	pcr_meter_close(&m);
}

static void what_may_be_measured(void **state)
{
	(void)state;
	static const char *const roles[] = {
		"arn:aws:iam::123456789012:role/nitro", "arn:aws-cn:iam::000000000000:role/a", "arn:aws-us-gov:iam::123456789012:role/path/to/Name_+=,.@-",
	};
	static const char *const no_roles[] = {
		"", "arn", "nitro", "arn:aws:iam::123456789012:role/", "arn:aws:iam::12345678901:role/a", "arn:aws:iam::1234567890123:role/a",
		"arn:aws:iam::123456789012:instance-profile/a", "arn:aws:iam::123456789012:user/a", "arn:aws:iam:eu:123456789012:role/a",
		"arn:aws:sts::123456789012:assumed-role/a/b", "arn:aws:iam::123456789012:role/a b", "arn:aws:iam::123456789012:role/a\n",
		" arn:aws:iam::123456789012:role/a", "ARN:aws:iam::123456789012:role/a", "arn:aws:iam::123456789012:role/a/", "arn:gcp:iam::123456789012:role/a",
	};
	static const char *const no_instances[] = {
		"", "i-", "i-0123456", "i-012345678", "i-0123456789abcdef", "i-0123456789abcdef01", "I-01234567", "i-0123456g", "i-ABCDEF01",
		"i-01234567 ", "m-01234567", "01234567",
	};
	for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
		assert_true(pcr_role_valid(bytes_str(roles[i])));
	for (size_t i = 0; i < sizeof no_roles / sizeof *no_roles; i++)
		assert_false(pcr_role_valid(bytes_str(no_roles[i])));
	assert_true(pcr_instance_valid(BYTES_LIT("i-01234567")));
	assert_true(pcr_instance_valid(BYTES_LIT("i-0123456789abcdef0")));
	for (size_t i = 0; i < sizeof no_instances / sizeof *no_instances; i++)
		assert_false(pcr_instance_valid(bytes_str(no_instances[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers_of_texts),
		cmocka_unit_test(extending_goes_on),
		cmocka_unit_test(an_image),
		cmocka_unit_test(what_may_be_measured),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
