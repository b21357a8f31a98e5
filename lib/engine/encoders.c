/* SPDX-License-Identifier: MIT */
#include "engine/encoders.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"

struct encoders {
    enum codec_type codec;
    uint32_t cluster_bytes;
    pthread_mutex_t lock;
    struct encoder_work *idle;
};

int encoders_new(enum codec_type codec, uint32_t cluster_bytes,
                 struct encoders **ret_encoders, struct byre_error *err)
{
    struct encoders *encoders = calloc(1, sizeof(*encoders));

    if (encoders == NULL)
        return fail_nomem(err, "encoders", sizeof(*encoders));

    encoders->codec = codec;
    encoders->cluster_bytes = cluster_bytes;
    pthread_mutex_init(&encoders->lock, NULL);
    *ret_encoders = encoders;
    return BYRE_OK;
}

static void work_free(struct encoder_work *work)
{
    encoder_free(work->encoder);
    free(work->output);
    free(work);
}

void encoders_free(struct encoders *encoders)
{
    if (encoders == NULL)
        return;
    while (encoders->idle != NULL) {
        struct encoder_work *work = encoders->idle;

        encoders->idle = work->next;
        work_free(work);
    }
    pthread_mutex_destroy(&encoders->lock);
    free(encoders);
}

static int work_new(const struct encoders *encoders,
                    struct encoder_work **ret_work, struct byre_error *err)
{
    struct encoder_work *work = calloc(1, sizeof(*work));
    int r;

    if (work == NULL)
        return fail_nomem(err, "an encoder", sizeof(*work));

    work->output = malloc(encoders->cluster_bytes);
    r = work->output != NULL
            ? encoder_new(encoders->codec, 0, &work->encoder, err)
            : fail_nomem(err, "a compressed cluster", encoders->cluster_bytes);
    if (r < 0) {
        work_free(work);
        return r;
    }
    *ret_work = work;
    return BYRE_OK;
}

int encoders_get(struct encoders *encoders, struct encoder_work **ret_work,
                 struct byre_error *err)
{
    struct encoder_work *work;

    pthread_mutex_lock(&encoders->lock);
    work = encoders->idle;
    if (work != NULL)
        encoders->idle = work->next;
    pthread_mutex_unlock(&encoders->lock);

    if (work == NULL)
        return work_new(encoders, ret_work, err);
    *ret_work = work;
    return BYRE_OK;
}

void encoders_put(struct encoders *encoders, struct encoder_work *work)
{
    pthread_mutex_lock(&encoders->lock);
    work->next = encoders->idle;
    encoders->idle = work;
    pthread_mutex_unlock(&encoders->lock);
}
