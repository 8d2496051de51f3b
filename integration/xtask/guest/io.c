/* Reads or writes a block device for some time, past the guest's page cache, with so many requests
 * under way at the same time, and tells how many there were.
 *
 * usage: io DEVICE read|write random|sequential BYTES DEPTH SECONDS
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 64

static int fail(const char *what)
{
    fprintf(stderr, "io: %s: %s\n", what, strerror(errno));
    return 1;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* What is asked for. */
static int fd, writes, is_random;
static size_t bytes;
static uint64_t places, state = 1, count;

/* The same places in each run: a linear congruential generator. */
static off_t next_place(void)
{
    uint64_t place = count++;
    if (is_random) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        place = state >> 33;
    }
    return place % places * bytes;
}

/* One request after the other. */
static int one_by_one(void *buffer, double end)
{
    do {
        off_t at = next_place();
        ssize_t done = writes ? pwrite(fd, buffer, bytes, at) : pread(fd, buffer, bytes, at);
        if (done != (ssize_t)bytes)
            return fail(done < 0 ? "a request failed" : "a request was cut short");
    } while (now() < end);
    return 0;
}

/* So many at the same time: for each that is done, the next. */
static int together(char *buffers, long depth, double end)
{
    struct iocb requests[DEPTH_MAX], *next[DEPTH_MAX];
    struct io_event events[DEPTH_MAX];
    aio_context_t context = 0;
    long waiting = depth, running = 0;

    if (syscall(SYS_io_setup, depth, &context))
        return fail("io_setup");
    memset(requests, 0, sizeof requests);
    for (long i = 0; i < depth; i++) {
        requests[i].aio_fildes = fd;
        requests[i].aio_lio_opcode = writes ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
        requests[i].aio_buf = (uintptr_t)(buffers + i * bytes);
        requests[i].aio_nbytes = bytes;
        next[i] = &requests[i];
    }
    while (waiting || running) {
        if (waiting) {
            for (long i = 0; i < waiting; i++)
                next[i]->aio_offset = next_place();
            if (syscall(SYS_io_submit, context, waiting, next) != waiting)
                return fail("io_submit");
            running += waiting;
        }
        long done = syscall(SYS_io_getevents, context, 1L, running, events, NULL);
        if (done < 1)
            return fail("io_getevents");
        running -= done;
        waiting = now() < end ? done : 0;
        for (long i = 0; i < done; i++) {
            if (events[i].res != (int64_t)bytes) {
                errno = events[i].res < 0 ? -events[i].res : 0;
                return fail("a request failed or was cut short");
            }
            next[i] = (struct iocb *)(uintptr_t)events[i].obj;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr,
                "usage: io DEVICE read|write random|sequential BYTES DEPTH SECONDS\n");
        return 2;
    }
    writes = !strcmp(argv[2], "write");
    is_random = !strcmp(argv[3], "random");
    bytes = strtoul(argv[4], NULL, 10);
    long depth = strtol(argv[5], NULL, 10);
    double seconds = strtod(argv[6], NULL);
    fd = open(argv[1], (writes ? O_WRONLY : O_RDONLY) | O_DIRECT);
    if (fd < 0)
        return fail(argv[1]);
    off_t size = lseek(fd, 0, SEEK_END);
    if (bytes == 0 || size < (off_t)bytes) {
        fprintf(stderr, "io: %s has no %zu bytes\n", argv[1], bytes);
        return 1;
    }
    if (depth < 1 || depth > DEPTH_MAX) {
        fprintf(stderr, "io: the depth is 1 to %d\n", DEPTH_MAX);
        return 2;
    }
    places = size / bytes;
    void *buffers;
    errno = posix_memalign(&buffers, 65536, bytes * depth);
    if (errno)
        return fail("no memory");
    memset(buffers, 0x5a, bytes * depth);

    double start = now(), end = start + seconds;
    int failed = depth == 1 ? one_by_one(buffers, end) : together(buffers, depth, end);
    if (failed)
        return failed;
    double elapsed = now() - start;
    printf("io: %s %s %zu, depth %ld: %llu requests in %.3f s, %.1f/s\n", argv[2], argv[3], bytes,
           depth, (unsigned long long)count, elapsed, count / elapsed);
    return 0;
}
