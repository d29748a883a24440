"""A bare guest: our kernel and init in stock QEMU, with a serial line and, if asked for, more devices. What needs the
whole simulator (vsock, NSM, registers) uses `tee-rex run --backend qemu` instead."""
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / "build"


def _kernel_directory():
    done = subprocess.run([TOP / "scripts/guest-kernel"], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no guest kernel: {done.stderr.strip()[-300:]}")
    return pathlib.Path(done.stdout.strip())


_found = {}


def kernel():
    """The guest kernel's bzImage, built when it is not in the cache yet; skips loudly without."""
    if "kernel" not in _found:
        _found["kernel"] = _kernel_directory() / "bzImage"
    return _found["kernel"]


def qemu():
    """qemu-system-x86_64, version 10 or later."""
    path = shutil.which("qemu-system-x86_64")
    version = path and re.search(r"version (\d+)", subprocess.run([path, "--version"], capture_output=True, text=True).stdout)
    if not version or int(version.group(1)) < 10:
        pytest.skip("QEMU 10 or later is not installed: as root, scripts/backports install qemu-system-x86")
    return path


def tsc_khz():
    if "khz" not in _found:
        with tempfile.TemporaryDirectory() as work:
            subprocess.run(["gcc", "-O2", "-o", f"{work}/tsc_khz", TOP / "tests/tools/tsc_khz.c"], check=True)
            _found["khz"] = subprocess.run([f"{work}/tsc_khz"], check=True, capture_output=True, text=True).stdout.strip()
    return _found["khz"]


def cpio(files):
    """newc archive of name -> (mode, bytes), names in order, directories before what is in them."""
    out = b""
    for number, (name, (mode, data)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))]):
        raw = name.encode() + b"\0"
        device = (5, 1) if mode >> 12 == 2 else (0, 0)
        head = "070701" + "".join(f"{v:08x}" for v in (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(raw), 0))
        out += head.encode() + raw
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return out


DIRECTORY, PROGRAM, PLAIN, DEVICE = 0o040755, 0o100755, 0o100644, 0o020666


def ramdisk(table, init=None, app=None, top=None):
    """The boot ramdisk with this service table, and an application of plain files (name -> bytes) under /app;
    None is a node of the console's. top: more files beside init."""
    files = {name: (DIRECTORY, b"") for name in ("dev", "proc", "sys", "run", "tmp", "app", "etc", "etc/tee-rex")}
    files["dev/console"] = (0o020600, b"")
    files["init"] = (PROGRAM, pathlib.Path(init or BUILD / "tests/tee-rex-init-UNSAFE").read_bytes())
    files["etc/tee-rex/init.conf"] = (PLAIN, table.encode())
    for name in ("dev", "proc", "sys", "run", "tmp"):
        files[f"app/{name}"] = (DIRECTORY, b"")
    files["app/probe"] = (PROGRAM, (BUILD / "tests/tools/init_probe").read_bytes())
    for name, data in (app or {}).items():
        for parent in reversed(pathlib.PurePath(f"app/{name}").parents[:-2]):
            files.setdefault(str(parent), (DIRECTORY, b""))
        files[f"app/{name}"] = (DEVICE if data is None else PLAIN, data or b"")
    files.update({name: (PLAIN, data) for name, data in (top or {}).items()})
    return cpio(files)


def image(directory, table, init=None, app=None, more=()):
    """An EIF of the guest kernel and such a ramdisk, for `tee-rex run --backend qemu`; its path."""
    from vm import CMDLINE
    (directory / "boot.cpio").write_bytes(ramdisk(table, init or BUILD / "tee-rex-init", app))
    (directory / "cmdline").write_text(CMDLINE + " rootfstype=ramfs")
    path = directory / "app.eif"
    subprocess.run([BUILD / "tee-rex", "eif", "--kernel", kernel(), "--cmdline", directory / "cmdline", "--ramdisk",
                    directory / "boot.cpio", "-o", path, *more], check=True, capture_output=True)
    return path


def arguments(initrd, memory_mib=128, cpus=1, machine="", extra=()):
    """QEMU's command line without its serial line. Why pit, pic and no_timer_check: docs/KERNEL.md."""
    return [qemu(), "-M", f"microvm,accel=tcg,acpi=off,pit=on,pic=on,rtc=on,isa-serial=on{machine}", "-cpu", "max", "-smp", str(cpus),
            "-m", str(memory_mib), "-nodefaults", "-display", "none", "-no-reboot", "-kernel", str(kernel()), "-initrd", str(initrd),
            "-append", f"console=ttyS0 reboot=t panic=-1 tsc_early_khz={tsc_khz()} tsc=reliable no_timer_check rootfstype=ramfs",
            *extra]


def boot(tmp_path, table, init=None, app=None, seconds=60, **more):
    """Boots until the guest ends by itself, or for some seconds (then it is killed). Returns (serial output, ended)."""
    initrd = tmp_path / "initrd"
    initrd.write_bytes(ramdisk(table, init, app))
    argv = arguments(initrd, **more) + ["-serial", "stdio"]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
        text, ended = done.stdout + done.stderr, True
    except subprocess.TimeoutExpired as late:
        text, ended = late.stdout or b"", False
    return text.decode(errors="replace").replace("\r", ""), ended
