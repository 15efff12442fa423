/* What became of each module, as JSON objects: in the layers' files while a run lasts, then in OUT/log.jsonl, one a line, and in the
 * table of --report.
 *
 *     {"type":"module","layer":0,"module":"model.layers.0.self_attn.q_proj","method":"nf4","weights":331776,"bytes":...,"bits":4.5,
 *      "weight_error":0.09,"output_error":0.05,"damp":0.01}
 * weight_error: |W - Q| / |W|; output_error: |XW' - XQ'| / |XW'|, of methods that calibrate; damp of gptq. method "none": left in float. */
#ifndef QUANTIZE_REPORT_H
#define QUANTIZE_REPORT_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

struct report_module {
    int layer;
    const char *module, *method;
    int64_t weights, bytes;
    double weight_error, output_error, damp; /* NaN: none */
};

json_t *report_entry(const struct report_module *m);

struct report_totals {
    int modules, kept;
    int64_t weights, bytes;   /* of quantized modules, overheads in */
    double bits;              /* per weight of these */
    double weight_error;      /* their mean */
    double worst_error;
    const char *worst;        /* borrowed from the list */
};

struct report_totals report_sum(const json_t *list);
void report_table(struct buf *to, const json_t *list); /* one line a module under a heading */

int report_write(const char *path, const json_t *list, struct err *e) MUST_CHECK; /* a line each */
json_t *report_read(const char *path, struct err *e) MUST_CHECK;                  /* NULL on error */

#endif
