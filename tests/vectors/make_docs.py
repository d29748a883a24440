#!/usr/bin/python3
"""Writes tests/vectors/doc: attestation documents, one per reason to refuse one, and a few good ones.

    tests/vectors/make_docs.py [DIR]            (default: doc, beside this file)

Every document is valid in all other respects: certificates and signatures are made again, under a test
root, after the change. Nothing of the C code is used; DER and CBOR are written here by hand so that they can
be written wrongly, and the good documents are checked with cryptography and cbor2. Keys and signatures
(RFC 6979) are derived from constants, so the same script writes the same bytes.

Besides NAME.bin it writes manifest.json (for people and Python), cases.txt (the same for C), the roots and the
policy files."""
import base64
import hashlib
import json
import pathlib
import struct
import sys

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from attest_writer import (
    BASIC, CERT_SIGN, CRL_SIGN, DAY, DIGITAL_SIGNATURE, EKU, ES384, HOUR, N384, NAMES, NONCE, NOW, NOW_S, NULL, PCRS, PUBLIC_KEY,
    ROOT_DER, SHA256_ECDSA, SHA384_ECDSA, SHA512_ECDSA, USAGE, USER_DATA, YEAR, Cert, Chain, Doc, basic, bits, bstr, chunked,
    ec_key, extension, head, integer, key, name_of, oid, pcr_map, pcr_value, public, raw, seconds, seq, sign_pair, tlv, tstr,
    usage, utc_time)

# --- the list ----------------------------------------------------------------------------------

CASES = []
FILES = {}
PCR0 = "0=" + PCRS[0].hex()
PCR8 = "8=" + PCRS[8].hex()


def case(name, expect, reason, document, *, now=NOW, root="root.pem", pcr=(PCR0,), nonce=NONCE, **options):
    """options: min_epoch, policy, max_age, allow_debug."""
    data = document if isinstance(document, bytes) else document.encode()
    assert name not in FILES, name
    FILES[name] = data
    entry = {"name": name, "expect": expect, "reason": reason, "time": now, "root": root, "pcr": list(pcr)}
    if nonce is not None:
        entry["nonce"] = nonce.hex()
    entry.update(options)
    CASES.append(entry)


def doc(change=None, chain_change=None):
    chain = Chain()
    if chain_change:
        chain_change(chain)
    d = Doc(chain)
    if change:
        change(d)
    return d


def setting(**attributes):
    def change(target):
        for k, v in attributes.items():
            setattr(target, k, v)
    return change


def field(name, value):
    """Replaces one field; None removes it."""
    def change(d):
        if value is None:
            del d.fields[name]
        else:
            d.fields[name] = value
    return change


def on(which, **attributes):
    """Changes one certificate of the chain."""
    return lambda chain: setting(**attributes)(getattr(chain, which))


def good():
    case("ok", "ok", "the document that all others are changes of", doc())
    case("ok-key-order", "ok", "the keys of the map in another order",
         doc(lambda d: setattr(d, "fields", dict(reversed(d.fields.items())))))
    case("ok-absent-fields", "ok", "public_key, user_data and nonce left out",
         doc(lambda d: [d.fields.pop(k) for k in ("public_key", "user_data", "nonce")]), nonce=None)
    case("ok-null-fields", "ok", "public_key, user_data and nonce null",
         doc(lambda d: d.fields.update(public_key=NULL, user_data=NULL, nonce=NULL)), nonce=None)
    case("ok-empty-strings", "ok", "user_data and nonce empty",
         doc(lambda d: d.fields.update(user_data=bstr(b""), nonce=bstr(b""))), nonce=None)
    case("ok-largest-fields", "ok", "1,024 bytes in each field, as seen in real documents",
         doc(lambda d: d.fields.update(public_key=bstr(b"k" * 1024), user_data=bstr(b"u" * 1024), nonce=bstr(b"n" * 1024))),
         nonce=b"n" * 1024)
    case("ok-32-pcrs", "ok", "all 32 registers locked",
         doc(field("pcrs", pcr_map({i: pcr_value(i) for i in range(32)}))), pcr=(PCR0, "31=" + "00" * 48))
    case("ok-future-tolerance", "ok", "timestamp 5 minutes ahead: clocks drift", doc(field("timestamp", head(0, NOW + 300000))))
    case("ok-max-age", "ok", "exactly as old as allowed", doc(field("timestamp", head(0, NOW - 60000))), max_age=60)
    case("ok-first-second", "ok", "the leaf's first second", doc(field("timestamp", head(0, (NOW_S - HOUR) * 1000))),
         now=(NOW_S - HOUR) * 1000)
    case("ok-last-second", "ok", "the leaf's last second", doc(), now=(NOW_S + 2 * HOUR) * 1000 + 999)
    case("ok-unknown-extension", "ok", "an extension that is not critical may be unknown",
         doc(chain_change=lambda c: c.leaf.extensions.append(extension("1.3.6.1.4.1.99999.1", b"\x05\x00"))))
    case("ok-no-key-usage", "ok", "a leaf without key usage may sign",
         doc(chain_change=lambda c: c.leaf.extensions.pop()))
    case("ok-leaf-without-extensions", "ok", "a leaf without any extension is no CA and may sign",
         doc(chain_change=lambda c: c.leaf.extensions.clear()))
    case("ok-serial-20-bytes", "ok", "20 bytes of serial number with the high bit set take 21",
         doc(chain_change=on("leaf", serial=tlv(2, b"\0" + b"\xd0" * 20))))

    def short(c):
        c.leaf = Cert("short.test", c.root.d, "test-root", key_usage=(0,), since=NOW_S - HOUR, until=NOW_S + HOUR)
        c.bundle = lambda: [c.root.der()]
    case("ok-short-chain", "ok", "the root issues the leaf", doc(chain_change=short))
    case("ok-generalized-time", "ok", "a leaf valid until 2050 and later has GeneralizedTime",
         doc(chain_change=on("leaf", until=tlv(0x18, b"20500101000000Z"))))
    case("ok-high-s", "ok", "(r, n - s) is as good a signature as (r, s): documents are not told apart by bytes",
         doc(setting(signature_item=lambda p: bstr(raw((p[0], N384 - p[1]))))))
    case("ok-pcr8-epoch", "ok", "signer and minimum epoch instead of PCR0", doc(), pcr=(PCR8,), min_epoch=5)
    case("ok-policy-file", "ok", "the second of two sets", doc(), pcr=(), policy="two-sets.policy")
    case("ok-debug-allowed", "ok", "a debug enclave, asked for", debug(), pcr=(), allow_debug=True)
    case("ok-debug-pinned", "ok", "a debug enclave and a PCR that matches", debug(), pcr=("4=" + PCRS[4].hex(),), allow_debug=True)


def debug(change=None):
    pcrs = dict(PCRS)
    pcrs.update({0: bytes(48), 1: bytes(48), 2: bytes(48)})
    d = doc(field("pcrs", pcr_map(pcrs)))
    if change:
        change(d)
    return d


def envelope():
    ok = doc().encode()
    case("cose-empty", "cose-truncated", "no byte at all", b"")
    case("cose-cut-head", "cose-truncated", "cut after three bytes", ok[:3])
    case("cose-cut-half", "cose-truncated", "cut in the payload", ok[:len(ok) // 2])
    case("cose-cut-last-byte", "cose-truncated", "the last byte is missing", ok[:-1])
    case("cose-count-lies", "cose-truncated", "an array of 2^32 elements", b"\x9a\xff\xff\xff\xff" + ok[1:])
    case("cose-size-lies", "cose-truncated", "a payload of 2^64 - 1 bytes",
         doc(setting(payload_item=lambda b: head(2, 2**64 - 1) + b)))

    for name, change in {
        "array": setting(array=b"\x9f", after=b"\xff"),
        "protected": setting(protected=chunked(2, ES384), protected_signed=bstr(ES384)),
        "protected-map": setting(protected=bstr(b"\xbf\x01\x38\x22\xff")),
        "unprotected": setting(unprotected=b"\xbf\xff"),
        "payload": setting(payload_item=lambda b: chunked(2, b)),
        "signature": setting(signature_item=lambda p: chunked(2, raw(p))),
    }.items():
        case("cose-indefinite-" + name, "cose-indefinite-length", f"{name} with an indefinite length", doc(change))

    for name, change in {
        "array": setting(array=head(4, 4, 1)),
        "protected": setting(protected=bstr(ES384, 1), protected_signed=bstr(ES384)),
        "algorithm": setting(protected=bstr(b"\xa1\x01" + head(1, 34, 2))),
        "label": setting(protected=bstr(b"\xa1\x18\x01\x38\x22")),
        "unprotected": setting(unprotected=head(5, 0, 1)),
        "payload": setting(payload_item=lambda b: bstr(b, 4)),
        "signature": setting(signature_item=lambda p: bstr(raw(p), 2)),
    }.items():
        case("cose-long-form-" + name, "cose-not-shortest", f"{name}: a number in a longer form than needed", doc(change))

    case("cose-tagged", "cose-tagged", "tag 18 (COSE_Sign1): Nitro documents are untagged", b"\xd2" + ok)
    case("cose-tagged-cwt", "cose-tagged", "tag 61 before it", b"\xd8\x3d" + ok)
    case("cose-tagged-payload", "cose-tagged", "tag 24 (encoded CBOR) before the payload",
         doc(setting(payload_item=lambda b: b"\xd8\x18" + bstr(b))))
    case("cose-reserved", "cose-malformed", "additional information 28", b"\x9c" + ok[1:])
    case("cose-float", "cose-malformed", "a float", b"\xf9\x7e\x00")
    case("cose-html", "cose-malformed", "an error page of some proxy", b"<html><body>502 Bad Gateway</body></html>\n")
    case("cose-map", "cose-not-array", "a map of the four parts",
         b"\xa4" + b"".join(head(0, i) + p for i, p in enumerate((bstr(ES384), b"\xa0", bstr(b"x"), bstr(bytes(96))))))
    case("cose-three-elements", "cose-bad-length", "COSE_Mac0 has four as well; this has three",
         doc(setting(array=head(4, 3), signature_item=lambda p: b"")))
    case("cose-five-elements", "cose-bad-length", "a fifth element", doc(setting(array=head(4, 5), after=b"\xf6")))
    case("cose-trailing-byte", "cose-trailing-bytes", "one zero byte after the end", doc(setting(after=b"\0")))
    case("cose-trailing-document", "cose-trailing-bytes", "two documents", ok + ok)
    case("cose-document-too-large", "document-too-large", "over 16 KiB", ok + bytes(16384))

    for name, protected, expect, reason in (
        ("protected-map-bare", ES384, "cose-bad-protected", "a map instead of bytes of one"),
        ("protected-array", bstr(b"\x82\x01\x38\x22"), "cose-bad-protected", "an array in the bytes"),
        ("protected-trailing", bstr(ES384 + b"\0"), "cose-bad-protected", "a byte after the map"),
        ("protected-cut", bstr(ES384[:-1]), "cose-bad-protected", "the map is cut"),
        ("protected-twice", bstr(b"\xa2\x01\x38\x22\x01\x38\x22"), "cose-bad-protected", "alg twice"),
        ("protected-bytes-label", bstr(b"\xa2\x01\x38\x22\x41\x01\x00"), "cose-bad-protected", "a label that is a byte string"),
        ("protected-empty", bstr(b""), "cose-no-algorithm", "zero bytes: the empty header of RFC 9052"),
        ("protected-empty-map", bstr(b"\xa0"), "cose-no-algorithm", "a map without alg"),
        ("protected-kid-only", bstr(b"\xa1\x04\x41\x01"), "cose-no-algorithm", "another parameter, but no alg"),
        ("alg-es256", bstr(b"\xa1\x01\x26"), "cose-bad-algorithm", "ES256 (-7)"),
        ("alg-es512", bstr(b"\xa1\x01\x38\x23"), "cose-bad-algorithm", "ES512 (-36)"),
        ("alg-eddsa", bstr(b"\xa1\x01\x27"), "cose-bad-algorithm", "EdDSA (-8)"),
        ("alg-hmac", bstr(b"\xa1\x01\x06"), "cose-bad-algorithm", "HMAC 384/384 (6)"),
        ("alg-positive", bstr(b"\xa1\x01\x18\x22"), "cose-bad-algorithm", "34: the sign bit lost"),
        ("alg-text", bstr(b"\xa1\x01" + tstr("ES384")), "cose-bad-algorithm", "the name instead of the number"),
        ("alg-null", bstr(b"\xa1\x01\xf6"), "cose-bad-algorithm", "null"),
        ("alg-below-int64", bstr(b"\xa1\x01\x3b" + b"\xff" * 8), "cose-bad-algorithm", "-2^64"),
        ("crit", bstr(b"\xa3\x01\x38\x22\x02\x81\x18\x63\x18\x63\x00"), "cose-critical-header", "crit names a header that is not known"),
        ("crit-empty", bstr(b"\xa2\x01\x38\x22\x02\x80"), "cose-critical-header", "crit, even with nothing in it"),
        ("header-kid", bstr(b"\xa2\x01\x38\x22\x04\x41\x01"), "cose-unknown-header", "a key id beside alg"),
        ("header-text-label", bstr(b"\xa2\x01\x38\x22" + tstr("alg") + b"\x26"), "cose-unknown-header", "a text label beside alg"),
        ("header-negative-label", bstr(b"\xa2\x01\x38\x22\x20\x00"), "cose-unknown-header", "a private label beside alg"),
    ):
        case("cose-" + name, expect, "protected header: " + reason, doc(setting(protected=protected)))

    for name, unprotected, reason in (
        ("kid", b"\xa1\x04\x41\x01", "a key id"), ("alg", b"\xa1\x01\x26", "another algorithm"),
        ("array", b"\x80", "an array"), ("null", NULL, "null"),
    ):
        case("cose-unprotected-" + name, "cose-unprotected-header", f"unprotected header: {reason}",
             doc(setting(unprotected=unprotected)))
    case("cose-payload-detached", "cose-bad-payload", "null: the payload is elsewhere", doc(setting(payload_item=lambda b: NULL)))
    case("cose-payload-bare-map", "cose-bad-payload", "a map instead of bytes of one", doc(setting(payload_item=lambda b: b)))
    case("cose-payload-text", "cose-bad-payload", "text", doc(setting(payload_item=lambda b: tstr("payload"))))
    case("cose-payload-empty", "cose-bad-payload", "no bytes", doc(setting(payload=b"")))

    for name, item, reason in (
        ("der", lambda p: bstr(utils.encode_dss_signature(*p)), "a DER signature"),
        ("95", lambda p: bstr(raw(p)[:-1]), "95 bytes"), ("97", lambda p: bstr(raw(p) + b"\0"), "97 bytes"),
        ("64", lambda p: bstr(raw(p)[:64]), "64 bytes, as ES256 has"), ("none", lambda p: bstr(b""), "no bytes"),
        ("text", lambda p: tstr("x" * 96), "96 bytes of text"), ("null", lambda p: NULL, "null"),
    ):
        case("cose-signature-" + name, "cose-bad-signature-size", f"signature: {reason}", doc(setting(signature_item=item)))

    def flip(i):
        return lambda b: b[:i] + bytes([b[i] ^ 1]) + b[i + 1:]
    at_pcr0 = lambda b: b.index(PCRS[0])
    for name, change, reason in (
        ("r-bit", setting(signature_item=lambda p: bstr(flip(7)(raw(p)))), "one bit of r"),
        ("s-bit", setting(signature_item=lambda p: bstr(flip(95)(raw(p)))), "one bit of s"),
        ("swapped", setting(signature_item=lambda p: bstr(raw((p[1], p[0])))), "s before r"),
        ("zero", setting(signature_item=lambda p: bstr(bytes(96))), "r and s zero"),
        ("r-zero", setting(signature_item=lambda p: bstr(raw((0, p[1])))), "r zero"),
        ("s-order", setting(signature_item=lambda p: bstr(raw((p[0], N384)))), "s is the group's order"),
        ("ones", setting(signature_item=lambda p: bstr(b"\xff" * 96)), "r and s above the group's order"),
        ("pcr0-changed", setting(after_signing=lambda b: flip(at_pcr0(b))(b)), "PCR0 changed after signing"),
        ("key-changed", setting(after_signing=lambda b: b.replace(b"(test)", b"(evil)")), "the public key changed after signing"),
        ("nonce-changed", setting(after_signing=lambda b: b.replace(NONCE, bytes(reversed(NONCE)))), "the nonce changed after signing"),
        ("other-key", setting(key=key("somebody else")), "signed by another key"),
        ("issuer-key", setting(key=key("i-0123456789abcdef0.test")), "signed by the leaf's issuer"),
        ("sha256", setting(hash="sha256"), "signed over SHA-256"),
        ("context", setting(context=tstr("Signature")), "signed as COSE_Sign, not COSE_Sign1"),
        ("external-data", setting(external=bstr(b"x")), "signed with external data"),
        ("bare-map-signed", setting(protected_signed=ES384), "the protected header signed as a map, not as bytes"),
    ):
        nonce = bytes(reversed(NONCE)) if name == "nonce-changed" else NONCE
        pcr = ("0=" + flip(0)(PCRS[0]).hex(),) if name == "pcr0-changed" else (PCR0,)
        case("signature-" + name, "cose-bad-signature", reason, doc(change), nonce=nonce, pcr=pcr)
    case("signature-payload-only", "cose-bad-signature", "signed over the payload alone",
         doc(lambda d: setattr(d, "signature_item", lambda p: bstr(raw(sign_pair(d.key, d.map()))))))


def payload():
    def map_of(*pairs):
        return head(5, len(pairs)) + b"".join(k + v for k, v in pairs)

    def pairs(d):
        return [(tstr(k), v) for k, v in d.fields.items()]

    def rewritten(rewrite):
        return doc(lambda d: setattr(d, "payload", rewrite(d)))

    case("doc-cut", "doc-truncated", "the signed payload is cut", rewritten(lambda d: d.map()[:-10]))
    case("doc-count-lies", "doc-truncated", "the map promises ten pairs", rewritten(lambda d: b"\xaa" + d.map()[1:]))
    case("doc-huge-count", "doc-truncated", "the map promises 2^64 - 1 pairs", rewritten(lambda d: b"\xbb" + b"\xff" * 8 + d.map()[1:]))
    case("doc-user-data-size-lies", "doc-truncated", "user_data reaches past the end",
         doc(lambda d: d.fields.update(nonce=head(2, 33) + NONCE)))

    case("doc-indefinite-map", "doc-indefinite-length", "the map", rewritten(lambda d: b"\xbf" + d.map()[1:] + b"\xff"))
    for name, value in {
        "module_id": chunked(3, b"i-0123456789abcdef0-enc0123456789abcdef"),
        "digest": chunked(3, b"SHA384"),
        "pcrs": b"\xbf" + pcr_map(PCRS)[1:] + b"\xff",
        "certificate": chunked(2, Chain().leaf.der()),
        "cabundle": b"\x9f" + cbor2.dumps(Chain().bundle())[1:] + b"\xff",
        "public_key": chunked(2, PUBLIC_KEY),
        "user_data": chunked(2, USER_DATA),
        "nonce": chunked(2, NONCE),
    }.items():
        case("doc-indefinite-" + name, "doc-indefinite-length", f"{name} with an indefinite length", doc(field(name, value)))
    case("doc-indefinite-pcr-value", "doc-indefinite-length", "a PCR in chunks",
         doc(field("pcrs", head(5, 16) + head(0, 0) + chunked(2, PCRS[0]) + pcr_map({k: v for k, v in PCRS.items() if k})[1:])))
    case("doc-indefinite-ca", "doc-indefinite-length", "a certificate of the bundle in chunks",
         doc(field("cabundle", head(4, 3) + b"".join([chunked(2, ROOT_DER)] + [bstr(b) for b in Chain().bundle()[1:]]))))
    case("doc-indefinite-key", "doc-indefinite-length", "a key in chunks",
         rewritten(lambda d: map_of((chunked(3, b"module_id"), d.fields["module_id"]), *pairs(d)[1:])))

    case("doc-long-form-map", "doc-not-shortest", "the map's count in two bytes", rewritten(lambda d: head(5, 9, 1) + d.map()[1:]))
    for name, value in {
        "timestamp": head(0, 1767268799, 8), "module_id": tstr("i-0", 1), "nonce": bstr(NONCE, 2),
        "cabundle": head(4, 3, 1) + cbor2.dumps(Chain().bundle())[1:],
        "pcrs": head(5, 16, 1) + pcr_map(PCRS)[1:],
    }.items():
        case("doc-long-form-" + name, "doc-not-shortest", f"{name}: a number in a longer form than needed", doc(field(name, value)))
    case("doc-long-form-pcr-index", "doc-not-shortest", "PCR index 0 in two bytes: a second way to write the same key",
         doc(field("pcrs", head(5, 17) + head(0, 0, 1) + bstr(bytes(48)) + pcr_map(PCRS)[1:])))

    case("doc-tagged", "doc-tagged", "the map in a tag", rewritten(lambda d: b"\xd9\xd9\xf7" + d.map()))
    case("doc-tagged-timestamp", "doc-tagged", "timestamp as an epoch date (tag 1)", doc(field("timestamp", b"\xc1" + head(0, NOW // 1000))))
    case("doc-tagged-bignum", "doc-tagged", "timestamp as a big number (tag 2)", doc(field("timestamp", b"\xc2" + bstr(NOW.to_bytes(8, "big")))))
    case("doc-reserved", "doc-malformed", "additional information 29", doc(field("nonce", b"\x5d")))
    case("doc-too-deep", "doc-malformed", "nested a hundred deep", doc(field("cabundle", b"\x81" * 100 + b"\x40")))
    case("doc-not-utf8-module-id", "doc-not-utf8", "a lone continuation byte", doc(field("module_id", tstr(b"i-\x80"))))
    case("doc-not-utf8-surrogate", "doc-not-utf8", "half a surrogate pair", doc(field("module_id", tstr(b"\xed\xa0\x80"))))
    case("doc-not-utf8-key", "doc-not-utf8", "a key that is not UTF-8", rewritten(lambda d: map_of((tstr(b"\xff"), NULL), *pairs(d))))
    case("doc-array", "doc-not-map", "an array", rewritten(lambda d: b"\x80"))
    case("doc-bytes", "doc-not-map", "the map once more in bytes", rewritten(lambda d: bstr(d.map())))
    case("doc-integer-key", "doc-not-map", "a key that is a number", rewritten(lambda d: map_of((b"\x01", NULL), *pairs(d))))
    case("doc-bytes-key", "doc-not-map", "a key that is bytes", rewritten(lambda d: map_of((bstr(b"nonce"), NULL), *pairs(d)[:-1])))
    case("doc-trailing-byte", "doc-trailing-bytes", "a byte after the map", rewritten(lambda d: d.map() + b"\0"))
    case("doc-trailing-map", "doc-trailing-bytes", "a second map", rewritten(lambda d: d.map() + b"\xa0"))

    for name in ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle", "public_key", "user_data", "nonce"):
        case("doc-twice-" + name, "doc-duplicate-key", f"{name} twice, the same both times",
             rewritten(lambda d: map_of((tstr(name), d.fields[name]), *pairs(d))))
        if name not in ("public_key", "user_data", "nonce"):
            case("doc-without-" + name, "doc-missing-key", f"no {name}", doc(field(name, None)))
    case("doc-two-nonces", "doc-duplicate-key", "the nonce asked for, and another",
         rewritten(lambda d: map_of(*pairs(d), (tstr("nonce"), bstr(bytes(32))))))
    case("doc-two-public-keys", "doc-duplicate-key", "two keys to encrypt to",
         rewritten(lambda d: map_of((tstr("public_key"), bstr(b"evil")), *pairs(d))))
    case("doc-unknown-key", "doc-unknown-key", "a statement that is not known", doc(field("debug", b"\xf5")))
    case("doc-empty-key", "doc-unknown-key", "an empty key", rewritten(lambda d: map_of((tstr(""), NULL), *pairs(d))))
    case("doc-key-case", "doc-unknown-key", "Nonce is not nonce", rewritten(lambda d: map_of(*pairs(d)[:-1], (tstr("Nonce"), bstr(NONCE)))))
    case("doc-key-zero", "doc-unknown-key", "a zero byte behind a known key",
         rewritten(lambda d: map_of(*pairs(d)[:-1], (tstr("nonce\0"), bstr(NONCE)))))

    for name, f, value, expect in (
        ("module-id-empty", "module_id", tstr(""), "doc-bad-module-id"),
        ("module-id-129", "module_id", tstr("i" * 129), "doc-bad-module-id"),
        ("module-id-bytes", "module_id", bstr(b"i-0"), "doc-bad-module-id"),
        ("module-id-null", "module_id", NULL, "doc-bad-module-id"),
        ("module-id-escape", "module_id", tstr("i-0\x1b[2J"), "doc-bad-module-id"),
        ("module-id-zero", "module_id", tstr("i-0\0x"), "doc-bad-module-id"),
        ("digest-sha256", "digest", tstr("SHA256"), "doc-bad-digest"),
        ("digest-sha512", "digest", tstr("SHA512"), "doc-bad-digest"),
        ("digest-case", "digest", tstr("sha384"), "doc-bad-digest"),
        ("digest-bytes", "digest", bstr(b"SHA384"), "doc-bad-digest"),
        ("digest-empty", "digest", tstr(""), "doc-bad-digest"),
        ("timestamp-float", "timestamp", b"\xfb" + struct.pack(">d", float(NOW)), "doc-bad-timestamp"),
        ("timestamp-float16", "timestamp", b"\xf9\x3c\x00", "doc-bad-timestamp"),
        ("timestamp-nan", "timestamp", b"\xf9\x7e\x00", "doc-bad-timestamp"),
        ("timestamp-infinity", "timestamp", b"\xf9\x7c\x00", "doc-bad-timestamp"),
        ("timestamp-negative", "timestamp", head(1, NOW), "doc-bad-timestamp"),
        ("timestamp-zero", "timestamp", head(0, 0), "doc-bad-timestamp"),
        ("timestamp-2-53", "timestamp", head(0, 2**53 + 1), "doc-bad-timestamp"),
        ("timestamp-2-64", "timestamp", head(0, 2**64 - 1), "doc-bad-timestamp"),
        ("timestamp-text", "timestamp", tstr("2026-01-01"), "doc-bad-timestamp"),
        ("timestamp-null", "timestamp", NULL, "doc-bad-timestamp"),
        ("timestamp-undefined", "timestamp", b"\xf7", "doc-bad-timestamp"),
        ("pcrs-array", "pcrs", cbor2.dumps([PCRS[i] for i in range(16)]), "doc-bad-pcrs"),
        ("pcrs-null", "pcrs", NULL, "doc-bad-pcrs"),
        ("pcrs-text-index", "pcrs", cbor2.dumps({"0": PCRS[0], 1: PCRS[1], 2: PCRS[2]}), "doc-bad-pcrs"),
        ("pcrs-negative-index", "pcrs", cbor2.dumps({**PCRS, -1: PCRS[0]}), "doc-bad-pcrs"),
        ("pcrs-float-index", "pcrs", head(5, 1) + b"\xf9\x00\x00" + bstr(PCRS[0]), "doc-bad-pcrs"),
        ("pcrs-text-value", "pcrs", head(5, 1) + head(0, 0) + tstr("0" * 48), "doc-bad-pcrs"),
        ("pcrs-hex-value", "pcrs", head(5, 1) + head(0, 0) + tstr(PCRS[0].hex()), "doc-bad-pcrs"),
        ("pcrs-null-value", "pcrs", head(5, 1) + head(0, 0) + NULL, "doc-bad-pcrs"),
        ("pcrs-empty", "pcrs", b"\xa0", "doc-no-pcrs"),
        ("pcr-index-32", "pcrs", pcr_map({**PCRS, 32: bytes(48)}), "doc-bad-pcr-index"),
        ("pcr-index-256", "pcrs", pcr_map({256: PCRS[0], **PCRS}), "doc-bad-pcr-index"),
        ("pcr-index-2-32", "pcrs", pcr_map({2**32: PCRS[0], **PCRS}), "doc-bad-pcr-index"),
        ("pcr-index-2-63", "pcrs", pcr_map({2**63: PCRS[0], **PCRS}), "doc-bad-pcr-index"),
        ("pcr-47-bytes", "pcrs", pcr_map({**PCRS, 3: bytes(47)}), "doc-bad-pcr-size"),
        ("pcr-49-bytes", "pcrs", pcr_map({**PCRS, 3: bytes(49)}), "doc-bad-pcr-size"),
        ("pcr-32-bytes", "pcrs", pcr_map({i: bytes(32) for i in range(16)}), "doc-bad-pcr-size"),
        ("pcr-0-bytes", "pcrs", pcr_map({**PCRS, 3: b""}), "doc-bad-pcr-size"),
        ("pcr-twice", "pcrs", head(5, 17) + head(0, 0) + bstr(bytes(48)) + pcr_map(PCRS)[1:], "doc-duplicate-pcr"),
        ("pcr-twice-same", "pcrs", head(5, 17) + pcr_map(PCRS)[1:] + head(0, 15) + bstr(bytes(48)), "doc-duplicate-pcr"),
        ("no-pcr0", "pcrs", pcr_map({k: v for k, v in PCRS.items() if k != 0}), "doc-no-pcr0"),
        ("no-pcr1", "pcrs", pcr_map({k: v for k, v in PCRS.items() if k != 1}), "doc-no-pcr0"),
        ("no-pcr2", "pcrs", pcr_map({k: v for k, v in PCRS.items() if k != 2}), "doc-no-pcr0"),
        ("certificate-null", "certificate", NULL, "doc-bad-certificate"),
        ("certificate-empty", "certificate", bstr(b""), "doc-bad-certificate"),
        ("certificate-2049", "certificate", bstr(bytes(2049)), "doc-bad-certificate"),
        ("certificate-array", "certificate", cbor2.dumps([Chain().leaf.der()]), "doc-bad-certificate"),
        ("cabundle-null", "cabundle", NULL, "doc-bad-cabundle"),
        ("cabundle-bytes", "cabundle", bstr(ROOT_DER), "doc-bad-cabundle"),
        ("cabundle-null-inside", "cabundle", cbor2.dumps([ROOT_DER, None]), "doc-bad-cabundle"),
        ("cabundle-empty-inside", "cabundle", cbor2.dumps([ROOT_DER, b""]), "doc-bad-cabundle"),
        ("cabundle-nested", "cabundle", cbor2.dumps([Chain().bundle()]), "doc-bad-cabundle"),
        ("cabundle-empty", "cabundle", b"\x80", "doc-empty-cabundle"),
        ("cabundle-9", "cabundle", cbor2.dumps([ROOT_DER] * 7 + Chain().bundle()[1:]), "doc-long-cabundle"),
        ("public-key-empty", "public_key", bstr(b""), "doc-bad-public-key"),
        ("public-key-1025", "public_key", bstr(b"k" * 1025), "doc-bad-public-key"),
        ("public-key-text", "public_key", tstr(PUBLIC_KEY), "doc-bad-public-key"),
        ("user-data-1025", "user_data", bstr(b"u" * 1025), "doc-bad-user-data"),
        ("user-data-text", "user_data", tstr(USER_DATA), "doc-bad-user-data"),
        ("user-data-false", "user_data", b"\xf4", "doc-bad-user-data"),
        ("nonce-1025", "nonce", bstr(b"n" * 1025), "doc-bad-nonce"),
        ("nonce-text", "nonce", tstr(NONCE.hex()), "doc-bad-nonce"),
        ("nonce-map", "nonce", b"\xa0", "doc-bad-nonce"),
        ("nonce-undefined", "nonce", b"\xf7", "doc-bad-nonce"),
    ):
        case("doc-" + name, expect, f"{f}: {name}", doc(field(f, value)))

    case("doc-future", "doc-from-future", "one millisecond over the 5 minutes", doc(field("timestamp", head(0, NOW + 300001))))
    case("doc-far-future", "doc-from-future", "timestamp 2^53, the largest there is", doc(field("timestamp", head(0, 2**53))))
    case("doc-old", "doc-too-old", "a millisecond older than --max-age", doc(field("timestamp", head(0, NOW - 60001))), max_age=60)
    case("doc-very-old", "doc-too-old", "a timestamp of 1970 in a chain that is valid now", doc(field("timestamp", head(0, 1))), max_age=60)


def certificates():
    def cert(name, expect, reason, which="leaf", change=None, **attributes):
        apply = on(which, **attributes) if change is None else lambda c: change(getattr(c, which))
        case("cert-" + name, expect, reason, doc(chain_change=apply))

    def pem(der):
        return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"

    def long_outer(der):
        return b"\x30\x83\0" + der[2:4] + der[4:]

    def indefinite(der):
        return b"\x30\x80" + der[4:] + b"\0\0"

    cert("pem", "cert-not-der", "PEM where DER belongs", finish=pem)
    cert("pem-in-bundle", "cert-not-der", "PEM in the bundle", which="instance", finish=pem)
    cert("long-length", "cert-not-der", "the outer length in three bytes where two do (BER)", finish=long_outer)
    cert("indefinite-length", "cert-not-der", "the outer length indefinite (BER)", finish=indefinite)
    cert("cut", "cert-not-der", "the last byte is missing", finish=lambda d: d[:-1])
    cert("garbage", "cert-not-der", "random bytes", finish=lambda d: hashlib.sha512(b"garbage").digest())
    cert("long-length-inside", "cert-not-der", "an inner length in a longer form, signed so (BER)", subject=b"\x30\x81" + name_of("x")[1:])
    cert("boolean-1", "cert-not-der", "a boolean that is neither 00 nor ff (BER)",
         extensions=[seq(oid(BASIC), tlv(1, b"\x01"), tlv(4, basic(False)))])
    cert("integer-padded", "cert-not-der", "a serial number with a needless zero (BER)", serial=tlv(2, b"\0\x01"))
    cert("high-tag", "cert-not-der", "a tag of two bytes", subject=tlv(0x30, b"\x3f\x1f\x00"))
    cert("trailing-byte", "cert-trailing-bytes", "a byte after the certificate", finish=lambda d: d + b"\0")
    cert("trailing-in-bundle", "cert-trailing-bytes", "a byte after a certificate of the bundle", which="zonal", finish=lambda d: d + b"\0")
    cert("two", "cert-trailing-bytes", "two certificates in one string", finish=lambda d: d + d)
    cert("empty-sequence", "cert-malformed", "an empty sequence", finish=lambda d: b"\x30\0")
    cert("fourth-element", "cert-malformed", "something after the signature", finish=lambda d: seq(d[4:], b"\x05\0"))
    cert("unique-id", "cert-malformed", "a subject unique identifier", change=lambda c: setattr(
        c, "spki", c.spki + tlv(0x82, b"\0\1")))
    cert("name-not-sequence", "cert-malformed", "a subject that is a set", subject=tlv(0x31))
    cert("version-1", "cert-bad-version", "version 1: no version field", change=lambda c: (setattr(c, "version", b""), c.extensions.clear()))
    cert("version-2", "cert-bad-version", "version 2", version=tlv(0xa0, integer(1)))
    cert("version-4", "cert-bad-version", "version 4", version=tlv(0xa0, integer(3)))
    cert("serial-zero", "cert-bad-serial", "serial number 0", serial=integer(0))
    cert("serial-negative", "cert-bad-serial", "serial number -1", serial=integer(-1))
    cert("serial-21-bytes", "cert-bad-serial", "21 bytes of serial number", serial=tlv(2, b"\x01" * 21))
    cert("alg-sha256", "cert-bad-algorithm", "ecdsa-with-SHA256", hash="sha256",
         algorithm=seq(oid(SHA256_ECDSA)), outer_algorithm=seq(oid(SHA256_ECDSA)))
    cert("alg-sha512", "cert-bad-algorithm", "ecdsa-with-SHA512", hash="sha512",
         algorithm=seq(oid(SHA512_ECDSA)), outer_algorithm=seq(oid(SHA512_ECDSA)))
    cert("alg-rsa", "cert-bad-algorithm", "sha384WithRSAEncryption claimed", algorithm=seq(oid("1.2.840.113549.1.1.12"), b"\5\0"),
         outer_algorithm=seq(oid("1.2.840.113549.1.1.12"), b"\5\0"))
    cert("alg-inner", "cert-bad-algorithm", "the signed part names SHA-256, the outer SHA-384", algorithm=seq(oid(SHA256_ECDSA)))
    cert("alg-outer", "cert-bad-algorithm", "the outer part, which nobody signs, names SHA-256", outer_algorithm=seq(oid(SHA256_ECDSA)))
    cert("alg-null-parameters", "cert-bad-algorithm", "NULL parameters, which ECDSA has not",
         algorithm=seq(oid(SHA384_ECDSA), b"\5\0"), outer_algorithm=seq(oid(SHA384_ECDSA), b"\5\0"))
    d = key("p256") % (2**255)
    cert("key-p256", "cert-bad-key", "a P-256 key", spki=ec_key(public(d, ec.SECP256R1()), "1.2.840.10045.3.1.7"))
    cert("key-p256-in-bundle", "cert-bad-key", "a P-256 key in the bundle", which="instance",
         spki=ec_key(public(d, ec.SECP256R1()), "1.2.840.10045.3.1.7"))
    cert("key-p521", "cert-bad-key", "a P-521 key", spki=ec_key(public(d, ec.SECP521R1()), "1.3.132.0.35"))
    cert("key-rsa", "cert-bad-key", "an RSA key", spki=seq(
        seq(oid("1.2.840.113549.1.1.1"), b"\5\0"), bits(seq(integer(key("rsa") * key("rsa2") | 1), integer(65537)))))
    cert("key-ed25519", "cert-bad-key", "an Ed25519 key", spki=seq(seq(oid("1.3.101.112")), bits(bytes(range(32)))))
    cert("key-curve-name", "cert-bad-key", "a P-384 point under the name of another curve", change=lambda c: setattr(
        c, "spki", ec_key(public(c.d), "1.3.132.0.35")))
    cert("key-compressed", "cert-bad-key", "a compressed point", change=lambda c: setattr(
        c, "spki", ec_key(bytes([2 + (public(c.d)[-1] & 1)]) + public(c.d)[1:49])))
    cert("key-explicit-curve", "cert-bad-key", "curve parameters instead of the curve's name", change=lambda c: setattr(
        c, "spki", seq(seq(oid("1.2.840.10045.2.1"), seq(integer(1))), bits(public(c.d)))))
    cert("key-hybrid", "cert-bad-key", "a hybrid point", change=lambda c: setattr(
        c, "spki", ec_key(bytes([6 + (public(c.d)[-1] & 1)]) + public(c.d)[1:])))
    cert("key-off-curve", "cose-bad-signature", "a point that is not on the curve, in the leaf", change=lambda c: setattr(
        c, "spki", ec_key(b"\4" + b"\1" * 96)))
    cert("key-off-curve-in-bundle", "chain-bad-signature", "a point that is not on the curve, in the bundle", which="instance",
         change=lambda c: setattr(c, "spki", ec_key(b"\4" + b"\1" * 96)))
    cert("time-no-seconds", "cert-bad-time", "a date without seconds", until=tlv(0x17, b"2612312359Z"))
    cert("time-offset", "cert-bad-time", "a date with an offset", until=tlv(0x17, b"261231235959+0100"))
    cert("time-fraction", "cert-bad-time", "a date with fractions", until=tlv(0x18, b"20261231235959.5Z"))
    cert("time-month-13", "cert-bad-time", "month 13", until=tlv(0x17, b"261331235959Z"))
    cert("time-february-30", "cert-bad-time", "February 30", until=tlv(0x17, b"270230235959Z"))
    cert("time-february-29", "cert-bad-time", "February 29 of a year without one", until=tlv(0x17, b"270229235959Z"))
    cert("time-hour-24", "cert-bad-time", "hour 24", until=tlv(0x17, b"261231240000Z"))
    cert("time-text", "cert-bad-time", "a date in a text string", until=tlv(0x0c, b"261231235959Z"))
    cert("time-sign", "cert-bad-time", "a sign among the digits", until=tlv(0x17, b"26123123595-Z"))

    def form(name, reason, signature):
        cert("signature-" + name, "cert-bad-signature-form", reason, signature=signature)
    form("negative", "r is negative", lambda p: bits(seq(integer(-p[0]), integer(p[1]))))
    form("zero", "r is zero", lambda p: bits(seq(integer(0), integer(p[1]))))
    form("large", "s has 49 bytes", lambda p: bits(seq(integer(p[0]), integer(p[1] + (1 << 384)))))
    form("minus-one", "r is -1", lambda p: bits(seq(integer(-1), integer(p[1]))))
    form("empty", "r has no bytes", lambda p: bits(seq(tlv(2), integer(p[1]))))

    def short_r(c):
        """A serial number with which r needs no leading zero, so that one is too many."""
        c.serial = integer(next(i for i in range(1, 99) if not sign_with_serial(c, i)[0] >> 383))
        c.signature = lambda p: bits(seq(tlv(2, b"\0" + p[0].to_bytes(48, "big")), integer(p[1])))

    def sign_with_serial(c, i):
        c.serial = integer(i)
        return sign_pair(c.signer, c.tbs(), c.hash)
    cert("signature-padded", "cert-bad-signature-form", "r has a needless zero (BER)", change=short_r)
    form("three", "a third number", lambda p: bits(seq(integer(p[0]), integer(p[1]), integer(1))))
    form("raw", "r and s without DER", lambda p: bits(raw(p)))
    form("unused-bits", "a bit string that does not end at a byte", lambda p: bits(seq(integer(p[0]), integer(p[1])), 1))
    form("trailing", "a byte after the sequence", lambda p: bits(seq(integer(p[0]), integer(p[1])) + b"\0"))

    def extend(name, expect, reason, *extra, which="leaf", instead=False):
        def change(c):
            c.extensions = list(extra) if instead else c.extensions + list(extra)
        cert("extension-" + name, expect, reason, which=which, change=change)
    bad = "cert-bad-extension"
    extend("twice", bad, "basic constraints twice", extension(BASIC, basic(False), True))
    extend("unknown-twice", bad, "an unknown extension twice", *[extension("1.3.6.1.4.1.99999.1", b"\5\0")] * 2)
    cert("extension-empty-list", bad, "an empty list of extensions: the field should be absent", change=lambda c: (
        c.extensions.clear(), setattr(c, "spki", c.spki + tlv(0xa3, seq()))))
    extend("17", bad, "more extensions than any certificate has", *[extension("1.3.6.1.4.1.99999.%d" % i, b"\5\0") for i in range(16)])
    extend("explicit-false", bad, "CA:FALSE written out, which DER leaves out", extension(BASIC, seq(tlv(1, b"\0")), True), instead=True)
    extend("critical-false", bad, "critical FALSE written out", seq(oid(BASIC), tlv(1, b"\0"), tlv(4, basic(False))), instead=True)
    extend("path-length-no-ca", bad, "a path length without CA", extension(BASIC, seq(integer(0)), True), instead=True)
    extend("path-length-negative", bad, "path length -1", extension(BASIC, basic(True, -1), True), instead=True, which="instance")
    extend("basic-trailing", bad, "bytes after basic constraints", extension(BASIC, basic(False) + b"\0", True), instead=True)
    extend("usage-no-bits", bad, "key usage without a bit", extension(USAGE, bits(b""), True), instead=True)
    extend("usage-trailing-zeros", bad, "key usage with trailing zero bits (BER)", extension(USAGE, bits(b"\x80\0"), True), instead=True)
    extend("usage-unused-set", bad, "key usage with a bit set among the unused", extension(USAGE, bits(b"\x81", 7), True), instead=True)
    extend("usage-unused-39", bad, "key usage with 39 unused bits in one byte", extension(USAGE, bits(b"\x80", 39), True), instead=True)
    extend("no-value", bad, "an extension without a value", seq(oid("1.3.6.1.4.1.99999.1")))
    critical = "cert-critical-extension"
    extend("critical-unknown", critical, "an unknown critical extension", extension("1.3.6.1.4.1.99999.1", b"\5\0", True))
    extend("critical-unknown-in-bundle", critical, "an unknown critical extension in the bundle",
           extension("1.3.6.1.4.1.99999.1", b"\5\0", True), which="zonal")
    extend("critical-name-constraints", critical, "critical name constraints", extension(NAMES, seq(), True), which="instance")
    extend("critical-extended-usage", critical, "critical extended key usage (TLS server)",
           extension(EKU, seq(oid("1.3.6.1.5.5.7.3.1")), True))


def chains():
    def chain(name, expect, reason, change, **options):
        case("chain-" + name, expect, reason, doc(chain_change=change), **options)

    def bundle(pick):
        def change(c):
            whole = c.bundle()
            c.bundle = lambda: pick(whole)
        return change

    other = Cert("test-root", ca=True, key_usage=(CERT_SIGN,), since=seconds("2020-01-01 00:00:00"), until=seconds("2049-12-31 23:59:59"))
    other.d = other.signer = key("another root with the same name")
    other.spki = ec_key(public(other.d))

    def under_other(c):
        c.root, c.zonal.signer = other, other.d
    wrong = "chain-wrong-root"
    chain("other-root", wrong, "everything signed under another root of the same name", under_other)
    chain("aws-root-wanted", wrong, "a test chain where AWS's is wanted", None, root="aws")
    chain("reversed", wrong, "the bundle leaf's issuer first", bundle(lambda b: b[::-1]))
    chain("without-root", wrong, "the bundle starts below the root", bundle(lambda b: b[1:]))
    chain("root-last", wrong, "the root at the end", bundle(lambda b: b[1:] + b[:1]))

    names = "chain-name-mismatch"
    chain("swapped", names, "the two intermediates in the wrong order", bundle(lambda b: [b[0], b[2], b[1]]))
    chain("gap", names, "an intermediate is missing", bundle(lambda b: [b[0], b[2]]))
    chain("issuer-name", names, "the leaf names another issuer; the signature is right", on("leaf", issuer=name_of("somebody else")))
    chain("issuer-name-in-bundle", names, "an intermediate names another issuer", on("zonal", issuer=name_of("test-root2")))
    chain("issuer-name-case", names, "the issuer's name in capitals", on("leaf", issuer=name_of("I-0123456789ABCDEF0.test")))
    chain("issuer-name-string-type", names, "the same name in another string type", on(
        "zonal", issuer=seq(tlv(0x31, seq(oid("2.5.4.6"), tlv(0x13, b"US"))), tlv(0x31, seq(oid("2.5.4.3"), tlv(0x13, b"test-root"))))))

    not_ca = "chain-not-ca"
    ca_usage = extension(USAGE, usage(CERT_SIGN), True)
    chain("ca-false", not_ca, "a CA:FALSE certificate issues the leaf", lambda c: setattr(
        c.instance, "extensions", [extension(BASIC, basic(False), True), ca_usage]))
    chain("ca-absent", not_ca, "a certificate without basic constraints issues the leaf", lambda c: setattr(c.instance, "extensions", [ca_usage]))

    def leaf_issues(c):
        """A real enclave's key signs a certificate for a key of its choice."""
        first = c.leaf
        whole = c.bundle() + [first.der()]
        c.leaf = Cert("i-evil-enc0.test", first.d, first.cn, key_usage=(0,), since=NOW_S - HOUR, until=NOW_S + HOUR)
        c.bundle = lambda: whole
    chain("leaf-issues", not_ca, "an enclave's own certificate issues another", leaf_issues)

    chain("ca-no-usage", "chain-not-cert-signer", "an authority without key usage", lambda c: c.instance.extensions.pop())
    chain("ca-wrong-usage", "chain-not-cert-signer", "an authority whose key usage lacks keyCertSign", lambda c: setattr(
        c.instance, "extensions", [c.instance.extensions[0], extension(USAGE, usage(DIGITAL_SIGNATURE, CRL_SIGN), True)]))

    def one_more(c):
        extra = Cert("extra.test", c.instance.d, c.instance.cn, ca=True, key_usage=(CERT_SIGN,), since=NOW_S - HOUR, until=NOW_S + HOUR)
        whole = c.bundle() + [extra.der()]
        c.leaf.signer, c.leaf.issuer = extra.d, name_of("extra.test")
        c.bundle = lambda: whole
    chain("path-length", "chain-path-length", "an authority below one with path length 0", one_more)
    chain("path-length-upper", "chain-path-length", "the zonal authority allows none below, and has one", lambda c: setattr(
        c.zonal, "extensions", [extension(BASIC, basic(True, 0), True), c.zonal.extensions[1]]))
    chain("leaf-is-ca", "chain-leaf-is-ca", "an authority signs the document itself", lambda c: setattr(
        c.leaf, "extensions", [extension(BASIC, basic(True), True), extension(USAGE, usage(DIGITAL_SIGNATURE, CERT_SIGN), True)]))
    chain("leaf-usage", "chain-leaf-not-signer", "the leaf's key usage is key agreement", lambda c: setattr(
        c.leaf, "extensions", [c.leaf.extensions[0], extension(USAGE, usage(4), True)]))

    for which in ("leaf", "instance", "zonal", "root"):
        past, future = utc_time(NOW_S - 1), utc_time(NOW_S + 1)
        root = f"{which}-{{}}.pem" if which == "root" else "root.pem"
        chain(f"{which}-expired", "chain-expired", f"the {which} certificate ended a second ago", on(which, until=past), root=root.format("expired"))
        chain(f"{which}-not-yet", "chain-not-yet-valid", f"the {which} certificate starts in a second", on(which, since=future), root=root.format("not-yet"))
    case("chain-expired-later", "chain-expired", "a good document, a second after its leaf's end", doc(), now=(NOW_S + 2 * HOUR + 1) * 1000)
    case("chain-today", "chain-expired", "a good document, years later", doc(), now=NOW + 5 * YEAR * 1000)
    case("chain-before", "chain-not-yet-valid", "a good document, a millisecond before its leaf's start", doc(), now=(NOW_S - HOUR) * 1000 - 1)

    forged = "chain-bad-signature"
    evil = key("somebody else")
    for which in ("zonal", "instance", "leaf"):
        chain(f"{which}-forged", forged, f"the {which} certificate is signed by another key", on(which, signer=evil))
        chain(f"{which}-bit", forged, f"one bit of the {which} certificate's signature", on(
            which, finish=lambda d: d[:-1] + bytes([d[-1] ^ 1])))
    chain("leaf-key-replaced", forged, "the leaf's key replaced after signing", on(
        "leaf", finish=lambda d: d.replace(public(key("i-0123456789abcdef0-enc0123456789abcdef.test")), public(evil))))
    chain("leaf-signed-sha256", forged, "SHA-384 named, SHA-256 used", on("leaf", hash="sha256"))
    chain("skipped-signer", forged, "the leaf signed by the zonal key", lambda c: setattr(c.leaf, "signer", c.zonal.d))


def policies():
    zeros = "00" * 48
    case("debug", "debug-enclave", "PCR0 to PCR2 all zeros", debug(), pcr=())
    case("debug-pinned-zero", "debug-enclave", "zeros asked for as PCR0 are no permission", debug(), pcr=("0=" + zeros,))
    case("debug-pcr8", "debug-enclave", "a signer pinned, but the enclave runs in debug mode", debug(), pcr=(PCR8,), min_epoch=5)
    half = dict(PCRS)
    half[0] = bytes(48)
    case("debug-half", "debug-enclave", "PCR0 zero, PCR1 and PCR2 not: no real enclave, even with --allow-debug",
         doc(field("pcrs", pcr_map(half))), pcr=(), allow_debug=True)
    case("debug-wrong-pcr", "pcr-mismatch", "--allow-debug does not lift a constraint", debug(), pcr=("4=" + "11" * 48,), allow_debug=True)
    case("debug-wrong-pcr0", "pcr-mismatch", "--allow-debug and PCR0 of the release", debug(), allow_debug=True)
    case("debug-wrong-nonce", "nonce-mismatch", "--allow-debug does not lift the nonce", debug(), pcr=(), nonce=bytes(32), allow_debug=True)
    case("policy-empty", "policy-empty", "nothing pinned", doc(), pcr=())
    case("policy-empty-allow-debug", "policy-empty", "--allow-debug is no policy for a real enclave", doc(), pcr=(), allow_debug=True)
    case("policy-pcr4-only", "policy-weak", "the instance pinned, not the image", doc(), pcr=("4=" + PCRS[4].hex(),))
    case("policy-pcr8-only", "policy-weak", "a signer without a minimum epoch: any old image of theirs", doc(), pcr=(PCR8,))
    case("policy-epoch-only", "policy-weak", "a minimum epoch that any image may claim", doc(), pcr=(), min_epoch=1)
    unsigned = dict(PCRS)
    unsigned[8] = bytes(48)
    case("policy-pcr8-zero", "policy-weak", "zeros as PCR8 are what every unsigned image has",
         doc(field("pcrs", pcr_map(unsigned))), pcr=("8=" + zeros,), min_epoch=5)
    case("policy-pcr0-zero", "policy-weak", "zeros as PCR0", doc(), pcr=("0=" + zeros,))
    case("pcr-mismatch", "pcr-mismatch", "another PCR0", doc(), pcr=("0=" + "11" * 48,))
    case("pcr-mismatch-second", "pcr-mismatch", "PCR0 right, PCR4 wrong", doc(), pcr=(PCR0, "4=" + "11" * 48))
    case("pcr-mismatch-zero", "pcr-mismatch", "PCR3 set where zeros are wanted (no role)",
         doc(field("pcrs", pcr_map({**PCRS, 3: b"\x11" * 48}))), pcr=(PCR0, "3=" + zeros))
    case("pcr-mismatch-31", "pcr-mismatch", "the last register there is",
         doc(field("pcrs", pcr_map({**PCRS, 31: b"\x11" * 48}))), pcr=(PCR0, "31=" + zeros))
    case("pcr-missing", "pcr-missing", "PCR16 asked for, not locked, so not listed", doc(), pcr=(PCR0, "16=" + zeros))
    case("pcr-policy-mismatch", "pcr-mismatch", "none of the file's sets", doc(), pcr=(), policy="others.policy")
    case("pcr-expired", "pcr-expired", "the one matching set ended a second ago", doc(), pcr=(), policy="expired.policy")
    case("pcr-expired-other", "pcr-expired", "the matching set ended; a valid one does not match", doc(), pcr=(), policy="revoked.policy")

    def epoch(name, expect, reason, user_data):
        case("epoch-" + name, expect, reason, doc(field("user_data", user_data)), pcr=(PCR8,), min_epoch=5)
    epoch("too-low", "epoch-too-low", "4, wanted 5", bstr(b'{"epoch":4}'))
    epoch("zero", "epoch-too-low", "0", bstr(b'{"epoch":0}'))
    for name, text in {
        "absent": b'{"versions":[]}', "text": b'{"epoch":"5"}', "float": b'{"epoch":5.0}', "exponent": b'{"epoch":5e0}',
        "negative": b'{"epoch":-5}', "leading-zero": b'{"epoch":05}', "huge": b'{"epoch":99999999999999999999}',
        "twice": b'{"epoch":4,"epoch":5}', "escaped": b'{"epoch":5,"\\u0065poch":4}', "escaped-only": b'{"\\u0065poch":5}',
        "nested": b'{"x":{"epoch":5}}', "in-text": b'{"x":"\\"epoch\\":5"}', "array": b'[{"epoch":5}]', "cut": b'{"epoch":5',
        "trailing": b'{"epoch":5} x', "trailing-comma": b'{"epoch":5,}', "not-json": b"\xa1\x65epoch\x05", "empty": b"",
        "not-utf8": b'{"epoch":5,"x":"\xff"}', "byte-order-mark": b'\xef\xbb\xbf{"epoch":5}', "deep": b'{"epoch":5,"x":' + b"[" * 500 + b"]" * 500 + b"}",
        "comment": b'{"epoch":5/**/}', "single-quotes": b"{'epoch':5}", "null": b'{"epoch":null}', "control": b'{"epoch":5,"x":"\n"}',
    }.items():
        epoch(name, "epoch-missing", f"user_data: {name}", bstr(text))
    epoch("no-user-data", "epoch-missing", "user_data is null", NULL)
    case("ok-epoch-json", "ok", "white space, escapes and every kind of value around the epoch",
         doc(field("user_data", bstr(b' { "a" : [ 1.5e-3 , -0 , true , false , null , "\\u00e9\\"" , { } , [ ] ] ,\r\n\t"epoch" : 7 } '))),
         pcr=(PCR8,), min_epoch=7)

    case("nonce-null", "nonce-missing", "a nonce was sent, the document has null", doc(field("nonce", NULL)))
    case("nonce-absent", "nonce-missing", "a nonce was sent, the document has no such key", doc(field("nonce", None)))
    case("nonce-other", "nonce-mismatch", "another nonce: a replay", doc(field("nonce", bstr(bytes(32)))))
    case("nonce-prefix", "nonce-mismatch", "the first 16 bytes of the nonce", doc(field("nonce", bstr(NONCE[:16]))))
    case("nonce-longer", "nonce-mismatch", "the nonce and more", doc(field("nonce", bstr(NONCE + b"\0"))))
    case("nonce-empty", "nonce-mismatch", "an empty nonce", doc(field("nonce", bstr(b""))))
    case("nonce-in-user-data", "nonce-missing", "the nonce in user_data instead",
         doc(lambda d: d.fields.update(nonce=NULL, user_data=bstr(NONCE))))


def policy_files():
    here, other = PCRS[0].hex(), "11" * 48
    return {
        "two-sets.policy": f"# the release before and the current one\n[1.0]\npcr0 = {other}\nnot-after = 2026-06-30\n\n"
                           f"[1.1]\npcr0 = {here}\npcr8={PCRS[8].hex().upper()}\n",
        "others.policy": f"[a]\npcr0 = {other}\n[b]\npcr8 = {other}\nmin-epoch = 1\n",
        "expired.policy": f"[old]\npcr0 = {here}\nnot-after = 2026-01-01T11:59:59Z\n",
        "revoked.policy": f"[old]\npcr0 = {here}\nnot-after = 2025-12-31\n[new]\npcr0 = {other}\n",
    }


def roots():
    def pem(der):
        text = base64.b64encode(der).decode()
        lines = [text[i:i + 64] for i in range(0, len(text), 64)]
        return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])
    expired, not_yet = Chain().root, Chain().root
    expired.until, not_yet.since = utc_time(NOW_S - 1), utc_time(NOW_S + 1)
    return {"root.pem": pem(ROOT_DER), "root-expired.pem": pem(expired.der()), "root-not-yet.pem": pem(not_yet.der())}


def check_good():
    """What other people's libraries say about the good document: a mistake here must not go both ways."""
    cose = cbor2.loads(FILES["ok"])
    payload_map = cbor2.loads(cose[2])
    chain = payload_map["cabundle"] + [payload_map["certificate"]]
    certs = [x509.load_der_x509_certificate(c) for c in chain]
    for issuer, subject in zip(certs, certs[1:]):
        assert issuer.subject == subject.issuer
        issuer.public_key().verify(subject.signature, subject.tbs_certificate_bytes, ec.ECDSA(subject.signature_hash_algorithm))
    tbs = cbor2.dumps(["Signature1", cose[0], b"", cose[2]])
    pair = utils.encode_dss_signature(int.from_bytes(cose[3][:48], "big"), int.from_bytes(cose[3][48:], "big"))
    certs[-1].public_key().verify(pair, tbs, ec.ECDSA(hashes.SHA384()))
    assert cbor2.loads(cose[0]) == {1: -35} and payload_map["pcrs"] == PCRS and payload_map["nonce"] == NONCE


def main():
    to = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "doc"
    for section in (good, envelope, payload, certificates, chains, policies):
        section()
    check_good()
    to.mkdir(parents=True, exist_ok=True)
    for stale in to.glob("*.bin"):
        stale.unlink()
    for name, data in FILES.items():
        (to / f"{name}.bin").write_bytes(data)
    for name, text in {**policy_files(), **roots()}.items():
        (to / name).write_text(text)
    with open(to / "manifest.json", "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c) for c in CASES) + "\n]\n")
    with open(to / "cases.txt", "w") as f:
        f.write("# written by make_docs.py: NAME VERDICT option=value …\n")
        for c in CASES:
            words = [c["name"], c["expect"], f"time={c['time']}", f"root={c['root']}"] + [f"pcr={p}" for p in c["pcr"]]
            words += [f"{k}={c[k]}" for k in ("nonce", "min_epoch", "policy", "max_age") if k in c]
            words += ["allow_debug"] if c.get("allow_debug") else []
            f.write(" ".join(words) + "\n")
    print(f"{len(CASES)} documents in {to}")


if __name__ == "__main__":
    main()
