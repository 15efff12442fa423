/* The text of progress lines. */
#include "cli/progress.h"
#include "tap.h"

static void bytes(double x, const char *want)
{
    char s[32];
    progress_format_bytes(s, sizeof s, x);
    is_str(s, want, want);
}

static void count(double x, const char *want)
{
    char s[32];
    progress_format_count(s, sizeof s, x);
    is_str(s, want, want);
}

static void duration(double x, const char *want)
{
    char s[32];
    progress_format_time(s, sizeof s, x);
    is_str(s, want, want);
}

static void line(struct progress_state p, const char *want)
{
    char s[200];
    progress_format_line(s, sizeof s, &p);
    is_str(s, want, want);
}

int main(void)
{
    bytes(0, "0 B");
    bytes(999, "999 B");
    bytes(1000, "1.00 kB");
    bytes(1.4e9, "1.40 GB");
    bytes(999.6e6, "1.00 GB");
    bytes(15.25e12, "15.2 TB");
    bytes(1e19, "10000 PB");
    count(0, "0");
    count(14600, "14.6k");
    count(9.996e6, "10.0M");
    count(123456, "123k");
    duration(0, "00:00");
    duration(59.6, "01:00");
    duration(724, "12:04");
    duration(3599, "59:59");
    duration(3659, "1:00:59");
    duration(100 * 3600, "100:00:00");

    line((struct progress_state){"lora-train", "step", "loss 1.234", 0, 1290, 3000, 10585000, 724},
         "lora-train  43% 1290/3000 [12:04<16:00, 1.78 step/s, 14.6k tok/s] loss 1.234");
    line((struct progress_state){"lora-train", "step", "", 1000, 1100, 2000, 0, 200},
         "lora-train  55% 1100/2000 [03:20<30:00, 2.00 s/step]");
    line((struct progress_state){"fmt-chat", "record", "", 0, 52000, 0, 0, 2}, "fmt-chat 52000 [00:02, 26.0k record/s]");
    line((struct progress_state){"gen", "token", "", 0, 0, 10, 0, 0}, "gen   0% 0/10 [00:00<?]");
    line((struct progress_state){"gen", "token", "", 0, 10, 10, 0, 0.5}, "gen 100% 10/10 [00:01<00:00, 20.0 token/s]");

    char small[12];
    progress_format_line(small, sizeof small, &(struct progress_state){"lora-train", "step", "", 0, 1, 3, 0, 1});
    is_str(small, "lora-train ", "a narrow terminal cuts the line");
    ok(progress_peak_memory() > 100000, "peak memory is known");
    progress_start_clock();
    ok(progress_seconds() >= 0 && progress_seconds() < 60, "the clock runs");
    return tap_end();
}
