"""What is on both sides of the driver's model: `tee-rex run --backend nitro` (Run); and the enclave, either played by a thread
(FakeGuest: heartbeat, service, orderly shutdown, console; it boots nothing) or booted in QEMU from what was loaded
(BootedGuest)."""
import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import threading
import time
import uuid

from conftest import BUILD, Program, wait_for
from fake_prover import FakeProver

TEE_REX = BUILD / "tee-rex"
HEARTBEAT, CONTROL, SERVICE, SHUTDOWN = 9000, 9001, 9002, 9003


class FakeGuest:
    def __init__(self, driver, vm, heartbeat=True, answers=True, boot_s=0.0):
        self.driver, self.vm, self.answered, self.closed = driver, vm, None, False
        self.listeners = []
        self.prover = FakeProver(driver.name(f"enclave-{vm.cid}-{SERVICE}")) if answers else None
        vm.guest = self.close
        self._serve(SHUTDOWN, self._shutdown)
        if vm.debug:
            self._accept(vm.console, lambda s: s.sendall(b"[    0.000000] Linux version 6.12\r\n"))
        if boot_s:
            time.sleep(boot_s)
        if heartbeat:
            with contextlib.suppress(OSError):     # the parent may be gone
                self._beat()

    def _beat(self):
        with self.driver.enclave_calls(self.vm.cid, HEARTBEAT) as s:
            s.settimeout(10)
            s.sendall(b"\xb7")
            self.answered = s.recv(1)

    def _serve(self, port, what):
        self.listeners.append(self.driver.enclave_listens(self.vm.cid, port))
        self._accept(self.listeners[-1], what)

    def _accept(self, listener, what):
        def accept():
            while True:
                try:
                    s, _ = listener.accept()
                except OSError:
                    return
                self.kept = s
                what(s)
        threading.Thread(target=accept, daemon=True).start()

    def _shutdown(self, s):
        if s.recv(1) == b"S":
            self.close()
            self.vm.die()

    def close(self):
        self.closed = True
        for listener in self.listeners:
            listener.close()
        if self.prover is not None:
            self.prover.stop()


class BootedGuest:
    """Boots vm.image, which the model read out of the regions that the driver was given, in as much memory as they are and on as
    many CPUs."""

    def __init__(self, driver, vm):
        self.directory = driver.dir / f"boot-{vm.cid}"
        (self.directory / "run").mkdir(parents=True)
        for d in (driver.dir, self.directory, self.directory / "run"):
            d.chmod(0o755)                         # the simulator's devices have a user of their own
        image, state = self.directory / "loaded.eif", driver.dir / "nsm"
        image.write_bytes(vm.image)
        self.error = open(self.directory / "log", "wb")
        self.process = subprocess.Popen(
            [BUILD / "tests/tools/nitro_boot", image, self.directory / "run", state, driver.name("")[1:-1], str(vm.cid),
             str(vm.memory >> 20), str(len(vm.vcpus)), "debug" if vm.debug else "production"], stdout=subprocess.PIPE,
            stderr=self.error)
        self.root = state / "root.pem"
        vm.guest = self.close
        self.console, self.readers = b"", []
        if vm.console is not None:
            threading.Thread(target=self._readers, args=(vm.console,), daemon=True).start()
        while piece := self.process.stdout.read1(4096):
            self.console += piece
            for reader in self.readers:
                with contextlib.suppress(OSError):
                    reader.sendall(piece)
        self.process.wait()
        vm.die()

    def _readers(self, listener):
        with contextlib.suppress(OSError):
            while True:
                self.readers.append(listener.accept()[0])

    def close(self):
        self.process.send_signal(signal.SIGTERM)

    log = property(lambda self: (self.directory / "log").read_text(errors="replace"))


class Run(Program):
    all = []

    def __init__(self, driver, image, directory, *options, name=None, ready=True, ready_s=20):
        self.name = name or "nitro-" + uuid.uuid4().hex[:10]
        directory = directory / self.name
        directory.mkdir()
        self.dir = pathlib.Path("/run/tee-rex") / self.name
        Run.all.append(self)
        if "--memory" not in options:
            options += ("--memory", "128")
        super().__init__([TEE_REX, "run", "--backend", "nitro", "--image", image, "--name", self.name, *options], directory,
                         env=driver.environment())
        if ready:
            wait_for(lambda: self.stdout or not self.running(), ready_s, "readiness")
            assert self.stdout.startswith("ready: enclave "), self.stderr
            assert "SIMULATED" not in self.stdout
            if hasattr(driver, "guests"):        # they may still be noting what they were answered
                wait_for(lambda: len(driver.guests) >= len(driver.vms), 20, "the guest")

    @classmethod
    def kill_all(cls):
        for run in cls.all:
            if run.running():
                run.process.kill()
                run.process.wait()
        cls.all.clear()

    def ask(self, verb, **more):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(str(self.dir / "admin.sock"))
            s.sendall(json.dumps({"verb": verb, **more}).encode() + b"\n")
            return json.loads(s.makefile("rb").readline())
