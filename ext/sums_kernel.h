/* Sums over a window for TILE pixels x one panel of BLOCK output channels, in 32-bit lanes; once per instruction set.
 * Beside each pixel lie its operands, 8 bytes or two 16-bit words a step, broadcast over the panel's channels. */

#define EACH(M) M(0) M(1) M(2) M(3) M(4) M(5)

/* Twelve accumulators, two weights, an operand and a distance: sixteen registers. No 64-bit lane can overflow. */
static INLINE void NAME(distances8)(const uint8_t *const x[TILE], const int32_t *offset, int64_t steps,
                                    const uint8_t *w, V32 sum[TILE]) {
#define DECLARE(i)                                                                                                     \
    V64 a##i = {0}, b##i = {0};                                                                                        \
    const uint8_t *const x##i = x[i];
    EACH(DECLARE)
#undef DECLARE
    UNROLL
    for (int64_t j = 0; j < steps; j++, w += 2 * BYTES) {
        const V64 first = NAME(load)(w), second = NAME(load)(w + BYTES);
#define STEP(i)                                                                                                        \
    {                                                                                                                  \
        const V64 v = NAME(eight)(x##i + offset[j]);                                                                   \
        a##i += NAME(sad)(v, first);                                                                                   \
        b##i += NAME(sad)(v, second);                                                                                  \
    }
        EACH(STEP)
#undef STEP
    }
#define KEEP(i) sum[i] = NAME(narrow)(a##i, b##i);
    EACH(KEEP)
#undef KEEP
}

/* sum |x - w| = 2 * sum max(x, w) - sum x - sum w; this is sum max(x, w), modulo 2^32 */
static INLINE void NAME(maxima16)(const uint8_t *const x[TILE], const int32_t *offset, int64_t steps, const uint8_t *w,
                                  V32 sum[TILE]) {
    const V16 one = (V16){0} + 1;
#define DECLARE(i)                                                                                                     \
    V32 a##i = {0};                                                                                                    \
    const uint8_t *const x##i = x[i];
    EACH(DECLARE)
#undef DECLARE
    UNROLL
    for (int64_t j = 0; j < steps; j++, w += BYTES) {
        const V16 weights = (V16)NAME(load)(w);
#define STEP(i) a##i += NAME(pairs)(NAME(larger16)(NAME(four)(x##i + offset[j]), weights), one);
        EACH(STEP)
#undef STEP
    }
#define KEEP(i) sum[i] = a##i;
    EACH(KEEP)
#undef KEEP
}

static INLINE void NAME(products16)(const uint8_t *const x[TILE], const int32_t *offset, int64_t steps,
                                    const uint8_t *w, V32 sum[TILE]) {
#define DECLARE(i)                                                                                                     \
    V32 a##i = {0};                                                                                                    \
    const uint8_t *const x##i = x[i];
    EACH(DECLARE)
#undef DECLARE
    UNROLL
    for (int64_t j = 0; j < steps; j++, w += BYTES) {
        const V16 weights = (V16)NAME(load)(w);
#define STEP(i) a##i += NAME(pairs)(NAME(four)(x##i + offset[j]), weights);
        EACH(STEP)
#undef STEP
    }
#define KEEP(i) sum[i] = a##i;
    EACH(KEEP)
#undef KEEP
}

/* Every `segment` steps make one tree sum, which is cut to tree_cap, rounded and cut to cut_cap before it is added.
 * missed[i]: where a cut changed a value, the tree's in bit 0, the requantisation's in bit 1. One pixel at a time. */
static inline V32 NAME(segments8)(const layer_plan *plan, const uint8_t *x, const int32_t *offset, const uint8_t *w,
                                  V32 *missed) {
    const rounding *r = &plan->segment_rounding;
    const V32 tree_cap = (V32){0} + (int32_t)plan->tree_cap, cut_cap = (V32){0} + (int32_t)plan->cut_cap;
    const V32 half = (V32){0} + (int32_t)r->half, odd = (V32){0} + (int32_t)r->odd;
    V32 acc = {0}, tree_missed = {0}, cut_missed = {0};
    for (int64_t j = 0; j < plan->steps;) {
        V64 a = {0}, b = {0};
        for (const int64_t end = j + plan->segment; j < end; j++, w += 2 * BYTES) {
            const V64 v = NAME(eight)(x + offset[j]);
            a += NAME(sad)(v, NAME(load)(w));
            b += NAME(sad)(v, NAME(load)(w + BYTES));
        }
        const V32 sum = NAME(narrow)(a, b), tree = NAME(smaller32)(sum, tree_cap);
        const V32 rounded = (tree + half + ((tree >> (int32_t)r->shift) & odd)) >> (int32_t)r->shift;
        const V32 cut = NAME(smaller32)(rounded, cut_cap);
        tree_missed |= sum ^ tree;
        cut_missed |= rounded ^ cut;
        acc += cut;
    }
    *missed = ((tree_missed != 0) & 1) | ((cut_missed != 0) & 2);
    return acc;
}

static inline void NAME(segments8_tile)(const layer_plan *plan, const uint8_t *const x[TILE], const int32_t *offset,
                                        const uint8_t *w, int64_t pixels, int64_t channels, V32 sum[TILE],
                                        layer_facts *facts) {
    for (int64_t i = 0; i < TILE; i++) {
        V32 missed;
        sum[i] = NAME(segments8)(plan, x[i], offset, w, &missed);
        for (int64_t k = 0; i < pixels && k < channels; k++) {
            facts->events[AT_TREE] += missed[k] & 1;
            facts->events[AT_CUT] += missed[k] >> 1;
        }
    }
}

#undef EACH
