/* One layer: tiles of pixels through panels of output channels; once per instruction set. */

static inline void NAME(tile)(NAME(work) * k, const uint8_t *const x[TILE], const uint8_t *w, int64_t pixels,
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
typedef int64_t NAME(whole)(NAME(work) * k, const uint8_t *copy, const uint8_t *w, const int32_t *constants,
                            const int32_t *w_sum, const int32_t *window, int64_t pixels, int64_t stride, char *y);

static INLINE int64_t NAME(whole_tiles)(NAME(work) * k, const uint8_t *copy, const uint8_t *w, const int32_t *constants,
                                        const int32_t *w_sum, const int32_t *window, int64_t pixels, int64_t stride,
                                        char *y, const int path, const int finish, const int relu) {
    const V32 low = (V32){0} + (int32_t)k->l->plan->y_low, high = (V32){0} + (int32_t)k->l->plan->y_high;
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
        FRESH(constants); /* read anew: kept in registers across the loop above they would push its sums out */
        const NAME(fast_stage) stage = NAME(fast_of)(low, high, constants);
#define STAGE(j)                                                                                                       \
    {                                                                                                                  \
        if (path == DISTANCE16)                                                                                        \
            sum[j] = sum[j] + sum[j] - (NAME(words)(w_sum) + window[i + j]);                                           \
        sum[j] = NAME(fast)(&stage, sum[j], &lanes, finish, 1, relu);                                                  \
    }
        STAGE(0)
        STAGE(1)
        STAGE(2) STAGE(3) STAGE(4) STAGE(5)
#undef STAGE
            if (type <= S8) NAME(store_tile)(y, stride, sum, type == S8);
        else for (int j = 0; j < TILE; j++) NAME(store)(sum[j], BLOCK, y + j * stride, type);
    }
    k->lanes = lanes;
    return i;
}

#define WHOLE(name, path, finish, relu)                                                                                \
    static __attribute__((noinline)) int64_t NAME(name)(                                                               \
        NAME(work) * k, const uint8_t *copy, const uint8_t *w, const int32_t *constants, const int32_t *w_sum,         \
        const int32_t *window, int64_t pixels, int64_t stride, char *y) {                                              \
        return NAME(whole_tiles)(k, copy, w, constants, w_sum, window, pixels, stride, y, path, finish, relu);         \
    }
#define EACH_STAGE(name, path)                                                                                         \
    WHOLE(name##_words, path, 0, 0) WHOLE(name##_codes, path, 1, 0) WHOLE(name##_relu, path, 1, 1)
EACH_STAGE(distances8, DISTANCE8)
EACH_STAGE(maxima16, DISTANCE16)
EACH_STAGE(products16, PRODUCT16)
#undef EACH_STAGE
#undef WHOLE

/* The loop for whole tiles of this layer, if it has one */
static NAME(whole) * NAME(whole_of)(const layer_plan *plan, int64_t channels) {
    static NAME(whole) *const loops[3][3] = {
        /* by path, from DISTANCE8 on */
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
static __attribute__((noinline)) void NAME(panel)(NAME(work) * k, int64_t g, int64_t block, int64_t pixels,
                                                  const int32_t *window, char *y) {
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

static void NAME(chunk)(NAME(work) * k, int64_t m0, int64_t pixels, char *y) {
    const layer_plan *plan = k->l->plan;
    const int64_t blocks = (plan->K + BLOCK - 1) / BLOCK, word = word_bytes(k->n->y_type);
    int32_t window[CHUNK];
    NAME(list)(k, m0, pixels);
    switch (plan->path) {
    case LANES16:
        NAME(pixels_16)(k->l, k->copy, k->where, pixels, k->offset, k->node, y, k->n->y_type, k->facts);
        return;
    case LANES32:
        NAME(pixels_32)(k->l, k->copy, k->where, pixels, k->offset, k->node, y, k->n->y_type, k->facts);
        return;
    case LANES64:
        NAME(pixels_64)(k->l, k->copy, k->where, pixels, k->offset, k->node, y, k->n->y_type, k->facts);
        return;
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
static void NAME(offsets)(const NAME(work) * k) {
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
static int NAME(prepare)(NAME(work) * k) {
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
