#include "backward_blocks.h"
#include "sums.h"

namespace synfire {
namespace {

// Writes the gradient of x.
class GradientSink {
public:
    GradientSink(const Backward& task, BackwardBlocks& blocks)
        : task_(task),
          blocks_(blocks),
          mapped_(task.gain.values || task.scale.values),
          streamed_(worth_streaming(bytes_of(task.grad_kind) * task.steps * task.elements)),
          past_(streamed_ && in_lines(task.grad_x, bytes_of(task.grad_kind) * task.elements)),
          direct_(task.grad_kind == Kind::float32 && !mapped_ && (!streamed_ || past_)),
          in_runs_(task.gain.inner >= kRun && alike(task.gain, task.slope) &&
                   alike(task.gain, task.centre) && alike(task.gain, task.offset)),
          maps_past_(past_ && task.grad_kind == Kind::float32 &&
                     (!in_runs_ || task.gain.inner % kMostLanes == 0)) {}

    void begin(int64_t first, int64_t n) {
        if (!task_.gain.values || in_runs_) return;
        map_ = {blocks_.spread_over(task_.gain, first, n, 0),
                blocks_.spread_over(task_.slope, first, n, 1),
                blocks_.spread_over(task_.centre, first, n, 2),
                blocks_.spread_over(task_.offset, first, n, 3)};
    }

    float* target(int64_t t, int64_t first, float* row) const {
        return direct_ ? reinterpret_cast<float*>(grad_x(t, first)) : row;
    }

    bool past() const { return direct_ && past_; }

    void take(int64_t t, int64_t first, int64_t n, float* row, Ahead next_x) const {
        if (direct_) return;
        char* to = grad_x(t, first);
        if (task_.gain.values) {
            float* mapped = maps_past_ ? reinterpret_cast<float*>(to) : row;
            map(row, blocks_.x(t, first, n), next_x, first, n, mapped);
            if (maps_past_) return;
        } else if (task_.scale.values) {
            times(row, blocks_.scale(), n, row);
        }
        write(to, n, row);
    }

    bool streamed() const { return streamed_; }

private:
    char* grad_x(int64_t t, int64_t first) const {
        const int64_t place = t * task_.elements + first;
        return static_cast<char*>(task_.grad_x) + bytes_of(task_.grad_kind) * place;
    }

    void map(const float* row, const float* x, Ahead next_x, int64_t first, int64_t n,
             float* to) const {
        if (!in_runs_) return linear(row, x, next_x, map_, n, to, maps_past_);
        each_run(task_.gain, first, n, [&](int64_t channel, int64_t begin, int64_t end) {
            const Ahead next{next_x.row + begin * next_x.bytes, next_x.bytes};
            linear_alike(row + begin, x + begin, next, at(channel), end - begin, to + begin,
                         maps_past_);
        });
    }

    Linear at(int64_t channel) const {
        return {{task_.gain.values + channel, 0},
                {task_.slope.values + channel, 0},
                {task_.centre.values + channel, 0},
                {task_.offset.values + channel, 0}};
    }

    void write(char* to, int64_t n, const float* row) const {
        if (task_.grad_kind == Kind::float32) {
            if (streamed_) return stream(row, 4 * n, to);
            std::memcpy(to, row, 4 * n);
            return;
        }
        if (!streamed_ || past_) return narrow(task_.grad_kind, row, 1.0f, n, to, past_);
        narrow(task_.grad_kind, row, 1.0f, n, blocks_.free_row(), false);
        stream(blocks_.free_row(), 2 * n, to);
    }

    const Backward& task_;
    BackwardBlocks& blocks_;
    // mapped_: g_u is not yet the gradient of x. direct_: it is written where it is computed.
    // streamed_: the gradient is written past the caches; past_, maps_past_: straight from registers
    const bool mapped_, streamed_, past_, direct_, in_runs_, maps_past_;
    Linear map_{};
};

// Adds the gradient up, a channel at a time.
class SumSink {
public:
    SumSink(const BackwardSums& task, BackwardBlocks& blocks, ChannelSums& sums)
        : task_(task), blocks_(blocks), sums_(sums) {}

    void begin(int64_t first, int64_t n) {
        if (task_.mean.inner < kRun) centre_ = blocks_.spread_over(task_.mean, first, n, 0);
    }

    float* target(int64_t, int64_t, float* row) const { return row; }

    bool past() const { return false; }

    void take(int64_t t, int64_t first, int64_t n, const float* row, Ahead) const {
        const float* x = blocks_.x(t, first, n);
        if (task_.mean.inner >= kRun) return sums_.add_centred(row, x, task_.mean.values, first, n);
        times_centred(row, x, centre_, n, blocks_.free_row());
        sums_.add(row, blocks_.free_row(), first, n);
    }

private:
    const BackwardSums& task_;
    BackwardBlocks& blocks_;
    ChannelSums& sums_;
    Spread centre_{};
};

std::vector<BackwardBlocks> workers_for(const Dynamics& dynamics, const Backward& task, int threads) {
    std::vector<BackwardBlocks> workers;
    for (int worker = 0; worker < threads; ++worker) workers.emplace_back(dynamics, task);
    return workers;
}

}  // namespace

void run(const Dynamics& dynamics, const Backward& task, int threads) {
    threads = threads_for(task.elements, task.steps * task.elements, threads);
    std::vector<BackwardBlocks> workers = workers_for(dynamics, task, threads);
    each_range(task.elements, threads, [&](int worker, int64_t begin, int64_t end) {
        GradientSink sink(task, workers[worker]);
        workers[worker].run(begin, end, sink);
        if (sink.streamed()) end_of_stream();
    });
}

void run(const Dynamics& dynamics, const BackwardSums& task, int threads) {
    const Backward& backward = task.backward;
    threads = threads_for(backward.elements, backward.steps * backward.elements, threads);
    std::vector<BackwardBlocks> workers = workers_for(dynamics, backward, threads);
    PartialSums partial(backward.elements, backward.steps, task.mean.channels, task.mean.inner);
    partial.run(threads, [&](int worker, int64_t begin, int64_t end, ChannelSums& sums) {
        SumSink sink(task, workers[worker], sums);
        workers[worker].run(begin, end, sink);
    });
    for (int64_t channel = 0; channel < task.mean.channels; ++channel) {
        task.sums[channel] = static_cast<float>(partial.first(channel));
        task.products[channel] = static_cast<float>(partial.second(channel));
    }
}

}  // namespace synfire
