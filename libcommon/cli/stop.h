/* Being asked to stop.
 *
 * By default a fatal signal removes the temporaries (cli/outfile.h) and is re-raised at once. A tool that can save
 * calls stop_defer() once, after its inputs are read (a deferred signal does not wake a blocked read): then TERM, USR1
 * and the first INT only set a flag that it polls with stop_requested(); a second INT quits at once.
 * cli_end(EXIT_STOPPED) turns a pending INT into the signal itself, so that a shell loop around the tool ends too.
 * Signals that were ignored when the tool started (nohup) stay ignored. */
#ifndef CLI_STOP_H
#define CLI_STOP_H

#include <stdbool.h>

void stop_init(void);         /* by cli_begin */
void stop_defer(void);
/* For a chat: from hold to release the first INT only sets stop_requested(); release tells whether there was one, and forgets it. */
void stop_hold_interrupt(void);
bool stop_release_interrupt(void);
int stop_requested(void);     /* the signal number, or 0 */
void stop_raise(int number);  /* removes the temporaries and dies of the signal; by cli_end */

#endif
