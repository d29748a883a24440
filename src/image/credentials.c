/* The configuration file is the user's own and is believed, up to its size and shape. Helper programs are named by it and
 * found on PATH; they get the registry's name on standard input and have a minute. */
#include "image/credentials.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "crypto/crypto.h"
#include "image/json.h"
#include "image/stream.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

enum { HELPER_MS = 60000, HELPER_END_MS = 5000, HELPER_OUTPUT_MAX = 64 << 10, CONFIG_MAX = 1 << 20, HELPER_NAME_MAX = 64 };
extern char **environ;

void credentials_wipe(struct credentials *c) { crypto_wipe(c, sizeof *c); }

void credentials_put_basic(const struct credentials *c, struct writer *w)
{
	uint8_t plain[sizeof c->user + SECRET_MAX];
	struct writer p = writer_of(plain, sizeof plain);
	put_str(&p, c->user);
	put_u8(&p, ':');
	put_str(&p, c->secret);
	put_str(w, "Basic ");
	put_base64(w, writer_bytes(&p));
	put_u8(w, '\0');
	crypto_wipe(plain, sizeof plain);
}

static enum image_code refuse(struct err *err, const char *what, const char *why)
{
	return image_fail(err, IMAGE_CREDENTIALS, 0, "%s %s", what, why);
}

static bool copy(const char *from, char *to, size_t cap) { return bytes_to_cstr(bytes_str(from), to, cap); }

/* --- helper programs -------------------------------------------------------------------------------------- */

/* Starts "docker-credential-NAME get"; *ret_fd reads its standard output. The registry's name is a file, not a pipe:
 * helpers that never read it are not disturbed. */
static enum image_code start_helper(const char *program, const char *registry, pid_t *ret_pid, int *ret_fd, struct err *err)
{
	int out[2];
	char *argv[] = { (char *)(uintptr_t)program, (char[]){ "get" }, NULL };
	posix_spawn_file_actions_t actions;
	CLEANUP(close_fd) int in = memfd_create("registry", MFD_CLOEXEC);
	if (in < 0 || dprintf(in, "%s\n", registry) < 0 || lseek(in, 0, SEEK_SET) != 0 || pipe2(out, O_CLOEXEC) != 0)
		return image_fail(err, IMAGE_IO, errno, "start %s", program);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	int e = posix_spawnp(ret_pid, program, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	if (e != 0) {
		close(out[0]);
		return image_fail(err, IMAGE_CREDENTIALS, e, "start the credential helper %s", program);
	}
	*ret_fd = out[0];
	return IMAGE_OK;
}

static enum image_code listen_to(int fd, const char *program, char *out, size_t cap, size_t *ret_n, struct err *err)
{
	int64_t end = clock_monotonic_ms() + HELPER_MS;
	size_t at = 0;
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t left = end - clock_monotonic_ms();
		int ready = left > 0 ? poll(&p, 1, (int)left) : 0;
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return refuse(err, program, "did not answer within a minute");
		ssize_t got = read(fd, out + at, cap - 1 - at);
		if (got == 0)
			break;
		if (got < 0)
			return image_fail(err, IMAGE_CREDENTIALS, errno, "read from %s", program);
		at += (size_t)got;
		if (at == cap - 1)
			return refuse(err, program, "says more than a credential");
	}
	out[at] = '\0';
	*ret_n = at;
	return IMAGE_OK;
}

/* A helper that has said its piece has a few seconds to end. */
static int wait_for(pid_t pid, bool kill_now)
{
	int status = 0;
	if (kill_now)
		kill(pid, SIGKILL);
	for (int i = 0; i < HELPER_END_MS / 20; i++) {
		if (waitpid(pid, &status, WNOHANG) != 0)
			return status;
		nanosleep(&(struct timespec){ 0, 20 * 1000000 }, NULL);
	}
	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
	return status;
}

static enum image_code parse_helper(const char *text, size_t n, const char *program, struct credentials *ret,
                                    struct err *err)
{
	CLEANUP(json_cleanup) json_t *j = NULL;
	const char *user, *secret;
	if (document_parse(bytes_of(text, n), program, &j, err) != IMAGE_OK)
		return IMAGE_CREDENTIALS;
	if (!json_is_object(j) || !json_get_string(j, "Username", &user, NULL) || user == NULL ||
	    !json_get_string(j, "Secret", &secret, NULL) || secret == NULL || !copy(user, ret->user, sizeof ret->user) ||
	    !copy(secret, ret->secret, sizeof ret->secret))
		return refuse(err, program, "gave no Username and Secret");
	ret->identity_token = strcmp(ret->user, "<token>") == 0;
	ret->found = true;
	return IMAGE_OK;
}

static enum image_code ask_helper(const char *name, const char *registry, struct credentials *ret, struct err *err)
{
	char program[sizeof "docker-credential-" + HELPER_NAME_MAX], shown[200], out[HELPER_OUTPUT_MAX];
	CLEANUP(close_fd) int fd = -1;
	pid_t pid;
	size_t n = 0;
	if (name[0] == '\0' || strlen(name) > HELPER_NAME_MAX ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != strlen(name))
		return refuse(err, "the credential helper in the registry configuration", "has a name that is no program's");
	snprintf(program, sizeof program, "docker-credential-%s", name);
	enum image_code c = start_helper(program, registry, &pid, &fd, err);
	if (c != IMAGE_OK)
		return c;
	c = listen_to(fd, program, out, sizeof out, &n, err);
	close_fd(&fd);
	int status = wait_for(pid, c != IMAGE_OK);
	if (c == IMAGE_OK && status != 0) {
		/* the protocol's way to say "nothing for this registry" */
		if (strstr(out, "credentials not found") == NULL)
			c = image_fail(err, IMAGE_CREDENTIALS, 0, "%s failed: %s", program,
			               text_escape(bytes_of(out, n < 150 ? n : 150), shown, sizeof shown));
	} else if (c == IMAGE_OK) {
		c = parse_helper(out, n, program, ret, err);
	}
	crypto_wipe(out, sizeof out);
	return c;
}

/* --- the configuration file --------------------------------------------------------------------------------- */

static bool config_path(char *path, size_t cap)
{
	const char *file = getenv("REGISTRY_AUTH_FILE"), *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
	int n = -1;
	if (file != NULL && file[0] != '\0')
		n = snprintf(path, cap, "%s", file);
	else if (dir != NULL && dir[0] != '\0')
		n = snprintf(path, cap, "%s/config.json", dir);
	else if (home != NULL && home[0] != '\0')
		n = snprintf(path, cap, "%s/.docker/config.json", home);
	return n > 0 && (size_t)n < cap;
}

/* *ret is NULL when there is no file. */
static enum image_code read_config(const char *path, json_t **ret, struct err *err)
{
	CLEANUP(free_ptr) uint8_t *text = NULL;
	struct stream *in = NULL;
	size_t n = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	*ret = NULL;
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? IMAGE_OK : image_fail(err, IMAGE_CREDENTIALS, errno, "open %s", path);
	enum image_code c = stream_of_pipe(fd, path, &in, err);
	if (c == IMAGE_OK)
		c = stream_slurp(in, CONFIG_MAX, path, &text, &n, err);
	stream_close(&in);
	if (c == IMAGE_OK)
		c = document_parse(bytes_of(text, n), path, ret, err);
	if (text != NULL)
		crypto_wipe(text, n);
	return c == IMAGE_OK ? c : image_fail_in(err, IMAGE_CREDENTIALS, "read the registry configuration");
}

/* An entry of auths: {"auth": base64 of user:password}, or its parts, or an identity token. */
static bool take_entry(json_t *entry, struct credentials *ret)
{
	const char *auth, *user, *password, *token;
	uint8_t plain[SECRET_MAX];
	size_t n;
	if (!json_get_string(entry, "auth", &auth, "") || !json_get_string(entry, "username", &user, "") ||
	    !json_get_string(entry, "password", &password, "") || !json_get_string(entry, "identitytoken", &token, ""))
		return false;
	if (token[0] != '\0') {
		ret->identity_token = ret->found = true;
		return copy("<token>", ret->user, sizeof ret->user) && copy(token, ret->secret, sizeof ret->secret);
	}
	if (auth[0] == '\0') {
		ret->found = user[0] != '\0';
		return copy(user, ret->user, sizeof ret->user) && copy(password, ret->secret, sizeof ret->secret);
	}
	if (!base64_decode(bytes_str(auth), plain, sizeof plain, &n))
		return false;
	const uint8_t *colon = memchr(plain, ':', n);
	size_t user_n = colon != NULL ? (size_t)(colon - plain) : 0;
	/* old files end the password with zeros */
	while (n > 0 && plain[n - 1] == '\0')
		n--;
	ret->found = colon != NULL && n > user_n && bytes_to_cstr(bytes_of(plain, user_n), ret->user, sizeof ret->user) &&
		bytes_to_cstr(bytes_of(plain + user_n + 1, n - user_n - 1), ret->secret, sizeof ret->secret);
	crypto_wipe(plain, sizeof plain);
	return ret->found;
}

/* The entry for registry/repository, for a part of that path, or for the registry. */
static json_t *find_entry(json_t *auths, const char *registry, const char *repository)
{
	static const char *const legacy[] = { "https://%s", "https://%s/v1/", "https://%s/v2/" };
	char name[600];
	int n = snprintf(name, sizeof name, "%s/%s", registry, repository);
	if (n < 0 || (size_t)n >= sizeof name)
		return NULL;
	for (;;) {
		json_t *entry = json_object_get(auths, name);
		char *slash = strrchr(name, '/');
		if (entry != NULL)
			return entry;
		if (slash == NULL)
			break;
		*slash = '\0';
	}
	json_t *entry = NULL;
	for (size_t i = 0; i < sizeof legacy / sizeof legacy[0] && entry == NULL; i++) {
		struct writer w = writer_of(name, sizeof name);
		put_bytes(&w, bytes_of(legacy[i], strcspn(legacy[i], "%")));
		put_str(&w, registry);
		put_str(&w, strchr(legacy[i], '%') + 2);
		put_u8(&w, '\0');
		entry = w.full ? NULL : json_object_get(auths, name);
	}
	return entry;
}

enum image_code credentials_find(const char *registry, const char *repository, struct credentials *ret, struct err *err)
{
	CLEANUP(json_cleanup) json_t *config = NULL;
	json_t *helpers, *auths;
	const char *store, *helper = "";
	char path[4096];
	memset(ret, 0, sizeof *ret);
	enum image_code c = config_path(path, sizeof path) ? read_config(path, &config, err) : IMAGE_OK;
	if (c != IMAGE_OK || config == NULL)
		return c;
	if (!json_is_object(config) || !json_get_object(config, "credHelpers", &helpers) ||
	    !json_get_string(config, "credsStore", &store, "") || !json_get_object(config, "auths", &auths) ||
	    !json_get_string(helpers, registry, &helper, ""))
		return refuse(err, path, "has credHelpers, credsStore or auths of the wrong kind");
	if (helper[0] == '\0')
		helper = store;
	if (helper[0] != '\0' && ((c = ask_helper(helper, registry, ret, err)) != IMAGE_OK || ret->found))
		return c;
	json_t *entry = find_entry(auths, registry, repository);
	if (entry != NULL && json_object_size(entry) > 0 && !take_entry(entry, ret)) {
		credentials_wipe(ret);
		return refuse(err, path, "has a malformed entry for this registry; log in again");
	}
	return IMAGE_OK;
}
