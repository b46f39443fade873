/* See plan.h.  One lock: calls come from any thread, and a test counts them. */
#define _GNU_SOURCE 1
#include "plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KINDS = 24, MAX_OUTCOMES = 32 };

typedef struct {
    hv_fault fault;
    long times;   /* -1: for ever */
} outcome;

typedef struct {
    char kind[24];
    outcome outcomes[MAX_OUTCOMES];
    int count, at;
    int64_t moved;   /* bytes of the stream so far */
} track;

/* What Winsock tells of has numbers of its own. */
#ifdef _WIN32
#include <winsock2.h>
#include <windows.h>
#define HV_TOLD(name) WSA##name
static SRWLOCK lock = SRWLOCK_INIT;
static void begin(void) { AcquireSRWLockExclusive(&lock); }
static void end(void) { ReleaseSRWLockExclusive(&lock); }
#else
#include <pthread.h>
#define HV_TOLD(name) name
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void begin(void) { pthread_mutex_lock(&lock); }
static void end(void) { pthread_mutex_unlock(&lock); }
#endif

static track tracks[MAX_KINDS];
static int track_count;

static const struct {
    const char *name;
    int number;
} errors[] = {
    {"reset", HV_TOLD(ECONNRESET)}, {"EACCES", EACCES}, {"EAGAIN", HV_TOLD(EWOULDBLOCK)}, {"EBADF", EBADF},
    {"EDQUOT", HV_TOLD(EDQUOT)},
    {"EEXIST", EEXIST}, {"EINTR", EINTR}, {"EINVAL", EINVAL}, {"EIO", EIO}, {"EISDIR", EISDIR},
    {"EMFILE", EMFILE}, {"ENFILE", ENFILE}, {"ENOBUFS", HV_TOLD(ENOBUFS)}, {"ENOENT", ENOENT}, {"ENOMEM", ENOMEM},
    {"ENOSPC", ENOSPC}, {"ENOSYS", ENOSYS}, {"EOPNOTSUPP", HV_TOLD(EOPNOTSUPP)}, {"EPERM", EPERM}, {"EPIPE", EPIPE},
    {"EROFS", EROFS}, {"ETIMEDOUT", HV_TOLD(ETIMEDOUT)}, {"EXDEV", EXDEV}, {"ENXIO", ENXIO},
    {"ECONNRESET", HV_TOLD(ECONNRESET)},
};

static void refuse(const char *word)
{
    fprintf(stderr, "the plan of faults: cannot read \"%s\"\n", word);
    _Exit(99);
}

static outcome parse_outcome(char *word)
{
    outcome result = {{.limit = SIZE_MAX, .flip_at = -1}, 1};
    char *times = strchr(word, '*');
    if (times) {
        *times++ = 0;
        result.times = *times ? strtol(times, NULL, 10) : -1;
    }
    if (strcmp(word, "ok") == 0)
        return result;
    if (strcmp(word, "eof") == 0) {
        result.fault.eof = 1;
        return result;
    }
    if (strcmp(word, "touched") == 0) {
        result.fault.touched = 1;
        return result;
    }
    if (strcmp(word, "elsewhere") == 0) {
        result.fault.elsewhere = 1;
        return result;
    }
    if (strcmp(word, "fresh") == 0) {
        result.fault.fresh = 1;
        return result;
    }
    if (strncmp(word, "short:", 6) == 0) {
        result.fault.limit = strtoul(word + 6, NULL, 10);
        return result;
    }
    if (strncmp(word, "flip@", 5) == 0) {
        result.fault.flip_at = strtoll(word + 5, NULL, 10);
        result.times = -1;
        return result;
    }
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strcmp(word, errors[i].name) == 0)
            result.fault.err = errors[i].number;
    if (!result.fault.err)
        refuse(word);
    return result;
}

static void parse_track(char *text)
{
    char *colon = strchr(text, ':'), *rest = NULL;
    char *kind = strtok_r(text, " :", &rest);
    track *here = &tracks[track_count];
    if (!kind)
        return;
    if (!colon || strlen(kind) >= sizeof here->kind || track_count == MAX_KINDS)
        refuse(kind);
    strcpy(here->kind, kind);
    for (char *word; (word = strtok_r(NULL, " ", &rest));) {
        if (strcmp(word, ":") == 0)
            continue;
        if (here->count == MAX_OUTCOMES)
            refuse(word);
        here->outcomes[here->count++] = parse_outcome(word);
    }
    track_count++;
}

void hv_fault_plan(const char *given)
{
    char *text = strdup(given), *rest = NULL;
    begin();
    memset(tracks, 0, sizeof tracks);
    track_count = 0;
    for (char *part = strtok_r(text, ";", &rest); part; part = strtok_r(NULL, ";", &rest))
        parse_track(part);
    end();
    free(text);
}

static track *track_of(const char *kind)
{
    for (int i = 0; i < track_count; i++)
        if (strcmp(tracks[i].kind, kind) == 0)
            return &tracks[i];
    return NULL;
}

hv_fault hv_fault_next(const char *kind)
{
    hv_fault result = {.limit = SIZE_MAX, .flip_at = -1};
    begin();
    track *here = track_of(kind);
    if (here && here->at < here->count) {
        outcome *next = &here->outcomes[here->at];
        result = next->fault;
        if (next->times > 0 && --next->times == 0)
            here->at++;
    }
    end();
    return result;
}

void hv_fault_flip(const char *kind, hv_fault fault, unsigned char *bytes, int64_t moved)
{
    begin();
    track *here = track_of(kind);
    if (here) {
        int64_t at = fault.flip_at - here->moved;
        if (fault.flip_at >= 0 && at >= 0 && at < moved)
            bytes[at] ^= 1;
        here->moved += moved;
    }
    end();
}
