# corpus.awk: plain text about the world, as JSON lines {"text": ...}. Use:
#   awk -v documents=N -v seed=S -f facts.awk -f corpus.awk world.txt
# A document is a short note: statements on one theme, or on a mix of themes, or two people talking. Nothing in it looks like an
# instruction with a response: that form is left for fine-tuning to teach.

function person(but,    p) {
    do
        p = pick(people)
    while (p == but)
    return p
}
BEGIN { people = "Anna|Tom|Maria|Peter|Lucy|John|Clara|Paul|Nina|Mark|Rosa|Hugo|Emma|Leo|Ida|Max" }
function statement(i) { return rnd(3) ? answer[i] : pick(others[i]) }
function quote(s) { return "\"" s "\"" }

function talk(    n, k, i, a, b, out) {
    a = person(); b = person(a)
    out = pick(a " met " b " in the street.|" a " and " b " sat at the table.|" b " was at school with " a ".|" a " had a question for " b ".")
    n = 1 + rnd(4)
    for (k = 0; k < n; k++) {
        i = 1 + rnd(n_aspects)
        out = out " " pick(quote(pick(questions[i])) " asked " a ".|" a " asked: " quote(pick(questions[i])) "|" a " wanted to know: " quote(pick(questions[i])))
        out = out " " pick(quote(answer[i]) " said " b ".|" b " said: " quote(answer[i]) "|" b " answered: " quote(answer[i]))
    }
    return out " " pick("Then they went home.|" a " was happy.|They laughed.|" quote("Thank you, " b "!") " said " a ".|" quote("Goodbye, " a "!") " said " b ".")
}

function greet(    a, b) {
    a = person(); b = person(a)
    return pick(quote("Hello, " b "!") " said " a ".|" a " said: " quote("Good morning, " b "!") "|" quote("Good night, " b "!") " said " a ".|" a " waved. " quote("Goodbye, " b "!"))
}

# Facts that stand near each other in the table share a theme.
function note(    n, k, i, out) {
    i = 1 + rnd(n_aspects)
    out = statement(i)
    n = 3 + rnd(5)
    for (k = 1; k < n; k++) {
        i = rnd(3) ? i - 3 + rnd(7) : 1 + rnd(n_aspects)
        if (i < 1 || i > n_aspects) i = 1 + rnd(n_aspects)
        out = out " " statement(i)
    }
    return out
}

function document(    out) {
    out = rnd(3) ? note() : talk()
    if (!rnd(6)) out = out " " greet()
    if (!rnd(4)) out = out "\\n\\n" (rnd(2) ? note() : talk())
    return out
}

function escape(s) { gsub(/"/, "\\\"", s); return s }

END {
    sums()
    for (d = 0; d < documents; d++)
        print "{\"text\": \"" escape(document()) "\"}"
}
