/* A whole layer in one call: padding, sums of distances or products, registers, output stage, narrow store.
 *
 * Python proves which path is exact and lays the weights out (kernels/dispatch.py, kernels/layout.py); C runs it,
 * a few images at a time. Everything is compiled once per set of instructions (isa.c). Channels last throughout. */
#ifndef ADDERSIM_LAYER_H
#define ADDERSIM_LAYER_H

#include "fixed.h"

enum { TILE = 6 };    /* pixels that share a pass over a panel of weights */
enum { CHUNK = 768 }; /* pixels whose windows are listed at once; a multiple of TILE */
enum { MAX_LEVELS = 12 }; /* of a tree */

enum { AT_DIFFERENCE, AT_LEAF, AT_TREE, AT_CUT, AT_ACCUMULATOR, PLACES };       /* the order of datapath.EVENTS */
enum { DISTANCE8, DISTANCE16, PRODUCT16, SEGMENT8, LANES16, LANES32, LANES64 }; /* path: theorems.Path */
enum { U8, S8, U16, S16, S32, S64, WORD_TYPES };                                /* types of words in memory */
enum { RAW, FAST, BOUNDED, CHECKED };                                           /* stage: finishing.py */
enum { SATURATES, WRAPS, TOP_ONLY, UNKNOWN }; /* way: TOP_ONLY saturates and its low end is out of reach */
enum { ROW_M, ROW_A, ROW_N, ROW_HALF, ROW_BELOW, ROW_ODD, ROWS }; /* of constants */

/* (v + half + (below if v < 0) + (odd and v >> shift)) >> shift: every rounding mode of fixed.h */
typedef struct {
    int64_t shift, half, below, odd;
} rounding;

/* A register, low .. high, where high - low is 2^bits - 1; active: its input may miss it */
typedef struct {
    int64_t active, way, low, high;
} lane_register;

/* The hardware's order, step by step: what each step does and which registers need a look */
typedef struct {
    int64_t is_adder, is_negative, tree_inputs, levels, has_cut;
    rounding cut_rounding;
    lane_register difference, leaf, cut, tree[MAX_LEVELS];
} lane_datapath;

/* All int64_t, so that Python fills it as one array. C, K: of one group; channels: C and what fills up a vector. */
typedef struct {
    int64_t path, C, K, groups, channels, stride_h, stride_w, pad_h, pad_w;
    int64_t least, padding;     /* subtracted from every input word; a padded pixel, already so */
    int64_t steps, places;      /* of one output; DISTANCE16: kernel taps R * S */
    int64_t direction, settles; /* accumulator = initial + direction * sum; whether that is not the sum */
    lane_register accumulator;
    int64_t segment, tree_cap, cut_cap; /* SEGMENT8: steps per tree sum, largest tree sum, largest requantised */
    rounding segment_rounding;
    int64_t stage, finish, relu, y_low, y_high, negate, rounding_mode;
    int64_t centred[3], product[3]; /* CHECKED: registers of t and p: bits, signed, saturates */
    lane_datapath lanes;
} layer_plan;

/* Laid out for the instruction set's vectors; `at` holds `steps` triples (row, column, channel), -1: no channel */
typedef struct {
    const layer_plan *plan;
    const void *w;
    const int32_t *at, *w_sum, *constants; /* w_sum: DISTANCE16; constants: FAST, [panel][ROWS][panel's channels] */
    const int64_t *initial, *numbers; /* rows B, M, A, n (CHECKED); M, A, n, half, below, odd (BOUNDED); all channels */
} layer;

typedef struct {
    int64_t N, H, W, P, Q;
    int32_t x_type, y_type;
} layer_images;

typedef struct {
    int64_t saturated, overflows, least, most, events[PLACES]; /* least, most: of the accumulator */
} layer_facts;

typedef struct {
    const char *name;
    int bytes; /* of a vector */
    int (*run)(const layer *l, const layer_images *n, const void *x, void *y, layer_facts *facts);
    int (*stage)(const layer *l, int64_t pixels, const void *x, int x_type, void *y, int y_type, layer_facts *facts);
    int64_t (*residual)(int64_t pixels, int64_t K, const int32_t *p, const int32_t *q, const int32_t *numbers,
                        int32_t low, int32_t high, int relu, void *y, int y_type);
} isa;

/* The best set of instructions of this processor, or the one called `name`; NULL if it is not to be had. */
const isa *isa_select(const char *name);

/* Words of one type as words of another, each minus `least`; `to` is U8, S16 or S32 */
void words_convert(const void *x, int from, int64_t count, int64_t least, void *y, int to);

/* One word of any type */
static inline void word_store(void *y, int type, int64_t i, int64_t v) {
    switch (type) {
    case U8:
    case S8: ((uint8_t *)y)[i] = (uint8_t)v; break;
    case U16:
    case S16: ((uint16_t *)y)[i] = (uint16_t)v; break;
    case S32: ((int32_t *)y)[i] = (int32_t)v; break;
    default: ((int64_t *)y)[i] = v;
    }
}

static inline int64_t word_bytes(int type) {
    return type == S64 ? 8 : type == S32 ? 4 : type >= U16 ? 2 : 1;
}

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

#endif
