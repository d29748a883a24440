#include "linux/landlock.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/syscall.h>

struct ruleset { uint64_t handled_fs, handled_net, scoped; };
struct path_rule { uint64_t allowed; int32_t fd; } __attribute__((packed));

enum {
	VERSION_FLAG = 1, RULE_PATH_BENEATH = 1,
	NET_ALL = 3,                                     /* bind, connect */
	SCOPE_ALL = 3,                                   /* abstract sockets, signals */
	/* no audit records: neither of this domain nor of one the confined program makes for itself. A record
	 * carries names of the program's choosing to wherever the kernel logs. */
	LOG_SAME_EXEC_OFF = 1, LOG_SUBDOMAINS_OFF = 4,
	FILE_RIGHTS = LANDLOCK_EXECUTE | LANDLOCK_WRITE_FILE | LANDLOCK_READ_FILE | LANDLOCK_TRUNCATE,
};

int landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, VERSION_FLAG);
	return abi < 1 ? 0 : (int)abi;
}

static int allow(int ruleset, const struct landlock_place *place, uint64_t known, struct err *err)
{
	struct stat st;
	CLEANUP(close_fd) int fd = open(place->path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (fstat(fd, &st) != 0)
		return fail(err, errno, "look at %s", place->path);
	struct path_rule rule = { place->rights & known & (S_ISDIR(st.st_mode) ? ~0u : FILE_RIGHTS), fd };
	if (rule.allowed != 0 && syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) != 0)
		return fail(err, errno, "allow %s in landlock", place->path);
	return 0;
}

int landlock_enter(const struct landlock_place *places, size_t count, struct err *err)
{
	/* rights of each ABI from 1 on; later ones have at least those of the last */
	static const uint64_t fs_rights[] = { 0x1fff, 0x3fff, 0x7fff, 0x7fff, 0xffff };
	enum { LAST = sizeof fs_rights / sizeof *fs_rights };
	int abi = landlock_abi();
	if (abi == 0)
		return fail(err, ENOSYS, "the kernel has no landlock");
	struct ruleset r = { .handled_fs = fs_rights[(abi < LAST ? abi : LAST) - 1] };
	size_t size = offsetof(struct ruleset, handled_net);
	if (abi >= 4) {
		r.handled_net = NET_ALL;
		size = offsetof(struct ruleset, scoped);
	}
	if (abi >= 6) {
		r.scoped = SCOPE_ALL;
		size = sizeof r;
	}
	CLEANUP(close_fd) int fd = (int)syscall(SYS_landlock_create_ruleset, &r, size, 0);
	if (fd < 0)
		return fail(err, errno, "make a landlock rule set");
	for (size_t i = 0; i < count; i++) {
		int bad = allow(fd, &places[i], r.handled_fs, err);
		if (bad != 0)
			return bad;
	}
	if (syscall(SYS_landlock_restrict_self, fd, abi >= 7 ? LOG_SAME_EXEC_OFF | LOG_SUBDOMAINS_OFF : 0) != 0)
		return fail(err, errno, "enter landlock");
	return 0;
}
