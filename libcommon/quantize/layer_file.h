/* What a run has made of one layer of the decoder, kept in its folder until all are there: OUT/layers/layer-N.safetensors.
 *
 * The file holds the tensors that take the place of the layer's stored ones, with checksums, and as metadata `run`, the hash of the run
 * it belongs to, and `report`, a JSON array with what is known of each module. It appears by renaming and is not synchronized:
 * what a crash of the machine leaves is found by the checksums, and the layer is made again. */
#ifndef QUANTIZE_LAYER_FILE_H
#define QUANTIZE_LAYER_FILE_H

#include "format/safetensors.h"

#define LAYERS_FOLDER "layers"

int layer_file_write(const char *out, int layer, const char *run, const char *report, struct st_tensor *tensors, int n, struct err *e) MUST_CHECK;

/* NULL when it is not there, damaged, or of another run: `why` then tells, "" for not there. Reads every byte when `verify`. */
struct st_file *layer_file_open(const char *out, int layer, const char *run, bool verify, struct err *why);

bool layer_file_exists(const char *out, int layer);
int layer_files_begin(const char *out, struct err *e) MUST_CHECK;  /* makes the folder, removes temporaries */
int layer_files_remove(const char *out, struct err *e) MUST_CHECK; /* with the folder */

#endif
