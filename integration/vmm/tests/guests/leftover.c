/*
 * Looks for what the client of the start before has left in RAM, leaves something for the next one,
 * and restarts the machine; at the second start it is done.
 */
#include "guest.h"

/* Behind the firmware, and behind the program: memory that nobody uses before a client does. */
static const struct {
	cell start, end;
} free_memory[] = { { 0x10000, 0x1f0000 }, { 0x1000000, 0x3000000 } };

#define SECRET 0x5ec7e75e
#define PAGE 0x1000u

/* Where some code is. */
#define CODE 0x2000000u
#define LI_R3 0x38600000u
#define BLR 0x4e800020u

static volatile cell *at(cell address)
{
	return (volatile cell *)address;
}

/* How many words are not zero. */
static cell left(cell start, cell end)
{
	cell count = 0;

	for (cell address = start; address != end; address += sizeof(cell))
		count += *at(address) != 0;
	return count;
}

/* Puts code there that gives a number, and runs it. The processor has never run any there: it is
 * told of nothing but what it would have to be told of after a reset. */
static cell run_code(cell number)
{
	at(CODE)[0] = LI_R3 | number;
	at(CODE)[1] = BLR;
	__asm__ volatile("dcbst 0,%0; sync; isync" :: "r"(CODE) : "memory");
	return ((cell (*)(void))CODE)();
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	cell start;

	open_console();
	start = cell_property(find("/chosen"), "rust-vmm,boot-count");
	say("start ");
	say_number(start);
	say("\n");
	for (cell i = 0; i != COUNT(free_memory); i++) {
		check("words that are left", left(free_memory[i].start, free_memory[i].end), 0);
		for (cell page = free_memory[i].start; page != free_memory[i].end; page += PAGE)
			*at(page + page / PAGE % (PAGE / sizeof(cell)) * sizeof(cell)) = SECRET;
	}
	check("what the code gives", run_code(start), start);
	if (start == 2) {
		say("nothing was left\n");
		power_off();
	}
	rtas("system-reboot", 0, 1);
	say("nothing restarts\n");
	give_up();
}
