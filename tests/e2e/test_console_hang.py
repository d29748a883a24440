"""The nine-minute hang of the field, in a minute: a serial line with a reader that never reads. An image made by hand, whose application
logs to the console, stops answering; the same application under tee-rex-init answers every request, whatever it logs and whoever
listens."""
import os
import signal
import socket
import threading
import time

import pytest

from conftest import wait_for
from test_init import Guest, probe
from vm import Vm, have_qemu, make_image
import guest

pytestmark = pytest.mark.skipif(not have_qemu(), reason="QEMU 10 or later is not installed and only root can do it: "
                                "scripts/backports install qemu-system-x86")
NAIVE = (guest.BUILD / "tests/tools/init_probe")


def ask(vm, timeout):
    """Seconds until the answer to one request."""
    began = time.monotonic()
    with vm.dial(9002, timeout) as s:
        s.sendall(b"ping")
        assert s.recv(16) == b"ping"
    return time.monotonic() - began


def answered(vm, requests, timeout=5):
    """How many of so many requests are answered, one after the other."""
    for n in range(requests):
        try:
            ask(vm, timeout)
        except (AssertionError, TimeoutError, OSError):
            return n
    return requests


def waits_for_the_guest(vm):
    wait_for(lambda: answered(vm, 1) == 1, 30)


@pytest.mark.parametrize("console, all_of_them", [("--debug", True), ("--console-stuck", False)])
def test_a_naive_image_hangs_with_its_console(tmp_path, console, all_of_them):
    image = make_image(tmp_path, NAIVE.read_bytes())
    with Vm(tmp_path, image, [console], ready="started") as v:
        waits_for_the_guest(v)
        got = answered(v, 600)
        assert (got == 600) == all_of_them, got
        if not all_of_them:
            assert got > 0                                   # it was fine until the line was full …
            assert answered(v, 1, timeout=10) == 0           # … and does not come back
            v.kill()


def app(lines):
    return probe("app", "app", lines, listen="service 9002", log="stderr")


class Asking(threading.Thread):
    """Asks all the time, and writes down how long each answer took."""

    def __init__(self, vm):
        super().__init__(daemon=True)
        self.vm, self.took, self.failed, self.over = vm, [], None, False
        self.start()

    def run(self):
        try:
            while not self.over:
                self.took.append(ask(self.vm, 30))
                time.sleep(0.002)
        except Exception as e:               # told by the test
            self.failed = e

    def end(self):
        self.over = True
        self.join(60)
        assert self.failed is None, self.failed
        return max(self.took), sorted(self.took)[int(len(self.took) * 0.999) - 1], len(self.took)


def counts(g):
    c = g.control()
    return c["log_lines"], c["log_lines_dropped"], c["log_lines_lost"]


def logging_run(directory, lines):
    """Everything that may happen to the channel while so many lines are logged. Returns (worst, p99.9, requests, counts)."""
    with Guest(directory, app(lines), arguments=["--console-stuck"], ready="started") as g:
        channel, away = g.run_dir / "vsock_9001", g.run_dir / "away"
        channel.rename(away)                                 # nobody listens when the guest comes up
        waits_for_the_guest(g)
        asking = Asking(g)
        time.sleep(2)
        away.rename(channel)                                 # there, and slow: it sleeps most of the time
        for _ in range(12):
            g.process.send_signal(signal.SIGSTOP)
            time.sleep(0.4)
            g.process.send_signal(signal.SIGCONT)
            time.sleep(0.1)
        # back: what is left arrives, while the requests go on
        while sum(counts(g)) < lines + len(asking.took):
            time.sleep(0.3)
            assert asking.failed is None and time.monotonic() - g.began < 1200, (counts(g), asking.failed)
        worst, p999, requests = asking.end()
        wait_for(lambda: sum(counts(g)) >= lines + requests, 20)
        got = counts(g)
        # each request was a line too; the one that found the guest up as well, and those before it that came too early were none
        assert got[2] == 0 and lines + requests <= sum(got) <= lines + requests + 5, (got, requests)
        g.stop()
        return worst, p999, requests, got


def quiet_run(directory, seconds):
    with Guest(directory, app(0), arguments=["--console-stuck"], ready="started") as g:
        waits_for_the_guest(g)
        asking = Asking(g)
        time.sleep(seconds)
        return asking.end()


def compare(tmp_path, lines, slack):
    (tmp_path / "quiet").mkdir()
    (tmp_path / "logging").mkdir()
    worst, p999, requests, got = logging_run(tmp_path / "logging", lines)
    still, still999, n = quiet_run(tmp_path / "quiet", 8)
    print(f"\n{lines} lines: {got[0]} received + {got[1]} dropped + {got[2]} lost; {requests} requests, worst {worst * 1000:.0f} ms, "
          f"p99.9 {p999 * 1000:.0f} ms; without logging {n}, worst {still * 1000:.0f} ms, p99.9 {still999 * 1000:.0f} ms")
    assert worst < still + slack
    return got


def test_under_init_everything_is_answered_and_every_line_accounted_for(tmp_path):
    got = compare(tmp_path, 50_000, 1.0)                     # in the normal run on a busy machine: no hang is what counts
    assert got[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("run", [1, 2, 3])
def test_a_million_lines(tmp_path, run):
    got = compare(tmp_path, 1_000_000, 0.1)
    assert got[0] > 0 and got[1] > 0
