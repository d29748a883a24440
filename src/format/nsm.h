/* Messages of the Nitro Secure Module: one CBOR request, one CBOR response, as the public
 * aws-nitro-enclaves-nsm-api crate defines them (src/api/mod.rs: Request, Response, ErrorCode).
 *
 *     request    "DescribeNSM"                               no arguments: a text string
 *                { "DescribePCR": { "index": 0 } }           arguments: a map of one pair
 *     response   "LockPCR"                                   likewise
 *                { "Error": "InvalidIndex" }
 *
 * Both directions are here: the prover writes requests and reads responses, the simulator the
 * other way round. Field order is free, a field this side does not know is stepped over (what
 * serde does for the crate's types, and what lets a device of a newer minor version answer), a
 * field given twice is refused. Strings that come back are borrowed from the input. */
#ifndef FORMAT_NSM_H
#define FORMAT_NSM_H

#include "base/bytes.h"

enum {
	NSM_REQUEST_MAX = 0x1000,        /* bytes of an encoded request; the driver's limit */
	NSM_RESPONSE_MAX = 0x3000,       /* bytes of the response buffer the device wants */
	NSM_PCR_COUNT = 32,
	NSM_PCR_SIZE = 48,               /* SHA-384 */
	NSM_PCR_LOCKED_AT_BOOT = 16,     /* PCRs 0-15; 16-31 are the enclave's to extend and lock */
	NSM_RANDOM_SIZE = 256,           /* what one GetRandom gives */
	NSM_STRING_MAX = 1024,           /* what the device takes as user_data, nonce or public_key */
	NSM_USER_DATA_MAX = 512,         /* what we send: the documents' validation text */
	NSM_NONCE_MAX = 512,             /* allows no more than this in these two */
	NSM_MODULE_ID_MAX = 99
};

/* The device's error names. "Success" is one of the crate's codes but no error: refused. */
enum nsm_error {
	NSM_NO_ERROR, NSM_INVALID_ARGUMENT, NSM_INVALID_INDEX, NSM_INVALID_RESPONSE,
	NSM_READ_ONLY_INDEX, NSM_INVALID_OPERATION, NSM_BUFFER_TOO_SMALL, NSM_INPUT_TOO_LARGE, NSM_INTERNAL_ERROR,
	NSM_ERROR_END
};
const char *nsm_error_name(enum nsm_error e);            /* "InvalidArgument" … */

enum nsm_kind {
	NSM_DESCRIBE_PCR, NSM_EXTEND_PCR, NSM_LOCK_PCR, NSM_LOCK_PCRS, NSM_DESCRIBE_NSM,
	NSM_ATTESTATION, NSM_GET_RANDOM,
	NSM_ERROR,                       /* responses only */
	NSM_KIND_COUNT
};
const char *nsm_kind_name(enum nsm_kind k);              /* "DescribePCR" … */

enum nsm_result {
	NSM_OK,
	NSM_TOO_LONG,                    /* over NSM_REQUEST_MAX or NSM_RESPONSE_MAX */
	NSM_MALFORMED,                   /* not exactly one CBOR item of one of the two shapes */
	NSM_UNKNOWN_KIND,                /* no such request or response, or in the other shape */
	NSM_DUPLICATE_FIELD,
	NSM_MISSING_FIELD,
	NSM_BAD_FIELD                    /* another type, or a value out of range */
};
const char *nsm_result_name(enum nsm_result r);

struct nsm_request {
	enum nsm_kind kind;
	uint16_t index;                          /* DescribePCR, ExtendPCR, LockPCR */
	uint16_t range;                          /* LockPCRs: 0 .. range-1 */
	struct bytes data;                       /* ExtendPCR */
	struct bytes user_data, nonce, public_key;   /* Attestation; p == NULL: null */
};

enum nsm_digest { NSM_SHA256, NSM_SHA384, NSM_SHA512, NSM_DIGEST_COUNT };

struct nsm_response {
	enum nsm_kind kind;
	enum nsm_error error;                    /* Error */
	bool lock;                               /* DescribePCR */
	struct bytes data;                       /* DescribePCR, ExtendPCR: NSM_PCR_SIZE bytes */
	struct bytes document;                   /* Attestation */
	struct bytes random;                     /* GetRandom: not empty */
	uint16_t version_major, version_minor, version_patch;    /* DescribeNSM, and what follows */
	struct bytes module_id;                  /* text, 1 .. NSM_MODULE_ID_MAX bytes */
	uint16_t max_pcrs;
	uint32_t locked_pcrs;                    /* bit i: PCR i is locked */
	enum nsm_digest digest;
};

/* *ret is written only with NSM_OK. */
enum nsm_result nsm_request_parse(struct bytes in, struct nsm_request *ret);
enum nsm_result nsm_response_parse(struct bytes in, struct nsm_response *ret);

/* The writer is full when the message does not fit. Values are the caller's to check. */
void nsm_request_put(struct writer *w, const struct nsm_request *q);
void nsm_response_put(struct writer *w, const struct nsm_response *p);

#endif
