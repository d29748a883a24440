/* Prover versions: what may enter, what a name points at, and what user_data says about it. */
#include "enclave/prover/versions.h"

#include "base/text.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <stdint.h>
#include <cmocka.h>

static struct config cfg;
static struct versions v;

static struct bytes digest_of(const char *text)
{
	static uint8_t out[4][SHA256_SIZE];
	static unsigned next;
	uint8_t *to = out[next++ % 4];
	assert_true(crypto_hash(HASH_SHA256, bytes_str(text), to));
	return bytes_of(to, SHA256_SIZE);
}

static void allow(const char *text)
{
	memcpy(cfg.allow[cfg.allow_count++], digest_of(text).p, SHA256_SIZE);
}

static int setup(void **state)
{
	(void)state;
	config_defaults(&cfg);
	cfg.versions_max = 2;
	cfg.upload_max_mib = 1;
	cfg.versions_total_mib = 1;
	versions_init(&v, &cfg);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	upload_abort(&v);
	for (size_t i = 0; i < FRAME_VERSIONS_MAX; i++)
		version_put(v.slot[i].binary);
	return 0;
}

static enum outcome upload(const char *name, const char *content)
{
	struct err why;
	enum outcome o = upload_begin(&v, bytes_str(name), digest_of(content), strlen(content), &why);
	if (o == OUTCOME_OK)
		o = upload_data(&v, bytes_str(content), &why);
	return o == OUTCOME_OK ? upload_commit(&v, &why) : o;
}

static void names_are_checked(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "../evil", ".", "..", "-x", "a/b", "a b", "a\nb", "\xc3\xa9" };
	allow("x");
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(upload(bad[i], "x"), OUTCOME_BAD_REQUEST);
	char longest[FRAME_VERSION_MAX + 2];
	memset(longest, 'a', sizeof longest);
	longest[FRAME_VERSION_MAX + 1] = '\0';
	assert_int_equal(upload(longest, "x"), OUTCOME_BAD_REQUEST);
	longest[FRAME_VERSION_MAX] = '\0';
	assert_int_equal(upload(longest, "x"), OUTCOME_OK);
}

static void only_allowed_digests_enter(void **state)
{
	(void)state;
	assert_int_equal(upload("5.0.0", "foreign"), OUTCOME_NOT_ALLOWED);
	allow("ours");
	assert_int_equal(upload("5.0.0", "ours"), OUTCOME_OK);
}

static void content_must_be_what_was_declared(void **state)
{
	(void)state;
	struct err why;
	allow("abcd");
	/* other bytes of the same size */
	assert_int_equal(upload_begin(&v, BYTES_LIT("n"), digest_of("abcd"), 4, &why), OUTCOME_OK);
	assert_int_equal(upload_data(&v, BYTES_LIT("abce"), &why), OUTCOME_OK);
	assert_int_equal(upload_commit(&v, &why), OUTCOME_DIGEST_MISMATCH);
	/* too few */
	assert_int_equal(upload_begin(&v, BYTES_LIT("n"), digest_of("abcd"), 4, &why), OUTCOME_OK);
	assert_int_equal(upload_data(&v, BYTES_LIT("abc"), &why), OUTCOME_OK);
	assert_int_equal(upload_commit(&v, &why), OUTCOME_DIGEST_MISMATCH);
	/* too many */
	assert_int_equal(upload_begin(&v, BYTES_LIT("n"), digest_of("abcd"), 4, &why), OUTCOME_OK);
	assert_int_equal(upload_data(&v, BYTES_LIT("abcde"), &why), OUTCOME_DIGEST_MISMATCH);
	assert_false(v.upload.active);
	/* and nothing of all that is left */
	assert_null(version_get(&v, BYTES_LIT("n"), &why));
	assert_int_equal(v.generation, 0);
}

static void quotas_hold(void **state)
{
	(void)state;
	struct err why;
	allow("1"); allow("2"); allow("3"); allow("big");
	assert_int_equal(upload_begin(&v, BYTES_LIT("n"), digest_of("big"), (1 << 20) + 1, &why), OUTCOME_TOO_LARGE);
	assert_int_equal(upload_begin(&v, BYTES_LIT("n"), digest_of("big"), 0, &why), OUTCOME_TOO_LARGE);
	assert_int_equal(upload("a", "1"), OUTCOME_OK);
	/* total: what is loaded and what comes together */
	assert_int_equal(upload_begin(&v, BYTES_LIT("n"), digest_of("big"), 1 << 20, &why), OUTCOME_NO_SPACE);
	assert_int_equal(upload("b", "2"), OUTCOME_OK);
	assert_int_equal(upload("c", "3"), OUTCOME_NO_SPACE);
	assert_int_equal(upload("b", "3"), OUTCOME_OK);          /* replacing needs no new place */
	/* one upload at a time */
	assert_int_equal(upload_begin(&v, BYTES_LIT("a"), digest_of("1"), 1, &why), OUTCOME_OK);
	assert_int_equal(upload("a", "1"), OUTCOME_BUSY);
}

static void replacing_leaves_the_old_binary_to_its_holder(void **state)
{
	(void)state;
	struct err why;
	char got[4];
	allow("old"); allow("new");
	assert_int_equal(upload("a", "old"), OUTCOME_OK);
	struct version_binary *held = version_get(&v, BYTES_LIT("a"), &why);
	assert_non_null(held);
	assert_int_equal(upload("a", "new"), OUTCOME_OK);
	assert_int_equal(pread(held->fd, got, sizeof got, 0), 3);
	assert_memory_equal(got, "old", 3);
	struct version_binary *now = version_get(&v, BYTES_LIT("a"), &why);
	assert_ptr_not_equal(now, held);
	int fd = held->fd;
	version_put(held);
	assert_int_equal(fcntl(fd, F_GETFD), -1);                /* gone with its last holder */
	version_put(now);
}

static void binaries_are_sealed(void **state)
{
	(void)state;
	struct err why;
	allow("x");
	assert_int_equal(upload("a", "x"), OUTCOME_OK);
	struct version_binary *b = version_get(&v, BYTES_NONE, &why);
	assert_non_null(b);
	assert_int_equal(write(b->fd, "y", 1), -1);
	assert_int_equal(ftruncate(b->fd, 0), -1);
	version_put(b);
}

static void the_default_is_never_a_guess(void **state)
{
	(void)state;
	struct err why;
	allow("1"); allow("2");
	assert_null(version_get(&v, BYTES_NONE, &why));
	assert_int_equal(upload("a", "1"), OUTCOME_OK);
	version_put(version_get(&v, BYTES_NONE, &why));          /* the only one */
	assert_int_equal(upload("b", "2"), OUTCOME_OK);
	assert_null(version_get(&v, BYTES_NONE, &why));
	assert_non_null(strstr(why.text, "none is the default"));
	strcpy(cfg.default_version, "b");
	struct version_binary *b = version_get(&v, BYTES_NONE, &why);
	assert_non_null(b);
	version_put(b);
	assert_null(version_get(&v, BYTES_LIT("c"), &why));
}

static void user_data_is_cut_with_a_digest(void **state)
{
	(void)state;
	uint8_t buf[2048];
	cfg.versions_max = 8;
	cfg.epoch = 7;
	for (char c = '0'; c < '8'; c++)
		allow((char[]){ c, 0 });
	for (char c = '0'; c < '8'; c++) {
		assert_int_equal(upload((char[]){ 'v', c, 0 }, (char[]){ c, 0 }), OUTCOME_OK);
		struct writer w = writer_of(buf, sizeof buf - 1);
		versions_user_data(&v, 512, &w);
		assert_false(w.full);
		assert_true(w.at <= 512);
		buf[w.at] = 0;
		/* "digest" exactly when the list is not whole */
		assert_int_equal(strstr((char *)buf, "\"digest\"") != NULL, strstr((char *)buf, (char[]){ 'v', c, 0 }) == NULL);
		assert_non_null(strstr((char *)buf, "\"epoch\":7}"));
		assert_non_null(strstr((char *)buf, "\"policy\":\""));
	}
	assert_non_null(strstr((char *)buf, "\"digest\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(names_are_checked, setup, teardown),
		cmocka_unit_test_setup_teardown(only_allowed_digests_enter, setup, teardown),
		cmocka_unit_test_setup_teardown(content_must_be_what_was_declared, setup, teardown),
		cmocka_unit_test_setup_teardown(quotas_hold, setup, teardown),
		cmocka_unit_test_setup_teardown(replacing_leaves_the_old_binary_to_its_holder, setup, teardown),
		cmocka_unit_test_setup_teardown(binaries_are_sealed, setup, teardown),
		cmocka_unit_test_setup_teardown(the_default_is_never_a_guess, setup, teardown),
		cmocka_unit_test_setup_teardown(user_data_is_cut_with_a_digest, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
