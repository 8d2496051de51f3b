/*
 * A client that has much to say, by the arguments:
 *   console      text on the console without an end, by the client interface and by hypercalls
 *   calls        calls that there is something to say about, without an end
 *   restarts     much text, and restarts without an end
 *   lines N      N lines, and the end
 *   burst N      N lines, of which those go that go, and the end
 *   between      a line, a call that there is something to say about, a line, and the end
 */
#include "guest.h"

#define H_PUT_TERM_CHAR 0x58
#define UNIT 0x71000000u

static const char line[] = "0123456789abcd\n";

static void put_line(void)
{
	doubleword registers[10] = { H_PUT_TERM_CHAR, UNIT, sizeof line - 1 };
	cell at;

	for (at = 0; at < 16; at++)
		registers[3 + at / 8] = registers[3 + at / 8] << 8 | (byte)line[at];
	hypercall(registers);
}

static void stranger(void)
{
	doubleword registers[10] = { 0xabc };

	hypercall(registers);
	call("no-such-service", 0, 1);
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	static char bootargs[64];
	cell count, at;

	open_console();
	start_rtas();
	property(find("/chosen"), "bootargs", bootargs, sizeof bootargs);
	if (starts_with(bootargs, "console")) {
		for (;;) {
			put_line();
			/* Not `say`: what does not go is not waited for. */
			call("write", 3, 1, chosen("stdout"), line, sizeof line - 1);
		}
	} else if (starts_with(bootargs, "calls")) {
		for (;;)
			stranger();
	} else if (starts_with(bootargs, "restarts")) {
		for (at = 0; at < 6000; at++) {
			put_line();
			if (at % 100 == 0)
				stranger();
		}
		rtas("system-reboot", 0, 1);
	} else if (starts_with(bootargs, "lines")) {
		count = number_in(bootargs);
		for (at = 0; at < count; at++) {
			say_number(at);
			say(" was said\n");
		}
	} else if (starts_with(bootargs, "burst")) {
		for (count = number_in(bootargs); count > 0; count--)
			put_line();
	} else if (starts_with(bootargs, "between")) {
		say("before\n");
		stranger();
		say("after\n");
	}
	power_off();
}
