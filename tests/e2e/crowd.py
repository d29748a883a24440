"""A crowd of bad clients for a gateway: crowd.py PORT IDLE. Prints "ready" when all are there, goes on until its standard input
ends, then prints as JSON what they were answered. One selector, so that it takes little of the machine itself."""
import collections
import json
import resource
import selectors
import socket
import sys
import time

HEAD = b"POST /prove HTTP/1.1\r\nHost: x\r\n"
PORT, IDLE = int(sys.argv[1]), int(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, IDLE + 2000), hard))
selector = selectors.DefaultSelector()
answers = collections.Counter()


def connect(number=0):
    s = socket.socket()
    s.bind((f"127.0.0.{2 + number // 5000}", 0))     # ports are 28,000 for each address
    s.connect(("127.0.0.1", PORT))
    s.setblocking(False)
    return s


class Bad:
    """One that sends its pieces, one each turn of a second or as fast as it can, and starts anew when it is thrown out."""

    def __init__(self, name, first, piece, fast=False, reads=True):
        self.name, self.first, self.piece, self.fast, self.reads = name, first, piece, fast, reads
        self.s = None
        self.open()

    def open(self):
        self.s, self.got, self.todo = connect(), b"", self.first
        self.watch()

    def watch(self):
        events = (selectors.EVENT_READ if self.reads else 0) | (selectors.EVENT_WRITE if self.todo else 0)
        if self.s.fileno() in selector.get_map():
            selector.modify(self.s, events or selectors.EVENT_WRITE, self) if events else selector.unregister(self.s)
        elif events:
            selector.register(self.s, events, self)

    def end(self):
        if self.s.fileno() in selector.get_map():
            selector.unregister(self.s)
        self.s.close()
        for part in self.got.split(b"HTTP/1.1 ")[1:]:
            answers[f"{self.name} {part[:3].decode()}"] += 1
        if not self.got:
            answers[f"{self.name} closed"] += 1
        self.open()

    def on(self, events):
        try:
            if events & selectors.EVENT_WRITE and self.todo:
                n = self.s.send(self.todo)
                self.todo = self.todo[n:] or (self.piece if self.fast else b"")
            if events & selectors.EVENT_READ:
                data = self.s.recv(65536)
                if not data:
                    return self.end()
                self.got = (self.got + data)[-200_000:]
        except BlockingIOError:
            pass
        except OSError:
            return self.end()
        self.watch()

    def tick(self):
        if not self.todo:
            self.todo = self.piece
            self.watch()


idle = [connect(i) for i in range(IDLE)]
bad = [Bad("slow header", b"GET /health HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n") for _ in range(100)]
bad += [Bad("slow body", HEAD + b"Content-Length: 1000000\r\n\r\n{\"data\":\"", b"A") for _ in range(10)]
bad += [Bad("slow reader", b"GET /attestation HTTP/1.1\r\nHost: x\r\n\r\n" * 200, b"", reads=False) for _ in range(50)]
bad += [Bad("header bomb", b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 60000, b"y" * 1000, fast=True) for _ in range(4)]
bad += [Bad("body bomb", HEAD + b"Content-Length: 99999999999\r\n\r\n", b"A" * 1000, fast=True) for _ in range(4)]
bad += [Bad("chunk bomb", HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 1000 + b"\r\nA\r\n", fast=True) for _ in range(4)]
bad += [Bad("pipeline", b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" * 50, b"") for _ in range(10)]
bad += [Bad("smuggler", HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /attestation HTTP/1.1\r\nHost: x\r\n\r\n", b"")
        for _ in range(4)]
selector.register(sys.stdin, selectors.EVENT_READ, None)
print("ready", flush=True)
next_tick, running = time.monotonic(), True
while running:
    for key, events in selector.select(0.05):
        if key.data is None:
            running = False
        else:
            key.data.on(events)
    if time.monotonic() >= next_tick:
        next_tick += 1
        for b in bad:
            b.tick()
    time.sleep(0.002)                                # bombs as fast as they can, within reason
left = 0
for s in idle:
    try:
        left += s.recv(1) != b""
    except BlockingIOError:
        left += 1
    except OSError:
        pass
for b in bad:
    for part in b.got.split(b"HTTP/1.1 ")[1:]:
        answers[f"{b.name} {part[:3].decode()}"] += 1
print(json.dumps({"idle left": left, **answers}))
