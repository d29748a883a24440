"""tee-rex build from the outside: what is in the image, what starts in it, what it measures to, what is refused. Images are
taken apart by tests/e2e/built.py, trees compared with what umoci unpacks."""
import json
import os
import random
import re
import shutil
import struct
import subprocess

import pytest

import eif_oracle
from built import Built, build, cpio_tree, refused, registers, run_build, unsquash
from conftest import BUILD
from images import differences, digest, docker_archive, entry, layer, simple_layout, snapshot, umoci_unpack
from registries import Registry
from test_image_sources import BASE, CHANGES, needs_root
from test_kernel import FRAGMENT, bzimage, with_config

APP = layer(entry("bin/app", data=b"#!/bin/sh\n", mode=0o755), entry("srv", "dir", uid=7), entry("etc/passwd",
            data=b"root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/home/web:/bin/sh\n"),
            entry("etc/group", data=b"root:x:0:\nweb:x:102:\nlogs:x:44:web,other\n"))


@pytest.fixture(scope="session")
def parts(tmp_path_factory):
    """The options that give a kernel and an init: a kernel's shell with our configuration, and a static program."""
    work = tmp_path_factory.mktemp("parts")
    (work / "bzImage").write_bytes(bzimage(with_config(FRAGMENT)))
    (work / "init.c").write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-static", "-Os", "-s", "-o", work / "init", work / "init.c"], check=True)
    return ["--kernel", work / "bzImage", "--init", work / "init"]


# --- what is in it ------------------------------------------------------------------------------------------------

@needs_root
@pytest.mark.parametrize("compress", ["none", "gzip", "zstd"])
def test_plain_tree_is_what_umoci_unpacks(tmp_path, parts, compress):
    layout = simple_layout(tmp_path / "layout", BASE, CHANGES)
    result = build(layout.path, tmp_path / "app.eif", *parts, "--layout", "plain", "--compress", compress, "--entrypoint", "/bin/sh",
                   "--workdir", "/")
    made = Built(tmp_path / "app.eif")
    assert made.boot_packing == made.app_packing == compress
    tree = without_mount_points(cpio_tree(made.app))
    expected = snapshot(umoci_unpack(layout.path, "it", tmp_path / "unpacked"), times=False)
    # newc knows no extended attributes: that is said, and the only difference
    tree[0][b"srv/capable"] = expected[0][b"srv/capable"]
    assert differences(tree, expected) == []
    assert {w["kind"]: w["count"] for w in result["warnings"]}["xattr-layout"] == 1
    # one time everywhere, numbers without gaps, directories before what is in them
    assert {e.mtime for e in made.app.values()} == {0}
    assert {e.ino for e in made.app.values()} == set(range(1, 1 + len({e.ino for e in made.app.values()})))


def without_mount_points(tree):
    for path in (b"proc", b"sys"):
        assert tree[0].pop(path)[:2] == ("directory", "0555")
    return tree


ODD = layer(
    *[entry(f"many/{'n' * (i % 200)}{i}", data=b"%d" % i, uid=i % 7, gid=i % 5) for i in range(700)], entry("many/sub", "dir"),
    entry("sizes/0"), *[entry(f"sizes/{n}", data=random.Random(n).randbytes(n)) for n in (1, 131071, 131072, 131073, 400000)],
    entry("sizes/zeros", data=bytes(600000)), entry("sizes/holes", data=b"a" * 131072 + bytes(131072) + b"b" * 200000),
    entry("sizes/late", data=bytes(262144) + b"end"), entry("sizes/repeats", data=b"repeat " * 100000),
    entry("links/one", "link", link="sizes/400000"), entry("links/two", "link", link="sizes/0"), entry("links/three", "symlink", link="x" * 4000),
    entry("links/four", "link", link="links/three"), entry("links/pipe", "fifo"), entry("links/pipe2", "link", link="links/pipe"),
    entry("old", data=b"1960", mtime=-300000000), entry("late", data=b"2200", mtime=7260000000 - 3000000000),
    entry("xattrs/a", data=b"a", xattrs={"user.a": b"1", "user.b": b"2" * 3000}), entry("xattrs/d/", "dir", xattrs={"user.d": b"d"}),
    entry("xattrs/cap", data=b"c", xattrs={"security.capability": bytes.fromhex("0100000200200000000000000000000000000000")}),
    entry("d" * 255 + "/" + "e" * 255, data=b"deep"), entry("modes", data=b"", mode=0o6755, uid=4000000000, gid=65534))


@needs_root
@pytest.mark.parametrize("layers", [[BASE, CHANGES], [ODD], [BASE, ODD, CHANGES]], ids=["base", "odd", "all"])
def test_squashfs_tree_is_what_umoci_unpacks(tmp_path, parts, layers):
    layout = simple_layout(tmp_path / "layout", *layers, APP)
    build(layout.path, tmp_path / "app.eif", *parts, "--entrypoint", "/bin/app", "--workdir", "/")
    tree = without_mount_points(snapshot(unsquash(Built(tmp_path / "app.eif"), tmp_path / "squashfs")))
    expected = snapshot(umoci_unpack(layout.path, "it", tmp_path / "unpacked"))
    if b"old" in expected[0]:
        # the format has no time before 1970
        expected[0][b"old"] = expected[0][b"old"][:8] + (0,)
    for name in (b"dev", b"run", b"tmp"):
        if name not in expected[0]:
            tree[0].pop(name)
    assert differences(tree, expected) == []


def test_boot_ramdisk_and_metadata(tmp_path, parts):
    layout = simple_layout(tmp_path / "layout", APP)
    build(layout.path, tmp_path / "app.eif", *parts, "--layout", "plain", "--name", "thing", "--version", "7", "--build-time", "2026-01-31T12:00:00Z")
    made = Built(tmp_path / "app.eif")
    assert {n: (e.kind, e.mode & 0o7777) for n, e in made.boot.items()} == {
        b"app": ("directory", 0o755), b"dev": ("directory", 0o755), b"etc": ("directory", 0o755), b"etc/tee-rex": ("directory", 0o755),
        b"proc": ("directory", 0o755), b"run": ("directory", 0o755), b"sys": ("directory", 0o755), b"tmp": ("directory", 0o1777),
        b"etc/tee-rex/init.conf": ("file", 0o444), b"init": ("file", 0o555)}
    assert made.boot[b"init"].data == open(parts[3], "rb").read() and made.kernel == open(parts[1], "rb").read()
    assert made.cmdline == ("reboot=k panic=-1 pci=off console=ttyS0 random.trust_cpu=on rootfstype=ramfs i8042.noaux i8042.nomux "
                            "i8042.nopnp i8042.dumbkbd")
    manifest = json.loads((layout.path / "index.json").read_text())["manifests"][0]["digest"]
    assert (made.metadata["ImageName"], made.metadata["ImageVersion"]) == ("thing", "7")
    assert made.metadata["BuildMetadata"]["BuildTime"] == "2026-01-31T12:00:00+00:00"
    assert made.metadata["DockerInfo"]["Digest"] == manifest and made.metadata["DockerInfo"]["Architecture"] == "amd64"
    assert made.app[b"app/srv"].uid == 7


def test_registers_are_the_defined_ones(tmp_path, parts):
    result = build(simple_layout(tmp_path / "layout", APP).path, tmp_path / "app.eif", *parts)["measurements"]
    mine = registers(tmp_path / "app.eif")
    assert {k: result[k] for k in mine} == mine
    done = run_build(tmp_path / "layout", tmp_path / "app.eif", *parts)
    assert done.stdout.decode() == "".join(f"{i}={mine[f'PCR{i}']}\n" for i in range(3))
    said = subprocess.run([BUILD / "tee-rex", "describe", tmp_path / "app.eif"], capture_output=True, check=True)
    said = json.loads(said.stdout)
    assert {k: said["Measurements"][k] for k in mine} == mine and said["CheckCRC"] is True
    program, why = eif_oracle.oracle()
    if program is None:
        pytest.skip(why)
    stock = eif_oracle.describe(program, tmp_path / "app.eif")
    assert stock is not None and {k: stock["Measurements"][k] for k in mine} == mine


def test_same_input_same_bytes(tmp_path, parts):
    one = simple_layout(tmp_path / "layout", BASE, CHANGES, APP, config={"Entrypoint": ["app"], "Env": ["PATH=/bin"]}).path
    other = tmp_path / "elsewhere/deeper"
    other.parent.mkdir()
    shutil.copytree(one, other)
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    copy = [parts[0], tmp_path / "other-kernel", parts[2], tmp_path / "other-init"]
    for i in (1, 3):
        shutil.copy(parts[i], copy[i])
    build(one, tmp_path / "one.eif", *parts, "--name", "x")
    build(other, tmp_path / "two.eif", *copy, "--name", "x", "--tree-memory", "0", env={"TZ": "Asia/Tokyo", "LC_ALL": "C", "HOME": "/nowhere"})
    assert (tmp_path / "one.eif").read_bytes() == (tmp_path / "two.eif").read_bytes()
    archive = docker_archive(tmp_path / "docker.tar", [BASE, CHANGES, APP], config={"Entrypoint": ["app"], "Env": ["PATH=/bin"]})
    result = build(f"docker-archive:{archive}", tmp_path / "three.eif", *parts, "--name", "x")
    assert result["measurements"]["PCR0"] == registers(tmp_path / "one.eif")["PCR0"]


# --- what starts in it ----------------------------------------------------------------------------------------------

def service(tmp_path, parts, config, *options, layers=(APP,)):
    shutil.rmtree(tmp_path / "layout", ignore_errors=True)
    build(simple_layout(tmp_path / "layout", *layers, config=config).path, tmp_path / "app.eif", *parts, "--layout", "plain", *options)
    return Built(tmp_path / "app.eif")


def test_entrypoint_and_cmd(tmp_path, parts):
    both = {"Entrypoint": ["/bin/app", "-x"], "Cmd": ["--serve", ""]}
    cases = [(both, [], ["/bin/app", "-x", "--serve", ""]), ({"Entrypoint": ["app"]}, [], ["/bin/app"]),
             ({"Cmd": ["app", "two words"]}, [], ["/bin/app", "two words"]), (both, ["--cmd", "other"], ["/bin/app", "-x", "other"]),
             (both, ["--cmd", ""], ["/bin/app", "-x"]), (both, ["--entrypoint", "bin/app"], ["/bin/app"]),
             (both, ["--entrypoint", "./app", "--entrypoint", "a=b", "--cmd", "c", "--workdir", "/bin"], ["/bin/app", "a=b", "c"])]
    for config, options, expected in cases:
        assert service(tmp_path, parts, config, *options).table["app"]["arg"] == expected


def test_environment_user_workdir_ports_signal(tmp_path, parts):
    config = {"Entrypoint": ["app"], "Env": ["PATH=/none:/bin", "A=1", "EMPTY="], "WorkingDir": "/var/lib/missing/", "User": "web",
              "ExposedPorts": {"8080/tcp": {}, "53/udp": {}}, "StopSignal": "SIGQUIT"}
    made = service(tmp_path, parts, config)
    app = made.table["app"]
    assert app["env"] == ["PATH=/none:/bin", "HOME=/home/web", "A=1", "EMPTY="]
    assert (app["uid"], app["gid"], app["group"], app["workdir"]) == ("101", "102", ["44"], "/var/lib/missing")
    assert app["bridge"] == ["8080 8080"] and app["stop_signal"] in ("QUIT", "SIGQUIT", "3")
    assert made.app[b"app/var/lib/missing"].kind == "directory" and made.app[b"app/var"].uid == 0
    made = service(tmp_path, parts, config, "--env", "A", "--env", "B=2", "--env", "EMPTY=no", "--user", "0:44", "--workdir", "/srv",
                   "--bridge", "5000:8080", "--nsm", "--epoch", "9")
    app = made.table["app"]
    assert app["env"] == ["PATH=/none:/bin", "HOME=/root", "EMPTY=no", "B=2"]
    assert (app["uid"], app["gid"], app["workdir"], app["bridge"]) == ("0", "44", "/srv", ["5000 8080"])
    assert app["grant"] == ["nsm", "container-capabilities"] and made.table[""]["epoch"] == "9"
    assert "grant" in service(tmp_path, parts, {"Cmd": ["app"]}).table["app"]
    assert "nsm" not in service(tmp_path, parts, {"Cmd": ["app"]}).table["app"]["grant"]


def test_program_keeps_the_name_it_is_called_by(tmp_path, parts):
    # busybox looks at its name: the link's name counts, the directory's link does not
    busybox = layer(entry("usr/bin/busybox", data=b"x", mode=0o755), entry("usr/bin/sh", "symlink", link="busybox"),
                    entry("bin", "symlink", link="usr/bin"))
    assert service(tmp_path, parts, {"Cmd": ["sh", "-c", "true"]}, layers=(busybox,)).table["app"]["arg"][0] == "/usr/bin/sh"
    assert service(tmp_path, parts, {"Cmd": ["/bin/../bin/sh"]}, layers=(busybox,)).table["app"]["arg"][0] == "/usr/bin/sh"


def test_service_file_is_taken_whole(tmp_path, parts):
    (tmp_path / "table").write_text("[service one]\narg = /bin/app\n[service two]\narg = /bin/app\narg = -x\nafter = one\nuid = 5\n")
    table = service(tmp_path, parts, {"Entrypoint": ["nothing"]}, "--service", tmp_path / "table", "--epoch", "3").table
    assert table["one"]["arg"] == ["/bin/app"] and table["two"]["arg"] == ["/bin/app", "-x"] and table["two"]["uid"] == "5"
    assert table[""]["epoch"] == "3" and "app" not in table
    done = run_build(tmp_path / "layout", tmp_path / "x.eif", *parts, "--service", tmp_path / "table", "--user", "web")
    assert done.returncode == 2 and b"--service says everything" in done.stderr
    (tmp_path / "table").write_text("[service one]\narg = /bin/gone\n")
    assert refused(tmp_path / "layout", tmp_path / "x.eif", *parts, "--service", tmp_path / "table")[0] == "no-program"
    (tmp_path / "table").write_text("[service one]\nargs = /bin/app\n")
    code, message = refused(tmp_path / "layout", tmp_path / "x.eif", *parts, "--service", tmp_path / "table")
    assert code == "bad-service" and "table:2" in message


# --- what is refused ------------------------------------------------------------------------------------------------

def test_nothing_to_start(tmp_path, parts):
    for config, word in [({}, "--entrypoint"), ({"Cmd": ["gone"]}, "PATH"), ({"Cmd": ["/etc/passwd"]}, "x bit"), ({"Cmd": ["/srv"]}, "x bit")]:
        shutil.rmtree(tmp_path / "layout", ignore_errors=True)
        layout = simple_layout(tmp_path / "layout", APP, config=config)
        code, message = refused(layout.path, tmp_path / "x.eif", *parts)
        assert code == "no-program" and word in message


def test_kernel_with_its_driver_and_configuration_beside_it(tmp_path, parts):
    """Stock kernels: no configuration inside, NSM as a module. Both are checked, and the module goes into the boot ramdisk."""
    layout = simple_layout(tmp_path / "layout", APP, config={"Cmd": ["app"]})
    (tmp_path / "bare").write_bytes(bzimage(b"\x7fELF" + bytes(9000)))
    (tmp_path / "config").write_text(FRAGMENT.replace("CONFIG_NSM=y", "CONFIG_NSM=m").replace("# CONFIG_MODULES is not set", "CONFIG_MODULES=y"))
    options = ["--kernel", tmp_path / "bare", *parts[2:]]
    assert refused(layout.path, tmp_path / "x.eif", *options)[0] == "bad-kernel"
    code, message = refused(layout.path, tmp_path / "x.eif", *options, "--config", tmp_path / "config")
    assert code == "bad-kernel" and "CONFIG_NSM" in message and "--module" in message
    (tmp_path / "nsm.ko").write_bytes(module(b"name=nsm\0vermagic=6.12.1-enclave SMP\0"))
    result = build(layout.path, tmp_path / "app.eif", *options, "--config", tmp_path / "config", "--module", tmp_path / "nsm.ko")
    assert result["warnings"] == [{"kind": "kernel", "option": "CONFIG_MODULES"}]
    made = Built(tmp_path / "app.eif")
    assert made.boot[b"nsm.ko"].data == (tmp_path / "nsm.ko").read_bytes() and made.boot[b"nsm.ko"].mode & 0o7777 == 0o444
    for info in (b"name=other\0vermagic=6.12.1-enclave SMP\0", b"name=nsm\0vermagic=6.1.0 SMP\0", b"name=nsm\0"):
        (tmp_path / "nsm.ko").write_bytes(module(info))
        assert refused(layout.path, tmp_path / "x.eif", *options, "--config", tmp_path / "config", "--module", tmp_path / "nsm.ko")[0] == "bad-kernel"


def module(modinfo):
    """An ELF object that has nothing but a .modinfo."""
    names = b"\0.modinfo\0.shstrtab\0"
    at = 64
    head = struct.pack("<4s5B7x2HI3QI6H", b"\x7fELF", 2, 1, 1, 0, 0, 1, 62, 1, 0, 0, at + len(modinfo) + len(names), 0, 64, 0, 0, 64, 3, 2)
    sections = bytes(64) + struct.pack("<2I4Q2I2Q", 1, 1, 0, 0, at, len(modinfo), 0, 0, 1, 0) + \
        struct.pack("<2I4Q2I2Q", 10, 3, 0, 0, at + len(modinfo), len(names), 0, 0, 1, 0)
    return head + modinfo + names + sections


def test_bad_parts(tmp_path, parts):
    layout = simple_layout(tmp_path / "layout", APP, config={"Cmd": ["app"]})
    (tmp_path / "weak").write_bytes(bzimage(with_config(FRAGMENT + "# CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES is not set\n")))
    (tmp_path / "none").write_bytes(bzimage(b"\x7fELF" + bytes(9000)))
    (tmp_path / "nozstd").write_bytes(bzimage(with_config(FRAGMENT + "# CONFIG_RD_ZSTD is not set\n")))
    shutil.copy("/bin/true", tmp_path / "dynamic")
    shutil.copy(parts[3], tmp_path / "arm")
    with open(tmp_path / "arm", "r+b") as f:
        f.seek(18)
        f.write(struct.pack("<H", 183))
    for kernel, init, code, word in [("weak", None, "bad-kernel", "VIRTIO_MMIO_CMDLINE_DEVICES"), ("none", None, "bad-kernel", "--config"),
                                     ("dynamic", None, "bad-kernel", "not-a-kernel"), (None, "dynamic", "bad-init", "dynamically"),
                                     (None, "arm", "bad-init", "architecture"), (None, "weak", "bad-init", "ELF"),
                                     ("missing", None, "io", "missing"), ("nozstd", None, "bad-kernel", "RD_ZSTD")]:
        got, message = refused(layout.path, tmp_path / "x.eif", "--kernel", tmp_path / kernel if kernel else parts[1], "--init",
                               tmp_path / init if init else parts[3])
        assert got == code and word in message, (kernel, init, got, message)
    # gzip instead of what the kernel cannot unpack
    assert run_build(layout.path, tmp_path / "x.eif", "--kernel", tmp_path / "nozstd", *parts[2:], "--compress", "gzip").returncode == 0


def test_other_architecture(tmp_path, parts):
    layout = simple_layout(tmp_path / "layout", APP, config={"Cmd": ["app"]}, architecture="arm64")
    code, message = refused(layout.path, tmp_path / "x.eif", *parts, "--platform", "linux/arm64")
    assert code == "bad-kernel" and "arm64" in message


def test_directories_that_are_none(tmp_path, parts):
    for entries, config in [([entry("proc", data=b"x")], {}), ([], {"WorkingDir": "/etc/passwd/x"}), ([], {"WorkingDir": "/loop/x"}),
                            ([entry("tmp", "symlink", link="/nowhere")], {})]:
        shutil.rmtree(tmp_path / "layout", ignore_errors=True)
        layout = simple_layout(tmp_path / "layout", APP, layer(entry("loop", "symlink", link="loop"), *entries), config={"Cmd": ["app"], **config})
        assert refused(layout.path, tmp_path / "x.eif", *parts)[0] == "bad-directory"


def test_damaged_layer_leaves_nothing(tmp_path, parts):
    layout = simple_layout(tmp_path / "layout", APP, config={"Cmd": ["app"]})
    (tmp_path / "x.eif").write_text("the old one")
    blob = max((layout.path / "blobs/sha256").iterdir(), key=lambda p: p.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    assert refused(layout.path, tmp_path / "x.eif", *parts)[0] in ("digest-mismatch", "bad-compression")
    assert (tmp_path / "x.eif").read_text() == "the old one"


def on_a_terminal(*argv, **more):
    """What a program that succeeds shows on a terminal, as the steps that were named."""
    master, slave = os.openpty()
    p = subprocess.Popen([BUILD / "tee-rex", *map(str, argv)], stdout=subprocess.DEVNULL, stderr=slave, **more)
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 65536):
            shown += piece
    except OSError:
        pass
    os.close(master)
    assert p.wait() == 0, shown
    return [line.strip() for line in shown.decode().split("\r") if line.strip()]


def test_progress_of_each_step(tmp_path, parts):
    """Fetch, read, pack, measure: layer, bytes, rate, on a terminal; in a pipe nothing (build() looks)."""
    noise = os.urandom(4 << 20)
    layout = simple_layout(tmp_path / "layout", APP, layer(*[entry(f"f{i}", data=noise[i:] + noise[:i]) for i in range(64)]), config={"Cmd": ["app"]},
                           compression="")
    with Registry(layout) as r:
        lines = on_a_terminal("build", f"{r.host}/team/it:it", "-o", tmp_path / "x.eif", "--plain-http", *parts,
                              env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)})
    steps = list(dict.fromkeys(line.split(":")[0] for line in lines if not line.startswith("tee-rex build")))
    assert steps == ["fetching", "reading", "packing", "measuring", "writing to the disk"], lines
    for step in steps[:3]:
        assert any(re.fullmatch(step + r": layer [12] of 2, [\d.]+ of [\d.]+ MB(, [\d.]+ MB/s)?", line) for line in lines), (step, lines)
    # a step that is over at once has one line, before there is a rate: all of them together are never that short
    assert any(re.search(r": layer 2 of 2, [\d.]+ of 26[\d.]+ MB, [\d.]+ MB/s$", line) for line in lines), lines
    assert any(line.startswith("measuring: ") and " of 26" in line for line in lines)
    # a directory has no layers, an archive that is compressed is unpacked first
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/app").write_bytes(noise)
    (tmp_path / "tree/app").chmod(0o755)
    lines = on_a_terminal("build", f"dir:{tmp_path}/tree", "-o", tmp_path / "x.eif", *parts, "--entrypoint", "/app", "--layout", "plain")
    assert lines[0].startswith("packing: ") and lines[1].startswith("writing to the disk: "), lines
    archive = docker_archive(tmp_path / "docker.tar", [APP], config={"Cmd": ["app"]})
    subprocess.run(["zstd", "-q", archive], check=True)
    assert on_a_terminal("build", f"{archive}.zst", "-o", tmp_path / "x.eif", *parts)[0].startswith("unpacking the archive: ")


def test_wrong_use(tmp_path, parts):
    for options, word in [([], "SOURCE"), (["a", "b"], ""), (["a"], "--kernel"), (["a", *parts, "-o", "x", "--compress", "xz"], "gzip"),
                          (["a", *parts, "-o", "x", "--layout", "tar"], "plain"), (["a", *parts, "-o", "x", "--epoch", "4294967296"], "epoch")]:
        done = subprocess.run([BUILD / "tee-rex", "build", *map(str, options)], capture_output=True, text=True)
        assert done.returncode == 2 and word in done.stderr and done.stdout == "", (options, done.stderr)
