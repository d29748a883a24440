#!/usr/bin/env python3
"""Makes the layers and documents that must be refused, each with one thing wrong, and manifest.txt, which says with which
code. Run in this directory; the results are committed. Needs zstd, xz and bzip2."""
import bz2
import gzip
import io
import json
import lzma
import pathlib
import shutil
import subprocess

TOP = pathlib.Path(__file__).resolve().parent
lines = []


def put(name, code, why, data):
    path = TOP / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    lines.append(f"{name} {code} {why}")


# --- layers -------------------------------------------------------------------------------------------------

def header(name=b"x", kind=b"0", size=0, mode=0o644, link=b"", magic=b"ustar\x0000", **fields):
    """One raw header; fields replace whole fields by name."""
    at = {"name": (0, 100), "mode": (100, 8), "uid": (108, 8), "gid": (116, 8), "size": (124, 12), "mtime": (136, 12), "link": (157, 100)}
    block = bytearray(512)
    octal = lambda v, n: b"%0*o\0" % (n - 1, v)
    values = {"name": name, "mode": octal(mode, 8), "uid": octal(0, 8), "gid": octal(0, 8), "size": octal(size, 12) if isinstance(size, int) else size,
              "mtime": octal(1700000000, 12), "link": link, **{k: v for k, v in fields.items() if k in at}}
    for key, (start, length) in at.items():
        block[start:start + length] = values[key][:length].ljust(length, b"\0")
    block[156:157] = kind
    block[257:257 + len(magic)] = magic
    block[148:156] = b" " * 8
    block[148:156] = fields.get("checksum", b"%06o\0 " % sum(block))
    return bytes(block)


def data(content):
    return content + bytes(-len(content) % 512)


def record(key, value):
    body = b" " + key + b"=" + value + b"\n"
    n = len(body)
    while n != len(str(n)) + len(body):
        n = len(str(n)) + len(body)
    return str(n).encode() + body


def pax(*records, kind=b"x", raw=None):
    content = raw if raw is not None else b"".join(record(k, v) for k, v in records)
    return header(b"PaxHeaders/x", kind, len(content)) + data(content)


END = bytes(1024)
file = lambda name, content=b"", **f: header(name, b"0", len(content), **f) + data(content)
directory = lambda name, **f: header(name, b"5", mode=0o755, **f)
symlink = lambda name, to: header(name, b"2", link=to)
hard = lambda name, to: header(name, b"1", link=to)
tar = lambda *parts: b"".join(parts) + END


def layer(name, code, why, *parts, end=END):
    put(f"layers/{name}.tar", code, why, b"".join(parts) + end)


def layers():
    layer("good", "ok", "one of everything, all well",
          directory(b"./"), directory(b"d/"), file(b"d/f", b"content"), hard(b"d/h", b"d/f"), hard(b"d/h2", b"/d/f"), symlink(b"s", b"d"), file(b"s/through", b"1"),
          symlink(b"abs", b"/d"), file(b"abs/through2", b"2"), header(b"p", b"6"), header(b"dev", b"3"), pax((b"path", "é\u0301".encode()), (b"size", b"3"), (b"mtime", b"-1.5"), (b"SCHILY.xattr.user.k", b"v\n=")) +
          file(b"ignored", b"abc"), pax((b"comment", b"harmless"), kind=b"g"), header(b"label", b"V"), header(b"././@LongLink", b"L", 151) + data(b"n" * 150 + b"\0") + file(b"short"),
          file(b"huge-uid", uid=b"\x80" + bytes(3) + b"\xff\xff\xff\xfe"), file(b".wh.nothing"), file(b".wh..wh.plnk/1"), file(b"d/.wh..wh..opq"), directory(b"d"))
    layer("no_end", "ok", "without the blocks of zeros at the end, as some tools write", file(b"a", b"1"), end=b"")
    layer("after_end", "ok", "what follows the end is nobody's business", file(b"a", b"1"), END, b"garbage" * 100)

    layer("dot_dot", "path-escapes", "../x", file(b"../x"))
    layer("dot_dot_inside", "path-escapes", "a/../b", file(b"a/../b"))
    layer("dot_dot_last", "path-escapes", "a/..", directory(b"a/.."))
    layer("absolute", "path-escapes", "/etc/passwd", file(b"/etc/passwd"))
    layer("absolute_pax", "path-escapes", "an absolute path in an extended header", pax((b"path", b"/etc/passwd")) + file(b"harmless"))
    layer("absolute_long_name", "path-escapes", "an absolute path in a GNU long name", header(b"././@LongLink", b"L", 12) + data(b"/etc/passwd\0") + file(b"harmless"))
    layer("hard_link_dot_dot", "path-escapes", "a hard link to ../x", file(b"x"), hard(b"a", b"../x"))
    layer("link_out", "link-escapes", "a parent is an absolute link to what the image does not have", symlink(b"a", b"/tmp/outside"), file(b"a/x"))
    layer("link_up", "link-escapes", "a parent is a link above the root", directory(b"d"), symlink(b"d/a", b"../../etc"), directory(b"etc"), file(b"d/a/x"))
    layer("link_up_twice", "link-escapes", "two links that add up to leaving", directory(b"d"), symlink(b"up", b".."), symlink(b"d/a", b"../up"), file(b"d/a/x"))
    layer("link_dangling", "link-escapes", "a parent is a link to nothing", symlink(b"a", b"b"), file(b"a/x"))
    layer("link_loop", "link-loop", "links in circles", symlink(b"a", b"b"), symlink(b"b", b"a"), file(b"a/x"))
    layer("link_growing", "bad-name", "a link that makes the path longer each time", pax((b"linkpath", b"a/" + b"b/" * 300)) + symlink(b"a", b"x"), file(b"a/x"))
    layer("whiteout_through_link", "link-escapes", "a whiteout whose directory climbs above the root", symlink(b"a", b"../.."), file(b"a/.wh.etc"))
    layer("hard_link_through_link", "link-escapes", "the target of a hard link climbs above the root", symlink(b"a", b"../.."), hard(b"x", b"a/etc/shadow"))

    layer("parent_is_file", "parent-not-directory", "a/b below the file a", file(b"a"), file(b"a/b"))
    layer("parent_is_fifo", "parent-not-directory", "p/b below the pipe p", header(b"p", b"6"), file(b"p/b"))
    layer("duplicate", "duplicate-entry", "the same file twice", file(b"a", b"1"), file(b"a", b"2"))
    layer("duplicate_spelled", "duplicate-entry", "the same file under two spellings", file(b"d/a", b"1"), file(b"./d//a", b"2"))
    layer("duplicate_through_link", "duplicate-entry", "the same file along two ways", directory(b"d"), symlink(b"l", b"d"), file(b"d/a", b"1"), file(b"l/a", b"2"))
    layer("file_then_directory", "duplicate-entry", "a file and a directory of one name", file(b"a"), directory(b"a"))
    layer("directory_then_file", "duplicate-entry", "a directory, with something in it, and a file", file(b"a/b"), file(b"a"))
    layer("symlink_swapped", "duplicate-entry", "a directory that turns into a link", directory(b"a"), symlink(b"a", b"/etc"), file(b"a/passwd"))
    layer("hard_link_itself", "duplicate-entry", "a hard link to itself", file(b"a"), hard(b"a", b"a"))

    layer("name_empty", "bad-name", "no name at all", file(b""))
    layer("name_zero", "bad-name", "a zero byte in an extended name", pax((b"path", b"a\0b")) + file(b"x"))
    layer("link_zero", "bad-name", "a zero byte in an extended link", pax((b"linkpath", b"a\0b")) + symlink(b"x", b"y"))
    layer("name_long_part", "bad-name", "a part of 256 bytes", pax((b"path", b"d/" + b"n" * 256)) + file(b"x"))
    layer("name_long", "bad-name", "a path of more than 4095 bytes", pax((b"path", b"/".join([b"n" * 200] * 21)[:4200])) + file(b"x"))
    layer("root_is_file", "bad-name", "the root as a file", file(b"./."))
    layer("symlink_empty", "bad-name", "a link to nothing", symlink(b"a", b""))
    layer("symlink_long", "bad-name", "a link's target of 4096 bytes", pax((b"linkpath", b"t" * 4096)) + symlink(b"a", b"x"))
    layer("symlink_grows_path", "bad-name", "a parent link makes the path longer than 4095 bytes", directory(b"a"), pax((b"path", b"a/" + b"/".join([b"n" * 240] * 16))) + directory(b"x"),
          pax((b"linkpath", b"a/" + b"/".join([b"n" * 240] * 16))) + symlink(b"l", b"x"), pax((b"path", b"l/" + b"m" * 250)) + file(b"x"))

    layer("whiteout_empty", "bad-whiteout", ".wh. of nothing", file(b"a/.wh."))
    layer("whiteout_dot", "bad-whiteout", ".wh. of .", file(b"a/.wh.."))
    layer("whiteout_dot_dot", "bad-whiteout", ".wh. of ..", file(b"a/.wh..."))
    layer("whiteout_directory", "bad-whiteout", "a whiteout that is a directory", directory(b".wh.a"))
    layer("whiteout_symlink", "bad-whiteout", "a whiteout that is a link", symlink(b".wh.a", b"/etc"))
    layer("whiteout_below", "bad-whiteout", "something below a whiteout", file(b".wh.a/b"))
    layer("opaque_symlink", "bad-whiteout", "an opaque marker that is a link", symlink(b".wh..wh..opq", b"x"))

    layer("hard_link_missing", "link-target-missing", "a hard link to what is not there", hard(b"a", b"b"))
    layer("hard_link_ahead", "link-target-missing", "a hard link before its target", hard(b"a", b"b"), file(b"b"))
    layer("hard_link_directory", "link-to-directory", "a hard link to a directory", directory(b"d"), hard(b"a", b"d"))
    layer("hard_link_root", "link-to-directory", "a hard link to the root", hard(b"a", b"."))

    layer("checksum", "bad-tar", "a wrong checksum", file(b"a", checksum=b"000000\0 "))
    layer("garbage", "bad-tar", "no tar at all", b"\x7fELF" + bytes(range(256)) * 4)
    layer("number", "bad-tar", "a time that is no number", file(b"b", mtime=b"12x45678901\0"))
    layer("uid_negative", "bad-tar", "a negative owner", file(b"b", uid=b"\xff" * 8))
    layer("size_negative", "bad-tar", "a negative size", header(b"b", size=b"\xff" * 12))
    layer("size_wraps", "bad-tar", "a size above 63 bits", header(b"b", size=b"\x80\0\0\0" + b"\xff" * 8))
    layer("uid_huge", "bad-tar", "an owner above 32 bits", file(b"a", uid=b"\x80" + bytes(2) + b"\1" + bytes(4)))
    layer("directory_with_contents", "bad-tar", "a file whose name ends in a slash, with bytes", file(b"d/", b"what is this"))
    layer("cut_header", "truncated", "the end in the middle of a header", file(b"a"), header(b"b")[:300], end=b"")
    layer("cut_data", "truncated", "the end in the middle of data", file(b"a", b"1" * 1000)[:900], end=b"")
    layer("cut_padding", "truncated", "the end in the middle of the padding", file(b"a", b"1" * 10)[:700], end=b"")
    layer("cut_pax", "truncated", "an extended header that describes nothing", file(b"a"), pax((b"path", b"b")))
    layer("size_declared", "truncated", "a terabyte announced and none of it there", header(b"a", size=0o77777777777))
    layer("sparse_gnu", "sparse-file", "a sparse map in GNU's old format", header(b"a", b"S"))
    layer("sparse_pax", "sparse-file", "a sparse map in an extended header", pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")) + file(b"a"))
    layer("kind", "unknown-entry-kind", "an entry of kind Z", header(b"a", b"Z"))
    layer("multi_volume", "unknown-entry-kind", "the continuation of another archive", header(b"a", b"M"))

    layer("pax_length", "bad-pax", "a record longer than the header", pax(raw=b"99 path=x\n") + file(b"a"))
    layer("pax_short", "bad-pax", "a record that cuts into the next", pax(raw=b"5 path=x\n") + file(b"a"))
    layer("pax_no_equals", "bad-pax", "a record without =", pax(raw=b"10 pathxx\n") + file(b"a"))
    layer("pax_no_key", "bad-pax", "a record without a key", pax(raw=b"5 =x\n") + file(b"a"))
    layer("pax_no_number", "bad-pax", "a record without a length", pax(raw=b"path=x\n") + file(b"a"))
    layer("pax_large", "bad-pax", "an extended header of two megabytes", header(b"p", b"x", 2 << 20) + bytes(1024))
    layer("long_name_large", "bad-pax", "a long name of 100,000 bytes", header(b"p", b"L", 100000) + bytes(1024))
    layer("pax_size", "bad-pax", "a negative size in an extended header", pax((b"size", b"-1")) + file(b"a"))
    layer("pax_size_huge", "bad-pax", "a size above 63 bits", pax((b"size", b"9223372036854775808")) + file(b"a"))
    layer("pax_uid", "bad-pax", "an owner above 32 bits", pax((b"uid", b"4294967296")) + file(b"a"))
    layer("pax_mtime", "bad-pax", "a time that is none", pax((b"mtime", b"1e9")) + file(b"a"))
    layer("pax_global_path", "bad-pax", "one name for all that follow", pax((b"path", b"x"), kind=b"g") + file(b"a"))
    layer("pax_global_size", "bad-pax", "one size for all that follow", pax((b"size", b"0"), kind=b"g") + file(b"a", b"hidden"))
    layer("xattr_many", "bad-xattr", "65 extended attributes", pax(*[(b"SCHILY.xattr.user.%d" % i, b"v") for i in range(65)]) + file(b"a"))
    layer("xattr_large", "bad-xattr", "an extended attribute of more than 64 KiB", pax((b"SCHILY.xattr.user.a", b"v" * 65537)) + file(b"a"))
    layer("xattr_name", "bad-xattr", "an extended attribute with a long name", pax((b"SCHILY.xattr.user." + b"n" * 256, b"v")) + file(b"a"))


def compressed():
    good = tar(file(b"a", bytes(range(256)) * 40))
    gz = gzip.compress(good, mtime=0)
    run = lambda *a, of: subprocess.run(a, input=of, stdout=subprocess.PIPE, check=True).stdout
    zst = run("zstd", "-q", "-c", "--check", of=good)
    put("layers/good.tar.gz", "ok", "gzip", gz)
    put("layers/members.tar.gz", "ok", "gzip in two members", gzip.compress(good[:700], mtime=0) + gzip.compress(good[700:], mtime=0))
    put("layers/good.tar.zst", "ok", "zstd", zst)
    put("layers/frames.tar.zst", "ok", "zstd in two frames, between two to be skipped",
        b"\x50\x2a\x4d\x18\x03\0\0\0abc" + run("zstd", "-q", "-c", of=good[:700]) + run("zstd", "-q", "-c", of=good[700:]) + b"\x5f\x2a\x4d\x18\0\0\0\0")
    put("layers/cut.tar.gz", "truncated", "gzip data cut short", gz[:len(gz) // 2])
    put("layers/cut_trailer.tar.gz", "truncated", "gzip without the end of its trailer", gz[:-3])
    put("layers/crc.tar.gz", "bad-compression", "gzip with a wrong checksum", gz[:-8] + bytes([gz[-8] ^ 1]) + gz[-7:])
    put("layers/trailing.tar.gz", "bad-compression", "garbage behind gzip", gz + b"garbage behind it")
    put("layers/cut.tar.zst", "truncated", "zstd data cut short", zst[:len(zst) // 2])
    put("layers/crc.tar.zst", "bad-compression", "zstd with a wrong checksum", zst[:-1] + bytes([zst[-1] ^ 1]))
    put("layers/trailing.tar.zst", "bad-compression", "garbage behind zstd", zst + b"garbage behind it")
    put("layers/window.tar.zst", "window-too-large", "a zstd window of 64 MiB", run("zstd", "-q", "-c", "--long=26", "--no-check", "-1", of=good * 8 + bytes(40 << 20)))
    put("layers/xz.tar.xz", "unsupported-compression", "xz", lzma.compress(good))
    put("layers/bzip2.tar.bz2", "unsupported-compression", "bzip2", bz2.compress(good))
    zeros = header(b"a", size=1 << 22) + bytes(1 << 22) + END
    put("layers/bomb.tar.gz", "expansion-limit", "four megabytes of zeros in a few kilobytes", gzip.compress(zeros, mtime=0))
    put("layers/bomb.tar.zst", "expansion-limit", "the same with zstd", run("zstd", "-q", "-c", of=zeros))
    rows = io.BytesIO()
    state = 1
    for _ in range(9 << 17):
        state = state * 1103515245 + 12345 & 0x7fffffff
        rows.write((state >> 16 & 1).to_bytes(8, "big"))
    put("layers/large.tar.zst", "bytes-limit", "nine megabytes, growing slowly enough", run("zstd", "-q", "-19", "-c", of=header(b"a", size=9 << 20) + rows.getvalue()))
    put("layers/implied.tar.zst", "entries-limit", "a few entries that imply many directories", run("zstd", "-q", "-c", of=tar(
        *[pax((b"path", b"%d/" % i + b"d/" * 300 + b"f")) + file(b"x") for i in range(5)])))
    put("layers/entries.tar.zst", "entries-limit", "more entries than allowed", run("zstd", "-q", "-c", of=tar(*[file(b"%d" % i) for i in range(1001)])))


# --- documents ------------------------------------------------------------------------------------------------

SHA = "sha256:" + "ab" * 32
MEDIA = "application/vnd.oci.image."


def documents():
    config = {"mediaType": MEDIA + "config.v1+json", "digest": SHA, "size": 10}
    one = {"mediaType": MEDIA + "layer.v1.tar+gzip", "digest": SHA, "size": 10}
    manifest = {"schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json", "config": config, "layers": [one]}
    entry = {"mediaType": MEDIA + "manifest.v1+json", "digest": SHA, "size": 10, "platform": {"os": "linux", "architecture": "amd64"}}
    index = {"schemaVersion": 2, "mediaType": MEDIA + "index.v1+json", "manifests": [entry]}
    image = {"os": "linux", "architecture": "amd64", "config": {"Entrypoint": ["/a"]}, "rootfs": {"type": "layers", "diff_ids": [SHA]}}

    def put_json(name, code, why, value):
        put(f"documents/{name}.json", code, why, value if isinstance(value, bytes) else json.dumps(value).encode())

    put_json("manifest_good", "ok", "a manifest", manifest)
    put_json("manifest_no_media_type", "ok", "a manifest without a media type of its own", {k: v for k, v in manifest.items() if k != "mediaType"})
    put_json("manifest_and_index", "bad-manifest", "an index and a manifest in one", {**manifest, "manifests": [entry]})
    put_json("manifest_neither", "bad-manifest", "neither", {"schemaVersion": 2})
    put_json("manifest_called_index", "bad-manifest", "a manifest with an index's media type", {**manifest, "mediaType": MEDIA + "index.v1+json"})
    put_json("manifest_list", "bad-manifest", "a list", [manifest])
    put_json("manifest_no_config", "bad-manifest", "no configuration", {k: v for k, v in manifest.items() if k != "config"})
    put_json("manifest_layers_object", "bad-manifest", "layers that are no list", {**manifest, "layers": {}})
    put_json("manifest_layer_text", "bad-manifest", "a layer that is no object", {**manifest, "layers": [SHA]})
    for name, why, change in [("digest_sha512", "a sha512 digest", {"digest": "sha512:" + "ab" * 64}), ("digest_upper", "a digest in capitals", {"digest": SHA.upper()}),
                              ("digest_hex_upper", "hex in capitals", {"digest": "sha256:" + "AB" * 32}), ("digest_short", "a short digest", {"digest": SHA[:-2]}),
                              ("digest_path", "a digest that is a path", {"digest": "sha256:../../../etc/passwd"}), ("digest_missing", "no digest", {"digest": None}),
                              ("size_negative", "a negative size", {"size": -1}), ("size_fraction", "a size that is no integer", {"size": 1.5}),
                              ("size_text", "a size in quotes", {"size": "10"}), ("size_missing", "no size", {"size": None}), ("type_missing", "no media type", {"mediaType": None})]:
        put_json("manifest_" + name, "bad-manifest", why, {**manifest, "layers": [{**one, **change}]})
    put_json("manifest_foreign", "foreign-layer", "a layer to be had elsewhere", {**manifest, "layers": [{**one, "mediaType": MEDIA + "layer.nondistributable.v1.tar+gzip"}]})
    put_json("manifest_foreign_docker", "foreign-layer", "the same in Docker's words", {**manifest, "layers": [{**one, "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "urls": ["https://example.test/"]}]})
    put_json("manifest_encrypted", "unsupported-media-type", "an encrypted layer", {**manifest, "layers": [{**one, "mediaType": MEDIA + "layer.v1.tar+gzip+encrypted"}]})
    put_json("manifest_artifact", "unsupported-media-type", "an artifact", {**manifest, "config": {**config, "mediaType": "application/vnd.oci.empty.v1+json"}})
    put_json("manifest_schema_1", "unsupported-media-type", "Docker's first format", {"schemaVersion": 1, "fsLayers": []})
    put_json("manifest_layers_many", "too-many-layers", "1,001 layers", {**manifest, "layers": [one] * 1001})
    put_json("manifest_truncated", "bad-json", "cut short", json.dumps(manifest).encode()[:-3])
    put_json("manifest_trailing", "bad-json", "something behind it", json.dumps(manifest).encode() + b" x")
    put_json("manifest_twice", "bad-json", "a member twice", json.dumps(manifest).encode()[:-1] + b', "layers": []}')
    put_json("manifest_zero", "bad-json", "a zero byte in a string", json.dumps({**manifest, "x": "a\0b"}).encode())
    put_json("manifest_utf8", "bad-json", "a string that is not UTF-8", json.dumps(manifest).encode().replace(b"gzip", b"g\xffip"))
    put_json("manifest_empty", "bad-json", "nothing", b"")
    put_json("manifest_deep", "too-large", "nested 100 deep", b'{"x":' + b"[" * 100 + b"]" * 100 + b"}")
    put_json("manifest_values", "too-large", "more than 100,000 values", b'{"x":[' + b"0," * 100000 + b"0]}")

    put_json("index_good", "ok", "an index", index)
    put_json("index_no_list", "bad-index", "no manifests", {"schemaVersion": 2, "manifests": {}})
    put_json("index_malformed", "bad-index", "an entry without a digest", {**index, "manifests": [{**entry, "digest": None}]})
    put_json("index_platform_text", "bad-index", "a platform that is no object", {**index, "manifests": [{**entry, "platform": "linux/amd64"}]})
    put_json("index_platform_long", "bad-index", "a platform of 100 letters", {**index, "manifests": [{**entry, "platform": {"os": "x" * 100, "architecture": "y"}}]})
    put_json("index_empty", "no-platform", "no images", {**index, "manifests": []})
    put_json("index_other", "no-platform", "images for other machines", {**index, "manifests": [{**entry, "platform": {"os": "linux", "architecture": "s390x"}}]})
    put_json("index_attestations", "no-platform", "attestations only", {**index, "manifests": [{**entry, "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}]})
    put_json("index_unknown", "no-platform", "an unknown platform only", {**index, "manifests": [{**entry, "platform": {"os": "unknown", "architecture": "unknown"}}]})
    named = lambda name, sha: {**entry, "digest": "sha256:" + sha * 32, "annotations": {"org.opencontainers.image.ref.name": name}}
    put_json("index_ambiguous", "ambiguous", "two images of two names", {**index, "manifests": [named("a", "aa"), named("b", "bb")]})
    put_json("index_same_platform", "ok", "two images for one platform: the first counts", {**index, "manifests": [entry, {**entry, "digest": "sha256:" + "cc" * 32}]})

    put_json("config_good", "ok", "a configuration", image)
    put_json("config_bare", "ok", "as little as there may be", {"os": "linux", "architecture": "amd64"})
    change = lambda **c: {**image, "config": {**image["config"], **c}}
    for name, why, value in [("list", "a list", [image]), ("no_os", "no operating system", {**image, "os": None}), ("architecture", "an architecture with a slash", {**image, "architecture": "a/b/c"}),
                             ("config_text", "a configuration that is text", {**image, "config": "x"}), ("entrypoint_text", "an entry point that is text", change(Entrypoint="/a")),
                             ("cmd_number", "a number in Cmd", change(Cmd=[1])), ("env_plain", "an environment entry without =", change(Env=["PATH"])),
                             ("env_nameless", "an environment entry without a name", change(Env=["=x"])), ("port_zero", "port 0", change(ExposedPorts={"0/tcp": {}})),
                             ("port_large", "port 65536", change(ExposedPorts={"65536": {}})), ("port_protocol", "an unknown protocol", change(ExposedPorts={"80/xyz": {}})),
                             ("port_range", "a range that goes down", change(ExposedPorts={"90-80/tcp": {}})), ("port_list", "ports in a list", change(ExposedPorts=["80"])),
                             ("user_number", "a user that is a number", change(User=0)), ("user_long", "a user of 256 bytes", change(User="u" * 256)),
                             ("workdir_long", "a directory of 4096 bytes", change(WorkingDir="/" * 4096)), ("signal", "an unknown signal", change(StopSignal="SIGNONE")),
                             ("signal_number", "signal 65", change(StopSignal="65")), ("signal_zero", "signal 0", change(StopSignal="0")), ("rootfs_type", "another kind of rootfs", {**image, "rootfs": {"type": "x", "diff_ids": []}}),
                             ("diff_id", "a malformed diff_id", {**image, "rootfs": {"type": "layers", "diff_ids": ["x"]}}), ("diff_id_number", "a diff_id that is a number", {**image, "rootfs": {"type": "layers", "diff_ids": [1]}})]:
        put_json("config_" + name, "bad-config", why, value)
    put_json("config_layers_many", "too-many-layers", "1,001 diff_ids", {**image, "rootfs": {"type": "layers", "diff_ids": [SHA] * 1001}})


for directory_name in ("layers", "documents"):
    shutil.rmtree(TOP / directory_name, ignore_errors=True)
layers()
compressed()
documents()
(TOP / "manifest.txt").write_text("\n".join(lines) + "\n")
