/* What index/nearest/ranking.py does with NumPy, in one call: gather, score exactly, leave out, order; what
   index/vectors.py asks of a query; and where measures/inner_products.py finds scores among others.

   It holds to Python's stable interface and asks for arrays by the buffer protocol alone, so that one build serves every
   Python and every NumPy. Where it was not built, NumPy does the work. */

#include "_kernel.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Sums are kept in so many places, whatever the width of the registers, so that a score has the same bits everywhere. */
#define WIDE 8
#define TURNS 4
typedef float floats __attribute__((vector_size(4 * WIDE), aligned(4), may_alias));
typedef double doubles __attribute__((vector_size(8 * WIDE)));

/* Hits up to which keeping the best in order costs less than sorting them all. */
#define FEW 64
/* Vectors whose memory is asked for before they are summed. */
#define AHEAD 16

typedef struct {
    float score;
    int64_t row;
} Hit;

/* The float64 inner product, rounded to float32 and held within [-1, 1]. Products of float32 numbers are exact in
   float64, fused or not. */
static inline __attribute__((always_inline)) float score_of(const float *a, const float *b, Py_ssize_t d) {
    doubles sums[TURNS] = {{0}};
    Py_ssize_t i = 0;
    for (; i + WIDE * TURNS <= d; i += WIDE * TURNS)
        for (int turn = 0; turn < TURNS; turn++)
            sums[turn] += __builtin_convertvector(*(const floats *)(a + i + WIDE * turn), doubles) *
                          __builtin_convertvector(*(const floats *)(b + i + WIDE * turn), doubles);
    for (; i + WIDE <= d; i += WIDE)
        sums[0] += __builtin_convertvector(*(const floats *)(a + i), doubles) *
                   __builtin_convertvector(*(const floats *)(b + i), doubles);
    const doubles all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    double sum = ((all[0] + all[4]) + (all[2] + all[6])) + ((all[1] + all[5]) + (all[3] + all[7]));
    for (; i < d; i++)
        sum += (double)a[i] * (double)b[i];
    const float score = (float)sum;
    return score > 1 ? 1 : score < -1 ? -1 : score;
}

static inline int before(Hit a, Hit b) { return a.score > b.score || (a.score == b.score && a.row < b.row); }

static int compare(const void *a, const void *b) {
    return before(*(const Hit *)b, *(const Hit *)a) - before(*(const Hit *)a, *(const Hit *)b);
}

/* The k best of n hits to the front, best first. */
static void best_first(Hit *hits, Py_ssize_t n, Py_ssize_t k) {
    if (k > FEW) {
        qsort(hits, n, sizeof(Hit), compare);
        return;
    }
    Py_ssize_t size = 0;
    for (Py_ssize_t next = 0; next < n; next++) {
        const Hit one = hits[next];
        if (size == k && !before(one, hits[k - 1]))
            continue;
        Py_ssize_t at = size < k ? size++ : k - 1;
        for (; at > 0 && before(one, hits[at - 1]); at--)
            hits[at] = hits[at - 1];
        hits[at] = one;
    }
}

/* Whether an id is among others, ascending. */
static int among(int64_t id, const int64_t *ids, Py_ssize_t n) {
    Py_ssize_t low = 0, high = n;
    while (low < high) {
        const Py_ssize_t middle = low + (high - low) / 2;
        if (ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && ids[low] == id;
}

/* What is ranked, and how: arrays as ranking.py describes them. */
typedef struct {
    const float *queries, *vectors;
    const void *found;
    const int64_t *row_of, *ids, *excluded; /* where the ids of each query end in what follows, and these; or NULL */
    const char *mask;
    float *scores;
    int64_t *hits;
    Py_ssize_t nq, d, n, m, k, positions;
    int narrow; /* whether what was found is uint32, not int64 */
} Job;

static inline void fetch(const Job *job, int64_t row) {
    const char *at = (const char *)(job->vectors + row * job->d);
    for (Py_ssize_t line = 0; line < 4 * job->d; line += 64)
        __builtin_prefetch(at + line, 0, 2);
}

/* The rows that may be hits of one query: how many, or -1 where one is out of bounds. */
static Py_ssize_t named(const Job *job, Py_ssize_t query, Hit *hits) {
    const int64_t *excluded = NULL;
    Py_ssize_t leaving = 0, count = 0;
    if (job->excluded) {
        const int64_t from = query ? job->excluded[query - 1] : 0;
        excluded = job->excluded + job->nq + from;
        leaving = job->excluded[query] - from;
    }
    for (Py_ssize_t place = query * job->m; place < (query + 1) * job->m; place++) {
        int64_t row = job->narrow ? (int64_t)((const uint32_t *)job->found)[place] : ((const int64_t *)job->found)[place];
        if (row < 0)
            continue;
        if (row >= job->positions)
            return -1;
        if (job->row_of && (row = job->row_of[row]) < 0)
            continue;
        if (row >= job->n)
            return -1;
        if ((job->mask && !job->mask[row]) || (leaving && among(job->ids[row], excluded, leaving)))
            continue;
        hits[count++].row = row;
    }
    return count;
}

static inline void fetch_some(const Job *job, const Hit *hits, Py_ssize_t from, Py_ssize_t count) {
    for (Py_ssize_t i = from; i < count && i < AHEAD; i++)
        fetch(job, hits[i].row);
}

/* How many queries have fewer than k hits, or -1 where a row is out of bounds. `both`: room for 2 m hits. */
EACH_PROCESSOR static Py_ssize_t rank_all(const Job *job, Hit *both) {
    Py_ssize_t lacking = 0, coming = named(job, 0, both);
    fetch_some(job, both, 0, coming);
    for (Py_ssize_t query = 0; query < job->nq; query++) {
        const Py_ssize_t count = coming, ahead = count < AHEAD ? count : AHEAD;
        Hit *hits = both + (query % 2) * job->m, *next = both + ((query + 1) % 2) * job->m;
        if (count < 0)
            return -1;
        coming = query + 1 < job->nq ? named(job, query + 1, next) : 0;
        const float *vector = job->queries + query * job->d;
        for (Py_ssize_t i = 0; i < count; i++) { /* memory comes row by row while others are summed */
            const Py_ssize_t then = i + ahead - count;
            if (then < 0)
                fetch(job, hits[i + ahead].row);
            else if (then < coming)
                fetch(job, next[then].row);
            hits[i].score = score_of(vector, job->vectors + hits[i].row * job->d, job->d);
        }
        fetch_some(job, next, ahead, coming);
        best_first(hits, count, job->k);
        const Py_ssize_t there = count < job->k ? count : job->k;
        float *scores = job->scores + query * job->k;
        int64_t *found = job->hits + query * job->k;
        for (Py_ssize_t i = 0; i < there; i++) {
            scores[i] = hits[i].score;
            found[i] = job->ids[hits[i].row];
        }
        for (Py_ssize_t i = there; i < job->k; i++) {
            scores[i] = -INFINITY;
            found[i] = -1;
        }
        lacking += there < job->k;
    }
    return lacking;
}

EACH_PROCESSOR static void score_all(
    const float *queries, const float *vectors, float *out, Py_ssize_t pairs, Py_ssize_t each, Py_ssize_t d) {
    for (Py_ssize_t pair = 0; pair < pairs; pair++)
        out[pair] = score_of(queries + pair / each * d, vectors + pair * d, d);
}

/* Pairs of queries and vectors that score at least so much, in the order of the queries and then of the vectors. */
typedef struct {
    int32_t *queries;
    int64_t *rows;
    float *scores;
    Py_ssize_t size, room;
} Pairs;

static int add_pair(Pairs *pairs, int32_t query, int64_t row, float score) {
    if (pairs->size == pairs->room) {
        const Py_ssize_t room = pairs->room ? 2 * pairs->room : 1024;
        void *queries = realloc(pairs->queries, room * sizeof(int32_t));
        if (queries)
            pairs->queries = queries;
        void *rows = realloc(pairs->rows, room * sizeof(int64_t));
        if (rows)
            pairs->rows = rows;
        void *scores = realloc(pairs->scores, room * sizeof(float));
        if (scores)
            pairs->scores = scores;
        if (!queries || !rows || !scores)
            return -1;
        pairs->room = room;
    }
    pairs->queries[pairs->size] = query;
    pairs->rows[pairs->size] = row;
    pairs->scores[pairs->size++] = score;
    return 0;
}

/* Of those that `near` says are at least `least`; -1 where there is no memory. */
EACH_PROCESSOR static int find_above(
    Pairs *pairs, const float *queries, const float *vectors, const float *near, const char *mask, Py_ssize_t nq,
    Py_ssize_t n, Py_ssize_t d, float least, float score) {
    for (Py_ssize_t query = 0; query < nq; query++)
        for (Py_ssize_t row = 0; row < n; row++) {
            if (near[query * n + row] < least || (mask && !mask[row]))
                continue;
            const float exact = score_of(queries + query * d, vectors + row * d, d);
            if (exact >= score && add_pair(pairs, (int32_t)query, row, exact) < 0)
                return -1;
        }
    return 0;
}

void *numbers(PyObject *array, Py_buffer *view, int flags, Py_ssize_t size, Py_ssize_t *count) {
    if (PyObject_GetBuffer(array, view, flags) < 0) {
        view->obj = NULL;
        return NULL;
    }
    if (size && view->itemsize != size) {
        PyErr_SetString(PyExc_TypeError, "an array is of another type");
        return NULL;
    }
    *count = view->len / view->itemsize;
    return view->buf;
}

typedef struct {
    PyObject_HEAD
    Py_buffer vectors, ids, row_of;
    Py_ssize_t n, d, positions;
} Ranker;

static int ranker_init(PyObject *self, PyObject *args, PyObject *named) {
    Ranker *ranker = (Ranker *)self;
    PyObject *vectors, *ids, *row_of;
    Py_ssize_t count;
    if (named != NULL && PyDict_Size(named)) {
        PyErr_SetString(PyExc_TypeError, "Ranker takes no names");
        return -1;
    }
    if (ranker->vectors.obj != NULL) {
        PyErr_SetString(PyExc_TypeError, "a Ranker is made once");
        return -1;
    }
    if (!PyArg_ParseTuple(args, "OOO", &vectors, &ids, &row_of) ||
        !numbers(ids, &ranker->ids, PyBUF_SIMPLE, 8, &ranker->n) ||
        !numbers(vectors, &ranker->vectors, PyBUF_SIMPLE, 4, &count))
        return -1;
    if (!ranker->n || count % ranker->n || !count) {
        PyErr_SetString(PyExc_ValueError, "there is not a vector for each id");
        return -1;
    }
    ranker->d = count / ranker->n;
    ranker->positions = ranker->n;
    if (row_of != Py_None && !numbers(row_of, &ranker->row_of, PyBUF_SIMPLE, 8, &ranker->positions))
        return -1;
    return 0;
}

static void ranker_dealloc(PyObject *self) {
    Ranker *ranker = (Ranker *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyBuffer_Release(&ranker->vectors); /* of one that was never taken it does nothing */
    PyBuffer_Release(&ranker->ids);
    PyBuffer_Release(&ranker->row_of);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* Ids for each of some queries, from lists of them: where those of each end, and then all of them, one query's after the
   other's. NULL and an exception where they are something else. */
static int64_t *ids_of_each(PyObject *lists, Py_ssize_t nq) {
    Py_ssize_t room = nq + FEW, size = nq;
    if (PySequence_Size(lists) != nq) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "there is not a list for each query");
        return NULL;
    }
    int64_t *flat = PyMem_Malloc(room * sizeof(int64_t));
    for (Py_ssize_t query = 0; flat && query < nq; query++) {
        PyObject *list = PySequence_GetItem(lists, query);
        const Py_ssize_t count = list ? PySequence_Size(list) : -1;
        for (Py_ssize_t place = 0; place < count && !PyErr_Occurred(); place++) {
            if (size == room) {
                int64_t *more = PyMem_Realloc(flat, 2 * room * sizeof(int64_t));
                if (more == NULL) {
                    PyErr_NoMemory();
                    break;
                }
                flat = more;
                room *= 2;
            }
            PyObject *id = PySequence_GetItem(list, place);
            if (id)
                flat[size++] = PyLong_AsLongLong(id);
            Py_XDECREF(id);
        }
        flat[query] = size - nq;
        Py_XDECREF(list);
        if (PyErr_Occurred()) {
            PyMem_Free(flat);
            return NULL;
        }
    }
    if (!flat)
        PyErr_NoMemory();
    return flat;
}

enum { SCORES, HITS, QUERIES, FOUND, MASK, ARRAYS, EXCLUDED = ARRAYS, GIVEN };

static PyObject *ranker_into(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Ranker *ranker = (Ranker *)self;
    static const Py_ssize_t sizes[ARRAYS] = {4, 8, 4, 0, 1};
    Py_buffer views[ARRAYS];
    Py_ssize_t counts[ARRAYS] = {0};
    void *at[ARRAYS] = {NULL};
    PyObject *answer = NULL;
    Hit *both = NULL, few[2 * FEW];
    int64_t *excluded = NULL;
    int array;
    if (given != GIVEN || ranker->vectors.obj == NULL) {
        PyErr_SetString(PyExc_TypeError, "into(scores, ids, queries, found, mask, excluded)");
        return NULL;
    }
    for (array = 0; array < ARRAYS; array++) {
        views[array].obj = NULL;
        if (args[array] == Py_None && array >= MASK)
            continue;
        at[array] = numbers(
            args[array], &views[array], array <= HITS ? PyBUF_WRITABLE : PyBUF_SIMPLE, sizes[array], &counts[array]);
        if (PyErr_Occurred())
            goto end;
    }
    Job job = {
        .queries = at[QUERIES], .vectors = ranker->vectors.buf, .found = at[FOUND], .row_of = ranker->row_of.buf,
        .ids = ranker->ids.buf, .mask = at[MASK], .scores = at[SCORES], .hits = at[HITS],
        .nq = counts[QUERIES] / ranker->d, .d = ranker->d, .n = ranker->n, .positions = ranker->positions,
        .narrow = views[FOUND].itemsize == 4,
    };
    if (!job.nq || !counts[SCORES]) {
        answer = PyLong_FromLong(0);
        goto end;
    }
    job.m = counts[FOUND] / job.nq;
    job.k = counts[SCORES] / job.nq;
    if (counts[QUERIES] != job.nq * job.d || counts[FOUND] != job.nq * job.m || counts[SCORES] != job.nq * job.k ||
        counts[HITS] != counts[SCORES] || (at[MASK] && counts[MASK] != job.n) ||
        (!job.narrow && views[FOUND].itemsize != 8)) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        goto end;
    }
    if (args[EXCLUDED] != Py_None) {
        job.excluded = excluded = ids_of_each(args[EXCLUDED], job.nq);
        if (excluded == NULL)
            goto end;
    }
    both = job.m <= FEW ? few : PyMem_Malloc(2 * job.m * sizeof(Hit));
    if (both == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    Py_ssize_t lacking;
    if (job.nq > 1) {
        Py_BEGIN_ALLOW_THREADS
        lacking = rank_all(&job, both);
        Py_END_ALLOW_THREADS
    } else /* of so little work giving up the lock would be a good part */
        lacking = rank_all(&job, both);
    if (lacking < 0)
        PyErr_SetString(PyExc_IndexError, "a structure names a vector that there is not");
    else
        answer = PyLong_FromSsize_t(lacking);
end:
    if (both != few)
        PyMem_Free(both);
    PyMem_Free(excluded);
    for (int last = array < ARRAYS ? array : ARRAYS - 1; last >= 0; last--)
        if (views[last].obj != NULL)
            PyBuffer_Release(&views[last]);
    return answer;
}

static PyObject *scores_into(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    Py_buffer views[3] = {{.obj = NULL}, {.obj = NULL}, {.obj = NULL}};
    Py_ssize_t counts[3];
    void *at[3];
    PyObject *answer = NULL;
    if (given != 4) {
        PyErr_SetString(PyExc_TypeError, "scores_into(out, queries, vectors, d)");
        return NULL;
    }
    const Py_ssize_t d = PyLong_AsSsize_t(args[3]);
    for (int array = 0; array < 3; array++) {
        at[array] = numbers(args[array], &views[array], array ? PyBUF_SIMPLE : PyBUF_WRITABLE, 4, &counts[array]);
        if (PyErr_Occurred())
            goto end;
    }
    const Py_ssize_t nq = d > 0 ? counts[1] / d : 0, each = nq > 0 ? counts[0] / nq : 0;
    if (d < 1 || counts[1] != nq * d || counts[0] != nq * each || counts[2] != counts[0] * d) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        goto end;
    }
    Py_BEGIN_ALLOW_THREADS
    score_all(at[1], at[2], at[0], counts[0], each, d);
    Py_END_ALLOW_THREADS
    answer = Py_None;
    Py_INCREF(answer);
end:
    for (int array = 0; array < 3; array++)
        if (views[array].obj != NULL)
            PyBuffer_Release(&views[array]);
    return answer;
}

/* Of scores (nq, n), of the rows from `first` on, those that are among the best so far (nq, count), which descend. */
static void keep_all(
    const float *near, float *best, int64_t *rows, Py_ssize_t nq, Py_ssize_t n, Py_ssize_t count, int64_t first) {
    for (Py_ssize_t query = 0; query < nq; query++, near += n, best += count, rows += count)
        for (Py_ssize_t row = 0; row < n; row++) {
            const float score = near[row];
            if (!(score > best[count - 1]))
                continue;
            Py_ssize_t at = count - 1;
            for (; at > 0 && score > best[at - 1]; at--) {
                best[at] = best[at - 1];
                rows[at] = rows[at - 1];
            }
            best[at] = score;
            rows[at] = first + row;
        }
}

static PyObject *keep_best(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    static const Py_ssize_t sizes[3] = {4, 8, 4};
    Py_buffer views[3] = {{.obj = NULL}, {.obj = NULL}, {.obj = NULL}};
    Py_ssize_t counts[3] = {0};
    void *at[3] = {NULL};
    PyObject *answer = NULL;
    if (given != 5) {
        PyErr_SetString(PyExc_TypeError, "keep_best(scores, rows, near, queries, first)");
        return NULL;
    }
    const Py_ssize_t nq = PyLong_AsSsize_t(args[3]);
    const int64_t first = PyLong_AsLongLong(args[4]);
    if (PyErr_Occurred())
        return NULL;
    for (int array = 0; array < 3; array++) {
        at[array] = numbers(
            args[array], &views[array], array < 2 ? PyBUF_WRITABLE : PyBUF_SIMPLE, sizes[array], &counts[array]);
        if (PyErr_Occurred())
            goto end;
    }
    if (nq < 1 || !counts[0] || counts[0] != counts[1] || counts[0] % nq || counts[2] % nq) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        goto end;
    }
    Py_BEGIN_ALLOW_THREADS
    keep_all(at[2], at[0], at[1], nq, counts[2] / nq, counts[0] / nq, first);
    Py_END_ALLOW_THREADS
    answer = Py_None;
    Py_INCREF(answer);
end:
    for (int array = 0; array < 3; array++)
        if (views[array].obj != NULL)
            PyBuffer_Release(&views[array]);
    return answer;
}

/* Levels up to which each is compared with all scores, which costs less than looking up where each score stands. */
#define LEVELS 16
/* Bins for each level, and the most of them: where most hold one level or none, a look-up is a step or two. */
#define BINS 8
#define MOST_BINS (1 << 16)
#define CHUNK 1024

static inline __attribute__((always_inline)) void find_bins(
    int32_t *bin_of, const float *scores, Py_ssize_t n, float most, float scale, int32_t bins) {
    const float last = (float)bins;
    for (Py_ssize_t i = 0; i < n; i++) {
        float at = (most - scores[i]) * scale;
        at = at < last ? at : last;
        bin_of[i] = (int32_t)(at > 0 ? at : 0);
    }
}

/* How many of n scores are above each of m levels, which descend, and how many are equal. */
static inline __attribute__((always_inline)) void count_few(
    int64_t *above, int64_t *equal, const float *scores, Py_ssize_t n, const float *levels, Py_ssize_t m) {
    for (Py_ssize_t level = 0; level < m; level++) {
        const float at = levels[level];
        int64_t more = 0, same = 0;
        for (Py_ssize_t from = 0; from < n; from += 1 << 30) {
            const Py_ssize_t to = n - from > 1 << 30 ? from + (1 << 30) : n;
            int32_t some = 0, ties = 0;
            for (Py_ssize_t i = from; i < to; i++) {
                some += scores[i] > at;
                ties += scores[i] == at;
            }
            more += some;
            same += ties;
        }
        above[level] = more;
        equal[level] = same;
    }
}

/* The same of many levels. Bins of equal width divide the scores between the first level and the last, and one more takes
   what is below; `first` says which level begins each. In floats, too, a lower score never stands in a bin before that of
   a higher one. Of scores between two levels those are counted at the lower one in `between`, room for m + 1. */
static inline __attribute__((always_inline)) void count_many(
    int64_t *above, int64_t *equal, const float *scores, Py_ssize_t n, const float *levels, Py_ssize_t m,
    uint32_t *first, int64_t *between) {
    const int32_t bins = BINS * m < MOST_BINS ? (int32_t)(BINS * m) : MOST_BINS;
    const float most = levels[0], wide = (float)(bins - 1) / (most - levels[m - 1]), scale = wide < 1e30f ? wide : 1e30f;
    int32_t bin_of[CHUNK];
    for (Py_ssize_t from = 0, bin = 0; from < m; from += CHUNK) {
        const Py_ssize_t some = m - from < CHUNK ? m - from : CHUNK;
        find_bins(bin_of, levels + from, some, most, scale, bins);
        for (Py_ssize_t i = 0; i < some; i++)
            for (; bin <= bin_of[i]; bin++)
                first[bin] = (uint32_t)(from + i);
        if (from + some == m)
            for (; bin <= bins + 1; bin++)
                first[bin] = (uint32_t)m;
    }
    memset(equal, 0, m * sizeof(int64_t));
    memset(between, 0, (m + 1) * sizeof(int64_t));
    for (Py_ssize_t from = 0; from < n; from += CHUNK) {
        const Py_ssize_t some = n - from < CHUNK ? n - from : CHUNK;
        find_bins(bin_of, scores + from, some, most, scale, bins);
        for (Py_ssize_t i = 0; i < some; i++) {
            uint32_t low = first[bin_of[i]], high = first[bin_of[i] + 1];
            if (low < high) {
                const float score = scores[from + i];
                const uint32_t end = high;
                while (high - low > 8) { /* the first level that is not above the score */
                    const uint32_t middle = low + (high - low) / 2;
                    if (levels[middle] > score)
                        low = middle + 1;
                    else
                        high = middle;
                }
                while (low < high && levels[low] > score)
                    low++;
                if (low < end && levels[low] == score) {
                    equal[low]++;
                    continue;
                }
            }
            between[low]++;
        }
    }
    int64_t sum = 0;
    for (Py_ssize_t level = 0; level < m; level++) {
        above[level] = sum += between[level];
        sum += equal[level];
    }
}

EACH_PROCESSOR static void count_all(
    int64_t *above, int64_t *equal, const float *scores, Py_ssize_t nq, Py_ssize_t n, const float *levels,
    const int64_t *limits, uint32_t *first, int64_t *between) {
    for (Py_ssize_t query = 0; query < nq; query++, scores += n) {
        const int64_t from = limits[query], m = limits[query + 1] - from;
        if (m <= LEVELS)
            count_few(above + from, equal + from, scores, n, levels + from, m);
        else
            count_many(above + from, equal + from, scores, n, levels + from, m, first, between);
    }
}

static PyObject *count_into(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    enum { ABOVE, EQUAL, SCORES, LEVELS_OF, LIMITS, COUNTED };
    static const Py_ssize_t sizes[COUNTED] = {8, 8, 4, 4, 8};
    Py_buffer views[COUNTED] = {{.obj = NULL}, {.obj = NULL}, {.obj = NULL}, {.obj = NULL}, {.obj = NULL}};
    Py_ssize_t counts[COUNTED] = {0};
    void *at[COUNTED] = {NULL};
    PyObject *answer = NULL;
    int64_t *between = NULL;
    if (given != COUNTED) {
        PyErr_SetString(PyExc_TypeError, "count_into(above, equal, scores, levels, limits)");
        return NULL;
    }
    for (int array = 0; array < COUNTED; array++) {
        at[array] = numbers(
            args[array], &views[array], array < SCORES ? PyBUF_WRITABLE : PyBUF_SIMPLE, sizes[array], &counts[array]);
        if (PyErr_Occurred())
            goto end;
    }
    const Py_ssize_t nq = counts[LIMITS] - 1, size = counts[LEVELS_OF];
    const int64_t *limits = at[LIMITS];
    int fits = nq > 0 && counts[ABOVE] == size && counts[EQUAL] == size && counts[SCORES] % nq == 0 && limits[0] == 0 &&
               limits[nq] == size && size <= UINT32_MAX;
    int64_t most = 0;
    for (Py_ssize_t query = 0; fits && query < nq; query++) {
        const int64_t its = limits[query + 1] - limits[query];
        fits = its >= 0;
        most = its > most ? its : most;
    }
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        goto end;
    }
    between = malloc((most + 1) * sizeof(int64_t) + (MOST_BINS + 2) * sizeof(uint32_t));
    if (between == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    Py_BEGIN_ALLOW_THREADS
    count_all(at[ABOVE], at[EQUAL], at[SCORES], nq, counts[SCORES] / nq, at[LEVELS_OF], limits,
              (uint32_t *)(between + most + 1), between);
    Py_END_ALLOW_THREADS
    answer = Py_None;
    Py_INCREF(answer);
end:
    free(between);
    for (int array = 0; array < COUNTED; array++)
        if (views[array].obj != NULL)
            PyBuffer_Release(&views[array]);
    return answer;
}

static PyObject *above(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    Py_buffer views[4] = {{.obj = NULL}, {.obj = NULL}, {.obj = NULL}, {.obj = NULL}};
    static const Py_ssize_t sizes[4] = {4, 4, 4, 1};
    Py_ssize_t counts[4] = {0};
    void *at[4] = {NULL};
    Pairs pairs = {NULL, NULL, NULL, 0, 0};
    PyObject *answer = NULL;
    if (given != 7) {
        PyErr_SetString(PyExc_TypeError, "above(queries, vectors, near, mask, d, least, score)");
        return NULL;
    }
    const Py_ssize_t d = PyLong_AsSsize_t(args[4]);
    const float least = (float)PyFloat_AsDouble(args[5]), score = (float)PyFloat_AsDouble(args[6]);
    if (PyErr_Occurred())
        return NULL;
    for (int array = 0; array < 4; array++) {
        if (array == 3 && args[array] == Py_None)
            continue;
        at[array] = numbers(args[array], &views[array], PyBUF_SIMPLE, sizes[array], &counts[array]);
        if (PyErr_Occurred())
            goto end;
    }
    const Py_ssize_t nq = d > 0 ? counts[0] / d : 0, n = d > 0 ? counts[1] / d : 0;
    if (d < 1 || nq > INT32_MAX || counts[0] != nq * d || counts[1] != n * d || counts[2] != nq * n ||
        (at[3] && counts[3] != n)) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        goto end;
    }
    int failed;
    Py_BEGIN_ALLOW_THREADS
    failed = find_above(&pairs, at[0], at[1], at[2], at[3], nq, n, d, least, score);
    Py_END_ALLOW_THREADS
    if (failed)
        PyErr_NoMemory();
    else
        answer = Py_BuildValue("(y#y#y#)", pairs.size ? (char *)pairs.queries : "", 4 * pairs.size,
                               pairs.size ? (char *)pairs.rows : "", 8 * pairs.size,
                               pairs.size ? (char *)pairs.scores : "", 4 * pairs.size);
end:
    free(pairs.queries);
    free(pairs.rows);
    free(pairs.scores);
    for (int array = 0; array < 4; array++)
        if (views[array].obj != NULL)
            PyBuffer_Release(&views[array]);
    return answer;
}

enum { OUT_SCORES, OUT_ROWS, STARTS, QUERY_OF, SCORE_OF, ROW_OF, GATHERED };

static PyObject *gather_into(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    static const Py_ssize_t sizes[GATHERED] = {4, 8, 8, 4, 4, 8};
    Py_buffer views[GATHERED];
    Py_ssize_t counts[GATHERED] = {0};
    void *at[GATHERED] = {NULL};
    PyObject *answer = NULL;
    Hit *hits = NULL;
    int array;
    if (given != GATHERED + 2) {
        PyErr_SetString(PyExc_TypeError, "gather_into(scores, rows, limits, query, score, row, first, end)");
        return NULL;
    }
    const Py_ssize_t first = PyLong_AsSsize_t(args[GATHERED]), end_ = PyLong_AsSsize_t(args[GATHERED + 1]);
    if (PyErr_Occurred())
        return NULL;
    for (array = 0; array < GATHERED; array++) {
        views[array].obj = NULL;
        at[array] = numbers(
            args[array], &views[array], array <= OUT_ROWS ? PyBUF_WRITABLE : PyBUF_SIMPLE, sizes[array], &counts[array]);
        if (PyErr_Occurred())
            goto end;
    }
    const int64_t *limits = at[STARTS];
    const int32_t *query_of = at[QUERY_OF];
    const float *score_of_pair = at[SCORE_OF];
    const int64_t *row_of = at[ROW_OF];
    const Py_ssize_t size = counts[QUERY_OF];
    int fits = first >= 0 && first <= end_ && end_ < counts[STARTS] && counts[SCORE_OF] == size &&
               counts[ROW_OF] == size && counts[OUT_SCORES] == size && counts[OUT_ROWS] == size &&
               limits[first] >= 0 && limits[end_] <= size;
    for (Py_ssize_t query = first; fits && query < end_; query++)
        fits = limits[query] <= limits[query + 1];
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        goto end;
    }
    const Py_ssize_t base = limits[first], mine = limits[end_] - base, queries = end_ - first;
    hits = malloc((mine + 1) * sizeof(Hit) + (queries + 1) * sizeof(Py_ssize_t));
    if (hits == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    Py_ssize_t *next = (Py_ssize_t *)(hits + mine + 1);
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t query = 0; query < queries; query++)
        next[query] = limits[first + query] - base;
    for (Py_ssize_t pair = 0; pair < size; pair++) {
        const Py_ssize_t query = query_of[pair] - first;
        if (query < 0 || query >= queries)
            continue;
        if (next[query] >= limits[first + query + 1] - base) {
            fits = 0;
            break;
        }
        const Hit hit = {score_of_pair[pair], row_of[pair]};
        hits[next[query]++] = hit;
    }
    for (Py_ssize_t query = first; fits && query < end_; query++)
        qsort(hits + (limits[query] - base), limits[query + 1] - limits[query], sizeof(Hit), compare);
    float *scores = at[OUT_SCORES];
    int64_t *rows = at[OUT_ROWS];
    for (Py_ssize_t place = 0; fits && place < mine; place++) {
        scores[base + place] = hits[place].score;
        rows[base + place] = hits[place].row;
    }
    Py_END_ALLOW_THREADS
    if (fits) {
        answer = Py_None;
        Py_INCREF(answer);
    } else
        PyErr_SetString(PyExc_ValueError, "a query has more pairs than its limits say");
end:
    free(hits);
    for (int last = array < GATHERED ? array : GATHERED - 1; last >= 0; last--)
        if (views[last].obj != NULL)
            PyBuffer_Release(&views[last]);
    return answer;
}

/* The square of a vector's length. That of a float32 neither overflows nor vanishes in float64. */
static inline __attribute__((always_inline)) double square_of(const float *row, Py_ssize_t d) {
    double sums[WIDE] = {0}, sum = 0;
    Py_ssize_t i = 0;
    for (; i + WIDE <= d; i += WIDE)
        for (int place = 0; place < WIDE; place++)
            sums[place] += (double)row[i + place] * (double)row[i + place];
    for (; i < d; i++)
        sum += (double)row[i] * (double)row[i];
    for (int place = 0; place < WIDE; place++)
        sum += sums[place];
    return sum;
}

EACH_PROCESSOR static double square(const float *row, Py_ssize_t d) { return square_of(row, d); }

static PyObject *is_unit(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    Py_buffer view;
    int unit = 0;
    if (given != 3) {
        PyErr_SetString(PyExc_TypeError, "is_unit(query, dim, tolerance)");
        return NULL;
    }
    const Py_ssize_t d = PyLong_AsSsize_t(args[1]);
    const double tolerance = PyFloat_AsDouble(args[2]);
    if (PyErr_Occurred())
        return NULL;
    if (PyObject_GetBuffer(args[0], &view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) < 0)
        PyErr_Clear(); /* it is no such array */
    else {
        if (view.ndim == 2 && view.shape[0] == 1 && view.shape[1] == d && view.format[0] == 'f' && !view.format[1]) {
            unit = fabs(sqrt(square(view.buf, d)) - 1) <= tolerance;
        }
        PyBuffer_Release(&view);
    }
    return PyBool_FromLong(unit);
}

/* Rows of float32 scaled to length 1: 0 where one of them has no direction. */
EACH_PROCESSOR static int scale_all(float *out, const float *rows, Py_ssize_t n, Py_ssize_t d) {
    for (Py_ssize_t row = 0; row < n; row++, rows += d, out += d) {
        const double sum = square_of(rows, d);
        if (!(sum > 0 && isfinite(sum)))
            return 0;
        const double length = sqrt(sum);
        for (Py_ssize_t i = 0; i < d; i++)
            out[i] = (float)((double)rows[i] / length);
    }
    return 1;
}

static PyObject *unit_into(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    Py_buffer out, rows;
    int done = 0;
    if (given != 3) {
        PyErr_SetString(PyExc_TypeError, "unit_into(out, rows, dim)");
        return NULL;
    }
    const Py_ssize_t d = PyLong_AsSsize_t(args[2]);
    if (PyErr_Occurred() || PyObject_GetBuffer(args[0], &out, PyBUF_WRITABLE) < 0)
        return NULL;
    if (PyObject_GetBuffer(args[1], &rows, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) < 0)
        PyErr_Clear(); /* it is no such array */
    else {
        if (d > 0 && rows.format[0] == 'f' && !rows.format[1] && rows.len == out.len && rows.len % (4 * d) == 0) {
            Py_BEGIN_ALLOW_THREADS
            done = scale_all(out.buf, rows.buf, rows.len / (4 * d), d);
            Py_END_ALLOW_THREADS
        }
        PyBuffer_Release(&rows);
    }
    PyBuffer_Release(&out);
    return PyBool_FromLong(done);
}

static PyMethodDef ranker_methods[] = {
    {"into", (PyCFunction)(void (*)(void))ranker_into, METH_FASTCALL,
     "into(scores, ids, queries, found, mask, excluded): as ranking.rank describes them; how many queries have "
     "fewer hits than columns."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot ranker_slots[] = {
    {Py_tp_init, ranker_init}, {Py_tp_dealloc, ranker_dealloc}, {Py_tp_methods, ranker_methods},
    {Py_tp_doc, "Ranker(vectors, ids, row_of): float32 (n, d), int64 (n,), int64 (positions,) or None."}, {0, NULL},
};
static PyType_Spec ranker_spec = {"retrieval.base._kernel.Ranker", sizeof(Ranker), 0, Py_TPFLAGS_DEFAULT,
                                  ranker_slots};
static PyMethodDef functions[] = {
    {"is_unit", (PyCFunction)(void (*)(void))is_unit, METH_FASTCALL,
     "is_unit(query, dim, tolerance): whether it is float32 (1, dim), C-contiguous and about of length 1."},
    {"unit_into", (PyCFunction)(void (*)(void))unit_into, METH_FASTCALL,
     "unit_into(out, rows, dim): rows of float32 scaled to length 1; whether they were such, C-contiguous, and each has a "
     "direction."},
    {"scores_into", (PyCFunction)(void (*)(void))scores_into, METH_FASTCALL,
     "scores_into(out, queries, vectors, d): each query with as many vectors as there are for each."},
    {"above", (PyCFunction)(void (*)(void))above, METH_FASTCALL,
     "above(queries, vectors, near, mask, d, least, score): as ranking.above describes them; the bytes of the pairs' "
     "queries, rows and scores."},
    {"keep_best", (PyCFunction)(void (*)(void))keep_best, METH_FASTCALL,
     "keep_best(scores, rows, near, queries, first): float32 and int64 (queries, count), the best so far, descending; "
     "near, float32 (queries, n), of the rows from first on."},
    {"count_into", (PyCFunction)(void (*)(void))count_into, METH_FASTCALL,
     "count_into(above, equal, scores, levels, limits): as measures.inner_products.counted describes them."},
    {"gather_into", (PyCFunction)(void (*)(void))gather_into, METH_FASTCALL,
     "gather_into(scores, rows, limits, query, score, row, first, end): as ranking.by_query describes them, of the "
     "queries from first up to end."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernel", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) {
    PyObject *module = PyModule_Create(&definition);
    PyObject *ranker = PyType_FromSpec(&ranker_spec), *lists = PyType_FromSpec(&lists_spec);
    if (module == NULL || PyModule_AddIntConstant(module, "INTERFACE", 4) < 0 ||
        PyModule_AddObjectRef(module, "Ranker", ranker) < 0 || PyModule_AddObjectRef(module, "Lists", lists) < 0)
        Py_CLEAR(module);
    Py_XDECREF(ranker);
    Py_XDECREF(lists);
    return module;
}
