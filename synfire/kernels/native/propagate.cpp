#include "step.h"

namespace synfire {
namespace {

template <typename V, Reset reset, bool filter>
SYNFIRE_INLINE void propagate_at(const Dynamics& dynamics, const Constants& constants,
                                 const StepBack& step, int64_t j) {
    const V grad_v = load<V>(step.grad_v + j), threshold = constants.threshold.at<V>(j);
    const V slopes = load<V>(step.slopes + j);
    V grad_s = load<V>(step.grad + j) * step.scale;
    V grad_h = grad_v;
    if constexpr (reset == Reset::soft)
        if (!dynamics.detach_reset) grad_s = grad_s - threshold * grad_v;
    if constexpr (reset == Reset::hard) {
        const V counts = load<V>(step.counts + j);
        grad_h = counts > V{} ? V{} : grad_v;
        if (!dynamics.detach_reset) {
            const V h = load<V>(step.charged + j);
            const V through_fire = (splat<V>(dynamics.reset_value) - h) * grad_v;
            grad_s = grad_s + (counts <= 1.0f ? through_fire : V{});
        }
    }
    V slope = slopes * grad_s;
    if (step.masked) slope = slopes != 0.0f ? slope : V{};
    grad_h = grad_h + slope;
    V drive = grad_h;
    if constexpr (filter) {
        drive = grad_h + load<V>(step.grad_i + j);
        store(step.grad_i + j, drive * dynamics.current_decay);
    }
    if (step.grad_decay) {
        V grad_threshold = load<V>(step.grad_threshold + j);
        if constexpr (reset == Reset::soft)
            grad_threshold = grad_threshold - grad_v * load<V>(step.counts + j);
        V ratio = splat<V>(dynamics.first_level());
        if (dynamics.unit_is_count) ratio = load<V>(step.charged + j) / threshold;
        store(step.grad_threshold + j, grad_threshold - slope * ratio);
        V grad_decay = load<V>(step.grad_decay + j) + grad_h * load<V>(step.v_before + j);
        if (dynamics.decay_input) grad_decay = grad_decay - drive * load<V>(step.u + j);
        store(step.grad_decay + j, grad_decay);
    }
    store(step.grad_u + j, constants.gain.at<V>(j) * drive);
    store(step.grad_v + j, constants.decay.at<V>(j) * grad_h);
}

template <typename V, Reset reset, bool filter>
SYNFIRE_INLINE void propagate_row(Dynamics dynamics, Constants constants, StepBack step) {
    const float* next = static_cast<const float*>(step.next);
    int64_t j = 0;
    for (; j + kLanes<V> <= step.n; j += kLanes<V>) {
        prefetch(next + j);
        propagate_at<V, reset, filter>(dynamics, constants, step, j);
    }
    for (; j < step.n; ++j) propagate_at<float, reset, filter>(dynamics, constants, step, j);
}

template <typename V, Reset reset>
SYNFIRE_INLINE void propagate_row(const Dynamics& dynamics, const Constants& constants,
                                  const StepBack& step) {
    step.grad_i ? propagate_row<V, reset, true>(dynamics, constants, step)
                : propagate_row<V, reset, false>(dynamics, constants, step);
}

template <typename V>
SYNFIRE_INLINE void propagate_lanes(const Dynamics& dynamics, const Constants& constants,
                                    const StepBack& step) {
    switch (dynamics.reset) {
        case Reset::soft:
            return propagate_row<V, Reset::soft>(dynamics, constants, step);
        case Reset::hard:
            return propagate_row<V, Reset::hard>(dynamics, constants, step);
        case Reset::none:
            return propagate_row<V, Reset::none>(dynamics, constants, step);
    }
}

}  // namespace

SYNFIRE_FOR_LANES(propagate,
                  (const Dynamics& dynamics, const Constants& constants, const StepBack& step),
                  (dynamics, constants, step))

}  // namespace synfire
