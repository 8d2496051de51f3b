/*
 * Two processors and one client interface, by the first word of the arguments:
 *   array N  one calls N times, the other writes over the array, the strings and the buffers
 *   both N   both call N times; each keeps what it has got
 *   rtas N   as `array`, with the argument buffer of RTAS
 */
#include "guest.h"

#define H_CLIENT 0xf005
#define H_RTAS 0xf000
#define END 0x4000000u

/* The names of services are where no service writes: none of them may become `boot` by chance. */
#define NAMES 0x1000000u
/* Everything else that is written over. */
#define SCRATCH 0x1010000u
#define SCRATCH_BYTES 0x10000u

enum { ARRAY, BOTH, RTAS };

/* The firmware image, which a result may be written over. */
#define FIRMWARE 0x100u
static byte image[0x300];

static volatile cell mode, count, second_count, finish;
static cell handles[4], tokens[8];

static cell hcall(cell token, cell argument)
{
	doubleword registers[10] = { token, argument };

	hypercall(registers);
	return registers[0];
}

/* Each processor has its own. */
struct random {
	cell state;
};

static cell next(struct random *random)
{
	cell state = random->state;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return random->state = state;
}

#define SOME(random, array) ((array)[next(random) % COUNT(array)])

static const char *const names[] = {
	"test", "peer", "child", "parent", "getproplen", "getprop", "nextprop", "setprop", "canon",
	"finddevice", "instance-to-package", "instance-to-path", "package-to-path", "call-method",
	"test-method", "open", "claim", "release", "seek", "milliseconds", "set-callback",
	"instance-to-interposed-path", "no-such-service",
};
static const char *const texts[] = {
	"/chosen", "/vdevice/vty@71000000", "hvterm:1", "/", "/options", "stdout", "available", "reg",
	"linux,a", "translate", "map", "claim", "release", "ibm,client-architecture-support",
	"instantiate-rtas", "ring-ball",
};

/* A cell that may be a pointer, a handle, a length. RTAS goes into the scratch memory, too. */
static cell any_cell(struct random *random)
{
	static const cell wild[] = {
		0x3fffffe, END, END - 1, END - 4, 0x80000000, 0xfffffffc, NONE, 0, 1, 2, 4, 16, 64, 0x30000,
	};

	switch (next(random) % 4) {
	case 0:
		return SOME(random, wild);
	case 1:
		return SOME(random, handles);
	default:
		return SCRATCH + next(random) % (SCRATCH_BYTES / 2);
	}
}

static volatile cell *const array = (cell *)(SCRATCH + 0xc000);

static void write_over_counts(struct random *random)
{
	array[1] = next(random) % 8 == 0 ? any_cell(random) : next(random) % 9;
	array[2] = next(random) % 8 == 0 ? any_cell(random) : next(random) % 9;
}

static void write_over_cells(struct random *random)
{
	cell at;

	for (at = 3; at < 12; at++)
		array[at] = any_cell(random);
}

static void write_over(struct random *random)
{
	const char *name;
	cell place;

	switch (next(random) % 8) {
	case 0:
		/* Another name in the place of a name. */
		name = SOME(random, names);
		place = NAMES + next(random) % 16 * 32;
		memcpy((void *)place, name, length_of(name) + 1);
		break;
	case 1:
		name = SOME(random, texts);
		memcpy((void *)(SCRATCH + next(random) % 0x8000), name, length_of(name) + 1);
		break;
	case 2:
		array[0] = next(random) % 8 == 0 ? any_cell(random) : NAMES + next(random) % 16 * 32;
		break;
	case 3:
		write_over_counts(random);
		break;
	default:
		write_over_cells(random);
	}
}

static void write_over_rtas(struct random *random)
{
	/* None that stops a processor or the machine. */
	static const cell absent[] = { 0, 0x1000, 0x80000000, NONE };

	switch (next(random) % 4) {
	case 0:
		array[0] = next(random) % 8 == 0 ? SOME(random, absent) : SOME(random, tokens);
		break;
	case 1:
		write_over_counts(random);
		break;
	default:
		write_over_cells(random);
	}
}

/* Calls with an array of the processor's own. */
struct own {
	struct random random;
	cell id, chosen;
	struct { const char *service; cell arguments, results, cells[5]; } array;
};

static cell own_call(struct own *own, const char *service, cell arguments, cell a, cell b, cell c)
{
	own->array.service = service;
	own->array.arguments = arguments;
	own->array.results = 1;
	own->array.cells[0] = a;
	own->array.cells[1] = b;
	own->array.cells[2] = c;
	own->array.cells[arguments] = 0x5a5a5a5a;
	check("status", hcall(H_CLIENT, ADDRESS(&own->array)), 0);
	return own->array.cells[arguments];
}

/* Claims, opens and properties are one's own as long as one keeps them. */
static void use(struct own *own)
{
	cell size = 0x1000 * (1 + next(&own->random) % 4), at, instance;
	volatile cell *memory;

	at = own_call(own, "claim", 3, 0, size, 0x1000);
	check_true("claim", at != NONE);
	memory = (volatile cell *)at;
	memory[0] = memory[size / 4 - 1] = own->id;
	instance = own_call(own, "open", 1, ADDRESS("/cpus"), 0, 0);
	check_true("open", instance != 0 && instance != NONE);
	check("the package", own_call(own, "instance-to-package", 1, instance, 0, 0),
	      own_call(own, "finddevice", 1, ADDRESS("/cpus"), 0, 0));
	check("the first cell", memory[0], own->id);
	check("the last cell", memory[size / 4 - 1], own->id);
	own_call(own, "close", 1, instance, 0, 0);
	own_call(own, "release", 2, at, size, 0);
}

static struct own one = { { 0x2545f491 }, 0x11111111, 0, { 0 } };
static struct own two = { { 0x9e3779b9 }, 0x22222222, 0, { 0 } };

void second_cpu(cell argument)
{
	while (!finish) {
		if (mode == BOTH) {
			if (second_count < count) {
				use(&two);
				second_count++;
			}
		} else if (mode == RTAS) {
			write_over_rtas(&two.random);
			second_count++;
		} else {
			write_over(&two.random);
			second_count++;
		}
		in_order();
	}
	finish = 2;
	for (;;)
		;
}

static void start(void)
{
	cell at, cpu, number, node = find("/rtas");

	handles[0] = find("/chosen");
	handles[1] = chosen("mmu");
	handles[2] = chosen("memory");
	handles[3] = find("/options");
	tokens[0] = cell_property(node, "get-time-of-day");
	tokens[1] = cell_property(node, "query-cpu-stopped-state");
	tokens[2] = cell_property(node, "ibm,get-system-parameter");
	tokens[3] = cell_property(node, "ibm,set-system-parameter");
	tokens[4] = cell_property(node, "event-scan");
	tokens[5] = cell_property(node, "ibm,get-xive");
	tokens[6] = cell_property(node, "check-exception");
	tokens[7] = cell_property(node, "start-cpu");
	for (at = 0; at < 16; at++)
		memcpy((void *)(NAMES + at * 32), names[at], length_of(names[at]) + 1);
	/* Nothing that a processor or the machine could be stopped by. */
	memset((void *)SCRATCH, 0xff, SCRATCH_BYTES);
	for (cpu = call("child", 1, 1, find("/cpus")); cpu != 0; cpu = call("peer", 1, 1, cpu)) {
		property(cpu, "reg", &number, 4);
		if (number == 1)
			call("start-cpu", 3, 0, cpu, ADDRESS(start_second_cpu), 0);
	}
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	char bootargs[64];
	cell at, made = 0, status;

	open_console();
	property(find("/chosen"), "bootargs", bootargs, sizeof bootargs);
	count = number_in(bootargs);
	mode = starts_with(bootargs, "both") ? BOTH : starts_with(bootargs, "rtas") ? RTAS : ARRAY;
	start_rtas();
	memcpy(image, (const void *)FIRMWARE, sizeof image);
	/* What the client may use, so that no claim is one of the program's places. */
	call("claim", 3, 1, NAMES, SCRATCH + SCRATCH_BYTES - NAMES, 0);
	wait_for_key("ready");
	start();
	for (at = 0; at < count; at++) {
		if (mode == BOTH) {
			use(&one);
			continue;
		}
		status = hcall(mode == RTAS ? H_RTAS : H_CLIENT, ADDRESS(array));
		made += status == 0;
	}
	while (mode == BOTH && second_count < count)
		;
	finish = 1;
	while (finish != 2)
		;
	in_order();
	memcpy((void *)FIRMWARE, image, sizeof image);
	check_true("the other one was at it", second_count > 0);
	check_true("calls were made", mode == BOTH || made > count / 16);
	check("all is well", find("/chosen"), handles[0]);
	wait_for_key("done");
	power_off();
}
