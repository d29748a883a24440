/* Prints this machine's TSC frequency in kHz, measured against the monotonic clock over a fifth of a second: what a
 * guest in software emulation has to be told (tsc_early_khz), because it cannot calibrate on a busy host. */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int main(void)
{
	int64_t start = now_ns(), end;
	uint64_t ticks = __rdtsc();
	while ((end = now_ns()) - start < 200000000)
		;
	ticks = __rdtsc() - ticks;
	printf("%lld\n", (long long)((double)ticks / (double)(end - start) * 1e6));
	return 0;
}
