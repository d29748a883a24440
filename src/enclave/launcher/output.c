#include "enclave/launcher/output.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "enclave/launcher/unsafe.h"

/* What libstdc++ and libc say when memory or a thread's stack cannot be had. */
static const char *const messages[] = { "bad_alloc", "Cannot allocate memory", "Resource temporarily unavailable" };

static void log_line(struct output *o)
{
	char shown[2 * OUTPUT_LOG_LINE];
	if (o->line_n > 0)
		log_info("slot %u: job output: %s", o->slot, text_escape(bytes_of(o->line, o->line_n), shown, sizeof shown));
	o->line_n = 0;
}

static void log_piece(struct output *o, struct bytes piece)
{
	for (size_t i = 0; i < piece.n && o->log_bytes > 0; i++, o->log_bytes--) {
		if (piece.p[i] == '\n' || o->line_n == sizeof o->line)
			log_line(o);
		if (piece.p[i] != '\n')
			o->line[o->line_n++] = piece.p[i];
	}
	if (o->log_bytes == 0)
		log_line(o);
}

void output_scan(struct output *o, struct bytes piece)
{
	uint8_t joined[OUTPUT_TAIL + OUTPUT_CHUNK];

	log_piece(o, piece);
	if (o->said_no_memory || piece.n > OUTPUT_CHUNK)
		return;
	memcpy(joined, o->tail, o->tail_n);
	memcpy(joined + o->tail_n, piece.p, piece.n);
	size_t n = o->tail_n + piece.n;
	for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
		if (memmem(joined, n, messages[i], strlen(messages[i])) != NULL)
			o->said_no_memory = true;
	o->tail_n = n < OUTPUT_TAIL ? n : OUTPUT_TAIL;
	memcpy(o->tail, joined + n - o->tail_n, o->tail_n);
	explicit_bzero(joined, n);
}

enum piece { PIECE_READ, PIECE_NONE_NOW, PIECE_END };

static enum piece read_piece(struct output *o)
{
	uint8_t piece[OUTPUT_CHUNK];
	ssize_t n = read(o->fd, piece, sizeof piece);
	if (n > 0)
		output_scan(o, bytes_of(piece, (size_t)n));
	if (n > 0)                               /* what a job prints must not outlive it on our stack */
		explicit_bzero(piece, (size_t)n);
	if (n > 0 || (n < 0 && errno == EINTR))
		return PIECE_READ;
	return n < 0 && errno == EAGAIN ? PIECE_NONE_NOW : PIECE_END;
}

static void on_output(struct watch *w, uint32_t events)
{
	struct output *o = CONTAINER_OF(w, struct output, watch);
	(void)events;
	/* one piece a turn: a job that never stops writing must not keep the loop to itself */
	if (read_piece(o) == PIECE_END)
		loop_del(o->loop, w);
}

int output_start(struct output *o, struct loop *l, int fd, unsigned slot, uint32_t log_bytes)
{
	*o = (struct output){
		.loop = l, .watch = { .fd = -1, .on_event = on_output }, .fd = fd, .slot = slot, .log_bytes = guard_off("output") ? UINT32_MAX : log_bytes,
	};
	int bad = loop_add(l, &o->watch, fd, EPOLLIN);
	if (bad != 0)
		o->fd = -1;
	return bad;
}

void output_drain(struct output *o)
{
	/* a pipe holds little; the bound is for a writer that is not dead after all */
	for (int pieces = 0; o->fd >= 0 && pieces < 1024 && read_piece(o) == PIECE_READ; pieces++)
		;
}

void output_stop(struct output *o)
{
	if (o->fd < 0)
		return;
	loop_del(o->loop, &o->watch);
	close_fd(&o->fd);
	log_line(o);
	explicit_bzero(o->line, sizeof o->line);
	explicit_bzero(o->tail, sizeof o->tail);
	o->tail_n = 0;
}
