/* The whole verifier. Each input is tried as a document as it is, and, when it holds a payload, as that payload
 * signed again: certificates replaced by a chain made at the start, so that the policy behind the signature is
 * reached. A verdict "ok" must be what this file finds too, by looking at the payload itself; with and without a
 * cache it must be the same. Policy files and user data are tried on the same bytes. */
#include "attest/teerex_attest.h"

#include "attest/epoch.h"
#include "crypto/x509_issue.h"
#include "format/attest_doc.h"
#include "format/cose_sign1.h"

#include <stdlib.h>

#define CHECK(x) do { if (!(x)) abort(); } while (0)

static const uint64_t now_ms = UINT64_C(1767268800000);
static struct p384 *leaf_key;
static uint8_t root_buf[X509_ISSUED_MAX], leaf_buf[X509_ISSUED_MAX];
static struct bytes root, leaf;
static struct teerex_cache cache;

static void make_chain(void)
{
	struct p384 *root_key = p384_generate();
	leaf_key = p384_generate();
	struct x509_template t = { .common_name = "fuzz", .not_after_s = 4000000000, .ca = true, .path_len = X509_NO_PATH_LEN,
	                           .key_usage = X509_KEY_CERT_SIGN, .serial = BYTES_LIT("\1") };
	struct writer w = writer_of(root_buf, sizeof root_buf);
	CHECK(x509_make_root(root_key, &t, &w));
	root = writer_bytes(&w);
	t.ca = false;
	t.key_usage = X509_DIGITAL_SIGNATURE;
	w = writer_of(leaf_buf, sizeof leaf_buf);
	CHECK(x509_issue(root_key, root, leaf_key, &t, &w));
	leaf = writer_bytes(&w);
	p384_free(root_key);
}

static bool zero(struct bytes b)
{
	for (size_t i = 0; i < b.n; i++)
		if (b.p[i] != 0)
			return false;
	return true;
}

/* The policy once more, in as few words as possible. */
static bool acceptable(const struct attest_doc *d, const struct teerex_policy *p)
{
	uint64_t epoch;
	bool debug = zero(d->pcr[0]);
	if ((d->pcr_mask & 7) != 7 || d->timestamp_ms > now_ms + TEEREX_FUTURE_TOLERANCE_MS)
		return false;
	if (debug && !(p->allow_debug && zero(d->pcr[1]) && zero(d->pcr[2])))
		return false;
	if (p->nonce != NULL && !(d->has_nonce && bytes_equal(d->nonce, bytes_of(p->nonce, p->nonce_size))))
		return false;
	if (p->set_count == 0)
		return debug;
	return bytes_equal(d->pcr[0], BYTES_ARRAY(p->sets[0].pcr[0])) &&
		(p->sets[0].min_epoch == 0 || (d->has_user_data && epoch_find(d->user_data, &epoch) && epoch >= p->sets[0].min_epoch));
}

static enum teerex_code verify_both_ways(struct bytes doc, struct teerex_policy *p)
{
	static struct teerex_result plain, cached;
	p->cache = NULL;
	enum teerex_code code = teerex_verify(doc.p, doc.n, p, &plain);
	p->cache = &cache;
	CHECK(teerex_verify(doc.p, doc.n, p, &cached) == code && plain.code == code);
	CHECK(memcmp(&plain, &cached, sizeof plain) == 0);
	CHECK(memchr(plain.message, 0, sizeof plain.message) != NULL && plain.message[0] != '\0');
	CHECK(code == TEEREX_OK || (plain.pcr_mask == 0 && plain.public_key_size == 0));
	return code;
}

static void try_signed_again(struct bytes payload)
{
	static uint8_t inner[16384], tbs_buf[16384 + COSE_SIGN1_TBS_OVERHEAD], outer[TEEREX_DOCUMENT_MAX];
	struct attest_doc d;
	uint8_t signature[P384_SIGNATURE_SIZE];
	if (attest_doc_parse(payload, &d) != DOC_OK)
		return;
	d.cabundle[0] = root;
	d.cabundle_count = 1;
	d.certificate = leaf;
	struct writer w = writer_of(inner, sizeof inner), tbs = writer_of(tbs_buf, sizeof tbs_buf), out = writer_of(outer, sizeof outer);
	attest_doc_put(&w, &d);
	cose_sign1_tbs_put(&tbs, cose_sign1_es384_header(), writer_bytes(&w));
	CHECK(!tbs.full && p384_sign(leaf_key, writer_bytes(&tbs), signature));
	cose_sign1_put(&out, writer_bytes(&w), signature);
	CHECK(!out.full);

	/* the policy's own choices come from the payload, so that every kind of match happens */
	uint32_t dice = 0;
	for (size_t i = 0; i < payload.n; i++)
		dice = dice * 31 + payload.p[i];
	dice ^= dice >> 16;
	struct teerex_pcr_set set = { .mask = 1, .min_epoch = dice % 2 * 5 };
	if (d.pcr_mask & 1)
		memcpy(set.pcr[0], d.pcr[0].p, TEEREX_PCR_SIZE);
	set.pcr[0][47] ^= (uint8_t)(dice % 7 == 0);
	bool weak = zero(BYTES_ARRAY(set.pcr[0]));
	struct teerex_policy p = { .root = root.p, .root_size = root.n, .now_ms = now_ms, .sets = &set,
	                           .set_count = dice % 5 != 0, .allow_debug = dice / 2 % 2 == 0 };
	if (dice % 11 == 0) {
		p.nonce = (const uint8_t *)"nonce";
		p.nonce_size = 5;
	}
	bool debug = zero(d.pcr[0]) && (d.pcr_mask & 1);
	CHECK((verify_both_ways(writer_bytes(&out), &p) == TEEREX_OK) == (acceptable(&d, &p) && (!weak || debug)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct teerex_pcr_set sets[4];
	struct bytes in = bytes_of(data, size);
	struct cose_sign1 c;
	uint64_t epoch;
	size_t n;
	char message[64];
	if (leaf_key == NULL)
		make_chain();
	struct teerex_policy aws = { .now_ms = UINT64_C(1725719859545), .allow_debug = 1 };
	(void)verify_both_ways(in, &aws);
	struct teerex_policy own = { .root = root.p, .root_size = root.n, .now_ms = now_ms };
	CHECK(verify_both_ways(in, &own) != TEEREX_OK);      /* nobody has that root's key */
	try_signed_again(cose_sign1_parse(in, &c) == COSE_OK ? c.payload : in);
	(void)epoch_find(in, &epoch);
	if (teerex_policy_parse((const char *)data, size, sets, 4, &n, message, sizeof message) == 0)
		CHECK(n > 0 && n <= 4);
	return 0;
}
