/* text/chat_stream: samples come back as they were written; a stream that is cut, changed or foreign is refused. */
#include <stdlib.h>
#include <xxhash.h>

#include "base/mem.h"
#include "tests/unit/tap.h"
#include "text/chat_stream.h"

static const char hash_a[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char hash_b[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

static struct buf make_stream(const char *hash, enum chat_stream_kind kind, int samples)
{
    struct buf b = BUF_INIT;
    struct chat_stream_header h = {.kind = kind, .template_name = hash ? (char[]){"chatml"} : NULL, .options = (char[]){"{\"train\":\"assistant\"}"}};
    strcpy(h.template_hash, hash ? hash : "");
    chat_stream_put_header(&b, &h);
    for (int i = 0; i < samples; i++) {
        chat_sample_begin(&b, "a\"b.json", i + 1);
        chat_sample_span(&b, "<|user|>\n", 9, false, false);
        chat_sample_span(&b, "", 0, true, false);
        chat_sample_span(&b, "caf\xC3\xA9 \"\\\x01\t", 10, false, true);
        chat_sample_span(&b, "answer", 6, true, true);
        chat_sample_span(&b, "<end>", 5, true, false);
        chat_sample_end(&b);
    }
    struct chat_source source = {"a\"b.json", ""};
    strcpy(source.hash, hash_b);
    XXH3_state_t *x = XXH3_createState();
    XXH3_64bits_reset(x);
    XXH3_64bits_update(x, b.data, b.len);
    chat_stream_put_end(&b, &(struct chat_stream_totals){samples, 3, &source, 1, x});
    XXH3_freeState(x);
    return b;
}

/* Reads to the end; the number of samples, or -1 and the error. */
static int read_stream(const char *data, size_t len, enum chat_stream_kind kind, struct err *e)
{
    *e = (struct err)ERR_INIT;
    struct chat_stream *s = chat_stream_memory(data, len, "s", kind, e);
    struct chat_sample sample = {0};
    const char *line;
    size_t n;
    int64_t number;
    int k = s ? 1 : -1, count = 0;
    while (k == 1 && (k = chat_stream_next(s, &line, &n, &number, e)) == 1) {
        count++;
        if (chat_sample_parse(line, n, CHAT_SAMPLES, &sample, e) < 0)
            k = -1;
    }
    chat_sample_release(&sample);
    chat_stream_close(s);
    return k < 0 ? -1 : count;
}

static void test_round_trip(void)
{
    struct buf b = make_stream(hash_a, CHAT_SAMPLES, 2);
    struct err e = ERR_INIT;
    struct chat_stream *s = chat_stream_memory(b.data, b.len, "s", CHAT_SAMPLES, &e);
    struct chat_sample p = {0};
    const char *line;
    size_t len;
    int64_t number;
    if (!ok(s && chat_stream_next(s, &line, &len, &number, &e) == 1 && chat_sample_parse(line, len, CHAT_SAMPLES, &p, &e) == 0, "a sample is read %s", e.text))
        return;
    is_str(chat_stream_header(s)->template_name, "chatml", "name of the template");
    is_str(chat_stream_header(s)->template_hash, hash_a, "its hash");
    is_str(chat_stream_header(s)->options, "{\"train\":\"assistant\"}", "options");
    is_int(number, 2, "line of the sample");
    is_str(buf_str(&p.source), "a\"b.json", "file");
    is_int(p.record, 1, "record");
    is_str(buf_str(&p.text), "<|user|>\ncaf\xC3\xA9 \"\\\x01\tanswer<end>", "text");
    ok(p.n_parts == 4 && !p.parts[0].train && !p.parts[0].data && !p.parts[1].train && p.parts[1].data && p.parts[2].train && p.parts[2].data &&
           p.parts[3].train && !p.parts[3].data && p.parts[1].start == 9 && p.parts[1].end == 19 && p.parts[3].end == p.text.len,
       "spans");
    ok(chat_stream_next(s, &line, &len, &number, &e) == 1 && chat_stream_next(s, &line, &len, &number, &e) == 0, "two samples, then the end %s", e.text);
    is_int(chat_stream_skipped(s), 3, "records left out");
    char hash[SHA256_HEX], want[SHA256_HEX];
    chat_stream_hash(s, hash);
    sha256_hex(b.data, b.len, want);
    is_str(hash, want, "hash of the stream");
    chat_sample_release(&p);
    chat_stream_close(s);
    buf_release(&b);
}

static void test_cut(void)
{
    struct buf b = make_stream(hash_a, CHAT_SAMPLES, 2);
    struct err e;
    int passed = 0;
    for (size_t n = 0; n < b.len - 1; n++) /* without the last newline it is still whole */
        passed += read_stream(b.data, n, CHAT_SAMPLES, &e) >= 0;
    is_int(passed, 0, "every truncation is noticed");
    size_t header = (size_t)(strchr(b.data, '\n') - b.data) + 1;
    ok(read_stream(b.data, header, CHAT_SAMPLES, &e) < 0 && strstr(e.text, "s: ends after 0 samples without an end record"), "a producer that dies: %s", e.text);
    ok(read_stream("", 0, CHAT_SAMPLES, &e) < 0 && strstr(e.text, "s: is empty"), "nothing: %s", e.text);
    passed = 0;
    size_t end = (size_t)(strstr(b.data, "{\"end\"") - b.data);
    for (size_t i = header; i < end; i++) {
        b.data[i] ^= 1;
        passed += read_stream(b.data, b.len, CHAT_SAMPLES, &e) >= 0;
        b.data[i] ^= 1;
    }
    is_int(passed, 0, "every changed byte of a sample is noticed");
    buf_release(&b);
}

static void test_joined(void)
{
    struct buf a = make_stream(hash_a, CHAT_SAMPLES, 2), b = make_stream(hash_b, CHAT_SAMPLES, 1), c = make_stream(hash_a, CHAT_SAMPLES, 3);
    struct buf same = BUF_INIT, other = BUF_INIT;
    struct err e;
    buf_add(&same, a.data, a.len), buf_add(&same, c.data, c.len);
    buf_add(&other, a.data, a.len), buf_add(&other, b.data, b.len);
    is_int(read_stream(same.data, same.len, CHAT_SAMPLES, &e), 5, "two streams with one template");
    ok(read_stream(other.data, other.len, CHAT_SAMPLES, &e) < 0 && strstr(e.text, "another template"), "two templates: %s", e.text);
    ok(read_stream(same.data, same.len - c.len / 2, CHAT_SAMPLES, &e) < 0, "the second cut: %s", e.text);
    buf_release(&a), buf_release(&b), buf_release(&c), buf_release(&same), buf_release(&other);
}

static void test_kinds(void)
{
    struct buf p = make_stream(hash_a, CHAT_PROMPTS, 1), raw = make_stream(NULL, CHAT_SAMPLES, 1);
    struct err e;
    ok(read_stream(p.data, p.len, CHAT_SAMPLES, &e) < 0 && strstr(e.text, "holds prompts"), "prompts for samples: %s", e.text);
    is_int(read_stream(p.data, p.len, CHAT_PROMPTS, &e), 1, "prompts");
    is_int(read_stream(raw.data, raw.len, CHAT_SAMPLES, &e), 1, "raw text, no template");
    ok(read_stream(raw.data, raw.len, CHAT_PROMPTS, &e) < 0 && strstr(e.text, "holds samples"), "samples for prompts: %s", e.text);
    buf_release(&p), buf_release(&raw);
}

static void refuse_header(const char *line, const char *want)
{
    struct err e;
    ok(read_stream(line, strlen(line), CHAT_SAMPLES, &e) < 0 && strstr(e.text, want), "header refused: %s", e.text);
}

static void test_headers(void)
{
    refuse_header("{\"instruction\":\"x\"}\n", "not a chat stream");
    refuse_header("[1]\n", "not a chat stream");
    refuse_header("hello\n", "not a chat stream");
    refuse_header("{\"chat_stream\":2}\n", "version 2, this program reads version 1");
    refuse_header("{\"chat_stream\":1,\"kind\":\"triples\"}\n", "\"kind\"");
    refuse_header("{\"chat_stream\":1,\"kind\":\"samples\",\"template\":{\"name\":\"x\"},\"options\":{}}\n", "\"sha256\"");
    refuse_header("{\"chat_stream\":1,\"kind\":\"samples\",\"template\":null}\n", "\"options\"");
    refuse_header("{\"chat_stream\":1,\"kind\":\"pairs\"}\n", "holds pairs (fmt-chat -F pairs), expected samples");
    refuse_header("{\"chat_stream\":1,\"kind\":\"labelled\"}\n", "holds labelled samples (fmt-chat -F kto), expected samples");
}

static void refuse_sample(const char *line, const char *want)
{
    struct chat_sample s = {0};
    struct err e = ERR_INIT;
    if (!ok(chat_sample_parse(line, strlen(line), CHAT_SAMPLES, &s, &e) < 0 && strstr(e.text, want), "sample refused: %s", e.text))
        printf("# %s\n", line);
    chat_sample_release(&s);
}

static void test_samples(void)
{
    refuse_sample("{}", "not a sample");
    refuse_sample("{\"sample\":[\"a\",0],\"spans\":[]}", "not a sample");
    refuse_sample("{\"sample\":[\"a\",99999999999999999999],\"spans\":[]}", "not a sample");
    refuse_sample("{\"sample\":[\"a\",1],\"text\":[]}", "expected the key \"spans\"");
    refuse_sample("{\"sample\":[\"a\",1],\"spans\":[[\"x\",\"a\"]]}", "not a span");
    refuse_sample("{\"sample\":[\"a\",1],\"spans\":[[\"tt\",\"a\"]]}", "not a span");
    refuse_sample("{\"sample\":[\"a\",1],\"spans\":[[\"t\",\"\"]]}", "an empty span");
    refuse_sample("{\"sample\":[\"a\",1],\"spans\":[[\"t\",\"a\"][\"t\",\"a\"]]}", "expected a comma");
    refuse_sample("{\"sample\":[\"a\",1],\"spans\":[[\"t\",\"\\ud83d\"]]}", "not a span");
    refuse_sample("{\"sample\":[\"a\",1],\"spans\":[[\"t\",\"\\x\"]]}", "not a span");
    refuse_sample("{\"sample\":[\"a\",1],\"spans\":[[\"t\",\"a\nb\"]]}", "not a span");
    refuse_sample("{\"sample\":[\"a\",1],\"spans\":[[\"t\",\"\xC3\x28\"]]}", "invalid UTF-8 at byte 1");
    refuse_sample("{\"sample\":[\"a\",1],\"spans\":[[\"t\",\"a\"]]} x", "expected the end");
    struct chat_sample s = {0};
    struct err e = ERR_INIT;
    const char *line = " { \"sample\" : [ \"a\" , 7 ] , \"spans\" : [ [ \"td\" , \"\\u00e9\\ud83d\\ude00\\/\\n\" ] ] } ";
    ok(chat_sample_parse(line, strlen(line), CHAT_SAMPLES, &s, &e) == 0, "spaces and escapes are fine %s", e.text);
    is_str(buf_str(&s.text), "\xC3\xA9\xF0\x9F\x98\x80/\n", "escapes");
    chat_sample_release(&s);
}

/* Writes a pair or a labelled sample, reads it again. */
static void test_answers(enum chat_stream_kind kind)
{
    struct buf b = BUF_INIT;
    struct chat_sample s = {0};
    struct err e = ERR_INIT;
    chat_sample_begin(&b, "p.json", 7);
    chat_sample_span(&b, "ask", 3, false, true);
    chat_sample_answer(&b, kind == CHAT_PAIRS ? "chosen" : "completion");
    chat_sample_span(&b, "yes", 3, true, true);
    chat_sample_span(&b, "<end>", 5, true, false);
    if (kind == CHAT_PAIRS) {
        chat_sample_answer(&b, "rejected");
        chat_sample_span(&b, "no", 2, true, true);
        chat_sample_end(&b);
    } else {
        chat_sample_end_label(&b, true);
    }
    ok(chat_sample_parse(b.data, b.len, kind, &s, &e) == 0, "%s: read again %s", chat_stream_kind_name(kind), e.text);
    is_str(buf_str(&s.text), kind == CHAT_PAIRS ? "askyes<end>no" : "askyes<end>", "the text");
    ok(s.n_prompt == 1 && s.n_chosen == 2 && s.n_parts == (kind == CHAT_PAIRS ? 4 : 3) && s.label == (kind == CHAT_LABELLED), "the parts");
    ok(chat_sample_parse(b.data, b.len, CHAT_SAMPLES, &s, &e) < 0 && strstr(e.text, "expected the end of the sample"), "no sample: %s", e.text);
    ok(!s.n_prompt && !s.label, "nothing is left of the one before");
    buf_release(&b);
    chat_sample_release(&s);
}

static void refuse_answers(enum chat_stream_kind kind, const char *rest, const char *want)
{
    struct chat_sample s = {0};
    struct err e = ERR_INIT;
    char *line = mem_printf("{\"sample\":[\"f\",1],\"spans\":%s", rest);
    ok(chat_sample_parse(line, strlen(line), kind, &s, &e) < 0 && strstr(e.text, want), "%s refused: %s", chat_stream_kind_name(kind), e.text);
    chat_sample_release(&s);
    free(line);
}

static void test_bad_answers(void)
{
    refuse_answers(CHAT_PAIRS, "[[\"\",\"a\"]]}", "expected the key \"chosen\"");
    refuse_answers(CHAT_PAIRS, "[[\"\",\"a\"]],\"chosen\":[[\"t\",\"b\"]]}", "expected the key \"rejected\"");
    refuse_answers(CHAT_PAIRS, "[[\"t\",\"a\"]],\"chosen\":[[\"t\",\"b\"]],\"rejected\":[[\"t\",\"c\"]]}", "a span of the prompt is trained");
    refuse_answers(CHAT_PAIRS, "[[\"\",\"a\"]],\"chosen\":7,\"rejected\":[]}", "expected a list of spans");
    refuse_answers(CHAT_PAIRS, "[[\"\",\"a\"]],\"chosen\":[[\"t\",\"\xC3\"]],\"rejected\":[[\"t\",\"\xA9\"]]}", "invalid UTF-8 at byte 2 of the text");
    refuse_answers(CHAT_LABELLED, "[[\"\",\"a\"]],\"completion\":[[\"t\",\"b\"]]}", "expected the key \"label\", true or false");
    refuse_answers(CHAT_LABELLED, "[[\"\",\"a\"]],\"completion\":[[\"t\",\"b\"]],\"label\":1}", "expected the key \"label\", true or false");
    refuse_answers(CHAT_LABELLED, "[[\"\",\"a\"]],\"chosen\":[[\"t\",\"b\"]],\"label\":true}", "expected the key \"completion\"");
}

/* The worked examples of the page: its lines that begin with a brace are a stream, a pair and a labelled sample. */
static void test_page(void)
{
    struct buf b = BUF_INIT;
    char line[1000];
    FILE *page = fopen("man/chat-stream.5", "r");
    struct err e = ERR_INIT;
    struct chat_sample s = {0};
    size_t stream = 0;
    for (int n = 0; page && fgets(line, sizeof line, page); n += line[0] == '{') {
        if (line[0] == '{' && n == 3)
            stream = b.len;
        if (line[0] == '{' && n >= 3)
            ok(chat_sample_parse(line, strlen(line), n == 3 ? CHAT_PAIRS : CHAT_LABELLED, &s, &e) == 0, "answers of the page %s", e.text);
        for (char *p = line; line[0] == '{' && *p; p++) {
            buf_add_char(&b, *p);
            p += p[0] == '\\' && p[1] == 'e'; /* roff writes a backslash so */
        }
    }
    if (page)
        fclose(page);
    is_int(read_stream(buf_str(&b), stream, CHAT_SAMPLES, &e), 1, "the worked example of the page is a stream");
    if (e.set)
        printf("# %s\n", e.text);
    buf_release(&b);
    chat_sample_release(&s);
}

int main(int argc, char **argv)
{
    if (argc > 1) { /* print the example of the page */
        struct buf b = make_stream(hash_a, CHAT_SAMPLES, 1);
        fwrite(b.data, 1, b.len, stdout);
        buf_release(&b);
        return argv[1] == NULL;
    }
    test_round_trip();
    test_cut();
    test_joined();
    test_kinds();
    test_headers();
    test_samples();
    test_answers(CHAT_PAIRS);
    test_answers(CHAT_LABELLED);
    test_bad_answers();
    test_page();
    return tap_end();
}
