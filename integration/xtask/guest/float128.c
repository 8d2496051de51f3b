/* Sums, products and quotients in quadruple precision, which are known by exact arithmetic and fit
 * no double. With the compiler's defaults libgcc makes them, by the processor's own instructions
 * where the kernel says that it has them (AT_HWCAP2). The numbers are told as they are in
 * registers, and as integers. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void tell(const char *what, __float128 number)
{
	uint64_t halves[2];

	memcpy(halves, &number, sizeof halves);
	printf(" %s %016" PRIx64 "%016" PRIx64, what, halves[1], halves[0]);
}

int main(void)
{
	/* The compiler must not reckon itself. */
	volatile __float128 sum = 0, one = 1, three = 3;
	volatile uint64_t most = UINT64_MAX;
	volatile double quarter = 0.25;
	volatile __float128 large = (__float128)most + one;

	/* 1 + 2 + … + 1000, in parts of 2^-64 beside 2^40: 105 bits. */
	sum = one * (INT64_C(1) << 40);
	for (int64_t number = 1; number <= 1000; number++)
		sum += number / large;
	printf("float128: sum %" PRId64, (int64_t)((sum - (INT64_C(1) << 40)) * large));
	/* (2^56 + 1)^2 = 2^112 + 2^57 + 1: 113 bits. */
	large = one * (INT64_C(1) << 56) + one;
	tell("square", large * large);
	tell("third", one / three);
	tell("negative", -(quarter - sum) - sum);
	printf(" double %a order %d%d%d\n", (double)(one / three), sum < large, sum > large,
	       sum == sum);
	return 0;
}
