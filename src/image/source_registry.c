/* Images from a registry (OCI distribution specification 1.1). A blob is first fetched whole into the cache (or a
 * temporary file) and verified, and only then read: nothing behind this file ever sees a byte that is not what its
 * digest says. A transfer that breaks off goes on where it stopped.
 *
 * What the registry says is distrusted: sizes and digests come from documents that were checked themselves, starting with
 * the digest that the user pinned or with the one manifest that a tag names. Credentials go to the registry and to the
 * token server it names, over https, and to nobody that either redirects to (image/fetch.c). */
#include "image/cache.h"
#include "image/json.h"
#include "image/registry_auth.h"
#include "image/source.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "crypto/crypto.h"

#include <stdio.h>
#include <strings.h>
#include <time.h>

enum { STALLS_MAX = 5, RESUMES_MAX = 200, SHOWN = 200 };

struct held { uint8_t sha256[OCI_SHA256_SIZE]; int fd; };

struct registry {
	struct source s;
	struct fetcher *fetcher;             /* owned */
	struct cache cache;
	struct registry_access access;
	uint64_t bytes_left;                 /* that may still be fetched */
	struct held *held;                   /* owned; blobs that were opened once stay open for the second reading */
	size_t held_n;
};

static struct registry *of(struct source *s) { return (struct registry *)(void *)s; }

/* --- blobs ------------------------------------------------------------------------------------------------ */

struct download {
	struct registry *r;
	const struct fetch_answer *answer;   /* of the request that is running */
	int fd;
	struct hash *hash;
	uint64_t at, size;                   /* what is there, and will be */
	uint64_t skip;                       /* of a server that starts earlier than asked */
	size_t layer;                        /* from 1; 0: none of the layers */
	bool started;                        /* the running request has sent something */
};

/* Where does what comes now belong? A server may start over (200) instead of going on (206). */
static enum image_code start_piece(struct download *d, struct err *err)
{
	uint64_t from = d->answer->status == 206 ? d->answer->range_start : 0;
	d->started = true;
	if (from > d->at)
		return image_fail(err, IMAGE_REGISTRY_ERROR, 0, "the registry sends another part of the blob than it was asked for");
	d->skip = d->at - from;
	return IMAGE_OK;
}

static enum image_code take_piece(void *user, struct bytes piece, struct err *err)
{
	struct download *d = user;
	enum image_code c = d->started ? IMAGE_OK : start_piece(d, err);
	if (c != IMAGE_OK)
		return c;
	size_t skip = d->skip < piece.n ? (size_t)d->skip : piece.n;
	d->skip -= skip;
	piece = bytes_slice(piece, skip, piece.n - skip);
	if (piece.n > d->size - d->at)
		return image_fail(err, IMAGE_SIZE_MISMATCH, 0, "the registry sends more than the %llu bytes announced",
		                  (unsigned long long)d->size);
	for (size_t at = 0; at < piece.n;) {
		ssize_t n = pwrite(d->fd, piece.p + at, piece.n - at, (off_t)(d->at + at));
		if (n < 0 && errno != EINTR)
			return image_fail(err, IMAGE_IO, errno, "keep a blob");
		at += n > 0 ? (size_t)n : 0;
	}
	if (piece.n > 0)
		hash_update(d->hash, piece);
	d->at += piece.n;
	d->r->s.fetched += piece.n;
	progress_tell(d->r->s.progress, "fetching", d->layer, d->layer > 0 ? d->r->s.manifest.layer_count : 0, d->at, d->size);
	return IMAGE_OK;
}

/* Fetches until all of it is there. */
static enum image_code transfer(struct download *d, const char *url, struct err *err)
{
	char accept[sizeof "Accept: " + 400];
	unsigned stalls = 0;
	snprintf(accept, sizeof accept, "Accept: %s, */*", oci_accept_manifests);
	for (unsigned tries = 0; ; tries++) {
		uint64_t before = d->at;
		struct fetch_answer a;
		struct fetch_request q = { .method = "GET", .url = url, .header = { accept }, .range_from = d->at,
			.on_body = take_piece, .user = d };
		d->answer = &a;
		d->started = false;
		enum image_code c = registry_fetch(&d->r->access, &q, &a, err);
		bool success = c == IMAGE_OK && a.status >= 200 && a.status < 300;
		if (success && d->at == d->size)
			return IMAGE_OK;
		if (success) {
			a.transient = true;
			c = image_fail(err, IMAGE_SIZE_MISMATCH, 0, "the registry sends %llu of the %llu bytes announced",
			               (unsigned long long)d->at, (unsigned long long)d->size);
		} else if (c == IMAGE_OK) {
			c = registry_refused(&d->r->access, &a, "a blob", err);
		}
		stalls = d->at > before ? 1 : stalls + 1;
		if (!a.transient || stalls == STALLS_MAX || tries == RESUMES_MAX)
			return c;
		int64_t ms = fetch_pause_ms(stalls, a.retry_after_s);
		nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
	}
}

static enum image_code check_digest(const struct download *d, const struct descriptor *want, struct err *err)
{
	uint8_t got[OCI_SHA256_SIZE];
	char got_text[OCI_DIGEST_TEXT_SIZE], want_text[OCI_DIGEST_TEXT_SIZE];
	if (!hash_peek(d->hash, got))
		return image_fail(err, IMAGE_IO, 0, "hash a blob");
	if (memcmp(got, want->sha256, sizeof got) == 0)
		return IMAGE_OK;
	return image_fail(err, IMAGE_DIGEST_MISMATCH, 0, "the registry sends %s for %s", oci_digest_text(got, got_text),
	                  oci_digest_text(want->sha256, want_text));
}

/* Which of the layers it is, from 1; 0 when it is none. */
static size_t layer_number(const struct manifest *m, const struct descriptor *d)
{
	size_t i = 0;
	while (i < m->layer_count && &m->layer[i] != d)
		i++;
	return i < m->layer_count ? i + 1 : 0;
}

/* Fetches and verifies; *ret_fd is the blob's. */
static enum image_code download(struct registry *r, const struct descriptor *d, int *ret_fd, struct err *err)
{
	char url[REGISTRY_URL_MAX], digest[OCI_DIGEST_TEXT_SIZE];
	struct cache_write w = CACHE_WRITE_NONE;
	bool document = d->media == OCI_MEDIA_INDEX || d->media == OCI_MEDIA_MANIFEST;
	if (d->size > r->bytes_left)
		return image_fail(err, IMAGE_BYTES_LIMIT, 0, "the image is larger than the limit; raise it if it is what you expect");
	r->bytes_left -= d->size;
	registry_url(&r->access, document ? "manifests" : "blobs", oci_digest_text(d->sha256, digest), url);
	enum image_code c = cache_begin(&r->cache, d->sha256, d->size, &w, err);
	if (c != IMAGE_OK)
		return c;
	CLEANUP(hash_cleanup) struct hash *hash = hash_new(HASH_SHA256);
	struct download t = { .r = r, .fd = w.fd, .hash = hash, .size = d->size, .layer = layer_number(&r->s.manifest, d) };
	c = hash != NULL ? transfer(&t, url, err) : image_fail(err, IMAGE_IO, ENOMEM, "hash a blob");
	if (c == IMAGE_OK)
		c = check_digest(&t, d, err);
	if (c == IMAGE_OK)
		return cache_commit(&r->cache, &w, ret_fd, err);
	cache_abort(&w);
	return c;
}

static enum image_code open_blob(struct source *s, const struct descriptor *d, struct stream **ret, struct err *err)
{
	static const char name[] = "a fetched blob";
	struct registry *r = of(s);
	for (size_t i = 0; i < r->held_n; i++)
		if (memcmp(r->held[i].sha256, d->sha256, OCI_SHA256_SIZE) == 0)
			return stream_of_fd(r->held[i].fd, false, 0, d->size, name, ret, err);
	struct held *grown = realloc(r->held, (r->held_n + 1) * sizeof *grown);
	if (grown == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "hold a blob");
	r->held = grown;
	int fd = cache_find(&r->cache, d->sha256, d->size);
	if (fd >= 0) {
		s->from_cache += d->size;
	} else {
		enum image_code c = download(r, d, &fd, err);
		if (c != IMAGE_OK)
			return c;
	}
	struct held *h = &r->held[r->held_n++];
	memcpy(h->sha256, d->sha256, sizeof h->sha256);
	h->fd = fd;
	return stream_of_fd(fd, false, 0, d->size, name, ret, err);
}

static void damaged(struct source *s, const struct descriptor *d)
{
	cache_forget(&of(s)->cache, d->sha256);
}

static void close_registry(struct source *s)
{
	struct registry *r = of(s);
	for (size_t i = 0; i < r->held_n; i++)
		close_fd(&r->held[i].fd);
	free(r->held);
	fetcher_close(r->fetcher);
	crypto_wipe(&r->access, sizeof r->access);
	free(r);
}

/* --- the first document ------------------------------------------------------------------------------------- */

static enum image_code first_document(struct registry *r, const struct oci_reference *ref, uint8_t **ret, size_t *ret_n,
                                      enum oci_media *ret_media, struct err *err)
{
	char accept[sizeof "Accept: " + 400], name[OCI_TAG_MAX + 1], digest[OCI_DIGEST_TEXT_SIZE], url[REGISTRY_URL_MAX], what[200];
	uint8_t got[OCI_SHA256_SIZE];
	struct fetch_answer a;
	if (ref->tag.n == 0 || !bytes_to_cstr(ref->tag, name, sizeof name))
		snprintf(name, sizeof name, "latest");
	const char *pick = ref->pinned ? oci_digest_text(ref->sha256, digest) : name;
	registry_url(&r->access, "manifests", pick, url);
	snprintf(accept, sizeof accept, "Accept: %s", oci_accept_manifests);
	struct fetch_request q = { .method = "GET", .url = url, .header = { accept } };
	enum image_code c = registry_fetch_document(&r->access, &q, JSON_DOCUMENT_MAX, &a, ret, ret_n, err);
	if (c != IMAGE_OK)
		return c;
	snprintf(what, sizeof what, "%s", pick);
	if (a.status != 200)
		return registry_refused(&r->access, &a, what, err);
	if (ref->pinned && (!crypto_hash(HASH_SHA256, bytes_of(*ret, *ret_n), got) || memcmp(got, ref->sha256, sizeof got) != 0))
		return image_fail(err, IMAGE_DIGEST_MISMATCH, 0, "the registry sends another document than the pinned %s", pick);
	/* some servers answer anything with a page for people */
	if (strncasecmp(a.content_type, "text/html", 9) == 0)
		return image_fail(err, IMAGE_REGISTRY_ERROR, 0, "%s answers with a web page: is this the host of the registry's API?", r->access.host);
	*ret_media = oci_media_parse(bytes_str(a.content_type));
	return IMAGE_OK;
}

static enum image_code resolve(struct registry *r, const struct oci_reference *ref, const struct source_options *o,
                               struct err *err)
{
	CLEANUP(free_ptr) uint8_t *text = NULL;
	size_t n = 0;
	enum oci_media media;
	enum image_code c = first_document(r, ref, &text, &n, &media, err);
	return c == IMAGE_OK ? source_resolve(&r->s, bytes_of(text, n), media, NULL, &o->platform, err) : c;
}

enum image_code source_registry_open(const char *reference, const struct source_options *o, struct source **ret,
                                     struct err *err)
{
	static const struct source_ops ops = { .open_blob = open_blob, .damaged = damaged, .close = close_registry };
	struct oci_reference ref;
	char shown[SHOWN];
	enum oci_result bad = oci_reference_parse(bytes_str(reference), &ref);
	text_escape(bytes_str(reference), shown, sizeof shown);
	if (bad != OCI_OK)
		return image_fail(err, IMAGE_BAD_REFERENCE, 0, "%s: %s", shown, oci_result_text(bad));
	if (o->plain_http && !host_is_loopback(ref.registry))
		return image_fail(err, IMAGE_BAD_SOURCE, 0, "%s: --plain-http is for registries on this machine (localhost) only", shown);
	struct registry *r = calloc(1, sizeof *r);
	if (r == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "open %s", shown);
	r->s.ops = &ops;
	r->s.kind = "registry";
	r->s.progress = o->progress;
	r->access.plain = o->plain_http;
	r->bytes_left = o->bytes_max;
	bool fits = bytes_to_cstr(ref.registry, r->access.host, sizeof r->access.host) &&
		bytes_to_cstr(ref.repository, r->access.repository, sizeof r->access.repository);
	enum image_code c = fits ? IMAGE_OK : image_fail(err, IMAGE_BAD_REFERENCE, 0, "%s", oci_result_text(OCI_TOO_LONG));
	if (c == IMAGE_OK)
		c = cache_open(o->cache_dir, o->cache_limit, o->spill_dir, &r->cache, err);
	if (c == IMAGE_OK)
		c = fetcher_open(o->ca_file, &r->fetcher, err);
	r->access.fetcher = r->fetcher;
	if (c == IMAGE_OK)
		c = resolve(r, &ref, o, err);
	if (c != IMAGE_OK) {
		source_close(&r->s);
		return image_fail_in(err, c, "%s", shown);
	}
	*ret = &r->s;
	return IMAGE_OK;
}
