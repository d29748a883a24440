#include "hostile_answer.h"

#include "format/attest_doc.h"
#include "format/cose_sign1.h"

static const char *document_fault(const struct hostile_material *m, const struct verdict *v, const struct frame_reply *p)
{
	struct cose_sign1 c;
	struct attest_doc d;
	if (cose_sign1_parse(p->document, &c) != COSE_OK || attest_doc_parse(c.payload, &d) != DOC_OK)
		return "the document is malformed";
	if (!bytes_equal(p->key, bytes_str(m->key)) || !bytes_equal(d.public_key, p->key))
		return "the document is for another key";
	if (d.has_nonce != (v->nonce.n > 0))
		return d.has_nonce ? "a document with somebody else's nonce" : "a document without the nonce";
	return bytes_equal(d.nonce, v->nonce) ? NULL : "the document has another nonce";
}

static const char *proof_fault(const struct hostile_material *m, const struct verdict *v, const struct frame_reply *p)
{
	uint8_t sha256[SHA256_SIZE], message[RESULT_MESSAGE_SIZE];
	if (v->prove == NULL)
		return "a proof for a message that nobody made";
	if (p->proof.n != 4 + v->prove->proof)
		return "the proof of another message";
	struct reader r = reader_of(p->proof);
	if (get_be32(&r) != v->prove->proof / 32)
		return "a wrong number of fields";
	for (size_t i = 4; i < p->proof.n; i++)
		if (p->proof.p[i] != 'p')
			return "the proof has foreign bytes in it";
	if (!bytes_equal(p->bb_sha256, BYTES_ARRAY(m->evil_sha256)))
		return "the proof is by another binary";
	if (p->signature.n != ED25519_SIGNATURE_SIZE || !crypto_hash(HASH_SHA256, p->proof, sha256))
		return "the proof is not signed";
	result_message(v->prove->sha256, m->evil_sha256, sha256, message);
	return ed25519_verify(m->recipient.primary_public, BYTES_ARRAY(message), p->signature.p) ? NULL :
	       "the signature is not for this message and proof";
}

static const char *versions_fault(const struct hostile_material *m, const struct frame_reply *p)
{
	bool evil = false;
	for (size_t i = 0; i < p->version_count; i++) {
		const struct frame_version *x = &p->version[i];
		evil |= bytes_equal(x->name, BYTES_LIT("1.0")) && bytes_equal(x->sha256, BYTES_ARRAY(m->evil_sha256));
		if (!bytes_equal(x->sha256, BYTES_ARRAY(m->evil_sha256)) && !bytes_equal(x->sha256, BYTES_ARRAY(m->small_sha256)))
			return "a binary that is not allowed is loaded";
	}
	return !evil ? "version 1.0 is lost" : p->version_count != HOSTILE_VERSIONS ? "a version came or went" : NULL;
}

static bool ends_with(struct bytes b, const char *end)
{
	size_t n = strlen(end);
	return b.n >= n && memcmp(b.p + b.n - n, end, n) == 0;
}

const char *hostile_reply_fault(const struct hostile_material *m, const struct verdict *v, struct bytes payload)
{
	struct frame_reply p;
	if (!frame_reply_parse(payload, &p))
		return "the reply is malformed";
	if (!v->has_op)
		return "a reply to no request";
	bool documents = v->op == OP_ATTEST, keys = documents || v->op == OP_PUBLIC_KEY, proofs = v->op == OP_PROVE;
	bool lists = v->op == OP_VERSIONS || v->op == OP_HEALTH || v->op == OP_UPLOAD;
	if ((p.document.n > 0) != documents || (p.key.n > 0) != keys || (p.proof.n > 0) != proofs ||
	    (p.version_count > 0) != lists || (p.metrics.n > 0) != (v->op == OP_METRICS))
		return "a reply to another operation";
	switch (v->op) {
	case OP_ATTEST: return document_fault(m, v, &p);
	case OP_PUBLIC_KEY: return bytes_equal(p.key, bytes_str(m->key)) ? NULL : "another key";
	case OP_VERSIONS: case OP_HEALTH: case OP_UPLOAD: return versions_fault(m, &p);
	case OP_PROVE: return proof_fault(m, v, &p);
	case OP_METRICS: return ends_with(p.metrics, "# EOF\n") ? NULL : "the metrics are cut";
	default: return "no operation";
	}
}

const char *hostile_event_fault(struct bytes payload)
{
	struct frame_event e;
	if (!frame_event_parse(payload, &e))
		return "a malformed event";
	bool queued = bytes_equal(e.stage, BYTES_LIT("queued")), proving = bytes_equal(e.stage, BYTES_LIT("proving"));
	if (!queued && !proving)
		return "an event of an unknown stage";
	return proving == (e.position == 0) && e.position < 1000 ? NULL : "an event with a wrong position";
}
