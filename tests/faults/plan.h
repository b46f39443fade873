/* The plan of a fault-injecting run: which call of which kind goes wrong, and how.
 *
 * Set by hv_fault_plan, for example to
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
 *     elsewhere  the real fstat, of another file system
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

#ifdef _WIN32
#define HV_PLANNED __declspec(dllexport)
#else
#define HV_PLANNED __attribute__((visibility("default")))
#endif

typedef struct {
    int err;          /* 0: make the real call */
    int eof;
    int touched;
    int elsewhere;
    int fresh;
    size_t limit;     /* bytes */
    int64_t flip_at;  /* of the stream; -1: none */
} hv_fault;

/* Make *text* the plan, from its beginning; "" is none. */
HV_PLANNED void hv_fault_plan(const char *text);

/* What happens to this call of *kind*; takes it off the plan. */
hv_fault hv_fault_next(const char *kind);

/* After a call of *kind* that moved *moved* bytes: turn the planned bit if it is among them. */
void hv_fault_flip(const char *kind, hv_fault fault, unsigned char *bytes, int64_t moved);

#endif
