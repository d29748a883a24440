/* libcrypto behind crypto.h. Algorithms are fetched once and kept: an implicit fetch takes locks and
 * lookups on every use, which shows at a few microseconds per message. */
#include "crypto/crypto.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <stdlib.h>

enum { SECURE_HEAP_SIZE = 64 << 10, SECURE_HEAP_MIN = 16 };

int crypto_lock_secrets(struct err *err)
{
	/* 2 means: made, but its memory could not be locked */
	int made = CRYPTO_secure_malloc_init(SECURE_HEAP_SIZE, SECURE_HEAP_MIN);
	if (made == 1)
		return 0;
	return fail(err, made == 2 ? EPERM : ENOMEM,
	            "lock %d KiB of memory for keys (raise RLIMIT_MEMLOCK: ulimit -l)", SECURE_HEAP_SIZE >> 10);
}

bool crypto_equal(struct bytes a, struct bytes b)
{
	return a.n == b.n && (a.n == 0 || CRYPTO_memcmp(a.p, b.p, a.n) == 0);
}

bool crypto_random(void *p, size_t n) { return RAND_priv_bytes(p, (int)n) == 1; }

/* --- digests ------------------------------------------------------------------------- */

static const EVP_MD *digest(enum hash_kind kind)
{
	static const char *const names[] = { "SHA1", "SHA256", "SHA384", "SHA512" };
	static EVP_MD *fetched[4];
	EVP_MD *md = __atomic_load_n(&fetched[kind], __ATOMIC_ACQUIRE);
	if (md != NULL)
		return md;
	/* callers of the verifier library may be several threads: the first one's stays */
	EVP_MD *made = EVP_MD_fetch(NULL, names[kind], NULL);
	if (__atomic_compare_exchange_n(&fetched[kind], &md, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return made;
	EVP_MD_free(made);
	return md;
}

bool crypto_hash(enum hash_kind kind, struct bytes in, uint8_t *out)
{
	return EVP_Digest(in.p, in.n, out, NULL, digest(kind), NULL) == 1;
}

struct hash { EVP_MD_CTX *ctx, *copy; bool bad; };

struct hash *hash_new(enum hash_kind kind)
{
	struct hash *h = calloc(1, sizeof *h);
	if (h == NULL)
		return NULL;
	h->ctx = EVP_MD_CTX_new();
	h->copy = EVP_MD_CTX_new();
	if (h->ctx == NULL || h->copy == NULL || EVP_DigestInit_ex2(h->ctx, digest(kind), NULL) != 1) {
		hash_free(h);
		return NULL;
	}
	return h;
}

void hash_update(struct hash *h, struct bytes in)
{
	if (EVP_DigestUpdate(h->ctx, in.p, in.n) != 1)
		h->bad = true;
}

bool hash_peek(const struct hash *h, uint8_t *out)
{
	return !h->bad && EVP_MD_CTX_copy_ex(h->copy, h->ctx) == 1 &&
	       EVP_DigestFinal_ex(h->copy, out, NULL) == 1;
}

void hash_free(struct hash *h)
{
	if (h == NULL)
		return;
	EVP_MD_CTX_free(h->ctx);
	EVP_MD_CTX_free(h->copy);
	free(h);
}

/* --- HKDF and key wrap -------------------------------------------------------------------- */

bool crypto_hkdf_sha256(struct bytes ikm, struct bytes salt, struct bytes info, uint8_t *out, size_t n)
{
	static EVP_KDF *hkdf;
	if (hkdf == NULL && (hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL)) == NULL)
		return false;
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(hkdf);
	if (ctx == NULL)
		return false;
	OSSL_PARAM p[5], *q = p;
	*q++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t)"SHA256", 0);
	*q++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)ikm.p, ikm.n);
	if (salt.n > 0)
		*q++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt.p, salt.n);
	if (info.n > 0)
		*q++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info.p, info.n);
	*q = OSSL_PARAM_construct_end();
	bool ok = EVP_KDF_derive(ctx, out, n, p) == 1;
	EVP_KDF_CTX_free(ctx);
	return ok;
}

static bool key_wrap(bool encrypt, const uint8_t kek[16], struct bytes in, uint8_t *out)
{
	size_t least = encrypt ? 16 : 24;
	if (in.n < least || in.n % 8 != 0 || in.n > 256)
		return false;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	if (ctx == NULL)
		return false;
	EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	int n = 0, m = 0;
	uint8_t buf[256 + 16];
	bool ok = EVP_CipherInit_ex(ctx, EVP_aes_128_wrap(), NULL, kek, NULL, encrypt) == 1 &&
	          EVP_CipherUpdate(ctx, buf, &n, in.p, (int)in.n) == 1 &&
	          EVP_CipherFinal_ex(ctx, buf + n, &m) == 1 &&
	          (size_t)(n + m) == (encrypt ? in.n + 8 : in.n - 8);
	if (ok)
		memcpy(out, buf, (size_t)(n + m));
	crypto_wipe(buf, sizeof buf);
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

bool crypto_aes128_unwrap(const uint8_t kek[16], struct bytes in, uint8_t *out) { return key_wrap(false, kek, in, out); }
bool crypto_aes128_wrap(const uint8_t kek[16], struct bytes in, uint8_t *out) { return key_wrap(true, kek, in, out); }

/* --- AEAD ----------------------------------------------------------------------------------- */

struct aead { EVP_CIPHER_CTX *ctx; bool encrypt; };

static const EVP_CIPHER *aead_cipher(enum aead_kind kind)
{
	static const char *const names[] = { "AES-128-GCM", "AES-256-GCM", "AES-128-OCB", "AES-256-OCB" };
	static EVP_CIPHER *fetched[4];
	if (fetched[kind] == NULL)
		fetched[kind] = EVP_CIPHER_fetch(NULL, names[kind], NULL);
	return fetched[kind];
}

struct aead *aead_new(enum aead_kind kind, bool encrypt, const uint8_t *key)
{
	bool ocb = kind == AEAD_AES128_OCB || kind == AEAD_AES256_OCB;
	struct aead *a = calloc(1, sizeof *a);
	if (a == NULL)
		return NULL;
	a->encrypt = encrypt;
	a->ctx = EVP_CIPHER_CTX_new();
	/* OCB fixes nonce and tag sizes before the key goes in */
	bool ok = a->ctx != NULL &&
	          EVP_CipherInit_ex2(a->ctx, aead_cipher(kind), NULL, NULL, encrypt, NULL) == 1 &&
	          EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_IVLEN, ocb ? 15 : 12, NULL) == 1 &&
	          (!ocb || EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_SIZE, NULL) == 1) &&
	          EVP_CipherInit_ex2(a->ctx, NULL, key, NULL, encrypt, NULL) == 1;
	if (!ok) {
		aead_free(a);
		return NULL;
	}
	return a;
}

bool aead_start(struct aead *a, const uint8_t *nonce, struct bytes aad)
{
	int n;
	return EVP_CipherInit_ex2(a->ctx, NULL, NULL, nonce, a->encrypt, NULL) == 1 &&
	       (aad.n == 0 || EVP_CipherUpdate(a->ctx, NULL, &n, aad.p, (int)aad.n) == 1);
}

bool aead_update(struct aead *a, struct bytes in, uint8_t *out)
{
	int n = 0;
	if (in.n % 16 != 0 || in.n > INT32_MAX)
		return false;
	return in.n == 0 || (EVP_CipherUpdate(a->ctx, out, &n, in.p, (int)in.n) == 1 && (size_t)n == in.n);
}

/* OCB holds a partial block back until the end, GCM does not: together they give in.n bytes. */
static bool aead_last(struct aead *a, struct bytes in, uint8_t *out)
{
	size_t whole = in.n - in.n % 16;
	int n = 0, m = 0;
	uint8_t tail[16] = { 0 }, block[32];
	if (!aead_update(a, bytes_of(in.p, whole), out))
		return false;
	if (in.n > whole) {
		memcpy(tail, in.p + whole, in.n - whole);
		if (EVP_CipherUpdate(a->ctx, block, &n, tail, (int)(in.n - whole)) != 1)
			return false;
	}
	bool ok = EVP_CipherFinal_ex(a->ctx, block + n, &m) == 1 && (size_t)(n + m) == in.n - whole;
	if (ok && in.n > whole)
		memcpy(out + whole, block, in.n - whole);
	crypto_wipe(tail, sizeof tail);
	crypto_wipe(block, sizeof block);
	return ok;
}

bool aead_last_encrypt(struct aead *a, struct bytes in, uint8_t *out, uint8_t ret_tag[AEAD_TAG_SIZE])
{
	return aead_last(a, in, out) &&
	       EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_SIZE, ret_tag) == 1;
}

bool aead_last_decrypt(struct aead *a, struct bytes in, uint8_t *out, const uint8_t tag[AEAD_TAG_SIZE])
{
	uint8_t copy[AEAD_TAG_SIZE];
	memcpy(copy, tag, sizeof copy);
	return EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_SIZE, copy) == 1 && aead_last(a, in, out);
}

void aead_free(struct aead *a)
{
	if (a == NULL)
		return;
	EVP_CIPHER_CTX_free(a->ctx);
	free(a);
}

/* --- Curve25519 ------------------------------------------------------------------------------- */

/* libcrypto's key objects keep these private keys in its secure heap. */
struct key25519 { EVP_PKEY *pkey; };

static struct key25519 *key25519_wrap(EVP_PKEY *pkey)
{
	struct key25519 *k = pkey == NULL ? NULL : calloc(1, sizeof *k);
	if (k == NULL)
		EVP_PKEY_free(pkey);
	else
		k->pkey = pkey;
	return k;
}

struct key25519 *ed25519_generate(void) { return key25519_wrap(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")); }
struct key25519 *x25519_generate(void) { return key25519_wrap(EVP_PKEY_Q_keygen(NULL, NULL, "X25519")); }

struct key25519 *ed25519_from_raw(const uint8_t secret[KEY25519_SIZE])
{
	return key25519_wrap(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, KEY25519_SIZE));
}

struct key25519 *x25519_from_raw(const uint8_t secret[KEY25519_SIZE])
{
	return key25519_wrap(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, KEY25519_SIZE));
}

bool key25519_public(const struct key25519 *k, uint8_t out[KEY25519_SIZE])
{
	size_t n = KEY25519_SIZE;
	return EVP_PKEY_get_raw_public_key(k->pkey, out, &n) == 1 && n == KEY25519_SIZE;
}

void key25519_free(struct key25519 *k)
{
	if (k == NULL)
		return;
	EVP_PKEY_free(k->pkey);
	free(k);
}

bool ed25519_sign(const struct key25519 *k, struct bytes message, uint8_t sig[ED25519_SIGNATURE_SIZE])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t n = ED25519_SIGNATURE_SIZE;
	bool ok = ctx != NULL && EVP_DigestSignInit(ctx, NULL, NULL, NULL, k->pkey) == 1 &&
	          EVP_DigestSign(ctx, sig, &n, message.p, message.n) == 1 && n == ED25519_SIGNATURE_SIZE;
	EVP_MD_CTX_free(ctx);
	return ok;
}

bool ed25519_verify(const uint8_t pub[KEY25519_SIZE], struct bytes message, const uint8_t sig[ED25519_SIGNATURE_SIZE])
{
	EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, pub, KEY25519_SIZE);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = pkey != NULL && ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
	          EVP_DigestVerify(ctx, sig, ED25519_SIGNATURE_SIZE, message.p, message.n) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return ok;
}

bool x25519_derive(const struct key25519 *k, const uint8_t peer[KEY25519_SIZE], uint8_t out[KEY25519_SIZE])
{
	EVP_PKEY *pub = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, peer, KEY25519_SIZE);
	EVP_PKEY_CTX *ctx = pub == NULL ? NULL : EVP_PKEY_CTX_new(k->pkey, NULL);
	size_t n = KEY25519_SIZE;
	/* libcrypto itself refuses an all-zero result */
	bool ok = ctx != NULL && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, pub) == 1 &&
	          EVP_PKEY_derive(ctx, out, &n) == 1 && n == KEY25519_SIZE;
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(pub);
	return ok;
}

/* --- P-384 -------------------------------------------------------------------------------------- */

struct p384 { EVP_PKEY *pkey; };

static struct p384 *p384_wrap(EVP_PKEY *pkey)
{
	char group[32];
	struct p384 *k = NULL;
	if (pkey != NULL && EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL) == 1 &&
	    strcmp(group, "secp384r1") == 0)
		k = calloc(1, sizeof *k);
	if (k == NULL)
		EVP_PKEY_free(pkey);
	else
		k->pkey = pkey;
	return k;
}

struct p384 *p384_generate(void) { return p384_wrap(EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384")); }

struct p384 *p384_from_point(struct bytes point)
{
	if (point.n != 97 || point.p[0] != 4)
		return NULL;
	OSSL_PARAM p[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)"secp384r1", 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)point.p, point.n),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY *pkey = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	/* fromdata refuses a point that is not on the curve */
	if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, p) != 1)
		pkey = NULL;
	EVP_PKEY_CTX_free(ctx);
	return p384_wrap(pkey);
}

struct p384 *p384_from_pem(struct bytes pem)
{
	BIO *in = pem.n > INT32_MAX ? NULL : BIO_new_mem_buf(pem.p, (int)pem.n);
	EVP_PKEY *pkey = in == NULL ? NULL : PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
	BIO_free(in);
	return p384_wrap(pkey);
}

bool p384_to_pem(const struct p384 *k, struct writer *w)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *text = NULL;
	bool ok = out != NULL && PEM_write_bio_PKCS8PrivateKey(out, k->pkey, NULL, NULL, 0, NULL, NULL) == 1;
	long n = ok ? BIO_get_mem_data(out, &text) : 0;
	if (n > 0) {
		put_bytes(w, bytes_of(text, (size_t)n));
		crypto_wipe(text, (size_t)n);
	}
	BIO_free(out);
	return ok && n > 0 && !w->full;
}

bool p384_point(const struct p384 *k, uint8_t out[97])
{
	size_t n = 0;
	return EVP_PKEY_get_octet_string_param(k->pkey, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, out, 97, &n) == 1 &&
	       n == 97 && out[0] == 4;
}

bool p384_sign(const struct p384 *k, struct bytes message, uint8_t sig[P384_SIGNATURE_SIZE])
{
	uint8_t der[128];
	size_t n = sizeof der;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx != NULL && EVP_DigestSignInit_ex(ctx, NULL, "SHA384", NULL, NULL, k->pkey, NULL) == 1 &&
	          EVP_DigestSign(ctx, der, &n, message.p, message.n) == 1;
	EVP_MD_CTX_free(ctx);
	if (!ok)
		return false;
	const uint8_t *p = der;
	ECDSA_SIG *rs = d2i_ECDSA_SIG(NULL, &p, (long)n);
	ok = rs != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(rs), sig, 48) == 48 &&
	     BN_bn2binpad(ECDSA_SIG_get0_s(rs), sig + 48, 48) == 48;
	ECDSA_SIG_free(rs);
	return ok;
}

bool p384_verify(const struct p384 *k, struct bytes message, const uint8_t sig[P384_SIGNATURE_SIZE])
{
	ECDSA_SIG *rs = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(sig, 48, NULL), *s = BN_bin2bn(sig + 48, 48, NULL);
	uint8_t der[128], *p = der;
	int n = 0;
	if (rs != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(rs, r, s) == 1) {
		r = s = NULL;                            /* owned by rs now */
		n = i2d_ECDSA_SIG(rs, NULL);
		n = n > 0 && n <= (int)sizeof der ? i2d_ECDSA_SIG(rs, &p) : 0;
	}
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(rs);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = n > 0 && ctx != NULL &&
	          EVP_DigestVerifyInit_ex(ctx, NULL, "SHA384", NULL, NULL, k->pkey, NULL) == 1 &&
	          EVP_DigestVerify(ctx, der, (size_t)n, message.p, message.n) == 1;
	EVP_MD_CTX_free(ctx);
	return ok;
}

void p384_free(struct p384 *k)
{
	if (k == NULL)
		return;
	EVP_PKEY_free(k->pkey);
	free(k);
}
