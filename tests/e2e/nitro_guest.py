"""FakeGuest: what an enclave shows of itself to its parent (heartbeat, service, orderly shutdown, console), played by a
thread, behind the driver's model. It boots nothing; tests/e2e/test_nitro_boot.py boots what was loaded."""
import contextlib
import threading
import time

from fake_prover import FakeProver

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
