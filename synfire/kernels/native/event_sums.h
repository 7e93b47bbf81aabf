// Sums of lines over lists of events, and what is made of the sums.
#pragma once

#include <cstdint>

#include "event_lists.h"
#include "event_plan.h"
#include "integrate_fire.h"

namespace synfire {

// What becomes of the sums [rows, outputs]: they are stored as they are (float, or int32 for
// integer weights), or go with a bias through one timestep of a neuron. Arrays hold a value an
// output, v one a row and output.
struct Finish {
    void* out;
    bool fire = false;
    float scale = 1.0f;           // of a sum
    const float* bias = nullptr;  // null: none
    const float* decay = nullptr;
    const float* gain = nullptr;
    const float* threshold = nullptr;
    int levels = 1;
    Rounding rounding = Rounding::half_up;
    Reset reset = Reset::soft;
    float reset_value = 0.0f;
    float* v = nullptr;  // null: at rest, and not wanted afterwards
};

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
