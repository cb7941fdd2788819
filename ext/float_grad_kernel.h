/* The gradient of the inputs, once per instruction set; float_kernel.h comes first. Besides its macros float_adder.c
 * defines CLAMP_UP and CLAMP_DOWN(v, low, high), the clamp of a v without and with its sign bit.
 *
 * LANES input pixels (of any images) are computed together. The gradients that have seen them are gathered into
 * gs[term][lane], a chunk of output channels at a time; then every input channel meets all of them. */

/* sum_i clamp(w[i] - x, -1, 1) * gs[i] of the lanes' two halves x and y, as sum_i clamp(w[i], x - 1, x + 1) * gs[i] -
 * x * total, which is one operation less per term. Weights come sorted by their sign: among such, integers compare as
 * the floats do, and more ports can do that. Two at a time: four sums hide the latency of a multiply-add. */
static INLINE void NAME(clipped)(const float *gs, const clamped *w, const float *total, const float *xs, float *sums) {
    const F x = NAME(load)(xs), y = NAME(load)(xs + WIDTH), one = (F){0} + 1.0f;
    const F lx = x - one, hx = x + one, ly = y - one, hy = y + one;
    F ax = {0}, ay = {0}, bx = {0}, by = {0};
    const int32_t *row = w->row;
    const float *p = w->weight;
#define PAIR(CLAMP)                                                                                                    \
    const float *const f = gs + row[0], *const g = gs + row[1];                                                        \
    const F v = NAME(all)(p), u = NAME(all)(p + 1);                                                                    \
    ax = FMADD(NAME(load)(f), CLAMP(v, lx, hx), ax);                                                                   \
    ay = FMADD(NAME(load)(f + WIDTH), CLAMP(v, ly, hy), ay);                                                           \
    bx = FMADD(NAME(load)(g), CLAMP(u, lx, hx), bx);                                                                   \
    by = FMADD(NAME(load)(g + WIDTH), CLAMP(u, ly, hy), by);
    for (const float *end = p + w->ups; p < end; p += 2, row += 2) {
        PAIR(CLAMP_UP)
    }
    for (const float *end = p + w->downs; p < end; p += 2, row += 2) {
        PAIR(CLAMP_DOWN)
    }
#undef PAIR
    NAME(store)(sums, NAME(load)(sums) + (ax + bx - x * NAME(load)(total)));
    NAME(store)(sums + WIDTH, NAME(load)(sums + WIDTH) + (ay + by - y * NAME(load)(total + WIDTH)));
}

static void NAME(sum_gradients)(const float *gs, int64_t count, float *total) {
    F a = {0}, b = {0};
    for (int64_t i = 0; i < count; i++, gs += LANES)
        a += NAME(load)(gs), b += NAME(load)(gs + WIDTH);
    NAME(store)(total, a), NAME(store)(total + WIDTH, b);
}

/* The lanes' sums over all output channels, in v->sums */
static void NAME(all_clipped)(const adder_shape *a, const view *v, const phase *f, const float *gy,
                              const int64_t y_at[LANES]) {
    const clamped *lists = f->lists;
    float total[LANES];
    memset(v->sums, 0, sizeof(float) * (size_t)(a->C * LANES));
    for (int64_t k = 0; k < a->K; k += v->chunk, lists += a->C) {
        const int64_t count = terms(v, f, k, smaller(a->K - k, v->chunk));
        NAME(gather)(gy, v->from, count, y_at, v->gs + LANES);
        NAME(sum_gradients)(v->gs + LANES, count, total);
        for (int64_t c = 0; c < a->C; c++)
            NAME(clipped)(v->gs, lists + c, total, v->xs + c * LANES, v->sums + c * LANES);
    }
}

/* The pixels of one phase of some images of one group: x and gx from the first of them on */
static void NAME(phase_grad)(const adder_shape *a, const view *v, const phase *f, int64_t images, const float *x,
                             const float *gy, float *gx) {
    const int64_t all = images * f->at.rows * f->at.columns;
    pixel next = {0, 0, 0};
    for (int64_t first = 0; first < all; first += LANES) {
        int64_t x_at[LANES], y_at[LANES];
        NAME(locate)(&f->at, images, &next, x_at, y_at);
        NAME(gather)(x + f->first, v->channel, a->C, x_at, v->xs);
        NAME(all_clipped)(a, v, f, gy, y_at);
        NAME(scatter)(v->sums, v->channel, a->C, x_at, smaller(all - first, LANES), gx + f->first);
    }
}

static int NAME(input_grad)(const adder_shape *a, const float *x, const float *w, const float *gy, float *gx) {
    const int64_t PQ = a->P * a->Q, HW = a->H * a->W;
    view v;
    if (open_view(&v, a, LANES))
        return -1;
    for (int64_t g = 0; g < a->groups; g++) {
        by_sign(a, &v, w + g * a->K * a->C * a->R * a->S, LANES);
        for (int64_t n = 0; n < a->N; n += v.together) {
            const int64_t images = smaller(a->N - n, v.together), at = (n * a->groups + g) * a->C * HW;
            const float *some = gy + (n * a->groups + g) * a->K * PQ;
            if (!borderless(a, &v)) {
                inside(some, a->groups * a->K * PQ, images, a->K, a->P, a->Q, v.padded, v.H, v.W, v.top * v.W + v.left);
                some = v.padded;
            }
            for (int64_t i = 0; i < v.phases; i++)
                NAME(phase_grad)(a, &v, v.phase + i, images, x + at, some, gx + at);
        }
    }
    close_view(&v);
    return 0;
}

#undef F
#undef RUN
#undef LANES
#undef WIDTH
#undef NAME
#undef BYTES
#undef CLAMP_UP
#undef CLAMP_DOWN
#undef FMAX
#undef FMADD
