"""The programs of tests/interop against each other, the kept vectors and a host that misbehaves: an oracle that accepts
everything would make every test that uses it worthless."""
import base64
import http.server
import json
import os
import pathlib
import subprocess
import threading

import cbor2
import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
INTEROP = TOP / "tests/interop"
VECTORS = TOP / "tests/vectors/openpgp"

PROOF = bytes(range(64))
GOOD_REPLY = base64.b64encode((2).to_bytes(4, "big") + PROOF).decode()


def plaintext(size):
    return bytes((7 * i + 3) % 256 for i in range(size))


def test_own_key_round_trip(node, tmp_path):
    (tmp_path / "in").write_bytes(plaintext(70000))
    assert node("genkey.mjs", tmp_path / "secret", tmp_path / "public").returncode == 0
    assert node("encrypt.mjs", tmp_path / "public", tmp_path / "in", tmp_path / "message").returncode == 0
    result = node("decrypt.mjs", tmp_path / "secret", tmp_path / "message", tmp_path / "out")
    assert json.loads(result.stdout)["bytes"] == 70000
    assert (tmp_path / "out").read_bytes() == plaintext(70000)


def test_suite_and_chunk_are_those_asked_for(node, tmp_path):
    (tmp_path / "in").write_bytes(plaintext(100))
    for suite, cipher, aead in (("aes256-gcm", 9, 3), ("aes256-ocb", 9, 2), ("aes128-gcm", 7, 3), ("aes128-ocb", 7, 2)):
        result = node("encrypt.mjs", VECTORS / "key.asc", tmp_path / "in", tmp_path / "m", "--suite", suite,
                      "--chunk", "5")
        assert result.returncode == 0, result.stderr
        message = (tmp_path / "m").read_bytes()
        seipd = 2 + message[1]
        assert message[0] == 0xC1 and message[seipd] == 0xD2
        assert list(message[seipd + 2:seipd + 6]) == [2, cipher, aead, 5]


@pytest.mark.parametrize("line", (VECTORS / "messages.txt").read_text().splitlines()[::4])
def test_kept_messages_decrypt(node, tmp_path, line):
    name, size = line.split()
    assert node("decrypt.mjs", VECTORS / "secret.asc", VECTORS / name, tmp_path / "out").returncode == 0
    assert (tmp_path / "out").read_bytes() == plaintext(int(size))


def test_every_message_is_listed():
    files = {str(p.relative_to(VECTORS)) for p in (*VECTORS.glob("sqop/*"), *VECTORS.glob("openpgpjs/*"))}
    assert files == {line.split()[0] for line in (VECTORS / "messages.txt").read_text().splitlines()}


@pytest.mark.parametrize("at", [60, 120, -1])  # wrapped key, salt, final tag
def test_changed_message_is_refused(node, tmp_path, at):
    message = bytearray((VECTORS / "openpgpjs/default-5000.pgp").read_bytes())
    message[at] ^= 1
    (tmp_path / "message").write_bytes(message)
    result = node("decrypt.mjs", VECTORS / "secret.asc", tmp_path / "message", tmp_path / "out")
    assert result.returncode == 1 and "cannot decrypt" in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_key_comes_out_the_same(tmp_path):
    subprocess.run(["/usr/bin/python3", VECTORS / "make_key.py", tmp_path], check=True)
    for name in ("key.pgp", "key.asc", "secret.asc", "key.txt"):
        assert (tmp_path / name).read_bytes() == (VECTORS / name).read_bytes(), name


# ---- sdk_prove.mjs against a host of our making ----

def attestation(**changes):
    """The reply to GET /attestation; its document has the right form, and no signature, which the SDK's part ignores."""
    key = (VECTORS / "key.asc").read_text()
    payload = {
        "public_key": key.encode(),
        "user_data": json.dumps({"versions": [{"version": "5.0.0", "sha256": "ab" * 32}]}).encode(),
        **changes,
    }
    document = cbor2.dumps([b"", {}, cbor2.dumps(payload), b""])
    return {"mode": "nitro", "attestationDocument": base64.b64encode(document).decode(), "publicKey": key}


class Host(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.attestation = attestation()
        self.reply = (200, {"proof": GOOD_REPLY})
        self.requests = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        assert self.path == "/attestation"
        self.answer(200, self.server.attestation)

    def do_POST(self):
        assert self.path == "/prove"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.headers, json.loads(body)))
        self.answer(*self.server.reply)

    def log_message(self, *_):
        pass


@pytest.fixture
def host():
    server = Host()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def sdk_prove(node, host, tmp_path):
    (tmp_path / "in").write_bytes(plaintext(5000))

    def run(*options):
        return node("sdk_prove.mjs", "http://127.0.0.1:%d/" % host.server_port, tmp_path / "in", tmp_path / "proof",
                    *options)
    return run


def test_sdk_prove_sends_what_the_key_decrypts(sdk_prove, host, node, tmp_path):
    result = sdk_prove("--version", "5.0.0")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "proof").read_bytes() == PROOF
    assert json.loads(result.stdout)["versions"] == [{"version": "5.0.0", "sha256": "ab" * 32}]
    [(headers, body)] = host.requests
    assert headers["x-aztec-version"] == "5.0.0" and headers["content-type"] == "application/json"
    assert set(body) == {"data"}
    (tmp_path / "message").write_bytes(base64.b64decode(body["data"], validate=True))
    assert node("decrypt.mjs", VECTORS / "secret.asc", tmp_path / "message", tmp_path / "out").returncode == 0
    assert (tmp_path / "out").read_bytes() == plaintext(5000)


def test_sdk_prove_names_no_version_unless_asked(sdk_prove, host):
    assert sdk_prove().returncode == 0
    assert "x-aztec-version" not in host.requests[0][0]


@pytest.mark.parametrize("bad, message", [
    (attestation(public_key=b"another key"), "attests another key"),
    (attestation(public_key=None), "attests another key"),
    (attestation(user_data=None), "no user_data"),
    (attestation(user_data=b'{"versions":[{"version":"5.0.0"}]}'), "lists no versions"),
    ({**attestation(), "attestationDocument": "gA=="}, "not a COSE_Sign1"),
    ({**attestation(), "attestationDocument": "hEA="}, "CBOR ends early"),
    (attestation(user_data=b"{"), "user_data"),
    ({**attestation(), "attestationDocument": "!!!!"}, "not base64"),
    ({**attestation(), "mode": "other"}, "unknown mode"),
])
def test_sdk_prove_sends_nothing_to_a_bad_attestation(sdk_prove, host, tmp_path, bad, message):
    host.attestation = bad
    result = sdk_prove()
    assert result.returncode == 1 and message in result.stderr
    assert host.requests == [] and not (tmp_path / "proof").exists()


@pytest.mark.parametrize("reply, message", [
    ((400, {"error": "Failed to decrypt request payload"}), "HTTP 400"),
    ((200, {"proof": base64.b64encode((3).to_bytes(4, "big") + PROOF).decode()}), "number of fields"),
    ((200, {"proof": GOOD_REPLY + "*"}), "not base64"),
    ((200, {}), "not a base64 string"),
])
def test_sdk_prove_refuses_bad_replies(sdk_prove, host, tmp_path, reply, message):
    host.reply = reply
    result = sdk_prove()
    assert result.returncode == 1 and message in result.stderr
    assert not (tmp_path / "proof").exists()
