// What both directions share: one timestep of a neuron, constants spread over the elements of a
// block, and ranges of blocks in threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "integrate_fire.h"
#include "lanes.h"
#include "threads.h"

namespace synfire {

constexpr int64_t kBlock = 512;             // elements whose constants are spread at a time
constexpr int64_t kWorthThreads = 1 << 16;  // fewer inputs are done before a thread has started

struct Constants {
    float decay[kBlock], gain[kBlock], threshold[kBlock];
};

inline void spread(const Parameter& parameter, int64_t first, int64_t n, float* out) {
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
void spread(const Dynamics& dynamics, const Task& task, int64_t first, int64_t n,
            Constants& constants) {
    spread(task.decay, first, n, constants.decay);
    spread(task.threshold, first, n, constants.threshold);
    for (int64_t j = 0; j < n; ++j)
        constants.gain[j] = dynamics.decay_input ? 1.0f - constants.decay[j] : dynamics.input_gain;
}

template <typename V>
SYNFIRE_INLINE V load_state(const float* state, int64_t element) {
    return state ? load<V>(state + element) : V{};
}

template <Rounding rounding, typename V>
SYNFIRE_INLINE V quantise(V u, float levels) {
    const V clipped = clip(u, V{}, splat<V>(levels));
    if constexpr (rounding == Rounding::half_even) return nearest_integer(clipped);
    // Half up: with 1/2 itself, the sum of the number just below 1/2 would round up to 1.
    constexpr float below_half = 0x1.fffffep-2f;
    const V poison = clipped - clipped;  // zero, or the NaN that truncation would lose
    return truncate(rounding == Rounding::half_up ? clipped + below_half : clipped) + poison;
}

template <Reset reset, typename V>
SYNFIRE_INLINE V after_reset(V h, V s, V threshold, float reset_value) {
    if constexpr (reset == Reset::soft) return h - threshold * s;
    if constexpr (reset == Reset::hard) return s > V{} ? splat<V>(reset_value) : h;
    return h;
}

// Calls work(part, begin, end) for ``parts`` ranges of whole blocks, each in a thread of its own
// where one can be had.
template <typename Work>
void in_parts(int64_t elements, int parts, const Work& work) {
    const int64_t blocks = (elements + kBlock - 1) / kBlock;
    in_threads(parts, [&](int part) {
        work(part, blocks * part / parts * kBlock,
             std::min(elements, blocks * (part + 1) / parts * kBlock));
    });
}

template <typename Task>
int parts_for(const Task& task, int threads) {
    if (task.steps * task.elements < kWorthThreads) return 1;
    const int64_t blocks = (task.elements + kBlock - 1) / kBlock;
    return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, blocks)));
}

// Calls block(first, n) for each block of a range, with its constants spread.
template <typename Task, typename Work>
void each_block(const Dynamics& dynamics, const Task& task, int64_t begin, int64_t end,
                Constants& constants, const Work& work) {
    const bool same_everywhere = task.decay.channels == 1 && task.threshold.channels == 1;
    for (int64_t first = begin; first < end; first += kBlock) {
        const int64_t n = std::min(kBlock, end - first);
        if (first == begin || !same_everywhere) spread(dynamics, task, first, n, constants);
        work(first, n);
    }
}

}  // namespace synfire
