"""Makes images in Python (layouts, docker archives, layers of any shape), reads trees back with other tools, and runs
tee-rex image ls."""
import base64
import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile

from conftest import BUILD

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
MEDIA = "application/vnd.oci.image."


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


# --- layers -------------------------------------------------------------------------------------------------

def entry(name, kind="file", data=b"", mode=None, uid=0, gid=0, mtime=1700000000, link="", xattrs=None):
    """One entry for layer(): kind is file, dir, symlink, link, char, block or fifo."""
    info = tarfile.TarInfo(name)
    info.type = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "link": tarfile.LNKTYPE,
                 "char": tarfile.CHRTYPE, "block": tarfile.BLKTYPE, "fifo": tarfile.FIFOTYPE}[kind]
    info.mode = mode if mode is not None else {"dir": 0o755, "symlink": 0o777}.get(kind, 0o644)
    info.uid, info.gid, info.mtime, info.linkname = uid, gid, mtime, link
    info.size = len(data) if kind == "file" else 0
    for key, value in (xattrs or {}).items():
        info.pax_headers["SCHILY.xattr." + key] = value.decode("utf-8", "surrogateescape")
    return info, data


def layer(*entries, format=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format, encoding="utf-8", errors="surrogateescape") as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return out.getvalue()


def zstd(data, *options):
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, stdout=subprocess.PIPE, check=True).stdout


def compress(data, how):
    return {"": lambda d: d, "gzip": lambda d: gzip.compress(d, 6, mtime=0), "zstd": zstd}[how](data)


# --- images -------------------------------------------------------------------------------------------------

CONFIG = {"Entrypoint": ["/bin/app"], "Cmd": ["--serve"], "Env": ["PATH=/bin", "EMPTY="], "WorkingDir": "/srv",
          "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT"}


def config_document(layers, config=None, architecture="amd64", **more):
    return json.dumps({"architecture": architecture, "os": "linux", "config": CONFIG if config is None else config,
                       "rootfs": {"type": "layers", "diff_ids": [digest(l) for l in layers]}, **more}).encode()


class Layout:
    """An OCI image layout that is written blob by blob."""

    def __init__(self, path):
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.index = []

    def blob(self, data):
        (self.path / "blobs/sha256" / digest(data)[7:]).write_bytes(data)
        return {"digest": digest(data), "size": len(data)}

    def path_of(self, descriptor):
        return self.path / "blobs/sha256" / descriptor["digest"][7:]

    def manifest(self, layers, compression="gzip", config=None, architecture="amd64", **more):
        """Writes layers (tar bytes), configuration and manifest; returns the manifest's descriptor."""
        blobs = [{"mediaType": MEDIA + "layer.v1.tar" + ("+" + compression if compression else ""),
                  **self.blob(compress(l, compression))} for l in layers]
        document = {"schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json",
                    "config": {"mediaType": MEDIA + "config.v1+json",
                               **self.blob(config_document(layers, config, architecture))},
                    "layers": blobs, **more}
        return {"mediaType": MEDIA + "manifest.v1+json", **self.blob(json.dumps(document).encode())}

    def add(self, descriptor, tag=None, platform=None, annotations=None):
        notes = {**(annotations or {}), **({"org.opencontainers.image.ref.name": tag} if tag else {})}
        self.index.append({**descriptor, **({"annotations": notes} if notes else {}),
                           **({"platform": dict(zip(("os", "architecture", "variant"), platform.split("/")))} if platform else {})})
        self.write_index()
        return self

    def write_index(self):
        (self.path / "index.json").write_text(json.dumps(
            {"schemaVersion": 2, "mediaType": MEDIA + "index.v1+json", "manifests": self.index}))


def simple_layout(path, *layers, compression="gzip", **more):
    layout = Layout(path)
    layout.add(layout.manifest(layers, compression, **more), "it")
    return layout


def docker_archive(path, layers, config=None, tags=("it:latest",), legacy=False):
    """What docker save writes; legacy: with layers as directories and a symbolic link for a repeated one."""
    document = config_document(layers, config)
    name = digest(document)[7:]
    seen, members, names = {}, [(f"{name}.json", document, None)], []
    for i, data in enumerate(layers):
        member = f"{i:064x}/layer.tar"
        members.append((member, data, "../" + seen[data] if legacy and data in seen else None))
        seen.setdefault(data, member)
        names.append(member)
    members.append(("manifest.json", json.dumps([{"Config": f"{name}.json", "RepoTags": list(tags), "Layers": names}]).encode(), None))
    with tarfile.open(path, "w") as tar:
        for member, data, link in members:
            tar.addfile(*(lambda e: (e[0], io.BytesIO(e[1]) if link is None else None))(
                entry(member, "symlink", link=link) if link else entry(member, data=data)))
    return path


def tar_header(name, size):
    """A ustar header, made faster than tarfile does."""
    block = bytearray(b"%-100s0000755\0000000000\0000000000\0%011o\000%011o\0        0" % (name.encode(), size, 1700000000))
    block[len(name):100] = bytes(100 - len(name))
    block += bytes(100) + b"ustar\00000" + bytes(247)
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def big_layout(path, files, total, layers=6, level="-1"):
    """A layout of that many files and bytes, in zstd layers, written as streams. The bytes are mostly zeros, which makes them
    cheap; a tenth cannot be compressed, so the layers do not look like bombs."""
    layout, noise, blobs, diff_ids = Layout(path), os.urandom(1 << 20), [], []
    per_layer, size = files // layers, total // files
    for l in range(layers):
        plain, packed, temporary = hashlib.sha256(), hashlib.sha256(), path / "temporary"
        with open(temporary, "wb") as out:
            zstd_process = subprocess.Popen(["zstd", "-q", "-c", level], stdin=subprocess.PIPE, stdout=out)

            def put(piece):
                plain.update(piece)
                zstd_process.stdin.write(piece)
            for i in range(l * per_layer, (l + 1) * per_layer):
                n = size * (1, 2, 3, 5, 9)[i % 5] // 4
                put(tar_header(f"usr/share/d{i // 400:03d}/sub{i % 3}/some-file-name-{i}.dat", n))
                left = n
                start = i * 7919 % (1 << 19)
                while left > 0:
                    piece = (noise[start:start + (left // 10 + 1) % (1 << 19)] + bytes(min(left, 1 << 20)))[:min(left, 1 << 20)]
                    put(piece)
                    left -= len(piece)
                put(bytes(-n % 512))
            put(bytes(1024))
            zstd_process.stdin.close()
            assert zstd_process.wait() == 0
        with open(temporary, "rb") as f:
            while piece := f.read(1 << 20):
                packed.update(piece)
        temporary.rename(path / "blobs/sha256" / packed.hexdigest())
        blobs.append({"mediaType": MEDIA + "layer.v1.tar+zstd", "digest": "sha256:" + packed.hexdigest(),
                      "size": (path / "blobs/sha256" / packed.hexdigest()).stat().st_size})
        diff_ids.append("sha256:" + plain.hexdigest())
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/usr/share/d000/sub0/some-file-name-0.dat"]},
                         "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json",
                           "config": {"mediaType": MEDIA + "config.v1+json", **layout.blob(config)}, "layers": blobs}).encode()
    return layout.add({"mediaType": MEDIA + "manifest.v1+json", **layout.blob(manifest)}, "it")


def peak_kib(*argv):
    """Runs a program and returns its output and peak resident memory. A small process starts it, because the peak of a new
    process begins with that of its parent."""
    starter = ("import resource, subprocess, sys; r = subprocess.run(sys.argv[1:], stdout=open(1, 'wb', closefd=False)).returncode; "
               "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(r)")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", starter, *map(str, argv)], capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, int(done.stderr.splitlines()[-1])


# --- trees --------------------------------------------------------------------------------------------------

def run_ls(spec, *options, env=None, stdin=None):
    return subprocess.run([BUILD / "tee-rex", "image", "ls", str(spec), *map(str, options)], capture_output=True, stdin=stdin,
                          env={**os.environ, **(env or {})})


def ls(spec, *options, env=None, stdin=None):
    """The JSON of a listing that succeeds."""
    done = run_ls(spec, "--json", *options, env=env, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def refused(spec, *options, env=None, stdin=None):
    """Code and message of one that fails."""
    done = run_ls(spec, "--json", *options, env=env, stdin=stdin)
    assert done.returncode == 1, (done.returncode, done.stdout[-300:], done.stderr)
    error = json.loads(done.stdout)["error"]
    assert done.stderr.decode().startswith(f"tee-rex image ls: {error['code']}: ")
    return error["code"], error["message"]


def raw(item, key):
    """A name as bytes."""
    return base64.b64decode(item[key + "_base64"]) if key + "_base64" in item else item[key].encode()


def listed_tree(listing, times=True):
    """What was listed, as snapshot() has it."""
    tree, groups = {}, {}
    for f in listing["files"]:
        path = raw(f, "path")
        first = raw(f, "link_to") if "link_to" in f else path
        if f.get("links", 1) > 1:
            groups.setdefault(first, []).append(path)
        tree[path] = (f["type"], f["mode"] if f["type"] != "symlink" else "", f["uid"], f["gid"], f["size"] if f["type"] == "file" else 0,
                      f.get("sha256"), raw(f, "target") if "target" in f else None,
                      {k: base64.b64decode(v) for k, v in f.get("xattrs", {}).items()},
                      f["mtime"] if times and f["type"] in ("file", "fifo") else 0)
    return tree, sorted(sorted(g) for g in groups.values())


def snapshot(root, times=True):
    """The tree below a directory: path -> attributes, and the groups of hard links. Devices are left out, and the times of
    directories, which unpacking itself changes."""
    tree, groups = {}, {}
    root = os.fsencode(root)

    def look(path):
        full = os.path.join(root, path)
        st = os.lstat(full)
        mode, kind, sha, target = st.st_mode, None, None, None
        if stat.S_ISREG(mode):
            kind, sha = "file", hashlib.sha256(open(full, "rb").read()).hexdigest()
        elif stat.S_ISDIR(mode):
            kind = "directory"
        elif stat.S_ISLNK(mode):
            kind, target = "symlink", os.readlink(full)
        elif stat.S_ISFIFO(mode):
            kind = "fifo"
        else:
            return
        names = [n for n in os.listxattr(full, follow_symlinks=False) if n == "security.capability" or n.startswith("user.")]
        if kind != "directory" and st.st_nlink > 1:
            groups.setdefault(st.st_ino, []).append(path)
        tree[path] = (kind, "%04o" % (mode & 0o7777) if kind != "symlink" else "", st.st_uid, st.st_gid,
                      st.st_size if kind == "file" else 0, sha, target,
                      {n: os.getxattr(full, n, follow_symlinks=False) for n in names},
                      int(st.st_mtime) if times and kind in ("file", "fifo") else 0)

    look(b"")
    for directory, names, files in os.walk(root):
        for name in names + files:
            look(os.path.relpath(os.path.join(directory, name), root))
    return tree, sorted(sorted(g) for g in groups.values() if len(g) > 1)


def umoci_unpack(layout, tag, where):
    """The tree that umoci makes of it."""
    done = subprocess.run(["umoci", "unpack", "--image", f"{layout}:{tag}", where], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return where / "rootfs"


def differences(a, b):
    """Readable: what is in one tree and not the same in the other."""
    return [(k, a[0].get(k), b[0].get(k)) for k in sorted({*a[0], *b[0]}) if a[0].get(k) != b[0].get(k)] + \
        ([("hard links", a[1], b[1])] if a[1] != b[1] else [])
