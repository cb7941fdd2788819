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

/* What one step of the lanes adds to the sum: leaves, tree, cut. `held` lists their registers in that order. */
static inline V STEP(node)(const toggles_datapath *d, const WORD *x, const WORD *w, const V *live, V *node, V *held,
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
    if (!d->has_cut)
        return node[0];
    return STEP(latch)(&held, STEP(round)(node[0], d), &d->cut, &changes[IN_CUT]);
}

/* The sum behind a step, in an accumulator that held `before` */
static inline V STEP(accumulate)(const toggles_datapath *d, V sum, V node, V before, NAME(stream) changes[REGISTERS]) {
    V *held = &before;
    return STEP(latch)(&held, sum + node, &d->accumulator, &changes[IN_ACCUMULATOR]);
}

/* The outputs of one image in one vector of channels */
typedef struct {
    int64_t registers; /* of a processing element, without the accumulator */
    const WORD *x, *w; /* at the image's first window and at the first step */
    const int32_t *offset;
    V initial, live, *node, *held, *sum;
} STEP(panel);

static void STEP(output_stationary)(const toggles_shape *s, const toggles_datapath *d, const STEP(panel) *p,
                                    NAME(stream) changes[REGISTERS]) {
    for (int64_t i = 0; i < s->P * s->Q; i++) {
        const WORD *x = p->x + toggles_window(s, i, 0), *w = p->w;
        memset(p->held, 0, (size_t)p->registers * LANES);
        V sum = p->initial;
        for (int64_t j = 0; j < s->steps; j++, w += d->tree_inputs * WORDS) {
            const V node = STEP(node)(d, x + p->offset[j], w, &p->live, p->node, p->held, changes);
            sum = STEP(accumulate)(d, sum, node, sum, changes);
        }
    }
}

static void STEP(weight_stationary)(const toggles_shape *s, const toggles_datapath *d, const STEP(panel) *p,
                                    NAME(stream) changes[REGISTERS]) {
    const WORD *w = p->w;
    for (int64_t i = 0; i < s->P * s->Q; i++)
        p->sum[i] = p->initial;
    for (int64_t j = 0; j < s->steps; j++, w += d->tree_inputs * WORDS) {
        V before = {0}, *sum = p->sum;
        memset(p->held, 0, (size_t)p->registers * LANES);
        for (int64_t row = 0; row < s->P; row++) {
            const WORD *x = p->x + toggles_window(s, row * s->Q, 0) + p->offset[j];
            for (int64_t q = 0; q < s->Q; q++, sum++, x += s->stride_w * s->groups * s->C) {
                const V node = STEP(node)(d, x, w, &p->live, p->node, p->held, changes);
                before = *sum = STEP(accumulate)(d, *sum, node, before, changes);
            }
        }
    }
}

static int STEP(steps)(const toggles_shape *s, const toggles_datapath *d, const void *x, const void *w,
                       const int32_t *offset, const void *initial, int64_t counts[REGISTERS]) {
    const int64_t T = d->tree_inputs, pixels = s->P * s->Q, panels = (s->K + WORDS - 1) / WORDS;
    STEP(panel) p = {.registers = (d->is_adder ? 3 : 2) * T - 1 + d->has_cut, .offset = offset};
    p.held = aligned_alloc(LANES, (size_t)(p.registers + T + pixels) * LANES);
    if (!p.held)
        return -1;
    p.node = p.held + p.registers, p.sum = p.node + T;
    NAME(stream) changes[REGISTERS] = {0};
    for (int64_t i = 0; i < s->groups * panels; i++) {
        for (int k = 0; k < WORDS; k++)
            p.live[k] = -(i % panels * WORDS + k < s->K);
        memcpy(&p.initial, (const WORD *)initial + i * WORDS, LANES);
        p.w = (const WORD *)w + i * s->steps * T * WORDS;
        for (int64_t n = 0; n < s->N; n++) {
            p.x = (const WORD *)x + toggles_window(s, n * pixels, i / panels);
            (s->weight_stationary ? STEP(weight_stationary) : STEP(output_stationary))(s, d, &p, changes);
        }
    }
    for (int i = 0; i < REGISTERS; i++)
        counts[i] += NAME(pushed)(&changes[i]);
    counts[IN_DIFFERENCE] -= NAME(pushed)(&changes[IN_SIGN]);
    free(p.held);
    return 0;
}

#undef V
#undef WORDS
#undef WORD
#undef STEP
