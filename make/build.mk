# Everything that needs the probes' answers ($B/config.mk). Files are found by their place: a new tool, module, test, fuzz
# target or page needs no edit here.

with_libraries = $(if $(filter no,$(LIBRARIES)),,$1)
CPPFLAGS_ALL := -Ilibcommon -I. -D_GNU_SOURCE -DFINETOOLS_VERSION='"$(VERSION)"' $(CPPFLAGS)
CFLAGS_ALL := -std=gnu11 $(OPT) -ffp-contract=off -fno-math-errno -fopenmp -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes \
	-Wmissing-prototypes -Wno-missing-field-initializers \
	$(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all) $(CFLAGS)
LDLIBS_ALL := $(call with_libraries,-ljansson -lzstd -lpcre2-8 -lutf8proc -lxxhash) $(OPENMP) -ldl -lm $(LDLIBS)
LDFLAGS_ALL := $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)

# Kernels for one instruction set are chosen at run time; other architectures than x86-64 leave them out.
ISA_SRC := $(wildcard kernels/cpu/*_avx2.c kernels/cpu/*_avx512.c kernels/cpu/*_amx.c)
TOOLS := $(patsubst tools/%.c,%,$(call with_libraries,$(wildcard tools/*.c)))
LIB_SRC := $(filter-out $(if $(HAVE_X86),,$(ISA_SRC)),$(wildcard libcommon/$(or $(call with_libraries,*),base)/*.c kernels/*.c kernels/cpu/*.c))
LIB_OBJ := $(LIB_SRC:%.c=$B/%.o)
UNIT := $(patsubst tests/unit/%.c,$B/tests/unit/%,$(wildcard $(or $(call with_libraries,tests/unit/*.c),tests/unit/kernels_*.c tests/unit/cpu.c)))
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
TEST_TOOLS := $(patsubst tests/tools/%.c,$B/tests/tools/%,$(wildcard tests/tools/*.c))
FAULTS := $(patsubst tests/faults/%.c,$B/tests/faults/%.so,$(wildcard tests/faults/*.c))
MAN := $(wildcard man/*.[157])

all: $(TOOLS:%=$B/bin/%) $B/libfinetools.a
include make/cuda.mk
tests: $(UNIT) $(TEST_TOOLS) $(FUZZ:%=$B/tests/fuzz/%) $(FAULTS) completions

# The probes run again when what they depend on changes.
export CC CFLAGS CPPFLAGS LDFLAGS LIBRARIES CUDA
$B/config.mk: make/probe.sh $B/probed-with
	@sh make/probe.sh $@
$B/probed-with: force
	@$(call write_if_changed,$(CC) $(CXX) $(CFLAGS) $(CPPFLAGS) $(LDFLAGS) $(LIBRARIES) $(CUDA))

# Everything is built again when the flags change.
$B/flags: force
	@$(call write_if_changed,$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LDLIBS_ALL))
quoted = '$(subst ','\'',$1)'
write_if_changed = mkdir -p $(@D); echo $(call quoted,$1) | cmp -s - $@ || echo $(call quoted,$1) >$@

$B/kernels/cpu/%_avx2.o: CFLAGS_ISA := -mavx2 -mfma -mf16c
# With sanitizers there are more variables than gcc would note the places of for a debugger: it says so, and takes twice as long.
$B/kernels/cpu/%_avx512.o: CFLAGS_ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c -mprefer-vector-width=512 \
	$(if $(SAN),-fno-var-tracking-assignments)
$B/kernels/cpu/bf16_avx512.o $B/kernels/cpu/bf16_amx.o: CFLAGS_ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mamx-tile \
	-mamx-bf16 -mavx2 -mfma -mf16c -mprefer-vector-width=512
# For tests; plain C, but fmaf() as one instruction makes it bearable. The sanitizers would take minutes to compile most of it, and have
# the same templates in the other levels and in the one in tiles.
$B/kernels/cpu/%_wide.o: CFLAGS_ISA = $(if $(HAVE_X86),-mavx2 -mfma) $(if $(SAN),$(if $(filter %_amx_wide.o,$@),,-fno-sanitize=all))

$B/%.o: %.c $B/flags
	@mkdir -p $(@D)
	$(if $(Q),@echo '  CC $<')
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(CFLAGS_ISA) -MMD -MP -c -o $@ $<

$B/libfinetools.a: $(LIB_OBJ)
	$(Q)rm -f $@; $(AR) rcs $@ $^

link = $(Q)mkdir -p $(@D); $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LDLIBS_ALL)

$B/bin/%: $B/tools/%.o $B/libfinetools.a
	$(if $(Q),@echo '  LD $@')
	$(link)

$B/tests/unit/%: $B/tests/unit/%.o $B/libfinetools.a
	$(link)

# Programs that tests run: makers of small inputs.
$B/tests/tools/%: $B/tests/tools/%.o $B/libfinetools.a
	$(link)

# Programs that measure; `make build/tests/bench/kernels` and run it.
$B/tests/bench/%: $B/tests/bench/%.o $B/libfinetools.a
	$(link)

$B/tests/gpu/%: $B/tests/gpu/%.o $B/libfinetools.a
	$(link)

# Here a fuzz target replays files; `make fuzz` builds the same source with libFuzzer.
$B/tests/fuzz/%: $B/tests/fuzz/fuzz_%.o $B/tests/fuzz/replay.o $B/libfinetools.a
	$(link)

# Preloaded by tests to make system calls fail; never sanitized itself.
$B/tests/faults/%.so: tests/faults/%.c $B/flags
	$(Q)mkdir -p $(@D); $(CC) -std=gnu11 -D_GNU_SOURCE -O1 -Wall -Wextra -shared -fPIC -o $@ $< -ldl

check: all tests
	BUILD='$(CURDIR)/$B' CC='$(CC)' prove --failures -j2 $(UNIT) $(wildcard tests/cli/*.t)

# RUNNER='program arguments' runs each test program.
check-units: all $(UNIT)
	prove --failures $(if $(RUNNER),-e '$(RUNNER)') $(UNIT)

# On a machine with a GPU; or from a folder that was filled elsewhere and carried there.
check-gpu: all tests $B/tests/gpu/speed
	BUILD='$(CURDIR)/$B' sh tests/gpu/check-gpu.sh $(PARTS)
gpu-carry: all tests $B/tests/gpu/speed
	sh make/gpu-carry.sh $B $B/gpu-carry

check-arm:
	@+sh make/check-arm.sh $(MAKE)

# The road from data to a merged checkpoint that answers: MODEL=dir DATA=file.json for a model and data of your own.
demo: all
	@BUILD='$(CURDIR)/$B' MODEL='$(MODEL)' DATA='$(DATA)' sh pipelines/demo.sh

# Preferences and what they change, on the embedded model.
demo-dpo: all
	@BUILD='$(CURDIR)/$B' sh pipelines/dpo.sh

# MODEL=dir measures that model; PEER_PYTHON=path a python whose packages do the same work.
bench: all tests $B/tests/bench/kernels $B/tests/bench/tokenizer
	@BUILD='$(CURDIR)/$B' MODEL='$(MODEL)' sh tests/bench/bench.sh

bench-quality: all
	@BUILD='$(CURDIR)/$B' sh tests/bench/quality.sh

fuzz:
	@command -v clang >/dev/null || { echo "make fuzz needs clang (make deps-optional)" >&2; exit 1; }
	@+$(MAKE) --no-print-directory B=build-fuzz CC=clang OPT='-O1 -g' SAN=fuzzer-no-link,address,undefined fuzz-run
fuzz-run: $(FUZZ:%=$B/fuzz/%)
	@for name in $(FUZZ); do \
		echo "== $$name"; mkdir -p $B/corpus/$$name; \
		$B/fuzz/$$name -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 \
			-artifact_prefix=$B/found-$$name- $B/corpus/$$name $(wildcard tests/fuzz/corpus/$$name) || exit 1; \
	done
# Nothing that is fuzzed computes, and kernels take long to build with a sanitizer.
$B/libparsers.a: $(filter-out $B/kernels/%,$(LIB_OBJ))
	$(Q)rm -f $@; $(AR) rcs $@ $^
$B/fuzz/%: $B/tests/fuzz/fuzz_%.o $B/libparsers.a
	$(Q)mkdir -p $(@D); $(CC) -fopenmp -fsanitize=fuzzer,address,undefined $(LDFLAGS) -o $@ $^ $(LDLIBS_ALL)

completions: $(TOOLS:%=$B/completions/%)
$B/completions/%: $B/bin/% make/completions.sh
	$(Q)mkdir -p $(@D); sh make/completions.sh $B/bin/$* >$@

# DESTDIR and PREFIX may hold spaces.
bin_to := "$(DESTDIR)$(BINDIR)"
lib_to := "$(DESTDIR)$(LIBDIR)"
completions_to := "$(DESTDIR)$(COMPDIR)"
man_to = "$(DESTDIR)$(MANDIR)/man$1"

install: all completions
	install -d $(bin_to) $(completions_to) $(foreach n,1 5 7,$(call man_to,$n))
	$(if $(TOOLS),install -m 755 $(TOOLS:%=$B/bin/%) $(bin_to))
	$(if $(TOOLS),install -m 644 $(TOOLS:%=$B/completions/%) $(completions_to))
	if [ -f $(CUDA_SO) ]; then install -d $(lib_to) && install -m 755 $(CUDA_SO) $(lib_to); fi
	$(foreach n,1 5 7,$(if $(filter %.$n,$(MAN)),install -m 644 $(filter %.$n,$(MAN)) $(call man_to,$n);))

remove = if [ -d $1 ]; then cd $1 && rm -f $2; fi
uninstall:
	$(call remove,$(bin_to),$(TOOLS))
	$(call remove,$(completions_to),$(TOOLS))
	$(call remove,$(lib_to),$(notdir $(CUDA_SO)))
	if [ -d $(lib_to) ]; then rmdir --ignore-fail-on-non-empty $(lib_to); fi
	$(foreach n,1 5 7,$(call remove,$(call man_to,$n),$(notdir $(filter %.$n,$(MAN))));)

installcheck:
	@sh make/installcheck.sh $(bin_to) "$(DESTDIR)$(MANDIR)" $(TOOLS)

-include $(LIB_OBJ:.o=.d) $(TOOLS:%=$B/tools/%.d) $(UNIT:%=%.d) $(wildcard $B/tests/bench/*.d $B/tests/gpu/*.d) $(TEST_TOOLS:%=%.d) $(FUZZ:%=$B/tests/fuzz/fuzz_%.d) $B/tests/fuzz/replay.d
