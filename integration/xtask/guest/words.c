/* Executes a million words out of all that there are, one after the other, as an ordinary user.
 *
 * A child does it, with registers that point into memory of its own. A signal is the end of a word,
 * and so is a word that completes; what breaks the child, or keeps it busy, ends the child, and
 * another one goes on behind that word. Neither may end the machine. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { WORDS = 1000000 };

/* Memory that registers point to, and the sum of two of them. Displacements reach 32 KiB either
 * way. Code is far from everything, so that relative branches lead nowhere. */
#define DATA_BYTES 0x20000ul
#define DATA 0x100000010000ul
#define DATA_TWICE 0x200000020000ul
#define CODE 0x300000000000ul
#define BRANCH_HERE 0x48000000

/* What survives the child. */
struct shared {
	volatile uint32_t next; /* the number of the word behind the one that is executed */
	volatile uint32_t signals;
	volatile uint32_t completed;
};

static struct shared *shared;
static uint32_t *const code = (uint32_t *)CODE;

/* The registers of the caller, and how to get back to it from anywhere: no register is known. */
uint64_t caller[24];

/* execute(code, data): goes to the code, all registers data, and comes back to `returned`. */
void execute(uint64_t at, uint64_t data);
extern char returned[];
__asm__(
"	.machine \"power9\"\n"
"	.globl execute\n"
"	.type execute, @function\n"
"execute:\n"
"	lis 12, caller@highest\n"
"	ori 12, 12, caller@higher\n"
"	sldi 12, 12, 32\n"
"	oris 12, 12, caller@high\n"
"	ori 12, 12, caller@l\n"
"	mflr 0\n"
"	std 0, 0(12)\n"
"	std 1, 8(12)\n"
"	std 2, 16(12)\n"
"	std 13, 24(12)\n"
"	mfcr 0\n"
"	std 0, 32(12)\n"
"	std 14, 40(12); std 15, 48(12); std 16, 56(12); std 17, 64(12); std 18, 72(12)\n"
"	std 19, 80(12); std 20, 88(12); std 21, 96(12); std 22, 104(12); std 23, 112(12)\n"
"	std 24, 120(12); std 25, 128(12); std 26, 136(12); std 27, 144(12); std 28, 152(12)\n"
"	std 29, 160(12); std 30, 168(12); std 31, 176(12)\n"
"	mtctr 3\n"
"	mtlr 4\n"
"	mr 0, 4; mr 1, 4; mr 2, 4; mr 3, 4; mr 5, 4; mr 6, 4; mr 7, 4; mr 8, 4; mr 9, 4; mr 10, 4\n"
"	mr 11, 4; mr 12, 4; mr 13, 4; mr 14, 4; mr 15, 4; mr 16, 4; mr 17, 4; mr 18, 4; mr 19, 4\n"
"	mr 20, 4; mr 21, 4; mr 22, 4; mr 23, 4; mr 24, 4; mr 25, 4; mr 26, 4; mr 27, 4; mr 28, 4\n"
"	mr 29, 4; mr 30, 4; mr 31, 4\n"
"	bctr\n"
"	.globl returned\n"
"returned:\n"
"	lis 12, caller@highest\n"
"	ori 12, 12, caller@higher\n"
"	sldi 12, 12, 32\n"
"	oris 12, 12, caller@high\n"
"	ori 12, 12, caller@l\n"
"	ld 0, 0(12)\n"
"	mtlr 0\n"
"	ld 1, 8(12)\n"
"	ld 2, 16(12)\n"
"	ld 13, 24(12)\n"
"	ld 0, 32(12)\n"
"	mtcrf 255, 0\n"
"	ld 14, 40(12); ld 15, 48(12); ld 16, 56(12); ld 17, 64(12); ld 18, 72(12)\n"
"	ld 19, 80(12); ld 20, 88(12); ld 21, 96(12); ld 22, 104(12); ld 23, 112(12)\n"
"	ld 24, 120(12); ld 25, 128(12); ld 26, 136(12); ld 27, 144(12); ld 28, 152(12)\n"
"	ld 29, 160(12); ld 30, 168(12); ld 31, 176(12)\n"
"	blr\n"
"	.size execute, . - execute\n"
);

/* G. Steele and others, "Fast splittable pseudorandom number generators": the word of a number. */
static uint32_t word_of(uint32_t number)
{
	uint64_t z = 0x9e3779b97f4a7c15ul * (number + 1ul);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ul;
	z = (z ^ z >> 27) * 0x94d049bb133111ebul;
	return z ^ z >> 31;
}

/* May be called with any registers: it uses no thread-local data, and its stack is its own. */
static void on_signal(int signal, siginfo_t *info, void *context)
{
	ucontext_t *interrupted = context;
	static uint32_t last;

	(void)info;
	if (signal == SIGPROF) {
		/* Still at the same word: it does not come back by itself. */
		if (last != shared->next) {
			last = shared->next;
			return;
		}
	}
	shared->signals++;
	interrupted->uc_mcontext.gp_regs[PT_NIP] = (unsigned long)returned;
}

static void *map(uint64_t at, size_t bytes, int protection)
{
	void *got = mmap((void *)at, bytes, protection,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (got == MAP_FAILED) {
		perror("mmap");
		_exit(1);
	}
	return got;
}

/* Behind the word: back, by an address that needs no register. */
static void write_way_back(uint32_t *at)
{
	uint64_t to = (uint64_t)returned;

	*at++ = 0x3d800000 | (to >> 48 & 0xffff); /* lis r12 */
	*at++ = 0x618c0000 | (to >> 32 & 0xffff); /* ori r12 */
	*at++ = 0x798c07c6;                       /* sldi r12,r12,32 */
	*at++ = 0x658c0000 | (to >> 16 & 0xffff); /* oris r12 */
	*at++ = 0x618c0000 | (to & 0xffff);       /* ori r12 */
	*at++ = 0x7d8903a6;                       /* mtctr r12 */
	*at++ = 0x4e800420;                       /* bctr */
}

static void child(void)
{
	static char stack[65536];
	stack_t signal_stack = { .ss_sp = stack, .ss_size = sizeof stack };
	struct sigaction action = { .sa_sigaction = on_signal };
	struct itimerval tick = { { 0, 50000 }, { 0, 50000 } };
	const int signals[] = { SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGSYS, SIGPROF };

	action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
	if (sigaltstack(&signal_stack, NULL) != 0)
		_exit(1);
	for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaction(signals[i], &action, NULL);
	map(DATA - DATA_BYTES / 2, DATA_BYTES, PROT_READ | PROT_WRITE);
	map(DATA_TWICE - DATA_BYTES / 2, DATA_BYTES, PROT_READ | PROT_WRITE);
	map(CODE, 65536, PROT_READ | PROT_WRITE | PROT_EXEC);
	write_way_back(code + 1);
	setitimer(ITIMER_PROF, &tick, NULL);
	while (shared->next < WORDS) {
		uint32_t signals_before = shared->signals;
		code[0] = word_of(shared->next);
		shared->next++;
		__asm__ volatile("dcbst 0,%0; sync; icbi 0,%0; isync" : : "r"(code) : "memory");
		execute(CODE, DATA);
		if (shared->signals == signals_before)
			shared->completed++;
	}
	_exit(0);
}

/* Waits for the child; ends it when it has got no further for a while, however slow it is. */
static int wait_for(pid_t pid)
{
	uint32_t seen = 0;
	unsigned idle = 0;
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		usleep(20000);
		idle = shared->next == seen ? idle + 1 : 0;
		seen = shared->next;
		if (idle == 250)
			kill(pid, SIGKILL);
	}
	return status;
}

int main(void)
{
	unsigned children = 0;

	shared = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || setgid(1000) != 0 || setuid(1000) != 0) {
		perror("cannot start");
		return 1;
	}
	while (shared->next < WORDS) {
		uint32_t before = shared->next;
		pid_t pid = fork();
		if (pid == 0)
			child();
		if (pid < 0 || (wait_for(pid) != 0 && shared->next == before)) {
			printf("words: no child gets past number %u\n", before);
			return 1;
		}
		children++;
	}
	printf("words: %u of %u executed, %u completed, %u ended by signals, %u children\n",
	       shared->next, WORDS, shared->completed, shared->signals, children);
	/* The mix is about that of the architecture: else the words were not executed. */
	return shared->completed < WORDS / 10 || shared->signals < WORDS / 10 || children > 1000;
}
