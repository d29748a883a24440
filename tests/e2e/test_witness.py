"""A witness that nobody else has is planted, and then looked for everywhere outside of its job: in what the programs wrote (logs,
access log, metrics), in their memory, in every file of the run, in shared memory, in core files. A job that wants to leak puts it
wherever it can first. What finds nothing must be able to find something: each place has a control."""
import http.client
import json
import mmap
import os
import pathlib
import socket
import subprocess
import time

import pytest

from conftest import BUILD, wait_for
from enclave import Enclave, sha256
from frames import Exchange, call, request
from gateway import Gateway, prove_body
from launcher_peer import EVIL
from test_storm import job_processes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="reads other processes' memory, which root may")

CONFIG = """
allow = {evil}
slots = 4
jobs = 2
{top}
[recipe]
arg = evil
arg = {{input}}
arg = {{output_dir}}
crs = none
ro = /nonexistent
memory_mib = 64
deadline_s = 10
pids_max = 32
uid_base = {uid}
{recipe}
"""


def memory_of(pid):
    """Every readable byte, in pieces that overlap."""
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    with open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            bounds, mode, *_, = line.split()
            if mode[0] != "r" or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = (int(x, 16) for x in bounds.split("-"))
            for at in range(start, end, 1 << 22):
                try:
                    mem.seek(at)
                    yield mem.read(min(end - at, (1 << 22) + 256))
                except OSError:
                    break                       # a guard page, or a mapping past its file's end


def processes_with(word, pids):
    return [pid for pid in pids if any(word in piece for piece in memory_of(pid))]


def files_with(word, *places):
    found = []
    for place in places:
        for directory, _, names in os.walk(place):
            for name in [*names]:
                path = os.path.join(directory, name)
                if word in name.encode():
                    found.append(path)
                try:
                    if not os.path.isfile(path) or os.path.getsize(path) == 0:
                        continue
                    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
                        if m.find(word) >= 0:
                            found.append(path)
                except (OSError, ValueError):
                    continue
    return found


class Place:
    """A gateway and an enclave, and clients who leave no copies behind."""

    def __init__(self, path, port, top="", recipe=""):
        self.path, self.port = path, port
        self.uid = 300_000 + os.getpid() % 10_000 * 16
        self.enclave = Enclave(path, CONFIG.format(evil=sha256(EVIL), uid=self.uid, top=top, recipe=recipe))
        self.enclave.upload("1.0", EVIL)
        (path / "gateway").mkdir()
        self.gateway = Gateway(BUILD, path / "gateway", port, self.enclave.socket, "--metrics", f"unix:{path}/gateway/metrics",
                               "--leave-grace", "1", "--keep-dir", path / "gateway" / "kept")
        self.prove("proof 64")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.gateway.stop()
        self.enclave.stop()

    def encrypt(self, act):
        message = self.enclave.encrypt(act.encode() + b"\n" + act.encode() * 2000)    # over many chunks' worth of buffers
        for name in ("plain", "message.pgp"):
            (self.path / name).unlink()
        return message

    def prove(self, act, keep=False):
        """Over HTTP; the code, or "ok"; with keep, the connection that waits."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        client.request("POST", "/prove", prove_body(self.encrypt(act)), {"Content-Type": "application/json"})
        if keep:
            return client
        answer = json.loads(client.getresponse().read())
        client.close()
        return answer.get("code", "ok" if "proof" in answer else answer)

    def prove_later(self, act):
        """As an asynchronous client: what its job ended in. The answer is kept, in memory and in a file."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        client.request("POST", "/prove", prove_body(self.encrypt(act)), {"Prefer": "respond-async"})
        answer = client.getresponse()
        assert answer.status == 202, answer.read()
        answer.read()
        client.request("GET", answer.headers["Location"] + "?wait=30")
        state = json.loads(client.getresponse().read())["state"]
        client.close()
        return state

    def service(self):
        """Every process that is not a job's."""
        jobs = set(job_processes(self.uid))
        return [self.gateway.pid, self.enclave.process.pid, *(p for p in self.enclave.descendants() if p not in jobs)]

    def said(self):
        """Everything that a program of the run wrote or says when asked."""
        text = call(self.enclave.socket, "metrics")["metrics"].encode() + str(call(self.enclave.socket, "health")).encode()
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(f"{self.path}/gateway/metrics")
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while piece := s.recv(65536):
                text += piece
        assert b"teerex_gateway" in text
        return text + self.enclave.log.read_bytes() + (self.gateway.stdout + self.gateway.stderr).encode()

    def outside(self, word):
        """Where the word is that it must not be."""
        found = [("memory", pid, pathlib.Path(f"/proc/{pid}/comm").read_text()) for pid in processes_with(word, self.service())]
        found += files_with(word, self.path, os.path.dirname(self.enclave.socket), "/dev/shm", "/var/lib/systemd/coredump", "/var/crash",
                            "/run/tee-rex", "/var/tmp")
        if word in self.said():
            found.append("said")
        if word in subprocess.run(["dmesg"], capture_output=True, check=False).stdout:
            found.append("kernel log")
        return found


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with Place(tmp_path_factory.mktemp("witness"), free_port()) as p:
        yield p


def new_word():
    return os.urandom(20).hex()


# act after spreading the word; how it ends
ENDS = {"proof 64": "ok", "abort": "crashed", "exit 1": "prover-error", "eat": "out-of-memory", "raise 9": "crashed", "none": "prover-error"}


@pytest.mark.parametrize("act", ENDS)
def test_nothing_is_left_of_a_witness(place, act):
    word = new_word()
    before = place.enclave.snapshot()
    assert place.prove(f"spread {word} {act}") == ENDS[act]
    place.enclave.settled(before)
    found = place.outside(word.encode())
    if act == "eat":                            # the kernel names what it kills, and a name is the program's to choose (15 bytes)
        found = [f for f in found if f != "kernel log"]
    assert not found, found


@pytest.mark.parametrize("act,state", [("proof 64", "done"), ("abort", "failed")])
def test_answers_that_outlive_the_gateway_tell_nothing(place, act, state):
    word = new_word()
    before = place.enclave.snapshot()
    assert place.prove_later(f"spread {word} {act}") == state
    place.enclave.settled(before)
    assert not place.outside(word.encode())
    # control: such a file is among those that are looked at
    kept = [path for path in files_with(b"TRxkept", place.path) if "/kept/" in path]
    assert len(kept) >= 1 or state == "failed"


def test_nothing_is_left_of_a_job_that_is_left(place):
    word = new_word()
    before = place.enclave.snapshot()
    client = place.prove(f"spread {word} tree-hang", keep=True)
    tree = wait_for(lambda: len(p := job_processes(place.uid, word)) >= 12 and p, what="the tree")
    # control: it is there, in the job's memory and files, and nowhere else
    wait_for(lambda: processes_with(word.encode(), tree), what="the word in the job's memory")
    assert word.encode() in pathlib.Path(f"/proc/{tree[0]}/root/job/leak").read_bytes()
    assert files_with(word.encode(), f"/proc/{tree[0]}/root/job")
    assert not place.outside(word.encode())
    client.close()
    wait_for(lambda: not [p for p in tree if os.path.exists(f"/proc/{p}")], 5, "the end of the tree")
    place.enclave.settled(before)
    assert not place.outside(word.encode())


def test_messages_that_do_not_verify_leave_nothing(place):
    """The plaintext of a message whose last byte is wrong was written into a slot's tmpfs all the same."""
    word = new_word()
    before = place.enclave.snapshot()
    message = place.encrypt(f"spread {word} hang")
    for broken in (message[:-1] + bytes([message[-1] ^ 1]), message[:-40], message[:len(message) // 2]):
        assert place.enclave.prove(broken)[0] == "bad-input"
    with Exchange(place.enclave.socket) as x:       # and one that just stops
        x.send(request("prove", size=len(message)) + len(message[:-100]).to_bytes(4, "big") + b"\x02" + message[:-100])
        time.sleep(0.2)
        wait_for(lambda: word.encode() in memfiles(place), what="the word in the slot's tmpfs")       # control
    place.enclave.settled(before)
    assert not place.outside(word.encode())


def memfiles(place):
    """What the files hold that the prover has open and that are no program."""
    prover, out = place.enclave.pid_of("tee-rex-prover"), b""
    for fd in pathlib.Path(f"/proc/{prover}/fd").iterdir():
        try:
            if fd.stat().st_size and os.readlink(fd).endswith("input"):
                out += fd.read_bytes()
        except OSError:
            continue
    return out


def test_the_search_finds_what_is_there(place, tmp_path):
    """Controls for each place that is looked at."""
    word = new_word()
    # the prover's memory: a request id, which is no secret, while its connection is open
    with Exchange(place.enclave.socket) as x:
        x.send(request("prove", size=1000, id=word))
        wait_for(lambda: place.enclave.pid_of("tee-rex-prover") in processes_with(word.encode(), place.service()), what="the id in memory")
    # the access log
    client = http.client.HTTPConnection("127.0.0.1", place.port)
    client.request("GET", "/health", headers={"x-request-id": word})
    assert client.getresponse().status == 200
    client.close()
    wait_for(lambda: word.encode() in place.said(), what="the id in the access log")
    # files
    (tmp_path / "x").write_text(f"x{word}x")
    assert files_with(word.encode(), tmp_path) == [str(tmp_path / "x")]
    # a launcher that is configured to log what jobs say, which docs/CONFIG.md warns of
    with Place(tmp_path, free_port(), recipe="output_log_kib = 64") as loud:
        word = new_word()
        assert loud.prove(f"spread {word} proof 64") == "ok"
        found = loud.outside(word.encode())
        assert "said" in found and str(loud.enclave.log) in found
