#include "layer.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 2") /* the loops below are short enough to be bound by their branch */

#define FRESH(p) __asm__("" : "+r"(p)) /* nothing read through p before is known */

enum { PIXELS = 2 };                                 /* that the lanes take side by side */
enum { TOGETHER, NEIGHBOURS, SCATTERED };            /* how x lies for the lanes of a panel */
enum { ANY, MAGNITUDE, NARROW_DIFFERENCE, PRODUCT }; /* what is known of the lanes' leaves */

/* a where m is set, else b; masks come from comparisons */
#define BLEND(m, a, b) (((a) & (m)) | ((b) & ~(m)))

/* portable: what the compiler makes of vectors of 16 bytes */
#define NAME(x) x##_portable
#define BYTES 16
#define SAD(a, b) NAME(sad_of)(a, b)
#define PAIRS(a, b) NAME(pairs_of)(a, b)
#define EVENS(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define STORE8(p, v)                                                                                                   \
    for (int k = 0; k < 4; k++)                                                                                        \
    (p)[k] = (char)(v)[k]
#define MIN16(a, b) BLEND((a) < (b), a, b)
#define MAX16(a, b) BLEND((a) > (b), a, b)
#define MIN32(a, b) BLEND((a) < (b), a, b)
#define MAX32(a, b) BLEND((a) > (b), a, b)
#define PORTABLE
#include "isa_kernel.h"
#undef PORTABLE

#if defined(__x86_64__)
#define NAME(x) x##_sse2
#define BYTES 16
#define SAD(a, b) (V64) _mm_sad_epu8((__m128i)(a), (__m128i)(b))
#define PAIRS(a, b) (V32) _mm_madd_epi16((__m128i)(a), (__m128i)(b))
#define EVENS(a, b) (V32) _mm_shuffle_ps((__m128)(a), (__m128)(b), 0x88)
#define STORE8(p, v)                                                                                                   \
    {                                                                                                                  \
        const __m128i bytes = _mm_and_si128((__m128i)(v), _mm_set1_epi32(255));                                        \
        const __m128i halves = _mm_packs_epi32(bytes, bytes);                                                          \
        const int32_t word = _mm_cvtsi128_si32(_mm_packus_epi16(halves, halves));                                      \
        memcpy(p, &word, sizeof word); /* which may lie anywhere */                                                    \
    }
#define MIN16(a, b) (V16) _mm_min_epi16((__m128i)(a), (__m128i)(b))
#define MAX16(a, b) (V16) _mm_max_epi16((__m128i)(a), (__m128i)(b))
#define MIN32(a, b) BLEND((a) < (b), a, b)
#define MAX32(a, b) BLEND((a) > (b), a, b)
#include "isa_kernel.h"

#pragma GCC push_options
#pragma GCC target("avx2")
#define NAME(x) x##_avx2
#define BYTES 32
#define SAD(a, b) (V64) _mm256_sad_epu8((__m256i)(a), (__m256i)(b))
#define PAIRS(a, b) (V32) _mm256_madd_epi16((__m256i)(a), (__m256i)(b))
#define EVENS(a, b) (V32) _mm256_shuffle_ps((__m256)(a), (__m256)(b), 0x88)
#define STORE8(p, v)                                                                                                   \
    {                                                                                                                  \
        const __m256i bytes = _mm256_and_si256((__m256i)(v), _mm256_set1_epi32(255));                                  \
        const __m128i halves = _mm_packus_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));    \
        _mm_storel_epi64((__m128i *)(void *)(p), _mm_packus_epi16(halves, halves));                                    \
    }
#define STORE_TILE(y, stride, r, signs) six_as_bytes_avx2(y, stride, (const __m256i *)(r), signs)

/* 8 words of 4 pixels each, in -128 .. 127 or 0 .. 255, as bytes: pixel after pixel */
static inline __m256i bytes_of_avx2(__m256i a, __m256i b, __m256i c, __m256i d, int signs) {
    const __m256i first = _mm256_packs_epi32(a, b), second = _mm256_packs_epi32(c, d);
    const __m256i mixed = signs ? _mm256_packs_epi16(first, second) : _mm256_packus_epi16(first, second);
    return _mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

static inline void six_as_bytes_avx2(char *y, int64_t stride, const __m256i r[TILE], int signs) {
    const __m256i a = bytes_of_avx2(r[0], r[1], r[2], r[3], signs), b = bytes_of_avx2(r[4], r[5], r[4], r[5], signs);
    const __m128i low = _mm256_castsi256_si128(a), high = _mm256_extracti128_si256(a, 1),
                  rest = _mm256_castsi256_si128(b);
    _mm_storel_epi64((__m128i *)(void *)y, low);
    _mm_storeh_pi((__m64 *)(void *)(y + stride), (__m128)low);
    _mm_storel_epi64((__m128i *)(void *)(y + 2 * stride), high);
    _mm_storeh_pi((__m64 *)(void *)(y + 3 * stride), (__m128)high);
    _mm_storel_epi64((__m128i *)(void *)(y + 4 * stride), rest);
    _mm_storeh_pi((__m64 *)(void *)(y + 5 * stride), (__m128)rest);
}
#define MIN16(a, b) (V16) _mm256_min_epi16((__m256i)(a), (__m256i)(b))
#define MAX16(a, b) (V16) _mm256_max_epi16((__m256i)(a), (__m256i)(b))
#define MIN32(a, b) (V32) _mm256_min_epi32((__m256i)(a), (__m256i)(b))
#define MAX32(a, b) (V32) _mm256_max_epi32((__m256i)(a), (__m256i)(b))
#include "isa_kernel.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw")
#define NAME(x) x##_avx512
#define BYTES 64
#define SAD(a, b) (V64) _mm512_sad_epu8((__m512i)(a), (__m512i)(b))
#define PAIRS(a, b) (V32) _mm512_madd_epi16((__m512i)(a), (__m512i)(b))
#define EVENS(a, b) (V32) _mm512_shuffle_ps((__m512)(a), (__m512)(b), 0x88)
#define STORE8(p, v) _mm_storeu_si128((__m128i *)(void *)(p), _mm512_cvtepi32_epi8((__m512i)(v)))
#define MIN16(a, b) (V16) _mm512_min_epi16((__m512i)(a), (__m512i)(b))
#define MAX16(a, b) (V16) _mm512_max_epi16((__m512i)(a), (__m512i)(b))
#define MIN32(a, b) (V32) _mm512_min_epi32((__m512i)(a), (__m512i)(b))
#define MAX32(a, b) (V32) _mm512_max_epi32((__m512i)(a), (__m512i)(b))
#include "isa_kernel.h"
#pragma GCC pop_options
#endif

#if defined(__aarch64__)
#define NAME(x) x##_neon
#define BYTES 16
#define SAD(a, b) (V64) vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(vabdq_u8((uint8x16_t)(a), (uint8x16_t)(b)))))
#define PAIRS(a, b)                                                                                                    \
    (V32) vpaddq_s32(vmull_s16(vget_low_s16((int16x8_t)(a)), vget_low_s16((int16x8_t)(b))),                            \
                     vmull_high_s16((int16x8_t)(a), (int16x8_t)(b)))
#define EVENS(a, b) vuzp1q_s32(a, b)
#define STORE8(p, v)                                                                                                   \
    {                                                                                                                  \
        const int16x4_t halves = vmovn_s32(v);                                                                         \
        const int8x8_t bytes = vmovn_s16(vcombine_s16(halves, halves));                                                \
        memcpy(p, &bytes, 4);                                                                                          \
    }
#define MIN16(a, b) vminq_s16(a, b)
#define MAX16(a, b) vmaxq_s16(a, b)
#define MIN32(a, b) vminq_s32(a, b)
#define MAX32(a, b) vmaxq_s32(a, b)
#include "isa_kernel.h"
#endif

/* Best first */
static const isa sets[] = {
#if defined(__x86_64__)
    {"avx512", 64, run_avx512, stage_avx512, residual_avx512},
    {"avx2", 32, run_avx2, stage_avx2, residual_avx2},
    {"sse2", 16, run_sse2, stage_sse2, residual_sse2},
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
