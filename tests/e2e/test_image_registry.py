"""tee-rex image ls against registries: the real one of the Debian package, and stand-ins that misbehave."""
import base64
import json
import os
import pathlib
import shutil
import subprocess
import threading
import time

import pytest

import images
from conftest import wait_for
from images import differences, digest, entry, layer, listed_tree, simple_layout
from registries import KEYS, EcrApi, Metadata, Proxy, Registry, Server, TokenServer, basic, breaking_off, certificate, ranged

BIG = layer(entry("etc/passwd", data=b"root:x:0:0::/root:\n"), entry("big", data=os.urandom(700_000)), entry("x/y", data=b"1"))


@pytest.fixture
def layout(tmp_path):
    return simple_layout(tmp_path / "layout", BIG, layer(entry("x/.wh.y"), entry("z", data=b"2")))


@pytest.fixture
def environment(tmp_path):
    """A user of their own: configuration, cache and home."""
    home = tmp_path / "home"
    (home / ".docker").mkdir(parents=True)
    clean = {k: None for k in os.environ if k.lower().endswith("_proxy") or k.startswith(("AWS_", "DOCKER_", "REGISTRY_"))}
    return {**clean, "HOME": str(home), "XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.fixture
def run(environment):
    def run(host, *options, name="team/it:it", plain=True, **env):
        env = {k: v for k, v in {**os.environ, **environment, **env}.items() if v is not None}
        done = subprocess.run([images.BUILD / "tee-rex", "image", "ls", "--json", *(["--plain-http"] if plain else []),
                               *map(str, options), f"{host}/{name}"], capture_output=True, env=env)
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)
    return run


def code(listing):
    return listing["error"]["code"]


def configure(environment, **config):
    (pathlib.Path(environment["HOME"]) / ".docker/config.json").write_text(json.dumps(config))


# --- the real registry --------------------------------------------------------------------------------------------

@pytest.fixture
def registry(tmp_path, free_port):
    config = tmp_path / "registry.yml"
    config.write_text(f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nhttp: {{addr: '127.0.0.1:{free_port}'}}\n"
                      f"storage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n")
    with open(tmp_path / "registry.log", "wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    images_url = f"127.0.0.1:{free_port}"

    def up():
        with __import__("socket").socket() as s:
            return s.connect_ex(("127.0.0.1", free_port)) == 0
    wait_for(up, 10, "the registry")
    yield images_url
    process.terminate()
    process.wait(10)


def push(layout, to, *options):
    done = subprocess.run(["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", *options, f"oci:{layout.path}:it", f"docker://{to}"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_real_registry(registry, layout, run, form):
    push(layout, f"{registry}/team/it:it", "--format", form)
    first = run(registry)
    assert first["kind"] == "registry" and first["fetched_bytes"] > 700_000
    assert differences(listed_tree(first), listed_tree(images.ls(layout.path))) == []
    second = run(registry)
    assert second["fetched_bytes"] == 0 and second["cached_bytes"] == first["fetched_bytes"] and second["files"] == first["files"]
    pinned = run(registry, name=f"team/it@{first['manifest_digest']}")
    assert pinned["files"] == first["files"]
    assert run(registry, name=f"team/it:other@{first['manifest_digest']}")["files"] == first["files"]
    assert code(run(registry, name="team/it:other")) == "not-found"
    assert code(run(registry, name="team/other")) == "not-found"
    assert code(run(registry, name=f"team/it@sha256:{'0' * 64}")) == "not-found"


# --- cache ----------------------------------------------------------------------------------------------------------

def cached(environment):
    blobs = pathlib.Path(environment["XDG_CACHE_HOME"]) / "tee-rex/blobs"
    return {p.name: p for p in blobs.iterdir() if p.name != "lock"} if blobs.exists() else {}


def test_cache_holds_what_was_verified(layout, run, environment):
    with Registry(layout) as r:
        run(r.host)
        kept = cached(environment)
        assert len(kept) == 3 and all(digest(p.read_bytes())[7:] == n for n, p in kept.items())
        count = len(r.requests)
        run(r.host)
        assert [q[1] for q in r.requests[count:]] == ["/v2/team/it/manifests/it"]


def test_damaged_cache_is_noticed_and_forgotten(layout, run, environment):
    with Registry(layout) as r:
        good = run(r.host)
        for path in cached(environment).values():
            data = path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            assert code(run(r.host)) == "digest-mismatch"
            assert not path.exists()
            assert run(r.host)["files"] == good["files"]
            path.write_bytes(data[:-1])      # another size is no hit at all
            assert run(r.host)["files"] == good["files"] and path.read_bytes() == data


def test_cache_limit(layout, run, environment, tmp_path):
    other = simple_layout(tmp_path / "second", layer(entry("big", data=os.urandom(700_000))))
    with Registry(layout) as r, Registry(other) as s:
        run(r.host, "--cache-limit", 1)
        first = set(cached(environment))
        assert len(first) == 3
        run(s.host, "--cache-limit", 1)
        left = cached(environment)
        assert sum(p.stat().st_size for p in left.values()) <= 1 << 20 and len(first & set(left)) < 3 and len(left) > len(first & set(left))
        shutil.rmtree(environment["XDG_CACHE_HOME"])
        listing = run(r.host, "--cache-limit", 0)
        assert "files" in listing and cached(environment) == {}
        # what is larger than the limit is not kept, and nothing else is thrown out for it
        huge = simple_layout(tmp_path / "huge", layer(entry("big", data=os.urandom(1_500_000))))
        run(s.host, "--cache-limit", 1)
        before = set(cached(environment))
        with Registry(huge) as h:
            assert "files" in run(h.host, "--cache-limit", 1)
        assert before <= set(cached(environment)) and all(p.stat().st_size < 1_500_000 for p in cached(environment).values())


def test_two_at_once(layout, run, environment):
    barrier = threading.Barrier(3, timeout=10)

    def wait(kind, name, headers, data, media):
        if kind == "blobs" and len(data) > 500_000:
            try:
                barrier.wait()
            except threading.BrokenBarrierError:
                pass
    with Registry(layout, quirk=wait) as r:
        results = [None] * 3
        threads = [threading.Thread(target=lambda i=i: results.__setitem__(i, run(r.host))) for i in range(3)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert all(x["files"] == results[0]["files"] for x in results)
    assert len(cached(environment)) == 3


def test_cache_that_cannot_be_made(layout, run, environment):
    pathlib.Path(environment["XDG_CACHE_HOME"]).write_text("a file")
    with Registry(layout) as r:
        assert "files" in run(r.host)
        assert code(run(r.host, "--cache", environment["XDG_CACHE_HOME"] + "/x")) == "io"


# --- transfers --------------------------------------------------------------------------------------------------------

def test_transfer_goes_on_where_it_broke_off(layout, run):
    starts = []

    def drop(kind, name, headers, data, media):
        if kind == "blobs" and len(data) > 500_000:
            start = int(headers.get("Range", "bytes=0-").split("=")[1].rstrip("-"))
            starts.append(start)
            if len(starts) < 5:
                part = data[start:]
                return breaking_off(part, 150_000, 206 if start else 200, **({"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}))
    with Registry(layout, quirk=drop) as r:
        listing = run(r.host)
        assert "files" in listing, listing
        assert len(starts) == 5 and starts == sorted(set(starts)) and starts[1] > 0
        assert listing["fetched_bytes"] < 720_000


@pytest.mark.parametrize("answer", ["whole", "earlier"])
def test_server_that_starts_over(layout, run, answer):
    seen = []

    def quirk(kind, name, headers, data, media):
        if kind == "blobs" and len(data) > 500_000:
            seen.append(headers.get("Range"))
            if len(seen) == 1:
                return breaking_off(data, 300_000)
            if answer == "whole":
                return 200, {}, data
            return 206, {"Content-Range": f"bytes 1000-{len(data) - 1}/{len(data)}"}, data[1000:]
    with Registry(layout, quirk=quirk) as r:
        assert "files" in run(r.host)
        assert len(seen) == 2 and seen[1].startswith("bytes=")


def test_wrong_range_is_refused(layout, run):
    seen = []

    def quirk(kind, name, headers, data, media):
        if kind == "blobs" and len(data) > 500_000:
            seen.append(1)
            if len(seen) == 1:
                return breaking_off(data, 300_000)
            return 206, {"Content-Range": f"bytes 600000-{len(data) - 1}/{len(data)}"}, data[600000:]
    with Registry(layout, quirk=quirk) as r:
        assert code(run(r.host)) == "registry-error"


@pytest.mark.parametrize("status, headers", [(500, {}), (503, {"Retry-After": "1"}), (429, {"Retry-After": "1"})])
def test_busy_registry_is_asked_again(layout, run, status, headers):
    times = []

    def busy(kind, name, headers_, data, media):
        times.append(time.monotonic())
        if len(times) in (1, 3):
            return status, headers, b"later"
    with Registry(layout, quirk=busy) as r:
        assert "files" in run(r.host)
        assert not headers or times[1] - times[0] >= 1


@pytest.mark.slow
def test_registry_that_stays_down(layout, run):
    with Registry(layout, quirk=lambda *a: (503, {}, b"\x1b[31mdown")) as r:
        listing = run(r.host)
        assert code(listing) == "registry-error" and "\\x1b[31mdown" in listing["error"]["message"]
    assert code(run("127.0.0.1:1")) == "network"


@pytest.mark.parametrize("what, expected", [
    ("flipped", "digest-mismatch"), ("longer", "size-mismatch"), ("empty", "size-mismatch"), ("other manifest", "digest-mismatch"),
    ("page", "registry-error"), ("endless document", "too-large"), ("schema 1", "unsupported-media-type"), ("garbage", "bad-json")])
def test_registry_that_lies(layout, run, environment, what, expected):
    name = "team/it:it"

    def lie(kind, blob, headers, data, media):
        large = kind == "blobs" and len(data) > 500_000
        return {"flipped": lambda: large and (200, {}, bytes([data[0] ^ 1]) + data[1:]),
                "longer": lambda: large and (200, {}, data + b"x"),
                "empty": lambda: large and (200, {}, b""),
                "other manifest": lambda: kind == "manifests" and (200, {"Content-Type": media}, data + b" "),
                "page": lambda: kind == "manifests" and (200, {"Content-Type": "text/html"}, b"<html>hello"),
                "endless document": lambda: kind == "manifests" and (200, {"Content-Length": 1 << 33}, lambda out: [out.write(b" " * 65536) for _ in range(100)]),
                "schema 1": lambda: kind == "manifests" and (200, {"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"},
                                                             b'{"schemaVersion":1,"fsLayers":[]}'),
                "garbage": lambda: kind == "manifests" and (200, {"Content-Type": media}, b"\xff\xfe")}[what]() or None
    if what == "other manifest":
        name = f"team/it@{layout.index[0]['digest']}"
    with Registry(layout, quirk=lie) as r:
        assert code(run(r.host, name=name)) == expected
    assert all(digest(p.read_bytes())[7:] == n for n, p in cached(environment).items())


def test_only_this_machine_without_tls(layout, run):
    for host in ("registry.example", "127.0.0.1.example.test", "10.0.0.1:5000", "localhost.example:80"):
        assert code(run(host)) == "bad-source"
    with Registry(layout) as r:
        assert code(run(r.host, plain=False)) == "network"
        assert "files" in run(f"localhost:{r.port}")


def test_tls_with_a_private_authority(layout, run, tmp_path):
    pem = certificate(tmp_path, "127.0.0.1")
    with Registry(layout, tls=pem) as r:
        assert "files" in run(r.host, "--registry-ca", pem, plain=False)
        assert code(run(r.host, plain=False)) == "network"
        assert code(run(f"localhost:{r.port}", "--registry-ca", pem, plain=False)) == "network"     # another name


# --- authorization ------------------------------------------------------------------------------------------------------

def auths(host, user="me", password="pass:word"):
    return {"auths": {host: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}}}


def test_anonymous_token(layout, run):
    with TokenServer() as t, Registry(layout, guard=t.guard) as r:
        assert "files" in run(r.host)
        assert [s for _, s in t.given] == ["repository:team/it:pull"]
        query = t.requests[0][1]
        assert query.startswith("/token?account=x&service=the%20%22registry%22&scope=repository%3Ateam%2Fit%3Apull")
        assert "Authorization" not in t.requests[0][2]


def test_token_with_password(layout, run, environment):
    with TokenServer("me", "pass:word") as t, Registry(layout, guard=t.guard) as r:
        listing = run(r.host)
        assert code(listing) == "not-authorized" and "log in" in listing["error"]["message"]
        configure(environment, **auths(r.host))
        assert "files" in run(r.host)
        configure(environment, **auths(r.host, password="wrong"))
        assert code(run(r.host, "--cache-limit", 0)) == "not-authorized"
        # the password went to the token server only
        assert not any(q[2].get("Authorization", "").startswith("Basic") for q in r.requests)


def test_token_that_runs_out(layout, run):
    def quirk(kind, name, headers, data, media):
        if kind == "blobs" and len(data) > 500_000 and len(t.given) == 1:
            t.given.append(("gone", ""))
            return 401, t.guard({})[1], b""
    with TokenServer() as t, Registry(layout, guard=lambda h: t.guard(h), quirk=quirk) as r:
        assert "files" in run(r.host)
        assert len(t.given) == 3


def test_identity_token(layout, run, environment):
    with TokenServer(refresh="re&fresh=token") as t, Registry(layout, guard=t.guard) as r:
        configure(environment, auths={r.host: {"identitytoken": "re&fresh=token"}})
        assert "files" in run(r.host)
        assert t.requests[0][0] == "POST" and "refresh" not in t.requests[0][1]


def guard_basic(user, password):
    return lambda h: None if h.get("Authorization") == basic(user, password) else (401, {"WWW-Authenticate": 'Basic realm="x"'}, b"")


def test_basic(layout, run, environment):
    with Registry(layout, guard=guard_basic("me", "pass:word")) as r:
        assert code(run(r.host)) == "not-authorized"
        configure(environment, **auths(r.host))
        assert "files" in run(r.host)
        configure(environment, auths={f"{r.host}/team": auths(r.host)["auths"][r.host], r.host: {"auth": "eDp5"}})
        assert "files" in run(r.host, "--cache-limit", 0)
        configure(environment, **auths(f"https://{r.host}/v1/"))
        assert "files" in run(r.host, "--cache-limit", 0)
        configure(environment, **auths(r.host, password="wrong"))
        assert code(run(r.host)) == "not-authorized"


@pytest.mark.parametrize("text", ["{", "[]", '{"auths":[]}', '{"auths":{"HOST":{"auth":"!!"}}}', '{"auths":{"HOST":{"auth":"bm9jb2xvbg=="}}}',
                                  '{"credHelpers":{"HOST":"../evil"}}', '{"credHelpers":{"HOST":"not-installed"}}'])
def test_broken_configuration(layout, run, environment, text):
    with Registry(layout, guard=guard_basic("me", "x")) as r:
        (pathlib.Path(environment["HOME"]) / ".docker/config.json").write_text(text.replace("HOST", r.host))
        assert code(run(r.host)) == "credentials"


@pytest.fixture
def helper(tmp_path):
    def make(name, script):
        path = tmp_path / "bin" / f"docker-credential-{name}"
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
        return f"{path.parent}:{os.environ['PATH']}"
    return make


def test_credential_helpers(layout, run, environment, helper, tmp_path):
    path = helper("good", f'read host; echo "$1 $host" >>{tmp_path}/asked; echo \'{{"ServerURL":"x","Username":"me","Secret":"s3 cret"}}\'')
    with Registry(layout, guard=guard_basic("me", "s3 cret")) as r:
        configure(environment, credHelpers={r.host: "good"}, credsStore="not-installed")
        assert "files" in run(r.host, PATH=path)
        configure(environment, credsStore="good")
        assert "files" in run(r.host, "--cache-limit", 0, PATH=path)
        assert (tmp_path / "asked").read_text() == f"get {r.host}\n" * 2
        # nothing stored there: what is in the file counts
        helper("empty", 'echo "credentials not found in native keychain"; exit 1')
        configure(environment, credsStore="empty", **auths(r.host, "me", "s3 cret"))
        assert "files" in run(r.host, "--cache-limit", 0, PATH=path)
        helper("broken", 'echo "locked\033[31m"; exit 1')
        configure(environment, credsStore="broken")
        listing = run(r.host, PATH=path)
        assert code(listing) == "credentials" and "locked\\x1b[31m" in listing["error"]["message"]
        for script in ("yes", "echo '{}'", "echo nonsense", "kill -9 $$", "exec head -c 200000 /dev/zero"):
            helper("odd", script + "\n")
            configure(environment, credsStore="odd")
            assert code(run(r.host, PATH=path)) == "credentials", script
    assert subprocess.run(["pgrep", "-f", "docker-credential-odd"], capture_output=True).returncode == 1


def test_helper_with_identity_token(layout, run, environment, helper):
    path = helper("token", 'echo \'{"ServerURL":"x","Username":"<token>","Secret":"refresh me"}\'')
    with TokenServer(refresh="refresh me") as t, Registry(layout, guard=t.guard) as r:
        configure(environment, credHelpers={r.host: "token"})
        assert "files" in run(r.host, PATH=path)


@pytest.mark.parametrize("challenge", ["Negotiate", "Bearer", 'Bearer service="x"', 'Bearer realm="http://registry.example/token"', 'Bearer realm="file:///etc/passwd"',
                                       'Bearer realm="https://user@127.0.0.1/"', 'Bearer realm="' + "x" * 2000 + '"'])
def test_challenges_that_make_no_sense(layout, run, challenge):
    with Registry(layout, guard=lambda h: (401, {"WWW-Authenticate": challenge}, b"")) as r:
        assert code(run(r.host)) in ("registry-error", "bad-redirect")


@pytest.mark.parametrize("answer", [b"{}", b'{"token":""}', b'{"token":7}', b'{"token":"a\\r\\nX-Evil: 1"}', b"x", b'{"token":"' + b"a" * 100_000 + b'"}'])
def test_tokens_that_make_no_sense(layout, run, answer):
    with Server(lambda *a: (200, {}, answer)) as t, \
            Registry(layout, guard=lambda h: (401, {"WWW-Authenticate": f'Bearer realm="{t.url}"'}, b"")) as r:
        assert code(run(r.host)) in ("registry-error", "bad-json")


# --- redirects --------------------------------------------------------------------------------------------------------

def redirect_blobs(to, status=307):
    return lambda kind, name, headers, data, media: (status, {"Location": to + name[7:]}, b"elsewhere") if kind == "blobs" else None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_authorization_stays_at_home(layout, run, environment, status):
    store = layout.path / "blobs/sha256"
    with Server(lambda m, path, h, b: ranged(h, (store / path[1:]).read_bytes())) as other, \
            Registry(layout, guard=guard_basic("me", "x"), quirk=redirect_blobs(other.url + "/", status)) as r:
        configure(environment, **auths(r.host, "me", "x"))
        assert "files" in run(r.host)
        assert len(other.requests) == 3 and not any("Authorization" in q[2] for q in other.requests)
        assert all("Authorization" in q[2] for q in r.requests[1:])


def test_authorization_goes_along_at_home(layout, run, environment):
    def quirk(kind, name, headers, data, media):
        return (307, {"Location": f"/v2/team/it/data/{name}"}, b"") if kind == "blobs" else None
    with Registry(layout, guard=guard_basic("me", "x"), quirk=quirk) as r:
        configure(environment, **auths(r.host, "me", "x"))
        assert "files" in run(r.host)


def test_authorization_does_not_come_back(layout, run, environment):
    with Server(lambda m, path, h, b: (307, {"Location": f"{r.url}/v2/team/it/data/sha256:{path[1:]}"}, b"")) as other, \
            Registry(layout, guard=guard_basic("me", "x"), quirk=redirect_blobs(other.url + "/")) as r:
        configure(environment, **auths(r.host, "me", "x"))
        assert code(run(r.host)) == "not-authorized"


def test_challenges_from_elsewhere_are_not_answered(layout, run, environment):
    with TokenServer() as thief, Server(lambda *a: thief.guard({})) as other, \
            Registry(layout, guard=guard_basic("me", "x"), quirk=redirect_blobs(other.url + "/")) as r:
        configure(environment, **auths(r.host, "me", "x"))
        assert code(run(r.host)) == "not-authorized"
        assert thief.requests == [] and len(other.requests) == 1


@pytest.mark.parametrize("to", ["http://registry.example/", "http://169.254.169.254/", "ftp://127.0.0.1/", "file:///etc/passwd#", "https://a:b@127.0.0.1/", "http://127.0.0.1.example/"])
def test_redirects_that_are_not_followed(layout, run, to):
    with Registry(layout, quirk=redirect_blobs(to)) as r:
        assert code(run(r.host)) == "bad-redirect"


def test_redirects_in_circles(layout, run):
    with Registry(layout, quirk=lambda kind, name, *a: (307, {"Location": f"/v2/team/it/blobs/{name}"}, b"") if kind == "blobs" else None) as r:
        assert code(run(r.host)) == "bad-redirect"
        assert len(r.paths("/blobs/")) == 6


def test_tls_does_not_become_plain(layout, run, tmp_path):
    pem = certificate(tmp_path, "127.0.0.1")
    store = layout.path / "blobs/sha256"
    with Server(lambda m, path, h, b: ranged(h, (store / path[1:]).read_bytes())) as other, \
            Registry(layout, quirk=redirect_blobs(other.url + "/"), tls=pem) as r:
        assert code(run(r.host, "--registry-ca", pem, plain=False)) == "bad-redirect"
        assert other.requests == []


# --- Amazon ECR ---------------------------------------------------------------------------------------------------------

REGION = "eu-west-9"
ECR = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"


@pytest.fixture
def ecr(layout, tmp_path, run):
    """A registry under an ECR name, reached through a proxy, with the API and the metadata service beside it."""
    pem = certificate(tmp_path, ECR)
    with EcrApi(REGION) as api, Metadata() as metadata, Registry(layout, guard=guard_basic("AWS", api.password), tls=pem) as r, \
            Proxy(r.port) as proxy:
        def pull(**env):
            return run(ECR, "--registry-ca", pem, plain=False, **{"HTTPS_PROXY": proxy.url, "AWS_ENDPOINT_URL_ECR": api.url,
                                                                 "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url, **env})
        yield pull, api, metadata, proxy


def test_ecr_with_the_instance_role(ecr):
    pull, api, metadata, proxy = ecr
    listing = pull()
    assert "files" in listing, listing
    assert [q[:2] for q in metadata.requests] == [("PUT", "/latest/api/token"), ("GET", "/latest/meta-data/iam/security-credentials/"),
                                                  ("GET", "/latest/meta-data/iam/security-credentials/reader")]
    assert len(api.requests) == 1 and set(proxy.names) == {f"{ECR}:443"}


def test_ecr_with_keys_of_the_environment(ecr):
    pull, api, metadata, _ = ecr
    keys = dict(AWS_ACCESS_KEY_ID="AKIAENV", AWS_SECRET_ACCESS_KEY="x/y+z")
    assert code(pull(**keys)) == "credentials" and metadata.requests == []
    api.keys = {"AccessKeyId": "AKIAENV", "SecretAccessKey": "x/y+z"}
    assert "files" in pull(**keys)
    assert code(pull(**{**keys, "AWS_SESSION_TOKEN": "a\r\nX: 1"})) == "credentials"


def test_ecr_without_a_role(ecr):
    pull, api, metadata, _ = ecr
    metadata.role = ""
    listing = pull()
    assert code(listing) == "credentials" and api.requests == []
    assert code(pull(AWS_EC2_METADATA_SERVICE_ENDPOINT="http://127.0.0.1:1")) == "network"


def test_ecr_answers_that_make_no_sense(ecr):
    pull, api, *_ = ecr
    for answer in (b"{}", b'{"authorizationData":[]}', b'{"authorizationData":[{"authorizationToken":"!!"}]}', b'{"authorizationData":[{"authorizationToken":"eA=="}]}'):
        api.handle = lambda *a: (200, {}, answer)
        assert code(pull()) == "credentials", answer
    api.handle = lambda *a: (400, {}, b'{"__type":"AccessDenied\x1b[1m"}')
    listing = pull()
    assert code(listing) == "credentials" and "AccessDenied\\x1b[1m" in listing["error"]["message"]


def test_ecr_keys_do_not_go_out_in_the_clear(ecr):
    pull, api, *_ = ecr
    assert code(pull(AWS_ENDPOINT_URL_ECR="http://api.example/")) == "bad-redirect"
