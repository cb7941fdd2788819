/* From sums to codes: the accumulator's register, then bias, gain, rounding, clamp; once per instruction set. */

/* Extremes and counts, lane by lane; gathered at the end of a layer */
typedef struct {
    V32 least, most, saturated;
} NAME(lanes);

static inline NAME(lanes) NAME(no_lanes)(void) {
    const V32 zero = {0};
    return (NAME(lanes)){zero + INT32_MAX, zero + INT32_MIN, zero};
}

static inline void NAME(gather)(const NAME(lanes) * v, layer_facts *facts) {
    for (int k = 0; k < BLOCK && v->least[k] <= v->most[k]; k++) { /* else nothing went through */
        facts->least = v->least[k] < facts->least ? v->least[k] : facts->least;
        facts->most = v->most[k] > facts->most ? v->most[k] : facts->most;
        facts->saturated += v->saturated[k];
    }
}

/* sum becomes initial + direction * sum as the accumulator's register holds it; counts the outputs it was too small for
 */
static inline void NAME(settle)(const layer_plan *plan, const int64_t *initial, int64_t pixels, int64_t channels,
                                V32 *sum, layer_facts *facts) {
    const lane_register *r = &plan->accumulator;
    for (int64_t i = 0; i < pixels; i++)
        for (int64_t k = 0; k < channels; k++) {
            const int64_t v = initial[k] + plan->direction * sum[i][k];
            const int64_t clipped = v < r->low ? r->low : v > r->high ? r->high : v;
            const int64_t c = r->way ? r->low + ((v - r->low) & (r->high - r->low)) : clipped;
            facts->events[AT_ACCUMULATOR] += c != v;
            sum[i][k] = (int32_t)c;
        }
}

static inline void NAME(store)(V32 v, int64_t channels, char *y, int type) {
    if (channels == BLOCK && type <= S8) {
        NAME(store8)(y, v);
    } else if (channels == BLOCK && type <= S16) {
        const NAME(u16s) halves = __builtin_convertvector(v, NAME(u16s));
        memcpy(y, &halves, sizeof halves);
    } else if (channels == BLOCK && type == S32) {
        memcpy(y, &v, sizeof v);
    } else {
        for (int64_t k = 0; k < channels; k++)
            word_store(y, type, k, v[k]);
    }
}

/* What a panel's output stage needs, loaded once */
typedef struct {
    V32 m, a, n, half, below, odd, low, high;
} NAME(fast_stage);

static INLINE NAME(fast_stage) NAME(fast_of)(V32 low, V32 high, const int32_t *constants) {
    return (NAME(fast_stage)){NAME(row)(constants, ROW_M),
                              NAME(row)(constants, ROW_A),
                              NAME(row)(constants, ROW_N),
                              NAME(row)(constants, ROW_HALF),
                              NAME(row)(constants, ROW_BELOW),
                              NAME(row)(constants, ROW_ODD),
                              low,
                              high};
}

/* y = clamp((v * M + A) >> n), with the rounding's half in A; `plain`: without terms that look at the value */
static INLINE V32 NAME(fast)(const NAME(fast_stage) * s, V32 v, NAME(lanes) * lanes, const int finish, const int plain,
                             const int relu) {
    lanes->least = NAME(smaller32)(lanes->least, v);
    lanes->most = NAME(larger32)(lanes->most, v);
    V32 r = v * s->m + s->a;
    if (!finish)
        return r;
    if (!plain)
        r += s->half + ((r >> 31) & s->below) + ((r >> s->n) & s->odd);
    r >>= s->n;
    lanes->saturated -= relu ? r > s->high : (r > s->high) | (r < s->low);
    return NAME(larger32)(NAME(smaller32)(r, s->high), s->low);
}

/* The same in 64 bits where neither t nor p can overflow */
static INLINE void NAME(bounded)(const layer *l, int64_t k0, const int64_t *acc, int64_t channels, void *y, int type,
                                 layer_facts *facts) {
    const layer_plan *plan = l->plan;
    const int64_t K = plan->K * plan->groups, low = plan->y_low, high = plan->y_high, relu = plan->relu;
    const int64_t *m = l->numbers + 4 * K + k0, *a = m + K, *n = a + K, *half = n + K, *below = half + K,
                  *odd = below + K;
    int64_t saturated = 0;
    for (int64_t k = 0; k < channels; k++) {
        int64_t v = acc[k] * m[k] + a[k];
        if (plan->finish) {
            v = (v + half[k] + ((v >> 63) & below[k]) + ((v >> n[k]) & odd[k])) >> n[k];
            saturated += (v > high) + (!relu && v < low);
            v = v < low ? low : v > high ? high : v;
        }
        word_store(y, type, k, v);
    }
    facts->saturated += saturated;
}

/* The same where they may: they wrap, and are counted */
static INLINE void NAME(checked)(const layer *l, int64_t k0, const int64_t *acc, int64_t channels, void *y, int type,
                                 layer_facts *facts) {
    const layer_plan *plan = l->plan;
    const int64_t K = plan->K * plan->groups, *b = l->numbers + k0, *m = b + K, *a = m + K, *n = a + K;
    const fx_register t = {(int32_t)plan->centred[0], (int32_t)plan->centred[1], 0};
    const fx_register p = {(int32_t)plan->product[0], (int32_t)plan->product[1], 0};
    for (int64_t k = 0; k < channels; k++) {
        int64_t v = fx_fit((plan->negate ? -acc[k] : acc[k]) - b[k], &t, &facts->overflows);
        v = fx_fit(v * m[k] + a[k], &p, &facts->overflows);
        if (plan->finish) {
            v = fx_round_shift(v, (int)n[k], (int)plan->rounding_mode);
            facts->saturated += v > plan->y_high || (!plan->relu && v < plan->y_low);
            v = v < plan->y_low ? plan->y_low : v > plan->y_high ? plan->y_high : v;
        }
        word_store(y, type, k, v);
    }
}

/* The accumulators of one pixel, through the output stage if there is one */
static void NAME(exact)(const layer *l, int64_t k0, const int64_t *acc, int64_t channels, void *y, int type,
                        layer_facts *facts) {
    for (int64_t k = 0; k < channels; k++) {
        facts->least = acc[k] < facts->least ? acc[k] : facts->least;
        facts->most = acc[k] > facts->most ? acc[k] : facts->most;
    }
    if (l->plan->stage == CHECKED)
        NAME(checked)(l, k0, acc, channels, y, type, facts);
    else if (l->plan->stage == BOUNDED)
        NAME(bounded)(l, k0, acc, channels, y, type, facts);
    else
        for (int64_t k = 0; k < channels; k++)
            word_store(y, type, k, acc[k]);
}

/* One panel of up to TILE pixels; y is its first word, stride the bytes between pixels */
static inline void NAME(finish)(const layer *l, int64_t k0, const int32_t *constants, V32 *sum, int64_t pixels,
                                int64_t channels, int64_t stride, char *y, int type, NAME(lanes) * lanes,
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
    for (int64_t i = 0; channels < BLOCK && i < pixels;
         i++) /* idle lanes repeat a live one: no extremes of their own */
        for (int64_t k = channels; k < BLOCK; k++)
            sum[i][k] = sum[i][0];
    const V32 low = (V32){0} + (int32_t)plan->y_low, high = (V32){0} + (int32_t)plan->y_high;
    const NAME(fast_stage) stage = NAME(fast_of)(low, high, constants);
    for (int64_t i = 0; i < pixels; i++)
        NAME(store)(NAME(fast)(&stage, sum[i], lanes, (int)plan->finish, 0, (int)plan->relu), channels, y + i * stride,
                    type);
}
