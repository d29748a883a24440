/* Signing an image: a P-384 certificate's key signs PCR0; the certificate then shows as PCR8. The key may live
 * elsewhere: sign_request() says what to sign, sign_read_signature() takes what came back. What is written is verified
 * first, so a wrong key, certificate or signature never reaches an image. */
#ifndef IMAGE_SIGN_H
#define IMAGE_SIGN_H

#include "attest/pcr.h"
#include "crypto/x509_any.h"
#include "format/eif_signature.h"
#include "image/eif_file.h"

#include <sys/stat.h>

enum {
	SIGN_PEM_MAX = 12 << 10,                 /* twice that, as integers, still fits a section */
	SIGN_DER_MAX = 8 << 10,
	SIGN_REQUEST_MAX = EIF_SIGNED_MAX + 32,
	SIGN_INPUT_MAX = 64 << 10                /* of key, certificate and signature files */
};

struct sign_certificate {
	uint8_t pem[SIGN_PEM_MAX], der[SIGN_DER_MAX];
	size_t pem_n, der_n;                     /* pem: the block alone, without text around it */
	struct x509_any x509;                    /* borrowed from der: do not copy this struct */
};

/* The one certificate in a PEM text: OK, NOT_PEM or BAD_CERTIFICATE. Any key, any dates. */
enum eif_signature_result sign_certificate_load(struct bytes pem_text, struct sign_certificate *ret);
/* Whether it may sign an image at this time (since 1970): OK, NOT_P384, EXPIRED or NOT_YET_VALID. */
enum eif_signature_result sign_certificate_check(const struct sign_certificate *c, int64_t now_s);

/* A signature section against the image's PCR0, dates aside. *ret_has: the certificate was read and is in *ret. */
enum eif_signature_result sign_check(struct bytes section, const uint8_t pcr0[PCR_SIZE], struct sign_certificate *ret, bool *ret_has);

/* The bytes to sign with ECDSA on P-384 and SHA-384: the Sig_structure of RFC 9052 section 4.4. */
struct bytes sign_request(const uint8_t pcr0[PCR_SIZE], uint8_t buf[SIGN_REQUEST_MAX]);
/* OK, KEY_MISMATCH, or FORGED when libcrypto failed. */
enum eif_signature_result sign_with_key(const struct sign_certificate *c, const struct p384 *key, const uint8_t pcr0[PCR_SIZE],
                                        uint8_t ret_signature[P384_SIGNATURE_SIZE]);
/* A signature made elsewhere: raw r || s (96 bytes) or DER; binary, hex or base64. False when it is none of these. */
bool sign_read_signature(struct bytes file, uint8_t ret_signature[P384_SIGNATURE_SIZE]);
/* The section with this signature: OK, or what sign_check() says about it. w needs EIF_SIGNATURE_MAX bytes. */
enum eif_signature_result sign_put_section(struct writer *w, const struct sign_certificate *c, const uint8_t pcr0[PCR_SIZE],
                                           const uint8_t signature[P384_SIGNATURE_SIZE]);

/* Writes f to path with this signature section at its end, in place of any it had. measured: what was signed; the
 * copy must come to the same. like: whose permissions and, where that is allowed, owner the new file gets; NULL: the
 * usual ones. 0, -EBADMSG (f->refused) or -errno. */
int sign_write_image(struct eif_file *f, const char *path, const struct stat *like, struct bytes section,
                     const struct eif_measures *measured, struct err *err);

#endif
