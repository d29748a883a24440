"""What ./demo says is true: each of its refusals is played as none, and as one for another reason, and the demo must end there, loudly.
Everything that it calls is a stand-in here; the real run is in test_real_proof.py."""
import os
import shutil
import subprocess

import pytest

from conftest import TOP

# how a stand-in behaves: TAMPERED is where the client was sent, WRONG what it was told to pin
TEE_REX = r"""#!/usr/bin/env bash
[ "$1" = --version ] && echo "tee-rex stand-in" && exit
[ "$1" = upload ] && exit
if [ "$1" = run ]; then
	case "$*" in *--measure*) echo "0=$(printf '%096d' 7)"; exit ;; esac
	echo "ready: SIMULATED enclave, service socket /nowhere, gateway here"
	exec sleep 60
fi
why=
case "$*" in
*"$(printf '%096d' 1)"*) why=${PCR:-refused: pcr-mismatch: PCR0 is another} ;;
*:1001*) why=${REQUEST:-HTTP 400 bad-input: bad-tag} ;;
*:1002*) why=${RESPONSE:-bad-signature: not of this answer} ;;
*) head -c 2004 /dev/zero >"${@:5:1}"; exit ;;
esac
[ "$why" = none ] && exit
[ "$why" = keeps ] && echo x >"${@:5:1}" && why="bad-signature"
echo "error: $why" >&2
exit 1
"""
BB = r"""#!/usr/bin/env bash
[ "${ACCEPTS_ALL:-}" = yes ] && exit
cmp -s "$5" <(head -c 2000 /dev/zero)
"""
PYTHON = r"""#!/usr/bin/env bash
case "$*" in *request) echo 1001 ;; *response) echo 1002 ;; *) echo 1000; exit ;; esac
exec sleep 60
"""


@pytest.fixture
def stage(tmp_path):
    """A tree with the real ./demo in it and nothing else that is real."""
    tree, path = tmp_path / "tree", tmp_path / "bin"
    for name, text in {"build/tee-rex": TEE_REX, "build/demo/prover/bb-TEST-CRS": BB, "../bin/python3": PYTHON, "../bin/make": "#!/bin/sh\n",
                       "scripts/install-packages": "#!/bin/sh\n", "scripts/test-prover": "#!/bin/sh\n"}.items():
        file = tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    (tree / "build/demo/prover/crs-TEST").mkdir()
    shutil.copy(TOP / "demo", tree)
    (tmp_path / "tmp").mkdir()

    def run(**variables):
        done = subprocess.run([tree / "demo"], capture_output=True, text=True, timeout=60,
                              env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path / "tmp"), **variables})
        assert list((tmp_path / "tmp").iterdir()) == []
        return done
    return run


def test_all_as_it_should_be(stage):
    done = stage()
    assert done.returncode == 0 and done.stderr == "", done
    for said in ("bb verify: the proof is valid (2000 bytes)", "wrong PCR0:          refused: pcr-mismatch", "tampered ciphertext: HTTP 400 bad-input",
                 "tampered answer:     bad-signature", "tampered proof:      bb verify says no", "Done. Real: "):
        assert said in done.stdout, said
    assert len(done.stdout.splitlines()) < 25 and max(map(len, done.stdout.splitlines())) < 180


@pytest.mark.parametrize("variables, said", [
    ({"PCR": "none"}, "wrong PCR0 was not refused"), ({"REQUEST": "none"}, "tampered ciphertext was not refused"),
    ({"RESPONSE": "none"}, "tampered answer was not refused"), ({"ACCEPTS_ALL": "yes"}, "bb accepted a changed proof"),
    ({"PCR": "connect: Connection refused"}, "was refused, but not as pcr-mismatch: connect"),
    ({"REQUEST": "HTTP 429 busy"}, "was refused, but not as bad-tag"), ({"RESPONSE": "no proof"}, "was refused, but not as bad-signature"),
    ({"RESPONSE": "keeps"}, "a refused run left a proof behind")])
def test_a_refusal_that_is_none_ends_it(stage, variables, said):
    done = stage(**variables)
    assert done.returncode == 1 and "demo: " in done.stderr and said in done.stderr, done
    assert "Done." not in done.stdout
