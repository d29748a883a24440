/* Every byte read here comes from a stranger. The splitter keeps its place in a dozen bytes and never
 * holds content; lengths are trusted only as a count of bytes still to come, never as an allocation.
 * Body parsers take whole, bounded strings and check sizes before use. */
#include "format/openpgp_packet.h"

/* --- headers -------------------------------------------------------------------------- */

/* Partial lengths are for the packets that carry data (4.2.1.4). */
static bool may_stream(uint8_t tag)
{
	return tag == PGP_TAG_LITERAL || tag == PGP_TAG_COMPRESSED || tag == PGP_TAG_SED || tag == PGP_TAG_SEIPD;
}

static enum pgp_error on_tag(struct pgp_split *s, uint8_t octet)
{
	if ((octet & 0x80) == 0 || octet == 0xc0)
		return PGP_NOT_OPENPGP;
	if ((octet & 0x40) == 0)
		return PGP_OLD_FORMAT;
	*s = (struct pgp_split){ .state = SPLIT_AT_LENGTH, .tag = octet & 63, .first = true };
	return PGP_OK;
}

static enum pgp_error on_first_length_octet(struct pgp_split *s, uint8_t octet)
{
	s->partial = octet >= 224 && octet < 255;
	s->need = octet == 255 ? 4 : octet >= 192 && octet < 224 ? 1 : 0;
	s->bias = s->need == 1 ? 192 : 0;
	s->length = s->partial ? UINT32_C(1) << (octet & 31) : s->need == 4 ? 0 : s->need == 1 ? octet - 192u : octet;
	s->state = SPLIT_IN_LENGTH;
	if (s->partial && (!may_stream(s->tag) || (s->first && s->length < PGP_PARTIAL_FIRST_MIN)))
		return PGP_BAD_LENGTH;
	return PGP_OK;
}

static enum pgp_error on_octet(struct pgp_split *s, uint8_t octet)
{
	if (s->state == SPLIT_AT_TAG)
		return on_tag(s, octet);
	if (s->state == SPLIT_AT_LENGTH)
		return on_first_length_octet(s, octet);
	s->length = s->length << 8 | octet;
	s->need--;
	return PGP_OK;
}

static enum pgp_split_event take_body(struct pgp_split *s, struct bytes *in, struct bytes *ret_body)
{
	if (in->n == 0)
		return SPLIT_MORE;
	size_t n = in->n < s->left ? in->n : s->left;
	*ret_body = bytes_of(in->p, n);
	*in = bytes_of(in->p + n, in->n - n);
	s->left -= (uint32_t)n;
	return SPLIT_BODY;
}

enum pgp_split_event pgp_split_next(struct pgp_split *s, struct bytes *in, struct bytes *ret_body)
{
	for (;;) {
		if (s->state == SPLIT_BROKEN)
			return SPLIT_ERROR;
		if (s->state == SPLIT_IN_BODY) {
			if (s->left > 0)
				return take_body(s, in, ret_body);
			s->state = s->partial ? SPLIT_AT_LENGTH : SPLIT_AT_TAG;
			if (s->state == SPLIT_AT_TAG)
				return SPLIT_END;
		} else if (s->state == SPLIT_IN_LENGTH && s->need == 0) {
			s->left = s->length + s->bias;
			s->state = SPLIT_IN_BODY;
			if (s->first) {
				s->first = false;
				s->streamed = s->partial;
				return SPLIT_HEADER;
			}
		} else {
			if (in->n == 0)
				return SPLIT_MORE;
			s->error = on_octet(s, in->p[0]);
			*in = bytes_of(in->p + 1, in->n - 1);
			if (s->error != PGP_OK)
				s->state = SPLIT_BROKEN;
		}
	}
}

void pgp_put_length(struct writer *w, uint32_t length)
{
	if (length < 192) {
		put_u8(w, (uint8_t)length);
	} else if (length < 8384) {
		put_be16(w, (uint16_t)(length - 192 + (192u << 8)));
	} else {
		put_u8(w, 255);
		put_be32(w, length);
	}
}

void pgp_put_header(struct writer *w, enum pgp_tag tag, uint32_t length)
{
	put_u8(w, (uint8_t)(0xc0 | tag));
	pgp_put_length(w, length);
}

uint8_t pgp_get_packet(struct reader *r, struct bytes *ret_body)
{
	struct pgp_split s = { 0 };
	struct bytes in = bytes_slice(r->in, r->at, reader_left(r)), body = BYTES_NONE;
	if (pgp_split_next(&s, &in, &body) != SPLIT_HEADER || s.streamed) {
		r->bad = true;
		return 0;
	}
	r->at = r->in.n - in.n;
	*ret_body = get_bytes(r, s.left);
	return s.tag;
}

/* --- bodies of a message ---------------------------------------------------------------- */

enum pgp_error pgp_pkesk_parse(struct bytes body, struct pgp_pkesk *ret)
{
	struct reader r = reader_of(body);
	if (get_u8(&r) != 6)
		return r.bad ? PGP_BAD_PKESK : PGP_PKESK_VERSION;
	uint8_t size = get_u8(&r);
	if (size == 0)
		return r.bad ? PGP_BAD_PKESK : PGP_ANONYMOUS_RECIPIENT;
	struct pgp_pkesk p = { .key_version = get_u8(&r) };
	size_t fingerprint_size = p.key_version == 4 ? PGP_FINGERPRINT_SIZE : 32;
	if ((p.key_version != 4 && p.key_version != 6) || size != fingerprint_size + 1)
		return PGP_BAD_PKESK;
	p.fingerprint = get_bytes(&r, fingerprint_size);
	p.algorithm = get_u8(&r);
	p.rest = get_bytes(&r, reader_left(&r));
	if (r.bad)
		return PGP_BAD_PKESK;
	*ret = p;
	return PGP_OK;
}

enum pgp_error pgp_pkesk_x25519(struct bytes rest, struct bytes *ret_ephemeral, struct bytes *ret_wrapped)
{
	struct reader r = reader_of(rest);
	struct bytes ephemeral = get_bytes(&r, 32);
	struct bytes wrapped = get_bytes(&r, get_u8(&r));
	if (!reader_done(&r))
		return PGP_BAD_PKESK;
	if (wrapped.n != 24 && wrapped.n != PGP_WRAPPED_MAX)
		return PGP_SESSION_KEY_SIZE;
	*ret_ephemeral = ephemeral;
	*ret_wrapped = wrapped;
	return PGP_OK;
}

void pgp_put_pkesk(struct writer *w, const uint8_t fingerprint[PGP_FINGERPRINT_SIZE],
                   const uint8_t ephemeral[32], struct bytes wrapped)
{
	pgp_put_header(w, PGP_TAG_PKESK, (uint32_t)(3 + PGP_FINGERPRINT_SIZE + 1 + 32 + 1 + wrapped.n));
	put_u8(w, 6);
	put_u8(w, 1 + PGP_FINGERPRINT_SIZE);
	put_u8(w, 4);
	put_bytes(w, bytes_of(fingerprint, PGP_FINGERPRINT_SIZE));
	put_u8(w, PGP_ALGORITHM_X25519);
	put_bytes(w, bytes_of(ephemeral, 32));
	put_u8(w, (uint8_t)wrapped.n);
	put_bytes(w, wrapped);
}

enum pgp_error pgp_seipd_parse(struct bytes head, struct pgp_seipd *ret)
{
	struct reader r = reader_of(head);
	if (get_u8(&r) != 2)
		return r.bad ? PGP_TRUNCATED : PGP_SEIPD_VERSION;
	struct pgp_seipd s = { .cipher = get_u8(&r), .mode = get_u8(&r), .chunk_octet = get_u8(&r) };
	s.salt = get_bytes(&r, PGP_SALT_SIZE);
	if (r.bad)
		return PGP_TRUNCATED;
	if (s.cipher != PGP_CIPHER_AES128 && s.cipher != PGP_CIPHER_AES256)
		return PGP_SEIPD_CIPHER;
	if (s.mode != PGP_AEAD_OCB && s.mode != PGP_AEAD_GCM)
		return PGP_SEIPD_MODE;
	if (s.chunk_octet > PGP_CHUNK_OCTET_MAX)
		return PGP_SEIPD_CHUNK_SIZE;
	*ret = s;
	return PGP_OK;
}

/* --- bodies of a certificate -------------------------------------------------------------- */

enum pgp_error pgp_key_body_parse(struct bytes body, struct pgp_key_body *ret)
{
	struct reader r = reader_of(body);
	uint8_t version = get_u8(&r);
	struct pgp_key_body k = { .created = get_be32(&r), .algorithm = get_u8(&r) };
	k.key = get_bytes(&r, 32);
	if (!reader_done(&r) || version != 4)
		return PGP_BAD_KEY;
	*ret = k;
	return PGP_OK;
}

void pgp_put_key_body(struct writer *w, const struct pgp_key_body *k)
{
	put_u8(w, 4);
	put_be32(w, k->created);
	put_u8(w, k->algorithm);
	put_bytes(w, k->key);
}

enum { SUB_CREATED = 2, SUB_KEY_FLAGS = 27, SUB_FEATURES = 30, SUB_ISSUER = 33, SUB_SUITES = 39 };

/* Where the value of a subpacket goes; NULL for one that has no place in our certificates. A set
 * critical bit changes nothing, as every subpacket here is understood. */
static struct bytes *subpacket_slot(struct pgp_signature *s, struct bytes *created, uint8_t type)
{
	switch (type & 0x7f) {
	case SUB_CREATED: return created;
	case SUB_ISSUER: return &s->issuer;
	case SUB_FEATURES: return &s->features;
	case SUB_SUITES: return &s->suites;
	case SUB_KEY_FLAGS: return &s->key_flags;
	default: return NULL;
	}
}

static enum pgp_error parse_subpackets(struct bytes area, struct pgp_signature *s)
{
	struct bytes created = BYTES_NONE;
	for (struct reader r = reader_of(area); !reader_done(&r);) {
		/* none of these needs more than the one-octet length */
		struct bytes sub = get_bytes(&r, get_u8(&r));
		if (r.bad || sub.n < 2 || sub.n >= 192)
			return PGP_BAD_SUBPACKET;
		struct bytes *slot = subpacket_slot(s, &created, sub.p[0]);
		if (slot == NULL || slot->n != 0)
			return PGP_BAD_SUBPACKET;
		*slot = bytes_of(sub.p + 1, sub.n - 1);
	}
	if (created.n != 4 || s->issuer.n != 1 + PGP_FINGERPRINT_SIZE || s->issuer.p[0] != 4 || s->suites.n % 2 != 0)
		return PGP_BAD_SUBPACKET;
	struct reader c = reader_of(created);
	s->created = get_be32(&c);
	s->issuer = bytes_of(s->issuer.p + 1, PGP_FINGERPRINT_SIZE);
	return PGP_OK;
}

enum pgp_error pgp_signature_parse(struct bytes body, struct pgp_signature *ret)
{
	struct reader r = reader_of(body);
	uint8_t version = get_u8(&r);
	struct pgp_signature s = { .type = get_u8(&r) };
	uint8_t algorithm = get_u8(&r), hash = get_u8(&r);
	struct bytes area = get_bytes(&r, get_be16(&r));
	s.hashed = bytes_slice(body, 0, r.at);
	uint16_t unhashed = get_be16(&r);
	s.left = get_bytes(&r, 2);
	s.signature = get_bytes(&r, 64);
	if (!reader_done(&r) || version != 4 || algorithm != PGP_ALGORITHM_ED25519 || hash != PGP_HASH_SHA512 ||
	    unhashed != 0)
		return PGP_BAD_SIGNATURE;
	enum pgp_error e = parse_subpackets(area, &s);
	if (e == PGP_OK)
		*ret = s;
	return e;
}

static void put_subpacket(struct writer *w, uint8_t type, struct bytes value)
{
	put_u8(w, (uint8_t)(1 + value.n));
	put_u8(w, type);
	put_bytes(w, value);
}

static void put_optional(struct writer *w, uint8_t type, struct bytes value)
{
	if (value.n > 0)
		put_subpacket(w, type, value);
}

void pgp_put_signature_hashed(struct writer *w, const struct pgp_signature *s)
{
	uint8_t room[256], created[4], issuer[1 + PGP_FINGERPRINT_SIZE];
	struct writer area = writer_of(room, sizeof room);
	struct writer c = writer_of(created, sizeof created), i = writer_of(issuer, sizeof issuer);
	put_be32(&c, s->created);
	put_u8(&i, 4);
	put_bytes(&i, s->issuer);
	put_subpacket(&area, SUB_CREATED, writer_bytes(&c));
	put_subpacket(&area, SUB_ISSUER, writer_bytes(&i));
	put_optional(&area, SUB_KEY_FLAGS, s->key_flags);
	put_optional(&area, SUB_FEATURES, s->features);
	put_optional(&area, SUB_SUITES, s->suites);
	put_u8(w, 4);
	put_u8(w, s->type);
	put_u8(w, PGP_ALGORITHM_ED25519);
	put_u8(w, PGP_HASH_SHA512);
	put_be16(w, (uint16_t)area.at);
	put_bytes(w, writer_bytes(&area));
	w->full = w->full || area.full;
}
