#include "host/reserve.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/make_path.h"
#include "format/crc32.h"
#include "image/out_file.h"
#include "linux/small_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

/* --- files that are replaced whole --------------------------------------------------------------- */

static int replace(const char *root, const char *path, const char *text, struct err *err)
{
	char whole[ROOTED_PATH_MAX];
	struct out_file f;
	int r = make_path_to(rooted_path(root, path, whole), 0755, err);
	if (r == 0)
		r = out_file_open(&f, whole, 0644, err);
	if (r < 0)
		return r;
	size_t n = strlen(text);
	for (size_t at = 0; at < n && r == 0;) {
		ssize_t got = write(f.fd, text + at, n - at);
		if (got > 0)
			at += (size_t)got;
		else if (got < 0 && errno != EINTR)
			r = fail(err, errno, "write %s", whole);
	}
	if (r == 0)
		r = out_file_commit(&f, err);
	out_file_close(&f);
	return r;
}

static int discard(const char *root, const char *path, struct err *err)
{
	char whole[ROOTED_PATH_MAX];
	if (unlink(rooted_path(root, path, whole)) != 0 && errno != ENOENT)
		return fail(err, errno, "remove %s", whole);
	return 0;
}

/* A file's text as it was, to be put back: NULL when there was none. Exact, with its line ends. */
struct kept { bool there; char text[RESERVE_TEXT_MAX]; };

static int keep(const char *root, const char *path, struct kept *ret, struct err *err)
{
	char whole[ROOTED_PATH_MAX];
	*ret = (struct kept){ .there = false };
	CLEANUP(close_file) FILE *f = fopen(rooted_path(root, path, whole), "re");
	if (f == NULL && errno == ENOENT)
		return 0;
	size_t n = f == NULL ? 0 : fread(ret->text, 1, sizeof ret->text - 1, f);
	if (f == NULL || ferror(f))
		return fail(err, errno, "read %s", whole);
	if (n == sizeof ret->text - 1 || memchr(ret->text, 0, n) != NULL)
		return fail(err, EFBIG, "%s is no text file of less than %zu bytes", whole, sizeof ret->text);
	ret->there = true;
	return 0;
}

/* Writes nothing where nothing has changed: a full disk must not keep memory from being given back. */
static int put_back(const char *root, const char *path, const struct kept *k, struct err *err)
{
	struct kept now;
	struct err ignored;
	if (keep(root, path, &now, &ignored) == 0 && now.there == k->there && strcmp(now.text, k->text) == 0)
		return 0;
	return k->there ? replace(root, path, k->text, err) : discard(root, path, err);
}

static uint64_t crc_of(const char *text) { return crc32_update(0, bytes_str(text)); }

/* --- allocator.yaml --------------------------------------------------------------------------------- */

static bool service_enabled(const char *root)
{
	static const char *const links[] = {
		"/etc/systemd/system/multi-user.target.wants/nitro-enclaves-allocator.service",
		"/etc/systemd/system/sysinit.target.wants/nitro-enclaves-allocator.service",
		"/etc/systemd/system/basic.target.wants/nitro-enclaves-allocator.service",
	};
	for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
		char whole[ROOTED_PATH_MAX];
		struct stat st;
		if (lstat(rooted_path(root, links[i], whole), &st) == 0)   /* also when it points outside the root */
			return true;
	}
	return false;
}

void allocator_view_read(const char *root, const struct reserve_record *record, struct allocator_view *ret)
{
	struct kept k;
	struct err err;
	*ret = (struct allocator_view){ .standing = ALLOCATOR_ABSENT, .service_enabled = service_enabled(root) };
	if (keep(root, ALLOCATOR_YAML_PATH, &k, &err) < 0) {
		ret->standing = ALLOCATOR_BROKEN;
		ret->result = ALLOCATOR_BAD_LINE;
		return;
	}
	if (!k.there)
		return;
	ret->result = allocator_yaml_parse(bytes_str(k.text), &ret->yaml, &ret->line);
	if (ret->result != ALLOCATOR_OK)
		ret->standing = ALLOCATOR_BROKEN;
	else if (record != NULL && record->allocator_crc == crc_of(k.text))
		ret->standing = ALLOCATOR_OURS;
	else if (ret->yaml.memory_mib == 512 && ret->yaml.has_count && ret->yaml.cpu_count == 2)
		ret->standing = ALLOCATOR_STOCK;
	else
		ret->standing = ALLOCATOR_OTHERS;
}

void allocator_yaml_of(const struct reserve_request *q, const struct reserve_kernel *k, unsigned threads, struct allocator_yaml *ret)
{
	uint64_t kib = k->pages[HUGE_1G] * huge_kib(HUGE_1G) + k->pages[HUGE_2M] * huge_kib(HUGE_2M);
	*ret = (struct allocator_yaml){ .has_memory = true, .memory_mib = kib / 1024 };
	ret->has_pool = k->has_pool && !cpu_set_empty(&k->pool);
	if (ret->has_pool) {
		ret->pool = k->pool;
	} else {
		ret->has_count = true;
		ret->cpu_count = q->cpus > 0 ? q->cpus : q->enclaves * threads;
	}
}

static void allocator_text(const struct reserve_request *q, const struct reserve_kernel *k, unsigned threads, char buf[RESERVE_TEXT_MAX])
{
	struct allocator_yaml y;
	struct writer w = writer_of(buf, RESERVE_TEXT_MAX - 1);
	allocator_yaml_of(q, k, threads, &y);
	allocator_yaml_put(&w, &y);
	buf[writer_bytes(&w).n] = '\0';
}

/* --- lock, journal, record ---------------------------------------------------------------------------- */

int reserve_lock(const struct reserve_host *h, int *ret_fd, struct err *err)
{
	char whole[ROOTED_PATH_MAX];
	int r = make_path_to(rooted_path(h->root, RESERVE_LOCK_PATH, whole), 0755, err);
	if (r < 0)
		return r;
	CLEANUP(close_fd) int fd = open(rooted_path(h->root, RESERVE_LOCK_PATH, whole), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fail(err, errno, "open %s", whole);
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		return fail(err, errno, errno == EWOULDBLOCK ? "another reserve or release is at work (it holds %s)" : "lock %s", whole);
	*ret_fd = fd_steal(&fd);
	return 0;
}

static void new_id(char id[RESERVE_ID_MAX]) { snprintf(id, RESERVE_ID_MAX, "%lld-%ld", (long long)clock_wall_ms(), (long)getpid()); }

static void boot_id(const char *root, char id[RESERVE_ID_MAX])
{
	if (small_file_read(root, "/proc/sys/kernel/random/boot_id", id, RESERVE_ID_MAX) != 0)
		strcpy(id, "unknown");
}

static int write_journal(const struct reserve_host *h, const struct reserve_journal *j, struct err *err)
{
	char text[RESERVE_TEXT_MAX];
	struct writer w = writer_of(text, sizeof text - 1);
	reserve_journal_put(&w, j);
	text[writer_bytes(&w).n] = '\0';
	return replace(h->root, RESERVE_JOURNAL_PATH, text, err);
}

static int write_record(const struct reserve_host *h, const struct reserve_record *r, struct err *err)
{
	char text[RESERVE_TEXT_MAX];
	struct writer w = writer_of(text, sizeof text - 1);
	reserve_record_put(&w, r);
	text[writer_bytes(&w).n] = '\0';
	return replace(h->root, RESERVE_RECORD_PATH, text, err);
}

/* The record first: once it is the old one, a kill in between leads the next run to put the kernel's state back as well.
 * ret and err are those of what failed first; where undoing fails too, the journal stays for the next run. */
static int undo(const struct reserve_host *h, const struct reserve_kernel *former, const struct kept *record, const struct kept *allocator,
                int ret, struct err *err)
{
	struct err why;
	int r = record != NULL ? put_back(h->root, RESERVE_RECORD_PATH, record, &why) : 0;
	if (r == 0 && allocator != NULL)
		r = put_back(h->root, ALLOCATOR_YAML_PATH, allocator, &why);
	if (r == 0)
		r = reserve_kernel_restore(h, former, &why);
	if (r == 0)
		r = discard(h->root, RESERVE_JOURNAL_PATH, &why);
	if (r < 0) {
		size_t n = strlen(err->text);
		snprintf(err->text + n, sizeof err->text - n, "; and putting back what was there failed too (%s); run it again, it continues there", why.text);
	}
	return ret;
}

/* --- reserve --------------------------------------------------------------------------------------------- */

/* The allocator.yaml to keep for release: the last one that was not ours. */
static int back_up(const struct reserve_host *h, const struct kept *allocator, const struct reserve_record *old, struct reserve_record *rec, struct err *err)
{
	bool ours = old != NULL && allocator->there && old->allocator_crc == crc_of(allocator->text);
	rec->had_allocator = ours ? old->had_allocator : allocator->there;
	return ours || !allocator->there ? 0 : replace(h->root, RESERVE_BACKUP_PATH, allocator->text, err);
}

int reserve_apply(const struct reserve_host *h, const struct reserve_request *q, const struct reserve_plan *p, unsigned threads,
                  bool keep_allocator, struct reserve_record *ret, struct err *err)
{
	struct reserve_record old, rec = { .request = *q };
	struct reserve_journal j = { .release = false };
	struct kept old_record, allocator;
	bool had;
	char text[RESERVE_TEXT_MAX];
	int r = reserve_record_load(h->root, &old, &had, err);
	if (r == 0)
		r = keep(h->root, RESERVE_RECORD_PATH, &old_record, err);
	if (r == 0)
		r = keep(h->root, ALLOCATOR_YAML_PATH, &allocator, err);
	if (r == 0)
		r = reserve_kernel_read(h, p->node, &j.former, err);
	if (r < 0)
		return r;
	j.former.has_pool = j.former.has_pool && p->sets_pool;
	new_id(rec.id);
	strcpy(j.id, rec.id);
	boot_id(h->root, rec.boot);
	rec.taken = (struct reserve_kernel){ .node = p->node, .has_pool = p->sets_pool, .pool = p->pool };
	memcpy(rec.taken.pages, p->pages, sizeof rec.taken.pages);
	rec.before = had && strcmp(old.boot, rec.boot) == 0 && old.before.node == p->node ? old.before : j.former;

	r = write_journal(h, &j, err);
	if (r < 0)
		return undo(h, &j.former, NULL, NULL, r, err);   /* its rename may have been seen */
	r = reserve_kernel_apply(h, &rec.taken, p->host_reserve_kib, p->may_split, err);
	if (r == 0 && !keep_allocator)
		r = back_up(h, &allocator, had ? &old : NULL, &rec, err);
	else if (had)
		rec.had_allocator = old.had_allocator;
	allocator_text(q, &rec.taken, threads, text);
	rec.allocator_crc = crc_of(text);
	rec.replaced_crc = !allocator.there ? 0 : had && strcmp(allocator.text, text) == 0 ? old.replaced_crc : crc_of(allocator.text);
	if (r < 0)
		return undo(h, &j.former, NULL, NULL, r, err);
	r = write_record(h, &rec, err);
	if (r == 0 && !keep_allocator)
		r = replace(h->root, ALLOCATOR_YAML_PATH, text, err);
	if (r < 0)
		return undo(h, &j.former, &old_record, &allocator, r, err);
	struct err ignored;                      /* the next run finds it finished */
	(void)discard(h->root, RESERVE_JOURNAL_PATH, &ignored);
	*ret = rec;
	return 0;
}

/* --- release ---------------------------------------------------------------------------------------------- */

/* Puts back the allocator.yaml of before, if the present one is still ours. */
static int give_back_allocator(const struct reserve_host *h, const struct reserve_record *rec, struct err *err)
{
	struct kept now, before;
	int r = keep(h->root, ALLOCATOR_YAML_PATH, &now, err);
	if (r == 0)
		r = keep(h->root, RESERVE_BACKUP_PATH, &before, err);
	if (r < 0 || !now.there || crc_of(now.text) != rec->allocator_crc)
		return r;
	if (rec->had_allocator && !before.there)
		return 0;                        /* ours is better than none where there was one */
	return rec->had_allocator ? replace(h->root, ALLOCATOR_YAML_PATH, before.text, err) : discard(h->root, ALLOCATOR_YAML_PATH, err);
}

static int check_unused(const struct reserve_host *h, const struct reserve_kernel *to, struct err *err)
{
	for (enum huge_size s = 0; s < HUGE_SIZES; s++) {
		struct huge_pool p;
		hugepages_read(h->root, to->node, s, &p);
		uint64_t used = p.total > p.free ? p.total - p.free : 0;
		if (used > to->pages[s])
			return fail(err, EBUSY, "%llu pages of %s on node %d are in use; stop the enclave that has them first (tee-rex stop, nitro-cli terminate-enclave)",
			            (unsigned long long)used, huge_name(s), to->node);
	}
	return 0;
}

int reserve_release(const struct reserve_host *h, struct err *err)
{
	struct reserve_record rec;
	struct reserve_journal j = { .release = true };
	struct kept old_record, allocator;
	char now[RESERVE_ID_MAX];
	bool had;
	int r = reserve_record_load(h->root, &rec, &had, err);
	if (r == 0 && !had)
		return fail(err, ENOENT, "nothing is reserved by tee-rex (there is no %s%s)", h->root, RESERVE_RECORD_PATH);
	if (r == 0)
		r = keep(h->root, RESERVE_RECORD_PATH, &old_record, err);
	if (r == 0)
		r = keep(h->root, ALLOCATOR_YAML_PATH, &allocator, err);
	if (r == 0)
		r = reserve_kernel_read(h, rec.taken.node, &j.former, err);
	if (r < 0)
		return r;
	struct reserve_kernel to = rec.before;
	boot_id(h->root, now);
	if (strcmp(rec.boot, now) != 0)          /* not reserved since the reboot: what is there is not ours */
		to = j.former;
	to.has_pool = j.former.has_pool = j.former.has_pool && rec.taken.has_pool && to.has_pool;
	r = check_unused(h, &to, err);
	if (r < 0)
		return r;
	snprintf(j.id, sizeof j.id, "%s", rec.id);
	r = write_journal(h, &j, err);
	if (r < 0)
		return undo(h, &j.former, NULL, NULL, r, err);
	r = reserve_kernel_restore(h, &to, err);
	if (r == 0)
		r = give_back_allocator(h, &rec, err);
	if (r == 0)
		r = discard(h->root, RESERVE_RECORD_PATH, err);
	if (r < 0)
		return undo(h, &j.former, &old_record, &allocator, r, err);
	struct err ignored;
	(void)discard(h->root, RESERVE_BACKUP_PATH, &ignored);
	(void)discard(h->root, RESERVE_JOURNAL_PATH, &ignored);
	return 0;
}

/* --- after a kill ------------------------------------------------------------------------------------------- */

/* allocator.yaml as the record wants it, if what is there is what ours was to replace or had replaced. */
static int finish_allocator(const struct reserve_host *h, const struct reserve_record *rec, struct err *err)
{
	struct kept now, before;
	char text[RESERVE_TEXT_MAX];
	int r = keep(h->root, ALLOCATOR_YAML_PATH, &now, err);
	if (r == 0)
		r = keep(h->root, RESERVE_BACKUP_PATH, &before, err);
	bool replaced = now.there && crc_of(now.text) == rec->replaced_crc;
	bool put_back = rec->had_allocator && before.there && strcmp(now.text, before.text) == 0;
	if (r < 0 || (now.there && !replaced && !put_back))
		return r;
	struct host_state *state = calloc(1, sizeof *state);
	if (state == NULL)
		return fail(err, ENOMEM, "read the state of the host");
	r = host_state_read(h->root, state, err);
	if (r == 0) {
		allocator_text(&rec->request, &rec->taken, state->threads, text);
		r = crc_of(text) == rec->allocator_crc ? replace(h->root, ALLOCATOR_YAML_PATH, text, err) : 0;
	}
	free(state);
	return r;
}

int reserve_recover(const struct reserve_host *h, bool *ret_found, struct err *err)
{
	struct reserve_journal j;
	struct reserve_record rec;
	struct kept journal;
	bool had;
	*ret_found = false;
	int r = keep(h->root, RESERVE_JOURNAL_PATH, &journal, err);
	if (r < 0 || !journal.there)
		return r;
	*ret_found = true;
	if (!reserve_journal_parse(bytes_str(journal.text), &j))
		return fail(err, EINVAL, "%s%s is damaged: see what is reserved (tee-rex plan), remove it, and run this again", h->root, RESERVE_JOURNAL_PATH);
	r = reserve_record_load(h->root, &rec, &had, err);
	if (r < 0)
		return r;
	bool committed = j.release ? !had : had && strcmp(rec.id, j.id) == 0;
	if (!committed)
		r = reserve_kernel_restore(h, &j.former, err);
	if (r == 0 && had && (j.release || committed))
		r = finish_allocator(h, &rec, err);
	if (r == 0 && !had)
		r = discard(h->root, RESERVE_BACKUP_PATH, err);
	return r == 0 ? discard(h->root, RESERVE_JOURNAL_PATH, err) : r;
}
