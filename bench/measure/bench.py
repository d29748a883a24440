"""What a measurement is given: its options, a place for files (on disk and in memory), pairs that take turns, and simulated
enclaves, which are those of the end-to-end tests."""
import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / "build"
sys.path.insert(0, str(TOP / "tests" / "e2e"))
from enclave import TEE_REX, Enclave, sha256      # noqa: E402, F401  (the path is set one line above; for the others here)
from launcher_peer import EVIL           # noqa: E402
from .machine import Others              # noqa: E402

MIB = 1 << 20
QUIET_LOOK_S, QUIET_HOLDS_S, QUIET_WAIT_S = 1.5, 3, 900
AGAIN_MAX = 3                # rounds thrown away, for each that counts


class Missing(Exception):
    """Something that a measurement needs is not there: it is skipped, loudly."""


class Bench:
    def __init__(self, options, disk, memory):
        self.pairs = options.pairs
        self.options = options
        self.disk = pathlib.Path(disk)           # directories of enclaves
        self.memory = pathlib.Path(memory)       # on tmpfs: payloads and copies
        self.count = 0
        self.thrown_away = 0
        self.quiet_at = float("-inf")

    def progress(self, text):
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    def turns(self, candidates, pairs=None):
        """A B A B …: each candidate once a round; name -> list of what they returned. With --quiet, a round starts when
        others leave the machine alone, and one in which they did not is done again: by what others did, never by what it
        measured."""
        rounds, wanted, thrown_away = [], pairs or self.pairs, 0
        while len(rounds) < wanted:
            self.wait_for_quiet()
            others, values, start = Others(), {}, time.monotonic()
            for name, run in candidates.items():
                self.progress(f"  {len(rounds) + 1}/{wanted} {name}")
                values[name] = run()
            # a round of a few clock ticks says nothing about the others
            long_enough = time.monotonic() - start >= QUIET_LOOK_S / 2
            if long_enough and others.share() > self.options.quiet and thrown_away < wanted * AGAIN_MAX:
                thrown_away += 1
            else:
                rounds.append(values)
        self.progress("")
        self.thrown_away += thrown_away
        return {name: [values[name] for values in rounds] for name in candidates}

    def wait_for_quiet(self):
        end = time.monotonic() + QUIET_WAIT_S
        while self.options.quiet < 1 and time.monotonic() < end and time.monotonic() - self.quiet_at > QUIET_HOLDS_S:
            others = Others()
            time.sleep(QUIET_LOOK_S)
            if others.share() <= self.options.quiet:
                self.quiet_at = time.monotonic()
            else:
                self.progress("  waiting for a quiet machine")

    def random_file(self, name, size):
        path = self.memory / name
        with open(path, "wb") as f:
            for _ in range(0, size, MIB):
                f.write(os.urandom(min(MIB, size)))
            f.truncate(size)
        return path

    def directory(self):
        self.count += 1
        path = self.disk / str(self.count)
        path.mkdir()
        path.chmod(0o755)
        return path

    @contextlib.contextmanager
    def enclave(self, config, gateway=False):
        """A running enclave; with a gateway, .port is where it listens."""
        port = free_port() if gateway else None
        with Enclave(self.directory(), config, ["--gateway", f"127.0.0.1:{port}"] if gateway else []) as e:
            e.port = port
            e.prover, e.launcher = e.pid_of("tee-rex-prover"), e.pid_of("tee-rex-launche")
            e.nsm = e.pid_of("tee-rex-sim-nsm")
            e.gateway = gateway_of(e) if gateway else None
            yield e


def gateway_of(e):
    """`tee-rex gateway` has the command name of its parent `tee-rex run`."""
    return next(pid for pid, name in e.descendants().items() if name == "tee-rex" and pid != e.process.pid)


# a prover program that does nothing but leave a proof: what is left is what we do
STUB_RECIPE = """
[recipe]
arg = evil
arg = {input}
arg = {output_dir}
crs = none
ro = /nonexistent
"""


def stub_config(*more):
    digests = [sha256(path) for path in (EVIL, *more)]
    return "".join(f"allow = {d}\n" for d in digests) + "versions_total_mib = 1024\n" + STUB_RECIPE


def stub_payload(size, proof=100 << 10):
    line = f"proof {proof}\n".encode()
    return line + os.urandom(size - len(line))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def timed(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def install(sections):
    """What packages.txt lists in these sections, beside [build] and [test]. Who may not install is told what to, and
    whatever needs it is skipped later."""
    subprocess.run([TOP / "scripts" / "install-packages", "build", "test", *sorted(sections)])


def make(*targets):
    done = subprocess.run(["make", "-s", f"-j{len(os.sched_getaffinity(0))}", *targets], cwd=TOP, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"bench/run: make {' '.join(targets)} failed:\n{done.stderr[-4000:]}")


def prover_kit():
    """bb with its test reference string (scripts/test-prover)."""
    kit = BUILD / "demo" / "prover"
    done = subprocess.run([TOP / "scripts" / "test-prover", kit], capture_output=True, text=True)
    if done.returncode != 0:
        raise Missing(f"no prover: {done.stderr.strip()[-300:]}")
    return kit


@contextlib.contextmanager
def places():
    """A directory on disk and one in memory, both gone afterwards."""
    disk = tempfile.mkdtemp(prefix="tee-rex-bench-")
    memory = tempfile.mkdtemp(prefix="tee-rex-bench-", dir="/dev/shm")
    for path in (disk, memory):
        os.chmod(path, 0o755)
    try:
        yield disk, memory
    finally:
        shutil.rmtree(disk, ignore_errors=True)
        shutil.rmtree(memory, ignore_errors=True)
