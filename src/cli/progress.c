#include "cli/progress.h"

#include "base/clock.h"

#include <stdio.h>

enum { REDRAW_MS = 200 };

void progress_start(struct progress *p)
{
	p->started_ms = clock_monotonic_ms();
	p->sent_ms = p->shown_ms = 0;
	p->width = 0;
}

static void draw(struct progress *p, const char *text, int n)
{
	fprintf(stderr, "\r%s%*s", text, n < (int)p->width ? (int)p->width - n : 0, "");
	fflush(stderr);
	p->width = n < 0 ? 0 : (unsigned)n;
}

void progress_sending(struct progress *p, uint64_t sent, uint64_t total)
{
	int64_t now = clock_monotonic_ms();
	char text[100];
	bool all = sent >= total;
	if (!p->on || (now - p->shown_ms < REDRAW_MS && !(all && p->sent_ms == 0)))
		return;
	if (all && p->sent_ms == 0)
		p->sent_ms = now;
	p->shown_ms = now;
	double seconds = (double)(now - p->started_ms + 1) / 1000, mb = (double)sent / 1e6;
	int n = all ? snprintf(text, sizeof text, "proving: %.0f s", (double)(now - p->sent_ms) / 1000)
		    : snprintf(text, sizeof text, "sending: %.1f of %.1f MB, %.1f MB/s", mb, (double)total / 1e6, mb / seconds);
	draw(p, text, n);
}

void progress_end(struct progress *p)
{
	if (p->on && p->width > 0)
		fprintf(stderr, "\r%*s\r", (int)p->width, "");
	p->width = 0;
}
