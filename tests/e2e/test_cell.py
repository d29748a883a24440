"""What a hostile prover program can do to its cell: nothing. Each row is an attack (tests/tools/evil_cell.c), the errno it
gets, and the guards that stand against it. A row says three things, and all three are run:

  - with every guard on, in the program that is shipped, the attack fails with the errno stated;
  - with all of its guards off but one, it fails still, with the errno that this one guard gives;
  - with that one off as well, the same attack succeeds: the guard stopped it and not an accident.

Guards are switched off in build/tests/tee-rex-launcher-UNSAFE, the same sources with the hook of
src/enclave/launcher/unsafe.h; scripts/check-hardening sees to it that the shipped program has no such hook.

Sockets of the family AF_VSOCK are not tried here: they would reach the machine's own. The filter refuses socket() without
looking at the family, which is shown with all others, those nobody has included; AF_VSOCK itself is tried inside a guest
(test_guest_cell.py)."""
import hashlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import pytest

from conftest import BUILD, wait_for
from launcher_peer import ENDED, EVIL_CONFIG, FAILED, OPENED, Launcher

UNSAFE = BUILD / "tests" / "tee-rex-launcher-UNSAFE"
EVIL_CELL = BUILD / "tests" / "tools" / "evil_cell"
SWITCH = "TEEREX_UNSAFE_GUARDS_OFF"
AF_VSOCK = 40

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the full cell needs root")

# /dev/nsm and its like as stand-ins, seen by the launcher alone; limits a shell would have
PREFIX = ("prlimit", "--core=unlimited", "--nofile=4096", "--memlock=8388608", "unshare", "--mount", "sh", "-c", """
    mount -t tmpfs -o mode=755 t /mnt && cd /mnt && mknod -m 666 null c 1 3 && mknod -m 666 zero c 1 5 &&
    mknod -m 444 urandom c 1 9 && mknod -m 600 nsm c 1 3 && mknod -m 600 vsock c 1 3 && mknod -m 600 console c 1 3 &&
    mknod -m 600 kmsg c 1 3 && mount --move /mnt /dev && cd / && exec "$@" """, "sh")


class Place:
    """What is outside of the cell and worth attacking."""

    def __init__(self, path):
        self.path = path
        self.crs, self.ro = path / "crs", path / "ro"
        for d in (self.crs, self.ro):
            d.mkdir()
        (self.crs / "points").write_text("honest")
        (self.ro / "file").write_text("honest")
        # not below /tmp: a job is shown a part of that already
        self.other = pathlib.Path(tempfile.mkdtemp(prefix="tr-cell-", dir="/run"))
        self.other.chmod(0o777)
        self.secret = self.other / "secret"
        self.secret.write_text("secret")
        self.secret.chmod(0o600)
        shutil.copy(EVIL_CELL, self.ro / "suid")
        (self.ro / "suid").chmod(0o4755)
        self.word = os.urandom(12).hex()
        self.key = int.from_bytes(os.urandom(3), "big") + 1
        # as the prover is: without capabilities. Its user is the job's own where the guard "uid" is off.
        self.victim = subprocess.Popen(["setpriv", "--bounding-set=-all", "--inh-caps=-all", EVIL_CELL, "victim", self.word],
                                       stdout=subprocess.PIPE, text=True)
        self.address = self.victim.stdout.readline().strip()
        self.abstract = "tee-rex-test-" + os.urandom(6).hex()
        self.listeners = [self.listen(socket.AF_UNIX, "\0" + self.abstract), self.listen(socket.AF_UNIX, str(self.ro / "socket")),
                          self.listen(socket.AF_INET, ("127.0.0.1", 0))]
        os.chmod(self.ro / "socket", 0o777)
        self.port = self.listeners[2].getsockname()[1]
        fd = os.open(self.secret, os.O_RDONLY)
        self.descriptor = os.dup2(fd, 150, inheritable=True)        # a launcher started with one too many
        os.close(fd)

    @staticmethod
    def listen(family, address):
        s = socket.socket(family)
        s.bind(address)
        s.listen(16)
        return s

    def close(self):
        self.victim.kill()
        self.victim.wait()
        for s in self.listeners:
            s.close()
        os.close(self.descriptor)
        shutil.rmtree(self.path)
        shutil.rmtree(self.other)

    def launcher(self, off=None, recipe="", wait=True, prefix=(), sealed=False):
        """The shipped one, or (off: a set of guards, an empty one too) the one whose guards are off. Jobs inherit what the
        launcher has given up, so that goes with any of them, unless sealed says otherwise."""
        if off and not sealed:
            off = {*off, "sealed-launcher"}
        config = EVIL_CONFIG.format(top="", recipe=f"ro = {self.ro}\n{recipe}", policy="require" if off is None else "degrade")
        config = config.replace("crs = none", f"crs = {self.crs}")
        return Launcher(self.path, config=config, prefix=(*PREFIX, *prefix), launcher=None if off is None else UNSAFE, evil=EVIL_CELL,
                        env={SWITCH: ",".join(sorted(off or ())), "TEEREX_UNSAFE_JOB_DIRECTORY": str(self.other)}, wait=wait)


@pytest.fixture(scope="module")
def place():
    for program in (UNSAFE, EVIL_CELL):
        assert program.exists(), f"{program} is missing: make {program.relative_to(BUILD.parent)}"
    path = pathlib.Path(tempfile.mkdtemp(prefix="tr-cell-", dir="/tmp"))
    path.chmod(0o755)
    p = Place(path)
    yield p
    p.close()


@pytest.fixture(scope="module")
def shipped(place):
    with place.launcher() as l:
        assert "missing=none" in l.guards
        yield l


def result(launcher, attack, slot=0, **limits):
    """"ok", the errno's name, or how the job ended when it did not get as far as that."""
    m = launcher.run(attack, slot, **limits)
    return m.proof().decode() if m.how == "ok" else m.how


# --- the table -----------------------------------------------------------------------------------------------------------
# attack; errno with every guard on; guard: errno when it alone is left. "+x" after the attack's name in NEEDS: off throughout.

ROWS = [
    # sockets and what goes around them
    ("socketpair", "EPERM", {"seccomp": "EPERM"}),
    ("unix {ro}/socket", "EPERM", {"seccomp": "EPERM"}),
    ("unix @{abstract}", "EPERM", {"seccomp": "EPERM", "net-namespace": "ECONNREFUSED", "landlock": "EPERM"}),
    ("connect {port}", "EPERM", {"seccomp": "EPERM", "net-namespace": "ENETUNREACH", "landlock": "EACCES"}),
    ("bind 0", "EPERM", {"seccomp": "EPERM", "landlock": "EACCES"}),
    ("io_uring", "EPERM", {"seccomp": "EPERM", "rlimits": "ENOMEM"}),
    # the identity
    ("read /dev/nsm", "ENOENT", {"devices": "ENOENT", "landlock": "EACCES", "uid": "EACCES"}),
    ("read /dev/vsock", "ENOENT", {"devices": "ENOENT", "landlock": "EACCES", "uid": "EACCES"}),
    ("open-write /dev/console", "ENOENT", {"devices": "ENOENT", "landlock": "EACCES", "uid": "EACCES"}),
    ("read /dev/kmsg", "ENOENT", {"devices": "ENOENT", "landlock": "EACCES", "uid": "EACCES"}),
    # the service and other processes; the victim stands for the prover
    ("mem {victim} {address} {word}", "ENOENT", {"pid-namespace": "ENOENT", "uid": "EACCES", "landlock": "EACCES"}),
    ("vm-readv {victim} {address} {word}", "EPERM", {"seccomp": "EPERM", "pid-namespace": "ESRCH", "uid": "EPERM", "landlock": "EPERM"}),
    ("ptrace {victim}", "EPERM", {"seccomp": "EPERM", "pid-namespace": "ESRCH", "uid": "EPERM", "landlock": "EPERM"}),
    ("kill {victim} 10", "ESRCH", {"pid-namespace": "ESRCH", "uid": "EPERM", "landlock": "EPERM"}),
    ("kill {launcher} 0", "ESRCH", {"pid-namespace": "ESRCH", "uid": "EPERM", "landlock": "EPERM"}),
    ("ptrace-child", "EPERM", {"seccomp": "EPERM"}),
    ("pidfd-getfd", "EPERM", {"seccomp": "EPERM"}),
    ("kcmp", "EPERM", {"seccomp": "EPERM"}),
    ("read /proc/1/environ", "EACCES", {"dumpable": "EACCES"}),      # its own keeper
    ("ptrace 1", "EPERM", {"seccomp": "EPERM", "dumpable": "EPERM"}),
    # files: what is not shown, what is shown read-only
    ("read /etc/passwd", "ENOENT", {"root": "ENOENT", "landlock": "EACCES"}),
    ("find {secret} secret", "ENOENT", {"root": "ENOENT", "landlock": "EACCES", "uid": "EACCES"}),
    ("create /x", "EROFS", {"read-only": "EROFS", "landlock": "EACCES", "uid": "EACCES"}),
    ("create /dev/x", "EROFS", {"read-only": "EROFS", "landlock": "EACCES", "uid": "EACCES"}),
    ("write {ro}/file honest", "EACCES", {"read-only": "EROFS", "landlock": "EACCES", "uid": "EACCES"}),
    ("open-write /proc/self/oom_score_adj", "EROFS", {"proc-read-only": "EROFS", "landlock": "EACCES"}),
    ("write /crs/points honest", "EACCES", {"crs-read-only": "EROFS", "landlock": "EACCES", "uid": "EACCES"}),
    ("create /crs/x{n}", "EROFS", {"crs-read-only": "EROFS", "landlock": "EACCES", "uid": "EACCES"}),
    ("remove /crs/gone{n}", "EROFS", {"crs-read-only": "EROFS", "landlock": "EACCES", "uid": "EACCES"}),
    ("truncate /crs/empty", "EACCES", {"crs-read-only": "EROFS", "landlock": "EACCES", "uid": "EACCES"}),
    ("exec /job/x", "EACCES", {"noexec": "EACCES", "landlock": "EACCES"}),
    ("ioctl /dev/urandom", "EACCES", {"landlock": "EACCES"}),
    ("descriptor {descriptor}", "EBADF", {"descriptors": "EBADF"}),
    ("handle /job", "EPERM", {"seccomp": "EPERM"}),
    # privileges
    ("setuid 0", "EPERM", {"uid": "EPERM"}),
    ("suid {ro}/suid", "EPERM", {"nosuid": "EPERM", "no-new-privs": "EPERM"}),
    ("unshare 0x10000000", "EPERM", {"seccomp": "EPERM"}),           # a user namespace
    ("unshare 0x20000", "EPERM", {"seccomp": "EPERM", "capabilities": "EPERM", "uid": "EPERM"}),
    ("clone 0x10000000", "EPERM", {"seccomp": "EPERM"}),
    ("clone 0x20000000", "EPERM", {"seccomp": "EPERM", "capabilities": "EPERM", "uid": "EPERM"}),
    ("clone3", "ENOSYS", {"seccomp": "ENOSYS"}),
    ("mount /crs", "EPERM", {"seccomp": "EPERM", "capabilities": "EPERM", "uid": "EPERM", "landlock": "EPERM"}),
    ("chroot /crs", "EPERM", {"seccomp": "EPERM", "capabilities": "EPERM", "uid": "EPERM"}),
    ("hostname evil", "EPERM", {"capabilities": "EPERM", "uid": "EPERM"}),
    ("nice -5", "EACCES", {"capabilities": "EACCES", "uid": "EACCES"}),
    ("personality", "EPERM", {"seccomp": "EPERM"}),
    ("userfaultfd", "EPERM", {"seccomp": "EPERM"}),
    ("raise-limit 4 -1", "EPERM", {"rlimits": "EPERM"}),             # RLIMIT_CORE
    ("mlock", "EPERM", {"rlimits": "EPERM"}),
    # bombs
    ("processes 100", "EAGAIN", {"pids": "EAGAIN"}),
    ("memory 96", "out-of-memory", {"memory": "out-of-memory"}),
    ("disk 16", "ENOSPC", {"disk": "ENOSPC"}),
    ("files 500", "ENOSPC", {"disk": "ENOSPC"}),
    ("descriptors 1000", "EMFILE", {"rlimits": "EMFILE"}),
]
# without no_new_privs neither can be had at all
NEEDS = {"suid": {"landlock", "seccomp"}}


@pytest.mark.parametrize("attack, errno, belts", ROWS, ids=[r[0].replace("{", "").replace("}", "") for r in ROWS])
def test_attack(place, shipped, attack, errno, belts):
    needs = NEEDS.get(attack.split()[0], set())

    def attempt(launcher):
        attempt.n += 1
        for name in (f"gone{attempt.n}", "empty"):
            (place.crs / name).write_text("x")
        text = attack.format(**{**vars(place), "victim": place.victim.pid, "launcher": launcher.pid, "n": attempt.n})
        return result(launcher, text)
    attempt.n = 0

    assert attempt(shipped) == errno
    with place.launcher(set()) as l:                # built with the hook, and nothing off: no different
        assert attempt(l) == errno
    for belt, stops in belts.items():
        with place.launcher(set(belts) - {belt} | needs) as l:
            assert attempt(l) == stops, f"{belt} alone"
    with place.launcher(set(belts) | needs) as l:
        assert attempt(l) == "ok", "nothing against it"


# --- the launcher's own seal -----------------------------------------------------------------------------------------------

# with all guards of the row off, what the launcher has given up for itself is still out of its jobs' reach
SEALED = {
    "unix {ro}/socket": "EPERM", "connect {port}": "EPERM", "bind 0": "EPERM", "io_uring": "EPERM",
    "vm-readv {victim} {address} {word}": "EPERM", "ptrace {victim}": "EPERM", "ptrace-child": "EPERM", "pidfd-getfd": "EPERM",
    "kcmp": "EPERM", "handle /job": "EPERM", "suid {ro}/suid": "EPERM", "chroot /crs": "EPERM", "nice -5": "EACCES",
    "personality": "EPERM", "userfaultfd": "EPERM",
}


@pytest.mark.parametrize("attack", SEALED, ids=[a.replace("{", "").replace("}", "") for a in SEALED])
def test_what_the_launcher_gave_up_no_job_has(place, attack):
    belts = next(b for a, _, b in ROWS if a == attack)
    with place.launcher(set(belts) | NEEDS.get(attack.split()[0], set()), sealed=True) as l:
        text = attack.format(**{**vars(place), "victim": place.victim.pid, "launcher": l.pid, "n": 0})
        assert result(l, text) == SEALED[attack]


CAPABILITIES = sum(1 << n for n in (0, 1, 5, 6, 7, 8, 21))    # chown dac_override kill setgid setuid setpcap sys_admin


def test_the_launcher_is_sealed(place, shipped):
    """And so is the keeper of a cell, which has nothing left at all."""
    def status(pid):
        return dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in line)
    mine = status(shipped.pid)
    assert [int(mine[s], 16) for s in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")] == [0, *[CAPABILITIES] * 3, 0]
    assert mine["NoNewPrivs"] == "1" and mine["Seccomp"] == "2"
    assert "sealed: capabilities=7 seccomp=yes" in shipped.log()
    assert next(l for l in open(f"/proc/{shipped.pid}/limits") if l.startswith("Max core")).split()[4:6] == ["1", "1"]
    shipped.open(0, b"hang\n")
    (keeper,) = shipped.descendants()
    its = status(keeper)
    assert all(int(its[s], 16) == 0 for s in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    assert its["NoNewPrivs"] == "1" and its["Seccomp_filters"] == "2"
    shipped.close()
    with place.launcher({"sealed-launcher"}) as l:                 # control
        assert int(status(l.pid)["CapEff"], 16) & ~CAPABILITIES and status(l.pid)["Seccomp"] == "0"


# --- sockets ------------------------------------------------------------------------------------------------------------

FAMILIES = [f for f in [*range(64), 255, 256, 65535, 2**31 - 1, -1] if f != AF_VSOCK]


def test_sockets_of_every_family(place, shipped):
    """Refused before the kernel looks at the family: one that does not exist gets the same answer."""
    for family in FAMILIES:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
            if family > 48 and kind != socket.SOCK_STREAM:
                continue
            assert result(shipped, f"socket {family} {kind}") == "EPERM", (family, kind)
    with place.launcher({"seccomp"}) as l:
        answers = {f: result(l, f"socket {f} {socket.SOCK_DGRAM}") for f in FAMILIES}
    assert [answers[f] for f in (socket.AF_UNIX, socket.AF_INET, socket.AF_NETLINK)] == ["ok"] * 3
    # the kernel's own answers are of many kinds: where there is a filter, none of them is ever heard
    assert {answers[f] for f in (63, 255, 2**31 - 1, -1)} == {"EAFNOSUPPORT"}


# --- jobs among themselves -------------------------------------------------------------------------------------------------

def job_program(launcher, uid=None):
    """The pid of the one running job's program: the keeper's child."""
    return wait_for(lambda: launcher.descendants()[1:2], what="the job's program")[0]


OTHERS = {"pid-namespace": "ENOENT", "uid": "EACCES", "landlock": "EACCES"}


@pytest.mark.parametrize("on, errno", [("all", "ENOENT"), *OTHERS.items(), (None, "ok")])
def test_another_jobs_input(place, on, errno):
    with place.launcher(None if on == "all" else set(OTHERS) - {on}) as l:
        l.open(0, b"hang for-ever\n")
        l.start(0)
        path = f"/proc/{job_program(l)}/root/job/input"
        assert result(l, f"find {path} hang", slot=1) == errno
        l.send_cancel(0)
        assert l.expect(ENDED, 0).how == "cancelled"
        l.close(0)


def test_poisoned_points(place, shipped):
    """What one job does to the CRS is not there for the next one, unless nothing guards it."""
    def poison(launcher):
        (place.crs / "points").write_text("honest")
        did = result(launcher, "write /crs/points poison", slot=0)
        return did, result(launcher, "find /crs/points honest", slot=1), (place.crs / "points").read_text()
    assert poison(shipped) == ("EACCES", "ok", "honest")
    with place.launcher({"crs-read-only", "landlock", "uid"}) as l:
        assert poison(l) == ("ok", "EBADMSG", "poison")
    (place.crs / "points").write_text("honest")


# --- pinned points: what was hashed is what jobs see -----------------------------------------------------------------------

def pin(place, name="points", text="honest"):
    return f"crs_sha256 = {name} {hashlib.sha256(text.encode()).hexdigest()}"


@pytest.fixture
def honest(place):
    def restore():
        for f in place.crs.iterdir():
            f.unlink() if not f.is_dir() else f.rmdir()
        (place.crs / "points").write_text("honest")
    restore()
    yield place.crs / "points"
    restore()


def test_only_pinned_files_are_shown(place, honest):
    (place.crs / "other").write_text("other")
    (place.crs / "more").write_text("m" * 100000)
    with place.launcher(recipe=pin(place) + "\n" + pin(place, "more", "m" * 100000)) as l:
        assert "crs=pinned" in l.guards
        assert result(l, "find /crs/points honest") == "ok"
        assert result(l, "read /crs/more") == "ok"
        assert result(l, "read /crs/other") == "ENOENT"
        assert result(l, "write /crs/points poison") == "EACCES"
        assert result(l, "remove /crs/points") == "EROFS"
        assert result(l, "create /crs/x") == "EROFS"
    with place.launcher() as l:
        assert "crs=unpinned" in l.guards
        assert result(l, "read /crs/other") == "ok"


def refusal(place, recipe, off=None):
    """Why it does not start; None when it does."""
    with place.launcher(off, wait=False, recipe=recipe) as l:
        try:
            code = l.process.wait(2)
        except subprocess.TimeoutExpired:
            return None
        assert code == 1
        return l.log()


def owned(uid, gid, mode):
    return lambda f: (os.chown(f, uid, gid), f.chmod(mode))


NOT_THESE = {
    "other bytes": (lambda f: f.write_text("poison"), "has SHA-256 " + hashlib.sha256(b"poison").hexdigest()),
    "one bit": (lambda f: f.write_text("honess"), "not the points that were meant, or damaged"),
    "more bytes": (lambda f: f.write_text("honest!"), "not the points"),
    "none": (lambda f: f.write_text(""), "not the points"),
    "missing": (lambda f: f.unlink(), "No such file"),
    "a link": (lambda f: (f.rename(f.parent / "real"), f.symlink_to("real")), "Too many levels of symbolic links"),
    "a directory": (lambda f: (f.unlink(), f.mkdir()), "not a plain file"),
    "a pipe": (lambda f: (f.unlink(), os.mkfifo(f)), "not a plain file"),
    "writable by all": (owned(0, 0, 0o646), "jobs could write"),
    "a job's own": (owned(64003, 0, 0o644), "jobs could write"),
    "a job's own, read-only for now": (owned(64000, 0, 0o444), "jobs could write"),
    "a job's group's": (owned(0, 64001, 0o664), "jobs could write"),
}


@pytest.mark.parametrize("name", NOT_THESE)
def test_other_points_do_not_start(place, honest, name):
    spoil, why = NOT_THESE[name]
    assert refusal(place, pin(place)) is None
    spoil(honest)
    said = refusal(place, pin(place))
    assert said is not None and "crs_sha256 = points" in said and why in said
    if name in ("other bytes", "writable by all", "a job's own"):
        assert refusal(place, pin(place), {"crs-hash"}) is None


def test_no_job_is_before_the_points_are_known(place, honest):
    """They are hashed after the launcher is ready; a job that is asked for at once comes after that, and with other points none comes."""
    with place.launcher(recipe=pin(place)) as l:
        l.send_open(0)
        assert l.expect(OPENED)
    honest.write_text("poison")
    with place.launcher(recipe=pin(place)) as l:
        l.send_open(0)
        m = l.expect(FAILED)
        assert m.how == "internal" and "not the points that were meant" in m.text
        assert l.process.wait(5) == 1


CHANGES = {
    "written": lambda f: f.write_text("poison"),
    "written, same size and time": lambda f: (st := f.stat(), f.write_text("poison"), os.utime(f, ns=(st.st_atime_ns, st.st_mtime_ns))),
    "replaced": lambda f: ((f.parent / "new").write_text("poison"), (f.parent / "new").rename(f)),
    "covered": lambda f: (f.rename(f.parent / "old"), (f.parent / "poison").write_text("poison"), f.symlink_to("poison")),
}


@pytest.mark.parametrize("how", CHANGES)
def test_points_changed_after_the_start_are_given_to_no_job(place, honest, how):
    with place.launcher(recipe=pin(place)) as l, place.launcher({"crs-hash"}, recipe=pin(place)) as unguarded:
        for launcher in (l, unguarded):
            assert result(launcher, "find /crs/points honest") == "ok"
        CHANGES[how](honest)
        l.send_open(0)
        m = l.expect(FAILED)
        assert m.how == "internal" and "is not the file any more that was hashed at start" in m.text
        assert result(unguarded, "find /crs/points poison") == "ok"


LEFTOVERS = [
    ("leave /job/x leftover", "find /job/x leftover", ("ok", "ENOENT"), "job-tmpfs"),
    ("shm-leave {key}", "shm-find {key}", ("ok", "ENOENT"), "ipc-namespace"),
    ("key-leave {word}", "key-find {word}", ("EPERM", "EPERM"), "seccomp"),
]


@pytest.mark.parametrize("leave, find, answers, guard", LEFTOVERS, ids=[r[0].split()[0] + "-" + r[3] for r in LEFTOVERS])
def test_leftovers_of_the_last_job(place, shipped, leave, find, answers, guard):
    def both(launcher):                             # in one slot, so as one user
        return tuple(result(launcher, a.format(word=place.word, key=place.key)) for a in (leave, find))
    assert both(shipped) == answers
    try:
        with place.launcher({guard}) as l:
            assert both(l) == ("ok", "ok")
    finally:
        subprocess.run(["ipcrm", "-M", str(place.key)], stderr=subprocess.DEVNULL, check=False)


# --- what never ends -----------------------------------------------------------------------------------------------------------

def test_a_job_that_never_ends(place, shipped):
    assert result(shipped, "hang", deadline_ms=300) == "timed-out"
    with place.launcher({"deadline"}) as l:
        l.open(0, b"hang\n")
        l.start(0, deadline_ms=300)
        assert l.silent(1.5)
        l.send_cancel()
        assert l.expect(ENDED).how == "cancelled"
        l.close()


def cpu_share(launcher):
    """Of a job that never rests, beside one process of ours on the same CPU: its part of both."""
    neighbour = subprocess.Popen(["taskset", "-c", "0", EVIL_CELL, "spin", "60000"])
    try:
        launcher.open(0, b"spin 2000\n")
        launcher.start(0)
        ticks = [cpu_ticks(neighbour.pid)]
        job = launcher.expect(ENDED).cpu_ms
        ticks.append(cpu_ticks(neighbour.pid))
        launcher.close()
    finally:
        neighbour.kill()
        neighbour.wait()
    other = (ticks[1] - ticks[0]) * 1000 / os.sysconf("SC_CLK_TCK")
    return job / (job + other)


def cpu_ticks(pid):
    return sum(map(int, pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


@pytest.mark.skipif(not any(pathlib.Path("/sys/fs/cgroup", p).exists() for p in ("cpu/cpu.shares", "cpu.pressure")),
                    reason="no cpu cgroup")
def test_a_cpu_hog_weighs_less_than_the_service(place):
    with place.launcher(set(), recipe="cpu_weight = 10", prefix=("taskset", "-c", "0")) as l:
        assert cpu_share(l) < 0.25                  # 1 : 10 when nobody else is there
    with place.launcher({"cpu-weight"}, prefix=("taskset", "-c", "0")) as l:
        assert cpu_share(l) > 0.35                  # 1 : 1


def test_an_output_bomb(place, shipped):
    """8 MiB of output: read, so that the writer does not block, and dropped."""
    def log_after(launcher):
        before = launcher.log_path.stat().st_size
        assert result(launcher, "output 8") == "ok"
        return launcher.log_path.stat().st_size - before
    assert log_after(shipped) < 1000
    with place.launcher({"output"}) as l:
        assert log_after(l) > 8 << 20


def test_killing_the_keeper(place, shipped):
    """The first process of a namespace gets no signal from inside it; anywhere else the job ends as our failure."""
    assert result(shipped, "kill-keeper") == "ok"
    with place.launcher({"pid-namespace"}) as l:
        assert result(l, "kill-keeper") == "internal"


def test_the_victim_heard_only_what_was_let_through(place, shipped):
    assert place.victim.poll() is None
    os.set_blocking(place.victim.stdout.fileno(), False)

    def heard():
        try:
            return os.read(place.victim.stdout.fileno(), 100)
        except BlockingIOError:
            return b""
    heard()                                         # of test_attack
    result(shipped, f"kill {place.victim.pid} 10")
    time.sleep(0.1)
    assert not heard()
    with place.launcher({"pid-namespace", "uid", "landlock"}) as l:
        result(l, f"kill {place.victim.pid} 10")
    wait_for(lambda: heard() == b"hit\n", what="the signal")


# --- the hook ------------------------------------------------------------------------------------------------------------------

def test_only_the_test_build_has_the_hook(place):
    assert SWITCH.encode() in UNSAFE.read_bytes()
    for program in ("tee-rex-launcher", "tee-rex-prover", "tee-rex"):
        assert SWITCH.encode() not in (BUILD / program).read_bytes()
    # and in the shipped one the variable changes nothing
    with Launcher(place.path, config=EVIL_CONFIG.format(top="", recipe="", policy="require"), evil=EVIL_CELL,
                  env={SWITCH: "seccomp,landlock,uid"}) as l:
        assert "missing=none" in l.guards
        assert result(l, "socketpair") == "EPERM"
