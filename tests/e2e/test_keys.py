"""The service's keys and documents: where the secrets are, when they change, and what a document says meanwhile."""
import base64
import json
import os
import pathlib
import re
import subprocess
import time

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from conftest import wait_for
from enclave import Enclave
from frames import call
from launcher_peer import EVIL
from test_service import config
from test_witness import memory_of

SECURE_HEAP = 64 << 10                         # src/crypto/crypto.c


@pytest.fixture(scope="module")
def enclave(tmp_path_factory):
    with Enclave(tmp_path_factory.mktemp("enclave"), config()) as e:
        e.upload("1.0", EVIL)
        yield e


# --- where they are ---------------------------------------------------------------------------------


def status(pid):
    return dict(line.split(":\t") for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())


def locked(pid):
    """(start, end, flags) of the mappings that are locked."""
    found, at = [], None
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if head := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            at = int(head[1], 16), int(head[2], 16)
        elif line.startswith("VmFlags:") and "lo" in (flags := line.split()[1:]):
            found.append((*at, flags))
    return found


def public_keys(armored):
    """Primary key and subkey: the last 32 bytes of packets 6 and 14."""
    text = armored.split("\n\n", 1)[1].split("\n=")[0]
    data, found = base64.b64decode(text), {}
    while data:
        tag, size = data[0] & 0x3f, data[1]
        assert data[0] >= 0xc0 and size < 192
        found[tag], data = data[2:2 + size][-32:], data[2 + size:]
    return found[6], found[14]


def secrets_in(data, primary, subkey):
    """The 32 bytes that are the secret of one of these public keys, by trying all."""
    def public(kind, raw):
        return kind.from_private_bytes(raw).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    found = {}
    for at in range(0, len(data) - 31, 16):    # libcrypto gives out multiples of 16
        raw = data[at:at + 32]
        if raw.count(0) > 8:
            continue
        if public(Ed25519PrivateKey, raw) == primary:
            found["primary"] = raw
        if public(X25519PrivateKey, raw) == subkey:
            found["subkey"] = raw
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="reads another process's memory, which root may")
def test_secrets_are_in_locked_memory_and_nowhere_else(enclave):
    pid = enclave.pid_of("tee-rex-prover")
    assert enclave.prove(enclave.encrypt(b"proof 64\n"))[0] == "ok"       # both keys were used
    assert int(status(pid)["VmLck"].split()[0]) << 10 == SECURE_HEAP
    (start, end, flags), = locked(pid)
    assert end - start == SECURE_HEAP and "dd" in flags, flags            # and left out of core dumps
    with open(f"/proc/{pid}/mem", "rb", 0) as mem:
        mem.seek(start)
        heap = mem.read(SECURE_HEAP)
    found = secrets_in(heap, *public_keys(call(enclave.socket, "public-key")["key"]))
    assert set(found) == {"primary", "subkey"}
    for name, secret in found.items():
        elsewhere = sum(piece.count(secret) for piece in memory_of(pid)) - heap.count(secret)
        assert elsewhere == 0, f"{name}: {elsewhere} copies outside of the locked memory"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be that user")
def test_the_service_cannot_be_looked_into_by_its_own_user(enclave):
    pid = enclave.pid_of("tee-rex-prover")
    uid = status(pid)["Uid"].split()[0]
    assert uid != "0" and os.stat(f"/proc/{pid}/mem").st_uid == 0         # not dumpable: root's
    as_user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    with subprocess.Popen([*as_user, "sleep", "60"]) as other:            # the control: one that is
        wait_for(lambda: status(other.pid)["Uid"].split()[0] == uid, what="the other user")
        for file in "mem", "environ", "maps":
            done = subprocess.run([*as_user, "head", "-c", "0", f"/proc/{pid}/{file}"], capture_output=True, text=True)
            assert done.returncode == 1 and "Permission denied" in done.stderr, file
            done = subprocess.run([*as_user, "head", "-c", "0", f"/proc/{other.pid}/{file}"], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        other.kill()


def test_the_service_is_sealed(enclave):
    said = status(enclave.pid_of("tee-rex-prover"))
    assert said["Seccomp"] == "2" and said["NoNewPrivs"] == "1"
    for sets in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(said[sets], 16) == 0
    if os.geteuid() == 0:
        assert said["Uid"].split()[0] != "0"


@pytest.mark.skipif(os.geteuid() != 0, reason="a limit of its own for the service")
def test_a_service_that_cannot_lock_its_memory_does_not_start(tmp_path):
    e = Enclave(tmp_path, config(), prefix=["prlimit", "--memlock=4096"], start=False)
    with pytest.raises(AssertionError):
        e.start()
    assert "lock 64 KiB of memory for keys (raise RLIMIT_MEMLOCK" in e.log.read_text()


# --- when they change --------------------------------------------------------------------------------


def test_keys_rotate_and_the_predecessor_is_kept_for_a_while(tmp_path):
    with Enclave(tmp_path, config("key_rotate_s = 2\nkey_keep_s = 1")) as e:
        e.upload("1.0", EVIL)
        message = e.encrypt(b"proof 64\n")
        first = call(e.socket, "public-key")["key"]
        deadline = time.monotonic() + 5
        while call(e.socket, "public-key")["key"] == first and time.monotonic() < deadline:
            time.sleep(0.02)
        assert e.prove(message)[0] == "ok"              # the predecessor
        time.sleep(1.2)
        assert e.prove(message)[0] == "unknown-key"
        assert e.prove(e.encrypt(b"proof 64\n"))[0] == "ok"


# --- documents ----------------------------------------------------------------------------------------


def payload(document):
    return cbor2.loads(cbor2.loads(document)[2])


def nsm_calls(e):
    return int(re.search(r"^teerex_prover_nsm_calls_total (\d+)$", call(e.socket, "metrics")["metrics"], re.M)[1])


def test_documents_without_nonce_are_cached_for_seconds(tmp_path):
    with Enclave(tmp_path, config("document_cache_s = 2")) as e:
        def document(**members):
            return call(e.socket, "attest", **members)["document"]
        began = time.monotonic()
        first, calls = document(), nsm_calls(e)
        for _ in range(200):
            if time.monotonic() - began > 1.5:
                break
            assert document() == first
        assert nsm_calls(e) == calls                                      # a flood costs the NSM nothing
        time.sleep(max(0, began + 2.2 - time.monotonic()))
        second = document()
        assert second != first and payload(second)["timestamp"] >= payload(first)["timestamp"] + 2000
        # with a nonce each is made for its caller, and leaves the kept one alone
        nonces = [os.urandom(16) for _ in range(5)]
        assert [payload(document(nonce=n))["nonce"] for n in nonces] == nonces
        assert document() == second and nsm_calls(e) == calls + 6


def test_a_cached_document_never_speaks_of_what_was(tmp_path):
    """Kept for a minute, but neither past an upload nor past a new key."""
    with Enclave(tmp_path, config("document_cache_s = 60\nkey_rotate_s = 3")) as e:
        def said():
            reply = call(e.socket, "attest")
            p = payload(reply["document"])
            assert p["public_key"].decode() == reply["key"]
            return p["public_key"].decode(), [v["version"] for v in json.loads(p["user_data"])["versions"]]
        key, versions = said()
        assert versions == []
        e.upload("1.0", EVIL)
        assert said()[1] == ["1.0"]
        e.upload("2.0", EVIL)
        assert said()[1] == ["1.0", "2.0"]
        wait_for(lambda: call(e.socket, "public-key")["key"] != key, 10, "a new key")
        assert said() == (call(e.socket, "public-key")["key"], ["1.0", "2.0"])


def test_one_nsm_descriptor_for_life(enclave):
    before = enclave.snapshot()
    for _ in range(200):
        call(enclave.socket, "attest", nonce=os.urandom(16))
    enclave.settled(before)
