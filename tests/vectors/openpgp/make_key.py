#!/usr/bin/python3
"""make_key.py OUTDIR: writes the OpenPGP key pair of these vectors, in the layout that the prover publishes.

The key is FOR TESTS ONLY: its secrets are hashes of public sentences, so the files come out the same each time.
Independent of the project's own OpenPGP code: packets are put together here from RFC 9580, signatures come from
python3-cryptography.

    key.pgp    public certificate, binary packets       key.asc    the same, armored
    secret.asc the transferable secret key, armored, not encrypted: for sqop and openpgp.js
    key.txt    "name value" lines in hex (created: decimal): raw secrets and public keys, fingerprints
"""
import base64
import hashlib
import os
import struct
import sys

from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CREATED = 1735689600  # 2025-01-01: back-dated, as the prover does for clients whose clock is behind
USER_ID = b"TEE-Rex"

TAG_SIGNATURE, TAG_SECRET_KEY, TAG_PUBLIC_KEY, TAG_SECRET_SUBKEY, TAG_USER_ID, TAG_PUBLIC_SUBKEY = 2, 5, 6, 7, 13, 14
ED25519, X25519, SHA512 = 27, 25, 10
CERTIFICATION, SUBKEY_BINDING = 0x13, 0x18

# Signature subpackets (RFC 9580 section 5.2.3.1).
CREATION_TIME, KEY_FLAGS, FEATURES, ISSUER_FINGERPRINT, PREFERRED_SUITES = 2, 27, 30, 33, 39
FEATURE_SEIPD_V1, FEATURE_SEIPD_V2 = 0x01, 0x08
FLAG_ENCRYPT = 0x0C
AES128, AES256, OCB, GCM = 7, 9, 2, 3


def packet(tag, body):
    if len(body) < 192:
        length = bytes([len(body)])
    else:
        assert len(body) < 8384
        length = bytes([((len(body) - 192) >> 8) + 192, (len(body) - 192) & 255])
    return bytes([0xC0 | tag]) + length + body


def subpacket(kind, body):
    return bytes([1 + len(body), kind]) + body


def public_body(algorithm, public):
    return b"\x04" + struct.pack(">IB", CREATED, algorithm) + public


def secret_body(algorithm, public, secret):
    """Not encrypted (S2K usage octet 0), so a two-octet sum of the secret's octets follows."""
    return public_body(algorithm, public) + b"\0" + secret + struct.pack(">H", sum(secret) % 65536)


def hashed_key(body):
    return b"\x99" + struct.pack(">H", len(body)) + body


def fingerprint(body):
    return hashlib.sha1(hashed_key(body)).digest()


def signature(signer, kind, subpackets, signed):
    hashed = bytes([4, kind, ED25519, SHA512]) + struct.pack(">H", len(subpackets)) + subpackets
    digest = hashlib.sha512(signed + hashed + b"\x04\xff" + struct.pack(">I", len(hashed))).digest()
    unhashed = struct.pack(">H", 0)
    return packet(TAG_SIGNATURE, hashed + unhashed + digest[:2] + signer.sign(digest))


def crc24(data):
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc.to_bytes(3, "big")


def armor(kind, data):
    text = base64.b64encode(data).decode()
    lines = [text[i:i + 64] for i in range(0, len(text), 64)]
    lines.append("=" + base64.b64encode(crc24(data)).decode())
    return "-----BEGIN PGP %s-----\n\n%s\n-----END PGP %s-----\n" % (kind, "\n".join(lines), kind)


def raw_public(private):
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: make_key.py OUTDIR")

    sign_secret = hashlib.sha256(b"TEST ONLY OpenPGP Ed25519 secret v1").digest()
    scalar = bytearray(hashlib.sha256(b"TEST ONLY OpenPGP X25519 secret v1").digest())
    scalar[0] &= 0xF8  # RFC 7748 does this on use; some implementations want it stored so
    scalar[31] = (scalar[31] & 0x7F) | 0x40
    decrypt_secret = bytes(scalar)

    signer = ed25519.Ed25519PrivateKey.from_private_bytes(sign_secret)
    sign_public = raw_public(signer)
    decrypt_public = raw_public(x25519.X25519PrivateKey.from_private_bytes(decrypt_secret))

    primary = public_body(ED25519, sign_public)
    subkey = public_body(X25519, decrypt_public)
    creation = subpacket(CREATION_TIME, struct.pack(">I", CREATED))
    issuer = subpacket(ISSUER_FINGERPRINT, b"\x04" + fingerprint(primary))
    features = subpacket(FEATURES, bytes([FEATURE_SEIPD_V1 | FEATURE_SEIPD_V2]))
    suites = subpacket(PREFERRED_SUITES, bytes([AES256, GCM, AES256, OCB, AES128, GCM, AES128, OCB]))
    flags = subpacket(KEY_FLAGS, bytes([FLAG_ENCRYPT]))

    user_id = packet(TAG_USER_ID, USER_ID)
    signed_user_id = b"\xb4" + struct.pack(">I", len(USER_ID)) + USER_ID
    self_signature = signature(signer, CERTIFICATION, creation + issuer + features + suites,
                               hashed_key(primary) + signed_user_id)
    binding = signature(signer, SUBKEY_BINDING, creation + issuer + flags, hashed_key(primary) + hashed_key(subkey))

    public = (packet(TAG_PUBLIC_KEY, primary) + user_id + self_signature +
              packet(TAG_PUBLIC_SUBKEY, subkey) + binding)
    secret = (packet(TAG_SECRET_KEY, secret_body(ED25519, sign_public, sign_secret)) + user_id + self_signature +
              packet(TAG_SECRET_SUBKEY, secret_body(X25519, decrypt_public, decrypt_secret)) + binding)

    values = [
        ("created", str(CREATED)),
        ("ed25519_secret", sign_secret.hex()),
        ("ed25519_public", sign_public.hex()),
        ("x25519_secret", decrypt_secret.hex()),
        ("x25519_public", decrypt_public.hex()),
        ("fingerprint", fingerprint(primary).hex()),
        ("subkey_fingerprint", fingerprint(subkey).hex()),
    ]
    files = {
        "key.pgp": public,
        "key.asc": armor("PUBLIC KEY BLOCK", public).encode(),
        "secret.asc": armor("PRIVATE KEY BLOCK", secret).encode(),
        "key.txt": "".join("%s %s\n" % pair for pair in values).encode(),
    }
    for name, data in files.items():
        with open(os.path.join(sys.argv[1], name), "wb") as f:
            f.write(data)


if __name__ == "__main__":
    main()
