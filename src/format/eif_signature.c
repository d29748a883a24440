/* The section comes from whoever made or changed the image. Its arrays of integers are decoded one element a byte into
 * space the caller provides, so nothing here can grow beyond the section itself. */
#include "format/eif_signature.h"

#include "format/cbor.h"

#define KEY_CERTIFICATE "signing_certificate"
#define KEY_SIGNATURE "signature"
#define KEY_INDEX "register_index"
#define KEY_VALUE "register_value"

/* A byte string, or an array of integers below 256 that is decoded to *scratch, which advances. */
static enum eif_signature_result get_octets(struct reader *r, uint8_t **scratch, struct bytes *ret)
{
	if (cbor_peek(r) == CBOR_BYTES) {
		*ret = cbor_get_bytes(r);
		return r->bad ? EIF_SIGNATURE_NOT_CBOR : EIF_SIGNATURE_OK;
	}
	if (cbor_peek(r) != CBOR_ARRAY)
		return EIF_SIGNATURE_BAD_BYTES;
	size_t n = cbor_get_array(r);
	for (size_t i = 0; i < n; i++) {
		uint64_t v = cbor_get_uint(r);
		if (r->bad || v > UINT8_MAX)
			return EIF_SIGNATURE_BAD_BYTES;
		(*scratch)[i] = (uint8_t)v;
	}
	if (r->bad)
		return EIF_SIGNATURE_BAD_BYTES;
	*ret = bytes_of(*scratch, n);
	*scratch += n;
	return EIF_SIGNATURE_OK;
}

static void put_octets(struct writer *w, struct bytes b)
{
	cbor_put_array(w, b.n);
	for (size_t i = 0; i < b.n; i++)
		cbor_put_uint(w, b.p[i]);
}

/* A map with exactly these two keys in any order; each call of the loop leaves r at a value and says whose. */
struct two_keys { struct bytes key[2]; bool have[2]; size_t left; };

static enum eif_signature_result next_key(struct reader *r, struct two_keys *k, int *ret_which)
{
	if (k->left == 0)
		return k->have[0] && k->have[1] ? EIF_SIGNATURE_OK : EIF_SIGNATURE_MISSING_KEY;
	k->left--;
	struct bytes key = cbor_get_text(r);
	*ret_which = -1;
	for (int i = 0; i < 2; i++)
		if (!r->bad && bytes_equal(key, k->key[i]))
			*ret_which = i;
	if (*ret_which < 0)
		return EIF_SIGNATURE_UNKNOWN_KEY;
	if (k->have[*ret_which])
		return EIF_SIGNATURE_DUPLICATE_KEY;
	k->have[*ret_which] = true;
	return EIF_SIGNATURE_OK;
}

static enum eif_signature_result get_entry(struct reader *r, uint8_t *scratch, struct eif_signature *ret)
{
	if (cbor_peek(r) != CBOR_MAP)
		return EIF_SIGNATURE_NOT_MAP;
	struct two_keys k = { { BYTES_LIT(KEY_CERTIFICATE), BYTES_LIT(KEY_SIGNATURE) }, { false, false }, cbor_get_map(r) };
	enum eif_signature_result e;
	for (;;) {
		int which = -1;
		bool over = k.left == 0;
		if ((e = next_key(r, &k, &which)) != EIF_SIGNATURE_OK || over)
			return e;
		if ((e = get_octets(r, &scratch, which == 0 ? &ret->certificate_pem : &ret->cose)) != EIF_SIGNATURE_OK)
			return e;
	}
}

enum eif_signature_result eif_signature_parse(struct bytes section, uint8_t *scratch, struct eif_signature *ret)
{
	struct reader r = reader_of(section);
	/* all of it first: what is broken as CBOR is not reported as a wrong type */
	if (cbor_fault(&r) != CBOR_FINE)
		return EIF_SIGNATURE_NOT_CBOR;
	if (cbor_peek(&r) != CBOR_ARRAY)
		return EIF_SIGNATURE_NOT_LIST;
	size_t n = cbor_get_array(&r);
	if (n == 0)
		return EIF_SIGNATURE_EMPTY;
	if (n > 1)
		return EIF_SIGNATURE_SECOND;
	struct eif_signature s;
	enum eif_signature_result e = get_entry(&r, scratch, &s);
	if (e != EIF_SIGNATURE_OK)
		return e;
	if (!reader_done(&r))
		return EIF_SIGNATURE_TRAILING_BYTES;
	*ret = s;
	return EIF_SIGNATURE_OK;
}

void eif_signature_put(struct writer *w, const struct eif_signature *s)
{
	cbor_put_array(w, 1);
	cbor_put_map(w, 2);
	cbor_put_str(w, KEY_CERTIFICATE);
	put_octets(w, s->certificate_pem);
	cbor_put_str(w, KEY_SIGNATURE);
	put_octets(w, s->cose);
}

enum eif_signature_result eif_signed_parse(struct bytes payload, uint64_t *ret_index, uint8_t ret_value[EIF_REGISTER_SIZE])
{
	struct reader r = reader_of(payload);
	if (payload.n > EIF_SIGNED_MAX || cbor_fault(&r) != CBOR_FINE || cbor_peek(&r) != CBOR_MAP)
		return EIF_SIGNATURE_BAD_PAYLOAD;
	struct two_keys k = { { BYTES_LIT(KEY_INDEX), BYTES_LIT(KEY_VALUE) }, { false, false }, cbor_get_map(&r) };
	uint8_t room[EIF_SIGNED_MAX], *scratch = room;
	struct bytes value = BYTES_NONE;
	uint64_t index = 0;
	for (int which = -1; k.left > 0;) {
		if (next_key(&r, &k, &which) != EIF_SIGNATURE_OK)
			return EIF_SIGNATURE_BAD_PAYLOAD;
		if (which == 0)
			index = cbor_get_uint(&r);
		else if (get_octets(&r, &scratch, &value) != EIF_SIGNATURE_OK)
			return EIF_SIGNATURE_BAD_PAYLOAD;
	}
	if (!k.have[0] || !k.have[1] || !reader_done(&r))
		return EIF_SIGNATURE_BAD_PAYLOAD;
	if (value.n != EIF_REGISTER_SIZE)
		return EIF_SIGNATURE_BAD_VALUE;
	memcpy(ret_value, value.p, EIF_REGISTER_SIZE);
	*ret_index = index;
	return EIF_SIGNATURE_OK;
}

void eif_signed_put(struct writer *w, const uint8_t pcr0[EIF_REGISTER_SIZE])
{
	cbor_put_map(w, 2);
	cbor_put_str(w, KEY_INDEX);
	cbor_put_uint(w, 0);
	cbor_put_str(w, KEY_VALUE);
	put_octets(w, bytes_of(pcr0, EIF_REGISTER_SIZE));
}

#define SIGN_AGAIN "; sign the image again"

static const struct { const char *name, *message; } rows[EIF_SIGNATURE_RESULT_COUNT] = {
	[EIF_SIGNATURE_OK] = { "ok", "the signature is the certificate's, over this image" },
	[EIF_SIGNATURE_NOT_CBOR] = { "signature-not-cbor", "the signature section is not CBOR of the kind that belongs there" SIGN_AGAIN },
	[EIF_SIGNATURE_NOT_LIST] = { "signature-not-list", "the signature section is not a list" SIGN_AGAIN },
	[EIF_SIGNATURE_EMPTY] = { "signature-empty", "the signature section lists no signature" SIGN_AGAIN },
	[EIF_SIGNATURE_SECOND] = { "signature-second", "the signature section lists more than one signature, of which only the first is ever checked" SIGN_AGAIN },
	[EIF_SIGNATURE_NOT_MAP] = { "signature-not-map", "an entry of the signature section is not a map" SIGN_AGAIN },
	[EIF_SIGNATURE_UNKNOWN_KEY] = { "signature-unknown-key", "an entry of the signature section holds more than certificate and signature" SIGN_AGAIN },
	[EIF_SIGNATURE_DUPLICATE_KEY] = { "signature-duplicate-key", "an entry of the signature section says something twice" SIGN_AGAIN },
	[EIF_SIGNATURE_MISSING_KEY] = { "signature-missing-key", "an entry of the signature section lacks its certificate or its signature" SIGN_AGAIN },
	[EIF_SIGNATURE_BAD_BYTES] = { "signature-bad-bytes", "certificate or signature is neither bytes nor an array of integers below 256" SIGN_AGAIN },
	[EIF_SIGNATURE_TRAILING_BYTES] = { "signature-trailing-bytes", "bytes follow the signature list" SIGN_AGAIN },
	[EIF_SIGNATURE_BAD_COSE] = { "signature-bad-cose", "the signature is not the plain COSE_Sign1 it must be" SIGN_AGAIN },
	[EIF_SIGNATURE_BAD_ALGORITHM] = { "signature-bad-algorithm", "the signature is not made with ES384" SIGN_AGAIN " with a P-384 key" },
	[EIF_SIGNATURE_BAD_PAYLOAD] = { "signature-bad-payload", "what is signed is not a register's index and value" SIGN_AGAIN },
	[EIF_SIGNATURE_WRONG_REGISTER] = { "signature-wrong-register", "another register than PCR0 is signed" SIGN_AGAIN },
	[EIF_SIGNATURE_BAD_VALUE] = { "signature-bad-value", "the signed register does not have 48 bytes" SIGN_AGAIN },
	[EIF_SIGNATURE_WRONG_VALUE] = { "signature-wrong-value", "the signature is over another PCR0: it belongs to another image, or this one was changed; build and sign it again" },
	[EIF_SIGNATURE_NOT_PEM] = { "certificate-not-pem", "the certificate is not one \"BEGIN CERTIFICATE\" block of PEM (a chain is not wanted)" },
	[EIF_SIGNATURE_BAD_CERTIFICATE] = { "certificate-malformed", "the certificate is malformed; make it again" },
	[EIF_SIGNATURE_NOT_P384] = { "certificate-not-p384", "the certificate's key is not on P-384, the only curve used here; make one with: openssl ecparam -name secp384r1 -genkey" },
	[EIF_SIGNATURE_EXPIRED] = { "certificate-expired", "the certificate has expired: an enclave with it does not start; sign with one that is valid" },
	[EIF_SIGNATURE_NOT_YET_VALID] = { "certificate-not-yet-valid", "the certificate is not valid yet; wait, check this machine's clock, or sign with another one" },
	[EIF_SIGNATURE_KEY_MISMATCH] = { "key-mismatch", "the private key does not belong to the certificate; name the pair that does" },
	[EIF_SIGNATURE_FORGED] = { "signature-forged", "the signature was not made by the certificate's key over this image" SIGN_AGAIN },
};

const char *eif_signature_name(enum eif_signature_result r)
{
	return (unsigned)r < EIF_SIGNATURE_RESULT_COUNT ? rows[r].name : "signature-unknown";
}

const char *eif_signature_message(enum eif_signature_result r)
{
	return (unsigned)r < EIF_SIGNATURE_RESULT_COUNT ? rows[r].message : "unknown";
}
