#include "cli/policy_args.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int read_some(const char *path, uint8_t *buf, size_t cap, size_t *ret_n, struct err *err)
{
	bool standard_input = strcmp(path, "-") == 0;
	CLEANUP(close_fd) int fd = standard_input ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	if (!standard_input && fd < 0)
		return fail(err, errno, "open %s", path);
	size_t n = 0;
	while (n < cap) {
		ssize_t got = read(standard_input ? STDIN_FILENO : fd, buf + n, cap - n);
		if (got == 0)
			break;
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail(err, errno, "read %s", standard_input ? "standard input" : path);
		n += (size_t)got;
	}
	*ret_n = n;
	return 0;
}

static int load_root(const char *path, struct policy *p, struct err *err)
{
	uint8_t pem[16 << 10];
	size_t n;
	int ret = read_some(path, pem, sizeof pem, &n, err);
	if (ret < 0)
		return fail_in(err, ret, "--root");
	if (n == sizeof pem ||
	    teerex_root_from_pem((const char *)pem, n, p->root, sizeof p->root, &p->policy.root_size) != 0)
		return fail(err, 0, "--root %s: not one certificate in PEM form (-----BEGIN CERTIFICATE-----)", path);
	p->policy.root = p->root;
	return 0;
}

static int load_sets(const char *path, struct policy *p, struct err *err)
{
	CLEANUP(free_ptr) uint8_t *text = malloc(POLICY_FILE_MAX);
	char message[TEEREX_MESSAGE_SIZE];
	size_t n;
	if (text == NULL)
		return fail(err, ENOMEM, "read %s", path);
	int ret = read_some(path, text, POLICY_FILE_MAX, &n, err);
	if (ret < 0)
		return fail_in(err, ret, "--policy");
	if (n == POLICY_FILE_MAX)
		return fail(err, 0, "--policy %s: larger than %d KiB", path, POLICY_FILE_MAX >> 10);
	if (teerex_policy_parse((const char *)text, n, p->sets, POLICY_SETS_MAX, &p->policy.set_count,
	                        message, sizeof message) != 0)
		return fail(err, 0, "--policy %s: %s", path, message);
	return 0;
}

int option_number(const char *option, const char *text, uint64_t max, uint64_t *ret, struct err *err)
{
	if (text_to_u64(bytes_str(text), max, ret) && *ret > 0)
		return 0;
	return fail(err, 0, "--%s wants a whole number from 1 to %llu, not \"%.40s\"", option, (unsigned long long)max, text);
}

static int set_from_options(const struct policy_args *a, struct policy *p, struct err *err)
{
	for (size_t i = 0; i < a->pcr.n; i++)
		if (teerex_pcr_set_add(&p->sets[0], a->pcr.value[i]) != 0)
			return fail(err, 0, "--pcr %.120s: wanted N=HEX with N from 0 to 31, once each, and 96 hex digits", a->pcr.value[i]);
	p->policy.set_count = 1;
	if (a->min_epoch == NULL)
		return 0;
	return option_number("min-epoch", a->min_epoch, UINT64_C(1) << 53, &p->sets[0].min_epoch, err);
}

int policy_load(const struct policy_args *a, struct policy *p, struct err *err)
{
	bool by_options = a->pcr.n > 0 || a->min_epoch != NULL;
	int ret = 0;
	*p = (struct policy){ .policy = { .allow_debug = a->allow_debug } };
	p->policy.sets = p->sets;
	p->policy.cache = &p->cache;
	if (a->policy_path != NULL && by_options)
		return fail(err, 0, "--policy does not go with --pcr or --min-epoch: put the values into the file");
	if (a->max_age_s != NULL) {
		ret = option_number("max-age", a->max_age_s, UINT32_MAX, &p->policy.max_age_ms, err);
		p->policy.max_age_ms *= 1000;
	}
	if (ret == 0 && a->root_path != NULL)
		ret = load_root(a->root_path, p, err);
	if (ret == 0 && a->policy_path != NULL)
		ret = load_sets(a->policy_path, p, err);
	if (ret == 0 && by_options)
		ret = set_from_options(a, p, err);
	return ret;
}
