"""GET /attestation over 16 connections, by wrk, and what idle clients cost; in turns with a JavaScript server of ten lines
that serves the same bytes and, unlike the gateway, asks no enclave, and with the least that a server can do (floor_server.c).
None of those writes a log, so the gateway compared with them does not either; one that does has rows of its own."""
import contextlib
import http.client
import re
import shutil
import socket
import subprocess

from . import bun, machine
from .bench import BUILD, TEE_REX, Missing, free_port
from .start import until_answered

TITLE = "The gateway under load, and a JavaScript server of ten lines serving the same bytes"
TARGETS = ["all", "build/bench/floor_server"]
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
def process(argv, port, stdout=subprocess.DEVNULL):
    """(process, port) of a server that answers."""
    p = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.DEVNULL)
    try:
        until_answered(port, "/attestation", lambda answer: True)
        yield p, port
    finally:
        p.kill()
        p.wait()


@contextlib.contextmanager
def gateway(bench, enclave, *options):
    """A gateway of its own in front of the enclave; its log goes into a file in memory."""
    port = free_port()
    with open(bench.memory / f"log-{port}", "wb") as log:
        with process([TEE_REX, "gateway", "--listen", f"127.0.0.1:{port}", "--enclave", f"unix:{enclave.socket}", *options], port, log) as p:
            yield p


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
    with contextlib.ExitStack() as stack:
        e = stack.enter_context(bench.enclave("[recipe]\ncrs = none\n"))
        ours, port = stack.enter_context(gateway(bench, e, "--quiet"))
        logging, logging_port = stack.enter_context(gateway(bench, e))
        idle = machine.memory_kib(ours.pid, "VmRSS")
        other = stack.enter_context(comparison(bench, port, result))
        candidates = {"gateway": lambda: load(port, (ours.pid, e.prover)), "logging": lambda: load(logging_port, (logging.pid,))}
        base = base_cpu = None
        if other is not None:
            bun_process, bun_port = other
            bun_idle = machine.memory_kib(bun_process.pid, "VmRSS")
            candidates["bun"] = lambda: load(bun_port, (bun_process.pid,))
            floor, floor_port = stack.enter_context(process([BUILD / "bench" / "floor_server", at := free_port(), bench.memory / "attestation.json"], at))
            candidates["floor"] = lambda: load(floor_port, (floor.pid,))
        found = bench.turns(candidates)

        def rows(name, what, pid, a=None, b=None):
            return (result.add(f"{what}: GET /attestation", [rate for rate, _ in found[name]], "/s", a),
                    result.add(f"{what}: CPU for each", [cpu[pid] for _, cpu in found[name]], "µs", b))
        if other is not None:
            base, base_cpu = rows("bun", "bun", bun_process.pid)
            _, floor_cpu = rows("floor", "one recv, one send, no more", floor.pid, base, base_cpu)
        row, row_cpu = rows("gateway", "gateway", ours.pid, base, base_cpu)
        rows("logging", "gateway, with its access log", logging.pid, base, base_cpu)
        result.add("prover: CPU for each", [cpu[e.prover] for _, cpu in found["gateway"]], "µs")
        if other is not None:
            memory_rows(result, "bun", bun_port, bun_process.pid, bun_idle)
        memory_rows(result, "gateway", port, ours.pid, idle)
        result.check("GET /attestation: as many as the reference server's 10 – 18 k/s, which had no NSM",
                     f"{row.median / 1000:.1f} k/s", row.median >= REFERENCE_RATE)
        if other is not None:
            ratio = row_cpu.median / base_cpu.median
            result.check("CPU for each GET /attestation: at most half of the JavaScript server's",
                         f"{ratio:.2f} × (the kernel's part alone: {floor_cpu.median / base_cpu.median:.2f} ×)", ratio <= 0.5)
