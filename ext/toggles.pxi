# Bits that change in the registers of a datapath.

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
