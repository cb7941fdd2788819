#include "layer.h"

#include <string.h>

#define CONVERT(from, to)                                                                                              \
    static void from##_##to(const void *x, int64_t count, int64_t least, void *y) {                                    \
        const from *in = x;                                                                                            \
        to *restrict out = y;                                                                                          \
        for (int64_t i = 0; i < count; i++)                                                                            \
            out[i] = (to)(in[i] - (int32_t)least);                                                                     \
    }
#define FROM(to)                                                                                                       \
    CONVERT(uint8_t, to)                                                                                               \
    CONVERT(int8_t, to) CONVERT(uint16_t, to) CONVERT(int16_t, to) CONVERT(int32_t, to) CONVERT(int64_t, to)
FROM(uint8_t)
FROM(int16_t) FROM(int32_t)

    typedef void converter(const void *, int64_t, int64_t, void *);

#define ROW(to) {uint8_t_##to, int8_t_##to, uint16_t_##to, int16_t_##to, int32_t_##to, int64_t_##to}
static converter *const converters[3][WORD_TYPES] = {ROW(uint8_t), ROW(int16_t), ROW(int32_t)};

void words_convert(const void *x, int from, int64_t count, int64_t least, void *y, int to) {
    if (from == to && !least)
        memcpy(y, x, (size_t)(count * word_bytes(to)));
    else
        converters[to == U8 ? 0 : to == S16 ? 1 : 2][from](x, count, least, y);
}
