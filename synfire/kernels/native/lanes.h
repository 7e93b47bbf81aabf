// Lanes of floats that fit the vector registers of a processor, and plain float for tails.
// Templates take either as V: arithmetic, comparison and ?: mean the same for both.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

#define SYNFIRE_INLINE inline __attribute__((always_inline))

namespace synfire {

using Lanes4 = float __attribute__((vector_size(16)));   // on every processor
using Lanes8 = float __attribute__((vector_size(32)));   // AVX2 with F16C
using Lanes16 = float __attribute__((vector_size(64)));  // AVX-512 F and BW

template <typename V>
constexpr int64_t kLanes = sizeof(V) / sizeof(float);
constexpr int64_t kMostLanes = kLanes<Lanes16>;

template <typename V, typename T>
SYNFIRE_INLINE V load(const T* from) {
    V v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

template <typename V, typename T>
SYNFIRE_INLINE void store(T* to, V v) {
    std::memcpy(to, &v, sizeof v);
}

// The same past the caches, where ``past``; then ``to`` lies on a line of 64 bytes or whole vectors
// after one. ``V`` are the lanes of the loop.
template <typename V, typename T, typename W>
SYNFIRE_INLINE void store(T* to, W w, bool past) {
#if defined(__x86_64__)
    if constexpr (sizeof(W) >= 16) {
        W* const place = reinterpret_cast<W*>(to);
        if (past && kLanes<V> == 4) {
            asm volatile("movntps %1, %0" : "=m"(*place) : "x"(w));
            return;
        }
        if (past) {
            asm volatile("vmovntps %1, %0" : "=m"(*place) : "v"(w));
            return;
        }
    }
#endif
    store(to, w);
}

template <typename V>
SYNFIRE_INLINE V splat(float value) {
    return V{} + value;
}

// Asks for the line of an address, which need not be valid.
SYNFIRE_INLINE void prefetch(const void* address) { __builtin_prefetch(address, 0, 3); }

template <typename V>
using Integers = std::conditional_t<std::is_same_v<V, float>, int32_t, decltype(V{} < V{})>;

// As many values of another type as V has lanes.
template <typename T, typename V>
struct LanesOf {
    typedef T type __attribute__((vector_size(sizeof(T) * kLanes<V>)));
};
template <typename T>
struct LanesOf<T, float> {
    using type = T;
};
template <typename T, typename V>
using Like = typename LanesOf<T, V>::type;
template <typename V>
using Bytes = Like<uint8_t, V>;
template <typename V>
using Halves = Like<uint16_t, V>;

template <typename To, typename From>
SYNFIRE_INLINE To convert(From x) {
    if constexpr (std::is_arithmetic_v<From>)
        return static_cast<To>(x);
    else
        return __builtin_convertvector(x, To);
}

template <typename To, typename From>
SYNFIRE_INLINE To as_bits(From x) {
    static_assert(sizeof(To) == sizeof(From));
    To y;
    std::memcpy(&y, &x, sizeof y);
    return y;
}

// 2^n of an integer n in the range of normal numbers.
template <typename V>
SYNFIRE_INLINE V power_of_two(V n) {
    return as_bits<V>((convert<Integers<V>>(n) + 127) * (1 << 23));
}

// What the compiler makes several instructions of, where wide registers have one.
#if defined(__x86_64__)
#define SYNFIRE_ONE_INSTRUCTION(instruction_16, instruction_8, ...)         \
    if constexpr (kLanes<V> == 16) {                                        \
        asm(instruction_16 : "=v"(x) : __VA_ARGS__);                        \
        return x;                                                           \
    } else if constexpr (kLanes<V> == 8) {                                  \
        asm(instruction_8 : "=v"(x) : __VA_ARGS__);                         \
        return x;                                                           \
    }
#else
#define SYNFIRE_ONE_INSTRUCTION(instruction_16, instruction_8, ...)
#endif

// NaN stays NaN.
template <typename V>
SYNFIRE_INLINE V at_least(V x, V low) {
    SYNFIRE_ONE_INSTRUCTION("vmaxps %1, %2, %0", "vmaxps %1, %2, %0", "v"(x), "v"(low))
    return low > x ? low : x;
}
template <typename V>
SYNFIRE_INLINE V at_most(V x, V high) {
    SYNFIRE_ONE_INSTRUCTION("vminps %1, %2, %0", "vminps %1, %2, %0", "v"(x), "v"(high))
    return high < x ? high : x;
}
template <typename V>
SYNFIRE_INLINE V clip(V x, V low, V high) {
    return at_most(at_least(x, low), high);
}

template <typename V>
SYNFIRE_INLINE V magnitude(V x) {
    return x < V{} ? -x : x;
}

// The nearest integer, ties to even, for |x| < 2^22, in two additions: 1.5 * 2^23 is so large that
// a sum with it has no fraction bits. NaN stays NaN.
template <typename V>
SYNFIRE_INLINE V nearest_integer(V x) {
    SYNFIRE_ONE_INSTRUCTION("vrndscaleps $0, %1, %0", "vroundps $0, %1, %0", "v"(x))
    const float magic = 12582912.0f;
    return (x + magic) - magic;
}

template <typename V>
SYNFIRE_INLINE V round_down(V x) {
    SYNFIRE_ONE_INSTRUCTION("vrndscaleps $1, %1, %0", "vroundps $1, %1, %0", "v"(x))
    const V nearest = nearest_integer(x);
    return nearest > x ? nearest - 1.0f : nearest;
}

// The same value, of which the compiler does not know where it comes from. GCC joins two choices in
// a row to one by a mask that is the "and" of two comparisons, and takes such a mask to pieces.
template <typename V>
SYNFIRE_INLINE V apart(V x) {
#if defined(__x86_64__)
    asm("" : "+x"(x));
#endif
    return x;
}

inline int widest_lanes() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"))
        return kLanes<Lanes16>;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")) return kLanes<Lanes8>;
#endif
    return kLanes<Lanes4>;
}

// The lanes that kernels use; a test may ask for fewer.
inline std::atomic<int>& lanes_in_use() {
    static std::atomic<int> lanes = widest_lanes();
    return lanes;
}

// SYNFIRE_FOR_LANES defines ``name`` as what the template ``name##_lanes<V>`` does with the lanes
// in use, SYNFIRE_CHOOSE_LANES as one of name_16, name_8 and name_4. No variant may contract a
// product and a sum (-ffp-contract=off): that would round once where the reference rounds twice.
#if defined(__x86_64__)
#define SYNFIRE_TARGET_16 __attribute__((target("avx512f,avx512bw,f16c")))
#define SYNFIRE_TARGET_8 __attribute__((target("avx2,f16c")))
#define SYNFIRE_CHOOSE_LANES(name, parameters, arguments)         \
    void name parameters {                                        \
        const int lanes = lanes_in_use();                         \
        if (lanes == kLanes<Lanes16>) return name##_16 arguments; \
        if (lanes == kLanes<Lanes8>) return name##_8 arguments;   \
        name##_4 arguments;                                       \
    }
#define SYNFIRE_FOR_LANES(name, parameters, arguments)                                      \
    SYNFIRE_TARGET_16 static void name##_16 parameters { name##_lanes<Lanes16> arguments; } \
    SYNFIRE_TARGET_8 static void name##_8 parameters { name##_lanes<Lanes8> arguments; }    \
    static void name##_4 parameters { name##_lanes<Lanes4> arguments; }                     \
    SYNFIRE_CHOOSE_LANES(name, parameters, arguments)
#else
#define SYNFIRE_CHOOSE_LANES(name, parameters, arguments) \
    void name parameters { name##_4 arguments; }
#define SYNFIRE_FOR_LANES(name, parameters, arguments) \
    void name parameters { name##_lanes<Lanes4> arguments; }
#endif

}  // namespace synfire
