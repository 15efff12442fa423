/* JSON of a record, read fast.
 *
 *     json_t *j = records_json(text, len);    a new reference
 * NULL: not what this reader knows, which is objects, lists, strings, whole numbers of up to 18 digits and words; valid JSON or not, jansson is
 * then to be asked, which also says what is wrong. What is read is what jansson reads, with JSON_REJECT_DUPLICATES. */
#ifndef TEXT_RECORDS_JSON_H
#define TEXT_RECORDS_JSON_H

#include <jansson.h>
#include <stddef.h>

json_t *records_json(const char *text, size_t len);

#endif
