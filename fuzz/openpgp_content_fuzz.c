/* The parser of decrypted content, without any encryption around it. First byte: size of the pieces; second:
 * the limit, in 64 bytes. Pieces must not change verdict, name or data. */
#include "format/openpgp_content.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result { enum pgp_error error; struct pgp_content content; uint64_t sum; };

static int add_up(void *arg, struct bytes piece)
{
	struct result *r = arg;
	for (size_t i = 0; i < piece.n; i++)
		r->sum = r->sum * 31 + piece.p[i] + 1;
	return 0;
}

static void parse(struct bytes in, size_t piece, uint64_t limit, struct result *r)
{
	*r = (struct result){ .error = PGP_OK };
	pgp_content_init(&r->content, limit, add_up, r);
	for (size_t at = 0; at < in.n; at += piece)
		pgp_content_feed(&r->content, bytes_slice(in, at, in.n - at < piece ? in.n - at : piece));
	r->error = pgp_content_finish(&r->content);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct bytes in = bytes_of(data + 2, size - 2);
	uint64_t limit = data[1] * UINT64_C(64);
	struct result whole, pieces;
	parse(in, in.n + 1, limit, &whole);
	parse(in, data[0] + 1u, limit, &pieces);
	if (whole.error != pieces.error || whole.content.handed > limit || pieces.content.handed > limit)
		abort();
	if (whole.error == PGP_OK &&
	    (whole.sum != pieces.sum || pgp_content_length(&whole.content) != pgp_content_length(&pieces.content) ||
	     !bytes_equal(pgp_content_name(&whole.content), pgp_content_name(&pieces.content))))
		abort();
	return 0;
}
