"""tee-rex doctor over a parent instance made of files: silent on a healthy one, and one planted fault for each finding."""
import contextlib
import json
import os
import re
import subprocess
import sys
import time

import pytest

from conftest import TOP
from parent_host import ALLOCATOR, NE_CPUS, PAGES, ParentHost

sys.path.insert(0, str(TOP / "tests" / "vectors"))
import make_eifs as eifs  # noqa: E402  (needs the path)

IMAGE = "var/lib/tee-rex/images/prover.eif"
SETTINGS = "etc/tee-rex/prover.yaml"
QUIET = eifs.LINE + b" quiet"


def make_image(line=QUIET, ramdisk=None, metadata=None):
    replaced = {eifs.CMDLINE: line, eifs.METADATA: metadata or eifs.metadata()}
    parts = [(kind, replaced.get(kind, payload)) for kind, payload in eifs.MEASURED]
    if ramdisk is not None:
        parts[-1] = (eifs.RAMDISK, ramdisk)
    return eifs.Image(parts).pack()


def built_by(tool, **docker_info):
    return eifs.metadata(BuildMetadata={**eifs.identity()["BuildMetadata"], "BuildTool": tool}, DockerInfo=docker_info)


class Host(ParentHost):
    """Everything as it should be."""

    def __init__(self, root):
        super().__init__(root)
        self.put("sys/devices/virtual/dmi/id/sys_vendor", "Amazon EC2\n")
        self.put("sys/bus/pci/devices/0000:00:1e.0/vendor", "0x1d0f\n")
        self.put("sys/bus/pci/devices/0000:00:1e.0/device", "0xe4c1\n")
        self.put("sys/bus/pci/devices/0000:00:1f.0/vendor", "0x1d0f\n")
        self.put("sys/bus/pci/devices/0000:00:1f.0/device", "0xec20\n")
        self.put("dev/nitro_enclaves", "")
        self.put("dev/vsock", "")
        self.put("proc/sys/kernel/osrelease", "6.1.115-126.197.amzn2023.x86_64\n")
        self.put("proc/vmstat", "nr_free_pages 1\noom_kill 0\n")
        self.put("sys/class/rtc/rtc0/since_epoch", f"{int(time.time())}\n")
        self.process(300, "/usr/sbin/chronyd", "-F", "2")
        self.process(301, "/usr/bin/tee-rex", "run", "prover")
        self.put("etc/sysctl.d/99-local.conf", "# vm.nr_hugepages = 5\nvm.swappiness = 1\n")
        self.put("etc/systemd/system/tee-rex@.service", "[Service]\nType=notify\nExecStart=/usr/bin/tee-rex run %i\n")
        self.link("etc/systemd/system/multi-user.target.wants/tee-rex@prover.service")
        self.link("etc/systemd/system/sysinit.target.wants/tee-rex-reserve.service")
        self.put(SETTINGS, "enclave:\n  backend: nitro\n  image: /var/lib/tee-rex/images/prover.eif\n  memory_mib: 448\n")
        self.put_bytes(IMAGE, make_image())

    def put_bytes(self, path, data):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(data)

    def link(self, path):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).symlink_to("/usr/lib/systemd/system/somewhere.service")

    def process(self, pid, *argv, fds=(), limit=1024):
        self.put(f"proc/{pid}/cmdline", "\0".join(argv) + "\0")
        self.put(f"proc/{pid}/limits", f"Limit                     Soft Limit           Hard Limit           Units\n"
                                       f"Max open files            {limit}                 {limit}                 files\n")
        (self.root / f"proc/{pid}/fd").mkdir(parents=True, exist_ok=True)
        for n, target in enumerate(fds):
            (self.root / f"proc/{pid}/fd/{n}").symlink_to(target)

    def offline(self, cpus, rest):
        self.put(NE_CPUS, f"{cpus}\n")
        self.put("sys/devices/system/cpu/online", f"{rest}\n")

    def unit(self, text, name="enclave.service"):
        self.put(f"etc/systemd/system/{name}", f"[Unit]\nDescription=nitro-cli run-enclave --debug-mode /tmp/x.eif\n[Service]\n{text}\n")

    def second_node(self):
        """Cores 2 and 3, with their siblings, are on node 1."""
        self.put("sys/devices/system/node/online", "0-1\n")
        self.put("sys/devices/system/node/node1/meminfo", f"Node 1 MemTotal: {8 << 20} kB\nNode 1 MemFree: {4 << 20} kB\n")
        for cpu in (2, 3, 6, 7):
            self.remove(f"sys/devices/system/cpu/cpu{cpu}/node0")
            self.put(f"sys/devices/system/cpu/cpu{cpu}/node1/there", "")


@pytest.fixture
def host(tmp_path, build):
    host = Host(tmp_path / "root")
    reserved = subprocess.run([build / "tee-rex", "reserve", "--root", host.root, "-m", "448", "--cpus", "2"], capture_output=True, text=True)
    assert reserved.returncode == 0, reserved.stderr
    host.offline("3,7", "0-2,4-6")
    return host


@pytest.fixture
def doctor(build, host):
    def look():
        result = subprocess.run([build / "tee-rex", "doctor", "--root", host.root, "--json"], capture_output=True, text=True, timeout=60)
        findings = json.loads(result.stdout)["findings"]
        assert result.returncode == (1 if findings else 0), result.stderr
        for finding in findings:
            assert set(finding) == {"code", "what", "why", "fix"} and all(finding.values())
        return findings
    return look


def test_healthy(host, doctor, build):
    before = host.snapshot_names()
    assert doctor() == []
    assert host.snapshot_names() == before
    said = subprocess.run([build / "tee-rex", "doctor", "--root", host.root], capture_output=True, text=True)
    assert said.returncode == 0 and said.stdout.startswith("healthy")


def test_healthy_with_the_stock_allocator(host, doctor, build):
    """A host that the stock tools look after is not ill."""
    assert subprocess.run([build / "tee-rex", "release", "--root", host.root], capture_output=True).returncode == 0
    host.put(ALLOCATOR, "---\nmemory_mib: 1024\ncpu_count: 2\n")
    host.link("etc/systemd/system/multi-user.target.wants/nitro-enclaves-allocator.service")
    host.set_pages(1048576, 1)
    host.offline("3,7", "0-2,4-6")
    assert doctor() == []


def test_simulated_only(host, doctor):
    """A development machine that has nothing of Nitro, and wants nothing of it."""
    for path in ("sys/devices/virtual", "sys/bus", "sys/module", "dev", "var/lib/tee-rex/reserve", "etc/nitro_enclaves"):
        host.remove(path)
    host.set_pages(2048, 0)
    host.put("sys/devices/system/cpu/online", "0-7\n")
    host.put(SETTINGS, "enclave:\n  backend: process\n")
    assert doctor() == []


# --- one planted fault for each --------------------------------------------------------------------------

def history(host, **members):
    host.put("var/lib/tee-rex/history/prover.json", json.dumps({"starts": 3, "restarts": 1, "started_ms": 1000, **members}))


PLANTED = {
    # the platform
    "not-ec2": lambda h: (h.put("sys/devices/virtual/dmi/id/sys_vendor", "QEMU\n"), h.remove("sys/module")),
    "enclave-option-off": lambda h: h.remove("sys/bus/pci/devices/0000:00:1e.0"),
    "driver-missing": lambda h: h.remove("sys/module"),
    "device-missing": lambda h: h.remove("dev/nitro_enclaves"),
    "kernel-too-old": lambda h: h.put("proc/sys/kernel/osrelease", "5.4.288-302.amzn2.x86_64\n"),
    "too-few-cores": lambda h: (h.put("sys/devices/system/cpu/online", "0,4\n"), h.put(NE_CPUS, "\n")),
    "vsock-missing": lambda h: h.remove("dev/vsock"),
    "vhost-vsock": lambda h: h.put("sys/module/vhost_vsock/refcnt", "0\n"),
    "clock-skew": lambda h: h.put("sys/class/rtc/rtc0/since_epoch", f"{int(time.time()) - 3600}\n"),
    "clock-unsynchronised": lambda h: h.remove("proc/300"),
    # memory and CPUs
    "host-unreadable": lambda h: h.remove("sys/devices/system/node/online"),
    "no-huge-pages": lambda h: (h.remove("var/lib/tee-rex/reserve"), h.remove(ALLOCATOR), h.set_pages(2048, 0)),
    "pages-short": lambda h: h.set_pages(2048, 100),
    "host-starved": lambda h: h.put("proc/meminfo", f"MemTotal: {16 << 20} kB\nMemAvailable: {200 << 10} kB\n"),
    "reserve-interrupted": lambda h: h.put("run/tee-rex/reserve.journal", "x\n"),
    "reserve-not-at-boot": lambda h: h.remove("etc/systemd/system/sysinit.target.wants/tee-rex-reserve.service"),
    "allocator-broken": lambda h: h.put(ALLOCATOR, "memory_mib: 448\ncpu_count: 2\n"),
    "allocator-conflict": lambda h: h.put(ALLOCATOR, "---\nmemory_mib: 3000\ncpu_count: 2\n"),
    "allocator-oversized": lambda h: h.put(ALLOCATOR, "---\nmemory_mib: 16000\ncpu_count: 2\n"),
    "allocator-service": lambda h: h.link("etc/systemd/system/multi-user.target.wants/nitro-enclaves-allocator.service"),
    "sysctl-hugepages": lambda h: h.put("etc/sysctl.d/50-db.conf", "vm.swappiness=1\nvm.nr_hugepages = 1024\n"),
    "pool-empty": lambda h: h.offline("", "0-7"),
    "pool-wrong-node": lambda h: h.second_node(),
    "pool-partial-core": lambda h: h.offline("3", "0-2,4-7"),
    # what starts enclaves
    "settings-broken": lambda h: h.put(SETTINGS, "enclave:\n  image: &a /x\n"),
    "image-in-tmp": lambda h: h.unit("ExecStart=/usr/bin/nitro-cli run-enclave --eif-path /tmp/app.eif --memory 512"),
    "image-missing": lambda h: h.remove(IMAGE),
    "image-damaged": lambda h: h.put_bytes(IMAGE, make_image()[:-1] + b"!"),
    "memory-too-small": lambda h: (h.put(SETTINGS, "enclave:\n  image: /var/lib/tee-rex/images/prover.eif\n  memory_mib: 64\n"),
                                   h.put_bytes(IMAGE, make_image(ramdisk=bytes(40 << 20)))),
    "console-unread": lambda h: h.put_bytes(IMAGE, make_image(line=eifs.LINE)),
    "oneshot-enclave": lambda h: h.unit("Type=oneshot\nExecStart=/usr/bin/nitro-cli run-enclave --eif-path /srv/app.eif"),
    "not-enabled": lambda h: h.remove("etc/systemd/system/multi-user.target.wants/tee-rex@prover.service"),
    "debug-enclave": lambda h: h.put(SETTINGS, "enclave:\n  image: /var/lib/tee-rex/images/prover.eif\n  debug: true\n"),
    "build-needs-docker": lambda h: h.unit("ExecStart=/usr/bin/nitro-cli build-enclave --docker-uri app:latest --output-file /srv/app.eif"),
    "docker-image-store": lambda h: h.put("etc/docker/daemon.json", '{ "features": { "containerd-snapshotter": true } }'),
    "deletes-before-build": lambda h: h.unit("ExecStartPre=/bin/rm -f /srv/app.eif\nExecStart=/srv/deploy"),
    # what runs
    "port-9000-taken": lambda h: h.process(400, "nitro-cli", "run-enclave", "--eif-path", "/srv/app.eif"),
    "socat-bridge": lambda h: h.process(400, "socat", "TCP-LISTEN:80,fork", "VSOCK-CONNECT:16:5000"),
    "nsm-descriptors": lambda h: (h.put("dev/nsm", ""), h.process(400, "/app/server", fds=["/dev/null", "/dev/nsm", "/dev/nsm", "/dev/nsm"])),
    "descriptors-low": lambda h: h.process(301, "/usr/bin/tee-rex", "run", "prover", fds=["/dev/null"] * 29, limit=32),
    "oom-kills": lambda h: h.put("proc/vmstat", "oom_kill 2\n"),
    "instance-died": lambda h: history(h, running=True),
}
# what a fault brings along
ALSO = {
    "not-ec2": {"pool-empty"}, "driver-missing": {"pool-empty"}, "too-few-cores": {"pool-empty"}, "host-starved": set(), "no-huge-pages": set(),
    "allocator-oversized": {"allocator-conflict"}, "host-unreadable": set(), "image-damaged": set(), "settings-broken": set(),
}


@pytest.mark.parametrize("code", PLANTED)
def test_planted(host, doctor, code):
    PLANTED[code](host)
    found = {finding["code"] for finding in doctor()}
    assert code in found
    assert found <= {code} | ALSO.get(code, set()), "a false alarm beside it"


@contextlib.contextmanager
def small_disk(directory):
    directory.mkdir(parents=True, exist_ok=True)
    mounted = os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=2000", "none", directory], capture_output=True).returncode == 0
    if not mounted:
        pytest.skip("a small file system cannot be mounted here (root is needed)")
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


def test_disk_full(host, doctor):
    with small_disk(host.root / "var/log"):
        assert doctor() == [], "small is not full"
        (host.root / "var/log/messages").write_bytes(bytes(60 << 20))
        found = doctor()
        assert [f["code"] for f in found] == ["disk-full"] and "/var/log has" in found[0]["what"]
        (host.root / "var/log/messages").unlink()
        for n in range(1900):
            (host.root / f"var/log/{n}").touch()
        assert "more files" in doctor()[0]["what"]


def test_every_check_is_planted(build):
    listed = json.loads(subprocess.run([build / "tee-rex", "doctor", "--list", "--json"], capture_output=True, text=True, check=True).stdout)
    assert {c["code"] for c in listed["checks"]} == set(PLANTED) | {"disk-full"}


# --- forms a fault may take ----------------------------------------------------------------------------------

@pytest.mark.parametrize("code, plant", [
    ("image-in-tmp", lambda h: (h.put(SETTINGS, "enclave:\n  image: /dev/shm/a.eif\n"), h.put_bytes("dev/shm/a.eif", make_image()))),
    ("image-in-tmp", lambda h: h.unit('ExecStart=/usr/bin/tee-rex run --image="/var/tmp/a.eif"')),
    ("port-9000-taken", lambda h: h.process(400, "/usr/bin/socat", "VSOCK-LISTEN:9000,fork", "-")),
    ("socat-bridge", lambda h: h.unit("ExecStart=/usr/bin/socat vsock-listen:5000 TCP:127.0.0.1:80")),
    ("debug-enclave", lambda h: h.unit("ExecStart=/usr/bin/nitro-cli run-enclave --debug-mode --eif-path /srv/a.eif")),
    ("console-unread", lambda h: h.unit("ExecStart=/usr/bin/nitro-cli console --enclave-name a")),
    ("console-unread", lambda h: h.put_bytes(IMAGE, make_image(line=QUIET + b" loglevel=7"))),
    ("console-unread", lambda h: h.put_bytes(IMAGE, make_image(line=eifs.LINE, metadata=built_by("tee-rex")))),
    ("image-damaged", lambda h: h.put(IMAGE, "not an image")),
    ("instance-died", lambda h: history(h, running=False, death="out of memory: the service was killed", death_ms=5000, ended_ms=5000)),
    ("kernel-too-old", lambda h: h.put("proc/sys/kernel/osrelease", "4.14.355-276.618.amzn2.x86_64\n")),
    ("allocator-broken", lambda h: h.put(ALLOCATOR, "---\nmemory_mib: 448\nmemory_gib: 2\ncpu_count: 2\n")),
    ("sysctl-hugepages", lambda h: h.put("etc/sysctl.conf", "vm/nr_hugepages=12\n")),
    ("pool-partial-core", lambda h: h.offline("0,4", "1-3,5-7")),
])
def test_forms(host, doctor, code, plant):
    plant(host)
    assert code in {finding["code"] for finding in doctor()}


@pytest.mark.parametrize("innocent", [
    lambda h: h.put_bytes(IMAGE, make_image(line=QUIET + b" loglevel=1")),
    lambda h: h.put_bytes(IMAGE, make_image(line=b"panic=-1")),
    lambda h: h.put_bytes(IMAGE, make_image(line=eifs.LINE, metadata=built_by("tee-rex", Id="sha256:0"))),
    lambda h: history(h, running=False, ended_ms=9000, death="once", death_ms=5000),
    lambda h: h.unit("# ExecStart=/bin/rm /srv/a.eif\nExecStart=/usr/bin/true /tmp/file.eif"),
    lambda h: h.process(400, "/usr/bin/grep", "nitro-cli run-enclave --debug"),
    lambda h: h.process(400, "/usr/bin/socat", "TCP-LISTEN:80", "TCP:127.0.0.1:81"),
    lambda h: (h.put("dev/nsm", ""), h.process(400, "/usr/libexec/tee-rex-prover", fds=["/dev/null", "/dev/nsm"])),
    lambda h: h.put("etc/docker/daemon.json", '{ "features": { "containerd-snapshotter": false } }'),
    lambda h: h.put("proc/cmdline", "hugepagesz=2M hugepages=224\n"),
    lambda h: h.put("proc/sys/kernel/osrelease", "10.0.1\n"),
])
def test_no_false_alarm(host, doctor, innocent):
    innocent(host)
    assert doctor() == []


def test_hostile_text(host, doctor):
    """What others put into files and command lines reaches no terminal as it is."""
    host.process(400, "nitro-cli", "run-enclave\x1b]0;owned\x07")
    host.put(SETTINGS, "enclave:\n  image: /tmp/\u202e.eif\n")
    raw = json.dumps(doctor())
    assert "\\u001b" not in raw and "\\u202e" not in raw and "port-9000-taken" in raw
    assert re.search(r"x1b\]0;owned", raw)


def test_many_findings(host, doctor):
    for n in range(200):
        host.unit("ExecStart=/usr/bin/nitro-cli run-enclave --eif-path /tmp/a.eif", name=f"e{n}.service")
    assert len(doctor()) == 128


def test_nothing_there(tmp_path, build):
    result = subprocess.run([build / "tee-rex", "doctor", "--root", tmp_path, "--json"], capture_output=True, text=True)
    assert result.returncode == 1 and "host-unreadable" in result.stdout
