/*
 * The calls of yaboot that reads its configuration and a kernel from a disk, in its order and with
 * its arguments. It finds the partition in the table by itself, looks there for the file systems that
 * it knows, and has Open Firmware open the files when there is none of those.
 *
 * The disk is what yaboot_disk() in images/mod.rs makes; `conf=` of the arguments says where it is.
 * The program may be on its boot partition.
 */
#include "disk.h"
#include "yaboot.h"

#define CONFIG_BYTES 0x8000
#define KERNEL_BYTES (3u << 20 | 0x1234)
#define KERNEL_AT 0x1000000u

static char config[] = "# The words of a real one.\nboot=/dev/sda1\npartition=2\ntimeout=50\n"
	"image=/boot/vmlinux-6.1.0-powerpc64le\n\tlabel=linux\n\tread-only\n";

static char device[512];
static byte buffer[CONFIG_BYTES];

static cell get_block_size(cell instance)
{
	return method("block-size", instance, 0);
}

/* 1 when all of the blocks were read. */
static int read_blocks(cell disk, cell block, cell count, void *to)
{
	cell size = get_block_size(disk), status;

	if (size <= 1)
		size = 512;
	status = prom("seek", 3, 1, disk, 0, block * size);
	if (status != 0 && status != 1)
		return 0;
	return prom("read", 3, 1, disk, to, count * size) == count * size;
}

/* The device before the last `:` of a path, with something behind it. */
static char *at_device(const char *rest)
{
	static char path[1024];
	cell length = length_of(device);

	memcpy(path, device, length);
	memcpy(path + length, rest, length_of(rest) + 1);
	return path;
}

/* conf=DEVICE:PARTITION,/FILE */
static cell parse(char *arguments)
{
	cell length;

	check_true("arguments begin with conf=", starts_with(arguments, "conf="));
	arguments += 5;
	for (length = 0; arguments[length] != ':'; length++)
		check_true("a : in conf=", arguments[length] != 0);
	memcpy(device, arguments, length);
	device[length] = 0;
	return number_in(arguments + length + 1);
}

/* Where it was started from itself, if it was not the VMM that put it into memory. */
static void check_boot_path(cell chosen_node)
{
	char path[512];
	cell length = prom("getprop", 4, 1, chosen_node, "bootpath", path, sizeof path);

	if (length == NONE)
		return;
	check("length of bootpath", length, length_of(path) + 1);
	check_text("bootpath", path, at_device(":1"));
	say("started from its disk\n");
}

static void check_kind(void)
{
	char kind[64];
	cell node = prom("finddevice", 1, 1, device), length;

	check_true("the disk's node", node != NONE);
	length = prom("getprop", 4, 1, node, "device_type", kind, 63);
	check("length of device_type", length, 6);
	kind[length] = 0;
	check_text("device_type", kind, "block");
}

/* Where a partition is, by the table in the first block. */
static cell first_sector, sectors;

static void look_up_partition(cell partition)
{
	cell disk = prom("open", 1, 1, at_device(":0")), size;
	const byte *entry = buffer + 0x1be + 16 * (partition - 1);

	check_true("open of the whole disk", disk != 0 && disk != NONE);
	size = get_block_size(disk);
	check("caught of block-size", caught, 0);
	check("block-size", size, 512);
	check("read of the first block", read_blocks(disk, 0, 1, buffer), 1);
	check("its signature", buffer[510] << 8 | buffer[511], 0x55aa);
	check("the kind of the partition", entry[4], 0x83);
	first_sector = little(entry + 8);
	sectors = little(entry + 12);
	check_true("the partition is somewhere", first_sector > 0 && sectors > 0);
	prom("close", 1, 0, disk);
}

/* It takes no swap space for a file system, and no other file system for ext2. */
static void probe_file_systems(void)
{
	static const cell signatures[] = { 0xff6, 0xff6, 0xfff6, 0xfff6 };
	cell disk = prom("open", 1, 1, at_device(":0")), at;
	doubleword start = (doubleword)first_sector * 512;

	check_true("open for swap", disk != 0 && disk != NONE);
	for (at = 0; at < COUNT(signatures); at++)
		check("two blocks", read_blocks(disk, first_sector + signatures[at] / 512, 2, buffer), 1);
	prom("close", 1, 0, disk);

	disk = prom("open", 1, 1, at_device(":0"));
	check_true("open for ext2", disk != 0 && disk != NONE);
	start += 1024;
	at = prom("seek", 3, 1, disk, (cell)(start >> 32), (cell)start);
	check_true("seek to the superblock", at == 0 || at == 1);
	check("read of the superblock", prom("read", 3, 1, disk, buffer, 1024), 1024);
	check_true("no ext2", buffer[0x38] != 0x53 || buffer[0x39] != 0xef);
	prom("close", 1, 0, disk);
}

static cell open_file(const char *name)
{
	cell file = prom("open", 1, 1, at_device(name));

	check_true(name, file != 0 && file != NONE);
	return file;
}

static void seek(cell file, cell position)
{
	cell status = prom("seek", 3, 1, file, 0, position);

	check_true("seek in a file", status == 0 || status == 1);
}

/* The configuration, in one read of more than there is. */
static void read_config(void)
{
	cell file = open_file(":02,\\etc\\yaboot.conf"), length;
	char path[512];

	length = prom("read", 3, 1, file, buffer, CONFIG_BYTES);
	check("length of the configuration", length, sizeof config - 1);
	buffer[length] = 0;
	check_text("the configuration", (char *)buffer, config);
	check("read at its end", prom("read", 3, 1, file, buffer, CONFIG_BYTES), 0);
	length = prom("instance-to-path", 3, 1, file, path, sizeof path - 1);
	check_true("length of the path", length < sizeof path);
	path[length] = 0;
	check_text("instance-to-path", path, at_device(":02,\\etc\\yaboot.conf"));
	check("its package", prom("instance-to-package", 1, 1, file),
	      prom("finddevice", 1, 1, device));
	prom("close", 1, 0, file);
	check("read when closed", prom("read", 3, 1, file, buffer, 512), NONE);

	/* Names that are none. */
	check("open of no file", prom("open", 1, 1, at_device(":02,\\etc\\yaboot.con")), 0);
	check("open in no folder", prom("open", 1, 1, at_device(":02,\\no\\yaboot.conf")), 0);
	check("open of no partition", prom("open", 1, 1, at_device(":07,\\etc\\yaboot.conf")), 0);
	check("open of a folder", prom("open", 1, 1, at_device(":02,\\etc")), 0);
}

/* A kernel of ELF64: headers, and the one segment in one read. */
static void read_kernel(void)
{
	cell file = open_file(":02,\\boot\\vmlinux-6.1.0-powerpc64le"), base, offset, length;
	cell *header = (cell *)buffer;

	check("what kind of ELF", prom("read", 3, 1, file, buffer, 16), 16);
	check("ELF", header[0], 0x7f454c46);
	check("the rest of the header", prom("read", 3, 1, file, buffer + 16, 48), 48);
	check("where the program headers are", header[9], 64);
	seek(file, header[9]);
	check("a program header", prom("read", 3, 1, file, buffer, 56), 56);
	check("a segment to load", header[0], 1);
	offset = header[3];
	length = header[9];
	check("its length", length, KERNEL_BYTES);
	base = prom("claim", 3, 1, KERNEL_AT, (length | 0xfffff) + 1 + 0x100000, 0);
	check("claim for the kernel", base, KERNEL_AT);
	seek(file, offset);
	check("all of the kernel in one read", prom("read", 3, 1, file, base, length), length);
	check_words("the kernel", (void *)base, length, OF_KERNEL, 0);
	prom("close", 1, 0, file);

	/* What its network file system does: all of a file, by `load`. */
	file = open_file(":02,\\boot\\vmlinux-6.1.0-powerpc64le");
	memset((void *)base, 0, length);
	check("load", method("load", file, 1, base), offset + length);
	check("caught of load", caught, 0);
	check("ELF", *(cell *)base, 0x7f454c46);
	check_words("the kernel, loaded", (void *)(base + offset), length, OF_KERNEL, 0);
	prom("close", 1, 0, file);
}

/* As it is built where `read` is not to be trusted with disks. */
static void use_read_blocks(void)
{
	cell disk = prom("open", 1, 1, at_device(":0"));
	cell blocks = 256, first = 0x1000, base = KERNEL_AT;

	check("read-blocks", method("read-blocks", disk, 3, blocks, first, base), blocks);
	check("caught of read-blocks", caught, 0);
	check_words("the boot partition", (void *)base, blocks * 512, OF_DISK, first * 512);
	prom("close", 1, 0, disk);
}

void program(cell r3, cell r4, cell arguments, cell length)
{
	char bootargs[512];
	cell chosen_node, partition;

	open_console();
	chosen_node = prom("finddevice", 1, 1, "/chosen");
	length = prom("getprop", 4, 1, chosen_node, "bootargs", bootargs, sizeof bootargs);
	check_true("bootargs", (int)length > 0);
	partition = parse(bootargs);
	check("the partition", partition, 2);
	check_boot_path(chosen_node);
	check_kind();
	look_up_partition(partition);
	probe_file_systems();
	read_config();
	check_kind();
	look_up_partition(partition);
	probe_file_systems();
	read_kernel();
	use_read_blocks();
	done("yaboot");
	prom("interpret", 1, 1, "shut-down");
}
