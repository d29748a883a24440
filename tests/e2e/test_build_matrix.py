"""Images as people have them, made with umoci and skopeo: glibc and musl userlands, every way of saying what starts, every
container they travel in; built, taken apart, and started in the simulator."""
import os
import subprocess
import time

import pytest

from built import Built, build, registers, unsquash
from conftest import BUILD
from images import differences, snapshot, umoci_unpack
from test_build import parts, without_mount_points  # noqa: F401  (parts is a fixture)
from vm import Vm, have_qemu, kernel

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="umoci unpacks and repacks as root")

SAY = r"""
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	char here[256];
	fprintf(stderr, "say: %s uid=%d gid=%d cwd=%s MARK=%s HOME=%s", LIBC, getuid(), getgid(), getcwd(here, sizeof here), getenv("MARK"), getenv("HOME"));
	for (int i = 0; i < argc; i++)
		fprintf(stderr, " [%s]", argv[i]);
	FILE *f = fopen("/etc/written", "w");
	fprintf(stderr, " %s\n", f != NULL ? "writable" : "read-only");
	for (;;)
		pause();
}
"""


def run(*argv):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


def userland(where, libc):
    """A root with one dynamically linked program, its libraries, and accounts."""
    for directory in ("usr/bin", "etc", "lib64", "lib/x86_64-linux-gnu", "old"):
        (where / directory).mkdir(parents=True)
    (where / "say.c").write_text(SAY)
    run("musl-gcc" if libc == "musl" else "gcc", f'-DLIBC="{libc}"', "-O2", "-o", where / "usr/bin/say", where / "say.c")
    (where / "say.c").unlink()
    if libc == "musl":
        run("cp", "-L", "/lib/ld-musl-x86_64.so.1", where / "lib/")
    else:
        run("cp", "-L", "/lib64/ld-linux-x86-64.so.2", where / "lib64/")
        run("cp", "-L", "/lib/x86_64-linux-gnu/libc.so.6", where / "lib/x86_64-linux-gnu/")
    (where / "etc/passwd").write_text("root:x:0:0::/root:/\nweb:x:101:102::/home/web:/\n")
    (where / "etc/group").write_text("root:x:0:\nweb:x:102:\n")
    (where / "old/gone").write_text("x")
    return where


@pytest.fixture(scope="module", params=["glibc", "musl"])
def image(request, tmp_path_factory):
    """(layout, libc): a base layer, then one that umoci made of changes: a whiteout, a hard link to the layer below, a new file."""
    work = tmp_path_factory.mktemp(request.param)
    layout = work / "layout"
    userland(work / "root", request.param)
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:base")
    run("umoci", "insert", "--image", f"{layout}:base", work / "root", "/")
    run("umoci", "unpack", "--image", f"{layout}:base", work / "bundle")
    changed = work / "bundle/rootfs"
    (changed / "old/gone").unlink()
    os.link(changed / "usr/bin/say", changed / "usr/bin/say-too")
    (changed / "etc/new").write_text("new")
    run("umoci", "repack", "--image", f"{layout}:it", work / "bundle")
    run("umoci", "config", "--image", f"{layout}:it", "--config.entrypoint", "say", "--config.entrypoint", "one word", "--config.cmd", "-x",
        "--config.env", "MARK=here", "--config.user", "web", "--config.workingdir", "/var/missing", "--config.exposedports", "8080/tcp")
    return layout, request.param


def test_tree_and_service(image, parts, tmp_path):  # noqa: F811
    layout, _ = image
    build(f"oci:{layout}:it", tmp_path / "app.eif", *parts)
    made = Built(tmp_path / "app.eif")
    tree = without_mount_points(snapshot(unsquash(made, tmp_path / "squashfs"), times=False))
    expected = snapshot(umoci_unpack(layout, "it", tmp_path / "unpacked"), times=False)
    for name in (b"dev", b"run", b"tmp", b"var", b"var/missing"):
        assert tree[0].pop(name)[0] == "directory"
    assert differences(tree, expected) == [] and b"old/gone" not in tree[0] and [b"usr/bin/say", b"usr/bin/say-too"] in tree[1]
    app = made.table["app"]
    assert app["arg"] == ["/usr/bin/say", "one word", "-x"] and (app["uid"], app["gid"], app["workdir"]) == ("101", "102", "/var/missing")
    assert app["bridge"] == ["8080 8080"] and "MARK=here" in app["env"]


@pytest.mark.parametrize("clear,options,expected", [
    (["config.cmd"], ["--config.entrypoint", "say"], ["/usr/bin/say"]), (["config.entrypoint"], ["--config.cmd", "say", "--config.cmd", "b"], ["/usr/bin/say", "b"]),
    ([], ["--config.entrypoint", "/usr/bin/say-too"], ["/usr/bin/say-too"])], ids=["entrypoint only", "cmd only", "both"])
def test_what_starts(image, parts, tmp_path, clear, options, expected):  # noqa: F811
    layout, _ = image
    run("umoci", "config", "--image", f"{layout}:it", "--tag", "other", *[f"--clear={c}" for c in ["config.entrypoint", "config.cmd", *clear]], *options)
    build(f"oci:{layout}:other", tmp_path / "app.eif", *parts)
    assert Built(tmp_path / "app.eif").table["app"]["arg"] == expected


def test_every_container_gives_the_same_registers(image, parts, tmp_path):  # noqa: F811
    """zstd layers, archives, docker's format: what is measured is what is in it."""
    layout, _ = image
    build(f"oci:{layout}:it", tmp_path / "app.eif", *parts)
    expected = registers(tmp_path / "app.eif")
    run("skopeo", "copy", f"oci:{layout}:it", f"docker-archive:{tmp_path}/docker.tar:it:latest")
    run("skopeo", "copy", f"oci:{layout}:it", f"oci-archive:{tmp_path}/oci.tar:it")
    run("skopeo", "copy", "--dest-compress-format", "zstd", "--dest-compress", f"oci:{layout}:it", f"oci:{tmp_path}/zstd:it")
    for spec in (f"docker-archive:{tmp_path}/docker.tar", f"oci-archive:{tmp_path}/oci.tar", f"oci:{tmp_path}/zstd:it"):
        build(spec, tmp_path / "other.eif", *parts)
        assert registers(tmp_path / "other.eif") == expected, spec


@pytest.mark.parametrize("layout_name", ["squashfs", "plain"])
def test_it_starts(image, tmp_path, layout_name, short_dir):
    """Under our kernel and init: right program, arguments, user, directory; its own libc; a root that it may write to."""
    if not have_qemu():
        pytest.skip("QEMU 10 or later is not installed: as root, scripts/backports install qemu-system-x86")
    layout, libc = image
    build(f"oci:{layout}:it", tmp_path / "app.eif", "--kernel", kernel() / "bzImage", "--layout", layout_name, "--log", "stderr", "--user", "0:102",
          "--compress", "gzip" if libc == "musl" else "zstd")
    with Vm(short_dir, tmp_path / "app.eif", memory=128, ready="started") as vm:
        end = time.monotonic() + 120
        while "say: " not in vm.log.read_text(errors="replace"):
            assert time.monotonic() < end and vm.process.poll() is None, vm.log.read_text(errors="replace")
            time.sleep(0.1)
        time.sleep(0.2)
        line = next(line for line in vm.log.read_text().splitlines() if "say: " in line)
    assert line.endswith(f"say: {libc} uid=0 gid=102 cwd=/var/missing MARK=here HOME=/root [/usr/bin/say] [one word] [-x] writable"), line


@pytest.mark.slow
def test_more_than_a_gibibyte(image, parts, tmp_path):  # noqa: F811
    layout, _ = image
    with open(tmp_path / "big", "wb") as f:
        for i in range(1100):
            f.write(os.urandom(1 << 19) + bytes(1 << 19))
    run("umoci", "insert", "--image", f"{layout}:it", "--tag", "large", tmp_path / "big", "/srv/big")
    result = build(f"oci:{layout}:large", tmp_path / "app.eif", *parts)
    assert result["bytes"]["unpacked"] > 1 << 30
    tree = unsquash(Built(tmp_path / "app.eif"), tmp_path / "squashfs")
    assert run("cmp", tmp_path / "big", tree / "srv/big") == ""
    assert BUILD.exists()
