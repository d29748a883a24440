"""Stand-ins for registries and what belongs to them: a registry that can misbehave, a token server, instance metadata,
Amazon ECR's API and a proxy, all on loopback, all recording what they were asked."""
import base64
import datetime
import hashlib
import hmac
import http.server
import ipaddress
import json
import select
import socket
import ssl
import threading
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def certificate(directory, *names):
    """A self-signed certificate and key for these names, as one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    alternatives = [x509.IPAddress(ipaddress.ip_address(n)) if n[0].isdigit() and n.count(".") == 3 and n.replace(".", "").isdigit()
                    else x509.DNSName(n) for n in names]
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(alternatives), False)
            .add_extension(x509.BasicConstraints(True, 0), True).sign(key, hashes.SHA256()))
    path = directory / "tls.pem"
    path.write_bytes(cert.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return path


class Server:
    """An HTTP server in a thread. Handlers get a request (method, path, headers, body) and give (status, headers, body);
    body may be a function that writes to the socket itself."""

    def __init__(self, handle, tls=None):
        outer = self
        self.requests, self.handle = [], handle

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append((self.command, self.path, dict(self.headers), body))
                status, headers, payload = outer.handle(*outer.requests[-1])
                self.send_response(status)
                if callable(payload):
                    self.close_connection = True
                elif "Content-Length" not in headers:
                    headers = {**headers, "Content-Length": len(payload)}
                for k, v in headers.items():
                    for one in v if isinstance(v, list) else [v]:
                        self.send_header(k, str(one))
                self.end_headers()
                payload(self.wfile) if callable(payload) else self.wfile.write(payload)

            do_GET = do_POST = do_PUT = answer
            log_message = lambda self, *a: None

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass

        self.server = Quiet(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def paths(self, part):
        return [r for r in self.requests if part in r[1]]


class Registry(Server):
    """Serves an OCI layout as repository "team/it". `guard(headers)` gives an answer to turn a request away, or None;
    `quirk(kind, name, headers, data, media)` may answer in the registry's place."""

    def __init__(self, layout, guard=None, quirk=None, tls=None):
        super().__init__(self.serve, tls)
        self.layout, self.guard, self.quirk = layout, guard, quirk

    def serve(self, method, path, headers, body):
        denied = self.guard(headers) if self.guard else None
        if denied:
            return denied
        kind, name = path.split("/")[-2:]
        if not path.startswith("/v2/team/it/"):
            return 404, {}, b'{"errors":[{"code":"NAME_UNKNOWN"}]}'
        media = "application/octet-stream"
        if kind == "manifests":
            found = [d for d in self.layout.index if name in (d["digest"], d.get("annotations", {}).get("org.opencontainers.image.ref.name"))]
            name, media = (found[0]["digest"], found[0]["mediaType"]) if found else (name, "application/vnd.oci.image.manifest.v1+json")
        file = self.layout.path / "blobs/sha256" / name[7:]
        if not name.startswith("sha256:") or not file.exists():
            return 404, {}, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'
        data = file.read_bytes()
        answer = self.quirk(kind, name, headers, data, media) if self.quirk else None
        return answer or ranged(headers, data, media)


def ranged(headers, data, media="application/octet-stream"):
    """An answer that honours Range."""
    if "Range" in headers:
        start = int(headers["Range"].split("=")[1].rstrip("-"))
        return 206, {"Content-Type": media, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, data[start:]
    return 200, {"Content-Type": media}, data


def breaking_off(data, after, status=200, **headers):
    """An answer whose connection ends too early."""
    return status, {"Content-Length": len(data), **headers}, lambda out: out.write(data[:after])


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class TokenServer(Server):
    """Gives tokens to whoever shows the right password, or to anybody."""

    def __init__(self, user=None, password=None, refresh=None):
        super().__init__(self.serve)
        self.user, self.password, self.refresh, self.given = user, password, refresh, []

    def serve(self, method, path, headers, body):
        if method == "POST":
            form = dict(urllib.parse.parse_qsl(body.decode()))
            if self.refresh is None or form.get("refresh_token") != self.refresh or form.get("grant_type") != "refresh_token":
                return 401, {}, b"{}"
            return self.give("access_token", form["scope"])
        if self.user is not None and headers.get("Authorization") != basic(self.user, self.password):
            return 401, {}, b"{}"
        return self.give("token", dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(path).query))["scope"])

    def give(self, member, scope):
        token = f"token.{len(self.given)}~+/="
        self.given.append((token, scope))
        return 200, {"Content-Type": "application/json"}, json.dumps({member: token, "expires_in": 60}).encode()

    def guard(self, headers):
        """For the registry: only the latest token will do."""
        if self.given and headers.get("Authorization") == "Bearer " + self.given[-1][0]:
            return None
        return 401, {"WWW-Authenticate": f'Bearer realm="{self.url}/token?account=x",service="the \\"registry\\"",scope="repository:other:*"'}, b"{}"


# --- Amazon ---------------------------------------------------------------------------------------------------

KEYS = {"AccessKeyId": "ASIASTANDIN", "SecretAccessKey": "secret/key+of/the/role", "Token": "session+token/with=signs"}


class Metadata(Server):
    """Instance metadata, version 2 only."""

    def __init__(self, role="reader"):
        super().__init__(self.serve)
        self.role = role

    def serve(self, method, path, headers, body):
        if method == "PUT" and path == "/latest/api/token":
            return (200, {}, b"imds-token") if int(headers.get("X-aws-ec2-metadata-token-ttl-seconds", 0)) > 0 else (400, {}, b"")
        if headers.get("X-aws-ec2-metadata-token") != "imds-token":
            return 401, {}, b""
        if path == "/latest/meta-data/iam/security-credentials/":
            return (200, {}, self.role.encode()) if self.role else (404, {}, b"")
        if path.endswith("/" + self.role):
            return 200, {}, json.dumps({"Code": "Success", **KEYS}).encode()
        return 404, {}, b""


def signature_v4(secret, region, service, method, path, headers, signed, body):
    """Amazon's documented algorithm."""
    date = headers["x-amz-date"]
    canonical = "\n".join([method, path, "", *[f"{h}:{headers[h]}" for h in signed], "", ";".join(signed), hashlib.sha256(body).hexdigest()])
    scope = f"{date[:8]}/{region}/{service}/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in (date[:8], region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


class EcrApi(Server):
    """ecr:GetAuthorizationToken, for whoever signs with KEYS."""

    def __init__(self, region, keys=KEYS):
        super().__init__(self.serve)
        self.region, self.keys, self.password = region, keys, "ecr-password"

    def serve(self, method, path, headers, body):
        lower = {k.lower(): v for k, v in headers.items()}
        fields = dict(f.strip().split("=", 1) for f in lower["authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(","))
        signed = fields["SignedHeaders"].split(";")
        good = signature_v4(self.keys["SecretAccessKey"], self.region, "ecr", method, path, lower, signed, body)
        must_sign = {"host", "x-amz-date", "x-amz-target", "content-type"} | ({"x-amz-security-token"} if self.keys.get("Token") else set())
        if (fields["Signature"] != good or not must_sign <= set(signed) or not fields["Credential"].startswith(self.keys["AccessKeyId"] + "/")
                or lower.get("x-amz-security-token") != self.keys.get("Token")
                or lower["x-amz-target"] != "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"):
            return 403, {}, b'{"__type":"InvalidSignatureException"}'
        token = base64.b64encode(f"AWS:{self.password}".encode()).decode()
        return 200, {}, json.dumps({"authorizationData": [{"authorizationToken": token, "proxyEndpoint": "x"}]}).encode()


class Proxy:
    """A CONNECT proxy that leads every name to one port of this machine, and remembers the names."""

    def __init__(self, port):
        self.port, self.names = port, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.tunnel, args=(client,), daemon=True).start()

    def tunnel(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            piece = client.recv(4096)
            if not piece:
                return
            head += piece
        self.names.append(head.split()[1].decode())
        server = socket.create_connection(("127.0.0.1", self.port))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with client, server:
            while True:
                for s in select.select([client, server], [], [])[0]:
                    piece = s.recv(65536)
                    if not piece:
                        return
                    (server if s is client else client).sendall(piece)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
