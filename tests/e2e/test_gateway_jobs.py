"""Asynchronous jobs, joining, and whose turn it is: tee-rex gateway against a FakeProver."""
import base64
import os
import re
import threading
import time

import pytest

import fake_prover
from conftest import wait_for
from gateway import head, prove_body, read_answer
from test_gateway import OUTCOMES, gateway, prover, start  # noqa: F401 (fixtures)
from test_gateway_service import ME, count, scrape

ASYNC = {"prefer": "respond-async"}
JOB = re.compile(r"/jobs/[0-9a-f]{8}-[0-9a-f]{32}\Z")


class Hold:
    """Proofs that are made when the test says so. Each proof tells its payload's first byte, as fields of it."""

    def __init__(self, prover):
        self.go, self.order, self.prover = threading.Event(), [], prover
        prover.handlers["prove"] = self

    def __call__(self, x):
        x.read_data()
        self.order.append(x.hash.hexdigest())
        x.event(stage="queued", position=1)
        x.event(stage="proving")
        while not self.go.wait(0.02):
            x.sock.settimeout(0.001)
            try:
                if not x.sock.recv(1):
                    raise fake_prover.Gone
            except (TimeoutError, BlockingIOError):
                pass
            x.sock.settimeout(None)
        x.reply(proof=fake_prover.PROOF, bb_sha256=bytes([5]) * 32, signature=bytes(64), prove_ms=1234, decrypt_ms=3)


@pytest.fixture
def hold(prover):
    h = Hold(prover)
    yield h
    h.go.set()


def post(gateway, payload, **headers):
    a = gateway.prove(payload, **{**ASYNC, **headers})
    assert a.status == 202, a.body
    assert JOB.match(a.headers["Location"]) and a.headers["Preference-Applied"] == "respond-async" and a.headers["Retry-After"]
    assert a.json["id"] == a.headers["Location"][6:]
    return a.headers["Location"]


def state(gateway, job):
    a = gateway.get(job)
    assert a.status == 200 and a.headers["Cache-Control"] == "no-store"
    return a.json["state"]


def leave(gateway, job):
    assert gateway.request("DELETE", job).status == 204


# --- one job -----------------------------------------------------------------------------------------------------------------


def test_a_job_from_beginning_to_end(gateway, hold, prover):
    job = post(gateway, b"x" * 100_000)
    wait_for(lambda: state(gateway, job) == "proving")
    shown = gateway.get(job)
    assert shown.json["elapsed_ms"] % 10 == 0 and set(shown.json) == {"id", "state", "elapsed_ms"}
    hold.go.set()
    done = gateway.get(job + "?wait=10")
    assert done.status == 200 and done.json["state"] == "done"
    assert base64.b64decode(done.json["result"]["proof"]) == fake_prover.PROOF and done.json["result"]["bbSha256"] == "05" * 32
    assert done.headers["x-prove-duration-ms"] == "1240"
    assert gateway.get(job).json == done.json            # kept
    leave(gateway, job)
    gateway.get(job).error(404, "No such job: there was none, it was left, or its answer was kept long enough")
    assert count(prover, "prove") == 1


def test_long_poll_waits_for_the_end(gateway, hold):
    job = post(gateway, b"x")
    wait_for(lambda: state(gateway, job) == "proving")
    began = time.monotonic()
    assert gateway.get(job + "?wait=1").json["state"] == "proving" and 0.9 < time.monotonic() - began < 2
    answers = []
    t = threading.Thread(target=lambda: answers.append(gateway.get(job + "?a&wait=999999")))
    t.start()
    time.sleep(0.3)
    assert answers == []
    hold.go.set()
    t.join(3)
    assert answers[0].json["state"] == "done"
    for bad in ["wait=", "wait=x", "wait=-1"]:
        gateway.get(job + "?" + bad).error(400, "Invalid wait: expected seconds")


def test_the_later_of_two_long_polls_is_kept(gateway, hold):
    job = post(gateway, b"x")
    answers = []
    t = threading.Thread(target=lambda: answers.append(gateway.get(job + "?wait=30")))
    t.start()
    time.sleep(0.3)
    second = threading.Thread(target=lambda: answers.append(gateway.get(job + "?wait=30")))
    second.start()
    t.join(3)
    assert answers[0].json["state"] in ("queued", "proving")
    hold.go.set()
    second.join(3)
    assert answers[1].json["state"] == "done"


@pytest.mark.parametrize("prefer,is_async", [
    ("respond-async", True), ("Respond-Async", True), ("return=minimal, respond-async", True), ("respond-async , wait=0", True),
    ("respond-async=1", False), ("wait=0", False), ("respond-asyncx", False), ("", False)])
def test_what_asks_for_it(gateway, prefer, is_async):
    assert gateway.prove(b"x", prefer=prefer).status == (202 if is_async else 200)


def test_prefer_wait(gateway, hold, prover):
    began = time.monotonic()
    assert post(gateway, b"x", prefer="respond-async, wait=1") and 0.9 < time.monotonic() - began < 2
    hold.go.set()
    began = time.monotonic()
    a = gateway.prove(b"y", prefer="wait=20, respond-async")
    assert a.status == 200 and "proof" in a.json and a.headers["Location"] is None and time.monotonic() - began < 3


def test_a_job_that_fails(start, prover):
    gateway = start(prover.path, "--result-keep", "2")
    prover.handlers["prove"] = lambda x: (x.read_data(), x.error("out-of-memory", message="too <large>", limit_bytes=320 << 20))
    job = post(gateway, b"x")
    a = wait_for(lambda: (lambda a: a.json["state"] == "failed" and a)(gateway.get(job)))
    e = a.json["error"]
    assert a.status == 200 and (e["code"], e["status"], e["detail"], e["limit_bytes"]) == ("out-of-memory", 422, "too <large>", 320 << 20)
    assert e["requestId"] == a.headers["X-Request-Id"] and a.headers["Retry-After"] is None
    # no failure is kept for anybody else
    prover.handlers = {}
    assert gateway.prove(b"x").status == 200 and count(prover, "prove") == 2
    wait_for(lambda: gateway.get(job).status == 404, 4)


@pytest.mark.parametrize("path", ["/jobs/", "/jobs", "/jobs/x", "/jobs/" + "0" * 41, "/jobs/00000000-" + "g" * 32])
def test_ids_that_are_none(gateway, path):
    assert gateway.get(path).status == 404


def test_other_methods(gateway):
    a = gateway.request("POST", "/jobs/x", b"")
    a.error(405, "Method not allowed")
    assert a.headers["Allow"] == "GET, HEAD, DELETE, OPTIONS"


def test_a_restart_says_so(start, prover, short_dir, hold):
    first = start(prover.path, "--grace", "0")
    job = post(first, b"x")
    assert first.stop() == 0
    second = start(prover.path)
    second.get(job).error(410, "The gateway was started anew since it accepted this job, whose answer was lost with it or has been kept long enough: post the request again", "cancelled")


def test_an_answer_is_kept_as_long_as_configured(start, prover):
    gateway = start(prover.path, "--result-keep", "1")
    job = post(gateway, b"x")
    wait_for(lambda: state(gateway, job) == "done")
    assert gateway.prove(b"x").status == 200 and count(prover, "prove") == 1
    wait_for(lambda: gateway.get(job).status == 404, 3)
    assert gateway.prove(b"x").status == 200 and count(prover, "prove") == 2


def test_no_more_is_promised_than_can_be_kept(start, prover, short_dir):
    gateway = start(prover.path, "--results-max", "3", "--metrics", f"unix:{short_dir}/metrics")
    jobs = [post(gateway, b"%d" % i) for i in range(3)]
    with gateway.connect() as s:                         # refused before its body
        s.sendall(head("POST", "/prove", "Content-Length: 8000000", "Prefer: respond-async"))
        read_answer(s).error(429, OUTCOMES["busy"][1], "busy")
    for i in range(10):
        assert gateway.prove(b"other %d" % i).status == 200
    wait_for(lambda: all(state(gateway, j) == "done" for j in jobs))
    page = scrape(short_dir / "metrics")[1]
    assert "teerex_gateway_answers_kept 3\n" in page and "teerex_gateway_answers_promised 3\n" in page
    leave(gateway, jobs[0])
    assert post(gateway, b"again")


# --- joining -------------------------------------------------------------------------------------------------------------------


def prove_in_threads(gateway, payloads, **headers):
    answers = []
    threads = [threading.Thread(target=lambda p=p: answers.append(gateway.prove(p, **headers))) for p in payloads]
    for t in threads:
        t.start()
    return threads, answers


def test_equal_requests_share_a_job(start, hold, prover, short_dir):
    gateway = start(prover.path, "--metrics", f"unix:{short_dir}/metrics")
    payload = os.urandom(200_000)
    threads, answers = prove_in_threads(gateway, [payload] * 5)
    jobs = {post(gateway, payload) for _ in range(3)}
    assert len(jobs) == 3
    wait_for(lambda: "teerex_gateway_jobs_joined_total 7\n" in scrape(short_dir / "metrics")[1])
    hold.go.set()
    for t in threads:
        t.join(5)
    assert {a.status for a in answers} == {200} and len({a.body for a in answers}) == 1
    assert len({a.headers["X-Request-Id"] for a in answers}) == 5
    for job in jobs:
        assert gateway.get(job + "?wait=5").json["result"] == answers[0].json
    assert gateway.prove(payload).json == answers[0].json                       # shortly after, too
    assert count(prover, "prove") == 1


def test_other_ciphertexts_and_versions_do_not(start, hold, prover):
    gateway = start(prover.path, "--enclave-queue", "8")
    post(gateway, b"x")
    post(gateway, b"y")
    post(gateway, b"x", x_aztec_version="5.0.0")
    post(gateway, b"x", x_aztec_version="4.1.2")
    post(gateway, b"x", x_aztec_version="4.1.2")
    hold.go.set()
    wait_for(lambda: count(prover, "prove") == 4)
    time.sleep(0.2)
    assert count(prover, "prove") == 4


def test_an_unfinished_body_joins_nothing(gateway, hold, prover):
    body = prove_body(b"x" * 1000).encode()
    post(gateway, b"x" * 1000)
    with gateway.connect() as s:
        s.sendall(head("POST", "/prove", f"Content-Length: {len(body)}") + body[:-1])
        time.sleep(0.2)
        s.sendall(b"!")
        read_answer(s).error(400, "Malformed request body")


def test_one_leaving_cancels_nothing_the_last_one_does(start, hold, prover):
    gateway = start(prover.path, "--leave-grace", "1")
    payload, body = b"x" * 1000, prove_body(b"x" * 1000).encode()
    job = post(gateway, payload)
    socks = [gateway.connect() for _ in range(2)]
    for s in socks:
        s.sendall(head("POST", "/prove", f"Content-Length: {len(body)}") + body)
    x = prover.last("prove")
    time.sleep(0.3)
    socks[0].close()
    leave(gateway, job)
    assert not x.closed.wait(1.5)                        # one is left
    socks[1].close()
    assert not x.closed.wait(0.5)                        # the grace
    again = post(gateway, payload)
    assert not x.closed.wait(1.5) and count(prover, "prove") == 1
    leave(gateway, again)
    began = time.monotonic()
    assert x.closed.wait(3) and time.monotonic() - began > 0.8
    assert gateway.get(again).status == 404


def test_a_client_that_comes_back_gets_the_answer(start, hold, prover):
    """As the SDK does after its time-out: the same body once more."""
    gateway = start(prover.path, "--leave-grace", "5")
    body = prove_body(b"x" * 1000).encode()
    with gateway.connect() as s:
        s.sendall(head("POST", "/prove", f"Content-Length: {len(body)}") + body)
        prover.last("prove")
    hold.go.set()
    assert gateway.prove(b"x" * 1000).status == 200 and count(prover, "prove") == 1


def test_synchronous_clients_have_their_time_out(start, hold, prover):
    gateway = start(prover.path, "--prove-timeout", "2", "--leave-grace", "0")
    first, second = os.urandom(100), os.urandom(100)
    threads, answers = prove_in_threads(gateway, [first])
    x = prover.last("prove")
    for t in threads:
        t.join(5)
    answers[0].error(504, OUTCOMES["timed-out"][1], "timed-out")
    assert x.closed.wait(2)
    job = post(gateway, second)
    assert wait_for(lambda: (lambda a: a.json["state"] == "failed" and a)(gateway.get(job))).json["error"]["code"] == "timed-out"


# --- whose turn it is --------------------------------------------------------------------------------------------------------------


def one_at_a_time(prover):
    """An enclave that takes one job after the other; the order of their payloads' digests."""
    order, lock = [], threading.Lock()

    def handle(x):
        x.read_data()
        with lock:
            order.append(x.hash.hexdigest())
            time.sleep(0.1)
        x.reply(proof=fake_prover.PROOF, bb_sha256=bytes([5]) * 32, signature=bytes(64))

    prover.handlers["prove"] = handle
    return order


def digest(payload):
    import hashlib
    return hashlib.sha256(payload).hexdigest()


def test_many_jobs_of_one_client_do_not_hold_up_another(start, prover):
    gateway = start(prover.path, *ME)
    order = one_at_a_time(prover)
    many = [b"many %d" % i for i in range(12)]
    jobs = [post(gateway, p, x_forwarded_for="203.0.113.1") for p in many]
    other = post(gateway, b"other 1", x_forwarded_for="203.0.113.2")
    third = post(gateway, b"third 1", x_forwarded_for="2001:db8::1")
    second = post(gateway, b"other 2", x_forwarded_for="203.0.113.2")
    positions = [gateway.get(j).json.get("position", 0) for j in (other, third, second, jobs[-1])]
    assert positions[0] <= 4 and positions[2] <= 7 and positions[3] >= 8, positions
    for j in jobs + [other, third, second]:
        assert gateway.get(j + "?wait=20").json["state"] == "done"
    place = {p: order.index(digest(p)) for p in many + [b"other 1", b"third 1", b"other 2"]}
    begun = 2                                            # of the many, when the others came
    assert place[b"other 1"] <= begun + 2 and place[b"third 1"] <= begun + 3 and place[b"other 2"] <= begun + 6, place
    assert [place[p] for p in many] == sorted(place[p] for p in many)


def test_the_last_places_are_for_those_who_have_none(start, hold, prover):
    gateway = start(prover.path, "--proves-max", "8", *ME)
    for i in range(6):
        post(gateway, b"%d" % i, x_forwarded_for="203.0.113.1")
    gateway.prove(b"7", x_forwarded_for="203.0.113.1", **ASYNC).error(429, OUTCOMES["busy"][1], "busy")
    post(gateway, b"8", x_forwarded_for="203.0.113.2")
    gateway.prove(b"9", x_forwarded_for="203.0.113.2", **ASYNC).error(429, OUTCOMES["busy"][1], "busy")
    post(gateway, b"10", x_forwarded_for="203.0.113.3")
    gateway.prove(b"11", x_forwarded_for="203.0.113.4", **ASYNC).error(429, OUTCOMES["busy"][1], "busy")


def test_one_ciphertext_does_not_take_all_promises(start, hold, prover):
    """Joining takes no place of a job's, and each who joins is promised an answer."""
    gateway = start(prover.path, "--results-max", "8", *ME)
    for _ in range(6):
        post(gateway, b"x", x_forwarded_for="203.0.113.1")
    gateway.prove(b"x", x_forwarded_for="203.0.113.1", **ASYNC).error(429, OUTCOMES["busy"][1], "busy")
    for n in 2, 3:
        post(gateway, b"y", x_forwarded_for=f"203.0.113.{n}")
    gateway.prove(b"y", x_forwarded_for="203.0.113.4", **ASYNC).error(429, OUTCOMES["busy"][1], "busy")
    hold.go.set()
    assert gateway.prove(b"x", x_forwarded_for="203.0.113.1").status == 200


def test_as_many_wait_in_the_enclave_as_configured(start, prover):
    gateway = start(prover.path, "--enclave-queue", "3")
    go = threading.Event()
    prover.handlers["prove"] = lambda x: (x.read_data(), x.event(stage="queued", position=7), go.wait(10), prover.do_prove(x) if False else
                                          x.reply(proof=fake_prover.PROOF, bb_sha256=bytes(32), signature=bytes(64)))
    jobs = [post(gateway, b"%d" % i) for i in range(6)]
    time.sleep(0.3)
    assert count(prover, "prove") == 3
    wait_for(lambda: gateway.get(jobs[0]).json["position"] == 7)
    assert [gateway.get(j).json["position"] for j in jobs[3:]] == [4, 5, 6]
    go.set()
    for j in jobs:
        assert gateway.get(j + "?wait=5").json["state"] == "done"


def test_stopping_with_jobs(start, hold, prover):
    gateway = start(prover.path, "--grace", "0")
    for i in range(5):
        post(gateway, b"%d" % i)
    assert gateway.stop() == 0
    wait_for(lambda: all(x.closed.is_set() for x in prover.exchanges))


def test_ids_are_not_in_the_log(gateway, hold):
    job = post(gateway, b"x")
    gateway.get(job)
    wait_for(lambda: len(gateway.access_log()) == 2)
    assert job not in gateway.stdout and "/jobs/" in gateway.access_log()[1]["path"]


# browsers ask before they DELETE; and a head that is refused has a target all the same
@pytest.mark.parametrize("method, headers", [("OPTIONS", {}), ("GET", {"X-Aztec-Version": "!"}), ("GET", {"Content-Length": "x"})])
def test_ids_are_not_in_the_log_of_what_has_no_route(gateway, method, headers):
    job = "/jobs/1a2b3c4d-" + "0123456789abcdef" * 2
    gateway.request(method, job, headers=headers)
    wait_for(lambda: len(gateway.access_log()) == 1)
    assert gateway.access_log()[0]["path"] == "/jobs/1a2b3c4d" and "0123456789abcdef" not in gateway.stdout
