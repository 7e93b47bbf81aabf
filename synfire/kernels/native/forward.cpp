#include "constants.h"

namespace synfire {
namespace {

class ForwardBlocks {
public:
    ForwardBlocks(const Dynamics& dynamics, const Forward& task)
        : dynamics_(dynamics),
          task_(task),
          x_{task.kind, task.x, task.steps, task.elements},
          constants_(dynamics, task, task.i0 != nullptr, false),
          block_(4096 / bytes_of(task.kind)),
          rows_ahead_(rows_ahead(task.kind, block_)),
          room_(kRows) {
        const bool floats = task.form == Form::floats;
        const bool in_place = floats && task.kind == Kind::float32;
        records_fired_ = task.record && dynamics.reset == Reset::hard;
        const int64_t outputs = task.steps * task.elements;
        const int64_t width = floats ? bytes_of(task.kind) : 1;
        streamed_ = task.form != Form::bits && worth_streaming(width * outputs);
        past_ = streamed_ && in_lines(task.out, width * task.elements);
        scaled_early_ = in_place && (!records_fired_ || task.output_scale == 1.0f);
        direct_ = scaled_early_ && (past_ ? !records_fired_ : !streamed_);
    }

    void run(int64_t begin, int64_t end) {
        for (int64_t first = begin; first < end; first += block_)
            run_block(first, std::min(block_, end - first), end);
    }

    bool streamed() const { return streamed_; }

private:
    enum { kV = BlockConstants<Forward>::kRows, kI, kCounts, kCharged, kSlopes, kRows };

    // All timesteps of the elements first..first+n; ``end`` is where the last block ends.
    void run_block(int64_t first, int64_t n, int64_t end) {
        constants_.spread_over(first, n, room_);
        const float* v = task_.v0 ? task_.v0 + first : kRest;
        float* v_after = room_.row(kV);
        float* i = task_.i0 ? room_.row(kI) : nullptr;
        if (i) std::copy_n(task_.i0 + first, n, i);
        for (int64_t t = 0; t < task_.steps; ++t) {
            const Ahead next = ahead(t, first, end);
            const float* u = constants_.drive(x_, t, first, n, room_);
            float* counts = direct_ ? static_cast<float*>(task_.out) + t * task_.elements + first
                                    : room_.row(kCounts);
            float* charged = task_.record ? room_.row(kCharged) : nullptr;
            integrate(dynamics_, constants_.get(),
                      {n, u, next, v, v_after, i, counts,
                       scaled_early_ ? task_.output_scale : 1.0f, direct_ && past_, charged});
            v = v_after;
            if (task_.record) record(t, first, n, counts);
            if (!direct_) write(t, first, n, counts);
        }
        if (task_.v) std::copy_n(v, n, task_.v + first);
        if (task_.i) std::copy_n(i, n, task_.i + first);
    }

    Ahead ahead(int64_t t, int64_t first, int64_t end) const {
        const int64_t row = t + rows_ahead_, place = first + row / task_.steps * block_;
        return place < end ? x_.ahead(row % task_.steps, place) : x_.ahead(t, first);
    }

    int64_t bytes_of_bits() const { return (task_.elements + 7) / 8; }

    void record(int64_t t, int64_t first, int64_t n, const float* counts) {
        uint8_t* bits = task_.record + t * bytes_of_bits() + first / 8;
        flags_of_slopes(dynamics_, constants_.get(), room_.row(kCharged), n, room_.row(kSlopes),
                        bits);
        if (records_fired_)
            pack_positive(counts, n, bits + task_.steps * bytes_of_bits());
    }

    void write(int64_t t, int64_t first, int64_t n, float* counts) {
        const int64_t place = t * task_.elements + first;
        uint8_t* bytes = static_cast<uint8_t*>(task_.out);
        if (task_.form == Form::bytes) return write_bytes(counts, n, bytes + place);
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
        if (!streamed_ || past_) return narrow(task_.kind, counts, scale, n, out, past_);
        narrow(task_.kind, counts, scale, n, room_.row(kSlopes), false);
        stream(room_.row(kSlopes), 2 * n, out);
    }

    void write_bytes(const float* counts, int64_t n, uint8_t* out) {
        if (!streamed_ || past_) return to_bytes(counts, n, out, past_);
        uint8_t* room = reinterpret_cast<uint8_t*>(room_.row(kSlopes));
        to_bytes(counts, n, room, false);
        stream(room, n, out);
    }

    const Dynamics& dynamics_;
    const Forward& task_;
    TimeRows x_;
    BlockConstants<Forward> constants_;
    const int64_t block_, rows_ahead_;  // elements; rows between asking and reading
    Workspace room_;
    // streamed_: outputs are written past the caches; past_: straight from the registers
    bool records_fired_, streamed_, past_, scaled_early_, direct_;
};

}  // namespace

void run(const Dynamics& dynamics, const Forward& task, int threads) {
    threads = threads_for(task.elements, task.steps * task.elements, threads);
    std::vector<ForwardBlocks> workers;
    for (int worker = 0; worker < threads; ++worker) workers.emplace_back(dynamics, task);
    each_range(task.elements, threads, [&](int worker, int64_t begin, int64_t end) {
        workers[worker].run(begin, end);
        if (workers[worker].streamed()) end_of_stream();
    });
}

}  // namespace synfire
