# A client program that makes calls of Open Firmware and of RTAS, and checks the answers: the same
# source for 32 and for 64 bits.
#
# It says "client interface works", and then does what the first letter of the command line says:
#   r  restarts three times, then goes on as p
#   s  says "spinning" and stays busy
#   e  gives up: the service exit
#   i  executes an instruction that there is not
#   c  says "echo" and sends back what is typed, until there is a q
#   p  (or anything else) switches the machine off
# A wrong answer makes it give up, too.
#
# All addresses are below 2 GiB, so that both widths make them in the same way.

	.machine "power8"

	.macro	address register, symbol
	lis	\register, \symbol@h
	ori	\register, \register, \symbol@l
	.endm

	# Calls a service with one result, which comes in r3. The arguments are in r5 and up.
	.macro	service name, arguments
	address	3, \name
	li	4, \arguments
	bl	client_call
	.endm

	.macro	say text
	address	5, \text
	li	6, \text\()_end - \text
	bl	write
	.endm

	.text
	.globl	_start
_start:
	mr	31, 5				# entry of the client interface
	address	5, chosen_path
	service	finddevice, 1
	cmpwi	3, -1
	beq	give_up
	mr	27, 3				# /chosen
	mr	5, 27
	address	6, stdout_name
	bl	get_cell
	mr	26, 3				# stdout

	# The length of a property that is there, and of one that is not.
	mr	5, 27
	address	6, stdin_name
	service	getproplen, 2
	cmpwi	3, 4
	bne	give_up
	mr	5, 27
	address	6, chosen_path
	service	getproplen, 2
	cmpwi	3, -1
	bne	give_up

	# Memory: aligned, writable, given back, and then to be had again at the same place.
	li	5, 0
	lis	6, 1
	lis	7, 1
	service	claim, 3
	cmpwi	3, -1
	beq	give_up
	andi.	0, 3, 0xffff
	bne	give_up
	mr	24, 3
	stw	24, 0(24)
	lwz	0, 0(24)
	cmpw	0, 24
	bne	give_up
	mr	5, 24
	lis	6, 1
	li	7, 0
	service	claim, 3			# again: it is taken
	cmpwi	3, -1
	bne	give_up
	mr	5, 24
	lis	6, 1
	service	release, 2
	mr	5, 24
	lis	6, 1
	li	7, 0
	service	claim, 3
	cmpw	3, 24
	bne	give_up

	# RTAS goes into that memory.
	address	5, rtas_path
	service	finddevice, 1
	mr	23, 3				# /rtas
	address	5, rtas_path
	service	open, 1
	cmpwi	3, 0
	beq	give_up
	mr	6, 3
	address	5, instantiate
	mr	7, 24
	address	3, call_method
	li	4, 3
	li	10, 2
	bl	client_call_results
	cmpwi	3, 0
	bne	give_up
	lwz	25, 4(28)			# the second result: the entry of RTAS
	cmpwi	25, 0
	beq	give_up

	say	works
	mr	5, 27
	address	6, bootargs_name
	address	7, bootargs
	li	8, 64
	service	getprop, 4
	address	5, bootargs
	lbz	0, 0(5)
	cmpwi	0, 'e'
	beq	give_up
	cmpwi	0, 's'
	beq	spin
	cmpwi	0, 'i'
	beq	illegal
	cmpwi	0, 'c'
	beq	echo
	cmpwi	0, 'r'
	bne	power_off

	# The machine counts its starts.
	mr	5, 27
	address	6, boot_count_name
	bl	get_cell
	cmpwi	3, 3
	bgt	power_off
	say	restarting
	mr	5, 23
	address	6, system_reboot_name
	bl	get_cell
	li	4, 0
	bl	rtas_call
	b	give_up

power_off:
	mr	5, 23
	address	6, power_off_name
	bl	get_cell
	li	4, 2
	bl	rtas_call
	b	give_up

spin:
	say	spinning
	b	.

illegal:
	.long	0x00000abc

echo:
	say	echoing
1:	mr	5, 27
	address	6, stdin_name
	bl	get_cell
	mr	5, 3
	address	6, bootargs
	li	7, 64
	service	read, 3
	cmpwi	3, 0
	ble	1b
	mr	6, 3
	address	5, bootargs
	bl	write
	address	5, bootargs
	lbz	0, 0(5)
	cmpwi	0, 'q'
	bne	1b
	b	power_off

give_up:
	address	3, exit
	li	4, 0
	li	10, 0
	bl	client_call_results
	b	give_up

# r5: a phandle, r6: a name. Gives a property of one cell.
get_cell:
	mflr	22
	address	7, cell
	li	8, 4
	service	getprop, 4
	cmpwi	3, 4
	bne	give_up
	address	5, cell
	lwz	3, 0(5)
	mtlr	22
	blr

# r5: a text, r6: its length.
write:
	mflr	22
	mr	7, 6
	mr	6, 5
	mr	5, 26
	service	write_name, 3
	mtlr	22
	blr

client_call:
	li	10, 1
# r3: a service, r4: how many arguments, r5 to r9: the arguments, r10: how many results. Gives the
# first result; r28 is the address of all.
client_call_results:
	mflr	29
	address	11, array
	stw	3, 0(11)
	stw	4, 4(11)
	stw	10, 8(11)
	stw	5, 12(11)
	stw	6, 16(11)
	stw	7, 20(11)
	stw	8, 24(11)
	stw	9, 28(11)
	slwi	28, 4, 2
	add	28, 28, 11
	addi	28, 28, 12
	li	0, 0
	stw	0, 0(28)
	stw	0, 4(28)
	mr	3, 11
	mtctr	31
	bctrl
	cmpwi	3, 0
	bne	give_up
	lwz	3, 0(28)
	mtlr	29
	blr

# r3: a token, r4: how many arguments, all -1. Comes back only if RTAS does.
rtas_call:
	mflr	29
	address	11, array
	stw	3, 0(11)
	stw	4, 4(11)
	li	0, 1
	stw	0, 8(11)
	li	0, -1
	stw	0, 12(11)
	stw	0, 16(11)
	mr	3, 11
	mtctr	25
	bctrl
	mtlr	29
	blr

	.data
	.balign	8
array:	.skip	64
cell:	.long	0
bootargs:
	.skip	64

	.macro	text symbol, string
\symbol:
	.ascii	"\string"
\symbol\()_end:
	.byte	0
	.endm

	text	works, "client interface works\n"
	text	restarting, "restarting\n"
	text	spinning, "spinning\n"
	text	echoing, "echo\n"
	text	finddevice, "finddevice"
	text	getprop, "getprop"
	text	getproplen, "getproplen"
	text	claim, "claim"
	text	release, "release"
	text	open, "open"
	text	read, "read"
	text	write_name, "write"
	text	call_method, "call-method"
	text	exit, "exit"
	text	instantiate, "instantiate-rtas"
	text	chosen_path, "/chosen"
	text	rtas_path, "/rtas"
	text	stdin_name, "stdin"
	text	stdout_name, "stdout"
	text	bootargs_name, "bootargs"
	text	boot_count_name, "rust-vmm,boot-count"
	text	power_off_name, "power-off"
	text	system_reboot_name, "system-reboot"
