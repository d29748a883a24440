/* Who a request comes from. Behind a proxy the connection is the proxy's, and the client is what the
 * proxy appended to X-Forwarded-For; anybody else may write that header too, so it counts only as far as
 * each hop that vouches for the one before it is configured as trusted. */
#ifndef HOST_CLIENT_ADDRESS_H
#define HOST_CLIENT_ADDRESS_H

#include "base/bytes.h"
#include "base/fail.h"
#include "base/options.h"

#include <netinet/in.h>
#include <sys/socket.h>

struct client_address {
	bool known;                      /* false: the peer of a unix socket, or of nothing we know */
	uint8_t ip[16];                  /* IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2) */
};

struct address_ranges {
	struct { uint8_t ip[16]; unsigned bits; } range[OPTION_LIST_MAX];
	size_t n;
	bool unix_peers;                 /* peers without an address belong to it */
};

enum { CLIENT_ADDRESS_TEXT_MAX = INET6_ADDRSTRLEN, FORWARDED_LINES_MAX = 8 };

/* The values of X-Forwarded-For, last one last. When there are more of them the first ones are forgotten:
 * only what the nearest proxies appended matters. */
struct forwarded { struct bytes line[FORWARDED_LINES_MAX]; size_t n; };   /* borrowed */

/* Each text is ADDR, ADDR/BITS or the word "unix". -EINVAL and a sentence that names the option. */
int address_ranges_parse(const struct option_list *texts, const char *option, struct address_ranges *ret, struct err *err);
/* IPv4 addresses are in IPv4 ranges only, not in ::/0. */
bool address_in(const struct client_address *a, const struct address_ranges *ranges);
/* An IPv4 or IPv6 address and nothing else: no port, no brackets, no zone. */
bool address_parse(struct bytes text, struct client_address *ret);
bool address_is_v4(const struct client_address *a);
struct client_address address_of_peer(const struct sockaddr_storage *peer);
/* Into buf, of CLIENT_ADDRESS_TEXT_MAX bytes; returns it. */
char *address_text(const struct client_address *a, char *buf);

void forwarded_add(struct forwarded *f, struct bytes line);
/* The right-most hop that is not trusted, when the peer is; the peer itself otherwise. A hop that is no
 * address ends the walk at the proxy that reported it; where all are trusted it is the first of them. */
struct client_address address_forwarded(const struct client_address *peer, const struct forwarded *f,
                                        const struct address_ranges *trusted);

#endif
