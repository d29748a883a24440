/* Runs a fuzz target over files: every argument is a file or a directory of files. Prints how
 * many it ran; fails when there was none, so an empty corpus cannot pass for a tested one. */
#include "base/cleanup.h"

#include <dirent.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long ran;

static int run_file(const char *path)
{
	CLEANUP(close_file) FILE *f = fopen(path, "rb");
	if (f == NULL) {
		perror(path);
		return 1;
	}
	size_t cap = 4 << 20;
	CLEANUP(free_ptr) uint8_t *whole = malloc(cap);
	size_t n = whole == NULL ? 0 : fread(whole, 1, cap, f);
	/* an exact copy, so that the sanitizer sees a read past the end */
	CLEANUP(free_ptr) uint8_t *exact = malloc(n == 0 ? 1 : n);
	if (whole == NULL || exact == NULL)
		return 1;
	memcpy(exact, whole, n);
	LLVMFuzzerTestOneInput(exact, n);
	ran++;
	return 0;
}

static int run_path(const char *path)
{
	CLEANUP(close_dir) DIR *d = opendir(path);
	if (d == NULL)
		return run_file(path);
	int bad = 0;
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		char file[4096];
		if (e->d_name[0] == '.')
			continue;
		if (snprintf(file, sizeof file, "%s/%s", path, e->d_name) >= (int)sizeof file)
			return 1;
		bad |= run_file(file);
	}
	return bad;
}

int main(int argc, char **argv)
{
	int bad = argc < 2;
	for (int i = 1; i < argc; i++)
		bad |= run_path(argv[i]);
	printf("%lu inputs\n", ran);
	return bad || ran == 0 ? 1 : 0;
}
