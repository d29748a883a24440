"""The gateway under test, and HTTP as raw as a test wants it."""
import base64
import http.client
import json
import socket

from conftest import Program, wait_for

CORS_EXPOSED = "X-Request-Id, X-Prove-Duration-Ms, X-Decrypt-Duration-Ms, Location, Retry-After"


class Gateway(Program):
    def __init__(self, build, directory, port, enclave, *options, unix=None):
        self.port, self.unix = port, unix
        super().__init__([build / "tee-rex", "gateway", "--listen", f"unix:{unix}" if unix else f"127.0.0.1:{port}", "--enclave", f"unix:{enclave}",
                          *options], directory)
        try:
            wait_for(lambda: "listening on" in self.stderr or not self.running(), 10, "gateway listening")
            assert self.running(), self.stderr
        except BaseException:
            self.kill()
            raise

    def connect(self, timeout=10):
        if self.unix:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(timeout)
            s.connect(str(self.unix))
            return s
        s = socket.create_connection(("127.0.0.1", self.port), timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def request(self, method, path, body=None, headers={}, timeout=30):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        c.sock = self.connect(timeout)
        c.request(method, path, body, headers)
        return Answer(c.getresponse())

    def get(self, path, **headers):
        return self.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def prove(self, payload, **headers):
        return self.request("POST", "/prove", prove_body(payload),
                            {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}})

    def access_log(self):
        return [json.loads(line) for line in self.stdout.splitlines()]


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()
        assert self.headers["Access-Control-Allow-Origin"] == "*"
        assert self.headers["Access-Control-Expose-Headers"] == CORS_EXPOSED
        assert self.headers["X-Request-Id"]

    json = property(lambda self: json.loads(self.body))

    def error(self, status, text, code=None, content_type="application/json"):
        """Asserts that this is that error, and returns its body."""
        assert (self.status, self.json["error"]) == (status, text)
        assert self.json["requestId"] == self.headers["X-Request-Id"]
        assert self.headers["Content-Type"] == content_type
        assert self.json["type"] == "urn:tee-rex:" + self.json["code"] and self.json["status"] == status
        assert self.json["title"] and self.json["detail"]
        assert code is None or self.json["code"] == code
        return self.json


def read_answer(sock):
    """One response from a raw socket."""
    r = http.client.HTTPResponse(sock)
    r.begin()
    return Answer(r)


class Buffered:
    """A socket whose answers come one after the other out of one buffer."""

    def __init__(self, sock):
        self.file = sock.makefile("rb")
        self.file.close = lambda: None

    def makefile(self, mode):
        return self.file


def prove_body(payload):
    return json.dumps({"data": base64.b64encode(payload).decode()})


def head(method="POST", path="/prove", *fields):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *fields, "", ""]).encode()
