"""tee-rex size: the sum is made of what is in the image."""
import gzip
import json
import subprocess
import sys

import pytest

from conftest import TOP

sys.path.insert(0, str(TOP / "tests" / "vectors"))
import make_eifs as eifs  # noqa: E402  (needs the path)

MIB = 1 << 20


def cpio(files):
    """A newc archive of {name: content}."""
    out = bytearray()
    for number, (name, data) in enumerate([*files.items(), ("TRAILER!!!", b"")]):
        fields = [number + 1, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        out += b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


@pytest.fixture
def size(build, tmp_path):
    def run(ramdisk, *options, text=False):
        parts = [*eifs.MEASURED[:-2], (eifs.RAMDISK, cpio({"init": b"x"})), (eifs.RAMDISK, ramdisk)]
        (tmp_path / "a.eif").write_bytes(eifs.Image(parts).pack())
        result = subprocess.run([build / "tee-rex", "size", tmp_path / "a.eif", *map(str, options), *([] if text else ["--json"])], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout if text else json.loads(result.stdout)
    return run


def test_what_is_in_the_image_counts(size):
    small = size(cpio({"a": b"x"}))
    large = size(cpio({"a": b"x", "b": bytes(50 * MIB)}))
    assert small["image"]["exact"] and large["image"]["exact"]
    assert 50 <= large["memory_mib"] - small["memory_mib"] <= 56
    many = size(cpio({f"f{n}": b"x" for n in range(10000)}))
    assert many["image"]["unpacked"] - small["image"]["unpacked"] > 10000 * 4096, "a small file takes a page"


def test_a_packed_ramdisk_is_unpacked_to_count_it(size):
    files = {f"f{n}": bytes(5000) for n in range(1000)}
    plain, packed = size(cpio(files)), size(gzip.compress(cpio(files)) + bytes(3))       # padded, as ramdisks are
    assert packed["image"]["exact"] and packed["image"]["unpacked"] == plain["image"]["unpacked"]
    assert packed["image"]["ramdisks"] < plain["image"]["ramdisks"] // 10
    assert not size(b"BZh9" + bytes(100))["image"]["exact"]


def test_what_it_does_counts(size):
    base = size(cpio({"a": b"x"}))
    assert base["largest"] == "work" and base["work"]["job"] == 320 * MIB and base["memory_mib"] % 2 == 0
    assert size(cpio({"a": b"x"}), "--gates", 1 << 20)["work"]["job"] == (60 + 1792) * MIB
    assert size(cpio({"a": b"x"}), "--gates", 1000)["work"]["job"] == 320 * MIB
    two = size(cpio({"a": b"x"}), "--jobs", 2, "--payload", 32, "--uploads", 40)
    assert two["work"]["payloads"] == 64 * MIB and two["memory_mib"] - base["memory_mib"] >= 320 + 40
    assert 448 <= base["memory_mib"] <= 640, "no multiple of the image's size"
    said = size(cpio({"a": b"x"}), text=True)
    assert f"memory: {base['memory_mib']} MiB" in said and "at least 320" in said


def test_wrong_use(build, tmp_path):
    def run(*arguments):
        return subprocess.run([build / "tee-rex", "size", *arguments], capture_output=True, text=True)
    (tmp_path / "bad").write_bytes(b"no image")
    assert run(tmp_path / "bad").returncode == 1
    assert run(tmp_path / "absent").returncode == 2
    assert run().returncode == 2
    assert run(tmp_path / "bad", "--jobs", "0").returncode == 2
    assert run(tmp_path / "bad", "--gates", "99999999999").returncode == 2
