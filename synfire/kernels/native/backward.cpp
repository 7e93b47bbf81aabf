#include "constants.h"
#include "sums.h"

namespace synfire {
namespace {

constexpr int64_t kTape = 16 * kBlock;   // membranes that a block keeps: they stay in the second cache
constexpr int64_t kSmallestBlock = 128;  // elements, whatever the number of timesteps
alignas(64) constexpr float kOnes[kMostLanes] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

int64_t block_of(int64_t steps) {
    int64_t block = kBlock;
    while (block > kSmallestBlock && block * steps > kTape) block /= 2;
    return block;
}

// Backpropagation through time of one block after the other. What becomes of the gradient g_u of
// each row is the affair of a sink: sink(t, first, n, g_u).
class BackwardBlocks {
public:
    BackwardBlocks(const Dynamics& dynamics, const Backward& task)
        : dynamics_(dynamics),
          task_(task),
          grad_{task.grad_kind, task.grad, task.steps, task.elements},
          x_{task.x_kind, task.x, task.steps, task.elements},
          constants_(dynamics, task),
          block_(block_of(task.steps)),
          parameters_(task.grad_decay != nullptr),
          needs_counts_(dynamics.reset == Reset::hard ||
                        (parameters_ && dynamics.reset == Reset::soft)),
          room_(kTapeRow + (task.record ? 0 : 2 * task.steps + 1)) {}

    template <typename Sink>
    void run(int64_t begin, int64_t end, const Sink& sink) {
        for (int64_t first = begin; first < end; first += block_)
            run_block(first, std::min(block_, end - first), end, sink);
    }

    // x of a row as floats.
    const float* x(int64_t t, int64_t first, int64_t n) {
        const void* from = x_.at(t, first);
        return read(x_.kind, from, from, n, room_.row(kX)).values;
    }

    // A constant of a sink, in one of four rooms.
    Spread spread_over(const Channelwise& constant, int64_t first, int64_t n, int room) {
        return spread(constant, first, n, room_.row(kSpread + room));
    }
    const Spread& scale() const { return constants_.scale(); }
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
    void run_block(int64_t first, int64_t n, int64_t end, const Sink& sink) {
        constants_.spread_over(first, n, room_);
        if (task_.record)
            heights_ = heights_of(dynamics_, constants_.get(), n, room_.row(kHeights));
        else
            charge(first, n);
        float* grad_v = begin(task_.grad_v, first, n, kGradV);
        float* grad_i = task_.current ? begin(task_.grad_i, first, n, kGradI) : nullptr;
        if (parameters_) {
            begin(nullptr, first, n, kGradDecay);
            begin(nullptr, first, n, kGradThreshold);
        }
        for (int64_t t = task_.steps - 1; t >= 0; --t) {
            const void* next = t > 0 ? grad_.at(t - 1, first) : first_row(first, end);
            step_back(t, first, n, next, grad_v, grad_i);
            sink(t, first, n, room_.row(kGradU));
        }
        finish(grad_v, first, n, task_.grad_v0);
        finish(grad_i, first, n, task_.grad_i0);
        finish(room_.row(kGradDecay), first, n, task_.grad_decay);
        finish(room_.row(kGradThreshold), first, n, task_.grad_threshold);
    }

    // What the block after the one at ``first`` reads first.
    const void* first_row(int64_t first, int64_t end) const {
        const int64_t place = first + block_ < end ? first + block_ : first;
        return task_.record ? grad_.at(task_.steps - 1, place) : x_.at(0, place);
    }

    float* charged(int64_t t) { return room_.row(kTapeRow + t); }
    float* v_before(int64_t t) { return room_.row(kTapeRow + task_.steps + t); }

    // Membranes of all timesteps, from the input.
    void charge(int64_t first, int64_t n) {
        float* v = begin(task_.v0, first, n, parameters_ ? kTapeRow + task_.steps : kV);
        float* i = task_.current ? begin(task_.i0, first, n, kI) : nullptr;
        for (int64_t t = 0; t < task_.steps; ++t) {
            const void* next =
                t + 1 < task_.steps ? x_.at(t + 1, first) : grad_.at(task_.steps - 1, first);
            const Floats u = constants_.drive(x_, x_.at(t, first), next, n, room_);
            float* v_after = parameters_ ? v_before(t + 1) : v;
            integrate(dynamics_, constants_.get(),
                      {n, u.values, u.next, v, v_after, i, nullptr, 1.0f, charged(t)});
            v = v_after;
        }
    }

    void step_back(int64_t t, int64_t first, int64_t n, const void* next, float* grad_v,
                   float* grad_i) {
        const Floats grad = read(grad_.kind, grad_.at(t, first), next, n, room_.row(kGrad));
        StepBack step{};
        step.n = n;
        step.grad = grad.values;
        step.next = grad.next;
        step.scale = task_.output_scale;
        if (task_.record) {
            const int64_t row = (task_.elements + 7) / 8;
            const uint8_t* bits = task_.record + t * row + first / 8;
            step.masked = true;
            unpack_flags(bits, heights_, n, room_.row(kSlopes));
            if (needs_counts_)
                unpack_flags(bits + task_.steps * row, {kOnes, 0}, n, room_.row(kCounts));
        } else {
            step.charged = charged(t);
            slopes_of(dynamics_, constants_.get(), step.charged, n, room_.row(kSlopes));
            if (needs_counts_)
                counts_of(dynamics_, constants_.get(), step.charged, n, room_.row(kCounts));
        }
        step.slopes = room_.row(kSlopes);
        step.counts = room_.row(kCounts);
        step.grad_v = grad_v;
        step.grad_i = grad_i;
        step.grad_u = room_.row(kGradU);
        if (parameters_) {
            step.grad_decay = room_.row(kGradDecay);
            step.grad_threshold = room_.row(kGradThreshold);
            step.v_before = v_before(t);
            const void* x = x_.at(t, first);
            if (dynamics_.decay_input) step.u = constants_.drive(x_, x, x, n, room_).values;
        }
        propagate(dynamics_, constants_.get(), step);
    }

    float* begin(const float* state, int64_t first, int64_t n, int64_t row) {
        float* to = room_.row(row);
        state ? std::copy_n(state + first, n, to) : std::fill_n(to, n, 0.0f);
        return to;
    }

    static void finish(const float* row, int64_t first, int64_t n, float* to) {
        if (to) std::copy_n(row, n, to + first);
    }

    const Dynamics& dynamics_;
    const Backward& task_;
    const TimeRows grad_, x_;
    BlockConstants<Backward> constants_;
    const int64_t block_;
    const bool parameters_, needs_counts_;
    Workspace room_;
    Spread heights_{};
};

// Writes the gradient of x.
class GradientSink {
public:
    GradientSink(const Backward& task, BackwardBlocks& blocks)
        : task_(task),
          blocks_(blocks),
          streamed_(worth_streaming(task.grad_kind, task.steps * task.elements)) {}

    void operator()(int64_t t, int64_t first, int64_t n, float* grad_u) const {
        if (task_.gain.values) {
            const float* x = blocks_.x(t, first, n);
            linear(grad_u, x, spread(task_.gain, first, n, 0), spread(task_.slope, first, n, 1),
                   spread(task_.centre, first, n, 2), spread(task_.offset, first, n, 3), n, grad_u);
        } else if (task_.scale.values) {
            times(grad_u, blocks_.scale(), n, grad_u);
        }
        const int64_t place = t * task_.elements + first;
        write(static_cast<char*>(task_.grad_x) + bytes_of(task_.grad_kind) * place, n, grad_u);
    }

    bool streamed() const { return streamed_; }

private:
    Spread spread(const Channelwise& constant, int64_t first, int64_t n, int room) const {
        return blocks_.spread_over(constant, first, n, room);
    }

    void write(char* to, int64_t n, const float* grad_x) const {
        const void* from = grad_x;
        if (task_.grad_kind != Kind::float32) {
            void* narrowed = streamed_ ? static_cast<void*>(blocks_.free_row()) : to;
            narrow(task_.grad_kind, grad_x, 1.0f, n, narrowed);
            if (!streamed_) return;
            from = narrowed;
        }
        const int64_t bytes = bytes_of(task_.grad_kind) * n;
        if (streamed_)
            stream(from, bytes, to);
        else
            std::memcpy(to, from, bytes);
    }

    const Backward& task_;
    BackwardBlocks& blocks_;
    const bool streamed_;
};

// Adds the gradient up, a channel at a time.
class SumSink {
public:
    SumSink(const BackwardSums& task, BackwardBlocks& blocks, ChannelSums& sums)
        : task_(task), blocks_(blocks), sums_(sums) {}

    void operator()(int64_t t, int64_t first, int64_t n, float* grad_u) const {
        const Spread centre = blocks_.spread_over(task_.mean, first, n, 0);
        times_centred(grad_u, blocks_.x(t, first, n), centre, n, blocks_.free_row());
        sums_.add(grad_u, blocks_.free_row(), first, n);
    }

private:
    const BackwardSums& task_;
    BackwardBlocks& blocks_;
    ChannelSums& sums_;
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
        const GradientSink sink(task, workers[worker]);
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
        workers[worker].run(begin, end, SumSink(task, workers[worker], sums));
    });
    for (int64_t channel = 0; channel < task.mean.channels; ++channel) {
        task.sums[channel] = static_cast<float>(partial.first(channel));
        task.products[channel] = static_cast<float>(partial.second(channel));
    }
}

}  // namespace synfire
