#include "cli/attested.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/http_error.h"

#include <errno.h>
#include <jansson.h>

enum { ATTESTATION_JSON_MAX = 64 << 10, HEALTH_JSON_MAX = 64 << 10 };

static void json_cleanup(json_t **j) { json_decref(*j); }
static void answer_cleanup(struct http_answer *a) { http_answer_free(a); }

/* GET path as a JSON object. */
static int get_json(const struct http_base *base, const char *path, size_t max, json_t **ret, struct err *err)
{
	const struct http_request q = { .base = base, .path = path, .answer_max = max,
		.connect_ms = ATTEST_CONNECT_MS, .total_ms = ATTEST_TOTAL_MS };
	CLEANUP(answer_cleanup) struct http_answer a = { 0 };
	int result = http_perform(&q, &a, err);
	if (result < 0)
		return result;
	if (a.status != 200) {
		struct http_error e;
		http_error_read(&a, &e);
		return fail(err, 0, "%s%s: %s", base->prefix, path, e.text);
	}
	*ret = json_parse(bytes_of(a.body, a.body_n));
	return *ret != NULL ? 0 : fail(err, 0, "%s%s: the answer is no JSON object", base->prefix, path);
}

int attestation_fetch(const struct http_base *base, struct bytes nonce, uint8_t out[TEEREX_DOCUMENT_MAX],
                      size_t *ret_n, struct err *err)
{
	char path[32 + 2 * TEEREX_FIELD_MAX] = "/attestation";
	if (nonce.n > 0) {
		size_t at = (size_t)snprintf(path, sizeof path, "/attestation?nonce=");
		hex_encode(nonce, path + at);
	}
	CLEANUP(json_cleanup) json_t *j = NULL;
	int result = get_json(base, path, ATTESTATION_JSON_MAX, &j, err);
	if (result < 0)
		return result;
	const char *mode = json_string_value(json_object_get(j, "mode"));
	if (mode == NULL || strcmp(mode, "nitro") != 0)
		return fail(err, 0, "%s offers no attestation (mode \"%s\"): nobody can tell what would read the input",
		            base->prefix, mode != NULL && strcmp(mode, "standard") == 0 ? "standard" : "unknown");
	json_t *document = json_object_get(j, "attestationDocument");
	struct bytes text = bytes_of(json_string_value(document), json_string_length(document));
	if (text.n == 0 || !base64_decode(text, out, TEEREX_DOCUMENT_MAX, ret_n))
		return fail(err, 0, "%s: attestationDocument is no base64 text of at most %d bytes", base->prefix, TEEREX_DOCUMENT_MAX);
	return 0;
}

/* --- versions --------------------------------------------------------------------------------------- */

static bool add_version(struct attested *a, json_t *entry)
{
	json_t *name = json_object_get(entry, "version"), *sha256 = json_object_get(entry, "sha256");
	if (!json_is_string(name) || !json_is_string(sha256) || a->version_count == FRAME_VERSIONS_MAX)
		return false;
	struct attested_version *v = &a->version[a->version_count];
	struct bytes n = bytes_of(json_string_value(name), json_string_length(name));
	if (!version_name_valid(n) || !bytes_to_cstr(n, v->name, sizeof v->name) ||
	    !hex_decode(bytes_of(json_string_value(sha256), json_string_length(sha256)), v->sha256, sizeof v->sha256))
		return false;
	for (size_t i = 0; i < a->version_count; i++)
		if (strcmp(a->version[i].name, v->name) == 0)
			return false;
	a->version_count++;
	return true;
}

static bool add_versions(struct attested *a, json_t *list)
{
	size_t i;
	json_t *entry;
	a->version_count = 0;
	if (!json_is_array(list))
		return false;
	json_array_foreach(list, i, entry)
		if (!add_version(a, entry))
			return false;
	return true;
}

/* SHA-256 over "name sha256hex\n" of each version in the list's order, as the enclave makes it. */
static bool list_digest(const struct attested *a, uint8_t out[SHA256_SIZE])
{
	CLEANUP(hash_cleanup) struct hash *h = hash_new(HASH_SHA256);
	for (size_t i = 0; h != NULL && i < a->version_count; i++) {
		char line[FRAME_VERSION_MAX + 2 * SHA256_SIZE + 3], hex[2 * SHA256_SIZE + 1];
		int n = snprintf(line, sizeof line, "%s %s\n", a->version[i].name, hex_encode(BYTES_ARRAY(a->version[i].sha256), hex));
		hash_update(h, bytes_of(line, (size_t)n));
	}
	return h != NULL && hash_peek(h, out);
}

static int fetch_whole_list(const struct http_base *base, const char *digest_hex, struct attested *a, struct err *err)
{
	uint8_t want[SHA256_SIZE], got[SHA256_SIZE];
	if (!hex_decode(bytes_str(digest_hex), want, sizeof want))
		return fail(err, 0, "the document's version digest is no SHA-256");
	CLEANUP(json_cleanup) json_t *j = NULL;
	int result = get_json(base, "/health", HEALTH_JSON_MAX, &j, err);
	if (result < 0)
		return result;
	if (!add_versions(a, json_object_get(j, "bb_hashes")))
		return fail(err, 0, "%s/health: bb_hashes is no list of versions", base->prefix);
	if (!list_digest(a, got) || memcmp(want, got, sizeof want) != 0)
		return fail(err, 0, "%s/health: the version list is not the one that the document vouches for; try again, "
		            "it may have changed in between", base->prefix);
	return 0;
}

static int read_versions(const struct http_base *base, struct attested *a, struct err *err)
{
	CLEANUP(json_cleanup) json_t *j = json_parse(bytes_of(a->result.user_data, a->result.user_data_size));
	if (j == NULL || !add_versions(a, json_object_get(j, "versions")))
		return fail(err, 0, "the document's user_data lists no versions that this program understands");
	json_t *digest = json_object_get(j, "digest");
	if (digest == NULL)
		return 0;
	if (!json_is_string(digest))
		return fail(err, 0, "the document's version digest is no SHA-256");
	return fetch_whole_list(base, json_string_value(digest), a, err);
}

const struct attested_version *attested_find(const struct attested *a, const char *name, struct err *err)
{
	char names[FRAME_VERSIONS_MAX * (FRAME_VERSION_MAX + 2) + 1] = "";
	size_t at = 0;
	if (name == NULL && a->version_count == 1)
		return &a->version[0];
	for (size_t i = 0; i < a->version_count; i++) {
		if (name != NULL && strcmp(a->version[i].name, name) == 0)
			return &a->version[i];
		at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i > 0 ? ", " : "", a->version[i].name);
	}
	if (a->version_count == 0)
		fail(err, 0, "the enclave has no prover version loaded; tee-rex upload loads one");
	else if (name == NULL)
		fail(err, 0, "the enclave has several prover versions; choose one with --version: %s", names);
	else
		fail(err, 0, "the enclave has no prover version %s; it has: %s", name, names);
	return NULL;
}

/* --- the whole ----------------------------------------------------------------------------------------- */

int attested_open(const struct http_base *base, const struct teerex_policy *policy, struct attested *ret,
                  struct err *err)
{
	static uint8_t document[TEEREX_DOCUMENT_MAX];
	size_t n;
	*ret = (struct attested){ 0 };
	int result = attestation_fetch(base, bytes_of(policy->nonce, policy->nonce_size), document, &n, err);
	if (result < 0)
		return result;
	if (teerex_verify(document, n, policy, &ret->result) != TEEREX_OK) {
		fail(err, 0, "refused: %s: %s", teerex_code_name(ret->result.code), ret->result.message);
		return -EACCES;
	}
	if (!ret->result.has_public_key)
		return fail(err, 0, "the document vouches for no key");
	enum pgp_error e = pgp_recipient_parse(bytes_of(ret->result.public_key, ret->result.public_key_size), &ret->key);
	if (e != PGP_OK)
		return fail(err, 0, "the document's key is none of ours: %s: %s", pgp_error_name(e), pgp_error_text(e));
	return read_versions(base, ret, err);
}

void attested_warn(const char *command, const struct teerex_result *r)
{
	if (r->simulated)
		fprintf(stderr, "%s: SIMULATED: the document is signed under a root that is not AWS's; no hardware vouches for it\n", command);
	if (r->debug)
		fprintf(stderr, "%s: DEBUG: whoever runs this enclave can read its memory; its measurements are zeros\n", command);
}
