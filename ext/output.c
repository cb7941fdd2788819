#include "output.h"

int64_t output_scale(int64_t count, int64_t K, const int64_t *acc, const int64_t *b, const int64_t *m, const int64_t *a,
                     fx_register t, fx_register p, int negate, int64_t *out) {
    int64_t misfits = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < K; k++, acc++, out++) {
            const int64_t centred = fx_fit((negate ? -*acc : *acc) - b[k], &t, &misfits);
            *out = fx_fit(centred * m[k] + a[k], &p, &misfits);
        }
    return misfits;
}

int64_t output_finish(int64_t count, int64_t K, const int64_t *p, const int64_t *n, int rounding, int64_t low,
                      int64_t high, int relu, int64_t *out) {
    int64_t saturated = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < K; k++, p++, out++) {
            const int64_t y = fx_round_shift(*p, (int)n[k], rounding);
            saturated += y > high || (!relu && y < low);
            *out = y < low ? low : y > high ? high : y;
        }
    return saturated;
}
