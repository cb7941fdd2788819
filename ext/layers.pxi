# Layers, output stages, residual additions and pooling: each is a step, ready to be made or to be put into a program.

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
