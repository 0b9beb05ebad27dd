// What kernels.cu needs of CUDA, for one CPU thread, so that g++ compiles it and test_kernels.py runs it without a card.
//
// A block's threads are fibers, run one after another from barrier to barrier: a warp's lanes up to their shuffle or __syncwarp, the block's
// warps up to their __syncthreads. Threads run in rising or falling order, as the caller says; a kernel that lacks a barrier
// gives other bits in one of the two. A barrier or shuffle that not all threads reach ends the program, and so does a vector
// access off its alignment (-fsanitize=alignment). Shared memory is static: one block runs at a time.

#pragma once

#include <csetjmp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct __nv_bfloat16 {
    unsigned short bits;
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

namespace shim {

enum class State { ready, at_shuffle, at_barrier, done };

constexpr size_t STACK = 128 * 1024;
constexpr int LANES = 32;

struct Fiber {
    State state = State::done;
    dim3 thread;
    unsigned shuffles = 0;
    jmp_buf at;
    ucontext_t begin;
    bool begun = false;
    std::vector<char> stack;
};

inline std::vector<Fiber> fibers(1024);
inline Fiber* now;
inline jmp_buf scheduler;
inline ucontext_t scheduler_context;
inline std::function<void()> body;
inline dim3 block_index, block_size, grid_size;
// What each lane last gave to a shuffle; two sets take turns, since a lane may reach its next shuffle before others have read.
inline double offered[2][1024];

[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "shim: %s (block %u,%u)\n", what, block_index.x, block_index.y);
    std::_Exit(3);
}

inline void yield(State state) {
    Fiber* me = now;
    me->state = state;
    if (_setjmp(me->at) == 0) _longjmp(scheduler, 1);
}

inline void main_of_fiber() {
    for (;;) {
        body();
        yield(State::done);
    }
}

inline void resume(Fiber& fiber) {
    now = &fiber;
    if (_setjmp(scheduler) != 0) return;
    if (fiber.begun) _longjmp(fiber.at, 1);
    fiber.begun = true;
    fiber.stack.resize(STACK);
    getcontext(&fiber.begin);
    fiber.begin.uc_stack.ss_sp = fiber.stack.data();
    fiber.begin.uc_stack.ss_size = STACK;
    fiber.begin.uc_link = nullptr;
    makecontext(&fiber.begin, main_of_fiber, 0);
    setcontext(&fiber.begin);
}

// Runs a warp until every lane waits at the block's barrier or has returned.
inline void run_warp(int first, int lanes, bool falling) {
    for (;;) {
        int shuffling = 0, ready = 0;
        for (int i = 0; i < lanes; i++) {
            Fiber& fiber = fibers[first + (falling ? lanes - 1 - i : i)];
            if (fiber.state == State::ready) resume(fiber), ready++;
        }
        for (int i = 0; i < lanes; i++) shuffling += fibers[first + i].state == State::at_shuffle;
        if (shuffling == 0) return;
        if (shuffling != lanes) fail("some lanes of a warp do not take part in its shuffle");
        for (int i = 0; i < lanes; i++) fibers[first + i].state = State::ready;
    }
}

inline void run_block(int threads, bool falling) {
    for (int i = 0; i < threads; i++) {
        fibers[i].state = State::ready;
        fibers[i].thread = {unsigned(i), 0, 0};
        fibers[i].shuffles = 0;
    }
    for (;;) {
        const int warps = threads / LANES;
        for (int i = 0; i < warps; i++) run_warp((falling ? warps - 1 - i : i) * LANES, LANES, falling);
        int waiting = 0;
        for (int i = 0; i < threads; i++) waiting += fibers[i].state == State::at_barrier;
        if (waiting == 0) return;
        if (waiting != threads) fail("some threads of a block do not reach its barrier");
        for (int i = 0; i < threads; i++) fibers[i].state = State::ready;
    }
}

template <class... A, size_t... I>
void launch(void (*kernel)(A...), dim3 grid, int threads, bool falling, void** arguments, std::index_sequence<I...>) {
    if (threads % LANES != 0 || threads > 1024) fail("a block is of whole warps, 1024 threads at most");
    grid_size = grid;
    block_size = {unsigned(threads), 1, 1};
    body = [=] { kernel(*static_cast<A*>(arguments[I])...); };
    const unsigned blocks = grid.x * grid.y;
    for (unsigned i = 0; i < blocks; i++) {
        const unsigned block = falling ? blocks - 1 - i : i;
        block_index = {block % grid.x, block / grid.x, 0};
        run_block(threads, falling);
    }
}

template <class... A>
void launch(void (*kernel)(A...), dim3 grid, int threads, bool falling, void** arguments) {
    launch(kernel, grid, threads, falling, arguments, std::index_sequence_for<A...>());
}

}  // namespace shim

#define threadIdx (shim::now->thread)
#define blockIdx (shim::block_index)
#define blockDim (shim::block_size)
#define gridDim (shim::grid_size)

inline void __syncthreads() {
    shim::yield(shim::State::at_barrier);
}

inline void __syncwarp() {
    shim::yield(shim::State::at_shuffle);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int apart) {
    if (mask != ~0u) shim::fail("only whole warps shuffle");
    const int me = int(shim::now - shim::fibers.data());
    double* turn = shim::offered[shim::now->shuffles++ % 2];
    std::memcpy(&turn[me], &value, sizeof(T));
    shim::yield(shim::State::at_shuffle);
    std::memcpy(&value, &turn[me ^ apart], sizeof(T));
    return value;
}

inline unsigned __float_as_uint(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
    const unsigned bits = __float_as_uint(x);
    if (x != x) return {0x7fff};
    return {static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) {
    return x.bits;
}
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
    return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
inline float __expf(float x) {
    return std::exp(x);
}
inline float __fdividef(float x, float y) {
    return x / y;
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
    return {x, y, z, w};
}
inline uint2 make_uint2(unsigned x, unsigned y) {
    return {x, y};
}
inline uint4 __ldcs(const uint4* from) {
    return *from;
}
inline void __stcs(uint4* to, uint4 value) {
    *to = value;
}
