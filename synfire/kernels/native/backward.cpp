#include <algorithm>
#include <vector>

#include "blocks.h"
#include "bumps.h"

namespace synfire {
namespace {

// The rectangle of one level. Where two windows meet the edge belongs to the upper one, so that
// windows of width 1 tile [0, levels] once.
template <typename V>
SYNFIRE_INLINE V window(const Dynamics& dynamics, V u, V centre, float place, int level) {
    const double half = dynamics.half_width;
    const bool count = dynamics.unit_is_count;
    const V low = count ? splat<V>(static_cast<float>(place - half)) : centre - static_cast<float>(half);
    const V high = count ? splat<V>(static_cast<float>(place + half)) : centre + static_cast<float>(half);
    const bool closed_low = level > 1 || dynamics.inclusive;
    const bool closed_high = level == dynamics.levels && dynamics.inclusive;
    const V zero = V{};
    V slope = splat<V>(dynamics.height);
    if (closed_low)
        slope = u >= low ? slope : zero;
    else
        slope = u > low ? slope : zero;
    if (closed_high)
        slope = u <= high ? slope : zero;
    else
        slope = u < high ? slope : zero;
    return slope;
}

// The surrogate of ds/dh: one bump for each level. ``unit``: size and width are 1, so that nothing
// is divided.
template <Bump bump, bool unit, typename V>
SYNFIRE_INLINE V count_derivative(const Dynamics& dynamics, V h, V threshold, V size) {
    const V u = unit ? h : h / size;
    V total = V{};
    for (int level = 1; level <= dynamics.levels; ++level) {
        const float place = static_cast<float>(level - 1) + dynamics.first_level();
        const V centre = dynamics.unit_is_count ? splat<V>(place) : threshold * place;
        if constexpr (bump == Bump::rectangle) {
            total = total + window(dynamics, u, centre, place, level);
        } else {
            const V distance = u - centre;
            total = total + bump_at<bump>(unit ? distance : distance / dynamics.width) * dynamics.height;
        }
    }
    return unit ? total : total / size;
}

template <bool unit, typename V>
SYNFIRE_INLINE V count_derivative(const Dynamics& dynamics, V h, V threshold, V size) {
    switch (dynamics.bump) {
        case Bump::rectangle:
            return count_derivative<Bump::rectangle, unit>(dynamics, h, threshold, size);
        case Bump::arctan:
            return count_derivative<Bump::arctan, unit>(dynamics, h, threshold, size);
        case Bump::sigmoid:
            return count_derivative<Bump::sigmoid, unit>(dynamics, h, threshold, size);
        case Bump::fast_sigmoid:
            return count_derivative<Bump::fast_sigmoid, unit>(dynamics, h, threshold, size);
        case Bump::triangle:
            return count_derivative<Bump::triangle, unit>(dynamics, h, threshold, size);
        case Bump::gaussian:
            break;
    }
    return count_derivative<Bump::gaussian, unit>(dynamics, h, threshold, size);
}

bool unit_bumps(const Dynamics& dynamics, const Parameter& threshold) {
    const auto is_one = [](float value) { return value == 1.0f; };
    return dynamics.width == 1.0f &&
           (!dynamics.unit_is_count ||
            std::all_of(threshold.values, threshold.values + threshold.channels, is_one));
}

template <typename V>
SYNFIRE_INLINE V counts_of(V u, const Dynamics& dynamics) {
    const float levels = static_cast<float>(dynamics.levels);
    switch (dynamics.rounding) {
        case Rounding::half_up:
            return quantise<Rounding::half_up>(u, levels);
        case Rounding::half_even:
            return quantise<Rounding::half_even>(u, levels);
        case Rounding::floor:
            break;
    }
    return quantise<Rounding::floor>(u, levels);
}

// All timesteps of the elements first + j, j + 1, ...: as many as V has lanes. ``tape`` holds three
// rows a timestep: the membrane before it, the charged one, the counts.
template <typename V, Reset reset, bool unit>
SYNFIRE_INLINE void propagate_at(const Dynamics& dynamics, const Backward& task,
                                 const Constants& constants, float* tape, int64_t first,
                                 int64_t j) {
    const V decay = load<V>(constants.decay + j), gain = load<V>(constants.gain + j);
    const V threshold = load<V>(constants.threshold + j);
    const V size = dynamics.unit_is_count ? threshold : splat<V>(1.0f);
    const float reset_value = dynamics.reset_value, current_decay = dynamics.current_decay;
    const bool detach = dynamics.detach_reset || reset == Reset::none;
    const bool filter = task.i0 != nullptr, parameters = task.grad_decay != nullptr;
    const int64_t elements = task.elements, e = first + j, row = kLanes<V>;

    V v = load_state<V>(task.v0, e), i = load_state<V>(task.i0, e);
    for (int64_t t = 0; t < task.steps; ++t) {
        float* rows = tape + 3 * row * t;
        V drive = gain * load<V>(task.x + t * elements + e);
        if (filter) drive = i = i * current_decay + drive;
        const V h = decay * v + drive;
        const V s = counts_of(h / threshold, dynamics);
        store(rows, v);
        store(rows + row, h);
        store(rows + 2 * row, s);
        v = after_reset<reset>(h, s, threshold, reset_value);
    }

    V grad_v = load<V>(task.grad_v + e), grad_i = load_state<V>(task.grad_i, e);
    V grad_decay = V{}, grad_threshold = V{};
    for (int64_t t = task.steps - 1; t >= 0; --t) {
        const float* rows = tape + 3 * row * t;
        const V h = load<V>(rows + row), s = load<V>(rows + 2 * row);
        V grad_s = load<V>(task.grad_counts + t * elements + e) * task.output_scale;
        V grad_h = grad_v;
        if constexpr (reset == Reset::soft) {
            grad_threshold = grad_threshold - grad_v * s;
            if (!detach) grad_s = grad_s - threshold * grad_v;
        }
        if constexpr (reset == Reset::hard) {
            grad_h = s > V{} ? V{} : grad_v;
            const V through_fire = (splat<V>(reset_value) - h) * grad_v;
            if (!detach) grad_s = grad_s + (s <= 1.0f ? through_fire : V{});
        }
        const V slope = count_derivative<unit>(dynamics, h, threshold, size) * grad_s;
        grad_h = grad_h + slope;
        V drive = grad_h;
        if (filter) {
            drive = grad_h + grad_i;
            grad_i = drive * current_decay;
        }
        if (parameters) {
            const V ratio =
                dynamics.unit_is_count ? h / threshold : splat<V>(dynamics.first_level());
            grad_threshold = grad_threshold - slope * ratio;
            grad_decay = grad_decay + grad_h * load<V>(rows);
            if (dynamics.decay_input)
                grad_decay = grad_decay - drive * load<V>(task.x + t * elements + e);
        }
        store(task.grad_x + t * elements + e, gain * drive);
        grad_v = decay * grad_h;
    }
    store(task.grad_v0 + e, grad_v);
    if (filter) store(task.grad_i0 + e, grad_i);
    if (parameters) {
        store(task.grad_decay + e, grad_decay);
        store(task.grad_threshold + e, grad_threshold);
    }
}

template <typename V, Reset reset, bool unit>
SYNFIRE_INLINE void propagate_block(const Dynamics& dynamics, const Backward& task,
                                    const Constants& constants, float* tape, int64_t first,
                                    int64_t n) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        propagate_at<V, reset, unit>(dynamics, task, constants, tape, first, j);
    for (; j < n; ++j) propagate_at<float, reset, unit>(dynamics, task, constants, tape, first, j);
}

template <typename V, Reset reset>
SYNFIRE_INLINE void propagate_block(const Dynamics& dynamics, const Backward& task,
                                    const Constants& constants, bool unit, float* tape,
                                    int64_t first, int64_t n) {
    unit ? propagate_block<V, reset, true>(dynamics, task, constants, tape, first, n)
         : propagate_block<V, reset, false>(dynamics, task, constants, tape, first, n);
}

template <typename V>
SYNFIRE_INLINE void propagate_lanes(const Dynamics& dynamics, const Backward& task,
                                    const Constants& constants, bool unit, float* tape,
                                    int64_t first, int64_t n) {
    switch (dynamics.reset) {
        case Reset::soft:
            return propagate_block<V, Reset::soft>(dynamics, task, constants, unit, tape, first, n);
        case Reset::hard:
            return propagate_block<V, Reset::hard>(dynamics, task, constants, unit, tape, first, n);
        case Reset::none:
            return propagate_block<V, Reset::none>(dynamics, task, constants, unit, tape, first, n);
    }
}

SYNFIRE_FOR_LANES(propagate,
                  (const Dynamics& dynamics, const Backward& task, const Constants& constants,
                   bool unit, float* tape, int64_t first, int64_t n),
                  (dynamics, task, constants, unit, tape, first, n))

}  // namespace

void run(const Dynamics& dynamics, const Backward& task, int threads) {
    const int parts = parts_for(task, threads);
    const bool unit = unit_bumps(dynamics, task.threshold);
    std::vector<std::vector<float>> tapes(parts, std::vector<float>(3 * kMostLanes * task.steps));
    in_parts(task.elements, parts, [&](int part, int64_t begin, int64_t end) {
        Constants constants;
        each_block(dynamics, task, begin, end, constants, [&](int64_t first, int64_t n) {
            propagate(dynamics, task, constants, unit, tapes[part].data(), first, n);
        });
    });
}

}  // namespace synfire
