#!/bin/sh
# cuda-report.sh ARCH LOG...: of what ptxas -v said about sm_ARCH one line a kernel, the bytes that it spills (stored, loaded), its registers and its shared memory;
# the worst first.
arch=$1
shift
awk -v arch="sm_$arch" '
    /Compiling entry function/ { split($0, part, "\x27"); name = part[2]; mine = part[4] == arch; next }
    /bytes stack frame/        { match($0, /[0-9]+ bytes spill stores/); stores = substr($0, RSTART) + 0
                                 match($0, /[0-9]+ bytes spill loads/); loads = substr($0, RSTART) + 0; next }
    mine && /Used [0-9]+ registers/ { match($0, /[0-9]+ registers/); registers = substr($0, RSTART) + 0
                                 shared = match($0, /[0-9]+ bytes smem/) ? substr($0, RSTART) + 0 : 0
                                 printf "%6d %6d spilled, %3d registers, %6d shared  %s\n", stores, loads, registers, shared, name }' "$@" |
    sort -rn | { command -v cu++filt >/dev/null && cu++filt || c++filt; }
