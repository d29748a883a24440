#include "format/outcome.h"

static const char *const names[OUTCOME_COUNT] = {
	[OUTCOME_OK] = "ok",
	[OUTCOME_BAD_INPUT] = "bad-input",
	[OUTCOME_OUT_OF_MEMORY] = "out-of-memory",
	[OUTCOME_TIMED_OUT] = "timed-out",
	[OUTCOME_CANCELLED] = "cancelled",
	[OUTCOME_CRASHED] = "crashed",
	[OUTCOME_PROVER_ERROR] = "prover-error",
	[OUTCOME_UNKNOWN_KEY] = "unknown-key",
	[OUTCOME_UNKNOWN_VERSION] = "unknown-version",
	[OUTCOME_VERSION_MISMATCH] = "version-mismatch",
	[OUTCOME_BAD_REQUEST] = "bad-request",
	[OUTCOME_TOO_LARGE] = "too-large",
	[OUTCOME_BUSY] = "busy",
	[OUTCOME_NOT_ALLOWED] = "not-allowed",
	[OUTCOME_DIGEST_MISMATCH] = "digest-mismatch",
	[OUTCOME_NO_SPACE] = "no-space",
	[OUTCOME_UNAVAILABLE] = "unavailable",
	[OUTCOME_INTERNAL] = "internal",
};

const char *outcome_name(enum outcome o)
{
	return (unsigned)o < OUTCOME_COUNT ? names[o] : names[OUTCOME_INTERNAL];
}

bool outcome_parse(struct bytes name, enum outcome *ret)
{
	for (unsigned i = 0; i < OUTCOME_COUNT; i++)
		if (bytes_equal(name, bytes_str(names[i]))) {
			*ret = (enum outcome)i;
			return true;
		}
	return false;
}
