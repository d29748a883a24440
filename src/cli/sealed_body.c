/* Push on one side (the encryptor hands out what it has), pull on the other (the HTTP client asks): the
 * buffer between them is filled by one piece of input when it has run empty, and one piece never makes
 * more than the buffer holds. The size comes from a rehearsal over zeros: with the same options and
 * length every message is as long. */
#include "cli/sealed_body.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum { PIECE = 32 << 10 };
static const char head[] = "{\"data\":\"", tail[] = "\"}";

/* --- the size --------------------------------------------------------------------------------------- */

static int count(void *arg, struct bytes piece)
{
	*(uint64_t *)arg += piece.n;
	return 0;
}

static enum pgp_error rehearse(struct pgp_encrypt *scratch, const struct pgp_recipient *to,
                               const struct pgp_encrypt_options *o, uint64_t *ret_n)
{
	static const uint8_t zeros[PIECE];
	*ret_n = 0;
	enum pgp_error e = pgp_encrypt_init(scratch, to, o, count, ret_n);
	for (uint64_t left = o->length; e == PGP_OK && left > 0;) {
		size_t n = left < PIECE ? (size_t)left : PIECE;
		e = pgp_encrypt_feed(scratch, bytes_of(zeros, n));
		left -= n;
	}
	if (e == PGP_OK)
		e = pgp_encrypt_finish(scratch);
	pgp_encrypt_free(scratch);
	return e;
}

/* --- making ------------------------------------------------------------------------------------------ */

static bool append(struct sealed_body *b, const void *p, size_t n)
{
	if (n > sizeof b->out - b->out_n)
		return false;
	memcpy(b->out + b->out_n, p, n);
	b->out_n += n;
	return true;
}

static bool append_base64(struct sealed_body *b, struct bytes in)
{
	struct writer w = writer_of(b->out + b->out_n, sizeof b->out - b->out_n);
	put_base64(&w, in);
	b->out_n += w.at;
	return !w.full;
}

/* Takes a piece of the message. */
static int take(void *arg, struct bytes piece)
{
	struct sealed_body *b = arg;
	hash_update(b->ciphertext, piece);
	while (piece.n > 0 && b->carry_n > 0 && b->carry_n < 3) {
		b->carry[b->carry_n++] = piece.p[0];
		piece = bytes_of(piece.p + 1, piece.n - 1);
	}
	if (b->carry_n == 3) {
		if (!append_base64(b, BYTES_ARRAY(b->carry)))
			return -1;
		b->carry_n = 0;
	}
	size_t whole = piece.n - piece.n % 3;
	if (!append_base64(b, bytes_of(piece.p, whole)))
		return -1;
	if (piece.n > whole)
		memcpy(b->carry, piece.p + whole, piece.n - whole), b->carry_n = piece.n - whole;
	return 0;
}

int sealed_body_open(struct sealed_body *b, int fd, uint64_t input_size, const struct pgp_recipient *to,
                     const struct message_name *name, struct err *err)
{
	char text[MESSAGE_NAME_MAX];
	struct writer w = writer_of(text, sizeof text);
	struct pgp_encrypt_options o = PGP_ENCRYPT_DEFAULTS;
	uint64_t message_size;
	o.length = input_size;
	message_name_put(&w, name);
	o.name = writer_bytes(&w);
	memset(b, 0, sizeof *b);
	b->fd = fd;
	b->input_size = input_size;
	enum pgp_error e = rehearse(&b->encrypt, to, &o, &message_size);
	b->ciphertext = hash_new(HASH_SHA256);
	if (e == PGP_OK && b->ciphertext == NULL)
		e = PGP_CRYPTO;
	append(b, head, sizeof head - 1);
	if (e == PGP_OK)
		e = pgp_encrypt_init(&b->encrypt, to, &o, take, b);
	if (e != PGP_OK) {
		sealed_body_close(b);
		return fail(err, 0, "encrypt the input: %s", pgp_error_text(e));
	}
	b->size = sizeof head - 1 + (message_size + 2) / 3 * 4 + sizeof tail - 1;
	return 0;
}

static bool finish(struct sealed_body *b)
{
	enum pgp_error e = pgp_encrypt_finish(&b->encrypt);
	if (e != PGP_OK || !append_base64(b, bytes_of(b->carry, b->carry_n)) || !append(b, tail, sizeof tail - 1)) {
		fail(&b->why, 0, "encrypt the input: %s", pgp_error_text(e));
		return false;
	}
	b->done = true;
	return true;
}

/* Reads and encrypts one piece. */
static bool make_more(struct sealed_body *b)
{
	uint8_t piece[PIECE];
	uint64_t left = b->input_size - b->read_at;
	if (left == 0)
		return finish(b);
	ssize_t n = pread(b->fd, piece, left < PIECE ? (size_t)left : PIECE, (off_t)b->read_at);
	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0) {
		fail(&b->why, n < 0 ? errno : 0, n < 0 ? "read the input" : "the input became shorter while it was read");
		return false;
	}
	b->read_at += (uint64_t)n;
	enum pgp_error e = pgp_encrypt_feed(&b->encrypt, bytes_of(piece, (size_t)n));
	crypto_wipe(piece, sizeof piece);
	if (e != PGP_OK)
		fail(&b->why, 0, "encrypt the input: %s", pgp_error_text(e));
	return e == PGP_OK;
}

long sealed_body_pull(struct sealed_body *b, uint8_t *to, size_t cap)
{
	while (b->out_at == b->out_n && !b->done) {
		b->out_at = b->out_n = 0;
		if (!make_more(b))
			return -1;
	}
	size_t n = b->out_n - b->out_at < cap ? b->out_n - b->out_at : cap;
	memcpy(to, b->out + b->out_at, n);
	b->out_at += n;
	return (long)n;
}

bool sealed_body_digest(const struct sealed_body *b, uint8_t out[SHA256_SIZE])
{
	return b->done && hash_peek(b->ciphertext, out);
}

void sealed_body_close(struct sealed_body *b)
{
	pgp_encrypt_free(&b->encrypt);
	hash_free(b->ciphertext);
	b->ciphertext = NULL;
}
