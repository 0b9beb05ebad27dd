// The CUDA kernels of the trainer, except attention over whole sequences (Triton) and matrix products (cuBLAS).
//
// Buffers enter as device pointers and leave changed in place or filled; `ENTRIES` at the end of the file lists every entry
// point that takes activations, once as float and once as bf16, and the entries below it take one type only. `compile.py`
// turns this file into `kernels.ptx`, which is what the crate embeds; `test_kernels.py` runs it on the CPU.
//
// Invariants:
// * Arithmetic is in float32 and a result is rounded once, when it is stored.
// * No float is added atomically. Every sum has one order, so a run repeats bit for bit.
// * Buffers begin on 16 bytes. A row whose width is a whole number of 16-byte packs takes the vector path; any other width,
//   and any pointer that lies elsewhere, takes the scalar path, which is the same code with packs of one element.
// * A thread that reads a column and the one that overwrites it are the same thread, so the aliasing the entries allow is safe.

#ifdef __CUDACC__
#include <cuda_bf16.h>
#endif

typedef __nv_bfloat16 Bf16;
typedef unsigned long long u64;

enum : int {
    THREADS = 256,
    CROSS_ENTROPY_THREADS = 1024,
    WARP = 32,
    // Widest row whose weight gradient a block of rms_norm_backward sums in shared memory (32 KiB).
    SHARED_COLUMNS = 8192,
    // Columns of a head that one lane of head_norm_backward or paged_attention owns: 32 lanes of 8 make the 256 that `dim` may have.
    LANE_COLUMNS = 8,
    // Query heads for which paged_attention reads keys and values once, and the sums of them that a warp leaves: 8 heads of 128
    // or 4 of 256.
    PAGED_HEADS = 8,
    PAGED_SLAB = 1024,
};

// Where a running maximum begins. It is finite, so that subtracting it from a logit of minus infinity is not NaN.
#define LOWEST -3.402823466e+38f
// The score of a key that is not seen: minus infinity.
#define HIDDEN __uint_as_float(0xff800000u)

// ---------------------------------------------------------------------------------------------------------------- packs

// `N` neighbouring elements in registers, as the raw words that were loaded.
template <class E, int N>
struct Pack {
    static constexpr int BYTES = N * sizeof(E);
    static constexpr int WORDS = (BYTES + 3) / 4;
    unsigned word[WORDS];

    __device__ void load(const E* from) {
        if constexpr (BYTES == 2) {
            word[0] = *reinterpret_cast<const unsigned short*>(from);
        } else if constexpr (BYTES == 4) {
            word[0] = *reinterpret_cast<const unsigned*>(from);
        } else if constexpr (BYTES == 8) {
            const uint2 two = *reinterpret_cast<const uint2*>(from);
            word[0] = two.x, word[1] = two.y;
        } else {
#pragma unroll
            for (int i = 0; i < WORDS; i += 4) {
                const uint4 four = reinterpret_cast<const uint4*>(from)[i / 4];
                word[i] = four.x, word[i + 1] = four.y, word[i + 2] = four.z, word[i + 3] = four.w;
            }
        }
    }

    // Loads data that no one reads again, so that it is the first to leave the cache.
    __device__ void load_once(const E* from) {
        if constexpr (BYTES == 16) {
            const uint4 four = __ldcs(reinterpret_cast<const uint4*>(from));
            word[0] = four.x, word[1] = four.y, word[2] = four.z, word[3] = four.w;
        } else {
            load(from);
        }
    }

    __device__ void store(E* to) const {
        if constexpr (BYTES == 2) {
            *reinterpret_cast<unsigned short*>(to) = static_cast<unsigned short>(word[0]);
        } else if constexpr (BYTES == 4) {
            *reinterpret_cast<unsigned*>(to) = word[0];
        } else if constexpr (BYTES == 8) {
            *reinterpret_cast<uint2*>(to) = make_uint2(word[0], word[1]);
        } else {
#pragma unroll
            for (int i = 0; i < WORDS; i += 4) {
                reinterpret_cast<uint4*>(to)[i / 4] = make_uint4(word[i], word[i + 1], word[i + 2], word[i + 3]);
            }
        }
    }

    __device__ void store_once(E* to) const {
        if constexpr (BYTES == 16) {
            __stcs(reinterpret_cast<uint4*>(to), make_uint4(word[0], word[1], word[2], word[3]));
        } else {
            store(to);
        }
    }

    __device__ void get(float (&value)[N]) const {
#pragma unroll
        for (int i = 0; i < N; i++) {
            if constexpr (sizeof(E) == 4) {
                value[i] = __uint_as_float(word[i]);
            } else {
                value[i] = __uint_as_float(i % 2 ? word[i / 2] & 0xffff0000u : word[i / 2] << 16);
            }
        }
    }

    // Rounds to nearest, ties to even.
    __device__ void set(const float (&value)[N]) {
        if constexpr (sizeof(E) == 4) {
#pragma unroll
            for (int i = 0; i < N; i++) word[i] = __float_as_uint(value[i]);
        } else if constexpr (N == 1) {
            word[0] = __bfloat16_as_ushort(__float2bfloat16_rn(value[0]));
        } else {
#pragma unroll
            for (int i = 0; i < N; i += 2) {
                const __nv_bfloat162 two = __floats2bfloat162_rn(value[i], value[i + 1]);
                word[i / 2] = *reinterpret_cast<const unsigned*>(&two);
            }
        }
    }
};

template <class E, int N>
__device__ void read(float (&value)[N], const E* from) {
    Pack<E, N> pack;
    pack.load(from);
    pack.get(value);
}

template <class E, int N>
__device__ void write(E* to, const float (&value)[N]) {
    Pack<E, N> pack;
    pack.set(value);
    pack.store(to);
}

// Elements of a 16-byte pack.
template <class E>
constexpr int FULL = 16 / sizeof(E);

// Whether rows of this width, in buffers that begin at these places, can be moved in 16-byte packs.
template <class E, class... P>
__device__ bool whole_packs(int width, P... pointers) {
    return width % FULL<E> == 0 && ((reinterpret_cast<u64>(pointers) | ...) & 15) == 0;
}

// ------------------------------------------------------------------------------------------------------------ reductions

// Sum over each aligned group of `lanes` lanes (a power of two); every lane of the group gets the same bits.
template <class T>
__device__ T lanes_sum(T value, int lanes = WARP) {
#pragma unroll
    for (int apart = WARP / 2; apart > 0; apart /= 2) {
        if (apart < lanes) value += __shfl_xor_sync(~0u, value, apart);
    }
    return value;
}

__device__ inline float lanes_max(float value) {
#pragma unroll
    for (int apart = WARP / 2; apart > 0; apart /= 2) value = fmaxf(value, __shfl_xor_sync(~0u, value, apart));
    return value;
}

// Sum over the block, the same bits in every thread. `warps` is shared, of 32 values; a caller that uses it again must put a
// barrier between, or alternate two of them.
template <class T>
__device__ T block_sum(T value, T* warps) {
    value = lanes_sum(value);
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = value;
    __syncthreads();
    T sum = 0;
#pragma unroll 8  // so that the reads do not wait for one another; the sum still goes in order
    for (int i = 0; i < int(blockDim.x) / WARP; i++) sum += warps[i];
    return sum;
}

__device__ inline float block_max(float value, float* warps) {
    value = lanes_max(value);
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = value;
    __syncthreads();
    float largest = LOWEST;
#pragma unroll 8
    for (int i = 0; i < int(blockDim.x) / WARP; i++) largest = fmaxf(largest, warps[i]);
    return largest;
}

// bf16 rounds at 2^-9, so the hardware's exponential, right to about 2^-21, is exact enough for it; float32 takes the library's.
template <class E>
__device__ float exponential(float x) {
    if constexpr (sizeof(E) == 2) {
        return __expf(x);
    } else {
        return expf(x);
    }
}

// A sum of exponentials as (largest exponent, sum relative to it), read in one pass.
template <class E>
struct Exponentials {
    float largest = LOWEST;
    float total = 0;

    template <int N>
    __device__ void add(const float (&value)[N]) {
        float most = value[0];
#pragma unroll
        for (int i = 1; i < N; i++) most = fmaxf(most, value[i]);
        if (most > largest) {
            total *= exponential<E>(largest - most);
            largest = most;
        }
#pragma unroll
        for (int i = 0; i < N; i++) total += exponential<E>(value[i] - largest);
    }

    // The sum of the whole block, in every thread. `warps` is shared, of 64 values.
    __device__ void join(float* warps) {
        const float most = block_max(largest, warps);
        total = block_sum(total * exponential<E>(largest - most), warps + WARP);
        largest = most;
    }
};

// The logistic function of a gate.
template <class E>
__device__ float sigmoid(float x) {
    if constexpr (sizeof(E) == 2) {
        return __fdividef(1.0f, 1.0f + __expf(-x));
    } else {
        return 1.0f / (1.0f + expf(-x));
    }
}

// ---------------------------------------------------------------------------------------------------------- index helpers

__device__ inline long long thread_index() {
    return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ inline long long thread_count() {
    return static_cast<long long>(gridDim.x) * blockDim.x;
}

// Grid-stride position in a table, kept as row and column so that no step divides.
struct Walk {
    long long row, down;
    int column, right, columns;

    __device__ explicit Walk(int columns_) : columns(columns_) {
        split(thread_index(), row, column);
        split(thread_count(), down, right);
    }

    __device__ void split(long long index, long long& whole, int& rest) const {
        if (index >> 32 == 0) {  // the usual case: a 64-bit division takes many times as long
            whole = static_cast<unsigned>(index) / static_cast<unsigned>(columns);
        } else {
            whole = index / columns;
        }
        rest = static_cast<int>(index - whole * columns);
    }

    __device__ void step() {
        row += down;
        column += right;
        if (column >= columns) {
            column -= columns;
            row++;
        }
    }
};

// How many lanes (a power of two) share a head of this many packs, and this thread's place among the block's heads. Shifts, not
// divisions: a row's loads wait for these numbers.
struct HeadLanes {
    int lanes = 1, shift = 0;

    __device__ explicit HeadLanes(int packs) {
#pragma unroll
        for (int i = 0; i < 5; i++) shift += (1 << i) < packs;
        lanes <<= shift;
    }
    __device__ int lane() const { return threadIdx.x & (lanes - 1); }
    __device__ int group() const { return threadIdx.x >> shift; }
    __device__ int groups() const { return THREADS >> shift; }
};

// ------------------------------------------------------------------------------------------------------------- row copies

// Copies row `from` of x to row `to` of y.
template <class E, int N>
__device__ void copy_row(E* y, const E* x, long long to, long long from, int width) {
#pragma unroll 1
    for (int c = threadIdx.x * N; c < width; c += THREADS * N) {
        Pack<E, N> pack;
        pack.load(x + from * width + c);
        pack.store(y + to * width + c);
    }
}

template <class E>
__device__ void gather_rows(E* y, const E* x, const int* index, int rows, int width) {
    const long long row = blockIdx.x;
    if (row >= rows) return;
    if (whole_packs<E>(width, y, x)) {
        copy_row<E, FULL<E>>(y, x, row, index[row], width);
    } else {
        copy_row<E, 1>(y, x, row, index[row], width);
    }
}

template <class E>
__device__ void scatter_rows(E* y, const E* x, const int* index, int rows, int width) {
    const long long row = blockIdx.x;
    if (row >= rows) return;
    if (whole_packs<E>(width, y, x)) {
        copy_row<E, FULL<E>>(y, x, index[row], row, width);
    } else {
        copy_row<E, 1>(y, x, index[row], row, width);
    }
}

// ---------------------------------------------------------------------------------------------------------------- RMSNorm

template <class E, int N>
__device__ void rms_norm_row(E* y, float* rstd, const E* x, const float* w, float eps, int width, float* warps) {
    constexpr int HELD = 3;  // packs a thread keeps in registers between the two passes; those behind are read again
    Pack<E, N> held[HELD];
    float squares = 0;
    auto square = [&](const Pack<E, N>& pack) {
        float v[N];
        pack.get(v);
#pragma unroll
        for (int i = 0; i < N; i++) squares += v[i] * v[i];
    };
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        const int c = (threadIdx.x + k * THREADS) * N;
        if (c < width) held[k].load(x + c);
    }
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        if (int((threadIdx.x + k * THREADS) * N) < width) square(held[k]);
    }
#pragma unroll 1
    for (int c = (threadIdx.x + HELD * THREADS) * N; c < width; c += THREADS * N) {
        Pack<E, N> pack;
        pack.load(x + c);
        square(pack);
    }

    const float scale = 1.0f / sqrtf(block_sum(squares, warps) / width + eps);
    if (threadIdx.x == 0) *rstd = scale;

    auto norm = [&](const Pack<E, N>& pack, int c) {
        float v[N], weight[N];
        pack.get(v);
        read(weight, w + c);
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = v[i] * scale * weight[i];
        write(y + c, v);
    };
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        const int c = (threadIdx.x + k * THREADS) * N;
        if (c < width) norm(held[k], c);
    }
#pragma unroll 1
    for (int c = (threadIdx.x + HELD * THREADS) * N; c < width; c += THREADS * N) {
        Pack<E, N> pack;
        pack.load(x + c);
        norm(pack, c);
    }
}

template <class E>
__device__ void rms_norm(E* y, float* rstd, const E* x, const float* w, float eps, int rows, int width) {
    __shared__ float warps[WARP];
    const long long row = blockIdx.x;
    if (row >= rows) return;
    const long long at = row * width;
    if (whole_packs<E>(width, y, x, w)) {
        rms_norm_row<E, FULL<E>>(y + at, rstd + row, x + at, w, eps, width, warps);
    } else {
        rms_norm_row<E, 1>(y + at, rstd + row, x + at, w, eps, width, warps);
    }
}

// `sums` holds the block's weight gradient; a thread adds to its own columns alone, so it needs no barrier.
template <class E, int N>
__device__ void rms_norm_backward_rows(E* dx, const E* residual, const E* dy, const E* x, const float* rstd, const float* w,
                                       int rows, int width, int parts, float* sums, float* warps) {
    constexpr int HELD = 2;
    const float zeros[N] = {};
#pragma unroll 1
    for (int c = threadIdx.x * N; c < width; c += THREADS * N) write(sums + c, zeros);

    int turn = 0;  // two sets of warp sums take turns, so that one barrier a row is enough
    for (long long row = blockIdx.x; row < rows; row += parts) {
        const long long at = row * width;
        Pack<E, N> held_x[HELD], held_dy[HELD], held_residual[HELD];
        float dot = 0;
        auto multiply = [&](const Pack<E, N>& of_dy, const Pack<E, N>& of_x, int c) {
            float g[N], v[N], weight[N];
            of_dy.get(g);
            of_x.get(v);
            read(weight, w + c);
#pragma unroll
            for (int i = 0; i < N; i++) dot += g[i] * weight[i] * v[i];
        };
#pragma unroll
        for (int k = 0; k < HELD; k++) {
            const int c = (threadIdx.x + k * THREADS) * N;
            if (c < width) {
                held_x[k].load(x + at + c);
                held_dy[k].load(dy + at + c);
                if (residual) held_residual[k].load(residual + at + c);
            }
        }
#pragma unroll
        for (int k = 0; k < HELD; k++) {
            const int c = (threadIdx.x + k * THREADS) * N;
            if (c < width) multiply(held_dy[k], held_x[k], c);
        }
#pragma unroll 1
        for (int c = (threadIdx.x + HELD * THREADS) * N; c < width; c += THREADS * N) {
            Pack<E, N> of_dy, of_x;
            of_dy.load(dy + at + c);
            of_x.load(x + at + c);
            multiply(of_dy, of_x, c);
        }

        const float scale = rstd[row];
        const float shrink = block_sum(dot, warps + turn * WARP) / width * scale * scale;
        turn = 1 - turn;

        auto finish = [&](const Pack<E, N>& of_dy, const Pack<E, N>& of_x, const Pack<E, N>& of_residual, int c) {
            float g[N], v[N], weight[N], sum[N], out[N];
            of_dy.get(g);
            of_x.get(v);
            read(weight, w + c);
            read(sum, sums + c);
            if (residual) {
                of_residual.get(out);
            } else {
#pragma unroll
                for (int i = 0; i < N; i++) out[i] = 0;
            }
#pragma unroll
            for (int i = 0; i < N; i++) {
                out[i] += scale * (weight[i] * g[i] - v[i] * shrink);
                sum[i] += g[i] * v[i] * scale;
            }
            write(dx + at + c, out);
            write(sums + c, sum);
        };
#pragma unroll
        for (int k = 0; k < HELD; k++) {
            const int c = (threadIdx.x + k * THREADS) * N;
            if (c < width) finish(held_dy[k], held_x[k], held_residual[k], c);
        }
#pragma unroll 1
        for (int c = (threadIdx.x + HELD * THREADS) * N; c < width; c += THREADS * N) {
            Pack<E, N> of_dy, of_x, of_residual;
            of_dy.load(dy + at + c);
            of_x.load(x + at + c);
            if (residual) of_residual.load(residual + at + c);
            finish(of_dy, of_x, of_residual, c);
        }
    }
}

template <class E>
__device__ void rms_norm_backward(E* dx, float* partial, const E* residual, const E* dy, const E* x, const float* rstd,
                                  const float* w, int rows, int width, int parts) {
    __shared__ __align__(16) float shared[SHARED_COLUMNS];
    __shared__ float warps[2 * WARP];
    if (int(blockIdx.x) >= parts) return;
    float* out = partial + static_cast<long long>(blockIdx.x) * width;
    float* sums = width <= SHARED_COLUMNS ? shared : out;
    constexpr int N = FULL<E>;
    if (whole_packs<E>(width, dx, partial, residual, dy, x, w)) {
        rms_norm_backward_rows<E, N>(dx, residual, dy, x, rstd, w, rows, width, parts, sums, warps);
    } else {
        rms_norm_backward_rows<E, 1>(dx, residual, dy, x, rstd, w, rows, width, parts, sums, warps);
    }
    if (sums == out) return;
    __syncthreads();
#pragma unroll 1
    for (int c = threadIdx.x; c < width; c += THREADS) out[c] = sums[c];
}

// ------------------------------------------------------------------------------------------------------------ column sums

// A block sums 256 columns of rows p, p + parts, ...: each warp takes every eighth of these rows and each lane 8 columns, which
// it reads in one go where the row allows; then the eight warps' sums are added in order.
template <class E>
__device__ void column_sum(float* partial, const E* x, int rows, int width, int parts) {
    constexpr int COLUMNS = THREADS / WARP;
    __shared__ float of_warp[THREADS / WARP][THREADS];
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int base = blockIdx.x * THREADS;
    const long long step = static_cast<long long>(parts) * (THREADS / WARP);
    const long long start = blockIdx.y + static_cast<long long>(parts) * warp;
    float sum[COLUMNS] = {};
    if (width % COLUMNS == 0 && whole_packs<E>(width, x)) {
        const int c = base + lane * COLUMNS;
        if (c < width) {
#pragma unroll 4
            for (long long row = start; row < rows; row += step) {
                float v[COLUMNS];
                read(v, x + row * width + c);
#pragma unroll
                for (int i = 0; i < COLUMNS; i++) sum[i] += v[i];
            }
        }
#pragma unroll
        for (int i = 0; i < COLUMNS; i++) of_warp[warp][lane * COLUMNS + i] = sum[i];
    } else {
#pragma unroll 1
        for (long long row = start; row < rows; row += step) {
#pragma unroll
            for (int i = 0; i < COLUMNS; i++) {
                const int c = base + lane + i * WARP;
                float v[1] = {0};
                if (c < width) read(v, x + row * width + c);
                sum[i] += v[0];
            }
        }
#pragma unroll
        for (int i = 0; i < COLUMNS; i++) of_warp[warp][lane + i * WARP] = sum[i];
    }
    __syncthreads();
    const int c = base + threadIdx.x;
    if (c >= width) return;
    float total = 0;
    for (int i = 0; i < THREADS / WARP; i++) total += of_warp[i][threadIdx.x];
    partial[static_cast<long long>(blockIdx.y) * width + c] = total;
}

// ------------------------------------------------------------------------------------------------- rotary position embedding

template <class E, int N>
__device__ void rope_row(E* x, const float* bias, const float* cosine, const float* sine, int width, int heads, int dim, float sign) {
    const int half = dim / 2, packs = half / N;
#pragma unroll 1
    for (int i = threadIdx.x; i < heads * packs; i += THREADS) {
        const int head = i / packs, j = (i - head * packs) * N;
        const int c = head * dim + j;
        float a[N], b[N], cos[N], sin[N];
        read(a, x + c);
        read(b, x + c + half);
        read(cos, cosine + j);
        read(sin, sine + j);
        if (bias) {
            float of_a[N], of_b[N];
            read(of_a, bias + c);
            read(of_b, bias + c + half);
#pragma unroll
            for (int k = 0; k < N; k++) a[k] += of_a[k], b[k] += of_b[k];
        }
#pragma unroll
        for (int k = 0; k < N; k++) {
            const float s = sign * sin[k], first = a[k];
            a[k] = first * cos[k] - b[k] * s;
            b[k] = b[k] * cos[k] + first * s;
        }
        write(x + c, a);
        write(x + c + half, b);
    }
    if (!bias) return;
#pragma unroll 1
    for (int c = heads * dim + threadIdx.x * N; c < width; c += THREADS * N) {
        float v[N], add[N];
        read(v, x + c);
        read(add, bias + c);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] += add[k];
        write(x + c, v);
    }
}

template <class E>
__device__ void rope(E* x, const float* bias, const int* positions, const float* cos, const float* sin, int rows, int width,
                     int heads, int dim, float sign) {
    const long long row = blockIdx.x;
    if (row >= rows) return;
    const long long at = static_cast<long long>(positions[row]) * (dim / 2);
    E* of_row = x + row * width;
    if (dim % (2 * FULL<E>) == 0 && whole_packs<E>(width, x, bias, cos, sin)) {
        // Packs of four for bf16 too: they keep most of the block busy, and its registers few, so that more rows are under way.
        rope_row<E, FULL<float>>(of_row, bias, cos + at, sin + at, width, heads, dim, sign);
    } else {
        rope_row<E, 1>(of_row, bias, cos + at, sin + at, width, heads, dim, sign);
    }
}

// ----------------------------------------------------------------------------------------------- RMSNorm of query and key heads

template <class E, int N>
__device__ void head_norm_row(E* y, float* rstd, const E* x, const float* qw, const float* kw, float eps, int q_heads,
                              int kv_heads, int dim) {
    constexpr int TURNS = 2;  // heads a lane loads before it sums the first of them
    const int packs = dim / N;
    const HeadLanes of(packs);
    const int lanes = of.lanes, lane = of.lane(), group = of.group(), groups = of.groups();
    const int normed = q_heads + kv_heads, heads = normed + kv_heads;
#pragma unroll 1
    for (int base = 0; base < heads; base += TURNS * groups) {  // the same for every lane, since all take part in the sums
        Pack<E, N> held[TURNS];  // a lane's first pack of a head; those behind, of long heads, are read again
#pragma unroll
        for (int t = 0; t < TURNS; t++) {
            const int head = base + t * groups + group;
            if (head < heads && lane < packs) held[t].load(x + static_cast<long long>(head) * dim + lane * N);
        }
#pragma unroll
        for (int t = 0; t < TURNS; t++) {
            const int head = base + t * groups + group;
            const E* from = x + static_cast<long long>(head) * dim;
            float squares = 0;
            auto square = [&](const Pack<E, N>& pack) {
                float v[N];
                pack.get(v);
#pragma unroll
                for (int i = 0; i < N; i++) squares += v[i] * v[i];
            };
            if (head < normed && lane < packs) {
                square(held[t]);
#pragma unroll 1
                for (int p = lane + lanes; p < packs; p += lanes) {
                    Pack<E, N> pack;
                    pack.load(from + p * N);
                    square(pack);
                }
            }
            const float scale = 1.0f / sqrtf(lanes_sum(squares, lanes) / dim + eps);
            if (head >= heads) continue;
            E* to = y + static_cast<long long>(head) * dim;
            const float* w = head < q_heads ? qw : kw;
            auto norm = [&](Pack<E, N> pack, int p) {
                if (head < normed) {
                    float v[N], weight[N];
                    pack.get(v);
                    read(weight, w + p * N);
#pragma unroll
                    for (int i = 0; i < N; i++) v[i] = v[i] * scale * weight[i];
                    pack.set(v);
                }
                pack.store(to + p * N);
            };
            if (lane < packs) norm(held[t], lane);
#pragma unroll 1
            for (int p = lane + lanes; p < packs; p += lanes) {
                Pack<E, N> pack;
                pack.load(from + p * N);
                norm(pack, p);
            }
            if (lane == 0 && head < normed) rstd[head] = scale;
        }
    }
}

template <class E>
__device__ void head_norm(E* y, float* rstd, const E* x, const float* qw, const float* kw, float eps, int rows, int width,
                          int q_heads, int kv_heads, int dim) {
    const long long row = blockIdx.x;
    if (row >= rows) return;
    E* to = y + row * width;
    const E* from = x + row * width;
    float* scales = rstd + row * (q_heads + kv_heads);
    if (dim % FULL<E> == 0 && whole_packs<E>(width, y, x, qw, kw)) {
        head_norm_row<E, FULL<E>>(to, scales, from, qw, kw, eps, q_heads, kv_heads, dim);
    } else {
        head_norm_row<E, 1>(to, scales, from, qw, kw, eps, q_heads, kv_heads, dim);
    }
}

// `stage` is shared, of THREADS * LANE_COLUMNS values.
template <class E, int N>
__device__ void head_norm_backward_rows(E* d, float* partial, const E* x, const float* rstd, const float* qw, const float* kw, int rows,
                                        int width, int q_heads, int kv_heads, int dim, int parts, float* stage) {
    constexpr int PACKS = LANE_COLUMNS / N;
    const HeadLanes of((dim + LANE_COLUMNS - 1) / LANE_COLUMNS);
    const int lanes = of.lanes, mine = of.lane() * LANE_COLUMNS, group = of.group(), groups = of.groups();
    const int normed = q_heads + kv_heads;
    float of_q[LANE_COLUMNS] = {}, of_k[LANE_COLUMNS] = {};
    for (long long row = blockIdx.x; row < rows; row += parts) {
#pragma unroll 1
        for (int base = 0; base < normed; base += groups) {
            const int head = base + group;
            const bool live = head < normed, query = head < q_heads;
            const float* w = query ? qw : kw;
            const long long at = row * width + static_cast<long long>(head) * dim;
            Pack<E, N> of_d[PACKS], of_x[PACKS];
            float dot = 0;
#pragma unroll
            for (int k = 0; k < PACKS; k++) {
                const int c = mine + k * N;
                if (live && c < dim) {
                    of_d[k].load(d + at + c);
                    of_x[k].load(x + at + c);
                    float g[N], v[N], weight[N];
                    of_d[k].get(g);
                    of_x[k].get(v);
                    read(weight, w + c);
#pragma unroll
                    for (int i = 0; i < N; i++) dot += g[i] * weight[i] * v[i];
                }
            }
            dot = lanes_sum(dot, lanes);
            if (!live) continue;
            const float scale = rstd[row * normed + head];
            const float shrink = dot / dim * scale * scale;
#pragma unroll
            for (int k = 0; k < PACKS; k++) {
                const int c = mine + k * N;
                if (c < dim) {
                    float g[N], v[N], weight[N], out[N];
                    of_d[k].get(g);
                    of_x[k].get(v);
                    read(weight, w + c);
#pragma unroll
                    for (int i = 0; i < N; i++) {
                        const float change = g[i] * v[i] * scale;
                        if (query) {
                            of_q[k * N + i] += change;
                        } else {
                            of_k[k * N + i] += change;
                        }
                        out[i] = scale * (weight[i] * g[i] - v[i] * shrink);
                    }
                    write(d + at + c, out);
                }
            }
        }
    }

    // The groups' sums are added in order, first those of the query weight, then those of the key weight.
#pragma unroll 1
    for (int which = 0; which < 2; which++) {
        __syncthreads();
#pragma unroll
        for (int k = 0; k < PACKS; k++) {
#pragma unroll
            for (int i = 0; i < N; i++) {
                const int c = mine + k * N + i;
                if (c < dim) stage[group * dim + c] = which == 0 ? of_q[k * N + i] : of_k[k * N + i];
            }
        }
        __syncthreads();
#pragma unroll 1
        for (int c = threadIdx.x; c < dim; c += THREADS) {
            float sum = 0;
#pragma unroll 1
            for (int i = 0; i < groups; i++) sum += stage[i * dim + c];
            partial[(static_cast<long long>(blockIdx.x) * 2 + which) * dim + c] = sum;
        }
    }
}

template <class E>
__device__ void head_norm_backward(E* d, float* partial, const E* x, const float* rstd, const float* qw, const float* kw, int rows,
                                   int width, int q_heads, int kv_heads, int dim, int parts) {
    __shared__ float stage[THREADS * LANE_COLUMNS];
    if (int(blockIdx.x) >= parts) return;
    constexpr int N = FULL<E>;
    if (dim % N == 0 && whole_packs<E>(width, d, x, qw, kw)) {
        head_norm_backward_rows<E, N>(d, partial, x, rstd, qw, kw, rows, width, q_heads, kv_heads, dim, parts, stage);
    } else {
        head_norm_backward_rows<E, 1>(d, partial, x, rstd, qw, kw, rows, width, q_heads, kv_heads, dim, parts, stage);
    }
}

// ----------------------------------------------------------------------------------------------------------------- SwiGLU

template <class E, int N>
__device__ void swiglu_walk(E* act, const E* gu, int rows, int inner) {
#pragma unroll 1
    for (Walk walk(inner / N); walk.row < rows; walk.step()) {
        const int c = walk.column * N;
        const E* gate = gu + walk.row * 2 * inner + c;
        float g[N], u[N];
        read(g, gate);
        read(u, gate + inner);
#pragma unroll
        for (int i = 0; i < N; i++) g[i] = g[i] * sigmoid<E>(g[i]) * u[i];
        write(act + walk.row * inner + c, g);
    }
}

template <class E>
__device__ void swiglu(E* act, const E* gu, int rows, int inner) {
    if (whole_packs<E>(inner, act, gu)) {
        swiglu_walk<E, FULL<E>>(act, gu, rows, inner);
    } else {
        swiglu_walk<E, 1>(act, gu, rows, inner);
    }
}

template <class E, int N>
__device__ void swiglu_backward_walk(E* dgu, const E* gu, const E* dact, int rows, int inner) {
#pragma unroll 1
    for (Walk walk(inner / N); walk.row < rows; walk.step()) {
        const int c = walk.column * N;
        const long long gate = walk.row * 2 * inner + c;
        float g[N], u[N], d[N];
        read(g, gu + gate);
        read(u, gu + gate + inner);
        read(d, dact + walk.row * inner + c);
#pragma unroll
        for (int i = 0; i < N; i++) {
            const float s = sigmoid<E>(g[i]), silu = g[i] * s;
            g[i] = d[i] * u[i] * (s + silu * (1.0f - s));
            u[i] = d[i] * silu;
        }
        write(dgu + gate, g);
        write(dgu + gate + inner, u);
    }
}

template <class E>
__device__ void swiglu_backward(E* dgu, const E* gu, const E* dact, int rows, int inner) {
    if (whole_packs<E>(inner, dgu, gu, dact)) {
        swiglu_backward_walk<E, FULL<E>>(dgu, gu, dact, rows, inner);
    } else {
        swiglu_backward_walk<E, 1>(dgu, gu, dact, rows, inner);
    }
}

template <class E, int N>
__device__ void add_bias_walk(E* x, const float* bias, int rows, int width) {
#pragma unroll 1
    for (Walk walk(width / N); walk.row < rows; walk.step()) {
        const int c = walk.column * N;
        float v[N], b[N];
        read(v, x + walk.row * width + c);
        read(b, bias + c);
#pragma unroll
        for (int i = 0; i < N; i++) v[i] += b[i];
        write(x + walk.row * width + c, v);
    }
}

template <class E>
__device__ void add_bias(E* x, const float* bias, int rows, int width) {
    if (whole_packs<E>(width, x, bias)) {
        add_bias_walk<E, FULL<E>>(x, bias, rows, width);
    } else {
        add_bias_walk<E, 1>(x, bias, rows, width);
    }
}

// -------------------------------------------------------------------------------------------------------- around attention

template <class E, int N>
__device__ void attention_delta_row(float* delta, const E* o, const E* d, long long row, int rows, int heads, int dim) {
    const int packs = dim / N;
    const HeadLanes of(packs);
    const int lanes = of.lanes, lane = of.lane(), group = of.group(), groups = of.groups();
#pragma unroll 1
    for (int base = 0; base < heads; base += groups) {
        const int head = base + group;
        const long long at = (row * heads + head) * dim;
        float dot = 0;
        if (head < heads) {
#pragma unroll 1
            for (int p = lane; p < packs; p += lanes) {
                float a[N], b[N];
                read(a, o + at + p * N);
                read(b, d + at + p * N);
#pragma unroll
                for (int i = 0; i < N; i++) dot += a[i] * b[i];
            }
        }
        dot = lanes_sum(dot, lanes);
        if (lane == 0 && head < heads) delta[static_cast<long long>(head) * rows + row] = dot;
    }
}

template <class E>
__device__ void attention_delta(float* delta, const E* o, const E* d, int rows, int heads, int dim) {
    const long long row = blockIdx.x;
    if (row >= rows) return;
    if (whole_packs<E>(dim, o, d)) {
        attention_delta_row<E, FULL<E>>(delta, o, d, row, rows, heads, dim);
    } else {
        attention_delta_row<E, 1>(delta, o, d, row, rows, heads, dim);
    }
}

template <class E, int N>
__device__ void group_sum_row(E* dqkv, const float* dk, const float* dv, int q_heads, int kv_heads, int dim) {
    constexpr int BATCH = 4;  // heads in flight
    const int packs = dim / N, shared_by = q_heads / kv_heads;
#pragma unroll 1
    for (int i = threadIdx.x; i < 2 * kv_heads * packs; i += THREADS) {
        const int head = i / packs, c = (i - head * packs) * N;  // key heads, then value heads
        const bool key = head < kv_heads;
        const float* from = (key ? dk : dv) + static_cast<long long>(key ? head : head - kv_heads) * shared_by * dim + c;
        float sum[N] = {};
        for (int base = 0; base < shared_by; base += BATCH) {
            Pack<float, N> batch[BATCH];
#pragma unroll
            for (int k = 0; k < BATCH; k++) {
                if (base + k < shared_by) batch[k].load(from + static_cast<long long>(base + k) * dim);
            }
#pragma unroll
            for (int k = 0; k < BATCH; k++) {
                if (base + k < shared_by) {
                    float v[N];
                    batch[k].get(v);
#pragma unroll
                    for (int j = 0; j < N; j++) sum[j] += v[j];
                }
            }
        }
        write(dqkv + static_cast<long long>(q_heads + head) * dim + c, sum);
    }
}

template <class E>
__device__ void group_sum(E* dqkv, const float* dk, const float* dv, int rows, int width, int q_heads, int kv_heads, int dim) {
    const long long row = blockIdx.x;
    if (row >= rows) return;
    const long long from = row * q_heads * dim;
    if (dim % FULL<E> == 0 && whole_packs<E>(width, dqkv, dk, dv)) {
        // What is read is float32, so packs are of four: they keep twice the threads busy that packs of eight would.
        group_sum_row<E, FULL<float>>(dqkv + row * width, dk + from, dv + from, q_heads, kv_heads, dim);
    } else {
        group_sum_row<E, 1>(dqkv + row * width, dk + from, dv + from, q_heads, kv_heads, dim);
    }
}

// The keys that one query sees: those from `from` to before `to`.
struct Seen {
    int from, to;

    __device__ Seen(int position, int n, int window) {
        const long long oldest = window == 0 ? 0 : static_cast<long long>(position) - window + 1;
        from = oldest > 0 ? static_cast<int>(oldest) : 0;
        to = position < n ? position + 1 : n;
    }

    __device__ bool has(int j) const { return j >= from && j < to; }
};

template <class E, int N>
__device__ void softmax_row(E* p, float* lse, const float* s, int n, Seen seen, float scale, float* warps) {
    Exponentials<E> sum;
#pragma unroll 1
    for (int j = (seen.from / N + threadIdx.x) * N; j < seen.to; j += THREADS * N) {
        float v[N];
        read(v, s + j);
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = seen.has(j + i) ? v[i] * scale : HIDDEN;
        sum.add(v);
    }
    sum.join(warps);
    if (threadIdx.x == 0) *lse = sum.largest + logf(sum.total);
    const float share = 1.0f / sum.total;
#pragma unroll 1
    for (int j = threadIdx.x * N; j < n; j += THREADS * N) {
        float v[N] = {};
        if (j + N > seen.from && j < seen.to) {
            read(v, s + j);
#pragma unroll
            for (int i = 0; i < N; i++) v[i] = seen.has(j + i) ? exponential<E>(v[i] * scale - sum.largest) * share : 0.0f;
        }
        write(p + j, v);
    }
}

template <class E>
__device__ void softmax(E* p, float* lse, const float* s, int q, int n, int first, int window, float scale, int stride) {
    __shared__ float warps[2 * WARP];
    const int i = blockIdx.x;
    if (i >= q) return;
    const long long head = blockIdx.y, at = (head * q + i) * n;
    const Seen seen(first + i, n, window);
    float* out = lse + head * stride + i;
    if (whole_packs<E>(n, p, s)) {
        softmax_row<E, FULL<E>>(p + at, out, s + at, n, seen, scale, warps);
    } else {
        softmax_row<E, 1>(p + at, out, s + at, n, seen, scale, warps);
    }
}

template <class E, int N>
__device__ void softmax_backward_row(E* ds, E* p, const float* s, const float* dp, float lse, float delta, int n, Seen seen, float scale) {
#pragma unroll 1
    for (int j = threadIdx.x * N; j < n; j += THREADS * N) {
        float weight[N] = {}, d[N] = {};
        if (j + N > seen.from && j < seen.to) {
            read(weight, s + j);
            read(d, dp + j);
#pragma unroll
            for (int i = 0; i < N; i++) {
                weight[i] = seen.has(j + i) ? exponential<E>(weight[i] * scale - lse) : 0.0f;
                d[i] = seen.has(j + i) ? weight[i] * (d[i] - delta) * scale : 0.0f;
            }
        }
        write(p + j, weight);
        write(ds + j, d);
    }
}

template <class E>
__device__ void softmax_backward(E* ds, E* p, const float* s, const float* dp, const float* lse, const float* delta, int q, int n,
                                 int first, int window, float scale, int stride) {
    const int i = blockIdx.x;
    if (i >= q) return;
    const long long head = blockIdx.y, at = (head * q + i) * n, of_row = head * stride + i;
    const Seen seen(first + i, n, window);
    if (whole_packs<E>(n, ds, p, s, dp)) {
        softmax_backward_row<E, FULL<E>>(ds + at, p + at, s + at, dp + at, lse[of_row], delta[of_row], n, seen, scale);
    } else {
        softmax_backward_row<E, 1>(ds + at, p + at, s + at, dp + at, lse[of_row], delta[of_row], n, seen, scale);
    }
}

// -------------------------------------------------------------------------------------------------- decoding over a paged cache

template <class E, int N>
__device__ void cache_write_row(E* keys, E* values, const E* from, int columns) {
#pragma unroll 1
    for (int c = threadIdx.x * N; c < columns; c += THREADS * N) {
        Pack<E, N> key, value;
        key.load(from + c);
        value.load(from + columns + c);
        key.store(keys + c);
        value.store(values + c);
    }
}

template <class E>
__device__ void cache_write(E* keys, E* values, const E* qkv, const int* places, int rows, int width, int q_heads, int kv_heads, int dim) {
    const long long row = blockIdx.x;
    if (row >= rows) return;
    const int columns = kv_heads * dim;
    const long long to = static_cast<long long>(places[row]) * columns;
    const E* from = qkv + row * width + q_heads * dim;
    if (dim % FULL<E> == 0 && whole_packs<E>(width, keys, values, qkv)) {
        cache_write_row<E, FULL<E>>(keys + to, values + to, from, columns);
    } else {
        cache_write_row<E, 1>(keys + to, values + to, from, columns);
    }
}

// What the block of paged_attention shares. A warp's slab holds the weights of its keys, and at the end its sums of values.
struct PagedShared {
    float query[PAGED_SLAB];
    float slab[THREADS / WARP][PAGED_SLAB];
    float shrink[THREADS / WARP][PAGED_HEADS];
    float largest[THREADS / WARP][PAGED_HEADS];
    float total[THREADS / WARP][PAGED_HEADS];
    int places[THREADS / WARP][WARP];
};

// Attention of `heads` (at most H) query heads of one row that share a key head. Each warp takes an eighth of the positions in
// steps of 32, with an online softmax of its own, and the eight results are joined at the end, in order. A lane multiplies
// LANE_COLUMNS columns of the queries and V of the values; a warp takes several keys at once if `dim` leaves lanes over.
template <class E, int N, int H, int V>
__device__ void paged_attention_heads(E* out, const E* q, const E* keys, const E* values, const int* table, Seen seen, int heads,
                                      long long step, int dim, int block, float scale, PagedShared& shared) {
    static_assert(H <= PAGED_HEADS && H * V * WARP <= PAGED_SLAB, "a slab holds the sums of H heads");
    constexpr int WARPS = THREADS / WARP, BATCH = 4;  // keys or values in flight a lane
    constexpr int STRIDE = WARP + 4;  // from a head's weights to the next one's: no two lanes of the softmax meet in a bank
    constexpr int KEY_PACKS = LANE_COLUMNS / N, P = N < V ? N : V, VALUE_PACKS = V / P;
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    float* slab = shared.slab[warp];
    int* places = shared.places[warp];

    // A lane whose columns lie beyond `dim` takes column 0 instead: its queries are 0, and its sums are not stored.
    int key_lanes = HeadLanes((dim + LANE_COLUMNS - 1) / LANE_COLUMNS).lanes, value_lanes = HeadLanes((dim + V - 1) / V).lanes;
    if (key_lanes < BATCH) key_lanes = BATCH;
    if (value_lanes < BATCH) value_lanes = BATCH;
    const int keys_at_once = WARP / key_lanes, values_at_once = WARP / value_lanes;
    const int key_column = lane % key_lanes * LANE_COLUMNS, value_column = lane % value_lanes * V;

    // The first four columns of every lane lie together, and then the second four, so that reads of 16 bytes do not conflict.
    const int columns = key_lanes * LANE_COLUMNS;
#pragma unroll 1
    for (int i = threadIdx.x; i < heads * columns; i += THREADS) {
        const int h = i / columns, c = i - h * columns;
        float v[1] = {0};
        if (c < dim) read(v, q + h * dim + c);
        shared.query[h * columns + (c / 4 % 2 * key_lanes + c / LANE_COLUMNS) * 4 + c % 4] = v[0] * scale;
    }
    __syncthreads();

    const int share = (seen.to - seen.from + WARPS - 1) / WARPS;
    const int start = seen.from + warp * share, end = start + share < seen.to ? start + share : seen.to;
    float largest = LOWEST, total = 0;  // of head lane % PAGED_HEADS; the total is of this lane's keys alone
    float sum[H][V] = {};
#pragma unroll 1
    for (int base = start; base < end; base += WARP) {
        const int count = end - base < WARP ? end - base : WARP;
        // Lanes beyond the last key take that key again, with a weight of 0.
        const int j = base + (lane < count ? lane : count - 1), page = j / block;
        __syncwarp();
        places[lane] = table[page] * block + (j - page * block);
        __syncwarp();

#pragma unroll 1
        for (int first = 0; first < count; first += BATCH * keys_at_once) {
            const int mine = first + lane / key_lanes;
            Pack<E, N> batch[BATCH][KEY_PACKS];
#pragma unroll
            for (int b = 0; b < BATCH; b++) {
                const E* from = keys + places[mine + b * keys_at_once] * step;
#pragma unroll
                for (int k = 0; k < KEY_PACKS; k++) batch[b][k].load(from + (key_column + k * N < dim ? key_column + k * N : 0));
            }
            float key[BATCH][LANE_COLUMNS];
#pragma unroll
            for (int b = 0; b < BATCH; b++) {
#pragma unroll
                for (int k = 0; k < KEY_PACKS; k++) {
                    float v[N];
                    batch[b][k].get(v);
#pragma unroll
                    for (int i = 0; i < N; i++) key[b][k * N + i] = v[i];
                }
            }
            // After the first two shuffles, which halve the keys a lane adds up, a lane has the score of this key of the batch.
            const int scored = (lane & 1 ? 2 : 0) + (lane & 2 ? 1 : 0);
            float* to_slab = slab + mine + scored * keys_at_once;
#pragma unroll 1
            for (int h = 0; h < heads; h++) {
                float score[BATCH] = {};
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    float of_query[4];
                    read(of_query, shared.query + h * columns + (half * key_lanes + lane % key_lanes) * 4);
#pragma unroll
                    for (int i = 0; i < 4; i++) {
#pragma unroll
                        for (int b = 0; b < BATCH; b++) score[b] += of_query[i] * key[b][half * 4 + i];
                    }
                }
                float kept[2];
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    kept[i] = lane & 1 ? score[i + 2] : score[i];
                    kept[i] += __shfl_xor_sync(~0u, lane & 1 ? score[i] : score[i + 2], 1);
                }
                float one = lane & 2 ? kept[1] : kept[0];
                one += __shfl_xor_sync(~0u, lane & 2 ? kept[0] : kept[1], 2);
#pragma unroll 1
                for (int apart = BATCH; apart < key_lanes; apart *= 2) one += __shfl_xor_sync(~0u, one, apart);
                if (lane % key_lanes < BATCH) to_slab[h * STRIDE] = one;
            }
        }
        __syncwarp();

        // Here a lane has every fourth key of one head.
        constexpr int APART = WARP / PAGED_HEADS;
        float* weights = slab + lane % PAGED_HEADS * STRIDE + lane / PAGED_HEADS;
        float most = largest, weight[PAGED_HEADS];
#pragma unroll
        for (int i = 0; i < PAGED_HEADS; i++) {
            weight[i] = lane / PAGED_HEADS + i * APART < count ? weights[i * APART] : HIDDEN;
            most = fmaxf(most, weight[i]);
        }
#pragma unroll
        for (int apart = PAGED_HEADS; apart < WARP; apart *= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, apart));
        const float shrink = exponential<E>(largest - most);
        largest = most;
        total *= shrink;
#pragma unroll
        for (int i = 0; i < PAGED_HEADS; i++) {
            weight[i] = exponential<E>(weight[i] - most);
            total += weight[i];
            weights[i * APART] = weight[i];
        }
        if (lane < PAGED_HEADS) shared.shrink[warp][lane] = shrink;
        __syncwarp();

#pragma unroll
        for (int h = 0; h < H; h++) {
            const float by = shared.shrink[warp][h];
#pragma unroll
            for (int i = 0; i < V; i++) sum[h][i] *= by;
        }
#pragma unroll 1
        for (int first = 0; first < count; first += BATCH * values_at_once) {
            const int mine = first + lane / value_lanes * BATCH;
            Pack<E, P> batch[BATCH][VALUE_PACKS];
#pragma unroll
            for (int b = 0; b < BATCH; b++) {
                const E* from = values + places[mine + b] * step;
#pragma unroll
                for (int k = 0; k < VALUE_PACKS; k++) batch[b][k].load(from + (value_column + k * P < dim ? value_column + k * P : 0));
            }
            float value[BATCH][V];
#pragma unroll
            for (int b = 0; b < BATCH; b++) {
#pragma unroll
                for (int k = 0; k < VALUE_PACKS; k++) {
                    float v[P];
                    batch[b][k].get(v);
#pragma unroll
                    for (int i = 0; i < P; i++) value[b][k * P + i] = v[i];
                }
            }
#pragma unroll
            for (int h = 0; h < H; h++) {
                if (h < heads) {
                    float of_head[BATCH];
                    read(of_head, slab + h * STRIDE + mine);
#pragma unroll
                    for (int b = 0; b < BATCH; b++) {
#pragma unroll
                        for (int i = 0; i < V; i++) sum[h][i] += of_head[b] * value[b][i];
                    }
                }
            }
        }
    }

    __syncwarp();
#pragma unroll
    for (int apart = PAGED_HEADS; apart < WARP; apart *= 2) total += __shfl_xor_sync(~0u, total, apart);
    if (lane < PAGED_HEADS) shared.largest[warp][lane] = largest, shared.total[warp][lane] = total;
#pragma unroll 1
    for (int apart = value_lanes; apart < WARP; apart *= 2) {
#pragma unroll
        for (int h = 0; h < H; h++) {
#pragma unroll
            for (int i = 0; i < V; i++) sum[h][i] += __shfl_xor_sync(~0u, sum[h][i], apart);
        }
    }
#pragma unroll
    for (int h = 0; h < H; h++) {
#pragma unroll
        for (int k = 0; k < VALUE_PACKS; k++) {
            float v[P];
#pragma unroll
            for (int i = 0; i < P; i++) v[i] = sum[h][k * P + i];
            if (lane < value_lanes && value_column + k * P < dim) write(slab + h * dim + value_column + k * P, v);
        }
    }
    __syncthreads();
#pragma unroll 1
    for (int i = threadIdx.x; i < heads * dim; i += THREADS) {
        const int h = i / dim;
        float most = LOWEST, all = 0, result[1] = {0};
#pragma unroll
        for (int w = 0; w < WARPS; w++) most = fmaxf(most, shared.largest[w][h]);
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            const float by = exponential<E>(shared.largest[w][h] - most);
            all += shared.total[w][h] * by;
            result[0] += shared.slab[w][i] * by;
        }
        result[0] /= all;
        write(out + i, result);
    }
}

// Keys and values are read once for up to 8 query heads; for up to 4 where `dim` is above 128, and for one where
// it is no multiple of 8.
template <class E>
__device__ void paged_attention(E* out, const E* qkv, const E* keys, const E* values, const int* tables, const int* share, const int* positions,
                                int rows, int width, int q_heads, int kv_heads, int dim, int block, int stride, int window, float scale) {
    __shared__ __align__(16) PagedShared shared;
    const long long row = blockIdx.x;
    if (row >= rows) return;
    const int position = positions[row], group = q_heads / kv_heads, kv_head = blockIdx.y;
    const Seen seen(position, position + 1, window);
    const int* table = tables + static_cast<long long>(share[row]) * stride;
    const long long step = static_cast<long long>(kv_heads) * dim;
    keys += static_cast<long long>(kv_head) * dim;
    values += static_cast<long long>(kv_head) * dim;
    constexpr int N = FULL<E>, NARROW = 4, WIDE = 8;  // NARROW and WIDE are columns of the sums a lane
    const bool packs = dim % LANE_COLUMNS == 0 && whole_packs<E>(width, qkv, keys, values), narrow = packs && dim <= WARP * NARROW;
    const int most = narrow ? PAGED_HEADS : packs ? PAGED_HEADS / 2 : 1;
#pragma unroll 1
    for (int first = 0; first < group; first += most) {
        const int heads = group - first < most ? group - first : most;
        const long long head = static_cast<long long>(kv_head) * group + first;
        const E* q = qkv + row * width + head * dim;
        E* to = out + (row * q_heads + head) * dim;
        if (first > 0) __syncthreads();
#define HEADS(N, H, V) paged_attention_heads<E, N, H, V>(to, q, keys, values, table, seen, heads, step, dim, block, scale, shared)
        if (!packs) {
            HEADS(1, 1, WIDE);
        } else if (!narrow) {
            HEADS(N, PAGED_HEADS / 2, WIDE);
        } else {
            HEADS(N, PAGED_HEADS, NARROW);
        }
#undef HEADS
    }
}

// ------------------------------------------------------------------------------------------------------------ cross-entropy

// A row of 151,936 bf16 logits is 297 KiB, more than an SM's registers and shared memory hold beside the work. The first packs
// of each thread stay in registers between the passes; the others are read again while they are still in the L2 cache.
template <class E, int N>
__device__ void cross_entropy_row(E* logits, float* loss, int target, float weight, float z, float inverse_divisor, int vocab,
                                  bool backward, float* warps) {
    constexpr int HELD = sizeof(E) == 2 ? 8 : 6, BATCH = 2, STEP = CROSS_ENTROPY_THREADS * N;
    const int mine = threadIdx.x * N;
    Pack<E, N> held[HELD];
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        if (mine + k * STEP < vocab) held[k].load_once(logits + mine + k * STEP);
    }
    Exponentials<E> sum;
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        if (mine + k * STEP < vocab) {
            float v[N];
            held[k].get(v);
            sum.add(v);
        }
    }
    for (int base = mine + HELD * STEP; base < vocab; base += BATCH * STEP) {
        Pack<E, N> batch[BATCH];
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            if (base + k * STEP < vocab) batch[k].load(logits + base + k * STEP);
        }
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            if (base + k * STEP < vocab) {
                float v[N];
                batch[k].get(v);
                sum.add(v);
            }
        }
    }
    float of_target[1] = {0};
    const bool known = target >= 0 && target < vocab;
    if (threadIdx.x == 0 && known) read(of_target, logits + target);
    sum.join(warps);  // its barriers also keep the target's logit from being overwritten before it is read

    const float lse = sum.largest + logf(sum.total);
    const float share = weight * inverse_divisor;
    if (threadIdx.x == 0) *loss = share * (lse - of_target[0] + z * lse * lse);
    if (!backward) return;

    const float slope = share * (1.0f + 2.0f * z * lse) / sum.total;
    auto finish = [&](const Pack<E, N>& pack, int c) {
        float v[N];
        pack.get(v);
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = exponential<E>(v[i] - sum.largest) * slope;
        if (target >= c && target < c + N) {
#pragma unroll
            for (int i = 0; i < N; i++) v[i] -= target == c + i ? share : 0.0f;
        }
        Pack<E, N> out;
        out.set(v);
        out.store_once(logits + c);
    };
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        if (mine + k * STEP < vocab) finish(held[k], mine + k * STEP);
    }
    for (int base = mine + HELD * STEP; base < vocab; base += BATCH * STEP) {
        Pack<E, N> batch[BATCH];
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            if (base + k * STEP < vocab) batch[k].load_once(logits + base + k * STEP);
        }
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            if (base + k * STEP < vocab) finish(batch[k], base + k * STEP);
        }
    }
}

template <class E, int N>
__device__ void zero_row(E* x, int width) {
    const float zeros[N] = {};
#pragma unroll 1
    for (int c = threadIdx.x * N; c < width; c += blockDim.x * N) write(x + c, zeros);
}

// A row of weight 0 has loss 0 and gradient 0 whatever its logits and target are, and is not read.
template <class E>
__device__ void cross_entropy(E* logits, float* loss, const int* targets, const float* weights, float z, float inverse_divisor, int rows,
                              int vocab, int backward) {
    __shared__ float warps[2 * WARP];
    const long long row = blockIdx.x;
    if (row >= rows) return;
    E* of_row = logits + row * vocab;
    const float weight = weights[row];
    const bool packs = whole_packs<E>(vocab, logits);
    constexpr int N = FULL<E>;
    if (weight == 0.0f) {
        if (threadIdx.x == 0) loss[row] = 0.0f;
        if (backward && packs) zero_row<E, N>(of_row, vocab);
        if (backward && !packs) zero_row<E, 1>(of_row, vocab);
    } else if (packs) {
        cross_entropy_row<E, N>(of_row, loss + row, targets[row], weight, z, inverse_divisor, vocab, backward != 0, warps);
    } else {
        cross_entropy_row<E, 1>(of_row, loss + row, targets[row], weight, z, inverse_divisor, vocab, backward != 0, warps);
    }
}

// ---------------------------------------------------------------------------------------------------------------- embedding

template <class E, int N>
__device__ void embed_backward_row(float* de, const E* dx, const int* order, int from, int to, int width) {
    constexpr int BATCH = 8;  // rows in flight: a frequent token has thousands, and one after another they would wait on memory
#pragma unroll 1
    for (int c = threadIdx.x * N; c < width; c += THREADS * N) {
        float sum[N];
        read(sum, de + c);
        for (int base = from; base < to; base += BATCH) {
            Pack<E, N> batch[BATCH];
#pragma unroll
            for (int k = 0; k < BATCH; k++) {
                if (base + k < to) batch[k].load(dx + static_cast<long long>(order[base + k]) * width + c);
            }
#pragma unroll
            for (int k = 0; k < BATCH; k++) {
                if (base + k < to) {
                    float v[N];
                    batch[k].get(v);
#pragma unroll
                    for (int i = 0; i < N; i++) sum[i] += v[i];
                }
            }
        }
        write(de + c, sum);
    }
}

template <class E>
__device__ void embed_backward(float* de, const E* dx, const int* order, const int* starts, const int* ids, int distinct, int width) {
    const int i = blockIdx.x;
    if (i >= distinct) return;
    float* of_token = de + static_cast<long long>(ids[i]) * width;
    if (whole_packs<E>(width, de, dx)) {
        embed_backward_row<E, FULL<E>>(of_token, dx, order, starts[i], starts[i + 1], width);
    } else {
        embed_backward_row<E, 1>(of_token, dx, order, starts[i], starts[i + 1], width);
    }
}

// -------------------------------------------------------------------------------------------------------------- flat arrays

template <class E>
__device__ void fill(E* x, float value, long long n) {
    constexpr int N = FULL<E>;
    float many[N], one[1] = {value};
#pragma unroll
    for (int i = 0; i < N; i++) many[i] = value;
    const long long packs = whole_packs<E>(0, x) ? n / N : 0;
    for (long long i = thread_index(); i < packs; i += thread_count()) write(x + i * N, many);
#pragma unroll 1
    for (long long i = packs * N + thread_index(); i < n; i += thread_count()) write(x + i, one);
}

struct Rates {
    float scale, beta1, beta2, rest1, rest2, step_size, root, epsilon, kept;
};

__device__ inline void adamw_step(float& w, float g, float& m, float& v, const Rates& rates) {
    g *= rates.scale;
    m = m * rates.beta1 + g * rates.rest1;
    v = v * rates.beta2 + g * g * rates.rest2;
    w = w * rates.kept - rates.step_size * m / (sqrtf(v) * rates.root + rates.epsilon);
}

template <int N>
__device__ void adamw_pack(float* w, const float* g, float* m, float* v, Bf16* shadow, long long at, const Rates& rates) {
    float of_w[N], of_g[N], of_m[N], of_v[N];
    read(of_w, w + at);
    read(of_g, g + at);
    read(of_m, m + at);
    read(of_v, v + at);
#pragma unroll
    for (int i = 0; i < N; i++) adamw_step(of_w[i], of_g[i], of_m[i], of_v[i], rates);
    write(w + at, of_w);
    write(m + at, of_m);
    write(v + at, of_v);
    if (shadow) write(shadow + at, of_w);
}

// Spreads every bit of the input over all 64 of the output (the finaliser of SplitMix64; it is a bijection).
__device__ inline u64 mix(u64 x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// The bf16 below or above `x`, at random so that the mean is `x`: 16 random bits are added below the kept ones, and cut off.
__device__ inline unsigned round_at_random(float x, unsigned random) {
    const unsigned bits = __float_as_uint(x);
    if ((bits & 0x7f800000u) == 0x7f800000u) return __bfloat16_as_ushort(__float2bfloat16_rn(x));
    return (bits + (random & 0xffffu)) >> 16;
}

template <int N>
__device__ void write_at_random(Bf16* to, const float (&value)[N], const u64 (&random)[N], int shift) {
    Pack<Bf16, N> pack;
#pragma unroll
    for (int i = 0; i < N; i++) {
        const unsigned bits = round_at_random(value[i], static_cast<unsigned>(random[i] >> shift));
        if (i % 2 == 0) {
            pack.word[i / 2] = bits;
        } else {
            pack.word[i / 2] |= bits << 16;
        }
    }
    pack.store(to);
}

// One hash an element gives the random bits of all three numbers, 16 each.
template <int N>
__device__ void adamw_pack_bf16(Bf16* w, const float* g, Bf16* m, Bf16* v, long long at, const Rates& rates, u64 key, u64 first) {
    float of_w[N], of_g[N], of_m[N], of_v[N];
    u64 random[N];
    read(of_w, w + at);
    read(of_g, g + at);
    read(of_m, m + at);
    read(of_v, v + at);
#pragma unroll
    for (int i = 0; i < N; i++) {
        adamw_step(of_w[i], of_g[i], of_m[i], of_v[i], rates);
        random[i] = mix(key + (first + at + i) * 0x9e3779b97f4a7c15ull);
    }
    write_at_random(w + at, of_w, random, 0);
    write_at_random(m + at, of_m, random, 16);
    write_at_random(v + at, of_v, random, 32);
}

// ------------------------------------------------------------------------------------------------------------ entry points

#define ENTRY extern "C" __global__ __launch_bounds__(THREADS) void
// At least four blocks on an SM, so that the rows of the others hide what one row waits for: 64 registers a thread.
#define ENTRY_DENSE extern "C" __global__ __launch_bounds__(THREADS, 4) void
// As many blocks of a short row as the work leaves room for: 40 and 32 registers a thread.
#define ENTRY_ROW extern "C" __global__ __launch_bounds__(THREADS, 6) void
#define ENTRY_SHORT extern "C" __global__ __launch_bounds__(THREADS, 8) void
// For bf16 at least two blocks on an SM: 128 registers a thread, for four keys and the sums of eight heads. float32 takes more.
#define ENTRY_PAIR(E) extern "C" __global__ __launch_bounds__(THREADS, sizeof(E) == 2 ? 2 : 1) void
// All 64 registers that 1024 threads can have on an SM, for the packs that are kept.
#define ENTRY_WIDE extern "C" __global__ __launch_bounds__(CROSS_ENTROPY_THREADS, 1) void

// E is the type of activations, S the suffix of the names.
#define ENTRIES(E, S) \
    ENTRY gather_rows_##S(E* y, const E* x, const int* index, int rows, int width) { \
        gather_rows<E>(y, x, index, rows, width); \
    } \
    ENTRY scatter_rows_##S(E* y, const E* x, const int* index, int rows, int width) { \
        scatter_rows<E>(y, x, index, rows, width); \
    } \
    ENTRY_SHORT rms_norm_##S(E* y, float* rstd, const E* x, const float* w, float eps, int rows, int width) { \
        rms_norm<E>(y, rstd, x, w, eps, rows, width); \
    } \
    ENTRY_DENSE rms_norm_backward_##S(E* dx, float* partial, const E* residual, const E* dy, const E* x, const float* rstd, \
                                      const float* w, int rows, int width, int parts) { \
        rms_norm_backward<E>(dx, partial, residual, dy, x, rstd, w, rows, width, parts); \
    } \
    ENTRY column_sum_##S(float* partial, const E* x, int rows, int width, int parts) { \
        column_sum<E>(partial, x, rows, width, parts); \
    } \
    ENTRY_ROW rope_##S(E* x, const float* bias, const int* positions, const float* cos, const float* sin, int rows, int width, \
                   int heads, int dim, float sign) { \
        rope<E>(x, bias, positions, cos, sin, rows, width, heads, dim, sign); \
    } \
    ENTRY_ROW head_norm_##S(E* y, float* rstd, const E* x, const float* qw, const float* kw, float eps, int rows, int width, \
                        int q_heads, int kv_heads, int dim) { \
        head_norm<E>(y, rstd, x, qw, kw, eps, rows, width, q_heads, kv_heads, dim); \
    } \
    ENTRY_DENSE head_norm_backward_##S(E* d, float* partial, const E* x, const float* rstd, const float* qw, const float* kw, \
                                       int rows, int width, int q_heads, int kv_heads, int dim, int parts) { \
        head_norm_backward<E>(d, partial, x, rstd, qw, kw, rows, width, q_heads, kv_heads, dim, parts); \
    } \
    ENTRY swiglu_##S(E* act, const E* gu, int rows, int inner) { \
        swiglu<E>(act, gu, rows, inner); \
    } \
    ENTRY swiglu_backward_##S(E* dgu, const E* gu, const E* dact, int rows, int inner) { \
        swiglu_backward<E>(dgu, gu, dact, rows, inner); \
    } \
    ENTRY add_bias_##S(E* x, const float* bias, int rows, int width) { \
        add_bias<E>(x, bias, rows, width); \
    } \
    ENTRY_SHORT attention_delta_##S(float* delta, const E* o, const E* d, int rows, int heads, int dim) { \
        attention_delta<E>(delta, o, d, rows, heads, dim); \
    } \
    ENTRY_ROW group_sum_##S(E* dqkv, const float* dk, const float* dv, int rows, int width, int q_heads, int kv_heads, int dim) { \
        group_sum<E>(dqkv, dk, dv, rows, width, q_heads, kv_heads, dim); \
    } \
    ENTRY softmax_##S(E* p, float* lse, const float* s, int q, int n, int first, int window, float scale, int stride) { \
        softmax<E>(p, lse, s, q, n, first, window, scale, stride); \
    } \
    ENTRY softmax_backward_##S(E* ds, E* p, const float* s, const float* dp, const float* lse, const float* delta, int q, int n, \
                               int first, int window, float scale, int stride) { \
        softmax_backward<E>(ds, p, s, dp, lse, delta, q, n, first, window, scale, stride); \
    } \
    ENTRY cache_write_##S(E* keys, E* values, const E* qkv, const int* places, int rows, int width, int q_heads, int kv_heads, int dim) { \
        cache_write<E>(keys, values, qkv, places, rows, width, q_heads, kv_heads, dim); \
    } \
    ENTRY_PAIR(E) paged_attention_##S(E* out, const E* qkv, const E* keys, const E* values, const int* tables, const int* share, \
                                      const int* positions, int rows, int width, int q_heads, int kv_heads, int dim, int block, \
                                      int stride, int window, float scale) { \
        paged_attention<E>(out, qkv, keys, values, tables, share, positions, rows, width, q_heads, kv_heads, dim, block, stride, window, scale); \
    } \
    ENTRY_WIDE cross_entropy_##S(E* logits, float* loss, const int* targets, const float* weights, float z, \
                                 float inverse_divisor, int rows, int vocab, int backward) { \
        cross_entropy<E>(logits, loss, targets, weights, z, inverse_divisor, rows, vocab, backward); \
    } \
    ENTRY embed_backward_##S(float* de, const E* dx, const int* order, const int* starts, const int* ids, int distinct, int width) { \
        embed_backward<E>(de, dx, order, starts, ids, distinct, width); \
    } \
    ENTRY fill_##S(E* x, float value, long long n) { \
        fill<E>(x, value, n); \
    }

ENTRIES(float, f32)
ENTRIES(Bf16, bf16)

// A block has 32 columns; each of its warps sums every eighth part, and the eight sums are added in their order.
ENTRY column_reduce(float* out, const float* partial, int parts, int width) {
    constexpr int BATCH = 16, WARPS = THREADS / WARP;
    __shared__ float sums[WARPS][WARP];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int c = blockIdx.x * WARP + lane;
    float sum = 0;
    if (c < width) {
#pragma unroll 1
        for (int p = warp; p < parts; p += BATCH * WARPS) {
            float v[BATCH];
#pragma unroll
            for (int k = 0; k < BATCH; k++) {
                const int part = p + k * WARPS;
                v[k] = part < parts ? partial[static_cast<long long>(part) * width + c] : 0.0f;
            }
#pragma unroll
            for (int k = 0; k < BATCH; k++) sum += v[k];
        }
    }
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || c >= width) return;
#pragma unroll
    for (int k = 1; k < WARPS; k++) sum += sums[k][lane];
    out[c] += sum;
}

ENTRY sum_f32(float* out, const float* x, int n) {
    __shared__ double warps[WARP];
    double sum = 0;
#pragma unroll 4
    for (int i = threadIdx.x; i < n; i += THREADS) sum += x[i];
    sum = block_sum(sum, warps);
    if (threadIdx.x == 0) out[0] += static_cast<float>(sum);
}

ENTRY sum_f64(double* out, const double* x, int n) {
    __shared__ double warps[WARP];
    double sum = 0;
#pragma unroll 4
    for (int i = threadIdx.x; i < n; i += THREADS) sum += x[i];
    sum = block_sum(sum, warps);
    if (threadIdx.x == 0) out[0] += sum;
}

// The squares of a pack of four are added in float32, and packs in float64, which is slow on most cards.
ENTRY square_sum(double* partial, const float* x, long long n) {
    constexpr int N = FULL<float>;
    __shared__ double warps[WARP];
    double sum = 0;
    const long long packs = whole_packs<float>(0, x) ? n / N : 0;
#pragma unroll 4
    for (long long i = thread_index(); i < packs; i += thread_count()) {
        float v[N];
        read(v, x + i * N);
        sum += (v[0] * v[0] + v[1] * v[1]) + (v[2] * v[2] + v[3] * v[3]);
    }
#pragma unroll 1
    for (long long i = packs * N + thread_index(); i < n; i += thread_count()) sum += x[i] * x[i];
    sum = block_sum(sum, warps);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

ENTRY adamw_f32(float* w, const float* g, float* m, float* v, Bf16* shadow, long long n, float scale, float beta1, float beta2,
                float rest1, float rest2, float step_size, float root, float epsilon, float kept) {
    constexpr int N = FULL<float>;
    const Rates rates = {scale, beta1, beta2, rest1, rest2, step_size, root, epsilon, kept};
    const long long packs = whole_packs<float>(0, w, g, m, v, shadow) ? n / N : 0;
#pragma unroll 1
    for (long long i = thread_index(); i < packs; i += thread_count()) adamw_pack<N>(w, g, m, v, shadow, i * N, rates);
#pragma unroll 1
    for (long long i = packs * N + thread_index(); i < n; i += thread_count()) adamw_pack<1>(w, g, m, v, shadow, i, rates);
}

ENTRY adamw_bf16(Bf16* w, const float* g, Bf16* m, Bf16* v, long long n, float scale, float beta1, float beta2, float rest1,
                 float rest2, float step_size, float root, float epsilon, float kept, unsigned seed, unsigned long long first) {
    constexpr int N = FULL<Bf16>;
    const Rates rates = {scale, beta1, beta2, rest1, rest2, step_size, root, epsilon, kept};
    const u64 key = mix(seed + 0x9e3779b97f4a7c15ull);
    const long long packs = whole_packs<Bf16>(0, w, g, m, v) ? n / N : 0;
#pragma unroll 1
    for (long long i = thread_index(); i < packs; i += thread_count()) adamw_pack_bf16<N>(w, g, m, v, i * N, rates, key, first);
#pragma unroll 1
    for (long long i = packs * N + thread_index(); i < n; i += thread_count()) adamw_pack_bf16<1>(w, g, m, v, i, rates, key, first);
}

ENTRY cast_bf16(Bf16* y, const float* x, long long n) {
    constexpr int N = FULL<Bf16>;
    const long long packs = whole_packs<Bf16>(0, y, x) ? n / N : 0;
    for (long long i = thread_index(); i < packs; i += thread_count()) {
        float v[N];
        read(v, x + i * N);
        write(y + i * N, v);
    }
#pragma unroll 1
    for (long long i = packs * N + thread_index(); i < n; i += thread_count()) {
        float v[1] = {x[i]};
        write(y + i, v);
    }
}

// Runs for as long as `until[0]` is zero, which nothing changes: work that does not end, for the ladder.
ENTRY spin(const int* until) {
    while (*(const volatile int*)until == 0) {
    }
}
