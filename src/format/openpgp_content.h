/* What an encrypted message holds (RFC 9580 section 10.3): one literal data packet, then perhaps one
 * padding packet; marker packets anywhere. A push parser: the literal's data is handed on as it comes.
 *
 * It runs on plaintext that has not been authenticated yet, so what it does must not tell anybody
 * anything about that plaintext. A refused stream is therefore treated like an accepted one for as long
 * as the caller goes on feeding it: whatever follows is handed on as if it were data (never more than
 * max_data bytes in all), and the caller keeps the code to itself until the bytes are authentic. */
#ifndef FORMAT_OPENPGP_CONTENT_H
#define FORMAT_OPENPGP_CONTENT_H

#include "format/openpgp_packet.h"

/* Takes a piece of output; borrowed. 0, or anything else to stop (PGP_SINK). */
typedef int pgp_sink(void *arg, struct bytes piece);

struct pgp_content {
	pgp_sink *sink;
	void *sink_arg;
	uint64_t max_data;
	struct pgp_split split;
	enum { CONTENT_EMPTY, CONTENT_LITERAL, CONTENT_COMPLETE, CONTENT_PADDED } stage;
	enum pgp_error error;                    /* sticky */
	uint64_t handed;                         /* bytes given to the sink */
	uint8_t head[PGP_LITERAL_HEADER_MIN + PGP_NAME_MAX];
	size_t head_n;                           /* bytes of the literal's header so far */
	size_t marker_n;                         /* bytes of the current marker so far */
};

void pgp_content_init(struct pgp_content *c, uint64_t max_data, pgp_sink *sink, void *sink_arg);
/* PGP_OK, or what was wrong first. After an error other than PGP_SINK it may be fed further. */
enum pgp_error pgp_content_feed(struct pgp_content *c, struct bytes in);
/* The stream is over: PGP_OK when it was a whole literal. */
enum pgp_error pgp_content_finish(struct pgp_content *c);

/* After pgp_content_finish returned PGP_OK. The name is the sender's: any bytes, up to PGP_NAME_MAX. */
static inline struct bytes pgp_content_name(const struct pgp_content *c) { return bytes_of(c->head + 2, c->head[1]); }
static inline uint64_t pgp_content_length(const struct pgp_content *c) { return c->handed; }

#endif
