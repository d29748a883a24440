/* Reads headers, no more: le() refuses every field that is not inside the file, so each function checks once per
 * structure that what it wants is there. Kernels and modules come from whoever builds an image; they are treated
 * as files a stranger made. */
#include "image/kernel.h"

#include <elf.h>

static const struct { const char *name, *text; } codes[] = {
#define KERNEL_CODE_ROW(id, name, text) [KERNEL_##id] = { name, text },
	KERNEL_CODES(KERNEL_CODE_ROW)
};

const char *kernel_code_name(enum kernel_code c) { return codes[c].name; }
const char *kernel_code_text(enum kernel_code c) { return codes[c].text; }
const char *kernel_arch_name(enum kernel_arch a) { return a == KERNEL_ARM64 ? "arm64" : "x86_64"; }

const char *kernel_packing_name(enum kernel_packing p)
{
	static const char *const names[] = { [KERNEL_PLAIN] = "plain", [KERNEL_GZIP] = "gzip", [KERNEL_LZ4] = "lz4",
	                                     [KERNEL_ZSTD] = "zstd", [KERNEL_OTHER_PACKING] = "other" };
	return names[p];
}

/* The little-endian integer of size bytes at at; 0 when it is not inside b. */
static uint64_t le(struct bytes b, size_t at, size_t size)
{
	struct bytes field = bytes_slice(b, at, size);
	uint64_t v = 0;
	for (size_t i = field.n; i-- > 0;)
		v = v << 8 | field.p[i];
	return v;
}

static bool starts_with(struct bytes b, const char *magic, size_t n)
{
	return b.n >= n && memcmp(b.p, magic, n) == 0;
}
#define STARTS(b, magic) starts_with(b, magic, sizeof(magic) - 1)

/* The first word of printable characters at the start of b. */
static struct bytes first_word(struct bytes b)
{
	size_t n = 0;
	while (n < b.n && b.p[n] > ' ' && b.p[n] < 0x7f)
		n++;
	return bytes_of(b.p, n);
}

static struct bytes after(struct bytes b, size_t at)
{
	return at <= b.n ? bytes_slice(b, at, b.n - at) : BYTES_NONE;
}

static enum kernel_packing packing_of(struct bytes payload)
{
	if (STARTS(payload, "\x1f\x8b"))
		return KERNEL_GZIP;
	if (STARTS(payload, "\x02\x21\x4c\x18"))
		return KERNEL_LZ4;                       /* the legacy frame: all that kernels use */
	if (STARTS(payload, "\x28\xb5\x2f\xfd"))
		return KERNEL_ZSTD;
	return STARTS(payload, "\x7f" "ELF") ? KERNEL_PLAIN : KERNEL_OTHER_PACKING;
}

/* --- x86-64 ------------------------------------------------------------------------------------- */

/*   0x1f1 setup_sects   0x1f4 syssize   0x202 "HdrS"   0x206 version   0x20e kernel_version
 *   0x236 xloadflags    0x248 payload_offset   0x24c payload_length   0x260 init_size
 *   [ boot sector | setup_sects sectors of real-mode code | protected-mode code … payload … ] */
enum { SECTOR = 512, SETUP_HEADER_END = 0x268, PROTOCOL_2_12 = 0x20c, XLF_KERNEL_64 = 1 };

static enum kernel_code parse_x86(struct bytes file, struct kernel_image *ret)
{
	if (file.n < SETUP_HEADER_END)
		return KERNEL_TRUNCATED;
	if (le(file, 0x206, 2) < PROTOCOL_2_12)
		return KERNEL_TOO_OLD;
	if (!(le(file, 0x236, 2) & XLF_KERNEL_64))
		return KERNEL_NOT_64_BIT;
	size_t sectors = (size_t)le(file, 0x1f1, 1), name_at = (size_t)le(file, 0x20e, 2);
	size_t setup_size = ((sectors == 0 ? 4 : sectors) + 1) * SECTOR;
	size_t offset = (size_t)le(file, 0x248, 4), length = (size_t)le(file, 0x24c, 4);
	struct bytes code = after(file, setup_size);
	if (code.n + 15 < le(file, 0x1f4, 4) * 16)       /* in paragraphs, rounded up */
		return KERNEL_TRUNCATED;
	struct bytes payload = bytes_slice(code, offset, length);
	if (payload.n == 0)
		return KERNEL_TRUNCATED;
	*ret = (struct kernel_image){ .arch = KERNEL_X86_64, .packing = packing_of(payload), .payload = payload,
	                              .start_size = le(file, 0x260, 4) };
	if (name_at != 0)
		ret->release = first_word(after(bytes_slice(file, 0, setup_size), name_at + 0x200));
	return KERNEL_OK;
}

/* --- arm64 -------------------------------------------------------------------------------------- */

/*   0 two instructions   8 text_offset   16 image_size   24 flags   56 "ARM\x64" */
enum { ARM64_HEADER_SIZE = 64, ARM64_FLAG_BIG_ENDIAN = 1 };

static enum kernel_code parse_arm64(struct bytes file, struct kernel_image *ret)
{
	static const char banner[] = "Linux version ";
	uint64_t text_offset = le(file, 8, 8);
	if (le(file, 24, 8) & ARM64_FLAG_BIG_ENDIAN)
		return KERNEL_BIG_ENDIAN;
	if (text_offset == 0)
		return KERNEL_BAD_TEXT_OFFSET;
	*ret = (struct kernel_image){ .arch = KERNEL_ARM64, .packing = KERNEL_PLAIN, .payload = file,
	                              .start_size = le(file, 16, 8), .text_offset = text_offset };
	const uint8_t *at = memmem(file.p, file.n, banner, sizeof banner - 1);
	if (at != NULL)
		ret->release = first_word(after(file, (size_t)(at - file.p) + sizeof banner - 1));
	return KERNEL_OK;
}

enum kernel_code kernel_parse(struct bytes file, struct kernel_image *ret)
{
	if (starts_with(after(file, 0x202), "HdrS", 4) && le(file, 0x1fe, 2) == 0xaa55)
		return parse_x86(file, ret);
	if (file.n >= ARM64_HEADER_SIZE && starts_with(after(file, 56), "ARM\x64", 4))
		return parse_arm64(file, ret);
	if (STARTS(file, "\x1f\x8b") || STARTS(file, "\x28\xb5\x2f\xfd") || STARTS(file, "\x02\x21\x4c\x18") ||
	    STARTS(file, "\xfd" "7zXZ") || starts_with(after(file, 4), "zimg", 4))
		return KERNEL_COMPRESSED_FILE;
	return KERNEL_NOT_A_KERNEL;
}

/* --- modules ------------------------------------------------------------------------------------ */

static struct bytes section(struct bytes file, uint64_t header_at)
{
	uint64_t at = le(file, (size_t)header_at + offsetof(Elf64_Shdr, sh_offset), 8);
	uint64_t n = le(file, (size_t)header_at + offsetof(Elf64_Shdr, sh_size), 8);
	return at <= file.n && n <= file.n ? bytes_slice(file, (size_t)at, (size_t)n) : BYTES_NONE;
}

/* The contents of .modinfo ("key=value\0key=value\0…"), or nothing. */
static struct bytes find_modinfo(struct bytes file)
{
	uint64_t table = le(file, offsetof(Elf64_Ehdr, e_shoff), 8);
	size_t size = (size_t)le(file, offsetof(Elf64_Ehdr, e_shentsize), 2);
	size_t count = (size_t)le(file, offsetof(Elf64_Ehdr, e_shnum), 2);
	size_t names_index = (size_t)le(file, offsetof(Elf64_Ehdr, e_shstrndx), 2);
	if (size != sizeof(Elf64_Shdr) || table > file.n || count > (file.n - table) / size || names_index >= count)
		return BYTES_NONE;
	struct bytes names = section(file, table + names_index * size);
	for (size_t i = 0; i < count; i++) {
		uint64_t header = table + i * size;
		struct bytes name = after(names, (size_t)le(file, (size_t)header + offsetof(Elf64_Shdr, sh_name), 4));
		if (starts_with(name, ".modinfo", sizeof ".modinfo"))
			return section(file, header);
	}
	return BYTES_NONE;
}

/* The value of key ("name="), up to its zero byte; empty when it is not there. */
static struct bytes modinfo_value(struct bytes info, const char *key)
{
	while (info.n > 0) {
		size_t n = strnlen((const char *)info.p, info.n), k = strlen(key);
		if (starts_with(bytes_of(info.p, n), key, k))
			return bytes_of(info.p + k, n - k);
		info = after(info, n < info.n ? n + 1 : n);
	}
	return BYTES_NONE;
}

enum kernel_code kernel_check_module(struct bytes file, const struct kernel_image *k)
{
	if (!STARTS(file, "\x7f" "ELF\x02\x01") || file.n < sizeof(Elf64_Ehdr) ||
	    le(file, offsetof(Elf64_Ehdr, e_type), 2) != ET_REL)
		return KERNEL_NOT_A_MODULE;
	if (le(file, offsetof(Elf64_Ehdr, e_machine), 2) != (k->arch == KERNEL_ARM64 ? EM_AARCH64 : EM_X86_64))
		return KERNEL_MODULE_MISMATCH;
	struct bytes info = find_modinfo(file);
	struct bytes name = modinfo_value(info, "name="), magic = modinfo_value(info, "vermagic=");
	if (magic.n == 0)
		return KERNEL_NOT_A_MODULE;
	if (!bytes_equal(name, BYTES_LIT("nsm")))
		return KERNEL_MODULE_NOT_NSM;
	if (k->release.n > 0 && !bytes_equal(first_word(magic), k->release))
		return KERNEL_MODULE_MISMATCH;
	return KERNEL_OK;
}
