/*
 * The calls of NetBSD's and OpenBSD's ofwboot, in its order and with its arguments: text a
 * character at a time. There is no disk here; ofwboot_disk.c has the calls with one.
 *
 * It leaves with `boot`, its command `reboot`.
 */
#include "ofw.h"

static cell in, out;

static void put(const char *text)
{
	char character;

	for (; *text != 0; text++) {
		if (*text == '\n')
			put("\r");
		character = *text;
		check("write of a character", transfer("write", out, &character, 1), 1);
	}
}

static void get_line(char *line)
{
	cell got;

	for (;; line++) {
		while ((got = transfer("read", in, line, 1)) != 1)
			check_true("read: nothing yet", got == NOTHING_YET || got == 0);
		if (*line == '\r') {
			*line = 0;
			put("\n");
			return;
		}
		transfer("write", out, line, 1);
	}
}

static void start(void)
{
	cell node = OF_finddevice("/chosen");

	check_true("/chosen", node != NONE);
	check("stdin", OF_getprop(node, "stdin", &in, sizeof in), sizeof in);
	check("stdout", OF_getprop(node, "stdout", &out, sizeof out), sizeof out);
}

/* What firmware this is, and what it was told to boot. */
static void look_around(void)
{
	char model[32], path[128], line[512];
	cell node = OF_finddevice("/openprom"), at;

	check_true("/openprom", node != NONE);
	memset(model, 0, sizeof model);
	OF_getprop(node, "model", model, sizeof model);
	for (at = 0; model[at] != 0 && (model[at] < '0' || model[at] > '9'); at++)
		;
	check_true("a digit in the model", model[at] != 0);

	node = OF_finddevice("/chosen");
	/* It gives up without one. This machine was not booted from a device. */
	check("bootpath", OF_getprop(node, "bootpath", path, sizeof path), NONE);
	check("bootargs", OF_getprop(node, "bootargs", line, sizeof line), 8);
	check_text("bootargs", line, "ofwboot");
	node = OF_finddevice("/options");
	check_true("/options", node != NONE);
	check("boot-device", OF_getprop(node, "boot-device", path, sizeof path), NONE);
}

/* Where the device ends and the file begins in a path: component by component. */
static cell device_length(char *path)
{
	char kind[16];
	cell at = 0, end = 0, node;
	char saved;

	while (path[at] != 0) {
		end = at;
		while (path[++at] != 0 && path[at] != '/')
			;
		saved = path[at];
		path[at] = 0;
		node = OF_finddevice(path);
		path[at] = saved;
		if (node == NONE)
			return end;
		/* Not every package says what it is. */
		if ((int)OF_getprop(node, "device_type", kind, sizeof kind) < 0)
			kind[0] = 0;
	}
	return at;
}

static void open_devices(void)
{
	static char on_disk[] = "/vdevice/disk@71000001:a/netbsd";
	static char on_console[] = "/vdevice/vty@71000000/netbsd";
	static char alias[] = "hvterm/netbsd";
	char buffer[512];
	cell node, instance, got = 7;

	check("a path on a disk", device_length(on_disk), 8);
	check("a path on the console", device_length(on_console), 21);
	check("a path on an alias", device_length(alias), 6);
	check("the disk's node", OF_finddevice("/vdevice/disk@71000001"), NONE);
	check("open of the disk", OF_open("/vdevice/disk@71000001:a"), NONE);

	/* What it does with a device that it finds. */
	node = OF_finddevice("/vdevice/vty@71000000");
	check("its name", OF_getprop(node, "name", buffer, sizeof buffer), 4);
	check_text("its name", buffer, "vty");
	check("its kind", OF_getprop(node, "device_type", buffer, sizeof buffer), 7);
	check_text("its kind", buffer, "serial");
	instance = OF_open("/vdevice/vty@71000000");
	check_true("open", instance != NONE);
	check("its package", OF_instance_to_package(instance), node);
	check("dma-alloc", OF_call_method("dma-alloc", instance, 1, 1, 0x10000, &got),
	      UNDEFINED_WORD);
	check("no result of dma-alloc", got, 7);
	check("seek", OF_seek(instance, 0x100000200ULL), NONE);
	check("mac-address", OF_call_method("get-mac-address", instance, 0, 0), UNDEFINED_WORD);
	check("dma-free", OF_call_method("dma-free", instance, 2, 0, 0x500000, 0x10000),
	      UNDEFINED_WORD);
	OF_close(instance);
	check("closed", OF_instance_to_package(instance), NONE);
}

static void claim_memory(void)
{
	cell pages = OF_claim(0, 0x3000, 0x1000), kernel;

	check_true("claim of pages", pages != NONE && pages % 0x1000 == 0);
	memset((void *)pages, 0xaa, 0x3000);
	/* The kernel is where it is linked. */
	kernel = OF_claim(0x1000000, 0x234567, 0);
	check("claim of the kernel's place", kernel, 0x1000000);
	check("once more", OF_claim(0x1234000, 0x1000, 0), NONE);
	OF_release(kernel, 0x234567);
	check("once released", OF_claim(0x1234000, 0x1000, 0), 0x1234000);
	OF_release(0x1234000, 0x1000);
	OF_release(pages, 0x3000);
	cell before = OF_milliseconds();
	check_true("milliseconds", OF_milliseconds() - before < 60000);
}

/* What it starts: a program with the client interface, in the memory of a loader that is gone. */
static void kernel(cell r3, cell r4, entry_point r5, const char *arguments, cell length)
{
	extern char _start[], _end[];
	cell size = _end - _start;

	check("nothing in r3 and r4", r3 | r4, 0);
	check("the same interface", ADDRESS(r5), ADDRESS(interface));
	check_text("arguments", arguments, "netbsd -s");
	check("their length", length, 10 + 2 * sizeof(cell));
	check("the loader's memory", OF_claim(ADDRESS(_start), size, 0), ADDRESS(_start));
}

static void chain(void)
{
	static char arguments[32] = "netbsd -s";
	extern char _start[], _end[];

	/* The end of the symbol table goes behind the text. */
	memset(arguments + 10, 0, 2 * sizeof(cell));
	/* Its `chain` is none: it releases itself, and jumps. */
	OF_release(ADDRESS(_start), _end - _start);
	kernel(0, 0, interface, arguments, 10 + 2 * sizeof(cell));
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	static struct { const char *service; int arguments, results; const char *bootspec; }
		boot = { "boot", 1, 0, "" };
	char line[64];

	open_console();
	start();
	put("\n>> ofwboot\n");
	look_around();
	open_devices();
	claim_memory();
	put("Boot: ");
	get_line(line);
	check_text("what was typed", line, "reboot");
	chain();
	done("ofwboot");
	interface(&boot);
}
