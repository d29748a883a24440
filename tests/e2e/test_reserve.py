"""plan, reserve and release: over a host made of files, and a small reservation on the kernel that runs."""
import contextlib
import fcntl
import json
import os
import pathlib
import subprocess
import time

import pytest

from parent_host import ALLOCATOR, NE_CPUS, PAGES, ParentHost

RECORD = "var/lib/tee-rex/reserve"


@pytest.fixture
def host(tmp_path):
    return ParentHost(tmp_path / "root")


@pytest.fixture
def tee_rex(build, host):
    def run(*arguments, root=None, **options):
        return subprocess.run([build / "tee-rex", arguments[0], "--root", root or host.root, *map(str, arguments[1:])],
                              capture_output=True, text=True, timeout=60, **options)
    return run


def test_plan_says_why_and_touches_nothing(host, tee_rex):
    before = host.snapshot()
    result = tee_rex("plan", "-m", 1472, "-m", 448, "--cpus", 4)
    assert result.returncode == 0, result.stderr
    assert "2-3,6-7" in result.stdout and "hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=448" in result.stdout
    plan = json.loads(tee_rex("plan", "-m", 1472, "-m", 448, "--cpus", 4, "--json").stdout)
    assert plan["code"] == "ok" and plan["pages"] == {"1G": 1, "2M": 448} and plan["cpu_pool"] == "2-3,6-7"
    assert plan["left_mib"] == 15360 - 1920 and plan["host_reserve_mib"] == 1024
    assert plan["allocator"]["standing"] == "absent" and len(plan["reasons"]) >= 5
    assert host.snapshot() == before
    refused = tee_rex("plan", "-m", 15000, "--json")
    assert refused.returncode == 1 and json.loads(refused.stdout)["code"] == "host-starves"


@pytest.mark.parametrize("arguments, says", [
    (["--memory", "lots"], "whole number of MiB"),
    (["-m", "64"] * 5, "at most 4"),
    (["-m", "64", "--cpu-list", "2-"], "--cpu-list wants"),
    (["-m", "64", "--cpu-list", "2,6", "--cpus", "2"], "exclude"),
    (["-m", "64", "--node", "x"], "--node wants"),
    (["-m", "64", "--cpu", "2"], "did you mean --cpus"),
])
def test_wrong_use(tee_rex, arguments, says):
    for command in ("plan", "reserve"):
        result = tee_rex(command, *arguments)
        assert result.returncode == 2 and says in result.stderr


def test_what_the_configurations_say(host, tee_rex):
    """--instances: every hardware instance is an enclave; the others are none."""
    refused = tee_rex("plan", "--instances")
    assert refused.returncode == 2 and "no configuration" in refused.stderr
    host.put("etc/tee-rex/a.yaml", "enclave: {backend: nitro, image: /a.eif, memory_mib: 1472, cpus: 2}\n")
    host.put("etc/tee-rex/b.yaml", "enclave: {image: /b.eif, memory_mib: 448, cpus: 2}\n")
    host.put("etc/tee-rex/c.yaml", "enclave: {backend: process}\n")
    assert json.loads(tee_rex("plan", "--instances", "--json").stdout) == json.loads(tee_rex("plan", "-m", 1472, "-m", 448, "--cpus", 4, "--json").stdout)
    assert tee_rex("reserve", "--instances").returncode == 0 and host.pages(1048576) == 1
    assert "stands for --memory" in tee_rex("plan", "--instances", "-m", 448).stderr
    host.put("etc/tee-rex/d.yaml", "enclave: {backend: nitro, image: /d.eif}\n")
    assert "d.yaml does not say enclave.memory_mib" in tee_rex("plan", "--instances").stderr
    host.put("etc/tee-rex/d.yaml", "enclave: {image: /d.eif, memory_mib: 64}\n")
    assert "d.yaml: enclave.cpus: say it in every" in tee_rex("plan", "--instances").stderr
    host.put("etc/tee-rex/d.yaml", "enclave: {memroy_mib: 1}\n")
    assert "d.yaml:1: there is no key enclave.memroy_mib" in tee_rex("plan", "--instances").stderr


def test_reserve_release(host, tee_rex):
    before = host.snapshot()
    result = tee_rex("reserve", "-m", 1472, "--cpus", 2)
    assert result.returncode == 0, result.stderr
    assert host.pages(1048576) == 1 and host.pages(2048) == 224 and host.get(NE_CPUS) == "3,7"
    assert host.get(ALLOCATOR).splitlines()[0] == "---" and "memory_mib: 1472" in host.get(ALLOCATOR)
    keys = {line.split(":")[0] for line in host.get(ALLOCATOR).splitlines() if ":" in line and not line.startswith("#")}
    assert keys == {"memory_mib", "cpu_pool"}
    assert tee_rex("reserve").returncode == 0, "without options: as it is"
    released = tee_rex("release")
    assert released.returncode == 0, released.stderr
    after = {k: v.strip() for k, v in host.snapshot().items() if not k.endswith((".lock", "drop_caches", "compact_memory"))}
    assert after == {k: v.strip() for k, v in before.items() if not k.endswith((".lock", "drop_caches", "compact_memory"))}
    assert tee_rex("release").returncode == 1


def test_others_values_are_not_replaced_by_accident(host, tee_rex):
    host.put(ALLOCATOR, "---\nmemory_mib: 4096\ncpu_count: 4\n")
    host.put("etc/systemd/system/multi-user.target.wants/nitro-enclaves-allocator.service", "")
    plan = tee_rex("plan", "-m", 448)
    assert "CONFLICTS" in plan.stdout and "disable --now nitro-enclaves-allocator" in plan.stdout
    before = host.snapshot()
    refused = tee_rex("reserve", "-m", 448)
    assert refused.returncode == 1 and "--take-over" in refused.stderr and "memory_mib 4096" in refused.stderr
    assert {k: v for k, v in host.snapshot().items() if not k.endswith(".lock")} == before
    # they are what is reserved when nothing else is said
    assert tee_rex("reserve").returncode == 0
    assert host.pages(1048576) == 4 and host.get(NE_CPUS) == "2-3,6-7"
    assert tee_rex("release").returncode == 0
    assert tee_rex("reserve", "-m", 448, "--take-over").returncode == 0
    assert "memory_mib: 448" in host.get(ALLOCATOR)
    assert tee_rex("release").returncode == 0
    assert host.get(ALLOCATOR) == "---\nmemory_mib: 4096\ncpu_count: 4"
    # the stock package's own example is nobody's
    host.put(ALLOCATOR, "---\n# Enclave configuration file.\nmemory_mib: 512\ncpu_count: 2\n")
    assert tee_rex("reserve", "-m", 448).returncode == 0
    host.put(ALLOCATOR, "---\nmemory_mib: 512\nmemory: 3\n")
    broken = tee_rex("reserve", "-m", 448)
    assert broken.returncode == 1 and "line 3" in broken.stderr


def test_boot(host, tee_rex):
    nothing = tee_rex("reserve", "--boot")
    assert nothing.returncode == 0 and "nothing to do" in nothing.stdout and host.pages(2048) == 0
    assert tee_rex("reserve", "-m", 448, "--cpus", 2).returncode == 0
    host.reboot()
    assert tee_rex("reserve", "--boot").returncode == 0
    assert host.pages(2048) == 224 and host.get(NE_CPUS) == "3,7"
    # somebody wrote a number that would starve the host; the plan that was checked is made, and the difference said
    host.reboot()
    host.put(ALLOCATOR, "---\nmemory_mib: 15500\ncpu_count: 2\n")
    result = tee_rex("reserve", "--boot")
    assert result.returncode == 0 and "memory_mib 15500" in result.stderr
    assert host.pages(2048) == 224 and "15500" in host.get(ALLOCATOR)
    # a host that has less memory than when it was reserved starts without
    host.reboot()
    host.put("proc/meminfo", f"MemTotal: {1 << 20} kB\nMemAvailable: {900 << 10} kB\n")
    refused = tee_rex("reserve", "--boot")
    assert refused.returncode == 1 and "its reserve" in refused.stderr and host.pages(2048) == 0


def test_one_at_a_time(host, tee_rex):
    host.put("run/tee-rex/reserve.lock", "")
    with open(host.root / "run/tee-rex/reserve.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        busy = tee_rex("reserve", "-m", 448)
        assert busy.returncode == 1 and "at work" in busy.stderr
    assert tee_rex("reserve", "-m", 448).returncode == 0


def test_killed_at_any_time(host, build, tee_rex):
    """Whenever it is killed, running it again gives what was asked for."""
    for delay_ms in range(0, 30, 2):
        host.remove("var")
        host.remove("run")
        host.remove("etc")
        host.reboot()
        process = subprocess.Popen([build / "tee-rex", "reserve", "--root", host.root, "-m", "3000", "--small-pages", "--cpus", "2"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay_ms / 1000)
        process.kill()
        process.wait()
        again = tee_rex("reserve", "-m", 3000, "--small-pages", "--cpus", 2)
        assert again.returncode == 0, again.stderr
        assert host.pages(2048) == 1500 and host.get(NE_CPUS) == "3,7" and host.get("run/tee-rex/reserve.journal") is None
        assert "memory_mib: 3000" in host.get(ALLOCATOR) and host.get(RECORD) is not None


# --- the kernel that runs ---------------------------------------------------------------------------

HUGE_2M = pathlib.Path("/") / PAGES.format(node=0, kib=2048)
LOCK = "/tmp/tee-rex-hugepages.lock"


@contextlib.contextmanager
def real_pages():
    """Alone with the huge pages of this machine, which are as before afterwards."""
    path = HUGE_2M / "nr_hugepages"
    if os.geteuid() != 0 or not path.exists() or not os.access(path, os.W_OK):
        pytest.skip("huge pages cannot be reserved here (root and a kernel with them are needed)")
    with open(LOCK, "w") as lock:
        end = time.monotonic() + 60
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    pytest.skip(f"another test has had this machine's huge pages for a minute ({LOCK})")
                time.sleep(0.1)
        former = path.read_text()
        try:
            yield int(former)
        finally:
            path.write_text(former)


def real_root(tmp_path):
    """The running kernel with files of its own for /etc, /var and /run."""
    root = tmp_path / "real"
    root.mkdir()
    for name in ("proc", "sys"):
        (root / name).symlink_to(f"/{name}")
    return root


def test_for_real(build, tee_rex, tmp_path):
    root = real_root(tmp_path)
    with real_pages() as former:
        meminfo = dict(line.split(":") for line in open("/proc/meminfo"))
        if int(meminfo["MemAvailable"].split()[0]) < 2 << 20:
            pytest.skip("less than 2 GiB are available")
        result = tee_rex("reserve", "-m", 256 + 2 * former, "--small-pages", root=root)
        assert result.returncode == 0, result.stderr
        assert int((HUGE_2M / "nr_hugepages").read_text()) == 128 + former
        assert int((HUGE_2M / "free_hugepages").read_text()) >= 128
        assert tee_rex("release", root=root).returncode == 0
        assert int((HUGE_2M / "nr_hugepages").read_text()) == former
