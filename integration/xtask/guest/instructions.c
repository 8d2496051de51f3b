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
	{ "tbegin.", 0x7c00051d, SIGILL },
	{ "mfmsr r4", 0x7c8000a6, SIGILL },
	{ "rfid", 0x4c000024, SIGILL },
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
		__builtin___clear_cache((char *)code, (char *)(code + 2));
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
