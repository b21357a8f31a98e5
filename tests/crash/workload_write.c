/* SPDX-License-Identifier: MIT */
/* Writing, zeroing, discarding, resizing: on all kinds of images. */
#include "script.h"

static const struct step fill_steps[] = { W(0, 9),   W(9, 8),  FLUSH,
                                          WN(20, 5), W(40, 1), FLUSH,
                                          W(60, 4),  W(17, 3), W(25, 10),
                                          FLUSH,     W(35, 5), END };

static const struct step overwrite_steps[] = {
    W(0, 20), FLUSH,    W(2, 7),  W(5, 3),  FLUSH, W(3, 1),  WF(10, 4),
    W(0, 2),  W(12, 2), WF(1, 1), W(19, 6), FLUSH, WN(0, 8), END
};

static const struct step zero_steps[] = {
    W(0, 30), FLUSH,    ZC(1, 1), UC(2, 1), FLUSH,     W(9, 3),
    Z(20, 5), U(25, 3), FLUSH,    Z(40, 9), UF(0, 12), W(4, 2),
    W(42, 3), FLUSH,    ZC(0, 2), END
};

/* Freed clusters are wanted again at once, and again after a flush. */
static const struct step reuse_steps[] = {
    WC(0, 4), FLUSH,    DC(0, 3), WC(4, 2), FLUSH, WC(6, 1), DC(4, 2),
    FLUSH,    WC(1, 3), UC(6, 1), WC(0, 1), FLUSH, DC(1, 2), WC(5, 2),
    DC(5, 1), WC(1, 1), FLUSH,    WC(5, 1), END
};

static const struct step compress_steps[] = {
    C(0, 1),  C(1, 2),  FLUSH,    W(1, 1), C(4, 1),  FLUSH,
    ZC(1, 1), DC(2, 1), C(3, 1),  FLUSH,   W(0, 3),  C(5, 2),
    REOPEN,   C(7, 1),  WC(4, 1), FLUSH,   WC(5, 1), END
};

/* Compressed again where a cluster was given up. */
static const struct step recompress_steps[] = {
    C(0, 4), FLUSH,    DC(1, 2), C(1, 1), FLUSH, UC(0, 1), C(2, 1), C(0, 1),
    FLUSH,   DC(0, 4), WC(3, 1), C(4, 1), FLUSH, C(1, 1),  END
};

static const struct step resize_steps[] = {
    W(30, 34), FLUSH,    SIZE(80), W(60, 15), FLUSH,    SIZE(50), W(45, 5),
    SIZE(64),  W(50, 3), SIZEC(5), W(0, 4),   SIZE(70), FLUSH,    END
};

/* Over the entries of a cluster of L1: 2 MiB at clusters of 512 bytes. */
static const struct step l1_growth_steps[] = {
    W(0, 3),    FLUSH,      MARK,        SIZEC(4500), WC(4400, 3), FLUSH,
    SIZEC(300), WC(200, 3), SIZEC(8500), WC(8300, 2), FLUSH,       END
};

static const struct step shrink_steps[] = { W(0, 64), FLUSH,    MARK,
                                            SIZEC(4), W(0, 2),  SIZE(20),
                                            W(10, 5), FLUSH,    SIZE(3),
                                            SIZE(64), W(50, 9), END };

static const struct step reopen_steps[] = { W(0, 5),  REOPEN,  W(3, 9),
                                            Z(20, 9), REOPEN,  U(0, 8),
                                            W(24, 3), REOPEN,  D(0, 30),
                                            REOPEN,   W(1, 6), END };

static const struct step mixed_steps[] = {
    W(1, 5),  W(30, 6), FLUSH,   U(2, 30),  W(8, 3),  D(20, 30),
    W(33, 7), FLUSH,    Z(5, 9), W(50, 14), WF(9, 1), D(48, 16),
    W(60, 4), FLUSH,    W(0, 2), W(40, 1),  END
};

static const struct step parallel_steps[] = { P(0, 12),  FLUSH, P(8, 12),
                                              P(30, 10), FLUSH, D(0, 16),
                                              P(2, 8),   FLUSH, END };

/* From 3800 clusters of 512 bytes on the refcounts fill their table: 64 blocks
   of 64 counts that are 64 bits wide. */
static const struct step table_growth_steps[] = {
    SIZEC(6000),   WC(0, 3500),   FLUSH,         MARK,         WC(3500, 200),
    FLUSH,         WC(3700, 200), WC(3900, 100), FLUSH,        DC(100, 50),
    WC(4000, 100), FLUSH,         REOPEN,        WC(4100, 40), END
};

static const struct step block_growth_steps[] = { W(0, 24),  W(24, 20), FLUSH,
                                                  W(44, 20), DC(4, 20), FLUSH,
                                                  W(10, 20), END };

/* Written on where the file ended inside a sector: in a new cluster, in place,
   with zeroes. */
static const struct step file_end_steps[] = {
    W(0, 9),  FLUSH, W(5, 9),  FLUSH,    W(14, 1), FLUSH,    W(15, 1), FLUSH,
    W(14, 8), FLUSH, WC(8, 1), DC(8, 1), FLUSH,    W(30, 1), W(31, 1), FLUSH,
    Z(30, 2), FLUSH, W(30, 9), FLUSH,    W(50, 1), W(49, 9), END
};

static const struct script write_scripts[] = {
    { "fill", fill_steps, 0 },
    { "overwrite", overwrite_steps, 0 },
    { "zero", zero_steps, 0 },
    { "reuse", reuse_steps, 0 },
    { "compress", compress_steps, 0 },
    { "recompress", recompress_steps, 0 },
    { "resize", resize_steps, 0 },
    { "l1-growth", l1_growth_steps, 0 },
    { "shrink", shrink_steps, 0 },
    { "reopen", reopen_steps, 0 },
    { "mixed", mixed_steps, 0 },
    { "parallel", parallel_steps, 0 },
    { "file-end", file_end_steps, 0 },
    { "table-growth", table_growth_steps, 0 },
    { "block-growth", block_growth_steps, 0 },
    { "random-1", NULL, 1 },
    { "random-2", NULL, 2 },
    { "random-3", NULL, 3 },
};

static const struct workload write_workloads[] = {
    { "v3-512", "fill", 0, 0 },
    { "v3-512", "overwrite", 0, 0 },
    { "v3-512", "zero", 0, 0 },
    { "v3-512", "reuse", 0, 0 },
    { "v3-512", "compress", 0, 0 },
    { "v3-512", "shrink", 0, 0 },
    { "v3-512", "l1-growth", 0, 20 },
    { "v3-512", "mixed", 4096, 0 },
    { "v3-512", "file-end", 0, 0 },
    { "v3-4k", "fill", 0, 0 },
    { "v3-4k", "overwrite", 0, 0 },
    { "v3-4k", "zero", 0, 0 },
    { "v3-4k", "reuse", 0, 200 },
    { "v3-4k", "compress", 0, 0 },
    { "v3-4k", "recompress", 0, 0 },
    { "v3-4k", "resize", 0, 0 },
    { "v3-4k", "reopen", 0, 0 },
    { "v3-4k", "parallel", 0, 0 },
    { "v3-4k", "random-1", 0, 0 },
    { "v3-64k", "fill", 0, 0 },
    { "v3-64k", "overwrite", 0, 50 },
    { "v3-64k", "zero", 0, 50 },
    { "v3-64k", "reuse", 0, 50 },
    { "v3-64k", "compress", 0, 50 },
    { "v3-64k", "shrink", 0, 50 },
    { "v3-64k", "random-2", 0, 50 },
    { "v3-2m", "fill", 0, 3 },
    { "v3-2m", "zero", 0, 3 },
    { "v3-2m", "reuse", 0, 3 },
    { "v3-2m", "compress", 0, 3 },
    { "v3-2m", "resize", 0, 3 },
    { "v2-512", "mixed", 0, 0 },
    { "v2-512", "resize", 0, 0 },
    { "v2-4k", "zero", 0, 0 },
    { "v2-4k", "file-end", 0, 0 },
    { "v2-4k", "reuse", 0, 0 },
    { "v2-64k", "compress", 0, 50 },
    { "v2-64k", "random-3", 0, 50 },
    { "v1-4k", "fill", 0, 0 },
    { "v1-4k", "overwrite", 0, 0 },
    { "v1-4k", "compress", 0, 0 },
    { "v1-4k", "random-1", 0, 0 },
    { "v1-512-base", "mixed", 0, 0 },
    { "v1-512-base", "file-end", 0, 0 },
    { "v1-4k-base", "overwrite", 0, 0 },
    { "v1-4k-base", "compress", 0, 0 },
    { "v1-4k-aes", "mixed", 0, 0 },
    { "extended-16k", "fill", 0, 0 },
    { "extended-16k", "zero", 0, 0 },
    { "extended-16k", "reuse", 0, 0 },
    { "extended-16k", "compress", 0, 0 },
    { "extended-16k", "recompress", 0, 0 },
    { "extended-16k", "random-2", 0, 0 },
    { "extended-64k", "overwrite", 0, 50 },
    { "extended-16k-base", "mixed", 0, 0 },
    { "extended-16k-base", "file-end", 0, 0 },
    { "extended-16k-base", "resize", 0, 0 },
    { "extended-16k-prealloc", "mixed", 0, 0 },
    { "width-1", "mixed", 0, 0 },
    { "width-2", "block-growth", 0, 0 },
    { "width-4", "reuse", 0, 0 },
    { "width-8", "reuse", 0, 0 },
    { "width-32", "random-3", 0, 0 },
    { "width-64", "block-growth", 0, 0 },
    { "width-64", "table-growth", 0, 10 },
    { "lazy-4k", "mixed", 0, 0 },
    { "lazy-4k", "reuse", 0, 0 },
    { "lazy-4k", "reopen", 0, 0 },
    { "lazy-64k", "compress", 0, 50 },
    { "zstd-64k", "compress", 0, 50 },
    { "data-4k", "mixed", 0, 0 },
    { "data-4k", "resize", 0, 0 },
    { "data-64k", "zero", 0, 50 },
    { "data-raw-4k", "mixed", 0, 0 },
    { "data-raw-4k", "resize", 0, 0 },
    { "data-raw-64k", "reuse", 0, 50 },
    { "data-extended", "zero", 0, 0 },
    { "aes-4k", "mixed", 0, 0 },
    { "aes-v2-64k", "overwrite", 0, 50 },
    { "luks-4k", "mixed", 0, 15 },
    { "luks-4k", "reuse", 0, 15 },
    { "luks-64k", "zero", 0, 15 },
    { "luks-data-4k", "mixed", 0, 15 },
    { "overlay-short-4k", "mixed", 0, 0 },
    { "overlay-short-4k", "compress", 0, 0 },
    { "overlay-long-4k", "resize", 0, 0 },
    { "overlay-long-512", "zero", 0, 0 },
    { "overlay-long-512", "shrink", 0, 0 },
    { "overlay-64k", "random-1", 0, 50 },
    { "overlay-v2-4k", "mixed", 0, 0 },
    { "overlay-luks", "reuse", 0, 15 },
    { "prealloc-4k", "mixed", 0, 0 },
    { "prealloc-full-64k", "zero", 0, 50 },
    { "prealloc-v2-4k", "reuse", 0, 0 },
    { "snapshot-512", "mixed", 0, 0 },
    { "snapshot-512", "reuse", 4096, 0 },
    { "snapshot-4k", "overwrite", 0, 0 },
    { "snapshot-4k", "random-3", 0, 0 },
    { "snapshot-4k", "shrink", 0, 0 },
    { "snapshot-64k", "zero", 0, 50 },
    { "snapshot-v2-4k", "mixed", 0, 0 },
    { "snapshot-extended", "mixed", 0, 0 },
    { "snapshot-lazy", "reuse", 0, 0 },
    { "snapshot-width-2", "random-2", 0, 0 },
    { "compressed-4k", "mixed", 0, 0 },
    { "compressed-4k", "reuse", 0, 0 },
};

const struct workload_set write_set = {
    write_scripts,
    sizeof(write_scripts) / sizeof(write_scripts[0]),
    write_workloads,
    sizeof(write_workloads) / sizeof(write_workloads[0]),
};
