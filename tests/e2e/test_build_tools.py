"""tee-rex build from what other tools make: buildah (which needs no daemon), umoci, skopeo; what an index holds beside images, and
what no tool here writes (attestations, nested indexes) put in by hand. Registers are computed again from the image each time."""
import json
import os
import shutil
import subprocess
import tempfile

import pytest

import images
from built import Built, build, registers, unsquash
from images import Layout, differences, digest, entry, layer, snapshot, umoci_unpack
from registries import Registry
from test_arm64 import arm64_kernel, programs  # noqa: F401  (programs is a fixture)
from test_build import APP, parts, without_mount_points  # noqa: F401  (parts is a fixture)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="buildah and umoci work as root here")
INDEX = images.MEDIA + "index.v1+json"


def run(*argv, **more):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, **more)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout.strip()


def make(spec, output, *options, **more):
    """A build whose registers are those computed from the image; returns what it says and the image, taken apart."""
    result = build(spec, output, *options, **more)
    mine = registers(output)
    assert {k: result["measurements"][k] for k in mine} == mine
    return result, Built(output)


# --- buildah ------------------------------------------------------------------------------------------------------

class Buildah:
    def __init__(self, work):
        self.work = work
        self.base = ["buildah", "--root", work / "storage", "--runroot", work / "run", "--storage-driver", "vfs"]

    def __call__(self, *argv):
        return run(*self.base, *argv, env={**os.environ, "BUILDAH_ISOLATION": "chroot", "XDG_RUNTIME_DIR": str(self.work)})

    def image(self, name, arch, text):
        """Two layers: the second removes, replaces, and links to what the first has."""
        (self.work / "app").write_text(text)
        first = self("from", "--arch", arch, "scratch")
        self("copy", "--chmod", "755", first, self.work / "app", "/bin/app")
        self("copy", first, self.work / "app", "/old/gone")
        self("copy", first, self.work / "app", "/srv/kept")
        (self.work / "passwd").write_text("root:x:0:0::/root:/\nweb:x:101:102::/home/web:/\n")
        self("copy", first, self.work / "passwd", "/etc/passwd")
        self("commit", "--rm", first, f"{name}-base")
        second = self("from", "--arch", arch, "--pull-never", f"localhost/{name}-base")
        root = self("mount", second)
        os.unlink(f"{root}/old/gone")
        shutil.rmtree(f"{root}/srv")
        os.mkdir(f"{root}/srv")
        open(f"{root}/srv/new", "w").write(text)
        os.link(f"{root}/bin/app", f"{root}/bin/also")
        self("umount", second)
        self("config", "--entrypoint", '["app"]', "--cmd", "--serve", "--user", "web", "--workingdir", "/var/missing", "--env", "A=b c",
             "--port", "8080/tcp", "--stop-signal", "SIGQUIT", second)
        self("commit", "--rm", second, name)


@pytest.fixture(scope="module")
def buildah(programs):  # noqa: F811
    if shutil.which("buildah") is None:
        pytest.skip("buildah is not installed: scripts/install-packages test")
    with tempfile.TemporaryDirectory(prefix="buildah.", dir="/var/tmp") as name:
        import pathlib
        b = Buildah(pathlib.Path(name))
        for arch in ("amd64", "arm64"):
            b.image(f"it-{arch}", arch, f"#!/bin/sh\necho {arch}\n")
        b("manifest", "create", "all")
        for arch in ("amd64", "arm64"):
            b("manifest", "add", "--arch", arch, "all", f"containers-storage:localhost/it-{arch}")
        b("manifest", "push", "--all", "all", f"oci:{name}/layout:it")
        yield b
        # what is mounted nowhere any more goes with the directory


def test_buildah_of_several_platforms(buildah, parts, programs, tmp_path):  # noqa: F811
    layout = buildah.work / "layout"
    options = {"amd64": parts, "arm64": ["--kernel", arm64_kernel(tmp_path / "Image"), "--init", programs["tee-rex-init"]]}
    for arch, of_arch in options.items():
        result, made = make(f"oci:{layout}:it", tmp_path / f"{arch}.eif", *of_arch, "--platform", f"linux/{arch}")
        assert result["architecture"] == {"amd64": "x86_64"}.get(arch, arch) and result["warnings"] == []
        tree = unsquash(made, tmp_path / arch)
        assert (tree / "bin/app").read_text() == (tree / "bin/also").read_text() == f"#!/bin/sh\necho {arch}\n"
        assert sorted(os.listdir(tree / "srv")) == ["new"] and os.listdir(tree / "old") == []
        run("skopeo", "--insecure-policy", f"--override-arch={arch}", "copy", f"oci:{layout}:it", f"oci:{tmp_path}/only-{arch}:it")
        mine = without_mount_points(snapshot(tree, times=False))
        for name in (b"dev", b"run", b"tmp", b"var", b"var/missing"):
            mine[0].pop(name)
        assert differences(mine, snapshot(umoci_unpack(tmp_path / f"only-{arch}", "it", tmp_path / f"u-{arch}"), times=False)) == []
        app = made.table["app"]
        assert app["arg"] == ["/bin/app", "--serve"] and (app["uid"], app["gid"], app["workdir"]) == ("101", "102", "/var/missing")
        assert "A=b c" in app["env"] and app["bridge"] == ["8080 8080"] and app["stop_signal"] in ("QUIT", "SIGQUIT", "3")
    # without --platform: this machine's
    assert make(f"oci:{layout}:it", tmp_path / "any.eif", *parts)[0]["measurements"] == build(
        f"oci:{layout}:it", tmp_path / "again.eif", *parts, "--platform", "linux/amd64")["measurements"]


def test_buildah_in_every_container(buildah, parts, tmp_path):  # noqa: F811
    """The same image as docker's archive, an OCI archive, with zstd layers, compressed as a whole, from a pipe, from a registry."""
    name = "containers-storage:localhost/it-amd64"
    expected = make(f"oci:{buildah.work}/layout:it", tmp_path / "app.eif", *parts)[0]["measurements"]
    buildah("push", name, f"docker-archive:{tmp_path}/docker.tar:it:latest")
    buildah("push", name, f"oci-archive:{tmp_path}/oci.tar:it")
    buildah("push", "--compression-format", "zstd", name, f"oci:{tmp_path}/zstd:it")
    buildah("push", "--format", "v2s2", name, f"dir:{tmp_path}/v2s2")
    run("skopeo", "--insecure-policy", "copy", f"dir:{tmp_path}/v2s2", f"docker-archive:{tmp_path}/v2s2.tar:it:latest")
    run("zstd", "-q", tmp_path / "docker.tar")
    run("gzip", "-k", tmp_path / "oci.tar")
    layers = json.loads((tmp_path / "zstd/index.json").read_text())["manifests"][0]["digest"][7:]
    assert "tar+zstd" in (tmp_path / "zstd/blobs/sha256" / layers).read_text()
    for spec in ("docker-archive:docker.tar", "docker-archive:docker.tar.zst", "oci-archive:oci.tar", "oci-archive:oci.tar.gz", "oci:zstd:it",
                 "docker-archive:v2s2.tar"):
        kind, rest = spec.split(":", 1)
        assert make(f"{kind}:{tmp_path}/{rest}", tmp_path / "x.eif", *parts)[0]["measurements"] == expected, spec
    with open(tmp_path / "docker.tar.zst", "rb") as pipe:
        cat = subprocess.Popen(["cat"], stdin=pipe, stdout=subprocess.PIPE)
        assert build("docker-archive:-", tmp_path / "x.eif", *parts, stdin=cat.stdout)["measurements"] == expected
        assert cat.wait() == 0
    layout = Layout(tmp_path / "served")
    shutil.rmtree(layout.path)
    shutil.copytree(buildah.work / "layout", layout.path)
    layout.index = json.loads((layout.path / "index.json").read_text())["manifests"]
    where = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    with Registry(layout) as r:
        first, _ = make(f"{r.host}/team/it:it", tmp_path / "x.eif", *parts, "--plain-http", env=where)
        assert first["measurements"] == expected and first["fetched_bytes"] > 0
        pinned = f"{r.host}/team/it@{layout.index[0]['digest']}"
        again, _ = make(pinned, tmp_path / "x.eif", *parts, "--plain-http", env=where)
        assert again["measurements"] == expected and again["fetched_bytes"] == 0 and again["source_digest"] == first["source_digest"]


# --- indexes --------------------------------------------------------------------------------------------------------

def index_of(layout, manifests):
    return {"mediaType": INDEX, **layout.blob(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).encode())}


def test_attestations_and_nested_indexes(buildah, parts, tmp_path):  # noqa: F811
    """What buildkit adds to buildah's index, first in it; and that in an index in an index."""
    expected = build(f"oci:{buildah.work}/layout:it", tmp_path / "app.eif", *parts)["measurements"]
    shutil.copytree(buildah.work / "layout", tmp_path / "layout")
    layout = Layout.__new__(Layout)
    layout.path = tmp_path / "layout"
    outer = json.loads((layout.path / "index.json").read_text())["manifests"][0]
    inner = json.loads(layout.path_of(outer).read_text())["manifests"]
    statement = layer(entry("in-toto.json", data=b'{"_type":"https://in-toto.io/Statement/v0.1"}'))
    attested = []
    for image in inner:
        attested.append({**layout.manifest([statement]), "platform": {"os": "unknown", "architecture": "unknown"},
                         "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image["digest"]}})
        attested.append(image)
    nested = index_of(layout, attested)
    for depth in range(3):
        (layout.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [nested]}))
        result, _ = make(layout.path, tmp_path / "x.eif", *parts)
        assert result["measurements"] == expected, depth
        nested = index_of(layout, [nested])


# --- many layers ------------------------------------------------------------------------------------------------------

def test_a_hundred_layers_of_umoci(parts, tmp_path):  # noqa: F811
    """Each layer by `umoci insert`: new files, replaced ones, opaque directories and whiteouts."""
    layout = tmp_path / "layout"
    (tmp_path / "app.tar").write_bytes(APP)
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:it")
    run("umoci", "raw", "add-layer", "--image", f"{layout}:it", tmp_path / "app.tar")
    for i in range(99):
        where = tmp_path / "part"
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir()
        (where / "counter").write_text(str(i))
        (where / f"file{i}").write_bytes(os.urandom(100))
        if i % 10 == 7:
            run("umoci", "insert", "--image", f"{layout}:it", "--whiteout", f"/d{i % 5}/file{i - 5}")
        elif i % 10 == 9:
            run("umoci", "insert", "--image", f"{layout}:it", "--opaque", where, f"/d{i % 5}")
        else:
            run("umoci", "insert", "--image", f"{layout}:it", where, f"/d{i % 5}")
    run("umoci", "config", "--image", f"{layout}:it", "--config.entrypoint", "/bin/app")
    made_of = json.loads((layout / "index.json").read_text())["manifests"][-1]["digest"][7:]
    assert len(json.loads((layout / "blobs/sha256" / made_of).read_text())["layers"]) == 100
    _, made = make(f"oci:{layout}:it", tmp_path / "app.eif", *parts)
    tree = without_mount_points(snapshot(unsquash(made, tmp_path / "squashfs"), times=False))
    expected = snapshot(umoci_unpack(layout, "it", tmp_path / "unpacked"), times=False)
    for name in (b"dev", b"run", b"tmp"):
        assert tree[0].pop(name)[0] == "directory"
    assert differences(tree, expected) == [] and sum(1 for p in tree[0] if b"/file" in p) < 99
    assert digest((tmp_path / "app.eif").read_bytes()) == digest((make(f"oci:{layout}:it", tmp_path / "b.eif", *parts), tmp_path / "b.eif")[1].read_bytes())
