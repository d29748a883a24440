"""tee-rex-launcher from the outside: these tests are the prover, and tests/tools/evil_prover.c is what it runs. As root
and as an ordinary user, as far as the one running the tests may be either."""
import ctypes
import glob
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import pytest

import launcher_peer
from conftest import wait_for
from launcher_peer import CLOSE, CLOSED, ENDED, FAILED, OPEN, OPENED, Launcher, kill_hard, sealed, shmem_kib

TOP = pathlib.Path(__file__).resolve().parents[2]
MIB = 1 << 20
IS_ROOT = os.geteuid() == 0
OTHER_USER = 54321                  # nobody in particular
CGROUP = IS_ROOT and any(pathlib.Path("/sys/fs/cgroup", p).exists() for p in ("memory/cgroup.procs", "cgroup.controllers"))


@pytest.fixture(scope="module")
def place():
    """A directory any user can read, with a copy of the launcher in it."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="tr-", dir="/tmp"))
    path.chmod(0o777)
    if not launcher_peer.EVIL.exists():
        subprocess.run(["make", "-s", "build/tests/tools/evil_prover"], cwd=TOP, check=True)
    shutil.copy(launcher_peer.LAUNCHER, path / "tee-rex-launcher")
    launcher_peer.LAUNCHER, before = path / "tee-rex-launcher", launcher_peer.LAUNCHER
    yield path
    launcher_peer.LAUNCHER = before
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(params=["root", "user"] if IS_ROOT else ["user"])
def user(request):
    return OTHER_USER if IS_ROOT and request.param == "user" else None


@pytest.fixture
def as_root(user):
    return IS_ROOT and user is None


@pytest.fixture
def launcher(place, user):
    """Fails the test when anything is left behind that was not there before."""
    with Launcher(place, user=user) as l:
        before = l.snapshot()
        yield l
        for fd in list(l.inputs.values()):
            os.close(fd)
        l.inputs = {}
        end = time.monotonic() + 5
        while l.snapshot() != before and time.monotonic() < end:
            time.sleep(0.02)
        assert l.snapshot() == before
    assert l.process.returncode == 0, l.log()


# --- endings -------------------------------------------------------------------------------------------

ENDINGS = [
    # act, how, signal, exit code, text
    ("proof 64", "ok", 0, 0, ""),
    ("proof 1044480", "ok", 0, 0, ""),
    ("tree-proof 64", "ok", 0, 0, ""),
    ("deaf 64", "ok", 0, 0, ""),
    ("output 3 64", "ok", 0, 0, ""),
    ("none", "prover-error", 0, 0, "left no proof"),
    ("proof 0", "prover-error", 0, 0, "left an empty proof"),
    ("proof 1044481", "prover-error", 0, 0, "1044481 bytes; proof_max = 1044480 are allowed"),
    ("sparse 1000000000000", "prover-error", 0, 0, "1000000000000 bytes; proof_max = 1044480 are allowed"),
    ("exit 3", "prover-error", 0, 3, "exited with code 3"),
    ("exit 255", "prover-error", 0, 255, "exited with code 255"),
    ("say 1 std::bad_alloc_not", "prover-error", 0, 1, "exited with code 1"),
    ("abort", "crashed", signal.SIGABRT, 0, "signal 6"),
    ("segv", "crashed", signal.SIGSEGV, 0, "signal 11"),
    ("raise 9", "crashed", signal.SIGKILL, 0, "signal 9"),
    ("raise 15", "crashed", signal.SIGTERM, 0, "signal 15"),
    ("symlink /job/input", "prover-error", 0, 0, "no proof that can be opened"),
    ("symlink /proc/self/fd/0", "prover-error", 0, 0, "no proof that can be opened"),
    ("fifo", "prover-error", 0, 0, "not a plain file"),
    ("directory", "prover-error", 0, 0, "not a plain file"),
    ("hardlink", "prover-error", 0, 0, "not a plain file"),
    ("swap-out", "prover-error", 0, 0, "no proof that can be opened"),
    ("keep-filled", "prover-error", 0, 0, "left no proof"),
]


def test_every_end_has_its_code(launcher, user):
    for act, how, signal_number, code, text in ENDINGS:
        if act.startswith("say") and user is not None:
            continue                    # there the words of a failed allocation count
        m = launcher.run(act)
        assert (m.how, m.signal, m.exit_code) == (how, signal_number, code), (act, m)
        assert text in m.text and (text or m.text == ""), (act, m)
        if how == "ok":
            assert m.proof() == b"p" * int(act.split()[-1])
        assert m.limit == 64 * MIB and 0 < m.peak < 64 * MIB and m.wall_ms < 20000, m


def test_a_program_that_cannot_run(launcher):
    for program in (b"no program", b"#!/bin/sh\nexit 0\n", b"\x7fELF" + bytes(100)):
        launcher.open(0, b"proof 64\n")
        launcher.start(0, sealed(program))
        m = launcher.expect(ENDED)
        assert m.how == "prover-error" and "cannot be executed" in m.text, m
        launcher.close()


def test_time_is_measured(launcher):
    m = launcher.run("burn 300 64")
    assert m.how == "ok" and m.cpu_ms >= 300 and m.wall_ms >= 300
    m = launcher.run("sleep 300 64")
    assert m.how == "ok" and m.cpu_ms < 200 and 300 <= m.wall_ms < 5000


@pytest.mark.parametrize("act", ["hang", "stubborn", "spin", "tree-hang", "output-forever"])
def test_cancel_deadline_and_close_end_the_whole_tree(launcher, act):
    idle = launcher.descendants()

    def begin(**limits):
        launcher.open(0, act.encode())
        launcher.start(0, **limits)
        wait_for(lambda: len(launcher.descendants()) >= (8 if act == "tree-hang" else 2), what="the job's processes")

    begin()
    began = time.monotonic()
    launcher.send_cancel()
    m = launcher.expect(ENDED)
    assert m.how == "cancelled" and not m.fds and time.monotonic() - began < 1
    assert launcher.descendants() == idle
    launcher.close()

    begin(deadline_ms=400)
    m = launcher.expect(ENDED)
    assert m.how == "timed-out" and 400 <= m.wall_ms < 1400, m
    assert launcher.descendants() == idle
    launcher.close()

    begin()
    began = time.monotonic()
    launcher.close()                    # CLOSED and nothing else
    assert time.monotonic() - began < 1
    assert launcher.descendants() == idle
    assert launcher.silent()


def test_the_configured_deadline_holds(place, user):
    config = launcher_peer.EVIL_CONFIG.format(top="", recipe="", policy="degrade").replace("deadline_s = 20", "deadline_s = 1")
    with Launcher(place, config=config, user=user) as l:
        m = l.run("hang")
        assert m.how == "timed-out" and 1000 <= m.wall_ms < 2000


# --- memory, processes, disk, output ---------------------------------------------------------------------

def test_memory_has_a_limit(launcher, as_root):
    # rlimits are kinder: they leave room for the stacks of the configured threads
    most = 64 * MIB if as_root and CGROUP else 64 * MIB + len(os.sched_getaffinity(0)) * 8 * MIB
    for act in ("eat", "eat-child", "eat-shared") if as_root and CGROUP else ("eat",):
        m = launcher.run(act)
        assert m.how == "out-of-memory" and m.limit == 64 * MIB and 48 * MIB < m.peak <= most, (act, m)
    m = launcher.run("touch 40 64")
    assert m.how == "ok" and 40 * MIB <= m.peak < 50 * MIB, m
    m = launcher.run("touch 40 64", memory=16 * MIB)
    assert m.limit == 16 * MIB
    assert m.how == "out-of-memory" if as_root and CGROUP else m.how in ("prover-error", "out-of-memory"), m


def test_processes_have_a_limit(place, user):
    # stacks of threads are memory where only rlimits limit it
    config = launcher_peer.EVIL_CONFIG.format(top="", recipe="", policy="degrade").replace("memory_mib = 64", "memory_mib = 512")
    with Launcher(place, config=config, user=user) as l:
        word, _, made = l.run("fork-bomb").lines()[0].split()
        assert word == "EAGAIN" and int(made) == 31         # with the program itself, pids_max
        assert l.run("probe threads 100").lines() == ["31 EAGAIN"]
        assert l.run("probe threads 31").lines() == ["31 ok"]


def test_the_disk_has_a_limit_and_each_job_its_own(launcher):
    m = launcher.run("fill")
    why, total = m.lines()[-1].split()
    assert why == "ENOSPC" and MIB < int(total) < 3 * MIB
    launcher.run("keep-filled")
    assert sorted(launcher.run("probe list /job").lines()) == ["input", "ok", "out"]
    assert launcher.run("probe list /job/out").lines() == ["ok", "proof"]


def test_output_is_drained_and_forgotten(launcher):
    m = launcher.run("output 100 64")
    assert m.how == "ok"
    assert rss_kib(launcher) < 4096


def rss_kib(launcher):
    text = pathlib.Path(f"/proc/{launcher.pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS:")).split()[1])


def test_memory_files_go_with_the_slot(launcher):
    held = launcher.open(0, b"x" * (40 * MIB))
    before = shmem_kib()
    keep = os.dup(held)
    launcher.close()
    assert os.fstat(keep).st_size == 0          # whoever still holds it
    wait_for(lambda: before - shmem_kib() > 30 * 1024, what="the payload's memory given back")
    os.close(keep)

    # after a job, before CLOSE
    held = launcher.open(0, b"exit 0\n" + b"x" * (40 * MIB))
    launcher.start()
    launcher.expect(ENDED)
    wait_for(lambda: os.fstat(held).st_size == 0, what="the input emptied")
    launcher.close()


# --- the cell -----------------------------------------------------------------------------------------------

def test_what_a_job_sees(launcher, as_root):
    lines = launcher.run("probe self", slot=2).lines()
    own = 64002 if as_root else OTHER_USER if IS_ROOT else os.geteuid()
    assert f"ids {own} {own} 0" in lines or (not IS_ROOT and any(l.startswith(f"ids {own} ") for l in lines))
    assert "pid 2 ppid 1 session 1" in lines
    assert "cwd /job" in lines and "umask 77" in lines
    assert [l for l in lines if l.startswith("arg ")] == ["arg evil", "arg /job/input", "arg /job/out"]
    threads = len(os.sched_getaffinity(0))
    assert [l for l in lines if l.startswith("env ")] == [
        "env CRS_PATH=/crs", f"env HARDWARE_CONCURRENCY={threads}", "env HOME=/job", "env TMPDIR=/job",
        "env MALLOC_TRIM_THRESHOLD_=0", "env MALLOC_MMAP_THRESHOLD_=65536"]
    assert not [l for l in lines if l.startswith("signal ")]
    assert "rlimit 4 1 1" in lines              # RLIMIT_CORE: no dump, no handler
    assert "rlimit 8 0 0" in lines and "rlimit 12 0 0" in lines and "rlimit 7 256 256" in lines

    status = launcher.run("probe cat /proc/self/status").lines()
    for want in ("CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
                 "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert want in status
    assert launcher.run("probe cat /proc/self/oom_score_adj").lines() == ["ok", "1000"]
    assert launcher.run("probe fds").lines() == ["ok", "0", "1", "2"]

    assert sorted(launcher.run("probe list /").lines()) == ["dev", "job", "ok", "proc", "sys"]
    assert sorted(launcher.run("probe list /dev").lines()) == ["null", "ok", "urandom", "zero"]
    assert sorted(launcher.run("probe list /proc").lines()) == ["1", "2", "ok", "self", "thread-self"]
    assert launcher.run("probe list /sys/devices/system/cpu").lines() == ["ok", "online"]
    interfaces = launcher.run("probe cat /proc/self/net/dev").lines()
    assert interfaces[0] == "ok" and [l.split(":")[0].strip() for l in interfaces[3:]] == ["lo"]


REFUSED = [
    ("open /proc/1/mem", "EACCES"), ("open /proc/1/environ", "EACCES"), ("list /proc/1/fd", "EACCES"),
    ("open /dev/nsm", "ENOENT"), ("open /dev/vsock", "ENOENT"), ("open /dev/console", "ENOENT"), ("open /dev/kmsg", "ENOENT"),
    ("open /proc/kcore", "ENOENT"), ("open /proc/sys/kernel/core_pattern", "ENOENT"), ("open /etc/passwd", "ENOENT"),
    ("create /x", "EROFS"), ("create /dev/x", "EROFS"), ("create /sys/x", "EROFS"), ("write /proc/self/oom_score_adj", "EROFS"),
    ("write /job/input", "EACCES"), ("ptrace 1", "EPERM"), ("setuid 0", "EPERM"), ("mount", "EPERM"),
    ("socketpair", "EPERM"), ("unshare 268435456", "EPERM"), ("unshare 131072", "EPERM"),
    ("clone 10000000", "EPERM"), ("clone 20000000", "EPERM"), ("clone 40000000", "EPERM"), ("clone 00020000", "EPERM"),
    ("clone 08000000", "EPERM"), ("clone 04000000", "EPERM"), ("clone 02000000", "EPERM"),
    ("exec /job/input", "EACCES"),
]
REFUSED_CALLS = {               # x86-64
    "io_uring_setup": (425, "EPERM"), "io_uring_enter": (426, "EPERM"), "io_uring_register": (427, "EPERM"),
    "clone3": (435, "ENOSYS"), "bpf": (321, "EPERM"), "userfaultfd": (323, "EPERM"), "perf_event_open": (298, "EPERM"),
    "keyctl": (250, "EPERM"), "add_key": (248, "EPERM"), "request_key": (249, "EPERM"), "process_vm_readv": (310, "EPERM"),
    "pidfd_getfd": (438, "EPERM"), "memfd_secret": (447, "EPERM"), "setns": (308, "EPERM"), "fsopen": (430, "EPERM"),
    "x32 getpid": (0x40000000 + 39, "ENOSYS"),
}


def test_what_a_job_is_refused(launcher, user):
    for probe, errno in REFUSED:
        if probe == "setuid 0" and user is not None:
            errno = "EINVAL"                    # not even a name for it in the job's user namespace
        assert launcher.run("probe " + probe).lines() == [errno], probe
    if os.uname().machine == "x86_64":
        for name, (number, errno) in REFUSED_CALLS.items():
            assert launcher.run(f"probe syscall {number} 0 0").lines() == [errno], name
    for family in [*range(0, 40), *range(41, 48)]:      # 40, vsock, is tried inside guests only
        assert launcher.run(f"probe socket {family} {socket.SOCK_STREAM}").lines() == ["EPERM"], family
    # what it needs, it has: the same probes succeed where nothing forbids them
    for probe in ("open /dev/null", "write /dev/null", "open /dev/urandom", "create /job/x", "open /job/input",
                  "open /proc/self/maps", "clone 0", "syscall 39"):
        assert launcher.run("probe " + probe).lines() == ["ok"], probe
    assert launcher.run("probe kill 1 9").lines() == ["ok"]         # sent, and without effect: it went on


def test_jobs_do_not_meet(launcher, as_root):
    launcher.open(0, b"hang\nsecret of slot 0")
    launcher.start(0)
    wait_for(lambda: len(launcher.descendants()) == 2)
    for slot in (1, 3):
        assert sorted(launcher.run("probe list /proc", slot=slot).lines()) == ["1", "2", "ok", "self", "thread-self"]
        assert sorted(launcher.run("probe list /job", slot=slot).lines()) == ["input", "ok", "out"]
        if as_root:
            assert f"ids {64000 + slot} {64000 + slot} 0" in launcher.run("probe self", slot=slot).lines()
    launcher.send_cancel(0)
    assert launcher.expect(ENDED).how == "cancelled"
    launcher.close()


def test_the_crs_is_read_only_and_others_files_are_shown_as_configured(place, user):
    crs, extra = place / "crs", place / "extra"
    for d in (crs, extra):
        d.mkdir(exist_ok=True)
        d.chmod(0o777)
        (d / "file").write_text("points")
        (d / "file").chmod(0o666)
    config = launcher_peer.EVIL_CONFIG.format(top="", recipe=f"env = X={{crs}}/file\nro = {extra}", policy="degrade")
    with Launcher(place, config=config.replace("crs = none", f"crs = {crs}"), user=user) as l:
        assert l.run("probe cat /crs/file").lines() == ["ok", "points"]
        assert l.run(f"probe cat {extra}/file").lines() == ["ok", "points"]
        for path in ("/crs/file", f"{extra}/file"):
            assert l.run(f"probe write {path}").lines() == ["EROFS"]
            assert l.run(f"probe create {path}2").lines() == ["EROFS"]
        assert l.run("probe exec /crs/file").lines() == ["EACCES"]
        assert "env X=/crs/file" in l.run("probe self").lines()
    assert (crs / "file").read_text() == "points" and sorted(os.listdir(crs)) == ["file"]


def test_nothing_of_the_job_is_in_the_log(place, user):
    with Launcher(place, user=user) as l:
        assert l.run("say 0 WITNESS-4711").how == "prover-error"
        assert l.run("say 1 WITNESS-4711").how == "prover-error"
        l.stop()
        assert "WITNESS" not in l.log() and "slot 0: job ended: prover-error" in l.log()
    # unless the configuration says so, and then not more than it says
    with Launcher(place, user=user, recipe="output_log_kib = 1") as l:
        l.run("say 0 WITNESS-4711")
        l.run("output 2 64")
        l.stop()
        assert "job output: WITNESS-4711" in l.log()
        assert 1000 < l.log().count("o") < 1500


# --- the protocol ----------------------------------------------------------------------------------------------

def pack(kind, slot, fmt="", *fields):
    return struct.pack(">BB" + fmt, kind, slot, *fields)


def test_messages_out_of_order_change_nothing(launcher):
    program = launcher.program()

    def refused(how, text, slot=0):
        m = launcher.expect(FAILED, slot)
        assert m.how == how and text in m.text, m

    launcher.send_start(0, program)
    refused("bad-request", "START of a slot that is closed")
    launcher.send_cancel()
    refused("bad-request", "CANCEL of a slot that is closed")
    launcher.close()                            # allowed in any state

    launcher.open(0, b"hang\n")
    launcher.send_open()
    refused("bad-request", "OPEN of a slot that is open")
    launcher.send_cancel()
    refused("bad-request", "CANCEL of a slot that is open")
    launcher.start(0)
    launcher.send_open()
    refused("bad-request", "OPEN of a slot that is running")
    launcher.send_start(0, program)
    refused("bad-request", "START of a slot that is running")
    launcher.send_cancel()
    assert launcher.expect(ENDED).how == "cancelled"
    launcher.send_cancel()                      # crossed on the wire
    launcher.send_start(0, program)
    refused("bad-request", "START of a slot that is ended")
    launcher.close()
    assert launcher.run("proof 64").how == "ok"

    # before the cell is built
    launcher.send_open()
    launcher.send(bytes([CLOSE, 0]))
    launcher.send(bytes([CLOSE, 0]))
    kinds = [launcher.receive().kind]
    while kinds[-1] != CLOSED:
        kinds.append(launcher.receive().kind)
    assert kinds in ([CLOSED], [OPENED, CLOSED]), kinds
    if not launcher.silent():
        assert launcher.receive().kind == CLOSED
    assert launcher.run("proof 64").how == "ok"


def test_malformed_messages_are_answered_and_change_nothing(launcher):
    fd = launcher.program()
    cases = [
        (b"\x01", 0, ()), (b"\x00\x00", 0, ()), (b"\x09\x01", 1, ()), (b"\xff" * 512, 0, ()), (b"\x01" * 513, 0, ()),
        (b"\x01" * 4000, 0, ()), (pack(OPEN, 16, "Q", 1), 0, ()), (pack(OPEN, 3, "Q", 1) + b"x", 3, ()),
        (pack(OPEN, 3, "Q", 1)[:-1], 3, ()), (pack(OPENED, 2), 2, ()), (pack(ENDED, 2, "BIIQQII", 0, 0, 0, 0, 0, 0, 0), 2, ()),
        (pack(OPEN, 0, "Q", 1), 0, (fd,)), (pack(OPEN, 0, "Q", 1), 0, (fd,) * 5), (pack(OPEN, 0, "Q", 1), 0, (fd,) * 100),
        (pack(2, 0, "QI", 0, 0), 0, ()), (pack(2, 0, "QI", 0, 0), 0, (fd, fd)), (pack(CLOSE, 0), 0, (fd,)),
        (pack(OPEN, 4, "Q", 1), 4, ()), (pack(CLOSE, 15), 15, ()),
    ]
    for packet, slot, fds in cases:
        launcher.send(packet, fds)
        m = launcher.receive()
        assert (m.kind, m.slot, m.how) == (FAILED, slot, "bad-request"), (packet, m)
    assert launcher.run("proof 64").how == "ok"


def test_programs_must_be_sealed(launcher):
    data = launcher_peer.EVIL.read_bytes()
    launcher.open(0, b"proof 64\n")
    with open("/bin/true", "rb") as plain, tempfile.TemporaryFile() as temporary:
        read_end, write_end = os.pipe()
        programs = [sealed(data, seals) for seals in (0, 1, 2, 4, 8, 1 | 2 | 4, 1 | 2 | 8, 1 | 4 | 8, 2 | 4 | 8, 1 | 2 | 4 | 16)]
        for fd in [*programs, sealed(b""), plain.fileno(), temporary.fileno(), read_end, write_end, launcher.sock.fileno()]:
            launcher.send_start(0, fd)
            m = launcher.expect(FAILED)
            assert m.how == "bad-request" and "sealed" in m.text, (fd, m)
        for fd in [*programs, read_end, write_end]:
            os.close(fd)
    launcher.start(0)
    assert launcher.expect(ENDED).how == "ok"
    launcher.close()


def test_limits_may_be_lowered_but_not_raised(launcher):
    launcher.send_open(0, 64 * MIB + 1)
    m = launcher.expect(FAILED)
    assert m.how == "too-large" and "payload_max_mib = 64" in m.text
    launcher.send_open(0, 1 << 63)
    assert launcher.expect(FAILED).how == "too-large"
    launcher.open(0, b"proof 64\n")
    for limits, text in (({"memory": 64 * MIB + 1}, "memory_mib = 64"), ({"memory": 1}, "at least 4194304"),
                         ({"memory": 2**64 - 1}, "memory_mib = 64"), ({"deadline_ms": 20001}, "deadline_s = 20"),
                         ({"deadline_ms": 2**32 - 1}, "deadline_s = 20")):
        launcher.start(0, **limits)
        m = launcher.expect(FAILED)
        assert m.how == "bad-request" and text in m.text, m
    launcher.start(0, memory=64 * MIB, deadline_ms=20000)
    assert launcher.expect(ENDED).how == "ok"
    launcher.close()


def test_no_more_jobs_than_configured(place, user):
    config = launcher_peer.EVIL_CONFIG.format(top="", recipe="", policy="degrade").replace("jobs = 4", "jobs = 1")
    with Launcher(place, config=config, user=user) as l:
        for slot in (0, 1):
            l.open(slot, b"sleep 200 64\n")
        l.start(0)
        l.start(1)
        m = l.expect(FAILED, 1)
        assert m.how == "busy" and "jobs = 1" in m.text
        assert l.expect(ENDED, 0).how == "ok"
        l.start(1)
        assert l.expect(ENDED, 1).how == "ok"
        l.open(2, b"hang\n")
        l.start(2)
        l.close(2)                              # a job ended by CLOSE gives its place back too
        assert l.run("proof 64", slot=3).how == "ok"


def test_no_more_memory_than_configured(place, user):
    with Launcher(place, user=user, top="memory_budget_mib = 100", policy="degrade") as l:
        for slot in (0, 1):
            l.open(slot, b"sleep 300 64\n")
        l.start(0)
        l.start(1)
        m = l.expect(FAILED, 1)
        assert m.how == "busy" and "memory_budget_mib = 100 has no room for a job of 64 MiB" in m.text
        l.start(1, memory=36 * MIB)             # to the last byte
        assert [l.receive().how for _ in range(2)] == ["ok"] * 2
        for slot in (0, 1):
            l.close(slot)
        l.open(2, b"hang\n")
        l.start(2)
        l.close(2)                              # ended by CLOSE: given back too
        assert l.run("proof 64", slot=3).how == "ok"


def test_a_prover_that_does_not_read_is_not_read(launcher):
    launcher.sock.setblocking(False)
    sent = 0
    quiet_since = time.monotonic()
    while sent < 100000 and time.monotonic() - quiet_since < 1:
        try:
            launcher.send(pack(CLOSE, sent % 4))
            sent, quiet_since = sent + 1, time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    assert 10 < sent < 100000
    launcher.sock.setblocking(True)
    for n in range(sent):
        m = launcher.receive()
        assert (m.kind, m.slot) == (CLOSED, n % 4)
    assert launcher.silent()
    assert rss_kib(launcher) < 4096
    assert launcher.run("proof 64").how == "ok"


def test_ends_wait_for_a_prover_that_does_not_read(launcher):
    """ENDED with its proof is kept, descriptor and all, until there is room."""
    launcher.open(0, b"sleep 400 4711\n")
    launcher.start(0)
    launcher.sock.setblocking(False)
    sent, quiet_since = 0, time.monotonic()
    while time.monotonic() - quiet_since < 1:
        try:
            launcher.send(pack(CLOSE, 1))
            sent, quiet_since = sent + 1, time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    launcher.sock.setblocking(True)
    messages = [launcher.receive() for _ in range(sent + 1)]
    (ended,) = [m for m in messages if m.kind == ENDED]
    assert ended.how == "ok" and len(ended.proof()) == 4711
    assert sum(m.kind == CLOSED for m in messages) == sent
    launcher.close()


def test_many_ends_in_random_order(launcher, as_root):
    """Slots side by side, each ending in another way: every answer is right, and nothing is left."""
    rng = random.Random(20240607)
    ends = [("proof %d" % n, "ok") for n in (32, 4096, 99999)] + [("exit 1", "prover-error"), ("segv", "crashed"), ("none", "prover-error")]
    ends += [("hang", "cancelled"), ("tree-hang", "cancelled"), ("hang", "timed-out"), ("stubborn", "closed"), ("eat", "out-of-memory")]
    todo = [rng.choice(ends) for _ in range(120)]
    running = {}
    done = 0
    while todo or running:
        for slot in range(4):
            if slot not in running and todo:
                act, how = todo.pop()
                launcher.send_open(slot, 100)
                running[slot] = (act, how)
        m = launcher.receive()
        act, how = running[m.slot]
        if m.kind == OPENED:
            launcher.inputs[m.slot] = m.fds[0]
            os.write(m.fds[0], act.encode() + b"\n")
            launcher.start(m.slot, deadline_ms=rng.choice((100, 200)) if how == "timed-out" else 0)
            if how == "cancelled":
                launcher.send_cancel(m.slot)
            if how == "closed":
                launcher.send_close(m.slot)
        elif m.kind == ENDED:
            assert m.how == how, (act, m)
            if how == "ok":
                assert len(m.proof()) == int(act.split()[1])
            launcher.send_close(m.slot)
        else:
            assert m.kind == CLOSED, m
            del running[m.slot]
            done += 1
    assert done == 120


def test_a_keeper_that_is_killed_is_our_failure_not_the_jobs(launcher):
    launcher.open(0, b"hang\n")
    (keeper,) = launcher.descendants()
    launcher.start(0)
    wait_for(lambda: len(launcher.descendants()) == 2)
    os.kill(keeper, signal.SIGKILL)
    m = launcher.expect(ENDED)
    assert m.how == "internal" and "keeper died by signal 9" in m.text
    launcher.close()
    # before the start
    launcher.open(0, b"hang\n")
    os.kill(launcher.descendants()[0], signal.SIGKILL)
    wait_for(lambda: not launcher.descendants())
    launcher.start(0)
    m = launcher.expect(FAILED)
    assert m.how == "internal" and "keeper is gone" in m.text
    launcher.close()
    assert launcher.run("proof 64").how == "ok"


# --- life and death --------------------------------------------------------------------------------------------

def homes(pid):
    return glob.glob(f"/sys/fs/cgroup/**/tee-rex-{pid}", recursive=True) if IS_ROOT else []


def all_gone(pids):
    """Dead; whether whoever inherited them has collected them yet is not the launcher's affair."""
    def alive(pid):
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False
    return not [p for p in pids if alive(p)]


@pytest.mark.parametrize("how", ["disconnect", "SIGTERM", "SIGINT"])
def test_the_end_of_the_prover_ends_everything(place, user, how):
    l = Launcher(place, user=user)
    l.open(0, b"tree-hang\n")
    l.start(0)
    l.open(1, b"spin\n")
    l.start(1)
    l.open(2)
    l.send_open(3)
    wait_for(lambda: len(l.descendants()) > 8)
    pids, began = l.descendants(), time.monotonic()
    if how == "disconnect":
        l.sock.close()
    else:
        l.process.send_signal(getattr(signal, how))
    assert l.process.wait(5) == 0, l.log()
    assert time.monotonic() - began < 1.5
    assert all_gone(pids) and not homes(l.pid)
    l.stop()


def test_kill_9_leaves_only_what_the_next_one_sweeps(place, user, as_root):
    l = Launcher(place, user=user)
    l.open(0, b"tree-hang\n")
    l.start(0)
    l.open(1)
    wait_for(lambda: len(l.descendants()) > 8)
    pids = l.descendants()
    kill_hard(l)
    wait_for(lambda: all_gone(pids), seconds=1, what="every process gone")
    l.sock.close()
    for fd in l.inputs.values():
        os.close(fd)
    if as_root and CGROUP:
        assert homes(l.pid)
    with Launcher(place, user=user) as second:
        assert not homes(l.pid)
        assert second.run("proof 64").how == "ok"


def start_directly(place, *arguments, user=None, sock=None, **variables):
    command = [str(launcher_peer.LAUNCHER), *arguments]
    if user is not None:
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]

    def give():
        if sock is not None:
            os.dup2(sock.fileno(), 3)
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="prover")
        os.environ.update(variables)
    return subprocess.run(command, preexec_fn=give, close_fds=False, capture_output=True, text=True, timeout=20)


def test_it_says_why_it_does_not_start(place, user):
    config = place / "broken.conf"

    def check(text):
        config.write_text(text)
        config.chmod(0o644)
        return start_directly(place, "--check", "--config", str(config), user=user)

    r = check("[recipe]\ncrs = /nonexistent/crs\n[isolation]\nall = degrade\n")
    assert r.returncode == 1 and "[recipe] crs = /nonexistent/crs" in r.stderr and "No such file" in r.stderr
    assert "user namespaces" not in r.stderr
    r = check("slotz = 1\n")
    assert r.returncode == 1 and r.stderr == f'error: tee-rex-launcher: {config}:1: unknown key "slotz"; did you mean "slots"?\n'
    r = start_directly(place, "--config", "/nonexistent", "--check", user=user)
    assert r.returncode == 1 and "open configuration /nonexistent: No such file or directory" in r.stderr
    r = start_directly(place, user=user)
    assert r.returncode == 1 and 'no inherited descriptor is called "prover"' in r.stderr
    stream, other = socket.socketpair()
    with stream, other:
        r = start_directly(place, user=user, sock=stream)
        assert r.returncode == 1 and "not a SOCK_SEQPACKET socket" in r.stderr
    assert start_directly(place, "--confg", "x").returncode == 2
    assert "--config FILE" in start_directly(place, "--help").stdout


def test_guards_are_reported_and_required(place, user, as_root):
    config = place / "guards.conf"
    config.write_text("[recipe]\ncrs = none\n")
    config.chmod(0o644)
    r = start_directly(place, "--check", "--config", str(config), user=user)
    words = dict(w.split("=", 1) for w in r.stdout.split())
    assert set(words) == {"uid", "memory", "swap", "pids", "seccomp", "landlock", "userns", "proc", "crs", "missing"}
    if as_root and CGROUP:
        assert r.returncode == 0 and words["missing"] == "none" and words["uid"] == "64000+slot" and words["userns"] == "no"
        return
    # what an ordinary user cannot have stops it, unless the configuration accepts that
    assert r.returncode == 1
    assert words["uid"] == "shared" and words["userns"] == "yes" and "uid" in words["missing"].split(",")
    assert '"uid = degrade" in [isolation] of the configuration accepts that' in r.stderr
    config.write_text("[recipe]\ncrs = none\n[isolation]\n" + "".join(f"{g} = degrade\n" for g in words["missing"].split(",")))
    r = start_directly(place, "--check", "--config", str(config), user=user)
    assert r.returncode == 0 and "warning: tee-rex-launcher: not enforced: uid: the launcher is not root" in r.stderr


@pytest.mark.skipif(not IS_ROOT, reason="changes a sysctl inside a user namespace of root's making")
def test_without_user_namespaces_an_ordinary_user_is_told_so(place):
    """max_user_namespaces is counted per user namespace: one in which it is 0 is a machine without them."""
    config = place / "user.conf"
    config.write_text("[recipe]\ncrs = none\n[isolation]\nall = degrade\n")
    config.chmod(0o644)
    command = ["setpriv", "--reuid=1", "--regid=1", "--clear-groups", launcher_peer.LAUNCHER, "--check", "--config", config]
    ready, go = os.pipe(), os.pipe()

    def in_namespace():
        assert ctypes.CDLL(None).unshare(0x10000000) == 0           # CLONE_NEWUSER
        os.write(ready[1], str(os.getpid()).encode())
        os.read(go[0], 1)
        pathlib.Path("/proc/sys/user/max_user_namespaces").write_text("0")

    def map_ids():
        pid = int(os.read(ready[0], 20))
        for name in ("uid_map", "gid_map"):
            pathlib.Path(f"/proc/{pid}/{name}").write_text("0 0 65536")
        os.write(go[1], b"x")

    mapper = threading.Thread(target=map_ids, daemon=True)      # waits for ever if unshare is refused
    mapper.start()
    r = subprocess.run(command, preexec_fn=in_namespace, capture_output=True, text=True, timeout=20)
    mapper.join(20)
    for fd in (*ready, *go):
        os.close(fd)
    assert r.returncode == 1
    assert "user.max_user_namespaces is 0: raise it, or run as root" in r.stderr, r.stderr


@pytest.mark.skipif(not IS_ROOT, reason="mounts something over a part of /proc")
def test_without_a_proc_of_its_own_a_job_has_none(place):
    """A container that hides parts of /proc keeps an ordinary user from mounting another one."""
    hide = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs t /proc/sys && exec "$@"', "sh")
    with Launcher(place, user=OTHER_USER, prefix=hide) as l:
        assert "proc=absent" in l.guards
        assert l.run("proof 64").how == "ok"
        assert l.run("probe list /proc").lines() == ["ok"]
        assert l.run("probe open /proc/self/maps").lines() == ["ENOENT"]


# --- the real thing ---------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def kit(tmp_path_factory, place):
    directory = place / "kit"
    subprocess.run([TOP / "scripts/test-prover", directory], check=True, timeout=300)
    return directory


def real_config(kit, **keys):
    lines = "".join(f"{k} = {v}\n" for k, v in keys.items())
    for digest, name in (line.split() for line in (kit / "SHA256SUMS").read_text().splitlines()):
        if name.startswith("crs-TEST/"):
            lines += f"crs_sha256 = {name.partition('/')[2]} {digest}\n"
    return f"[recipe]\ncrs = {kit}/crs-TEST\n{lines}[isolation]\nall = degrade\n"


def test_a_real_proof(place, kit, user):
    """bb-TEST-CRS proves in the cell, with the built-in chonk recipe, and accepts the proof outside."""
    with Launcher(place, config=real_config(kit), user=user) as l:
        l.open(0, (TOP / "tests/data/chonk/s1.msgpack").read_bytes())
        l.start(0, sealed(kit / "bb-TEST-CRS"))
        m = l.expect(ENDED, timeout=200)
        assert m.how == "ok", (m, l.log())
        assert 150 * MIB < m.peak < 400 * MIB and m.limit == 1024 * MIB
        proof = place / "proof"
        proof.write_bytes(m.proof())
        l.close()
    assert sorted(os.listdir(kit / "crs-TEST")) == ["bn254_g1.dat", "bn254_g2.dat", "grumpkin_g1_v2.flat.dat"]
    r = subprocess.run([kit / "bb-TEST-CRS", "verify", "--scheme", "chonk", "-p", proof, "-k", TOP / "tests/data/chonk/s1.vk"],
                       env={**os.environ, "CRS_PATH": str(kit / "crs-TEST")}, capture_output=True, timeout=60)
    (kit / "crs-TEST/crs.lock").unlink()        # made outside, where it can be
    assert r.returncode == 0, r.stderr


def test_real_ends(place, kit, user):
    with Launcher(place, config=real_config(kit, memory_mib=150), user=user) as l:
        bb = sealed(kit / "bb-TEST-CRS")
        for data, how in (((TOP / "tests/data/chonk/s1.msgpack").read_bytes(), "out-of-memory"), (b"garbage", None)):
            l.open(0, data)
            l.start(0, bb)
            m = l.expect(ENDED, timeout=200)
            assert m.how in ((how,) if how else ("prover-error", "crashed")), (m, l.log())
            l.close()


def test_every_key_is_documented():
    """docs/CONFIG.md and the table in config.c name the same keys, with the same ranges."""
    table = re.findall(r'^\t\{ (""|RECIPE|ISOLATION), "(\w+)", (\w+), .*?(\d+), (\w+|1 << 20), (?:true|false) \},$',
                       (TOP / "src/enclave/config.c").read_text(), re.M)
    assert len(table) > 30
    rows = {m[0]: m[1] for m in re.findall(r"^\| `(\w+)` \| (.*) \|$", (TOP / "docs/CONFIG.md").read_text(), re.M)}
    for section, name, reader, low, high in table:
        assert name in rows, name
        if reader in ("read_u32", "read_u64"):
            high = {"UINT32_MAX": "4294967295", "LAUNCH_SLOTS_MAX": "16", "FRAME_PROOF_MAX": "1044480",
                    "FRAME_VERSIONS_MAX": "16", "1 << 20": "1048576"}.get(high, high)
            if name != "jobs":
                assert f"| {low} – {high} |" in rows[name], (name, rows[name])
    words = {"userns", "proc", "missing"}       # of the report only
    assert set(rows) - {name for _, name, *_ in table} == words
