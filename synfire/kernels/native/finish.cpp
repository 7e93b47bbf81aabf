#include "finish.h"

namespace synfire {
namespace {

template <typename V>
SYNFIRE_INLINE void finish_with_lanes(const Finish& finish, bool integer, int64_t row,
                                      int64_t outputs, int64_t column, int64_t n,
                                      const void* sums) {
    integer ? finish_row<V, true>(finish, row, outputs, column, n, sums)
            : finish_row<V, false>(finish, row, outputs, column, n, sums);
}

template <typename V>
SYNFIRE_INLINE void widen_lanes(const uint8_t* counts, int64_t n, float* to) {
    int64_t j = 0;
    for (; j + kLanes<V> <= n; j += kLanes<V>)
        store(to + j, convert<V>(convert<Integers<V>>(load<Bytes<V>>(counts + j))));
    for (; j < n; ++j) to[j] = counts[j];
}

SYNFIRE_FOR_LANES(finish_with,
                  (const Finish& finish, bool integer, int64_t row, int64_t outputs, int64_t column,
                   int64_t n, const void* sums),
                  (finish, integer, row, outputs, column, n, sums))
SYNFIRE_FOR_LANES(widen, (const uint8_t* counts, int64_t n, float* to), (counts, n, to))

}  // namespace

void finish_sums(const Finish& finish, bool integer, int64_t row, int64_t outputs, int64_t column,
                 int64_t n, const void* sums) {
    finish_with(finish, integer, row, outputs, column, n, sums);
}

void floats_from_counts(const uint8_t* counts, int64_t n, float* to) { widen(counts, n, to); }

}  // namespace synfire
