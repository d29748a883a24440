/* tee-rex upload: loads a prover version into a running enclave, through its operator socket. The enclave
 * takes it only when the digest is in its measured allow list. */
#include "base/options.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/http_error.h"
#include "crypto/crypto.h"
#include "host/frame_call.h"
#include "host/run_dir.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct upload_args { const char *socket, *operator; bool json; };

static const struct option_spec options[] = {
	{ 's', "socket", OPT_STRING, offsetof(struct upload_args, socket), "PATH",
	  "service socket (that of the instance \"default\")" },
	{ 'o', "operator", OPT_STRING, offsetof(struct upload_args, operator), "PATH", "operator socket of a gateway, to go through it instead" },
	{ 0, "json", OPT_FLAG, offsetof(struct upload_args, json), NULL, "print the loaded versions as JSON" },
	OPTIONS_HELP,
	OPTIONS_END
};

enum { UPLOAD_TIMEOUT_MS = 60 * 1000 };

static int map_file(const char *path, struct bytes *ret, struct err *err)
{
	struct stat st;
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0)
		return fail(err, errno, "open %s", path);
	if (!S_ISREG(st.st_mode) || st.st_size == 0)
		return fail(err, 0, "%s is not a file with a prover in it", path);
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return fail(err, errno, "map %s", path);
	*ret = bytes_of(p, (size_t)st.st_size);
	return 0;
}

static void progress(size_t done, size_t total, bool last)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\rupload: %zu of %zu MiB%s", done >> 20, total >> 20, last ? "\n" : "");
}

static int send_file(struct frame_call *c, struct bytes file, struct err *err)
{
	for (size_t at = 0; at < file.n;) {
		size_t n = file.n - at < FRAME_DATA_SIZE ? file.n - at : FRAME_DATA_SIZE;
		int ret = frame_call_send(c, FRAME_DATA, bytes_of(file.p + at, n), err);
		/* the enclave answers before the end when it refuses: the answer says why */
		if (ret == -EPIPE || ret == -ECONNRESET)
			return 0;
		if (ret < 0)
			return ret;
		at += n;
		frame_call_extend(c, UPLOAD_TIMEOUT_MS);
		if (at % (4 << 20) == 0)
			progress(at, file.n, false);
	}
	progress(file.n, file.n, true);
	int ret = frame_call_send(c, FRAME_END, BYTES_NONE, err);
	return ret == -EPIPE || ret == -ECONNRESET ? 0 : ret;
}

/* --- through a gateway ------------------------------------------------------------------------------------------ */

struct body { struct bytes file; size_t at; };

static long on_pull(void *arg, uint8_t *to, size_t cap)
{
	struct body *b = arg;
	size_t n = b->file.n - b->at < cap ? b->file.n - b->at : cap;
	memcpy(to, b->file.p + b->at, n);
	b->at += n;
	if (b->at == b->file.n || (b->at - n) >> 22 != b->at >> 22)
		progress(b->at, b->file.n, b->at == b->file.n);
	return (long)n;
}

static int upload_http(const struct upload_args *a, const char *version, struct bytes file, const uint8_t sha256[SHA256_SIZE],
                       struct http_answer *ret, struct err *err)
{
	struct http_base base;
	char text[128], path[16 + FRAME_VERSION_MAX], digest[16 + 2 * SHA256_SIZE];
	struct body body = { .file = file };
	snprintf(text, sizeof text, "unix:%s", a->operator);
	snprintf(path, sizeof path, "/versions/%s", version);
	strcpy(digest, "X-Sha256: ");
	hex_encode(bytes_of(sha256, SHA256_SIZE), digest + strlen(digest));
	const struct http_request q = { .base = &base, .path = path, .headers = { digest, "Content-Type: application/octet-stream", "Expect:" },
		.answer_max = 64 << 10, .connect_ms = 5000, .total_ms = 10 * UPLOAD_TIMEOUT_MS, .pull = on_pull, .body_size = file.n, .arg = &body };
	int result = http_base_parse(text, &base, err);
	if (result == 0)
		result = http_perform(&q, ret, err);
	if (result == 0 && ret->status != 200) {
		struct http_error e;
		http_error_read(ret, &e);
		return fail(err, 0, "%s", e.text);
	}
	return result;
}

static void print_versions(const struct frame_reply *reply, bool json)
{
	uint8_t buf[FRAME_VERSIONS_MAX * 256];
	char hex[2 * SHA256_SIZE + 1], name[FRAME_VERSION_MAX * 4 + 1];
	struct writer w = writer_of(buf, sizeof buf);
	put_str(&w, "{\"versions\":[");
	for (size_t i = 0; i < reply->version_count; i++) {
		const struct frame_version *v = &reply->version[i];
		hex_encode(v->sha256, hex);
		if (!json)
			printf("%-24s sha256 %s\n", text_escape(v->name, name, sizeof name), hex);
		put_str(&w, i > 0 ? ",{\"version\":" : "{\"version\":");
		put_json_string(&w, v->name);
		put_fmt(&w, ",\"sha256\":\"%s\"}", hex);
	}
	put_str(&w, "]}");
	if (json && !w.full)
		printf("%.*s\n", (int)w.at, (const char *)buf);
}

/* The gateway's {"bb_hashes":[{"version","sha256"}…]}, as if the enclave itself had said it. */
static int print_hashes(const struct http_answer *answer, bool json, struct err *err)
{
	uint8_t sha256[FRAME_VERSIONS_MAX][SHA256_SIZE];
	struct frame_reply reply = { 0 };
	json_t *j = json_parse(bytes_of(answer->body, answer->body_n)), *hashes = json_object_get(j, "bb_hashes"), *one;
	size_t i;
	bool ok = json_is_array(hashes) && json_array_size(hashes) <= FRAME_VERSIONS_MAX;
	for (i = 0; ok && i < json_array_size(hashes); i++) {
		one = json_array_get(hashes, i);
		const char *name = json_string_value(json_object_get(one, "version")), *hex = json_string_value(json_object_get(one, "sha256"));
		ok = name != NULL && hex != NULL && hex_decode(bytes_str(hex), sha256[i], SHA256_SIZE);
		if (ok)
			reply.version[reply.version_count++] = (struct frame_version){ bytes_str(name), BYTES_ARRAY(sha256[i]) };
	}
	if (ok)
		print_versions(&reply, json);
	json_decref(j);
	return ok ? 0 : fail(err, 0, "the gateway's answer is none");
}

static void answer_cleanup(struct http_answer *a) { http_answer_free(a); }

static int upload(const struct upload_args *a, const char *version, const char *path, struct err *err)
{
	struct bytes file;
	uint8_t sha256[SHA256_SIZE];
	struct frame_call c;
	struct frame_reply reply;
	enum outcome code;
	int ret = map_file(path, &file, err);
	if (ret < 0)
		return ret;
	if (!crypto_hash(HASH_SHA256, file, sha256))
		return fail(err, 0, "hash %s", path);
	CLEANUP(answer_cleanup) struct http_answer answer = { 0 };
	if (a->operator != NULL) {
		ret = upload_http(a, version, file, sha256, &answer, err);
		return ret < 0 ? ret : print_hashes(&answer, a->json, err);
	}
	const struct frame_request q = { .op = OP_UPLOAD, .version = bytes_str(version), .sha256 = BYTES_ARRAY(sha256),
	                                 .size = file.n };
	ret = frame_call_open(&c, a->socket, UPLOAD_TIMEOUT_MS, err);
	if (ret == 0)
		ret = frame_call_request(&c, &q, err);
	if (ret == 0)
		ret = send_file(&c, file, err);
	if (ret == 0)
		ret = frame_call_reply(&c, &reply, &code, err);
	if (ret == 0)
		print_versions(&reply, a->json);
	frame_call_close(&c);
	return ret;
}

int upload_main(int argc, char **argv)
{
	struct upload_args a = { 0 };
	char dir[RUN_DIR_MAX] = "", of_default[RUN_DIR_MAX + 16];
	const char *args[2];
	struct err err;
	size_t n;
	enum option_result r = options_parse(options, &a, argc, argv, args, 2, &n, &err);
	if (r == OPTIONS_WANT_HELP) {
		options_help(stdout, "upload", "VERSION FILE [OPTIONS]", "Loads FILE as prover VERSION into a running enclave.", options);
		return 0;
	}
	if (r == OPTIONS_OK && n != 2) {
		fail(&err, 0, "two arguments are wanted: VERSION FILE");
		r = OPTIONS_USAGE;
	}
	if (r == OPTIONS_OK && !version_name_valid(bytes_str(args[0]))) {
		fail(&err, 0, "\"%.70s\" is no version name: 1 to %d of A-Z a-z 0-9 . _ + -, not starting with . or -", args[0],
		     FRAME_VERSION_MAX);
		r = OPTIONS_USAGE;
	}
	if (r == OPTIONS_USAGE) {
		fprintf(stderr, "tee-rex upload: %s\n", err.text);
		return 2;
	}
	int ret = a.socket != NULL ? 0 : run_dir_find("default", dir, sizeof dir, &err);
	snprintf(of_default, sizeof of_default, "%s/service.sock", dir);
	if (a.socket == NULL)
		a.socket = of_default;
	if (ret == 0)
		ret = upload(&a, args[0], args[1], &err);
	if (ret < 0) {
		fprintf(stderr, "tee-rex upload: %s\n", err.text);
		return 1;
	}
	return 0;
}
