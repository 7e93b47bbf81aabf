// The table of surrogate gradients (../surrogates.py): bumps of unit area with f(0) = 1.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "integrate_fire.h"
#include "vector_code.h"

namespace synfire {

// exp within two units in the last place, as straight-line code that a compiler turns into vector
// code.
SYNFIRE_INLINE float exp_near(float x) {
    const float low = x < -87.0f ? -87.0f : x, bounded = low > 88.0f ? 88.0f : low;
    const float n = nearest_integer(bounded * 1.44269504f);
    const float r = (bounded - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const uint32_t exponent = static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23;
    float power;
    std::memcpy(&power, &exponent, sizeof power);
    return p * power;
}

template <Bump bump>
SYNFIRE_INLINE float bump_at(float z) {
    constexpr float pi = 3.14159265358979f;
    const float size = std::fabs(z);
    if constexpr (bump == Bump::rectangle) return size <= 0.5f ? 1.0f : 0.0f;
    if constexpr (bump == Bump::arctan) return 1.0f / (1.0f + (pi * z) * (pi * z));
    if constexpr (bump == Bump::sigmoid) {
        const float half = 1.0f / (1.0f + exp_near(-4.0f * z));
        return 4.0f * half * (1.0f - half);
    }
    if constexpr (bump == Bump::fast_sigmoid)
        return 1.0f / ((1.0f + 2.0f * size) * (1.0f + 2.0f * size));
    if constexpr (bump == Bump::triangle) {
        const float height = 1.0f - size;
        return height < 0.0f ? 0.0f : height;
    }
    return exp_near(-pi * (z * z));
}

}  // namespace synfire
