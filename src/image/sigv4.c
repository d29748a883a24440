#include "image/sigv4.h"

#include "base/text.h"
#include "crypto/crypto.h"

#include <stdio.h>
#include <time.h>

enum { HASH_BLOCK = 64, TEXT_MAX = 16 << 10, HEX_SIZE = 2 * SHA256_SIZE + 1 };

/* HMAC-SHA256 (RFC 2104) for keys of at most a block. */
static bool hmac(struct bytes key, struct bytes message, uint8_t out[SHA256_SIZE])
{
	uint8_t inner[HASH_BLOCK + TEXT_MAX], outer[HASH_BLOCK + SHA256_SIZE];
	if (key.n > HASH_BLOCK || message.n > TEXT_MAX)
		return false;
	memset(inner, 0x36, HASH_BLOCK);
	memset(outer, 0x5c, HASH_BLOCK);
	for (size_t i = 0; i < key.n; i++) {
		inner[i] ^= key.p[i];
		outer[i] ^= key.p[i];
	}
	memcpy(inner + HASH_BLOCK, message.p, message.n);
	bool ok = crypto_hash(HASH_SHA256, bytes_of(inner, HASH_BLOCK + message.n), outer + HASH_BLOCK) &&
		crypto_hash(HASH_SHA256, BYTES_ARRAY(outer), out);
	crypto_wipe(inner, sizeof inner);
	crypto_wipe(outer, sizeof outer);
	return ok;
}

static bool hex_hash(struct bytes in, char out[HEX_SIZE])
{
	uint8_t digest[SHA256_SIZE];
	if (!crypto_hash(HASH_SHA256, in, digest))
		return false;
	hex_encode(BYTES_ARRAY(digest), out);
	return true;
}

static void put_signed_headers(struct writer *w, const struct sigv4_request *q)
{
	for (size_t i = 0; i < q->header_count; i++)
		put_fmt(w, "%s%s", i > 0 ? ";" : "", q->header[i].name);
}

/* The hash of the canonical request. */
static bool hash_request(const struct sigv4_request *q, char out[HEX_SIZE])
{
	uint8_t text[TEXT_MAX];
	char body[HEX_SIZE];
	struct writer w = writer_of(text, sizeof text);
	if (!hex_hash(q->body, body))
		return false;
	put_fmt(&w, "%s\n%s\n\n", q->method, q->path);
	for (size_t i = 0; i < q->header_count; i++) {
		put_str(&w, q->header[i].name);
		put_u8(&w, ':');
		put_str(&w, q->header[i].value);
		put_u8(&w, '\n');
	}
	put_u8(&w, '\n');
	put_signed_headers(&w, q);
	put_fmt(&w, "\n%s", body);
	return !w.full && hex_hash(writer_bytes(&w), out);
}

static bool signing_key(const struct sigv4_request *q, uint8_t key[SHA256_SIZE])
{
	uint8_t first[HASH_BLOCK];
	struct writer w = writer_of(first, sizeof first);
	put_str(&w, "AWS4");
	put_str(&w, q->secret_key);
	bool ok = !w.full && hmac(writer_bytes(&w), bytes_of(q->date, 8), key) &&
		hmac(bytes_of(key, SHA256_SIZE), bytes_str(q->region), key) &&
		hmac(bytes_of(key, SHA256_SIZE), bytes_str(q->service), key) &&
		hmac(bytes_of(key, SHA256_SIZE), BYTES_LIT("aws4_request"), key);
	crypto_wipe(first, sizeof first);
	return ok;
}

bool sigv4_authorization(const struct sigv4_request *q, char ret[SIGV4_AUTHORIZATION_MAX])
{
	uint8_t text[512], key[SHA256_SIZE], signature[SHA256_SIZE];
	char request[HEX_SIZE], signature_hex[HEX_SIZE], scope[200];
	if (strlen(q->date) != SIGV4_DATE_SIZE - 1 || !hash_request(q, request))
		return false;
	int n = snprintf(scope, sizeof scope, "%.8s/%s/%s/aws4_request", q->date, q->region, q->service);
	if (n < 0 || (size_t)n >= sizeof scope)
		return false;
	struct writer w = writer_of(text, sizeof text);
	put_fmt(&w, "AWS4-HMAC-SHA256\n%s\n%s\n%s", q->date, scope, request);
	bool ok = !w.full && signing_key(q, key) && hmac(BYTES_ARRAY(key), writer_bytes(&w), signature);
	crypto_wipe(key, sizeof key);
	if (!ok)
		return false;
	w = writer_of(ret, SIGV4_AUTHORIZATION_MAX);
	put_fmt(&w, "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=", q->access_key, scope);
	put_signed_headers(&w, q);
	put_fmt(&w, ", Signature=%s", hex_encode(BYTES_ARRAY(signature), signature_hex));
	put_u8(&w, '\0');
	return !w.full;
}

void sigv4_date(int64_t seconds, char ret[SIGV4_DATE_SIZE])
{
	struct tm t;
	time_t s = (time_t)seconds;
	gmtime_r(&s, &t);
	strftime(ret, SIGV4_DATE_SIZE, "%Y%m%dT%H%M%SZ", &t);
}
