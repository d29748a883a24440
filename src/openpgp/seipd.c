#include "openpgp/seipd.h"

#include "base/cleanup.h"

void pgp_session_key_wipe(struct pgp_session_key *k) { crypto_wipe(k, sizeof *k); }

/* --- session keys ------------------------------------------------------------------------- */

/* Key-encryption key from ephemeral || recipient || shared, both public halves first. */
static bool derive_kek(const struct key25519 *secret, const uint8_t peer[KEY25519_SIZE],
                       const uint8_t ephemeral[KEY25519_SIZE], const uint8_t recipient[KEY25519_SIZE],
                       uint8_t ret_kek[16], bool *ret_bad_point)
{
	uint8_t ikm[3 * KEY25519_SIZE];
	memcpy(ikm, ephemeral, KEY25519_SIZE);
	memcpy(ikm + KEY25519_SIZE, recipient, KEY25519_SIZE);
	*ret_bad_point = !x25519_derive(secret, peer, ikm + 2 * KEY25519_SIZE);
	bool ok = !*ret_bad_point &&
	          crypto_hkdf_sha256(BYTES_ARRAY(ikm), BYTES_NONE, BYTES_LIT("OpenPGP X25519"), ret_kek, 16);
	crypto_wipe(ikm, sizeof ikm);
	return ok;
}

enum pgp_error pgp_session_key_unwrap(const struct key25519 *secret, const uint8_t public[KEY25519_SIZE],
                                      struct bytes rest, struct pgp_session_key *ret)
{
	struct bytes ephemeral, wrapped;
	enum pgp_error e = pgp_pkesk_x25519(rest, &ephemeral, &wrapped);
	if (e != PGP_OK)
		return e;
	uint8_t kek[16];
	bool bad_point;
	if (!derive_kek(secret, ephemeral.p, ephemeral.p, public, kek, &bad_point))
		e = bad_point ? PGP_BAD_POINT : PGP_CRYPTO;
	else if (!crypto_aes128_unwrap(kek, wrapped, ret->key))
		e = PGP_BAD_SESSION_KEY;
	else
		ret->n = wrapped.n - 8;
	crypto_wipe(kek, sizeof kek);
	return e;
}

static void free_key25519(struct key25519 **k) { key25519_free(*k); }

enum pgp_error pgp_session_key_wrap(struct writer *w, const uint8_t public[KEY25519_SIZE],
                                    const uint8_t fingerprint[PGP_FINGERPRINT_SIZE],
                                    const struct pgp_session_key *k)
{
	CLEANUP(free_key25519) struct key25519 *secret = x25519_generate();
	uint8_t ephemeral[KEY25519_SIZE], kek[16], wrapped[PGP_WRAPPED_MAX];
	bool bad_point = false;
	if (secret == NULL || !key25519_public(secret, ephemeral))
		return PGP_CRYPTO;
	bool ok = derive_kek(secret, public, ephemeral, public, kek, &bad_point) &&
	          crypto_aes128_wrap(kek, bytes_of(k->key, k->n), wrapped);
	crypto_wipe(kek, sizeof kek);
	if (!ok)
		return bad_point ? PGP_BAD_POINT : PGP_CRYPTO;
	pgp_put_pkesk(w, fingerprint, ephemeral, bytes_of(wrapped, k->n + 8));
	return w->full ? PGP_NO_ROOM : PGP_OK;
}

/* --- chunks --------------------------------------------------------------------------------- */

static enum aead_kind aead_kind_of(uint8_t cipher, uint8_t mode)
{
	if (mode == PGP_AEAD_GCM)
		return cipher == PGP_CIPHER_AES256 ? AEAD_AES256_GCM : AEAD_AES128_GCM;
	return cipher == PGP_CIPHER_AES256 ? AEAD_AES256_OCB : AEAD_AES128_OCB;
}

enum pgp_error pgp_chunks_open(struct pgp_chunks *c, bool encrypt, const struct pgp_seipd *head,
                               const struct pgp_session_key *k)
{
	size_t key_size = pgp_cipher_key_size(head->cipher);
	if (k->n != key_size)
		return PGP_SESSION_KEY_SIZE;
	*c = (struct pgp_chunks){
		.aad = { 0xc0 | PGP_TAG_SEIPD, 2, head->cipher, head->mode, head->chunk_octet },
		.nonce_size = head->mode == PGP_AEAD_GCM ? 12 : 15,
		.chunk_size = (size_t)1 << (head->chunk_octet + 6),
	};
	c->left = c->chunk_size;
	uint8_t derived[PGP_SESSION_KEY_MAX + PGP_NONCE_MAX - 8];
	size_t prefix = c->nonce_size - 8;
	if (crypto_hkdf_sha256(bytes_of(k->key, k->n), head->salt, bytes_of(c->aad, PGP_AAD_SIZE), derived,
	                       key_size + prefix)) {
		memcpy(c->nonce, derived + key_size, prefix);
		c->aead = aead_new(aead_kind_of(head->cipher, head->mode), encrypt, derived);
	}
	crypto_wipe(derived, sizeof derived);
	return c->aead == NULL ? PGP_CRYPTO : PGP_OK;
}

void pgp_chunks_close(struct pgp_chunks *c)
{
	aead_free(c->aead);
	crypto_wipe(c, sizeof *c);
}

static void put_u64(uint8_t *at, uint64_t v)
{
	struct writer w = writer_of(at, 8);
	put_be64(&w, v);
}

/* Sets the cipher up for the current chunk when none of it has been seen. */
static bool start_chunk(struct pgp_chunks *c)
{
	if (!pgp_chunks_fresh(c))
		return true;
	put_u64(c->nonce + c->nonce_size - 8, c->index);
	return aead_start(c->aead, c->nonce, bytes_of(c->aad, PGP_AAD_SIZE));
}

static void next_chunk(struct pgp_chunks *c, size_t last)
{
	c->total += last;
	c->index++;
	c->left = c->chunk_size;
}

enum pgp_error pgp_chunks_update(struct pgp_chunks *c, struct bytes in, uint8_t *out)
{
	if (in.n == 0)
		return PGP_OK;
	if (in.n > c->left || !start_chunk(c) || !aead_update(c->aead, in, out))
		return PGP_CRYPTO;
	c->left -= in.n;
	c->total += in.n;
	return PGP_OK;
}

enum pgp_error pgp_chunks_end_decrypt(struct pgp_chunks *c, struct bytes in, uint8_t *out,
                                      const uint8_t tag[AEAD_TAG_SIZE])
{
	if (in.n > c->left || !start_chunk(c))
		return PGP_CRYPTO;
	if (!aead_last_decrypt(c->aead, in, out, tag))
		return PGP_BAD_TAG;
	next_chunk(c, in.n);
	return PGP_OK;
}

enum pgp_error pgp_chunks_end_encrypt(struct pgp_chunks *c, struct bytes in, uint8_t *out,
                                      uint8_t ret_tag[AEAD_TAG_SIZE])
{
	if (in.n > c->left || !start_chunk(c) || !aead_last_encrypt(c->aead, in, out, ret_tag))
		return PGP_CRYPTO;
	next_chunk(c, in.n);
	return PGP_OK;
}

/* The final tag takes the index after the last chunk, and the number of bytes as further AAD. */
static bool start_final(struct pgp_chunks *c)
{
	put_u64(c->nonce + c->nonce_size - 8, c->index);
	put_u64(c->aad + PGP_AAD_SIZE, c->total);
	return aead_start(c->aead, c->nonce, BYTES_ARRAY(c->aad));
}

enum pgp_error pgp_chunks_check_final(struct pgp_chunks *c, const uint8_t tag[AEAD_TAG_SIZE])
{
	if (!start_final(c))
		return PGP_CRYPTO;
	return aead_last_decrypt(c->aead, BYTES_NONE, NULL, tag) ? PGP_OK : PGP_BAD_FINAL_TAG;
}

enum pgp_error pgp_chunks_make_final(struct pgp_chunks *c, uint8_t ret_tag[AEAD_TAG_SIZE])
{
	return start_final(c) && aead_last_encrypt(c->aead, BYTES_NONE, NULL, ret_tag) ? PGP_OK : PGP_CRYPTO;
}
