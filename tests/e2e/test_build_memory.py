"""How much memory tee-rex build takes: not more for a large image than for a small one, inside a small cgroup, and on a machine
whose memory is in huge pages. The image is mostly zeros with a tenth of noise (images.big_layout), so what counts is its size."""
import contextlib
import os
import pathlib
import subprocess
import tempfile
import time

import pytest

from built import build, registers
from conftest import BUILD
from images import big_layout, peak_kib
from test_build import parts  # noqa: F401  (a fixture)

PEAK_KIB = 64 << 10
V1 = pathlib.Path("/sys/fs/cgroup/memory")
HUGE = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def place():
    """On a disk: a tmpfs would be memory itself."""
    with tempfile.TemporaryDirectory(prefix="build-memory.", dir="/var/tmp") as name:
        yield pathlib.Path(name)


@pytest.fixture(scope="module")
def large(place):
    return big_layout(place / "large", 60000, 2_500_000_000).path


@pytest.mark.parametrize("layout", ["squashfs", "plain"])
def test_peak_of_a_small_one(place, parts, layout):  # noqa: F811
    where = place / f"small-{layout}"
    _, kib = peak_kib(BUILD / "tee-rex", "build", big_layout(where, 6000, 250_000_000).path, "-o", place / "small.eif", *parts, "--layout", layout)
    assert kib <= PEAK_KIB


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["squashfs", "plain"])
def test_peak_of_a_large_one(place, parts, large, layout):  # noqa: F811
    _, kib = peak_kib(BUILD / "tee-rex", "build", large, "-o", place / "large.eif", *parts, "--layout", layout)
    print(f"2.5 GB, 60,000 files, {layout}: peak {kib} KiB")
    assert kib <= PEAK_KIB


@pytest.mark.slow
def test_peak_of_ten_times_the_bytes(place, parts):  # noqa: F811
    _, kib = peak_kib(BUILD / "tee-rex", "build", big_layout(place / "huge", 60000, 25_000_000_000).path, "-o", place / "huge.eif", *parts)
    print(f"25 GB, 60,000 files: peak {kib} KiB")
    assert kib <= PEAK_KIB


@pytest.mark.slow
def test_more_files_spill(place, parts):  # noqa: F811
    """Ten times the files: the tree goes to disk and is counted. The kernel maps what is around each page that is touched, so some of
    the file stays resident between two trims: 64 MiB do not hold here, twice that do."""
    result = build(big_layout(place / "many", 600000, 600_000_000).path, place / "many.eif", *parts)
    assert result["tree_spilled_bytes"] > 0
    _, kib = peak_kib(BUILD / "tee-rex", "build", place / "many", "-o", place / "many.eif", *parts)
    print(f"600,000 files: peak {kib} KiB, {result['tree_spilled_bytes'] >> 20} MiB on disk")
    assert kib <= 2 * PEAK_KIB


@contextlib.contextmanager
def small_cgroup(limit):
    """A memory cgroup (v1) with this limit: page cache counts, but can be given back."""
    if not (V1 / "memory.limit_in_bytes").exists():
        pytest.skip("no cgroup v1 memory controller here")
    group = V1 / f"tee-rex-build-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(limit))
        yield group
    finally:
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.05)


@root
@pytest.mark.slow
def test_inside_96_mib(place, parts, large):  # noqa: F811
    build(large, place / "free.eif", *parts)
    with small_cgroup(96 << 20) as group:
        done = subprocess.run(["sh", "-c", f"echo $$ >{group}/cgroup.procs && exec \"$@\"", "sh", BUILD / "tee-rex", "build", large, "-o",
                               place / "held.eif", *parts], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        print("96 MiB cgroup: failcnt", (group / "memory.failcnt").read_text().strip(), "max usage",
              int((group / "memory.max_usage_in_bytes").read_text()) >> 20, "MiB")
    assert registers(place / "held.eif") == registers(place / "free.eif")


@root
@pytest.mark.slow
def test_beside_huge_pages(place, parts, large):  # noqa: F811
    """70 % of the memory is reserved, as on a parent whose enclave is running."""
    import fcntl
    total = int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemTotal:")))
    with open("/tmp/tee-rex-hugepages.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = HUGE.read_text()
        try:
            wanted = total * 7 // 10 // 2048
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
            HUGE.write_text(str(wanted))
            got = int(HUGE.read_text())
            if got < wanted * 95 // 100:
                pytest.skip(f"this machine gave {got} of {wanted} huge pages")
            _, kib = peak_kib(BUILD / "tee-rex", "build", large, "-o", place / "beside.eif", *parts)
            print(f"with {got * 2} MiB in huge pages: peak {kib} KiB")
            assert kib <= PEAK_KIB
        finally:
            HUGE.write_text(before)
