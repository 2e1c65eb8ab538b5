/* What the parts of the kernel share. */

#ifndef RETRIEVAL_KERNEL_H
#define RETRIEVAL_KERNEL_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define EACH_PROCESSOR __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define EACH_PROCESSOR
#endif

/* An array as C sees it: its memory, and how many numbers of a size it has; NULL and an exception where it is another. */
void *numbers(PyObject *array, Py_buffer *view, int flags, Py_ssize_t size, Py_ssize_t *count);

/* The type of _lists.c. */
extern PyType_Spec lists_spec;

#endif
