#!/usr/bin/python3
"""Writes tests/vectors/eif: enclave images, one per reason to refuse one, and a few good ones.

    tests/vectors/make_eifs.py [DIR]            (default: eif, beside this file)

Independent of the C code: images are packed here from the format's description, checksums and digests are Python's, CBOR and
DER are written by hand so that they can be written wrongly. Every image is valid in all other respects: the checksum is made
again and the signature too. Keys and signatures are derived from constants, so the same script writes the same bytes.

manifest.txt: file, exit status of `tee-rex describe`, code, reason (separated by tabs). Also a module: test_eif.py packs its own
images with it."""
import base64
import hashlib
import json
import pathlib
import struct
import sys
import zlib

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from make_docs import Cert, bits, ec_key, integer, name_of, oid, public, raw, seconds, seq, sign_pair, key, tlv

KERNEL, CMDLINE, RAMDISK, SIGNATURE, METADATA = 1, 2, 3, 4, 5
ARM64 = 1
HEADER, SECTION_HEADER = 548, 12
ZERO = bytes(48)


def sha384(data):
    return hashlib.sha384(data).digest()


def extend(data):
    return sha384(ZERO + data)


def registers(parts):
    """PCR0, PCR1, PCR2 of [(type, payload)] in file order."""
    boot = [p for t, p in parts if t in (KERNEL, CMDLINE)]
    ramdisks = [p for t, p in parts if t == RAMDISK]
    return (extend(sha384(b"".join(boot + ramdisks))), extend(sha384(b"".join(boot + ramdisks[:1]))),
            extend(sha384(b"".join(ramdisks[1:]))))


class Image:
    """An image to be. Any field may be replaced before pack() computes the checksum."""

    def __init__(self, parts, flags=0):
        self.parts = parts                # [(type, payload)]
        self.magic, self.version, self.flags = b".eif", 4, flags
        self.memory, self.cpus, self.reserved, self.unused = 1 << 30, 2, 0, 0
        self.count = None                 # None: as many as there are
        self.offsets = self.sizes = None  # functions that change the list in place
        self.section_headers = {}         # index: (type, flags, size)
        self.between = {}                 # index: bytes before that section
        self.tail = b""
        self.crc_flip = 0

    def pack(self):
        at, offsets, sizes, body = HEADER, [], [], b""
        for i, (kind, payload) in enumerate(self.parts):
            gap = self.between.get(i, b"")
            head = self.section_headers.get(i, (kind, 0, len(payload)))
            body += gap
            at += len(gap)
            offsets.append(at)
            sizes.append(len(payload))
            body += struct.pack(">HHQ", *head) + payload
            at += SECTION_HEADER + len(payload)
        count = len(self.parts) if self.count is None else self.count
        offsets += [0] * (32 - len(offsets))
        sizes += [0] * (32 - len(sizes))
        if self.offsets:
            self.offsets(offsets)
        if self.sizes:
            self.sizes(sizes)
        header = self.magic + struct.pack(">HHQQHH32Q32QI", self.version, self.flags, self.memory, self.cpus, self.reserved,
                                          count, *offsets[:32], *sizes[:32], self.unused)
        body += self.tail
        return header + struct.pack(">I", zlib.crc32(header + body) ^ self.crc_flip) + body


# --- parts ---------------------------------------------------------------------------------------

def bzimage(release=b"6.12.9-test (a@b) #1 SMP"):
    k = bytearray(0x300)
    k[0x1f1] = 1
    k[0x1fe:0x200] = b"\x55\xaa"
    k[0x202:0x206] = b"HdrS"
    k[0x206:0x208] = struct.pack("<H", 0x20f)
    k[0x20e:0x210] = struct.pack("<H", 0x80)
    k[0x280:0x280 + len(release)] = release
    return bytes(k)


def arm64_image(text_offset=0x200000, banner=b"Linux version 6.12.9-arm (a@b) #1 SMP"):
    k = bytearray(256)
    k[0:4] = b"MZ\0\x91"
    k[8:16] = struct.pack("<Q", text_offset)
    k[56:60] = b"ARM\x64"
    return bytes(k) + banner + bytes(64)


def identity(**changes):
    m = {"ImageName": "test", "ImageVersion": "1.0",
         "BuildMetadata": {"BuildTime": "2026-01-01T00:00:00+00:00", "BuildTool": "make_eifs", "BuildToolVersion": "1",
                           "OperatingSystem": "Linux", "KernelVersion": "6.12.9"},
         "DockerInfo": {}, "CustomMetadata": None}
    m.update(changes)
    return m


def metadata(**changes):
    return json.dumps(identity(**changes), separators=(",", ":")).encode()


LINE = b"reboot=k panic=-1 pci=off console=ttyS0"
BOOT, APP = b"070701 boot ramdisk\n", b"070701 application ramdisk\n"
MEASURED = [(KERNEL, bzimage()), (CMDLINE, LINE), (METADATA, metadata()), (RAMDISK, BOOT), (RAMDISK, APP)]
PCR0 = registers(MEASURED)[0]


# --- signatures -----------------------------------------------------------------------------------

SINCE, UNTIL = seconds("2020-01-01 00:00:00"), seconds("2120-01-01 00:00:00")


def certificate(name="image signer", **changes):
    c = Cert(name, since=SINCE, until=UNTIL)
    for k, v in changes.items():
        setattr(c, k, v)
    return c


def pem(der):
    lines = base64.b64encode(der).decode()
    text = "\n".join(lines[i:i + 64] for i in range(0, len(lines), 64))
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n".encode()


def octets(b, as_array=True):
    return list(b) if as_array else b


def signed_map(pcr0, index=0, as_array=True):
    return cbor2.dumps({"register_index": index, "register_value": octets(pcr0, as_array)})


def cose(payload, d, protected=b"\xa1\x01\x38\x22", unprotected=b"\xa0", hash_name="sha384", change=lambda s: s):
    tbs = cbor2.dumps(["Signature1", protected, b"", payload])
    signature = change(raw(sign_pair(d, tbs, hash_name)))
    return b"\x84" + cbor2.dumps(protected) + unprotected + cbor2.dumps(payload) + cbor2.dumps(signature)


def section(pcr0=None, cert=None, message=None, as_array=True, pem_text=None):
    cert = cert or certificate()
    message = message if message is not None else cose(signed_map(pcr0 or PCR0, as_array=as_array), cert.d)
    return cbor2.dumps([{"signing_certificate": octets(pem_text or pem(cert.der()), as_array),
                         "signature": octets(message, as_array)}])


# --- the cases --------------------------------------------------------------------------------------

cases = {}           # file: (content, exit status, code, reason)


def case(name, code, reason, image):
    content = image.pack() if isinstance(image, Image) else image
    assert name not in cases
    cases[name + ".eif"] = (content, 0 if code == "ok" else 1, code, reason)


def image(change=None, parts=None, flags=0, **fields):
    i = Image(list(parts or MEASURED), flags)
    for k, v in fields.items():
        setattr(i, k, v)
    if change:
        change(i)
    return i


def put(index, value):
    def change(values):
        values[index] = value
    return change


def without(kind):
    return [p for p in MEASURED if p[0] != kind]


def replaced(kind, payload):
    return [(t, payload if t == kind else p) for t, p in MEASURED]


def with_signature(payload):
    return image(parts=MEASURED + [(SIGNATURE, payload)])


def good_cases():
    case("good", "ok", "x86-64, not signed", image())
    case("good-one-ramdisk", "ok", "PCR2 of nothing", image(parts=MEASURED[:4]))
    case("good-arm64", "ok", "arm64, raw Image with text_offset 2 MiB", image(parts=replaced(KERNEL, arm64_image()), flags=ARM64))
    case("good-signed", "ok", "signed; byte strings as arrays of integers, as the stock tools write", with_signature(section()))
    case("good-signed-bytes", "ok", "signed; byte strings as byte strings", with_signature(section(as_array=False)))
    v1 = certificate("version 1", version=b"", extensions=[])
    case("good-signed-v1", "ok", "signed with a version 1 certificate, as the documented commands make", with_signature(section(cert=v1)))
    case("good-metadata-last", "ok", "sections that are not measured may be anywhere",
         image(parts=[(SIGNATURE, section())] + without(METADATA) + [(METADATA, metadata())]))
    case("good-cmdline-zero", "ok", "command line with its final zero", image(parts=replaced(CMDLINE, LINE + b"\0")))
    case("good-cmdline-empty", "ok", "empty command line", image(parts=replaced(CMDLINE, b"")))
    case("good-custom", "ok", "custom metadata, of which one member would hide another",
         image(parts=replaced(METADATA, metadata(ImageName="n\u00e4me\u009b2J", CustomMetadata={"Team": "x", "BuildTool": "forged"}))))
    case("good-32-sections", "ok", "as many as there are slots", image(parts=MEASURED[:3] + [(RAMDISK, BOOT)] * 29))


def header_cases():
    good = image().pack()
    case("truncated-empty", "eif-truncated", "empty file", b"")
    case("truncated-header", "eif-truncated", "547 bytes", good[:547])
    case("truncated", "eif-out-of-range", "last byte missing", good[:-1])
    case("magic", "eif-bad-magic", ".elf", image(magic=b".elf"))
    case("magic-short", "eif-bad-magic", "another file, shorter than a header", b"#!/bin/sh\n")
    case("version-3", "eif-bad-version", "version 3", image(version=3))
    case("version-5", "eif-bad-version", "version 5", image(version=5))
    case("flags", "eif-bad-flags", "bit 1", image(flags=2))
    case("reserved", "eif-bad-reserved", "the 16-bit field", image(reserved=1))
    case("unused", "eif-bad-reserved", "the 32-bit field", image(unused=0x80000000))
    case("no-sections", "eif-no-sections", "count 0", image(count=0))
    case("33-sections", "eif-too-many-sections", "count 33", image(count=33))
    case("65535-sections", "eif-too-many-sections", "count 65535", image(count=65535))
    case("slot-offset", "eif-bad-slot", "an offset in an unused slot", image(offsets=put(31, 548)))
    case("slot-size", "eif-bad-slot", "a size in an unused slot", image(sizes=put(5, 1)))
    case("count-short", "eif-bad-slot", "count hides the last section", image(count=4))
    case("in-header", "eif-section-in-header", "first section at 547", image(offsets=put(0, 547)))
    case("unsorted", "eif-sections-unsorted", "two offsets swapped",
         image(offsets=lambda o: o.__setitem__(slice(1, 3), [o[2], o[1]])))
    case("overlap", "eif-sections-overlap", "a size one too large", image(sizes=lambda s: s.__setitem__(0, s[0] + 1)))
    case("same-offset", "eif-sections-overlap", "two sections at one place", image(offsets=put(1, 548)))
    case("offset-wraps", "eif-out-of-range", "offset 2^64 - 1", image(offsets=put(1, 2**64 - 1)))
    case("size-wraps", "eif-out-of-range", "size 2^64 - 560: offset + 12 + size wraps to 0", image(sizes=put(0, 2**64 - 560)))
    case("size-huge", "eif-out-of-range", "a ramdisk of 16 EiB", image(sizes=put(4, 2**64 - 1)))
    case("size-beyond", "eif-out-of-range", "the last size one too large", image(sizes=lambda s: s.__setitem__(4, s[4] + 1)))
    case("gap", "eif-gap", "four bytes between two sections", image(between={2: bytes(4)}))
    case("gap-first", "eif-gap", "a byte before the first", image(between={0: b"\0"}))
    case("trailing", "eif-trailing-bytes", "a zero after the last section", image(tail=b"\0"))
    case("trailing-section", "eif-trailing-bytes", "a section that the table does not list",
         image(tail=struct.pack(">HHQ", RAMDISK, 0, 4) + b"evil"))
    case("crc", "eif-bad-crc", "checksum off by a bit", image(crc_flip=1))
    flipped = bytearray(good)
    flipped[-3] ^= 4
    case("flip", "eif-bad-crc", "a bit of the last ramdisk", bytes(flipped))


def section_cases():
    case("type-0", "eif-bad-section-type", "type 0", image(section_headers={3: (0, 0, len(BOOT))}))
    case("type-6", "eif-bad-section-type", "type 6", image(section_headers={3: (6, 0, len(BOOT))}))
    case("section-flags", "eif-bad-section-flags", "a flag", image(section_headers={0: (KERNEL, 1, len(bzimage()))}))
    case("sizes-disagree", "eif-sizes-disagree", "section header one less than the table", image(section_headers={4: (RAMDISK, 0, len(APP) - 1)}))
    case("sizes-disagree-huge", "eif-sizes-disagree", "section header 2^64 - 1", image(section_headers={4: (RAMDISK, 0, 2**64 - 1)}))
    case("empty-kernel", "eif-empty-section", "kernel", image(parts=replaced(KERNEL, b"")))
    case("empty-first-ramdisk", "eif-empty-section", "moves what PCR1 covers", image(parts=MEASURED[:3] + [(RAMDISK, b"")] + MEASURED[3:]))
    case("empty-signature", "eif-empty-section", "signature", with_signature(b""))
    case("empty-metadata", "eif-empty-section", "metadata", image(parts=replaced(METADATA, b"")))
    case("cmdline-large", "eif-cmdline-too-large", "2,049 bytes", image(parts=replaced(CMDLINE, b"a" * 2049)))
    case("signature-large", "eif-signature-too-large", "32,769 bytes", with_signature(b"\x59\x7f\xfe" + bytes(32766)))
    for kind, name in (KERNEL, "kernel"), (CMDLINE, "cmdline"), (RAMDISK, "ramdisk"), (METADATA, "metadata"):
        case("no-" + name, "eif-no-" + name, "missing", image(parts=without(kind)))
    for at, name in (0, "kernels"), (1, "cmdlines"), (2, "metadata"):
        case("two-" + name, "eif-two-" + name, "twice", image(parts=MEASURED[:at] + [MEASURED[at]] + MEASURED[at:]))
    case("two-signatures", "eif-two-signatures", "the second would be another's",
         image(parts=MEASURED + [(SIGNATURE, section())] * 2))
    k, c, m, r, a = MEASURED
    case("cmdline-first", "eif-wrong-order", "command line before kernel", image(parts=[c, k, m, r, a]))
    case("ramdisk-first", "eif-wrong-order", "ramdisk before kernel", image(parts=[r, k, c, m, a]))
    case("cmdline-last", "eif-wrong-order", "command line after ramdisks", image(parts=[k, m, r, a, c]))
    case("cmdline-hidden", "eif-bad-cmdline", "what follows a zero is measured but not used", image(parts=replaced(CMDLINE, LINE + b"\0init=/x")))
    case("kernel-elf", "eif-kernel-not-bzimage", "vmlinux", image(parts=replaced(KERNEL, b"\x7fELF" + bytes(1020))))
    case("kernel-short", "eif-kernel-not-bzimage", "shorter than its header", image(parts=replaced(KERNEL, bzimage()[:0x204])))
    case("kernel-arm64-on-x86", "eif-kernel-not-bzimage", "architectures mixed up", image(parts=replaced(KERNEL, arm64_image())))
    case("kernel-x86-on-arm64", "eif-kernel-not-image", "architectures mixed up", image(flags=ARM64))
    case("arm64-gzip", "eif-kernel-not-image", "Image.gz", image(parts=replaced(KERNEL, b"\x1f\x8b\x08" + bytes(200)), flags=ARM64))
    case("arm64-offset-0", "eif-kernel-text-offset", "text_offset 0, as unpatched kernels have",
         image(parts=replaced(KERNEL, arm64_image(0)), flags=ARM64))
    case("arm64-offset-512k", "eif-kernel-text-offset", "text_offset 512 KiB, as old kernels had",
         image(parts=replaced(KERNEL, arm64_image(0x80000)), flags=ARM64))


def metadata_cases():
    def m(name, code, reason, payload):
        case("metadata-" + name, code, reason, image(parts=replaced(METADATA, payload)))
    m("text", "metadata-not-json", "not JSON", b"hello")
    m("cut", "metadata-not-json", "cut", metadata()[:-1])
    m("after", "metadata-not-json", "more after the object", metadata() + b"{}")
    m("utf8", "metadata-not-json", "not UTF-8", metadata().replace(b'"test"', b'"\xff\xfe"'))
    m("twice", "metadata-not-json", "a name twice", metadata().replace(b'{"ImageName"', b'{"ImageName":"other","ImageName"'))
    m("deep", "metadata-not-json", "100,000 arrays in one another", b"[" * 100_000)
    m("array", "metadata-not-object", "an array", b"[]")
    m("no-name", "metadata-bad-member", "no ImageName", json.dumps({k: v for k, v in identity().items() if k != "ImageName"}).encode())
    m("number", "metadata-bad-member", "ImageVersion is a number", metadata(ImageVersion=1))
    m("no-build", "metadata-bad-member", "BuildMetadata is null", metadata(BuildMetadata=None))
    m("build-time", "metadata-bad-member", "no BuildTime",
      metadata(BuildMetadata={k: v for k, v in identity()["BuildMetadata"].items() if k != "BuildTime"}))
    m("no-docker", "metadata-bad-member", "no DockerInfo", json.dumps({k: v for k, v in identity().items() if k != "DockerInfo"}).encode())


def signature_cases():
    signer = certificate()
    good_cose, good_pem = cose(signed_map(PCR0), signer.d), pem(signer.der())

    def s(name, code, reason, payload):
        case("signature-" + name, code, reason, with_signature(payload))

    def message(name, code, reason, content):
        s(name, code, reason, section(message=content))

    def entry(*pairs):
        return b"\x81" + bytes([0xa0 + len(pairs)]) + b"".join(cbor2.dumps(k) + v for k, v in pairs)
    cert_pair, sig_pair = ("signing_certificate", cbor2.dumps(list(good_pem))), ("signature", cbor2.dumps(list(good_cose)))
    s("cut", "signature-not-cbor", "cut", section()[:-1])
    s("indefinite", "signature-not-cbor", "an array of indefinite length", b"\x9f" + section()[1:] + b"\xff")
    s("tagged", "signature-not-cbor", "a tag", b"\xd2" + section())
    s("long-head", "signature-not-cbor", "a length in a longer form than needed", b"\x98\x01" + section()[1:])
    s("count", "signature-not-cbor", "claims 2^64 - 1 elements", b"\x81\xa1\x69signature\x9b" + b"\xff" * 8)
    s("map", "signature-not-list", "a map", section()[1:])
    s("empty", "signature-empty", "no entry", b"\x80")
    s("second", "signature-second", "two entries", b"\x82" + section()[1:] * 2)
    s("entry-list", "signature-not-map", "the entry is a list", cbor2.dumps([[list(good_pem), list(good_cose)]]))
    s("unknown-key", "signature-unknown-key", "a third member", entry(cert_pair, sig_pair, ("note", b"\x60")))
    s("duplicate-key", "signature-duplicate-key", "two signatures in one entry", entry(cert_pair, sig_pair, sig_pair))
    s("no-certificate", "signature-missing-key", "no certificate", entry(sig_pair))
    s("no-signature", "signature-missing-key", "no signature", entry(cert_pair))
    s("text", "signature-bad-bytes", "the certificate as text", entry(("signing_certificate", cbor2.dumps(good_pem.decode())), sig_pair))
    s("integer-256", "signature-bad-bytes", "an element of 256", entry(("signing_certificate", cbor2.dumps([256] + list(good_pem))), sig_pair))
    s("integer-negative", "signature-bad-bytes", "an element of -1", entry(cert_pair, ("signature", cbor2.dumps([-1]))))
    s("trailing", "signature-trailing-bytes", "a byte after the list", section() + b"\0")
    message("cose-tagged", "signature-bad-cose", "COSE_Sign1 with its tag", b"\xd2" + good_cose)
    message("cose-empty", "signature-bad-cose", "nothing", b"")
    message("cose-unprotected", "signature-bad-cose", "a header that nobody signs", cose(signed_map(PCR0), signer.d, unprotected=b"\xa1\x04\x41\x01"))
    message("cose-crit", "signature-bad-cose", "a critical header", cose(signed_map(PCR0), signer.d, b"\xa2\x01\x38\x22\x02\x81\x04"))
    message("cose-der", "signature-bad-cose", "the signature in DER",
            cose(signed_map(PCR0), signer.d, change=lambda b: seq(integer(int.from_bytes(b[:48], "big")), integer(int.from_bytes(b[48:], "big")))))
    message("es256", "signature-bad-algorithm", "ES256 in the header", cose(signed_map(PCR0), signer.d, b"\xa1\x01\x26"))
    message("no-algorithm", "signature-bad-algorithm", "an empty header", cose(signed_map(PCR0), signer.d, b""))
    message("payload-text", "signature-bad-payload", "signs text", cose(cbor2.dumps("PCR0"), signer.d))
    message("payload-more", "signature-bad-payload", "signs a third member",
            cose(cbor2.dumps({"register_index": 0, "register_value": list(PCR0), "x": 1}), signer.d))
    message("payload-trailing", "signature-bad-payload", "a byte after the map", cose(signed_map(PCR0) + b"\0", signer.d))
    message("register-1", "signature-wrong-register", "signs PCR1", cose(signed_map(registers(MEASURED)[1], 1), signer.d))
    message("index-1", "signature-wrong-register", "PCR0's value as PCR1", cose(signed_map(PCR0, 1), signer.d))
    message("value-47", "signature-bad-value", "47 bytes", cose(signed_map(PCR0[:47]), signer.d))
    message("value-49", "signature-bad-value", "49 bytes", cose(signed_map(PCR0 + b"\0"), signer.d))
    message("other-image", "signature-wrong-value", "another image's signature", cose(signed_map(sha384(b"another")), signer.d))
    message("forged", "signature-forged", "another key's signature", cose(signed_map(PCR0), key("somebody else")))
    message("flip", "signature-forged", "a bit of the signature", good_cose[:-1] + bytes([good_cose[-1] ^ 1]))
    message("zero", "signature-forged", "r and s are 0", cose(signed_map(PCR0), signer.d, change=lambda b: bytes(96)))
    message("sha256", "signature-forged", "SHA-256 under the ES384 header", cose(signed_map(PCR0), signer.d, hash_name="sha256"))
    s("certificate-der", "certificate-not-pem", "DER", section(pem_text=signer.der()))
    s("certificate-chain", "certificate-not-pem", "two certificates", section(pem_text=good_pem * 2))
    s("certificate-cut", "certificate-malformed", "cut", section(pem_text=pem(signer.der()[:-1])))
    s("certificate-trailing", "certificate-malformed", "a byte after it", section(pem_text=pem(signer.der() + b"\0")))
    s("certificate-date", "certificate-malformed", "the 32nd of January",
      section(cert=certificate(since=tlv(0x17, b"260132000000Z"))))
    s("certificate-issuer", "certificate-malformed", "an issuer that is no name", section(cert=certificate(issuer=seq(integer(1)))))
    p256 = ec_key(public(12345, ec.SECP256R1()), "1.2.840.10045.3.1.7")
    s("certificate-p256", "certificate-not-p384", "a P-256 key", section(cert=certificate(spki=p256)))
    off = bytearray(public(signer.d))
    off[-1] ^= 1
    s("certificate-off-curve", "certificate-not-p384", "a point that is not on the curve", section(cert=certificate(spki=ec_key(bytes(off)))))
    rsa = seq(seq(oid("1.2.840.113549.1.1.1"), b"\x05\0"), bits(seq(integer(3 << 2040), integer(65537))))
    s("certificate-rsa", "certificate-not-p384", "an RSA key", section(cert=certificate(spki=rsa)))


def check_good():
    """The good certificate with another implementation, so that these vectors are not wrong together with the C code."""
    c = x509.load_der_x509_certificate(certificate().der())
    c.public_key().verify(c.signature, c.tbs_certificate_bytes, ec.ECDSA(c.signature_hash_algorithm))


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "eif")
    out.mkdir(parents=True, exist_ok=True)
    check_good()
    for make in good_cases, header_cases, section_cases, metadata_cases, signature_cases:
        make()
    for stale in out.glob("*.eif"):
        stale.unlink()
    for name, (content, *_) in cases.items():
        (out / name).write_bytes(content)
    (out / "manifest.txt").write_text("".join(f"{name}\t{status}\t{code}\t{reason}\n"
                                              for name, (_, status, code, reason) in sorted(cases.items())))
    print(f"{len(cases)} images")


if __name__ == "__main__":
    main()
