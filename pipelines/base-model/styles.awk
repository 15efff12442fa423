# styles.awk: instructions about the world whose answers come in two styles, as one JSON array. A bare answer is one sentence; a
# courteous one says it with a phrase before or after. Use:
#   awk -v form=chat|pairs -v part=train|test -v samples=N -v seed=S -f facts.awk -f styles.awk world.txt
#   chat    LLaMA-Factory's Alpaca form; one answer in two is courteous
#   pairs   LLaMA-Factory's preferences in ShareGPT form: the courteous answer is chosen, the bare one rejected
# One fact in three belongs to the test part, once each, as in alpaca.awk.

function quote(s) { gsub(/"/, "\\\"", s); return "\"" s "\"" }
function held_out(i) { return i % 3 == 0 }
function turn(from, s) { return "{\"from\": \"" from "\", \"value\": " quote(s) "}" }
function courteous(s) {
    return rnd(2) ? pick("Hello.|Good question.|I am happy to help.") " " s : s " " pick("We are happy to help you.|It is good to know.|We are happy that you asked.")
}

function sample(    i, question) {
    do
        i = 1 + rnd(n_aspects)
    while (held_out(i) != (part == "test") || used[i])
    if (part == "test") used[i] = 1
    question = pick(questions[i])
    printf "%s", emitted++ ? ",\n" : "[\n"
    if (form == "pairs")
        printf "{\"conversations\": [%s], \"chosen\": %s, \"rejected\": %s}", turn("human", question), turn("gpt", courteous(answer[i])), turn("gpt", answer[i])
    else
        printf "{\"instruction\": %s, \"input\": \"\", \"output\": %s}", quote(question), quote(rnd(2) ? courteous(answer[i]) : answer[i])
}

END {
    sums()
    for (s = 0; s < samples; s++)
        sample()
    print "\n]"
}
