// The surrogate of a count: bumps of unit area, one for each level (../surrogates.py).
#include "surrogate.h"
#include "step.h"

namespace synfire {
namespace {

// The windows of a rectangle. Where two meet the edge belongs to the upper one, so that windows of
// width 1 tile [0, levels] once: then they are one.
template <bool inclusive, typename V>
SYNFIRE_INLINE V rectangles(const Dynamics& dynamics, V u, V threshold) {
    const double half = dynamics.half_width;
    const float height = dynamics.height;
    const int levels = dynamics.levels;
    const V lowest = edge(dynamics, threshold, 1, -half);
    const V highest = edge(dynamics, threshold, levels, half);
    if (dynamics.one_window()) return window<inclusive, inclusive>(u, lowest, highest, height);
    V total = V{};
    for (int level = 1; level <= levels; ++level) {
        const V low = edge(dynamics, threshold, level, -half);
        const V high = edge(dynamics, threshold, level, half);
        if (level == 1 && !inclusive)
            total = window<false, false>(u, low, high, height);
        else if (level == levels && inclusive)
            total = total + window<true, true>(u, low, high, height);
        else
            total = total + window<true, false>(u, low, high, height);
    }
    return total;
}

template <Bump bump, bool unit, typename V>
SYNFIRE_INLINE V slope_at(const Dynamics& dynamics, V h, V threshold) {
    const bool count = dynamics.unit_is_count;
    const V u = unit || !count ? h : h / threshold;
    V total = V{};
    if constexpr (bump == Bump::rectangle) {
        total = dynamics.inclusive ? rectangles<true>(dynamics, u, threshold)
                                   : rectangles<false>(dynamics, u, threshold);
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

void flags_of_slopes(const Dynamics& dynamics, const Constants& constants, const float* charged,
                     int64_t n, float* room, uint8_t* bits) {
    if (!dynamics.one_window() || dynamics.height == 0.0f || constants.threshold.mask) {
        slopes_of(dynamics, constants, charged, n, room);
        return pack_nonzero(room, n, bits);
    }
    const float threshold = constants.threshold.at<float>(0);
    const Window window{edge(dynamics, threshold, 1, -dynamics.half_width),
                        edge(dynamics, threshold, dynamics.levels, dynamics.half_width),
                        dynamics.unit_is_count ? threshold : 1.0f, dynamics.inclusive};
    pack_window(charged, window, n, bits);
}

Spread heights_of(const Dynamics& dynamics, const Constants& constants, int64_t n, float* room) {
    const bool divided = dynamics.unit_is_count && !constants.unit;
    const bool each = divided && constants.threshold.mask;
    for (int64_t j = 0; j < (each ? n : kMostLanes); ++j)
        room[j] = divided ? dynamics.height / constants.threshold.at<float>(j) : dynamics.height;
    return {room, each ? -1 : 0};
}

}  // namespace synfire
