// The constants of a call, spread over one block.
#pragma once

#include "rows.h"
#include "step.h"

namespace synfire {

inline bool all_ones(const Channelwise& constant) {
    return std::all_of(constant.values, constant.values + constant.channels,
                       [](float value) { return value == 1.0f; });
}

inline bool alike(const Channelwise& one, const Channelwise& other) {
    return one.channels == other.channels && one.inner == other.inner;
}

// What both directions need of a block, in rows 0..kRows-1 of a workspace.
template <typename Task>
class BlockConstants {
public:
    static constexpr int64_t kRows = 6;
    static constexpr int64_t kLongRun = 64;  // of one channel: constants are kept in registers

    // ``spreads_affine``: whether more than ``integrate`` depends on the affine map.
    BlockConstants(const Dynamics& dynamics, const Task& task, bool current, bool spreads_affine)
        : dynamics_(dynamics), task_(task), current_(current), spreads_affine_(spreads_affine) {
        constants_.unit = all_ones(task.threshold);
    }

    void spread_over(int64_t first, int64_t n, Workspace& room) {
        constants_.decay = spread(task_.decay, first, n, room.row(0));
        constants_.threshold = spread(task_.threshold, first, n, room.row(1));
        constants_.gain = gain(n, room.row(2));
        if (!task_.scale.values) return;
        constants_.affine = constants_.uniform() && !current_ && alike(task_.scale, task_.shift);
        if (constants_.affine && !spreads_affine_ && task_.scale.inner % kMostLanes == 0 &&
            task_.scale.inner >= kLongRun) {
            constants_.scale_runs = &task_.scale;
            constants_.shift_runs = &task_.shift;
            constants_.first = first;
            return;
        }
        constants_.scale = spread(task_.scale, first, n, room.row(3));
        constants_.shift = spread(task_.shift, first, n, room.row(4));
    }

    const Constants& get() const { return constants_; }

    // What ``integrate`` takes at one timestep of the block: x, or its affine image where that is
    // not left to it.
    const float* drive(const TimeRows& x, int64_t t, int64_t first, int64_t n,
                       Workspace& room) const {
        if (!constants_.affine) return affine_of(x, t, first, n, room);
        return read(x.kind, x.at(t, first), n, room.row(5));
    }

    // The affine image in any case.
    const float* affine_of(const TimeRows& x, int64_t t, int64_t first, int64_t n,
                           Workspace& room) const {
        const float* values = read(x.kind, x.at(t, first), n, room.row(5));
        if (!task_.scale.values) return values;
        affine(values, constants_.scale, constants_.shift, n, room.row(5));
        return room.row(5);
    }

private:
    Spread gain(int64_t n, float* row) const {
        if (!dynamics_.decay_input) {
            fill(dynamics_.input_gain, kMostLanes, row);
            return {row, 0};
        }
        const Spread& decay = constants_.decay;
        for (int64_t j = 0; j < (decay.mask ? n : kMostLanes); ++j)
            row[j] = 1.0f - decay.at<float>(j);
        return {row, decay.mask};
    }

    const Dynamics& dynamics_;
    const Task& task_;
    const bool current_, spreads_affine_;
    Constants constants_{};
};

}  // namespace synfire
