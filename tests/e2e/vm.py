"""Enclave images for tests and the simulator that runs them: `tee-rex run --backend qemu`."""
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import time
import uuid

from enclave import BUILD, ROOT, TEE_REX

KERNELS = {}
CMDLINE = "reboot=k panic=-1 pci=off nomodules console=ttyS0 i8042.noaux i8042.nomux i8042.nopnp i8042.dumbkbd random.trust_cpu=on"


def have_qemu():
    """Installs QEMU where it is missing and can be; else the reason why tests cannot run."""
    def version():
        try:
            said = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True).stdout
        except FileNotFoundError:
            return 0
        return int(re.search(r"version (\d+)", said).group(1))
    if version() < 10 and os.geteuid() == 0:
        subprocess.run([ROOT / "scripts/backports", "install", "qemu-system-x86"], check=True)
    return version() >= 10


def kernel(*options):
    """The directory of the guest kernel: built, or from its cache."""
    if options not in KERNELS:
        done = subprocess.run([ROOT / "scripts/guest-kernel", *options], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        KERNELS[options] = pathlib.Path(done.stdout.strip())
    return KERNELS[options]


def cpio(files):
    """newc: name -> (mode, bytes)"""
    out = bytearray()
    for number, (name, (mode, data)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))]):
        raw = name.encode() + b"\0"
        is_device = mode >> 12 == 2
        out += ("070701" + "".join(f"{v:08x}" for v in (number, mode, 0, 0, 1, 0, len(data), 0, 0, 5 if is_device else 0,
                                                        1 if is_device else 0, len(raw), 0))).encode() + raw
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def make_image(directory, init, cmdline=CMDLINE, kernel_path=None, more=()):
    """An EIF of the guest kernel and one ramdisk with this init (bytes); its path."""
    directory = pathlib.Path(directory)
    (directory / "boot.cpio").write_bytes(cpio({
        "dev": (0o040755, b""), "dev/console": (0o020600, b""), "init": (0o100755, init)}))
    (directory / "cmdline").write_text(cmdline)
    image = directory / "app.eif"
    subprocess.run([TEE_REX, "eif", "--kernel", kernel_path or kernel() / "bzImage", "--cmdline", directory / "cmdline", "--ramdisk",
                    directory / "boot.cpio", "-o", image, *more], check=True, capture_output=True)
    return image


class Vm:
    """A simulated enclave; starts on construction."""

    def __init__(self, directory, image, arguments=(), memory=128, ready="heartbeat", start=True, prefix=()):
        self.directory = pathlib.Path(directory)
        self.name = "vm-" + uuid.uuid4().hex[:12]
        self.state, self.log = self.directory / "nsm", self.directory / "log"
        self.command = [*prefix, TEE_REX, "run", "--backend", "qemu", image, "--memory", str(memory), "--name", self.name,
                        "--state", self.state, "--ready", ready, *arguments]
        self.run_dir = pathlib.Path("/run/tee-rex" if os.geteuid() == 0 else f"/tmp/tee-rex-{os.geteuid()}") / self.name
        self.process = None
        if start:
            self.start()

    def start(self):
        self.log_file = open(self.log, "wb")
        self.began = time.monotonic()
        self.process = subprocess.Popen(list(map(str, self.command)), stdout=subprocess.PIPE, stderr=self.log_file)
        self.line = self.first_line(300)
        self.ready_s = time.monotonic() - self.began
        if not self.line.startswith("ready: "):
            self.kill()
            raise AssertionError(f"not ready: {self.line!r}\n{self.log.read_text()}")
        assert "SIMULATED" in self.line
        self.socket = self.line.split("service socket ")[1].split(",")[0].strip()

    def first_line(self, seconds):
        """What run says first; nothing when a service of the enclave has been started five times over before that."""
        end = self.began + seconds
        while time.monotonic() < end:
            if select.select([self.process.stdout], [], [], 1)[0]:
                return self.process.stdout.readline().decode()
            if b"state=starting restarts=5" in self.log.read_bytes():
                break
        return ""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def stop(self, signal_number=signal.SIGTERM, timeout=60):
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        status = self.process.wait(timeout)
        self.log_file.close()
        return status

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log_file.close()

    def measured(self):
        return subprocess.run(list(map(str, [*self.command, "--measure"])), check=True, capture_output=True, text=True).stdout.split()

    def children(self):
        """role -> pid"""
        found = {}
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                text = stat.read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(text.rpartition(")")[2].split()[1]) == self.process.pid:
                found[text.split("(", 1)[1].rpartition(")")[0]] = int(text.split(" ", 1)[0])
        return found

    # --- the guest's ports ------------------------------------------------------------------------

    def dial(self, port, timeout=60):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(timeout)
        s.connect(str(self.run_dir / "dial.sock"))
        s.sendall(f"CONNECT {port}\n".encode())
        return s

    def command_line(self, line, timeout=60):
        """One command of tests/tools/vm_agent.c."""
        with self.dial(9103, timeout) as s, s.makefile("rb") as f:
            s.sendall(line.encode() + b"\n")
            return f.readline().decode().rstrip("\n")

    def admin(self, **request):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(str(self.run_dir / "admin.sock"))
            s.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(s.makefile("rb").readline())
