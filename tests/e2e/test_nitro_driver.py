"""linux/ne_dev in front of a model of the driver: every error that the driver can return, with its cause, a case that meets it
and what tee-rex says; those that no program can meet, with the reason. The model is tests/e2e/nitro_driver.py."""
import errno
import os
import signal
import subprocess
import time

import pytest

from conftest import BUILD, wait_for
from nitro_driver import NE, POOL, Driver, real_pages  # noqa: F401 (a fixture)

PROBE = BUILD / "tests" / "tools" / "nitro_probe"
READY = ["create", "huge=64", "vcpu", "vcpu"]


def probe(driver, *calls):
    """What each call said: (0, number) or (errno, sentence)."""
    p = subprocess.run([PROBE, *calls], env=driver.environment(), capture_output=True, text=True, timeout=60)
    assert p.returncode in (0, 1), p.stderr
    said = []
    for line in p.stdout.splitlines():
        head, _, rest = line.partition(" ")
        said.append((0, int(rest or 0)) if head == "ok" else (int(head), rest))
    return said


def name(code):
    return next((f"NE_ERR_{n}" for n, c in NE.items() if c == code), None) or errno.errorcode[code]


# error, its cause in the driver, the calls (the last one meets it), what is said (None: the call is raw), and settings of the model
CASES = [
    ("NE_ERR_VCPU_ALREADY_USED", "this enclave has the CPU", ["create", "vcpu=1", "vcpu=1"], "name each CPU once", {}),
    ("NE_ERR_VCPU_NOT_IN_CPU_POOL", "the pool does not have it", ["create", "vcpu=3"], "ne_cpus", {"pool": "1,5"}),
    ("NE_ERR_VCPU_NOT_IN_CPU_POOL", "CPU 0's sibling never is", ["create", "vcpu=4"], "not in the pool", {}),
    ("NE_ERR_VCPU_NOT_IN_CPU_POOL", "another enclave has its core", ["create", "vcpu=1", "create", "vcpu=5"], "another enclave", {}),
    ("NE_ERR_INVALID_MEM_REGION_SIZE", "no multiple of 2 MiB", ["create", "take=4", "at=0,4096b"], "no multiple of 2 MiB", {}),
    ("NE_ERR_INVALID_MEM_REGION_ADDR", "not an address of a process (access_ok)", ["create", "kernel=2"], "not one of a process", {}),
    ("NE_ERR_UNALIGNED_MEM_REGION_ADDR", "not on 2 MiB", ["create", "take=4", "at=4096b,2"], "address is no multiple", {}),
    ("NE_ERR_MEM_REGION_ALREADY_USED", "the same again", ["create", "huge=4", "same"], "has this memory already", {}),
    ("NE_ERR_MEM_REGION_ALREADY_USED", "begins inside", ["create", "take=8", "at=0,4", "at=2,4"], "already", {}),
    ("NE_ERR_MEM_REGION_ALREADY_USED", "ends inside", ["create", "take=8", "at=2,4", "at=0,4"], "already", {}),
    ("NE_ERR_MEM_NOT_HUGE_PAGE", "ordinary memory", ["create", "plain=2"], "tee-rex reserve", {}),
    ("NE_ERR_MEM_DIFFERENT_NUMA_NODE", "another node than the pool's", ["create", "huge=2"], "another NUMA node", {"pool_node": 1}),
    ("NE_ERR_MEM_MAX_REGIONS", "scattered pages in one call", ["create", "huge=16"], "separate pieces", {"regions_max": 7, "scatter": True}),
    ("NE_ERR_MEM_MAX_REGIONS", "neighbours in separate calls are not joined", ["create", "take=8", "at=0,2", "at=2,2", "at=4,2"],
     "separate pieces", {"regions_max": 2}),
    ("NE_ERR_NO_MEM_REGIONS_ADDED", "start without memory", ["create", "vcpu", "vcpu", "start"], "no memory", {}),
    ("NE_ERR_NO_VCPUS_ADDED", "start without CPUs", ["create", "huge=64", "start"], "no CPU", {}),
    ("NE_ERR_ENCLAVE_MEM_MIN_SIZE", "under 64 MiB", ["create", "huge=62", "vcpu", "vcpu", "start"], "less than 64 MiB", {}),
    ("NE_ERR_FULL_CORES_NOT_USED", "a thread of a core is missing", ["create", "huge=64", "vcpu", "start"], "whole cores", {}),
    ("NE_ERR_NOT_IN_INIT_STATE", "a second start", [*READY, "start", "start"], "started already", {}),
    ("NE_ERR_NOT_IN_INIT_STATE", "memory after the start", [*READY, "start", "huge=2"], "started already", {}),
    ("NE_ERR_NOT_IN_INIT_STATE", "a CPU after the start", [*READY, "start", "vcpu"], "started already", {}),
    ("NE_ERR_NOT_IN_INIT_STATE", "the offset after the start", [*READY, "start", "offset"], "started already", {}),
    ("NE_ERR_INVALID_VCPU", "beyond the last CPU", ["create", "vcpu=8"], "no CPU of this number", {}),
    ("NE_ERR_NO_CPUS_AVAIL_IN_POOL", "no pool", ["create"], "empty", {"pool": ""}),
    ("NE_ERR_NO_CPUS_AVAIL_IN_POOL", "all cores are other enclaves'", ["create", "vcpu", "vcpu", "create"], "other enclaves have all", {"pool": "1,5"}),
    ("NE_ERR_NO_CPUS_AVAIL_IN_POOL", "more than the pool", ["create", "vcpu", "vcpu", "vcpu"], "no core is left", {"pool": "1,5"}),
    ("NE_ERR_INVALID_PAGE_SIZE", "begins inside of a page of 1 GiB", ["create", "take-1g=1024", "at=2,2"], "inside of a huge page", {}),
    ("NE_ERR_INVALID_FLAG_VALUE", "an unknown kind of image", ["create", "offset-flags=2"], None, {}),
    ("NE_ERR_INVALID_FLAG_VALUE", "no kind of image", ["create", "offset-flags=0"], None, {}),
    ("NE_ERR_INVALID_FLAG_VALUE", "an unknown kind of region", ["create", "memory-flags=1"], None, {}),
    ("NE_ERR_INVALID_FLAG_VALUE", "an unknown kind of start", [*READY, "start-flags=2"], None, {}),
    *[("NE_ERR_INVALID_ENCLAVE_CID", f"CID {cid}", [*READY, f"start={cid}"], "--cid 4", {})
      for cid in (1, 2, 3, 2**32 - 1, 2**32, 2**63)],
    ("EIO", "memory from another address space", ["create", "fork=huge=2"], "fork in between", {}),
    ("EIO", "a CPU from another address space", ["create", "fork=vcpu"], "fork in between", {}),
    ("EFAULT", "memory that is not mapped", ["create", "unmapped=2"], "not mapped", {}),
    ("EFAULT", "no argument: create", ["create-null"], None, {}),
    ("EFAULT", "no argument: offset", ["create", "offset-null"], None, {}),
    ("EFAULT", "no argument: memory", ["create", "memory-null"], None, {}),
    ("EFAULT", "no argument: CPU", ["create", "vcpu-null"], None, {}),
    ("EFAULT", "no argument: start", ["create", "start-null"], None, {}),
    ("ENOMEM", "a region of no size: the driver has no record to put a page in", ["create", "take=2", "at=0,0"], "no memory for its own records", {}),
    ("ENOTTY", "no call of the device", ["device=0x21"], None, {}),
    ("ENOTTY", "no call of an enclave", ["create", "vm=0x20"], None, {}),
    ("ENOENT", "no device", [], "not loaded", {"device": False}),
]

# What no program can meet, and what it takes to see that in the driver's source.
UNREACHABLE = {
    "NE_ERR_VCPU_INVALID_CPU_CORE": "a core of the pool is below nr_parent_vm_cores when the pool is made, the enclave copies that number, "
                                    "and the pool cannot be made anew while there is an enclave (EPERM)",
    "EINVAL": "a huge page of 2 MiB or 1 GiB lies on a multiple of its size in physical memory, so that the check of physical addresses "
              "never fails; for the CPU pool, whose EINVAL is another one, see test_the_cpu_pool",
}


@pytest.mark.parametrize("error,cause,calls,says,settings", CASES, ids=[f"{c[0]}-{c[1].replace(' ', '-')}" for c in CASES])
def test_every_error_has_a_cause_and_is_explained(short_dir, error, cause, calls, says, settings):
    with Driver(short_dir, **settings) as driver:
        *before, (code, text) = probe(driver, *calls)
        assert [c for c, _ in before] == [0] * len(before), before
        assert name(code) == error
        if says is None:
            assert text == "raw"
        else:
            assert says in text and f"({error})" in text


def test_no_error_is_left_out():
    told = {c[0] for c in CASES} | set(UNREACHABLE)
    assert {f"NE_ERR_{n}" for n in NE} <= told
    assert {"EIO", "EFAULT", "ENOMEM", "ENOTTY", "EINVAL"} <= told
    assert not set(UNREACHABLE) & {c[0] for c in CASES}


def test_an_enclave_from_nothing_to_running(short_dir):
    with Driver(short_dir) as driver:
        said = probe(driver, "create", "offset", "huge-1g=1024", "huge=64", "vcpu", "vcpu", "vcpu=2", "vcpu=6", "debug=77")
        assert [c for c, _ in said] == [0] * 9
        assert said[1][1] == 8 << 20
        assert [v for _, v in said[4:8]] == [1, 5, 2, 6]       # the driver completes a core before it opens the next
        assert said[8][1] == 77
        wait_for(lambda: not driver.vms, what="the release of the enclave")
        assert driver.pool == {1: {1, 5}, 2: {2, 6}, 3: {3, 7}}


@pytest.mark.parametrize("op,call,code,says", [
    ("SLOT_ALLOC", "create", errno.ENOSPC, "at most four enclaves"), ("SLOT_ADD_MEM", "huge=64", errno.EBUSY, "may still be on its way back"),
    ("SLOT_ADD_VCPU", "vcpu", errno.EAGAIN, "may still be on their way back"), ("ENCLAVE_START", "start=30", errno.EEXIST, "no other enclave has the CID"),
    ("ENCLAVE_START", "start", errno.ETIMEDOUT, "no answer within 120 seconds")])
def test_what_the_hypervisor_refuses_is_told_as_that(short_dir, op, call, code, says):
    with Driver(short_dir) as driver:
        driver.inject[op] = code
        calls = [*READY, "start"]
        at = next(i for i, c in enumerate(calls) if c.split("=")[0] == call.split("=")[0])
        said = probe(driver, *calls[:at], call)
        assert said[-1][0] == code and says in said[-1][1]
        assert code == errno.ETIMEDOUT or "the hypervisor refused" in said[-1][1]


def test_the_cpu_pool(short_dir):
    """The parameter ne_cpus: EPERM as soon as an enclave is created, and a list that is refused leaves no pool."""
    parameter = short_dir / "sys/module/nitro_enclaves/parameters/ne_cpus"
    writer = ["/usr/bin/python3", "-c", "import os,sys; f=os.open('/sys/module/nitro_enclaves/parameters/ne_cpus', os.O_WRONLY); "
              "os.write(f, sys.argv[1].encode())"]

    def write(driver, text):
        p = subprocess.run([*writer, text], env=driver.environment(), capture_output=True, text=True)
        return 0 if p.returncode == 0 else getattr(errno, {"PermissionError": "EPERM", "OSError": "EINVAL"}[p.stderr.splitlines()[-1].split(":")[0]])

    with Driver(short_dir) as driver:
        assert parameter.read_text() == "1-3,5-7\n"
        for bad in ("0,4", "4", "1", "1,2,5", "nonsense", "1-3,5-7,8", "", "16"):
            assert write(driver, "1,5") == 0 and parameter.read_text() == "1,5\n"
            assert write(driver, bad) == errno.EINVAL, bad
            assert parameter.read_text() == "\n" and not driver.pool
        assert write(driver, "2,6") == 0
        held = subprocess.Popen(["/usr/bin/python3", "-c", HOLD], env=driver.environment(), stdin=subprocess.PIPE)
        wait_for(lambda: driver.vms)
        assert write(driver, "1,5") == errno.EPERM and parameter.read_text() == "2,6\n"
        held.stdin.close()
        held.wait()
        wait_for(lambda: not driver.vms)
        assert write(driver, "1,5") == 0


# creates an enclave, and has it until its standard input is closed; with a word, a child has it too
HOLD = """
import fcntl, os, subprocess, sys
device = os.open("/dev/nitro_enclaves", os.O_RDWR | os.O_CLOEXEC)
vm = fcntl.ioctl(device, 0x8008AE20, bytearray(8))
if len(sys.argv) > 1:
    os.set_inheritable(vm, True)
    subprocess.Popen(["sleep", sys.argv[1]], close_fds=False, stdin=subprocess.DEVNULL)
sys.stdin.read()
"""


def test_the_last_duplicate_of_the_descriptor_keeps_the_enclave(short_dir):
    with Driver(short_dir) as driver:
        p = subprocess.Popen(["/usr/bin/python3", "-c", HOLD, "1.5"], env=driver.environment(), stdin=subprocess.PIPE)
        wait_for(lambda: driver.vms)
        time.sleep(0.3)
        p.kill()
        p.wait()
        time.sleep(0.3)
        assert driver.vms                                        # the child still has it
        wait_for(lambda: not driver.vms, what="the child's end")
        p = subprocess.Popen(["/usr/bin/python3", "-c", HOLD], env=driver.environment(), stdin=subprocess.PIPE)
        wait_for(lambda: driver.vms)
        p.send_signal(signal.SIGKILL)
        p.wait()
        wait_for(lambda: not driver.vms)


def test_real_huge_pages(short_dir, real_pages):
    """The kernel's own pages, addresses and node; and a pool that is too small is an error, not a death."""
    with Driver(short_dir, huge="real", regions_max=10**6) as driver:
        said = probe(driver, "create", f"huge={2 * real_pages}", "vcpu", "vcpu", "start")
        assert [c for c, _ in said] == [0] * 5
        wait_for(lambda: not driver.vms)
        p = subprocess.run([PROBE, "create", f"huge={2 * (int(POOL.read_text()) + 1)}"], env=driver.environment(), capture_output=True,
                           text=True)
        assert p.returncode == 3 and "somebody else took some" in p.stderr
