#include "sim/test_ca.h"

#include "crypto/x509.h"
#include "sim/state_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static const int64_t now_s = 1760000000;
static const char id[] = "sim-0-enc1";
static char base[64], dir[128];

static int setup(void **state)
{
	(void)state;
	strcpy(base, "/tmp/test_ca_test.XXXXXX");
	if (mkdtemp(base) == NULL)
		return -1;
	snprintf(dir, sizeof dir, "%s/state", base);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof command, "rm -rf '%s'", base);
	return system(command);
}

static const char *in_dir(const char *name)
{
	static char path[256];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
	FILE *f = fopen(in_dir(name), "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(in_dir(name), mode), 0);
}

static size_t read_file(const char *name, char *buf, size_t cap)
{
	FILE *f = fopen(in_dir(name), "r");
	assert_non_null(f);
	size_t n = fread(buf, 1, cap - 1, f);
	fclose(f);
	buf[n] = '\0';
	return n;
}

static int open_ca(struct test_ca *ca, struct err *err) { return test_ca_open(ca, dir, id, now_s, err); }

/* The root as a verifier gets it must be the one that signs; returns its DER in der. */
static size_t exported_root(uint8_t der[X509_ISSUED_MAX])
{
	char pem[4096];
	size_t n = read_file("root.pem", pem, sizeof pem), der_n = 0;
	assert_true(x509_from_pem(bytes_of(pem, n), der, X509_ISSUED_MAX, &der_n));
	return der_n;
}

static void assert_same_root(const struct test_ca *ca)
{
	uint8_t der[X509_ISSUED_MAX];
	size_t n = exported_root(der);
	assert_true(bytes_equal(bytes_of(der, n), test_ca_certificate(ca, CA_ROOT)));
}

static unsigned files_in_dir(void)
{
	unsigned n = 0;
	DIR *d = opendir(dir);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

static void first_use_makes_it_and_the_next_finds_it(void **state)
{
	(void)state;
	struct test_ca ca, again;
	struct err err;
	struct stat st;
	mode_t old = umask(0);                           /* what the umask allows must not matter */
	assert_int_equal(open_ca(&ca, &err), 0);
	umask(old);
	assert_same_root(&ca);
	assert_int_equal(files_in_dir(), 2);
	assert_int_equal(stat(in_dir("ca.pem"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	old = umask(077);
	unlink(in_dir("root.pem"));
	assert_int_equal(open_ca(&again, &err), 0);
	umask(old);
	assert_int_equal(stat(in_dir("root.pem"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_same_root(&again);
	assert_true(bytes_equal(test_ca_certificate(&ca, CA_ROOT), test_ca_certificate(&again, CA_ROOT)));
	assert_false(bytes_equal(test_ca_certificate(&ca, CA_REGION), test_ca_certificate(&again, CA_REGION)));
	char pem[4096];
	read_file("root.pem", pem, sizeof pem);
	assert_null(strstr(pem, "PRIVATE"));
	test_ca_close(&ca);
	test_ca_close(&again);
	test_ca_close(&again);                           /* harmless */
}

static void leftovers_of_a_killed_start_are_cleared(void **state)
{
	(void)state;
	struct test_ca ca;
	struct err err;
	/* killed while it wrote the key */
	assert_int_equal(mkdir(dir, 0755), 0);
	write_file(".ca.pem.new", "-----BEGIN PRIV", 0600);
	assert_int_equal(open_ca(&ca, &err), 0);
	assert_same_root(&ca);
	test_ca_close(&ca);
	assert_int_equal(files_in_dir(), 2);
	/* killed between the key and the export, and while it wrote the export */
	char before[4096], after[4096];
	read_file("root.pem", before, sizeof before);
	unlink(in_dir("root.pem"));
	write_file(".root.pem.new", "-----BEG", 0600);
	assert_int_equal(open_ca(&ca, &err), 0);
	test_ca_close(&ca);
	read_file("root.pem", after, sizeof after);
	assert_string_equal(before, after);
	assert_int_equal(files_in_dir(), 2);
	/* an export of another root, or none, is put right */
	write_file("root.pem", "something else\n", 0644);
	assert_int_equal(open_ca(&ca, &err), 0);
	test_ca_close(&ca);
	read_file("root.pem", after, sizeof after);
	assert_string_equal(before, after);
}

static void being_killed_at_any_time_does_no_harm(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 60; round++) {
		snprintf(dir, sizeof dir, "%s/state%u", base, round);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			struct test_ca ca;
			_exit(open_ca(&ca, NULL) == 0 ? 0 : 1);
		}
		usleep(round * 150);
		kill(pid, SIGKILL);
		int status;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
		char seen[4096] = "", after[4096];
		if (access(in_dir("root.pem"), F_OK) == 0)
			read_file("root.pem", seen, sizeof seen);
		struct test_ca ca;
		struct err err;
		assert_int_equal(open_ca(&ca, &err), 0);
		assert_same_root(&ca);
		test_ca_close(&ca);
		assert_int_equal(files_in_dir(), 2);
		/* a root that was to be seen once stays */
		read_file("root.pem", after, sizeof after);
		if (seen[0] != '\0')
			assert_string_equal(seen, after);
	}
}

static void all_that_start_at_once_share_one_root(void **state)
{
	(void)state;
	enum { STARTERS = 8 };
	int go[2], out[2];
	assert_int_equal(pipe(go), 0);
	assert_int_equal(pipe(out), 0);
	for (int i = 0; i < STARTERS; i++) {
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			char c;
			struct test_ca ca;
			close(go[1]);
			if (read(go[0], &c, 1) != 0 || open_ca(&ca, NULL) != 0)
				_exit(1);
			uint8_t digest[SHA256_SIZE];
			crypto_hash(HASH_SHA256, test_ca_certificate(&ca, CA_ROOT), digest);
			_exit(write(out[1], digest, sizeof digest) == sizeof digest ? 0 : 1);
		}
	}
	close(go[0]);
	close(go[1]);                                    /* all of them read end of file now */
	for (int i = 0; i < STARTERS; i++) {
		int status;
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	uint8_t first[SHA256_SIZE], other[SHA256_SIZE], der[X509_ISSUED_MAX];
	crypto_hash(HASH_SHA256, bytes_of(der, exported_root(der)), first);
	for (int i = 0; i < STARTERS; i++) {
		assert_int_equal(read(out[0], other, sizeof other), sizeof other);
		assert_memory_equal(first, other, sizeof first);
	}
	close(out[0]);
	close(out[1]);
}

static void what_is_not_right_is_refused(void **state)
{
	(void)state;
	struct test_ca ca;
	struct err err;
	assert_int_equal(open_ca(&ca, &err), 0);
	test_ca_close(&ca);
	char good[4096];
	read_file("ca.pem", good, sizeof good);

	chmod(in_dir("ca.pem"), 0640);
	assert_int_equal(open_ca(&ca, &err), -EPERM);
	assert_non_null(strstr(err.text, "chmod 600"));
	write_file("ca.pem", "", 0600);
	assert_int_equal(open_ca(&ca, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "remove it"));

	/* the key alone, the certificate alone, one bit of the certificate, another root's certificate */
	char *certificate = strstr(good, "-----BEGIN CERTIFICATE-----"), text[8192];
	assert_non_null(certificate);
	snprintf(text, sizeof text, "%.*s", (int)(certificate - good), good);
	write_file("ca.pem", text, 0600);
	assert_int_equal(open_ca(&ca, &err), -EBADMSG);
	write_file("ca.pem", certificate, 0600);
	assert_int_equal(open_ca(&ca, &err), -EBADMSG);
	snprintf(text, sizeof text, "%s", good);
	char *body = text + (certificate - good) + 28 + 300;
	*body = *body == 'A' ? 'B' : 'A';
	write_file("ca.pem", text, 0600);
	assert_int_equal(open_ca(&ca, &err), -EBADMSG);

	assert_int_equal(unlink(in_dir("ca.pem")), 0);
	assert_int_equal(open_ca(&ca, &err), 0);
	test_ca_close(&ca);
	char other[4096];
	read_file("ca.pem", other, sizeof other);
	snprintf(text, sizeof text, "%.*s%s", (int)(certificate - good), good, strstr(other, "-----BEGIN CERTIFICATE-----"));
	write_file("ca.pem", text, 0600);
	assert_int_equal(open_ca(&ca, &err), -EBADMSG);

	write_file("ca.pem", good, 0600);                /* the control: as it was, it is taken */
	assert_int_equal(open_ca(&ca, &err), 0);
	test_ca_close(&ca);
	assert_int_equal(test_ca_open(&ca, dir, id, now_s + INT64_C(3640) * 86400, &err), -EKEYEXPIRED);
	assert_int_equal(test_ca_open(&ca, dir, id, now_s - 2 * 86400, &err), -EKEYEXPIRED);

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	write_file("ca.pem", text, 0600);
	assert_int_equal(open_ca(&ca, &err), -EFBIG);
	unlink(in_dir("ca.pem"));
	assert_int_equal(symlink("/dev/zero", in_dir("ca.pem")), 0);
	assert_int_equal(open_ca(&ca, &err), -ELOOP);
	unlink(in_dir("ca.pem"));
	assert_int_equal(mkfifo(in_dir("ca.pem"), 0600), 0);
	assert_int_equal(open_ca(&ca, &err), -EPERM);
	unlink(in_dir("ca.pem"));

	chmod(dir, 0777);
	assert_int_equal(open_ca(&ca, &err), -EPERM);
	chmod(dir, 0755);
	if (geteuid() == 0) {
		assert_int_equal(chown(dir, 65534, 65534), 0);
		assert_int_equal(open_ca(&ca, &err), -EPERM);
		assert_int_equal(chown(dir, 0, 0), 0);
	}
	assert_int_equal(test_ca_open(&ca, in_dir("no/such"), id, now_s, &err), -ENOENT);
	write_file("plain", "", 0644);
	assert_int_equal(test_ca_open(&ca, in_dir("plain"), id, now_s, &err), -ENOTDIR);
}

static void the_lock_is_waited_for(void **state)
{
	(void)state;
	struct test_ca ca;
	struct err err;
	int fd;
	assert_int_equal(state_dir_open(dir, &fd, &err), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(fd);                               /* else the child holds its parent's lock */
		_exit(open_ca(&ca, NULL) == 0 ? 0 : 1);
	}
	usleep(300 * 1000);
	int status;
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	assert_int_equal(files_in_dir(), 0);
	close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(files_in_dir(), 2);
}

static void module_ids_are_plainly_simulated(void **state)
{
	(void)state;
	const char *good[] = { "sim-1", "sim-0a.B_c-enc9" };
	const char *bad[] = { "", "sim-", "i-0123-enc01", "SIM-1", "sim-a b", "sim-\n", "sim-\xc3\xa9", "sim-a/b", " sim-1" };
	for (size_t i = 0; i < 2; i++)
		assert_true(test_ca_module_id_valid(good[i]));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(test_ca_module_id_valid(bad[i]));
	char text[128] = "sim-";
	memset(text + 4, 'x', 92);
	assert_true(test_ca_module_id_valid(text));
	struct test_ca ca;
	struct err err;
	assert_int_equal(test_ca_in_memory(&ca, text, now_s, &err), 0);    /* the longest fits every name */
	test_ca_close(&ca);
	text[96] = 'x';
	assert_false(test_ca_module_id_valid(text));
	assert_int_equal(test_ca_in_memory(&ca, "i-1", now_s, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(first_use_makes_it_and_the_next_finds_it, setup, teardown),
		cmocka_unit_test_setup_teardown(leftovers_of_a_killed_start_are_cleared, setup, teardown),
		cmocka_unit_test_setup_teardown(being_killed_at_any_time_does_no_harm, setup, teardown),
		cmocka_unit_test_setup_teardown(all_that_start_at_once_share_one_root, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_not_right_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(the_lock_is_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(module_ids_are_plainly_simulated, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
