#!/usr/bin/python3
"""Writes the seeds of eif_fuzz, eif_signature_fuzz and cpio_fuzz to fuzz/corpus (or to the directory given)."""
import pathlib
import sys

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests" / "vectors"))
import make_eifs as eifs  # noqa: E402  (needs the path)


def cpio_entry(name, mode, contents=b"", ino=1, nlink=1, rdev=(0, 0), size=None):
    numbers = [ino, mode, 0, 0, nlink, 0, len(contents) if size is None else size, 0, 0, *rdev, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % n for n in numbers) + name + b"\0"
    return head + bytes(-len(head) % 4) + contents + bytes(-len(contents) % 4)


def cpio_seeds():
    trailer = cpio_entry(b"TRAILER!!!", 0, ino=0)
    tree = (cpio_entry(b".", 0o40755, nlink=2) + cpio_entry(b"etc", 0o40755, ino=2) + cpio_entry(b"etc/a", 0o100644, b"hello", 3, 2) +
            cpio_entry(b"etc/b", 0o100644, ino=3, nlink=2) + cpio_entry(b"link", 0o120777, b"etc/a", 4) +
            cpio_entry(b"null", 0o20666, ino=5, rdev=(1, 3)))
    return {
        "empty": trailer, "tree": tree + trailer, "padded": tree + trailer + bytes(512), "no-trailer": tree,
        "dotdot": cpio_entry(b"../x", 0o100644, b"x") + trailer, "absolute": cpio_entry(b"/x", 0o100644, b"x") + trailer,
        "huge": cpio_entry(b"x", 0o100644, b"x", size=0xffffffff) + trailer, "crc-magic": b"070702" + tree[6:] + trailer,
        "after": tree + trailer + tree, "long-name": cpio_entry(b"a/" * 2047 + b"a", 0o100644, b"x") + trailer,
        "trailer-with-contents": cpio_entry(b"TRAILER!!!", 0, b"xxxx"), "gzip": b"\x1f\x8b\x08" + bytes(20),
    }


def signature_seeds():
    signer = eifs.certificate()
    eifs.signature_cases()
    seeds = {"section": b"\0" + eifs.section(), "section-bytes": b"\0" + eifs.section(as_array=False),
             "section-zero-pcr": b"\0" + eifs.section(pcr0=bytes(48)),
             "map": b"\1" + eifs.signed_map(eifs.PCR0), "map-bytes": b"\1" + eifs.signed_map(eifs.PCR0, as_array=False),
             "pem": b"\2" + eifs.pem(signer.der()), "der": b"\2" + signer.der(),
             "raw": b"\3" + bytes(range(96)), "hex": b"\3" + bytes(range(96)).hex().encode(),
             "der-signature": b"\3" + eifs.seq(eifs.integer(1 << 383), eifs.integer(5)),
             "base64": b"\3" + eifs.base64.b64encode(bytes(range(96)))}
    for name, (content, *_) in eifs.cases.items():
        if name.startswith("signature-"):        # the section is the last one of the image
            at = content.rindex(b"\0\4\0\0\0\0\0\0")
            seeds[name[:-4]] = b"\0" + content[at + 12:]
    return seeds


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else TOP / "fuzz" / "corpus"
    seeds = {"cpio": cpio_seeds(), "eif_signature": signature_seeds()}
    eifs.cases.clear()
    for make in eifs.good_cases, eifs.header_cases, eifs.section_cases:
        make()
    seeds["eif"] = {name[:-4]: content for name, (content, *_) in eifs.cases.items() if len(content) < 20000}
    for kind, files in seeds.items():
        (out / kind).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / kind / name).write_bytes(content)
        print(f"{kind}: {len(files)} seeds")


if __name__ == "__main__":
    main()
