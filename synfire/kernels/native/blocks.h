// What both directions share: elements are worked on in blocks whose states stay in the cache, and
// ranges of blocks in threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

#include "integrate_fire.h"

namespace synfire {

constexpr int64_t kBlock = 128;             // elements whose tape stays in the first-level cache
constexpr int64_t kWorthThreads = 1 << 16;  // fewer inputs are done before a thread has started

// The constants of one block of elements, spread to one value an element.
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
void load(const Dynamics& dynamics, const Task& task, int64_t begin, int64_t first, int64_t n,
          Constants& constants) {
    const bool same_everywhere = task.decay.channels == 1 && task.threshold.channels == 1;
    if (same_everywhere && first > begin) return;  // those of the first block still hold
    spread(task.decay, first, n, constants.decay);
    spread(task.threshold, first, n, constants.threshold);
    for (int64_t j = 0; j < n; ++j)
        constants.gain[j] = dynamics.decay_input ? 1.0f - constants.decay[j] : dynamics.input_gain;
}

inline void load_state(const float* state, int64_t first, int64_t n, float* out) {
    if (state)
        std::memcpy(out, state + first, n * sizeof(float));
    else
        std::fill_n(out, n, 0.0f);
}

// One timestep of n elements. v_in and v_out may be the same row; without a current filter i is
// null.
struct Row {
    const float *x, *v_in;
    float *v_out, *i, *h, *counts;
    float output_scale;
};

void step(const Dynamics& dynamics, const Constants& constants, const Row& row, int64_t n);

// Calls work(part, begin, end) for ``parts`` ranges of whole blocks, each in a thread of its own
// where one can be had.
template <typename Work>
void in_parts(int64_t elements, int parts, const Work& work) {
    const int64_t blocks = (elements + kBlock - 1) / kBlock;
    const auto run_part = [&](int part) {
        work(part, blocks * part / parts * kBlock,
             std::min(elements, blocks * (part + 1) / parts * kBlock));
    };
    std::vector<std::thread> others;
    others.reserve(parts);
    for (int part = 1; part < parts; ++part) {
        try {
            others.emplace_back(run_part, part);
        } catch (const std::system_error&) {  // the system grants no more threads
            run_part(part);
        }
    }
    run_part(0);
    for (std::thread& thread : others) thread.join();
}

template <typename Task>
int parts_for(const Task& task, int threads) {
    if (task.steps * task.elements < kWorthThreads) return 1;
    const int64_t blocks = (task.elements + kBlock - 1) / kBlock;
    return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, blocks)));
}

}  // namespace synfire
