/* Chat templates that come with the programs, for base models that have none of their own. Each follows the format that its family
 * documents; the control tokens are those of the family's tokenizer. */
#include <string.h>

#include "text/chat_internal.h"

/* Text parts of a content list, or the content itself. */
#define TEXT_OF \
    "{%- macro text_of(content) -%}" \
    "{%- if content is string -%}{{- content -}}" \
    "{%- elif content is iterable and content is not mapping -%}" \
    "{%- for part in content -%}{%- if part is string -%}{{- part -}}{%- elif part.type == 'text' -%}{{- part.text -}}" \
    "{%- else -%}{{- raise_exception('this template takes text only') -}}{%- endif -%}{%- endfor -%}" \
    "{%- endif -%}" \
    "{%- endmacro -%}"

/* Puts the system text before the first user message: for formats without a place of its own. */
#define SYSTEM_AND_LOOP \
    "{%- set ns = namespace(system='') -%}" \
    "{%- for message in messages -%}{%- if message.role == 'system' -%}{%- set ns.system = ns.system + text_of(message.content) -%}{%- endif -%}{%- endfor -%}"

#define OTHER_ROLES "{%- elif message.role != 'system' -%}{{- raise_exception('this template has no role ' ~ message.role) -}}{%- endif -%}"

static const char plain[] =
    TEXT_OF "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{{- text_of(message.content) -}}"
    "{%- if message.role == 'assistant' -%}{{- eos_token -}}{%- elif not loop.last and messages[loop.index0 + 1].role != 'assistant' -%}{{- '\\n' -}}{%- endif -%}"
    "{%- endfor -%}";

/* Stanford Alpaca. A user message made from an Alpaca record keeps its instruction and input apart. */
static const char alpaca[] =
    TEXT_OF SYSTEM_AND_LOOP "{{- bos_token -}}"
    "{%- set ns.first = true -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'user' -%}"
    "{%- set instruction = message.instruction if message.instruction is defined else text_of(message.content) -%}"
    "{%- set input = message.input if message.input is defined else '' -%}"
    "{%- if ns.first -%}"
    "{%- if ns.system -%}{{- ns.system -}}"
    "{%- elif input -%}{{- 'Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.' -}}"
    "{%- else -%}{{- 'Below is an instruction that describes a task. Write a response that appropriately completes the request.' -}}{%- endif -%}"
    "{%- endif -%}"
    "{%- set ns.first = false -%}"
    "{{- '\\n\\n### Instruction:\\n' + instruction -}}"
    "{%- if input -%}{{- '\\n\\n### Input:\\n' + input -}}{%- endif -%}"
    "{{- '\\n\\n### Response:\\n' -}}"
    "{%- elif message.role == 'assistant' -%}{{- text_of(message.content) + eos_token -}}"
    OTHER_ROLES
    "{%- endfor -%}";

static const char chatml[] =
    TEXT_OF
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\\n' + text_of(message.content) + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}";

/* ChatML with Qwen2.5's default system prompt, and its tools: signatures in the system turn, calls and answers in tags. */
static const char qwen[] =
    TEXT_OF
    "{%- set default = 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' -%}"
    "{%- set has_system = messages[0].role == 'system' -%}"
    "{%- set system = text_of(messages[0].content) if has_system else default -%}"
    "{%- if tools -%}"
    "{{- '<|im_start|>system\\n' + system + '\\n\\n# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\n"
    "You are provided with function signatures within <tools></tools> XML tags:\\n<tools>' -}}"
    "{%- for tool in tools -%}{{- '\\n' + (tool | tojson) -}}{%- endfor -%}"
    "{{- '\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\\n"
    "<tool_call>\\n{\\\"name\\\": <function-name>, \\\"arguments\\\": <args-json-object>}\\n</tool_call><|im_end|>\\n' -}}"
    "{%- else -%}{{- '<|im_start|>system\\n' + system + '<|im_end|>\\n' -}}{%- endif -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'assistant' -%}"
    "{{- '<|im_start|>assistant\\n' + text_of(message.content) -}}"
    "{%- for call in message.tool_calls or [] -%}"
    "{%- set f = call.function if call.function is defined else call -%}"
    "{{- ('\\n' if message.content or not loop.first else '') + '<tool_call>\\n{\\\"name\\\": \\\"' + f.name + '\\\", \\\"arguments\\\": ' -}}"
    "{{- f.arguments if f.arguments is string else f.arguments | tojson -}}"
    "{{- '}\\n</tool_call>' -}}"
    "{%- endfor -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- elif message.role == 'tool' -%}"
    "{%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}{{- '<|im_start|>user' -}}{%- endif -%}"
    "{{- '\\n<tool_response>\\n' + text_of(message.content) + '\\n</tool_response>' -}}"
    "{%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{- '<|im_end|>\\n' -}}{%- endif -%}"
    "{%- elif not (loop.first and has_system) -%}{{- '<|im_start|>' + message.role + '\\n' + text_of(message.content) + '<|im_end|>\\n' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}";

static const char llama2[] =
    TEXT_OF SYSTEM_AND_LOOP
    "{%- set ns.pending = ns.system -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'user' -%}"
    "{{- bos_token + '[INST] ' -}}"
    "{%- if ns.pending -%}{{- '<<SYS>>\\n' + ns.pending + '\\n<</SYS>>\\n\\n' -}}{%- set ns.pending = '' -%}{%- endif -%}"
    "{{- text_of(message.content) | trim + ' [/INST]' -}}"
    "{%- elif message.role == 'assistant' -%}{{- ' ' + text_of(message.content) | trim + ' ' + eos_token -}}"
    OTHER_ROLES
    "{%- endfor -%}";

static const char llama3[] =
    TEXT_OF
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + text_of(message.content) | trim + '<|eot_id|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}";

static const char mistral[] =
    TEXT_OF SYSTEM_AND_LOOP
    "{{- bos_token -}}"
    "{%- set ns.pending = ns.system -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'user' -%}"
    "{{- '[INST] ' + (ns.pending + '\\n\\n' if ns.pending else '') + text_of(message.content) + '[/INST]' -}}"
    "{%- set ns.pending = '' -%}"
    "{%- elif message.role == 'assistant' -%}{{- ' ' + text_of(message.content) + eos_token -}}"
    OTHER_ROLES
    "{%- endfor -%}";

static const char gemma[] =
    TEXT_OF SYSTEM_AND_LOOP
    "{{- bos_token -}}"
    "{%- set ns.pending = ns.system -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'user' -%}"
    "{{- '<start_of_turn>user\\n' + (ns.pending + '\\n\\n' if ns.pending else '') + text_of(message.content) | trim + '<end_of_turn>\\n' -}}"
    "{%- set ns.pending = '' -%}"
    "{%- elif message.role == 'assistant' -%}{{- '<start_of_turn>model\\n' + text_of(message.content) | trim + '<end_of_turn>\\n' -}}"
    OTHER_ROLES
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}";

static const char zephyr[] =
    TEXT_OF
    "{%- for message in messages -%}"
    "{{- '<|' + message.role + '|>\\n' + text_of(message.content) + eos_token + '\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}";

static const char vicuna[] =
    TEXT_OF SYSTEM_AND_LOOP "{{- bos_token -}}"
    "{{- ns.system or \"A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers "
    "to the user's questions.\" -}}"
    "{{- ' ' -}}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'user' -%}{{- 'USER: ' + text_of(message.content) + ' ' -}}"
    "{%- elif message.role == 'assistant' -%}{{- 'ASSISTANT: ' + text_of(message.content) + eos_token -}}"
    OTHER_ROLES
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'ASSISTANT:' -}}{%- endif -%}";

static const char phi3[] =
    TEXT_OF
    "{%- for message in messages -%}"
    "{{- '<|' + message.role + '|>\\n' + text_of(message.content) + '<|end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}";

static const char deepseek[] =
    TEXT_OF SYSTEM_AND_LOOP
    "{{- bos_token + ns.system -}}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'user' -%}{{- '<｜User｜>' + text_of(message.content) -}}"
    "{%- elif message.role == 'assistant' -%}{{- '<｜Assistant｜>' + text_of(message.content) + '<｜end▁of▁sentence｜>' -}}"
    OTHER_ROLES
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<｜Assistant｜>' -}}{%- endif -%}";

static const struct chat_builtin builtins[] = {
    {"alpaca", alpaca, "<s>", "</s>", NULL},
    {"chatml", chatml, NULL, "<|im_end|>", "<|im_end|>"},
    {"deepseek", deepseek, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>"},
    {"gemma", gemma, "<bos>", "<eos>", "<end_of_turn>"},
    {"llama2", llama2, "<s>", "</s>", NULL},
    {"llama3", llama3, "<|begin_of_text|>", "<|eot_id|>", "<|eot_id|>"},
    {"mistral", mistral, "<s>", "</s>", NULL},
    {"phi3", phi3, "<s>", "<|endoftext|>", "<|end|>"},
    {"plain", plain, "<s>", "</s>", NULL},
    {"qwen", qwen, NULL, "<|im_end|>", "<|im_end|>"},
    {"vicuna", vicuna, "<s>", "</s>", NULL},
    {"zephyr", zephyr, "<s>", "</s>", NULL},
};
#define N_BUILTINS (sizeof builtins / sizeof *builtins)

const struct chat_builtin *chat_builtin_find(const char *name)
{
    for (size_t i = 0; i < N_BUILTINS; i++)
        if (!strcmp(builtins[i].name, name))
            return &builtins[i];
    return NULL;
}

const char *const *chat_template_names(void)
{
    static const char *names[N_BUILTINS + 1];
    for (size_t i = 0; i < N_BUILTINS; i++)
        names[i] = builtins[i].name;
    return names;
}
