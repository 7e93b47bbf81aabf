#include "integrate_fire.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include "bumps.h"
#include "vector_code.h"

namespace synfire {
namespace {

constexpr int64_t kBlock = 128;             // elements whose tape stays in the first-level cache
constexpr int kMostLevels = 1 << 20;        // far below where nearest_integer ends
constexpr int64_t kWorthThreads = 1 << 16;  // below this many inputs starting a thread costs more than it saves

template <typename Enum>
Enum parse(const std::string& kind, const std::string& name, std::initializer_list<const char*> names) {
    int index = 0;
    for (const char* candidate : names) {
        if (name == candidate) return static_cast<Enum>(index);
        ++index;
    }
    throw std::invalid_argument("the native kernel knows no " + kind + " '" + name + "'");
}

// The constants of one block of elements, spread to one value an element.
struct Constants {
    float decay[kBlock], gain[kBlock], threshold[kBlock];
};

void spread(const Parameter& parameter, int64_t first, int64_t n, float* out) {
    if (parameter.channels == 1) {
        std::fill_n(out, n, parameter.values[0]);
        return;
    }
    int64_t channel = (first / parameter.inner) % parameter.channels;
    int64_t left = parameter.inner - first % parameter.inner;
    for (int64_t done = 0; done < n;) {
        const int64_t run = std::min(left, n - done);
        std::fill_n(out + done, run, parameter.values[channel]);
        done += run;
        left = parameter.inner;
        channel = channel + 1 == parameter.channels ? 0 : channel + 1;
    }
}

template <typename Task>
void load(const Dynamics& dynamics, const Task& task, int64_t begin, int64_t first, int64_t n, Constants& constants) {
    const bool same_everywhere = task.decay.channels == 1 && task.threshold.channels == 1;
    if (same_everywhere && first > begin) return;
    spread(task.decay, first, n, constants.decay);
    spread(task.threshold, first, n, constants.threshold);
    for (int64_t j = 0; j < n; ++j)
        constants.gain[j] = dynamics.decay_input ? 1.0f - constants.decay[j] : dynamics.input_gain;
}

void load_state(const float* state, int64_t first, int64_t n, float* out) {
    if (state)
        std::memcpy(out, state + first, n * sizeof(float));
    else
        std::fill_n(out, n, 0.0f);
}

// ------------------------------------------------------------------------------------------- forward

// Of 0 <= x: conversion to an integer cuts the fraction off, on every processor in vector code.
SYNFIRE_INLINE float floor_of(float x) { return static_cast<float>(static_cast<int32_t>(x)); }

template <Rounding rounding>
SYNFIRE_INLINE float quantise(float u, float levels) {
    float clipped = 0.0f > u ? 0.0f : u;
    clipped = levels < clipped ? levels : clipped;
    if constexpr (rounding == Rounding::half_even) return nearest_integer(clipped);
    const float poison = clipped - clipped;  // zero, or NaN where u is NaN: the conversion would lose it
    return floor_of(rounding == Rounding::half_up ? clipped + 0.5f : clipped) + poison;
}

// One timestep of n elements. v_in and v_out may be the same row; i is null without a current filter.
struct Row {
    const float *x, *v_in;
    float *v_out, *i, *h, *counts;
    float output_scale;
};

template <Rounding rounding, Reset reset, bool filter>
SYNFIRE_INLINE void step(const Dynamics& dynamics, const Constants& constants, const Row& row, int64_t n) {
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
SYNFIRE_INLINE void step(const Dynamics& dynamics, const Constants& constants, const Row& row, int64_t n) {
    row.i ? step<rounding, reset, true>(dynamics, constants, row, n)
          : step<rounding, reset, false>(dynamics, constants, row, n);
}

template <Rounding rounding>
SYNFIRE_INLINE void step(const Dynamics& dynamics, const Constants& constants, const Row& row, int64_t n) {
    switch (dynamics.reset) {
        case Reset::soft: return step<rounding, Reset::soft>(dynamics, constants, row, n);
        case Reset::hard: return step<rounding, Reset::hard>(dynamics, constants, row, n);
        case Reset::none: return step<rounding, Reset::none>(dynamics, constants, row, n);
    }
}

SYNFIRE_VECTOR_CLONES
void step(const Dynamics& dynamics, const Constants& constants, const Row& row, int64_t n) {
    switch (dynamics.rounding) {
        case Rounding::half_up: return step<Rounding::half_up>(dynamics, constants, row, n);
        case Rounding::half_even: return step<Rounding::half_even>(dynamics, constants, row, n);
        case Rounding::floor: return step<Rounding::floor>(dynamics, constants, row, n);
    }
}

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
                 {task.x + at, v, v, task.i0 ? i : nullptr, h, task.counts + at, task.output_scale}, n);
        }
        std::memcpy(task.v + first, v, n * sizeof(float));
        if (task.i0) std::memcpy(task.i + first, i, n * sizeof(float));
    }
}

// ------------------------------------------------------------------------------------------ backward

// The surrogate of ds/dh: one bump for each level. ``unit``: size and width are 1, so that nothing is divided.
template <Bump bump, bool unit>
SYNFIRE_INLINE void count_derivative(const Dynamics& dynamics, const float* h, const float* threshold,
                                     const float* size, float* out, int64_t n) {
    const float width = dynamics.width, height = dynamics.height, half = dynamics.half_width;
    std::fill_n(out, n, 0.0f);
    for (int level = 1; level <= dynamics.levels; ++level) {
        const float position = static_cast<float>(level - 1) + dynamics.first_level();
        // Where two windows meet the edge belongs to the upper one; the outer edges as the dynamics say.
        const bool drop_right = level < dynamics.levels || !dynamics.inclusive;
        const bool drop_left = level == 1 && !dynamics.inclusive;
        const float right = drop_right ? half : INFINITY, left = drop_left ? -half : -INFINITY;
        SYNFIRE_VECTORISE
        for (int64_t j = 0; j < n; ++j) {
            float distance = h[j] - threshold[j] * position;
            if constexpr (!unit) distance = distance / size[j];
            float slope = height * bump_at<bump>(unit ? distance : distance / width);
            if constexpr (bump == Bump::rectangle) {
                slope = distance == right ? 0.0f : slope;
                slope = distance == left ? 0.0f : slope;
            }
            out[j] = out[j] + slope;
        }
    }
    if constexpr (!unit) {
        SYNFIRE_VECTORISE
        for (int64_t j = 0; j < n; ++j) out[j] = out[j] / size[j];
    }
}

template <bool unit>
SYNFIRE_INLINE void count_derivative(const Dynamics& dynamics, const float* h, const float* threshold,
                                     const float* size, float* out, int64_t n) {
    switch (dynamics.bump) {
#define SYNFIRE_BUMP(name) \
    case Bump::name: return count_derivative<Bump::name, unit>(dynamics, h, threshold, size, out, n);
        SYNFIRE_BUMP(rectangle)
        SYNFIRE_BUMP(arctan)
        SYNFIRE_BUMP(sigmoid)
        SYNFIRE_BUMP(fast_sigmoid)
        SYNFIRE_BUMP(triangle)
        SYNFIRE_BUMP(gaussian)
#undef SYNFIRE_BUMP
    }
}

SYNFIRE_VECTOR_CLONES
void count_derivative(const Dynamics& dynamics, bool unit, const float* h, const float* threshold,
                      const float* size, float* out, int64_t n) {
    unit ? count_derivative<true>(dynamics, h, threshold, size, out, n)
         : count_derivative<false>(dynamics, h, threshold, size, out, n);
}

bool unit_bumps(const Dynamics& dynamics, const Parameter& threshold) {
    const auto is_one = [](float value) { return value == 1.0f; };
    return dynamics.width == 1.0f &&
           (!dynamics.unit_is_count || std::all_of(threshold.values, threshold.values + threshold.channels, is_one));
}

// What one thread remembers of a block: the membranes and counts of all timesteps, and rows of gradients.
class Tape {
public:
    explicit Tape(int64_t steps) : steps_(steps), memory_((3 * steps + 1) * kBlock) {}
    float* before(int64_t t) { return memory_.data() + t * kBlock; }  // membrane that enters t; steps + 1 rows
    float* charged(int64_t t) { return before(steps_ + 1 + t); }
    float* counts(int64_t t) { return before(2 * steps_ + 1 + t); }

private:
    int64_t steps_;
    std::vector<float> memory_;
};

struct Gradients {
    float v[kBlock], i[kBlock], decay[kBlock], threshold[kBlock], derivative[kBlock];
};

struct BackwardRow {
    const float *x, *before, *h, *s, *grad_counts;
    float* grad_x;
    float output_scale;
    bool parameters, filter;
};

// One timestep backwards: grad.v enters as the gradient of the membrane after the reset, and leaves as that before it.
template <Reset reset, bool detach, bool filter, bool parameters>
SYNFIRE_INLINE void step_back(const Dynamics& dynamics, const Constants& constants, const BackwardRow& row,
                              Gradients& grad, int64_t n) {
    const float reset_value = dynamics.reset_value, current_decay = dynamics.current_decay;
    const float scale = row.output_scale, first_level = dynamics.first_level();
    const bool count = dynamics.unit_is_count, decay_input = dynamics.decay_input;
    const float *x = row.x, *before = row.before, *grad_counts = row.grad_counts;
    float* grad_x = row.grad_x;
    SYNFIRE_VECTORISE
    for (int64_t j = 0; j < n; ++j) {
        const float h = row.h[j], s = row.s[j], threshold = constants.threshold[j], grad_v = grad.v[j];
        float grad_h = grad_v, grad_s = grad_counts[j] * scale;
        if constexpr (reset == Reset::soft && !detach) grad_s = grad_s - threshold * grad_v;
        if constexpr (reset == Reset::hard) grad_h = s > 0.0f ? 0.0f : grad_v;
        if constexpr (reset == Reset::hard && !detach) {
            const float through_fire = (reset_value - h) * grad_v;
            grad_s = grad_s + (s <= 1.0f ? through_fire : 0.0f);
        }
        const float slope = grad.derivative[j] * grad_s;
        grad_h = grad_h + slope;
        float drive = grad_h;
        if constexpr (filter) {
            drive = grad_h + grad.i[j];
            grad.i[j] = current_decay * drive;
        }
        if constexpr (parameters) {
            float grad_threshold = grad.threshold[j];
            if constexpr (reset == Reset::soft) grad_threshold = grad_threshold - grad_v * s;
            const float ratio = h / threshold;
            grad.threshold[j] = grad_threshold - slope * (count ? ratio : first_level);
            const float through_gain = drive * x[j];
            grad.decay[j] = grad.decay[j] + grad_h * before[j] - (decay_input ? through_gain : 0.0f);
        }
        grad_x[j] = constants.gain[j] * drive;
        grad.v[j] = constants.decay[j] * grad_h;
    }
}

template <Reset reset, bool detach>
SYNFIRE_INLINE void step_back(const Dynamics& dynamics, const Constants& constants, const BackwardRow& row,
                              Gradients& grad, int64_t n) {
    if (row.filter)
        row.parameters ? step_back<reset, detach, true, true>(dynamics, constants, row, grad, n)
                       : step_back<reset, detach, true, false>(dynamics, constants, row, grad, n);
    else
        row.parameters ? step_back<reset, detach, false, true>(dynamics, constants, row, grad, n)
                       : step_back<reset, detach, false, false>(dynamics, constants, row, grad, n);
}

template <Reset reset>
SYNFIRE_INLINE void step_back(const Dynamics& dynamics, const Constants& constants, const BackwardRow& row,
                              Gradients& grad, int64_t n) {
    dynamics.detach_reset ? step_back<reset, true>(dynamics, constants, row, grad, n)
                          : step_back<reset, false>(dynamics, constants, row, grad, n);
}

SYNFIRE_VECTOR_CLONES
void step_back(const Dynamics& dynamics, const Constants& constants, const BackwardRow& row, Gradients& grad,
               int64_t n) {
    switch (dynamics.reset) {
        case Reset::soft: return step_back<Reset::soft>(dynamics, constants, row, grad, n);
        case Reset::hard: return step_back<Reset::hard>(dynamics, constants, row, grad, n);
        case Reset::none: return step_back<Reset::none, true>(dynamics, constants, row, grad, n);
    }
}

void run_blocks(const Dynamics& dynamics, const Backward& task, int64_t begin, int64_t end, Tape& tape) {
    Constants constants;
    Gradients grad;
    float i[kBlock], ones[kBlock];
    std::fill_n(ones, kBlock, 1.0f);
    const float* size = dynamics.unit_is_count ? constants.threshold : ones;
    const bool unit = unit_bumps(dynamics, task.threshold);
    const bool parameters = task.grad_decay != nullptr;
    for (int64_t first = begin; first < end; first += kBlock) {
        const int64_t n = std::min(kBlock, end - first);
        load(dynamics, task, begin, first, n, constants);
        load_state(task.v0, first, n, tape.before(0));
        if (task.i0) load_state(task.i0, first, n, i);
        for (int64_t t = 0; t < task.steps; ++t)
            step(dynamics, constants,
                 {task.x + t * task.elements + first, tape.before(t), tape.before(t + 1),
                  task.i0 ? i : nullptr, tape.charged(t), tape.counts(t), 1.0f},
                 n);

        load_state(task.grad_v, first, n, grad.v);
        if (task.i0) load_state(task.grad_i, first, n, grad.i);
        std::fill_n(grad.decay, n, 0.0f);
        std::fill_n(grad.threshold, n, 0.0f);
        for (int64_t t = task.steps - 1; t >= 0; --t) {
            const int64_t at = t * task.elements + first;
            count_derivative(dynamics, unit, tape.charged(t), constants.threshold, size, grad.derivative, n);
            step_back(dynamics, constants,
                      {task.x + at, tape.before(t), tape.charged(t), tape.counts(t), task.grad_counts + at,
                       task.grad_x + at, task.output_scale, parameters, task.i0 != nullptr},
                      grad, n);
        }
        std::memcpy(task.grad_v0 + first, grad.v, n * sizeof(float));
        if (task.i0) std::memcpy(task.grad_i0 + first, grad.i, n * sizeof(float));
        if (parameters) {
            std::memcpy(task.grad_decay + first, grad.decay, n * sizeof(float));
            std::memcpy(task.grad_threshold + first, grad.threshold, n * sizeof(float));
        }
    }
}

// ------------------------------------------------------------------------------------------- threads

// Calls work(part, begin, end) for ``parts`` ranges of whole blocks, each in a thread of its own where one can be had.
template <typename Work>
void in_parts(int64_t elements, int parts, const Work& work) {
    const int64_t blocks = (elements + kBlock - 1) / kBlock;
    const auto run_part = [&](int part) {
        work(part, blocks * part / parts * kBlock, std::min(elements, blocks * (part + 1) / parts * kBlock));
    };
    std::vector<std::thread> others;
    others.reserve(parts);
    for (int part = 1; part < parts; ++part) {
        try {
            others.emplace_back(run_part, part);
        } catch (const std::system_error&) {  // the system grants no more threads
            run_part(part);
        }
    }
    run_part(0);
    for (std::thread& thread : others) thread.join();
}

template <typename Task>
int parts_for(const Task& task, int threads) {
    if (task.steps * task.elements < kWorthThreads) return 1;
    const int64_t blocks = (task.elements + kBlock - 1) / kBlock;
    return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, blocks)));
}

}  // namespace

Dynamics::Dynamics(int levels, const std::string& rounding, const std::string& reset, double reset_value,
                   bool detach_reset, double input_gain, bool decay_input, double current_decay,
                   const std::string& surrogate, double width, double scale, bool inclusive,
                   const std::string& unit)
    : levels(levels < 1 || levels > kMostLevels ? throw std::invalid_argument("levels must lie in 1..2^20") : levels),
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

void run(const Dynamics& dynamics, const Backward& task, int threads) {
    const int parts = parts_for(task, threads);
    std::vector<Tape> tapes(parts, Tape(task.steps));
    in_parts(task.elements, parts, [&](int part, int64_t begin, int64_t end) {
        run_blocks(dynamics, task, begin, end, tapes[part]);
    });
}

}  // namespace synfire
