/*
 * The program that services.c enters by `chain`: with the client interface, with arguments, on a
 * stack of its own, and with the memory that its predecessor gave up free.
 */
#include "guest.h"

#include "chained.h"

void program(cell r3, cell r4, cell arguments, cell length)
{
	const struct chained *chained = (const struct chained *)arguments + 1;
	extern char _start[], _end[];

	open_console();
	check("r3", r3, 0);
	check("r4", r4, 0);
	check("r5", ADDRESS(interface), ADDRESS(chained->interface));
	check("r7", length, sizeof CHAINED_ARGUMENTS);
	check_text("arguments", (const char *)arguments, CHAINED_ARGUMENTS);
	/* The top of a stack of 32 KiB that is no memory of the client's. */
	check("r1 is aligned", first_frame & 15, 0);
	check("the end of the frames", *(cell *)first_frame, 0);
	check("its stack is claimed", call("claim", 3, 1, first_frame & ~0x7fff, 0x8000, 0), NONE);
	check("the bits of the machine state", state_bits() & 0x30, 0);

	check("the predecessor's gift", call("claim", 3, 1, chained->initrd, chained->bytes, 0),
	      chained->initrd);
	check("my memory", call("claim", 3, 1, ADDRESS(_start), _end - _start, 0), NONE);
	check("the predecessor's memory", call("claim", 3, 1, 0x200000, 0x1000, 0), NONE);
	call("release", 2, 0, 0x200000, 0x1000);
	check("once it is released", call("claim", 3, 1, 0x200000, 0x1000, 0), 0x200000);
	memset((void *)0x200000, 0, 0x1000);
	done("chained");
	power_off();
}
