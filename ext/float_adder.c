/* Float32 adder layers for training.
 *
 * LANES output pixels (of any images) are computed together: the pixels are the vector, so that no sum is
 * reordered and plain C vectorises without -ffast-math. Their receptive fields are first gathered into
 * xs[tap][lane]; a fully connected layer is the case P = Q = R = S = 1, where the lanes are images.
 */
#include "float_adder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define ROWS 4 /* output channels that share one read of xs: ROWS * LANES sums fit 8 of 16 AVX registers */
#define TAPS 2 /* gradients of two taps share one read of gs */
#define INLINE static inline __attribute__((always_inline))

typedef struct {
    float *xs, *gs, *wt; /* gathered inputs, gathered gradients, transposed weights */
    int64_t *tap;        /* tap[j]: where tap j = (c, r, s) lies relative to a lane's first pixel */
    int64_t *out;        /* out[k]: where output channel k lies relative to a lane's channel 0 */
    int64_t taps;
} scratch;

static void release(scratch *s)
{
    free(s->xs);
    free(s->gs);
    free(s->wt);
    free(s->tap);
    free(s->out);
}

static int reserve(scratch *s, const adder_shape *a)
{
    s->taps = a->C * a->R * a->S;
    s->xs = calloc((size_t)(s->taps + TAPS) * LANES, sizeof(float)); /* an odd last tap reads one row more */
    s->gs = malloc(sizeof(float) * LANES * (size_t)a->K);
    s->wt = malloc(sizeof(float) * (size_t)(a->K * s->taps));
    s->tap = malloc(sizeof(int64_t) * (size_t)s->taps);
    s->out = malloc(sizeof(int64_t) * (size_t)a->K);
    if (!s->xs || !s->gs || !s->wt || !s->tap || !s->out) {
        release(s);
        return -1;
    }
    int64_t j = 0;
    for (int64_t c = 0; c < a->C; c++)
        for (int64_t r = 0; r < a->R; r++)
            for (int64_t t = 0; t < a->S; t++)
                s->tap[j++] = (c * a->H + r * a->dilation_h) * a->W + t * a->dilation_w;
    for (int64_t k = 0; k < a->K; k++)
        s->out[k] = k * a->P * a->Q;
    return 0;
}

/* Offsets of the first input pixel and of the output pixel of lanes first .. first + LANES - 1, group 0.
 * Lanes beyond the last output pixel repeat it; their sums are not stored, their gy is 0. Returns the live lanes. */
static int locate(const adder_shape *a, int64_t first, int64_t x_at[LANES], int64_t y_at[LANES])
{
    const int64_t PQ = a->P * a->Q, all = a->N * PQ;
    for (int l = 0; l < LANES; l++) {
        const int64_t i = first + l < all ? first + l : all - 1, n = i / PQ, p = i % PQ / a->Q, q = i % a->Q;
        x_at[l] = (n * a->groups * a->C * a->H + p * a->stride_h) * a->W + q * a->stride_w;
        y_at[l] = n * a->groups * a->K * PQ + i % PQ;
    }
    return all - first < LANES ? (int)(all - first) : LANES;
}

/* Are eight pixels neighbours in memory? Strides, row ends and repeated last pixels break the row. */
INLINE int in_a_row(const int64_t at[8])
{
    int64_t broken = 0;
    for (int l = 1; l < 8; l++)
        broken |= at[l] - at[0] - l;
    return broken == 0;
}

/* out[j][lane] = x[at[lane] + offset[j]]. Eight lanes in a row of pixels are one vector copy. */
INLINE void gather(const float *x, const int64_t *offset, int64_t count, const int64_t at[LANES], float *out)
{
    for (int half = 0; half < LANES; half += 8) {
        const int64_t *a = at + half;
        float *o = out + half;
        if (in_a_row(a))
            for (int64_t j = 0; j < count; j++, o += LANES)
                for (int l = 0; l < 8; l++)
                    o[l] = x[a[0] + offset[j] + l];
        else
            for (int64_t j = 0; j < count; j++, o += LANES)
                for (int l = 0; l < 8; l++)
                    o[l] = x[a[l] + offset[j]];
    }
}

/* sum[t][lane] = sum_j |xs[j][lane] - w[t][j]|. The four rows are spelt out: gcc keeps the sums of this loop in
 * registers, but not those of a loop over t. */
INLINE void distances(const float *restrict xs, int64_t taps, const float *const w[ROWS], float (*sum)[LANES])
{
    const float *w0 = w[0], *w1 = w[1], *w2 = w[2], *w3 = w[3];
    float acc[ROWS][LANES];
    for (int l = 0; l < LANES; l++) /* not = {{0}}, which costs a slow call-like rep stos */
        acc[0][l] = acc[1][l] = acc[2][l] = acc[3][l] = 0;
    for (int64_t j = 0; j < taps; j++)
        for (int l = 0; l < LANES; l++) {
            const float x = xs[j * LANES + l];
            acc[0][l] += fabsf(x - w0[j]);
            acc[1][l] += fabsf(x - w1[j]);
            acc[2][l] += fabsf(x - w2[j]);
            acc[3][l] += fabsf(x - w3[j]);
        }
    memcpy(sum, acc, sizeof acc);
}

INLINE int forward(const adder_shape *a, const float *x, const float *w, float *y)
{
    const int64_t PQ = a->P * a->Q;
    scratch s;
    if (reserve(&s, a))
        return -1;
    for (int64_t first = 0; first < a->N * PQ; first += LANES)
        for (int64_t g = 0; g < a->groups; g++) {
            int64_t x_at[LANES], y_at[LANES];
            float sum[ROWS][LANES];
            const int live = locate(a, first, x_at, y_at);
            gather(x + g * a->C * a->H * a->W, s.tap, s.taps, x_at, s.xs);
            for (int64_t k = 0; k < a->K; k += ROWS) {
                const float *row[ROWS];
                for (int t = 0; t < ROWS; t++)
                    row[t] = w + (g * a->K + (k + t < a->K ? k + t : a->K - 1)) * s.taps;
                distances(s.xs, s.taps, row, sum);
                for (int t = 0; t < ROWS && k + t < a->K; t++)
                    for (int l = 0; l < live; l++)
                        y[y_at[l] + (g * a->K + k + t) * PQ] = -sum[t][l];
            }
        }
    release(&s);
    return 0;
}

/* clamp(d, -1, 1), as the sign of d on the smaller magnitude: on integers, because a float minimum that gcc may
 * vectorise needs -ffinite-math-only. The bits of positive floats are ordered like the floats. */
INLINE float hard_tanh(float d)
{
    union {
        float f;
        uint32_t bits;
    } u = {d}, one = {1.0f};
    const uint32_t magnitude = u.bits & 0x7fffffffu;
    u.bits = (u.bits & 0x80000000u) | (magnitude < one.bits ? magnitude : one.bits);
    return u.f;
}

/* sum[t][lane] = sum_k clamp(w[t][k] - xs[t][lane], -1, 1) * gs[k][lane] for two taps, which share gs. */
INLINE void clipped(const float *restrict gs, int64_t K, const float *xs, const float *const w[TAPS],
                    float (*sum)[LANES])
{
    const float *w0 = w[0], *w1 = w[1];
    float acc[TAPS][LANES];
    for (int l = 0; l < LANES; l++)
        acc[0][l] = acc[1][l] = 0;
    for (int64_t k = 0; k < K; k++)
        for (int l = 0; l < LANES; l++) {
            const float g = gs[k * LANES + l];
            acc[0][l] += hard_tanh(w0[k] - xs[l]) * g;
            acc[1][l] += hard_tanh(w1[k] - xs[LANES + l]) * g;
        }
    memcpy(sum, acc, sizeof acc);
}

/* gx[at[lane] + offset[j]] += in[j][lane], the reverse of gather. */
INLINE void scatter(const float *in, const int64_t *offset, int64_t count, const int64_t at[LANES], float *gx)
{
    for (int half = 0; half < LANES; half += 8) {
        const int64_t *a = at + half;
        const float *restrict v = in + half;
        if (in_a_row(a))
            for (int64_t j = 0; j < count; j++, v += LANES)
                for (int l = 0; l < 8; l++)
                    gx[a[0] + offset[j] + l] += v[l];
        else
            for (int64_t j = 0; j < count; j++, v += LANES)
                for (int l = 0; l < 8; l++)
                    gx[a[l] + offset[j]] += v[l];
    }
}

/* Replace every xs[j][lane] by the gradient of that tap, sum_k clamp(w - xs, -1, 1) * gs[k][lane]. */
INLINE void tap_gradients(const scratch *s, int64_t K)
{
    for (int64_t j = 0; j < s->taps; j += TAPS) {
        const float *row[TAPS];
        for (int t = 0; t < TAPS; t++)
            row[t] = s->wt + (j + t < s->taps ? j + t : s->taps - 1) * K;
        clipped(s->gs, K, s->xs + j * LANES, row, (float(*)[LANES])(s->xs + j * LANES));
    }
}

static void transpose(const adder_shape *a, const float *w, scratch *s)
{
    for (int64_t k = 0; k < a->K; k++)
        for (int64_t j = 0; j < s->taps; j++)
            s->wt[j * a->K + k] = w[k * s->taps + j];
}

INLINE int input_grad(const adder_shape *a, const float *x, const float *w, const float *gy, float *gx)
{
    const int64_t PQ = a->P * a->Q, plane = a->C * a->H * a->W;
    scratch s;
    if (reserve(&s, a))
        return -1;
    for (int64_t g = 0; g < a->groups; g++) {
        transpose(a, w + g * a->K * s.taps, &s);
        for (int64_t first = 0; first < a->N * PQ; first += LANES) {
            int64_t x_at[LANES], y_at[LANES];
            const int live = locate(a, first, x_at, y_at);
            gather(x + g * plane, s.tap, s.taps, x_at, s.xs);
            gather(gy + g * a->K * PQ, s.out, a->K, y_at, s.gs);
            for (int64_t k = 0; k < a->K; k++)
                for (int l = live; l < LANES; l++)
                    s.gs[k * LANES + l] = 0;
            tap_gradients(&s, a->K);
            scatter(s.xs, s.tap, s.taps, x_at, gx + g * plane);
        }
    }
    release(&s);
    return 0;
}

/* One body, compiled for the baseline and for AVX2. No fused multiply-add: both give the same bits. */
#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("avx2"))) static int forward_avx2(const adder_shape *a, const float *x, const float *w, float *y)
{
    return forward(a, x, w, y);
}
__attribute__((target("avx2"))) static int input_grad_avx2(const adder_shape *a, const float *x, const float *w,
                                                           const float *gy, float *gx)
{
    return input_grad(a, x, w, gy, gx);
}
#define HAS_AVX2 __builtin_cpu_supports("avx2")
#else
#define forward_avx2 forward
#define input_grad_avx2 input_grad
#define HAS_AVX2 0
#endif

int adder_forward_f32(const adder_shape *a, const float *x, const float *w, float *y)
{
    return HAS_AVX2 ? forward_avx2(a, x, w, y) : forward(a, x, w, y);
}

int adder_input_grad_f32(const adder_shape *a, const float *x, const float *w, const float *gy, float *gx)
{
    return HAS_AVX2 ? input_grad_avx2(a, x, w, gy, gx) : input_grad(a, x, w, gy, gx);
}
