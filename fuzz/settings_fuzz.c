/* The configuration of an instance: what is refused is refused with a place, what is accepted is within the table. */
#include "host/settings.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) do { if (!(condition)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct settings s;
	static struct settings_problems p;
	size_t rows;
	const struct setting *table = settings_table(&rows);
	if (settings_parse(bytes_of(data, size), "fuzzed", &s, &p) != 0) {
		REQUIRE(p.n > 0);
		for (size_t i = 0; i < p.n && i < SETTINGS_PROBLEMS_MAX; i++)
			REQUIRE(memcmp(p.at[i].text, "fuzzed:", 7) == 0 && p.at[i].text[7] >= '1' && p.at[i].text[7] <= '9');
		return 0;
	}
	REQUIRE(p.n == 0);
	for (size_t i = 0; i < rows; i++) {
		const void *at = (const char *)&s + table[i].offset;
		if (table[i].type == SETTING_NUMBER)
			REQUIRE(*(const uint64_t *)at >= table[i].min && *(const uint64_t *)at <= table[i].max);
		else if (table[i].type == SETTING_PATH && settings_given(&s, i))
			REQUIRE((*(const char *const *)at)[0] == '/');
		else if (table[i].type == SETTING_RANGES || table[i].type == SETTING_PCRS)
			REQUIRE(((const struct option_list *)at)->n <= OPTION_LIST_MAX);
	}
	settings_close(&s);
	return 0;
}
