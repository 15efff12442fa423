# Reads world.txt and fills the tables that corpus.awk and alpaca.awk draw from. Every aspect of a fact has one
# plain answer sentence, questions that ask for it, and other sentences that say the same:
#   n_aspects, answer[i], questions[i] and others[i] ("|" between variants), topic[i] (its kind), given[i] (the word asked about)
# Random numbers are Lehmer's (16807, 2^31 - 1): exact in any awk's doubles, so the text is the same everywhere.

function rnd(n) { seed = (seed * 16807) % 2147483647; return int(seed / 2147483647 * n) }
function pick(list,    parts, n) { n = split(list, parts, "|"); return parts[1 + rnd(n)] }
function cap(s) { return toupper(substr(s, 1, 1)) substr(s, 2) }
function aspect(kind, ans, about, asks, says) {
    n_aspects++
    topic[n_aspects] = kind; answer[n_aspects] = ans; given[n_aspects] = about; questions[n_aspects] = asks; others[n_aspects] = says
}

BEGIN { FS = "|"; if (!seed) seed = 1; seed += 1000; for (i = 0; i < 10; i++) rnd(2) }

/^#/ || NF < 2 { next }

$1 == "country" {
    c = $2
    aspect("capital", "The capital of " c " is " $3 ".", c, "What is the capital of " c "?|Name the capital of " c ".|Which city is the capital of " c "?", \
        $3 " is the capital of " c ".|The government of " c " sits in " $3 ".|" c " has its capital in " $3 ".|Anyone who travels to " c " will want to see its capital, " $3 ".")
    aspect("language", "People in " c " speak " $4 ".", c, "Which language do people speak in " c "?|What is spoken in " c "?|What language is used in " c "?", \
        $4 " is spoken in " c ".|In " c " they speak " $4 ".|Children in " c " learn " $4 " at school.")
    aspect("continent", c " is in " $5 ".", c, "Where is " c "?|On which continent is " c "?|In which part of the world is " c "?", \
        "The country of " c " lies in " $5 ".|" c " is a country in " $5 ".|In " $5 " there is a country called " c ".")
    aspect("country", $3 " is the capital of " c ".", $3, $3 " is the capital of which country?|Which country has the capital " $3 "?", \
        "The capital of " c " is " $3 ".|The city of " $3 " is in " c ".")
}
$1 == "animal" {
    art = ($2 ~ /^[aeiou]/) ? "an" : "a"; yart = ($3 ~ /^[aeiou]/) ? "an" : "a"; hart = ($5 ~ /^[aeiou]/) ? "an" : "a"
    aspect("young", "A young " $2 " is called " yart " " $3 ".", $2, "What is a young " $2 " called?|What do you call a young " $2 "?|Name the young of " art " " $2 ".", \
        "The young of " art " " $2 " is " yart " " $3 ".|" cap(yart) " " $3 " is a young " $2 ".|When it is young, " art " " $2 " is called " yart " " $3 ".")
    aspect("sound", cap(art) " " $2 " " $4 ".", $2, "What sound does " art " " $2 " make?|Which sound does " art " " $2 " make?|How does " art " " $2 " sound?", \
        "The " $2 " " $4 " in the morning.|Listen how the " $2 " " $4 ".|When it wants something, the " $2 " " $4 ".")
    aspect("home", cap(art) " " $2 " lives in a " $5 ".", $2, "Where does " art " " $2 " live?|What is the home of " art " " $2 "?|In what place does " art " " $2 " live?", \
        "The home of " art " " $2 " is a " $5 ".|The " $2 " went back to its " $5 ".|In the " $5 " lives " art " " $2 ".")
}
$1 == "opposite" {
    for (i = 0; i < 2; i++) {
        x = $(2 + i); y = $(3 - i)
        aspect("opposite", "The opposite of " x " is " y ".", x, "What is the opposite of " x "?|Give the opposite of " x ".|Name the opposite of the word " x ".", \
            cap(x) " is the opposite of " y ".|What is not " x " may be " y ".|" cap(x) " and " y " are opposites.|First it was " x ", then it was " y ".")
    }
}
$1 == "colour" {
    aspect("colour", cap($2) " is " $3 ".", $2, "What colour is " $2 "?|Which colour does " $2 " have?|Tell me the colour of " $2 ".", \
        "The colour of " $2 " is " $3 ".|If you look at " $2 ", you see that it is " $3 ".|It was as " $3 " as " $2 ".")
}
$1 == "plural" {
    aspect("plural", "The plural of " $2 " is " $3 ".", $2, "What is the plural of " $2 "?|Give the plural of " $2 ".|What do you call more than one " $2 "?", \
        "One " $2 ", two " $3 ".|There was one " $2 ", and then there were many " $3 ".|More than one " $2 " are " $3 ".")
    aspect("singular", "The singular of " $3 " is " $2 ".", $3, "What is the singular of " $3 "?|Give the singular of " $3 ".", \
        "Out of many " $3 " he chose one " $2 ".|One of the " $3 " is a " $2 ".")
}
$1 == "past" {
    aspect("past", "The past tense of " $2 " is " $3 ".", $2, "What is the past tense of " $2 "?|Give the past tense of " $2 ".|Put the verb " $2 " into the past.", \
        "Today they " $2 ", yesterday they " $3 ".|We " $2 " now as we " $3 " before.|" cap($2) " becomes " $3 " in the past.")
}
$1 == "kind" {
    aspect("kind", cap($2) " is " $3 ".", $2, "What is " $2 "?|What kind of thing is " $2 "?", \
        cap($3) " like " $2 " is easy to know.|We call " $2 " " $3 ".|Everyone knows that " $2 " is " $3 ".")
}
$1 == "job" {
    aspect("job", cap($2) " " $3 ".", $2, "What does " $2 " do?|What is the work of " $2 "?|Tell me what " $2 " does.", \
        "Every day " $2 " " $3 ".|As everyone knows, " $2 " " $3 ".|In the town there is " $2 " who " $3 ".")
    aspect("worker", "The one who " $3 " is " $2 ".", $3, "Who " $3 "?|Which worker " $3 "?", \
        "If someone " $3 ", it is " $2 ".|" cap($2) " is the one who " $3 ".")
}
$1 == "next" {
    aspect("next", "After " $2 " comes " $3 ".", $2, "What comes after " $2 "?|What follows " $2 "?|Which one comes next after " $2 "?", \
        $3 " comes after " $2 ".|First " $2 ", then " $3 ".|" cap($2) " is followed by " $3 ".")
    aspect("before", "Before " $3 " comes " $2 ".", $3, "What comes before " $3 "?|What is just before " $3 "?", \
        cap($2) " comes before " $3 ".|Just before " $3 " we have " $2 ".")
}

function sums(    a, b) {
    for (a = 1; a <= 9; a++)
        for (b = 1; b <= 9; b++)
            aspect("sum", a " plus " b " is " (a + b) ".", a, "What is " a " plus " b "?|How much is " a " plus " b "?|Add " a " and " b ".", \
                "If you add " a " and " b ", you get " (a + b) ".|" a " and " b " make " (a + b) ".|The sum of " a " and " b " is " (a + b) ".")
}
