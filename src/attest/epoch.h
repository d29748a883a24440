/* The image epoch: a number in the enclave's user_data, {"epoch": 7, …}, that the image's maker raises
 * when older images must no longer be trusted. */
#ifndef ATTEST_EPOCH_H
#define ATTEST_EPOCH_H

#include "base/bytes.h"

enum { EPOCH_JSON_DEPTH_MAX = 8 };

/* True when json is one well-formed JSON object (RFC 8259, UTF-8) with a member "epoch", once, that is a
 * whole number from 0 to 2^53 without fraction or exponent. Names of the outer object may not use
 * escapes, so that no other spelling of "epoch" can stand beside it. */
bool epoch_find(struct bytes json, uint64_t *ret_epoch);

#endif
