#include "format/message_name.h"

#include "base/text.h"

enum { HEX_SIZE = 64 };

/* Takes the word from the start of *in; false, and nothing taken, when it is not there. */
static bool take(struct bytes *in, struct bytes word)
{
	if (!bytes_equal(bytes_slice(*in, 0, word.n), word))
		return false;
	*in = bytes_of(in->p + word.n, in->n - word.n);
	return true;
}

enum message_name_result message_name_parse(struct bytes name, struct message_name *ret)
{
	struct message_name n = { 0 };
	uint64_t peak;

	if (take(&name, BYTES_LIT("bb-sha256="))) {
		if (name.n < HEX_SIZE || !hex_decode(bytes_slice(name, 0, HEX_SIZE), n.bb_sha256, sizeof n.bb_sha256))
			return MESSAGE_NAME_BAD_BINARY;
		n.names_binary = true;
		name = bytes_of(name.p + HEX_SIZE, name.n - HEX_SIZE);
		if (name.n == 0) {
			*ret = n;
			return MESSAGE_NAME_OK;
		}
		if (!take(&name, BYTES_LIT(" peak-mib=")))
			return MESSAGE_NAME_BAD_BINARY;
	} else if (!take(&name, BYTES_LIT("peak-mib="))) {
		*ret = n;
		return MESSAGE_NAME_OK;
	}
	if (!text_to_u64(name, MESSAGE_PEAK_MIB_MAX, &peak) || peak == 0)
		return MESSAGE_NAME_BAD_PEAK;
	n.peak_mib = (uint32_t)peak;
	*ret = n;
	return MESSAGE_NAME_OK;
}

void message_name_put(struct writer *w, const struct message_name *n)
{
	char hex[2 * 32 + 1];
	if (n->names_binary)
		put_fmt(w, "bb-sha256=%s%s", hex_encode(BYTES_ARRAY(n->bb_sha256), hex), n->peak_mib != 0 ? " " : "");
	if (n->peak_mib != 0)
		put_fmt(w, "peak-mib=%u", n->peak_mib);
}
