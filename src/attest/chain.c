/* Theory: the root is trusted because its bytes are the caller's, so its own signature says nothing and
 * is not checked; its dates are. From there each certificate is checked against the one before it, cheap
 * questions (form, names, rights, dates) for the whole chain before the first signature, so that a
 * stranger's nonsense costs microseconds and not elliptic curves. The order in the document is the order
 * that counts: nothing is searched for, reordered or left out.
 *
 * The cache holds SHA-256(issuer's point || certificate) of signatures found good. A point has a fixed
 * size, so the two cannot be shifted against each other. */
#include "attest/chain.h"

#include "attest/code.h"

static bool cache_key(const struct x509 *issuer, struct bytes cert, uint8_t key[SHA256_SIZE])
{
	uint8_t both[X509_POINT_SIZE + ATTEST_DOC_CERTIFICATE_MAX];
	if (cert.n > ATTEST_DOC_CERTIFICATE_MAX)
		return false;
	memcpy(both, issuer->point.p, X509_POINT_SIZE);
	memcpy(both + X509_POINT_SIZE, cert.p, cert.n);
	return crypto_hash(HASH_SHA256, bytes_of(both, X509_POINT_SIZE + cert.n), key);
}

static bool cache_has(const struct teerex_cache *cache, const uint8_t key[SHA256_SIZE])
{
	for (unsigned i = 0; i < cache->count_ && i < TEEREX_CACHE_ENTRIES; i++)
		if (memcmp(cache->entry_[i], key, SHA256_SIZE) == 0)
			return true;
	return false;
}

static void cache_put(struct teerex_cache *cache, const uint8_t key[SHA256_SIZE])
{
	memcpy(cache->entry_[cache->next_ % TEEREX_CACHE_ENTRIES], key, SHA256_SIZE);
	cache->next_ = (cache->next_ + 1) % TEEREX_CACHE_ENTRIES;
	if (cache->count_ < TEEREX_CACHE_ENTRIES)
		cache->count_++;
}

static bool signed_by(const struct x509 *cert, struct bytes der, const struct x509 *issuer, struct teerex_cache *cache)
{
	uint8_t key[SHA256_SIZE];
	bool cached = cache != NULL && cache_key(issuer, der, key);
	if (cached && cache_has(cache, key))
		return true;
	if (!x509_signed_by(cert, issuer->point))
		return false;
	if (cached)
		cache_put(cache, key);
	return true;
}

static bool may_sign_certificates(const struct x509 *c)
{
	return c->has_key_usage && (c->key_usage & X509_KEY_CERT_SIGN);
}

/* cas_below: authorities between this one and the leaf. Self-issued ones count too, which is stricter
 * than RFC 5280 and what the hardware's chains satisfy. */
static enum teerex_code check_issuer(const struct x509 *c, size_t cas_below)
{
	if (!may_sign_certificates(c))
		return TEEREX_CHAIN_NOT_CERT_SIGNER;
	if (c->path_len != X509_NO_PATH_LEN && cas_below > (size_t)c->path_len)
		return TEEREX_CHAIN_PATH_LENGTH;
	return TEEREX_OK;
}

static enum teerex_code check_leaf(const struct x509 *c)
{
	if (c->ca)
		return TEEREX_CHAIN_LEAF_IS_CA;
	if (c->has_key_usage && !(c->key_usage & X509_DIGITAL_SIGNATURE))
		return TEEREX_CHAIN_LEAF_NOT_SIGNER;
	return TEEREX_OK;
}

static enum teerex_code check_dates(const struct x509 *c, int64_t now_s, struct chain_fault *fault)
{
	if (now_s < c->not_before_s) {
		fault->date_s = c->not_before_s;
		return TEEREX_CHAIN_NOT_YET_VALID;
	}
	if (now_s > c->not_after_s) {
		fault->date_s = c->not_after_s;
		return TEEREX_CHAIN_EXPIRED;
	}
	return TEEREX_OK;
}

bool chain_root_usable(struct bytes der)
{
	struct x509 root;
	return der.n <= ATTEST_DOC_CERTIFICATE_MAX && x509_parse(der, &root) == X509_OK &&
		bytes_equal(root.issuer, root.subject) && root.ca && may_sign_certificates(&root);
}

enum teerex_code chain_verify(const struct chain *c, struct x509 *ret_leaf, struct chain_fault *fault)
{
	struct x509 cert[CHAIN_MAX];
	fault->at = 0;
	if (c->count < 2 || c->count > CHAIN_MAX)
		return TEEREX_INTERNAL;
	if (!bytes_equal(c->cert[0], c->root))
		return TEEREX_CHAIN_WRONG_ROOT;

	enum teerex_code code = TEEREX_OK;
	size_t leaf = c->count - 1;
	for (size_t i = 0; i <= leaf; i++) {
		fault->at = i;
		if ((code = code_of_x509(x509_parse(c->cert[i], &cert[i]))) != TEEREX_OK)
			return code;
		if (i > 0 && !bytes_equal(cert[i].issuer, cert[i - 1].subject))
			return TEEREX_CHAIN_NAME_MISMATCH;
		if (i < leaf && !cert[i].ca)
			return TEEREX_CHAIN_NOT_CA;
	}
	for (size_t i = 0; i <= leaf; i++) {
		fault->at = i;
		code = i < leaf ? check_issuer(&cert[i], leaf - 1 - i) : check_leaf(&cert[i]);
		if (code == TEEREX_OK)
			code = check_dates(&cert[i], c->now_s, fault);
		if (code != TEEREX_OK)
			return code;
	}
	for (size_t i = 1; i <= leaf; i++) {
		fault->at = i;
		if (!signed_by(&cert[i], c->cert[i], &cert[i - 1], c->cache))
			return TEEREX_CHAIN_BAD_SIGNATURE;
	}
	*ret_leaf = cert[leaf];
	return TEEREX_OK;
}
