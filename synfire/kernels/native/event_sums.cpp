#include "event_sums.h"

#include <algorithm>
#include <cstring>

#include "lanes.h"

namespace synfire {
namespace {

constexpr int64_t kMostColumns = 64;
constexpr int64_t kTileRow = kMostColumns * 4;  // bytes

// What one call of a kernel sums: R lists, each over its own slab, each into its own place.
template <int R>
struct Sums {
    const char* slab[R];
    const uint16_t* list[R];
    char* to[R];
    int64_t length;
    bool add;  // to what stands there
};

template <typename V>
SYNFIRE_INLINE V load_bytes(const char* from) {
    V v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

template <typename V>
SYNFIRE_INLINE void store_bytes(char* to, V v) {
    std::memcpy(to, &v, sizeof v);
}

// Stops the compiler from loading a value once more for each use: loads are what limits the sums.
template <typename V>
SYNFIRE_INLINE void in_register(V& v) {
#if defined(__x86_64__)
    asm("" : "+v"(v));
#endif
}

// Calls line(r, address) for each entry of lists [from, to).
template <int R, typename Line>
SYNFIRE_INLINE void each_line(const Sums<R>& sums, int64_t from, int64_t to, const Line& line) {
    for (int64_t j = from; j < to; j += kEntriesAtOnce)
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
            for (int e = 0; e < kEntriesAtOnce; e += 2) {
                uint32_t two;  // one load for two entries: loads limit the sums
                std::memcpy(&two, sums.list[r] + j + e, sizeof two);
                line(r, sums.slab[r] + kEntryUnit * static_cast<size_t>(two & 0xffff));
                line(r, sums.slab[r] + kEntryUnit * static_cast<size_t>(two >> 16));
            }
        }
}

template <typename V, int R>
SYNFIRE_INLINE void sum_floats(const Sums<R>& sums) {
    constexpr int parts = kLineBytes / sizeof(V);
    V total[R][parts];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int p = 0; p < parts; ++p)
            total[r][p] = sums.add ? load_bytes<V>(sums.to[r] + p * sizeof(V)) : V{};
    each_line<R>(sums, 0, sums.length, [&](int r, const char* line) __attribute__((always_inline)) {
#pragma GCC unroll 4
        for (int p = 0; p < parts; ++p) total[r][p] += load_bytes<V>(line + p * sizeof(V));
    });
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int p = 0; p < parts; ++p) store_bytes(sums.to[r] + p * sizeof(V), total[r][p]);
}

template <typename V, int bits>
struct Unsigned;
template <>
struct Unsigned<Lanes4, 16> {
    using type = uint16_t __attribute__((vector_size(16)));
};
template <>
struct Unsigned<Lanes8, 16> {
    using type = uint16_t __attribute__((vector_size(32)));
};
template <>
struct Unsigned<Lanes16, 16> {
    using type = uint16_t __attribute__((vector_size(64)));
};
template <>
struct Unsigned<Lanes4, 32> {
    using type = uint32_t __attribute__((vector_size(16)));
};
template <>
struct Unsigned<Lanes8, 32> {
    using type = uint32_t __attribute__((vector_size(32)));
};
template <>
struct Unsigned<Lanes16, 32> {
    using type = uint32_t __attribute__((vector_size(64)));
};

template <typename V>
SYNFIRE_INLINE void put_integers(char* to, Integers<V> value, bool add) {
    store_bytes(to, add ? load_bytes<Integers<V>>(to) + value : value);
}

// Each lane holds two weights, low and high, both unsigned: w + middle. The sum of whole lanes and
// the sum of their high halves alone give both sums, modulo the size of a lane; a weight costs two
// additions and half a shift this way, and no widening.
template <typename V, int bits, int R>
SYNFIRE_INLINE void sum_pairs(const Sums<R>& sums, int64_t exact_events) {
    using Lane = typename Unsigned<V, bits>::type;
    using Int = Integers<V>;
    constexpr int parts = kLineBytes / sizeof(V), half = bits / 2;
    bool add = sums.add;
    int64_t from = 0;
    do {
        const int64_t to = bits == 16 ? std::min(sums.length, from + exact_events) : sums.length;
        Lane all[R][parts], high[R][parts];
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int p = 0; p < parts; ++p) all[r][p] = high[r][p] = Lane{};
        each_line<R>(sums, from, to, [&](int r, const char* line) __attribute__((always_inline)) {
#pragma GCC unroll 4
            for (int p = 0; p < parts; ++p) {
                Lane lanes = load_bytes<Lane>(line + p * sizeof(V));
                in_register(lanes);
                all[r][p] += lanes;
                high[r][p] += lanes >> half;
            }
        });
        const auto middle = static_cast<std::conditional_t<bits == 16, uint16_t, uint32_t>>(
            static_cast<uint64_t>(to - from) << (half - 1));
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int p = 0; p < parts; ++p) {
                const Lane low = all[r][p] - (high[r][p] << half) - middle;
                const Lane top = high[r][p] - middle;
                char* place = sums.to[r] + p * sizeof(V);
                const Int l = load_bytes<Int>(reinterpret_cast<const char*>(&low));
                const Int t = load_bytes<Int>(reinterpret_cast<const char*>(&top));
                if constexpr (bits == 32) {
                    put_integers<V>(place, l, add);
                    put_integers<V>(place + 64, t, add);
                } else {
                    put_integers<V>(place, (l << 16) >> 16, add);
                    put_integers<V>(place + 64, l >> 16, add);
                    put_integers<V>(place + 128, (t << 16) >> 16, add);
                    put_integers<V>(place + 192, t >> 16, add);
                }
            }
        add = true;
        from = to;
    } while (from < sums.length);
}

// As many rows as keep all sums in registers.
template <typename V, WeightKind kind>
constexpr int kRowsInRegisters =
    sizeof(V) == 64 ? 4
                    : (sizeof(V) == 32 ? (kind == WeightKind::float32 ? 4 : 2)
                                       : (kind == WeightKind::float32 ? 2 : 1));

template <typename V, WeightKind kind, int R>
SYNFIRE_INLINE void sum(const Sums<R>& sums, const Plan& plan) {
    if constexpr (kind == WeightKind::float32) sum_floats<V, R>(sums);
    if constexpr (kind == WeightKind::int16) sum_pairs<V, 32, R>(sums, plan.exact_events);
    if constexpr (kind == WeightKind::int8) sum_pairs<V, 16, R>(sums, plan.exact_events);
}

// Where the sums of one slab go: straight to their rows, or to a tile first.
struct Target {
    const Pass& pass;
    int64_t column, n;
    bool straight;

    Target(const Pass& pass, int64_t slab) : pass(pass), column(slab * pass.plan->columns) {
        n = std::min(pass.plan->columns, pass.plan->outputs - column);
        straight = pass.finish->out && n == pass.plan->columns;
    }
    char* of(int64_t row, int64_t tile_row) const {
        const int64_t at = (pass.first_row + row) * pass.plan->outputs + column;
        return straight ? static_cast<char*>(pass.finish->out) + at * 4
                        : pass.tile + tile_row * pass.plan->columns * 4;
    }
    template <typename V, WeightKind kind>
    SYNFIRE_INLINE void finish(int64_t row, const char* sums) const {
        finish_row<V, kind != WeightKind::float32>(*pass.finish, pass.first_row + row,
                                                   pass.plan->outputs, column, n, sums);
    }
};

template <typename V, WeightKind kind>
SYNFIRE_INLINE void sum_slab_of(const Pass& pass) {
    constexpr int R = kRowsInRegisters<V, kind>;
    const Plan& plan = *pass.plan;
    const Target target(pass, pass.slab);
    const size_t blocks = plan.blocks.size();
    alignas(64) char nowhere[kTileRow] = {};
    for (size_t b = 0; b < blocks; ++b) {
        const char* slab = pass.slabs + pass.slab * plan.slab_bytes + plan.blocks[b].offset;
        for (const Group& group : pass.lists[b].groups())
            for (int first = 0; first < group.rows; first += R) {
                Sums<R> sums;
#pragma GCC unroll 4
                for (int r = 0; r < R; ++r) {
                    const int row = group.row[first + r];
                    sums.slab[r] = slab;
                    sums.list[r] = pass.lists[b].entries() + group.start[first + r];
                    sums.to[r] = first + r < group.rows ? target.of(row, row) : nowhere;
                }
                sums.length = group.length;
                sums.add = b > 0;
                sum<V, kind, R>(sums, plan);
            }
    }
    // In the order of the rows, not of their lengths: what follows comes from far memory.
    if (!target.straight)
        for (int64_t row = 0; row < pass.rows; ++row)
            target.finish<V, kind>(row, target.of(row, row));
}

template <typename V, WeightKind kind>
SYNFIRE_INLINE void sum_across_of(const Pass& pass, int64_t slabs) {
    constexpr int R = kRowsInRegisters<V, kind>;
    const Plan& plan = *pass.plan;
    const size_t blocks = plan.blocks.size();
    alignas(64) char nowhere[kTileRow] = {};
    for (int64_t slab = pass.slab; slab < pass.slab + slabs; slab += R)
        for (size_t b = 0; b < blocks; ++b)
            for (const Group& group : pass.lists[b].groups())
                for (int i = 0; i < group.rows; ++i) {
                    Sums<R> sums;
                    for (int r = 0; r < R; ++r) {
                        const bool real = slab + r < pass.slab + slabs;
                        const Target target(pass, real ? slab + r : slab);
                        sums.slab[r] = pass.slabs + (real ? slab + r : slab) * plan.slab_bytes +
                                       plan.blocks[b].offset;
                        sums.list[r] = pass.lists[b].entries() + group.start[i];
                        sums.to[r] = real ? target.of(group.row[i], group.row[i] * R + r) : nowhere;
                    }
                    sums.length = group.length;
                    sums.add = b > 0;
                    sum<V, kind, R>(sums, plan);
                    if (b + 1 == blocks)
                        for (int r = 0; r < R && slab + r < pass.slab + slabs; ++r) {
                            const Target target(pass, slab + r);
                            if (!target.straight)
                                target.finish<V, kind>(group.row[i], sums.to[r]);
                        }
                }
}

template <typename V>
SYNFIRE_INLINE void sum_slab_with_lanes(const Pass& pass) {
    switch (pass.plan->kind) {
        case WeightKind::float32:
            return sum_slab_of<V, WeightKind::float32>(pass);
        case WeightKind::int16:
            return sum_slab_of<V, WeightKind::int16>(pass);
        case WeightKind::int8:
            return sum_slab_of<V, WeightKind::int8>(pass);
    }
}

template <typename V>
SYNFIRE_INLINE void sum_across_with_lanes(const Pass& pass, int64_t slabs) {
    switch (pass.plan->kind) {
        case WeightKind::float32:
            return sum_across_of<V, WeightKind::float32>(pass, slabs);
        case WeightKind::int16:
            return sum_across_of<V, WeightKind::int16>(pass, slabs);
        case WeightKind::int8:
            return sum_across_of<V, WeightKind::int8>(pass, slabs);
    }
}

SYNFIRE_FOR_LANES(sum_slab_with, (const Pass& pass), (pass))
SYNFIRE_FOR_LANES(sum_across_with, (const Pass& pass, int64_t slabs), (pass, slabs))

}  // namespace

void sum_slab(const Pass& pass) { sum_slab_with(pass); }

void sum_across(const Pass& pass, int64_t slabs) { sum_across_with(pass, slabs); }

}  // namespace synfire
