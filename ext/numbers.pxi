# Input codes, and output stages in 64 bits where no faster loop is exact.

cdef extern from "output.h" nogil:
    ctypedef struct fx_register:
        pass
    int64_t output_scale(int64_t, int64_t, const int64_t *, const int64_t *, const int64_t *, const int64_t *,
                         fx_register, fx_register, int, int64_t *)
    int64_t output_finish(int64_t, int64_t, const int64_t *, const int64_t *, int, int64_t, int64_t, int, int64_t *)

cdef extern from "images.h" nogil:
    int64_t images_quantise(const void *, int, int64_t, int64_t, int64_t, double, int64_t, int64_t, int64_t, void *, int)


def scale(const int64_t[:, ::1] acc, const int64_t[::1] bias, const int64_t[::1] multiplier, const int64_t[::1] offset,
          const int[::1] centred, const int[::1] product, bint negate, int64_t[:, ::1] out):
    """Fill out with p and return how many t or p missed their registers."""
    cdef int64_t misfits
    with nogil:
        misfits = output_scale(acc.shape[0], acc.shape[1], &acc[0, 0], &bias[0], &multiplier[0], &offset[0],
                               (<const fx_register *>&centred[0])[0], (<const fx_register *>&product[0])[0],
                               negate, &out[0, 0])
    return misfits


def finish(const int64_t[:, ::1] p, const int64_t[::1] shift, int rounding, int64_t low, int64_t high, bint relu,
           int64_t[:, ::1] out):
    """Fill out with the rounded and clamped codes and return how many saturated."""
    cdef int64_t saturated
    with nogil:
        saturated = output_finish(p.shape[0], p.shape[1], &p[0, 0], &shift[0], rounding, low, high, relu, &out[0, 0])
    return saturated


def quantise(x_nchw, int64_t pixels, double step, int64_t zero, int64_t low, int64_t high, y_nhwc):
    """Fill y with clamp(rint(x / step) + zero) and return how many values met the clamp; x is float32 or float64."""
    cdef Words x = Words(x_nchw, False, True), y = Words(y_nhwc, True)
    cdef int64_t N = x.view.shape[0], C = x.view.shape[1], outside
    with nogil:
        outside = images_quantise(x.view.buf, x.view.itemsize == 8, N, C, pixels, step, zero, low, high, y.view.buf, y.type)
    return outside
