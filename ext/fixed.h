/* Wrap, saturate, round: the only place where C cuts a width. Twins of addersim/arithmetic/fixed.py.
 * Left shifts are unsigned, so nothing here is undefined; >> of a negative int64_t is arithmetic in gcc and clang. */
#ifndef ADDERSIM_FIXED_H
#define ADDERSIM_FIXED_H

#include <stdint.h>

typedef struct {
    int32_t bits, is_signed, saturate;
} fx_register;

enum { FX_FLOOR, FX_HALF_UP, FX_HALF_EVEN, FX_HALF_AWAY, FX_TO_ZERO }; /* the order of fixed.Rounding */

static inline int64_t fx_low(const fx_register *r) { return r->is_signed ? -(INT64_C(1) << (r->bits - 1)) : 0; }

static inline int64_t fx_high(const fx_register *r) { return (INT64_C(1) << (r->bits - r->is_signed)) - 1; }

/* v cut to the register; *misfits counts the values that had no code in it */
static inline int64_t fx_fit(int64_t v, const fx_register *r, int64_t *misfits) {
    const int64_t low = fx_low(r), high = fx_high(r);
    if (v >= low && v <= high)
        return v;
    ++*misfits;
    if (r->saturate)
        return v < low ? low : high;
    const uint64_t mask = (UINT64_C(1) << r->bits) - 1, sign = r->is_signed ? UINT64_C(1) << (r->bits - 1) : 0;
    return (int64_t)((((uint64_t)v & mask) ^ sign) - sign);
}

/* v / 2^shift rounded to an integer; shift >= 0 */
static inline int64_t fx_round_shift(int64_t v, int shift, int mode) {
    if (shift == 0)
        return v;
    const int64_t half = INT64_C(1) << (shift - 1);
    switch (mode) {
    case FX_FLOOR:
        return v >> shift;
    case FX_HALF_UP:
        return (v + half) >> shift;
    case FX_HALF_EVEN:
        return (v + half - 1 + ((v >> shift) & 1)) >> shift;
    case FX_HALF_AWAY:
        return v >= 0 ? (v + half) >> shift : -((-v + half) >> shift);
    default:
        return v >= 0 ? v >> shift : -((-v) >> shift);
    }
}

#endif
