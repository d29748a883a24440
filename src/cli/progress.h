/* One line on a terminal that says what a long request is doing: how much is sent and how fast, then how
 * long the other side has been at work. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool on;                                 /* only when somebody looks at standard error */
	int64_t started_ms, sent_ms, shown_ms;
	unsigned width;                          /* of the line that is there */
};

void progress_start(struct progress *p);
/* Called as often as one likes; draws a few times a second. */
void progress_sending(struct progress *p, uint64_t sent, uint64_t total);
/* Takes the line away. */
void progress_end(struct progress *p);

#endif
