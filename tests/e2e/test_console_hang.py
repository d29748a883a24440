"""The nine-minute hang of the field, in a minute: a serial line with a reader that never reads. An image made by hand, whose application
logs to the console, stops answering; the same application under tee-rex-init answers every request, whatever it logs and whoever
listens."""
import select
import signal
import threading
import time

import pytest

from conftest import wait_for
from host_wait import HostWait
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


APP = probe("app", "app", listen="service 9002", log="stderr")


class Asking(threading.Thread):
    """Asks all the time, and writes down of each request how long it took, and how long without what this machine's scheduler kept from
    those who carry it (host_wait)."""

    def __init__(self, vm):
        super().__init__(daemon=True)
        self.vm, self.took, self.net, self.failed, self.over = vm, [], [], None, False
        self.start()

    def run(self):
        try:
            wait = HostWait(self.vm)
            while not self.over:
                wait.begin()
                took = ask(self.vm, 30)
                self.took.append(took)
                self.net.append(took - wait.end())
                time.sleep(0.002)
        except Exception as e:               # told by the test
            self.failed = e

    def end(self):
        self.over = True
        self.join(60)
        assert self.failed is None, self.failed
        return self


def worst(times):
    """(the worst, the worst but for one in a thousand) in ms"""
    return max(times) * 1000, sorted(times)[len(times) - 1 - len(times) // 1000] * 1000


def told(times):
    return "worst {:.0f} ms, p99.9 {:.0f} ms".format(*worst(times))


def counts(g):
    c = g.control()
    return c["log_lines"], c["log_lines_dropped"], c["log_lines_lost"]


def tell_app(g, request):
    with g.dial(9002, 30) as s:
        s.sendall(request.encode())
        return s.recv(100).decode()


class Logging:
    """So many lines from the application, or as many seconds without."""

    def __init__(self, g, lines, seconds):
        self.until = time.monotonic() + seconds
        self.connection = None
        if lines > 0:
            self.connection = g.dial(9002, 600)
            self.connection.sendall(b"log %d" % lines)

    def goes_on(self):
        if self.connection is None:
            return time.monotonic() < self.until
        return not select.select([self.connection], [], [], 0)[0]

    def wait(self):
        wait_for(lambda: not self.goes_on(), 600)
        assert self.connection is None or self.connection.recv(1) == b""


def run_with(directory, lines, seconds=(0, 0, 0)):
    """Everything that may happen to the channel: nobody listens, somebody who mostly sleeps, somebody who reads; meanwhile the application
    logs a share of so many lines, or, without, as long as told. Returns (what was asked, (received, dropped, lost), seconds of each)."""
    took = []
    with Guest(directory, APP, arguments=["--console-stuck"], ready="started") as g:
        channel, away = g.run_dir / "vsock_9001", g.run_dir / "away"
        channel.rename(away)                                 # absent when the guest comes up
        waits_for_the_guest(g)
        asking = Asking(g)
        for phase, share in enumerate((0.3, 0.3, 0.4)):
            began = time.monotonic()
            logging = Logging(g, int(lines * share), seconds[phase])
            if phase == 1:
                away.rename(channel)
                while logging.goes_on() or time.monotonic() - began < 2:
                    g.process.send_signal(signal.SIGSTOP)
                    time.sleep(0.4)
                    g.process.send_signal(signal.SIGCONT)
                    time.sleep(0.1)
            logging.wait()
            took.append(time.monotonic() - began)
        asking.end()
        # a stall is not hidden by what is subtracted
        if lines == 0:
            wait = HostWait(g)
            wait.begin()
            began = time.monotonic()
            tell_app(g, "sleep 150")
            assert time.monotonic() - began - wait.end() > 0.1
        produced = int(tell_app(g, "count"))
        wait_for(lambda: sum(counts(g)) >= produced, 60, "the lines that are left")
        got = counts(g)
        assert sum(got) == produced >= lines + len(asking.took) and got[2] == 0, (got, produced)
        g.stop()
    return asking, got, took


def compare(tmp_path, lines, slack_ms):
    for name in ("quiet", "logging"):
        (tmp_path / name).mkdir()
    busy, got, seconds = run_with(tmp_path / "logging", lines)
    still, _, _ = run_with(tmp_path / "quiet", 0, seconds)
    print(f"\n{lines} lines in {sum(seconds):.1f} s: {got[0]} received + {got[1]} dropped = produced; {len(busy.took)} requests, "
          f"{told(busy.took)}; without logging {len(still.took)}, {told(still.took)}. "
          f"Without waits for this machine's processors: {told(busy.net)}; without logging {told(still.net)}")
    assert worst(busy.net)[0] < worst(still.net)[0] + slack_ms
    return got


def test_under_init_everything_is_answered_and_every_line_accounted_for(tmp_path):
    got = compare(tmp_path, 50_000, 1000)                    # in the normal run on a busy machine: no hang is what counts
    assert got[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("run", [1, 2, 3])
def test_a_million_lines(tmp_path, run):
    got = compare(tmp_path, 1_000_000, 100)
    assert got[0] > 0 and got[1] > 0
