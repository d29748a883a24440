/* One table says what each level of the chain is; issuing, re-issuing and opening walk it from the
 * root down. A level is replaced as soon as less is left of it than what the level below may last, so
 * no certificate outlives its issuer; whatever is below a replaced one is dropped and made again. A
 * new link is complete before it takes the old one's place.
 *
 * On disk: ca.pem holds key and certificate in one file and is written first, in one rename, so they
 * cannot belong to two roots; root.pem is copied from it whenever it is missing or says otherwise. */
#include "sim/test_ca.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "crypto/x509.h"
#include "sim/state_dir.h"

#include <errno.h>
#include <stdio.h>

static const char ca_file[] = "ca.pem", root_file[] = "root.pem";
enum { CA_FILE_MAX = 4096, HOUR = 3600, DAY = 24 * HOUR };
enum { BACKDATED_S = 3 };                                /* as on hardware: the leaf starts 3 s before its document */

static const struct {
	int64_t lasts_s, renew_s;                        /* whole life; replaced when less than renew_s is left */
	int path_len;
	unsigned key_usage;
	const char *what;
} levels[CA_LEVELS] = {
	[CA_ROOT] = { 3650 * DAY, 21 * DAY, X509_NO_PATH_LEN,
	              X509_DIGITAL_SIGNATURE | X509_KEY_CERT_SIGN | X509_CRL_SIGN, "root" },
	[CA_REGION] = { 20 * DAY, 8 * DAY, 2, X509_DIGITAL_SIGNATURE | X509_KEY_CERT_SIGN | X509_CRL_SIGN, "region" },
	[CA_ZONE] = { 7 * DAY, 2 * DAY, 1, X509_DIGITAL_SIGNATURE | X509_KEY_CERT_SIGN | X509_CRL_SIGN, "zone" },
	[CA_INSTANCE] = { DAY, 4 * HOUR, 0, X509_KEY_CERT_SIGN, "instance" },
	[CA_LEAF] = { 3 * HOUR, HOUR, X509_NO_PATH_LEN, X509_DIGITAL_SIGNATURE | X509_CONTENT_COMMITMENT, "enclave" },
};

bool test_ca_module_id_valid(const char *id)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t n = strlen(id);
	return strncmp(id, "sim-", 4) == 0 && n > 4 && n <= 96 && strspn(id, allowed) == n;
}

/* The instance is what stands before "-enc" in a module id. */
static void name_link(const struct test_ca *ca, enum test_ca_level level, const uint8_t serial[16], char *name, size_t cap)
{
	char hex[2 * 4 + 1];
	hex_encode(bytes_of(serial + 12, 4), hex);
	const char *enclave = strstr(ca->module_id, "-enc");
	int id_n = (int)strlen(ca->module_id);
	if (level == CA_INSTANCE && enclave != NULL)
		id_n = (int)(enclave - ca->module_id);
	if (level >= CA_INSTANCE)
		snprintf(name, cap, "%.*s SIMULATED %s of tee-rex", id_n, ca->module_id, levels[level].what);
	else
		snprintf(name, cap, "%s SIMULATED %s of tee-rex", hex, levels[level].what);
}

static bool issue(const struct test_ca *ca, enum test_ca_level level, int64_t now_s, struct test_ca_link *ret)
{
	struct test_ca_link link = { .key = p384_generate() };
	uint8_t serial[16];
	if (link.key == NULL || !crypto_random(serial, sizeof serial))
		goto failed;
	serial[0] = (serial[0] & 0x7f) | 0x40;           /* positive, and sixteen bytes in any case */
	char name[X509_CN_MAX + 1];
	name_link(ca, level, serial, name, sizeof name);
	link.not_before_s = now_s - (level == CA_ROOT ? DAY : BACKDATED_S);
	link.not_after_s = now_s + levels[level].lasts_s;
	const struct x509_template t = {
		.common_name = name,
		.not_before_s = link.not_before_s,
		.not_after_s = link.not_after_s,
		.ca = level != CA_LEAF,
		.path_len = levels[level].path_len,
		.key_usage = levels[level].key_usage,
		.serial = BYTES_ARRAY(serial),
	};
	struct writer w = writer_of(link.der, sizeof link.der);
	bool ok = level == CA_ROOT ? x509_make_root(link.key, &t, &w)
	                           : x509_issue(ca->link[level - 1].key, test_ca_certificate(ca, level - 1),
	                                        link.key, &t, &w);
	if (!ok)
		goto failed;
	link.n = w.at;
	*ret = link;
	return true;
failed:
	p384_free(link.key);
	return false;
}

static bool in_time(const struct test_ca_link *l, enum test_ca_level level, int64_t now_s)
{
	return l->key != NULL && now_s >= l->not_before_s && l->not_after_s - now_s >= levels[level].renew_s;
}

static void drop_from(struct test_ca *ca, enum test_ca_level level)
{
	for (; level < CA_LEVELS; level++) {
		p384_free(ca->link[level].key);
		ca->link[level].key = NULL;
	}
}

bool test_ca_refresh(struct test_ca *ca, int64_t now_s)
{
	if (!in_time(&ca->link[CA_ROOT], CA_ROOT, now_s))
		return false;
	for (enum test_ca_level level = CA_REGION; level < CA_LEVELS; level++) {
		if (in_time(&ca->link[level], level, now_s))
			continue;
		struct test_ca_link fresh;
		if (!issue(ca, level, now_s, &fresh))
			return false;
		drop_from(ca, level);
		ca->link[level] = fresh;
	}
	return true;
}

void test_ca_close(struct test_ca *ca) { drop_from(ca, CA_ROOT); }

/* --- the root on disk ---------------------------------------------------------------------------- */

/* Takes apart ca.pem; everything about it is checked, as it may have been edited or half restored. */
static bool root_parse(struct bytes pem, struct test_ca_link *ret)
{
	struct test_ca_link root = { .key = p384_from_pem(pem) };
	struct x509 c;
	uint8_t point[X509_POINT_SIZE];
	if (root.key == NULL || !x509_from_pem(pem, root.der, sizeof root.der, &root.n) ||
	    x509_parse(bytes_of(root.der, root.n), &c) != X509_OK || !c.ca || !p384_point(root.key, point) ||
	    !bytes_equal(BYTES_ARRAY(point), c.point) || !bytes_equal(c.issuer, c.subject) ||
	    !x509_signed_by(&c, c.point)) {
		p384_free(root.key);
		return false;
	}
	root.not_before_s = c.not_before_s;
	root.not_after_s = c.not_after_s;
	*ret = root;
	return true;
}

static int root_make(struct test_ca *ca, int dir_fd, int64_t now_s, struct err *err)
{
	uint8_t pem[CA_FILE_MAX];
	struct writer w = writer_of(pem, sizeof pem);
	struct test_ca_link root;
	if (!issue(ca, CA_ROOT, now_s, &root))
		return fail(err, EIO, "libcrypto failed to make a test root");
	int ret = -EIO;
	if (!p384_to_pem(root.key, &w))
		ret = fail(err, EIO, "libcrypto failed to write the test root's key");
	else {
		x509_put_pem(&w, bytes_of(root.der, root.n));
		ret = w.full ? fail(err, EOVERFLOW, "the test root is larger than expected")
		             : state_dir_write(dir_fd, ca_file, 0600, writer_bytes(&w), err);
	}
	crypto_wipe(pem, sizeof pem);
	if (ret < 0)
		p384_free(root.key);
	else
		ca->link[CA_ROOT] = root;
	return ret;
}

static int root_load_or_make(struct test_ca *ca, int dir_fd, int64_t now_s, struct err *err)
{
	uint8_t pem[CA_FILE_MAX];
	size_t n = 0;
	int ret = state_dir_read(dir_fd, ca_file, true, pem, sizeof pem, &n, err);
	if (ret == -ENOENT)
		return root_make(ca, dir_fd, now_s, err);
	if (ret < 0)
		return ret;
	bool ok = root_parse(bytes_of(pem, n), &ca->link[CA_ROOT]);
	crypto_wipe(pem, sizeof pem);
	if (!ok)
		return fail(err, EBADMSG, "%s is not a test root's key and certificate; remove it, and a new root is made",
		            ca_file);
	if (!in_time(&ca->link[CA_ROOT], CA_ROOT, now_s))
		return fail(err, EKEYEXPIRED, "the test root in %s is expired, about to be, or not valid yet; check the "
		            "clock, or remove %s, and a new root is made", ca_file, ca_file);
	return 0;
}

static int root_export(const struct test_ca *ca, int dir_fd, struct err *err)
{
	uint8_t want[CA_FILE_MAX], have[CA_FILE_MAX];
	struct writer w = writer_of(want, sizeof want);
	x509_put_pem(&w, test_ca_certificate(ca, CA_ROOT));
	size_t n = 0;
	if (state_dir_read(dir_fd, root_file, false, have, sizeof have, &n, NULL) == 0 &&
	    bytes_equal(bytes_of(have, n), writer_bytes(&w)))
		return 0;
	return state_dir_write(dir_fd, root_file, 0644, writer_bytes(&w), err);
}

static int begin(struct test_ca *ca, const char *module_id, struct err *err)
{
	memset(ca, 0, sizeof *ca);
	if (!test_ca_module_id_valid(module_id))
		return fail(err, EINVAL, "\"%.40s\" is no module id for a simulated NSM: it starts with \"sim-\" and has at "
		            "most 96 characters of A-Z a-z 0-9 . _ -", module_id);
	strcpy(ca->module_id, module_id);
	return 0;
}

static int finish(struct test_ca *ca, int64_t now_s, int ret, struct err *err)
{
	if (ret == 0 && !test_ca_refresh(ca, now_s))
		ret = fail(err, EIO, "libcrypto failed to issue the test certificates");
	if (ret < 0)
		test_ca_close(ca);
	return ret;
}

int test_ca_open(struct test_ca *ca, const char *dir, const char *module_id, int64_t now_s, struct err *err)
{
	int ret = begin(ca, module_id, err);
	if (ret < 0)
		return ret;
	CLEANUP(close_fd) int dir_fd = -1;
	ret = state_dir_open(dir, &dir_fd, err);
	if (ret == 0)
		ret = root_load_or_make(ca, dir_fd, now_s, err);
	if (ret == 0)
		ret = root_export(ca, dir_fd, err);
	return finish(ca, now_s, ret < 0 ? fail_in(err, ret, "test root in %s", dir) : 0, err);
}

int test_ca_in_memory(struct test_ca *ca, const char *module_id, int64_t now_s, struct err *err)
{
	int ret = begin(ca, module_id, err);
	if (ret < 0)
		return ret;
	if (!issue(ca, CA_ROOT, now_s, &ca->link[CA_ROOT]))
		ret = fail(err, EIO, "libcrypto failed to make a test root");
	return finish(ca, now_s, ret, err);
}
