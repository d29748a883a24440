/* One block in, one struct out. Numbers are octal text or big-endian base-256 (first bit set); both are
 * checked for range here, so that readers never see a negative or wrapped size. The checksum is the sum
 * of the bytes with its own field taken as spaces; old writers summed signed bytes. */
#include "format/tar.h"

#include "base/text.h"

static const struct { const char *name, *text; } results[] = {
	[TAR_OK] = { "ok", "fine" },
	[TAR_BAD_CHECKSUM] = { "bad-checksum", "a header's checksum is wrong: this is no tar archive, or a damaged one" },
	[TAR_BAD_NUMBER] = { "bad-number", "a number in a header is malformed, negative or too large" },
	[TAR_SPARSE_FILE] = { "sparse-file", "it holds a sparse file map, which layers do not have; pack it without --sparse" },
	[TAR_UNKNOWN_KIND] = { "unknown-kind", "an entry is of an unknown kind" },
	[TAR_BAD_PAX] = { "bad-pax", "an extended header's record is malformed" },
};

const char *tar_result_name(enum tar_result r) { return results[r].name; }
const char *tar_result_text(enum tar_result r) { return results[r].text; }

enum { AT_NAME = 0, AT_MODE = 100, AT_UID = 108, AT_GID = 116, AT_SIZE = 124, AT_MTIME = 136, AT_CHECKSUM = 148,
       AT_TYPE = 156, AT_LINK = 157, AT_MAGIC = 257, AT_PREFIX = 345, PREFIX_SIZE = 155 };

static struct bytes field_text(const uint8_t *block, size_t at, size_t size)
{
	return bytes_of(block + at, strnlen((const char *)block + at, size));
}

/* Octal digits between optional spaces, ended by a zero or the field. Empty is 0. */
static bool octal(struct bytes f, uint64_t *ret)
{
	uint64_t v = 0;
	size_t i = 0;
	f.n = strnlen((const char *)f.p, f.n);
	while (i < f.n && f.p[i] == ' ')
		i++;
	for (; i < f.n && f.p[i] >= '0' && f.p[i] <= '7'; i++) {
		if (v >> 60 != 0)
			return false;
		v = v << 3 | (uint64_t)(f.p[i] - '0');
	}
	for (; i < f.n; i++)
		if (f.p[i] != ' ')
			return false;
	*ret = v;
	return true;
}

/* Two's complement, big-endian, the first bit a marker and the second the sign. */
static bool base256(struct bytes f, int64_t *ret)
{
	bool negative = (f.p[0] & 0x40) != 0;
	uint8_t fill = negative ? 0xff : 0x00;
	uint64_t v = negative ? UINT64_MAX : 0;
	for (size_t i = 0; i < f.n; i++) {
		uint8_t c = i > 0 || negative ? f.p[i] : f.p[i] & 0x7f;
		if (f.n - i > 8 && c != fill)
			return false;
		v = v << 8 | c;
	}
	*ret = (int64_t)v;
	return (*ret < 0) == negative;
}

static bool number(const uint8_t *block, size_t at, size_t size, int64_t min, uint64_t max, int64_t *ret)
{
	struct bytes f = bytes_of(block + at, size);
	uint64_t v = 0;
	if (f.p[0] & 0x80) {
		if (!base256(f, ret))
			return false;
	} else {
		if (!octal(f, &v) || v > INT64_MAX)
			return false;
		*ret = (int64_t)v;
	}
	return *ret >= min && (*ret < 0 || (uint64_t)*ret <= max);
}

static bool checksum_right(const uint8_t *block)
{
	uint64_t want = 0;
	uint32_t plain = 0;
	int32_t with_sign = 0;
	for (size_t i = 0; i < TAR_BLOCK_SIZE; i++) {
		uint8_t c = i >= AT_CHECKSUM && i < AT_CHECKSUM + 8 ? ' ' : block[i];
		plain += c;
		with_sign += (int8_t)c;
	}
	return octal(bytes_of(block + AT_CHECKSUM, 8), &want) && (want == plain || (int64_t)want == with_sign);
}

static enum tar_result kind_of(uint8_t type, enum tar_kind *ret)
{
	switch (type) {
	case '\0': case '0': case '7': *ret = TAR_FILE; return TAR_OK;
	case '1': *ret = TAR_HARD_LINK; return TAR_OK;
	case '2': *ret = TAR_SYMLINK; return TAR_OK;
	case '3': *ret = TAR_CHARACTER; return TAR_OK;
	case '4': *ret = TAR_BLOCK; return TAR_OK;
	case '5': *ret = TAR_DIRECTORY; return TAR_OK;
	case '6': *ret = TAR_FIFO; return TAR_OK;
	case 'L': *ret = TAR_LONG_NAME; return TAR_OK;
	case 'K': *ret = TAR_LONG_LINK; return TAR_OK;
	case 'x': case 'X': *ret = TAR_PAX; return TAR_OK;
	case 'g': *ret = TAR_PAX_GLOBAL; return TAR_OK;
	case 'V': *ret = TAR_VOLUME_LABEL; return TAR_OK;
	case 'S': return TAR_SPARSE_FILE;
	default: return TAR_UNKNOWN_KIND;
	}
}

bool tar_kind_has_data(enum tar_kind k)
{
	return k == TAR_FILE || k == TAR_LONG_NAME || k == TAR_LONG_LINK || k == TAR_PAX || k == TAR_PAX_GLOBAL ||
		k == TAR_VOLUME_LABEL;
}

static void join_name(const uint8_t *block, struct tar_header *h)
{
	struct bytes name = field_text(block, AT_NAME, 100), prefix = BYTES_NONE;
	/* GNU's magic has spaces where the version is, and other things in place of the prefix */
	if (memcmp(block + AT_MAGIC, "ustar\0", 6) == 0)
		prefix = field_text(block, AT_PREFIX, PREFIX_SIZE);
	struct writer w = writer_of(h->name, sizeof h->name);
	put_bytes(&w, prefix);
	if (prefix.n > 0)
		put_u8(&w, '/');
	put_bytes(&w, name);
	h->name_n = w.at;
}
_Static_assert(PREFIX_SIZE + 1 + 100 <= TAR_NAME_MAX, "a joined name fits");

enum tar_result tar_header_parse(const uint8_t block[TAR_BLOCK_SIZE], struct tar_header *ret)
{
	static const uint8_t zeros[TAR_BLOCK_SIZE];
	struct tar_header h = { .kind = TAR_END };
	int64_t mode, uid, gid, size;
	if (memcmp(block, zeros, TAR_BLOCK_SIZE) == 0) {
		*ret = h;
		return TAR_OK;
	}
	if (!checksum_right(block))
		return TAR_BAD_CHECKSUM;
	enum tar_result r = kind_of(block[AT_TYPE], &h.kind);
	if (r != TAR_OK)
		return r;
	if (!number(block, AT_MODE, 8, 0, INT64_MAX, &mode) || !number(block, AT_UID, 8, 0, UINT32_MAX, &uid) ||
	    !number(block, AT_GID, 8, 0, UINT32_MAX, &gid) || !number(block, AT_SIZE, 12, 0, INT64_MAX, &size) ||
	    !number(block, AT_MTIME, 12, INT64_MIN, INT64_MAX, &h.mtime))
		return TAR_BAD_NUMBER;
	join_name(block, &h);
	struct bytes link = field_text(block, AT_LINK, TAR_LINK_MAX);
	memcpy(h.link, link.p, link.n);
	h.link_n = link.n;
	h.mode = (uint32_t)(mode & 07777);
	h.uid = (uint32_t)uid;
	h.gid = (uint32_t)gid;
	h.size = tar_kind_has_data(h.kind) ? (uint64_t)size : 0;
	*ret = h;
	return TAR_OK;
}

enum tar_result tar_pax_next(struct reader *r, struct tar_pax *ret)
{
	struct bytes rest = bytes_slice(r->in, r->at, reader_left(r));
	const uint8_t *space = rest.n > 0 ? memchr(rest.p, ' ', rest.n < 20 ? rest.n : 20) : NULL;
	uint64_t n;
	if (space == NULL || !text_to_u64(bytes_of(rest.p, (size_t)(space - rest.p)), rest.n, &n))
		return TAR_BAD_PAX;
	size_t start = (size_t)(space - rest.p) + 1;
	if (n < start + 2 || rest.p[n - 1] != '\n')
		return TAR_BAD_PAX;
	struct bytes record = bytes_of(rest.p + start, (size_t)n - 1 - start);
	const uint8_t *equals = memchr(record.p, '=', record.n);
	if (equals == NULL || equals == record.p)
		return TAR_BAD_PAX;
	size_t key_n = (size_t)(equals - record.p);
	ret->key = bytes_of(record.p, key_n);
	ret->value = bytes_of(equals + 1, record.n - key_n - 1);
	get_bytes(r, (size_t)n);
	return TAR_OK;
}

bool tar_pax_seconds(struct bytes value, int64_t *ret)
{
	bool negative = value.n > 0 && value.p[0] == '-';
	uint64_t whole;
	if (negative)
		value = bytes_slice(value, 1, value.n - 1);
	const uint8_t *point = value.n > 0 ? memchr(value.p, '.', value.n) : NULL;
	struct bytes digits = point != NULL ? bytes_of(value.p, (size_t)(point - value.p)) : value;
	bool more = false;
	for (size_t i = digits.n + 1; i < value.n; i++) {
		if (value.p[i] < '0' || value.p[i] > '9')
			return false;
		more = more || value.p[i] != '0';
	}
	if (!text_to_u64(digits, INT64_MAX - 1, &whole))
		return false;
	*ret = negative ? -(int64_t)whole - more : (int64_t)whole;
	return true;
}
