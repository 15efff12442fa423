/* What is this path? A description of model folders, adapter folders, training runs, their checkpoints, safetensors files,
 * token files and chat streams, as a JSON object whose first member is "kind".
 *
 *     json_t *about = inspect_path("adapter/", true, &err);  ...  json_decref(about);
 * verify: every byte is read and every checksum compared; "verified" then says what could be checked. Damage is an error,
 * as is a path that is none of these. */
#ifndef TRAIN_INSPECT_H
#define TRAIN_INSPECT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

json_t *inspect_path(const char *path, bool verify, struct err *e) MUST_CHECK;

#endif
