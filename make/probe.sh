#!/bin/sh
# probe.sh OUTPUT: tries the compiler and each library, and writes what the Makefile needs to know as make variables. What is
# required and absent gives one line that names its Debian package. CC, CXX, CFLAGS, CPPFLAGS, LDFLAGS, LIBRARIES
# and CUDA come from the environment.
set -eu
output=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0

# try HEADER CALL [FLAGS]: does a program that makes this call compile and link?
try() {
    printf '#include <stdio.h>\n%s\nint main(void) { %s; return 0; }\n' "$1" "$2" >"$dir/x.c"
    shift 2
    # shellcheck disable=SC2086 (flags are lists)
    $CC -D_GNU_SOURCE ${CPPFLAGS-} ${CFLAGS-} -o "$dir/x" "$dir/x.c" ${LDFLAGS-} "$@" >"$dir/log" 2>&1
}

need_library() {
    [ "${LIBRARIES-}" = no ] || need "$@"
}
need() { # NAME PACKAGE HEADER CALL FLAGS...
    name=$1 package=$2
    shift 2
    try "$@" && return
    echo "missing: $name (Debian: $package); 'make deps' installs all that is needed" >&2
    failed=1
}

if ! try '' '(void)0'; then
    echo "missing: a C compiler that works as '$CC' (Debian: gcc libc6-dev); 'make deps' installs all that is needed" >&2
    exit 1
fi
need OpenMP 'gcc, or libomp-dev for clang' '#include <omp.h>' 'omp_set_num_threads(1)' -fopenmp
need_library jansson libjansson-dev '#include <jansson.h>' 'json_decref(json_null()); puts(jansson_version_str())' -ljansson
need_library zstd libzstd-dev '#include <zstd.h>' 'puts(ZSTD_versionString())' -lzstd
need_library PCRE2 libpcre2-dev '#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>' 'pcre2_config(PCRE2_CONFIG_VERSION, NULL)' -lpcre2-8
need_library utf8proc libutf8proc-dev '#include <utf8proc.h>' 'puts(utf8proc_version())' -lutf8proc
need_library xxhash libxxhash-dev '#include <xxhash.h>' 'printf("%u", XXH_versionNumber())' -lxxhash
[ $failed = 0 ] || exit 1

x86=
if try '#ifndef __x86_64__
#error other
#endif' '(void)0'; then x86=yes; fi

# gcc's OpenMP as an archive: its waiting is then ours to set (libcommon/base/threads.c). clang's code needs clang's library.
openmp=-fopenmp
echo 'int main(void) { int n = 0;
#pragma omp parallel reduction(+ : n)
n++; return n == 0; }' >"$dir/x.c"
# shellcheck disable=SC2086 (flags are lists)
if $CC ${CPPFLAGS-} ${CFLAGS-} -fopenmp -c -o "$dir/x.o" "$dir/x.c" >"$dir/log" 2>&1 &&
    $CC -o "$dir/x" "$dir/x.o" ${LDFLAGS-} -l:libgomp.a -pthread >"$dir/log" 2>&1; then
    openmp='-l:libgomp.a -pthread'
fi

# The CUDA backend on the CPU, for tests: g++ for the same machine, which can announce every access to memory.
cxx=
case ${CXX-} in
'') candidate=$(echo "$CC" | sed 's/.*gcc/&/; t found; s/.*/g++/; q; :found; s/gcc/g++/') ;;
*) candidate=$CXX ;;
esac
echo 'int first(const int *p) { return *p; }' >"$dir/x.cc"
if [ "$($candidate -dumpmachine 2>/dev/null)" = "$($CC -dumpmachine 2>/dev/null)" ] &&
    $candidate -std=gnu++17 -fsanitize=thread,alignment,bounds --param tsan-instrument-func-entry-exit=0 -c -o "$dir/x.o" "$dir/x.cc" >"$dir/log" 2>&1; then
    cxx=$candidate
else
    echo "no g++ as good as '$CC': the CUDA backend is not tested"
fi

# Compiling for every kind of GPU takes minutes: only when asked.
nvcc=
archs=
if [ "${CUDA-}" = 1 ]; then
    nvcc=$(command -v nvcc || command -v /usr/local/cuda/bin/nvcc || true)
    if [ -z "$nvcc" ]; then
        echo "missing: nvcc (Debian: nvidia-cuda-toolkit, of non-free; NVIDIA: cuda-nvcc, cuda-cudart-dev, libcublas-dev); 'make deps CUDA=1' installs it" >&2
        exit 1
    fi
    # Kinds of GPU whose code it can make; an older one knows fewer.
    : >"$dir/x.cu"
    for arch in 80 86 89 90a 100; do
        for known in $arch ${arch%a}; do
            if "$nvcc" --dryrun -gencode "arch=compute_$known,code=sm_$known" -c -o "$dir/x.o" "$dir/x.cu" >"$dir/log" 2>&1; then
                archs="$archs $known"
                break
            fi
        done
    done
else
    echo "building for the CPU only; CUDA=1 builds for GPUs too"
fi

cat >"$output.tmp" <<END
# Written by make/probe.sh; 'make clean' removes it.
HAVE_X86 := $x86
OPENMP := $openmp
NVCC := $nvcc
NVCC_ARCHS :=$archs
EMU_CXX := $cxx
END
mv "$output.tmp" "$output"
