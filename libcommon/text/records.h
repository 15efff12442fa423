/* Records of JSON files, one at a time: a JSON array, JSON lines, JSON documents one after another (also over several
 * lines each), compressed with zstd or not, from a file or stdin. Memory is one record, whatever the length of the file.
 *
 *     struct records *r = records_open("a.json", &err);
 *     struct record rec;
 *     while ((k = records_next(r, &rec, &err)) == 1) { json_t *j = record_parse(&rec, &err); ... json_decref(j); }
 *     records_close(r);
 *
 * records_next finds where a record begins and ends; record_parse reads it, so that many threads can parse at once. Errors of both
 * say "file: record N (line L): ...". After an error of record_parse, and after RECORDS_BAD of records_next, reading can go on
 * with the next record; after -1 it cannot. JSON lines are told from documents by the first record: where it ends its line, every
 * line is a record, and damage in one line does not reach the next. */
#ifndef TEXT_RECORDS_H
#define TEXT_RECORDS_H

#include <jansson.h>
#include <stdint.h>

#include "base/input.h"

#define RECORDS_MAX_BYTES (16 << 20) /* of one record */
#define RECORDS_MAX_DEPTH 200        /* of objects and arrays in one another */

struct records;

struct record {
    const char *text;   /* borrowed until the next records_next; not NUL-terminated */
    size_t len;
    const char *file;   /* borrowed from the struct records */
    int64_t number;     /* from 1 */
    int64_t line;       /* where the record begins, from 1 */
};

enum { RECORDS_BAD = -2 };

struct records *records_open(const char *path, struct err *e) MUST_CHECK;
struct records *records_memory(const void *data, size_t len, const char *name); /* borrowed bytes */
/* Before the first records_next: hand out records from..to only, counted from 1. The rest of the file is read but not looked at, so that its hash is
 * that of the whole. A file that ends before `to` (INT64_MAX: before `from`) is an error that says how many records there are. */
void records_select(struct records *s, int64_t from, int64_t to);
/* 1: `r` is the next record. 0: the end. RECORDS_BAD: one record (r->number) cannot be read, the next may. -1: reading ends here. */
int records_next(struct records *s, struct record *r, struct err *e) MUST_CHECK;
/* A new reference, an object. Invalid UTF-8, lone surrogates, \u0000, a key twice, and too deep nesting are errors. */
json_t *record_parse(const struct record *r, struct err *e) MUST_CHECK;
void records_hash(const struct records *s, char hex[SHA256_HEX]); /* SHA-256 of the file's bytes, once at its end */
void records_close(struct records *s);

#endif
