"""From the start of a program to the first answer of what it starts."""
import http.client
import json
import signal
import subprocess
import time

from . import bun
from .bench import TEE_REX, Missing, free_port

TITLE = "Start to first answer"
TARGETS = ["all"]
PER_ROUND = 3
REFERENCE_S = 0.195


def until_answered(port, path, good, seconds=30):
    """Asks again and again until an answer of status 200 is good."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            if response.status == 200 and good(response.read()):
                return
        except OSError:
            time.sleep(0.001)
        finally:
            connection.close()
    raise AssertionError(f"no answer from port {port} in {seconds} s")


def enclave_is_ok(answer):
    return json.loads(answer)["enclave"] == "ok"


def tee_rex(state, config, name):
    """Software NSM, launcher, prover and gateway; health is asked through all of them but the NSM."""
    def run():
        port = free_port()
        start = time.perf_counter()
        process = subprocess.Popen([TEE_REX, "run", "--backend", "process", "--name", name, "--config", config, "--state", state,
                                    "--gateway", f"127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until_answered(port, "/health", enclave_is_ok)
            return time.perf_counter() - start
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    return run


def javascript(program, body):
    def run():
        start = time.perf_counter()
        with bun.server(program, body) as (_, port):
            until_answered(port, "/health", lambda answer: True)
            return time.perf_counter() - start
    return run


def measure(bench, result):
    place = bench.directory()
    config, body = place / "config", place / "body"
    config.write_text("[recipe]\ncrs = none\n")
    body.write_text("{}")
    start = tee_rex(place / "nsm", config, f"bench-{place.parent.name[-8:]}")
    start()                                      # makes the simulated NSM's test root
    candidates = {"tee-rex": start}
    try:
        candidates["bun"] = javascript(bun.program(), body)
    except Missing as why:
        print(f"bench/run: SKIPPED the comparison with bun: {why}")
        result.notes.append(f"The comparison with bun was SKIPPED: {why}.")
    found = bench.turns(candidates, bench.pairs * PER_ROUND)
    base = result.add("bun, a handler of ten lines: first answer", found["bun"], "ms") if "bun" in found else None
    row = result.add("`tee-rex run` with gateway: first healthy answer", found["tee-rex"], "ms", base)
    result.check("sooner than the reference server's 195 – 255 ms", f"{row.median * 1e3:.0f} ms", row.median <= REFERENCE_S)
