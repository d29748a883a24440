"""Runs tee-rex build and takes its images apart again: EIF, ramdisks and cpio archives are read here from the formats'
descriptions; nothing is shared with the project's code."""
import gzip
import hashlib
import json
import os
import stat
import struct
import subprocess

from conftest import BUILD

SECTIONS = {1: "kernel", 2: "cmdline", 3: "ramdisk", 4: "signature", 5: "metadata"}


def run_build(spec, output, *options, env=None, stdin=None, binary=None):
    return subprocess.run([binary or BUILD / "tee-rex", "build", str(spec), "-o", str(output), *map(str, options)],
                          capture_output=True, stdin=stdin, env={**os.environ, **(env or {})})


def build(spec, output, *options, **more):
    """The JSON of a build that succeeds."""
    done = run_build(spec, output, "--json", *options, **more)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    return json.loads(done.stdout)


def refused(spec, output, *options, **more):
    """Code and message of one that fails, and leaves nothing behind."""
    before = sorted(os.listdir(os.path.dirname(output)))
    done = run_build(spec, output, "--json", *options, **more)
    assert done.returncode == 1, (done.returncode, done.stdout[-300:], done.stderr)
    assert sorted(os.listdir(os.path.dirname(output))) == before
    error = json.loads(done.stdout)["error"]
    return error["code"], error["message"]


# --- enclave images ---------------------------------------------------------------------------------------------

def sections(path):
    """[(name, bytes)] of an EIF, in the order of the file."""
    data = open(path, "rb").read()
    magic, version, flags = struct.unpack_from(">4sHH", data)
    assert magic == b".eif" and version == 4
    count, = struct.unpack_from(">H", data, 26)
    out = []
    for i in range(count):
        at, = struct.unpack_from(">Q", data, 28 + 8 * i)
        kind, _, size = struct.unpack_from(">HHQ", data, at)
        out.append((SECTIONS[kind], data[at + 12:at + 12 + size]))
    return out


def flags(path):
    return struct.unpack(">H", open(path, "rb").read(8)[6:])[0]


def registers(path):
    """PCR0 to PCR2, as they are defined."""
    parts = sections(path)
    ramdisks = [d for n, d in parts if n == "ramdisk"]
    boot = [d for n, d in parts if n == "kernel"] + [d for n, d in parts if n == "cmdline"] + ramdisks[:1]

    def pcr(pieces):
        return hashlib.sha384(bytes(48) + hashlib.sha384(b"".join(pieces)).digest()).hexdigest()
    return {"PCR0": pcr(boot + ramdisks[1:]), "PCR1": pcr(boot), "PCR2": pcr(ramdisks[1:])}


def unpack(ramdisk):
    """A ramdisk's archive, and how it was packed."""
    if ramdisk[:2] == b"\x1f\x8b":
        import zlib
        d = zlib.decompressobj(31)
        out = d.decompress(ramdisk) + d.flush()
        assert d.eof and d.unused_data.strip(b"\0") == b""
        assert gzip.decompress(ramdisk[:len(ramdisk) - len(d.unused_data)]) == out
        return out, "gzip"
    if ramdisk[:4] == b"\x28\xb5\x2f\xfd":
        # the tool does not like the zeros behind the frame; it must have no other complaint
        done = subprocess.run(["zstd", "-dcq"], input=ramdisk, capture_output=True)
        return done.stdout, "zstd"
    return ramdisk, "none"


class Entry:
    def __init__(self, ino, mode, uid, gid, nlink, mtime, name, data):
        self.ino, self.mode, self.uid, self.gid, self.nlink, self.mtime, self.name, self.data = ino, mode, uid, gid, nlink, mtime, name, data

    @property
    def kind(self):
        return {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo"}[stat.S_IFMT(self.mode)]


def cpio(data):
    """name -> Entry of a newc archive, in its order; hard links get the contents of the first name, as the kernel does it."""
    out, at, by_ino = {}, 0, {}
    while True:
        assert data[at:at + 6] == b"070701", (at, data[at:at + 16])
        ino, mode, uid, gid, nlink, mtime, size, _, _, _, _, name_size, check = (
            int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13))
        assert check == 0
        name = data[at + 110:at + 110 + name_size - 1]
        start = (at + 110 + name_size + 3) // 4 * 4
        at = (start + size + 3) // 4 * 4
        if name == b"TRAILER!!!":
            assert data[at:].strip(b"\0") == b""
            return out
        parent = name.rsplit(b"/", 1)[0] if b"/" in name else None
        assert name not in out and (parent is None or parent in out or parent == b"app"), name
        content = data[start:start + size]
        if stat.S_ISREG(mode) and nlink > 1:
            content = by_ino.setdefault(ino, content)
        out[name] = Entry(ino, mode, uid, gid, nlink, mtime, name, content)


def cpio_tree(entries, below=b"app"):
    """What images.snapshot() says of a tree, of what is below a directory of an archive (without times and attributes)."""
    tree, groups = {}, {}
    for name, e in entries.items():
        if name != below and not name.startswith(below + b"/"):
            continue
        path = name[len(below) + 1:]
        tree[path] = (e.kind, "%04o" % (e.mode & 0o7777) if e.kind != "symlink" else "", e.uid, e.gid,
                      len(e.data) if e.kind == "file" else 0, hashlib.sha256(e.data).hexdigest() if e.kind == "file" else None,
                      e.data if e.kind == "symlink" else None, {}, 0)
        if e.nlink > 1 and e.kind != "directory":
            groups.setdefault(e.ino, []).append(path)
    return tree, sorted(sorted(g) for g in groups.values())


class Built:
    def __init__(self, path):
        parts = sections(path)
        assert [n for n, _ in parts] == ["kernel", "cmdline", "metadata", "ramdisk", "ramdisk"]
        self.kernel, self.cmdline, self.metadata = parts[0][1], parts[1][1].decode(), json.loads(parts[2][1])
        assert all(len(d) % 512 == 0 for _, d in parts[3:])
        (boot, self.boot_packing), (app, self.app_packing) = unpack(parts[3][1]), unpack(parts[4][1])
        self.boot, self.app = cpio(boot), cpio(app)

    @property
    def table(self):
        return table(self.boot[b"etc/tee-rex/init.conf"].data.decode())


def table(text):
    """{"": {key: value or [values]}, "app": …} of a service table."""
    lists = {"arg", "env", "group", "grant", "listen", "bridge", "link", "after"}
    out = here = {"": {}}
    here = out[""]
    for line in text.splitlines():
        if line.startswith("[service "):
            here = out[line[9:-1]] = {}
        elif line and not line.startswith("#"):
            key, value = line.split(" = ", 1)
            if key in lists:
                here.setdefault(key, []).append(value)
            else:
                assert key not in here
                here[key] = value
    return out


def unsquash(built, where):
    """The application of an image in squashfs layout, unpacked by squashfs-tools."""
    assert list(built.app) == [b"app.squashfs"] and built.app_packing == "none"
    data = built.app[b"app.squashfs"].data
    assert len(data) % 4096 == 0 and built.app[b"app.squashfs"].mode == 0o100444
    where.mkdir()
    (where / "image").write_bytes(data)
    subprocess.run(["unsquashfs", "-q", "-n", "-d", where / "tree", where / "image"], check=True, capture_output=True)
    return where / "tree"
