#include "enclave/prover/versions.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U                 /* Linux 6.3; older kernels say EINVAL and need no flag */
#endif

static const int all_seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

void versions_init(struct versions *v, const struct config *cfg)
{
	memset(v, 0, sizeof *v);
	v->cfg = cfg;
	v->upload.fd = -1;
}

static struct version_slot *find_slot(struct versions *v, struct bytes name)
{
	for (size_t i = 0; i < FRAME_VERSIONS_MAX; i++)
		if (v->slot[i].binary != NULL && bytes_equal(bytes_str(v->slot[i].name), name))
			return &v->slot[i];
	return NULL;
}

static size_t count_loaded(const struct versions *v)
{
	size_t n = 0;
	for (size_t i = 0; i < FRAME_VERSIONS_MAX; i++)
		n += v->slot[i].binary != NULL;
	return n;
}

/* Bytes of every binary alive: named ones and those that only a job still holds. */
static uint64_t bytes_loaded(const struct versions *v)
{
	uint64_t n = 0;
	for (size_t i = 0; i < FRAME_VERSIONS_MAX + LAUNCH_SLOTS_MAX; i++)
		n += v->pool[i].refs > 0 ? v->pool[i].size : 0;
	return n;
}

void version_put(struct version_binary *b)
{
	if (b != NULL && --b->refs == 0)
		close_fd(&b->fd);
}

struct bytes version_default(const struct versions *v)
{
	const struct version_slot *only = NULL;
	if (v->cfg->default_version[0] != '\0')
		return bytes_str(v->cfg->default_version);
	for (size_t i = 0; i < FRAME_VERSIONS_MAX; i++)
		if (v->slot[i].binary != NULL)
			only = &v->slot[i];
	return count_loaded(v) == 1 ? bytes_str(only->name) : BYTES_NONE;
}

struct version_binary *version_get(struct versions *v, struct bytes name, struct err *ret_why)
{
	struct bytes wanted = name.n > 0 ? name : version_default(v);
	struct version_slot *s = wanted.n > 0 ? find_slot(v, wanted) : NULL;
	if (s != NULL) {
		s->binary->refs++;
		return s->binary;
	}
	char shown[FRAME_VERSION_MAX * 4 + 1];
	if (count_loaded(v) == 0)
		fail(ret_why, 0, "no prover version is loaded; an operator must upload one");
	else if (wanted.n == 0)
		fail(ret_why, 0, "several prover versions are loaded and none is the default; name one");
	else
		fail(ret_why, 0, "prover version \"%s\" is not loaded; GET /health lists those that are",
		     text_escape(wanted, shown, sizeof shown));
	return NULL;
}

void versions_list(const struct versions *v, struct frame_reply *reply)
{
	reply->version_count = 0;
	for (size_t i = 0; i < FRAME_VERSIONS_MAX; i++)
		if (v->slot[i].binary != NULL)
			reply->version[reply->version_count++] = (struct frame_version){
				bytes_str(v->slot[i].name), BYTES_ARRAY(v->slot[i].binary->sha256) };
	reply->default_version = version_default(v);
}

static bool digest_allowed(const struct config *cfg, const uint8_t sha256[SHA256_SIZE])
{
	for (size_t i = 0; i < cfg->allow_count; i++)
		if (memcmp(cfg->allow[i], sha256, SHA256_SIZE) == 0)
			return true;
	return false;
}

static int make_memfd(void)
{
	int fd = memfd_create("prover", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("prover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

static enum outcome check_quota(const struct versions *v, struct bytes name, uint64_t size, struct err *why)
{
	const struct config *cfg = v->cfg;
	bool replaces = find_slot((struct versions *)(uintptr_t)v, name) != NULL;
	if (size == 0 || size > (uint64_t)cfg->upload_max_mib << 20) {
		fail(why, 0, "the binary has %llu bytes, the limit is %u MiB", (unsigned long long)size, cfg->upload_max_mib);
		return OUTCOME_TOO_LARGE;
	}
	if (!replaces && count_loaded(v) >= cfg->versions_max) {
		fail(why, 0, "%u versions are loaded, which is the limit; replace one of them", cfg->versions_max);
		return OUTCOME_NO_SPACE;
	}
	/* a replaced binary stays until the new one is whole, and longer where a job runs it */
	if (bytes_loaded(v) + size > (uint64_t)cfg->versions_total_mib << 20) {
		fail(why, 0, "%llu bytes of binaries are loaded, %llu more would exceed the limit of %u MiB",
		     (unsigned long long)bytes_loaded(v), (unsigned long long)size, cfg->versions_total_mib);
		return OUTCOME_NO_SPACE;
	}
	return OUTCOME_OK;
}

enum outcome upload_begin(struct versions *v, struct bytes name, struct bytes sha256, uint64_t size, struct err *why)
{
	struct version_upload *u = &v->upload;
	if (u->active) {
		fail(why, 0, "another upload is under way; try again when it is over");
		return OUTCOME_BUSY;
	}
	if (!version_name_valid(name) || sha256.n != SHA256_SIZE) {
		fail(why, 0, "a version name is 1 to %d characters of A-Z a-z 0-9 . _ + - and starts with none of . -",
		     FRAME_VERSION_MAX);
		return OUTCOME_BAD_REQUEST;
	}
	if (!digest_allowed(v->cfg, sha256.p)) {
		fail(why, 0, "the digest is not in this image's allow list");
		return OUTCOME_NOT_ALLOWED;
	}
	enum outcome o = check_quota(v, name, size, why);
	if (o != OUTCOME_OK)
		return o;
	u->fd = make_memfd();
	u->hash = hash_new(HASH_SHA256);
	if (u->fd < 0 || u->hash == NULL) {
		fail(why, u->fd < 0 ? errno : ENOMEM, "make a memfd for the binary");
		upload_abort(v);
		return OUTCOME_INTERNAL;
	}
	u->active = true;
	u->size = size;
	u->received = 0;
	memcpy(u->declared, sha256.p, SHA256_SIZE);
	memcpy(u->name, name.p, name.n);
	u->name[name.n] = '\0';
	return OUTCOME_OK;
}

void upload_abort(struct versions *v)
{
	close_fd(&v->upload.fd);
	hash_free(v->upload.hash);
	v->upload.hash = NULL;
	v->upload.active = false;
}

enum outcome upload_data(struct versions *v, struct bytes data, struct err *why)
{
	struct version_upload *u = &v->upload;
	if (data.n > u->size - u->received) {
		fail(why, 0, "more than the declared %llu bytes arrived", (unsigned long long)u->size);
		upload_abort(v);
		return OUTCOME_DIGEST_MISMATCH;
	}
	hash_update(u->hash, data);
	u->received += data.n;
	while (data.n > 0) {
		ssize_t n = write(u->fd, data.p, data.n);
		if (n <= 0) {
			fail(why, errno, "write the binary to memory");
			upload_abort(v);
			return errno == ENOSPC || errno == ENOMEM ? OUTCOME_NO_SPACE : OUTCOME_INTERNAL;
		}
		data = bytes_of(data.p + n, data.n - (size_t)n);
	}
	return OUTCOME_OK;
}

static struct version_binary *pool_take(struct versions *v)
{
	for (size_t i = 0; i < FRAME_VERSIONS_MAX + LAUNCH_SLOTS_MAX; i++)
		if (v->pool[i].refs == 0)
			return &v->pool[i];
	return NULL;
}

static struct version_slot *free_slot(struct versions *v)
{
	for (size_t i = 0; i < FRAME_VERSIONS_MAX; i++)
		if (v->slot[i].binary == NULL)
			return &v->slot[i];
	return NULL;
}

enum outcome upload_commit(struct versions *v, struct err *why)
{
	struct version_upload *u = &v->upload;
	uint8_t got[SHA256_SIZE];
	if (u->received != u->size || !hash_peek(u->hash, got) || memcmp(got, u->declared, sizeof got) != 0) {
		fail(why, 0, "%llu of %llu bytes arrived%s", (unsigned long long)u->received, (unsigned long long)u->size,
		     u->received == u->size ? ", but their digest is not the declared one" : "");
		upload_abort(v);
		return OUTCOME_DIGEST_MISMATCH;
	}
	struct version_slot *s = find_slot(v, bytes_str(u->name));
	struct version_binary *b = pool_take(v);
	if (s == NULL)
		s = free_slot(v);
	if (s == NULL || b == NULL || fcntl(u->fd, F_ADD_SEALS, all_seals) != 0) {
		fail(why, 0, "no room for another binary, or it could not be sealed");
		upload_abort(v);
		return OUTCOME_INTERNAL;
	}
	*b = (struct version_binary){ .fd = fd_steal(&u->fd), .size = u->size, .refs = 1 };
	memcpy(b->sha256, got, sizeof got);
	version_put(s->binary);
	s->binary = b;
	memcpy(s->name, u->name, sizeof s->name);
	v->generation++;
	upload_abort(v);
	return OUTCOME_OK;
}

/* --- preloading ------------------------------------------------------------------------------- */

static int preload_one(struct versions *v, const char *name, const char *path, struct err *err)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) != 0)
		return fail(err, errno, "open %s", path);
	if (!S_ISREG(st.st_mode) || st.st_size <= 0)
		return fail(err, 0, "%s is not a file with a prover in it", path);
	void *whole = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (whole == MAP_FAILED)
		return fail(err, errno, "map %s", path);
	struct bytes data = bytes_of(whole, (size_t)st.st_size);
	uint8_t sha256[SHA256_SIZE];
	enum outcome o = OUTCOME_INTERNAL;
	if (crypto_hash(HASH_SHA256, data, sha256)) {
		o = upload_begin(v, bytes_str(name), BYTES_ARRAY(sha256), data.n, err);
		if (o == OUTCOME_OK)
			o = upload_data(v, data, err);
		if (o == OUTCOME_OK)
			o = upload_commit(v, err);
	}
	munmap(whole, data.n);
	if (o == OUTCOME_OK)
		return 0;
	char hex[2 * SHA256_SIZE + 1];
	return fail_in(err, -EINVAL, "version %s from %s (sha256 %s)", name, path, hex_encode(BYTES_ARRAY(sha256), hex));
}

int versions_preload(struct versions *v, struct err *err)
{
	for (size_t i = 0; i < v->cfg->version_count; i++) {
		int ret = preload_one(v, v->cfg->version[i].name, v->cfg->version[i].path, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* --- user_data ---------------------------------------------------------------------------------- */

static bool list_digest(const struct versions *v, char hex[2 * SHA256_SIZE + 1])
{
	uint8_t line[FRAME_VERSION_MAX + 2 * SHA256_SIZE + 3], sum[SHA256_SIZE];
	struct hash *h = hash_new(HASH_SHA256);
	if (h == NULL)
		return false;
	for (size_t i = 0; i < FRAME_VERSIONS_MAX; i++) {
		if (v->slot[i].binary == NULL)
			continue;
		struct writer w = writer_of(line, sizeof line);
		put_fmt(&w, "%s %s\n", v->slot[i].name, hex_encode(BYTES_ARRAY(v->slot[i].binary->sha256), hex));
		hash_update(h, writer_bytes(&w));
	}
	bool ok = hash_peek(h, sum);
	hash_free(h);
	hex_encode(BYTES_ARRAY(sum), hex);
	return ok;
}

/* The first `count` versions; with the digest of the whole list when that is not all of them. */
static void put_user_data(const struct versions *v, size_t count, const char *policy, const char *digest, struct writer *w)
{
	char hex[2 * SHA256_SIZE + 1];
	size_t done = 0;
	put_str(w, "{\"versions\":[");
	for (size_t i = 0; i < FRAME_VERSIONS_MAX && done < count; i++) {
		if (v->slot[i].binary == NULL)
			continue;
		/* a version name has no character that JSON would want escaped */
		put_fmt(w, "%s{\"version\":\"%s\",\"sha256\":\"%s\"}", done++ > 0 ? "," : "", v->slot[i].name,
		        hex_encode(BYTES_ARRAY(v->slot[i].binary->sha256), hex));
	}
	put_fmt(w, "],\"policy\":\"%s\"", policy);
	if (count < count_loaded(v))
		put_fmt(w, ",\"digest\":\"%s\"", digest);
	put_fmt(w, ",\"epoch\":%llu}", (unsigned long long)v->cfg->epoch);
}

void versions_user_data(const struct versions *v, size_t max, struct writer *w)
{
	uint8_t text[CONFIG_ALLOW_MAX * (2 * SHA256_SIZE + 1) + 64], sum[SHA256_SIZE];
	char policy[2 * SHA256_SIZE + 1], digest[2 * SHA256_SIZE + 1];
	struct writer p = writer_of(text, sizeof text);
	config_policy_text(v->cfg, &p);
	if (p.full || !crypto_hash(HASH_SHA256, writer_bytes(&p), sum) || !list_digest(v, digest)) {
		w->full = true;
		return;
	}
	hex_encode(BYTES_ARRAY(sum), policy);
	for (size_t count = count_loaded(v) + 1; count-- > 0;) {
		uint8_t buf[FRAME_MAP_MAX];
		struct writer t = writer_of(buf, max < sizeof buf ? max : sizeof buf);
		put_user_data(v, count, policy, digest, &t);
		if (!t.full) {
			put_bytes(w, writer_bytes(&t));
			return;
		}
	}
	w->full = true;
}
