"""libteerex-attest as somebody else's program meets it: what `make install` put down, found by pkg-config, shared and static; only
teerex_* to collide with; the manual's example; several threads; little stack and no memory left allocated."""
import os
import re
import shutil
import subprocess

import pytest

from conftest import TOP

REAL = TOP / "tests/vectors/attestation"
TIME, PCR0 = 1725719859545, "0=e72a46ca80a260fb044a125442f0c7e331813bcbaf9724d9f3857758992766f2d65710a27aa94ae3949dd54e7c9fe86a"
MODULE = "i-0a22e5c5f24d22174-enc0191cceb4289903f"
ENTRY_POINTS = {"teerex_verify", "teerex_code_name", "teerex_pcr_set_add", "teerex_policy_parse", "teerex_root_from_pem", "teerex_aws_root"}

CLIENT = r"""
#include <stdio.h>
#include <teerex_attest.h>
int fail(void);                         /* a name that the library uses inside */
int fail(void) { return 1; }
int main(int argc, char **argv)
{
	static unsigned char document[TEEREX_DOCUMENT_MAX];
	struct teerex_pcr_set set = { .mask = 0 };
	struct teerex_policy policy = { .now_ms = TIME, .sets = &set, .set_count = 1 };
	struct teerex_result result;
	FILE *f = argc == 3 ? fopen(argv[1], "rb") : NULL;
	if (f == NULL || teerex_pcr_set_add(&set, argv[2]) != 0)
		return fail();
	enum teerex_code code = teerex_verify(document, fread(document, 1, sizeof document, f), &policy, &result);
	printf("%s %s\n", teerex_code_name(code), result.module_id);
	return fclose(f);
}
"""

# eight threads, each with 64 KiB of stack, with a cache and without; the same verdicts as ever, and the heap as it was
THREADS = r"""
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <teerex_attest.h>
static unsigned char document[TEEREX_DOCUMENT_MAX];
static size_t size;
static struct teerex_pcr_set set;
struct worker { pthread_t thread; unsigned wrong; struct teerex_cache cache; struct teerex_result result; unsigned char changed[TEEREX_DOCUMENT_MAX]; };
static void *work(void *arg)
{
	struct worker *w = arg;
	struct teerex_policy policy = { .now_ms = TIME, .sets = &set, .set_count = 1 };
	for (int i = 0; i < 30; i++) {
		policy.cache = i % 2 ? &w->cache : NULL;
		w->wrong += teerex_verify(document, size, &policy, &w->result) != TEEREX_OK || strcmp(w->result.module_id, MODULE) != 0;
		memcpy(w->changed, document, size);
		w->changed[size - 1 - (size_t)i] ^= 1;
		w->wrong += teerex_verify(w->changed, size, &policy, &w->result) != TEEREX_COSE_BAD_SIGNATURE;
	}
	return NULL;
}
int main(int argc, char **argv)
{
	enum { N = 8 };
	static struct worker w[N];
	unsigned wrong = 0;
	pthread_attr_t small;
	FILE *f = argc == 3 ? fopen(argv[1], "rb") : NULL;
	if (f == NULL || teerex_pcr_set_add(&set, argv[2]) != 0 || pthread_attr_init(&small) != 0 || pthread_attr_setstacksize(&small, 65536) != 0)
		return 1;
	size = fread(document, 1, sizeof document, f);
	fclose(f);
	for (int i = 0; i < N; i++)
		if (pthread_create(&w[i].thread, &small, work, &w[i]) != 0)
			return 1;
	for (int i = 0; i < N; i++) {
		pthread_join(w[i].thread, NULL);
		wrong += w[i].wrong;
	}
	work(&w[0]);
	size_t before = mallinfo2().uordblks;
	work(&w[0]);
	printf("%u wrong, %zd bytes more\n", wrong, (ssize_t)(mallinfo2().uordblks - before));
	return 0;
}
"""


@pytest.fixture(scope="module")
def flags(installed):
    if shutil.which("pkg-config") is None:
        pytest.skip("pkg-config is not installed (packages.txt, section build)")

    def ask(*options):
        done = subprocess.run(["pkg-config", *options, "teerex-attest"], check=True, capture_output=True, text=True,
                              env={**os.environ, "PKG_CONFIG_PATH": str(installed / "lib/pkgconfig")})
        return done.stdout.split()
    return ask


@pytest.fixture(scope="module")
def compiled(flags, tmp_path_factory):
    """A program of this text, against the installation; how: further options."""
    directory = tmp_path_factory.mktemp("client")

    def build(text, *how, name="client"):
        (directory / f"{name}.c").write_text(f'#define TIME {TIME}u\n#define MODULE "{MODULE}"\n' + text)
        static = ["--static"] if "-static" in how else []
        subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Wno-unused-macros", "-Werror", *how, directory / f"{name}.c",
                        "-o", directory / name, *flags("--cflags", "--libs", *static)], check=True, timeout=120)
        return directory / name
    return build


def run(program, installed, shared=True):
    return subprocess.run([program, REAL / "production.bin", PCR0], check=True, capture_output=True, text=True, timeout=60,
                          env={"LD_LIBRARY_PATH": str(installed / "lib")} if shared else {}).stdout


@pytest.mark.parametrize("compiler, language", [("gcc", "c"), ("clang", "c"), ("g++", "c++"), ("clang++", "c++")])
def test_the_public_header_stands_alone(compiler, language, installed, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    source = tmp_path / "use.src"
    source.write_text('#include <teerex_attest.h>\nint use(void);\nint use(void) { struct teerex_cache c = { { { 0 } }, 0, 0 }; return (int)c.count_ + TEEREX_OK; }\n')
    standard = "-std=c99" if language == "c" else "-std=c++11"
    subprocess.run([compiler, "-x", language, standard, "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                    "-I", installed / "include", source], check=True)


def test_shared(compiled, installed):
    program = compiled(CLIENT)
    needed = subprocess.run(["readelf", "-dW", program], check=True, capture_output=True, text=True).stdout
    assert "[libteerex-attest.so.0]" in needed and "libcrypto" not in needed     # the caller links with one library
    assert run(program, installed) == f"ok {MODULE}\n"


def test_static(compiled, installed):
    """Everything in the program, and only the archive in it."""
    assert run(compiled(CLIENT, "-static", name="static"), installed, shared=False) == f"ok {MODULE}\n"


def test_only_the_archive(installed, tmp_path):
    (tmp_path / "client.c").write_text(f"#define TIME {TIME}u\n" + CLIENT)
    library = installed / "lib/libteerex-attest.a"
    compiler = ["gcc", "-std=c11", "-I", installed / "include", tmp_path / "client.c"]
    subprocess.run([*compiler, library, "-lcrypto", "-o", tmp_path / "client"], check=True)
    assert run(tmp_path / "client", installed, shared=False) == f"ok {MODULE}\n"
    # a plug-in that carries it inside
    subprocess.run([*compiler, "-shared", "-fPIC", "-Dmain=plugin", library, "-lcrypto", "-Wl,-z,text", "-o", tmp_path / "plugin.so"], check=True)


def test_names_and_state(installed):
    """The names are those of the header, in both libraries; all that is written is what of libcrypto's algorithms was looked up."""
    declared = set(re.findall(r"\b(teerex_\w+)\(", re.sub(r"/\*.*?\*/", "", (installed / "include/teerex_attest.h").read_text(), flags=re.S)))
    assert declared == ENTRY_POINTS
    for library, options in ("libteerex-attest.a", ["-g"]), ("libteerex-attest.so", ["-D"]):
        symbols = subprocess.run(["nm", *options, "--defined-only", installed / "lib" / library], check=True, capture_output=True, text=True).stdout
        assert {line.split()[-1] for line in symbols.splitlines() if " " in line.strip()} == ENTRY_POINTS, library
    symbols = subprocess.run(["nm", installed / "lib/libteerex-attest.a"], check=True, capture_output=True, text=True).stdout
    written = {line.split()[2].split(".")[0] for line in symbols.splitlines() if re.search(r" [bBC] ", line)}
    assert written <= {"fetched", "hkdf"}, written
    sections = subprocess.run(["readelf", "-SW", installed / "lib/libteerex-attest.a"], check=True, capture_output=True, text=True).stdout
    data = re.findall(r"\] (\.data(?:\.(?!rel\.ro)\S+)?) +PROGBITS +\S+ +\S+ +(\S+)", sections)
    assert data and all(int(size, 16) == 0 for _, size in data), data


def test_threads(compiled, installed):
    assert run(compiled(THREADS, "-pthread", name="threads"), installed) == "0 wrong, 0 bytes more\n"


def test_the_example_of_the_manual(compiled, installed):
    text = (TOP / "man/teerex_attest.3").read_text().split(".SH EXAMPLE\n")[1].split(".fi")[0]
    text = "\n".join(line for line in text.splitlines() if not line.startswith(".nf") and not line.startswith(".RS") and not line.startswith(".RE"))
    text = text.replace(r"\en", r"\n").replace(r"\-", "-").replace("0=e72a46ca80a2...", PCR0)
    compiled(r"""#include <stdio.h>
#include <teerex_attest.h>
static int usage(void) { return 2; }
static void use_key(const uint8_t *key, size_t size) { printf("%zu %d\n", size, key[0]); }
int main(int argc, char **argv)
{
	static const uint8_t nonce[32], document[1];
	size_t size = sizeof document;
	(void)argc;
	(void)argv;
""" + text + "\n\treturn 0;\n}\n", name="example")
    # and the one at the top of the header
    text = (installed / "include/teerex_attest.h").read_text().split("*/")[0]
    text = "\n".join(line[6:] for line in text.splitlines() if line.startswith(" *     ")).replace("0=e72a46ca…", PCR0).replace("the image you built or audited", "")
    program = compiled(r"""#include <stdio.h>
#include <teerex_attest.h>
static void encrypt_to(const uint8_t *key, size_t size) { printf("%zu %d\n", size, key[0]); }
int main(int argc, char **argv)
{
	static uint8_t nonce[32], document[TEEREX_DOCUMENT_MAX];
	FILE *f = fopen(argv[argc - 2], "rb");
	size_t document_size = f == NULL ? 0 : fread(document, 1, sizeof document, f);
""" + text.replace("\n", "\n\t") + "\n\treturn 0;\n}\n", name="header")
    done = subprocess.run([program, REAL / "production.bin", PCR0], capture_output=True, text=True, env={"LD_LIBRARY_PATH": str(installed / "lib")})
    assert done.returncode == 0 and done.stderr.startswith("refused: "), done
