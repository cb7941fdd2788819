/* What one call works in: padded copies of a few images, lists of window positions; once per instruction set. */

static inline int NAME(copy_type)(const layer_plan *plan) {
    switch (plan->path) {
    case DISTANCE8:
    case SEGMENT8: return U8;
    case DISTANCE16:
    case PRODUCT16:
    case LANES16: return S16;
    default: return S32;
    }
}

/* What one call works in */
typedef struct {
    const layer *l;
    const layer_images *n;
    int type; /* of the words in the padded copy */
    int64_t word, pixel_bytes, row_bytes, image_bytes, together,
        chunk; /* of the copy; images in it; pixels listed at once */
    char *room;
    const char *copy; /* in room, or x itself */
    int32_t *offset, *row_sum;
    int64_t *where, pixel[CHUNK]; /* listed windows: their first byte; DISTANCE16: their first pixel */
    void *node;
    layer_facts *facts;
    NAME(lanes) lanes;
} NAME(work);

static void NAME(fill)(const NAME(work) * k, char *out, int64_t pixels) {
    const layer_plan *plan = k->l->plan;
    if (!plan->padding || pixels <= 0) {
        memset(out, 0, (size_t)(pixels > 0 ? pixels * k->pixel_bytes : 0));
        return;
    }
    for (int64_t i = 0; i < pixels * plan->groups; i++)
        for (int64_t c = 0; c < plan->channels; c++)
            word_store(out, k->type, i * plan->channels + c, c < plan->C ? plan->padding : 0);
}

/* `pixels` pixels of x in the copy's words; channels that fill up a vector are 0 */
static void NAME(convert)(const NAME(work) * k, const char *x, char *out, int64_t pixels) {
    const layer_plan *plan = k->l->plan;
    const int64_t from = word_bytes(k->n->x_type);
    if (plan->channels == plan->C) {
        words_convert(x, k->n->x_type, pixels * plan->groups * plan->C, plan->least, out, k->type);
        return;
    }
    memset(out, 0, (size_t)(pixels * k->pixel_bytes));
    for (int64_t i = 0; i < pixels * plan->groups; i++)
        words_convert(x + i * plan->C * from, k->n->x_type, plan->C, plan->least, out + i * plan->channels * k->word,
                      k->type);
}

/* Whether x is what the copy would be, so that it can be read where it lies */
static int NAME(reads_in_place)(const NAME(work) * k) {
    const layer_plan *plan = k->l->plan;
    return !plan->pad_h && !plan->pad_w && k->type == U8 && k->n->x_type == U8 && !plan->least &&
           plan->channels == plan->C;
}

static void NAME(pad)(const NAME(work) * k, const char *x, int64_t images) {
    const layer_plan *plan = k->l->plan;
    const int64_t row = k->n->W * plan->groups * plan->C * word_bytes(k->n->x_type);
    char *out = k->room;
    for (int64_t n = 0; n < images; n++) {
        for (int64_t h = -plan->pad_h; h < k->n->H + plan->pad_h; h++, out += k->row_bytes) {
            if (h < 0 || h >= k->n->H) {
                NAME(fill)(k, out, k->row_bytes / k->pixel_bytes);
                continue;
            }
            NAME(fill)(k, out, plan->pad_w);
            NAME(convert)(k, x, out + plan->pad_w * k->pixel_bytes, k->n->W);
            NAME(fill)(k, out + (plan->pad_w + k->n->W) * k->pixel_bytes, plan->pad_w);
            x += row;
        }
    }
}

/* Byte positions in the copy of the windows of pixels m0 .. m0+pixels-1, counted through all images; TILE-1 more
 * repeat the last one, so that a short tile has operands */
static void NAME(list)(NAME(work) * k, int64_t m0, int64_t pixels) {
    const layer_plan *plan = k->l->plan;
    const int64_t Q = k->n->Q, step = plan->stride_w * k->pixel_bytes, down = plan->stride_h * k->row_bytes;
    int64_t n = m0 / (k->n->P * Q), p = m0 / Q % k->n->P, q = m0 % Q, at = n * k->image_bytes + p * down + q * step;
    for (int64_t i = 0; i < pixels;) {
        for (; q < Q && i < pixels; q++, at += step)
            k->where[i++] = at;
        q = 0, p = p + 1 == k->n->P ? 0 : p + 1, n += p == 0;
        at = n * k->image_bytes + p * down;
    }
    for (int64_t i = 0; i < TILE - 1; i++)
        k->where[pixels + i] = k->where[pixels - 1];
    for (int64_t i = 0; plan->path == DISTANCE16 && i < pixels; i++)
        k->pixel[i] = k->where[i] / k->pixel_bytes;
}

/* DISTANCE16: sum of x in every listed window of group g, from the sums of each pixel's channels */
static void NAME(sum_windows)(const NAME(work) * k, int64_t g, int64_t pixels, int32_t *window) {
    const layer_plan *plan = k->l->plan;
    const int64_t per_tap = plan->steps / plan->places;
    memset(window, 0, (size_t)pixels * sizeof *window);
    for (int64_t j = 0; j < plan->places; j++) {
        const int32_t *sum = k->row_sum + k->offset[j * per_tap] / k->pixel_bytes * plan->groups + g;
        for (int64_t i = 0; i < pixels; i++)
            window[i] = (int32_t)((uint32_t)window[i] + (uint32_t)sum[k->pixel[i] * plan->groups]);
    }
}

static void NAME(sum_channels)(const NAME(work) * k, int64_t images) {
    const layer_plan *plan = k->l->plan;
    const int16_t *x = (const int16_t *)k->copy;
    const int64_t count = images * k->image_bytes / k->pixel_bytes * plan->groups;
    for (int64_t i = 0; i < count; i++, x += plan->channels) {
        int32_t sum = 0;
        for (int64_t c = 0; c < plan->channels; c++)
            sum += x[c];
        k->row_sum[i] = sum;
    }
}
