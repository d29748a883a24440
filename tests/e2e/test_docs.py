"""What is made from the option tables: manual pages and completion, by the real shells and the real formatter."""
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import pytest

from conftest import TOP


def need(program):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (packages.txt, section test)")


@pytest.fixture(scope="module")
def share(build, tmp_path_factory):
    out = tmp_path_factory.mktemp("docs")
    done = subprocess.run([TOP / "scripts/make-docs", build, out], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return out / "share"


def help_block(build, title, *words):
    text = subprocess.run([build / "tee-rex", *words, "--help"], capture_output=True, text=True).stdout
    return re.findall(r"^  (\S+) ", text.split(f"\n{title}:\n")[1].split("\n\n")[0], re.M) if f"\n{title}:\n" in text else []


@pytest.fixture(scope="module")
def tables(build):
    """"run" or "image ls" -> its table."""
    found = {}
    for command in help_block(build, "Commands"):
        for words in [[command, a] for a in help_block(build, "Actions", command)] or [[command]]:
            done = subprocess.run([build / "tee-rex", *words, "--help=json"], capture_output=True, text=True)
            found[" ".join(words)] = json.loads(done.stdout)
    return found


def page(share, name):
    done = subprocess.run(["man", "-l", share / "man/man1" / f"{name}.1"], capture_output=True, text=True,
                          env={**os.environ, "MANWIDTH": "200", "LC_ALL": "C.UTF-8"})
    return re.sub("\u2010|\u2011|\u2212", "-", re.sub(".\b", "", done.stdout))


def test_every_command_has_a_page_with_every_option(share, tables):
    need("man")
    for command, table in tables.items():
        text = page(share, "tee-rex-" + command.split()[0])
        for o in table["options"]:
            assert re.search(rf"--{o['long']}(?![a-z0-9-])", text), f"{command}: --{o['long']} is not in the manual"
        assert table["about"] and all(o["help"] for o in table["options"]), command


def test_the_first_page_and_the_keys(build, share, tables):
    need("man")
    top = page(share, "tee-rex")
    for command in tables:
        assert f"tee-rex-{command.split()[0]}(1)" in top
    keys = json.loads(subprocess.run([build / "tee-rex", "config", "keys", "--json"], capture_output=True).stdout)["keys"]
    done = subprocess.run(["man", "-l", share / "man/man5/tee-rex.yaml.5"], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    text = re.sub(".\b", "", done.stdout)
    for k in keys:
        assert k["key"].split(".")[1] in text, k


def test_an_invented_option_is_an_error(build, tmp_path):
    """The check of the check: a page that describes what does not exist fails the build."""
    copy = tmp_path / "tree"
    shutil.copytree(TOP / "man", copy / "man")
    (copy / "scripts").mkdir()
    shutil.copy(TOP / "scripts/make-docs", copy / "scripts")
    with open(copy / "man/tee-rex-upload.1") as f:
        text = f.read()
    (copy / "man/tee-rex-upload.1").write_text(text.replace(".SH OPTIONS\n", ".SH OPTIONS\n.TP\n.B \\-\\-invented\nDoes nothing.\n"))
    (copy / "man/tee-rex-verify.1").unlink()
    done = subprocess.run([copy / "scripts/make-docs", build, tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "tee-rex-upload.1: describes --invented" in done.stderr and "tee-rex-verify.1 is missing" in done.stderr


def test_pages_are_well_formed(share):
    need("mandoc")
    for path in sorted(share.glob("man/man*/*")):
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "error", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_gateway_options_and_keys_are_in_step(build, tables):
    """Every option of the gateway has a key, and every key of its section an option."""
    keys = json.loads(subprocess.run([build / "tee-rex", "config", "keys", "--json"], capture_output=True).stdout)["keys"]
    options = {o["long"] for o in tables["gateway"]["options"]} - {"help", "file"}
    assert options == {k["option"] for k in keys if k["key"].startswith("gateway.")}


@pytest.mark.parametrize("page", sorted((TOP / "docs").glob("*.md")), ids=lambda p: p.stem)
def test_tests_that_documents_name_exist(page):
    """`test_x.py::test_y`, and `::test_z` after it for another one of that file."""
    file = None
    for name, test in re.findall(r"`(?:tests/e2e/)?(test_\w+\.py)?(?:::(test_\w+))?`", page.read_text()):
        if name:
            file = (TOP / "tests/e2e" / name).read_text()
        if test:
            assert file is not None and f"def {test}(" in file, f"{name or '…'}::{test}"


# --- completion -------------------------------------------------------------------------------------------------
def in_bash(share, line):
    words = line.split(" ")
    script = f"""source {share}/bash-completion/completions/tee-rex
compopt() {{ :; }}
COMP_WORDS=({' '.join("'" + w + "'" for w in words)}); COMP_CWORD={len(words) - 1}
_tee_rex tee-rex '{words[-1]}' '{words[-2]}'
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-u", "-c", script], capture_output=True, text=True, cwd=share)
    assert done.stderr == ""
    return set(done.stdout.split())


def in_fish(share, line):
    script = f"source {share}/fish/vendor_completions.d/tee-rex.fish; complete -C '{line}'"
    done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, cwd=share, timeout=60,
                          env={**os.environ, "HOME": str(share)})
    assert done.stderr == ""
    return {l.split("\t")[0] for l in done.stdout.splitlines()}


def in_zsh(share, line):
    """What a terminal shows when the tabulator is pressed."""
    def read_until(done, seconds):
        text, end = b"", time.monotonic() + seconds
        while not done(text) and time.monotonic() < end and select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            text += os.read(fd, 65536)
        return text
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(share)
        os.execve(shutil.which("zsh"), ["zsh", "-f", "-i"], {"HOME": str(share), "TERM": "dumb", "PATH": os.environ["PATH"], "LC_ALL": "C"})
    try:
        os.write(fd, f"PS1=; fpath=({share}/zsh/site-functions $fpath); autoload -Uz compinit; compinit -D -u; LISTMAX=9999; "
                     "stty columns 200 rows 999; echo REA''DY\n".encode())
        assert b"READY" in read_until(lambda t: b"READY" in t, 20)
        read_until(lambda t: False, 0.3)
        os.write(fd, line.encode() + b"\t")
        text = read_until(lambda t: False, 1.5)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(fd)
    return set(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", " ", text.decode()).split())


@pytest.mark.parametrize("shell, ask", [("bash", in_bash), ("fish", in_fish), ("zsh", in_zsh)])
def test_completion(share, tables, shell, ask):
    need(shell)
    assert ask(share, "tee-rex ver") >= {"verify"}
    assert {c.split()[0] for c in tables} <= ask(share, "tee-rex ")
    assert {"check", "show", "example", "keys"} <= ask(share, "tee-rex config ")
    assert {"--prove-rate", "--prove-burst", "--prove-timeout"} <= ask(share, "tee-rex gateway --prove-")
    assert {"--json", "--help"} <= ask(share, "tee-rex image ls --")
    assert {"nitro", "qemu", "process"} <= ask(share, "tee-rex run --backend ")
    assert {"bash-completion", "fish", "man", "zsh"} <= {w.rstrip("/") for w in ask(share, "tee-rex run --config ")}


def test_bash_offers_every_option(share, tables):
    for command, table in tables.items():
        assert in_bash(share, f"tee-rex {command} --") == {f"--{o['long']}" for o in table["options"]}
