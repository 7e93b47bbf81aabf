#include "dense_kernels.h"

#include <algorithm>

#include "finish.h"
#include "lanes.h"

namespace synfire {
namespace {

constexpr int kOutputs = 16;  // of a line

template <typename V>
struct Floats {
    static constexpr bool integer = false;
    using Input = float;
    using Sums = V;

    SYNFIRE_INLINE static V spread(const float* x, int64_t j) {
#if defined(__x86_64__)
        if constexpr (sizeof(V) > 16) {
            V values;
            asm("vbroadcastss %1, %0" : "=v"(values) : "m"(x[j]));
            return values;
        }
#endif
        return splat<V>(x[j]);
    }
    SYNFIRE_INLINE static void add(V& sums, V values, V weights) {
#if defined(__x86_64__)
        if constexpr (sizeof(V) > 16) {  // fused, which no flag allows for the rest of this file
            asm("vfmadd231ps %2, %1, %0" : "+v"(sums) : "v"(weights), "v"(values));
            return;
        }
#endif
        sums += values * weights;
    }
};

// Counts below 128 in four neighbouring bytes of each lane: products of two of them fit 16 bits.
template <typename V, bool dots>
struct FourBytes {
    static constexpr bool integer = true;
    using Input = uint8_t;
    using Sums = Integers<V>;

    SYNFIRE_INLINE static Sums spread(const uint8_t* x, int64_t j) {
#if defined(__x86_64__)
        struct Four {
            uint8_t bytes[4];
        };
        Sums values;
        asm("vpbroadcastd %1, %0" : "=v"(values) : "m"(*reinterpret_cast<const Four*>(x + 4 * j)));
        return values;
#else
        return Sums{} + load<int32_t>(x + 4 * j);
#endif
    }
    SYNFIRE_INLINE static void add(Sums& sums, Sums counts, Sums weights) {
#if defined(__x86_64__)
        if constexpr (dots) {
            asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(counts), "v"(weights));
        } else {
            const Sums ones = Sums{} + 0x00010001;
            Sums pairs;
            asm("vpmaddubsw %2, %1, %0" : "=v"(pairs) : "v"(counts), "v"(weights));
            asm("vpmaddwd %1, %0, %0" : "+v"(pairs) : "v"(ones));
            sums += pairs;
        }
#endif
    }
};

template <typename V>
constexpr int kRows = sizeof(V) == 64   ? 8
                      : sizeof(V) == 32 ? 4
                                        : 2;

// Sums of R rows over S slabs, [R][S][16].
template <typename V, typename Product, int R, int S>
SYNFIRE_INLINE void sum_group(const DensePlan& plan, const void* const* inputs, const char* slab,
                              char* to) {
    using Sums = typename Product::Sums;
    using Input = typename Product::Input;
    constexpr int parts = kLineBytes / sizeof(V);
    Sums sums[R][S * parts];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int s = 0; s < S * parts; ++s) sums[r][s] = Sums{};
    for (int ky = 0; ky < plan.kernel_height; ++ky, inputs += kDenseRows) {
        const Input* x[R];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) x[r] = static_cast<const Input*>(inputs[r]);
        for (int64_t j = 0; j < plan.lines; ++j, slab += kLineBytes) {
            Sums weights[S * parts];
#pragma GCC unroll 4
            for (int s = 0; s < S * parts; ++s)
                weights[s] = load<Sums>(slab + s / parts * plan.slab_bytes + s % parts * sizeof(V));
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
                const Sums values = Product::spread(x[r], j);
#pragma GCC unroll 4
                for (int s = 0; s < S * parts; ++s) Product::add(sums[r][s], values, weights[s]);
            }
        }
    }
    std::memcpy(to, sums, sizeof sums);
}

template <typename V, typename Product, int S>
SYNFIRE_INLINE void multiply_slabs(const DenseRun& run) {
    constexpr int R = kRows<V>;
    const DensePlan& plan = *run.plan;
    const int64_t n = std::min<int64_t>(S * kOutputs, plan.outputs - run.column);
    alignas(64) char sums[R * S * kLineBytes];
    const void* const* inputs = run.inputs;
    for (int64_t row = 0; row < run.rows; row += R, inputs += plan.kernel_height * kDenseRows) {
        sum_group<V, Product, R, S>(plan, inputs, run.slab, sums);
        const int64_t some = std::min<int64_t>(R, run.rows - row);
        for (int64_t r = 0; r < some; ++r)
            finish_row<V, Product::integer>(*run.finish, run.first_row + row + r, plan.outputs,
                                            run.column, n, sums + r * S * kLineBytes);
    }
}

template <typename V, typename Product>
SYNFIRE_INLINE void multiply_with(const DenseRun& run) {
    if constexpr (sizeof(V) == 64) {
        if (run.slabs == 3) return multiply_slabs<V, Product, 3>(run);
        if (run.slabs == 2) return multiply_slabs<V, Product, 2>(run);
    }
    multiply_slabs<V, Product, 1>(run);
}

template <typename V>
SYNFIRE_INLINE void multiply_floats_lanes(const DenseRun& run) {
    multiply_with<V, Floats<V>>(run);
}
template <typename V>
SYNFIRE_INLINE void multiply_bytes_lanes(const DenseRun& run) {
    multiply_with<V, FourBytes<V, false>>(run);
}
template <typename V>
SYNFIRE_INLINE void multiply_dots_lanes(const DenseRun& run) {
    multiply_with<V, FourBytes<V, sizeof(V) == 64>>(run);
}

SYNFIRE_FOR_LANES(multiply_floats, (const DenseRun& run), (run))
SYNFIRE_FOR_LANES(multiply_bytes, (const DenseRun& run), (run))
SYNFIRE_FOR_LANES(multiply_dots, (const DenseRun& run), (run))

bool supports_dot_products() {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512vnni");
#else
    return false;
#endif
}

const bool has_dot_products = supports_dot_products();

}  // namespace

bool can_multiply(WeightKind kind) {
    return kind == WeightKind::float32 || (kind == WeightKind::int8 && lanes_in_use() > 4);
}

int dense_rows() { return lanes_in_use() == 16 ? 8 : lanes_in_use() == 8 ? 4 : 2; }

int dense_slabs(int64_t left) {
    if (lanes_in_use() < 16) return 1;
    return static_cast<int>(left == 4 ? 2 : std::min<int64_t>(left, kDenseSlabs));
}

void multiply(const DenseRun& run) {
    if (run.plan->kind == WeightKind::float32) return multiply_floats(run);
    has_dot_products ? multiply_dots(run) : multiply_bytes(run);
}

}  // namespace synfire
