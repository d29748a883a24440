/* One function per key, found in a table. A value that its function refuses is looked at once more
 * to tell broken CBOR (truncated, indefinite …) from sound CBOR of the wrong kind. Counts are bounded
 * by the table's and the arrays' sizes before anything is stored. */
#include "format/attest_doc.h"

#include "format/cbor.h"

static enum doc_result why(const struct reader *r, enum doc_result wrong_type)
{
	switch (cbor_fault(r)) {
	case CBOR_TRUNCATED: return DOC_TRUNCATED;
	case CBOR_INDEFINITE: return DOC_INDEFINITE_LENGTH;
	case CBOR_NOT_SHORTEST: return DOC_NOT_SHORTEST;
	case CBOR_TAGGED: return DOC_TAGGED;
	case CBOR_NOT_UTF8: return DOC_NOT_UTF8;
	case CBOR_RESERVED: case CBOR_TOO_DEEP: return DOC_MALFORMED;
	case CBOR_FINE: case CBOR_OTHER_SIMPLE: return wrong_type;     /* a float is a wrong type */
	}
	return DOC_MALFORMED;
}

static enum doc_result get_module_id(struct reader *r, struct attest_doc *d)
{
	if (cbor_peek(r) != CBOR_TEXT)
		return DOC_BAD_MODULE_ID;
	d->module_id = cbor_get_text(r);
	for (size_t i = 0; i < d->module_id.n; i++)
		if (d->module_id.p[i] < 0x20 || d->module_id.p[i] == 0x7f)
			return DOC_BAD_MODULE_ID;
	return !r->bad && d->module_id.n > 0 && d->module_id.n <= ATTEST_DOC_MODULE_ID_MAX
		? DOC_OK : DOC_BAD_MODULE_ID;
}

static enum doc_result get_digest(struct reader *r, struct attest_doc *d)
{
	(void)d;
	return cbor_peek(r) == CBOR_TEXT && bytes_equal(cbor_get_text(r), BYTES_LIT("SHA384"))
		? DOC_OK : DOC_BAD_DIGEST;
}

static enum doc_result get_timestamp(struct reader *r, struct attest_doc *d)
{
	if (cbor_peek(r) != CBOR_UINT)
		return DOC_BAD_TIMESTAMP;
	d->timestamp_ms = cbor_get_uint(r);
	/* the bound keeps every later sum of times inside 64 bits */
	return !r->bad && d->timestamp_ms > 0 && d->timestamp_ms <= UINT64_C(1) << 53
		? DOC_OK : DOC_BAD_TIMESTAMP;
}

static enum doc_result get_pcrs(struct reader *r, struct attest_doc *d)
{
	if (cbor_peek(r) != CBOR_MAP)
		return DOC_BAD_PCRS;
	size_t n = cbor_get_map(r);
	if (r->bad)
		return DOC_BAD_PCRS;
	if (n == 0)
		return DOC_NO_PCRS;
	for (; n > 0; n--) {
		if (cbor_peek(r) != CBOR_UINT)
			return DOC_BAD_PCRS;
		uint64_t index = cbor_get_uint(r);
		if (index >= ATTEST_DOC_PCRS)
			return DOC_BAD_PCR_INDEX;
		if (d->pcr_mask >> index & 1)
			return DOC_DUPLICATE_PCR;
		if (cbor_peek(r) != CBOR_BYTES)
			return DOC_BAD_PCRS;
		struct bytes value = cbor_get_bytes(r);
		if (r->bad)
			return DOC_BAD_PCRS;
		if (value.n != ATTEST_DOC_PCR_SIZE)
			return DOC_BAD_PCR_SIZE;
		d->pcr[index] = value;
		d->pcr_mask |= UINT32_C(1) << index;
	}
	return DOC_OK;
}

static bool get_der(struct reader *r, struct bytes *ret)
{
	if (cbor_peek(r) != CBOR_BYTES)
		return false;
	*ret = cbor_get_bytes(r);
	return !r->bad && ret->n > 0 && ret->n <= ATTEST_DOC_CERTIFICATE_MAX;
}

static enum doc_result get_certificate(struct reader *r, struct attest_doc *d)
{
	return get_der(r, &d->certificate) ? DOC_OK : DOC_BAD_CERTIFICATE;
}

static enum doc_result get_cabundle(struct reader *r, struct attest_doc *d)
{
	if (cbor_peek(r) != CBOR_ARRAY)
		return DOC_BAD_CABUNDLE;
	size_t n = cbor_get_array(r);
	if (r->bad)
		return DOC_BAD_CABUNDLE;
	if (n == 0)
		return DOC_EMPTY_CABUNDLE;
	if (n > ATTEST_DOC_CABUNDLE_MAX)
		return DOC_LONG_CABUNDLE;
	for (size_t i = 0; i < n; i++)
		if (!get_der(r, &d->cabundle[i]))
			return DOC_BAD_CABUNDLE;
	d->cabundle_count = n;
	return DOC_OK;
}

static bool get_optional(struct reader *r, bool *ret_has, struct bytes *ret)
{
	*ret = cbor_get_bytes_or_null(r, ret_has);
	return !r->bad && ret->n <= ATTEST_DOC_FIELD_MAX;
}

static enum doc_result get_public_key(struct reader *r, struct attest_doc *d)
{
	bool ok = get_optional(r, &d->has_public_key, &d->public_key);
	return ok && (!d->has_public_key || d->public_key.n > 0) ? DOC_OK : DOC_BAD_PUBLIC_KEY;
}

static enum doc_result get_user_data(struct reader *r, struct attest_doc *d)
{
	return get_optional(r, &d->has_user_data, &d->user_data) ? DOC_OK : DOC_BAD_USER_DATA;
}

static enum doc_result get_nonce(struct reader *r, struct attest_doc *d)
{
	return get_optional(r, &d->has_nonce, &d->nonce) ? DOC_OK : DOC_BAD_NONCE;
}

static const struct field {
	const char *name;
	enum doc_result (*get)(struct reader *r, struct attest_doc *d);
	bool optional;
} fields[] = {
	{ "module_id", get_module_id, false },
	{ "digest", get_digest, false },
	{ "timestamp", get_timestamp, false },
	{ "pcrs", get_pcrs, false },
	{ "certificate", get_certificate, false },
	{ "cabundle", get_cabundle, false },
	{ "public_key", get_public_key, true },
	{ "user_data", get_user_data, true },
	{ "nonce", get_nonce, true },
};
enum { FIELD_COUNT = sizeof fields / sizeof fields[0] };

static size_t find_field(struct bytes key)
{
	size_t i = 0;
	while (i < FIELD_COUNT && !bytes_equal(key, bytes_str(fields[i].name)))
		i++;
	return i;
}

enum doc_result attest_doc_parse(struct bytes payload, struct attest_doc *ret)
{
	struct reader r = reader_of(payload), before = r;
	if (cbor_peek(&r) != CBOR_MAP)
		return why(&r, DOC_NOT_MAP);
	size_t pairs = cbor_get_map(&r);
	if (r.bad)
		return why(&before, DOC_MALFORMED);

	struct attest_doc d = { 0 };
	unsigned seen = 0;
	for (; pairs > 0; pairs--) {
		before = r;
		struct bytes key = cbor_peek(&r) == CBOR_TEXT ? cbor_get_text(&r) : BYTES_NONE;
		if (r.bad || key.p == NULL)
			return why(&before, DOC_NOT_MAP);
		size_t f = find_field(key);
		if (f == FIELD_COUNT)
			return DOC_UNKNOWN_KEY;
		if (seen >> f & 1)
			return DOC_DUPLICATE_KEY;
		seen |= 1u << f;
		before = r;
		enum doc_result e = fields[f].get(&r, &d);
		if (e != DOC_OK)
			return why(&before, e);
	}
	if (!reader_done(&r))
		return DOC_TRAILING_BYTES;
	for (size_t f = 0; f < FIELD_COUNT; f++)
		if (!(seen >> f & 1) && !fields[f].optional)
			return DOC_MISSING_KEY;
	*ret = d;
	return DOC_OK;
}

static void put_optional(struct writer *w, const char *key, bool has, struct bytes value)
{
	cbor_put_str(w, key);
	if (has)
		cbor_put_bytes(w, value);
	else
		cbor_put_null(w);
}

void attest_doc_put(struct writer *w, const struct attest_doc *d)
{
	cbor_put_map(w, FIELD_COUNT);
	cbor_put_str(w, "module_id");
	cbor_put_text(w, d->module_id);
	cbor_put_str(w, "digest");
	cbor_put_str(w, "SHA384");
	cbor_put_str(w, "timestamp");
	cbor_put_uint(w, d->timestamp_ms);
	cbor_put_str(w, "pcrs");
	cbor_put_map(w, (size_t)__builtin_popcount(d->pcr_mask));
	for (size_t i = 0; i < ATTEST_DOC_PCRS; i++) {
		if (!(d->pcr_mask >> i & 1))
			continue;
		cbor_put_uint(w, i);
		cbor_put_bytes(w, d->pcr[i]);
	}
	cbor_put_str(w, "certificate");
	cbor_put_bytes(w, d->certificate);
	cbor_put_str(w, "cabundle");
	cbor_put_array(w, d->cabundle_count);
	for (size_t i = 0; i < d->cabundle_count; i++)
		cbor_put_bytes(w, d->cabundle[i]);
	put_optional(w, "public_key", d->has_public_key, d->public_key);
	put_optional(w, "user_data", d->has_user_data, d->user_data);
	put_optional(w, "nonce", d->has_nonce, d->nonce);
}
