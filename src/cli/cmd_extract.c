/* tee-rex extract: the sections of an enclave image as files. Their names are ours, never the image's; nothing that is
 * there is overwritten; and what a damaged image left behind is removed again. */
#include "base/cleanup.h"
#include "base/options.h"
#include "cli/commands.h"
#include "image/eif_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct extract_args { const char *directory; };

static const struct option_spec options[] = {
	{ 'd', "directory", OPT_STRING, offsetof(struct extract_args, directory), "DIR", "where the files go; made when missing" },
	OPTIONS_HELP,
	OPTIONS_END
};

struct extraction {
	struct eif_sink sink;
	const struct eif_file *file;
	const char *directory;
	int dir_fd, fd;                          /* fd: of the section being written, or -1 */
	size_t made;                             /* sections that have a file */
};

static void section_file(const struct eif *e, size_t section, char name[32])
{
	size_t ramdisk = 0;
	for (size_t i = 0; i < section; i++)
		ramdisk += e->section[i].type == EIF_RAMDISK;
	switch (e->section[section].type) {
	case EIF_RAMDISK: snprintf(name, 32, "ramdisk-%zu", ramdisk); break;
	case EIF_SIGNATURE: snprintf(name, 32, "signature.cbor"); break;
	case EIF_METADATA: snprintf(name, 32, "metadata.json"); break;
	default: snprintf(name, 32, "%s", eif_section_name(e->section[section].type)); break;
	}
}

static int open_section(struct extraction *x, size_t section, const char *name, struct err *err)
{
	x->fd = openat(x->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (x->fd < 0 && errno == EEXIST)
		return fail(err, EEXIST, "write %s/%s (nothing is overwritten: name a new directory)", x->directory, name);
	if (x->fd < 0)
		return fail(err, errno, "write %s/%s", x->directory, name);
	x->made = section + 1;
	return 0;
}

static int write_piece(struct eif_sink *s, size_t section, struct bytes piece, struct err *err)
{
	struct extraction *x = (struct extraction *)s;
	char name[32];
	section_file(&x->file->eif, section, name);
	int ret = x->fd < 0 ? open_section(x, section, name, err) : 0;
	if (ret == 0 && piece.n == 0 && close(fd_steal(&x->fd)) != 0)
		ret = fail(err, errno, "write %s/%s", x->directory, name);
	while (ret == 0 && piece.n > 0) {
		ssize_t n = write(x->fd, piece.p, piece.n);
		if (n > 0)
			piece = bytes_of(piece.p + n, piece.n - (size_t)n);
		else if (errno != EINTR)
			ret = fail(err, errno, "write %s/%s", x->directory, name);
	}
	return ret;
}

static void remove_all(struct extraction *x)
{
	for (size_t i = 0; i < x->made; i++) {
		char name[32];
		section_file(&x->file->eif, i, name);
		(void)unlinkat(x->dir_fd, name, 0);
	}
}

static void print_files(const struct eif *e)
{
	for (size_t i = 0; i < e->count; i++) {
		char name[32];
		section_file(e, i, name);
		printf("%-16s %llu\n", name, (unsigned long long)e->section[i].size);
	}
}

static int extract(const char *path, const char *directory, struct eif_file *f, struct err *err)
{
	struct eif_measures m;
	int ret = eif_file_open(f, path, err);
	if (ret < 0)
		return ret;
	bool made_directory = mkdir(directory, 0777) == 0;
	if (!made_directory && errno != EEXIST)
		return fail(err, errno, "make the directory %s", directory);
	struct extraction x = { { write_piece }, f, directory, open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), -1, 0 };
	if (x.dir_fd < 0)
		return fail(err, errno, "open the directory %s", directory);
	ret = eif_file_stream(f, &x.sink, &m, err);
	if (ret == 0 && !m.crc_ok)
		ret = eif_file_refuse_crc(f, err);
	if (ret == 0)
		print_files(&f->eif);
	else
		remove_all(&x);
	close_fd(&x.fd);
	close_fd(&x.dir_fd);
	if (ret < 0 && made_directory)
		(void)rmdir(directory);
	return ret;
}

int extract_main(int argc, char **argv)
{
	struct extract_args a = { 0 };
	struct eif_file f = EIF_FILE_NONE;
	const char *path = NULL;
	size_t n;
	struct err err;
	enum option_result parsed = options_parse(options, &a, argc, argv, &path, 1, &n, &err);
	if (parsed == OPTIONS_WANT_HELP) {
		options_help(stdout, "extract", "IMAGE -d DIR", "Writes the sections of an enclave image to files: kernel, cmdline, metadata.json,\n"
		             "ramdisk-0 …, signature.cbor. Prints their names and sizes.", options);
		return 0;
	}
	if (parsed == OPTIONS_OK && (n != 1 || a.directory == NULL)) {
		fail(&err, 0, n != 1 ? "which image? tee-rex extract IMAGE -d DIR" : "where to? tee-rex extract IMAGE -d DIR");
		parsed = OPTIONS_USAGE;
	}
	if (parsed != OPTIONS_OK) {
		fprintf(stderr, "tee-rex extract: %s\n", err.text);
		return 2;
	}
	int ret = extract(path, a.directory, &f, &err);
	eif_file_close(&f);
	if (ret < 0)
		fprintf(stderr, "tee-rex extract: %s%s\n", ret == -EBADMSG ? "refused: " : "", err.text);
	return ret < 0 ? 1 : 0;
}
