"""The decryptor's memory does not depend on the message's size, nor on the chunk size its sender chose."""
import pathlib
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
GROWTH_MAX_KIB = 256


@pytest.fixture(scope="module")
def peak_kib():
    made = subprocess.run(["make", "-s", "build/bench/openpgp_bench"], cwd=TOP, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr

    def run(mib, octet):
        done = subprocess.run([TOP / "build/bench/openpgp_bench", "rss", str(mib), str(octet)], capture_output=True,
                              text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)
    return run


@pytest.mark.parametrize("octet", [6, 12, 16])
def test_memory_is_the_same_for_1_and_256_mib(peak_kib, octet):
    assert peak_kib(256, octet) - peak_kib(1, octet) <= GROWTH_MAX_KIB


def test_memory_is_the_same_for_all_chunk_sizes(peak_kib):
    peaks = [peak_kib(32, octet) for octet in (0, 6, 12, 16)]
    assert max(peaks) - min(peaks) <= GROWTH_MAX_KIB
