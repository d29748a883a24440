"""tee-rex gateway against clients that leave, stall and crowd, and how it runs and stops."""
import hashlib
import os
import signal
import socket
import struct
import threading
import time

import pytest

import fake_prover
from conftest import Program, wait_for
from gateway import Buffered, head, prove_body, read_answer
from test_gateway import OUTCOMES, gateway, prover, start  # noqa: F401 (fixtures)


# --- clients that leave, stall and crowd ------------------------------------------------------------------------------------


def cancel_time(x, leave):
    """Seconds between the client leaving and the enclave seeing its connection closed."""
    began = time.monotonic()
    leave()
    assert x.closed.wait(5)
    return time.monotonic() - began


@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_leaving_while_the_proof_is_made(start, prover, how):
    gateway = start(prover.path, "--leave-grace", "0")
    prover.handlers["prove"] = lambda x: (x.read_data(), x.wait_gone())
    s = gateway.connect()
    body = prove_body(b"x" * 100).encode()
    s.sendall(head("POST", "/prove", f"Content-Length: {len(body)}") + body)
    x = wait_for(lambda: prover.exchanges and prover.exchanges[-1].ended and prover.exchanges[-1])
    time.sleep(0.2)
    if how == "reset":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert cancel_time(x, s.close) < 1
    wait_for(lambda: any(line.get("gone") for line in gateway.access_log()), what="line in the access log")


def test_client_leaving_during_its_upload(gateway, prover):
    """… costs the enclave nothing, and leaves nothing behind."""
    for _ in range(40):                          # more than may upload at once
        with gateway.connect() as s:
            s.sendall(head("POST", "/prove", "Content-Length: 8000000") + b'{"data":"' + b"A" * 200_000)
    wait_for(lambda: gateway.fds() <= gateway.fds_at_start, 1, "all connections and spools closed")
    assert prover.exchanges == [] and gateway.prove(b"x").status == 200


def test_end_of_stream_together_with_the_last_bytes(gateway, prover):
    for _ in range(30):
        with gateway.connect() as s:
            s.sendall(head("POST", "/prove", "Content-Length: 8000000") + b'{"data":"' + b"A" * 2000)
    wait_for(lambda: gateway.fds() <= gateway.fds_at_start, 1, "all connections closed")


def test_client_leaving_while_the_enclave_takes_nothing(start, prover):
    gateway = start(prover.path, "--leave-grace", "0")
    prover.handlers["prove"] = lambda x: (time.sleep(1), x.wait_gone(5))
    body = prove_body(bytes(5_000_000)).encode()
    s = gateway.connect()
    s.sendall(head("POST", "/prove", f"Content-Length: {len(body)}") + body)
    x = prover.last("prove")
    time.sleep(0.3)
    assert cancel_time(x, s.close) < 2


def test_flat_memory(gateway, prover):
    """60 MB through the gateway: they wait in a spool, outside of its own memory, and never in it."""
    gateway.prove(os.urandom(1 << 20))
    before = gateway.memory_kib()
    payload = os.urandom(45_000_000)
    assert gateway.prove(payload).status == 200
    assert prover.last("prove").hash.digest() == hashlib.sha256(payload).digest()
    print(f"RSS KiB: after 1 MiB {before}, after 60 MB {gateway.memory_kib()}; peak {gateway.memory_kib('VmHWM')}")
    assert gateway.memory_kib("VmHWM") - before <= 512


def test_a_full_spool_is_a_refusal(start, prover):
    gateway = start(prover.path, "--spool-mib", "3")
    held = gateway.connect()
    held.sendall(head("POST", "/prove", "Content-Length: 8000000") + b'{"data":"' + b"A" * 3_000_000)
    time.sleep(0.3)
    a = gateway.prove(os.urandom(1_500_000))
    a.error(503, OUTCOMES["no-space"][1], "no-space")
    assert a.headers["Retry-After"]
    held.close()
    wait_for(lambda: gateway.fds() <= gateway.fds_at_start)
    assert gateway.prove(os.urandom(1_500_000)).status == 200


@pytest.mark.parametrize("size", [60_000, 130_000, 200_000, 230_000, 260_000, 290_000, 320_000])
def test_body_ends_while_the_enclave_is_slow(gateway, prover, size):
    """The end of the data must not be lost behind a frame that the enclave has not taken yet."""
    prover.handlers["prove"] = lambda x: (time.sleep(0.2), prover.do_prove(x))
    payload = os.urandom(size)
    assert gateway.prove(payload).status == 200
    assert prover.last("prove").hash.digest() == hashlib.sha256(payload).digest()


def test_slow_headers_are_cut_off(start, prover):
    gateway = start(prover.path, "--header-timeout", "1")
    silent, slow = gateway.connect(), gateway.connect()
    began = time.monotonic()
    slow.sendall(b"GET /health HTTP/1.1\r\n")
    slow.settimeout(0.1)
    got = b""
    while not got:
        slow.sendall(b"X: y\r\n")
        try:
            got = slow.recv(10000)
        except socket.timeout:
            assert time.monotonic() - began < 4
    assert got.startswith(b"HTTP/1.1 408 ") and b"The request headers did not arrive in time" in got
    slow.settimeout(8)
    assert slow.recv(1) == b"" and silent.recv(1) == b""
    assert gateway.get("/health").status == 200


def test_slow_bodies_are_cut_off_with_an_answer(start, prover):
    gateway = start(prover.path, "--body-timeout", "1")
    for length in (100, 1_000_000):
        with gateway.connect() as s:
            s.sendall(head("POST", "/prove", f"Content-Length: {length}") + b'{"data":"AAAA')
            began = time.monotonic()
            read_answer(s).error(408, "The request body did not arrive in time", "timed-out")
            assert time.monotonic() - began < 4
    assert prover.exchanges == []


def test_idle_connections_between_requests_are_closed(start, prover):
    gateway = start(prover.path, "--header-timeout", "1")
    with gateway.connect() as s:
        s.sendall(head("GET", "/health"))
        assert read_answer(s).status == 200
        assert s.recv(1) == b""


def test_too_many_proves(start, prover):
    gateway = start(prover.path, "--proves-max", "2", "--enclave-queue", "2")
    go = threading.Event()
    prover.handlers["prove"] = lambda x: (x.read_data(), go.wait(10),
                                          x.reply(proof=fake_prover.PROOF, bb_sha256=bytes(32), signature=bytes(64)))
    statuses = []
    threads = [threading.Thread(target=lambda i=i: statuses.append(gateway.prove(b"%d" % i).status)) for i in range(2)]
    for t in threads:
        t.start()
    wait_for(lambda: len([x for x in prover.exchanges if x.ended]) == 2)
    a = gateway.prove(b"x" * 1000)
    a.error(429, OUTCOMES["busy"][1], "busy")
    assert a.headers["Retry-After"]
    go.set()
    for t in threads:
        t.join()
    assert statuses == [200, 200] and gateway.prove(b"x").status == 200


def test_a_crowd_of_questions_waits_in_line(gateway, prover):
    most, now, lock = [0], [0], threading.Lock()

    def slow(x):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.05)
        with lock:
            now[0] -= 1
        prover.do_attest(x)

    prover.handlers["attest"] = slow
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(gateway.get("/attestation?nonce=" + "ab" * 16).status))
               for _ in range(60)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert statuses == [200] * 60 and 1 < most[0] <= 16


def test_connection_limit(start, prover):
    """When all are in use, whoever has nothing under way makes room, the longest idle first; exchanges do not."""
    gateway = start(prover.path, "--connections-max", "4")
    prover.handlers["attest"] = lambda x: (time.sleep(3), prover.do_attest(x))
    busy = [gateway.connect() for _ in range(3)]
    for s in busy:
        s.sendall(head("GET", "/attestation?nonce=" + "ab" * 16))
    idle = gateway.connect()
    began = time.monotonic()
    assert gateway.get("/health").status == 200
    assert time.monotonic() - began < 2.8
    assert idle.recv(1) == b""
    assert [read_answer(s).status for s in busy] == [200] * 3


def test_connections_per_address(start, prover):
    gateway = start(prover.path, "--connections-per-address-max", "3")
    held = [gateway.connect() for _ in range(3)]
    time.sleep(0.1)
    with gateway.connect() as s:
        assert s.recv(1) == b""
    held.pop().close()
    wait_for(lambda: gateway.fds() == gateway.fds_at_start + 2)
    assert gateway.get("/health").status == 200


def test_pipelined_requests(gateway, prover):
    body = prove_body(b"x").encode()
    with gateway.connect() as s:
        s.sendall(head("POST", "/prove", f"Content-Length: {len(body)}") + body + head("GET", "/attestation") +
                  head("GET", "/nothing") + head("GET", "/health"))
        stream = Buffered(s)
        assert [read_answer(stream).status for _ in range(4)] == [200, 200, 404, 200]


def test_a_burst_larger_than_one_read_and_one_turn(gateway):
    """All is answered without the client having to send more."""
    one, count = head("GET", "/nothing"), 2000
    with gateway.connect() as s:
        sender = threading.Thread(target=s.sendall, args=(one * count,))
        sender.start()
        stream = Buffered(s)
        assert {read_answer(stream).status for _ in range(count)} == {404}
        sender.join()
        s.sendall(one)
        assert read_answer(stream).status == 404


@pytest.mark.parametrize("wait_s", [0, 0.2])
def test_a_client_that_ends_its_side_gets_its_answer_and_the_end(gateway, wait_s):
    with gateway.connect() as s:
        began = time.monotonic()
        s.sendall(head("GET", "/nothing") * 3)
        time.sleep(wait_s)
        s.shutdown(socket.SHUT_WR)
        stream = Buffered(s)
        assert [read_answer(stream).status for _ in range(3)] == [404] * 3
        assert s.recv(1) == b"" and time.monotonic() - began < 5


# --- running and stopping --------------------------------------------------------------------------------------------------


def test_sigterm_finishes_what_is_under_way(gateway, prover):
    go = threading.Event()
    prover.handlers["prove"] = lambda x: (x.read_data(), go.wait(10),
                                          x.reply(proof=fake_prover.PROOF, bb_sha256=bytes(32), signature=bytes(64)))
    idle = gateway.connect()
    answers = []
    t = threading.Thread(target=lambda: answers.append(gateway.prove(b"x" * 100)))
    t.start()
    wait_for(lambda: prover.exchanges and prover.exchanges[-1].ended)
    gateway.process.send_signal(signal.SIGTERM)
    assert idle.recv(1) == b""
    with pytest.raises(OSError):
        gateway.connect()
    go.set()
    t.join()
    assert answers[0].status == 200 and answers[0].headers["Connection"] == "close"
    assert gateway.process.wait(5) == 0


@pytest.mark.parametrize("grace", ["1", "60"])
def test_end_of_grace_or_a_second_signal_cancels(start, prover, grace):
    gateway = start(prover.path, "--grace", grace)
    prover.handlers["prove"] = lambda x: (x.read_data(), x.wait_gone())
    answers = []
    t = threading.Thread(target=lambda: answers.append(gateway.prove(b"x" * 100)))
    t.start()
    x = wait_for(lambda: prover.exchanges and prover.exchanges[-1].ended and prover.exchanges[-1])
    began = time.monotonic()
    gateway.process.send_signal(signal.SIGINT)
    if grace == "60":
        time.sleep(0.2)
        gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(5) == 0 and time.monotonic() - began < 3
    t.join()
    answers[0].error(503, "The gateway is stopping, try again later", "unavailable")
    assert x.closed.wait(1)


def test_stops_with_clients_in_every_state(start, prover):
    gateway = start(prover.path, "--grace", "0")
    prover.handlers["prove"] = lambda x: (x.read_data(), x.wait_gone())
    prover.handlers["attest"] = lambda x: x.wait_gone()
    socks = [gateway.connect() for _ in range(6)]
    socks[1].sendall(b"GET /health HT")
    socks[2].sendall(head("GET", "/attestation"))
    socks[3].sendall(head("POST", "/prove", "Content-Length: 1000000") + b'{"data":"')
    socks[4].sendall(head("POST", "/prove", "Content-Length: 19") + b'{"data":"aGVsbG8="}')
    prover.last("prove")
    socks[5].sendall(head("POST", "/prove", "Content-Length: 80000000") + b"oops")
    time.sleep(0.2)
    assert gateway.stop() == 0


def test_access_log(gateway):
    gateway.prove(b"x" * 1000, x_request_id="the-id")
    with gateway.connect() as s:
        s.sendall(head("GET", '/"\\<{secret?nonce=topsecret', 'X-Request-Id: "\\'))
        read_answer(s)
    lines = wait_for(lambda: len(gateway.access_log()) == 2 and gateway.access_log())
    assert lines[0]["id"] == "the-id" and lines[0]["path"] == "/prove" and lines[0]["status"] == 200
    assert lines[0]["method"] == "POST" and lines[0]["client"] == "127.0.0.1" and lines[0]["code"] == "ok"
    assert lines[0]["body_bytes"] == len(prove_body(b"x" * 1000))
    assert lines[1]["id"] == '"\\' and lines[1]["path"] == '/"\\<{secret' and lines[1]["status"] == 404
    assert "topsecret" not in gateway.stdout


@pytest.mark.parametrize("options,why", [
    (["--listen", "127.0.0.1:0"], "both --listen and --enclave"), (["--enclave", "unix:x"], "both"),
    (["--listen", "x", "--enclave", "unix:x"], None), (["--body-max-mib", "0"], "between 1 and"),
    (["--enclve", "x"], "did you mean --enclave"), (["stray"], "no instance \"stray\""), (["./stray", "more"], "unexpected argument")])
def test_usage(build, short_dir, options, why):
    p = Program([build / "tee-rex", "gateway", *options], short_dir)
    status = p.process.wait(10)
    assert status == (1 if why is None else 2) and (why or "no address to listen on") in p.stderr


def test_port_taken(build, short_dir, gateway):
    p = Program([build / "tee-rex", "gateway", "--listen", f"127.0.0.1:{gateway.port}", "--enclave", "unix:/nowhere"], short_dir)
    assert p.process.wait(10) == 1
    assert "Address already in use" in p.stderr
