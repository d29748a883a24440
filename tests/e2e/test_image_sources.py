"""tee-rex image ls against images made by other tools and by hand: every kind of source, and trees compared with what
umoci unpacks."""
import json
import os
import pathlib
import random
import shutil
import subprocess
import tarfile

import pytest

import images
from images import Layout, differences, digest, entry, layer, listed_tree, ls, refused, simple_layout, snapshot, umoci_unpack

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="unpacking with owners needs root")

BASE = layer(
    entry("./", "dir"), entry("./bin", "symlink", link="usr/bin"), entry("etc/", "dir"),
    entry("etc/passwd", data=b"root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/home/web:/bin/sh\n"),
    entry("etc/group", data=b"root:x:0:\nweb:x:102:\nlogs:x:44:web,other\n"), entry("run", "dir"),
    entry("usr/bin", "dir"), entry("usr/bin/su", data=b"suid", mode=0o4755), entry("usr/bin/sh", data=b"shell", mode=0o755),
    entry("usr/bin/dash", "link", link="usr/bin/sh"), entry("var/run", "symlink", link="/run"), entry("tmp", "dir", mode=0o1777),
    entry("srv/data/deep/er/", "dir", mode=0o2750, uid=101, gid=102), entry("srv/data/a", data=b"a" * 70000),
    entry("srv/data/deep/b", data=b"bb"), entry("dev/null", "char"), entry("run/pipe", "fifo"),
    entry("srv/capable", data=b"cap", xattrs={"security.capability": bytes.fromhex("0100000200200000000000000000000000000000"),
                                              "user.note": b"yes", "security.selinux": b"dropped"}))
CHANGES = layer(
    entry("srv/data", "dir"), entry("srv/data/.wh.deep"), entry("srv/data/c", data=b"c", uid=5, gid=6),
    entry("usr/bin/.wh.su"), entry("usr/bin/sh2", "link", link="usr/bin/sh"), entry("var/run/state", data=b"x"),
    entry("bin/tool", data=b"tool", mode=0o755))
OPAQUE = layer(entry("srv/data", "dir", mode=0o700), entry("srv/data/.wh..wh..opq"), entry("srv/data/new", data=b"new"))


def unpacked(layout, tmp_path, tag="it"):
    return snapshot(umoci_unpack(layout.path, tag, tmp_path / "unpacked"))


# --- trees ------------------------------------------------------------------------------------------------------

@needs_root
@pytest.mark.parametrize("layers", [[BASE], [BASE, CHANGES], [BASE, CHANGES, OPAQUE]], ids=["base", "changes", "opaque"])
@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_tree_is_what_umoci_unpacks(tmp_path, layers, compression):
    mine = simple_layout(tmp_path / "layout", *layers, compression=compression)
    # this umoci knows no zstd: it gets the same layers as gzip
    other = mine if compression != "zstd" else simple_layout(tmp_path / "other", *layers)
    listing = ls(mine.path)
    assert differences(listed_tree(listing), unpacked(other, tmp_path)) == []
    assert [w["kind"] for w in listing["warnings"]] == ["device", "xattr"]
    assert listing["warnings"][0]["example"] == "dev/null"


def test_whiteouts_links_and_attributes(tmp_path):
    tree, groups = listed_tree(ls(simple_layout(tmp_path / "layout", BASE, CHANGES).path))
    assert b"srv/data/deep" not in tree and b"srv/data/deep/b" not in tree and b"usr/bin/su" not in tree
    assert tree[b"srv/data/a"][4] == 70000
    assert groups == [[b"usr/bin/dash", b"usr/bin/sh", b"usr/bin/sh2"]]
    # parents that are links lead to where they point
    assert tree[b"run/state"][0] == "file" and tree[b"usr/bin/tool"][1] == "0755" and tree[b"bin"][0] == "symlink"
    assert b"dev/null" not in tree and tree[b"dev"][0] == "directory"
    assert set(tree[b"srv/capable"][7]) == {"security.capability", "user.note"}
    tree, _ = listed_tree(ls(simple_layout(tmp_path / "opaque", BASE, OPAQUE).path))
    assert [p for p in tree if p.startswith(b"srv/data/")] == [b"srv/data/new"] and tree[b"srv/data"][1] == "0700"


def test_whiteouts_mean_the_same_in_any_order(tmp_path):
    entries = [entry("srv/data", "dir", mode=0o711), entry("srv/data/.wh.a"), entry("srv/data/a", data=b"again"), entry("srv/.wh.data"),
               entry("srv/data/x/y", data=b"1"), entry("srv/data/x/.wh..wh..opq"), entry("usr/.wh.bin"), entry("usr/bin/only", data=b"2")]
    rng, seen = random.Random(7), set()
    for i in range(12):
        rng.shuffle(entries)
        listing = ls(simple_layout(tmp_path / str(i), BASE, layer(*entries)).path)
        tree, _ = listed_tree(listing)
        assert sorted(p for p in tree if p.startswith(b"usr/")) == [b"usr/bin", b"usr/bin/only"]
        assert [p for p in sorted(tree) if p.startswith(b"srv/data")] == \
            [b"srv/data", b"srv/data/a", b"srv/data/x", b"srv/data/x/y"]
        # attributes of usr/bin went with the layer that said them
        assert tree[b"usr/bin"][1] == "0755" and tree[b"srv/data"][1] == "0711"
        seen.add(json.dumps([{k: v for k, v in f.items()} for f in listing["files"]]))
    assert len(seen) == 1


def test_names_are_bytes(tmp_path):
    names = ["e\u0301-decomposed", "\u00e9-composed", "control\x01\x1b[31m", "new\nline", "raw\udcff\udcfe", 'quote"\\', " space ",
             "x" * 255, "/".join(["d" * 200] * 20)[:4000]]
    listing = ls(simple_layout(tmp_path / "layout", layer(*[entry(n, data=b"1") for n in names])).path)
    tree, _ = listed_tree(listing)
    for name in names:
        assert name.encode("utf-8", "surrogateescape") in tree
    text = images.run_ls(tmp_path / "layout").stdout
    assert b"\x1b" not in text and b"control\\x01\\x1b[31m" in text and b"new\\x0aline" in text


class Maker:
    """Random layers that stay within the specification."""

    def __init__(self, seed):
        self.rng, self.tree = random.Random(seed), {"": "dir"}

    def path(self, kinds):
        fitting = [p for p, k in self.tree.items() if k in kinds]
        return self.rng.choice(fitting) if fitting else None

    def new_path(self, taken):
        parent = self.path(("dir",))
        name = self.rng.choice("abcdefg") + self.rng.choice(["", "0", "1", " ", "\u00e4"])
        path = f"{parent}/{name}" if parent else name
        return None if path in taken or path.count("/") > 5 else path

    def forget(self, path):
        for p in [p for p in self.tree if p == path or p.startswith(path + "/")]:
            del self.tree[p]

    def layer(self):
        rng, head, body, taken, fresh = self.rng, [], [], set(), set()
        attributes = lambda: dict(uid=rng.randrange(3), gid=rng.randrange(3), mtime=1600000000 + rng.randrange(9))
        for path in rng.sample(sorted(p for p in self.tree if p), min(3, len(self.tree) - 1)):
            if path not in self.tree or not path:
                continue
            parent, _, name = path.rpartition("/")
            if rng.random() < 0.25 and self.tree[path] == "dir":
                head += [entry(path, "dir", **attributes()), entry(path + "/.wh..wh..opq")]
                for p in [p for p in self.tree if p.startswith(path + "/")]:
                    del self.tree[p]
            else:
                head.append(entry(f"{parent}/.wh.{name}" if parent else f".wh.{name}"))
                self.forget(path)
            taken.add(path)
        for _ in range(rng.randrange(3, 25)):
            path, kind = self.new_path(taken), rng.choice(["file", "file", "dir", "symlink", "link", "fifo"])
            if path is None or any(t.startswith(path + "/") for t in taken) or \
               any(self.tree.get(path[:i]) not in (None, "dir") for i, c in enumerate(path) if c == "/"):
                continue
            target = self.path(("file",)) if kind == "link" else None
            if (kind == "link" and (target is None or target == path)) or (path in self.tree and self.tree[path] != kind and kind == "link"):
                continue
            if self.tree.get(path) != "dir" or kind != "dir":
                if target and (target + "/").startswith(path + "/"):
                    continue
                self.forget(path)
            self.tree[path] = "file" if kind == "link" else kind
            taken.add(path)
            more = {"file": dict(data=rng.randbytes(rng.randrange(2000)), mode=rng.choice([0o644, 0o4755, 0o600])),
                    "symlink": dict(link=rng.choice(["/a/b", "../x", "nowhere"])), "link": dict(link=target or "")}.get(kind, {})
            body.append(entry(path, kind, **{**attributes(), **more}))
        return layer(*head, *body, format=rng.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))


@needs_root
@pytest.mark.parametrize("seed", range(12))
def test_random_layers_are_what_umoci_unpacks(tmp_path, seed):
    maker = Maker(seed)
    layout = simple_layout(tmp_path / "layout", *[maker.layer() for _ in range(6)])
    mine, other = listed_tree(ls(layout.path), times=False), snapshot(umoci_unpack(layout.path, "it", tmp_path / "unpacked"), times=False)
    assert differences(mine, other) == []


def test_a_hundred_layers(tmp_path):
    layers = [layer(entry("counter", data=b"%d" % i), entry(f"d{i % 7}/f{i}", data=b"%d" % i), *([entry(f"d{(i - 7) % 7}/.wh.f{i - 7}")]
                                                                                                 if i >= 7 and i % 3 == 0 else []))
              for i in range(100)]
    listing = ls(simple_layout(tmp_path / "layout", *layers).path)
    tree, _ = listed_tree(listing)
    assert listing["layers"] == 100 and tree[b"counter"][4] == 2
    assert sum(1 for p in tree if b"/f" in p) == 100 - sum(1 for i in range(7, 100) if i % 3 == 0)


# --- configuration ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("user, expected", [
    ("", (0, 0, [], "/root")), ("web", (101, 102, [44], "/home/web")), ("101", (101, 102, [44], "/home/web")), ("web:logs", (101, 44, [], "/home/web")),
    ("7:8", (7, 8, [], "/")), ("7", (7, 0, [], "/")), ("web:7", (101, 7, [], "/home/web")), (":logs", (0, 44, [], "/root"))])
def test_user_names_come_from_the_image(tmp_path, user, expected):
    layout = simple_layout(tmp_path / "layout", BASE, config={**images.CONFIG, "User": user})
    u = ls(layout.path)["config"]["user"]
    assert (u["uid"], u["gid"], u["groups"], u["home"]) == expected and u["spec"] == user


@pytest.mark.parametrize("layers", [
    [layer(entry("etc/passwd", "symlink", link="../usr/lib/accounts"), entry("usr/lib/accounts", data=b"web:x:9:9::/h:\n"))],
    [BASE, layer(entry("etc/passwd", data=b"web:x:9:9::/h:\n"))],
    [layer(entry("keep", data=b"web:x:9:9::/h:\n")), BASE, layer(entry("etc/passwd", "link", link="keep"))]],
    ids=["through a link", "of the last layer", "a hard link to an earlier layer"])
def test_user_is_looked_up_in_the_final_tree(tmp_path, layers):
    layout = simple_layout(tmp_path / "layout", *layers, config={"User": "web"})
    assert ls(layout.path)["config"]["user"]["uid"] == 9


def test_unknown_users_are_refused(tmp_path):
    for i, (layers, user) in enumerate([([BASE], "nobody"), ([BASE], "web:nogroup"), ([layer(entry("x"))], "web"),
                                        ([BASE, layer(entry("etc/.wh.passwd"))], "web")]):
        assert refused(simple_layout(tmp_path / str(i), *layers, config={"User": user}).path)[0] == "unknown-user"


def test_configuration(tmp_path):
    layout = simple_layout(tmp_path / "layout", BASE)
    c = ls(layout.path)["config"]
    assert c["entrypoint"] == ["/bin/app"] and c["cmd"] == ["--serve"] and c["env"] == ["PATH=/bin", "EMPTY="]
    assert c["working_dir"] == "/srv" and c["exposed_ports"] == ["80/tcp"] and c["stop_signal"] == {"name": "SIGQUIT", "number": 3}
    bare = ls(simple_layout(tmp_path / "bare", BASE, config={"Cmd": None, "Entrypoint": []}).path)["config"]
    assert bare["entrypoint"] == bare["cmd"] == bare["env"] == [] and bare["stop_signal"]["number"] == 15


# --- sources ----------------------------------------------------------------------------------------------------

def skopeo(*args):
    done = subprocess.run(["skopeo", "--insecure-policy", *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """One image in every form that skopeo writes."""
    top = tmp_path_factory.mktemp("image")
    layout = simple_layout(top / "layout", BASE, CHANGES)
    skopeo("copy", f"oci:{layout.path}:it", f"oci-archive:{top}/oci.tar:it")
    skopeo("copy", f"oci:{layout.path}:it", f"docker-archive:{top}/docker.tar:example.test/it:1")
    skopeo("copy", "--dest-compress-format", "zstd", "--dest-force-compress-format", f"oci:{layout.path}:it", f"oci:{top}/zstd:it") \
        if "force-compress" in skopeo("copy", "--help") else shutil.copytree(simple_layout(top / "z", BASE, CHANGES, compression="zstd").path, top / "zstd")
    subprocess.run(["gzip", "-k", top / "docker.tar"], check=True)
    subprocess.run(["zstd", "-q", top / "oci.tar"], check=True)
    return top


@pytest.mark.parametrize("spec, kind", [
    ("oci:{}/layout:it", "oci"), ("{}/layout", "oci"), ("oci-archive:{}/oci.tar:it", "oci-archive"), ("{}/oci.tar", "oci-archive"),
    ("{}/oci.tar.zst", "oci-archive"), ("docker-archive:{}/docker.tar", "docker-archive"), ("{}/docker.tar.gz", "docker-archive"),
    ("{}/docker.tar:example.test/it:1", "docker-archive"), ("{}/zstd", "oci")])
def test_every_form_is_the_same_image(image, spec, kind):
    listing = ls(spec.format(image))
    assert listing["kind"] == kind
    assert differences(listed_tree(listing), listed_tree(ls(image / "layout"))) == []
    assert listing["config"] == ls(image / "layout")["config"]


def test_archive_from_standard_input(image):
    with open(image / "docker.tar", "rb") as f:
        assert ls("-", stdin=f)["kind"] == "docker-archive"
    cat = subprocess.Popen(["cat", image / "docker.tar.gz"], stdout=subprocess.PIPE)
    assert ls("docker-archive:-", stdin=cat.stdout)["kind"] == "docker-archive"
    assert cat.wait() == 0


def test_old_docker_archives(tmp_path):
    layers = [BASE, CHANGES, CHANGES]
    path = images.docker_archive(tmp_path / "a.tar", layers, legacy=True)
    assert differences(listed_tree(ls(path)), listed_tree(ls(simple_layout(tmp_path / "l", *layers).path))) == []
    assert refused(f"{path}:other")[0] == "not-found"
    two = images.docker_archive(tmp_path / "b.tar", [BASE], tags=("a:1", "b:2"))
    assert ls(f"{two}:b:2")["layers"] == 1


@needs_root
def test_plain_directory(tmp_path):
    layout = simple_layout(tmp_path / "layout", BASE, CHANGES)
    root = umoci_unpack(layout.path, "it", tmp_path / "unpacked")
    listing = ls(root)
    assert listing["kind"] == "dir" and listing["config"]["entrypoint"] == []
    assert differences(listed_tree(listing), snapshot(root)) == []
    assert differences(listed_tree(ls(f"dir:{root}")), listed_tree(ls(layout.path))) == []


def test_directory_with_odd_things(tmp_path):
    root = tmp_path / "root"
    (root / "deep").joinpath(*["d"] * 60).mkdir(parents=True)
    (root / "outside").symlink_to("/etc")
    (root / ".wh.name").write_text("a file like any other here")
    os.mkfifo(root / "pipe")
    (root / b"\xff\n".decode("utf-8", "surrogateescape")).write_text("raw")
    with __import__("socket").socket(__import__("socket").AF_UNIX) as s:
        os.chdir(root)
        s.bind("socket")
        listing = ls(".")
    tree, _ = listed_tree(listing)
    expected, groups = snapshot(root)
    assert differences((tree, []), (expected, groups)) == []
    assert listing["warnings"][0]["kind"] == "socket" and b"outside/passwd" not in tree and b".wh.name" in tree
    (root / "secret").write_text("x")
    (root / "secret").chmod(0)
    if not ROOT:
        assert refused(root)[0] == "io"


@pytest.mark.parametrize("spec", ["nonsense", "alpine", "oci:/nowhere", "./nowhere", "docker-archive:/dev/null", "/dev/zero", "dir:/nowhere", ""])
def test_what_is_no_source(spec):
    assert refused(spec)[0] in ("bad-source", "not-found")


@pytest.mark.parametrize("spec", ["docker://UPPER.example/Repo", "docker://noregistry", "localhost/a:b:c", "127.0.0.1:99999/x", "example.test/x@sha256:12",
                                  "example.test/a//b", "example.test/x@md5:00", "docker://example.test/" + "a" * 600])
def test_bad_references(spec):
    assert refused(spec)[0] == "bad-reference"


# --- indexes ----------------------------------------------------------------------------------------------------

def marker(text):
    return layer(entry("which", data=text.encode()))


def which(listing):
    return [f["sha256"] for f in listing["files"] if f["path"] == "which"][0]


def sha(text):
    return digest(text.encode())[7:]


@pytest.fixture
def multi(tmp_path):
    """An index with attestations, as build tools write it, inside the layout's own index."""
    layout = Layout(tmp_path / "multi")
    inner = []
    for platform in ["linux/amd64", "linux/arm64/v8", "linux/arm/v7", "linux/arm/v6"]:
        os_, arch, *variant = platform.split("/")
        d = layout.manifest([marker(platform)], architecture=arch)
        inner.append({**d, "platform": {"os": os_, "architecture": arch, **({"variant": variant[0]} if variant else {})}})
        inner.append({**layout.manifest([marker("attestation")]), "platform": {"os": "unknown", "architecture": "unknown"},
                      "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": d["digest"]}})
    index = {"schemaVersion": 2, "mediaType": images.MEDIA + "index.v1+json", "manifests": inner}
    layout.add({"mediaType": images.MEDIA + "index.v1+json", **layout.blob(json.dumps(index).encode())}, "multi")
    return layout


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64", "linux/arm64/v8", "linux/arm/v7", "linux/arm/v6"])
def test_platforms(multi, platform):
    picked = {"linux/arm64": "linux/arm64/v8"}.get(platform, platform)
    assert which(ls(multi.path, "--platform", platform)) == sha(picked)


def test_platform_that_is_missing(multi):
    code, message = refused(multi.path, "--platform", "linux/riscv64")
    assert code == "no-platform" and "linux/arm/v7" in message and "unknown" not in message
    assert images.run_ls(multi.path, "--platform", "linux").returncode == 2


def test_single_image_of_another_platform(tmp_path):
    layout = simple_layout(tmp_path / "layout", marker("x"), architecture="s390x")
    assert ls(layout.path)["platform"] == "linux/s390x"
    assert refused(layout.path, "--platform", "linux/amd64")[0] == "no-platform"


def test_tags(tmp_path):
    layout = Layout(tmp_path / "layout")
    for tag in ("one", "two"):
        layout.add(layout.manifest([marker(tag)]), tag)
    assert which(ls(f"{layout.path}:two")) == sha("two")
    code, message = refused(layout.path)
    assert code == "ambiguous" and "one, two" in message
    assert refused(f"{layout.path}:three")[0] == "not-found"
    pinned = layout.index[0]["digest"]
    assert which(ls(f"{layout.path}@{pinned}")) == sha("one")
    assert refused(f"{layout.path}@sha256:{'0' * 64}")[0] == "not-found"


def test_full_names_of_docker_and_containerd(tmp_path):
    layout = Layout(tmp_path / "layout")
    for name in ("one", "two"):
        layout.add(layout.manifest([marker(name)]), "latest", annotations={"io.containerd.image.name": f"example.test/{name}:latest"})
    assert which(ls(f"{layout.path}:example.test/two:latest")) == sha("two")
    code, message = refused(f"{layout.path}:latest")
    assert code == "ambiguous" and "example.test/one:latest, example.test/two:latest" in message


def nested(layout, depth):
    d = layout.manifest([marker("deep")])
    for _ in range(depth):
        text = json.dumps({"schemaVersion": 2, "mediaType": images.MEDIA + "index.v1+json", "manifests": [d]}).encode()
        d = {"mediaType": images.MEDIA + "index.v1+json", **layout.blob(text)}
    layout.add(d, "it")
    return layout


def test_nested_indexes(tmp_path):
    assert which(ls(nested(Layout(tmp_path / "3"), 3).path)) == sha("deep")
    assert refused(nested(Layout(tmp_path / "4"), 4).path)[0] == "index-too-deep"


def test_docker_media_types(tmp_path):
    layout = Layout(tmp_path / "layout")
    d = layout.manifest([BASE, CHANGES])
    document = json.loads(layout.path_of(d).read_text())
    document["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json"
    document["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    for l in document["layers"]:
        l["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    layout.add({"mediaType": document["mediaType"], **layout.blob(json.dumps(document).encode())}, "it")
    assert ls(layout.path)["layers"] == 2


# --- damage -----------------------------------------------------------------------------------------------------

def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_every_flipped_bit_is_noticed(tmp_path, compression):
    layout = simple_layout(tmp_path / "layout", BASE, CHANGES, compression=compression)
    rng = random.Random(3)
    for blob in sorted((layout.path / "blobs/sha256").iterdir()):
        good = blob.read_bytes()
        for _ in range(6):
            flip(blob, rng.randrange(len(good)))
            assert refused(layout.path)[0] == "digest-mismatch"
            blob.write_bytes(good)
        blob.write_bytes(good[:-1])
        assert refused(layout.path)[0] == "size-mismatch"
        blob.write_bytes(good + b"\0")
        assert refused(layout.path)[0] == "size-mismatch"
        blob.write_bytes(good)
    ls(layout.path)


def test_layer_that_is_not_what_the_configuration_names(tmp_path):
    layout = Layout(tmp_path / "layout")
    d = layout.manifest([BASE])
    document = json.loads(layout.path_of(d).read_text())
    document["layers"][0].update(layout.blob(images.compress(layer(entry("other")), "gzip")))
    layout.add({**d, **layout.blob(json.dumps(document).encode())}, "it")
    assert refused(layout.path)[0] == "diff-id-mismatch"
    path = images.docker_archive(tmp_path / "a.tar", [BASE])
    data = path.read_bytes()
    path.write_bytes(data.replace(b"shell", b"shall"))
    assert refused(path)[0] == "diff-id-mismatch"


def test_missing_blobs(tmp_path):
    layout = simple_layout(tmp_path / "layout", BASE)
    blob = layout.path / "blobs/sha256" / digest(images.compress(BASE, "gzip"))[7:]
    blob.unlink()
    assert refused(layout.path)[0] == "not-found"
    os.mkfifo(blob)
    assert refused(layout.path)[0] == "io"
    assert refused(tmp_path / "layout" / "index.json")[0] in ("bad-source", "bad-tar")


def test_truncated_archives(image, tmp_path):
    for name in ("oci.tar", "docker.tar", "docker.tar.gz", "oci.tar.zst"):
        data = (image / name).read_bytes()
        for part in (0.2, 0.5, 0.9):
            (tmp_path / name).write_bytes(data[:int(len(data) * part)])
            assert refused(tmp_path / name)[0] in ("truncated", "bad-source", "not-found", "bad-tar", "size-mismatch"), (name, part)


# --- memory -----------------------------------------------------------------------------------------------------

def listing_of(layout, *options):
    out, peak = images.peak_kib(images.BUILD / "tee-rex", "image", "ls", "--json", *options, layout.path)
    return json.loads(out), peak


def test_memory_does_not_grow_with_the_bytes(tmp_path):
    small = images.big_layout(tmp_path / "small", 60000, 30_000_000)
    large = images.big_layout(tmp_path / "large", 60000, 300_000_000)
    (few, few_kib), (many, many_kib) = listing_of(small), listing_of(large)
    assert len(few["files"]) == len(many["files"]) > 60000 and many["totals"]["bytes"] > 9 * few["totals"]["bytes"]
    assert many_kib < 40 << 10 and many_kib < few_kib + 4096, (few_kib, many_kib)
    assert many["totals"]["tree_spilled_bytes"] == 0
    # the same with the tree on disk, and counted
    spilled, spilled_kib = listing_of(large, "--tree-memory", 1)
    assert spilled["totals"]["tree_spilled_bytes"] > 5 << 20 and spilled["files"] == many["files"] and spilled_kib < many_kib


@pytest.mark.slow
def test_memory_at_two_and_a_half_gigabytes_and_at_twenty_five(tmp_path):
    for total in (2_500_000_000, 25_000_000_000):
        layout = images.big_layout(tmp_path / "layout", 60000, total, layers=10)
        listing, peak = listing_of(layout)
        assert listing["totals"]["bytes"] > total * 0.95 and peak < 40 << 10, (total, peak)
        shutil.rmtree(layout.path)


# --- manners ----------------------------------------------------------------------------------------------------

def test_text_output(tmp_path):
    done = images.run_ls(simple_layout(tmp_path / "layout", BASE, config={**images.CONFIG, "User": "web"}).path)
    text = done.stdout.decode()
    assert done.returncode == 0 and "user        web = uid 101 gid 102 groups 44 home /home/web\n" in text
    assert "-rwsr-xr-x     0     0           4 " in text and "usr/bin/sh link to usr/bin/dash" in text
    assert "drwxrwxrwt" in text and "bin -> usr/bin" in text
    # quiet in a pipe but for what was left out
    assert [l.split(":")[1] for l in done.stderr.decode().splitlines()] == [" warning"] * 2


def test_progress_on_a_terminal_only(tmp_path):
    layout = simple_layout(tmp_path / "layout", layer(entry("big", data=os.urandom(1 << 20) * 150)), compression="")
    master, slave = os.openpty()
    done = subprocess.run([images.BUILD / "tee-rex", "image", "ls", layout.path], stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 65536):
            shown += piece
    except OSError:
        pass
    os.close(master)
    assert done.returncode == 0 and b"reading: layer 1 of 1, " in shown and b"MB/s" in shown


def test_usage():
    run = lambda *a: subprocess.run([images.BUILD / "tee-rex", "image", *a], capture_output=True, text=True)
    assert run("ls").returncode == run().returncode == run("nonsense").returncode == run("ls", "a", "b").returncode == 2
    assert run("ls", "--help").returncode == run("--help").returncode == 0 and "--platform" in run("ls", "--help").stdout
    assert run("ls", "x", "--max-size", "0").returncode == 2
