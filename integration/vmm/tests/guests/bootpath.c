/*
 * A boot image: says where the machine says that it came from, and with which arguments, looks
 * whether that is so, and switches the machine off.
 *
 * Arguments that begin with "then " are what the machine is to boot next; with "wait ", when a key
 * is typed.
 */
#include "guest.h"

static char path[1024], arguments[1024];

static void say_property(const char *name, char *buffer, cell length)
{
	cell got = property(find("/chosen"), name, buffer, length);

	say(name);
	say(": ");
	say(got == NONE ? "none" : buffer);
	say("\n");
}

/* The device that is named can be opened and read, and the image is in it. */
static void read_back(void)
{
	static byte magic[4];
	cell disk = call("open", 1, 1, path);

	check_true("the boot path can be opened", disk != 0);
	check("the image is read", call("read", 3, 1, disk, magic, sizeof magic), sizeof magic);
	check("it begins as this one", *(cell *)magic, 0x7f454c46);
	call("close", 1, 0, disk);
}

void program(cell r3, cell r4, cell first, cell length)
{
	open_console();
	say_property("bootpath", path, sizeof path);
	say_property("bootargs", arguments, sizeof arguments);
	if (starts_with(path, "/"))
		read_back();
	if (starts_with(arguments, "wait "))
		wait_for_key("waiting");
	if (starts_with(arguments, "wait ") || starts_with(arguments, "then "))
		call("boot", 1, 0, arguments + length_of("then "));
	power_off();
}
