"""The door to the C loops: buffers and shapes go in, the GIL is released. No policy here."""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport strchr

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


cdef extern from "output.h" nogil:
    ctypedef struct fx_register:
        pass
    int64_t output_scale(int64_t, int64_t, const int64_t *, const int64_t *, const int64_t *, const int64_t *,
                         fx_register, fx_register, int, int64_t *)
    int64_t output_finish(int64_t, int64_t, const int64_t *, const int64_t *, int, int64_t, int64_t, int, int64_t *)


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


cdef extern from "layer.h" nogil:
    ctypedef struct layer_plan:
        pass
    ctypedef struct layer:
        const layer_plan *plan
        const void *w
        const int *at
        const int *w_sum
        const int *constants
        const int64_t *initial
        const int64_t *numbers
    ctypedef struct layer_images:
        int64_t N, H, W, P, Q
        int x_type, y_type
    ctypedef struct layer_facts:
        int64_t saturated, overflows, least, most
        int64_t events[5]
    ctypedef struct isa:
        const char *name
        int bytes
    const isa *isa_select(const char *)

cdef extern from "images.h" nogil:
    ctypedef struct pool_shape:
        pass
    int64_t images_quantise(const void *, int, int64_t, int64_t, int64_t, double, int64_t, int64_t, int64_t, void *, int)

cdef extern from "steps.h" nogil:
    cdef enum: STEP_LAYER, STEP_STAGE, STEP_RESIDUAL, STEP_MAX_POOL, STEP_SUM_POOL, STEP_FLATTEN
    ctypedef struct step:
        int kind, x_type, y_type
        const void *x
        void *y
        const isa *isa
        const layer *layer
        layer_images images
        int64_t pixels, K
        const int *other
        const int *numbers
        int low, high, relu
        const pool_shape *pool
        const int64_t *factor
        int64_t padding
    int steps_run(const step *, int64_t, layer_facts *)

PLAN_WORDS = sizeof(layer_plan) // sizeof(int64_t)


def instruction_set(name=None):
    """Return (name, bytes of a vector) of the best set here, or of the named one; None if there is none."""
    cdef bytes wanted = (name or "").encode()
    cdef const char *text = wanted
    cdef const isa *found = isa_select(text if name else NULL)
    return None if found == NULL else (found.name.decode(), found.bytes)


cdef int word_type(Py_ssize_t size, char code) noexcept:
    if size >= 4:
        return 4 if size == 4 else 5
    return (0 if size == 1 else 2) + (code == b"b" or code == b"h")


@cython.freelist(8)
cdef class Words:
    """A contiguous array of integers (or reals) of any width: where it lies, and its type in the order of layer.h."""

    cdef Py_buffer view
    cdef int type
    cdef bint held

    def __cinit__(self, array, bint writable=False, bint real=False):
        PyObject_GetBuffer(array, &self.view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if writable else 0))
        self.held = True
        cdef const char *codes = b"fd" if real else b"bBhHiIlLqQ?"
        if strchr(codes, self.view.format[0]) == NULL or <size_t>self.view.buf % self.view.itemsize:
            raise BufferError("expected aligned words in the order of this processor")
        self.type = word_type(self.view.itemsize, self.view.format[0])

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


cdef class Layer:
    """A layer laid out for a set of instructions; it keeps the arrays that C reads. All sizes are the caller's."""

    cdef layer c
    cdef const isa *isa
    cdef tuple kept

    def __init__(self, str name, const int64_t[::1] plan, const unsigned char[::1] w, const int[:, ::1] at,
                 const int[::1] w_sum, const int[::1] constants, const int64_t[::1] initial, const int64_t[::1] numbers):
        cdef bytes wanted = name.encode()
        self.isa = isa_select(wanted)
        self.kept = (plan, w, at, w_sum, constants, initial, numbers)
        self.c.plan, self.c.w, self.c.at = <const layer_plan *>&plan[0], &w[0], &at[0, 0]
        self.c.w_sum, self.c.constants = &w_sum[0], &constants[0]
        self.c.initial, self.c.numbers = &initial[0], &numbers[0]

    def run(self, x, y):
        """Return the step that fills y_npqk from x_nhwc."""
        cdef Step found = new_step(STEP_LAYER, self.isa, x, y)
        cdef const Py_ssize_t *s = found.from_.view.shape
        cdef const Py_ssize_t *t = found.to.view.shape
        found.c.images = layer_images(s[0], s[1], s[2], t[1], t[2], found.c.x_type, found.c.y_type)
        found.c.layer, found.kept = &self.c, (self,)
        return found

    def stage(self, x, y, int64_t pixels):
        """Return the step that fills y with the output stage of x."""
        cdef Step found = new_step(STEP_STAGE, self.isa, x, y)
        found.c.pixels, found.c.layer, found.kept = pixels, &self.c, (self,)
        return found


@cython.freelist(8)
cdef class Step:
    """One call of the core, ready to be made: where it reads and writes. It keeps the arrays that C needs."""

    cdef step c
    cdef Words from_, to
    cdef tuple kept

    def run(self):
        """Make the call and return (saturated, overflows, (least, most), events or None)."""
        cdef layer_facts f
        cdef int failed
        with nogil:
            failed = steps_run(&self.c, 1, &f)
        if failed:
            raise MemoryError("layer")
        cdef tuple events = None
        if f.events[0] | f.events[1] | f.events[2] | f.events[3] | f.events[4]:
            events = (f.events[0], f.events[1], f.events[2], f.events[3], f.events[4])
        return f.saturated, f.overflows, (f.least, f.most), events


cdef Step new_step(int kind, const isa *set_, x, y):
    cdef Step found = Step()
    found.from_, found.to = Words(x), Words(y, True)
    found.c.kind, found.c.isa, found.c.x, found.c.y = kind, set_, found.from_.view.buf, found.to.view.buf
    found.c.x_type, found.c.y_type = found.from_.type, found.to.type
    return found


FACTS_WORDS = sizeof(layer_facts) // sizeof(int64_t)  # saturated, overflows, least, most, events


cdef class Program:
    """Steps that run one after another in one call."""

    cdef step *steps
    cdef int64_t count
    cdef tuple kept

    def __cinit__(self, steps):
        self.kept, self.count = tuple(steps), len(steps)
        self.steps = <step *>malloc(max(self.count, 1) * sizeof(step))
        if self.steps == NULL:
            raise MemoryError("program")
        for i in range(self.count):
            self.steps[i] = (<Step?>self.kept[i]).c

    def __dealloc__(self):
        free(self.steps)

    def run(self, int64_t[:, ::1] facts):
        """Run all steps; row i of facts is filled with those of step i."""
        cdef int failed
        with nogil:
            failed = steps_run(self.steps, self.count, <layer_facts *>&facts[0, 0])
        if failed:
            raise MemoryError("layer")


def residual(str name, int64_t pixels, int64_t K, const int[::1] p, const int[::1] q, const int[::1] numbers,
             int low, int high, bint relu, y):
    """Return the step that fills y with the end of a residual addition."""
    cdef bytes wanted = name.encode()
    cdef Step found = new_step(STEP_RESIDUAL, isa_select(wanted), p, y)
    found.c.pixels, found.c.K, found.c.other, found.c.numbers = pixels, K, &q[0], &numbers[0]
    found.c.low, found.c.high, found.c.relu, found.kept = low, high, relu, (q, numbers)
    return found


def max_pool(const int64_t[::1] shape, x_nhwc, y_npqc):
    """Return the step that fills y with the largest word of every window."""
    cdef Step found = new_step(STEP_MAX_POOL, NULL, x_nhwc, y_npqc)
    found.c.pool, found.kept = <const pool_shape *>&shape[0], (shape,)
    return found


def flatten(x_nhwc, y_nchw):
    """Return the step that fills y with the words of x, channels outermost."""
    cdef Step found = new_step(STEP_FLATTEN, NULL, x_nhwc, y_nchw)
    cdef const Py_ssize_t *s = found.from_.view.shape
    found.c.images.N, found.c.pixels, found.c.K = s[0], s[1] * s[2], s[3]
    return found


def sum_pool(const int64_t[::1] shape, x_nhwc, int64_t padding, const int64_t[:, ::1] factor_pq, y_npqc):
    """Return the step that fills y with the sum of every window times its factor."""
    cdef Step found = new_step(STEP_SUM_POOL, NULL, x_nhwc, y_npqc)
    found.c.pool, found.c.factor, found.c.padding = <const pool_shape *>&shape[0], &factor_pq[0, 0], padding
    found.kept = shape, factor_pq
    return found


def quantise(x_nchw, int64_t pixels, double step, int64_t zero, int64_t low, int64_t high, y_nhwc):
    """Fill y with clamp(rint(x / step) + zero) and return how many values met the clamp; x is float32 or float64."""
    cdef Words x = Words(x_nchw, False, True), y = Words(y_nhwc, True)
    cdef int64_t N = x.view.shape[0], C = x.view.shape[1], outside
    with nogil:
        outside = images_quantise(x.view.buf, x.view.itemsize == 8, N, C, pixels, step, zero, low, high, y.view.buf, y.type)
    return outside


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
