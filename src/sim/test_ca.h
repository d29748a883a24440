/* The certificates of a software NSM: a self-signed P-384 test root and, below it, the same chain that
 * hardware documents carry (three intermediates in the bundle after the root, then the leaf that signs).
 *
 *     root 10 years  ->  region 20 days  ->  zone 7 days  ->  instance 1 day  ->  leaf 3 hours
 *
 * Only the root is kept, in a directory of the caller's: ca.pem (its key and certificate, 0600) and
 * root.pem (the certificate alone, for verifiers). The rest lives in memory and is made again, with a
 * new key, before it expires. Every name says SIMULATED.
 *
 * The root's key protects nothing: whoever reads it can make documents that a verifier told to trust
 * this root accepts. That is what the root is for. */
#ifndef SIM_TEST_CA_H
#define SIM_TEST_CA_H

#include "base/bytes.h"
#include "base/fail.h"
#include "crypto/crypto.h"
#include "crypto/x509_issue.h"
#include "format/nsm.h"

enum test_ca_level { CA_ROOT, CA_REGION, CA_ZONE, CA_INSTANCE, CA_LEAF, CA_LEVELS };

struct test_ca_link {
	struct p384 *key;                        /* owned */
	int64_t not_before_s, not_after_s;       /* since 1970 */
	size_t n;
	uint8_t der[X509_ISSUED_MAX];
};

struct test_ca {
	char module_id[NSM_MODULE_ID_MAX + 1];   /* named by the instance and leaf certificates */
	struct test_ca_link link[CA_LEVELS];
};

/* Makes or loads the root in dir (made if it is missing, its parent is not) and issues the chain.
 * Survives being killed at any point and being started twice at once: the next call completes what is
 * there, and all of them end up with the same root. module_id: see test_ca_module_id_valid(). */
int test_ca_open(struct test_ca *ca, const char *dir, const char *module_id, int64_t now_s, struct err *err);
/* The same with a root that is kept nowhere. */
int test_ca_in_memory(struct test_ca *ca, const char *module_id, int64_t now_s, struct err *err);
/* Releases the keys. */
void test_ca_close(struct test_ca *ca);

/* Re-issues what is about to expire (or not valid yet, should the clock have gone back), so that the
 * leaf is good for an hour more at least. False: the root is out of its time, or libcrypto failed. */
bool test_ca_refresh(struct test_ca *ca, int64_t now_s);

static inline struct bytes test_ca_certificate(const struct test_ca *ca, enum test_ca_level level)
{
	return bytes_of(ca->link[level].der, ca->link[level].n);
}

/* "sim-" and 1 to 92 characters of [A-Za-z0-9._-]: nobody takes it for a real one, which starts "i-". */
bool test_ca_module_id_valid(const char *id);

#endif
