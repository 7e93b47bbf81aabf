#include "sums.h"

#include "rows.h"

namespace synfire {
namespace {

constexpr int64_t kPeriod = 256;          // columns at least
constexpr int64_t kRange = 1 << 16;       // inputs of one range at least
constexpr int64_t kMostRanges = 64;

int64_t ranges_of(int64_t elements, int64_t steps) {
    const int64_t blocks = (elements + kBlock - 1) / kBlock;
    return std::max<int64_t>(1, std::min({blocks, elements * steps / kRange, kMostRanges}));
}

// Doubles that fill a register in which V is one of floats, and as many floats.
template <typename V>
struct Doubles {
    typedef double type __attribute__((vector_size(sizeof(V))));
    typedef float narrow __attribute__((vector_size(sizeof(V) / 2)));
};
template <typename V>
constexpr int64_t kDoubles = kLanes<V> / 2;

template <typename V>
SYNFIRE_INLINE auto widened(const float* values) {
    using Type = typename Doubles<V>::type;
    return __builtin_convertvector(load<typename Doubles<V>::narrow>(values), Type);
}

// The second summand of an element: another row's, or the square.
struct Others {
    const float* values;

    template <typename V, typename W>
    SYNFIRE_INLINE W at(int64_t j, W) const {
        return widened<V>(values + j);
    }
    double one(int64_t j, double) const { return values[j]; }
};

struct Squares {
    template <typename V, typename W>
    SYNFIRE_INLINE W at(int64_t, W value) const {
        return value * value;
    }
    double one(int64_t, double value) const { return value * value; }
};

struct Pair {
    double first, second;
};

// Four sums side by side, so that one addition need not wait for the other.
template <typename V, typename Seconds>
SYNFIRE_INLINE Pair sums_of_run(const float* values, Seconds seconds, int64_t from, int64_t to) {
    using W = typename Doubles<V>::type;
    constexpr int64_t kSide = 4, kWidth = kDoubles<V>;
    W first[kSide] = {}, second[kSide] = {};
    int64_t j = from;
    for (; j + kSide * kWidth <= to; j += kSide * kWidth) {
        for (int64_t side = 0; side < kSide; ++side) {
            const int64_t k = j + side * kWidth;
            const W value = widened<V>(values + k);
            first[side] += value;
            second[side] += seconds.template at<V>(k, value);
        }
    }
    const W firsts = (first[0] + first[1]) + (first[2] + first[3]);
    const W others = (second[0] + second[1]) + (second[2] + second[3]);
    Pair sums{0, 0};
    for (int64_t lane = 0; lane < kWidth; ++lane) {
        sums.first += firsts[lane];
        sums.second += others[lane];
    }
    for (; j < to; ++j) {
        const double value = values[j];
        sums.first += value;
        sums.second += seconds.one(j, value);
    }
    return sums;
}

template <typename V, typename Seconds>
SYNFIRE_INLINE void add_columns(const float* values, Seconds seconds, int64_t from, int64_t to,
                                double* firsts, double* more) {
    using W = typename Doubles<V>::type;
    int64_t j = from, column = 0;
    for (; j + kDoubles<V> <= to; j += kDoubles<V>, column += kDoubles<V>) {
        const W value = widened<V>(values + j);
        store(firsts + column, load<W>(firsts + column) + value);
        store(more + column, load<W>(more + column) + seconds.template at<V>(j, value));
    }
    for (; j < to; ++j, ++column) {
        const double value = values[j];
        firsts[column] += value;
        more[column] += seconds.one(j, value);
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
    int64_t channel = first / sums.inner % sums.channels;
    int64_t end = std::min(n, sums.inner - first % sums.inner);
    for (int64_t begin = 0; begin < n;) {
        const Pair pair = sums_of_run<V>(values, seconds, begin, end);
        sums.firsts[channel] += pair.first;
        sums.seconds[channel] += pair.second;
        begin = end;
        end = std::min(n, end + sums.inner);
        channel = channel + 1 == sums.channels ? 0 : channel + 1;
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

// Sums of at most 64 registers of values and of values * (x - centre): short enough for single
// precision, four sums side by side.
template <typename V>
SYNFIRE_INLINE Pair centred_sums_of(const float* values, const float* x, float centre, int64_t from,
                                    int64_t to) {
    constexpr int64_t kSide = 4;
    V first[kSide] = {}, second[kSide] = {};
    int64_t j = from;
    for (; j + kSide * kLanes<V> <= to; j += kSide * kLanes<V>) {
        for (int64_t side = 0; side < kSide; ++side) {
            const int64_t k = j + side * kLanes<V>;
            const V value = load<V>(values + k);
            first[side] = first[side] + value;
            second[side] = second[side] + value * (load<V>(x + k) - centre);
        }
    }
    const V firsts = (first[0] + first[1]) + (first[2] + first[3]);
    const V others = (second[0] + second[1]) + (second[2] + second[3]);
    Pair sums{0, 0};
    for (int64_t lane = 0; lane < kLanes<V>; ++lane) {
        sums.first += firsts[lane];
        sums.second += others[lane];
    }
    for (; j < to; ++j) {
        sums.first += values[j];
        sums.second += values[j] * (x[j] - centre);
    }
    return sums;
}

template <typename V>
SYNFIRE_INLINE void centred_sums_lanes(const float* values, const float* x, float centre,
                                       int64_t from, int64_t to, Pair& sums) {
    for (int64_t begin = from; begin < to; begin += 64 * kLanes<V>) {
        const int64_t end = std::min(to, begin + 64 * kLanes<V>);
        const Pair pair = centred_sums_of<V>(values, x, centre, begin, end);
        sums.first += pair.first;
        sums.second += pair.second;
    }
}

SYNFIRE_FOR_LANES(centred_sums,
                  (const float* values, const float* x, float centre, int64_t from, int64_t to,
                   Pair& sums),
                  (values, x, centre, from, to, sums))
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

void ChannelSums::add_centred(const float* values, const float* x, const float* centres,
                              int64_t first, int64_t n) {
    const Channelwise centre{centres, channels_, inner_};
    each_run(centre, first, n, [&](int64_t channel, int64_t begin, int64_t end) {
        Pair sums{0, 0};
        centred_sums(values, x, centres[channel], begin, end, sums);
        firsts_[channel] += sums.first;
        seconds_[channel] += sums.second;
    });
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
            const float* values = read(x.kind, x.at(0, first), n, rooms[worker].row(0));
            sums.add_squares(values, first, n);
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
