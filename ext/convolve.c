#include "convolve.h"

#include <stdlib.h>
#include <string.h>

static inline int64_t leaf(const conv_datapath *d, int64_t x, int64_t w, int64_t events[PLACES]) {
    int64_t v;
    if (d->is_adder) {
        v = fx_fit(x - w * (INT64_C(1) << d->weight_shift), &d->difference, &events[AT_DIFFERENCE]);
        v = v < 0 ? -v : v;
        v = d->is_negative ? -v : v;
    } else {
        v = x * w;
    }
    return fx_fit(v, &d->leaf, &events[AT_LEAF]);
}

/* What one step adds: the tree over channels c0 .. c0+T-1, requantised if the datapath says so. */
static int64_t step(const conv_datapath *d, const int32_t *x, const int32_t *w, int64_t leaves, int64_t *node,
                    int64_t events[PLACES]) {
    for (int64_t i = 0; i < d->tree_inputs; i++)
        node[i] = i < leaves ? leaf(d, x[i], w[i], events) : 0;
    int64_t nodes = d->tree_inputs;
    for (int level = 0; level < d->levels; level++) {
        for (int64_t i = 0; i < nodes / 2; i++)
            node[i] = fx_fit(node[2 * i] + node[2 * i + 1], &d->tree[level], &events[AT_TREE]);
        if (nodes % 2)
            node[nodes / 2] = node[nodes - 1];
        nodes = (nodes + 1) / 2;
    }
    if (!d->has_cut)
        return node[0];
    return fx_fit(fx_round_shift(node[0], d->cut_shift, d->cut_rounding), &d->cut, &events[AT_CUT]);
}

/* One output: x points at the first pixel of its window, w at the first tap of its channel. */
static int64_t one_output(const conv_shape *s, const conv_datapath *d, const int32_t *x, const int32_t *w,
                          int64_t initial, int64_t *node, int64_t events[PLACES]) {
    int64_t at[128], end[128];
    end['r'] = s->R, end['s'] = s->S, end['c'] = (s->C + d->tree_inputs - 1) / d->tree_inputs;
    const int o0 = d->order[0], o1 = d->order[1], o2 = d->order[2];
    int64_t acc = fx_fit(initial, &d->accumulator, &events[AT_ACCUMULATOR]);
    for (at[o0] = 0; at[o0] < end[o0]; at[o0]++)
        for (at[o1] = 0; at[o1] < end[o1]; at[o1]++)
            for (at[o2] = 0; at[o2] < end[o2]; at[o2]++) {
                const int64_t c = at['c'] * d->tree_inputs, r = at['r'], q = at['s'];
                const int64_t pixel = r * s->dilation_h * s->W + q * s->dilation_w;
                const int64_t leaves = s->C - c < d->tree_inputs ? s->C - c : d->tree_inputs;
                acc += step(d, x + pixel * s->groups * s->C + c, w + (r * s->S + q) * s->C + c, leaves, node, events);
                acc = fx_fit(acc, &d->accumulator, &events[AT_ACCUMULATOR]);
            }
    return acc;
}

void convolve_stepwise(const conv_shape *s, const conv_datapath *d, const int32_t *x, const int32_t *w,
                       const int64_t *initial, int64_t *acc, int64_t events[PLACES]) {
    int64_t node[MAX_LEAVES];
    const int64_t channels = s->groups * s->K, taps = s->R * s->S * s->C;
    for (int64_t n = 0; n < s->N; n++)
        for (int64_t p = 0; p < s->P; p++)
            for (int64_t q = 0; q < s->Q; q++)
                for (int64_t k = 0; k < channels; k++) {
                    const int64_t pixel = (n * s->H + p * s->stride_h) * s->W + q * s->stride_w;
                    const int32_t *first = x + (pixel * s->groups + k / s->K) * s->C;
                    int64_t misfits[PLACES] = {0};
                    *acc++ = one_output(s, d, first, w + k * taps, initial[k], node, misfits);
                    for (int place = 0; place < PLACES; place++)
                        events[place] += misfits[place] > 0;
                }
}

static inline void add_distances(int32_t *sum, int32_t x, const int32_t *w, int64_t K) {
    for (int64_t k = 0; k < K; k++) {
        const int32_t d = x - w[k];
        sum[k] += d < 0 ? -d : d;
    }
}

static inline void add_products(int32_t *sum, int32_t x, const int32_t *w, int64_t K) {
    for (int64_t k = 0; k < K; k++)
        sum[k] += x * w[k];
}

/* All output channels of one pixel and group; x points at the first pixel of the window. */
static void sum_window(const conv_shape *s, int is_adder, const int32_t *x, const int32_t *w, int32_t *sum) {
    memset(sum, 0, (size_t)s->K * sizeof *sum);
    for (int64_t r = 0; r < s->R; r++)
        for (int64_t q = 0; q < s->S; q++) {
            const int32_t *pixel = x + (r * s->dilation_h * s->W + q * s->dilation_w) * s->groups * s->C;
            for (int64_t c = 0; c < s->C; c++, w += s->K)
                if (is_adder)
                    add_distances(sum, pixel[c], w, s->K);
                else
                    add_products(sum, pixel[c], w, s->K);
        }
}

void convolve_running(const conv_shape *s, int is_adder, int negate, const int32_t *x, const int32_t *w,
                      const int64_t *initial, int64_t *acc) {
    int32_t *sum = malloc((size_t)s->K * sizeof *sum + 1);
    if (!sum)
        abort(); /* a few hundred bytes: nothing sensible is left to do */
    for (int64_t n = 0; n < s->N; n++)
        for (int64_t p = 0; p < s->P; p++)
            for (int64_t q = 0; q < s->Q; q++)
                for (int64_t g = 0; g < s->groups; g++) {
                    const int64_t pixel = (n * s->H + p * s->stride_h) * s->W + q * s->stride_w;
                    const int64_t taps = s->R * s->S * s->C;
                    sum_window(s, is_adder, x + (pixel * s->groups + g) * s->C, w + g * taps * s->K, sum);
                    for (int64_t k = 0; k < s->K; k++)
                        *acc++ = initial[g * s->K + k] + (negate ? -(int64_t)sum[k] : sum[k]);
                }
    free(sum);
}

int64_t output_scale(int64_t count, int64_t K, const int64_t *acc, const int64_t *b, const int64_t *m, const int64_t *a,
                     fx_register t, fx_register p, int negate, int64_t *out) {
    int64_t misfits = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < K; k++, acc++, out++) {
            const int64_t centred = fx_fit((negate ? -*acc : *acc) - b[k], &t, &misfits);
            *out = fx_fit(centred * m[k] + a[k], &p, &misfits);
        }
    return misfits;
}

int64_t output_finish(int64_t count, int64_t K, const int64_t *p, const int64_t *n, int rounding, int64_t low,
                      int64_t high, int relu, int64_t *out) {
    int64_t saturated = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < K; k++, p++, out++) {
            const int64_t y = fx_round_shift(*p, (int)n[k], rounding);
            saturated += y > high || (!relu && y < low);
            *out = y < low ? low : y > high ? high : y;
        }
    return saturated;
}
