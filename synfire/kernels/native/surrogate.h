// The table of surrogate gradients (../surrogates.py): bumps of unit area with f(0) = 1, and the
// windows of the rectangle.
#pragma once

#include "integrate_fire.h"
#include "lanes.h"

namespace synfire {

// exp within two units in the last place.
template <typename V>
SYNFIRE_INLINE V exp_near(V x) {
    x = clip(x, splat<V>(-87.0f), splat<V>(88.0f));
    const V n = nearest_integer(x * 1.44269504f);
    const V r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    V p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * power_of_two(n);
}

template <Bump bump, typename V>
SYNFIRE_INLINE V bump_at(V z) {
    constexpr float pi = 3.14159265358979f;
    const V zero = V{}, one = splat<V>(1.0f), size = magnitude(z);
    if constexpr (bump == Bump::arctan) return one / ((z * pi) * (z * pi) + 1.0f);
    if constexpr (bump == Bump::sigmoid) {
        const V half = one / (exp_near(z * -4.0f) + 1.0f);
        return half * 4.0f * (one - half);
    }
    if constexpr (bump == Bump::fast_sigmoid) {
        const V root = size * 2.0f + 1.0f;
        return one / (root * root);
    }
    if constexpr (bump == Bump::triangle) return clip(one - size, zero, one);
    return exp_near(z * z * -pi);
}

// Where the window of a level ends to one side.
template <typename V>
SYNFIRE_INLINE V edge(const Dynamics& dynamics, V threshold, int level, double side) {
    const float place = static_cast<float>(level - 1) + dynamics.first_level();
    if (dynamics.unit_is_count) return splat<V>(static_cast<float>(place + side));
    return threshold * place + static_cast<float>(side);
}

template <bool closed_low, bool closed_high, typename V>
SYNFIRE_INLINE V window(V u, V low, V high, float height) {
    const V zero = V{};
    V slope = splat<V>(height);
    if constexpr (closed_low)
        slope = u >= low ? slope : zero;
    else
        slope = u > low ? slope : zero;
    slope = apart(slope);
    if constexpr (closed_high)
        slope = u <= high ? slope : zero;
    else
        slope = u < high ? slope : zero;
    return slope;
}

}  // namespace synfire
