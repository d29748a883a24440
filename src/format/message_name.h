/* What our own clients write into the file name of an encrypted message's literal packet: words for the
 * prover, inside the encryption, so that nobody between can change them.
 *
 *     bb-sha256=<64 hex digits>     run this prover binary, or none
 *     peak-mib=<number>             the memory this job will need: reserve that much, and let it have no more
 *
 * One or both, in this order, one space between. A name that starts with neither is another client's own
 * affair and says nothing. */
#ifndef FORMAT_MESSAGE_NAME_H
#define FORMAT_MESSAGE_NAME_H

#include "base/bytes.h"

enum { MESSAGE_NAME_MAX = 96, MESSAGE_PEAK_MIB_MAX = 1 << 20 };

struct message_name {
	bool names_binary;
	uint8_t bb_sha256[32];
	uint32_t peak_mib;               /* 0: not stated; else 1 to MESSAGE_PEAK_MIB_MAX */
};

enum message_name_result {
	MESSAGE_NAME_OK,
	MESSAGE_NAME_BAD_BINARY,         /* it meant to name a binary, and does not */
	MESSAGE_NAME_BAD_PEAK            /* it meant to state a peak, and does not */
};

/* *ret is written for MESSAGE_NAME_OK only. */
enum message_name_result message_name_parse(struct bytes name, struct message_name *ret);
void message_name_put(struct writer *w, const struct message_name *n);

#endif
