"""tee-rex-sim-nsm from the outside."""
import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

import cbor2
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from sim_nsm import PROGRAM, ROOT, Client, check_document, extend, simulator, utc

ZERO = bytes(48)
PCRS = {n: bytes([0x10 + n]) * 48 for n in (0, 1, 2, 3, 4, 8)}
PRESETS = [word for n, value in PCRS.items() for word in ("--pcr", f"{n}={value.hex()}")]
TEE_REX = ROOT / "build" / "tee-rex"
SLOW = os.environ.get("TEEREX_SLOW") == "1"


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "gave up waiting"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One simulator for the tests that do not change its PCRs."""
    state = tmp_path_factory.mktemp("sim")
    with simulator(state / "ca", *PRESETS, listen=state / "nsm") as s:
        yield s


@pytest.fixture
def client(shared):
    c = shared.connect()
    yield c
    c.close()


def root_of(sim):
    return (sim.state / "root.pem").read_bytes()


# --- documents ------------------------------------------------------------------------------------

def test_document_says_what_was_asked(shared, client):
    before = time.time() * 1000
    reply = client.attest(user_data=b"u" * 512, nonce=b"n" * 512, public_key=b"k" * 1024)
    claims = check_document(reply["Attestation"]["document"], root_of(shared))
    assert before - 1 <= claims["timestamp"] <= time.time() * 1000 + 1
    assert claims["digest"] == "SHA384"
    assert re.fullmatch(r"sim-[0-9a-f]{17}-enc[0-9a-f]{16}", claims["module_id"])
    assert (claims["user_data"], claims["nonce"], claims["public_key"]) == (b"u" * 512, b"n" * 512, b"k" * 1024)
    assert claims["pcrs"] == {n: PCRS.get(n, ZERO) for n in range(16)}
    # the order of the members is the hardware's
    assert list(claims) == ["module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle", "public_key",
                            "user_data", "nonce"]


def test_document_without_anything(shared, client):
    for request in ({"Attestation": {"user_data": None, "nonce": None, "public_key": None}}, {"Attestation": {}}):
        claims = check_document(client.ask(request)["Attestation"]["document"], root_of(shared))
        assert claims["user_data"] is None and claims["nonce"] is None and claims["public_key"] is None


def test_same_certificates_new_signature(shared, client):
    documents = [client.attest()["Attestation"]["document"] for _ in range(3)]
    claims = [check_document(d, root_of(shared)) for d in documents]
    assert len({c["certificate"] for c in claims}) == 1
    assert len({cbor2.loads(d)[3] for d in documents}) == 3


def test_leaf_lives_three_hours(shared, client):
    claims = check_document(client.attest()["Attestation"]["document"], root_of(shared))
    leaf = x509.load_der_x509_certificate(claims["certificate"])
    assert 3 * 3600 <= (utc(leaf, "after") - utc(leaf, "before")).total_seconds() <= 3 * 3600 + 10
    assert leaf.subject.rfc4514_string().startswith("CN=" + claims["module_id"])


@pytest.mark.parametrize("part", ["payload", "signature", "other root"])
def test_the_check_can_fail(shared, client, tmp_path, part):
    document = bytearray(client.attest(nonce=b"here it is")["Attestation"]["document"])
    root = root_of(shared)
    check_document(bytes(document), root)
    if part == "payload":
        document[document.index(b"here it is")] ^= 1
    elif part == "signature":
        document[-1] ^= 1
    else:
        with simulator(tmp_path / "ca") as other:
            other.client.ask("DescribeNSM")
            root = root_of(other)
    with pytest.raises((InvalidSignature, AssertionError)):
        check_document(bytes(document), root)


@pytest.mark.parametrize("member,most", [("user_data", 512), ("nonce", 512), ("public_key", 1024)])
def test_document_limits(client, member, most):
    assert "Attestation" in client.attest(**{member: b"x" * most})
    assert client.attest(**{member: b"x" * (most + 1)}) == {"Error": "InputTooLarge"}


def test_empty_strings(shared, client):
    claims = check_document(client.attest(user_data=b"", nonce=b"")["Attestation"]["document"], root_of(shared))
    assert claims["user_data"] == b"" and claims["nonce"] == b""
    assert client.attest(public_key=b"") == {"Error": "InvalidArgument"}


def test_tee_rex_verify_takes_the_exported_root(shared, client, tmp_path):
    document = tmp_path / "document"
    document.write_bytes(client.attest(nonce=b"n" * 32, public_key=b"key")["Attestation"]["document"])

    def verify(*options):
        r = subprocess.run([str(TEE_REX), "verify", str(document), "--json", *options], capture_output=True, text=True,
                           timeout=20)
        return r.returncode, r.stdout
    root, pcr, nonce = ["--root", str(shared.state / "root.pem")], ["--pcr", f"0={PCRS[0].hex()}"], ["--nonce", "6e" * 32]
    status, verdict = verify(*root, *pcr, *nonce)
    assert status == 0 and '"simulated":true' in verdict.replace(" ", "")
    for options, code in ((pcr + nonce, "chain-wrong-root"), (root + ["--pcr", f"0={PCRS[1].hex()}"], "pcr-mismatch"),
                          (root + pcr + ["--nonce", "6f" * 32], "nonce-mismatch")):
        status, verdict = verify(*options)
        assert status == 1 and f'"{code}"' in verdict


# --- the other requests -----------------------------------------------------------------------------

def test_describe(client):
    d = client.ask("DescribeNSM")["DescribeNSM"]
    assert d.pop("module_id").startswith("sim-")
    assert d == {"version_major": 1, "version_minor": 0, "version_patch": 0, "max_pcrs": 32,
                 "locked_pcrs": list(range(16)), "digest": "SHA384"}
    for n in range(32):
        assert client.ask({"DescribePCR": {"index": n}}) == {
            "DescribePCR": {"lock": n < 16, "data": PCRS.get(n, ZERO)}}


def test_random(client):
    seen = {client.ask("GetRandom")["GetRandom"]["random"] for _ in range(50)}
    assert len(seen) == 50 and all(len(r) == 256 for r in seen)
    # the very bytes that the kernel's hwrng reader compares
    assert client.raw(cbor2.dumps("GetRandom")).startswith(b"\xa1\x69GetRandom\xa1\x66random\x59\x01\x00")


def test_pcr_life(tmp_path):
    with simulator(tmp_path / "ca", *PRESETS) as sim:
        c = sim.client
        value = ZERO
        for data in (b"a", b"", b"x" * 4000):
            value = extend(value, data)
            assert c.ask({"ExtendPCR": {"index": 16, "data": data}}) == {"ExtendPCR": {"data": value}}
        claims = check_document(c.attest()["Attestation"]["document"], root_of(sim))
        assert 16 not in claims["pcrs"]
        assert c.ask({"LockPCR": {"index": 16}}) == "LockPCR"
        assert c.ask({"LockPCR": {"index": 16}}) == {"Error": "ReadOnlyIndex"}
        assert c.ask({"ExtendPCR": {"index": 16, "data": b"a"}}) == {"Error": "ReadOnlyIndex"}
        assert c.ask({"LockPCRs": {"range": 18}}) == "LockPCRs"
        claims = check_document(c.attest()["Attestation"]["document"], root_of(sim))
        assert claims["pcrs"] == {**{n: PCRS.get(n, ZERO) for n in range(16)}, 16: value, 17: ZERO}
        assert c.ask({"LockPCRs": {"range": 33}}) == {"Error": "InvalidIndex"}
        assert c.ask({"LockPCRs": {"range": 32}}) == "LockPCRs"
        claims = check_document(
            c.attest(user_data=b"u" * 512, nonce=b"n" * 512, public_key=b"k" * 1024)["Attestation"]["document"],
            root_of(sim))
        assert set(claims["pcrs"]) == set(range(32))
        for n in (0, 15):
            assert c.ask({"ExtendPCR": {"index": n, "data": b"a"}}) == {"Error": "ReadOnlyIndex"}


def test_debug_enclave(tmp_path):
    with simulator(tmp_path / "ca", "--debug", "--module-id", "sim-debug-enc1", *PRESETS) as sim:
        claims = check_document(sim.client.attest()["Attestation"]["document"], root_of(sim))
        assert {n for n, v in claims["pcrs"].items() if v != ZERO} == {3, 4}
        assert claims["module_id"] == "sim-debug-enc1"
        assert "(debug)" in sim.end()[1]


# --- bad input ----------------------------------------------------------------------------------------

BAD = [
    ("InvalidOperation", b"\x00"), ("InvalidOperation", b"\xff"), ("InvalidOperation", b"\x80"), ("InvalidOperation", b"\xa0"),
    ("InvalidOperation", cbor2.dumps("getrandom")), ("InvalidOperation", cbor2.dumps("Attestation")),
    ("InvalidOperation", cbor2.dumps("GetRandom") + b"\x00"), ("InvalidOperation", cbor2.dumps("GetRandom")[:-1]),
    ("InvalidOperation", cbor2.dumps({"GetRandom": None})), ("InvalidOperation", cbor2.dumps({"Error": "Success"})),
    ("InvalidOperation", cbor2.dumps({"DescribePCR": {}})), ("InvalidOperation", cbor2.dumps({"DescribePCR": {"index": -1}})),
    ("InvalidOperation", cbor2.dumps({"DescribePCR": {"index": 65536}})),
    ("InvalidOperation", cbor2.dumps({"DescribePCR": {"index": 1.0}})),
    ("InvalidOperation", cbor2.dumps({"DescribePCR": {"index": 1}, "LockPCR": {"index": 16}})),
    ("InvalidOperation", cbor2.dumps({"ExtendPCR": {"index": 16}})),
    ("InvalidOperation", cbor2.dumps({"ExtendPCR": {"index": 16, "data": None}})),
    ("InvalidOperation", bytes.fromhex("a1674c6f636b504352a265696e6465781065696e64657811")),
    ("InvalidOperation", b"\xa1" * 4000), ("InvalidOperation", b"\x81" * 4000),
    ("InvalidIndex", cbor2.dumps({"DescribePCR": {"index": 32}})),
    ("InvalidIndex", cbor2.dumps({"LockPCR": {"index": 65535}})),
    ("InvalidIndex", cbor2.dumps({"ExtendPCR": {"index": 32, "data": b""}})),
    ("InputTooLarge", bytes(0x1001)), ("InputTooLarge", bytes(60000)),
    ("InputTooLarge", cbor2.dumps({"ExtendPCR": {"index": 16, "data": bytes(0x1000)}})),
]


def test_bad_requests(shared, client):
    client.ask("DescribeNSM")
    before = shared.fds()
    for error, packet in BAD:
        assert cbor2.loads(client.raw(packet)) == {"Error": error}, packet[:40]
        assert "DescribeNSM" in client.ask("DescribeNSM")
    assert client.ask({"DescribePCR": {"index": 16}}) == {"DescribePCR": {"lock": False, "data": ZERO}}
    assert shared.fds() == before


VECTORS = ROOT / "tests/vectors/nsm"


def test_vectors_get_their_answers(shared, client):
    """All that must be refused, one after another, on one connection (nsm_vectors_test.c has those that
    change registers; an empty packet is the end)."""
    rows = [line.split(" ", 3) for line in (VECTORS / "manifest.txt").read_text().splitlines()]
    refused = [(file, answer) for file, _, answer, _ in rows if file.startswith("requests/") and not re.search(r"/good-|/locked-|/empty\.", file)]
    assert len(refused) > 50
    for file, answer in refused:
        assert cbor2.loads(client.raw((VECTORS / file).read_bytes())) == {"Error": answer}, file
    assert "DescribeNSM" in client.ask("DescribeNSM")


def test_vectors_are_what_their_script_writes(tmp_path):
    subprocess.run([sys.executable, VECTORS / "make_nsm.py", tmp_path], check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    made, kept = ({p.relative_to(top): p.read_bytes() for p in top.rglob("*") if p.suffix in (".cbor", ".txt")} for top in (tmp_path, VECTORS))
    assert made == kept


def test_descriptors_sent_along_are_dropped(shared, client):
    client.ask("DescribeNSM")
    before = shared.fds()
    for _ in range(20):
        with open("/dev/null") as f:
            socket.send_fds(client.socket, [cbor2.dumps("DescribeNSM")], [f.fileno()])
        assert "DescribeNSM" in cbor2.loads(client.socket.recv(1 << 16))
    assert shared.fds() == before


def test_a_client_that_does_not_read_is_cut_off_alone(shared, client):
    client.ask("DescribeNSM")
    before = shared.fds()
    deaf = shared.connect(timeout=5)
    with pytest.raises((BrokenPipeError, ConnectionResetError, TimeoutError)) as caught:
        for _ in range(10000):
            deaf.socket.send(cbor2.dumps("GetRandom"))
    assert not issubclass(caught.type, TimeoutError), "it was never cut off"
    deaf.close()
    assert "DescribeNSM" in client.ask("DescribeNSM")
    wait_for(lambda: shared.fds() == before)


def timestamp(packet):
    return cbor2.loads(cbor2.loads(cbor2.loads(packet)["Attestation"]["document"])[2])["timestamp"]


def test_clients_take_turns(shared, client):
    """One client with a queue of requests does not keep another waiting: both are stopped at the gate, then let go."""
    client.ask("DescribeNSM")
    attest = cbor2.dumps({"Attestation": {}})
    busy = shared.connect()
    busy.raw(attest)
    shared.process.send_signal(signal.SIGSTOP)
    for _ in range(50):
        busy.socket.send(attest)
    client.socket.send(attest)
    shared.process.send_signal(signal.SIGCONT)
    mine = timestamp(client.socket.recv(1 << 16))
    before_me = [t for t in (timestamp(busy.socket.recv(1 << 16)) for _ in range(10)) if t < mine]
    assert len(before_me) <= 5
    busy.close()


def test_more_clients_than_places(shared):
    many = {c.socket: c for c in (shared.connect() for _ in range(80))}
    for c in many.values():
        c.socket.send(cbor2.dumps("DescribeNSM"))
    served = set()
    while ready := select.select([s for s in many if s not in served], [], [], 1)[0]:
        served.update(ready)
    assert len(served) == 64
    for s in served:
        many.pop(s).close()
    for c in many.values():
        assert "DescribeNSM" in cbor2.loads(c.socket.recv(1 << 16))
        c.close()
    wait_for(lambda: shared.fds() < 20)


def test_nothing_leaks(tmp_path):
    """Memory and descriptors stay as they are after the first thousand calls."""
    attestations, others = (100_000, 100_000) if SLOW else (2_000, 10_000)
    with simulator(tmp_path / "ca", *PRESETS, listen=tmp_path / "nsm") as sim:
        c = sim.connect()

        def work(attest, other):
            attest_packet, random_packet = cbor2.dumps({"Attestation": {"nonce": b"n" * 32}}), cbor2.dumps("GetRandom")
            for i in range(max(attest, other)):
                if i < attest:
                    c.raw(attest_packet)
                if i < other:
                    c.raw(random_packet)
                if i % 10 == 0:
                    sim.connect().close()
        work(1000, 1000)
        fds, rss = sim.fds(), sim.rss_kib()
        work(attestations, others)
        wait_for(lambda: sim.fds() == fds)
        assert sim.rss_kib() <= rss * 1.05, f"{rss} KiB became {sim.rss_kib()} KiB"
        c.close()


# --- life -----------------------------------------------------------------------------------------------

def test_says_what_it_is_and_ends_on_sigterm(tmp_path):
    with simulator(tmp_path / "ca") as sim:
        sim.client.ask("GetRandom")
        status, err = sim.end()
        assert status == 0
        assert "SIMULATED NSM sim-" in err and f"{tmp_path}/ca/root.pem" in err


def test_nobody_reads_its_log(tmp_path):
    with simulator(tmp_path / "ca") as sim:
        sim.client.ask("GetRandom")
        sim.process.stderr.close()
        sim.process.terminate()          # it says how many documents it signed
        assert sim.process.wait(timeout=20) == 0


def test_root_outlives_kill_and_restart(tmp_path):
    roots = set()
    for kill in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        with simulator(tmp_path / "ca") as sim:
            document = sim.client.attest()["Attestation"]["document"]
            roots.add(root_of(sim))
            check_document(document, root_of(sim))
            sim.process.send_signal(kill)
            sim.process.wait(timeout=10)
    assert len(roots) == 1
    assert (tmp_path / "ca" / "ca.pem").stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in (tmp_path / "ca").iterdir()) == ["ca.pem", "root.pem"]


def test_started_twice_at_once(tmp_path):
    with contextlib.ExitStack() as stack:
        sims = [stack.enter_context(simulator(tmp_path / "ca")) for _ in range(4)]
        for sim in sims:
            check_document(sim.client.attest()["Attestation"]["document"], root_of(sim))


def test_dies_with_its_parent(tmp_path):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # a shell that stays the parent
    shell = subprocess.Popen(
        ["bash", "-c", f'exec 3<&{theirs.fileno()}-; (LISTEN_PID=$BASHPID LISTEN_FDS=1 LISTEN_FDNAMES=nsm '
         f'exec "{PROGRAM}" --state "{tmp_path}/ca") & exec 3<&-; wait'],
        pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL)
    theirs.close()
    c = Client(ours)
    assert "DescribeNSM" in c.ask("DescribeNSM")
    shell.kill()
    shell.wait()
    assert ours.recv(100) == b""         # closed: it is gone
    ours.close()


def test_ends_when_nobody_can_reach_it(tmp_path):
    with simulator(tmp_path / "ca") as sim:
        sim.client.ask("GetRandom")
        sim.client.close()
        assert sim.process.wait(timeout=20) == 0


def run(*args, **how):
    return subprocess.run([str(PROGRAM), *args], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, **how)


@pytest.mark.parametrize("args,says", [
    ([], "--state"),
    (["--state"], "wants a value"),
    (["--sate", "x"], "did you mean --state"),
    (["--state", "x", "extra"], "unexpected argument"),
    (["--state", "x", "--pcr", "0"], "N=HEX"),
    (["--state", "x", "--pcr", "16=" + "00" * 48], "from 0 to 15"),
    (["--state", "x", "--pcr", "-1=" + "00" * 48], "from 0 to 15"),
    (["--state", "x", "--pcr", "0=" + "00" * 47], "96 hex digits"),
    (["--state", "x", "--pcr", "0=" + "0g" * 48], "96 hex digits"),
    (["--state", "x", "--pcr", "0=" + "00" * 48, "--pcr", "0=" + "00" * 48], "twice"),
    (["--state", "x", "--module-id", "i-0123-enc01"], "sim-"),
])
def test_usage(tmp_path, args, says):
    r = run(*args, cwd=tmp_path)
    assert r.returncode == 2 and says in r.stderr and r.stdout == ""
    assert not list(tmp_path.iterdir())


def test_help(tmp_path):
    r = run("--help")
    assert r.returncode == 0 and r.stderr == ""
    assert r.stdout.startswith("Usage: tee-rex-sim-nsm --state DIR") and "SIMULATED" in r.stdout
    page = (ROOT / "man" / "tee-rex-sim-nsm.1").read_text().replace("\\-", "-")
    for option in re.findall(r"--[a-z-]+", r.stdout):
        assert option in page, f"{option} is not in the man page"


def test_start_failures(tmp_path):
    r = run("--state", str(tmp_path / "ca"))
    assert r.returncode == 1 and "LISTEN_FDS" in r.stderr
    r = run("--state", str(tmp_path / "no" / "such"))
    assert r.returncode == 1 and "No such file" in r.stderr
    (tmp_path / "ca" / "ca.pem").chmod(0o644)
    r = run("--state", str(tmp_path / "ca"))
    assert r.returncode == 1 and "chmod 600" in r.stderr
    stream, other = socket.socketpair()
    sim = subprocess.run(["bash", "-c", 'exec 3<&$1-; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=nsm exec "$2" --state "$3"',
                          "give", str(stream.fileno()), str(PROGRAM), str(tmp_path / "other")],
                         pass_fds=[stream.fileno()], capture_output=True, text=True, timeout=20)
    assert sim.returncode == 1 and "SOCK_SEQPACKET" in sim.stderr


# --- never in an enclave ----------------------------------------------------------------------------------

MARKER = b"SIMULATED NSM"


def symbols(program):
    return subprocess.run(["nm", str(program)], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", ["tee-rex-prover", "tee-rex-launcher"])
def test_enclave_programs_have_no_software_nsm(name):
    program = ROOT / "build" / name
    assert MARKER not in program.read_bytes()
    assert not re.search(r"software_nsm|test_ca_|x509_issue|x509_make_root", symbols(program))


def test_the_marker_would_be_found(tmp_path):
    assert "software_nsm_handle" in symbols(PROGRAM)
    stripped = tmp_path / "stripped"
    shutil.copy(PROGRAM, stripped)
    subprocess.run(["strip", "-s", str(stripped)], check=True)
    assert MARKER in stripped.read_bytes()
