# A network on images of one shape: its steps, run one after another in one call.

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
