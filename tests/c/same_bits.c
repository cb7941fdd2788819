/* Random layers, output stages and residual additions on every set of instructions: the same bits, the same facts.
 *
 * Weights are drawn as they lie in memory, so nothing here knows how they are laid out; sets are compared with
 * `portable`, whose vectors have 16 bytes, if theirs have as many: neon on aarch64, sse2 on x86-64. */
#include "layer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ROUNDS = 6, MANY = 512, GUARD = 64 };

/* By path: channels of a step, bits of x, least and largest byte or word of weights, bits of registers. Nothing that
 * dispatch.py would not send there: no lane loses what the hardware keeps, no 32-bit product of the output stage. */
static const struct {
    int channels, x_bits, word, registers;
    int64_t low, high;
} limits[] = {
    {8, 8, U8, 16, 0, 255},        {2, 15, S16, 20, -32768, 32767}, {2, 12, S16, 24, -255, 255},
    {8, 8, U8, 16, 0, 255},        {1, 5, S16, 13, -31, 31},        {1, 10, S32, 24, -1023, 1023},
    {1, 20, S64, 44, -(1 << 20), 1 << 20},
};
static const int numbered[] = {ROWS, ROW_M, ROW_A, ROW_N, ROW_M, ROW_A, ROW_N, ROW_HALF, ROW_BELOW, ROW_ODD}; /* ROWS: B */

typedef enum { LAYER, STAGE, RESIDUAL } part;

static layer_plan plan;
static layer_images images;
static int32_t at[3 * MANY], w_sum[MANY], constants[ROWS * MANY], shifts[4 * MANY];
static int64_t initial[MANY], numbers[10 * MANY];
static _Alignas(64) char w[1 << 16], x[1 << 18], y[2][1 << 18];
static const layer drawn = {&plan, w, at, w_sum, constants, initial, numbers};

static int64_t draw(int64_t low, int64_t high) {
    static uint64_t state = 88172645463325252;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return low + (int64_t)(state % (uint64_t)(high - low + 1));
}

static lane_register draw_register(int bits, int ways) {
    const int64_t held = draw(bits / 2, bits), low = draw(0, 1) ? 0 : -(INT64_C(1) << (held - 1));
    return (lane_register){draw(0, 1), draw(0, ways), low, low + (INT64_C(1) << held) - 1};
}

static rounding draw_rounding(void) { return (rounding){draw(0, 4), draw(0, 8), draw(-1, 3), draw(0, 1)}; }

static int64_t draw_number(int row) {
    static const int64_t high[] = {15, 1 << 20, 20, 1000, 1000, 1, 1000}, low[] = {-15, -(1 << 20), 0, 0, -1, 0, -1000};
    return draw(low[row], high[row]);
}

static void draw_words(void *words, int type, int64_t count, int64_t low, int64_t high) {
    for (int64_t i = 0; i < count; i++)
        word_store(words, type, i, draw(low, high));
}

/* Everything that stays for many layers */
static void draw_operands(int path, int x_type) {
    const int bits = limits[path].x_bits, word = limits[path].word;
    const int64_t top = (INT64_C(1) << bits) - 1, shift = word_bytes(x_type) * 8 - (x_type != U8 && x_type != U16);
    const int64_t most = smaller(top, shift < 32 ? (INT64_C(1) << shift) - 1 : top);
    draw_words(x, x_type, (int64_t)sizeof x / word_bytes(x_type), x_type == U8 || x_type == U16 ? 0 : -most, most);
    draw_words(w, word, (int64_t)sizeof w / word_bytes(word), limits[path].low, limits[path].high);
    draw_words(initial, S64, MANY, -4096, 4096);
    draw_words(w_sum, S32, MANY, -100000, 100000);
    draw_words(shifts, S32, 4 * MANY, 0, 6);
}

static void draw_lanes(int bits) {
    static const int64_t inputs[] = {1, 1, 2, 3, 8}, levels[] = {0, 0, 1, 2, 3};
    const int64_t kind = draw(0, 4);
    lane_datapath *d = &plan.lanes;
    *d = (lane_datapath){draw(0, 1), draw(0, 1), inputs[kind], levels[kind], draw(0, 3) == 0, draw_rounding(),
                         draw_register(bits, 1), draw_register(bits, 1), draw_register(bits, 1), {{0}}};
    for (int64_t i = 0; i < d->levels; i++)
        d->tree[i] = draw_register(bits, 2);
}

/* Where the steps of a window find their operands, tap by tap; lanes: -1 behind the last channel */
static void draw_steps(int64_t R, int64_t S, int64_t together) {
    const int64_t per_tap = (plan.C + together - 1) / together * together / limits[plan.path].channels;
    plan.places = R * S, plan.steps = plan.places * per_tap, plan.segment = per_tap;
    for (int64_t j = 0; j < plan.steps; j++) {
        const int64_t tap = j / per_tap, channel = j % per_tap * limits[plan.path].channels;
        at[3 * j] = (int32_t)(tap / S), at[3 * j + 1] = (int32_t)(tap % S);
        at[3 * j + 2] = channel < plan.C ? (int32_t)channel : -1;
    }
}

static void draw_layer(int path, int x_type) {
    const int channels = limits[path].channels, bits = limits[path].registers;
    const int64_t R = draw(1, 3), S = draw(1, 3), depthwise = path >= LANES16 && draw(0, 3) == 0;
    plan.path = path, plan.C = depthwise ? 1 : draw(1, 17), plan.K = depthwise ? draw(1, 2) : draw(1, 11);
    plan.groups = depthwise ? 9 : draw(1, 2), plan.channels = (plan.C + channels - 1) / channels * channels;
    plan.stride_h = draw(1, 2), plan.stride_w = draw(1, 2), plan.pad_h = draw(0, 2), plan.pad_w = draw(0, 2);
    plan.least = path == DISTANCE8 || path == SEGMENT8 || path == DISTANCE16 ? draw(-3, 3) : 0;
    plan.padding = draw(0, 31), plan.direction = draw(0, 1) ? 1 : -1, plan.settles = path < LANES16 && draw(0, 1);
    plan.accumulator = draw_register(bits, 1);
    plan.tree_cap = draw(100, 5000), plan.cut_cap = draw(20, 2000), plan.segment_rounding = draw_rounding();
    plan.segment_rounding.below = 0;
    draw_lanes(bits);
    draw_steps(R, S, path >= LANES16 ? plan.lanes.tree_inputs : channels);
    images = (layer_images){draw(1, 2), draw(3, 9), draw(3, 40), 0, 0, x_type, 0};
    images.P = (images.H + 2 * plan.pad_h - R) / plan.stride_h + 1;
    images.Q = (images.W + 2 * plan.pad_w - S) / plan.stride_w + 1;
}

static void draw_stage(int stage, int y_type) {
    const int64_t K = plan.K * plan.groups, is_signed = y_type != U8 && y_type != U16;
    const int64_t top = (INT64_C(1) << smaller(word_bytes(y_type) * 8 - is_signed, 30)) - 1;
    plan.stage = stage, plan.finish = stage != RAW && (y_type < S32 || draw(0, 1)), plan.relu = draw(0, 1);
    plan.y_low = is_signed ? -draw(0, top) : draw(0, top / 2), plan.y_high = draw(top / 2, top);
    plan.negate = draw(0, 1), plan.rounding_mode = draw(0, FX_TO_ZERO);
    plan.centred[0] = draw(8, 20), plan.product[0] = draw(16, 30), plan.centred[1] = plan.product[1] = 1;
    images.y_type = y_type;
    for (int row = 0; row < 10; row++)
        for (int64_t k = 0; k < K; k++)
            numbers[row * K + k] = draw_number(numbered[row]);
    for (int64_t i = 0; i < ROWS * MANY; i++)
        constants[i] = (int32_t)draw_number((int)(i / 4 % ROWS)); /* panels of 4 channels */
}

static int run(const isa *set, part what, char *out, layer_facts *facts) {
    const int64_t pixels = images.N * images.P * images.Q, K = plan.K;
    const int32_t *words = (const int32_t *)(const void *)x;
    *facts = (layer_facts){.least = INT64_MAX, .most = INT64_MIN};
    switch (what) {
    case LAYER: return set->run(&drawn, &images, x, out, facts);
    case STAGE: return set->stage(&drawn, pixels, x, images.x_type, out, images.y_type, facts);
    default:
        facts->saturated = set->residual(pixels, K, words, words + GUARD, shifts, (int32_t)plan.y_low,
                                         (int32_t)plan.y_high, (int)plan.relu, out, images.y_type);
        return 0;
    }
}

/* What is drawn, on two sets */
static int agree(const isa *a, const isa *b, part what) {
    const int64_t words = images.N * images.P * images.Q * plan.K * plan.groups;
    const size_t size = (size_t)(words * word_bytes(images.y_type)) + GUARD;
    layer_facts facts[2];
    memset(y[0], 0, size), memset(y[1], 0, size);
    return !run(a, what, y[0], &facts[0]) && !run(b, what, y[1], &facts[1]) && !memcmp(y[0], y[1], size) &&
           !memcmp(&facts[0], &facts[1], sizeof *facts);
}

/* Layers, output stages and residual additions of one path, type of x and stage, into words of every type */
static int compare(const isa *a, const isa *b, int path, int x_type, int stage, int64_t *count) {
    for (int y_type = stage == RAW ? S32 : U8; y_type < WORD_TYPES; y_type++)
        for (int round = 0; round < ROUNDS; round++) {
            draw_layer(path, x_type);
            draw_stage(stage, y_type);
            for (part what = LAYER; what <= (x_type == S32 ? RESIDUAL : STAGE); what++) {
                if (what == LAYER && stage == FAST && path >= LANES16)
                    continue; /* the lanes have 64-bit stages only */
                if (!agree(a, b, what)) {
                    printf("%s and %s differ: part %d, path %d, x %d, stage %d, y %d, round %d\n", a->name, b->name,
                           (int)what, path, x_type, stage, y_type, round);
                    return 0;
                }
                ++*count;
            }
        }
    return 1;
}

int main(void) {
    static const char *const names[] = {"neon", "sse2", "avx2"};
    const isa *portable = isa_select("portable");
    int64_t count = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const isa *set = isa_select(names[i]);
        if (!set || set->bytes != portable->bytes)
            continue;
        for (int path = DISTANCE8; path <= LANES64; path++)
            for (int x_type = U8; x_type < WORD_TYPES; x_type++) {
                draw_operands(path, x_type);
                for (int stage = RAW; stage <= CHECKED; stage++)
                    if (!compare(set, portable, path, x_type, stage, &count))
                        return 1;
            }
        printf("%s and portable: the same bits in %" PRId64 " layers, output stages and additions\n", set->name, count);
    }
    return count == 0;
}
