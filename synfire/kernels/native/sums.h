// Sums over the elements of each channel, in double precision and in an order that depends on the
// sizes alone, not on threads.
#pragma once

#include <functional>
#include <vector>

#include "blocks.h"

namespace synfire {

// Two sums a channel of one range of elements.
class ChannelSums {
public:
    ChannelSums(int64_t channels, int64_t inner);

    // Adds a row of values that begins at element ``first``, and a second one.
    void add(const float* values, const float* others, int64_t first, int64_t n);
    // Adds values and their squares.
    void add_squares(const float* values, int64_t first, int64_t n);
    // Adds values and values * (x - centre of the channel), where ``inner`` is at least kRun.
    void add_centred(const float* values, const float* x, const float* centres, int64_t first,
                     int64_t n);

    // Once, at the end: adds the sums of the channels to these.
    void add_to(double* firsts, double* seconds) const;

private:

    int64_t channels_, inner_;
    bool by_runs_;    // neighbours belong to one channel: a sum for each
    int64_t period_;  // otherwise one for each column of a multiple of channels * inner
    std::vector<double> firsts_, seconds_;
};

// The sums of all elements, from ranges of them.
class PartialSums {
public:
    PartialSums(int64_t elements, int64_t steps, int64_t channels, int64_t inner);

    // Calls add(worker, begin, end, sums) for each range.
    void run(int threads,
             const std::function<void(int, int64_t, int64_t, ChannelSums&)>& add);

    double first(int64_t channel) const { return firsts_[channel]; }
    double second(int64_t channel) const { return seconds_[channel]; }

private:
    int64_t elements_, ranges_, channels_, inner_;
    std::vector<double> firsts_, seconds_;
};

}  // namespace synfire
