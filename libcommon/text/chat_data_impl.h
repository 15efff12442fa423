/* Inside of chat_data: chat_data.c has the samples, chat_pair.c the pairs, chat_label.c what labels say. */
#ifndef TEXT_CHAT_DATA_IMPL_H
#define TEXT_CHAT_DATA_IMPL_H

#include "text/chat_data.h"

bool chat_data_has(const json_t *record, const char *key); /* and it is not null */
/* A string under `key`. 1: there and not empty, 0: absent, null or empty, -1: another type. */
int chat_data_text(const json_t *record, const char *key, const json_t **to, struct err *e) MUST_CHECK;

/* What stands in front of a conversation: the key "system"; the pairs of "history"; both and "instruction" with "input". */
int chat_data_system(json_t *messages, const json_t *record, struct err *e) MUST_CHECK;
int chat_data_history(json_t *messages, const json_t *history, struct err *e) MUST_CHECK;
int chat_data_alpaca_prompt(const json_t *record, json_t *messages, struct err *e) MUST_CHECK;
/* The key "system" and a turn from the system: the same text twice is one. */
int chat_data_one_system(json_t *messages, struct err *e) MUST_CHECK;

bool chat_is_assistant(const json_t *message);
bool chat_is_blank(const json_t *string);           /* nothing but white space */
bool chat_is_empty_answer(const json_t *message);   /* blank, and calls no tool */

int chat_pair_convert(const json_t *record, bool prompt, struct chat_data *d, struct err *e) MUST_CHECK;

/* label, kto_tag, rating or score. */
int chat_label_read(const json_t *record, struct chat_data *d, struct err *e) MUST_CHECK;
/* Where the converted sample's answer begins: its last message, or raw text behind a prompt. */
int chat_label_answer(struct chat_data *d, struct err *e) MUST_CHECK;

#endif
