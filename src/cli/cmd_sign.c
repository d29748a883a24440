/* tee-rex sign: signs an enclave image with a P-384 key, or in two steps with a key that lives elsewhere. The image is read
 * twice: measured (and checked) for what is signed, then copied; it is replaced whole or not at all. */
#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/policy_args.h"
#include "image/sign.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

struct sign_args { const char *key, *certificate, *output, *request, *signature, *format; bool json; };

static const struct option_spec options[] = {
	{ 'k', "key", OPT_STRING, offsetof(struct sign_args, key), "PEM", "private key on P-384" },
	{ 'c', "certificate", OPT_STRING, offsetof(struct sign_args, certificate), "PEM", "its certificate: becomes PCR8" },
	{ 'o', "output", OPT_STRING, offsetof(struct sign_args, output), "FILE", "write the signed image there; default: in place" },
	{ 0, "detached-request", OPT_STRING, offsetof(struct sign_args, request), "FILE", "only write what is to be signed (- for standard output)" },
	{ 0, "format", OPT_STRING, offsetof(struct sign_args, format), "FORM", "of the request: raw (default), hex or base64" },
	{ 0, "detached-signature", OPT_STRING, offsetof(struct sign_args, signature), "FILE", "put in this signature: r||s or DER; binary, hex or base64" },
	{ 0, "json", OPT_FLAG, offsetof(struct sign_args, json), NULL, "print PCR0 and PCR8 as JSON" },
	OPTIONS_HELP,
	OPTIONS_END
};

static int refused(enum eif_signature_result why, const char *what, struct err *err)
{
	fail(err, 0, "refused: %s: %s: %s", eif_signature_name(why), what, eif_signature_message(why));
	return -EBADMSG;
}

static int load_file(const char *path, uint8_t buf[SIGN_INPUT_MAX], size_t *ret_n, struct err *err)
{
	int ret = read_some(path, buf, SIGN_INPUT_MAX, ret_n, err);
	if (ret == 0 && *ret_n == SIGN_INPUT_MAX)
		ret = fail(err, EFBIG, "read %s", path);
	return ret;
}

static int load_certificate(const char *path, struct sign_certificate *c, struct err *err)
{
	static uint8_t buf[SIGN_INPUT_MAX];
	size_t n;
	int ret = load_file(path, buf, &n, err);
	if (ret < 0)
		return ret;
	enum eif_signature_result r = sign_certificate_load(bytes_of(buf, n), c);
	if (r == EIF_SIGNATURE_OK)
		r = sign_certificate_check(c, clock_wall_ms() / 1000);
	return r == EIF_SIGNATURE_OK ? 0 : refused(r, path, err);
}

static int sign_with_file(const char *path, const struct sign_certificate *c, const uint8_t pcr0[PCR_SIZE],
                          uint8_t ret_signature[P384_SIGNATURE_SIZE], struct err *err)
{
	static uint8_t pem[SIGN_INPUT_MAX];
	size_t n = 0;
	struct err lock;
	if (crypto_lock_secrets(&lock) < 0)
		log_warn("sign: %s; the key may reach the swap space", lock.text);
	int ret = load_file(path, pem, &n, err);
	struct p384 *key = ret == 0 ? p384_from_pem(bytes_of(pem, n)) : NULL;
	crypto_wipe(pem, sizeof pem);
	if (ret < 0)
		return ret;
	if (key == NULL)
		return fail(err, 0, "%s holds no P-384 private key in PEM; make one with: openssl ecparam -name secp384r1 -genkey", path);
	enum eif_signature_result r = sign_with_key(c, key, pcr0, ret_signature);
	p384_free(key);
	return r == EIF_SIGNATURE_OK ? 0 : refused(r, path, err);
}

static int take_signature(const char *path, uint8_t ret_signature[P384_SIGNATURE_SIZE], struct err *err)
{
	static uint8_t buf[SIGN_INPUT_MAX];
	size_t n;
	int ret = load_file(path, buf, &n, err);
	if (ret == 0 && !sign_read_signature(bytes_of(buf, n), ret_signature))
		ret = fail(err, 0, "%s is no P-384 signature: wanted are 96 bytes r||s or DER, as they are or in hex or base64", path);
	return ret;
}

/* --- the request ------------------------------------------------------------------------------ */

static int write_request(const struct sign_args *a, struct bytes request, struct err *err)
{
	uint8_t text[2 * SIGN_REQUEST_MAX + 2];
	struct writer w = writer_of(text, sizeof text);
	if (a->format == NULL || strcmp(a->format, "raw") == 0) {
		put_bytes(&w, request);
	} else if (strcmp(a->format, "base64") == 0) {
		put_base64(&w, request);
		put_u8(&w, '\n');
	} else {
		char hex[2 * SIGN_REQUEST_MAX + 1];
		put_str(&w, hex_encode(request, hex));
		put_u8(&w, '\n');
	}
	bool to_stdout = strcmp(a->request, "-") == 0;
	FILE *f = to_stdout ? stdout : fopen(a->request, "we");
	if (f == NULL)
		return fail(err, errno, "write %s", a->request);
	size_t done = fwrite(text, 1, w.at, f);
	bool ok = done == w.at && fflush(f) == 0;
	if (!to_stdout)
		ok = fclose(f) == 0 && ok;
	return ok ? 0 : fail(err, errno, "write %s", a->request);
}

static int make_request(const struct sign_args *a, const struct eif_measures *m, struct err *err)
{
	uint8_t buf[SIGN_REQUEST_MAX], digest[SHA384_SIZE];
	char hex[2 * SHA384_SIZE + 1];
	struct bytes request = sign_request(m->pcr0, buf);
	int ret = crypto_hash(HASH_SHA384, request, digest) ? write_request(a, request, err) : fail(err, 0, "hash the request");
	if (ret == 0)
		fprintf(stderr, "%zu bytes to sign with ECDSA on P-384 and SHA-384 (digest %s); then:\n"
		        "tee-rex sign IMAGE --certificate PEM --detached-signature FILE\n", request.n,
		        hex_encode(BYTES_ARRAY(digest), hex));
	return ret;
}

/* --- the image --------------------------------------------------------------------------------- */

static int write_signed(const struct sign_args *a, struct eif_file *f, const struct sign_certificate *c,
                        const uint8_t signature[P384_SIGNATURE_SIZE], const struct eif_measures *m, struct err *err)
{
	static uint8_t section[EIF_SIGNATURE_MAX];
	struct writer w = writer_of(section, sizeof section);
	char path[PATH_MAX];
	struct stat st;
	enum eif_signature_result r = sign_put_section(&w, c, m->pcr0, signature);
	if (r != EIF_SIGNATURE_OK)
		return refused(r, a->signature != NULL ? a->signature : a->key, err);
	if (a->output != NULL)
		return sign_write_image(f, a->output, NULL, writer_bytes(&w), m, err);
	/* in place: what a link points to, not the link */
	if (realpath(f->path, path) == NULL || fstat(f->fd, &st) != 0)
		return fail(err, errno, "find %s", f->path);
	return sign_write_image(f, path, &st, writer_bytes(&w), m, err);
}

static int print_registers(const struct sign_args *a, const struct eif_measures *m, const struct sign_certificate *c, struct err *err)
{
	char pcr0[2 * PCR_SIZE + 1], pcr8[2 * PCR_SIZE + 1];
	uint8_t value[PCR_SIZE];
	if (!pcr_of_certificate(bytes_of(c->der, c->der_n), value))
		return fail(err, 0, "measure the certificate");
	printf(a->json ? "{\"PCR0\":\"%s\",\"PCR8\":\"%s\"}\n" : "0=%s\n8=%s\n", hex_encode(BYTES_ARRAY(m->pcr0), pcr0),
	       hex_encode(BYTES_ARRAY(value), pcr8));
	return fflush(stdout) == 0 ? 0 : fail(err, errno, "print the registers");
}

static int sign(const struct sign_args *a, struct eif_file *f, const char *path, struct err *err)
{
	static struct sign_certificate c;
	uint8_t signature[P384_SIGNATURE_SIZE];
	struct eif_measures m;
	int ret = a->request == NULL ? load_certificate(a->certificate, &c, err) : 0;
	if (ret == 0)
		ret = eif_file_open(f, path, err);
	if (ret == 0)
		ret = eif_file_stream(f, NULL, &m, err);
	if (ret == 0 && !m.crc_ok)
		ret = eif_file_refuse_crc(f, err);
	if (ret < 0)
		return ret == -EBADMSG && f->refused != EIF_OK ? fail_in(err, ret, "refused") : ret;
	if (a->request != NULL)
		return make_request(a, &m, err);
	ret = a->key != NULL ? sign_with_file(a->key, &c, m.pcr0, signature, err) : take_signature(a->signature, signature, err);
	if (ret == 0)
		ret = write_signed(a, f, &c, signature, &m, err);
	return ret == 0 ? print_registers(a, &m, &c, err) : ret;
}

static int check_args(const struct sign_args *a, size_t images, struct err *err)
{
	int ways = (a->key != NULL) + (a->request != NULL) + (a->signature != NULL);
	if (images != 1)
		return fail(err, 0, "which image? tee-rex sign IMAGE (--help lists the options)");
	if (ways != 1)
		return fail(err, 0, "one of --key, --detached-request and --detached-signature is wanted");
	if (a->request == NULL && a->certificate == NULL)
		return fail(err, 0, "--certificate is wanted: the key's certificate, in PEM");
	if (a->request != NULL && a->output != NULL)
		return fail(err, 0, "--detached-request writes no image: --output goes with --detached-signature");
	if (a->format != NULL && (a->request == NULL || (strcmp(a->format, "raw") != 0 && strcmp(a->format, "hex") != 0 &&
	                                                 strcmp(a->format, "base64") != 0)))
		return fail(err, 0, "--format wants raw, hex or base64, and goes with --detached-request");
	return 0;
}

int sign_main(int argc, char **argv)
{
	struct sign_args a = { 0 };
	struct eif_file f = EIF_FILE_NONE;
	const char *path = NULL;
	size_t n;
	struct err err;
	enum option_result parsed = options_parse(options, &a, argc, argv, &path, 1, &n, &err);
	if (parsed == OPTIONS_WANT_HELP) {
		options_help(stdout, "sign", "IMAGE --key PEM --certificate PEM [-o FILE]",
		             "Signs an enclave image: its PCR0 is signed, the certificate becomes PCR8. With a key that lives\n"
		             "elsewhere: --detached-request, sign what it wrote, then --detached-signature.", options);
		return 0;
	}
	if (parsed != OPTIONS_OK || check_args(&a, n, &err) < 0) {
		fprintf(stderr, "tee-rex sign: %s\n", err.text);
		return 2;
	}
	int ret = sign(&a, &f, path, &err);
	eif_file_close(&f);
	if (ret < 0)
		fprintf(stderr, "tee-rex sign: %s\n", err.text);
	return ret < 0 ? 1 : 0;
}
