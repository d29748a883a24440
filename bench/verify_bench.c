/* verify_bench [DOCUMENT]: documents a second, with and without the cache, against what libcrypto alone needs for the
 * signatures in them. Run it in the top directory; DOCUMENT is by default the real one of tests/vectors.
 *
 * A document of the hardware has five P-384 signatures to check: three intermediates, the leaf, its own. With all
 * certificates in the cache one is left. Times are CPU times, medians of ROUNDS rounds in which the candidates take
 * turns, so that a noisy machine disturbs all of them alike. Exit status 1 when a limit is broken: the verifier's own
 * work (parsing, names, policy, copies) may take at most OVERHEAD_MAX_PERCENT of the signatures' time. */
#include "attest/teerex_attest.h"
#include "base/cleanup.h"
#include "format/attest_doc.h"
#include "format/cose_sign1.h"

#include <openssl/evp.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 15, BATCH = 20, OVERHEAD_MAX_PERCENT = 25 };

static uint8_t document[TEEREX_DOCUMENT_MAX];
static size_t document_size;
static struct teerex_policy policy;
static struct teerex_pcr_set set;
static struct teerex_result result;
static EVP_PKEY *pkey;
static uint8_t digest[48] = { 1 }, signature[128];
static size_t signature_size;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "verify_bench: %s\n", what);
	exit(2);
}

static void expect(enum teerex_code got, enum teerex_code wanted)
{
	if (got != wanted)
		die(result.message);
}

static void signature_alone(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
	if (ctx == NULL || EVP_PKEY_verify_init(ctx) != 1 ||
	    EVP_PKEY_verify(ctx, signature, signature_size, digest, sizeof digest) != 1)
		die("libcrypto cannot verify");
	EVP_PKEY_CTX_free(ctx);
}

static void without_cache(void)
{
	policy.cache = NULL;
	expect(teerex_verify(document, document_size, &policy, &result), TEEREX_OK);
}

static void with_cache(void)
{
	static struct teerex_cache cache;
	policy.cache = &cache;
	expect(teerex_verify(document, document_size, &policy, &result), TEEREX_OK);
}

/* A year later: all of the chain is parsed and checked, no signature is. */
static void refused_by_date(void)
{
	struct teerex_policy later = policy;
	later.now_ms += UINT64_C(31536000000);
	expect(teerex_verify(document, document_size, &later, &result), TEEREX_CHAIN_EXPIRED);
}

static void cut_short(void)
{
	expect(teerex_verify(document, document_size - 1, &policy, &result), TEEREX_COSE_TRUNCATED);
}

static struct candidate {
	const char *name;
	void (*run)(void);
	int signatures;                          /* how many of libcrypto's it needs */
	double us[ROUNDS];                       /* CPU time of one */
} candidates[] = {
	{ "one P-384 signature, libcrypto alone", signature_alone, 1, { 0 } },
	{ "document, no cache (5 signatures)", without_cache, 5, { 0 } },
	{ "document, certificates in the cache (1)", with_cache, 1, { 0 } },
	{ "document refused by its dates (0)", refused_by_date, 0, { 0 } },
	{ "document cut short (0)", cut_short, 0, { 0 } },
};
enum { COUNT = sizeof candidates / sizeof candidates[0] };

static double cpu_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(struct candidate *c)
{
	qsort(c->us, ROUNDS, sizeof c->us[0], by_value);
	return c->us[ROUNDS / 2];
}

static void prepare(const char *path)
{
	CLEANUP(close_file) FILE *f = fopen(path, "rb");
	struct cose_sign1 cose;
	struct attest_doc d;
	if (f == NULL)
		die("cannot open the document; run this in the top directory");
	document_size = fread(document, 1, sizeof document, f);
	if (cose_sign1_parse(bytes_of(document, document_size), &cose) != COSE_OK ||
	    attest_doc_parse(cose.payload, &d) != DOC_OK || !(d.pcr_mask & 1))
		die("that is no attestation document");
	memcpy(set.pcr[0], d.pcr[0].p, TEEREX_PCR_SIZE);
	set.mask = 1;
	policy = (struct teerex_policy){ .now_ms = d.timestamp_ms, .sets = &set, .set_count = 1 };

	pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384");
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
	signature_size = sizeof signature;
	if (ctx == NULL || EVP_PKEY_sign_init(ctx) != 1 ||
	    EVP_PKEY_sign(ctx, signature, &signature_size, digest, sizeof digest) != 1)
		die("libcrypto cannot sign");
	EVP_PKEY_CTX_free(ctx);
}

int main(int argc, char **argv)
{
	int broken = 0;
	prepare(argc > 1 ? argv[1] : "tests/vectors/attestation/production.bin");
	for (int round = -1; round < ROUNDS; round++)        /* the first one only warms up */
		for (int c = 0; c < COUNT; c++) {
			double start = cpu_us();
			for (int i = 0; i < BATCH; i++)
				candidates[c].run();
			if (round >= 0)
				candidates[c].us[round] = (cpu_us() - start) / BATCH;
		}
	double one = median(&candidates[0]);
	printf("%-44s %10s %10s %s\n", "", "us each", "per second", "own work");
	for (int c = 0; c < COUNT; c++) {
		double us = c == 0 ? one : median(&candidates[c]);
		double limit = one * candidates[c].signatures;
		printf("%-44s %10.1f %10.0f", candidates[c].name, us, 1e6 / us);
		if (c > 0 && candidates[c].signatures > 0) {
			double percent = (us - limit) / limit * 100;
			bool over = percent > OVERHEAD_MAX_PERCENT;
			broken |= over;
			printf(" %+.1f %%%s", percent, over ? " OVER THE LIMIT" : "");
		}
		printf("\n");
	}
	EVP_PKEY_free(pkey);
	return broken;
}
