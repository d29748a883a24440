/* One lane: a connection on which one run at a time is played and judged. */
#ifndef TESTS_HOSTILE_LANE_H
#define TESTS_HOSTILE_LANE_H

#include "hostile_script.h"

#include "base/loop.h"

#include <sys/un.h>

/* How a run ended: an enum outcome, or one of these. */
enum { ENDED_LEFT = OUTCOME_COUNT, ENDED_SILENT, ENDED_COUNT };

struct lane;
struct lane_host {                       /* what all lanes share */
	struct loop *loop;
	const struct hostile_material *material;
	struct sockaddr_un address;
	int64_t stage_ms;                /* the enclave's deadlines */
	int64_t patience_ms;             /* beyond them, and for what is due at once */
	/* The run is over and its connections are closed. fault: NULL, or what the prover did wrong. */
	void (*on_end)(struct lane *l, unsigned ended, const char *fault);
};

struct lane {
	struct lane_host *host;
	struct script script;            /* of the current run; the owner makes and frees it */
	int64_t began_ms;
	size_t sent;
	bool answered;
	bool right;                      /* answered as if nothing had been changed */
	enum outcome code;               /* once answered */
	enum frame_op replied;           /* the operation of a REPLY */

	/* private */
	struct watch watch;
	struct timer deadline, act, reading;
	void (*on_act)(struct lane *l);
	size_t pause;
	bool all_sent, write_broken, may_read, half_closed;
	unsigned events;
	uint8_t *in;
	size_t in_n, in_cap;
	int extra[SCRIPT_EXTRA_MAX];
	unsigned extra_n;
};

void lane_init(struct lane *l, struct lane_host *host);
/* Plays l->script from its beginning, delay_ms from now; on_end follows, never from inside this call. */
void lane_play(struct lane *l, unsigned delay_ms);
void lane_free(struct lane *l);
const char *lane_ended_name(unsigned ended);

#endif
