/*
 * A client that wants more and more, by the first word of the arguments:
 *   claims N     claims and releases memory N times
 *   pieces N     cuts free memory into more than N pieces, real and virtual
 *   opens N      opens and closes N times, then opens as long as it can
 *   properties N makes N properties, as long as it can, and goes on to change them
 *   errors N     N calls that there is something to say about
 *   boots        asks for restarts without an end, with arguments as long as can be
 */
#include "guest.h"

/* Free memory is in no more pieces (vof-device/src/limits.rs). */
#define MOST_PIECES 131072

static cell mmu;

static void claims(cell count)
{
	cell at, size;

	while (count-- > 0) {
		size = 1 + some_number() % 0x100000;
		at = call("claim", 3, 1, 0, size, 1 << some_number() % 21);
		check_true("claim", at != NONE);
		call("release", 2, 0, at, size);
	}
}

/* Every other 64 bytes are released, of memory claimed whole. */
static void pieces(cell count)
{
	cell at, base = 0x1000000, size = 0x2000000, before;

	check("claim", call("claim", 3, 1, base, size, 0), base);
	call("call-method", 5, 2, "claim", mmu, 0, size, base);
	check("claim of the mmu", results[0], 0);
	for (at = 0; at < count; at++) {
		call("release", 2, 0, base + at * 128, 64);
		call("call-method", 4, 1, "release", mmu, 64, base + at * 128);
	}
	if (count > MOST_PIECES)
		check("the last ones were refused", results[0], (cell)-9);
	before = call("getproplen", 2, 1, find("/memory@0"), "available") / 16;
	say_number(before);
	say(" pieces\n");
	/* Once there are as many as can be, no claim cuts one. */
	check("a cut", call("claim", 3, 1, base + 16, 8, 0), count > MOST_PIECES ? NONE : base + 16);
	call("release", 2, 0, base + 16, 8);
	check("none was cut", call("getproplen", 2, 1, find("/memory@0"), "available") / 16, before);
	check("all of them", call("getprop", 4, 1, find("/memory@0"), "available", base + size, size),
	      before * 16);
}

static void opens(cell count)
{
	static char path[1024];
	cell first, last = 0, at;

	while (count-- > 0) {
		first = call("open", 1, 1, "hvterm:9600");
		check_true("open", first != 0);
		check_true("another one", first != last);
		call("close", 1, 0, first);
		last = first;
	}
	memset(path, 'x', sizeof path - 1);
	memcpy(path, "hvterm:", 7);
	for (at = 0; call("open", 1, 1, path) != 0; at++)
		;
	say_number(at);
	say(" instances\n");
	for (at = 0; at < 1000; at++)
		check("one more", call("open", 1, 1, path), 0);
}

static void properties(cell count)
{
	static char name[64] = "linux,";
	static const char *const paths[] = { "/options", "/chosen" };
	cell at, digit, value, length, made = 0, node;

	for (at = 0; at < count; at++) {
		/* Names as long as can be, or short; values of all lengths. */
		value = at;
		for (digit = 6; digit < 14; digit++, value >>= 4)
			name[digit] = 'a' + (value & 15);
		memset(name + 14, at % 2 ? 'x' : 0, 49);
		length = at < 6000 ? at % 5000 : some_number() % 16;
		node = find(paths[at % 2]);
		value = call("setprop", 4, 1, node, name, 0x1000000, length);
		if (value != NONE) {
			check("setprop", value, length);
			made++;
		} else {
			check("it is not there", call("getproplen", 2, 1, node, name), NONE);
		}
	}
	say_number(made);
	say(" properties\n");
	/* And again what is there, with as much as can be. */
	for (at = 0; at < count; at++) {
		value = some_number() % 6000;
		node = find(paths[value % 2]);
		memset(name + 14, value % 2 ? 'x' : 0, 49);
		for (digit = 6; digit < 14; digit++, value >>= 4)
			name[digit] = 'a' + (value & 15);
		call("setprop", 4, 1, node, name, 0x1000000, some_number() % 0x10000);
	}
	check("what was there before", call("getproplen", 2, 1, find("/options"), "real-mode?"), 5);
}

static void errors(cell count)
{
	while (count-- > 0) {
		switch (some_number() % 8) {
		case 0:
			call("no-such-service", 0, 1);
			break;
		case 1:
			call("release", 2, 0, 0x3000000, 0x1000);
			break;
		case 2:
			call("setprop", 4, 1, find("/"), "model", "mine", 5);
			break;
		case 3:
			call("interpret", 1, 1, "\x1b[2J\n\ndevice-end");
			break;
		case 4:
			call((const char *)0xf0000000, 0, 1);
			break;
		case 5:
			call("chain", 5, 0, 0, 0, 1, 0, 0);
			break;
		case 6:
			interface((void *)0xf0000000);
			break;
		default:
			call("claim", 1, 1, 0);
		}
	}
}

static void boots(void)
{
	static char bootspec[1024];
	cell start = chosen("rust-vmm,boot-count");

	if (start > 200)
		return;
	memset(bootspec, 'x', sizeof bootspec - 1);
	memcpy(bootspec, "boots ", 6);
	call("boot", 1, 0, bootspec);
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	static char bootargs[2048];
	cell count;

	open_console();
	mmu = chosen("mmu");
	property(find("/chosen"), "bootargs", bootargs, sizeof bootargs);
	count = number_in(bootargs);
	if (chosen("rust-vmm,boot-count") == 1) {
		/* Before there is nothing left to be had. */
		start_rtas();
		wait_for_key("ready");
	}
	if (starts_with(bootargs, "claims"))
		claims(count);
	else if (starts_with(bootargs, "pieces"))
		pieces(count);
	else if (starts_with(bootargs, "opens"))
		opens(count);
	else if (starts_with(bootargs, "properties"))
		properties(count);
	else if (starts_with(bootargs, "errors"))
		errors(count);
	else if (starts_with(bootargs, "boots"))
		boots();
	check_true("all is well", find("/chosen") != NONE);
	wait_for_key("done");
	power_off();
}
