/* Every message is a row of a table: its name and its fields, each with a type and a place in
 * the C structure. One reader and one writer walk the tables, so a request and the answer to it
 * cannot disagree about a name. The reader distrusts all of it: whoever holds the simulator's
 * socket, and the simulator itself. */
#include "format/nsm.h"

#include "format/cbor.h"

enum field_type {
	FIELD_U16,
	FIELD_DATA,                 /* byte string; a text string is taken for its bytes, as serde_bytes does */
	FIELD_DATA_OR_NULL,         /* likewise, or null; absent counts as null */
	FIELD_PCR,                  /* byte string of NSM_PCR_SIZE */
	FIELD_BYTES,                /* byte string, not empty */
	FIELD_BOOL,
	FIELD_MODULE_ID,
	FIELD_INDEX_SET,            /* array of PCR indices, as a bit mask */
	FIELD_DIGEST
};

struct field { const char *name; enum field_type type; size_t offset; };
enum { FIELDS_MAX = 7 };
struct shape { bool known; size_t count; struct field field[FIELDS_MAX]; };   /* count 0: a text string */

#define AT(type, member) offsetof(struct nsm_##type, member)

static const struct shape requests[NSM_KIND_COUNT] = {
	[NSM_DESCRIBE_PCR] = { true, 1, { { "index", FIELD_U16, AT(request, index) } } },
	[NSM_EXTEND_PCR] = { true, 2, { { "index", FIELD_U16, AT(request, index) },
	                                { "data", FIELD_DATA, AT(request, data) } } },
	[NSM_LOCK_PCR] = { true, 1, { { "index", FIELD_U16, AT(request, index) } } },
	[NSM_LOCK_PCRS] = { true, 1, { { "range", FIELD_U16, AT(request, range) } } },
	[NSM_DESCRIBE_NSM] = { .known = true },
	[NSM_ATTESTATION] = { true, 3, { { "user_data", FIELD_DATA_OR_NULL, AT(request, user_data) },
	                                 { "nonce", FIELD_DATA_OR_NULL, AT(request, nonce) },
	                                 { "public_key", FIELD_DATA_OR_NULL, AT(request, public_key) } } },
	[NSM_GET_RANDOM] = { .known = true },
};

static const struct shape responses[NSM_KIND_COUNT] = {
	[NSM_DESCRIBE_PCR] = { true, 2, { { "lock", FIELD_BOOL, AT(response, lock) },
	                                  { "data", FIELD_PCR, AT(response, data) } } },
	[NSM_EXTEND_PCR] = { true, 1, { { "data", FIELD_PCR, AT(response, data) } } },
	[NSM_LOCK_PCR] = { .known = true },
	[NSM_LOCK_PCRS] = { .known = true },
	[NSM_DESCRIBE_NSM] = { true, 7, { { "version_major", FIELD_U16, AT(response, version_major) },
	                                  { "version_minor", FIELD_U16, AT(response, version_minor) },
	                                  { "version_patch", FIELD_U16, AT(response, version_patch) },
	                                  { "module_id", FIELD_MODULE_ID, AT(response, module_id) },
	                                  { "max_pcrs", FIELD_U16, AT(response, max_pcrs) },
	                                  { "locked_pcrs", FIELD_INDEX_SET, AT(response, locked_pcrs) },
	                                  { "digest", FIELD_DIGEST, AT(response, digest) } } },
	[NSM_ATTESTATION] = { true, 1, { { "document", FIELD_BYTES, AT(response, document) } } },
	/* the kernel's own reader wants "random" to be the only field */
	[NSM_GET_RANDOM] = { true, 1, { { "random", FIELD_BYTES, AT(response, random) } } },
};

static const char *const kind_names[NSM_KIND_COUNT] = {
	"DescribePCR", "ExtendPCR", "LockPCR", "LockPCRs", "DescribeNSM", "Attestation", "GetRandom", "Error"
};
static const char *const error_names[NSM_ERROR_END] = {
	NULL, "InvalidArgument", "InvalidIndex", "InvalidResponse", "ReadOnlyIndex", "InvalidOperation",
	"BufferTooSmall", "InputTooLarge", "InternalError"
};
static const char *const digest_names[NSM_DIGEST_COUNT] = { "SHA256", "SHA384", "SHA512" };

const char *nsm_error_name(enum nsm_error e)
{
	return e > 0 && e < NSM_ERROR_END ? error_names[e] : "InternalError";
}

const char *nsm_kind_name(enum nsm_kind k)
{
	return (unsigned)k < NSM_KIND_COUNT ? kind_names[k] : "?";
}

const char *nsm_result_name(enum nsm_result r)
{
	static const char *const names[] = { "ok", "too-long", "malformed", "unknown-kind", "duplicate-field",
	                                     "missing-field", "bad-field" };
	return (unsigned)r < sizeof names / sizeof *names ? names[r] : "?";
}

/* Index of the name in the table, or n. */
static size_t find_name(struct bytes name, const char *const *table, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (table[i] != NULL && bytes_equal(name, bytes_str(table[i])))
			return i;
	return n;
}

static bool get_data(struct reader *r, struct bytes *ret)
{
	*ret = cbor_peek(r) == CBOR_TEXT ? cbor_get_text(r) : cbor_get_bytes(r);
	return !r->bad;
}

static bool get_index_set(struct reader *r, uint32_t *ret)
{
	size_t n = cbor_get_array(r);
	uint32_t set = 0;
	for (size_t i = 0; i < n && !r->bad; i++) {
		uint64_t index = cbor_get_uint(r);
		if (index >= NSM_PCR_COUNT || set & UINT32_C(1) << index)
			return false;
		set |= UINT32_C(1) << index;
	}
	*ret = set;
	return !r->bad;
}

/* Reads one value into its place. False: another type, or out of range. */
static bool get_field(struct reader *r, const struct field *f, void *into)
{
	void *at = (char *)into + f->offset;
	struct bytes b;
	switch (f->type) {
	case FIELD_U16: {
		uint64_t v = cbor_get_uint(r);
		if (r->bad || v > UINT16_MAX)
			return false;
		*(uint16_t *)at = (uint16_t)v;
		return true;
	}
	case FIELD_DATA:
		return get_data(r, at);
	case FIELD_DATA_OR_NULL:
		if (cbor_peek(r) != CBOR_NULL)
			return get_data(r, at);
		cbor_get_null(r);
		return true;
	case FIELD_PCR:
		*(struct bytes *)at = b = cbor_get_bytes(r);
		return b.n == NSM_PCR_SIZE;
	case FIELD_BYTES:
		*(struct bytes *)at = b = cbor_get_bytes(r);
		return b.n > 0;
	case FIELD_BOOL:
		*(bool *)at = cbor_get_bool(r);
		return !r->bad;
	case FIELD_MODULE_ID:
		*(struct bytes *)at = b = cbor_get_text(r);
		return b.n > 0 && b.n <= NSM_MODULE_ID_MAX;
	case FIELD_INDEX_SET:
		return get_index_set(r, at);
	case FIELD_DIGEST: {
		size_t i = find_name(cbor_get_text(r), digest_names, NSM_DIGEST_COUNT);
		*(enum nsm_digest *)at = (enum nsm_digest)i;
		return i < NSM_DIGEST_COUNT;
	}
	}
	return false;
}

static enum nsm_result get_fields(struct reader *r, const struct shape *s, void *into)
{
	bool seen[FIELDS_MAX] = { false };
	size_t pairs = cbor_get_map(r);
	for (size_t i = 0; i < pairs; i++) {
		struct bytes name = cbor_get_text(r);
		if (r->bad)
			return NSM_MALFORMED;
		size_t k = 0;
		while (k < s->count && !bytes_equal(name, bytes_str(s->field[k].name)))
			k++;
		if (k == s->count) {
			cbor_skip(r);
			continue;
		}
		if (seen[k])
			return NSM_DUPLICATE_FIELD;
		seen[k] = true;
		struct reader whole = *r;
		if (!get_field(r, &s->field[k], into)) {
			cbor_skip(&whole);
			return whole.bad ? NSM_MALFORMED : NSM_BAD_FIELD;
		}
	}
	if (!reader_done(r))
		return NSM_MALFORMED;
	for (size_t k = 0; k < s->count; k++)
		if (!seen[k] && s->field[k].type != FIELD_DATA_OR_NULL)
			return NSM_MISSING_FIELD;
	return NSM_OK;
}

/* Either shape; *ret_kind says which row of the table it was. */
static enum nsm_result get_message(struct reader *r, const struct shape *table, void *into, enum nsm_kind *ret_kind)
{
	bool is_map = cbor_peek(r) == CBOR_MAP;
	if (is_map && cbor_get_map(r) != 1)
		return NSM_MALFORMED;
	struct bytes name = cbor_get_text(r);
	if (r->bad)
		return NSM_MALFORMED;
	size_t kind = find_name(name, kind_names, NSM_KIND_COUNT);
	*ret_kind = (enum nsm_kind)kind;
	if (kind == NSM_KIND_COUNT || !table[kind].known || is_map != (table[kind].count > 0))
		return NSM_UNKNOWN_KIND;
	if (is_map)
		return get_fields(r, &table[kind], into);
	return reader_done(r) ? NSM_OK : NSM_MALFORMED;
}

enum nsm_result nsm_request_parse(struct bytes in, struct nsm_request *ret)
{
	if (in.n > NSM_REQUEST_MAX)
		return NSM_TOO_LONG;
	struct nsm_request q = { 0 };
	struct reader r = reader_of(in);
	enum nsm_result result = get_message(&r, requests, &q, &q.kind);
	if (result == NSM_OK)
		*ret = q;
	return result;
}

/* {"Error": name} alone carries a text string where the others have a map. */
static bool get_error(struct bytes in, struct nsm_response *p, enum nsm_result *ret)
{
	struct reader r = reader_of(in);
	if (cbor_peek(&r) != CBOR_MAP || cbor_get_map(&r) != 1 ||
	    !bytes_equal(cbor_get_text(&r), bytes_str(kind_names[NSM_ERROR])))
		return false;
	bool is_text = cbor_peek(&r) == CBOR_TEXT;
	size_t e = find_name(cbor_get_text(&r), error_names, NSM_ERROR_END);
	p->kind = NSM_ERROR;
	p->error = (enum nsm_error)e;
	if (is_text && r.bad)
		*ret = NSM_MALFORMED;
	else if (!is_text || e == NSM_ERROR_END)
		*ret = NSM_BAD_FIELD;
	else
		*ret = reader_done(&r) ? NSM_OK : NSM_MALFORMED;
	return true;
}

enum nsm_result nsm_response_parse(struct bytes in, struct nsm_response *ret)
{
	if (in.n > NSM_RESPONSE_MAX)
		return NSM_TOO_LONG;
	struct nsm_response p = { 0 };
	struct reader r = reader_of(in);
	enum nsm_result result;
	if (!get_error(in, &p, &result))
		result = get_message(&r, responses, &p, &p.kind);
	if (result == NSM_OK)
		*ret = p;
	return result;
}

static void put_index_set(struct writer *w, uint32_t set)
{
	cbor_put_array(w, (size_t)__builtin_popcount(set));
	for (unsigned i = 0; i < NSM_PCR_COUNT; i++)
		if (set & UINT32_C(1) << i)
			cbor_put_uint(w, i);
}

static void put_field(struct writer *w, const struct field *f, const void *from)
{
	const void *at = (const char *)from + f->offset;
	const struct bytes *b = at;
	switch (f->type) {
	case FIELD_U16: cbor_put_uint(w, *(const uint16_t *)at); return;
	case FIELD_DATA: case FIELD_PCR: case FIELD_BYTES: cbor_put_bytes(w, *b); return;
	case FIELD_DATA_OR_NULL:
		if (b->p == NULL)
			cbor_put_null(w);
		else
			cbor_put_bytes(w, *b);
		return;
	case FIELD_BOOL: cbor_put_bool(w, *(const bool *)at); return;
	case FIELD_MODULE_ID: cbor_put_text(w, *b); return;
	case FIELD_INDEX_SET: put_index_set(w, *(const uint32_t *)at); return;
	case FIELD_DIGEST: cbor_put_str(w, digest_names[*(const enum nsm_digest *)at]); return;
	}
}

static void put_message(struct writer *w, const struct shape *s, enum nsm_kind kind, const void *from)
{
	if (s->count == 0) {
		cbor_put_str(w, kind_names[kind]);
		return;
	}
	cbor_put_map(w, 1);
	cbor_put_str(w, kind_names[kind]);
	cbor_put_map(w, s->count);
	for (size_t k = 0; k < s->count; k++) {
		cbor_put_str(w, s->field[k].name);
		put_field(w, &s->field[k], from);
	}
}

void nsm_request_put(struct writer *w, const struct nsm_request *q)
{
	put_message(w, &requests[q->kind], q->kind, q);
}

void nsm_response_put(struct writer *w, const struct nsm_response *p)
{
	if (p->kind == NSM_ERROR) {
		cbor_put_map(w, 1);
		cbor_put_str(w, kind_names[NSM_ERROR]);
		cbor_put_str(w, nsm_error_name(p->error));
		return;
	}
	put_message(w, &responses[p->kind], p->kind, p);
}
