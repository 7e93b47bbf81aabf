// Python face of the neuron kernels: checks sizes, releases the interpreter lock, calls.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "integrate_fire.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Input = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<float, nb::c_contig, nb::device::cpu>;

template <typename Array>
auto buffer(const Array& array, int64_t size, const char* name) {
    if (static_cast<int64_t>(array.size()) != size)
        throw std::invalid_argument(std::string(name) + " holds " + std::to_string(array.size()) +
                                    " values, expected " + std::to_string(size));
    return array.data();
}

template <typename Array>
auto buffer(const std::optional<Array>& array, int64_t size, const char* name) {
    return array ? buffer(*array, size, name) : nullptr;
}

synfire::Parameter parameter(const Input& values, int64_t inner, const char* name) {
    if (values.size() == 0 || inner < 1)
        throw std::invalid_argument(std::string(name) + " needs at least one value and inner >= 1");
    return {values.data(), static_cast<int64_t>(values.size()), inner};
}

void same_presence(bool expected, bool given, const char* name) {
    if (expected != given)
        throw std::invalid_argument(std::string(name) +
                                    " must be given exactly when its partner is");
}

void forward(const synfire::Dynamics& dynamics, int64_t steps, Input x, std::optional<Input> v0,
             std::optional<Input> i0, Input decay, int64_t decay_inner, Input threshold,
             int64_t threshold_inner, double output_scale, Output counts, Output v,
             std::optional<Output> i, int threads) {
    const int64_t elements = static_cast<int64_t>(v.size());
    same_presence(i0.has_value(), i.has_value(), "the last current");
    const synfire::Forward task{
        steps,
        elements,
        buffer(x, steps * elements, "x"),
        buffer(v0, elements, "v0"),
        buffer(i0, elements, "i0"),
        parameter(decay, decay_inner, "decay"),
        parameter(threshold, threshold_inner, "threshold"),
        static_cast<float>(output_scale),
        buffer(counts, steps * elements, "counts"),
        v.data(),
        buffer(i, elements, "i"),
    };
    nb::gil_scoped_release unlocked;
    synfire::run(dynamics, task, threads);
}

void backward(const synfire::Dynamics& dynamics, int64_t steps, Input grad_counts, Input grad_v,
              std::optional<Input> grad_i, Input x, std::optional<Input> v0,
              std::optional<Input> i0, Input decay, int64_t decay_inner, Input threshold,
              int64_t threshold_inner, double output_scale, Output grad_x, Output grad_v0,
              std::optional<Output> grad_i0, std::optional<Output> grad_decay,
              std::optional<Output> grad_threshold, int threads) {
    const int64_t elements = static_cast<int64_t>(grad_v0.size());
    same_presence(i0.has_value(), grad_i.has_value() && grad_i0.has_value(),
                  "the gradient of the current");
    same_presence(grad_decay.has_value(), grad_threshold.has_value(),
                  "the gradient of the threshold");
    const synfire::Backward task{
        steps,
        elements,
        buffer(grad_counts, steps * elements, "grad_counts"),
        buffer(grad_v, elements, "grad_v"),
        buffer(grad_i, elements, "grad_i"),
        buffer(x, steps * elements, "x"),
        buffer(v0, elements, "v0"),
        buffer(i0, elements, "i0"),
        parameter(decay, decay_inner, "decay"),
        parameter(threshold, threshold_inner, "threshold"),
        static_cast<float>(output_scale),
        buffer(grad_x, steps * elements, "grad_x"),
        grad_v0.data(),
        buffer(grad_i0, elements, "grad_i0"),
        buffer(grad_decay, elements, "grad_decay"),
        buffer(grad_threshold, elements, "grad_threshold"),
    };
    nb::gil_scoped_release unlocked;
    synfire::run(dynamics, task, threads);
}

}  // namespace

void bind_integrate_fire(nb::module_& m) {
    nb::class_<synfire::Dynamics>(m, "Dynamics")
        .def(nb::init<int, const std::string&, const std::string&, double, bool, double, bool,
                      double, const std::string&, double, double, bool, const std::string&>(),
             "levels"_a, "rounding"_a, "reset"_a, "reset_value"_a, "detach_reset"_a, "input_gain"_a,
             "decay_input"_a, "current_decay"_a, "surrogate"_a, "width"_a, "scale"_a, "inclusive"_a,
             "unit"_a);
    m.def("lanes", &synfire::lanes);
    m.def("limit_lanes", &synfire::limit_lanes, "most"_a);
    m.def("integrate_fire_forward", &forward, "dynamics"_a, "steps"_a, "x"_a, "v0"_a.none(),
          "i0"_a.none(), "decay"_a, "decay_inner"_a, "threshold"_a, "threshold_inner"_a,
          "output_scale"_a, "counts"_a, "v"_a, "i"_a.none(), "threads"_a);
    m.def("integrate_fire_backward", &backward, "dynamics"_a, "steps"_a, "grad_counts"_a,
          "grad_v"_a, "grad_i"_a.none(), "x"_a, "v0"_a.none(), "i0"_a.none(), "decay"_a,
          "decay_inner"_a, "threshold"_a, "threshold_inner"_a, "output_scale"_a, "grad_x"_a,
          "grad_v0"_a, "grad_i0"_a.none(), "grad_decay"_a.none(), "grad_threshold"_a.none(),
          "threads"_a);
}
