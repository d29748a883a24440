/* What the OpenPGP tests share: the test key of tests/vectors/openpgp, files, and sinks.
 * Tests run in the top directory. */
#ifndef TESTS_UNIT_OPENPGP_FIXTURE_H
#define TESTS_UNIT_OPENPGP_FIXTURE_H

#include "base/cleanup.h"
#include "base/text.h"
#include "openpgp/decrypt.h"
#include "openpgp/encrypt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define VECTORS "tests/vectors/openpgp/"

/* The codes by name, so that a failure reads well. */
#define assert_error(got, want) assert_string_equal(pgp_error_name(got), pgp_error_name(want))

struct buffer { uint8_t *p; size_t n, cap; };            /* owned */
static inline void buffer_free(struct buffer *b) { free(b->p); *b = (struct buffer){ 0 }; }
static inline struct bytes buffer_bytes(const struct buffer *b) { return bytes_of(b->p, b->n); }

static inline int into_buffer(void *arg, struct bytes piece)
{
	struct buffer *b = arg;
	if (piece.n == 0)
		return 0;
	if (piece.n > b->cap - b->n) {
		b->cap = 2 * b->cap + piece.n;
		b->p = realloc(b->p, b->cap);
		assert_non_null(b->p);
	}
	memcpy(b->p + b->n, piece.p, piece.n);
	b->n += piece.n;
	return 0;
}

/* An exact copy on the heap, so that the sanitizer sees a read past the end. */
static inline struct buffer buffer_copy(struct bytes in)
{
	struct buffer b = { malloc(in.n == 0 ? 1 : in.n), in.n, in.n };
	assert_non_null(b.p);
	if (in.n > 0)
		memcpy(b.p, in.p, in.n);
	return b;
}

static inline struct buffer read_file(const char *path)
{
	struct buffer b = { 0 };
	uint8_t piece[4096];
	FILE *f = fopen(path, "rb");
	if (f == NULL)
		fail_msg("open %s", path);
	for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
		into_buffer(&b, bytes_of(piece, n));
	fclose(f);
	struct buffer exact = buffer_copy(buffer_bytes(&b));
	buffer_free(&b);
	return exact;
}

/* The plaintext of all vectors. */
static inline struct buffer plaintext(size_t n)
{
	struct buffer b = buffer_copy(BYTES_NONE);
	b.p = realloc(b.p, n + 1);
	b.n = b.cap = n;
	for (size_t i = 0; i < n; i++)
		b.p[i] = (uint8_t)(7 * i + 3);
	return b;
}

static inline struct bytes test_value(const char *name, uint8_t *out, size_t n)
{
	char found[64], value[128];
	CLEANUP(close_file) FILE *f = fopen(VECTORS "key.txt", "r");
	assert_non_null(f);
	while (fscanf(f, "%63s %127s", found, value) == 2)
		if (strcmp(found, name) == 0) {
			assert_true(hex_decode(bytes_str(value), out, n));
			return bytes_of(out, n);
		}
	fail_msg("no %s in key.txt", name);
	return BYTES_NONE;
}

enum { TEST_KEY_CREATED = 1735689600 };

static inline void load_test_key(struct pgp_key *k)
{
	uint8_t primary[32], subkey[32];
	test_value("ed25519_secret", primary, 32);
	test_value("x25519_secret", subkey, 32);
	assert_error(pgp_key_from_raw(k, primary, subkey, TEST_KEY_CREATED), PGP_OK);
}

static inline struct pgp_recipient recipient_of(const struct pgp_key *k)
{
	struct pgp_recipient r = { .created = k->created };
	memcpy(r.primary_public, k->primary_public, sizeof r.primary_public);
	memcpy(r.subkey_public, k->subkey_public, sizeof r.subkey_public);
	memcpy(r.fingerprint, k->fingerprint, sizeof r.fingerprint);
	memcpy(r.subkey_fingerprint, k->subkey_fingerprint, sizeof r.subkey_fingerprint);
	return r;
}

/* Encrypts data to k with the given options (length and name are taken from here). */
static inline struct buffer encrypt(const struct pgp_key *k, struct pgp_encrypt_options o, struct bytes name,
                                    struct bytes data)
{
	struct pgp_encrypt *e = calloc(1, sizeof *e);
	struct pgp_recipient to = recipient_of(k);
	struct buffer out = { 0 };
	o.length = data.n;
	o.name = name;
	assert_error(pgp_encrypt_init(e, &to, &o, into_buffer, &out), PGP_OK);
	assert_error(pgp_encrypt_feed(e, data), PGP_OK);
	assert_error(pgp_encrypt_finish(e), PGP_OK);
	pgp_encrypt_free(e);
	free(e);
	struct buffer exact = buffer_copy(buffer_bytes(&out));
	buffer_free(&out);
	return exact;
}

/* Encrypts a stream of packets as it is. */
static inline struct buffer seal(const struct pgp_key *k, struct pgp_encrypt_options o, struct bytes packets)
{
	struct pgp_seal *s = calloc(1, sizeof *s);
	struct pgp_recipient to = recipient_of(k);
	struct buffer out = { 0 };
	o.length = packets.n;
	assert_error(pgp_seal_init(s, &to, &o, into_buffer, &out), PGP_OK);
	assert_error(pgp_seal_feed(s, packets), PGP_OK);
	assert_error(pgp_seal_finish(s), PGP_OK);
	pgp_seal_free(s);
	free(s);
	return out;
}

/* Decrypts in pieces of `piece` bytes (0: all at once). On PGP_OK *ret_out is the plaintext. */
static inline enum pgp_error decrypt_limited(const struct pgp_key *k, struct bytes message, size_t piece,
                                             uint64_t max_data, struct buffer *ret_out)
{
	struct pgp_decrypt *d = malloc(sizeof *d);
	const struct pgp_key *keys[] = { k };
	struct buffer out = { 0 };
	enum pgp_error e = PGP_OK;
	assert_non_null(d);
	pgp_decrypt_init(d, keys, 1, max_data, into_buffer, &out);
	if (piece == 0)
		piece = message.n + 1;
	for (size_t at = 0; at < message.n && e == PGP_OK; at += piece)
		e = pgp_decrypt_feed(d, bytes_of(message.p + at, message.n - at < piece ? message.n - at : piece));
	enum pgp_error last = pgp_decrypt_finish(d);
	if (e != PGP_OK)
		assert_error(last, e);                   /* errors stick */
	assert_true(out.n <= max_data);
	if (last == PGP_OK)
		assert_int_equal(out.n, pgp_decrypt_length(d));
	pgp_decrypt_free(d);
	free(d);
	*ret_out = out;
	return last;
}

static inline enum pgp_error decrypt(const struct pgp_key *k, struct bytes message, size_t piece, struct buffer *ret_out)
{
	return decrypt_limited(k, message, piece, UINT64_MAX, ret_out);
}

#endif
