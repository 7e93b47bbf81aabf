// Backpropagation through time of one block after the other.
#pragma once

#include "constants.h"

namespace synfire {

constexpr int64_t kTape = 32 * 1024;  // membranes that a block keeps: they stay in the second cache
constexpr int64_t kSmallestBlock = 128;  // elements, whatever the number of timesteps

// Elements of a block: as many as the caches hold beside its constants, since long rows come faster.
inline int64_t block_of(const Backward& task) {
    int64_t block = task.scale.values || task.gain.values ? kBlock / 2 : kBlock;
    if (task.record) return block;
    while (block > kSmallestBlock && block * task.steps > kTape) block /= 2;
    return block;
}

// What becomes of the gradient g_u of each row is the affair of a sink:
//     begin(first, n)                  before a block
//     target(t, first, row), past()    where g_u is to be written: ``row``, or what is better
//     take(t, first, n, g_u, next_x)   next_x: the row of x to ask for while x is read
class BackwardBlocks {
public:
    BackwardBlocks(const Dynamics& dynamics, const Backward& task)
        : dynamics_(dynamics),
          task_(task),
          grad_{task.grad_kind, task.grad, task.steps, task.elements},
          x_{task.x_kind, task.x, task.steps, task.elements},
          constants_(dynamics, task, task.current,
                     (task.grad_x && !task.gain.values) || task.grad_decay),
          block_(block_of(task)),
          rows_ahead_(task.record && task.x ? 1 : rows_ahead(task.grad_kind, block_)),
          parameters_(task.grad_decay != nullptr),
          needs_counts_(dynamics.reset == Reset::hard ||
                        (parameters_ && dynamics.reset == Reset::soft)),
          room_(kTapeRow + (task.record ? 0 : (parameters_ ? 2 : 1) * task.steps + 1)) {}

    template <typename Sink>
    void run(int64_t begin, int64_t end, Sink& sink) {
        for (int64_t first = begin; first < end; first += block_)
            run_block(first, std::min(block_, end - first), end, sink);
    }

    // x of a row as floats.
    const float* x(int64_t t, int64_t first, int64_t n) {
        return read(x_.kind, x_.at(t, first), n, room_.row(kX));
    }

    // A constant of a sink, in one of four rooms.
    Spread spread_over(const Channelwise& constant, int64_t first, int64_t n, int room) {
        return spread(constant, first, n, room_.row(kSpread + room));
    }
    const Spread& scale() const { return constants_.get().scale; }
    float* free_row() { return room_.row(kFree); }

private:
    enum {
        kV = BlockConstants<Backward>::kRows,
        kI, kGradV, kGradI, kGradDecay, kGradThreshold, kGrad, kGradU, kSlopes, kCounts, kX, kFree,
        kSpread,
        kHeights = kSpread + 4,
        kTapeRow
    };

    template <typename Sink>
    void run_block(int64_t first, int64_t n, int64_t end, Sink& sink) {
        constants_.spread_over(first, n, room_);
        sink.begin(first, n);
        alike_ = constants_.get().uniform() && !task_.current && !parameters_ &&
                 (task_.record || one_bump(dynamics_));
        if (task_.record)
            heights_ = heights_of(dynamics_, constants_.get(), n, room_.row(kHeights));
        else
            charge(first, n, end);
        float* grad_v = begin(task_.grad_v, first, n, kGradV);
        float* grad_i = task_.current ? begin(task_.grad_i, first, n, kGradI) : nullptr;
        if (parameters_) {
            begin(nullptr, first, n, kGradDecay);
            begin(nullptr, first, n, kGradThreshold);
        }
        for (int64_t t = task_.steps - 1; t >= 0; --t) {
            StepBack step{};
            step.n = n;
            step.grad_v = grad_v;
            step.grad_i = grad_i;
            step.grad_u = sink.target(t, first, room_.row(kGradU));
            step.past = sink.past();
            step.next = ahead((task_.record ? 1 : 2) * task_.steps - 1 - t, first, end);
            step_back(step, t, first);
            sink.take(t, first, n, step.grad_u, x_ahead(step.next));
        }
        finish(grad_v, first, n, task_.grad_v0);
        finish(grad_i, first, n, task_.grad_i0);
        finish(room_.row(kGradDecay), first, n, task_.grad_decay);
        finish(room_.row(kGradThreshold), first, n, task_.grad_threshold);
    }

    float* charged(int64_t t) { return room_.row(kTapeRow + t); }
    float* v_before(int64_t t) { return room_.row(kTapeRow + task_.steps + t); }

    // Membranes of all timesteps, from the input.
    void charge(int64_t first, int64_t n, int64_t end) {
        const float* v = task_.v0 ? task_.v0 + first : kRest;
        if (parameters_) std::copy_n(v, n, v_before(0));
        float* i = task_.current ? begin(task_.i0, first, n, kI) : nullptr;
        for (int64_t t = 0; t < task_.steps; ++t) {
            const float* u = constants_.drive(x_, t, first, n, room_);
            float* v_after = parameters_ ? v_before(t + 1) : room_.row(kV);
            integrate(dynamics_, constants_.get(),
                      {n, u, ahead(t, first, end), v, v_after, i, nullptr, 1.0f, false, charged(t)});
            v = v_after;
        }
    }

    // Rows are read in this order: those of x unless there is a record, then those of the gradient
    // from the last to the first. What comes some rows after place ``row``:
    Ahead ahead(int64_t row, int64_t first, int64_t end) const {
        const int64_t inputs = task_.record ? 0 : task_.steps, rows = inputs + task_.steps;
        const int64_t place = first + (row + rows_ahead_) / rows * block_;
        row = (row + rows_ahead_) % rows;
        if (place >= end) return grad_.ahead(0, first);
        return row < inputs ? x_.ahead(row, place) : grad_.ahead(rows - 1 - row, place);
    }

    // With a record x, if it is read at all, is read along with the gradient. Without, it has been
    // read: asking for the workspace costs nothing.
    Ahead x_ahead(const Ahead& grad) {
        if (!task_.record || !task_.x) return {reinterpret_cast<const char*>(room_.row(0)), 0};
        const int64_t bytes = grad.row - static_cast<const char*>(task_.grad);
        return x_.ahead(0, bytes / grad.bytes);
    }

    void step_back(StepBack& step, int64_t t, int64_t first) {
        step.grad = read(grad_.kind, grad_.at(t, first), step.n, room_.row(kGrad));
        step.scale = task_.output_scale;
        step.slopes = room_.row(kSlopes);
        step.counts = room_.row(kCounts);
        if (task_.record)
            take_record(step, t, first);
        else
            step.charged = charged(t);
        if (alike_) return propagate_alike(dynamics_, constants_.get(), step);
        if (!task_.record) take_slopes(step, t, first);
        propagate(dynamics_, constants_.get(), step);
    }

    void take_record(StepBack& step, int64_t t, int64_t first) {
        const int64_t row = (task_.elements + 7) / 8;
        step.passes = task_.record + t * row + first / 8;
        step.fired = step.passes + task_.steps * row;
        step.height = heights_.at<float>(0);
        if (alike_) return;
        step.masked = true;
        unpack_flags(step.passes, heights_, step.n, room_.row(kSlopes));
        if (needs_counts_) unpack_flags(step.fired, {kOnes, 0}, step.n, room_.row(kCounts));
    }

    void take_slopes(StepBack& step, int64_t t, int64_t first) {
        slopes_of(dynamics_, constants_.get(), step.charged, step.n, room_.row(kSlopes));
        if (needs_counts_)
            counts_of(dynamics_, constants_.get(), step.charged, step.n, room_.row(kCounts));
        if (!parameters_) return;
        step.grad_decay = room_.row(kGradDecay);
        step.grad_threshold = room_.row(kGradThreshold);
        step.v_before = v_before(t);
        if (dynamics_.decay_input) step.u = constants_.affine_of(x_, t, first, step.n, room_);
    }

    float* begin(const float* state, int64_t first, int64_t n, int64_t row) {
        float* to = room_.row(row);
        if (state)
            std::copy_n(state + first, n, to);
        else
            fill(0.0f, n, to);
        return to;
    }

    static void finish(const float* row, int64_t first, int64_t n, float* to) {
        if (to) std::copy_n(row, n, to + first);
    }

    const Dynamics& dynamics_;
    const Backward& task_;
    const TimeRows grad_, x_;
    BlockConstants<Backward> constants_;
    const int64_t block_, rows_ahead_;
    const bool parameters_, needs_counts_;
    bool alike_ = false;  // the constants of the block are those of one neuron, and one loop does it
    Workspace room_;
    Spread heights_{};
};

}  // namespace synfire
