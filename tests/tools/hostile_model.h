/* What a right prover says to a given stream of bytes: the judge of the hostile host. It reads the frame
 * protocol by itself, from the text of format/frame.h and not with its parser, so that the two check each
 * other. It knows nothing about time. */
#ifndef TESTS_HOSTILE_MODEL_H
#define TESTS_HOSTILE_MODEL_H

#include "hostile_material.h"

#define CODE(o) (1u << (o))

struct verdict {
	uint32_t codes;                  /* answers these bytes deserve; OUTCOME_OK: a REPLY */
	bool owed;                       /* one of them must come without another byte from us */
	bool may_run;                    /* a well-formed prove request: EVENTs may come */
	bool has_op;                     /* the request is well-formed, and what it asks: */
	enum frame_op op;
	struct bytes nonce;              /* attest; empty: none. Borrowed from the bytes */
	const struct hostile_prove *prove;   /* the honest message that arrived whole, if one did */
};

/* Judges the bytes sent so far. */
void hostile_judge(const struct hostile_material *m, struct bytes sent, struct verdict *ret);

#endif
