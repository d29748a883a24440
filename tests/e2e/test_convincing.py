"""The tests of the security requirements that convince, in the simulator: the prover's own image with its init, launcher and prover,
real vsock, real /dev/nsm. (The second, a hostile host's frames, is test_hostile_host.py.)

  1  what an allowed but hostile prover program tries; with the sandbox off it succeeds
  3  what a client refuses: another version than attested, an old signed image, a debug image, a simulated root, a revoked PCR0
  4  a witness that nobody else has, and all the places where it must not be
  5  two jobs at once, the real bb beside one that poisons whatever it can write and dies for memory with a large payload"""
import array
import importlib.machinery
import importlib.util
import itertools
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import pytest

from conftest import wait_for
from enclave import BUILD, ROOT, TEE_REX, sha256
from frames import Exchange, body, call, exchange, request
from gateway import Gateway, prove_body
from launcher_peer import EVIL
from test_cell import EVIL_CELL, SWITCH, UNSAFE
from test_eif import make_pair
from test_vm import CHONK, EVIL_CONFIG, KIT, Prover, bb_accepts, make
from test_witness import files_with
from vm import have_qemu

pytestmark = pytest.mark.skipif(not have_qemu() or os.geteuid() != 0, reason="needs QEMU 10 or later, and root to read other processes' "
                                "memory: as root, scripts/backports install qemu-system-x86")


def tee_rex(*arguments):
    done = subprocess.run([TEE_REX, *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


# --- 1: a hostile prover program --------------------------------------------------------------------------------------------

CIDS = ["0", "1", "2", "3", "4", "16", "4294967295"]
# attack; what it gets in the cell; what without one. Our kernel has no io_uring; init has ended all tracing, for root as well (its
# absence is the control: test_guest_cell.py, where PID 1 is another); the NSM is in no view but the prover's.
ATTACKS = [
    *((f"vsock {cid} 9001", "EPERM", "ok" if cid in "23" else None) for cid in CIDS),
    ("socket 1 1", "EPERM", "ok"), ("socket 2 1", "EPERM", "ok"), ("socket 40 1", "EPERM", "ok"),
    ("io_uring", "EPERM", "ENOSYS"),
    ("read /dev/nsm", "ENOENT", "ENOENT"), ("open-write /dev/console", "ENOENT", None), ("read /dev/vsock", "ENOENT", None),
    ("ptrace-named tee-rex-prover", "EPERM", "EPERM"), ("mem-named tee-rex-prover", "ENOENT", "EACCES"),
    ("ptrace-named tee-rex-init", "EPERM", "EPERM"), ("ptrace-child", "EPERM", "EPERM"),
    ("kill-named tee-rex-prover", "ESRCH", "ok"),
    ("create /crs/x", "EROFS", None), ("write /crs/bn254_g1.dat 0", "EROFS", None),
    ("mount /crs", "EPERM", "ok"), ("setuid 0", "EPERM", "ok"), ("unshare 0x20000", "EPERM", "ok"),
    ("clone3", "ENOSYS", "ok"), ("chroot /crs", "EPERM", "ok"),
    ("processes 100", "EAGAIN", "ok"), ("memory 96", "out-of-memory", "ok"), ("disk 16", "ENOSPC", "ok"), ("descriptors 1000", "EMFILE", "ok"),
]
CELL_CONFIG = """
allow = {evil}
slots = 2
jobs = 2
payload_max_mib = 4
versions_total_mib = 8
upload_max_mib = 8
[recipe]
arg = evil
arg = {{input}}
arg = {{output_dir}}
ro = /nonexistent
memory_mib = 48
deadline_s = 60
pids_max = 32
threads = 1
"""
ALL_GUARDS = ["seccomp", "pids", "pid-namespace", "ipc-namespace", "net-namespace", "uid", "devices", "landlock", "read-only",
              "proc-read-only", "crs-read-only", "noexec", "nosuid", "no-new-privs", "capabilities", "rlimits", "memory", "disk", "descriptors",
              "dumpable", "sealed-launcher"]


def prover_image():
    """scripts/prover-image as a module."""
    loader = importlib.machinery.SourceFileLoader("prover_image", str(ROOT / "scripts/prover-image"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("prover_image", loader))
    loader.exec_module(module)
    return module


def make_unguarded(directory, config):
    """The same image with the launcher whose guards can be switched off, and all of them off."""
    (directory / "conf").write_text(config)
    m = prover_image()
    strip, table = m.stripped, m.service_table
    m.stripped = lambda path: strip(UNSAFE if pathlib.Path(path).name == "tee-rex-launcher" else path)
    m.service_table = lambda: table().replace("grant = root-capabilities\n", "grant = root-capabilities\n"
                                              f"env = {SWITCH}={','.join(ALL_GUARDS)}\n", 1)
    argv, sys.argv = sys.argv, ["prover-image", "--config", str(directory / "conf"), "--crs", str(KIT / "crs-TEST"), "-o", str(directory)]
    try:
        m.main()
    finally:
        sys.argv = argv
    return directory / "prover.eif"


def attempt(vm, attack):
    """What the probe says came of it, or how its job ended."""
    code, answer = vm.act("pad " + attack)
    return answer["proof"][4:].decode().strip() if code == "ok" else code


class Cell(Prover):
    def __init__(self, directory, image):
        super().__init__(directory, image)
        assert self.upload("1.0", EVIL_CELL)[0] == "ok"


def attempts(vm):
    return {attack: attempt(vm, attack) for attack, _, _ in ATTACKS}


def with_another_job(vm, attack):
    """What comes of it while another job runs, whose input starts with a word of its own."""
    message = vm.encrypt(b"hang other-job\n")
    with Exchange(vm.socket) as x:
        x.send(request("prove", size=len(message)) + body(message))
        wait_for(lambda: "jobs_running 1" in call(vm.socket, "metrics")["metrics"], 20, "the other job")
        return attempt(vm, attack)


def test_1_a_hostile_prover_program_gets_nowhere(tmp_path):
    subprocess.run([ROOT / "scripts/test-prover", KIT], check=True, capture_output=True)
    config = CELL_CONFIG.format(evil=sha256(EVIL_CELL))
    for name in ("guarded", "unguarded"):
        (tmp_path / name).mkdir()
    with Cell(tmp_path / "guarded", make(tmp_path / "guarded", config, "--crs", KIT / "crs-TEST")) as vm:
        got = attempts(vm)
        assert got == {attack: errno for attack, errno, _ in ATTACKS}
        # what the last job in this slot left, and what another one has
        assert [attempt(vm, f"leave /job/x leftover") for _ in range(2)] == ["ok"] * 2
        assert attempt(vm, "find /job/x leftover") == "ENOENT"
        assert (attempt(vm, "shm-leave 77"), attempt(vm, "shm-find 77")) == ("ok", "ENOENT")
        assert with_another_job(vm, "find-anywhere hang") == "ENOENT"
        assert attempt(vm, "descriptor 3") == "EBADF"
    with Cell(tmp_path / "unguarded", make_unguarded(tmp_path / "unguarded", config + "[isolation]\nall = degrade\n")) as vm:
        got = attempts(vm)
        assert {a: got[a] for a, _, without in ATTACKS if without is not None} == {a: w for a, _, w in ATTACKS if w is not None}, got
        assert (attempt(vm, "shm-leave 77"), attempt(vm, "shm-find 77")) == ("ok", "ok")
        assert with_another_job(vm, "find-anywhere hang") == "ok"


# --- 3: what a client refuses ---------------------------------------------------------------------------------------------

EVIL_2 = BUILD / "tests" / "evil_prover_2"


class Client:
    """`tee-rex verify` and `tee-rex prove`, against an enclave behind a gateway."""

    def __init__(self, vm, port, directory):
        self.vm, self.url, self.directory = vm, f"http://127.0.0.1:{port}", directory
        self.input, self.output = directory / "input", directory / "proof"
        self.input.write_bytes(b"proof 64\n")

    def verify(self, *policy, root=True):
        document = self.directory / "document"
        document.write_bytes(call(self.vm.socket, "attest", nonce=b"n" * 32)["document"])
        return tee_rex("verify", document, "--nonce", (b"n" * 32).hex(), *(["--root", self.vm.state / "root.pem"] if root else []), *policy)

    def prove(self, *policy, root=True):
        return tee_rex("prove", self.url, self.input, "-o", self.output, *(["--root", self.vm.state / "root.pem"] if root else []), *policy)

    def jobs(self):
        """How many proofs the enclave was ever asked for."""
        return sum(int(line.split()[-1]) for line in call(self.vm.socket, "metrics")["metrics"].splitlines()
                   if line.startswith("teerex_prover_requests_total{op=\"prove\""))

    def accepted(self, *policy):
        code, said = self.verify(*policy)
        assert code == 0 and "SIMULATED" in said, said
        before = self.jobs()
        code, said = self.prove(*policy)
        assert code == 0 and "SIMULATED" in said and self.jobs() == before + 1, said
        self.output.unlink()

    def refused(self, why, *policy, **more):
        """By both, for that reason, with nothing sent and nothing kept."""
        before = self.jobs()
        for done in (self.verify(*policy, **more), self.prove(*policy, **more)):
            assert done[0] == 1 and f"refused: {why}: " in done[1], (done, policy)
        assert self.jobs() == before and not self.output.exists()


class Behind(Prover):
    """An enclave with its gateway and client."""

    def __init__(self, directory, image, port, *arguments):
        super().__init__(directory, image, arguments)
        self.gateway = Gateway(BUILD, directory, port, self.socket)
        self.client = Client(self, port, directory)
        assert self.upload("1.0", EVIL)[0] == "ok"

    def __exit__(self, *exc):
        self.gateway.stop()
        super().__exit__(*exc)


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """Two images of one signer, epochs 1 and 2: (old, new, PCR8), and an unsigned one's registers nowhere."""
    where = tmp_path_factory.mktemp("signed")
    key, certificate, _, _ = make_pair(where)
    images, pcr8 = [], set()
    for epoch in (1, 2):
        (where / str(epoch)).mkdir()
        images.append(make(where / str(epoch), EVIL_CONFIG.format(evil=sha256(EVIL)), "--crs", KIT / "crs-TEST", "--epoch", epoch))
        done = subprocess.run([TEE_REX, "sign", images[-1], "--key", key, "--certificate", certificate, "--json"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        pcr8.add(json.loads(done.stdout)["PCR8"])
    assert len(pcr8) == 1
    return *images, pcr8.pop()


def policy_file(directory, name, *sets):
    path = directory / name
    path.write_text("".join(f"[set {i}]\n{text}\n" for i, text in enumerate(sets)))
    return path


def day(offset):
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + offset * 86400))


def test_3_an_old_signed_image_is_refused(signed, tmp_path, free_port):
    """The old one boots and attests like any other: its signer is right, and nothing but the policy tells it from the new one."""
    old, new, pcr8 = signed
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    with Behind(tmp_path / "new", new, free_port) as vm:
        pcr0_new = vm.measured()[0]
        by_signer = ["--pcr", f"8={pcr8}", "--min-epoch"]
        vm.client.accepted(*by_signer, "2")
        vm.client.accepted("--pcr", pcr0_new)
        vm.client.refused("epoch-too-low", *by_signer, "3")
    with Behind(tmp_path / "old", old, free_port) as vm:
        c, pcr0 = vm.client, vm.measured()[0]
        assert f"8={pcr8}" in vm.measured() and pcr0 != pcr0_new
        c.accepted(*by_signer, "1")                                        # control: PCR8 alone tells no difference
        c.refused("policy-weak", "--pcr", f"8={pcr8}")                     # which is why it alone is no policy
        c.refused("epoch-too-low", *by_signer, "2")
        c.refused("pcr-mismatch", "--pcr", pcr0_new)
        # a list of sets: upgrade and revocation
        here, there = (f"pcr0 = {p[2:]}" for p in (pcr0, pcr0_new))
        c.accepted("--policy", policy_file(tmp_path, "both", here, there))
        c.accepted("--policy", policy_file(tmp_path, "until", f"{here}\nnot-after = {day(1)}", there))
        c.refused("pcr-mismatch", "--policy", policy_file(tmp_path, "without", there))
        c.refused("pcr-expired", "--policy", policy_file(tmp_path, "revoked", f"{here}\nnot-after = {day(-2)}", there))
        c.refused("epoch-too-low", "--policy", policy_file(tmp_path, "signer", f"pcr8 = {pcr8}\nmin-epoch = 2"))
        # a simulated root is nobody's unless it is named
        c.refused("chain-wrong-root", "--pcr", pcr0, root=False)


def test_3_a_debug_image_is_refused(signed, tmp_path, free_port):
    old, new, pcr8 = signed
    with Behind(tmp_path, new, free_port, "--debug") as vm:
        vm.client.refused("debug-enclave", "--pcr", f"8={pcr8}", "--min-epoch", "2")
        vm.client.refused("debug-enclave", "--pcr", "0=" + "00" * 48)
        code, said = vm.client.verify("--allow-debug")                     # control; labelled
        assert code == 0 and "DEBUG" in said and "SIMULATED" in said


def test_3_a_version_swapped_after_attesting_is_refused(tmp_path, free_port):
    """Two programs are allowed. The host shows one, and has put the other in its place when the message comes."""
    EVIL_2.write_bytes(EVIL.read_bytes() + b"\0")
    EVIL_2.chmod(0o755)
    image = make(tmp_path, EVIL_CONFIG.format(evil=sha256(EVIL)).replace("[recipe]", f"allow = {sha256(EVIL_2)}\n[recipe]", 1), "--crs", KIT / "crs-TEST")
    with Behind(tmp_path, image, free_port) as vm:
        bound = vm.encrypt(b"proof 64\n", "bb-sha256=" + sha256(EVIL))     # what the client that saw the first one sends
        for how, path in (("ok", EVIL), ("version-mismatch", EVIL_2), ("ok", EVIL)):
            assert vm.upload("1.0", path)[0] == "ok"
            assert exchange(vm.socket, "prove", bound, size=len(bound), version="1.0")[0] == how
        # and not under another name either; an unbound message is the control: it runs whatever is there
        assert vm.upload("2.0", EVIL_2)[0] == "ok"
        assert exchange(vm.socket, "prove", bound, size=len(bound), version="2.0")[0] == "version-mismatch"
        unbound = vm.encrypt(b"proof 64\n")
        assert exchange(vm.socket, "prove", unbound, size=len(unbound), version="2.0")[0] == "ok"


# --- 4: a witness -----------------------------------------------------------------------------------------------------------

HALF = 20                # of a word, in bytes


class Tap:
    """Stands where the enclave's control channel arrives, keeps every byte and passes it on."""

    def __init__(self, run_dir):
        self.bytes, channel, self.behind = bytearray(), run_dir / "vsock_9001", run_dir / "behind"
        channel.rename(self.behind)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(channel))
        os.chmod(channel, 0o666)                 # the vsock device is a user of its own
        self.listener.listen(8)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            s, _ = self.listener.accept()
            threading.Thread(target=self.carry, args=(s,), daemon=True).start()

    def carry(self, s):
        with s, socket.socket(socket.AF_UNIX) as on:
            name, _, port = s.getpeername().rpartition(b"/")        # it ends in the guest's port, which counts
            on.bind(name[:-16] + os.urandom(8).hex().encode() + b"/" + port)
            on.connect(str(self.behind))
            while piece := s.recv(65536):
                self.bytes += piece
                on.sendall(piece)


class Watched(Prover):
    """An enclave all of whose bytes are kept: its console (which only a debug enclave has), control channel, the run's own output, a
    gateway in front with its log, metrics, spool and kept answers."""

    def __init__(self, directory, image, port):
        super().__init__(directory, image, ["--debug"], ready="started")
        self.tap = Tap(self.run_dir)
        self.journal = bytearray()
        threading.Thread(target=self.read_journal, daemon=True).start()
        wait_for(self.answers, 60, "the service")
        self.gateway = Gateway(BUILD, directory, port, self.socket, "--metrics", f"unix:{directory}/metrics", "--leave-grace", "1")
        self.port = port
        assert self.upload("1.0", EVIL)[0] == "ok"

    def __exit__(self, *exc):
        self.gateway.stop()
        super().__exit__(*exc)

    def answers(self):
        try:
            return call(self.socket, "health")
        except (OSError, EOFError):
            return None

    def read_journal(self):
        for line in self.process.stdout:
            self.journal += line

    def stream(self, verb):
        """What the operator's socket has of the console or the log."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(str(self.run_dir / "admin.sock"))
            s.sendall(json.dumps({"verb": verb}).encode() + b"\n")
            return b"".join(iter(lambda: s.recv(65536), b""))

    def gateway_metrics(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(f"{self.directory}/metrics")
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return b"".join(iter(lambda: s.recv(65536), b""))

    def texts(self):
        """place -> bytes that came out of it"""
        return {
            "console": self.stream("console"), "control channel": bytes(self.tap.bytes), "logs": self.stream("logs"),
            "status": json.dumps(self.admin(verb="status")).encode(),
            "journal": bytes(self.journal) + self.log.read_bytes(),
            "access log": (self.gateway.stdout + self.gateway.stderr).encode(),
            "enclave's metrics": call(self.socket, "metrics")["metrics"].encode() + str(call(self.socket, "health")).encode(),
            "gateway's metrics": self.gateway_metrics(), "gateway's health": self.gateway.get("/health").body,
        }

    def processes(self):
        """role -> pid of everything that belongs to this enclave. QEMU's memory holds the guest's."""
        return {"run": self.process.pid, "gateway": self.gateway.pid, **self.children()}

    def has(self, word):
        """Every place where the word is."""
        found = {place for place, text in self.texts().items() if word in text}
        for role, pid in self.processes().items():
            if any(word in piece for piece in memory_of(pid)):
                found.add(role + "'s memory")
            found |= {role + "'s open files" for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir() if file_has(fd, word)}
        if self.memory_has(word):
            found.add("guest memory")
        if files_with(word, self.directory, self.run_dir, "/dev/shm", "/var/lib/systemd/coredump", "/var/crash", "/var/lib/tee-rex",
                      "/var/log/journal", "/run/log/journal"):
            found.add("files")
        if word in subprocess.run(["dmesg"], capture_output=True, check=False).stdout:
            found.add("this machine's kernel log")
        return found

    def prove(self, message):
        """Over HTTP: the code, or "ok"."""
        answer = self.gateway.request("POST", "/prove", prove_body(message), {"Content-Type": "application/json"}, timeout=60).json
        return answer.get("code", "ok" if "proof" in answer else answer)


def memory_of(pid):
    """What is really there of a process's memory, but for the guest's: in pieces without holes."""
    page = 4096
    with open(f"/proc/{pid}/mem", "rb", 0) as mem, open(f"/proc/{pid}/pagemap", "rb", 0) as pagemap:
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            bounds, mode = line.split()[:2]
            if mode[0] != "r" or "[v" in line or "memfd:memory-backend" in line:
                continue
            start, end = (int(x, 16) // page for x in bounds.split("-"))
            pagemap.seek(start * 8)
            entries = array.array("Q", pagemap.read((end - start) * 8))
            at = 0
            for there, run in itertools.groupby(entries, lambda e: e >> 62 != 0):      # in memory, or swapped out
                n = len(list(run))
                try:
                    if there:
                        mem.seek((start + at) * page)
                        yield mem.read(n * page)
                except OSError:
                    pass                         # it was given up meanwhile
                at += n


def file_has(fd, word):
    """Whether an open file that is memory (a spool, a binary) holds the word."""
    try:
        if not os.readlink(fd).startswith("/memfd:") or "memory-backend" in os.readlink(fd):
            return False
        with open(fd, "rb") as f:
            return word in f.read()
    except OSError:
        return False


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    image = make(tmp_path_factory.mktemp("watched-image"), EVIL_CONFIG.format(evil=sha256(EVIL)), "--crs", KIT / "crs-TEST")
    with Watched(tmp_path_factory.mktemp("watched"), image, port) as v:
        yield v


def witness():
    return os.urandom(HALF).hex()


def planted(vm, word, act):
    return vm.encrypt(f"spread {word} {act}\n".encode() + word.encode() * 3000)


NOWHERE = set()
# what the job does once the word is wherever a program can put something; how it ends
ENDS = {"proof 64": "ok", "abort": "crashed", "exit 1": "prover-error", "eat": "out-of-memory", "raise 9": "crashed", "none": "prover-error"}


def gone(vm, word):
    """Nothing but the guest's memory may still be about to be cleared: a job's tree and tmpfs go while its answer is on its way."""
    wait_for(lambda: not vm.memory_has(word), 30, "the end of the word in the guest's memory")
    assert vm.has(word) == NOWHERE


@pytest.mark.parametrize("act", ENDS)
def test_4_a_witness_is_nowhere_after_its_job(watched, act):
    word = witness()
    message = planted(watched, word, act)
    assert watched.prove(message) == ENDS[act]
    gone(watched, word.encode())


def test_4_a_witness_is_in_its_guest_alone_while_its_job_runs(watched):
    """And the search finds: the word in the guest, the ciphertext in the gateway's spool."""
    word = witness()
    message = planted(watched, word, "hang")
    with watched.gateway.connect() as s:
        text = prove_body(message).encode()
        s.sendall(b"POST /prove HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
        wait_for(lambda: watched.memory_has(word.encode() * 2), 30, "the word in the guest's memory")
        assert watched.has(word.encode()) == {"guest memory"}
        assert "gateway's open files" in watched.has(message[1000:1100])
    gone(watched, word.encode())


def test_4_a_message_that_does_not_verify_leaves_nothing(watched):
    word = witness()
    message = planted(watched, word, "hang")
    for broken in (message[:-1] + bytes([message[-1] ^ 1]), message[:-40], message[:len(message) // 2]):
        assert watched.prove(broken) == "bad-input"
        gone(watched, word.encode())


def test_4_every_place_can_be_searched(watched):
    """Controls: each place holds what is known to be there, and would be searched with it."""
    assert watched.prove(planted(watched, word := witness(), "proof 64")) == "ok"
    client = "tr-" + witness()
    assert watched.gateway.get("/health", x_request_id=client).status == 200
    known = {"console": b"init", "control channel": b'"prover"', "logs": b"prover", "status": b"owners", "journal": b"SIMULATED",
             "access log": client.encode(), "enclave's metrics": b"teerex_prover_requests_total", "gateway's metrics": b"teerex_gateway",
             "gateway's health": b"version"}
    texts = watched.texts()
    assert set(known) == set(texts)
    assert {place for place in known if known[place] not in texts[place]} == set(), texts
    assert {"access log", "gateway's memory"} <= watched.has(client.encode())
    (watched.directory / "left").write_text(word)
    assert watched.has(word.encode()) == {"files"}
    (watched.directory / "left").unlink()
    # where answers are kept for who asks again
    assert "gateway's memory" in watched.has(b"p" * 64) | watched.has(b"cHBw" * 16)


def test_4_no_cache_holds_a_witness(watched):
    """What images are built from, and what programs keep between runs."""
    word = witness()
    assert watched.prove(planted(watched, word, "proof 64")) == "ok"
    cache = pathlib.Path(os.environ.get("TEE_REX_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "tee-rex")
    places = [p for p in cache.iterdir() if p.is_dir()] if cache.is_dir() else []
    assert places and not files_with(word.encode(), cache, KIT)
    mark = cache / ("left-" + word)
    mark.write_text("x")
    try:
        assert files_with(word.encode(), cache) == [str(mark)]
    finally:
        mark.unlink()


# --- 5: two at once ---------------------------------------------------------------------------------------------------------

BESIDE_CONFIG = """
allow = {evil}
slots = 2
jobs = 2
payload_max_mib = 44
payload_budget_mib = 48
versions_max = 2
versions_total_mib = 44
upload_max_mib = 40
body_s = 1800
[recipe]
memory_mib = 260
deadline_s = 3000
threads = 1
"""


@pytest.mark.slow
def test_5_the_real_bb_beside_a_job_that_poisons_and_dies_with_40_mib(tmp_path, free_port):
    """The hostile job has 40 MiB of payload, writes into every file and directory it can, and takes memory until it is killed; again
    and again while the real bb works. It says nothing, loses nothing and its proof is accepted by bb itself."""
    image = make(tmp_path, BESIDE_CONFIG.format(evil=sha256(EVIL)))
    ends, said = [], []
    with Prover(tmp_path, image, ["--cpus", "2"], 640) as vm, Gateway(BUILD, tmp_path, free_port, vm.socket, "--prove-timeout", "3000"):
        assert vm.upload("evil", EVIL)[0] == "ok"
        honest = threading.Thread(target=lambda: said.append(subprocess.run(
            [TEE_REX, "prove", f"http://127.0.0.1:{free_port}", CHONK / "s1.msgpack", "-o", tmp_path / "answer", "--root", vm.state / "root.pem",
             "--pcr", vm.measured()[0], "--version", "5.0.0", "--timeout", "3000", "--json"], capture_output=True, text=True)))
        honest.start()
        wait_for(lambda: "jobs_running 1" in call(vm.socket, "metrics")["metrics"], 60, "the honest job")
        while honest.is_alive() and len(ends) < 5:
            payload = b"poison evil-was-here eat\n" + os.urandom((40 << 20) - 25)
            message = vm.encrypt(payload, "peak-mib=64")
            with Exchange(vm.socket, timeout=1800) as x:
                x.send(request("prove", size=len(message), version="evil") + body(message))
                ends.append((x.answer()[1], honest.is_alive()))
        honest.join()
        assert ends and ends[0][1], "the honest job was over before the other had done anything"
        for answer, _ in ends:
            assert answer.get("code") == "out-of-memory" and answer["limit_bytes"] == 64 << 20 and answer["peak_bytes"] > 56 << 20, answer
        assert said[0].returncode == 0, said[0].stderr + vm.log.read_text()
        (tmp_path / "proof").write_bytes((tmp_path / "answer").read_bytes()[4:])
        assert bb_accepts(tmp_path / "proof", "s1.vk")
        status = vm.admin(verb="status")["control"]
        assert all(o["restarts"] == 0 for o in status["owners"] if "restarts" in o), status
        assert vm.stop() == 0
    print(f"\n{len(ends)} jobs of 40 MiB died for memory, {sum(alive for _, alive in ends)} of them while bb worked; its proof: {said[0].stdout}")
