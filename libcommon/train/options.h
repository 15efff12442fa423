/* Options of every trainer: defaults, and the rows of its option table (spec: "option of every trainer").
 *     static struct train_options o = TRAIN_DEFAULTS(2e-4);
 *     static const struct opt options[] = {..., TRAIN_OPTIONS(o), OPT_END}; */
#ifndef TRAIN_OPTIONS_H
#define TRAIN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct train_options {
    double epochs;
    int64_t steps, batch, batch_tokens, rows;
    const char *order;
    double lr, warmup, weight_decay, beta1, beta2, eps, clip;
    const char *schedule, *optimizer;
    const char *eval;
    int64_t eval_every, save_every, keep, log_every;
    const char *recompute, *offload;
    int64_t memory;
    const char *log;
    bool restart;
    bool epochs_given, batch_given, recompute_given, lr_given;
};

#define TRAIN_DEFAULTS(rate)                                                                                                       \
    {                                                                                                                              \
        .epochs = 3, .batch = 16, .order = "random", .lr = (rate), .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip = 1,          \
        .schedule = "cosine", .optimizer = "adamw", .keep = 2, .log_every = 1, .recompute = "auto", .offload = "none",             \
    }

#define TRAIN_OPTIONS(o, lr_default)                                                                                                                      \
    {OPT_GROUP, .help = "Length and order"},                                                                                                              \
    {OPT_REAL, 0, "epochs", &o.epochs, "X", "passes over the samples (3)", .min = 1e-6, .max = 1e6, .given = &o.epochs_given},                            \
    {OPT_COUNT, 0, "steps", &o.steps, "N", "optimizer steps, instead of --epochs", .min = 1, .max = 1e12},                                                \
    {OPT_COUNT, 0, "batch", &o.batch, "N", "samples per step (16)", .min = 1, .max = 1e9, .given = &o.batch_given},                                       \
    {OPT_COUNT, 0, "batch-tokens", &o.batch_tokens, "N", "trained tokens per step, instead of --batch", .min = 1, .max = 1e12},                           \
    {OPT_COUNT, 0, "rows", &o.rows, "N", "tokens computed at once, at most (chosen by size)", .min = 1, .max = 1e7},                                      \
    {OPT_CHOICE, 0, "order", &o.order, "random|file", "order of the samples in each epoch (random)"},                                                     \
    {OPT_GROUP, .help = "Optimizer"},                                                                                                                     \
    {OPT_REAL, 0, "lr", &o.lr, "X", "peak learning rate (" lr_default ")", .min = 0, .max = 1e3, .given = &o.lr_given},                                                         \
    {OPT_CHOICE, 0, "schedule", &o.schedule, "cosine|linear|constant", "of the learning rate (cosine)"},                                                  \
    {OPT_REAL, 0, "warmup", &o.warmup, "X", "warm-up in steps, or below 1 a share of all steps (0)", .min = 0, .max = 1e12},                              \
    {OPT_CHOICE, 0, "optimizer", &o.optimizer, "adamw|adamw8bit", "adamw8bit: its state in 8 bits, as bitsandbytes' (adamw)"},                             \
    {OPT_REAL, 0, "weight-decay", &o.weight_decay, "X", "decoupled decay, not of biases and norms (0)", .min = 0, .max = 1e3},                            \
    {OPT_REAL, 0, "beta1", &o.beta1, "X", "decay of the first moment (0.9)", .min = 0, .max = 0.999999999},                                               \
    {OPT_REAL, 0, "beta2", &o.beta2, "X", "decay of the second moment (0.999)", .min = 0, .max = 0.999999999},                                            \
    {OPT_REAL, 0, "eps", &o.eps, "X", "added to the root of the second moment (1e-8)", .min = 0, .max = 1},                                               \
    {OPT_REAL, 0, "clip", &o.clip, "X", "clip the gradient to this norm; 0: never (1)", .min = 0, .max = 1e9},                                            \
    {OPT_GROUP, .help = "Watching and saving"},                                                                                                           \
    {OPT_STRING, 0, "eval", &o.eval, "FILE.tok", "token file that the loss is also measured on", .path = OPT_INPUT},                                      \
    {OPT_COUNT, 0, "eval-every", &o.eval_every, "N", "steps between these; 0: at the end of every epoch (0)", .min = 0, .max = 1e12},                     \
    {OPT_COUNT, 0, "save-every", &o.save_every, "N", "steps between checkpoints; 0: every ten minutes (0)", .min = 0, .max = 1e12},                       \
    {OPT_COUNT, 0, "keep", &o.keep, "N", "checkpoints to keep (2)", .min = 1, .max = 1e6},                                                                \
    {OPT_COUNT, 0, "log-every", &o.log_every, "N", "steps for one line of the log (1)", .min = 1, .max = 1e12},                                           \
    {OPT_STRING, 0, "log", &o.log, "FILE", "where the log goes (OUT/log.jsonl)", .path = OPT_OUTPUT},                                                     \
    {OPT_FLAG, 0, "restart", &o.restart, NULL, "begin anew: drop what an earlier run left in OUT"},                                                       \
    {OPT_GROUP, .help = "Memory"},                                                                                                                        \
    {OPT_CHOICE, 0, "recompute", &o.recompute, "auto|none|layer", "activations to compute again instead of keeping (auto)"},                              \
    {OPT_CHOICE, 0, "offload", &o.offload, "none|activations", "keep these in the host's memory, where the device has its own (none)"},                   \
    {OPT_SIZE, 0, "memory", &o.memory, "SIZE", "memory that may be used (what the machine has available)", .min = 1, .max = 1e18}

#endif
