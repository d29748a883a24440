"""What `make install` and `make deb` put where; the units by systemd's own tools; what is needed to come back after an end."""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import uuid

import pytest

from conftest import Program, TOP, wait_for

EXPOSURE_MAX = 2.0                                 # systemd-analyze security, 0 (safe) to 10; each version counts a little differently


def need(program):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (packages.txt, section test)")


def units(prefix):
    return prefix / "lib/systemd/system"


def test_what_is_installed(installed):
    for name in ("bin/tee-rex", "libexec/tee-rex/tee-rex-prover", "lib/systemd/system-generators/tee-rex-generator"):
        assert os.access(installed / name, os.X_OK), name
    for name in ("lib/sysusers.d/tee-rex.conf", "lib/tmpfiles.d/tee-rex.conf", "share/doc/tee-rex/simulation.conf", "share/man/man1/tee-rex.1",
                 "share/man/man5/tee-rex.yaml.5", "share/bash-completion/completions/tee-rex", "lib/pkgconfig/teerex-attest.pc"):
        assert (installed / name).is_file(), name
    example = installed / "share/doc/tee-rex/example.yaml"
    assert subprocess.run([installed / "bin/tee-rex", "config", "check", example]).returncode == 0
    for path in [*units(installed).iterdir(), installed / "lib/systemd/system-generators/tee-rex-generator"]:
        assert "@PREFIX@" not in path.read_text(), path


def test_units_are_valid(installed):
    need("systemd-analyze")
    names = sorted(p.name for p in units(installed).iterdir())
    assert names == ["tee-rex-gateway@.service", "tee-rex-gateway@.socket", "tee-rex-reserve.service", "tee-rex@.service"]
    paths = [units(installed) / n.replace("@.", "@x.") for n in names]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "tee-rex" in line]
    assert not ours and done.returncode == 0, done.stderr


def test_an_invalid_unit_is_seen(installed, tmp_path):
    """The check of the check."""
    need("systemd-analyze")
    bad = tmp_path / "tee-rex@x.service"
    bad.write_text((units(installed) / "tee-rex@.service").read_text().replace("ProtectHome=yes", "ProtectHoome=yes"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", bad], capture_output=True, text=True, timeout=60)
    assert "ProtectHoome" in done.stderr


@pytest.mark.parametrize("name", ["tee-rex@.service", "tee-rex-gateway@.service"])
def test_units_are_tight(installed, name):
    need("systemd-analyze")
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--threshold={int(EXPOSURE_MAX * 10)}", units(installed) / name],
                          capture_output=True, text=True, timeout=60)
    figure = float(re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout).group(1))
    assert done.returncode == 0 and figure <= EXPOSURE_MAX, done.stdout
    row = next(line for line in (TOP / "docs/SERVICE.md").read_text().splitlines() if line.startswith(f"| `{name}`"))
    assert abs(figure - float(row.split("|")[2])) <= 0.3, (figure, row)


def test_users_and_directories(installed, tmp_path):
    need("systemd-sysusers")
    (tmp_path / "etc").mkdir()
    shutil.copytree(installed / "lib/sysusers.d", tmp_path / "usr/lib/sysusers.d")
    shutil.copytree(installed / "lib/tmpfiles.d", tmp_path / "usr/lib/tmpfiles.d")
    done = subprocess.run(["systemd-sysusers", f"--root={tmp_path}", "tee-rex.conf"], capture_output=True, text=True)
    assert done.returncode == 0 and "tee-rex-gateway:x:63902:63902" in (tmp_path / "etc/passwd").read_text(), done.stderr
    if os.geteuid() == 0:
        done = subprocess.run(["systemd-tmpfiles", f"--root={tmp_path}", "--create", "tee-rex.conf"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for d in "run/tee-rex", "var/lib/tee-rex", "etc/tee-rex":
            assert (tmp_path / d).is_dir() and (tmp_path / d).stat().st_mode & 0o777 == 0o755


# --- addresses of sockets: the generator --------------------------------------------------------------------------
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root for an /etc of its own")
def test_the_generator_takes_addresses_from_configurations(installed, tmp_path):
    etc, out = tmp_path / "etc", tmp_path / "out"
    etc.mkdir()
    out.mkdir()
    (etc / "a.yaml").write_text("gateway: {listen: '127.0.0.1:8181'}\n")
    (etc / "b.yaml").write_text("gateway: {listen: 'unix:/run/b.sock', also_listen: ['127.0.0.1:2']}\n")
    (etc / "c.yaml").write_text("gateway: {listen: 'unix:/run/%n'}\n")
    (etc / "d.yaml").write_text("gateway: {lisen: '127.0.0.1:1'}\n")
    (etc / "e.yaml").write_text("# none\n")
    generator = installed / "lib/systemd/system-generators/tee-rex-generator"
    done = subprocess.run(["unshare", "-m", "sh", "-ec", f"mkdir -p /etc/tee-rex; mount --bind {etc} /etc/tee-rex; {generator} {out}"],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    said = {p.parent.name: p.read_text().splitlines()[1:] for p in out.glob("*/listen.conf")}
    assert said == {"tee-rex-gateway@a.socket.d": ["[Socket]", "ListenStream=", "ListenStream=127.0.0.1:8181"],
                    "tee-rex-gateway@b.socket.d": ["[Socket]", "ListenStream=", "ListenStream=/run/b.sock", "ListenStream=127.0.0.1:2"]}
    assert "d.yaml:1: there is no key gateway.lisen" in done.stderr and '"c"' in done.stderr


# --- coming back ----------------------------------------------------------------------------------------------------
@pytest.fixture
def instance(build, short_dir):
    """A configured instance that cannot start for long: its history is written by hand."""
    name = "test-" + uuid.uuid4().hex[:12]
    (short_dir / "measured").write_text("[recipe]\ncrs = none\n")
    (short_dir / f"{name}.yaml").write_text(f"enclave: {{backend: process, config: {short_dir}/measured, state: {short_dir}/nsm}}\n")
    history = pathlib.Path(os.environ["STATE_DIRECTORY"]) / "history" / f"{name}.json"
    history.parent.mkdir(parents=True, exist_ok=True)
    yield build, short_dir, name, history
    history.unlink(missing_ok=True)


def write_history(path, **more):
    now = int(time.time() * 1000)
    path.write_text(json.dumps({"starts": 3, "started_ms": now - 5000, "ended_ms": now, "death_ms": now, "running": False, "quick": 0,
                                "restarts": 0, "death": "of the test", **more}))


@pytest.mark.parametrize("history, seconds", [
    (dict(), 1), (dict(quick=1), 2), (dict(quick=9), 60),
    (dict(running=True, death_ms=0, ended_ms=0), 1),                                       # killed shortly after its start
    (dict(death_ms=0), None),                                                              # stopped in order
    (dict(started_ms=int(time.time() * 1000) - 3600_000), None),                           # a long life
    (dict(started_ms=2**62, quick=2**40), None),                                           # a clock that went back
])
def test_a_start_after_short_lives_waits(instance, history, seconds):
    build, directory, name, path = instance
    write_history(path, **history)
    with Program([build / "tee-rex", "run", directory / f"{name}.yaml", "--backoff"], directory) as run:
        if seconds is None:
            wait_for(lambda: "ready: " in run.stdout, 60, "ready")
            assert "waiting" not in run.stderr
        else:
            wait_for(lambda: f"waiting {seconds} s before the next" in run.stderr, 10, "the wait")
            if seconds > 2:
                assert run.stop() == -signal.SIGTERM and "ready" not in run.stdout         # a stop does not wait
            else:
                wait_for(lambda: "ready: " in run.stdout, 60, "ready")
    said = json.loads(path.read_text())
    if seconds == 1:
        assert said["quick"] == 1 and said["restarts"] == 1


def test_waiting_is_told_to_the_service_manager(instance):
    build, directory, name, path = instance
    write_history(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(directory / "notify"))
        s.settimeout(30)
        with Program([build / "tee-rex", "run", directory / f"{name}.yaml", "--backoff"], directory,
                     env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify")}) as run:
            assert s.recv(200) == b"STATUS=waiting 1 s before the next start"
            assert s.recv(200) == b"READY=1"
            assert run.stop() == 0


def test_a_wrong_configuration_is_not_tried_again(build, short_dir, installed):
    """Exit status 2, which the unit does not restart after."""
    (short_dir / "x.yaml").write_text("enclave: {backend: nitor}\n")
    assert subprocess.run([build / "tee-rex", "run", short_dir / "x.yaml", "--backoff"], capture_output=True).returncode == 2
    assert "RestartPreventExitStatus=2" in (units(installed) / "tee-rex@.service").read_text()


# --- the packages ---------------------------------------------------------------------------------------------------
def test_debian_packages(tmp_path):
    need("dpkg-shlibdeps")
    out = [tmp_path / "one", tmp_path / "two"]
    for d in out:
        done = subprocess.run([TOP / "scripts/make-deb", d], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    names = sorted(p.name for p in out[0].iterdir())
    assert [n.split("_")[0] for n in names] == ["libteerex-attest-dev", "libteerex-attest0", "tee-rex"]
    for n in names:
        assert (out[0] / n).read_bytes() == (out[1] / n).read_bytes(), f"{n}: not the same bytes twice"
    root = tmp_path / "root"
    fields = {}
    for n in names:
        subprocess.run(["dpkg-deb", "-x", out[0] / n, root], check=True)
        fields[n.split("_")[0]] = subprocess.run(["dpkg-deb", "-f", out[0] / n], capture_output=True, text=True, check=True).stdout
    for library in "libc6", "libcurl", "libjansson4", "libyaml-0-2", "libssl3":
        assert library in fields["tee-rex"], library
    multiarch = subprocess.run(["dpkg-architecture", "-qDEB_HOST_MULTIARCH"], capture_output=True, text=True).stdout.strip()
    assert (root / f"usr/lib/{multiarch}/libteerex-attest.so").resolve().exists()
    done = subprocess.run([root / "usr/bin/tee-rex", "run", "--backend", "process", "--measure"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("0="), done.stderr
    # what is measured into images is the same bytes as from make, so the same PCRs
    from conftest import BUILD
    for program in "tee-rex-prover", "tee-rex-launcher", "tee-rex-init":
        assert (root / "usr/libexec/tee-rex" / program).read_bytes() == (BUILD / program).read_bytes()
    for script in "postinst", "prerm", "postrm":
        assert subprocess.run(["sh", "-n", TOP / "packaging/deb" / script]).returncode == 0


def test_the_gateway_takes_the_service_managers_sockets(build, short_dir):
    """Several of one name, as a socket unit hands them over; those that the configuration names are not opened twice; READY=1."""
    with socket.socket() as a, socket.socket() as b, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        for s in a, b:
            s.bind(("127.0.0.1", 0))
            s.listen(16)
        notify.bind(str(short_dir / "notify"))
        notify.settimeout(20)
        (short_dir / "x.yaml").write_text(f"gateway: {{listen: '127.0.0.1:{a.getsockname()[1]}', also_listen: ['127.0.0.1:{b.getsockname()[1]}'], "
                                          f"enclave: 'unix:{short_dir}/none'}}\n")
        script = (f"exec 3<&{a.fileno()} 4<&{b.fileno()}; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=http:http NOTIFY_SOCKET={short_dir}/notify "
                  f"exec {build}/tee-rex gateway {short_dir}/x.yaml")
        with open(short_dir / "log", "wb") as log:
            gateway = subprocess.Popen(["bash", "-c", script], pass_fds=[a.fileno(), b.fileno()], stdout=log, stderr=log)
        try:
            assert notify.recv(100) == b"READY=1", (short_dir / "log").read_text()
            for s in a, b:
                with socket.create_connection(s.getsockname(), 10) as c:
                    c.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert c.recv(100).startswith(b"HTTP/1.1 200")
            assert (short_dir / "log").read_text().count("listening on") == 2
            gateway.terminate()
            assert notify.recv(100).startswith(b"STATUS=draining") and notify.recv(100).startswith(b"STOPPING=1\nEXTEND_TIMEOUT_USEC=")
            assert gateway.wait(20) == 0
        finally:
            gateway.kill()
            gateway.wait()


def test_the_sandbox_leaves_what_run_calls(installed):
    """Calls that the filter's groups would take away and that the Nitro backend makes on hardware only."""
    need("systemd-analyze")
    text = (units(installed) / "tee-rex@.service").read_text()
    allowed = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", text, re.M):
        names = set()
        todo = line.lstrip("~").split()
        while todo:
            word = todo.pop()
            if word.startswith("@"):
                listed = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", word], capture_output=True, text=True, check=True).stdout
                todo += [w for w in listed.split("\n") for w in [w.strip()] if w and not w.startswith(("#",)) and w != word]
            else:
                names.add(word)
        allowed = allowed - names if line.startswith("~") else allowed | names
    for call in ("ioctl", "mmap", "set_mempolicy", "chown", "fchmodat", "flock", "pidfd_open", "epoll_wait", "signalfd4", "accept4", "sendmsg"):
        assert call in allowed, call
    for call in ("ptrace", "bpf", "mount", "setuid", "init_module", "reboot", "swapon", "perf_event_open"):
        assert call not in allowed, call
