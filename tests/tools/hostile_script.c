/* An honest exchange is drafted as frames, up to three mutations out of one table are made to it, and the
 * result is laid out as bytes. Mutations of frames come before those of the byte stream and of time by the
 * order in which they take effect, not in which they are drawn. */
#include "hostile_draft.h"
#include "hostile_model.h"

#include <assert.h>
#include <stdlib.h>

static uint8_t odd_byte(struct prng *r)
{
	static const uint8_t odd[] = { 0, 1, 0x7f, 0x80, 0xff, 0x9f, 0xbf, 0xc0, 0xf6, 0xfb, 0x1b, 0x5b, 0x7b, 0xbb };
	return odd[below(r, sizeof odd)];
}

static struct draft_frame *any_frame(struct draft *d, struct prng *r)
{
	size_t at = below(r, d->n);
	if (at == 0)
		d->request_whole = false;
	return &d->frame[at];
}

/* --- one frame --------------------------------------------------------------------------------------------- */

static bool flip(struct draft *d, struct prng *r)
{
	struct draft_frame *f = any_frame(d, r);
	if (f->n == 0)
		return false;
	for (size_t left = 1 + below(r, chance(r, 700) ? 1 : 8); left > 0; left--)
		f->p[below(r, f->n)] ^= (uint8_t)(1u << below(r, 8));
	return true;
}

static bool overwrite(struct draft *d, struct prng *r)
{
	struct draft_frame *f = any_frame(d, r);
	if (f->n == 0)
		return false;
	size_t at = below(r, f->n), n = 1 + below(r, 16);
	for (size_t i = at; i < f->n && i < at + n; i++)
		f->p[i] = odd_byte(r);
	return true;
}

static bool wrong_length(struct draft *d, struct prng *r)
{
	struct draft_frame *f = any_frame(d, r);
	const uint32_t lengths[] = { 0, 1, f->length - 1, f->length + 1, f->length + (uint32_t)below(r, 1000), f->length / 2, 4096, 4097,
	                             1 << 20, (1 << 20) + 1, 1u << 31, UINT32_MAX, (uint32_t)prng_next(r) };
	f->length = lengths[below(r, sizeof lengths / sizeof lengths[0])];
	return true;
}

static bool wrong_kind(struct draft *d, struct prng *r)
{
	any_frame(d, r)->kind = (uint8_t)(chance(r, 700) ? below(r, 9) : below(r, 256));
	return true;
}

static bool shorten(struct draft *d, struct prng *r)
{
	struct draft_frame *f = any_frame(d, r);
	if (f->n == 0)
		return false;
	f->n = chance(r, 500) ? f->n - 1 : below(r, f->n);
	f->length = (uint32_t)f->n;
	return true;
}

static bool lengthen(struct draft *d, struct prng *r)
{
	struct draft_frame *f = any_frame(d, r);
	size_t more = 1 + below(r, chance(r, 500) ? 1 : 5000);
	uint8_t *p = draft_keep(d, NULL, f->n + more);
	if (p == NULL)
		return false;
	memcpy(p, f->p, f->n);
	for (size_t i = 0; i < more; i++)
		p[f->n + i] = (uint8_t)prng_next(r);
	f->p = p;
	f->n += more;
	f->length = (uint32_t)f->n;
	return true;
}

/* --- several frames ----------------------------------------------------------------------------------------- */

static bool drop(struct draft *d, struct prng *r)
{
	if (d->n < 2)
		return false;
	size_t at = below(r, d->n);
	d->request_whole &= at != 0;
	draft_drop(d, at);
	return true;
}

static bool duplicate(struct draft *d, struct prng *r)
{
	size_t from = below(r, d->n), to = chance(r, 500) ? from + 1 : below(r, d->n + 1);
	d->request_whole = false;
	return draft_insert(d, to, d->frame[from].kind, d->frame[from].p, d->frame[from].n);
}

static bool reorder(struct draft *d, struct prng *r)
{
	size_t a = below(r, d->n), b = below(r, d->n);
	struct draft_frame f = d->frame[a];
	if (a == b)
		return false;
	d->frame[a] = d->frame[b];
	d->frame[b] = f;
	d->request_whole &= a != 0 && b != 0;
	return true;
}

/* A frame that has no place there: of the other direction, of another exchange, or of no kind at all. */
static bool insert(struct draft *d, struct prng *r)
{
	static const uint8_t reply[] = { 0xa1, 0x65, 'p', 'r', 'o', 'o', 'f', 0x44, 0, 0, 0, 0 };
	static const uint8_t health[] = { 0xa1, 0x62, 'o', 'p', 0x66, 'h', 'e', 'a', 'l', 't', 'h' };
	uint8_t junk[200];
	for (size_t i = 0; i < sizeof junk; i++)
		junk[i] = (uint8_t)prng_next(r);
	size_t at = below(r, d->n + 1);
	d->request_whole &= at != 0;
	switch (below(r, 6)) {
	case 0: return draft_insert(d, at, FRAME_REPLY, reply, sizeof reply);
	case 1: return draft_insert(d, at, FRAME_REQUEST, health, sizeof health);
	case 2: return draft_insert(d, at, FRAME_DATA, junk, below(r, sizeof junk));
	case 3: return draft_insert(d, at, FRAME_END, junk, chance(r, 500) ? 0 : below(r, sizeof junk));
	case 4: return draft_insert(d, at, FRAME_EVENT, junk, below(r, sizeof junk));
	default: return draft_insert(d, at, (uint8_t)prng_next(r), junk, below(r, sizeof junk));
	}
}

/* Part of another honest message in place of a piece of this one. */
static bool splice(struct draft *d, struct prng *r)
{
	struct draft_frame *f = any_frame(d, r);
	struct bytes other = d->m->prove[below(r, HOSTILE_PROVES)].ciphertext;
	if (f->kind != FRAME_DATA)
		return false;
	size_t n = f->n < other.n ? f->n : other.n, at = chance(r, 500) ? 0 : below(r, other.n - n + 1);
	uint8_t *p = draft_keep(d, other.p + at, n);
	if (p == NULL)
		return false;
	f->p = p;
	f->n = n;
	f->length = (uint32_t)n;
	return true;
}

/* The same data in other frames: nothing that anybody may mind. */
static bool recut(struct draft *d, struct prng *r)
{
	size_t at = below(r, d->n);
	struct draft_frame f = d->frame[at];
	size_t size = chance(r, 300) ? 1 : 1 + below(r, 5000);
	if (f.kind != FRAME_DATA || f.n / size + d->n >= DRAFT_FRAMES - 2 || f.length != f.n)
		return false;
	draft_drop(d, at);
	for (size_t from = 0; from < f.n; from += size, at++)
		draft_insert(d, at, FRAME_DATA, f.p + from, f.n - from < size ? f.n - from : size);
	return true;
}

static bool repeat_all(struct draft *d, struct prng *r)
{
	size_t n = d->n;
	(void)r;
	for (size_t i = 0; i < n; i++)
		if (!draft_insert(d, d->n, d->frame[i].kind, d->frame[i].p, d->frame[i].n))
			return false;
	return true;
}

static bool append_exchange(struct draft *d, struct prng *r)
{
	draft_honest(d, r, (enum frame_op)below(r, OP_COUNT));
	return true;
}

static bool flood(struct draft *d, struct prng *r)
{
	static uint8_t zeros[60000];
	size_t at = below(r, d->n + 1);
	uint8_t kind = (uint8_t)(1 + below(r, 6));
	d->request_whole &= at != 0;
	for (size_t left = 1 + below(r, 40); left > 0; left--)
		if (!draft_insert(d, at, kind, zeros, kind == FRAME_END ? 0 : chance(r, 100) ? sizeof zeros : below(r, 3000)))
			return false;
	return true;
}

static bool garbage(struct draft *d, struct prng *r)
{
	d->n = 0;
	d->request_whole = false;
	for (size_t left = 1 + below(r, 3); left > 0; left--) {
		uint8_t junk[300];
		for (size_t i = 0; i < sizeof junk; i++)
			junk[i] = (uint8_t)prng_next(r);
		draft_insert(d, d->n, (uint8_t)prng_next(r), junk, below(r, sizeof junk));
		d->frame[d->n - 1].length = (uint32_t)prng_next(r);
	}
	return true;
}

/* --- the stream and time ---------------------------------------------------------------------------------------- */

static bool truncate_stream(struct draft *d, struct prng *r)
{
	(void)r;
	d->truncate = true;
	return true;
}

static bool split_sends(struct draft *d, struct prng *r)
{
	static const size_t pieces[] = { 1, 2, 4, 5, 6, 7, 61, 1000, 4096, 65536 };
	d->script->piece = pieces[below(r, sizeof pieces / sizeof pieces[0])];
	return true;
}

static bool delay(struct draft *d, struct prng *r)
{
	d->script->pauses = 1 + below(r, SCRIPT_PAUSES);
	for (size_t i = 0; i < d->script->pauses; i++)
		d->script->pause[i].ms = (unsigned)(1 + below(r, 20));
	return true;
}

static bool read_slowly(struct draft *d, struct prng *r)
{
	d->script->read_ms = (unsigned)below(r, 40);
	d->script->read_piece = chance(r, 500) ? 4096 : 65536;
	return true;
}

static bool be_deaf(struct draft *d, struct prng *r)
{
	if (d->op != OP_PROVE || !chance(r, 200))
		return false;
	d->script->deaf = true;
	return true;
}

static bool leave(struct draft *d, struct prng *r)
{
	static const enum script_end ends[] = { END_CLOSE, END_CLOSE, END_HALF_CLOSE, END_CLOSE_ON_EVENT };
	d->script->end = ends[below(r, 4)];
	d->script->end_ms = chance(r, 300) ? 0 : (unsigned)below(r, 30);
	return true;
}

static bool stay(struct draft *d, struct prng *r)
{
	if (!chance(r, 100))                     /* it takes as long as the deadline */
		return false;
	d->script->linger = true;
	return true;
}

static bool crowd(struct draft *d, struct prng *r)
{
	d->script->extra = (unsigned)(1 + below(r, chance(r, 900) ? 3 : SCRIPT_EXTRA_MAX));
	return true;
}

static const struct mutation { const char *name; unsigned weight; bool (*make)(struct draft *, struct prng *); } mutations[] = {
	{ "flip", 10, flip }, { "overwrite", 6, overwrite }, { "wrong-length", 8, wrong_length }, { "wrong-kind", 6, wrong_kind },
	{ "shorten", 6, shorten }, { "lengthen", 6, lengthen }, { "drop", 6, drop }, { "duplicate", 6, duplicate },
	{ "reorder", 6, reorder }, { "insert", 8, insert }, { "splice", 6, splice }, { "recut", 4, recut },
	{ "repeat-all", 3, repeat_all }, { "append-exchange", 3, append_exchange }, { "flood", 2, flood }, { "garbage", 2, garbage },
	{ "spoil-request", 14, draft_spoil_request }, { "truncate", 8, truncate_stream }, { "split", 6, split_sends },
	{ "delay", 6, delay }, { "read-slowly", 4, read_slowly }, { "deaf", 2, be_deaf }, { "leave", 6, leave },
	{ "stay", 4, stay }, { "crowd", 2, crowd },
};
enum { MUTATIONS = sizeof mutations / sizeof mutations[0] };

size_t hostile_mutation_count(void) { return MUTATIONS; }
const char *hostile_mutation_name(size_t n) { return mutations[n].name; }

static void mutate(struct draft *d, struct prng *r)
{
	unsigned total = 0, at = 0;
	for (size_t i = 0; i < MUTATIONS; i++)
		total += mutations[i].weight;
	for (size_t drawn = below(r, total); drawn >= mutations[at].weight; at++)
		drawn -= mutations[at].weight;
	if (d->n > 0 && mutations[at].make(d, r))
		d->script->changes |= UINT64_C(1) << at;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static enum frame_op draw_op(struct prng *r)
{
	static const struct { enum frame_op op; unsigned weight; } ops[] = {
		{ OP_ATTEST, 22 }, { OP_PUBLIC_KEY, 8 }, { OP_VERSIONS, 8 }, { OP_HEALTH, 8 }, { OP_METRICS, 8 },
		{ OP_UPLOAD, 16 }, { OP_PROVE, 30 } };
	size_t drawn = below(r, 100), at = 0;
	for (; drawn >= ops[at].weight; at++)
		drawn -= ops[at].weight;
	return ops[at].op;
}

static void lay_out(const struct draft *d, struct prng *r, struct script *s)
{
	size_t total = 0;
	for (size_t i = 0; i < d->n; i++)
		total += 5 + d->frame[i].n;
	s->bytes = malloc(total + 1);
	assert(s->bytes != NULL);
	struct writer w = writer_of(s->bytes, total);
	for (size_t i = 0; i < d->n; i++) {
		put_be32(&w, d->frame[i].length);
		put_u8(&w, d->frame[i].kind);
		put_bytes(&w, bytes_of(d->frame[i].p, d->frame[i].n));
	}
	s->n = d->truncate ? (chance(r, 300) ? below(r, total < 8 ? total + 1 : 8) : below(r, total + 1)) : total;
}

/* To see a deadline pass takes as long as the deadline: most runs that would wait for nothing else leave. */
static void be_impatient(const struct hostile_material *m, struct prng *r, struct script *s)
{
	struct verdict v;
	hostile_judge(m, bytes_of(s->bytes, s->n), &v);
	if (v.owed || s->end != END_WAIT || chance(r, s->op == OP_UPLOAD ? 10 : 60))
		return;                          /* there is one upload at a time: who stalls it stalls all others */
	s->end = chance(r, 500) ? END_CLOSE : END_HALF_CLOSE;
	s->end_ms = (unsigned)below(r, 20);
}

static int by_place(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	return (x > y) - (x < y);
}

void script_make(const struct hostile_material *m, uint64_t seed, uint64_t run, struct script *ret)
{
	static struct draft d;
	struct prng r = { seed * UINT64_C(0x2545f4914f6cdd1d) + run };
	prng_next(&r);
	*ret = (struct script){ .op = draw_op(&r), .piece = SIZE_MAX, .read_piece = SIZE_MAX };
	draft_start(&d, m, ret);
	draft_honest(&d, &r, ret->op);
	size_t drawn = below(&r, 20), count = drawn < 3 ? 0 : drawn < 13 ? 1 : drawn < 18 ? 2 : 3;
	for (size_t i = 0; i < count; i++)
		mutate(&d, &r);
	lay_out(&d, &r, ret);
	be_impatient(m, &r, ret);

	if (ret->n > 3000 && ret->piece < 1000)      /* single bytes of a long stream are the same over and over */
		ret->piece = 1000 + ret->piece;
	size_t place[SCRIPT_PAUSES];
	for (size_t i = 0; i < ret->pauses; i++)
		place[i] = below(&r, ret->n + 1);
	qsort(place, ret->pauses, sizeof place[0], by_place);
	for (size_t i = 0; i < ret->pauses; i++)
		ret->pause[i].at = place[i];
}

void script_free(struct script *s)
{
	free(s->bytes);
	s->bytes = NULL;
}
