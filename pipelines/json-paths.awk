# json-paths.awk: JSON as lines of three columns: the number of the document (from 1), the path, the value. Use:
#   awk -f json-paths.awk answers.jsonl | awk -F '\t' '$2 == ".response" { print $1, $3 }'
# A path is like .messages[0].content. Objects may have their keys in any order and may stand on one line or many. Strings lose their quotes
# and escapes; what would break a line or a column (newline, tab, other control characters) becomes a space.

function unquote(s,    out, at, c) {
    s = substr(s, 2, length(s) - 2)
    while (at = index(s, "\\")) {
        c = substr(s, at + 1, 1)
        out = out substr(s, 1, at - 1) (c ~ /[nrtbfu]/ ? " " : c)
        s = substr(s, at + (c == "u" ? 6 : 2))
    }
    return out s
}

function path(    d, p) {
    for (d = 1; d <= depth; d++)
        p = p (in_object[d] ? "." key[d] : "[" place[d] "]")
    return p
}

function value(token) {
    print document + 1 "\t" path() "\t" (token ~ /^"/ ? unquote(token) : token)
    if (!depth)
        document++
}

function take(token) {
    if (token == "{" || token == "[") {
        depth++
        in_object[depth] = want_key = token == "{"
        place[depth] = 0
    } else if (token == "}" || token == "]") {
        if (!--depth)
            document++
    } else if (token == ",") {
        want_key = in_object[depth]
        place[depth]++
    } else if (token == ":") {
        want_key = 0
    } else if (want_key) {
        key[depth] = unquote(token)
    } else {
        value(token)
    }
}

{
    rest = $0
    while (match(rest, /^[ \t\r]*("([^"\\]|\\.)*"|[][{}:,]|[^][{}:,"\t\r ]+)/)) {
        token = substr(rest, 1, RLENGTH)
        rest = substr(rest, RLENGTH + 1)
        sub(/^[ \t\r]+/, "", token)
        take(token)
    }
}
