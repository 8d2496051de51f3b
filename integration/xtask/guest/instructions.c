/* What a program of an ordinary user gets for instructions that this processor has not, that are
 * not the user's, or that are switched off: a signal, each time the one that Linux makes of the
 * interrupt that the architecture names; and the machine goes on. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* No signal: the instruction completes. */
enum { COMPLETES = 0 };

static const struct {
	const char *name;
	uint32_t word;
	int signal;
} INSTRUCTIONS[] = {
	{ "no instruction", 0x00000000, SIGILL },
	{ "dadd f0,f0,f0", 0xec000004, SIGILL },
	{ "lqarx r6,0,r3", 0x7cc01a28, COMPLETES },
	{ "lwat r6,r3,16", 0x7cc3848c, COMPLETES },
	{ "ldat r6,r3,24", 0x7cc3c4cc, COMPLETES },
	{ "ldat r6,r3,9", 0x7cc34ccc, SIGBUS },
	{ "copy 0,r3", 0x7c201e0c, COMPLETES },
	{ "paste. 0,r3", 0x7c201f0d, SIGBUS },
	{ "cpabort", 0x7c00068c, COMPLETES },
	/* Linux lets programs have it: to address 0, where nobody has set another. */
	{ "rfebb 0", 0x4c000124, SIGSEGV },
	{ "tbegin.", 0x7c00051d, SIGILL },
	{ "treclaim. 0", 0x7c00075d, SIGILL },
	{ "msgsndp r3", 0x7c00191c, SIGILL },
	{ "msgclrp r3", 0x7c00195c, SIGILL },
	{ "slbmte r3,r3", 0x7c601b24, SIGILL },
	{ "slbmfee r3,r3", 0x7c601f26, SIGILL },
	{ "slbmfev r3,r3", 0x7c601ea6, SIGILL },
	{ "slbfee. r3,r3", 0x7c601fa7, SIGILL },
	{ "slbie r3", 0x7c001b64, SIGILL },
	{ "slbieg r3,r3", 0x7c601ba4, SIGILL },
	{ "slbia", 0x7c0003e4, SIGILL },
	{ "slbsync", 0x7c0002a4, SIGILL },
	{ "mfmsr r4", 0x7c8000a6, SIGILL },
	{ "rfid", 0x4c000024, SIGILL },
	{ "stop", 0x4c0002e4, SIGILL },
	{ "hrfid", 0x4c000224, SIGILL },
	{ "lbzcix r4,0,r3", 0x7c801eaa, SIGILL },
	{ "sc 1", 0x44000022, SIGILL },
	{ "tw 31,r0,r0", 0x7fe00008, SIGTRAP },
	{ "ld r4,0(0)", 0xe8800000, SIGSEGV },
	{ "addi r4,r4,0", 0x38840000, COMPLETES },
};

#define BLR 0x4e800020

/* r3 and what is at it are the instruction's to use. */
static int signal_of(uint32_t word)
{
	static char place[4096] __attribute__((aligned(4096)));
	pid_t child = fork();
	int status;

	if (child == 0) {
		uint32_t *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (code == MAP_FAILED)
			_exit(1);
		code[0] = word;
		code[1] = BLR;
		__asm__ volatile("dcbst 0,%0; sync; icbi 0,%0; isync" : : "r"(code) : "memory");
		((void (*)(void *))code)(place);
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -1;
	if (WIFSIGNALED(status))
		return WTERMSIG(status);
	return WEXITSTATUS(status) == 0 ? COMPLETES : -1;
}

int main(void)
{
	unsigned count = sizeof INSTRUCTIONS / sizeof *INSTRUCTIONS;
	unsigned wrong = 0;

	if (setgid(1000) != 0 || setuid(1000) != 0) {
		perror("setuid");
		return 1;
	}
	for (unsigned i = 0; i < count; i++) {
		int got = signal_of(INSTRUCTIONS[i].word);
		if (got == INSTRUCTIONS[i].signal)
			continue;
		printf("%s: signal %d instead of %d\n", INSTRUCTIONS[i].name, got, INSTRUCTIONS[i].signal);
		wrong++;
	}
	printf("instructions: %u of %u as they should be\n", count - wrong, count);
	return wrong != 0;
}
