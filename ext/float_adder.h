/* Float32 adder layers for training: y = -sum |x - w|, the clipped gradient of x and the sign gradient of w. */
#ifndef ADDERSIM_FLOAT_ADDER_H
#define ADDERSIM_FLOAT_ADDER_H

#include <stdint.h>

/* x is (N, groups*C, H, W), padded with zeros as the core reads it; w (groups*K, C, R, S); y (N, groups*K, P, Q). All
 * contiguous. */
typedef struct {
    int64_t N, C, H, W, K, P, Q, R, S;
    int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
} adder_shape;

/* All return 0, or -1 when the scratch memory (some padded images, C*R*S*16 floats and the like) cannot be had. */

/* y from sums of max(x, w): its rounding error is that of sums of |x| and |w|, and 0 where all of them are exact */
int adder_forward_f32(const adder_shape *shape, const float *x, const float *w, float *y);

/* gx = sum_k clamp(w - x, -1, 1) * gy, shaped like x */
int adder_input_grad_f32(const adder_shape *shape, const float *x, const float *w, const float *gy, float *gx);

/* gw = sum_npq sign(x - w) * gy, shaped like w; sign(0) is 0 */
int adder_sign_grad_f32(const adder_shape *shape, const float *x, const float *w, const float *gy, float *gw);

#endif
