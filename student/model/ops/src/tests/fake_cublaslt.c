// cuBLASLt as far as the crate calls it, for tests: types and constants are those of NVIDIA's cublasLt.h, written anew. It
// multiplies nothing. What it is asked goes into the file `log` beside the library; a function that is named in the file
// `fails` there, with a status, returns that status.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INVALID_VALUE 7

typedef int status;
typedef struct {
    uint64_t data[8];
} algorithm;
typedef struct {
    algorithm algo;
    size_t workspace_size;
    status state;
    float waves_count;
    int reserved[4];
} heuristic_result;
typedef struct {
    int compute, scale;
    int32_t transposes[2];
} description;
typedef struct {
    int type;
    uint64_t rows, columns;
    int64_t leading;
    int32_t batch;
    int64_t batch_stride;
} layout;
typedef struct {
    uint64_t workspace;
    uint32_t alignments[4];
} preference;

static char handle;
static unsigned long choices;

static FILE *beside(const char *name, const char *mode) {
    Dl_info info;
    char path[PATH_MAX];
    if (!dladdr((void *)beside, &info)) abort();
    snprintf(path, sizeof path, "%s", info.dli_fname);
    snprintf(strrchr(path, '/') + 1, 32, "%s", name);
    return fopen(path, mode);
}

// The status that the file `fails` gives to `function`, or 0.
static status told(const char *function) {
    char name[128];
    int value, found = 0;
    FILE *file = beside("fails", "r");
    if (!file) return 0;
    while (fscanf(file, "%127s %d", name, &value) == 2)
        if (!strcmp(name, function)) found = value;
    fclose(file);
    return found;
}

static void tell_layout(FILE *file, const char *name, const layout *of) {
    fprintf(file, " %s %d %lu x %lu by %ld, %d of %ld;", name, of->type, of->rows, of->columns, of->leading, of->batch,
            of->batch_stride);
}

static FILE *tell(const char *what, const description *of, const layout *a, const layout *b, const layout *c,
                  const layout *d) {
    FILE *file = beside("log", "a");
    if (!file) abort();
    fprintf(file, "%s compute %d scale %d transposes %d %d;", what, of->compute, of->scale, of->transposes[0],
            of->transposes[1]);
    tell_layout(file, "A", a);
    tell_layout(file, "B", b);
    tell_layout(file, "C", c);
    tell_layout(file, "D", d);
    return file;
}

static void tell_drop(const char *what) {
    FILE *file = beside("log", "a");
    if (!file) abort();
    fprintf(file, "drop %s\n", what);
    fclose(file);
}

#define FAILS_AS_TOLD                                                                                                  \
    do {                                                                                                               \
        status is_told = told(__func__);                                                                               \
        if (is_told) return is_told;                                                                                   \
    } while (0)

const char *cublasLtGetStatusString(status value) {
    return value == 99 ? NULL : value == 15 ? "CUBLAS_STATUS_NOT_SUPPORTED" : "the library's own words";
}

status cublasLtCreate(void **out) {
    FAILS_AS_TOLD;
    *out = &handle;
    return 0;
}

status cublasLtMatmulDescCreate(void **out, int compute, int scale) {
    FAILS_AS_TOLD;
    description *made = calloc(1, sizeof *made);
    made->compute = compute, made->scale = scale;
    *out = made;
    return 0;
}

status cublasLtMatmulDescSetAttribute(void *of, int attribute, const void *value, size_t size) {
    FAILS_AS_TOLD;
    if ((attribute != 3 && attribute != 4) || size != sizeof(int32_t)) return INVALID_VALUE;
    memcpy(&((description *)of)->transposes[attribute - 3], value, size);
    return 0;
}

status cublasLtMatmulDescDestroy(void *of) {
    FAILS_AS_TOLD;
    tell_drop("description");
    free(of);
    return 0;
}

status cublasLtMatrixLayoutCreate(void **out, int type, uint64_t rows, uint64_t columns, int64_t leading) {
    FAILS_AS_TOLD;
    layout *made = calloc(1, sizeof *made);
    made->type = type, made->rows = rows, made->columns = columns, made->leading = leading, made->batch = 1;
    *out = made;
    return 0;
}

status cublasLtMatrixLayoutSetAttribute(void *of, int attribute, const void *value, size_t size) {
    FAILS_AS_TOLD;
    layout *set = of;
    if (attribute == 5 && size == sizeof set->batch)
        memcpy(&set->batch, value, size);
    else if (attribute == 6 && size == sizeof set->batch_stride)
        memcpy(&set->batch_stride, value, size);
    else
        return INVALID_VALUE;
    return 0;
}

status cublasLtMatrixLayoutDestroy(void *of) {
    FAILS_AS_TOLD;
    tell_drop("layout");
    free(of);
    return 0;
}

status cublasLtMatmulPreferenceCreate(void **out) {
    FAILS_AS_TOLD;
    *out = calloc(1, sizeof(preference));
    return 0;
}

status cublasLtMatmulPreferenceSetAttribute(void *of, int attribute, const void *value, size_t size) {
    FAILS_AS_TOLD;
    preference *set = of;
    if (attribute == 1 && size == sizeof set->workspace)
        memcpy(&set->workspace, value, size);
    else if (attribute >= 5 && attribute <= 8 && size == sizeof set->alignments[0])
        memcpy(&set->alignments[attribute - 5], value, size);
    else
        return INVALID_VALUE;
    return 0;
}

status cublasLtMatmulPreferenceDestroy(void *of) {
    FAILS_AS_TOLD;
    free(of);
    return 0;
}

status cublasLtMatmulAlgoGetHeuristic(void *lt, void *of, void *a, void *b, void *c, void *d, void *preferred, int asked,
                                      heuristic_result *results, int *found) {
    FAILS_AS_TOLD;
    const preference *limits = preferred;
    if (lt != &handle || asked != 1) return INVALID_VALUE;
    FILE *file = tell("choose", of, a, b, c, d);
    fprintf(file, " workspace %lu alignments %u %u %u %u\n", limits->workspace, limits->alignments[0],
            limits->alignments[1], limits->alignments[2], limits->alignments[3]);
    fclose(file);
    memset(results, 0xa5, sizeof *results);
    results->algo.data[0] = ++choices;
    results->algo.data[7] = ~choices;
    results->state = told("state");
    *found = told("none_found") ? 0 : 1;
    return 0;
}

status cublasLtMatmul(void *lt, void *of, const void *alpha, const void *a, void *a_layout, const void *b, void *b_layout,
                      const void *beta, const void *c, void *c_layout, void *d, void *d_layout, const algorithm *algo,
                      void *workspace, size_t workspace_size, void *stream) {
    FAILS_AS_TOLD;
    if (lt != &handle || algo->data[7] != ~algo->data[0]) return INVALID_VALUE;
    FILE *file = tell("multiply", of, a_layout, b_layout, c_layout, d_layout);
    fprintf(file, " alpha %g beta %g at %lx %lx %lx %lx algorithm %lu workspace %lx of %lu stream %lx\n",
            *(const float *)alpha, *(const float *)beta, (uintptr_t)a, (uintptr_t)b, (uintptr_t)c, (uintptr_t)d,
            algo->data[0], (uintptr_t)workspace, workspace_size, (uintptr_t)stream);
    fclose(file);
    return 0;
}
