"""tee-rex verify from the outside: every vector, the two real documents, and what goes in and comes out."""
import base64
import filecmp
import json
import re
import subprocess
import sys

import pytest

from conftest import TOP

DOCS = TOP / "tests/vectors/doc"
REAL = TOP / "tests/vectors/attestation"
CASES = json.loads((DOCS / "manifest.json").read_text())
OK = next(c for c in CASES if c["name"] == "ok")
PRODUCTION = ["--time", "1725719859545", "--pcr",
              "0=e72a46ca80a260fb044a125442f0c7e331813bcbaf9724d9f3857758992766f2d65710a27aa94ae3949dd54e7c9fe86a"]
DEBUG_TIME = ["--time", "1725719886508"]


@pytest.fixture
def verify(build):
    def run(*args, stdin=b""):
        return subprocess.run([build / "tee-rex", "verify", *map(str, args)], input=stdin, capture_output=True, timeout=30)
    return run


def options(case):
    args = ["--time", case["time"]]
    if case["root"] != "aws":
        args += ["--root", DOCS / case["root"]]
    for pcr in case["pcr"]:
        args += ["--pcr", pcr]
    for key, option in (("nonce", "--nonce"), ("min_epoch", "--min-epoch"), ("max_age", "--max-age")):
        if key in case:
            args += [option, case[key]]
    if "policy" in case:
        args += ["--policy", DOCS / case["policy"]]
    return args + (["--allow-debug"] if case.get("allow_debug") else [])


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_vector(verify, case):
    r = verify(DOCS / f"{case['name']}.bin", "--json", *options(case))
    verdict = json.loads(r.stdout)
    assert verdict["code"] == case["expect"], f"{verdict['message']} ({case['reason']})"
    assert verdict["valid"] == (case["expect"] == "ok")
    assert verdict["simulated"] == (case["root"] != "aws")
    if verdict["valid"]:
        assert r.returncode == 0 and r.stderr == b""
        return
    assert r.returncode == 1
    assert r.stderr.decode().startswith(f"refused: {case['expect']}: {verdict['message']}")
    assert ("SIMULATED" in r.stderr.decode()) == verdict["simulated"]
    assert verdict["debug"] is False
    for key in ("timestamp_ms", "module_id", "pcrs", "public_key", "user_data", "nonce", "epoch", "set"):
        assert verdict[key] is None


def test_every_code_is_in_the_header_the_vectors_and_the_manual():
    header = (TOP / "src/attest/teerex_attest.h").read_text()
    codes = re.findall(r'TEEREX_[A-Z0-9_]+,\s*/\* "([a-z0-9-]+)"', header)
    assert len(codes) == len(set(codes)) > 75
    without_vector = {"internal", "policy-invalid", "policy-bad-root"}
    assert set(codes) - without_vector == {c["expect"] for c in CASES}
    manual = (TOP / "man/tee-rex-verify.1").read_text().replace("\\-", "-").replace('" ", " "', "")
    for code in set(codes) - {"ok"}:
        assert code in manual or re.search(rf"[\s]{re.escape(code.split('-', 1)[1])}[,.]", manual), code


def test_vectors_are_what_their_script_writes(tmp_path):
    subprocess.run([sys.executable, DOCS.parent / "make_docs.py", tmp_path], check=True, capture_output=True)
    made, kept = {p.name for p in tmp_path.iterdir()}, {p.name for p in DOCS.iterdir()}
    assert made == kept
    _, different, errors = filecmp.cmpfiles(tmp_path, DOCS, made, shallow=False)
    assert (different, errors) == ([], [])


# --- the real documents -------------------------------------------------------------------------


def test_production_document_is_valid_at_its_time(verify):
    r = verify(REAL / "production.bin", *PRODUCTION)
    out = r.stdout.decode()
    assert r.returncode == 0 and r.stderr == b""
    assert "valid" in out and "i-0a22e5c5f24d22174-enc0191cceb4289903f" in out and "2024-09-07 14:37:39.545 UTC" in out
    assert "SIMULATED" not in out and "DEBUG" not in out


def test_production_document_has_expired(verify):
    r = verify(REAL / "production.bin", *PRODUCTION[2:])
    assert r.returncode == 1 and r.stderr.startswith(b"refused: chain-expired: ") and r.stdout == b""


def test_what_to_pin_is_told_only_for_an_authentic_document(verify, tmp_path):
    r = verify(REAL / "production.bin", *PRODUCTION[:2])
    assert r.returncode == 1 and r.stderr.startswith(b"refused: policy-empty: ")
    assert PRODUCTION[3][2:].encode() in r.stderr
    forged = bytearray((REAL / "production.bin").read_bytes())
    forged[forged.index(bytes.fromhex(PRODUCTION[3][2:]))] ^= 1
    (tmp_path / "forged").write_bytes(forged)
    r = verify(tmp_path / "forged", *PRODUCTION[:2])
    assert r.returncode == 1 and r.stderr.startswith(b"refused: cose-bad-signature: ")
    assert PRODUCTION[3][10:].encode() not in r.stderr


def test_debug_document_is_refused_unless_asked_for_and_then_labelled(verify):
    r = verify(REAL / "debug.bin", *DEBUG_TIME)
    assert r.returncode == 1 and r.stderr.startswith(b"refused: debug-enclave: ")
    r = verify(REAL / "debug.bin", *DEBUG_TIME, "--allow-debug")
    assert r.returncode == 0 and b"DEBUG" in r.stdout
    assert json.loads(verify(REAL / "debug.bin", *DEBUG_TIME, "--allow-debug", "--json").stdout)["debug"] is True
    r = verify(REAL / "debug.bin", "--allow-debug", *PRODUCTION[2:], *DEBUG_TIME)
    assert r.returncode == 1 and r.stderr.startswith(b"refused: pcr-mismatch: ")


# --- what comes out -----------------------------------------------------------------------------


def test_json_says_what_the_document_says(verify):
    got = json.loads(verify(DOCS / "ok.bin", "--json", *options(OK)).stdout)
    assert got["module_id"] == "i-0123456789abcdef0-enc0123456789abcdef" and got["timestamp_ms"] == OK["time"] - 1000
    assert sorted(map(int, got["pcrs"])) == list(range(16)) and "0=" + got["pcrs"]["0"] == OK["pcr"][0]
    assert got["nonce"] == OK["nonce"] and json.loads(bytes.fromhex(got["user_data"]))["epoch"] == 5
    assert bytes.fromhex(got["public_key"]).startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    case = next(c for c in CASES if c["name"] == "ok-pcr8-epoch")
    assert json.loads(verify(DOCS / "ok.bin", "--json", *options(case)).stdout)["epoch"] == 5
    case = next(c for c in CASES if c["name"] == "ok-policy-file")
    assert json.loads(verify(DOCS / "ok.bin", "--json", *options(case)).stdout)["set"] == "1.1"
    case = next(c for c in CASES if c["name"] == "ok-null-fields")
    got = json.loads(verify(DOCS / "ok-null-fields.bin", "--json", *options(case)).stdout)
    assert got["valid"] and (got["public_key"], got["user_data"], got["nonce"]) == (None, None, None)
    case = next(c for c in CASES if c["name"] == "ok-empty-strings")
    got = json.loads(verify(DOCS / "ok-empty-strings.bin", "--json", *options(case)).stdout)
    assert (got["user_data"], got["nonce"]) == ("", "")


@pytest.mark.parametrize("case", [c for c in CASES if c["expect"] == "ok"], ids=lambda c: c["name"])
def test_table_is_labelled_and_safe_for_a_terminal(verify, case):
    out = verify(DOCS / f"{case['name']}.bin", *options(case)).stdout.decode()
    assert out.startswith("verdict      valid\n") and "SIMULATED" in out
    assert ("DEBUG" in out) == ("debug" in case["name"])
    assert all(c == "\n" or " " <= c <= "~" for c in out)
    assert max(map(len, out.splitlines())) < 240


def test_a_full_disk_is_no_verdict(build):
    with open("/dev/full", "wb") as full:
        r = subprocess.run([build / "tee-rex", "verify", REAL / "debug.bin", "--allow-debug", *DEBUG_TIME],
                           stdout=full, stderr=subprocess.PIPE)
    assert r.returncode == 2 and b"print the verdict" in r.stderr


# --- what goes in -------------------------------------------------------------------------------


def test_standard_input_and_base64(verify, tmp_path):
    whole = (DOCS / "ok.bin").read_bytes()
    for form in (whole, base64.b64encode(whole), base64.b64encode(whole) + b"\n", base64.encodebytes(whole),
                 base64.encodebytes(whole).replace(b"\n", b"\r\n")):
        assert verify("-", *options(OK), stdin=form).returncode == 0
        (tmp_path / "doc").write_bytes(form)
        assert verify(tmp_path / "doc", *options(OK)).returncode == 0
    for form, code in ((b"", "cose-truncated"), (base64.b64encode(whole)[:-3], "cose-"), (base64.b64encode(whole + b"\0"), "cose-trailing-bytes"),
                       (whole + b"\n", "cose-trailing-bytes"), (base64.urlsafe_b64encode(whole), "cose-"), (whole.hex().encode(), "cose-"),
                       (base64.b64encode(base64.b64encode(whole)), "cose-"), (bytes(20000), "document-too-large"),
                       (whole + bytes(1 << 20), "document-too-large"), (base64.b64encode(whole + bytes(16384)), "document-too-large"),
                       (base64.encodebytes(whole * 20), "document-too-large")):
        r = verify("-", *options(OK), stdin=form)
        assert r.returncode == 1 and r.stderr.decode().startswith(f"refused: {code}"), r.stderr


@pytest.mark.parametrize("args, says", [
    ([], "which document"),
    (["a", "b"], "unexpected argument"),
    (["/nonexistent"], "open /nonexistent: No such file"),
    (["."], "Is a directory"),
    (["DOC", "--nonsense"], "unknown option"),
    (["DOC", "--nonce"], "--nonce wants"),
    (["DOC", "--nonce", ""], "--nonce wants"),
    (["DOC", "--nonce", "abc"], "--nonce wants"),
    (["DOC", "--nonce", "zz"], "--nonce wants"),
    (["DOC", "--nonce", "00" * 1025], "--nonce wants"),
    (["DOC", "--time", "0"], "--time wants"),
    (["DOC", "--time", "-5"], "--time wants"),
    (["DOC", "--time", "1e3"], "--time wants"),
    (["DOC", "--time", "18446744073709551615"], "--time wants"),
    (["DOC", "--max-age", "0"], "--max-age wants"),
    (["DOC", "--max-age", "99999999999999"], "--max-age wants"),
    (["DOC", "--min-epoch", "0"], "--min-epoch wants"),
    (["DOC", "--pcr", "0"], "--pcr 0: wanted"),
    (["DOC", "--pcr", "32=" + "00" * 48], "wanted N=HEX"),
    (["DOC", "--pcr", "0=" + "00" * 47], "wanted N=HEX"),
    (["DOC", "--pcr", "0=" + "11" * 48, "--pcr", "0=" + "11" * 48], "wanted N=HEX"),
    (["DOC", "--root", "/nonexistent"], "--root: open /nonexistent"),
    (["DOC", "--root", "DOC"], "not one certificate in PEM"),
    (["DOC", "--root", "/dev/zero"], "not one certificate in PEM"),
    (["DOC", "--policy", "/nonexistent"], "--policy: open /nonexistent"),
    (["DOC", "--policy", "DOC"], "line 1: "),
    (["DOC", "--policy", "/dev/zero"], "larger than"),
    (["DOC", "--policy", "two-sets.policy", "--pcr", "0=" + "11" * 48], "--policy does not go with"),
    (["DOC", "--policy", "two-sets.policy", "--min-epoch", "1"], "--policy does not go with"),
    (["DOC", "--allow-debug=yes"], "takes no value"),
])
def test_wrong_use_is_no_verdict(verify, args, says):
    args = [str(DOCS / "ok.bin") if a == "DOC" else str(DOCS / a) if a.endswith(".policy") else a for a in args]
    r = verify(*args, "--json")
    assert r.returncode == 2 and r.stdout == b"" and says in r.stderr.decode(), r.stderr


def test_a_root_that_is_none(verify, tmp_path):
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    import cbor2
    bundle = cbor2.loads(cbor2.loads((DOCS / "ok.bin").read_bytes())[2])
    for der in (bundle["cabundle"][1], bundle["certificate"]):
        (tmp_path / "root.pem").write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
        r = verify(DOCS / "ok.bin", *options(OK), "--root", tmp_path / "root.pem")
        assert r.returncode == 2 and b"policy-bad-root" in r.stderr
    whole = (DOCS / "root.pem").read_text()
    (tmp_path / "two.pem").write_text(whole + whole)
    assert verify(DOCS / "ok.bin", *options(OK), "--root", tmp_path / "two.pem").returncode == 2


def test_help(verify):
    r = verify("--help")
    assert r.returncode == 0
    manual = (TOP / "man/tee-rex-verify.1").read_text().replace("\\-", "-")
    for option in re.findall(r"--[a-z-]+", r.stdout.decode()):
        assert option in manual or option == "--help"
