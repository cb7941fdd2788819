/* One layer: padded copies of a few images, lists of window positions, tiles of pixels; once per instruction set. */

static inline int NAME(copy_type)(const layer_plan *plan) {
    switch (plan->path) {
    case DISTANCE8: case SEGMENT8: return U8;
    case DISTANCE16: case PRODUCT16: case LANES16: return S16;
    default: return S32;
    }
}

/* What one call works in */
typedef struct {
    const layer *l;
    const layer_images *n;
    int type;                              /* of the words in the padded copy */
    int64_t word, pixel_bytes, row_bytes, image_bytes, together, chunk; /* of the copy; images in it; pixels listed at once */
    char *room;
    const char *copy;                      /* in room, or x itself */
    int32_t *offset, *row_sum;
    int64_t *where, pixel[CHUNK];          /* listed windows: their first byte; DISTANCE16: their first pixel */
    void *node;
    layer_facts *facts;
    NAME(lanes) lanes;
} NAME(work);

static void NAME(fill)(const NAME(work) *k, char *out, int64_t pixels) {
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
static void NAME(convert)(const NAME(work) *k, const char *x, char *out, int64_t pixels) {
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
static int NAME(reads_in_place)(const NAME(work) *k) {
    const layer_plan *plan = k->l->plan;
    return !plan->pad_h && !plan->pad_w && k->type == U8 && k->n->x_type == U8 && !plan->least &&
           plan->channels == plan->C;
}

static void NAME(pad)(const NAME(work) *k, const char *x, int64_t images) {
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
static void NAME(list)(NAME(work) *k, int64_t m0, int64_t pixels) {
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
static void NAME(sum_windows)(const NAME(work) *k, int64_t g, int64_t pixels, int32_t *window) {
    const layer_plan *plan = k->l->plan;
    const int64_t per_tap = plan->steps / plan->places;
    memset(window, 0, (size_t)pixels * sizeof *window);
    for (int64_t j = 0; j < plan->places; j++) {
        const int32_t *sum = k->row_sum + k->offset[j * per_tap] / k->pixel_bytes * plan->groups + g;
        for (int64_t i = 0; i < pixels; i++)
            window[i] = (int32_t)((uint32_t)window[i] + (uint32_t)sum[k->pixel[i] * plan->groups]);
    }
}

static void NAME(sum_channels)(const NAME(work) *k, int64_t images) {
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

static inline void NAME(tile)(NAME(work) *k, const uint8_t *const x[TILE], const uint8_t *w, int64_t pixels,
                              int64_t channels, V32 sum[TILE]) {
    const layer_plan *plan = k->l->plan;
    if (plan->path == DISTANCE8)
        NAME(distances8)(x, k->offset, plan->steps, w, sum);
    else if (plan->path == PRODUCT16)
        NAME(products16)(x, k->offset, plan->steps, w, sum);
    else if (plan->path == DISTANCE16)
        NAME(maxima16)(x, k->offset, plan->steps, w, sum);
    else
        NAME(segments8_tile)(plan, x, k->offset, w, pixels, channels, sum, k->facts);
}

/* Whole tiles from operands to words without leaving the registers: the common case, of which all else is a variant.
 * Returns how many of the listed pixels it did. */
typedef int64_t NAME(whole)(NAME(work) *k, const uint8_t *copy, const uint8_t *w, const int32_t *constants,
                            const int32_t *w_sum, const int32_t *window, int64_t pixels, int64_t stride, char *y);

static INLINE int64_t NAME(whole_tiles)(NAME(work) *k, const uint8_t *copy, const uint8_t *w,
                                        const int32_t *constants, const int32_t *w_sum, const int32_t *window,
                                        int64_t pixels, int64_t stride, char *y, const int path, const int finish,
                                        const int relu) {
    const NAME(fast_stage) stage = NAME(fast_of)(k->l->plan, constants);
    const int64_t steps = k->l->plan->steps, *where = k->where;
    const int32_t *offset = k->offset;
    const int type = k->n->y_type;
    NAME(lanes) lanes = k->lanes;
    int64_t i = 0;
    for (; i + TILE <= pixels; i += TILE, y += TILE * stride) {
        V32 sum[TILE];
        const uint8_t *const x[TILE] = {copy + where[i],     copy + where[i + 1], copy + where[i + 2],
                                        copy + where[i + 3], copy + where[i + 4], copy + where[i + 5]};
        if (path == DISTANCE8)
            NAME(distances8)(x, offset, steps, w, sum);
        else if (path == DISTANCE16)
            NAME(maxima16)(x, offset, steps, w, sum);
        else
            NAME(products16)(x, offset, steps, w, sum);
#define STAGE(j)                                                                  \
    {                                                                             \
        if (path == DISTANCE16)                                                   \
            sum[j] = sum[j] + sum[j] - (NAME(words)(w_sum) + window[i + j]);       \
        sum[j] = NAME(fast)(&stage, sum[j], &lanes, finish, 1, relu);              \
    }
        STAGE(0) STAGE(1) STAGE(2) STAGE(3) STAGE(4) STAGE(5)
#undef STAGE
        if (type <= S8)
            NAME(store_tile)(y, stride, sum, type == S8);
        else
            for (int j = 0; j < TILE; j++)
                NAME(store)(sum[j], BLOCK, y + j * stride, type);
    }
    k->lanes = lanes;
    return i;
}

#define WHOLE(name, path, finish, relu)                                                                             \
    static __attribute__((noinline)) int64_t NAME(name)(NAME(work) *k, const uint8_t *copy, const uint8_t *w,       \
                                                        const int32_t *constants, const int32_t *w_sum,             \
                                                        const int32_t *window, int64_t pixels, int64_t stride,      \
                                                        char *y) {                                                  \
        return NAME(whole_tiles)(k, copy, w, constants, w_sum, window, pixels, stride, y, path, finish, relu);      \
    }
#define EACH_STAGE(name, path) \
    WHOLE(name##_words, path, 0, 0) WHOLE(name##_codes, path, 1, 0) WHOLE(name##_relu, path, 1, 1)
EACH_STAGE(distances8, DISTANCE8)
EACH_STAGE(maxima16, DISTANCE16)
EACH_STAGE(products16, PRODUCT16)
#undef EACH_STAGE
#undef WHOLE

/* The loop for whole tiles of this layer, if it has one */
static NAME(whole) *NAME(whole_of)(const layer_plan *plan, int64_t channels) {
    static NAME(whole) *const loops[3][3] = { /* by path, from DISTANCE8 on */
        {NAME(distances8_words), NAME(distances8_codes), NAME(distances8_relu)},
        {NAME(maxima16_words), NAME(maxima16_codes), NAME(maxima16_relu)},
        {NAME(products16_words), NAME(products16_codes), NAME(products16_relu)},
    };
    if (plan->path > PRODUCT16 || plan->stage != FAST || plan->settles || channels != BLOCK ||
        (plan->finish && plan->rounding_mode > FX_HALF_UP))
        return 0;
    return loops[plan->path][plan->finish ? 1 + (plan->relu != 0) : 0];
}

/* The listed pixels through one panel of output channels; y is the panel's first word */
static __attribute__((noinline)) void NAME(panel)(NAME(work) *k, int64_t g, int64_t block, int64_t pixels, const int32_t *window, char *y) {
    const layer_plan *plan = k->l->plan;
    const int64_t blocks = (plan->K + BLOCK - 1) / BLOCK, wide = plan->path == DISTANCE8 || plan->path == SEGMENT8;
    const uint8_t *w = (const uint8_t *)k->l->w + (g * blocks + block) * plan->steps * (wide ? 2 : 1) * BYTES;
    const int32_t *constants = k->l->constants + (g * blocks + block) * ROWS * BLOCK;
    const int64_t k0 = g * plan->K + block * BLOCK, channels = smaller(plan->K - block * BLOCK, BLOCK);
    const int64_t stride = plan->groups * plan->K * word_bytes(k->n->y_type);
    const uint8_t *copy = (const uint8_t *)k->copy + g * plan->channels * k->word;
    const int32_t *w_sum = k->l->w_sum + (window ? (g * blocks + block) * BLOCK : 0);
    NAME(whole) *whole = NAME(whole_of)(plan, channels);
    int64_t i = whole ? whole(k, copy, w, constants, w_sum, window, pixels, stride, y) : 0;
    for (; i < pixels; i += TILE) {
        const int64_t some = smaller(pixels - i, TILE);
        const uint8_t *x[TILE];
        V32 sum[TILE];
        for (int64_t j = 0; j < TILE; j++)
            x[j] = copy + k->where[i + j];
        NAME(tile)(k, x, w, some, channels, sum);
        if (window)
            for (int64_t j = 0; j < some; j++)
                sum[j] = sum[j] + sum[j] - window[i + j] - NAME(words)(w_sum);
        NAME(finish)(k->l, k0, constants, sum, some, channels, stride, y + i * stride, k->n->y_type, &k->lanes,
                     k->facts);
    }
}

static void NAME(chunk)(NAME(work) *k, int64_t m0, int64_t pixels, char *y) {
    const layer_plan *plan = k->l->plan;
    const int64_t blocks = (plan->K + BLOCK - 1) / BLOCK, word = word_bytes(k->n->y_type);
    int32_t window[CHUNK];
    NAME(list)(k, m0, pixels);
    switch (plan->path) {
    case LANES16: NAME(pixels_16)(k->l, k->copy, k->where, pixels, k->offset, k->node, y, k->n->y_type, k->facts); return;
    case LANES32: NAME(pixels_32)(k->l, k->copy, k->where, pixels, k->offset, k->node, y, k->n->y_type, k->facts); return;
    case LANES64: NAME(pixels_64)(k->l, k->copy, k->where, pixels, k->offset, k->node, y, k->n->y_type, k->facts); return;
    default: break;
    }
    for (int64_t g = 0; g < plan->groups; g++) {
        if (plan->path == DISTANCE16)
            NAME(sum_windows)(k, g, pixels, window);
        for (int64_t block = 0; block < blocks; block++)
            NAME(panel)(k, g, block, pixels, plan->path == DISTANCE16 ? window : 0,
                        y + (g * plan->K + block * BLOCK) * word);
    }
}

/* Offsets of every step from a window's first word: bytes, or words where the lanes count words */
static void NAME(offsets)(const NAME(work) *k) {
    const layer_plan *plan = k->l->plan;
    const int64_t unit = plan->path >= LANES16 ? k->word : 1;
    for (int64_t j = 0; j < plan->steps; j++) {
        const int32_t *at = k->l->at + 3 * j;
        const int64_t byte = at[0] * k->row_bytes + at[1] * k->pixel_bytes + at[2] * k->word;
        k->offset[j] = at[2] < 0 ? -1 : (int32_t)(byte / unit);
    }
}

/* Pixels whose words in and out stay in the first cache while panel after panel passes over them */
static int64_t NAME(chunk_of)(const layer_plan *plan, int64_t bytes) {
    const int64_t fit = (64 << 10) / (bytes * plan->stride_h * plan->stride_w + 1) / TILE * TILE;
    return fit < 96 ? 96 : smaller(fit, CHUNK);
}

/* Room for everything in one allocation; 0 if there is no memory */
static int NAME(prepare)(NAME(work) *k) {
    const layer_plan *plan = k->l->plan;
    const layer_images *n = k->n;
    k->type = NAME(copy_type)(plan), k->word = word_bytes(k->type);
    k->pixel_bytes = plan->groups * plan->channels * k->word;
    k->row_bytes = (n->W + 2 * plan->pad_w) * k->pixel_bytes;
    k->image_bytes = (n->H + 2 * plan->pad_h) * k->row_bytes;
    k->together = smaller(n->N, 1 + (1 << 17) / (k->image_bytes + 1));
    k->chunk = NAME(chunk_of)(plan, k->pixel_bytes + plan->groups * plan->K * word_bytes(n->y_type));
    const size_t copy = NAME(reads_in_place)(k) ? 0 : (size_t)(k->together * k->image_bytes + 127) / 64 * 64;
    const size_t where = (CHUNK + TILE) * sizeof *k->where, offset = ((size_t)plan->steps * 4 + 63) / 64 * 64;
    const size_t sums = plan->path == DISTANCE16 ? copy / (size_t)plan->channels * 2 + 64 : 64;
    const size_t node = plan->path >= LANES16 ? (size_t)plan->lanes.tree_inputs * PIXELS * BYTES : 0;
    k->copy = k->room = aligned_alloc(64, (copy + where + offset + sums + node + 127) / 64 * 64);
    if (!k->room)
        return 0;
    k->node = k->room + copy, k->where = (int64_t *)((char *)k->node + (node + 63) / 64 * 64);
    k->offset = (int32_t *)((char *)k->where + where), k->row_sum = (int32_t *)((char *)k->offset + offset);
    NAME(offsets)(k);
    return 1;
}

static int NAME(run)(const layer *l, const layer_images *n, const void *x, void *y, layer_facts *facts) {
    const layer_plan *plan = l->plan;
    NAME(work) k;
    k.l = l, k.n = n, k.facts = facts, k.lanes = NAME(no_lanes)();
    if (!NAME(prepare)(&k))
        return -1;
    const int64_t image = n->H * n->W * plan->groups * plan->C * word_bytes(n->x_type);
    const int64_t pixel = plan->groups * plan->K * word_bytes(n->y_type);
    char *out = y;
    for (int64_t first = 0; first < n->N; first += k.together) {
        const int64_t images = smaller(n->N - first, k.together), pixels = images * n->P * n->Q;
        if (NAME(reads_in_place)(&k))
            k.copy = (const char *)x + first * image;
        else
            NAME(pad)(&k, (const char *)x + first * image, images);
        if (plan->path == DISTANCE16)
            NAME(sum_channels)(&k, images);
        for (int64_t m = 0; m < pixels; m += k.chunk, out += k.chunk * pixel)
            NAME(chunk)(&k, m, smaller(pixels - m, k.chunk), out);
        out += pixels % k.chunk ? (pixels % k.chunk - k.chunk) * pixel : 0;
    }
    NAME(gather)(&k.lanes, facts);
    free(k.room);
    return 0;
}

/* The output stage alone, of words x: a few pixels as int32, then panel by panel */
static int NAME(stage)(const layer *l, int64_t pixels, const void *x, int x_type, void *y, int y_type,
                       layer_facts *facts) {
    const int64_t K = l->plan->K, to = word_bytes(y_type), together = 1 + 4096 / K;
    NAME(lanes) lanes = NAME(no_lanes)();
    int32_t *words = malloc((size_t)(together * K + BLOCK) * sizeof *words); /* the last panel may look beyond the end */
    if (!words)
        return -1;
    memset(words + together * K, 0, BLOCK * sizeof *words);
    for (int64_t first = 0; first < pixels; first += together) {
        const int64_t some = smaller(pixels - first, together);
        words_convert((const char *)x + first * K * word_bytes(x_type), x_type, some * K, 0, words, S32);
        for (int64_t k0 = 0; k0 < K; k0 += BLOCK) {
            char *out = (char *)y + (first * K + k0) * to;
            for (int64_t i = 0; i < some; i += TILE) {
                V32 v[TILE];
                const int64_t tile = smaller(some - i, TILE);
                for (int64_t j = 0; j < tile; j++)
                    v[j] = NAME(words)(words + (i + j) * K + k0);
                NAME(finish)(l, k0, l->constants + k0 * ROWS, v, tile, smaller(K - k0, BLOCK), K * to, out + i * K * to,
                             y_type, &lanes, facts);
            }
        }
    }
    free(words);
    NAME(gather)(&lanes, facts);
    return 0;
}

/* One panel of a residual addition; numbers: lp, lq, half, n of all K channels */
static int64_t NAME(residual_panel)(int64_t pixels, int64_t K, int64_t k0, const int32_t *p, const int32_t *q,
                                    const int32_t *numbers, V32 low, V32 high, int relu, char *y, int type) {
    const int64_t channels = smaller(K - k0, BLOCK);
    V32 constant[4] = {0}, cut = {0};
    for (int row = 0; row < 4; row++)
        memcpy(&constant[row], numbers + row * K + k0, (size_t)channels * sizeof *numbers);
    for (int64_t i = 0; i < pixels; i++, y += K * word_bytes(type)) {
        V32 a = {0}, b = {0};
        if (channels == BLOCK)
            a = NAME(words)(p + i * K + k0), b = NAME(words)(q + i * K + k0);
        else
            memcpy(&a, p + i * K + k0, (size_t)channels * sizeof *p), memcpy(&b, q + i * K + k0, (size_t)channels * sizeof *q);
        const V32 r = ((a << constant[0]) + (b << constant[1]) + constant[2]) >> constant[3];
        cut -= relu ? r > high : (r > high) | (r < low);
        NAME(store)(NAME(larger32)(NAME(smaller32)(r, high), low), channels, y, type);
    }
    int64_t saturated = 0;
    for (int64_t k = 0; k < channels; k++)
        saturated += cut[k];
    return saturated;
}

/* y = clamp(((p << lp) + (q << lq) + half) >> n), the end of a residual addition */
static int64_t NAME(residual)(int64_t pixels, int64_t K, const int32_t *p, const int32_t *q, const int32_t *numbers,
                              int32_t low, int32_t high, int relu, void *y, int y_type) {
    const int64_t together = 1 + 2048 / K;
    int64_t saturated = 0;
    for (int64_t first = 0; first < pixels; first += together)
        for (int64_t k0 = 0; k0 < K; k0 += BLOCK)
            saturated += NAME(residual_panel)(smaller(pixels - first, together), K, k0, p + first * K, q + first * K,
                                              numbers, (V32){0} + low, (V32){0} + high, relu,
                                              (char *)y + (first * K + k0) * word_bytes(y_type), y_type);
    return saturated;
}
