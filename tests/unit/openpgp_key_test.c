/* Certificates: what we publish, what we read, and what we refuse. */
#include "format/openpgp_armor.h"
#include "openpgp_fixture.h"

static enum pgp_error parse(struct bytes armored, struct pgp_recipient *r)
{
	CLEANUP(buffer_free) struct buffer exact = buffer_copy(armored);
	return pgp_recipient_parse(buffer_bytes(&exact), r);
}

static struct bytes export(const struct pgp_key *k, uint8_t text[PGP_ARMOR_MAX])
{
	struct writer w = writer_of(text, PGP_ARMOR_MAX);
	assert_error(pgp_key_export(k, &w), PGP_OK);
	return writer_bytes(&w);
}

static void assert_recipient(const struct pgp_recipient *r, const struct pgp_key *k)
{
	struct pgp_recipient want = recipient_of(k);
	assert_int_equal(r->created, want.created);
	assert_memory_equal(r->primary_public, want.primary_public, KEY25519_SIZE);
	assert_memory_equal(r->subkey_public, want.subkey_public, KEY25519_SIZE);
	assert_memory_equal(r->fingerprint, want.fingerprint, PGP_FINGERPRINT_SIZE);
	assert_memory_equal(r->subkey_fingerprint, want.subkey_fingerprint, PGP_FINGERPRINT_SIZE);
}

static void key_of_raw_secrets_has_known_values(void **state)
{
	(void)state;
	CLEANUP(pgp_key_free) struct pgp_key k;
	uint8_t want[32];
	load_test_key(&k);
	assert_memory_equal(k.primary_public, test_value("ed25519_public", want, 32).p, 32);
	assert_memory_equal(k.subkey_public, test_value("x25519_public", want, 32).p, 32);
	assert_memory_equal(k.fingerprint, test_value("fingerprint", want, 20).p, 20);
	assert_memory_equal(k.subkey_fingerprint, test_value("subkey_fingerprint", want, 20).p, 20);
}

/* attack/good.asc was made by another implementation from the same secrets; Ed25519 is deterministic. */
static void export_equals_the_independent_certificate(void **state)
{
	(void)state;
	CLEANUP(pgp_key_free) struct pgp_key k;
	CLEANUP(buffer_free) struct buffer want = read_file(VECTORS "attack/good.asc");
	uint8_t text[PGP_ARMOR_MAX];
	load_test_key(&k);
	struct bytes got = export(&k, text);
	assert_int_equal(got.n, want.n);
	assert_memory_equal(got.p, want.p, want.n);
}

static void reads_what_others_publish(void **state)
{
	(void)state;
	CLEANUP(pgp_key_free) struct pgp_key k;
	CLEANUP(buffer_free) struct buffer text = read_file(VECTORS "key.asc");
	struct pgp_recipient r;
	load_test_key(&k);
	assert_error(parse(buffer_bytes(&text), &r), PGP_OK);
	assert_recipient(&r, &k);
}

static void generated_keys_differ_and_are_back_dated(void **state)
{
	(void)state;
	CLEANUP(pgp_key_free) struct pgp_key a, b;
	uint8_t text[PGP_ARMOR_MAX];
	struct pgp_recipient r;
	assert_error(pgp_key_generate(&a, TEST_KEY_CREATED, PGP_BACKDATE_S), PGP_OK);
	assert_error(pgp_key_generate(&b, TEST_KEY_CREATED, PGP_BACKDATE_S), PGP_OK);
	assert_int_equal(a.created, TEST_KEY_CREATED - 7 * 24 * 3600);
	assert_memory_not_equal(a.primary_public, b.primary_public, KEY25519_SIZE);
	assert_memory_not_equal(a.subkey_public, b.subkey_public, KEY25519_SIZE);
	struct bytes armored = export(&a, text);
	assert_true(armored.n <= 600);
	assert_error(parse(armored, &r), PGP_OK);
	assert_recipient(&r, &a);
	pgp_key_free(&b);
	assert_error(pgp_key_generate(&b, 100, PGP_BACKDATE_S), PGP_OK);
	assert_int_equal(b.created, 0);                          /* a clock that is not set yet */
}

static void export_needs_its_room(void **state)
{
	(void)state;
	CLEANUP(pgp_key_free) struct pgp_key k;
	uint8_t text[PGP_ARMOR_MAX];
	load_test_key(&k);
	size_t need = export(&k, text).n;
	for (size_t cap = 0; cap <= need; cap++) {
		struct writer w = writer_of(text, cap);
		assert_error(pgp_key_export(&k, &w), cap < need ? PGP_NO_ROOM : PGP_OK);
	}
}

static void judges_attack_vectors(void **state)
{
	(void)state;
	char line[512], name[128], code[64], path[256];
	size_t refused = 0, accepted = 0;
	CLEANUP(close_file) FILE *list = fopen(VECTORS "attack/manifest.txt", "r");
	assert_non_null(list);
	while (fgets(line, sizeof line, list) != NULL) {
		assert_int_equal(sscanf(line, "%127s %63s", name, code), 2);
		if (strstr(name, ".asc") == NULL)
			continue;
		snprintf(path, sizeof path, VECTORS "attack/%s", name);
		CLEANUP(buffer_free) struct buffer text = read_file(path);
		struct pgp_recipient r, untouched;
		memset(&r, 0x5a, sizeof r);
		memset(&untouched, 0x5a, sizeof untouched);
		enum pgp_error e = parse(buffer_bytes(&text), &r);
		if (strcmp(pgp_error_name(e), code) != 0)
			fail_msg("%s: %s instead of %s", name, pgp_error_name(e), code);
		if (e == PGP_OK)
			accepted++;
		else {
			assert_memory_equal(&r, &untouched, sizeof r);
			refused++;
		}
	}
	assert_true(accepted >= 4);
	assert_true(refused >= 100);
}

static void every_truncation_is_refused(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer text = read_file(VECTORS "key.asc");
	struct pgp_recipient r;
	for (size_t n = 0; n + 1 < text.n; n++)                  /* the last line feed may be missing */
		assert_int_not_equal(parse(bytes_of(text.p, n), &r), PGP_OK);
	assert_error(parse(bytes_of(text.p, text.n - 1), &r), PGP_OK);
}

/* With the armor's checksum put right each time: nothing but the signatures stands against it. */
static void every_bit_flip_is_refused(void **state)
{
	(void)state;
	CLEANUP(buffer_free) struct buffer text = read_file(VECTORS "key.asc");
	uint8_t binary[PGP_CERTIFICATE_MAX], armored[PGP_ARMOR_MAX];
	size_t n;
	assert_error(pgp_dearmor(buffer_bytes(&text), binary, sizeof binary, &n), PGP_OK);
	for (size_t bit = 0; bit < 8 * n; bit++) {
		struct pgp_recipient r;
		struct writer w = writer_of(armored, sizeof armored);
		binary[bit / 8] ^= (uint8_t)(1u << bit % 8);
		pgp_armor(&w, bytes_of(binary, n));
		enum pgp_error e = parse(writer_bytes(&w), &r);
		if (e == PGP_OK || e == PGP_BAD_ARMOR || e == PGP_BAD_CRC)
			fail_msg("bit %zu of byte %zu: %s", bit % 8, bit / 8, pgp_error_name(e));
		binary[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(key_of_raw_secrets_has_known_values),
		cmocka_unit_test(export_equals_the_independent_certificate),
		cmocka_unit_test(reads_what_others_publish),
		cmocka_unit_test(generated_keys_differ_and_are_back_dated),
		cmocka_unit_test(export_needs_its_room),
		cmocka_unit_test(judges_attack_vectors),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(every_bit_flip_is_refused),
	};
	return cmocka_run_group_tests_name("openpgp_key", tests, NULL, NULL);
}
