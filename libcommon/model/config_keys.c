/* Which fields a config.json may have: those that are read, those that are known to change nothing, and those that would change the
 * arithmetic of a family that config.c knows, which must say that they do not. Any other field is refused: it may be a change that
 * transformers makes and we would not. */
#include <string.h>

#include "model/config_json.h"

/* Fields that are read in config.c or config_rope.c, or that no family lets change its arithmetic. */
static const char *const READ_OR_HARMLESS[] = {
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings",
    "attention_bias", "mlp_bias", "rope_theta", "rope_scaling", "rope_parameters", "original_max_position_embeddings",
    "partial_rotary_factor", "sliding_window", "use_sliding_window", "max_window_layers", "layer_types", "bos_token_id",
    "eos_token_id", "pad_token_id", "torch_dtype", "dtype", "initializer_range",
    "quantization_config", /* format/quantized_config.c */
    /* description */
    "architectures", "transformers_version", "auto_map", "tokenizer_class", "prefix", "finetuning_task", "task_specific_params",
    "problem_type", "id2label", "label2id", "num_labels", "is_llama_config", "transformers.js_config", "unsloth_version",
    "unsloth_fixed", "model_max_length", "max_sequence_length", "processor_class", "license",
    /* how transformers runs it */
    "use_cache", "pretraining_tp", "attn_implementation", "gradient_checkpointing", "output_attentions", "output_hidden_states",
    "return_dict", "return_dict_in_generate", "torchscript", "use_bfloat16", "chunk_size_feed_forward", "remove_invalid_values",
    "output_scores", "cross_attention_hidden_size", "tie_encoder_decoder", "pruned_heads", "tf_legacy_loss", "neftune_noise_alpha",
    /* generation settings of older files */
    "max_length", "min_length", "max_new_tokens", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty",
    "temperature", "top_k", "top_p", "typical_p", "min_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "forced_bos_token_id", "forced_eos_token_id",
    "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "sep_token_id", "decoder_start_token_id",
};

/* Fields that would change the arithmetic unless they are null, false or 0. */
static const char *const MUST_BE_OFF[] = {
    "attention_dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop", "hidden_dropout", "rope_interleaved", "use_mrope",
    "quantization", "is_encoder_decoder", "add_cross_attention", "is_decoder", "attn_logit_softcapping",
    "final_logit_softcapping", "use_qk_norm", "residual_dropout",
};

/* Factors of other families that would change the arithmetic unless they are 1. */
static const char *const MUST_BE_ONE[] = {"embedding_multiplier", "residual_multiplier", "logits_scaling", "rope_ratio"};

static bool in_list(const char *key, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(key, list[i]))
            return true;
    return false;
}
#define IN(key, list) in_list(key, list, sizeof(list) / sizeof *(list))

static bool is_off(const json_t *v)
{
    return json_is_false(v) || (json_is_number(v) && json_number_value(v) == 0);
}

void config_check_keys(struct json_fields *r)
{
    const char *key;
    json_t *v;
    json_object_foreach(r->object, key, v) {
        if (*key == '_' || json_is_null(v) || IN(key, READ_OR_HARMLESS))
            continue;
        if (IN(key, MUST_BE_OFF)) {
            if (!is_off(v))
                json_fields_bad(r, key, "null, false or 0");
        } else if (IN(key, MUST_BE_ONE)) {
            if (!json_is_number(v) || json_number_value(v) != 1)
                json_fields_bad(r, key, "null or 1");
        } else {
            json_fields_bad(r, key, "no such field: what it would change is not known here");
        }
    }
}
