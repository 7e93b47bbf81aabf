#include "constants.h"

namespace synfire {
namespace {

class ForwardBlocks {
public:
    ForwardBlocks(const Dynamics& dynamics, const Forward& task)
        : dynamics_(dynamics),
          task_(task),
          x_{task.kind, task.x, task.steps, task.elements},
          constants_(dynamics, task),
          room_(kRows) {
        const bool floats = task.form == Form::floats;
        const bool in_place = floats && task.kind == Kind::float32;
        needs_fired_ = task.record && dynamics.reset == Reset::hard;
        streamed_ = floats && worth_streaming(task.kind, task.steps * task.elements);
        scaled_early_ = in_place && !needs_fired_;
        direct_ = scaled_early_ && !streamed_;
    }

    // All timesteps of the elements first..first+n; ``end`` is where the last block ends.
    void run(int64_t first, int64_t n, int64_t end) {
        constants_.spread_over(first, n, room_);
        float* v = begin(task_.v0, first, n, room_.row(kV));
        float* i = task_.i0 ? begin(task_.i0, first, n, room_.row(kI)) : nullptr;
        for (int64_t t = 0; t < task_.steps; ++t) {
            const void* x = x_.at(t, first);
            const void* next = t + 1 < task_.steps    ? x_.at(t + 1, first)
                               : first + kBlock < end ? x_.at(0, first + kBlock)
                                                      : x;
            const Floats u = constants_.drive(x_, x, next, n, room_);
            float* counts = direct_ ? static_cast<float*>(task_.out) + t * task_.elements + first
                                    : room_.row(kCounts);
            float* charged = task_.record ? room_.row(kCharged) : nullptr;
            integrate(dynamics_, constants_.get(),
                      {n, u.values, u.next, v, v, i, counts,
                       scaled_early_ ? task_.output_scale : 1.0f, charged});
            if (task_.record) record(t, first, n);
            if (!direct_) write(t, first, n, counts);
        }
        if (task_.v) std::copy_n(v, n, task_.v + first);
        if (task_.i) std::copy_n(i, n, task_.i + first);
    }

    bool streamed() const { return streamed_; }

private:
    enum { kV = BlockConstants<Forward>::kRows, kI, kCounts, kCharged, kSlopes, kRows };

    static float* begin(const float* state, int64_t first, int64_t n, float* row) {
        state ? std::copy_n(state + first, n, row) : std::fill_n(row, n, 0.0f);
        return row;
    }

    int64_t bytes_of_bits() const { return (task_.elements + 7) / 8; }

    void record(int64_t t, int64_t first, int64_t n) {
        uint8_t* bits = task_.record + t * bytes_of_bits() + first / 8;
        slopes_of(dynamics_, constants_.get(), room_.row(kCharged), n, room_.row(kSlopes));
        pack_nonzero(room_.row(kSlopes), n, bits);
        if (needs_fired_)
            pack_positive(room_.row(kCounts), n, bits + task_.steps * bytes_of_bits());
    }

    void write(int64_t t, int64_t first, int64_t n, float* counts) {
        const int64_t place = t * task_.elements + first;
        uint8_t* bytes = static_cast<uint8_t*>(task_.out);
        if (task_.form == Form::bytes) return to_bytes(counts, n, bytes + place);
        if (task_.form == Form::bits)
            return pack_positive(counts, n, bytes + t * bytes_of_bits() + first / 8);
        const float scale = scaled_early_ ? 1.0f : task_.output_scale;
        if (task_.kind == Kind::float32) {
            float* out = static_cast<float*>(task_.out) + place;
            if (!streamed_) return scaled(counts, scale, n, out);
            if (!scaled_early_) scaled(counts, scale, n, counts);
            return stream(counts, 4 * n, out);
        }
        uint16_t* out = static_cast<uint16_t*>(task_.out) + place;
        if (!streamed_) return narrow(task_.kind, counts, scale, n, out);
        narrow(task_.kind, counts, scale, n, room_.row(kSlopes));
        stream(room_.row(kSlopes), 2 * n, out);
    }

    const Dynamics& dynamics_;
    const Forward& task_;
    TimeRows x_;
    BlockConstants<Forward> constants_;
    Workspace room_;
    bool needs_fired_, streamed_, scaled_early_, direct_;
};

}  // namespace

void run(const Dynamics& dynamics, const Forward& task, int threads) {
    threads = threads_for(task.elements, task.steps * task.elements, threads);
    std::vector<ForwardBlocks> workers;
    for (int worker = 0; worker < threads; ++worker) workers.emplace_back(dynamics, task);
    each_range(task.elements, threads, [&](int worker, int64_t begin, int64_t end) {
        for (int64_t first = begin; first < end; first += kBlock)
            workers[worker].run(first, std::min(kBlock, end - first), end);
        if (workers[worker].streamed()) end_of_stream();
    });
}

}  // namespace synfire
