/* The same, with the instructions in the program itself. */
#include "float128.c"
