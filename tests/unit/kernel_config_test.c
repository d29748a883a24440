/* The configuration inside a kernel: through every packing, wherever it lies, and every way it may not be there. */
#include "image/kernel_config.h"

#include "kernel_helpers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static const char text[] = "CONFIG_A=y\n# CONFIG_B is not set\n";
#define TEXT BYTES_LIT(text)

/* Packs vmlinux, builds the bzImage around it and looks. */
static enum kernel_code find_in(struct kh_file payload, char **ret, size_t *ret_n)
{
	struct kh_file f = kh_bzimage(kh_bytes(&payload));
	struct kernel_image k;
	assert_int_equal(kernel_parse(kh_bytes(&f), &k), KERNEL_OK);
	enum kernel_code code = kernel_config_find(&k, ret, ret_n);
	kh_free(&f);
	kh_free(&payload);
	return code;
}

static struct kh_file copy(struct bytes b)
{
	struct kh_file f = kh_alloc(b.n);
	kh_put(&f, 0, b);
	return f;
}

static struct kh_file (*const packers[])(struct bytes) = { copy, kh_gzip, kh_lz4, kh_zstd };
enum { PACKERS = sizeof packers / sizeof packers[0], MIB = 1 << 20 };

static void expect_text(struct kh_file payload)
{
	char *got = NULL;
	size_t n = 0;
	assert_int_equal(find_in(payload, &got, &n), KERNEL_OK);
	assert_int_equal(n, TEXT.n);
	assert_memory_equal(got, text, n);
	free(got);
}

static void expect_code(struct kh_file payload, enum kernel_code code)
{
	char *got = NULL;
	size_t n;
	assert_int_equal(find_in(payload, &got, &n), code);
	assert_null(got);
}

/* The marker on both sides of every border between pieces: 128 KiB of output, 8 MiB blocks of LZ4. */
static void found_in_every_packing(void **state)
{
	static const size_t before[] = { 0, 100, 128 * 1024 - 4 - 5, 128 * 1024 - 4 - 8, 128 * 1024 - 4 - 9, 3 * MIB,
	                                 8 * MIB - 4 - 4, 8 * MIB - 4 - 9, 9 * MIB };
	(void)state;
	for (size_t i = 0; i < sizeof before / sizeof before[0]; i++)
		for (size_t p = 0; p < PACKERS; p++) {
			struct kh_file vmlinux = kh_vmlinux(before[i], TEXT, 1000);
			expect_text(packers[p](kh_bytes(&vmlinux)));
			kh_free(&vmlinux);
		}
}

static void found_in_arm64(void **state)
{
	(void)state;
	struct kh_file vmlinux = kh_vmlinux(5000, TEXT, 100), f = kh_arm64(2 * MIB, kh_bytes(&vmlinux));
	struct kernel_image k;
	char *got;
	size_t n;
	assert_int_equal(kernel_parse(kh_bytes(&f), &k), KERNEL_OK);
	assert_int_equal(kernel_config_find(&k, &got, &n), KERNEL_OK);
	assert_int_equal(n, TEXT.n);
	free(got);
	kh_free(&f);
	kh_free(&vmlinux);
}

/* Half a marker, the marker as text in a program, a marker that starts inside another: looked past. */
static void decoys(void **state)
{
	(void)state;
	struct kh_file vmlinux = kh_vmlinux(1000, TEXT, 10);
	kh_put(&vmlinux, 100, BYTES_LIT("IKCFG_ED IKCFG_ST and IKCFG_IKCFG_ST\x1f\x8a"));
	kh_put(&vmlinux, 1000 - 2, BYTES_LIT("IKCFG_"));          /* runs into the real one */
	kh_put(&vmlinux, 1004, BYTES_LIT("IKCFG_ST"));
	for (size_t p = 0; p < PACKERS; p++)
		expect_text(packers[p](kh_bytes(&vmlinux)));
	kh_free(&vmlinux);
}

static void absent(void **state)
{
	(void)state;
	struct kh_file vmlinux = kh_vmlinux(1000, TEXT, 100);
	kh_put(&vmlinux, 1004, BYTES_LIT("ikcfg_st"));
	for (size_t p = 0; p < PACKERS; p++)
		expect_code(packers[p](kh_bytes(&vmlinux)), KERNEL_NO_CONFIG);
	kh_free(&vmlinux);
	expect_code(copy(BYTES_LIT("\xfd" "7zXZ\0 and more")), KERNEL_UNKNOWN_PACKING);
}

static void damaged_text(void **state)
{
	(void)state;
	/* cut inside the gzip stream */
	struct kh_file vmlinux = kh_vmlinux(1000, TEXT, 0);
	for (size_t p = 0; p < PACKERS; p++)
		expect_code(packers[p](bytes_of(vmlinux.p, 1004 + 8 + 20)), KERNEL_BAD_CONFIG);
	/* its checksum wrong */
	vmlinux.p[vmlinux.n - 8 - 8] ^= 1;
	for (size_t p = 0; p < PACKERS; p++)
		expect_code(packers[p](kh_bytes(&vmlinux)), KERNEL_BAD_CONFIG);
	kh_free(&vmlinux);

	/* a text that grows without end: one byte more than allowed */
	struct kh_file zeros = kh_alloc(KERNEL_CONFIG_MAX + 1);
	vmlinux = kh_vmlinux(10, kh_bytes(&zeros), 10);
	expect_code(copy(kh_bytes(&vmlinux)), KERNEL_BAD_CONFIG);
	kh_free(&vmlinux);
	kh_free(&zeros);
}

/* A payload cut anywhere before the configuration is complete: damaged, never a wrong text. */
static void damaged_payload(void **state)
{
	(void)state;
	struct kh_file vmlinux = kh_vmlinux(300 * 1024, TEXT, 300 * 1024);
	for (size_t p = 1; p < PACKERS; p++) {
		struct kh_file packed = packers[p](kh_bytes(&vmlinux));
		for (size_t n = 5; n < packed.n / 3; n += packed.n / 30)
			expect_code(copy(bytes_of(packed.p, n)), KERNEL_DAMAGED);
		kh_free(&packed);
	}
	kh_free(&vmlinux);
	/* an LZ4 block of an absurd size, and one that is no LZ4 */
	expect_code(copy(BYTES_LIT("\x02\x21\x4c\x18\xff\xff\xff\xff data")), KERNEL_DAMAGED);
	expect_code(copy(BYTES_LIT("\x02\x21\x4c\x18\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0")), KERNEL_DAMAGED);
	/* nothing packed, and its size right, missing or wrong */
	expect_code(copy(BYTES_LIT("\x02\x21\x4c\x18\0\0\0\0")), KERNEL_NO_CONFIG);
	expect_code(copy(BYTES_LIT("\x02\x21\x4c\x18")), KERNEL_DAMAGED);
	expect_code(copy(BYTES_LIT("\x02\x21\x4c\x18\1\0\0\0")), KERNEL_DAMAGED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_in_every_packing), cmocka_unit_test(found_in_arm64), cmocka_unit_test(decoys),
		cmocka_unit_test(absent), cmocka_unit_test(damaged_text), cmocka_unit_test(damaged_payload),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
