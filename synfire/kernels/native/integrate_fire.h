// Integrate, fire, reset on flat buffers: the contract of ../integrate_fire/call.py and the
// equations of ../integrate_fire/reference.py, in the same order of operations, so that outputs
// are equal bit for bit.
#pragma once

#include <cstdint>
#include <string>

namespace synfire {

enum class Rounding { half_up, half_even, floor };
enum class Reset { soft, hard, none };
enum class Bump { rectangle, arctan, sigmoid, fast_sigmoid, triangle, gaussian };
enum class Kind { float32, float16, bfloat16 };  // of inputs, outputs and gradients in memory
enum class Form { floats, bytes, bits };         // of outputs

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

    // Whether the windows of a rectangle lie side by side, so that they are one.
    bool one_window() const {
        return bump == Bump::rectangle && (levels == 1 || (width == 1.0f && unit_is_count));
    }
};

// One value, or one for each channel of a state: element e belongs to channel (e / inner) %
// channels. Null values: not given.
struct Channelwise {
    const float* values = nullptr;
    int64_t channels = 1, inner = 1;
};

// x and out are [steps, elements]; states are [elements]. A null v0 means rest, a null i0 no
// current filter; null results are not written.
struct Forward {
    int64_t steps, elements;
    Kind kind;  // of x, and of out in form floats
    const void* x;
    const float *v0, *i0;
    Channelwise decay, threshold, scale, shift;
    float output_scale;
    Form form;
    void* out;
    uint8_t* record;
    float *v, *i;
};

struct Backward {
    int64_t steps, elements;
    Kind grad_kind, x_kind;
    const void* grad;
    const float *grad_v, *grad_i;  // null: zero
    const void* x;                 // null: from the record
    const uint8_t* record;
    const float* v0;
    const float* i0;
    bool current;  // whether there is one: a record needs no i0
    Channelwise decay, threshold, scale, shift;
    Channelwise gain, slope, centre, offset;  // epilogue
    float output_scale;
    void* grad_x;  // of grad_kind
    float *grad_v0, *grad_i0, *grad_decay, *grad_threshold;
};

// Results for each channel.
struct Moments {
    int64_t elements, channels, inner;
    Kind kind;
    const void* x;
    float *mean, *variance;
};

// For each channel of ``mean`` the sums of g_u and of g_u * (x - mean), where g_u is what
// ``backward`` would write to grad_x before any epilogue.
struct BackwardSums {
    Backward backward;
    Channelwise mean;
    float *sums, *products;
};

Kind kind_of(const std::string& name);
Form form_of(const std::string& name);

// Vector lanes of float that the kernels use on this processor, and the same limited to ``most``.
int lanes();
int limit_lanes(int most);

void run(const Dynamics& dynamics, const Forward& task, int threads);
void run(const Dynamics& dynamics, const Backward& task, int threads);
void run(const Dynamics& dynamics, const BackwardSums& task, int threads);
void run(const Moments& task, int threads);

}  // namespace synfire
