"""arm64, the other architecture that Nitro has: the enclave's programs are cross-compiled, and enclave images for it built,
described and taken apart. Nothing of it runs here."""
import gzip
import json
import shutil
import struct
import subprocess

import pytest

import eif_oracle
from built import Built, build, flags, refused, registers, unsquash
from conftest import BUILD, TOP
from images import entry, layer, simple_layout
from test_kernel import FRAGMENT

EM_AARCH64, PT_INTERP = 183, 3


def arm64_kernel(path, text_offset=2 << 20):
    """A raw Image's shell with a configuration in it."""
    head = bytearray(64)
    struct.pack_into("<QQQ", head, 8, text_offset, 1 << 20, 0xA)
    head[56:60] = b"ARM\x64"
    config = "CONFIG_ARM64=y\n" + "".join(f"{line}\n" for line in FRAGMENT.splitlines() if "X86" not in line)
    path.write_bytes(bytes(head) + b"Linux version 6.12.1-arm (x)\0" + b"IKCFG_ST" + gzip.compress(config.encode()) + b"IKCFG_ED" + bytes(3000))
    return path


@pytest.fixture(scope="module")
def programs():
    if shutil.which("aarch64-linux-gnu-gcc") is None:
        pytest.skip("gcc-aarch64-linux-gnu is not installed: scripts/install-packages test")
    done = subprocess.run(["make", "-s", "-j2", "arm64", *(["CC=ccache gcc"] if shutil.which("ccache") else [])], cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr[-2000:]
    return {name: BUILD / "arm64" / name for name in ("tee-rex-init", "tee-rex-launcher", "tee-rex-prover")}


def elf(path):
    """Machine, interpreter and needed libraries."""
    data = path.read_bytes()
    machine, = struct.unpack_from("<H", data, 18)
    offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, offset + i * size)[0] for i in range(count)]
    needed = subprocess.run(["readelf", "-dW", path], capture_output=True, text=True, check=True).stdout
    return machine, PT_INTERP in kinds, sorted(line.split("[")[1][:-1] for line in needed.splitlines() if "(NEEDED)" in line and "[ld-linux" not in line)


def test_programs_cross_compile(programs):
    assert elf(programs["tee-rex-init"]) == (EM_AARCH64, False, [])
    assert elf(programs["tee-rex-launcher"]) == (EM_AARCH64, True, ["libc.so.6"])
    assert elf(programs["tee-rex-prover"]) == (EM_AARCH64, True, ["libc.so.6", "libcrypto.so.3"])


def test_image(programs, tmp_path):
    app = layer(entry("bin/app", data=programs["tee-rex-launcher"].read_bytes(), mode=0o755))
    layout = simple_layout(tmp_path / "layout", app, config={"Cmd": ["app"]}, architecture="arm64")
    parts = ["--platform", "linux/arm64", "--kernel", arm64_kernel(tmp_path / "Image"), "--init", programs["tee-rex-init"]]
    result = build(layout.path, tmp_path / "app.eif", *parts)
    made = Built(tmp_path / "app.eif")
    assert result["architecture"] == "arm64" and flags(tmp_path / "app.eif") == 1
    assert made.cmdline == ("reboot=k panic=-1 pci=off console=ttyS0 random.trust_cpu=on rootfstype=ramfs root=/dev/ram0 "
                            "random.trust_bootloader=off swiotlb=noforce page_alloc.shuffle=1")
    assert made.boot[b"init"].data == programs["tee-rex-init"].read_bytes()
    assert (unsquash(made, tmp_path / "squashfs") / "bin/app").read_bytes() == programs["tee-rex-launcher"].read_bytes()
    mine = registers(tmp_path / "app.eif")
    assert {k: result["measurements"][k] for k in mine} == mine
    said = json.loads(subprocess.run([BUILD / "tee-rex", "describe", tmp_path / "app.eif"], capture_output=True, check=True).stdout)
    assert said["Architecture"] == "aarch64" and said["CheckCRC"] and {k: said["Measurements"][k] for k in mine} == mine
    assert said["Metadata"]["KernelVersion"] == "6.12.1-arm"
    program, why = eif_oracle.oracle()
    if program is None:
        pytest.skip(why)
    stock = eif_oracle.describe(program, tmp_path / "app.eif")
    assert stock is not None and {k: stock["Measurements"][k] for k in mine} == mine


def test_what_does_not_fit_together(programs, tmp_path):
    layout = simple_layout(tmp_path / "layout", layer(entry("app", data=b"x", mode=0o755)), config={"Cmd": ["/app"]}, architecture="arm64")
    kernel, init = arm64_kernel(tmp_path / "Image"), programs["tee-rex-init"]
    for options, code, word in [
            (["--platform", "linux/arm64", "--kernel", arm64_kernel(tmp_path / "zero", 0), "--init", init], "bad-kernel", "text_offset"),
            (["--platform", "linux/arm64", "--kernel", kernel, "--init", BUILD / "tee-rex-init"], "bad-init", "architecture")]:
        got, message = refused(layout.path, tmp_path / "x.eif", *options)
        assert got == code and word in message, (got, message)
    (tmp_path / "packed").write_bytes(gzip.compress(kernel.read_bytes()))
    got, message = refused(layout.path, tmp_path / "x.eif", "--platform", "linux/arm64", "--kernel", tmp_path / "packed", "--init", init)
    assert got == "bad-kernel" and "unpack it first" in message
