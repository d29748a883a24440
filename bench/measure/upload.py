"""A prover version of 200 MB into the enclave, against the least anybody could do with the same bytes: copy them into memory
and hash them. Source and destination are in memory, so no disk takes part."""
import struct
import subprocess

from .bench import BUILD, sha256, stub_config, timed
from frames import DATA, END, Exchange, frame, request

TITLE = "Upload of a 200 MB prover"
TARGETS = ["all"]
SIZE = 200 * 1000 * 1000
PIECE = 64 << 10
RATIO_MAX, REFERENCE_S = 2, 1.5


def copy_and_hash(source, copy, hasher):
    def run():
        subprocess.run(["cp", source, copy], check=True)
        subprocess.run([*hasher, copy], check=True, stdout=subprocess.DEVNULL)
    seconds = timed(run)
    copy.unlink()
    return seconds


def by_frames(e, data, digest):
    """What an upload costs when its client costs next to nothing: the digest is known, the pieces are not copied."""
    def run():
        with Exchange(e.socket, 120) as x:
            x.send(request("upload", version="bench", sha256=digest, size=len(data)))
            for at in range(0, len(data), PIECE):
                piece = data[at:at + PIECE]
                head = struct.pack(">IB", len(piece), DATA)
                sent = x.socket.sendmsg([head, piece])
                if sent < len(head) + len(piece):
                    x.send((head + piece)[sent:])
            x.send(frame(END))
            assert x.code() == "ok"
    return timed(run)


def by_command(e, source):
    return timed(lambda: subprocess.run([BUILD / "tee-rex", "upload", "--socket", e.socket, "bench", source], check=True,
                                        stdout=subprocess.DEVNULL))


def measure(bench, result):
    source, copy = bench.random_file("binary", bench.options.upload_bytes or SIZE), bench.memory / "copy"
    data, digest = memoryview(source.read_bytes()), bytes.fromhex(sha256(source))
    with bench.enclave(stub_config(source)) as e:
        by_command(e, source)                    # from here on each upload replaces one of the same size
        found = bench.turns({
            "cp": lambda: copy_and_hash(source, copy, ["sha256sum"]),
            "cp, openssl": lambda: copy_and_hash(source, copy, ["openssl", "dgst", "-sha256"]),
            "tee-rex upload": lambda: by_command(e, source),
            "frames": lambda: by_frames(e, data, digest),
        })
    base = result.add("`cp` into memory, then `sha256sum`", found["cp"], "ms")
    fast = result.add("`cp` into memory, then `openssl dgst -sha256`", found["cp, openssl"], "ms", base)
    command = result.add("`tee-rex upload`", found["tee-rex upload"], "ms", base)
    frames = result.add("frames on the service socket", found["frames"], "ms", base)
    for row, what in ((command, "`tee-rex upload`"), (frames, "frame socket")):
        result.check(f"{what} ≤ 2 × `cp` + `sha256sum`", f"{row.ratio:.2f} × (of `openssl dgst`: {row.median / fast.median:.2f} ×)",
                     row.ratio <= RATIO_MAX)
    result.check("`tee-rex upload` sooner than the reference server's 1.5 – 1.9 s", f"{command.median:.2f} s",
                 command.median <= REFERENCE_S)
