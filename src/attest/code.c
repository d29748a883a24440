/* One row per verdict. The sentences of certificates continue "certificate 2 of 5 …". */
#include "attest/code.h"

#define REENCODED "; the hardware never writes this, so something on the way made or changed it: do not use it"
#define FETCH_AGAIN "; fetch it again"
#define NOT_NITRO "; certificates of Nitro enclaves never look like this: do not use the document"

static const struct { const char *name, *sentence; } codes[] = {
	[TEEREX_OK] = { "ok", "the document is authentic and is what the policy asks for" },
	[TEEREX_INTERNAL] = { "internal", "the verification could not be carried out (no clock, or libcrypto failed); check this machine" },
	[TEEREX_DOCUMENT_TOO_LARGE] = { "document-too-large", "the document is larger than 16 KiB, which no attestation document is; check what was fetched" },
	[TEEREX_POLICY_INVALID] = { "policy-invalid", "the policy's sizes or pointers make no sense; this is a mistake of the calling program" },
	[TEEREX_POLICY_BAD_ROOT] = { "policy-bad-root", "the root to trust is not a certificate of a P-384 certificate authority; check the file given as root" },

	[TEEREX_COSE_TRUNCATED] = { "cose-truncated", "the document ends early: it was cut on its way" FETCH_AGAIN },
	[TEEREX_COSE_INDEFINITE_LENGTH] = { "cose-indefinite-length", "the envelope uses an indefinite length" REENCODED },
	[TEEREX_COSE_NOT_SHORTEST] = { "cose-not-shortest", "the envelope has a number in a longer form than needed" REENCODED },
	[TEEREX_COSE_TAGGED] = { "cose-tagged", "the envelope carries a CBOR tag" REENCODED },
	[TEEREX_COSE_MALFORMED] = { "cose-malformed", "this is not an attestation document: no valid CBOR; check what was fetched" },
	[TEEREX_COSE_NOT_ARRAY] = { "cose-not-array", "this is not an attestation document: CBOR, but no COSE_Sign1 array; check what was fetched" },
	[TEEREX_COSE_BAD_LENGTH] = { "cose-bad-length", "the envelope does not have the four elements of COSE_Sign1; check what was fetched" },
	[TEEREX_COSE_TRAILING_BYTES] = { "cose-trailing-bytes", "bytes follow the end of the document; check what was fetched" },
	[TEEREX_COSE_BAD_PROTECTED] = { "cose-bad-protected", "the protected header is malformed" REENCODED },
	[TEEREX_COSE_NO_ALGORITHM] = { "cose-no-algorithm", "the protected header names no signature algorithm" REENCODED },
	[TEEREX_COSE_BAD_ALGORITHM] = { "cose-bad-algorithm", "the signature algorithm is not ES384" REENCODED },
	[TEEREX_COSE_CRITICAL_HEADER] = { "cose-critical-header", "the protected header demands an extension that is not known here" REENCODED },
	[TEEREX_COSE_UNKNOWN_HEADER] = { "cose-unknown-header", "the protected header holds more than the algorithm" REENCODED },
	[TEEREX_COSE_UNPROTECTED_HEADER] = { "cose-unprotected-header", "the unprotected header, which nobody signs, is not empty" REENCODED },
	[TEEREX_COSE_BAD_PAYLOAD] = { "cose-bad-payload", "the envelope holds no payload" REENCODED },
	[TEEREX_COSE_BAD_SIGNATURE_SIZE] = { "cose-bad-signature-size", "the signature is not a string of 96 bytes" REENCODED },
	[TEEREX_COSE_BAD_SIGNATURE] = { "cose-bad-signature", "the signature does not fit: the document was changed, or somebody else signed it; do not use it" },

	[TEEREX_DOC_TRUNCATED] = { "doc-truncated", "the signed payload ends early" REENCODED },
	[TEEREX_DOC_INDEFINITE_LENGTH] = { "doc-indefinite-length", "the payload uses an indefinite length" REENCODED },
	[TEEREX_DOC_NOT_SHORTEST] = { "doc-not-shortest", "the payload has a number in a longer form than needed" REENCODED },
	[TEEREX_DOC_TAGGED] = { "doc-tagged", "the payload carries a CBOR tag" REENCODED },
	[TEEREX_DOC_MALFORMED] = { "doc-malformed", "the payload is not valid CBOR" REENCODED },
	[TEEREX_DOC_NOT_UTF8] = { "doc-not-utf8", "the payload holds text that is not UTF-8" REENCODED },
	[TEEREX_DOC_NOT_MAP] = { "doc-not-map", "the payload is not a map with text keys" REENCODED },
	[TEEREX_DOC_TRAILING_BYTES] = { "doc-trailing-bytes", "bytes follow the payload's map" REENCODED },
	[TEEREX_DOC_DUPLICATE_KEY] = { "doc-duplicate-key", "the payload has a key twice, so it says two things" REENCODED },
	[TEEREX_DOC_UNKNOWN_KEY] = { "doc-unknown-key", "the payload makes a statement that is not known here; a newer version of this program may know it" },
	[TEEREX_DOC_MISSING_KEY] = { "doc-missing-key", "the payload lacks a key that every document has" REENCODED },
	[TEEREX_DOC_BAD_MODULE_ID] = { "doc-bad-module-id", "module_id is not a text of 1 to 128 bytes without control characters" REENCODED },
	[TEEREX_DOC_BAD_DIGEST] = { "doc-bad-digest", "the measurements are not SHA384, the one digest known here" REENCODED },
	[TEEREX_DOC_BAD_TIMESTAMP] = { "doc-bad-timestamp", "timestamp is not a positive whole number of milliseconds in range" REENCODED },
	[TEEREX_DOC_BAD_PCRS] = { "doc-bad-pcrs", "pcrs is not a map from numbers to byte strings" REENCODED },
	[TEEREX_DOC_NO_PCRS] = { "doc-no-pcrs", "the document lists no measurement at all" REENCODED },
	[TEEREX_DOC_BAD_PCR_INDEX] = { "doc-bad-pcr-index", "the document lists a PCR above 31" REENCODED },
	[TEEREX_DOC_BAD_PCR_SIZE] = { "doc-bad-pcr-size", "a PCR does not have 48 bytes" REENCODED },
	[TEEREX_DOC_DUPLICATE_PCR] = { "doc-duplicate-pcr", "a PCR is listed twice" REENCODED },
	[TEEREX_DOC_NO_PCR0] = { "doc-no-pcr0", "PCR0, PCR1 and PCR2 are not all listed, so it cannot be told which image runs, or whether in debug mode" REENCODED },
	[TEEREX_DOC_BAD_CERTIFICATE] = { "doc-bad-certificate", "certificate is not a string of 1 to 2,048 bytes" REENCODED },
	[TEEREX_DOC_BAD_CABUNDLE] = { "doc-bad-cabundle", "cabundle is not an array of strings of 1 to 2,048 bytes" REENCODED },
	[TEEREX_DOC_EMPTY_CABUNDLE] = { "doc-empty-cabundle", "cabundle is empty: nobody vouches for the certificate" REENCODED },
	[TEEREX_DOC_LONG_CABUNDLE] = { "doc-long-cabundle", "cabundle holds more than 8 certificates" REENCODED },
	[TEEREX_DOC_BAD_PUBLIC_KEY] = { "doc-bad-public-key", "public_key is not null or 1 to 1,024 bytes" REENCODED },
	[TEEREX_DOC_BAD_USER_DATA] = { "doc-bad-user-data", "user_data is not null or at most 1,024 bytes" REENCODED },
	[TEEREX_DOC_BAD_NONCE] = { "doc-bad-nonce", "nonce is not null or at most 1,024 bytes" REENCODED },
	[TEEREX_DOC_FROM_FUTURE] = { "doc-from-future", "the document is dated in the future; check this machine's clock" },
	[TEEREX_DOC_TOO_OLD] = { "doc-too-old", "the document is older than the policy allows; ask the enclave for a new one" },

	[TEEREX_CERT_NOT_DER] = { "cert-not-der", "is not DER (PEM, perhaps, or cut)" NOT_NITRO },
	[TEEREX_CERT_TRAILING_BYTES] = { "cert-trailing-bytes", "is followed by more bytes" NOT_NITRO },
	[TEEREX_CERT_MALFORMED] = { "cert-malformed", "is DER, but not laid out as a certificate" NOT_NITRO },
	[TEEREX_CERT_BAD_VERSION] = { "cert-bad-version", "is not of version 3" NOT_NITRO },
	[TEEREX_CERT_BAD_SERIAL] = { "cert-bad-serial", "has a serial number that is not positive and at most 20 bytes" NOT_NITRO },
	[TEEREX_CERT_BAD_ALGORITHM] = { "cert-bad-algorithm", "is not signed with ecdsa-with-SHA384" NOT_NITRO },
	[TEEREX_CERT_BAD_KEY] = { "cert-bad-key", "does not hold a P-384 key" NOT_NITRO },
	[TEEREX_CERT_BAD_TIME] = { "cert-bad-time", "has a malformed date" NOT_NITRO },
	[TEEREX_CERT_BAD_SIGNATURE_FORM] = { "cert-bad-signature-form", "has a malformed signature" NOT_NITRO },
	[TEEREX_CERT_BAD_EXTENSION] = { "cert-bad-extension", "has a malformed or repeated extension" NOT_NITRO },
	[TEEREX_CERT_CRITICAL_EXTENSION] = { "cert-critical-extension", "has a critical extension that is not known here" NOT_NITRO },

	[TEEREX_CHAIN_WRONG_ROOT] = { "chain-wrong-root", "the chain does not start at the root that is trusted here: a simulated enclave's document, or a forged one; a test root must be named (--root)" },
	[TEEREX_CHAIN_NAME_MISMATCH] = { "chain-name-mismatch", "names another issuer than the certificate before it" NOT_NITRO },
	[TEEREX_CHAIN_NOT_CA] = { "chain-not-ca", "issues the next one but is no certificate authority" NOT_NITRO },
	[TEEREX_CHAIN_NOT_CERT_SIGNER] = { "chain-not-cert-signer", "issues the next one but its key usage does not allow that" NOT_NITRO },
	[TEEREX_CHAIN_PATH_LENGTH] = { "chain-path-length", "has more authorities below it than its path length allows" NOT_NITRO },
	[TEEREX_CHAIN_LEAF_IS_CA] = { "chain-leaf-is-ca", "is an authority's, and signed a document itself" NOT_NITRO },
	[TEEREX_CHAIN_LEAF_NOT_SIGNER] = { "chain-leaf-not-signer", "signed the document but its key usage does not allow that" NOT_NITRO },
	[TEEREX_CHAIN_NOT_YET_VALID] = { "chain-not-yet-valid", "is not valid yet; check this machine's clock" },
	[TEEREX_CHAIN_EXPIRED] = { "chain-expired", "has expired; ask the enclave for a new document, and check this machine's clock" },
	[TEEREX_CHAIN_BAD_SIGNATURE] = { "chain-bad-signature", "is not signed by the one before it: forged or changed; do not use the document" },

	[TEEREX_DEBUG_ENCLAVE] = { "debug-enclave", "the enclave runs in debug mode: whoever runs it reads its memory and console, and it measures nothing; start it without --debug-mode" },
	[TEEREX_POLICY_EMPTY] = { "policy-empty", "the document is authentic, but the policy names no measurement, so anybody's enclave would do; pin PCR0" },
	[TEEREX_POLICY_WEAK] = { "policy-weak", "the policy needs PCR0, or PCR8 with a minimum epoch (values that are not all zeros); other PCRs alone do not say which image runs" },
	[TEEREX_PCR_MISMATCH] = { "pcr-mismatch", "another image runs than the policy asks for" },
	[TEEREX_PCR_MISSING] = { "pcr-missing", "the document does not list a PCR that the policy asks for" },
	[TEEREX_PCR_EXPIRED] = { "pcr-expired", "the image was trusted until a date that has passed; update the policy, or the enclave" },
	[TEEREX_EPOCH_MISSING] = { "epoch-missing", "the policy asks for a minimum epoch, but user_data is not a JSON object with a number \"epoch\"" },
	[TEEREX_EPOCH_TOO_LOW] = { "epoch-too-low", "the image is older than the policy's minimum epoch: it has been replaced" },
	[TEEREX_NONCE_MISSING] = { "nonce-missing", "a nonce was asked for and the document has none: it may be an old one; do not use it" },
	[TEEREX_NONCE_MISMATCH] = { "nonce-mismatch", "the document carries another nonce than the one asked for: it was made for somebody else, or earlier; do not use it" },
};
_Static_assert(sizeof codes / sizeof codes[0] == TEEREX_CODE_COUNT, "a verdict without a name");

static enum teerex_code in_range(enum teerex_code code)
{
	return (unsigned)code < TEEREX_CODE_COUNT ? code : TEEREX_INTERNAL;
}

const char *teerex_code_name(enum teerex_code code) { return codes[in_range(code)].name; }
const char *code_sentence(enum teerex_code code) { return codes[in_range(code)].sentence; }

/* A row that somebody forgot reads as TEEREX_OK: only the parser's own "ok" may become that. */
static enum teerex_code mapped(bool ok, enum teerex_code code)
{
	return ok ? TEEREX_OK : code == TEEREX_OK ? TEEREX_INTERNAL : code;
}

enum teerex_code code_of_cose(enum cose_result r)
{
	static const enum teerex_code map[COSE_RESULT_COUNT] = {
		[COSE_TRUNCATED] = TEEREX_COSE_TRUNCATED,
		[COSE_INDEFINITE_LENGTH] = TEEREX_COSE_INDEFINITE_LENGTH,
		[COSE_NOT_SHORTEST] = TEEREX_COSE_NOT_SHORTEST,
		[COSE_TAGGED] = TEEREX_COSE_TAGGED,
		[COSE_MALFORMED] = TEEREX_COSE_MALFORMED,
		[COSE_NOT_ARRAY] = TEEREX_COSE_NOT_ARRAY,
		[COSE_BAD_LENGTH] = TEEREX_COSE_BAD_LENGTH,
		[COSE_TRAILING_BYTES] = TEEREX_COSE_TRAILING_BYTES,
		[COSE_BAD_PROTECTED] = TEEREX_COSE_BAD_PROTECTED,
		[COSE_NO_ALGORITHM] = TEEREX_COSE_NO_ALGORITHM,
		[COSE_BAD_ALGORITHM] = TEEREX_COSE_BAD_ALGORITHM,
		[COSE_CRITICAL_HEADER] = TEEREX_COSE_CRITICAL_HEADER,
		[COSE_UNKNOWN_HEADER] = TEEREX_COSE_UNKNOWN_HEADER,
		[COSE_UNPROTECTED_HEADER] = TEEREX_COSE_UNPROTECTED_HEADER,
		[COSE_BAD_PAYLOAD] = TEEREX_COSE_BAD_PAYLOAD,
		[COSE_BAD_SIGNATURE_SIZE] = TEEREX_COSE_BAD_SIGNATURE_SIZE,
	};
	return mapped(r == COSE_OK, map[r]);
}

enum teerex_code code_of_doc(enum doc_result r)
{
	static const enum teerex_code map[DOC_RESULT_COUNT] = {
		[DOC_TRUNCATED] = TEEREX_DOC_TRUNCATED,
		[DOC_INDEFINITE_LENGTH] = TEEREX_DOC_INDEFINITE_LENGTH,
		[DOC_NOT_SHORTEST] = TEEREX_DOC_NOT_SHORTEST,
		[DOC_TAGGED] = TEEREX_DOC_TAGGED,
		[DOC_MALFORMED] = TEEREX_DOC_MALFORMED,
		[DOC_NOT_UTF8] = TEEREX_DOC_NOT_UTF8,
		[DOC_NOT_MAP] = TEEREX_DOC_NOT_MAP,
		[DOC_TRAILING_BYTES] = TEEREX_DOC_TRAILING_BYTES,
		[DOC_DUPLICATE_KEY] = TEEREX_DOC_DUPLICATE_KEY,
		[DOC_UNKNOWN_KEY] = TEEREX_DOC_UNKNOWN_KEY,
		[DOC_MISSING_KEY] = TEEREX_DOC_MISSING_KEY,
		[DOC_BAD_MODULE_ID] = TEEREX_DOC_BAD_MODULE_ID,
		[DOC_BAD_DIGEST] = TEEREX_DOC_BAD_DIGEST,
		[DOC_BAD_TIMESTAMP] = TEEREX_DOC_BAD_TIMESTAMP,
		[DOC_BAD_PCRS] = TEEREX_DOC_BAD_PCRS,
		[DOC_NO_PCRS] = TEEREX_DOC_NO_PCRS,
		[DOC_BAD_PCR_INDEX] = TEEREX_DOC_BAD_PCR_INDEX,
		[DOC_BAD_PCR_SIZE] = TEEREX_DOC_BAD_PCR_SIZE,
		[DOC_DUPLICATE_PCR] = TEEREX_DOC_DUPLICATE_PCR,
		[DOC_BAD_CERTIFICATE] = TEEREX_DOC_BAD_CERTIFICATE,
		[DOC_BAD_CABUNDLE] = TEEREX_DOC_BAD_CABUNDLE,
		[DOC_EMPTY_CABUNDLE] = TEEREX_DOC_EMPTY_CABUNDLE,
		[DOC_LONG_CABUNDLE] = TEEREX_DOC_LONG_CABUNDLE,
		[DOC_BAD_PUBLIC_KEY] = TEEREX_DOC_BAD_PUBLIC_KEY,
		[DOC_BAD_USER_DATA] = TEEREX_DOC_BAD_USER_DATA,
		[DOC_BAD_NONCE] = TEEREX_DOC_BAD_NONCE,
	};
	return mapped(r == DOC_OK, map[r]);
}

enum teerex_code code_of_x509(enum x509_result r)
{
	static const enum teerex_code map[X509_RESULT_COUNT] = {
		[X509_NOT_DER] = TEEREX_CERT_NOT_DER,
		[X509_TRAILING_BYTES] = TEEREX_CERT_TRAILING_BYTES,
		[X509_MALFORMED] = TEEREX_CERT_MALFORMED,
		[X509_BAD_VERSION] = TEEREX_CERT_BAD_VERSION,
		[X509_BAD_SERIAL] = TEEREX_CERT_BAD_SERIAL,
		[X509_BAD_ALGORITHM] = TEEREX_CERT_BAD_ALGORITHM,
		[X509_BAD_KEY] = TEEREX_CERT_BAD_KEY,
		[X509_BAD_TIME] = TEEREX_CERT_BAD_TIME,
		[X509_BAD_SIGNATURE_FORM] = TEEREX_CERT_BAD_SIGNATURE_FORM,
		[X509_BAD_EXTENSION] = TEEREX_CERT_BAD_EXTENSION,
		[X509_CRITICAL_EXTENSION] = TEEREX_CERT_CRITICAL_EXTENSION,
	};
	return mapped(r == X509_OK, map[r]);
}
