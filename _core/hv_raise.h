/* From an error number to the OSError that Python itself would raise for it. */
#ifndef HV_RAISE_H
#define HV_RAISE_H

#include <Python.h>
#include <errno.h>

static inline int hv_raise_os_error(int err)
{
    errno = err;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

#ifdef _WIN32
static inline int hv_raise_socket_error(int err)
{
    PyErr_SetFromWindowsErr(err);
    return -1;
}
#else
#define hv_raise_socket_error hv_raise_os_error
#endif

#endif
