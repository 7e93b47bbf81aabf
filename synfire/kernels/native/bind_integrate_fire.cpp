// Python face of the neuron kernels. Buffers come as addresses, 0 for none, and channelwise values
// as (address, channels, inner): ../integrate_fire/native.py checks types and sizes.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <stdexcept>
#include <string>
#include <tuple>

#include "integrate_fire.h"
#include "pages.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Address = uintptr_t;
using Values = std::tuple<Address, int64_t, int64_t>;

template <typename T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

synfire::Channelwise channelwise(const Values& values) {
    const auto [address, channels, inner] = values;
    if (channels < 1 || inner < 1)
        throw std::invalid_argument("a channelwise constant needs at least one value and inner >= 1");
    return {pointer<const float>(address), channels, inner};
}

void forward(const synfire::Dynamics& dynamics, int64_t steps, int64_t elements,
             const std::string& dtype, Address x, Address v0, Address i0, Values decay,
             Values threshold, Values scale, Values shift, double output_scale,
             const std::string& form, Address out, Address record, Address v, Address i,
             int threads) {
    const synfire::Forward task{
        steps,
        elements,
        synfire::kind_of(dtype),
        pointer<const void>(x),
        pointer<const float>(v0),
        pointer<const float>(i0),
        channelwise(decay),
        channelwise(threshold),
        channelwise(scale),
        channelwise(shift),
        static_cast<float>(output_scale),
        synfire::form_of(form),
        pointer<void>(out),
        pointer<uint8_t>(record),
        pointer<float>(v),
        pointer<float>(i),
    };
    nb::gil_scoped_release unlocked;
    synfire::run(dynamics, task, threads);
}

using Inputs = std::tuple<Address, Address, Address, Address, Address, Address, Address>;
using Epilogue = std::tuple<Values, Values, Values, Values>;
using Results = std::tuple<Address, Address, Address, Address, Address>;

synfire::Backward task_of(int64_t steps, int64_t elements, const std::string& grad_dtype,
                          const std::string& x_dtype, bool current, const Inputs& inputs,
                          const Values& decay, const Values& threshold, const Values& scale,
                          const Values& shift, double output_scale) {
    const auto [grad, grad_v, grad_i, x, record, v0, i0] = inputs;
    synfire::Backward task{};
    task.steps = steps;
    task.elements = elements;
    task.grad_kind = synfire::kind_of(grad_dtype);
    task.x_kind = synfire::kind_of(x_dtype);
    task.grad = pointer<const void>(grad);
    task.grad_v = pointer<const float>(grad_v);
    task.grad_i = pointer<const float>(grad_i);
    task.x = pointer<const void>(x);
    task.record = pointer<const uint8_t>(record);
    task.v0 = pointer<const float>(v0);
    task.i0 = pointer<const float>(i0);
    task.current = current;
    task.decay = channelwise(decay);
    task.threshold = channelwise(threshold);
    task.scale = channelwise(scale);
    task.shift = channelwise(shift);
    task.output_scale = static_cast<float>(output_scale);
    return task;
}

void backward(const synfire::Dynamics& dynamics, int64_t steps, int64_t elements,
              const std::string& grad_dtype, const std::string& x_dtype, bool current,
              Inputs inputs, Values decay, Values threshold, Values scale, Values shift,
              double output_scale, Epilogue epilogue, Results results, int threads) {
    synfire::Backward task = task_of(steps, elements, grad_dtype, x_dtype, current, inputs, decay,
                                     threshold, scale, shift, output_scale);
    task.gain = channelwise(std::get<0>(epilogue));
    task.slope = channelwise(std::get<1>(epilogue));
    task.centre = channelwise(std::get<2>(epilogue));
    task.offset = channelwise(std::get<3>(epilogue));
    const auto [grad_x, grad_v0, grad_i0, grad_decay, grad_threshold] = results;
    task.grad_x = pointer<void>(grad_x);
    task.grad_v0 = pointer<float>(grad_v0);
    task.grad_i0 = pointer<float>(grad_i0);
    task.grad_decay = pointer<float>(grad_decay);
    task.grad_threshold = pointer<float>(grad_threshold);
    nb::gil_scoped_release unlocked;
    synfire::run(dynamics, task, threads);
}

void backward_sums(const synfire::Dynamics& dynamics, int64_t steps, int64_t elements,
                   const std::string& grad_dtype, const std::string& x_dtype, bool current,
                   Inputs inputs, Values decay, Values threshold, Values scale, Values shift,
                   double output_scale, Values mean, Address sums, Address products, int threads) {
    const synfire::BackwardSums task{
        task_of(steps, elements, grad_dtype, x_dtype, current, inputs, decay, threshold, scale,
                shift, output_scale),
        channelwise(mean),
        pointer<float>(sums),
        pointer<float>(products),
    };
    nb::gil_scoped_release unlocked;
    synfire::run(dynamics, task, threads);
}

void moments(int64_t elements, int64_t channels, int64_t inner, const std::string& dtype, Address x,
             Address mean, Address variance, int threads) {
    const synfire::Moments task{elements,
                                channels,
                                inner,
                                synfire::kind_of(dtype),
                                pointer<const void>(x),
                                pointer<float>(mean),
                                pointer<float>(variance)};
    nb::gil_scoped_release unlocked;
    synfire::run(task, threads);
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
    m.def(
        "prefer_large_pages",
        [](Address buffer, int64_t bytes) {
            synfire::prefer_large_pages(pointer<void>(buffer), bytes);
        },
        "buffer"_a, "bytes"_a);
    m.def("integrate_fire_forward", &forward, "dynamics"_a, "steps"_a, "elements"_a, "dtype"_a,
          "x"_a, "v0"_a, "i0"_a, "decay"_a, "threshold"_a, "scale"_a, "shift"_a, "output_scale"_a,
          "form"_a, "out"_a, "record"_a, "v"_a, "i"_a, "threads"_a);
    m.def("integrate_fire_backward", &backward, "dynamics"_a, "steps"_a, "elements"_a,
          "grad_dtype"_a, "x_dtype"_a, "current"_a, "inputs"_a, "decay"_a, "threshold"_a, "scale"_a,
          "shift"_a, "output_scale"_a, "epilogue"_a, "results"_a, "threads"_a);
    m.def("integrate_fire_backward_sums", &backward_sums, "dynamics"_a, "steps"_a, "elements"_a,
          "grad_dtype"_a, "x_dtype"_a, "current"_a, "inputs"_a, "decay"_a, "threshold"_a, "scale"_a,
          "shift"_a, "output_scale"_a, "mean"_a, "sums"_a, "products"_a, "threads"_a);
    m.def("moments", &moments, "elements"_a, "channels"_a, "inner"_a, "dtype"_a, "x"_a, "mean"_a,
          "variance"_a, "threads"_a);
}
