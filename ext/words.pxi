# Arrays of integers of any width, as C reads them.

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
