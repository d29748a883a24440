/* The literal's header and data go through `literal` (parts of the inner packet) into the seal, which
 * encrypts them chunk by chunk, through `parts` (parts of the outer packet), to the sink. With definite
 * lengths all sizes are computed before the first byte, and feeding must keep the promise. */
#include "openpgp/encrypt.h"

/* --- bodies in parts --------------------------------------------------------------------- */

static enum pgp_error emit(struct pgp_parts *p, struct bytes b)
{
	return b.n == 0 || p->sink(p->sink_arg, b) == 0 ? PGP_OK : PGP_SINK;
}

static void parts_init(struct pgp_parts *p, uint8_t bits, pgp_sink *sink, void *sink_arg)
{
	p->sink = sink;
	p->sink_arg = sink_arg;
	p->bits = bits;
	p->n = 0;
}

static enum pgp_error parts_put(struct pgp_parts *p, struct bytes body)
{
	if (p->bits == 0)
		return emit(p, body);
	size_t size = (size_t)1 << p->bits;
	enum pgp_error e = PGP_OK;
	while (e == PGP_OK && body.n > 0) {
		/* a full part waits for the next byte, so that the last part is never empty */
		if (p->n == size) {
			uint8_t octet = pgp_partial_octet(p->bits);
			e = emit(p, bytes_of(&octet, 1));
			if (e == PGP_OK)
				e = emit(p, bytes_of(p->part, size));
			p->n = 0;
			continue;
		}
		size_t n = body.n < size - p->n ? body.n : size - p->n;
		memcpy(p->part + p->n, body.p, n);
		p->n += n;
		body = bytes_of(body.p + n, body.n - n);
	}
	return e;
}

static enum pgp_error parts_end(struct pgp_parts *p)
{
	if (p->bits == 0)
		return PGP_OK;
	uint8_t length[PGP_HEADER_MAX];
	struct writer w = writer_of(length, sizeof length);
	pgp_put_length(&w, (uint32_t)p->n);
	enum pgp_error e = emit(p, writer_bytes(&w));
	return e == PGP_OK ? emit(p, bytes_of(p->part, p->n)) : e;
}

/* Tag and, for a definite length, that. */
static enum pgp_error put_packet_start(struct pgp_parts *p, enum pgp_tag tag, uint32_t length)
{
	uint8_t head[PGP_HEADER_MAX];
	struct writer w = writer_of(head, sizeof head);
	if (p->bits > 0)
		put_u8(&w, (uint8_t)(0xc0 | tag));
	else
		pgp_put_header(&w, tag, length);
	return emit(p, writer_bytes(&w));
}

/* --- the encrypted data ---------------------------------------------------------------------- */

static uint64_t sealed_size(const struct pgp_encrypt_options *o)
{
	uint64_t chunk = UINT64_C(1) << (o->chunk_octet + 6);
	uint64_t chunks = o->length / chunk + (o->length % chunk != 0);
	return PGP_SEIPD_HEADER_SIZE + o->length + (chunks + 1) * AEAD_TAG_SIZE;
}

static enum pgp_error put_start(struct pgp_seal *s, const struct pgp_recipient *to,
                                const struct pgp_encrypt_options *o, const struct pgp_session_key *key)
{
	uint8_t pkesk[PGP_HEADER_MAX + PGP_PKESK_X25519_MAX], head[PGP_SEIPD_HEADER_SIZE];
	struct writer w = writer_of(pkesk, sizeof pkesk), h = writer_of(head, sizeof head);
	uint8_t salt[PGP_SALT_SIZE];
	if (!crypto_random(salt, sizeof salt))
		return PGP_CRYPTO;
	put_u8(&h, 2);
	put_u8(&h, o->cipher);
	put_u8(&h, o->mode);
	put_u8(&h, o->chunk_octet);
	put_bytes(&h, BYTES_ARRAY(salt));
	/* the decoder knows which of these there are */
	struct pgp_seipd fields;
	enum pgp_error e = pgp_seipd_parse(BYTES_ARRAY(head), &fields);
	if (e == PGP_OK)
		e = pgp_chunks_open(&s->chunks, true, &fields, key);
	if (e == PGP_OK)
		e = pgp_session_key_wrap(&w, to->subkey_public, to->subkey_fingerprint, key);
	if (e == PGP_OK)
		e = emit(&s->parts, writer_bytes(&w));
	if (e == PGP_OK)
		e = put_packet_start(&s->parts, PGP_TAG_SEIPD, (uint32_t)sealed_size(o));
	return e == PGP_OK ? parts_put(&s->parts, BYTES_ARRAY(head)) : e;
}

enum pgp_error pgp_seal_init(struct pgp_seal *s, const struct pgp_recipient *to, const struct pgp_encrypt_options *o,
                             pgp_sink *sink, void *sink_arg)
{
	s->chunks = (struct pgp_chunks){ 0 };
	s->work_n = 0;
	s->missing = o->length;
	parts_init(&s->parts, o->part_bits, sink, sink_arg);
	if (o->part_bits != 0 && (o->part_bits < PGP_PART_BITS_MIN || o->part_bits > PGP_PART_BITS_MAX))
		return s->error = PGP_BAD_LENGTH;
	if (o->chunk_octet > PGP_CHUNK_OCTET_MAX)
		return s->error = PGP_SEIPD_CHUNK_SIZE;
	if (o->part_bits == 0 && (o->length > UINT32_MAX || sealed_size(o) > UINT32_MAX))
		return s->error = PGP_TOO_LARGE;
	struct pgp_session_key key = { .n = pgp_cipher_key_size(o->cipher) };
	s->error = crypto_random(key.key, key.n) ? put_start(s, to, o, &key) : PGP_CRYPTO;
	pgp_session_key_wipe(&key);
	return s->error;
}

/* Encrypts what is in the work buffer: whole blocks, or the end of a chunk. */
static enum pgp_error flush(struct pgp_seal *s, bool end)
{
	uint8_t tag[AEAD_TAG_SIZE];
	struct bytes work = bytes_of(s->work, s->work_n);
	s->work_n = 0;
	enum pgp_error e = end ? pgp_chunks_end_encrypt(&s->chunks, work, s->work, tag)
	                       : pgp_chunks_update(&s->chunks, work, s->work);
	if (e == PGP_OK)
		e = parts_put(&s->parts, work);
	return e == PGP_OK && end ? parts_put(&s->parts, BYTES_ARRAY(tag)) : e;
}

enum pgp_error pgp_seal_feed(struct pgp_seal *s, struct bytes in)
{
	if (s->error == PGP_OK && s->parts.bits == 0 && in.n > s->missing)
		s->error = PGP_CONTENT_LENGTH;
	while (s->error == PGP_OK && in.n > 0) {
		size_t room = sizeof s->work < s->chunks.left ? sizeof s->work : s->chunks.left;
		size_t n = in.n < room - s->work_n ? in.n : room - s->work_n;
		memcpy(s->work + s->work_n, in.p, n);
		s->work_n += n;
		s->missing -= n;
		in = bytes_of(in.p + n, in.n - n);
		if (s->work_n == room)
			s->error = flush(s, room == s->chunks.left);
	}
	return s->error;
}

enum pgp_error pgp_seal_finish(struct pgp_seal *s)
{
	uint8_t tag[AEAD_TAG_SIZE];
	if (s->error == PGP_OK && s->parts.bits == 0 && s->missing != 0)
		s->error = PGP_CONTENT_LENGTH;
	if (s->error == PGP_OK && (s->work_n > 0 || !pgp_chunks_fresh(&s->chunks)))
		s->error = flush(s, true);
	if (s->error == PGP_OK)
		s->error = pgp_chunks_make_final(&s->chunks, tag);
	if (s->error == PGP_OK)
		s->error = parts_put(&s->parts, BYTES_ARRAY(tag));
	if (s->error == PGP_OK)
		s->error = parts_end(&s->parts);
	return s->error;
}

void pgp_seal_free(struct pgp_seal *s)
{
	pgp_chunks_close(&s->chunks);
	crypto_wipe(s, sizeof *s);
}

/* --- the literal ------------------------------------------------------------------------------- */

static int into_seal(void *arg, struct bytes packets) { return pgp_seal_feed(arg, packets) == PGP_OK ? 0 : -1; }

/* A failure below the literal is the seal's to name. */
static enum pgp_error sealed(struct pgp_encrypt *e, enum pgp_error literal)
{
	if (literal != PGP_OK && e->seal.error == PGP_OK)
		e->seal.error = literal;
	return e->seal.error;
}

enum pgp_error pgp_encrypt_init(struct pgp_encrypt *e, const struct pgp_recipient *to,
                                const struct pgp_encrypt_options *o, pgp_sink *sink, void *sink_arg)
{
	uint8_t head[PGP_HEADER_MAX], start[PGP_LITERAL_HEADER_MIN + PGP_NAME_MAX];
	struct writer h = writer_of(head, sizeof head), w = writer_of(start, sizeof start);
	put_u8(&w, 'b');
	put_u8(&w, (uint8_t)o->name.n);
	put_bytes(&w, o->name);
	put_be32(&w, 0);                                 /* no date: it would be one more thing told */
	e->seal.error = PGP_OK;
	e->seal.chunks = (struct pgp_chunks){ 0 };
	if (o->name.n > PGP_NAME_MAX)
		return sealed(e, PGP_BAD_LITERAL);
	if (o->part_bits == 0 && o->length > UINT32_MAX - w.at)
		return sealed(e, PGP_TOO_LARGE);

	struct pgp_encrypt_options sealed_options = *o;
	if (o->part_bits == 0) {
		pgp_put_header(&h, PGP_TAG_LITERAL, (uint32_t)(w.at + o->length));
		sealed_options.length += h.at + w.at;
	}
	if (pgp_seal_init(&e->seal, to, &sealed_options, sink, sink_arg) != PGP_OK)
		return e->seal.error;
	parts_init(&e->literal, o->part_bits, into_seal, &e->seal);
	enum pgp_error r = put_packet_start(&e->literal, PGP_TAG_LITERAL, (uint32_t)(w.at + o->length));
	return sealed(e, r == PGP_OK ? parts_put(&e->literal, writer_bytes(&w)) : r);
}

enum pgp_error pgp_encrypt_feed(struct pgp_encrypt *e, struct bytes data)
{
	if (e->seal.error == PGP_OK)
		return sealed(e, parts_put(&e->literal, data));
	return e->seal.error;
}

enum pgp_error pgp_encrypt_finish(struct pgp_encrypt *e)
{
	if (e->seal.error == PGP_OK && sealed(e, parts_end(&e->literal)) == PGP_OK)
		pgp_seal_finish(&e->seal);
	return e->seal.error;
}

void pgp_encrypt_free(struct pgp_encrypt *e)
{
	pgp_seal_free(&e->seal);
	crypto_wipe(e, sizeof *e);
}
