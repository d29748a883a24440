"""The simulator with an image that is little more than a kernel (tests/tools/vm_agent.c): vsock, NSM, registers, console, and
that nothing is left whoever dies first."""
import concurrent.futures
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import cbor2
import pytest

from conftest import tell_slowest, wait_for
from enclave import BUILD, TEE_REX
from vm import Vm, have_qemu, kernel, make_image

pytestmark = pytest.mark.skipif(not have_qemu(), reason="QEMU 10 or later is not installed and only root can do it: "
                                "scripts/backports install qemu-system-x86")
ZERO = "0" * 96


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return make_image(tmp_path_factory.mktemp("image"), (BUILD / "tests/tools/vm_agent").read_bytes())


@pytest.fixture(scope="module")
def vm(image, tmp_path_factory):
    with Vm(tmp_path_factory.mktemp("vm"), image) as v:
        yield v
        assert v.stop() == 0
        assert not v.run_dir.exists()
        # QEMU has nothing to complain about: neither device at the end, nor an option
        assert "vhost" not in v.log.read_text() and "qemu-system" not in v.log.read_text(), v.log.read_text()


# --- vsock ----------------------------------------------------------------------------------------------------------


def test_the_guest_reaches_listeners_only(vm):
    assert vm.command_line("connect 3 9000") == "ok"
    assert vm.command_line("connect 2 9000") == "ok"
    for cid, port in ((3, 77), (2, 77), (1, 9000), (5, 9000), (16, 77), (4294967295, 9000)):
        assert vm.command_line(f"connect {cid} {port}") != "ok", (cid, port)


def test_the_host_is_refused_where_nobody_listens(vm):
    with vm.dial(4711) as s:
        assert s.recv(10) == b""
    for line in (b"CONNECT\n", b"CONNECT 70000000000\n", b"HELLO 9100\n", b"CONNECT -1\n", b"x" * 100):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(str(vm.run_dir / "dial.sock"))
            s.sendall(line)
            try:
                assert s.recv(10) == b""
            except ConnectionResetError:
                pass


def test_bytes_arrive_in_order_both_ways(vm):
    n = 8 << 20
    with vm.dial(9102) as s, s.makefile("rb") as f:
        s.sendall(b"%d\n" % n)
        got = f.read()
    assert len(got) == n
    period = bytes((i * 7 >> 3) & 0xff for i in range(2048))       # 2048 * 7 / 8 is a multiple of 256
    assert got == period * (n // 2048)
    with vm.dial(9101) as s, s.makefile("rb") as f:
        s.sendall(got)
        s.shutdown(socket.SHUT_WR)
        total, check = map(int, f.readline().split())
    want = 0
    for byte in got[:2048]:
        want = (want * 31 + byte) % 2**64
    step, power = want, pow(31, 2048, 2**64)
    want = 0
    for _ in range(n // 2048):
        want = (want * power + step) % 2**64
    assert (total, check) == (n, want)


def test_many_at_once(vm):
    def echo(i):
        data = bytes([i]) * (1000 * i + 1)
        with vm.dial(9100) as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            with s.makefile("rb") as f:
                return f.read() == data
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        assert all(pool.map(echo, range(100)))


def test_a_reader_that_does_not_read_stops_nobody_else(vm):
    with vm.dial(9102) as stuck:
        stuck.sendall(b"100000000\n")
        time.sleep(0.2)
        for _ in range(5):
            with vm.dial(9100) as s:
                s.sendall(b"x" * 1000)
                s.shutdown(socket.SHUT_WR)
                with s.makefile("rb") as f:
                    assert f.read() == b"x" * 1000
    assert vm.command_line("connect 3 9000") == "ok"


def test_a_parent_that_pushes_back_does_not_stop_it(image, tmp_path):
    """Both sides ask for what is refused, hundreds of times at once, while the parent takes nothing when it cannot answer."""
    def refused(port):
        with vm.dial(port) as s:
            try:
                return s.recv(1) == b""
            except ConnectionResetError:
                return True

    def asked(_):
        with vm.dial(9103) as s, s.makefile("rb") as f:
            s.sendall(b"connect 3 77\n" * 40)
            return [f.readline() for _ in range(40)]
    with Vm(tmp_path, image, ["--push-back"]) as vm, concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(asked, i) for i in range(8)]
        assert all(pool.map(refused, range(20000, 20400)))
        assert all(line == b"ECONNRESET\n" for a in answers for line in a.result())
        assert vm.command_line("connect 3 9000") == "ok"


def dialled(vm, port):
    try:
        return vm.dial(port)
    except BlockingIOError:                      # so many wait already: a moment later there is room
        return None


def flooded(vm, asks=3600):
    """Both sides ask for what the other refuses, hundreds of times at once: the guest while the device stands still, so that its queue
    is full; the parent while the guest does; then both go on. Whether anything passes afterwards."""
    qemu, device = (vm.children()[n] for n in ("qemu-system-x86", "tee-rex-sim-vso"))
    agent = vm.dial(9103)
    agent.sendall(b"flood 3800 77 500\n")
    time.sleep(0.2)
    os.kill(device, signal.SIGSTOP)
    time.sleep(3)
    os.kill(qemu, signal.SIGSTOP)
    os.kill(device, signal.SIGCONT)
    asking = [wait_for(lambda: dialled(vm, port), 20) for port in range(20000, 20000 + asks)]
    os.kill(qemu, signal.SIGCONT)
    time.sleep(12)                               # longer than either side waits for an answer
    for s in [agent, *asking]:
        s.close()
    return passes(vm)


def passes(vm):
    try:
        return vm.command_line("connect 3 9000", timeout=15) == "ok"
    except (TimeoutError, ConnectionError):
        return False


def test_two_sides_that_push_back_do_not_stop_each_other(image, tmp_path):
    with Vm(tmp_path, image, ["--push-back"]) as vm:
        assert flooded(vm)


@pytest.mark.slow
def test_without_the_patch_they_do(tmp_path):
    """The control: the same kernel, built without kernel/patches, stands still for good; with a parent that drains it does not."""
    image = make_image(tmp_path, (BUILD / "tests/tools/vm_agent").read_bytes(), kernel_path=kernel("--without-patches") / "bzImage")
    for options, asks, goes_on in ((["--push-back"], 3600, False), ([], 900, True)):     # without, the device holds 1,024 connections
        (tmp_path / str(goes_on)).mkdir()
        with Vm(tmp_path / str(goes_on), image, options) as vm:
            assert vm.command_line("connect 3 9000") == "ok"
            assert flooded(vm, asks) == goes_on
            if not goes_on:
                assert not passes(vm)            # nor later
                vm.kill()


def test_closing_reaches_the_guest(vm):
    """A client that leaves ends the guest's process: what cancels a job."""
    def processes():
        with vm.dial(9103) as s, s.makefile("rb") as f:
            s.sendall(b"file /proc/loadavg\n")
            return int(f.readline().split()[3].split(b"/")[1])
    before = processes()
    held = [vm.dial(9100) for _ in range(10)]
    wait_for(lambda: processes() >= before + 10, 20, "ten more processes")
    for s in held:
        s.close()
    wait_for(lambda: processes() <= before, 20, "their end")


# --- registers and documents ------------------------------------------------------------------------------------------


def nsm(vm, request):
    answer = vm.command_line("nsm " + cbor2.dumps(request).hex())
    return cbor2.loads(bytes.fromhex(answer))


def document(vm, directory, nonce=b"n" * 20):
    answer = nsm(vm, {"Attestation": {"user_data": None, "nonce": nonce, "public_key": None}})
    path = pathlib.Path(directory) / "document"
    path.write_bytes(answer["Attestation"]["document"])
    return path


def test_the_nsm_is_a_real_device_with_the_image_s_registers(vm, image, tmp_path):
    assert len(nsm(vm, "GetRandom")["GetRandom"]["random"]) == 256
    described = nsm(vm, "DescribeNSM")["DescribeNSM"]
    assert described["max_pcrs"] == 32 and described["module_id"].startswith("sim-")
    assert nsm(vm, {"DescribePCR": {"index": 99}}) == {"Error": "InvalidIndex"}
    assert vm.command_line("nsm ff") == vm.command_line("nsm ff00")
    told = subprocess.run([TEE_REX, "describe", image], check=True, capture_output=True, text=True).stdout
    pcr0 = re.search(r'"PCR0": "([0-9a-f]{96})"', told).group(1)
    assert f"0={pcr0}" in vm.measured()
    done = subprocess.run([TEE_REX, "verify", document(vm, tmp_path), "--root", vm.state / "root.pem", "--pcr", f"0={pcr0}",
                           "--nonce", (b"n" * 20).hex()], capture_output=True, text=True)
    assert done.returncode == 0 and "SIMULATED" in done.stdout + done.stderr, done.stderr
    done = subprocess.run([TEE_REX, "verify", document(vm, tmp_path), "--root", vm.state / "root.pem", "--pcr", f"0={'1' * 96}"],
                          capture_output=True, text=True)
    assert done.returncode == 1


def test_an_answer_that_comes_too_late_is_nobody_s(vm):
    pid = vm.children()["tee-rex-sim-nsm"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert nsm(vm, "GetRandom") == {"Error": "InternalError"}      # after ten seconds
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "DescribeNSM" in nsm(vm, "DescribeNSM")
    assert "GetRandom" in nsm(vm, "GetRandom")


def test_debug_role_instance_and_two_processors(image, tmp_path):
    role, instance = "arn:aws:iam::123456789012:role/simulated", "i-0123456789abcdef0"
    with Vm(tmp_path, image, ["--debug", "--cpus", "2", "--role", role, "--instance", instance]) as vm:
        payload = cbor2.loads(cbor2.loads(document(vm, tmp_path).read_bytes())[2])
        pcrs = {n: v.hex() for n, v in payload["pcrs"].items()}
        assert [pcrs[n] for n in (0, 1, 2, 8)] == [ZERO] * 4
        told = subprocess.run([TEE_REX, "describe", image, "--role", role, "--instance", instance], capture_output=True, text=True).stdout
        if "PCR3" in told:
            assert pcrs[3] in told and pcrs[4] in told
        assert pcrs[3] != ZERO and pcrs[4] != ZERO
        assert vm.admin(verb="status")["debug"] is True
        assert "processor\t: 1;" in vm.command_line("file /proc/cpuinfo")
        # the console is read in debug mode only, and then whole
        for i in range(50):
            assert vm.command_line(f"console line {i} of the console") == "ok"

        def console():
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(20)
                s.connect(str(vm.run_dir / "admin.sock"))
                s.sendall(b'{"verb":"console"}\n')
                with s.makefile("rb") as f:
                    assert f.readline() == b'{"ok":true}\n'
                    return f.read()
        wait_for(lambda: b"line 49 of the console" in console(), 10, "the last line")
        assert all(b"line %d of the console" % i in console() for i in range(50))


def test_no_console_without_debug(vm):
    answer = vm.admin(verb="console")
    assert answer["ok"] is False and "debug" in answer["error"]


# --- ends -------------------------------------------------------------------------------------------------------------


def gone(pids):
    return lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("victim", ["qemu-system-x86", "tee-rex-sim-vso", "tee-rex-sim-nsm"])
def test_whoever_is_killed_all_end_and_nothing_is_left(image, tmp_path, victim):
    with Vm(tmp_path, image) as vm:
        children = vm.children()
        assert set(children) == {"qemu-system-x86", "tee-rex-sim-vso", "tee-rex-sim-nsm"}
        os.kill(children[victim], signal.SIGKILL)
        assert vm.process.wait(10) == 1
        assert gone(children.values())() and not vm.run_dir.exists()
        assert "was killed by signal 9" in vm.log.read_text()


def test_a_killed_owner_leaves_no_process_and_the_next_start_no_file(image, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with Vm(tmp_path / "a", image) as vm:
        children = vm.children()
        vm.process.kill()
        vm.process.wait()
        wait_for(gone(children.values()), 5, "their end")
        with Vm(tmp_path / "b", image) as other:
            assert not vm.run_dir.exists()
            other.process.send_signal(signal.SIGINT)
            assert other.process.wait(10) == 0


@pytest.mark.parametrize("how", ["panic", "reset"])
def test_the_guest_s_death_is_seen_at_once(image, tmp_path, how):
    with Vm(tmp_path, image) as vm:
        pid = vm.children()["qemu-system-x86"]
        s = vm.dial(9103)
        s.sendall(how.encode() + b"\n")
        wait_for(gone([pid]), 20, "QEMU's end")                    # it is a zombie until the owner reaps it
        seen = time.monotonic()
        assert vm.process.wait(10) == 1
        assert time.monotonic() - seen < 0.1
        assert "the enclave is over" in vm.log.read_text()
        assert not vm.run_dir.exists()


@pytest.mark.slow
def test_deaths_are_seen_in_a_tenth_of_a_second(image, tmp_path):
    """From QEMU's end to the end of `run`, which has said why and cleared up by then; panics and resets in turn."""
    def death(how):
        directory = pathlib.Path(tempfile.mkdtemp(dir=tmp_path))
        with Vm(directory, image) as vm:
            qemu = os.pidfd_open(vm.children()["qemu-system-x86"])
            run = os.pidfd_open(vm.process.pid)
            with vm.dial(9103) as s:
                s.sendall(how.encode() + b"\n")
                assert select.select([qemu], [], [], 20)[0]
                ended = time.monotonic()
                assert select.select([run], [], [], 20)[0]
            took = time.monotonic() - ended
            os.close(qemu)
            os.close(run)
            assert vm.process.wait(1) == 1
            return took
    runs = [[death(("panic", "reset")[i % 2]) for i in range(20)] for _ in range(3)]
    assert tell_slowest("the guest's death, seen by its owner after", runs) < 0.1


# --- refusals ---------------------------------------------------------------------------------------------------------


def refused(arguments, env=None):
    done = subprocess.run([TEE_REX, "run", "--backend", "qemu", *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, **(env or {})})
    assert done.returncode != 0
    return done.stderr


def test_what_cannot_run_is_refused_with_the_reason(image, tmp_path):
    state = ["--state", tmp_path / "nsm", "--name", "refused"]
    assert "64 MiB" in refused([image, "--memory", "8", *state])
    assert "needs an image" in refused(["--memory", "128", *state])
    assert "--cpus" in refused([image, "--memory", "128", "--cpus", "1000", *state])
    assert "--accel" in refused([image, "--memory", "128", "--accel", "warp", *state])
    assert "role" in refused([image, "--memory", "128", "--role", "me", *state])
    damaged = bytearray(pathlib.Path(image).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.eif").write_bytes(damaged)
    assert "eif-bad-crc" in refused([tmp_path / "damaged.eif", "--memory", "128", *state])
    (tmp_path / "bin").mkdir()
    said = refused([image, "--memory", "128", *state], {"PATH": str(tmp_path / "bin")})
    assert "install the package qemu-system-x86" in said
    assert not pathlib.Path("/run/tee-rex/refused").exists()


# what the installed QEMU is asked, and what it answers, by way of sed
OTHER_QEMUS = [
    ("", 's/"major": [0-9]*/"major": 7/', "is version 7."),
    ("", "d", "does not answer on its monitor"),
    ("s/vhost-vdpa-device/vhost-vdpa-gone/", "", "lacks a virtio device of any kind outside of QEMU (vhost-vdpa-device)"),
    ("s/vhost-user-vsock-device/vhost-user-socket-device/", "", "lacks a vsock device outside of QEMU (vhost-user-vsock-device)"),
    ("", 's/"name": "vhostdev"/"name": "device"/', "or its option vhostdev"),
    ("", 's/"name": "pit"/"name": "timer"/', "lacks the machine microvm, or its option pit"),
    ("", 's/"return": \\[/"return": [7, null, [], {"name": 5}, /', None),          # more than was expected, and odd: what is needed is there
    ("", 's/"return": \\[/"return": {/', "lacks the machine microvm"),
    ("/device-list/d", "", "lacks virtio over mmio"),
]


@pytest.fixture
def for_all():
    """A directory whose programs any user may run, as QEMU's is."""
    with tempfile.TemporaryDirectory(prefix="tr-qemu-") as directory:
        os.chmod(directory, 0o755)
        yield pathlib.Path(directory)


@pytest.mark.parametrize("asked, answered, says", OTHER_QEMUS)
def test_a_qemu_that_lacks_something_is_asked_and_named(image, tmp_path, for_all, asked, answered, says):
    """Other versions call things otherwise, and distributions leave parts out: the launcher asks, and does not go by the version."""
    real = shutil.which("qemu-system-x86_64")
    fake = for_all / "qemu-system-x86_64"
    fake.write_text(f"""#!/bin/sh
case "$*" in *-qmp*) sed -u '{asked}' | {real} "$@" | sed -u '{answered}' ;; *) exec {real} "$@" ;; esac
""")
    fake.chmod(0o755)
    path = {"PATH": f"{for_all}:/usr/bin:/bin"}
    if says is None:
        vm = Vm(tmp_path, image, prefix=["env", f"PATH={path['PATH']}"])
        assert vm.stop() == 0
        return
    said = refused([image, "--memory", "128", "--state", tmp_path / "nsm", "--name", "refused"], path)
    assert says in said and "install the package qemu-system-x86" in said, said
    assert not pathlib.Path("/run/tee-rex/refused").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
def test_an_ordinary_user_can_run_it(image):
    directory = pathlib.Path(subprocess.run(["mktemp", "-d", "/tmp/vm-user.XXXXXX"], check=True, capture_output=True, text=True).stdout.strip())
    os.chown(directory, 65533, 65533)
    mine = directory / "app.eif"
    mine.write_bytes(pathlib.Path(image).read_bytes())
    prefix = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", "env", "-u", "XDG_RUNTIME_DIR", f"HOME={directory}"]
    vm = Vm(directory, mine, prefix=prefix, start=False)
    vm.run_dir = pathlib.Path("/tmp/tee-rex-65533") / vm.name
    try:
        vm.start()
        assert vm.command_line("connect 3 9000") == "ok"
        assert vm.stop() == 0 and not vm.run_dir.exists()
    finally:
        subprocess.run(["rm", "-rf", directory, "/tmp/tee-rex-65533"], check=True)


@pytest.mark.skipif(not os.path.exists("/dev/kvm"), reason="there is no /dev/kvm")
def test_the_verdict_on_kvm_is_remembered(image, tmp_path):
    """Whatever it is here: found within seconds the first time, not asked for again the second."""
    kept = pathlib.Path("/run/tee-rex/.kvm" if os.geteuid() == 0 else f"/tmp/tee-rex-{os.geteuid()}/.kvm")
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("nonsense\n")
    (tmp_path / "again").mkdir()
    for directory, asked in ((tmp_path, True), (tmp_path / "again", False)):
        with Vm(directory, image) as vm:
            said = vm.log.read_text()
            assert ("finding out whether KVM" in said) == asked and vm.ready_s < 30
            assert "(KVM)" in said or "(software emulation)" in said
    verdict = kept.read_text()
    assert verdict.endswith(("works: yes\n", "works: no\n"))
    if verdict.endswith("no\n"):
        assert "KVM does not run a guest" in refused([image, "--memory", "128", "--accel", "kvm", "--state", tmp_path / "nsm", "--name", "kvm"])
