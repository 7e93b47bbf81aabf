#include <initializer_list>
#include <stdexcept>

#include "integrate_fire.h"
#include "lanes.h"

namespace synfire {
namespace {

constexpr int kMostLevels = 1 << 20;  // far below where nearest_integer ends

template <typename Enum>
Enum parse(const std::string& kind, const std::string& name,
           std::initializer_list<const char*> names) {
    int index = 0;
    for (const char* candidate : names) {
        if (name == candidate) return static_cast<Enum>(index);
        ++index;
    }
    throw std::invalid_argument("the native kernel knows no " + kind + " '" + name + "'");
}

}  // namespace

Dynamics::Dynamics(int levels, const std::string& rounding, const std::string& reset,
                   double reset_value, bool detach_reset, double input_gain, bool decay_input,
                   double current_decay, const std::string& surrogate, double width, double scale,
                   bool inclusive, const std::string& unit)
    : levels(levels < 1 || levels > kMostLevels
                 ? throw std::invalid_argument("levels must lie in 1..2^20")
                 : levels),
      rounding(parse<Rounding>("rounding", rounding, {"half_up", "half_even", "floor"})),
      reset(parse<Reset>("reset", reset, {"soft", "hard", "none"})),
      reset_value(static_cast<float>(reset_value)),
      detach_reset(detach_reset),
      input_gain(static_cast<float>(input_gain)),
      decay_input(decay_input),
      current_decay(static_cast<float>(current_decay)),
      bump(parse<Bump>("surrogate", surrogate,
                       {"rectangle", "arctan", "sigmoid", "fast_sigmoid", "triangle", "gaussian"})),
      width(static_cast<float>(width)),
      half_width(width / 2),
      height(static_cast<float>(scale / width)),
      inclusive(inclusive),
      unit_is_count(parse<int>("unit", unit, {"membrane", "count"}) == 1) {}

Kind kind_of(const std::string& name) {
    return parse<Kind>("dtype", name, {"float32", "float16", "bfloat16"});
}

Form form_of(const std::string& name) {
    return parse<Form>("form", name, {"float", "uint8", "bits"});
}

int lanes() { return lanes_in_use(); }

int limit_lanes(int most) {
    int lanes = widest_lanes();
    while (lanes > most && lanes > kLanes<Lanes4>) lanes /= 2;
    return lanes_in_use() = lanes;
}

}  // namespace synfire
