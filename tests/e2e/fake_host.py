"""FakeHost: a stand-in for gateway and enclave in one, for tests of the client commands. Its documents come from the
software NSM and its messages are really decrypted (by the project's pgp_tool) and its results really signed (by
cryptography), so an honest exchange passes every check; the hooks make it lie about one thing at a time."""
import base64
import contextlib
import hashlib
import http.server
import json
import struct
import subprocess
import threading

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from enclave import PGP_TOOL, ROOT
from sim_nsm import Simulator

PCR0 = "0=" + "ab" * 48
BB = hashlib.sha256(b"bb 5.0.0").hexdigest()
VERSIONS = [{"version": "5.0.0", "sha256": BB}]


class Key:
    def __init__(self, directory, name):
        self.path, self.certificate_path = directory / name, directory / (name + ".asc")
        subprocess.run([PGP_TOOL, "genkey", self.path], check=True)
        subprocess.run([PGP_TOOL, "export", self.path, self.certificate_path], check=True)
        self.armored = self.certificate_path.read_text()
        secret = dict(line.split() for line in self.path.read_text().splitlines() if len(line.split()) == 2)
        self.primary = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret["ed25519_secret"]))

    def decrypt(self, message, directory):
        (directory / "message").write_bytes(message)
        done = subprocess.run([PGP_TOOL, "decrypt", self.path, directory / "message", directory / "plaintext"],
                              capture_output=True, text=True)
        if done.returncode != 0:
            return None, done.stderr.strip()
        return (directory / "plaintext").read_bytes(), done.stdout.strip()


def list_digest(versions):
    return hashlib.sha256("".join(f"{v['version']} {v['sha256']}\n" for v in versions).encode()).hexdigest()


@contextlib.contextmanager
def flip_proxy(port, what):
    """A proxy on loopback that changes one bit of the ciphertext ("request") or the proof ("response"); yields its port."""
    process = subprocess.Popen(["/usr/bin/python3", ROOT / "tests/tools/tamper_proxy.py", str(port), what],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class FakeHost:
    def __init__(self, directory):
        self.directory = directory
        self.nsm = Simulator(directory / "nsm", "--pcr", PCR0)
        self.root = directory / "nsm" / "root.pem"
        self.key = self.attested_key = Key(directory, "key")
        self.requests = []               # (method, path, headers, body)
        self.lock = threading.Lock()
        self.reset()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.serve(self, b"")

            def do_POST(self):
                outer.serve(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reset(self):
        self.requests.clear()
        self.attested_key = self.key
        self.user_data = {"versions": VERSIONS, "epoch": 1}
        self.health = {"status": "ok", "bb_hashes": VERSIONS}
        self.proof = struct.pack(">I", 3) + bytes(range(96))
        self.bb = BB                     # what signs into the result
        self.change_attestation = self.change_answer = lambda j: j
        self.change_nonce = lambda nonce: nonce
        self.answer_prove = None         # function(message) -> (status, json or bytes) instead of the honest one
        self.plaintext = self.file_name = None
        self.with_nonce = True

    def paths(self):
        return [path.split("?")[0] for _, path, _, _ in self.requests]

    def serve(self, handler, body):
        path = handler.path
        with self.lock:
            self.requests.append((handler.command, path, handler.headers, body))
            if path.startswith("/attestation"):
                status, answer = 200, self.attestation(path)
            elif path == "/health":
                status, answer = 200, self.health
            elif path == "/prove":
                status, answer = self.prove(base64.b64decode(json.loads(body)["data"], validate=True))
            else:
                status, answer = 404, {"error": "Not found"}
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(raw)))
        handler.send_header("X-Request-Id", "fake-id")
        handler.end_headers()
        handler.wfile.write(raw)

    def attestation(self, path):
        nonce = bytes.fromhex(path.split("nonce=")[1]) if "nonce=" in path and self.with_nonce else None
        user_data = self.user_data
        if isinstance(user_data, dict):
            user_data = json.dumps(user_data, separators=(",", ":")).encode()
        reply = self.nsm.client.attest(public_key=self.attested_key.armored.encode(), nonce=self.change_nonce(nonce),
                                       user_data=user_data)
        return self.change_attestation({"mode": "nitro", "publicKey": self.key.armored,
                                        "attestationDocument": base64.b64encode(reply["Attestation"]["document"]).decode()})

    def sign(self, message, key=None):
        digest = hashlib.sha256
        return (key or self.key).primary.sign(b"TEE-Rex result v1\0" + digest(message).digest() + bytes.fromhex(self.bb) +
                                              digest(self.proof).digest())

    def prove(self, message):
        self.plaintext, self.file_name = self.key.decrypt(message, self.directory)
        if self.answer_prove:
            return self.answer_prove(message)
        if self.plaintext is None:
            code = "unknown-key" if "unknown-key" in self.file_name else "bad-input"
            return 400, {"error": "no", "code": code}
        return 200, self.change_answer({"proof": base64.b64encode(self.proof).decode(), "bbSha256": self.bb,
                                        "signature": base64.b64encode(self.sign(message)).decode(), "peakBytes": 250 << 20})

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.nsm.end()
