/* Every map is read by the same three steps: get_key() names the next key by its place in a table
 * (and refuses a repeated one), the field's getter checks type and size, and one mask at the end
 * says which keys came. Requests are judged against the row of their op: what it may carry and what
 * it must. Both sides distrust each other, so every getter has a bound and every count is checked
 * against the fixed array it fills. */
#include "format/frame.h"

#include "base/text.h"
#include "format/cbor.h"

#include <assert.h>

enum { KEY_UNKNOWN = -1, STAGE_MAX = 32, CODE_MAX = 32, SHA256_BYTES = 32, SIGNATURE_BYTES = 64 };

/* --- frames ------------------------------------------------------------------------------- */

const char *frame_result_name(enum frame_result r)
{
	switch (r) {
	case FRAME_OK: return "ok";
	case FRAME_MORE: return "incomplete frame";
	case FRAME_BAD_KIND: return "unknown frame kind";
	case FRAME_TOO_LONG: return "frame too long for its kind";
	case FRAME_BAD_LENGTH: return "frame length does not fit its kind";
	}
	return "unknown";
}

static enum frame_result check_length(uint8_t kind, size_t n)
{
	switch (kind) {
	case FRAME_REQUEST: case FRAME_EVENT: case FRAME_ERROR:
		return n > FRAME_MAP_MAX ? FRAME_TOO_LONG : n == 0 ? FRAME_BAD_LENGTH : FRAME_OK;
	case FRAME_DATA: case FRAME_REPLY:
		return n > FRAME_PAYLOAD_MAX ? FRAME_TOO_LONG : n == 0 ? FRAME_BAD_LENGTH : FRAME_OK;
	case FRAME_END:
		return n > 0 ? FRAME_BAD_LENGTH : FRAME_OK;
	default:
		return FRAME_BAD_KIND;
	}
}

enum frame_result frame_parse(struct bytes buf, struct frame *ret, size_t *ret_used)
{
	struct reader r = reader_of(buf);
	size_t n = get_be32(&r);
	uint8_t kind = get_u8(&r);
	if (r.bad) {
		*ret_used = 0;
		return FRAME_MORE;
	}
	enum frame_result result = check_length(kind, n);
	if (result != FRAME_OK)
		return result;
	*ret_used = FRAME_HEADER_SIZE + n;
	if (n > reader_left(&r))
		return FRAME_MORE;
	*ret = (struct frame){ (enum frame_kind)kind, get_bytes(&r, n) };
	return FRAME_OK;
}

void frame_header(enum frame_kind kind, size_t n, uint8_t out[FRAME_HEADER_SIZE])
{
	assert(check_length((uint8_t)kind, n) == FRAME_OK);
	struct writer w = writer_of(out, FRAME_HEADER_SIZE);
	put_be32(&w, (uint32_t)n);
	put_u8(&w, (uint8_t)kind);
}

/* --- values ------------------------------------------------------------------------------- */

bool version_name_valid(struct bytes name)
{
	if (name.n == 0 || name.n > FRAME_VERSION_MAX || name.p[0] == '.' || name.p[0] == '-')
		return false;
	for (size_t i = 0; i < name.n; i++) {
		uint8_t c = name.p[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		bool digit = c >= '0' && c <= '9';
		if (!letter && !digit && c != '.' && c != '_' && c != '+' && c != '-')
			return false;
	}
	return true;
}

static bool id_valid(struct bytes id)
{
	if (id.n == 0 || id.n > FRAME_ID_MAX)
		return false;
	for (size_t i = 0; i < id.n; i++)
		if (id.p[i] <= ' ' || id.p[i] > '~')
			return false;
	return true;
}

/* The next key of a map as its index in names, or KEY_UNKNOWN; a name seen before is bad. */
static int get_key(struct reader *r, const char *const *names, size_t n, uint32_t *seen)
{
	struct bytes key = cbor_get_text(r);
	for (size_t i = 0; i < n && !r->bad; i++) {
		if (!bytes_equal(key, bytes_str(names[i])))
			continue;
		if (*seen & 1u << i)
			r->bad = true;
		*seen |= 1u << i;
		return (int)i;
	}
	return KEY_UNKNOWN;
}

static struct bytes in_range(struct reader *r, struct bytes b, size_t min, size_t max)
{
	if (b.n < min || b.n > max)
		r->bad = true;
	return r->bad ? BYTES_NONE : b;
}

static struct bytes get_blob(struct reader *r, size_t min, size_t max)
{
	return in_range(r, cbor_get_bytes(r), min, max);
}

static struct bytes get_text(struct reader *r, size_t min, size_t max)
{
	return in_range(r, cbor_get_text(r), min, max);
}

static struct bytes get_version_name(struct reader *r)
{
	struct bytes b = cbor_get_text(r);
	if (!version_name_valid(b))
		r->bad = true;
	return r->bad ? BYTES_NONE : b;
}

/* The longest well-formed start of b that fits: whatever we put, the other side can read. */
static struct bytes text_prefix(struct bytes b, size_t max)
{
	size_t at = 0;
	for (size_t n; at < b.n && at < max; at += n) {
		n = utf8_sequence(bytes_of(b.p + at, b.n - at));
		if (n == 0 || n > max - at)
			break;
	}
	return bytes_of(b.p, at);
}

static void put_blob_member(struct writer *w, const char *key, struct bytes b)
{
	if (b.n == 0)
		return;
	cbor_put_str(w, key);
	cbor_put_bytes(w, b);
}

static void put_text_member(struct writer *w, const char *key, struct bytes b)
{
	if (b.n == 0)
		return;
	cbor_put_str(w, key);
	cbor_put_text(w, b);
}

static void put_uint_member(struct writer *w, const char *key, uint64_t v)
{
	cbor_put_str(w, key);
	cbor_put_uint(w, v);
}

/* --- REQUEST ------------------------------------------------------------------------------- */

enum { Q_OP, Q_NONCE, Q_VERSION, Q_SHA256, Q_SIZE, Q_ID, Q_COUNT };
static const char *const request_keys[Q_COUNT] = { "op", "nonce", "version", "sha256", "size", "id" };

#define HAS(key) (1u << (key))
static const struct { const char *name; uint32_t may, must; } ops[OP_COUNT] = {
	[OP_ATTEST] = { "attest", HAS(Q_NONCE), 0 },
	[OP_PUBLIC_KEY] = { "public-key", 0, 0 },
	[OP_VERSIONS] = { "versions", 0, 0 },
	[OP_UPLOAD] = { "upload", 0, HAS(Q_VERSION) | HAS(Q_SHA256) | HAS(Q_SIZE) },
	[OP_PROVE] = { "prove", HAS(Q_VERSION), HAS(Q_SIZE) },
	[OP_HEALTH] = { "health", 0, 0 },
	[OP_METRICS] = { "metrics", 0, 0 },
};

const char *frame_op_name(enum frame_op op)
{
	return (unsigned)op < OP_COUNT ? ops[op].name : "unknown";
}

static enum frame_op get_op(struct reader *r)
{
	struct bytes name = cbor_get_text(r);
	for (unsigned i = 0; i < OP_COUNT; i++)
		if (bytes_equal(name, bytes_str(ops[i].name)))
			return (enum frame_op)i;
	r->bad = true;
	return OP_ATTEST;
}

bool frame_request_parse(struct bytes payload, struct frame_request *ret)
{
	struct reader r = reader_of(payload);
	struct frame_request q = { 0 };
	uint32_t seen = 0;
	for (size_t n = cbor_get_map(&r); n > 0 && !r.bad; n--)
		switch (get_key(&r, request_keys, Q_COUNT, &seen)) {
		case Q_OP: q.op = get_op(&r); break;
		case Q_NONCE: q.nonce = get_blob(&r, FRAME_NONCE_MIN, FRAME_NONCE_MAX); break;
		case Q_VERSION: q.version = get_version_name(&r); break;
		case Q_SHA256: q.sha256 = get_blob(&r, SHA256_BYTES, SHA256_BYTES); break;
		case Q_SIZE: q.size = cbor_get_uint(&r); break;
		case Q_ID:
			q.id = cbor_get_text(&r);
			if (!id_valid(q.id))
				r.bad = true;
			break;
		default: r.bad = true; break;
		}
	if (!reader_done(&r) || !(seen & HAS(Q_OP)))
		return false;
	uint32_t must = HAS(Q_OP) | ops[q.op].must, may = must | HAS(Q_ID) | ops[q.op].may;
	if ((seen & must) != must || (seen & ~may) != 0)
		return false;
	*ret = q;
	return true;
}

void frame_request_put(struct writer *w, const struct frame_request *q)
{
	bool sized = ops[q->op].must & HAS(Q_SIZE);
	cbor_put_map(w, 1u + (q->nonce.n > 0) + (q->version.n > 0) + (q->sha256.n > 0) + sized + (q->id.n > 0));
	cbor_put_str(w, "op");
	cbor_put_str(w, frame_op_name(q->op));
	put_blob_member(w, "nonce", q->nonce);
	put_text_member(w, "version", q->version);
	put_blob_member(w, "sha256", q->sha256);
	if (sized)
		put_uint_member(w, "size", q->size);
	put_text_member(w, "id", q->id);
}

/* --- REPLY --------------------------------------------------------------------------------- */

enum {
	P_DOCUMENT, P_KEY, P_VERSIONS, P_DEFAULT_VERSION, P_PROOF, P_BB_SHA256, P_SIGNATURE,
	P_DECRYPT_MS, P_PROVE_MS, P_QUEUE_MS, P_PEAK_BYTES,
	P_UPTIME_MS, P_JOBS_RUNNING, P_JOBS_QUEUED, P_METRICS, P_GUARDS, P_COUNT
};
static const char *const reply_keys[P_COUNT] = {
	"document", "key", "versions", "default_version", "proof", "bb_sha256", "signature",
	"decrypt_ms", "prove_ms", "queue_ms", "peak_bytes",
	"uptime_ms", "jobs_running", "jobs_queued", "metrics", "guards"
};

static void get_version(struct reader *r, struct frame_version *ret)
{
	static const char *const keys[] = { "name", "sha256" };
	uint32_t seen = 0;
	for (size_t n = cbor_get_map(r); n > 0 && !r->bad; n--)
		switch (get_key(r, keys, 2, &seen)) {
		case 0: ret->name = get_version_name(r); break;
		case 1: ret->sha256 = get_blob(r, SHA256_BYTES, SHA256_BYTES); break;
		default: cbor_skip(r); break;
		}
	if (seen != 3)
		r->bad = true;
}

static void get_versions(struct reader *r, struct frame_reply *p)
{
	size_t n = cbor_get_array(r);
	if (n > FRAME_VERSIONS_MAX)
		r->bad = true;
	for (size_t i = 0; i < n && !r->bad; i++) {
		get_version(r, &p->version[i]);
		for (size_t j = 0; j < i; j++)
			if (bytes_equal(p->version[j].name, p->version[i].name))
				r->bad = true;
		p->version_count = i + 1;
	}
}

bool frame_reply_parse(struct bytes payload, struct frame_reply *ret)
{
	struct reader r = reader_of(payload);
	struct frame_reply p = { 0 };
	uint32_t seen = 0;
	for (size_t n = cbor_get_map(&r); n > 0 && !r.bad; n--)
		switch (get_key(&r, reply_keys, P_COUNT, &seen)) {
		case P_DOCUMENT: p.document = get_blob(&r, 1, FRAME_DOCUMENT_MAX); break;
		case P_KEY: p.key = get_text(&r, 1, FRAME_KEY_MAX); break;
		case P_VERSIONS: get_versions(&r, &p); break;
		case P_DEFAULT_VERSION: p.default_version = get_version_name(&r); break;
		case P_PROOF: p.proof = get_blob(&r, 1, FRAME_PROOF_MAX); break;
		case P_BB_SHA256: p.bb_sha256 = get_blob(&r, SHA256_BYTES, SHA256_BYTES); break;
		case P_SIGNATURE: p.signature = get_blob(&r, SIGNATURE_BYTES, SIGNATURE_BYTES); break;
		case P_DECRYPT_MS: p.decrypt_ms = cbor_get_uint(&r); break;
		case P_PROVE_MS: p.prove_ms = cbor_get_uint(&r); break;
		case P_QUEUE_MS: p.queue_ms = cbor_get_uint(&r); break;
		case P_PEAK_BYTES: p.peak_bytes = cbor_get_uint(&r); break;
		case P_UPTIME_MS: p.uptime_ms = cbor_get_uint(&r); break;
		case P_JOBS_RUNNING: p.jobs_running = cbor_get_uint(&r); break;
		case P_JOBS_QUEUED: p.jobs_queued = cbor_get_uint(&r); break;
		case P_METRICS: p.metrics = cbor_get_text(&r); break;
		case P_GUARDS: p.guards = get_text(&r, 1, FRAME_MESSAGE_MAX); break;
		default: cbor_skip(&r); break;
		}
	if (!reader_done(&r))
		return false;
	*ret = p;
	return true;
}

static void put_versions(struct writer *w, const struct frame_reply *p)
{
	cbor_put_str(w, "versions");
	cbor_put_array(w, p->version_count);
	for (size_t i = 0; i < p->version_count; i++) {
		cbor_put_map(w, 2);
		put_text_member(w, "name", p->version[i].name);
		put_blob_member(w, "sha256", p->version[i].sha256);
	}
}

/* Numbers that are 0 and lists that are empty stay out: absent reads as 0 and as empty. */
void frame_reply_put(struct writer *w, const struct frame_reply *p)
{
	const struct { const char *key; struct bytes b; bool text; } strings[] = {
		{ "document", p->document, false }, { "key", p->key, true },
		{ "default_version", p->default_version, true }, { "proof", p->proof, false },
		{ "bb_sha256", p->bb_sha256, false }, { "signature", p->signature, false },
		{ "metrics", p->metrics, true }, { "guards", p->guards, true },
	};
	const struct { const char *key; uint64_t v; } numbers[] = {
		{ "decrypt_ms", p->decrypt_ms }, { "prove_ms", p->prove_ms }, { "queue_ms", p->queue_ms },
		{ "peak_bytes", p->peak_bytes }, { "uptime_ms", p->uptime_ms },
		{ "jobs_running", p->jobs_running }, { "jobs_queued", p->jobs_queued },
	};
	const size_t string_count = sizeof strings / sizeof strings[0];
	const size_t number_count = sizeof numbers / sizeof numbers[0];
	assert(p->version_count <= FRAME_VERSIONS_MAX);
	size_t pairs = p->version_count > 0;
	for (size_t i = 0; i < string_count; i++)
		pairs += strings[i].b.n > 0;
	for (size_t i = 0; i < number_count; i++)
		pairs += numbers[i].v > 0;
	cbor_put_map(w, pairs);
	for (size_t i = 0; i < string_count; i++)
		(strings[i].text ? put_text_member : put_blob_member)(w, strings[i].key, strings[i].b);
	if (p->version_count > 0)
		put_versions(w, p);
	for (size_t i = 0; i < number_count; i++)
		if (numbers[i].v > 0)
			put_uint_member(w, numbers[i].key, numbers[i].v);
}

/* --- EVENT and ERROR ------------------------------------------------------------------------ */

bool frame_event_parse(struct bytes payload, struct frame_event *ret)
{
	static const char *const keys[] = { "stage", "position" };
	struct reader r = reader_of(payload);
	struct frame_event e = { 0 };
	uint32_t seen = 0;
	for (size_t n = cbor_get_map(&r); n > 0 && !r.bad; n--)
		switch (get_key(&r, keys, 2, &seen)) {
		case 0: e.stage = get_text(&r, 1, STAGE_MAX); break;
		case 1: e.position = cbor_get_uint(&r); break;
		default: cbor_skip(&r); break;
		}
	if (!reader_done(&r) || e.stage.n == 0)
		return false;
	*ret = e;
	return true;
}

void frame_event_put(struct writer *w, const struct frame_event *e)
{
	struct bytes stage = text_prefix(e->stage, STAGE_MAX);
	assert(stage.n > 0);
	cbor_put_map(w, 1u + (e->position > 0));
	put_text_member(w, "stage", stage);
	if (e->position > 0)
		put_uint_member(w, "position", e->position);
}

enum { E_CODE, E_MESSAGE, E_LIMIT_BYTES, E_PEAK_BYTES, E_SIGNAL, E_EXIT_CODE, E_COUNT };
static const char *const error_keys[E_COUNT] = {
	"code", "message", "limit_bytes", "peak_bytes", "signal", "exit_code"
};

/* A word this program does not know is a newer peer's: it is still an error, of no kind we can act on. */
static enum outcome get_code(struct reader *r)
{
	enum outcome code = OUTCOME_INTERNAL;
	(void)outcome_parse(get_text(r, 1, CODE_MAX), &code);
	if (code == OUTCOME_OK)
		r->bad = true;
	return code;
}

bool frame_error_parse(struct bytes payload, struct frame_error *ret)
{
	struct reader r = reader_of(payload);
	struct frame_error e = { 0 };
	uint32_t seen = 0;
	for (size_t n = cbor_get_map(&r); n > 0 && !r.bad; n--)
		switch (get_key(&r, error_keys, E_COUNT, &seen)) {
		case E_CODE: e.code = get_code(&r); break;
		case E_MESSAGE: e.message = get_text(&r, 0, FRAME_MESSAGE_MAX); break;
		case E_LIMIT_BYTES: e.limit_bytes = cbor_get_uint(&r); break;
		case E_PEAK_BYTES: e.peak_bytes = cbor_get_uint(&r); break;
		case E_SIGNAL: e.signal = cbor_get_uint(&r); break;
		case E_EXIT_CODE: e.exit_code = cbor_get_uint(&r); break;
		default: cbor_skip(&r); break;
		}
	if (!reader_done(&r) || !(seen & HAS(E_CODE)))
		return false;
	*ret = e;
	return true;
}

void frame_error_put(struct writer *w, const struct frame_error *e)
{
	assert(e->code != OUTCOME_OK);
	struct bytes message = text_prefix(e->message, FRAME_MESSAGE_MAX);
	const struct { const char *key; uint64_t v; } numbers[] = {
		{ "limit_bytes", e->limit_bytes }, { "peak_bytes", e->peak_bytes },
		{ "signal", e->signal }, { "exit_code", e->exit_code },
	};
	size_t pairs = 1u + (message.n > 0);
	for (size_t i = 0; i < 4; i++)
		pairs += numbers[i].v > 0;
	cbor_put_map(w, pairs);
	cbor_put_str(w, "code");
	cbor_put_str(w, outcome_name(e->code));
	put_text_member(w, "message", message);
	for (size_t i = 0; i < 4; i++)
		if (numbers[i].v > 0)
			put_uint_member(w, numbers[i].key, numbers[i].v);
}

/* --- result signature ------------------------------------------------------------------------ */

void result_message(const uint8_t ciphertext[32], const uint8_t bb[32], const uint8_t proof[32],
                    uint8_t out[RESULT_MESSAGE_SIZE])
{
	static const char domain[18] = "TEE-Rex result v1";      /* with its zero */
	struct writer w = writer_of(out, RESULT_MESSAGE_SIZE);
	put_bytes(&w, BYTES_ARRAY(domain));
	put_bytes(&w, bytes_of(ciphertext, SHA256_BYTES));
	put_bytes(&w, bytes_of(bb, SHA256_BYTES));
	put_bytes(&w, bytes_of(proof, SHA256_BYTES));
	assert(writer_bytes(&w).n == RESULT_MESSAGE_SIZE);
}
