/* Images: what parses is laid out as the writer would do it, and writes back the same. The checksum is made right first,
 * or nothing would ever get past it. */
#include "format/crc32.h"
#include "format/eif.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fix_crc(uint8_t *p, size_t n)
{
	struct writer w = writer_of(p + EIF_CRC_AT, 4);
	put_be32(&w, crc32_update(crc32_update(0, bytes_of(p, EIF_CRC_AT)), bytes_of(p + EIF_HEADER_SIZE, n - EIF_HEADER_SIZE)));
}

static void check(struct bytes file, const struct eif *e)
{
	struct eif again = *e;
	uint64_t total;
	uint8_t header[EIF_HEADER_SIZE], section[EIF_SECTION_HEADER_SIZE];
	for (size_t i = 0; i < again.count; i++)
		again.section[i].offset = 0;
	if (eif_lay_out(&again, &total) != EIF_OK || total != file.n)
		abort();
	eif_put_header(&again, header);
	if (memcmp(header, file.p, sizeof header) != 0)
		abort();
	for (size_t i = 0; i < e->count; i++) {
		eif_put_section(&again.section[i], section);
		if (memcmp(section, file.p + e->section[i].offset, sizeof section) != 0 ||
		    eif_payload(file, e, i).n != e->section[i].size)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct eif e;
	uint8_t *copy = malloc(size == 0 ? 1 : size);
	if (copy == NULL)
		return 0;
	if (size > 0)
		memcpy(copy, data, size);
	if (size >= EIF_HEADER_SIZE)
		fix_crc(copy, size);
	enum eif_result r = eif_parse(bytes_of(copy, size), &e);
	if (r == EIF_OK)
		check(bytes_of(copy, size), &e);
	if (r == EIF_BAD_CRC || eif_result_name(r) == NULL)
		abort();
	free(copy);
	return 0;
}
