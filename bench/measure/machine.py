"""What the kernel says: processor time and memory of a process, and how much of the machine went to others. CPU times are
of whole nanoseconds where the process has one thread (schedstat), else of clock ticks."""
import os
import pathlib
import platform
import re
import subprocess

TICK = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid):
    """Processor time of a process with one thread so far."""
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _stat(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_all_threads_s(pid):
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) * TICK


def cpu_children_s(pid):
    """Of its children that have ended and were waited for, and theirs."""
    fields = _stat(pid)
    return (int(fields[13]) + int(fields[14])) * TICK


def children(pid):
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def memory_kib(pid, *fields):
    """Fields of /proc/PID/status, as VmRSS, VmHWM, RssAnon."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    found = tuple(int(re.search(rf"^{f}:\s+(\d+) kB", text, re.M)[1]) for f in fields)
    return found if len(found) > 1 else found[0]


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def _used_by(pid):
    """Of a living process and all that it waited for, and of its living descendants."""
    try:
        fields, below = _stat(pid), children(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) * TICK + sum(map(_used_by, below))


class Others:
    """The share of the machine's processor time that went to programs that are not ours, from here to share(). Ours are
    this process and its descendants, ended or not."""

    def __init__(self):
        self.before = self._now()

    @staticmethod
    def _now():
        user, nice, system, idle, iowait, irq, soft, steal = map(int, pathlib.Path("/proc/stat").read_text().split()[1:9])
        busy = user + nice + system + irq + soft + steal
        return busy * TICK, (busy + idle + iowait) * TICK, _used_by(os.getpid())

    def share(self):
        busy, total, mine = (now - then for now, then in zip(self._now(), self.before))
        return max(0.0, busy - mine) / total if total > 0 else 0.0


def describe():
    """The class of machine, without its name."""
    model = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    os_release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', pathlib.Path("/etc/os-release").read_text(), re.M))
    kib = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1])
    openssl = subprocess.run(["openssl", "version"], capture_output=True, text=True).stdout.split(" ")[:2]
    return (f"{len(os.sched_getaffinity(0))} CPUs ({model[1] if model else platform.machine()}), {round(kib / 2**20)} GiB, "
            f"Linux {'.'.join(platform.release().split('.')[:2])}, {os_release.get('PRETTY_NAME', 'unknown system')}, "
            f"{' '.join(openssl)}, {'root' if os.geteuid() == 0 else 'an ordinary user'}")
