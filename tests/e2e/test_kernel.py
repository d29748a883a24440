"""tee-rex kernel check against kernels made here from the boot protocols' documentation: exit status, JSON, words."""
import gzip
import json
import pathlib
import struct
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
FRAGMENT = (TOP / "kernel/enclave.config").read_text() + (TOP / "kernel/x86_64.config").read_text()


def check(*args):
    done = subprocess.run([TOP / "build/tee-rex", "kernel", "check", *args], text=True, capture_output=True)
    return done.returncode, done.stdout, done.stderr


def bzimage(vmlinux, release=b"6.12.1-enclave (made@here)"):
    payload = gzip.compress(vmlinux)
    setup = bytearray(4 * 512)
    setup[0x1F1] = 3
    code = bytes(512) + payload + bytes(-(512 + len(payload)) % 16)
    struct.pack_into("<I", setup, 0x1F4, len(code) // 16)
    struct.pack_into("<H", setup, 0x1FE, 0xAA55)
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, 0x20F)
    struct.pack_into("<H", setup, 0x20E, 0x100)
    struct.pack_into("<H", setup, 0x236, 0x3F)
    struct.pack_into("<II", setup, 0x248, 512, len(payload))
    setup[0x300:0x300 + len(release)] = release
    return bytes(setup) + code


def with_config(text):
    return b"\x7fELF" + bytes(5000) + b"IKCFG_ST" + gzip.compress(text.encode()) + b"IKCFG_ED" + bytes(300)


@pytest.fixture
def kernel(tmp_path):
    def make(text=FRAGMENT, name="bzImage", release=b"6.12.1-enclave (made@here)"):
        path = tmp_path / name
        path.write_bytes(bzimage(with_config(text) if text is not None else b"\x7fELF" + bytes(9000), release))
        return path
    return make


def test_ours_fits(kernel):
    status, out, err = check(kernel())
    assert (status, err) == (0, "")
    assert "x86_64, gzip, 6.12.1-enclave" in out and out.endswith("verdict      fits\n")
    status, out, _ = check(kernel(), "--json")
    verdict = json.loads(out)
    assert status == 0 and verdict["fits"] is True and verdict["code"] == "ok"
    assert verdict["missing"] == verdict["forbidden"] == verdict["degraded"] == []


@pytest.mark.parametrize("release,fits", [
    (b"4.14.355-276.618.amzn2.x86_64", False), (b"5.13.19", False), (b"5.14.0-1", True), (b"5.100.1", True), (b"6.1.0", True), (b"10.0", True),
    (b"5", True), (b"5.", True), (b"custom", True), (b"5.13x", False), (b"99999.1", True), (b"", True)])
def test_a_kernel_before_init_s_time(kernel, release, fits):
    status, out, err = check(kernel(release=release))
    assert (status == 0) == fits, err
    if not fits:
        assert "too-old: " in err and "Linux 5.14" in err and "cgroup.kill" in err


@pytest.mark.parametrize("option", ["MEMCG", "CGROUP_PIDS", "FAIR_GROUP_SCHED"])
def test_cgroup_controllers_are_not_optional(kernel, option):
    status, out, err = check(kernel(FRAGMENT + f"# CONFIG_{option} is not set\n"))
    assert status == 1 and f"missing      CONFIG_{option}: " in out


def test_what_is_wrong_is_named(kernel):
    bad = kernel(FRAGMENT + "# CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES is not set\nCONFIG_SWAP=y\n# CONFIG_PSI is not set\nCONFIG_NSM=m\n")
    status, out, err = check(bad, "--json")
    verdict = json.loads(out)
    assert status == 1 and verdict["code"] == "unfit" and "unfit" in err
    assert [f["option"] for f in verdict["missing"]] == ["CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES", "CONFIG_NSM"]
    assert [f["module"] for f in verdict["missing"]] == [False, True]
    assert [f["option"] for f in verdict["forbidden"]] == ["CONFIG_SWAP"]
    assert [f["option"] for f in verdict["degraded"]] == ["CONFIG_PSI"]
    assert all(f["why"] for kind in ("missing", "forbidden", "degraded") for f in verdict[kind])
    _, out, _ = check(bad)
    assert "missing      CONFIG_NSM (is a module, and none is loaded)" in out


def test_degraded_still_fits(kernel):
    status, out, _ = check(kernel(FRAGMENT + "# CONFIG_SECURITY_LANDLOCK is not set\n"))
    assert status == 0 and "degraded     CONFIG_SECURITY_LANDLOCK" in out and "fits, with less: 1 degraded" in out


def test_configuration_from_a_file(kernel, tmp_path):
    bare, config = kernel(None), tmp_path / "config"
    config.write_text(FRAGMENT)
    status, _, err = check(bare)
    assert status == 1 and "no-config" in err and "--config" in err
    assert check(bare, "--config", config)[0] == 0
    assert check("--config", config)[0] == 0
    # a kernel's own word counts, and that the file was not read is said
    status, _, err = check(kernel(FRAGMENT + "CONFIG_SWAP=y\n", "other"), "--config", config)
    assert status == 1 and "was not read" in err
    config.write_text("CONFIG_A=y\nnonsense\n")
    status, _, err = check(bare, "--config", config)
    assert status == 1 and "bad-config" in err and "line 2" in err


def test_arm64(tmp_path):
    image = bytearray(64) + b"Linux version 6.12.1-arm (x)\0" + with_config(FRAGMENT)
    image[56:60] = b"ARM\x64"
    path = tmp_path / "Image"
    path.write_bytes(image)
    status, _, err = check(path)
    assert status == 1 and "bad-text-offset" in err and "2 MiB" in err
    struct.pack_into("<Q", image, 8, 2 << 20)
    path.write_bytes(image)
    status, out, _ = check(path)
    assert status == 0 and "arm64, plain, 6.12.1-arm" in out and "WARNING" not in out
    struct.pack_into("<Q", image, 8, 0x80000)
    path.write_bytes(image)
    status, out, _ = check(path)
    assert status == 0 and "WARNING" in out
    path.write_bytes(gzip.compress(bytes(image)))
    assert "compressed-file" in check(path)[2]


def test_used_wrongly(kernel, tmp_path):
    assert check()[0] == 2
    assert check(tmp_path / "nothing")[0] == 2
    assert check(tmp_path)[0] == 2
    assert check("--config", tmp_path / "x", "--module", tmp_path / "y")[0] == 2
    assert check(kernel(), "--module", kernel(name="not-a-module"))[0] == 1
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    status, _, err = check(empty)
    assert status == 1 and "not-a-kernel" in err


def test_nothing_a_kernel_says_reaches_the_terminal_raw(kernel):
    _, out, _ = check(kernel(release=b"6.12\x1b]0;owned\x07 x"))
    assert "\x1b" not in out and "\x07" not in out
