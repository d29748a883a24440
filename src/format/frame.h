/* The frame protocol between gateway and prover (vsock, or a unix socket in the process backend).
 * One exchange per connection; closing it cancels the job.
 *
 *     0        4      5                          length = payload bytes, <= FRAME_PAYLOAD_MAX
 *     +--------+------+-----------------+
 *     | u32be  |  u8  | payload         |        REQUEST REPLY EVENT ERROR: one CBOR map
 *     | length | kind | length bytes    |        DATA: raw bytes, not empty    END: empty
 *     +--------+------+-----------------+
 *
 *     client -> prover   REQUEST, then for prove and upload: DATA* END
 *     prover -> client   EVENT*, then one REPLY or ERROR, then the prover closes
 *
 * Maps have text keys. A known key of the wrong type, a duplicate or an oversized value is an
 * error; an unknown key is one in a REQUEST (the enclave accepts what it knows, nothing else) and
 * skipped in the others (an older host may talk to a newer enclave). */
#ifndef FORMAT_FRAME_H
#define FORMAT_FRAME_H

#include "base/bytes.h"
#include "format/outcome.h"

enum {
	FRAME_HEADER_SIZE = 5,
	FRAME_PAYLOAD_MAX = 1 << 20,
	FRAME_DATA_SIZE = 64 << 10,              /* what our own writers put into one DATA frame */
	FRAME_MAP_MAX = 4096,                    /* REQUEST, EVENT and ERROR payloads */
	FRAME_PROOF_MAX = FRAME_PAYLOAD_MAX - 4096,
	FRAME_NONCE_MIN = 16, FRAME_NONCE_MAX = 64,
	FRAME_VERSION_MAX = 64,                  /* bytes of a version name */
	FRAME_ID_MAX = 64,                       /* bytes of a request id */
	FRAME_MESSAGE_MAX = 256,
	FRAME_DOCUMENT_MAX = 16 << 10,
	FRAME_KEY_MAX = 1024,                    /* armored public key */
	FRAME_VERSIONS_MAX = 16,                 /* loaded prover versions */
};

/* Ports of the protocol family, the one place that names them. The first two are the parent's, the others the enclave's. On
 * the last the parent says one thing: connecting and sending SHUTDOWN_BYTE asks init for an orderly end. */
enum { PORT_HEARTBEAT = 9000, PORT_CONTROL = 9001, PORT_SERVICE = 9002, PORT_SHUTDOWN = 9003 };
enum { HEARTBEAT_BYTE = 0xb7, SHUTDOWN_BYTE = 'S' };

enum frame_kind { FRAME_REQUEST = 1, FRAME_DATA, FRAME_END, FRAME_REPLY, FRAME_EVENT, FRAME_ERROR };

struct frame { enum frame_kind kind; struct bytes payload; };    /* payload borrowed */

enum frame_result {
	FRAME_OK,
	FRAME_MORE,                 /* the buffer holds no whole frame yet */
	FRAME_BAD_KIND,
	FRAME_TOO_LONG,             /* the header promises more than the kind may have */
	FRAME_BAD_LENGTH            /* an empty DATA or map, an END with a payload */
};
const char *frame_result_name(enum frame_result r);

/* Looks for one frame at the start of buf. FRAME_OK: *ret and *ret_used (header and payload).
 * FRAME_MORE: *ret_used is the size of the whole frame if the header is there, else 0. */
enum frame_result frame_parse(struct bytes buf, struct frame *ret, size_t *ret_used);
/* The five bytes before a payload of n bytes. */
void frame_header(enum frame_kind kind, size_t n, uint8_t out[FRAME_HEADER_SIZE]);

/* Version names: 1-64 characters of [A-Za-z0-9._+-], not starting with '.' or '-'. */
bool version_name_valid(struct bytes name);

/* --- REQUEST ---------------------------------------------------------------------------- */
enum frame_op { OP_ATTEST, OP_PUBLIC_KEY, OP_VERSIONS, OP_UPLOAD, OP_PROVE, OP_HEALTH, OP_METRICS, OP_COUNT };
const char *frame_op_name(enum frame_op op);

struct frame_request {                   /* absent strings are empty; borrowed from the payload */
	enum frame_op op;
	struct bytes nonce;              /* attest: optional, 16-64 bytes */
	struct bytes version;            /* upload: required; prove: optional */
	struct bytes sha256;             /* upload: required, 32 bytes */
	uint64_t size;                   /* upload: exact; prove: upper bound of the ciphertext. Required */
	struct bytes id;                 /* optional request id, printable ASCII without space, <= 64 */
};
/* False when malformed, unknown op, a key that the op does not take, or one missing. */
bool frame_request_parse(struct bytes payload, struct frame_request *ret);
void frame_request_put(struct writer *w, const struct frame_request *q);

/* --- REPLY ------------------------------------------------------------------------------- */
struct frame_version { struct bytes name, sha256; };

struct frame_reply {                     /* only what the op calls for is present */
	struct bytes document;           /* attest: COSE_Sign1 */
	struct bytes key;                /* attest, public-key: armored text */
	struct frame_version version[FRAME_VERSIONS_MAX];
	size_t version_count;            /* versions, health, upload (the new list) */
	struct bytes default_version;    /* may be empty */
	struct bytes proof;              /* prove: u32be(fields) || proof file */
	struct bytes bb_sha256;          /* prove */
	struct bytes signature;          /* prove: Ed25519, see result_message() */
	uint64_t decrypt_ms, prove_ms, queue_ms, peak_bytes;    /* prove */
	uint64_t uptime_ms, jobs_running, jobs_queued;          /* health */
	struct bytes guards;             /* health: what keeps jobs in their cells, one line, <= FRAME_MESSAGE_MAX */
	struct bytes metrics;            /* metrics: OpenMetrics text */
};
bool frame_reply_parse(struct bytes payload, struct frame_reply *ret);
void frame_reply_put(struct writer *w, const struct frame_reply *p);

/* --- EVENT and ERROR ---------------------------------------------------------------------- */
struct frame_event { struct bytes stage; uint64_t position; };   /* "queued" (position), "proving" */
bool frame_event_parse(struct bytes payload, struct frame_event *ret);
void frame_event_put(struct writer *w, const struct frame_event *e);

struct frame_error {
	enum outcome code;               /* never OUTCOME_OK */
	struct bytes message;            /* a sentence, <= FRAME_MESSAGE_MAX bytes */
	uint64_t limit_bytes, peak_bytes;    /* 0: not known */
	uint64_t signal, exit_code;          /* 0: none */
};
bool frame_error_parse(struct bytes payload, struct frame_error *ret);
void frame_error_put(struct writer *w, const struct frame_error *e);

/* --- result signature ----------------------------------------------------------------------
 * What the prover signs with the Ed25519 primary key of the attested OpenPGP key:
 *     "TEE-Rex result v1" 00 || SHA-256(ciphertext) || SHA-256(bb) || SHA-256(proof reply)
 * OpenPGP signatures of the same key cover a bare 64-byte digest, so neither can be taken for
 * the other. */
enum { RESULT_MESSAGE_SIZE = 18 + 3 * 32 };
void result_message(const uint8_t ciphertext[32], const uint8_t bb[32], const uint8_t proof[32],
                    uint8_t out[RESULT_MESSAGE_SIZE]);

#endif
