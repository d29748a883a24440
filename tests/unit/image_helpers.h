/* Images in memory for tests: a writer of plain tar archives and a source whose layers are byte strings. */
#ifndef TESTS_IMAGE_HELPERS_H
#define TESTS_IMAGE_HELPERS_H

#include "crypto/crypto.h"
#include "image/rootfs.h"
#include "image/stream.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

enum { FAKE_LAYERS_MAX = 130, FAKE_TAR_MAX = 4 << 20 };

/* --- tar ------------------------------------------------------------------------------------------------ */

struct fake_tar { uint8_t *p; size_t n; };               /* p: FAKE_TAR_MAX bytes, owned */

static inline void fake_tar_open(struct fake_tar *t)
{
	t->p = calloc(1, FAKE_TAR_MAX);
	t->n = 0;
	assert_non_null(t->p);
}

/* kind: the type byte of the header. */
static inline void fake_tar_add(struct fake_tar *t, char kind, const char *name, struct bytes content, const char *link,
                                unsigned mode)
{
	char *h = (char *)t->p + t->n;
	unsigned sum = 0;
	assert_true(t->n + 2048 + content.n < FAKE_TAR_MAX);
	memset(h, 0, 512);
	snprintf(h, 100, "%s", name);
	snprintf(h + 100, 8, "%07o", mode);
	snprintf(h + 108, 8, "%07o", 0);
	snprintf(h + 116, 8, "%07o", 0);
	snprintf(h + 124, 12, "%011zo", content.n);
	snprintf(h + 136, 12, "%011o", 1700000000);
	memset(h + 148, ' ', 8);
	h[156] = kind;
	snprintf(h + 157, 100, "%s", link);
	memcpy(h + 257, "ustar\0" "00", 8);
	for (int i = 0; i < 512; i++)
		sum += (unsigned char)h[i];
	snprintf(h + 148, 8, "%06o", sum);
	t->n += 512;
	if (content.n > 0)
		memcpy(t->p + t->n, content.p, content.n);
	t->n += (content.n + 511) / 512 * 512;
}

static inline void fake_file(struct fake_tar *t, const char *name, const char *content)
{
	fake_tar_add(t, '0', name, bytes_str(content), "", 0644);
}

/* --- a source ----------------------------------------------------------------------------------------------- */

struct fake_source {
	struct source s;
	struct bytes layer[FAKE_LAYERS_MAX];     /* borrowed */
	unsigned opened;                         /* how often a blob was */
};

static enum image_code fake_open_blob(struct source *s, const struct descriptor *d, struct stream **ret, struct err *err);
static void fake_close(struct source *s) { (void)s; }
static const struct source_ops fake_ops = { .open_blob = fake_open_blob, .close = fake_close };

struct fake_stream { struct stream s; struct bytes left; };

static enum image_code fake_read(struct stream *s, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err)
{
	struct fake_stream *f = (struct fake_stream *)(void *)s;
	size_t n = f->left.n < cap ? f->left.n : cap;
	(void)err;
	/* uneven pieces, so that no boundary is where it happens to be convenient */
	if (n > 1000)
		n = 1000 - n % 7;
	if (n > 0)
		memcpy(buf, f->left.p, n);
	f->left = bytes_of(f->left.p + n, f->left.n - n);
	*ret_n = n;
	return IMAGE_OK;
}

static void fake_stream_close(struct stream *s) { free(s); }

static inline struct stream *fake_stream(struct bytes b)
{
	struct fake_stream *f = malloc(sizeof *f);
	assert_non_null(f);
	*f = (struct fake_stream){ { fake_read, NULL, fake_stream_close }, b };
	return &f->s;
}

static enum image_code fake_open_blob(struct source *s, const struct descriptor *d, struct stream **ret, struct err *err)
{
	struct fake_source *f = (struct fake_source *)(void *)s;
	(void)err;
	f->opened++;
	*ret = fake_stream(f->layer[d - s->manifest.layer]);
	return IMAGE_OK;
}

/* The bytes of a layer after decompression, to compute its diff_id; err only for damaged ones. */
static inline enum image_code fake_unpack(struct bytes blob, uint8_t digest[SHA256_SIZE])
{
	struct expand_budget budget = { UINT64_MAX, UINT64_MAX, 1 };
	struct stream *s = NULL;
	struct err err;
	uint8_t buf[4096];
	struct hash *h = hash_new(HASH_SHA256);
	enum image_code c = stream_expanded(fake_stream(blob), &budget, "layer", &s, &err);
	for (size_t n = 1; c == IMAGE_OK && n > 0;) {
		c = stream_read(s, buf, sizeof buf, &n, &err);
		if (c == IMAGE_OK)
			hash_update(h, bytes_of(buf, n));
	}
	assert_true(hash_peek(h, digest));
	hash_free(h);
	stream_close(&s);
	return c;
}

/* An image of n layers with the right digests. Release with fake_source_close(). */
static inline void fake_source_open(struct fake_source *f, const struct bytes *layers, size_t n)
{
	static const struct oci_platform platform = { .os = "linux", .architecture = "amd64" };
	struct err err;
	memset(f, 0, sizeof *f);
	f->s.ops = &fake_ops;
	assert_int_equal(image_config_empty(&platform, &f->s.config, &err), IMAGE_OK);
	f->s.manifest.layer = calloc(n + 1, sizeof(struct descriptor));
	f->s.config.diff_id = calloc(n + 1, sizeof *f->s.config.diff_id);
	f->s.manifest.layer_count = f->s.config.layer_count = n;
	for (size_t i = 0; i < n; i++) {
		struct descriptor *d = &f->s.manifest.layer[i];
		f->layer[i] = layers[i];
		*d = (struct descriptor){ .media = OCI_MEDIA_LAYER, .has_digest = true, .size = layers[i].n };
		assert_true(crypto_hash(HASH_SHA256, layers[i], d->sha256));
		fake_unpack(layers[i], f->s.config.diff_id[i]);
	}
}

static inline void fake_source_close(struct fake_source *f)
{
	manifest_free(&f->s.manifest);
	image_config_free(&f->s.config);
}

#endif
