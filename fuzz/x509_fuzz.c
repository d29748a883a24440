/* Certificates and PEM: what parses keeps its promises, and lies inside the input. */
#include "crypto/x509.h"

#include "crypto/der.h"

#include <stdlib.h>

#define CHECK(x) do { if (!(x)) abort(); } while (0)

static void check_inside(struct bytes part, const uint8_t *data, size_t size)
{
	CHECK(part.p >= data && part.n <= size && part.p <= data + (size - part.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct x509 c = { .ca = false };
	enum x509_result e = x509_parse(bytes_of(data, size), &c);
	CHECK(e < X509_RESULT_COUNT);
	if (e == X509_OK) {
		check_inside(c.tbs, data, size);
		check_inside(c.issuer, data, size);
		check_inside(c.subject, data, size);
		check_inside(c.serial, data, size);
		check_inside(c.point, data, size);
		CHECK(c.point.n == X509_POINT_SIZE && c.point.p[0] == 4);
		CHECK(c.serial.n > 0 && c.serial.n <= 21);
		CHECK(c.path_len >= X509_NO_PATH_LEN && c.path_len <= 127 && (c.ca || c.path_len == X509_NO_PATH_LEN));
		CHECK(c.has_key_usage == (c.key_usage != 0));
		CHECK(der_well_formed(bytes_of(data, size)));
	} else {
		CHECK(c.tbs.p == NULL);
	}
	uint8_t *der = malloc(size + 1);
	size_t n = 0;
	CHECK(der != NULL);
	if (x509_from_pem(bytes_of(data, size), der, size, &n))
		CHECK(n > 0 && n <= size);
	free(der);
	return 0;
}
