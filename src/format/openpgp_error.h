/* Every way in which an OpenPGP message, certificate or armor is refused, one code each, shared by the
 * codecs here and by src/openpgp. The names are stable: test vectors, logs and metrics use them. */
#ifndef FORMAT_OPENPGP_ERROR_H
#define FORMAT_OPENPGP_ERROR_H

/* code, name, what a person reads */
#define PGP_ERRORS(X) \
	X(PGP_OK, "ok", "no error") \
	/* packets (RFC 9580 section 4) */ \
	X(PGP_TRUNCATED, "truncated", "the input ends in the middle") \
	X(PGP_TRAILING, "trailing", "bytes follow the end of the message") \
	X(PGP_NOT_OPENPGP, "not-openpgp", "not a binary OpenPGP packet (armored text, or something else)") \
	X(PGP_OLD_FORMAT, "old-format", "packet header in the legacy format") \
	X(PGP_BAD_LENGTH, "bad-length", "partial length too short, or in a packet that may not have one") \
	X(PGP_UNEXPECTED_PACKET, "unexpected-packet", "a packet of a type that has no place here") \
	X(PGP_BAD_MARKER, "bad-marker", "marker packet that does not say PGP") \
	/* encrypted session keys (5.1.2, 5.1.6) */ \
	X(PGP_NO_SESSION_KEY, "no-session-key", "encrypted data without an encrypted session key") \
	X(PGP_TOO_MANY_RECIPIENTS, "too-many-recipients", "more encrypted session keys than allowed") \
	X(PGP_PKESK_TOO_LARGE, "pkesk-too-large", "encrypted session key larger than any known kind") \
	X(PGP_PKESK_VERSION, "pkesk-version", "encrypted session key of another version than 6") \
	X(PGP_BAD_PKESK, "bad-pkesk", "malformed encrypted session key") \
	X(PGP_ANONYMOUS_RECIPIENT, "anonymous-recipient", "encrypted session key that does not name its recipient") \
	X(PGP_UNKNOWN_KEY, "unknown-key", "encrypted to a key that is not, or no longer, held here") \
	X(PGP_DUPLICATE_RECIPIENT, "duplicate-recipient", "more than one encrypted session key is for us") \
	X(PGP_PKESK_ALGORITHM, "pkesk-algorithm", "session key encrypted with another algorithm than X25519") \
	X(PGP_BAD_POINT, "bad-point", "ephemeral X25519 key of small order") \
	X(PGP_BAD_SESSION_KEY, "bad-session-key", "the encrypted session key fails its integrity check") \
	X(PGP_SESSION_KEY_SIZE, "session-key-size", "session key of the wrong size for the cipher") \
	/* encrypted data (5.13.2) */ \
	X(PGP_SEIPD_VERSION, "seipd-version", "encrypted data of another version than 2") \
	X(PGP_SEIPD_CIPHER, "seipd-cipher", "cipher other than AES-128 and AES-256") \
	X(PGP_SEIPD_MODE, "seipd-mode", "AEAD mode other than GCM and OCB") \
	X(PGP_SEIPD_CHUNK_SIZE, "seipd-chunk-size", "chunks larger than 4 MiB") \
	X(PGP_EMPTY_CHUNK, "empty-chunk", "a chunk without content") \
	X(PGP_BAD_TAG, "bad-tag", "a chunk fails authentication") \
	X(PGP_BAD_FINAL_TAG, "bad-final-tag", "the message as a whole fails authentication") \
	/* what was encrypted (5.9, 5.14, 10.3) */ \
	X(PGP_COMPRESSED, "compressed", "compressed content") \
	X(PGP_SIGNED, "signed", "signed content") \
	X(PGP_NESTED, "nested", "encrypted content inside the encryption") \
	X(PGP_NO_LITERAL, "no-literal", "no literal data inside") \
	X(PGP_SECOND_LITERAL, "second-literal", "more than one literal data packet") \
	X(PGP_BAD_LITERAL, "bad-literal", "malformed literal data header") \
	X(PGP_CONTENT_LENGTH, "content-length", "the content is shorter than its packet headers say") \
	X(PGP_TOO_LARGE, "too-large", "more plaintext than allowed") \
	/* armor (6) and certificates (4, 5.2, 5.5) */ \
	X(PGP_BAD_ARMOR, "bad-armor", "not the armor of a public key") \
	X(PGP_BAD_CRC, "bad-crc", "the armor's checksum does not match") \
	X(PGP_KEY_TOO_LARGE, "key-too-large", "certificate larger than any of ours") \
	X(PGP_KEY_LAYOUT, "key-layout", "not the five packets of a TEE-Rex certificate") \
	X(PGP_BAD_KEY, "bad-key", "key packet of another version, algorithm or size") \
	X(PGP_BAD_USER_ID, "bad-user-id", "another user id than TEE-Rex") \
	X(PGP_BAD_SIGNATURE, "bad-signature", "malformed signature packet, or of another version or algorithm") \
	X(PGP_SIGNATURE_TYPE, "signature-type", "signature of another type than its place asks for") \
	X(PGP_BAD_SUBPACKET, "bad-subpacket", "a missing, repeated, unknown or malformed signature subpacket") \
	X(PGP_BAD_TIME, "bad-time", "signature older than the key it is about") \
	X(PGP_BAD_ISSUER, "bad-issuer", "signature that names another issuer") \
	X(PGP_KEY_PREFERENCES, "key-preferences", "certificate does not ask for SEIPD v2 with AES-256-GCM") \
	X(PGP_CERTIFICATION, "certification", "the self-signature over the user id does not verify") \
	X(PGP_BINDING, "binding", "the signature that binds the encryption key does not verify") \
	/* our side */ \
	X(PGP_SINK, "sink", "the receiver of the output failed") \
	X(PGP_NO_ROOM, "no-room", "output buffer too small") \
	X(PGP_CRYPTO, "crypto", "the cryptographic library failed (out of memory?)")

enum pgp_error {
#define PGP_ERROR_CODE(code, name, text) code,
	PGP_ERRORS(PGP_ERROR_CODE)
#undef PGP_ERROR_CODE
	PGP_ERROR_COUNT
};

/* "bad-tag" */
const char *pgp_error_name(enum pgp_error e);
/* "a chunk fails authentication" */
const char *pgp_error_text(enum pgp_error e);

#endif
