/* Own reading instead of libcrypto's parser: an image's certificate is a stranger's, and what is needed of it is
 * little. The whole is checked to be DER first; then fields are taken in their order. */
#include "crypto/x509_any.h"

#include "base/text.h"
#include "crypto/der.h"

#include <time.h>

static const uint8_t p384_key[] = {              /* SEQUENCE { SEQUENCE { ecPublicKey, secp384r1 }, BIT STRING */
	0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
	0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00
};

static enum x509_result get_tbs(struct bytes contents, struct x509_any *c)
{
	struct reader r = reader_of(contents);
	if (der_peek(&r) == DER_CONTEXT_0)       /* absent: version 1 */
		(void)der_get(&r, DER_CONTEXT_0);
	(void)der_get(&r, DER_INTEGER);          /* serial number */
	(void)der_get(&r, DER_SEQUENCE);         /* algorithm, again outside */
	c->issuer = der_get(&r, DER_SEQUENCE);
	struct reader validity = reader_of(der_get(&r, DER_SEQUENCE));
	if (r.bad)
		return X509_MALFORMED;
	if (!x509_get_time(&validity, &c->not_before_s) || !x509_get_time(&validity, &c->not_after_s) ||
	    !reader_done(&validity))
		return X509_BAD_TIME;
	c->subject = der_get(&r, DER_SEQUENCE);
	if (der_peek(&r) != DER_SEQUENCE)
		return X509_MALFORMED;
	struct bytes key = der_get_element(&r);
	while (!r.bad && reader_left(&r) > 0)    /* unique identifiers, extensions */
		(void)der_get_element(&r);
	if (r.bad)
		return X509_MALFORMED;
	if (key.n == sizeof p384_key + X509_POINT_SIZE && memcmp(key.p, p384_key, sizeof p384_key) == 0 &&
	    key.p[sizeof p384_key] == 0x04)
		c->point = bytes_slice(key, sizeof p384_key, X509_POINT_SIZE);
	return X509_OK;
}

static bool names_well_formed(struct bytes name)
{
	struct x509_name n = x509_name_of(name);
	struct x509_attribute a;
	while (x509_name_next(&n, &a))
		;
	return !n.bad;
}

enum x509_result x509_any_parse(struct bytes der, struct x509_any *ret)
{
	struct reader outer = reader_of(der);
	if (der_peek(&outer) != DER_SEQUENCE)
		return X509_NOT_DER;
	struct bytes body = der_get(&outer, DER_SEQUENCE);
	if (outer.bad || !der_well_formed(body))
		return X509_NOT_DER;
	if (!reader_done(&outer))
		return X509_TRAILING_BYTES;
	struct x509_any c = { 0 };
	struct reader r = reader_of(body);
	struct bytes tbs = der_get(&r, DER_SEQUENCE);
	struct reader algorithm = reader_of(der_get(&r, DER_SEQUENCE));
	struct bytes bits = der_get(&r, DER_BIT_STRING);
	c.algorithm = der_get(&algorithm, DER_OID);
	if (!reader_done(&r) || algorithm.bad || bits.n < 2 || bits.p[0] != 0)
		return X509_MALFORMED;
	c.signature = bytes_of(bits.p + 1, bits.n - 1);
	enum x509_result e = get_tbs(tbs, &c);
	if (e == X509_OK && (!names_well_formed(c.issuer) || !names_well_formed(c.subject)))
		e = X509_MALFORMED;
	if (e == X509_OK)
		*ret = c;
	return e;
}

/* A name is SEQUENCE OF SET OF SEQUENCE { type, value }; the sets have one member each, as a rule. */
bool x509_name_next(struct x509_name *n, struct x509_attribute *ret)
{
	if (n->bad || (reader_left(&n->pairs) == 0 && reader_left(&n->sets) == 0))
		return false;
	if (reader_left(&n->pairs) == 0)
		n->pairs = reader_of(der_get(&n->sets, DER_SET));
	struct reader pair = reader_of(der_get(&n->pairs, DER_SEQUENCE));
	ret->type = der_get(&pair, DER_OID);
	ret->value_tag = der_peek(&pair);
	ret->value = der_get(&pair, ret->value_tag);
	n->bad = n->sets.bad || n->pairs.bad || !reader_done(&pair) || ret->type.n == 0;
	return !n->bad;
}

/* --- as text ------------------------------------------------------------------------------ */

static void put_utf8(struct writer *w, uint32_t c)
{
	if (c >= 0x110000 || (c >= 0xd800 && c < 0xe000))
		c = 0xfffd;
	if (c < 0x80) {
		put_u8(w, (uint8_t)c);
		return;
	}
	int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	put_u8(w, (uint8_t)(0xff00 >> (more + 1) | c >> (6 * more)));
	while (more-- > 0)
		put_u8(w, (uint8_t)(0x80 | (c >> (6 * more) & 0x3f)));
}

/* Bytes of a character in the string types of X.680, 0 for UTF8String, -1 for what is no string. */
static int character_size(uint8_t tag)
{
	switch (tag) {
	case 0x0c: return 0;
	case 0x12: case 0x13: case 0x14: case 0x16: case 0x1a: return 1;
	case 0x1c: return 4;
	case 0x1e: return 2;
	default: return -1;
	}
}

void x509_put_value(struct writer *w, const struct x509_attribute *a)
{
	int size = character_size(a->value_tag);
	if (size == 0 && utf8_valid(a->value)) {
		put_bytes(w, a->value);
		return;
	}
	if (size <= 0 || a->value.n % (size_t)size != 0) {
		put_str(w, "?");
		return;
	}
	for (size_t i = 0; i < a->value.n; i += (size_t)size) {
		uint32_t c = 0;
		for (size_t k = 0; k < (size_t)size; k++)
			c = c << 8 | a->value.p[i + k];
		put_utf8(w, c);
	}
}

static const struct { const char *oid; size_t n; const char *name; } names[] = {
#define OID(bytes, name) { bytes, sizeof bytes - 1, name }
	OID("\x55\x04\x03", "commonName"), OID("\x55\x04\x04", "surname"), OID("\x55\x04\x05", "serialNumber"),
	OID("\x55\x04\x06", "countryName"), OID("\x55\x04\x07", "localityName"),
	OID("\x55\x04\x08", "stateOrProvinceName"), OID("\x55\x04\x09", "streetAddress"),
	OID("\x55\x04\x0a", "organizationName"), OID("\x55\x04\x0b", "organizationalUnitName"),
	OID("\x55\x04\x0c", "title"), OID("\x55\x04\x0d", "description"), OID("\x55\x04\x11", "postalCode"),
	OID("\x55\x04\x2a", "givenName"), OID("\x55\x04\x2e", "dnQualifier"), OID("\x55\x04\x41", "pseudonym"),
	OID("\x55\x04\x61", "organizationIdentifier"),
	OID("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01", "emailAddress"),
	OID("\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19", "domainComponent"),
	OID("\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01", "userId"),
	OID("\x2a\x86\x48\xce\x3d\x04\x03\x02", "ecdsa-with-SHA256"),
	OID("\x2a\x86\x48\xce\x3d\x04\x03\x03", "ecdsa-with-SHA384"),
	OID("\x2a\x86\x48\xce\x3d\x04\x03\x04", "ecdsa-with-SHA512"),
	OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b", "sha256WithRSAEncryption"),
	OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c", "sha384WithRSAEncryption"),
	OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d", "sha512WithRSAEncryption"),
	OID("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a", "rsassaPss"), OID("\x2b\x65\x70", "ED25519"),
#undef OID
};

void x509_put_oid(struct writer *w, struct bytes oid)
{
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (bytes_equal(oid, bytes_of(names[i].oid, names[i].n))) {
			put_str(w, names[i].name);
			return;
		}
	uint64_t v = 0;
	bool first = true;
	for (size_t i = 0; i < oid.n; i++) {
		v = v << 7 | (oid.p[i] & 0x7f);      /* arcs above 64 bits lose their top: they are only shown */
		if (oid.p[i] & 0x80)
			continue;
		uint64_t root = v < 80 ? v / 40 : 2;
		if (first)
			put_fmt(w, "%llu.%llu", (unsigned long long)root, (unsigned long long)(v - root * 40));
		else
			put_fmt(w, ".%llu", (unsigned long long)v);
		first = false;
		v = 0;
	}
}

void x509_put_date(struct writer *w, int64_t s)
{
	time_t at = (time_t)s;
	struct tm t;
	char text[64] = "?";
	if (gmtime_r(&at, &t) != NULL)
		strftime(text, sizeof text, "%b %e %H:%M:%S %Y GMT", &t);
	put_str(w, text);
}
