#include "guest.h"

#include <stdarg.h>

entry_point interface;
cell said, results[16], first_frame;
static cell console, chosen_node, rtas_entry;

static struct {
	const char *service;
	cell arguments, results;
	cell cells[16];
} array;

void enter(cell r3, cell r4, entry_point r5, cell r6, cell r7, cell r1)
{
	interface = r5;
	first_frame = r1;
	program(r3, r4, r6, r7);
	give_up();
}

cell call(const char *service, cell arguments, cell result_count, ...)
{
	va_list list;
	cell at;

	array.service = service;
	array.arguments = arguments;
	array.results = result_count;
	va_start(list, result_count);
	for (at = 0; at < arguments; at++)
		array.cells[at] = va_arg(list, cell);
	va_end(list);
	for (at = 0; at < result_count; at++)
		array.cells[arguments + at] = 0;
	said = interface(&array);
	for (at = 0; at < result_count; at++)
		results[at] = array.cells[arguments + at];
	return result_count > 0 ? results[0] : 0;
}

cell find(const char *path)
{
	return call("finddevice", 1, 1, path);
}

cell property(cell phandle, const char *name, void *buffer, cell length)
{
	return call("getprop", 4, 1, phandle, name, buffer, length);
}

cell cell_property(cell phandle, const char *name)
{
	cell value;

	check(name, property(phandle, name, &value, sizeof value), sizeof value);
	return value;
}

cell chosen(const char *name)
{
	return cell_property(chosen_node, name);
}

void open_console(void)
{
	chosen_node = find("/chosen");
	if (chosen_node == NONE || property(chosen_node, "stdout", &console, 4) != 4)
		call("exit", 0, 0);
}

static void write(const char *text, cell length)
{
	cell at = 0, count;

	while (at < length) {
		count = call("write", 3, 1, console, text + at, length - at);
		/* Not `give_up`, which writes. */
		if (count > length - at || said != 0)
			call("exit", 0, 0);
		at += count;
	}
}

void say(const char *text)
{
	write(text, length_of(text));
}

void say_hex(doubleword value)
{
	char digits[16];
	int at = 16;

	do {
		digits[--at] = "0123456789abcdef"[value & 15];
		value >>= 4;
	} while (value != 0);
	say("0x");
	write(digits + at, 16 - at);
}

void say_number(cell value)
{
	char digits[10];
	int at = 10;

	do {
		digits[--at] = '0' + value % 10;
		value /= 10;
	} while (value != 0);
	write(digits + at, 10 - at);
}

static void fails(const char *what)
{
	say("FAILED: ");
	say(what);
}

void check(const char *what, cell seen, cell expected)
{
	if (seen == expected)
		return;
	fails(what);
	say(": saw ");
	say_hex(seen);
	say(", not ");
	say_hex(expected);
	say("\n");
	give_up();
}

void check_text(const char *what, const char *seen, const char *expected)
{
	if (same(seen, expected))
		return;
	fails(what);
	say(": saw \"");
	say(seen);
	say("\", not \"");
	say(expected);
	say("\"\n");
	give_up();
}

void check_true(const char *what, int holds)
{
	if (holds)
		return;
	fails(what);
	say("\n");
	give_up();
}

void wait_for_key(const char *text)
{
	static cell in;
	char key;

	if (in == 0)
		in = chosen("stdin");
	say(text);
	say("\n");
	while (call("read", 3, 1, in, &key, 1) != 1)
		;
}

void done(const char *program)
{
	say(program);
	say(" got what it asked for\n");
}

void give_up(void)
{
	for (;;)
		call("exit", 0, 0);
}

cell start_rtas(void)
{
	cell node = find("/rtas"), base, instance;

	base = call("claim", 3, 1, 0, cell_property(node, "rtas-size"), 0x1000);
	instance = call("open", 1, 1, "/rtas");
	call("call-method", 3, 2, "instantiate-rtas", instance, base);
	check("instantiate-rtas", results[0], 0);
	rtas_entry = results[1];
	call("close", 1, 0, instance);
	return base;
}

cell rtas(const char *name, cell inputs, cell outputs, ...)
{
	static cell buffer[3 + 16];
	va_list list;
	cell at;

	if (rtas_entry == 0)
		start_rtas();
	buffer[0] = cell_property(find("/rtas"), name);
	buffer[1] = inputs;
	buffer[2] = outputs;
	va_start(list, outputs);
	for (at = 0; at < inputs; at++)
		buffer[3 + at] = va_arg(list, cell);
	va_end(list);
	((entry_point)rtas_entry)(buffer);
	for (at = 0; at < outputs; at++)
		results[at] = buffer[3 + inputs + at];
	return results[0];
}

void power_off(void)
{
	rtas("power-off", 2, 1, -1, -1);
	give_up();
}

cell length_of(const char *text)
{
	cell length = 0;

	while (text[length] != 0)
		length++;
	return length;
}

int same(const char *one, const char *other)
{
	while (*one != 0 && *one == *other) {
		one++;
		other++;
	}
	return *one == *other;
}

int starts_with(const char *text, const char *start)
{
	while (*start != 0 && *text == *start) {
		text++;
		start++;
	}
	return *start == 0;
}

cell number_in(const char *text)
{
	cell number = 0;

	while (*text != 0 && (*text < '0' || *text > '9'))
		text++;
	for (; *text >= '0' && *text <= '9'; text++)
		number = 10 * number + *text - '0';
	return number;
}

cell some_number(void)
{
	static cell state = 0x2545f491;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

void *memset(void *to, int value, unsigned long count)
{
	byte *at = to;

	while (count-- > 0)
		*at++ = value;
	return to;
}

void *memcpy(void *to, const void *from, unsigned long count)
{
	byte *at = to;
	const byte *source = from;

	while (count-- > 0)
		*at++ = *source++;
	return to;
}
