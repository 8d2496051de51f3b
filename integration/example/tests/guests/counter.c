/*
 * Uses the counter, the example VMM's own device, by each of its views: its node, its RTAS call,
 * its register, its interrupt, its hypercall and its package. Says each that was as it has to be.
 *
 * From "counting" on, the VMM may save the machine at any hypercall and let another process go on
 * with it. All that can be lost is in use then: an interrupt is pending, an instance is open in
 * the middle, and registers and memory are at work.
 */
#include "guest.h"

/* LoPAPR §14.5.4.7. */
#define H_EOI 0x64
#define H_CPPR 0x68
#define H_XIRR 0x74
/* The counter's. */
#define H_COUNT 0xf100
#define SET_COUNTER "example,set-counter"

/* Of interrupts: that of the source, and that of a processor which is at none. */
#define PRIORITY 5
#define ANY_PRIORITY 0xffu
#define SOURCE_BITS 0xffffff

/* Of MSR: external interrupts are taken. */
#define MSR_EE 0x8000

#define ROUNDS 1000
/* Only an interrupt that never comes is not there after so many calls of H_XIRR. */
#define LOOKS_MAX 1000000

/* What `work` has in registers, before and after it; its offsets are in work.S, too. */
static struct __attribute__((aligned(16))) work {
	/* r14 to r28. */
	doubleword general[15];
	doubleword floating_status;
	/* Integers before, and floating-point numbers after. */
	doubleword floating[32];
	doubleword vector[2 * 32];
	doubleword scratch;
	/* What the last hypercall gave. */
	doubleword call_status, call_count;
	doubleword unused[13];
	doubleword table[8192];
} alone, with_calls;

_Static_assert(__builtin_offsetof(struct work, call_count) == 912, "CALL_COUNT in work.S");
_Static_assert(__builtin_offsetof(struct work, table) == 1024, "TABLE in work.S");

/* In work.S. */
cell work(struct work *work, cell rounds, cell token, cell count);

static cell registers, source, instance;

/* A number of one or two cells. */
static doubleword number(const cell *cells, cell count)
{
	return count == 2 ? (doubleword)cells[0] << 32 | cells[1] : cells[0];
}

/* The registers are outside RAM, all of which has nodes below the root. */
static void check_place(cell root, cell bytes, cell address_cells, cell size_cells)
{
	char type[32];
	cell node, reg[4];

	for (node = call("child", 1, 1, root); node != 0; node = call("peer", 1, 1, node)) {
		memset(type, 0, sizeof type);
		property(node, "device_type", type, sizeof type - 1);
		if (!same(type, "memory"))
			continue;
		check("length of reg of memory", property(node, "reg", reg, sizeof reg),
		      4 * (address_cells + size_cells));
		doubleword start = number(reg, address_cells);
		doubleword end = start + number(reg + address_cells, size_cells);
		check_true("registers outside RAM",
			   end <= registers || (doubleword)registers + bytes <= start);
	}
}

static void use_node(void)
{
	char text[32];
	cell root = find("/"), node = find("/counter"), parent, cells[4], bytes;
	cell address_cells = cell_property(root, "#address-cells");
	cell size_cells = cell_property(root, "#size-cells");

	check_true("/counter is there", node != NONE);
	memset(text, 0, sizeof text);
	check("length of compatible", property(node, "compatible", text, sizeof text - 1),
	      sizeof "example,counter");
	check_text("compatible", text, "example,counter");
	check_true("cells of the root", address_cells - 1 < 2 && size_cells - 1 < 2);
	check("length of reg", property(node, "reg", cells, sizeof cells),
	      4 * (address_cells + size_cells));
	registers = number(cells, address_cells);
	bytes = number(cells + address_cells, size_cells);
	check_true("registers below 4 GiB", number(cells, address_cells) == registers);
	check_true("room for a register", number(cells + address_cells, size_cells) >= 4);
	check_place(root, bytes, address_cells, size_cells);
	parent = cell_property(node, "interrupt-parent");
	check("interrupt-controller", property(parent, "interrupt-controller", 0, 0), 0);
	check("#interrupt-cells", cell_property(parent, "#interrupt-cells"), 2);
	check("length of interrupts", property(node, "interrupts", cells, sizeof cells), 8);
	source = cells[0];
	check("an edge", cells[1], 0);
	check("example,hcall", cell_property(node, "example,hcall"), H_COUNT);
	say("node\n");
}

/* Makes a hypercall that has to succeed, and gives the first result. */
static cell ask(const char *name, cell token, cell argument)
{
	doubleword values[10];

	memset(values, 0, sizeof values);
	values[0] = token;
	values[1] = argument;
	hypercall(values);
	check(name, values[0] >> 32, 0);
	check(name, values[0], 0);
	check(name, values[1] >> 32, 0);
	return values[1];
}

static cell load(void)
{
	cell value;

	__asm__ volatile("sync; lwz %0, 0(%1); sync" : "=r"(value) : "b"(registers) : "memory");
	return value;
}

static void store(cell value)
{
	__asm__ volatile("sync; stw %0, 0(%1); sync" : : "r"(value), "b"(registers) : "memory");
}

static void check_no_interrupt(const char *what)
{
	check(what, ask("H_XIRR", H_XIRR, 0), ANY_PRIORITY << 24);
}

/* Takes an interrupt, and it is the counter's. That a device has asked for one may be known a
 * little later than what it asked for it for. */
static void take_interrupt(const char *what)
{
	cell looks = 0, xirr;

	do
		xirr = ask("H_XIRR", H_XIRR, 0);
	while ((xirr & SOURCE_BITS) == 0 && ++looks < LOOKS_MAX);
	check(what, xirr, ANY_PRIORITY << 24 | source);
	check("none while it is at work", ask("H_XIRR", H_XIRR, 0), PRIORITY << 24);
	ask("H_EOI", H_EOI, xirr);
	check_no_interrupt("an interrupt comes once");
}

static void use_rtas(void)
{
	cell_property(find("/rtas"), SET_COUNTER);
	start_rtas();
	check(SET_COUNTER, rtas(SET_COUNTER, 1, 1, 1000), 0);
	say("rtas\n");
}

/* The interrupt of the source comes to this processor, and nobody but H_XIRR takes it. */
static void set_up_interrupt(void)
{
	static const char name[] = "ibm,ppc-interrupt-server#s";
	cell cpu = call("instance-to-package", 1, 1, chosen("mmu")), servers[8], length;

	length = property(cpu, name, servers, sizeof servers);
	check_true(name, length != NONE && length >= 4);
	check("MSR.EE", state_bits() & MSR_EE, 0);
	check("ibm,set-xive", rtas("ibm,set-xive", 3, 1, source, servers[0], PRIORITY), 0);
	ask("H_CPPR", H_CPPR, ANY_PRIORITY);
	check_no_interrupt("no interrupt yet");
}

static void use_registers(void)
{
	check("what RTAS set", load(), 1000);
	store(5);
	check("what is there after a store", load(), 1005);
	say("mmio\n");
	check("H_COUNT", ask("H_COUNT", H_COUNT, 0), 1005);
	say("hypercall\n");
	take_interrupt("interrupt of the store");
	say("interrupt\n");
}

static void read_digits(cell length, const char *expected)
{
	char digits[16];

	memset(digits, 0, sizeof digits);
	check("length of read", call("read", 3, 1, instance, digits, length), length_of(expected));
	check_text("read", digits, expected);
}

static void use_package(void)
{
	instance = call("open", 1, 1, "/counter");
	check_true("open", said == 0 && instance != 0);
	/* Of 000003ed. */
	read_digits(3, "000");
	say("package\n");
}

static cell sum(const doubleword *values, cell count)
{
	doubleword sum = 0;
	cell at;

	for (at = 0; at < count; at++)
		sum = (sum << 7 | sum >> 57) + values[at];
	return sum ^ sum >> 32;
}

#define CHECK_SUM(what, part) \
	check(what, sum(with_calls.part, COUNT(alone.part)), sum(alone.part, COUNT(alone.part)))

/* A thousand hypercalls. All that is in registers and memory is, after that, what it is without
 * them. */
static void count(cell expected)
{
	cell *start = (cell *)&alone, at, left;

	for (at = 0; at < sizeof alone / sizeof *start; at++)
		start[at] = some_number();
	for (at = 0; at < COUNT(alone.floating); at++)
		alone.floating[at] >>= 32;
	memcpy(&with_calls, &alone, sizeof alone);
	check("work alone", work(&alone, ROUNDS, 0, 0), 0);
	say("counting\n");
	left = work(&with_calls, ROUNDS, H_COUNT, expected);
	check("status of H_COUNT", with_calls.call_status >> 32 | with_calls.call_status, 0);
	check("count", with_calls.call_count, expected);
	check("calls that are left", left, 0);
	CHECK_SUM("general registers", general);
	CHECK_SUM("floating-point registers", floating);
	check("FPSCR", with_calls.floating_status, alone.floating_status);
	CHECK_SUM("vector registers", vector);
	CHECK_SUM("memory", table);
	say("counted\n");
}

static void use_instance_again(void)
{
	/* Of 000003f4. */
	read_digits(8, "003f4");
	read_digits(8, "");
	check("seek", call("seek", 3, 1, instance, 0, 6), 0);
	read_digits(8, "f4");
	check("seek to the end", call("seek", 3, 1, instance, 0, 8), 0);
	read_digits(8, "");
	check("seek beyond", call("seek", 3, 1, instance, 0, 9), NONE);
	check("seek far beyond", call("seek", 3, 1, instance, 1, 0), NONE);
	call("close", 1, 0, instance);
	check("close", said, 0);
	say("the same instance\n");
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	open_console();
	use_node();
	use_rtas();
	set_up_interrupt();
	use_registers();
	use_package();
	store(7);
	count(1012);
	take_interrupt("the pending interrupt");
	say("the same interrupt\n");
	use_instance_again();
	say("counter works\n");
	power_off();
}
