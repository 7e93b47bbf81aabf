// The surrogate of a count: bumps of unit area, one for each level (../surrogates.py).
#include "bumps.h"
#include "step.h"

namespace synfire {
namespace {

// Edges and heights of the windows of a rectangle. Where two windows meet the edge belongs to the
// upper one, so that windows of width 1 tile [0, levels] once.
template <typename V>
SYNFIRE_INLINE V window(const Dynamics& dynamics, V u, V low, V high, bool first, bool last) {
    const V zero = V{};
    V slope = splat<V>(dynamics.height);
    if (!first || dynamics.inclusive)
        slope = u >= low ? slope : zero;
    else
        slope = u > low ? slope : zero;
    if (last && dynamics.inclusive)
        slope = u <= high ? slope : zero;
    else
        slope = u < high ? slope : zero;
    return slope;
}

template <typename V>
SYNFIRE_INLINE V rectangles(const Dynamics& dynamics, V u, V threshold) {
    const double half = dynamics.half_width;
    const int levels = dynamics.levels;
    const auto edge = [&](int level, double side) {
        const float place = static_cast<float>(level - 1) + dynamics.first_level();
        return dynamics.unit_is_count ? splat<V>(static_cast<float>(place + side))
                                      : threshold * place + static_cast<float>(side);
    };
    if (dynamics.one_window())
        return window(dynamics, u, edge(1, -half), edge(levels, half), true, true);
    V total = V{};
    for (int level = 1; level <= levels; ++level)
        total = total + window(dynamics, u, edge(level, -half), edge(level, half), level == 1,
                               level == levels);
    return total;
}

template <Bump bump, bool unit, typename V>
SYNFIRE_INLINE V slope_at(const Dynamics& dynamics, V h, V threshold) {
    const bool count = dynamics.unit_is_count;
    const V u = unit || !count ? h : h / threshold;
    V total = V{};
    if constexpr (bump == Bump::rectangle) {
        total = rectangles(dynamics, u, threshold);
    } else {
        for (int level = 1; level <= dynamics.levels; ++level) {
            const float place = static_cast<float>(level - 1) + dynamics.first_level();
            const V distance = u - (count ? splat<V>(place) : threshold * place);
            total = total + bump_at<bump>(unit ? distance : distance / dynamics.width) *
                                dynamics.height;
        }
    }
    return unit || !count ? total : total / threshold;
}

template <typename V, Bump bump, bool unit>
SYNFIRE_INLINE void slopes_row(Dynamics dynamics, Spread threshold, const float* charged, int64_t n,
                               float* slopes) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        store(slopes + j,
              slope_at<bump, unit>(dynamics, load<V>(charged + j), threshold.at<V>(j)));
    for (; j < n; ++j)
        slopes[j] = slope_at<bump, unit>(dynamics, charged[j], threshold.at<float>(j));
}

template <typename V, Bump bump>
SYNFIRE_INLINE void slopes_row(const Dynamics& dynamics, const Constants& constants,
                               const float* charged, int64_t n, float* slopes) {
    const bool unit = dynamics.width == 1.0f && (constants.unit || !dynamics.unit_is_count);
    unit ? slopes_row<V, bump, true>(dynamics, constants.threshold, charged, n, slopes)
         : slopes_row<V, bump, false>(dynamics, constants.threshold, charged, n, slopes);
}

template <typename V>
SYNFIRE_INLINE void slopes_of_lanes(const Dynamics& dynamics, const Constants& constants,
                                    const float* charged, int64_t n, float* slopes) {
    switch (dynamics.bump) {
        case Bump::rectangle:
            return slopes_row<V, Bump::rectangle>(dynamics, constants, charged, n, slopes);
        case Bump::arctan:
            return slopes_row<V, Bump::arctan>(dynamics, constants, charged, n, slopes);
        case Bump::sigmoid:
            return slopes_row<V, Bump::sigmoid>(dynamics, constants, charged, n, slopes);
        case Bump::fast_sigmoid:
            return slopes_row<V, Bump::fast_sigmoid>(dynamics, constants, charged, n, slopes);
        case Bump::triangle:
            return slopes_row<V, Bump::triangle>(dynamics, constants, charged, n, slopes);
        case Bump::gaussian:
            return slopes_row<V, Bump::gaussian>(dynamics, constants, charged, n, slopes);
    }
}

}  // namespace

SYNFIRE_FOR_LANES(slopes_of,
                  (const Dynamics& dynamics, const Constants& constants, const float* charged,
                   int64_t n, float* slopes),
                  (dynamics, constants, charged, n, slopes))

Spread heights_of(const Dynamics& dynamics, const Constants& constants, int64_t n, float* room) {
    const bool divided = dynamics.unit_is_count && !constants.unit;
    const bool each = divided && constants.threshold.mask;
    for (int64_t j = 0; j < (each ? n : kMostLanes); ++j)
        room[j] = divided ? dynamics.height / constants.threshold.at<float>(j) : dynamics.height;
    return {room, each ? -1 : 0};
}

}  // namespace synfire
