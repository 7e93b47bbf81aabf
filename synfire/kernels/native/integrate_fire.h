// Integrate, fire, reset on float32 buffers: the equations of ../integrate_fire/reference.py, in
// the same order of operations, so that outputs are equal bit for bit.
#pragma once

#include <cstdint>
#include <string>

namespace synfire {

enum class Rounding { half_up, half_even, floor };
enum class Reset { soft, hard, none };
enum class Bump { rectangle, arctan, sigmoid, fast_sigmoid, triangle, gaussian };

struct Dynamics {
    Dynamics(int levels, const std::string& rounding, const std::string& reset, double reset_value,
             bool detach_reset, double input_gain, bool decay_input, double current_decay,
             const std::string& surrogate, double width, double scale, bool inclusive,
             const std::string& unit);

    int levels;
    Rounding rounding;
    Reset reset;
    float reset_value;
    bool detach_reset;
    float input_gain;
    bool decay_input;
    float current_decay;
    Bump bump;
    float width;
    double half_width;
    float height;  // of a bump: scale / width
    bool inclusive;
    bool unit_is_count;

    float first_level() const { return rounding == Rounding::floor ? 1.0f : 0.5f; }
};

// One value, or one for each channel of a state: element e belongs to channel (e / inner) %
// channels.
struct Parameter {
    const float* values;
    int64_t channels;
    int64_t inner;
};

// x and counts are [steps, elements]; states are [elements]. A null v0 means rest, a null i0 no
// current filter.
struct Forward {
    int64_t steps, elements;
    const float *x, *v0, *i0;
    Parameter decay, threshold;
    float output_scale;
    float *counts, *v, *i;
};

// Null grad_decay and grad_threshold are not computed. grad_counts is that of counts *
// output_scale.
struct Backward {
    int64_t steps, elements;
    const float *grad_counts, *grad_v, *grad_i;
    const float *x, *v0, *i0;
    Parameter decay, threshold;
    float output_scale;
    float *grad_x, *grad_v0, *grad_i0, *grad_decay, *grad_threshold;
};

// Vector lanes of float that the kernels use on this processor, and the same limited to ``most``.
int lanes();
int limit_lanes(int most);

void run(const Dynamics& dynamics, const Forward& task, int threads);
void run(const Dynamics& dynamics, const Backward& task, int threads);

}  // namespace synfire
