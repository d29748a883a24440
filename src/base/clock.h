/* Time: deadlines run on the monotonic clock, dates on the wall clock. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_ms_of(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline int64_t clock_monotonic_ms(void) { return clock_ms_of(CLOCK_MONOTONIC); }
static inline int64_t clock_wall_ms(void) { return clock_ms_of(CLOCK_REALTIME); }   /* since 1970 */

#endif
