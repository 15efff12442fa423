/* text/records: every shape of file gives the same records; what is wrong is named with its place. */
#include <stdlib.h>
#include <sys/resource.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "tests/unit/tap.h"
#include "text/records.h"
#include "text/records_json.h"

/* Reads records from..to: the values of key "k" one after another, with what is wrong in between. Ends with the error. */
static char *read_some(const void *data, size_t len, int64_t from, int64_t to)
{
    struct records *s = records_memory(data, len, "f");
    records_select(s, from, to);
    struct buf b = BUF_INIT;
    struct record r;
    struct err e = ERR_INIT;
    int k;
    while ((k = records_next(s, &r, &e)) == 1 || k == RECORDS_BAD) {
        struct err bad = ERR_INIT;
        json_t *j = k == 1 ? record_parse(&r, &bad) : NULL;
        if (j)
            buf_printf(&b, "%lld@%lld ", (long long)json_integer_value(json_object_get(j, "k")), (long long)r.line);
        else
            buf_printf(&b, "<%s> ", k == 1 ? bad.text : e.text);
        json_decref(j);
        e.set = false;
    }
    if (k < 0)
        buf_printf(&b, "STOP %s", e.text);
    records_close(s);
    return buf_detach(&b);
}

static char *read_all(const void *data, size_t len)
{
    return read_some(data, len, 0, INT64_MAX);
}

static void reads(const char *text, const char *want, const char *what)
{
    char *got = read_all(text, strlen(text));
    is_str(got ? got : "", want, what);
    free(got);
}

static void test_shapes(void)
{
    reads("[{\"k\":1},{\"k\":2}]", "1@1 2@1 ", "an array");
    reads(" [\n {\"k\":1,\n \"x\":[1,{}]}\n,\n{\"k\":2}\n]\n", "1@2 2@5 ", "an array over lines");
    reads("{\"k\":1}\n{\"k\":2}\n", "1@1 2@2 ", "lines");
    reads("\xEF\xBB\xBF{\"k\":1}\r\n\r\n{\"k\":2}", "1@1 2@3 ", "a byte order mark, CR LF, an empty line, no last newline");
    reads("{\"k\":1}{\"k\":2} {\"k\":3}", "1@1 2@1 3@1 ", "documents on one line");
    reads("{\n\"k\":1\n}\n{\n\"k\":2\n}\n", "1@1 2@4 ", "documents over lines");
    reads("[{\"k\":1}]\n[{\"k\":2},{\"k\":3}]{\"k\":4}", "1@1 2@2 3@2 4@2 ", "arrays one after another");
    reads("{\"k\":1,\"s\":\"}]\\\"{\\\\\"}\n{\"k\":2}", "1@1 2@2 ", "brackets and escapes in strings");
    reads("", "", "nothing");
    reads(" \n\t", "", "white space");
    reads("[]", "", "an empty array");
}

static void selects(const char *text, int64_t from, int64_t to, const char *want, const char *what)
{
    char *got = read_some(text, strlen(text), from, to);
    is_str(got ? got : "", want, what);
    free(got);
}

static void test_select(void)
{
    const char *five = "{\"k\":1}\n{\"k\":2}\n{\"k\":3}\n{\"k\":4}\n{\"k\":5}\n";
    selects(five, 2, 3, "2@2 3@3 ", "a part of lines");
    selects(five, 4, INT64_MAX, "4@4 5@5 ", "a part without an end");
    selects(five, 5, 5, "5@5 ", "the last");
    selects(five, 1, 5, "1@1 2@2 3@3 4@4 5@5 ", "exactly all");
    selects(five, 1, 6, "1@1 2@2 3@3 4@4 5@5 STOP f: holds 5 records, but record 6 is asked for", "an end past the end");
    selects(five, 6, INT64_MAX, "STOP f: holds 5 records, but record 6 is asked for", "a start past the end");
    selects("{\"k\":1}", 2, 3, "STOP f: holds 1 record, but record 2 is asked for", "one record is not many");
    selects("", 1, INT64_MAX, "STOP f: holds 0 records, but record 1 is asked for", "of nothing");
    selects("[{\"k\":1},{\"k\":2},{\"k\":3}]", 2, 2, "2@1 ", "a part of an array");
    selects("{\"k\":1}\n{x\n{\"k\":3}\n", 3, 3, "3@3 ", "bad records before the part do not matter");
    selects("[{\"k\":1},{\"k\":2}", 1, 1, "1@1 ", "nor does what is behind it");
    char whole[SHA256_HEX], part[SHA256_HEX];
    for (int i = 0; i < 2; i++) {
        struct records *s = records_memory(five, strlen(five), "f");
        struct record r;
        struct err e = ERR_INIT;
        if (i)
            records_select(s, 2, 2);
        while (records_next(s, &r, &e) == 1)
            ;
        records_hash(s, i ? part : whole);
        records_close(s);
    }
    is_str(part, whole, "the hash of a part is that of the file");
}

static void test_wrong(void)
{
    reads("[{\"k\":1},]", "1@1 STOP f: record 2 (line 1): expected a record", "a comma too many");
    reads("[{\"k\":1}\n{\"k\":2}]", "1@1 STOP f: record 2 (line 2): expected a comma or the end of the array", "a comma missing");
    reads("[{\"k\":1},", "1@1 STOP f: record 2 (line 1): the file ends inside the array", "an array cut between records");
    reads("[{\"k\":1},{\"k\":", "1@1 STOP f: record 2 (line 1): the file ends inside the record", "an array cut in a record");
    reads("[{\"k\":1},{\"k", "1@1 STOP f: record 2 (line 1): the file ends inside a string", "an array cut in a string");
    reads("instruction,input\n", "STOP f: record 1 (line 1): expected JSON: an array of records, or records one after another", "not JSON");
    reads("\xFF\xFE{", "STOP f: is UTF-16, expected UTF-8 (iconv -f UTF-16 -t UTF-8 converts it)", "UTF-16");
    reads("[{\"k\":1},7,\"x\",{\"k\":2}]", "1@1 <f: record 2 (line 1): is not an object> <f: record 3 (line 1): is not an object> 2@1 ",
          "elements that are not objects");
    reads("[[1],{\"k\":2}]", "<f: record 1 (line 1): is not an object> 2@1 ", "an array among the records");
    reads("{\"k\":1}\n{\"k\":\n{\"k\":3}\n", "1@1 <f: record 2 (line 2): unexpected token near end of record (line 2, column 5)> 3@3 ", "a damaged line does not reach the next");
    reads("{\"k\":1\n{\"k\":2}\n", "<f: record 1 (line 1): '}' expected near end of record (line 1, column 6)> 2@2 ", "nor does a damaged first line");
    reads("{\"k\":\"x\n{\"k\":2}\n", "<f: record 1 (line 1): premature end of input (line 1, column 7)> 2@2 ", "nor a string without an end");
    reads("{\"k\":1}\nhello\n{\"k\":3}\n", "1@1 <f: record 2 (line 2): is not an object> 3@3 ", "a line of text");
    reads("{\"k\":\"\\ud83d\"}\n{\"k\":2}", "<f: record 1 (line 1): invalid Unicode '\\uD83D' (line 1, column 13)> 2@2 ", "a lone surrogate");
    reads("{\"k\":\"\\u0000\"}\n{\"k\":2}", "<f: record 1 (line 1): a string holds the character NUL (\\u0000), which text cannot have (line 1, column 13)> 2@2 ", "a NUL");
    reads("{\"k\":1,\"k\":2}\n{\"k\":2}", "<f: record 1 (line 1): duplicate object key (line 1, column 10)> 2@2 ", "a key twice");
    reads("{\"k\":\"\xC3\x28\"}\n{\"k\":2}", "<f: record 1 (line 1): unable to decode byte 0xc3 (line 1, column 6)> 2@2 ", "invalid UTF-8");
    reads("{\"k\":1}\n\n{\"k\":\n", "1@1 <f: record 2 (line 3): unexpected token near end of record (line 3, column 5)> ", "the place is that of the record");
}

static void test_depth(void)
{
    struct buf b = BUF_INIT;
    buf_add_str(&b, "{\"k\":1}\n{\"k\":");
    for (int i = 0; i < 100000; i++)
        buf_add_char(&b, '[');
    buf_add_str(&b, "\n{\"k\":3}\n");
    reads(buf_str(&b), "1@1 <f: record 2 (line 2): nested deeper than 200 levels> 3@3 ", "100000 open brackets");
    buf_release(&b);
}

static void test_long(void)
{
    size_t len = 100 << 20;
    char *text = mem_alloc(len), *got;
    memset(text, 'x', len);
    memcpy(text, "{\"k\":1}\n{\"k\":\"", 14);
    memcpy(text + len - 10, "\"}\n{\"k\":3}", 10);
    got = read_all(text, len);
    is_str(got, "1@1 <f: record 2 (line 2): longer than the 16 MiB that one record may have> 3@3 ", "a line of 100 MB is passed over");
    free(got);
    memcpy(text, "[{\"k\":\"", 7);
    got = read_all(text, len);
    ok(strstr(got, "longer than the 16 MiB") != NULL, "an element of 100 MB: %s", got);
    free(got);
    free(text);
}

/* The window is small, so every position of a record in it comes up. */
static void test_window(void)
{
    struct buf b = BUF_INIT;
    int n = 40000;
    buf_add_char(&b, '[');
    for (int i = 0; i < n; i++)
        buf_printf(&b, "%s{\"k\":%d,\"s\":\"%.*s\"}", i ? ",\n" : "", i, i % 17 * 2, "\\\"\\\\\\\"\\\\\\\"\\\\\\\"\\\\\\\"\\\\\\\"\\\\\\\"\\\\\\\"\\\\");
    buf_add_char(&b, ']');
    struct records *s = records_memory(b.data, b.len, "f");
    struct record r;
    struct err e = ERR_INIT;
    int64_t i = 0;
    bool good = true;
    for (; records_next(s, &r, &e) == 1; i++) {
        char want[32];
        int len = snprintf(want, sizeof want, "{\"k\":%d,", (int)i);
        good = good && r.line == i + 1 && !memcmp(r.text, want, (size_t)len);
    }
    ok(good && i == n && !e.set, "%d records across the window %s", n, e.text);
    records_close(s);
    buf_release(&b);
}

static void test_zstd(void)
{
    static const char text[] = "{\"k\":1}\n{\"k\":2}\n";
    char packed[200];
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    size_t n = ZSTD_compress2(c, packed, sizeof packed, text, strlen(text));
    ZSTD_freeCCtx(c);
    size_t m = ZSTD_compress(packed + n, sizeof packed - n, "{\"k\":3}", 7, 3);
    char *got = read_all(packed, n + m);
    is_str(got, "1@1 2@2 3@3 ", "two zstd frames");
    free(got);
    got = read_all(packed, n - 3);
    ok(strstr(got, "STOP f: truncated"), "a frame cut short: %s", got);
    free(got);
    packed[n / 2] ^= 0x55;
    packed[n / 2 + 1] ^= 0x55;
    got = read_all(packed, n);
    ok(strstr(got, "STOP f: "), "a damaged frame: %s", got);
    free(got);
    /* a frame that wants a window of 2 GB: magic, descriptor, window descriptor with exponent 21 (2^31) */
    got = read_all("\x28\xB5\x2F\xFD\x00\xA8\x01\x00\x00", 9);
    ok(strstr(got, "STOP f: compressed data"), "a window of 2 GiB: %s", got);
    free(got);
}

/* The fast reader against jansson, whole records and damaged ones: nothing that it takes is something else there. */
static void test_fast(void)
{
    static const char *const texts[] = {
        "{\"a\": \"b\", \"c\": [1, -20, 0, true, false, null, {}], \"\": [], \"\\u00e9\\n\\ud83d\\ude00\\/\": {\"x\": \"\\\"\\\\\\t\"}, \"\xE4\xB8\xAD\": \"\xF0\x9F\x98\x80\"}",
        "{\"a\":1,\"a\":2}", "{\"a\":1.5e3}", "{\"a\":\"\\u0000\"}", "{\"a\":\"\\udc00\"}", "{\"a\":01}", "{\"a\":999999999999999999}", "{\"a\":9999999999999999999}",
    };
    static const char bytes[] = "{}[]\",:\\u0d8ctn1-. \xE4\x80";
    size_t taken = 0, wrong = 0;
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        size_t len = strlen(texts[k]);
        for (size_t i = 0; i <= len * (sizeof bytes - 1); i++) { /* the text itself, and with each byte exchanged for each of these */
            char *copy = strdup(texts[k]);
            if (i < len * (sizeof bytes - 1))
                copy[i / (sizeof bytes - 1)] = bytes[i % (sizeof bytes - 1)];
            json_t *fast = records_json(copy, len), *slow = json_loadb(copy, len, JSON_REJECT_DUPLICATES, NULL);
            taken += fast != NULL;
            wrong += fast && !json_equal(fast, slow);
            json_decref(fast);
            json_decref(slow);
            free(copy);
        }
    }
    json_t *whole = records_json(texts[0], strlen(texts[0]));
    ok(whole && taken > 400 && !wrong, "the fast reader reads as jansson does, %zu texts", taken);
    json_decref(whole);
}

int main(void)
{
    test_shapes();
    test_select();
    test_wrong();
    test_depth();
    test_long();
    test_window();
    test_zstd();
    test_fast();
    return tap_end();
}
