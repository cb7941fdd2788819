/* Bits that change in the registers of processing elements, from step to step of an output (output stationary), or from
 * output pixel to output pixel of an image in the element that keeps the weights of a step (weight stationary).
 *
 * Channels last; x is padded already, and so are the channels of each group, with zeros in x and w, to a multiple of
 * the channels of a step. `offset` lists, in the order of the steps, where in x the channels of each step begin,
 * seen from the window's first pixel. */
#ifndef ADDERSIM_TOGGLES_H
#define ADDERSIM_TOGGLES_H

#include "fixed.h"

/* The order of datapath.REGISTERS */
enum { IN_DIFFERENCE, IN_SIGN, IN_LEAF, IN_TREE, IN_CUT, IN_ACCUMULATOR, REGISTERS };
enum { CROSSINGS = IN_TREE }; /* toggles_isa.bytes: outputs whose sum became positive */
enum { SHARE = 8 };           /* output pixels that may share a vector of bytes */

/* C and K are those of one group */
typedef struct {
    int64_t N, H, W, C, K, P, Q, stride_h, stride_w, groups, steps, weight_stationary;
} toggles_shape;

/* int32 only, so that Python fills it as one array */
typedef struct {
    int32_t is_adder, is_negative, tree_inputs, levels, has_cut, cut_shift, cut_rounding;
    fx_register difference, leaf, cut, accumulator, tree[];
} toggles_datapath;

/* `steps` are exact for every datapath whose words, and sums of two words, 32 or 64 bits hold. They return -1 without
 * memory. Lanes are output channels; x holds words of 4 or 8 bytes, w is (groups, ceil(K / lanes), steps,
 * tree_inputs, lanes), shifted already, initial is (groups, ceil(K / lanes), lanes), cut to its register already.
 *
 * `bytes` is output stationary and takes distances of bytes without tree or cut, where no register can overflow and
 * 32 bits hold every sum. Lanes are output channels, and up to SHARE output pixels where those are few: lane j holds
 * channel j % K of pixel j / K. w is (groups, ceil(K / lanes), steps, lanes); initial holds, for each vector of lanes,
 * the lower halves of the accumulators of even and of odd lanes, then the upper ones. It counts all 8 bits of the
 * difference, and 32 of the accumulator: the caller, who knows the registers' widths, settles copies of their signs. */
typedef int toggles_loop(const toggles_shape *s, const toggles_datapath *d, const void *x, const void *w,
                         const int32_t *offset, const void *initial, int64_t counts[REGISTERS]);
typedef struct {
    const char *name;
    int size; /* bytes of a vector: lanes of `bytes`, four and eight times those of the steps */
    void (*bytes)(const toggles_shape *s, const uint8_t *x, const uint8_t *w, const int32_t *offset,
                  const uint16_t *initial, int64_t counts[REGISTERS]);
    toggles_loop *steps32, *steps64;
} toggles_isa;

/* The best set of instructions of this processor, or the one called `name`; NULL if it is not to be had. */
const toggles_isa *toggles_select(const char *name);

/* Element of x at which the window of an output pixel of a group begins; pixels are numbered over all images */
static inline int64_t toggles_window(const toggles_shape *s, int64_t pixel, int64_t group) {
    const int64_t q = pixel % s->Q, p = pixel / s->Q % s->P, n = pixel / s->Q / s->P;
    return (((n * s->H + p * s->stride_h) * s->W + q * s->stride_w) * s->groups + group) * s->C;
}

#endif
