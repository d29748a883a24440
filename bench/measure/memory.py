"""Resident memory of the prover at rest and at its peak (VmHWM, of a fresh process each time) in its two heavy duties, with
what the other two processes on the path take. Payloads and binaries live in memory files, which are nobody's resident set."""
from . import machine
from .bench import EVIL, MIB, stub_config, stub_payload
from .prove import body_of, post
from .upload import SIZE, by_command

TITLE = "Resident memory of the prover"
TARGETS = ["all", "build/tests/pgp_tool", "build/tests/tools/evil_prover"]
IDLE_MAX_KIB, BUSY_MAX_KIB = 8 << 10, 12 << 10


def look(pid):
    return machine.memory_kib(pid, "VmHWM", "VmRSS", "RssAnon")


def measure(bench, result):
    binary = bench.random_file("binary", bench.options.upload_bytes or SIZE)
    payload = stub_payload(40 * MIB)
    config = stub_config(binary)

    def idle():
        with bench.enclave(config, gateway=True) as e:
            return look(e.prover), look(e.gateway), look(e.launcher)

    def proving():
        with bench.enclave(config, gateway=True) as e:
            e.upload("1.0", EVIL)
            body = body_of(e.encrypt(payload))
            post(e.port, body)
            return look(e.prover), look(e.gateway), look(e.launcher)

    def uploading():
        with bench.enclave(config) as e:
            by_command(e, binary)
            return (look(e.prover),)

    found = bench.turns({"idle": idle, "proving": proving, "uploading": uploading})
    for name, what, limit in (("idle", "at rest", IDLE_MAX_KIB), ("proving", "40 MiB prove", BUSY_MAX_KIB),
                              ("uploading", "200 MB upload", BUSY_MAX_KIB)):
        of_prover = [run[0] for run in found[name]]
        peak = result.add(f"prover, {what}: peak", [hwm for hwm, _, _ in of_prover], "KiB")
        result.add(f"prover, {what}: afterwards", [rss for _, rss, _ in of_prover], "KiB")
        result.add(f"prover, {what}: of it not from files", [anon for _, _, anon in of_prover], "KiB")
        result.check(f"prover {what} ≤ {limit >> 10} MiB", f"{max(peak.values) / 1024:.1f} MiB at most", max(peak.values) <= limit)
    for index, who in ((1, "gateway"), (2, "launcher")):
        result.add(f"{who}, at rest", [run[index][1] for run in found["idle"]], "KiB")
        result.add(f"{who}, 40 MiB prove: peak", [run[index][0] for run in found["proving"]], "KiB")
