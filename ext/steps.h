/* Calls of the core as data: one of them, or a whole network's one after another without a word of Python between. */
#ifndef ADDERSIM_STEPS_H
#define ADDERSIM_STEPS_H

#include "images.h"
#include "layer.h"

enum { STEP_LAYER, STEP_STAGE, STEP_RESIDUAL, STEP_MAX_POOL, STEP_SUM_POOL, STEP_FLATTEN };

/* What its kind does not need stays 0 */
typedef struct {
    int kind, x_type, y_type;
    const void *x;
    void *y;
    const isa *isa;
    const layer *layer;             /* LAYER, STAGE */
    layer_images images;            /* LAYER; FLATTEN: N */
    int64_t pixels, K;              /* STAGE, RESIDUAL, FLATTEN; K: not STAGE */
    const int32_t *other, *numbers; /* RESIDUAL: the second addend, which is as long as x */
    int32_t low, high, relu;        /* RESIDUAL */
    const pool_shape *pool;         /* MAX_POOL, SUM_POOL */
    const int64_t *factor;          /* SUM_POOL */
    int64_t padding;                /* SUM_POOL */
} step;

/* Run the steps in order and set facts[i] to those of step i; returns nonzero if there was no memory. */
int steps_run(const step *steps, int64_t count, layer_facts *facts);

#endif
