/* Does an authentic document satisfy the caller's policy? */
#ifndef ATTEST_POLICY_H
#define ATTEST_POLICY_H

#include "attest/teerex_attest.h"
#include "format/attest_doc.h"

/* Whether sizes and pointers make sense; says nothing about strength. */
bool policy_usable(const struct teerex_policy *p);
/* PCR0, or PCR8 and an epoch, neither of them all zeros. */
bool pcr_set_strong(const struct teerex_pcr_set *set);
bool pcr_is_zero(struct bytes pcr);

struct policy_match {
	const struct teerex_pcr_set *set;        /* the one that matched or came nearest; NULL: none given */
	unsigned pcr;                            /* PCR_MISMATCH, PCR_MISSING: the first one that differs */
	uint64_t epoch;                          /* what user_data says, where asked for */
};

/* Sets only. debug: the document is a debug enclave's and the policy lets those pass, so that a policy
 * without sets, or with weak ones, is enough. */
enum teerex_code policy_match_sets(const struct teerex_policy *p, const struct attest_doc *d,
                                   uint64_t now_ms, bool debug, struct policy_match *ret);

/* "2026-12-31", the last millisecond of that day, or "2026-12-31T23:59:59Z": UTC, 1970 … 9999. */
bool policy_date(struct bytes text, uint64_t *ret_ms);

#endif
