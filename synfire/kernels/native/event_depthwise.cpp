#include "event_depthwise.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "event_lists.h"
#include "lanes.h"
#include "threads.h"

namespace synfire {
namespace {

constexpr int64_t kWorthAThread = 1 << 18;  // products; fewer are done before it has started

// The pixels and weights that one output sums up.
struct Term {
    const void *pixel, *weight;
};

template <typename T>
SYNFIRE_INLINE T load_at(const void* from, int64_t channel) {
    T value;
    using Scalar = std::conditional_t<std::is_same_v<T, float> || std::is_same_v<T, Lanes4> ||
                                          std::is_same_v<T, Lanes8> || std::is_same_v<T, Lanes16>,
                                      float, int32_t>;
    std::memcpy(&value, static_cast<const Scalar*>(from) + channel, sizeof value);
    return value;
}

template <typename T>
SYNFIRE_INLINE void sum_at(const Term* terms, int64_t n, int64_t channel, char* out) {
    T total{};
    for (int64_t t = 0; t < n; ++t)
        total += load_at<T>(terms[t].pixel, channel) * load_at<T>(terms[t].weight, channel);
    std::memcpy(out + channel * 4, &total, sizeof total);
}

template <typename V, typename T, typename One>
SYNFIRE_INLINE void sum_channels(const Term* terms, int64_t n, int64_t channels, char* out) {
    int64_t c = 0;
    for (; c + kLanes<V> <= channels; c += kLanes<V>) sum_at<T>(terms, n, c, out);
    for (; c < channels; ++c) sum_at<One>(terms, n, c, out);
}

template <typename V>
SYNFIRE_INLINE void sum_terms_lanes(bool integer, const Term* terms, int64_t n, int64_t channels,
                                    char* out) {
    integer ? sum_channels<V, Integers<V>, int32_t>(terms, n, channels, out)
            : sum_channels<V, V, float>(terms, n, channels, out);
}

template <typename V>
SYNFIRE_INLINE void widen_lanes(const uint8_t* counts, int64_t n, bool integer, void* to) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>) {
        Bytes<V> bytes;
        std::memcpy(&bytes, counts + j, sizeof bytes);
        const Integers<V> wide = convert<Integers<V>>(bytes);
        const V floats = convert<V>(wide);
        if (integer)
            std::memcpy(static_cast<int32_t*>(to) + j, &wide, sizeof wide);
        else
            std::memcpy(static_cast<float*>(to) + j, &floats, sizeof floats);
    }
    for (; j < n; ++j) {
        if (integer)
            static_cast<int32_t*>(to)[j] = counts[j];
        else
            static_cast<float*>(to)[j] = counts[j];
    }
}

SYNFIRE_FOR_LANES(sum_terms,
                  (bool integer, const Term* terms, int64_t n, int64_t channels, char* out),
                  (integer, terms, n, channels, out))
SYNFIRE_FOR_LANES(widen, (const uint8_t* counts, int64_t n, bool integer, void* to),
                  (counts, n, integer, to))

// One row of an image, widened to the type of the sums.
struct ImageRow {
    int64_t tag = -1;
    std::vector<float> values;  // or int32 bits
    std::vector<uint8_t> alive;
};

class Rows {
public:
    Rows(const Spikes& x, const Geometry& geometry, bool integer, int places)
        : x_(x), at_(geometry), integer_(integer), rows_(places) {}

    const ImageRow& get(int64_t tag) {
        ImageRow& row = rows_[tag % rows_.size()];
        if (row.tag == tag) return row;
        row.tag = tag;
        const int64_t elements = at_.width * x_.channels;
        row.values.resize(elements);
        row.alive.resize(at_.width);
        if (x_.form == InputForm::floats && !integer_) {
            const float* from = static_cast<const float*>(x_.data) + tag * elements;
            std::copy_n(from, elements, row.values.data());
            std::fill(row.alive.begin(), row.alive.end(), 1);
            return row;
        }
        const uint8_t* counts = bytes(tag);
        widen(counts, elements, integer_, row.values.data());
        for (int64_t x = 0; x < at_.width; ++x)
            row.alive[x] =
                count_events(SpikeForm::bytes, counts + x * x_.channels, x_.channels) != 0;
        return row;
    }
    bool counts_only() const { return counts_only_; }

private:
    const uint8_t* bytes(int64_t tag) {
        const int64_t elements = at_.width * x_.channels;
        if (x_.form == InputForm::bytes)
            return static_cast<const uint8_t*>(x_.data) + tag * elements;
        bytes_.resize(elements);
        if (x_.form == InputForm::floats) {
            const float* from = static_cast<const float*>(x_.data) + tag * elements;
            counts_only_ &= counts_from_floats(from, elements, x_.scale, bytes_.data());
            return bytes_.data();
        }
        const int64_t step = (x_.channels + 7) / 8;
        const uint8_t* from = static_cast<const uint8_t*>(x_.data) + tag * at_.width * step;
        for (int64_t x = 0; x < at_.width; ++x)
            for (int64_t c = 0; c < x_.channels; ++c)
                bytes_[x * x_.channels + c] = from[x * step + c / 8] >> (c % 8) & 1;
        return bytes_.data();
    }

    const Spikes& x_;
    const Geometry& at_;
    bool integer_, counts_only_ = true;
    std::vector<ImageRow> rows_;
    std::vector<uint8_t> bytes_;
};

}  // namespace

bool depthwise(const Depthwise& task, const Spikes& x, const Geometry& at, int threads) {
    const int places = task.kernel_height * task.kernel_width;
    const int64_t lines = at.batch * at.out_height, channels = x.channels;
    if (lines * at.out_width * channels * places < 2 * kWorthAThread) threads = 1;
    std::atomic<bool> counts_only{true};
    in_ranges(lines, 1, threads, [&](int64_t begin, int64_t end) {
        Rows rows(x, at, task.integer, task.kernel_height);
        std::vector<Term> terms(places);
        for (int64_t line = begin; line < end; ++line) {
            const int64_t image = line / at.out_height;
            const int64_t top = line % at.out_height * at.stride_y - at.pad_y;
            for (int64_t ox = 0; ox < at.out_width; ++ox) {
                const int64_t left = ox * at.stride_x - at.pad_x;
                int64_t n = 0;
                for (int ky = 0; ky < task.kernel_height; ++ky) {
                    if (top + ky < 0 || top + ky >= at.height) continue;
                    const ImageRow& row = rows.get(image * at.height + top + ky);
                    for (int kx = 0; kx < task.kernel_width; ++kx) {
                        const int64_t column = left + kx;
                        if (column < 0 || column >= at.width || !row.alive[column]) continue;
                        const int64_t place = ky * task.kernel_width + kx;
                        terms[n++] = {row.values.data() + column * channels,
                                      static_cast<const float*>(task.weight) + place * channels};
                    }
                }
                sum_terms(task.integer, terms.data(), n, channels,
                          static_cast<char*>(task.out) + (line * at.out_width + ox) * channels * 4);
            }
        }
        if (!rows.counts_only()) counts_only = false;
    });
    return counts_only;
}

}  // namespace synfire
