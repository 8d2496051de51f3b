/*
 * What the guest programs in C share: calls of the client interface (IEEE 1275 section 6.3.1),
 * output, and checks. 32-bit, big-endian, real mode, no library.
 *
 * A check that fails says what it saw, and the program gives up with the service `exit`.
 */
#ifndef GUEST_H
#define GUEST_H

typedef unsigned char byte;
typedef unsigned int cell;
typedef unsigned long long doubleword;

#define NONE ((cell)-1)
#define ADDRESS(pointer) ((cell)(pointer))
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What `call-method` and `interpret` catch: a word that there is not (ANS Forth, -13). */
#define UNDEFINED_WORD ((cell)-13)
/* What `read` says when nothing was typed yet. */
#define NOTHING_YET ((cell)-2)

/* The entry of the client interface. */
typedef cell (*entry_point)(void *array);
extern entry_point interface;

/* The program itself: registers r3 to r7 at its start are the arguments. */
void program(cell r3, cell r4, cell arguments, cell length);
/* r1 at the start, and the word there: the end of the chain of frames. */
extern cell first_frame;

/* Calls a service with so many arguments and results, and gives the first result. What the
 * handler said is in `said`: 0 for a call that was made, -1 for no such call; all results are in
 * `results`, which were 0 before. */
cell call(const char *service, cell arguments, cell result_count, ...);
extern cell said, results[16];

/* The calls that all programs need. */
cell find(const char *path);
cell property(cell phandle, const char *name, void *buffer, cell length);
cell cell_property(cell phandle, const char *name);
cell chosen(const char *name);

/* Output on the console of /chosen; `open_console` comes first. */
void open_console(void);
void say(const char *text);
void say_hex(doubleword value);
void say_number(cell value);

/* Says something, and waits for a key: whoever looks at the VMM from outside types one. */
void wait_for_key(const char *text);

/* Checks. */
void check(const char *what, cell seen, cell expected);
void check_text(const char *what, const char *seen, const char *expected);
void check_true(const char *what, int holds);
void done(const char *program);
__attribute__((noreturn)) void give_up(void);

/* The end: RTAS power-off, after `instantiate-rtas`. */
__attribute__((noreturn)) void power_off(void);
cell rtas(const char *name, cell inputs, cell outputs, ...);
cell start_rtas(void);

/* Memory and text. */
cell length_of(const char *text);
int same(const char *one, const char *other);
int starts_with(const char *text, const char *start);
cell number_in(const char *text);
void *memset(void *to, int value, unsigned long count);
void *memcpy(void *to, const void *from, unsigned long count);

/* Numbers that look random, and are the same each time. */
cell some_number(void);
#define ANY(array) ((array)[some_number() % COUNT(array)])

/* In start.S. */
/* Makes a hypercall with r3 to r12 from `registers`, and leaves what came in their place. */
void hypercall(doubleword registers[10]);
/* As `interface(array)`, with `upper` in the upper halves of r0 and r3 to r12. */
cell call_with_upper_halves(void *array, cell upper);
/* Where another processor starts, in 64-bit mode and with an argument in r3: it goes on in
 * `second_cpu`, on a stack of its own, in 32-bit mode. */
void start_second_cpu(void);
void second_cpu(cell argument);
cell state_bits(void);
static inline void in_order(void) { __asm__ volatile("lwsync" ::: "memory"); }

#endif
