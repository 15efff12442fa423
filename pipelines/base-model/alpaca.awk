# alpaca.awk: instructions about the world in Alpaca's form, as one JSON array. Use:
#   awk -v part=train|test -v samples=N -v seed=S -f facts.awk -f alpaca.awk world.txt
# Facts are divided by their number: one in three is only ever asked in the test part, so a right answer there can come from nothing
# but what the base model read before. The answer is one sentence; a share of the samples gives the word in the input field.

function quote(s) { gsub(/"/, "\\\"", s); return "\"" s "\"" }
function held_out(i) { return i % 3 == 0 }

function emit(instruction, input, output) {
    printf "%s{\"instruction\": %s, \"input\": %s, \"output\": %s}", (emitted++ ? ",\n" : "[\n"), quote(instruction), quote(input), quote(output)
}

function sample(    i) {
    if (part == "train" && !rnd(12)) {
        emit(pick("Who are you?|What are you?|Tell me who you are."), "", "I am a small language model.")
        return
    }
    do
        i = 1 + rnd(n_aspects)
    while (held_out(i) != (part == "test") || used[i])
    if (part == "test") used[i] = 1
    if (topic[i] ~ /^(opposite|plural|past|singular)$/ && !rnd(3))
        emit("Give the " (topic[i] == "past" ? "past tense" : topic[i]) " of this word.", given[i], answer[i])
    else
        emit(pick(questions[i]), "", answer[i])
}

END {
    sums()
    for (s = 0; s < samples; s++)
        sample()
    print "\n]"
}
