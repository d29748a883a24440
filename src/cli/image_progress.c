#include "cli/image_progress.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { REDRAW_MS = 200 };

static void update(struct image_progress *p, const char *what, size_t layer, size_t layers, uint64_t done, uint64_t total)
{
	struct image_progress_line *l = (struct image_progress_line *)(void *)p;
	char text[120], of[40] = "";
	if (what != l->what || layer != l->layer || done < l->done)
		l->earlier += l->done;
	l->what = what;
	l->layer = layer;
	l->done = done;
	int64_t now = clock_monotonic_ms();
	if (now - l->shown_ms < REDRAW_MS)
		return;
	l->shown_ms = now;
	double seconds = (double)(now - l->started_ms + 1) / 1000;
	if (total != 0 && total != UINT64_MAX)
		snprintf(of, sizeof of, " of %.1f", (double)total / 1e6);
	int n = layers > 0 ? snprintf(text, sizeof text, "%s: layer %zu of %zu, %.1f%s MB, %.1f MB/s", what, layer, layers,
	                              (double)done / 1e6, of, (double)(l->earlier + done) / 1e6 / seconds)
	                   : snprintf(text, sizeof text, "%s: %.1f%s MB", what, (double)done / 1e6, of);
	fprintf(stderr, "\r%s%*s", text, n < (int)l->width ? (int)l->width - n : 0, "");
	fflush(stderr);
	l->width = n < 0 ? 0 : (unsigned)n;
}

struct image_progress *image_progress_start(struct image_progress_line *l)
{
	memset(l, 0, sizeof *l);
	l->progress.update = update;
	l->started_ms = l->shown_ms = clock_monotonic_ms();
	return isatty(STDERR_FILENO) ? &l->progress : NULL;
}

void image_progress_end(struct image_progress_line *l)
{
	if (l->width > 0)
		fprintf(stderr, "\r%*s\r", (int)l->width, "");
	l->width = 0;
}
