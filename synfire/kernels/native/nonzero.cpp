#include "nonzero.h"

#include <cstring>

#include "lanes.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace synfire {
namespace {

constexpr uint16_t kHalfMagnitude = 0x7fff;  // zero has a sign, too
constexpr uint32_t kFloatMagnitude = 0x7fffffff;

bool is_nonzero(uint8_t x) { return x != 0; }
bool is_nonzero(uint16_t x) { return (x & kHalfMagnitude) != 0; }
bool is_nonzero(float x) { return x != 0.0f; }

template <typename T>
uint64_t word_4(const T* x) {
    uint64_t word = 0;
    for (int j = 0; j < 64; j += 8) {
        uint8_t flags[8];
        for (int k = 0; k < 8; ++k) flags[k] = is_nonzero(x[j + k]);
        uint64_t eight;
        std::memcpy(&eight, flags, 8);
        word |= (eight * 0x0102040810204080 >> 56) << j;  // bit 8k of the factor lands at 56 + k
    }
    return word;
}

#if defined(__x86_64__)
#define SYNFIRE_8 __attribute__((target("avx2"))) SYNFIRE_INLINE
#define SYNFIRE_16 __attribute__((target("avx512f,avx512bw"))) SYNFIRE_INLINE

SYNFIRE_8 uint64_t word_8(const uint8_t* x) {
    uint64_t zero = 0;
    for (int j = 0; j < 64; j += 32) {
        const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + j));
        const __m256i is_zero = _mm256_cmpeq_epi8(v, _mm256_setzero_si256());
        zero |= static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(is_zero))) << j;
    }
    return ~zero;
}

SYNFIRE_8 uint64_t word_8(const uint16_t* x) {
    const __m256i magnitude = _mm256_set1_epi16(kHalfMagnitude);
    uint64_t zero = 0;
    for (int j = 0; j < 64; j += 32) {
        __m256i flags[2];
        for (int half = 0; half < 2; ++half) {
            const auto* from = reinterpret_cast<const __m256i*>(x + j + 16 * half);
            const __m256i v = _mm256_and_si256(_mm256_loadu_si256(from), magnitude);
            flags[half] = _mm256_cmpeq_epi16(v, _mm256_setzero_si256());
        }
        // Packing works within 128-bit halves: 0 2 1 3.
        const __m256i packed =
            _mm256_permute4x64_epi64(_mm256_packs_epi16(flags[0], flags[1]), 0xd8);
        zero |= static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(packed))) << j;
    }
    return ~zero;
}

SYNFIRE_8 uint64_t word_8(const float* x) {
    uint64_t word = 0;
    for (int j = 0; j < 64; j += 8) {
        const __m256 differs =
            _mm256_cmp_ps(_mm256_loadu_ps(x + j), _mm256_setzero_ps(), _CMP_NEQ_UQ);
        word |= static_cast<uint64_t>(_mm256_movemask_ps(differs)) << j;
    }
    return word;
}

SYNFIRE_16 uint64_t word_16(const uint8_t* x) {
    const __m512i v = _mm512_loadu_si512(x);
    return _mm512_test_epi8_mask(v, v);
}

SYNFIRE_16 uint64_t word_16(const uint16_t* x) {
    const __m512i magnitude = _mm512_set1_epi16(kHalfMagnitude);
    uint64_t word = 0;
    for (int j = 0; j < 64; j += 32)
        word |= static_cast<uint64_t>(_mm512_test_epi16_mask(_mm512_loadu_si512(x + j), magnitude))
                << j;
    return word;
}

SYNFIRE_16 uint64_t word_16(const float* x) {
    const __m512i magnitude = _mm512_set1_epi32(kFloatMagnitude);
    uint64_t word = 0;
    for (int j = 0; j < 64; j += 16)
        word |= static_cast<uint64_t>(_mm512_test_epi32_mask(_mm512_loadu_si512(x + j), magnitude))
                << j;
    return word;
}
#endif

// One word, and in ``others`` a bit where there is something else than zero and ``one``.
uint64_t binary_4(const float* x, float one, uint64_t& others) {
    for (int j = 0; j < 64; ++j) others |= static_cast<uint64_t>(x[j] != 0.0f && x[j] != one);
    return word_4(x);
}

#if defined(__x86_64__)
SYNFIRE_8 uint64_t binary_8(const float* x, float one, uint64_t& others) {
    uint64_t word = 0, ones = 0;
    for (int j = 0; j < 64; j += 8) {
        const __m256 v = _mm256_loadu_ps(x + j);
        const __m256 differs = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_NEQ_UQ);
        const __m256 equals = _mm256_cmp_ps(v, _mm256_set1_ps(one), _CMP_EQ_OQ);
        word |= static_cast<uint64_t>(_mm256_movemask_ps(differs)) << j;
        ones |= static_cast<uint64_t>(_mm256_movemask_ps(equals)) << j;
    }
    others |= word ^ ones;
    return word;
}

SYNFIRE_16 uint64_t binary_16(const float* x, float one, uint64_t& others) {
    uint64_t word = 0, ones = 0;
    for (int j = 0; j < 64; j += 16) {
        const __m512 v = _mm512_loadu_ps(x + j);
        const uint64_t differs = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
        const uint64_t equals = _mm512_cmp_ps_mask(v, _mm512_set1_ps(one), _CMP_EQ_OQ);
        word |= differs << j;
        ones |= equals << j;
    }
    others |= word ^ ones;
    return word;
}
#endif

// Words of a run; the ragged last one from a copy that is filled up with zeros.
#define SYNFIRE_RUN(name, target, one)                         \
    template <typename T>                                      \
    target void name(const T* x, int64_t n, uint64_t* words) { \
        for (; n >= 64; n -= 64, x += 64) *words++ = one(x);   \
        if (n == 0) return;                                    \
        T rest[64] = {};                                       \
        std::memcpy(rest, x, n * sizeof(T));                   \
        *words = one(rest);                                    \
    }

#define SYNFIRE_BINARY_RUN(name, target, one_word)                             \
    target bool name(const float* x, int64_t n, float one, uint64_t* words) {  \
        uint64_t others = 0;                                                   \
        for (; n >= 64; n -= 64, x += 64) *words++ = one_word(x, one, others); \
        if (n > 0) {                                                           \
            float rest[64] = {};                                               \
            std::memcpy(rest, x, n * sizeof(float));                           \
            *words = one_word(rest, one, others);                              \
        }                                                                      \
        return others == 0;                                                    \
    }

SYNFIRE_RUN(run_4, , word_4)
SYNFIRE_BINARY_RUN(binary_run_4, , binary_4)
#if defined(__x86_64__)
#define SYNFIRE_ON_8 __attribute__((target("avx2")))
#define SYNFIRE_ON_16 __attribute__((target("avx512f,avx512bw")))
SYNFIRE_RUN(run_8, SYNFIRE_ON_8, word_8)
SYNFIRE_RUN(run_16, SYNFIRE_ON_16, word_16)
SYNFIRE_BINARY_RUN(binary_run_8, SYNFIRE_ON_8, binary_8)
SYNFIRE_BINARY_RUN(binary_run_16, SYNFIRE_ON_16, binary_16)
#endif

template <typename T>
void run(const T* x, int64_t n, uint64_t* words) {
#if defined(__x86_64__)
    const int lanes = lanes_in_use();
    if (lanes == kLanes<Lanes16>) return run_16(x, n, words);
    if (lanes == kLanes<Lanes8>) return run_8(x, n, words);
#endif
    run_4(x, n, words);
}

}  // namespace

void nonzero_words(const uint8_t* x, int64_t n, uint64_t* words) { run(x, n, words); }
void nonzero_words(const uint16_t* x, int64_t n, uint64_t* words) { run(x, n, words); }
void nonzero_words(const float* x, int64_t n, uint64_t* words) { run(x, n, words); }

bool binary_words(const float* x, int64_t n, float one, uint64_t* words) {
#if defined(__x86_64__)
    const int lanes = lanes_in_use();
    if (lanes == kLanes<Lanes16>) return binary_run_16(x, n, one, words);
    if (lanes == kLanes<Lanes8>) return binary_run_8(x, n, one, words);
#endif
    return binary_run_4(x, n, one, words);
}

}  // namespace synfire
