#include "blocks.h"

namespace synfire {

alignas(64) const float kRest[kRow] = {};

namespace {

// Runs of ``inner`` times the same value. What lies up to a register's width beyond a run is
// overwritten by the next one, or is the margin of a row.
template <typename V>
SYNFIRE_INLINE void spread_runs_lanes(const Channelwise& constant, int64_t channel, int64_t left,
                                      int64_t n, float* room) {
    const int64_t inner = constant.inner, channels = constant.channels;
    for (int64_t done = 0; done < n;) {
        const int64_t end = std::min(n, done + left);
        const V value = splat<V>(constant.values[channel]);
        for (int64_t j = done; j < end; j += kLanes<V>) store(room + j, value);
        done = end;
        left = inner;
        channel = channel + 1 == channels ? 0 : channel + 1;
    }
}

SYNFIRE_FOR_LANES(spread_runs,
                  (const Channelwise& constant, int64_t channel, int64_t left, int64_t n,
                   float* room),
                  (constant, channel, left, n, room))

template <typename V>
SYNFIRE_INLINE void fill_lanes(float value, int64_t n, float* to) {
    for (int64_t j = 0; j < n; j += kLanes<V>) store(to + j, splat<V>(value));
}

// Neighbours are channels.
void spread_neighbours(const Channelwise& constant, int64_t channel, int64_t n, float* room) {
    for (int64_t done = 0; done < n; channel = 0) {
        const int64_t run = std::min(constant.channels - channel, n - done);
        std::memcpy(room + done, constant.values + channel, run * sizeof(float));
        done += run;
    }
}

}  // namespace

SYNFIRE_FOR_LANES(fill, (float value, int64_t n, float* to), (value, n, to))

Spread spread(const Channelwise& constant, int64_t first, int64_t n, float* room) {
    const int64_t inner = constant.inner;
    const int64_t channel = (first / inner) % constant.channels, left = inner - first % inner;
    if (constant.channels == 1 || left >= n) {
        fill(constant.values[channel], kMostLanes, room);
        return {room, 0};
    }
    if (inner == 1)
        spread_neighbours(constant, channel, n, room);
    else
        spread_runs(constant, channel, left, n, room);
    return {room, -1};
}

}  // namespace synfire
