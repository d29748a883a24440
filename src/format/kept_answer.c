#include "format/kept_answer.h"

#include "format/crc32.h"
#include "format/frame.h"

static const char magic[] = { 'T', 'R', 'x', 'k', 'e', 'p', 't', 1 };
enum { FIXED_SIZE = sizeof magic + 3 * 8 + 32 + 1 + 4 * 4 + 4 };

size_t kept_answer_size(const struct kept_answer *a) { return FIXED_SIZE + a->version.n + a->ids.n + a->text.n; }

void kept_answer_put(struct writer *w, const struct kept_answer *a)
{
	size_t from = w->at;
	put_bytes(w, BYTES_ARRAY(magic));
	put_be64(w, a->until_ms);
	put_be64(w, a->prove_ms);
	put_be64(w, a->decrypt_ms);
	put_bytes(w, BYTES_ARRAY(a->sha256));
	put_u8(w, (uint8_t)a->version.n);
	put_bytes(w, a->version);
	put_be32(w, (uint32_t)(a->ids.n / KEPT_ID_SIZE));
	put_bytes(w, a->ids);
	put_be32(w, a->result_at);
	put_be32(w, a->result_n);
	put_be32(w, (uint32_t)a->text.n);
	put_bytes(w, a->text);
	if (!w->full)
		put_be32(w, crc32_update(0, bytes_of(w->p + from, w->at - from)));
}

bool kept_answer_parse(struct bytes in, struct kept_answer *ret)
{
	struct reader r = reader_of(in);
	struct kept_answer a;
	if (!bytes_equal(get_bytes(&r, sizeof magic), BYTES_ARRAY(magic)))
		return false;
	a.until_ms = get_be64(&r);
	a.prove_ms = get_be64(&r);
	a.decrypt_ms = get_be64(&r);
	struct bytes sha256 = get_bytes(&r, sizeof a.sha256);
	a.version = get_bytes(&r, get_u8(&r));
	uint32_t ids = get_be32(&r);
	a.ids = ids <= KEPT_IDS_MAX ? get_bytes(&r, (size_t)ids * KEPT_ID_SIZE) : BYTES_NONE;
	a.result_at = get_be32(&r);
	a.result_n = get_be32(&r);
	a.text = get_bytes(&r, get_be32(&r));
	size_t covered = r.at;
	uint32_t crc = get_be32(&r);
	if (!reader_done(&r) || ids == 0 || ids > KEPT_IDS_MAX || a.text.n > KEPT_TEXT_MAX ||
	    (a.version.n > 0 && !version_name_valid(a.version)) || a.result_at > a.text.n || a.result_n > a.text.n - a.result_at ||
	    crc != crc32_update(0, bytes_of(in.p, covered)))
		return false;
	memcpy(a.sha256, sha256.p, sizeof a.sha256);
	*ret = a;
	return true;
}

struct kept_id kept_answer_id(const struct kept_answer *a, size_t i)
{
	const uint8_t *p = a->ids.p + i * KEPT_ID_SIZE;
	return (struct kept_id){ p, p + KEPT_TAG_SIZE, p + KEPT_TAG_SIZE + KEPT_RANDOM_SIZE };
}
