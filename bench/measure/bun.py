"""The JavaScript server to compare with: npm's bun in the cache directory, and bench/bun_handler.js under it."""
import contextlib
import os
import pathlib
import shutil
import subprocess

from .bench import TOP, Missing, free_port

VERSION = "1.4.5"
HANDLER = TOP / "bench" / "bun_handler.js"


def cache_directory():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(os.environ.get("TEE_REX_CACHE") or os.path.join(home, "tee-rex"))


def program():
    """Installs bun once; Missing says why when that does not work."""
    place = cache_directory() / f"bun-{VERSION}"
    bun = place / "node_modules" / "bun" / "bin" / "bun.exe"
    if not bun.exists():
        if shutil.which("npm") is None:
            raise Missing("npm is not installed, so there is no bun to compare with")
        place.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["npm", "install", "--prefix", place, "--no-save", "--no-audit", "--no-fund", f"bun@{VERSION}"],
                              capture_output=True, text=True)
        if done.returncode != 0 or not bun.exists():
            raise Missing(f"npm could not install bun@{VERSION}: {(done.stderr or done.stdout).strip()[-200:]}")
    done = subprocess.run([bun, "--version"], capture_output=True, text=True)
    if done.stdout.strip() != VERSION:
        raise Missing(f"{bun} does not run: {done.stderr.strip()[-200:]}")
    return bun


@contextlib.contextmanager
def server(bun, body):
    """The handler, serving the file body; yields (process, port) at once, before it answers."""
    port = free_port()
    process = subprocess.Popen([bun, HANDLER, str(port), body], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield process, port
    finally:
        process.kill()
        process.wait()
