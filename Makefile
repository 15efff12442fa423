# finetools: fine-tune language models from the shell.
#
#   make               all programs, into build/bin
#   make check         every test that needs no accelerator
#   make check-arm     the tests on 64-bit Arm: cross-compiled, run by an emulator; skipped where there is none
#   make check-gpu     with CUDA=1: the tests and speeds on the GPU of this machine, PARTS of them; gpu-carry: a folder to carry to one (CUDA_ARCHS=90a: less)
#   make demo          the whole road on the embedded base model, or on MODEL=dir DATA=file.json
#   make demo-dpo      preferences: the style of answers before and after, on the embedded base model
#   make bench         costs of the main work, beside the peers that are installed
#   make bench-quality perplexity of each way to quantize, and of the peers' folders
#   make cuda          the CUDA backend, build/lib/finetools-cuda.so (CUDA=1 builds it with the rest); cuda-report: registers and spills of its kernels for ARCH (90a), of which make cuda lets no hot one spill
#   make deps          install the Debian packages that the build and the tests need (deps-optional: those that widen the tests)
#   make install       PREFIX (/usr/local) and DESTDIR; also uninstall, installcheck
#   make fuzz          every fuzz target for SECONDS (60) each, with clang
#   make clean
#
# Variables: V=1 shows commands. CUDA=1 builds for GPUs too, with nvcc. LIBRARIES=no builds what needs no library: the kernels and their tests. SAN=address,undefined builds in build-san. CC, CFLAGS, CPPFLAGS, LDFLAGS, LDLIBS as usual.

VERSION := 0.1.0
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib/finetools
MANDIR ?= $(PREFIX)/share/man
COMPDIR ?= $(PREFIX)/share/bash-completion/completions
OPT ?= -O2 -g
SAN ?=
LIBRARIES ?= yes
SECONDS ?= 60
CUDA ?=

DEPS := gcc g++ libc6-dev perl libjansson-dev libzstd-dev libpcre2-dev libutf8proc-dev libxxhash-dev \
	$(if $(filter 1,$(CUDA)),$(if $(shell command -v nvcc || command -v /usr/local/cuda/bin/nvcc),,nvidia-cuda-toolkit))
DEPS_OPTIONAL := mandoc clang libomp-dev valgrind bash-completion gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user

B := build$(if $(SAN),-san)
Q := $(if $(filter 1,$(V)),,@)

.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
.PHONY: all tests cuda cuda-report cuda-spills check check-units check-arm check-gpu gpu-carry demo demo-dpo bench bench-quality fuzz fuzz-run completions install uninstall installcheck deps deps-optional clean force

ifneq ($(filter deps,$(MAKECMDGOALS)),)
# Nothing is probed before the packages are there; the other goals follow in a make of their own.
LATER := $(filter-out deps,$(MAKECMDGOALS))
deps:
	@sh make/deps.sh $(DEPS)
$(LATER): deps
	@+$(MAKE) --no-print-directory $@

else ifneq ($(filter-out clean deps-optional,$(or $(MAKECMDGOALS),all)),)

include $B/config.mk
include make/build.mk

endif

deps-optional:
	@sh make/deps.sh $(DEPS_OPTIONAL)

clean:
	rm -rf build build-san build-fuzz build-arm
