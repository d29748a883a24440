#!/usr/bin/env python3
"""A man in the middle between a client and the gateway: forwards everything on loopback, and changes one byte.

usage: tamper_proxy.py UPSTREAM_PORT request|response|nothing
Prints the port it listens on. `request` changes the ciphertext of POST /prove, `response` the proof in its answer.
"""
import base64
import http.client
import http.server
import json
import sys

upstream_port, what = int(sys.argv[1]), sys.argv[2]


def flip(text):
    """The base64 text with one bit of its middle byte flipped."""
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 1
    return base64.b64encode(data).decode()


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def forward(self):
        body = self.body()
        if what == "request" and self.path == "/prove":
            body = json.dumps({"data": flip(json.loads(body)["data"])}).encode()
        keep = {k: v for k, v in self.headers.items()
                if k.lower() not in ("host", "content-length", "transfer-encoding", "expect", "connection")}
        up = http.client.HTTPConnection("127.0.0.1", upstream_port)
        up.request(self.command, self.path, body or None, keep)
        answer = up.getresponse()
        data = answer.read()
        if what == "response" and self.path == "/prove" and answer.status == 200:
            members = json.loads(data)
            members["proof"] = flip(members["proof"])
            data = json.dumps(members).encode()
        self.send_response(answer.status)
        for k, v in answer.getheaders():
            if k.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(k, v)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_OPTIONS = forward

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
print(server.server_port, flush=True)
server.serve_forever()
