#include <initializer_list>
#include <stdexcept>

#include "blocks.h"
#include "vector_code.h"

namespace synfire {
namespace {

constexpr int kMostLevels = 1 << 20;  // far below where nearest_integer ends

template <typename Enum>
Enum parse(const std::string& kind, const std::string& name,
           std::initializer_list<const char*> names) {
    int index = 0;
    for (const char* candidate : names) {
        if (name == candidate) return static_cast<Enum>(index);
        ++index;
    }
    throw std::invalid_argument("the native kernel knows no " + kind + " '" + name + "'");
}

// Of 0 <= x: conversion to an integer cuts the fraction off, on every processor in vector code.
SYNFIRE_INLINE float floor_of(float x) { return static_cast<float>(static_cast<int32_t>(x)); }

template <Rounding rounding>
SYNFIRE_INLINE float quantise(float u, float levels) {
    float clipped = 0.0f > u ? 0.0f : u;
    clipped = levels < clipped ? levels : clipped;
    if constexpr (rounding == Rounding::half_even) return nearest_integer(clipped);
    const float poison = clipped - clipped;  // zero, or the NaN that the conversion would lose
    return floor_of(rounding == Rounding::half_up ? clipped + 0.5f : clipped) + poison;
}

template <Rounding rounding, Reset reset, bool filter>
SYNFIRE_INLINE void step(const Dynamics& dynamics, const Constants& constants, const Row& row,
                         int64_t n) {
    const float levels = static_cast<float>(dynamics.levels);
    const float reset_value = dynamics.reset_value, current_decay = dynamics.current_decay;
    const float scale = row.output_scale;
    const float *x = row.x, *v_in = row.v_in;
    float *v_out = row.v_out, *i = row.i, *h_out = row.h, *counts = row.counts;
    SYNFIRE_VECTORISE
    for (int64_t j = 0; j < n; ++j) {
        float drive = constants.gain[j] * x[j];
        if constexpr (filter) i[j] = drive = current_decay * i[j] + drive;
        const float h = constants.decay[j] * v_in[j] + drive;
        const float s = quantise<rounding>(h / constants.threshold[j], levels);
        h_out[j] = h;
        counts[j] = s * scale;
        if constexpr (reset == Reset::soft) v_out[j] = h - constants.threshold[j] * s;
        if constexpr (reset == Reset::hard) v_out[j] = s > 0.0f ? reset_value : h;
        if constexpr (reset == Reset::none) v_out[j] = h;
    }
}

template <Rounding rounding, Reset reset>
SYNFIRE_INLINE void step(const Dynamics& dynamics, const Constants& constants, const Row& row,
                         int64_t n) {
    row.i ? step<rounding, reset, true>(dynamics, constants, row, n)
          : step<rounding, reset, false>(dynamics, constants, row, n);
}

template <Rounding rounding>
SYNFIRE_INLINE void step(const Dynamics& dynamics, const Constants& constants, const Row& row,
                         int64_t n) {
    switch (dynamics.reset) {
        case Reset::soft:
            return step<rounding, Reset::soft>(dynamics, constants, row, n);
        case Reset::hard:
            return step<rounding, Reset::hard>(dynamics, constants, row, n);
        case Reset::none:
            return step<rounding, Reset::none>(dynamics, constants, row, n);
    }
}

}  // namespace

SYNFIRE_VECTOR_CLONES
void step(const Dynamics& dynamics, const Constants& constants, const Row& row, int64_t n) {
    switch (dynamics.rounding) {
        case Rounding::half_up:
            return step<Rounding::half_up>(dynamics, constants, row, n);
        case Rounding::half_even:
            return step<Rounding::half_even>(dynamics, constants, row, n);
        case Rounding::floor:
            return step<Rounding::floor>(dynamics, constants, row, n);
    }
}

namespace {

void run_blocks(const Dynamics& dynamics, const Forward& task, int64_t begin, int64_t end) {
    Constants constants;
    float v[kBlock], i[kBlock], h[kBlock];
    for (int64_t first = begin; first < end; first += kBlock) {
        const int64_t n = std::min(kBlock, end - first);
        load(dynamics, task, begin, first, n, constants);
        load_state(task.v0, first, n, v);
        if (task.i0) load_state(task.i0, first, n, i);
        for (int64_t t = 0; t < task.steps; ++t) {
            const int64_t at = t * task.elements + first;
            step(dynamics, constants,
                 {task.x + at, v, v, task.i0 ? i : nullptr, h, task.counts + at, task.output_scale},
                 n);
        }
        std::memcpy(task.v + first, v, n * sizeof(float));
        if (task.i0) std::memcpy(task.i + first, i, n * sizeof(float));
    }
}

}  // namespace

Dynamics::Dynamics(int levels, const std::string& rounding, const std::string& reset,
                   double reset_value, bool detach_reset, double input_gain, bool decay_input,
                   double current_decay, const std::string& surrogate, double width, double scale,
                   bool inclusive, const std::string& unit)
    : levels(levels < 1 || levels > kMostLevels
                 ? throw std::invalid_argument("levels must lie in 1..2^20")
                 : levels),
      rounding(parse<Rounding>("rounding", rounding, {"half_up", "half_even", "floor"})),
      reset(parse<Reset>("reset", reset, {"soft", "hard", "none"})),
      reset_value(static_cast<float>(reset_value)),
      detach_reset(detach_reset),
      input_gain(static_cast<float>(input_gain)),
      decay_input(decay_input),
      current_decay(static_cast<float>(current_decay)),
      bump(parse<Bump>("surrogate", surrogate,
                       {"rectangle", "arctan", "sigmoid", "fast_sigmoid", "triangle", "gaussian"})),
      width(static_cast<float>(width)),
      half_width(static_cast<float>(width / 2)),
      height(static_cast<float>(scale / width)),
      inclusive(inclusive),
      unit_is_count(parse<int>("unit", unit, {"membrane", "count"}) == 1) {}

void run(const Dynamics& dynamics, const Forward& task, int threads) {
    in_parts(task.elements, parts_for(task, threads),
             [&](int, int64_t begin, int64_t end) { run_blocks(dynamics, task, begin, end); });
}

}  // namespace synfire
