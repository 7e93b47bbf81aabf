// The constants of a call, spread over one block.
#pragma once

#include "rows.h"
#include "step.h"

namespace synfire {

inline bool all_ones(const Channelwise& constant) {
    return std::all_of(constant.values, constant.values + constant.channels,
                       [](float value) { return value == 1.0f; });
}

// What both directions need of a block, in rows 0..kRows-1 of a workspace.
template <typename Task>
class BlockConstants {
public:
    static constexpr int64_t kRows = 6;

    BlockConstants(const Dynamics& dynamics, const Task& task)
        : dynamics_(dynamics), task_(task), constants_{{}, {}, {}, all_ones(task.threshold)} {}

    void spread_over(int64_t first, int64_t n, Workspace& room) {
        constants_.decay = spread(task_.decay, first, n, room.row(0));
        constants_.threshold = spread(task_.threshold, first, n, room.row(1));
        constants_.gain = gain(n, room.row(2));
        if (!task_.scale.values) return;
        scale_ = spread(task_.scale, first, n, room.row(3));
        shift_ = spread(task_.shift, first, n, room.row(4));
    }

    const Constants& get() const { return constants_; }
    const Spread& scale() const { return scale_; }

    // What the neurons integrate at one timestep of the block: x, or its affine image.
    Floats drive(const TimeRows& x, const void* from, const void* next, int64_t n,
                 Workspace& room) const {
        Floats u = read(x.kind, from, next, n, room.row(5));
        if (task_.scale.values) {
            affine(u.values, u.next, scale_, shift_, n, room.row(5));
            u = {room.row(5), room.row(5)};
        }
        return u;
    }

private:
    Spread gain(int64_t n, float* row) const {
        if (!dynamics_.decay_input) {
            std::fill_n(row, kMostLanes, dynamics_.input_gain);
            return {row, 0};
        }
        const Spread& decay = constants_.decay;
        for (int64_t j = 0; j < (decay.mask ? n : kMostLanes); ++j)
            row[j] = 1.0f - decay.at<float>(j);
        return {row, decay.mask};
    }

    const Dynamics& dynamics_;
    const Task& task_;
    Constants constants_;
    Spread scale_{}, shift_{};
};

}  // namespace synfire
