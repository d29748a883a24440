/* Headers of kernels and modules: what is read, and every refusal with its own code. */
#include "image/kernel.h"

#include "kernel_helpers.h"

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void assert_bytes(struct bytes got, const char *want)
{
	assert_int_equal(got.n, strlen(want));
	assert_memory_equal(got.p, want, got.n);
}

static void bzimage(void **state)
{
	static const struct { struct bytes payload; enum kernel_packing packing; } cases[] = {
		{ BYTES_LIT("\x1f\x8b\x08 and more"), KERNEL_GZIP },
		{ BYTES_LIT("\x02\x21\x4c\x18 and more"), KERNEL_LZ4 },
		{ BYTES_LIT("\x28\xb5\x2f\xfd and more"), KERNEL_ZSTD },
		{ BYTES_LIT("\x7f" "ELF and more"), KERNEL_PLAIN },
		{ BYTES_LIT("\xfd" "7zXZ and more"), KERNEL_OTHER_PACKING },
		{ BYTES_LIT("\x02"), KERNEL_OTHER_PACKING },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct kh_file f = kh_bzimage(cases[i].payload);
		struct kernel_image k;
		assert_int_equal(kernel_parse(kh_bytes(&f), &k), KERNEL_OK);
		assert_int_equal(k.arch, KERNEL_X86_64);
		assert_int_equal(k.packing, cases[i].packing);
		assert_true(bytes_equal(k.payload, cases[i].payload));
		assert_bytes(k.release, "6.12.1-test");
		assert_int_equal(k.start_size, 0x2000000);
		kh_free(&f);
	}
}

static void bzimage_refused(void **state)
{
	static const struct { size_t at, size; uint64_t v; enum kernel_code code; const char *why; } cases[] = {
		{ 0x202, 1, 'h', KERNEL_NOT_A_KERNEL, "no HdrS" },
		{ 0x1fe, 2, 0, KERNEL_NOT_A_KERNEL, "no boot flag" },
		{ 0x206, 2, 0x20b, KERNEL_TOO_OLD, "protocol 2.11" },
		{ 0x236, 2, 0xfffe, KERNEL_NOT_64_BIT, "no 64-bit entry" },
		{ 0x1f4, 4, 0xffffffff, KERNEL_TRUNCATED, "more code than file" },
		{ 0x1f1, 1, 0xff, KERNEL_TRUNCATED, "more setup than file" },
		{ 0x248, 4, 0xffffffff, KERNEL_TRUNCATED, "payload far outside" },
		{ 0x24c, 4, 0xffffffff, KERNEL_TRUNCATED, "payload longer than the file" },
		{ 0x24c, 4, 0, KERNEL_TRUNCATED, "no payload" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct kh_file f = kh_bzimage(BYTES_LIT("\x1f\x8b\x08 and more"));
		struct kernel_image k;
		kh_le(&f, cases[i].at, cases[i].size, cases[i].v);
		if (kernel_parse(kh_bytes(&f), &k) != cases[i].code)
			fail_msg("%s: %s", cases[i].why, kernel_code_name(kernel_parse(kh_bytes(&f), &k)));
		kh_free(&f);
	}
}

/* Every shorter file is refused, or is whole but for the padding behind the payload. */
static void bzimage_cut(void **state)
{
	(void)state;
	struct bytes payload = BYTES_LIT("\x1f\x8b\x08 and more");
	struct kh_file f = kh_bzimage(payload);
	size_t whole = KH_SETUP_SIZE + KH_PAYLOAD_AT + payload.n;
	for (size_t n = 0; n < f.n; n++) {
		struct kh_file cut = kh_alloc(n);
		struct kernel_image k;
		kh_put(&cut, 0, bytes_of(f.p, n));
		enum kernel_code code = kernel_parse(kh_bytes(&cut), &k);
		if (n < 0x206)
			assert_int_equal(code, KERNEL_NOT_A_KERNEL);
		else
			assert_int_equal(code, n < whole ? KERNEL_TRUNCATED : KERNEL_OK);
		kh_free(&cut);
	}
	kh_free(&f);
}

/* Old kernels write 0 for the 4 sectors that were always there; a version string outside the setup is none. */
static void bzimage_oddities(void **state)
{
	(void)state;
	struct kernel_image k;
	struct kh_file f = kh_bzimage(BYTES_LIT("\x1f\x8b\x08 and more"));
	kh_le(&f, 0x20e, 2, 0xffff);
	assert_int_equal(kernel_parse(kh_bytes(&f), &k), KERNEL_OK);
	assert_int_equal(k.release.n, 0);
	kh_free(&f);

	f = kh_alloc(5 * 512 + 64);
	struct kh_file model = kh_bzimage(BYTES_LIT("\x1f\x8b"));
	kh_put(&f, 0, bytes_of(model.p, 0x400));
	kh_le(&f, 0x1f1, 1, 0);
	kh_le(&f, 0x1f4, 4, 4);
	kh_le(&f, 0x248, 4, 0);
	kh_le(&f, 0x24c, 4, 64);
	assert_int_equal(kernel_parse(kh_bytes(&f), &k), KERNEL_OK);
	assert_ptr_equal(k.payload.p, f.p + 5 * 512);
	kh_free(&f);
	kh_free(&model);
}

static void arm64(void **state)
{
	(void)state;
	struct kernel_image k;
	struct kh_file f = kh_arm64(2 << 20, BYTES_LIT("text"));
	assert_int_equal(kernel_parse(kh_bytes(&f), &k), KERNEL_OK);
	assert_int_equal(k.arch, KERNEL_ARM64);
	assert_int_equal(k.packing, KERNEL_PLAIN);
	assert_int_equal(k.text_offset, 2 << 20);
	assert_int_equal(k.start_size, 0x1000000);
	assert_bytes(k.release, "6.12.1-arm");
	kh_le(&f, 8, 8, 0);
	assert_int_equal(kernel_parse(kh_bytes(&f), &k), KERNEL_BAD_TEXT_OFFSET);
	kh_le(&f, 24, 8, 1);
	assert_int_equal(kernel_parse(kh_bytes(&f), &k), KERNEL_BIG_ENDIAN);
	kh_free(&f);
}

static void neither(void **state)
{
	static const struct { struct bytes file; enum kernel_code code; } cases[] = {
		{ BYTES_LIT(""), KERNEL_NOT_A_KERNEL },
		{ BYTES_LIT("MZ"), KERNEL_NOT_A_KERNEL },
		{ BYTES_LIT("\x7f" "ELF\x02\x01\x01"), KERNEL_NOT_A_KERNEL },
		{ BYTES_LIT("\x1f\x8b\x08"), KERNEL_COMPRESSED_FILE },
		{ BYTES_LIT("\x28\xb5\x2f\xfd"), KERNEL_COMPRESSED_FILE },
		{ BYTES_LIT("\xfd" "7zXZ"), KERNEL_COMPRESSED_FILE },
		{ BYTES_LIT("MZ\0\0zimg"), KERNEL_COMPRESSED_FILE },
	};
	struct kernel_image k;
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_int_equal(kernel_parse(cases[i].file, &k), cases[i].code);
}

/* --- modules ------------------------------------------------------------------------------------ */

/* An ELF with the sections "", .shstrtab and .modinfo. */
static struct kh_file module(uint16_t machine, struct bytes info)
{
	static const char names[] = "\0.shstrtab\0.modinfo";
	struct kh_file f = kh_alloc(sizeof(Elf64_Ehdr) + sizeof names + info.n + 3 * sizeof(Elf64_Shdr));
	size_t names_at = sizeof(Elf64_Ehdr), info_at = names_at + sizeof names, table = info_at + info.n;
	Elf64_Ehdr e = { .e_ident = "\x7f" "ELF\x02\x01\x01", .e_type = ET_REL, .e_machine = machine, .e_shoff = table,
	                 .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = 3, .e_shstrndx = 1 };
	Elf64_Shdr s[3] = { { 0 }, { .sh_name = 1, .sh_offset = names_at, .sh_size = sizeof names },
	                    { .sh_name = 11, .sh_offset = info_at, .sh_size = info.n } };
	kh_put(&f, 0, bytes_of(&e, sizeof e));
	kh_put(&f, names_at, BYTES_LIT(names));
	kh_put(&f, info_at, info);
	kh_put(&f, table, bytes_of(s, sizeof s));
	return f;
}

static void modules(void **state)
{
	static const struct kernel_image k = { .arch = KERNEL_X86_64, .release = BYTES_LIT("6.12.1-test") };
	static const struct { uint16_t machine; struct bytes info; enum kernel_code code; } cases[] = {
		{ EM_X86_64, BYTES_LIT("license=GPL\0name=nsm\0vermagic=6.12.1-test SMP mod_unload \0"), KERNEL_OK },
		{ EM_X86_64, BYTES_LIT("name=nsm\0vermagic=6.12.1-test"), KERNEL_OK },
		{ EM_X86_64, BYTES_LIT("name=nsm\0vermagic=6.12.1-test2 SMP\0"), KERNEL_MODULE_MISMATCH },
		{ EM_X86_64, BYTES_LIT("name=nsm\0vermagic=6.12.1 SMP\0"), KERNEL_MODULE_MISMATCH },
		{ EM_AARCH64, BYTES_LIT("name=nsm\0vermagic=6.12.1-test SMP\0"), KERNEL_MODULE_MISMATCH },
		{ EM_X86_64, BYTES_LIT("name=zram\0vermagic=6.12.1-test SMP\0"), KERNEL_MODULE_NOT_NSM },
		{ EM_X86_64, BYTES_LIT("vermagic=6.12.1-test SMP\0"), KERNEL_MODULE_NOT_NSM },
		{ EM_X86_64, BYTES_LIT("name=nsm\0"), KERNEL_NOT_A_MODULE },
		{ EM_X86_64, BYTES_LIT("xname=nsm\0xvermagic=6.12.1-test\0"), KERNEL_NOT_A_MODULE },
		{ EM_X86_64, BYTES_LIT(""), KERNEL_NOT_A_MODULE },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct kh_file f = module(cases[i].machine, cases[i].info);
		assert_int_equal(kernel_check_module(kh_bytes(&f), &k), cases[i].code);
		kh_free(&f);
	}
}

/* A kernel that does not tell its release takes the module's word. */
static void module_of_unknown_kernel(void **state)
{
	(void)state;
	struct kernel_image k = { .arch = KERNEL_X86_64 };
	struct kh_file f = module(EM_X86_64, BYTES_LIT("name=nsm\0vermagic=4.14.0 SMP\0"));
	assert_int_equal(kernel_check_module(kh_bytes(&f), &k), KERNEL_OK);
	kh_free(&f);
}

/* Cut anywhere, or with any header field at its largest: an answer, and nothing read outside (ASan watches). */
static void module_damaged(void **state)
{
	(void)state;
	struct kernel_image k = { .arch = KERNEL_X86_64, .release = BYTES_LIT("6.12.1-test") };
	struct kh_file f = module(EM_X86_64, BYTES_LIT("name=nsm\0vermagic=6.12.1-test SMP\0"));
	for (size_t n = 0; n < f.n; n++) {
		struct kh_file cut = kh_alloc(n);
		kh_put(&cut, 0, bytes_of(f.p, n));
		assert_int_equal(kernel_check_module(kh_bytes(&cut), &k), KERNEL_NOT_A_MODULE);
		kh_free(&cut);
	}
	for (size_t at = 16; at + 8 <= f.n; at++) {
		struct kh_file bent = kh_alloc(f.n);
		kh_put(&bent, 0, kh_bytes(&f));
		memset(bent.p + at, 0xff, 8);
		(void)kernel_check_module(kh_bytes(&bent), &k);
		kh_free(&bent);
	}
	kh_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bzimage), cmocka_unit_test(bzimage_refused), cmocka_unit_test(bzimage_cut),
		cmocka_unit_test(bzimage_oddities), cmocka_unit_test(arm64), cmocka_unit_test(neither), cmocka_unit_test(modules),
		cmocka_unit_test(module_of_unknown_kernel), cmocka_unit_test(module_damaged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
