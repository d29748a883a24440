"""The table of bench/verify_bench.c in turns with `openssl speed`: a document has five P-384 signatures, so a fifth of what
openssl verifies in a second is the most that any verifier on this library could do; with all certificates known, all of it."""
import re
import subprocess

from .bench import BUILD, TOP

TITLE = "Verification of attestation documents"
TARGETS = ["build/bench/verify_bench"]
SIGNATURES = 5
LEAST_OF_LIMIT = 0.8
LINES = {"document, no cache (5 signatures)": "uncached", "document, certificates in the cache (1)": "cached",
         "document refused by its dates (0)": "refused", "document cut short (0)": "cut"}


def openssl():
    done = subprocess.run(["openssl", "speed", "-seconds", "1", "ecdsap384"], capture_output=True, text=True, check=True)
    return float(re.search(r"384 bits ecdsa.*?([\d.]+)\s*$", done.stdout, re.M)[1])


def ours():
    done = subprocess.run([BUILD / "bench" / "verify_bench"], cwd=TOP, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    rates = {what.strip(): float(rate) for what, rate in re.findall(r"^(\S.*?) +[\d.]+ +(\d+)", done.stdout, re.M)}
    return {short: rates[line] for line, short in LINES.items()}


def measure(bench, result):
    found = bench.turns({"openssl speed": openssl, "verifier": ours})
    runs = found["verifier"]
    limit = result.add("`openssl speed`: P-384 signatures", found["openssl speed"], "/s")
    rows = {}
    for short, what, signatures in (("uncached", "documents, nothing known", SIGNATURES),
                                    ("cached", "documents, certificates known from before", 1)):
        rows[short] = row = result.add(what, [run[short] for run in runs], "/s")
        share = row.median * signatures / limit.median
        row.ratio = f"{share:.1%} of the limit"
        result.check(f"{what}: ≥ 80 % of the P-384 limit", f"{share:.1%}", share >= LEAST_OF_LIMIT)
    rows["cached"].ratio += f", {rows['cached'].median / rows['uncached'].median:.2f} × uncached"
    result.add("documents refused for a date (all parsed, no signature)", [run["refused"] for run in runs], "/s")
    result.add("documents cut short", [run["cut"] for run in runs], "/s")
