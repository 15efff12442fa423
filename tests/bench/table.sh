#!/bin/sh
# table.sh FLOPS BYTES OURS PEERS JSON: the lines of bench.sh as a table, and all of it as one JSON object in the file JSON.
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
printf '%s, %s CPUs: %.1f GFLOP/s f32 multiply-add, %.1f GB/s read\n' "$cpu" "$(nproc)" \
	"$(awk "BEGIN { print $1 / 1e9 }")" "$(awk "BEGIN { print $2 / 1e9 }")"
printf '%-24s %12s %-9s %9s %9s   %s\n' work ours unit ceiling memory 'peers (ratio)'
awk '
function field(name, text,    m) {
	if (!match(text, "\"" name "\": (\"[^\"]*\"|[^,}]*)")) return ""
	m = substr(text, RSTART + length(name) + 4, RLENGTH - length(name) - 4)
	gsub(/"/, "", m)
	return m
}
FNR == 1 { file++ }
file == 1 && FILENAME ~ /peers/ { n = field("work", $0); peers[n] = peers[n] "\n" $0; next }
{
	n = field("work", $0); v = field("value", $0); u = field("unit", $0); s = field("share", $0); m = field("memory", $0)
	line = sprintf("%-24s %12.4g %-9s %9s %9s  ", n, v, u, s == "null" ? "" : sprintf("%.0f %%", 100 * s), m == "null" ? "" : sprintf("%.2f GB", m / 1e9))
	k = split(peers[n], p, "\n")
	for (i = 2; i <= k; i++) {
		w = field("value", p[i])
		line = line sprintf(" %s %.4g (%.1fx), %.2f GB;", field("peer", p[i]), w, u == "s" ? w / v : v / w, field("memory", p[i]) / 1e9)
	}
	print line
}' "$4" "$3"
{
	printf '{"cpu": "%s", "cpus": %s, "flops": %s, "read_bytes": %s, "ours": [' "$cpu" "$(nproc)" "$1" "$2"
	paste -sd, "$3"
	printf '], "peers": ['
	paste -sd, "$4"
	printf ']}\n'
} >"$5"
