/* Values are checked as far as the enclave's init would otherwise stumble over them: an environment entry is
 * NAME=VALUE, a port is a port, a stop signal is a signal. */
#include "image/config.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "image/json.h"

#include <signal.h>

static enum image_code bad(const char *what, const char *why, struct err *err)
{
	return image_fail(err, IMAGE_BAD_CONFIG, 0, "%s: %s", what, why);
}

void image_config_free(struct image_config *c)
{
	free(c->entrypoint.v);
	free(c->cmd.v);
	free(c->env.v);
	free(c->exposed_ports.v);
	free(c->diff_id);
	json_decref(c->json);
	memset(c, 0, sizeof *c);
}

enum image_code image_config_empty(const struct oci_platform *platform, struct image_config *ret, struct err *err)
{
	struct image_config c = { .json = json_object(), .platform = *platform, .working_dir = "", .user = "",
		.stop_signal = "", .stop_signal_number = SIGTERM };
	if (c.json == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "hold a configuration");
	*ret = c;
	return IMAGE_OK;
}

/* --- members ------------------------------------------------------------------------------------ */

static bool take_strings(json_t *from, const char *key, struct strings *ret)
{
	json_t *list, *item;
	size_t i;
	if (!json_get_array(from, key, &list) || json_array_size(list) > CONFIG_STRINGS_MAX)
		return false;
	if (json_array_size(list) == 0)
		return true;
	ret->v = calloc(json_array_size(list), sizeof *ret->v);
	if (ret->v == NULL)
		return false;
	json_array_foreach(list, i, item) {
		if (!json_is_string(item))
			return false;
		ret->v[ret->n++] = json_string_value(item);
	}
	return true;
}

static bool port_number(struct bytes text, uint64_t *ret)
{
	return text_to_u64(text, 65535, ret) && *ret > 0;
}

/* PORT[-PORT][/PROTOCOL] */
static bool port_valid(const char *text)
{
	size_t n = strcspn(text, "/"), first = strcspn(text, "-/");
	uint64_t from, to;
	if (text[n] == '/' && strcmp(text + n, "/tcp") != 0 && strcmp(text + n, "/udp") != 0 && strcmp(text + n, "/sctp") != 0)
		return false;
	if (!port_number(bytes_of(text, first), &from))
		return false;
	return text[first] != '-' || (port_number(bytes_of(text + first + 1, n - first - 1), &to) && to >= from);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool take_ports(json_t *from, struct strings *ret)
{
	json_t *ports, *value;
	const char *key;
	if (!json_get_object(from, "ExposedPorts", &ports) || json_object_size(ports) > CONFIG_STRINGS_MAX)
		return false;
	if (json_object_size(ports) == 0)
		return true;
	ret->v = calloc(json_object_size(ports), sizeof *ret->v);
	if (ret->v == NULL)
		return false;
	json_object_foreach(ports, key, value) {
		if (!port_valid(key))
			return false;
		ret->v[ret->n++] = key;
	}
	qsort(ret->v, ret->n, sizeof *ret->v, by_text);
	return true;
}

static bool env_valid(const struct strings *env)
{
	for (size_t i = 0; i < env->n; i++) {
		const char *equals = strchr(env->v[i], '=');
		if (equals == NULL || equals == env->v[i])
			return false;
	}
	return true;
}

/* SIGTERM, TERM, 15, SIGRTMIN+3. 0: none of these. */
static int signal_number(const char *text)
{
	uint64_t v;
	if (text_to_u64(bytes_str(text), 64, &v))
		return (int)v;
	if (strncmp(text, "SIG", 3) == 0)
		text += 3;
	if (strncmp(text, "RTMIN+", 6) == 0 && text_to_u64(bytes_str(text + 6), 30, &v))
		return 34 + (int)v;
	if (strncmp(text, "RTMAX-", 6) == 0 && text_to_u64(bytes_str(text + 6), 30, &v))
		return 64 - (int)v;
	if (strcmp(text, "RTMIN") == 0 || strcmp(text, "RTMAX") == 0)
		return text[3] == 'I' ? 34 : 64;
	for (int s = 1; s < 32; s++)
		if (sigabbrev_np(s) != NULL && strcmp(sigabbrev_np(s), text) == 0)
			return s;
	return 0;
}

static enum image_code take_start(json_t *config, const char *what, struct image_config *c, struct err *err)
{
	if (!take_strings(config, "Entrypoint", &c->entrypoint) || !take_strings(config, "Cmd", &c->cmd))
		return bad(what, "Entrypoint and Cmd must be lists of strings", err);
	if (!take_strings(config, "Env", &c->env) || !env_valid(&c->env))
		return bad(what, "Env must be a list of NAME=VALUE", err);
	if (!take_ports(config, &c->exposed_ports))
		return bad(what, "ExposedPorts must have members like 8080/tcp", err);
	if (!json_get_string(config, "WorkingDir", &c->working_dir, "") || strlen(c->working_dir) > TREE_PATH_MAX)
		return bad(what, "WorkingDir must be a path", err);
	if (!json_get_string(config, "User", &c->user, "") || strlen(c->user) > 255)
		return bad(what, "User must be a short string", err);
	if (!json_get_string(config, "StopSignal", &c->stop_signal, ""))
		return bad(what, "StopSignal must be a string", err);
	c->stop_signal_number = c->stop_signal[0] == '\0' ? SIGTERM : signal_number(c->stop_signal);
	if (c->stop_signal_number == 0)
		return bad(what, "StopSignal names no signal", err);
	return IMAGE_OK;
}

static enum image_code take_layers(json_t *root, const char *what, struct image_config *c, struct err *err)
{
	json_t *rootfs, *list, *item;
	const char *type;
	size_t i;
	if (!json_get_object(root, "rootfs", &rootfs) || !json_get_string(rootfs, "type", &type, "layers") ||
	    strcmp(type, "layers") != 0 || !json_get_array(rootfs, "diff_ids", &list))
		return bad(what, "rootfs must be a list of layers", err);
	if (json_array_size(list) > TREE_LAYERS_MAX)
		return image_fail(err, IMAGE_TOO_MANY_LAYERS, 0, "%s has %zu layers; %d are allowed", what, json_array_size(list),
		                  TREE_LAYERS_MAX);
	c->diff_id = calloc(json_array_size(list) + 1, sizeof *c->diff_id);
	if (c->diff_id == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "read %s", what);
	json_array_foreach(list, i, item)
		if (!json_is_string(item) || oci_digest_parse(bytes_str(json_string_value(item)), c->diff_id[i]) != OCI_OK)
			return bad(what, "diff_ids must be a list of sha256 digests", err);
	c->layer_count = json_array_size(list);
	return IMAGE_OK;
}

static bool take_platform(json_t *root, struct oci_platform *p)
{
	const char *os, *architecture, *variant;
	char text[3 * OCI_PLATFORM_PART_MAX + 8];
	if (!json_get_string(root, "os", &os, "") || !json_get_string(root, "architecture", &architecture, "") ||
	    !json_get_string(root, "variant", &variant, ""))
		return false;
	int n = snprintf(text, sizeof text, "%s/%s%s%s", os, architecture, variant[0] != '\0' ? "/" : "", variant);
	return n > 0 && (size_t)n < sizeof text && oci_platform_parse(bytes_str(text), p) == OCI_OK;
}

enum image_code image_config_parse(struct bytes text, const char *what, struct image_config *ret, struct err *err)
{
	struct image_config c = { .stop_signal_number = SIGTERM };
	json_t *config;
	enum image_code r = document_parse(text, what, &c.json, err);
	if (r != IMAGE_OK)
		return r;
	if (!json_is_object(c.json) || !json_get_object(c.json, "config", &config))
		r = bad(what, "it is not an image configuration", err);
	else if (!take_platform(c.json, &c.platform))
		r = bad(what, "os and architecture are missing or malformed", err);
	else
		r = take_start(config, what, &c, err);
	if (r == IMAGE_OK)
		r = take_layers(c.json, what, &c, err);
	if (r != IMAGE_OK) {
		image_config_free(&c);
		return r;
	}
	*ret = c;
	return IMAGE_OK;
}
