/* The measured configuration: what is accepted keeps every promise of config.h, what is refused is
 * refused with a message that names the file. */
#include "enclave/config.h"
#include "enclave/recipe.h"
#include "format/launch.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) do { if (!(condition)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config c;
	static struct recipe_command command;
	static uint8_t policy[CONFIG_ALLOW_MAX * 65];
	struct writer w = writer_of(policy, sizeof policy);
	struct err err;

	if (config_parse(bytes_of(data, size), "fuzzed", &c, &err) != 0) {
		REQUIRE(memcmp(err.text, "fuzzed:", 7) == 0);
		return 0;
	}
	REQUIRE(c.slots >= 1 && c.slots <= LAUNCH_SLOTS_MAX && c.jobs >= 1 && c.jobs <= c.slots);
	REQUIRE(c.proof_max >= 32 && c.proof_max <= FRAME_PROOF_MAX);
	REQUIRE(c.version_count <= c.versions_max && c.versions_max <= FRAME_VERSIONS_MAX);
	for (uint32_t i = 0; i < c.version_count; i++)
		REQUIRE(version_name_valid(bytes_str(c.version[i].name)) && c.version[i].path[0] == '/');
	REQUIRE(c.recipe.arg_count <= CONFIG_ARGS_MAX && c.recipe.env_count <= CONFIG_ENV_MAX && c.recipe.ro_count <= CONFIG_RO_MAX);
	REQUIRE(c.recipe.input[0] != '\0' && strchr(c.recipe.input, '/') == NULL && strchr(c.recipe.output, '/') == NULL);
	config_policy_text(&c, &w);
	REQUIRE(!w.full && w.at == (size_t)c.allow_count * 65);
	REQUIRE(recipe_expand(&c.recipe, c.recipe.threads, &command));
	for (uint32_t i = 0; i < c.recipe.env_count; i++)
		REQUIRE(strchr(command.envp[i], '=') > command.envp[i]);
	return 0;
}
