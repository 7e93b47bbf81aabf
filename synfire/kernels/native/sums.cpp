#include "sums.h"

#include "rows.h"

namespace synfire {
namespace {

constexpr int64_t kRun = 32;              // shorter runs of a channel are summed as columns
constexpr int64_t kPeriod = 256;          // columns at least
constexpr int64_t kRange = 1 << 16;       // inputs of one range at least
constexpr int64_t kMostRanges = 64;

int64_t ranges_of(int64_t elements, int64_t steps) {
    const int64_t blocks = (elements + kBlock - 1) / kBlock;
    return std::max<int64_t>(1, std::min({blocks, elements * steps / kRange, kMostRanges}));
}

template <typename V>
SYNFIRE_INLINE double total(V values) {
    double sum = 0;
    for (size_t lane = 0; lane < sizeof values / sizeof(double); ++lane) sum += values[lane];
    return sum;
}

// The second summand of an element: another row's, or the square.
struct Others {
    const float* values;

    template <typename V>
    SYNFIRE_INLINE Like<double, V> at(int64_t j, Like<double, V>) const {
        return convert<Like<double, V>>(load<V>(values + j));
    }
};

struct Squares {
    template <typename V>
    SYNFIRE_INLINE Like<double, V> at(int64_t, Like<double, V> value) const {
        return value * value;
    }
};

struct Pair {
    double first, second;
};

template <typename V, typename Seconds>
SYNFIRE_INLINE Pair sums_of_run(const float* values, Seconds seconds, int64_t from, int64_t to) {
    using W = Like<double, V>;
    W first{}, second{};
    int64_t j = from;
    for (; j + kLanes<V> <= to; j += kLanes<V>) {
        const W value = convert<W>(load<V>(values + j));
        first += value;
        second += seconds.template at<V>(j, value);
    }
    Pair sums{total(first), total(second)};
    for (; j < to; ++j) {
        const double value = values[j];
        sums.first += value;
        sums.second += seconds.template at<float>(j, value);
    }
    return sums;
}

template <typename V, typename Seconds>
SYNFIRE_INLINE void add_columns(const float* values, Seconds seconds, int64_t from, int64_t to,
                                double* firsts, double* more) {
    using W = Like<double, V>;
    int64_t j = from;
    for (; j + kLanes<V> <= to; j += kLanes<V>) {
        const W value = convert<W>(load<V>(values + j));
        store(firsts + j - from, load<W>(firsts + j - from) + value);
        store(more + j - from, load<W>(more + j - from) + seconds.template at<V>(j, value));
    }
    for (; j < to; ++j) {
        const double value = values[j];
        firsts[j - from] += value;
        more[j - from] += seconds.template at<float>(j, value);
    }
}

// Where a row goes: runs of ``inner`` elements of one sum, or columns of ``period`` sums.
struct Sums {
    double *firsts, *seconds;
    int64_t channels, inner, period;
    bool by_runs;
};

template <typename V, typename Seconds>
SYNFIRE_INLINE void add_row(const Sums& sums, const float* values, Seconds seconds, int64_t first,
                            int64_t n) {
    if (!sums.by_runs) {
        for (int64_t done = 0; done < n;) {
            const int64_t column = (first + done) % sums.period;
            const int64_t end = std::min(n, done + sums.period - column);
            add_columns<V>(values, seconds, done, end, sums.firsts + column, sums.seconds + column);
            done = end;
        }
        return;
    }
    for (int64_t done = 0; done < n;) {
        const int64_t channel = (first + done) / sums.inner % sums.channels;
        const int64_t end = std::min(n, done + sums.inner - (first + done) % sums.inner);
        const Pair pair = sums_of_run<V>(values, seconds, done, end);
        sums.firsts[channel] += pair.first;
        sums.seconds[channel] += pair.second;
        done = end;
    }
}

template <typename V>
SYNFIRE_INLINE void add_pairs_lanes(const Sums& sums, const float* values, const float* others,
                                    int64_t first, int64_t n) {
    add_row<V>(sums, values, Others{others}, first, n);
}

template <typename V>
SYNFIRE_INLINE void add_squares_lanes(const Sums& sums, const float* values, int64_t first,
                                      int64_t n) {
    add_row<V>(sums, values, Squares{}, first, n);
}

SYNFIRE_FOR_LANES(add_pairs,
                  (const Sums& sums, const float* values, const float* others, int64_t first,
                   int64_t n),
                  (sums, values, others, first, n))
SYNFIRE_FOR_LANES(add_squares,
                  (const Sums& sums, const float* values, int64_t first, int64_t n),
                  (sums, values, first, n))

}  // namespace

ChannelSums::ChannelSums(int64_t channels, int64_t inner)
    : channels_(channels),
      inner_(inner),
      by_runs_(inner >= kRun),
      period_(channels * inner * ((kPeriod - 1) / (channels * inner) + 1)),
      firsts_(by_runs_ ? channels : period_),
      seconds_(by_runs_ ? channels : period_) {}

void ChannelSums::add(const float* values, const float* others, int64_t first, int64_t n) {
    const Sums sums{firsts_.data(), seconds_.data(), channels_, inner_, period_, by_runs_};
    add_pairs(sums, values, others, first, n);
}

void ChannelSums::add_squares(const float* values, int64_t first, int64_t n) {
    const Sums sums{firsts_.data(), seconds_.data(), channels_, inner_, period_, by_runs_};
    synfire::add_squares(sums, values, first, n);
}

void ChannelSums::add_to(double* firsts, double* seconds) const {
    for (size_t place = 0; place < firsts_.size(); ++place) {
        const int64_t channel = by_runs_ ? place : place / inner_ % channels_;
        firsts[channel] += firsts_[place];
        seconds[channel] += seconds_[place];
    }
}

PartialSums::PartialSums(int64_t elements, int64_t steps, int64_t channels, int64_t inner)
    : elements_(elements),
      ranges_(ranges_of(elements, steps)),
      channels_(channels),
      inner_(inner),
      firsts_(channels),
      seconds_(channels) {}

void PartialSums::run(int threads,
                      const std::function<void(int, int64_t, int64_t, ChannelSums&)>& add) {
    const int64_t blocks = (elements_ + kBlock - 1) / kBlock;
    std::vector<ChannelSums> sums(ranges_, ChannelSums(channels_, inner_));
    share(static_cast<int>(ranges_), threads, [&](int range, int worker) {
        add(worker, blocks * range / ranges_ * kBlock,
            std::min(elements_, blocks * (range + 1) / ranges_ * kBlock), sums[range]);
    });
    for (const ChannelSums& part : sums) part.add_to(firsts_.data(), seconds_.data());
}

void run(const Moments& task, int threads) {
    PartialSums partial(task.elements, 1, task.channels, task.inner);
    const TimeRows x{task.kind, task.x, 1, task.elements};
    threads = threads_for(task.elements, task.elements, threads);
    std::vector<Workspace> rooms;
    for (int worker = 0; worker < threads; ++worker) rooms.emplace_back(1);
    partial.run(threads, [&](int worker, int64_t begin, int64_t end, ChannelSums& sums) {
        for (int64_t first = begin; first < end; first += kBlock) {
            const int64_t n = std::min(kBlock, end - first);
            const void* from = x.at(0, first);
            const void* next = x.at(0, first + n < end ? first + n : first);
            sums.add_squares(read(x.kind, from, next, n, rooms[worker].row(0)).values, first, n);
        }
    });
    const double count = static_cast<double>(task.elements) / task.channels;
    for (int64_t channel = 0; channel < task.channels; ++channel) {
        const double mean = partial.first(channel) / count;
        task.mean[channel] = static_cast<float>(mean);
        task.variance[channel] =
            static_cast<float>(std::max(partial.second(channel) / count - mean * mean, 0.0));
    }
}

}  // namespace synfire
