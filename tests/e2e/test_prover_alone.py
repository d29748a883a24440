"""The prover with a launcher of the test's: what it asks for, and what it does when a slot's space is full."""
import fcntl
import os
import socket
import struct
import subprocess

import pytest

from conftest import BUILD, wait_for
from enclave import PGP_TOOL, sha256
from frames import DATA, Exchange, body, call, frame, request
from launcher_peer import CLOSE, CLOSED, ENDED, EVIL, OPEN, OPENED, READY, START
from sim_nsm import Simulator

MIB = 1 << 20


class Prover:
    """A running prover; self.launcher is the launcher's end of its socket."""

    def __init__(self, directory, top=""):
        self.directory = directory
        (directory / "config").write_text(f"nsm = simulated-socket\nallow = {sha256(EVIL)}\nversion = 1.0 {EVIL}\n{top}\n")
        self.path = directory / "service.sock"
        service = socket.socket(socket.AF_UNIX)
        service.bind(str(self.path))
        service.listen(16)
        self.launcher, launcher = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.launcher.settimeout(20)
        self.nsm = Simulator(directory / "nsm")
        # free numbers that are not in the way of those they shall have
        given = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 10) for s in (service, launcher, self.nsm.pair)]
        # LISTEN_PID must name the program itself, so the shell becomes it
        give = "exec 3<&{}- 4<&{}- 5<&{}-; ".format(*given) + 'LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=service:launcher:nsm exec "$@"'
        with open(directory / "log", "wb") as log:
            self.process = subprocess.Popen(["bash", "-c", give, "give", BUILD / "tee-rex-prover", "--config", directory / "config"],
                                            pass_fds=given, stdin=subprocess.DEVNULL, stderr=log)
        for fd in given:
            os.close(fd)
        for s in (service, launcher):
            s.close()
        self.launcher.send(bytes([READY, 0]) + b"a test's launcher")
        wait_for(lambda: "ready" in (directory / "log").read_text() or self.process.poll() is not None, 20, "the prover")
        assert self.process.poll() is None, (directory / "log").read_text()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.launcher.close()
        self.process.wait(20)
        self.nsm.end()
        self.nsm.process.stderr.close()
        self.nsm.client.close()

    def hear(self, kind):
        packet, fds, _, _ = socket.recv_fds(self.launcher, 512, 4)
        assert packet[0] == kind, packet
        return packet, list(fds)

    def opened(self, fd):
        """Answers OPEN with that input file; its payload_bytes."""
        packet, _ = self.hear(OPEN)
        socket.send_fds(self.launcher, [bytes([OPENED, packet[1]])], [fd])
        return packet[1], struct.unpack(">Q", packet[2:])[0]

    def encrypt(self, data, name=""):
        for file, content in (("key", call(self.path, "public-key")["key"].encode()), ("plain", data)):
            (self.directory / file).write_bytes(content)
        subprocess.run([PGP_TOOL, "encrypt", self.directory / "key", self.directory / "plain", self.directory / "message", "--name", name],
                       check=True)
        return (self.directory / "message").read_bytes()


@pytest.fixture
def prover(tmp_path):
    with Prover(tmp_path) as p:
        yield p


def test_a_full_slot_is_an_exact_refusal(prover):
    """Every write to /dev/full ends as on a full tmpfs."""
    message = prover.encrypt(os.urandom(100_000))
    with Exchange(prover.path) as x:
        x.send(request("prove", size=len(message)) + body(message))
        full = os.open("/dev/full", os.O_RDWR)
        slot, size = prover.opened(full)
        os.close(full)
        assert size == len(message)
        _, answer = x.answer()
        assert (answer["code"], answer["limit_bytes"]) == ("no-space", len(message)) and "payload space is full" in answer["message"]
        assert prover.hear(CLOSE)[0][1] == slot
    # the slot is taken until it is closed, and what was reserved comes back with it
    prover.launcher.send(bytes([CLOSED, slot]))
    assert call(prover.path, "health")


@pytest.mark.parametrize("damage", [lambda m: m[:-1] + bytes([m[-1] ^ 1]), lambda m: m[:-1], lambda m: m[:-16], lambda m: m + b"\0"],
                         ids=["final tag", "cut by a byte", "without its final tag", "longer"])
def test_nothing_is_started_before_the_final_tag(prover, damage):
    """The plaintext is in the slot by then, all of it; the launcher is told to throw it away, never to start."""
    message = damage(prover.encrypt(b"proof 64\n" + bytes(100_000)))
    with Exchange(prover.path) as x, open(os.memfd_create("input"), "w+b") as file:
        x.send(request("prove", size=len(message)) + body(message))
        slot, _ = prover.opened(file.fileno())
        _, answer = x.answer()
        assert answer["code"] == "bad-input", answer
        assert prover.hear(CLOSE)[0][1] == slot and os.fstat(file.fileno()).st_size > 90_000
        prover.launcher.send(bytes([CLOSED, slot]))
        prover.launcher.settimeout(0.2)
        with pytest.raises(TimeoutError):
            prover.launcher.recv(512)


@pytest.mark.parametrize("name, mib", [("", 1024), ("peak-mib=300", 300), ("peak-mib=1", 8), ("peak-mib=1024", 1024), ("else", 1024)])
def test_what_a_job_is_given(prover, name, mib):
    message = prover.encrypt(b"input", name)
    with Exchange(prover.path) as x, open(os.memfd_create("input"), "w+b") as file, open(os.memfd_create("proof"), "w+b") as proof:
        x.send(request("prove", size=len(message)) + body(message))
        slot, _ = prover.opened(file.fileno())
        packet, (program,) = prover.hear(START)
        assert struct.unpack(">QI", packet[2:]) == (mib * MIB, 0)
        assert os.pread(program, 1 << 24, 0) == EVIL.read_bytes()
        os.close(program)
        assert os.pread(file.fileno(), 100, 0) == b"input"
        os.pwrite(proof.fileno(), b"p" * 64, 0)
        socket.send_fds(prover.launcher, [bytes([ENDED, slot]) + struct.pack(">BIIQQII", 0, 0, 0, mib * MIB, MIB, 10, 5)], [proof.fileno()])
        _, answer = x.answer()
        assert answer["proof"] == struct.pack(">I", 2) + b"p" * 64 and answer["peak_bytes"] == MIB
        prover.hear(CLOSE)
        prover.launcher.send(bytes([CLOSED, slot]))


def test_room_is_reserved_before_the_launcher_is_asked(tmp_path):
    """And until it says that the slot is gone, whatever the client does."""
    with Prover(tmp_path, "payload_max_mib = 10\npayload_budget_mib = 15") as p:
        with Exchange(p.path) as first:
            first.send(request("prove", size=10 * MIB))
            with open(os.memfd_create("input"), "w+b") as file:
                slot, _ = p.opened(file.fileno())
            first.send(frame(DATA, b"\xc1"))
        assert p.hear(CLOSE)[0][1] == slot          # the client has left; the slot is still there
        for size, code in ((6 * MIB, "no-space"), (5 * MIB + 1, "no-space"), (10 * MIB + 1, "too-large")):
            with Exchange(p.path) as x:
                x.send(request("prove", size=size))
                assert x.code() == code
        p.launcher.send(bytes([CLOSED, slot]))
        p.launcher.settimeout(20)
        with Exchange(p.path) as x:
            wait_for(lambda: call(p.path, "health") is not None)
            x.send(request("prove", size=10 * MIB))
            assert p.hear(OPEN)[0][1] == slot
