/* Output stages without a layer, and residual additions; once per instruction set. */

/* The output stage alone, of words x: a few pixels as int32, then panel by panel */
static int NAME(stage)(const layer *l, int64_t pixels, const void *x, int x_type, void *y, int y_type,
                       layer_facts *facts) {
    const int64_t K = l->plan->K, to = word_bytes(y_type), together = 1 + 4096 / K;
    NAME(lanes) lanes = NAME(no_lanes)();
    int32_t *words =
        malloc((size_t)(together * K + BLOCK) * sizeof *words); /* the last panel may look beyond the end */
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
            memcpy(&a, p + i * K + k0, (size_t)channels * sizeof *p),
                memcpy(&b, q + i * K + k0, (size_t)channels * sizeof *q);
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
