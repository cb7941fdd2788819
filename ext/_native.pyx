"""The doors to the C loops, one per topic: buffers and shapes go in, the GIL is released. No policy here."""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport strchr

include "words.pxi"
include "layers.pxi"
include "replay.pxi"
include "numbers.pxi"
include "toggles.pxi"
include "float_training.pxi"
