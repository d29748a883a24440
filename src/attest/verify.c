/* teerex_verify(), a table of contents: envelope, payload, chain, signature, times, debug, sets, nonce.
 * The order is what makes the messages true: nothing is said about measurements before the signature
 * under the trusted root was good. The document comes from the network; the policy is the caller's. */
#include "attest/chain.h"
#include "attest/code.h"
#include "attest/policy.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

struct verify {
	const struct teerex_policy *policy;
	struct teerex_result *result;
	uint64_t now_ms;
	struct attest_doc doc;
	bool debug;
	struct policy_match match;
};

__attribute__((format(printf, 3, 4)))
static enum teerex_code conclude(struct verify *v, enum teerex_code code, const char *detail, ...)
{
	struct teerex_result *r = v->result;
	r->code = code;
	va_list ap;
	va_start(ap, detail);
	vsnprintf(r->message, sizeof r->message, detail, ap);
	va_end(ap);
	return code;
}

static enum teerex_code conclude_plain(struct verify *v, enum teerex_code code)
{
	return conclude(v, code, "%s", code_sentence(code));
}

struct date { char text[32]; };
static struct date date_of(int64_t s)
{
	struct date d = { "an impossible date" };
	struct tm tm;
	time_t t = (time_t)s;
	if (gmtime_r(&t, &tm) != NULL)
		strftime(d.text, sizeof d.text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return d;
}

struct pcr_text { char hex[2 * TEEREX_PCR_SIZE + 1]; };
static struct pcr_text pcr_text(struct bytes pcr)
{
	struct pcr_text t = { "" };
	if (pcr.n == TEEREX_PCR_SIZE)
		hex_encode(pcr, t.hex);
	return t;
}

/* --- policy's own sense ---------------------------------------------------------------- */

static enum teerex_code start(struct verify *v, struct bytes *ret_root)
{
	struct timespec t;
	struct bytes aws;
	aws.p = teerex_aws_root(&aws.n);
	*ret_root = aws;
	if (v->policy == NULL || !policy_usable(v->policy))
		return conclude_plain(v, TEEREX_POLICY_INVALID);
	if (v->policy->root != NULL) {
		*ret_root = bytes_of(v->policy->root, v->policy->root_size);
		v->result->simulated = !bytes_equal(*ret_root, aws);
		if (!chain_root_usable(*ret_root))
			return conclude_plain(v, TEEREX_POLICY_BAD_ROOT);
	}
	v->now_ms = v->policy->now_ms;
	if (v->now_ms == 0) {
		if (clock_gettime(CLOCK_REALTIME, &t) != 0 || t.tv_sec <= 0)
			return conclude_plain(v, TEEREX_INTERNAL);
		v->now_ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
	}
	return TEEREX_OK;
}

/* --- authenticity ---------------------------------------------------------------------- */

static enum teerex_code refuse_chain(struct verify *v, enum teerex_code code, const struct chain *c,
                                     const struct chain_fault *f)
{
	const char *role = f->at == 0 ? "root" : f->at == c->count - 1 ? "leaf" : "intermediate";
	if (code == TEEREX_CHAIN_WRONG_ROOT || code == TEEREX_INTERNAL)
		return conclude_plain(v, code);
	if (code == TEEREX_CHAIN_EXPIRED || code == TEEREX_CHAIN_NOT_YET_VALID)
		return conclude(v, code, "certificate %zu of %zu (%s) %s (%s %s, now is %s)", f->at + 1, c->count, role,
		              code_sentence(code), code == TEEREX_CHAIN_EXPIRED ? "valid until" : "valid from",
		              date_of(f->date_s).text, date_of(c->now_s).text);
	return conclude(v, code, "certificate %zu of %zu (%s) %s", f->at + 1, c->count, role, code_sentence(code));
}

static enum teerex_code check_signature(struct verify *v, const struct cose_sign1 *cose, struct bytes point)
{
	/* the payload is inside the document, so below its maximum */
	uint8_t buf[TEEREX_DOCUMENT_MAX + COSE_SIGN1_TBS_OVERHEAD];
	struct writer tbs = writer_of(buf, sizeof buf);
	cose_sign1_tbs_put(&tbs, cose->protected_header, cose->payload);
	struct p384 *key = p384_from_point(point);
	bool ok = key != NULL && !tbs.full && p384_verify(key, writer_bytes(&tbs), cose->signature.p);
	p384_free(key);
	return ok ? TEEREX_OK : conclude_plain(v, TEEREX_COSE_BAD_SIGNATURE);
}

static enum teerex_code check_authentic(struct verify *v, struct bytes document, struct bytes root)
{
	struct cose_sign1 cose;
	if (document.n > TEEREX_DOCUMENT_MAX)
		return conclude_plain(v, TEEREX_DOCUMENT_TOO_LARGE);
	enum teerex_code code = code_of_cose(cose_sign1_parse(document, &cose));
	if (code == TEEREX_OK)
		code = code_of_doc(attest_doc_parse(cose.payload, &v->doc));
	if (code != TEEREX_OK)
		return conclude_plain(v, code);

	struct chain chain = {
		.root = root, .count = v->doc.cabundle_count + 1,
		.now_s = (int64_t)(v->now_ms / 1000), .cache = v->policy->cache,
	};
	memcpy(chain.cert, v->doc.cabundle, v->doc.cabundle_count * sizeof chain.cert[0]);
	chain.cert[v->doc.cabundle_count] = v->doc.certificate;
	struct x509 leaf;
	struct chain_fault fault = { 0 };
	code = chain_verify(&chain, &leaf, &fault);
	if (code != TEEREX_OK)
		return refuse_chain(v, code, &chain, &fault);
	return check_signature(v, &cose, leaf.point);
}
_Static_assert(CHAIN_MAX == ATTEST_DOC_CABUNDLE_MAX + 1, "a whole cabundle and the leaf fit");

/* --- policy ------------------------------------------------------------------------------ */

static enum teerex_code check_times(struct verify *v)
{
	uint64_t made = v->doc.timestamp_ms, now = v->now_ms;
	if (made > now && made - now > TEEREX_FUTURE_TOLERANCE_MS)
		return conclude(v, TEEREX_DOC_FROM_FUTURE, "%s (it says %s, now is %s)",
		              code_sentence(TEEREX_DOC_FROM_FUTURE), date_of((int64_t)(made / 1000)).text,
		              date_of((int64_t)(now / 1000)).text);
	if (v->policy->max_age_ms != 0 && now > made && now - made > v->policy->max_age_ms)
		return conclude(v, TEEREX_DOC_TOO_OLD, "%s (it was made at %s, now is %s)",
		              code_sentence(TEEREX_DOC_TOO_OLD), date_of((int64_t)(made / 1000)).text,
		              date_of((int64_t)(now / 1000)).text);
	return TEEREX_OK;
}

static enum teerex_code check_debug(struct verify *v)
{
	if ((v->doc.pcr_mask & 7) != 7)
		return conclude_plain(v, TEEREX_DOC_NO_PCR0);
	if (!pcr_is_zero(v->doc.pcr[0]))
		return TEEREX_OK;
	if (!v->policy->allow_debug)
		return conclude_plain(v, TEEREX_DEBUG_ENCLAVE);
	if (!pcr_is_zero(v->doc.pcr[1]) || !pcr_is_zero(v->doc.pcr[2]))
		return conclude(v, TEEREX_DEBUG_ENCLAVE, "PCR0 is all zeros but PCR1 or PCR2 is not, which no debug "
		              "enclave shows either: do not use the document");
	v->debug = true;
	return TEEREX_OK;
}

static enum teerex_code refuse_match(struct verify *v, enum teerex_code code)
{
	const struct policy_match *m = &v->match;
	const char *name = m->set != NULL ? m->set->name : "";
	char in_set[TEEREX_NAME_MAX * 4 + 16] = "", escaped[TEEREX_NAME_MAX * 4 + 1];
	if (name[0] != '\0')
		snprintf(in_set, sizeof in_set, " [%s]", text_escape(bytes_str(name), escaped, sizeof escaped));
	switch (code) {
	case TEEREX_POLICY_EMPTY:
		return conclude(v, code, "%s after comparing it with the image you trust: it is %s",
		              code_sentence(code), pcr_text(v->doc.pcr[0]).hex);
	case TEEREX_PCR_MISMATCH:
		if (v->policy->set_count > 1)
			return conclude(v, code, "another image runs than any of the policy's %zu sets asks for: PCR0 is %s",
			              v->policy->set_count, pcr_text(v->doc.pcr[0]).hex);
		return conclude(v, code, "%s: PCR%u is %s, wanted %s%s", code_sentence(code), m->pcr,
		              pcr_text(v->doc.pcr[m->pcr]).hex, pcr_text(BYTES_ARRAY(m->set->pcr[m->pcr])).hex, in_set);
	case TEEREX_PCR_MISSING:
		return conclude(v, code, "%s: PCR%u%s", code_sentence(code), m->pcr, in_set);
	case TEEREX_PCR_EXPIRED:
		return conclude(v, code, "%s (%s)%s", code_sentence(code),
		              date_of((int64_t)(m->set->not_after_ms / 1000)).text, in_set);
	case TEEREX_EPOCH_TOO_LOW:
		return conclude(v, code, "%s (%llu, wanted %llu)%s", code_sentence(code), (unsigned long long)m->epoch,
		              (unsigned long long)m->set->min_epoch, in_set);
	default:
		return conclude(v, code, "%s%s", code_sentence(code), in_set);
	}
}

static enum teerex_code check_nonce(struct verify *v)
{
	if (v->policy->nonce == NULL)
		return TEEREX_OK;
	if (!v->doc.has_nonce)
		return conclude_plain(v, TEEREX_NONCE_MISSING);
	if (!bytes_equal(v->doc.nonce, bytes_of(v->policy->nonce, v->policy->nonce_size)))
		return conclude_plain(v, TEEREX_NONCE_MISMATCH);
	return TEEREX_OK;
}

static enum teerex_code check_policy(struct verify *v)
{
	enum teerex_code code;
	if ((code = check_times(v)) != TEEREX_OK || (code = check_debug(v)) != TEEREX_OK)
		return code;
	code = policy_match_sets(v->policy, &v->doc, v->now_ms, v->debug, &v->match);
	return code != TEEREX_OK ? refuse_match(v, code) : check_nonce(v);
}

/* --- result ------------------------------------------------------------------------------ */

static void copy_field(int *ret_has, size_t *ret_size, uint8_t out[TEEREX_FIELD_MAX], bool has, struct bytes in)
{
	*ret_has = has;
	*ret_size = in.n;
	if (in.n > 0)
		memcpy(out, in.p, in.n);
}
_Static_assert((int)TEEREX_FIELD_MAX == (int)ATTEST_DOC_FIELD_MAX, "fields fit the result");
_Static_assert((int)TEEREX_MODULE_ID_MAX == (int)ATTEST_DOC_MODULE_ID_MAX, "so does the module id");

static enum teerex_code accept(struct verify *v)
{
	struct teerex_result *r = v->result;
	const struct attest_doc *d = &v->doc;
	if (!bytes_to_cstr(d->module_id, r->module_id, sizeof r->module_id))
		return conclude_plain(v, TEEREX_INTERNAL);
	r->debug = v->debug;
	r->timestamp_ms = d->timestamp_ms;
	r->pcr_mask = d->pcr_mask;
	for (size_t i = 0; i < TEEREX_PCRS; i++)
		if (d->pcr_mask >> i & 1)
			memcpy(r->pcr[i], d->pcr[i].p, TEEREX_PCR_SIZE);
	copy_field(&r->has_public_key, &r->public_key_size, r->public_key, d->has_public_key, d->public_key);
	copy_field(&r->has_user_data, &r->user_data_size, r->user_data, d->has_user_data, d->user_data);
	copy_field(&r->has_nonce, &r->nonce_size, r->nonce, d->has_nonce, d->nonce);
	r->epoch = v->match.epoch;
	if (v->match.set != NULL)
		memcpy(r->set_name, v->match.set->name, sizeof r->set_name);
	return conclude_plain(v, TEEREX_OK);
}

enum teerex_code teerex_verify(const uint8_t *document, size_t document_size,
                               const struct teerex_policy *policy, struct teerex_result *result)
{
	struct verify v = { .policy = policy, .result = result };
	struct bytes root;
	memset(result, 0, sizeof *result);
	result->code = TEEREX_INTERNAL;
	enum teerex_code code = start(&v, &root);
	if (code == TEEREX_OK)
		code = check_authentic(&v, bytes_of(document, document_size), root);
	if (code == TEEREX_OK)
		code = check_policy(&v);
	return code == TEEREX_OK ? accept(&v) : code;
}

int teerex_root_from_pem(const char *pem, size_t size, uint8_t *der, size_t capacity, size_t *ret_size)
{
	return x509_from_pem(bytes_of(pem, size), der, capacity, ret_size) ? 0 : -1;
}
