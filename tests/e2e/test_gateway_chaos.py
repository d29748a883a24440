"""Clients and an enclave that do anything at any moment, seeded and repeatable: afterwards the gateway serves an honest
client and holds what it held before. TEE_REX_CHAOS is the number of clients (400), TEE_REX_CHAOS_SEED the seed."""
import os
import random
import socket
import struct
import threading
import time

import cbor2

import fake_prover
from conftest import wait_for
from fake_prover import FakeProver, frame
from gateway import Gateway, head, prove_body

CLIENTS = int(os.environ.get("TEE_REX_CHAOS", 400))
SEED = int(os.environ.get("TEE_REX_CHAOS_SEED", 1))
LANES = 8


def random_request(r):
    body = prove_body(r.randbytes(r.choice([0, 1, 100, 5000, 200_000]))).encode()
    kind = r.randrange(9)
    if kind == 0:
        return head("GET", r.choice(["/attestation", "/health", "/encryption-public-key", "/nothing", "/attestation?nonce=" + "a" * 32]))
    if kind == 1:
        pieces = b"".join(b"%x\r\n" % len(p) + p + b"\r\n" for p in (body[i:i + 3001] for i in range(0, len(body), 3001)))
        return head("POST", "/prove", "Transfer-Encoding: chunked") + pieces + b"0\r\n\r\n"
    if kind == 2:
        return r.randbytes(r.choice([1, 50, 3000]))
    if kind == 3:
        return head("POST", "/prove", f"Content-Length: {len(body) + r.choice([-1, 1, 1 << 20, 1 << 40])}") + body
    if kind == 4:
        return head("POST", "/prove", f"Content-Length: {len(body)}", "Expect: 100-continue") + body
    if kind == 5:
        return head("POST", "/prove", f"Content-Length: {len(body)}") + bytes(r.choice([body, body[::-1], b"{" * len(body)]))
    if kind == 6:
        return head("GET", "/health") * r.randrange(1, 30)
    text = bytearray(head("POST", "/prove", f"Content-Length: {len(body)}") + body)
    if kind == 7 and text:
        for _ in range(r.randrange(1, 5)):
            text[r.randrange(min(len(text), 300))] = r.randrange(256)
    return bytes(text)


def client(port, r):
    """Sends in pieces, reads or not, leaves at any moment and in any way."""
    s = socket.create_connection(("127.0.0.1", port), 5)
    s.settimeout(r.choice([0.05, 0.5]))
    data, at = random_request(r), 0
    stop = len(data) if r.random() < 0.6 else r.randrange(len(data) + 1)
    try:
        while at < stop:
            n = r.choice([1, 10, 1000, 70_000, len(data)])
            at += s.send(data[at:min(stop, at + n)])
            if r.random() < 0.1:
                time.sleep(r.random() * 0.02)
        way = r.randrange(4)
        if way == 0:
            s.shutdown(socket.SHUT_WR)
        if way == 1:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if way >= 2:
            while s.recv(65536):
                pass
    except OSError:
        pass
    s.close()


def enclave(seed):
    """A handler for every operation that is honest half of the time."""
    r, lock = random.Random(seed), threading.Lock()

    def handle(x):
        with lock:
            mood, size, pause = r.randrange(14), r.choice([1, 1000, 100_000]), r.random() * 0.05
            noise = r.randbytes(r.choice([1, 5, 100]))
        honest = getattr(x.prover, "do_" + x.op.replace("-", "_"))
        if mood == 0:
            return
        if mood == 1:
            x.send(noise)
            return
        if mood == 2:
            x.error(r.choice(["busy", "unavailable", "bad-input", "novel"]), message="m" * 256)
            return
        if mood == 3:
            x.send(frame(4, cbor2.dumps({"key": "k"}))[:-1])
            time.sleep(pause)
            return
        if mood == 4:
            x.send(frame(5, cbor2.dumps({"stage": "queued"})) * (size // 10 + 1))
            return
        if mood == 5 and x.op == "prove":
            x.read_data(limit=size)
            return
        if mood == 6:
            time.sleep(pause)
        honest(x)

    return handle


def test_chaos(build, short_dir, free_port):
    prover = FakeProver(short_dir / "service.sock")
    handle = enclave(SEED)
    prover.handlers = {op: handle for op in ("attest", "public-key", "health", "prove")}
    with Gateway(build, short_dir, free_port, prover.path, "--body-timeout", "5") as gateway:
        fds = gateway.fds()

        def lane(number):
            r = random.Random(SEED * 1000 + number)
            for _ in range(CLIENTS // LANES):
                client(free_port, r)

        lanes = [threading.Thread(target=lane, args=(i,)) for i in range(LANES)]
        for t in lanes:
            t.start()
        for t in lanes:
            t.join()
        prover.handlers = {}
        assert gateway.running(), gateway.stderr
        assert gateway.prove(b"honest" * 1000).status == 200
        assert gateway.get("/attestation").status == 200
        wait_for(lambda: gateway.fds() <= fds, 15, f"descriptors back at {fds}")
        print(f"RSS {gateway.memory_kib()} KiB, peak {gateway.memory_kib('VmHWM')} KiB after {CLIENTS} clients")
        assert gateway.stop() == 0
        assert "Sanitizer" not in gateway.stderr and "runtime error" not in gateway.stderr, gateway.stderr
    assert prover.violations == []
    prover.stop()
