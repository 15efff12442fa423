/* After a loss or gradient that is no finite number: whose fault is it? */
#ifndef TRAIN_FIND_BAD_H
#define TRAIN_FIND_BAD_H

#include "model/model.h"

/* Name of the first stored weight that holds a NaN or an infinity; NULL when all are finite. Reads every weight. */
const char *find_bad_weight(const struct model *m);

#endif
