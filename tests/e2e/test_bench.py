"""bench/run works: the fast measurements with tiny inputs, and what it refuses. What they measure is not judged here."""
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
RUN = TOP / "bench" / "run"
sys.path.insert(0, str(TOP / "bench"))
from measure import report      # noqa: E402


def run(*arguments):
    return subprocess.run([RUN, *arguments], capture_output=True, text=True, timeout=120)


def rows(text, name):
    """what -> median, of one table."""
    table = re.search(rf"^== {name}: .*?\n(.*?)(?=^== |\Z)", text, re.M | re.S)
    assert table, text
    return {what: float(number.replace(" ", "")) for what, number in
            re.findall(r"^(\S.*?) {2,}([\d ]+(?:\.\d+)?) (?:ms|KiB|/s|µs|s)\b", table[1], re.M)}


def test_fast_measurements():
    done = run("--pairs", "1", "--only", "upload", "--only", "overhead", "--only", "memory", "--only", "attest",
               "--upload-bytes", "3000000", "--attestations", "1200")
    assert done.returncode in (0, 1), done.stderr       # 1: a target was missed, which a busy machine may do
    assert "FAILED" not in done.stderr and "SKIPPED" not in done.stderr, done.stderr
    upload, overhead = rows(done.stdout, "upload"), rows(done.stdout, "overhead")
    memory, attest = rows(done.stdout, "memory"), rows(done.stdout, "attest")
    assert len(upload) == 4 and min(upload.values()) > 0.5
    # a larger payload costs more, whatever else the machine does
    ours = [ms for what, ms in overhead.items() if "CPU of gateway" in what]
    assert len(ours) == 4 and 0 < ours[0] < ours[-1]
    assert 1000 < memory["prover, at rest: peak"] <= 8192
    assert attest["documents without one (cached)"] > attest["documents with a nonce"] > 1
    assert "1 200 attestations: each reached the NSM: 1 200 calls: met" in done.stdout
    assert len(re.findall(r": (?:NOT )?met$", done.stdout, re.M)) == 12


@pytest.mark.parametrize("arguments", [["--write", "--pairs", "1"], ["--write", "--upload-bytes", "5"], ["--only", "nonsense"],
                                       ["--pairs", "0"]])
def test_what_makes_no_sense_is_refused(arguments):
    before = (TOP / "docs" / "BENCHMARKS.md").read_bytes()
    done = run(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert (TOP / "docs" / "BENCHMARKS.md").read_bytes() == before


def test_a_broken_measurement_fails_and_has_no_verdict():
    program = (f"import runpy, sys; sys.path.insert(0, {str(TOP / 'bench')!r}); from measure import bench; "
               "bench.Enclave.__init__ = lambda *a, **k: 1 / 0; sys.argv = ['run', '--no-build', '--only', 'overhead']; "
               f"runpy.run_path({str(RUN)!r}, run_name='__main__')")
    done = subprocess.run(["/usr/bin/python3", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "bench/run: FAILED overhead" in done.stderr and "ZeroDivisionError" in done.stderr
    assert "met" not in done.stdout


def test_stopped_by_a_signal_it_leaves_nothing(tmp_path):
    """However it was started: a shell's background jobs ignore SIGINT, for one."""
    process = subprocess.Popen([RUN, "--no-build", "--only", "attest", "--attestations", "1000000"], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)},
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob("tee-rex-bench-*/1/nsm/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    assert process.returncode == 130 and list(tmp_path.iterdir()) == []
    left = [p for p in pathlib.Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in command_line(p)]
    assert left == []


def command_line(path):
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_verdicts_and_documents():
    r = report.Result()
    base = r.add("one", [0.010, 0.012, 0.011], "s")
    twice = r.add("two", [0.020, 0.024, 0.022], "s", base)
    assert twice.ratio == pytest.approx(2) and twice.cells() == ["two", "0.022 s", "0.020 s – 0.024 s", "2.000 ×"]
    r.check("two ≤ one", f"{twice.ratio:.1f} ×", twice.ratio <= 1)
    assert not r.met() and "two ≤ one: 2.0 ×: NOT met" in r.text() and "**NOT met**" in r.markdown()
    marker = report.MARKER.format(name="x")
    text = f"before\n{marker}\nold\n{report.END_MARKER}\nafter\n"
    assert report.write_into(text, "x", "new") == f"before\n{marker}\nnew\n{report.END_MARKER}\nafter\n"
    for wrong in ("", text * 2, text.replace(report.END_MARKER, "")):
        with pytest.raises(ValueError):
            report.write_into(wrong, "x", "new")


def test_the_document_has_a_place_for_every_measurement():
    text = (TOP / "docs" / "BENCHMARKS.md").read_text()
    names = re.search(r"^NAMES = \[(.*)\]$", RUN.read_text(), re.M)[1]
    for name in re.findall(r'"(\w+)"', names):
        assert report.write_into(text, name, "x").count("\nx\n") == 1, name
