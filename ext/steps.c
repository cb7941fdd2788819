#include "steps.h"

static int step_run(const step *s, layer_facts *facts) {
    switch (s->kind) {
    case STEP_LAYER: return s->isa->run(s->layer, &s->images, s->x, s->y, facts);
    case STEP_STAGE: return s->isa->stage(s->layer, s->pixels, s->x, s->x_type, s->y, s->y_type, facts);
    case STEP_RESIDUAL:
        facts->saturated =
            s->isa->residual(s->pixels, s->K, s->x, s->other, s->numbers, s->low, s->high, s->relu, s->y, s->y_type);
        return 0;
    case STEP_MAX_POOL: pool_max(s->pool, s->x, s->x_type, s->y); return 0;
    case STEP_FLATTEN: images_flatten(s->images.N, s->pixels, s->K, s->x, s->x_type, s->y); return 0;
    default: pool_sum(s->pool, s->x, s->x_type, s->padding, s->factor, s->y, s->y_type); return 0;
    }
}

int steps_run(const step *steps, int64_t count, layer_facts *facts) {
    int failed = 0;
    for (int64_t i = 0; i < count && !failed; i++) {
        facts[i] = (layer_facts){.least = INT64_MAX, .most = INT64_MIN};
        failed = step_run(&steps[i], &facts[i]);
    }
    return failed;
}
