"""A parent instance made of files, for commands that take --root: files take what is written to them as the kernel would."""
import pathlib
import shutil

PAGES = "sys/devices/system/node/node{node}/hugepages/hugepages-{kib}kB"
NE_CPUS = "sys/module/nitro_enclaves/parameters/ne_cpus"
ALLOCATOR = "etc/nitro_enclaves/allocator.yaml"


class ParentHost:
    """16 GiB on one node, cores (0,4) (1,5) (2,6) (3,7), the driver with an empty pool."""

    def __init__(self, root, available_mib=15360):
        self.root = pathlib.Path(root)
        self.put("proc/meminfo", f"MemTotal: {16 << 20} kB\nMemFree: {available_mib << 10} kB\nMemAvailable: {available_mib << 10} kB\n")
        self.put("proc/cmdline", "root=/dev/nvme0n1p1 console=ttyS0\n")
        self.put("proc/sys/vm/drop_caches", "0\n")
        self.put("proc/sys/vm/compact_memory", "0\n")
        self.put("proc/sys/kernel/random/boot_id", "11111111-0000-4000-8000-000000000000\n")
        self.put("sys/devices/system/node/online", "0\n")
        self.put("sys/devices/system/node/node0/meminfo", f"Node 0 MemTotal: {16 << 20} kB\nNode 0 MemFree: {available_mib << 10} kB\n")
        for kib in (2048, 1048576):
            pool = PAGES.format(node=0, kib=kib)
            self.put(pool + "/nr_hugepages", "0\n")
            self.put(pool + "/surplus_hugepages", "0\n")
            (self.root / pool / "free_hugepages").symlink_to("nr_hugepages")     # nobody uses any
        self.put("sys/devices/system/cpu/online", "0-7\n")
        for cpu in range(8):
            self.put(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu % 4},{cpu % 4 + 4}\n")
            self.put(f"sys/devices/system/cpu/cpu{cpu}/node0/there", "")
        self.put(NE_CPUS, "\n")

    def put(self, path, text):
        whole = self.root / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_text(text)

    def get(self, path):
        whole = self.root / path
        return whole.read_text().strip() if whole.exists() else None

    def remove(self, path):
        whole = self.root / path
        if whole.is_dir():
            shutil.rmtree(whole)
        elif whole.exists() or whole.is_symlink():
            whole.unlink()

    def pages(self, kib, node=0):
        return int(self.get(PAGES.format(node=node, kib=kib) + "/nr_hugepages"))

    def set_pages(self, kib, total, free=None, node=0):
        pool = PAGES.format(node=node, kib=kib)
        self.put(pool + "/nr_hugepages", f"{total}\n")
        if free is not None:
            self.remove(pool + "/free_hugepages")
            self.put(pool + "/free_hugepages", f"{free}\n")

    def snapshot(self):
        """Every file and its text."""
        return {str(p.relative_to(self.root)): p.read_text() for p in sorted(self.root.rglob("*")) if p.is_file()}

    def snapshot_names(self):
        """Every path and when it was changed."""
        return {str(p): p.lstat().st_mtime_ns for p in self.root.rglob("*")}

    def reboot(self):
        self.remove("run")
        self.put("proc/sys/kernel/random/boot_id", "22222222-0000-4000-8000-000000000000\n")
        self.put(NE_CPUS, "\n")
        for kib in (2048, 1048576):
            self.set_pages(kib, 0)
