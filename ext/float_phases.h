/* What the gradient of the inputs needs to know of a layer: which output pixels have seen an input pixel.
 *
 * Row h was seen by output row p through tap r where p * stride = h + pad - r * dilation. So all rows of one phase,
 * h = i + u * stride, are seen through the same taps, from rows u + (i + pad - r * dilation) / stride; so are columns.
 * Rows and columns beyond the output's are zeros around it. */

/* Weights of one input channel, those without a sign bit first, and where the gradients that go with them are gathered;
 * an even number of either kind */
typedef struct {
    const float *weight;
    const int32_t *row;
    int64_t ups, downs;
} clamped;

typedef struct {
    grid at;         /* x: the pixel, y: the output pixel of the same place in the padded gradient */
    int64_t first;   /* where its first pixel lies */
    int64_t taps;    /* that see it */
    int64_t *weight; /* which of the R * S they are */
    int64_t *from;   /* and where in the padded gradient, seen from the pixel */
    clamped *lists;  /* for every chunk of output channels, by input channel */
} phase;

typedef struct {
    int64_t top, left, H, W, plane, together; /* of the padded gradient: border; rows, columns; floats of an image */
    int64_t chunk, most;                      /* output channels, and terms, that are gathered at a time */
    int64_t phases;
    phase *phase;
    float *padded, *gs, *xs, *sums, *weight;
    int32_t *row;
    int64_t *from, *channel; /* of the gathered terms; of the input channels */
} view;

static void close_view(view *v) {
    for (int64_t i = 0; v->phase && i < v->phases; i++) {
        free(v->phase[i].weight);
        free(v->phase[i].from);
        free(v->phase[i].lists);
    }
    free(v->phase);
    free(v->padded);
    free(v->gs);
    free(v->xs);
    free(v->sums);
    free(v->weight);
    free(v->row);
    free(v->from);
    free(v->channel);
}

/* The distance in output rows from row u of phase i to that which saw it through tap r; 0 if none did. Columns, too. */
static int seen_from(int64_t i, int64_t pad, int64_t r, int64_t dilation, int64_t stride, int64_t *distance) {
    const int64_t steps = i + pad - r * dilation;
    *distance = steps / stride;
    return steps % stride == 0;
}

/* How far before the first and behind the last output row the input's rows look */
static void borders(int64_t rows, int64_t outputs, int64_t pad, int64_t taps, int64_t dilation, int64_t stride,
                    int64_t *before, int64_t *all) {
    int64_t low = 0, high = outputs, distance;
    for (int64_t i = 0; i < smaller(stride, rows); i++)
        for (int64_t r = 0; r < taps; r++)
            if (seen_from(i, pad, r, dilation, stride, &distance)) {
                low = smaller(low, distance);
                high = larger(high, (rows - 1 - i) / stride + 1 + distance);
            }
    *before = -low, *all = high - low;
}

static int open_phase(const adder_shape *a, const view *v, int64_t i, int64_t j, phase *f) {
    const int64_t HW = a->H * a->W, chunks = (a->K + v->chunk - 1) / v->chunk;
    int64_t down, right;
    f->at = (grid){(a->H - i + a->stride_h - 1) / a->stride_h,
                   (a->W - j + a->stride_w - 1) / a->stride_w,
                   a->groups * a->C * HW,
                   a->stride_h * a->W,
                   a->stride_w,
                   v->plane,
                   v->W,
                   1};
    f->first = i * a->W + j;
    f->weight = malloc(sizeof(int64_t) * (size_t)(a->R * a->S));
    f->from = malloc(sizeof(int64_t) * (size_t)(a->R * a->S));
    f->lists = malloc(sizeof(clamped) * (size_t)(chunks * a->C));
    if (!f->weight || !f->from || !f->lists)
        return -1;
    for (int64_t r = 0; r < a->R; r++)
        for (int64_t t = 0; t < a->S; t++)
            if (seen_from(i, a->pad_h, r, a->dilation_h, a->stride_h, &down) &&
                seen_from(j, a->pad_w, t, a->dilation_w, a->stride_w, &right)) {
                f->weight[f->taps] = r * a->S + t;
                f->from[f->taps++] = (down + v->top) * v->W + right + v->left;
            }
    return 0;
}

static int open_phases(const adder_shape *a, view *v) {
    const int64_t rows = smaller(a->stride_h, a->H), columns = smaller(a->stride_w, a->W);
    v->phases = rows * columns;
    v->phase = calloc((size_t)v->phases, sizeof(phase));
    if (!v->phase)
        return -1;
    for (int64_t i = 0; i < v->phases; i++)
        if (open_phase(a, v, i / columns, i % columns, v->phase + i))
            return -1;
    return 0;
}

static int borderless(const adder_shape *a, const view *v) {
    return v->H == a->P && v->W == a->Q;
}

static int open_view(view *v, const adder_shape *a, int lanes) {
    memset(v, 0, sizeof *v);
    borders(a->H, a->P, a->pad_h, a->R, a->dilation_h, a->stride_h, &v->top, &v->H);
    borders(a->W, a->Q, a->pad_w, a->S, a->dilation_w, a->stride_w, &v->left, &v->W);
    v->plane = a->K * v->H * v->W * (borderless(a, v) ? a->groups : 1);
    v->together = borderless(a, v) ? a->N : in_cache(v->plane, a->N);
    v->chunk = larger(1, smaller(a->K, TERMS / (a->R * a->S)));
    v->most = v->chunk * a->R * a->S;
    if (open_phases(a, v))
        return close_view(v), -1;
    const int64_t chunks = (a->K + v->chunk - 1) / v->chunk, weights = a->C * a->K * a->R * a->S;
    const size_t listed = (size_t)(weights + 2 * a->C * chunks * v->phases + 1), wide = (size_t)lanes;
    v->padded = calloc(borderless(a, v) ? 1 : sizeof(float) * (size_t)(v->together * v->plane), 1);
    v->gs = aligned((size_t)(v->most + 1) * wide);
    v->xs = aligned((size_t)a->C * wide);
    v->sums = aligned((size_t)a->C * wide);
    v->weight = malloc(sizeof(float) * listed);
    v->row = malloc(sizeof(int32_t) * listed);
    v->from = malloc(sizeof(int64_t) * (size_t)v->most);
    v->channel = malloc(sizeof(int64_t) * (size_t)a->C);
    if (!v->padded || !v->gs || !v->xs || !v->sums || !v->weight || !v->row || !v->from || !v->channel)
        return close_view(v), -1;
    memset(v->gs, 0, sizeof(float) * wide); /* what goes with a weight that is none */
    for (int64_t c = 0; c < a->C; c++)
        v->channel[c] = c * a->H * a->W;
    return 0;
}

/* Append the weights of input channel c and output channels k .. k + n - 1 whose sign bit is as asked; if they are odd
 * in number, another 0 with the gradient that is 0. Returns how many. */
static int64_t of_sign(const adder_shape *a, const phase *f, const float *w, int64_t c, int64_t n, int negative,
                       int lanes, float *weight, int32_t *row) {
    int64_t found = 0;
    for (int64_t t = 0; t < f->taps; t++)
        for (int64_t k = 0; k < n; k++) {
            const float one = w[(k * a->C + c) * a->R * a->S + f->weight[t]];
            weight[found] = one, row[found] = (int32_t)((1 + t * n + k) * lanes);
            found += (signbit(one) != 0) == negative; /* no branch: nobody could predict it */
        }
    if (found % 2)
        weight[found] = negative ? -0.0f : 0.0f, row[found++] = 0;
    return found;
}

/* Sort the weights (K, C, R, S) of a group */
static void by_sign(const adder_shape *a, view *v, const float *w, int lanes) {
    float *weight = v->weight;
    int32_t *row = v->row;
    for (int64_t i = 0; i < v->phases; i++) {
        clamped *l = v->phase[i].lists;
        for (int64_t k = 0; k < a->K; k += v->chunk)
            for (int64_t c = 0; c < a->C; c++, l++) {
                const int64_t n = smaller(a->K - k, v->chunk);
                const float *some = w + k * a->C * a->R * a->S;
                l->weight = weight, l->row = row;
                l->ups = of_sign(a, v->phase + i, some, c, n, 0, lanes, weight, row);
                weight += l->ups, row += l->ups;
                l->downs = of_sign(a, v->phase + i, some, c, n, 1, lanes, weight, row);
                weight += l->downs, row += l->downs;
            }
    }
}

/* Where the terms of n output channels from the k-th on lie, seen from a pixel; returns how many there are */
static int64_t terms(const view *v, const phase *f, int64_t k, int64_t n) {
    for (int64_t t = 0; t < f->taps; t++)
        for (int64_t i = 0; i < n; i++)
            v->from[t * n + i] = (k + i) * v->H * v->W + f->from[t];
    return f->taps * n;
}
