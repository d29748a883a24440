/* Indexes, manifests, configurations and account files. */
#include "image/config.h"
#include "image/manifest.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_config(struct bytes in)
{
	struct image_config c;
	struct err err;
	struct image_user u;
	if (image_config_parse(in, "x", &c, &err) != IMAGE_OK)
		return;
	for (size_t i = 0; i < c.env.n; i++)
		if (strchr(c.env.v[i], '=') == NULL)
			abort();
	if (c.stop_signal_number < 1 || c.stop_signal_number > 64 || c.layer_count > TREE_LAYERS_MAX)
		abort();
	user_resolve(c.user, in, in, &u, &err);
	image_config_free(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct platform_choice want = { { .os = "linux", .architecture = "amd64" }, true };
	struct bytes in = bytes_of(data, size);
	struct manifest m = { .layer = NULL };
	struct index x = { NULL, 0 };
	struct image_user u;
	struct err err;
	enum oci_media kind = OCI_MEDIA_OTHER;
	size_t at;
	enum image_code c = document_kind(in, OCI_MEDIA_OTHER, "x", &kind, &err);
	if (c == IMAGE_OK && kind != OCI_MEDIA_INDEX && kind != OCI_MEDIA_MANIFEST)
		abort();
	if (manifest_parse(in, "x", &m, &err) == IMAGE_OK && (m.layer_count > TREE_LAYERS_MAX || m.config.media != OCI_MEDIA_CONFIG))
		abort();
	manifest_free(&m);
	if (index_parse(in, "x", &x, &err) == IMAGE_OK && index_choose(&x, &want, NULL, "x", &at, &err) == IMAGE_OK &&
	    (at >= x.n || x.v[at].for_other_use))
		abort();
	index_free(&x);
	try_config(in);
	if (user_resolve("web:logs", in, in, &u, &err) == IMAGE_OK && u.group_count > USER_GROUPS_MAX)
		abort();
	user_resolve("web", in, in, &u, &err);
	return 0;
}
