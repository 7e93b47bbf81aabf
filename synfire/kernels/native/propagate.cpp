// Backwards through one timestep, whatever the neuron is.
#include "flow.h"

namespace synfire {
namespace {

// Gradients of the decay and the threshold.
template <Reset reset, typename V>
SYNFIRE_INLINE void add_parameters(const Dynamics& dynamics, const StepBack& step, V threshold,
                                   V grad_v, const Flow<V>& flow, V drive, int64_t j) {
    V grad_threshold = load<V>(step.grad_threshold + j);
    if constexpr (reset == Reset::soft)
        grad_threshold = grad_threshold - grad_v * load<V>(step.counts + j);
    V ratio = splat<V>(dynamics.first_level());
    if (dynamics.unit_is_count) ratio = load<V>(step.charged + j) / threshold;
    store(step.grad_threshold + j, grad_threshold - flow.slope * ratio);
    V grad_decay = load<V>(step.grad_decay + j) + flow.grad_h * load<V>(step.v_before + j);
    if (dynamics.decay_input) grad_decay = grad_decay - drive * load<V>(step.u + j);
    store(step.grad_decay + j, grad_decay);
}

template <typename V, Reset reset, bool filter>
SYNFIRE_INLINE void propagate_at(const Dynamics& dynamics, const Constants& constants,
                                 const StepBack& step, int64_t j) {
    const V grad_v = load<V>(step.grad_v + j), threshold = constants.threshold.at<V>(j);
    const V slopes = load<V>(step.slopes + j);
    V fired{};
    if constexpr (reset == Reset::hard) fired = load<V>(step.counts + j);
    Flow<V> flow = flow_back<reset>(dynamics, step, threshold, grad_v, fired, j);
    flow.slope = slopes * flow.grad_s;
    if (step.masked) flow.slope = slopes != 0.0f ? flow.slope : V{};
    flow.grad_h = flow.grad_h + flow.slope;
    V drive = flow.grad_h;
    if constexpr (filter) {
        drive = flow.grad_h + load<V>(step.grad_i + j);
        store(step.grad_i + j, drive * dynamics.current_decay);
    }
    if (step.grad_decay)
        add_parameters<reset>(dynamics, step, threshold, grad_v, flow, drive, j);
    store<V>(step.grad_u + j, constants.gain.at<V>(j) * drive, step.past);
    store(step.grad_v + j, constants.decay.at<V>(j) * flow.grad_h);
}

// Structures are taken by value, so that the compiler knows that no result overwrites them.
template <typename V, Reset reset, bool filter>
SYNFIRE_INLINE void propagate_row(Dynamics dynamics, Constants constants, StepBack step) {
    int64_t j = 0;
    for (; j + kLanes<V> <= step.n; j += kLanes<V>) {
        step.next.ask(j);
        propagate_at<V, reset, filter>(dynamics, constants, step, j);
    }
    for (; j < step.n; ++j) propagate_at<float, reset, filter>(dynamics, constants, step, j);
}

template <typename V, Reset reset>
SYNFIRE_INLINE void propagate_row(const Dynamics& dynamics, const Constants& constants,
                                  const StepBack& step) {
    if (step.grad_i) return propagate_row<V, reset, true>(dynamics, constants, step);
    propagate_row<V, reset, false>(dynamics, constants, step);
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
