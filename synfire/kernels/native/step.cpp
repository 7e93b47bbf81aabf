#include "step.h"

#include "quantise.h"

namespace synfire {
namespace {

template <typename V, Rounding rounding, Reset reset, bool filter>
SYNFIRE_INLINE void integrate_at(const Constants& constants, const Step& step, float levels,
                                 float reset_value, float current_decay, int64_t j) {
    const V threshold = constants.threshold.at<V>(j);
    V drive = constants.gain.at<V>(j) * load<V>(step.u + j);
    if constexpr (filter) {
        drive = load<V>(step.i + j) * current_decay + drive;
        store(step.i + j, drive);
    }
    const V h = constants.decay.at<V>(j) * load<V>(step.v + j) + drive;
    const V s = quantise<rounding>(constants.unit ? h : h / threshold, levels);
    store(step.v_after + j, after_reset<reset>(h, s, threshold, reset_value));
    if (step.counts) store(step.counts + j, s * step.scale);
    if (step.charged) store(step.charged + j, h);
}

// Both are taken by value, so that the compiler knows that no result overwrites them.
template <typename V, Rounding rounding, Reset reset, bool filter>
SYNFIRE_INLINE void integrate_row(const Dynamics& dynamics, Constants constants, Step step) {
    const float levels = static_cast<float>(dynamics.levels), reset_value = dynamics.reset_value,
                current_decay = dynamics.current_decay;
    const float* next = static_cast<const float*>(step.next);
    int64_t j = 0;
    for (; j + kLanes<V> <= step.n; j += kLanes<V>) {
        prefetch(next + j);
        integrate_at<V, rounding, reset, filter>(constants, step, levels, reset_value,
                                                 current_decay, j);
    }
    for (; j < step.n; ++j)
        integrate_at<float, rounding, reset, filter>(constants, step, levels, reset_value,
                                                     current_decay, j);
}

template <typename V, Rounding rounding, Reset reset>
SYNFIRE_INLINE void integrate_row(const Dynamics& dynamics, const Constants& constants,
                                  const Step& step) {
    step.i ? integrate_row<V, rounding, reset, true>(dynamics, constants, step)
           : integrate_row<V, rounding, reset, false>(dynamics, constants, step);
}

template <typename V, Rounding rounding>
SYNFIRE_INLINE void integrate_row(const Dynamics& dynamics, const Constants& constants,
                                  const Step& step) {
    switch (dynamics.reset) {
        case Reset::soft:
            return integrate_row<V, rounding, Reset::soft>(dynamics, constants, step);
        case Reset::hard:
            return integrate_row<V, rounding, Reset::hard>(dynamics, constants, step);
        case Reset::none:
            return integrate_row<V, rounding, Reset::none>(dynamics, constants, step);
    }
}

template <typename V>
SYNFIRE_INLINE void integrate_lanes(const Dynamics& dynamics, const Constants& constants,
                                    const Step& step) {
    switch (dynamics.rounding) {
        case Rounding::half_up:
            return integrate_row<V, Rounding::half_up>(dynamics, constants, step);
        case Rounding::half_even:
            return integrate_row<V, Rounding::half_even>(dynamics, constants, step);
        case Rounding::floor:
            return integrate_row<V, Rounding::floor>(dynamics, constants, step);
    }
}

template <typename V, Rounding rounding>
SYNFIRE_INLINE void counts_row(float levels, Constants constants, const float* charged, int64_t n,
                               float* counts) {
    const auto at = [&](auto lanes, int64_t j) {
        using W = decltype(lanes);
        const W h = load<W>(charged + j);
        const W u = constants.unit ? h : h / constants.threshold.at<W>(j);
        store(counts + j, quantise<rounding>(u, levels));
    };
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>) at(V{}, j);
    for (; j < n; ++j) at(0.0f, j);
}

template <typename V>
SYNFIRE_INLINE void counts_of_lanes(const Dynamics& dynamics, const Constants& constants,
                                    const float* charged, int64_t n, float* counts) {
    const float levels = static_cast<float>(dynamics.levels);
    switch (dynamics.rounding) {
        case Rounding::half_up:
            return counts_row<V, Rounding::half_up>(levels, constants, charged, n, counts);
        case Rounding::half_even:
            return counts_row<V, Rounding::half_even>(levels, constants, charged, n, counts);
        case Rounding::floor:
            return counts_row<V, Rounding::floor>(levels, constants, charged, n, counts);
    }
}

}  // namespace

SYNFIRE_FOR_LANES(integrate,
                  (const Dynamics& dynamics, const Constants& constants, const Step& step),
                  (dynamics, constants, step))
SYNFIRE_FOR_LANES(counts_of,
                  (const Dynamics& dynamics, const Constants& constants, const float* charged,
                   int64_t n, float* counts),
                  (dynamics, constants, charged, n, counts))

}  // namespace synfire
