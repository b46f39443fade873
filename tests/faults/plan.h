/* The plan of a fault-injecting run: which call of which kind goes wrong, and how.
 *
 * Read once from HVCOPY_FAULTS, for example
 *
 *     send: short:1 EINTR ok*2 reset; pwrite: ok ok ENOSPC; recv: flip@70000; syncfs: EIO*
 *
 * One list a kind of call (the names of tests/faults/hv_sys.h), one outcome a call, in order; then all is ok.
 *
 *     ok         the real call
 *     short:N    the real call with at most N bytes
 *     ENOSPC     that errno, without the real call (reset: ECONNRESET)
 *     eof        0 bytes, without the real call
 *     touched    the real fstat, with an mtime 1 ns later
 *     fresh      the real fstat of a file that was written to just now, with the mtime it had
 *     flip@N     real calls; byte N of all that calls of this kind move gets its lowest bit turned
 *     X*5  X*    five times; for ever
 *
 * A plan that cannot be read ends the process with status 99: a fault that never happens proves nothing.
 */
#ifndef HV_PLAN_H
#define HV_PLAN_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int err;          /* 0: make the real call */
    int eof;
    int touched;
    int fresh;
    size_t limit;     /* bytes */
    int64_t flip_at;  /* of the stream; -1: none */
} hv_fault;

/* What happens to this call of *kind*; takes it off the plan. */
hv_fault hv_fault_next(const char *kind);

/* After a call of *kind* that moved *moved* bytes: turn the planned bit if it is among them. */
void hv_fault_flip(const char *kind, hv_fault fault, unsigned char *bytes, int64_t moved);

#endif
