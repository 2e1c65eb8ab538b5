/* What index/nearest/lists_structure.py does with NumPy: of the lists nearest to each query what scores best, in few
   numbers of 8 bits. Numbers that decide are whole, or rounded from sums of twice the precision, so that both name the
   same whatever the processor, but for a sum that lies between two roundings. */

#include "_kernel.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

/* Vectors that are scored at a time, and lists. */
#define SIDE 16
#define HALF (SIDE / 2)
typedef float floats __attribute__((vector_size(4 * SIDE)));
typedef float some_floats __attribute__((vector_size(4 * SIDE), aligned(4), may_alias));
typedef float fewer __attribute__((vector_size(4 * HALF)));
typedef int32_t ints __attribute__((vector_size(4 * SIDE)));
typedef uint32_t words __attribute__((vector_size(4 * SIDE), aligned(4), may_alias));
typedef int64_t flags __attribute__((vector_size(4 * SIDE), may_alias));
typedef double doubles __attribute__((vector_size(8 * HALF), aligned(8), may_alias));

/* The code of zero. */
#define ZERO 128
/* Named ones up to which keeping the best in order costs less than sorting them all. */
#define FEW 64
/* The most numbers that a vector is kept as. */
#define MOST 128
/* Below 2 to this power sums of whole numbers are exact in float32. */
#define WHOLE 24

typedef struct {
    PyObject_HEAD
    Py_buffer rotation, centres, halves, steps, starts, codes, positions;
    Py_ssize_t d, width, lists;
} Lists;

/* A named vector, or a list. */
typedef struct {
    double score;
    int64_t at;
} Named;

/* The best of those that came so far: up to FEW of them in order, of more at times twice as many. */
typedef struct {
    Named *named;
    Py_ssize_t size, most;
    double worst; /* below which nothing comes among them any more */
} Best;

static inline int worse(Named a, Named b) { return a.score < b.score || (a.score == b.score && a.at > b.at); }

static int compare(const void *a, const void *b) {
    return worse(*(const Named *)a, *(const Named *)b) - worse(*(const Named *)b, *(const Named *)a);
}

static void cut(Best *best) {
    qsort(best->named, best->size, sizeof(Named), compare);
    if (best->size >= best->most) {
        best->size = best->most;
        best->worst = best->named[best->most - 1].score;
    }
}

static inline __attribute__((always_inline)) void keep(Best *best, Named one) {
    if (best->most > FEW) {
        best->named[best->size++] = one;
        if (best->size == 2 * best->most)
            cut(best);
        return;
    }
    Py_ssize_t at = best->size;
    if (at < best->most)
        best->size++;
    else if (worse(one, best->named[--at]))
        return;
    for (; at > 0 && worse(best->named[at - 1], one); at--)
        best->named[at] = best->named[at - 1];
    best->named[at] = one;
    if (best->size == best->most)
        best->worst = best->named[best->most - 1].score;
}

/* All that were kept, best first. */
static inline Py_ssize_t in_order(Best *best) {
    if (best->most > FEW)
        cut(best);
    return best->size;
}

/* A bit for each that is set. */
static inline __attribute__((always_inline)) uint32_t bits_of(const ints *which) {
    static const ints bit = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    const flags set = (flags)(*which & bit);
    int64_t some = 0;
    for (int at = 0; at < HALF; at++)
        some |= set[at];
    return (uint32_t)(some | some >> 32);
}

/* `found`: int64 (nq, m), best first, -1 where there is none. `near`: room for a float32 number a list. */
EACH_PROCESSOR static void search(
    const Lists *lists, const float *query, Py_ssize_t nq, int64_t *found, Py_ssize_t m, Best *hits, Best *chosen,
    float *near) {
    const Py_ssize_t d = lists->d, width = lists->width;
    const int32_t *starts = lists->starts.buf, *positions = lists->positions.buf;
    const float *steps = lists->steps.buf;
    int bits = 0;
    while (width * 255 << (bits + 1) <= 1 << WHOLE)
        bits++;
    for (const float *end = query + nq * d; query < end; query += d, found += m) {
        /* in few numbers */
        doubles turned[MOST / HALF];
        const doubles *rotation = lists->rotation.buf;
        const Py_ssize_t blocks = width / HALF;
        for (Py_ssize_t block = 0; block < blocks; block += 2) {
            doubles sums[4] = {{0}};
            Py_ssize_t i = 0;
            for (const doubles *row = rotation + block; i + 2 <= d; i += 2, row += 2 * blocks) {
                const double one = query[i], other = query[i + 1];
                sums[0] += one * row[0];
                sums[1] += one * row[1];
                sums[2] += other * row[blocks];
                sums[3] += other * row[blocks + 1];
            }
            if (i < d) {
                sums[0] += (double)query[i] * rotation[i * blocks + block];
                sums[1] += (double)query[i] * rotation[i * blocks + block + 1];
            }
            turned[block] = sums[0] + sums[2];
            turned[block + 1] = sums[1] + sums[3];
        }
        double own[MOST];
        float rounded[MOST], largest = 0;
        for (Py_ssize_t i = 0; i < width; i++) {
            rounded[i] = (float)((const double *)turned)[i];
            own[i] = rounded[i];
            largest = fmaxf(largest, fabsf(rounded[i]));
        }
        int power = 0;
        frexpf(largest, &power);
        const double unit = ldexp(1, power - bits), per_unit = ldexp(1, bits - power);
        double whole = 0;
        for (Py_ssize_t i = 0; i < width; i++) {
            rounded[i] = (float)rint(own[i] * per_unit);
            whole += rounded[i];
        }
        /* the nearest lists */
        chosen->size = 0;
        chosen->worst = -INFINITY;
        const doubles *centres = lists->centres.buf;
        for (Py_ssize_t first = 0; first < lists->lists; first += SIDE) {
            doubles low[2] = {{0}}, high[2] = {{0}};
            for (Py_ssize_t i = 0; i < width; i += 2, centres += 4) {
                low[0] += own[i] * centres[0];
                high[0] += own[i] * centres[1];
                low[1] += own[i + 1] * centres[2];
                high[1] += own[i + 1] * centres[3];
            }
            low[0] += low[1];
            high[0] += high[1];
            const doubles *halves = (const doubles *)((const double *)lists->halves.buf + first);
            union {
                fewer parts[2];
                floats all;
                float each[SIDE];
            } inner = {{__builtin_convertvector(low[0], fewer), __builtin_convertvector(high[0], fewer)}},
              nearness = {{__builtin_convertvector(low[0] - halves[0], fewer),
                           __builtin_convertvector(high[0] - halves[1], fewer)}};
            *(some_floats *)(near + first) = inner.all;
            const ints near_enough = nearness.all >= (float)chosen->worst;
            for (uint32_t passing = bits_of(&near_enough); passing; passing &= passing - 1) {
                const int list = __builtin_ctz(passing);
                const Named one = {nearness.each[list], first + list};
                keep(chosen, one);
            }
        }
        /* and what is in them */
        hits->size = 0;
        hits->worst = -INFINITY;
        const Py_ssize_t probes = in_order(chosen);
        for (Py_ssize_t probe = 0; probe < probes; probe++) {
            const int64_t list = chosen->named[probe].at;
            const double base = near[list], step = steps[list] * unit, per_step = 1 / step;
            double worst = hits->worst, limit = floor((worst - base) * per_step + ZERO * whole) - 1;
            for (int32_t block = starts[list]; block < starts[list + 1]; block++) {
                const words *word = (const words *)lists->codes.buf + block * (width / 4);
                floats sums[4] = {{0}};
                for (Py_ssize_t i = 0; i < width; i += 4, word++) {
                    sums[0] += rounded[i] * __builtin_convertvector((ints)(*word & 255), floats);
                    sums[1] += rounded[i + 1] * __builtin_convertvector((ints)(*word >> 8 & 255), floats);
                    sums[2] += rounded[i + 2] * __builtin_convertvector((ints)(*word >> 16 & 255), floats);
                    sums[3] += rounded[i + 3] * __builtin_convertvector((ints)(*word >> 24), floats);
                }
                const floats sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
                const ints above = sum > (float)limit;
                for (uint32_t passing = bits_of(&above); passing; passing &= passing - 1) {
                    const int place = __builtin_ctz(passing);
                    const int32_t position = positions[block * SIDE + place];
                    if (position < 0)
                        continue;
                    const Named one = {base + step * (sum[place] - ZERO * whole), position};
                    keep(hits, one);
                    if (hits->worst > worst) {
                        worst = hits->worst;
                        limit = floor((worst - base) * per_step + ZERO * whole) - 1;
                    }
                }
            }
        }
        const Py_ssize_t count = in_order(hits);
        for (Py_ssize_t i = 0; i < m; i++)
            found[i] = i < count ? hits->named[i].at : -1;
    }
}

static int lists_init(PyObject *self, PyObject *args, PyObject *names) {
    Lists *lists = (Lists *)self;
    PyObject *given[7];
    Py_buffer *views[7] = {&lists->rotation, &lists->centres, &lists->halves, &lists->steps,
                           &lists->starts,   &lists->codes,   &lists->positions};
    static const Py_ssize_t sizes[7] = {8, 8, 8, 4, 4, 4, 4};
    Py_ssize_t counts[7], width;
    if (names != NULL && PyDict_Size(names)) {
        PyErr_SetString(PyExc_TypeError, "Lists takes no names");
        return -1;
    }
    if (lists->rotation.obj != NULL) {
        PyErr_SetString(PyExc_TypeError, "Lists are made once");
        return -1;
    }
    if (!PyArg_ParseTuple(
            args, "nOOOOOOO", &width, &given[0], &given[1], &given[2], &given[3], &given[4], &given[5], &given[6]))
        return -1;
    for (int array = 0; array < 7; array++) {
        numbers(given[array], views[array], PyBUF_SIMPLE, sizes[array], &counts[array]);
        if (PyErr_Occurred())
            return -1;
    }
    const int32_t *starts = lists->starts.buf;
    const Py_ssize_t count = counts[2], blocks = counts[6] / SIDE;
    int fits = width >= SIDE && width <= MOST && width % SIDE == 0 && counts[0] > 0 && counts[0] % width == 0 &&
               count > 0 && count % SIDE == 0 && counts[1] == count * width && counts[3] == count &&
               counts[4] == count + 1 && counts[6] == blocks * SIDE && counts[6] <= INT32_MAX &&
               counts[5] == blocks * SIDE * (width / 4) && starts[0] == 0 && starts[count] == blocks;
    for (Py_ssize_t list = 0; fits && list < count; list++)
        fits = starts[list] <= starts[list + 1];
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        return -1;
    }
    lists->width = width;
    lists->d = counts[0] / width;
    lists->lists = count;
    return 0;
}

static void lists_dealloc(PyObject *self) {
    Lists *lists = (Lists *)self;
    PyTypeObject *type = Py_TYPE(self);
    Py_buffer *views[7] = {&lists->rotation, &lists->centres, &lists->halves, &lists->steps,
                           &lists->starts,   &lists->codes,   &lists->positions};
    for (int array = 0; array < 7; array++)
        PyBuffer_Release(views[array]); /* of one that was never taken it does nothing */
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *lists_into(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Lists *lists = (Lists *)self;
    Py_buffer found = {.obj = NULL}, queries = {.obj = NULL};
    Py_ssize_t places, asked;
    PyObject *answer = NULL;
    char *room = NULL;
    if (given != 3 || lists->lists == 0) {
        PyErr_SetString(PyExc_TypeError, "into(found, queries, probes)");
        return NULL;
    }
    Py_ssize_t probes = PyLong_AsSsize_t(args[2]);
    if (PyErr_Occurred() || !numbers(args[0], &found, PyBUF_WRITABLE, 8, &places) ||
        !numbers(args[1], &queries, PyBUF_SIMPLE, 4, &asked))
        goto end;
    const Py_ssize_t nq = asked / lists->d, m = nq ? places / nq : 0;
    if (probes < 1 || asked != nq * lists->d || places != nq * m) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        goto end;
    }
    if (m) {
        probes = probes < lists->lists ? probes : lists->lists;
        const Py_ssize_t most_hits = m > FEW ? 2 * m : m, most_lists = probes > FEW ? 2 * probes : probes;
        room = PyMem_Malloc((most_hits + most_lists) * sizeof(Named) + lists->lists * sizeof(float));
        if (room == NULL) {
            PyErr_NoMemory();
            goto end;
        }
        Best hits = {.named = (Named *)room, .most = m}, chosen = {.named = hits.named + most_hits, .most = probes};
        float *near = (float *)(chosen.named + most_lists);
        if (nq > 1 || m > FEW || probes > FEW) {
            Py_BEGIN_ALLOW_THREADS
            search(lists, queries.buf, nq, found.buf, m, &hits, &chosen, near);
            Py_END_ALLOW_THREADS
        } else /* of so little work giving up the lock would be a good part */
            search(lists, queries.buf, nq, found.buf, m, &hits, &chosen, near);
    }
    answer = Py_None;
    Py_INCREF(answer);
end:
    PyMem_Free(room);
    PyBuffer_Release(&queries);
    PyBuffer_Release(&found);
    return answer;
}

static PyMethodDef lists_methods[] = {
    {"into", (PyCFunction)(void (*)(void))lists_into, METH_FASTCALL,
     "into(found, queries, probes): int64 (nq, m) and float32 (nq, d); what scores best in so many lists, best first."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot lists_slots[] = {
    {Py_tp_init, lists_init}, {Py_tp_dealloc, lists_dealloc}, {Py_tp_methods, lists_methods},
    {Py_tp_doc, "Lists(width, rotation, centres, halves, steps, starts, codes, positions): as lists_structure.py lays "
                "them out."},
    {0, NULL},
};
PyType_Spec lists_spec = {"retrieval.base._kernel.Lists", sizeof(Lists), 0, Py_TPFLAGS_DEFAULT, lists_slots};
