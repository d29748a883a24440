"""A serial console that takes nothing (--console-stuck): what made an enclave stand still with every line it printed. The service
answers all the same, jobs die of memory and of that alone, and it stops in order."""
import os
import time

from enclave import sha256
from launcher_peer import EVIL
from test_vm import EVIL_CONFIG, KIT, Prover, call, make, pytestmark  # noqa: F401  (the mark skips this file too)


def test_nobody_reads_the_console(tmp_path):
    image = make(tmp_path, EVIL_CONFIG.format(evil=sha256(EVIL)), "--crs", KIT / "crs-TEST")
    with Prover(tmp_path, image, ["--console-stuck"]) as vm:
        print(f"\nready after {vm.ready_s:.1f} s with the console stuck")
        assert vm.upload("1.0", EVIL)[0] == "ok"
        for _ in range(3):                       # each makes the kernel dump its memory's state to the console
            assert vm.act("eat")[0] == "out-of-memory"
        began = time.monotonic()
        for _ in range(20):
            call(vm.socket, "attest", nonce=os.urandom(16))
        print(f"20 documents in {time.monotonic() - began:.2f} s after three deaths for memory")
        assert time.monotonic() - began < 30
        assert vm.act("proof 64")[0] == "ok"
        assert vm.stop() == 0
