"""How long whoever carries a guest's requests waited for a processor of this machine, as its kernel counts it
(/proc/PID/task/TID/schedstat). An enclave has processors of its own; a simulated one competes for those of a busy machine, and what it
did not get of them is not its own delay."""
import os
import pathlib


def waited(pid):
    """Seconds that the thread of this process which waited longest has waited since it began: of QEMU that is the guest's processor."""
    return max(int((task / "schedstat").read_text().split()[1]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()) / 1e9


class HostWait:
    """One request at a time, asked by the thread that made this: begin(), the request, end()."""

    def __init__(self, vm):
        tasks = [task for pid in vm.children().values() for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]
        self.files = [open(task / "schedstat") for task in tasks] + [open("/proc/thread-self/schedstat")]
        self.before = {}

    def waits(self):
        found = {}
        for f in self.files:
            try:
                found[f] = int(os.pread(f.fileno(), 100, 0).split()[1]) / 1e9
            except (ProcessLookupError, IndexError):         # a thread of QEMU's that has ended
                pass
        return found

    def begin(self):
        self.before = self.waits()

    def end(self):
        """Seconds since begin() during which the request could not go on for want of a processor, at least: several threads may have
        waited at once, so of all of them the longest wait counts, not the sum."""
        after = self.waits()
        return max(after[f] - self.before[f] for f in after if f in self.before)
