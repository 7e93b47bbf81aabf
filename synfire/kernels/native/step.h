// One timestep of a block of at most kBlock elements, all in the first cache; both directions.
#pragma once

#include "bits.h"

namespace synfire {

// decay, the gain of the input, threshold; ``unit``: all thresholds are 1, nothing is divided.
struct Constants {
    Spread decay, gain, threshold;
    bool unit;
    bool affine;  // whether ``integrate`` is to apply these to u
    Spread scale, shift;
    // Instead of those where runs of one channel are long; the block begins at element ``first``.
    const Channelwise *scale_runs, *shift_runs;
    int64_t first;

    // One neuron's constants are those of all.
    bool uniform() const { return !decay.mask && !threshold.mask; }
};

// v may be the same as v_after; null results are not written.
struct Step {
    int64_t n;
    const float* u;
    Ahead next;
    const float* v;
    float* v_after;
    float* i;  // before and after
    float* counts;
    float scale;  // of the counts
    bool past;    // the counts are written past the caches
    float* charged;
};
void integrate(const Dynamics& dynamics, const Constants& constants, const Step& step);

void counts_of(const Dynamics& dynamics, const Constants& constants, const float* charged,
               int64_t n, float* counts);

// The surrogate of d count / d charged.
void slopes_of(const Dynamics& dynamics, const Constants& constants, const float* charged,
               int64_t n, float* slopes);

// Where slopes_of is not zero.
void flags_of_slopes(const Dynamics& dynamics, const Constants& constants, const float* charged,
                     int64_t n, float* room, uint8_t* bits);

// What slopes_of gives where the one window of a rectangle passes.
Spread heights_of(const Dynamics& dynamics, const Constants& constants, int64_t n, float* room);

struct StepBack {
    int64_t n;
    const float* grad;  // of counts * scale
    Ahead next;
    float scale;
    const float* slopes;
    bool masked;                     // a slope of zero lets nothing pass, not even NaN
    const float *counts, *charged;   // null where nothing depends on them
    float *grad_v, *grad_i;
    float* grad_u;
    bool past;  // grad_u is written past the caches
    // For the gradients of decay and threshold; null without:
    const float *v_before, *u;
    float *grad_decay, *grad_threshold;
    // For ``propagate_alike``: bits of a record instead of slopes and counts, where a slope of
    // ``height`` passes and where the neuron fired.
    const uint8_t *passes, *fired;
    float height;
};
void propagate(const Dynamics& dynamics, const Constants& constants, const StepBack& step);

// The same for uniform constants, without a current or gradients of parameters, from a record or
// from charged membranes alone; for those ``one_bump`` must hold.
bool one_bump(const Dynamics& dynamics);
void propagate_alike(const Dynamics& dynamics, const Constants& constants, const StepBack& step);

}  // namespace synfire
