/* Certificates are written field by field; there is one algorithm, so its bytes are constants. Nothing
 * here handles a stranger's input except the issuer's certificate, which x509_parse reads. */
#include "crypto/x509_issue.h"

#include "base/text.h"
#include "crypto/der.h"

#include <time.h>

static const uint8_t ecdsa_sha384[] = {
	0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03
};
static const uint8_t p384_algorithm[] = {        /* SEQUENCE { ecPublicKey, secp384r1 } */
	0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22
};
static const uint8_t oid_common_name[] = { 0x55, 0x04, 0x03 };
static const uint8_t oid_basic_constraints[] = { 0x55, 0x1d, 0x13 };
static const uint8_t oid_key_usage[] = { 0x55, 0x1d, 0x0f };
static const uint8_t oid_subject_key_id[] = { 0x55, 0x1d, 0x0e };
static const uint8_t oid_authority_key_id[] = { 0x55, 0x1d, 0x23 };
enum { DER_KEY_ID = 0x80, KEY_ID_SIZE = 20 };    /* [0] of AuthorityKeyIdentifier; SHA-1 */

struct identity {                                /* who signs */
	struct bytes name;                       /* DER; empty: the subject itself */
	struct bytes point;
};

static bool template_ok(const struct x509_template *t)
{
	static const int64_t year_10000_s = INT64_C(253402300800);
	size_t cn = t->common_name == NULL ? 0 : strlen(t->common_name);
	bool zero = true;
	for (size_t i = 0; i < t->serial.n; i++)
		zero &= t->serial.p[i] == 0;
	return cn > 0 && cn <= X509_CN_MAX && utf8_valid(bytes_str(t->common_name)) && !zero &&
		t->serial.n <= 20 && (t->serial.n < 20 || t->serial.p[0] < 0x80) &&
		t->not_before_s >= 0 && t->not_before_s <= t->not_after_s && t->not_after_s < year_10000_s &&
		(t->path_len == X509_NO_PATH_LEN || (t->ca && t->path_len >= 0 && t->path_len <= 127)) &&
		t->key_usage < 1 << 8;
}

static void put_name(struct writer *w, const char *common_name)
{
	size_t name = der_open(w, DER_SEQUENCE), set = der_open(w, DER_SET), pair = der_open(w, DER_SEQUENCE);
	der_put(w, DER_OID, BYTES_ARRAY(oid_common_name));
	der_put(w, DER_UTF8_STRING, bytes_str(common_name));
	der_close(w, pair);
	der_close(w, set);
	der_close(w, name);
}

/* RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime after. */
static void put_time(struct writer *w, int64_t s)
{
	time_t at = (time_t)s;
	struct tm t;
	char text[32];
	gmtime_r(&at, &t);
	strftime(text, sizeof text, "%Y%m%d%H%M%SZ", &t);
	if (t.tm_year < 150)
		der_put(w, DER_UTC_TIME, bytes_str(text + 2));
	else
		der_put(w, DER_GENERALIZED_TIME, bytes_str(text));
}

static size_t open_extension(struct writer *w, struct bytes oid, bool critical, size_t *ret_value)
{
	size_t extension = der_open(w, DER_SEQUENCE);
	der_put(w, DER_OID, oid);
	if (critical)
		der_put(w, DER_BOOLEAN, BYTES_LIT("\xff"));
	*ret_value = der_open(w, DER_OCTET_STRING);
	return extension;
}

static void put_basic_constraints(struct writer *w, const struct x509_template *t)
{
	size_t value, extension = open_extension(w, BYTES_ARRAY(oid_basic_constraints), true, &value);
	size_t constraints = der_open(w, DER_SEQUENCE);
	uint8_t path_len = (uint8_t)t->path_len;
	if (t->ca)
		der_put(w, DER_BOOLEAN, BYTES_LIT("\xff"));
	if (t->path_len != X509_NO_PATH_LEN)
		der_put_unsigned(w, bytes_of(&path_len, 1));
	der_close(w, constraints);
	der_close(w, value);
	der_close(w, extension);
}

static void put_key_usage(struct writer *w, unsigned usage)
{
	uint8_t bits[2] = { 0, 0 };              /* unused bits, then the bits, first one highest */
	for (unsigned bit = 0; bit < 8; bit++)
		if (usage >> bit & 1)
			bits[1] |= (uint8_t)(0x80 >> bit);
	bits[0] = (uint8_t)__builtin_ctz(bits[1]);
	size_t value, extension = open_extension(w, BYTES_ARRAY(oid_key_usage), true, &value);
	der_put(w, DER_BIT_STRING, BYTES_ARRAY(bits));
	der_close(w, value);
	der_close(w, extension);
}

/* RFC 5280 4.2.1.1-2: how a verifier finds the issuer. False when SHA-1 is not to be had. */
static bool put_key_ids(struct writer *w, struct bytes subject_point, struct bytes issuer_point)
{
	uint8_t id[KEY_ID_SIZE];
	size_t value, extension = open_extension(w, BYTES_ARRAY(oid_subject_key_id), false, &value);
	if (!crypto_hash(HASH_SHA1, subject_point, id))
		return false;
	der_put(w, DER_OCTET_STRING, BYTES_ARRAY(id));
	der_close(w, value);
	der_close(w, extension);

	extension = open_extension(w, BYTES_ARRAY(oid_authority_key_id), false, &value);
	size_t authority = der_open(w, DER_SEQUENCE);
	if (!crypto_hash(HASH_SHA1, issuer_point, id))
		return false;
	der_put(w, DER_KEY_ID, BYTES_ARRAY(id));
	der_close(w, authority);
	der_close(w, value);
	der_close(w, extension);
	return true;
}

static bool put_tbs(struct writer *w, const struct x509_template *t, struct identity issuer, struct bytes point)
{
	size_t tbs = der_open(w, DER_SEQUENCE);
	der_put(w, DER_CONTEXT_0, BYTES_LIT("\x02\x01\x02"));
	der_put_unsigned(w, t->serial);
	put_bytes(w, BYTES_ARRAY(ecdsa_sha384));
	if (issuer.name.n > 0)
		put_bytes(w, issuer.name);
	else
		put_name(w, t->common_name);
	size_t validity = der_open(w, DER_SEQUENCE);
	put_time(w, t->not_before_s);
	put_time(w, t->not_after_s);
	der_close(w, validity);
	put_name(w, t->common_name);

	size_t key = der_open(w, DER_SEQUENCE);
	put_bytes(w, BYTES_ARRAY(p384_algorithm));
	size_t bits = der_open(w, DER_BIT_STRING);
	put_u8(w, 0);
	put_bytes(w, point);
	der_close(w, bits);
	der_close(w, key);

	size_t tagged = der_open(w, DER_CONTEXT_3), extensions = der_open(w, DER_SEQUENCE);
	put_basic_constraints(w, t);
	if (t->key_usage != 0)
		put_key_usage(w, t->key_usage);
	bool ok = put_key_ids(w, point, issuer.point);
	der_close(w, extensions);
	der_close(w, tagged);
	der_close(w, tbs);
	return ok && !w->full;
}

static bool issue(const struct p384 *issuer_key, struct identity issuer, const struct p384 *subject,
                  const struct x509_template *t, struct writer *der)
{
	uint8_t point[X509_POINT_SIZE], signature[P384_SIGNATURE_SIZE], buf[X509_ISSUED_MAX];
	struct writer w = writer_of(buf, sizeof buf);
	if (!template_ok(t) || !p384_point(subject, point))
		return false;
	size_t certificate = der_open(&w, DER_SEQUENCE);
	size_t from = w.at;
	if (issuer.point.n == 0)
		issuer.point = BYTES_ARRAY(point);
	if (!put_tbs(&w, t, issuer, BYTES_ARRAY(point)) ||
	    !p384_sign(issuer_key, bytes_of(buf + from, w.at - from), signature))
		return false;
	put_bytes(&w, BYTES_ARRAY(ecdsa_sha384));
	size_t bits = der_open(&w, DER_BIT_STRING);
	put_u8(&w, 0);
	size_t pair = der_open(&w, DER_SEQUENCE);
	der_put_unsigned(&w, bytes_of(signature, 48));
	der_put_unsigned(&w, bytes_of(signature + 48, 48));
	der_close(&w, pair);
	der_close(&w, bits);
	der_close(&w, certificate);
	if (w.full || der->full || w.at > der->cap - der->at)
		return false;
	put_bytes(der, writer_bytes(&w));
	return true;
}

bool x509_make_root(const struct p384 *key, const struct x509_template *t, struct writer *der)
{
	return issue(key, (struct identity){ BYTES_NONE, BYTES_NONE }, key, t, der);
}

bool x509_issue(const struct p384 *issuer_key, struct bytes issuer, const struct p384 *subject,
                const struct x509_template *t, struct writer *der)
{
	struct x509 parent;
	return x509_parse(issuer, &parent) == X509_OK &&
		issue(issuer_key, (struct identity){ parent.subject, parent.point }, subject, t, der);
}

void x509_put_pem(struct writer *pem, struct bytes der)
{
	put_str(pem, "-----BEGIN CERTIFICATE-----\n");
	for (size_t i = 0; i < der.n; i += 48) {
		put_base64(pem, bytes_of(der.p + i, der.n - i < 48 ? der.n - i : 48));
		put_u8(pem, '\n');
	}
	put_str(pem, "-----END CERTIFICATE-----\n");
}
