/* The loops of toggles.h, once per instruction set, in the compiler's own vectors. Before each inclusion toggles.c
 * defines NAME(x) and LANES, the bytes of a vector. */

typedef uint8_t NAME(v8) __attribute__((vector_size(LANES)));
typedef uint16_t NAME(v16) __attribute__((vector_size(LANES)));
#define V8 NAME(v8)
#define V16 NAME(v16)
#define BLOCK 16 /* words that one pass through a counter takes; 16 distances carry at most once into an upper half */

static inline int64_t NAME(ones)(const V8 *v) {
    uint64_t word[LANES / 8];
    memcpy(word, v, LANES);
    int64_t sum = 0;
    for (int i = 0; i < LANES / 8; i++)
        sum += __builtin_popcountll(word[i]);
    return sum;
}

/* The sum of all bytes, none of which exceeds BLOCK: eight of them do not fill a byte */
static inline int64_t NAME(sum)(const V8 *v) {
    uint64_t word[LANES / 8];
    memcpy(word, v, LANES);
    int64_t sum = 0;
    for (int i = 0; i < LANES / 8; i++)
        sum += (int64_t)(word[i] * UINT64_C(0x0101010101010101) >> 56);
    return sum;
}

/* Set bits of all words it was given: those that found a place in a digit, and 16 for each carry out of the eights */
typedef struct {
    V8 digit[4];
    int64_t sixteens;
} NAME(counter);

/* A full adder on every bit: *sum, a and b make *sum and the carry */
static inline V8 NAME(carry)(V8 *sum, const V8 *a, const V8 *b) {
    const V8 half = *sum ^ *a, carry = (*sum & *a) | (half & *b);
    *sum = half ^ *b;
    return carry;
}

/* Carry-save addition of BLOCK words (Harley and Seal): one popcount in sixteen words */
static inline void NAME(add)(NAME(counter) * c, const V8 word[BLOCK]) {
    V8 one = c->digit[0], two = c->digit[1], four = c->digit[2], eight = c->digit[3], twos[8], fours[4], eights[2];
    for (int i = 0; i < 8; i++)
        twos[i] = NAME(carry)(&one, &word[2 * i], &word[2 * i + 1]);
    for (int i = 0; i < 4; i++)
        fours[i] = NAME(carry)(&two, &twos[2 * i], &twos[2 * i + 1]);
    for (int i = 0; i < 2; i++)
        eights[i] = NAME(carry)(&four, &fours[2 * i], &fours[2 * i + 1]);
    const V8 sixteen = NAME(carry)(&eight, &eights[0], &eights[1]);
    c->digit[0] = one, c->digit[1] = two, c->digit[2] = four, c->digit[3] = eight;
    c->sixteens += NAME(ones)(&sixteen);
}

static inline int64_t NAME(total)(const NAME(counter) * c) {
    int64_t sum = 16 * c->sixteens;
    for (int i = 0; i < 4; i++)
        sum += NAME(ones)(&c->digit[i]) << i;
    return sum;
}

typedef struct {
    NAME(counter) difference, leaf, accumulator;
    int64_t sign, upper, crossings;
} NAME(tally);

/* What the lanes' processing elements hold; below: all ones where x < w, the difference's sign */
typedef struct {
    V8 difference, below, leaf;
    V16 even, odd, even_upper, odd_upper;
} NAME(lanes);

/* Operands of one step: the pixels' bytes, each in its own lanes */
static inline V8 NAME(spread)(const uint8_t *const x[SHARE], int64_t at, const V8 mask[SHARE], int pixels) {
    V8 v = ((V8){0} + x[0][at]) & mask[0];
    for (int i = 1; i < pixels; i++)
        v |= ((V8){0} + x[i][at]) & mask[i];
    return v;
}

/* Up to BLOCK steps; the changes of four words each, zero beyond the last step. The upper halves of the sums change
 * once at most in so few steps. */
static inline void NAME(block)(NAME(lanes) * l, NAME(tally) * t, const uint8_t *const x[SHARE], const int32_t *offset,
                               const uint8_t *w, const V8 mask[SHARE], const V8 *live, int pixels, int64_t steps) {
    V8 change[4][BLOCK], difference = l->difference, below = l->below, leaf = l->leaf, signs = {0};
    V16 even = l->even, odd = l->odd;
    for (int64_t i = 0; i < steps; i++, w += LANES) {
        V8 weights;
        memcpy(&weights, w, LANES);
        weights &= *live;
        const V8 v = NAME(spread)(x, offset[i], mask, pixels), d = v - weights, b = (V8)(v < weights), m = (d ^ b) - b;
        const V16 e = even + ((V16)m & 255), o = odd + ((V16)m >> 8);
        change[0][i] = d ^ difference, change[1][i] = m ^ leaf;
        change[2][i] = (V8)(e ^ even), change[3][i] = (V8)(o ^ odd);
        signs -= b ^ below;
        difference = d, below = b, leaf = m, even = e, odd = o;
    }
    for (int64_t i = steps; i < BLOCK; i++)
        change[0][i] = change[1][i] = change[2][i] = change[3][i] = (V8){0};
    NAME(add)(&t->difference, change[0]);
    NAME(add)(&t->leaf, change[1]);
    NAME(add)(&t->accumulator, change[2]);
    NAME(add)(&t->accumulator, change[3]);
    t->sign += NAME(sum)(&signs);
    const V16 even_upper = l->even_upper - (V16)(even < l->even), odd_upper = l->odd_upper - (V16)(odd < l->odd);
    const V8 first = (V8)(even_upper ^ l->even_upper), second = (V8)(odd_upper ^ l->odd_upper);
    t->upper += NAME(ones)(&first) + NAME(ones)(&second);
    *l = (NAME(lanes)){difference, below, leaf, even, odd, even_upper, odd_upper};
}

/* All steps of one vector of outputs */
static void NAME(outputs)(const toggles_shape *s, NAME(tally) * t, const uint8_t *const x[SHARE], const int32_t *offset,
                          const uint8_t *w, const uint16_t *initial, int64_t channels, int pixels) {
    NAME(lanes) l = {0};
    V8 mask[SHARE] = {0}, live = {0};
    memcpy(&l.even, initial, LANES), memcpy(&l.odd, initial + LANES / 2, LANES);
    memcpy(&l.even_upper, initial + LANES, LANES), memcpy(&l.odd_upper, initial + LANES / 2 * 3, LANES);
    for (int i = 0; i < pixels; i++) {
        memset((char *)&mask[i] + i * channels, 255, (size_t)channels);
        live |= mask[i];
    }
    const V16 even = l.even_upper, odd = l.odd_upper;
    for (int64_t i = 0; i < s->steps; i += BLOCK) {
        const int64_t steps = s->steps - i < BLOCK ? s->steps - i : BLOCK;
        NAME(block)(&l, t, x, offset + i, w + i * LANES, mask, &live, pixels, steps);
    }
    const V8 first = (V8)(even & ~l.even_upper & 0x8000), second = (V8)(odd & ~l.odd_upper & 0x8000);
    t->crossings += NAME(ones)(&first) + NAME(ones)(&second);
}

static void NAME(bytes)(const toggles_shape *s, const uint8_t *x, const uint8_t *w, const int32_t *offset,
                        const uint16_t *initial, int64_t counts[REGISTERS]) {
    NAME(tally) t = {0};
    const int64_t outputs = s->N * s->P * s->Q, blocks = (s->K + LANES - 1) / LANES;
    const int64_t fitting = LANES / s->K, share = fitting > SHARE ? SHARE : fitting > 1 ? fitting : 1;
    for (int64_t pixel = 0; pixel < outputs; pixel += share)
        for (int64_t g = 0; g < s->groups; g++)
            for (int64_t block = 0; block < blocks; block++) {
                const uint8_t *window[SHARE];
                const int pixels = (int)(outputs - pixel < share ? outputs - pixel : share);
                for (int i = 0; i < pixels; i++)
                    window[i] = x + toggles_window(s, pixel + i, g);
                const int64_t panel = g * blocks + block, left = s->K - block * LANES;
                NAME(outputs)(s, &t, window, offset, w + panel * s->steps * LANES, initial + panel * 2 * LANES,
                              left < LANES ? left : LANES, pixels);
            }
    counts[IN_DIFFERENCE] += NAME(total)(&t.difference);
    counts[IN_SIGN] += t.sign;
    counts[IN_LEAF] += NAME(total)(&t.leaf);
    counts[CROSSINGS] += t.crossings;
    counts[IN_ACCUMULATOR] += NAME(total)(&t.accumulator) + t.upper;
}

/* Words that wait until a block of them is there */
typedef struct {
    NAME(counter) counter;
    V8 word[BLOCK];
    int waiting;
} NAME(stream);

static inline void NAME(push)(NAME(stream) * s, V8 word) {
    s->word[s->waiting++] = word;
    if (s->waiting == BLOCK) {
        NAME(add)(&s->counter, s->word);
        s->waiting = 0;
    }
}

static inline int64_t NAME(pushed)(const NAME(stream) * s) {
    int64_t sum = NAME(total)(&s->counter);
    for (int i = 0; i < s->waiting; i++)
        sum += NAME(ones)(&s->word[i]);
    return sum;
}

#define WORD int32_t
#define STEP(x) NAME(x##32)
#include "toggles_steps.h"

#define WORD int64_t
#define STEP(x) NAME(x##64)
#include "toggles_steps.h"

#undef NAME
#undef LANES
#undef V8
#undef V16
#undef BLOCK
