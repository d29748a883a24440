"""Real proofs: bb alone against bb behind gateway, prover and launcher, on the same input in memory, with the environment of
the default recipe. The client is Python's http.client posting a message that was encrypted just before: the gateway answers one
that it knows from what it kept, so each is posted once, and the prover's own count says that it made the proof."""
import base64
import http.client
import json
import os
import re
import subprocess
import time

from frames import call

from . import machine
from .bench import TOP, prover_kit, sha256

TITLE = "A proof through gateway and service against bb alone"
TARGETS = ["all", "build/tests/pgp_tool"]
INPUTS = [("s1", "45 KB"), ("m2", "3 MB")]
SLACK_S, RATIO_MAX = 0.020, 1.01


def body_of(message):
    return b'{"data":"' + base64.b64encode(message) + b'"}'


def post(port, body):
    """The answer and its headers; anything but a proof is an error."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request("POST", "/prove", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200, answer
        return base64.b64decode(answer["proof"]), response.headers
    finally:
        connection.close()


class Alone:
    """bb by itself, as the recipe runs it."""

    def __init__(self, bench, kit, source):
        self.bb, self.place = kit / "bb-TEST-CRS", bench.memory
        self.input = bench.memory / source.name
        self.input.write_bytes(source.read_bytes())
        # config_defaults() of src/enclave/config.c
        self.environment = {"CRS_PATH": str(kit / "crs-TEST"), "HARDWARE_CONCURRENCY": str(len(os.sched_getaffinity(0))),
                            "HOME": str(self.place), "TMPDIR": str(self.place), "MALLOC_TRIM_THRESHOLD_": "0",
                            "MALLOC_MMAP_THRESHOLD_": "65536"}

    def __call__(self):
        out = self.place / "output"
        out.mkdir()
        start = time.perf_counter()
        process = subprocess.Popen([self.bb, "prove", "--scheme", "chonk", "--ivc_inputs_path", self.input, "-o", out],
                                   env=self.environment, cwd=self.place, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True)      # as a job has: autogroups share the CPUs by session
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, "bb failed"
        (out / "proof").unlink()
        out.rmdir()
        return {"wall": seconds, "cpu": used.ru_utime + used.ru_stime}


def job_is_over(e):
    """The reply comes before the job's memory is given back; its processor time is known when all is."""
    deadline = time.monotonic() + 10
    while machine.children(e.launcher) and time.monotonic() < deadline:
        time.sleep(0.005)


def proofs_made(e):
    """By the prover, since it started."""
    found = re.search(r'^teerex_prover_requests_total\{op="prove",code="ok"\} (\d+)$', call(e.socket, "metrics")["metrics"], re.M)
    return int(found.group(1)) if found else 0


def through(e, payload):
    ours = (e.gateway, e.prover, e.launcher)

    def run():
        body, made = body_of(e.encrypt(payload)), proofs_made(e)
        before, children = sum(map(machine.cpu_s, ours)), machine.cpu_children_s(e.launcher)
        start = time.perf_counter()
        proof, headers = post(e.port, body)
        seconds = time.perf_counter() - start
        job_is_over(e)
        assert len(proof) > 4 and proofs_made(e) == made + 1
        return {"wall": seconds, "own": sum(map(machine.cpu_s, ours)) - before,
                "job": machine.cpu_children_s(e.launcher) - children,
                "proof": proof, "reported": int(headers["x-prove-duration-ms"]) / 1000}
    return run


def verify(kit, place, proof, key):
    path = place / "checked"
    path.write_bytes(proof[4:])
    done = subprocess.run([kit / "bb-TEST-CRS", "verify", "--scheme", "chonk", "-p", path, "-k", key],
                          env={"CRS_PATH": str(kit / "crs-TEST"), "HOME": str(place)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]


def measure(bench, result):
    kit = prover_kit()
    data = TOP / "tests" / "data" / "chonk"
    config = f"allow = {sha256(kit / 'bb-TEST-CRS')}\n[recipe]\ncrs = {kit / 'crs-TEST'}\n"
    with bench.enclave(config, gateway=True) as e:
        e.upload("5.0.0", kit / "bb-TEST-CRS")
        for name, size in INPUTS:
            source = data / f"{name}.msgpack"
            run = through(e, source.read_bytes())
            found = bench.turns({"alone": Alone(bench, kit, source), "through": run})
            alone, ours = found["alone"], found["through"]
            verify(kit, bench.memory, ours[-1]["proof"], data / f"{name}.vk")
            wall = result.add(f"{name} ({size}): bb alone", [r["wall"] for r in alone], "s")
            through_wall = result.add(f"{name}: through gateway and service", [r["wall"] for r in ours], "s", wall)
            cpu = result.add(f"{name}: CPU of bb alone", [r["cpu"] for r in alone], "s")
            result.add(f"{name}: CPU of the job (bb and its keeper)", [r["job"] for r in ours], "s", cpu)
            result.add(f"{name}: time outside of the job", [r["wall"] - r["reported"] for r in ours], "ms")
            own = result.add(f"{name}: CPU of gateway, prover and launcher", [r["own"] for r in ours], "ms")
            own.ratio = f"{own.median / cpu.median:.3%}"
            result.check(f"{name}: wall time ≤ {RATIO_MAX} × bb alone + 20 ms",
                         f"{through_wall.ratio:.3f} ×, {(through_wall.median - wall.median) * 1e3:+,.0f} ms; the fastest of each: "
                         f"{min(through_wall.values) / min(wall.values):.3f} ×",
                         through_wall.median <= RATIO_MAX * wall.median + SLACK_S)
