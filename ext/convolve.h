/* Integer convolution on adders or multipliers, and the output stage. Channels last, x padded already. */
#ifndef ADDERSIM_CONVOLVE_H
#define ADDERSIM_CONVOLVE_H

#include "fixed.h"

enum { MAX_LEVELS = 12, MAX_LEAVES = 1 << MAX_LEVELS };
enum { AT_DIFFERENCE, AT_LEAF, AT_TREE, AT_CUT, AT_ACCUMULATOR, PLACES }; /* the order of datapath.EVENTS */

/* C and K are those of one group; x is (N, H, W, groups*C), acc is (N, P, Q, groups*K) */
typedef struct {
    int64_t N, H, W, C, K, P, Q, R, S, stride_h, stride_w, dilation_h, dilation_w, groups;
} conv_shape;

/* int32 only, so that Python fills it as one array; order holds 'r', 's', 'c', outermost first */
typedef struct {
    int32_t is_adder, is_negative, weight_shift, tree_inputs, levels, has_cut, cut_shift, cut_rounding, order[3];
    fx_register difference, leaf, cut, accumulator, tree[MAX_LEVELS];
} conv_datapath;

/* In the hardware's order, step by step, every register checked. w is (groups*K, R, S, C). */
void convolve_stepwise(const conv_shape *s, const conv_datapath *d, const int32_t *x, const int32_t *w,
                       const int64_t *initial, int64_t *acc, int64_t events[PLACES]);

/* A plain sum in 32 bits, for datapaths in which no register can overflow. w is (groups, R, S, C, K). */
void convolve_running(const conv_shape *s, int is_adder, int negate, const int32_t *x, const int32_t *w,
                      const int64_t *initial, int64_t *acc);

/* p = t * m[k] + a[k] with t = (negate ? -acc : acc) - b[k]; returns how often t or p missed its register */
int64_t output_scale(int64_t count, int64_t K, const int64_t *acc, const int64_t *b, const int64_t *m, const int64_t *a,
                     fx_register t, fx_register p, int negate, int64_t *out);

/* y = clamp(round(p / 2^n[k])); returns how many saturated, those below low not counted if relu */
int64_t output_finish(int64_t count, int64_t K, const int64_t *p, const int64_t *n, int rounding, int64_t low,
                      int64_t high, int relu, int64_t *out);

#endif
