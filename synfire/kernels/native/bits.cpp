#include "bits.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Vector registers are spelt out here: a comparison leaves its bits in a register of masks, which
// no portable expression reaches.
namespace synfire {
namespace {

template <typename Test>
SYNFIRE_INLINE void pack_rest(const float* values, const Test& test, int64_t from, int64_t n,
                              uint8_t* bits) {
    for (int64_t j = from; j < n; j += 8) {
        uint8_t byte = 0;
        for (int64_t k = j; k < std::min(j + 8, n); ++k)
            byte |= static_cast<uint8_t>(test.one(values[k])) << (k - j);
        bits[j / 8] = byte;
    }
}

#if defined(__x86_64__)
// The bits of 16, 8, 4 values and of one that hold a test.
template <bool positive>
struct AgainstZero {
    SYNFIRE_TARGET_16 SYNFIRE_INLINE uint32_t sixteen(__m512 x) const {
        return _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), positive ? _CMP_GT_OQ : _CMP_NEQ_UQ);
    }
    SYNFIRE_TARGET_8 SYNFIRE_INLINE uint32_t eight(__m256 x) const {
        return _mm256_movemask_ps(
            _mm256_cmp_ps(x, _mm256_setzero_ps(), positive ? _CMP_GT_OQ : _CMP_NEQ_UQ));
    }
    SYNFIRE_INLINE uint32_t four(__m128 x) const {
        const __m128 zero = _mm_setzero_ps();
        return _mm_movemask_ps(positive ? _mm_cmpgt_ps(x, zero) : _mm_cmpneq_ps(x, zero));
    }
    bool one(float x) const { return positive ? x > 0.0f : x != 0.0f; }
};

template <bool inclusive, bool divided>
struct Inside {
    Window window;

    SYNFIRE_TARGET_16 SYNFIRE_INLINE uint32_t sixteen(__m512 x) const {
        const __m512 u = divided ? _mm512_div_ps(x, _mm512_set1_ps(window.unit)) : x;
        const __mmask16 above = _mm512_cmp_ps_mask(u, _mm512_set1_ps(window.low),
                                                   inclusive ? _CMP_GE_OQ : _CMP_GT_OQ);
        return _mm512_mask_cmp_ps_mask(above, u, _mm512_set1_ps(window.high),
                                       inclusive ? _CMP_LE_OQ : _CMP_LT_OQ);
    }
    SYNFIRE_TARGET_8 SYNFIRE_INLINE uint32_t eight(__m256 x) const {
        const __m256 u = divided ? _mm256_div_ps(x, _mm256_set1_ps(window.unit)) : x;
        return _mm256_movemask_ps(
            _mm256_and_ps(_mm256_cmp_ps(u, _mm256_set1_ps(window.low),
                                        inclusive ? _CMP_GE_OQ : _CMP_GT_OQ),
                          _mm256_cmp_ps(u, _mm256_set1_ps(window.high),
                                        inclusive ? _CMP_LE_OQ : _CMP_LT_OQ)));
    }
    SYNFIRE_INLINE uint32_t four(__m128 x) const {
        const __m128 u = divided ? _mm_div_ps(x, _mm_set1_ps(window.unit)) : x;
        const __m128 low = _mm_set1_ps(window.low), high = _mm_set1_ps(window.high);
        return _mm_movemask_ps(inclusive ? _mm_and_ps(_mm_cmpge_ps(u, low), _mm_cmple_ps(u, high))
                                         : _mm_and_ps(_mm_cmpgt_ps(u, low), _mm_cmplt_ps(u, high)));
    }
    bool one(float x) const {
        const float u = divided ? x / window.unit : x;
        return inclusive ? u >= window.low && u <= window.high : u > window.low && u < window.high;
    }
};

template <typename Test>
SYNFIRE_TARGET_16 void pack_16(const float* values, const Test test, int64_t n, uint8_t* bits) {
    int64_t j = 0;
    for (; j + 16 <= n; j += 16)
        store(bits + j / 8, static_cast<uint16_t>(test.sixteen(_mm512_loadu_ps(values + j))));
    pack_rest(values, test, j, n, bits);
}

template <typename Test>
SYNFIRE_TARGET_8 void pack_8(const float* values, const Test test, int64_t n, uint8_t* bits) {
    int64_t j = 0;
    for (; j + 8 <= n; j += 8) bits[j / 8] = test.eight(_mm256_loadu_ps(values + j));
    pack_rest(values, test, j, n, bits);
}

template <typename Test>
void pack_4(const float* values, const Test test, int64_t n, uint8_t* bits) {
    int64_t j = 0;
    for (; j + 8 <= n; j += 8)
        bits[j / 8] = test.four(_mm_loadu_ps(values + j)) |
                      test.four(_mm_loadu_ps(values + j + 4)) << 4;
    pack_rest(values, test, j, n, bits);
}

template <typename Test>
SYNFIRE_CHOOSE_LANES(pack, (const float* values, const Test test, int64_t n, uint8_t* bits),
                     (values, test, n, bits))

SYNFIRE_TARGET_16 void unpack_flags_16(const uint8_t* bits, Spread value, int64_t n, float* to) {
    int64_t j = 0;
    for (; j + 16 <= n; j += 16) {
        const __mmask16 flags = load<uint16_t>(bits + j / 8);
        _mm512_storeu_ps(to + j, _mm512_maskz_loadu_ps(flags, value.values + (j & value.mask)));
    }
    for (; j < n; ++j) to[j] = bits[j / 8] >> j % 8 & 1 ? value.at<float>(j) : 0.0f;
}
#else
template <bool positive>
struct AgainstZero {
    bool one(float x) const { return positive ? x > 0.0f : x != 0.0f; }
};

template <bool inclusive, bool divided>
struct Inside {
    Window window;

    bool one(float x) const {
        const float u = divided ? x / window.unit : x;
        return inclusive ? u >= window.low && u <= window.high : u > window.low && u < window.high;
    }
};

template <typename Test>
void pack(const float* values, const Test test, int64_t n, uint8_t* bits) {
    pack_rest(values, test, 0, n, bits);
}
#endif

template <typename V>
SYNFIRE_INLINE void unpack_flags_lanes(const uint8_t* bits, Spread value, int64_t n, float* to) {
    Integers<V> places{};
    for (int64_t lane = 0; lane < kLanes<V>; ++lane) places[lane] = 1 << lane;
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>) {
        const Integers<V> set = (Integers<V>{} + (bits[j / 8] >> j % 8)) & places;
        store(to + j, set != 0 ? value.at<V>(j) : V{});
    }
    for (; j < n; ++j) to[j] = bits[j / 8] >> j % 8 & 1 ? value.at<float>(j) : 0.0f;
}

#if defined(__x86_64__)
SYNFIRE_TARGET_8 void unpack_flags_8(const uint8_t* bits, Spread value, int64_t n, float* to) {
    unpack_flags_lanes<Lanes8>(bits, value, n, to);
}
#endif

void unpack_flags_4(const uint8_t* bits, Spread value, int64_t n, float* to) {
    unpack_flags_lanes<Lanes4>(bits, value, n, to);
}

}  // namespace

void pack_positive(const float* values, int64_t n, uint8_t* bits) {
    pack(values, AgainstZero<true>{}, n, bits);
}

void pack_nonzero(const float* values, int64_t n, uint8_t* bits) {
    pack(values, AgainstZero<false>{}, n, bits);
}

void pack_window(const float* values, Window window, int64_t n, uint8_t* bits) {
    const bool divided = window.unit != 1.0f;
    if (window.inclusive)
        divided ? pack(values, Inside<true, true>{window}, n, bits)
                : pack(values, Inside<true, false>{window}, n, bits);
    else
        divided ? pack(values, Inside<false, true>{window}, n, bits)
                : pack(values, Inside<false, false>{window}, n, bits);
}

SYNFIRE_CHOOSE_LANES(unpack_flags,
                     (const uint8_t* bits, Spread value, int64_t n, float* to),
                     (bits, value, n, to))

}  // namespace synfire
