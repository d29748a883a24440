"""The whole way of the Nitro backend without the hardware: `tee-rex run --backend nitro` loads an image through the driver's model,
and what is then in the enclave's memory, read out of the regions it gave, is booted in QEMU with as much memory and as many
CPUs. From the parent's side nothing is simulated but the driver, vsock and the root that signs documents."""
import json
import os
import socket
import subprocess
import time

import pytest

from conftest import BUILD, TOP, wait_for
from enclave import TEE_REX
from nitro_driver import MIB, Driver
from nitro_guest import BootedGuest, Run
from vm import have_qemu, make_image

pytestmark = [
    pytest.mark.skipif(not have_qemu(), reason="QEMU 10 or later is not installed and only root can do it: "
                       "scripts/backports install qemu-system-x86"),
    pytest.mark.skipif(os.geteuid() != 0, reason="the runtime directory of enclaves is root's"),
]


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    Run.kill_all()


@pytest.fixture
def machine(short_dir):
    with Driver(short_dir) as driver:
        driver.guests = {}

        def boot(vm):
            guest = driver.guests[vm.cid] = BootedGuest.__new__(BootedGuest)
            guest.__init__(driver, vm)
        driver.on_start = boot
        yield driver


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    return make_image(tmp_path_factory.mktemp("agent"), (BUILD / "tests/tools/vm_agent").read_bytes())


def test_what_was_loaded_boots(machine, agent, tmp_path):
    run = Run(machine, agent, tmp_path, "--ready", "heartbeat", "--memory", "128", ready_s=120)
    vm = next(iter(machine.vms.values()))
    assert vm.image == agent.read_bytes() and vm.memory == 128 * MIB
    assert run.ask("status")["heartbeats"] == 1
    assert run.stop(seconds=60) == 0, run.stderr
    wait_for(lambda: not machine.vms)


def test_two_at_once_and_the_death_of_one(machine, agent, tmp_path):
    """Two enclaves call the same port 9000 of one parent at about the same time. A kernel that resets shows as POLLHUP."""
    runs = [Run(machine, agent, tmp_path, "--ready", "heartbeat", ready=False) for _ in range(2)]
    for run in runs:
        wait_for(lambda: run.stdout or not run.running(), 120)
        assert run.stdout.startswith("ready: "), run.stderr
    first = machine.guests[runs[0].ask("status")["cid"]]
    first.process.terminate()
    assert runs[0].process.wait(30) == 1 and "the enclave ended by itself" in runs[0].stderr
    assert runs[1].ask("status")["phase"] == "running"
    assert runs[1].stop(seconds=60) == 0


def test_the_console_of_a_debug_enclave(machine, agent, tmp_path):
    run = Run(machine, agent, tmp_path, "--ready", "heartbeat", "--debug", ready_s=120)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(machine.name("enclave-16-9103"))
        s.sendall(b"console a line on the console\n")
        assert s.recv(10) == b"ok\n"
    def console():
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(run.dir / "admin.sock"))
            s.sendall(b'{"verb":"console"}\n')
            return s.makefile("rb").read()
    wait_for(lambda: b"a line on the console" in console(), 20, "the line")
    assert run.stop(seconds=60) == 0


# --- to a proof --------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def prover(tmp_path_factory):
    where = tmp_path_factory.mktemp("prover")
    done = subprocess.run([TOP / "scripts/prover-image", "-o", where], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return where / "prover-TEST.eif"


@pytest.fixture
def service(machine, prover, tmp_path, free_port):
    run = Run(machine, prover, tmp_path, "--memory", "512", "--gateway", f"127.0.0.1:{free_port}", ready_s=300)
    run.url = f"http://127.0.0.1:{free_port}"
    guest = machine.guests[16]
    registers = run.ask("status")["pcrs"]
    run.trust = ["--root", guest.root, *[w for n in "012" for w in ("--pcr", f"{n}={registers[n]}")]]
    yield run
    assert run.stop(seconds=90) == 0, run.stderr
    wait_for(lambda: not machine.vms)


def test_a_document_with_the_registers_of_the_file_that_was_loaded(service, prover):
    said = json.loads(subprocess.run([TEE_REX, "describe", prover], check=True, capture_output=True).stdout)["Measurements"]
    assert {f"{n}={said[f'PCR{n}']}" for n in "012"} == {w for w in map(str, service.trust) if "=" in w}
    done = subprocess.run([TEE_REX, "attest", service.url, *service.trust], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wrong = [w if not str(w).startswith("0=") else "0=" + "a" * 96 for w in service.trust]
    done = subprocess.run([TEE_REX, "attest", service.url, *wrong], capture_output=True, text=True)
    assert done.returncode == 1 and "pcr-mismatch" in done.stderr


@pytest.mark.slow
def test_a_proof(service, tmp_path):
    kit, chonk = BUILD / "test-prover", TOP / "tests/data/chonk"
    subprocess.run([TOP / "scripts/test-prover", kit], check=True)
    began = time.monotonic()
    done = subprocess.run([TEE_REX, "prove", service.url, chonk / "s1.msgpack", "-o", tmp_path / "answer", *service.trust],
                          capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    print(f"a proof in {time.monotonic() - began:.0f} s")
    (tmp_path / "proof").write_bytes((tmp_path / "answer").read_bytes()[4:])
    assert subprocess.run([kit / "bb-TEST-CRS", "verify", "--scheme", "chonk", "-p", tmp_path / "proof", "-k", chonk / "s1.vk"],
                          capture_output=True, env={**os.environ, "CRS_PATH": str(kit / "crs-TEST")}).returncode == 0
