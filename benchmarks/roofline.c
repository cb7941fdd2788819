/* The core's own limit: twelve independent chains of the two or three instructions that one vector of taps costs,
 * in registers, nothing loaded. Returns nothing; whoever calls it takes the time. */
#include <immintrin.h>
#include <stdint.h>

#define CHAINS(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define KEEP(i) __asm__ volatile("" : "+x"(a##i));

#define LIMIT(name, isa, V, step)                                   \
    __attribute__((target(isa), noinline)) void name(int64_t turns) { \
        V x = {1}, w = {2}, one = {3}, CHAIN_NAMES;                    \
        __asm__ volatile("" : "+x"(x), "+x"(w), "+x"(one));            \
        for (int64_t t = 0; t < turns; t++) {                          \
            CHAINS(step)                                               \
        }                                                              \
        CHAINS(KEEP)                                                   \
    }
#define CHAIN_NAMES a0 = {0}, a1 = {0}, a2 = {0}, a3 = {0}, a4 = {0}, a5 = {0}, a6 = {0}, a7 = {0}, a8 = {0}, a9 = {0}, a10 = {0}, a11 = {0}

/* inline assembly, or the compiler would take the invariant distance out of the loop */
#define DISTANCE8_AVX2(i) { __m256i d; __asm__ volatile("vpsadbw %2, %1, %0" : "=x"(d) : "x"(x), "x"(w)); __asm__ volatile("vpaddq %1, %0, %0" : "+x"(a##i) : "x"(d)); }
#define MAXIMA16_AVX2(i) { __m256i d; __asm__ volatile("vpmaxsw %2, %1, %0\n\tvpmaddwd %3, %0, %0" : "=&x"(d) : "x"(x), "x"(w), "x"(one)); __asm__ volatile("vpaddd %1, %0, %0" : "+x"(a##i) : "x"(d)); }
#define DISTANCE8_SSE2(i) { __m128i d = x; __asm__ volatile("psadbw %1, %0" : "+x"(d) : "x"(w)); __asm__ volatile("paddq %1, %0" : "+x"(a##i) : "x"(d)); }
#define MAXIMA16_SSE2(i) { __m128i d = x; __asm__ volatile("pmaxsw %1, %0\n\tpmaddwd %2, %0" : "+x"(d) : "x"(w), "x"(one)); __asm__ volatile("paddd %1, %0" : "+x"(a##i) : "x"(d)); }

#define DISTANCE8_AVX512(i) { __m512i d; __asm__ volatile("vpsadbw %2, %1, %0" : "=v"(d) : "v"(x), "v"(w)); __asm__ volatile("vpaddq %1, %0, %0" : "+v"(a##i) : "v"(d)); }
#define MAXIMA16_AVX512(i) { __m512i d; __asm__ volatile("vpmaxsw %2, %1, %0\n\tvpmaddwd %3, %0, %0" : "=&v"(d) : "v"(x), "v"(w), "v"(one)); __asm__ volatile("vpaddd %1, %0, %0" : "+v"(a##i) : "v"(d)); }

/* 64 products and their sum in one instruction: what an int8 convolution may use, and no distance has */
#define PRODUCTS8_VNNI(i) __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(a##i) : "v"(x), "v"(w));

/* Float32: max(x, w) summed by a multiply-add; (a number clamped as an integer) * g summed; x * w summed */
#define FORWARD32_AVX512(i) { __m512i d; __asm__ volatile("vmaxps %2, %1, %0" : "=v"(d) : "v"(x), "v"(w)); __asm__ volatile("vfmadd231ps %2, %1, %0" : "+v"(a##i) : "v"(d), "v"(one)); }
#define CLIPPED32_AVX512(i) { __m512i d; __asm__ volatile("vpmaxsd %2, %1, %0\n\tvpminsd %3, %0, %0" : "=&v"(d) : "v"(x), "v"(w), "v"(one)); __asm__ volatile("vfmadd231ps %2, %1, %0" : "+v"(a##i) : "v"(d), "v"(one)); }
#define PRODUCTS32_AVX512(i) __asm__ volatile("vfmadd231ps %2, %1, %0" : "+v"(a##i) : "v"(x), "v"(w));
#define FORWARD32_AVX2(i) { __m256i d; __asm__ volatile("vmaxps %2, %1, %0" : "=x"(d) : "x"(x), "x"(w)); __asm__ volatile("vfmadd231ps %2, %1, %0" : "+x"(a##i) : "x"(d), "x"(one)); }
#define CLIPPED32_AVX2(i) { __m256i d; __asm__ volatile("vpmaxsd %2, %1, %0\n\tvpminsd %3, %0, %0" : "=&x"(d) : "x"(x), "x"(w), "x"(one)); __asm__ volatile("vfmadd231ps %2, %1, %0" : "+x"(a##i) : "x"(d), "x"(one)); }
#define PRODUCTS32_AVX2(i) __asm__ volatile("vfmadd231ps %2, %1, %0" : "+x"(a##i) : "x"(x), "x"(w));

LIMIT(forward32_avx512, "avx512f", __m512i, FORWARD32_AVX512)
LIMIT(clipped32_avx512, "avx512f", __m512i, CLIPPED32_AVX512)
LIMIT(products32_avx512, "avx512f", __m512i, PRODUCTS32_AVX512)
LIMIT(forward32_avx2, "avx2,fma", __m256i, FORWARD32_AVX2)
LIMIT(clipped32_avx2, "avx2,fma", __m256i, CLIPPED32_AVX2)
LIMIT(products32_avx2, "avx2,fma", __m256i, PRODUCTS32_AVX2)
LIMIT(products8_avx512, "avx512f,avx512vnni", __m512i, PRODUCTS8_VNNI)
LIMIT(distance8_avx512, "avx512f,avx512bw", __m512i, DISTANCE8_AVX512)
LIMIT(maxima16_avx512, "avx512f,avx512bw", __m512i, MAXIMA16_AVX512)
LIMIT(distance8_avx2, "avx2", __m256i, DISTANCE8_AVX2)
LIMIT(maxima16_avx2, "avx2", __m256i, MAXIMA16_AVX2)
LIMIT(distance8_sse2, "sse2", __m128i, DISTANCE8_SSE2)
LIMIT(maxima16_sse2, "sse2", __m128i, MAXIMA16_SSE2)
