"""What a proof costs beside the proof: a prover program that only leaves 100 KB, by itself and behind gateway and service.
Where bb takes seconds, a difference of milliseconds drowns in the machine's noise; here it is all there is."""
import subprocess

from . import machine
from .bench import EVIL, MIB, stub_config, stub_payload, timed
from .prove import body_of, job_is_over, post, proofs_made

TITLE = "What gateway and service add to a proof, by payload size"
TARGETS = ["all", "build/tests/pgp_tool", "build/tests/tools/evil_prover"]
# payload, and the most it may add: 20 ms is the fixed part of the target for proofs, the others are the reference server's
SIZES = [("45 KB", 45 << 10, 0.020, "20 ms"), ("1 MiB", MIB, 0.029, "the reference's 29 ms"),
         ("3 MB", 3 * 1000 * 1000, None, None), ("40 MiB", 40 * MIB, 0.41, "the reference's 410 ms")]
PER_ROUND = 3


def alone(bench, payload):
    source, out = bench.memory / "input", bench.memory / "output"
    source.write_bytes(payload)
    out.mkdir(exist_ok=True)
    return lambda: timed(lambda: subprocess.run([EVIL, source, out], check=True, stdin=subprocess.DEVNULL))


def through(e, payload):
    ours = (e.gateway, e.prover, e.launcher)

    def run():
        body, made = body_of(e.encrypt(payload)), proofs_made(e)
        before = sum(map(machine.cpu_s, ours))
        seconds = timed(lambda: post(e.port, body))
        job_is_over(e)
        assert proofs_made(e) == made + 1
        return seconds, sum(map(machine.cpu_s, ours)) - before
    return run


def measure(bench, result):
    with bench.enclave(stub_config(), gateway=True) as e:
        e.upload("1.0", EVIL)
        for name, size, limit, limit_text in SIZES:
            payload = stub_payload(size)
            found = bench.turns({"alone": alone(bench, payload), "through": through(e, payload)},
                                bench.pairs * PER_ROUND)
            base = result.add(f"{name}: the program alone", found["alone"], "ms")
            row = result.add(f"{name}: through gateway and service", [wall for wall, _ in found["through"]], "ms")
            result.add(f"{name}: CPU of gateway, prover and launcher", [cpu for _, cpu in found["through"]], "ms")
            added = row.median - base.median
            if limit is not None:
                result.check(f"{name}: adds ≤ {limit_text}", f"{added * 1e3:.1f} ms", added <= limit)
