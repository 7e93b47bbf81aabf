#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace synfire {
namespace {

using Work = std::function<void(int, int)>;

struct Job {
    const Work& work;
    const int tasks;
    std::atomic<int> next{0};

    void run(int worker) {
        for (int task; (task = next.fetch_add(1)) < tasks;) work(task, worker);
    }
};

class Pool {
public:
    void share(int tasks, int threads, const Work& work) {
        Job job{work, tasks};
        std::unique_lock<std::mutex> turn(turn_, std::defer_lock);
        if (threads < 2 || tasks < 2 || !turn.try_lock()) return job.run(0);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            grow(threads - 1);
            job_ = &job;
            seats_ = threads - 1;
            ++calls_;
        }
        wake_.notify_all();
        job.run(0);
        std::unique_lock<std::mutex> lock(mutex_);
        job_ = nullptr;  // who wakes only now finds nothing
        done_.wait(lock, [this] { return busy_ == 0; });
    }

private:
    void grow(int workers) {
        try {
            for (; started_ < workers; ++started_) std::thread([this] { serve(); }).detach();
        } catch (const std::system_error&) {  // the system grants no more: those there do it all
        }
    }

    void serve() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (unsigned long seen = 0;;) {
            wake_.wait(lock, [&] { return job_ && seats_ > 0 && calls_ != seen; });
            seen = calls_;
            Job& job = *job_;
            const int worker = seats_--;
            ++busy_;
            lock.unlock();
            job.run(worker);
            lock.lock();
            if (--busy_ == 0) done_.notify_one();
        }
    }

    std::mutex turn_, mutex_;
    std::condition_variable wake_, done_;
    Job* job_ = nullptr;
    int started_ = 0, seats_ = 0, busy_ = 0;
    unsigned long calls_ = 0;
};

std::atomic<Pool*> pool{nullptr};

// Never destroyed, so that no worker outlives what it waits on. A forked child has no workers and
// perhaps a locked mutex: it makes a pool of its own.
Pool& the_pool() {
    static std::once_flag once;
    std::call_once(once, [] {
#if defined(__unix__) || defined(__APPLE__)
        pthread_atfork(nullptr, nullptr, [] { pool = nullptr; });
#endif
    });
    Pool* current = pool;
    if (!current) {
        Pool* fresh = new Pool;
        if (pool.compare_exchange_strong(current, fresh)) return *fresh;
        delete fresh;
    }
    return *current;
}

}  // namespace

void share(int tasks, int threads, const Work& work) { the_pool().share(tasks, threads, work); }

}  // namespace synfire
