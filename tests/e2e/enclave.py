"""A whole simulated enclave for tests: `tee-rex run --backend process`, its socket, its processes."""
import glob
import hashlib
import os
import pathlib
import select
import signal
import subprocess
import time
import uuid

from frames import call, exchange

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
TEE_REX = BUILD / "tee-rex"
PGP_TOOL = BUILD / "tests" / "pgp_tool"


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def tmpfs_of(pids):
    """Each tmpfs that these processes see and we do not (a slot's, a cell's): its bytes in use."""
    def mounted(pid):
        for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
            fields, _, kind = line.partition(" - ")
            if kind.startswith("tmpfs "):
                yield fields.split()[2], fields.split()[4]
    ours, found = {device for device, _ in mounted("self")}, {}
    for pid in pids:
        try:
            for device, path in mounted(pid):
                if device not in ours:
                    use = os.statvfs(f"/proc/{pid}/root{path}")
                    found[device] = (use.f_blocks - use.f_bfree) * use.f_frsize
        except OSError:
            found[f"of {pid}"] = -1                     # just ended, or covered by another mount
    return found


def alive(pids):
    """Those that run; a zombie does not."""
    def runs(pid):
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False
    return [pid for pid in pids if runs(pid)]


def gone(pids, seconds=5):
    deadline = time.monotonic() + seconds
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pids)


class Enclave:
    """Starts on construction, stops on exit. `config` is the text of the measured configuration."""

    def __init__(self, directory, config="", arguments=(), prefix=(), start=True):
        self.directory = pathlib.Path(directory)
        self.name = "test-" + uuid.uuid4().hex[:12]
        self.config = self.directory / "config"
        self.config.write_text(config)
        self.state = self.directory / "nsm"
        self.log = self.directory / "log"
        self.command = [*prefix, TEE_REX, "run", "--backend", "process", "--name", self.name, "--config", self.config,
                        "--state", self.state]
        self.arguments = list(arguments)
        self.process = None
        if start:
            self.start()

    def start(self):
        self.log_file = open(self.log, "wb")
        self.process = subprocess.Popen([*self.command, *self.arguments], stdout=subprocess.PIPE, stderr=self.log_file)
        readable, _, _ = select.select([self.process.stdout], [], [], 60)
        line = self.process.stdout.readline().decode() if readable else ""
        if not line.startswith("ready: "):
            self.kill()
            raise AssertionError(f"not ready: {line!r}\n{self.log.read_text()}")
        assert "SIMULATED" in line
        self.socket = line.split("service socket ")[1].split(",")[0].strip()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def stop(self, signal_number=signal.SIGTERM, timeout=30):
        """Stops in order; returns the exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        status = self.process.wait(timeout)
        self.log_file.close()
        return status

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log_file.close()

    def measured(self):
        """The PCRs of `--measure`, as options for a client."""
        text = subprocess.run([*self.command, "--measure"], check=True, capture_output=True, text=True).stdout
        return text.split()

    # --- processes ------------------------------------------------------------------------------

    def descendants(self):
        """pid -> command name of everything below `tee-rex run`."""
        parents = {}
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                text = stat.read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            pid, rest = int(text.split(" ", 1)[0]), text.rpartition(")")[2].split()
            parents[pid] = (int(rest[1]), text.split("(", 1)[1].rpartition(")")[0])
        found, todo = {}, [self.process.pid]
        while todo:
            parent = todo.pop()
            for pid, (above, name) in parents.items():
                if above == parent:
                    found[pid] = name
                    todo.append(pid)
        return found

    def pid_of(self, name):
        until = time.monotonic() + 5
        while True:                              # a look at /proc while others come and go may miss one
            for pid, n in self.descendants().items():
                if n == name:
                    return pid
            assert time.monotonic() < until and self.process.poll() is None, f"{name} does not run"
            time.sleep(0.02)

    def snapshot(self):
        """What must not change by serving: processes, descriptors, cgroups, mounts, bytes on tmpfs and in memory files. Taken when
        two looks in a row agree, because what an earlier exchange held may just be going."""
        deadline, last = time.monotonic() + 10, None
        while (now := self.look()) != last and time.monotonic() < deadline:
            last = now
            time.sleep(0.1)
        return now

    def look(self):
        processes, descriptors, memory = self.descendants(), {}, 0
        for pid, name in processes.items():
            descriptors[name] = 0
            try:
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    descriptors[name] += 1
                    if os.readlink(f"/proc/{pid}/fd/{fd}").startswith("/memfd:"):
                        memory += os.stat(f"/proc/{pid}/fd/{fd}").st_size
            except FileNotFoundError:
                descriptors[name] = -1                 # just ended: the next look will differ
        launcher = next(pid for pid, name in processes.items() if name == "tee-rex-launche")
        mounts = pathlib.Path(f"/proc/{launcher}/mountinfo").read_text().splitlines()
        # glob, unlike pathlib, does not mind groups that go while it looks
        cgroups = glob.glob(f"/sys/fs/cgroup/**/tee-rex-{launcher}*/*/", recursive=True)
        return {
            "processes": sorted(processes.values()),
            "descriptors": descriptors,
            "memory files": memory,
            "mounts": len(mounts),
            "tmpfs": tmpfs_of(processes),
            "cgroups": sorted(cgroups),
        }

    def settled(self, before, seconds=10):
        """Waits until all is as before (closing a slot takes a moment), and asserts that it is."""
        deadline = time.monotonic() + seconds
        while (now := self.look()) != before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert now == before, f"before {before}, now {now}"

    def rss_kib(self, name):
        text = pathlib.Path(f"/proc/{self.pid_of(name)}/status").read_text()
        return int(next(line for line in text.splitlines() if line.startswith("VmRSS:")).split()[1])

    # --- the service ------------------------------------------------------------------------------

    def upload(self, version, path):
        code, answer = exchange(self.socket, "upload", pathlib.Path(path).read_bytes(), version=version,
                                sha256=bytes.fromhex(sha256(path)), size=os.path.getsize(path))
        assert code == "ok", answer
        return answer

    def encrypt(self, data, name=""):
        """A message to the service's current key, by the project's own encryptor."""
        key, plain, out = (self.directory / n for n in ("key.asc", "plain", "message.pgp"))
        key.write_text(call(self.socket, "public-key")["key"])
        plain.write_bytes(data)
        subprocess.run([PGP_TOOL, "encrypt", key, plain, out, "--name", name], check=True)
        return out.read_bytes()

    def prove(self, message, **members):
        return exchange(self.socket, "prove", message, size=members.pop("size", len(message)), **members)
