/* The service table: what is accepted can be written again and read back as the same; what is refused is refused with
 * a message that names the file. */
#include "format/service_table.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) do { if (!(condition)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct service_table t, again;
	static uint8_t first[4 * SERVICE_TABLE_MAX + (64 << 10)], second[sizeof first];
	struct writer w = writer_of(first, sizeof first), v = writer_of(second, sizeof second);
	struct err err;

	if (service_table_parse(bytes_of(data, size), "fuzzed", &t, &err) != 0) {
		REQUIRE(memcmp(err.text, "fuzzed:", 7) == 0);
		return 0;
	}
	REQUIRE(t.service_count >= 1 && t.service_count <= SERVICES_MAX && t.text_n <= sizeof t.text);
	for (uint32_t i = 0; i < t.service_count; i++) {
		const struct service *s = &t.service[i];
		REQUIRE(s->arg_count >= 1 && s->arg[0][0] != '\0' && s->arg[s->arg_count] == NULL && s->env[s->env_count] == NULL);
		REQUIRE(s->workdir[0] == '/' && s->stop_signal >= 1 && s->stop_signal <= 64 && s->backoff_ms <= s->backoff_max_ms);
		for (uint32_t k = 0; k < s->env_count; k++)
			REQUIRE(strchr(s->env[k], '=') > s->env[k]);
		for (uint32_t k = 0; k < s->after_count; k++)
			REQUIRE(service_table_find(&t, bytes_str(s->after[k])) >= 0);
	}
	service_table_put(&w, &t);
	REQUIRE(!w.full);
	/* escaped and with every key it may be longer than a file may be */
	if (w.at > SERVICE_TABLE_MAX || service_table_check(&t, &err) != 0)
		return 0;
	REQUIRE(service_table_parse(writer_bytes(&w), "written", &again, &err) == 0);
	service_table_put(&v, &again);
	REQUIRE(bytes_equal(writer_bytes(&w), writer_bytes(&v)));
	return 0;
}
