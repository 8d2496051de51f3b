# The code of RTAS in the guest: position-independent, real mode, either mode of addressing.
# r3 is the real address of the argument buffer (LoPAPR section 7.2.7), where the results are.

	.machine "power4"

	# KVMPPC_H_RTAS: r4 is the real address of an RTAS argument buffer.
	.set	H_RTAS, 0xf000

	.text
	.globl	start
start:
	clrldi	4, 3, 32
	li	3, 0
	ori	3, 3, H_RTAS
	sc	1
	blr
