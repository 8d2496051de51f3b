/*
 * How yaboot calls: the array on the stack with places for ten cells, results set to 0 before, one
 * result where it wants one. It looks at results only, not at what the handler said.
 */
#ifndef YABOOT_H
#define YABOOT_H

#include "guest.h"

#include <stdarg.h>

struct prom_array {
	const char *service;
	cell arguments, results;
	cell cells[10];
};

static inline cell prom(const char *service, cell arguments, cell result_count, ...)
{
	struct prom_array array = { service, arguments, result_count, { 0 } };
	va_list list;
	cell at;

	va_start(list, result_count);
	for (at = 0; at < arguments; at++)
		array.cells[at] = va_arg(list, cell);
	va_end(list);
	for (at = 0; at < result_count; at++)
		array.cells[arguments + at] = 0;
	interface(&array);
	return result_count > 0 ? array.cells[arguments] : 0;
}

/* What the last method caught. */
static cell caught;

/* A method that leaves one cell. */
static inline cell method(const char *name, cell instance, cell arguments, ...)
{
	struct prom_array array = { "call-method", arguments + 2, 2, { ADDRESS(name), instance } };
	va_list list;
	cell at;

	va_start(list, arguments);
	for (at = 0; at < arguments; at++)
		array.cells[2 + at] = va_arg(list, cell);
	va_end(list);
	array.cells[2 + arguments] = 0;
	array.cells[3 + arguments] = 0;
	interface(&array);
	caught = array.cells[2 + arguments];
	return caught != 0 ? 0 : array.cells[3 + arguments];
}

#endif
