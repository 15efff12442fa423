# finetools: fine-tune language models from the shell.
#   make            build all tools into build/bin
#   make check      run every test that needs no accelerator
#   make clean
# Options: V=1 (show commands), SAN=address,undefined, CC=clang, DESTDIR and PREFIX for install.

PREFIX ?= /usr/local
VERSION := 0.1.0
SAN ?=
OPT ?= -O2 -g

B := build$(if $(SAN),-san)
ifeq ($(V),1)
Q :=
else
Q := @
endif

CPPFLAGS_ALL := -Ilibcommon -I. -D_GNU_SOURCE -DFINETOOLS_VERSION='"$(VERSION)"' -DFINETOOLS_CUDA='"no"' $(CPPFLAGS)
CFLAGS_ALL := -std=gnu11 $(OPT) -ffp-contract=off -fno-math-errno -fopenmp -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wno-missing-field-initializers \
	$(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all) $(CFLAGS)
LDLIBS_ALL := -ljansson -lzstd -lpcre2-8 -lutf8proc -lxxhash -lm $(LDLIBS)
LDFLAGS_ALL := -fopenmp $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)

TOOLS := $(patsubst tools/%.c,%,$(wildcard tools/*.c))
LIB_SRC := $(wildcard libcommon/*/*.c kernels/cpu/*.c)
LIB_OBJ := $(LIB_SRC:%.c=$B/%.o)
UNIT := $(patsubst tests/unit/%.c,$B/tests/unit/%,$(wildcard tests/unit/*.c))
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,$B/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

.PHONY: all check clean tests
.DELETE_ON_ERROR:
.SECONDARY:

all: $(TOOLS:%=$B/bin/%)
tests: $(UNIT) $(FUZZ)

# Rebuild everything when the flags change.
FLAGS := $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDLIBS_ALL)
$B/flags: force
	@mkdir -p $(@D); echo '$(subst ','\'',$(FLAGS))' | cmp -s - $@ || echo '$(subst ','\'',$(FLAGS))' >$@
.PHONY: force

# Kernels for one instruction set: kernels/cpu/*_avx2.c, *_avx512.c are chosen at run time.
$B/kernels/cpu/%_avx2.o: CFLAGS_ISA := -mavx2 -mfma -mf16c
$B/kernels/cpu/%_avx512.o: CFLAGS_ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c -mprefer-vector-width=512

$B/%.o: %.c $B/flags
	@mkdir -p $(@D)
	$(if $(Q),@echo '  CC $<')
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(CFLAGS_ISA) -MMD -MP -c -o $@ $<

$B/libfinetools.a: $(LIB_OBJ)
	$(Q)rm -f $@; $(AR) rcs $@ $^

$B/bin/%: $B/tools/%.o $B/libfinetools.a
	@mkdir -p $(@D)
	$(if $(Q),@echo '  LD $@')
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LDLIBS_ALL)

$B/tests/unit/%: $B/tests/unit/%.o $B/libfinetools.a
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LDLIBS_ALL)

# A fuzz target replays files here; `make fuzz` builds the same source with libFuzzer.
$B/tests/fuzz/%: $B/tests/fuzz/fuzz_%.o $B/tests/fuzz/replay.o $B/libfinetools.a
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LDLIBS_ALL)

check: all tests
	BUILD=$(CURDIR)/$B prove --failures -j2 $(UNIT) $(wildcard tests/cli/*.t)

clean:
	rm -rf build build-san

-include $(LIB_OBJ:.o=.d) $(TOOLS:%=$B/tools/%.d) $(UNIT:%=%.d)
