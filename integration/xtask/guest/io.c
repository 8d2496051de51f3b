/* Reads or writes a block device for some time, past the guest's page cache, one request after the
 * other, and tells how many there were.
 *
 * usage: io DEVICE read|write random|sequential BYTES SECONDS
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: io DEVICE read|write random|sequential BYTES SECONDS\n");
        return 2;
    }
    int writes = !strcmp(argv[2], "write"), random = !strcmp(argv[3], "random");
    size_t bytes = strtoul(argv[4], NULL, 10);
    double seconds = strtod(argv[5], NULL);
    int fd = open(argv[1], (writes ? O_WRONLY : O_RDONLY) | O_DIRECT);
    if (fd < 0)
        return fail(argv[1]);
    off_t end = lseek(fd, 0, SEEK_END);
    if (bytes == 0 || end < (off_t)bytes) {
        fprintf(stderr, "io: %s has no %zu bytes\n", argv[1], bytes);
        return 1;
    }
    void *buffer;
    errno = posix_memalign(&buffer, 65536, bytes);
    if (errno)
        return fail("no memory");
    memset(buffer, 0x5a, bytes);

    /* The same places in each run: a linear congruential generator. */
    uint64_t places = end / bytes, state = 1, count = 0;
    double start = now(), elapsed;
    do {
        state = state * 6364136223846793005u + 1442695040888963407u;
        off_t at = (random ? state >> 33 : count) % places * bytes;
        ssize_t done = writes ? pwrite(fd, buffer, bytes, at) : pread(fd, buffer, bytes, at);
        if (done != (ssize_t)bytes)
            return fail(done < 0 ? argv[2] : "a request was cut short");
        count++;
        elapsed = now() - start;
    } while (elapsed < seconds);
    printf("io: %s %s %zu: %llu requests in %.3f s, %.1f/s\n", argv[2], argv[3], bytes,
           (unsigned long long)count, elapsed, count / elapsed);
    return 0;
}
