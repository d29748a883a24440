#!/usr/bin/python3
"""make_nsm.py OUTDIR: writes messages to and from a Nitro Secure Module that must be refused, each valid in all respects but
one, some that must not be, and manifest.txt: file, what the parser says, what the module answers, reason.

    requests/NAME.cbor    answered by a module as it has booted, or with PCR 20 locked (names that begin with locked-)
    responses/NAME.cbor   read by whoever asked; no answer: -

Independent of the project's own code: well-formed messages are cbor2's, the others are put together byte by byte.
"""
import pathlib
import sys

import cbor2

REQUEST_MAX, RESPONSE_MAX = 0x1000, 0x3000
PCR = b"\xab" + bytes(47)
OPERATION, INDEX, ARGUMENT, READ_ONLY, LARGE = "InvalidOperation", "InvalidIndex", "InvalidArgument", "ReadOnlyIndex", "InputTooLarge"


def ask(kind, **fields):
    return cbor2.dumps({kind: fields})


def with_head(kind, head):
    """{kind: …} with these bytes for …."""
    return b"\xa1" + cbor2.dumps(kind) + head


def attestation(**fields):
    return ask("Attestation", **{"user_data": None, "nonce": None, "public_key": None, **fields})


def extend_of(size):
    """A whole request of that many bytes."""
    empty = len(ask("ExtendPCR", index=16, data=bytes(1000))) - 1000
    return ask("ExtendPCR", index=16, data=bytes(size - empty))


DESCRIBE = ask("DescribePCR", index=5)
INDEX_KEY = cbor2.dumps("index")
REQUESTS = {
    "good-describe-pcr": (DESCRIBE, "ok", "DescribePCR", "PCR 5"),
    "good-describe-nsm": (cbor2.dumps("DescribeNSM"), "ok", "DescribeNSM", "no arguments"),
    "good-get-random": (cbor2.dumps("GetRandom"), "ok", "GetRandom", "no arguments"),
    "good-extend": (ask("ExtendPCR", index=16, data=b"abc"), "ok", "ExtendPCR", "PCR 16 is free"),
    "good-extend-text": (ask("ExtendPCR", index=16, data="hey"), "ok", "ExtendPCR", "text where bytes belong, as serde takes it"),
    "good-extend-largest": (extend_of(REQUEST_MAX), "ok", "ExtendPCR", "a request of 4,096 bytes"),
    "good-lock": (ask("LockPCR", index=31), "ok", "LockPCR", "PCR 31 is free"),
    "good-lock-all": (ask("LockPCRs", range=32), "ok", "LockPCRs", "all 32, half of them locked already"),
    "good-attestation": (attestation(user_data=b"u", nonce=b"n", public_key=b"k"), "ok", "Attestation", "all three"),
    "good-attestation-nulls": (attestation(), "ok", "Attestation", "none of the three"),
    "good-attestation-absent": (ask("Attestation"), "ok", "Attestation", "none of the three, left out"),
    "good-attestation-largest": (attestation(user_data=bytes(512), nonce=bytes(512), public_key=bytes(1024)), "ok", "Attestation", "as much as there may be"),
    "good-unknown-field": (ask("DescribePCR", future={"a": [1]}, index=5), "ok", "DescribePCR", "a field of a newer version"),
    # what is no request
    "empty": (b"", "malformed", OPERATION, "no byte"),
    "integer": (b"\x00", "malformed", OPERATION, "an integer"),
    "null": (b"\xf6", "malformed", OPERATION, "null"),
    "array": (b"\x80", "malformed", OPERATION, "an array"),
    "empty-map": (b"\xa0", "malformed", OPERATION, "an empty map"),
    "not-utf8": (b"\x62\xff\x00", "malformed", OPERATION, "text that is not UTF-8"),
    "trailing-text": (cbor2.dumps("DescribeNSM") + b"\0", "malformed", OPERATION, "a byte after a request without arguments"),
    "trailing-map": (DESCRIBE + b"\0", "malformed", OPERATION, "a byte after a request with arguments"),
    "cut": (DESCRIBE[:-1], "malformed", OPERATION, "the last byte is missing"),
    "name-bytes": (cbor2.dumps(b"GetRandom"), "malformed", OPERATION, "the name as a byte string"),
    "unknown": (cbor2.dumps("DescribeGolfers"), "unknown-kind", OPERATION, "no such request"),
    "error": (cbor2.dumps("Error"), "unknown-kind", OPERATION, "Error is no request"),
    "attestation-unit": (cbor2.dumps("Attestation"), "unknown-kind", OPERATION, "without its arguments"),
    "random-map": (ask("GetRandom"), "unknown-kind", OPERATION, "arguments where none are"),
    "case": (cbor2.dumps("Getrandom"), "unknown-kind", OPERATION, "case matters"),
    "two-requests": (cbor2.dumps({"DescribePCR": {"index": 5}, "LockPCR": {"index": 16}}), "malformed", OPERATION, "two in one map"),
    "arguments-null": (with_head("DescribePCR", b"\xf6"), "malformed", OPERATION, "arguments null"),
    "arguments-integer": (with_head("DescribePCR", b"\x05"), "malformed", OPERATION, "arguments an integer"),
    "key-integer": (with_head("DescribePCR", b"\xa1\x01\x05"), "malformed", OPERATION, "a key that is no text"),
    "indefinite": (with_head("DescribePCR", b"\xbf" + INDEX_KEY + b"\x05\xff"), "malformed", OPERATION, "arguments of indefinite length"),
    "indefinite-outer": (b"\xbf" + DESCRIBE[1:] + b"\xff", "malformed", OPERATION, "a request of indefinite length"),
    "huge-count": (with_head("Attestation", b"\xbb" + b"\xff" * 8), "malformed", OPERATION, "2^64-1 fields"),
    # fields
    "no-index": (ask("DescribePCR"), "missing-field", OPERATION, "no index"),
    "no-data": (ask("ExtendPCR", index=16), "missing-field", OPERATION, "no data"),
    "no-range": (ask("LockPCRs"), "missing-field", OPERATION, "no range"),
    "index-twice": (with_head("DescribePCR", b"\xa2" + 2 * (INDEX_KEY + b"\x05")), "duplicate-field", OPERATION, "index twice"),
    "nonce-twice": (with_head("Attestation", b"\xa2" + cbor2.dumps("nonce") + b"\xf6" + cbor2.dumps("nonce") + b"\x41\x01"), "duplicate-field", OPERATION, "nonce twice"),
    "index-negative": (ask("DescribePCR", index=-1), "bad-field", OPERATION, "index -1"),
    "index-65536": (ask("DescribePCR", index=65536), "bad-field", OPERATION, "an index of 17 bits"),
    "index-text": (ask("DescribePCR", index="5"), "bad-field", OPERATION, "index as text"),
    "index-map": (ask("DescribePCR", index={}), "bad-field", OPERATION, "index a map"),
    "index-float": (with_head("DescribePCR", b"\xa1" + INDEX_KEY + b"\xf9\x45\x00"), "malformed", OPERATION, "index 5.0"),
    "index-long-form": (with_head("DescribePCR", b"\xa1" + INDEX_KEY + b"\x18\x05"), "malformed", OPERATION, "index in a longer head than needed"),
    "data-array": (ask("ExtendPCR", index=16, data=[1]), "bad-field", OPERATION, "data an array"),
    "data-null": (ask("ExtendPCR", index=16, data=None), "bad-field", OPERATION, "data null"),
    "data-huge": (with_head("ExtendPCR", b"\xa2" + INDEX_KEY + b"\x10" + cbor2.dumps("data") + b"\x5b" + b"\xff" * 8), "malformed", OPERATION, "data of 2^64-1 bytes"),
    "nonce-integer": (ask("Attestation", nonce=0), "bad-field", OPERATION, "nonce an integer"),
    "nonce-true": (ask("Attestation", nonce=True), "bad-field", OPERATION, "nonce true"),
    "nonce-indefinite": (with_head("Attestation", b"\xa1" + cbor2.dumps("nonce") + b"\x5f\x41\x01\xff"), "malformed", OPERATION, "nonce in pieces"),
    "nonce-tagged": (with_head("Attestation", b"\xa1" + cbor2.dumps("nonce") + b"\xc2\x41\x01"), "malformed", OPERATION, "nonce tagged"),
    # what a module refuses although it is a request
    "index-32": (ask("DescribePCR", index=32), "ok", INDEX, "there are 32 PCRs"),
    "index-65535": (ask("DescribePCR", index=65535), "ok", INDEX, "the largest number that fits"),
    "extend-32": (ask("ExtendPCR", index=32, data=b"x"), "ok", INDEX, "no such PCR"),
    "lock-32": (ask("LockPCR", index=32), "ok", INDEX, "no such PCR"),
    "range-33": (ask("LockPCRs", range=33), "ok", INDEX, "one more than there are"),
    "extend-15": (ask("ExtendPCR", index=15, data=b"x"), "ok", READ_ONLY, "locked at boot"),
    "lock-0": (ask("LockPCR", index=0), "ok", READ_ONLY, "locked at boot"),
    "locked-extend": (ask("ExtendPCR", index=20, data=b"x"), "ok", READ_ONLY, "locked since"),
    "locked-again": (ask("LockPCR", index=20), "ok", READ_ONLY, "locked since"),
    "public-key-empty": (attestation(public_key=b""), "ok", ARGUMENT, "no valid document carries an empty key"),
    "user-data-513": (attestation(user_data=bytes(513)), "ok", LARGE, "one byte too many"),
    "nonce-513": (attestation(nonce=bytes(513)), "ok", LARGE, "one byte too many"),
    "public-key-1025": (attestation(public_key=bytes(1025)), "ok", LARGE, "one byte too many"),
    "too-long": (extend_of(REQUEST_MAX + 1), "too-long", LARGE, "a request of 4,097 bytes"),
}

DESCRIPTION = {"version_major": 1, "version_minor": 0, "version_patch": 0, "module_id": "i-1-enc2", "max_pcrs": 32, "locked_pcrs": [0, 31],
               "digest": "SHA384"}


def description(**fields):
    return cbor2.dumps({"DescribeNSM": {**DESCRIPTION, **fields}})


def failed(what):
    return cbor2.dumps({"Error": what})


RESPONSES = {
    "good-attestation": (ask("Attestation", document=b"\x84"), "ok", "a document (what is in it, the verifier says)"),
    "good-describe-nsm": (description(), "ok", "a description"),
    "good-describe-nsm-newer": (description(future=[1]), "ok", "a field of a newer version"),
    "good-describe-pcr": (ask("DescribePCR", lock=True, data=PCR), "ok", "a register"),
    "good-extend": (ask("ExtendPCR", data=PCR), "ok", "a register"),
    "good-lock": (cbor2.dumps("LockPCR"), "ok", "nothing to say"),
    "good-random": (ask("GetRandom", random=bytes(256)), "ok", "256 bytes"),
    "good-error": (failed("ReadOnlyIndex"), "ok", "an error that the module has"),
    "empty": (b"", "malformed", "no byte"),
    "error-success": (failed("Success"), "bad-field", "Success is no error"),
    "error-unknown": (failed("Wat"), "bad-field", "an error that the module has not"),
    "error-number": (failed(1), "bad-field", "an error that is a number"),
    "error-cut": (failed("ab")[:-2], "malformed", "an error cut short"),
    "error-trailing": (failed("ReadOnlyIndex") + b"\0", "malformed", "a byte after an error"),
    "error-alone": (cbor2.dumps("Error"), "unknown-kind", "an error that is none"),
    "unknown": (ask("DescribeGolfers"), "unknown-kind", "no such answer"),
    "describe-nsm-alone": (cbor2.dumps("DescribeNSM"), "unknown-kind", "without its map"),
    "document-empty": (ask("Attestation", document=b""), "bad-field", "an empty document"),
    "document-null": (ask("Attestation", document=None), "bad-field", "a null document"),
    "document-text": (ask("Attestation", document="1"), "bad-field", "a document of text"),
    "document-absent": (ask("Attestation"), "missing-field", "no document"),
    "document-twice": (with_head("Attestation", b"\xa2" + 2 * (cbor2.dumps("document") + b"\x41\x84")), "duplicate-field", "two documents"),
    "document-indefinite": (with_head("Attestation", b"\xa1" + cbor2.dumps("document") + b"\x5f\x41\x84\xff"), "malformed", "a document in pieces"),
    "random-empty": (ask("GetRandom", random=b""), "bad-field", "no random bytes"),
    "pcr-47": (ask("ExtendPCR", data=bytes(47)), "bad-field", "a register of 47 bytes"),
    "pcr-49": (ask("DescribePCR", lock=True, data=bytes(49)), "bad-field", "a register of 49 bytes"),
    "lock-integer": (ask("DescribePCR", lock=1, data=PCR), "bad-field", "lock is no truth"),
    "module-id-empty": (description(module_id=""), "bad-field", "a module without a name"),
    "module-id-100": (description(module_id="x" * 100), "bad-field", "a name of 100 bytes"),
    "module-id-bytes": (description(module_id=b"x"), "bad-field", "a name that is no text"),
    "locked-twice": (description(locked_pcrs=[0, 0]), "bad-field", "a PCR listed twice"),
    "locked-32": (description(locked_pcrs=[0, 32]), "bad-field", "there are 32 PCRs"),
    "digest-unknown": (description(digest="SHA385"), "bad-field", "no such digest"),
    "digest-absent": (cbor2.dumps({"DescribeNSM": {k: v for k, v in DESCRIPTION.items() if k != "digest"}}), "missing-field", "no digest"),
    "trailing": (cbor2.dumps("LockPCRs") + b"\0", "malformed", "a byte after the answer"),
    "too-long": (bytes(RESPONSE_MAX + 1), "too-long", "12,289 bytes"),
}


def main():
    out = pathlib.Path(sys.argv[1])
    lines = []
    for directory, rows in ("requests", REQUESTS), ("responses", {k: (d, v, "-", why) for k, (d, v, why) in RESPONSES.items()}):
        (out / directory).mkdir(parents=True, exist_ok=True)
        for name, (data, verdict, answer, reason) in rows.items():
            (out / directory / f"{name}.cbor").write_bytes(data)
            lines.append(f"{directory}/{name}.cbor {verdict} {answer} {reason}\n")
    (out / "manifest.txt").write_text("".join(sorted(lines)))


if __name__ == "__main__":
    main()
