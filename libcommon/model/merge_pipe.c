#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "format/model_writer.h"
#include "model/merge_impl.h"

#define SLOTS 4

struct chunk {
    const void *data;
    size_t len;
    void *owned;
    const struct st_file *file;
};

struct merge_pipe {
    struct model_writer *writer;
    struct chunk slots[SLOTS];
    unsigned put, taken; /* counts; the slot is the count modulo SLOTS */
    bool closed, failed;
    int64_t written;
    struct err err;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    pthread_t thread;
};

static bool take(struct merge_pipe *p, struct chunk *c)
{
    pthread_mutex_lock(&p->lock);
    while (p->put == p->taken && !p->closed)
        pthread_cond_wait(&p->moved, &p->lock);
    bool got = p->put != p->taken;
    if (got)
        *c = p->slots[p->taken % SLOTS];
    pthread_mutex_unlock(&p->lock);
    return got;
}

static void *work(void *arg)
{
    struct merge_pipe *p = arg;
    struct chunk c;
    while (take(p, &c)) {
        bool good = !p->failed && model_writer_data(p->writer, c.data, c.len, &p->err) == 0;
        free(c.owned);
        if (!c.owned && c.file)
            st_drop(c.file, c.data, c.len);
        pthread_mutex_lock(&p->lock);
        p->taken++;
        p->written += (int64_t)c.len;
        p->failed |= !good;
        pthread_cond_broadcast(&p->moved);
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

struct merge_pipe *merge_pipe_new(struct model_writer *w)
{
    struct merge_pipe *p = mem_zalloc(1, sizeof *p);
    p->writer = w;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->moved, NULL);
    if (pthread_create(&p->thread, NULL, work, p) == 0)
        return p;
    pthread_cond_destroy(&p->moved);
    pthread_mutex_destroy(&p->lock);
    free(p);
    return NULL;
}

int merge_pipe_put(struct merge_pipe *p, const void *data, size_t len, void *owned, const struct st_file *file)
{
    pthread_mutex_lock(&p->lock);
    while (p->put - p->taken == SLOTS)
        pthread_cond_wait(&p->moved, &p->lock);
    p->slots[p->put++ % SLOTS] = (struct chunk){data, len, owned, file};
    bool failed = p->failed;
    pthread_cond_broadcast(&p->moved);
    pthread_mutex_unlock(&p->lock);
    return failed ? -1 : 0;
}

int64_t merge_pipe_written(struct merge_pipe *p)
{
    pthread_mutex_lock(&p->lock);
    int64_t n = p->written;
    pthread_mutex_unlock(&p->lock);
    return n;
}

int merge_pipe_end(struct merge_pipe *p, struct err *e)
{
    pthread_mutex_lock(&p->lock);
    p->closed = true;
    pthread_cond_broadcast(&p->moved);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    int r = p->failed ? err_set(e, "%s", p->err.text) : 0;
    pthread_cond_destroy(&p->moved);
    pthread_mutex_destroy(&p->lock);
    free(p);
    return r;
}
