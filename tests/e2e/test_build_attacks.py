"""tee-rex build while somebody does their worst: bombs, streams that end, kill -9 at any moment, disks that are full, two at once into
one place. Never a file under the output's name that is not whole, nothing left behind, memory as always."""
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest

import images
from built import build, refused, registers, run_build
from conftest import BUILD
from images import MEDIA, Layout, digest, entry, layer, simple_layout, zstd
from registries import Registry
from test_build import APP, parts  # noqa: F401  (a fixture)

PEAK_KIB = 64 << 10
root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system of its own")


def packed_layout(path, *layers, config=None):
    """Of (packed bytes, unpacked digest, suffix of the media type): what compress() could not make."""
    layout = Layout(path)
    document = json.dumps({"architecture": "amd64", "os": "linux", "config": config or {"Cmd": ["app"]},
                           "rootfs": {"type": "layers", "diff_ids": [d for _, d, _ in layers]}}).encode()
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json",
                           "config": {"mediaType": MEDIA + "config.v1+json", **layout.blob(document)},
                           "layers": [{"mediaType": MEDIA + "layer.v1.tar" + s, **layout.blob(b)} for b, _, s in layers]}).encode()
    return layout.add({"mediaType": MEDIA + "manifest.v1+json", **layout.blob(manifest)}, "it")


def zeros(gigabytes, *command):
    """So many zeros, compressed by a command."""
    head = subprocess.Popen(["head", "-c", str(gigabytes << 30), "/dev/zero"], stdout=subprocess.PIPE)
    out = subprocess.run(command, stdin=head.stdout, capture_output=True, check=True).stdout
    assert head.wait() == 0
    return out


def peak_of(spec, output, *options):
    """Code and peak of a build that is refused."""
    starter = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL); "
               "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    done = subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", starter, BUILD / "tee-rex", "build", str(spec), "-o", str(output), "--json",
                           *map(str, options)], capture_output=True, text=True, check=True)
    answer, peak = done.stdout.splitlines()[-2:]
    return json.loads(answer)["error"]["code"], int(peak)


# --- bombs ------------------------------------------------------------------------------------------------------------

def test_bombs(tmp_path, parts):  # noqa: F811
    """A file of 3 GiB zeros in a few kilobytes; the same as trailing garbage of the archive; a window of 128 MiB; 100,000 names for the
    price of one by directories in directories. Refused with the reason, in the memory of any other build."""
    info, _ = entry("bomb")
    info.size = 3 << 30
    head = zstd(info.tobuf()) + zeros(3, "zstd", "-q", "-c")
    trailing = zstd(APP) + zeros(3, "zstd", "-q", "-c")
    window = zeros(1, "zstd", "-q", "-c", "--long=30")
    gz = subprocess.run(["gzip", "-1"], input=info.tobuf(), capture_output=True, check=True).stdout + zeros(2, "gzip", "-9")
    for name, data, suffix, expected in [("zstd", head, "+zstd", "expansion-limit"), ("trailing", trailing, "+zstd", "expansion-limit"),
                                         ("gzip", gz, "+gzip", "expansion-limit"), ("window", window, "+zstd", "window-too-large")]:
        assert len(data) < 4 << 20
        where = packed_layout(tmp_path / name, (data, digest(b"whatever"), suffix)).path
        code, peak = peak_of(where, tmp_path / "x.eif", *parts)
        assert code == expected and peak < PEAK_KIB, (name, code, peak)
    assert not (tmp_path / "x.eif").exists()


def test_bomb_of_names(tmp_path, parts):  # noqa: F811
    deep = layer(*[entry(f"{i}/" + "/".join("d" * 20)[:39] + f"/{'x' * 100}/f", data=b"") for i in range(3000)])
    where = simple_layout(tmp_path / "layout", APP, deep, config={"Cmd": ["app"]}).path
    assert refused(where, tmp_path / "x.eif", *parts, "--max-entries", 20000)[0] == "entries-limit"
    assert refused(where, tmp_path / "x.eif", *parts, "--max-size", 1)[0] == "bytes-limit"
    assert build(where, tmp_path / "x.eif", *parts)["names"] > 60000


# --- streams that end ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_truncated_layers(tmp_path, parts, compression):  # noqa: F811
    """Cut anywhere, with a digest that is right for what is left: the layer is refused, and the old image stays."""
    whole = layer(*[entry(f"f{i}", data=random.Random(i).randbytes(i * 37 % 2000)) for i in range(60)])
    blob, rng = images.compress(whole, compression), random.Random(7)
    (tmp_path / "x.eif").write_text("the old one")
    # the two blocks of zeros behind the last entry may be missing: GNU tar takes that, and so does everybody
    last = len(whole.rstrip(b"\0")) if compression == "" else len(blob)
    for n in [0, 1, 2, 100, 511, 512, 513, *(rng.randrange(last) for _ in range(25)), last - 1]:
        where = packed_layout(tmp_path / f"cut{n}", (images.compress(APP, "gzip"), digest(APP), "+gzip"),
                              (blob[:n], digest(whole), "+" + compression if compression else "")).path
        done = run_build(where, tmp_path / "x.eif", "--json", *parts)
        code = json.loads(done.stdout)["error"]["code"]
        assert done.returncode == 1 and code in ("truncated", "bad-tar", "bad-compression", "diff-id-mismatch"), (n, code)
        assert (tmp_path / "x.eif").read_text() == "the old one"


# --- kill -9 --------------------------------------------------------------------------------------------------------------

NO_UNNAMED = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#define MODE mode_t mode = 0; if (flags & (O_CREAT | __O_TMPFILE)) { va_list ap; va_start(ap, flags); mode = va_arg(ap, mode_t); va_end(ap); }
#define REFUSE if ((flags & __O_TMPFILE) == __O_TMPFILE) { errno = EOPNOTSUPP; return -1; }
#define AT(name) int name(int at, const char *path, int flags, ...) { MODE REFUSE \
	return ((int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, #name))(at, path, flags, mode); }
#define PLAIN(name) int name(const char *path, int flags, ...) { MODE REFUSE \
	return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name))(path, flags, mode); }
AT(openat) AT(openat64) PLAIN(open) PLAIN(open64)
"""


@pytest.fixture(scope="module")
def no_unnamed_files(tmp_path_factory):
    """A preloaded library under which no file system knows O_TMPFILE."""
    work = tmp_path_factory.mktemp("shim")
    (work / "shim.c").write_text(NO_UNNAMED)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", work / "shim.so", work / "shim.c", "-ldl"], check=True)
    return {"LD_PRELOAD": str(work / "shim.so")}


def moderate(path):
    noise = os.urandom(3 << 20)
    return simple_layout(path, APP, layer(*[entry(f"big{i}", data=noise[i:] + bytes(i)) for i in range(8)]), config={"Cmd": ["app"]}).path


@pytest.mark.parametrize("unnamed", [True, False], ids=["unnamed files", "named files"])
@pytest.mark.parametrize("layout_name", ["squashfs", "plain"])
def test_killed_at_any_moment(tmp_path, parts, no_unnamed_files, unnamed, layout_name):  # noqa: F811
    """Nothing under the output's name but the old or the whole new image; what a killed run leaves does not grow, and the next run takes it
    away. (An unnamed file leaves nothing unless the kill hits between its naming and its renaming.)"""
    where, place, temporary = moderate(tmp_path / "layout"), tmp_path / "out", tmp_path / "tmp"
    place.mkdir()
    temporary.mkdir()
    env = {"TMPDIR": str(temporary), **({} if unnamed else no_unnamed_files)}
    options = [*parts, "--layout", layout_name, "--name", "x"]
    start = time.monotonic()
    build(where, place / "app.eif", *options, env=env)
    took, good = time.monotonic() - start, (place / "app.eif").read_bytes()
    (place / "other.eif").write_bytes(b"of somebody else")
    (place / ".other.eif.1-0.partial").write_bytes(b"left by another output")
    left_at_most, killed, rng = 0, 0, random.Random(3)
    for i in range(24):
        if i % 6 == 0:
            (place / "app.eif").unlink(missing_ok=True)
        had = (place / "app.eif").exists()
        p = subprocess.Popen([BUILD / "tee-rex", "build", str(where), "-o", str(place / "app.eif"), *map(str, options)], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, env={**os.environ, **env})
        time.sleep(rng.uniform(0, took * 1.05))
        p.send_signal(signal.SIGKILL)
        killed += p.wait() != 0
        if had or (place / "app.eif").exists():
            assert (place / "app.eif").read_bytes() == good
        left = set(os.listdir(place)) - {"app.eif", "other.eif", ".other.eif.1-0.partial"}
        left_at_most = max(left_at_most, len(left))
        assert len(os.listdir(temporary)) == 0 or not unnamed
    assert killed >= 8 and left_at_most <= 1, (killed, left_at_most)
    build(where, place / "app.eif", *options, env=env)
    assert sorted(os.listdir(place)) == [".other.eif.1-0.partial", "app.eif", "other.eif"] and (place / "app.eif").read_bytes() == good


def test_what_somebody_else_writes_now_is_left_alone(tmp_path, parts, no_unnamed_files):  # noqa: F811
    """The hidden file of a run that goes on is not taken for a leftover by the runs beside it."""
    where = moderate(tmp_path / "layout")
    running = [subprocess.Popen([BUILD / "tee-rex", "build", str(where), "-o", str(tmp_path / "app.eif"), *map(str, parts)], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env={**os.environ, **no_unnamed_files}) for _ in range(4)]
    said = [(p.communicate(), p.returncode) for p in running]
    assert [c for _, c in said] == [0] * 4, said
    assert len({out for (out, _), _ in said}) == 1
    assert [n for n in os.listdir(tmp_path) if n.endswith(".partial")] == []
    mine = registers(tmp_path / "app.eif")
    assert said[0][0][0].decode() == "".join(f"{i}={mine[f'PCR{i}']}\n" for i in range(3))


# --- full disks -----------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def small_disk(where, kib):
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", where], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", where], check=True)


@root
@pytest.mark.parametrize("full, layout_name", [("output", "squashfs"), ("output", "plain"), ("temporary", "squashfs")])
def test_full_disk(tmp_path, parts, full, layout_name):  # noqa: F811
    where = moderate(tmp_path / "layout")
    for kib in (4, 200, 1500, 7000):
        with small_disk(tmp_path / f"disk{kib}", kib) as disk:
            (disk / "app.eif").write_text("old")
            out, tmp = (disk, "/var/tmp") if full == "output" else (tmp_path, str(disk))
            if full == "temporary":
                (tmp_path / "app.eif").write_text("old")
            code, message = refused(where, out / "app.eif", *parts, "--layout", layout_name, env={"TMPDIR": tmp})
            assert code == "io" and "No space left on device" in message and (full == "output" or "TMPDIR" in message), (code, message)
            assert (out / "app.eif").read_text() == "old" and os.listdir(disk) == ["app.eif"]
            # nothing is left that takes up room
            assert os.statvfs(disk).f_bavail >= os.statvfs(disk).f_blocks - 1


@root
def test_full_cache(tmp_path, parts):  # noqa: F811
    where = Layout.__new__(Layout)
    where.path = pathlib.Path(moderate(tmp_path / "layout"))
    where.index = json.loads((where.path / "index.json").read_text())["manifests"]
    with small_disk(tmp_path / "cache", 2000) as disk, Registry(where) as r:
        code, message = refused(f"{r.host}/team/it:it", tmp_path / "x.eif", *parts, "--plain-http", "--cache", disk)
        assert code == "io" and "No space left on device" in message, message
        assert [p for p in os.listdir(disk / "blobs") if p.endswith(".partial")] == []
        assert build(f"{r.host}/team/it:it", tmp_path / "x.eif", *parts, "--plain-http", "--cache", disk, "--cache-limit", 0)["fetched_bytes"] > 20 << 20


# --- two at once ------------------------------------------------------------------------------------------------------------

def test_two_at_once_into_one_output_and_one_cache(tmp_path, parts):  # noqa: F811
    where = Layout.__new__(Layout)
    where.path = pathlib.Path(moderate(tmp_path / "layout"))
    where.index = json.loads((where.path / "index.json").read_text())["manifests"]
    with Registry(where) as r:
        command = [BUILD / "tee-rex", "build", f"{r.host}/team/it:it", "-o", tmp_path / "app.eif", "--plain-http", "--cache", tmp_path / "cache", *parts]
        for limit in (10240, 10):
            running = [subprocess.Popen([*map(str, command), "--cache-limit", str(limit)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
            said = [(p.communicate(), p.returncode) for p in running]
            assert [c for _, c in said] == [0] * 4, said
            mine = registers(tmp_path / "app.eif")
            assert {out.decode() for (out, _), _ in said} == {"".join(f"{i}={mine[f'PCR{i}']}\n" for i in range(3))}
            blobs = [p for p in (tmp_path / "cache/blobs").iterdir() if p.name != "lock"]
            assert all(digest(p.read_bytes())[7:] == p.name for p in blobs)
            assert sum(p.stat().st_size for p in blobs) <= limit << 20
        assert len(os.listdir(tmp_path)) == 3


def test_killed_while_fetching(tmp_path, parts, no_unnamed_files):  # noqa: F811
    """The cache holds whole blobs only, and what killed runs left there goes when the next one makes room."""
    where = Layout.__new__(Layout)
    where.path = pathlib.Path(moderate(tmp_path / "layout"))
    where.index = json.loads((where.path / "index.json").read_text())["manifests"]
    slow = lambda kind, name, headers, data, media: (200, {"Content-Length": len(data)}, lambda out: dribble(out, data)) \
        if len(data) > 1 << 20 else None

    def dribble(out, data):
        with contextlib.suppress(OSError):
            for at in range(0, len(data), 1 << 18):
                out.write(data[at:at + (1 << 18)])
                time.sleep(0.02)
    with Registry(where, quirk=slow) as r:
        command = [BUILD / "tee-rex", "build", f"{r.host}/team/it:it", "-o", tmp_path / "app.eif", "--plain-http", "--cache", tmp_path / "cache", *parts]
        for i in range(5):
            p = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **no_unnamed_files})
            time.sleep(0.3 + i * 0.1)
            p.kill()
            p.wait()
            partial = [n for n in os.listdir(tmp_path / "cache/blobs") if n.endswith(".partial")]
            assert len(partial) <= 1
        assert subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, env={**os.environ, **no_unnamed_files}).returncode == 0
    names = set(os.listdir(tmp_path / "cache/blobs")) - {"lock"}
    assert all(digest((tmp_path / "cache/blobs" / n).read_bytes())[7:] == n for n in names) and len(names) == 3
