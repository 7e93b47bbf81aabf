// What both ways of going back through a timestep share.
#pragma once

#include "step.h"

namespace synfire {

// What flows through one timestep of one or more neurons, backwards.
template <typename V>
struct Flow {
    V grad_s;  // of the counts
    V grad_h;  // of the charged membrane
    V slope;   // what passes the surrogate
};

template <Reset reset, typename V>
SYNFIRE_INLINE Flow<V> flow_back(const Dynamics& dynamics, const StepBack& step, V threshold,
                                 V grad_v, V fired, int64_t j) {
    Flow<V> flow{load<V>(step.grad + j) * step.scale, grad_v, V{}};
    if constexpr (reset == Reset::soft)
        if (!dynamics.detach_reset) flow.grad_s = flow.grad_s - threshold * grad_v;
    if constexpr (reset == Reset::hard) {
        flow.grad_h = fired > V{} ? V{} : grad_v;
        if (!dynamics.detach_reset) {
            const V through_fire =
                (splat<V>(dynamics.reset_value) - load<V>(step.charged + j)) * grad_v;
            flow.grad_s = flow.grad_s + (fired <= 1.0f ? through_fire : V{});
        }
    }
    return flow;
}

}  // namespace synfire
