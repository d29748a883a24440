"""The whole path with the real prover: SDK and own client, gateway, prover, launcher, bb, and bb's own verdict."""
import json
import os
import subprocess
import tempfile

import pytest

from enclave import ROOT, TEE_REX, Enclave, sha256

KIT = ROOT / "build" / "test-prover"
BB = KIT / "bb-TEST-CRS"
CHONK = ROOT / "tests" / "data" / "chonk"


@pytest.fixture(scope="session")
def kit():
    subprocess.run([ROOT / "scripts" / "test-prover", KIT], check=True)


@pytest.fixture(scope="module")
def enclave(kit, tmp_path_factory, build):
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    config = f"allow = {sha256(BB)}\n[recipe]\ncrs = {KIT}/crs-TEST\n"
    with Enclave(tmp_path_factory.mktemp("real"), config, ["--gateway", f"127.0.0.1:{port}"]) as e:
        e.url = f"http://127.0.0.1:{port}"
        e.upload("5.0.0", BB)
        yield e
        assert e.stop() == 0


def bb_accepts(proof):
    return subprocess.run([BB, "verify", "--scheme", "chonk", "-p", proof, "-k", CHONK / "s1.vk"], capture_output=True,
                          env={**os.environ, "CRS_PATH": str(KIT / "crs-TEST")}).returncode == 0


def test_as_the_sdk_does_it(enclave, node, tmp_path):
    before = enclave.snapshot()
    done = node("sdk_prove.mjs", enclave.url, CHONK / "s1.msgpack", tmp_path / "proof")
    assert done.returncode == 0, done.stderr
    assert bb_accepts(tmp_path / "proof")
    done = node("sdk_prove.mjs", enclave.url, CHONK / "s1.msgpack", tmp_path / "x", "--version", "4.9.9")
    assert done.returncode == 1 and "4.9.9" in done.stderr
    enclave.settled(before)


def test_own_client_verifies_everything(enclave, tmp_path):
    pcr0 = next(p for p in enclave.measured() if p.startswith("0="))
    done = subprocess.run([TEE_REX, "prove", enclave.url, CHONK / "s1.msgpack", "-o", tmp_path / "answer", "--root",
                           enclave.state / "root.pem", "--pcr", pcr0, "--peak", "300", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 200 << 20 < json.loads(done.stdout)["peak_bytes"] < 300 << 20
    answer = (tmp_path / "answer").read_bytes()
    assert int.from_bytes(answer[:4], "big") * 32 == len(answer) - 4
    (tmp_path / "proof").write_bytes(answer[4:])
    assert bb_accepts(tmp_path / "proof")
    damaged = bytearray(answer[4:])
    damaged[1000] ^= 1
    (tmp_path / "proof").write_bytes(damaged)
    assert not bb_accepts(tmp_path / "proof")


def test_bb_that_takes_more_than_was_stated_ends_alone(enclave, tmp_path):
    pcr0 = next(p for p in enclave.measured() if p.startswith("0="))
    done = subprocess.run([TEE_REX, "prove", enclave.url, CHONK / "s1.msgpack", "-o", tmp_path / "answer", "--root",
                           enclave.state / "root.pem", "--pcr", pcr0, "--peak", "100", "--json"], capture_output=True, text=True)
    assert done.returncode == 1 and json.loads(done.stdout)["code"] == "out-of-memory", done.stderr


def test_an_input_bb_cannot_use_is_told_and_leaves_no_file(enclave, tmp_path):
    pcr0 = next(p for p in enclave.measured() if p.startswith("0="))
    (tmp_path / "in").write_bytes(b"no msgpack at all")
    done = subprocess.run([TEE_REX, "prove", enclave.url, tmp_path / "in", "-o", tmp_path / "out", "--root",
                           enclave.state / "root.pem", "--pcr", pcr0], capture_output=True, text=True)
    assert done.returncode == 1 and "crashed" in done.stderr      # bb aborts on it
    assert not (tmp_path / "out").exists()


def test_the_demo_as_a_new_user_runs_it():
    # its temporary files elsewhere, to see that it removes them
    with tempfile.TemporaryDirectory() as tmp:
        done = subprocess.run([ROOT / "demo"], capture_output=True, text=True, env={**os.environ, "TMPDIR": tmp}, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        assert os.listdir(tmp) == []
    for said in ("bb verify: the proof is valid", "pcr-mismatch", "bad-tag", "bad-signature", "bb verify says no", "SIMULATED"):
        assert said in done.stdout + done.stderr, said
