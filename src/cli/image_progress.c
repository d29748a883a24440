#include "cli/image_progress.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { REDRAW_MS = 200 };

static void draw(struct image_progress_line *l, size_t layers, uint64_t total)
{
	char text[160], layer[48] = "", of[40] = "", rate[40] = "";
	int64_t ms = l->shown_ms - l->started_ms;
	if (layers > 0)
		snprintf(layer, sizeof layer, "layer %zu of %zu, ", l->layer, layers);
	if (total != 0)
		snprintf(of, sizeof of, " of %.1f", (double)total / 1e6);
	/* a few milliseconds tell nothing of a rate */
	if (ms >= REDRAW_MS / 2)
		snprintf(rate, sizeof rate, ", %.1f MB/s", (double)(l->earlier + l->done) / 1e3 / (double)ms);
	int n = snprintf(text, sizeof text, "%s: %s%.1f%s MB%s", l->what, layer, (double)l->done / 1e6, of, rate);
	fprintf(stderr, "\r%s%*s", text, n < (int)l->width ? (int)l->width - n : 0, "");
	fflush(stderr);
	l->width = n < 0 ? 0 : (unsigned)n;
}

static void update(struct image_progress *p, const char *what, size_t layer, size_t layers, uint64_t done, uint64_t total)
{
	struct image_progress_line *l = (struct image_progress_line *)(void *)p;
	int64_t now = clock_monotonic_ms();
	bool other = l->what == NULL || strcmp(what, l->what) != 0;
	if (other) {
		l->started_ms = now;
		l->earlier = l->done = 0;
	} else if (layer != l->layer || done < l->done) {
		l->earlier += l->done;
	}
	l->what = what;
	l->layer = layer;
	l->done = done;
	if (!other && now - l->shown_ms < REDRAW_MS)
		return;
	l->shown_ms = now;
	draw(l, layers, total);
}

struct image_progress *image_progress_start(struct image_progress_line *l)
{
	memset(l, 0, sizeof *l);
	l->progress.update = update;
	return isatty(STDERR_FILENO) ? &l->progress : NULL;
}

void image_progress_end(struct image_progress_line *l)
{
	if (l->width > 0)
		fprintf(stderr, "\r%*s\r", (int)l->width, "");
	l->width = 0;
}
