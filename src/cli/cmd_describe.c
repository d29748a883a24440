/* tee-rex describe: what an enclave image is, measures to and was signed by. The members of the JSON are the stock tool's;
 * ours come after them. The image is a stranger's: what it says about itself is printed as JSON in ASCII only, so
 * nothing of it acts on a terminal. */
#include "base/clock.h"
#include "base/options.h"
#include "base/text.h"
#include "cli/commands.h"
#include "image/metadata.h"
#include "image/sign.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct describe_args { const char *role_arn, *instance_id; bool pcr, json; };

static const struct option_spec options[] = {
	{ 0, "pcr", OPT_FLAG, offsetof(struct describe_args, pcr), NULL, "print only PCRs, one N=HEX a line (what verify --pcr takes)" },
	{ 0, "role-arn", OPT_STRING, offsetof(struct describe_args, role_arn), "ARN", "also PCR3, of an instance with this IAM role" },
	{ 0, "instance-id", OPT_STRING, offsetof(struct describe_args, instance_id), "ID", "also PCR4, of this instance" },
	{ 0, "json", OPT_FLAG, offsetof(struct describe_args, json), NULL, "print JSON; the default, and with --pcr the measurements alone" },
	OPTIONS_HELP,
	OPTIONS_END
};

/* What was found out about an image; on the heap for its size. */
struct description {
	struct eif_file file;
	struct eif_measures measures;
	bool has_pcr3, has_pcr4, has_pcr8;
	uint8_t pcr3[PCR_SIZE], pcr4[PCR_SIZE], pcr8[PCR_SIZE];
	bool is_signed, has_certificate;
	enum eif_signature_result signature;
	struct sign_certificate certificate;
	enum metadata_result metadata_result;
	json_t *metadata;                        /* owned */
	const char *code, *message;              /* of the first refusal; "ok" */
};

/* --- finding out -------------------------------------------------------------------------- */

static void refuse(struct description *d, const char *code, const char *message)
{
	fprintf(stderr, "refused: %s: %s\n", code, message);
	if (d->code == NULL) {
		d->code = code;
		d->message = message;
	}
}

static int read_signature(struct description *d, uint8_t *buf, struct err *err)
{
	size_t at = eif_file_find(&d->file, EIF_SIGNATURE), n;
	d->is_signed = at < d->file.eif.count;
	if (!d->is_signed)
		return 0;
	int ret = eif_file_read(&d->file, at, buf, EIF_SIGNATURE_MAX, &n, err);
	if (ret < 0)
		return ret;
	d->signature = sign_check(bytes_of(buf, n), d->measures.pcr0, &d->certificate, &d->has_certificate);
	d->has_pcr8 = d->has_certificate && pcr_of_certificate(bytes_of(d->certificate.der, d->certificate.der_n), d->pcr8);
	return 0;
}

static int read_metadata(struct description *d, uint8_t *buf, struct err *err)
{
	size_t n;
	int ret = eif_file_read(&d->file, eif_file_find(&d->file, EIF_METADATA), buf, EIF_METADATA_MAX, &n, err);
	if (ret == 0)
		d->metadata_result = metadata_parse(bytes_of(buf, n), &d->metadata);
	return ret;
}

/* 0, also for an image that is refused in its details; -EBADMSG when it is none; -errno. */
static int find_out(struct description *d, const char *path, struct err *err)
{
	int ret = eif_file_open(&d->file, path, err);
	if (ret == 0)
		ret = eif_file_stream(&d->file, NULL, &d->measures, err);
	uint8_t *buf = ret == 0 ? malloc(EIF_METADATA_MAX) : NULL;
	if (ret == 0 && buf == NULL)
		ret = fail(err, ENOMEM, "read %s", path);
	if (ret == 0)
		ret = read_signature(d, buf, err);
	if (ret == 0)
		ret = read_metadata(d, buf, err);
	free(buf);
	if (ret == -EBADMSG)
		refuse(d, eif_result_name(d->file.refused), eif_result_message(d->file.refused));
	if (ret < 0)
		return ret;
	if (!d->measures.crc_ok)
		refuse(d, eif_result_name(EIF_BAD_CRC), eif_result_message(EIF_BAD_CRC));
	if (d->signature != EIF_SIGNATURE_OK)
		refuse(d, eif_signature_name(d->signature), eif_signature_message(d->signature));
	if (d->metadata_result != METADATA_OK)
		refuse(d, metadata_name(d->metadata_result), metadata_message(d->metadata_result));
	return 0;
}

/* The verdict does not depend on the day; that it would not start today is said, though. */
static void warn_of_dates(const struct description *d)
{
	if (!d->has_certificate || d->signature != EIF_SIGNATURE_OK)
		return;
	enum eif_signature_result r = sign_certificate_check(&d->certificate, clock_wall_ms() / 1000);
	if (r != EIF_SIGNATURE_OK)
		fprintf(stderr, "warning: %s: %s\n", eif_signature_name(r), eif_signature_message(r));
}

/* --- as JSON -------------------------------------------------------------------------------- */

static void set(json_t *to, const char *key, json_t *value) { (void)json_object_set_new(to, key, value); }

static json_t *hex_string(const uint8_t pcr[PCR_SIZE])
{
	char hex[2 * PCR_SIZE + 1];
	return json_string(hex_encode(bytes_of(pcr, PCR_SIZE), hex));
}

static json_t *measurements(const struct description *d)
{
	json_t *m = json_object();
	set(m, "HashAlgorithm", json_string("Sha384 { ... }"));
	set(m, "PCR0", hex_string(d->measures.pcr0));
	set(m, "PCR1", hex_string(d->measures.pcr1));
	set(m, "PCR2", hex_string(d->measures.pcr2));
	if (d->has_pcr3)
		set(m, "PCR3", hex_string(d->pcr3));
	if (d->has_pcr4)
		set(m, "PCR4", hex_string(d->pcr4));
	if (d->has_pcr8)
		set(m, "PCR8", hex_string(d->pcr8));
	return m;
}

static json_t *text_of(const struct writer *w) { return json_stringn((const char *)w->p, writer_bytes(w).n); }

static json_t *issuer_name(const struct sign_certificate *c)
{
	json_t *names = json_object();
	struct x509_name n = x509_name_of(c->x509.issuer);
	struct x509_attribute a;
	while (x509_name_next(&n, &a)) {
		uint8_t type[512], value[4 * SIGN_DER_MAX];
		struct writer t = writer_of(type, sizeof type), v = writer_of(value, sizeof value);
		x509_put_oid(&t, a.type);
		x509_put_value(&v, &a);
		put_u8(&t, 0);                   /* a key is a C string */
		if (!t.full && !v.full)
			set(names, (const char *)type, text_of(&v));
	}
	return names;
}

static json_t *date(int64_t s)
{
	uint8_t text[64];
	struct writer w = writer_of(text, sizeof text);
	x509_put_date(&w, s);
	return text_of(&w);
}

static json_t *certificate(const struct sign_certificate *c)
{
	json_t *j = json_object();
	uint8_t algorithm[512], signature[3 * SIGN_DER_MAX];
	struct writer a = writer_of(algorithm, sizeof algorithm), s = writer_of(signature, sizeof signature);
	x509_put_oid(&a, c->x509.algorithm);
	for (size_t i = 0; i < c->x509.signature.n; i++)
		put_fmt(&s, "%s%02X", i > 0 ? ":" : "", c->x509.signature.p[i]);
	set(j, "IssuerName", issuer_name(c));
	set(j, "Algorithm", text_of(&a));
	set(j, "NotBefore", date(c->x509.not_before_s));
	set(j, "NotAfter", date(c->x509.not_after_s));
	set(j, "Signature", text_of(&s));
	return j;
}

/* The stock tool puts the members of CustomMetadata beside the others; they cannot take their places here. */
static json_t *metadata_members(json_t *metadata)
{
	json_t *m = json_object(), *custom = json_object_get(metadata, "CustomMetadata");
	json_object_update(m, json_object_get(metadata, "BuildMetadata"));
	set(m, "DockerInfo", json_incref(json_object_get(metadata, "DockerInfo")));
	if (json_is_object(custom))
		json_object_update_missing(m, custom);
	return m;
}

static json_t *sections(const struct eif *e)
{
	json_t *list = json_array();
	for (size_t i = 0; i < e->count; i++) {
		json_t *s = json_object();
		set(s, "Type", json_string(eif_section_name(e->section[i].type)));
		set(s, "Size", json_integer((json_int_t)e->section[i].size));
		json_array_append_new(list, s);
	}
	return list;
}

static json_t *whole(const struct description *d)
{
	json_t *j = json_object();
	set(j, "EifVersion", json_integer(EIF_VERSION));
	set(j, "Measurements", measurements(d));
	set(j, "IsSigned", json_boolean(d->is_signed));
	if (d->has_certificate)
		set(j, "SigningCertificate", certificate(&d->certificate));
	set(j, "CheckCRC", json_boolean(d->measures.crc_ok));
	if (d->is_signed)
		set(j, "SignatureCheck", json_boolean(d->signature == EIF_SIGNATURE_OK));
	if (d->metadata != NULL) {
		set(j, "ImageName", json_incref(json_object_get(d->metadata, "ImageName")));
		set(j, "ImageVersion", json_incref(json_object_get(d->metadata, "ImageVersion")));
		set(j, "Metadata", metadata_members(d->metadata));
	}
	set(j, "Architecture", json_string(d->file.eif.flags & EIF_FLAG_ARM64 ? "aarch64" : "x86_64"));
	set(j, "Sections", sections(&d->file.eif));
	return j;
}

static void print_json(json_t *j)
{
	json_dumpf(j, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(j);
}

static void print_lines(const struct description *d)
{
	const struct { int n; bool has; const uint8_t *pcr; } rows[] = {
		{ 0, true, d->measures.pcr0 }, { 1, true, d->measures.pcr1 }, { 2, true, d->measures.pcr2 },
		{ 3, d->has_pcr3, d->pcr3 }, { 4, d->has_pcr4, d->pcr4 }, { 8, d->has_pcr8, d->pcr8 },
	};
	char hex[2 * PCR_SIZE + 1];
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rows[i].has)
			printf("%d=%s\n", rows[i].n, hex_encode(bytes_of(rows[i].pcr, PCR_SIZE), hex));
}

/* Of an image that is refused, no register is printed where a script would take it for a good one's. */
static void print(const struct describe_args *a, const struct description *d, bool readable)
{
	if (a->pcr && d->code == NULL && !a->json)
		print_lines(d);
	else if (a->pcr && d->code == NULL)
		print_json(measurements(d));
	if (a->pcr)
		return;
	json_t *j = readable ? whole(d) : json_object();
	set(j, "Code", json_string(d->code != NULL ? d->code : "ok"));
	if (d->message != NULL)
		set(j, "Message", json_string(d->message));
	print_json(j);
}

/* --- the command ----------------------------------------------------------------------------- */

static int measure_host(const struct describe_args *a, struct description *d, struct err *err)
{
	if (a->role_arn != NULL && !pcr_role_valid(bytes_str(a->role_arn)))
		return fail(err, 0, "--role-arn wants arn:aws:iam::ACCOUNT:role/NAME (the role's, not the instance profile's), not \"%.200s\"", a->role_arn);
	if (a->instance_id != NULL && !pcr_instance_valid(bytes_str(a->instance_id)))
		return fail(err, 0, "--instance-id wants i- and 8 or 17 hex digits, not \"%.80s\"", a->instance_id);
	d->has_pcr3 = a->role_arn != NULL && pcr_of_role(bytes_str(a->role_arn), d->pcr3);
	d->has_pcr4 = a->instance_id != NULL && pcr_of_instance(bytes_str(a->instance_id), d->pcr4);
	return 0;
}

static int usage(const struct err *err)
{
	fprintf(stderr, "tee-rex describe: %s\n", err->text);
	return 2;
}

int describe_main(int argc, char **argv)
{
	static struct description d = { .file = { .fd = -1 } };
	struct describe_args a = { 0 };
	const char *path;
	size_t n;
	struct err err;
	enum option_result parsed = options_parse(options, &a, argc, argv, &path, 1, &n, &err);
	if (parsed == OPTIONS_WANT_HELP) {
		options_help(stdout, "describe", "FILE [OPTIONS]",
		             "Prints what an enclave image (EIF) is and measures to, as JSON, and verifies its checksum and\n"
		             "signature. Exit status: 0 intact, 1 damaged or refused, 2 used wrongly or not readable.", options);
		return 0;
	}
	if (parsed == OPTIONS_OK && n != 1) {
		fail(&err, 0, "which image? tee-rex describe FILE (--help lists the options)");
		parsed = OPTIONS_USAGE;
	}
	if (parsed != OPTIONS_OK || measure_host(&a, &d, &err) < 0)
		return usage(&err);
	int ret = find_out(&d, path, &err);
	if (ret == 0 || ret == -EBADMSG) {
		warn_of_dates(&d);
		print(&a, &d, ret == 0);
	}
	json_decref(d.metadata);
	eif_file_close(&d.file);
	if (ret < 0 && ret != -EBADMSG)
		return usage(&err);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fail(&err, errno, "print the description");
		return usage(&err);
	}
	return d.code == NULL ? 0 : 1;
}
