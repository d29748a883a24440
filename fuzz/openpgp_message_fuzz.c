/* Messages to a fixed key, in two ways, chosen by the first byte.
 *
 * Even: the rest is a message, as a stranger would send it. It ends at the first tag that does not match.
 * Odd: the rest is plaintext packets; they are encrypted properly (suite, chunk size and partial lengths from
 * the next byte) and decrypted again, which takes the fuzzer behind the cryptography. The verdict must be the
 * one that the content parser gives on the packets alone. */
#include "openpgp/decrypt.h"
#include "openpgp/encrypt.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 1 << 20 };
struct buffer { uint8_t p[64 << 10]; size_t n; };

static int into_buffer(void *arg, struct bytes piece)
{
	struct buffer *b = arg;
	if (piece.n > sizeof b->p - b->n)
		return -1;
	memcpy(b->p + b->n, piece.p, piece.n);
	b->n += piece.n;
	return 0;
}

static int add_up(void *arg, struct bytes piece)
{
	for (size_t i = 0; i < piece.n; i++)
		*(uint64_t *)arg = *(uint64_t *)arg * 31 + piece.p[i] + 1;
	return 0;
}

/* The key of the kept vectors, so that they are useful seeds. */
static const struct pgp_key *fixed_key(void)
{
	static const uint8_t primary[32] = { 1 };
	static const uint8_t subkey[32] = {
		0xb0, 0x47, 0x85, 0x65, 0xb1, 0xcf, 0x41, 0xfb, 0xe0, 0x33, 0x80, 0x49, 0xd2, 0x0b, 0x97, 0x1a,
		0x7f, 0x84, 0xa9, 0x8b, 0xd8, 0x0d, 0xd8, 0xb0, 0x02, 0xe3, 0x98, 0xa0, 0x7b, 0xaf, 0x3a, 0x4a };
	static struct pgp_key key;
	if (key.subkey == NULL && pgp_key_from_raw(&key, primary, subkey, 1735689600) != PGP_OK)
		abort();
	return &key;
}

static enum pgp_error decrypt(struct bytes message, size_t piece, uint64_t *ret_sum)
{
	static struct pgp_decrypt d;
	const struct pgp_key *keys[] = { fixed_key() };
	*ret_sum = 0;
	pgp_decrypt_init(&d, keys, 1, LIMIT, add_up, ret_sum);
	for (size_t at = 0; at < message.n; at += piece)
		pgp_decrypt_feed(&d, bytes_slice(message, at, message.n - at < piece ? message.n - at : piece));
	enum pgp_error e = pgp_decrypt_finish(&d);
	pgp_decrypt_free(&d);
	return e;
}

static void try_message(struct bytes message, size_t piece)
{
	uint64_t whole_sum, pieces_sum;
	enum pgp_error whole = decrypt(message, message.n + 1, &whole_sum);
	enum pgp_error pieces = decrypt(message, piece, &pieces_sum);
	if (whole != pieces || (whole == PGP_OK && whole_sum != pieces_sum))
		abort();
}

static void try_packets(struct bytes packets, uint8_t how, size_t piece)
{
	static struct pgp_seal s;
	static struct buffer message;
	const struct pgp_key *key = fixed_key();
	struct pgp_recipient to;
	memcpy(to.subkey_public, key->subkey_public, sizeof to.subkey_public);
	memcpy(to.subkey_fingerprint, key->subkey_fingerprint, sizeof to.subkey_fingerprint);
	struct pgp_encrypt_options o = {
		.cipher = how & 1 ? PGP_CIPHER_AES128 : PGP_CIPHER_AES256, .mode = how & 2 ? PGP_AEAD_OCB : PGP_AEAD_GCM,
		.chunk_octet = how >> 2 & 3, .part_bits = how & 16 ? PGP_PART_BITS_MIN : 0, .length = packets.n };
	message.n = 0;
	if (pgp_seal_init(&s, &to, &o, into_buffer, &message) != PGP_OK || pgp_seal_feed(&s, packets) != PGP_OK ||
	    pgp_seal_finish(&s) != PGP_OK)
		abort();
	pgp_seal_free(&s);

	struct pgp_content c;
	uint64_t want_sum = 0, sum;
	pgp_content_init(&c, LIMIT, add_up, &want_sum);
	pgp_content_feed(&c, packets);
	enum pgp_error want = pgp_content_finish(&c);
	enum pgp_error got = decrypt(bytes_of(message.p, message.n), piece, &sum);
	if (got != want || (got == PGP_OK && sum != want_sum))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3 || size > 8192)
		return 0;
	size_t piece = data[1] + 1u;
	if (data[0] % 2 == 0)
		try_message(bytes_of(data + 2, size - 2), piece);
	else
		try_packets(bytes_of(data + 3, size - 3), data[2], piece);
	return 0;
}
