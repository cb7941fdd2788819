/* Float32 adder layers, once per instruction set. Before each inclusion float_adder.c defines NAME(x), BYTES of a
 * vector, FMAX(a, b) and FMADD(a, b, c): a * b + c.
 *
 * LANES output pixels (of any images) are computed together: the pixels are the vector, so that no sum is
 * reordered. Their receptive fields are first gathered into xs[tap][lane]; a fully connected layer is the case
 * P = Q = R = S = 1, where the lanes are images. */

#define WIDTH (BYTES / 4)
#define LANES (2 * WIDTH)
#define RUN (WIDTH < 8 ? WIDTH : 8) /* pixels that are copied together: images may be as narrow */

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

/* Where the next LANES pixels lie in both tensors. Lanes beyond the last pixel repeat it: what they find is not stored,
 * or counts as 0. */
static void NAME(locate)(const grid *g, int64_t images, pixel *next, int64_t x_at[LANES], int64_t y_at[LANES]) {
    for (int l = 0; l < LANES; l++) {
        x_at[l] = next->n * g->x_image + next->row * g->x_row + next->column * g->x_column;
        y_at[l] = next->n * g->y_image + next->row * g->y_row + next->column * g->y_column;
        step(g, images, next);
    }
}

/* Are so many pixels neighbours in memory? Strides, row ends and repeated last pixels break the row. */
static INLINE int NAME(in_a_row)(const int64_t *at, const int count) {
    int64_t broken = 0;
    for (int l = 1; l < count; l++)
        broken |= at[l] - at[0] - l;
    return broken == 0;
}

/* out[j][lane] = x[at[lane] + offset[j]] */
static INLINE void NAME(gather)(const float *x, const int64_t *offset, int64_t count, const int64_t at[LANES],
                                float *out) {
    for (int run = 0; run < LANES; run += RUN) {
        const int64_t *a = at + run;
        float *o = out + run;
        if (NAME(in_a_row)(a, RUN))
            for (int64_t j = 0; j < count; j++, o += LANES)
                memcpy(o, x + a[0] + offset[j], RUN * sizeof *o);
        else
            for (int64_t j = 0; j < count; j++, o += LANES)
                for (int l = 0; l < RUN; l++)
                    o[l] = x[a[l] + offset[j]];
    }
}

/* out[at[lane] + offset[j]] = in[j][lane], the reverse of gather, for the first `live` lanes */
static INLINE void NAME(scatter)(const float *in, const int64_t *offset, int64_t count, const int64_t at[LANES],
                                 int64_t live, float *out) {
    for (int run = 0; run < live; run += RUN) {
        const int64_t *a = at + run;
        const float *v = in + run;
        if (live - run >= RUN && NAME(in_a_row)(a, RUN))
            for (int64_t j = 0; j < count; j++, v += LANES)
                memcpy(out + a[0] + offset[j], v, RUN * sizeof *v);
        else
            for (int64_t j = 0; j < count; j++, v += LANES)
                for (int l = 0; l < RUN && l < live - run; l++)
                    out[a[l] + offset[j]] = v[l];
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
    if (NAME(in_a_row)(at, WIDTH) && NAME(in_a_row)(at + WIDTH, WIDTH))
        return (NAME(taps)){{x + at[0], x + at[WIDTH]}, s->tap, 1};
    NAME(gather)(x, s->tap, s->taps, at, s->xs);
    return (NAME(taps)){{s->xs, s->xs + WIDTH}, s->dense, 0};
}

/* sum_j x[j][lane] of both halves */
static void NAME(sum_taps)(const NAME(taps) * x, int64_t taps, float *sum) {
    F a[4] = {{0}}, b[4] = {{0}}; /* chains that hide the latency of an addition */
    for (int64_t j = 0; j < taps; j++)
        a[j % 4] += NAME(load)(x->half[0] + x->offset[j]), b[j % 4] += NAME(load)(x->half[1] + x->offset[j]);
    NAME(store)(sum, (a[0] + a[1]) + (a[2] + a[3])), NAME(store)(sum + WIDTH, (b[0] + b[1]) + (b[2] + b[3]));
}

/* -sum_j |x[j][lane] - w[j][t]| for ROWS output channels t, as |x - w| = 2 max(x, w) - x - w: two instructions instead
 * of three. all_x and all_w[t] are the sums over j; maxima are taken off them, which rounds no worse than adding
 * distances up. Eight sums of one vector each. */
static INLINE void NAME(distances)(const NAME(taps) * x, int64_t taps, const float *w, const float *all_x,
                                   const float *all_w, float *sum) {
    const F twice = (F){0} - 2.0f, x_a = NAME(load)(all_x), x_b = NAME(load)(all_x + WIDTH);
    const float *const x0 = x->half[0], *const x1 = x->half[1];
    const int64_t *const offset = x->offset;
    F a0 = x_a + all_w[0], a1 = x_a + all_w[1], a2 = x_a + all_w[2], a3 = x_a + all_w[3];
    F b0 = x_b + all_w[0], b1 = x_b + all_w[1], b2 = x_b + all_w[2], b3 = x_b + all_w[3];
    for (int64_t j = 0; j < taps; j++, w += ROWS) {
        const F v = NAME(load)(x0 + offset[j]), u = NAME(load)(x1 + offset[j]);
#define ROW(t)                                                                                                         \
    a##t = FMADD(FMAX(v, NAME(all)(w + t)), twice, a##t);                                                              \
    b##t = FMADD(FMAX(u, NAME(all)(w + t)), twice, b##t);
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
        NAME(locate)(&s->at, images, &next, x_at, y_at);
        const NAME(taps) found = NAME(find)(s, x, x_at);
        float all_x[LANES];
        NAME(sum_taps)(&found, s->taps, all_x);
        for (int64_t k = 0; k < a->K; k += ROWS)
            NAME(distances)(&found, s->taps, s->wt + k * s->taps, all_x, s->all_w + k, s->gs + k * LANES);
        NAME(scatter)(s->gs, s->out, a->K, y_at, smaller(all - first, LANES), y);
    }
}

static int NAME(forward)(const adder_shape *a, const float *x, const float *w, float *y) {
    const int64_t PQ = a->P * a->Q;
    scratch s;
    if (reserve(&s, a, LANES))
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
        NAME(locate)(&s->at, images, next, x_at[blocks], y_at);
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
    if (reserve(&s, a, STRIP * LANES))
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
