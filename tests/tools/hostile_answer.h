/* Whether a REPLY is one that an honest exchange would have given: the document carries exactly the nonce
 * that was sent, the proof is the one of the message that was sent and signed for it, and so on. */
#ifndef TESTS_HOSTILE_ANSWER_H
#define TESTS_HOSTILE_ANSWER_H

#include "hostile_model.h"

/* NULL when it is; else what is wrong. */
const char *hostile_reply_fault(const struct hostile_material *m, const struct verdict *v, struct bytes payload);
/* The same for an EVENT. */
const char *hostile_event_fault(struct bytes payload);

#endif
