/* The hardware's own order, one vector of output channels at a time; once per instruction set and word size.
 * Before inclusion: LANE(name), L (word of operands, leaves, tree), A (word of the accumulator), X (word of x),
 * NARROW(smaller), NARROW(larger) for vectors of L, WIDE(...) for vectors of A. */

typedef L LANE(narrow) __attribute__((vector_size(BYTES)));
typedef A LANE(wide) __attribute__((vector_size(BYTES)));
enum { LANE(count) = BYTES / sizeof(L), LANE(parts) = sizeof(A) / sizeof(L) };

/* A register's limits, one copy per lane */
#define REGISTER(word, size, VECTOR)                                                                                   \
    typedef struct {                                                                                                   \
        LANE(size) low, high;                                                                                          \
        int64_t active, way;                                                                                           \
    } LANE(size##_register);                                                                                           \
    static LANE(size##_register) LANE(size##_limits)(const lane_register *r) {                                         \
        const LANE(size) zero = {0};                                                                                   \
        return (LANE(size##_register)){zero + (word)r->low, zero + (word)r->high, r->active, r->way};                  \
    }                                                                                                                  \
    static INLINE LANE(size)                                                                                           \
        LANE(size##_cut)(LANE(size) v, const LANE(size##_register) * r, const int way, LANE(size) * missed) {          \
        const LANE(size) c = way == WRAPS      ? r->low + ((v - r->low) & (r->high - r->low))                          \
                             : way == TOP_ONLY ? VECTOR(smaller)(v, r->high)                                           \
                                               : VECTOR(larger)(VECTOR(smaller)(v, r->high), r->low);                  \
        *missed |= v ^ c;                                                                                              \
        return c;                                                                                                      \
    }                                                                                                                  \
    static INLINE LANE(size) LANE(size##_fit)(LANE(size) v, const LANE(size##_register) * r, LANE(size) * missed) {    \
        if (!r->active)                                                                                                \
            return v;                                                                                                  \
        return r->way == WRAPS ? LANE(size##_cut)(v, r, WRAPS, missed) : LANE(size##_cut)(v, r, SATURATES, missed);    \
    }
REGISTER(L, narrow, NARROW)
REGISTER(A, wide, WIDE)
#undef REGISTER

/* Every LANE(parts)-th lane of v, from lane `part` on, in the accumulator's width */
static INLINE LANE(wide) LANE(widened)(LANE(narrow) v, int part) {
    const int bits = 8 * (int)(sizeof(A) - sizeof(L));
    const LANE(wide) w = (LANE(wide))v;
    return bits ? (part ? w >> bits : (w << bits) >> bits) : w;
}

typedef struct {
    const layer_plan *plan;
    LANE(narrow_register) difference, leaf, cut, tree[MAX_LEVELS];
    LANE(wide_register) accumulator;
    LANE(narrow) half, below, odd, *node; /* node: room for one tree */
} LANE(hardware);

typedef struct {
    LANE(narrow) difference, leaf, tree, cut;
    LANE(wide) accumulator[LANE(parts)];
} LANE(missed);

static LANE(hardware) LANE(hardware_of)(const layer_plan *plan, void *node) {
    const lane_datapath *d = &plan->lanes;
    const LANE(narrow) zero = {0};
    LANE(hardware) h = {.plan = plan, .node = node, .accumulator = LANE(wide_limits)(&plan->accumulator)};
    h.difference = LANE(narrow_limits)(&d->difference), h.leaf = LANE(narrow_limits)(&d->leaf);
    h.cut = LANE(narrow_limits)(&d->cut);
    for (int64_t i = 0; i < d->levels; i++)
        h.tree[i] = LANE(narrow_limits)(&d->tree[i]);
    h.half = zero + (L)d->cut_rounding.half, h.below = zero + (L)d->cut_rounding.below;
    h.odd = zero + (L)d->cut_rounding.odd;
    return h;
}

/* What the lanes see of x: one word for all of them, neighbouring words, or words found by `lane` */
static INLINE LANE(narrow) LANE(operand)(const X *x, const int32_t *lane, int spread) {
    LANE(narrow) v;
    if (spread == TOGETHER)
        return (LANE(narrow)){0} + (L)x[lane[0]];
    if (spread == NEIGHBOURS && sizeof(X) == sizeof(L))
        memcpy(&v, x + lane[0], sizeof v);
    else if (spread == NEIGHBOURS)
        for (int k = 0; k < LANE(count); k++)
            v[k] = (L)x[lane[0] + k];
    else
        for (int k = 0; k < LANE(count); k++)
            v[k] = (L)x[lane[k]];
    return v;
}

/* MAGNITUDE, PRODUCT: no register on the way can miss it; NARROW_DIFFERENCE: only the difference's, which saturates;
 * ANY: as the datapath says */
static INLINE LANE(narrow)
    LANE(leaf)(const LANE(hardware) * h, LANE(narrow) x, LANE(narrow) w, LANE(missed) * missed, const int how) {
    LANE(narrow) v;
    if (how == PRODUCT)
        return x * w;
    if (how == MAGNITUDE || how == NARROW_DIFFERENCE) {
        const LANE(narrow) whole = x - w;
        const LANE(narrow) d =
            how == MAGNITUDE ? whole : LANE(narrow_cut)(whole, &h->difference, SATURATES, &missed->difference);
        return NARROW(larger)(d, -d);
    }
    if (!h->plan->lanes.is_adder) {
        v = x * w;
    } else {
        const LANE(narrow) d = LANE(narrow_fit)(x - w, &h->difference, &missed->difference);
        v = NARROW(larger)(d, -d);
        if (h->plan->lanes.is_negative)
            v = -v;
    }
    return LANE(narrow_fit)(v, &h->leaf, &missed->leaf);
}

/* One level of the trees of PIXELS pixels, side by side in node */
static INLINE void LANE(level)(LANE(narrow) * node, int64_t pairs, const LANE(narrow_register) * r,
                               LANE(missed) missed[PIXELS], const int active, const int way) {
    LANE(narrow) found[PIXELS];
    for (int u = 0; u < PIXELS; u++)
        found[u] = missed[u].tree;
    for (int64_t i = 0; i < pairs; i++)
        for (int u = 0; u < PIXELS; u++) {
            const LANE(narrow) v = node[2 * i * PIXELS + u] + node[(2 * i + 1) * PIXELS + u];
            node[i * PIXELS + u] = active ? LANE(narrow_cut)(v, r, way, &found[u]) : v;
        }
    for (int u = 0; u < PIXELS; u++)
        missed[u].tree = found[u];
}

/* The trees over h->node, requantised; the sums are left in the first nodes */
static INLINE void LANE(tree)(const LANE(hardware) * h, LANE(missed) missed[PIXELS]) {
    const lane_datapath *d = &h->plan->lanes;
    LANE(narrow) *node = h->node;
    int64_t nodes = d->tree_inputs;
    for (int64_t level = 0; level < d->levels; level++) {
        const LANE(narrow_register) *r = &h->tree[level];
        if (!r->active)
            LANE(level)(node, nodes / 2, r, missed, 0, 0);
        else if (r->way == WRAPS)
            LANE(level)(node, nodes / 2, r, missed, 1, WRAPS);
        else if (r->way == TOP_ONLY)
            LANE(level)(node, nodes / 2, r, missed, 1, TOP_ONLY);
        else
            LANE(level)(node, nodes / 2, r, missed, 1, SATURATES);
        for (int u = 0; nodes % 2 && u < PIXELS; u++)
            node[nodes / 2 * PIXELS + u] = node[(nodes - 1) * PIXELS + u];
        nodes = (nodes + 1) / 2;
    }
    if (!d->has_cut)
        return;
    const int shift = (int)d->cut_rounding.shift;
    for (int u = 0; u < PIXELS; u++) {
        const LANE(narrow) v = node[u], sign = v >> (8 * (int)sizeof(L) - 1);
        const LANE(narrow) rounded = (v + h->half + (sign & h->below) + ((v >> shift) & h->odd)) >> shift;
        node[u] = LANE(narrow_fit)(rounded, &h->cut, &missed[u].cut);
    }
}

/* One accumulation; `way` is known to the compiler, or UNKNOWN */
static INLINE LANE(wide)
    LANE(added)(LANE(wide) sum, LANE(wide) term, const LANE(wide_register) * r, LANE(wide) * missed, const int way) {
    return way == UNKNOWN ? LANE(wide_fit)(sum + term, r, missed) : LANE(wide_cut)(sum + term, r, way, missed);
}

/* acc: LANE(count) channels of PIXELS pixels; `lane` is where each finds its group's words, w its panel of weights */
static INLINE void LANE(steps)(const LANE(hardware) * h, const X *const x[PIXELS], const int32_t *offset,
                               const int32_t *lane, const int spread, const L *w, const int64_t *initial,
                               int64_t acc[PIXELS][BYTES], LANE(missed) found[PIXELS], const int how, const int alone,
                               const int way) {
    const int64_t T = alone ? 1 : h->plan->lanes.tree_inputs;
    const int32_t *const end = offset + h->plan->steps;
    const X *const at[PIXELS] = {x[0], x[1]};
    LANE(narrow) single[PIXELS], *const node = alone ? single : h->node;
    LANE(wide) sum[PIXELS][LANE(parts)];
    LANE(missed) missed[PIXELS] = {0};
    for (int u = 0; u < PIXELS; u++)
        for (int p = 0; p < LANE(parts); p++) {
            for (int k = 0; k < LANE(count) / LANE(parts); k++)
                sum[u][p][k] = (A)initial[k * LANE(parts) + p];
            sum[u][p] = LANE(wide_fit)(sum[u][p], &h->accumulator, &missed[u].accumulator[p]);
        }
    for (; offset < end; offset += T) {
        for (int64_t i = 0; i < T; i++, w += LANE(count)) {
            const int64_t o = offset[i];
            LANE(narrow) weights, v[PIXELS] = {0};
            memcpy(&weights, w, sizeof weights);
            for (int u = 0; (alone || o >= 0) && u < PIXELS; u++)
                v[u] = LANE(leaf)(h, LANE(operand)(at[u] + o, lane, spread), weights, &missed[u], how);
            for (int u = 0; u < PIXELS; u++)
                node[i * PIXELS + u] = v[u];
        }
        if (!alone)
            LANE(tree)(h, missed);
        for (int u = 0; u < PIXELS; u++)
            for (int p = 0; p < LANE(parts); p++)
                sum[u][p] =
                    LANE(added)(sum[u][p], LANE(widened)(node[u], p), &h->accumulator, &missed[u].accumulator[p], way);
    }
    for (int u = 0; u < PIXELS; u++) {
        for (int k = 0; k < LANE(count); k++)
            acc[u][k] = sum[u][k % LANE(parts)][k / LANE(parts)];
        found[u] = missed[u];
    }
}

/* The same, with what most layers have in common known to the compiler */
static __attribute__((noinline)) void LANE(some)(const LANE(hardware) * h, const X *const x[PIXELS],
                                                 const int32_t *offset, const int32_t *lane, int spread, const L *w,
                                                 const int64_t *initial, int64_t acc[PIXELS][BYTES],
                                                 LANE(missed) found[PIXELS]) {
    const lane_datapath *d = &h->plan->lanes;
    const int fits = !d->is_negative && !d->difference.active && !d->leaf.active;
    const int alone = d->tree_inputs == 1 && !d->has_cut && h->accumulator.active;
    const int wraps = h->accumulator.way == WRAPS;
#define STEPS(spread, how, alone, way) LANE(steps)(h, x, offset, lane, spread, w, initial, acc, found, how, alone, way)
    if (spread != TOGETHER)
        STEPS(spread, ANY, 0, UNKNOWN);
    else if (alone && fits && !d->is_adder)
        wraps ? STEPS(TOGETHER, PRODUCT, 1, WRAPS) : STEPS(TOGETHER, PRODUCT, 1, SATURATES);
    else if (alone && d->is_adder && !d->is_negative && !d->leaf.active && h->difference.active &&
             h->difference.way == SATURATES)
        wraps ? STEPS(TOGETHER, NARROW_DIFFERENCE, 1, WRAPS) : STEPS(TOGETHER, NARROW_DIFFERENCE, 1, SATURATES);
    else if (alone)
        wraps ? STEPS(TOGETHER, ANY, 1, WRAPS) : STEPS(TOGETHER, ANY, 1, SATURATES);
    else if (fits && d->is_adder)
        STEPS(TOGETHER, MAGNITUDE, 0, UNKNOWN);
    else
        STEPS(TOGETHER, ANY, 0, UNKNOWN);
#undef STEPS
}

static void LANE(count_missed)(const LANE(missed) * missed, int64_t channels, layer_facts *facts) {
    for (int64_t k = 0; k < channels; k++) {
        facts->events[AT_DIFFERENCE] += missed->difference[k] != 0;
        facts->events[AT_LEAF] += missed->leaf[k] != 0;
        facts->events[AT_TREE] += missed->tree[k] != 0;
        facts->events[AT_CUT] += missed->cut[k] != 0;
        facts->events[AT_ACCUMULATOR] += missed->accumulator[k % LANE(parts)][k / LANE(parts)] != 0;
    }
}

/* All channels of the listed pixels: panel by panel, so that a panel's weights stay near */
static void LANE(pixels)(const layer *l, const char *x, const int64_t *where, int64_t pixels, const int32_t *offset,
                         void *node, char *y, int type, layer_facts *facts) {
    const layer_plan *plan = l->plan;
    const LANE(hardware) h = LANE(hardware_of)(plan, node);
    const int64_t K = plan->K * plan->groups, word = word_bytes(type);
    const L *w = l->w;
    for (int64_t k0 = 0; k0 < K; k0 += LANE(count), w += plan->steps * LANE(count)) {
        const int64_t channels = smaller(K - k0, LANE(count));
        int32_t lane[LANE(count)];
        for (int64_t k = 0; k < LANE(count); k++)
            lane[k] = (int32_t)(smaller(k0 + k, K - 1) / plan->K * plan->channels);
        const int apart = lane[1] - lane[0] == 1 && plan->K == 1 && channels == LANE(count);
        const int spread = lane[0] == lane[LANE(count) - 1] ? TOGETHER : apart ? NEIGHBOURS : SCATTERED;
        int64_t initial[LANE(count)] = {0}, acc[PIXELS][BYTES];
        memcpy(initial, l->initial + k0, (size_t)channels * sizeof *initial);
        for (int64_t i = 0; i < pixels; i += PIXELS) { /* the list goes on beyond its end: see list() */
            LANE(missed) missed[PIXELS];
            const X *const at[PIXELS] = {(const X *)(x + where[i]), (const X *)(x + where[i + 1])};
            LANE(some)(&h, at, offset, lane, spread, w, initial, acc, missed);
            for (int64_t u = 0; u < smaller(pixels - i, PIXELS); u++) {
                LANE(count_missed)(&missed[u], channels, facts);
                NAME(exact)(l, k0, acc[u], channels, y + ((i + u) * K + k0) * word, type, facts);
            }
        }
    }
}

#undef LANE
#undef NARROW
#undef WIDE
#undef L
#undef A
#undef X
