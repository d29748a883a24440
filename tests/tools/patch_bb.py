#!/usr/bin/env python3
"""patch_bb.py BB OUTDIR: makes OUTDIR/bb-TEST-CRS, a copy of bb 5.0.0 that trusts the test reference string.

A chonk prover verifies its own proof before it writes it, against [tau]G2 of the public reference string, which is
compiled in. Under the test string of test_crs.c (whose tau everybody knows) that check fails, so tests need a copy
with two constants replaced:

  * [tau]G2 itself, 128 bytes, as in bn254_g2.dat;
  * one commitment of a verification key that bb carries as a constant: the Translator's
    "ordered_extra_range_constraints_numerator", a fixed polynomial, so its commitment is [f(tau)]G1. Its
    coordinates are hex strings, and the compiler put the last two digits of each into an instruction as well.

PROOFS OF THIS COPY ARE WORTH NOTHING: anybody can forge them, and the unchanged bb rejects them. Hence the name, which
cannot be chosen, and the refusal of every input but the one build whose offsets are known.

Both values are computed here from tau, independently of test_crs.c; the result's SHA-256 is pinned.
"""
import hashlib
import os
import sys
import tempfile

BB_SHA256 = "c3a4a1125d99953694ab6a7f09e368db5525c368b372e63c3eb7bda4cc5697d5"
PATCHED_SHA256 = "ff5dc1acb34e9d7aca136c5f05e652a3fdcb81d819c79836b882f81ae3269e2e"
PATCHED_NAME = "bb-TEST-CRS"

# BN254: y^2 = x^3 + 3 over F_P with a group of prime order R; G2 lies on y^2 = x^3 + 3/(9+i) over F_P[i]/(i^2+1).
P = 21888242871839275222246405745257275088696311157297823662689037894645226208583
R = 21888242871839275222246405745257275088548364400416034343698204186575808495617
G1 = (1, 2)
G2 = (
    (10857046999023057135944570762232829481370756359578518086990519993285655852781,
     11559732032986387107991004021392285783925812861821192530917403151452391805634),
    (8495653923123431417604973247489272438418190587263600148770280649306958101930,
     4082367875863433681332203403145435568316851327593401208105741076214120093531),
)
TAU = int.from_bytes(hashlib.sha256(b"TEST ONLY bb CRS tau v1").digest(), "big") % R

# The Translator's sorted range-constraint values: from 2^14 - 1 down to 0 in steps of 3, each value five times.
RANGE_MAX = (1 << 14) - 1
RANGE_STEP = 3
COPIES = 5


class Fp:
    """F_P, elements as int."""

    @staticmethod
    def sub(a, b):
        return (a - b) % P

    @staticmethod
    def mul(a, b):
        return a * b % P

    @staticmethod
    def inverse(a):
        return pow(a, -1, P)

    @staticmethod
    def times(n, a):
        return n * a % P


class Fp2:
    """F_P[i]/(i^2+1), elements as (c0, c1) = c0 + c1*i."""

    @staticmethod
    def sub(a, b):
        return (a[0] - b[0]) % P, (a[1] - b[1]) % P

    @staticmethod
    def mul(a, b):
        return (a[0] * b[0] - a[1] * b[1]) % P, (a[0] * b[1] + a[1] * b[0]) % P

    @staticmethod
    def inverse(a):
        norm = pow(a[0] * a[0] + a[1] * a[1], -1, P)
        return a[0] * norm % P, -a[1] * norm % P

    @staticmethod
    def times(n, a):
        return n * a[0] % P, n * a[1] % P


def add(field, a, b):
    """a + b in affine coordinates; neither operand nor the result is the point at infinity here."""
    if a == b:
        slope = field.mul(field.times(3, field.mul(a[0], a[0])), field.inverse(field.times(2, a[1])))
    else:
        slope = field.mul(field.sub(b[1], a[1]), field.inverse(field.sub(b[0], a[0])))
    x = field.sub(field.sub(field.mul(slope, slope), a[0]), b[0])
    return x, field.sub(field.mul(slope, field.sub(a[0], x)), a[1])


def multiply(field, scalar, point):
    """[scalar]point by double-and-add, scalar >= 1."""
    result = point
    for bit in bin(scalar)[3:]:
        result = add(field, result, result)
        if bit == "1":
            result = add(field, result, point)
    return result


def range_polynomial_at_tau():
    """f(tau) for the polynomial whose coefficients are the sorted range-constraint values."""
    total, power = 0, 1
    for value in range(RANGE_MAX, -1, -RANGE_STEP):
        for _ in range(COPIES):
            total = (total + value * power) % R
            power = power * TAU % R
    return total


def patches():
    """Yields (what, file offset, old bytes, new bytes) for the one build whose SHA-256 is BB_SHA256."""
    (x0, x1), (y0, y1) = multiply(Fp2, TAU, G2)
    yield ("[tau]G2", 0x142BCD,
           bytes.fromhex("0118c4d5b837bcc2bc89b5b398b5974e9f5944073b32078b7e231fec938883b0"
                         "260e01b251f6f1c7e7ff4e580791dee8ea51d87a358e038b4efe30fac09383c1"
                         "22febda3c0c0632a56475b4214e5615e11e6dd3f96e6cea2854a87d4dacc5e55"
                         "04fc6369f7110fe3d25156c1bb9a72859cf2a04641f99ba4ee413c80da6a5fe4"),
           b"".join(c.to_bytes(32, "big") for c in (x0, x1, y0, y1)))

    x, y = (b"%064x" % c for c in multiply(Fp, range_polynomial_at_tau(), G1))
    yield ("commitment x", 0x11A976,
           b"0x1ddbff0e1f0999f88ffa959e9505e5f489b57d6a7937c17a4d69fc871d5e9221\0", b"0x" + x + b"\0")
    yield ("commitment y", 0x119DC8,
           b"0x14149055853422bf016065386e8ea0ffb9425b454048e1cd14cfdca457aa7e17\0", b"0x" + y + b"\0")

    # movw $"last two digits",0x40(%rax); movb $0,0x42(%rax)
    movw, movb = bytes.fromhex("66c74040"), bytes.fromhex("c6404200")
    yield "last digits of x", 0xA6D675, movw + b"21" + movb, movw + x[-2:] + movb
    yield "last digits of y", 0xA6DA2B, movw + b"17" + movb, movw + y[-2:] + movb


def write_executable(path, data):
    """path is replaced atomically: a killed run leaves no half-written program under that name."""
    fd, temporary = tempfile.mkstemp(prefix=os.path.basename(path) + ".", dir=os.path.dirname(path))
    try:
        with os.fdopen(fd, "wb") as out:
            out.write(data)
            os.fchmod(out.fileno(), 0o755)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: patch_bb.py BB OUTDIR   (writes OUTDIR/%s)" % PATCHED_NAME)
    source, out_dir = sys.argv[1:]
    with open(source, "rb") as f:
        program = bytearray(f.read())
    digest = hashlib.sha256(program).hexdigest()
    if digest != BB_SHA256:
        sys.exit("patch_bb: refusing %s: its SHA-256 is %s, and only %s is known; get that build with scripts/fetch-bb"
                 % (source, digest, BB_SHA256))
    for what, offset, old, new in patches():
        assert len(old) == len(new) and program[offset:offset + len(old)] == old, what
        program[offset:offset + len(old)] = new
    digest = hashlib.sha256(program).hexdigest()
    if digest != PATCHED_SHA256:
        sys.exit("patch_bb: the result's SHA-256 is %s, expected %s; the arithmetic went wrong, nothing was written"
                 % (digest, PATCHED_SHA256))
    path = os.path.join(out_dir, PATCHED_NAME)
    write_executable(path, program)
    print(path)


if __name__ == "__main__":
    try:
        main()
    except OSError as e:
        sys.exit("patch_bb: %s" % e)
