/* Threads of a block as fibers: each on a stack of its own, with a guard page below. */
#include "tests/cuda-on-cpu/emulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

#define STACK_BYTES ((size_t)128 << 10)
#define GUARD_BYTES ((size_t)16 << 10)

static char *stacks;
static int pool[EMU_MAX_THREADS], n_free;

static void run_forever(void)
{
    for (;;) {
        emu.call(emu.arg);
        emu.now->state = EMU_DONE;
        fiber_leave(emu.now->stack);
    }
}

#ifdef __x86_64__

/* Saves what a callee must keep (System V ABI) and the stack pointer, and takes those of the other side. */
void fiber_switch(void **save, void *to);
__asm__(".text\n"
        ".globl fiber_switch\n"
        ".hidden fiber_switch\n"
        ".type fiber_switch, @function\n"
        "fiber_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size fiber_switch, .-fiber_switch\n");

static void *saved[EMU_MAX_THREADS], *scheduler;

static void stack_begin(int i, char *top)
{
    void **sp = (void **)top;
    *--sp = NULL; /* the return address of run_forever: keeps the stack as the ABI wants it at a call */
    *--sp = (void *)run_forever;
    saved[i] = sp - 6;
}

void fiber_enter(int stack)
{
    fiber_switch(&scheduler, saved[stack]);
}

void fiber_leave(int stack)
{
    fiber_switch(&saved[stack], scheduler);
}

#else

static ucontext_t saved[EMU_MAX_THREADS], scheduler;

static void stack_begin(int i, char *top)
{
    getcontext(&saved[i]);
    saved[i].uc_stack.ss_sp = top - (STACK_BYTES - GUARD_BYTES);
    saved[i].uc_stack.ss_size = STACK_BYTES - GUARD_BYTES;
    saved[i].uc_link = NULL;
    makecontext(&saved[i], run_forever, 0);
}

void fiber_enter(int stack)
{
    swapcontext(&scheduler, &saved[stack]);
}

void fiber_leave(int stack)
{
    swapcontext(&saved[stack], &scheduler);
}

#endif

void fiber_prepare(void)
{
    if (stacks)
        return;
    stacks = mmap(NULL, STACK_BYTES * EMU_MAX_THREADS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) {
        perror("cuda-on-cpu: stacks");
        abort();
    }
    for (int i = 0; i < EMU_MAX_THREADS; i++) {
        mprotect(stacks + i * STACK_BYTES, GUARD_BYTES, PROT_NONE);
        stack_begin(i, stacks + (i + 1) * STACK_BYTES);
        pool[n_free++] = EMU_MAX_THREADS - 1 - i;
    }
}

int fiber_take(void)
{
    return pool[--n_free];
}

void fiber_give(int stack)
{
    pool[n_free++] = stack;
}

uintptr_t fiber_low(void)
{
    return (uintptr_t)stacks;
}

uintptr_t fiber_high(void)
{
    return (uintptr_t)stacks + STACK_BYTES * EMU_MAX_THREADS;
}
