/* Addresses are compared as 128 bits, IPv4 in its mapped form, so that 192.0.2.1 and ::ffff:192.0.2.1
 * are one client however it came. X-Forwarded-For is walked from its end and no further than trust
 * reaches: what a client put in front of the header is never even parsed. */
#include "host/client_address.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

bool address_is_v4(const struct client_address *a) { return a->known && memcmp(a->ip, mapped, sizeof mapped) == 0; }

bool address_parse(struct bytes text, struct client_address *ret)
{
	char buf[INET6_ADDRSTRLEN];
	struct client_address a = { .known = true };
	if (!bytes_to_cstr(text, buf, sizeof buf))
		return false;
	memcpy(a.ip, mapped, sizeof mapped);
	if (inet_pton(AF_INET, buf, a.ip + sizeof mapped) != 1 && inet_pton(AF_INET6, buf, a.ip) != 1)
		return false;
	*ret = a;
	return true;
}

struct client_address address_of_peer(const struct sockaddr_storage *peer)
{
	struct client_address a = { 0 };
	if (peer->ss_family == AF_INET) {
		a.known = true;
		memcpy(a.ip, mapped, sizeof mapped);
		memcpy(a.ip + sizeof mapped, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
	} else if (peer->ss_family == AF_INET6) {
		a.known = true;
		memcpy(a.ip, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr, sizeof a.ip);
	}
	return a;
}

char *address_text(const struct client_address *a, char *buf)
{
	struct writer w = writer_of(buf, CLIENT_ADDRESS_TEXT_MAX);
	if (a->known && address_is_v4(a)) {
		for (size_t i = 0; i < 4; i++) {
			put_str(&w, i > 0 ? "." : "");
			put_decimal(&w, a->ip[sizeof mapped + i]);
		}
		put_u8(&w, 0);
	} else if (!a->known || inet_ntop(AF_INET6, a->ip, buf, CLIENT_ADDRESS_TEXT_MAX) == NULL) {
		snprintf(buf, CLIENT_ADDRESS_TEXT_MAX, "unix");
	}
	return buf;
}

/* --- ranges ------------------------------------------------------------------------------------------ */

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;
	uint8_t mask = (uint8_t)(0xff00u >> rest);
	return memcmp(a, b, whole) == 0 && (rest == 0 || ((a[whole] ^ b[whole]) & mask) == 0);
}

static bool bits_zero_after(const uint8_t ip[16], unsigned bits)
{
	for (unsigned i = bits; i < 128; i++)
		if (ip[i / 8] & (0x80u >> i % 8))
			return false;
	return true;
}

static int add_range(const char *text, const char *option, struct address_ranges *to, struct err *err)
{
	struct client_address a;
	size_t n = strcspn(text, "/");
	if (!address_parse(bytes_of(text, n), &a))
		return fail(err, EINVAL, "--%s \"%.80s\": give an address as 192.0.2.1, a range as 10.0.0.0/8 or fd00::/8, "
		            "or the word unix", option, text);
	bool v4 = address_is_v4(&a) && memchr(text, ':', n) == NULL;
	uint64_t bits = v4 ? 32 : 128;
	if (text[n] == '/' && !text_to_u64(bytes_str(text + n + 1), bits, &bits))
		return fail(err, EINVAL, "--%s \"%.80s\": after the slash comes a number up to %d", option, text, v4 ? 32 : 128);
	bits += v4 ? 96 : 0;
	if (!bits_zero_after(a.ip, (unsigned)bits))
		return fail(err, EINVAL, "--%s \"%.80s\": the address has bits behind its prefix; shorten the one or lengthen the other",
		            option, text);
	memcpy(to->range[to->n].ip, a.ip, sizeof a.ip);
	to->range[to->n++].bits = (unsigned)bits;
	return 0;
}

int address_ranges_parse(const struct option_list *texts, const char *option, struct address_ranges *ret, struct err *err)
{
	struct address_ranges found = { 0 };
	for (size_t i = 0; i < texts->n; i++) {
		if (strcmp(texts->value[i], "unix") == 0) {
			found.unix_peers = true;
			continue;
		}
		int r = add_range(texts->value[i], option, &found, err);
		if (r < 0)
			return r;
	}
	*ret = found;
	return 0;
}

bool address_in(const struct client_address *a, const struct address_ranges *ranges)
{
	if (!a->known)
		return ranges->unix_peers;
	unsigned least = address_is_v4(a) ? 96 : 0;
	for (size_t i = 0; i < ranges->n; i++)
		if (ranges->range[i].bits >= least && bits_equal(a->ip, ranges->range[i].ip, ranges->range[i].bits))
			return true;
	return false;
}

/* --- X-Forwarded-For --------------------------------------------------------------------------------- */

void forwarded_add(struct forwarded *f, struct bytes line)
{
	if (f->n == FORWARDED_LINES_MAX)
		memmove(&f->line[0], &f->line[1], --f->n * sizeof f->line[0]);
	f->line[f->n++] = line;
}

static struct bytes trimmed(const uint8_t *from, const uint8_t *to)
{
	while (from < to && (*from == ' ' || *from == '\t'))
		from++;
	while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
		to--;
	return bytes_of(from, (size_t)(to - from));
}

struct client_address address_forwarded(const struct client_address *peer, const struct forwarded *f,
                                        const struct address_ranges *trusted)
{
	struct client_address at = *peer;
	for (size_t i = f->n; i > 0; i--) {
		const uint8_t *line = f->line[i - 1].p, *end = line + f->line[i - 1].n, *from;
		for (;; end = from - 1) {
			if (!address_in(&at, trusted))
				return at;
			for (from = end; from > line && from[-1] != ','; from--)
				;
			if (!address_parse(trimmed(from, end), &at))
				return at;
			if (from == line)
				break;
		}
	}
	return at;
}
