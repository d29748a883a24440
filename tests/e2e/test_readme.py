"""The README as a stranger follows it: its blocks are run as they are written, one after the other, in this tree. Only the port,
which may be taken, the directory for trying out, and where a user's instances are, are the test's own."""
import os
import re
import subprocess

import pytest

from conftest import TOP
from images import entry, layer, simple_layout

README = (TOP / "README.md").read_text()
USING = README.split("## Using it\n")[1].split("\n## ")[0]
BLOCKS = ["".join(line[4:] + "\n" for line in block.splitlines()) for block in re.findall(r"(?:^    .*\n)+", USING, re.M)]
FIRST, SECOND, IMAGES, HOST = BLOCKS

# instances of its own: root's are in /run/tee-rex, whoever has a namespace to themselves may cover that
OWN = ["unshare", "--mount", "sh", "-ec", 'mkdir -p /run/tee-rex; mount -t tmpfs tmpfs /run/tee-rex; exec "$@"', "sh"] if os.geteuid() == 0 else []


@pytest.fixture
def run(tmp_path, free_port):
    def run(script, timeout=180):
        script = script.replace("$PWD/build/try", "build/try").replace("build/try", str(tmp_path / "try")).replace("8080", str(free_port))
        env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state"), "T": str(tmp_path)}
        done = subprocess.run([*OWN, "bash", "-euc", script], cwd=TOP, capture_output=True, text=True, timeout=timeout, env=env)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done
    return run


def in_two_terminals(first, second):
    """The first's last line stays in the foreground there; here it runs beside, and must end when the second stops it."""
    *before, last = first.rstrip("\n").splitlines()
    assert "tee-rex run" in last
    return "\n".join([*before, f"{last} >$T/ready 2>$T/said & until grep -q ^ready: $T/ready; do kill -0 $! || exit; sleep 0.05; done",
                      second.rstrip("\n"), "wait $!"]) + "\n"


def test_processes(run, tmp_path):
    said = run(in_two_terminals(FIRST, SECOND)).stdout
    assert all(word in said for word in ("5.0.0", "valid", "SIMULATED", "signed by the attested key", "default: stopped")), said
    assert (tmp_path / "try/proof").stat().st_size > 1000 and "SIMULATED" in (tmp_path / "ready").read_text()


def test_images(run, tmp_path):
    *before, last = IMAGES.rstrip("\n").splitlines()
    image = tmp_path / "layout"
    simple_layout(image, layer(entry("bin", "dir"), entry("bin/app", data=b"\x7fELF", mode=0o755)), config={"Cmd": ["/bin/app"]})
    said = run("\n".join(before).replace(" IMAGE ", f" {image} ").replace("build/app.eif", str(tmp_path / "app.eif"))).stdout
    assert '"PCR0"' in said and (tmp_path / "app.eif").stat().st_size > 1 << 20
    check_sizes()
    # the virtual machine is test_vm.py's; here that the line is one it takes
    said = run(last.replace(" --gateway", " --measure --gateway")).stdout
    assert re.match(r"0=[0-9a-f]{96}\n", said), said


def check_sizes():
    """What the README says of the image is so, give or take what a compiler or an update of Debian's changes."""
    listed = (TOP / "build/image/prover-TEST.files").read_text()
    found = {line.split()[3].rsplit("/", 1)[1]: int(line.split()[1]) for line in listed.splitlines()}
    told = re.search(r"tee-rex-launcher, tee-rex-prover \| ([\d ]+) \+ ([\d ]+) \|", README)
    for name, size in zip(("tee-rex-launcher", "tee-rex-prover"), told.groups()):
        assert abs(int(size.replace(" ", "")) - found[name]) < 0.15 * found[name], (name, found[name])
    megabytes = (TOP / "build/image/prover-TEST.eif").stat().st_size / 1e6
    assert abs(float(re.search(r"That one has ([\d.]+) MB", README)[1]) - megabytes) < 0.1 * megabytes, megabytes


def test_host(run, tmp_path):
    """What they find depends on the machine; that they are used rightly does not."""
    for line in HOST.splitlines():
        done = run(line.replace("build/prover.yaml", "$T/prover.yaml").replace(" #", " || [ $? = 1 ] #", 1))
        assert "usage" not in done.stderr.lower() and "unknown option" not in done.stderr, done.stderr
    assert (tmp_path / "prover.yaml").read_text().startswith("# ")


def test_every_block_is_run():
    assert len(BLOCKS) == 4 and all("build/tee-rex" in block for block in BLOCKS)
