"""The gateway and the client commands in front of the real prover and launcher, with a prover program for tests that does
what its input says: what test_gateway.py shows against a FakeProver holds against the real one."""
import http.client
import json
import os
import re
import socket
import subprocess
import threading
import time

import pytest

from conftest import Program, wait_for
from enclave import PGP_TOOL, TEE_REX, Enclave, sha256
from fake_host import flip_proxy
from gateway import Gateway, head, prove_body
from launcher_peer import EVIL
from test_gateway_service import openmetrics, scrape

CONFIG = """
allow = {evil}
slots = 4
jobs = 2
payload_max_mib = 48
[recipe]
arg = evil
arg = {{input}}
arg = {{output_dir}}
crs = none
ro = /nonexistent
memory_mib = 64
deadline_s = 3
pids_max = 32
"""


@pytest.fixture(scope="module")
def enclave(tmp_path_factory):
    with Enclave(tmp_path_factory.mktemp("enclave"), CONFIG.format(evil=sha256(EVIL))) as e:
        e.upload("1.0", EVIL)
        yield e
        assert e.stop() == 0


@pytest.fixture
def clean(enclave):
    """Nothing is left of whatever the test did: processes, descriptors, mounts, cgroups are as before."""
    before = enclave.snapshot()
    yield
    enclave.settled(before)


@pytest.fixture
def gateway(build, enclave, short_dir, free_port):
    with Gateway(build, short_dir, free_port, enclave.socket, "--leave-grace", "0") as g:
        yield g
        assert g.stop() == 0


@pytest.fixture
def trust(enclave):
    return ["--root", enclave.state / "root.pem", "--pcr", next(p for p in enclave.measured() if p.startswith("0="))]


def prove(gateway, data, directory, trust, *options):
    (directory / "input").write_bytes(data)
    return subprocess.run([TEE_REX, "prove", f"http://127.0.0.1:{gateway.port}", directory / "input", "-o", directory / "proof",
                           *trust, *options], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("extra", [0, 1, 300_000, 20_000_000])
def test_client_through_everything(gateway, clean, trust, tmp_path, extra):
    done = prove(gateway, b"proof 96\n" + os.urandom(extra), tmp_path, trust, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["fields"] == 3 and result["version"] == "1.0" and result["simulated"] is True
    assert (tmp_path / "proof").read_bytes() == b"\0\0\0\3" + b"p" * 96


@pytest.mark.parametrize("limit", ["60", "90"])
def test_chunked_upload(build, enclave, clean, short_dir, free_port, limit):
    """Its size is known when it is there, so it may even be that the largest body were too large for the enclave."""
    text = prove_body(enclave.encrypt(b"proof 96\n" + os.urandom(500_000))).encode()
    with Gateway(build, short_dir, free_port, enclave.socket, "--body-max-mib", limit) as g:
        c = http.client.HTTPConnection("127.0.0.1", g.port, timeout=30)
        c.request("POST", "/prove", iter([text[i:i + 50_001] for i in range(0, len(text), 50_001)]), encode_chunked=True,
                  headers={"Transfer-Encoding": "chunked"})
        assert c.getresponse().status == 200
        assert g.stop() == 0


ENDS = [("exit 3", 422, "prover-error"), ("segv", 422, "crashed"), ("eat 200", 422, "out-of-memory"), ("hang", 504, "timed-out")]


@pytest.mark.parametrize("act,status,code", ENDS)
def test_ends(gateway, enclave, clean, act, status, code):
    a = gateway.prove(enclave.encrypt(act.encode() + b"\n"))
    assert (a.status, a.json["code"]) == (status, code), a.body
    if code == "out-of-memory":
        assert a.json["limit_bytes"] == 64 << 20 and a.json["peak_bytes"] % (1 << 20) == 0
    if code == "crashed":
        assert a.json["signal"] == 11


def test_messages_that_do_not_decrypt(gateway, enclave, clean, tmp_path):
    message = enclave.encrypt(b"proof 96\n" + bytes(3000))
    gateway.prove(message[:-1]).error(400, "Failed to decrypt request payload", "bad-input")
    gateway.prove(b"\xff" * 1000).error(400, "Failed to decrypt request payload", "bad-input")
    gateway.prove(message[:-40] + bytes([message[-40] ^ 1]) + message[-39:]).error(400, "Failed to decrypt request payload")
    for name in ("key", "cert", "out"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "plain").write_bytes(b"proof 96\n")
    subprocess.run([PGP_TOOL, "genkey", tmp_path / "key"], check=True)
    subprocess.run([PGP_TOOL, "export", tmp_path / "key", tmp_path / "cert"], check=True)
    subprocess.run([PGP_TOOL, "encrypt", tmp_path / "cert", tmp_path / "plain", tmp_path / "out"], check=True)
    assert gateway.prove((tmp_path / "out").read_bytes()).json["code"] == "unknown-key"


def test_versions(gateway, enclave, clean):
    message = enclave.encrypt(b"proof 96\n")
    assert gateway.prove(message, x_aztec_version="1.0").status == 200
    a = gateway.prove(message, x_aztec_version="9.9")
    assert (a.status, a.json["code"]) == (400, "unknown-version") and "9.9" in a.json["detail"]
    h = gateway.get("/health").json
    assert h["available_versions"] == ["1.0"] and h["bb_hashes"] == [{"version": "1.0", "sha256": sha256(EVIL)}]


def test_a_message_bound_to_another_binary(gateway, enclave, clean):
    a = gateway.prove(enclave.encrypt(b"proof 96\n", "bb-sha256=" + "00" * 32))
    assert (a.status, a.json["code"]) == (409, "version-mismatch")


def jobs(gateway):
    return gateway.get("/health").json["runtime"]["jobs_running"]


def test_a_client_that_leaves_ends_its_job(gateway, enclave, clean):
    body = prove_body(enclave.encrypt(b"sleep 2500\n")).encode()
    s = gateway.connect()
    s.sendall(head("POST", "/prove", f"Content-Length: {len(body)}") + body)
    wait_for(lambda: jobs(gateway) == 1, what="job running")
    began = time.monotonic()
    s.close()
    wait_for(lambda: jobs(gateway) == 0, what="job gone")
    assert time.monotonic() - began < 1


def test_attest_and_prove_refuse_a_wrong_pcr(gateway, enclave, clean, tmp_path):
    wrong = ["--root", enclave.state / "root.pem", "--pcr", "0=" + "12" * 48]
    done = prove(gateway, b"proof 96\n", tmp_path, wrong)
    assert done.returncode == 1 and "pcr-mismatch" in done.stderr and not (tmp_path / "proof").exists()
    assert jobs(gateway) == 0


@pytest.mark.parametrize("what", ["request", "response"])
def test_a_man_in_the_middle(gateway, clean, trust, tmp_path, what):
    with flip_proxy(gateway.port, what) as port:
        (tmp_path / "input").write_bytes(b"proof 96\n")
        done = subprocess.run([TEE_REX, "prove", f"http://127.0.0.1:{port}", tmp_path / "input", "-o", tmp_path / "proof", *trust],
                              capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and ("bad-input" if what == "request" else "bad-signature") in done.stderr
    assert not (tmp_path / "proof").exists()


def test_many_at_once(gateway, enclave, clean):
    """More than the enclave has room for: each has its turn (and ends without a proof, 422), none gets lost, and questions are
    answered."""
    statuses = []
    threads = [threading.Thread(target=lambda m: statuses.append(gateway.prove(m).status), args=(enclave.encrypt(b"sleep 300\n"),))
               for _ in range(12)]
    for t in threads:
        t.start()
    assert gateway.get("/attestation").status == 200
    for t in threads:
        t.join()
    assert statuses == [422] * 12
    assert gateway.prove(enclave.encrypt(b"proof 96\n")).status == 200


def test_nonces_reach_the_document(gateway, trust, tmp_path):
    done = subprocess.run([TEE_REX, "attest", f"http://127.0.0.1:{gateway.port}", "--json", "--nonce", "ab" * 20, *trust],
                          capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout)["nonce"] == "ab" * 20


def test_metrics_pass_what_the_prover_writes(build, enclave, clean, short_dir, free_port):
    path = short_dir / "metrics.sock"
    with Gateway(build, short_dir, free_port, enclave.socket, "--metrics", f"unix:{path}") as g:
        assert g.get("/attestation").status == 200
        r, page = scrape(path)
        assert r.status == 200 and "teerex_gateway_enclave_up 1\n" in page
        assert "teerex_gateway_enclave_lines_dropped_total 0\n" in page
        for line in [r'teerex_prover_requests_total\{op="attest",code="ok"\} [1-9]\d*', r"teerex_prover_nsm_calls_total [1-9]\d*",
                     r"teerex_prover_versions \d+", r"teerex_prover_uptime_seconds \d+"]:
            assert len(re.findall(f"^{line}$", page, re.M)) == 1, (line, page)
        assert {f.name for f in openmetrics(page)} >= {"teerex_prover_requests", "teerex_gateway_requests"}
        assert g.stop() == 0


def test_under_run(tmp_path, free_port):
    """`tee-rex run --gateway`: the access log is on its standard output, and the operator's socket beside the others."""
    with Enclave(tmp_path, CONFIG.format(evil=sha256(EVIL)), ["--gateway", f"127.0.0.1:{free_port}"]) as e:
        operator = os.path.join(os.path.dirname(e.socket), "operator.sock")
        done = subprocess.run([TEE_REX, "upload", "1.0", EVIL, "--operator", operator], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and sha256(EVIL) in done.stdout, done.stderr
        done = subprocess.run([TEE_REX, "operator", "versions", "--socket", operator], capture_output=True, text=True, timeout=60)
        assert json.loads(done.stdout)["available_versions"] == ["1.0"]
        c = http.client.HTTPConnection("127.0.0.1", free_port, timeout=30)
        c.request("GET", "/health", headers={"X-Request-Id": "from-outside"})
        assert c.getresponse().status == 200
        lines = [json.loads(e.process.stdout.readline()) for _ in range(3)]
        assert [(line["client"], line["path"], line["status"]) for line in lines] == [
            ("unix", "/versions/1.0", 200), ("unix", "/versions", 200), ("127.0.0.1", "/health", 200)]
        assert lines[2]["id"] == "from-outside"
        assert e.stop() == 0
        assert not os.path.exists(operator)


def test_settings_reach_the_gateway_under_run(tmp_path, short_dir, free_port):
    """What the configuration of an instance says of the gateway holds for the one that `tee-rex run` starts, which may not
    be able to read the file."""
    directory = tmp_path / "e"
    directory.mkdir()
    file, operator = directory / "i.yaml", short_dir / "operator.sock"
    file.write_text("gateway:\n  listen: 127.0.0.1:1\n  enclave: unix:/nonexistent\n  trusted_proxies: [127.0.0.0/8]\n"
                    f"  body_max_mib: 1\n  connections_max: 2\n  proves_max: 1\n  operator: unix:{operator}\n")
    file.chmod(0o600)
    with Enclave(directory, CONFIG.format(evil=sha256(EVIL)), ["--file", file, "--gateway", f"127.0.0.1:{free_port}"]) as e:
        c = http.client.HTTPConnection("127.0.0.1", free_port, timeout=30)
        c.request("GET", "/health", headers={"X-Forwarded-For": "192.0.2.7"})
        r = c.getresponse()
        assert r.status == 200 and json.loads(r.read())["enclave"] == "ok"
        assert json.loads(e.process.stdout.readline())["client"] == "192.0.2.7"
        c.request("POST", "/prove", body=b"{" + b" " * (1 << 20))
        assert c.getresponse().status == 413
        assert operator.is_socket() and not os.path.exists(os.path.join(os.path.dirname(e.socket), "operator.sock"))
        done = subprocess.run([TEE_REX, "operator", "versions", "--socket", operator], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert e.stop() == 0
        assert not operator.exists()                     # though it is not in the instance's directory

    file.write_text("gateway: {quiet: true}\n")
    with Enclave(directory, CONFIG.format(evil=sha256(EVIL)), ["--file", file, "--gateway", f"127.0.0.1:{free_port}"]) as e:
        c = http.client.HTTPConnection("127.0.0.1", free_port, timeout=30)
        c.request("GET", "/health", headers={"X-Forwarded-For": "192.0.2.7"})
        assert c.getresponse().status == 200
        assert e.stop() == 0
        assert b"/health" not in e.process.stdout.read()


def post_async(port, message):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    c.request("POST", "/prove", prove_body(message), {"Prefer": "respond-async"})
    r = c.getresponse()
    assert r.status == 202 and json.loads(r.read())["answer_survives_restart"] is True
    return r.headers["Location"]


@pytest.mark.parametrize("by", ["operator drain", "SIGTERM"])
def test_an_instance_ends_with_its_gateway_in_order(short_dir, free_port, by):
    """The job that nobody is connected for is finished first, by an enclave that is still there; then all ends, with status 0."""
    short_dir.chmod(0o755)                               # the gateway's user comes to its directory
    file, kept, port = short_dir / "i.yaml", short_dir / "lib" / "kept", free_port
    file.write_text(f"gateway: {{keep_dir: {kept}, grace_s: 20}}\n")
    arguments = ["--file", file, "--gateway", f"127.0.0.1:{port}"]
    with Enclave(short_dir, CONFIG.format(evil=sha256(EVIL)), arguments) as e:
        e.upload("1.0", EVIL)
        job = post_async(port, e.encrypt(b"sleep 2000 96\n"))
        operator = os.path.join(os.path.dirname(e.socket), "operator.sock")
        if by == "SIGTERM":
            e.process.terminate()
        else:
            assert subprocess.run([TEE_REX, "operator", "drain", "--socket", operator], timeout=30).returncode == 0
        assert e.process.wait(30) == 0
        said = e.log.read_text()
        assert ("the gateway was told to drain, and has ended" in said) == (by == "operator drain") and "lost" not in said, said
        assert len(list(kept.iterdir())) == 1 and kept.stat().st_mode & 0o777 == 0o700
        e.start()                                        # the next life of the instance
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        c.request("GET", job)
        r = c.getresponse()
        assert r.status == 200 and json.loads(r.read())["state"] == "done"
        assert e.stop() == 0


def test_a_gateway_that_dies_takes_the_instance_along(tmp_path, free_port):
    with Enclave(tmp_path, CONFIG.format(evil=sha256(EVIL)), ["--gateway", f"127.0.0.1:{free_port}"]) as e:
        os.kill(next(pid for pid, name in e.descendants().items() if name == "tee-rex"), 9)
        assert e.process.wait(20) == 1 and "gateway was killed by signal 9" in e.log.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
def test_a_user_finds_the_own_instance_by_name(short_dir, free_port):
    """As status and stop do: the user's runtime directory first, then root's (of which run_dir_test knows)."""
    runtime = short_dir / "run"
    directory = runtime / "tee-rex" / "mine"
    directory.mkdir(parents=True)
    short_dir.chmod(0o755)
    (short_dir / "mine.yaml").write_text(f"gateway: {{listen: '127.0.0.1:{free_port}'}}\n")
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(str(directory / "service.sock"))
        service.listen()
        service.settimeout(10)
        for path in (runtime, runtime / "tee-rex", directory, directory / "service.sock"):
            os.chown(path, 65534, 65534)
        with Program(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", f"XDG_RUNTIME_DIR={runtime}", TEE_REX, "gateway",
                      short_dir / "mine.yaml"], short_dir) as g:
            wait_for(lambda: "listening on" in g.stderr)
            with socket.create_connection(("127.0.0.1", free_port), 10) as c:
                c.sendall(head("GET", "/encryption-public-key"))
                service.accept()[0].close()
            assert g.stop() == 0
