/* Everything that depends on vectors, once per instruction set. Before each inclusion isa.c defines NAME(x), BYTES of
 * a vector, SAD(a, b): per 64 bits the sum of byte distances, PAIRS(a, b): per 32 bits the sum of two 16-bit products,
 * EVENS(a, b): the low halves of all 64-bit lanes, 128 bits of a, of b, of a, ..., STORE8(p, v): the low bytes of v,
 * MIN16, MAX16, MIN32, MAX32(a, b) */

#define BLOCK (BYTES / 4) /* output channels of one panel */

typedef int64_t NAME(v64) __attribute__((vector_size(BYTES)));
typedef int32_t NAME(v32) __attribute__((vector_size(BYTES)));
typedef int16_t NAME(v16) __attribute__((vector_size(BYTES)));
typedef uint16_t NAME(u16s) __attribute__((vector_size(BYTES / 2)));
#define V64 NAME(v64)
#define V32 NAME(v32)
#define V16 NAME(v16)

static inline V64 NAME(load)(const void *p) {
    V64 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline V32 NAME(words)(const int32_t *p) {
    V32 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline V32 NAME(row)(const int32_t *constants, int row) {
    return NAME(words)(constants + row * BLOCK);
}

static inline V64 NAME(eight)(const void *p) {
    int64_t v;
    memcpy(&v, p, sizeof v);
    return (V64){0} + v;
}

static inline V16 NAME(four)(const void *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return (V16)((V32){0} + v);
}

static INLINE V32 NAME(smaller32)(V32 a, V32 b) {
    return MIN32(a, b);
}
static INLINE V32 NAME(larger32)(V32 a, V32 b) {
    return MAX32(a, b);
}
static INLINE V16 NAME(smaller16)(V16 a, V16 b) {
    return MIN16(a, b);
}
static INLINE V16 NAME(larger16)(V16 a, V16 b) {
    return MAX16(a, b);
}
static INLINE V64 NAME(smaller64)(V64 a, V64 b) {
    return BLEND(a < b, a, b);
}
static INLINE V64 NAME(larger64)(V64 a, V64 b) {
    return BLEND(a > b, a, b);
}

#ifdef PORTABLE
typedef uint8_t NAME(u8s) __attribute__((vector_size(BYTES)));
typedef uint64_t NAME(u64s) __attribute__((vector_size(BYTES)));

static inline V64 NAME(sad_of)(V64 a, V64 b) {
    const NAME(u8s) x = (NAME(u8s))a, w = (NAME(u8s))b, less = (NAME(u8s))(x < w);
    NAME(u64s) d = (NAME(u64s))(((x - w) & ~less) | ((w - x) & less));
    d = (d & 0x00ff00ff00ff00ff) + ((d >> 8) & 0x00ff00ff00ff00ff);
    d = (d & 0x0000ffff0000ffff) + ((d >> 16) & 0x0000ffff0000ffff);
    return (V64)((d & 0xffffffff) + (d >> 32));
}

static inline V32 NAME(pairs_of)(V16 a, V16 b) {
    const V32 x = (V32)a, w = (V32)b;
    return ((x << 16) >> 16) * ((w << 16) >> 16) + (x >> 16) * (w >> 16);
}
#endif

static inline V64 NAME(sad)(V64 a, V64 b) {
    return SAD(a, b);
}
static inline V32 NAME(pairs)(V16 a, V16 b) {
    return PAIRS(a, b);
}
static inline V32 NAME(narrow)(V64 a, V64 b) {
    return EVENS((V32)a, (V32)b);
}

static inline void NAME(store8)(char *p, V32 v) {
    STORE8(p, v);
}

/* Codes of one whole tile; `signs`: -128 .. 127, else 0 .. 255 */
static inline void NAME(store_tile)(char *y, int64_t stride, const V32 r[TILE], int signs) {
#ifdef STORE_TILE
    STORE_TILE(y, stride, r, signs);
#else
    (void)signs;
    for (int i = 0; i < TILE; i++)
        NAME(store8)(y + i * stride, r[i]);
#endif
}

#include "sums_kernel.h"

#include "stage_kernel.h"

#define LANE(x) NAME(x##_16)
#define NARROW(x) NAME(x##16)
#define WIDE(x) NAME(x##32)
#define L int16_t
#define A int32_t
#define X int16_t
#include "lanes_kernel.h"

#define LANE(x) NAME(x##_32)
#define NARROW(x) NAME(x##32)
#define WIDE(x) NAME(x##32)
#define L int32_t
#define A int32_t
#define X int32_t
#include "lanes_kernel.h"

#define LANE(x) NAME(x##_64)
#define NARROW(x) NAME(x##64)
#define WIDE(x) NAME(x##64)
#define L int64_t
#define A int64_t
#define X int32_t
#include "lanes_kernel.h"

#include "copy_kernel.h"

#include "run_kernel.h"

#include "pointwise_kernel.h"

#undef V64
#undef V32
#undef V16
#undef NAME
#undef BYTES
#undef BLOCK
#undef SAD
#undef PAIRS
#undef EVENS
#undef STORE8
#undef STORE_TILE
#undef MIN16
#undef MAX16
#undef MIN32
#undef MAX32
