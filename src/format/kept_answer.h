/* One answer that outlives the gateway, as a file: what a job made, and the ids by which it may be asked for.
 *
 *     magic 8 | until_ms u64 | prove_ms u64 | decrypt_ms u64 | SHA-256 of the ciphertext 32
 *     u8 n, version n | u32 n, n ids of 36 | u32 result_at | u32 result_n | u32 n, text n | CRC-32 of all of it
 *
 * The checksum is against files that were cut off; who can write there can write what he likes. */
#ifndef FORMAT_KEPT_ANSWER_H
#define FORMAT_KEPT_ANSWER_H

#include "base/bytes.h"

enum {
	KEPT_TAG_SIZE = 4, KEPT_RANDOM_SIZE = 16, KEPT_CLIENT_SIZE = 16,
	KEPT_ID_SIZE = KEPT_TAG_SIZE + KEPT_RANDOM_SIZE + KEPT_CLIENT_SIZE,
	KEPT_IDS_MAX = 2048, KEPT_TEXT_MAX = 4 << 20
};

struct kept_answer {
	uint64_t until_ms;                       /* wall clock */
	uint64_t prove_ms, decrypt_ms;
	uint8_t sha256[32];
	struct bytes version;                    /* as a client wrote it, or empty */
	struct bytes ids;                        /* KEPT_ID_SIZE each */
	struct bytes text;                       /* JSON */
	uint32_t result_at, result_n;            /* the part of it that is the answer alone */
};

struct kept_id { const uint8_t *tag, *random, *client; };        /* borrowed */

/* Bytes that kept_answer_put needs. */
size_t kept_answer_size(const struct kept_answer *a);
void kept_answer_put(struct writer *w, const struct kept_answer *a);
/* False: it is none. Strings are borrowed from in. */
bool kept_answer_parse(struct bytes in, struct kept_answer *ret);
static inline size_t kept_answer_ids(const struct kept_answer *a) { return a->ids.n / KEPT_ID_SIZE; }
struct kept_id kept_answer_id(const struct kept_answer *a, size_t i);

#endif
