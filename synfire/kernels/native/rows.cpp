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
SYNFIRE_INLINE void affine_lanes(const float* from, Spread scale, Spread shift, int64_t n,
                                 float* to) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        store(to + j, load<V>(from + j) * scale.at<V>(j) + shift.at<V>(j));
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
SYNFIRE_INLINE void linear_at(const float* from, const float* x, V gain, V slope, V centre,
                              V offset, float* to, bool past) {
    store<V>(to, gain * load<V>(from) + (slope * (load<V>(x) - centre) + offset), past);
}

template <typename V>
SYNFIRE_INLINE void linear_lanes(const float* from, const float* x, Ahead next_x, Linear map,
                                 int64_t n, float* to, bool past) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>) {
        next_x.ask(j);
        linear_at(from + j, x + j, map.gain.at<V>(j), map.slope.at<V>(j), map.centre.at<V>(j),
                  map.offset.at<V>(j), to + j, past);
    }
    for (; j < n; ++j)
        linear_at(from + j, x + j, map.gain.at<float>(j), map.slope.at<float>(j),
                  map.centre.at<float>(j), map.offset.at<float>(j), to + j, past);
}

template <typename V>
SYNFIRE_INLINE void linear_alike_lanes(const float* from, const float* x, Ahead next_x,
                                       const Linear& map, int64_t n, float* to, bool past) {
    const float gain = *map.gain.values, slope = *map.slope.values, centre = *map.centre.values,
                offset = *map.offset.values;
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>) {
        next_x.ask(j);
        linear_at(from + j, x + j, splat<V>(gain), splat<V>(slope), splat<V>(centre),
                  splat<V>(offset), to + j, past);
    }
    for (; j < n; ++j) linear_at(from + j, x + j, gain, slope, centre, offset, to + j, past);
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
SYNFIRE_INLINE void to_bytes_lanes(const float* counts, int64_t n, uint8_t* to, bool past) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        store<V>(to + j, convert<Like<uint8_t, V>>(convert<Integers<V>>(load<V>(counts + j))), past);
    for (; j < n; ++j) to[j] = static_cast<uint8_t>(static_cast<int32_t>(counts[j]));
}

}  // namespace

SYNFIRE_FOR_LANES(scaled, (const float* from, float scale, int64_t n, float* to),
                  (from, scale, n, to))
SYNFIRE_FOR_LANES(affine,
                  (const float* from, Spread scale, Spread shift, int64_t n, float* to),
                  (from, scale, shift, n, to))
SYNFIRE_FOR_LANES(times, (const float* from, Spread factor, int64_t n, float* to),
                  (from, factor, n, to))
SYNFIRE_FOR_LANES(linear,
                  (const float* from, const float* x, Ahead next_x, const Linear& map, int64_t n,
                   float* to, bool past),
                  (from, x, next_x, map, n, to, past))
SYNFIRE_FOR_LANES(linear_alike,
                  (const float* from, const float* x, Ahead next_x, const Linear& map, int64_t n,
                   float* to, bool past),
                  (from, x, next_x, map, n, to, past))
SYNFIRE_FOR_LANES(times_centred,
                  (const float* from, const float* x, Spread centre, int64_t n, float* to),
                  (from, x, centre, n, to))
SYNFIRE_FOR_LANES(to_bytes, (const float* counts, int64_t n, uint8_t* to, bool past),
                  (counts, n, to, past))

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
