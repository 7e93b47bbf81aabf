#include "program.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "threads.h"

namespace synfire {
namespace {

constexpr int64_t kGrain = 1 << 14;  // elements that are worth a thread

// Nanoseconds, fitted to layers of trained nets and to random inputs on an AMD EPYC of 4.2 GHz (15
// % off on average); only ratios matter.
struct Costs {
    double row, slab, line;            // dense: of an output pixel, of a slab, of a line of a slab
    double list, pixel, visit, event;  // events: of an output pixel, of an input pixel, of a slab,
                                       // of an event in a slab
};
constexpr Costs kFloats16{8, 3.4, 0.123, 14, 7, 3.4, 0.19},
    kBytes16{4.3, 0.7, 0.123, 7, 7, 10, 0.25};
constexpr Costs kFloats8{3, 4, 0.27, 15, 7.5, 5, 0.24}, kBytes8{3, 1.3, 0.48, 7, 8, 15, 0.38};
constexpr Costs kFloats4{4, 6, 1.1, 16, 8, 7, 0.5};

void run_step(const PointStep& step, int threads) {
    Finish finish = step.finish;
    finish.firing = step.fires ? &step.firing : nullptr;
    const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, step.channels));
    in_ranges(step.rows, grain, threads, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row)
            finish_sums(finish, false, row, step.channels, 0, step.channels,
                        step.x + row * step.channels);
    });
}

void pool_window(const PoolStep& step, int64_t image, int64_t top, int64_t left, float* out) {
    const Geometry& at = step.geometry;
    const bool sum = step.kind == PoolKind::sum;
    std::fill_n(out, step.channels, sum ? 0.0f : -std::numeric_limits<float>::infinity());
    const int64_t y1 = std::min(top + step.kernel_height, at.height);
    const int64_t x1 = std::min(left + step.kernel_width, at.width);
    for (int64_t y = std::max<int64_t>(0, top); y < y1; ++y)
        for (int64_t x = std::max<int64_t>(0, left); x < x1; ++x) {
            const float* from = step.x + ((image * at.height + y) * at.width + x) * step.channels;
            if (sum)
                for (int64_t c = 0; c < step.channels; ++c) out[c] += from[c];
            else
                for (int64_t c = 0; c < step.channels; ++c) out[c] = std::max(out[c], from[c]);
        }
    if (step.divisor != 1.0f)
        for (int64_t c = 0; c < step.channels; ++c) out[c] /= step.divisor;
}

void run_step(const PoolStep& step, int threads) {
    const Geometry& at = step.geometry;
    const int64_t rows = at.batch * at.out_height * at.out_width;
    const int64_t work = step.channels * step.kernel_height * step.kernel_width;
    const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, work));
    in_ranges(rows, grain, threads, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            const int64_t x = row % at.out_width, line = row / at.out_width;
            pool_window(step, line / at.out_height, line % at.out_height * at.stride_y - at.pad_y,
                        x * at.stride_x - at.pad_x, step.out + row * step.channels);
        }
    });
}

void run_step(const DepthwiseStep& step, int threads) {
    depthwise(step.task, step.x, step.geometry, threads);
}

void run_step(const ConvertStep& step) {
    if (step.widen)
        return floats_from_counts(static_cast<const uint8_t*>(step.x), step.n,
                                  static_cast<float*>(step.out));
    counts_from_floats(static_cast<const float*>(step.x), step.n, 1.0f,
                       static_cast<uint8_t*>(step.out));
}

void run_step(const CopyStep& step) {
    for (int64_t row = 0; row < step.rows; ++row)
        std::memcpy(step.out + row * step.out_bytes, step.x + row * step.bytes, step.bytes);
}

}  // namespace

double break_even(const Plan& plan, const DensePlan& dense, const Geometry& geometry) {
    const bool bytes = plan.kind == WeightKind::int8;
    const Costs& costs = lanes_in_use() == 16  ? (bytes ? kBytes16 : kFloats16)
                         : lanes_in_use() == 8 ? (bytes ? kBytes8 : kFloats8)
                                               : kFloats4;
    const auto inputs =
        static_cast<double>(plan.channels * plan.kernel_height * plan.kernel_width * plan.slabs);
    const auto out_pixels = static_cast<double>(geometry.out_height * geometry.out_width);
    if (inputs == 0 || out_pixels == 0) return 0.0;
    const double pixels = static_cast<double>(geometry.height * geometry.width) / out_pixels;
    const auto lines = static_cast<double>(dense.slabs * dense.kernel_height * dense.lines);
    const double dense_cost = costs.row + costs.slab * dense.slabs + costs.line * lines;
    const double silent = costs.list + costs.pixel * pixels + costs.visit * plan.slabs;
    return (dense_cost - silent) / (costs.event * inputs);
}

void Program::add(const ProductStep& step) {
    order_.push_back({Kind::product, products_.size()});
    products_.push_back(step);
    ProductStep& added = products_.back();
    if (added.plan && added.dense && std::isnan(added.limit))
        added.limit = break_even(*added.plan, *added.dense, added.geometry);
}

void Program::add(const PointStep& step) {
    order_.push_back({Kind::point, points_.size()});
    points_.push_back(step);
}

void Program::add(const PoolStep& step) {
    order_.push_back({Kind::pool, pools_.size()});
    pools_.push_back(step);
}

void Program::add(const DepthwiseStep& step) {
    order_.push_back({Kind::depthwise, depthwises_.size()});
    depthwises_.push_back(step);
}

void Program::add(const ConvertStep& step) {
    order_.push_back({Kind::convert, converts_.size()});
    converts_.push_back(step);
}

void Program::add(const CopyStep& step) {
    order_.push_back({Kind::copy, copies_.size()});
    copies_.push_back(step);
}

void Program::run(ProductStep& step, int threads) {
    Finish finish = step.finish;
    finish.firing = step.fires ? &step.firing : nullptr;
    step.was_dense = true;
    const double limit = step.dense ? step.limit : std::numeric_limits<double>::infinity();
    if (step.plan && limit >= 0) {
        const Measured measured =
            event_product(*step.plan, step.slabs, step.x, step.geometry, finish, limit, threads);
        step.density = measured.density;
        step.was_dense = measured.outcome == Outcome::too_dense;
    }
    if (step.was_dense)
        dense_product(*step.dense, step.dense_slabs, step.x, step.geometry, finish, threads);
}

void Program::run(int threads) {
    for (const Entry& entry : order_) switch (entry.kind) {
            case Kind::product:
                run(products_[entry.index], threads);
                break;
            case Kind::point:
                run_step(points_[entry.index], threads);
                break;
            case Kind::pool:
                run_step(pools_[entry.index], threads);
                break;
            case Kind::depthwise:
                run_step(depthwises_[entry.index], threads);
                break;
            case Kind::convert:
                run_step(converts_[entry.index]);
                break;
            case Kind::copy:
                run_step(copies_[entry.index]);
                break;
        }
}

}  // namespace synfire
