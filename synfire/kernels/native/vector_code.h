// What a compiler needs to be told for the loops over elements to become vector code.
#pragma once

// The loops are compiled for the baseline and for AVX2 and chosen when the module is loaded. AVX2
// without FMA: a fused multiply-add would round once where the reference rounds twice.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define SYNFIRE_VECTOR_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define SYNFIRE_VECTOR_CLONES
#endif
#if defined(__GNUC__)
#define SYNFIRE_INLINE inline __attribute__((always_inline))
#else
#define SYNFIRE_INLINE inline
#endif
// Rows may be the same memory (a state read and written in place) but never overlap otherwise.
#if defined(__clang__)
#define SYNFIRE_VECTORISE _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define SYNFIRE_VECTORISE _Pragma("GCC ivdep")
#else
#define SYNFIRE_VECTORISE
#endif

namespace synfire {

// The nearest integer, ties to even, for |x| < 2^22, in two additions: rounding instructions and
// library calls are missing or slow on the baseline. 1.5 * 2^23 is so large that a sum with it has
// no fraction bits.
SYNFIRE_INLINE float nearest_integer(float x) {
    const float magic = 12582912.0f;
    return (x + magic) - magic;
}

}  // namespace synfire
