"""Who gets a slot, memory and room for a payload, who waits, and who is told so: the queue of the prover, with stated peaks, and what
stalled peers cannot hold. Everything through the whole service."""
import os
import pathlib
import socket
import subprocess
import time
import uuid

import pytest

from conftest import BUILD, wait_for
from enclave import Enclave
from frames import DATA, EVENT, Exchange, body, call, exchange, frame, request
from launcher_peer import EVIL
from test_service import config

MIB = 1 << 20
V1_MEMORY = pathlib.Path("/sys/fs/cgroup/memory")


class Service:
    """An enclave with the test program loaded, and messages to it that state a peak."""

    def __init__(self, directory, top=""):
        self.enclave = Enclave(directory, config(top))
        self.enclave.upload("1.0", EVIL)
        self.socket = self.enclave.socket
        self.before = self.enclave.snapshot()

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        try:
            if kind is None:
                self.enclave.settled(self.before)
        finally:
            self.enclave.stop()

    def message(self, act, peak=None):
        return self.enclave.encrypt(act.encode() + b"\n", "" if peak is None else f"peak-mib={peak}")

    def begin(self, act, peak=None):
        """An exchange whose message is sent, and the first thing it was told."""
        m = self.message(act, peak)
        x = Exchange(self.socket)
        x.send(request("prove", size=len(m)) + body(m))
        kind, payload = x.receive()
        return x, (payload["stage"], payload.get("position", 0)) if kind == EVENT else (payload["code"], 0)

    def run(self, act, peak=None):
        return exchange(self.socket, "prove", m := self.message(act, peak), size=len(m))


# --- stated peaks --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a memory cgroup")
def test_a_job_gets_what_it_states_and_no_more(tmp_path):
    with Service(tmp_path) as s:
        code, answer = s.run("eat", peak=16)
        assert (code, answer["limit_bytes"]) == ("out-of-memory", 16 * MIB) and answer["peak_bytes"] <= 16 * MIB
        assert s.run("touch 30 64", peak=16)[0] == "out-of-memory"
        assert s.run("touch 30 64", peak=48)[0] == "ok"
        assert s.run("touch 30 64")[0] == "ok"                         # 64 MiB, the recipe's
        # one dies by its own statement, the other beside it does not
        other, told = s.begin("sleep 700 64")
        assert told == ("proving", 0)
        assert s.run("eat", peak=16)[0] == "out-of-memory"
        assert other.code() == "ok"
        other.socket.close()


def test_impossible_peaks_are_refused_before_they_run(tmp_path):
    with Service(tmp_path) as s:
        code, answer = s.run("hang", peak=65)
        assert (code, answer["limit_bytes"], answer["peak_bytes"]) == ("out-of-memory", 64 * MIB, 65 * MIB)
        assert "not run" in answer["message"]
        assert s.run("proof 64", peak=64)[0] == "ok"
        assert s.run("proof 64", peak=1)[0] == "ok"                    # raised to the least
        for bad in ("0", "-1", "x", "1048577", "1 ", "01"):
            code, answer = s.run("hang", peak=bad)
            assert code == "bad-input" and "peak-mib" in answer["message"], bad
        # another client's file name says nothing
        m = s.enclave.encrypt(b"proof 64\n", "input peak-mib=x")
        assert exchange(s.socket, "prove", m, size=len(m))[0] == "ok"


def test_jobs_are_packed_by_stated_peaks(tmp_path):
    with Service(tmp_path, "memory_budget_mib = 100\novertakes_max = 1") as s:
        first, told = s.begin("hang")                                  # 64 of 100
        assert told == ("proving", 0)
        second, told = s.begin("hang")                                 # another 64 do not fit
        assert told == ("queued", 1)
        third, told = s.begin("sleep 300 64", peak=32)                 # 32 do, and overtake it
        assert told == ("proving", 0)
        assert third.code() == "ok"
        fourth, told = s.begin("proof 64", peak=32)                    # they would again, but not a second time
        assert told == ("queued", 2)
        first.socket.close()
        assert second.receive()[1] == {"stage": "proving"}
        assert fourth.code() == "ok"                                   # beside it
        for x in (second, third, fourth):
            x.socket.close()


def test_in_order_where_nobody_may_overtake(tmp_path):
    with Service(tmp_path, "memory_budget_mib = 100\novertakes_max = 0") as s:
        first, _ = s.begin("hang")
        second, told = s.begin("hang")
        assert told == ("queued", 1)
        third, told = s.begin("proof 64", peak=8)
        assert told == ("queued", 2)
        for x in (first, second, third):
            x.socket.close()


# --- the queue ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("places", [0, 1])
def test_the_queue_has_a_length_of_its_own(tmp_path, places):
    with Service(tmp_path, f"queue_max = {places}") as s:
        held = [s.begin("hang") for _ in range(2 + places)]
        assert [told[0] for _, told in held] == ["proving"] * 2 + ["queued"] * places
        with Exchange(s.socket) as x:                                  # told before it sends its body
            x.send(request("prove", size=1000))
            kind, answer = x.answer()
            assert answer["code"] == "busy" and f"all {places} places in the queue" in answer["message"]
        held[0][0].socket.close()
        if places:
            assert held[2][0].receive()[1] == {"stage": "proving"}
        after = wait_for(lambda: (r := s.begin("hang")) and (r if r[1][0] != "busy" else r[0].socket.close()), what="a place")
        for x, _ in [*held, after]:
            x.socket.close()


def test_a_full_queue_is_told_after_the_body_too(tmp_path):
    """Two receive at the same time, and there is one place."""
    with Service(tmp_path, "queue_max = 1") as s:
        running = [s.begin("hang") for _ in range(2)]
        m = s.message("hang")
        receiving = [Exchange(s.socket) for _ in range(2)]
        for x in receiving:
            x.send(request("prove", size=len(m)) + frame(DATA, m))
        time.sleep(0.2)
        for x in receiving:
            x.send(body(b""))
        codes = [receiving[0].receive()[1], receiving[1].answer()[1]]
        assert codes[0] == {"stage": "queued", "position": 1} and codes[1]["code"] == "busy"
        for x in [*receiving, *(x for x, _ in running)]:
            x.socket.close()


# --- stalled peers hold no slot --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drip", [False, True], ids=["silent", "dripping"])
def test_a_body_that_stalls_loses_its_slot(tmp_path, drip):
    with Service(tmp_path, "body_stall_s = 1\nbody_stall_kib = 1") as s:
        stalled = [Exchange(s.socket) for _ in range(4)]               # all slots
        for x in stalled:
            x.send(request("prove", size=100000) + frame(DATA, b"\xc1"))
        start = time.monotonic()
        with Exchange(s.socket) as x:
            x.send(request("prove", size=1000))
            assert x.code() == "busy"
        while drip and time.monotonic() < start + 2:
            for x in stalled:
                try:
                    x.send(frame(DATA, b"\x61"))
                except (BrokenPipeError, ConnectionResetError):
                    pass
            time.sleep(0.05)
        wait_for(lambda: s.run("proof 64")[0] == "ok", 3, "a slot")
        for x in stalled:
            kind, answer = x.answer()
            assert answer["code"] in ("timed-out", "bad-input"), answer
            x.socket.close()


def test_a_body_in_time_is_no_stall(tmp_path):
    """Slow, but more than the least in every second."""
    with Service(tmp_path, "body_stall_s = 1\nbody_stall_kib = 4") as s:
        m = s.enclave.encrypt(b"proof 64\n" + os.urandom(30000))
        with Exchange(s.socket) as x:
            x.send(request("prove", size=len(m)))
            for at in range(0, len(m), 1000):
                x.send(frame(DATA, m[at:at + 1000]))
                time.sleep(0.08)
            x.send(body(b""))
            assert x.code() == "ok"


def test_readers_that_stall_hold_no_slot(tmp_path):
    """Four slots; twenty clients who let their large proofs lie. Sixteen may, the oldest lose theirs, and every proof is made at once."""
    with Service(tmp_path, "reply_s = 60") as s:
        m = s.message("proof 1040000")
        stalled = []
        for _ in range(20):
            x = Exchange(s.socket)
            x.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            x.send(request("prove", size=len(m)) + body(m))
            assert x.receive()[1]["stage"] in ("proving", "queued")
            stalled.append(x)
            wait_for(lambda: not any(call(s.socket, "health").get(k, 0) for k in ("jobs_running", "jobs_queued")), what="the job's end")
        assert s.run("proof 64")[0] == "ok"
        assert s.enclave.rss_kib("tee-rex-prover") < 32 << 10
        ends = []
        for x in stalled:
            x.socket.settimeout(10)
            try:
                ends.append(x.code())
            except (EOFError, ConnectionResetError):
                ends.append("cut")
            x.socket.close()
        assert ends.count("ok") == 15 and ends[5:] == ["ok"] * 15, ends    # one more buffer went to the small proof


# --- room for payloads --------------------------------------------------------------------------------------------------------------


def test_payloads_are_reserved_before_their_first_byte(tmp_path):
    with Service(tmp_path, "payload_budget_mib = 50") as s:
        with Exchange(s.socket) as first, Exchange(s.socket) as second:
            first.send(request("prove", size=40 * MIB))
            wait_for(lambda: s.enclave.look()["processes"].count("tee-rex-launche") > 1, what="the first slot")
            second.send(request("prove", size=11 * MIB))
            kind, answer = second.answer()
            assert answer["code"] == "no-space" and answer["limit_bytes"] == 50 * MIB
            assert str(11 * MIB) in answer["message"] and str(40 * MIB) in answer["message"]
            with Exchange(s.socket) as third:                          # exactly what is left
                m = s.message("proof 64")
                third.send(request("prove", size=10 * MIB) + body(m))
                assert third.code() == "ok"
        s.enclave.settled(s.before)                                    # given back when the slot is closed
        assert exchange(s.socket, "prove", m, size=48 * MIB)[0] == "ok"


@pytest.fixture
def group():
    """A memory cgroup (v1) of our own."""
    if os.geteuid() != 0 or not (V1_MEMORY / "memory.limit_in_bytes").exists():
        pytest.skip("needs root and a v1 memory controller; the guest test does the same under v2")
    path = V1_MEMORY / f"tr-test-{uuid.uuid4().hex[:8]}"
    path.mkdir()

    def enter(limit_mib, pid):
        (path / "memory.limit_in_bytes").write_text(str(limit_mib << 20))
        (path / "cgroup.procs").write_text(str(pid))
        return lambda: int((path / "memory.usage_in_bytes").read_text())
    yield enter
    wait_for(lambda: not (path / "cgroup.procs").read_text(), 10, "the group's end")
    path.rmdir()


def job_usage(launcher):
    return sum(int(p.read_text()) for p in V1_MEMORY.glob(f"**/tee-rex-{launcher}/slot-*/memory.usage_in_bytes"))


def large_payloads(s, n, mib):
    """n exchanges that send so much and not the end; the codes of those that were refused."""
    m = s.enclave.encrypt(os.urandom(mib << 20))
    open_ones, refused = [], []
    for _ in range(n):
        x = Exchange(s.socket)
        x.send(request("prove", size=len(m)))
        x.socket.settimeout(0.5)
        try:
            refused.append(x.code())
            x.socket.close()
        except TimeoutError:
            x.socket.settimeout(30)
            x.send(b"".join(frame(DATA, m[i:i + MIB]) for i in range(0, len(m), MIB)))
            open_ones.append(x)
    return open_ones, refused


def test_payloads_are_the_provers_memory_and_fit(tmp_path, group):
    """With the budget that its group allows, the service refuses; with a larger one (control) the kernel kills it."""
    with Service(tmp_path, "payload_budget_mib = 48") as s:
        prover, launcher = s.enclave.pid_of("tee-rex-prover"), s.enclave.pid_of("tee-rex-launche")
        usage = group(64, prover)
        jobs_before = job_usage(launcher)
        open_ones, refused = large_payloads(s, 4, 20)
        assert len(open_ones) == 2 and refused == ["no-space"] * 2
        wait_for(lambda: usage() > 39 * MIB, what="the payloads' pages")
        assert job_usage(launcher) - jobs_before < 8 * MIB             # not the jobs'
        for x in open_ones:
            x.socket.close()
        s.enclave.settled(s.before)
        assert s.run("proof 64")[0] == "ok"


def test_without_the_budget_a_payload_kills_the_service(tmp_path, group):
    s = Service(tmp_path, "payload_budget_mib = 192")
    group(64, s.enclave.pid_of("tee-rex-prover"))
    with pytest.raises((ConnectionResetError, BrokenPipeError, EOFError, TimeoutError, ConnectionRefusedError, FileNotFoundError)):
        large_payloads(s, 4, 40)
        call(s.socket, "health")
    assert s.enclave.process.wait(10) == 1
    assert "prover was killed by signal 9" in s.enclave.log.read_text()


def test_a_budget_that_the_group_cannot_hold_is_refused_at_start(tmp_path, group):
    (tmp_path / "config").write_text("payload_budget_mib = 100\nversions_total_mib = 100\n")
    holder = subprocess.Popen(["sh", "-c", f"read x; exec {BUILD}/tee-rex-prover --config {tmp_path}/config"], stdin=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    group(200, holder.pid)
    _, said = holder.communicate("go\n", 10)
    assert holder.returncode == 1
    assert "allows 200 MiB" in said and "are 240 MiB: raise the one or lower the others" in said
