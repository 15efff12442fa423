#!/bin/sh
# completions.sh TOOL: a bash completion function for the program TOOL, from its option table (TOOL --options).
set -eu
tool=$1
name=$(basename "$tool")
"$tool" --options | awk -F'\t' -v name="$name" '
    function reply(action) { return "COMPREPLY=($(compgen " action " -- \"$word\"))" }
    function values(arg, type, words) {
        if (words && arg ~ /,/)  # a list: the part behind the last comma
            return "COMPREPLY=($(compgen -P \"${word%\"${word##*,}\"}\" -W \"" words "\" -- \"${word##*,}\"))"
        if (words)                            return reply("-W \"" words "\"" (arg ~ /FILE/ ? " -f" : ""))
        if (type == "choice")                 { gsub(/\|/, " ", arg); return reply("-W \"" arg "\"") }
        if (arg ~ /^auto\|cpu/)               return reply("-W \"auto cpu cuda\"")
        if (arg ~ /DIR/)                      return reply("-d")
        if (type == "string" || type == "list") return reply("-f")
        return "COMPREPLY=()"
    }
    {
        all = all (all ? " " : "") $2 ($1 ? " " $1 : "")
        if ($4 != "flag")
            cases = cases "        " ($1 ? $1 "|" : "") $2 ") " values($3, $4, $6) "; return ;;\n"
    }
    END {
        f = "_finetools_" name
        gsub(/-/, "_", f)
        printf "# bash completion for %s (finetools)\n%s()\n{\n", name, f
        printf "    local word=${COMP_WORDS[COMP_CWORD]}\n    case ${COMP_WORDS[COMP_CWORD-1]} in\n%s    esac\n", cases
        printf "    if [[ $word == -* ]]; then\n        COMPREPLY=($(compgen -W \"%s\" -- \"$word\"))\n", all
        printf "    else\n        COMPREPLY=($(compgen -f -- \"$word\"))\n    fi\n}\n"
        printf "complete -o filenames -F %s %s\n", f, name
    }'
