"""Shared by the end-to-end tests: where the built programs are, free ports, short temporary directories, processes that
are stopped and looked at when a test ends."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TEE_REX_BUILD") or TOP / "build")


def pytest_configure(config):
    # what instances remember of themselves stays out of the machine's own /var/lib
    config.state_directory = tempfile.mkdtemp(prefix="tr-state-", dir="/tmp")
    os.chmod(config.state_directory, 0o755)
    os.environ["STATE_DIRECTORY"] = config.state_directory
    config.addinivalue_line("markers", "slow: takes minutes the first time; only with ./check --slow")


def pytest_unconfigure(config):
    shutil.rmtree(config.state_directory, ignore_errors=True)


@pytest.fixture(scope="session")
def build():
    """The directory of the built programs."""
    assert (BUILD / "tee-rex").exists(), f"{BUILD}/tee-rex is missing: run make first"
    return BUILD


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """PREFIX of an installation: units there name programs that exist."""
    prefix = tmp_path_factory.mktemp("prefix") / "usr"
    done = subprocess.run(["make", "-s", "install", f"PREFIX={prefix}"], cwd=TOP, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return prefix


@pytest.fixture
def short_dir():
    """A temporary directory whose path leaves room for a unix socket's name."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="tr-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def free_port():
    """A loopback port that was free a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def slowest(times):
    """(the longest, the 99.9th percentile) of so many seconds."""
    ordered = sorted(times)
    return ordered[-1], ordered[max(0, -(-len(ordered) * 999 // 1000) - 1)]


def tell_slowest(what, runs):
    """Prints what runs (lists of seconds) took at most, each for itself and all together; the longest of all."""
    each = ", ".join(f"{slowest(r)[0] * 1000:.0f} ms" for r in runs)
    worst, p999 = slowest([t for r in runs for t in r])
    print(f"\n{what}: {len(runs)} runs of {len(runs[0])}: at most {each}; of all {worst * 1000:.0f} ms, p99.9 {p999 * 1000:.0f} ms")
    return worst


def wait_for(condition, seconds=5.0, what="condition"):
    """Polls until condition() is true and returns its value; fails after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not come true in {seconds} s"
        time.sleep(0.01)


class Program:
    """A program under test with its output in files, so that it can never block on a pipe."""

    def __init__(self, argv, directory, env=None):
        self.out_path, self.err_path = directory / "stdout", directory / "stderr"
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                            env=env)

    pid = property(lambda self: self.process.pid)
    stdout = property(lambda self: self.out_path.read_text(errors="replace"))
    stderr = property(lambda self: self.err_path.read_text(errors="replace"))

    def running(self):
        return self.process.poll() is None

    def stop(self, sig=signal.SIGTERM, seconds=15):
        """Sends the signal and returns the exit status."""
        if self.running():
            self.process.send_signal(sig)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not stop within {seconds} s of signal {sig}: {self.stderr}")

    def kill(self):
        """Whatever happened: it runs no longer."""
        if self.running():
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory_kib(self, field="VmRSS"):
        for line in open(f"/proc/{self.pid}/status"):
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise AssertionError(f"no {field}")


@pytest.fixture(scope="session")
def node_path():
    """The node_modules directory with the SDK's openpgp."""
    cache = os.environ.get("TEE_REX_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tee-rex")
    result = subprocess.run([TOP / "scripts/node-deps", os.path.join(cache, "node")], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def node(node_path):
    """Runs a program of tests/interop."""
    def run(program, *arguments):
        return subprocess.run(["node", str(TOP / "tests/interop" / program), *map(str, arguments)], capture_output=True, text=True,
                              timeout=120, env={**os.environ, "NODE_PATH": node_path})
    return run
