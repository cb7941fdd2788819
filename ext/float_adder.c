#include "float_adder.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))

enum { ROWS = 4 }; /* output channels that share one read of xs: as many sums as hide the latency of an addition */

enum { STRIP = 32, TAPS = 64 }; /* blocks of pixels and taps over which the sign gradient keeps its sums in registers */

enum { COPY_BYTES = 1 << 18 }; /* of padded images at a time, which stay in the second cache */

typedef struct {
    float *xs, *gs, *wt; /* gathered inputs; gathered gradients or finished sums; weights in reading order */
    int64_t *tap, *out;  /* where tap j lies seen from a lane's first pixel; channel k from channel 0 */
    int64_t *dense;      /* where tap j lies in xs */
    int64_t *weight;     /* which weight tap j is, of the C * R * S of an output channel */
    int64_t taps;
    float *padded, *padded_grad;   /* some images of one group of channels, and what is their gradient so far */
    int64_t together, H, W, plane; /* how many; their rows and columns; floats from one image to the next */
} scratch;

typedef struct {
    int64_t n, p, q;
} pixel;

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void release(scratch *s) {
    free(s->xs);
    free(s->gs);
    free(s->wt);
    free(s->tap);
    free(s->out);
    free(s->dense);
    free(s->weight);
    free(s->padded);
    free(s->padded_grad);
}

/* Kernel columns outermost: neighbouring taps overlap in memory, and a sum that is read while it is still being
 * written costs a dozen cycles. */
static void list(scratch *s, const adder_shape *a) {
    int64_t j = 0;
    for (int64_t t = 0; t < a->S; t++)
        for (int64_t r = 0; r < a->R; r++)
            for (int64_t c = 0; c < a->C; c++, j++) {
                s->tap[j] = (c * s->H + r * a->dilation_h) * s->W + t * a->dilation_w;
                s->weight[j] = (c * a->R + r) * a->S + t;
            }
    for (int64_t k = 0; k < a->K; k++)
        s->out[k] = k * a->P * a->Q;
}

/* Images that need no padding are read where they lie, all of them at once */
static int pads(const adder_shape *a) {
    return a->pad_h || a->pad_w;
}

static int reserve(scratch *s, const adder_shape *a, int lanes, int gradient) {
    const size_t taps = (size_t)(a->C * a->R * a->S), K = (size_t)a->K;
    s->taps = (int64_t)taps;
    s->H = a->H + 2 * a->pad_h, s->W = a->W + 2 * a->pad_w;
    s->plane = a->C * s->H * s->W * (pads(a) ? 1 : a->groups);
    const int64_t fit = 1 + COPY_BYTES / ((int64_t)sizeof(float) * s->plane);
    s->together = pads(a) ? smaller(fit, a->N) : a->N;
    const size_t copy = pads(a) ? sizeof(float) * (size_t)(s->together * s->plane) : 1;
    s->padded = calloc(copy, 1); /* the border stays 0 */
    s->padded_grad = malloc(gradient ? copy : 1);
    s->xs = malloc(sizeof(float) * (size_t)lanes * (taps + 1));
    s->gs = calloc((size_t)lanes * (K + ROWS), sizeof(float)); /* channels are read in pairs: the one behind K is 0 */
    s->wt = calloc((taps + 1) * (K + ROWS), sizeof(float));
    s->tap = malloc(sizeof(int64_t) * taps);
    s->out = malloc(sizeof(int64_t) * K);
    s->dense = malloc(sizeof(int64_t) * taps);
    s->weight = malloc(sizeof(int64_t) * taps);
    if (!s->xs || !s->gs || !s->wt || !s->tap || !s->out || !s->dense || !s->weight || !s->padded || !s->padded_grad) {
        release(s);
        return -1;
    }
    list(s, a);
    for (int64_t j = 0; j < s->taps; j++)
        s->dense[j] = j * lanes;
    return 0;
}

/* Copy the inside of padded images of group g from or to `images` images of x from the n-th on */
static void inside(const adder_shape *a, const scratch *s, int64_t g, int64_t n, int64_t images, float *padded,
                   const float *x, float *gx) {
    for (int64_t i = 0; i < images; i++)
        for (int64_t c = 0; c < a->C; c++)
            for (int64_t h = 0; h < a->H; h++) {
                const int64_t at = (((n + i) * a->groups + g) * a->C + c) * a->H + h;
                float *row = padded + i * s->plane + (c * s->H + h + a->pad_h) * s->W + a->pad_w;
                if (x)
                    memcpy(row, x + at * a->W, sizeof(float) * (size_t)a->W);
                else
                    memcpy(gx + at * a->W, row, sizeof(float) * (size_t)a->W);
            }
}

/* Where the kernels read images n .. n + images - 1 of group g */
static const float *images_of(const adder_shape *a, const scratch *s, int64_t g, int64_t n, int64_t images,
                              const float *x) {
    if (!pads(a))
        return x + g * a->C * a->H * a->W; /* n is 0 */
    inside(a, s, g, n, images, s->padded, x, 0);
    return s->padded;
}

/* The next output pixel; the last one follows itself */
static INLINE void step(const adder_shape *a, int64_t images, pixel *at) {
    pixel next = *at;
    if (++next.q == a->Q)
        next.q = 0, next.p++;
    if (next.p == a->P)
        next.p = 0, next.n++;
    if (next.n < images)
        *at = next;
}

/* Weights (K, taps) as blocks of ROWS channels, tap by tap; channels beyond K keep what calloc left */
static void in_rows(const adder_shape *a, const float *w, scratch *s) {
    for (int64_t k = 0; k < a->K; k++)
        for (int64_t j = 0; j < s->taps; j++)
            s->wt[(k / ROWS * s->taps + j) * ROWS + k % ROWS] = w[k * s->taps + s->weight[j]];
}

/* Weights (K, taps) as (taps, K) */
static void in_columns(const adder_shape *a, const float *w, scratch *s) {
    for (int64_t k = 0; k < a->K; k++)
        for (int64_t j = 0; j < s->taps; j++)
            s->wt[j * a->K + k] = w[k * s->taps + s->weight[j]];
}

#define CHOOSE(m, a, b) (F)(((NAME(bits))(a) & (m)) | ((NAME(bits))(b) & ~(m)))

#define NAME(x) x##_plain
#define BYTES 16
#define FMIN(a, b) CHOOSE((a) < (b), a, b)
#define FMAX(a, b) CHOOSE((a) > (b), a, b)
#define FMADD(a, b, c) ((a) * (b) + (c))
#include "float_kernel.h"

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define NAME(x) x##_avx2
#define BYTES 32
#define FMIN(a, b) (F) _mm256_min_ps((__m256)(a), (__m256)(b))
#define FMAX(a, b) (F) _mm256_max_ps((__m256)(a), (__m256)(b))
#define FMADD(a, b, c) (F) _mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#include "float_kernel.h"
#pragma GCC pop_options

static int has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
#define forward_avx2 forward_plain
#define input_grad_avx2 input_grad_plain
#define sign_grad_avx2 sign_grad_plain

static int has_avx2(void) {
    return 0;
}
#endif

int adder_forward_f32(const adder_shape *a, const float *x, const float *w, float *y) {
    return has_avx2() ? forward_avx2(a, x, w, y) : forward_plain(a, x, w, y);
}

int adder_input_grad_f32(const adder_shape *a, const float *x, const float *w, const float *gy, float *gx) {
    return has_avx2() ? input_grad_avx2(a, x, w, gy, gx) : input_grad_plain(a, x, w, gy, gx);
}

int adder_sign_grad_f32(const adder_shape *a, const float *x, const float *w, const float *gy, float *gw) {
    return has_avx2() ? sign_grad_avx2(a, x, w, gy, gw) : sign_grad_plain(a, x, w, gy, gw);
}
