"""Attestation documents and their certificates, written by hand: DER, CBOR, COSE_Sign1, X.509, each of which can be
written wrongly. Keys and signatures (RFC 6979) are derived from constants, so the same calls give the same bytes."""
import calendar
import hashlib
import hmac
import time

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec

# --- keys and signatures ---------------------------------------------------------------------

N384 = int("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf"
           "581a0db248b0a77aecec196accc52973", 16)


def key(name):
    return 1 + int.from_bytes(hashlib.sha512(b"TEE-Rex test key " + name.encode()).digest(), "big") % (N384 - 1)


def public(d, curve=ec.SECP384R1()):
    n = ec.derive_private_key(d, curve).public_key().public_numbers()
    size = (curve.key_size + 7) // 8
    return b"\4" + n.x.to_bytes(size, "big") + n.y.to_bytes(size, "big")


def nonces_rfc6979(d, digest, name):
    def mac(k, *parts):
        return hmac.new(k, b"".join(parts), name).digest()
    size = hashlib.new(name).digest_size
    z = int.from_bytes(digest[:48], "big") % N384
    seed = d.to_bytes(48, "big") + z.to_bytes(48, "big")
    v, k = b"\1" * size, b"\0" * size
    k = mac(k, v, b"\0", seed)
    v = mac(k, v)
    k = mac(k, v, b"\1", seed)
    v = mac(k, v)
    while True:
        t = b""
        while len(t) < 48:
            v = mac(k, v)
            t += v
        c = int.from_bytes(t[:48], "big")
        if 0 < c < N384:
            yield c
        k = mac(k, v, b"\0")
        v = mac(k, v)


def sign_pair(d, message, name="sha384"):
    digest = hashlib.new(name, message).digest()
    z = int.from_bytes(digest[:48], "big")
    for k in nonces_rfc6979(d, digest, name):
        r = int.from_bytes(public(k)[1:49], "big") % N384
        s = pow(k, -1, N384) * (z + r * d) % N384
        if r and s:
            return r, s


def raw(pair):
    return pair[0].to_bytes(48, "big") + pair[1].to_bytes(48, "big")


# --- DER -------------------------------------------------------------------------------------

def tlv(tag, *contents):
    body = b"".join(contents)
    n = len(body)
    if n < 0x80:
        return bytes([tag, n]) + body
    size = (n.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + n.to_bytes(size, "big") + body


def seq(*c):
    return tlv(0x30, *c)


def integer(v):
    return tlv(2, v.to_bytes(v.bit_length() // 8 + 1, "big", signed=True))


def oid(dotted):
    first, second, *rest = (int(p) for p in dotted.split("."))
    out = bytes([first * 40 + second])
    for p in rest:
        group = [p & 127]
        while p > 127:
            p >>= 7
            group.append(128 | p & 127)
        out += bytes(reversed(group))
    return tlv(6, out)


def bits(body, unused=0):
    return tlv(3, bytes([unused]) + body)


def name_of(cn):
    return seq(tlv(0x31, seq(oid("2.5.4.6"), tlv(0x13, b"US"))), tlv(0x31, seq(oid("2.5.4.3"), tlv(0x0c, cn.encode()))))


def seconds(text):
    return calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M:%S"))


def utc_time(s):
    t = time.gmtime(s)
    return tlv(0x17, time.strftime("%y%m%d%H%M%SZ", t).encode()) if t.tm_year < 2050 else \
        tlv(0x18, time.strftime("%Y%m%d%H%M%SZ", t).encode())


def extension(number, value, critical=False):
    return seq(oid(number), tlv(1, b"\xff") if critical else b"", tlv(4, value))


BASIC, USAGE, NAMES, EKU = "2.5.29.19", "2.5.29.15", "2.5.29.30", "2.5.29.37"
CERT_SIGN, DIGITAL_SIGNATURE, CRL_SIGN = 5, 0, 6
SHA384_ECDSA, SHA256_ECDSA, SHA512_ECDSA = "1.2.840.10045.4.3.3", "1.2.840.10045.4.3.2", "1.2.840.10045.4.3.4"


def basic(ca, path_len=None):
    return seq(tlv(1, b"\xff") if ca else b"", integer(path_len) if path_len is not None else b"")


def usage(*numbers):
    v = sum(0x80 >> n for n in numbers)
    unused = 0
    while not v >> unused & 1:
        unused += 1
    return bits(bytes([v]), unused)


def ec_key(point, curve="1.3.132.0.34"):
    return seq(seq(oid("1.2.840.10045.2.1"), oid(curve)), bits(point))


NOW_S = seconds("2026-01-01 12:00:00")
NOW = NOW_S * 1000
HOUR, DAY, YEAR = 3600, 86400, 31536000


class Cert:
    """A certificate to be; every part can be replaced before der() signs it."""

    def __init__(self, cn, signer=None, issuer_cn=None, ca=False, path_len=None, key_usage=None, since=None, until=None):
        self.cn, self.d = cn, key(cn)
        self.signer = signer if signer is not None else self.d
        self.version = tlv(0xa0, integer(2))
        self.serial = integer(int.from_bytes(hashlib.sha256(cn.encode()).digest()[:15], "big"))
        self.algorithm = self.outer_algorithm = seq(oid(SHA384_ECDSA))
        self.issuer, self.subject = name_of(issuer_cn or cn), name_of(cn)
        self.since, self.until = utc_time(since), utc_time(until)
        self.spki = ec_key(public(self.d))
        self.extensions = [extension(BASIC, basic(ca, path_len), True)]
        if key_usage is not None:
            self.extensions.append(extension(USAGE, usage(*key_usage), True))
        self.hash = "sha384"
        self.signature = None             # pair -> contents of the bit string
        self.finish = lambda der: der     # last changes to the whole

    def tbs(self):
        ext = tlv(0xa3, seq(*self.extensions)) if self.extensions else b""
        return seq(self.version, self.serial, self.algorithm, self.issuer, seq(self.since, self.until),
                   self.subject, self.spki, ext)

    def der(self):
        tbs = self.tbs()
        pair = sign_pair(self.signer, tbs, self.hash)
        signature = self.signature(pair) if self.signature else bits(seq(integer(pair[0]), integer(pair[1])))
        return self.finish(seq(tbs, self.outer_algorithm, signature))


class Chain:
    """root -> zonal (path length 1) -> instance (0) -> leaf, as the hardware has it."""

    def __init__(self):
        ca = (DIGITAL_SIGNATURE, CERT_SIGN, CRL_SIGN)
        self.root = Cert("test-root", ca=True, key_usage=ca,
                         since=seconds("2020-01-01 00:00:00"), until=seconds("2049-12-31 23:59:59"))
        self.zonal = Cert("zonal.test", self.root.d, "test-root", ca=True, path_len=1, key_usage=ca,
                          since=NOW_S - 3 * DAY, until=NOW_S + 3 * DAY)
        self.instance = Cert("i-0123456789abcdef0.test", self.zonal.d, "zonal.test", ca=True, path_len=0,
                             key_usage=(CERT_SIGN,), since=NOW_S - 4 * HOUR, until=NOW_S + 20 * HOUR)
        self.leaf = Cert("i-0123456789abcdef0-enc0123456789abcdef.test", self.instance.d, "i-0123456789abcdef0.test",
                         key_usage=(DIGITAL_SIGNATURE, 1), since=NOW_S - HOUR, until=NOW_S + 2 * HOUR)

    def bundle(self):
        return [c.der() for c in (self.root, self.zonal, self.instance)]


ROOT_DER = Chain().root.der()

# --- CBOR ------------------------------------------------------------------------------------


def head(major, n, size=None):
    """size: bytes of the argument, for heads longer than they need be."""
    if size is None:
        size = 0 if n < 24 else 1 if n < 256 else 2 if n < 65536 else 4 if n < 2**32 else 8
    if size == 0:
        return bytes([major << 5 | n])
    return bytes([major << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[size]]) + n.to_bytes(size, "big")


def bstr(b, size=None):
    return head(2, len(b), size) + b


def tstr(s, size=None):
    b = s.encode() if isinstance(s, str) else s
    return head(3, len(b), size) + b


def chunked(major, b):
    """The same string with an indefinite length, in two chunks."""
    h = len(b) // 2
    return bytes([major << 5 | 31]) + head(major, h) + b[:h] + head(major, len(b) - h) + b[h:] + b"\xff"


NULL = b"\xf6"


def pcr_value(i):
    return hashlib.sha384(b"test PCR %d" % i).digest() if i in (0, 1, 2, 4, 8) else bytes(48)


PCRS = {i: pcr_value(i) for i in range(16)}
NONCE = bytes(range(32))
PUBLIC_KEY = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n(test)\n-----END PGP PUBLIC KEY BLOCK-----\n"
USER_DATA = b'{"versions":[{"version":"5.0.0","sha256":"' + b"ab" * 32 + b'"}],"epoch":5}'
ES384 = bytes.fromhex("a1013822")


def pcr_map(pcrs):
    return head(5, len(pcrs)) + b"".join(head(0, i) + bstr(v) for i, v in pcrs.items())


class Doc:
    """A document to be. fields holds encoded values by key, in order."""

    def __init__(self, chain=None):
        c = self.chain = chain or Chain()
        self.key = c.leaf.d
        self.fields = {
            "module_id": tstr("i-0123456789abcdef0-enc0123456789abcdef"),
            "digest": tstr("SHA384"),
            "timestamp": head(0, NOW - 1000),
            "pcrs": pcr_map(PCRS),
            "certificate": bstr(c.leaf.der()),
            "cabundle": cbor2.dumps(c.bundle()),
            "public_key": bstr(PUBLIC_KEY),
            "user_data": bstr(USER_DATA),
            "nonce": bstr(NONCE),
        }
        self.protected = bstr(ES384)                 # as in the message
        self.protected_signed = None                 # as signed, when it differs
        self.unprotected = b"\xa0"
        self.payload_item = bstr
        self.signature_item = lambda pair: bstr(raw(pair))
        self.array = head(4, 4)
        self.after = b""
        self.context = tstr("Signature1")
        self.external = b"\x40"
        self.hash = "sha384"
        self.payload = None                          # replaces the map of fields
        self.after_signing = lambda b: b             # changes to the payload that nobody signed

    def map(self):
        return head(5, len(self.fields)) + b"".join(tstr(k) + v for k, v in self.fields.items())

    def encode(self):
        payload = self.payload if self.payload is not None else self.map()
        tbs = head(4, 4) + self.context + (self.protected_signed or self.protected) + self.external + bstr(payload)
        pair = sign_pair(self.key, tbs, self.hash)
        return (self.array + self.protected + self.unprotected + self.payload_item(self.after_signing(payload)) +
                self.signature_item(pair) + self.after)
