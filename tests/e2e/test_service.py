"""The prover and the launcher as one: the frame service from the outside, with a prover program for tests that does what
its input says. Every bad exchange is followed by a look at what is left of it (nothing) and by one that works."""
import base64
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import time

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from conftest import wait_for
from enclave import PGP_TOOL, TEE_REX, Enclave, gone, sha256
from frames import DATA, END, ERROR, EVENT, REPLY, REQUEST, Exchange, body, call, exchange, frame, request
from launcher_peer import EVIL

# the recipe of evil_prover: nothing of the machine is shown in its cell
CONFIG = """
allow = {evil}
slots = 4
jobs = 2
payload_max_mib = 48
{top}
[recipe]
arg = evil
arg = {{input}}
arg = {{output_dir}}
crs = none
ro = /nonexistent
memory_mib = 64
deadline_s = 3
pids_max = 32
"""


def config(top=""):
    return CONFIG.format(evil=sha256(EVIL), top=top)


@pytest.fixture(scope="module")
def enclave(tmp_path_factory):
    with Enclave(tmp_path_factory.mktemp("enclave"), config()) as e:
        e.upload("1.0", EVIL)
        yield e
        assert e.stop() == 0


@pytest.fixture
def clean(enclave):
    """Nothing is left of whatever the test did, and the next request works."""
    before = enclave.snapshot()
    yield
    enclave.settled(before)
    code, answer = enclave.prove(enclave.encrypt(b"proof 64\n"))
    assert code == "ok" and len(answer["proof"]) == 68


def ending(enclave, act, **members):
    return enclave.prove(enclave.encrypt(act.encode() + b"\n"), **members)


# --- the good path ----------------------------------------------------------------------------------


def primary_public(armored):
    """The Ed25519 key of the certificate: the first packet's last 32 bytes."""
    lines = [line for line in armored.split("\n\n", 1)[1].split("-----END")[0].split("\n") if line and line[0] != "="]
    binary = base64.b64decode("".join(lines))
    assert binary[:2] == b"\xc6\x26" and binary[2] == 4 and binary[7] == 27
    return binary[8:40]


def test_proof_is_counted_and_signed_under_the_attested_key(enclave, clean):
    message = enclave.encrypt(b"proof 96\n")
    code, answer = enclave.prove(message)
    assert code == "ok"
    assert answer["proof"] == struct.pack(">I", 3) + b"p" * 96
    assert answer["bb_sha256"].hex() == sha256(EVIL)
    signed = b"TEE-Rex result v1\0" + b"".join(
        (hashlib.sha256(message).digest(), answer["bb_sha256"], hashlib.sha256(answer["proof"]).digest()))
    key = call(enclave.socket, "attest")["key"]
    Ed25519PublicKey.from_public_bytes(primary_public(key)).verify(answer["signature"], signed)


def test_attestation_binds_key_and_versions(enclave):
    nonce = os.urandom(32)
    reply = call(enclave.socket, "attest", nonce=nonce)
    payload = cbor2.loads(cbor2.loads(reply["document"])[2])
    assert payload["nonce"] == nonce
    assert payload["public_key"].decode() == reply["key"]
    data = json.loads(payload["user_data"])
    assert data["versions"] == [{"version": "1.0", "sha256": sha256(EVIL)}]
    assert data["policy"] == hashlib.sha256(sha256(EVIL).encode() + b"\n").hexdigest()
    assert [f"{i}={payload['pcrs'][i].hex()}" for i in (0, 1, 2)] == enclave.measured()


def test_stages_are_told(enclave, clean):
    message = enclave.encrypt(b"proof 64\n")
    with Exchange(enclave.socket) as x:
        x.send(request("prove", size=len(message)) + body(message))
        stages = []
        while (received := x.receive())[0] == EVENT:
            stages.append(received[1]["stage"])
        assert received[0] == REPLY and stages == ["proving"]


def test_metrics_count_what_happened(enclave):
    def value(name):
        text = call(enclave.socket, "metrics")["metrics"]
        text = text if isinstance(text, str) else text.decode()
        assert text.endswith("# EOF\n")
        found = re.search(rf"^{re.escape(name)} (\d+)$", text, re.M)
        return int(found[1]) if found else 0
    name = 'teerex_prover_requests_total{op="prove",code="prover-error"}'
    before = value(name)
    assert ending(enclave, "exit 3")[0] == "prover-error"
    assert value(name) == before + 1


# --- every end has its code -----------------------------------------------------------------------------

ENDS = {
    "exit 3": ("prover-error", {"exit_code": 3}),
    "none": ("prover-error", {}),
    "proof 0": ("prover-error", {}),
    "proof 33": ("prover-error", {}),
    "proof 1048576": ("prover-error", {}),
    "symlink": ("prover-error", {}),
    "fifo": ("prover-error", {}),
    "directory": ("prover-error", {}),
    "segv": ("crashed", {"signal": signal.SIGSEGV}),
    "abort": ("crashed", {"signal": signal.SIGABRT}),
    "raise 9": ("crashed", {"signal": 9}),
    "hang": ("timed-out", {}),
    "stubborn": ("timed-out", {}),
    "tree-hang": ("timed-out", {}),
    "output 100 64": ("ok", {}),
}


@pytest.mark.parametrize("act", ENDS)
def test_ends(enclave, clean, act):
    code, details = ENDS[act]
    got, answer = ending(enclave, act)
    if got == "ok" and code != "ok":
        pytest.fail(f"{act}: a proof of {len(answer['proof'])} bytes")
    assert got == code, answer
    for name, value in details.items():
        assert answer[name] == value


def test_out_of_memory_says_limit_and_peak(enclave, clean):
    code, answer = ending(enclave, "eat 200")
    assert code == "out-of-memory"
    assert answer["limit_bytes"] == 64 << 20
    assert 32 << 20 < answer["peak_bytes"] <= 64 << 20


def test_one_job_out_of_memory_leaves_the_other_alone(enclave, clean):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        other = pool.submit(enclave.prove, enclave.encrypt(b"sleep 1000\nproof 64\n"))
        time.sleep(0.2)
        assert ending(enclave, "eat 200")[0] == "out-of-memory"
        assert other.result()[0] in ("ok", "prover-error")


# --- messages ----------------------------------------------------------------------------------------------


def test_changed_messages_are_refused(enclave, clean):
    message = enclave.encrypt(b"proof 64\n" + b"x" * 3000)
    changes = {
        "flipped": message[:-100] + bytes([message[-100] ^ 1]) + message[-99:],
        "cut": message[:-1],
        "half": message[:len(message) // 2],
        "longer": message + b"\0",
        "twice": message + message,
        "garbage": b"\xff" * 500,
        "text": b"-----BEGIN PGP MESSAGE-----\n\nabc\n-----END PGP MESSAGE-----\n",
        "one byte": b"\xc1",
    }
    for name, changed in changes.items():
        code, answer = enclave.prove(changed)
        assert code == "bad-input", (name, answer)


def test_empty_body_is_refused(enclave, clean):
    with Exchange(enclave.socket) as x:
        x.send(request("prove", size=100) + frame(END))
        assert x.code() == "bad-input"


def test_foreign_key_is_told_before_the_message_is_over(enclave, clean, tmp_path):
    subprocess.run([PGP_TOOL, "genkey", tmp_path / "k"], check=True)
    subprocess.run([PGP_TOOL, "export", tmp_path / "k", tmp_path / "k.asc"], check=True)
    (tmp_path / "in").write_bytes(os.urandom(100_000))
    subprocess.run([PGP_TOOL, "encrypt", tmp_path / "k.asc", tmp_path / "in", tmp_path / "out"], check=True)
    message = (tmp_path / "out").read_bytes()
    with Exchange(enclave.socket) as x:
        x.send(request("prove", size=len(message)) + frame(DATA, message[:400]))
        assert x.code() == "unknown-key"


def test_message_bound_to_another_binary_is_refused(enclave, clean):
    bound = "bb-sha256=" + sha256(EVIL)
    assert enclave.prove(enclave.encrypt(b"proof 64\n", bound))[0] == "ok"
    for other in ("bb-sha256=" + "0" * 64, "bb-sha256=", bound + "0", "bb-sha256=" + sha256(EVIL)[:-1] + "g"):
        assert enclave.prove(enclave.encrypt(b"proof 64\n", other))[0] == "version-mismatch"


def test_sizes_are_held_to(enclave, clean):
    message = enclave.encrypt(b"proof 64\n")
    assert enclave.prove(message, size=len(message) - 1)[0] == "too-large"
    assert enclave.prove(message, size=(48 << 20) + 1)[0] == "too-large"
    assert enclave.prove(message, size=0)[0] in ("too-large", "bad-request")
    assert enclave.prove(message, size=48 << 20)[0] == "ok"


def test_large_payload_in_bounded_memory(enclave, clean):
    message = enclave.encrypt(b"proof 64\n" + os.urandom(40 << 20))
    code, _ = enclave.prove(message)
    assert code == "ok"
    assert enclave.rss_kib("tee-rex-prover") <= 12 << 10


@pytest.mark.skipif(os.geteuid() != 0, reason="another process's peak can be reset by root only")
def test_memory_does_not_depend_on_the_message(tmp_path):
    with Enclave(tmp_path, config().replace("payload_max_mib = 48", "payload_max_mib = 260")) as e:
        e.upload("1.0", EVIL)
        prover = pathlib.Path(f"/proc/{e.pid_of('tee-rex-prover')}")

        def peak_kib(mib):
            message = e.encrypt(b"proof 64\n" + bytes(mib << 20))
            (prover / "clear_refs").write_text("5")
            assert e.prove(message)[0] == "ok"
            return int(re.search(r"VmHWM:\s+(\d+) kB", (prover / "status").read_text())[1])
        peak_kib(1)                                # what is touched the first time is no growth
        small, large = peak_kib(1), peak_kib(256)
        print(f"prover's peak RSS, KiB: {small} with 1 MiB, {large} with 256 MiB")
        assert large - small <= 256


def test_unknown_version_runs_nothing_else(enclave, clean):
    message = enclave.encrypt(b"proof 64\n")
    code, answer = enclave.prove(message, version="9.9")
    assert code == "unknown-version" and "9.9" in answer["message"]
    assert enclave.prove(message, version="1.0")[0] == "ok"
    assert enclave.prove(message, version="../evil")[0] == "bad-request"


# --- frames ---------------------------------------------------------------------------------------------------

BAD_FRAMES = {
    "unknown kind": frame(9, b"x"),
    "kind 0": frame(0, b"x"),
    "data first": frame(DATA, b"x"),
    "end first": frame(END),
    "reply": frame(REPLY, b"\xa0"),
    "empty request": frame(REQUEST),
    "too long a request": struct.pack(">IB", 1 << 20, REQUEST),
    "length 2^32-1": b"\xff\xff\xff\xff\x01",
    "not a map": frame(REQUEST, b"\x80"),
    "not CBOR": frame(REQUEST, b"\xff\xff"),
    "indefinite map": frame(REQUEST, b"\xbf\x62op\x66health\xff"),
    "duplicate key": frame(REQUEST, b"\xa2\x62op\x66health\x62op\x66health"),
    "trailing byte": frame(REQUEST, cbor2.dumps({"op": "health"}) + b"\0"),
    "unknown key": request("health", argv="x"),
    "unknown op": request("shell"),
    "no op": frame(REQUEST, cbor2.dumps({"size": 1})),
    "op of another type": frame(REQUEST, cbor2.dumps({"op": 5})),
    "short nonce": request("attest", nonce=b"n" * 15),
    "long nonce": request("attest", nonce=b"n" * 65),
    "nonce as text": request("attest", nonce="n" * 32),
    "size missing": request("prove"),
    "size negative": request("prove", size=-1),
    "evil version": request("prove", size=1, version="../evil"),
    "upload without digest": request("upload", version="1", size=1),
    "upload with short digest": request("upload", version="1", size=1, sha256=b"x" * 31),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_bad_frames(enclave, clean, name):
    with Exchange(enclave.socket) as x:
        x.send(BAD_FRAMES[name])
        kind, payload = x.answer()
        assert kind == ERROR and payload["code"] == "bad-request"
        x.socket.shutdown(socket.SHUT_WR)
        assert x.socket.recv(1) == b""


def test_bad_frames_inside_a_body(enclave, clean):
    for bad in (frame(DATA), request("health"), frame(9), frame(END, b"x"), frame(REPLY, b"\xa0")):
        with Exchange(enclave.socket) as x:
            x.send(request("prove", size=1000) + frame(DATA, b"\xc1") + bad)
            assert x.code() == "bad-request"


def test_byte_by_byte_is_as_good_as_at_once(enclave, clean):
    message = enclave.encrypt(b"proof 64\n")
    stream = request("prove", size=len(message)) + body(message, piece=7)
    with Exchange(enclave.socket) as x:
        for i in range(len(stream)):
            x.send(stream[i:i + 1])
        assert x.code() == "ok"


def test_truncation_at_every_stage_leaves_nothing(enclave, clean):
    message = enclave.encrypt(b"hang\n")
    stream = request("prove", size=len(message)) + body(message)
    for cut in (0, 1, 4, 5, 6, 20, len(stream) // 2, len(stream) - 6, len(stream) - 1):
        with Exchange(enclave.socket) as x:
            x.send(stream[:cut])


def test_data_after_the_end_is_refused(enclave, clean):
    message = enclave.encrypt(b"hang\n")
    with Exchange(enclave.socket) as x:
        x.send(request("prove", size=len(message)) + body(message) + b"x")
        assert x.code() == "bad-request"


# --- leaving, waiting, crowding -----------------------------------------------------------------------------------


def jobs_alive(enclave):
    return [name for name in enclave.descendants().values() if not name.startswith(("tee-rex", "slot"))]


def test_closing_the_connection_kills_the_whole_tree_within_a_second(enclave, clean):
    message = enclave.encrypt(b"tree-hang\n")
    before = len(enclave.descendants())
    with Exchange(enclave.socket) as x:
        x.send(request("prove", size=len(message)) + body(message))
        assert x.receive()[1]["stage"] == "proving"
        deadline = time.monotonic() + 2
        while len(enclave.descendants()) < before + 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(enclave.descendants()) >= before + 3
    left = time.monotonic()
    while len(enclave.descendants()) > before and time.monotonic() < left + 5:
        time.sleep(0.01)
    assert time.monotonic() - left < 1.0


def test_queue_is_first_come_first_served_and_slots_are_bounded(enclave, clean):
    message = enclave.encrypt(b"hang\n")
    stream = request("prove", size=len(message)) + body(message)
    waiting = [Exchange(enclave.socket) for _ in range(4)]
    try:
        for i, x in enumerate(waiting):
            x.send(stream)
            stage = x.receive()[1]
            assert stage == ({"stage": "proving"} if i < 2 else {"stage": "queued", "position": i - 1}), stage
        assert enclave.prove(message)[0] == "busy"
        health = call(enclave.socket, "health")
        assert (health["jobs_running"], health["jobs_queued"]) == (2, 2)
        waiting[0].socket.close()              # the first in the queue moves up
        assert waiting[2].receive()[1]["stage"] == "proving"
        assert waiting[3].receive()[1] == {"stage": "queued", "position": 1}
    finally:
        for x in waiting:
            x.socket.close()


def test_memory_is_admitted_before_the_start(tmp_path):
    """Two jobs of 64 MiB may run by number; with 100 MiB for both, the second waits until the first is dead, not only cancelled."""
    with Enclave(tmp_path, config("memory_budget_mib = 100")) as e:
        e.upload("1.0", EVIL)
        before = e.snapshot()
        message = e.encrypt(b"tree-hang\n")
        stream = request("prove", size=len(message)) + body(message)
        before_pids, idle = set(e.descendants()), len(e.descendants())
        with Exchange(e.socket) as first, Exchange(e.socket) as second, Exchange(e.socket) as third:
            first.send(stream)
            assert first.receive()[1] == {"stage": "proving"}
            wait_for(lambda: len(e.descendants()) >= idle + 8, what="the first job's tree")
            running = set(e.descendants()) - before_pids
            for i, x in enumerate((second, third), 1):
                x.send(stream)
                assert x.receive()[1] == {"stage": "queued", "position": i}
            first.socket.close()
            assert second.receive()[1] == {"stage": "proving"}
            assert gone(running, 0)
            assert third.receive()[1] == {"stage": "queued", "position": 1}
            assert (call(e.socket, "health")["jobs_running"], call(e.socket, "health")["jobs_queued"]) == (1, 1)
        e.settled(before)
    with Enclave(tmp_path, config("memory_budget_mib = 128")) as e:
        e.upload("1.0", EVIL)
        message = e.encrypt(b"hang\n")
        stream = request("prove", size=len(message)) + body(message)
        with Exchange(e.socket) as first, Exchange(e.socket) as second:
            for x in (first, second):
                x.send(stream)
                assert x.receive()[1] == {"stage": "proving"}


def test_idle_connections_are_bounded_and_cut_off(enclave, clean):
    idle = [Exchange(enclave.socket) for _ in range(64)]
    try:
        with Exchange(enclave.socket) as x:
            assert x.code() == "busy"
    finally:
        for x in idle:
            x.socket.close()


def test_concurrent_uploads_and_proofs(enclave, clean):
    message = enclave.encrypt(b"proof 64\n")
    data = EVIL.read_bytes()

    def upload(_):
        return exchange(enclave.socket, "upload", data, version="1.0", sha256=bytes.fromhex(sha256(EVIL)), size=len(data))[0]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        uploads = list(pool.map(upload, range(8)))
        proofs = list(pool.map(lambda _: enclave.prove(message)[0], range(8)))
    assert set(uploads) <= {"ok", "busy"} and "ok" in uploads
    assert set(proofs) <= {"ok", "busy"} and "ok" in proofs


def test_slow_peers_run_into_deadlines(tmp_path):
    with Enclave(tmp_path, config("request_s = 1\nbody_s = 1\nreply_s = 1")) as e:
        e.upload("1.0", EVIL)
        before = e.snapshot()
        with Exchange(e.socket) as x:
            x.send(b"\0")
            assert x.code() == "timed-out"
        with Exchange(e.socket) as x:
            x.send(request("prove", size=1000) + frame(DATA, b"\xc1"))
            assert x.code() == "timed-out"
        with Exchange(e.socket) as x:
            x.send(request("upload", version="2", size=1000, sha256=bytes.fromhex(sha256(EVIL))))
            assert x.code() == "timed-out"
        e.settled(before)


# --- versions ------------------------------------------------------------------------------------------------------


def test_uploads_that_are_refused(enclave, clean):
    data, good = EVIL.read_bytes(), bytes.fromhex(sha256(EVIL))

    def upload(version="2.0", digest=good, content=data, size=None):
        return exchange(enclave.socket, "upload", content, version=version, sha256=digest, size=size or len(content))[0]
    assert upload(digest=hashlib.sha256(b"other").digest(), content=b"other") == "not-allowed"
    assert upload(content=data[:-1] + b"x") == "digest-mismatch"
    assert upload(content=data[:-1]) == "digest-mismatch"
    assert upload(content=data, size=len(data) - 1) == "digest-mismatch"
    assert upload(size=(256 << 20) + 1) == "too-large"
    assert upload(version="a/b") == "bad-request"
    assert [v["name"] for v in call(enclave.socket, "versions")["versions"]] == ["1.0"]


def test_upload_command(enclave, tmp_path):
    def upload(*arguments):
        return subprocess.run([TEE_REX, "upload", "--socket", enclave.socket, *arguments], capture_output=True, text=True)
    done = upload("1.0", EVIL, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"versions": [{"version": "1.0", "sha256": sha256(EVIL)}]}
    other = tmp_path / "other"
    other.write_bytes(b"x" * 3_000_000)
    refused = upload("1.0", other)
    assert refused.returncode == 1 and "not-allowed" in refused.stderr
    assert upload("../evil", EVIL).returncode == 2
    assert upload("1.0", tmp_path / "absent").returncode == 1
    assert upload("1.0").returncode == 2
