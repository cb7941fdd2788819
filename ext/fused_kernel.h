/* The fused layer, once per instruction set. Before each inclusion fused.c defines NAME(x), the vector type V and:
 * LANES64      64-bit lanes of V; a weight panel holds 2 * LANES64 output channels
 * V_LOAD(p) V_ZERO() V_PAIR(p): load, zero, broadcast of 8 bytes; V_WORD(p): broadcast of 4 bytes
 * V_SAD V_ADD64 V_MADD V_ADD32: sum of byte distances, additions, products of 16-bit pairs
 * V_NARROW(a, b): the low halves of all 64-bit lanes of a, then b, 128 bits at a time; V_STORE(p, v)
 * Twelve accumulators, two weights and one operand fill sixteen registers. */

#define BLOCK (2 * LANES64)

#define EACH(M) M(0) M(1) M(2) M(3) M(4) M(5)

static void NAME(distances)(const uint8_t *const x[TILE], const int32_t *offset, int64_t steps, const uint8_t *w,
                            int32_t *sum) {
#define DECLARE(i) V a##i = V_ZERO(), b##i = V_ZERO();
    EACH(DECLARE)
#undef DECLARE
    for (int64_t j = 0; j < steps; j++, w += 8 * BLOCK) {
        const V first = V_LOAD(w), second = V_LOAD(w + 4 * BLOCK);
#define STEP(i) { const V v = V_PAIR(x[i] + offset[j]); a##i = V_ADD64(a##i, V_SAD(v, first)); b##i = V_ADD64(b##i, V_SAD(v, second)); }
        EACH(STEP)
#undef STEP
    }
#define KEEP(i) V_STORE(sum + i * BLOCK, V_NARROW(a##i, b##i));
    EACH(KEEP)
#undef KEEP
}

static void NAME(products)(const int16_t *const x[TILE], const int32_t *offset, int64_t steps, const int16_t *w,
                           int32_t *sum) {
#define DECLARE(i) V a##i = V_ZERO();
    EACH(DECLARE)
#undef DECLARE
    for (int64_t j = 0; j < steps; j++, w += 2 * BLOCK) {
        const V weights = V_LOAD(w);
#define STEP(i) a##i = V_ADD32(a##i, V_MADD(V_WORD(x[i] + offset[j]), weights));
        EACH(STEP)
#undef STEP
    }
#define KEEP(i) V_STORE(sum + i * BLOCK, a##i);
    EACH(KEEP)
#undef KEEP
}

/* y = clamp((t * m + a + half) >> n), t = +-acc - b, for one pixel; plain C that the compiler vectorises */
#define STAGE(word, name)                                                                                           \
    static void NAME(name)(const fused_shape *s, int64_t K, const int32_t *restrict acc, const word *restrict b,     \
                           const word *restrict m, const word *restrict a, const word *restrict half,                \
                           const word *restrict n, word *restrict y, fused_facts *facts) {                           \
        const word low = (word)s->low, high = (word)s->high, sign = s->negate ? -1 : 1;                              \
        const word floor = s->relu ? (word)((word)1 << (8 * sizeof(word) - 2)) * -2 : low;                           \
        int32_t least = INT32_MAX, most = INT32_MIN;                                                                 \
        word cut = 0;                                                                                                \
        for (int64_t k = 0; k < K; k++) {                                                                            \
            least = acc[k] < least ? acc[k] : least;                                                                 \
            most = acc[k] > most ? acc[k] : most;                                                                    \
            const word p = (sign * (word)acc[k] - b[k]) * m[k] + a[k];                                               \
            const word r = (word)(p + half[k]) >> n[k];                                                              \
            cut += (r > high) + (r < floor);                                                                         \
            const word c = r < low ? low : r > high ? high : r;                                                      \
            y[k] = s->finish ? c : p;                                                                                \
        }                                                                                                            \
        facts->saturated += s->finish ? cut : 0;                                                                     \
        facts->least = least < facts->least ? least : facts->least;                                                  \
        facts->most = most > facts->most ? most : facts->most;                                                       \
    }
STAGE(int32_t, stage32)
STAGE(int64_t, stage64)
#undef STAGE

/* All output channels of up to TILE neighbouring pixels of one output row, into acc (TILE x channels) */
static void NAME(tile)(const fused_shape *s, const char *first, int64_t step, const char *w, const int32_t *offset,
                       int64_t pixels, int32_t *acc) {
    const int64_t panels = (s->K + BLOCK - 1) / BLOCK, panel = s->steps * (s->is_adder ? 8 : 4) * BLOCK;
    const int64_t width = s->is_adder ? 1 : 2, channels = s->groups * s->K;
    int32_t sum[TILE * BLOCK];
    for (int64_t g = 0; g < s->groups; g++)
        for (int64_t block = 0; block < panels; block++, w += panel) {
            const void *x[TILE];
            for (int64_t i = 0; i < TILE; i++) /* short tiles repeat their last pixel */
                x[i] = first + ((i < pixels ? i : pixels - 1) * step + g * s->C) * width;
            if (s->is_adder)
                NAME(distances)((const uint8_t *const *)x, offset, s->steps, (const uint8_t *)w, sum);
            else
                NAME(products)((const int16_t *const *)x, offset, s->steps, (const int16_t *)w, sum);
            const int64_t k0 = block * BLOCK, some = s->K - k0 < BLOCK ? s->K - k0 : BLOCK;
            for (int64_t i = 0; i < pixels; i++)
                memcpy(acc + i * channels + g * s->K + k0, sum + i * BLOCK, (size_t)some * sizeof *sum);
        }
}

/* `pixels` pixels of acc, `together` of them in one pass over constants that are repeated as often */
static void NAME(stages)(const fused_shape *s, int64_t pixels, int64_t together, const int32_t *acc,
                         const int32_t *narrow, const int64_t *stage, void *y, fused_facts *facts) {
    const int64_t K = s->groups * s->K, all = together * K;
    for (int64_t i = 0; i < pixels; i += together) {
        const int64_t words = (pixels - i < together ? pixels - i : together) * K, at = i * K;
        if (s->wide)
            NAME(stage64)(s, words, acc + at, stage, stage + K, stage + 2 * K, stage + 3 * K, stage + 4 * K,
                          (int64_t *)y + at, facts);
        else
            NAME(stage32)(s, words, acc + at, narrow, narrow + all, narrow + 2 * all, narrow + 3 * all,
                          narrow + 4 * all, (int32_t *)y + at, facts);
    }
}

/* The five constants per channel in 32 bits, each row repeated for `together` pixels; NULL if there is no memory */
static int32_t *NAME(constants)(const fused_shape *s, int64_t together, const int64_t *stage, int64_t extra) {
    const int64_t K = s->groups * s->K;
    int32_t *narrow = malloc((size_t)(5 * together * K + extra + 1) * sizeof *narrow);
    for (int64_t row = 0; narrow && row < 5; row++)
        for (int64_t i = 0; i < together * K; i++)
            narrow[row * together * K + i] = s->wide ? 0 : (int32_t)stage[row * K + i % K];
    return narrow;
}

static int NAME(run)(const fused_shape *s, const void *x, const void *w, const int32_t *offset, const int64_t *stage,
                     void *y, fused_facts *facts) {
    const int64_t K = s->groups * s->K, row = s->W * s->groups * s->C, step = s->stride_w * s->groups * s->C;
    const int64_t together = !s->wide && K < FEW ? TILE : 1, word = s->wide ? 8 : 4;
    int32_t *narrow = NAME(constants)(s, together, stage, TILE * K);
    if (!narrow)
        return -1;
    int32_t *acc = narrow + 5 * together * K;
    for (int64_t n = 0; n < s->N; n++)
        for (int64_t p = 0; p < s->P; p++)
            for (int64_t q = 0; q < s->Q; q += TILE) {
                const int64_t pixels = s->Q - q < TILE ? s->Q - q : TILE;
                const int64_t first = (n * s->H + p * s->stride_h) * row + q * step;
                NAME(tile)(s, (const char *)x + first * (s->is_adder ? 1 : 2), step, w, offset, pixels, acc);
                char *out = (char *)y + ((n * s->P + p) * s->Q + q) * K * word;
                NAME(stages)(s, pixels, together, acc, narrow, stage, out, facts);
            }
    free(narrow);
    return 0;
}

/* The output stage alone, of count pixels: 32 bits in, 32 or (wide) 64 out */
static int NAME(stage_only)(const fused_shape *s, int64_t count, const int32_t *x, const int64_t *stage, void *y,
                            fused_facts *facts) {
    const int64_t together = !s->wide && s->K < FEW ? TILE : 1;
    int32_t *narrow = NAME(constants)(s, together, stage, 0);
    if (!narrow)
        return -1;
    NAME(stages)(s, count, together, x, narrow, stage, y, facts);
    free(narrow);
    return 0;
}

/* y = clamp(((p << lp) + (q << lq) + half) >> n), the end of a residual addition; numbers holds lp, lq, half, n */
static int64_t NAME(residual)(int64_t count, int64_t K, const int32_t *p, const int32_t *q, const int32_t *numbers,
                              int32_t low, int32_t high, int relu, int32_t *restrict y) {
    const int32_t *lp = numbers, *lq = numbers + K, *half = numbers + 2 * K, *n = numbers + 3 * K;
    const int32_t floor = relu ? INT32_MIN : low;
    int64_t saturated = 0;
    for (int64_t i = 0; i < count; i++, p += K, q += K, y += K) {
        int32_t cut = 0;
        for (int64_t k = 0; k < K; k++) {
            const int32_t sum = p[k] * (1 << lp[k]) + q[k] * (1 << lq[k]);
            const int32_t r = (sum + half[k]) >> n[k];
            cut += (r > high) + (r < floor);
            y[k] = r < low ? low : r > high ? high : r;
        }
        saturated += cut;
    }
    return saturated;
}

#undef BLOCK
#undef EACH
#undef NAME
#undef V
#undef LANES64
#undef V_LOAD
#undef V_ZERO
#undef V_PAIR
#undef V_WORD
#undef V_SAD
#undef V_ADD64
#undef V_MADD
#undef V_ADD32
#undef V_NARROW
#undef V_STORE
