// Products in which every input counts: above a density they beat sums over events. Weights float32
// or int8, inputs counts in bytes or, for float32 weights, any floats.
#pragma once

#include <cstdint>

#include "event_products.h"
#include "finish.h"

namespace synfire {

// A line holds 16 outputs: of one input in float32, of four neighbouring inputs in int8. Lines lie
// in the order of the kernel's rows, then places and channels; each row is filled up to whole
// lines.
struct DensePlan {
    DensePlan(WeightKind kind, int64_t outputs, int64_t channels, int kernel_height,
              int kernel_width);

    WeightKind kind;
    int64_t outputs, channels;
    int kernel_height, kernel_width;
    int64_t lines;  // of one row of places
    int64_t slabs, slab_bytes;

    int64_t bytes() const { return slabs * slab_bytes; }
};

void pack(const DensePlan& plan, const void* weight, char* slabs);

// Whether this processor has a dense product of the kind: bytes need AVX2, and counts below 128.
bool can_multiply(WeightKind kind);

void dense_product(const DensePlan& plan, const char* slabs, const Spikes& x,
                   const Geometry& geometry, const Finish& finish, int threads);

}  // namespace synfire
