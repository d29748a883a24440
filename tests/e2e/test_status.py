"""status, list, logs, console and stop: what they say of real instances, of dead ones, and of one that lies."""
import fcntl
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time
import uuid

import pytest

from conftest import wait_for
from enclave import Enclave, TEE_REX

CONFIG = "[recipe]\ncrs = none\n"


@pytest.fixture
def enclave(tmp_path):
    with Enclave(tmp_path, CONFIG) as e:
        yield e
    forget(e.name)


def history_path(name):
    return pathlib.Path(os.environ["STATE_DIRECTORY"]) / "history" / f"{name}.json"


def forget(name):
    history_path(name).unlink(missing_ok=True)


def tee_rex(*arguments, timeout=30):
    return subprocess.run([TEE_REX, *map(str, arguments)], capture_output=True, text=True, timeout=timeout)


def status(name, code):
    done = tee_rex("status", name, "--json")
    assert done.returncode == code, (done.stdout, done.stderr)
    return json.loads(done.stdout)["instances"][0]


def test_a_running_instance(enclave):
    said = status(enclave.name, 0)
    assert said["state"] == "running" and said["running"] and not said["left_over"] and said["history"]["starts"] == 1
    assert [f"{n}={v}" for n, v in said["instance"]["pcrs"].items()] == enclave.measured()
    assert abs(said["since_ms"] / 1000 - time.time()) < 60
    text = tee_rex("status", enclave.name).stdout
    assert text.startswith(f"{enclave.name}: running since 20") and "process backend, SIMULATED" in text
    assert f"PCR0        {said['instance']['pcrs']['0']}" in text and "queue       0 running, 0 waiting" in text
    assert "last death" not in text
    rows = [line.split() for line in tee_rex("list").stdout.splitlines()]
    assert [enclave.name, "running", "process"] in [r[:3] for r in rows] and rows[0][:2] == ["NAME", "STATE"]


def test_versions_and_stop(tmp_path, short_dir):
    short_dir.chmod(0o755)                                         # the prover, another user, reads it
    program = short_dir / "bb"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    digest = subprocess.run(["sha256sum", program], capture_output=True, text=True).stdout.split()[0]
    with Enclave(tmp_path, f"allow = {digest}\nversion = 5.0.0 {program}\n{CONFIG}") as e:
        assert f"version     5.0.0, sha256 {digest}" in tee_rex("status", e.name).stdout
        done = tee_rex("stop", e.name)
        assert (done.returncode, done.stdout) == (0, f"{e.name}: stopped\n")
        assert e.process.wait(10) == 0
        said = status(e.name, 1)
        assert said["state"] == "stopped" and said["history"]["death"] == "" and "instance" not in said
        for command in "stop", "logs", "console":
            done = tee_rex(command, e.name)
            assert done.returncode == 1 and "does not run" in done.stderr
        forget(e.name)


def test_a_service_that_does_not_answer_is_not_running(enclave):
    pid = enclave.pid_of("tee-rex-prover")
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(2)
        said = status(enclave.name, 1)
        assert said["state"] == "unhealthy" and "does not answer" in said["why"]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert wait_for(lambda: tee_rex("status", enclave.name).returncode == 0, 10)


def test_death_is_remembered_with_its_cause(tmp_path):
    e = Enclave(tmp_path, CONFIG)
    os.kill(e.pid_of("tee-rex-prover"), signal.SIGKILL)
    assert e.process.wait(20) == 1
    said = status(e.name, 1)
    assert said["state"] == "failed" and "prover was killed by signal 9" in said["history"]["death"]
    e.start()                                                      # a restart: what a service manager does
    said = status(e.name, 0)
    assert said["history"]["restarts"] == 1 and "killed by signal 9" in said["history"]["death"]
    assert "last death  20" in tee_rex("status", e.name).stdout
    e.stop()
    e.start()                                                      # after an orderly stop the count begins anew
    assert status(e.name, 0)["history"]["restarts"] == 0
    e.stop()
    forget(e.name)


def test_a_killed_owner(tmp_path):
    e = Enclave(tmp_path, CONFIG)
    children = e.descendants()
    e.kill()
    wait_for(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in children), what="the children's end")
    said = status(e.name, 1)
    assert said["state"] == "killed"
    text = tee_rex("status", e.name).stdout
    assert "no end was written" in text
    # another instance's start may have removed it meanwhile
    assert "left over" in text or not pathlib.Path(e.socket).parent.exists()
    e.start()
    assert status(e.name, 0)["history"]["restarts"] == 1
    e.stop()
    forget(e.name)


def test_a_start_that_fails_is_a_death(tmp_path):
    e = Enclave(tmp_path, "nonsense = 1\n", start=False)
    done = subprocess.run([*e.command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert status(e.name, 1)["state"] == "failed"
    forget(e.name)


def test_nobody_by_that_name():
    done = tee_rex("status", "no-such-instance", "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["error"]["code"] == "no-such-instance"
    for command in "stop", "logs", "console", "status":
        done = tee_rex(command, "no-such-instance")
        assert done.returncode == 1 and "there is no instance" in done.stderr
        assert tee_rex(command, "a b").returncode == 2
    assert "which instance" in tee_rex("stop").stderr


def test_production_mode_explains_its_console(enclave):
    done = tee_rex("console", enclave.name)
    assert done.returncode == 1 and "no console" in done.stderr


def test_a_broken_history_costs_nothing_else(enclave):
    history_path(enclave.name).write_text("[]")
    assert status(enclave.name, 0)["state"] == "running"


# --- an instance that lies -------------------------------------------------------------------------------------------
class Liar:
    """Holds an instance's lock and answers on its admin socket with whatever it was given."""

    def __init__(self, answer):
        base = pathlib.Path("/run/tee-rex" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", f"/tmp/tee-rex-{os.geteuid()}") + "/tee-rex")
        self.name = "liar-" + uuid.uuid4().hex[:8]
        self.dir = base / self.name
        self.dir.mkdir(parents=True)
        self.lock = open(self.dir / "lock", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.answer = answer
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(self.dir / "admin.sock"))
        self.server.listen(16)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                s, _ = self.server.accept()
                s.recv(1000)
                s.sendall(self.answer)
                s.shutdown(socket.SHUT_WR)
            except OSError:
                return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        for f in "admin.sock", "lock":
            (self.dir / f).unlink(missing_ok=True)
        self.lock.close()
        self.dir.rmdir()
        forget(self.name)


EVIL = "\x1b]0;owned\x07\x9b31m\u202e\n"


def clean(text):
    return all(c == "\n" or " " <= c <= "~" for c in text)


def test_what_an_instance_says_is_escaped():
    says = {"ok": True, "phase": "running", "backend": EVIL, "simulated": True, "service": EVIL, "gateway": EVIL, "pid": -1, "uptime_ms": 10**15,
            "pcrs": {EVIL: EVIL, "0": 7}, "health": {"answers": True, "answered_ms_ago": 1, "versions": {EVIL: EVIL, "x": None}},
            "control": {"total_bytes": 64 << 20, "available_bytes": 5 << 20, "events_lost": 3, "last_death": EVIL,
                        "owners": [{"name": EVIL, "state": EVIL, "bytes": -1, "restarts": 2}, 7] + [{}] * 100}}
    events = [{"kind": EVIL, "ms": "x", EVIL: EVIL, "text": EVIL * 300}]
    with Liar(b"".join(json.dumps(j).encode() + b"\n" for j in [says, *events])) as liar:
        for command in ["status"], ["list"], ["logs"], ["logs", "--json"], ["status", "--json"]:
            done = tee_rex(*command, *([] if command == ["list"] else [liar.name]))
            assert done.returncode in (0, 1) and clean(done.stdout) and clean(done.stderr), (command, done.stdout)
            assert len(done.stdout) < 100_000
        text = tee_rex("status", liar.name).stdout
        assert "\\x1b" in text and "64 MiB, 5 MiB available" in text and "3 events were lost" in text
    with Liar(b'{"ok":true}\n' + EVIL.encode() + b"\0\n" + b"line\r\nnext\n") as liar:
        done = tee_rex("console", liar.name)
        assert done.returncode == 0 and clean(done.stdout) and done.stdout.endswith("line\nnext\n")
    with Liar(json.dumps({"ok": False, "error": EVIL}).encode() + b"\n") as liar:
        done = tee_rex("stop", liar.name)
        assert done.returncode == 1 and clean(done.stderr) and "\\x1b" in done.stderr


@pytest.mark.parametrize("answer, said", [(b"", "hung up"), (b"x" * 200_000, "hung up"), (b"[]\n", "no JSON object"), (b"nonsense\n", "no JSON object"),
                                          (b'{"ok":true,"phase":"\\u0000"}\n', "no JSON object")], ids=["nothing", "endless", "list", "text", "zero"])
def test_an_instance_that_makes_no_sense_is_unreachable(answer, said):
    with Liar(answer) as liar:
        got = status(liar.name, 1)
        assert got["state"] == "unreachable" and said in got["why"]


def test_a_ring_that_begins_inside_a_line():
    with Liar(b'{"ok":true}\nnd":"boot"}\n{"ms":1500,"kind":"boot","stage":"mounts"}\n' + b"[" * 100_000 + b"\n" + b'{"ms":2000,"kind":"log","service":"prover","text":"hello"}\n') as liar:
        assert tee_rex("logs", liar.name).stdout == "      1.500 boot mounts\n      2.000 log prover: hello\n"


def test_a_dead_socket_beside_a_held_lock():
    with Liar(b"") as liar:
        (liar.dir / "admin.sock").unlink()
        got = status(liar.name, 1)
        assert got["state"] == "unreachable" and "No such file" in got["why"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace")
@pytest.mark.parametrize("command", ["list", "status"])
@pytest.mark.parametrize("there,said", [(63, False), (65, True)])
def test_what_is_not_shown_is_said(command, there, said):
    os.makedirs("/run/tee-rex", mode=0o755, exist_ok=True)
    script = ('mount -t tmpfs -o mode=755 t /run/tee-rex; mkdir -p /etc/tee-rex; mount -t tmpfs -o mode=755 t /etc/tee-rex; '
              'for i in $(seq "$1"); do : >"/etc/tee-rex/i$i.yaml"; done; exec "$2" "$3" --json')
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(there), TEE_REX, command],
                          capture_output=True, text=True)
    assert len(json.loads(done.stdout)["instances"]) == min(there, 64)
    assert ("there may be more" in done.stderr) is said, done.stderr
