/* The control channel as an enclave may abuse it: whatever comes, what is printed is printable and what is kept is bounded. */
#include "host/collector.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) do { if (!(condition)) abort(); } while (0)

static void on_withheld(struct collector *who, bool log, uint64_t lines)
{
	(void)who;
	(void)log;
	(void)lines;
}

static void on_line(struct collector *c, enum control_kind kind, struct bytes json, const char *text)
{
	(void)c;
	REQUIRE(kind < CONTROL_KIND_COUNT && json.n > 1 && json.p[json.n - 1] == '\n');
	for (size_t i = 0; i + 1 < json.n; i++)
		REQUIRE(json.p[i] >= 0x20 && json.p[i] < 0x7f);
	for (; *text != '\0'; text++)
		REQUIRE(*text >= 0x20 && *text < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct collector c;
	struct bytes rest = bytes_of(data, size);
	c = (struct collector){ .on_line = on_line, .on_withheld = on_withheld };
	while (rest.n > 0) {
		const uint8_t *end = memchr(rest.p, '\n', rest.n);
		size_t n = end == NULL ? rest.n : (size_t)(end - rest.p);
		if (n <= CONTROL_LINE_MAX)
			collector_take(&c, bytes_of(rest.p, n));
		rest = bytes_slice(rest, n + (end != NULL), rest.n - n - (end != NULL));
	}
	REQUIRE(c.owners <= COLLECTOR_OWNERS);
	json_t *status = collector_status(&c);
	REQUIRE(status != NULL);
	json_decref(status);
	return 0;
}
