#!/bin/sh
# Every program: --help, --version, misuse, the manual page and the completions agree with the option table.
. "${0%/*}/lib.sh"

[ -n "$(tools)" ] || skip_all 'no programs'

# The long options that a page's OPTIONS section documents, as .Fl Fl NAME or .Fl -NAME.
page_options() {
    awk '/^\.Sh/ { on = /OPTIONS/ } on && /^\.It/' "$1" | grep -oE ' (Fl Fl |Fl -|-)[a-z][a-z0-9-]+' |
        sed -E 's/^ (Fl Fl |Fl -|-)//' | sort -u
}

for tool in $(tools); do
    run "$tool" --help
    is_status 0 "$tool --help ends with 0"
    has out "Usage: $tool " "$tool --help goes to stdout"
    is "$(wc -c <err | tr -d ' ')" 0 "$tool --help says nothing on stderr"
    cp out help
    run "$tool" -h
    ok "$tool -h is the same" cmp -s out help
    is "$(awk 'length > 110' help)" '' "$tool --help fits a terminal"

    run "$tool" --version
    is_status 0 "$tool --version ends with 0"
    is "$(sed -n 1p out | sed 's/[0-9][0-9.]*$/X/')" "$tool (finetools) X" "$tool --version names the program and the version"
    has out 'cpu features found: ' "$tool --version shows the CPU's features"
    sh -c "$tool --version >/dev/full" 2>err
    is $? 1 "$tool --version to a full disk fails"

    run "$tool" --sumary-of-nothing
    is_status 2 "$tool: an unknown option is wrong usage"
    one_line err "$tool: and gets one line"
    run "$tool" --hlep
    has err "did you mean '--help'?" "$tool: a misspelt option gets a suggestion"
    run "$tool" '-~'
    is_status 2 "$tool: an unknown short option is wrong usage"

    "$tool" --options >table
    is "$(cut -f2 table | sort | uniq -d)" '' "$tool: long options are unique"
    is "$(cut -f1 table | grep . | sort | uniq -d)" '' "$tool: short options are unique"
    is "$(awk -F'\t' '$5 == "" || $5 ~ /\.$/ || $5 ~ /^[A-Z][a-z]/ { print $2 }' table)" '' \
        "$tool: each option has a help text in the house style"
    cut -f2 table | sed 's/^--//' | sort >listed
    for name in $(cat listed); do
        grep -qE -- "--$name( |$)" help || echo "$name"
    done >missing
    is "$(cat missing)" '' "$tool: --help lists every option"

    if [ -f "$ROOT/man/$tool.1" ]; then
        page_options "$ROOT/man/$tool.1" >paged
        is "$(comm -23 listed paged | tr '\n' ' ')" '' "$tool.1 documents every option"
        is "$(comm -13 listed paged | tr '\n' ' ')" '' "$tool.1 documents no other option"
    else
        report 1 "man/$tool.1 exists"
    fi

    # An option that takes a value and is the last argument; a number that is none.
    name=$(awk -F'\t' '$4 != "flag" { print $2; exit }' table)
    if [ -n "$name" ]; then
        run "$tool" "$name"
        is_status 2 "$tool $name without its value is wrong usage"
    fi
    awk -F'\t' '$4 ~ /^(count|size|real|range)$/ { print $2 }' table >numbers
    for name in $(cat numbers); do
        "$tool" "$name" 12monkeys >out 2>err </dev/null
        [ $? = 2 ] && grep -q "12monkeys" err || echo "$name"
    done >missing
    is "$(cat missing)" '' "$tool: options with numbers refuse other text"
    awk -F'\t' '$4 == "choice" { print $2 }' table >choices
    for name in $(cat choices); do
        "$tool" "$name" 12monkeys >out 2>err </dev/null
        [ $? = 2 ] && grep -q 'is not one of' err || echo "$name"
    done >missing
    is "$(cat missing)" '' "$tool: options with choices refuse other words"

    if command -v script >/dev/null; then
        script -qec "$tool" typescript >/dev/null 2>&1 </dev/null
        script -qec "$tool; echo status=\$?" /dev/null </dev/null >typescript 2>&1
        has typescript 'status=2' "$tool without arguments at a terminal is wrong usage"
        is "$(tr -d '\r' <typescript | grep -cE "^  .*$tool ")" 2 "$tool without arguments shows two examples"
        lines=$(wc -l <typescript)
        ok "$tool without arguments prints ten lines at most" test "$lines" -le 11
    else
        skip 'no script(1)' 3
    fi

    if command -v bash >/dev/null; then
        completion=$BUILD/completions/$tool
        ok "$tool: bash accepts the completions" bash -n "$completion"
        bash -c '. "$1"; COMP_WORDS=("$2" --) COMP_CWORD=1; _finetools_${2//-/_}; printf "%s\n" "${COMPREPLY[@]}"' - \
            "$completion" "$tool" | sed -n 's/^--//p' | sort >completed
        ok "$tool: the completions are the options" cmp listed completed
    else
        skip 'no bash' 2
    fi
done

# Values: names from the program itself, and files where a file may stand.
complete_value() { # TOOL OPTION BEGINNING
    bash -c '. "$1"; COMP_WORDS=("$2" "$3" "$4") COMP_CWORD=2; _finetools_${2//-/_}; printf "%s\n" "${COMPREPLY[@]}"' - \
        "$BUILD/completions/$1" "$@" | sort | tr '\n' ' '
}
if command -v bash >/dev/null; then
    : >mine.jinja
    for tool in fmt-chat gen; do
        for option in -t --template; do
            is "$(complete_value $tool $option llama)" 'llama2 llama3 ' "$tool $option: built-in templates are completed"
            is "$(complete_value $tool $option m)" "$({ fmt-chat --list-templates | grep ^m; echo; ls -d m*; } | grep . | sort | tr '\n' ' ')" \
                "$tool $option: files, too"
        done
        is "$(complete_value $tool --template '' | tr ' ' '\n' | sort >all; fmt-chat --list-templates | sort | comm -23 - all)" '' \
            "$tool --template: every built-in one"
    done
    is "$(complete_value lora-train --targets all)" 'all-linear ' 'lora-train --targets: all-linear'
    is "$(complete_value lora-train --targets '')" 'all-linear down_proj gate_proj k_proj o_proj q_proj up_proj v_proj ' 'the modules, and no files'
    is "$(complete_value lora-train --targets q_proj,v)" 'q_proj,v_proj ' 'a list of them goes on'
    is "$(complete_value lora-train --bias l)" 'lora_only ' 'choices'
else
    skip 'no bash' 14
fi

# Runs beside others: threads wait asleep, not spinning (libcommon/base/threads.c). libgomp tells what it read.
spins() {
    env -u OMP_WAIT_POLICY OMP_DISPLAY_ENV=verbose "$@" "$tool" --version 2>&1 | sed -n "s/.*GOMP_SPINCOUNT = '\(.*\)'.*/\1/p"
}
case $(ldd "$BUILD/bin/$tool") in
*libomp* | *libgomp*) skip 'OpenMP is a shared library' 2 ;;
*)
    is "$(spins)" 5000 'threads spin shortly before they sleep'
    is "$(spins OMP_WAIT_POLICY=active GOMP_SPINCOUNT=77) $(spins GOMP_SPINCOUNT=78)" '77 78' 'unless the environment says otherwise'
    ;;
esac
finish
