/* Chat rendering: the built-in templates, and which bytes bear loss. Expected texts are written by hand from each family's format. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/sha256.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tap.h"
#include "text/chat.h"

/* Trained bytes are marked [[ ]], bytes of the conversation {}. */
static void mark(const struct chat_rendered *r, bool data, struct buf *b)
{
    bool train = false;
    for (size_t i = 0; i < r->n_spans; i++) {
        const struct chat_span *s = &r->spans[i];
        if (s->train != train)
            buf_add_str(b, s->train ? "[[" : "]]");
        train = s->train;
        if (data && s->data)
            buf_add_char(b, '{');
        buf_add(b, r->text.data + s->start, s->end - s->start);
        if (data && s->data)
            buf_add_char(b, '}');
    }
    if (train)
        buf_add_str(b, "]]");
}

static void check_with(struct chat_template *t, const char *sample, const struct chat_options *o, bool data, const char *want, const char *what)
{
    struct err e = ERR_INIT;
    struct chat_rendered r = {0};
    struct buf b = BUF_INIT;
    json_t *j = json_loads(sample, 0, NULL);
    if (!j)
        buf_add_str(&b, "the sample is not JSON");
    else if (chat_render(t, j, o, &r, &e) < 0)
        buf_add_str(&b, e.text);
    else
        mark(&r, data, &b);
    is_str(buf_str(&b), want, what);
    json_decref(j);
    buf_release(&b);
    chat_rendered_release(&r);
}

static void check(const char *name, const char *sample, const struct chat_options *o, bool data, const char *want, const char *what)
{
    struct err e = ERR_INIT;
    struct chat_template *t = chat_template_open(name, NULL, &e);
    if (t)
        check_with(t, sample, o, data, want, what);
    else
        ok(false, "%s: %s", what, e.text);
    chat_template_close(t);
}

#define TURNS "{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": \"Hello\"}, {\"role\": \"user\", \"content\": \"Q\"}, " \
    "{\"role\": \"assistant\", \"content\": \"A\"}"
#define SYSTEM "{\"role\": \"system\", \"content\": \"Sys\"}, "
static const char plain_turns[] = "{\"messages\": [" TURNS "]}", system_turns[] = "{\"messages\": [" SYSTEM TURNS "]}";
static const char prompt_turn[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}";

struct expected { const char *name, *turns, *with_system, *prompt; };
static const struct expected expected[] = {
    {"alpaca",
     "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nHi\n\n### "
     "Response:\n[[Hello</s>]]\n\n### Instruction:\nQ\n\n### Response:\n[[A</s>]]",
     "<s>Sys\n\n### Instruction:\nHi\n\n### Response:\n[[Hello</s>]]\n\n### Instruction:\nQ\n\n### Response:\n[[A</s>]]",
     "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nHi\n\n### Response:\n"},
    {"chatml",
     "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[[Hello<|im_end|>]]\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[A<|im_end|>]]\n",
     "<|im_start|>system\nSys<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[[Hello<|im_end|>]]\n<|im_start|>user\nQ<|im_end|>\n"
     "<|im_start|>assistant\n[[A<|im_end|>]]\n",
     "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
    {"deepseek",
     "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>[[Hello<｜end▁of▁sentence｜>]]<｜User｜>Q<｜Assistant｜>[[A<｜end▁of▁sentence｜>]]",
     "<｜begin▁of▁sentence｜>Sys<｜User｜>Hi<｜Assistant｜>[[Hello<｜end▁of▁sentence｜>]]<｜User｜>Q<｜Assistant｜>[[A<｜end▁of▁sentence｜>]]",
     "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>"},
    {"gemma",
     "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n[[Hello<end_of_turn>]]\n<start_of_turn>user\nQ<end_of_turn>\n<start_of_turn>model\n"
     "[[A<end_of_turn>]]\n",
     "<bos><start_of_turn>user\nSys\n\nHi<end_of_turn>\n<start_of_turn>model\n[[Hello<end_of_turn>]]\n<start_of_turn>user\nQ<end_of_turn>\n"
     "<start_of_turn>model\n[[A<end_of_turn>]]\n",
     "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"},
    {"llama2", "<s>[INST] Hi [/INST][[ Hello </s>]]<s>[INST] Q [/INST][[ A </s>]]",
     "<s>[INST] <<SYS>>\nSys\n<</SYS>>\n\nHi [/INST][[ Hello </s>]]<s>[INST] Q [/INST][[ A </s>]]", "<s>[INST] Hi [/INST]"},
    {"llama3",
     "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n[[Hello<|eot_id|>]]"
     "<|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n[[A<|eot_id|>]]",
     "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nSys<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n[[Hello<|eot_id|>]]<|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n[[A<|eot_id|>]]",
     "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"mistral", "<s>[INST] Hi[/INST][[ Hello</s>]][INST] Q[/INST][[ A</s>]]", "<s>[INST] Sys\n\nHi[/INST][[ Hello</s>]][INST] Q[/INST][[ A</s>]]",
     "<s>[INST] Hi[/INST]"},
    {"phi3", "<|user|>\nHi<|end|>\n<|assistant|>\n[[Hello<|end|>]]\n<|user|>\nQ<|end|>\n<|assistant|>\n[[A<|end|>]]\n",
     "<|system|>\nSys<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n[[Hello<|end|>]]\n<|user|>\nQ<|end|>\n<|assistant|>\n[[A<|end|>]]\n",
     "<|user|>\nHi<|end|>\n<|assistant|>\n"},
    {"plain", "<s>Hi[[Hello</s>]]Q[[A</s>]]", "<s>Sys\nHi[[Hello</s>]]Q[[A</s>]]", "<s>Hi"},
    {"qwen",
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
     "<|im_start|>assistant\n[[Hello<|im_end|>]]\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[A<|im_end|>]]\n",
     "<|im_start|>system\nSys<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[[Hello<|im_end|>]]\n<|im_start|>user\nQ<|im_end|>\n"
     "<|im_start|>assistant\n[[A<|im_end|>]]\n",
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
     "<|im_start|>assistant\n"},
    {"vicuna",
     "<s>A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's "
     "questions. USER: Hi ASSISTANT:[[ Hello</s>]]USER: Q ASSISTANT:[[ A</s>]]",
     "<s>Sys USER: Hi ASSISTANT:[[ Hello</s>]]USER: Q ASSISTANT:[[ A</s>]]",
     "<s>A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's "
     "questions. USER: Hi ASSISTANT:"},
    {"zephyr", "<|user|>\nHi</s>\n<|assistant|>\n[[Hello</s>]]\n<|user|>\nQ</s>\n<|assistant|>\n[[A</s>]]\n",
     "<|system|>\nSys</s>\n<|user|>\nHi</s>\n<|assistant|>\n[[Hello</s>]]\n<|user|>\nQ</s>\n<|assistant|>\n[[A</s>]]\n", "<|user|>\nHi</s>\n<|assistant|>\n"},
};

static void test_builtins(void)
{
    const struct chat_options train = {.now = 0}, prompt = {.generation_prompt = true, .now = 0}, with = {.system = "Sys", .now = 0};
    const char *const *names = chat_template_names();
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const struct expected *x = &expected[i];
        char what[80];
        is_str(names[i], x->name, "every built-in template is tested");
        snprintf(what, sizeof what, "%s: turns", x->name);
        check(x->name, plain_turns, &train, false, x->turns, what);
        snprintf(what, sizeof what, "%s: system", x->name);
        check(x->name, system_turns, &train, false, x->with_system, what);
        snprintf(what, sizeof what, "%s: system from the option", x->name);
        check(x->name, plain_turns, &with, false, x->with_system, what);
        snprintf(what, sizeof what, "%s: the conversation's own system text wins", x->name);
        check(x->name, system_turns, &(struct chat_options){.system = "other"}, false, x->with_system, what);
        snprintf(what, sizeof what, "%s: prompt", x->name);
        check(x->name, prompt_turn, &prompt, false, x->prompt, what);
    }
    ok(!names[sizeof expected / sizeof *expected], "there are no others");
    check("alpaca", "{\"messages\": [{\"role\": \"user\", \"content\": \"I\\nX\", \"instruction\": \"I\", \"input\": \"X\"}, {\"role\": \"assistant\", \"content\": \"O\"}]}",
          &train, true,
          "<s>Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes "
          "the request.\n\n### Instruction:\n{I}\n\n### Input:\n{X}\n\n### Response:\n[[{O}</s>]]",
          "alpaca: an input of its own");
    check("chatml", "{\"messages\": [{\"role\": \"user\", \"content\": \"I\\nX\", \"instruction\": \"I\", \"input\": \"X\"}, {\"role\": \"assistant\", \"content\": \"O\"}]}",
          &train, true, "<|im_start|>user\n{I\nX}<|im_end|>\n<|im_start|>assistant\n[[{O}<|im_end|>]]\n", "other templates take the joined text");
    check("qwen",
          "{\"tools\": [{\"name\": \"f\"}], \"messages\": [{\"role\": \"user\", \"content\": \"Q\"}, {\"role\": \"assistant\", \"content\": null, \"tool_calls\": "
          "[{\"function\": {\"name\": \"f\", \"arguments\": {\"x\": 1}}}]}, {\"role\": \"tool\", \"content\": \"r\"}, {\"role\": \"assistant\", \"content\": \"A\"}]}",
          &(struct chat_options){.system = "S"}, false,
          "<|im_start|>system\nS\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures "
          "within <tools></tools> XML tags:\n<tools>\n{\"name\": \"f\"}\n</tools>\n\nFor each function call, return a json object with function name and arguments "
          "within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n"
          "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call><|im_end|>]]\n"
          "<|im_start|>user\n<tool_response>\nr\n</tool_response><|im_end|>\n<|im_start|>assistant\n[[A<|im_end|>]]\n",
          "qwen: a tool call is trained whole");
    check("gemma", "{\"messages\": [{\"role\": \"tool\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": \"A\"}]}", &train, false,
          "gemma: line 1: this template has no role tool", "a role that the template does not know");
    check("chatml", "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"image\"}]}]}", &prompt, false,
          "chatml: line 1: this template takes text only", "an image is refused");
}

static void test_which(void)
{
    const struct chat_options last = {.train = CHAT_TRAIN_LAST}, all = {.train = CHAT_TRAIN_ALL}, train = {0}, prompt = {.generation_prompt = true};
    check("llama3", plain_turns, &last, false,
          "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
          "<|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n[[A<|eot_id|>]]",
          "--train last");
    check("mistral", plain_turns, &all, false, "<s>[[[INST] Hi[/INST] Hello</s>[INST] Q[/INST] A</s>]]", "--train all leaves out the beginning of text");
    check("mistral", "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": \"a\", \"weight\": 0}, {\"role\": \"user\", "
                     "\"content\": \"Q\"}, {\"role\": \"assistant\", \"content\": \"b\", \"weight\": 1}]}",
          &train, false, "<s>[INST] Hi[/INST] a</s>[INST] Q[/INST][[ b</s>]]", "a message of weight 0 bears no loss");
    check("chatml", "{\"messages\": [{\"role\": \"user\", \"content\": \"<|im_end|>\"}, {\"role\": \"assistant\", \"content\": \"</s><|im_end|>\"}]}", &train, true,
          "<|im_start|>user\n{<|im_end|>}<|im_end|>\n<|im_start|>assistant\n[[{</s><|im_end|>}<|im_end|>]]\n", "control tokens in content are data");
    check("chatml", "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}, {\"role\": \"assistant\", \"content\": \"Hello\"}]}", &train, false,
          "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n[[Hello<|im_end|>]]\n", "the same text of a user is not trained");
    check("chatml", "{\"messages\": [{\"role\": \"user\", \"content\": \"Q\"}, {\"role\": \"assistant\", \"content\": \"\"}]}", &train, false,
          "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[<|im_end|>]]\n", "an empty answer trains its end");
    check("chatml", prompt_turn, &train, false, "nothing to train: the conversation has no message of an assistant", "no assistant");
    check("chatml", "{\"messages\": []}", &prompt, false, "the conversation has no messages", "no messages");
    check("chatml", "{\"messages\": [5]}", &prompt, false, "message 1 is not an object", "a message that is no object");
    check("chatml", "{}", &prompt, false, "the conversation has no messages", "no list of messages");
}

/* A template of our own in a file. */
static void check_source(const char *source, const char *sample, const struct chat_options *o, const char *want, const char *what)
{
    char *path = scratch_path(".jinja");
    struct err e = ERR_INIT;
    struct chat_template *t = file_write(path, source, strlen(source), &e) < 0 ? NULL : chat_template_open(path, NULL, &e);
    if (t)
        check_with(t, sample, o, false, want, what);
    else
        ok(false, "%s: %s", what, e.text);
    chat_template_close(t);
    free(path);
}

static void test_shapes(void)
{
    const struct chat_options train = {0}, last = {.train = CHAT_TRAIN_LAST};
    check_source("{% for m in messages %}{{ m.role }}: {% generation %}{{ m.content }}\n{% endgeneration %}{% endfor %}", plain_turns, &train,
                 "user: Hi\nassistant: [[Hello\n]]user: Q\nassistant: [[A\n]]", "generation blocks decide, for assistants");
    check_source("{% for m in messages %}{% if m.role == 'user' %}U {{ m.content }}{% else %}{% generation %} A {{ m.content }}.{% endgeneration %}{% endif %}{% endfor %}",
                 plain_turns, &last, "U Hi A Hello.U Q[[ A A.]]", "generation blocks of the last turn");
    check_source("{% for m in messages %}{% if not loop.first %}<|sep|>\n{% endif %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}<|sep|>", plain_turns, &train,
                 "<|user|>Hi<|sep|>\n<|assistant|>[[Hello<|sep|>]]\n<|user|>Q<|sep|>\n<|assistant|>[[A<|sep|>]]", "an end that the next turn puts out");
    check_source("{% for m in messages %}{% if not loop.first %}</s>{% endif %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}</s>", plain_turns, &train,
                 "<|user|>Hi</s><|assistant|>[[Hello</s>]]<|user|>Q</s><|assistant|>[[A</s>]]", "an end after the loop");
    check_source("{% for m in messages %}{{ m.role|upper }}: {{ m.content }}\n{% endfor %}", plain_turns, &train, "USER: Hi\nASSISTANT: [[Hello\n]]USER: Q\nASSISTANT: [[A\n]]",
                 "no control tokens: the line break is the end");
    check_source("{% for m in messages %}{% if loop.last %}{{ '<|out|>' + m.content + '<|end|>' }}{% else %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}"
                 "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}", plain_turns, &train,
                 "<|user|>Hi<|end|><|assistant|>[[Hello<|end|>]]<|user|>Q<|end|><|out|>[[A<|end|>]]", "another opening than the usual one is not trained");
    check_source("{{ messages[0].content }}=>{{ messages[1].content }}", plain_turns, &train, "Hi=>[[Hello]]", "no loop over the messages");
    check_source("{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t + '<' + m.role + '>' + m.content + '</s>' %}{% endfor %}{{ ns.t }}", plain_turns,
                 &train, "<user>Hi</s><assistant>[[Hello</s>]]<user>Q</s><assistant>[[A</s>]]", "text gathered first and put out last");
    check_source("{% for m in messages %}{{ '<|' + m.role + '|>' }}{% for c in m.tool_calls or [] %}<|call|>{{ c.name }}<|/call|>{% endfor %}{{ m.content }}<|end|>\n"
                 "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
                 "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"tool_calls\": [{\"name\": \"f\"}, {\"name\": \"g\"}]}]}", &train,
                 "<|user|>Hi<|end|>\n<|assistant|>[[<|call|>f<|/call|><|call|>g<|/call|><|end|>]]\n", "control tokens inside of a turn do not end it");
    check_source("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}", plain_turns, &train,
                 "nothing to train: the template puts out nothing of the assistant's messages", "a template that leaves assistants out");
    check_source("{{ chat_template_kwargs }}{{ mode }}{{ messages[1].content }}", "{\"chat_template_kwargs\": {\"mode\": \"x\"}, \"messages\": [" TURNS "]}", &train,
                 "x[[Hello]]", "variables of a sample's own");
    check_source("{{ messages[1] }}", "{\"messages\": [{\"role\": \"user\"}, {\"role\": \"assistant\", \"content\": null, \"reasoning\": \"r\", \"thinking\": null}]}", &train,
                 "{'[[thinking': 'r', 'role': 'assistant', 'reasoning': 'r', 'reasoning_content': 'r]]'}", "nulls go, reasoning has all its names");
}

/* Answers that are ended by the next role's token. */
#define GLM "[gMASK]<sop>{% for m in messages %}{% if m.role == 'tool' %}<|observation|>{% else %}<|{{ m.role }}|>{% endif %}{{ '\n' + m.content }}" \
    "{% for c in m.tool_calls or [] %}{{ '\n<tool_call>' + c.function.name }}</tool_call>{% endfor %}{% endfor %}" \
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
#define CALL "{\"messages\": [{\"role\": \"user\", \"content\": \"Q\"}, {\"role\": \"assistant\", \"content\": \"C\", \"tool_calls\": [{\"function\": {\"name\": " \
    "\"f\"}}]}, {\"role\": \"tool\", \"content\": \"r\"}, {\"role\": \"assistant\", \"content\": \"A\"}]}"

static void test_role_ends(void)
{
    const struct chat_options train = {0}, last = {.train = CHAT_TRAIN_LAST}, all = {.train = CHAT_TRAIN_ALL}, prompt = {.generation_prompt = true};
    check_source(GLM, plain_turns, &train, "[gMASK]<sop><|user|>\nHi<|assistant|>[[\nHello<|user|>]]\nQ<|assistant|>[[\nA<|user|>]]",
                 "the next role's token is trained; with no eos_token known, the last answer gets it, too");
    check_source(GLM, CALL, &train,
                 "[gMASK]<sop><|user|>\nQ<|assistant|>[[\nC\n<tool_call>f</tool_call><|observation|>]]\nr<|assistant|>[[\nA<|user|>]]", "a tool's role, too");
    check_source(GLM, plain_turns, &last, "[gMASK]<sop><|user|>\nHi<|assistant|>\nHello<|user|>\nQ<|assistant|>[[\nA<|user|>]]", "the last turn only");
    check_source(GLM, plain_turns, &all, "[[[gMASK]<sop><|user|>\nHi<|assistant|>\nHello<|user|>\nQ<|assistant|>\nA<|user|>]]", "all text");
    check_source(GLM, "{\"messages\": [" TURNS ", {\"role\": \"user\", \"content\": \"more\"}]}", &last,
                 "[gMASK]<sop><|user|>\nHi<|assistant|>\nHello<|user|>\nQ<|assistant|>[[\nA<|user|>]]\nmore", "nothing is added behind a user's turn");
    check_source(GLM, prompt_turn, &prompt, "[gMASK]<sop><|user|>\nHi<|assistant|>", "nor to a prompt");
    check_source(GLM, "{\"messages\": [{\"role\": \"user\", \"content\": \"Q\"}, {\"role\": \"assistant\", \"content\": \"a<|user|>\"}]}", &train,
                 "[gMASK]<sop><|user|>\nQ<|assistant|>[[\na<|user|><|user|>]]", "a token in the answer's own text ends nothing");
    check_source(GLM, "{\"messages\": [" TURNS ", {\"role\": \"user\", \"content\": \"Q\"}, {\"role\": \"assistant\", \"content\": \"b\", \"weight\": 0}]}", &train,
                 "[gMASK]<sop><|user|>\nHi<|assistant|>[[\nHello<|user|>]]\nQ<|assistant|>[[\nA<|user|>]]\nQ<|assistant|>\nb",
                 "an answer that bears no loss gets no end");
    struct err e = ERR_INIT;
    char *dir = scratch_folder(), *config = file_join(dir, "tokenizer_config.json"), *source = file_join(dir, "chat_template.jinja");
    static const char tokens[] = "{\"eos_token\": \"<|endoftext|>\"}";
    struct chat_template *t = NULL;
    if (file_write(config, tokens, strlen(tokens), &e) == 0 && file_write(source, GLM, strlen(GLM), &e) == 0)
        t = chat_template_open(NULL, dir, &e);
    if (!ok(t != NULL, "a model folder with such a template %s", e.text))
        return;
    check_with(t, plain_turns, &train, true, "[gMASK]<sop><|user|>\n{Hi}<|assistant|>[[\n{Hello}<|user|>]]\n{Q}<|assistant|>[[\n{A}<|endoftext|>]]",
               "the end of text is trained behind the last answer");
    const char *const *ends = chat_template_turn_ends(t);
    ok(ends[0] && ends[1] && ends[2] && !ends[3] && !strcmp(ends[0], "<|user|>") && !strcmp(ends[1], "<|observation|>") && !strcmp(ends[2], "<|endoftext|>"),
       "generation stops at each of them");
    chat_template_close(t);
    free(dir);
    free(config);
    free(source);
}

static void test_open(void)
{
    struct err e = ERR_INIT;
    ok(!chat_template_open("nope", NULL, &e) && strstr(e.text, "nope: no template of this name; there are alpaca, chatml"), "unknown name: %s", e.text);
    e = (struct err)ERR_INIT;
    ok(!chat_template_open("/nonexistent/x.jinja", NULL, &e) && strstr(e.text, "/nonexistent/x.jinja"), "absent file: %s", e.text);
    e = (struct err)ERR_INIT;
    ok(!chat_template_open(NULL, "/", &e) && strstr(e.text, "has no chat template"), "folder without a template: %s", e.text);
    e = (struct err)ERR_INIT;
    ok(!chat_template_open("chatml", "/nonexistent", &e) && !strcmp(e.text, "/nonexistent: no such folder"), "absent folder: %s", e.text);
    e = (struct err)ERR_INIT;
    ok(!chat_template_open(NULL, "/dev/null", &e) && !strcmp(e.text, "/dev/null: not a folder"), "file for a folder: %s", e.text);
    e = (struct err)ERR_INIT;
    struct chat_template *a = chat_template_open("chatml", NULL, &e), *b = chat_template_open("qwen", NULL, &e), *c = chat_template_open("chatml", NULL, &e);
    is_str(chat_template_name(a), "chatml", "name");
    is_str(chat_template_turn_ends(a)[0], "<|im_end|>", "end of turn");
    ok(!chat_template_turn_ends(a)[1], "one end of turn");
    ok(strcmp(chat_template_hash(a), chat_template_hash(b)) && !strcmp(chat_template_hash(a), chat_template_hash(c)), "hashes tell templates apart");
    chat_template_close(a);
    chat_template_close(b);
    chat_template_close(c);
}

/* ---- against transformers: tests/golden/make_chat.py ---- */

static const char *golden_text(struct chat_template *t, const json_t *sample, bool prompt, char hex[SHA256_HEX])
{
    const struct chat_options o = {.generation_prompt = prompt, .train = CHAT_TRAIN_ALL, .now = 1700000000};
    struct chat_rendered r = {0};
    struct err e = ERR_INIT;
    int result = chat_render(t, sample, &o, &r, &e);
    bool empty = result < 0 && !strncmp(e.text, "nothing to train", 16); /* the text is empty */
    if (result == 0 || empty)
        sha256_hex(buf_str(&r.text), r.text.len - r.stop, hex);
    hex[16] = 0;
    chat_rendered_release(&r);
    return result == 0 || empty ? hex : NULL;
}

static void golden_template(struct chat_template *t, const json_t *row, const json_t *conversations)
{
    const char *label, *first = NULL;
    json_t *pair;
    int wrong = 0, n = 0;
    json_object_foreach(json_object_get(row, "texts"), label, pair) {
        for (int prompt = 0; prompt < 2; prompt++, n++) {
            char hex[SHA256_HEX] = "";
            const char *got = golden_text(t, json_object_get(conversations, label), prompt, hex), *want = json_string_value(json_array_get(pair, (size_t)prompt));
            if ((got != NULL) == (want != NULL) && (!got || !strcmp(got, want)))
                continue;
            wrong++;
            first = first ? first : label;
        }
    }
    ok(!wrong && n, "%s: %d texts as transformers renders them", json_string_value(json_object_get(row, "template")), n);
    if (wrong)
        printf("# %d differ, the first one is '%s'\n", wrong, first);
}

/* Templates that are not in this tree are tested where they are found: model folders of the test data, and a folder of *.jinja files. */
static void golden_row(const json_t *row, const json_t *conversations)
{
    const char *name = json_string_value(json_object_get(row, "template")), *data = getenv("FINETOOLS_DATA"), *files = getenv("FINETOOLS_TEMPLATES");
    struct err e = ERR_INIT;
    struct chat_template *t = NULL;
    struct buf path = BUF_INIT;
    if (!strncmp(name, "builtin:", 8)) {
        t = chat_template_open(name + 8, NULL, &e);
    } else if (!strncmp(name, "data:", 5)) {
        buf_printf(&path, "%s/tokenizers/%s", data ? data : "../shared/data", name + 5);
        t = file_exists(path.data) ? chat_template_open(NULL, path.data, &e) : NULL;
    } else {
        buf_printf(&path, "%s/%s", files ? files : "", name + 5);
        struct buf source = BUF_INIT;
        char hex[SHA256_HEX] = "";
        if (files && file_exists(path.data) && file_read(&source, path.data, 1 << 20, &e) == 0)
            sha256_hex(buf_str(&source), source.len, hex);
        if (!strcmp(hex, json_string_value(json_object_get(row, "source"))))
            t = chat_template_open(path.data, NULL, &e);
        buf_release(&source);
    }
    if (t)
        golden_template(t, row, conversations);
    else if (e.set || !strncmp(name, "builtin:", 8))
        ok(false, "%s: %s", name, e.text);
    else
        skip(name);
    chat_template_close(t);
    buf_release(&path);
}

static void test_goldens(void)
{
    json_t *conversations = json_load_file("tests/golden/chat-conversations.json", 0, NULL);
    FILE *f = fopen("tests/golden/chat.jsonl", "r");
    char *line = NULL;
    size_t cap = 0;
    ok(conversations && f, "goldens are there");
    setenv("TZ", "UTC", 1);
    while (f && getline(&line, &cap, f) > 0) {
        json_t *row = json_loads(line, 0, NULL);
        if (row)
            golden_row(row, conversations);
        else
            ok(false, "a line of chat.jsonl is not JSON");
        json_decref(row);
    }
    free(line);
    if (f)
        fclose(f);
    json_decref(conversations);
}

int main(void)
{
    test_builtins();
    test_which();
    test_shapes();
    test_role_ends();
    test_open();
    test_goldens();
    return tap_end();
}
