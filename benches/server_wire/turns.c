/* What a turn of the bench's server costs, where the machine is noisy.
 *
 * With 64 requests in flight over one connection the server reads them all, answers them all with one write, and waits.
 * This library, before libc's, reads the CPU time of the thread `server` at each read and write, and tells the quiet tenth
 * and the median of such turns, divided by the 64: of a second's
 * thousand turns a tenth are mostly undisturbed. docs/performance.md has what runs of one build differ by.
 *
 * Heads and bodies mostly come apart, as clients of hyper send them: then the heads' part is told as well. Turns in which
 * they come together, or in which not all 64 came, are told by their number.
 *
 *   cargo bench -p mesh-tower --bench server_wire --no-run
 *   cc -O2 -shared -fPIC -o target/turns.so benches/server_wire/turns.c -ldl
 *   LD_PRELOAD=$PWD/target/turns.so target/release/deps/server_wire-… 1 1 --only hyper   # and: --only mesh
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REQUESTS 64
#define MOST 100000

struct turn {
    long first, in, out; /* bytes: of the first read, of all, of the write */
    long heads, all;     /* nanoseconds: until the second read, and until after the write */
};

static struct turn turns[MOST];
static int count;
static struct turn now;
static long began, first_at;

static int is_server(void) {
    static __thread int known = -1;
    if (known != 1) {
        char name[17] = {0};
        prctl(PR_GET_NAME, name);
        known = strcmp(name, "server") == 0;
    }
    return known;
}

static long cpu(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

static void reads(ssize_t bytes) {
    if (bytes <= 0 || !is_server()) return;
    long at = cpu();
    if (now.first == 0) {
        now.first = bytes;
        first_at = at;
    } else if (now.heads == 0) {
        now.heads = at - first_at;
    }
    now.in += bytes;
}

static void writes(ssize_t bytes) {
    if (bytes <= 0 || !is_server()) return;
    long at = cpu();
    now.out = bytes;
    now.all = at - began;
    if (began != 0 && now.in != 0 && count < MOST) turns[count++] = now;
    memset(&now, 0, sizeof now);
    began = at;
}

#define REAL(type, name, ...)                      \
    static type (*real)(__VA_ARGS__);              \
    if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t read(int fd, void *buf, size_t length) {
    REAL(ssize_t, read, int, void *, size_t);
    ssize_t bytes = real(fd, buf, length);
    reads(bytes);
    return bytes;
}

ssize_t recv(int fd, void *buf, size_t length, int flags) {
    REAL(ssize_t, recv, int, void *, size_t, int);
    ssize_t bytes = real(fd, buf, length, flags);
    reads(bytes);
    return bytes;
}

ssize_t send(int fd, const void *buf, size_t length, int flags) {
    REAL(ssize_t, send, int, const void *, size_t, int);
    ssize_t bytes = real(fd, buf, length, flags);
    writes(bytes);
    return bytes;
}

ssize_t writev(int fd, const struct iovec *bufs, int bufs_count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    ssize_t bytes = real(fd, bufs, bufs_count);
    writes(bytes);
    return bytes;
}

static int by_size(const void *a, const void *b) {
    const long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

static double quantile(long *sorted, int length, double share) {
    return length == 0 ? 0 : sorted[(int)(share * (length - 1))] / 1000.0 / REQUESTS;
}

/* The turn of which there are most: all requests were read in it, and answered. */
static struct turn whole(void) {
    struct turn best = {0};
    int most = 0;
    /* One in eight is as good as the first hundred are. */
    for (int at = 0; at < count && most <= count / 8; at++) {
        if (turns[at].out < REQUESTS * 50) continue;
        int same = 0;
        for (int other = at; other < count; other++)
            same += turns[other].out == turns[at].out && turns[other].in == turns[at].in;
        if (same > most) {
            most = same;
            best = turns[at];
        }
    }
    return best;
}

__attribute__((destructor)) static void tell(void) {
    static long all[MOST], heads[MOST], together[MOST];
    int apart = 0, one = 0, others = 0;
    const struct turn best = whole();
    for (int at = 0; at < count; at++) {
        const struct turn *turn = &turns[at];
        if (turn->out < REQUESTS * 50) continue;
        if (turn->out != best.out || turn->in != best.in) {
            others++;
        } else if (turn->first < turn->in / 2 && turn->first < 4096) {
            all[apart] = turn->all;
            heads[apart++] = turn->heads;
        } else {
            together[one++] = turn->all;
        }
    }
    qsort(all, apart, sizeof *all, by_size);
    qsort(heads, apart, sizeof *heads, by_size);
    qsort(together, one, sizeof *together, by_size);
    fprintf(stderr,
            "us a request, quiet tenth and median: apart %.2f %.2f (heads %.2f %.2f) in %d turns; "
            "together %.2f %.2f in %d; others %d\n",
            quantile(all, apart, .1), quantile(all, apart, .5), quantile(heads, apart, .1),
            quantile(heads, apart, .5), apart, quantile(together, one, .1), quantile(together, one, .5), one,
            others);
}
