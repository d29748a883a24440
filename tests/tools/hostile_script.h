/* One hostile run as a plan: the bytes to send, how they are cut and paused, and how it ends. A plan is a
 * function of the seed, the run's number and the material, and of nothing else. */
#ifndef TESTS_HOSTILE_SCRIPT_H
#define TESTS_HOSTILE_SCRIPT_H

#include "hostile_material.h"

enum { SCRIPT_PAUSES = 4, SCRIPT_EXTRA_MAX = 40 };

/* What the host does when all is sent. */
enum script_end {
	END_WAIT,                        /* waits for the answer, or for the deadline to pass */
	END_HALF_CLOSE,
	END_CLOSE,
	END_CLOSE_ON_EVENT               /* when the first EVENT comes */
};

struct script {
	enum frame_op op;                /* of the honest exchange it was made from */
	uint64_t changes;                /* bit n: mutation n of hostile_mutation_name() was made */
	uint8_t *bytes;                  /* owned */
	size_t n;
	size_t piece;                    /* most bytes per send */
	struct { size_t at; unsigned ms; } pause[SCRIPT_PAUSES];     /* ascending */
	size_t pauses;
	enum script_end end;
	unsigned end_ms;                 /* before it */
	unsigned read_ms;                /* nothing is read before */
	size_t read_piece;               /* most bytes per read */
	bool deaf;                       /* nothing is read before the prover's patience is over */
	bool linger;                     /* once answered goes on sending, and does not close */
	unsigned extra;                  /* connections opened beside this one, to say nothing */
};

/* Release with script_free. */
void script_make(const struct hostile_material *m, uint64_t seed, uint64_t run, struct script *ret);
void script_free(struct script *s);

size_t hostile_mutation_count(void);
const char *hostile_mutation_name(size_t n);

#endif
