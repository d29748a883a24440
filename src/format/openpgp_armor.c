#include "format/openpgp_armor.h"

#include "base/text.h"

enum { LINE_WRITTEN = 64, LINE_MAX = 76, CRC_CHARACTERS = 4 };
#define ARMOR_BEGIN "-----BEGIN PGP PUBLIC KEY BLOCK-----"
#define ARMOR_END "-----END PGP PUBLIC KEY BLOCK-----"

uint32_t pgp_crc24(struct bytes in)
{
	uint32_t crc = 0xb704ce;
	for (size_t i = 0; i < in.n; i++) {
		crc ^= (uint32_t)in.p[i] << 16;
		for (int bit = 0; bit < 8; bit++)
			crc = crc << 1 ^ (crc & 0x800000 ? 0x1864cfb : 0);
	}
	return crc & 0xffffff;
}

static void crc_bytes(struct bytes in, uint8_t out[3])
{
	uint32_t crc = pgp_crc24(in);
	out[0] = (uint8_t)(crc >> 16);
	out[1] = (uint8_t)(crc >> 8);
	out[2] = (uint8_t)crc;
}

void pgp_armor(struct writer *w, struct bytes binary)
{
	enum { STEP = LINE_WRITTEN / 4 * 3 };
	uint8_t crc[3];
	crc_bytes(binary, crc);
	put_str(w, ARMOR_BEGIN "\n\n");
	for (size_t at = 0; at < binary.n; at += STEP) {
		size_t n = binary.n - at < STEP ? binary.n - at : STEP;
		put_base64(w, bytes_of(binary.p + at, n));
		put_u8(w, '\n');
	}
	put_u8(w, '=');
	put_base64(w, BYTES_ARRAY(crc));
	put_str(w, "\n" ARMOR_END "\n");
}

/* The next line without its line feed; bad at the end of the text. */
static struct bytes get_line(struct reader *r)
{
	if (r->bad || r->at == r->in.n) {
		r->bad = true;
		return BYTES_NONE;
	}
	const uint8_t *from = r->in.p + r->at;
	const uint8_t *lf = memchr(from, '\n', r->in.n - r->at);
	struct bytes line = get_bytes(r, lf == NULL ? r->in.n - r->at : (size_t)(lf - from));
	if (lf != NULL)
		r->at++;
	return line;
}

enum pgp_error pgp_dearmor(struct bytes text, uint8_t *out, size_t cap, size_t *ret_n)
{
	struct reader r = reader_of(text);
	if (!bytes_equal(get_line(&r), BYTES_LIT(ARMOR_BEGIN)) || get_line(&r).n != 0 || r.bad)
		return PGP_BAD_ARMOR;
	struct base64 decoder = { 0 };
	size_t n = 0;
	struct bytes line;
	while ((line = get_line(&r)).n > 0 && line.p[0] != '=') {
		if (line.n > LINE_MAX)
			return PGP_BAD_ARMOR;
		uint8_t piece[LINE_MAX / 4 * 3 + 3];
		size_t m = base64_feed(&decoder, line, piece);
		if (m > cap - n)
			return PGP_KEY_TOO_LARGE;
		memcpy(out + n, piece, m);
		n += m;
	}
	uint8_t said[3], crc[3];
	size_t crc_n = 0;
	if (line.n != 1 + CRC_CHARACTERS || !base64_done(&decoder) ||
	    !base64_decode(bytes_slice(line, 1, CRC_CHARACTERS), said, sizeof said, &crc_n) || crc_n != sizeof said ||
	    !bytes_equal(get_line(&r), BYTES_LIT(ARMOR_END)) || !reader_done(&r))
		return PGP_BAD_ARMOR;
	crc_bytes(bytes_of(out, n), crc);
	if (!bytes_equal(BYTES_ARRAY(said), BYTES_ARRAY(crc)))
		return PGP_BAD_CRC;
	*ret_n = n;
	return PGP_OK;
}
