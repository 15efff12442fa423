/* Versions of the bytes this project defines; each is written into its files and refused when it is newer. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#ifndef FINETOOLS_VERSION
#error "FINETOOLS_VERSION comes from the Makefile"
#endif

enum {
    VERSION_CHAT_STREAM = 1, /* chat-stream(5) */
    VERSION_TOKEN_FILE = 1,  /* token-file(5) */
    VERSION_CHECKPOINT = 1,  /* checkpoint(5) */
    VERSION_REF_LOGPROBS = 1, /* ref-logprobs(5) */
};

#endif
