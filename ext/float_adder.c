#include "float_adder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))

enum { ROWS = 4 }; /* output channels that share one read of xs: as many sums as hide the latency of an addition */

enum { STRIP = 32, TAPS = 64 }; /* blocks of pixels and taps over which the sign gradient keeps its sums in registers */

enum {
    TERMS = 144
}; /* gathered gradients of a pixel that stay in the first cache while all input channels meet them */

enum { COPY_BYTES = 1 << 18 }; /* of padded images at a time, which stay in the second cache */

/* Pixels in reading order, image by image, and how far apart they lie in two tensors */
typedef struct {
    int64_t rows, columns, x_image, x_row, x_column, y_image, y_row, y_column;
} grid;

typedef struct {
    int64_t n, row, column;
} pixel;

typedef struct {
    float *xs, *gs, *wt; /* gathered inputs; gathered gradients or finished sums; weights in reading order */
    float *all_w;        /* sums of an output channel's weights */
    int64_t *tap, *out;  /* where tap j lies seen from a lane's first pixel; channel k from channel 0 */
    int64_t *dense;      /* where tap j lies in xs */
    int64_t *weight;     /* which weight tap j is, of the C * R * S of an output channel */
    int64_t taps;
    float *padded;                 /* some images of one group of channels */
    int64_t together, H, W, plane; /* how many; their rows and columns; floats from one image to the next */
    grid at;                       /* x: a pixel's window, y: the pixel */
} scratch;

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Room for floats that vectors read without crossing a cache line */
static float *aligned(size_t count) {
    return aligned_alloc(64, (sizeof(float) * count + 63) / 64 * 64);
}

static void release(scratch *s) {
    free(s->xs);
    free(s->gs);
    free(s->wt);
    free(s->all_w);
    free(s->tap);
    free(s->out);
    free(s->dense);
    free(s->weight);
    free(s->padded);
}

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

/* How many images of so many floats are padded at a time */
static int64_t in_cache(int64_t plane, int64_t N) {
    return smaller(1 + COPY_BYTES / ((int64_t)sizeof(float) * plane), N);
}

static int reserve(scratch *s, const adder_shape *a, int lanes) {
    const size_t taps = (size_t)(a->C * a->R * a->S), K = (size_t)a->K;
    s->taps = (int64_t)taps;
    s->H = a->H + 2 * a->pad_h, s->W = a->W + 2 * a->pad_w;
    s->plane = a->C * s->H * s->W * (pads(a) ? 1 : a->groups);
    s->together = pads(a) ? in_cache(s->plane, a->N) : a->N;
    s->at = (grid){a->P, a->Q, s->plane, a->stride_h * s->W, a->stride_w, a->groups * a->K * a->P * a->Q, a->Q, 1};
    s->padded = calloc(pads(a) ? sizeof(float) * (size_t)(s->together * s->plane) : 1, 1); /* the border stays 0 */
    s->xs = aligned((size_t)lanes * (taps + 1));
    s->gs = aligned((size_t)lanes * (K + ROWS));
    s->wt = calloc((taps + 1) * (K + ROWS), sizeof(float));
    s->all_w = calloc(K + ROWS, sizeof(float));
    s->tap = malloc(sizeof(int64_t) * taps);
    s->out = malloc(sizeof(int64_t) * K);
    s->dense = malloc(sizeof(int64_t) * taps);
    s->weight = malloc(sizeof(int64_t) * taps);
    if (!s->xs || !s->gs || !s->wt || !s->all_w || !s->tap || !s->out || !s->dense || !s->weight || !s->padded) {
        release(s);
        return -1;
    }
    list(s, a);
    for (int64_t j = 0; j < s->taps; j++)
        s->dense[j] = j * lanes;
    return 0;
}

/* Copy `images` images of `channels` x rows x columns, each `next` floats behind the last, into others with a border;
 * these have H rows of W floats per channel, and the pictures begin `start` floats behind the first corner. */
static void inside(const float *x, int64_t next, int64_t images, int64_t channels, int64_t rows, int64_t columns,
                   float *padded, int64_t H, int64_t W, int64_t start) {
    for (int64_t i = 0; i < images; i++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t h = 0; h < rows; h++)
                memcpy(padded + ((i * channels + c) * H + h) * W + start, x + i * next + (c * rows + h) * columns,
                       sizeof(float) * (size_t)columns);
}

/* Where the kernels read images n .. n + images - 1 of group g */
static const float *images_of(const adder_shape *a, const scratch *s, int64_t g, int64_t n, int64_t images,
                              const float *x) {
    const int64_t group = a->C * a->H * a->W;
    x += (n * a->groups + g) * group;
    if (!pads(a))
        return x;
    inside(x, a->groups * group, images, a->C, a->H, a->W, s->padded, s->H, s->W, a->pad_h * s->W + a->pad_w);
    return s->padded;
}

/* The next pixel; the last one follows itself */
static INLINE void step(const grid *g, int64_t images, pixel *at) {
    pixel next = *at;
    if (++next.column == g->columns)
        next.column = 0, next.row++;
    if (next.row == g->rows)
        next.row = 0, next.n++;
    if (next.n < images)
        *at = next;
}

/* Weights (K, taps) as blocks of ROWS channels, tap by tap, and their sums; channels beyond K keep what calloc left */
static void in_rows(const adder_shape *a, const float *w, scratch *s) {
    for (int64_t k = 0; k < a->K; k++) {
        double sum = 0;
        for (int64_t j = 0; j < s->taps; j++) {
            const float weight = w[k * s->taps + s->weight[j]];
            s->wt[(k / ROWS * s->taps + j) * ROWS + k % ROWS] = weight;
            sum += weight;
        }
        s->all_w[k] = (float)sum;
    }
}

#include "float_phases.h"

#define CHOOSE(m, a, b) (F)(((NAME(bits))(a) & (m)) | ((NAME(bits))(b) & ~(m)))

#define NAME(x) x##_plain
#define BYTES 16
#if defined(__x86_64__)
#define FMAX(a, b) (F) _mm_max_ps((__m128)(a), (__m128)(b))
#define FMIN(a, b) (F) _mm_min_ps((__m128)(a), (__m128)(b))
#else
#define FMAX(a, b) CHOOSE((a) > (b), a, b)
#define FMIN(a, b) CHOOSE((a) < (b), a, b)
#endif
#define FMADD(a, b, c) ((a) * (b) + (c))
#define CLAMP_UP(v, low, high) FMIN(FMAX(v, low), high)
#define CLAMP_DOWN(v, low, high) FMIN(FMAX(v, low), high)
#include "float_kernel.h"
#include "float_grad_kernel.h"
#undef FMIN

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define NAME(x) x##_avx2
#define BYTES 32
#define I(v) ((__m256i)(v))
#define FMAX(a, b) (F) _mm256_max_ps((__m256)(a), (__m256)(b))
#define FMADD(a, b, c) (F) _mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#define CLAMP_UP(v, low, high) (F) _mm256_min_epi32(_mm256_max_epi32(I(v), I(low)), I(high))
#define CLAMP_DOWN(v, low, high) (F) _mm256_min_epu32(_mm256_max_epu32(I(v), I(high)), I(low))
#include "float_kernel.h"
#include "float_grad_kernel.h"
#undef I
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f")
#define NAME(x) x##_avx512
#define BYTES 64
#define I(v) ((__m512i)(v))
#define FMAX(a, b) (F) _mm512_max_ps((__m512)(a), (__m512)(b))
#define FMADD(a, b, c) (F) _mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
#define CLAMP_UP(v, low, high) (F) _mm512_min_epi32(_mm512_max_epi32(I(v), I(low)), I(high))
#define CLAMP_DOWN(v, low, high) (F) _mm512_min_epu32(_mm512_max_epu32(I(v), I(high)), I(low))
#include "float_kernel.h"
#include "float_grad_kernel.h"
#undef I
#pragma GCC pop_options

static int has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

#define BEST(name, ...)                                                                                                \
    (__builtin_cpu_supports("avx512f") ? name##_avx512(__VA_ARGS__)                                                    \
     : has_avx2()                      ? name##_avx2(__VA_ARGS__)                                                      \
                                       : name##_plain(__VA_ARGS__))
#else
#define BEST(name, ...) name##_plain(__VA_ARGS__)
#endif

int adder_forward_f32(const adder_shape *a, const float *x, const float *w, float *y) {
    return BEST(forward, a, x, w, y);
}

int adder_input_grad_f32(const adder_shape *a, const float *x, const float *w, const float *gy, float *gx) {
    return BEST(input_grad, a, x, w, gy, gx);
}

int adder_sign_grad_f32(const adder_shape *a, const float *x, const float *w, const float *gy, float *gw) {
    return BEST(sign_grad, a, x, w, gy, gw);
}
