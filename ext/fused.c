#include "fused.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

/* Loads of any alignment; compilers make one broadcast of each. */
static inline int64_t eight(const void *p) {
    int64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline int32_t four(const void *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

#define NAME(x) x##_sse2
#define V __m128i
#define LANES64 2
#define V_LOAD(p) _mm_loadu_si128((const __m128i *)(p))
#define V_ZERO() _mm_setzero_si128()
#define V_PAIR(p) _mm_set1_epi64x(eight(p))
#define V_WORD(p) _mm_set1_epi32(four(p))
#define V_SAD _mm_sad_epu8
#define V_ADD64 _mm_add_epi64
#define V_MADD _mm_madd_epi16
#define V_ADD32 _mm_add_epi32
#define V_NARROW(a, b) _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), 0x88))
#define V_STORE(p, v) _mm_storeu_si128((__m128i *)(p), v)
#include "fused_kernel.h"

#pragma GCC push_options
#pragma GCC target("avx2")
#define NAME(x) x##_avx2
#define V __m256i
#define LANES64 4
#define V_LOAD(p) _mm256_loadu_si256((const __m256i *)(p))
#define V_ZERO() _mm256_setzero_si256()
#define V_PAIR(p) _mm256_set1_epi64x(eight(p))
#define V_WORD(p) _mm256_set1_epi32(four(p))
#define V_SAD _mm256_sad_epu8
#define V_ADD64 _mm256_add_epi64
#define V_MADD _mm256_madd_epi16
#define V_ADD32 _mm256_add_epi32
#define V_NARROW(a, b) _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88))
#define V_STORE(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#include "fused_kernel.h"
#pragma GCC pop_options

static const fused_isa isas[] = {
    {"avx2", 8, run_avx2, stage_only_avx2, residual_avx2},
    {"sse2", 4, run_sse2, stage_only_sse2, residual_sse2},
};
enum { ISAS = 2 };

static int runs_here(const fused_isa *isa) { return isa != &isas[0] || __builtin_cpu_supports("avx2"); }

#else

static const fused_isa isas[1];
enum { ISAS = 0 };

static int runs_here(const fused_isa *isa) { return isa == 0; }

#endif

const fused_isa *fused_select(const char *name) {
    for (int i = 0; i < ISAS; i++)
        if (runs_here(&isas[i]) && (!name || strcmp(name, isas[i].name) == 0))
            return &isas[i];
    return 0;
}
