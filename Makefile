# make            build/tee-rex and its companions
# make check-unit unit tests and fuzz corpora under ASan+UBSan
# make clang      the whole tree with clang's warnings
# make fuzz       libFuzzer binaries in build/fuzz (clang)
# make image      build/image/prover.eif, the prover's enclave image: CRS=DIR [BB="FILE VERSION"] [CONFIG=FILE] [EPOCH=N]
# make deb        Debian packages in build/deb
# make arm64      the enclave's programs for arm64, in build/arm64
# make install    DESTDIR, PREFIX as usual
#
# Sources are found by wildcard: one archive per layer (src/<layer>), so a program gets exactly the
# layers it names in its link line and the linker drops the objects nobody calls.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.SECONDARY:
.DELETE_ON_ERROR:

VERSION := 0.1.0
PREFIX ?= /usr/local
UNITS = $(PREFIX)/lib/systemd/system
BUILD := build
CC := gcc
CLANG ?= clang
AR := ar

LAYERS := base format crypto openpgp attest image linux enclave host sim cli
WARN := -Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
BASE_FLAGS := -std=c11 -D_GNU_SOURCE -DTEEREX_VERSION='"$(VERSION)"' -Isrc $(WARN) -MMD -MP -g \
	-ffile-prefix-map=$(CURDIR)=.
HARDEN := -O2 -fPIE -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2 -fno-plt \
	-ffunction-sections -fdata-sections
LINK := -pie -Wl,-z,relro,-z,now,-z,noexecstack,--gc-sections,--as-needed
SANITIZE := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
CRYPTO_LIBS := -lcrypto
HOST_LIBS := -lcurl -ljansson -lyaml -lzstd -llz4 -lz

comma := ,
sources = $(wildcard src/$(1)/*.c src/$(1)/*/*.c)
mains := src/cli/main.c src/enclave/prover/main.c src/enclave/launcher/main.c src/enclave/init/main.c src/sim/main_nsm.c src/sim/main_vsock.c src/sim/vdpa_nsm.c
layer_objects = $(patsubst %.c,$(2)/%.o,$(filter-out $(mains),$(call sources,$(1))))
archives = $(foreach l,$(2),$(1)/lib$(l).a)

PROGRAMS := $(BUILD)/tee-rex $(BUILD)/tee-rex-prover $(BUILD)/tee-rex-launcher $(BUILD)/tee-rex-init $(BUILD)/tee-rex-sim-nsm $(BUILD)/tee-rex-sim-vsock
SHIM := $(BUILD)/libteerex-sim-nsm.so
LIBRARY := $(BUILD)/libteerex-attest.a
SONAME := libteerex-attest.so.0
SHARED := $(BUILD)/libteerex-attest.so.$(VERSION)
TESTS := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/*_test.c))
FUZZERS := $(patsubst fuzz/%.c,%,$(wildcard fuzz/*_fuzz.c))

.PHONY: arm64 image all docs test-tools check-unit clang fuzz install clean lint
all: $(PROGRAMS) $(SHIM) $(LIBRARY) $(SHARED)

# $(1) flavour directory, $(2) compiler, $(3) flags
define flavour
$(1)/%.o: %.c
	@mkdir -p $$(@D)
	$(2) $(BASE_FLAGS) $(3) -c -o $$@ $$<
$(foreach l,$(LAYERS),$(eval $(1)/lib$(l).a: $(call layer_objects,$(l),$(1))))
$(1)/lib%.a:
	@mkdir -p $$(@D); rm -f $$@
	$(AR) rcsD $$@ $$^
endef
$(eval $(call flavour,$(BUILD)/obj,$(CC),$(HARDEN)))
$(eval $(call flavour,$(BUILD)/pic,$(CC),$(HARDEN) -fPIC))
$(eval $(call flavour,$(BUILD)/asan,$(CC),$(SANITIZE)))
$(eval $(call flavour,$(BUILD)/clang,$(CLANG),-O1))
$(eval $(call flavour,$(BUILD)/fuzzobj,$(CLANG),-O1 -fsanitize=address$(comma)undefined$(comma)fuzzer-no-link -fno-sanitize-recover=all))

# Which layers each program may use, lowest last (link order).
LINK_CLI := cli sim host image attest openpgp linux crypto format base
LINK_PROVER := enclave openpgp linux crypto format base
LINK_LAUNCHER := enclave linux crypto format base
LINK_INIT := enclave linux format base
LINK_SIM := sim host image attest linux crypto format base
LINK_TEST := cli sim host image enclave attest openpgp linux crypto format base

$(BUILD)/tee-rex: $(BUILD)/obj/src/cli/main.o $(call archives,$(BUILD)/obj,$(LINK_CLI))
	$(CC) $(LINK) -o $@ $^ $(HOST_LIBS) $(CRYPTO_LIBS)
$(BUILD)/tee-rex-prover: $(BUILD)/obj/src/enclave/prover/main.o $(call archives,$(BUILD)/obj,$(LINK_PROVER))
	$(CC) $(LINK) -o $@ $^ $(CRYPTO_LIBS)
$(BUILD)/tee-rex-launcher: $(BUILD)/obj/src/enclave/launcher/main.o $(call archives,$(BUILD)/obj,$(LINK_LAUNCHER))
	$(CC) $(LINK) -o $@ $^
# Static: the boot ramdisk has no libraries.
$(BUILD)/tee-rex-init: $(BUILD)/obj/src/enclave/init/main.o $(call archives,$(BUILD)/obj,$(LINK_INIT))
	$(CC) $(LINK:-pie=-static-pie) -o $@ $^
$(BUILD)/tee-rex-sim-nsm: $(BUILD)/obj/src/sim/main_nsm.o $(call archives,$(BUILD)/obj,$(LINK_SIM))
	$(CC) $(LINK) -o $@ $^ $(CRYPTO_LIBS)

$(BUILD)/tee-rex-sim-vsock: $(BUILD)/obj/src/sim/main_vsock.o $(call archives,$(BUILD)/obj,$(LINK_SIM))
	$(CC) $(LINK) -o $@ $^ $(CRYPTO_LIBS)

# Preloaded into QEMU; not in an archive, because it stands in for open() and others.
# The shim shows only what it puts in place of libc.
$(eval $(call flavour,$(BUILD)/shim,$(CC),-O2 -fPIC -fvisibility=hidden -fstack-protector-strong))
$(SHIM): $(patsubst %,$(BUILD)/shim/src/%.o,sim/vdpa_nsm sim/nsm_queue sim/virtq base/bytes)
	$(CC) -shared -Wl,-z,relro,-z,now,-z,noexecstack,-z,defs -o $@ $^ -lpthread -ldl

# The verifier as a library: the attest layer and what it needs of those below, in one object whose
# only names are teerex_*, so that ours cannot meet the caller's. Position independent, so that a caller may
# put the archive into a shared object of its own.
$(LIBRARY): $(call archives,$(BUILD)/pic,attest crypto format base)
	$(CC) -r -nostdlib -o $@.o -Wl,--whole-archive $< -Wl,--no-whole-archive -Wl,--start-group $(wordlist 2,9,$^) -Wl,--end-group
	objcopy --wildcard --keep-global-symbol='teerex_*' $@.o
	rm -f $@; $(AR) rcsD $@ $@.o; rm -f $@.o
$(SHARED): $(LIBRARY)
	$(CC) -shared -Wl,-soname,$(SONAME) -Wl,-z,relro,-z,now,-z,noexecstack,-z,defs -o $@ -Wl,--whole-archive $< -Wl,--no-whole-archive $(CRYPTO_LIBS)
	ln -sf $(@F) $(BUILD)/$(SONAME); ln -sf $(SONAME) $(BUILD)/libteerex-attest.so

# --- tests ---------------------------------------------------------------------------------
asan_archives := $(call archives,$(BUILD)/asan,$(LINK_TEST))
$(BUILD)/asan/tests/%_test: $(BUILD)/asan/tests/unit/%_test.o $(asan_archives)
	$(CC) $(SANITIZE) -o $@ $< -Wl,--start-group $(asan_archives) -Wl,--end-group -lcmocka $(HOST_LIBS) $(CRYPTO_LIBS)
$(BUILD)/asan/fuzz/%_fuzz: $(BUILD)/asan/fuzz/%_fuzz.o $(BUILD)/asan/fuzz/replay_main.o $(asan_archives)
	$(CC) $(SANITIZE) -o $@ $(filter %.o,$^) -Wl,--start-group $(asan_archives) -Wl,--end-group $(HOST_LIBS) $(CRYPTO_LIBS)
fuzz_archives := $(call archives,$(BUILD)/fuzzobj,$(LINK_TEST))
$(BUILD)/fuzz/%_fuzz: $(BUILD)/fuzzobj/fuzz/%_fuzz.o $(fuzz_archives)
	@mkdir -p $(@D)
	$(CLANG) -fsanitize=address,undefined,fuzzer -o $@ $< -Wl,--start-group $(fuzz_archives) -Wl,--end-group $(HOST_LIBS) $(CRYPTO_LIBS)
$(BUILD)/tests/pgp_tool: $(BUILD)/obj/tests/tools/pgp_tool.o $(call archives,$(BUILD)/obj,openpgp crypto format base)
	@mkdir -p $(@D)
	$(CC) $(LINK) -o $@ $^ $(CRYPTO_LIBS)
$(BUILD)/tests/tools/hostile_host: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/tools/hostile_*.c)) $(call archives,$(BUILD)/obj,openpgp crypto format base)
	@mkdir -p $(@D)
	$(CC) $(LINK) -o $@ $^ $(CRYPTO_LIBS)
$(BUILD)/bench/verify_bench: $(BUILD)/obj/bench/verify_bench.o $(call archives,$(BUILD)/obj,attest crypto format base)
	@mkdir -p $(@D)
	$(CC) $(LINK) -o $@ $^ $(CRYPTO_LIBS)
$(BUILD)/bench/floor_server: bench/floor_server.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 -o $@ $<
$(BUILD)/bench/build_pipeline: $(BUILD)/obj/bench/build_pipeline.o $(call archives,$(BUILD)/obj,image attest crypto format base)
	@mkdir -p $(@D)
	$(CC) $(LINK) -o $@ $^ $(HOST_LIBS) $(CRYPTO_LIBS)
$(BUILD)/bench/openpgp_bench: $(BUILD)/obj/bench/openpgp_bench.o $(call archives,$(BUILD)/obj,openpgp crypto format base)
	@mkdir -p $(@D)
	$(CC) $(LINK) -o $@ $^ $(CRYPTO_LIBS)
# The launcher with switches for its guards: only to show that the attack tests' probes work without them.
$(eval $(call flavour,$(BUILD)/unsafe,$(CC),$(HARDEN) -DTEEREX_TEST_GUARDS))
$(BUILD)/tests/tee-rex-launcher-UNSAFE: $(BUILD)/unsafe/src/enclave/launcher/main.o $(call archives,$(BUILD)/unsafe,$(LINK_LAUNCHER))
	@mkdir -p $(@D)
	$(CC) $(LINK) -o $@ $^
# init that boots where no NSM is: to test it in a bare virtual machine.
$(BUILD)/tests/tee-rex-init-UNSAFE: $(BUILD)/unsafe/src/enclave/init/main.o $(call archives,$(BUILD)/unsafe,$(LINK_INIT))
	@mkdir -p $(@D)
	$(CC) $(LINK:-pie=-static-pie) -o $@ $^
$(BUILD)/tests/tools/%: tests/tools/%.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 $(TOOL_LINK) -o $@ $< -lcrypto -lpthread
$(BUILD)/tests/tools/evil_prover $(BUILD)/tests/tools/evil_cell $(BUILD)/tests/tools/vm_agent $(BUILD)/tests/tools/init_probe: TOOL_LINK := -static

$(BUILD)/tests/tools/nitro_standin.so: tests/tools/nitro_standin.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 -shared -fPIC -o $@ $<
$(BUILD)/tests/tools/nitro_boot: $(BUILD)/obj/tests/tools/nitro_boot.o $(call archives,$(BUILD)/obj,$(LINK_CLI))
	@mkdir -p $(@D)
	$(CC) $(LINK) -o $@ $^ $(HOST_LIBS) $(CRYPTO_LIBS) -lpthread
$(BUILD)/tests/tools/nitro_probe: $(BUILD)/obj/tests/tools/nitro_probe.o $(call archives,$(BUILD)/obj,linux format base)
	@mkdir -p $(@D)
	$(CC) $(LINK) -o $@ $^

# Init of a guest that tries out the launcher.
$(BUILD)/tests/guest_cell: $(BUILD)/obj/tests/tools/guest_cell.o $(call archives,$(BUILD)/obj,linux format base)
	@mkdir -p $(@D)
	$(CC) -static -Wl,--gc-sections -o $@ $^

# Programs that the end-to-end tests use.
test-tools: $(BUILD)/tests/pgp_tool $(BUILD)/tests/tools/evil_prover $(BUILD)/tests/tools/evil_cell $(BUILD)/tests/tee-rex-launcher-UNSAFE \
	$(BUILD)/tests/tools/hostile_host $(BUILD)/tests/guest_cell $(BUILD)/tests/tools/init_probe $(BUILD)/tests/tee-rex-init-UNSAFE $(BUILD)/tests/tools/nitro_standin.so \
	$(BUILD)/tests/tools/nitro_probe $(BUILD)/tests/tools/nitro_boot $(BUILD)/tests/tools/vm_agent

check-unit: $(TESTS:%=$(BUILD)/asan/tests/%) $(FUZZERS:%=$(BUILD)/asan/fuzz/%)
	@scripts/run-unit $(BUILD)/asan
fuzz: $(FUZZERS:%=$(BUILD)/fuzz/%)
clang: $(foreach l,$(LAYERS),$(call layer_objects,$(l),$(BUILD)/clang)) $(mains:%.c=$(BUILD)/clang/%.o) \
	$(patsubst %.c,$(BUILD)/clang/%.o,$(wildcard tests/unit/*.c fuzz/*.c))
lint:
	@scripts/check-layers

# Manual pages and completion: what man/ says and the option tables know.
docs: $(BUILD)/share/made
$(BUILD)/share/made: $(PROGRAMS) scripts/make-docs $(wildcard man/*)
	python3 scripts/make-docs $(BUILD) $(BUILD)
	@touch $@

# The enclave's programs for arm64, cross-compiled into build/arm64 (scripts/arm64-sysroot has libcrypto).
ARM64 := aarch64-linux-gnu-
arm64:
	@root=$$(scripts/arm64-sysroot) && $(MAKE) --no-print-directory BUILD=$(BUILD)/arm64 AR=$(ARM64)ar \
		CC="$(if $(findstring ccache,$(CC)),ccache )$(ARM64)gcc -isystem $$root/usr/include -isystem $$root/usr/include/aarch64-linux-gnu -L$$root/usr/lib/aarch64-linux-gnu -Wl,-rpath-link,$$root/usr/lib/aarch64-linux-gnu" \
		$(addprefix $(BUILD)/arm64/,tee-rex-init tee-rex-launcher tee-rex-prover)

# Without CRS it is a TEST image, and called so (scripts/prover-image --help).
image: all
	@scripts/prover-image $(if $(CRS),--crs $(CRS)) $(if $(BB),--bb $(BB)) $(if $(CONFIG),--config $(CONFIG)) $(if $(EPOCH),--epoch $(EPOCH))

install: all docs
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/tee-rex $(DESTDIR)$(PREFIX)/lib/pkgconfig \
		$(DESTDIR)$(PREFIX)/include
	install -m 755 $(BUILD)/tee-rex $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(filter-out $(BUILD)/tee-rex,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/libexec/tee-rex/
	install -m 644 $(SHIM) $(DESTDIR)$(PREFIX)/libexec/tee-rex/
	install -m 644 $(LIBRARY) $(DESTDIR)$(PREFIX)/lib/
	install -m 755 $(SHARED) $(DESTDIR)$(PREFIX)/lib/
	ln -sf $(notdir $(SHARED)) $(DESTDIR)$(PREFIX)/lib/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(PREFIX)/lib/libteerex-attest.so
	install -m 644 src/attest/teerex_attest.h $(DESTDIR)$(PREFIX)/include/
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' packaging/teerex-attest.pc.in \
		> $(DESTDIR)$(PREFIX)/lib/pkgconfig/teerex-attest.pc
	install -d $(DESTDIR)$(UNITS) $(DESTDIR)$(PREFIX)/lib/systemd/system-generators $(DESTDIR)$(PREFIX)/lib/sysusers.d \
		$(DESTDIR)$(PREFIX)/lib/tmpfiles.d $(DESTDIR)$(PREFIX)/share/doc/tee-rex
	for u in packaging/tee-rex-reserve.service packaging/systemd/*@.*; do \
		sed -e 's|@PREFIX@|$(PREFIX)|' $$u > $(DESTDIR)$(UNITS)/$${u##*/}; chmod 644 $(DESTDIR)$(UNITS)/$${u##*/}; done
	sed -e 's|@PREFIX@|$(PREFIX)|' packaging/systemd/tee-rex-generator > $(DESTDIR)$(PREFIX)/lib/systemd/system-generators/tee-rex-generator
	chmod 755 $(DESTDIR)$(PREFIX)/lib/systemd/system-generators/tee-rex-generator
	install -m 644 packaging/systemd/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/tee-rex.conf
	install -m 644 packaging/systemd/tmpfiles.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/tee-rex.conf
	install -m 644 packaging/systemd/simulation.conf $(wildcard docs/*.md) README.md $(DESTDIR)$(PREFIX)/share/doc/tee-rex/
	$(BUILD)/tee-rex config example > $(DESTDIR)$(PREFIX)/share/doc/tee-rex/example.yaml
	cd $(BUILD)/share && find man bash-completion zsh fish -type f -exec install -D -m 644 {} $(DESTDIR)$(PREFIX)/share/{} \;

# Debian packages in build/deb.
deb:
	scripts/make-deb $(BUILD)/deb

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' -type f 2>/dev/null)
