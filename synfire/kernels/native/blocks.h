// Blocks of elements, which are small enough to stay in the first caches over all timesteps, and
// what spreads over them: constants of channels, and threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "integrate_fire.h"
#include "lanes.h"
#include "threads.h"

namespace synfire {

constexpr int64_t kBlock = 2048;            // elements of a block at most
constexpr int64_t kRow = kBlock + 32;       // floats from one row of a workspace to the next
constexpr int64_t kWorthThreads = 1 << 16;  // fewer inputs are done before a thread has woken
constexpr int kPartsOfAThread = 4;          // so that a thread that comes late has less to do

// The constant of element j of a block: values[j], or values[j % 16] where all are the same.
struct Spread {
    const float* values;
    int64_t mask;

    template <typename V>
    SYNFIRE_INLINE V at(int64_t j) const {
        return load<V>(values + (j & mask));
    }
};

// Sets n floats of a row, and up to kMostLanes after them.
void fill(float value, int64_t n, float* to);

// Spreads over the elements first..first+n, in a room for kRow floats.
Spread spread(const Channelwise& constant, int64_t first, int64_t n, float* room);

// Runs shorter than this are not worth a loop of their own.
constexpr int64_t kRun = 32;

// Calls work(channel, begin, end) for each run of neighbours of one channel among n elements.
template <typename Work>
void each_run(const Channelwise& constant, int64_t first, int64_t n, const Work& work) {
    int64_t channel = first / constant.inner % constant.channels;
    int64_t end = std::min(n, constant.inner - first % constant.inner);
    if (constant.channels == 1) end = n;
    for (int64_t begin = 0; begin < n;) {
        work(channel, begin, end);
        begin = end;
        end = std::min(n, end + constant.inner);
        channel = channel + 1 == constant.channels ? 0 : channel + 1;
    }
}

// Rows of kBlock floats, each on lines of the cache of its own.
class Workspace {
public:
    explicit Workspace(int64_t rows) : room_(new float[rows * kRow + kMostLanes]) {}

    float* row(int64_t index) {
        const auto address = reinterpret_cast<uintptr_t>(room_.get());
        return room_.get() + (-address & 63) / sizeof(float) + index * kRow;
    }

private:
    std::unique_ptr<float[]> room_;
};

alignas(64) constexpr float kOnes[kMostLanes] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// The state of neurons that have seen nothing.
alignas(64) extern const float kRest[kRow];

inline int64_t bytes_of(Kind kind) { return kind == Kind::float32 ? 4 : 2; }

// How far ahead of their use inputs are asked for: by then they have come.
constexpr int64_t kBytesAhead = 8 << 10;

inline int64_t rows_ahead(Kind kind, int64_t block) {
    return std::max<int64_t>(1, kBytesAhead / (bytes_of(kind) * block));
}

// A row that will be read after this one, and is asked for element by element meanwhile: a burst of
// requests would wait for itself.
struct Ahead {
    const char* row;
    int64_t bytes;  // of an element

    SYNFIRE_INLINE void ask(int64_t j) const { prefetch(row + j * bytes); }
};

// The rows [steps, elements] of a tensor.
struct TimeRows {
    Kind kind;
    const void* data;
    int64_t steps, elements;

    const void* at(int64_t step, int64_t element) const {
        return static_cast<const char*>(data) + bytes_of(kind) * (step * elements + element);
    }
    Ahead ahead(int64_t step, int64_t element) const {
        return {static_cast<const char*>(at(step, element)), bytes_of(kind)};
    }
};

// Calls work(part, begin, end) for ``parts`` ranges of whole blocks, each in a thread of its own
// where one can be had.
template <typename Work>
void in_parts(int64_t elements, int parts, const Work& work) {
    const int64_t blocks = (elements + kBlock - 1) / kBlock;
    share(parts, parts, [&](int part, int) {
        work(part, blocks * part / parts * kBlock,
             std::min(elements, blocks * (part + 1) / parts * kBlock));
    });
}

// How many threads are worth it; ``inputs`` are the elements of all timesteps.
inline int threads_for(int64_t elements, int64_t inputs, int threads) {
    const int64_t blocks = (elements + kBlock - 1) / kBlock;
    if (inputs < kWorthThreads) return 1;
    return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, blocks)));
}

// The same as in_parts for work(worker, begin, end), in more parts than threads.
template <typename Work>
void each_range(int64_t elements, int threads, const Work& work) {
    if (threads == 1) return work(0, 0, elements);
    const int64_t blocks = (elements + kBlock - 1) / kBlock;
    const int parts = static_cast<int>(std::min<int64_t>(blocks, threads * kPartsOfAThread));
    share(parts, threads, [&](int part, int worker) {
        work(worker, blocks * part / parts * kBlock,
             std::min(elements, blocks * (part + 1) / parts * kBlock));
    });
}

}  // namespace synfire
