"""The units under a real systemd: a Debian 13 root, booted in a container, with our package installed. What ends whom, what comes
back and what stays away. Slow: the root is made once (debootstrap) and kept in the cache."""
import os
import pathlib
import shutil
import subprocess
import textwrap

import pytest

from conftest import TOP

pytestmark = pytest.mark.slow
PACKAGES = ("systemd systemd-sysv dbus libcurl4t64 libjansson4 libyaml-0-2 liblz4-1 libzstd1 libssl3t64 zlib1g curl procps").split()

SCRIPT = r"""#!/bin/bash
# every line: NAME=WHAT WAS SEEN
exec >/out/result 2>/out/errors
show() { systemctl show "$1" -p "$2" --value; }
wait_active() { for _ in $(seq 100); do [ "$(show "$1" ActiveState)" = active ] && return; sleep 0.1; done; }
wait_restart() { for _ in $(seq 200); do [ "$(show "$1" NRestarts)" -ge "$2" ] && break; sleep 0.1; done; wait_active "$1"; }
child() { pgrep -P "$(show tee-rex@prover MainPID)" -f "$1" | head -n 1; }
health() { curl -s -m 20 http://127.0.0.1:8181/health | grep -o '"enclave":"[a-z]*"'; }

systemctl start tee-rex@prover; echo "start=$?"
echo "active=$(show tee-rex@prover ActiveState)"
tee-rex status prover >/dev/null; echo "status=$?"
echo "gateway_before=$(show tee-rex-gateway@prover ActiveState)"
echo "health=$(health)"
echo "gateway_after=$(show tee-rex-gateway@prover ActiveState) $(show tee-rex-gateway@prover User)"

kill -KILL "$(child tee-rex-prover)"; wait_restart tee-rex@prover 1
echo "after_crash=$(show tee-rex@prover ActiveState) $(show tee-rex@prover NRestarts) $(tee-rex status prover | grep -c 'prover was killed by signal 9')"
echo "health_after_crash=$(health)"
kill -KILL "$(show tee-rex@prover MainPID)"; wait_restart tee-rex@prover 2
echo "after_owner_killed=$(show tee-rex@prover ActiveState) $(show tee-rex@prover NRestarts)"
systemctl kill -s KILL --kill-whom=all tee-rex@prover; wait_restart tee-rex@prover 3
echo "after_all_killed=$(show tee-rex@prover ActiveState) $(show tee-rex@prover NRestarts)"
kill -STOP "$(child tee-rex-prover)"; wait_restart tee-rex@prover 4
echo "after_stuck=$(show tee-rex@prover ActiveState) $(show tee-rex@prover NRestarts) $(journalctl -u tee-rex@prover | grep -ci 'watchdog timeout')"

tee-rex stop prover >/dev/null; echo "stop=$?"; sleep 4
echo "after_stop=$(show tee-rex@prover ActiveState) $(show tee-rex@prover Result)"
systemctl start tee-rex@prover; echo "start_again=$? $(show tee-rex@prover ActiveState)"
systemctl start tee-rex@other; echo "other=$? $(tee-rex list | grep -c running)"
systemctl stop tee-rex@prover; echo "systemctl_stop=$? $(show tee-rex@prover ActiveState) $(show tee-rex@other ActiveState)"

systemctl start tee-rex@wrong; sleep 3
echo "wrong=$(show tee-rex@wrong ActiveState) $(show tee-rex@wrong NRestarts) $(show tee-rex@wrong ExecMainStatus)"
systemctl start tee-rex@hardware; echo "hardware=$? $(journalctl -u tee-rex@hardware | grep -c "is the driver nitro_enclaves loaded")"
systemctl stop tee-rex@hardware
dpkg -P tee-rex >/dev/null 2>&1; echo "purge=$? $(pgrep -c tee-rex) $(ls -d /var/lib/tee-rex 2>/dev/null | wc -l)"
journalctl --no-pager >/out/journal
systemctl poweroff
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("only root can make and boot a root file system")
    for program in "systemd-nspawn", "debootstrap", "dpkg-shlibdeps":
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (packages.txt, sections test and slow)")
    cache = pathlib.Path(os.environ.get("TEE_REX_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tee-rex")
    work = tmp_path_factory.mktemp("service")
    base, out = cache / "service-root", work / "out"
    subprocess.run([TOP / "scripts/trixie-root", base, *PACKAGES], check=True, timeout=1800)
    subprocess.run([TOP / "scripts/make-deb", work / "deb"], check=True, timeout=600)
    out.mkdir()
    layer, root = work / "layer", work / "root"
    layer.mkdir()
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", layer], check=True)
    try:
        (layer / "upper").mkdir()
        (layer / "work").mkdir()
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={base},upperdir={layer}/upper,workdir={layer}/work", root], check=True)
        try:
            prepare(root, work)
            # what it says on its console is not ours; a boot that hangs is killed
            done = subprocess.run([*nspawn(root), f"--bind={out}:/out", "-b"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
            result = (out / "result").read_text() if (out / "result").exists() else done.stdout + done.stderr
        finally:
            subprocess.run(["umount", "-l", root])
    finally:
        subprocess.run(["umount", "-l", layer])
    journal = (out / "journal").read_text() if (out / "journal").exists() else ""
    print(result, (out / "errors").read_text() if (out / "errors").exists() else "", journal[-6000:])
    return dict(line.split("=", 1) for line in result.splitlines() if "=" in line)


def nspawn(root):
    return ["systemd-nspawn", "-q", "-D", str(root), "--register=no", "--keep-unit", "--private-network", "--capability=all",
            "--system-call-filter=@memlock @mount @resources seccomp", "--machine=tee-rex-test"]


def prepare(root, work):
    for deb in (work / "deb").glob("tee-rex_*.deb"):
        shutil.copy(deb, root / "tee-rex.deb")
    subprocess.run([*nspawn(root), "dpkg", "-i", "/tee-rex.deb"], check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    etc = root / "etc/tee-rex"
    (etc / "prover.conf").write_text("[recipe]\ncrs = none\n[isolation]\nall = degrade\n")
    for name, more in ("prover", "gateway: {listen: '127.0.0.1:8181'}"), ("other", ""):
        (etc / f"{name}.yaml").write_text(f"enclave: {{backend: process, config: /etc/tee-rex/prover.conf}}\n{more}\n")
        drop = root / f"etc/systemd/system/tee-rex@{name}.service.d"
        drop.mkdir(parents=True)
        shutil.copy(TOP / "packaging/systemd/simulation.conf", drop)
        (drop / "watchdog.conf").write_text("[Service]\nWatchdogSec=3\n")
    (etc / "wrong.yaml").write_text("enclave: {backend: nitor}\n")
    (etc / "hardware.yaml").write_text("enclave: {backend: nitro, image: /app.eif}\n")
    shutil.copy(TOP / "tests/vectors/eif/good.eif", root / "app.eif") if (TOP / "tests/vectors/eif/good.eif").exists() else (root / "app.eif").touch()
    (root / "test.sh").write_text(SCRIPT)
    (root / "test.sh").chmod(0o755)
    unit = root / "etc/systemd/system/seen.service"
    unit.write_text(textwrap.dedent("""\
        [Unit]
        After=multi-user.target
        [Service]
        ExecStart=/test.sh
        TimeoutStopSec=5
        """))
    wants = root / "etc/systemd/system"
    for target, name in (("multi-user.target", "seen.service"), ("sockets.target", "tee-rex-gateway@prover.socket")):
        (wants / f"{target}.wants").mkdir(exist_ok=True)
        source = "/etc/systemd/system/seen.service" if name == "seen.service" else "/usr/lib/systemd/system/tee-rex-gateway@.socket"
        (wants / f"{target}.wants" / name).symlink_to(source)


def test_start_means_that_the_service_answers(seen):
    assert (seen["start"], seen["active"], seen["status"]) == ("0", "active", "0")


def test_the_gateway_starts_with_its_first_client(seen):
    assert seen["gateway_before"] == "inactive" and seen["health"] == '"enclave":"ok"'
    assert seen["gateway_after"] == "active tee-rex-gateway"


@pytest.mark.parametrize("what, wanted", [("after_crash", "active 1 1"), ("after_owner_killed", "active 2"), ("after_all_killed", "active 3")])
def test_it_comes_back(seen, what, wanted):
    assert seen[what] == wanted
    assert seen["health_after_crash"] == '"enclave":"ok"'


def test_a_stuck_service_is_ended_by_the_watchdog(seen):
    state, restarts, timeouts = seen["after_stuck"].split()
    assert (state, restarts) == ("active", "4") and int(timeouts) >= 1


def test_what_was_stopped_stays_stopped_and_starts_again(seen):
    assert (seen["stop"], seen["after_stop"], seen["start_again"]) == ("0", "inactive success", "0 active")
    assert seen["systemctl_stop"] == "0 inactive active"                                   # the other one goes on


def test_several_by_name(seen):
    assert seen["other"] == "0 2"


def test_a_wrong_configuration_is_not_tried_again(seen):
    assert seen["wrong"] == "failed 0 2"


def test_hardware_that_is_not_there_is_named(seen):
    status, said = seen["hardware"].split()
    assert status != "0" and int(said) >= 1


def test_purging_the_package_ends_what_runs(seen):
    assert seen["purge"] == "0 0 0"
