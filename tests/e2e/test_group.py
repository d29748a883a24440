"""`tee-rex run --backend process` as a group of programs: however it ends, and whoever runs it, nothing is left behind."""
import glob
import os
import pathlib
import shutil
import signal
import subprocess

import pytest

from conftest import BUILD, wait_for
from enclave import TEE_REX, Enclave, gone
from frames import Exchange, body, call, request
from launcher_peer import EVIL
from test_service import config

USER = 65533                                   # nobody in particular
PROGRAMS = ["tee-rex", "tee-rex-prover", "tee-rex-launcher", "tee-rex-sim-nsm"]
# its name in /proc, and as the group's supervisor calls it
MEMBERS = {"tee-rex-prover": "prover", "tee-rex-launche": "launcher", "tee-rex-sim-nsm": "sim-nsm", "tee-rex": "gateway"}


def left_behind(launcher):
    return glob.glob(f"/sys/fs/cgroup/**/tee-rex-{launcher}*", recursive=True)


class Group:
    """An enclave with a gateway and a job of a dozen processes in it, all as root or all as an ordinary user."""

    def __init__(self, directory, user, port):
        self.directory = directory
        prefix = ()
        if user is not None:
            for name in PROGRAMS:              # where this user can get at them
                shutil.copy(BUILD / name, directory)
            os.chown(directory, user, user)
            prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "env", "-u", "XDG_RUNTIME_DIR", f"HOME={directory}"]
        self.enclave = Enclave(directory, config(), ["--gateway", f"127.0.0.1:{port}"], prefix=prefix, start=False)
        if user is not None:
            self.enclave.command[len(prefix)] = directory / "tee-rex"
            for path in self.enclave.config, self.enclave.log:
                path.touch()
                os.chown(path, user, user)
        self.enclave.start()
        self.enclave.upload("1.0", EVIL)
        self.launcher = self.enclave.pid_of("tee-rex-launche")
        self.base = pathlib.Path(self.enclave.socket).parent
        self.job = self.start_job()

    def start_job(self):
        before = len(self.enclave.descendants())
        message = self.enclave.encrypt(b"tree-hang\n")
        x = Exchange(self.enclave.socket)
        x.send(request("prove", size=len(message)) + body(message))
        assert x.receive()[1]["stage"] == "proving"
        wait_for(lambda: len(self.enclave.descendants()) >= before + 8, what="the job's tree")
        self.pids = [*self.enclave.descendants(), self.enclave.process.pid]
        return x

    def close(self):
        self.job.socket.close()
        if self.enclave.process.poll() is None:
            self.enclave.process.kill()
        self.enclave.process.wait()
        self.enclave.process.stdout.close()
        self.enclave.log_file.close()

    def ended(self):
        """No process, no cgroup, no runtime directory."""
        assert gone(self.pids)
        assert not left_behind(self.launcher)
        return not self.base.exists()


@pytest.fixture(params=["root", "user"] if os.geteuid() == 0 else ["user"])
def group(request, short_dir, free_port):
    g = Group(short_dir, USER if os.geteuid() == 0 and request.param == "user" else None, free_port)
    yield g
    g.close()
    if g.base.parent.name == f"tee-rex-{USER}":
        shutil.rmtree(g.base.parent, ignore_errors=True)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopping_leaves_nothing(group, stop):
    assert call(group.enclave.socket, "health")["jobs_running"] == 1
    group.job.socket.close()                   # or it would be waited for
    assert group.enclave.stop(stop) == 0
    assert group.ended()


def test_a_second_signal_does_not_wait_for_the_job(group):
    group.enclave.process.send_signal(signal.SIGINT)
    wait_for(lambda: "finishing" in group.enclave.log.read_text(), what="the first signal's effect")
    assert group.enclave.stop(signal.SIGINT, 5) == 0
    assert group.ended()


@pytest.mark.parametrize("victim", MEMBERS)
def test_a_lost_program_ends_the_group_with_its_name(group, victim):
    os.kill(group.enclave.pid_of(victim), signal.SIGKILL)
    assert group.enclave.process.wait(20) == 1
    assert f"{MEMBERS[victim]} was killed by signal 9" in group.enclave.log.read_text()
    assert group.ended()


def test_kill_9_of_run_takes_everybody_along_and_the_name_is_free_again(group):
    group.enclave.process.kill()
    group.enclave.process.wait()
    group.ended()                              # but for the directory, which the next start removes
    group.enclave.start()
    assert call(group.enclave.socket, "health").get("uptime_ms", 0) < 60_000
    assert group.enclave.stop() == 0
    assert group.ended()


def test_what_is_not_enforced_is_said_once_in_plain_words(group):
    """To an ordinary user; to root there is nothing to say."""
    said = group.enclave.log.read_text()
    lines = [line for line in said.splitlines() if "not enforced: " in line]
    guards = [line.split("not enforced: ")[1].split(":")[0] for line in lines]
    assert len(guards) == len(set(guards)), said
    assert said.count("SIMULATED") >= 1
    if group.enclave.command[0] == "setpriv" or os.geteuid() != 0:
        assert "uid" in guards and all(len(line.split("not enforced: ")[1].split(": ", 1)[1]) > 15 for line in lines), said
    else:
        assert guards == [], said
    # and none more for each job
    group.job.socket.close()
    before = len(said)
    assert group.enclave.prove(group.enclave.encrypt(b"proof 64\n"))[0] == "ok"
    assert "not enforced" not in group.enclave.log.read_text()[before:]


def test_two_with_one_name(tmp_path):
    with Enclave(tmp_path, config()) as e:
        second = subprocess.run(e.command, capture_output=True, text=True)
        assert second.returncode == 1 and "runs already" in second.stderr
        assert call(e.socket, "health")


def test_bad_configuration_is_named(tmp_path):
    config_file = tmp_path / "bad"
    config_file.write_text("slots = 4\nslotz = 4\n")
    done = subprocess.run([TEE_REX, "run", "--backend", "process", "--name", "bad", "--config", config_file, "--state", tmp_path / "nsm"],
                          capture_output=True, text=True)
    assert done.returncode == 1
    assert "slotz" in done.stderr and "slots" in done.stderr
