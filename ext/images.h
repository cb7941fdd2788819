/* What a network does beside its layers: images into codes, pooling. Channels last, except for the images. */
#ifndef ADDERSIM_IMAGES_H
#define ADDERSIM_IMAGES_H

#include <stdint.h>

typedef struct {
    int64_t N, H, W, C, P, Q, R, S, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
} pool_shape;

/* y_nhwc = clamp(rint(x_nchw / step) + zero), ties to even; returns how many met the clamp. wide: x is double.
 * x_type and y_type as in layer.h. */
int64_t images_quantise(const void *x, int wide, int64_t N, int64_t C, int64_t pixels, double step, int64_t zero,
                        int64_t low, int64_t high, void *y, int y_type);

/* The largest word of every window; padded pixels never win */
void pool_max(const pool_shape *s, const void *x, int type, void *y);

/* Sum of every window, padded pixels being `padding`, times factor_pq */
void pool_sum(const pool_shape *s, const void *x, int type, int64_t padding, const int64_t *factor, void *y,
              int y_type);

/* y_nchw = x_nhwc, words of any type */
void images_flatten(int64_t N, int64_t pixels, int64_t C, const void *x, int type, void *y);

#endif
