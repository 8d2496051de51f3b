# The guest's side of Virtual Open Firmware: start-up, and the entry of the client interface.
#
# 64-bit Power ISA, big-endian, real mode, no relocation: linked and loaded at 0x100, the address
# of the system reset vector. Everything here is below 0x8000, so `li` makes any of its addresses.
# Nothing is kept from one call of the client interface to the next: all state is the VMM's.

	.machine "power4"

	# KVMPPC_H_VOF_CLIENT: r4 is the real address of a client interface argument array.
	.set	H_OF_CLIENT, 0xf005
	# Its statuses that are for this image alone (`ENTER_PROGRAM` and `CALL_AGAIN` of the crate) are
	# 1 and 2: what makes the first `bdz` behind it branch, and the second.

	# The client's first stack frame: 32 KiB below it are its stack (PowerPC binding to IEEE 1275,
	# section 8.2.2, "Initial Register Values"), 32 bytes above it its frame header.
	.set	STACK_FRAME, 0xffe0

	.text
	.globl	start
	.globl	client_interface

# Entered in 64-bit mode with nothing in registers. Asks /chosen what to start, and starts it.
start:
	li	1, 0
	ori	1, 1, STACK_FRAME
	li	0, 0
	std	0, 0(1)			# the end of the chain of frames
	li	3, finddevice
	bl	client_interface
	lwz	6, chosen(0)
	stw	6, node(0)
	li	3, getprop
	bl	client_interface
	lwz	6, length(0)
	cmpwi	6, CLIENT_BYTES
	bne	give_up
	lwz	6, client_entry(0)
	mtsrr0	6
	# MSR.SF, the top bit, is to be 1 for a client of 64 bits and 0 for one of 32: that is the
	# bit of weight 64 of its mode.
	lwz	6, client_mode(0)
	rldicr	6, 6, 57, 0
	mfmsr	7
	clrldi	7, 7, 1
	or	7, 7, 6
	mtsrr1	7
	lwz	3, client_initrd(0)
	lwz	4, client_initrd_size(0)
	li	5, client_interface
	li	6, 0			# no arguments: they are in /chosen
	li	7, 0
	rfid

give_up:
	li	3, exit
	bl	client_interface
	b	give_up

# The client interface (IEEE 1275 section 6.3.1): r3 is the address of the argument array; answers
# 0 in r3 for a call that was made, -1 for one that was not. Called in either mode. The hypercall
# changes r3 to r12 only; CTR and XER are the callee's, CR is not.
client_interface:
	clrldi	4, 3, 32		# a client of 32 bits may have anything in the upper half
call_again:
	li	3, 0
	ori	3, 3, H_OF_CLIENT
	sc	1			# r4 stays where the call is to be made again
	mtctr	3
	bdz	enter_program		# it is ENTER_PROGRAM
	bdz	call_again		# it is CALL_AGAIN: the host is not ready yet
	subfic	0, 3, 0			# carry: it is 0, H_SUCCESS
	subfe	3, 3, 3
	blr

# The service chain: the caller is gone, and another program takes its place, in the caller's mode
# and on a stack of its own. Its entry is in r12, address and length of its arguments are in r6 and
# r7 (PowerPC binding, section 8.2.2).
enter_program:
	li	1, 0
	ori	1, 1, STACK_FRAME
	li	0, 0
	std	0, 0(1)
	li	3, 0
	li	4, 0
	li	5, client_interface
	mtctr	12
	bctr

	.balign	4
# Argument arrays: service, number of arguments, number of results, arguments, results.
finddevice:
	.long	finddevice_name, 1, 1
	.long	chosen_path
chosen:	.long	0
getprop:
	.long	getprop_name, 4, 1
node:	.long	0, client_name, client, CLIENT_BYTES
length:	.long	0
exit:
	.long	exit_name, 0, 0

# The value of the property of /chosen: cells.
client:
client_entry:
	.long	0
client_mode:
	.long	0
client_initrd:
	.long	0
client_initrd_size:
	.long	0
	.set	CLIENT_BYTES, . - client

finddevice_name:
	.asciz	"finddevice"
getprop_name:
	.asciz	"getprop"
exit_name:
	.asciz	"exit"
chosen_path:
	.asciz	"/chosen"
client_name:
	.asciz	"rust-vmm,client"
	.balign	4
