#include "hostile_draft.h"

static uint8_t arena[8 << 20];
static size_t arena_n;

uint64_t prng_next(struct prng *r)
{
	uint64_t z = r->s += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void draft_start(struct draft *d, const struct hostile_material *m, struct script *s)
{
	arena_n = 0;
	d->m = m;
	d->script = s;
	d->n = 0;
	d->request_whole = d->truncate = false;
}

uint8_t *draft_keep(struct draft *d, const uint8_t *from, size_t n)
{
	(void)d;
	if (n > sizeof arena - arena_n)
		return NULL;
	uint8_t *p = arena + arena_n;
	arena_n += n;
	if (from != NULL)
		memcpy(p, from, n);
	return p;
}

bool draft_insert(struct draft *d, size_t at, uint8_t kind, const uint8_t *payload, size_t n)
{
	uint8_t *kept = draft_keep(d, payload, n);
	if (kept == NULL || d->n == DRAFT_FRAMES)
		return false;
	memmove(&d->frame[at + 1], &d->frame[at], (d->n - at) * sizeof d->frame[0]);
	d->frame[at] = (struct draft_frame){ kind, (uint32_t)n, kept, n };
	d->n++;
	return true;
}

void draft_drop(struct draft *d, size_t at)
{
	d->n--;
	memmove(&d->frame[at], &d->frame[at + 1], (d->n - at) * sizeof d->frame[0]);
}

/* --- honest exchanges ---------------------------------------------------------------------------------- */

static void put_body(struct draft *d, struct prng *r, struct bytes data)
{
	static const size_t sizes[] = { FRAME_DATA_SIZE, FRAME_DATA_SIZE, FRAME_PAYLOAD_MAX, 5000, 4096, 1000 };
	size_t size = sizes[below(r, sizeof sizes / sizeof sizes[0])];
	if (data.n / size > 300)
		size = FRAME_DATA_SIZE;
	while (data.n > 0) {
		size_t n = data.n < size ? data.n : size;
		draft_insert(d, d->n, FRAME_DATA, data.p, n);
		data = bytes_of(data.p + n, data.n - n);
	}
	draft_insert(d, d->n, FRAME_END, NULL, 0);
}

static struct bytes random_bytes(struct draft *d, struct prng *r, size_t n)
{
	uint8_t *p = draft_keep(d, NULL, n);
	for (size_t i = 0; p != NULL && i < n; i++)
		p[i] = (uint8_t)prng_next(r);
	return bytes_of(p, p == NULL ? 0 : n);
}

void draft_honest(struct draft *d, struct prng *r, enum frame_op op)
{
	uint8_t map[FRAME_MAP_MAX];
	struct writer w = writer_of(map, sizeof map);
	struct frame_request q = { .op = op };
	struct bytes data = BYTES_NONE;
	if (op == OP_ATTEST && chance(r, 600))
		q.nonce = random_bytes(d, r, FRAME_NONCE_MIN + below(r, FRAME_NONCE_MAX - FRAME_NONCE_MIN + 1));
	if (op == OP_PROVE) {
		/* the longer a message, and the longer it runs, the rarer */
		const struct hostile_prove *h = &d->m->prove[chance(r, 700) ? below(r, 3) : below(r, HOSTILE_PROVES)];
		data = h->ciphertext;
		q.size = data.n;
		if (chance(r, 500))
			q.version = bytes_str(hostile_versions[0]);
	}
	if (op == OP_UPLOAD) {
		bool evil = chance(r, 30);
		data = evil ? d->m->evil : d->m->small;
		q.sha256 = evil ? BYTES_ARRAY(d->m->evil_sha256) : BYTES_ARRAY(d->m->small_sha256);
		q.version = bytes_str(hostile_versions[evil ? 0 : 1 + below(r, HOSTILE_VERSIONS - 1)]);
		q.size = data.n;
	}
	if (chance(r, 300))
		q.id = BYTES_LIT("hostile-host");
	frame_request_put(&w, &q);
	if (d->n == 0) {
		d->op = op;
		d->request = q;
		d->request_whole = true;
	}
	draft_insert(d, d->n, FRAME_REQUEST, map, w.at);
	if (data.n > 0)
		put_body(d, r, data);
}

/* --- spoiling the request ----------------------------------------------------------------------------------- */

enum { MEMBERS_MAX = 10 };
enum member_type { M_UINT = 0, M_NEGATIVE = 1, M_BYTES = 2, M_TEXT = 3 };
struct member { const char *key; enum member_type type; uint64_t v; struct bytes b; bool long_head; };
struct members { struct member m[MEMBERS_MAX]; size_t n; int count_lie; bool indefinite, long_head; uint8_t tail; };

static void add(struct members *all, const char *key, enum member_type type, uint64_t v, struct bytes b)
{
	if (all->n < MEMBERS_MAX)
		all->m[all->n++] = (struct member){ key, type, v, b, false };
}

static struct member *find(struct members *all, const char *key)
{
	for (size_t i = 0; i < all->n; i++)
		if (strcmp(all->m[i].key, key) == 0)
			return &all->m[i];
	return NULL;
}

static void put_head(struct writer *w, unsigned major, uint64_t v, bool longer)
{
	uint8_t first = (uint8_t)(major << 5);
	if (longer || v > UINT32_MAX) {
		put_u8(w, first | 27);
		put_be64(w, v);
	} else if (v > 0xffff) {
		put_u8(w, first | 26);
		put_be32(w, (uint32_t)v);
	} else if (v > 0xff) {
		put_u8(w, first | 25);
		put_be16(w, (uint16_t)v);
	} else if (v >= 24) {
		put_u8(w, first | 24);
		put_u8(w, (uint8_t)v);
	} else {
		put_u8(w, (uint8_t)(first | v));
	}
}

static void put_members(struct writer *w, const struct members *all)
{
	if (all->indefinite)
		put_u8(w, 0xbf);
	else
		put_head(w, 5, all->n + (size_t)all->count_lie, all->long_head);
	for (size_t i = 0; i < all->n; i++) {
		const struct member *m = &all->m[i];
		put_head(w, 3, strlen(m->key), false);
		put_str(w, m->key);
		bool string = m->type == M_BYTES || m->type == M_TEXT;
		put_head(w, m->type, string ? m->b.n : m->v, m->long_head);
		if (string)
			put_bytes(w, m->b);
	}
	if (all->indefinite)
		put_u8(w, 0xff);
	if (all->tail)
		put_u8(w, all->tail);
}

static uint64_t odd_size(struct prng *r, const struct hostile_material *m, uint64_t honest)
{
	const uint64_t sizes[] = { 0, 1, honest - 1, honest + 1, honest / 2, honest * 2, m->payload_max, m->payload_max + 1,
	                           HOSTILE_UPLOAD_MAX, HOSTILE_UPLOAD_MAX + 1, UINT32_MAX, UINT64_C(1) << 32, INT64_MAX, UINT64_MAX };
	return sizes[below(r, sizeof sizes / sizeof sizes[0])];
}

static struct bytes odd_version(struct prng *r, enum frame_op op)
{
	static const char *const names[] = { "h1", "h2", "h3", "h4", "9.9", "../evil", "..", ".", "-rf", "a/b", "", "1.0\n",
		"\xc3\xa9", "%s%n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "1.0" };
	/* the small binary under the evil one's name would be no fault, but the end of all proofs */
	return bytes_str(names[below(r, sizeof names / sizeof names[0] - (op == OP_UPLOAD))]);
}

static void spoil_member(struct draft *d, struct prng *r, struct members *all)
{
	static const char *const strange[] = { "argv", "env", "uid", "OP", "siz", "", "nonce\n", "\xff",
		"size", "version", "sha256", "nonce", "id", "op" };
	struct member *m = &all->m[below(r, all->n)];
	switch (below(r, 16)) {
	case 0: m->key = strange[below(r, sizeof strange / sizeof strange[0])]; break;
	case 1: m->type = (enum member_type)below(r, 4); break;
	case 2: m->long_head = true; break;
	case 3: all->long_head = true; break;
	case 4: all->indefinite = true; break;
	case 5: all->count_lie = chance(r, 500) ? 1 : -1; break;
	case 6: all->tail = (uint8_t)(1 + below(r, 255)); break;
	case 7: add(all, m->key, m->type, m->v, m->b); break;
	case 8: *m = all->m[--all->n]; break;
	case 9: add(all, strange[below(r, sizeof strange / sizeof strange[0])], M_UINT, below(r, 100), BYTES_NONE); break;
	case 10: all->m[0].b = bytes_str(frame_op_name((enum frame_op)below(r, OP_COUNT + 1))); break;
	case 11: {
		struct member first = all->m[0];
		all->m[0] = *m;
		*m = first;
		break;
	}
	default: break;
	}
	if ((m = find(all, "size")) != NULL && chance(r, 300))
		m->v = odd_size(r, d->m, m->v);
	if ((m = find(all, "version")) != NULL && chance(r, 300))
		m->b = odd_version(r, d->op);
	if ((m = find(all, "nonce")) != NULL && chance(r, 300))
		m->b = random_bytes(d, r, below(r, 80));
	if ((m = find(all, "sha256")) != NULL && chance(r, 300))
		m->b = random_bytes(d, r, chance(r, 700) ? 32 : below(r, 70));
	if ((m = find(all, "id")) != NULL && chance(r, 300))
		m->b = random_bytes(d, r, below(r, 80));
	if (d->op == OP_PROVE && chance(r, 100))
		add(all, "version", M_TEXT, 0, odd_version(r, d->op));
}

bool draft_spoil_request(struct draft *d, struct prng *r)
{
	uint8_t map[FRAME_MAP_MAX];
	struct writer w = writer_of(map, sizeof map);
	struct members all = { .n = 0 };
	const struct frame_request *q = &d->request;
	if (!d->request_whole || d->n == 0)
		return false;
	add(&all, "op", M_TEXT, 0, bytes_str(frame_op_name(q->op)));
	if (q->nonce.n > 0)
		add(&all, "nonce", M_BYTES, 0, q->nonce);
	if (q->version.n > 0)
		add(&all, "version", M_TEXT, 0, q->version);
	if (q->sha256.n > 0)
		add(&all, "sha256", M_BYTES, 0, q->sha256);
	if (q->op == OP_PROVE || q->op == OP_UPLOAD)
		add(&all, "size", M_UINT, q->size, BYTES_NONE);
	if (q->id.n > 0)
		add(&all, "id", M_TEXT, 0, q->id);
	spoil_member(d, r, &all);
	put_members(&w, &all);
	uint8_t *p = w.full || w.at == 0 ? NULL : draft_keep(d, map, w.at);
	if (p == NULL)
		return false;
	d->frame[0].p = p;
	d->frame[0].n = w.at;
	d->frame[0].length = (uint32_t)w.at;
	d->request_whole = false;
	return true;
}
