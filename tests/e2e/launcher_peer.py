"""The prover's end of the launcher, for tests: a SOCK_SEQPACKET pair that speaks format/launch.h."""
import fcntl
import glob
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import time

from conftest import BUILD

LAUNCHER = BUILD / "tee-rex-launcher"
EVIL = BUILD / "tests" / "tools" / "evil_prover"

OPEN, START, CANCEL, CLOSE, OPENED, FAILED, ENDED, CLOSED, READY = range(1, 10)
OUTCOMES = ["ok", "bad-input", "out-of-memory", "timed-out", "cancelled", "crashed", "prover-error", "unknown-key",
            "unknown-version", "version-mismatch", "bad-request", "too-large", "busy", "not-allowed", "digest-mismatch",
            "no-space", "unavailable", "internal"]
ALL_SEALS = 1 | 2 | 4 | 8      # F_SEAL_SEAL SHRINK GROW WRITE

# the recipe of evil_prover; nothing of the machine is shown in the cell
EVIL_CONFIG = """
slots = 4
jobs = 4
payload_max_mib = 64
{top}
[recipe]
arg = evil
arg = {{input}}
arg = {{output_dir}}
crs = none
ro = /nonexistent
memory_mib = 64
deadline_s = 20
pids_max = 32
{recipe}
[isolation]
all = {policy}
"""


def sealed(path_or_bytes, seals=ALL_SEALS, flags=None):
    data = path_or_bytes if isinstance(path_or_bytes, bytes) else pathlib.Path(path_or_bytes).read_bytes()
    fd = os.memfd_create("prover", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING if flags is None else flags)
    _write_all(fd, data)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def _write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


class Message:
    """What the launcher sent."""

    def __init__(self, packet, fds):
        self.kind, self.slot = packet[0], packet[1]
        self.fds = fds
        self.text = ""
        if self.kind == READY:
            self.text = packet[2:].decode()
        if self.kind == FAILED:
            self.how, self.text = OUTCOMES[packet[2]], packet[3:].decode()
        if self.kind == ENDED:
            how, self.signal, self.exit_code, self.limit, self.peak, self.wall_ms, self.cpu_ms = struct.unpack(">BIIQQII", packet[2:35])
            self.how, self.text = OUTCOMES[how], packet[35:].decode()

    def __repr__(self):
        return f"Message({vars(self)})"

    def proof(self):
        """The proof's bytes; closes its descriptor."""
        assert self.how == "ok" and len(self.fds) == 1, self
        with os.fdopen(self.fds.pop(), "rb") as f:
            return f.read()

    def lines(self):
        return self.proof().decode().splitlines()


class Launcher:
    """A running launcher. user: the ids to run it as, when the tests run as root; launcher: another one than the shipped
    program; env: beside the environment; evil: the prover program of run()."""

    def __init__(self, directory, config=None, user=None, prefix=(), wait=True, launcher=None, env=None, evil=None, **template):
        self.evil = evil
        self.directory = pathlib.Path(directory)
        path = self.directory / f"config-{time.monotonic_ns()}"
        template = {"top": "", "recipe": "", "policy": "require" if user is None and os.geteuid() == 0 else "degrade", **template}
        path.write_text(EVIL_CONFIG.format(**template) if config is None else config)
        path.chmod(0o644)
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.log_path = path.with_suffix(".log")
        as_user = () if user is None else ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")

        def give():
            os.dup2(theirs.fileno(), 3)
            os.set_inheritable(3, True)
            os.environ.update(env or {})
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="prover")

        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([*prefix, *as_user, launcher or LAUNCHER, "--config", path], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, preexec_fn=give, close_fds=False)
        theirs.close()
        self.pid = self.process.pid
        self.inputs = {}                # slot -> descriptor
        if wait:
            self.guards = self.expect(READY).text

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        self.stop()
        if kind is not None:
            print(self.log())

    def log(self):
        return self.log_path.read_text()

    def stop(self, timeout=10):
        for fd in self.inputs.values():
            os.close(fd)
        self.inputs = {}
        self.sock.close()
        return self.process.wait(timeout)

    # --- messages ---------------------------------------------------------------------------------
    def send(self, packet, fds=()):
        socket.send_fds(self.sock, [packet], list(fds))

    def receive(self, timeout=30):
        readable, _, _ = select.select([self.sock], [], [], timeout)
        assert readable, "the launcher did not answer\n" + self.log()
        packet, fds, _, _ = socket.recv_fds(self.sock, 4096, 4)
        assert packet, "the launcher is gone\n" + self.log()
        return Message(packet, list(fds))

    def silent(self, seconds=0.3):
        return not select.select([self.sock], [], [], seconds)[0]

    def send_open(self, slot=0, payload=4096):
        self.send(struct.pack(">BBQ", OPEN, slot, payload))

    def send_start(self, slot=0, program=None, memory=0, deadline_ms=0):
        self.send(struct.pack(">BBQI", START, slot, memory, deadline_ms), [program])

    def send_cancel(self, slot=0):
        self.send(bytes([CANCEL, slot]))

    def send_close(self, slot=0):
        if slot in self.inputs:
            os.close(self.inputs.pop(slot))
        self.send(bytes([CLOSE, slot]))

    # --- whole steps ------------------------------------------------------------------------------
    def expect(self, kind, slot=0, timeout=30):
        m = self.receive(timeout)
        assert (m.kind, m.slot) == (kind, slot), m
        return m

    def open(self, slot=0, data=b"", payload=None):
        self.send_open(slot, len(data) if payload is None else payload)
        m = self.expect(OPENED, slot)
        (self.inputs[slot],) = m.fds
        _write_all(self.inputs[slot], data)
        return self.inputs[slot]

    def start(self, slot=0, program=None, **limits):
        self.send_start(slot, self.program() if program is None else program, **limits)

    def program(self):
        if not hasattr(self, "_program"):
            self._program = sealed(self.evil or EVIL)
        return self._program

    def close(self, slot=0, timeout=30):
        self.send_close(slot)
        return self.expect(CLOSED, slot, timeout)

    def run(self, act, slot=0, **limits):
        """One job of evil_prover from OPEN to CLOSED; its ENDED message."""
        self.open(slot, act.encode() + b"\n")
        self.start(slot, **limits)
        m = self.expect(ENDED, slot, 60)
        if m.fds:                       # the slot's memory goes with its last descriptor
            data = m.proof()
            m.proof = lambda: data
        self.close(slot)
        return m

    # --- what there is ------------------------------------------------------------------------------
    def descendants(self):
        children = {}
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                text = stat.read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(text.split(" ", 1)[0]))
        found, todo = [], [self.pid]
        while todo:
            for pid in children.get(todo.pop(), []):
                found.append(pid)
                todo.append(pid)
        return found

    def cgroups(self):
        # glob, unlike pathlib, does not mind groups that go while it looks
        return sorted(glob.glob(f"/sys/fs/cgroup/**/tee-rex-{self.pid}/*/", recursive=True)) if os.geteuid() == 0 else []

    def snapshot(self):
        proc = pathlib.Path(f"/proc/{self.pid}")
        return {
            "descriptors": sorted(os.readlink(f) for f in (proc / "fd").iterdir()),
            "processes": self.descendants(),
            "cgroups": self.cgroups(),
            "mounts": (proc / "mountinfo").read_text(),
        }


def shmem_kib():
    """Memory files of the whole machine."""
    text = pathlib.Path("/proc/meminfo").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("Shmem:")).split()[1])


def kill_hard(launcher):
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.process.wait()
