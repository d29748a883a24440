/* A token for an Amazon ECR registry in three calls: a session with the instance's metadata service (IMDSv2), the role's
 * temporary keys, and ecr:GetAuthorizationToken signed with them. The token is a user and password like any other. */
#include "image/credentials.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "crypto/crypto.h"
#include "image/json.h"
#include "image/sigv4.h"

#include <stdio.h>

enum { METADATA_CONNECT_MS = 2000, ANSWER_MAX = 64 << 10, KEY_MAX = 128, SESSION_MAX = 8 << 10 };

struct aws_keys { char access[KEY_MAX], secret[KEY_MAX], session[SESSION_MAX]; };        /* session may be empty */

bool ecr_registry_parse(struct bytes host, struct ecr_registry *ret)
{
	static const char *const middles[] = { ".dkr.ecr.", ".dkr.ecr-fips." };
	static const char *const ends[] = { ".amazonaws.com", ".amazonaws.com.cn" };
	if (host.n < 12)
		return false;
	for (size_t i = 0; i < 12; i++)
		if (host.p[i] < '0' || host.p[i] > '9')
			return false;
	for (size_t m = 0; m < 2; m++)
		for (size_t e = 0; e < 2; e++) {
			size_t before = 12 + strlen(middles[m]), after = strlen(ends[e]);
			struct bytes rest = bytes_slice(host, before, host.n > before ? host.n - before : 0);
			if (rest.n <= after || memcmp(host.p + 12, middles[m], before - 12) != 0 ||
			    memcmp(rest.p + rest.n - after, ends[e], after) != 0)
				continue;
			struct bytes region = bytes_slice(rest, 0, rest.n - after);
			for (size_t i = 0; i < region.n; i++)
				if (region.p[i] != '-' && !(region.p[i] >= 'a' && region.p[i] <= 'z') &&
				    !(region.p[i] >= '0' && region.p[i] <= '9'))
					return false;
			if (!bytes_to_cstr(region, ret->region, sizeof ret->region))
				return false;
			snprintf(ret->endpoint, sizeof ret->endpoint, "https://%s.%s%s", m == 0 ? "api.ecr" : "ecr-fips", ret->region, ends[e]);
			return true;
		}
	return false;
}

static bool copy(const char *from, char *to, size_t cap) { return bytes_to_cstr(bytes_str(from), to, cap); }

/* What goes into a header must not bring a line end along. */
static bool printable(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text < 0x21 || *text > 0x7e)
			return false;
	return true;
}

static enum image_code answered(enum image_code c, const struct fetch_answer *a, const char *who, struct err *err)
{
	char shown[200];
	if (c != IMAGE_OK)
		return image_fail_in(err, c, "%s", who);
	if (a->status == 200)
		return IMAGE_OK;
	return image_fail(err, IMAGE_CREDENTIALS, 0, "%s answered %ld: %s", who, a->status,
	                  text_escape(bytes_of(a->text, strnlen(a->text, 150)), shown, sizeof shown));
}

/* --- the instance's role ------------------------------------------------------------------------------------ */

static enum image_code metadata(struct fetcher *f, const char *method, const char *path, const char *header, char *out,
                                size_t cap, struct err *err)
{
	static const char who[] = "the instance metadata service";
	const char *base = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	CLEANUP(free_ptr) uint8_t *text = NULL;
	struct fetch_answer a;
	char url[512];
	size_t n = 0;
	if (base == NULL || base[0] == '\0')
		base = "http://169.254.169.254";
	snprintf(url, sizeof url, "%s%s%s", base, base[strlen(base) - 1] == '/' ? "" : "/", path);
	const struct fetch_request q = { .method = method, .url = url, .header = { header }, .plain = FETCH_METADATA,
		.connect_ms = METADATA_CONNECT_MS, .attempts = 2 };
	enum image_code c = answered(fetch_document(f, &q, ANSWER_MAX, &a, &text, &n, err), &a, who, err);
	if (c != IMAGE_OK)
		return c;
	bool fits = bytes_to_cstr(bytes_of(text, n), out, cap);
	crypto_wipe(text, n);
	return fits ? IMAGE_OK : image_fail(err, IMAGE_CREDENTIALS, 0, "%s gave too long an answer", who);
}

static enum image_code role_keys(struct fetcher *f, struct aws_keys *ret, struct err *err)
{
	static const char list[] = "latest/meta-data/iam/security-credentials/";
	char token[2048], header[2200], role[256], path[sizeof list + sizeof role], text[ANSWER_MAX];
	CLEANUP(json_cleanup) json_t *j = NULL;
	const char *access, *secret, *session;
	enum image_code c = metadata(f, "PUT", "latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 300", token,
	                             sizeof token, err);
	if (c == IMAGE_OK && !printable(token))
		c = image_fail(err, IMAGE_CREDENTIALS, 0, "the instance metadata service gave a malformed token");
	if (c != IMAGE_OK)
		return c;
	snprintf(header, sizeof header, "X-aws-ec2-metadata-token: %s", token);
	c = metadata(f, "GET", list, header, role, sizeof role, err);
	if (c != IMAGE_OK)
		return c;
	role[strcspn(role, "\r\n")] = '\0';
	if (role[0] == '\0' || strspn(role, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+=,.@_-") != strlen(role))
		return image_fail(err, IMAGE_CREDENTIALS, 0, "the instance has no role; give it one that may read the registry");
	snprintf(path, sizeof path, "%s%s", list, role);
	c = metadata(f, "GET", path, header, text, sizeof text, err);
	if (c == IMAGE_OK)
		c = document_parse(bytes_str(text), "the role's credentials", &j, err);
	crypto_wipe(text, sizeof text);
	if (c != IMAGE_OK)
		return c;
	if (!json_get_string(j, "AccessKeyId", &access, "") || !json_get_string(j, "SecretAccessKey", &secret, "") ||
	    !json_get_string(j, "Token", &session, "") || access[0] == '\0' || secret[0] == '\0' || !printable(session) ||
	    !printable(access) || !copy(access, ret->access, KEY_MAX) || !copy(secret, ret->secret, KEY_MAX) ||
	    !copy(session, ret->session, SESSION_MAX))
		return image_fail(err, IMAGE_CREDENTIALS, 0, "the instance metadata service gave malformed credentials");
	return IMAGE_OK;
}

static enum image_code find_keys(struct fetcher *f, struct aws_keys *ret, struct err *err)
{
	const char *access = getenv("AWS_ACCESS_KEY_ID"), *secret = getenv("AWS_SECRET_ACCESS_KEY");
	const char *session = getenv("AWS_SESSION_TOKEN");
	memset(ret, 0, sizeof *ret);
	if (access == NULL || secret == NULL || access[0] == '\0')
		return role_keys(f, ret, err);
	if (session == NULL)
		session = "";
	if (!printable(access) || !printable(session) || !copy(access, ret->access, KEY_MAX) ||
	    !copy(secret, ret->secret, KEY_MAX) || !copy(session, ret->session, SESSION_MAX))
		return image_fail(err, IMAGE_CREDENTIALS, 0, "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_SESSION_TOKEN is malformed");
	return IMAGE_OK;
}

/* --- the token ------------------------------------------------------------------------------------------------ */

static enum image_code parse_token(struct bytes text, struct credentials *ret, struct err *err)
{
	CLEANUP(json_cleanup) json_t *j = NULL;
	json_t *data;
	const char *token;
	uint8_t plain[SECRET_MAX];
	size_t n;
	enum image_code c = document_parse(text, "the registry token", &j, err);
	if (c != IMAGE_OK)
		return c;
	if (!json_get_array(j, "authorizationData", &data) || !json_get_string(json_array_get(data, 0), "authorizationToken", &token, NULL) ||
	    token == NULL || !base64_decode(bytes_str(token), plain, sizeof plain, &n))
		return image_fail(err, IMAGE_CREDENTIALS, 0, "Amazon ECR gave no token");
	const uint8_t *colon = memchr(plain, ':', n);
	size_t user_n = colon != NULL ? (size_t)(colon - plain) : 0;
	ret->identity_token = false;
	ret->found = colon != NULL && bytes_to_cstr(bytes_of(plain, user_n), ret->user, sizeof ret->user) &&
		bytes_to_cstr(bytes_of(plain + user_n + 1, n - user_n - 1), ret->secret, sizeof ret->secret);
	crypto_wipe(plain, sizeof plain);
	return ret->found ? IMAGE_OK : image_fail(err, IMAGE_CREDENTIALS, 0, "Amazon ECR gave a malformed token");
}

static enum image_code call(struct fetcher *f, const struct ecr_registry *r, const struct aws_keys *k,
                            struct credentials *ret, struct err *err)
{
	static const char target[] = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
	static const char type[] = "application/x-amz-json-1.1";
	const char *endpoint = getenv("AWS_ENDPOINT_URL_ECR");
	CLEANUP(free_ptr) uint8_t *text = NULL;
	char date[SIGV4_DATE_SIZE], authorization[SIGV4_AUTHORIZATION_MAX], url[300], line[4][SESSION_MAX + 64];
	struct fetch_answer a;
	size_t n = 0;
	if (endpoint == NULL || endpoint[0] == '\0')
		endpoint = r->endpoint;
	const char *host = strstr(endpoint, "://") != NULL ? strstr(endpoint, "://") + 3 : endpoint;
	char host_text[200];
	snprintf(host_text, sizeof host_text, "%.*s", (int)strcspn(host, "/"), host);
	snprintf(url, sizeof url, "%.*s/", (int)(host - endpoint + (ptrdiff_t)strcspn(host, "/")), endpoint);
	sigv4_date(clock_wall_ms() / 1000, date);
	const struct sigv4_header header[] = { { "content-type", type }, { "host", host_text }, { "x-amz-date", date },
		{ "x-amz-security-token", k->session }, { "x-amz-target", target } };
	struct sigv4_header sent[5];
	size_t count = 0;
	for (size_t i = 0; i < 5; i++)
		if (header[i].value[0] != '\0')
			sent[count++] = header[i];
	const struct sigv4_request s = { .method = "POST", .path = "/", .header = sent, .header_count = count,
		.body = BYTES_LIT("{}"), .region = r->region, .service = "ecr", .date = date, .access_key = k->access,
		.secret_key = k->secret };
	if (!sigv4_authorization(&s, authorization))
		return image_fail(err, IMAGE_CREDENTIALS, 0, "the AWS keys are malformed");
	struct fetch_request q = { .method = "POST", .url = url, .authorization = authorization, .body = s.body, .plain = FETCH_LOOPBACK };
	size_t lines = 0;
	for (size_t i = 0; i < count; i++)
		if (strcmp(sent[i].name, "host") != 0) {
			snprintf(line[lines], sizeof line[lines], "%s: %s", sent[i].name, sent[i].value);
			q.header[lines] = line[lines];
			lines++;
		}
	enum image_code c = answered(fetch_document(f, &q, ANSWER_MAX, &a, &text, &n, err), &a, "Amazon ECR", err);
	if (c == IMAGE_OK)
		c = parse_token(bytes_of(text, n), ret, err);
	if (text != NULL)
		crypto_wipe(text, n);
	return c;
}

enum image_code ecr_credentials(struct fetcher *f, const struct ecr_registry *r, struct credentials *ret, struct err *err)
{
	struct aws_keys k;
	enum image_code c = find_keys(f, &k, err);
	if (c == IMAGE_OK)
		c = call(f, r, &k, ret, err);
	crypto_wipe(&k, sizeof k);
	return c;
}
