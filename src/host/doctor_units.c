/* What starts enclaves: systemd's units, our configurations, the images they name. Units are read as text: what is looked for are the
 * commands and paths that people put there, not what systemd makes of them. */
#include "host/doctor_checks.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "host/enclave_need.h"
#include "image/metadata.h"
#include "linux/small_file.h"

#include <ctype.h>
#include <string.h>
#include <sys/stat.h>

typedef unsigned long long ull;

enum { LOAD_OFFSET = 8 << 20 };                  /* as the driver says */

/* The next line of a unit, comments and lines that only say who documents what left out. */
static const char *next_line(const char *text, const char **rest)
{
	while (text != NULL && *text != '\0') {
		const char *line = text + strspn(text, " \t");
		const char *end = strchr(text, '\n');
		text = end == NULL ? NULL : end + 1;
		if (*line != '#' && *line != ';' && *line != '\n' && strncmp(line, "Documentation", 13) != 0 && strncmp(line, "Description", 11) != 0) {
			*rest = text;
			return line;
		}
	}
	return NULL;
}

/* Whether a line of the unit has this word. */
static bool unit_says(const char *text, const char *word)
{
	for (const char *line = next_line(text, &text); line != NULL; line = next_line(text, &text)) {
		const char *at = strstr(line, word);
		if (at != NULL && at < line + strcspn(line, "\n"))
			return true;
	}
	return false;
}

static bool starts_enclave(const char *text) { return unit_says(text, "run-enclave") || unit_says(text, "tee-rex run"); }

static bool is_temporary(const char *path)
{
	static const char *const dirs[] = { "/tmp/", "/var/tmp/", "/run/", "/var/run/", "/dev/shm/" };
	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
		if (strncmp(path, dirs[i], strlen(dirs[i])) == 0)
			return true;
	return false;
}

void look_settings(const struct host_view *v, struct findings *f)
{
	for (size_t i = 0; i < v->instance_count; i++)
		if (!v->instance[i].readable)
			finding_add(f, "%s", v->instance[i].why.text);
}

/* --- images ------------------------------------------------------------------------------------------- */

void look_image_in_tmp(const struct host_view *v, struct findings *f)
{
	for (size_t i = 0; i < v->instance_count; i++) {
		const char *image = doctor_setting(&v->instance[i], "enclave.image");
		if (image != NULL && is_temporary(image))
			finding_add(f, "%s: the image is %.200s", v->instance[i].path, image);
	}
	for (size_t i = 0; i < v->units.n; i++) {
		if (!starts_enclave(v->units.at[i].text))
			continue;
		const char *rest = v->units.at[i].text;
		for (const char *line = next_line(rest, &rest); line != NULL; line = next_line(rest, &rest)) {
			const char *end = line + strcspn(line, "\n");
			for (const char *at = line; (at = strstr(at, ".eif")) != NULL && at < end; at += 4) {
				const char *start = at;
				while (start > line && !isspace((unsigned char)start[-1]) && start[-1] != '=' && start[-1] != '"')
					start--;
				if (is_temporary(start))
					finding_add(f, "%s: the image is %.*s", v->units.at[i].name, (int)(at + 4 - start), start);
			}
		}
	}
}

static const char *image_of(const struct host_view *v, size_t i, char path[ROOTED_PATH_MAX])
{
	const char *image = doctor_setting(&v->instance[i], "enclave.image");
	return image == NULL || image[0] != '/' ? NULL : rooted_path(v->root, image, path);
}

void look_image_missing(const struct host_view *v, struct findings *f)
{
	char path[ROOTED_PATH_MAX];
	for (size_t i = 0; i < v->instance_count; i++) {
		struct stat st;
		const char *image = image_of(v, i, path);
		if (image != NULL && (stat(image, &st) != 0 || !S_ISREG(st.st_mode)))
			finding_add(f, "%s: there is no file %.200s", v->instance[i].path, doctor_setting(&v->instance[i], "enclave.image"));
	}
}

void look_image_damaged(const struct host_view *v, struct findings *f)
{
	char path[ROOTED_PATH_MAX];
	for (size_t i = 0; i < v->instance_count; i++) {
		CLEANUP(eif_file_close) struct eif_file file = EIF_FILE_NONE;
		struct eif_measures m;
		struct err err;
		const char *image = image_of(v, i, path);
		if (image == NULL || access(image, R_OK) != 0)
			continue;
		int r = eif_file_open(&file, image, &err);
		if (r == 0)
			r = eif_file_stream(&file, NULL, &m, &err);
		if (r == 0 && !m.crc_ok)
			r = eif_file_refuse_crc(&file, &err);
		if (r < 0)
			finding_add(f, "%s: %s", v->instance[i].path, err.text);
	}
}

void look_memory_too_small(const struct host_view *v, struct findings *f)
{
	char path[ROOTED_PATH_MAX];
	for (size_t i = 0; i < v->instance_count; i++) {
		CLEANUP(eif_file_close) struct eif_file file = EIF_FILE_NONE;
		struct enclave_need need;
		struct err err;
		uint64_t memory_mib;
		const char *image = image_of(v, i, path), *memory = doctor_setting(&v->instance[i], "enclave.memory_mib");
		if (image == NULL || memory == NULL || !text_to_u64(bytes_str(memory), UINT32_MAX, &memory_mib) || memory_mib == 0)
			continue;
		if (eif_file_open(&file, image, &err) == 0 && enclave_need(&file, LOAD_OFFSET, &need, &err) == 0 && need.total > memory_mib << 20)
			finding_add(f, "%s: memory_mib is %llu, and the image needs %llu MiB to boot alone", v->instance[i].path, (ull)memory_mib, (ull)need.total >> 20);
	}
}

/* The kernel's last word on a level counts, as the kernel has it. */
static bool is_loud(const char *cmdline)
{
	bool console = false, loud = true;
	char text[EIF_CMDLINE_MAX + 1], *save = NULL;
	snprintf(text, sizeof text, "%s", cmdline);
	for (char *word = strtok_r(text, " \n", &save); word != NULL; word = strtok_r(NULL, " \n", &save)) {
		if (strncmp(word, "console=ttyS", 12) == 0)
			console = true;
		if (strcmp(word, "quiet") == 0)
			loud = false;
		if (strncmp(word, "loglevel=", 9) == 0)
			loud = word[9] >= '5';
		if (strcmp(word, "debug") == 0 || strcmp(word, "ignore_loglevel") == 0)
			loud = true;
	}
	return console && loud;
}

/* tee-rex build puts in an init that silences the kernel first of all. tee-rex eif writes the same tool's name around any init, but knows
 * nothing of a container image. */
static bool has_our_init(const struct eif_file *f)
{
	CLEANUP(free_ptr) uint8_t *text = malloc(EIF_METADATA_MAX);
	size_t n;
	json_t *j = NULL;
	if (text == NULL || eif_file_read(f, eif_file_find(f, EIF_METADATA), text, EIF_METADATA_MAX, &n, NULL) < 0 ||
	    metadata_parse(bytes_of(text, n), &j) != METADATA_OK)
		return false;
	const char *tool = json_string_value(json_object_get(json_object_get(j, "BuildMetadata"), "BuildTool"));
	bool ours = tool != NULL && strcmp(tool, "tee-rex") == 0 && json_object_size(json_object_get(j, "DockerInfo")) > 0;
	json_decref(j);
	return ours;
}

void look_console(const struct host_view *v, struct findings *f)
{
	char path[ROOTED_PATH_MAX];
	for (size_t i = 0; i < v->instance_count; i++) {
		CLEANUP(eif_file_close) struct eif_file file = EIF_FILE_NONE;
		struct err err;
		uint8_t cmdline[EIF_CMDLINE_MAX + 1];
		size_t n;
		const char *image = image_of(v, i, path);
		if (image == NULL || eif_file_open(&file, image, &err) < 0 ||
		    eif_file_read(&file, eif_file_find(&file, EIF_CMDLINE), cmdline, sizeof cmdline - 1, &n, &err) < 0)
			continue;
		cmdline[n] = '\0';
		if (is_loud((const char *)cmdline) && !has_our_init(&file))
			finding_add(f, "%s: its image's kernel prints everything to the serial console", v->instance[i].path);
	}
	for (size_t i = 0; i < v->units.n; i++)
		if (unit_says(v->units.at[i].text, "nitro-cli console"))
			finding_add(f, "%s reads an enclave's console, which exists in debug mode only", v->units.at[i].name);
}

/* --- units ---------------------------------------------------------------------------------------------- */

void look_oneshot(const struct host_view *v, struct findings *f)
{
	for (size_t i = 0; i < v->units.n; i++)
		if (unit_says(v->units.at[i].text, "run-enclave") && unit_says(v->units.at[i].text, "Type=oneshot"))
			finding_add(f, "%s starts an enclave and leaves it alone (Type=oneshot)", v->units.at[i].name);
}

void look_not_enabled(const struct host_view *v, struct findings *f)
{
	static const char *const targets[] = { "multi-user.target.wants", "default.target.wants", "tee-rex.target.wants" };
	for (size_t i = 0; i < v->instance_count; i++) {
		bool enabled = false;
		for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
			char path[256], whole[ROOTED_PATH_MAX];
			struct stat st;
			snprintf(path, sizeof path, "/etc/systemd/system/%s/tee-rex@%s.service", targets[t], v->instance[i].name);
			enabled = enabled || lstat(rooted_path(v->root, path, whole), &st) == 0;
		}
		if (!enabled) {
			finding_add(f, "%s is configured, and nothing starts it at boot", v->instance[i].name);
			finding_fix(f, "systemctl enable tee-rex@%s.service", v->instance[i].name);
		}
	}
}

void look_debug(const struct host_view *v, struct findings *f)
{
	for (size_t i = 0; i < v->instance_count; i++) {
		const char *debug = doctor_setting(&v->instance[i], "enclave.debug");
		if (debug != NULL && (strcmp(debug, "true") == 0 || strcmp(debug, "yes") == 0))
			finding_add(f, "%s: debug is %s", v->instance[i].path, debug);
	}
	for (size_t i = 0; i < v->units.n; i++)
		if (unit_says(v->units.at[i].text, "--debug-mode") || unit_says(v->units.at[i].text, "--attach-console"))
			finding_add(f, "%s starts an enclave in debug mode", v->units.at[i].name);
	for (size_t i = 0; i < v->process_count; i++)
		if (strstr(v->process[i].command, "run-enclave") != NULL && strstr(v->process[i].command, "--debug-mode") != NULL)
			finding_add(f, "process %ld started an enclave in debug mode", v->process[i].pid);
}

void look_builder(const struct host_view *v, struct findings *f)
{
	for (size_t i = 0; i < v->units.n; i++)
		if (unit_says(v->units.at[i].text, "build-enclave"))
			finding_add(f, "%s builds images with the stock builder%s", v->units.at[i].name,
			            small_file_exists(v->root, "/run/docker.sock") || small_file_exists(v->root, "/var/run/docker.sock") ? "" : ", and there is no docker daemon (no /run/docker.sock)");
}

void look_container_store(const struct host_view *v, struct findings *f)
{
	char text[DOCTOR_FILE_SIZE];
	if (small_file_read(v->root, "/etc/docker/daemon.json", text, sizeof text) != 0)
		return;
	const char *feature = strstr(text, "\"containerd-snapshotter\"");
	if (feature != NULL && strncmp(feature + 24 + strspn(feature + 24, " \t\n:"), "true", 4) == 0)
		finding_add(f, "/etc/docker/daemon.json turns containerd-snapshotter on");
}

/* An image removed in the same unit that makes or fetches the next one. */
void look_deletes_first(const struct host_view *v, struct findings *f)
{
	for (size_t i = 0; i < v->units.n; i++) {
		const char *rest = v->units.at[i].text;
		for (const char *line = next_line(rest, &rest); line != NULL; line = next_line(rest, &rest)) {
			char text[1024];
			snprintf(text, sizeof text, "%.*s", (int)strcspn(line, "\n"), line);
			if (strncmp(text, "ExecStart", 9) == 0 && strstr(text, "rm ") != NULL && strstr(text, ".eif") != NULL)
				finding_add(f, "%s removes the image it has: %.200s", v->units.at[i].name, text);
		}
	}
}
