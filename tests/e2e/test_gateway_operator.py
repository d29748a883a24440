"""The operator's socket of tee-rex gateway, its other listeners, and sockets that it inherits."""
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

import fake_prover
from conftest import Program, wait_for
from gateway import head, read_answer
from test_gateway import OUTCOMES, gateway, prover, start  # noqa: F401 (fixtures)
from test_gateway_jobs import ASYNC, Hold, post, state

UPLOADED = [{"name": "6.0.0", "sha256": bytes([6]) * 32}]


def call(path, method, target, body=None, headers={}):
    c = http.client.HTTPConnection("operator", timeout=20)
    c.sock = socket.socket(socket.AF_UNIX)
    c.sock.settimeout(20)
    c.sock.connect(str(path))
    c.request(method, target, body, headers)
    r = c.getresponse()
    text = r.read()
    return r.status, json.loads(text) if text else None


@pytest.fixture
def operated(start, prover, short_dir):
    g = start(prover.path, "--operator", f"unix:{short_dir}/op", "--leave-grace", "0")
    g.operator = short_dir / "op"
    return g


def take(x):
    x.read_data()
    x.reply(versions=UPLOADED, default_version="6.0.0")


def tee_rex(build, *arguments):
    return subprocess.run([str(a) for a in (build / "tee-rex", *arguments)], capture_output=True, text=True, timeout=60)


def test_upload_through_the_gateway(operated, prover, build, short_dir):
    prover.handlers["upload"] = take
    binary = os.urandom(5_000_001)
    (short_dir / "bb").write_bytes(binary)
    done = tee_rex(build, "upload", "6.0.0", short_dir / "bb", "--operator", operated.operator, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"versions": [{"version": "6.0.0", "sha256": "06" * 32}]}
    x = prover.last("upload")
    assert x.hash.digest() == hashlib.sha256(binary).digest() == x.request["sha256"] and x.ended
    assert x.request["version"] == "6.0.0" and x.request["size"] == len(binary)


def test_what_the_enclave_refuses(operated, prover, build, short_dir):
    prover.handlers["upload"] = lambda x: (x.error("not-allowed", message="sha256 is not in the allow list"), x.wait_gone())
    (short_dir / "bb").write_bytes(os.urandom(50_000_000))
    done = tee_rex(build, "upload", "6.0.0", short_dir / "bb", "--operator", operated.operator)
    assert done.returncode == 1 and "not-allowed" in done.stderr and "allow list" in done.stderr


@pytest.mark.parametrize("target,headers,body,error", [
    ("/versions/6", {}, b"x", "The digest is wanted first: X-Sha256, in hex"), ("/versions/6", {"X-Sha256": "00"}, b"x", "The digest"),
    ("/versions/../x", {"X-Sha256": "00" * 32}, b"x", "Invalid version name"), ("/versions/6", {"X-Sha256": "00" * 32}, b"", "The size")])
def test_uploads_that_are_none(operated, prover, target, headers, body, error):
    status, answer = call(operated.operator, "POST", target, body, headers)
    assert status == 400 and answer["error"].startswith(error) and prover.exchanges == []


def test_nothing_of_it_is_public(operated, prover):
    for method, path in [("GET", "/versions"), ("POST", "/versions/6"), ("GET", "/jobs"), ("POST", "/drain"), ("GET", "/metrics")]:
        operated.request(method, path, b"" if method == "POST" else None).error(404, "Not found")
    for method, path in [("GET", "/attestation"), ("POST", "/prove")]:
        assert call(operated.operator, method, path)[0] == 404
    assert prover.exchanges == [] and operated.running()


def test_only_the_operator_connects(build, operated, prover, short_dir):
    if os.geteuid() != 0:
        pytest.skip("another user's connections need root")
    os.chmod(short_dir, 0o755)
    ask = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(operated.operator)!r}); " \
          "s.sendall(b'GET /versions HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); print(s.recv(12))"
    prover.handlers["versions"] = lambda x: x.reply(versions=UPLOADED)

    def as_user(uid):
        return subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=20, user=uid, group=uid, extra_groups=[])

    assert "200" in as_user(0).stdout
    refused = as_user(65533)
    assert "200" not in refused.stdout and len([x for x in prover.exchanges if x.op == "versions"]) == 1
    assert "operator socket: refused user 65533" in operated.stderr


def test_the_configured_user_may(start, prover, short_dir):
    if os.geteuid() != 0:
        pytest.skip("another user's connections need root")
    g = start(prover.path, "--operator", f"unix:{short_dir}/op", "--operator-uid", "65533")
    os.chmod(short_dir, 0o755)
    ask = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(short_dir / 'op')!r}); " \
          "s.sendall(b'GET /jobs HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); print(s.recv(12))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=20, user=65533, group=65533, extra_groups=[])
    assert "200" in done.stdout and g.running()


def test_versions_and_jobs(operated, prover, build):
    prover.handlers["versions"] = lambda x: x.reply(versions=UPLOADED, default_version="6.0.0")
    done = tee_rex(build, "operator", "versions", "--socket", operated.operator)
    assert json.loads(done.stdout) == {"available_versions": ["6.0.0"], "bb_hashes": [{"version": "6.0.0", "sha256": "06" * 32}],
                                       "default_version": "6.0.0"}
    hold = Hold(prover)
    first, second = post(operated, b"1", x_request_id="the-id"), post(operated, b"2")
    wait_for(lambda: state(operated, first) == "proving")
    table = json.loads(tee_rex(build, "operator", "jobs", "--socket", operated.operator).stdout)
    a, b = table["jobs"]
    assert (a["state"], a["client"], a["request_id"], a["subscribers"]) == ("proving", "127.0.0.1", "the-id", 1)
    assert a["ciphertext_sha256"] == hashlib.sha256(b"1").hexdigest() and table["draining"] is False
    assert second[-32:] not in json.dumps(table)                     # ids are their owners'
    assert tee_rex(build, "operator", "cancel", b["job"], "--socket", operated.operator).returncode == 0
    a = operated.get(second)
    assert a.json["state"] == "failed" and a.json["error"]["code"] == "cancelled"
    assert "No such job" in tee_rex(build, "operator", "cancel", b["job"], "--socket", operated.operator).stderr
    hold.go.set()
    assert operated.get(first + "?wait=5").json["state"] == "done"


def test_an_upload_ends_the_joining_of_unnamed_versions(operated, prover):
    prover.handlers["upload"] = take
    assert operated.prove(b"x").status == operated.prove(b"y", x_aztec_version="5.0.0").status == 200
    operated.get("/attestation")
    status, _ = call(operated.operator, "POST", "/versions/6.0.0", b"bb", {"X-Sha256": "00" * 32})
    assert status == 200
    assert operated.prove(b"x").status == operated.prove(b"y", x_aztec_version="5.0.0").status == 200
    assert len([x for x in prover.exchanges if x.op == "prove"]) == 3
    operated.get("/attestation")
    assert len([x for x in prover.exchanges if x.op == "attest"]) == 2


def test_drain(operated, prover, build):
    hold = Hold(prover)
    answers = []
    t = threading.Thread(target=lambda: answers.append(operated.prove(b"x")))
    t.start()
    prover.last("prove")
    assert tee_rex(build, "operator", "drain", "--socket", operated.operator).returncode == 0
    wait_for(lambda: "stopping:" in operated.stderr)
    with pytest.raises(OSError):
        operated.connect()
    hold.go.set()
    t.join(5)
    assert answers[0].status == 200 and operated.process.wait(8) == 0


@pytest.mark.parametrize("arguments", [[], ["x"], ["cancel"], ["cancel", "x"], ["jobs", "1"]])
def test_operator_usage(build, arguments):
    assert tee_rex(build, "operator", *arguments).returncode == 2


def test_operator_without_a_gateway(build, short_dir):
    done = tee_rex(build, "operator", "jobs", "--socket", short_dir / "none")
    assert done.returncode == 1 and f"connect to {short_dir}/none" in done.stderr


def test_the_operators_socket_is_a_unix_socket(build, short_dir):
    p = Program([build / "tee-rex", "gateway", "--listen", "127.0.0.1:0", "--enclave", "unix:/x", "--operator", "127.0.0.1:0"], short_dir)
    assert p.process.wait(10) == 1 and "only unix:PATH" in p.stderr


# --- listeners ---------------------------------------------------------------------------------------------------------------


def test_several_listeners(start, prover, short_dir):
    gateway = start(prover.path, "--also-listen", f"unix:{short_dir}/a", "--also-listen", f"unix:{short_dir}/b")
    assert gateway.get("/health").status == 200
    for name in "ab":
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(str(short_dir / name))
            s.sendall(head("GET", "/health"))
            assert read_answer(s).status == 200
    assert gateway.stop() == 0 and not (short_dir / "a").exists()


class Inherited(Program):
    """As a service manager starts it: sockets at 3, 4, … with names."""

    def __init__(self, build, directory, sockets, *arguments):
        names = ":".join(n for n, _ in sockets)
        script = f"LISTEN_PID=$$ LISTEN_FDS={len(sockets)} LISTEN_FDNAMES={names} exec {build}/tee-rex gateway " + " ".join(map(str, arguments))
        self.out_path, self.err_path = directory / "stdout", directory / "stderr"

        def place():
            high = [os.dup2(s.fileno(), 100 + i) for i, (_, s) in enumerate(sockets)]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i, inheritable=True)
                os.close(fd)

        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=place,
                                            close_fds=False)


def test_inherited_sockets(build, prover, short_dir):
    public, operator = socket.socket(), socket.socket(socket.AF_UNIX)
    public.bind(("127.0.0.1", 0))
    public.listen()
    operator.bind(str(short_dir / "op"))
    operator.listen()
    prover.handlers["versions"] = lambda x: x.reply(versions=UPLOADED)
    with Inherited(build, short_dir, [("public", public), ("operator", operator)], "--enclave", f"unix:{prover.path}") as g:
        wait_for(lambda: "listening on" in g.stderr)
        with socket.create_connection(public.getsockname(), 5) as s:
            s.sendall(head("GET", "/health"))
            assert read_answer(s).status == 200
        assert call(short_dir / "op", "GET", "/versions")[0] == 200
        assert g.stop() == 0
    assert (short_dir / "op").exists()                   # not its own


def test_inherited_things_that_do_not_listen(build, prover, short_dir):
    with Inherited(build, short_dir, [("public", socket.socket())], "--enclave", f"unix:{prover.path}") as g:
        assert g.process.wait(10) == 1 and "no listening socket" in g.stderr
