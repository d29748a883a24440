/* A bucket is one number, the time at which it will be full: one that is full already is as good as none,
 * so a new client takes over the bucket that is full first. Only when more clients than the table holds
 * are all short of tokens does one of them get a full bucket too early, the one that would have had it
 * soonest. The table is searched from end to end: that is some microseconds per proof, and there is no
 * hash whose collisions a client could choose. */
#include "host/rate_limit.h"

void rate_limit_init(struct rate_limit *l, uint64_t per_minute, uint64_t burst)
{
	memset(l, 0, sizeof *l);
	l->interval_us = 60 * 1000 * 1000 / (int64_t)per_minute;
	l->burst = (int64_t)burst;
}

int64_t rate_limit_take(struct rate_limit *l, const struct client_address *from, int64_t now_ms)
{
	uint8_t key[16] = { 0 };
	int64_t now_us = now_ms * 1000;
	size_t at = 0;
	if (from->known)
		memcpy(key, from->ip, address_is_v4(from) ? 16 : 8);
	for (size_t i = 0; i < RATE_CLIENTS_MAX; i++) {
		if (l->bucket[i].full_us > now_us && memcmp(l->bucket[i].key, key, sizeof key) == 0) {
			at = i;
			break;
		}
		if (l->bucket[i].full_us < l->bucket[at].full_us)
			at = i;
	}
	bool mine = l->bucket[at].full_us > now_us && memcmp(l->bucket[at].key, key, sizeof key) == 0;
	int64_t full_us = (mine ? l->bucket[at].full_us : now_us) + l->interval_us;
	int64_t short_us = full_us - now_us - l->burst * l->interval_us;
	if (short_us > 0)
		return (short_us + 999) / 1000;
	memcpy(l->bucket[at].key, key, sizeof key);
	l->bucket[at].full_us = full_us;
	return 0;
}
