/* Single steps by ptrace: a debugger sees a program go through its instructions one by one, and
 * from branch to branch. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

/* Linux, arch/powerpc/include/uapi/asm/ptrace.h: to the next branch. */
#define SINGLE_BLOCK 0x100

extern char traced[];
__asm__(
"	.globl traced\n"
"traced:\n"
"0:	li 5, 3\n"
"1:	mtctr 5\n"
"2:	addi 6, 6, 1\n"
"3:	std 6, -8(1)\n"
"4:	bdnz 2b\n"
"5:	ld 6, -8(1)\n"
"6:	b 8f\n"
"7:	trap\n"
"8:	li 0, 20\n" /* getpid */
"9:	sc\n"
"	nop\n"
"	li 0, 1\n" /* exit */
"	li 3, 0\n"
"	sc\n"
);

/* Numbers of instructions, in the order in which they are executed. */
enum { BEHIND_SC = 10 };
static const int STEPS[] = { 1, 2, 3, 4, 2, 3, 4, 2, 3, 4, 5, 6, 8, 9, 10, 11 };
static const int BLOCKS[] = { 2, 2, 5, 8 };

static uint64_t pc_of(pid_t child)
{
	return ptrace(PTRACE_PEEKUSER, child, (void *)(8 * PT_NIP), NULL);
}

/* Starts a child that stops right before `traced`. */
static pid_t start(void)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		((void (*)(void))traced)();
	}
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
		return -1;
	ptrace(PTRACE_POKEUSER, child, (void *)(8 * PT_NIP), traced);
	return child;
}

static int follow(const char *what, int request, const int *wanted, unsigned count)
{
	pid_t child = start();
	int status;

	for (unsigned i = 0; i < count; i++) {
		uint64_t pc;
		if (ptrace(request, child, NULL, NULL) != 0 || waitpid(child, &status, 0) != child ||
		    !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
			printf("%s: no stop number %u (status %#x)\n", what, i, status);
			return 1;
		}
		pc = pc_of(child);
		/* Returning to a program is no step: a kernel may stop right behind a system call, or
		 * let the processor trace what is there. */
		if (wanted[i] == BEHIND_SC && pc == (uint64_t)traced + 4 * wanted[i + 1])
			i++;
		if (pc != (uint64_t)traced + 4 * wanted[i]) {
			printf("%s: number %u is at %+ld\n", what, i, (long)(pc - (uint64_t)traced));
			return 1;
		}
	}
	ptrace(PTRACE_CONT, child, NULL, NULL);
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		printf("%s: the child did not go on (status %#x)\n", what, status);
		return 1;
	}
	return 0;
}

int main(void)
{
	int failed = follow("steps", PTRACE_SINGLESTEP, STEPS, sizeof STEPS / sizeof *STEPS) +
		     follow("blocks", SINGLE_BLOCK, BLOCKS, sizeof BLOCKS / sizeof *BLOCKS);
	if (failed == 0)
		printf("steps: all where they should be\n");
	return failed;
}
