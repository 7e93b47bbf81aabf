// A net as a list of steps over buffers that the caller owns: one call runs a timestep.
#pragma once

#include <cstdint>
#include <vector>

#include "dense_products.h"
#include "event_depthwise.h"
#include "event_products.h"
#include "finish.h"

namespace synfire {

// A product, by events or dense. Either plan may be absent, not both.
struct ProductStep {
    const Plan* plan;
    const char* slabs;
    const DensePlan* dense;
    const char* dense_slabs;
    Spikes x;
    Geometry geometry;
    Finish finish;
    Firing firing;
    bool fires;
    double limit;           // events an element, above which the product is dense; NaN: estimated
    double density = -1.0;  // of the last run; negative: not measured
    bool was_dense = false;
};

// What follows a product, alone: on float32 [rows, channels].
struct PointStep {
    const float* x;
    int64_t rows, channels;
    Finish finish;
    Firing firing;
    bool fires;
};

enum class PoolKind { sum, max };

// Windows over float32 [pixels, channels]; sums are divided by ``divisor``.
struct PoolStep {
    PoolKind kind;
    const float* x;
    int64_t channels;
    Geometry geometry;
    int kernel_height, kernel_width;
    float divisor;
    float* out;
};

// Each channel by itself, with float32 weights; what follows is a PointStep.
struct DepthwiseStep {
    Depthwise task;
    Spikes x;
    Geometry geometry;
};

// Counts in bytes to floats, or floats that are such counts to bytes.
struct ConvertStep {
    bool widen;
    const void* x;
    int64_t n;
    void* out;
};

// Channels of one buffer into a range of those of another; elements of 1 or 4 bytes.
struct CopyStep {
    const char* x;
    int64_t rows, bytes;  // of a row of x
    char* out;
    int64_t out_bytes;  // of a row of out
};

// Events an input element with which both products take about as long; negative where sums over
// events never win. An estimate from the shape: a measured one would choose differently each time.
double break_even(const Plan& plan, const DensePlan& dense, const Geometry& geometry);

class Program {
public:
    void add(const ProductStep& step);
    void add(const PointStep& step);
    void add(const PoolStep& step);
    void add(const DepthwiseStep& step);
    void add(const ConvertStep& step);
    void add(const CopyStep& step);
    void run(int threads);

    const std::vector<ProductStep>& products() const { return products_; }

private:
    enum class Kind { product, point, pool, depthwise, convert, copy };
    struct Entry {
        Kind kind;
        size_t index;
    };
    void run(ProductStep& step, int threads);

    std::vector<Entry> order_;
    std::vector<ProductStep> products_;
    std::vector<PointStep> points_;
    std::vector<PoolStep> pools_;
    std::vector<DepthwiseStep> depthwises_;
    std::vector<ConvertStep> converts_;
    std::vector<CopyStep> copies_;
};

}  // namespace synfire
