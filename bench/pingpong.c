/* How long 64 bytes take there and back, one message under way at a time.
 *
 *   pingpong echo unix|tcp|vsock ADDRESS             says "listening" on standard error, takes one connection
 *   pingpong ping unix|tcp|vsock|hybrid ADDRESS COUNT       prints the median and the 99th percentile in nanoseconds
 *
 * Addresses as floor's. The first tenth of the messages is not counted.
 */
#include <time.h>

#include "ends.h"

#define MESSAGE 64

static int got_message(int sock, char *into)
{
    for (size_t have = 0; have < MESSAGE;) {
        ssize_t got = recv(sock, into + have, MESSAGE - have, 0);
        check(got >= 0, "recv");
        if (got == 0)
            return 0;
        have += (size_t)got;
    }
    return 1;
}

static void give_message(int sock, const char *from)
{
    check(send(sock, from, MESSAGE, MSG_NOSIGNAL) == MESSAGE, "send");
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static int ascending(const void *one, const void *other)
{
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

static void ping(int sock, long count)
{
    char there[MESSAGE] = {0}, back[MESSAGE];
    long skipped = count / 10;
    int64_t *times = calloc((size_t)count, sizeof *times);
    check(times != NULL, "calloc");
    for (long i = -skipped; i < count; i++) {
        memcpy(there, &i, sizeof i);
        int64_t began = now();
        give_message(sock, there);
        if (!got_message(sock, back) || memcmp(there, back, MESSAGE) != 0) {
            fputs("another message came back than was sent\n", stderr);
            exit(1);
        }
        if (i >= 0)
            times[i] = now() - began;
    }
    qsort(times, (size_t)count, sizeof *times, ascending);
    printf("%lld %lld\n", (long long)times[count / 2], (long long)times[count * 99 / 100]);
    free(times);
}

int main(int argc, char **argv)
{
    char message[MESSAGE];
    if (argc == 4 && strcmp(argv[1], "echo") == 0) {
        int sock = accepted(family_of(argv[2]), argv[3], 0);
        while (got_message(sock, message))
            give_message(sock, message);
        return 0;
    }
    long count = argc == 5 && strcmp(argv[1], "ping") == 0 ? strtol(argv[4], NULL, 10) : 0;
    if (count < 1) {
        fputs("usage: pingpong echo FAMILY ADDRESS | ping FAMILY ADDRESS COUNT\n", stderr);
        return 2;
    }
    ping(dialed(family_of(argv[2]), argv[3], 0), count);
    return 0;
}
