/* Three steps. Contents: each file's blocks go through the pool, small files are gathered into shared blocks; what became of
 * them is noted beside the tree. Numbers: a walk gives each inode its number. Records: a walk that ends with the root writes
 * each directory after what is in it, because a listing says where the inodes are. */
#include "image/squashfs.h"

#include "base/cleanup.h"

#include <sys/stat.h>

#define WRITTEN (UINT64_C(1) << 63)                     /* in tree_inode.user: the rest is its reference */
#define FIRST_BLOCK (UINT64_C(1) << 63)                 /* in a job's tag */

/* Where a file's contents are; tree_inode.user is its number until the inode is written. */
struct placed {
	uint64_t start;
	uint32_t first_block;                /* in blocks */
	uint32_t fragment, offset;
	uint32_t spare[3];
};
_Static_assert(sizeof(struct placed) == 32, "divides a segment");
struct fragment { uint64_t start; uint32_t size, spare; };
struct attributed { uint64_t reference; uint32_t inode, count, size, spare[3]; };     /* in rising order of numbers */
_Static_assert(sizeof(struct attributed) == 32, "divides a segment");

struct squashfs {
	struct content_sink sink;
	struct block_consumer consumer;
	struct rootfs *rootfs;               /* borrowed, as are tree and out */
	struct tree *tree;
	struct spool *out;
	struct block_pool *pool;
	struct slab placed, blocks, fragments, attributed;
	uint32_t steps;                      /* since resident pages of what was spilled were let go of */
	/* the file that is being read */
	uint32_t file;                       /* in placed */
	uint64_t left;
	bool small, started;
	struct block_job *job;
	uint8_t *gathered;                   /* owned; small files, until they fill a block */
	size_t gathered_n;
	/* records */
	uint32_t *id, id_count;              /* owned */
	struct metadata_stream inodes, directories, table;
	struct spool listings;
	struct squashfs_super super;
};

enum { STEPS_BETWEEN_TRIMS = 8192 };

/* As tree_breathe(), for what is noted beside the tree. */
static void breathe(struct squashfs *s)
{
	tree_breathe(s->tree);
	if (s->tree->pool.spilled == 0 || ++s->steps < STEPS_BETWEEN_TRIMS)
		return;
	s->steps = 0;
	slab_trim(&s->placed);
	slab_trim(&s->blocks);
	slab_trim(&s->fragments);
	slab_trim(&s->attributed);
}

static struct placed *placed(struct squashfs *s, uint32_t i) { return slab_at(&s->placed, i); }

/* --- contents ---------------------------------------------------------------------------------------------- */

static enum image_code take_block(struct block_consumer *c, const struct block_job *job, struct err *err)
{
	struct squashfs *s = (struct squashfs *)(void *)((char *)c - offsetof(struct squashfs, consumer));
	uint32_t size = (uint32_t)job->result.n | (job->stored ? (uint32_t)SQUASHFS_BLOCK_STORED : 0);
	uint32_t at = (uint32_t)job->tag[1];
	if (job->tag[0] == 0) {
		*(struct fragment *)slab_at(&s->fragments, at) = (struct fragment){ .start = s->out->at, .size = size };
	} else {
		if (job->tag[1] & FIRST_BLOCK)
			placed(s, (uint32_t)job->tag[0])->start = s->out->at;
		*(uint32_t *)slab_at(&s->blocks, at) = size;
	}
	return spool_put(s->out, job->result, err);
}

static enum image_code submit(struct squashfs *s, struct block_job *job, uint64_t file, uint64_t at)
{
	job->tag[0] = file;
	job->tag[1] = at;
	block_pool_submit(s->pool, job);
	return IMAGE_OK;
}

static enum image_code end_gathered(struct squashfs *s, struct err *err)
{
	enum image_code c;
	uint32_t at;
	if (s->gathered_n == 0)
		return IMAGE_OK;
	struct block_job *job = block_pool_next(s->pool, &c, err);
	if (job == NULL || (c = slab_append(&s->fragments, 1, &at, err)) != IMAGE_OK)
		return c;
	memcpy(job->in, s->gathered, s->gathered_n);
	job->in_n = s->gathered_n;
	s->gathered_n = 0;
	return submit(s, job, 0, at);
}

static enum image_code begin(struct content_sink *sink, uint32_t inode, struct err *err)
{
	struct squashfs *s = (struct squashfs *)(void *)sink;
	struct tree_inode *i = tree_inode(s->tree, inode);
	breathe(s);
	enum image_code c = slab_append(&s->placed, 1, &s->file, err);
	if (c != IMAGE_OK)
		return c;
	i->user = s->file;
	s->left = i->size;
	s->small = i->size < SQUASHFS_BLOCK;
	s->started = false;
	s->job = NULL;
	if (s->small && i->size > SQUASHFS_BLOCK - s->gathered_n)
		c = end_gathered(s, err);
	/* the fragment that is being gathered gets the next number */
	*placed(s, s->file) = (struct placed){ .first_block = s->blocks.count, .offset = s->small ? (uint32_t)s->gathered_n : 0,
		.fragment = s->small ? s->fragments.count : SQUASHFS_NONE };
	return c;
}

static bool all_zero(const uint8_t *p, size_t n) { return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0; }

static enum image_code end_block(struct squashfs *s, struct err *err)
{
	uint32_t at;
	struct block_job *job = s->job;
	enum image_code c = slab_append(&s->blocks, 1, &at, err);
	s->job = NULL;
	if (c != IMAGE_OK)
		return c;
	/* a block of zeros takes no place: its size stays 0, and the job is taken again */
	if (job->in_n == SQUASHFS_BLOCK && all_zero(job->in, job->in_n))
		return IMAGE_OK;
	c = submit(s, job, s->file, at | (s->started ? 0 : FIRST_BLOCK));
	s->started = true;
	return c;
}

static enum image_code data(struct content_sink *sink, struct bytes piece, struct err *err)
{
	struct squashfs *s = (struct squashfs *)(void *)sink;
	enum image_code c = IMAGE_OK;
	if (piece.n > s->left)
		return image_fail(err, IMAGE_CHANGED, 0, "the source changed while it was read: a file is longer than it was");
	s->left -= piece.n;
	if (s->small) {
		memcpy(s->gathered + s->gathered_n, piece.p, piece.n);
		s->gathered_n += piece.n;
		return c;
	}
	while (piece.n > 0 && c == IMAGE_OK) {
		if (s->job == NULL && (s->job = block_pool_next(s->pool, &c, err)) == NULL)
			break;
		size_t n = piece.n < SQUASHFS_BLOCK - s->job->in_n ? piece.n : SQUASHFS_BLOCK - s->job->in_n;
		memcpy(s->job->in + s->job->in_n, piece.p, n);
		s->job->in_n += n;
		piece = bytes_of(piece.p + n, piece.n - n);
		if (s->job->in_n == SQUASHFS_BLOCK)
			c = end_block(s, err);
	}
	return c;
}

static enum image_code end(struct content_sink *sink, struct err *err)
{
	struct squashfs *s = (struct squashfs *)(void *)sink;
	if (s->left > 0)
		return image_fail(err, IMAGE_CHANGED, 0, "the source changed while it was read: a file is shorter than it was");
	return s->job != NULL ? end_block(s, err) : IMAGE_OK;
}

static enum image_code put_contents(struct squashfs *s, struct err *err)
{
	enum image_code c = rootfs_contents(s->rootfs, &s->sink, err);
	if (c == IMAGE_OK)
		c = end_gathered(s, err);
	return c == IMAGE_OK ? block_pool_drain(s->pool, err) : c;
}

/* --- numbers ------------------------------------------------------------------------------------------------- */

static enum image_code put_numbers(struct squashfs *s, struct err *err)
{
	enum image_code c = IMAGE_OK;
	uint32_t number = 0, at;
	for (uint32_t n = TREE_ROOT; n != 0 && c == IMAGE_OK; n = tree_next(s->tree, n)) {
		struct tree_inode *i = tree_inode_of(s->tree, n);
		if (i->node != n)
			continue;
		i->number = ++number;
		if (i->xattrs == 0)
			continue;
		c = slab_append(&s->attributed, 1, &at, err);
		if (c == IMAGE_OK)
			((struct attributed *)slab_at(&s->attributed, at))->inode = tree_node(s->tree, n)->inode;
	}
	s->super.inodes = number;
	return c;
}

/* Index of an inode's attributes. */
static uint32_t xattr_index(struct squashfs *s, const struct tree_inode *i)
{
	uint32_t low = 1, high = s->attributed.count;
	if (i->xattrs == 0)
		return SQUASHFS_NONE;
	while (low + 1 < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct attributed *a = slab_at(&s->attributed, middle);
		if (tree_inode(s->tree, a->inode)->number <= i->number)
			low = middle;
		else
			high = middle;
	}
	return low - 1;
}

static enum image_code id_index(struct squashfs *s, uint32_t id, uint16_t *ret, struct err *err)
{
	uint32_t i = 0;
	while (i < s->id_count && s->id[i] != id)
		i++;
	if (i == SQUASHFS_IDS_MAX)
		return image_fail(err, IMAGE_LAYOUT_LIMIT, 0, "its files belong to more than %d users and groups; --layout plain has no such limit",
		                  SQUASHFS_IDS_MAX);
	if (i == s->id_count)
		s->id[s->id_count++] = id;
	*ret = (uint16_t)i;
	return IMAGE_OK;
}

/* --- records ------------------------------------------------------------------------------------------------- */

static enum squashfs_type type_of(uint32_t mode)
{
	return S_ISDIR(mode) ? SQUASHFS_DIRECTORY : S_ISREG(mode) ? SQUASHFS_FILE : S_ISLNK(mode) ? SQUASHFS_SYMLINK : SQUASHFS_FIFO;
}

static enum image_code put_listing_run(struct squashfs *s, const uint32_t *node, uint32_t n, uint32_t *size, struct err *err)
{
	uint8_t record[SQUASHFS_RECORD_MAX];
	const struct tree_inode *first = tree_inode_of(s->tree, node[0]);
	struct writer w = writer_of(record, sizeof record);
	squashfs_put_directory_header(&w, n, (uint32_t)((first->user & ~WRITTEN) >> 16), first->number);
	enum image_code c = metadata_put(&s->directories, writer_bytes(&w), err);
	*size += (uint32_t)w.at;
	for (uint32_t k = 0; k < n && c == IMAGE_OK; k++) {
		const struct tree_inode *i = tree_inode_of(s->tree, node[k]);
		struct bytes name = tree_name(s->tree, node[k]);
		w = writer_of(record, sizeof record);
		squashfs_put_directory_entry(&w, (uint16_t)i->user, (int16_t)((int64_t)i->number - first->number), type_of(i->mode), name.n);
		c = metadata_put(&s->directories, writer_bytes(&w), err);
		if (c == IMAGE_OK)
			c = metadata_put(&s->directories, name, err);
		*size += (uint32_t)(w.at + name.n);
	}
	return c;
}

static bool same_run(const struct tree_inode *first, const struct tree_inode *i)
{
	int64_t delta = (int64_t)i->number - first->number;
	return (first->user & ~WRITTEN) >> 16 == (i->user & ~WRITTEN) >> 16 && delta >= INT16_MIN && delta <= INT16_MAX;
}

/* What is in the directory; all of it has been written. */
static enum image_code put_listing(struct squashfs *s, uint32_t directory, uint32_t *ret_size, uint32_t *ret_subdirectories, struct err *err)
{
	uint32_t run[SQUASHFS_HEADER_ENTRIES], n = 0;
	enum image_code c = IMAGE_OK;
	*ret_size = *ret_subdirectories = 0;
	for (uint32_t child = tree_child_after(s->tree, directory, BYTES_NONE); child != 0 && c == IMAGE_OK;
	     child = tree_child_after(s->tree, directory, tree_name(s->tree, child))) {
		const struct tree_inode *i = tree_inode_of(s->tree, child);
		if (n > 0 && (n == SQUASHFS_HEADER_ENTRIES || !same_run(tree_inode_of(s->tree, run[0]), i))) {
			c = put_listing_run(s, run, n, ret_size, err);
			n = 0;
		}
		run[n++] = child;
		*ret_subdirectories += S_ISDIR(i->mode);
	}
	return c == IMAGE_OK && n > 0 ? put_listing_run(s, run, n, ret_size, err) : c;
}

static enum image_code put_block_list(struct squashfs *s, const struct placed *p, uint64_t size, struct err *err)
{
	uint8_t record[4];
	enum image_code c = IMAGE_OK;
	uint64_t n = p->fragment == SQUASHFS_NONE ? (size + SQUASHFS_BLOCK - 1) / SQUASHFS_BLOCK : 0;
	for (uint64_t k = 0; k < n && c == IMAGE_OK; k++) {
		struct writer w = writer_of(record, sizeof record);
		squashfs_put_u32(&w, *(const uint32_t *)slab_at(&s->blocks, p->first_block + (uint32_t)k));
		c = metadata_put(&s->inodes, writer_bytes(&w), err);
	}
	return c;
}

static void fill_file(struct squashfs *s, const struct tree_inode *i, struct squashfs_inode *q, struct placed *ret_placed)
{
	*ret_placed = (struct placed){ .fragment = SQUASHFS_NONE };
	if (i->size > 0)
		*ret_placed = *placed(s, (uint32_t)i->user);
	q->start = ret_placed->start;
	q->fragment = ret_placed->fragment == SQUASHFS_NONE ? SQUASHFS_NONE : ret_placed->fragment - 1;     /* element 0 of a slab is none */
	q->offset = ret_placed->offset;
}

static enum image_code fill_directory(struct squashfs *s, uint32_t node, struct squashfs_inode *q, struct err *err)
{
	uint32_t size, subdirectories;
	q->start = metadata_start(&s->directories);
	q->offset = metadata_offset(&s->directories);
	q->parent = node == TREE_ROOT ? s->super.inodes + 1 : tree_inode_of(s->tree, tree_node(s->tree, node)->parent)->number;
	enum image_code c = put_listing(s, node, &size, &subdirectories, err);
	q->size = size;
	q->links = 2 + subdirectories;
	if (size == 0)
		q->start = q->offset = 0;
	return c;
}

static enum image_code put_inode(struct squashfs *s, uint32_t node, struct err *err)
{
	uint8_t record[SQUASHFS_RECORD_MAX];
	struct writer w = writer_of(record, sizeof record);
	struct tree_inode *i = tree_inode_of(s->tree, node);
	struct placed p = { .fragment = SQUASHFS_NONE };
	struct squashfs_inode q = { .type = type_of(i->mode), .mode = i->mode & 07777, .number = i->number, .links = i->links, .size = i->size,
		.mtime = i->mtime < 0 ? 0 : i->mtime > UINT32_MAX ? UINT32_MAX : (uint32_t)i->mtime, .xattr = xattr_index(s, i), .fragment = SQUASHFS_NONE };
	breathe(s);
	enum image_code c = id_index(s, i->uid, &q.uid, err);
	if (c == IMAGE_OK)
		c = id_index(s, i->gid, &q.gid, err);
	if (c == IMAGE_OK && q.type == SQUASHFS_DIRECTORY)
		c = fill_directory(s, node, &q, err);
	if (q.type == SQUASHFS_FILE)
		fill_file(s, i, &q, &p);
	if (c != IMAGE_OK)
		return c;
	i->user = WRITTEN | squashfs_reference(metadata_start(&s->inodes), metadata_offset(&s->inodes));
	squashfs_put_inode(&w, &q);
	c = metadata_put(&s->inodes, writer_bytes(&w), err);
	if (c == IMAGE_OK && q.type == SQUASHFS_FILE)
		c = put_block_list(s, &p, i->size, err);
	if (c == IMAGE_OK && q.type == SQUASHFS_SYMLINK) {
		c = metadata_put(&s->inodes, tree_target(s->tree, tree_node(s->tree, node)->inode), err);
		w = writer_of(record, sizeof record);
		squashfs_put_symlink_end(&w, &q);
		if (c == IMAGE_OK)
			c = metadata_put(&s->inodes, writer_bytes(&w), err);
	}
	return c;
}

/* The first node below n, n included, that has nothing below it. */
static uint32_t deepest(const struct tree *t, uint32_t n)
{
	for (uint32_t child = n; child != 0; child = tree_child_after(t, n, BYTES_NONE))
		n = child;
	return n;
}

static uint32_t next_upwards(struct tree *t, uint32_t n)
{
	uint32_t parent = tree_node(t, n)->parent;
	uint32_t sibling = n == TREE_ROOT ? 0 : tree_child_after(t, parent, tree_name(t, n));
	tree_breathe(t);
	return n == TREE_ROOT ? 0 : sibling != 0 ? deepest(t, sibling) : parent;
}

struct appender { struct spool_reader reader; struct spool *to; };

static enum image_code append_listings(struct spool_reader *r, struct bytes piece, struct err *err)
{
	return spool_put(((struct appender *)(void *)r)->to, piece, err);
}

static enum image_code put_records(struct squashfs *s, struct err *err)
{
	struct appender append = { { append_listings }, s->out };
	enum image_code c = IMAGE_OK;
	s->super.inodes_at = s->out->at;
	metadata_open(&s->inodes, s->out, s->pool);
	metadata_open(&s->directories, &s->listings, s->pool);
	for (uint32_t n = deepest(s->tree, TREE_ROOT); n != 0 && c == IMAGE_OK; n = next_upwards(s->tree, n))
		if ((tree_inode_of(s->tree, n)->user & WRITTEN) == 0)
			c = put_inode(s, n, err);
	if (c == IMAGE_OK)
		c = metadata_end(&s->inodes, err);
	if (c == IMAGE_OK)
		c = metadata_end(&s->directories, err);
	if (c == IMAGE_OK)
		c = spool_flush(&s->listings, err);
	s->super.directories_at = s->out->at;
	s->super.root = tree_inode_of(s->tree, TREE_ROOT)->user & ~WRITTEN;
	return c == IMAGE_OK ? spool_read(&s->listings, &append.reader, err) : c;
}

/* --- tables: pieces of metadata, then where each of them starts ---------------------------------------------- */

typedef void table_row(struct squashfs *s, struct writer *w, uint32_t i);

static enum image_code put_table(struct squashfs *s, table_row *put_row, uint32_t count, size_t row_size, uint64_t *starts, struct err *err)
{
	uint8_t record[SQUASHFS_RECORD_MAX];
	enum image_code c = IMAGE_OK;
	metadata_open(&s->table, s->out, s->pool);
	for (uint32_t i = 0; i < count && c == IMAGE_OK; i++) {
		struct writer w = writer_of(record, sizeof record);
		if (s->table.n == 0)
			starts[i / (SQUASHFS_METADATA / row_size)] = s->out->at;
		put_row(s, &w, i);
		c = metadata_put(&s->table, writer_bytes(&w), err);
	}
	return c == IMAGE_OK ? metadata_end(&s->table, err) : c;
}

/* *ret_at: where the list of starts is. head, if not empty, comes before the list. */
static enum image_code put_lookup(struct squashfs *s, table_row *put_row, uint32_t count, size_t row_size, struct bytes head,
                                  uint64_t *ret_at, struct err *err)
{
	uint8_t record[8];
	size_t per_piece = SQUASHFS_METADATA / row_size, n = (count + per_piece - 1) / per_piece;
	CLEANUP(free_ptr) uint64_t *starts = calloc(n + 1, sizeof *starts);
	if (starts == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "write a table");
	enum image_code c = put_table(s, put_row, count, row_size, starts, err);
	*ret_at = s->out->at;
	if (c == IMAGE_OK)
		c = spool_put(s->out, head, err);
	for (size_t i = 0; i < n && c == IMAGE_OK; i++) {
		struct writer w = writer_of(record, sizeof record);
		squashfs_put_u64(&w, starts[i]);
		c = spool_put(s->out, writer_bytes(&w), err);
	}
	return c;
}

static void put_fragment_row(struct squashfs *s, struct writer *w, uint32_t i)
{
	const struct fragment *f = slab_at(&s->fragments, i + 1);
	squashfs_put_fragment(w, f->start, f->size);
}

static void put_id_row(struct squashfs *s, struct writer *w, uint32_t i) { squashfs_put_u32(w, s->id[i]); }

static void put_xattr_row(struct squashfs *s, struct writer *w, uint32_t i)
{
	const struct attributed *a = slab_at(&s->attributed, i + 1);
	squashfs_put_xattr_id(w, a->reference, a->count, a->size);
}

/* The attributes of one inode, one after another. */
static enum image_code put_pairs(struct squashfs *s, struct attributed *a, uint8_t *buf, size_t cap, struct err *err)
{
	struct reader r = tree_xattrs(s->tree, a->inode);
	struct bytes name, value;
	enum image_code c = IMAGE_OK;
	a->reference = squashfs_reference(metadata_start(&s->table), metadata_offset(&s->table));
	while (c == IMAGE_OK && tree_xattr_next(&r, &name, &value)) {
		struct writer w = writer_of(buf, cap);
		if (!squashfs_put_xattr(&w, name, value) || w.full)
			return image_fail(err, IMAGE_LAYOUT_LIMIT, 0, "an extended attribute has no place in a squashfs image");
		a->count++;
		/* the kernel counts a name with its prefix and a zero */
		a->size += (uint32_t)(name.n + 1 + value.n);
		c = metadata_put(&s->table, writer_bytes(&w), err);
	}
	return c;
}

static enum image_code put_xattrs(struct squashfs *s, struct err *err)
{
	enum { PAIR_MAX = 128 << 10 };
	uint8_t head[16];
	struct writer w = writer_of(head, sizeof head);
	CLEANUP(free_ptr) uint8_t *buf = malloc(PAIR_MAX);
	uint32_t n = s->attributed.count - 1;
	uint64_t start = s->out->at;
	enum image_code c = buf != NULL ? IMAGE_OK : image_fail(err, IMAGE_IO, ENOMEM, "write attributes");
	metadata_open(&s->table, s->out, s->pool);
	for (uint32_t i = 1; i <= n && c == IMAGE_OK; i++)
		c = put_pairs(s, slab_at(&s->attributed, i), buf, PAIR_MAX, err);
	if (c == IMAGE_OK)
		c = metadata_end(&s->table, err);
	squashfs_put_u64(&w, start);
	squashfs_put_u32(&w, n);
	squashfs_put_u32(&w, 0);
	s->super.xattrs = true;
	return c == IMAGE_OK ? put_lookup(s, put_xattr_row, n, 16, writer_bytes(&w), &s->super.xattrs_at, err) : c;
}

static enum image_code put_tables(struct squashfs *s, struct err *err)
{
	s->super.fragments = s->fragments.count - 1;
	enum image_code c = put_lookup(s, put_fragment_row, s->super.fragments, 16, BYTES_NONE, &s->super.fragments_at, err);
	s->super.ids = (uint16_t)s->id_count;
	if (c == IMAGE_OK)
		c = put_lookup(s, put_id_row, s->id_count, 4, BYTES_NONE, &s->super.ids_at, err);
	if (c == IMAGE_OK && s->attributed.count > 1)
		c = put_xattrs(s, err);
	s->super.size = s->out->at;
	return c;
}

/* --- the whole ----------------------------------------------------------------------------------------------- */

static enum image_code put_super(struct squashfs *s, struct err *err)
{
	static const uint8_t zeros[SQUASHFS_ALIGN];
	uint8_t super[SQUASHFS_SUPER_SIZE];
	struct writer w = writer_of(super, sizeof super);
	squashfs_put_super(&w, &s->super);
	enum image_code c = spool_put(s->out, bytes_of(zeros, (size_t)(-s->out->at % SQUASHFS_ALIGN)), err);
	if (c == IMAGE_OK)
		c = spool_flush(s->out, err);
	if (c == IMAGE_OK && pwrite(s->out->fd, super, w.at, 0) != (ssize_t)w.at)
		c = image_fail(err, IMAGE_IO, errno, "write a temporary file");
	return c;
}

static enum image_code write_all(struct squashfs *s, struct err *err)
{
	static const uint8_t room[SQUASHFS_SUPER_SIZE];
	enum image_code c = spool_open(&s->listings, s->rootfs->limits.spill_dir, err);
	if (c == IMAGE_OK)
		c = spool_put(s->out, BYTES_ARRAY(room), err);
	if (c == IMAGE_OK)
		c = put_contents(s, err);
	if (c == IMAGE_OK)
		c = put_numbers(s, err);
	if (c == IMAGE_OK)
		c = put_records(s, err);
	if (c == IMAGE_OK)
		c = put_tables(s, err);
	return c == IMAGE_OK ? put_super(s, err) : c;
}

static void squashfs_close(struct squashfs *s)
{
	block_pool_close(s->pool);
	slab_close(&s->placed);
	slab_close(&s->blocks);
	slab_close(&s->fragments);
	slab_close(&s->attributed);
	spool_close(&s->listings);
	free(s->gathered);
	free(s->id);
	free(s);
}

enum image_code squashfs_write(struct rootfs *r, struct spool *out, struct err *err)
{
	struct squashfs *s = calloc(1, sizeof *s);
	if (s == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "write a squashfs image");
	s->sink = (struct content_sink){ begin, data, end };
	s->consumer.take = take_block;
	s->rootfs = r;
	s->tree = r->tree;
	s->out = out;
	s->listings = SPOOL_NONE;
	slab_init(&s->placed, &r->tree->pool, sizeof(struct placed));
	slab_init(&s->blocks, &r->tree->pool, sizeof(uint32_t));
	slab_init(&s->fragments, &r->tree->pool, sizeof(struct fragment));
	slab_init(&s->attributed, &r->tree->pool, sizeof(struct attributed));
	s->gathered = malloc(SQUASHFS_BLOCK);
	s->id = malloc(SQUASHFS_IDS_MAX * sizeof *s->id);
	s->pool = block_pool_open(SQUASHFS_BLOCK, SQUASHFS_LEVEL, 0, &s->consumer);
	enum image_code c = s->gathered != NULL && s->id != NULL && s->pool != NULL ? write_all(s, err)
		: image_fail(err, IMAGE_IO, ENOMEM, "write a squashfs image");
	squashfs_close(s);
	return c;
}
