/* format/safetensors: bytes of the writer, rules of the reader, checksums. */
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "format/safetensors.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tap.h"

/* A whole file with this header and `data` bytes of zeros. */
static char *make_file(const char *header, size_t data, size_t *size)
{
    size_t n = strlen(header);
    char *file = mem_zalloc(8 + n + data, 1);
    put_le64(file, n);
    memcpy(file + 8, header, n);
    *size = 8 + n + data;
    return file;
}

static bool accepts(const char *header, size_t data, char text[1000])
{
    size_t size;
    char *file = make_file(header, data, &size);
    struct err e = ERR_INIT;
    struct st_file *f = st_parse(file, size, "x", &e);
    strcpy(text, e.text);
    bool good = f != NULL;
    st_close(f);
    free(file);
    return good;
}

/* For the names of tests. */
static const char *printable(const char *header)
{
    static char line[61];
    size_t i;
    for (i = 0; i < sizeof line - 1 && header[i]; i++)
        line[i] = header[i] < ' ' || header[i] == '#' ? '.' : header[i];
    line[i] = 0;
    return line;
}

static void good(const char *header, size_t data)
{
    char text[1000];
    if (!ok(accepts(header, data, text), "accepted: %s", printable(header)))
        printf("# %s\n", text);
}

static void bad(const char *header, size_t data, const char *message)
{
    char text[1000];
    bool accepted = accepts(header, data, text);
    if (!ok(!accepted && strstr(text, message), "refused: %s", printable(header)))
        printf("# got '%s', expected '%s'\n", accepted ? "accepted" : text, message);
}

#define T(name, begin, end) "\"" name "\":{\"dtype\":\"U8\",\"shape\":[" #end "],\"data_offsets\":[" #begin "," #end "]}"

static void test_reader(void)
{
    good("{}", 0);
    good("\t\n{}\r ", 0);
    good("{" T("a", 0, 4) "}", 4);
    good("{\"__metadata__\":null," T("a", 0, 4) "}", 4);
    good("{\"a\":{\"extra\":[1.5,{\"x\":null}],\"extra\":2,\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1);
    good("{\"a\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[0,3]}}", 3);
    good("{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 5);
    good("{\"z\":{\"dtype\":\"F32\",\"shape\":[0,9],\"data_offsets\":[4,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4);
    good("{\"\\ud83d\\ude00\\u00e9\\n\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    bad("", 0, "found the end");
    bad("{} x", 0, "expected nothing more");
    bad("{" T("a", 0, 4) "}", 5, "the file holds 5 bytes");
    bad("{" T("a", 0, 4) "}", 3, "the file holds 3 bytes");
    bad("{" T("a", 0, 4) "," T("b", 5, 6) "}", 6, "begins at offset 5, expected 4");
    bad("{" T("a", 0, 4) "," T("b", 3, 6) "}", 6, "begins at offset 3, expected 4");
    bad("{" T("a", 0, 4) "," T("\\u0061", 0, 4) "}", 4, "'a' stands twice");
    bad("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ stands twice");
    bad("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "'a' stands twice");
    bad("{\"__metadata__\":{\"a\":1}}", 0, "expected a string");
    bad("{\"__metadata__\":{\"a\":\"\\u0000\"}}", 0, "NUL");
    bad("{" T("a\\u0000", 0, 4) "}", 4, "NUL");
    bad("{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown type 'F33'");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "expected a plain integer");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[01],\"data_offsets\":[0,4]}}", 4, "expected a plain integer");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "non-negative integer");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[18446744073709551616],\"data_offsets\":[0,4]}}", 4, "64 bits");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,2,0],\"data_offsets\":[0,0]}}", 0, "too large");
    bad("{\"a\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "too large");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "more than 8 dimensions");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "needs 8 bytes, its offsets give 4");
    bad("{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, "whole bytes");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "before its beginning");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "expected ']'");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "no data_offsets");
    bad("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "'dtype' twice");
    bad("{\"a\":[\"F32\",[1],[0,4]]}", 4, "expected '{'");
    bad("{" T("a", 0, 4) ",}", 4, "expected a string");
    bad("{\"\\ud800\":{}}", 0, "surrogate");
    bad("{\"\\udc00\":{}}", 0, "surrogate");
    bad("{\"a\xff\":{}}", 0, "not valid UTF-8");
    bad("{\"a\n\":{}}", 0, "the rest of a string");
    bad("{\"a\":{\"x\":1e999,\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, "range of a double");
    bad("{\"a\":{\"x\":+1}}", 0, "expected a value");
    bad("{\"a\":{\"x\":nul}}", 0, "expected null");
}

static void test_sizes(void)
{
    char file[16] = "{}";
    struct err e = ERR_INIT;
    ok(!st_parse(file, 7, "x", &e) && strstr(e.text, "too short"), "seven bytes are too short");
    put_le64(file, 100000001);
    e = (struct err)ERR_INIT;
    ok(!st_parse(file, 16, "x", &e) && strstr(e.text, "at most 100000000"), "a header over the limit");
    put_le64(file, 100000000);
    e = (struct err)ERR_INIT;
    ok(!st_parse(file, 16, "x", &e) && strstr(e.text, "truncated"), "a header longer than the file");
    for (int depth = 126; depth <= 100000; depth += depth == 126 ? 1 : 99873) { /* with the object and the tensor: 128 levels fail */
        char *header = mem_alloc((size_t)depth * 2 + 200), *p = header, text[1000];
        p += sprintf(p, "{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1],\"x\":");
        memset(p, '[', (size_t)depth - 1);
        memset(p + depth - 1, ']', (size_t)depth - 1);
        strcpy(p + 2 * (depth - 1), "}}");
        bool accepted = accepts(header, 1, text);
        ok(accepted == (depth == 126), "%d levels of nesting are %s", depth + 1, depth == 126 ? "accepted" : "refused");
        free(header);
    }
}

static void write_file(FILE *out, struct st_tensor *tensors, int n, const struct st_meta *meta, int n_meta, const void *data, size_t size)
{
    struct err e = ERR_INIT;
    struct st_writer *w = st_writer_begin(out, "out", tensors, n, meta, n_meta, &e);
    if (!ok(w != NULL && st_writer_data(w, data, size, &e) == 0 && st_writer_end(w, &e) == 0, "written"))
        printf("# %s\n", e.text);
}

static void test_writer(void)
{
    char *data = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&data, &size);
    write_file(out, NULL, 0, NULL, 0, "", 0);
    fclose(out);
    ok(size == 16 && !memcmp(data, "\x08\0\0\0\0\0\0\0{}      ", 16), "an empty file is 16 bytes");
    free(data);
    struct st_tensor one = {.name = "attn0", .type = DTYPE_F32, .ndim = 4, .shape = {1, 1, 2, 3}};
    const float six[6] = {1, 2, 3, 4, 5, 6};
    out = open_memstream(&data, &size);
    write_file(out, &one, 1, NULL, 0, six, sizeof six);
    fclose(out);
    const char *header = "{\"attn0\":{\"dtype\":\"F32\",\"shape\":[1,1,2,3],\"data_offsets\":[0,24]}}       ";
    ok(size == 8 + 72 + 24 && get_le64(data) == 72 && !memcmp(data + 8, header, 72) && !memcmp(data + 80, six, 24), "the reference's bytes");
    free(data);
    struct st_tensor same[2] = {{.name = "a", .type = DTYPE_F32}, {.name = "a", .type = DTYPE_F32}};
    struct err e = ERR_INIT;
    ok(!st_writer_begin(stdout, "out", same, 2, NULL, 0, &e) && strstr(e.text, "twice"), "a name declared twice is refused");
    out = open_memstream(&data, &size);
    e = (struct err)ERR_INIT;
    struct st_writer *w = st_writer_begin(out, "out", &one, 1, NULL, 0, &e);
    ok(st_writer_data(w, six, sizeof six, &e) == 0 && st_writer_data(w, six, 1, &e) < 0, "more data than declared is refused");
    st_writer_free(w);
    e = (struct err)ERR_INIT;
    w = st_writer_begin(out, "out", &one, 1, NULL, 0, &e);
    ok(st_writer_data(w, six, 23, &e) == 0 && st_writer_end(w, &e) < 0, "less data than declared is refused");
    fclose(out);
    free(data);
}

/* Every flipped bit of a file with checksums is noticed. */
static void test_checksums(void)
{
    char *path = scratch_path("");
    int missed = 0;
    FILE *out = fopen(path, "wb+");
    struct st_tensor list[3] = {{.name = "b", .type = DTYPE_F16, .ndim = 1, .shape = {5}},
                                {.name = "empty", .type = DTYPE_F32, .ndim = 2, .shape = {0, 3}},
                                {.name = "a", .type = DTYPE_F32, .ndim = 1, .shape = {2}}};
    const struct st_meta meta[] = {{ST_CHECKSUMS, NULL}, {"format", "pt"}, {"finetools", "{\"tool\":\"t\"}"}};
    write_file(out, list, 3, meta, 3, "0123456789abcdefgh", 18);
    fclose(out);
    is_str(list[0].name, "a", "the widest type comes first");
    struct err e = ERR_INIT;
    struct st_file *f = st_open(path, &e);
    ok(f && st_verify(f, &e) == 1, "checksums are right");
    is_str(st_meta(f, "finetools"), "{\"tool\":\"t\"}", "metadata is read back");
    ok(!st_meta(f, "nothing") && !st_find(f, "c") && st_find(f, "empty")->numel == 0, "looking things up");
    size_t size = f->map.size;
    st_close(f);
    for (size_t bit = 0; bit < size * 8; bit++) {
        unsigned char c;
        FILE *file = fopen(path, "rb+");
        fseek(file, (long)bit / 8, SEEK_SET);
        c = (unsigned char)fgetc(file);
        for (int back = 0; back < 2; back++) {
            fseek(file, (long)bit / 8, SEEK_SET);
            fputc(back ? c : c ^ 1 << bit % 8, file);
            fflush(file);
            e = (struct err)ERR_INIT;
            if (!back && (f = st_open(path, &e))) {
                missed += st_verify(f, &e) == 1;
                st_close(f);
            }
        }
        fclose(file);
    }
    is_int(missed, 0, "every flipped bit is noticed");
    free(path);
}

int main(void)
{
    test_reader();
    test_sizes();
    test_writer();
    test_checksums();
    return tap_end();
}
