// Backwards through one timestep of neurons that are all alike, in one loop: no current, no gradients
// of parameters, one bump for all counts or bits of a record.
#include "flow.h"
#include "quantise.h"
#include "surrogate.h"

namespace synfire {
namespace {

enum class Source { record, closed_window, open_window, bump };

// Constants in registers.
template <typename V>
struct Alike {
    Alike(const Dynamics& dynamics, const Constants& constants)
        : decay(constants.decay.at<V>(0)),
          gain(constants.gain.at<V>(0)),
          threshold(constants.threshold.at<V>(0)),
          low(edge(dynamics, threshold, 1, -dynamics.half_width)),
          high(edge(dynamics, threshold, dynamics.levels, dynamics.half_width)),
          centre(edge(dynamics, threshold, 1, 0.0)),
          unit(constants.unit),
          in_counts(dynamics.unit_is_count),
          first(dynamics.first_level()),
          width(dynamics.width),
          height(dynamics.height) {}

    V decay, gain, threshold, low, high, centre;
    bool unit, in_counts;
    float first, width, height;
};

template <Source source, Bump bump, typename V>
SYNFIRE_INLINE V slope_of(const Alike<V>& alike, V h, V ratio) {
    const V u = alike.in_counts ? ratio : h;
    V slope;
    if constexpr (source == Source::bump) {
        const V distance = u - alike.centre;
        slope = bump_at<bump>(alike.width == 1.0f ? distance : distance / alike.width) * alike.height;
    } else {
        constexpr bool closed = source == Source::closed_window;
        slope = window<closed, closed>(u, alike.low, alike.high, alike.height);
    }
    return alike.in_counts && !alike.unit ? slope / alike.threshold : slope;
}

// ``value`` where the bit of an element is set.
template <typename V>
SYNFIRE_INLINE V where_set(const uint8_t* bits, int64_t j, V value) {
    if constexpr (kLanes<V> == 1) {
        return bits[j / 8] >> j % 8 & 1 ? value : 0.0f;
    } else {
        Integers<V> places{};
        for (int64_t lane = 0; lane < kLanes<V>; ++lane) places[lane] = 1 << lane;
        const int32_t word = kLanes<V> == 16 ? load<uint16_t>(bits + j / 8) : bits[j / 8] >> j % 8;
        return ((Integers<V>{} + word) & places) != 0 ? value : V{};
    }
}

template <Reset reset, Source source, Bump bump, typename V>
SYNFIRE_INLINE void propagate_at(const Dynamics& dynamics, const Alike<V>& alike,
                                 const StepBack& step, int64_t j) {
    const V grad_v = load<V>(step.grad_v + j);
    V h{}, ratio{}, fired{};
    if constexpr (source != Source::record) {
        h = load<V>(step.charged + j);
        ratio = alike.unit ? h : h / alike.threshold;
    }
    if constexpr (reset == Reset::hard) {
        if constexpr (source == Source::record)
            fired = where_set(step.fired, j, splat<V>(1.0f));
        else
            fired = quantise<Count::at_least>(ratio, alike.first);
    }
    Flow<V> flow = flow_back<reset>(dynamics, step, alike.threshold, grad_v, fired, j);
    if constexpr (source == Source::record)
        flow.slope = where_set(step.passes, j, flow.grad_s * step.height);
    else
        flow.slope = slope_of<source, bump>(alike, h, ratio) * flow.grad_s;
    flow.grad_h = flow.grad_h + flow.slope;
    store<V>(step.grad_u + j, alike.gain * flow.grad_h, step.past);
    store(step.grad_v + j, alike.decay * flow.grad_h);
}

template <typename V, Reset reset, Source source, Bump bump>
SYNFIRE_INLINE void propagate_row(Dynamics dynamics, const Constants& constants, StepBack step) {
    const Alike<V> alike(dynamics, constants);
    int64_t j = 0;
    for (; j + kLanes<V> <= step.n; j += kLanes<V>) {
        step.next.ask(j);
        propagate_at<reset, source, bump>(dynamics, alike, step, j);
    }
    const Alike<float> one(dynamics, constants);
    for (; j < step.n; ++j) propagate_at<reset, source, bump>(dynamics, one, step, j);
}

template <typename V, Reset reset>
SYNFIRE_INLINE void propagate_row(const Dynamics& dynamics, const Constants& constants,
                                  const StepBack& step) {
    constexpr Source bump = Source::bump;
    if (step.passes)
        return propagate_row<V, reset, Source::record, Bump::rectangle>(dynamics, constants, step);
    switch (dynamics.bump) {
        case Bump::rectangle:
            if (dynamics.inclusive)
                return propagate_row<V, reset, Source::closed_window, Bump::rectangle>(
                    dynamics, constants, step);
            return propagate_row<V, reset, Source::open_window, Bump::rectangle>(dynamics,
                                                                                 constants, step);
        case Bump::arctan:
            return propagate_row<V, reset, bump, Bump::arctan>(dynamics, constants, step);
        case Bump::sigmoid:
            return propagate_row<V, reset, bump, Bump::sigmoid>(dynamics, constants, step);
        case Bump::fast_sigmoid:
            return propagate_row<V, reset, bump, Bump::fast_sigmoid>(dynamics, constants, step);
        case Bump::triangle:
            return propagate_row<V, reset, bump, Bump::triangle>(dynamics, constants, step);
        case Bump::gaussian:
            return propagate_row<V, reset, bump, Bump::gaussian>(dynamics, constants, step);
    }
}

template <typename V>
SYNFIRE_INLINE void propagate_alike_lanes(const Dynamics& dynamics, const Constants& constants,
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

bool one_bump(const Dynamics& dynamics) {
    const bool one_slope = dynamics.levels == 1 || dynamics.one_window();
    if (dynamics.reset != Reset::hard) return one_slope;
    return one_slope && dynamics.rounding != Rounding::half_even &&
           (dynamics.levels == 1 || dynamics.detach_reset);
}

SYNFIRE_FOR_LANES(propagate_alike,
                  (const Dynamics& dynamics, const Constants& constants, const StepBack& step),
                  (dynamics, constants, step))

}  // namespace synfire
