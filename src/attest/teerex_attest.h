/* libteerex-attest: does this AWS Nitro attestation document come from an enclave that I trust?
 *
 *     struct teerex_pcr_set set = { 0 };
 *     teerex_pcr_set_add(&set, "0=e72a46ca…");                     the image you built or audited
 *     struct teerex_policy policy = { .sets = &set, .set_count = 1, .nonce = nonce, .nonce_size = 32 };
 *     struct teerex_result result;
 *     if (teerex_verify(document, document_size, &policy, &result) == TEEREX_OK)
 *             encrypt_to(result.public_key, result.public_key_size);
 *     else
 *             fprintf(stderr, "refused: %s: %s\n", teerex_code_name(result.code), result.message);
 *
 * A policy of all zeros is the strictest there is: AWS's root, the current time, no debug enclaves, and
 * no measurement named, which is refused. Nothing here can be told to skip a check; what can be changed
 * is whom to trust (root), when (now_ms), and which enclaves (sets, allow_debug).
 *
 * Sizes are in bytes, times in milliseconds since 1970 (UTC). The library keeps nothing between calls but
 * libcrypto's implementations of its algorithms, looked up once; it allocates nothing for its results (libcrypto
 * allocates while it works) and does no I/O but reading the clock when now_ms is 0. Functions may be called
 * from several threads, each with a cache and a result of its own.
 * Link with libcrypto 3.0 or later. teerex_attest(3) and tee-rex-verify(1) say more. */
#ifndef TEEREX_ATTEST_H
#define TEEREX_ATTEST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
	TEEREX_PCRS = 32,
	TEEREX_PCR_SIZE = 48,                    /* SHA-384 */
	TEEREX_FIELD_MAX = 1024,                 /* public_key, user_data, nonce */
	TEEREX_MODULE_ID_MAX = 128,
	TEEREX_DOCUMENT_MAX = 16384,             /* the hardware's documents are below 12,288 bytes */
	TEEREX_NAME_MAX = 63,
	TEEREX_MESSAGE_SIZE = 512,
	TEEREX_CACHE_ENTRIES = 64,
	TEEREX_FUTURE_TOLERANCE_MS = 300000,     /* how far a document's clock may be ahead of ours */
};

/* Verdicts. teerex_code_name() gives the stable word in quotes; codes are never renamed or reused. */
enum teerex_code {
	TEEREX_OK,                               /* "ok" */
	TEEREX_INTERNAL,                         /* "internal": no clock, or libcrypto is broken */
	TEEREX_DOCUMENT_TOO_LARGE,               /* "document-too-large" */

	/* The policy cannot be used, whatever the document. */
	TEEREX_POLICY_INVALID,                   /* "policy-invalid": sizes or pointers that make no sense */
	TEEREX_POLICY_BAD_ROOT,                  /* "policy-bad-root": root is no certificate of a P-384 CA */

	/* The envelope: COSE_Sign1. */
	TEEREX_COSE_TRUNCATED,                   /* "cose-truncated" */
	TEEREX_COSE_INDEFINITE_LENGTH,           /* "cose-indefinite-length" */
	TEEREX_COSE_NOT_SHORTEST,                /* "cose-not-shortest" */
	TEEREX_COSE_TAGGED,                      /* "cose-tagged" */
	TEEREX_COSE_MALFORMED,                   /* "cose-malformed" */
	TEEREX_COSE_NOT_ARRAY,                   /* "cose-not-array" */
	TEEREX_COSE_BAD_LENGTH,                  /* "cose-bad-length": not four elements */
	TEEREX_COSE_TRAILING_BYTES,              /* "cose-trailing-bytes" */
	TEEREX_COSE_BAD_PROTECTED,               /* "cose-bad-protected" */
	TEEREX_COSE_NO_ALGORITHM,                /* "cose-no-algorithm" */
	TEEREX_COSE_BAD_ALGORITHM,               /* "cose-bad-algorithm": not ES384 */
	TEEREX_COSE_CRITICAL_HEADER,             /* "cose-critical-header" */
	TEEREX_COSE_UNKNOWN_HEADER,              /* "cose-unknown-header" */
	TEEREX_COSE_UNPROTECTED_HEADER,          /* "cose-unprotected-header": not empty */
	TEEREX_COSE_BAD_PAYLOAD,                 /* "cose-bad-payload": detached, empty or not bytes */
	TEEREX_COSE_BAD_SIGNATURE_SIZE,          /* "cose-bad-signature-size": not 96 bytes */
	TEEREX_COSE_BAD_SIGNATURE,               /* "cose-bad-signature": not made by the leaf certificate's key */

	/* The payload. */
	TEEREX_DOC_TRUNCATED,                    /* "doc-truncated" */
	TEEREX_DOC_INDEFINITE_LENGTH,            /* "doc-indefinite-length" */
	TEEREX_DOC_NOT_SHORTEST,                 /* "doc-not-shortest" */
	TEEREX_DOC_TAGGED,                       /* "doc-tagged" */
	TEEREX_DOC_MALFORMED,                    /* "doc-malformed" */
	TEEREX_DOC_NOT_UTF8,                     /* "doc-not-utf8" */
	TEEREX_DOC_NOT_MAP,                      /* "doc-not-map" */
	TEEREX_DOC_TRAILING_BYTES,               /* "doc-trailing-bytes" */
	TEEREX_DOC_DUPLICATE_KEY,                /* "doc-duplicate-key" */
	TEEREX_DOC_UNKNOWN_KEY,                  /* "doc-unknown-key" */
	TEEREX_DOC_MISSING_KEY,                  /* "doc-missing-key" */
	TEEREX_DOC_BAD_MODULE_ID,                /* "doc-bad-module-id" */
	TEEREX_DOC_BAD_DIGEST,                   /* "doc-bad-digest": not "SHA384" */
	TEEREX_DOC_BAD_TIMESTAMP,                /* "doc-bad-timestamp": no whole number, or out of range */
	TEEREX_DOC_BAD_PCRS,                     /* "doc-bad-pcrs" */
	TEEREX_DOC_NO_PCRS,                      /* "doc-no-pcrs": an empty map */
	TEEREX_DOC_BAD_PCR_INDEX,                /* "doc-bad-pcr-index": above 31 */
	TEEREX_DOC_BAD_PCR_SIZE,                 /* "doc-bad-pcr-size": not 48 bytes */
	TEEREX_DOC_DUPLICATE_PCR,                /* "doc-duplicate-pcr" */
	TEEREX_DOC_NO_PCR0,                      /* "doc-no-pcr0": PCR0, 1 or 2 is not listed */
	TEEREX_DOC_BAD_CERTIFICATE,              /* "doc-bad-certificate" */
	TEEREX_DOC_BAD_CABUNDLE,                 /* "doc-bad-cabundle" */
	TEEREX_DOC_EMPTY_CABUNDLE,               /* "doc-empty-cabundle" */
	TEEREX_DOC_LONG_CABUNDLE,                /* "doc-long-cabundle" */
	TEEREX_DOC_BAD_PUBLIC_KEY,               /* "doc-bad-public-key" */
	TEEREX_DOC_BAD_USER_DATA,                /* "doc-bad-user-data" */
	TEEREX_DOC_BAD_NONCE,                    /* "doc-bad-nonce" */
	TEEREX_DOC_FROM_FUTURE,                  /* "doc-from-future": beyond the tolerance */
	TEEREX_DOC_TOO_OLD,                      /* "doc-too-old": over max_age_ms */

	/* One certificate. */
	TEEREX_CERT_NOT_DER,                     /* "cert-not-der": PEM, BER, truncated */
	TEEREX_CERT_TRAILING_BYTES,              /* "cert-trailing-bytes" */
	TEEREX_CERT_MALFORMED,                   /* "cert-malformed" */
	TEEREX_CERT_BAD_VERSION,                 /* "cert-bad-version" */
	TEEREX_CERT_BAD_SERIAL,                  /* "cert-bad-serial" */
	TEEREX_CERT_BAD_ALGORITHM,               /* "cert-bad-algorithm": not ecdsa-with-SHA384 */
	TEEREX_CERT_BAD_KEY,                     /* "cert-bad-key": not P-384 */
	TEEREX_CERT_BAD_TIME,                    /* "cert-bad-time" */
	TEEREX_CERT_BAD_SIGNATURE_FORM,          /* "cert-bad-signature-form" */
	TEEREX_CERT_BAD_EXTENSION,               /* "cert-bad-extension" */
	TEEREX_CERT_CRITICAL_EXTENSION,          /* "cert-critical-extension": not understood */

	/* The chain of them. */
	TEEREX_CHAIN_WRONG_ROOT,                 /* "chain-wrong-root": does not start at the root trusted */
	TEEREX_CHAIN_NAME_MISMATCH,              /* "chain-name-mismatch": issuer is not the one before it */
	TEEREX_CHAIN_NOT_CA,                     /* "chain-not-ca": a certificate issues that may not */
	TEEREX_CHAIN_NOT_CERT_SIGNER,            /* "chain-not-cert-signer": … its key usage says so */
	TEEREX_CHAIN_PATH_LENGTH,                /* "chain-path-length": more CAs below one than it allows */
	TEEREX_CHAIN_LEAF_IS_CA,                 /* "chain-leaf-is-ca": a CA signed the document itself */
	TEEREX_CHAIN_LEAF_NOT_SIGNER,            /* "chain-leaf-not-signer": key usage without digitalSignature */
	TEEREX_CHAIN_NOT_YET_VALID,              /* "chain-not-yet-valid" */
	TEEREX_CHAIN_EXPIRED,                    /* "chain-expired" */
	TEEREX_CHAIN_BAD_SIGNATURE,              /* "chain-bad-signature" */

	/* The document is authentic, but not what the policy asks for. */
	TEEREX_DEBUG_ENCLAVE,                    /* "debug-enclave": PCR0 is all zeros */
	TEEREX_POLICY_EMPTY,                     /* "policy-empty": no set of PCRs given */
	TEEREX_POLICY_WEAK,                      /* "policy-weak": a set without PCR0, or PCR8 and an epoch */
	TEEREX_PCR_MISMATCH,                     /* "pcr-mismatch" */
	TEEREX_PCR_MISSING,                      /* "pcr-missing": the document does not list one asked for */
	TEEREX_PCR_EXPIRED,                      /* "pcr-expired": only sets past their not_after_ms match */
	TEEREX_EPOCH_MISSING,                    /* "epoch-missing": user_data carries no epoch */
	TEEREX_EPOCH_TOO_LOW,                    /* "epoch-too-low": an image that has been replaced */
	TEEREX_NONCE_MISSING,                    /* "nonce-missing" */
	TEEREX_NONCE_MISMATCH,                   /* "nonce-mismatch": a replay, or another caller's answer */
	TEEREX_CODE_COUNT
};

/* The stable word; "internal" for a value out of range. Never NULL. */
const char *teerex_code_name(enum teerex_code code);

/* One set of measurements; a document must match all of one set. A set counts as a constraint only with
 * PCR0 (not all zeros), or with PCR8 (the image signer, not all zeros) and min_epoch. */
struct teerex_pcr_set {
	char name[TEEREX_NAME_MAX + 1];          /* for people; may be empty */
	uint64_t not_after_ms;                   /* past this moment the set matches nothing; 0: no end */
	uint64_t min_epoch;                      /* least "epoch" in user_data (JSON); 0: not asked for */
	uint32_t mask;                           /* bit n: PCR n must equal pcr[n] */
	uint8_t pcr[TEEREX_PCRS][TEEREX_PCR_SIZE];
};

/* Adds "N=HEX" (0-31, 96 hex digits). 0, or -1 when it is malformed or PCR N is in the set already. */
int teerex_pcr_set_add(struct teerex_pcr_set *set, const char *text);

/* Reads a policy file (format: tee-rex-verify(1)) into sets[0 … *ret_count-1]. 0, or -1 with a sentence
 * naming the line in message; nothing is then to be used. */
int teerex_policy_parse(const char *text, size_t size, struct teerex_pcr_set *sets, size_t capacity,
                        size_t *ret_count, char *message, size_t message_size);

/* Certificates of a chain whose signature was good. Zero it once; the members are the library's. Only
 * signatures are remembered, never verdicts: dates, names and constraints are checked every time, so a
 * call gives the same verdict with and without it. One thread at a time. */
struct teerex_cache {
	uint8_t entry_[TEEREX_CACHE_ENTRIES][32];
	unsigned count_, next_;
};

struct teerex_policy {                           /* all pointers borrowed for the call */
	const uint8_t *root;                     /* DER certificate to trust; NULL: AWS Nitro Enclaves root G1 */
	size_t root_size;
	uint64_t now_ms;                         /* 0: this machine's clock */
	uint64_t max_age_ms;                     /* of the document; 0: its certificate's dates decide */
	const uint8_t *nonce;                    /* must be in the document, byte for byte; NULL: none asked for */
	size_t nonce_size;                       /* 1-1024 */
	const struct teerex_pcr_set *sets;       /* one of them must match */
	size_t set_count;
	int allow_debug;                         /* let a debug enclave pass: it measures NOTHING */
	struct teerex_cache *cache;              /* NULL: none */
};

/* On refusal everything but code, message and simulated is zero: nothing of a refused document is there
 * to be used by mistake. */
struct teerex_result {
	enum teerex_code code;
	char message[TEEREX_MESSAGE_SIZE];       /* what failed, why, what to do; printable ASCII */
	int simulated;                           /* the root trusted is not AWS's: label it wherever it is shown */
	int debug;                               /* all-zero PCR0-2, let through by allow_debug: likewise */
	uint64_t timestamp_ms;
	char module_id[TEEREX_MODULE_ID_MAX + 1];    /* UTF-8 without zero bytes; escape it before a terminal */
	uint32_t pcr_mask;                       /* bit n: pcr[n] is in the document */
	uint8_t pcr[TEEREX_PCRS][TEEREX_PCR_SIZE];
	int has_public_key, has_user_data, has_nonce;    /* 0: null in the document */
	size_t public_key_size, user_data_size, nonce_size;
	uint8_t public_key[TEEREX_FIELD_MAX];
	uint8_t user_data[TEEREX_FIELD_MAX];
	uint8_t nonce[TEEREX_FIELD_MAX];
	uint64_t epoch;                          /* from user_data, where the matching set asked for one; else 0 */
	char set_name[TEEREX_NAME_MAX + 1];      /* of the set that matched */
};

#if defined(__GNUC__)
__attribute__((warn_unused_result))
#endif
enum teerex_code teerex_verify(const uint8_t *document, size_t document_size,
                               const struct teerex_policy *policy, struct teerex_result *result);

/* The AWS Nitro Enclaves root G1, DER, static. */
const uint8_t *teerex_aws_root(size_t *ret_size);
/* The one certificate in a PEM text, as DER, for policy.root. 0, or -1: none, several, malformed, or
 * larger than capacity. */
int teerex_root_from_pem(const char *pem, size_t size, uint8_t *der, size_t capacity, size_t *ret_size);

#ifdef __cplusplus
}
#endif
#endif
