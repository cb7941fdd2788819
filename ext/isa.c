#include "layer.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { TOGETHER, NEIGHBOURS, SCATTERED }; /* how x lies for the lanes of a panel */

/* portable: what the compiler makes of vectors of 16 bytes */
#define NAME(x) x##_portable
#define BYTES 16
#define SAD(a, b) NAME(sad_of)(a, b)
#define PAIRS(a, b) NAME(pairs_of)(a, b)
#define EVENS 0, 2, 4, 6
#define PORTABLE
#include "isa_kernel.h"
#undef PORTABLE

#if defined(__x86_64__)
#define NAME(x) x##_sse2
#define BYTES 16
#define SAD(a, b) (V64) _mm_sad_epu8((__m128i)(a), (__m128i)(b))
#define PAIRS(a, b) (V32) _mm_madd_epi16((__m128i)(a), (__m128i)(b))
#define EVENS 0, 2, 4, 6
#include "isa_kernel.h"

#pragma GCC push_options
#pragma GCC target("avx2")
#define NAME(x) x##_avx2
#define BYTES 32
#define SAD(a, b) (V64) _mm256_sad_epu8((__m256i)(a), (__m256i)(b))
#define PAIRS(a, b) (V32) _mm256_madd_epi16((__m256i)(a), (__m256i)(b))
#define EVENS 0, 2, 8, 10, 4, 6, 12, 14
#include "isa_kernel.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw")
#define NAME(x) x##_avx512
#define BYTES 64
#define SAD(a, b) (V64) _mm512_sad_epu8((__m512i)(a), (__m512i)(b))
#define PAIRS(a, b) (V32) _mm512_madd_epi16((__m512i)(a), (__m512i)(b))
#define EVENS 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30
#include "isa_kernel.h"
#pragma GCC pop_options
#endif

#if defined(__aarch64__)
#define NAME(x) x##_neon
#define BYTES 16
#define SAD(a, b) (V64) vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(vabdq_u8((uint8x16_t)(a), (uint8x16_t)(b)))))
#define PAIRS(a, b)                                                                                     \
    (V32) vpaddq_s32(vmull_s16(vget_low_s16((int16x8_t)(a)), vget_low_s16((int16x8_t)(b))),                \
                   vmull_high_s16((int16x8_t)(a), (int16x8_t)(b)))
#define EVENS 0, 2, 4, 6
#include "isa_kernel.h"
#endif

/* Best first. avx512 is compiled but only taken by name: it has not run on hardware yet. */
static const isa sets[] = {
#if defined(__x86_64__)
    {"avx2", 32, run_avx2, stage_avx2, residual_avx2},
    {"sse2", 16, run_sse2, stage_sse2, residual_sse2},
    {"avx512", 64, run_avx512, stage_avx512, residual_avx512},
#elif defined(__aarch64__)
    {"neon", 16, run_neon, stage_neon, residual_neon},
#endif
    {"portable", 16, run_portable, stage_portable, residual_portable},
};

static int runs_here(const char *name) {
#if defined(__x86_64__)
    if (strcmp(name, "avx2") == 0)
        return __builtin_cpu_supports("avx2") != 0;
    if (strcmp(name, "avx512") == 0)
        return __builtin_cpu_supports("avx512bw") != 0;
#endif
    return name != 0;
}

const isa *isa_select(const char *name) {
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (runs_here(sets[i].name) && (!name || strcmp(name, sets[i].name) == 0))
            return &sets[i];
    return 0;
}
