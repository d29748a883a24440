"""The table of bench/openpgp_bench.c: a 40 MiB message against libcrypto's own AES-256-GCM on the same bytes."""
import re
import subprocess

from .bench import BUILD

TITLE = "Decryption of a 40 MiB message against libcrypto's AES-256-GCM"
TARGETS = ["build/bench/openpgp_bench"]
RATIO_MAX, GROWTH_MAX_KIB = 2, 256


def measure(bench, result):
    done = subprocess.run([BUILD / "bench" / "openpgp_bench"], capture_output=True, text=True, timeout=600)
    assert done.returncode in (0, 1), done.stderr
    times = {}
    for what, *ms in re.findall(r"^(.+?) +([\d.]+) ms +[\d.]+ x +\(([\d.]+) - ([\d.]+)\)$", done.stdout, re.M):
        median, least, most = (float(v) / 1e3 for v in ms)
        base = times.get("libcrypto AES-256-GCM alone")
        times[what] = result.add(what, [least, median, most], "ms", base)
    growth = [int(v) for v in re.findall(r"growth (-?\d+) KiB", done.stdout)]
    alone, nowhere, copied, filed = (times[name] for name in (
        "libcrypto AES-256-GCM alone", "decrypt to nowhere (chunks of 256 KiB)", "write the plaintext to a memory file alone",
        "decrypt to a memory file"))
    result.check("40 MiB decrypted within 2 × of libcrypto's GCM", f"{nowhere.ratio:.2f} ×", nowhere.ratio <= RATIO_MAX)
    both = filed.median / (alone.median + copied.median)
    result.check("… and written into memory within 2 × of GCM and the write", f"{both:.2f} ×", both <= RATIO_MAX)
    result.check("memory grows by ≤ 256 KiB from 1 MiB to 256 MiB, any chunk size", f"{max(growth)} KiB",
                 len(growth) == 3 and max(growth) <= GROWTH_MAX_KIB)
