/* The loop of single steps, any datapath, once per instruction set and size of word. Lanes are output channels.
 * Before each inclusion toggles_kernel.h defines STEP(x) and WORD, which holds the sum of any two registers. */

typedef WORD STEP(vector) __attribute__((vector_size(LANES)));
#define V STEP(vector)
#define WORDS ((int)(LANES / sizeof(WORD)))

/* fx_fit in all lanes */
static inline V STEP(fit)(V v, const fx_register *r) {
    const WORD low = (WORD)fx_low(r), high = (WORD)fx_high(r), mask = ((WORD)1 << r->bits) - 1;
    if (r->saturate) {
        const V under = (V)(v < low), over = (V)(v > high);
        return (v & ~(under | over)) | (under & low) | (over & high);
    }
    return ((v & mask) ^ -low) + low; /* low is 0, or minus the sign bit */
}

/* Put v into the next register: cut it to the width, count the bits that change. Returns what is now held. */
static inline V STEP(latch)(V **held, V v, const fx_register *r, NAME(stream) *changes) {
    const V word = STEP(fit)(v, r);
    NAME(push)(changes, (V8)((word ^ **held) & (((WORD)1 << r->bits) - 1)));
    *(*held)++ = word;
    return word;
}

static inline V STEP(leaf)(const toggles_datapath *d, V x, V w, V **held, NAME(stream) changes[REGISTERS]) {
    if (!d->is_adder)
        return STEP(latch)(held, x * w, &d->leaf, &changes[IN_LEAF]);
    const V before = **held, v = STEP(latch)(held, x - w, &d->difference, &changes[IN_DIFFERENCE]);
    NAME(push)(&changes[IN_SIGN], (V8)((v ^ before) & ((WORD)1 << (d->difference.bits - 1))));
    const V flip = d->is_negative ? (V)(v >= 0) : (V)(v < 0);
    return STEP(latch)(held, (v ^ flip) - flip, &d->leaf, &changes[IN_LEAF]);
}

static inline V STEP(round)(V v, const toggles_datapath *d) {
    for (int i = 0; i < WORDS; i++)
        v[i] = (WORD)fx_round_shift(v[i], d->cut_shift, d->cut_rounding);
    return v;
}

/* One step of the lanes: leaves, tree, cut, accumulator. `held` lists their registers in that order. */
static void STEP(step)(const toggles_datapath *d, const WORD *x, const WORD *w, const V *live, V *node, V *held,
                       NAME(stream) changes[REGISTERS]) {
    int64_t nodes = d->tree_inputs;
    for (int64_t i = 0; i < nodes; i++) {
        V weights;
        memcpy(&weights, w + i * WORDS, LANES);
        node[i] = STEP(leaf)(d, ((V){0} + x[i]) & *live, weights, &held, changes);
    }
    for (int level = 0; level < d->levels; level++) {
        for (int64_t i = 0; i < nodes / 2; i++)
            node[i] = STEP(latch)(&held, node[2 * i] + node[2 * i + 1], &d->tree[level], &changes[IN_TREE]);
        if (nodes % 2)
            node[nodes / 2] = node[nodes - 1];
        nodes = (nodes + 1) / 2;
    }
    V v = node[0];
    if (d->has_cut)
        v = STEP(latch)(&held, STEP(round)(v, d), &d->cut, &changes[IN_CUT]);
    STEP(latch)(&held, *held + v, &d->accumulator, &changes[IN_ACCUMULATOR]);
}

static int STEP(steps)(const toggles_shape *s, const toggles_datapath *d, const void *x, const void *w,
                       const int32_t *offset, const void *initial, int64_t counts[REGISTERS]) {
    const int64_t T = d->tree_inputs, before = (d->is_adder ? 3 : 2) * T - 1 + d->has_cut;
    const int64_t panels = (s->K + WORDS - 1) / WORDS;
    V *held = aligned_alloc(LANES, (size_t)(before + 1 + T) * LANES);
    if (!held)
        return -1;
    NAME(stream) changes[REGISTERS] = {0};
    for (int64_t i = 0; i < s->N * s->P * s->Q * s->groups; i++)
        for (int64_t panel = 0; panel < panels; panel++) {
            const int64_t g = i % s->groups, at = g * panels + panel;
            const WORD *first = (const WORD *)x + toggles_window(s, i / s->groups, g);
            const WORD *weights = (const WORD *)w + at * s->steps * T * WORDS;
            V live;
            for (int k = 0; k < WORDS; k++)
                live[k] = -(panel * WORDS + k < s->K);
            memset(held, 0, (size_t)before * LANES);
            memcpy(held + before, (const WORD *)initial + at * WORDS, LANES);
            for (int64_t j = 0; j < s->steps; j++)
                STEP(step)(d, first + offset[j], weights + j * T * WORDS, &live, held + before + 1, held, changes);
        }
    for (int i = 0; i < REGISTERS; i++)
        counts[i] += NAME(pushed)(&changes[i]);
    counts[IN_DIFFERENCE] -= NAME(pushed)(&changes[IN_SIGN]);
    free(held);
    return 0;
}

#undef V
#undef WORDS
#undef WORD
#undef STEP
