#include "rows.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace synfire {
namespace {

template <typename V>
SYNFIRE_INLINE void scaled_lanes(const float* from, float scale, int64_t n, float* to) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>) store(to + j, load<V>(from + j) * scale);
    for (; j < n; ++j) to[j] = from[j] * scale;
}

template <typename V>
SYNFIRE_INLINE void affine_lanes(const float* from, const void* next, Spread scale, Spread shift,
                                 int64_t n, float* to) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>) {
        prefetch(static_cast<const float*>(next) + j);
        store(to + j, load<V>(from + j) * scale.at<V>(j) + shift.at<V>(j));
    }
    for (; j < n; ++j) to[j] = from[j] * scale.at<float>(j) + shift.at<float>(j);
}

template <typename V>
SYNFIRE_INLINE void times_lanes(const float* from, Spread factor, int64_t n, float* to) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        store(to + j, load<V>(from + j) * factor.at<V>(j));
    for (; j < n; ++j) to[j] = from[j] * factor.at<float>(j);
}

template <typename V>
SYNFIRE_INLINE void linear_at(const float* from, const float* x, Spread gain, Spread slope,
                              Spread centre, Spread offset, int64_t j, float* to) {
    const V rest = slope.at<V>(j) * (load<V>(x + j) - centre.at<V>(j)) + offset.at<V>(j);
    store(to + j, gain.at<V>(j) * load<V>(from + j) + rest);
}

template <typename V>
SYNFIRE_INLINE void linear_lanes(const float* from, const float* x, Spread gain, Spread slope,
                                 Spread centre, Spread offset, int64_t n, float* to) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        linear_at<V>(from, x, gain, slope, centre, offset, j, to);
    for (; j < n; ++j) linear_at<float>(from, x, gain, slope, centre, offset, j, to);
}

template <typename V>
SYNFIRE_INLINE void times_centred_lanes(const float* from, const float* x, Spread centre,
                                        int64_t n, float* to) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        store(to + j, load<V>(from + j) * (load<V>(x + j) - centre.at<V>(j)));
    for (; j < n; ++j) to[j] = from[j] * (x[j] - centre.at<float>(j));
}

template <typename V>
SYNFIRE_INLINE void to_bytes_lanes(const float* counts, int64_t n, uint8_t* to) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        store(to + j, convert<Like<uint8_t, V>>(convert<Integers<V>>(load<V>(counts + j))));
    for (; j < n; ++j) to[j] = static_cast<uint8_t>(static_cast<int32_t>(counts[j]));
}

struct Positive {
    template <typename V>
    SYNFIRE_INLINE auto operator()(V value) const {
        return value > V{};
    }
};

struct Nonzero {
    template <typename V>
    SYNFIRE_INLINE auto operator()(V value) const {
        return value != V{};
    }
};

// Eight bytes, each 0 or -1, to eight bits: the product moves the last bit of byte i to bit 56 + i.
SYNFIRE_INLINE uint8_t gathered(uint64_t bytes) {
    return (bytes & 0x0101010101010101u) * 0x0102040810204080u >> 56;
}

template <typename V, typename Test>
SYNFIRE_INLINE void pack(const float* values, int64_t n, uint8_t* bits, Test test) {
    using W = std::conditional_t<(kLanes<V> < 8), Lanes8, V>;
    int64_t j = 0;
    for (; j + kLanes<W> <= n; j += kLanes<W>) {
        const auto bytes = convert<Like<int8_t, W>>(test(load<W>(values + j)));
        uint64_t words[kLanes<W> / 8];
        std::memcpy(words, &bytes, sizeof words);
        for (uint64_t word : words) *bits++ = gathered(word);
    }
    for (; j < n; j += 8) {
        uint8_t byte = 0;
        for (int64_t k = j; k < std::min(j + 8, n); ++k)
            byte |= static_cast<uint8_t>(test(values[k])) << (k - j);
        *bits++ = byte;
    }
}

template <typename V>
SYNFIRE_INLINE void pack_positive_lanes(const float* values, int64_t n, uint8_t* bits) {
    pack<V>(values, n, bits, Positive{});
}

template <typename V>
SYNFIRE_INLINE void pack_nonzero_lanes(const float* values, int64_t n, uint8_t* bits) {
    pack<V>(values, n, bits, Nonzero{});
}

template <typename V>
SYNFIRE_INLINE void unpack_flags_lanes(const uint8_t* bits, Spread value, int64_t n, float* to) {
    Integers<V> places{};
    for (int64_t lane = 0; lane < kLanes<V>; ++lane) places[lane] = 1 << lane;
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>) {
        const int32_t word = bits[j / 8] | (kLanes<V> == 16 ? bits[j / 8 + 1] << 8 : 0);
        const Integers<V> set = (Integers<V>{} + (word >> j % 8)) & places;
        store(to + j, set != 0 ? value.at<V>(j) : V{});
    }
    for (; j < n; ++j) to[j] = bits[j / 8] >> j % 8 & 1 ? value.at<float>(j) : 0.0f;
}

}  // namespace

SYNFIRE_FOR_LANES(scaled, (const float* from, float scale, int64_t n, float* to),
                  (from, scale, n, to))
SYNFIRE_FOR_LANES(affine,
                  (const float* from, const void* next, Spread scale, Spread shift, int64_t n,
                   float* to),
                  (from, next, scale, shift, n, to))
SYNFIRE_FOR_LANES(times, (const float* from, Spread factor, int64_t n, float* to),
                  (from, factor, n, to))
SYNFIRE_FOR_LANES(linear,
                  (const float* from, const float* x, Spread gain, Spread slope, Spread centre,
                   Spread offset, int64_t n, float* to),
                  (from, x, gain, slope, centre, offset, n, to))
SYNFIRE_FOR_LANES(times_centred,
                  (const float* from, const float* x, Spread centre, int64_t n, float* to),
                  (from, x, centre, n, to))
SYNFIRE_FOR_LANES(to_bytes, (const float* counts, int64_t n, uint8_t* to), (counts, n, to))
SYNFIRE_FOR_LANES(pack_positive, (const float* values, int64_t n, uint8_t* bits), (values, n, bits))
SYNFIRE_FOR_LANES(pack_nonzero, (const float* values, int64_t n, uint8_t* bits), (values, n, bits))
SYNFIRE_FOR_LANES(unpack_flags, (const uint8_t* bits, Spread value, int64_t n, float* to),
                  (bits, value, n, to))

#if defined(__x86_64__)
namespace {

// Lines of 64 bytes, which is what the processor combines writes to.
void stream_lines_16(const char* from, int64_t lines, char* to) {
    for (int64_t k = 0; k < 4 * lines; ++k)
        _mm_stream_si128(reinterpret_cast<__m128i*>(to) + k,
                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(from) + k));
}

SYNFIRE_TARGET_8 void stream_lines_32(const char* from, int64_t lines, char* to) {
    for (int64_t k = 0; k < 2 * lines; ++k)
        _mm256_stream_si256(reinterpret_cast<__m256i*>(to) + k,
                            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from) + k));
}

}  // namespace

void stream(const void* from, int64_t bytes, void* to) {
    const char* source = static_cast<const char*>(from);
    char* target = static_cast<char*>(to);
    const int64_t before_line = -reinterpret_cast<uintptr_t>(to) & 63;
    const int64_t head = std::min<int64_t>(bytes, before_line), lines = (bytes - head) / 64;
    std::memcpy(target, source, head);
    if (lanes_in_use() == kLanes<Lanes4>)
        stream_lines_16(source + head, lines, target + head);
    else
        stream_lines_32(source + head, lines, target + head);
    const int64_t done = head + 64 * lines;
    std::memcpy(target + done, source + done, bytes - done);
}

void end_of_stream() { _mm_sfence(); }
#else
void stream(const void* from, int64_t bytes, void* to) { std::memcpy(to, from, bytes); }

void end_of_stream() {}
#endif

}  // namespace synfire
