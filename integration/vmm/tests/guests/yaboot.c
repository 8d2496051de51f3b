/*
 * The calls of yaboot, in its order and with its arguments, where there is neither a disk nor a
 * network: the answer is that of a device that is absent. yaboot_disk.c has those with a disk.
 */
#include "yaboot.h"

static cell in, out, memory, mmu, chosen_node, options;

static void get_instance(const char *name, cell *instance)
{
	cell length = prom("getprop", 4, 1, chosen_node, name, instance, sizeof *instance);

	check_true(name, (int)length > 0);
}

/* Lines end with CR LF, each a write of its own. */
static void put(const char *text)
{
	cell length;

	while (*text != 0) {
		for (length = 0; text[length] != 0 && text[length] != '\n'; length++)
			;
		if (length > 0)
			check("write", prom("write", 3, 1, out, text, length), length);
		text += length;
		if (*text == '\n') {
			check("write CR LF", prom("write", 3, 1, out, "\r\n", 2), 2);
			text++;
		}
	}
}

static void start(void)
{
	chosen_node = prom("finddevice", 1, 1, "/chosen");
	check_true("/chosen", chosen_node != NONE);
	options = prom("finddevice", 1, 1, "/options");
	check_true("/options", options != NONE);
	get_instance("stdout", &out);
	get_instance("stdin", &in);
	get_instance("memory", &memory);
	get_instance("mmu", &mmu);
	cell debug = 0;
	check("a setting that nobody made",
	      prom("getprop", 4, 1, options, "linux,yaboot-debug", &debug, 4), NONE);
	put("\n");
	/* It defines words. There is no Forth to define them in, and it does not look. */
	check("interpret: definitions",
	      prom("interpret", 1, 1, "hex : D2NIP decode-int nip nip ;\r"), UNDEFINED_WORD);
	check("interpret: values", prom("interpret", 1, 1,
	      " \" /chosen\" find-package if dup \" memory\" rot GPP$ if D2NIP swap "
	      "\" mmu\" rot GPP$ if D2NIP else 0 then else 0 0 then else 0 0 then\r"
	      "value mmu# value mem# "), UNDEFINED_WORD);
	check("interpret: methods",
	      prom("interpret", 1, 1, ": ^mem mem# $CM ; : ^mmu mmu# $CM ; "), UNDEFINED_WORD);
	check("find-package is no service", prom("find-package", 1, 1, "/chosen"), NONE);
}

/* It tells kinds of machines apart by the root, and takes what is `chrp` for one like this. */
static void look_at_machine(void)
{
	char text[256];
	cell root = prom("finddevice", 1, 1, "/"), length;

	length = prom("getprop", 4, 1, root, "device_type", text, sizeof text);
	check("length of device_type", length, 5);
	check_text("device_type of the root", text, "chrp");
	length = prom("getprop", 4, 1, root, "compatible", text, sizeof text);
	check_true("compatible", (int)length > 0);

	length = prom("getprop", 4, 1, chosen_node, "bootargs", text, 255);
	check_true("bootargs", (int)length > 0 && text[length - 1] == 0);
	check_text("bootargs", text, "yaboot");
}

static void claim_memory(void)
{
	cell at, chunk = 0x40000, size = 0x100000;

	/* Its heap, at a fixed place. */
	check("claim of the heap", prom("claim", 3, 1, 0x300000, 0x100000, 0), 0x300000);
	check("once more", prom("claim", 3, 1, 0x300000, 0x100000, 0), NONE);
	/* A place for the kernel: from its address on in steps until there is one. The first is
	 * where this program is. */
	for (at = 0x200000; at <= 0x10000000; at += chunk)
		if (prom("claim", 3, 1, at, size, 0) != NONE)
			break;
	check("the first place behind the heap", at, 0x400000);
	/* And one for the initial RAM disk from 256 MiB down, of which there are 64. */
	cell top;
	for (top = 0x10000000; top >= size; top -= chunk)
		if (prom("claim", 3, 1, top, size, 0) != NONE)
			break;
	check("the last place in RAM", top, 0x4000000 - size);
	prom("release", 2, 0, top, size);
	prom("release", 2, 0, at, size);
	check("claim of what was released", prom("claim", 3, 1, at, size, 0), at);
	prom("release", 2, 0, at, size);
}

/* What is free, as its list of memory for people reads it. */
static void list_available(void)
{
	cell available[128], address_cells = 2, size_cells = 1, length, at, entry;
	cell root = prom("finddevice", 1, 1, "/"), node;

	prom("getprop", 4, 1, root, "#address-cells", &address_cells, 4);
	prom("getprop", 4, 1, root, "#size-cells", &size_cells, 4);
	node = prom("finddevice", 1, 1, "/memory@0");
	check_true("/memory@0", node != NONE);
	length = prom("getprop", 4, 1, node, "available", available, sizeof available);
	entry = address_cells + size_cells;
	check("whole entries", length % (4 * entry), 0);
	for (at = 0; at < length / 4; at += entry) {
		check_true("no empty range", available[at + entry - 1] != 0);
		check_true("in order", at == 0 ||
			   available[at + address_cells - 1] > available[at - entry + address_cells - 1]);
	}
	check_true("something is free", length > 0);
}

/* The disk that there is not: opened by path and alias, asked for its kind. */
static void look_for_disk(void)
{
	static const char *const paths[] = {
		"hd:2,\\yaboot.conf", "/vdevice/v-scsi@71000001/disk@0:2,\\\\yaboot.conf", "cd:,\\\\",
		"/vdevice/l-lan@71000002:0,\\yaboot.conf",
	};
	char kind[64];
	cell at;

	for (at = 0; at < COUNT(paths); at++)
		check(paths[at], prom("open", 1, 1, paths[at]), 0);
	check("its node", prom("finddevice", 1, 1, "/vdevice/v-scsi@71000001/disk@0"), NONE);
	/* The console is no disk, and does not have a disk's methods. */
	cell node = prom("instance-to-package", 1, 1, in), length;
	length = prom("getprop", 4, 1, node, "device_type", kind, 63);
	check_true("device_type", (int)length > 0);
	check_text("device_type", kind, "serial");
	cell device = prom("open", 1, 1, "/vdevice/vty@71000000:0");
	check_true("open with arguments", device != 0 && device != NONE);
	check("block-size", method("block-size", device, 0), 0);
	check("caught of block-size", caught, UNDEFINED_WORD);
	check("read-blocks", method("read-blocks", device, 3, 0x400000, 0, 1), 0);
	check("caught of read-blocks", caught, UNDEFINED_WORD);
	check("load", method("load", device, 1, 0x400000), 0);
	check("caught of load", caught, UNDEFINED_WORD);
	check("seek", prom("seek", 3, 1, device, 0, 0x10000), NONE);
	check("read of nothing typed", prom("read", 3, 1, device, kind, 64), NOTHING_YET);
	check("interpret: wait", prom("interpret", 1, 1, " 10 ms"), UNDEFINED_WORD);
	prom("close", 1, 0, device);
	check("closed", prom("read", 3, 1, device, kind, 64), NONE);
}

/* A file from the network would go into memory claimed for it. */
static void look_for_network(void)
{
	static const char *const names[] = { "bootp-response", "dhcp-response", "bootpreply-packet" };
	cell at;

	for (at = 0; at < COUNT(names); at++)
		check(names[at], prom("getproplen", 2, 1, chosen_node, names[at]), NONE);
	check("claim for the network", prom("claim", 3, 1, 0x600000, 0x600000, 0), 0x600000);
	memset((void *)0x600000, 0, 0x600000);
	prom("release", 2, 0, 0x600000, 0x600000);
}

/* A line from the person at the console, with an echo. */
static void read_line(char *line, cell room)
{
	cell at = 0;
	char typed;

	while (at < room - 1) {
		if ((int)prom("read", 3, 1, in, &typed, 1) <= 0)
			continue;
		if (typed == '\r')
			break;
		check("echo", prom("write", 3, 1, out, &typed, 1), 1);
		line[at++] = typed;
	}
	line[at] = 0;
	put("\n");
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	char line[128];
	cell before;

	check("r6, no arguments", arguments, 0);
	check("r7, their length", length, 0);
	open_console();
	start();
	look_at_machine();
	claim_memory();
	list_available();
	look_for_disk();
	look_for_network();

	put("boot: ");
	before = prom("milliseconds", 0, 1);
	read_line(line, sizeof line);
	check_true("milliseconds", prom("milliseconds", 0, 1) - before < 60000);
	check_text("what was typed", line, "linux single");

	/* The kernel's arguments, and the page of records for it. */
	check("setprop", prom("setprop", 4, 1, chosen_node, "bootargs", line, 13), 13);
	check("getprop", prom("getprop", 4, 1, chosen_node, "bootargs", line, 255), 13);
	check("map", method("map", mmu, 4, NONE, 0x10000, 0x500000, 0x500000), 0);
	check("caught of map", caught, 0);

	prom("enter", 0, 0);
	done("yaboot");
	/* Its command `halt`. */
	prom("interpret", 1, 1, "shut-down");
}
