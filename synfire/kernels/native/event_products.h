// Event-driven products: rows of spikes, or images of them, with a planned weight.
#pragma once

#include <cstdint>

#include "event_plan.h"
#include "event_sums.h"

namespace synfire {

enum class InputForm { bits, bytes, floats };

// Spikes [pixels, channels], each pixel a run of whole bytes: packed bits, a count in a byte, or
// float32 counts times ``scale``.
struct Spikes {
    InputForm form;
    const void* data;
    int64_t channels;
    float scale = 1.0f;
};

// How pixels lie: [batch, height, width]. A matrix has pixels of one row only.
struct Geometry {
    int64_t batch, height, width;
    int64_t out_height, out_width;
    int stride_y, stride_x;
    int pad_y, pad_x;  // zeros above and on the left; those below and on the right follow
};

enum class Outcome { done, too_dense, not_counts };

struct Measured {
    Outcome outcome;
    double density;  // events an input element, estimated from some rows where there are many
};

// Sums over events into ``finish``. Where the measured density lies above ``limit`` nothing is
// done. Inputs that are no counts leave the output half done.
Measured event_product(const Plan& plan, const char* slabs, const Spikes& x,
                       const Geometry& geometry, const Finish& finish, double limit, int threads);

// The density alone; the outcome is done or not_counts.
Measured event_density(const Spikes& x, int64_t pixels);

}  // namespace synfire
