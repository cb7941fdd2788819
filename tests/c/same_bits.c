/* Random layers, output stages and residual additions on NEON or SSE2, and on portable C: the same bits and facts.
 *
 * Weights are drawn as they lie in memory: all three sets have vectors of 16 bytes and read the same panels. */
#include "layer.h"

#include <stdio.h>
#include <string.h>

enum { CASES = 5040, MANY = 512, WEIGHTS = 8192, WORDS = 32768, PANEL = 4, NUMBERS = 10 };
enum { LAYER, STAGE, RESIDUAL, PARTS };

/* What dispatch.py would send down a path: nothing is lost that the hardware keeps, and p fits 32 bits */
static const struct {
    int channels, x_bits, register_bits, word; /* channels: of one step */
    int64_t low, high;                         /* weights, in words of that type */
} limits[] = {
    [DISTANCE8] = {8, 8, 16, U8, 0, 255},      [DISTANCE16] = {2, 15, 20, S16, -32768, 32767},
    [PRODUCT16] = {2, 12, 24, S16, -255, 255}, [SEGMENT8] = {8, 8, 16, U8, 0, 255},
    [LANES16] = {1, 5, 13, S16, -31, 31},      [LANES32] = {1, 10, 24, S32, -1023, 1023},
    [LANES64] = {1, 20, 44, S64, -(1 << 20), 1 << 20},
};

static layer_plan plan;
static layer_images images;
static int32_t at[3 * MANY], w_sum[MANY], constants[ROWS * MANY], shifts[4 * MANY];
static int64_t initial[MANY], numbers[NUMBERS * MANY];
static _Alignas(64) char w[8 * WEIGHTS], x[8 * WORDS], y[2][8 * WORDS];
static const layer drawn = {&plan, w, at, w_sum, constants, initial, numbers};

static int64_t draw(int64_t low, int64_t high) {
    static uint64_t state = 88172645463325252;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return low + (int64_t)(state % (uint64_t)(high - low + 1));
}

static void draw_words(void *words, int type, int64_t count, int64_t low, int64_t high) {
    for (int64_t i = 0; i < count; i++)
        word_store(words, type, i, draw(low, high));
}

static lane_register draw_register(int bits, int ways) {
    const int64_t held = draw(bits / 2, bits), low = draw(0, 1) ? 0 : -(INT64_C(1) << (held - 1));
    return (lane_register){draw(0, 1), draw(0, ways), low, low + (INT64_C(1) << held) - 1};
}

static rounding draw_rounding(int64_t below) { return (rounding){draw(0, 4), draw(0, 8), below, draw(0, 1)}; }

static void draw_lanes(int bits) {
    static const int64_t inputs[] = {1, 1, 2, 3, 8}, levels[] = {0, 0, 1, 2, 3};
    const int64_t kind = draw(0, 4);
    plan.lanes = (lane_datapath){.is_adder = draw(0, 1), .is_negative = draw(0, 1), .tree_inputs = inputs[kind]};
    plan.lanes.levels = levels[kind], plan.lanes.has_cut = draw(0, 3) == 0;
    plan.lanes.cut_rounding = draw_rounding(draw(-1, 3)), plan.lanes.cut = draw_register(bits, 1);
    plan.lanes.difference = draw_register(bits, 1), plan.lanes.leaf = draw_register(bits, 1);
    for (int64_t i = 0; i < plan.lanes.levels; i++)
        plan.lanes.tree[i] = draw_register(bits, 2);
}

/* Where the steps of a window find their operands, tap by tap; lanes: -1 behind the last channel */
static void draw_steps(int64_t R, int64_t S, int64_t together, int64_t channels) {
    const int64_t per_tap = (plan.C + together - 1) / together * together / channels;
    plan.places = R * S, plan.steps = plan.places * per_tap, plan.segment = per_tap;
    for (int64_t j = 0; j < plan.steps; j++) {
        const int64_t channel = j % per_tap * channels;
        at[3 * j] = (int32_t)(j / per_tap / S), at[3 * j + 1] = (int32_t)(j / per_tap % S);
        at[3 * j + 2] = channel < plan.C ? (int32_t)channel : -1;
    }
}

static void draw_layer(int path, int x_type) {
    const int channels = limits[path].channels, bits = limits[path].register_bits;
    const int64_t R = draw(1, 3), S = draw(1, 3), depthwise = path >= LANES16 && draw(0, 3) == 0;
    plan.path = path, plan.C = depthwise ? 1 : draw(1, 17), plan.K = depthwise ? draw(1, 2) : draw(1, 11);
    plan.groups = depthwise ? 9 : draw(1, 2), plan.channels = (plan.C + channels - 1) / channels * channels;
    plan.stride_h = draw(1, 2), plan.stride_w = draw(1, 2), plan.pad_h = draw(0, 2), plan.pad_w = draw(0, 2);
    plan.least = path <= DISTANCE16 || path == SEGMENT8 ? draw(-3, 3) : 0, plan.padding = draw(0, 31);
    plan.direction = draw(0, 1) ? 1 : -1, plan.settles = path < LANES16 && draw(0, 1);
    plan.accumulator = draw_register(bits, 1);
    plan.tree_cap = draw(100, 5000), plan.cut_cap = draw(20, 2000), plan.segment_rounding = draw_rounding(0);
    draw_lanes(bits);
    draw_steps(R, S, path >= LANES16 ? plan.lanes.tree_inputs : channels, channels);
    images = (layer_images){.N = draw(1, 2), .H = draw(3, 9), .W = draw(3, 40), .x_type = x_type};
    images.P = (images.H + 2 * plan.pad_h - R) / plan.stride_h + 1;
    images.Q = (images.W + 2 * plan.pad_w - S) / plan.stride_w + 1;
    const int is_signed = x_type != U8 && x_type != U16;
    const int64_t most = (INT64_C(1) << smaller(limits[path].x_bits, word_bytes(x_type) * 8 - is_signed)) - 1;
    draw_words(x, x_type, WORDS, is_signed ? -most : 0, most);
    draw_words(w, limits[path].word, WEIGHTS, limits[path].low, limits[path].high);
    draw_words(w_sum, S32, MANY, -100000, 100000);
    draw_words(initial, S64, MANY, -4096, 4096);
}

static void draw_stage(int stage, int y_type) {
    static const int64_t low[] = {-15, -(1 << 20), 0, 0, -1, 0, -1000}, high[] = {15, 1 << 20, 20, 1000, 1000, 1, 1000};
    static const int rows[NUMBERS] = {ROWS, ROW_M, ROW_A, ROW_N, ROW_M, ROW_A, ROW_N, ROW_HALF, ROW_BELOW, ROW_ODD};
    const int64_t K = plan.K * plan.groups, is_signed = y_type != U8 && y_type != U16; /* row number ROWS: B */
    const int64_t top = (INT64_C(1) << smaller(word_bytes(y_type) * 8 - is_signed, 30)) - 1;
    plan.stage = stage, plan.finish = stage != RAW && (y_type < S32 || draw(0, 1)), plan.relu = draw(0, 1);
    plan.y_low = is_signed ? -draw(0, top) : draw(0, top / 2), plan.y_high = draw(top / 2, top);
    plan.negate = draw(0, 1), plan.rounding_mode = draw(0, FX_TO_ZERO), images.y_type = y_type;
    plan.centred[0] = draw(8, 20), plan.product[0] = draw(16, 30), plan.centred[1] = plan.product[1] = 1;
    for (int row = 0; row < NUMBERS; row++)
        draw_words(numbers + row * K, S64, K, low[rows[row]], high[rows[row]]);
    for (int i = 0; i < MANY; i++)
        draw_words(constants + i * PANEL, S32, PANEL, low[i % ROWS], high[i % ROWS]);
    draw_words(shifts, S32, 4 * MANY, 0, 6);
}

static int run(const isa *set, int part, char *out, layer_facts *facts) {
    const int64_t pixels = images.N * images.P * images.Q;
    const int32_t *words = (const int32_t *)(const void *)x, low = (int32_t)plan.y_low, high = (int32_t)plan.y_high;
    *facts = (layer_facts){.least = INT64_MAX, .most = INT64_MIN};
    memset(out, 0, sizeof y[0]);
    if (part == LAYER)
        return set->run(&drawn, &images, x, out, facts);
    if (part == STAGE)
        return set->stage(&drawn, pixels, x, images.x_type, out, images.y_type, facts);
    facts->saturated = set->residual(pixels, plan.K, words, words + 1, shifts, low, high, (int)plan.relu, out,
                                     images.y_type);
    return 0;
}

/* Whether a case is one: lanes end in 64 bits, raw sums are wide, additions read S32 */
static int exists(int part) {
    return part == LAYER   ? (plan.stage != FAST || plan.path < LANES16) && (plan.stage != RAW || images.y_type >= S32)
           : part == STAGE ? plan.stage != RAW
                           : images.x_type == S32;
}

int main(void) {
    const isa *portable = isa_select("portable"), *set = isa_select("neon") ? isa_select("neon") : isa_select("sse2");
    int compared = 0;
    for (int i = 0; set && i < CASES; i++) {
        draw_layer(i % (LANES64 + 1), i / (LANES64 + 1) % WORD_TYPES);
        draw_stage((int)draw(RAW, CHECKED), (int)draw(U8, S64));
        for (int part = LAYER; part < PARTS; part++) {
            layer_facts facts[2];
            if (!exists(part))
                continue;
            if (run(set, part, y[0], &facts[0]) || run(portable, part, y[1], &facts[1]) ||
                memcmp(y[0], y[1], sizeof y[0]) || memcmp(&facts[0], &facts[1], sizeof facts[0])) {
                printf("%s is not portable: case %d, part %d, path %d, stage %d, words of type %d to %d\n",
                       set->name, i, part, (int)plan.path, (int)plan.stage, images.x_type, images.y_type);
                return 1;
            }
            compared++;
        }
    }
    printf("%s is portable in %d layers, output stages and additions\n", set ? set->name : "no set", compared);
    return !compared;
}
