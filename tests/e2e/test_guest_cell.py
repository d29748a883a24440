"""The launcher as it runs in an enclave: under our kernel, with cgroup v2, as root, in a guest. The attacks of test_cell.py again, with
AF_VSOCK sockets to every CID, which only a guest may open; memory, processes and trees under cgroup v2; who pays for a payload; what is
left. One guest for all of it, whose init (tests/tools/guest_cell.c) does what a script says."""
import os
import pathlib
import re
import socket
import subprocess

import pytest

import guest
import vm
from conftest import BUILD
from launcher_peer import EVIL_CONFIG
from test_cell import EVIL_CELL, NEEDS, ROWS, UNSAFE

CIDS = ["0", "1", "2", "3", "4", "16", "4294967295"]
VSOCK = [(f"vsock {cid} {port}", "EPERM", {"seccomp": "EPERM"}) for cid in CIDS for port in (9001, 9002)]

# what takes more of the machine than there is in the guest
LEAVE_OUT = ("unix ", "connect ", "descriptor ", "suid ", "exec ")
# with no guard at all our kernel answers this: it has no such call, no such transport, or (user namespaces) gives it to nobody; a
# read of /dev/vsock that got as far as the device
ABSENT = {"io_uring": "ENOSYS", "userfaultfd": "ENOSYS", "kcmp": "ENOSYS", "vm-readv": "ENOSYS", "handle": "ENOSYS", "vsock": "ENODEV",
          "unshare 0x10000000": "EPERM", "clone 0x10000000": "EPERM", "read /dev/vsock": "EINVAL"}
# which of two refusals comes first is the kernel's affair: this one looks at the mount before the file's mode
OTHERWISE = {"truncate /crs/empty": "EROFS"}

PLACES = {"{ro}": "/ro", "{secret}": "/other/secret"}


def in_guest(attack):
    for name, value in PLACES.items():
        attack = attack.replace(name, value)
    return attack


def without_guards(attack):
    return next((errno for start, errno in ABSENT.items() if attack.startswith(start)), "ok")


ATTACKS = [(in_guest(a), OTHERWISE.get(a, errno), belts) for a, errno, belts in [*ROWS, *VSOCK] if not a.startswith(LEAVE_OUT)]


class Script:
    """Lines, each with what its answer has to be."""

    def __init__(self):
        self.lines, self.launcher = [], None

    def start(self, name, off=()):
        off = set(off) | ({"sealed-launcher"} if off else set())
        self.add(f"launcher {name} {','.join(sorted(off)) or '-'}", None)

    def add(self, line, want):
        self.lines.append((line, want))

    def text(self):
        return "".join(line + "\n" for line, _ in self.lines).encode()


def attacks():
    """In an order that needs few launchers: all with the same guards off, one after the other."""
    with_off = {}
    for attack, errno, belts in ATTACKS:
        needs = NEEDS.get(attack.split()[0], set())
        for belt, stops in belts.items():
            # where the kernel has not got it, no guard is asked either, but the filter, which comes first
            alone = stops if without_guards(attack) == "ok" or belt == "seccomp" else None
            with_off.setdefault(frozenset(set(belts) - {belt} | needs), []).append((attack, alone))
        with_off.setdefault(frozenset(set(belts) | needs), []).append((attack, without_guards(attack)))
    return with_off


def outcome(want):
    return want if want == "out-of-memory" else "ok"


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    if os.uname().machine != "x86_64":
        pytest.skip("the guest kernel is for x86_64")
    s = Script()
    s.start("tee-rex-launcher")
    s.add("run memory 1", "ok")                                       # warm
    s.add("left", None)
    for attack, errno, _ in ATTACKS:
        s.add(f"run {attack}", errno)
    s.add("left", "as before")
    s.add("program /bin/evil_prover", None)
    for act, how in (("eat", "out-of-memory"), ("eat-child", "out-of-memory"), ("eat-shared", "out-of-memory"), ("fork-bomb", "ok"),
                     ("proof 64", "ok"), ("segv", "crashed"), ("touch 40 64", "ok")):
        s.add(f"run {act}", how)
    for act, processes in (("hang", 2), ("tree-hang", 12), ("stubborn", 2), ("output-forever", 2)):
        s.add(f"leave {processes} {act}", "gone")
    s.add("pay 40", "service")
    s.add("left", "as before")
    s.add("file /sys/fs/cgroup/cgroup.controllers", None)
    s.add("program /bin/evil_cell", None)
    for off, tries in attacks().items():
        s.start("tee-rex-launcher-UNSAFE", off)
        for attack, want in tries:
            s.add(f"run {attack}", want)
    console = boot({**files(s), **libraries(BUILD / "tee-rex-launcher")}, tmp_path_factory.mktemp("guest"), 900)
    return answered(s, console)


def files(script):
    configs = {name: EVIL_CONFIG.format(top="", recipe="ro = /ro", policy=policy).replace("crs = none", "crs = /crs").encode()
               for name, policy in (("tee-rex-launcher", "require"), ("tee-rex-launcher-UNSAFE", "degrade"))}
    return {"/init": BUILD / "tests/guest_cell", "/bin/tee-rex-launcher": BUILD / "tee-rex-launcher", "/bin/tee-rex-launcher-UNSAFE": UNSAFE,
            "/bin/evil_cell": EVIL_CELL, "/bin/evil_prover": BUILD / "tests/tools/evil_prover", "/script": script.text(),
            "/other/secret": b"secret", **{f"/config-{name}": text for name, text in configs.items()}}


def answered(script, console):
    """(line, what it must say, what it said) of a whole script."""
    assert "GUEST END" in console, console[-4000:]
    said = re.findall(r"^> (.*)\n((?:= .*\n)?)", console.split("GUEST BEGIN\n")[1], re.M)
    assert [line for line, _ in said] == [line for line, _ in script.lines], console[-4000:]
    return [(line, want, answer[2:].strip()) for (line, want), (_, answer) in zip(script.lines, said)]


def libraries(program):
    """What a dynamic program needs to run, by the paths it looks for them."""
    text = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return {path: path for line in text.splitlines() for path in line.split() if path.startswith("/")}


def initrd(files):
    """An archive of these files (path in the guest -> bytes, or a path here)."""
    entries = {}
    for name, source in files.items():
        parents = [str(p) for p in pathlib.PurePosixPath(name.strip("/")).parents if str(p) != "."]
        entries |= {p: (guest.DIRECTORY, b"") for p in reversed(parents) if p not in entries}
        data = source if isinstance(source, bytes) else pathlib.Path(source).read_bytes()
        entries[name.strip("/")] = (guest.PROGRAM if data[:4] == b"\x7fELF" else guest.PLAIN, data)
    entries |= {"dev": (guest.DIRECTORY, b""), "dev/console": (0o020600, b"")}
    return guest.cpio(entries)


def boot(files, directory, seconds):
    """The console's text of a guest."""
    (directory / "initrd").write_bytes(initrd(files))
    argv = guest.arguments(directory / "initrd", memory_mib=512, cpus=2, extra=("-serial", "stdio"))
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False)
    return done.stdout.decode(errors="replace").replace("\r", "")


def runs(answers, start, end):
    """Those between the two launchers' starts that these are the indices of."""
    starts = [i for i, (line, _, _) in enumerate(answers) if line.startswith("launcher ")] + [len(answers)]
    return answers[starts[start]:starts[end] if end is not None else None]


def said(answer):
    """(outcome, peak, limit, what the job found)"""
    words = answer.split(" ", 3)
    return words[0], int(words[1]), int(words[2]), words[3] if len(words) > 3 else ""


def wrong(tries):
    for line, want, answer in tries:
        if not line.startswith("run ") or want is None:
            continue
        how, _, _, found = said(answer)
        got = found if how == "ok" and want not in ("crashed",) else how
        if line.split()[1] in ("proof", "touch", "fork-bomb"):
            got = how
        if got != want:
            yield f"{line}: {answer!r}, wanted {want}"


def test_every_guard_is_there(answers):
    line = answers[0][2]
    assert "memory=cgroup-v2" in line and "pids=cgroup-v2" in line and "seccomp=refusals" in line
    assert re.search(r"landlock=abi[6-9]", line) and "missing=none" in line and "userns=no" in line, line
    assert {"cpu", "memory", "pids"} <= set(next(a for l, _, a in answers if l.startswith("file /sys")).split())


def test_attacks_fail_with_the_errno_stated(answers):
    first = runs(answers, 0, 1)
    assert sum(line.startswith("run vsock") for line, _, _ in first) == len(VSOCK)
    assert not (bad := list(wrong(first))), bad


def test_with_one_guard_alone_and_with_none(answers):
    others = runs(answers, 1, None)
    assert len(others) > 2 * len(ATTACKS)
    assert not (bad := list(wrong(others))), bad


def test_memory_under_v2_is_limited_and_its_end_is_told(answers):
    for act in ("eat", "eat-child", "eat-shared"):
        how, peak, limit, _ = said(next(a for l, _, a in answers if l == f"run {act}"))
        assert (how, limit) == ("out-of-memory", 64 << 20) and 60 << 20 < peak <= 64 << 20, (act, how, peak)
    how, peak, _, _ = said(next(a for l, _, a in answers if l == "run touch 40 64"))
    assert how == "ok" and 40 << 20 < peak < 48 << 20


def test_a_tree_is_gone_within_a_second(answers):
    ends = [(line, *map(int, re.findall(r"\d+", answer))) for line, _, answer in answers if line.startswith("leave ")]
    assert len(ends) == 4
    for line, there, after_ms in ends:
        assert there >= int(line.split()[1]) and after_ms < 1000, (line, there, after_ms)


def test_the_payload_is_paid_by_whoever_writes_it(answers):
    service, job, afterwards = map(int, re.findall(r"-?\d+", next(a for l, _, a in answers if l.startswith("pay "))))
    assert 40 <= service <= 42 and job < 8 and afterwards <= 1


def test_nothing_is_left(answers):
    before, *after = [a for l, _, a in answers if l == "left"]
    assert "processes 0 groups 0" in before and after == [before] * 2


# --- in the simulator ------------------------------------------------------------------------------------------------------
# the same, with what an enclave has: a vsock device, whose other end listens, and a security module

NSM = "open-write /dev/nsm"


def console_of(vm):
    """What the guest's console says until it ends, with the host listening on port 9777."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as s:
        listener.bind(str(vm.run_dir / "vsock_9777"))
        os.chmod(vm.run_dir / "vsock_9777", 0o666)              # the device is a user of its own
        listener.listen(8)
        s.settimeout(300)
        s.connect(str(vm.run_dir / "admin.sock"))
        s.sendall(b'{"verb":"console","follow":true}\n')
        text = b""
        while b"GUEST END" not in text and (piece := s.recv(65536)):
            text += piece
        return text.decode(errors="replace").replace("\r", "").split("\n", 1)[1]


def test_in_the_simulator_too(tmp_path):
    if os.uname().machine != "x86_64" or not vm.have_qemu():
        pytest.skip("needs QEMU 10 or later and x86_64: as root, scripts/backports install qemu-system-x86")
    s = Script()
    s.start("tee-rex-launcher")
    for attack, errno, _ in [*VSOCK, ("vsock 3 9777", "EPERM", {}), (NSM, "ENOENT", {})]:
        s.add(f"run {attack}", errno)
    s.start("tee-rex-launcher-UNSAFE", {"seccomp", "devices", "landlock", "uid"})
    for attack in ("vsock 3 9777", NSM):
        s.add(f"run {attack}", "ok")
    for attack in ("vsock 1 9777", "vsock 3 9778"):         # nobody there
        s.add(f"run {attack}", None)
    (tmp_path / "boot.cpio").write_bytes(initrd({**files(s), **libraries(BUILD / "tee-rex-launcher")}))
    (tmp_path / "cmdline").write_text(vm.CMDLINE + " rootfstype=ramfs")
    image = tmp_path / "app.eif"
    subprocess.run([vm.TEE_REX, "eif", "--kernel", vm.kernel() / "bzImage", "--cmdline", tmp_path / "cmdline", "--ramdisk", tmp_path / "boot.cpio",
                    "-o", image], check=True, capture_output=True)
    with vm.Vm(tmp_path, image, ["--debug"], memory=256, ready="started") as machine:
        said = answered(s, console_of(machine))
    assert not (bad := list(wrong(said))), bad
    assert [a.split()[-1] for l, w, a in said if w is None and l.startswith("run")].count("ok") == 0
