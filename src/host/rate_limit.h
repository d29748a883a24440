/* How often one client may ask: token buckets in a table of fixed size, keyed by address. A bucket holds
 * burst tokens, and gains one per interval. IPv6 counts by /64, which is what one subscriber gets
 * (RFC 6177), so that nobody has 2^64 buckets. Whoever has no address (unix sockets) shares one bucket. */
#ifndef HOST_RATE_LIMIT_H
#define HOST_RATE_LIMIT_H

#include "host/client_address.h"

enum { RATE_CLIENTS_MAX = 2048 };

struct rate_limit {
	int64_t interval_us, burst;
	struct { uint8_t key[16]; int64_t full_us; } bucket[RATE_CLIENTS_MAX];   /* full again then; 0: never used */
};

/* 1 <= per_minute <= 60,000; 1 <= burst <= 10,000. */
void rate_limit_init(struct rate_limit *l, uint64_t per_minute, uint64_t burst);
/* Takes a token; now_ms never runs backwards. 0: taken; otherwise the ms until there will be one. */
int64_t rate_limit_take(struct rate_limit *l, const struct client_address *from, int64_t now_ms);

#endif
