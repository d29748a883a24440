/* X-Forwarded-For from anybody, read by a gateway that trusts a proxy: whatever it says, the answer is an address that was
 * written there, or the peer's. First byte: how many lines the rest is cut into. */
#include "host/client_address.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[4096];
	static const char *const trusted_texts[] = { "10.0.0.0/8", "unix", "2001:db8::/32", "192.0.2.1" };
	static struct address_ranges trusted;
	struct forwarded f = { .n = 0 };
	struct client_address peer, first, second;
	char shown[CLIENT_ADDRESS_TEXT_MAX], again[CLIENT_ADDRESS_TEXT_MAX];
	struct err err;

	if (trusted.n == 0) {
		struct option_list list = { .n = 0 };
		for (size_t i = 0; i < sizeof trusted_texts / sizeof *trusted_texts; i++)
			list.value[list.n++] = trusted_texts[i];
		if (address_ranges_parse(&list, "--trusted-proxy", &trusted, &err) != 0)
			abort();
	}
	if (size < 2 || size >= sizeof text)
		return 0;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	/* header values have no zero and no line end: those cut it into lines */
	size_t lines = data[0] % 12u;
	char *at = text;
	for (char *end; lines > 0 && (end = strchr(at, '\n')) != NULL; lines--) {
		*end = '\0';
		forwarded_add(&f, bytes_str(at));
		at = end + 1;
	}
	forwarded_add(&f, bytes_str(at));
	/* also as an address by itself, and as a range */
	if (address_parse(bytes_of(data + 1, size - 1), &peer)) {
		struct client_address same;
		address_text(&peer, shown);
		if (!address_parse(bytes_str(shown), &same) || memcmp(same.ip, peer.ip, sizeof peer.ip) != 0)
			abort();
	}
	struct option_list one = { .n = 0 };
	struct address_ranges range;
	one.value[one.n++] = at;
	(void)address_ranges_parse(&one, "--trusted-proxy", &range, &err);

	if (!address_parse(BYTES_LIT("10.1.2.3"), &peer))
		abort();
	first = address_forwarded(&peer, &f, &trusted);
	second = address_forwarded(&first, &f, &trusted);
	address_text(&first, shown);
	address_text(&second, again);
	/* who is not trusted cannot move the answer any further */
	if (!address_in(&first, &trusted) && strcmp(shown, again) != 0)
		abort();
	return 0;
}
