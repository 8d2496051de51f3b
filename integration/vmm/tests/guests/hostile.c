/*
 * A client that means harm, by the first word of the arguments:
 *   pointers     what is no RAM, or not all, or not the caller's, for every pointer of every
 *                service, and for the array itself
 *   upper N      the same calls with something in the upper halves of registers
 *   rtas N       argument buffers of RTAS that are none
 *   hypercalls N every hypercall with any registers
 *
 * It makes the hypercalls itself: what it makes the VMM write over may be the firmware image.
 */
#include "guest.h"

#define H_CLIENT 0xf005
#define H_RTAS 0xf000
#define H_SUCCESS 0
#define H_PARAMETER ((cell)-4)

/* RAM has 64 MiB. */
#define END 0x4000000u
#define FIRMWARE 0x100u
#define FIRMWARE_BYTES 0x300u

static char bootargs[64], buffer[64];
static cell chosen_node, instance;

/* A hypercall of 32-bit registers; gives the status. */
static cell hcall(cell token, cell argument)
{
	doubleword registers[10] = { token, argument };

	hypercall(registers);
	return registers[0];
}

/* With room for what is written over its end. */
static struct {
	cell service, arguments, result_count, cells[16], room[32];
} array;

/* Arguments by kind: a string, a buffer and its length, a phandle, an instance, a number. */
static const struct service {
	const char *name, *kinds;
	/* What the first result is when it fails. */
	cell failure;
} services[] = {
	{ "test", "s", NONE }, { "peer", "p", 0 }, { "child", "p", 0 }, { "parent", "p", 0 },
	{ "getproplen", "ps", NONE }, { "getprop", "psbl", NONE }, { "nextprop", "psb", NONE },
	{ "setprop", "psbl", NONE }, { "canon", "Sbl", NONE }, { "finddevice", "S", NONE },
	{ "instance-to-package", "i", NONE }, { "instance-to-path", "ibl", NONE },
	{ "instance-to-interposed-path", "ibl", NONE }, { "package-to-path", "pbl", NONE },
	{ "call-method", "siln", NONE }, { "test-method", "ps", NONE }, { "open", "S", 0 },
	{ "close", "n", NONE }, { "read", "ibl", NONE }, { "write", "ibl", NONE },
	{ "seek", "inn", NONE }, { "claim", "nnn", NONE }, { "release", "nn", NONE },
	{ "boot", "s", NONE }, { "chain", "nnnnn", NONE }, { "start-cpu", "nnn", NONE },
	{ "interpret", "s", NONE }, { "set-callback", "n", NONE }, { "milliseconds", "", NONE },
	{ "quiesce", "", NONE },
};

/* A proper argument of each kind. */
static cell proper(char kind)
{
	switch (kind) {
	case 's': return ADDRESS("bootargs");
	case 'S': return ADDRESS("/chosen");
	case 'b': return ADDRESS(buffer);
	case 'l': return sizeof buffer;
	case 'p': return chosen_node;
	case 'i': return instance;
	default: return 3;
	}
}

static void prepare(const struct service *service)
{
	cell at;

	array.service = ADDRESS(service->name);
	array.arguments = length_of(service->kinds);
	array.result_count = 1;
	for (at = 0; at < array.arguments; at++)
		array.cells[at] = proper(service->kinds[at]);
	array.cells[at] = 0x5a5a5a5a;
}

static byte image[FIRMWARE_BYTES];

static cell make(void *at)
{
	cell status = hcall(H_CLIENT, ADDRESS(at));

	/* What it may have written over. */
	memcpy((void *)FIRMWARE, image, sizeof image);
	return status;
}

/* Strings that do not end before RAM does. */
static void fill_end(void)
{
	memset((void *)(END - 0x100), 'x', 0x100);
}

static const cell outside[] = {
	END, END - 1, END - 3, END - 4, END + 4, 0x7fffffff, 0x80000000, 0xfffff000, 0xfffffffc,
	0xfffffffd, 0xffffffff,
};

/* No service sees anything there, or does anything before it knows. */
static void pointers_outside(const struct service *service)
{
	cell at, argument, result = length_of(service->kinds);

	for (argument = 0; argument < length_of(service->kinds); argument++) {
		char kind = service->kinds[argument];
		if (kind != 's' && kind != 'S' && kind != 'b')
			continue;
		for (at = 0; at < COUNT(outside); at++) {
			fill_end();
			prepare(service);
			array.cells[argument] = outside[at];
			check(service->name, make(&array), H_SUCCESS);
			if (same(service->name, "boot"))
				continue;
			check(service->name, array.cells[result], service->failure);
		}
	}
	for (at = 0; at < COUNT(outside); at++) {
		fill_end();
		prepare(service);
		array.service = outside[at];
		check(service->name, make(&array), H_PARAMETER);
		check(service->name, array.cells[result], NONE);
	}
}

/* What is RAM, but the array or the firmware image. The VMM does as it is told. */
static void pointers_inside(const struct service *service)
{
	const cell inside[] = {
		ADDRESS(&array), ADDRESS(&array) + 1, ADDRESS(&array.arguments), ADDRESS(array.cells),
		ADDRESS(array.cells) + 3, ADDRESS(array.cells + 3), ADDRESS(array.cells + 15),
		FIRMWARE, FIRMWARE + 1, 0x178, 0x17a, 0x23c, 0, 1, 0x8000,
	};
	cell at, argument, status;

	/* These would do as they are told. */
	if (same(service->name, "boot") || same(service->name, "chain"))
		return;
	for (argument = 0; argument < length_of(service->kinds); argument++)
		for (at = 0; at < COUNT(inside); at++) {
			char kind = service->kinds[argument];
			if (kind != 's' && kind != 'S' && kind != 'b')
				continue;
			prepare(service);
			array.cells[argument] = inside[at];
			status = make(&array);
			check_true(service->name, status == H_SUCCESS || status == H_PARAMETER);
		}
}

static const cell numbers[] = {
	0, 1, 15, 16, 17, 0xffff, 0x10000, 0x3fffffff, 0x40000000, 0x7fffffff, 0x80000000,
	0xfffffff0, 0xfffffffd, 0xffffffff,
};

/* Arrays of any counts, at any distance from the end of RAM, anywhere else. */
static void arrays(void)
{
	cell at, other, back, status, results_at;
	cell *last;

	prepare(&services[1]);
	for (at = 0; at < COUNT(numbers); at++)
		for (other = 0; other < COUNT(numbers); other++) {
			doubleword sum = (doubleword)numbers[at] + numbers[other];
			array.arguments = numbers[at];
			array.result_count = numbers[other];
			status = make(&array);
			/* `peer` has one argument. */
			check("counts", status,
			      sum <= 16 && numbers[at] > 0 ? H_SUCCESS : H_PARAMETER);
		}
	for (back = 1; back <= 64; back++) {
		last = (cell *)(END - back);
		fill_end();
		if (back >= 12) {
			/* By bytes: it may be at any address. */
			cell head[] = { ADDRESS("peer"), 1, 1 };
			memcpy(last, head, sizeof head);
		}
		if (back >= 20)
			memset((byte *)last + 12, 0, 8);
		check("an array at the end", make(last), back >= 20 ? H_SUCCESS : H_PARAMETER);
		if (back >= 20) {
			memcpy(&results_at, (byte *)last + 16, 4);
			check("its result", results_at, find("/"));
		}
	}
	for (at = 0; at < COUNT(outside); at++)
		check("an array outside", make((void *)outside[at]), H_PARAMETER);
	/* The firmware's own code for an array, a result over its entry. */
	make((void *)FIRMWARE);
	make((void *)0x178);
	cell *over = (cell *)(0x178 - 16);
	cell own[] = { ADDRESS("peer"), 1, 1, 0 };
	memcpy(over, own, sizeof own);
	check("a result over the firmware", make(over), H_SUCCESS);
	check("the firmware is as before", call("peer", 1, 1, 0), find("/"));
	/* Addresses of 64 bits. */
	for (at = 1; at != 0; at <<= 1) {
		prepare(&services[1]);
		doubleword registers[10] = { H_CLIENT, (doubleword)at << 32 | ADDRESS(&array) };
		hypercall(registers);
		check("an array above 4 GiB", registers[0], H_PARAMETER);
	}
}

static void lengths(const struct service *service)
{
	cell at, argument, status;

	/* The console is still needed. */
	if (same(service->name, "boot") || same(service->name, "chain") ||
	    same(service->name, "write") || same(service->name, "close"))
		return;
	for (argument = 0; argument < length_of(service->kinds); argument++)
		for (at = 0; at < COUNT(numbers); at++) {
			char kind = service->kinds[argument];
			if (kind == 's' || kind == 'S' || kind == 'b')
				continue;
			prepare(service);
			array.cells[argument] = numbers[at];
			status = make(&array);
			check(service->name, status, H_SUCCESS);
		}
}

static void pointers(void)
{
	cell at;

	for (at = 0; at < COUNT(services); at++) {
		pointers_outside(&services[at]);
		pointers_inside(&services[at]);
		lengths(&services[at]);
	}
	arrays();
	for (at = 0; at < COUNT(outside); at++) {
		static char chain[] = "chain";
		array.service = ADDRESS(chain);
		array.arguments = 5;
		array.result_count = 0;
		array.cells[0] = array.cells[1] = 0;
		array.cells[2] = outside[at];
		if (outside[at] != END - 4)
			check("chain to nowhere", make(&array), H_SUCCESS);
		array.cells[0] = outside[at];
		array.cells[1] = 0x1000;
		array.cells[2] = ADDRESS(pointers);
		check("chain that frees nothing", make(&array), H_SUCCESS);
	}
}

/* Clients of 32 bits have anything in the upper halves of their registers. */
static void upper_halves(cell count)
{
	while (count-- > 0) {
		const struct service *service = &ANY(services);
		cell status, at;
		/* These do as they are told, or wait for a key. */
		if (service->failure == NONE && (same(service->name, "boot") ||
		    same(service->name, "chain") || same(service->name, "write") ||
		    same(service->name, "setprop") || same(service->name, "read")))
			continue;
		prepare(service);
		status = call_with_upper_halves(&array, some_number());
		check(service->name, status, 0);
		at = array.cells[array.arguments];
		if (same(service->name, "getprop"))
			check(service->name, at, length_of(bootargs) + 1);
	}
}

static const char *const rtas_calls[] = {
	"query-cpu-stopped-state", "start-cpu", "get-time-of-day", "set-time-of-day",
	"display-character", "event-scan", "check-exception", "ibm,get-system-parameter",
	"ibm,set-system-parameter", "ibm,set-xive", "ibm,get-xive", "ibm,int-on", "ibm,int-off",
};

/* Where the VMM may write: nothing of the program. */
#define SCRATCH 0x2000000u

static cell anything(void)
{
	static const cell places[] = { SCRATCH, SCRATCH + 1, SCRATCH + 0xffc, 0x71000000, 55, 48, 20 };

	switch (some_number() % 4) {
	case 0: return ANY(outside);
	case 1: return ANY(numbers);
	case 2: return ANY(places);
	default: return SCRATCH + some_number() % 0x10000;
	}
}

static void rtas_buffers(cell count)
{
	cell tokens[COUNT(rtas_calls) + 4], at, node = find("/rtas"), status;

	for (at = 0; at < COUNT(rtas_calls); at++)
		tokens[at] = cell_property(node, rtas_calls[at]);
	tokens[at++] = 0;
	tokens[at++] = 0x1000;
	tokens[at++] = 0x80000000;
	tokens[at++] = NONE;
	while (count-- > 0) {
		cell place = some_number() % 8 == 0 ? ANY(outside) : SCRATCH + some_number() % 0x1000;
		if (place < END - 0x100) {
			cell *to = (cell *)(place & ~3);
			to[0] = ANY(tokens);
			to[1] = some_number() % 4 == 0 ? ANY(numbers) : some_number() % 9;
			to[2] = some_number() % 4 == 0 ? ANY(numbers) : some_number() % 9;
			for (at = 3; at < 16; at++)
				to[at] = anything();
		}
		status = hcall(H_RTAS, place);
		check_true("RTAS", status == H_SUCCESS || status == H_PARAMETER);
	}
}

static const cell tokens[] = {
	0x54, 0x58, 0x64, 0x68, 0x6c, 0x70, 0x74, 0xdc, 0xe4, 0xe8, 0x1c8, 0x2ec, 0x2fc, 0x31c, 0x37c,
	H_RTAS, H_CLIENT,
	/* What there is not, and what no number can be. */
	0, 1, 4, 8, 0xc, 0x78, 0xf001, 0xf002, 0xf003, 0xffffffff,
};

static void hypercalls(cell count)
{
	doubleword registers[10];
	cell at;

	/* The places of anything hold nothing that RTAS or the client interface could do. */
	memset((void *)SCRATCH, 0xff, 0x20000);
	while (count-- > 0) {
		registers[0] = ANY(tokens);
		if (some_number() % 16 == 0)
			registers[0] |= (doubleword)some_number() << 32;
		for (at = 1; at < 10; at++) {
			registers[at] = anything();
			if (some_number() % 4 == 0)
				registers[at] |= (doubleword)anything() << 32;
			if (some_number() % 16 == 0)
				registers[at] = (doubleword)1 << 63 | 0x4000;
		}
		hypercall(registers);
	}
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	cell count;

	open_console();
	memcpy(image, (const void *)FIRMWARE, sizeof image);
	chosen_node = find("/chosen");
	instance = call("open", 1, 1, "hvterm");
	property(chosen_node, "bootargs", bootargs, sizeof bootargs);
	count = number_in(bootargs);
	/* Before there is nothing left to be had. */
	start_rtas();
	wait_for_key("ready");
	if (starts_with(bootargs, "pointers"))
		pointers();
	else if (starts_with(bootargs, "upper"))
		upper_halves(count);
	else if (starts_with(bootargs, "rtas"))
		rtas_buffers(count);
	else if (starts_with(bootargs, "hypercalls"))
		hypercalls(count);
	check("all is well", find("/chosen"), chosen_node);
	wait_for_key("\ndone");
	power_off();
}
