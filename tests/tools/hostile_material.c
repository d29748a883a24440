#include "hostile_material.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "openpgp/encrypt.h"

#include <fcntl.h>
#include <sys/stat.h>

const char *const hostile_versions[HOSTILE_VERSIONS] = { "1.0", "h1", "h2", "h3" };

/* Proofs of different sizes, so that an answer that went to the wrong connection shows. The first ones are
 * drawn most often. */
static const struct hostile_prove honest[HOSTILE_PROVES] = {
	{ .act = "proof 32", .padding = 40, .chunk_octet = 12, .proof = 32 },
	{ .act = "proof 64", .padding = 2000, .chunk_octet = 12, .bound = true, .proof = 64 },
	{ .act = "proof 96", .padding = 5000, .chunk_octet = 0, .proof = 96 },
	{ .act = "proof 128", .padding = 70000, .chunk_octet = 6, .part_bits = 10, .proof = 128 },
	{ .act = "proof 640000", .padding = 300, .chunk_octet = 12, .proof = 640000 },
	{ .act = "proof 160", .padding = 300000, .chunk_octet = 12, .part_bits = 16, .bound = true, .proof = 160 },
	{ .act = "sleep 30 192", .padding = 10, .chunk_octet = 12, .proof = 192 },
	{ .act = "exit 3", .padding = 10, .chunk_octet = 12, .code = OUTCOME_PROVER_ERROR },
	{ .act = "segv", .padding = 10, .chunk_octet = 12, .code = OUTCOME_CRASHED },
};

static int read_file(const char *path, struct bytes *ret, uint8_t sha256[SHA256_SIZE], struct err *err)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) != 0)
		return fail(err, errno, "open %s", path);
	size_t n = (size_t)st.st_size;
	CLEANUP(free_ptr) uint8_t *p = malloc(n + 1);
	if (p == NULL || n == 0 || read(fd, p, n) != (ssize_t)n || !crypto_hash(HASH_SHA256, bytes_of(p, n), sha256))
		return fail(err, errno, "read %s", path);
	*ret = bytes_of(p, n);
	p = NULL;
	return 0;
}

static int append(void *writer, struct bytes piece)
{
	struct writer *w = writer;
	put_bytes(w, piece);
	return w->full ? -1 : 0;
}

static int encrypt(struct hostile_material *m, struct hostile_prove *h, struct err *err)
{
	static struct pgp_encrypt enc;
	char name[16 + 2 * SHA256_SIZE] = "bb-sha256=";
	hex_encode(BYTES_ARRAY(m->evil_sha256), name + strlen(name));
	size_t line = strlen(h->act), n = line + 1 + h->padding, cap = 2 * n + 8192;
	CLEANUP(free_ptr) uint8_t *plain = malloc(n), *out = malloc(cap);
	if (plain == NULL || out == NULL)
		return fail(err, ENOMEM, "make a message");
	memset(plain, '.', n);
	memcpy(plain, h->act, line);
	plain[line] = '\n';

	struct pgp_encrypt_options o = PGP_ENCRYPT_DEFAULTS;
	o.chunk_octet = h->chunk_octet;
	o.part_bits = h->part_bits;
	o.length = n;
	o.name = h->bound ? bytes_str(name) : BYTES_NONE;
	if (h->chunk_octet == 0)                 /* every suite is to be seen at least once */
		o.cipher = PGP_CIPHER_AES128, o.mode = PGP_AEAD_OCB;
	struct writer w = writer_of(out, cap);
	enum pgp_error e = pgp_encrypt_init(&enc, &m->recipient, &o, append, &w);
	if (e == PGP_OK)
		e = pgp_encrypt_feed(&enc, bytes_of(plain, n));
	if (e == PGP_OK)
		e = pgp_encrypt_finish(&enc);
	pgp_encrypt_free(&enc);
	if (e != PGP_OK || w.full)
		return fail(err, 0, "encrypt \"%s\": %s", h->act, pgp_error_name(e));
	uint8_t *kept = malloc(w.at);
	if (kept == NULL || !crypto_hash(HASH_SHA256, writer_bytes(&w), h->sha256))
		return fail(err, ENOMEM, "keep a message");
	memcpy(kept, w.p, w.at);
	h->ciphertext = bytes_of(kept, w.at);
	return 0;
}

int hostile_material_make(struct hostile_material *m, struct bytes armored_key, const char *evil_path,
                          const char *small_path, struct err *err)
{
	enum pgp_error e = pgp_recipient_parse(armored_key, &m->recipient);
	if (e != PGP_OK || !bytes_to_cstr(armored_key, m->key, sizeof m->key))
		return fail(err, 0, "the enclave's key: %s", pgp_error_name(e));
	int ret = read_file(evil_path, &m->evil, m->evil_sha256, err);
	if (ret == 0)
		ret = read_file(small_path, &m->small, m->small_sha256, err);
	for (size_t i = 0; ret == 0 && i < HOSTILE_PROVES; i++) {
		m->prove[i] = honest[i];
		ret = encrypt(m, &m->prove[i], err);
	}
	return ret;
}

static void free_bytes(struct bytes *b)
{
	free((void *)(uintptr_t)b->p);
	*b = BYTES_NONE;
}

void hostile_material_free(struct hostile_material *m)
{
	for (size_t i = 0; i < HOSTILE_PROVES; i++)
		free_bytes(&m->prove[i].ciphertext);
	free_bytes(&m->evil);
	free_bytes(&m->small);
}
