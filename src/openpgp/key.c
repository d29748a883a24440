/* Exporting writes, and parsing demands, the same five packets. The parser runs in our client on text
 * that an attestation document vouches for, but trusts none of it: any other layout is refused rather
 * than interpreted, so there is no certificate that two readers could understand differently. */
#include "openpgp/key.h"

#include "base/cleanup.h"
#include "format/openpgp_armor.h"

/* --- digests ------------------------------------------------------------------------------ */

static void hash_key_body(struct hash *h, struct bytes body)
{
	uint8_t head[3] = { 0x99, (uint8_t)(body.n >> 8), (uint8_t)body.n };
	hash_update(h, BYTES_ARRAY(head));
	hash_update(h, body);
}

static void hash_user_id(struct hash *h, struct bytes user_id)
{
	uint8_t head[5];
	struct writer w = writer_of(head, sizeof head);
	put_u8(&w, 0xb4);
	put_be32(&w, (uint32_t)user_id.n);
	hash_update(h, BYTES_ARRAY(head));
	hash_update(h, user_id);
}

static bool fingerprint_of(struct bytes key_body, uint8_t out[PGP_FINGERPRINT_SIZE])
{
	CLEANUP(hash_cleanup) struct hash *h = hash_new(HASH_SHA1);
	if (h == NULL)
		return false;
	hash_key_body(h, key_body);
	return hash_peek(h, out);
}

/* What both signatures sign: the primary key, then what it is tied to, then the signature's own fields. */
struct signed_parts { struct bytes primary, user_id, subkey; };          /* user_id or subkey is empty */

static bool signature_digest(const struct signed_parts *parts, struct bytes hashed, uint8_t out[SHA512_SIZE])
{
	CLEANUP(hash_cleanup) struct hash *h = hash_new(HASH_SHA512);
	if (h == NULL)
		return false;
	hash_key_body(h, parts->primary);
	if (parts->subkey.n > 0)
		hash_key_body(h, parts->subkey);
	else
		hash_user_id(h, parts->user_id);
	uint8_t trailer[6];
	struct writer w = writer_of(trailer, sizeof trailer);
	put_u8(&w, 4);
	put_u8(&w, 0xff);
	put_be32(&w, (uint32_t)hashed.n);
	hash_update(h, hashed);
	hash_update(h, BYTES_ARRAY(trailer));
	return hash_peek(h, out);
}

/* --- secret keys -------------------------------------------------------------------------- */

static struct bytes key_body(uint32_t created, uint8_t algorithm, const uint8_t public[KEY25519_SIZE],
                             uint8_t out[PGP_KEY_BODY_SIZE])
{
	struct writer w = writer_of(out, PGP_KEY_BODY_SIZE);
	pgp_put_key_body(&w, &(struct pgp_key_body){ created, algorithm, bytes_of(public, KEY25519_SIZE) });
	return writer_bytes(&w);
}

/* Takes both secrets over, also when it fails. */
static enum pgp_error key_of(struct pgp_key *ret, struct key25519 *primary, struct key25519 *subkey, uint32_t created)
{
	struct pgp_key k = { .primary = primary, .subkey = subkey, .created = created };
	uint8_t body[PGP_KEY_BODY_SIZE];
	bool ok = primary != NULL && subkey != NULL &&
	          key25519_public(primary, k.primary_public) && key25519_public(subkey, k.subkey_public) &&
	          fingerprint_of(key_body(created, PGP_ALGORITHM_ED25519, k.primary_public, body), k.fingerprint) &&
	          fingerprint_of(key_body(created, PGP_ALGORITHM_X25519, k.subkey_public, body), k.subkey_fingerprint);
	if (!ok) {
		pgp_key_free(&k);
		return PGP_CRYPTO;
	}
	*ret = k;
	return PGP_OK;
}

enum pgp_error pgp_key_generate(struct pgp_key *ret, uint32_t now_s, uint32_t backdate_s)
{
	uint32_t created = now_s > backdate_s ? now_s - backdate_s : 0;
	return key_of(ret, ed25519_generate(), x25519_generate(), created);
}

enum pgp_error pgp_key_from_raw(struct pgp_key *ret, const uint8_t primary[KEY25519_SIZE],
                                const uint8_t subkey[KEY25519_SIZE], uint32_t created)
{
	return key_of(ret, ed25519_from_raw(primary), x25519_from_raw(subkey), created);
}

void pgp_key_free(struct pgp_key *k)
{
	key25519_free(k->primary);
	key25519_free(k->subkey);
	crypto_wipe(k, sizeof *k);
}

/* --- export -------------------------------------------------------------------------------- */

static enum pgp_error put_signature(struct writer *w, const struct pgp_key *k, const struct signed_parts *parts,
                                    struct pgp_signature *s)
{
	uint8_t room[256], digest[SHA512_SIZE], signature[ED25519_SIGNATURE_SIZE];
	struct writer body = writer_of(room, sizeof room);
	s->created = k->created;
	s->issuer = BYTES_ARRAY(k->fingerprint);
	pgp_put_signature_hashed(&body, s);
	if (!signature_digest(parts, writer_bytes(&body), digest) ||
	    !ed25519_sign(k->primary, BYTES_ARRAY(digest), signature))
		return PGP_CRYPTO;
	put_be16(&body, 0);
	put_bytes(&body, bytes_of(digest, 2));
	put_bytes(&body, BYTES_ARRAY(signature));
	pgp_put_header(w, PGP_TAG_SIGNATURE, (uint32_t)body.at);
	put_bytes(w, writer_bytes(&body));
	return body.full ? PGP_NO_ROOM : PGP_OK;
}

static void put_packet(struct writer *w, enum pgp_tag tag, struct bytes body)
{
	pgp_put_header(w, tag, (uint32_t)body.n);
	put_bytes(w, body);
}

enum pgp_error pgp_key_export(const struct pgp_key *k, struct writer *w)
{
	/* GCM first: it is the fast one in browsers; the others may be chosen all the same. SEIPD v1 is
	 * not offered, as it is refused. */
	static const uint8_t suites[] = {
		PGP_CIPHER_AES256, PGP_AEAD_GCM, PGP_CIPHER_AES256, PGP_AEAD_OCB,
		PGP_CIPHER_AES128, PGP_AEAD_GCM, PGP_CIPHER_AES128, PGP_AEAD_OCB,
	};
	static const uint8_t features[] = { PGP_FEATURE_SEIPD_V2 }, key_flags[] = { PGP_KEY_FLAGS_ENCRYPT };
	uint8_t primary_body[PGP_KEY_BODY_SIZE], subkey_body[PGP_KEY_BODY_SIZE], room[PGP_CERTIFICATE_MAX];
	struct bytes primary = key_body(k->created, PGP_ALGORITHM_ED25519, k->primary_public, primary_body);
	struct bytes subkey = key_body(k->created, PGP_ALGORITHM_X25519, k->subkey_public, subkey_body);
	struct pgp_signature self = {
		.type = PGP_SIG_CERTIFICATION, .features = BYTES_ARRAY(features), .suites = BYTES_ARRAY(suites) };
	struct pgp_signature binding = { .type = PGP_SIG_BINDING, .key_flags = BYTES_ARRAY(key_flags) };

	struct writer certificate = writer_of(room, sizeof room);
	put_packet(&certificate, PGP_TAG_PUBLIC_KEY, primary);
	put_packet(&certificate, PGP_TAG_USER_ID, BYTES_LIT(PGP_USER_ID));
	struct signed_parts parts = { .primary = primary, .user_id = BYTES_LIT(PGP_USER_ID) };
	enum pgp_error e = put_signature(&certificate, k, &parts, &self);
	if (e != PGP_OK)
		return e;
	put_packet(&certificate, PGP_TAG_PUBLIC_SUBKEY, subkey);
	parts = (struct signed_parts){ .primary = primary, .subkey = subkey };
	e = put_signature(&certificate, k, &parts, &binding);
	if (e != PGP_OK)
		return e;
	pgp_armor(w, writer_bytes(&certificate));
	return certificate.full || w->full ? PGP_NO_ROOM : PGP_OK;
}

/* --- import -------------------------------------------------------------------------------- */

static enum pgp_error parse_key(struct bytes body, uint8_t algorithm, struct pgp_key_body *ret)
{
	enum pgp_error e = pgp_key_body_parse(body, ret);
	if (e != PGP_OK)
		return e;
	return ret->algorithm == algorithm ? PGP_OK : PGP_BAD_KEY;
}

/* The fields that both signatures share. newest: creation time of the newest key the signature is about. */
static enum pgp_error parse_signature(struct bytes body, enum pgp_signature_type type, uint32_t newest,
                                      const uint8_t issuer[PGP_FINGERPRINT_SIZE], struct pgp_signature *ret)
{
	enum pgp_error e = pgp_signature_parse(body, ret);
	if (e != PGP_OK)
		return e;
	if (ret->type != type)
		return PGP_SIGNATURE_TYPE;
	if (ret->created < newest)
		return PGP_BAD_TIME;
	return bytes_equal(ret->issuer, bytes_of(issuer, PGP_FINGERPRINT_SIZE)) ? PGP_OK : PGP_BAD_ISSUER;
}

/* SEIPD v2 must be offered and AES-256-GCM listed: it is what our client sends. */
static bool preferences_fit(const struct pgp_signature *self)
{
	if (self->key_flags.n != 0 || self->features.n != 1 || (self->features.p[0] & PGP_FEATURE_SEIPD_V2) == 0)
		return false;
	for (size_t i = 0; i + 1 < self->suites.n; i += 2)
		if (self->suites.p[i] == PGP_CIPHER_AES256 && self->suites.p[i + 1] == PGP_AEAD_GCM)
			return true;
	return false;
}

/* The subkey encrypts, and nothing else is said about it. */
static bool binding_fits(const struct pgp_signature *binding)
{
	return binding->features.n == 0 && binding->suites.n == 0 && binding->key_flags.n == 1 &&
	       binding->key_flags.p[0] == PGP_KEY_FLAGS_ENCRYPT;
}

static bool signature_verifies(const struct signed_parts *parts, const struct pgp_signature *s,
                               const uint8_t public[KEY25519_SIZE])
{
	uint8_t digest[SHA512_SIZE];
	return signature_digest(parts, s->hashed, digest) && bytes_equal(s->left, bytes_of(digest, 2)) &&
	       ed25519_verify(public, BYTES_ARRAY(digest), s->signature.p);
}

enum certificate_part { PART_PRIMARY, PART_USER_ID, PART_SELF, PART_SUBKEY, PART_BINDING, PART_COUNT };

static enum pgp_error get_parts(struct bytes certificate, struct bytes ret_parts[PART_COUNT])
{
	static const uint8_t tags[PART_COUNT] = {
		[PART_PRIMARY] = PGP_TAG_PUBLIC_KEY, [PART_USER_ID] = PGP_TAG_USER_ID,
		[PART_SELF] = PGP_TAG_SIGNATURE, [PART_SUBKEY] = PGP_TAG_PUBLIC_SUBKEY,
		[PART_BINDING] = PGP_TAG_SIGNATURE };
	struct reader r = reader_of(certificate);
	for (size_t i = 0; i < PART_COUNT; i++)
		if (pgp_get_packet(&r, &ret_parts[i]) != tags[i] || r.bad)
			return PGP_KEY_LAYOUT;
	return reader_done(&r) ? PGP_OK : PGP_KEY_LAYOUT;
}

static enum pgp_error parse_parts(const struct bytes part[PART_COUNT], struct pgp_recipient *ret)
{
	struct pgp_key_body primary, subkey;
	struct pgp_signature self, binding;
	enum pgp_error e = parse_key(part[PART_PRIMARY], PGP_ALGORITHM_ED25519, &primary);
	if (e == PGP_OK)
		e = parse_key(part[PART_SUBKEY], PGP_ALGORITHM_X25519, &subkey);
	if (e != PGP_OK)
		return e;
	if (!bytes_equal(part[PART_USER_ID], BYTES_LIT(PGP_USER_ID)))
		return PGP_BAD_USER_ID;
	ret->created = primary.created;
	memcpy(ret->primary_public, primary.key.p, KEY25519_SIZE);
	memcpy(ret->subkey_public, subkey.key.p, KEY25519_SIZE);
	if (!fingerprint_of(part[PART_PRIMARY], ret->fingerprint) ||
	    !fingerprint_of(part[PART_SUBKEY], ret->subkey_fingerprint))
		return PGP_CRYPTO;

	uint32_t newest = subkey.created > primary.created ? subkey.created : primary.created;
	e = parse_signature(part[PART_SELF], PGP_SIG_CERTIFICATION, primary.created, ret->fingerprint, &self);
	if (e == PGP_OK)
		e = parse_signature(part[PART_BINDING], PGP_SIG_BINDING, newest, ret->fingerprint, &binding);
	if (e != PGP_OK)
		return e;
	if (!preferences_fit(&self) || !binding_fits(&binding))
		return PGP_KEY_PREFERENCES;

	struct signed_parts named = { .primary = part[PART_PRIMARY], .user_id = part[PART_USER_ID] };
	struct signed_parts bound = { .primary = part[PART_PRIMARY], .subkey = part[PART_SUBKEY] };
	if (!signature_verifies(&named, &self, ret->primary_public))
		return PGP_CERTIFICATION;
	return signature_verifies(&bound, &binding, ret->primary_public) ? PGP_OK : PGP_BINDING;
}

enum pgp_error pgp_recipient_parse(struct bytes armored, struct pgp_recipient *ret)
{
	uint8_t certificate[PGP_CERTIFICATE_MAX];
	struct bytes part[PART_COUNT];
	struct pgp_recipient found = { 0 };
	size_t n = 0;
	enum pgp_error e = pgp_dearmor(armored, certificate, sizeof certificate, &n);
	if (e == PGP_OK)
		e = get_parts(bytes_of(certificate, n), part);
	if (e == PGP_OK)
		e = parse_parts(part, &found);
	if (e == PGP_OK)
		*ret = found;
	return e;
}
