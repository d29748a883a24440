"""tee-rex gateway, what it does for whoever runs it: shared attestations, client addresses, limits, metrics, listeners."""
import base64
import http.client
import json
import os
import re
import socket
import stat
import subprocess
import threading
import time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

import fake_prover
from conftest import Program, wait_for
from gateway import Gateway, head, read_answer
from test_gateway import OUTCOMES, gateway, prover, start  # noqa: F401 (fixtures)


# --- one attestation for many ---------------------------------------------------------------------------------------------


def count(prover, op="attest"):
    return len([x for x in prover.exchanges if x.op == op])


def numbered(prover):
    """Every document differs from the one before."""
    def answer(x):
        with prover.lock:
            answer.n += 1
            n = answer.n
        x.reply(document=b"document %d" % n + x.request.get("nonce", b""), key=fake_prover.KEY)
    answer.n = 0
    prover.handlers["attest"] = answer


def document(answer):
    assert answer.status == 200 and answer.headers["Cache-Control"] == "no-store"
    return base64.b64decode(answer.json["attestationDocument"])


def test_attestation_is_kept_for_the_time_configured(start, prover):
    gateway = start(prover.path, "--attestation-cache-ms", "700")
    numbered(prover)
    began = time.monotonic()
    first = [gateway.get("/attestation") for _ in range(20)]
    if time.monotonic() - began < 0.6:
        assert {document(a) for a in first} == {b"document 1"} and count(prover) == 1
    assert len({a.headers["X-Request-Id"] for a in first}) == 20
    assert gateway.request("HEAD", "/attestation").status == 200
    time.sleep(0.8)
    before = count(prover)
    assert document(gateway.get("/attestation")) == b"document %d" % (before + 1)


def test_attestation_with_a_nonce_is_never_shared(gateway, prover):
    numbered(prover)
    assert document(gateway.get("/attestation")) == b"document 1"
    for n in range(2, 6):
        assert document(gateway.get("/attestation?nonce=" + "41" * 16)) == b"document %d" % n + b"A" * 16
    assert document(gateway.get("/attestation?other=1")) == b"document 1"


def test_attestation_cache_off(start, prover):
    gateway = start(prover.path, "--attestation-cache-ms", "0")
    numbered(prover)
    assert [document(gateway.get("/attestation")) for _ in range(3)] == [b"document 1", b"document 2", b"document 3"]


def test_attestation_exchange_is_shared_by_all_who_wait(gateway, prover):
    go, answers = threading.Event(), []
    prover.handlers["attest"] = lambda x: (go.wait(10), x.reply(document=b"late", key=fake_prover.KEY))
    leaver = gateway.connect()
    leaver.sendall(head("GET", "/attestation"))          # the first to ask, whose leaving must not end it for the others
    prover.last("attest")
    threads = [threading.Thread(target=lambda: answers.append(gateway.get("/attestation"))) for _ in range(40)]
    for t in threads:
        t.start()
    wait_for(lambda: gateway.fds() >= gateway.fds_at_start + 42)
    leaver.close()
    time.sleep(0.2)
    go.set()
    for t in threads:
        t.join()
    assert [document(a) for a in answers] == [b"late"] * 40 and count(prover) == 1


def test_last_one_leaving_ends_the_shared_exchange(gateway, prover):
    prover.handlers["attest"] = lambda x: x.wait_gone()
    socks = [gateway.connect() for _ in range(3)]
    for s in socks:
        s.sendall(head("GET", "/attestation"))
    x = prover.last("attest")
    time.sleep(0.2)
    socks[0].close()
    socks[1].close()
    assert not x.closed.wait(0.3)
    socks[2].close()
    assert x.closed.wait(2)
    prover.handlers = {}
    assert document(gateway.get("/attestation")) == fake_prover.DOCUMENT


def test_attestation_errors_go_to_all_and_are_not_kept(gateway, prover):
    prover.handlers["attest"] = lambda x: (time.sleep(0.3), x.error("unavailable", message="the NSM is away"))
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(gateway.get("/attestation"))) for _ in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for a in answers:
        assert a.error(503, OUTCOMES["unavailable"][1], "unavailable")["detail"] == "the NSM is away"
    prover.handlers = {}
    assert gateway.get("/attestation").status == 200


@pytest.mark.parametrize("why", ["unknown-key", "closed"])
def test_kept_attestation_is_dropped_with_its_enclave(start, prover, why):
    gateway = start(prover.path, "--attestation-cache-ms", "60000")
    numbered(prover)
    prover.handlers["prove"] = lambda x: (x.read_data(), why == "unknown-key" and x.error("unknown-key"))
    assert document(gateway.get("/attestation")) == document(gateway.get("/attestation")) == b"document 1"
    assert gateway.prove(b"x").status == (400 if why == "unknown-key" else 503)
    assert document(gateway.get("/attestation")) == b"document 2"


# --- who the client is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trusted,lines,client", [
    ([], ["203.0.113.9"], "127.0.0.1"), (["10.0.0.0/8", "::/0", "unix"], ["203.0.113.9"], "127.0.0.1"),
    (["127.0.0.0/8"], [], "127.0.0.1"), (["127.0.0.0/8"], ["203.0.113.9"], "203.0.113.9"),
    (["127.0.0.1"], ["127.0.0.1, 203.0.113.9"], "203.0.113.9"), (["127.0.0.1"], ["1.1.1.1"] * 20 + ["2001:db8::7"], "2001:db8::7"),
    (["127.0.0.1", "10.0.0.0/8"], ["1.1.1.1, 203.0.113.9", "10.9.9.9"], "203.0.113.9"),
    (["127.0.0.1"], ['203.0.113.9, "><script>'], "127.0.0.1"), (["127.0.0.1"], ["1.1.1.1," * 3000 + "203.0.113.9"], "203.0.113.9")])
def test_client_address(start, prover, trusted, lines, client):
    gateway = start(prover.path, *[x for t in trusted for x in ("--trusted-proxy", t)])
    with gateway.connect() as s:
        s.sendall(head("GET", "/health", *[f"X-Forwarded-For: {x}" for x in lines], "X-Real-IP: 8.8.8.8", "Forwarded: for=8.8.4.4"))
        assert read_answer(s).status == 200
    assert wait_for(lambda: gateway.access_log())[0]["client"] == client


@pytest.mark.parametrize("cidr", ["", "localhost", "10.0.0.0/33", "10.0.0.1/8"])
def test_bad_trusted_proxy(build, short_dir, cidr):
    p = Program([build / "tee-rex", "gateway", "--listen", "127.0.0.1:0", "--enclave", "unix:/x", "--trusted-proxy", cidr], short_dir)
    assert p.process.wait(10) == 1 and "--trusted-proxy" in p.stderr


# --- how often one may prove ---------------------------------------------------------------------------------------------------

ME = ["--trusted-proxy", "127.0.0.1"]


def prove_as(gateway, client):
    return gateway.prove(b"x", x_forwarded_for=client)


def test_prove_rate(start, prover):
    gateway = start(prover.path, "--prove-rate", "60", "--prove-burst", "3")
    answers = [gateway.prove(b"x") for _ in range(6)]
    assert [a.status for a in answers[:3]] == [200] * 3 and answers[-1].status == 429
    e = answers[-1]
    e.error(429, "Too many prove requests, try again later", "busy")
    assert e.headers["Retry-After"] == "1"
    assert gateway.get("/attestation").status == gateway.get("/health").status == 200
    time.sleep(1.1)
    assert gateway.prove(b"x").status == 200
    n = count(prover, "prove")
    body = 50_000_000                                        # refused before the body, which is not waited for
    with gateway.connect() as s:
        s.sendall(head("POST", "/prove", f"Content-Length: {body}") + b'{"data":"')
        read_answer(s).error(429, "Too many prove requests, try again later", "busy")
    assert count(prover, "prove") == n


def test_prove_rate_is_each_clients_own(start, prover):
    gateway = start(prover.path, "--prove-rate", "1", "--prove-burst", "2", *ME)
    for client in ["203.0.113.1", "203.0.113.2", "2001:db8:1:1::1"]:
        assert [prove_as(gateway, client).status for _ in range(3)] == [200, 200, 429]
    assert prove_as(gateway, "2001:db8:1:1:ffff::").status == 429        # the same subscriber
    assert prove_as(gateway, "2001:db8:1:2::").status == 200
    assert prove_as(gateway, "127.0.0.1, 203.0.113.1").status == 429     # who says to be localhost is not
    wait = int(prove_as(gateway, "203.0.113.1").headers["Retry-After"])
    assert 50 <= wait <= 60


def test_prove_rate_does_not_exempt_this_machine_unless_told(start, prover):
    gateway = start(prover.path, "--prove-rate", "1", "--prove-burst", "1")
    assert [gateway.prove(b"x").status, gateway.prove(b"x", x_forwarded_for="203.0.113.1").status] == [200, 429]


def test_prove_rate_exempt(start, prover):
    gateway = start(prover.path, "--prove-rate", "1", "--prove-burst", "1", "--prove-rate-exempt", "127.0.0.0/8", *ME)
    assert [gateway.prove(b"x").status for _ in range(3)] == [200] * 3
    assert [prove_as(gateway, "203.0.113.1").status for _ in range(2)] == [200, 429]


def test_requests_refused_for_other_reasons_do_not_count(start, prover):
    gateway = start(prover.path, "--prove-rate", "1", "--prove-burst", "1", "--body-max-mib", "1")
    assert gateway.request("POST", "/prove", b"x" * (2 << 20)).status == 413
    assert gateway.request("POST", "/prove", b"").status == 400
    assert gateway.prove(b"x").status == 200


# --- problem details -----------------------------------------------------------------------------------------------------------

PROBLEM = "application/problem+json"


@pytest.mark.parametrize("accept,problem", [
    (None, False), ("*/*", False), ("application/*", False), ("application/json", False), (PROBLEM, True), (PROBLEM.upper(), True),
    ("application/json, " + PROBLEM, True), (PROBLEM + ";q=0.5, */*", True), (PROBLEM + " ; charset=utf-8 ; q=1", True),
    (PROBLEM + ";q=0", False), (PROBLEM + "; x=y; q=0.000", False), (PROBLEM + ";q=0.001", True), (PROBLEM + "x", False),
    ("x" + PROBLEM, False), (PROBLEM + "x, " + PROBLEM, True), (",,;, " + PROBLEM, True), ("", False), (";;;,", False)])
def test_problem_details_when_asked_for(gateway, accept, problem):
    headers = {} if accept is None else {"Accept": accept}
    e = gateway.request("GET", "/nothing", headers=headers).error(404, "Not found", "bad-request",
                                                                  PROBLEM if problem else "application/json")
    assert (e["title"], e["detail"]) == ("Malformed request", "Not found")
    assert gateway.request("GET", "/health", headers=headers).headers["Content-Type"] == "application/json"


def test_problem_details_of_an_early_answer(gateway, prover):
    with gateway.connect() as s:
        s.sendall(head("POST", "/prove", "Content-Length: 50000000", "Accept: " + PROBLEM) + b"oops")
        e = read_answer(s).error(400, "Malformed request body", "bad-request", PROBLEM)
        assert e["title"] == "Malformed request" and e["detail"] != e["error"]


def test_problem_details_tell_what_the_enclave_says(gateway, prover):
    prover.handlers["prove"] = lambda x: (x.read_data(), x.error("out-of-memory", message='5 "GiB"', limit_bytes=5 << 30))
    e = gateway.prove(b"x").error(422, OUTCOMES["out-of-memory"][1], "out-of-memory")
    assert e["detail"] == '5 "GiB"' and e["title"] == e["error"] and e["limit_bytes"] == 5 << 30
    prover.handlers["prove"] = lambda x: (x.read_data(), x.error("crashed", signal=11))
    e = gateway.prove(b"x").error(422, OUTCOMES["crashed"][1], "crashed")
    assert e["detail"] == e["error"]


# --- listening on a unix socket --------------------------------------------------------------------------------------------------


def test_unix_listener(start, prover, short_dir):
    path = short_dir / "http.sock"
    gateway = start(prover.path, "--prove-rate", "1", "--prove-burst", "1", unix=path)
    assert f"listening on unix:{path}" in gateway.stderr and stat.S_IMODE(os.stat(path).st_mode) == 0o660
    assert gateway.get("/health").json["enclave"] == "ok"
    payload = os.urandom(200_000)
    assert gateway.prove(payload, x_forwarded_for="203.0.113.1").status == 200
    assert gateway.prove(b"x", x_forwarded_for="203.0.113.2").status == 429
    assert {line["client"] for line in wait_for(lambda: len(gateway.access_log()) == 3 and gateway.access_log())} == {"unix"}
    x = prover.last("prove")
    prover.handlers["attest"] = lambda x: x.wait_gone()
    s = gateway.connect()
    s.sendall(head("GET", "/attestation?nonce=" + "00" * 16))
    x = prover.last("attest")
    s.close()
    assert x.closed.wait(2)                                      # who leaves is noticed here too
    assert gateway.stop() == 0 and not path.exists()


def test_unix_listener_behind_a_proxy(start, prover, short_dir):
    gateway = start(prover.path, "--trusted-proxy", "unix", "--prove-rate", "1", "--prove-burst", "1", unix=short_dir / "http.sock")
    assert [prove_as(gateway, c).status for c in ("203.0.113.1", "203.0.113.2", "203.0.113.1")] == [200, 200, 429]
    assert wait_for(gateway.access_log)[0]["client"] == "203.0.113.1"


def test_unix_listener_replaces_only_what_is_dead(build, start, prover, short_dir):
    path = short_dir / "http.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    gateway = start(prover.path, unix=path)
    other = short_dir / "other"
    other.mkdir()
    p = Program([build / "tee-rex", "gateway", "--listen", f"unix:{path}", "--enclave", "unix:/x"], other)
    assert p.process.wait(10) == 1 and "Address already in use" in p.stderr
    assert gateway.get("/health").status == 200
    path.unlink()
    path.write_text("somebody else's")
    assert gateway.stop() == 0 and path.read_text() == "somebody else's"
    for bad in ["unix:", f"unix:{path}", "unix:" + "x" * 108, f"unix:{short_dir}/none/x"]:
        p = Program([build / "tee-rex", "gateway", "--listen", bad, "--enclave", "unix:/x"], other)
        assert p.process.wait(10) == 1 and "unix:" in p.stderr
    assert path.read_text() == "somebody else's"


# --- metrics ----------------------------------------------------------------------------------------------------------------------

ENCLAVE = ("# TYPE teerex_prover_jobs_running gauge\nteerex_prover_jobs_running 1\n"
           'teerex_prover_jobs_running{x="<script>"} 1\n# TYPE teerex_gateway_proves gauge\nteerex_gateway_proves 99\n\x1b[31m\n# EOF\n')


def scrape(path, target="/metrics", method="GET"):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(str(path))
        s.sendall(head(method, target))
        r = http.client.HTTPResponse(s)
        r.begin()
        return r, r.read().decode()


def test_metrics(start, prover, short_dir):
    path = short_dir / "metrics.sock"
    gateway = start(prover.path, "--metrics", f"unix:{path}", "--prove-rate", "1", "--prove-burst", "1")
    prover.handlers["metrics"] = lambda x: x.reply(metrics=ENCLAVE)
    assert [gateway.prove(b"x" * 100).status for _ in range(3)] == [200, 429, 429]
    assert [gateway.get("/attestation").status for _ in range(3)] == [200] * 3
    gateway.get('/secret"{}%0a?x').error(404, "Not found")
    gateway.get("/metrics").error(404, "Not found")
    r, page = scrape(path)
    assert r.status == 200 and r.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert r.headers["Access-Control-Allow-Origin"] is None and r.headers["Cache-Control"] == "no-store"
    lines = page.splitlines()
    for line in ['teerex_gateway_requests_total{route="prove",status="200"} 1', 'teerex_gateway_requests_total{route="prove",status="429"} 2',
                 'teerex_gateway_requests_total{route="attestation",status="200"} 3', 'teerex_gateway_requests_total{route="other",status="404"} 2',
                 'teerex_gateway_request_duration_seconds_bucket{route="prove",le="+Inf"} 3',
                 'teerex_gateway_request_duration_seconds_count{route="attestation"} 3', "teerex_gateway_rate_limited_requests_total 2",
                 "teerex_gateway_attestation_cache_hits_total 2", "teerex_gateway_enclave_up 1", "teerex_prover_jobs_running 1",
                 "teerex_gateway_enclave_lines_dropped_total 4", "teerex_gateway_proves 0"]:
        assert lines.count(line) == 1, (line, page)
    assert "secret" not in page and "script" not in page and "99" not in page and "\x1b" not in page
    assert lines[-1] == "# EOF" and lines.count("# EOF") == 1 and page.endswith("\n")
    types = [line.split()[2] for line in lines if line.startswith("# TYPE ")]
    assert len(types) == len(set(types))
    for line in lines[:-1]:
        assert re.fullmatch(r'# TYPE [a-z_]+ (counter|gauge|histogram)|[a-z_]+(\{[a-z]+="[^"\\]+"(,[a-z]+="[^"\\]+")*\})? [0-9.]+', line), line
    assert {f.name: f.type for f in openmetrics(page)}["teerex_gateway_request_duration_seconds"] == "histogram"       # as others read it
    assert 'requests_total{route="metrics",status="200"} 1' in scrape(path)[1]
    for target in ["/health", "/attestation", "/prove", "/", "/metrics/"]:
        assert scrape(path, target)[0].status == 404
    assert scrape(path, method="POST")[0].status == 405


def test_a_log_that_nobody_reads(build, short_dir):
    """It holds nothing up; what is lost is counted, and the next lines are there when the reader is."""
    path, metrics, count = short_dir / "g.sock", short_dir / "metrics.sock", 1000
    process = subprocess.Popen([build / "tee-rex", "gateway", "--listen", f"unix:{path}", "--enclave", f"unix:{short_dir}/nobody",
                                "--metrics", f"unix:{metrics}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def lost():
        return int(re.search(r"^teerex_gateway_log_lines_lost_total (\d+)$", scrape(metrics)[1], re.M)[1])

    try:
        wait_for(lambda: path.exists(), 10, "gateway listening")
        assert [scrape(path, "/nothing")[0].status for _ in range(count)] == [404] * count
        before = lost()
        assert before > 0 and lost() == before + 1           # the look itself is a line
        os.set_blocking(process.stdout.fileno(), False)
        kept = process.stdout.read()
        time.sleep(0.01)                                     # until it looks again
        assert scrape(path, "/there-again")[0].status == 404
        in_all = lost()
        process.terminate()
        assert process.wait(15) == 0
        lines = [json.loads(line) for line in (kept + process.stdout.read()).splitlines()]
        assert "/there-again" in [line["path"] for line in lines]
        assert len(lines) + in_all == count + 4
    finally:
        process.kill()
        process.wait()


def test_metrics_without_an_enclave(start, prover, short_dir):
    path = short_dir / "metrics.sock"
    gateway = start(short_dir / "nobody", "--metrics", f"unix:{path}")
    r, page = scrape(path)
    assert r.status == 200 and "teerex_gateway_enclave_up 0\n" in page and "teerex_prover" not in page
    assert gateway.stop() == 0 and not path.exists()


def test_metrics_do_not_stand_in_line(start, prover, short_dir):
    path = short_dir / "metrics.sock"
    gateway = start(prover.path, "--metrics", f"unix:{path}")
    prover.handlers["health"] = lambda x: (time.sleep(0.5), prover.do_health(x))
    prover.handlers["metrics"] = lambda x: x.reply(metrics=ENCLAVE)
    socks = [gateway.connect() for _ in range(80)]
    for s in socks:
        s.sendall(head("GET", "/health"))
    time.sleep(0.1)
    began = time.monotonic()
    assert "teerex_gateway_enclave_up 1\n" in scrape(path)[1] and time.monotonic() - began < 1.5
    assert [read_answer(s).status for s in socks] == [200] * 80


# --- descriptors ---------------------------------------------------------------------------------------------------------------


def test_clients_do_not_take_the_last_descriptor(build, prover, short_dir, free_port):
    """With fewer descriptors than configured connections would need, fewer clients are taken, and those that ask are served."""
    argv = ["prlimit", "--nofile=250:250", build / "tee-rex", "gateway", "--listen", f"127.0.0.1:{free_port}", "--enclave", f"unix:{prover.path}",
            "--attestation-cache-ms", "0"]
    with Program(argv, short_dir) as p:
        wait_for(lambda: "listening on" in p.stderr)
        assert "58 connections at once instead of 1024: there are only 250 descriptors" in p.stderr
        idle = [socket.create_connection(("127.0.0.1", free_port), 10) for _ in range(300)]
        time.sleep(1.2)                                  # who has asked for nothing for a second makes room
        for i in range(5):
            with socket.create_connection(("127.0.0.1", free_port), 10) as s:
                s.settimeout(20)
                s.sendall(head("GET", "/attestation?nonce=" + "ab" * 16, f"X-Request-Id: n{i}"))
                assert read_answer(s).status == 200
            with socket.create_connection(("127.0.0.1", free_port), 10) as s:
                s.settimeout(20)
                body = b'{"data":"aGVsbG8="}'
                s.sendall(head("POST", "/prove", f"Content-Length: {len(body)}") + body)
                assert read_answer(s).status == 200
        assert p.fds() < 250
        for s in idle:
            s.close()
        assert p.stop() == 0


def test_two_gateways_on_one_socket(build, start, prover, short_dir):
    """The second is refused and takes nothing away from the first, on a unix socket as on a port."""
    first = start(prover.path, "--also-listen", f"unix:{short_dir}/s")
    for address in (f"127.0.0.1:{first.port}", f"unix:{short_dir}/s"):
        (short_dir / "second").mkdir(exist_ok=True)
        second = Program([build / "tee-rex", "gateway", "--listen", address, "--enclave", f"unix:{prover.path}"], short_dir / "second")
        assert second.process.wait(10) == 1 and f"listen on {address}: Address already in use" in second.stderr
    assert first.get("/health").status == 200
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(str(short_dir / "s"))
        s.sendall(head("GET", "/health"))
        assert read_answer(s).status == 200
