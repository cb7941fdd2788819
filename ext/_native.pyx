"""The door to the C loops: buffers and shapes go in, the GIL is released. No policy here."""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t

cdef extern from "float_adder.h" nogil:
    ctypedef struct adder_shape:
        int64_t N, C, H, W, K, P, Q, R, S
        int64_t stride_h, stride_w, dilation_h, dilation_w, groups
    int adder_forward_f32(const adder_shape *, const float *, const float *, float *)
    int adder_input_grad_f32(const adder_shape *, const float *, const float *, const float *, float *)


cdef adder_shape _adder_shape(const float[:, :, :, ::1] x, const float[:, :, :, ::1] w,
                              const float[:, :, :, ::1] y, tuple stride, tuple dilation, int64_t groups):
    cdef adder_shape a
    a.N, a.H, a.W, a.groups = x.shape[0], x.shape[2], x.shape[3], max(groups, 1)
    a.K, a.C, a.R, a.S = w.shape[0] // a.groups, w.shape[1], w.shape[2], w.shape[3]
    a.P, a.Q = y.shape[2], y.shape[3]
    (a.stride_h, a.stride_w), (a.dilation_h, a.dilation_w) = stride, dilation
    if x.shape[1] != a.C * groups or y.shape[1] != a.K * groups or y.shape[0] != a.N or (
            (a.P - 1) * a.stride_h + (a.R - 1) * a.dilation_h >= a.H or
            (a.Q - 1) * a.stride_w + (a.S - 1) * a.dilation_w >= a.W):
        raise ValueError("shapes of x, w and y do not fit together")
    return a


def adder_forward(const float[:, :, :, ::1] x, const float[:, :, :, ::1] w, float[:, :, :, ::1] y,
                  tuple stride, tuple dilation, int64_t groups):
    """Fill y_nkpq with -sum |x_nchw - w_kcrs|; x is padded already."""
    cdef adder_shape a = _adder_shape(x, w, y, stride, dilation, groups)
    cdef int failed = 0
    if y.size:
        with nogil:
            failed = adder_forward_f32(&a, &x[0, 0, 0, 0], &w[0, 0, 0, 0], &y[0, 0, 0, 0])
    if failed:
        raise MemoryError("adder_forward")


def adder_input_grad(const float[:, :, :, ::1] x, const float[:, :, :, ::1] w, const float[:, :, :, ::1] gy,
                     float[:, :, :, ::1] gx, tuple stride, tuple dilation, int64_t groups):
    """Add sum_k clamp(w - x, -1, 1) * gy_nkpq to gx_nchw, which has the (padded) shape of x_nchw."""
    cdef adder_shape a = _adder_shape(x, w, gy, stride, dilation, groups)
    cdef int failed = 0
    if gx.nbytes != x.nbytes:
        raise ValueError("gx must be shaped like x")
    if gy.size:
        with nogil:
            failed = adder_input_grad_f32(&a, &x[0, 0, 0, 0], &w[0, 0, 0, 0], &gy[0, 0, 0, 0], &gx[0, 0, 0, 0])
    if failed:
        raise MemoryError("adder_input_grad")


cdef extern from "convolve.h" nogil:
    ctypedef struct fx_register:
        pass
    ctypedef struct conv_shape:
        pass
    ctypedef struct conv_datapath:
        pass
    void convolve_stepwise(const conv_shape *, const conv_datapath *, const int *, const int *, const int64_t *,
                           int64_t *, int64_t *)
    void convolve_running(const conv_shape *, int, int, const int *, const int *, const int64_t *, int64_t *)
    int64_t output_scale(int64_t, int64_t, const int64_t *, const int64_t *, const int64_t *, const int64_t *,
                         fx_register, fx_register, int, int64_t *)
    int64_t output_finish(int64_t, int64_t, const int64_t *, const int64_t *, int, int64_t, int64_t, int, int64_t *)

DATAPATH_WORDS = sizeof(conv_datapath) // sizeof(int)


def stepwise(const int64_t[::1] shape, const int[::1] datapath, const int[::1] x, const int[::1] w,
             const int64_t[::1] initial, int64_t[::1] acc, int64_t[::1] events):
    """Fill acc, and add to events, in the hardware's order; all sizes are checked by the caller."""
    with nogil:
        convolve_stepwise(<const conv_shape *>&shape[0], <const conv_datapath *>&datapath[0], &x[0], &w[0],
                          &initial[0], &acc[0], &events[0])


def running(const int64_t[::1] shape, bint is_adder, bint negate, const int[::1] x, const int[::1] w,
            const int64_t[::1] initial, int64_t[::1] acc):
    """Fill acc with plain sums; the caller has proved that no register can overflow."""
    with nogil:
        convolve_running(<const conv_shape *>&shape[0], is_adder, negate, &x[0], &w[0], &initial[0], &acc[0])


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


cdef extern from "fused.h" nogil:
    ctypedef struct fused_shape:
        pass
    ctypedef struct fused_facts:
        int64_t saturated, least, most
    ctypedef struct fused_isa:
        const char *name
        int block
        int (*run)(const fused_shape *, const void *, const void *, const int *, const int64_t *, void *, fused_facts *) noexcept nogil
        int (*stage_only)(const fused_shape *, int64_t, const int *, const int64_t *, void *, fused_facts *) noexcept nogil
        int64_t (*residual)(int64_t, int64_t, const int *, const int *, const int *, int, int, int, int *) noexcept nogil
    const fused_isa *fused_select(const char *)

FUSED_WORDS = sizeof(fused_shape) // sizeof(int64_t)


def instruction_set(name=None):
    """Return (name, output channels per weight panel) of the best set here, or the named one; None if there is none."""
    cdef bytes wanted = (name or "").encode()
    cdef const char *text = wanted
    cdef const fused_isa *isa = fused_select(text if name else NULL)
    return None if isa == NULL else (isa.name.decode(), isa.block)


def fused(str name, const int64_t[::1] shape, const unsigned char[::1] x, const unsigned char[::1] w,
          const int[::1] offset, const int64_t[::1] stage, unsigned char[::1] y):
    """Fill y and return (saturated, least, most); all sizes are checked by the caller, all arrays passed as bytes."""
    cdef bytes wanted = name.encode()
    cdef const char *text = wanted
    cdef const fused_isa *isa = fused_select(text)
    cdef fused_facts facts
    cdef int failed
    facts.saturated, facts.least, facts.most = 0, INT64_MAX, INT64_MIN
    with nogil:
        failed = isa.run(<const fused_shape *>&shape[0], &x[0], &w[0], &offset[0], &stage[0], &y[0], &facts)
    if failed:
        raise MemoryError("fused layer")
    return facts.saturated, facts.least, facts.most


def stage_only(str name, const int64_t[::1] shape, int64_t count, const int[::1] x, const int64_t[::1] stage,
               unsigned char[::1] y):
    """Fill y with the output stage of ``count`` pixels and return how many values saturated."""
    cdef bytes wanted = name.encode()
    cdef const char *text = wanted
    cdef const fused_isa *isa = fused_select(text)
    cdef fused_facts facts
    cdef int failed
    facts.saturated, facts.least, facts.most = 0, INT64_MAX, INT64_MIN
    with nogil:
        failed = isa.stage_only(<const fused_shape *>&shape[0], count, &x[0], &stage[0], &y[0], &facts)
    if failed:
        raise MemoryError("output stage")
    return facts.saturated


def residual(str name, int64_t count, int64_t K, const int[::1] p, const int[::1] q, const int[::1] numbers,
             int low, int high, bint relu, int[::1] y):
    """Fill y with the end of a residual addition and return how many values saturated."""
    cdef bytes wanted = name.encode()
    cdef const char *text = wanted
    cdef const fused_isa *isa = fused_select(text)
    cdef int64_t saturated
    with nogil:
        saturated = isa.residual(count, K, &p[0], &q[0], &numbers[0], low, high, relu, &y[0])
    return saturated


cdef extern from "toggles.h" nogil:
    ctypedef struct toggles_shape:
        pass
    ctypedef struct toggles_datapath:
        pass
    ctypedef int toggles_loop(const toggles_shape *, const toggles_datapath *, const void *, const void *, const int *, const void *, int64_t *) noexcept nogil
    ctypedef struct toggles_isa:
        const char *name
        int size
        void (*bytes)(const toggles_shape *, const unsigned char *, const unsigned char *, const int *, const unsigned short *, int64_t *) noexcept nogil
        toggles_loop *steps32
        toggles_loop *steps64
    const toggles_isa *toggles_select(const char *)
    int SHARE

TOGGLES_SHARE = SHARE
TOGGLES_SHAPE_WORDS = sizeof(toggles_shape) // sizeof(int64_t)
TOGGLES_DATAPATH_WORDS = sizeof(toggles_datapath) // sizeof(int)  # without the tree's registers


def toggles_instruction_set(name=None):
    """Return (name, bytes per vector) of the best set here, or the named one; None if there is none."""
    cdef bytes wanted = (name or "").encode()
    cdef const char *text = wanted
    cdef const toggles_isa *isa = toggles_select(text if name else NULL)
    return None if isa == NULL else (isa.name.decode(), isa.size)


def toggles_steps(str name, bint wide, const int64_t[::1] shape, const int[::1] datapath,
                  const unsigned char[::1] x, const unsigned char[::1] w, const int[::1] offset,
                  const unsigned char[::1] initial, int64_t[::1] counts):
    """Add to counts what changes in any datapath's registers; all sizes are checked by the caller."""
    cdef bytes wanted = name.encode()
    cdef const char *text = wanted
    cdef const toggles_isa *isa = toggles_select(text)
    cdef toggles_loop *run = isa.steps64 if wide else isa.steps32
    cdef int failed
    with nogil:
        failed = run(<const toggles_shape *>&shape[0], <const toggles_datapath *>&datapath[0], &x[0], &w[0],
                     &offset[0], &initial[0], &counts[0])
    if failed:
        raise MemoryError("toggles")


def toggles_bytes(str name, const int64_t[::1] shape, const unsigned char[::1] x, const unsigned char[::1] w,
                  const int[::1] offset, const unsigned short[::1] initial, int64_t[::1] counts):
    """Add to counts what changes in 8-bit distances and 32-bit sums; the caller has proved that these hold all."""
    cdef bytes wanted = name.encode()
    cdef const char *text = wanted
    cdef const toggles_isa *isa = toggles_select(text)
    with nogil:
        isa.bytes(<const toggles_shape *>&shape[0], &x[0], &w[0], &offset[0], &initial[0], &counts[0])
