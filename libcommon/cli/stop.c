#include "cli/stop.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "cli/outfile.h"

static volatile sig_atomic_t pending, deferred, held;

/* Async-signal-safe throughout. */
static void on_signal(int number)
{
    bool can_save = number == SIGTERM || number == SIGUSR1 || (number == SIGINT && pending != SIGINT);
    if ((deferred || (held && number == SIGINT)) && can_save) {
        pending = number;
        return;
    }
    if (number == SIGBUS) {
        static const char text[] = "finetools: a file that was being read shrank or could not be read (bus error)\n";
        if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
            pending = number;
    }
    outfile_cleanup();
    signal(number, SIG_DFL);
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    raise(number);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
}

void stop_init(void)
{
    static const int fatal[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE, SIGXCPU,
                                SIGALRM, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, old;
    sigfillset(&act.sa_mask);
    /* Signals that the parent ignores (nohup, background jobs) stay ignored; a sanitizer's handlers stay too. */
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        if (sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            sigaction(fatal[i], &act, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is a write error with a message */
}

void stop_defer(void)
{
    deferred = 1;
}

void stop_hold_interrupt(void)
{
    held = 1;
}

bool stop_release_interrupt(void)
{
    bool there = pending == SIGINT;
    held = 0;
    if (there)
        pending = 0;
    return there;
}

int stop_requested(void)
{
    return pending;
}

void stop_raise(int number)
{
    outfile_cleanup();
    signal(number, SIG_DFL);
    raise(number);
}
