/* Each set is tried; the verdict is that of the set which came nearest, so that a person reads "expired"
 * or "epoch too low" rather than "mismatch" where only that is in the way. The policy is the caller's own;
 * what it is compared with is authentic by now but still somebody else's enclave. */
#include "attest/policy.h"

#include "attest/epoch.h"

#include <string.h>

enum { PCR_IMAGE = 0, PCR_SIGNER = 8 };

bool policy_usable(const struct teerex_policy *p)
{
	static const uint64_t time_max_ms = UINT64_C(1) << 53;
	if ((p->root == NULL) != (p->root_size == 0) || (p->nonce == NULL) != (p->nonce_size == 0) ||
	    p->nonce_size > TEEREX_FIELD_MAX || (p->set_count > 0 && p->sets == NULL) ||
	    p->now_ms > time_max_ms || p->max_age_ms > time_max_ms)
		return false;
	for (size_t i = 0; i < p->set_count; i++)
		if (memchr(p->sets[i].name, 0, sizeof p->sets[i].name) == NULL)
			return false;
	return true;
}

bool pcr_is_zero(struct bytes pcr)
{
	uint8_t any = 0;
	for (size_t i = 0; i < pcr.n; i++)
		any |= pcr.p[i];
	return any == 0;
}

static bool pins(const struct teerex_pcr_set *set, unsigned pcr)
{
	return (set->mask >> pcr & 1) && !pcr_is_zero(BYTES_ARRAY(set->pcr[pcr]));
}

/* PCR8 is zeros in every unsigned image, so pinning zeros would let anybody's in. */
bool pcr_set_strong(const struct teerex_pcr_set *set)
{
	return pins(set, PCR_IMAGE) || (pins(set, PCR_SIGNER) && set->min_epoch > 0);
}

static enum teerex_code match_pcrs(const struct teerex_pcr_set *set, const struct attest_doc *d, unsigned *ret_pcr)
{
	for (unsigned i = 0; i < TEEREX_PCRS; i++) {
		if (!(set->mask >> i & 1))
			continue;
		*ret_pcr = i;
		if (!(d->pcr_mask >> i & 1))
			return TEEREX_PCR_MISSING;
		if (!bytes_equal(d->pcr[i], BYTES_ARRAY(set->pcr[i])))
			return TEEREX_PCR_MISMATCH;
	}
	return TEEREX_OK;
}

static enum teerex_code match_set(const struct teerex_pcr_set *set, const struct attest_doc *d, uint64_t now_ms,
                                  struct policy_match *m)
{
	m->set = set;
	m->epoch = 0;
	enum teerex_code code = match_pcrs(set, d, &m->pcr);
	if (code != TEEREX_OK)
		return code;
	if (set->not_after_ms != 0 && now_ms > set->not_after_ms)
		return TEEREX_PCR_EXPIRED;
	if (set->min_epoch == 0)
		return TEEREX_OK;
	if (!d->has_user_data || !epoch_find(d->user_data, &m->epoch))
		return TEEREX_EPOCH_MISSING;
	return m->epoch < set->min_epoch ? TEEREX_EPOCH_TOO_LOW : TEEREX_OK;
}

static unsigned nearness(enum teerex_code code)
{
	switch (code) {
	case TEEREX_PCR_MISMATCH: return 1;
	case TEEREX_PCR_MISSING: return 2;
	case TEEREX_PCR_EXPIRED: return 3;
	case TEEREX_EPOCH_MISSING: return 4;
	case TEEREX_EPOCH_TOO_LOW: return 5;
	default: return 0;
	}
}

enum teerex_code policy_match_sets(const struct teerex_policy *p, const struct attest_doc *d,
                                   uint64_t now_ms, bool debug, struct policy_match *ret)
{
	*ret = (struct policy_match){ 0 };
	if (p->set_count == 0)
		return debug ? TEEREX_OK : TEEREX_POLICY_EMPTY;
	for (size_t i = 0; i < p->set_count && !debug; i++) {
		ret->set = &p->sets[i];
		if (!pcr_set_strong(ret->set))
			return TEEREX_POLICY_WEAK;
	}
	enum teerex_code best = TEEREX_PCR_MISMATCH;
	for (size_t i = 0; i < p->set_count; i++) {
		struct policy_match m = { 0 };
		enum teerex_code code = match_set(&p->sets[i], d, now_ms, &m);
		if (code != TEEREX_OK && i > 0 && nearness(code) <= nearness(best))
			continue;
		best = code;
		*ret = m;
		if (code == TEEREX_OK)
			break;
	}
	return best;
}
