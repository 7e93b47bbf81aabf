#include "packing.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "lanes.h"
#include "nonzero.h"
#include "threads.h"

namespace synfire {
namespace {

constexpr int64_t kChunk = 1024;            // elements that are done at a time
constexpr int64_t kWorthAThread = 1 << 17;  // elements; fewer are done before it has started

// Rows of whole bytes are one long row.
Rows joined(Rows rows, int in_a_byte) {
    return rows.n % in_a_byte ? rows : Rows{1, rows.rows * rows.n};
}

// Calls work(first element of the input, first byte of the packed form, elements) for runs within
// rows, in threads.
template <typename Work>
void each_run(Rows given, int in_a_byte, int threads, const Work& work) {
    const Rows rows = joined(given, in_a_byte);
    if (rows.rows * rows.n < 2 * kWorthAThread) threads = 1;
    if (rows.rows == 1) {
        in_ranges(rows.n, kChunk, threads, [&](int64_t begin, int64_t end) {
            if (begin < end) work(begin, begin / in_a_byte, end - begin);
        });
        return;
    }
    const int64_t bytes = (rows.n + in_a_byte - 1) / in_a_byte;
    in_ranges(rows.rows, 1, threads, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) work(row * rows.n, row * bytes, rows.n);
    });
}

template <typename T>
void pack_bits_of(const T* x, Rows rows, uint8_t* packed, int threads) {
    each_run(rows, 8, threads, [&](int64_t first, int64_t byte, int64_t n) {
        uint64_t words[kChunk / 64];
        for (int64_t done = 0; done < n; done += kChunk) {
            const int64_t some = std::min(kChunk, n - done);
            nonzero_words(x + first + done, some, words);
            std::memcpy(packed + byte + done / 8, words, (some + 7) / 8);
        }
    });
}

template <typename V, Element element>
SYNFIRE_INLINE V as_floats(const void* x, int64_t j) {
    if constexpr (element == Element::float32) return load<V>(static_cast<const float*>(x) + j);
    if constexpr (element == Element::uint8) {
        Bytes<V> bytes;
        std::memcpy(&bytes, static_cast<const uint8_t*>(x) + j, sizeof bytes);
        return convert<V>(convert<Integers<V>>(bytes));
    }
    Halves<V> halves;
    std::memcpy(&halves, static_cast<const uint16_t*>(x) + j, sizeof halves);
    const Integers<V> bits = convert<Integers<V>>(halves);
    Integers<V> wide = bits << 16;
    V value;
    if constexpr (element == Element::float16)
        wide = ((bits & 0x7fff) << 13) | ((bits & 0x8000) << 16);
    std::memcpy(&value, &wide, sizeof value);
    // The exponent of float16 has another bias; infinity and NaN become numbers beyond all counts.
    return element == Element::float16 ? value * 0x1p112f : value;
}

// Counts of kLanes<V> elements into bytes; ``outside`` collects bits of lanes that had to be
// clipped.
template <typename V, Element element>
SYNFIRE_INLINE void counts_at(const void* x, int64_t j, float scale, uint8_t* counts,
                              Integers<V>& outside) {
    const V q = nearest_integer(as_floats<V, element>(x, j) / scale);
    const V clipped = clip(q, V{}, splat<V>(15.0f)), excess = q - clipped;
    Integers<V> bits;
    std::memcpy(&bits, &excess, sizeof bits);
    outside |= bits;
    const auto bytes = convert<Bytes<V>>(convert<Integers<V>>(clipped));
    std::memcpy(counts, &bytes, sizeof bytes);
}

template <typename V, Element element>
SYNFIRE_INLINE bool counts_of(const void* x, int64_t n, float scale, uint8_t* counts) {
    Integers<V> outside{};
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        counts_at<V, element>(x, j, scale, counts + j, outside);
    if (j < n) {
        constexpr int size = element == Element::uint8 ? 1 : element == Element::float32 ? 4 : 2;
        char rest[4 * kLanes<V>] = {};
        std::memcpy(rest, static_cast<const char*>(x) + j * size, (n - j) * size);
        counts_at<V, element>(rest, 0, scale, counts + j, outside);
    }
    int32_t any = 0;
    for (int lane = 0; lane < kLanes<V>; ++lane) any |= outside[lane];
    return any == 0;
}

template <typename V>
SYNFIRE_INLINE void to_counts_lanes(const void* x, Element element, int64_t n, float scale,
                                    uint8_t* counts, bool* inside) {
    switch (element) {
        case Element::uint8:
            *inside = counts_of<V, Element::uint8>(x, n, scale, counts);
            break;
        case Element::float16:
            *inside = counts_of<V, Element::float16>(x, n, scale, counts);
            break;
        case Element::bfloat16:
            *inside = counts_of<V, Element::bfloat16>(x, n, scale, counts);
            break;
        case Element::float32:
            *inside = counts_of<V, Element::float32>(x, n, scale, counts);
            break;
    }
}

SYNFIRE_FOR_LANES(to_counts,
                  (const void* x, Element element, int64_t n, float scale, uint8_t* counts,
                   bool* inside),
                  (x, element, n, scale, counts, inside))

// Two counts of 0..15 to a byte; bytes of ``counts`` beyond n are zero up to a multiple of 8.
void join_halves(const uint8_t* counts, int64_t n, uint8_t* packed) {
    for (int64_t j = 0; j < n; j += 8) {
        uint64_t x;
        std::memcpy(&x, counts + j, 8);
        x = (x | x >> 4) & 0x00ff00ff00ff00ff;
        x = (x | x >> 8) & 0x0000ffff0000ffff;
        x |= x >> 16;
        std::memcpy(packed + j / 2, &x, std::min<int64_t>(4, (n - j + 1) / 2));
    }
}

int bytes_of(Element element) {
    return element == Element::uint8 ? 1 : element == Element::float32 ? 4 : 2;
}

template <int entry>
void unpack_entries(const uint8_t* packed, Rows rows, int in_a_byte, const char* table, int size,
                    char* out, int threads) {
    each_run(rows, in_a_byte, threads, [&](int64_t first, int64_t byte, int64_t n) {
        char* to = out + first * size;
        const uint8_t* from = packed + byte;
        for (int64_t whole = n / in_a_byte; whole > 0; --whole, ++from, to += entry)
            std::memcpy(to, table + *from * entry, entry);
        if (n % in_a_byte) std::memcpy(to, table + *from * entry, n % in_a_byte * size);
    });
}

int64_t bits_in(const uint64_t* words, int64_t n) {
    int64_t bits = 0;
    for (int64_t j = 0; j < n; ++j) {  // without the instruction, that not all processors have
        uint64_t x = words[j];
        x -= x >> 1 & 0x5555555555555555;
        x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
        x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
        bits += static_cast<int64_t>(x * 0x0101010101010101 >> 56);
    }
    return bits;
}

template <typename T>
int64_t count_nonzero_of(const T* x, int64_t n, int threads) {
    std::atomic<int64_t> total{0};
    in_ranges(n, kChunk, n < 2 * kWorthAThread ? 1 : threads, [&](int64_t begin, int64_t end) {
        uint64_t words[kChunk / 64];
        int64_t bits = 0;
        for (int64_t j = begin; j < end; j += kChunk) {
            const int64_t some = std::min(kChunk, end - j);
            nonzero_words(x + j, some, words);
            bits += bits_in(words, (some + 63) / 64);
        }
        total += bits;
    });
    return total;
}

}  // namespace

void pack_bits(const void* x, Element element, Rows rows, uint8_t* packed, int threads) {
    switch (bytes_of(element)) {
        case 1:
            return pack_bits_of(static_cast<const uint8_t*>(x), rows, packed, threads);
        case 2:
            return pack_bits_of(static_cast<const uint16_t*>(x), rows, packed, threads);
        default:
            return pack_bits_of(static_cast<const float*>(x), rows, packed, threads);
    }
}

bool pack_counts(const void* x, Element element, Rows rows, float scale, uint8_t* packed,
                 int threads) {
    std::atomic<bool> all_inside{true};
    const int size = bytes_of(element);
    each_run(rows, 2, threads, [&](int64_t first, int64_t byte, int64_t n) {
        uint8_t counts[kChunk + kMostLanes];
        const char* from = static_cast<const char*>(x) + first * size;
        for (int64_t done = 0; done < n; done += kChunk) {
            const int64_t some = std::min(kChunk, n - done);
            bool inside;
            to_counts(from + done * size, element, some, scale, counts, &inside);
            if (!inside) all_inside = false;
            std::memset(counts + some, 0, 8);
            join_halves(counts, some, packed + byte + done / 2);
        }
    });
    return all_inside;
}

void unpack(const uint8_t* packed, Rows rows, int in_a_byte, const void* table, int size, void* out,
            int threads) {
    const char* entries = static_cast<const char*>(table);
    char* to = static_cast<char*>(out);
    switch (in_a_byte * size) {
        case 2:
            return unpack_entries<2>(packed, rows, in_a_byte, entries, size, to, threads);
        case 4:
            return unpack_entries<4>(packed, rows, in_a_byte, entries, size, to, threads);
        case 8:
            return unpack_entries<8>(packed, rows, in_a_byte, entries, size, to, threads);
        case 16:
            return unpack_entries<16>(packed, rows, in_a_byte, entries, size, to, threads);
        case 32:
            return unpack_entries<32>(packed, rows, in_a_byte, entries, size, to, threads);
        default:
            return unpack_entries<64>(packed, rows, in_a_byte, entries, size, to, threads);
    }
}

int64_t popcount(const uint8_t* packed, int64_t bytes, int threads) {
    std::atomic<int64_t> total{0};
    in_ranges(bytes, kChunk, bytes < 2 * kWorthAThread ? 1 : threads,
              [&](int64_t begin, int64_t end) {
                  uint64_t words[kChunk / 8];
                  int64_t bits = 0;
                  for (int64_t j = begin; j < end; j += kChunk) {
                      const int64_t some = std::min(kChunk, end - j);
                      words[(some - 1) / 8] = 0;
                      std::memcpy(words, packed + j, some);
                      bits += bits_in(words, (some + 7) / 8);
                  }
                  total += bits;
              });
    return total;
}

int64_t count_nonzero(const void* x, Element element, int64_t n, int threads) {
    switch (bytes_of(element)) {
        case 1:
            return count_nonzero_of(static_cast<const uint8_t*>(x), n, threads);
        case 2:
            return count_nonzero_of(static_cast<const uint16_t*>(x), n, threads);
        default:
            return count_nonzero_of(static_cast<const float*>(x), n, threads);
    }
}

}  // namespace synfire
