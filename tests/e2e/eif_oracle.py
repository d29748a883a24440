"""The stock library for enclave images as a test-only oracle (tests/tools/eif_oracle): built once with cargo, which takes
minutes, and kept in the cache under the hash of its sources."""
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess

TOP = pathlib.Path(__file__).resolve().parents[2]
SOURCE = TOP / "tests" / "tools" / "eif_oracle"


def cache():
    base = os.environ.get("TEE_REX_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "tee-rex"
    return pathlib.Path(base) / "eif-oracle"


def oracle():
    """The program's path, or (None, why not)."""
    sources = [SOURCE / "Cargo.toml", SOURCE / "src" / "main.rs"]
    name = hashlib.sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()[:16]
    program = cache() / f"eif-oracle-{name}"
    if program.exists():
        return program, None
    if shutil.which("cargo") is None:
        return None, "cargo is missing, so the stock reader cannot be built; install Rust to compare with it"
    cache().mkdir(parents=True, exist_ok=True)
    with open(cache() / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            work = cache() / "build"
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(SOURCE, work)
            made = subprocess.run(["cargo", "build", "--quiet"], cwd=work, capture_output=True, text=True)
            if made.returncode != 0:
                return None, f"cargo could not build the stock reader: {made.stderr[-500:]}"
            os.replace(work / "target" / "debug" / "eif-oracle", program)
            shutil.rmtree(work, ignore_errors=True)
    return program, None


def describe(program, path):
    """What the stock reader says, or None when it refuses (or dies)."""
    r = subprocess.run([program, "describe", path], capture_output=True, text=True, timeout=60)
    return json.loads(r.stdout) if r.returncode == 0 else None


def build(program, out, kernel, cmdline, identity, *ramdisks):
    r = subprocess.run([program, "build", out, kernel, cmdline, identity, *ramdisks], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)
