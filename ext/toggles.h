/* Bits that change in the registers of processing elements that compute one output each, step by step.
 *
 * Channels last; x is padded already, and so are the channels of each group, with zeros in x and w, to a multiple of
 * the channels of a step. `offset` lists, in the order of the steps, where in x the channels of each step begin,
 * seen from the window's first pixel. */
#ifndef ADDERSIM_TOGGLES_H
#define ADDERSIM_TOGGLES_H

#include "fixed.h"

enum { IN_DIFFERENCE, IN_SIGN, IN_LEAF, IN_TREE, IN_CUT, IN_ACCUMULATOR, REGISTERS }; /* the order of datapath.REGISTERS */
enum { CROSSINGS = IN_TREE };                                 /* toggles_isa.bytes: outputs that became positive */
enum { SHARE = 8 };                                           /* output pixels that may share a vector */

/* C and K are those of one group */
typedef struct {
    int64_t N, H, W, C, K, P, Q, stride_h, stride_w, groups, steps;
} toggles_shape;

/* int32 only, so that Python fills it as one array */
typedef struct {
    int32_t is_adder, is_negative, tree_inputs, levels, has_cut, cut_shift, cut_rounding;
    fx_register difference, leaf, cut, accumulator, tree[];
} toggles_datapath;

/* `steps` is exact for every datapath; w is (groups*K, steps, tree_inputs), shifted already. Returns -1 without memory.
 *
 * `bytes` takes distances of bytes without tree or cut, where no register can overflow and 32 bits hold every sum.
 * Lanes are output channels, and up to SHARE output pixels where those are few: lane j holds channel j % K of pixel
 * j / K. w is (groups, ceil(K / lanes), steps, lanes); initial holds, for each vector of lanes, the lower halves of the
 * accumulators of even and of odd lanes, then the upper ones. It counts all 8 bits of the difference, and 32 of
 * the accumulator: the caller, who knows the registers' widths, settles copies of their signs. */
typedef struct {
    const char *name;
    int lanes;
    int (*steps)(const toggles_shape *s, const toggles_datapath *d, const int64_t *x, const int64_t *w,
                 const int32_t *offset, const int64_t *initial, int64_t counts[REGISTERS]);
    void (*bytes)(const toggles_shape *s, const uint8_t *x, const uint8_t *w, const int32_t *offset,
                  const uint16_t *initial, int64_t counts[REGISTERS]);
} toggles_isa;

/* The best set of instructions of this processor, or the one called `name`; NULL if it is not to be had. */
const toggles_isa *toggles_select(const char *name);

/* Element of x at which the window of an output pixel of a group begins; pixels are numbered over all images */
static inline int64_t toggles_window(const toggles_shape *s, int64_t pixel, int64_t group) {
    const int64_t q = pixel % s->Q, p = pixel / s->Q % s->P, n = pixel / s->Q / s->P;
    return (((n * s->H + p * s->stride_h) * s->W + q * s->stride_w) * s->groups + group) * s->C;
}

#endif
