/* A request is parsed (format/nsm.h), the handler of its kind changes the state or not and fills the
 * response, and the response is written; an answer that does not fit becomes BufferTooSmall. The
 * client is distrusted: nothing it sends reaches beyond this structure. Certificates are issued ahead
 * and reused, so a document costs one signature. */
#include "sim/software_nsm.h"

#include "format/attest_doc.h"
#include "format/cose_sign1.h"

#include <stdio.h>
#include <sys/random.h>

const char software_nsm_label[] = "SIMULATED NSM";

_Static_assert((int)NSM_PCR_SIZE == SHA384_SIZE && (int)NSM_PCR_SIZE == ATTEST_DOC_PCR_SIZE, "one PCR size");
_Static_assert((int)NSM_PCR_COUNT == ATTEST_DOC_PCRS, "one PCR count");

void software_nsm_init(struct software_nsm *s, const struct software_nsm_boot *boot, struct test_ca *ca)
{
	memset(s, 0, sizeof *s);
	s->label = software_nsm_label;
	s->ca = ca;
	snprintf(s->module_id, sizeof s->module_id, "%s", ca->module_id);
	for (unsigned i = 0; i < NSM_PCR_LOCKED_AT_BOOT; i++) {
		bool of_image = i <= 2 || i == 8;
		/* a debug enclave's documents still name role and instance (PCRs 3 and 4) */
		if (!boot->debug || !of_image)
			memcpy(s->pcr[i], boot->pcr[i], NSM_PCR_SIZE);
		s->locked |= UINT32_C(1) << i;
	}
}

static bool is_locked(const struct software_nsm *s, unsigned index) { return s->locked >> index & 1; }

/* Each returns NSM_NO_ERROR with p filled, or the error to answer. */
typedef enum nsm_error handler(struct software_nsm *s, const struct nsm_request *q, int64_t now_ms,
                               struct nsm_response *p);

static enum nsm_error describe_pcr(struct software_nsm *s, const struct nsm_request *q, int64_t now_ms,
                                   struct nsm_response *p)
{
	(void)now_ms;
	if (q->index >= NSM_PCR_COUNT)
		return NSM_INVALID_INDEX;
	p->lock = is_locked(s, q->index);
	p->data = BYTES_ARRAY(s->pcr[q->index]);
	return NSM_NO_ERROR;
}

static enum nsm_error extend_pcr(struct software_nsm *s, const struct nsm_request *q, int64_t now_ms,
                                 struct nsm_response *p)
{
	(void)now_ms;
	if (q->index >= NSM_PCR_COUNT)
		return NSM_INVALID_INDEX;
	if (is_locked(s, q->index))
		return NSM_READ_ONLY_INDEX;
	uint8_t joined[NSM_PCR_SIZE + NSM_REQUEST_MAX], *pcr = s->pcr[q->index];
	struct writer w = writer_of(joined, sizeof joined);
	put_bytes(&w, bytes_of(pcr, NSM_PCR_SIZE));
	put_bytes(&w, q->data);
	uint8_t extended[NSM_PCR_SIZE];
	if (w.full || !crypto_hash(HASH_SHA384, writer_bytes(&w), extended))
		return NSM_INTERNAL_ERROR;
	memcpy(pcr, extended, NSM_PCR_SIZE);
	p->data = bytes_of(pcr, NSM_PCR_SIZE);
	return NSM_NO_ERROR;
}

static enum nsm_error lock_pcr(struct software_nsm *s, const struct nsm_request *q, int64_t now_ms,
                               struct nsm_response *p)
{
	(void)now_ms, (void)p;
	if (q->index >= NSM_PCR_COUNT)
		return NSM_INVALID_INDEX;
	if (is_locked(s, q->index))
		return NSM_READ_ONLY_INDEX;
	s->locked |= UINT32_C(1) << q->index;
	return NSM_NO_ERROR;
}

static enum nsm_error lock_pcrs(struct software_nsm *s, const struct nsm_request *q, int64_t now_ms,
                                struct nsm_response *p)
{
	(void)now_ms, (void)p;
	if (q->range > NSM_PCR_COUNT)
		return NSM_INVALID_INDEX;
	for (unsigned i = 0; i < q->range; i++)
		s->locked |= UINT32_C(1) << i;
	return NSM_NO_ERROR;
}

static enum nsm_error describe_nsm(struct software_nsm *s, const struct nsm_request *q, int64_t now_ms,
                                   struct nsm_response *p)
{
	(void)q, (void)now_ms;
	p->version_major = 1;
	p->module_id = bytes_str(s->module_id);
	p->max_pcrs = NSM_PCR_COUNT;
	p->locked_pcrs = s->locked;
	p->digest = NSM_SHA384;
	return NSM_NO_ERROR;
}

static enum nsm_error get_random(struct software_nsm *s, const struct nsm_request *q, int64_t now_ms,
                                 struct nsm_response *p)
{
	(void)q, (void)now_ms;
	_Static_assert(sizeof s->document >= NSM_RANDOM_SIZE, "the buffer serves");
	if (getrandom(s->document, NSM_RANDOM_SIZE, 0) != NSM_RANDOM_SIZE)
		return NSM_INTERNAL_ERROR;
	p->random = bytes_of(s->document, NSM_RANDOM_SIZE);
	return NSM_NO_ERROR;
}

static void put_statement(struct writer *w, const struct software_nsm *s, const struct nsm_request *q, int64_t now_ms)
{
	struct attest_doc d = {
		.module_id = bytes_str(s->module_id),
		.timestamp_ms = (uint64_t)now_ms,
		.pcr_mask = s->locked,
		.certificate = test_ca_certificate(s->ca, CA_LEAF),
		.cabundle_count = CA_LEAF,
		.has_public_key = q->public_key.p != NULL, .public_key = q->public_key,
		.has_user_data = q->user_data.p != NULL, .user_data = q->user_data,
		.has_nonce = q->nonce.p != NULL, .nonce = q->nonce,
	};
	for (unsigned i = 0; i < NSM_PCR_COUNT; i++)
		if (is_locked(s, i))
			d.pcr[i] = BYTES_ARRAY(s->pcr[i]);
	for (enum test_ca_level i = CA_ROOT; i < CA_LEAF; i++)
		d.cabundle[i] = test_ca_certificate(s->ca, i);
	attest_doc_put(w, &d);
}

static enum nsm_error attestation(struct software_nsm *s, const struct nsm_request *q, int64_t now_ms,
                                  struct nsm_response *p)
{
	if (q->user_data.n > NSM_USER_DATA_MAX || q->nonce.n > NSM_NONCE_MAX || q->public_key.n > NSM_STRING_MAX)
		return NSM_INPUT_TOO_LARGE;
	if (q->public_key.p != NULL && q->public_key.n == 0)
		return NSM_INVALID_ARGUMENT;
	if (now_ms <= 0 || !test_ca_refresh(s->ca, now_ms / 1000))
		return NSM_INTERNAL_ERROR;
	struct writer payload = writer_of(s->payload, sizeof s->payload);
	put_statement(&payload, s, q, now_ms);
	struct writer tbs = writer_of(s->tbs, sizeof s->tbs);
	cose_sign1_tbs_put(&tbs, cose_sign1_es384_header(), writer_bytes(&payload));
	uint8_t signature[P384_SIGNATURE_SIZE];
	if (payload.full || tbs.full || !p384_sign(s->ca->link[CA_LEAF].key, writer_bytes(&tbs), signature))
		return NSM_INTERNAL_ERROR;
	struct writer document = writer_of(s->document, sizeof s->document);
	cose_sign1_put(&document, writer_bytes(&payload), signature);
	if (document.full)
		return NSM_INTERNAL_ERROR;
	s->documents++;
	p->document = writer_bytes(&document);
	return NSM_NO_ERROR;
}

static handler *const handlers[NSM_ERROR] = {
	[NSM_DESCRIBE_PCR] = describe_pcr, [NSM_EXTEND_PCR] = extend_pcr, [NSM_LOCK_PCR] = lock_pcr,
	[NSM_LOCK_PCRS] = lock_pcrs, [NSM_DESCRIBE_NSM] = describe_nsm, [NSM_ATTESTATION] = attestation,
	[NSM_GET_RANDOM] = get_random,
};

void software_nsm_handle(struct software_nsm *s, struct bytes request, int64_t now_ms, struct writer *out)
{
	struct nsm_request q;
	struct nsm_response p = { .kind = NSM_ERROR };
	enum nsm_result parsed = nsm_request_parse(request, &q);
	if (parsed == NSM_OK) {
		p.kind = q.kind;
		p.error = handlers[q.kind](s, &q, now_ms, &p);
	} else {
		p.error = parsed == NSM_TOO_LONG ? NSM_INPUT_TOO_LARGE : NSM_INVALID_OPERATION;
	}
	if (p.error != NSM_NO_ERROR)
		p.kind = NSM_ERROR;
	struct writer before = *out;
	nsm_response_put(out, &p);
	if (out->full && !before.full) {
		*out = before;
		nsm_response_put(out, &(struct nsm_response){ .kind = NSM_ERROR, .error = NSM_BUFFER_TOO_SMALL });
	}
}
