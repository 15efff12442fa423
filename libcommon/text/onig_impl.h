/* Private to onig*.c */
#ifndef TEXT_ONIG_IMPL_H
#define TEXT_ONIG_IMPL_H

#include "text/char_set.h"
#include "text/onig.h"

struct onig {
    const char *s;
    size_t len, i;
    struct buf *out;
    bool ignore_case, dot_all;
    int depth;
    bool folds_after_f, folds_after_s; /* under (?i): the atom before can end in f, or in s */
    struct err *e;
};

int onig_refuse(const struct onig *o, size_t from, const char *what); /* -1; names s[from..i) */
/* The escape after a backslash at i, when it stands for characters: fills set (one character or a class). 1 yes, 0 no, -1 error */
int onig_escape(struct onig *o, bool in_class, struct char_set *set, bool *is_class);
/* A class at '['. */
int onig_class(struct onig *o, struct char_set *set);
/* Under (?i): adds the other cases; only ASCII can be done. */
int onig_fold(struct onig *o, struct char_set *set, size_t from);

#endif
