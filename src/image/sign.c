/* Everything that is signed is made here from PCR0, never taken from a file; what a file claims to have signed is compared
 * with it. Sections come from strangers: they are parsed into fixed buffers. */
#include "image/sign.h"

#include "base/text.h"
#include "crypto/der.h"
#include "format/cose_sign1.h"

#include <errno.h>
#include <unistd.h>

/* --- certificates ------------------------------------------------------------------------------ */

enum eif_signature_result sign_certificate_load(struct bytes pem_text, struct sign_certificate *c)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----", end[] = "-----END CERTIFICATE-----";
	c->pem_n = c->der_n = 0;
	if (!x509_from_pem(pem_text, c->der, sizeof c->der, &c->der_n))
		return EIF_SIGNATURE_NOT_PEM;
	/* both are there, once: x509_from_pem() saw to it */
	const uint8_t *from = memmem(pem_text.p, pem_text.n, begin, sizeof begin - 1);
	const uint8_t *to = memmem(pem_text.p, pem_text.n, end, sizeof end - 1);
	if (from == NULL || to == NULL || to < from)
		return EIF_SIGNATURE_NOT_PEM;
	struct writer w = writer_of(c->pem, sizeof c->pem);
	put_bytes(&w, bytes_of(from, (size_t)(to - from) + sizeof end - 1));
	put_u8(&w, '\n');
	if (w.full)
		return EIF_SIGNATURE_NOT_PEM;
	c->pem_n = w.at;
	return x509_any_parse(bytes_of(c->der, c->der_n), &c->x509) == X509_OK ? EIF_SIGNATURE_OK : EIF_SIGNATURE_BAD_CERTIFICATE;
}

static struct p384 *public_key(const struct sign_certificate *c) { return p384_from_point(c->x509.point); }

enum eif_signature_result sign_certificate_check(const struct sign_certificate *c, int64_t now_s)
{
	struct p384 *key = public_key(c);
	bool usable = key != NULL;
	p384_free(key);
	if (!usable)
		return EIF_SIGNATURE_NOT_P384;
	if (now_s > c->x509.not_after_s)
		return EIF_SIGNATURE_EXPIRED;
	return now_s < c->x509.not_before_s ? EIF_SIGNATURE_NOT_YET_VALID : EIF_SIGNATURE_OK;
}

/* --- checking ------------------------------------------------------------------------------------ */

static enum eif_signature_result check_cose(struct bytes message, const uint8_t pcr0[PCR_SIZE], struct cose_sign1 *ret)
{
	uint64_t index;
	uint8_t value[EIF_REGISTER_SIZE];
	enum cose_result c = cose_sign1_parse(message, ret);
	if (c == COSE_NO_ALGORITHM || c == COSE_BAD_ALGORITHM)
		return EIF_SIGNATURE_BAD_ALGORITHM;
	if (c != COSE_OK)
		return EIF_SIGNATURE_BAD_COSE;
	enum eif_signature_result e = eif_signed_parse(ret->payload, &index, value);
	if (e != EIF_SIGNATURE_OK)
		return e;
	if (index != 0)
		return EIF_SIGNATURE_WRONG_REGISTER;
	return memcmp(value, pcr0, sizeof value) == 0 ? EIF_SIGNATURE_OK : EIF_SIGNATURE_WRONG_VALUE;
}

static enum eif_signature_result check_signature(const struct cose_sign1 *m, const struct sign_certificate *c)
{
	uint8_t tbs[EIF_SIGNED_MAX + COSE_SIGN1_TBS_OVERHEAD];
	struct writer w = writer_of(tbs, sizeof tbs);
	struct p384 *key = public_key(c);
	if (key == NULL)
		return EIF_SIGNATURE_NOT_P384;
	cose_sign1_tbs_put(&w, m->protected_header, m->payload);
	bool ok = !w.full && p384_verify(key, writer_bytes(&w), m->signature.p);
	p384_free(key);
	return ok ? EIF_SIGNATURE_OK : EIF_SIGNATURE_FORGED;
}

enum eif_signature_result sign_check(struct bytes section, const uint8_t pcr0[PCR_SIZE], struct sign_certificate *ret, bool *ret_has)
{
	uint8_t scratch[EIF_SIGNATURE_MAX];
	struct eif_signature s;
	struct cose_sign1 message;
	*ret_has = false;
	if (section.n > sizeof scratch)
		return EIF_SIGNATURE_NOT_CBOR;
	enum eif_signature_result e = eif_signature_parse(section, scratch, &s);
	if (e == EIF_SIGNATURE_OK)
		e = sign_certificate_load(s.certificate_pem, ret);
	if (e != EIF_SIGNATURE_OK)
		return e;
	*ret_has = true;
	e = check_cose(s.cose, pcr0, &message);
	return e == EIF_SIGNATURE_OK ? check_signature(&message, ret) : e;
}

/* --- making ---------------------------------------------------------------------------------------- */

static struct bytes signed_map(const uint8_t pcr0[PCR_SIZE], uint8_t buf[EIF_SIGNED_MAX])
{
	struct writer w = writer_of(buf, EIF_SIGNED_MAX);
	eif_signed_put(&w, pcr0);
	return writer_bytes(&w);
}

struct bytes sign_request(const uint8_t pcr0[PCR_SIZE], uint8_t buf[SIGN_REQUEST_MAX])
{
	uint8_t map[EIF_SIGNED_MAX];
	struct writer w = writer_of(buf, SIGN_REQUEST_MAX);
	cose_sign1_tbs_put(&w, cose_sign1_es384_header(), signed_map(pcr0, map));
	return writer_bytes(&w);
}

enum eif_signature_result sign_with_key(const struct sign_certificate *c, const struct p384 *key, const uint8_t pcr0[PCR_SIZE],
                                        uint8_t ret_signature[P384_SIGNATURE_SIZE])
{
	uint8_t point[X509_POINT_SIZE], request[SIGN_REQUEST_MAX];
	if (!p384_point(key, point) || !bytes_equal(BYTES_ARRAY(point), c->x509.point))
		return EIF_SIGNATURE_KEY_MISMATCH;
	return p384_sign(key, sign_request(pcr0, request), ret_signature) ? EIF_SIGNATURE_OK : EIF_SIGNATURE_FORGED;
}

enum eif_signature_result sign_put_section(struct writer *w, const struct sign_certificate *c, const uint8_t pcr0[PCR_SIZE],
                                           const uint8_t signature[P384_SIGNATURE_SIZE])
{
	uint8_t map[EIF_SIGNED_MAX], cose[EIF_SIGNED_MAX + COSE_SIGN1_OVERHEAD];
	struct writer m = writer_of(cose, sizeof cose);
	cose_sign1_put(&m, signed_map(pcr0, map), signature);
	struct eif_signature s = { bytes_of(c->pem, c->pem_n), writer_bytes(&m) };
	eif_signature_put(w, &s);
	struct sign_certificate again;
	bool has;
	return w->full ? EIF_SIGNATURE_NOT_PEM : sign_check(writer_bytes(w), pcr0, &again, &has);
}

/* --- signatures made elsewhere ------------------------------------------------------------------------ */

static bool get_scalar(struct reader *r, uint8_t out[48])
{
	struct bytes i = der_get(r, DER_INTEGER);
	if (r->bad || i.n == 0 || i.p[0] >= 0x80)
		return false;
	if (i.p[0] == 0)
		i = bytes_of(i.p + 1, i.n - 1);
	if (i.n > 48)
		return false;
	memset(out, 0, 48);
	if (i.n > 0)
		memcpy(out + 48 - i.n, i.p, i.n);
	return true;
}

static bool read_binary(struct bytes in, uint8_t out[P384_SIGNATURE_SIZE])
{
	uint8_t rs[P384_SIGNATURE_SIZE];
	if (in.n == sizeof rs) {
		memcpy(out, in.p, sizeof rs);
		return true;
	}
	struct reader outer = reader_of(in);
	struct reader r = reader_of(der_get(&outer, DER_SEQUENCE));
	if (!reader_done(&outer) || !der_well_formed(in) || !get_scalar(&r, rs) || !get_scalar(&r, rs + 48) || !reader_done(&r))
		return false;
	memcpy(out, rs, sizeof rs);
	return true;
}

bool sign_read_signature(struct bytes file, uint8_t ret_signature[P384_SIGNATURE_SIZE])
{
	enum { TEXT_MAX = 512 };
	uint8_t text[TEXT_MAX], binary[TEXT_MAX];
	size_t n = 0, binary_n;
	if (read_binary(file, ret_signature))
		return true;
	for (size_t i = 0; i < file.n; i++) {
		uint8_t c = file.p[i];
		if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
			continue;
		if (n == sizeof text)
			return false;
		text[n++] = c;
	}
	/* hex first: its digits are base64 digits too, but a signature's length in hex decodes to no signature */
	if (hex_decode(bytes_of(text, n), binary, n / 2) && read_binary(bytes_of(binary, n / 2), ret_signature))
		return true;
	return base64_decode(bytes_of(text, n), binary, sizeof binary, &binary_n) &&
	       read_binary(bytes_of(binary, binary_n), ret_signature);
}

/* --- the image ------------------------------------------------------------------------------------------ */

struct copy { struct eif_sink sink; struct eif_file *from; struct eif_writer *to; bool open; };

static int copy_piece(struct eif_sink *s, size_t section, struct bytes piece, struct err *err)
{
	struct copy *c = (struct copy *)s;
	enum eif_section_type type = c->from->eif.section[section].type;
	int ret = 0;
	if (type == EIF_SIGNATURE)               /* the old one */
		return 0;
	if (!c->open)
		ret = eif_writer_begin(c->to, type, err);
	c->open = piece.n > 0;
	if (ret == 0)
		ret = piece.n > 0 ? eif_writer_put(c->to, piece, err) : eif_writer_end(c->to, err);
	return ret;
}

int sign_write_image(struct eif_file *f, const char *path, const struct stat *like, struct bytes section,
                     const struct eif_measures *measured, struct err *err)
{
	struct eif_writer w = EIF_WRITER_NONE;
	struct copy c = { { copy_piece }, f, &w, false };
	struct eif_measures read, written;
	int ret = eif_writer_open(&w, path, f->eif.flags, err);
	w.eif.default_mem = f->eif.default_mem;
	w.eif.default_cpus = f->eif.default_cpus;
	if (ret == 0 && like != NULL) {
		if (fchown(w.out.fd, like->st_uid, like->st_gid) != 0 && errno != EPERM)
			ret = fail(err, errno, "set the owner of %s", path);
		else if (fchmod(w.out.fd, like->st_mode & 0777) != 0)
			ret = fail(err, errno, "set the permissions of %s", path);
	}
	if (ret == 0)
		ret = eif_file_stream(f, &c.sink, &read, err);
	if (ret == 0 && !read.crc_ok)
		ret = eif_file_refuse_crc(f, err);
	if (ret == 0)
		ret = eif_writer_section(&w, EIF_SIGNATURE, section, err);
	if (ret == 0)
		ret = eif_writer_measure(&w, &written, err);
	if (ret == 0 && memcmp(written.pcr0, measured->pcr0, PCR_SIZE) != 0)
		ret = fail(err, 0, "%s changed while it was being signed; try again when nobody writes to it", f->path);
	if (ret == 0)
		ret = eif_writer_commit(&w, &written, err);
	if (w.refused != EIF_OK)
		f->refused = w.refused;
	eif_writer_close(&w);
	return ret;
}
