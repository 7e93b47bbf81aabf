#include "step.h"

#include "quantise.h"

namespace synfire {
namespace {

// The numbers of a neuron as a loop needs them.
struct Numbers {
    explicit Numbers(const Dynamics& dynamics)
        : most(most_of(dynamics)),
          reset_value(dynamics.reset_value),
          current_decay(dynamics.current_decay) {}

    float most, reset_value, current_decay;
};

template <Count count, Reset reset, typename V>
SYNFIRE_INLINE void fire_at(V h, V threshold, bool unit, const Numbers& numbers, const Step& step,
                            int64_t j) {
    const V s = quantise<count>(unit ? h : h / threshold, numbers.most);
    store(step.v_after + j, after_reset<reset>(h, s, threshold, numbers.reset_value));
    if (step.counts) store<V>(step.counts + j, s * step.scale, step.past);
    if (step.charged) store(step.charged + j, h);
}

template <typename V, Count count, Reset reset, bool filter>
SYNFIRE_INLINE void integrate_at(const Constants& constants, const Numbers& numbers,
                                 const Step& step, int64_t j) {
    V drive = constants.gain.at<V>(j) * load<V>(step.u + j);
    if constexpr (filter) {
        drive = load<V>(step.i + j) * numbers.current_decay + drive;
        store(step.i + j, drive);
    }
    const V h = constants.decay.at<V>(j) * load<V>(step.v + j) + drive;
    fire_at<count, reset>(h, constants.threshold.at<V>(j), constants.unit, numbers, step, j);
}

// Structures are taken by value, so that the compiler knows that no result overwrites them.
template <typename V, Count count, Reset reset, bool filter>
SYNFIRE_INLINE void integrate_row(Constants constants, Numbers numbers, Step step) {
    int64_t j = 0;
    for (; j + kLanes<V> <= step.n; j += kLanes<V>) {
        step.next.ask(j);
        integrate_at<V, count, reset, filter>(constants, numbers, step, j);
    }
    for (; j < step.n; ++j)
        integrate_at<float, count, reset, filter>(constants, numbers, step, j);
}

// How the input of a uniform row becomes what is integrated.
enum class Input { as_is, affine_alike, affine_each };

// The same with constants in registers, without a current. An affine map is either the same for
// the whole row or spread over it.
template <typename V, Count count, Reset reset, Input input>
SYNFIRE_INLINE void integrate_uniform_row(Constants constants, Numbers numbers, Step step) {
    const V gain = constants.gain.at<V>(0), decay = constants.decay.at<V>(0),
            threshold = constants.threshold.at<V>(0);
    const float *scales = constants.scale.values, *shifts = constants.shift.values;
    const V scale = splat<V>(input == Input::affine_alike ? *scales : 1.0f);
    const V shift = splat<V>(input == Input::affine_alike ? *shifts : 0.0f);
    int64_t j = 0;
    for (; j + kLanes<V> <= step.n; j += kLanes<V>) {
        step.next.ask(j);
        V u = load<V>(step.u + j);
        if constexpr (input == Input::affine_alike) u = u * scale + shift;
        if constexpr (input == Input::affine_each) u = u * load<V>(scales + j) + load<V>(shifts + j);
        const V h = decay * load<V>(step.v + j) + gain * u;
        fire_at<count, reset>(h, threshold, constants.unit, numbers, step, j);
    }
    for (; j < step.n; ++j) {
        float u = step.u[j];
        if constexpr (input == Input::affine_alike) u = u * *scales + *shifts;
        if constexpr (input == Input::affine_each) u = u * scales[j] + shifts[j];
        const float h = constants.decay.at<float>(0) * step.v[j] + constants.gain.at<float>(0) * u;
        fire_at<count, reset>(h, constants.threshold.at<float>(0), constants.unit, numbers, step, j);
    }
}

// The elements begin..end of a step.
SYNFIRE_INLINE Step part_of(Step step, int64_t begin, int64_t end) {
    step.n = end - begin;
    step.u += begin;
    step.next.row += begin * step.next.bytes;
    step.v += begin;
    step.v_after += begin;
    if (step.counts) step.counts += begin;
    if (step.charged) step.charged += begin;
    return step;
}

// One run of a channel after the other.
template <typename V, Count count, Reset reset>
SYNFIRE_INLINE void integrate_runs(Constants constants, const Numbers& numbers, const Step& step) {
    const Channelwise &scale = *constants.scale_runs, &shift = *constants.shift_runs;
    int64_t channel = constants.first / scale.inner % scale.channels;
    int64_t end = std::min(step.n, scale.inner - constants.first % scale.inner);
    for (int64_t begin = 0; begin < step.n;) {
        constants.scale.values = scale.values + channel;
        constants.shift.values = shift.values + channel;
        integrate_uniform_row<V, count, reset, Input::affine_alike>(constants, numbers,
                                                                    part_of(step, begin, end));
        begin = end;
        end = std::min(step.n, end + scale.inner);
        channel = channel + 1 == scale.channels ? 0 : channel + 1;
    }
}

template <typename V, Count count, Reset reset>
SYNFIRE_INLINE void integrate_row(const Constants& constants, const Numbers& numbers,
                                  const Step& step) {
    if (step.i) return integrate_row<V, count, reset, true>(constants, numbers, step);
    if (!constants.uniform())
        return integrate_row<V, count, reset, false>(constants, numbers, step);
    if (!constants.affine)
        return integrate_uniform_row<V, count, reset, Input::as_is>(constants, numbers, step);
    if (constants.scale_runs) return integrate_runs<V, count, reset>(constants, numbers, step);
    if (constants.scale.mask)
        return integrate_uniform_row<V, count, reset, Input::affine_each>(constants, numbers, step);
    integrate_uniform_row<V, count, reset, Input::affine_alike>(constants, numbers, step);
}

template <typename V, Count count>
SYNFIRE_INLINE void integrate_row(const Dynamics& dynamics, const Constants& constants,
                                  const Step& step) {
    const Numbers numbers(dynamics);
    switch (dynamics.reset) {
        case Reset::soft:
            return integrate_row<V, count, Reset::soft>(constants, numbers, step);
        case Reset::hard:
            return integrate_row<V, count, Reset::hard>(constants, numbers, step);
        case Reset::none:
            return integrate_row<V, count, Reset::none>(constants, numbers, step);
    }
}

template <typename V>
SYNFIRE_INLINE void integrate_lanes(const Dynamics& dynamics, const Constants& constants,
                                    const Step& step) {
    switch (count_of(dynamics)) {
        case Count::half_up:
            return integrate_row<V, Count::half_up>(dynamics, constants, step);
        case Count::half_even:
            return integrate_row<V, Count::half_even>(dynamics, constants, step);
        case Count::floor:
            return integrate_row<V, Count::floor>(dynamics, constants, step);
        case Count::at_least:
            return integrate_row<V, Count::at_least>(dynamics, constants, step);
        case Count::above:
            return integrate_row<V, Count::above>(dynamics, constants, step);
    }
}

template <Count count, typename V>
SYNFIRE_INLINE void count_at(const Constants& constants, float most, const float* charged,
                             int64_t j, float* counts) {
    const V h = load<V>(charged + j);
    store(counts + j, quantise<count>(constants.unit ? h : h / constants.threshold.at<V>(j), most));
}

template <typename V, Count count>
SYNFIRE_INLINE void counts_row(float most, Constants constants, const float* charged, int64_t n,
                               float* counts) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        count_at<count, V>(constants, most, charged, j, counts);
    for (; j < n; ++j) count_at<count, float>(constants, most, charged, j, counts);
}

template <typename V>
SYNFIRE_INLINE void counts_of_lanes(const Dynamics& dynamics, const Constants& constants,
                                    const float* charged, int64_t n, float* counts) {
    const float most = most_of(dynamics);
    switch (count_of(dynamics)) {
        case Count::half_up:
            return counts_row<V, Count::half_up>(most, constants, charged, n, counts);
        case Count::half_even:
            return counts_row<V, Count::half_even>(most, constants, charged, n, counts);
        case Count::floor:
            return counts_row<V, Count::floor>(most, constants, charged, n, counts);
        case Count::at_least:
            return counts_row<V, Count::at_least>(most, constants, charged, n, counts);
        case Count::above:
            return counts_row<V, Count::above>(most, constants, charged, n, counts);
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
