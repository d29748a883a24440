/* Every message is kind and slot, one byte each, then the fields of its kind in the order of struct
 * launch_message; FAILED and ENDED end with their text. There is nothing optional, so a packet has
 * one possible length per kind (or text), and what does not fit it exactly is refused. */
#include "format/launch.h"

static struct bytes get_text(struct reader *r)
{
	size_t n = reader_left(r);
	if (n > LAUNCH_TEXT_MAX)
		r->bad = true;
	return get_bytes(r, n);
}

static enum outcome get_outcome(struct reader *r)
{
	uint8_t v = get_u8(r);
	if (v >= OUTCOME_COUNT)
		r->bad = true;
	return (enum outcome)v;
}

bool launch_parse(struct bytes packet, struct launch_message *ret)
{
	struct reader r = reader_of(packet);
	struct launch_message m = { 0 };

	m.kind = (enum launch_kind)get_u8(&r);
	m.slot = get_u8(&r);
	if (m.slot >= LAUNCH_SLOTS_MAX)
		return false;
	switch (m.kind) {
	case LAUNCH_OPEN:
		m.payload_bytes = get_be64(&r);
		break;
	case LAUNCH_START:
		m.memory_bytes = get_be64(&r);
		m.deadline_ms = get_be32(&r);
		break;
	case LAUNCH_CANCEL:
	case LAUNCH_CLOSE:
	case LAUNCH_OPENED:
	case LAUNCH_CLOSED:
		break;
	case LAUNCH_FAILED:
		m.how = get_outcome(&r);
		if (m.how == OUTCOME_OK)
			return false;
		m.text = get_text(&r);
		break;
	case LAUNCH_ENDED:
		m.how = get_outcome(&r);
		m.signal = get_be32(&r);
		m.exit_code = get_be32(&r);
		m.limit_bytes = get_be64(&r);
		m.peak_bytes = get_be64(&r);
		m.wall_ms = get_be32(&r);
		m.cpu_ms = get_be32(&r);
		m.text = get_text(&r);
		break;
	case LAUNCH_READY:
		m.text = get_text(&r);
		break;
	default:
		return false;
	}
	if (!reader_done(&r))
		return false;
	*ret = m;
	return true;
}

void launch_put(struct writer *w, const struct launch_message *m)
{
	struct bytes text = bytes_of(m->text.p, m->text.n < LAUNCH_TEXT_MAX ? m->text.n : LAUNCH_TEXT_MAX);

	put_u8(w, (uint8_t)m->kind);
	put_u8(w, m->slot);
	switch (m->kind) {
	case LAUNCH_OPEN:
		put_be64(w, m->payload_bytes);
		break;
	case LAUNCH_START:
		put_be64(w, m->memory_bytes);
		put_be32(w, m->deadline_ms);
		break;
	case LAUNCH_CANCEL:
	case LAUNCH_CLOSE:
	case LAUNCH_OPENED:
	case LAUNCH_CLOSED:
		break;
	case LAUNCH_FAILED:
		put_u8(w, (uint8_t)m->how);
		put_bytes(w, text);
		break;
	case LAUNCH_ENDED:
		put_u8(w, (uint8_t)m->how);
		put_be32(w, m->signal);
		put_be32(w, m->exit_code);
		put_be64(w, m->limit_bytes);
		put_be64(w, m->peak_bytes);
		put_be32(w, m->wall_ms);
		put_be32(w, m->cpu_ms);
		put_bytes(w, text);
		break;
	case LAUNCH_READY:
		put_bytes(w, text);
		break;
	}
}
