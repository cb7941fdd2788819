/* From sums to codes: the accumulator's register, then bias, gain, rounding, clamp; once per instruction set. */

/* Extremes and counts, lane by lane; gathered at the end of a layer */
typedef struct {
    V32 least, most, saturated;
} NAME(lanes);

static inline NAME(lanes) NAME(no_lanes)(void) {
    const V32 zero = {0};
    return (NAME(lanes)){zero + INT32_MAX, zero + INT32_MIN, zero};
}

static inline void NAME(gather)(const NAME(lanes) *v, layer_facts *facts) {
    for (int k = 0; k < BLOCK; k++) {
        facts->least = v->least[k] < facts->least ? v->least[k] : facts->least;
        facts->most = v->most[k] > facts->most ? v->most[k] : facts->most;
        facts->saturated += v->saturated[k];
    }
}

/* sum becomes initial + direction * sum as the accumulator's register holds it; counts the outputs it was too small for */
static inline void NAME(settle)(const layer_plan *plan, const int64_t *initial, int64_t pixels, int64_t channels,
                                V32 *sum, layer_facts *facts) {
    const lane_register *r = &plan->accumulator;
    for (int64_t i = 0; i < pixels; i++)
        for (int64_t k = 0; k < channels; k++) {
            const int64_t v = initial[k] + plan->direction * sum[i][k];
            const int64_t clipped = v < r->low ? r->low : v > r->high ? r->high : v;
            const int64_t c = r->wraps ? r->low + ((v - r->low) & (r->high - r->low)) : clipped;
            facts->events[AT_ACCUMULATOR] += c != v;
            sum[i][k] = (int32_t)c;
        }
}

static inline void NAME(store)(V32 v, int64_t channels, void *y, int type) {
    uint8_t bytes[BLOCK];
    uint16_t halves[BLOCK];
    for (int k = 0; k < BLOCK; k++)
        bytes[k] = (uint8_t)v[k], halves[k] = (uint16_t)v[k];
    const void *from = type <= S8 ? (void *)bytes : type <= S16 ? (void *)halves : (void *)&v;
    if (channels == BLOCK && type <= S8)
        memcpy(y, bytes, BLOCK);
    else
        memcpy(y, from, (size_t)(channels * word_bytes(type)));
}

/* y = clamp((v * M + A) >> n), with the rounding's half in A; `plain`: without terms that look at the value */
static inline __attribute__((always_inline)) void NAME(fast)(const layer_plan *plan, const int32_t *constants,
                                                             const V32 *sum, int64_t pixels, int64_t channels,
                                                             int64_t stride, char *y, int type, NAME(lanes) *lanes,
                                                             const int finish, const int plain) {
    const V32 m = NAME(row)(constants, ROW_M), a = NAME(row)(constants, ROW_A), n = NAME(row)(constants, ROW_N);
    const V32 half = NAME(row)(constants, ROW_HALF), below = NAME(row)(constants, ROW_BELOW),
            odd = NAME(row)(constants, ROW_ODD);
    const V32 low = (V32){0} + (int32_t)plan->y_low, high = (V32){0} + (int32_t)plan->y_high;
    const V32 floor = plan->relu ? (V32){0} + INT32_MIN : low;
    V32 least = lanes->least, most = lanes->most, saturated = lanes->saturated;
    for (int64_t i = 0; i < pixels; i++, y += stride) {
        const V32 v = sum[i];
        least = NAME(smaller32)(least, v);
        most = NAME(larger32)(most, v);
        V32 r = v * m + a;
        if (finish) {
            if (!plain)
                r += half + ((r >> 31) & below) + ((r >> n) & odd);
            r >>= n;
            saturated -= (r > high) | (r < floor);
            r = NAME(larger32)(NAME(smaller32)(r, high), low);
        }
        NAME(store)(r, channels, y, type);
    }
    *lanes = (NAME(lanes)){least, most, saturated};
}

/* The same in 64 bits, where t or p may overflow (they wrap and are counted) or 32 bits do not hold them */
static void NAME(exact)(const layer *l, int64_t k0, const int64_t *acc, int64_t channels, void *y, int type,
                        layer_facts *facts) {
    const layer_plan *plan = l->plan;
    const int64_t K = plan->K * plan->groups, *b = l->numbers + k0, *m = b + K, *a = m + K, *n = a + K;
    const fx_register t = {(int32_t)plan->centred[0], (int32_t)plan->centred[1], 0};
    const fx_register p = {(int32_t)plan->product[0], (int32_t)plan->product[1], 0};
    for (int64_t k = 0; k < channels; k++) {
        facts->least = acc[k] < facts->least ? acc[k] : facts->least;
        facts->most = acc[k] > facts->most ? acc[k] : facts->most;
        int64_t v = acc[k];
        if (plan->stage == EXACT) {
            v = fx_fit((plan->negate ? -v : v) - b[k], &t, &facts->overflows);
            v = fx_fit(v * m[k] + a[k], &p, &facts->overflows);
        }
        if (plan->stage == EXACT && plan->finish) {
            v = fx_round_shift(v, (int)n[k], (int)plan->rounding_mode);
            facts->saturated += v > plan->y_high || (!plan->relu && v < plan->y_low);
            v = v < plan->y_low ? plan->y_low : v > plan->y_high ? plan->y_high : v;
        }
        word_store(y, type, k, v);
    }
}

/* One panel of up to TILE pixels; y is its first word, stride the bytes between pixels */
static inline void NAME(finish)(const layer *l, int64_t k0, const int32_t *constants, V32 *sum, int64_t pixels,
                                int64_t channels, int64_t stride, char *y, int type, NAME(lanes) *lanes,
                                layer_facts *facts) {
    const layer_plan *plan = l->plan;
    if (plan->settles)
        NAME(settle)(plan, l->initial + k0, pixels, channels, sum, facts);
    if (plan->stage != FAST) {
        for (int64_t i = 0; i < pixels; i++) {
            int64_t acc[BLOCK];
            for (int k = 0; k < BLOCK; k++)
                acc[k] = sum[i][k];
            NAME(exact)(l, k0, acc, channels, y + i * stride, type, facts);
        }
        return;
    }
    for (int64_t i = 0; channels < BLOCK && i < pixels; i++) /* idle lanes repeat a live one: no extremes of their own */
        for (int64_t k = channels; k < BLOCK; k++)
            sum[i][k] = sum[i][0];
    if (!plan->finish)
        NAME(fast)(plan, constants, sum, pixels, channels, stride, y, type, lanes, 0, 1);
    else if (plan->rounding_mode <= FX_HALF_UP)
        NAME(fast)(plan, constants, sum, pixels, channels, stride, y, type, lanes, 1, 1);
    else
        NAME(fast)(plan, constants, sum, pixels, channels, stride, y, type, lanes, 1, 0);
}
