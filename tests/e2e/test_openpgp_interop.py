"""Our OpenPGP code against openpgp.js, both ways, and against the independent generators of the vectors."""
import filecmp
import os
import pathlib
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
VECTORS = TOP / "tests/vectors/openpgp"
SUITES = ["aes256-gcm", "aes256-ocb", "aes128-gcm", "aes128-ocb"]
# JavaScript's OCB is slow: the large size goes with GCM only
SIZES = [0, 1, 100, 5_000, 70_000]
LARGE = 3 << 20


@pytest.fixture(scope="session")
def tool():
    made = subprocess.run(["make", "-s", "build/tests/pgp_tool"], cwd=TOP, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr

    def run(*arguments):
        return subprocess.run([str(TOP / "build/tests/pgp_tool"), *map(str, arguments)], capture_output=True,
                              text=True, timeout=120)
    return run


@pytest.fixture(scope="session")
def node():
    cache = os.environ.get("TEE_REX_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tee-rex")
    modules = subprocess.run([TOP / "scripts/node-deps", os.path.join(cache, "node")], capture_output=True, text=True)
    assert modules.returncode == 0, modules.stderr

    def run(program, *arguments):
        done = subprocess.run(["node", str(TOP / "tests/interop" / program), *map(str, arguments)],
                              capture_output=True, text=True, timeout=120,
                              env={**os.environ, "NODE_PATH": modules.stdout.strip()})
        assert done.returncode == 0, done.stderr
        return done.stdout
    return run


def good(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


@pytest.fixture(scope="session")
def fresh_key(tool, tmp_path_factory):
    """A key of ours made now: the secrets and the certificate."""
    place = tmp_path_factory.mktemp("key")
    good(tool("genkey", place / "secrets"))
    good(tool("export", place / "secrets", place / "certificate"))
    assert (place / "certificate").stat().st_size <= 1024
    return place / "secrets", place / "certificate"


def write_plaintext(path, size):
    path.write_bytes(bytes((7 * i + 3) % 256 for i in range(min(size, 256))) * (size // 256 + 1))
    os.truncate(path, size)
    return path


def theirs_to_ours(tool, node, key, tmp_path, size, *options, pieces=(65536,)):
    secrets, certificate = key
    plain = write_plaintext(tmp_path / "plain", size)
    node("encrypt.mjs", certificate, plain, tmp_path / "message", *options)
    for piece in pieces:
        good(tool("decrypt", secrets, tmp_path / "message", tmp_path / "back", "--piece", piece))
        assert filecmp.cmp(plain, tmp_path / "back", shallow=False)


@pytest.mark.parametrize("size", SIZES + [LARGE])
def test_openpgp_js_to_us_as_the_sdk_does(tool, node, fresh_key, tmp_path, size):
    theirs_to_ours(tool, node, fresh_key, tmp_path, size, pieces=(65536, 4096, 77))
    # what it chose: our first preference, AES-256 with GCM
    message = (tmp_path / "message").read_bytes()
    seipd = message.index(b"\x02\x09\x03\x0c", 99)
    assert 99 < seipd <= 99 + 6


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("size", SIZES)
def test_openpgp_js_to_us_in_every_suite(tool, node, fresh_key, tmp_path, suite, size):
    theirs_to_ours(tool, node, fresh_key, tmp_path, size, "--suite", suite)


@pytest.mark.parametrize("chunk", [0, 1, 6, 11, 16])
@pytest.mark.parametrize("suite", ["aes256-gcm", "aes256-ocb"])
def test_openpgp_js_to_us_in_other_chunks(tool, node, fresh_key, tmp_path, suite, chunk):
    theirs_to_ours(tool, node, fresh_key, tmp_path, 70_000, "--suite", suite, "--chunk", chunk)


@pytest.mark.parametrize("size", [100, 5_000, LARGE])
def test_openpgp_js_to_us_from_a_stream(tool, node, fresh_key, tmp_path, size):
    theirs_to_ours(tool, node, fresh_key, tmp_path, size, "--stream", 3000)


def ours_to_theirs(tool, node, tmp_path, size, *options):
    plain = write_plaintext(tmp_path / "plain", size)
    good(tool("encrypt", VECTORS / "key.asc", plain, tmp_path / "message", *options))
    node("decrypt.mjs", VECTORS / "secret.asc", tmp_path / "message", tmp_path / "back")
    assert filecmp.cmp(plain, tmp_path / "back", shallow=False)
    # and to ourselves
    name = good(tool("decrypt", VECTORS / "key.txt", tmp_path / "message", tmp_path / "again"))
    assert filecmp.cmp(plain, tmp_path / "again", shallow=False)
    return name


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("size", SIZES)
def test_us_to_openpgp_js_in_every_suite(tool, node, tmp_path, suite, size):
    ours_to_theirs(tool, node, tmp_path, size, "--suite", suite)


@pytest.mark.parametrize("parts", [9, 12, 16])
@pytest.mark.parametrize("size", [0, 511, 5_000, LARGE])
def test_us_to_openpgp_js_in_parts(tool, node, tmp_path, parts, size):
    ours_to_theirs(tool, node, tmp_path, size, "--parts", parts)


@pytest.mark.parametrize("chunk", [0, 6, 16])
def test_us_to_openpgp_js_in_other_chunks(tool, node, tmp_path, chunk):
    ours_to_theirs(tool, node, tmp_path, 70_000, "--chunk", chunk)


def test_file_name_reaches_openpgp_js(tool, node, tmp_path):
    name = "bb-sha256=" + "5a" * 32
    plain = write_plaintext(tmp_path / "plain", 10)
    good(tool("encrypt", VECTORS / "key.asc", plain, tmp_path / "message", "--name", name))
    assert name in node("decrypt.mjs", VECTORS / "secret.asc", tmp_path / "message", tmp_path / "back")
    assert good(tool("decrypt", VECTORS / "key.txt", tmp_path / "message", tmp_path / "back")) == name


def test_our_certificate_is_the_independent_one(tool, tmp_path):
    """From the same secrets, byte for byte what the generator of the vectors puts together."""
    good(tool("export", VECTORS / "key.txt", tmp_path / "ours.asc"))
    made = subprocess.run([sys.executable, VECTORS / "make_attacks.py", tmp_path], capture_output=True, text=True,
                          env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert made.returncode == 0, made.stderr
    assert filecmp.cmp(tmp_path / "ours.asc", tmp_path / "good.asc", shallow=False)


def test_attack_vectors_are_what_their_generator_makes(tmp_path):
    made = subprocess.run([sys.executable, VECTORS / "make_attacks.py", tmp_path], capture_output=True, text=True,
                          env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert made.returncode == 0, made.stderr
    kept = sorted(p.name for p in (VECTORS / "attack").iterdir() if p.name != "README.md")
    assert kept == sorted(p.name for p in tmp_path.iterdir())
    different = [n for n in kept if (tmp_path / n).read_bytes() != (VECTORS / "attack" / n).read_bytes()]
    assert different == []


def test_good_vectors_are_good_to_openpgp_js(node, tmp_path):
    """The generator is right about what it calls good: another implementation reads it, too."""
    for path in sorted((VECTORS / "attack").glob("good-*.pgp")):
        node("decrypt.mjs", VECTORS / "secret.asc", path, tmp_path / "back")
        back = (tmp_path / "back").read_bytes()
        assert back == bytes((7 * i + 3) % 256 for i in range(len(back))), path.name


# Refused by us on principle, not because they are broken: openpgp.js reads them, so nothing else is wrong with them.
@pytest.mark.parametrize("name", [
    "chunk-17", "compressed", "empty-chunk", "five-recipients", "inner-marker", "large-parts", "literal-kind-109",
    "marker-text", "old-literal", "old-pkesk", "outer-21", "padding-twice", "part-256", "pkesk-large", "pkesk-tail",
    "pkesk-v3", "pkesk-v3-seipd-v1", "signed-old", "trailing-marker", "twice", "unknown-private"])
def test_attacks_that_openpgp_js_reads(node, tool, tmp_path, name):
    node("decrypt.mjs", VECTORS / "secret.asc", VECTORS / f"attack/{name}.pgp", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() != b""
    # (the plaintext limit of the manifest is the unit test's)
    if name != "large-parts":
        assert tool("decrypt", VECTORS / "key.txt", VECTORS / f"attack/{name}.pgp", tmp_path / "back").returncode == 1


def test_attacks_are_not_just_unreadable_to_us(tool, tmp_path):
    """A changed message is refused with its code, and nothing is left of the plaintext."""
    done = tool("decrypt", VECTORS / "key.txt", VECTORS / "attack/flip-final.pgp", tmp_path / "back")
    assert done.returncode == 1 and done.stderr == "bad-final-tag\n"
    assert not (tmp_path / "back").exists()
