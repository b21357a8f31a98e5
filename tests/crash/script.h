/* SPDX-License-Identifier: MIT */
/* The words that scripts are written in. */
#ifndef BYRE_TESTS_CRASH_SCRIPT_H
#define BYRE_TESTS_CRASH_SCRIPT_H

#include <stddef.h>

#include "workload.h"

/* In units. */
#define W(offset, length)                                                      \
    {                                                                          \
        STEP_WRITE, 0, offset, length, NULL                                    \
    }
#define WN(offset, length)                                                     \
    {                                                                          \
        STEP_WRITE, STEP_NOISE, offset, length, NULL                           \
    }
#define WF(offset, length)                                                     \
    {                                                                          \
        STEP_WRITE, STEP_FUA, offset, length, NULL                             \
    }
#define Z(offset, length)                                                      \
    {                                                                          \
        STEP_ZERO, 0, offset, length, NULL                                     \
    }
#define U(offset, length)                                                      \
    {                                                                          \
        STEP_UNMAP, 0, offset, length, NULL                                    \
    }
#define UF(offset, length)                                                     \
    {                                                                          \
        STEP_UNMAP, STEP_FUA, offset, length, NULL                             \
    }
#define D(offset, length)                                                      \
    {                                                                          \
        STEP_DISCARD, 0, offset, length, NULL                                  \
    }
#define P(offset, length)                                                      \
    {                                                                          \
        STEP_PARALLEL, 0, offset, length, NULL                                 \
    }
#define SIZE(length)                                                           \
    {                                                                          \
        STEP_RESIZE, 0, 0, length, NULL                                        \
    }
/* In clusters. */
#define WC(offset, length)                                                     \
    {                                                                          \
        STEP_WRITE, STEP_CLUSTERS, offset, length, NULL                        \
    }
#define ZC(offset, length)                                                     \
    {                                                                          \
        STEP_ZERO, STEP_CLUSTERS, offset, length, NULL                         \
    }
#define UC(offset, length)                                                     \
    {                                                                          \
        STEP_UNMAP, STEP_CLUSTERS, offset, length, NULL                        \
    }
#define DC(offset, length)                                                     \
    {                                                                          \
        STEP_DISCARD, STEP_CLUSTERS, offset, length, NULL                      \
    }
#define C(offset, length)                                                      \
    {                                                                          \
        STEP_COMPRESS, STEP_CLUSTERS, offset, length, NULL                     \
    }
#define SIZEC(length)                                                          \
    {                                                                          \
        STEP_RESIZE, STEP_CLUSTERS, 0, length, NULL                            \
    }
#define FLUSH                                                                  \
    {                                                                          \
        STEP_FLUSH, 0, 0, 0, NULL                                              \
    }
#define REOPEN                                                                 \
    {                                                                          \
        STEP_REOPEN, 0, 0, 0, NULL                                             \
    }
#define MARK                                                                   \
    {                                                                          \
        STEP_MARK, 0, 0, 0, NULL                                               \
    }
#define END                                                                    \
    {                                                                          \
        STEP_END, 0, 0, 0, NULL                                                \
    }

/* What an action does; `offset` and `length` in units, as it has them. */
#define DO(action, offset, length)                                             \
    {                                                                          \
        STEP_ACTION, 0, offset, length, action                                 \
    }

#endif
