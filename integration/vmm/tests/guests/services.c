/*
 * What the loaders leave out, by the first word of the arguments:
 *   others   the services that no loader calls, the methods of /chosen's instances, RTAS
 *   high     memory up to the last address that a cell can name (5 GiB of RAM)
 *   boot     `boot` with arguments, and what the starts after it have
 *   cpu      `start-cpu` of the second processor
 *   chain    puts the program in the initial RAM disk in its place, and enters it by `chain`
 */
#include "guest.h"

#include "chained.h"

static cell in, out, memory, mmu, cpu_count;

static void set_callbacks(void)
{
	check("test of set-callback", call("test", 1, 1, "set-callback"), 0);
	check("the first callback", call("set-callback", 1, 1, ADDRESS(set_callbacks)), 0);
	check("the one before", call("set-callback", 1, 1, 0), ADDRESS(set_callbacks));
	check("no callback", call("set-callback", 1, 1, 0), 0);
	check("test of set-symbol-lookup", call("test", 1, 1, "set-symbol-lookup"), NONE);
	call("set-symbol-lookup", 2, 0, 0, 0);
	check("set-symbol-lookup is absent", said, NONE);
}

static void name_instances(void)
{
	char path[64];
	cell instance = call("open", 1, 1, "hvterm:9600,8"), at;

	memset(path, 0x55, sizeof path);
	/* With room for all of it, and with room for less. */
	check("instance-to-interposed-path",
	      call("instance-to-interposed-path", 3, 1, instance, path, sizeof path), 28);
	check_text("instance-to-interposed-path", path, "/vdevice/vty@71000000:9600,8");
	memset(path, 0x55, sizeof path);
	check("its full length", call("instance-to-path", 3, 1, instance, path, 10), 28);
	for (at = 10; at < sizeof path; at++)
		check("behind the buffer", path[at], 0x55);
	call("close", 1, 0, instance);
	check("of a closed instance",
	      call("instance-to-interposed-path", 3, 1, instance, path, sizeof path), NONE);
	check("seek of the console", call("seek", 3, 1, out, 0, 0), NONE);
	check("seek of nothing", call("seek", 3, 1, instance, 0, 0), NONE);
}

static void test_methods(void)
{
	static const struct { const char *path, *method; } there[] = {
		{ "/", "ibm,client-architecture-support" }, { "/", "open" }, { "/packages", "close" },
		{ "/rtas", "instantiate-rtas" }, { "/memory@0", "claim" }, { "/memory@0", "release" },
		{ "hvterm", "read" }, { "hvterm", "write" }, { "hvterm", "install-abort" },
	}, absent[] = {
		{ "/", "instantiate-rtas" }, { "hvterm", "block-size" }, { "/memory@0", "map" },
		{ "/chosen", "" },
	};
	cell at, cpu = call("instance-to-package", 1, 1, mmu);

	for (at = 0; at < COUNT(there); at++)
		check(there[at].method,
		      call("test-method", 2, 1, find(there[at].path), there[at].method), 0);
	for (at = 0; at < COUNT(absent); at++)
		check(absent[at].method,
		      call("test-method", 2, 1, find(absent[at].path), absent[at].method), NONE);
	check("translate of the mmu", call("test-method", 2, 1, cpu, "translate"), 0);
	check("a method of nothing", call("test-method", 2, 1, 0, "open"), NONE);
}

/* A method with its arguments, the top of the stack first; gives what was caught. */
#define METHOD(arguments, count, name, instance, ...) \
	call("call-method", 2 + (arguments), 1 + (count), name, instance, ##__VA_ARGS__)

static void use_console(void)
{
	char text[8];

	check("write", METHOD(2, 1, "write", out, 7, "method\n"), 0);
	check("what it wrote", results[1], 7);
	check("read", METHOD(2, 1, "read", in, sizeof text, text), 0);
	check("nothing to read", results[1], NOTHING_YET);
	check("seek", METHOD(2, 1, "seek", out, 0, 0), 0);
	check("its status", results[1], NONE);
	check("install-abort", METHOD(0, 0, "install-abort", in), 0);
	check("remove-abort", METHOD(0, 0, "remove-abort", in), 0);
	check("restore", METHOD(0, 0, "restore", out), 0);
	check("ring-bell", METHOD(0, 0, "ring-bell", out), 0);
	check("too few arguments", METHOD(1, 1, "write", out, 7), (cell)-4);
	check("a buffer that is none", METHOD(2, 1, "write", out, 7, 0xf0000000), (cell)-9);
	check("a word that there is not", METHOD(0, 1, "draw-logo", out), UNDEFINED_WORD);
	check("of no instance", METHOD(0, 1, "write", 0), NONE);
	cell again = call("open", 1, 1, "hvterm");
	check("ring-bell of another instance", METHOD(0, 0, "ring-bell", again), 0);
	call("close", 1, 0, again);
}

static void use_memory(void)
{
	check("claim", METHOD(4, 2, "claim", memory, 0, 0x4000, 0, 0x1000000), 0);
	check("the upper cell", results[1], 0);
	check("the lower cell", results[2], 0x1000000);
	check("it is claimed", call("claim", 3, 1, 0x1003fff, 1, 0), NONE);
	check("aligned", METHOD(2, 2, "claim", memory, 0x100000, 0x1000), 0);
	check("its alignment", results[2] & 0xfffff, 0);
	check("release", METHOD(3, 0, "release", memory, 0x1000, 0, results[2]), 0);
	check("claim of the mmu", METHOD(3, 1, "claim", mmu, 0, 0x4000, 0x1000000), 0);
	check("where", results[1], 0x1000000);
	check("map", METHOD(5, 0, "map", mmu, NONE, 0x4000, 0x1000000, 0, 0x1000000), 0);
	check("map elsewhere", METHOD(5, 0, "map", mmu, NONE, 0x4000, 0x1000000, 0, 0x2000000),
	      (cell)-9);
	check("modify", METHOD(3, 0, "modify", mmu, 0x12, 0x4000, 0x1000000), 0);
	check("translate", METHOD(1, 4, "translate", mmu, 0x1000123), 0);
	check("it is mapped", results[1], NONE);
	check("its mode", results[2], 0x12);
	check("the upper cell", results[3], 0);
	check("the lower cell", results[4], 0x1000123);
	check("translate of no RAM", METHOD(1, 4, "translate", mmu, 0xf0000000), 0);
	check("it is not mapped", results[1], 0);
	check("unmap", METHOD(2, 0, "unmap", mmu, 0x4000, 0x1000000), 0);
	check("release of the mmu", METHOD(2, 0, "release", mmu, 0x4000, 0x1000000), 0);
	check("release", METHOD(3, 0, "release", memory, 0x4000, 0, 0x1000000), 0);
	check("release again", METHOD(3, 0, "release", memory, 0x4000, 0, 0x1000000), (cell)-9);
	check("free again", call("claim", 3, 1, 0x1000000, 0x4000, 0), 0x1000000);
}

static void use_rtas(void)
{
	check("get-time-of-day", rtas("get-time-of-day", 0, 8), 0);
	check_true("the year", results[1] >= 2024);
	check("display-character", rtas("display-character", 1, 1, '!'), 0);
	say("\n");
}

static void others(void)
{
	set_callbacks();
	name_instances();
	test_methods();
	use_console();
	use_memory();
	use_rtas();
	/* Arrays of any size up to the longest, wherever they are. */
	check("sixteen cells", call("peer", 15, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
	      find("/"));
	call("interpret", 1, 2, "1 2 +");
	check("interpret", results[0], UNDEFINED_WORD);
	check("interpret of what is known", call("interpret", 1, 1, "output-device output"), 0);
}

static void high(void)
{
	cell reg[4], available[8], root = find("/"), node = find("/memory@0");

	check("#address-cells", cell_property(root, "#address-cells"), 2);
	check("reg", property(node, "reg", reg, sizeof reg), sizeof reg);
	check("5 GiB", reg[2], 1);
	check("5 GiB", reg[3], 0x40000000);
	/* The last page of 4 GiB is the last that a cell can name. */
	check("the last page", call("claim", 3, 1, 0xfffff000, 0x1000, 0), 0xfffff000);
	check("no byte more", call("claim", 3, 1, 0xffffe000, 0x2001, 0), NONE);
	check("the whole of the rest", call("claim", 3, 1, 0x1000000, 0xfeff0000, 0), 0x1000000);
	check("3 GiB are claimed", call("claim", 3, 1, 0, 0xc0000000, 0x1000), NONE);
	memset((void *)0xffffffc0, 0, 0x40);
	check("available", property(node, "available", available, sizeof available) % 16, 0);
	call("release", 2, 0, 0xfffff000, 0x1000);
	/* An array, a name and a buffer that end where the addresses do. */
	cell *array = (cell *)0xfffffff0u - 4;
	static char name[] = "finddevice";
	memcpy((void *)0xfffffff8u, "/chosen", 8);
	array[0] = ADDRESS(name);
	array[1] = 1;
	array[2] = 1;
	array[3] = 0xfffffff8;
	array[4] = 0;
	check("a call from there", interface(array), 0);
	check("its result", array[4], find("/chosen"));
	memset((void *)0xfffffff8u, 'x', 8);
	check("a string that does not end", call("finddevice", 1, 1, 0xfffffff8), NONE);
	check("a buffer to the end",
	      call("getprop", 4, 1, find("/chosen"), "stdout", 0xfffffffc, 4), 4);
	check("what is there", *(cell *)0xfffffffc, out);
	check("a buffer beyond", call("getprop", 4, 1, root, "compatible", 0xfffffffc, 5), NONE);
}

/* Four starts: as the machine is, as `boot` says, as the machine is again, twice. */
static void boot(const char *bootargs)
{
	cell start = chosen("rust-vmm,boot-count");
	char path[64];

	check("no callback is left", call("set-callback", 1, 1, start), 0);
	check_text("arguments", bootargs, start == 2 ? "boot again single" : "boot");
	call("setprop", 4, 1, find("/chosen"), "linux,left-behind", path, 4);
	switch (start) {
	case 1:
		call("boot", 1, 0, "/vdevice/vty@71000000:1  boot again single ");
		break;
	case 2:
		call("interpret", 1, 1, "reset-all");
		break;
	case 3:
		call("boot", 1, 0, "hvterm");
		break;
	default:
		return;
	}
	check_true("a restart", 0);
}

static volatile cell second_says, go_on;

void second_cpu(cell argument)
{
	in_order();
	second_says = argument;
	while (!go_on)
		;
	in_order();
	/* The client interface is for all processors. */
	struct { const char *service; cell arguments, results, time; } array =
		{ "milliseconds", 0, 1, NONE };
	second_says = interface(&array) == 0 && array.time < 60000;
	for (;;)
		;
}

static void start_cpu(void)
{
	cell cpus = find("/cpus"), cpu, number, second = 0;

	for (cpu = call("child", 1, 1, cpus); cpu != 0; cpu = call("peer", 1, 1, cpu)) {
		check("reg", property(cpu, "reg", &number, 4), 4);
		if (number == 1)
			second = cpu;
		cpu_count++;
	}
	check("processors", cpu_count, 2);
	/* What is no processor, and what runs: nothing happens, and nothing is said. */
	call("start-cpu", 3, 0, cpus, ADDRESS(start_second_cpu), 1);
	check("start-cpu", said, 0);
	call("start-cpu", 3, 0, call("instance-to-package", 1, 1, mmu), ADDRESS(start_second_cpu), 1);
	check("start-cpu", said, 0);
	check("nobody started", second_says, 0);
	check("stopped", rtas("query-cpu-stopped-state", 1, 2, 1), 0);
	check("stopped", results[1], 0);
	call("start-cpu", 3, 0, second, ADDRESS(start_second_cpu), 0x12345678);
	while (second_says == 0)
		;
	in_order();
	check("its argument", second_says, 0x12345678);
	go_on = 1;
	while (second_says == 0x12345678)
		;
	check("its call", second_says, 1);
	check("it runs", rtas("query-cpu-stopped-state", 1, 2, 1), 0);
	check("it runs", results[1], 2);
}

/* ELF, as far as it is needed: one segment of a 32-bit program. */
struct elf {
	byte ident[16];
	unsigned short type, machine;
	cell version, entry, phoff, shoff, flags;
	unsigned short ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
struct segment {
	cell type, offset, vaddr, paddr, filesz, memsz, flags, align;
};

static void chain(cell initrd, cell bytes)
{
	const struct elf *elf = (const struct elf *)initrd;
	const struct segment *segment = (const struct segment *)(initrd + elf->phoff);
	cell at, arguments;

	check_true("an initial RAM disk", initrd != 0 && bytes > sizeof *elf);
	check("its first word", *(const cell *)initrd, 0x7f454c46);
	for (at = 0; at < elf->phnum && segment->type != 1; at++)
		segment++;
	check("claim for the program", call("claim", 3, 1, segment->vaddr, segment->memsz, 0),
	      segment->vaddr);
	memset((void *)segment->vaddr, 0, segment->memsz);
	memcpy((void *)segment->vaddr, (const void *)(initrd + segment->offset), segment->filesz);
	arguments = call("claim", 3, 1, 0, 0x1000, 0x1000);
	memcpy((void *)arguments, CHAINED_ARGUMENTS, sizeof CHAINED_ARGUMENTS);
	/* What cannot be: not all of it is claimed, and no place for an instruction. It returns. */
	call("chain", 5, 0, initrd, 0x3000000, elf->entry, arguments, sizeof CHAINED_ARGUMENTS);
	call("chain", 5, 0, 0, 0, elf->entry + 1, arguments, sizeof CHAINED_ARGUMENTS);
	call("chain", 5, 0, 0, 0, 0xf0000000, arguments, sizeof CHAINED_ARGUMENTS);
	check("the initial RAM disk is claimed", call("claim", 3, 1, initrd, 1, 0), NONE);
	/* What the program looks at. */
	((struct chained *)arguments)[1].initrd = initrd;
	((struct chained *)arguments)[1].bytes = bytes;
	((struct chained *)arguments)[1].interface = interface;
	call("chain", 5, 0, initrd, bytes, elf->entry, arguments, sizeof CHAINED_ARGUMENTS);
	check_true("chain", 0);
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	char bootargs[128];

	open_console();
	check("r6, no arguments", arguments, 0);
	check("r7, their length", length, 0);
	in = chosen("stdin");
	out = chosen("stdout");
	memory = chosen("memory");
	mmu = chosen("mmu");
	property(find("/chosen"), "bootargs", bootargs, sizeof bootargs);
	if (starts_with(bootargs, "others"))
		others();
	else if (starts_with(bootargs, "high"))
		high();
	else if (starts_with(bootargs, "boot"))
		boot(bootargs);
	else if (starts_with(bootargs, "cpu"))
		start_cpu();
	else if (starts_with(bootargs, "chain"))
		chain(r3, r4);
	done(bootargs);
	power_off();
}
