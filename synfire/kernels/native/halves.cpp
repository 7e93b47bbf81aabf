// float16 and bfloat16 to float and back.
#include "rows.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace synfire {
namespace {

// IEEE half precision in integers, for processors and tails without instructions for it.
inline float float_of_half(uint16_t half) {
    const uint32_t exponent = 0x7c00u << 13, magnitude = (half & 0x7fffu) << 13;
    uint32_t bits = magnitude + ((127 - 15) << 23);
    if ((magnitude & exponent) == exponent) bits += (128 - 16) << 23;  // infinity or NaN
    if ((magnitude & exponent) == 0)                                   // below the normal numbers
        bits = as_bits<uint32_t>(as_bits<float>(bits + (1u << 23)) - 0x1p-14f);
    return as_bits<float>(bits | (half & 0x8000u) << 16);
}

inline uint16_t half_of_float(float value) {
    const uint32_t sign = as_bits<uint32_t>(value) >> 16 & 0x8000u;
    uint32_t bits = as_bits<uint32_t>(value) & 0x7fffffffu;
    if (bits > 0x7f800000u) return sign | 0x7e00u;              // NaN
    if (bits >= (127u + 16) << 23) return sign | 0x7c00u;       // beyond any half
    if (bits < (127u - 14) << 23)                               // below the normal numbers
        return sign | (as_bits<uint32_t>(as_bits<float>(bits) + 0.5f) - as_bits<uint32_t>(0.5f));
    bits += (bits >> 13 & 1) + 0xfff - ((127u - 15) << 23);     // ties to even
    return sign | bits >> 13;
}

template <typename V>
SYNFIRE_INLINE V floats_of_bfloats(Like<uint16_t, V> bits) {
    return as_bits<V>(convert<Like<uint32_t, V>>(bits) << 16);
}

template <typename V>
SYNFIRE_INLINE Like<uint16_t, V> bfloats_of_floats(V value) {
    using Words = Like<uint32_t, V>;
    const Words bits = as_bits<Words>(value), not_a_number = Words{} + 0x7fc0;
    const Words rounded = (bits + (bits >> 16 & 1) + 0x7fff) >> 16;
    return convert<Like<uint16_t, V>>(value == value ? rounded : not_a_number);
}

void widen_halves_4(const uint16_t* from, int64_t n, float* to) {
    for (int64_t j = 0; j < n; ++j) to[j] = float_of_half(from[j]);
}

void narrow_halves_4(const float* from, float scale, int64_t n, uint16_t* to,
                      bool past) {
    for (int64_t j = 0; j < n; ++j) to[j] = half_of_float(from[j] * scale);
}

#if defined(__x86_64__)
SYNFIRE_TARGET_8 void widen_halves_8(const uint16_t* from, int64_t n,
                                     float* to) {
    int64_t j = 0;
    for (; j + 8 <= n; j += 8) store(to + j, _mm256_cvtph_ps(load<__m128i>(from + j)));
    for (; j < n; ++j) to[j] = float_of_half(from[j]);
}

SYNFIRE_TARGET_8 void narrow_halves_8(const float* from, float scale, int64_t n, uint16_t* to,
                      bool past) {
    int64_t j = 0;
    for (; j + 8 <= n; j += 8)
        store<Lanes8>(to + j,
                      _mm256_cvtps_ph(load<Lanes8>(from + j) * scale, _MM_FROUND_TO_NEAREST_INT),
                      past);
    for (; j < n; ++j) to[j] = half_of_float(from[j] * scale);
}

SYNFIRE_TARGET_16 void widen_halves_16(const uint16_t* from, int64_t n,
                                       float* to) {
    int64_t j = 0;
    for (; j + 16 <= n; j += 16) store(to + j, _mm512_cvtph_ps(load<__m256i>(from + j)));
    for (; j < n; ++j) to[j] = float_of_half(from[j]);
}

SYNFIRE_TARGET_16 void narrow_halves_16(const float* from, float scale, int64_t n, uint16_t* to,
                      bool past) {
    int64_t j = 0;
    for (; j + 16 <= n; j += 16)
        store<Lanes16>(to + j,
                       _mm512_cvtps_ph(load<Lanes16>(from + j) * scale, _MM_FROUND_TO_NEAREST_INT),
                       past);
    for (; j < n; ++j) to[j] = half_of_float(from[j] * scale);
}
#endif

SYNFIRE_CHOOSE_LANES(widen_halves, (const uint16_t* from, int64_t n, float* to),
                     (from, n, to))
SYNFIRE_CHOOSE_LANES(narrow_halves, (const float* from, float scale, int64_t n, uint16_t* to,
                      bool past),
                     (from, scale, n, to, past))

template <typename V>
SYNFIRE_INLINE void widen_bfloats_lanes(const uint16_t* from, int64_t n,
                                        float* to) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        store(to + j, floats_of_bfloats<V>(load<Like<uint16_t, V>>(from + j)));
    for (; j < n; ++j) to[j] = floats_of_bfloats<float>(from[j]);
}

template <typename V>
SYNFIRE_INLINE void narrow_bfloats_lanes(const float* from, float scale, int64_t n, uint16_t* to,
                      bool past) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        store<V>(to + j, bfloats_of_floats(load<V>(from + j) * scale), past);
    for (; j < n; ++j) to[j] = bfloats_of_floats(from[j] * scale);
}

SYNFIRE_FOR_LANES(widen_bfloats, (const uint16_t* from, int64_t n, float* to),
                  (from, n, to))
SYNFIRE_FOR_LANES(narrow_bfloats, (const float* from, float scale, int64_t n, uint16_t* to,
                      bool past),
                  (from, scale, n, to, past))

}  // namespace

void widen(Kind kind, const void* from, int64_t n, float* to) {
    const auto* words = static_cast<const uint16_t*>(from);
    kind == Kind::float16 ? widen_halves(words, n, to) : widen_bfloats(words, n, to);
}

void narrow(Kind kind, const float* from, float scale, int64_t n, void* to, bool past) {
    auto* words = static_cast<uint16_t*>(to);
    kind == Kind::float16 ? narrow_halves(from, scale, n, words, past)
                          : narrow_bfloats(from, scale, n, words, past);
}

}  // namespace synfire
