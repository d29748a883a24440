"""Starts build/tee-rex-sim-nsm and talks to it, and checks its documents with cbor2 and cryptography:
nothing here shares code with the project."""
import contextlib
import datetime
import hashlib
import os
import pathlib
import socket
import subprocess

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build" / "tee-rex-sim-nsm"
PACKET = 1 << 16

# LISTEN_PID must name the program itself, so the shell becomes it
GIVE = """fd=$1; shift
[ "$fd" = 3 ] || exec 3<&"$fd"-
LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=nsm exec "$@" """


class Client:
    def __init__(self, sock, timeout=20):
        self.socket = sock
        self.socket.settimeout(timeout)

    def raw(self, packet):
        self.socket.send(packet)
        return self.socket.recv(PACKET)

    def ask(self, request):
        return cbor2.loads(self.raw(cbor2.dumps(request)))

    def attest(self, **members):
        return self.ask({"Attestation": {"user_data": None, "nonce": None, "public_key": None, **members}})

    def close(self):
        self.socket.close()


class Simulator:
    def __init__(self, state, *options, listen=None, prefix=(), program=PROGRAM):
        """listen: path to listen on; without it the one client is a socket pair."""
        self.state = pathlib.Path(state)
        self.listen_path = listen
        if listen:
            self.given = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.given.bind(str(listen))
            self.given.listen(128)
            self.pair = None
        else:
            self.pair, self.given = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = subprocess.Popen(
            ["bash", "-c", GIVE, "give", str(self.given.fileno()), *prefix, str(program), "--state", str(state), *options],
            pass_fds=[self.given.fileno()], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.given.close()
        self.client = Client(self.pair) if self.pair else None

    def connect(self, timeout=20):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(str(self.listen_path))
        return Client(sock, timeout)

    def end(self):
        """(exit status, standard error) after SIGTERM."""
        self.process.terminate()
        _, err = self.process.communicate(timeout=20)
        return self.process.returncode, err

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def rss_kib(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


@contextlib.contextmanager
def simulator(state, *options, **how):
    s = Simulator(state, *options, **how)
    try:
        yield s
    finally:
        if s.process.poll() is None:
            s.process.kill()
        s.process.wait()
        s.process.stderr.close()
        if s.client:
            s.client.close()


def utc(certificate, which):
    """not_valid_before/after, aware; older and newer cryptography differ in the name."""
    new = getattr(certificate, f"not_valid_{which}_utc", None)
    return new or getattr(certificate, f"not_valid_{which}").replace(tzinfo=datetime.timezone.utc)


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def check_document(document, root_pem):
    """The payload of a document whose chain and signature verify under root_pem; raises otherwise."""
    assert document[0] == 0x84, "COSE_Sign1 must be an untagged array of four"
    protected, unprotected, payload, signature = cbor2.loads(document)
    assert protected == bytes.fromhex("a1013822") and unprotected == {} and len(signature) == 96
    claims = cbor2.loads(payload)
    assert cbor2.dumps(claims) == payload, "not the shortest encoding"

    root = x509.load_pem_x509_certificate(root_pem)
    chain = [x509.load_der_x509_certificate(der) for der in [*claims["cabundle"], claims["certificate"]]]
    assert len(chain) == 5 and chain[0] == root
    at = datetime.datetime.fromtimestamp(claims["timestamp"] / 1000, datetime.timezone.utc)
    for i, certificate in enumerate(chain):
        issuer = chain[max(0, i - 1)]
        assert certificate.issuer == issuer.subject
        issuer.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes,
                                   ec.ECDSA(certificate.signature_hash_algorithm))
        assert isinstance(certificate.signature_hash_algorithm, hashes.SHA384)
        assert isinstance(certificate.public_key().curve, ec.SECP384R1)
        assert utc(certificate, "before") <= at <= utc(certificate, "after") <= utc(issuer, "after")
        basic, usage = extension(certificate, x509.BasicConstraints), extension(certificate, x509.KeyUsage).value
        assert basic.critical and basic.value.ca == (i < 4)
        assert basic.value.path_length == [None, 2, 1, 0, None][i]
        assert usage.key_cert_sign == (i < 4) and (i < 4 or usage.digital_signature)
        assert "SIMULATED" in certificate.subject.rfc4514_string()
    for der in [*claims["cabundle"], claims["certificate"]]:
        assert len(der) <= 1024

    r, s = (int.from_bytes(part, "big") for part in (signature[:48], signature[48:]))
    chain[4].public_key().verify(utils.encode_dss_signature(r, s),
                                 cbor2.dumps(["Signature1", protected, b"", payload]), ec.ECDSA(hashes.SHA384()))
    return claims


def extend(old, data):
    return hashlib.sha384(old + data).digest()
