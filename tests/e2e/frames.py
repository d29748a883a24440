"""The frame protocol of src/format/frame.h from the outside: a client that can also break every rule."""
import socket
import struct

import cbor2

REQUEST, DATA, END, REPLY, EVENT, ERROR = 1, 2, 3, 4, 5, 6
PAYLOAD_MAX = 1 << 20


def frame(kind, payload=b""):
    return struct.pack(">IB", len(payload), kind) + payload


def request(op, **members):
    return frame(REQUEST, cbor2.dumps({"op": op, **members}))


class Exchange:
    """One connection to the service socket."""

    def __init__(self, path, timeout=30):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            if not more:
                raise EOFError(f"closed after {len(data)} of {n} bytes")
            data += more
        return data

    def receive(self):
        """(kind, payload) of the next frame; maps are decoded."""
        size, kind = struct.unpack(">IB", self.exactly(5))
        assert size <= PAYLOAD_MAX
        payload = self.exactly(size)
        return kind, cbor2.loads(payload) if kind in (REPLY, EVENT, ERROR) else payload

    def answer(self):
        """The REPLY or ERROR, events skipped; after it the service has nothing more to say."""
        while True:
            kind, payload = self.receive()
            if kind != EVENT:
                return kind, payload

    def code(self):
        kind, payload = self.answer()
        return "ok" if kind == REPLY else payload["code"]


def call(path, op, **members):
    """The REPLY of an operation without a body."""
    with Exchange(path) as x:
        x.send(request(op, **members))
        kind, payload = x.answer()
        assert kind == REPLY, payload
        return payload


def body(data, piece=64 << 10):
    return b"".join(frame(DATA, data[i:i + piece]) for i in range(0, len(data), piece)) + frame(END)


def exchange(path, op, data, **members):
    """An operation with a body; returns the code and the answer."""
    with Exchange(path) as x:
        try:
            x.send(request(op, **members) + body(data))
        except (BrokenPipeError, ConnectionResetError):
            pass                       # answered before the end
        kind, payload = x.answer()
        return ("ok" if kind == REPLY else payload["code"]), payload
