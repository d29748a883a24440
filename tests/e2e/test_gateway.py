"""tee-rex gateway against a FakeProver: the public API as clients see it, and both neighbours at their worst."""
import base64
import cbor2
import hashlib
import http.client
import os
import re
import socket
import struct
import time

import pytest

import fake_prover
from conftest import wait_for
from fake_prover import FakeProver, frame
from gateway import Answer, Buffered, Gateway, head, prove_body, read_answer

HEX32 = re.compile(r"[0-9a-f]{32}\Z")


@pytest.fixture
def prover(short_dir):
    p = FakeProver(short_dir / "service.sock")
    yield p
    p.stop()
    assert p.violations == []


@pytest.fixture
def start(build, short_dir, free_port):
    """Starts gateways and sees to it that they stop cleanly, without complaint, and without a descriptor left over."""
    started = []

    def run(enclave, *options, **how):
        g = Gateway(build, short_dir, free_port, enclave, *options, **how)
        started.append(g)
        g.fds_at_start = g.fds()
        return g

    yield run
    try:
        for g in started:
            if g.running():
                wait_for(lambda: g.fds() <= g.fds_at_start, 8, f"descriptors back at {g.fds_at_start}")
                assert g.stop() == 0, g.stderr
    finally:
        for g in started:
            g.kill()
    for g in started:
        assert "Sanitizer" not in g.stderr and "runtime error" not in g.stderr, g.stderr
        for line in g.access_log():
            assert {"time", "id", "client", "method", "path", "status"} <= set(line)


@pytest.fixture
def gateway(start, prover):
    return start(prover.path)


# --- the four routes -------------------------------------------------------------------------------------------------


def test_attestation(gateway, prover):
    a = gateway.get("/attestation")
    assert a.status == 200 and a.headers["Cache-Control"] == "no-store"
    assert a.json == {"mode": "nitro", "attestationDocument": base64.b64encode(fake_prover.DOCUMENT).decode(),
                      "publicKey": fake_prover.KEY}
    assert "nonce" not in prover.last("attest").request


@pytest.mark.parametrize("size", [16, 32, 64])
def test_attestation_passes_the_nonce(gateway, prover, size):
    nonce = os.urandom(size)
    a = gateway.get(f"/attestation?x=1&nonce={nonce.hex().upper()}&y")
    assert base64.b64decode(a.json["attestationDocument"]) == fake_prover.DOCUMENT + nonce
    assert prover.last("attest").request["nonce"] == nonce


@pytest.mark.parametrize("query", ["nonce=", "nonce", "nonce=00", "nonce=" + "0" * 30, "nonce=" + "0" * 33,
                                   "nonce=" + "0" * 130, "nonce=" + "g" * 32, "nonce=%30" + "0" * 31,
                                   "nonce=" + "0" * 32 + "&nonce=" + "0" * 32])
def test_attestation_refuses_other_nonces(gateway, prover, query):
    gateway.get("/attestation?" + query).error(400, "Invalid nonce: expected one of 16 to 64 bytes in hex", "bad-request")
    assert prover.exchanges == []


def test_key(gateway):
    a = gateway.get("/encryption-public-key")
    assert (a.status, a.json) == (200, {"publicKey": fake_prover.KEY})
    assert a.headers["Cache-Control"] == "no-store"


def test_health(gateway):
    h = gateway.get("/health").json
    assert h["status"] == "ok" and h["api_version"] == 1 and h["enclave"] == "ok"
    assert h["available_versions"] == ["5.0.0", "4.1.2"] and h["default_version"] == "5.0.0"
    assert h["bb_hashes"] == [{"version": "5.0.0", "sha256": "05" * 32}, {"version": "4.1.2", "sha256": "04" * 32}]
    assert h["runtime"]["enclave_uptime_s"] == 12 and h["runtime"]["jobs_running"] == 1
    assert h["runtime"]["gateway_uptime_s"] >= 0


def test_prove(gateway, prover):
    payload = os.urandom(300_001)
    a = gateway.prove(payload, x_aztec_version="5.0.0-nightly.1", x_request_id="my-id~1")
    assert a.status == 200 and a.headers["Cache-Control"] == "no-store"
    assert a.json == {"proof": base64.b64encode(fake_prover.PROOF).decode(), "bbSha256": "05" * 32,
                      "signature": base64.b64encode(bytes(64)).decode(), "peakBytes": 251 << 20}
    assert a.headers["x-prove-duration-ms"] == "1240" and a.headers["x-decrypt-duration-ms"] == "10"
    assert a.headers["X-Request-Id"] == "my-id~1"
    x = prover.last("prove")
    assert x.hash.digest() == hashlib.sha256(payload).digest() and x.ended
    assert x.request["version"] == "5.0.0-nightly.1" and x.request["id"] == "my-id~1"
    assert len(payload) <= x.request["size"] <= len(payload) + 32


def test_prove_without_version_header_names_none(gateway, prover):
    assert gateway.prove(b"x").status == 200
    assert "version" not in prover.last("prove").request


def test_prove_chunked(gateway, prover):
    payload = os.urandom(200_000)
    text = prove_body(payload).encode()
    c = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    c.request("POST", "/prove", iter([text[i:i + 7001] for i in range(0, len(text), 7001)]), encode_chunked=True,
              headers={"Transfer-Encoding": "chunked"})
    assert Answer(c.getresponse()).status == 200
    assert prover.last("prove").hash.digest() == hashlib.sha256(payload).digest()


def test_prove_byte_by_byte_and_expect_continue(gateway, prover):
    text = b'{"x":[1,{"data":null}],"data":"aGVs\\u0062G8="}'
    with gateway.connect() as s:
        s.sendall(head("POST", "/prove", f"Content-Length: {len(text)}", "Expect: 100-continue"))
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        for i in range(len(text)):
            s.sendall(text[i:i + 1])
            time.sleep(0.002)
        assert read_answer(s).status == 200
    assert prover.last("prove").hash.digest() == hashlib.sha256(base64.b64decode("aGVsbG8=")).digest()


def test_head_and_keep_alive(gateway):
    c = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    for method, path, status in [("HEAD", "/health", 200), ("GET", "/health", 200), ("POST", "/prove", 200),
                                 ("POST", "/prove", 200), ("GET", "/nothing", 404), ("GET", "/attestation", 200)]:
        c.request(method, path, prove_body(b"x") if method == "POST" else None)
        s = c.sock
        a = Answer(c.getresponse())
        assert a.status == status and (method != "HEAD" or a.body == b"")
        assert c.sock is s            # the same connection served them all


# --- errors of form -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/attestation/", "/Attestation", "/%61ttestation", "/attestation%00", "//health",
                                  "/prove/..", "*", "/health;x", "/metrics"])
def test_not_found(gateway, path):
    gateway.get(path).error(404, "Not found")


def test_absolute_form_of_a_target(gateway):
    assert gateway.get("http://example/health?x").status == 200
    gateway.get("http://example").error(404, "Not found")
    gateway.get("https://example/health").error(404, "Not found")


@pytest.mark.parametrize("method,path,allow", [("GET", "/prove", "POST, OPTIONS"), ("DELETE", "/health", "GET, HEAD, OPTIONS"),
                                               ("POST", "/attestation", "GET, HEAD, OPTIONS"), ("BREW", "/prove", "POST, OPTIONS")])
def test_method_not_allowed(gateway, method, path, allow):
    a = gateway.request(method, path)
    a.error(405, "Method not allowed")
    assert a.headers["Allow"] == allow


@pytest.mark.parametrize("path", ["/prove", "/attestation", "/nothing"])
def test_preflight(gateway, path):
    a = gateway.request("OPTIONS", path, headers={"Origin": "https://example", "Access-Control-Request-Method": "POST"})
    assert a.status == 204 and a.body == b""
    assert a.headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE, OPTIONS"
    assert a.headers["Access-Control-Allow-Headers"] == "Content-Type, X-Request-Id, X-Aztec-Version, Prefer"


@pytest.mark.parametrize("sent", [None, "", "a b", "x" * 65, "caf\xe9", "tab\there"])
def test_other_request_ids_are_replaced(gateway, sent):
    with gateway.connect() as s:
        s.sendall(head("GET", "/health", *([] if sent is None else [f"X-Request-Id: {sent}"])).replace(b"\xc3\xa9", b"\xe9"))
        assert HEX32.match(read_answer(s).headers["X-Request-Id"])


def test_request_ids_are_escaped_in_json(gateway):
    rid = '"}\\<script>'
    a = gateway.get("/nothing", x_request_id=rid)
    assert a.error(404, "Not found")["requestId"] == rid


@pytest.mark.parametrize("version", ["../evil", ".hidden", "-x", "a/b", "a b", "x" * 65, "5.0.0\t1", "caf\xe9"])
def test_bad_version_header(gateway, prover, version):
    a = gateway.request("POST", "/prove", prove_body(b"x"), {"x-aztec-version": version})
    a.error(400, "Invalid x-aztec-version", "bad-request")
    assert prover.exchanges == []


MALFORMED, SHAPE = "Malformed request body", "Invalid request body: expected { data: string }"


@pytest.mark.parametrize("body,text", [
    (b"", MALFORMED), (b"x", MALFORMED), (b"{", MALFORMED), (b'{"data":"aGk="', MALFORMED), (b'{"data":"aGk="}x', MALFORMED),
    (b'{"data":"aGk"}', MALFORMED), (b'{"data":"a-_="}', MALFORMED), (b'{"data":"aGk=","data":"aGk="}', MALFORMED),
    (b'{"x":"\xff","data":"aGk="}', MALFORMED), (b'{"a":' + b"[" * 40, MALFORMED), (b"data=aGk%3D", MALFORMED),
    (b"{}", SHAPE), (b"[]", SHAPE), (b"null", SHAPE), (b'"aGk="', SHAPE), (b'{"data":1}', SHAPE), (b'{"data":null}', SHAPE),
    (b'{"data":["aGk="]}', SHAPE), (b'{"Data":"aGk="}', SHAPE)])
def test_bad_bodies(gateway, prover, body, text):
    c = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    c.request("POST", "/prove", body)
    Answer(c.getresponse()).error(400, text, "bad-request")
    c.request("POST", "/prove", prove_body(b"fine"))         # the connection still works
    assert Answer(c.getresponse()).status == 200
    assert [x.ended for x in prover.exchanges] == [True]         # the other never reached the enclave


def test_malformed_start_of_a_huge_body_is_answered_at_once(gateway, prover):
    with gateway.connect() as s:
        s.sendall(head("POST", "/prove", "Content-Length: 60000000") + b"{oops")
        a = read_answer(s)
        a.error(400, MALFORMED)
        assert a.headers["Connection"] == "close"
        s.settimeout(1)
        assert s.recv(1) == b""          # the end of what it has to say
        # still readable for a while, so that no reset can take the answer away; then it ends
        for _ in range(20):
            s.sendall(b"x" * 100_000)
    assert prover.exchanges == []


@pytest.mark.parametrize("extra", [(), ("Expect: 100-continue",)])
def test_too_large_by_content_length_before_the_body(start, prover, extra):
    gateway = start(prover.path, "--body-max-mib", "2")
    with gateway.connect() as s:
        s.sendall(head("POST", "/prove", f"Content-Length: {(2 << 20) + 1}", *extra))
        assert read_answer(s).error(413, "Payload too large", "too-large")["limit_bytes"] == 2 << 20
    assert prover.exchanges == []


def test_too_large_while_streaming(start, prover):
    gateway = start(prover.path, "--body-max-mib", "2")
    with gateway.connect() as s:
        s.sendall(head("POST", "/prove", "Transfer-Encoding: chunked") + b'9\r\n{"data":"\r\n')
        sent = 9
        try:
            while sent < 4 << 20:
                s.sendall(b"10000\r\n" + b"A" * 65536 + b"\r\n")
                sent += 65536
        except OSError:
            pass
        a = read_answer(s)
        assert a.error(413, "Payload too large", "too-large")["limit_bytes"] == 2 << 20
    assert prover.exchanges == []


def test_body_at_the_limit_passes(start, prover):
    gateway = start(prover.path, "--body-max-mib", "2")
    text = b'{"data":"' + b"A" * ((2 << 20) - 13) + b'" }'
    text += b" " * ((2 << 20) - len(text))
    assert gateway.request("POST", "/prove", text).status == 400      # 2 MiB - 13 characters are no base64
    text = b'{"data":"' + b"A" * ((2 << 20) - 16) + b'"}'
    text += b" " * ((2 << 20) - len(text))
    assert gateway.request("POST", "/prove", text).status == 200
    assert prover.last("prove").data_n == ((2 << 20) - 16) // 4 * 3


def test_get_with_a_body(gateway, prover):
    gateway.request("GET", "/attestation", b"x").error(400, "This request takes no body")
    gateway.request("OPTIONS", "/prove", b"x" * 100_000)
    assert prover.exchanges == []


AMBIGUOUS = "Malformed request: its length is ambiguous"


@pytest.mark.parametrize("fields", [
    ["Content-Length: 14", "Transfer-Encoding: chunked"], ["Transfer-Encoding: chunked", "Content-Length: 14"],
    ["Content-Length: 14", "Content-Length: 15"], ["Content-Length: 14", "Content-Length: 14"],
    ["Transfer-Encoding: gzip, chunked"], ["Transfer-Encoding: xchunked"], ["Transfer-Encoding: identity"],
    ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], ["Content-Length: 014"], ["Content-Length: +14"],
    ["Content-Length: 5, 5"], ["Content-Length: x"], ["Content-Length: -1"], ["Content-Length:"],
    ["Content-Length: 99999999999999999999999"], ["Content-Length: 14\t ", "content-length: 14"]])
def test_ambiguous_lengths_are_refused(gateway, prover, fields):
    """One refusal, and what follows is never taken for a request."""
    refused(gateway, head("POST", "/prove", *fields) + b'{"data":"aGk="}' + head("GET", "/attestation"), 400, AMBIGUOUS)
    assert prover.exchanges == []


BAD_HEADERS = "Malformed request headers"


@pytest.mark.parametrize("fields", [
    ["Content-Length : 14"], ["Transfer-Encoding : chunked"], ["Con(tent: 1", "Content-Length: 14"], ["Content-Length:\r\n 14"],
    ["Content-Length: 1\r\n\t4"], ["Transfer-Encoding:\r\n chunked"], ["X: a\rb"], ["X: a\x00b"], ["X: a\nContent-Length: 14"],
    ["No colon"], [": no name"], ["Host: y"], [" X: y"]])
def test_malformed_headers_are_refused(gateway, prover, fields):
    refused(gateway, head("POST", "/prove", *fields) + b'{"data":"aGk="}' + head("GET", "/attestation"), 400, BAD_HEADERS)
    assert prover.exchanges == []


@pytest.mark.parametrize("text,status,error", [
    (b"GET /health HTTP/1.1\r\n\r\n", 400, BAD_HEADERS), (b"GET /health HTTP/1.1\nHost: x\n\n", 400, "Malformed request"),
    (b"GET /health HTTP/2.0\r\nHost: x\r\n\r\n", 505, "HTTP version not supported"), (b"GET /health\r\n\r\n", 400, "Malformed request"),
    (b"GET  /health HTTP/1.1\r\nHost: x\r\n\r\n", 400, "Malformed request"), (b"\x16\x03\x01\x02\x00\n", 400, "Malformed request"),
    (b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "Malformed request"), (b"GET /\xe9 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "Malformed request"),
    (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 130 + b"\r\n", 431, "Request headers too large"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40000, 431, "Request headers too large")])
def test_what_is_no_http_gets_our_answer(gateway, text, status, error):
    refused(gateway, text, status, error)


def refused(gateway, text, status, error):
    with gateway.connect() as s:
        s.sendall(text)
        stream = Buffered(s)
        a = read_answer(stream)
        a.error(status, error, "bad-request")
        assert a.headers["Connection"] == "close"
        assert stream.file.read() == b""


@pytest.mark.parametrize("text", [b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n",
                                  b"GET /health HTTP/1.0\r\n\r\n", b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                                  b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: x, Close\r\n\r\n", b"GET /health HTTP/1.1\r\nhOST: x\r\n\r\n"])
def test_when_connections_end(gateway, text):
    ends = b"1.0\r\n\r\n" in text or b"Close" in text
    with gateway.connect() as s:
        s.sendall(text)
        a = read_answer(s)
        assert a.status == 200
        assert a.headers["Connection"] == ("close" if ends else "keep-alive" if b"1.0" in text else None)
        if ends:
            assert s.recv(1) == b""
        else:
            s.sendall(text)
            assert read_answer(s).status == 200


@pytest.mark.parametrize("body", [b"zz\r\n", b"-1\r\n", b"5\r\n{}   xx", b"ffffffffffffffffff\r\n", b"5\n", b" 5\r\n", b"5 \r\n", b"\r\n",
                                  b"5;" + b"x" * 5000, b"0x5\r\n", b"5;a\x00\r\n", b"0\r\n folded: y\r\n\r\n", b"1\r\n{\r\n0\r\n\n"])
def test_broken_chunks_are_answered_and_closed(gateway, prover, body):
    with gateway.connect() as s:
        s.sendall(head("POST", "/prove", "Transfer-Encoding: chunked") + body)
        a = read_answer(s)
        a.error(400, "Malformed request: its chunks are none", "bad-request")
        assert a.headers["Connection"] == "close"
    assert gateway.get("/health").status == 200


def test_chunk_extensions_and_trailers_are_skipped(gateway, prover):
    with gateway.connect() as s:
        s.sendall(head("POST", "/prove", "Transfer-Encoding: chunked") + b'9;a="b;c"\r\n{"data":"\r\n06\r\naGk="}\r\n000;x\r\nContent-Length: 7\r\n\r\n'
                  + head("GET", "/nothing"))
        stream = Buffered(s)
        assert [read_answer(stream).status for _ in range(2)] == [200, 404]
    assert prover.last("prove").hash.digest() == hashlib.sha256(b"hi").digest()


def test_long_targets(gateway):
    gateway.get("/" + "x" * 600).error(414, "Request target too long")
    assert gateway.get("/health?" + "x" * 500).status == 200


# --- what the enclave says -----------------------------------------------------------------------------------------------


OUTCOMES = {
    "bad-input": (400, "Failed to decrypt request payload"),
    "out-of-memory": (422, "The proof needs more memory than a job may have"),
    "timed-out": (504, "The answer was not ready in time"),
    "cancelled": (503, "The request was cancelled, try again"),
    "crashed": (422, "The prover program crashed on this input"),
    "prover-error": (422, "The prover program made no proof of this input"),
    "unknown-key": (400, "The payload is encrypted to a key that is not loaded: fetch a new attestation and encrypt again"),
    "unknown-version": (400, "This prover version is not loaded: GET /health lists those that are"),
    "version-mismatch": (409, "The payload is bound to another prover version"),
    "bad-request": (400, "Malformed request"),
    "too-large": (413, "Payload too large"),
    "busy": (429, "Too many prove requests, try again later"),
    "not-allowed": (403, "Not allowed"),
    "digest-mismatch": (422, "The data is not what its digest says"),
    "no-space": (503, "No room for this payload now, try again later"),
    "unavailable": (503, "The enclave is not available, try again later"),
    "internal": (500, "Internal server error"),
    "a-code-of-the-future": (500, "Internal server error"),
}


@pytest.mark.parametrize("code", OUTCOMES)
def test_outcomes(gateway, prover, code):
    def answer(x):
        x.read_data()
        x.error(code, message='why <b>"\x01\u20ac', limit_bytes=320 << 20, peak_bytes=(319 << 20) + 5, signal=9, novel=1)

    prover.handlers["prove"] = answer
    a = gateway.prove(b"x" * 1000)
    status, text = OUTCOMES[code]
    e = a.error(status, text, "internal" if code == "a-code-of-the-future" else code)
    assert e["detail"] == 'why <b>"\x01\u20ac'
    assert (e["limit_bytes"], e["peak_bytes"], e["signal"]) == (320 << 20, 320 << 20, 9)
    assert (a.headers["Retry-After"] is not None) == (status in (429, 503))
    assert a.headers["Cache-Control"] == "no-store" and a.headers["X-Content-Type-Options"] == "nosniff"


def test_errors_of_questions(gateway, prover):
    prover.handlers["attest"] = lambda x: x.error("unavailable", message="the NSM is away")
    assert gateway.get("/attestation").error(503, OUTCOMES["unavailable"][1])["detail"] == "the NSM is away"
    prover.handlers["health"] = lambda x: x.error("internal")
    assert gateway.get("/health").json["enclave"] == "unreachable"


@pytest.mark.parametrize("limit", [0, 100_000])
def test_busy_in_the_middle_of_the_data(gateway, prover, limit):
    prover.handlers["prove"] = lambda x: (x.read_data(limit=limit), x.error("busy"), x.wait_gone())
    a = gateway.prove(os.urandom(3_000_000))
    a.error(429, OUTCOMES["busy"][1], "busy")
    assert a.headers["Retry-After"]


HOSTILE = {
    "nothing": b"",
    "half a header": b"\0\0",
    "garbage": bytes(range(255, -1, -1)),
    "html": b"HTTP/1.1 200 OK\r\n\r\n",
    "huge length": struct.pack(">IB", 0xFFFFFFFF, 4),
    "empty reply": struct.pack(">IB", 0, 4),
    "a request": frame(1, cbor2.dumps({"op": "health"})),
    "data": frame(2, b"x" * 1000),
    "an end": frame(3),
    "truncated reply": frame(4, cbor2.dumps({"key": "k"}))[:-1],
    "reply is no map": frame(4, cbor2.dumps([1])),
    "reply with trailing bytes": frame(4, cbor2.dumps({"key": "k"}) + b"\0"),
    "reply of a wrong type": frame(4, cbor2.dumps({"key": 1, "document": "x"})),
    "reply without what was asked": frame(4, cbor2.dumps({})),
    "reply with too large a key": frame(4, cbor2.dumps({"key": "k" * 1025, "document": b"d"})),
    "reply with too large a document": frame(4, cbor2.dumps({"key": "k", "document": bytes(16385)})),
    "error ok": frame(6, cbor2.dumps({"code": "ok"})),
    "error without code": frame(6, cbor2.dumps({"message": "m"})),
    "indefinite": frame(4, b"\xbf\xff"),
    "nested deep": frame(4, b"\xa1\x61x" + b"\x81" * 2000),
    "event then nothing": frame(5, cbor2.dumps({"stage": "queued"})),
    "malformed event": frame(5, cbor2.dumps({"position": 1})),
    "event flood": frame(5, cbor2.dumps({"stage": "x"})) * 5000,
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("path", ["/attestation", "/prove", "/health"])
def test_hostile_enclave(gateway, prover, what, path):
    def answer(x):
        if x.op == "prove":
            x.read_data()
        try:
            x.send(HOSTILE[what])
        except OSError:
            pass

    prover.handlers = {"attest": answer, "prove": answer, "health": answer}
    a = gateway.prove(b"x" * 1000) if path == "/prove" else gateway.get(path)
    if path == "/health":
        assert a.status == 200 and a.json["enclave"] == ("ok" if what == "reply without what was asked" else "unreachable")
    else:
        went_away = what in ("nothing", "half a header", "truncated reply", "event then nothing")
        assert (a.status, a.json["code"]) == ((503, "unavailable") if went_away else (502, "internal"))
    prover.handlers = {}
    assert gateway.prove(b"again").status == 200


def test_reply_before_the_end_of_the_data_is_no_proof(gateway, prover):
    def answer(x):
        x.reply(proof=fake_prover.PROOF, bb_sha256=bytes(32), signature=bytes(64))
        x.wait_gone()

    prover.handlers["prove"] = answer
    gateway.prove(bytes(8_000_000)).error(502, "The enclave gave no valid answer", "internal")


@pytest.mark.parametrize("proof", [b"", b"\0\0\0", b"\0\0\0\0", b"\0\0\0\1" + bytes(31), b"\0\0\0\1" + bytes(33),
                                   b"\xff\xff\xff\xff" + bytes(32)])
def test_proofs_of_a_wrong_size(gateway, prover, proof):
    prover.handlers["prove"] = lambda x: (x.read_data(), x.reply(proof=proof, bb_sha256=bytes(32), signature=bytes(64)))
    gateway.prove(b"x").error(502, "The enclave gave no valid answer", "internal")


def test_largest_proof(gateway, prover):
    fields = ((1 << 20) - 4096 - 4) // 32
    proof = struct.pack(">I", fields) + os.urandom(32 * fields)
    prover.handlers["prove"] = lambda x: (x.read_data(), x.reply(proof=proof, bb_sha256=bytes(32), signature=bytes(64)))
    assert base64.b64decode(gateway.prove(b"x").json["proof"]) == proof


def test_text_of_the_enclave_is_escaped(gateway, prover):
    key = 'k"\\\n\x01<script>\u2028\U0001f600'
    prover.handlers["public-key"] = lambda x: x.reply(key=key)
    a = gateway.get("/encryption-public-key")
    assert a.json == {"publicKey": key}
    assert b"\n" not in a.body and b"\x01" not in a.body


def test_enclave_away(start, short_dir):
    gateway = start(short_dir / "nobody.sock")
    gateway.get("/attestation").error(503, OUTCOMES["unavailable"][1], "unavailable")
    gateway.prove(b"x" * 100_000).error(503, OUTCOMES["unavailable"][1], "unavailable")
    h = gateway.get("/health")
    assert h.status == 200 and h.json["enclave"] == "unreachable"
    assert h.json["available_versions"] == [] and h.json["bb_hashes"] == [] and "runtime" in h.json
    # and when it comes, nothing has to be started again
    p = FakeProver(short_dir / "nobody.sock")
    assert gateway.get("/health").json["enclave"] == "ok"
    p.stop()
    os.unlink(p.path)
    s = socket.socket(socket.AF_UNIX)
    s.bind(p.path)                       # exists, but nobody listens
    assert gateway.get("/health").json["enclave"] == "unreachable"


def test_silent_enclave_times_out(start, prover):
    gateway = start(prover.path, "--prove-timeout", "1")
    prover.handlers["prove"] = lambda x: (x.read_data(), x.wait_gone())
    began = time.monotonic()
    gateway.prove(b"x").error(504, OUTCOMES["timed-out"][1], "timed-out")
    assert 0.9 < time.monotonic() - began < 3
    assert prover.last("prove").closed.wait(1)
