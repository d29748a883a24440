"""tee-rex config, and a gateway that is told by one."""
import json
import pathlib
import subprocess

import pytest

from conftest import Program, wait_for

VECTORS = pathlib.Path(__file__).resolve().parents[1] / "vectors" / "settings"
GOOD = sorted(VECTORS.glob("good*.yaml"))
BAD = sorted(set(VECTORS.glob("*.yaml")) - set(GOOD))


@pytest.fixture
def config(build):
    def run(*arguments, status=0):
        done = subprocess.run([build / "tee-rex", "config", *map(str, arguments)], capture_output=True, timeout=20)
        assert done.returncode == status, (done.stdout, done.stderr)
        return done.stdout.decode(), done.stderr.decode()
    return run


def test_check_says_everything_that_is_wrong(config):
    out, err = config("check", *BAD[:30], "--json", status=1)
    answer = json.loads(out)
    assert not answer["ok"] and [f["file"] for f in answer["files"]] == [str(p) for p in BAD[:30]]
    for f, path in zip(answer["files"], BAD):
        wanted = [f"{path}:{line[5:]}" for line in path.read_text(errors="replace").splitlines() if line.startswith("# => ")]
        assert not f["ok"] and f["problems"] == wanted
    assert err.splitlines() == [p for f in answer["files"] for p in f["problems"]]


def test_check_is_quiet_about_good_ones(config):
    for path in GOOD:
        assert config("check", path) == (f"{path}: ok\n", "")
    out, _ = config("check", *GOOD, "--json")
    assert json.loads(out)["ok"]


def test_two_instances_cannot_share_an_address(config, tmp_path):
    for name in "a", "b", "c":
        (tmp_path / f"{name}.yaml").write_text("gateway: {listen: '127.0.0.1:1'}\n" if name != "c" else "enclave: {cid: 16}\n")
    _, err = config("check", *(tmp_path / f"{n}.yaml" for n in "abc"), status=1)
    assert err == f"{tmp_path}/b.yaml: gateway.listen: {tmp_path}/a.yaml has the same\n"


@pytest.mark.parametrize("path", GOOD, ids=lambda p: p.stem)
def test_show_reads_back_as_the_same(config, tmp_path, path):
    shown = tmp_path / "shown.yaml"
    shown.write_text(config("show", path)[0])
    first, second = (json.loads(config("show", p, "--json")[0])["settings"] for p in (path, shown))
    assert {k: v["value"] for k, v in first.items()} == {k: v["value"] for k, v in second.items()}
    assert {k for k, v in first.items() if v["line"]} == {k for k, v in second.items() if v["line"]}


def test_the_example_is_a_configuration_of_defaults(config, tmp_path):
    example = tmp_path / "example.yaml"
    text = config("example")[0]
    example.write_text(text)
    settings = json.loads(config("show", example, "--json")[0])["settings"]
    assert all(v["line"] is None for v in settings.values())
    keys = [k["key"] for k in json.loads(config("keys", "--json")[0])["keys"]]
    assert list(settings) == keys
    for key in keys:
        assert f"\n  #{key.split('.')[1]}: " in text


def test_wrong_usage(config):
    assert "one argument" in config("show", status=2)[1]
    assert "Actions:" in config("shwo", status=2)[1]
    assert "no name of an instance" in config("check", "a b", status=2)[1]
    assert "No such file" in config("show", "/nonexistent.yaml", status=1)[1]


def test_a_gateway_by_its_configuration(build, short_dir, free_port):
    """The file says where, an option overrides it, and a list on the command line replaces the file's."""
    file = short_dir / "front.yaml"
    file.write_text(f"gateway:\n  listen: '127.0.0.1:{free_port}'\n  enclave: unix:{short_dir}/none.sock\n"
                    "  trusted_proxies: [10.0.0.0/8]\n")
    with Program([build / "tee-rex", "gateway", file], short_dir) as g:
        wait_for(lambda: "listening on" in g.stderr, 10, "gateway listening")
        assert f"http://127.0.0.1:{free_port}" in g.stderr
        assert g.stop() == 0
    with Program([build / "tee-rex", "gateway", "--file", file, "--listen", f"unix:{short_dir}/h", "--trusted-proxy", "unix"], short_dir) as g:
        wait_for(lambda: "listening on" in g.stderr, 10, "gateway listening")
        assert f"unix:{short_dir}/h" in g.stderr
        assert g.stop() == 0


@pytest.mark.parametrize("text, said", [
    ("gateway: {listn: 1}", ":1: there is no key gateway.listn; did you mean gateway.listen?"),
    ("enclave: {cpus: 2}", "the configuration has no gateway.listen"),
])
def test_a_gateway_refuses_a_bad_configuration(build, short_dir, text, said):
    file = short_dir / "front.yaml"
    file.write_text(text)
    done = subprocess.run([build / "tee-rex", "gateway", file], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and said in done.stderr


def test_a_gateway_without_an_instance(build):
    done = subprocess.run([build / "tee-rex", "gateway", "no-such-instance"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert 'there is no instance "no-such-instance"; it would be /etc/tee-rex/no-such-instance.yaml' in done.stderr


def test_an_instance_by_its_configuration(build, short_dir):
    """The name of the file is the instance's; an option overrides what the file says."""
    import uuid
    name = "test-" + uuid.uuid4().hex[:12]
    file = short_dir / f"{name}.yaml"
    (short_dir / "measured").write_text("[recipe]\ncrs = none\n")
    pcrs = ["15=" + c * 96 for c in "ab"]
    file.write_text(f"enclave:\n  backend: process\n  config: {short_dir}/measured\n  state: {short_dir}/nsm\n  pcrs: ['{pcrs[0]}']\n")
    measured = [subprocess.run([build / "tee-rex", "run", file, "--measure", *more], capture_output=True, text=True, check=True).stdout
                for more in ([], ["--pcr", pcrs[1]])]
    assert pcrs[0] in measured[0] and pcrs[1] in measured[1] and pcrs[0] not in measured[1]
    with Program([build / "tee-rex", "run", file], short_dir) as run:
        wait_for(lambda: "ready: " in run.stdout or not run.running(), 60, "ready")
        assert f'SIMULATED enclave "{name}"' in run.stdout
        assert run.stop() == 0


@pytest.mark.parametrize("arguments, said", [
    (["--backend", "process", "--image", "/x"], "--image: the process backend runs plain programs"),
    (["--backend", "process", "--memory", "512"], "--memory: the process backend has no memory"),
    (["--backend", "nowhere"], "there is no backend \"nowhere\""), (["no-such-instance"], "there is no instance"),
    (["--backend", "process", "--cid", "4294967295"], "--cid must be between"),
])
def test_run_used_wrongly(build, arguments, said):
    done = subprocess.run([build / "tee-rex", "run", *arguments], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and said in done.stderr, done.stderr
