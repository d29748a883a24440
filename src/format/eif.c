/* The table is checked before anything it points to is read: ascending, back to back, inside the file. After
 * that every offset and size may be trusted. Images come from strangers: from other tools, and from whoever had a
 * hand on the file since. Comparisons are written as `n > left`, so no sum of theirs can wrap. */
#include "format/eif.h"

#include "format/crc32.h"

static const uint8_t magic[4] = { 0x2e, 0x65, 0x69, 0x66 };

/* --- header and table ----------------------------------------------------------------------- */

static enum eif_result check_table(const struct eif *e, uint64_t file_size)
{
	for (size_t i = 0; i < e->count; i++) {
		const struct eif_section *s = &e->section[i];
		if (s->offset < EIF_HEADER_SIZE)
			return EIF_SECTION_IN_HEADER;
		if (s->offset > file_size || EIF_SECTION_HEADER_SIZE > file_size - s->offset ||
		    s->size > file_size - s->offset - EIF_SECTION_HEADER_SIZE)
			return EIF_OUT_OF_RANGE;
	}
	for (size_t i = 1; i < e->count; i++)
		if (e->section[i].offset < e->section[i - 1].offset)
			return EIF_SECTIONS_UNSORTED;
	/* all inside the file, so these sums cannot wrap */
	uint64_t end = EIF_HEADER_SIZE;
	for (size_t i = 0; i < e->count; i++) {
		if (e->section[i].offset != end)
			return e->section[i].offset < end ? EIF_SECTIONS_OVERLAP : EIF_GAP;
		end = e->section[i].offset + EIF_SECTION_HEADER_SIZE + e->section[i].size;
	}
	return end == file_size ? EIF_OK : EIF_TRAILING_BYTES;
}

enum eif_result eif_parse_header(struct bytes header, uint64_t file_size, struct eif *ret)
{
	struct reader r = reader_of(header);
	struct eif e = { 0 };
	if (!bytes_equal(get_bytes(&r, sizeof magic), BYTES_ARRAY(magic)))
		return r.bad ? EIF_TRUNCATED : EIF_BAD_MAGIC;
	if (header.n < EIF_HEADER_SIZE || file_size < EIF_HEADER_SIZE)
		return EIF_TRUNCATED;
	uint16_t version = get_be16(&r);
	e.flags = get_be16(&r);
	e.default_mem = get_be64(&r);
	e.default_cpus = get_be64(&r);
	uint16_t reserved = get_be16(&r);
	e.count = get_be16(&r);
	uint64_t offset[EIF_SECTIONS_MAX], size[EIF_SECTIONS_MAX];
	for (size_t i = 0; i < EIF_SECTIONS_MAX; i++)
		offset[i] = get_be64(&r);
	for (size_t i = 0; i < EIF_SECTIONS_MAX; i++)
		size[i] = get_be64(&r);
	uint32_t unused = get_be32(&r);
	e.crc32 = get_be32(&r);

	if (version != EIF_VERSION)
		return EIF_BAD_VERSION;
	if ((e.flags & ~EIF_FLAG_ARM64) != 0)
		return EIF_BAD_FLAGS;
	if (reserved != 0 || unused != 0)
		return EIF_BAD_RESERVED;
	if (e.count == 0)
		return EIF_NO_SECTIONS;
	if (e.count > EIF_SECTIONS_MAX)
		return EIF_TOO_MANY_SECTIONS;
	for (size_t i = 0; i < EIF_SECTIONS_MAX; i++) {
		if (i >= e.count && (offset[i] != 0 || size[i] != 0))
			return EIF_BAD_SLOT;
		e.section[i].offset = offset[i];
		e.section[i].size = size[i];
	}
	enum eif_result result = check_table(&e, file_size);
	if (result == EIF_OK)
		*ret = e;
	return result;
}

enum eif_result eif_parse_section(struct bytes section_header, struct eif *e, size_t i)
{
	struct reader r = reader_of(section_header);
	uint16_t type = get_be16(&r), flags = get_be16(&r);
	uint64_t size = get_be64(&r);
	if (r.bad)
		return EIF_OUT_OF_RANGE;
	if (type < EIF_KERNEL || type > EIF_METADATA)
		return EIF_BAD_SECTION_TYPE;
	if (flags != 0)
		return EIF_BAD_SECTION_FLAGS;
	if (size != e->section[i].size)
		return EIF_SIZES_DISAGREE;
	e->section[i].type = (enum eif_section_type)type;
	return EIF_OK;
}

/* --- the set of sections ---------------------------------------------------------------------- */

static const struct {
	uint64_t size_max;
	enum eif_result too_large, two, none;    /* EIF_OK: no such limit */
} rules[] = {
	[EIF_KERNEL] = { UINT64_MAX, EIF_OK, EIF_TWO_KERNELS, EIF_NO_KERNEL },
	[EIF_CMDLINE] = { EIF_CMDLINE_MAX, EIF_CMDLINE_TOO_LARGE, EIF_TWO_CMDLINES, EIF_NO_CMDLINE },
	[EIF_RAMDISK] = { UINT64_MAX, EIF_OK, EIF_OK, EIF_NO_RAMDISK },
	[EIF_SIGNATURE] = { EIF_SIGNATURE_MAX, EIF_SIGNATURE_TOO_LARGE, EIF_TWO_SIGNATURES, EIF_OK },
	[EIF_METADATA] = { EIF_METADATA_MAX, EIF_METADATA_TOO_LARGE, EIF_TWO_METADATA, EIF_NO_METADATA },
};

enum eif_result eif_check_sections(const struct eif *e)
{
	size_t seen[EIF_METADATA + 1] = { 0 };
	enum eif_section_type measured = EIF_KERNEL;     /* the last measured one: their numbers are their order */
	bool wrong_order = false;
	for (size_t i = 0; i < e->count; i++) {
		const struct eif_section *s = &e->section[i];
		if (s->size == 0 && s->type != EIF_CMDLINE)
			return EIF_EMPTY_SECTION;
		if (s->size > rules[s->type].size_max)
			return rules[s->type].too_large;
		if (seen[s->type]++ > 0 && rules[s->type].two != EIF_OK)
			return rules[s->type].two;
		if (s->type <= EIF_RAMDISK) {
			wrong_order |= s->type < measured;
			measured = s->type;
		}
	}
	for (int type = EIF_KERNEL; type <= EIF_METADATA; type++)
		if (seen[type] == 0 && rules[type].none != EIF_OK)
			return rules[type].none;
	return wrong_order ? EIF_WRONG_ORDER : EIF_OK;
}

/* --- contents ------------------------------------------------------------------------------------ */

static bool holds(struct bytes in, size_t at, struct bytes what) { return bytes_equal(bytes_slice(in, at, what.n), what); }

static bool is_bzimage(struct bytes head)
{
	return holds(head, 0x1fe, BYTES_LIT("\x55\xaa")) && holds(head, 0x202, BYTES_LIT("HdrS"));
}

static bool is_arm64_image(struct bytes head) { return head.n >= 64 && holds(head, 56, BYTES_LIT("ARM\x64")); }

int eif_kernel_flags(struct bytes head)
{
	return is_bzimage(head) ? 0 : is_arm64_image(head) ? EIF_FLAG_ARM64 : -1;
}

enum eif_result eif_check_kernel(uint16_t flags, struct bytes head)
{
	if (!(flags & EIF_FLAG_ARM64))
		return is_bzimage(head) ? EIF_OK : EIF_KERNEL_NOT_BZIMAGE;
	if (!is_arm64_image(head))
		return EIF_KERNEL_NOT_IMAGE;
	/* text_offset, little-endian: the loader puts the kernel there whatever the header says */
	return holds(head, 8, BYTES_LIT("\0\0\x20\0\0\0\0\0")) ? EIF_OK : EIF_KERNEL_TEXT_OFFSET;
}

enum eif_result eif_check_cmdline(struct bytes c)
{
	/* some tools write the string with its zero; one in the middle would hide the rest from the kernel */
	if (c.n > 0 && c.p[c.n - 1] == 0)
		c.n--;
	return c.n > 0 && memchr(c.p, 0, c.n) != NULL ? EIF_BAD_CMDLINE : EIF_OK;
}

enum eif_result eif_parse(struct bytes file, struct eif *ret)
{
	struct eif e;
	enum eif_result r = eif_parse_header(file, file.n, &e);
	for (size_t i = 0; r == EIF_OK && i < e.count; i++)
		r = eif_parse_section(bytes_slice(file, (size_t)e.section[i].offset, EIF_SECTION_HEADER_SIZE), &e, i);
	if (r == EIF_OK)
		r = eif_check_sections(&e);
	for (size_t i = 0; r == EIF_OK && i < e.count; i++) {
		if (e.section[i].type == EIF_KERNEL)
			r = eif_check_kernel(e.flags, eif_payload(file, &e, i));
		else if (e.section[i].type == EIF_CMDLINE)
			r = eif_check_cmdline(eif_payload(file, &e, i));
	}
	if (r != EIF_OK)
		return r;
	uint32_t crc = crc32_update(0, bytes_slice(file, 0, EIF_CRC_AT));
	if (crc32_update(crc, bytes_slice(file, EIF_HEADER_SIZE, file.n - EIF_HEADER_SIZE)) != e.crc32)
		return EIF_BAD_CRC;
	*ret = e;
	return EIF_OK;
}

/* --- writing --------------------------------------------------------------------------------------- */

enum eif_result eif_lay_out(struct eif *e, uint64_t *ret_size)
{
	if (e->count > EIF_SECTIONS_MAX)
		return EIF_TOO_MANY_SECTIONS;
	enum eif_result r = e->count == 0 ? EIF_NO_SECTIONS : eif_check_sections(e);
	if (r != EIF_OK)
		return r;
	struct eif laid = *e;
	uint64_t at = EIF_HEADER_SIZE;
	for (size_t i = 0; i < laid.count; i++) {
		laid.section[i].offset = at;
		/* files end at the largest positive number of 64 bits, with its sign */
		if (laid.section[i].size > (uint64_t)INT64_MAX - EIF_SECTION_HEADER_SIZE - at)
			return EIF_OUT_OF_RANGE;
		at += EIF_SECTION_HEADER_SIZE + laid.section[i].size;
	}
	*e = laid;
	*ret_size = at;
	return EIF_OK;
}

void eif_put_header(const struct eif *e, uint8_t out[EIF_HEADER_SIZE])
{
	struct writer w = writer_of(out, EIF_HEADER_SIZE);
	put_bytes(&w, BYTES_ARRAY(magic));
	put_be16(&w, EIF_VERSION);
	put_be16(&w, e->flags);
	put_be64(&w, e->default_mem);
	put_be64(&w, e->default_cpus);
	put_be16(&w, 0);
	put_be16(&w, (uint16_t)e->count);
	for (size_t i = 0; i < EIF_SECTIONS_MAX; i++)
		put_be64(&w, i < e->count ? e->section[i].offset : 0);
	for (size_t i = 0; i < EIF_SECTIONS_MAX; i++)
		put_be64(&w, i < e->count ? e->section[i].size : 0);
	put_be32(&w, 0);
	put_be32(&w, e->crc32);
}

void eif_put_section(const struct eif_section *s, uint8_t out[EIF_SECTION_HEADER_SIZE])
{
	struct writer w = writer_of(out, EIF_SECTION_HEADER_SIZE);
	put_be16(&w, (uint16_t)s->type);
	put_be16(&w, 0);
	put_be64(&w, s->size);
}
