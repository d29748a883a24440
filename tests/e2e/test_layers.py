"""scripts/check-layers: the tree as it is passes, and every rule is shown to fail when it is broken in a copy."""
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECK = ROOT / "scripts" / "check-layers"


def check(tree):
    return subprocess.run(["/usr/bin/python3", str(CHECK)], cwd=tree, capture_output=True, text=True, timeout=60)


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src")
    assert check(tmp_path).returncode == 0, "the copy must pass before something is planted"
    return tmp_path


def plant(tree, path, line):
    """Adds an include line, as the 1st of an existing file or in a new one."""
    file = tree / "src" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(line + "\n" + (file.read_text() if file.exists() else ""))


def test_this_tree_keeps_its_layers():
    r = check(ROOT)
    assert r.returncode == 0, r.stdout
    assert r.stdout == ""


@pytest.mark.parametrize("path,line,why", [
    ("base/bytes.c", '#include "format/cbor.h"', "base may not include format"),
    ("base/bytes.h", '#include "crypto/crypto.h"', "base may not include crypto"),
    ("format/cbor.c", '#include "crypto/crypto.h"', "format may not include crypto"),
    ("format/nsm.h", '#include "linux/nsm_dev.h"', "format may not include linux"),
    ("crypto/crypto.h", '#include "format/cbor.h"', "crypto may not include format"),
    ("openpgp/planted.c", '#include "attest/verify.h"', "openpgp may not include attest"),
    ("attest/planted.c", '#include "linux/nsm_dev.h"', "attest may not include linux"),
    ("linux/nsm_dev.c", '#include "crypto/crypto.h"', "linux may not include crypto"),
    ("linux/nsm_dev.h", '#include "enclave/limits.h"', "linux may not include enclave"),
    ("enclave/prover/planted.c", '#include "attest/verify.h"', "enclave may not include attest"),
    ("enclave/prover/planted.c", '#include "host/child.h"', "enclave may not include host"),
    # the software NSM stays out of enclave programs
    ("enclave/prover/planted.c", '#include "sim/software_nsm.h"', "enclave may not include sim"),
    ("enclave/planted.h", '  #  include   "sim/test_ca.h"', "enclave may not include sim"),
    ("host/planted.c", '#include "sim/software_nsm.h"', "host may not include sim"),
    ("host/planted.c", '#include "enclave/limits.h"', "host may not include enclave"),
    ("sim/planted.c", '#include "enclave/limits.h"', "sim may not include enclave"),
    ("sim/planted.c", '#include "cli/commands.h"', "sim may not include cli"),
    # includes name a layer that exists
    ("base/bytes.c", '#include "bytes.h"', "names no layer"),
    ("base/bytes.c", '#include "common/all.h"', "unknown layer common"),
    ("cli/planted.c", '#include "common/all.h"', "unknown layer common"),
    # one layer sees libcrypto, the host layers alone see the host's libraries
    ("base/bytes.c", "#include <openssl/evp.h>", "only src/crypto sees libcrypto"),
    ("sim/test_ca.c", "#include <openssl/x509.h>", "only src/crypto sees libcrypto"),
    ("enclave/prover/planted.c", "#include <openssl/evp.h>", "only src/crypto sees libcrypto"),
    ("enclave/prover/planted.c", "#include <curl/curl.h>", "is for host programs only"),
    ("enclave/prover/planted.c", "#include <jansson.h>", "is for host programs only"),
    ("format/cbor.c", "#include <curl/curl.h>", "is for host programs only"),
])
def test_a_violation_is_found(copy, path, line, why):
    plant(copy, path, line)
    r = check(copy)
    assert r.returncode == 1
    assert f"src/{path}:1: " in r.stdout and why in r.stdout
    assert "1 includes break the rules" in r.stdout


@pytest.mark.parametrize("path,line", [
    ("base/bytes.c", '#include "base/text.h"'),
    ("base/bytes.c", "#include <openssl.h>"),
    ("format/cbor.c", '#include "base/text.h"'),
    ("crypto/planted.c", "#include <openssl/evp.h>"),
    ("sim/planted.c", '#include "linux/nsm_dev.h"'),
    ("cli/planted.c", '#include "sim/software_nsm.h"'),
    ("host/planted.c", "#include <curl/curl.h>"),
    ("base/bytes.c", '/* #include "cli/commands.h" */'),
])
def test_what_is_allowed_passes(copy, path, line):
    plant(copy, path, line)
    r = check(copy)
    assert (r.returncode, r.stdout) == (0, "")


def test_every_violation_is_counted(copy):
    plant(copy, "base/bytes.c", '#include "format/cbor.h"\n#include "sim/test_ca.h"')
    plant(copy, "format/nsm.c", '#include "sim/test_ca.h"')
    r = check(copy)
    assert r.returncode == 1 and "3 includes break the rules" in r.stdout
    assert "src/base/bytes.c:2: " in r.stdout
