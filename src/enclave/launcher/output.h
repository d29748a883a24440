/* What a job writes to its stdout and stderr: read always, so that no job waits for a full pipe, looked
 * through for the message of a failed allocation, and dropped. It may carry the witness, so nothing of
 * it is kept; a configured number of bytes goes to the log, for tests. */
#ifndef ENCLAVE_LAUNCHER_OUTPUT_H
#define ENCLAVE_LAUNCHER_OUTPUT_H

#include "base/bytes.h"
#include "base/loop.h"
#include "enclave/limits.h"

enum { OUTPUT_TAIL = 32 };                       /* longer than any message looked for */

struct output {
	struct loop *loop;
	struct watch watch;
	int fd;                                  /* -1: not started, or stopped */
	unsigned slot;                           /* for the log */
	uint32_t log_bytes;                      /* that may still go to the log */
	bool said_no_memory;
	uint8_t tail[OUTPUT_TAIL];               /* end of the last piece: messages may be cut in two */
	size_t tail_n;
	uint8_t line[OUTPUT_LOG_LINE];           /* begun, not yet logged; unused when nothing is logged */
	size_t line_n;
};

/* Starts reading fd (non-blocking; owned from now on, on success). */
int output_start(struct output *o, struct loop *l, int fd, unsigned slot, uint32_t log_bytes);
/* Reads what is left; call when every writer is dead. */
void output_drain(struct output *o);
/* Stops and closes; harmless when there is nothing to stop. */
void output_stop(struct output *o);

/* Looks through one piece. */
void output_scan(struct output *o, struct bytes piece);

#endif
