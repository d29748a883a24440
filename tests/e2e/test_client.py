"""tee-rex attest and tee-rex prove against a FakeHost that is honest but for one thing at a time."""
import base64
import hashlib
import json
import os
import pty
import re
import socket
import struct
import subprocess
import threading
import time

import pytest

from conftest import TOP
from fake_host import BB, PCR0, VERSIONS, FakeHost, Key, list_digest


@pytest.fixture(scope="session")
def pgp_tool():
    subprocess.run(["make", "-s", "build/tests/pgp_tool"], cwd=TOP, check=True)


@pytest.fixture(scope="module")
def shared_host(pgp_tool, tmp_path_factory):
    h = FakeHost(tmp_path_factory.mktemp("host"))
    yield h
    h.stop()


@pytest.fixture
def host(shared_host):
    shared_host.reset()
    return shared_host


@pytest.fixture(scope="module")
def other_key(pgp_tool, tmp_path_factory):
    return Key(tmp_path_factory.mktemp("other"), "other")


class Client:
    def __init__(self, build, host, directory):
        self.build, self.host, self.directory = build, host, directory
        self.trust = ["--root", str(host.root), "--pcr", PCR0]
        self.input, self.output = directory / "input", directory / "proof"
        self.input.write_bytes(os.urandom(100_003))

    def run(self, command, *arguments, **options):
        return subprocess.run([str(self.build / "tee-rex"), command, *map(str, arguments)], capture_output=True, text=True,
                              timeout=60, **options)

    def prove(self, *arguments, trust=None):
        return self.run("prove", self.host.url, self.input, "-o", self.output, *(self.trust if trust is None else trust),
                        *arguments)

    def attest(self, *arguments, trust=()):
        return self.run("attest", self.host.url, *trust, *arguments)

    def refused(self, *arguments, saying, **options):
        """Runs prove; asserts that it failed with that message, kept nothing, and left nothing beside the output."""
        done = self.prove(*arguments, **options)
        assert done.returncode == 1 and re.search(saying, done.stderr), (done.returncode, done.stderr)
        assert "Sanitizer" not in done.stderr
        assert sorted(p.name for p in self.directory.iterdir()) == ["input"]
        return done


@pytest.fixture
def client(build, host, tmp_path):
    return Client(build, host, tmp_path)


# --- prove -----------------------------------------------------------------------------------------------------------


def test_honest_exchange(client, host):
    done = client.prove()
    assert done.returncode == 0, done.stderr
    assert client.output.read_bytes() == host.proof
    assert host.plaintext == client.input.read_bytes()
    assert f"bb-sha256={BB}" in host.file_name
    assert "SIMULATED" in done.stderr and "SIMULATED" in done.stdout and "5.0.0" in done.stdout
    (_, attestation, _, _), (_, _, headers, body) = host.requests
    assert re.fullmatch(r"/attestation\?nonce=[0-9a-f]{64}", attestation)
    assert headers["X-Aztec-Version"] == "5.0.0" and headers["Content-Type"] == "application/json"
    assert int(headers["Content-Length"]) == len(body)
    assert sorted(p.name for p in client.directory.iterdir()) == ["input", "proof"]


def test_json(client, host):
    done = client.prove("--json")
    result = json.loads(done.stdout)
    assert result == {"ok": True, "output": str(client.output), "fields": 3, "version": "5.0.0", "bb_sha256": BB,
                      "elapsed_ms": result["elapsed_ms"], "peak_bytes": 250 << 20, "simulated": True, "debug": False,
                      "request_id": "fake-id"}
    host.answer_prove = lambda m: (422, {"error": "e", "code": "out-of-memory", "detail": "d\x1b[31m", "limit_bytes": 320 << 20})
    result = json.loads(client.prove("--json").stdout)
    assert result["ok"] is False and result["code"] == "out-of-memory" and "320 MiB" in result["message"]
    host.reset()
    host.change_attestation = lambda j: {**j, "mode": "standard"}
    assert json.loads(client.prove("--json").stdout)["ok"] is False


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100, 32767, 32768, 32769, 262143, 262144, 262145, 3_000_000])
def test_sizes(client, host, size):
    client.input.write_bytes(os.urandom(size))
    assert client.prove().returncode == 0
    assert host.plaintext == client.input.read_bytes()


def test_output_replaces_a_file_atomically_and_keeps_it_on_failure(client, host):
    client.output.write_bytes(b"old")
    inode = client.output.stat().st_ino
    host.bb = "00" * 32
    assert client.prove().returncode == 1
    assert client.output.read_bytes() == b"old"
    host.reset()
    assert client.prove().returncode == 0
    assert client.output.read_bytes() == host.proof and client.output.stat().st_ino != inode


def test_output_to_standard_output(client, host):
    done = subprocess.run([str(client.build / "tee-rex"), "prove", host.url, str(client.input), "-o", "-", *client.trust],
                          capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stdout == host.proof


# nothing of the input may leave when the document does not verify


def nothing_sent(host):
    return "/prove" not in host.paths()


@pytest.mark.parametrize("trust,code", [
    (lambda c: ["--root", c.host.root], "policy-empty"),
    (lambda c: ["--root", c.host.root, "--pcr", "0=" + "cd" * 48], "pcr-mismatch"),
    (lambda c: ["--root", c.host.root, "--pcr", "4=" + "00" * 48], "policy-weak"),
    (lambda c: ["--pcr", PCR0], "chain-wrong-root"),
    (lambda c: [], "chain-wrong-root|policy-empty"),
    (lambda c: ["--root", c.host.root, "--pcr", "8=" + "00" * 48, "--min-epoch", "1"], "policy-weak|pcr-mismatch")])
def test_policy_refuses(client, host, trust, code):
    done = client.refused(trust=trust(client), saying=f"refused: ({code}): ")
    assert nothing_sent(host) and done.stdout == ""


def test_a_document_without_or_with_another_nonce_is_refused(client, host):
    host.change_nonce = lambda n: None
    client.refused(saying="nonce-missing")
    host.change_nonce = lambda n: bytes(32)
    client.refused(saying="nonce-mismatch")
    assert nothing_sent(host)
    host.with_nonce, host.change_nonce = False, lambda n: n
    client.refused(saying="nonce-missing")
    assert client.prove("--no-nonce").returncode == 0
    assert host.requests[-2][1] == "/attestation"


def test_a_replayed_document_is_refused(client, host):
    first = []
    host.change_attestation = lambda j: first.append(j) or first[0]
    assert client.prove().returncode == 0
    client.output.unlink()
    client.refused(saying="nonce-mismatch")


@pytest.mark.parametrize("change", [
    lambda j: {**j, "mode": "standard"}, lambda j: {k: v for k, v in j.items() if k != "mode"}, lambda j: {**j, "mode": 1},
    lambda j: {**j, "attestationDocument": ""}, lambda j: {**j, "attestationDocument": "%%%"},
    lambda j: {**j, "attestationDocument": "A" * 24000}, lambda j: {**j, "attestationDocument": None},
    lambda j: {k: v for k, v in j.items() if k != "attestationDocument"}, lambda j: [], lambda j: b"", lambda j: b"{",
    lambda j: b'{"mode":"nitro"}\0', lambda j: b'{"mode":"nitro","mode":"nitro"}', lambda j: b"[" * 5000,
    lambda j: {**j, "attestationDocument": base64.b64encode(b"\x84" * 100).decode()},
    lambda j: {**j, "padding": "x" * 70000},
    lambda j: {**j, "attestationDocument": base64.b64encode(base64.b64decode(j["attestationDocument"]) + b"\0").decode()}])
def test_hostile_attestation(client, host, change):
    host.change_attestation = change
    client.refused(saying=".")
    assert nothing_sent(host)


def test_the_key_beside_the_document_is_ignored(client, host, other_key):
    host.change_attestation = lambda j: {**j, "publicKey": other_key.armored}
    assert client.prove().returncode == 0
    assert host.plaintext == client.input.read_bytes()


@pytest.mark.parametrize("user_data,saying", [
    (None, "lists no versions"), (b"", "lists no versions"), (b"x", "lists no versions"), (b"[]", "lists no versions"),
    ({"versions": 1}, "lists no versions"), ({"versions": [1]}, "lists no versions"),
    ({"versions": [{"version": "5.0.0", "sha256": "00"}]}, "lists no versions"),
    ({"versions": [{"version": "../x", "sha256": BB}]}, "lists no versions"),
    ({"versions": VERSIONS * 2}, "lists no versions"),
    ({"versions": []}, "no prover version loaded"),
    ({"versions": [*VERSIONS, {"version": "4.1.2", "sha256": BB}]}, "choose one with --version: 5.0.0, 4.1.2"),
    ({"versions": VERSIONS, "digest": 1}, "no SHA-256"), ({"versions": VERSIONS, "digest": "zz"}, "no SHA-256"),
    ({"versions": VERSIONS, "digest": "00" * 32}, "not the one that the document vouches for")])
def test_user_data(client, host, user_data, saying):
    host.user_data = user_data
    client.refused(saying=saying)
    assert nothing_sent(host)


def test_version_option(client, host):
    old = {"version": "4.1.2", "sha256": hashlib.sha256(b"old").hexdigest()}
    host.user_data = {"versions": [*VERSIONS, old]}
    client.refused("--version", "6", saying="no prover version 6; it has: 5.0.0, 4.1.2")
    assert nothing_sent(host)
    host.bb = old["sha256"]
    assert client.prove("--version", "4.1.2").returncode == 0
    assert f"bb-sha256={old['sha256']}" in host.file_name and host.requests[-1][2]["X-Aztec-Version"] == "4.1.2"


def test_a_stated_peak_is_in_the_encrypted_name(client, host):
    assert client.prove("--peak", "300").returncode == 0
    assert host.file_name == f"bb-sha256={BB} peak-mib=300"
    client.output.unlink()
    assert client.prove().returncode == 0
    assert host.file_name == f"bb-sha256={BB}"
    client.output.unlink()
    host.reset()
    done = client.prove("--peak", "1048577")
    assert done.returncode == 2 and "--peak wants MiB between 1 and 1048576" in done.stderr and not host.requests


def test_a_long_list_is_fetched_and_must_hash_to_the_attested_digest(client, host):
    versions = [{"version": f"5.0.{i}", "sha256": hashlib.sha256(b"%d" % i).hexdigest()} for i in range(12)]
    host.user_data = {"versions": versions[:2], "digest": list_digest(versions)}
    host.health = {"bb_hashes": versions}
    host.bb = versions[9]["sha256"]
    assert client.prove("--version", "5.0.9").returncode == 0
    assert f"bb-sha256={host.bb}" in host.file_name
    client.output.unlink()
    for lie in (versions[:-1], [*versions[1:], versions[0]], [{**versions[0], "sha256": BB}, *versions[1:]], [], None):
        host.reset()
        host.user_data = {"versions": versions[:2], "digest": list_digest(versions)}
        host.health = {"bb_hashes": lie}
        client.refused("--version", "5.0.9", saying="not the one that the document vouches for|is no list of versions")
        assert nothing_sent(host)


# what comes back is kept only when the attested key signed it


def flip(text, at=10):
    raw = bytearray(base64.b64decode(text))
    raw[at] ^= 1
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize("change", [
    lambda j: {**j, "proof": flip(j["proof"])}, lambda j: {**j, "proof": flip(j["proof"], 3)},
    lambda j: {**j, "signature": flip(j["signature"])},
    lambda j: {**j, "proof": base64.b64encode(base64.b64decode(j["proof"])[:-32]).decode()}])
def test_changed_answers(client, host, change):
    host.change_answer = change
    client.refused(saying="bad-signature")


@pytest.mark.parametrize("change,saying", [
    (lambda j: {k: v for k, v in j.items() if k != "signature"}, "no signature"),
    (lambda j: {**j, "signature": ""}, "no signature"), (lambda j: {**j, "signature": "AAAA"}, "no signature"),
    (lambda j: {**j, "signature": base64.b64encode(bytes(65)).decode()}, "no signature"),
    (lambda j: {**j, "signature": None}, "no signature"),
    (lambda j: {k: v for k, v in j.items() if k != "proof"}, "no proof"), (lambda j: {**j, "proof": 1}, "no proof"),
    (lambda j: {**j, "proof": "*"}, "no proof"), (lambda j: {**j, "proof": base64.b64encode(bytes(2 << 20)).decode()}, "no proof"),
    (lambda j: [], "no proof"), (lambda j: b"<html>", "no proof"), (lambda j: b"", "no proof"),
    (lambda j: b" " * (5 << 20), "larger than it may be")])
def test_incomplete_answers(client, host, change, saying):
    host.change_answer = change
    client.refused(saying=saying)


def test_a_signature_for_something_else(client, host, other_key):
    honest = host.sign
    for sign in (lambda m: honest(m, other_key), lambda m: honest(m + b"x"), lambda m: honest(b"")):
        host.answer_prove = lambda m: (200, {"proof": base64.b64encode(host.proof).decode(), "bbSha256": BB,
                                             "signature": base64.b64encode(sign(m)).decode()})
        client.refused(saying="bad-signature")
    host.reset()
    host.bb = "11" * 32                  # another binary ran, and the enclave says so
    client.refused(saying="bad-signature")


@pytest.mark.parametrize("proof", [b"\0\0\0\1", b"\0\0\0\0", b"\0\0\0\2" + bytes(32), b"\0\0\0\1" + bytes(33), b"\0\0\0\1" + bytes(31)])
def test_signed_but_malformed_proofs(client, host, proof):
    host.proof = proof
    client.refused(saying="proof is malformed")


def test_rotated_keys_are_attested_again_once(client, host, other_key):
    host.attested_key = other_key        # what the client gets first is gone when it arrives

    def answer(message):
        host.attested_key = host.key
        host.answer_prove = None
        return 400, {"error": "unknown", "code": "unknown-key"}

    host.answer_prove = answer
    done = client.prove()
    assert done.returncode == 0 and "attesting again" in done.stderr
    assert host.paths() == ["/attestation", "/prove", "/attestation", "/prove"]
    nonces = [path for _, path, _, _ in host.requests if path.startswith("/attestation")]
    assert nonces[0] != nonces[1]
    client.output.unlink()
    host.reset()
    host.attested_key = other_key
    client.refused(saying="unknown-key")
    assert host.paths() == ["/attestation", "/prove"] * 2


def test_rotation_does_not_weaken_the_second_look(client, host, other_key):
    def answer(message):
        host.change_nonce = lambda n: None
        return 400, {"error": "unknown", "code": "unknown-key"}

    host.answer_prove = answer
    client.refused(saying="nonce-missing")
    assert host.paths() == ["/attestation", "/prove", "/attestation"]


@pytest.mark.parametrize("status,answer,saying", [
    (429, {"error": "Too many", "code": "busy"}, "HTTP 429 busy: Too many"),
    (422, {"error": "memory", "code": "out-of-memory", "limit_bytes": 320 << 20, "peak_bytes": 319 << 20},
     "HTTP 422 out-of-memory: memory; limit 320 MiB; peak 319 MiB"),
    (500, b"<html>\x1b[31m\n", r"HTTP 500: <html>\\x1b\[31m\\x0a"), (502, b"", "HTTP 502"),
    (400, {"error": "e\x1b[2J\n", "detail": "d" * 10000, "code": "made-up"}, r"HTTP 400: e\\x1b\[2J\\x0a: dddd"),
    (503, {"error": "said once", "detail": "said once", "code": "unavailable"}, r"HTTP 503 unavailable: said once(?!: said)"),
    (302, {"error": "elsewhere"}, "HTTP 302: elsewhere")])
def test_errors_are_told_and_harmless(client, host, status, answer, saying):
    host.answer_prove = lambda m: (status, answer)
    done = client.refused(saying=saying)
    assert len(done.stderr) < 2000 and "\x1b" not in done.stderr


def test_early_refusal_of_a_large_upload(client, host, tmp_path):
    """A host that answers and closes before it has read everything is understood."""
    client.input.write_bytes(bytes(30_000_000))
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        for _ in range(2):
            s, _ = server.accept()
            request = b""
            while b"\r\n\r\n" not in request:
                request += s.recv(65536)
            path = request.split()[1].decode()
            if request.startswith(b"POST"):
                body, status = b'{"error":"busy","code":"busy"}', b"429 Too Many Requests"
            else:
                body, status = json.dumps(host.attestation(path)).encode(), b"200 OK"
            s.sendall(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass

    threading.Thread(target=serve, daemon=True).start()
    done = client.run("prove", f"http://127.0.0.1:{server.getsockname()[1]}", client.input, "-o", client.output, *client.trust)
    assert done.returncode == 1 and "HTTP 429 busy" in done.stderr


def test_memory_does_not_grow_with_the_input(client, host, build):
    def peak(size):
        client.input.write_bytes(bytes(size))
        before = os.times()
        done = subprocess.run(["/usr/bin/python3", "-c",
                               "import os,sys,subprocess,resource; r=subprocess.run(sys.argv[1:]).returncode; "
                               "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(r)",
                               str(build / "tee-rex"), "prove", host.url, str(client.input), "-o", str(client.output), *client.trust],
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split()[-1])

    small, large = peak(1 << 20), peak(40 << 20)
    print(f"client peak RSS KiB: 1 MiB input {small}, 40 MiB input {large}")
    assert large - small < 1024


def test_progress_only_on_a_terminal(client, host):
    assert "sending" not in client.prove().stderr
    main, other = pty.openpty()
    client.input.write_bytes(bytes(3_000_000))
    host.answer_prove = lambda m: time.sleep(1.5) or (500, {"error": "x"})
    p = subprocess.Popen([str(client.build / "tee-rex"), "prove", host.url, str(client.input), "-o", str(client.output),
                          *client.trust], stderr=other, stdout=subprocess.DEVNULL)
    os.close(other)
    shown = b""
    try:
        while piece := os.read(main, 4096):
            shown += piece
    except OSError:
        pass
    assert p.wait(10) == 1 and b"proving: 1 s" in shown and b"MB/s" in shown


@pytest.mark.parametrize("arguments,why", [
    ([], "are needed"), (["http://x"], "are needed"), (["http://x", "INPUT"], "are needed"),
    (["ftp://x", "INPUT", "-o", "OUT"], "no URL"), (["http://x?y", "INPUT", "-o", "OUT"], "without"),
    (["http://x", "/nonexistent", "-o", "OUT"], "No such file"), (["http://x", "/dev/null", "-o", "OUT"], "no regular file"),
    (["http://x", "INPUT", "-o", "/nonexistent/y"], "No such file"), (["http://x", "INPUT", "-o", "/dev/null"], "no regular file"),
    (["http://x", "INPUT", "-o", "OUT", "--pcr", "99=00"], "--pcr"), (["http://x", "INPUT", "-o", "OUT", "--root", "/nope"], "--root"),
    (["http://x", "INPUT", "-o", "OUT", "--timeout", "0"], "--timeout"),
    (["http://x", "INPUT", "-o", "OUT", "--time", "5"], "unknown option --time"),
    (["http://x", "INPUT", "-o", "OUT", "--nonce", "00"], "unknown option --nonce")])
def test_usage(client, arguments, why):
    names = {"INPUT": client.input, "OUT": client.output}
    done = client.run("prove", *[names.get(a, a) for a in arguments])
    assert done.returncode == 2 and why in done.stderr, done.stderr


def test_empty_input(client, host):
    client.input.write_bytes(b"")
    done = client.prove()
    assert done.returncode == 2 and "is empty" in done.stderr and host.requests == []


def test_nobody_there(client):
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    done = client.run("prove", f"http://127.0.0.1:{port}", client.input, "-o", client.output, *client.trust)
    assert done.returncode == 1 and f"127.0.0.1:{port}" in done.stderr


# --- attest ------------------------------------------------------------------------------------------------------------


def test_attest_shows_a_document_without_believing_it(client, host):
    done = client.attest()
    assert done.returncode == 0
    assert "NOT VERIFIED" in done.stdout and "NOT VERIFIED" in done.stderr
    assert "PCR0         " + "ab" * 48 in done.stdout and "5.0.0" in done.stdout
    shown = json.loads(client.attest("--json").stdout)
    assert shown["verified"] is False and shown["code"] == "not-verified" and shown["pcrs"]["0"] == "ab" * 48
    assert bytes.fromhex(shown["public_key"]).decode() == host.key.armored


def test_attest_verifies(client, host):
    done = client.attest("--json", trust=client.trust)
    shown = json.loads(done.stdout)
    assert done.returncode == 0 and shown["verified"] is True and shown["code"] == "ok" and shown["simulated"] is True
    assert re.fullmatch("[0-9a-f]{64}", shown["nonce"]) and "SIMULATED" in done.stderr
    text = client.attest(trust=client.trust).stdout
    assert "valid [SIMULATED]" in text
    done = client.attest("--json", trust=["--root", host.root, "--pcr", "0=" + "cd" * 48])
    assert done.returncode == 1 and json.loads(done.stdout)["code"] == "pcr-mismatch" and "refused: pcr-mismatch" in done.stderr
    assert "pcrs" not in json.loads(done.stdout)
    assert client.attest(trust=["--root", host.root]).returncode == 1


def test_attest_nonces(client, host):
    first, second = (json.loads(client.attest("--json").stdout)["nonce"] for _ in range(2))
    assert first != second
    nonce = "0123456789abcdef" * 4
    assert json.loads(client.attest("--json", "--nonce", nonce).stdout)["nonce"] == nonce
    assert json.loads(client.attest("--json", "--no-nonce").stdout)["nonce"] is None
    host.change_nonce = lambda n: bytes(32)
    for trust in ([], client.trust):
        done = client.attest("--json", trust=trust)
        assert done.returncode == 1 and json.loads(done.stdout)["code"] == "nonce-mismatch"
    for bad in ("00", "zz" * 16, "0" * 33, "00" * 65):
        assert client.attest("--nonce", bad).returncode == 2


def test_attest_keeps_the_document(client, host, tmp_path):
    done = client.attest("-o", tmp_path / "doc", trust=client.trust)
    assert done.returncode == 0
    verify = client.run("verify", tmp_path / "doc", *client.trust)
    assert verify.returncode == 0, verify.stderr
    raw = subprocess.run([str(client.build / "tee-rex"), "attest", host.url, "-o", "-"], capture_output=True)
    assert raw.returncode == 0 and raw.stdout[:1] == b"\x84"


def test_attest_escapes_what_it_shows(client, host):
    host.user_data = b"\x1b[31mred\n\xff"
    done = client.attest()
    assert done.returncode == 0 and "\x1b" not in done.stdout and r"\x1b[31mred\x0a\xff" in done.stdout


def test_attest_garbage(client, host):
    host.change_attestation = lambda j: {**j, "attestationDocument": base64.b64encode(b"garbage").decode()}
    done = client.attest()
    assert done.returncode == 1 and "no attestation document" in done.stderr
    host.change_attestation = lambda j: {**j, "mode": "standard"}
    done = client.attest()
    assert done.returncode == 1 and 'offers no attestation (mode "standard")' in done.stderr


def test_unix_socket_url(client, host, short_dir):
    """unix:PATH works like a URL: forwarded to the FakeHost's port."""
    path = short_dir / "http.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def forward():
        s, _ = server.accept()
        up = socket.create_connection(("127.0.0.1", host.server.server_port))
        up.sendall(s.recv(65536))
        while piece := up.recv(65536):
            s.sendall(piece)
            if b"}" in piece:
                break
        s.close()
        up.close()

    threading.Thread(target=forward, daemon=True).start()
    assert "NOT VERIFIED" in client.run("attest", f"unix:{path}").stdout
