/* From an error number to the OSError that Python itself would raise for it. */
#ifndef HV_RAISE_H
#define HV_RAISE_H

#include <Python.h>
#include <errno.h>
#include "hv_sys.h"

#ifdef _WIN32

#include <string.h>

/* What the C runtime has no words for, or misleading ones. */
static inline const char *hv_words(int err)
{
    switch (err) {
    case EBUSY: return "Another program has it open";
    case ECANCELED: return "Operation canceled";
    case ELOOP: return "It is a symbolic link or a junction";
    case EILSEQ: return "The name is not Unicode";
    case ENOSYS: return "Windows has no such function";
    case EOPNOTSUPP: return "Operation not supported";
    case ETIMEDOUT: return "Timed out";
    default: return strerror(err);
    }
}

/* Not by PyErr_SetFromErrno: the errno that Python reads is that of another C runtime (hv_windows_handles.h). */
static inline int hv_raise_os_error(int err)
{
    PyObject *arguments = Py_BuildValue("(is)", err, hv_words(err));
    if (arguments) {
        PyErr_SetObject(PyExc_OSError, arguments);
        Py_DECREF(arguments);
    }
    return -1;
}

static inline int hv_raise_socket_error(int err)
{
    if (err == ECANCELED || err == EBADF)
        return hv_raise_os_error(err);
    PyErr_SetFromWindowsErr(err);
    return -1;
}

#else

#include <string.h>

#define hv_words strerror

static inline int hv_raise_os_error(int err)
{
    errno = err;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

#define hv_raise_socket_error hv_raise_os_error

#endif

#endif
