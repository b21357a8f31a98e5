# SPDX-License-Identifier: MIT
#
#   make demo      make a disk image, convert it back, prove the bytes equal
#   make test      build and run all tests
#   make           build the library and the tool
#   make fuzz      feed broken images to every decoder (SECONDS=10 each)
#   make bench     time byre beside qemu-img
#   make install   install below PREFIX (and DESTDIR)
#   make clean     remove everything that was built
#
# `make demo`, `make test` and `make fuzz` first install what they need, from
# Debian's packages, as root or with sudo; `make deps` and `make test-deps` do
# only that.  Everything else is Meson: see CONTRIBUTING.md.

BUILD = build
PREFIX ?= /usr/local
SECONDS ?= 10
# Options for `meson setup`, as in MESON_FLAGS=-Dwerror=true
MESON_FLAGS ?=

.PHONY: build deps test-deps demo test fuzz bench install clean

build: $(BUILD)/build.ninja
	meson compile -C $(BUILD)

$(BUILD)/build.ninja:
	meson setup -Dtests=false $(MESON_FLAGS) $(BUILD)

deps:
	tests/install-packages.sh build demo

test-deps:
	tests/install-packages.sh build test

demo: deps
	$(MAKE) build
	tests/demo.sh $(BUILD)

test: test-deps
	test -f $(BUILD)/build.ninja || meson setup $(MESON_FLAGS) $(BUILD)
	meson configure -Dtests=true $(MESON_FLAGS) $(BUILD)
	meson compile -C $(BUILD)
	python3 tests/run.py $(BUILD)

fuzz:
	tests/install-packages.sh build fuzz
	tests/fuzz.sh build-fuzz $(SECONDS)

bench: deps
	$(MAKE) build
	python3 bench/convert.py --byre $(BUILD)/tool/byre
	python3 bench/requests.py --byre $(BUILD)/tool/byre

install: $(BUILD)/build.ninja
	meson configure -Dprefix=$(PREFIX) $(BUILD)
	meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) build-* demo
