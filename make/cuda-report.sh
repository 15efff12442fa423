#!/bin/sh
# cuda-report.sh <ptxas -v: one line a kernel, its registers, shared memory and spills (bytes stored, bytes loaded); the worst first. Other lines
# pass.
awk '
    /Compiling entry function/ { split($0, part, "\x27"); name = part[2]; next }
    /bytes stack frame/        { match($0, /[0-9]+ bytes spill stores/); stores = substr($0, RSTART) + 0
                                 match($0, /[0-9]+ bytes spill loads/); loads = substr($0, RSTART) + 0; next }
    /Used [0-9]+ registers/    { match($0, /[0-9]+ registers/); registers = substr($0, RSTART) + 0
                                 shared = match($0, /[0-9]+ bytes smem/) ? substr($0, RSTART) + 0 : 0
                                 printf "%6d %6d spilled, %3d registers, %6d shared  %s\n", stores, loads, registers, shared, name; next }
    /Compile time|gmem|Function properties|NVCC/ { next }
    { print > "/dev/stderr" }' | sort -rn | { command -v cu++filt >/dev/null && cu++filt || c++filt; }
