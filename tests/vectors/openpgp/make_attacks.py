#!/usr/bin/python3
"""make_attacks.py OUTDIR: writes OpenPGP messages (NAME.pgp) and certificates (NAME.asc) that must be refused, each
valid in all respects but one, some that must be accepted, and manifest.txt: file, error name, reason.

Independent of the project's own OpenPGP code: packets are put together from RFC 9580, the cryptography comes from
python3-cryptography. Everything random is a hash of the file's name, so the files come out the same each time. The key
is the test key of make_key.py. The manifest holds for a reader whose plaintext limit is LIMIT bytes.
"""
import hashlib
import os
import pathlib
import struct
import sys
import zlib

from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESOCB3
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import make_key

LIMIT = 65536
KEY = dict(line.split() for line in (pathlib.Path(__file__).parent / "key.txt").read_text().splitlines())
RECIPIENT = bytes.fromhex(KEY["x25519_public"])
OURS = b"\x04" + bytes.fromhex(KEY["subkey_fingerprint"])
FOREIGN = b"\x04" + hashlib.sha1(b"somebody else").digest()
FOREIGN_V6 = b"\x06" + hashlib.sha256(b"somebody else").digest()

PKESK, SIGNATURE, SKESK, ONE_PASS, COMPRESSED, SED, MARKER, LITERAL, SEIPD, AEAD, PADDING = \
    1, 2, 3, 4, 8, 9, 10, 11, 18, 20, 21
AES128, AES192, AES256, EAX, OCB, GCM = 7, 8, 9, 1, 2, 3
KEY_SIZE = {AES128: 16, AES192: 24, AES256: 32}

name = ""            # of the file being made
serial = 0
files = {}           # path: (content, error, reason)


def begin(path):
    global name, serial
    name, serial = path, 0


def rand(size):
    """Bytes that depend on the file and on how many were asked for before."""
    global serial
    serial += 1
    out = b""
    while len(out) < size:
        out += hashlib.sha256(f"{name} {serial} {len(out)}".encode()).digest()
    return out[:size]


def plaintext(size):
    return bytes((7 * i + 3) % 256 for i in range(size))


def add(path, error, reason, content):
    assert path not in files, path
    files[path] = (content, error, reason)


# --- packets --------------------------------------------------------------------------------------------------


def length(n, form=None):
    if form == 5 or (form is None and n >= 8384):
        return b"\xff" + struct.pack(">I", n)
    if form == 2 or (form is None and n >= 192):
        return bytes([((n - 192) >> 8) + 192, (n - 192) & 255])
    return bytes([n])


def packet(tag, body, form=None, parts=None, says=None):
    """parts: exponents of the partial lengths, the rest follows with a definite one. says: a false length."""
    out = bytes([0xC0 | tag])
    for bits in parts or []:
        out += bytes([0xE0 | bits]) + body[:1 << bits]
        body = body[1 << bits:]
    return out + length(len(body) if says is None else says, form) + body


def old_packet(tag, body):
    return bytes([0x80 | tag << 2 | 1]) + struct.pack(">H", len(body)) + body


def literal(data, kind=b"b", filename=b"", **options):
    return packet(LITERAL, kind + bytes([len(filename)]) + filename + b"\0\0\0\0" + data, **options)


# --- encrypted session keys -----------------------------------------------------------------------------------


def hkdf(ikm, salt, info, size):
    return HKDF(algorithm=SHA256(), length=size, salt=salt, info=info).derive(ikm)


def wrap(session_key, ephemeral=None):
    """What X25519 puts into a PKESK: ephemeral key and wrapped session key. Without an exchange for an ephemeral
    given: then the shared secret is zero, as it is for points of small order."""
    shared = bytes(32)
    if ephemeral is None:
        secret = x25519.X25519PrivateKey.from_private_bytes(rand(32))
        ephemeral = make_key.raw_public(secret)
        shared = secret.exchange(x25519.X25519PublicKey.from_public_bytes(RECIPIENT))
    kek = hkdf(ephemeral + RECIPIENT + shared, None, b"OpenPGP X25519", 16)
    return ephemeral, aes_key_wrap(kek, session_key)


def pkesk_body(session_key, recipient=OURS, algorithm=25, version=6, ephemeral=None):
    point, wrapped = wrap(session_key, ephemeral)
    return (bytes([version, len(recipient)]) + recipient + bytes([algorithm]) + point +
            bytes([len(wrapped)]) + wrapped)


def pkesk(session_key, **options):
    return packet(PKESK, pkesk_body(session_key, **options))


def pkesk_v3(session_key):
    point, wrapped = wrap(session_key)
    return packet(PKESK, b"\x03" + OURS[-8:] + bytes([25]) + point + bytes([1 + len(wrapped), AES256]) + wrapped)


# --- encrypted data -------------------------------------------------------------------------------------------


class Chunks:
    """The parts of a version 2 SEIPD packet, to be changed before they are joined."""

    def __init__(self, session_key, data, cipher=AES256, mode=GCM, octet=0, aad_extra=b"", size_off=0, index_off=0,
                 empty_chunk=False):
        self.head = bytes([2, cipher, mode, octet])
        self.salt = rand(32)
        info = bytes([0xC0 | SEIPD]) + self.head
        nonce_size = {GCM: 12, OCB: 15, EAX: 16}[mode]
        derived = hkdf(session_key, self.salt, info, KEY_SIZE[cipher] + nonce_size - 8)
        self.key, self.prefix = derived[:KEY_SIZE[cipher]], derived[KEY_SIZE[cipher]:]
        self.seal = AESOCB3(self.key) if mode == OCB else AESGCM(self.key)
        chunk = 1 << (octet + 6)
        pieces = [data[i:i + chunk] for i in range(0, len(data), chunk)] + ([b""] if empty_chunk else [])
        self.chunks = [self.encrypt(i, piece, info + aad_extra) for i, piece in enumerate(pieces)]
        self.final = self.encrypt(len(pieces) + index_off, b"", info + struct.pack(">Q", len(data) + size_off))

    def encrypt(self, index, data, aad):
        return self.seal.encrypt(self.prefix + struct.pack(">Q", index), data, aad)

    def body(self):
        return self.head + self.salt + b"".join(self.chunks) + self.final


def flip(data, at):
    data = bytearray(data)
    data[at] ^= 1
    return bytes(data)


def seipd_v1(session_key, data):
    start = rand(16)
    text = start + start[-2:] + data + b"\xd3\x14"
    text += hashlib.sha1(text).digest()
    encryptor = Cipher(algorithms.AES(session_key), modes.CFB(bytes(16))).encryptor()
    return packet(SEIPD, b"\x01" + encryptor.update(text) + encryptor.finalize())


def message(data, change=None, parts=None, form=None, esk=None, **options):
    """A whole message around the packets of data. change edits the Chunks; esk makes the session key packets."""
    cipher = options.get("cipher", AES256)
    session_key = rand(KEY_SIZE[cipher])
    before = esk(session_key) if esk else pkesk(session_key)
    chunks = Chunks(session_key, data, **options)
    if change:
        change(chunks)
    return before + packet(SEIPD, chunks.body(), parts=parts, form=form)


def msg(path, error, reason, content):
    """content: called after begin(), so that what it makes depends on the file's name."""
    begin(path)
    add(path + ".pgp", error, reason, content())


SMALL = literal(plaintext(100))
LONG = literal(plaintext(5000))


def accepted_messages():
    def ok(path, reason, content):
        msg("good-" + path, "ok", reason, content)

    ok("plain", "nothing special", lambda: message(SMALL))
    ok("empty-data", "no data", lambda: message(literal(b"")))
    for cipher, cipher_name in ((AES128, "aes128"), (AES256, "aes256")):
        for mode, mode_name in ((OCB, "ocb"), (GCM, "gcm")):
            for octet in (0, 3, 16):
                ok(f"{cipher_name}-{mode_name}-{octet}", "suite and chunk size",
                   lambda c=cipher, m=mode, o=octet: message(SMALL, cipher=c, mode=m, octet=o))
    ok("whole-chunks", "the last chunk is a whole one", lambda: message(literal(plaintext(120))))
    for kind in b"btu":
        ok(f"kind-{chr(kind)}", "literal formats", lambda k=kind: message(literal(plaintext(100), bytes([k]))))
    ok("name-255", "longest file name", lambda: message(literal(plaintext(100), filename=bytes(range(255)))))
    ok("markers", "marker packets wherever they may be", lambda: message(
        packet(MARKER, b"PGP") * 2 + SMALL + packet(MARKER, b"PGP") + packet(PADDING, rand(50)),
        esk=lambda k: packet(MARKER, b"PGP") + pkesk(k) + packet(MARKER, b"PGP")))
    ok("padding", "padding after the literal", lambda: message(SMALL + packet(PADDING, rand(300))))
    ok("padding-empty", "empty padding", lambda: message(SMALL + packet(PADDING, b"")))
    ok("parts-512", "shortest first part", lambda: message(LONG, parts=[9, 9, 9]))
    ok("parts-mixed", "later parts may be of one byte", lambda: message(LONG, parts=[11, 0, 0, 1, 5, 10]))
    ok("parts-empty-end", "a last part of zero bytes",
       lambda: message(literal(plaintext(8115)), parts=[12, 12], octet=16))
    ok("parts-literal", "partial lengths inside", lambda: message(literal(plaintext(5000), parts=[9, 3, 10])))
    ok("parts-both", "partial lengths outside and inside",
       lambda: message(literal(plaintext(5000), parts=[12]), parts=[9, 0, 12], octet=6))
    ok("long-lengths", "lengths not as short as possible",
       lambda: message(literal(plaintext(100), form=5), form=5, esk=lambda k: packet(PKESK, pkesk_body(k), form=5)))
    ok("other-recipients", "ours is the last of four", lambda: message(SMALL, esk=lambda k: pkesk(
        rand(32), recipient=FOREIGN) + pkesk(rand(32), recipient=FOREIGN_V6) + packet(PKESK, bytes([6, len(FOREIGN)]) +
        FOREIGN + b"\x01\x10\x00" + rand(512)) + pkesk(k)))
    ok("first-recipient", "ours is the first of two",
       lambda: message(SMALL, esk=lambda k: pkesk(k) + pkesk(rand(32), recipient=FOREIGN)))
    ok("limit", f"exactly {LIMIT} bytes", lambda: message(literal(plaintext(LIMIT)), octet=10))


def framing_messages():
    msg("empty", "truncated", "no byte at all", lambda: b"")
    msg("cut-pkesk", "truncated", "ends inside the session key", lambda: message(SMALL)[:50])
    msg("cut-header", "truncated", "ends after the session key", lambda: message(SMALL)[:99])
    msg("cut-last-byte", "truncated", "the last byte is missing", lambda: message(SMALL)[:-1])
    msg("cut-parts", "truncated", "the last part is missing", lambda: message(LONG, parts=[9, 9])[:99 + 2 * 513 + 1])
    msg("trailing-zero", "trailing", "a byte follows", lambda: message(SMALL) + b"\0")
    msg("trailing-marker", "trailing", "a packet follows", lambda: message(SMALL) + packet(MARKER, b"PGP"))
    msg("two-messages", "trailing", "a second message follows", lambda: message(SMALL) + message(SMALL))
    msg("armored", "not-openpgp", "text", lambda: make_key.armor("MESSAGE", message(SMALL)).encode())
    msg("tag-0", "not-openpgp", "packet type 0", lambda: packet(0, b"") + message(SMALL))
    msg("old-pkesk", "old-format", "legacy header of the session key",
        lambda: message(SMALL, esk=lambda k: old_packet(PKESK, pkesk_body(k))))
    msg("old-literal", "old-format", "legacy header inside", lambda: message(
        old_packet(LITERAL, b"b\0\0\0\0\0" + plaintext(100))))
    msg("part-256", "bad-length", "the first part has less than 512 bytes", lambda: message(LONG, parts=[8]))
    msg("part-256-literal", "bad-length", "the same inside",
        lambda: message(literal(plaintext(5000), parts=[8])))
    msg("part-pkesk", "bad-length", "a session key in parts",
        lambda: message(SMALL, esk=lambda k: packet(PKESK, pkesk_body(k) + bytes(512), parts=[9])))
    msg("part-padding", "bad-length", "padding in parts",
        lambda: message(SMALL + packet(PADDING, bytes(600), parts=[9])))
    for tag in (SIGNATURE, SKESK, ONE_PASS, COMPRESSED, SED, LITERAL, AEAD, PADDING, 40, 60):
        msg(f"outer-{tag}", "unexpected-packet", f"packet type {tag} before the encrypted data",
            lambda t=tag: packet(t, bytes(20)) + message(SMALL))
    msg("plain-literal", "unexpected-packet", "not encrypted at all", lambda: SMALL)
    msg("marker-text", "bad-marker", "says PGQ", lambda: packet(MARKER, b"PGQ") + message(SMALL))
    msg("marker-long", "bad-marker", "says PGPP", lambda: packet(MARKER, b"PGPP") + message(SMALL))
    msg("marker-short", "bad-marker", "says PG", lambda: packet(MARKER, b"PG") + message(SMALL))


def session_key_messages():
    def esk(path, error, reason, make, **options):
        msg(path, error, reason, lambda: message(SMALL, esk=make, **options))

    esk("no-pkesk", "no-session-key", "encrypted data alone", lambda k: b"")
    esk("five-recipients", "too-many-recipients", "five session keys, ours the last",
        lambda k: pkesk(rand(32), recipient=FOREIGN) * 4 + pkesk(k))
    esk("pkesk-large", "pkesk-too-large", "2,049 bytes, for somebody else",
        lambda k: packet(PKESK, bytes([6, len(FOREIGN)]) + FOREIGN + bytes([99]) + rand(2025)) + pkesk(k))
    esk("pkesk-v3", "pkesk-version", "version 3 does not go with SEIPD version 2", pkesk_v3)
    esk("pkesk-v3-and-v6", "pkesk-version", "version 3 beside a good one", lambda k: pkesk_v3(k) + pkesk(k))
    esk("pkesk-v5", "pkesk-version", "version 5", lambda k: pkesk(k, version=5))

    def old_client():
        key = rand(32)
        return pkesk_v3(key) + seipd_v1(key, SMALL)
    msg("pkesk-v3-seipd-v1", "pkesk-version", "what old clients send", old_client)
    esk("pkesk-recipient-size", "bad-pkesk", "size of a version 6 fingerprint, version 4",
        lambda k: pkesk(k, recipient=OURS + bytes(12)))
    esk("pkesk-recipient-short", "bad-pkesk", "fingerprint cut to a key id", lambda k: pkesk(k, recipient=OURS[:9]))
    esk("pkesk-recipient-v5", "bad-pkesk", "recipient of key version 5",
        lambda k: pkesk(k, recipient=b"\x05" + OURS[1:]))
    esk("pkesk-tail", "bad-pkesk", "a byte too many", lambda k: packet(PKESK, pkesk_body(k) + b"\0"))
    esk("pkesk-short", "bad-pkesk", "a byte too few", lambda k: packet(PKESK, pkesk_body(k)[:-1]))
    esk("pkesk-nothing", "bad-pkesk", "empty packet", lambda k: packet(PKESK, b"") + pkesk(k))
    esk("pkesk-padded", "bad-pkesk", "500 bytes too many", lambda k: packet(PKESK, pkesk_body(k) + bytes(500)))
    esk("anonymous", "anonymous-recipient", "names no recipient", lambda k: pkesk(k, recipient=b""))
    esk("foreign", "unknown-key", "for somebody else", lambda k: pkesk(k, recipient=FOREIGN))
    esk("foreign-v6", "unknown-key", "for a version 6 key", lambda k: pkesk(k, recipient=FOREIGN_V6))
    esk("foreign-twice", "unknown-key", "for two others",
        lambda k: pkesk(k, recipient=FOREIGN) + pkesk(k, recipient=FOREIGN_V6))
    esk("foreign-algorithm", "unknown-key", "for somebody else's unknown algorithm",
        lambda k: pkesk(k, recipient=FOREIGN, algorithm=99))
    esk("primary", "unknown-key", "names the primary key, which does not encrypt",
        lambda k: pkesk(k, recipient=b"\x04" + bytes.fromhex(KEY["fingerprint"])))
    esk("twice", "duplicate-recipient", "two session keys for us", lambda k: pkesk(rand(32)) + pkesk(k))
    for algorithm in (1, 16, 18, 26):
        esk(f"algorithm-{algorithm}", "pkesk-algorithm", f"public key algorithm {algorithm} for our key",
            lambda k, a=algorithm: pkesk(k, algorithm=a))
    p = 2 ** 255 - 19
    order8 = (325606250916557431795983626356110631294008115727848805560023387167927233504,
              39382357235489614581723060781553021112529911719440698176882885853963445705823)
    for i, u in enumerate((0, 1, *order8, p - 1, p, p + 1)):
        esk(f"small-order-{i}", "bad-point", "ephemeral key of small order (shared secret zero)",
            lambda k, u=u: pkesk(k, ephemeral=u.to_bytes(32, "little")))
    esk("wrap-flip", "bad-session-key", "a bit of the wrapped key is flipped",
        lambda k: packet(PKESK, flip(pkesk_body(k), 60)))
    esk("ephemeral-flip", "bad-session-key", "a bit of the ephemeral key is flipped",
        lambda k: packet(PKESK, flip(pkesk_body(k), 30)))
    esk("ephemeral-high-bit", "bad-session-key", "the bit of the ephemeral key that X25519 ignores is flipped",
        high_bit)
    esk("key-16-for-256", "session-key-size", "16-byte session key, AES-256", lambda k: pkesk(k[:16]))
    esk("key-24", "session-key-size", "24-byte session key", lambda k: pkesk(k[:24]))
    esk("key-32-for-128", "session-key-size", "32-byte session key, AES-128", lambda k: pkesk(k + k), cipher=AES128)


def high_bit(session_key):
    """Changes the top bit of the ephemeral key after wrapping: the shared secret stays, the derived key must not."""
    body = bytearray(pkesk_body(session_key))
    body[24 + 31] ^= 0x80
    return packet(PKESK, bytes(body))


def data_messages():
    def change(path, error, reason, edit, data=None, **options):
        msg(path, error, reason, lambda: message(data or literal(plaintext(300)), change=edit, **options))

    def head(at, value):
        def edit(c):
            c.head = c.head[:at] + bytes([value]) + c.head[at + 1:]
        return edit

    def v1():
        key = rand(32)
        return pkesk(key) + seipd_v1(key, SMALL)
    msg("seipd-v1", "seipd-version", "version 1 (CFB and SHA-1)", v1)
    change("seipd-v3", "seipd-version", "version 3", head(0, 3))
    change("aes192", "session-key-size", "AES-192 throughout", None, cipher=AES192)
    for cipher in (0, 1, 2, 3, 4, AES192, 10, 11):
        change(f"cipher-{cipher}", "seipd-cipher", f"cipher {cipher}", head(1, cipher))
    for mode in (0, 1, 4):
        change(f"mode-{mode}", "seipd-mode", f"AEAD mode {mode}", head(2, mode))
    change("chunk-17", "seipd-chunk-size", "chunks of 8 MiB", None, octet=17)
    change("chunk-56", "seipd-chunk-size", "chunks of 2^62 bytes", head(3, 56))
    change("chunk-255", "seipd-chunk-size", "chunks of 2^261 bytes", head(3, 255))
    msg("seipd-empty", "truncated", "encrypted data of zero bytes", lambda: pkesk(rand(32)) + packet(SEIPD, b""))
    msg("seipd-no-chunk", "truncated", "ends after the salt",
        lambda: pkesk(rand(32)) + packet(SEIPD, bytes([2, 9, 3, 0]) + rand(32)))
    msg("seipd-short-salt", "truncated", "ends inside the salt",
        lambda: pkesk(rand(32)) + packet(SEIPD, bytes([2, 9, 3, 0]) + rand(31)))
    change("empty-chunk", "empty-chunk", "an authentic chunk without content at the end",
           None, literal(plaintext(120)), empty_chunk=True)
    msg("empty-first-chunk", "empty-chunk", "nothing but an empty chunk", lambda: message(b"", empty_chunk=True))
    msg("no-chunk", "no-literal", "no chunk, and an authentic final tag", lambda: message(b""))

    def edit_chunk(i, at):
        def edit(c):
            c.chunks[i] = flip(c.chunks[i], at)
        return edit

    def edit_list(function):
        def edit(c):
            c.chunks = function(c.chunks)
        return edit
    for mode, mode_name in ((GCM, ""), (OCB, "-ocb")):
        change("flip-first" + mode_name, "bad-tag", "a bit of the first chunk is flipped", edit_chunk(0, 20), mode=mode)
        change("flip-last" + mode_name, "bad-tag", "a bit of the last chunk is flipped", edit_chunk(-1, 3), mode=mode)
        change("flip-tag" + mode_name, "bad-tag", "a bit of a chunk's tag is flipped", edit_chunk(1, -1), mode=mode)

        def flip_final(c):
            c.final = flip(c.final, 5)
        change("flip-final" + mode_name, "bad-final-tag", "a bit of the final tag is flipped", flip_final, mode=mode)

    def flip_salt(c):
        c.salt = flip(c.salt, 0)
    change("flip-salt", "bad-tag", "a bit of the salt is flipped", flip_salt)
    change("flip-literal-length", "bad-tag", "the literal's length is changed: not told from any other change",
           edit_chunk(0, 1))
    change("flip-literal-tag", "bad-tag", "the literal's packet type is changed: the same", edit_chunk(0, 0))
    change("chunks-swapped", "bad-tag", "first two chunks swapped", edit_list(lambda c: [c[1], c[0]] + c[2:]))
    change("chunk-dropped-first", "bad-tag", "first chunk missing", edit_list(lambda c: c[1:]))
    change("chunk-dropped-middle", "bad-tag", "second chunk missing", edit_list(lambda c: [c[0]] + c[2:]))
    change("chunk-dropped-last", "bad-final-tag", "last chunk missing", edit_list(lambda c: c[:-1]))
    change("chunk-dropped-all", "bad-final-tag", "all chunks missing", edit_list(lambda c: []))
    change("chunk-twice", "bad-tag", "first chunk repeated", edit_list(lambda c: [c[0]] + c))
    change("chunk-last-twice", "bad-tag", "last (whole) chunk repeated", edit_list(lambda c: c + [c[-1]]),
           literal(plaintext(120)))
    change("chunk-size-claimed", "bad-tag", "header claims larger chunks", head(3, 1))
    change("aad", "bad-tag", "chunks authenticated with other data", None, aad_extra=b"x")
    change("suite-claimed", "session-key-size", "header claims AES-128", head(1, AES128))
    change("mode-claimed", "bad-tag", "header claims OCB", head(2, OCB))

    def no_final(c):
        c.final = b""
    change("no-final-tag", "bad-tag", "final tag missing: the last chunk's tag stands in its place", no_final)
    change("no-final-tag-whole", "bad-tag", "the same after a whole chunk", no_final,
           literal(plaintext(120)))
    change("final-size", "bad-final-tag", "final tag over another size", None, size_off=1)
    change("final-index", "bad-final-tag", "final tag with another index", None, index_off=1)

    def final_is_chunk_tag(c):
        c.final = c.chunks[-1][-16:]
    change("final-repeats", "bad-final-tag", "the last chunk's tag again as the final tag", final_is_chunk_tag)


def content_messages():
    def inside(path, error, reason, content, **options):
        msg(path, error, reason, lambda: message(content(), **options))

    def deflated(data):
        z = zlib.compressobj(wbits=-15)
        return packet(COMPRESSED, b"\x01" + z.compress(data) + z.flush())

    inside("compressed", "compressed", "compressed (ZIP)", lambda: deflated(SMALL))
    inside("compressed-not", "compressed", "compressed packet that stores", lambda: packet(COMPRESSED, b"\0" + SMALL))
    inside("signed", "signed", "one-pass signature", lambda: packet(
        ONE_PASS, b"\x03\x00\x0a\x1b" + rand(8) + b"\x01") + SMALL + packet(SIGNATURE, rand(100)))
    inside("signed-old", "signed", "signature first", lambda: packet(SIGNATURE, rand(100)) + SMALL)
    inside("signed-after", "signed", "signature after the literal", lambda: SMALL + packet(SIGNATURE, rand(100)))
    inside("nested", "nested", "an encrypted message inside", lambda: message(SMALL))
    inside("nested-seipd", "nested", "encrypted data inside", lambda: packet(SEIPD, rand(100)))
    inside("nested-after", "nested", "an encrypted message after the literal", lambda: SMALL + message(SMALL))
    inside("only-marker", "no-literal", "nothing but a marker", lambda: packet(MARKER, b"PGP"))
    inside("only-padding", "unexpected-packet", "nothing but padding", lambda: packet(PADDING, rand(30)))
    inside("two-literals", "second-literal", "two literals", lambda: SMALL + SMALL)
    inside("literal-after-padding", "second-literal", "a literal after the padding",
           lambda: SMALL + packet(PADDING, b"") + SMALL)
    inside("padding-first", "unexpected-packet", "padding before the literal", lambda: packet(PADDING, b"") + SMALL)
    inside("padding-twice", "unexpected-packet", "two paddings", lambda: SMALL + packet(PADDING, rand(9)) * 2)
    inside("unknown-critical", "unexpected-packet", "unknown packet type 30", lambda: SMALL + packet(30, b""))
    inside("unknown-private", "unexpected-packet", "private packet type 60", lambda: SMALL + packet(60, b""))
    inside("user-id", "unexpected-packet", "a user id inside", lambda: packet(13, b"TEE-Rex") + SMALL)
    inside("inner-marker", "bad-marker", "a marker inside says PGQ", lambda: packet(MARKER, b"PGQ") + SMALL)
    inside("inner-marker-short", "bad-marker", "a marker inside says PG", lambda: packet(MARKER, b"PG") + SMALL)
    inside("inner-garbage", "not-openpgp", "zeros after the literal", lambda: SMALL + bytes(10))
    for kind in (0, ord("l"), ord("1"), ord("m"), ord("B")):
        inside(f"literal-kind-{kind}", "bad-literal", f"literal format {kind}",
               lambda k=kind: literal(plaintext(100), bytes([k])))
    inside("literal-empty", "bad-literal", "literal of zero bytes", lambda: packet(LITERAL, b""))
    inside("literal-short", "bad-literal", "literal ends in its date", lambda: packet(LITERAL, b"b\0\0\0\0"))
    inside("literal-name-long", "bad-literal", "file name longer than the packet",
           lambda: packet(LITERAL, b"b\x50" + bytes(20)))
    inside("literal-long", "content-length", "literal says one byte more than there is",
           lambda: packet(LITERAL, b"b\0\0\0\0\0" + plaintext(100), says=107))
    inside("literal-no-end", "content-length", "literal in parts without the last one",
           lambda: literal(plaintext(506), parts=[9])[:-1])
    inside("literal-cut", "content-length", "literal ends inside its header", lambda: SMALL[:5])
    inside("literal-short-data", "not-openpgp", "literal says fewer bytes than there are",
           lambda: packet(LITERAL, b"b\0\0\0\0\0" + plaintext(100), says=90))
    inside("padding-long", "content-length", "padding says more bytes than there are",
           lambda: SMALL + packet(PADDING, bytes(50), says=60))
    inside("large", "too-large", f"{LIMIT + 1} bytes", lambda: literal(plaintext(LIMIT + 1)), octet=12)
    inside("large-claimed", "too-large", "says 4 GiB and has 100 bytes",
           lambda: packet(LITERAL, b"b\0\0\0\0\0" + plaintext(100), says=0xFFFFFFFF, form=5))
    inside("large-parts", "too-large", f"{LIMIT + 1} bytes in parts",
           lambda: literal(plaintext(LIMIT + 1), parts=[12] * 16), octet=12)
    inside("large-part-claimed", "too-large", "a first part that says 1 GiB",
           lambda: bytes([0xC0 | LITERAL, 0xE0 | 30]) + b"b\0\0\0\0\0" + plaintext(600), octet=12)


# --- certificates ---------------------------------------------------------------------------------------------


class Certificate:
    """The parts of the test key's certificate. Methods put them together anew, signed, so that a change of one
    part leaves everything else valid."""

    def __init__(self):
        self.signer = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(KEY["ed25519_secret"]))
        self.binder = self.signer
        self.created = self.signed = self.bound = int(KEY["created"])
        self.versions = [4, 4]
        self.algorithms = [27, 25]
        self.keys = [bytes.fromhex(KEY["ed25519_public"]), RECIPIENT]
        self.user_id = b"TEE-Rex"
        self.types = [0x13, 0x18]
        self.fields = dict(version=4, algorithm=27, hash=10, unhashed=b"")
        self.issuer = None
        self.features, self.suites, self.flags = b"\x08", bytes([9, 3, 9, 2, 7, 3, 7, 2]), b"\x0c"
        self.more = [b"", b""]
        self.drop = []
        self.edit_self = self.edit_binding = lambda body: body

    def body(self, i):
        return bytes([self.versions[i]]) + struct.pack(">IB", self.created, self.algorithms[i]) + self.keys[i]

    def subpackets(self, i, time):
        issuer = self.issuer or b"\x04" + make_key.fingerprint(self.body(0))
        out = b"" if 2 in self.drop else make_key.subpacket(2, struct.pack(">I", time))
        out += b"" if 33 in self.drop else make_key.subpacket(33, issuer)
        chosen = ((30, self.features), (39, self.suites)) if i == 0 else ((27, self.flags),)
        return out + b"".join(make_key.subpacket(t, v) for t, v in chosen if v is not None) + self.more[i]

    def signature(self, i, signer, time, signed):
        f = self.fields
        subpackets = self.subpackets(i, time)
        hashed = bytes([f["version"], self.types[i], f["algorithm"], f["hash"]]) + struct.pack(">H", len(subpackets))
        hashed += subpackets
        digest = hashlib.new("sha256" if f["hash"] == 8 else "sha512",
                             signed + hashed + b"\x04\xff" + struct.pack(">I", len(hashed))).digest()
        return hashed + struct.pack(">H", len(f["unhashed"])) + f["unhashed"] + digest[:2] + signer.sign(digest)

    def packets(self):
        primary, subkey = self.body(0), self.body(1)
        uid = b"\xb4" + struct.pack(">I", len(self.user_id)) + self.user_id
        primary_hashed, subkey_hashed = make_key.hashed_key(primary), make_key.hashed_key(subkey)
        return [packet(6, primary), packet(13, self.user_id),
                packet(2, self.edit_self(self.signature(0, self.signer, self.signed, primary_hashed + uid))),
                packet(14, subkey),
                packet(2, self.edit_binding(self.signature(1, self.binder, self.bound,
                                                           primary_hashed + subkey_hashed)))]

    def binary(self):
        return b"".join(self.packets())

    def armored(self):
        return make_key.armor("PUBLIC KEY BLOCK", self.binary())


def cert(path, error, reason, **parts):
    c = Certificate()
    for part, value in parts.items():
        assert hasattr(c, part), part
        setattr(c, part, value)
    add(path + ".asc", error, reason, c.armored().encode())


def armor_certificates():
    good = Certificate().armored()

    def text(path, reason, content, error="bad-armor"):
        assert content != good, path
        add("armor-" + path + ".asc", error, reason, content.encode("latin-1"))

    lines = good.split("\n")
    text("empty", "no byte at all", "")
    text("begin", "another kind of block", good.replace("PUBLIC KEY BLOCK", "MESSAGE"))
    text("end", "another kind of block at the end", good.replace("END PGP PUBLIC", "END PGP PRIVATE"))
    text("before", "text before", "Hello\n" + good)
    text("after", "text after", good + "Hello\n")
    text("newline-after", "an empty line after", good + "\n")
    text("header", "an armor header", good.replace("-----\n\n", "-----\nVersion: 1\n\n", 1))
    text("no-gap", "no empty line after the first", good.replace("\n\n", "\n", 1))
    text("crlf", "lines end in CR LF", good.replace("\n", "\r\n"))
    text("gap", "an empty line inside", good.replace("\n" + lines[4], "\n\n" + lines[4]))
    text("space", "a space at the end of a line", good.replace("\n" + lines[4], " \n" + lines[4]))
    text("long-line", "all on one line", "\n".join(lines[:2] + ["".join(lines[2:-3])] + lines[-3:]))
    text("character", "a character outside base64", good.replace(lines[3], "*" + lines[3][1:]))
    text("high", "a byte outside ASCII", good.replace(lines[3], "\xe9" + lines[3][1:]))
    text("no-crc", "no checksum", "\n".join(lines[:-3] + lines[-2:]))
    text("crc-short", "checksum of two bytes", good.replace("\n" + lines[-3], "\n=AAA="))
    text("crc", "another checksum", good.replace("\n" + lines[-3], "\n=AAAA"), error="bad-crc")
    text("bit", "a bit flipped, checksum kept", good.replace(lines[3], ("B" if lines[3][0] == "A" else "A") +
                                                            lines[3][1:]), error="bad-crc")
    text("cut", "the last line is missing", "\n".join(lines[:-2]) + "\n")
    text("cut-middle", "ends in the middle", good[:200])
    text("two", "two certificates", good + good)
    zero = make_key.armor("PUBLIC KEY BLOCK", b"")
    text("nothing", "armor around nothing", zero, error="key-layout")


def layout_certificates():
    c = Certificate()
    primary, uid, self_signature, subkey, binding = c.packets()

    def packets(path, reason, *parts, error="key-layout"):
        add(path + ".asc", error, reason, make_key.armor("PUBLIC KEY BLOCK", b"".join(parts)).encode())

    packets("no-binding", "the last signature is missing", primary, uid, self_signature, subkey)
    packets("no-subkey", "no subkey", primary, uid, self_signature)
    packets("no-user-id", "no user id", primary, self_signature, subkey, binding)
    packets("order", "subkey before the user id", primary, subkey, binding, uid, self_signature)
    packets("two-user-ids", "two user ids", primary, uid, self_signature, uid, self_signature, subkey, binding)
    packets("two-signatures", "the self-signature twice", primary, uid, self_signature, self_signature, subkey, binding)
    packets("two-certificates", "a second certificate", c.binary(), c.binary(), error="key-too-large")
    packets("marker", "a marker packet first", packet(MARKER, b"PGP"), c.binary())
    packets("trailing-marker", "a marker packet last", c.binary(), packet(MARKER, b"PGP"))
    packets("trailing-byte", "a byte too many", c.binary(), b"\0")
    packets("cut", "a byte too few", c.binary()[:-1])
    packets("old-format", "legacy header", old_packet(6, c.body(0)), uid, self_signature, subkey, binding)
    packets("secret", "a secret key", packet(5, c.body(0) + b"\0" + rand(32) + b"\0\0"), uid, self_signature, subkey,
            binding)
    packets("revoked", "a key revocation after the primary key", primary, packet(2, rand(100)), uid, self_signature,
            subkey, binding)
    packets("large", "a user id of 400 bytes", primary, packet(13, b"T" * 400), self_signature, subkey, binding,
            error="key-too-large")


def key_certificates():
    cert("good", "ok", "as the prover publishes it")
    cert("good-features", "ok", "offers SEIPD version 1 as well", features=b"\x09")
    cert("good-one-suite", "ok", "lists AES-256-GCM only", suites=bytes([9, 3]))
    cert("good-later", "ok", "signatures younger than the keys", signed=int(KEY["created"]) + 9,
         bound=int(KEY["created"]) + 99)
    for version in (3, 5, 6):
        cert(f"key-v{version}", "bad-key", f"primary key of version {version}", versions=[version, 4])
    cert("subkey-v6", "bad-key", "subkey of version 6", versions=[4, 6])
    cert("key-legacy", "bad-key", "primary key of algorithm 22", algorithms=[22, 25])
    cert("key-x25519", "bad-key", "primary key of algorithm X25519", algorithms=[25, 25])
    cert("subkey-ed25519", "bad-key", "subkey of algorithm Ed25519", algorithms=[27, 27])
    cert("subkey-ecdh", "bad-key", "subkey of algorithm 18", algorithms=[27, 18])
    ours = Certificate().keys
    cert("key-long", "bad-key", "primary key of 33 bytes", keys=[ours[0] + b"\0", ours[1]])
    cert("subkey-short", "bad-key", "subkey of 31 bytes", keys=[ours[0], ours[1][:31]])
    for i, user_id in enumerate((b"", b"TEE-Rex ", b"tee-rex", b"TEE-Rex\0", b"Somebody <s@example.org>")):
        cert(f"user-id-{i}", "bad-user-id", f"user id {user_id!r}", user_id=user_id)

    def field(path, reason, **fields):
        cert(path, "bad-signature", reason, fields={**Certificate().fields, **fields})
    for version in (3, 5, 6):
        field(f"signature-v{version}", f"signatures of version {version}", version=version)
    field("signature-legacy", "signatures of algorithm 22", algorithm=22)
    field("signature-sha256", "signatures over SHA-256", hash=8)
    field("signature-unhashed", "an unhashed subpacket", unhashed=make_key.subpacket(16, bytes(8)))
    cert("signature-long", "bad-signature", "a byte too many", edit_self=lambda body: body + b"\0")
    cert("signature-short", "bad-signature", "a byte too few", edit_binding=lambda body: body[:-1])
    for kind in (0x10, 0x12, 0x18, 0x30):
        cert(f"type-{kind:x}", "signature-type", f"type {kind:#x} over the user id", types=[kind, 0x18])
    for kind in (0x13, 0x19, 0x28):
        cert(f"binding-type-{kind:x}", "signature-type", f"type {kind:#x} over the subkey", types=[0x13, kind])


def subpacket_certificates():
    def sub(path, reason, **parts):
        cert("subpacket-" + path, "bad-subpacket", reason, **parts)

    issuer = b"\x04" + bytes.fromhex(KEY["fingerprint"])
    time = struct.pack(">I", int(KEY["created"]))
    sub("no-time", "no creation time", drop=[2])
    sub("no-issuer", "no issuer", drop=[33])
    sub("two-times", "creation time twice", more=[make_key.subpacket(2, time), b""])
    sub("two-issuers", "issuer twice", more=[b"", make_key.subpacket(33, issuer)])
    sub("two-flags", "key flags twice", more=[b"", make_key.subpacket(27, b"\x0c")])
    for kind, value in ((3, time), (9, time), (11, b"\x09"), (22, b"\x01"), (25, b"\x01"), (32, b"x"), (110, b"x")):
        sub(f"{kind}", f"subpacket {kind}", more=[make_key.subpacket(kind, value), b""])
        sub(f"{kind}-binding", f"subpacket {kind} in the binding", more=[b"", make_key.subpacket(kind, value)])
    sub("critical", "a critical unknown subpacket", more=[make_key.subpacket(0x80 | 110, b"x"), b""])
    sub("zero", "a subpacket of size zero", more=[b"\0", b""])
    sub("type-only", "a subpacket without value", more=[b"\x01\x1b", b""])
    sub("over", "a subpacket longer than its area", more=[b"\x09\x1b\x0c", b""])
    sub("cut", "ends after a size", more=[b"\x09", b""])
    sub("long-length", "a size in the two-octet form", more=[b"\xc0\x1b" + bytes(191), b""])
    sub("time-5", "creation time of five bytes", drop=[2], more=[make_key.subpacket(2, time + b"\0")] * 2)
    sub("issuer-v6", "issuer of version 6", issuer=b"\x06" + bytes(32))
    sub("issuer-version", "issuer of version 6, of the size of version 4", issuer=b"\x06" + issuer[1:])
    sub("issuer-short", "issuer cut to a key id", issuer=issuer[:9])
    sub("suites-odd", "list of suites of three bytes", suites=b"\x09\x03\x09")
    created = int(KEY["created"])
    cert("time-self", "bad-time", "self-signature older than the key", signed=created - 1)
    cert("time-binding", "bad-time", "binding older than the key", bound=created - 1)
    cert("issuer", "bad-issuer", "issuer is another key", issuer=b"\x04" + bytes(20))
    cert("issuer-subkey", "bad-issuer", "issuer is the subkey", issuer=OURS)
    for path, reason, parts in (
            ("no-features", "no features", dict(features=None)),
            ("features-1", "offers SEIPD version 1 only", dict(features=b"\x01")),
            ("features-long", "features of two bytes", dict(features=b"\x08\x00")),
            ("no-suites", "no list of suites", dict(suites=None)),
            ("suites-ocb", "lists OCB only", dict(suites=bytes([9, 2, 7, 2]))),
            ("suites-shifted", "09 03 at an odd place only", dict(suites=bytes([7, 9, 3, 2]))),
            ("flags-self", "key flags on the primary key", dict(more=[make_key.subpacket(27, b"\x01"), b""])),
            ("no-flags", "no key flags on the subkey", dict(flags=None)),
            ("flags-4", "subkey encrypts communications only", dict(flags=b"\x04")),
            ("flags-sign", "subkey signs", dict(flags=b"\x0e")),
            ("flags-long", "key flags of two bytes", dict(flags=b"\x0c\x00")),
            ("features-binding", "features in the binding", dict(more=[b"", make_key.subpacket(30, b"\x08")]))):
        cert("preferences-" + path, "key-preferences", reason, **parts)


def signature_certificates():
    other = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"another signer").digest())
    for path, error, edit, signer in (("self", "certification", "edit_self", "signer"),
                                      ("binding", "binding", "edit_binding", "binder")):
        cert(f"sig-{path}-other", error, "signed by another key", **{signer: other})
        cert(f"sig-{path}-r", error, "a bit flipped in R", **{edit: lambda body: flip(body, len(body) - 60)})
        cert(f"sig-{path}-s", error, "a bit flipped in S", **{edit: lambda body: flip(body, len(body) - 5)})
        cert(f"sig-{path}-left", error, "other first bytes of the digest", **{edit: lambda body: flip(body, len(body) - 65)})
        cert(f"sig-{path}-time", error, "creation time changed after signing", **{edit: lambda body: flip(body, 8 + 3)})

        def add_order(body):
            s = int.from_bytes(body[-32:], "little") + 2 ** 252 + 27742317777372353535851937790883648493
            return body[:-32] + s.to_bytes(32, "little")
        cert(f"sig-{path}-malleable", error, "S is not reduced", **{edit: add_order})
    c = Certificate()
    c.user_id = b"TEE-Ref"
    parts = c.packets()
    parts[1] = packet(13, b"TEE-Rex")
    add("sig-self-user-id.asc", "certification", "signed for another user id",
        make_key.armor("PUBLIC KEY BLOCK", b"".join(parts)).encode())
    c = Certificate()
    parts = c.packets()
    c.keys[1] = make_key.raw_public(x25519.X25519PrivateKey.from_private_bytes(hashlib.sha256(b"mallory").digest()))
    parts[3] = c.packets()[3]
    add("sig-binding-subkey.asc", "binding", "signed for another subkey",
        make_key.armor("PUBLIC KEY BLOCK", b"".join(parts)).encode())


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: make_attacks.py OUTDIR")
    accepted_messages()
    framing_messages()
    session_key_messages()
    data_messages()
    content_messages()
    begin("certificates")
    armor_certificates()
    layout_certificates()
    key_certificates()
    subpacket_certificates()
    signature_certificates()
    os.makedirs(sys.argv[1], exist_ok=True)
    for path, (content, _, _) in files.items():
        with open(os.path.join(sys.argv[1], path), "wb") as f:
            f.write(content)
    with open(os.path.join(sys.argv[1], "manifest.txt"), "w") as f:
        for path, (_, error, reason) in sorted(files.items()):
            f.write(f"{path} {error} {reason}\n")


if __name__ == "__main__":
    main()
