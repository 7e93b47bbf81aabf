#include "event_lists.h"

#include <algorithm>
#include <cstring>

#include "lanes.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace synfire {
namespace {

constexpr uint16_t kWordStep = 64 * kStep;  // from one word's entries to the next one's
constexpr int64_t kMostKeys = 1024;         // different lengths that the sort tells apart

uint64_t low_bits(int64_t n) { return n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; }

uint64_t load_bits(const uint8_t* x, int64_t n) {
    uint64_t word = 0;
    std::memcpy(&word, x, n >= 64 ? 8 : (n + 7) / 8);
    return word & low_bits(n);
}

// Bits of one word to entries, on plain processors.
uint16_t* put_4(uint64_t word, uint16_t first, uint16_t* to) {
    for (; word; word &= word - 1)
        *to++ = static_cast<uint16_t>(first + kStep * __builtin_ctzll(word));
    return to;
}

// The same where x holds how often each entry stands.
uint16_t* put_counts(uint64_t word, const uint8_t* x, uint16_t first, uint16_t* to) {
    for (; word; word &= word - 1) {
        const int j = __builtin_ctzll(word);
        const uint64_t four = static_cast<uint16_t>(first + kStep * j) * 0x0001000100010001ull;
        for (int done = 0; done < x[j]; done += 4) std::memcpy(to + done, &four, 8);
        to += x[j];
    }
    return to;
}

struct Masks {
    uint64_t some, many;  // inputs with at least one, at least two events
};

Masks masks_4(const uint8_t* x) {
    Masks masks{0, 0};
    for (int j = 0; j < 64; ++j) {
        masks.some |= static_cast<uint64_t>(x[j] > 0) << j;
        masks.many |= static_cast<uint64_t>(x[j] > 1) << j;
    }
    return masks;
}

int64_t count_bytes_4(const uint8_t* x, int64_t n) {
    int64_t sum = 0;
    for (int64_t j = 0; j < n; ++j) sum += x[j];
    return sum;
}

// The sum of at most a few hundred bytes, eight at a time.
int32_t sum_of_few(const uint8_t* x, int64_t n) {
    constexpr uint64_t even = 0x00ff00ff00ff00ff;
    uint64_t sums = 0;  // four of 16 bits
    for (; n > 0; n -= 8, x += 8) {
        uint64_t eight = 0;
        std::memcpy(&eight, x, n >= 8 ? 8 : n);
        sums += (eight & even) + (eight >> 8 & even);
    }
    return static_cast<int32_t>((sums & 0xffff) + (sums >> 16 & 0xffff) + (sums >> 32 & 0xffff) +
                                (sums >> 48));
}

// A run of 64 inputs at a time; the last ones from a copy that is filled up with zeros.
#define SYNFIRE_EXPAND(lanes, target, put, masks)                                                \
    target uint16_t* expand_bits_##lanes(const uint8_t* x, int64_t n, uint16_t first,            \
                                         uint16_t* to) {                                         \
        for (; n > 0; n -= 64, x += 8, first += kWordStep) {                                     \
            const uint64_t word = load_bits(x, n);                                               \
            to = put(word, first, to);                                                           \
        }                                                                                        \
        return to;                                                                               \
    }                                                                                            \
    target uint16_t* expand_bytes_##lanes(const uint8_t* x, int64_t n, uint16_t first,           \
                                          uint16_t* to) {                                        \
        uint8_t rest[64] = {};                                                                   \
        for (; n > 0; n -= 64, x += 64, first += kWordStep) {                                    \
            if (n < 64) x = static_cast<const uint8_t*>(std::memcpy(rest, x, n));                \
            const Masks found = masks(x);                                                        \
            to = found.many ? put_counts(found.some, x, first, to) : put(found.some, first, to); \
        }                                                                                        \
        return to;                                                                               \
    }

#define SYNFIRE_JOIN(lanes, target)                                              \
    target uint16_t* join_##lanes(const Piece* piece, int64_t n, uint16_t* to) { \
        using Entries = uint16_t __attribute__((vector_size(lanes * 4)));        \
        for (; n > 0; --n, to += piece->n, ++piece)                              \
            for (int64_t j = 0; j < piece->n; j += lanes * 2) {                  \
                Entries some;                                                    \
                std::memcpy(&some, piece->from + j, sizeof some);                \
                some += piece->add;                                              \
                std::memcpy(to + j, &some, sizeof some);                         \
            }                                                                    \
        return to;                                                               \
    }

SYNFIRE_EXPAND(4, , put_4, masks_4)
SYNFIRE_JOIN(4, )

#if defined(__x86_64__)
#define SYNFIRE_8 __attribute__((target("avx2,bmi,popcnt")))
#define SYNFIRE_16 __attribute__((target("avx512f,avx512bw,bmi,popcnt")))
#define SYNFIRE_16B __attribute__((target("avx512f,avx512bw,avx512vbmi2,bmi,popcnt")))

// The entries of the set bits of each byte value.
struct ByteTable {
    alignas(64) uint16_t entries[256][8];
    ByteTable() {
        for (int byte = 0; byte < 256; ++byte)
            put_4(static_cast<uint64_t>(byte), 0, std::fill_n(entries[byte], 8, 0) - 8);
    }
};
const ByteTable byte_table;

SYNFIRE_8 SYNFIRE_INLINE uint16_t* put_8(uint64_t word, uint16_t first, uint16_t* to) {
    for (int j = 0; j < 8; ++j, word >>= 8, first += 8 * kStep) {
        const uint8_t byte = static_cast<uint8_t>(word);
        const auto* from = reinterpret_cast<const __m128i*>(byte_table.entries[byte]);
        const __m128i eight =
            _mm_add_epi16(_mm_load_si128(from), _mm_set1_epi16(static_cast<int16_t>(first)));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), eight);
        to += __builtin_popcount(byte);
    }
    return to;
}

SYNFIRE_8 SYNFIRE_INLINE Masks masks_8(const uint8_t* x) {
    Masks none{0, 0};
    for (int j = 0; j < 64; j += 32) {
        const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + j));
        const __m256i zero = _mm256_setzero_si256();
        const __m256i above_one = _mm256_and_si256(v, _mm256_set1_epi8(static_cast<char>(0xfe)));
        const auto none_here =
            static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, zero)));
        const auto one_here =
            static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(above_one, zero)));
        none.some |= static_cast<uint64_t>(none_here) << j;
        none.many |= static_cast<uint64_t>(one_here) << j;
    }
    return {~none.some, ~none.many};
}

SYNFIRE_8 int64_t count_bytes_8(const uint8_t* x, int64_t n) {
    __m256i sums = _mm256_setzero_si256();
    int64_t j = 0;
    for (; j + 32 <= n; j += 32)
        sums = _mm256_add_epi64(
            sums, _mm256_sad_epu8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + j)),
                                  _mm256_setzero_si256()));
    int64_t parts[4];
    std::memcpy(parts, &sums, sizeof parts);
    return parts[0] + parts[1] + parts[2] + parts[3] + count_bytes_4(x + j, n - j);
}

struct Steps {
    alignas(64) uint16_t entries[32];
    Steps() {
        for (int j = 0; j < 32; ++j) entries[j] = static_cast<uint16_t>(j * kStep);
    }
};
const Steps steps_of_32;

// Without VBMI2 only 32-bit lanes can be compressed.
SYNFIRE_16 SYNFIRE_INLINE uint16_t* put_16(uint64_t word, uint16_t first, uint16_t* to) {
    const __m512i steps = _mm512_cvtepu16_epi32(
        _mm256_load_si256(reinterpret_cast<const __m256i*>(steps_of_32.entries)));
    for (int j = 0; j < 64; j += 16, word >>= 16, first += 16 * kStep) {
        const __mmask16 mask = static_cast<__mmask16>(word);
        const __m512i all = _mm512_add_epi32(steps, _mm512_set1_epi32(first));
        const __m256i some = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(mask, all));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), some);
        to += __builtin_popcount(mask);
    }
    return to;
}

SYNFIRE_16B SYNFIRE_INLINE uint16_t* put_16b(uint64_t word, uint16_t first, uint16_t* to) {
    const __m512i steps = _mm512_load_si512(steps_of_32.entries);
    for (int j = 0; j < 64; j += 32, word >>= 32, first += 32 * kStep) {
        const __mmask32 mask = static_cast<__mmask32>(word);
        const __m512i all = _mm512_add_epi16(steps, _mm512_set1_epi16(static_cast<int16_t>(first)));
        _mm512_storeu_si512(to, _mm512_maskz_compress_epi16(mask, all));
        to += __builtin_popcount(mask);
    }
    return to;
}

SYNFIRE_16 SYNFIRE_INLINE Masks masks_16(const uint8_t* x) {
    const __m512i v = _mm512_loadu_si512(x);
    return {_mm512_test_epi8_mask(v, v),
            _mm512_test_epi8_mask(v, _mm512_set1_epi8(static_cast<char>(0xfe)))};
}

SYNFIRE_16 int64_t count_bytes_16(const uint8_t* x, int64_t n) {
    const __m512i zero = _mm512_setzero_si512();
    __m512i sums = zero;
    for (; n >= 64; n -= 64, x += 64)
        sums = _mm512_add_epi64(sums, _mm512_sad_epu8(_mm512_loadu_si512(x), zero));
    if (n)
        sums =
            _mm512_add_epi64(sums, _mm512_sad_epu8(_mm512_maskz_loadu_epi8(low_bits(n), x), zero));
    return _mm512_reduce_add_epi64(sums);
}

SYNFIRE_EXPAND(8, SYNFIRE_8, put_8, masks_8)
SYNFIRE_EXPAND(16, SYNFIRE_16, put_16, masks_16)
SYNFIRE_EXPAND(16b, SYNFIRE_16B, put_16b, masks_16)
SYNFIRE_JOIN(8, SYNFIRE_8)
SYNFIRE_JOIN(16, SYNFIRE_16)

bool compresses_halves() {
    static const bool does = __builtin_cpu_supports("avx512vbmi2");
    return does;
}
#endif

int64_t count_bits(const uint8_t* x, int64_t n) {
    int64_t bits = 0;
    for (; n > 0; n -= 64, x += 8) bits += __builtin_popcountll(load_bits(x, n));
    return bits;
}

template <typename V>
SYNFIRE_INLINE void floats_to_bytes(const float* x, float per_event, uint8_t* counts, V& excess) {
    const V events = load<V>(x) * per_event;
    const V count = clip(nearest_integer(events), V{}, splat<V>(255.0f));
    // What no count explains sticks in the sum, as infinity and NaN do.
    excess += clip(magnitude(events - count) - 0x1p-7f, V{}, splat<V>(0x1p20f));
    const Integers<V> integers = convert<Integers<V>>(count);
    const Bytes<V> bytes = convert<Bytes<V>>(integers);
    std::memcpy(counts, &bytes, sizeof bytes);
}

template <typename V>
SYNFIRE_INLINE void convert_floats_lanes(const float* x, int64_t n, float scale, uint8_t* counts,
                                         bool* exact) {
    const float per_event = 1.0f / scale;
    V excess{};
    float last_excess = 0.0f;
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        floats_to_bytes<V>(x + j, per_event, counts + j, excess);
    for (; j < n; ++j) floats_to_bytes<float>(x + j, per_event, counts + j, last_excess);
    for (int lane = 0; lane < kLanes<V>; ++lane) last_excess += excess[lane];
    *exact = last_excess == 0.0f;
}

SYNFIRE_FOR_LANES(convert_floats,
                  (const float* x, int64_t n, float scale, uint8_t* counts, bool* exact),
                  (x, n, scale, counts, exact))

}  // namespace

int64_t count_events(SpikeForm form, const uint8_t* x, int64_t n) {
    if (form == SpikeForm::bits) return count_bits(x, n);
#if defined(__x86_64__)
    const int lanes = lanes_in_use();
    if (lanes == kLanes<Lanes16>) return count_bytes_16(x, n);
    if (lanes == kLanes<Lanes8>) return count_bytes_8(x, n);
#endif
    return count_bytes_4(x, n);
}

uint16_t* expand(SpikeForm form, const uint8_t* x, int64_t n, uint16_t first, uint16_t* to) {
    const bool bits = form == SpikeForm::bits;
#if defined(__x86_64__)
    const int lanes = lanes_in_use();
    if (lanes == kLanes<Lanes16> && compresses_halves())
        return (bits ? expand_bits_16b : expand_bytes_16b)(x, n, first, to);
    if (lanes == kLanes<Lanes16>) return (bits ? expand_bits_16 : expand_bytes_16)(x, n, first, to);
    if (lanes == kLanes<Lanes8>) return (bits ? expand_bits_8 : expand_bytes_8)(x, n, first, to);
#endif
    return (bits ? expand_bits_4 : expand_bytes_4)(x, n, first, to);
}

void expand_pixels(const uint8_t* x, int64_t pixels, int64_t channels, uint16_t* entries,
                   int32_t* starts) {
    starts[0] = 0;
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
        starts[pixel + 1] = starts[pixel] + sum_of_few(x + pixel * channels, channels);
    expand(SpikeForm::bytes, x, pixels * channels, 0, entries);
}

uint16_t* join(const Piece* pieces, int64_t n, uint16_t* to) {
#if defined(__x86_64__)
    const int lanes = lanes_in_use();
    if (lanes == kLanes<Lanes16>) return join_16(pieces, n, to);
    if (lanes == kLanes<Lanes8>) return join_8(pieces, n, to);
#endif
    return join_4(pieces, n, to);
}

bool counts_from_floats(const float* x, int64_t n, float scale, uint8_t* counts) {
    bool exact;
    convert_floats(x, n, scale, counts, &exact);
    return exact;
}

void Lists::plan_groups(const std::vector<int32_t>& events) {
    const int64_t rows = static_cast<int64_t>(events.size());
    const int32_t longest = rows ? *std::max_element(events.begin(), events.end()) : 0;
    int shift = 0;
    while (longest >> shift > kMostKeys) ++shift;
    const auto key = [&](int32_t length) { return (longest - length) >> shift; };  // longest first
    starts_.assign((longest >> shift) + 2, 0);
    for (const int32_t length : events) ++starts_[key(length) + 1];
    for (size_t k = 1; k < starts_.size(); ++k) starts_[k] += starts_[k - 1];
    order_.resize(rows);
    for (int64_t row = 0; row < rows; ++row)
        order_[starts_[key(events[row])]++] = static_cast<int32_t>(row);

    groups_.clear();
    int64_t end = 0;
    for (int64_t first = 0; first < rows; first += kRowsAtOnce) {
        Group group{};
        group.rows = static_cast<int>(std::min(kRowsAtOnce, rows - first));
        int32_t most = 0;
        for (int r = 0; r < kRowsAtOnce; ++r) {
            group.row[r] = order_[first + (r < group.rows ? r : 0)];
            most = std::max(most, events[group.row[r]]);
        }
        group.length = (most + kEntriesAtOnce - 1) / kEntriesAtOnce * kEntriesAtOnce;
        for (int r = 0; r < kRowsAtOnce; ++r)
            group.start[r] = end + (r < group.rows ? r * group.length : 0);
        end += group.rows * group.length;
        groups_.push_back(group);
    }
    if (static_cast<int64_t>(entries_.size()) < end + kListSlack) entries_.resize(end + kListSlack);
}

}  // namespace synfire
