/* A run while it is being made: the frames of an honest exchange, to be spoilt. All memory is one arena,
 * used for one draft at a time; what does not fit is left out. */
#ifndef TESTS_HOSTILE_DRAFT_H
#define TESTS_HOSTILE_DRAFT_H

#include "hostile_script.h"

/* splitmix64: small, and good enough to spread */
struct prng { uint64_t s; };
uint64_t prng_next(struct prng *r);
static inline size_t below(struct prng *r, size_t n) { return n == 0 ? 0 : (size_t)(prng_next(r) % n); }
static inline bool chance(struct prng *r, unsigned per_mille) { return below(r, 1000) < per_mille; }

enum { DRAFT_FRAMES = 600 };

struct draft_frame {
	uint8_t kind;
	uint32_t length;                 /* as the header says */
	uint8_t *p;                      /* in the arena */
	size_t n;
};

struct draft {
	const struct hostile_material *m;
	enum frame_op op;
	struct frame_request request;    /* what frame[0] says, while request_whole */
	bool request_whole;
	struct draft_frame frame[DRAFT_FRAMES];
	size_t n;
	struct script *script;           /* what is no matter of frames */
	bool truncate;
};

void draft_start(struct draft *d, const struct hostile_material *m, struct script *s);
/* n bytes of the arena, or NULL. from may be NULL. */
uint8_t *draft_keep(struct draft *d, const uint8_t *from, size_t n);
/* Puts a frame in place `at` (<= d->n). False when there is no room. */
bool draft_insert(struct draft *d, size_t at, uint8_t kind, const uint8_t *payload, size_t n);
void draft_drop(struct draft *d, size_t at);
/* Adds an honest exchange to the end. */
void draft_honest(struct draft *d, struct prng *r, enum frame_op op);

/* Spoils the REQUEST's map. False when it is not there any more, or nothing came of it. */
bool draft_spoil_request(struct draft *d, struct prng *r);

#endif
