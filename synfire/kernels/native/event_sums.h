// Sums of lines over lists of events.
#pragma once

#include <cstdint>

#include "event_lists.h"
#include "event_plan.h"
#include "finish.h"

namespace synfire {

// One slab of all rows of a run.
struct Pass {
    const Plan* plan;
    const Lists* lists;  // one for each block
    const char* slabs;
    int64_t slab;
    int64_t first_row, rows;  // of the run, in all rows
    char* tile;               // rows * 256 bytes
    const Finish* finish;
};

void sum_slab(const Pass& pass);

// The same for few rows and ``slabs`` slabs from the first on: several slabs of a row at a time.
void sum_across(const Pass& pass, int64_t slabs);

}  // namespace synfire
