"""Two hundred jobs that end by memory, deadline, crash and a client who leaves, in random order and four at a time, through the whole
service: every answer is right, a job that is left is gone within a second, and afterwards nothing is there that was not before."""
import concurrent.futures
import os
import pathlib
import random
import re
import signal
import threading
import time

import pytest

from conftest import wait_for
from enclave import Enclave, sha256
from frames import Exchange, body, call, request
from launcher_peer import EVIL

JOBS, AT_ONCE, SEED = 200, 4, 20261128

CONFIG = """
allow = {evil}
slots = {slots}
jobs = {at_once}
[recipe]
arg = evil
arg = {{input}}
arg = {{output_dir}}
crs = none
ro = /nonexistent
memory_mib = 16
deadline_s = 2
pids_max = 32
uid_base = {uid}
"""

# kind: what the job does (the last word is its own name), the answer it must get
KINDS = {
    "memory": (["eat {id}", "eat-child {id}", "eat-shared {id}"], "out-of-memory"),
    "timeout": (["hang {id}", "stubborn {id}", "tree-hang {id}", "spin {id}", "output-forever {id}"], "timed-out"),
    "crash": (["segv {id}", "abort {id}", "raise 9 {id}", "raise 7 {id}"], "crashed"),
    "cancel": (["tree-hang {id}", "hang {id}", "stubborn {id}", "output-forever {id}"], "cancelled"),
}
SIGNALS = {"segv": signal.SIGSEGV, "abort": signal.SIGABRT, "raise 9": signal.SIGKILL, "raise 7": signal.SIGBUS}


def job_processes(uid, name=None):
    """Of the users uid … uid + 15; name: of the job whose input says so."""
    found = []
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            owner = int(re.search(r"^Uid:\t(\d+)", status.read_text(), re.M)[1])
            if not uid <= owner < uid + 16:
                continue
            if name is None or name in (status.parent / "root/job/input").read_text():
                found.append(int(status.parent.name))
        except (OSError, TypeError, UnicodeDecodeError):
            continue
    return found


class Storm:
    def __init__(self, enclave, uid):
        self.enclave, self.uid = enclave, uid
        self.lock = threading.Lock()
        self.gone_after = []

    def message(self, act):
        with self.lock:                     # the enclave's files are shared
            return self.enclave.encrypt(act.encode() + b"\n")

    def cancel(self, x, name, whole):
        """Leaves, and waits for the end of everything that was there."""
        tree = wait_for(lambda: len(p := job_processes(self.uid, name)) >= whole and p, 10, f"the processes of {name}")
        x.socket.close()
        left = time.monotonic()
        while any(os.path.exists(f"/proc/{pid}") for pid in tree) and time.monotonic() < left + 10:
            time.sleep(0.002)
        with self.lock:
            self.gone_after.append(time.monotonic() - left)
        return "cancelled", {}

    def run(self, job):
        kind, act = job
        message = self.message(act)
        with Exchange(self.enclave.socket) as x:
            x.send(request("prove", size=len(message)) + body(message))
            if kind == "cancel":
                # the keeper, the program, and of a tree: two that hang, four daemons, four stopped ones
                return self.cancel(x, act.split()[-1], 12 if act.startswith("tree") else 2)
            kind, payload = x.answer()
            return payload.get("code", "ok"), payload


def counted(socket, code):
    found = re.search(rf'^teerex_prover_requests_total{{op="prove",code="{code}"}} (\d+)$', call(socket, "metrics")["metrics"], re.M)
    return int(found[1]) if found else 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs users and cgroups of the jobs' own")
def test_two_hundred_ends(tmp_path):
    rng = random.Random(SEED)
    uid = 100_000 + os.getpid() % 10_000 * 16
    todo = [(kind, rng.choice(KINDS[kind][0]).format(id=f"job-{i}-{rng.getrandbits(64):x}"))
            for i, kind in enumerate(list(KINDS) * (JOBS // len(KINDS)))]
    rng.shuffle(todo)
    with Enclave(tmp_path, CONFIG.format(evil=sha256(EVIL), slots=2 * AT_ONCE, at_once=AT_ONCE, uid=uid)) as e:
        e.upload("1.0", EVIL)
        assert e.prove(e.encrypt(b"proof 64\n"))[0] == "ok"
        before, rss = e.snapshot(), e.rss_kib("tee-rex-prover")
        storm = Storm(e, uid)
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(storm.run, todo))
        wrong = [(job, answer) for job, answer in zip(todo, answers) if answer[0] != KINDS[job[0]][1]]
        assert not wrong, wrong
        for (kind, act), (_, answer) in zip(todo, answers):
            if kind == "memory":
                assert answer["limit_bytes"] == 16 << 20 and 0 < answer["peak_bytes"] <= 16 << 20
            if kind == "crash":
                assert answer["signal"] == next(n for word, n in SIGNALS.items() if act.startswith(word))
        assert len(storm.gone_after) == JOBS // 4 and max(storm.gone_after) < 1.0, sorted(storm.gone_after)[-5:]
        # nothing is left, and it works
        e.settled(before)
        assert not job_processes(uid)
        assert e.prove(e.encrypt(b"proof 64\n"))[0] == "ok"
        assert {code: counted(e.socket, code) for _, code in KINDS.values()} == {code: JOBS // 4 for _, code in KINDS.values()}
        assert counted(e.socket, "ok") == 2
        assert e.rss_kib("tee-rex-prover") <= rss + 1024
        print(f"left jobs were gone after {sorted(storm.gone_after)[len(storm.gone_after) // 2] * 1000:.0f} ms (median), "
              f"{max(storm.gone_after) * 1000:.0f} ms at most")
