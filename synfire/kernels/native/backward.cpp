#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "blocks.h"
#include "bumps.h"
#include "vector_code.h"

namespace synfire {
namespace {

// The surrogate of ds/dh: one bump for each level. ``unit``: size and width are 1, so that nothing
// is divided.
template <Bump bump, bool unit>
SYNFIRE_INLINE void count_derivative(const Dynamics& dynamics, const float* h,
                                     const float* threshold, const float* size, float* out,
                                     int64_t n) {
    const float width = dynamics.width, height = dynamics.height, half = dynamics.half_width;
    std::fill_n(out, n, 0.0f);
    for (int level = 1; level <= dynamics.levels; ++level) {
        const float position = static_cast<float>(level - 1) + dynamics.first_level();
        // Where two windows meet the edge belongs to the upper one; the outer edges as the dynamics
        // say.
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
SYNFIRE_INLINE void count_derivative(const Dynamics& dynamics, const float* h,
                                     const float* threshold, const float* size, float* out,
                                     int64_t n) {
    switch (dynamics.bump) {
#define SYNFIRE_BUMP(name) \
    case Bump::name:       \
        return count_derivative<Bump::name, unit>(dynamics, h, threshold, size, out, n);
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
           (!dynamics.unit_is_count ||
            std::all_of(threshold.values, threshold.values + threshold.channels, is_one));
}

// What one thread remembers of a block: the membranes and counts of all timesteps, and rows of
// gradients.
class Tape {
public:
    explicit Tape(int64_t steps) : steps_(steps), memory_((3 * steps + 1) * kBlock) {}
    float* before(int64_t t) {
        return memory_.data() + t * kBlock;
    }  // membrane that enters t; steps + 1 rows
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

// One timestep backwards: grad.v enters as the gradient of the membrane after the reset, and leaves
// as that before it.
template <Reset reset, bool detach, bool filter, bool parameters>
SYNFIRE_INLINE void step_back(const Dynamics& dynamics, const Constants& constants,
                              const BackwardRow& row, Gradients& grad, int64_t n) {
    const float reset_value = dynamics.reset_value, current_decay = dynamics.current_decay;
    const float scale = row.output_scale, first_level = dynamics.first_level();
    const bool count = dynamics.unit_is_count, decay_input = dynamics.decay_input;
    const float *x = row.x, *before = row.before, *grad_counts = row.grad_counts;
    float* grad_x = row.grad_x;
    SYNFIRE_VECTORISE
    for (int64_t j = 0; j < n; ++j) {
        const float h = row.h[j], s = row.s[j], threshold = constants.threshold[j],
                    grad_v = grad.v[j];
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
            grad.decay[j] =
                grad.decay[j] + grad_h * before[j] - (decay_input ? through_gain : 0.0f);
        }
        grad_x[j] = constants.gain[j] * drive;
        grad.v[j] = constants.decay[j] * grad_h;
    }
}

template <Reset reset, bool detach>
SYNFIRE_INLINE void step_back(const Dynamics& dynamics, const Constants& constants,
                              const BackwardRow& row, Gradients& grad, int64_t n) {
    if (row.filter)
        row.parameters ? step_back<reset, detach, true, true>(dynamics, constants, row, grad, n)
                       : step_back<reset, detach, true, false>(dynamics, constants, row, grad, n);
    else
        row.parameters ? step_back<reset, detach, false, true>(dynamics, constants, row, grad, n)
                       : step_back<reset, detach, false, false>(dynamics, constants, row, grad, n);
}

template <Reset reset>
SYNFIRE_INLINE void step_back(const Dynamics& dynamics, const Constants& constants,
                              const BackwardRow& row, Gradients& grad, int64_t n) {
    dynamics.detach_reset ? step_back<reset, true>(dynamics, constants, row, grad, n)
                          : step_back<reset, false>(dynamics, constants, row, grad, n);
}

SYNFIRE_VECTOR_CLONES
void step_back(const Dynamics& dynamics, const Constants& constants, const BackwardRow& row,
               Gradients& grad, int64_t n) {
    switch (dynamics.reset) {
        case Reset::soft:
            return step_back<Reset::soft>(dynamics, constants, row, grad, n);
        case Reset::hard:
            return step_back<Reset::hard>(dynamics, constants, row, grad, n);
        case Reset::none:
            return step_back<Reset::none, true>(dynamics, constants, row, grad, n);
    }
}

void run_blocks(const Dynamics& dynamics, const Backward& task, int64_t begin, int64_t end,
                Tape& tape) {
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
            count_derivative(dynamics, unit, tape.charged(t), constants.threshold, size,
                             grad.derivative, n);
            step_back(dynamics, constants,
                      {task.x + at, tape.before(t), tape.charged(t), tape.counts(t),
                       task.grad_counts + at, task.grad_x + at, task.output_scale, parameters,
                       task.i0 != nullptr},
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

}  // namespace

void run(const Dynamics& dynamics, const Backward& task, int threads) {
    const int parts = parts_for(task, threads);
    std::vector<Tape> tapes(parts, Tape(task.steps));
    in_parts(task.elements, parts, [&](int part, int64_t begin, int64_t end) {
        run_blocks(dynamics, task, begin, end, tapes[part]);
    });
}

}  // namespace synfire
