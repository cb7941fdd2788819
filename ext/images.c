#include "images.h"

#include "layer.h"

#include <string.h>

/* Rounded to nearest even as long as |v| < 2^51: the fraction falls off the end of the mantissa */
static inline double to_nearest(double v) {
    const double shift = 6755399441055744.0;
    return (v + shift) - shift;
}

#define QUANTISE(name, real)                                                                                           \
    static int64_t name(const real *x, int64_t count, double step, double zero, double low, double high,               \
                        int32_t *codes) {                                                                              \
        const double least = low - zero - 1, most = high - zero + 1;                                                   \
        int64_t outside = 0;                                                                                           \
        for (int64_t i = 0; i < count; i++) {                                                                          \
            double v = (double)x[i] / step;                                                                            \
            v = v < least ? least : v > most ? most : v;                                                               \
            v = to_nearest(v) + zero;                                                                                  \
            outside += (v < low) + (v > high);                                                                         \
            codes[i] = (int32_t)(v < low ? low : v > high ? high : v);                                                 \
        }                                                                                                              \
        return outside;                                                                                                \
    }
QUANTISE(quantise_f32, float)
QUANTISE(quantise_f64, double)

int64_t images_quantise(const void *x, int wide, int64_t N, int64_t C, int64_t pixels, double step, int64_t zero,
                        int64_t low, int64_t high, void *y, int y_type) {
    int64_t outside = 0;
    int32_t codes[256];
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++)
            for (int64_t i = 0; i < pixels; i += 256) {
                const int64_t some = smaller(pixels - i, 256), at = (n * C + c) * pixels + i;
                outside += wide ? quantise_f64((const double *)x + at, some, step, (double)zero, (double)low,
                                               (double)high, codes)
                                : quantise_f32((const float *)x + at, some, step, (double)zero, (double)low,
                                               (double)high, codes);
                for (int64_t j = 0; j < some; j++)
                    word_store(y, y_type, (n * pixels + i + j) * C + c, codes[j]);
            }
    return outside;
}

/* Kernel taps first .. end-1 along one axis that lie inside the image, for a window that begins at `start` */
static void inside(int64_t start, int64_t dilation, int64_t taps, int64_t size, int64_t *first, int64_t *end) {
    *first = start < 0 ? (-start + dilation - 1) / dilation : 0;
    *end = start >= size ? 0 : smaller(taps, (size - start + dilation - 1) / dilation);
}

#define POOL_MAX(word)                                                                                                 \
    static void max_##word(const word *x, int64_t count, word *restrict y) {                                           \
        for (int64_t c = 0; c < count; c++)                                                                            \
            y[c] = x[c] > y[c] ? x[c] : y[c];                                                                          \
    }
#define POOL_SUM(word, total)                                                                                          \
    static void sum_##word##_##total(const word *x, int64_t count, total *restrict y) {                                \
        for (int64_t c = 0; c < count; c++)                                                                            \
            y[c] += x[c];                                                                                              \
    }
#define EACH_WORD(M, ...)                                                                                              \
    M(uint8_t, ##__VA_ARGS__)                                                                                          \
    M(int8_t, ##__VA_ARGS__) M(uint16_t, ##__VA_ARGS__) M(int16_t, ##__VA_ARGS__) M(int32_t, ##__VA_ARGS__)            \
        M(int64_t, ##__VA_ARGS__)
EACH_WORD(POOL_MAX)
EACH_WORD(POOL_SUM, int64_t)
POOL_SUM(uint8_t, int32_t)
POOL_SUM(int8_t, int32_t) POOL_SUM(uint16_t, int32_t) POOL_SUM(int16_t, int32_t) POOL_SUM(int32_t, int32_t)

    static void max_words(const void *x, int type, int64_t count, void *y) {
    switch (type) {
    case U8: max_uint8_t(x, count, y); break;
    case S8: max_int8_t(x, count, y); break;
    case U16: max_uint16_t(x, count, y); break;
    case S16: max_int16_t(x, count, y); break;
    case S32: max_int32_t(x, count, y); break;
    default: max_int64_t(x, count, y);
    }
}

static void sum_words(const void *x, int type, int64_t count, void *y, int y_type) {
    const int wide = y_type == S64;
    switch (type) {
    case U8: wide ? sum_uint8_t_int64_t(x, count, y) : sum_uint8_t_int32_t(x, count, y); break;
    case S8: wide ? sum_int8_t_int64_t(x, count, y) : sum_int8_t_int32_t(x, count, y); break;
    case U16: wide ? sum_uint16_t_int64_t(x, count, y) : sum_uint16_t_int32_t(x, count, y); break;
    case S16: wide ? sum_int16_t_int64_t(x, count, y) : sum_int16_t_int32_t(x, count, y); break;
    case S32: wide ? sum_int32_t_int64_t(x, count, y) : sum_int32_t_int32_t(x, count, y); break;
    default: sum_int64_t_int64_t(x, count, y);
    }
}

/* The window of one output pixel, and which of its taps r0 .. r1-1, s0 .. s1-1 lie inside the image */
typedef struct {
    const pool_shape *s;
    const char *x;
    int64_t pixel_bytes, h, w, r0, r1, s0, s1;
} window;

static window window_at(const pool_shape *s, const void *x, int type, int64_t n, int64_t p, int64_t q) {
    window v = {.s = s,
                .pixel_bytes = s->C * word_bytes(type),
                .h = p * s->stride_h - s->pad_h,
                .w = q * s->stride_w - s->pad_w};
    v.x = (const char *)x + n * s->H * s->W * v.pixel_bytes;
    inside(v.h, s->dilation_h, s->R, s->H, &v.r0, &v.r1);
    inside(v.w, s->dilation_w, s->S, s->W, &v.s0, &v.s1);
    return v;
}

static const char *pixel_of(const window *v, int64_t r, int64_t s) {
    return v->x + ((v->h + r * v->s->dilation_h) * v->s->W + v->w + s * v->s->dilation_w) * v->pixel_bytes;
}

static const int64_t lowest[WORD_TYPES] = {0, INT8_MIN, 0, INT16_MIN, INT32_MIN, INT64_MIN};

void pool_max(const pool_shape *s, const void *x, int type, void *y) {
    char *out = y;
    for (int64_t n = 0; n < s->N; n++)
        for (int64_t p = 0; p < s->P; p++)
            for (int64_t q = 0; q < s->Q; q++) {
                const window v = window_at(s, x, type, n, p, q);
                for (int64_t c = 0; c < s->C; c++)
                    word_store(out, type, c, lowest[type]);
                for (int64_t r = v.r0; r < v.r1; r++)
                    for (int64_t c = v.s0; c < v.s1; c++)
                        max_words(pixel_of(&v, r, c), type, s->C, out);
                out += v.pixel_bytes;
            }
}

void pool_sum(const pool_shape *s, const void *x, int type, int64_t padding, const int64_t *factor, void *y,
              int y_type) {
    char *out = y;
    for (int64_t n = 0; n < s->N; n++)
        for (int64_t p = 0; p < s->P; p++)
            for (int64_t q = 0; q < s->Q; q++) {
                const window v = window_at(s, x, type, n, p, q);
                const int64_t rows = v.r1 > v.r0 ? v.r1 - v.r0 : 0, columns = v.s1 > v.s0 ? v.s1 - v.s0 : 0;
                for (int64_t c = 0; c < s->C; c++)
                    word_store(out, y_type, c, padding * (s->R * s->S - rows * columns));
                for (int64_t r = v.r0; r < v.r1; r++)
                    for (int64_t c = v.s0; c < v.s1; c++)
                        sum_words(pixel_of(&v, r, c), type, s->C, out, y_type);
                const int64_t f = factor[p * s->Q + q];
                for (int64_t c = 0; f != 1 && c < s->C; c++)
                    if (y_type == S64)
                        ((int64_t *)(void *)out)[c] *= f;
                    else
                        ((int32_t *)(void *)out)[c] *= (int32_t)f;
                out += s->C * word_bytes(y_type);
            }
}

void images_flatten(int64_t N, int64_t pixels, int64_t C, const void *x, int type, void *y) {
    const int64_t size = word_bytes(type);
    const char *in = x;
    for (int64_t n = 0; n < N; n++)
        for (int64_t i = 0; i < pixels; i++)
            for (int64_t c = 0; c < C; c++, in += size)
                memcpy((char *)y + ((n * C + c) * pixels + i) * size, in, (size_t)size);
}
