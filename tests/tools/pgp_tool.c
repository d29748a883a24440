/* pgp_tool: the project's OpenPGP code on the command line, for tests against other implementations.
 *
 *     pgp_tool genkey KEY              makes a key and writes its secrets ("name value" lines, like
 *                                      tests/vectors/openpgp/key.txt): for tests only
 *     pgp_tool export KEY OUT          its certificate, armored
 *     pgp_tool check CERTIFICATE       reads a certificate; prints its two fingerprints
 *     pgp_tool decrypt KEY IN OUT      feeds --piece bytes at a time (65536); prints the file name
 *     pgp_tool encrypt CERTIFICATE IN OUT
 *                                      --suite aes{128,256}-{gcm,ocb} --chunk OCTET --parts BITS --name TEXT
 *
 * Exit status: 0; 1 refused, the error's name on stderr and OUT removed; 2 usage or a file's fault. */
#include "base/cleanup.h"
#include "base/options.h"
#include "base/text.h"
#include "openpgp/decrypt.h"
#include "openpgp/encrypt.h"

#include <time.h>

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(2);
}

static int refused(enum pgp_error e, const char *out)
{
	if (out != NULL)
		unlink(out);
	fprintf(stderr, "%s\n", pgp_error_name(e));
	return 1;
}

static FILE *open_file(const char *path, const char *mode)
{
	FILE *f = fopen(path, mode);
	if (f == NULL)
		die(path);
	return f;
}

static int into_file(void *f, struct bytes piece) { return fwrite(piece.p, 1, piece.n, f) == piece.n ? 0 : -1; }

/* --- keys ----------------------------------------------------------------------------------- */

struct secrets { uint8_t primary[32], subkey[32]; uint32_t created; };

static void read_secrets(const char *path, struct secrets *s)
{
	CLEANUP(close_file) FILE *f = open_file(path, "r");
	char name[64], value[128];
	int found = 0;
	while (fscanf(f, "%63s %127s", name, value) == 2) {
		if (strcmp(name, "ed25519_secret") == 0)
			found += hex_decode(bytes_str(value), s->primary, 32);
		else if (strcmp(name, "x25519_secret") == 0)
			found += hex_decode(bytes_str(value), s->subkey, 32);
		else if (strcmp(name, "created") == 0 && ++found)
			s->created = (uint32_t)strtoul(value, NULL, 10);
	}
	if (found != 3) {
		fprintf(stderr, "%s: not a key file of this program\n", path);
		exit(2);
	}
}

static void load_key(const char *path, struct pgp_key *k)
{
	struct secrets s;
	read_secrets(path, &s);
	if (pgp_key_from_raw(k, s.primary, s.subkey, s.created) != PGP_OK)
		die("key");
}

static int genkey_main(const char **arg)
{
	struct secrets s;
	char primary[65], subkey[65];
	if (!crypto_random(s.primary, 32) || !crypto_random(s.subkey, 32))
		die("random");
	CLEANUP(close_file) FILE *f = open_file(arg[0], "w");
	fprintf(f, "created %lu\ned25519_secret %s\nx25519_secret %s\n", (unsigned long)time(NULL) - PGP_BACKDATE_S,
	        hex_encode(BYTES_ARRAY(s.primary), primary), hex_encode(BYTES_ARRAY(s.subkey), subkey));
	return 0;
}

static int export_main(const char **arg)
{
	CLEANUP(pgp_key_free) struct pgp_key k;
	uint8_t text[PGP_ARMOR_MAX];
	struct writer w = writer_of(text, sizeof text);
	load_key(arg[0], &k);
	enum pgp_error e = pgp_key_export(&k, &w);
	if (e != PGP_OK)
		return refused(e, NULL);
	CLEANUP(close_file) FILE *f = open_file(arg[1], "w");
	return into_file(f, writer_bytes(&w)) == 0 ? 0 : 2;
}

static enum pgp_error read_certificate(const char *path, struct pgp_recipient *r)
{
	uint8_t text[64 << 10];
	CLEANUP(close_file) FILE *f = open_file(path, "r");
	return pgp_recipient_parse(bytes_of(text, fread(text, 1, sizeof text, f)), r);
}

static int check_main(const char **arg)
{
	struct pgp_recipient r;
	char primary[41], subkey[41];
	enum pgp_error e = read_certificate(arg[0], &r);
	if (e != PGP_OK)
		return refused(e, NULL);
	printf("%s %s\n", hex_encode(BYTES_ARRAY(r.fingerprint), primary),
	       hex_encode(BYTES_ARRAY(r.subkey_fingerprint), subkey));
	return 0;
}

/* --- messages --------------------------------------------------------------------------------- */

struct tool_options { uint64_t piece, chunk, parts; const char *suite, *name; };
static struct tool_options opt = { .piece = 65536, .chunk = 12, .suite = "aes256-gcm", .name = "" };

typedef enum pgp_error feed_fn(void *state, struct bytes piece);
static enum pgp_error feed_decrypt(void *d, struct bytes piece) { return pgp_decrypt_feed(d, piece); }
static enum pgp_error feed_encrypt(void *e, struct bytes piece) { return pgp_encrypt_feed(e, piece); }

static enum pgp_error feed_file(FILE *in, feed_fn *feed, void *state)
{
	CLEANUP(free_ptr) uint8_t *piece = malloc(opt.piece);
	enum pgp_error e = PGP_OK;
	for (size_t n; e == PGP_OK && (n = fread(piece, 1, opt.piece, in)) > 0;)
		e = feed(state, bytes_of(piece, n));
	return e;
}

static int decrypt_main(const char **arg)
{
	static struct pgp_decrypt d;
	CLEANUP(pgp_key_free) struct pgp_key k;
	const struct pgp_key *keys[] = { &k };
	char name[4 * PGP_NAME_MAX + 1];
	load_key(arg[0], &k);
	CLEANUP(close_file) FILE *in = open_file(arg[1], "rb");
	CLEANUP(close_file) FILE *out = open_file(arg[2], "wb");
	pgp_decrypt_init(&d, keys, 1, UINT64_MAX, into_file, out);
	enum pgp_error e = feed_file(in, feed_decrypt, &d);
	if (e == PGP_OK)
		e = pgp_decrypt_finish(&d);
	if (e == PGP_OK)
		printf("%s\n", text_escape(pgp_decrypt_name(&d), name, sizeof name));
	pgp_decrypt_free(&d);
	return e == PGP_OK ? 0 : refused(e, arg[2]);
}

static bool suite_of(const char *name, struct pgp_encrypt_options *o)
{
	static const struct { const char *name; uint8_t cipher, mode; } suites[] = {
		{ "aes256-gcm", PGP_CIPHER_AES256, PGP_AEAD_GCM }, { "aes256-ocb", PGP_CIPHER_AES256, PGP_AEAD_OCB },
		{ "aes128-gcm", PGP_CIPHER_AES128, PGP_AEAD_GCM }, { "aes128-ocb", PGP_CIPHER_AES128, PGP_AEAD_OCB } };
	for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++)
		if (strcmp(name, suites[i].name) == 0) {
			o->cipher = suites[i].cipher;
			o->mode = suites[i].mode;
			return true;
		}
	return false;
}

static int encrypt_main(const char **arg)
{
	static struct pgp_encrypt enc;
	struct pgp_recipient to;
	struct pgp_encrypt_options o = { .chunk_octet = (uint8_t)opt.chunk, .part_bits = (uint8_t)opt.parts,
	                                 .name = bytes_str(opt.name) };
	if (!suite_of(opt.suite, &o))
		return 2;
	enum pgp_error e = read_certificate(arg[0], &to);
	if (e != PGP_OK)
		return refused(e, NULL);
	CLEANUP(close_file) FILE *in = open_file(arg[1], "rb");
	CLEANUP(close_file) FILE *out = open_file(arg[2], "wb");
	fseek(in, 0, SEEK_END);
	o.length = (uint64_t)ftell(in);
	rewind(in);
	e = pgp_encrypt_init(&enc, &to, &o, into_file, out);
	if (e == PGP_OK)
		e = feed_file(in, feed_encrypt, &enc);
	if (e == PGP_OK)
		e = pgp_encrypt_finish(&enc);
	pgp_encrypt_free(&enc);
	return e == PGP_OK ? 0 : refused(e, arg[2]);
}

static const struct option_spec options[] = {
	{ 0, "piece", OPT_U64, offsetof(struct tool_options, piece), "BYTES", "bytes fed at a time" },
	{ 0, "chunk", OPT_U64, offsetof(struct tool_options, chunk), "OCTET", "chunk size octet" },
	{ 0, "parts", OPT_U64, offsetof(struct tool_options, parts), "BITS", "partial lengths of 2^BITS bytes" },
	{ 0, "suite", OPT_STRING, offsetof(struct tool_options, suite), "SUITE", "cipher and mode" },
	{ 0, "name", OPT_STRING, offsetof(struct tool_options, name), "TEXT", "file name of the literal" },
	OPTIONS_END
};

static const struct { const char *name; size_t arguments; int (*run)(const char **arg); } commands[] = {
	{ "genkey", 1, genkey_main }, { "export", 2, export_main }, { "check", 1, check_main },
	{ "decrypt", 3, decrypt_main }, { "encrypt", 3, encrypt_main },
};

int main(int argc, char **argv)
{
	const char *arg[4];
	size_t n = 0;
	struct err err = { "usage: pgp_tool genkey|export|check|decrypt|encrypt FILE…" };
	if (options_parse(options, &opt, argc, argv, arg, 4, &n, &err) == OPTIONS_OK && n > 0 && opt.piece > 0 &&
	    opt.chunk <= UINT8_MAX && opt.parts <= UINT8_MAX)
		for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
			if (strcmp(arg[0], commands[i].name) == 0 && commands[i].arguments == n - 1)
				return commands[i].run(arg + 1);
	fprintf(stderr, "%s\n", err.text);
	return 2;
}
