/*
 * How NetBSD's and OpenBSD's ofwboot calls, and FreeBSD's loader likewise: a static array for each
 * service, both the handler's word and the result looked at.
 */
#ifndef OFW_H
#define OFW_H

#include "guest.h"

#include <stdarg.h>

/* Its functions give -1 where the handler does. */
#define FIRMWARE(array) (interface(&(array)) == NONE)

static inline cell OF_finddevice(const char *name)
{
	static struct { const char *service; int arguments, results; const char *device; cell phandle; }
		array = { "finddevice", 1, 1, 0, 0 };

	array.device = name;
	return FIRMWARE(array) ? NONE : array.phandle;
}

static inline cell OF_instance_to_package(cell instance)
{
	static struct { const char *service; int arguments, results; cell instance, phandle; }
		array = { "instance-to-package", 1, 1, 0, 0 };

	array.instance = instance;
	return FIRMWARE(array) ? NONE : array.phandle;
}

static inline cell OF_getprop(cell phandle, const char *name, void *buffer, cell length)
{
	static struct {
		const char *service; int arguments, results;
		cell phandle; const char *name; void *buffer; cell length, size;
	} array = { "getprop", 4, 1, 0, 0, 0, 0, 0 };

	array.phandle = phandle;
	array.name = name;
	array.buffer = buffer;
	array.length = length;
	return FIRMWARE(array) ? NONE : array.size;
}

static inline cell OF_open(const char *name)
{
	static struct { const char *service; int arguments, results; const char *name; cell instance; }
		array = { "open", 1, 1, 0, 0 };

	array.name = name;
	return FIRMWARE(array) || array.instance == 0 ? NONE : array.instance;
}

static inline void OF_close(cell instance)
{
	static struct { const char *service; int arguments, results; cell instance; }
		array = { "close", 1, 0, 0 };

	array.instance = instance;
	interface(&array);
}

static inline cell transfer(const char *service, cell instance, void *buffer, cell length)
{
	static struct {
		const char *service; int arguments, results;
		cell instance; void *buffer; cell length, actual;
	} array = { 0, 3, 1, 0, 0, 0, 0 };

	array.service = service;
	array.instance = instance;
	array.buffer = buffer;
	array.length = length;
	return FIRMWARE(array) ? NONE : array.actual;
}

static inline cell OF_seek(cell instance, doubleword position)
{
	static struct { const char *service; int arguments, results; cell instance, high, low, status; }
		array = { "seek", 3, 1, 0, 0, 0, 0 };

	array.instance = instance;
	array.high = position >> 32;
	array.low = position;
	return FIRMWARE(array) ? NONE : array.status;
}

static inline cell OF_claim(cell virtual, cell size, cell align)
{
	static struct { const char *service; int arguments, results; cell virtual, size, align, base; }
		array = { "claim", 3, 1, 0, 0, 0, 0 };

	array.virtual = virtual;
	array.size = size;
	array.align = align;
	return FIRMWARE(array) ? NONE : array.base;
}

static inline void OF_release(cell virtual, cell size)
{
	static struct { const char *service; int arguments, results; cell virtual, size; }
		array = { "release", 2, 0, 0, 0 };

	array.virtual = virtual;
	array.size = size;
	interface(&array);
}

static inline cell OF_milliseconds(void)
{
	static struct { const char *service; int arguments, results; cell time; }
		array = { "milliseconds", 0, 1, 0 };

	interface(&array);
	return array.time;
}

/* Arguments and results as Forth writes them: the top of the stack last. Gives what was caught. */
static inline cell OF_call_method(const char *method, cell instance, int arguments, int results, ...)
{
	static struct {
		const char *service; int arguments, results;
		const char *method; cell instance, cells[12];
	} array = { "call-method", 2, 1, 0, 0, { 0 } };
	va_list list;
	int at;

	array.arguments = arguments + 2;
	array.results = results + 1;
	array.method = method;
	array.instance = instance;
	va_start(list, results);
	for (at = arguments - 1; at >= 0; at--)
		array.cells[at] = va_arg(list, cell);
	if (FIRMWARE(array))
		return NONE;
	if (array.cells[arguments] != 0)
		return array.cells[arguments];
	for (at = arguments + results; at > arguments; at--)
		*va_arg(list, cell *) = array.cells[at];
	va_end(list);
	return 0;
}

#endif
