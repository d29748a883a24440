"""Two clients at once, on as many CPUs as there are: their proofs one after the other with a thread for each CPU, or both at the same
time with half of the threads each, packed by the peaks that the messages state. The same enclave otherwise, the same input."""
import concurrent.futures
import os
import time

from . import machine
from .bench import TOP, Missing, prover_kit, sha256
from .prove import body_of, job_is_over, post, proofs_made, verify

TITLE = "Two proofs: one after the other with all threads, or both at once with half of them"
TARGETS = ["all", "build/tests/pgp_tool"]
INPUT, STATED_MIB = "s1", 300


def two(e, payload):
    """Both clients send at the same moment; a round is over when both have their proof."""
    def client(body, start):
        proof, _ = post(e.port, body)
        return time.perf_counter() - start, proof

    def run():
        bodies, made = [body_of(e.encrypt(payload, f"peak-mib={STATED_MIB}")) for _ in range(2)], proofs_made(e)
        others, children, start = machine.Others(), machine.cpu_children_s(e.launcher), time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(client, bodies, [start, start]))
        job_is_over(e)
        assert proofs_made(e) == made + 2        # equal messages would have been one job
        ends = sorted(seconds for seconds, _ in answers)
        left = (1 - others.share()) * len(os.sched_getaffinity(0)) * (time.perf_counter() - start)
        return {"first": ends[0], "both": ends[1], "cpu": machine.cpu_children_s(e.launcher) - children, "left": left, "proof": answers[0][1]}
    return run


def measure(bench, result):
    kit, cpus = prover_kit(), len(os.sched_getaffinity(0))
    if cpus < 2:
        raise Missing("one CPU: there is nothing to divide")
    source = TOP / "tests" / "data" / "chonk" / f"{INPUT}.msgpack"
    allow = f"allow = {sha256(kit / 'bb-TEST-CRS')}\n"
    recipe = f"[recipe]\ncrs = {kit / 'crs-TEST'}\nthreads = "
    # one job of 1024 MiB fits, or two of what they state
    budget = "memory_budget_mib = 1024\n"
    with bench.enclave(f"{allow}{budget}jobs = 1\n{recipe}{cpus}\n", gateway=True) as one, \
            bench.enclave(f"{allow}{budget}jobs = 2\n{recipe}{cpus // 2}\n", gateway=True) as pair:
        runs = {}
        for name, e in (("one", one), ("pair", pair)):
            e.upload("5.0.0", kit / "bb-TEST-CRS")
            runs[name] = two(e, source.read_bytes())
        found = bench.turns(runs)
    verify(kit, bench.memory, found["pair"][-1]["proof"], source.with_suffix(".vk"))
    rows = {}
    for name, words in (("one", f"one job with {cpus} threads"), ("pair", f"two jobs with {cpus // 2} each")):
        against = rows.get("one")
        rows[name] = {
            "both": result.add(f"{words}: both proofs", [r["both"] for r in found[name]], "s", against and against["both"]),
            "first": result.add(f"{words}: the first", [r["first"] for r in found[name]], "s", against and against["first"]),
            "cpu": result.add(f"{words}: CPU of both", [r["cpu"] for r in found[name]], "s", against and against["cpu"]),
            "left": result.add(f"{words}: CPU that others left meanwhile", [r["left"] for r in found[name]], "s", against and against["left"]),
        }
    gain = rows["one"]["left"].median / rows["pair"]["left"].median
    paired = sorted(a["left"] / b["left"] for a, b in zip(found["one"], found["pair"]))
    result.notes.append(f"For each second of processor time that others left, two jobs at once give {gain:.2f} × the proofs (round by round "
                        f"{paired[0]:.2f} – {paired[-1]:.2f} ×); by the fastest round of each, {min(rows['one']['both'].values) / min(rows['pair']['both'].values):.2f} × in wall time.")
