#include "cli/http_error.h"

#include "base/text.h"

#include <stdio.h>

json_t *json_parse(struct bytes text)
{
	/* jansson takes a zero byte in places for the end */
	if (text.n == 0 || memchr(text.p, 0, text.n) != NULL)
		return NULL;
	json_t *j = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(j))
		return j;
	json_decref(j);
	return NULL;
}

static const char *member(json_t *j, const char *name, char *buf, size_t cap)
{
	json_t *v = json_object_get(j, name);
	return text_escape(bytes_of(json_string_value(v), json_string_length(v)), buf, cap);
}

static size_t put_mib(json_t *j, const char *name, const char *label, char *to, size_t cap)
{
	json_int_t v = json_integer_value(json_object_get(j, name));
	int n = v > 0 ? snprintf(to, cap, "; %s %lld MiB", label, (long long)((v + (1 << 20) - 1) >> 20)) : 0;
	return n < 0 || (size_t)n >= cap ? 0 : (size_t)n;
}

void http_error_read(const struct http_answer *a, struct http_error *ret)
{
	char error[160], detail[160];
	enum outcome known;
	json_t *j = json_parse(bytes_of(a->body, a->body_n));
	*ret = (struct http_error){ 0 };
	if (j == NULL || !json_is_string(json_object_get(j, "error"))) {
		snprintf(ret->text, sizeof ret->text, "HTTP %ld: %s", a->status,
		         text_escape(bytes_of(a->body, a->body_n < 120 ? a->body_n : 120), error, sizeof error));
		json_decref(j);
		return;
	}
	member(j, "code", ret->code, sizeof ret->code);
	if (!outcome_parse(bytes_str(ret->code), &known))
		ret->code[0] = '\0';
	member(j, "error", error, sizeof error);
	member(j, "detail", detail, sizeof detail);
	if (strcmp(detail, error) == 0)
		detail[0] = '\0';        /* problem details repeat the sentence where there is nothing to add */
	int n = snprintf(ret->text, sizeof ret->text - 64, "HTTP %ld%s%s: %s%s%s", a->status, ret->code[0] ? " " : "",
	                 ret->code, error, detail[0] ? ": " : "", detail);
	size_t at = n < 0 ? 0 : (size_t)n < sizeof ret->text - 64 ? (size_t)n : sizeof ret->text - 65;
	at += put_mib(j, "limit_bytes", "limit", ret->text + at, sizeof ret->text - at);
	put_mib(j, "peak_bytes", "peak", ret->text + at, sizeof ret->text - at);
	json_decref(j);
}
