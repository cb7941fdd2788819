/* The output stage in 64 bits, part by part, for whatever no faster loop covers. Channels last. */
#ifndef ADDERSIM_OUTPUT_H
#define ADDERSIM_OUTPUT_H

#include "fixed.h"

/* p = t * m[k] + a[k] with t = (negate ? -acc : acc) - b[k]; returns how often t or p missed its register */
int64_t output_scale(int64_t count, int64_t K, const int64_t *acc, const int64_t *b, const int64_t *m, const int64_t *a,
                     fx_register t, fx_register p, int negate, int64_t *out);

/* y = clamp(round(p / 2^n[k])); returns how many saturated, those below low not counted if relu */
int64_t output_finish(int64_t count, int64_t K, const int64_t *p, const int64_t *n, int rounding, int64_t low,
                      int64_t high, int relu, int64_t *out);

#endif
