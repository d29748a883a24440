"""tee-rex describe, sign, extract and eif from the outside. What images measure to and look like is computed here and in
tests/vectors/make_eifs.py, from the format's description; nothing is shared with the project's code."""
import base64
import datetime
import hashlib
import json
import os
import pathlib
import re
import resource
import signal
import stat
import subprocess
import sys
import time

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

import eif_oracle
from conftest import BUILD, TOP

VECTORS = TOP / "tests" / "vectors" / "eif"
sys.path.insert(0, str(VECTORS.parent))
import make_eifs as eifs  # noqa: E402  (needs the path)

TEE_REX = BUILD / "tee-rex"
CASES = [line.split("\t") for line in (VECTORS / "manifest.txt").read_text().splitlines()]


def run(*args, **how):
    return subprocess.run([str(a) for a in (TEE_REX, *args)], capture_output=True, text=True, timeout=120,
                          stdin=subprocess.DEVNULL, **how)


def describe(path, *options):
    r = run("describe", path, *options)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)


def lines(text):
    """{'0': hex …} of N=HEX lines."""
    return dict(line.split("=") for line in text.splitlines())


# --- reading ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("name,status,code,reason", CASES, ids=[c[0] for c in CASES])
def test_vector(name, status, code, reason):
    r = run("describe", VECTORS / name)
    said = json.loads(r.stdout)
    assert (r.returncode, said["Code"]) == (int(status), code), r.stderr
    if code == "ok":
        assert r.stderr == "" and said["CheckCRC"] is True
        return
    assert r.stderr.startswith(f"refused: {code}: ") and said["Message"] in r.stderr
    # a script that wants registers gets none of a refused image
    p = run("describe", VECTORS / name, "--pcr")
    assert p.returncode == 1 and p.stdout == ""


def test_every_code_has_a_vector():
    codes = set()
    for source in "eif_result.c", "eif_signature.c":
        codes |= set(re.findall(r'^\t\[EIF_\w+\] = \{ "([a-z0-9-]+)"', (TOP / "src" / "format" / source).read_text(), re.M))
    codes |= {"metadata-not-json", "metadata-not-object", "metadata-bad-member"}
    assert len(codes) > 55
    # these are about the moment of signing, or too large for a file in the repository; tested below
    elsewhere = {"certificate-expired", "certificate-not-yet-valid", "key-mismatch", "eif-metadata-too-large"}
    assert codes - {code for _, _, code, _ in CASES} == elsewhere


def test_metadata_too_large(tmp_path):
    for size, code in (1 << 20, "ok"), ((1 << 20) + 1, "eif-metadata-too-large"):
        text = eifs.metadata(CustomMetadata={"fill": ""})
        text = text.replace(b'"fill":""', b'"fill":"' + b"x" * (size - len(text)) + b'"')
        assert len(text) == size
        (tmp_path / "a.eif").write_bytes(eifs.image(parts=eifs.replaced(eifs.METADATA, text)).pack())
        assert json.loads(run("describe", tmp_path / "a.eif").stdout)["Code"] == code


def test_members_are_the_stock_tools(tmp_path):
    said = describe(VECTORS / "good-signed.eif")
    pcr0, pcr1, pcr2 = eifs.registers(eifs.MEASURED)
    der = eifs.certificate().der()
    assert said["EifVersion"] == 4 and said["Architecture"] == "x86_64"
    assert said["Measurements"] == {"HashAlgorithm": "Sha384 { ... }", "PCR0": pcr0.hex(), "PCR1": pcr1.hex(), "PCR2": pcr2.hex(),
                                    "PCR8": hashlib.sha384(bytes(48) + hashlib.sha384(der).digest()).hexdigest()}
    assert said["IsSigned"] is said["SignatureCheck"] is said["CheckCRC"] is True
    c = x509.load_der_x509_certificate(der)
    assert said["SigningCertificate"] == {
        "IssuerName": {"countryName": "US", "commonName": "image signer"}, "Algorithm": "ecdsa-with-SHA384",
        "NotBefore": "Jan  1 00:00:00 2020 GMT", "NotAfter": "Jan  1 00:00:00 2120 GMT", "Signature": c.signature.hex(":").upper()}
    assert said["ImageName"] == "test" and said["ImageVersion"] == "1.0"
    assert said["Metadata"] == {**eifs.identity()["BuildMetadata"], "DockerInfo": {}}
    assert [s["Type"] for s in said["Sections"]] == ["kernel", "cmdline", "metadata", "ramdisk", "ramdisk", "signature"]
    unsigned = describe(VECTORS / "good.eif")
    assert not unsigned["IsSigned"] and not {"SigningCertificate", "SignatureCheck"} & set(unsigned)
    assert "PCR8" not in unsigned["Measurements"]
    assert describe(VECTORS / "good-arm64.eif")["Architecture"] == "aarch64"


def test_what_an_image_says_cannot_act_on_a_terminal():
    r = run("describe", VECTORS / "good-custom.eif")
    assert r.stdout.isascii() and not any(ord(c) < 32 and c != "\n" for c in r.stdout)
    said = json.loads(r.stdout)
    assert said["ImageName"] == "n\u00e4me\u009b2J"
    assert said["Metadata"]["Team"] == "x" and said["Metadata"]["BuildTool"] == "make_eifs"


def test_registers_for_role_and_instance():
    arn, instance = "arn:aws:iam::123456789012:role/nitro", "i-0123456789abcdef0"
    pcr = [r.hex() for r in eifs.registers(eifs.MEASURED)]
    want = {"0": pcr[0], "1": pcr[1], "2": pcr[2], "3": eifs.extend(arn.encode()).hex(), "4": eifs.extend(instance.encode()).hex()}
    r = run("describe", VECTORS / "good.eif", "--pcr", "--role-arn", arn, "--instance-id", instance)
    assert r.returncode == 0 and lines(r.stdout) == want
    m = describe(VECTORS / "good.eif", "--role-arn", arn)["Measurements"]
    assert m["PCR3"] == want["3"] and "PCR4" not in m
    assert describe(VECTORS / "good.eif", "--pcr", "--json") == {
        "HashAlgorithm": "Sha384 { ... }", "PCR0": pcr[0], "PCR1": pcr[1], "PCR2": pcr[2]}
    assert "8" in lines(run("describe", VECTORS / "good-signed.eif", "--pcr").stdout)


# --- putting together ---------------------------------------------------------------------------------

@pytest.fixture
def parts(tmp_path):
    p = tmp_path / "parts"
    p.mkdir()
    (p / "kernel").write_bytes(eifs.bzimage() + os.urandom(100_000))
    (p / "arm64").write_bytes(eifs.arm64_image() + os.urandom(100_000))
    (p / "boot").write_bytes(os.urandom(300_000))
    (p / "app").write_bytes(os.urandom(3_000_003))
    (p / "more").write_bytes(b"x")
    return p


def assemble(parts, out, *options, kernel="kernel", cmdline="console=ttyS0", ramdisks=("boot", "app", "more"), **how):
    return run("eif", "--kernel", parts / kernel, "--cmdline", cmdline, *[w for r in ramdisks for w in ("--ramdisk", parts / r)],
               "-o", out, *options, **how)


@pytest.mark.parametrize("kernel,arch,release", [("kernel", "x86_64", "6.12.9-test"), ("arm64", "aarch64", "6.12.9-arm")])
@pytest.mark.parametrize("ramdisks", [("boot",), ("boot", "app"), ("boot", "app", "more")])
def test_assembled_images_are_what_python_packs(parts, tmp_path, kernel, arch, release, ramdisks):
    out = tmp_path / "a.eif"
    r = assemble(parts, out, kernel=kernel, ramdisks=ramdisks)
    assert r.returncode == 0, r.stderr
    metadata = json.dumps({
        "ImageName": "enclave", "ImageVersion": "1.0",
        "BuildMetadata": {"BuildTime": "1970-01-01T00:00:00+00:00", "BuildTool": "tee-rex", "BuildToolVersion": "0.1.0",
                          "OperatingSystem": "Linux", "KernelVersion": release},
        "DockerInfo": {}, "CustomMetadata": None}, separators=(",", ":")).encode()
    packed = [(eifs.KERNEL, (parts / kernel).read_bytes()), (eifs.CMDLINE, b"console=ttyS0"), (eifs.METADATA, metadata)]
    packed += [(eifs.RAMDISK, (parts / name).read_bytes()) for name in ramdisks]
    assert out.read_bytes() == eifs.Image(packed, eifs.ARM64 if arch == "aarch64" else 0).pack()
    registers = [p.hex() for p in eifs.registers(packed)]
    assert lines(r.stdout) == dict(zip("012", registers))
    said = describe(out)
    assert [said["Measurements"][f"PCR{i}"] for i in range(3)] == registers and said["Architecture"] == arch


def test_metadata_options(parts, tmp_path):
    (tmp_path / "custom").write_text('{"Team": "\u00e4", "n": 1.5, "deep": {"x": [1, null, true]}}')
    seen = set()
    for when in "1767225600", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00":
        r = assemble(parts, tmp_path / "a.eif", "--name", "n\u00e4me", "--version", "2.0-rc1", "--metadata", tmp_path / "custom",
                     "--build-time", when)
        assert r.returncode == 0, r.stderr
        seen.add((tmp_path / "a.eif").read_bytes())
    assert len(seen) == 1
    said = describe(tmp_path / "a.eif")
    assert said["ImageName"] == "n\u00e4me" and said["ImageVersion"] == "2.0-rc1"
    assert said["Metadata"]["BuildTime"] == "2026-01-01T00:00:00+00:00"
    assert said["Metadata"]["Team"] == "\u00e4" and said["Metadata"]["deep"] == {"x": [1, None, True]}


def test_same_bytes_anywhere_and_any_time(parts, tmp_path):
    made = []
    for i, (zone, mask) in enumerate([("UTC", 0o022), ("Asia/Kathmandu", 0o077)]):
        place = tmp_path / f"place{i}"
        place.mkdir()
        for name in "kernel", "boot", "app", "more":
            (place / name).write_bytes((parts / name).read_bytes())
            os.utime(place / name, (i * 10**8, i * 10**8))
        r = assemble(place, place / f"name{i}.eif", cwd=place, env={"TZ": zone, "LC_ALL": "C", "USER": f"user{i}"},
                     preexec_fn=lambda: os.umask(mask))
        assert r.returncode == 0, r.stderr
        made.append((place / f"name{i}.eif").read_bytes())
        assert stat.S_IMODE((place / f"name{i}.eif").stat().st_mode) == 0o666 & ~mask
        time.sleep(1.1)
    assert made[0] == made[1]


def test_cmdline_from_a_file(parts, tmp_path):
    (tmp_path / "line").write_text("reboot=k panic=-1\n")
    assert assemble(parts, tmp_path / "a.eif", cmdline=f"@{tmp_path}/line").returncode == 0
    assert assemble(parts, tmp_path / "b.eif", cmdline="reboot=k panic=-1").returncode == 0
    assert (tmp_path / "a.eif").read_bytes() == (tmp_path / "b.eif").read_bytes()


@pytest.mark.parametrize("change,says", [
    ({"kernel": "boot"}, "neither an x86-64 bzImage"),
    ({"kernel": "arm64", "options": ["--arch", "x86_64"]}, "eif-kernel-not-bzimage"),
    ({"options": ["--arch", "aarch64"]}, "eif-kernel-not-image"),
    ({"kernel": "arm64-old"}, "eif-kernel-text-offset"),
    ({"cmdline": "a" * 2049}, "eif-cmdline-too-large"),
    ({"ramdisks": ["boot", "empty"]}, "eif-empty-section"),
    ({"ramdisks": ["more"] * 30}, "eif-too-many-sections"),
    ({"ramdisks": ["missing"]}, "No such file"),
    ({"ramdisks": ["."]}, "not a regular file"),
    ({"options": ["--metadata", "/etc/hostname"]}, "no JSON object"),
    ({"options": ["--name", b"\xff"]}, "UTF-8"),
])
def test_parts_refused(parts, tmp_path, change, says):
    (parts / "arm64-old").write_bytes(eifs.arm64_image(0x80000))
    (parts / "empty").write_bytes(b"")
    (tmp_path / "a.eif").write_bytes(b"what was there")
    options = change.pop("options", [])
    command = [TEE_REX, "eif", "--kernel", parts / change.get("kernel", "kernel"), "--cmdline", change.get("cmdline", "quiet"), "-o",
               tmp_path / "a.eif", *options]
    for name in change.get("ramdisks", ["boot"]):
        command += ["--ramdisk", parts / name]
    r = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert r.returncode == 1 and says in r.stderr and r.stdout == ""
    assert (tmp_path / "a.eif").read_bytes() == b"what was there"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.eif", "parts"]


def test_a_seam_the_kernel_would_not_find_is_said(parts, tmp_path):
    (parts / "cpio").write_bytes(b"070701" + bytes(106))
    assert "no multiple of 4" in assemble(parts, tmp_path / "a.eif", ramdisks=("more", "cpio")).stderr
    assert assemble(parts, tmp_path / "a.eif", ramdisks=("boot", "cpio")).stderr == ""


@pytest.mark.parametrize("there", [None, b"the last good image"])
def test_killed_while_writing_leaves_what_was(parts, tmp_path, there):
    place = tmp_path / "out"
    place.mkdir()
    if there:
        (place / "a.eif").write_bytes(there)
    with open(parts / "large", "wb") as f:
        f.truncate(1 << 30)
    p = subprocess.Popen([TEE_REX, "eif", "--kernel", parts / "kernel", "--cmdline", "", "--ramdisk", parts / "large", "-o", place / "a.eif"])
    io = pathlib.Path(f"/proc/{p.pid}/io")
    end = time.monotonic() + 20
    while int(re.search(r"wchar: (\d+)", io.read_text())[1]) < 30 << 20:
        assert p.poll() is None and time.monotonic() < end
        time.sleep(0.005)
    p.send_signal(signal.SIGKILL)
    assert p.wait() == -signal.SIGKILL
    assert sorted(f.name for f in place.iterdir()) == (["a.eif"] if there else [])
    if there:
        assert (place / "a.eif").read_bytes() == there


def test_a_full_disk_leaves_what_was(parts, tmp_path):
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    place = tmp_path / "out"
    place.mkdir()
    r = assemble(parts, place / "a.eif", preexec_fn=small_files)
    assert r.returncode == 1 and "File too large" in r.stderr and list(place.iterdir()) == []
    r = assemble(parts, tmp_path / "missing" / "a.eif")
    assert r.returncode == 1 and "open the directory" in r.stderr
    r = assemble(parts, place)
    assert r.returncode == 1 and "Is a directory" in r.stderr


def peak_kib(*args):
    """The highest VmHWM seen; wait4() would count what the child shared with Python before its exec."""
    p = subprocess.Popen([str(a) for a in (TEE_REX, *args)], stdout=subprocess.DEVNULL)
    peak, looks = 0, 0
    while p.poll() is None:
        try:
            status = pathlib.Path(f"/proc/{p.pid}/status").read_text()
        except ProcessLookupError:
            break
        found = re.search(r"^Name:\ttee-rex\n[^$]*VmHWM:\s+(\d+) kB", status)
        if found:
            peak, looks = max(peak, int(found[1])), looks + 1
        time.sleep(0.01)
    assert p.wait() == 0 and looks > 3
    return peak


def test_memory_does_not_grow_with_the_image(parts, tmp_path):
    with open(parts / "large", "wb") as f:
        f.truncate(192 << 20)
    out = tmp_path / "a.eif"
    peaks = [peak_kib("eif", "--kernel", parts / "kernel", "--cmdline", "", "--ramdisk", parts / "large", "-o", out),
             peak_kib("describe", out), peak_kib("extract", out, "-d", tmp_path / "x")]
    assert max(peaks) < 16 << 10, peaks


# --- taking apart -----------------------------------------------------------------------------------------

def test_extract_and_assemble_again(parts, tmp_path):
    assemble(parts, tmp_path / "a.eif", "--name", "x")
    r = run("extract", tmp_path / "a.eif", "-d", tmp_path / "x")
    assert r.returncode == 0, r.stderr
    assert sorted(line.split()[0] for line in r.stdout.splitlines()) == sorted(f.name for f in (tmp_path / "x").iterdir()) == [
        "cmdline", "kernel", "metadata.json", "ramdisk-0", "ramdisk-1", "ramdisk-2"]
    assert (tmp_path / "x" / "ramdisk-1").read_bytes() == (parts / "app").read_bytes()
    x = tmp_path / "x"
    r = run("eif", "--kernel", x / "kernel", "--cmdline", f"@{x}/cmdline", "--ramdisk", x / "ramdisk-0", "--ramdisk", x / "ramdisk-1",
            "--ramdisk", x / "ramdisk-2", "--name", "x", "-o", tmp_path / "b.eif")
    assert r.returncode == 0 and (tmp_path / "a.eif").read_bytes() == (tmp_path / "b.eif").read_bytes()


def test_extract_the_signature(tmp_path):
    assert run("extract", VECTORS / "good-signed.eif", "-d", tmp_path / "x").returncode == 0
    assert (tmp_path / "x" / "signature.cbor").read_bytes() == eifs.section()


def test_extract_overwrites_nothing_and_leaves_nothing(tmp_path):
    x = tmp_path / "x"
    x.mkdir()
    (x / "metadata.json").symlink_to(tmp_path / "target")
    r = run("extract", VECTORS / "good.eif", "-d", x)
    assert r.returncode == 1 and "nothing is overwritten" in r.stderr
    assert [f.name for f in x.iterdir()] == ["metadata.json"] and not (tmp_path / "target").exists()
    for name in "flip.eif", "gap.eif":
        r = run("extract", VECTORS / name, "-d", tmp_path / "new")
        assert r.returncode == 1 and "refused: " in r.stderr and not (tmp_path / "new").exists()


# --- signing ------------------------------------------------------------------------------------------------

NOW = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
DAY = datetime.timedelta(days=1)


def make_pair(directory, name="signer", curve=ec.SECP384R1(), since=NOW - DAY, until=NOW + DAY, encoding=None):
    key = ec.generate_private_key(curve)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "\u00dc")])
    cert = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(7)
            .not_valid_before(since).not_valid_after(until).sign(key, hashes.SHA256()))
    paths = directory / f"{name}.key", directory / f"{name}.crt"
    paths[0].write_bytes(key.private_bytes(serialization.Encoding.PEM, encoding or serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
    paths[1].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    return (*paths, key, cert)


@pytest.fixture
def image(parts, tmp_path):
    assert assemble(parts, tmp_path / "a.eif").returncode == 0
    return tmp_path / "a.eif"


def check_signed(path, unsigned, cert):
    """The signed image against cbor2 and cryptography."""
    said = describe(path)
    pcr0 = bytes.fromhex(said["Measurements"]["PCR0"])
    assert said["Measurements"]["PCR0"] == describe(unsigned)["Measurements"]["PCR0"]
    assert said["IsSigned"] and said["SignatureCheck"] and said["CheckCRC"]
    der = cert.public_bytes(serialization.Encoding.DER)
    assert said["Measurements"]["PCR8"] == eifs.extend(eifs.sha384(der)).hex()
    assert said["Sections"][-1]["Type"] == "signature"
    content = path.read_bytes()
    section = content[-said["Sections"][-1]["Size"]:]
    [entry] = cbor2.loads(section)
    assert cbor2.dumps([entry]) == section and list(entry) == ["signing_certificate", "signature"]
    assert x509.load_pem_x509_certificate(bytes(entry["signing_certificate"])) == cert
    protected, unprotected, payload, rs = cbor2.loads(bytes(entry["signature"]))
    assert protected == bytes.fromhex("a1013822") and unprotected == {}
    assert payload == cbor2.dumps({"register_index": 0, "register_value": list(pcr0)})
    der_signature = utils.encode_dss_signature(int.from_bytes(rs[:48], "big"), int.from_bytes(rs[48:], "big"))
    cert.public_key().verify(der_signature, cbor2.dumps(["Signature1", protected, b"", payload]), ec.ECDSA(hashes.SHA384()))
    # and the rest of the file is the unsigned one's
    before, count = unsigned.read_bytes(), len(said["Sections"])
    assert content[548:len(before)] == before[548:] and len(content) == len(before) + 12 + len(section)
    assert int.from_bytes(content[26:28], "big") == count


@pytest.mark.parametrize("encoding", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_sign(image, tmp_path, encoding):
    key, crt, _, cert = make_pair(tmp_path, encoding=encoding)
    before = image.read_bytes()
    r = run("sign", image, "--key", key, "--certificate", crt, "-o", tmp_path / "s.eif")
    assert r.returncode == 0 and r.stderr == ""
    assert image.read_bytes() == before
    check_signed(tmp_path / "s.eif", image, cert)
    m = describe(tmp_path / "s.eif")["Measurements"]
    assert lines(r.stdout) == {"0": m["PCR0"], "8": m["PCR8"]}
    assert describe(tmp_path / "s.eif")["SigningCertificate"]["IssuerName"] == {"commonName": "signer", "organizationName": "\u00dc"}
    # signing again replaces, it does not add
    key2, crt2, _, cert2 = make_pair(tmp_path, "other")
    r = run("sign", tmp_path / "s.eif", "--key", key2, "--certificate", crt2, "--json")
    assert r.returncode == 0 and json.loads(r.stdout)["PCR8"] == eifs.extend(eifs.sha384(cert2.public_bytes(serialization.Encoding.DER))).hex()
    check_signed(tmp_path / "s.eif", image, cert2)


def test_sign_with_the_documented_openssl_commands(image, tmp_path):
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=tmp_path, check=True, capture_output=True)
    openssl("ecparam", "-name", "secp384r1", "-genkey", "-out", "key.pem")
    openssl("req", "-new", "-key", "key.pem", "-sha384", "-nodes", "-subj", "/CN=AWS/C=US/ST=WA/L=Seattle/O=Amazon/OU=AWS", "-out", "csr.pem")
    openssl("x509", "-req", "-days", "20", "-in", "csr.pem", "-out", "cert.pem", "-sha384", "-signkey", "key.pem")
    r = run("sign", image, "-k", tmp_path / "key.pem", "-c", tmp_path / "cert.pem", "-o", tmp_path / "s.eif")
    assert r.returncode == 0, r.stderr
    check_signed(tmp_path / "s.eif", image, x509.load_pem_x509_certificate((tmp_path / "cert.pem").read_bytes()))
    assert describe(tmp_path / "s.eif")["SigningCertificate"]["IssuerName"] == {
        "commonName": "AWS", "countryName": "US", "stateOrProvinceName": "WA", "localityName": "Seattle", "organizationName": "Amazon",
        "organizationalUnitName": "AWS"}


def test_sign_in_place_keeps_permissions_and_links(image, tmp_path):
    key, crt, _, _ = make_pair(tmp_path)
    image.chmod(0o640)
    os.symlink("a.eif", tmp_path / "link.eif")
    assert run("sign", tmp_path / "link.eif", "--key", key, "--certificate", crt).returncode == 0
    assert (tmp_path / "link.eif").is_symlink() and stat.S_IMODE(image.stat().st_mode) == 0o640
    assert describe(image)["SignatureCheck"]


def refused(tmp_path, image, code, *options):
    before = image.read_bytes()
    r = run("sign", image, *options)
    assert r.returncode == 1 and f"refused: {code}" in r.stderr and r.stdout == "", (r.returncode, r.stderr)
    assert image.read_bytes() == before and not list(tmp_path.glob(".*"))


def test_sign_refuses(image, tmp_path):
    key, crt, _, _ = make_pair(tmp_path)
    _, old, _, _ = make_pair(tmp_path, "old", since=NOW - 2 * DAY, until=NOW - DAY)
    _, new, _, _ = make_pair(tmp_path, "new", since=NOW + DAY, until=NOW + 2 * DAY)
    other_key, _, _, _ = make_pair(tmp_path, "other")
    small_key, small, _, _ = make_pair(tmp_path, "small", ec.SECP256R1())
    refused(tmp_path, image, "certificate-expired", "--key", key, "--certificate", old)
    refused(tmp_path, image, "certificate-not-yet-valid", "--key", key, "--certificate", new)
    refused(tmp_path, image, "certificate-not-p384", "--key", small_key, "--certificate", small)
    refused(tmp_path, image, "key-mismatch", "--key", other_key, "--certificate", crt)
    refused(tmp_path, image, "certificate-not-pem", "--key", key, "--certificate", key)
    for wrong in small_key, crt, image:
        r = run("sign", image, "--key", wrong, "--certificate", crt)
        assert r.returncode == 1 and ("no P-384 private key" in r.stderr or "File too large" in r.stderr)
    for name, code in ("flip.eif", "eif-bad-crc"), ("gap.eif", "eif-gap"), ("arm64-offset-0.eif", "eif-kernel-text-offset"):
        (tmp_path / name).write_bytes((VECTORS / name).read_bytes())
        refused(tmp_path, tmp_path / name, code, "--key", key, "--certificate", crt)
    # 32 sections are all there can be
    (tmp_path / "full.eif").write_bytes((VECTORS / "good-32-sections.eif").read_bytes())
    r = run("sign", tmp_path / "full.eif", "--key", key, "--certificate", crt)
    assert r.returncode == 1 and "eif-too-many-sections" in r.stderr


def test_an_expired_signature_is_said(image, tmp_path):
    key = ec.generate_private_key(ec.SECP384R1())
    der = eifs.certificate("old", since=eifs.Cert("x", since=10**9, until=10**9).since, until=eifs.Cert("x", since=10**9, until=10**9).until)
    (tmp_path / "old.eif").write_bytes(eifs.with_signature(eifs.section(cert=der)).pack())
    r = run("describe", tmp_path / "old.eif")
    assert r.returncode == 0 and "warning: certificate-expired" in r.stderr and json.loads(r.stdout)["SignatureCheck"] is True
    assert key  # silence: only its kind matters


@pytest.mark.parametrize("form", ["raw", "hex", "base64"])
@pytest.mark.parametrize("answer", ["raw", "der", "hex", "base64 of der"])
def test_a_key_that_lives_elsewhere(image, tmp_path, form, answer):
    _, crt, key, cert = make_pair(tmp_path)
    r = run("sign", image, "--detached-request", tmp_path / "request", "--format", form)
    assert r.returncode == 0 and r.stdout == "" and "ECDSA on P-384 and SHA-384" in r.stderr
    request = (tmp_path / "request").read_bytes()
    request = {"raw": lambda b: b, "hex": lambda b: bytes.fromhex(b.decode()), "base64": base64.b64decode}[form](request)
    pcr0 = bytes.fromhex(describe(image)["Measurements"]["PCR0"])
    assert request == cbor2.dumps(["Signature1", bytes.fromhex("a1013822"), b"",
                                   cbor2.dumps({"register_index": 0, "register_value": list(pcr0)})])
    assert hashlib.sha384(request).hexdigest() in r.stderr
    der = key.sign(request, ec.ECDSA(hashes.SHA384()))
    raw = b"".join(v.to_bytes(48, "big") for v in utils.decode_dss_signature(der))
    content = {"raw": raw, "der": der, "hex": raw.hex().encode() + b"\n", "base64 of der": base64.encodebytes(der)}[answer]
    (tmp_path / "signature").write_bytes(content)
    r = run("sign", image, "--certificate", crt, "--detached-signature", tmp_path / "signature", "-o", tmp_path / "s.eif")
    assert r.returncode == 0, r.stderr
    check_signed(tmp_path / "s.eif", image, cert)


def test_request_on_standard_output(image):
    r = run("sign", image, "--detached-request", "-", "--format", "hex")
    assert r.returncode == 0 and bytes.fromhex(r.stdout)[:12] == b"\x84\x6aSignature1"


def test_detached_signatures_refused(image, tmp_path):
    _, crt, key, _ = make_pair(tmp_path)
    run("sign", image, "--detached-request", tmp_path / "request")
    good = key.sign((tmp_path / "request").read_bytes(), ec.ECDSA(hashes.SHA384()))
    other = ec.generate_private_key(ec.SECP384R1()).sign((tmp_path / "request").read_bytes(), ec.ECDSA(hashes.SHA384()))
    wrong_hash = key.sign((tmp_path / "request").read_bytes(), ec.ECDSA(hashes.SHA256()))
    for content in other, wrong_hash, bytes(96):
        (tmp_path / "signature").write_bytes(content)
        refused(tmp_path, image, "signature-forged", "--certificate", crt, "--detached-signature", tmp_path / "signature")
    for content in b"", b"hello", good[:-1], good + b"x", bytes(95):
        (tmp_path / "signature").write_bytes(content)
        r = run("sign", image, "--certificate", crt, "--detached-signature", tmp_path / "signature")
        assert r.returncode == 1 and "is no P-384 signature" in r.stderr
    # a signature of another image
    (tmp_path / "signature").write_bytes(good)
    (tmp_path / "b.eif").write_bytes((VECTORS / "good.eif").read_bytes())
    refused(tmp_path, tmp_path / "b.eif", "signature-forged", "--certificate", crt, "--detached-signature", tmp_path / "signature")


# --- usage ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("args,says", [
    (["describe"], "which image?"),
    (["describe", "a", "b"], "unexpected argument"),
    (["describe", "/nowhere"], "No such file"),
    (["describe", "/"], "not a regular file"),
    (["describe", "x", "--role-arn", "nitro"], "arn:aws:iam::ACCOUNT:role/NAME"),
    (["describe", "x", "--instance-id", "i-12"], "8 or 17 hex digits"),
    (["describe", "x", "--prc"], "did you mean --pcr"),
    (["sign", "x"], "one of --key"),
    (["sign", "x", "--key", "k"], "--certificate is wanted"),
    (["sign", "x", "--key", "k", "--detached-request", "r", "--certificate", "c"], "one of --key"),
    (["sign", "x", "--detached-request", "r", "-o", "o"], "writes no image"),
    (["sign", "x", "--detached-request", "r", "--format", "pem"], "raw, hex or base64"),
    (["sign", "x", "--key", "k", "--certificate", "c", "--format", "hex"], "goes with --detached-request"),
    (["extract"], "which image?"),
    (["extract", "x"], "where to?"),
    (["eif"], "are wanted"),
    (["eif", "-k", "k", "-c", "c", "-r", "r"], "are wanted"),
    (["eif", "-k", "k", "-c", "c", "-r", "r", "-o", "o", "--arch", "amd64"], "x86_64 or aarch64"),
    (["eif", "-k", "k", "-c", "c", "-r", "r", "-o", "o", "--build-time", "now"], "seconds since 1970"),
    (["eif", "-k", "k", "-c", "c", "-r", "r", "-o", "o", "--build-time", "2026-01-01T00:00:00+01:00"], "seconds since 1970"),
    (["eif", "-k", "k", "-c", "c", "-r", "r", "-o", "o", "--build-time", "-1"], "seconds since 1970"),
])
def test_usage(tmp_path, args, says):
    r = run(*args, cwd=tmp_path)
    assert r.returncode == 2 and says in r.stderr and r.stdout == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["describe", "sign", "extract", "eif"])
def test_help_and_manual_agree(command):
    r = run(command, "--help")
    assert r.returncode == 0 and r.stderr == "" and r.stdout.startswith(f"Usage: tee-rex {command} ")
    page = (TOP / "man" / f"tee-rex-{command}.1").read_text().replace("\\-", "-")
    for option in re.findall(r"^ .*?(--[a-z-]+)", r.stdout, re.M):
        if option != "--help":
            assert option in page, f"{option} is not in the manual page"


# --- the stock library ------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def oracle():
    program, why = eif_oracle.oracle()
    if program is None:
        pytest.skip(why)
    return program


def pcrs(said):
    """Without HashAlgorithm, which is the debugging text of whatever version of a library the stock tool has."""
    return {k: v for k, v in said["Measurements"].items() if k != "HashAlgorithm"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, status, *_ in CASES if status == "0"])
def test_stock_reader_agrees(oracle, name):
    stock, ours = eif_oracle.describe(oracle, VECTORS / name), describe(VECTORS / name)
    if name == "good-signed-bytes.eif" and stock is None:
        return                           # older versions read arrays of integers only
    assert pcrs(stock) == pcrs(ours)
    assert stock["CheckCRC"] and stock["IsSigned"] == ours["IsSigned"] and stock["EifVersion"] == ours["EifVersion"]
    assert stock["Identity"]["ImageName"] == ours["ImageName"]
    if ours["IsSigned"]:
        assert stock["SigningCertificate"] == ours["SigningCertificate"]
        # it compares the signed map byte for byte, with the register as an array
        assert stock["Startable"] and stock["SignatureCheck"] == (name != "good-signed-bytes.eif")


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["kernel", "arm64"])
def test_stock_writer_writes_the_same_bytes(oracle, parts, tmp_path, kernel):
    ours, stock = tmp_path / "ours.eif", tmp_path / "stock.eif"
    (tmp_path / "custom").write_text('{"Team":"x","n":[1,2]}')
    r = assemble(parts, ours, "--metadata", tmp_path / "custom", kernel=kernel, cmdline="reboot=k panic=-1")
    assert r.returncode == 0, r.stderr
    run("extract", ours, "-d", tmp_path / "x")
    measured = eif_oracle.build(oracle, stock, parts / kernel, "reboot=k panic=-1", tmp_path / "x" / "metadata.json",
                                parts / "boot", parts / "app", parts / "more", *(["--arm64"] if kernel == "arm64" else []))
    assert stock.read_bytes() == ours.read_bytes()
    assert {f"PCR{n}": v for n, v in lines(r.stdout).items()} == {k: v for k, v in measured.items() if k != "HashAlgorithm"}


@pytest.mark.slow
def test_signed_by_either_read_by_both(oracle, image, parts, tmp_path):
    key, crt, _, cert = make_pair(tmp_path)
    assert run("sign", image, "--key", key, "--certificate", crt, "-o", tmp_path / "ours.eif").returncode == 0
    run("extract", image, "-d", tmp_path / "x")
    eif_oracle.build(oracle, tmp_path / "stock.eif", parts / "kernel", "console=ttyS0", tmp_path / "x" / "metadata.json",
                     parts / "boot", parts / "app", parts / "more", "--sign", key, crt)
    for name in "ours.eif", "stock.eif":
        stock, ours = eif_oracle.describe(oracle, tmp_path / name), describe(tmp_path / name)
        assert stock["SignatureCheck"] and stock["Startable"] and ours["SignatureCheck"]
        assert pcrs(stock) == pcrs(ours) and stock["SigningCertificate"] == ours["SigningCertificate"]
    check_signed(tmp_path / "stock.eif", image, cert)
    # a dumb copy with a bit changed: both notice
    broken = bytearray((tmp_path / "ours.eif").read_bytes())
    broken[-1] ^= 1
    (tmp_path / "broken.eif").write_bytes(broken)
    stock = eif_oracle.describe(oracle, tmp_path / "broken.eif")
    assert stock is None or not stock["CheckCRC"]
    assert run("describe", tmp_path / "broken.eif").returncode == 1
