/* The token server's address is the registry's word, as in every client: over https it may be anywhere, and it gets the
 * credentials that the user keeps for this registry. */
#include "image/registry_auth.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "crypto/crypto.h"
#include "image/credentials.h"
#include "image/json.h"

#include <stdio.h>
#include <strings.h>

enum { SHOWN = 200 };

/* --- authorization ---------------------------------------------------------------------------------------- */

bool challenge_parameter(const char *challenge, const char *key, char *out, size_t cap)
{
	size_t key_n = strlen(key);
	const char *at = strchr(challenge, ' ');
	while (at != NULL && *at != '\0') {
		at += strspn(at, " ,\t");
		size_t n = strcspn(at, "= ,");
		bool wanted = n == key_n && strncasecmp(at, key, n) == 0;
		if (at[n] != '=')
			return false;
		at += n + 1;
		size_t i = 0;
		bool quoted = *at == '"';
		at += quoted;
		for (; *at != '\0' && (quoted ? *at != '"' : strchr(", ", *at) == NULL); at++) {
			if (quoted && *at == '\\' && at[1] != '\0')
				at++;
			if (wanted && i + 1 < cap)
				out[i++] = *at;
			else if (wanted)
				return false;
		}
		at += quoted && *at == '"';
		if (wanted) {
			out[i] = '\0';
			return true;
		}
	}
	return false;
}

static enum image_code find_credentials(struct registry_access *r, struct credentials *ret, struct err *err)
{
	struct ecr_registry ecr;
	enum image_code c = credentials_find(r->host, r->repository, ret, err);
	if (c == IMAGE_OK && !ret->found && ecr_registry_parse(bytes_str(r->host), &ecr))
		c = ecr_credentials(r->fetcher, &ecr, ret, err);
	return c;
}

static enum image_code not_authorized(const struct registry_access *r, bool had, struct err *err)
{
	return image_fail(err, IMAGE_NOT_AUTHORIZED, 0, "%s refuses to show %s%s", r->host, r->repository,
	                  had ? ": the credentials in the registry configuration do not allow it (or it does not exist)"
	                      : " without credentials; log in with docker, podman or skopeo first (or it does not exist)");
}

static bool token_valid(const char *t)
{
	for (size_t i = 0; t[i] != '\0'; i++)
		if (t[i] < 0x21 || t[i] > 0x7e)
			return false;
	return t[0] != '\0';
}

static enum image_code take_token(struct registry_access *r, struct bytes text, struct err *err)
{
	CLEANUP(json_cleanup) json_t *j = NULL;
	const char *token = NULL, *access = NULL;
	enum image_code c = document_parse(text, "the token server's answer", &j, err);
	if (c != IMAGE_OK)
		return c;
	if (!json_is_object(j) || !json_get_string(j, "token", &token, NULL) || !json_get_string(j, "access_token", &access, NULL))
		token = access = NULL;
	if (token == NULL)
		token = access;
	if (token == NULL || !token_valid(token) || strlen(token) + sizeof "Bearer " > sizeof r->authorization)
		return image_fail(err, IMAGE_REGISTRY_ERROR, 0, "the token server of %s gave no usable token", r->host);
	snprintf(r->authorization, sizeof r->authorization, "Bearer %s", token);
	return IMAGE_OK;
}

/* "realm?service=…&scope=…", or the body of a refresh request. */
static bool put_token_query(struct writer *w, const char *realm, const char *service, const char *scope, const char *refresh)
{
	if (refresh == NULL) {
		put_str(w, realm);
		put_u8(w, strchr(realm, '?') != NULL ? '&' : '?');
	} else {
		put_str(w, "grant_type=refresh_token&client_id=tee-rex&refresh_token=");
		put_url_encoded(w, bytes_str(refresh));
		put_u8(w, '&');
	}
	put_str(w, "service=");
	put_url_encoded(w, bytes_str(service));
	put_str(w, "&scope=");
	put_url_encoded(w, bytes_str(scope));
	put_u8(w, '\0');
	return !w->full;
}

static enum image_code get_token(struct registry_access *r, const char *challenge, const struct credentials *k, struct err *err)
{
	static const char form[] = "Content-Type: application/x-www-form-urlencoded";
	char realm[FETCH_TEXT_MAX], service[FETCH_TEXT_MAX] = "", scope[FETCH_TEXT_MAX];
	static char query[4 * SECRET_MAX], basic[2 * SECRET_MAX];
	CLEANUP(free_ptr) uint8_t *text = NULL;
	struct fetch_answer a;
	size_t n = 0;
	if (!challenge_parameter(challenge, "realm", realm, sizeof realm))
		return image_fail(err, IMAGE_REGISTRY_ERROR, 0, "%s asks for a token and does not say where to get one", r->host);
	challenge_parameter(challenge, "service", service, sizeof service);
	/* what we ask for is what we need, whatever the challenge suggests */
	snprintf(scope, sizeof scope, "repository:%s:pull", r->repository);
	bool refresh = k->found && k->identity_token;
	struct writer w = writer_of(query, sizeof query), b = writer_of(basic, sizeof basic);
	if (!put_token_query(&w, realm, service, scope, refresh ? k->secret : NULL))
		return image_fail(err, IMAGE_CREDENTIALS, 0, "the credentials for %s are too long", r->host);
	struct fetch_request q = { .method = refresh ? "POST" : "GET", .url = refresh ? realm : query, .plain = r->plain ? FETCH_LOOPBACK : FETCH_TLS };
	if (refresh) {
		q.header[0] = form;
		q.body = bytes_of(query, w.at - 1);
	} else if (k->found) {
		credentials_put_basic(k, &b);
		q.authorization = basic;
	}
	enum image_code c = fetch_document(r->fetcher, &q, JSON_DOCUMENT_MAX, &a, &text, &n, err);
	crypto_wipe(query, sizeof query);
	crypto_wipe(basic, sizeof basic);
	if (c != IMAGE_OK)
		return image_fail_in(err, c, "get a token for %s", r->host);
	if (a.status == 401 || a.status == 403)
		return not_authorized(r, k->found, err);
	if (a.status != 200)
		return image_fail(err, IMAGE_REGISTRY_ERROR, 0, "the token server of %s answered %ld", r->host, a.status);
	c = take_token(r, bytes_of(text, n), err);
	crypto_wipe(text, n);
	return c;
}

/* Answers a 401. */
static enum image_code authorize(struct registry_access *r, const struct fetch_answer *a, struct err *err)
{
	const char *bearer = NULL;
	bool basic = false;
	for (size_t i = 0; i < a->challenge_count; i++) {
		if (strncasecmp(a->challenge[i], "bearer ", 7) == 0 && bearer == NULL)
			bearer = a->challenge[i];
		basic = basic || strncasecmp(a->challenge[i], "basic", 5) == 0;
	}
	if (bearer == NULL && !basic)
		return image_fail(err, IMAGE_REGISTRY_ERROR, 0, "%s wants an authorization of a kind that is not known", r->host);
	struct credentials *k = malloc(sizeof *k);
	if (k == NULL)
		return image_fail(err, IMAGE_IO, ENOMEM, "authorize");
	enum image_code c = find_credentials(r, k, err);
	if (c == IMAGE_OK && bearer != NULL) {
		c = get_token(r, bearer, k, err);
	} else if (c == IMAGE_OK && !k->found) {
		c = not_authorized(r, false, err);
	} else if (c == IMAGE_OK) {
		struct writer w = writer_of(r->authorization, sizeof r->authorization);
		credentials_put_basic(k, &w);
	}
	credentials_wipe(k);
	free(k);
	return c;
}

/* --- requests --------------------------------------------------------------------------------------------- */

void registry_url(const struct registry_access *r, const char *kind, const char *name, char url[REGISTRY_URL_MAX])
{
	snprintf(url, REGISTRY_URL_MAX, "%s://%s/v2/%s/%s/%s", r->plain ? "http" : "https", r->host, r->repository, kind, name);
}

enum image_code registry_refused(const struct registry_access *r, const struct fetch_answer *a, const char *what,
                                 struct err *err)
{
	char shown[SHOWN];
	text_escape(bytes_of(a->text, strnlen(a->text, SHOWN - 60)), shown, sizeof shown);
	if (a->status == 404)
		return image_fail(err, IMAGE_NOT_FOUND, 0, "%s does not have %s of %s", r->host, what, r->repository);
	if (a->status == 401 || a->status == 403)
		return not_authorized(r, r->authorization[0] != '\0', err);
	return image_fail(err, IMAGE_REGISTRY_ERROR, 0, "%s answered %ld for %s%s%s", r->host, a->status, what,
	                  shown[0] != '\0' ? ": " : "", shown);
}

/* Asks with what authorization there is; a 401 gets one answer, and only one of the registry's own: a storage service that it
 * redirects to could otherwise name a token server and be given the password. */
enum image_code registry_fetch(struct registry_access *r, struct fetch_request *q, struct fetch_answer *a, struct err *err)
{
	q->plain = r->plain ? FETCH_LOOPBACK : FETCH_TLS;
	for (int again = 0; ; again++) {
		q->authorization = r->authorization[0] != '\0' ? r->authorization : NULL;
		enum image_code c = fetch(r->fetcher, q, a, err);
		if (c != IMAGE_OK || a->status != 401 || a->elsewhere || again == 1)
			return c;
		/* no token yet, or one that ran out */
		if ((c = authorize(r, a, err)) != IMAGE_OK)
			return c;
	}
}

enum image_code registry_fetch_document(struct registry_access *r, struct fetch_request *q, size_t max,
                                        struct fetch_answer *a, uint8_t **ret, size_t *ret_n, struct err *err)
{
	q->plain = r->plain ? FETCH_LOOPBACK : FETCH_TLS;
	for (int again = 0; ; again++) {
		q->authorization = r->authorization[0] != '\0' ? r->authorization : NULL;
		enum image_code c = fetch_document(r->fetcher, q, max, a, ret, ret_n, err);
		if (c != IMAGE_OK || a->status != 401 || a->elsewhere || again == 1)
			return c;
		free(*ret);
		*ret = NULL;
		if ((c = authorize(r, a, err)) != IMAGE_OK)
			return c;
	}
}
