"""The kit for real proofs (scripts/fetch-bb, scripts/test-prover, tests/tools): what it makes works, what it must refuse
is refused, and its proofs cannot pass for real ones."""
import hashlib
import importlib.util
import os
import pathlib
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
DATA = TOP / "tests/data/chonk"
TOOLS = TOP / "tests/tools"


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, **options)


def verify(program, crs, proof):
    return run(program, "verify", "--scheme", "chonk", "-p", proof, "-k", DATA / "s1.vk",
               env={**os.environ, "CRS_PATH": str(crs)})


@pytest.fixture(scope="module")
def stock_bb():
    result = run(TOP / "scripts/fetch-bb")
    assert result.returncode == 0, result.stderr
    return pathlib.Path(result.stdout.strip())


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    path = tmp_path_factory.mktemp("kit")
    result = run(TOP / "scripts/test-prover", path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    return path


@pytest.fixture(scope="module")
def proof(kit, tmp_path_factory):
    """Made with a read-only reference string, as jobs have it."""
    out = tmp_path_factory.mktemp("proof")
    crs = out / "crs"
    shutil.copytree(kit / "crs-TEST", crs, ignore=shutil.ignore_patterns("crs.lock"))
    crs.chmod(0o555)
    # Root writes into such a directory all the same, unless it goes without the capability to.
    without_override = ["setpriv", "--bounding-set", "-dac_override", "--"] if os.geteuid() == 0 else []
    result = run(*without_override, kit / "bb-TEST-CRS",
                 "prove", "--scheme", "chonk", "--ivc_inputs_path", DATA / "s1.msgpack", "-o", out,
                 env={**os.environ, "CRS_PATH": str(crs), "HARDWARE_CONCURRENCY": "2"})
    assert result.returncode == 0, result.stderr
    assert sorted(p.name for p in crs.iterdir()) == ["bn254_g1.dat", "bn254_g2.dat", "grumpkin_g1_v2.flat.dat"]
    crs.chmod(0o755)
    return out / "proof"


def load_patch_bb():
    spec = importlib.util.spec_from_file_location("patch_bb", TOOLS / "patch_bb.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_proof_verifies_and_a_changed_one_does_not(kit, proof, tmp_path):
    assert verify(kit / "bb-TEST-CRS", kit / "crs-TEST", proof).returncode == 0
    changed = bytearray(proof.read_bytes())
    changed[-1] ^= 1
    (tmp_path / "changed").write_bytes(changed)
    assert verify(kit / "bb-TEST-CRS", kit / "crs-TEST", tmp_path / "changed").returncode == 1


def test_stock_bb_rejects_the_test_proof(stock_bb, kit, proof):
    result = verify(stock_bb, kit / "crs-TEST", proof)
    assert result.returncode == 1
    assert "verification failed" in result.stderr + result.stdout


def test_a_damaged_kit_is_repaired(kit, tmp_path):
    copy = tmp_path / "kit"
    shutil.copytree(kit, copy)
    with open(copy / "crs-TEST/bn254_g1.dat", "r+b") as f:
        f.write(b"\xff")
    (copy / "crs-TEST/grumpkin_g1_v2.flat.dat").unlink()
    assert run(TOP / "scripts/test-prover", copy).returncode == 0
    assert run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=copy).returncode == 0


def test_patch_bb_refuses_every_other_program(kit, tmp_path):
    result = run("python3", TOOLS / "patch_bb.py", kit / "bb-TEST-CRS", tmp_path)
    assert result.returncode == 1
    assert "refusing" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_points_agree_with_python(kit):
    """The two implementations of the arithmetic share no code: libcrypto's curves and patch_bb.py's affine formulas."""
    patch_bb = load_patch_bb()
    g1 = (kit / "crs-TEST/bn254_g1.dat").read_bytes()
    assert len(g1) == 64 * (2**17 + 1)
    assert g1[:64] == (1).to_bytes(32, "big") + (2).to_bytes(32, "big")
    for i in (1, 2, 65535, 65536, 65537, 2**17):
        x, y = patch_bb.multiply(patch_bb.Fp, pow(patch_bb.TAU, i, patch_bb.R), patch_bb.G1)
        assert g1[64 * i:64 * i + 64] == x.to_bytes(32, "big") + y.to_bytes(32, "big"), i
    (x0, x1), (y0, y1) = patch_bb.multiply(patch_bb.Fp2, patch_bb.TAU, patch_bb.G2)
    g2 = (kit / "crs-TEST/bn254_g2.dat").read_bytes()
    assert g2 == b"".join(c.to_bytes(32, "big") for c in (x0, x1, y0, y1))


def offline(cache, npm_cache):
    """An environment in which npm reaches nobody: port 9 of the loopback refuses connections."""
    return {**os.environ, "TEE_REX_CACHE": str(cache), "npm_config_registry": "http://127.0.0.1:9/",
            "npm_config_cache": str(npm_cache), "npm_config_fetch_retries": "0"}


def test_fetch_bb_uses_a_right_copy_offline_and_never_a_wrong_one(stock_bb, tmp_path):
    cache = tmp_path / "cache"
    slot = cache / "bb" / hashlib.sha256(stock_bb.read_bytes()).hexdigest()
    slot.mkdir(parents=True)
    shutil.copy(stock_bb, slot / "bb")
    env = offline(cache, tmp_path / "npm")

    result = run(TOP / "scripts/fetch-bb", tmp_path / "bb", env=env)
    assert (result.returncode, result.stdout) == (0, "%s\n" % (tmp_path / "bb"))
    assert (tmp_path / "bb").read_bytes() == stock_bb.read_bytes()
    assert os.access(tmp_path / "bb", os.X_OK)

    with open(slot / "bb", "r+b") as f:
        f.write(b"\x00")
    result = run(TOP / "scripts/fetch-bb", env=env)
    assert (result.returncode, result.stdout) == (1, "")
    assert "npm pack" in result.stderr
    assert sorted(p.name for p in slot.iterdir()) == ["lock"]


def test_fetch_bb_refuses_what_the_registry_should_not_serve(tmp_path):
    """npm is played by a script that packs another program under bb's name."""
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "npm").write_text("#!/bin/sh\nmkdir -p package/build/amd64-linux && echo evil >package/build/amd64-linux/bb\n"
                              "tar -czf aztec-bb.js-5.0.0.tgz package\n")
    (fake / "npm").chmod(0o755)
    env = {**os.environ, "TEE_REX_CACHE": str(tmp_path / "cache"), "PATH": "%s:%s" % (fake, os.environ["PATH"])}
    result = run(TOP / "scripts/fetch-bb", env=env)
    assert (result.returncode, result.stdout) == (1, "")
    assert "refusing bb" in result.stderr
    assert [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()] == ["lock"]
