/* The hardware's own order, one vector of output channels at a time; once per instruction set and word size.
 * Before inclusion: LANE(name), L (word of operands, leaves, tree), A (word of the accumulator), X (word of x). */

typedef L LANE(narrow) __attribute__((vector_size(BYTES)));
typedef A LANE(wide) __attribute__((vector_size(BYTES)));
enum { LANE(count) = BYTES / sizeof(L), LANE(parts) = sizeof(A) / sizeof(L) };

/* A register's limits, one copy per lane */
#define REGISTER(word, size)                                                                                    \
    typedef struct {                                                                                            \
        LANE(size) low, high;                                                                                   \
        int active, wraps;                                                                                      \
    } LANE(size##_register);                                                                                    \
    static LANE(size##_register) LANE(size##_limits)(const lane_register *r) {                                  \
        const LANE(size) zero = {0};                                                                            \
        return (LANE(size##_register)){zero + (word)r->low, zero + (word)r->high, r->active != 0, r->wraps != 0}; \
    }                                                                                                           \
    static inline LANE(size) LANE(size##_fit)(LANE(size) v, const LANE(size##_register) *r, LANE(size) *missed) { \
        if (!r->active)                                                                                         \
            return v;                                                                                           \
        LANE(size) c;                                                                                           \
        if (r->wraps)                                                                                           \
            c = r->low + ((v - r->low) & (r->high - r->low));                                                   \
        else                                                                                                    \
            for (size_t k = 0; k < BYTES / sizeof(word); k++) {                                                 \
                const word above = v[k] > r->low[k] ? v[k] : r->low[k];                                         \
                c[k] = above < r->high[k] ? above : r->high[k];                                                 \
            }                                                                                                   \
        *missed |= v ^ c;                                                                                       \
        return c;                                                                                               \
    }
REGISTER(L, narrow)
REGISTER(A, wide)
#undef REGISTER

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
static inline LANE(narrow) LANE(operand)(const X *x, const int32_t *lane, int spread) {
    LANE(narrow) v;
    if (spread == TOGETHER)
        return (LANE(narrow)){0} + (L)x[lane[0]];
    if (spread == NEIGHBOURS)
        for (int k = 0; k < LANE(count); k++)
            v[k] = (L)x[lane[0] + k];
    else
        for (int k = 0; k < LANE(count); k++)
            v[k] = (L)x[lane[k]];
    return v;
}

static inline LANE(narrow) LANE(leaf)(const LANE(hardware) *h, LANE(narrow) x, LANE(narrow) w, LANE(missed) *missed) {
    LANE(narrow) v;
    if (!h->plan->lanes.is_adder) {
        v = x * w;
    } else {
        const LANE(narrow) d = LANE(narrow_fit)(x - w, &h->difference, &missed->difference);
        for (int k = 0; k < LANE(count); k++)
            v[k] = d[k] < 0 ? (L)-d[k] : d[k];
        if (h->plan->lanes.is_negative)
            v = -v;
    }
    return LANE(narrow_fit)(v, &h->leaf, &missed->leaf);
}

/* The tree over h->node, requantised */
static inline LANE(narrow) LANE(tree)(const LANE(hardware) *h, LANE(missed) *missed) {
    const lane_datapath *d = &h->plan->lanes;
    LANE(narrow) *node = h->node;
    int64_t nodes = d->tree_inputs;
    for (int64_t level = 0; level < d->levels; level++) {
        const LANE(narrow_register) *r = &h->tree[level];
        for (int64_t i = 0; i < nodes / 2; i++)
            node[i] = LANE(narrow_fit)(node[2 * i] + node[2 * i + 1], r, &missed->tree);
        if (nodes % 2)
            node[nodes / 2] = node[nodes - 1];
        nodes = (nodes + 1) / 2;
    }
    if (!d->has_cut)
        return node[0];
    const int shift = (int)d->cut_rounding.shift;
    const LANE(narrow) v = node[0], sign = v >> (8 * (int)sizeof(L) - 1);
    return LANE(narrow_fit)((v + h->half + (sign & h->below) + ((v >> shift) & h->odd)) >> shift, &h->cut, &missed->cut);
}

/* acc: LANE(count) channels of one pixel; `lane` is where each finds its group's words, w its panel of weights */
static void LANE(pixel)(const LANE(hardware) *h, const X *x, const int32_t *offset, const int32_t *lane, int spread,
                        const L *w, const int64_t *initial, int64_t *acc, LANE(missed) *missed) {
    const int64_t T = h->plan->lanes.tree_inputs;
    LANE(wide) sum[LANE(parts)];
    *missed = (LANE(missed)){0};
    for (int p = 0; p < LANE(parts); p++) {
        for (int k = 0; k < LANE(count) / LANE(parts); k++)
            sum[p][k] = (A)initial[p * (LANE(count) / LANE(parts)) + k];
        sum[p] = LANE(wide_fit)(sum[p], &h->accumulator, &missed->accumulator[p]);
    }
    for (int64_t j = 0; j < h->plan->steps; j += T, offset += T) {
        for (int64_t i = 0; i < T; i++, w += LANE(count)) {
            LANE(narrow) weights;
            memcpy(&weights, w, sizeof weights);
            h->node[i] = offset[i] < 0 ? (LANE(narrow)){0}
                                       : LANE(leaf)(h, LANE(operand)(x + offset[i], lane, spread), weights, missed);
        }
        const LANE(narrow) term = LANE(tree)(h, missed);
        for (int p = 0; p < LANE(parts); p++) {
            LANE(wide) wide;
            for (int k = 0; k < LANE(count) / LANE(parts); k++)
                wide[k] = term[p * (LANE(count) / LANE(parts)) + k];
            sum[p] = LANE(wide_fit)(sum[p] + wide, &h->accumulator, &missed->accumulator[p]);
        }
    }
    for (int k = 0; k < LANE(count); k++)
        acc[k] = sum[k / (LANE(count) / LANE(parts))][k % (LANE(count) / LANE(parts))];
}

static void LANE(count_missed)(const LANE(missed) *missed, int64_t channels, layer_facts *facts) {
    for (int64_t k = 0; k < channels; k++) {
        facts->events[AT_DIFFERENCE] += missed->difference[k] != 0;
        facts->events[AT_LEAF] += missed->leaf[k] != 0;
        facts->events[AT_TREE] += missed->tree[k] != 0;
        facts->events[AT_CUT] += missed->cut[k] != 0;
        const int64_t part = LANE(count) / LANE(parts);
        facts->events[AT_ACCUMULATOR] += missed->accumulator[k / part][k % part] != 0;
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
        int64_t initial[LANE(count)] = {0}, acc[LANE(count)];
        memcpy(initial, l->initial + k0, (size_t)channels * sizeof *initial);
        for (int64_t i = 0; i < pixels; i++) {
            LANE(missed) missed;
            LANE(pixel)(&h, (const X *)(x + where[i]), offset, lane, spread, w, initial, acc, &missed);
            LANE(count_missed)(&missed, channels, facts);
            NAME(exact)(l, k0, acc, channels, y + (i * K + k0) * word, type, facts);
        }
    }
}

#undef LANE
#undef L
#undef A
#undef X
