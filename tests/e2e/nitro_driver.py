"""A model of the Nitro Enclaves driver (drivers/virt/nitro_enclaves/ne_misc_dev.c): the same checks in the same order, the same
errors, the CPU pool, the life of the enclave's descriptor. tests/tools/nitro_standin.c asks it; what happens behind the
driver, in the hypervisor, is assumed and marked so.

The descriptor that a program gets is the reading end of a FIFO: close-on-exec, duplicates and inheritance are the kernel's
own. The model holds the writing end. When the last reader is gone the enclave is killed; when the enclave dies by itself,
the writing end is closed, and poll() says POLLHUP, as the driver does."""
import array
import contextlib
import fcntl
import json
import os
import pathlib
import select
import socket
import struct
import threading
import time

import pytest

from conftest import BUILD

SHIM = BUILD / "tests" / "tools" / "nitro_standin.so"
MIB, HUGE = 1 << 20, 2 << 20
U32_MAX = 2**32 - 1
ERRORS = [
    "VCPU_ALREADY_USED", "VCPU_NOT_IN_CPU_POOL", "VCPU_INVALID_CPU_CORE", "INVALID_MEM_REGION_SIZE",
    "INVALID_MEM_REGION_ADDR", "UNALIGNED_MEM_REGION_ADDR", "MEM_REGION_ALREADY_USED", "MEM_NOT_HUGE_PAGE",
    "MEM_DIFFERENT_NUMA_NODE", "MEM_MAX_REGIONS", "NO_MEM_REGIONS_ADDED", "NO_VCPUS_ADDED", "ENCLAVE_MEM_MIN_SIZE",
    "FULL_CORES_NOT_USED", "NOT_IN_INIT_STATE", "INVALID_VCPU", "NO_CPUS_AVAIL_IN_POOL", "INVALID_PAGE_SIZE",
    "INVALID_FLAG_VALUE", "INVALID_ENCLAVE_CID"]
NE = {name: 256 + i for i, name in enumerate(ERRORS)}
EPERM, EIO, ENOMEM, EFAULT, EINVAL, ENOTTY, ENOENT, ENOSPC = 1, 5, 12, 14, 22, 25, 2, 28


class Refused(Exception):
    """errno as the driver returns it."""


def cpulist(text):
    cpus = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise Refused(EINVAL)
        cpus += range(int(first), int(last or first) + 1)
    return sorted(set(cpus))


class Vm:
    """struct ne_enclave."""

    def __init__(self, driver, slot, pid):
        self.driver, self.slot, self.mm = driver, slot, pid
        self.state, self.regions, self.runs, self.vcpus = "init", [], [], []
        self.threads_per_core = {core: set() for core in range(driver.cores)}
        self.node = driver.pool_node
        self.cid, self.debug, self.image = None, False, None
        self.guest = None                      # what to call to end what it runs
        self.console = None                    # listens, in debug mode, as soon as it is started
        self.fifo = driver.dir / f"vm-{slot}"
        os.mkfifo(self.fifo)
        self.reader = os.open(self.fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.writer = os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.inode = os.fstat(self.reader).st_ino

    memory = property(lambda self: sum(size for _, size in self.runs))

    def handed_over(self):
        os.close(self.reader)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        p = select.poll()
        p.register(self.writer, 0)
        while not self._no_reader(p):
            time.sleep(0.002)
        self.driver.release(self)

    def _no_reader(self, p):
        with self.driver.lock:
            if self.writer is not None:
                return bool(p.poll(0))
        # a dead enclave's descriptor: is anybody left to read?
        try:
            os.close(os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK))
            time.sleep(0.05)
            return False
        except OSError:
            return True

    def die(self):
        """It ended without the parent's doing: the driver sets NE_STATE_STOPPED and wakes who polls."""
        with self.driver.lock:
            if self.state == "running":
                self.state = "stopped"
                os.close(self.writer)
                self.writer = None


class Driver:
    """cores × threads CPUs, numbered as on hardware: thread t of core c is CPU c + t × cores."""

    def __init__(self, directory, cores=4, threads=2, pool="1-3,5-7", pool_node=0, regions_max=128, enclaves_max=4,
                 free_2m=1024, free_1g=0, nodes=1, scatter=False, device=True, huge="fake", order="rising"):
        self.dir = pathlib.Path(directory)
        self.cores, self.threads, self.pool_node = cores, threads, pool_node
        self.regions_max, self.enclaves_max = regions_max, enclaves_max
        self.scatter, self.device, self.huge, self.order = scatter, device, huge, order
        self.lock = threading.RLock()
        self.vms, self.slots, self.pool, self.calls, self.log = {}, 0, {}, [], []
        self.inject = {}                       # op -> errno of the PCI device request, once
        self.on_start = None                   # called with the Vm, in a thread of its own
        self.next_cid = 16
        self._files(pool, free_2m, free_1g, nodes)
        self.device_inode = None
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(self.dir / "driver.sock"))
        os.chmod(self.dir / "driver.sock", 0o777)
        self.server.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()
        if pool:
            self.set_pool(pool)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.server.close()
        for vm in list(self.vms.values()):
            self._kill_guest(vm)

    def environment(self):
        env = dict(os.environ, NITRO_STANDIN=str(self.dir), LD_PRELOAD=str(SHIM))
        if self.huge == "fake":
            env.update(NITRO_STANDIN_HUGE="fake", NITRO_STANDIN_ORDER=self.order)
        return env

    # --- what is in /sys ----------------------------------------------------------------------------------------

    def _put(self, path, text):
        p = self.dir / path.lstrip("/")
        p.parent.mkdir(parents=True, exist_ok=True)
        p.write_text(f"{text}\n")

    def _files(self, pool, free_2m, free_1g, nodes):
        siblings = ",".join(str(t * self.cores) for t in range(self.threads))
        self._put("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list", siblings)
        self._put("/sys/devices/system/cpu/possible", f"0-{self.cores * self.threads - 1}")
        self._put("/sys/module/nitro_enclaves/parameters/ne_cpus", "")
        if self.huge == "fake":
            self._put("/sys/devices/system/node/online", f"0-{nodes - 1}" if nodes > 1 else "0")
            for n in range(nodes):
                for kib, free in ((2048, free_2m), (1048576, free_1g)):
                    base = f"/sys/devices/system/node/node{n}/hugepages/hugepages-{kib}kB"
                    self._put(f"{base}/nr_hugepages", free)
                    self._put(f"{base}/free_hugepages", free)
                    self._put(f"{base}/surplus_hugepages", 0)

    # --- the CPU pool: ne_set_kernel_param, ne_setup_cpu_pool -----------------------------------------------------

    def _core(self, cpu):
        return cpu % self.cores

    def set_pool(self, text):
        parameter = "/sys/module/nitro_enclaves/parameters/ne_cpus"
        with self.lock:
            if self.vms:
                raise Refused(EPERM)                     # "The CPU pool is used by enclave(s)"
            self.pool = {}
            self._put(parameter, "")                     # whatever is wrong below, the pool stays empty
            cpus = cpulist(text)
            if not cpus or cpus[-1] >= self.cores * self.threads:
                raise Refused(EINVAL)
            if any(self._core(cpu) == self._core(0) for cpu in cpus):
                raise Refused(EINVAL)                    # CPU 0 and its siblings remain available
            if any(self._core(cpu) + t * self.cores not in cpus for cpu in cpus for t in range(self.threads)):
                raise Refused(EINVAL)                    # full cores
            for cpu in cpus:
                self.pool.setdefault(self._core(cpu), set()).add(cpu)
            self._put(parameter, text.strip())

    # --- calls ----------------------------------------------------------------------------------------------------

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                conn, _ = self.server.accept()
                threading.Thread(target=self._answer, args=(conn,), daemon=True).start()

    def _answer(self, conn):
        with conn:
            data, fds, _, _ = socket.recv_fds(conn, 1 << 16, 1)
            while not data.endswith(b"\n"):
                data += conn.recv(1 << 20)
            pid = struct.unpack("3i", conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            call = json.loads(data)
            inode = os.fstat(fds[0]).st_ino if fds else None
            for fd in fds:
                os.close(fd)
            value, give = 0, None
            try:
                with self.lock:
                    rc, value, give = 0, *self._call(call, pid, inode)
            except Refused as e:
                rc = -e.args[0]
            if call["op"] != "whose":
                self.calls.append((call["op"], rc))
            message = f"{rc} {value}\n".encode()
            if give is None:
                conn.sendall(message)
            else:
                socket.send_fds(conn, [message], [give.reader if isinstance(give, Vm) else give])
                if isinstance(give, Vm):
                    give.handed_over()

    def _call(self, call, pid, inode):
        op = call["op"]
        vm = next((v for v in self.vms.values() if v.inode == inode), None)
        if op == "open":
            if not self.device:
                raise Refused(self.device if isinstance(self.device, int) and self.device is not False else ENOENT)
            if self.device_inode is None:
                self.device_file = os.open(self.dir / "device", os.O_RDWR | os.O_CREAT, 0o600)
                self.device_inode = os.fstat(self.device_file).st_ino
            return 0, self.device_file
        if op == "whose":
            return int(vm is not None or inode == self.device_inode), None
        if op == "pool":
            self.set_pool(call["list"])
            return 0, None
        if op == "create" and inode == self.device_inode:
            return self._create(pid)
        if vm is None or op == "create":
            raise Refused(ENOTTY)
        return {"offset": self._offset, "memory": self._memory, "vcpu": self._vcpu, "start": self._start}[op](vm, call, pid)

    def _request(self, op):
        """A PCI device request: what the hypervisor answers. Which errors it has is not in any source."""
        if op in self.inject:
            raise Refused(self.inject.pop(op))

    # ne_create_vm_ioctl
    def _create(self, pid):
        if not any(self.pool.values()):
            raise Refused(NE["NO_CPUS_AVAIL_IN_POOL"])
        self._request("SLOT_ALLOC")
        if len(self.vms) >= self.enclaves_max:
            raise Refused(ENOSPC)                        # assumed
        self.slots += 1
        vm = Vm(self, 0x1000 + self.slots, pid)
        self.vms[vm.slot] = vm
        return vm.slot, vm

    # NE_GET_IMAGE_LOAD_INFO
    def _offset(self, vm, call, pid):
        if vm.state != "init":
            raise Refused(NE["NOT_IN_INIT_STATE"])
        if call["flags"] == 0 or call["flags"] >= 2:
            raise Refused(NE["INVALID_FLAG_VALUE"])
        return 8 * MIB, None

    # ne_set_user_memory_region_ioctl and its sanity checks, in their order
    def _memory(self, vm, call, pid):
        size, addr = call["size"], call["addr"]
        if call["flags"] >= 1:
            raise Refused(NE["INVALID_FLAG_VALUE"])
        if vm.state != "init":
            raise Refused(NE["NOT_IN_INIT_STATE"])
        if vm.mm != pid:
            raise Refused(EIO)
        if size % HUGE:
            raise Refused(NE["INVALID_MEM_REGION_SIZE"])
        if addr % HUGE:
            raise Refused(NE["UNALIGNED_MEM_REGION_ADDR"])
        if addr + size > 2**47 - 4096:
            raise Refused(NE["INVALID_MEM_REGION_ADDR"])  # !access_ok
        for start, length in vm.regions:
            if start <= addr < start + length or addr <= start < addr + size:
                raise Refused(NE["MEM_REGION_ALREADY_USED"])
        if size == 0:
            raise Refused(ENOMEM)                        # "Reached max nr of pages": room for none
        runs = []
        for page in call["pages"]:
            if page == "fault":
                raise Refused(EFAULT)                    # get_user_pages
            huge, page_size, frame, node, fake = page
            if not huge:
                raise Refused(NE["MEM_NOT_HUGE_PAGE"])
            if page_size % HUGE:
                raise Refused(NE["INVALID_PAGE_SIZE"])
            if node != vm.node:
                raise Refused(NE["MEM_DIFFERENT_NUMA_NODE"])
            if fake:
                frame *= 2 if self.scatter else 1
            if runs and sum(runs[-1]) == frame:
                runs[-1] = (runs[-1][0], runs[-1][1] + page_size)
            else:
                runs.append((frame, page_size))
        if len(vm.runs) + len(runs) > self.regions_max:
            raise Refused(NE["MEM_MAX_REGIONS"])
        vm.regions.append((addr, size))
        for run in runs:
            self._request("SLOT_ADD_MEM")
            vm.runs.append(run)
        self.last_runs = len(vm.runs)
        return 0, None

    # NE_ADD_VCPU
    def _vcpu(self, vm, call, pid):
        cpu = call["cpu"]
        if vm.state != "init":
            raise Refused(NE["NOT_IN_INIT_STATE"])
        if cpu >= self.cores * self.threads:
            raise Refused(NE["INVALID_VCPU"])
        if cpu == 0:
            cpu = self._pick(vm)
        else:
            self._check(vm, cpu)
        if vm.mm != pid:
            raise Refused(EIO)
        self._request("SLOT_ADD_VCPU")
        vm.vcpus.append(cpu)
        return cpu, None

    def _pick(self, vm):
        for core in range(self.cores):
            for cpu in sorted(vm.threads_per_core[core]):
                if cpu not in vm.vcpus:
                    return cpu
        core = next((c for c in range(self.cores) if self.pool.get(c)), None)
        if core is None:
            raise Refused(NE["NO_CPUS_AVAIL_IN_POOL"])
        vm.threads_per_core[core], self.pool[core] = self.pool[core], set()
        return min(vm.threads_per_core[core])

    def _check(self, vm, cpu):
        if cpu in vm.vcpus:
            raise Refused(NE["VCPU_ALREADY_USED"])
        if cpu in vm.threads_per_core[self._core(cpu)]:
            return
        if cpu not in self.pool.get(self._core(cpu), set()):
            raise Refused(NE["VCPU_NOT_IN_CPU_POOL"])
        core = self._core(cpu)
        vm.threads_per_core[core], self.pool[core] = self.pool[core], set()

    # NE_START_ENCLAVE
    def _start(self, vm, call, pid):
        flags, cid = call["flags"], call["cid"]
        if flags >= 2:
            raise Refused(NE["INVALID_FLAG_VALUE"])
        if 0 < cid <= 3 or cid >= U32_MAX:
            raise Refused(NE["INVALID_ENCLAVE_CID"])
        if vm.state != "init":
            raise Refused(NE["NOT_IN_INIT_STATE"])
        if not vm.runs:
            raise Refused(NE["NO_MEM_REGIONS_ADDED"])
        if vm.memory < 64 * MIB:
            raise Refused(NE["ENCLAVE_MEM_MIN_SIZE"])
        if not vm.vcpus:
            raise Refused(NE["NO_VCPUS_ADDED"])
        if set().union(*vm.threads_per_core.values()) - set(vm.vcpus):
            raise Refused(NE["FULL_CORES_NOT_USED"])
        self._request("ENCLAVE_START")
        if cid and any(v.cid == cid for v in self.vms.values()):
            raise Refused(EINVAL)                        # assumed
        if not cid:
            cid, self.next_cid = self.next_cid, self.next_cid + 1
        vm.cid, vm.debug, vm.state = cid, bool(flags & 1), "running"
        if vm.debug:
            vm.console = self.enclave_listens(0, 10000 + cid)
        vm.image = self._loaded_image(vm, pid)
        if self.on_start:
            threading.Thread(target=self.on_start, args=(vm,), daemon=True).start()
        return cid, None

    def _loaded_image(self, vm, pid):
        """The image as it lies in the enclave's memory: the regions one after the other, from the load offset on."""
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            def read(offset, n):
                out = b""
                for start, size in vm.regions:
                    if offset < size and n > len(out):
                        memory.seek(start + offset)
                        while len(out) < n and offset < size:
                            piece = memory.read(min(n - len(out), size - offset, 1 << 20))
                            out, offset = out + piece, offset + len(piece)
                        offset = 0
                    elif offset >= size:
                        offset -= size
                return out
            header = read(8 * MIB, 548)
            if header[:4] != b".eif":
                return header
            count = struct.unpack_from(">H", header, 26)[0]
            ends = [struct.unpack_from(">Q", header, 28 + 8 * i)[0] + 12 + struct.unpack_from(">Q", header, 284 + 8 * i)[0]
                    for i in range(min(count, 32))]
            return read(8 * MIB, max(ends, default=548))

    # --- ends -------------------------------------------------------------------------------------------------------

    def _kill_guest(self, vm):
        if vm.guest is not None:
            vm.guest()
            vm.guest = None

    # ne_enclave_release
    def release(self, vm):
        with self.lock:
            self._kill_guest(vm)
            if vm.console is not None:
                vm.console.close()
            if vm.writer is not None:
                os.close(vm.writer)
                vm.writer = None
            for core, cpus in vm.threads_per_core.items():
                if cpus:
                    self.pool[core] = self.pool.get(core, set()) | cpus
            vm.state = "released"
            self.vms.pop(vm.slot, None)
            vm.fifo.unlink(missing_ok=True)

    # --- the enclave's side of vsock ----------------------------------------------------------------------------------

    def name(self, what):
        return f"\0{self.dir}/vsock/{what}"

    def enclave_calls(self, cid, port, source=1 << 20, n=[0]):
        """A connection from a port inside enclave cid to the parent's port."""
        s = socket.socket(socket.AF_UNIX)
        n[0] += 1
        s.bind(self.name(f"cid-{cid}-{source}-{n[0]}"))
        s.connect(self.name(f"port-{port}"))
        return s

    def enclave_listens(self, cid, port):
        """What the parent reaches as (cid, port); cid 0 is the hypervisor, for consoles."""
        s = socket.socket(socket.AF_UNIX)
        s.bind(self.name(f"enclave-{cid}-{port}"))
        s.listen(16)
        return s


# --- pages of this machine --------------------------------------------------------------------------------------------

POOL = pathlib.Path("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages")


@pytest.fixture
def real_pages():
    """64 huge pages of 2 MiB of this machine, alone with them; it has as many as before afterwards."""
    if os.geteuid() != 0 or not os.access(POOL, os.W_OK):
        pytest.skip("huge pages cannot be reserved here (root and a kernel with them are needed)")
    with open("/tmp/tee-rex-hugepages.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = POOL.read_text()
        try:
            POOL.write_text(f"{int(before) + 64}")
            if int(POOL.read_text()) < int(before) + 64:
                pytest.skip("this machine has no 64 huge pages to spare at the moment")
            yield 64
        finally:
            POOL.write_text(before)
