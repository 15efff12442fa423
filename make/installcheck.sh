#!/bin/sh
# installcheck.sh BINDIR MANDIR TOOL...: do the installed programs start, and do their pages lie beside them? Needs no network.
set -eu
bin=$1 man=$2
shift 2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
for tool; do
    [ -x "$bin/$tool" ] || { echo "$bin/$tool: missing; make install comes first" >&2; exit 1; }
    "$bin/$tool" --version | grep -q "^$tool (finetools) " || { echo "$tool --version: wrong or no output" >&2; exit 1; }
    "$bin/$tool" --help | grep -q "^Usage: $tool " || { echo "$tool --help: wrong or no output" >&2; exit 1; }
    [ -s "$man/man1/$tool.1" ] || { echo "$man/man1/$tool.1: missing" >&2; exit 1; }
done
case " $* " in
*" fmt-chat "*)
    printf '{"instruction":"Say hi","output":"Hi"}\n' | "$bin/fmt-chat" -q -t chatml >chat.jsonl
    grep -q 'Say hi' chat.jsonl || { echo "fmt-chat: its output lacks the sample" >&2; exit 1; }
    ;;
esac
echo "installcheck: $# programs work"
