/* Chat templates: what parses is rendered with a conversation that has every kind of message; the spans must cover the text. */
#include <stdint.h>
#include <stdlib.h>

#include "text/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char conversation[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be\\nkind \\u00e9\"}, {\"role\": \"user\", \"content\": \" <|im_end|> \", \"n\": 3},"
    " {\"role\": \"assistant\", \"content\": \"\", \"reasoning_content\": \"hm\", \"tool_calls\": [{\"type\": \"function\", \"id\": \"a1\","
    " \"function\": {\"name\": \"f\", \"arguments\": {\"x\": [1, -2.5e300, null, true], \"y\": \"\\u65e5\"}}}]},"
    " {\"role\": \"tool\", \"content\": [{\"type\": \"text\", \"text\": \"1\"}]}, {\"role\": \"assistant\", \"content\": \"Bye</think>x\"}],"
    " \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"type\": \"object\"}}}],"
    " \"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"add_generation_prompt\": true, \"n\": 9223372036854775807, \"f\": 0.1, \"d\": {\"b\": 1, \"A\": 2}}";

static void check_spans(const struct jinja_output *out)
{
    size_t at = 0;
    for (size_t i = 0; i < out->n_spans; i++) {
        if (out->spans[i].start != at || out->spans[i].end <= at)
            abort();
        at = out->spans[i].end;
    }
    if (at != out->text.len)
        abort();
    for (size_t i = 0; i < out->n_generation; i++)
        if (out->generation[i].start > out->generation[i].end || out->generation[i].end > out->text.len)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = ERR_INIT;
    struct jinja *t = jinja_parse((const char *)data, size, "fuzz", &e);
    if (!t) {
        if (!e.set)
            abort();
        return 0;
    }
    json_t *variables = json_loads(conversation, 0, NULL);
    struct jinja_output out = {0};
    if (jinja_render(t, variables, 86400, &out, &e) == 0)
        check_spans(&out);
    else if (!e.set)
        abort();
    jinja_output_release(&out);
    json_decref(variables);
    jinja_free(t);
    return 0;
}
