/* Answers that outlive this process. One that was promised is written into a directory when it is made, and the next
 * gateway serves it under the same ids for the rest of its time, whatever ended this one: a file appears whole or not at all,
 * and nothing has to be done at the end. It is not synced: what the kernel has survives us, and with the machine goes the
 * enclave, whose proofs its clients would ask for.
 *
 * The directory belongs to one gateway at a time, which holds its lock, and to no other user: ids are bearer secrets. There
 * are no more files than answers may be promised. A disk that is full costs the file, never the answer. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "format/kept_answer.h"
#include "host/gateway_server.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { KEPT_FILE_MAX = KEPT_TEXT_MAX + KEPT_IDS_MAX * KEPT_ID_SIZE + 1024 };
_Static_assert((int)KEPT_TAG_SIZE == (int)JOB_TAG_SIZE && (int)KEPT_RANDOM_SIZE == (int)JOB_RANDOM_SIZE &&
               (int)KEPT_CLIENT_SIZE == (int)CLIENT_KEY_SIZE && (int)KEPT_IDS_MAX >= (int)JOB_SUBSCRIBERS_MAX, "ids are kept as they are");
static const char unfinished_name[] = ".new";

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* Whose reason is errno. */
static bool write_whole(int dir, const char *name, struct bytes b)
{
	CLEANUP(close_fd) int fd = openat(dir, unfinished_name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	bool ok = fd >= 0;
	while (ok && b.n > 0) {
		ssize_t n = write(fd, b.p, b.n);
		ok = n > 0 || (n < 0 && errno == EINTR);
		if (n > 0)
			b = bytes_of(b.p + n, b.n - (size_t)n);
	}
	ok = ok && renameat(dir, unfinished_name, dir, name) == 0;
	int why = errno;
	if (!ok && fd >= 0)
		unlinkat(dir, unfinished_name, 0);
	errno = why;
	return ok;
}

static size_t put_ids(const struct job *j, uint8_t *to)
{
	size_t n = 0;
	const struct subscriber *s;
	LIST_FOREACH(s, &j->subscribers, of_job) {
		if (!s->accepted)
			continue;
		if (to != NULL) {
			memcpy(to + n, s->tag, KEPT_TAG_SIZE);
			memcpy(to + n + KEPT_TAG_SIZE, s->random, KEPT_RANDOM_SIZE);
			memcpy(to + n + KEPT_TAG_SIZE + KEPT_RANDOM_SIZE, s->client, KEPT_CLIENT_SIZE);
		}
		n += KEPT_ID_SIZE;
	}
	return n;
}

static bool save(const struct job *j, size_t ids_n)
{
	const struct gateway *g = j->g;
	int64_t left = j->ended_ms + (int64_t)g->o->result_keep_s * 1000 - clock_monotonic_ms();
	CLEANUP(free_ptr) uint8_t *ids = malloc(ids_n);
	struct kept_answer a = { .until_ms = (uint64_t)(clock_wall_ms() + left), .prove_ms = j->prove_ms, .decrypt_ms = j->decrypt_ms,
		.version = bytes_str(j->version), .ids = bytes_of(ids, ids_n), .text = bytes_of(j->text->p, j->text->n),
		.result_at = (uint32_t)j->result_at, .result_n = (uint32_t)j->result_n };
	size_t cap = kept_answer_size(&a);
	CLEANUP(free_ptr) uint8_t *whole = malloc(cap);
	if (ids == NULL || whole == NULL)
		return false;
	put_ids(j, ids);
	memcpy(a.sha256, j->sha256, sizeof a.sha256);
	struct writer w = writer_of(whole, cap);
	kept_answer_put(&w, &a);
	return write_whole(g->kept.dir, j->kept_as, writer_bytes(&w));
}

void kept_save(struct job *j)
{
	struct gateway *g = j->g;
	size_t ids_n = put_ids(j, NULL);
	if (g->kept.dir < 0 || j->state != JOB_DONE)
		return;
	if (ids_n == 0) {
		kept_forget(j);
		return;
	}
	if (j->kept_as[0] == '\0') {
		char tag[2 * JOB_TAG_SIZE + 1];
		snprintf(j->kept_as, sizeof j->kept_as, "%s-%llu", hex_encode(BYTES_ARRAY(g->jobs.tag), tag), (unsigned long long)j->order);
	}
	if (save(j, ids_n))
		return;
	log_warn("an answer will not survive this gateway: write %s/%s: %s", g->o->keep_dir, j->kept_as, strerror(errno));
	g->kept.unsaved++;
	kept_forget(j);                  /* an older one would let in who has left */
}

void kept_forget(struct job *j)
{
	const struct gateway *g = j->g;
	if (j->kept_as[0] != '\0' && !g->kept.closing)
		unlinkat(g->kept.dir, j->kept_as, 0);
	j->kept_as[0] = '\0';
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static bool is_name(const char *name)
{
	size_t n = strspn(name, "0123456789abcdef"), digits = name[n] == '-' ? strspn(name + n + 1, "0123456789") : 0;
	return n == 2 * JOB_TAG_SIZE && digits > 0 && name[n + 1 + digits] == '\0' && n + 1 + digits < JOB_KEPT_NAME;
}

/* The whole file, for the caller to free; NULL: not to be had, or none of ours. */
static uint8_t *read_whole(int dir, const char *name, size_t *ret_n)
{
	struct stat st;
	CLEANUP(close_fd) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > KEPT_FILE_MAX)
		return NULL;
	size_t n = 0, size = (size_t)st.st_size;
	uint8_t *p = malloc(size);
	while (p != NULL && n < size) {
		ssize_t got = read(fd, p + n, size - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	*ret_n = n;
	return p;
}

/* NULL, or why it is not served. */
static const char *load_one(struct gateway *g, const char *name)
{
	struct kept_answer a;
	size_t n = 0;
	CLEANUP(free_ptr) uint8_t *p = read_whole(g->kept.dir, name, &n);
	if (p == NULL || !kept_answer_parse(bytes_of(p, n), &a))
		return "it is no whole answer";
	int64_t left = a.until_ms > INT64_MAX ? 0 : (int64_t)a.until_ms - clock_wall_ms(), longest = (int64_t)g->o->result_keep_s * 1000;
	if (left <= 0)
		return "it has been kept long enough";
	if (g->jobs.promised + kept_answer_ids(&a) > g->o->results_max)
		return "there are as many answers as may be promised";
	return job_restore(g, &a, name, left < longest ? left : longest) ? NULL : "out of memory";
}

static void load(struct gateway *g)
{
	unsigned loaded = 0;
	int fd = openat(g->kept.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(close_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		if (!is_name(e->d_name))
			continue;
		const char *why_not = load_one(g, e->d_name);
		if (why_not != NULL) {
			log_info("kept answer %s is dropped: %s", e->d_name, why_not);
			unlinkat(g->kept.dir, e->d_name, 0);
		}
		loaded += why_not == NULL;
	}
	unlinkat(g->kept.dir, unfinished_name, 0);
	if (loaded > 0)
		log_info("%u answers of the gateway before are served on", loaded);
}

int kept_open(struct gateway *g, struct err *err)
{
	const char *path = g->o->keep_dir;
	struct stat st;
	g->kept.dir = -1;
	if (path == NULL)
		return 0;
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return fail(err, errno, "make the directory %s for answers", path);
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0)
		return fail(err, errno, "open the directory %s for answers", path);
	if (st.st_uid != geteuid() || (st.st_mode & 077) != 0)
		return fail(err, 0, "%s is for answers, which are secret: it must belong to user %u and be closed to others (chmod 700)", path,
		            (unsigned)geteuid());
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		return fail(err, errno, errno == EWOULDBLOCK ? "another gateway keeps its answers in %s" : "lock %s", path);
	g->kept.dir = fd_steal(&fd);
	load(g);
	return 0;
}

void kept_close(struct gateway *g) { close_fd(&g->kept.dir); }
