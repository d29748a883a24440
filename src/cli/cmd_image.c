/* tee-rex image: looks at images. "ls" lists what an enclave made from one would hold: the final tree with the digest of
 * every file, and the configuration with its names looked up. Reads each layer once and writes nothing to disk. */
#include "base/text.h"
#include "cli/commands.h"
#include "cli/image_args.h"
#include "cli/image_progress.h"
#include "cli/image_print.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <stdio.h>

struct ls_args { struct image_args image; bool json; };

static const struct option_spec options[] = {
	{ 0, "json", OPT_FLAG, offsetof(struct ls_args, json), NULL, "print one JSON object" },
	IMAGE_OPTIONS(ls_args, image),
	OPTIONS_HELP,
	OPTIONS_END
};

enum { DIGEST_MEMORY = 4 << 20, DIGESTS_BETWEEN_TRIMS = 32768 };

/* --- digests of files, made while the layers are read --------------------------------------------------- */

static enum image_code begin(struct content_sink *s, uint32_t inode, struct err *err)
{
	struct file_digests *d = (struct file_digests *)(void *)s;
	uint32_t at;
	if (inode % DIGESTS_BETWEEN_TRIMS == 0)
		slab_trim(&d->slab);
	while (d->slab.count <= inode) {
		enum image_code c = slab_append(&d->slab, 1, &at, err);
		if (c != IMAGE_OK)
			return c;
	}
	d->inode = inode;
	d->hash = hash_new(HASH_SHA256);
	return d->hash != NULL ? IMAGE_OK : image_fail(err, IMAGE_IO, ENOMEM, "hash a file");
}

static enum image_code data(struct content_sink *s, struct bytes piece, struct err *err)
{
	(void)err;
	hash_update(((struct file_digests *)(void *)s)->hash, piece);
	return IMAGE_OK;
}

static enum image_code end(struct content_sink *s, struct err *err)
{
	struct file_digests *d = (struct file_digests *)(void *)s;
	bool done = hash_peek(d->hash, slab_at(&d->slab, d->inode));
	hash_free(d->hash);
	d->hash = NULL;
	return done ? IMAGE_OK : image_fail(err, IMAGE_IO, 0, "hash a file");
}

static void digests_open(struct file_digests *d)
{
	*d = (struct file_digests){ .sink = { begin, data, end } };
	slab_pool_init(&d->pool, DIGEST_MEMORY, NULL);
	slab_init(&d->slab, &d->pool, SHA256_SIZE);
}

static void digests_close(struct file_digests *d)
{
	hash_free(d->hash);
	slab_close(&d->slab);
	slab_pool_close(&d->pool);
}

/* -------------------------------------------------------------------------------------------------------- */

static enum image_code list(const char *spec, struct source_options *o, const struct rootfs_limits *limits, bool json,
                            struct err *err)
{
	struct image_progress_line line;
	static struct file_digests digests;
	struct source *source = NULL;
	struct rootfs *rootfs = NULL;
	o->progress = image_progress_start(&line);
	digests_open(&digests);
	enum image_code c = source_open(spec, o, &source, err);
	if (c == IMAGE_OK)
		c = rootfs_scan(source, limits, &digests.sink, &rootfs, err);
	if (c == IMAGE_OK)
		c = rootfs_resolve_user(rootfs, source->config.user, &source->config.resolved_user, err);
	image_progress_end(&line);
	if (c == IMAGE_OK) {
		if (json)
			image_print_json(stdout, rootfs, &digests);
		else
			image_print_text(stdout, rootfs, &digests);
		if (!json)
			image_print_warnings(stderr, rootfs);
		if (fflush(stdout) != 0)
			c = image_fail(err, IMAGE_IO, errno, "write to standard output");
	}
	rootfs_close(rootfs);
	source_close(source);
	digests_close(&digests);
	return c;
}

static int ls_main(int argc, char **argv)
{
	struct ls_args a = { .image = IMAGE_ARGS };
	struct source_options source;
	struct rootfs_limits limits;
	const char *spec[1];
	struct err err;
	size_t n;
	enum option_result r = options_parse(options, &a, argc, argv, spec, 1, &n, &err);
	if (r == OPTIONS_WANT_HELP) {
		options_help(stdout, "image ls", "SOURCE [OPTIONS]", "Lists the files and the configuration of an image. SOURCE is a "
		             "directory, an OCI layout,\nan OCI or docker archive (- for standard input), or REGISTRY/REPOSITORY[:TAG][@DIGEST].",
		             options);
		return 0;
	}
	if (r == OPTIONS_OK && n != 1) {
		fail(&err, 0, "one argument is wanted: SOURCE");
		r = OPTIONS_USAGE;
	}
	if (r == OPTIONS_OK && !image_args_take(&a.image, &source, &limits, &err))
		r = OPTIONS_USAGE;
	if (r == OPTIONS_USAGE) {
		fprintf(stderr, "tee-rex image ls: %s\n", err.text);
		return 2;
	}
	enum image_code c = list(spec[0], &source, &limits, a.json, &err);
	if (c == IMAGE_OK)
		return 0;
	if (a.json)
		image_print_error(stdout, c, &err);
	fprintf(stderr, "tee-rex image ls: %s: %s\n", image_code_name(c), err.text);
	return 1;
}

static const struct { const char *name; int (*main)(int argc, char **argv); const char *about; } actions[] = {
	{ "ls", ls_main, "list the files and the configuration" },
};
enum { ACTION_COUNT = sizeof actions / sizeof actions[0] };

static void help(FILE *to)
{
	fprintf(to, "Usage: tee-rex image ACTION [OPTIONS]\n\nLooks at container images.\n\nActions:\n");
	for (size_t i = 0; i < ACTION_COUNT; i++)
		fprintf(to, "  %-10s %s\n", actions[i].name, actions[i].about);
	fprintf(to, "\ntee-rex image ACTION --help says more about each.\n");
}

int image_main(int argc, char **argv)
{
	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		help(stdout);
		return 0;
	}
	for (size_t i = 0; i < ACTION_COUNT && argc >= 2; i++)
		if (strcmp(argv[1], actions[i].name) == 0)
			return actions[i].main(argc - 1, argv + 1);
	help(stderr);
	return 2;
}
