/* The signature section, the signed map, certificates in PEM and signatures made elsewhere. First byte: which; rest: the
 * input. What parses must write and read back the same. */
#include "format/eif_signature.h"
#include "image/sign.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void section(struct bytes in)
{
	static uint8_t scratch[EIF_SIGNATURE_MAX], again[3 * EIF_SIGNATURE_MAX], scratch2[3 * EIF_SIGNATURE_MAX];
	static struct sign_certificate c;
	static const uint8_t pcr0[PCR_SIZE];
	struct eif_signature s, t;
	bool has;
	if (in.n > sizeof scratch)
		return;
	if (eif_signature_parse(in, scratch, &s) == EIF_SIGNATURE_OK) {
		struct writer w = writer_of(again, sizeof again);
		eif_signature_put(&w, &s);
		if (w.full || eif_signature_parse(writer_bytes(&w), scratch2, &t) != EIF_SIGNATURE_OK ||
		    !bytes_equal(s.certificate_pem, t.certificate_pem) || !bytes_equal(s.cose, t.cose))
			abort();
	}
	(void)sign_check(in, pcr0, &c, &has);
}

static void signed_map(struct bytes in)
{
	uint8_t value[EIF_REGISTER_SIZE], buf[EIF_SIGNED_MAX], second[EIF_REGISTER_SIZE];
	uint64_t index, zero;
	if (eif_signed_parse(in, &index, value) != EIF_SIGNATURE_OK)
		return;
	struct writer w = writer_of(buf, sizeof buf);
	eif_signed_put(&w, value);
	if (w.full || eif_signed_parse(writer_bytes(&w), &zero, second) != EIF_SIGNATURE_OK || zero != 0 ||
	    memcmp(value, second, sizeof value) != 0)
		abort();
}

static void describe(const struct x509_any *c)
{
	static uint8_t text[1 << 17];
	struct writer w = writer_of(text, sizeof text);
	struct x509_name n = x509_name_of(c->issuer);
	struct x509_attribute a;
	while (x509_name_next(&n, &a)) {
		x509_put_oid(&w, a.type);
		x509_put_value(&w, &a);
	}
	x509_put_oid(&w, c->algorithm);
	x509_put_date(&w, c->not_before_s);
	if (n.bad || w.full)
		abort();
}

static void certificate(struct bytes in)
{
	static struct sign_certificate c, again;
	struct x509_any x;
	if (x509_any_parse(in, &x) == X509_OK)
		describe(&x);
	if (sign_certificate_load(in, &c) != EIF_SIGNATURE_OK)
		return;
	if (sign_certificate_load(bytes_of(c.pem, c.pem_n), &again) != EIF_SIGNATURE_OK || again.der_n != c.der_n ||
	    memcmp(again.der, c.der, c.der_n) != 0)
		abort();
	describe(&c.x509);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t signature[P384_SIGNATURE_SIZE];
	if (size == 0)
		return 0;
	struct bytes in = bytes_of(data + 1, size - 1);
	switch (data[0] % 4) {
	case 0: section(in); break;
	case 1: signed_map(in); break;
	case 2: certificate(in); break;
	case 3: (void)sign_read_signature(in, signature); break;
	}
	return 0;
}
