#!/usr/bin/python3
"""make_openpgp_seeds.py: writes the seeds of the OpenPGP fuzz targets into fuzz/corpus, from the vectors in
tests/vectors/openpgp. Seeds that a fuzzer found and that are kept beside them are left alone."""
import base64
import pathlib
import sys

TOP = pathlib.Path(__file__).resolve().parents[1]
VECTORS = TOP / "tests/vectors/openpgp"
sys.path.insert(0, str(VECTORS))
sys.dont_write_bytecode = True
import make_attacks as attacks  # noqa: E402

SMALL = 2500


def write(target, name, data):
    place = TOP / "fuzz/corpus" / target
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(data)


def contents():
    a = attacks
    a.begin("seeds")
    marker, padding = a.packet(a.MARKER, b"PGP"), a.packet(a.PADDING, bytes(9))
    yield "literal", a.SMALL
    yield "empty", a.literal(b"")
    yield "parts", a.literal(a.plaintext(1500), parts=[9, 3, 0])
    yield "name", a.literal(a.plaintext(5), b"u", b"name")
    yield "markers", marker + a.literal(b"x", b"t") + marker + padding
    yield "long", a.literal(a.plaintext(200), form=5)
    yield "claims", a.packet(a.LITERAL, b"b\0\0\0\0\0" + a.plaintext(20), says=0xFFFFFFFF, form=5)
    yield "two", a.SMALL + a.SMALL
    yield "compressed", a.packet(a.COMPRESSED, b"\0" + a.SMALL)


def main():
    for path in sorted((VECTORS / "attack").glob("*.pgp")) + sorted((VECTORS / "openpgpjs").glob("*.pgp")):
        data = path.read_bytes()
        # a few of each kind are enough; large ones slow the fuzzer down
        if len(data) <= SMALL and not path.stem.startswith(("cipher-", "mode-", "outer-", "literal-kind", "small-order")):
            write("openpgp_message", path.stem, b"\0\x28" + data)
    for name, data in contents():
        write("openpgp_message", f"packets-{name}", b"\x01\x28\x00" + data)
        write("openpgp_message", f"packets-{name}-ocb-parts", b"\x01\x07\x16" + data)
        write("openpgp_content", name, b"\x07\xff" + data)
        write("openpgp_content", f"{name}-limit", b"\x50\x01" + data)
    for path in sorted((VECTORS / "attack").glob("*.asc")):
        data = path.read_bytes()
        if not path.stem.startswith("armor-"):
            text = data.decode().split("\n\n", 1)[1].split("\n=")[0]
            write("openpgp_key", path.stem, b"\x01" + base64.b64decode(text))
        else:
            write("armor", path.stem, data)
    good = (VECTORS / "attack/good.asc").read_bytes()
    write("openpgp_key", "armored", b"\0" + good)
    write("armor", "good", good)


if __name__ == "__main__":
    main()
