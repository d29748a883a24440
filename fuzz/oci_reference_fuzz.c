/* References: what is accepted is made of harmless characters only, and saying it again means the same. */
#include "format/oci.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_characters(struct bytes b, const char *allowed)
{
	for (size_t i = 0; i < b.n; i++)
		if (!(b.p[i] >= '0' && b.p[i] <= '9') && !(b.p[i] >= 'a' && b.p[i] <= 'z') &&
		    !(b.p[i] >= 'A' && b.p[i] <= 'Z') && (b.p[i] == '\0' || strchr(allowed, b.p[i]) == NULL))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oci_reference ref, again;
	struct oci_platform platform;
	uint8_t sha256[OCI_SHA256_SIZE], text[OCI_REFERENCE_MAX + 1];
	char digest[OCI_DIGEST_TEXT_SIZE];
	struct bytes in = bytes_of(data, size);
	if (oci_reference_parse(in, &ref) == OCI_OK) {
		check_characters(ref.registry, ".-:[]");
		check_characters(ref.repository, "._-/");
		check_characters(ref.tag, "._-");
		if (ref.repository.n == 0 || ref.repository.p[0] == '/' || ref.repository.p[0] == '.')
			abort();
		struct writer w = writer_of(text, sizeof text);
		put_bytes(&w, ref.registry);
		put_u8(&w, '/');
		put_bytes(&w, ref.repository);
		put_str(&w, ref.tag.n > 0 ? ":" : "");
		put_bytes(&w, ref.tag);
		put_str(&w, ref.pinned ? "@" : "");
		put_str(&w, ref.pinned ? oci_digest_text(ref.sha256, digest) : "");
		if (w.full || oci_reference_parse(writer_bytes(&w), &again) != OCI_OK || !bytes_equal(in, writer_bytes(&w)))
			abort();
	}
	if (oci_digest_parse(in, sha256) == OCI_OK && !bytes_equal(in, bytes_str(oci_digest_text(sha256, digest))))
		abort();
	if (oci_platform_parse(in, &platform) == OCI_OK && oci_platform_match(&platform, &platform) != 2)
		abort();
	oci_media_parse(in);
	return 0;
}
