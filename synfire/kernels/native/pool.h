// Threads that wait for work, since a thread takes longer to start than many a layer to run.
#pragma once

#include <functional>

namespace synfire {

// Calls work(task, worker) for each task in 0..tasks-1, in at most ``threads`` threads of which
// the caller is worker 0. Which worker takes a task is not fixed: results may not depend on it.
// While another call has the threads, the caller does all tasks alone.
void share(int tasks, int threads, const std::function<void(int task, int worker)>& work);

}  // namespace synfire
