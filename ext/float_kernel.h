/* Float32 adder layers, once per instruction set. Before each inclusion float_adder.c defines NAME(x), BYTES of a
 * vector, FMIN, FMAX(a, b), and FMADD(a, b, c): a * b + c.
 *
 * LANES output pixels (of any images) are computed together: the pixels are the vector, so that no sum is
 * reordered. Their receptive fields are first gathered into xs[tap][lane]; a fully connected layer is the case
 * P = Q = R = S = 1, where the lanes are images. */

#define WIDTH (BYTES / 4)
#define LANES (2 * WIDTH)

typedef float NAME(floats) __attribute__((vector_size(BYTES)));
typedef int32_t NAME(bits) __attribute__((vector_size(BYTES)));
#define F NAME(floats)

static INLINE F NAME(load)(const float *p) {
    F v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* One number in all lanes; by way of integers, as 0 + w costs an addition */
static INLINE F NAME(all)(const float *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return (F)((NAME(bits)){0} + v);
}

static INLINE void NAME(store)(float *p, F v) {
    memcpy(p, &v, sizeof v);
}

static INLINE F NAME(magnitude)(F v) {
    return (F)((NAME(bits))v & 0x7fffffff);
}

/* Where lanes first .. first + LANES - 1 have their first input pixel and their output pixel, group 0; `next` is the
 * pixel behind them. Lanes beyond the last output pixel repeat it: their sums are not stored, their gy is 0. */
static void NAME(locate)(const adder_shape *a, pixel *next, int64_t x_at[LANES], int64_t y_at[LANES]) {
    const int64_t PQ = a->P * a->Q;
    for (int l = 0; l < LANES; l++) {
        x_at[l] = (next->n * a->groups * a->C * a->H + next->p * a->stride_h) * a->W + next->q * a->stride_w;
        y_at[l] = next->n * a->groups * a->K * PQ + next->p * a->Q + next->q;
        step(a, next);
    }
}

/* Are WIDTH pixels neighbours in memory? Strides, row ends and repeated last pixels break the row. */
static INLINE int NAME(in_a_row)(const int64_t at[WIDTH]) {
    int64_t broken = 0;
    for (int l = 1; l < WIDTH; l++)
        broken |= at[l] - at[0] - l;
    return broken == 0;
}

/* out[j][lane] = x[at[lane] + offset[j]] */
static INLINE void NAME(gather)(const float *x, const int64_t *offset, int64_t count, const int64_t at[LANES],
                                float *out) {
    for (int half = 0; half < LANES; half += WIDTH) {
        const int64_t *a = at + half;
        float *o = out + half;
        if (NAME(in_a_row)(a))
            for (int64_t j = 0; j < count; j++, o += LANES)
                NAME(store)(o, NAME(load)(x + a[0] + offset[j]));
        else
            for (int64_t j = 0; j < count; j++, o += LANES)
                for (int l = 0; l < WIDTH; l++)
                    o[l] = x[a[l] + offset[j]];
    }
}

/* out[at[lane] + offset[j]] += in[j][lane] (or = , where nothing is added), the reverse of gather; `live` lanes */
static INLINE void NAME(scatter)(const float *in, const int64_t *offset, int64_t count, const int64_t at[LANES],
                                 int64_t live, float *out, const int adds) {
    for (int half = 0; half < live; half += WIDTH) {
        const int64_t *a = at + half;
        const float *v = in + half;
        if (live - half >= WIDTH && NAME(in_a_row)(a))
            for (int64_t j = 0; j < count; j++, v += LANES) {
                float *o = out + a[0] + offset[j];
                NAME(store)(o, adds ? NAME(load)(o) + NAME(load)(v) : NAME(load)(v));
            }
        else
            for (int64_t j = 0; j < count; j++, v += LANES)
                for (int l = 0; l < WIDTH && l < live - half; l++)
                    out[a[l] + offset[j]] = v[l] + (adds ? out[a[l] + offset[j]] : 0);
    }
}

/* -sum_j |xs[j][lane] - w[j][t]| for ROWS output channels t: eight sums of one vector each */
static INLINE void NAME(distances)(const float *xs, int64_t taps, const float *w, float *sum) {
    F a0 = {0}, a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    for (int64_t j = 0; j < taps; j++, xs += LANES, w += ROWS) {
        const F x = NAME(load)(xs), y = NAME(load)(xs + WIDTH);
#define ROW(t)                                                                                                         \
    a##t -= NAME(magnitude)(x - w[t]);                                                                                 \
    b##t -= NAME(magnitude)(y - w[t]);
        ROW(0) ROW(1) ROW(2) ROW(3)
#undef ROW
    }
#define KEEP(t) NAME(store)(sum + t * LANES, a##t), NAME(store)(sum + t * LANES + WIDTH, b##t);
    KEEP(0) KEEP(1) KEEP(2) KEEP(3)
#undef KEEP
}

static int NAME(forward)(const adder_shape *a, const float *x, const float *w, float *y) {
    const int64_t PQ = a->P * a->Q, all = a->N * PQ;
    scratch s;
    if (reserve(&s, a, LANES))
        return -1;
    for (int64_t g = 0; g < a->groups; g++) {
        pixel next = {0, 0, 0};
        in_rows(a, w + g * a->K * s.taps, &s);
        for (int64_t first = 0; first < all; first += LANES) {
            int64_t x_at[LANES], y_at[LANES];
            NAME(locate)(a, &next, x_at, y_at);
            NAME(gather)(x + g * a->C * a->H * a->W, s.tap, s.taps, x_at, s.xs);
            for (int64_t k = 0; k < a->K; k += ROWS)
                NAME(distances)(s.xs, s.taps, s.wt + k * s.taps, s.gs + k * LANES);
            NAME(scatter)(s.gs, s.out, a->K, y_at, all - first < LANES ? all - first : LANES, y + g * a->K * PQ, 0);
        }
    }
    release(&s);
    return 0;
}

/* xs[lane] becomes sum_k clamp(w[k] - xs[lane], -1, 1) * gs[k][lane], as
 * sum_k clamp(w[k], xs - 1, xs + 1) * gs - xs * total, which is one operation less per term. Two channels at a time:
 * four sums hide the latency of a multiply-add. */
static INLINE void NAME(clipped)(const float *gs, int64_t K, const float *w, const float *total, float *xs) {
    const F one = (F){0} + 1.0f, x = NAME(load)(xs), y = NAME(load)(xs + WIDTH);
    const F lx = x - one, hx = x + one, ly = y - one, hy = y + one;
    F ax = {0}, ay = {0}, bx = {0}, by = {0};
    for (int64_t k = 0; k < K; k += 2, gs += 2 * LANES) {
        const F v = NAME(all)(w + k), u = NAME(all)(w + k + 1);
        ax = FMADD(NAME(load)(gs), FMIN(FMAX(v, lx), hx), ax);
        ay = FMADD(NAME(load)(gs + WIDTH), FMIN(FMAX(v, ly), hy), ay);
        bx = FMADD(NAME(load)(gs + LANES), FMIN(FMAX(u, lx), hx), bx);
        by = FMADD(NAME(load)(gs + LANES + WIDTH), FMIN(FMAX(u, ly), hy), by);
    }
    NAME(store)(xs, ax + bx - x * NAME(load)(total));
    NAME(store)(xs + WIDTH, ay + by - y * NAME(load)(total + WIDTH));
}

static void NAME(sum_gradients)(const float *gs, int64_t K, float *total) {
    F a = {0}, b = {0};
    for (int64_t k = 0; k < K; k++, gs += LANES)
        a += NAME(load)(gs), b += NAME(load)(gs + WIDTH);
    NAME(store)(total, a), NAME(store)(total + WIDTH, b);
}

static int NAME(input_grad)(const adder_shape *a, const float *x, const float *w, const float *gy, float *gx) {
    const int64_t PQ = a->P * a->Q, all = a->N * PQ, plane = a->C * a->H * a->W;
    scratch s;
    if (reserve(&s, a, LANES))
        return -1;
    for (int64_t g = 0; g < a->groups; g++) {
        pixel next = {0, 0, 0};
        in_columns(a, w + g * a->K * s.taps, &s);
        for (int64_t first = 0; first < all; first += LANES) {
            int64_t x_at[LANES], y_at[LANES];
            float total[LANES];
            const int64_t live = all - first < LANES ? all - first : LANES;
            NAME(locate)(a, &next, x_at, y_at);
            NAME(gather)(x + g * plane, s.tap, s.taps, x_at, s.xs);
            NAME(gather)(gy + g * a->K * PQ, s.out, a->K, y_at, s.gs);
            NAME(sum_gradients)(s.gs, a->K, total);
            for (int64_t j = 0; j < s.taps; j++)
                NAME(clipped)(s.gs, a->K, s.wt + j * a->K, total, s.xs + j * LANES);
            NAME(scatter)(s.xs, s.tap, s.taps, x_at, live, gx + g * plane, 1);
        }
    }
    release(&s);
    return 0;
}

#undef F
#undef LANES
#undef WIDTH
#undef NAME
#undef BYTES
#undef FMIN
#undef FMAX
#undef FMADD
