# The CUDA backend, kernels/cuda/*.cu, twice: by nvcc as $B/lib/finetools-cuda.so, and by g++ over the emulator of
# tests/cuda-on-cpu as $B/lib/finetools-cuda-on-cpu.so, which tests load.

CUDA_SRC := $(wildcard kernels/cuda/*.cu)
CUDA_RUNTIME := $(wildcard kernels/cuda/runtime*.cu)
CUDA_HOST := $(patsubst %,libcommon/base/%.c,err dtype mem quantized dynamic_map) kernels/cpu/ref_quantize.c kernels/cpu/state_codes.c

# For --version; alone, so that the rest needs no new build when nvcc comes or goes.
$B/libcommon/cli/help.o: CFLAGS_ISA := -DFINETOOLS_CUDA='"$(if $(NVCC),yes,no)"'
$B/libcommon/cli/help.o: $B/config.mk

# --- nvcc ---

# Code for each of these, and intermediate code from which the driver makes that of what comes after (NVCC_ARCHS: what this nvcc knows of them).
comma := ,
CUDA_ARCHS := $(NVCC_ARCHS)
CUDA_LAST := $(lastword $(filter-out %a,$(CUDA_ARCHS)))
CUDA_SO := $B/lib/finetools-cuda.so
CUDA_DIR = $(patsubst %/bin/nvcc,%,$(realpath $(NVCC)))
NVCCFLAGS_ALL = -std=c++17 -O3 -lineinfo -fmad=false -Werror all-warnings -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra,-Wno-unused-parameter \
	$(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$a$(comma)code=sm_$a) $(foreach a,$(CUDA_LAST),-gencode arch=compute_$a$(comma)code=compute_$a) \
	-Ilibcommon -I. $(NVCCFLAGS)

# nvcc takes a LIBRARIES in the environment for libraries to link.
run_nvcc = env -u LIBRARIES $(NVCC)

$B/cuda/%.o: %.cu $B/cuda-flags
	@mkdir -p $(@D)
	$(if $(Q),@echo '  NVCC $<')
	$(Q)$(run_nvcc) $(NVCCFLAGS_ALL) -Xptxas -v -MMD -MP -c -o $@ $< 2>$@.log || { cat $@.log >&2; rm -f $@; exit 1; }
$B/cuda-flags: force
	@$(call write_if_changed,$(NVCC) $(NVCCFLAGS_ALL))

$(CUDA_SO): $(CUDA_SRC:%.cu=$B/cuda/%.o) $(CUDA_HOST:%.c=$B/pic/%.o)
	@mkdir -p $(@D)
	$(if $(Q),@echo '  LD $@')
	$(Q)$(run_nvcc) -shared -cudart static -Xlinker -z,defs -Xlinker --exclude-libs,ALL -Xlinker -rpath,$(CUDA_DIR)/lib64 -o $@ $^ -lpthread -ldl

# Host code of shared objects, never sanitized itself.
$B/pic/%.o: %.c $B/flags
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -Ilibcommon -I. -O2 -g -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno -Wall -Wextra -Wshadow -Wvla \
		-Wstrict-prototypes -Wmissing-prototypes -Wno-missing-field-initializers -MMD -MP -c -o $@ $<

# Registers, shared memory and spills of every kernel, as ptxas told them when it was built. What all kernels are written for is sm_90a: there no hot kernel may spill
# (COLD: attention in f32, up to two words of three kernels).
COLD := attention_kernel|attention_dq_kernel|attention_dkv_kernel
CUDA_LOGS = $(CUDA_SRC:%.cu=$B/cuda/%.o.log)
cuda:
	@+$(MAKE) --no-print-directory CUDA=1 $(CUDA_SO) cuda-spills
cuda-report:
	@+$(MAKE) --no-print-directory CUDA=1 $(CUDA_SO)
	@sh make/cuda-report.sh $(or $(ARCH),90a) $(CUDA_LOGS)
cuda-spills: $(CUDA_SO)
	@sh make/cuda-report.sh $(or $(ARCH),90a) $(CUDA_LOGS) | awk '$$1 + $$2 > 0 && !/$(COLD)/ { print "spills: " $$0; bad = 1 } END { exit bad }'

$(if $(NVCC),$(eval check: cuda-spills))
$(if $(NVCC),$(eval all: $(CUDA_SO)))

# --- the emulator ---

EMU_SO := $B/lib/finetools-cuda-on-cpu.so
EMU_C := $(wildcard tests/cuda-on-cpu/*.c)
EMU_CUDA := $(filter-out $(CUDA_RUNTIME),$(CUDA_SRC))
EMU_OBJ := $(EMU_C:%.c=$B/pic/%.o) $(CUDA_HOST:%.c=$B/pic/%.o)
EMU_CXXFLAGS := -x c++ -std=gnu++17 -O2 -g -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno -fno-tree-vectorize \
	-fsanitize=thread,alignment,bounds --param tsan-instrument-func-entry-exit=0 -Wall -Wextra -Wno-unknown-pragmas -Wno-unused-function \
	-Wno-missing-field-initializers -Ilibcommon -I.
emu_link = @mkdir -p $(@D); $(if $(Q),echo '  LD $@';) $(EMU_CXX) -shared -Wl,-z,defs -o $@ $^ -lm -ldl

$B/emu/%.o: %.cu $B/flags
	@mkdir -p $(@D)
	$(if $(Q),@echo '  CXX $<')
	$(Q)$(EMU_CXX) $(EMU_CXXFLAGS) -MMD -MP -c -o $@ $<

$(EMU_SO): $(EMU_CUDA:%.cu=$B/emu/%.o) $(EMU_OBJ)
	$(emu_link)

# Kernels that are wrong on purpose.
EMU_CASES := $B/lib/cuda-cases.so
$(EMU_CASES): $B/emu/tests/cuda-on-cpu/cases/cases.o $(EMU_OBJ)
	$(emu_link)

$(if $(EMU_CXX),$(eval tests: $(EMU_SO) $(EMU_CASES)))

-include $(CUDA_SRC:%.cu=$B/cuda/%.d) $(CUDA_SRC:%.cu=$B/emu/%.d) $B/emu/tests/cuda-on-cpu/cases/cases.d $(EMU_OBJ:.o=.d)
