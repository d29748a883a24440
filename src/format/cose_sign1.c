/* A parser of one shape. Each step first asks whether the item ahead is what belongs there; only when
 * it is not does it look for the reason (cbor_fault), so that a truncation is not reported as a wrong
 * type. All input is a stranger's. */
#include "format/cose_sign1.h"

#include "format/cbor.h"

enum { HEADER_ALG = 1, HEADER_CRIT = 2, ALG_ES384 = -35 };

static const uint8_t es384_header[] = { 0xa1, 0x01, 0x38, 0x22 };

struct bytes cose_sign1_es384_header(void) { return BYTES_ARRAY(es384_header); }

/* The item ahead of r is not what belongs there: is it broken CBOR, or just another type? */
static enum cose_result why(const struct reader *r, enum cose_result wrong_type)
{
	switch (cbor_fault(r)) {
	case CBOR_FINE: return wrong_type;
	case CBOR_TRUNCATED: return COSE_TRUNCATED;
	case CBOR_INDEFINITE: return COSE_INDEFINITE_LENGTH;
	case CBOR_NOT_SHORTEST: return COSE_NOT_SHORTEST;
	case CBOR_TAGGED: return COSE_TAGGED;
	default: return COSE_MALFORMED;
	}
}

/* Labels are integers or text. Anything but alg is refused, so a duplicate can only be of alg. */
static enum cose_result get_protected(struct bytes header)
{
	struct reader r = reader_of(header);
	if (header.n == 0)               /* RFC 9052 writes the empty map so */
		return COSE_NO_ALGORITHM;
	enum cbor_fault fault = cbor_fault(&r);
	if (fault == CBOR_TRUNCATED)     /* inside its string; the message itself is whole */
		return COSE_BAD_PROTECTED;
	if (fault != CBOR_FINE || cbor_peek(&r) != CBOR_MAP)
		return why(&r, COSE_BAD_PROTECTED);
	bool have_alg = false, have_unknown = false;
	enum cose_result alg = COSE_NO_ALGORITHM;
	for (size_t n = cbor_get_map(&r); n > 0; n--) {
		enum cbor_type type = cbor_peek(&r);
		if (type != CBOR_UINT && type != CBOR_NEGATIVE && type != CBOR_TEXT)
			return COSE_BAD_PROTECTED;
		uint64_t label = 0;
		if (type == CBOR_UINT)
			label = cbor_get_uint(&r);
		else
			cbor_skip(&r);
		if (label == HEADER_CRIT)
			return COSE_CRITICAL_HEADER;
		if (label != HEADER_ALG) {
			have_unknown = true;
			cbor_skip(&r);
			continue;
		}
		if (have_alg)
			return COSE_BAD_PROTECTED;
		have_alg = true;
		alg = COSE_BAD_ALGORITHM;
		if (cbor_peek(&r) != CBOR_NEGATIVE)
			cbor_skip(&r);
		else if (cbor_get_int(&r) == ALG_ES384)
			alg = COSE_OK;
		if (r.bad)               /* a negative integer below -2^63 */
			return COSE_BAD_ALGORITHM;
	}
	if (!reader_done(&r))
		return COSE_BAD_PROTECTED;
	if (alg != COSE_OK)
		return alg;
	return have_unknown ? COSE_UNKNOWN_HEADER : COSE_OK;
}

static enum cose_result get_string(struct reader *r, enum cose_result wrong_type, struct bytes *ret)
{
	struct reader before = *r;
	if (cbor_peek(r) == CBOR_BYTES)
		*ret = cbor_get_bytes(r);
	else
		r->bad = true;
	return r->bad ? why(&before, wrong_type) : COSE_OK;
}

enum cose_result cose_sign1_parse(struct bytes in, struct cose_sign1 *ret)
{
	struct reader r = reader_of(in);
	if (cbor_peek(&r) != CBOR_ARRAY)
		return why(&r, COSE_NOT_ARRAY);
	struct reader before = r;
	size_t elements = cbor_get_array(&r);
	if (r.bad)
		return why(&before, COSE_MALFORMED);
	if (elements != 4)
		return COSE_BAD_LENGTH;

	struct cose_sign1 c;
	enum cose_result e;
	if ((e = get_string(&r, COSE_BAD_PROTECTED, &c.protected_header)) != COSE_OK)
		return e;
	before = r;
	if (cbor_peek(&r) != CBOR_MAP || cbor_get_map(&r) != 0 || r.bad)
		return why(&before, COSE_UNPROTECTED_HEADER);
	if ((e = get_string(&r, COSE_BAD_PAYLOAD, &c.payload)) != COSE_OK)
		return e;
	if ((e = get_string(&r, COSE_BAD_SIGNATURE_SIZE, &c.signature)) != COSE_OK)
		return e;
	if (!reader_done(&r))
		return COSE_TRAILING_BYTES;

	if ((e = get_protected(c.protected_header)) != COSE_OK)
		return e;
	if (c.payload.n == 0)
		return COSE_BAD_PAYLOAD;
	if (c.signature.n != COSE_SIGN1_SIGNATURE_SIZE)
		return COSE_BAD_SIGNATURE_SIZE;
	*ret = c;
	return COSE_OK;
}

void cose_sign1_tbs_put(struct writer *w, struct bytes protected_header, struct bytes payload)
{
	cbor_put_array(w, 4);
	cbor_put_str(w, "Signature1");
	cbor_put_bytes(w, protected_header);
	cbor_put_bytes(w, BYTES_NONE);
	cbor_put_bytes(w, payload);
}

void cose_sign1_put(struct writer *w, struct bytes payload,
                    const uint8_t signature[COSE_SIGN1_SIGNATURE_SIZE])
{
	cbor_put_array(w, 4);
	cbor_put_bytes(w, cose_sign1_es384_header());
	cbor_put_map(w, 0);
	cbor_put_bytes(w, payload);
	cbor_put_bytes(w, bytes_of(signature, COSE_SIGN1_SIGNATURE_SIZE));
}
