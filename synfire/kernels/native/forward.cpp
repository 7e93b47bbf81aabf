#include <initializer_list>
#include <stdexcept>

#include "blocks.h"

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

// All timesteps of the elements first + j, j + 1, ...: as many as V has lanes.
template <typename V, Rounding rounding, Reset reset, bool filter>
SYNFIRE_INLINE void integrate_at(const Dynamics& dynamics, const Forward& task,
                                 const Constants& constants, int64_t first, int64_t j) {
    const V decay = load<V>(constants.decay + j), gain = load<V>(constants.gain + j);
    const V threshold = load<V>(constants.threshold + j);
    const float levels = static_cast<float>(dynamics.levels), scale = task.output_scale;
    const float reset_value = dynamics.reset_value, current_decay = dynamics.current_decay;
    const int64_t elements = task.elements;
    V v = load_state<V>(task.v0, first + j);
    V i = filter ? load<V>(task.i0 + first + j) : V{};
    const float* x = task.x + first + j;
    float* counts = task.counts + first + j;
    for (int64_t t = 0; t < task.steps; ++t, x += elements, counts += elements) {
        V drive = gain * load<V>(x);
        if constexpr (filter) drive = i = i * current_decay + drive;
        const V h = decay * v + drive;
        const V s = quantise<rounding>(h / threshold, levels);
        v = after_reset<reset>(h, s, threshold, reset_value);
        store(counts, s * scale);
    }
    store(task.v + first + j, v);
    if constexpr (filter) store(task.i + first + j, i);
}

template <typename V, Rounding rounding, Reset reset, bool filter>
SYNFIRE_INLINE void integrate_block(const Dynamics& dynamics, const Forward& task,
                                    const Constants& constants, int64_t first, int64_t n) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        integrate_at<V, rounding, reset, filter>(dynamics, task, constants, first, j);
    for (; j < n; ++j)
        integrate_at<float, rounding, reset, filter>(dynamics, task, constants, first, j);
}

template <typename V, Rounding rounding, Reset reset>
SYNFIRE_INLINE void integrate_block(const Dynamics& dynamics, const Forward& task,
                                    const Constants& constants, int64_t first, int64_t n) {
    task.i0 ? integrate_block<V, rounding, reset, true>(dynamics, task, constants, first, n)
            : integrate_block<V, rounding, reset, false>(dynamics, task, constants, first, n);
}

template <typename V, Rounding rounding>
SYNFIRE_INLINE void integrate_block(const Dynamics& dynamics, const Forward& task,
                                    const Constants& constants, int64_t first, int64_t n) {
    switch (dynamics.reset) {
        case Reset::soft:
            return integrate_block<V, rounding, Reset::soft>(dynamics, task, constants, first, n);
        case Reset::hard:
            return integrate_block<V, rounding, Reset::hard>(dynamics, task, constants, first, n);
        case Reset::none:
            return integrate_block<V, rounding, Reset::none>(dynamics, task, constants, first, n);
    }
}

template <typename V>
SYNFIRE_INLINE void integrate_lanes(const Dynamics& dynamics, const Forward& task,
                                    const Constants& constants, int64_t first, int64_t n) {
    switch (dynamics.rounding) {
        case Rounding::half_up:
            return integrate_block<V, Rounding::half_up>(dynamics, task, constants, first, n);
        case Rounding::half_even:
            return integrate_block<V, Rounding::half_even>(dynamics, task, constants, first, n);
        case Rounding::floor:
            return integrate_block<V, Rounding::floor>(dynamics, task, constants, first, n);
    }
}

SYNFIRE_FOR_LANES(integrate,
                  (const Dynamics& dynamics, const Forward& task, const Constants& constants,
                   int64_t first, int64_t n),
                  (dynamics, task, constants, first, n))

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
      half_width(width / 2),
      height(static_cast<float>(scale / width)),
      inclusive(inclusive),
      unit_is_count(parse<int>("unit", unit, {"membrane", "count"}) == 1) {}

int lanes() { return lanes_in_use(); }

int limit_lanes(int most) {
    int lanes = widest_lanes();
    while (lanes > most && lanes > kLanes<Lanes4>) lanes /= 2;
    return lanes_in_use() = lanes;
}

void run(const Dynamics& dynamics, const Forward& task, int threads) {
    in_parts(task.elements, parts_for(task, threads), [&](int, int64_t begin, int64_t end) {
        Constants constants;
        each_block(dynamics, task, begin, end, constants, [&](int64_t first, int64_t n) {
            integrate(dynamics, task, constants, first, n);
        });
    });
}

}  // namespace synfire
