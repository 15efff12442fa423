/* text/chat_data: preference pairs and labelled samples in every shape; what is wrong with one is named. */
#include <stdlib.h>

#include "base/mem.h"
#include "tests/unit/tap.h"
#include "text/chat_data.h"

static void add_messages(struct buf *b, const json_t *sample, size_t answer)
{
    size_t i;
    const json_t *m;
    json_array_foreach(json_object_get(sample, "messages"), i, m) {
        buf_add_str(b, i == answer && answer ? " =>" : "");
        buf_printf(b, " %.1s:%s", json_string_value(json_object_get(m, "role")), json_string_value(json_object_get(m, "content")));
    }
    buf_add_str(b, json_object_get(sample, "tools") ? " +tools" : "");
}

/* "u:question => a:answer | u:question => a:other", raw text as 'prompt' => 'answer' | 'other'; a label behind it; or the error. */
static char *convert(const char *text, const char *format, bool prompt)
{
    struct err e = ERR_INIT;
    struct chat_data d;
    struct buf b = BUF_INIT;
    json_t *j = json_loads(text, 0, NULL);
    if (!j || chat_data_convert(j, chat_data_format(format), prompt, &d, &e) < 0) {
        json_decref(j);
        return mem_strdup(j ? e.text : "not JSON: mend the test");
    }
    if (d.sample)
        add_messages(&b, d.sample, d.answer);
    else
        buf_printf(&b, " '%s' => '%s'", json_string_value(d.prompt), d.text ? json_string_value(d.text) : "");
    if (d.rejected) {
        buf_add_str(&b, " |");
        if (d.sample)
            add_messages(&b, d.rejected, d.answer);
        else
            buf_printf(&b, " '%s'", json_string_value(d.rejected));
    }
    if (d.kind == CHAT_LABELLED && d.rated)
        buf_printf(&b, " rated %g", d.rating);
    else if (d.kind == CHAT_LABELLED)
        buf_add_str(&b, d.label ? " good" : " bad");
    char *s = mem_strdup(buf_str(&b) + 1);
    buf_release(&b);
    chat_data_release(&d);
    json_decref(j);
    return s;
}

static void gives(const char *text, const char *want, const char *what)
{
    char *got = convert(text, "auto", false);
    is_str(got, want, what);
    free(got);
}

static void says(const char *text, const char *format, const char *want)
{
    char *got = convert(text, format, false);
    is_str(got, want, want);
    free(got);
}

static void asks(const char *text, const char *format, const char *want, const char *what)
{
    char *got = convert(text, format, true);
    is_str(got, want, what);
    free(got);
}

#define ANSWERS "\"chosen\":\"yes\",\"rejected\":\"no\""
#define USER(text) "{\"role\":\"user\",\"content\":\"" text "\"}"
#define ASSISTANT(text) "{\"role\":\"assistant\",\"content\":\"" text "\"}"

static void test_pairs(void)
{
    gives("{\"conversations\":[{\"from\":\"human\",\"value\":\"q\"}],\"chosen\":{\"from\":\"gpt\",\"value\":\"yes\"},\"rejected\":{\"from\":\"gpt\",\"value\":\"no\"}}",
          "u:q => a:yes | u:q => a:no", "LLaMA-Factory's conversations");
    gives("{\"instruction\":\"q\",\"input\":\"i\"," ANSWERS "}", "u:q\ni => a:yes | u:q\ni => a:no", "instruction, input");
    gives("{\"system\":\"s\",\"instruction\":\"q\",\"history\":[[\"a\",\"b\"]]," ANSWERS "}", "s:s u:a a:b u:q => a:yes | s:s u:a a:b u:q => a:no", "system, history");
    gives("{\"system\":\"s\",\"question\":\"q\"," ANSWERS "}", "s:s u:q => a:yes | s:s u:q => a:no", "question");
    gives("{\"system\":\"s\",\"prompt\":\"q\"," ANSWERS "}", "s:s u:q => a:yes | s:s u:q => a:no", "a prompt with a system text is a conversation");
    gives("{\"system\":\"\",\"prompt\":\"q\"," ANSWERS "}", "u:q => a:yes | u:q => a:no", "even when that is empty");
    gives("{\"messages\":[" USER("q") "]," ANSWERS ",\"tools\":[{\"name\":\"f\"}]}", "u:q => a:yes +tools | u:q => a:no +tools", "messages and tools");
    gives("{\"prompt\":[" USER("q") "],\"chosen\":[" ASSISTANT("yes") "],\"rejected\":[" ASSISTANT("no") "]}", "u:q => a:yes | u:q => a:no", "lists for all three");
    gives("{\"prompt\":\"q\",\"chosen\":[" ASSISTANT("yes") "],\"rejected\":[" ASSISTANT("no") "]}", "u:q => a:yes | u:q => a:no", "a prompt beside lists is a user's message");
    gives("{\"chosen\":[" USER("q") "," ASSISTANT("yes") "],\"rejected\":[" USER("q") "," ASSISTANT("no") "]}", "u:q => a:yes | u:q => a:no", "the prompt in both lists");
    gives("{\"prompt\":\"q\",\"messages\":[" USER("q") "," ASSISTANT("yes") "],\"chosen\":[" USER("q") "," ASSISTANT("yes") "],\"rejected\":[" USER("q") "," ASSISTANT("no") "]}",
          "u:q => a:yes | u:q => a:no", "and elsewhere, as in UltraFeedback");
    gives("{\"chosen\":[" USER("a") "," ASSISTANT("b") "," USER("q") "," ASSISTANT("yes") "],\"rejected\":[" USER("a") "," ASSISTANT("b") "," USER("q") "," ASSISTANT("no") "]}",
          "u:a a:b u:q => a:yes | u:a a:b u:q => a:no", "turns that both have are the prompt");
    gives("{\"chosen\":[" USER("q") "," ASSISTANT("yes") "],\"rejected\":[" USER("q") "," ASSISTANT("no") "," USER("why") "," ASSISTANT("so") "]}",
          "u:q => a:yes | u:q => a:no u:why a:so", "answers of several turns");
    gives("{\"system\":\"s\",\"chosen\":[" USER("q") "," ASSISTANT("yes") "],\"rejected\":[" USER("q") "," ASSISTANT("no") "]}",
          "s:s u:q => a:yes | s:s u:q => a:no", "a system text before lists");
}

static void test_raw(void)
{
    gives("{\"prompt\":\"q\"," ANSWERS "}", "'q' => 'yes' | 'no'", "three strings");
    gives("{\"chosen\":\"The sky is blue\",\"rejected\":\"The sky is bleak\"}", "'The sky is bl' => 'ue' | 'eak'", "two strings: what both begin with");
    gives("{\"chosen\":\"The sky is blue\",\"rejected\":\"The sky is grey\"}", "'The sky is' => ' blue' | ' grey'", "a space stays with the answers");
    gives("{\"chosen\":\"ab\",\"rejected\":\"abc\"}", "'a' => 'b' | 'bc'", "one that begins the other");
    gives("{\"chosen\":\"xé\",\"rejected\":\"xè\"}", "'x' => 'é' | 'è'", "not inside a character");
    says("{\"prompt\":\"q\",\"chosen\":\" \",\"rejected\":\"no\"}", "auto", "\"chosen\" is empty");
    says("{\"prompt\":\"q\",\"chosen\":\"no\",\"rejected\":\"no\"}", "auto", "\"chosen\" and \"rejected\" are the same");
    says("{\"prompt\":\"q\",\"chosen\":\"no\"}", "auto", "has no \"rejected\"");
    says("{" ANSWERS "}", "auto", "has no \"prompt\", and \"chosen\" and \"rejected\" begin with nothing that both have");
}

static void test_bad_pairs(void)
{
    says("{\"text\":\"a\"}", "pairs", "has no \"chosen\"");
    says("{\"messages\":[" USER("q") "],\"chosen\":\"yes\"}", "auto", "has no \"rejected\"");
    says("{\"messages\":[" USER("q") "],\"chosen\":\"no\",\"rejected\":\"no\"}", "auto", "\"chosen\" and \"rejected\" are the same");
    says("{\"messages\":[" USER("q") "],\"chosen\":\"yes\",\"rejected\":\"\\n\"}", "auto", "\"rejected\" is empty");
    says("{\"messages\":[" USER("q") "],\"chosen\":\"\",\"rejected\":\"\"}", "auto", "\"chosen\" is empty");
    says("{\"messages\":[" USER("q") "],\"chosen\":7,\"rejected\":\"no\"}", "auto", "\"chosen\" is not a list of messages");
    says("{\"messages\":[" USER("q") "],\"chosen\":[],\"rejected\":\"no\"}", "auto", "\"chosen\" is not a list of messages");
    says("{\"messages\":[" USER("q") "],\"chosen\":{\"x\":1},\"rejected\":\"no\"}", "auto", "\"chosen\": message 1: has no \"role\" or \"from\"");
    says("{\"messages\":[" USER("q") "],\"chosen\":" USER("yes") ",\"rejected\":\"no\"}", "auto", "\"chosen\" does not begin with a message of the assistant");
    says("{\"messages\":[" USER("q") "," ASSISTANT("yes") "]," ANSWERS "}", "auto", "the prompt ends with a message of the assistant");
    says("{\"chosen\":[" USER("q") "," ASSISTANT("yes") "],\"rejected\":[" USER("r") "," ASSISTANT("no") "]}", "auto", "the prompts of \"chosen\" and \"rejected\" differ in message 1");
    says("{\"chosen\":[" USER("q") "," ASSISTANT("a") "," USER("b") "," ASSISTANT("c") "],\"rejected\":[" USER("q") "," ASSISTANT("a") "," USER("B") "," ASSISTANT("c") "]}", "auto",
         "the prompts of \"chosen\" and \"rejected\" differ in message 3");
    says("{\"chosen\":[" USER("q") "," ASSISTANT("a") "],\"rejected\":[" USER("q") "," ASSISTANT("a") "]}", "auto", "\"chosen\" and \"rejected\" are the same");
    says("{\"chosen\":[" USER("q") "," USER("a") "],\"rejected\":[" USER("q") "," USER("b") "]}", "auto", "the prompts of \"chosen\" and \"rejected\" differ in message 2");
    says("{\"system\":\"s\"," ANSWERS "}", "auto", "has no prompt (conversations, messages, prompt, instruction, or messages that both answers begin with)");
    says("{\"chosen\":[" ASSISTANT("a") "],\"rejected\":[" ASSISTANT("b") "]}", "auto", "has no prompt (conversations, messages, prompt, instruction, or messages that both answers begin with)");
    says("{\"instruction\":\"\",\"input\":\"\"," ANSWERS "}", "auto", "\"instruction\" and \"input\" are both empty");
    says("{\"system\":\"s\",\"messages\":[{\"role\":\"system\",\"content\":\"t\"}," USER("q") "]," ANSWERS "}", "auto", "has two system messages that differ");
}

static void test_labels(void)
{
    gives("{\"messages\":[" USER("q") "," ASSISTANT("a") "],\"label\":true}", "u:q => a:a good", "messages and a label");
    gives("{\"conversations\":[{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"gpt\",\"value\":\"a\"}],\"kto_tag\":false}", "u:q => a:a bad", "conversations and kto_tag");
    gives("{\"instruction\":\"q\",\"output\":\"a\",\"label\":false}", "u:q => a:a bad", "instruction and output");
    gives("{\"prompt\":[" USER("q") "],\"completion\":[" ASSISTANT("a") "],\"label\":true}", "u:q => a:a good", "prompt and completion of messages");
    gives("{\"prompt\":\"q\",\"completion\":\"a\",\"label\":true}", "'q' => 'a' good", "prompt and completion of raw text");
    gives("{\"messages\":[" USER("q") "," ASSISTANT("a") "],\"score\":1}", "u:q a:a", "a rating does not make a labelled sample");
    says("{\"messages\":[" USER("q") "," ASSISTANT("a") "],\"rating\":4.5}", "kto", "u:q => a:a rated 4.5");
    says("{\"messages\":[" USER("q") "," ASSISTANT("a") "],\"score\":-1,\"label\":null}", "kto", "u:q => a:a rated -1");
    says("{\"messages\":[" USER("q") "," ASSISTANT("a") "]}", "kto", "has no \"label\" (true or false), nor a \"rating\"");
    says("{\"messages\":[" USER("q") "," ASSISTANT("a") "],\"label\":1}", "kto", "\"label\" is neither true nor false");
    says("{\"messages\":[" USER("q") "," ASSISTANT("a") "],\"rating\":\"5\"}", "kto", "\"rating\" is not a number");
    says("{\"messages\":[" USER("q") "],\"label\":true}", "auto", "the conversation does not end with a message of the assistant, which the label would judge");
    says("{\"messages\":[" ASSISTANT("a") "],\"label\":true}", "auto", "has no prompt: the assistant's message is the only one");
    says("{\"messages\":[" USER("q") "," ASSISTANT("") "],\"label\":true}", "auto", "the answer is empty");
    says("{\"prompt\":\"q\",\"completion\":\" \",\"label\":true}", "auto", "the answer is empty");
    says("{\"text\":\"a\",\"label\":true}", "auto", "is text without a prompt, which no label can judge");
}

static void test_prompts(void)
{
    asks("{\"messages\":[" USER("q") "]," ANSWERS "}", "auto", "u:q", "the prompt of a pair");
    asks("{\"chosen\":[" USER("q") "," ASSISTANT("yes") "],\"rejected\":[" USER("q") "," ASSISTANT("no") "]}", "auto", "u:q", "that both lists hold");
    asks("{\"instruction\":\"q\"}", "pairs", "u:q", "without answers");
    asks("{\"prompt\":\"q\"," ANSWERS "}", "auto", "'q' => ''", "of raw text");
    asks("{\"prompt\":\"q\"}", "pairs", "'q' => ''", "alone");
    asks("{\"messages\":[" USER("q") "," ASSISTANT("a") "],\"label\":true}", "auto", "u:q a:a good", "of a labelled sample");
}

int main(void)
{
    test_pairs();
    test_raw();
    test_bad_pairs();
    test_labels();
    test_prompts();
    return tap_end();
}
