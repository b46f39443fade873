# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, warn.unreachable=True
"""The native core: it moves and scans bytes, and knows no frame, no name, no policy.

Two storeys.  Below: ``noexcept nogil`` loops over the calls of hv_sys.h, which come up with a Turn.  Above:
``def`` functions, which borrow buffers, serve signals and are the only ones that raise.  The contract is
hvcopy/_core.pyi.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AsString
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.unicode cimport PyUnicode_AsEncodedString, PyUnicode_FromWideChar
from libc.errno cimport ECONNRESET, EINVAL, EIO, ENOMEM, ENOSYS, EPIPE, ETIMEDOUT
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memset

from hv_sys cimport *

FILE_RECORD = "<iIIIQqqqQQQ"
PLACE_RECORD = "<QQqIIII"
END_RECORD = "<qI"
TOO_LARGE = HV_TOO_LARGE
NO_ROOM = HV_NO_ROOM
CHANGED = HV_CHANGED
NOT_REGULAR = HV_NOT_REGULAR
REPLACE = HV_REPLACE
SYNC = HV_SYNC
SET_OWNER = HV_SET_OWNER
OPEN_READ = HV_READ
OPEN_WRITE = HV_WRITE
OPEN_NEW = HV_NEW
OPEN_DIRECTORY = HV_DIRECTORY
OPEN_ANY = HV_ANY
OPEN_ALONE = HV_ALONE
IS_FILE = HV_REGULAR
IS_DIRECTORY = HV_SUBDIRECTORY
IS_LINK = HV_SYMLINK
IS_OTHER = HV_NEITHER

cdef enum:
    SLICE = (1 << 20) + 4096    # bytes of one system call at most, a block and its frame: how fine the meter is
    UNCLOCKED = 16      # calls between two looks at the clock while none of them has to wait
    PATROL_MS = 100     # signals are served this often, and one wait is this long; the contract says 200
    PAGE = 4096         # bytes; the grain of holes, and of what is copied


cdef enum Turn:
    """Why a loop goes on or comes up."""
    GO
    DONE
    ENDED       # end of stream or file
    PATROL      # come up to serve signals, then go on
    STALLED     # nothing moved for the whole timeout
    CANCELLED
    FAILED      # with an errno


@cython.final
cdef class Meter:
    """Counts bytes moved; any thread may read it or cancel it at any time."""

    cdef hv_meter numbers   # an object begins zeroed

    @property
    def moved(self):
        """Bytes moved so far, also in the middle of a call."""
        return hv_meter_moved(&self.numbers)

    @property
    def cancelled(self):
        """Whether cancel() was called."""
        return hv_meter_cancelled(&self.numbers) != 0

    @property
    def storing(self):
        """Whether recv_file, which was given this meter, writes to its file just now."""
        return hv_meter_storing(&self.numbers) != 0

    def add(self, int64_t count, /):
        """Count bytes that moved by other means."""
        if count < 0:
            raise ValueError("a meter only counts up")
        hv_meter_add(&self.numbers, count)

    def cancel(self):
        """Make every core call that was given this meter end within 200 ms with OSError(ECANCELED)."""
        hv_meter_cancel(&self.numbers)


include "streams.pxi"
include "pipes.pxi"
include "relay.pxi"
include "files.pxi"
include "packs.pxi"
include "landing.pxi"
include "names.pxi"
