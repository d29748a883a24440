/* openpgp_bench: decryption against libcrypto's own AES-GCM on the same bytes, and its memory.
 *
 *     openpgp_bench                 everything; exit status 1 when a limit is broken
 *     openpgp_bench rss MIB OCTET   (for itself) decrypts MIB of data in chunks of 2^(OCTET+6) bytes, made on
 *                                   the fly, and prints its peak resident memory in KiB
 *
 * Times are CPU times, medians of ROUNDS rounds in which the candidates take turns, so that a noisy machine
 * disturbs all of them alike. */
#include "base/cleanup.h"
#include "openpgp/decrypt.h"
#include "openpgp/encrypt.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

enum { ROUNDS = 9, SIZE = 40 << 20, CHUNK = 256 << 10, FRAME = 64 << 10 };
enum { RATIO_MAX = 2, RSS_GROWTH_MAX_KIB = 256 };

static struct pgp_key key;
static struct pgp_recipient to;
static struct pgp_decrypt decryptor;
static struct pgp_encrypt encryptor;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "openpgp_bench: %s failed\n", what);
	exit(2);
}

static void make_key(void)
{
	uint8_t text[PGP_ARMOR_MAX];
	struct writer w = writer_of(text, sizeof text);
	if (pgp_key_generate(&key, (uint32_t)time(NULL), PGP_BACKDATE_S) != PGP_OK ||
	    pgp_key_export(&key, &w) != PGP_OK || pgp_recipient_parse(writer_bytes(&w), &to) != PGP_OK)
		die("making a key");
}

static void start_decryption(pgp_sink *sink, void *arg)
{
	const struct pgp_key *keys[] = { &key };
	pgp_decrypt_init(&decryptor, keys, 1, UINT64_MAX, sink, arg);
}

static void end_decryption(void)
{
	if (pgp_decrypt_finish(&decryptor) != PGP_OK)
		die(pgp_error_name(decryptor.error));
	pgp_decrypt_free(&decryptor);
}

static int to_nowhere(void *arg, struct bytes piece) { (void)arg, (void)piece; return 0; }

/* --- memory ------------------------------------------------------------------------------------ */

static int to_decryptor(void *arg, struct bytes piece)
{
	(void)arg;
	return pgp_decrypt_feed(&decryptor, piece) == PGP_OK ? 0 : -1;
}

/* Encryptor and decryptor in one process, the one feeding the other: both have a fixed size. */
static int rss_main(uint64_t mib, uint8_t octet)
{
	static const uint8_t data[64 << 10];
	struct pgp_encrypt_options o = PGP_ENCRYPT_DEFAULTS;
	struct rusage usage;
	o.chunk_octet = octet;
	o.length = mib << 20;
	make_key();
	start_decryption(to_nowhere, NULL);
	if (pgp_encrypt_init(&encryptor, &to, &o, to_decryptor, NULL) != PGP_OK)
		die("encrypting");
	for (uint64_t at = 0; at < o.length; at += sizeof data)
		if (pgp_encrypt_feed(&encryptor, BYTES_ARRAY(data)) != PGP_OK)
			die("encrypting");
	if (pgp_encrypt_finish(&encryptor) != PGP_OK)
		die("encrypting");
	pgp_encrypt_free(&encryptor);
	end_decryption();
	getrusage(RUSAGE_SELF, &usage);
	printf("%ld\n", usage.ru_maxrss);
	return 0;
}

/* In a process of its own: the peak of this one is history. */
static long rss_kib(unsigned mib, unsigned octet)
{
	char command[64];
	long kib = 0;
	snprintf(command, sizeof command, "/proc/%d/exe rss %u %u", (int)getpid(), mib, octet);
	FILE *f = popen(command, "re");
	if (f == NULL || fscanf(f, "%ld", &kib) != 1 || pclose(f) != 0)
		die(command);
	return kib;
}

static int memory(void)
{
	int bad = 0;
	static const unsigned octets[] = { 6, 12, 16 };
	for (size_t i = 0; i < sizeof octets / sizeof octets[0]; i++) {
		long small = rss_kib(1, octets[i]), large = rss_kib(256, octets[i]);
		long growth = large - small;
		bool over = growth > RSS_GROWTH_MAX_KIB;
		printf("peak memory, chunks of %5u KiB: 1 MiB %ld KiB, 256 MiB %ld KiB: growth %ld KiB%s\n",
		       1u << (octets[i] - 4), small, large, growth, over ? "  TOO MUCH" : "");
		bad |= over;
	}
	return bad;
}

/* --- time -------------------------------------------------------------------------------------- */

static double cpu_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

struct message { uint8_t *p; size_t n, cap; };
static int to_message(void *arg, struct bytes piece)
{
	struct message *m = arg;
	if (piece.n > m->cap - m->n)
		return -1;
	memcpy(m->p + m->n, piece.p, piece.n);
	m->n += piece.n;
	return 0;
}

static struct message message_of(struct pgp_encrypt_options o, const uint8_t *data)
{
	struct message m = { .cap = SIZE + SIZE / 4 + 4096 };
	o.length = SIZE;
	m.p = malloc(m.cap);
	if (m.p == NULL || pgp_encrypt_init(&encryptor, &to, &o, to_message, &m) != PGP_OK ||
	    pgp_encrypt_feed(&encryptor, bytes_of(data, SIZE)) != PGP_OK || pgp_encrypt_finish(&encryptor) != PGP_OK)
		die("encrypting");
	pgp_encrypt_free(&encryptor);
	return m;
}

static void decrypt(const struct message *m, pgp_sink *sink, void *arg)
{
	start_decryption(sink, arg);
	for (size_t at = 0; at < m->n; at += FRAME)
		pgp_decrypt_feed(&decryptor, bytes_of(m->p + at, m->n - at < FRAME ? m->n - at : FRAME));
	end_decryption();
}

static int to_file(void *arg, struct bytes piece)
{
	return write(*(int *)arg, piece.p, piece.n) == (ssize_t)piece.n ? 0 : -1;
}

/* A fresh file in memory each time, as a job's payload is. */
static int memory_file(void)
{
	int fd = memfd_create("openpgp_bench", MFD_CLOEXEC);
	if (fd < 0)
		die("memfd_create");
	return fd;
}

/* What libcrypto alone needs: a message is so many chunks, each with its nonce and tag. */
static void evp_gcm(const uint8_t *in, uint8_t *out)
{
	static const uint8_t secret[32], nonce[12];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t tag[16];
	int n;
	for (size_t at = 0; at < SIZE; at += CHUNK) {
		/* encryption gives a tag without knowing one; the work is the same */
		if (EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, secret, nonce) != 1 ||
		    EVP_EncryptUpdate(ctx, out, &n, in + at, CHUNK) != 1 || EVP_EncryptFinal_ex(ctx, out, &n) != 1 ||
		    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, tag) != 1)
			die("EVP");
	}
	EVP_CIPHER_CTX_free(ctx);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static double median(double *v)
{
	qsort(v, ROUNDS, sizeof *v, by_value);
	return v[ROUNDS / 2];
}

enum candidate { EVP, NOWHERE, FILE_COPY, FILE_OUT, OCB, PARTS, SMALL_CHUNKS, LARGE_CHUNKS, CANDIDATES };
static const char *const names[CANDIDATES] = {
	[EVP] = "libcrypto AES-256-GCM alone",
	[NOWHERE] = "decrypt to nowhere (chunks of 256 KiB)",
	[FILE_COPY] = "write the plaintext to a memory file alone",
	[FILE_OUT] = "decrypt to a memory file",
	[OCB] = "decrypt to nowhere, AES-256-OCB",
	[PARTS] = "decrypt to nowhere, partial lengths of 512 B",
	[SMALL_CHUNKS] = "decrypt to nowhere, chunks of 64 B",
	[LARGE_CHUNKS] = "decrypt to nowhere, chunks of 4 MiB",
};

struct inputs { const uint8_t *data; uint8_t *scratch; struct message usual, ocb, parts, small, large; };

static double time_of(enum candidate c, const struct inputs *in)
{
	CLEANUP(close_fd) int fd = c == FILE_COPY || c == FILE_OUT ? memory_file() : -1;
	double from = cpu_ms();
	switch (c) {
	case EVP: evp_gcm(in->data, in->scratch); break;
	case NOWHERE: decrypt(&in->usual, to_nowhere, NULL); break;
	case FILE_COPY:
		for (size_t at = 0; at < SIZE; at += PGP_WORK_SIZE)
			if (to_file(&fd, bytes_of(in->data + at, PGP_WORK_SIZE)) != 0)
				die("write");
		break;
	case FILE_OUT: decrypt(&in->usual, to_file, &fd); break;
	case OCB: decrypt(&in->ocb, to_nowhere, NULL); break;
	case PARTS: decrypt(&in->parts, to_nowhere, NULL); break;
	case SMALL_CHUNKS: decrypt(&in->small, to_nowhere, NULL); break;
	case LARGE_CHUNKS: decrypt(&in->large, to_nowhere, NULL); break;
	case CANDIDATES: break;
	}
	return cpu_ms() - from;
}

static int speed(void)
{
	static uint8_t scratch[CHUNK];
	static double ms[CANDIDATES][ROUNDS];
	double result[CANDIDATES];
	uint8_t *data = malloc(SIZE);
	if (data == NULL || !crypto_random(data, SIZE))
		die("malloc");
	struct pgp_encrypt_options usual = PGP_ENCRYPT_DEFAULTS, ocb = usual, parts = usual, small = usual, large = usual;
	ocb.mode = PGP_AEAD_OCB;
	parts.part_bits = PGP_PART_BITS_MIN;
	small.chunk_octet = 0;
	large.chunk_octet = PGP_CHUNK_OCTET_MAX;
	struct inputs in = { data, scratch, message_of(usual, data), message_of(ocb, data), message_of(parts, data),
	                     message_of(small, data), message_of(large, data) };
	for (int round = 0; round < ROUNDS; round++)
		for (enum candidate c = 0; c < CANDIDATES; c++)
			ms[c][round] = time_of(c, &in);
	for (enum candidate c = 0; c < CANDIDATES; c++) {
		result[c] = median(ms[c]);
		/* median() has sorted them */
		printf("%-46s %7.2f ms  %5.2f x  (%.2f - %.2f)\n", names[c], result[c], result[c] / result[EVP], ms[c][0],
		       ms[c][ROUNDS - 1]);
	}
	/* writing is the receiver's own work, whoever decrypts */
	double to_nowhere_ratio = result[NOWHERE] / result[EVP];
	double to_file_ratio = result[FILE_OUT] / (result[EVP] + result[FILE_COPY]);
	bool over = to_nowhere_ratio > RATIO_MAX || to_file_ratio > RATIO_MAX;
	printf("40 MiB: %.2f x of libcrypto; to a memory file %.2f x of libcrypto and the write, %.2f x of libcrypto%s\n",
	       to_nowhere_ratio, to_file_ratio, result[FILE_OUT] / result[EVP], over ? "  TOO SLOW" : "");
	free(data);
	free(in.usual.p), free(in.ocb.p), free(in.parts.p), free(in.small.p), free(in.large.p);
	return over;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "rss") == 0)
		return rss_main(strtoull(argv[2], NULL, 10), (uint8_t)strtoul(argv[3], NULL, 10));
	if (argc != 1) {
		fprintf(stderr, "usage: openpgp_bench\n");
		return 2;
	}
	int bad = memory();
	make_key();
	bad |= speed();
	pgp_key_free(&key);
	return bad;
}
