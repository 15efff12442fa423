/* text/chat_data: every shape of data becomes the same messages; what is wrong is named. */
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "tests/unit/tap.h"
#include "text/chat_data.h"
#include "text/records.h"

/* What comes out, as JSON: the sample, or [prompt, text]; or the error. */
static char *convert(const char *text, const char *format, bool prompt)
{
    struct err e = ERR_INIT;
    struct chat_data d;
    json_t *j = json_loads(text, 0, NULL), *out = NULL;
    char *s = NULL;
    if (!j)
        return mem_strdup("not JSON: mend the test");
    if (chat_data_convert(j, chat_data_format(format), prompt, &d, &e) < 0) {
        s = mem_strdup(e.text);
    } else {
        out = d.sample ? json_incref(d.sample) : d.prompt ? json_pack("[O, O?]", d.prompt, d.text) : json_pack("[O]", d.text);
        char *dump = json_dumps(out, JSON_COMPACT);
        s = mem_printf("%s%s", dump, d.train_last ? " last" : "");
        free(dump);
        json_decref(out);
        chat_data_release(&d);
    }
    json_decref(j);
    return s;
}

static void gives(const char *text, const char *format, const char *want, const char *what)
{
    char *got = convert(text, format, false);
    is_str(got, want, what);
    free(got);
}

#define SAYS(text, want) gives(text, "auto", want, want)

static void test_alpaca(void)
{
    gives("{\"instruction\":\"Add\",\"input\":\"1 2\",\"output\":\"3\"}", "auto",
          "{\"messages\":[{\"role\":\"user\",\"content\":\"Add\\n1 2\",\"instruction\":\"Add\",\"input\":\"1 2\"},{\"role\":\"assistant\",\"content\":\"3\"}]}",
          "instruction with input");
    gives("{\"instruction\":\"Hi\",\"input\":\"\",\"output\":\"Ho\",\"system\":\"Be brief\",\"history\":[[\"a\",\"b\"],[\"c\",\"d\"]]}", "alpaca",
          "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief\"},{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"c\"},"
          "{\"role\":\"assistant\",\"content\":\"d\"},{\"role\":\"user\",\"content\":\"Hi\",\"instruction\":\"Hi\",\"input\":\"\"},{\"role\":\"assistant\",\"content\":\"Ho\"}]}",
          "system and history");
    gives("{\"instruction\":\"Hi\",\"input\":null,\"output\":\"Ho\",\"system\":\"\",\"history\":[]}", "auto",
          "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\",\"instruction\":\"Hi\",\"input\":\"\"},{\"role\":\"assistant\",\"content\":\"Ho\"}]}", "nulls and empty columns");
    gives("{\"instruction\":\"\",\"input\":\"x\",\"output\":\"y\"}", "auto",
          "{\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"instruction\":\"\",\"input\":\"x\"},{\"role\":\"assistant\",\"content\":\"y\"}]}", "input alone");
    SAYS("{\"instruction\":\"\",\"input\":\"\",\"output\":\"y\"}", "\"instruction\" and \"input\" are both empty");
    SAYS("{\"instruction\":\"x\",\"output\":\"\"}", "\"output\" is empty");
    SAYS("{\"instruction\":\"x\"}", "has no \"output\"");
    SAYS("{\"instruction\":\"x\",\"output\":7}", "\"output\" is not a string");
    SAYS("{\"instruction\":\"x\",\"output\":\"y\",\"history\":\"z\"}", "\"history\" is not a list of pairs of strings");
    SAYS("{\"instruction\":\"x\",\"output\":\"y\",\"history\":[[\"a\",\"b\"],[\"c\"]]}", "\"history\": turn 2 is not a pair of strings");
    SAYS("{\"instruction\":\"x\",\"output\":\"y\",\"system\":[]}", "\"system\" is not a string");
}

static void test_sharegpt(void)
{
    gives("{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"gpt\",\"value\":\"b\"}],\"system\":\"s\"}", "auto",
          "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}", "human, gpt and a system column");
    gives("{\"conversations\":[{\"from\":\"system\",\"value\":\"s\"},{\"from\":\"user\",\"value\":\"a\"},{\"from\":\"function_call\",\"value\":\"{\\\"name\\\":\\\"f\\\",\\\"arguments\\\":{\\\"x\\\":1}}\"},"
          "{\"from\":\"observation\",\"value\":\"7\"},{\"from\":\"gpt\",\"value\":\"b\"}],\"tools\":\"[{\\\"name\\\":\\\"f\\\",\\\"parameters\\\":{}}]\"}",
          "sharegpt",
          "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"a\"},"
          "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1}}}]},"
          "{\"role\":\"tool\",\"content\":\"7\"},{\"role\":\"assistant\",\"content\":\"b\"}],"
          "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]}",
          "a tool call, its answer, tools as JSON in a string");
    SAYS("{\"conversations\":[]}", "\"conversations\" is not a list of messages");
    SAYS("{\"conversations\":[{\"from\":\"alien\",\"value\":\"a\"}]}", "message 1: role \"alien\", expected system, user, assistant or tool");
    SAYS("{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},7]}", "message 2: is not an object");
    SAYS("{\"conversations\":[{\"value\":\"a\"}]}", "message 1: has no \"role\" or \"from\"");
    SAYS("{\"conversations\":[{\"from\":\"gpt\"}]}", "message 1: has no content");
    SAYS("{\"conversations\":[{\"from\":\"function_call\",\"value\":\"f(1)\"}]}", "message 1: a tool call is not JSON with \"name\" and \"arguments\"");
    SAYS("{\"conversations\":[{\"from\":\"gpt\",\"value\":\"a\"}],\"tools\":\"f\"}", "\"tools\" is not a list, nor a string that holds one as JSON");
    SAYS("{\"conversations\":[{\"from\":\"gpt\",\"value\":\"a\"}],\"tools\":[{}]}", "tool 1 is not a function with a \"name\"");
}

static void test_messages(void)
{
    gives("{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"name\":\"bob\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\","
          "\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\": 1}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"7\"}],\"tools\":[]}",
          "auto",
          "{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"name\":\"bob\"},{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\","
          "\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1}}}]},{\"role\":\"tool\",\"content\":\"7\",\"tool_call_id\":\"c1\"}]}",
          "tool calls, arguments as a string, other keys kept");
    gives("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]},"
          "{\"role\":\"assistant\",\"content\":[{\"type\":\"reasoning\",\"value\":\"r\"},{\"type\":\"text\",\"value\":\"c\"},{\"type\":\"tool_call\",\"value\":\"{\\\"name\\\":\\\"f\\\"}\"}]}]}",
          "messages",
          "{\"messages\":[{\"role\":\"user\",\"content\":\"ab\"},{\"role\":\"assistant\",\"content\":\"c\",\"reasoning_content\":\"r\","
          "\"tool_calls\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{}}}]}]}",
          "contents in parts");
    gives("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"\",\"function_call\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}", "auto",
          "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{}}}]}]}",
          "the older function_call");
    SAYS("{\"messages\":{\"role\":\"user\"}}", "\"messages\" is not a list of messages");
    SAYS("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", "message 1: content of type \"image_url\", only text can be trained on");
    SAYS("{\"messages\":[{\"role\":\"user\",\"content\":7}]}", "message 1: content is neither a string nor a list of parts");
    SAYS("{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"a\"}]}]}", "message 1: a part of the content has no \"type\"");
    SAYS("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}", "message 1: a part of the content has no text");
    SAYS("{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"tool_calls\":[{\"name\":\"f\"}]}]}", "message 1: a tool call in a message of role \"user\"");
    SAYS("{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"type\":\"function\"}]}]}", "message 1: a tool call has no \"name\"");
    SAYS("{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[7]}]}", "message 1: a tool call is not an object");
}

static void test_raw(void)
{
    gives("{\"prompt\":\"a\",\"completion\":\"b\"}", "auto", "[\"a\",\"b\"]", "prompt and completion");
    gives("{\"prompt\":\"\",\"completion\":\"b\"}", "prompt-completion", "[\"\",\"b\"]", "an empty prompt");
    gives("{\"prompt\":[{\"role\":\"user\",\"content\":\"a\"}],\"completion\":[{\"role\":\"assistant\",\"content\":\"b\"}]}", "auto",
          "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]} last", "prompt and completion made of messages");
    gives("{\"text\":\"a\",\"url\":\"u\"}", "auto", "[\"a\"]", "text");
    SAYS("{\"prompt\":\"a\",\"completion\":\"\"}", "\"completion\" is empty");
    SAYS("{\"text\":\"\"}", "\"text\" is empty");
    SAYS("{\"text\":7}", "\"text\" is not a string");
    SAYS("{\"prompt\":[{\"role\":\"user\",\"content\":\"a\"}],\"completion\":[]}", "\"completion\" has 0 messages, expected one");
    gives("{\"text\":\"x\"}", "prompt-completion", "has no \"prompt\"", "a format that was asked for");
    gives("{\"prompt\":\"x\"}", "text", "has no \"text\"", "text that is not there");
}

static void asks(const char *text, const char *want, const char *what)
{
    char *got = convert(text, "auto", true);
    is_str(got, want, what);
    free(got);
}

static void test_prompts(void)
{
    asks("{\"instruction\":\"a\"}", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"instruction\":\"a\",\"input\":\"\"}]}", "an instruction alone");
    asks("{\"prompt\":\"a\"}", "[\"a\",null]", "a prompt alone");
    asks("{\"prompt\":[{\"role\":\"user\",\"content\":\"a\"}]}", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]} last", "a prompt of messages alone");
    asks("{\"completion\":\"a\"}", "has none of the keys instruction, conversations, messages, prompt with completion, chosen with rejected, text", "no prompt");
}

static void test_refused(void)
{
    SAYS("{\"question\":\"a\"}", "has none of the keys instruction, conversations, messages, prompt with completion, chosen with rejected, text");
}

/* The real files of the shared data: every record converts. */
static void test_real(const char *name, int64_t want, bool raw)
{
    const char *dir = getenv("FINETOOLS_DATA");
    char *path = file_join(dir ? dir : "../shared/data", name);
    struct err e = ERR_INIT;
    struct records *s = file_exists(path) ? records_open(path, &e) : NULL;
    struct record r;
    int64_t n = 0;
    if (!s) {
        skip("shared data is absent");
    } else {
        while (records_next(s, &r, &e) == 1) {
            struct chat_data d;
            json_t *j = record_parse(&r, &e);
            if (!j || chat_data_convert(j, CHAT_DATA_AUTO, false, &d, &e) < 0 || (d.sample == NULL) != raw)
                break;
            n++;
            chat_data_release(&d);
            json_decref(j);
        }
        is_int(n, want, name);
        if (e.set)
            printf("# %s\n", e.text);
    }
    records_close(s);
    free(path);
}

int main(void)
{
    test_alpaca();
    test_sharegpt();
    test_messages();
    test_raw();
    test_prompts();
    test_refused();
    test_real("alpaca_en_demo.json", 999, false);
    test_real("huanhuan.json", 3729, false);
    test_real("c4_demo.jsonl", 300, true);
    test_real("reason_tool_use_demo_50.jsonl", 50, false);
    return tap_end();
}
