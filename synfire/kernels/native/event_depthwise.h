// Convolution of each channel by itself. A spike there touches no weights but its own channel's, so
// lists of events gain nothing: whole pixels are multiplied, and silent ones left out.
#pragma once

#include "event_products.h"

namespace synfire {

// weight [kernel_height * kernel_width][channels]; out [pixels, channels].
struct Depthwise {
    const void* weight;  // float32, or int32 for integer weights
    bool integer;
    int kernel_height, kernel_width;
    void* out;
};

// Sums of counts times weights. For float32 input and weights the values count as they are and
// ``scale`` is not looked at. False where inputs of integer weights are no counts.
bool depthwise(const Depthwise& task, const Spikes& x, const Geometry& geometry, int threads);

}  // namespace synfire
