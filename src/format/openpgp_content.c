/* See openpgp_content.h. Nothing here is trusted and nothing is allocated; the data itself is never
 * looked at, only counted. */
#include "format/openpgp_content.h"

void pgp_content_init(struct pgp_content *c, uint64_t max_data, pgp_sink *sink, void *sink_arg)
{
	*c = (struct pgp_content){ .sink = sink, .sink_arg = sink_arg, .max_data = max_data };
}

static enum pgp_error hand_over(struct pgp_content *c, struct bytes data)
{
	uint64_t room = c->max_data - c->handed;
	bool over = data.n > room;
	if (over)
		data.n = (size_t)room;
	if (data.n > 0 && c->sink(c->sink_arg, data) != 0)
		return PGP_SINK;
	c->handed += data.n;
	return over ? PGP_TOO_LARGE : PGP_OK;
}

static enum pgp_error on_header(struct pgp_content *c)
{
	switch (c->split.tag) {
	case PGP_TAG_LITERAL:
		if (c->stage != CONTENT_EMPTY)
			return PGP_SECOND_LITERAL;
		c->stage = CONTENT_LITERAL;
		c->head_n = 0;
		return PGP_OK;
	case PGP_TAG_PADDING:
		if (c->stage != CONTENT_COMPLETE)
			return PGP_UNEXPECTED_PACKET;
		c->stage = CONTENT_PADDED;
		return PGP_OK;
	case PGP_TAG_MARKER:
		return c->split.left == 3 ? PGP_OK : PGP_BAD_MARKER;
	case PGP_TAG_COMPRESSED:
		return PGP_COMPRESSED;
	case PGP_TAG_SIGNATURE: case PGP_TAG_ONE_PASS:
		return PGP_SIGNED;
	case PGP_TAG_PKESK: case PGP_TAG_SKESK: case PGP_TAG_SED: case PGP_TAG_SEIPD: case PGP_TAG_AEAD:
		return PGP_NESTED;
	default:
		return PGP_UNEXPECTED_PACKET;
	}
}

static size_t literal_header_size(const struct pgp_content *c)
{
	return c->head_n < 2 ? 2 : (size_t)PGP_LITERAL_HEADER_MIN + c->head[1];
}

/* The header is collected byte by byte: at most 261 of them, once a message. A literal that is known to
 * be too large is refused before any of its data is handed over. */
static enum pgp_error on_literal(struct pgp_content *c, struct bytes body)
{
	while (body.n > 0 && c->head_n < literal_header_size(c)) {
		c->head[c->head_n++] = body.p[0];
		body = bytes_of(body.p + 1, body.n - 1);
		if (c->head_n == 1 && memchr("btu", c->head[0], 3) == NULL)
			return PGP_BAD_LITERAL;
		if (c->head_n == literal_header_size(c) && (uint64_t)body.n + c->split.left > c->max_data)
			return PGP_TOO_LARGE;
	}
	return hand_over(c, body);
}

static enum pgp_error on_body(struct pgp_content *c, struct bytes body)
{
	if (c->split.tag == PGP_TAG_LITERAL)
		return on_literal(c, body);
	if (c->split.tag == PGP_TAG_MARKER) {
		/* on_header made sure that it is three bytes long */
		bool same = memcmp(&"PGP"[c->marker_n], body.p, body.n) == 0;
		c->marker_n += body.n;
		return same ? PGP_OK : PGP_BAD_MARKER;
	}
	return PGP_OK;                           /* padding: any bytes */
}

static enum pgp_error on_end(struct pgp_content *c)
{
	c->marker_n = 0;
	if (c->split.tag != PGP_TAG_LITERAL)
		return PGP_OK;
	c->stage = CONTENT_COMPLETE;
	return c->head_n == literal_header_size(c) ? PGP_OK : PGP_BAD_LITERAL;
}

static enum pgp_error split_content(struct pgp_content *c, struct bytes *in)
{
	enum pgp_error e = PGP_OK;
	while (e == PGP_OK) {
		struct bytes body;
		switch (pgp_split_next(&c->split, in, &body)) {
		case SPLIT_MORE: return PGP_OK;
		case SPLIT_HEADER: e = on_header(c); break;
		case SPLIT_BODY: e = on_body(c, body); break;
		case SPLIT_END: e = on_end(c); break;
		case SPLIT_ERROR: e = c->split.error; break;
		}
	}
	return e;
}

enum pgp_error pgp_content_feed(struct pgp_content *c, struct bytes in)
{
	if (c->error == PGP_OK)
		c->error = split_content(c, &in);
	if (c->error != PGP_OK && c->error != PGP_SINK && hand_over(c, in) == PGP_SINK)
		c->error = PGP_SINK;
	return c->error;
}

enum pgp_error pgp_content_finish(struct pgp_content *c)
{
	if (c->error == PGP_OK && !pgp_split_idle(&c->split))
		c->error = PGP_CONTENT_LENGTH;
	else if (c->error == PGP_OK && c->stage == CONTENT_EMPTY)
		c->error = PGP_NO_LITERAL;
	return c->error;
}
