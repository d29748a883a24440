"""FakeProver: a stand-in for tee-rex-prover that speaks the frame protocol and enforces it. It decrypts nothing and proves
nothing: it exists to see exactly what the gateway sends and to answer in ways a real prover never would.

Every deviation of the gateway from the protocol is kept in `violations`, which a fixture asserts to be empty."""
import hashlib
import socket
import struct
import threading
import time

import cbor2

REQUEST, DATA, END, REPLY, EVENT, ERROR = range(1, 7)
MAP_MAX, PAYLOAD_MAX = 4096, 1 << 20
OPS = {"attest": ({"nonce"}, set()), "public-key": (set(), set()), "versions": (set(), set()), "health": (set(), set()),
       "metrics": (set(), set()), "upload": (set(), {"version", "sha256", "size"}), "prove": ({"version"}, {"size"})}

KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nZmFrZQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"
DOCUMENT = bytes(range(256)) * 17
VERSIONS = [{"name": "5.0.0", "sha256": bytes([5]) * 32}, {"name": "4.1.2", "sha256": bytes([4]) * 32}]
PROOF = struct.pack(">I", 3) + bytes(range(96))


def frame(kind, payload=b""):
    return struct.pack(">IB", len(payload), kind) + payload


class Gone(Exception):
    """The gateway closed the connection."""


class Violation(Exception):
    pass


class Exchange:
    """One connection: what came, and ways to answer."""

    def __init__(self, prover, sock):
        self.prover, self.sock = prover, sock
        self.request, self.op = {}, None
        self.data_n, self.hash, self.ended, self.cancelled, self.done = 0, hashlib.sha256(), False, False, False
        self.closed = threading.Event()

    def read_exactly(self, n):
        got = b""
        while len(got) < n:
            piece = self.sock.recv(min(n - len(got), 1 << 16))
            if not piece:
                raise Gone
            got += piece
        return got

    def read_frame(self):
        length, kind = struct.unpack(">IB", self.read_exactly(5))
        if length > (PAYLOAD_MAX if kind == DATA else MAP_MAX):
            raise Violation(f"frame of kind {kind} has {length} bytes")
        return kind, self.read_exactly(length)

    def read_request(self):
        kind, payload = self.read_frame()
        if kind != REQUEST:
            raise Violation(f"first frame is of kind {kind}")
        q = cbor2.loads(payload)
        if cbor2.dumps(q) != payload:
            raise Violation("the request is not in the shortest form, or has something after it")
        may, must = OPS[q["op"]]
        keys = set(q) - {"op", "id"}
        if not must <= keys <= must | may:
            raise Violation(f"{q['op']} with {sorted(keys)}")
        self.request, self.op = q, q["op"]

    def read_data(self, limit=None):
        """Takes DATA until END (true) or until limit bytes came."""
        while limit is None or self.data_n < limit:
            kind, payload = self.read_frame()
            if kind == END:
                if payload:
                    raise Violation("END with a payload")
                self.ended = True
                return True
            if kind != DATA or not payload:
                raise Violation(f"frame of kind {kind} and {len(payload)} bytes in the data")
            self.data_n += len(payload)
            self.hash.update(payload)
            if self.data_n > self.request["size"]:
                raise Violation("more data than the request said")
        return False

    def wait_gone(self, seconds=10):
        """True when the gateway closes within so many seconds."""
        self.sock.settimeout(seconds)
        try:
            while self.sock.recv(1 << 16):
                pass
        except socket.timeout:
            return False
        except OSError:
            pass
        return True

    def send(self, raw):
        self.sock.sendall(raw)

    def reply(self, **members):
        self.send(frame(REPLY, cbor2.dumps(members)))

    def event(self, **members):
        self.send(frame(EVENT, cbor2.dumps(members)))

    def error(self, code, **members):
        self.send(frame(ERROR, cbor2.dumps({"code": code, **members})))


class FakeProver:
    def __init__(self, path):
        self.path = str(path)
        self.handlers = {}               # op -> function(exchange)
        self.exchanges, self.violations = [], []
        self.lock = threading.Lock()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(128)
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            x = Exchange(self, sock)
            threading.Thread(target=self.serve, args=(x,), daemon=True).start()

    def serve(self, x):
        try:
            x.read_request()
            with self.lock:
                self.exchanges.append(x)
            self.handlers.get(x.op, getattr(self, "do_" + x.op.replace("-", "_")))(x)
            x.done = True
        except (Gone, ConnectionError):
            x.cancelled = True
        except socket.timeout:
            pass
        except Exception as e:
            self.violations.append(repr(e))
        finally:
            x.closed.set()
            x.sock.close()

    def do_attest(self, x):
        x.reply(document=DOCUMENT + x.request.get("nonce", b""), key=KEY)

    def do_public_key(self, x):
        x.reply(key=KEY)

    def do_health(self, x):
        x.reply(versions=VERSIONS, default_version="5.0.0", uptime_ms=12345, jobs_running=1)

    def do_versions(self, x):
        x.reply(versions=VERSIONS, default_version="5.0.0")

    def do_upload(self, x):
        x.read_data()
        x.reply(versions=VERSIONS)

    def do_metrics(self, x):
        x.reply(metrics="# TYPE teerex_prover_jobs_running gauge\nteerex_prover_jobs_running 1\n# EOF\n")

    def do_prove(self, x):
        x.read_data()
        x.event(stage="queued", position=1)
        x.event(stage="proving")
        x.reply(proof=PROOF, bb_sha256=bytes([5]) * 32, signature=bytes(64), decrypt_ms=3, prove_ms=1234,
                queue_ms=1, peak_bytes=(250 << 20) + 1)

    def last(self, op, seconds=5):
        """The latest exchange of that kind; waits for one."""
        end = time.monotonic() + seconds
        while True:
            with self.lock:
                found = [x for x in self.exchanges if x.op == op]
            if found:
                return found[-1]
            assert time.monotonic() < end, f"no {op} exchange came"
            time.sleep(0.01)

    def stop(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
