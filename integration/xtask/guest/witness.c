/* A guest that notices whether it was saved, moved or stopped badly. It counts, writes records to a
 * file on a disk, keeps memory full of what it wrote there, and talks to a peer over the network, all
 * at the same time, until the peer tells it to finish. Then it looks at all of it.
 *
 * usage: witness FILE MIB RATE
 *
 * FILE is for the records. MIB mebibytes of memory are written over and over, RATE mebibytes a second;
 * with a RATE of 0 they are written once. What it says:
 *
 *   GUEST-COUNTS N clock NS gap NS peer NS
 *       N is one more each time. The clock is the guest's own; the gap is the longest time since the
 *       last line in which this program did not run, by that clock, and by the peer's.
 *   GUEST-WITNESSED NAME VALUE...
 *       at the end, when nothing was wrong
 *   GUEST-FAILED: WHAT
 *       as soon as something is, and then the program ends with status 1
 */
#define _GNU_SOURCE
#include <altivec.h>
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PEER "10.0.2.2"
#define MESSAGES_PORT 7000
#define TICKS_PORT 7001

/* How often there is a line, a tick and a message, in nanoseconds. */
#define LINE_NS 50000000
#define TICK_NS 2000000
#define MESSAGE_NS 5000000

#define RECORD_BYTES 4096
#define RECORDS 2048
#define PAGE_BYTES 4096
#define WORDS (RECORD_BYTES / 8)

static volatile int is_over;
static volatile uint64_t peer_gap;
static uint64_t lines, loops, records, messages, ticks, answers, pages;
static uint64_t longest_gap, longest_peer_gap;

static void fail(const char *what, ...)
{
    static char text[256];
    va_list arguments;
    int bytes = snprintf(text, sizeof text, "\nGUEST-FAILED: ");
    va_start(arguments, what);
    bytes += vsnprintf(text + bytes, sizeof text - bytes - 1, what, arguments);
    va_end(arguments);
    if (bytes > (int)sizeof text - 2)
        bytes = sizeof text - 2;
    text[bytes++] = '\n';
    if (write(1, text, bytes) < 0)
        _exit(2);
    fsync(1);
    _exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void rest(uint64_t ns)
{
    struct timespec t = { ns / 1000000000, ns % 1000000000 };
    nanosleep(&t, NULL);
}

/* This thread is to run whenever it can: the others make no gaps in what it does. */
static void hurry(void)
{
    if (setpriority(PRIO_PROCESS, syscall(SYS_gettid), -20))
        fail("no priority: %s", strerror(errno));
}

/* An xorshift generator (Marsaglia 2003). */
static uint64_t next(uint64_t state)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^ state << 17;
}

static void start(pthread_t *thread, void *(*body)(void *), void *argument)
{
    errno = pthread_create(thread, NULL, body, argument);
    if (errno)
        fail("no thread: %s", strerror(errno));
}

/* The record of a number: that number, and what follows from it. */
static void make_record(uint64_t number, uint64_t *words)
{
    uint64_t state = number + 1;
    words[0] = number;
    for (int i = 1; i < WORDS; i++)
        words[i] = state = next(state);
}

/* What is in a place of the file, past the guest's page cache. */
static void check_record(int file, uint64_t number)
{
    static uint64_t is[WORDS] __attribute__((aligned(RECORD_BYTES))), wanted[WORDS];
    ssize_t bytes = pread(file, is, RECORD_BYTES, number % RECORDS * RECORD_BYTES);
    if (bytes != RECORD_BYTES)
        fail("record %llu cannot be read: %zd, %s", (unsigned long long)number, bytes,
             strerror(errno));
    make_record(number, wanted);
    if (memcmp(is, wanted, RECORD_BYTES))
        fail("in the place of record %llu there is %llu, or it is damaged",
             (unsigned long long)number, (unsigned long long)is[0]);
}

static void *write_records(void *name)
{
    static uint64_t words[WORDS];
    int file = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644), again = open(name, O_RDONLY | O_DIRECT);
    uint64_t state = 1;
    if (file < 0 || again < 0)
        fail("%s cannot be opened: %s", (char *)name, strerror(errno));
    while (!is_over) {
        make_record(records, words);
        if (pwrite(file, words, RECORD_BYTES, records % RECORDS * RECORD_BYTES) != RECORD_BYTES ||
            fsync(file))
            fail("record %llu cannot be written: %s", (unsigned long long)records, strerror(errno));
        records++;
        state = next(state);
        uint64_t kept = records < RECORDS ? records : RECORDS;
        check_record(again, records - 1 - state % kept);
        rest(1000000);
    }
    for (uint64_t number = records > RECORDS ? records - RECORDS : 0; number < records; number++)
        check_record(again, number);
    close(file);
    close(again);
    return NULL;
}

/* Each page has the number of the pass in its first and its last word. */
struct area {
    size_t pages, rate;
    volatile uint64_t *words;
};

static void *write_memory(void *argument)
{
    struct area *area = argument;
    const size_t in_page = PAGE_BYTES / 8;
    uint64_t pass = 0, since = 0, owed = 0, turn = 4000000;
    size_t at = 0;
    while (!is_over) {
        if (pass > 0 && area->rate == 0) {
            rest(turn);
            continue;
        }
        volatile uint64_t *page = area->words + at * in_page;
        if (page[0] != pass || page[in_page - 1] != pass)
            fail("page %zu of memory has %llu and %llu instead of %llu", at,
                 (unsigned long long)page[0], (unsigned long long)page[in_page - 1],
                 (unsigned long long)pass);
        page[0] = page[in_page - 1] = pass + 1;
        pages++;
        if (++at == area->pages)
            at = 0, pass++;
        if (pass == 0 || area->rate == 0)
            continue;
        /* As many as are due; what could not be done in time is not made up for. */
        if (owed > 0 && --owed > 0)
            continue;
        rest(turn);
        uint64_t time = now(), passed = since ? time - since : 0;
        if (passed > 100000000)
            passed = 100000000;
        owed = passed * area->rate / 1000 * (1048576 / PAGE_BYTES) / 1000000;
        since = time;
    }
    for (size_t i = 0; i < area->pages; i++) {
        volatile uint64_t *page = area->words + i * in_page;
        uint64_t wanted = i < at ? pass + 1 : pass;
        if (page[0] != wanted || page[in_page - 1] != wanted)
            fail("page %zu of memory has %llu at the end instead of %llu", i,
                 (unsigned long long)page[0], (unsigned long long)wanted);
    }
    return NULL;
}

/* What goes over the network is big-endian. A message is its number; the answer is that number, the
 * peer's clock, and whether this is to finish. */
struct message {
    uint64_t number, padding[7];
};
struct answer {
    uint64_t number, clock, is_over;
};

static void *send_messages(void *argument)
{
    struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(MESSAGES_PORT) };
    int one = 1, stream = socket(AF_INET, SOCK_STREAM, 0);
    (void)argument;
    inet_aton(PEER, &peer.sin_addr);
    if (stream < 0 || connect(stream, (void *)&peer, sizeof peer))
        fail("no connection to the peer: %s", strerror(errno));
    setsockopt(stream, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    while (!is_over) {
        struct message message = { .number = htobe64(messages) };
        struct answer answer;
        if (write(stream, &message, sizeof message) != sizeof message)
            fail("message %llu cannot be sent: %s", (unsigned long long)messages, strerror(errno));
        for (size_t came = 0; came < sizeof answer;) {
            ssize_t bytes = read(stream, (char *)&answer + came, sizeof answer - came);
            if (bytes <= 0)
                fail("no answer to message %llu: %zd, %s", (unsigned long long)messages, bytes,
                     strerror(errno));
            came += bytes;
        }
        if (be64toh(answer.number) != messages)
            fail("the answer to message %llu is one to %llu", (unsigned long long)messages,
                 (unsigned long long)be64toh(answer.number));
        messages++;
        if (be64toh(answer.is_over))
            is_over = 1;
        rest(MESSAGE_NS);
    }
    close(stream);
    return NULL;
}

/* Ticks may be lost, as the network is one on which that is allowed. */
static void *send_ticks(void *argument)
{
    struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(TICKS_PORT) };
    int port = socket(AF_INET, SOCK_DGRAM, 0);
    uint64_t last = 0, last_clock = 0;
    (void)argument;
    hurry();
    inet_aton(PEER, &peer.sin_addr);
    if (port < 0 || connect(port, (void *)&peer, sizeof peer))
        fail("no ticks: %s", strerror(errno));
    while (!is_over) {
        uint64_t tick = htobe64(++ticks);
        struct answer answer;
        /* A link that is down is no error. */
        (void)!send(port, &tick, sizeof tick, 0);
        rest(TICK_NS);
        while (recv(port, &answer, sizeof answer, MSG_DONTWAIT) == sizeof answer) {
            uint64_t number = be64toh(answer.number), clock = be64toh(answer.clock);
            if (number > ticks)
                fail("there is an answer to tick %llu of %llu", (unsigned long long)number,
                     (unsigned long long)ticks);
            answers++;
            if (number <= last)
                continue;
            if (last && clock - last_clock > peer_gap)
                peer_gap = clock - last_clock;
            last = number;
            last_clock = clock;
        }
    }
    close(port);
    return NULL;
}

/* Counts in registers of each kind, so many loops at a time, and sees to it that they agree. */
static void count_for_a_while(void)
{
    static double reals;
    static vector unsigned int fours = { 0, 0, 0, 0 };
    const uint64_t many = 20000;
    const double one = 1;
    const vector unsigned int ones = { 1, 1, 1, 1 };
    uint64_t integers = loops;
    double d = reals;
    vector unsigned int v = fours;
    __asm__ volatile("mtctr %3\n"
                     "0: addi %0,%0,1\n"
                     "fadd %1,%1,%4\n"
                     "vadduwm %2,%2,%5\n"
                     "bdnz 0b"
                     : "+b"(integers), "+d"(d), "+v"(v)
                     : "r"(many), "d"(one), "v"(ones)
                     : "ctr");
    if (integers != loops + many || d != (double)integers)
        fail("%llu in a general register is %.0f in a floating-point register",
             (unsigned long long)integers, d);
    for (int i = 0; i < 4; i++)
        if (v[i] != (uint32_t)integers)
            fail("%llu in a general register is %u in a vector register",
                 (unsigned long long)integers, v[i]);
    loops = integers;
    reals = d;
    fours = v;
}

static void count(void)
{
    hurry();
    uint64_t last = now(), line = last, gap = 0;
    while (!is_over) {
        count_for_a_while();
        uint64_t time = now();
        if (time < last)
            fail("the clock goes back by %llu ns", (unsigned long long)(last - time));
        if (time - last > gap)
            gap = time - last;
        last = time;
        if (time - line < LINE_NS)
            continue;
        line = time;
        uint64_t of_peer = peer_gap;
        peer_gap = 0;
        printf("GUEST-COUNTS %llu clock %llu gap %llu peer %llu\n", (unsigned long long)++lines,
               (unsigned long long)time, (unsigned long long)gap, (unsigned long long)of_peer);
        fflush(stdout);
        if (gap > longest_gap)
            longest_gap = gap;
        if (of_peer > longest_peer_gap)
            longest_peer_gap = of_peer;
        /* What it takes to print is no gap. */
        gap = 0;
        last = now();
    }
}

int main(int argc, char **argv)
{
    pthread_t of_records, of_memory, of_messages, of_ticks;
    struct area area;
    if (argc != 4) {
        fprintf(stderr, "usage: witness FILE MIB RATE\n");
        return 2;
    }
    area.pages = strtoul(argv[2], NULL, 10) * (1048576 / PAGE_BYTES);
    area.rate = strtoul(argv[3], NULL, 10);
    area.words = calloc(area.pages, PAGE_BYTES);
    if (area.pages > 0 && !area.words)
        fail("there is no memory of %s MiB", argv[2]);
    start(&of_records, write_records, argv[1]);
    if (area.pages > 0)
        start(&of_memory, write_memory, &area);
    start(&of_messages, send_messages, NULL);
    start(&of_ticks, send_ticks, NULL);
    count();
    pthread_join(of_records, NULL);
    if (area.pages > 0)
        pthread_join(of_memory, NULL);
    pthread_join(of_messages, NULL);
    pthread_join(of_ticks, NULL);
    printf("GUEST-WITNESSED lines %llu loops %llu records %llu messages %llu pages %llu ticks %llu "
           "answers %llu gap %llu peer %llu\n",
           (unsigned long long)lines, (unsigned long long)loops, (unsigned long long)records,
           (unsigned long long)messages, (unsigned long long)pages, (unsigned long long)ticks,
           (unsigned long long)answers, (unsigned long long)longest_gap,
           (unsigned long long)longest_peer_gap);
    return 0;
}
