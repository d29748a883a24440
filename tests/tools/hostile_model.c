/* The stream is followed frame by frame, as far as it goes; each step either settles what the answer may be
 * or waits for more. Codes are collected, because an answer may be earned twice: a message that is altered
 * and too long deserves either refusal. BUSY and NO_SPACE are always among those of an operation that
 * takes room, for others take it too; the caller counts how often that happens. */
#include "hostile_model.h"

enum { U8_1 = 24, U8_2 = 25, U8_4 = 26, U8_8 = 27 };      /* CBOR: additional information */

/* --- one CBOR map of the kind a REQUEST is ------------------------------------------------------------ */

struct cursor { const uint8_t *p, *end; bool bad; };

/* The head of the next item, in its shortest form only. */
static uint64_t take_head(struct cursor *c, unsigned *ret_major)
{
	uint64_t v = 0;
	*ret_major = 99;
	if (c->bad || c->p == c->end) {
		c->bad = true;
		return 0;
	}
	unsigned first = *c->p++, info = first & 31;
	unsigned n = info < U8_1 ? 0 : info == U8_1 ? 1 : info == U8_2 ? 2 : info == U8_4 ? 4 : info == U8_8 ? 8 : 99;
	if (n == 99 || n > (size_t)(c->end - c->p)) {
		c->bad = true;
		return 0;
	}
	if (n == 0)
		v = info;
	for (unsigned i = 0; i < n; i++)
		v = v << 8 | *c->p++;
	bool shortest = n == 0 || (n == 1 && v >= 24) || (n == 2 && v > 0xff) || (n == 4 && v > 0xffff) || (n == 8 && v > 0xffffffff);
	if (!shortest)
		c->bad = true;
	*ret_major = first >> 5;
	return v;
}

static struct bytes take_string(struct cursor *c, unsigned wanted_major)
{
	unsigned major;
	uint64_t n = take_head(c, &major);
	if (c->bad || major != wanted_major || n > (uint64_t)(c->end - c->p)) {
		c->bad = true;
		return BYTES_NONE;
	}
	struct bytes b = bytes_of(c->p, (size_t)n);
	c->p += n;
	return b;
}

struct request {
	enum frame_op op;
	struct bytes nonce, version, sha256, id;
	uint64_t size;
	unsigned seen;                   /* bit n: key n of the list below came */
};
enum { KEY_OP, KEY_NONCE, KEY_VERSION, KEY_SHA256, KEY_SIZE, KEY_ID, KEYS };
static const char *const keys[KEYS] = { "op", "nonce", "version", "sha256", "size", "id" };
static const char *const ops[OP_COUNT] = {
	[OP_ATTEST] = "attest", [OP_PUBLIC_KEY] = "public-key", [OP_VERSIONS] = "versions", [OP_UPLOAD] = "upload",
	[OP_PROVE] = "prove", [OP_HEALTH] = "health", [OP_METRICS] = "metrics",
};

static bool all_of(struct bytes b, const char *allowed, uint8_t from, uint8_t to)
{
	for (size_t i = 0; i < b.n; i++)
		if (b.p[i] == 0 || (strchr(allowed, b.p[i]) == NULL && (b.p[i] < from || b.p[i] > to)))
			return false;
	return true;
}

static bool is_version_name(struct bytes b)
{
	return b.n >= 1 && b.n <= 64 && b.p[0] != '.' && b.p[0] != '-' &&
	       all_of(b, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-", 'a', 'z');
}

static void take_member(struct cursor *c, struct request *q)
{
	unsigned major;
	struct bytes name = take_string(c, 3);
	unsigned k = 0;
	while (k < KEYS && !bytes_equal(name, bytes_str(keys[k])))
		k++;
	if (k == KEYS || q->seen & 1u << k) {
		c->bad = true;
		return;
	}
	q->seen |= 1u << k;
	switch (k) {
	case KEY_OP: {
		struct bytes op = take_string(c, 3);
		unsigned i = 0;
		while (i < OP_COUNT && !bytes_equal(op, bytes_str(ops[i])))
			i++;
		c->bad |= i == OP_COUNT;
		q->op = (enum frame_op)i;
		return;
	}
	case KEY_NONCE:
		q->nonce = take_string(c, 2);
		c->bad |= q->nonce.n < 16 || q->nonce.n > 64;
		return;
	case KEY_VERSION:
		q->version = take_string(c, 3);
		c->bad |= !is_version_name(q->version);
		return;
	case KEY_SHA256:
		q->sha256 = take_string(c, 2);
		c->bad |= q->sha256.n != 32;
		return;
	case KEY_SIZE:
		q->size = take_head(c, &major);
		c->bad |= major != 0;
		return;
	case KEY_ID:
		q->id = take_string(c, 3);
		c->bad |= q->id.n < 1 || q->id.n > 64 || !all_of(q->id, "", '!', '~');
		return;
	}
}

static bool read_request(struct bytes payload, struct request *q)
{
	struct cursor c = { payload.p, payload.p + payload.n, false };
	unsigned major;
	*q = (struct request){ .op = OP_COUNT };
	uint64_t n = take_head(&c, &major);
	if (major != 5)
		return false;
	for (; n > 0 && !c.bad; n--)
		take_member(&c, q);
	if (c.bad || c.p != c.end || q->op >= OP_COUNT)
		return false;
	unsigned must = 1u << KEY_OP, may = 1u << KEY_ID;
	if (q->op == OP_ATTEST)
		may |= 1u << KEY_NONCE;
	if (q->op == OP_PROVE)
		must |= 1u << KEY_SIZE, may |= 1u << KEY_VERSION;
	if (q->op == OP_UPLOAD)
		must |= 1u << KEY_SIZE | 1u << KEY_VERSION | 1u << KEY_SHA256;
	return (q->seen & must) == must && (q->seen & ~(must | may)) == 0;
}

/* --- frames ------------------------------------------------------------------------------------------------ */

struct stream { struct bytes left; };
enum step { STEP_WAIT, STEP_BAD, STEP_BAD_LATER, STEP_FRAME };

/* The next frame. STEP_BAD_LATER: it is wrong, but need not be refused before its payload is there. */
static enum step take_frame(struct stream *s, bool body, uint8_t *ret_kind, struct bytes *ret_payload)
{
	if (s->left.n < 5)
		return STEP_WAIT;
	const uint8_t *p = s->left.p;
	uint32_t n = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	uint8_t kind = p[4];
	bool map = kind == FRAME_REQUEST || kind == FRAME_EVENT || kind == FRAME_ERROR;
	bool known = map || kind == FRAME_DATA || kind == FRAME_END || kind == FRAME_REPLY;
	uint32_t most = map ? 4096 : kind == FRAME_END ? 0 : 1 << 20;
	if (!known || n > most || (n == 0 && kind != FRAME_END))
		return STEP_BAD;
	size_t there = s->left.n - 5 < n ? s->left.n - 5 : n;
	*ret_kind = kind;
	*ret_payload = bytes_of(p + 5, there);
	bool wanted = body ? kind == FRAME_DATA || kind == FRAME_END : kind == FRAME_REQUEST;
	if (!wanted)
		return there == n ? STEP_BAD : STEP_BAD_LATER;
	s->left = bytes_of(p + 5 + there, s->left.n - 5 - there);
	/* part of a DATA frame is data already */
	return there == n || kind == FRAME_DATA ? STEP_FRAME : STEP_WAIT;
}

static void settle(struct verdict *v, uint32_t codes)
{
	v->codes |= codes;
	v->owed = true;
}

/* --- bodies --------------------------------------------------------------------------------------------------- */

static bool is_loaded(struct bytes version)
{
	for (size_t i = 0; i < HOSTILE_VERSIONS; i++)
		if (bytes_equal(version, bytes_str(hostile_versions[i])))
			return true;
	return false;
}

/* Which honest messages the data is a start of (a bit each). */
struct following { uint32_t alive; size_t at; };

static void follow(const struct hostile_material *m, struct following *f, struct bytes data)
{
	for (unsigned i = 0; i < HOSTILE_PROVES; i++) {
		struct bytes whole = m->prove[i].ciphertext;
		if (f->at > whole.n || data.n > whole.n - f->at || memcmp(whole.p + f->at, data.p, data.n) != 0)
			f->alive &= ~(1u << i);
	}
	f->at += data.n;
}

static void end_of_message(const struct hostile_material *m, const struct request *q, const struct following *f,
                           struct verdict *v)
{
	for (unsigned i = 0; i < HOSTILE_PROVES; i++) {
		const struct hostile_prove *h = &m->prove[i];
		if (!(f->alive & 1u << i) || f->at != h->ciphertext.n)
			continue;
		v->prove = h;
		/* another version may be the small binary, which does not execute, or hold the evil one by now */
		bool other = q->version.n > 0 && !bytes_equal(q->version, BYTES_LIT("1.0"));
		settle(v, CODE(h->code) | (other ? CODE(OUTCOME_PROVER_ERROR) | CODE(OUTCOME_VERSION_MISMATCH) : 0));
		return;
	}
	settle(v, CODE(OUTCOME_BAD_INPUT) | CODE(OUTCOME_UNKNOWN_KEY));
}

/* What is no start of an honest message, or of a larger one than announced, may be refused now or at its end. */
static bool may_be_refused(const struct hostile_material *m, const struct following *f, uint64_t size)
{
	for (unsigned i = 0; i < HOSTILE_PROVES; i++)
		if (f->alive & 1u << i && m->prove[i].ciphertext.n > size)
			return true;
	return f->alive == 0;
}

static void judge_prove(const struct hostile_material *m, const struct request *q, struct stream *s, struct verdict *v)
{
	if (q->version.n > 0 && !is_loaded(q->version)) {
		settle(v, CODE(OUTCOME_UNKNOWN_VERSION));
		return;
	}
	if (q->size == 0 || q->size > m->payload_max) {
		settle(v, CODE(OUTCOME_TOO_LARGE));
		return;
	}
	v->may_run = true;
	v->codes |= CODE(OUTCOME_BUSY) | CODE(OUTCOME_NO_SPACE);
	struct following f = { .alive = (1u << HOSTILE_PROVES) - 1 };
	for (;;) {
		uint8_t kind = 0;
		struct bytes data;
		enum step step = take_frame(s, true, &kind, &data);
		if (step == STEP_WAIT)
			return;
		if (step != STEP_FRAME) {
			v->codes |= CODE(OUTCOME_BAD_REQUEST);
			v->owed |= step == STEP_BAD;
			return;
		}
		if (kind == FRAME_END) {
			end_of_message(m, q, &f, v);
			if (s->left.n > 0)                      /* seen before the job ends, or after */
				v->codes |= CODE(OUTCOME_BAD_REQUEST);
			return;
		}
		follow(m, &f, data);
		if (may_be_refused(m, &f, q->size))
			v->codes |= CODE(OUTCOME_BAD_INPUT) | CODE(OUTCOME_UNKNOWN_KEY);
		if (f.at > q->size) {
			settle(v, CODE(OUTCOME_TOO_LARGE));
			return;
		}
	}
}

static void judge_upload(const struct hostile_material *m, const struct request *q, struct stream *s, struct verdict *v)
{
	struct hash *h = NULL;
	uint64_t received = 0;
	v->codes |= CODE(OUTCOME_BUSY);
	if (memcmp(q->sha256.p, m->evil_sha256, 32) != 0 && memcmp(q->sha256.p, m->small_sha256, 32) != 0) {
		settle(v, CODE(OUTCOME_NOT_ALLOWED));
		return;
	}
	if (q->size == 0 || q->size > HOSTILE_UPLOAD_MAX) {
		settle(v, CODE(OUTCOME_TOO_LARGE));
		return;
	}
	if (!is_loaded(q->version)) {
		settle(v, CODE(OUTCOME_NO_SPACE));
		return;
	}
	h = hash_new(HASH_SHA256);
	for (;;) {
		uint8_t kind = 0, got[SHA256_SIZE];
		struct bytes data;
		enum step step = take_frame(s, true, &kind, &data);
		if (step == STEP_WAIT)
			break;
		if (step != STEP_FRAME) {
			v->codes |= CODE(OUTCOME_BAD_REQUEST);
			v->owed |= step == STEP_BAD;
			break;
		}
		if (kind == FRAME_END) {
			bool same = received == q->size && hash_peek(h, got) && memcmp(got, q->sha256.p, sizeof got) == 0;
			settle(v, CODE(same ? OUTCOME_OK : OUTCOME_DIGEST_MISMATCH));
			break;
		}
		hash_update(h, data);
		received += data.n;
		if (received > q->size) {
			settle(v, CODE(OUTCOME_DIGEST_MISMATCH));
			break;
		}
	}
	hash_free(h);
}

void hostile_judge(const struct hostile_material *m, struct bytes sent, struct verdict *ret)
{
	struct stream s = { sent };
	struct request q;
	uint8_t kind;
	struct bytes payload;
	*ret = (struct verdict){ .codes = CODE(OUTCOME_BUSY) };      /* all connections taken */
	enum step step = take_frame(&s, false, &kind, &payload);
	if (step == STEP_WAIT)
		return;
	if (step != STEP_FRAME || !read_request(payload, &q)) {
		ret->codes |= CODE(OUTCOME_BAD_REQUEST);
		ret->owed = step != STEP_BAD_LATER;
		return;
	}
	ret->has_op = true;
	ret->op = q.op;
	ret->nonce = q.nonce;
	if (q.op == OP_PROVE)
		judge_prove(m, &q, &s, ret);
	else if (q.op == OP_UPLOAD)
		judge_upload(m, &q, &s, ret);
	else
		settle(ret, CODE(OUTCOME_OK));
}
