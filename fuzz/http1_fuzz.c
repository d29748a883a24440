/* Heads and chunked bodies. What the head parser accepts is looked at by a second, dumber reader: a line that a
 * lenient program could take for a length must not be there twice or unseen. The chunk reader must find the same
 * data in one piece and byte by byte. */
#include "format/http1.h"

#include <stdlib.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Lines by any of CR and LF whose first word without spaces, dashes aside, begins so. */
static unsigned lines_like(struct bytes head, const char *name)
{
	unsigned n = 0;
	size_t at = 0, length = strlen(name);
	while (at < head.n) {
		size_t from = at;
		while (at < head.n && head.p[at] != '\r' && head.p[at] != '\n')
			at++;
		while (from < at && (head.p[from] == ' ' || head.p[from] == '\t'))
			from++;
		n += at - from >= length && strncasecmp((const char *)head.p + from, name, length) == 0 &&
		     (at - from == length || head.p[from + length] == ' ' || head.p[from + length] == '\t' || head.p[from + length] == ':');
		at++;
	}
	return n;
}

static void check_head(struct bytes in)
{
	static struct http1_head h;
	size_t scanned = 0, by_one = 0, n = http1_head_size(in, &scanned), m = 0;
	for (size_t i = 1; i <= in.n && m == 0; i++)
		m = http1_head_size(bytes_of(in.p, i), &by_one);
	if (n != m || n > in.n)
		abort();
	if (n == 0)
		return;
	struct bytes head = bytes_of(in.p, n);
	if (http1_head_parse(head, &h) != HTTP1_OK)
		return;
	unsigned lengths = lines_like(head, "Content-Length"), encodings = lines_like(head, "Transfer-Encoding");
	if (lengths + encodings > 1 || (h.length == HTTP1_CHUNKED) != (encodings == 1) || (lengths == 0 && encodings == 0 && h.length != 0))
		abort();
	if (h.method.n == 0 || h.target.n == 0 || memchr(head.p, 0, head.n) != NULL)
		abort();
	for (size_t i = 0; i < head.n; i++)
		if ((head.p[i] == '\n' && (i == 0 || head.p[i - 1] != '\r')) || (head.p[i] == '\r' && head.p[i + 1] != '\n'))
			abort();
}

static void check_chunks(struct bytes in)
{
	uint8_t *whole = malloc(in.n + 1), *single = malloc(in.n + 1);
	size_t whole_n = 0, single_n = 0, at = 0, used;
	struct http1_chunked c;
	struct bytes data;
	enum http1_result a = HTTP1_OK, b = HTTP1_OK;
	if (whole == NULL || single == NULL)
		abort();
	http1_chunked_init(&c);
	while (at < in.n && !http1_chunked_done(&c) && (a = http1_chunked_next(&c, bytes_of(in.p + at, in.n - at), &data, &used)) == HTTP1_OK) {
		if (used == 0 || used > in.n - at)
			abort();
		if (data.n > 0)
			memcpy(whole + whole_n, data.p, data.n);
		whole_n += data.n;
		at += used;
	}
	bool done = http1_chunked_done(&c);
	http1_chunked_init(&c);
	for (size_t i = 0; i < in.n && !http1_chunked_done(&c) && (b = http1_chunked_next(&c, bytes_of(in.p + i, 1), &data, &used)) == HTTP1_OK; i++) {
		if (used != 1)
			abort();
		if (data.n > 0)
			single[single_n++] = data.p[0];
	}
	if (a != b || whole_n != single_n || memcmp(whole, single, whole_n) != 0 || done != http1_chunked_done(&c))
		abort();
	free(whole);
	free(single);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_head(bytes_of(data, size));
	check_chunks(bytes_of(data, size));
	return 0;
}
