/* jansson does the grammar. Before it does, one pass over the text counts what it would have to allocate: a
 * few megabytes of "[[[[" or "0,0,0," would otherwise become hundreds in memory. */
#include "image/json.h"

#include "base/text.h"

static enum image_code weigh(struct bytes text, const char *what, struct err *err)
{
	size_t values = 1, depth = 0;
	bool in_string = false;
	if (text.n > JSON_DOCUMENT_MAX)
		return image_fail(err, IMAGE_TOO_LARGE, 0, "%s has %zu bytes; %d are allowed", what, text.n, JSON_DOCUMENT_MAX);
	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = text.p[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		in_string = c == '"';
		values += c == ',' || c == '[' || c == '{' || c == ':';
		depth += c == '[' || c == '{';
		depth -= (c == ']' || c == '}') && depth > 0;
		if (values > JSON_VALUES_MAX || depth > JSON_NESTING_MAX)
			return image_fail(err, IMAGE_TOO_LARGE, 0, "%s has more than %d values or is nested deeper than %d", what,
			                  JSON_VALUES_MAX, JSON_NESTING_MAX);
	}
	return IMAGE_OK;
}

enum image_code document_parse(struct bytes text, const char *what, json_t **ret, struct err *err)
{
	json_error_t e;
	char why[160];
	enum image_code c = weigh(text, what, err);
	if (c != IMAGE_OK)
		return c;
	json_t *j = json_loadb(text.n > 0 ? (const char *)text.p : "", text.n, JSON_REJECT_DUPLICATES, &e);
	if (j == NULL)
		return image_fail(err, IMAGE_BAD_JSON, 0, "%s is not JSON, line %d: %s", what, e.line,
		                  text_escape(bytes_str(e.text), why, sizeof why));
	*ret = j;
	return IMAGE_OK;
}

static json_t *member(json_t *object, const char *key)
{
	json_t *j = json_object_get(object, key);
	return json_is_null(j) ? NULL : j;
}

bool json_get_string(json_t *object, const char *key, const char **ret, const char *otherwise)
{
	json_t *j = member(object, key);
	*ret = j == NULL ? otherwise : json_string_value(j);
	return j == NULL || json_is_string(j);
}

bool json_get_object(json_t *object, const char *key, json_t **ret)
{
	*ret = member(object, key);
	return *ret == NULL || json_is_object(*ret);
}

bool json_get_array(json_t *object, const char *key, json_t **ret)
{
	*ret = member(object, key);
	return *ret == NULL || json_is_array(*ret);
}

bool json_get_u64(json_t *object, const char *key, uint64_t *ret, uint64_t otherwise)
{
	json_t *j = member(object, key);
	*ret = otherwise;
	if (j == NULL)
		return true;
	if (!json_is_integer(j) || json_integer_value(j) < 0)
		return false;
	*ret = (uint64_t)json_integer_value(j);
	return true;
}
