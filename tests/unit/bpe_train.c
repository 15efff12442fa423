/* tok-train's learner against the tokenizers library (tests/golden/make_tok_train.py). */
#include <jansson.h>
#include <stdlib.h>

#include "tests/unit/tap.h"
#include "text/bpe_train.h"

static json_t *train(json_t *texts, int vocab, const char *const *specials, int n_specials, struct err *e)
{
    struct buf out = BUF_INIT;
    json_t *result = NULL, *text;
    size_t i;
    struct bpe_trainer *t = bpe_trainer_new(e);
    json_array_foreach(texts, i, text)
        if (bpe_trainer_add(t, json_string_value(text), json_string_length(text), e) < 0)
            goto out;
    if (bpe_trainer_run(t, vocab, specials, n_specials, &out, e) > 0)
        result = json_loadb(out.data, out.len, 0, NULL);
out:
    bpe_trainer_free(t);
    buf_release(&out);
    return result;
}

int main(void)
{
    static const char *const specials[] = {"<|endoftext|>", "<|pad \"1\"|>"};
    struct err e = ERR_INIT;
    json_t *golden = json_load_file("tests/golden/tok-train.json", 0, NULL);
    json_t *texts = json_object_get(golden, "text");
    json_t *made = train(texts, 330, specials, 2, &e), *model = json_object_get(made, "model");
    ok(made != NULL, "the output is JSON");
    ok(json_equal(json_object_get(model, "vocab"), json_object_get(golden, "vocab")), "the vocabulary equals the library's");
    ok(json_equal(json_object_get(model, "merges"), json_object_get(golden, "merges")), "so do the merges");
    json_decref(made);

    made = train(texts, 100000, specials, 1, &e);
    model = json_object_get(made, "model");
    ok(json_object_size(json_object_get(model, "vocab")) < 400, "stops when no pair occurs twice");
    json_decref(made);

    ok(!train(texts, 256, specials, 1, &e), "a vocabulary smaller than the bytes is refused");
    is_str(e.text, "a vocabulary of 256 cannot hold 1 special tokens and 256 bytes", "and the error says why");
    static const char *const wrong[][2] = {{"", "special token 1: is empty"}, {"\xff<", "special token 1: not valid UTF-8"},
                                           {"a", "special token 'a': a single character is what a byte is called"},
                                           {"the", "special token 'the': the text has it as a word; a special token must be what no text says"}};
    for (int i = 0; i < 4; i++) {
        e = (struct err)ERR_INIT;
        ok(!train(texts, 330, &wrong[i][0], 1, &e), "a special token that cannot be one is refused");
        is_str(e.text, wrong[i][1], "and the error says why");
    }
    static const char *const twice[] = {"<a>", "<b>", "<a>"};
    e = (struct err)ERR_INIT;
    ok(!train(texts, 330, twice, 3, &e), "a special token is given once");
    is_str(e.text, "special token '<a>': given twice", "and the error says which");
    e = (struct err)ERR_INIT;
    struct bpe_trainer *t = bpe_trainer_new(&e);
    ok(bpe_trainer_add(t, "ab\xff", 3, &e) < 0, "invalid UTF-8 is refused");
    is_str(e.text, "byte 2: not valid UTF-8", "and the place is named");
    bpe_trainer_free(t);
    json_decref(golden);
    return tap_end();
}
