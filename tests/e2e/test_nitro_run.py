"""`tee-rex run --backend nitro` in front of a model of the driver (nitro_driver.py): the image in memory, readiness, deaths, ends,
several enclaves at once, and what is said when the machine does not have what it takes."""
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.request

import pytest

from conftest import BUILD, wait_for
from nitro_driver import MIB, POOL, Driver, real_pages  # noqa: F401 (a fixture)
from nitro_guest import FakeGuest, Run

TEE_REX = BUILD / "tee-rex"
VECTORS = pathlib.Path(__file__).resolve().parents[1] / "vectors" / "eif"


@pytest.fixture
def image(tmp_path):
    """A small image, and one whose ramdisk reaches over several pages."""
    for name, size in (("boot", 3_000_000), ("app", 17_000_001)):
        (tmp_path / name).write_bytes(os.urandom(size))
    kernel = tmp_path / "kernel"
    subprocess.run([TEE_REX, "extract", VECTORS / "good.eif", "-d", tmp_path / "parts"], check=True, capture_output=True)
    kernel.write_bytes((tmp_path / "parts" / "kernel").read_bytes())
    out = tmp_path / "it.eif"
    subprocess.run([TEE_REX, "eif", "--kernel", kernel, "--cmdline", "console=ttyS0 rootfstype=ramfs", "--ramdisk", tmp_path / "boot",
                    "--ramdisk", tmp_path / "app", "-o", out], check=True, capture_output=True)
    return out


@pytest.fixture(autouse=True)
def nothing_is_left():
    """A run that a failed test left would share its port with the next test's."""
    yield
    Run.kill_all()


@pytest.fixture
def machine(short_dir):
    """A driver whose enclaves answer as soon as they are started. Without --memory they get 128 MiB (class Run)."""
    if os.geteuid() != 0:
        pytest.skip("the runtime directory of enclaves is root's")
    with Driver(short_dir) as driver:
        driver.guests = []
        driver.on_start = lambda vm: driver.guests.append(FakeGuest(driver, vm))
        yield driver


def refused(driver, image, directory, *options):
    run = Run(driver, image, directory, *options, ready=False)
    assert run.process.wait(20) == 1
    assert run.stdout == "" and not run.dir.exists()
    return run.stderr


# --- from the image to a service ------------------------------------------------------------------------------------

def test_the_image_lies_where_the_hypervisor_looks(machine, image, tmp_path):
    run = Run(machine, image, tmp_path, "--memory", "700")
    vm = next(iter(machine.vms.values()))
    assert vm.image == image.read_bytes()
    assert vm.memory == 700 * MIB and len(vm.runs) == 1
    assert vm.vcpus == [1, 5] and vm.cid == 16 and not vm.debug
    wait_for(lambda: run.ask("status")["heartbeats"] == 1, what="the heartbeat")
    status = run.ask("status")
    assert status["phase"] == "running" and status["backend"] == "nitro" and not status["simulated"] and status["cid"] == 16
    assert machine.guests[0].answered == b"\xb7"
    assert status["service"] == "vsock:16:9002" and status["health"]["answers"]
    said = json.loads(subprocess.run([TEE_REX, "describe", image], check=True, capture_output=True).stdout)
    assert status["pcrs"] == {n: said["Measurements"][f"PCR{n}"] for n in "012"}
    assert run.stop() == 0
    wait_for(lambda: not machine.vms)
    assert machine.pool == {1: {1, 5}, 2: {2, 6}, 3: {3, 7}} and not run.dir.exists()


def test_order_of_calls(machine, image, tmp_path):
    """Nothing that can fail cheaply comes after something that is slow to give back."""
    Run(machine, image, tmp_path, "--cpus", "4", "--cid", "99").stop()
    assert machine.calls == [("open", 0), ("create", 0), ("offset", 0), ("memory", 0), *[("vcpu", 0)] * 4, ("start", 0)]
    assert machine.guests[0].vm.cid == 99 and machine.guests[0].vm.vcpus == [1, 5, 2, 6]


def test_large_and_small_pages_in_one_enclave(short_dir, image, tmp_path):
    with Driver(short_dir, free_1g=1, free_2m=300) as driver:
        driver.on_start = lambda vm: FakeGuest(driver, vm)
        run = Run(driver, image, tmp_path, "--memory", "1500")
        vm = next(iter(driver.vms.values()))
        assert sorted(size for _, size in vm.regions) == [1500 * MIB]
        assert vm.image == image.read_bytes()
        assert "1 pages of 1 GiB and 238 of 2 MiB" in run.stderr
        assert run.stop() == 0


@pytest.mark.parametrize("order,runs", [("rising", 1), ("falling", 1), ("hidden", 0)])
def test_pages_go_in_physical_order(short_dir, image, tmp_path, order, runs):
    """A pool that was filled from above gives neighbours in the wrong order, and the driver joins none of them."""
    with Driver(short_dir, order=order, regions_max=400) as driver:
        driver.on_start = lambda vm: FakeGuest(driver, vm)
        run = Run(driver, image, tmp_path, "--memory", "700")
        vm = next(iter(driver.vms.values()))
        assert vm.memory == 700 * MIB and len(vm.runs) == 1 and vm.image == image.read_bytes()
        assert f"{runs} contiguous regions" in run.stderr
        assert run.stop() == 0


def test_falling_pages_would_be_too_many_regions(short_dir, image, tmp_path):
    """The control to the test above: in the order in which they came they are one region each."""
    with Driver(short_dir, order="falling", regions_max=30) as driver:
        p = subprocess.run([BUILD / "tests" / "tools" / "nitro_probe", "create", "huge=64"], env=driver.environment(),
                           capture_output=True, text=True)
        assert p.stdout.splitlines()[-1].startswith("265 ")


def test_the_node_of_the_cpu_pool_is_found(short_dir, image, tmp_path):
    """Only the driver knows it; a refusal takes nothing, and the next node is tried."""
    with Driver(short_dir, nodes=2, pool_node=1) as driver:
        driver.on_start = lambda vm: FakeGuest(driver, vm)
        run = Run(driver, image, tmp_path)
        assert "node 0 is not that of the CPU pool: trying node 1" in run.stderr
        assert [c for c in driver.calls if c[0] == "memory"] == [("memory", -264), ("memory", 0)]
        assert run.stop() == 0


def test_debug(machine, image, tmp_path):
    run = Run(machine, image, tmp_path, "--debug")
    assert machine.guests[0].vm.debug and "DEBUG" in run.stderr
    status = run.ask("status")
    assert status["debug"] and set(status["pcrs"]["0"]) == {"0"}
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(run.dir / "admin.sock"))
        s.sendall(b'{"verb":"console"}\n')
        answer = s.makefile("rb")
        assert json.loads(answer.readline())["ok"] and b"Linux version" in answer.readline()
    assert run.stop() == 0


def test_production_has_no_console_and_says_why(machine, image, tmp_path):
    run = Run(machine, image, tmp_path)
    answer = run.ask("console")
    assert not answer["ok"] and "debug" in answer["error"]
    assert run.stop() == 0


def test_real_huge_pages(short_dir, image, tmp_path, real_pages):
    """The kernel's own pages: the regions are as many as foretold, no more than in the order in which the pages came, and all
    pages return."""
    free = POOL.parent / "free_hugepages"
    before = int(free.read_text())
    with Driver(short_dir, huge="real", regions_max=10**6) as driver:
        driver.on_start = lambda vm: FakeGuest(driver, vm)
        run = Run(driver, image, tmp_path, "--memory", "128")
        vm = next(iter(driver.vms.values()))
        assert vm.memory == 128 * MIB and vm.image == image.read_bytes()
        assert f"{len(vm.runs)} contiguous regions" in run.stderr
        assert int(free.read_text()) == before - 64
        left = 2 * int(free.read_text())
        said = refused(driver, image, tmp_path, "--memory", str(left + 66))
        assert f"{left + 66} MiB of huge pages are needed on one NUMA node; node 0 has {left} of" in said
        assert run.stop() == 0
        wait_for(lambda: int(free.read_text()) == before, what="the return of the pages")
        driver.on_start = None
        came = subprocess.run([BUILD / "tests/tools/nitro_probe", "create", "huge=128", "vcpu", "vcpu", "start"],
                              env=driver.environment(), capture_output=True, text=True)
        assert came.returncode == 0
        print(f"64 pages: {len(vm.runs)} regions in physical order, {driver.last_runs} as they came")
        assert len(vm.runs) <= driver.last_runs


# --- ends --------------------------------------------------------------------------------------------------------------

def test_an_enclave_that_dies_ends_the_run(machine, image, tmp_path):
    run = Run(machine, image, tmp_path)
    machine.guests[0].vm.die()
    assert run.process.wait(20) == 1
    assert "the enclave ended by itself" in run.stderr
    wait_for(lambda: not machine.vms)


def test_an_enclave_that_dies_while_it_boots(machine, image, tmp_path):
    machine.on_start = lambda vm: vm.die()
    assert "the enclave ended by itself" in refused(machine, image, tmp_path)
    wait_for(lambda: not machine.vms)


def test_a_gateway_of_its_own_finds_the_enclave(machine, image, tmp_path, free_port):
    """As the units start it: it is told the instance's path, and the CID is another after every start."""
    run = Run(machine, image, tmp_path)
    first = os.readlink(run.dir / "service.sock")
    assert first == f"vsock:{machine.guests[0].vm.cid}:9002"
    gateway = subprocess.Popen([TEE_REX, "gateway", "--quiet", "--listen", f"127.0.0.1:{free_port}", "--enclave", f"unix:{run.dir}/service.sock"],
                               env=machine.environment(), stderr=subprocess.DEVNULL)

    def enclave():
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{free_port}/health", timeout=5) as answer:
            return json.load(answer)["enclave"]
    try:
        assert wait_for(enclave) == "ok"
        uploaded = subprocess.run([TEE_REX, "upload", "--socket", run.dir / "service.sock", TEE_REX, "9.9.9"], env=machine.environment(),
                                  capture_output=True, text=True, timeout=60)
        assert "connect" not in uploaded.stderr, uploaded.stderr
        assert run.stop() == 0 and enclave() == "unreachable"
        (tmp_path / "again").mkdir()
        again = Run(machine, image, tmp_path / "again", name=run.name)
        assert os.readlink(again.dir / "service.sock") != first and enclave() == "ok"
        assert again.stop() == 0
    finally:
        gateway.kill()
        gateway.wait()


@pytest.mark.parametrize("gateway", [False, True])
def test_a_killed_run_takes_its_enclave_along(machine, image, tmp_path, gateway, free_port):
    """The gateway, which lives a moment longer, has no duplicate of the descriptor."""
    run = Run(machine, image, tmp_path, *(["--gateway", f"127.0.0.1:{free_port}"] if gateway else []))
    fds = {os.readlink(f"/proc/{run.pid}/fd/{n}") for n in os.listdir(f"/proc/{run.pid}/fd")}
    vm = next(iter(machine.vms.values()))
    assert str(vm.fifo) in fds
    children = pathlib.Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    assert bool(children) == gateway
    for child in children:
        assert str(vm.fifo) not in {os.readlink(f"/proc/{child}/fd/{n}") for n in os.listdir(f"/proc/{child}/fd")}
        os.kill(int(child), signal.SIGSTOP)                # it does nothing at all, not even end
    run.process.kill()
    run.process.wait()
    wait_for(lambda: not machine.vms, 2, "the end of the enclave")
    for child in children:
        os.kill(int(child), signal.SIGKILL)


def test_one_that_does_not_end_in_order_is_killed(machine, image, tmp_path):
    run = Run(machine, image, tmp_path)
    machine.guests[0].close()                              # nobody listens on the shutdown port any more
    run.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "asked to shut down" in run.stderr or not run.running(), 20)
    for _ in range(2):
        run.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    run.process.wait(20)
    wait_for(lambda: not machine.vms)


def test_stop_and_start_again_and_again(machine, image, tmp_path):
    for i in range(5):
        run = Run(machine, image, tmp_path, name=None)
        assert run.stop() == 0, run.stderr
        wait_for(lambda: not machine.vms)
    assert not list(pathlib.Path("/run/tee-rex/.vsock/9000").glob("run-*"))


# --- several ------------------------------------------------------------------------------------------------------------

def test_three_enclaves_start_at_the_same_time(machine, image, tmp_path):
    """One vsock port 9000, three runs: each hears its own enclave."""
    machine.on_start = lambda vm: machine.guests.append(FakeGuest(machine, vm, boot_s=0.3))
    runs = [Run(machine, image, tmp_path, ready=False) for _ in range(3)]
    for run in runs:
        wait_for(lambda: run.stdout or not run.running(), 20)
        assert run.stdout.startswith("ready: "), run.stderr
    assert sorted(r.ask("status")["cid"] for r in runs) == [16, 17, 18]
    wait_for(lambda: all(r.ask("status")["heartbeats"] == 1 for r in runs), what="three heartbeats")
    assert all(g.answered == b"\xb7" for g in machine.guests)
    runs[0].process.kill()                                 # whoever bound the port first: the others go on
    runs[0].process.wait()
    wait_for(lambda: len(machine.vms) == 2)
    for run in runs[1:]:
        s = machine.enclave_calls(run.ask("status")["cid"], 9000)
        s.sendall(b"\xb7")
        s.settimeout(5)
        assert s.recv(1) == b"\xb7"
        s.close()
        wait_for(lambda: run.ask("status")["heartbeats"] == 2, what="the second heartbeat")
    again = Run(machine, image, tmp_path)                  # joins the two
    for run in (*runs[1:], again):
        assert run.stop() == 0, run.stderr


def test_a_fourth_core_is_not_there(machine, image, tmp_path):
    runs = [Run(machine, image, tmp_path) for _ in range(3)]
    said = refused(machine, image, tmp_path)
    assert "NE_ERR_NO_CPUS_AVAIL_IN_POOL" in said and "tee-rex list" in said
    for run in runs:
        assert run.stop() == 0


def test_a_stranger_on_port_9000(machine, image, tmp_path):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(machine.name("port-9000"))
        s.listen(1)
        said = refused(machine, image, tmp_path)
    assert "vsock port 9000 is taken by a program that does not share it (nitro-cli" in said
    assert not [c for c in machine.calls if c[0] != "open"]      # no enclave was created for nothing


def test_the_control_channel_is_inits(machine, image, tmp_path):
    """Who calls it from a port that any program may have is not heard; the same words from where init calls are."""
    forged = b'{"kind":"boot","seq":%d,"ms":1,"stage":"%s"}\n'
    with Run(machine, image, tmp_path) as run:
        cid = run.ask("status")["cid"]
        for source in (1024, 9001, 1 << 31):
            with machine.enclave_calls(cid, 9001, source) as s:
                s.settimeout(10)
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    s.sendall(forged % (4000000000, b"forged"))
                    assert s.recv(1) == b""
        control = run.ask("status")["control"]
        assert control["refused"] == 3 and control["events"] == 0 and control["stage"] == "" and not control["connected"]
        assert run.stderr.count("is not init called the control channel") == 1
        said = subprocess.run([TEE_REX, "status", run.name], capture_output=True, text=True).stdout
        assert "refused     3 calls of the control channel by programs inside that are not init" in said
        with machine.enclave_calls(cid, 9001, 1023) as s:
            s.sendall(forged % (0, b"services"))
            wait_for(lambda: run.ask("status")["control"]["stage"] == "services")
        assert run.ask("status")["control"]["refused"] == 3


# --- what the machine lacks ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("settings,options,says", [
    ({"device": False}, [], ["open /dev/nitro_enclaves", "not loaded", "tee-rex doctor"]),
    ({"pool": ""}, [], ["no CPU is set aside for enclaves", "tee-rex reserve --cpus 2"]),
    ({}, ["--cpus", "3"], ["3 CPUs are no whole cores", "ask for 4 or fewer"]),
    ({}, ["--cpus", "8"], ["8 CPUs are asked for, and 6 are set aside for enclaves (1-3,5-7)"]),
    ({"free_2m": 100}, ["--memory", "300"], ["300 MiB of huge pages are needed on one NUMA node", "node 0 has 200 of 200 MiB free",
                                             "tee-rex reserve --memory 300"]),
    ({"nodes": 2, "free_2m": 100}, ["--memory", "300"], ["node 1 has 200 of 200 MiB free", "together enough"]),
    ({"regions_max": 8, "scatter": True}, [], ["NE_ERR_MEM_MAX_REGIONS", "separate pieces", "tee-rex reserve"]),
    ({"pool_node": 3}, [], ["NE_ERR_MEM_DIFFERENT_NUMA_NODE", "tee-rex reserve"]),
    ({"enclaves_max": 0}, [], ["the hypervisor refused", "at most four enclaves"]),
])
def test_refusals_say_what_to_do(short_dir, image, tmp_path, settings, options, says):
    with Driver(short_dir, **settings) as driver:
        said = refused(driver, image, tmp_path, *options)
        for words in says:
            assert words in said
        wait_for(lambda: not driver.vms)


def test_memory_that_the_image_does_not_fit_is_refused_in_numbers(machine, image, tmp_path):
    with open(tmp_path / "app", "wb") as f:
        f.truncate(90 * MIB)
    large = tmp_path / "large.eif"
    subprocess.run([TEE_REX, "eif", "--kernel", tmp_path / "kernel", "--cmdline", "rootfstype=ramfs", "--ramdisk", tmp_path / "app",
                    "-o", large], check=True, capture_output=True)
    said = refused(machine, large, tmp_path, "--memory", "150")
    assert "large.eif needs 189 MiB to load: 0 for the kernel, 90 for ramdisks, 90 for the image" in said
    assert "--memory 150 is less" in said and not machine.calls


def test_an_image_that_is_none(machine, tmp_path):
    for bad in ("crc.eif", "magic.eif", "gap.eif"):
        assert "eif-" in refused(machine, VECTORS / bad, tmp_path)
    assert not machine.calls
