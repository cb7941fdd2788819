#include "toggles.h"

#include <stdlib.h>
#include <string.h>

/* portable: what the compiler makes of vectors of 16 bytes; that is SSE2 on x86-64 and NEON on aarch64 */
#define NAME(x) x##_portable
#define LANES 16
#include "toggles_kernel.h"

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,popcnt")
#define NAME(x) x##_avx2
#define LANES 32
#include "toggles_kernel.h"
#pragma GCC pop_options
#endif

static const toggles_isa isas[] = {
#if defined(__x86_64__)
    {"avx2", 32, bytes_avx2, steps32_avx2, steps64_avx2},
    {"sse2", 16, bytes_portable, steps32_portable, steps64_portable},
#elif defined(__aarch64__)
    {"neon", 16, bytes_portable, steps32_portable, steps64_portable},
#endif
    {"portable", 16, bytes_portable, steps32_portable, steps64_portable},
};

static int runs_here(const toggles_isa *isa) {
#if defined(__x86_64__)
    if (isa == &isas[0])
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
#endif
    return isa->size == 16;
}

const toggles_isa *toggles_select(const char *name) {
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        if (runs_here(&isas[i]) && (!name || strcmp(name, isas[i].name) == 0))
            return &isas[i];
    return 0;
}
