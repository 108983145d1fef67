// What goes through the kernel: system calls, page faults, signals, processes, switches.
#define _GNU_SOURCE
#include "suite.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t system_calls(uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++)
        sum += syscall(SYS_getppid) >= 0;
    return sum;
}

static uint64_t page_faults(uint64_t count)
{
    enum { bytes = 256 * 4096 };
    uint64_t sum = 0;
    for (; count > 0; count--) {
        unsigned char *area = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED)
            fail("mmap");
        madvise(area, bytes, MADV_NOHUGEPAGE);
        for (int i = 0; i < bytes; i += 4096)
            area[i] = (unsigned char)count;
        sum += area[bytes - 4096];
        munmap(area, bytes);
    }
    return sum;
}

// Rights go and come, and each write in between is a signal: how garbage collectors watch pages.
static unsigned char *guarded;
static volatile uint64_t caught;

static void on_fault(int signal)
{
    (void)signal;
    caught++;
    mprotect(guarded, 4096, PROT_READ | PROT_WRITE);
}

static uint64_t protection(uint64_t count)
{
    struct sigaction action = { .sa_handler = on_fault };
    sigaction(SIGSEGV, &action, NULL);
    guarded = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (guarded == MAP_FAILED)
        fail("mmap");
    caught = 0;
    for (uint64_t i = 0; i < count; i++) {
        mprotect(guarded, 4096, PROT_READ);
        *(volatile unsigned char *)guarded = (unsigned char)i;
    }
    munmap(guarded, 4096);
    signal(SIGSEGV, SIG_DFL);
    return caught;
}

static void on_signal(int signal)
{
    (void)signal;
    caught++;
}

static uint64_t signals(uint64_t count)
{
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGUSR1, &action, NULL);
    caught = 0;
    for (uint64_t i = 0; i < count; i++)
        raise(SIGUSR1);
    return caught;
}

// A byte to a child and back. Both on one processor, so that each step is a switch on every side.
static uint64_t switches(uint64_t count)
{
    int there[2], back[2];
    char byte = 1;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof one, &one);
    if (pipe(there) != 0 || pipe(back) != 0)
        fail("pipe");
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
            ;
        _exit(0);
    }
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++)
        if (write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1)
            sum += (uint64_t)byte;
    close(there[0]);
    close(there[1]);
    close(back[0]);
    close(back[1]);
    waitpid(child, NULL, 0);
    return sum;
}

static uint64_t wait_for(pid_t child)
{
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child)
        fail("fork or waitpid");
    return status == 0;
}

static uint64_t forks(uint64_t count)
{
    uint64_t sum = 0;
    for (; count > 0; count--) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        sum += wait_for(child);
    }
    return sum;
}

static uint64_t execs(uint64_t count)
{
    uint64_t sum = 0;
    for (; count > 0; count--) {
        pid_t child = fork();
        if (child == 0) {
            execl("/proc/self/exe", "suite", "true", (char *)NULL);
            _exit(127);
        }
        sum += wait_for(child);
    }
    return sum;
}

// Reads and writes of a file in memory: system calls that copy.
static uint64_t file_copies(uint64_t count)
{
    static char buffer[16384];
    int file = memfd_create("suite", 0);
    uint64_t sum = 0;
    if (file < 0)
        fail("memfd_create");
    for (uint64_t i = 0; i < count; i++) {
        buffer[i % sizeof buffer] = (char)i;
        off_t at = (off_t)(i % 64 * sizeof buffer);
        if (pwrite(file, buffer, sizeof buffer, at) > 0 && pread(file, buffer, sizeof buffer, at) > 0)
            sum += (unsigned char)buffer[i * 7 % sizeof buffer];
    }
    close(file);
    return sum;
}

const struct loop system_loops[] = {
    { "syscall", NULL, system_calls }, { "page-fault", NULL, page_faults }, { "mprotect-fault", NULL, protection },
    { "signal", NULL, signals },       { "context-switch", NULL, switches }, { "fork", NULL, forks },
    { "fork-exec", NULL, execs },      { "file-copy", NULL, file_copies },   { NULL, NULL, NULL },
};
