// What becomes of the sums of a product: they are stored as they are, or go through a bias, a
// shortcut and one timestep of neurons while they are still in the first cache.
#pragma once

#include <cstdint>
#include <cstring>

#include "integrate_fire.h"
#include "lanes.h"
#include "quantise.h"

namespace synfire {

// One timestep of neurons. Arrays hold a value an output, v one a row and output.
struct Firing {
    const float *decay, *gain, *threshold;
    bool unit;  // all thresholds are 1
    int levels;
    Rounding rounding;
    Reset reset;
    float reset_value;
    float* v;  // null: at rest, and not wanted afterwards
    uint8_t* counts;
};

// Sums [rows, outputs], float or int32.
struct Finish {
    void* out = nullptr;              // for the sums as they are; without it:
    const float* scale = nullptr;     // an output; null: 1
    const float* bias = nullptr;      // an output; null: 0
    const float* shortcut = nullptr;  // added, a row and output; null: 0
    float* potential = nullptr;       // the sum of all that; null: not wanted
    const Firing* firing = nullptr;   // null: none
};

template <typename V>
SYNFIRE_INLINE V count_of(Rounding rounding, V u, float levels) {
    if (rounding == Rounding::half_up) return quantise<Count::half_up>(u, levels);
    if (rounding == Rounding::half_even) return quantise<Count::half_even>(u, levels);
    return quantise<Count::floor>(u, levels);
}

template <typename V>
SYNFIRE_INLINE V left_over(Reset reset, V h, V s, V threshold, float reset_value) {
    if (reset == Reset::soft) return h - threshold * s;
    if (reset == Reset::hard) return s > V{} ? splat<V>(reset_value) : h;
    return h;
}

// Element ``at`` of the state belongs to ``output``.
template <typename V>
SYNFIRE_INLINE void fire_at(const Firing& firing, int64_t at, int64_t output, V potential) {
    V h = load<V>(firing.gain + output) * potential;
    if (firing.v) h = load<V>(firing.decay + output) * load<V>(firing.v + at) + h;
    const V threshold = load<V>(firing.threshold + output);
    const V u = firing.unit ? h : h / threshold;
    const V counts = count_of(firing.rounding, u, static_cast<float>(firing.levels));
    if (firing.v)
        store(firing.v + at, left_over(firing.reset, h, counts, threshold, firing.reset_value));
    store(firing.counts + at, convert<Bytes<V>>(convert<Integers<V>>(counts)));
}

template <typename V, bool integer>
SYNFIRE_INLINE void finish_at(const Finish& finish, int64_t at, int64_t output, const void* sums,
                              int64_t j) {
    V total;
    if constexpr (integer)
        total = convert<V>(load<Integers<V>>(static_cast<const int32_t*>(sums) + j));
    else
        total = load<V>(static_cast<const float*>(sums) + j);
    if (finish.scale) total = total * load<V>(finish.scale + output);
    if (finish.bias) total = total + load<V>(finish.bias + output);
    if (finish.shortcut) total = total + load<V>(finish.shortcut + at);
    if (finish.potential) store(finish.potential + at, total);
    if (finish.firing) fire_at(*finish.firing, at, output, total);
}

// The sums of n outputs of one row from output ``column`` on.
template <typename V, bool integer>
SYNFIRE_INLINE void finish_row(const Finish& finish, int64_t row, int64_t outputs, int64_t column,
                               int64_t n, const void* sums) {
    const int64_t first = row * outputs + column;
    if (finish.out) {
        std::memcpy(static_cast<char*>(finish.out) + first * 4, sums, n * 4);
        return;
    }
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        finish_at<V, integer>(finish, first + j, column + j, sums, j);
    for (; j < n; ++j) finish_at<float, integer>(finish, first + j, column + j, sums, j);
}

// The same, compiled for each width of registers.
void finish_sums(const Finish& finish, bool integer, int64_t row, int64_t outputs, int64_t column,
                 int64_t n, const void* sums);

void floats_from_counts(const uint8_t* counts, int64_t n, float* to);

}  // namespace synfire
