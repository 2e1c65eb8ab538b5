/* What index/nearest/lists_structure.py does with NumPy: of the lists nearest to each query what scores best, in few
   numbers of 8 bits. Numbers that decide are whole, or rounded from sums of twice the precision, so that both name the
   same whatever the processor. */

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

static inline int worse(Named a, Named b) { return a.score < b.score || (a.score == b.score && a.at > b.at); }

/* Put one in among the `most` best, a heap with the worst at its root; how many there are then. */
static inline Py_ssize_t keep(Named *heap, Py_ssize_t size, Py_ssize_t most, Named one) {
    if (size == most && !worse(heap[size - 1], one))
        return size;
    Py_ssize_t at = size < most ? size++ : size - 1;
    for (; at > 0 && worse(heap[at - 1], one); at--)
        heap[at] = heap[at - 1];
    heap[at] = one;
    return size;
}

/* The heap in order, best first. */
static inline void in_order(Named *heap, Py_ssize_t size) {
    while (size > 1) {
        const Named last = heap[0], one = heap[--size];
        Py_ssize_t at = 0;
        for (Py_ssize_t child = 1; child < size; child = 2 * at + 1) {
            child += child + 1 < size && worse(heap[child + 1], heap[child]);
            if (!worse(heap[child], one))
                break;
            heap[at] = heap[child];
            at = child;
        }
        heap[at] = one;
        heap[size] = last;
    }
}

/* A bit for each that is set. */
static inline uint32_t bits_of(ints which) {
    static const ints bit = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    const flags set = (flags)(which & bit);
    int64_t some = 0;
    for (int at = 0; at < HALF; at++)
        some |= set[at];
    return (uint32_t)(some | some >> 32);
}

/* `found`: int64 (nq, m), best first, -1 where there is none. `named`: room for m, `chosen` for so many probes, `near` for
   a float32 number a list. */
EACH_PROCESSOR static void search(
    const Lists *lists, const float *query, Py_ssize_t nq, int64_t *found, Py_ssize_t m, Py_ssize_t probes, Named *named,
    Named *chosen, float *near) {
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
        Py_ssize_t there = 0;
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
            const float least = there < probes ? -INFINITY : (float)chosen[probes - 1].score;
            for (uint32_t passing = bits_of(nearness.all > least); passing; passing &= passing - 1) {
                const int list = __builtin_ctz(passing);
                const Named one = {nearness.each[list], first + list};
                there = keep(chosen, there, probes, one);
            }
        }
        /* and what is in them */
        Py_ssize_t count = 0;
        for (Py_ssize_t probe = 0; probe < there; probe++) {
            const int64_t list = chosen[probe].at;
            const double base = near[list], step = steps[list] * unit, per_step = 1 / step;
            double limit = count < m ? -INFINITY : floor((named[m - 1].score - base) * per_step + ZERO * whole) - 1;
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
                for (uint32_t passing = bits_of(sum > (float)limit); passing; passing &= passing - 1) {
                    const int place = __builtin_ctz(passing);
                    const int32_t position = positions[block * SIDE + place];
                    if (position < 0)
                        continue;
                    const Named one = {base + step * (sum[place] - ZERO * whole), position};
                    count = keep(named, count, m, one);
                    if (count == m)
                        limit = floor((named[m - 1].score - base) * per_step + ZERO * whole) - 1;
                }
            }
        }
        for (Py_ssize_t i = 0; i < m; i++)
            found[i] = i < count ? named[i].at : -1;
    }
}

static int lists_init(PyObject *self, PyObject *args, PyObject *names) {
    Lists *lists = (Lists *)self;
    PyObject *given[7];
    Py_buffer *views[7] = {&lists->rotation, &lists->centres, &lists->halves, &lists->steps,
                           &lists->starts,   &lists->codes,   &lists->positions};
    static const Py_ssize_t sizes[7] = {8, 8, 8, 4, 4, 4, 4};
    Py_ssize_t counts[7];
    if (names != NULL && PyDict_Size(names)) {
        PyErr_SetString(PyExc_TypeError, "Lists takes no names");
        return -1;
    }
    if (lists->rotation.obj != NULL) {
        PyErr_SetString(PyExc_TypeError, "Lists are made once");
        return -1;
    }
    if (!PyArg_ParseTuple(
            args, "nOOOOOOO", &lists->width, &given[0], &given[1], &given[2], &given[3], &given[4], &given[5], &given[6]))
        return -1;
    for (int array = 0; array < 7; array++) {
        numbers(given[array], views[array], PyBUF_SIMPLE, sizes[array], &counts[array]);
        if (PyErr_Occurred())
            return -1;
    }
    const Py_ssize_t width = lists->width;
    int fits = width >= SIDE && width <= MOST && width % SIDE == 0 && counts[0] > 0 && counts[0] % width == 0;
    if (fits) {
        const int32_t *starts = lists->starts.buf;
        lists->d = counts[0] / width;
        lists->lists = counts[2];
        const Py_ssize_t blocks = counts[6] / SIDE;
        fits = lists->lists > 0 && lists->lists % SIDE == 0 && counts[1] == lists->lists * width &&
               counts[3] == lists->lists && counts[4] == lists->lists + 1 && counts[6] == blocks * SIDE &&
               counts[5] == blocks * SIDE * (width / 4) && starts[0] == 0 && starts[lists->lists] == blocks;
        for (Py_ssize_t list = 0; fits && list < lists->lists; list++)
            fits = starts[list] <= starts[list + 1];
    }
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        return -1;
    }
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
    Py_ssize_t named, asked;
    PyObject *answer = NULL;
    char *room = NULL;
    if (given != 3 || lists->lists == 0) {
        PyErr_SetString(PyExc_TypeError, "into(found, queries, probes)");
        return NULL;
    }
    Py_ssize_t probes = PyLong_AsSsize_t(args[2]);
    if (PyErr_Occurred() || !numbers(args[0], &found, PyBUF_WRITABLE, 8, &named) ||
        !numbers(args[1], &queries, PyBUF_SIMPLE, 4, &asked))
        goto end;
    const Py_ssize_t nq = asked / lists->d, m = nq ? named / nq : 0;
    if (probes < 1 || asked != nq * lists->d || named != nq * m) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        goto end;
    }
    if (m) {
        probes = probes < lists->lists ? probes : lists->lists;
        room = PyMem_Malloc((m + probes) * sizeof(Named) + lists->lists * sizeof(float));
        if (room == NULL) {
            PyErr_NoMemory();
            goto end;
        }
        Named *hits = (Named *)room, *chosen = hits + m;
        float *near = (float *)(chosen + probes);
        if (nq > 1) {
            Py_BEGIN_ALLOW_THREADS
            search(lists, queries.buf, nq, found.buf, m, probes, hits, chosen, near);
            Py_END_ALLOW_THREADS
        } else /* of so little work giving up the lock would be a good part */
            search(lists, queries.buf, nq, found.buf, m, probes, hits, chosen, near);
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
