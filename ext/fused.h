/* A whole layer on bytes or 16-bit words: sum of distances or products, output stage, narrow store.
 *
 * Only for layers in which no register can overflow (the caller proves it), so sums may be taken in any order.
 * Layouts: x is (N, H, W, groups * C), padded already. Distances: bytes, C a multiple of 8, and w holds, for
 * every block of output channels and every group of 8 channels, 8 bytes per output channel. Products: 16-bit
 * words, w holds pairs of words per output channel. `offset` lists, in elements of x, where each group of 8
 * bytes or each pair of a window begins, seen from the window's first pixel. */
#ifndef ADDERSIM_FUSED_H
#define ADDERSIM_FUSED_H

#include <stdint.h>

typedef struct {
    int64_t N, H, W, C, K, P, Q, stride_h, stride_w, groups, steps; /* C and K of one group; steps = len(offset) */
    int64_t is_adder, negate, finish, relu, low, high, wide;         /* wide: the output stage needs 64 bits */
} fused_shape;

typedef struct {
    int64_t saturated, least, most; /* extremes of the raw accumulator */
} fused_facts;

enum { TILE = 6, FEW = 32 }; /* pixels that share one pass over the weights; channels below which they share a stage */

/* b, m, a, n are the output stage's, one per output channel; y holds one int32 (int64 if wide) per output */
typedef struct {
    const char *name;
    int block; /* output channels of one weight panel */
    int (*run)(const fused_shape *s, const void *x, const void *w, const int32_t *offset, const int64_t *stage,
               void *y, fused_facts *facts);
    int (*stage_only)(const fused_shape *s, int64_t count, const int32_t *x, const int64_t *stage, void *y,
                      fused_facts *facts);
    int64_t (*residual)(int64_t count, int64_t K, const int32_t *p, const int32_t *q, const int32_t *numbers,
                        int32_t low, int32_t high, int relu, int32_t *y);
} fused_isa;

/* The best set of instructions of this processor, or the one called `name`; NULL if it is not to be had. */
const fused_isa *fused_select(const char *name);

#endif
