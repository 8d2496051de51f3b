/*
 * A client that counts, and notices when it stands still, or when a page of its memory is not as it has
 * left it. By its arguments:
 *   MIB           goes over so much memory, a word of each page at a time
 *   MIB SLOWLY    the same, and rests for so many thousands of ticks after each 64 pages
 * It tells its count whenever that has become 16 more, and ends when a key is typed.
 */
#include "guest.h"

#define PAGE 0x1000u
#define FIRST 0x1000000u
/* How often the clock is looked at, in pages. */
#define LOOK_EVERY 64u
#define MINUTE 60000000u

static cell stdin_instance;

/* Microseconds of the minute, by the machine's clock, which goes on while the machine stands still. */
static cell microseconds(void)
{
	check("get-time-of-day", rtas("get-time-of-day", 0, 8), 0);
	return results[6] * 1000000u + results[7] / 1000u;
}

static cell ticks(void)
{
	cell value;

	__asm__ volatile("mftb %0" : "=r"(value));
	return value;
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	static char bootargs[256];
	cell pages, rest = 0, at, count = 0, before, now, gap, longest = 0;
	byte key;

	open_console();
	start_rtas();
	stdin_instance = chosen("stdin");
	property(find("/chosen"), "bootargs", bootargs, sizeof bootargs);
	pages = number_in(bootargs) * 256;
	for (at = 0; bootargs[at] != 0; at++)
		if (bootargs[at] == ' ')
			rest = number_in(bootargs + at + 1) * 1000;
	check("claim", call("claim", 3, 1, FIRST, pages * PAGE, 0), FIRST);
	say("begun\n");
	before = microseconds();
	for (;; count++) {
		for (at = 0; at < pages; at++) {
			volatile cell *page = (volatile cell *)(FIRST + at * PAGE);

			/* Two words of it, and which page it is. */
			if (count > 0 && (page[0] != count || page[PAGE / 4 - 1] != at)) {
				say("page ");
				say_number(at);
				say(" has ");
				say_number(page[0]);
				say(" of ");
				say_number(page[PAGE / 4 - 1]);
				check("the count", page[0], count);
				check("the page", page[PAGE / 4 - 1], at);
			}
			page[0] = count + 1;
			page[PAGE / 4 - 1] = at;
			if (at % LOOK_EVERY != 0)
				continue;
			for (now = ticks(); ticks() - now < rest;)
				;
			now = microseconds();
			gap = now >= before ? now - before : now + MINUTE - before;
			before = now;
			if (gap > longest)
				longest = gap;
		}
		if (count % 16 == 0) {
			say("count ");
			say_number(count);
			say(" longest ");
			say_number(longest);
			say("\n");
			longest = 0;
		}
		if (call("read", 3, 1, stdin_instance, ADDRESS(&key), 1) == 1)
			break;
	}
	say("at last ");
	say_number(count);
	say("\n");
	done("moves");
	power_off();
}
