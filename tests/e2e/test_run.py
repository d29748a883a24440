"""`tee-rex run` as its operator and its service manager see it: the admin socket, READY and WATCHDOG, the runtime directory."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import pytest

from conftest import BUILD, wait_for
from enclave import Enclave

CONFIG = "[recipe]\ncrs = none\n"


@pytest.fixture
def enclave(tmp_path):
    with Enclave(tmp_path, CONFIG) as e:
        yield e


def admin(enclave):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(str(pathlib.Path(enclave.socket).parent / "admin.sock"))
    return s


def ask(enclave, line):
    with admin(enclave) as s:
        s.sendall(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
        return json.loads(s.makefile("rb").readline())


def test_status(enclave):
    status = ask(enclave, {"verb": "status"})
    assert status["ok"] and status["phase"] == "running" and status["backend"] == "process" and status["simulated"]
    assert status["name"] == enclave.name and status["pid"] == enclave.process.pid
    assert status["service"] == f"unix:{enclave.socket}" and status["health"]["answers"]
    assert [f"{n}={v}" for n, v in status["pcrs"].items()] == enclave.measured()


@pytest.mark.parametrize("line,said", [
    (b"\n", "a request is one line"), (b"[]\n", "a request is one line"), (b'{"verb":7}\n', "a request is one line"),
    (b'{"verb":"status","verb":"stop"}\n', "a request is one line"), (b'{"verb":"reboot"}\n', "no such verb"),
    (b"x" * 5000, "too long"), (b'{"verb":"console"}\n', "no console")])
def test_what_is_no_request_is_refused(enclave, line, said):
    answer = ask(enclave, line)
    assert answer["ok"] is False and said in answer["error"]
    assert ask(enclave, {"verb": "status"})["ok"]


def test_peers_that_say_nothing_keep_nobody_out_for_ever(enclave):
    idle = [admin(enclave) for _ in range(16)]
    assert ask(enclave, {"verb": "status"})["ok"]                  # after the idle ones' ten seconds
    for s in idle:
        s.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
def test_others_are_not_heard(enclave):
    path = pathlib.Path(enclave.socket).parent / "admin.sock"
    script = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r})"
    done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", script], capture_output=True, text=True)
    assert "PermissionError" in done.stderr
    path.chmod(0o666)                                              # the socket's mode is not the only guard
    script += "; s.sendall(b'{\"verb\":\"status\"}\\n'); print(s.recv(100))"
    done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", script], capture_output=True, text=True)
    assert "b''" in done.stdout or "Error" in done.stderr


@pytest.mark.parametrize("force", [False, True])
def test_stop_answers_at_once_and_hangs_up_at_the_end(enclave, force):
    with admin(enclave) as s, s.makefile("rb") as f:
        s.sendall(json.dumps({"verb": "stop", "force": force}).encode() + b"\n")
        assert json.loads(f.readline()) == {"ok": True}
        assert f.read() == b""
    assert enclave.process.wait(10) == 0
    assert not pathlib.Path(enclave.socket).parent.exists()


def test_logs_follow(enclave):
    with admin(enclave) as s, s.makefile("rb") as f:
        s.sendall(b'{"verb":"logs","follow":true}\n')
        assert json.loads(f.readline()) == {"ok": True}
        enclave.stop()
        f.read()


def test_the_service_manager_is_told(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / "notify"))
        s.settimeout(20)
        prefix = ["env", f"NOTIFY_SOCKET={tmp_path}/notify", "WATCHDOG_USEC=600000"]
        with Enclave(tmp_path, CONFIG, prefix=prefix) as e:
            assert s.recv(100) == b"READY=1"
            assert s.recv(100) == b"WATCHDOG=1" and s.recv(100) == b"WATCHDOG=1"
            # a service that is stuck feeds no watchdog
            os.kill(e.pid_of("tee-rex-prover"), signal.SIGSTOP)
            s.settimeout(1)
            with pytest.raises(TimeoutError):
                while True:
                    s.recv(100)
            os.kill(e.pid_of("tee-rex-prover"), signal.SIGCONT)
            s.settimeout(20)
            assert s.recv(100) == b"WATCHDOG=1"
            e.process.terminate()
            while s.recv(100) != b"STOPPING=1":
                pass


def test_what_a_killed_instance_left_is_removed_by_the_next_start_of_any(enclave, tmp_path):
    left = pathlib.Path(enclave.socket).parent
    children = enclave.descendants()
    enclave.kill()
    wait_for(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in children), what="the children's end")
    assert left.exists()
    (tmp_path / "other").mkdir()
    with Enclave(tmp_path / "other", CONFIG) as other:
        assert not left.exists() and pathlib.Path(other.socket).parent.exists()


def test_two_of_one_name_are_refused(enclave):
    start = time.monotonic()
    done = subprocess.run(enclave.command, capture_output=True, text=True)
    assert done.returncode == 1 and "runs already" in done.stderr and time.monotonic() - start < 5
    assert ask(enclave, {"verb": "status"})["ok"]                  # the first is not disturbed


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
def test_nothing_is_kept_where_anybody_could_be_first(short_dir):
    """An ordinary user without HOME: a fixed name below /tmp could be somebody else's directory, or link."""
    for program in "tee-rex", "tee-rex-prover":                    # where this user can get at them
        shutil.copy(BUILD / program, short_dir)
    short_dir.chmod(0o777)
    done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", short_dir / "tee-rex", "run", "--backend", "process"],
                          env={"XDG_RUNTIME_DIR": str(short_dir), "PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "HOME" in done.stderr and "--state" in done.stderr, done.stderr
    assert not pathlib.Path("/tmp/.local").exists()
