// The innermost loops of dense products.
#pragma once

#include <cstdint>

#include "dense_products.h"

namespace synfire {

constexpr int kDenseRows = 8;   // room for the rows of a group; so many or fewer are used
constexpr int kDenseSlabs = 3;  // slabs that are multiplied together, at most

// Groups of rows times neighbouring slabs.
struct DenseRun {
    const DensePlan* plan;
    const char* slab;  // the first one
    int slabs;
    int64_t column;  // the first output
    int64_t first_row, rows;
    // For each group, for each row of the kernel, kDenseRows inputs: floats, or bytes of which four
    // make a line. The last group repeats a row where it has fewer.
    const void* const* inputs;
    const Finish* finish;
};

// Rows in a group: 2, 4 or 8.
int dense_rows();

// How many of the slabs that are left are multiplied next.
int dense_slabs(int64_t left);

void multiply(const DenseRun& run);

}  // namespace synfire
