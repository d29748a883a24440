/* Three machines, each feeding the next: the packet splitter takes the message apart, the chunk machine
 * here turns the body of the encrypted data into plaintext, the content parser takes the literal out of
 * that. None of them holds more than a piece.
 *
 * The length of the body is not known in advance when it comes in parts, and its last 32 bytes are two
 * tags (of the last chunk, and the final one). So up to 47 bytes are always held back in `tail`: 32 that may
 * turn out to be tags, and what is missing to a whole cipher block. At the end of the body they are
 * what they are.
 *
 * The sender is unknown and whoever delivers the message is hostile; so is the sender, who holds no more
 * than our public key. */
#include "openpgp/decrypt.h"

#include <assert.h>

enum { TAGS_SIZE = 2 * AEAD_TAG_SIZE, BLOCK = 16 };

void pgp_decrypt_init(struct pgp_decrypt *d, const struct pgp_key *const *keys, size_t nkeys, uint64_t max_data,
                      pgp_sink *sink, void *sink_arg)
{
	/* all but the work buffer */
	memset(d, 0, offsetof(struct pgp_decrypt, work));
	assert(nkeys <= PGP_KEYS_MAX);
	d->nkeys = nkeys;
	for (size_t i = 0; i < nkeys; i++)
		d->keys[i] = keys[i];
	d->matched = -1;
	pgp_content_init(&d->content, max_data, sink, sink_arg);
}

void pgp_decrypt_free(struct pgp_decrypt *d)
{
	pgp_chunks_close(&d->chunks);
	crypto_wipe(d, sizeof *d);
	crypto_wipe_traces();
}

/* --- session keys ----------------------------------------------------------------------- */

static int find_key(const struct pgp_decrypt *d, const struct pgp_pkesk *p)
{
	/* fingerprints of version 6 keys have another size */
	for (size_t i = 0; i < d->nkeys; i++)
		if (bytes_equal(p->fingerprint, BYTES_ARRAY(d->keys[i]->subkey_fingerprint)))
			return (int)i;
	return -1;
}

static enum pgp_error on_session_key(struct pgp_decrypt *d)
{
	struct pgp_pkesk p;
	enum pgp_error e = pgp_pkesk_parse(bytes_of(d->head, d->head_n), &p);
	if (e != PGP_OK)
		return e;
	int match = find_key(d, &p);
	if (match < 0)
		return PGP_OK;
	if (d->matched >= 0)
		return PGP_DUPLICATE_RECIPIENT;
	if (p.algorithm != PGP_ALGORITHM_X25519)
		return PGP_PKESK_ALGORITHM;
	const struct pgp_key *k = d->keys[match];
	e = pgp_session_key_unwrap(k->subkey, k->subkey_public, p.rest, &d->session);
	if (e == PGP_OK)
		d->matched = match;
	return e;
}

static enum pgp_error on_header(struct pgp_decrypt *d)
{
	d->head_n = 0;
	switch (d->split.tag) {
	case PGP_TAG_MARKER:
		return d->split.left == 3 ? PGP_OK : PGP_BAD_MARKER;
	case PGP_TAG_PKESK:
		if (d->split.left > PGP_PKESK_MAX)
			return PGP_PKESK_TOO_LARGE;
		return ++d->recipients > PGP_RECIPIENTS_MAX ? PGP_TOO_MANY_RECIPIENTS : PGP_OK;
	case PGP_TAG_SEIPD:
		if (d->recipients == 0)
			return PGP_NO_SESSION_KEY;
		d->stage = DECRYPT_DATA;
		return d->matched < 0 ? PGP_UNKNOWN_KEY : PGP_OK;
	default:
		return PGP_UNEXPECTED_PACKET;
	}
}

/* --- chunks ------------------------------------------------------------------------------ */

/* Plaintext goes on to the parser, whose verdict waits for the chunk's tag; only the sink's failure,
 * which is ours and not the message's, does not. */
static enum pgp_error pass_on(struct pgp_decrypt *d, size_t n)
{
	return pgp_content_feed(&d->content, bytes_of(d->work, n)) == PGP_SINK ? PGP_SINK : PGP_OK;
}

static enum pgp_error decrypt_piece(struct pgp_decrypt *d, struct bytes piece)
{
	enum pgp_error e = pgp_chunks_update(&d->chunks, piece, d->work);
	return e == PGP_OK ? pass_on(d, piece.n) : e;
}

/* Ends a chunk: the last bytes of it, at most TAGS_SIZE + BLOCK, and its tag. Now the parser may speak. */
static enum pgp_error end_chunk(struct pgp_decrypt *d, struct bytes rest, const uint8_t tag[AEAD_TAG_SIZE])
{
	enum pgp_error e = pgp_chunks_end_decrypt(&d->chunks, rest, d->work, tag);
	if (e != PGP_OK)
		return e;
	e = pass_on(d, rest.n);
	return e == PGP_OK ? d->content.error : e;
}

static void drop_tail(struct pgp_decrypt *d, size_t n)
{
	memmove(d->tail, d->tail + n, d->tail_n - n);
	d->tail_n -= n;
}

/* Moves bytes from *in to the end of buf until it holds want of them, or *in is used up. */
static void fill(uint8_t *buf, size_t *n, struct bytes *in, size_t want)
{
	size_t missing = want > *n ? want - *n : 0;
	size_t take = missing < in->n ? missing : in->n;
	if (take > 0)
		memcpy(buf + *n, in->p, take);
	*n += take;
	*in = bytes_of(in->p + take, in->n - take);
}

/* Decrypts what is surely part of a chunk: tail, then in, but for the last TAGS_SIZE bytes. */
static enum pgp_error decrypt_body(struct pgp_decrypt *d, struct bytes in)
{
	enum pgp_error e = PGP_OK;
	while (e == PGP_OK && d->tail_n + in.n >= TAGS_SIZE) {
		size_t spare = d->tail_n + in.n - TAGS_SIZE;
		if (d->chunks.left == 0) {
			/* a whole chunk is followed by its tag, whatever comes next */
			fill(d->tail, &d->tail_n, &in, TAGS_SIZE);
			e = end_chunk(d, BYTES_NONE, d->tail);
			drop_tail(d, AEAD_TAG_SIZE);
			continue;
		}
		size_t n = spare < d->chunks.left ? spare : d->chunks.left;
		n -= n % BLOCK;                          /* chunk sizes are multiples of it */
		if (n == 0)
			break;
		if (d->tail_n > 0) {
			size_t whole = (d->tail_n + BLOCK - 1) / BLOCK * BLOCK;
			n = n < whole ? n : whole;
			fill(d->tail, &d->tail_n, &in, n);
			e = decrypt_piece(d, bytes_of(d->tail, n));
			drop_tail(d, n);
		} else {
			n = n < sizeof d->work ? n : sizeof d->work;
			e = decrypt_piece(d, bytes_of(in.p, n));
			in = bytes_of(in.p + n, in.n - n);
		}
	}
	if (e == PGP_OK)
		fill(d->tail, &d->tail_n, &in, sizeof d->tail);
	return e;
}

/* The body is over: what is held back is the end of the last chunk, its tag and the final tag, or the
 * final tag alone after a whole chunk. */
static enum pgp_error end_body(struct pgp_decrypt *d)
{
	enum pgp_error e = PGP_OK;
	if (d->head_n < PGP_SEIPD_HEADER_SIZE)
		return pgp_seipd_parse(bytes_of(d->head, d->head_n), &(struct pgp_seipd){ 0 });
	if (!pgp_chunks_fresh(&d->chunks) || d->tail_n != AEAD_TAG_SIZE) {
		if (d->tail_n < TAGS_SIZE)
			return PGP_TRUNCATED;
		size_t rest = d->tail_n - TAGS_SIZE;
		if (rest == 0 && pgp_chunks_fresh(&d->chunks))
			return PGP_EMPTY_CHUNK;
		e = end_chunk(d, bytes_of(d->tail, rest), d->tail + rest);
		drop_tail(d, rest + AEAD_TAG_SIZE);
	}
	if (e == PGP_OK)
		e = pgp_chunks_check_final(&d->chunks, d->tail);
	if (e == PGP_OK)
		e = pgp_content_finish(&d->content);
	d->stage = DECRYPT_DONE;
	return e;
}

/* --- the message ---------------------------------------------------------------------------- */

static enum pgp_error on_data(struct pgp_decrypt *d, struct bytes body)
{
	if (d->head_n < PGP_SEIPD_HEADER_SIZE) {
		struct pgp_seipd head;
		fill(d->head, &d->head_n, &body, PGP_SEIPD_HEADER_SIZE);
		enum pgp_error e = pgp_seipd_parse(bytes_of(d->head, d->head_n), &head);
		if (e != PGP_OK)
			/* too short is no verdict yet; a wrong version is */
			return e == PGP_TRUNCATED ? PGP_OK : e;
		e = pgp_chunks_open(&d->chunks, false, &head, &d->session);
		pgp_session_key_wipe(&d->session);
		if (e != PGP_OK)
			return e;
	}
	return decrypt_body(d, body);
}

static enum pgp_error on_end(struct pgp_decrypt *d)
{
	switch (d->split.tag) {
	case PGP_TAG_PKESK:
		return on_session_key(d);
	case PGP_TAG_MARKER:
		return memcmp(d->head, "PGP", 3) == 0 ? PGP_OK : PGP_BAD_MARKER;
	default:
		return end_body(d);
	}
}

static enum pgp_error split_message(struct pgp_decrypt *d, struct bytes in)
{
	enum pgp_error e = PGP_OK;
	while (e == PGP_OK) {
		struct bytes body;
		if (d->stage == DECRYPT_DONE)
			return in.n == 0 ? PGP_OK : PGP_TRAILING;
		switch (pgp_split_next(&d->split, &in, &body)) {
		case SPLIT_MORE:
			return PGP_OK;
		case SPLIT_HEADER:
			e = on_header(d);
			break;
		case SPLIT_BODY:
			if (d->stage == DECRYPT_DATA)
				e = on_data(d, body);
			else                                     /* what is longer is not for us */
				fill(d->head, &d->head_n, &body, sizeof d->head);
			break;
		case SPLIT_END:
			e = on_end(d);
			break;
		case SPLIT_ERROR:
			e = d->split.error;
			break;
		}
	}
	return e;
}

enum pgp_error pgp_decrypt_feed(struct pgp_decrypt *d, struct bytes in)
{
	if (d->error == PGP_OK)
		d->error = split_message(d, in);
	return d->error;
}

enum pgp_error pgp_decrypt_finish(struct pgp_decrypt *d)
{
	if (d->error == PGP_OK && d->stage != DECRYPT_DONE)
		d->error = PGP_TRUNCATED;
	return d->error;
}
