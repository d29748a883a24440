"""Answers that were promised, and the end of the gateway: told to stop, told to drain, or killed in each state of a job."""
import os
import signal
import stat
import subprocess
import time

import pytest

from conftest import Program, wait_for
from test_gateway import OUTCOMES, prover, start  # noqa: F401 (fixtures)
from test_gateway_jobs import ASYNC, Hold, count, hold, leave, post, state  # noqa: F401
from test_gateway_operator import call
from test_gateway_service import scrape

LOST = ("The gateway was started anew since it accepted this job, whose answer was lost with it or has been kept long enough: "
        "post the request again")


@pytest.fixture
def keeping(start, prover, short_dir):
    """Starts gateways on one directory, each after the one before has ended."""
    def run(*options):
        return start(prover.path, "--keep-dir", short_dir / "kept", *options)
    run.directory = short_dir / "kept"
    return run


def files(keeping):
    return sorted(p for p in keeping.directory.iterdir())


def killed(gateway):
    gateway.process.kill()
    assert gateway.process.wait() == -signal.SIGKILL


def asleep(gateway, job, seconds=5):
    return wait_for(lambda: (lambda a: a.json.get("state") == "done" and a)(gateway.get(job)), seconds)


# --- over a restart -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["kill -9", "SIGTERM"])
def test_an_answer_survives(keeping, prover, how):
    first = keeping()
    accepted = first.prove(b"x" * 5000, x_aztec_version="5.0.0", **ASYNC)
    job = accepted.headers["Location"]
    assert accepted.json["answer_survives_restart"] is True
    before = asleep(first, job)
    kept, = files(keeping)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600 and stat.S_IMODE(keeping.directory.stat().st_mode) == 0o700
    killed(first) if how == "kill -9" else first.stop()
    second = keeping()
    after = second.get(job + "?wait=5")
    assert after.status == 200 and after.json == before.json and after.headers["Cache-Control"] == "no-store"
    assert after.headers["x-prove-duration-ms"] == before.headers["x-prove-duration-ms"]
    # and is what it would be without the restart: joined, shown again, left
    assert second.prove(b"x" * 5000, x_aztec_version="5.0.0").json == before.json["result"] and count(prover, "prove") == 1
    leave(second, job)
    second.get(job).error(410, LOST, "cancelled")
    assert files(keeping) == []


def test_killed_in_each_state(keeping, prover, hold):
    """Waiting, sent, proving: the next gateway says that the job is lost. Done: it has the answer."""
    first = keeping()
    proving = post(first, b"1")
    wait_for(lambda: state(first, proving) == "proving")
    prover.handlers["prove"] = lambda x: (x.read_data(), x.event(stage="queued", position=1), x.wait_gone())
    sent, waiting = post(first, b"2"), post(first, b"3")
    wait_for(lambda: first.get(sent).json["position"] == 1)
    assert files(keeping) == []
    killed(first)
    hold.go.set()
    prover.handlers["prove"] = hold
    second = keeping()
    for job in proving, sent, waiting:
        second.get(job).error(410, LOST, "cancelled")
    done = post(second, b"1")                            # nothing is in the way of posting it again
    answer = asleep(second, done)
    killed(second)
    third = keeping()
    assert third.get(done).json == answer.json
    third.get(waiting).error(410, LOST, "cancelled")


def test_each_id_lives_and_leaves_by_itself(keeping, prover, hold):
    first = keeping()
    a, b, c = (post(first, b"x") for _ in range(3))
    hold.go.set()
    asleep(first, a)
    leave(first, b)
    killed(first)
    second = keeping()
    assert state(second, a) == state(second, c) == "done"
    second.get(b).error(410, LOST, "cancelled")
    leave(second, a)
    killed(second)
    third = keeping()
    third.get(a).error(410, LOST, "cancelled")
    assert state(third, c) == "done"
    leave(third, c)
    assert files(keeping) == []


def test_the_time_that_was_promised_goes_on(keeping, prover):
    first = keeping("--result-keep", "3")
    job = post(first, b"x")
    began = time.monotonic()
    asleep(first, job)
    first.stop()
    second = keeping("--result-keep", "3")
    assert state(second, job) == "done"
    wait_for(lambda: second.get(job).status == 410, 6)
    assert 2 < time.monotonic() - began < 6 and files(keeping) == []
    job = post(second, b"x")
    asleep(second, job)
    killed(second)
    time.sleep(3.1)
    third = keeping("--result-keep", "3")
    third.get(job).error(410, LOST)
    assert files(keeping) == [] and "it has been kept long enough" in third.stderr


def test_no_more_than_may_be_promised(keeping, prover):
    first = keeping("--results-max", "8")
    jobs = [post(first, b"%d" % i) for i in range(6)]
    for job in jobs:
        asleep(first, job)
    killed(first)
    second = keeping("--results-max", "4")
    assert sorted(second.get(job).status for job in jobs) == [200] * 4 + [410] * 2
    assert len(files(keeping)) == 4 and second.stderr.count("there are as many answers as may be promised") == 2


def test_a_synchronous_answer_and_a_failure_leave_nothing(keeping, prover):
    gateway = keeping()
    assert gateway.prove(b"x").status == 200
    prover.handlers["prove"] = lambda x: (x.read_data(), x.error("crashed", signal=11))
    job = post(gateway, b"y")
    wait_for(lambda: state(gateway, job) == "failed")
    assert files(keeping) == []


# --- what may be wrong with the directory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "huge", "directory", "link", "fifo"])
def test_what_is_no_whole_answer_is_dropped(keeping, prover, damage, short_dir):
    first = keeping()
    job = post(first, b"x")
    asleep(first, job)
    killed(first)
    path, = files(keeping)
    whole = path.read_bytes()
    if damage in ("directory", "link", "fifo"):
        path.unlink()
    {"truncated": lambda: path.write_bytes(whole[:-1]), "flipped": lambda: path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]),
     "empty": lambda: path.write_bytes(b""), "huge": lambda: os.truncate(path, 1 << 33), "directory": path.mkdir,
     "link": lambda: path.symlink_to(short_dir / "elsewhere"), "fifo": lambda: os.mkfifo(path)}[damage]()
    (short_dir / "elsewhere").write_bytes(whole)
    (keeping.directory / ".new").write_bytes(whole[:10])         # what a kill in the middle of writing leaves
    (keeping.directory / "notes.txt").write_text("not ours")
    second = keeping()
    second.get(job).error(410, LOST, "cancelled")
    assert "is dropped: it is no whole answer" in second.stderr
    assert not (keeping.directory / ".new").exists() and (keeping.directory / "notes.txt").exists() and (short_dir / "elsewhere").exists()
    again = post(second, b"x")
    asleep(second, again)


def test_a_full_disk_costs_the_file_and_not_the_answer(start, prover, short_dir):
    place = short_dir / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"SKIPPED: a small file system cannot be mounted: {done.stderr}")
    try:
        gateway = start(prover.path, "--keep-dir", place / "kept", "--metrics", f"unix:{short_dir}/metrics")
        small = post(gateway, b"1")
        asleep(gateway, small)
        prover.handlers["prove"] = lambda x: (x.read_data(), x.reply(proof=(3000).to_bytes(4, "big") + bytes(32 * 3000), bb_sha256=bytes(32), signature=bytes(64)))
        large = post(gateway, b"2")
        answer = asleep(gateway, large)
        assert "an answer will not survive this gateway" in gateway.stderr and "No space left on device" in gateway.stderr
        assert "teerex_gateway_answers_unsaved_total 1" in scrape(short_dir / "metrics")[1]
        assert len(list((place / "kept").iterdir())) == 1
        killed(gateway)
        second = start(prover.path, "--keep-dir", place / "kept")
        assert state(second, small) == "done" and len(answer.body) > 100_000
        second.get(large).error(410, LOST)
        assert second.stop() == 0
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def refused(build, prover, directory, keep_dir):
    p = Program([build / "tee-rex", "gateway", "--listen", "127.0.0.1:0", "--enclave", f"unix:{prover.path}", "--keep-dir", keep_dir], directory)
    assert p.process.wait(10) == 1
    return p.stderr


def test_a_directory_that_is_not_its_own(build, prover, short_dir, keeping):
    open_to_all = short_dir / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o755)
    (short_dir / "link").symlink_to(open_to_all)
    for path, why in [(open_to_all, "closed to others (chmod 700)"), (short_dir / "link", "open the directory"), (short_dir / "no" / "where", "make the directory")]:
        assert why in refused(build, prover, short_dir, path)
    keeping()
    other = short_dir / "second"
    other.mkdir()
    assert "another gateway keeps its answers in" in refused(build, prover, other, keeping.directory)


# --- the end ----------------------------------------------------------------------------------------------------------------------


def test_sigterm_waits_for_accepted_jobs(keeping, prover, hold):
    """Nobody is connected for them. New ones are refused, clients are told how it goes, and the answers are kept."""
    first = keeping("--grace", "60")
    running, waiting = post(first, b"1"), post(first, b"2")
    wait_for(lambda: state(first, running) == "proving")
    first.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "2 accepted jobs under way" in first.stderr)
    first.prove(b"3", **ASYNC).error(503, "The gateway is stopping, try again later", "unavailable")
    assert state(first, waiting) in ("queued", "proving") and first.get("/health").status == 200
    hold.go.set()
    assert first.process.wait(10) == 0
    assert "accepted jobs did not end" not in first.stderr and "end with this gateway" not in first.stderr
    second = keeping()
    assert state(second, running) == state(second, waiting) == "done" and count(prover, "prove") == 2


def test_what_the_grace_does_not_reach_is_said(keeping, prover, hold):
    first = keeping("--grace", "1")
    job = post(first, b"1")
    wait_for(lambda: state(first, job) == "proving")
    assert first.stop() == 0
    assert "1 accepted jobs did not end in time and are lost" in first.stderr
    second = keeping()
    second.get(job).error(410, LOST, "cancelled")


def test_a_second_signal_does_not_wait(keeping, prover, hold):
    first = keeping("--grace", "60")
    post(first, b"1")
    first.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "stopping:" in first.stderr)
    began = time.monotonic()
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(5) == 0 and time.monotonic() - began < 3


def test_the_operators_drain_takes_its_time(start, prover, short_dir, hold):
    """No grace ends it; a signal then does."""
    gateway = start(prover.path, "--grace", "1", "--keep-dir", short_dir / "kept", "--operator", f"unix:{short_dir}/op")
    job = post(gateway, b"1")
    assert call(short_dir / "op", "POST", "/drain")[0] == 204
    wait_for(lambda: "stopping:" in gateway.stderr)
    time.sleep(2)
    assert gateway.running() and state(gateway, job) == "proving"
    assert call(short_dir / "op", "GET", "/jobs")[1]["draining"] is True
    hold.go.set()
    assert gateway.process.wait(10) == 0
    again = start(prover.path, "--grace", "1", "--keep-dir", short_dir / "kept", "--operator", f"unix:{short_dir}/op")
    assert state(again, job) == "done"
    hold.go.clear()
    post(again, b"2")
    assert call(short_dir / "op", "POST", "/drain")[0] == 204
    time.sleep(0.3)
    again.process.send_signal(signal.SIGTERM)
    assert again.process.wait(5) == 0 and "1 accepted jobs did not end in time" in again.stderr


def test_answers_nobody_fetched_and_nothing_keeps(start, prover, hold):
    gateway = start(prover.path, "--grace", "30")
    accepted = gateway.prove(b"1", **ASYNC)
    assert accepted.json["answer_survives_restart"] is False
    gateway.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "stopping:" in gateway.stderr)
    hold.go.set()
    assert gateway.process.wait(10) == 0
    assert "1 answers that were promised end with this gateway: there is no --keep-dir" in gateway.stderr
