"""GET /attestation over 16 connections, by wrk, and what idle clients cost; in turns with a JavaScript server of ten lines
that serves the same bytes and, unlike the gateway, asks no enclave."""
import contextlib
import http.client
import re
import shutil
import socket
import subprocess

from . import bun, machine
from .bench import Missing
from .start import until_answered

TITLE = "The gateway under load, and a JavaScript server of ten lines serving the same bytes"
TARGETS = ["all"]
PACKAGES = ["bench"]
CONNECTIONS, SECONDS, IDLE_CONNECTIONS = 16, 3, 1000
REFERENCE_RATE = 10000


def get(port, path="/attestation"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200
    return response.read()


def load(port, pids):
    """(requests a second, {pid: its CPU seconds a request})"""
    before = {pid: machine.cpu_all_threads_s(pid) for pid in pids}
    done = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", f"http://127.0.0.1:{port}/attestation"],
                          capture_output=True, text=True, check=True)
    assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, done.stdout
    requests = int(re.search(r"(\d+) requests in", done.stdout)[1])
    rate = float(re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)[1])
    return rate, {pid: (machine.cpu_all_threads_s(pid) - before[pid]) / requests for pid in pids}


def with_idle_clients(port, pid):
    """Resident memory of pid while so many clients have had an answer each and keep their connections."""
    head = b"GET /encryption-public-key HTTP/1.1\r\nHost: bench\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(IDLE_CONNECTIONS):
            s = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            s.sendall(head)
            assert s.recv(64 << 10).startswith(b"HTTP/1.1 200")
        return machine.memory_kib(pid, "VmRSS")


def memory_rows(result, name, port, pid, idle):
    result.add(f"{name}: resident memory at rest", [idle], "KiB")
    result.add(f"{name}: after the load", [machine.memory_kib(pid, "VmRSS")], "KiB")
    result.add(f"{name}: with {IDLE_CONNECTIONS:,} idle clients".replace(",", " "), [with_idle_clients(port, pid)], "KiB")


@contextlib.contextmanager
def comparison(bench, port, result):
    """(process, port) of the JavaScript server, or None after saying why not."""
    try:
        program = bun.program()
    except Missing as why:
        print(f"bench/run: SKIPPED the comparison with bun: {why}")
        result.notes.append(f"The comparison with bun was SKIPPED: {why}.")
        yield None
        return
    body = bench.memory / "attestation.json"
    body.write_bytes(get(port))
    with bun.server(program, body) as (process, bun_port):
        until_answered(bun_port, "/attestation", lambda answer: True)
        yield process, bun_port


def measure(bench, result):
    if shutil.which("wrk") is None:
        raise Missing("wrk is not installed (scripts/install-packages bench)")
    with bench.enclave("[recipe]\ncrs = none\n", gateway=True) as e, comparison(bench, e.port, result) as other:
        idle = machine.memory_kib(e.gateway, "VmRSS")
        candidates = {"gateway": lambda: load(e.port, (e.gateway, e.prover))}
        if other is not None:
            process, port = other
            bun_idle = machine.memory_kib(process.pid, "VmRSS")
            candidates["bun"] = lambda: load(port, (process.pid,))
        found = bench.turns(candidates)
        ours = [cpu for _, cpu in found["gateway"]]
        if other is not None:
            base = result.add("bun: GET /attestation", [rate for rate, _ in found["bun"]], "/s")
            base_cpu = result.add("bun: CPU for each", [cpu[process.pid] for _, cpu in found["bun"]], "µs")
        row = result.add("gateway: GET /attestation", [rate for rate, _ in found["gateway"]], "/s", base if other else None)
        row_cpu = result.add("gateway: CPU for each", [cpu[e.gateway] for cpu in ours], "µs", base_cpu if other else None)
        result.add("prover: CPU for each", [cpu[e.prover] for cpu in ours], "µs")
        if other is not None:
            memory_rows(result, "bun", port, process.pid, bun_idle)
        memory_rows(result, "gateway", e.port, e.gateway, idle)
        result.check("GET /attestation: as many as the reference server's 10 – 18 k/s, which had no NSM",
                     f"{row.median / 1000:.1f} k/s", row.median >= REFERENCE_RATE)
        if other is not None:
            ratio = row_cpu.median / base_cpu.median
            result.check("CPU for each GET /attestation: at most half of the JavaScript server's", f"{ratio:.2f} ×", ratio <= 0.5)
