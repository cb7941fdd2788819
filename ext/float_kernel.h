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
static void NAME(locate)(const adder_shape *a, const scratch *s, int64_t images, pixel *next, int64_t x_at[LANES],
                         int64_t y_at[LANES]) {
    const int64_t PQ = a->P * a->Q;
    for (int l = 0; l < LANES; l++) {
        x_at[l] = next->n * s->plane + next->p * a->stride_h * s->W + next->q * a->stride_w;
        y_at[l] = next->n * a->groups * a->K * PQ + next->p * a->Q + next->q;
        step(a, images, next);
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

/* Where the kernels find tap j of the lanes: at half[0] + offset[j] and half[1] + offset[j]. In the images where lanes
 * are neighbours there, else gathered into xs. */
typedef struct {
    const float *half[2];
    const int64_t *offset;
    int direct;
} NAME(taps);

static INLINE NAME(taps) NAME(find)(const scratch *s, const float *x, const int64_t at[LANES]) {
    if (NAME(in_a_row)(at) && NAME(in_a_row)(at + WIDTH))
        return (NAME(taps)){{x + at[0], x + at[WIDTH]}, s->tap, 1};
    NAME(gather)(x, s->tap, s->taps, at, s->xs);
    return (NAME(taps)){{s->xs, s->xs + WIDTH}, s->dense, 0};
}

/* -sum_j |x[j][lane] - w[j][t]| for ROWS output channels t: eight sums of one vector each. Subtracting is done as
 * adding -1 times: the same bits, by the multipliers' ports, while the adders' ports take the differences. */
static INLINE void NAME(distances)(const NAME(taps) * x, int64_t taps, const float *w, float *sum) {
    const F minus = (F){0} - 1.0f;
    const float *const x0 = x->half[0], *const x1 = x->half[1];
    const int64_t *const offset = x->offset;
    F a0 = {0}, a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    for (int64_t j = 0; j < taps; j++, w += ROWS) {
        const F v = NAME(load)(x0 + offset[j]), u = NAME(load)(x1 + offset[j]);
#define ROW(t)                                                                                                         \
    a##t = FMADD(NAME(magnitude)(v - w[t]), minus, a##t);                                                              \
    b##t = FMADD(NAME(magnitude)(u - w[t]), minus, b##t);
        ROW(0) ROW(1) ROW(2) ROW(3)
#undef ROW
    }
#define KEEP(t) NAME(store)(sum + t * LANES, a##t), NAME(store)(sum + t * LANES + WIDTH, b##t);
    KEEP(0) KEEP(1) KEEP(2) KEEP(3)
#undef KEEP
}

/* Some images of one group: x as images_of() gives them, y from the first of them on */
static void NAME(forward_images)(const adder_shape *a, const scratch *s, int64_t images, const float *x, float *y) {
    const int64_t all = images * a->P * a->Q;
    pixel next = {0, 0, 0};
    for (int64_t first = 0; first < all; first += LANES) {
        int64_t x_at[LANES], y_at[LANES];
        NAME(locate)(a, s, images, &next, x_at, y_at);
        const NAME(taps) found = NAME(find)(s, x, x_at);
        for (int64_t k = 0; k < a->K; k += ROWS)
            NAME(distances)(&found, s->taps, s->wt + k * s->taps, s->gs + k * LANES);
        NAME(scatter)(s->gs, s->out, a->K, y_at, smaller(all - first, LANES), y, 0);
    }
}

static int NAME(forward)(const adder_shape *a, const float *x, const float *w, float *y) {
    const int64_t PQ = a->P * a->Q;
    scratch s;
    if (reserve(&s, a, LANES, 0))
        return -1;
    for (int64_t g = 0; g < a->groups; g++) {
        in_rows(a, w + g * a->K * s.taps, &s);
        for (int64_t n = 0; n < a->N; n += s.together) {
            const int64_t images = smaller(a->N - n, s.together);
            NAME(forward_images)(a, &s, images, images_of(a, &s, g, n, images, x), y + (n * a->groups + g) * a->K * PQ);
        }
    }
    release(&s);
    return 0;
}

/* sum_k clamp(w[k] - x, -1, 1) * gs[k] for the lanes of one tap, as sum_k clamp(w[k], x - 1, x + 1) * gs - x * total,
 * which is one operation less per term. Two channels at a time: four sums hide the latency of a multiply-add. */
static INLINE void NAME(clipped)(const float *gs, int64_t K, const float *w, const float *total, F x, F y, F out[2]) {
    const F one = (F){0} + 1.0f, lx = x - one, hx = x + one, ly = y - one, hy = y + one;
    F ax = {0}, ay = {0}, bx = {0}, by = {0};
    for (int64_t k = 0; k < K; k += 2, gs += 2 * LANES) {
        const F v = NAME(all)(w + k), u = NAME(all)(w + k + 1);
        ax = FMADD(NAME(load)(gs), FMIN(FMAX(v, lx), hx), ax);
        ay = FMADD(NAME(load)(gs + WIDTH), FMIN(FMAX(v, ly), hy), ay);
        bx = FMADD(NAME(load)(gs + LANES), FMIN(FMAX(u, lx), hx), bx);
        by = FMADD(NAME(load)(gs + LANES + WIDTH), FMIN(FMAX(u, ly), hy), by);
    }
    out[0] = ax + bx - x * NAME(load)(total), out[1] = ay + by - y * NAME(load)(total + WIDTH);
}

static void NAME(sum_gradients)(const float *gs, int64_t K, float *total) {
    F a = {0}, b = {0};
    for (int64_t k = 0; k < K; k++, gs += LANES)
        a += NAME(load)(gs), b += NAME(load)(gs + WIDTH);
    NAME(store)(total, a), NAME(store)(total + WIDTH, b);
}

/* gx of all taps of the lanes: added in place where they are neighbours, else left in xs */
static INLINE void NAME(all_clipped)(const scratch *s, int64_t K, const NAME(taps) * x, float *gx,
                                     const int64_t at[LANES], const int direct) {
    float total[LANES], *const out0 = direct ? gx + at[0] : s->xs,
                               *const out1 = direct ? gx + at[WIDTH] : s->xs + WIDTH;
    const int64_t *const offset = direct ? s->tap : s->dense;
    NAME(sum_gradients)(s->gs, K, total);
    for (int64_t j = 0; j < s->taps; j++) {
        float *const p = out0 + offset[j], *const q = out1 + offset[j];
        F g[2];
        NAME(clipped)(s->gs, K, s->wt + j * K, total, NAME(load)(x->half[0] + offset[j]),
                      NAME(load)(x->half[1] + offset[j]), g);
        NAME(store)(p, direct ? NAME(load)(p) + g[0] : g[0]); /* before q is read: the halves may overlap */
        NAME(store)(q, direct ? NAME(load)(q) + g[1] : g[1]);
    }
}

/* Some images of one group: gx is added to, shaped and placed as x is */
static void NAME(input_grad_images)(const adder_shape *a, const scratch *s, int64_t images, const float *x,
                                    const float *gy, float *gx) {
    const int64_t all = images * a->P * a->Q;
    pixel next = {0, 0, 0};
    for (int64_t first = 0; first < all; first += LANES) {
        int64_t x_at[LANES], y_at[LANES];
        NAME(locate)(a, s, images, &next, x_at, y_at);
        const NAME(taps) found = NAME(find)(s, x, x_at);
        NAME(gather)(gy, s->out, a->K, y_at, s->gs);
        if (found.direct) {
            NAME(all_clipped)(s, a->K, &found, gx, x_at, 1);
        } else {
            NAME(all_clipped)(s, a->K, &found, 0, x_at, 0);
            NAME(scatter)(s->xs, s->tap, s->taps, x_at, smaller(all - first, LANES), gx, 1);
        }
    }
}

static int NAME(input_grad)(const adder_shape *a, const float *x, const float *w, const float *gy, float *gx) {
    const int64_t PQ = a->P * a->Q, group = a->C * a->H * a->W;
    scratch s;
    if (reserve(&s, a, LANES, 1))
        return -1;
    if (!pads(a))
        memset(gx, 0, sizeof(float) * (size_t)(a->N * a->groups * group));
    for (int64_t g = 0; g < a->groups; g++) {
        in_columns(a, w + g * a->K * s.taps, &s);
        for (int64_t n = 0; n < a->N; n += s.together) {
            const int64_t images = smaller(a->N - n, s.together);
            float *sums = pads(a) ? s.padded_grad : gx + g * group;
            if (pads(a))
                memset(sums, 0, sizeof(float) * (size_t)(images * s.plane));
            NAME(input_grad_images)(a, &s, images, images_of(a, &s, g, n, images, x),
                                    gy + (n * a->groups + g) * a->K * PQ, sums);
            if (pads(a))
                inside(a, &s, g, n, images, sums, 0, gx);
        }
    }
    release(&s);
    return 0;
}

/* g where d > 0, -g where d < 0, 0 where d = 0 */
static INLINE F NAME(signed)(F d, F g) {
    return (F)(((NAME(bits))g ^ ((NAME(bits))d & INT32_MIN)) & (d != (F){0}));
}

static INLINE float NAME(sum)(F v) {
    float part[WIDTH];
    NAME(store)(part, v);
    for (int half = WIDTH / 2; half; half /= 2)
        for (int l = 0; l < half; l++)
            part[l] += part[l + half];
    return part[0];
}

/* out[t] = sum sign(x - w[t]) * g[t] over all pixels of the strip, for one tap and ROWS output channels t */
static INLINE void NAME(signed_sums)(const float *x, int64_t next_x, const float *g, int64_t next_g, int64_t blocks,
                                     const float *w, float out[ROWS]) {
    F a0 = {0}, a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    for (int64_t i = 0; i < blocks; i++, x += next_x, g += next_g) {
        const F v = NAME(load)(x), u = NAME(load)(x + WIDTH);
#define ROW(t)                                                                                                         \
    a##t += NAME(signed)(v - w[t], NAME(load)(g + t * LANES));                                                         \
    b##t += NAME(signed)(u - w[t], NAME(load)(g + t * LANES + WIDTH));
        ROW(0) ROW(1) ROW(2) ROW(3)
#undef ROW
    }
    out[0] = NAME(sum)(a0 + b0), out[1] = NAME(sum)(a1 + b1), out[2] = NAME(sum)(a2 + b2), out[3] = NAME(sum)(a3 + b3);
}

/* Gather the pixels' gradients of a strip into gs, block by block, and remember where the pixels lie; lanes that repeat
 * the last pixel get 0. Returns the number of blocks. */
static int64_t NAME(strip_gradients)(const adder_shape *a, const scratch *s, int64_t images, int64_t left,
                                     const float *gy, pixel *next, int64_t x_at[STRIP][LANES]) {
    int64_t blocks = 0;
    float *gs = s->gs;
    for (; blocks < STRIP && left > 0; blocks++, left -= LANES, gs += (a->K + ROWS) * LANES) {
        int64_t y_at[LANES];
        NAME(locate)(a, s, images, next, x_at[blocks], y_at);
        NAME(gather)(gy, s->out, a->K, y_at, gs);
        if (left < LANES)
            for (int64_t k = 0; k < a->K; k++)
                memset(gs + k * LANES + left, 0, sizeof(float) * (size_t)(LANES - left));
    }
    return blocks;
}

/* Some images of one group: gw is added to */
static void NAME(sign_grad_images)(const adder_shape *a, const scratch *s, int64_t images, const float *x,
                                   const float *gy, float *gw) {
    const int64_t all = images * a->P * a->Q, next_g = (a->K + ROWS) * LANES;
    const int64_t next_x = (smaller(s->taps, TAPS) | 1) * LANES; /* not a power of 2: blocks share no cache set */
    pixel next = {0, 0, 0};
    for (int64_t first = 0; first < all; first += STRIP * LANES) {
        int64_t x_at[STRIP][LANES];
        const int64_t blocks = NAME(strip_gradients)(a, s, images, all - first, gy, &next, x_at);
        for (int64_t tap = 0; tap < s->taps; tap += TAPS) {
            const int64_t taps = smaller(s->taps - tap, TAPS);
            for (int64_t i = 0; i < blocks; i++)
                NAME(gather)(x, s->tap + tap, taps, x_at[i], s->xs + i * next_x);
            for (int64_t k = 0; k < a->K; k += ROWS)
                for (int64_t j = 0; j < taps; j++) {
                    float sums[ROWS];
                    NAME(signed_sums)(s->xs + j * LANES, next_x, s->gs + k * LANES, next_g, blocks,
                                      s->wt + k * s->taps + (tap + j) * ROWS, sums);
                    for (int64_t t = 0; t < ROWS && k + t < a->K; t++)
                        gw[(k + t) * s->taps + s->weight[tap + j]] += sums[t];
                }
        }
    }
}

static int NAME(sign_grad)(const adder_shape *a, const float *x, const float *w, const float *gy, float *gw) {
    const int64_t PQ = a->P * a->Q;
    scratch s;
    if (reserve(&s, a, STRIP * LANES, 0))
        return -1;
    memset(gw, 0, sizeof(float) * (size_t)(a->groups * a->K * s.taps));
    for (int64_t g = 0; g < a->groups; g++) {
        in_rows(a, w + g * a->K * s.taps, &s);
        for (int64_t n = 0; n < a->N; n += s.together) {
            const int64_t images = smaller(a->N - n, s.together);
            NAME(sign_grad_images)(a, &s, images, images_of(a, &s, g, n, images, x),
                                   gy + (n * a->groups + g) * a->K * PQ, gw + g * a->K * s.taps);
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
