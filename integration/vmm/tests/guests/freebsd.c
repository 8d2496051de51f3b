/*
 * The calls of FreeBSD's loader for Open Firmware, with its arguments: a static array for each
 * service, -1 of the handler passed on. It wants memory and mmu of /chosen, flattens the tree for
 * its kernel, negotiates for it and puts RTAS into memory.
 *
 * It leaves with `boot`, its command `reboot`.
 */
#include "guest.h"

static cell in, out, memory, mmu, chosen_node;
static cell address_cells, size_cells;

/* As its functions do it: what the handler refused is -1. */
#define OF(...) (call(__VA_ARGS__), said == NONE ? NONE : results[0])

static void start(void)
{
	char mode[sizeof "true"];
	cell options;

	chosen_node = OF("finddevice", 1, 1, "/chosen");
	check_true("/chosen", chosen_node != NONE);
	check("memory", OF("getprop", 4, 1, chosen_node, "memory", &memory, 4), 4);
	/* It has another way to the memory, and none to this. */
	check("mmu", OF("getprop", 4, 1, chosen_node, "mmu", &mmu, 4), 4);
	options = OF("finddevice", 1, 1, "/options");
	check("real-mode?", OF("getprop", 4, 1, options, "real-mode?", mode, sizeof mode), 5);
	check_text("real-mode?", mode, "true");
	check("open of /memory, which has no other name", OF("open", 1, 1, "/memory") == 0, 0);

	cell root = OF("finddevice", 1, 1, "/");
	check("#address-cells", OF("getprop", 4, 1, root, "#address-cells", &address_cells, 4), 4);
	check("#size-cells", OF("getprop", 4, 1, root, "#size-cells", &size_cells, 4), 4);
	check("stdin", OF("getprop", 4, 1, chosen_node, "stdin", &in, 4), 4);
	check("stdout", OF("getprop", 4, 1, chosen_node, "stdout", &out, 4), 4);
}

static void test_services(void)
{
	static const char *const services[] = {
		"test", "peer", "child", "parent", "instance-to-package", "getproplen", "getprop",
		"nextprop", "setprop", "canon", "finddevice", "instance-to-path", "package-to-path",
		"call-method", "open", "close", "read", "write", "seek", "claim", "release", "boot",
		"enter", "exit", "chain", "quiesce", "milliseconds",
	};
	cell at;

	for (at = 0; at < COUNT(services); at++)
		check(services[at], OF("test", 1, 1, services[at]), 0);
	check("test of no service", OF("test", 1, 1, "block-size"), NONE);
}

/* How much memory there is, from the package of the instance. */
static void measure_memory(void)
{
	cell reg[24], node = OF("instance-to-package", 1, 1, memory), at;
	cell length = OF("getprop", 4, 1, node, "reg", reg, sizeof reg) / 4;
	doubleword size = 0;

	for (at = 0; at < length; at += address_cells + size_cells) {
		if (size_cells > 1)
			size += (doubleword)reg[at + address_cells] << 32;
		size += reg[at + address_cells + size_cells - 1];
	}
	check("memory", size >> 20, 64);
	node = OF("instance-to-package", 1, 1, mmu);
	check("translations, in real mode",
	      OF("getprop", 4, 1, node, "translations", reg, sizeof reg), NONE);
}

/* Disks are what has the type `block`, in all of the tree. */
static cell packages, disks;

static void enumerate(cell node)
{
	char kind[64], path[256];
	cell length;

	for (; node != 0; node = OF("peer", 1, 1, node)) {
		packages++;
		length = OF("getprop", 4, 1, node, "device_type", kind, sizeof kind);
		if (length != NONE && same(kind, "block"))
			disks++;
		length = OF("package-to-path", 3, 1, node, path, sizeof path - 1);
		check_true("package-to-path", length < sizeof path - 1);
		check("of the path", OF("finddevice", 1, 1, path), node);
		check("canon of the path", OF("canon", 3, 1, path, path, sizeof path), length);
		cell child = OF("child", 1, 1, node);
		if (child != 0)
			check("parent of a child", OF("parent", 1, 1, child), node);
		enumerate(child);
	}
}

static void use_devices(void)
{
	char path[256], typed;
	cell instance, length;

	enumerate(OF("peer", 1, 1, 0));
	check_true("packages", packages > 10);
	check("disks", disks, 0);
	check("open of a disk", OF("open", 1, 1, "/vdevice/disk@71000001:a"), 0);
	check("open of a network", OF("open", 1, 1, "net"), 0);

	instance = OF("open", 1, 1, "hvterm");
	length = OF("instance-to-path", 3, 1, instance, path, sizeof path);
	check("instance-to-path", length, 21);
	check_text("instance-to-path", path, "/vdevice/vty@71000000");
	check("canon of an alias", OF("canon", 3, 1, "hvterm:1", path, sizeof path), 21);
	check_text("canon of an alias", path, "/vdevice/vty@71000000");
	/* For what cannot be asked, it takes 512. It asks for a service of the method's name. */
	check("block-size", OF("block-size", 2, 1, instance, 0), NONE);
	check("#blocks", OF("#blocks", 2, 1, instance, 0), NONE);
	check("seek", OF("seek", 3, 1, instance, 0, 512), NONE);
	call("call-method", 3, 2, "dma-alloc", instance, 0x10000);
	check("dma-alloc", results[0], UNDEFINED_WORD);
	call("close", 1, 0, instance);
	check("local-mac-address",
	      OF("getprop", 4, 1, OF("instance-to-package", 1, 1, in), "local-mac-address", path, 6),
	      NONE);

	/* It polls its console: nothing yet is less than a character. */
	check("nothing typed", OF("read", 3, 1, in, &typed, 1), NOTHING_YET);
	check("write", OF("write", 3, 1, out, "\rOK ", 4), 4);
	while ((int)OF("read", 3, 1, in, &typed, 1) <= 0)
		;
	check("what was typed", typed, 'b');
	cell before = OF("milliseconds", 0, 1);
	check_true("milliseconds", OF("milliseconds", 0, 1) - before < 60000);
}

/* Memory for its kernel: a real address in one cell, whatever the root says, and no alignment. */
static void map_memory(void)
{
	cell at = 0x1000000, size = 0x80000;

	call("call-method", 5, 2, "claim", memory, 0, size, at);
	check("claim of memory, in one cell", results[0], 0);
	check("where", results[1], at);
	check("it is claimed", OF("claim", 3, 1, at + 0x1000, 0x1000, 0), NONE);
	/* Where the mode is not real, also of virtual addresses, and a translation. */
	call("call-method", 5, 2, "claim", mmu, 0, size, at);
	check("claim of the mmu", results[0], 0);
	check("where", results[1], at);
	call("call-method", 6, 1, "map", mmu, 0, size, at, at);
	check("map", results[0], 0);
	check("claim by the service", OF("claim", 3, 1, 0x1800000, 0x10000, 0), 0x1800000);
	call("release", 2, 0, 0x1800000, 0x10000);
}

/* The whole tree for a flat copy: every property of every package. */
static cell property_count;

static void flatten(cell node)
{
	static byte value[65536];
	char name[255], path[255], next[255];
	cell length, flag;
	int has_phandle = 0, has_name = 0;

	memcpy(name, "", 1);
	/* The first is asked for with no name at all, then the name is both, the last and the next. */
	flag = OF("nextprop", 3, 1, node, 0, name);
	while ((int)flag > 0) {
		length = OF("getproplen", 2, 1, node, name);
		check_true("getproplen", length <= sizeof value);
		check("getprop of all of it", OF("getprop", 4, 1, node, name, value, length), length);
		property_count++;
		has_phandle |= same(name, "phandle");
		has_name |= same(name, "name");
		flag = OF("nextprop", 3, 1, node, name, name);
	}
	check("nextprop of the last", flag, 0);
	check_true("a name", has_name);
	check_true("a phandle", has_phandle);
	check("nextprop of none", OF("nextprop", 3, 1, node, "no-such-thing", next), NONE);
	for (node = OF("child", 1, 1, node); node != 0; node = OF("peer", 1, 1, node)) {
		check_true("package-to-path", OF("package-to-path", 3, 1, node, path, sizeof path) < 255);
		flatten(node);
	}
}

static void instantiate(void)
{
	char path[255];
	cell node = OF("finddevice", 1, 1, "/rtas"), size, base, instance;

	check("package-to-path", OF("package-to-path", 3, 1, node, path, sizeof path), 5);
	check("rtas-size", OF("getprop", 4, 1, node, "rtas-size", &size, 4), 4);
	base = OF("claim", 3, 1, 0, size, 4096);
	check_true("claim for RTAS", base != NONE && base % 4096 == 0);
	instance = OF("open", 1, 1, path);
	call("call-method", 3, 2, "instantiate-rtas", instance, base);
	check("instantiate-rtas", results[0], 0);
	check("its entry", results[1] - base < size, 1);
}

/* Masks and versions of processors, and five vectors of options, of which two mean something. */
static byte vectors[] = {
	0xff, 0xff, 0, 0, 0, 0x4e, 0, 0, /* POWER9 */
	0xff, 0xff, 0, 0, 0, 0x80, 0, 0, /* POWER10 */
	0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 5, /* version 3.0 of the architecture */
	0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, /* and no more */
	4, /* vectors, less one */
	0, 0x80, 0, 0x80, 0, 0x80, /* 1 to 3 */
	1, 0, 10, /* 4 */
	25, 0, 0xd1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* 5 */
};
#define VECTOR_5 (sizeof vectors - 27)
_Static_assert(sizeof vectors == 4 * 8 + 1 + 6 + 3 + 27, "as long as it says");

static void negotiate(void)
{
	byte support[16];
	cell length, at, instance;

	length = OF("getprop", 4, 1, chosen_node, "ibm,arch-vec-5-platform-support", support,
		    sizeof support);
	check_true("pairs of support", (int)length > 0 && length % 2 == 0);
	for (at = 0; at < length; at += 2) {
		if (support[at] == 24 && (support[at + 1] & 0xc0) != 0)
			vectors[VECTOR_5 + 24] = 0x40; /* the radix MMU */
		if (support[at] == 26 && (support[at + 1] & 0x40) != 0)
			vectors[VECTOR_5 + 26] = 0x40; /* and its invalidation by the guest */
	}
	instance = OF("open", 1, 1, "/");
	call("call-method", 3, 2, "ibm,client-architecture-support", instance, vectors);
	check("what negotiation caught", results[0], 0);
	check("its error", results[1], 0);
	call("close", 1, 0, instance);
	check("the choice", OF("getproplen", 2, 1, chosen_node, "ibm,architecture-vec-5") != NONE, 1);
	cell stdout;
	check("stdout", OF("getprop", 4, 1, chosen_node, "stdout", &stdout, 4), 4);
	check("the same stdout", stdout, out);
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	char text[128];

	open_console();
	start();
	test_services();
	use_devices();
	measure_memory();
	/* It was not loaded from a device. */
	check("bootpath", OF("getprop", 4, 1, chosen_node, "bootpath", text, 64), NONE);
	check("bootargs", OF("getprop", 4, 1, chosen_node, "bootargs", text, sizeof text), 8);
	check_text("bootargs", text, "freebsd");
	check("translation is off", state_bits() & 0x30, 0);
	map_memory();
	check("setprop", OF("setprop", 4, 1, chosen_node, "bootargs", "-s", 3), 3);
	check("setprop of what is not a client's", OF("setprop", 4, 1, chosen_node, "mmu", text, 4),
	      NONE);
	negotiate();
	flatten(OF("peer", 1, 1, 0));
	check_true("properties", property_count > 100);
	instantiate();
	call("enter", 0, 0);
	check("enter comes back", said, 0);
	call("quiesce", 0, 0);
	check("quiesce", said, 0);
	check("the tree stays", OF("finddevice", 1, 1, "/chosen"), chosen_node);
	check("claim after quiesce", OF("claim", 3, 1, 0x1800000, 0x1000, 0), 0x1800000);
	done("freebsd");
	call("boot", 1, 0, "");
}
