// Python face of the native kernels; each operator binds its own functions.
#include <nanobind/nanobind.h>

void bind_integrate_fire(nanobind::module_& m);
void bind_event(nanobind::module_& m);
void bind_packing(nanobind::module_& m);
void bind_program(nanobind::module_& m);

NB_MODULE(_native, m) {
    nanobind::set_leak_warnings(false);  // caches hold objects until the interpreter is gone
    bind_integrate_fire(m);
    bind_event(m);
    bind_packing(m);
    bind_program(m);
}
