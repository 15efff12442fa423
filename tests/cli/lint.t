#!/bin/sh
# House rules that a grep can hold: which folder may include which, libraries that neither print nor exit, headers that
# explain themselves, pages that are clean. Sizes are budgets: they are reported, not enforced.
. "${0%/*}/lib.sh"
cd "$ROOT" || exit 1
found=$SCRATCH/found

# none WHAT: the file $found is empty
none() {
    is "$(head -20 "$found")" '' "$1"
}

# FOLDER may include headers of these folders only (and its own).
arrows() {
    folder=$1
    shift
    allowed=$folder
    for name; do allowed="$allowed|$name"; done
    grep -nE '^#include "' libcommon/"$folder"/*.[ch] 2>/dev/null | grep -vE "#include \"($allowed)/" >"$found"
    none "$folder includes only: ${*:-itself}"
}
arrows base
arrows cli base
arrows text base
arrows format base
arrows dist base
arrows model base format text dist kernels
arrows quantize base cli format text model train kernels
arrows train base cli format text dist model kernels
grep -nE '^#include "' kernels/*.[ch] kernels/cpu/*.[ch] 2>/dev/null | grep -vE '#include "(base|kernels)/' | grep -vE '#include "[a-z_0-9]+\.h"' >"$found"
none 'kernels include only base and kernels'
grep -nE '^#include "' tools/*.c 2>/dev/null | grep -vE '#include "(base|cli|format|text|dist|model|quantize|train|kernels)/' >"$found"
none 'programs include headers by folder'

libraries=$(ls libcommon/*/*.c kernels/*.c kernels/cpu/*.c 2>/dev/null | grep -v '^libcommon/cli/')
# mem.c ends the program when there is no memory: base/mem.h.
grep -nE '\<(printf|puts|putchar|fprintf|perror|exit|_exit|abort|assert)\(|\<std(out|err)\>' $libraries |
    grep -vE '^libcommon/base/mem\.c:' | grep -vE '^[^:]*:[0-9]+: *(\*|/\*)' >"$found"
none 'libraries neither print nor exit'
grep -nE '\<(gets|atof|strtok|alloca)\(' libcommon/*/*.c kernels/*.c kernels/cpu/*.c tools/*.c 2>/dev/null >"$found"
none 'no function without bounds, checks or re-entry'

for header in libcommon/*/*.h kernels/*.h kernels/*/*.h tests/*/*.h; do
    [ -f "$header" ] || continue
    head -c 2 "$header" | grep -q '/\*' || echo "$header"
done >"$found"
none 'every header opens with a comment'

marks='TO''DO|FIX''ME|X''XX'
grep -rnE "\\<($marks)\\>" libcommon kernels tools tests/unit tests/cli tests/fuzz/*.c tests/faults make Makefile man pipelines README.md 2>/dev/null |
    grep -vE '(\.jsonl?|\.txt):' >"$found"
none 'no unfinished business is marked in the tree'

grep -nE '(^|[^a-z])/(tmp/[a-z]+|work|home)/' -r libcommon kernels tools man make Makefile README.md 2>/dev/null >"$found"
none 'no path of a machine is in the tree'

if command -v mandoc >/dev/null; then
    for page in man/*.[157]; do
        [ -f "$page" ] && mandoc -T lint "$page" 2>&1 |
            grep -vE 'referenced manual not found|outdated mandoc.db'
    done >"$found"
    none 'mandoc -T lint has nothing to say on any page'
else
    skip 'no mandoc'
fi
grep -hoE '^\.Xr [a-z0-9-]+ [157]' man/*.[157] 2>/dev/null | sort -u | while read -r _ name section; do
    case $name in
    mpirun | jq | awk | flock | make | cron | crontab | srun | bash | sh | zstd | prove | nohup | timeout) continue ;;
    esac
    [ -f "man/$name.$section" ] || echo "$name($section)"
done >"$found"
none 'pages refer to pages that exist'

for tool in $(tools); do
    for section in NAME SYNOPSIS DESCRIPTION OPTIONS 'EXIT STATUS' EXAMPLES 'SEE ALSO'; do
        grep -q "^\.Sh $section" "man/$tool.1" 2>/dev/null || echo "$tool.1: $section"
    done
done >"$found"
none 'every page of section 1 has its sections'

for script in make/*.sh tests/cli/*.sh tests/cli/*.t pipelines/*.sh; do
    [ -f "$script" ] && { sh -n "$script" || echo "$script"; }
done >"$found" 2>&1
none 'every script parses'

# Reported only.
for file in libcommon/*/*.c kernels/*.c kernels/cpu/*.c tools/*.c; do
    [ -f "$file" ] || continue
    limit=500
    case $file in tools/*) limit=300 ;; esac
    awk -v file="$file" -v limit=$limit '
        /^[a-z].*\)$/ { name = $0 }
        /^\{/         { start = NR }
        /^\}/ && start { if (NR - start - 1 > 60) printf "# %s:%d: a function of %d lines (60)\n", file, start, NR - start - 1; start = 0 }
        END           { if (NR > limit) printf "# %s: %d lines (%d)\n", file, NR, limit }' "$file"
done
finish
