"""Attestation documents by the hundred thousand: with a nonce, so that every one goes to the NSM, and without one, where the
prover's cache answers. What may not happen is that the prover grows or loses descriptors on the way."""
import hashlib
import time

from . import machine
from .bench import Missing
from frames import REPLY, Exchange, call, request

TITLE = "Attestations"
TARGETS = ["all"]
SETTLED = 1000
LOOKS = 10
CACHED_COUNT = 5000
RSS_TOLERANCE = 0.05


def documents(e, count, nonces):
    """Asks so many times, each on a connection of its own as the protocol has it; the seconds it took."""
    start = time.perf_counter()
    for i in range(count):
        nonce = hashlib.sha256(b"%d" % i).digest() if nonces else None
        with Exchange(e.socket) as x:
            x.send(request("attest", nonce=nonce) if nonces else request("attest"))
            kind, answer = x.answer()
        assert kind == REPLY, answer
        assert nonce is None or nonce in answer["document"]
    return time.perf_counter() - start


def nsm_calls(e):
    text = call(e.socket, "metrics")["metrics"]
    return next(int(line.split()[-1]) for line in text.splitlines() if line.startswith("teerex_prover_nsm_calls"))


def look(e):
    try:
        return machine.descriptors(e.prover), machine.memory_kib(e.prover, "VmRSS")
    except PermissionError as why:
        raise Missing("only root sees the descriptors of the prover, which is not dumpable") from why


def measure(bench, result):
    count = bench.options.attestations
    cached_count = min(CACHED_COUNT, count)
    with bench.enclave("[recipe]\ncrs = none\n") as e:
        calls = nsm_calls(e)
        documents(e, min(SETTLED, count), True)
        first, looks = look(e), []
        left, rates, before = count - min(SETTLED, count), [], (machine.cpu_s(e.prover), machine.cpu_s(e.nsm))
        for i in range(LOOKS):
            some = left // LOOKS + (left % LOOKS if i == LOOKS - 1 else 0)
            if some == 0:
                continue
            rates.append(some / documents(e, some, True))
            looks.append(look(e))
            bench.progress(f"  {count - left + (i + 1) * (left // LOOKS)} of {count}: {rates[-1]:.0f}/s, {looks[-1][1]} KiB")
        bench.progress("")
        used = machine.cpu_s(e.prover) - before[0], machine.cpu_s(e.nsm) - before[1]
        reached = nsm_calls(e) - calls
        cached_start = machine.cpu_s(e.prover)
        cached = [cached_count / documents(e, cached_count, False) for _ in range(bench.pairs)]
        cached_cpu = (machine.cpu_s(e.prover) - cached_start) / (cached_count * bench.pairs)
        asked_without = nsm_calls(e) - calls - reached
    end = looks[-1] if looks else first
    result.add("documents with a nonce", rates or [0], "/s")
    result.add("… CPU of the prover for each", [used[0] / max(left, 1)], "µs")
    result.add("… CPU of the software NSM for each", [used[1] / max(left, 1)], "µs")
    result.add("documents without one (cached)", cached, "/s")
    result.add("… CPU of the prover for each", [cached_cpu], "µs")
    result.add("resident memory after the first 1 000", [first[1]], "KiB")
    result.add(f"resident memory on the way to {count:,}".replace(",", " "), [rss for _, rss in looks] or [first[1]], "KiB")
    growth = end[1] / first[1] - 1
    name = f"{count:,} attestations".replace(",", " ")
    result.check(f"{name}: each reached the NSM", f"{reached:,} calls".replace(",", " "), reached == count)
    result.check(f"{name}: descriptors at the end as after 1 000", f"{first[0]}, then {end[0]}", first[0] == end[0])
    result.check(f"{name}: resident memory within ± 5 %", f"{growth:+.1%} ({end[1]} KiB)", abs(growth) <= RSS_TOLERANCE)
    result.notes.append(f"{cached_count * bench.pairs} cached answers cost {asked_without} calls of the NSM.")
