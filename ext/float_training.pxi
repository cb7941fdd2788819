# Adder layers in float32, forward and backward: images as torch lays them out.

cdef extern from "float_adder.h" nogil:
    ctypedef struct adder_shape:
        int64_t N, C, H, W, K, P, Q, R, S
        int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups
    int adder_forward_f32(const adder_shape *, const float *, const float *, float *)
    int adder_input_grad_f32(const adder_shape *, const float *, const float *, const float *, float *)
    int adder_sign_grad_f32(const adder_shape *, const float *, const float *, const float *, float *)


cdef adder_shape _adder_shape(const float[:, :, :, ::1] x, const float[:, :, :, ::1] w,
                              const float[:, :, :, ::1] y, tuple stride, tuple padding, tuple dilation, int64_t groups):
    cdef adder_shape a
    a.N, a.H, a.W, a.groups = x.shape[0], x.shape[2], x.shape[3], max(groups, 1)
    a.K, a.C, a.R, a.S = w.shape[0] // a.groups, w.shape[1], w.shape[2], w.shape[3]
    a.P, a.Q = y.shape[2], y.shape[3]
    (a.stride_h, a.stride_w), (a.pad_h, a.pad_w), (a.dilation_h, a.dilation_w) = stride, padding, dilation
    if x.shape[1] != a.C * groups or y.shape[1] != a.K * groups or y.shape[0] != a.N or (
            (a.P - 1) * a.stride_h + (a.R - 1) * a.dilation_h >= a.H + 2 * a.pad_h or
            (a.Q - 1) * a.stride_w + (a.S - 1) * a.dilation_w >= a.W + 2 * a.pad_w):
        raise ValueError("shapes of x, w and y do not fit together")
    return a


def adder_forward(const float[:, :, :, ::1] x, const float[:, :, :, ::1] w, float[:, :, :, ::1] y,
                  tuple stride, tuple padding, tuple dilation, int64_t groups):
    """Fill y_nkpq with -sum |x_nchw - w_kcrs|."""
    cdef adder_shape a = _adder_shape(x, w, y, stride, padding, dilation, groups)
    cdef int failed = 0
    if y.size:
        with nogil:
            failed = adder_forward_f32(&a, &x[0, 0, 0, 0], &w[0, 0, 0, 0], &y[0, 0, 0, 0])
    if failed:
        raise MemoryError("adder_forward")


def adder_input_grad(const float[:, :, :, ::1] x, const float[:, :, :, ::1] w, const float[:, :, :, ::1] gy,
                     float[:, :, :, ::1] gx, tuple stride, tuple padding, tuple dilation, int64_t groups):
    """Fill gx_nchw with sum_k clamp(w - x, -1, 1) * gy_nkpq."""
    cdef adder_shape a = _adder_shape(x, w, gy, stride, padding, dilation, groups)
    cdef int failed = 0
    if gx.nbytes != x.nbytes:
        raise ValueError("gx must be shaped like x")
    if gx.size:
        with nogil:
            failed = adder_input_grad_f32(&a, &x[0, 0, 0, 0], &w[0, 0, 0, 0], &gy[0, 0, 0, 0], &gx[0, 0, 0, 0])
    if failed:
        raise MemoryError("adder_input_grad")


def adder_sign_grad(const float[:, :, :, ::1] x, const float[:, :, :, ::1] w, const float[:, :, :, ::1] gy,
                    float[:, :, :, ::1] gw, tuple stride, tuple padding, tuple dilation, int64_t groups):
    """Fill gw_kcrs with sum_npq sign(x - w) * gy."""
    cdef adder_shape a = _adder_shape(x, w, gy, stride, padding, dilation, groups)
    cdef int failed = 0
    if gw.nbytes != w.nbytes:
        raise ValueError("gw must be shaped like w")
    if x.size and gy.size:
        with nogil:
            failed = adder_sign_grad_f32(&a, &x[0, 0, 0, 0], &w[0, 0, 0, 0], &gy[0, 0, 0, 0], &gw[0, 0, 0, 0])
    if failed:
        raise MemoryError("adder_sign_grad")
