#include "train/checks.h"

#include <inttypes.h>
#include <string.h>

#include "cli/stop.h"
#include "format/model_folder.h"

static int check_tokenizer(const char *dir, const struct token_file *t, struct err *e)
{
    char own[SHA256_HEX];
    if (model_folder_tokenizer_hash(dir, own, e) < 0)
        return -1;
    if (!own[0] || !strcmp(t->provenance.tokenizer, own))
        return 0;
    return err_set(e, "%s: was made with another tokenizer (%.16s...) than that of %s (%.16s...); make it again with tok-encode -m %s", t->path,
                   t->provenance.tokenizer, dir, own, dir);
}

static int check_ids(const struct model *m, const struct token_file *t, struct err *e)
{
    for (int64_t i = 0; i < t->n_samples; i++) {
        struct token_sample x = token_file_sample(t, i);
        for (uint32_t k = 0; k < x.n; k++)
            if (x.ids[k] >= m->config.vocab)
                return err_set(e, "%s: record %" PRId64 ": token %u is outside the model's vocabulary of %" PRId64, t->path, i + 1, x.ids[k],
                               m->config.vocab);
    }
    return 0;
}

int check_tokens(const struct model *m, const char *dir, const struct token_file *t, struct err *e)
{
    if (check_tokenizer(dir, t, e) < 0)
        return -1;
    if (t->n_samples == 0)
        return err_set(e, "%s: holds no sample", t->path);
    if (t->provenance.vocab > m->config.vocab && check_ids(m, t, e) < 0)
        return -1;
    for (int64_t i = 0; i < t->n_samples; i++)
        if (token_file_sample(t, i).trained == 0)
            return err_set(e, "%s: record %" PRId64 ": no token is to be trained", t->path, i + 1);
    return 0;
}

int check_weights(const struct model *m, struct err *e)
{
    return model_check_finite(m, stop_requested, e);
}
