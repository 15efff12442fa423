/* Being asked to stop.
 *
 * By default a fatal signal (INT TERM HUP) removes the temporaries and is re-raised at once. A tool that can
 * save calls stop_defer() once: then TERM, USR1 and the first INT only set a flag that it polls with
 * stop_requested(); a second INT quits at once. cli_end(EXIT_STOPPED) turns a pending INT into the signal itself. */
#ifndef CLI_STOP_H
#define CLI_STOP_H

void stop_init(void);      /* by cli_begin; also leaves SIGPIPE quiet */
void stop_defer(void);
int stop_requested(void);  /* the signal number, or 0 */

#endif
