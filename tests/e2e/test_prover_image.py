"""scripts/prover-image: what is in the prover's own image, that two runs give the same bytes, and that the bill of materials says
what is true. Without a reference string of one's own it is a TEST image, and named so."""
import hashlib
import json
import os
import subprocess

import pytest

from built import Built, registers, unsquash
from conftest import BUILD, TOP

SCRIPT = TOP / "scripts/prover-image"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A kernel's shell, which is enough to build with."""
    from test_kernel import FRAGMENT, bzimage, with_config
    work = tmp_path_factory.mktemp("parts")
    (work / "bzImage").write_bytes(bzimage(with_config(FRAGMENT)))
    return ["--kernel", work / "bzImage"]


def run(output, *options, **more):
    return subprocess.run([SCRIPT, "-o", output, *map(str, options)], capture_output=True, text=True, **more)


@pytest.fixture(scope="module")
def image(tmp_path_factory, parts):
    where = tmp_path_factory.mktemp("image")
    done = run(where, *parts)
    assert done.returncode == 0, done.stderr
    assert "TEST image" in done.stderr and sorted(os.listdir(where)) == ["prover-TEST.eif", "prover-TEST.files", "prover-TEST.spdx.json"]
    return where, done.stdout


def test_again_elsewhere_the_same(image, parts, tmp_path):
    done = run(tmp_path / "deeper", *parts, env={**os.environ, "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": "77"}, cwd=tmp_path,
               umask=0o077)
    assert done.returncode == 0, done.stderr
    assert done.stdout == image[1]
    for name in os.listdir(image[0]):
        assert (image[0] / name).read_bytes() == (tmp_path / "deeper" / name).read_bytes(), name
    mine = registers(image[0] / "prover-TEST.eif")
    assert image[1] == "".join(f"{i}={mine[f'PCR{i}']}\n" for i in range(3))


@pytest.mark.skipif(os.geteuid() != 0, reason="owners show only to root")
def test_nothing_else_is_in_it(image, tmp_path):
    made = Built(image[0] / "prover-TEST.eif")
    tree = unsquash(made, tmp_path / "squashfs")
    files = {}
    for directory, _, names in os.walk(tree):
        for name in names:
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                st = os.stat(path)
                assert (st.st_uid, st.st_gid, st.st_mode & 0o6022) == (0, 0, 0), path
                files["/" + os.path.relpath(path, tree)] = (st.st_mode & 0o7777, hashlib.sha256(open(path, "rb").read()).hexdigest())
    listed = {}
    for line in (image[0] / "prover-TEST.files").read_text().splitlines():
        mode, size, sha, path = line.split()
        assert int(size) == os.stat(tree / path[1:]).st_size
        listed[path] = (int(mode, 8), sha)
    assert files == listed
    libraries = {os.path.basename(p) for p in files if p.startswith("/usr/lib")and not p.startswith("/usr/libexec")}
    # and what libcrypto itself is linked to: nothing on Debian 12, zlib and zstd on Debian 13
    crypto = subprocess.run(["objdump", "-p", next(tree / p[1:] for p in files if p.endswith("/libcrypto.so.3"))], capture_output=True, text=True, check=True)
    needed = {line.split()[1] for line in crypto.stdout.splitlines() if line.split()[:1] == ["NEEDED"]}
    assert needed <= {"libc.so.6", "libz.so.1", "libzstd.so.1"} | {n for n in needed if n.startswith("ld-linux")}
    assert libraries == {"libc.so.6", "libcrypto.so.3", next(n for n in libraries if n.startswith("ld-linux"))} | needed
    assert {p for p in files if not p.startswith("/usr/lib/") and not p.startswith("/usr/lib64/")} == {
        "/crs/bn254_g1.dat", "/crs/bn254_g2.dat", "/crs/grumpkin_g1_v2.flat.dat", "/etc/tee-rex/prover.conf",
        "/usr/libexec/tee-rex/bb", "/usr/libexec/tee-rex/tee-rex-launcher", "/usr/libexec/tee-rex/tee-rex-prover"}
    # the reference string is pinned by what it is, and so is the version
    text = (tree / "etc/tee-rex/prover.conf").read_text()
    for name in ("bn254_g1.dat", "bn254_g2.dat", "grumpkin_g1_v2.flat.dat"):
        assert f"crs_sha256 = {name} {files['/crs/' + name][1]}\n" in text
    assert "version = 5.0.0 /usr/libexec/tee-rex/bb\n" in text
    table = made.table
    assert table["launcher"]["grant"] == ["root-capabilities"] and "uid" not in table["prover"] or table["prover"]["uid"] == "500"
    assert (table["prover"]["grant"], table["prover"]["listen"], table["prover"]["link"]) == (["nsm"], ["service 9002"], ["launcher"])
    # the programs find their libraries there, and the configuration is one they take
    for program in ("tee-rex-prover", "tee-rex-launcher"):
        done = subprocess.run(["chroot", tree, f"/usr/libexec/tee-rex/{program}", "--help"], capture_output=True, text=True)
        assert done.returncode == 0 and "--config" in done.stdout, done.stderr
    done = subprocess.run(["chroot", tree, "/usr/libexec/tee-rex/tee-rex-launcher", "--check", "--config", "/etc/tee-rex/prover.conf"],
                          capture_output=True, text=True)
    assert "prover.conf:" not in done.stderr, done.stderr


def test_bill_of_materials(image):
    bill = json.loads((image[0] / "prover-TEST.spdx.json").read_text())
    assert (bill["spdxVersion"], bill["SPDXID"], bill["dataLicense"]) == ("SPDX-2.3", "SPDXRef-DOCUMENT", "CC0-1.0")
    listed = {line.split()[3]: line.split()[2] for line in (image[0] / "prover-TEST.files").read_text().splitlines()}
    sums = {f["fileName"].removeprefix("."): {c["algorithm"]: c["checksumValue"] for c in f["checksums"]} for f in bill["files"]}
    assert {p: s["SHA256"] for p, s in sums.items() if p != "/init"} == listed
    assert sums["/init"]["SHA256"] == hashlib.sha256(Built(image[0] / "prover-TEST.eif").boot[b"init"].data).hexdigest()
    packages = {p["name"]: p for p in bill["packages"]}
    assert packages["libc6"]["versionInfo"] == subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", "libc6"], capture_output=True, text=True, check=True).stdout
    assert {"tee-rex", "linux", "bb-TEST-CRS", "reference-string-TEST"} < set(packages) and any(n.startswith("libssl3") for n in packages)
    # every identifier is known, every file belongs to one package
    ids = {p["SPDXID"] for p in bill["packages"]} | {f["SPDXID"] for f in bill["files"]} | {"SPDXRef-DOCUMENT"}
    assert len(ids) == len(bill["packages"]) + len(bill["files"]) + 1
    assert all(r["spdxElementId"] in ids and r["relatedSpdxElement"] in ids for r in bill["relationships"])
    owned = [r["relatedSpdxElement"] for r in bill["relationships"] if r["relationshipType"] == "CONTAINS"]
    assert sorted(owned) == sorted(f["SPDXID"] for f in bill["files"])


def test_one_of_its_own(parts, tmp_path):
    """With a reference string given, nothing is called TEST, and no bb is in it unless one is given."""
    crs = tmp_path / "crs"
    crs.mkdir()
    for name in ("bn254_g1.dat", "bn254_g2.dat"):
        (crs / name).write_bytes(name.encode())
    done = run(tmp_path / "out", *parts, "--crs", crs)
    assert done.returncode == 1 and "grumpkin" in done.stderr and not (tmp_path / "out").exists()
    (crs / "grumpkin_g1_v2.flat.dat").write_bytes(b"g")
    (tmp_path / "more").write_text("payload_max_mib = 100\n")
    done = run(tmp_path / "out", *parts, "--crs", crs, "--epoch", "4", "--config", tmp_path / "more")
    assert done.returncode == 0 and "TEST" not in done.stderr + "".join(os.listdir(tmp_path / "out"))
    made = Built(tmp_path / "out/prover.eif")
    assert made.table[""]["epoch"] == "4" and made.metadata["ImageName"] == "prover"
    assert "libexec/tee-rex/bb" not in (tmp_path / "out/prover.files").read_text()
    assert run(tmp_path / "out", *parts, "--epoch", "x").returncode == 2
