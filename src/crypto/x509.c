/* The whole certificate is first checked to be DER through and through (der_well_formed), then read in
 * the one order RFC 5280 gives it. Algorithm identifiers and the key's are compared as the exact bytes
 * they must be, so no parameter can hide in them. libcrypto's own certificate parser is not used: it
 * takes BER and much more than this profile. All input is a stranger's. */
#include "crypto/x509.h"

#include "base/text.h"
#include "crypto/der.h"

static const uint8_t ecdsa_sha384[] = {          /* SEQUENCE { 1.2.840.10045.4.3.3 } */
	0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03
};
static const uint8_t p384_key[] = {              /* SEQUENCE { SEQUENCE { ecPublicKey, secp384r1 }, BIT STRING */
	0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
	0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00
};
static const uint8_t oid_basic_constraints[] = { 0x55, 0x1d, 0x13 };
static const uint8_t oid_key_usage[] = { 0x55, 0x1d, 0x0f };

/* Days from 1970-01-01 to a date of the proleptic Gregorian calendar. */
static int64_t days_since_1970(int64_t y, unsigned m, unsigned d)
{
	y -= m <= 2;
	int64_t era = y / 400;
	int64_t year_of_era = y - era * 400;
	int64_t day_of_year = (153 * (int64_t)(m + (m > 2 ? -3u : 9u)) + 2) / 5 + (int64_t)d - 1;
	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static bool get_digits(struct reader *r, size_t n, unsigned *ret)
{
	struct bytes b = get_bytes(r, n);
	*ret = 0;
	for (size_t i = 0; i < b.n; i++) {
		if (b.p[i] < '0' || b.p[i] > '9')
			return false;
		*ret = *ret * 10 + (unsigned)(b.p[i] - '0');
	}
	return !r->bad;
}

/* YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ: RFC 5280 4.1.2.5 wants seconds and no offsets or fractions. */
bool x509_get_time(struct reader *r, int64_t *ret_s)
{
	static const uint8_t days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool utc = der_peek(r) == DER_UTC_TIME;
	struct reader t = reader_of(der_get(r, utc ? DER_UTC_TIME : DER_GENERALIZED_TIME));
	unsigned year, month, day, hour, minute, second;
	if (r->bad || !get_digits(&t, utc ? 2 : 4, &year) || !get_digits(&t, 2, &month) ||
	    !get_digits(&t, 2, &day) || !get_digits(&t, 2, &hour) || !get_digits(&t, 2, &minute) ||
	    !get_digits(&t, 2, &second) || get_u8(&t) != 'Z' || !reader_done(&t))
		return false;
	if (utc)
		year += year < 50 ? 2000 : 1900;
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	if (month < 1 || month > 12 || day < 1 || day > days[month - 1] || (month == 2 && day == 29 && !leap) ||
	    hour > 23 || minute > 59 || second > 59 || year < 1900)
		return false;
	*ret_s = days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
	return true;
}

static bool get_basic_constraints(struct bytes value, struct x509 *c)
{
	struct reader outer = reader_of(value);
	struct reader r = reader_of(der_get(&outer, DER_SEQUENCE));
	if (!reader_done(&outer))
		return false;
	if (der_peek(&r) == DER_BOOLEAN) {
		struct bytes b = der_get(&r, DER_BOOLEAN);
		if (r.bad || b.n != 1 || b.p[0] != 0xff)    /* FALSE is the default: DER leaves it out */
			return false;
		c->ca = true;
	}
	if (reader_left(&r) > 0) {
		struct bytes n = der_get(&r, DER_INTEGER);
		if (r.bad || !c->ca || n.n != 1 || n.p[0] > 127)
			return false;
		c->path_len = n.p[0];
	}
	return reader_done(&r);
}

/* A named bit list: bit 0 is the first byte's highest; trailing zero bits are left out. */
static bool get_key_usage(struct bytes value, struct x509 *c)
{
	struct reader r = reader_of(value);
	struct bytes b = der_get(&r, DER_BIT_STRING);
	if (!reader_done(&r) || b.n < 2 || b.n > 3 || b.p[0] > 7)
		return false;
	uint8_t last = b.p[b.n - 1];
	if ((last & ((1u << b.p[0]) - 1)) != 0 || !(last >> b.p[0] & 1))
		return false;
	c->has_key_usage = true;
	for (unsigned bit = 0; bit < 8 * (b.n - 1); bit++)
		if (b.p[1 + bit / 8] >> (7 - bit % 8) & 1)
			c->key_usage |= 1u << bit;
	return true;
}

static enum x509_result get_extension(struct reader *list, struct x509 *c, struct bytes *ret_oid)
{
	struct reader r = reader_of(der_get(list, DER_SEQUENCE));
	*ret_oid = der_get(&r, DER_OID);
	bool critical = der_peek(&r) == DER_BOOLEAN;
	if (critical && !bytes_equal(der_get(&r, DER_BOOLEAN), BYTES_LIT("\xff")))
		return X509_BAD_EXTENSION;
	struct bytes value = der_get(&r, DER_OCTET_STRING);
	if (list->bad || !reader_done(&r))
		return X509_BAD_EXTENSION;
	if (bytes_equal(*ret_oid, BYTES_ARRAY(oid_basic_constraints)))
		return get_basic_constraints(value, c) ? X509_OK : X509_BAD_EXTENSION;
	if (bytes_equal(*ret_oid, BYTES_ARRAY(oid_key_usage)))
		return get_key_usage(value, c) ? X509_OK : X509_BAD_EXTENSION;
	return critical ? X509_CRITICAL_EXTENSION : X509_OK;
}

static enum x509_result get_extensions(struct reader *tbs, struct x509 *c)
{
	struct reader outer = reader_of(der_get(tbs, DER_CONTEXT_3));
	struct reader list = reader_of(der_get(&outer, DER_SEQUENCE));
	if (tbs->bad || !reader_done(&outer) || reader_left(&list) == 0)
		return X509_BAD_EXTENSION;
	struct bytes seen[X509_EXTENSIONS_MAX];
	for (size_t n = 0; reader_left(&list) > 0; n++) {
		if (n == X509_EXTENSIONS_MAX)
			return X509_BAD_EXTENSION;
		enum x509_result e = get_extension(&list, c, &seen[n]);
		if (e != X509_OK)
			return e;
		for (size_t i = 0; i < n; i++)
			if (bytes_equal(seen[i], seen[n]))
				return X509_BAD_EXTENSION;
	}
	return X509_OK;
}

static enum x509_result get_tbs(struct bytes contents, struct x509 *c)
{
	struct reader r = reader_of(contents);
	if (der_peek(&r) != DER_CONTEXT_0 ||     /* absent: version 1 */
	    !bytes_equal(der_get(&r, DER_CONTEXT_0), BYTES_LIT("\x02\x01\x02")))
		return X509_BAD_VERSION;
	c->serial = der_get(&r, DER_INTEGER);
	if (r.bad)
		return X509_MALFORMED;
	/* 20 bytes of number: the real chain has serials with a 21st for the sign */
	if (c->serial.n > 20u + (c->serial.p[0] == 0) || c->serial.p[0] >= 0x80 ||
	    (c->serial.n == 1 && c->serial.p[0] == 0))
		return X509_BAD_SERIAL;
	if (!bytes_equal(der_get_element(&r), BYTES_ARRAY(ecdsa_sha384)))
		return r.bad ? X509_MALFORMED : X509_BAD_ALGORITHM;

	if (der_peek(&r) != DER_SEQUENCE)
		return X509_MALFORMED;
	c->issuer = der_get_element(&r);
	struct reader validity = reader_of(der_get(&r, DER_SEQUENCE));
	if (r.bad)
		return X509_MALFORMED;
	if (!x509_get_time(&validity, &c->not_before_s) || !x509_get_time(&validity, &c->not_after_s) ||
	    !reader_done(&validity))
		return X509_BAD_TIME;
	if (der_peek(&r) != DER_SEQUENCE)
		return X509_MALFORMED;
	c->subject = der_get_element(&r);

	struct bytes key = der_get_element(&r);
	if (r.bad)
		return X509_MALFORMED;
	if (key.n != sizeof p384_key + X509_POINT_SIZE || memcmp(key.p, p384_key, sizeof p384_key) != 0 ||
	    key.p[sizeof p384_key] != 0x04)
		return X509_BAD_KEY;
	c->point = bytes_slice(key, sizeof p384_key, X509_POINT_SIZE);

	if (reader_left(&r) > 0) {
		if (der_peek(&r) != DER_CONTEXT_3)   /* unique identifiers, long gone from use */
			return X509_MALFORMED;
		enum x509_result e = get_extensions(&r, c);
		if (e != X509_OK)
			return e;
	}
	return reader_done(&r) ? X509_OK : X509_MALFORMED;
}

/* One of r and s into 48 bytes. */
static bool get_scalar(struct reader *r, uint8_t out[48])
{
	struct bytes i = der_get(r, DER_INTEGER);
	if (r->bad || i.p[0] >= 0x80)
		return false;
	if (i.p[0] == 0)
		i = bytes_of(i.p + 1, i.n - 1);
	if (i.n == 0 || i.n > 48)
		return false;
	memset(out, 0, 48 - i.n);
	memcpy(out + 48 - i.n, i.p, i.n);
	return true;
}

static bool get_signature(struct bytes bits, uint8_t out[P384_SIGNATURE_SIZE])
{
	if (bits.n < 1 || bits.p[0] != 0)
		return false;
	struct bytes der = bytes_of(bits.p + 1, bits.n - 1);
	struct reader outer = reader_of(der);
	struct reader r = reader_of(der_get(&outer, DER_SEQUENCE));
	return der_well_formed(der) && reader_done(&outer) && get_scalar(&r, out) && get_scalar(&r, out + 48) &&
		reader_done(&r);
}

enum x509_result x509_parse(struct bytes der, struct x509 *ret)
{
	struct reader outer = reader_of(der);
	if (der_peek(&outer) != DER_SEQUENCE)
		return X509_NOT_DER;
	struct bytes body = der_get(&outer, DER_SEQUENCE);
	if (outer.bad || !der_well_formed(body))
		return X509_NOT_DER;
	if (!reader_done(&outer))
		return X509_TRAILING_BYTES;

	struct x509 c = { .path_len = X509_NO_PATH_LEN };
	struct reader r = reader_of(body);
	if (der_peek(&r) != DER_SEQUENCE)
		return X509_MALFORMED;
	c.tbs = der_get_element(&r);
	struct bytes algorithm = der_get_element(&r);
	struct bytes signature = der_get(&r, DER_BIT_STRING);
	if (!reader_done(&r))
		return X509_MALFORMED;
	struct reader tbs = reader_of(c.tbs);
	enum x509_result e = get_tbs(der_get(&tbs, DER_SEQUENCE), &c);
	if (e != X509_OK)
		return e;
	if (!bytes_equal(algorithm, BYTES_ARRAY(ecdsa_sha384)))
		return X509_BAD_ALGORITHM;
	if (!get_signature(signature, c.signature))
		return X509_BAD_SIGNATURE_FORM;
	*ret = c;
	return X509_OK;
}

bool x509_signed_by(const struct x509 *c, struct bytes issuer_point)
{
	struct p384 *key = p384_from_point(issuer_point);
	bool ok = key != NULL && p384_verify(key, c->tbs, c->signature);
	p384_free(key);
	return ok;
}

static struct bytes find(struct bytes text, const char *what)
{
	const uint8_t *at = text.n == 0 ? NULL : memmem(text.p, text.n, what, strlen(what));
	if (at == NULL)
		return BYTES_NONE;
	size_t skip = (size_t)(at - text.p) + strlen(what);
	return bytes_of(text.p + skip, text.n - skip);
}

bool x509_from_pem(struct bytes pem, uint8_t *der, size_t cap, size_t *ret_n)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----", end[] = "-----END CERTIFICATE-----";
	struct bytes inside = find(pem, begin);
	struct bytes after = find(inside, end);
	if (inside.p == NULL || after.p == NULL || find(after, begin).p != NULL)
		return false;
	inside.n = (size_t)(after.p - inside.p) - strlen(end);
	struct base64 d = { 0 };
	size_t n = 0;
	for (size_t i = 0; i < inside.n && !d.bad; i++) {
		uint8_t c = inside.p[i], three[3];
		if (c == '\n' || c == '\r' || c == ' ' || c == '\t')
			continue;
		size_t got = base64_feed(&d, bytes_of(&c, 1), three);
		if (got > cap - n)
			return false;
		memcpy(der + n, three, got);
		n += got;
	}
	if (!base64_done(&d) || n == 0)
		return false;
	*ret_n = n;
	return true;
}
