#!/usr/bin/env bash
# Runs the gdb session of docs/emulation.md as it stands there, and compares what gdb prints with what stands there.
# usage: gdb_session.sh SOURCE_DIR CALTROP_EMULATE [--print]
# Exit status 77: there is no gdb here (or one without Python).
set -euo pipefail
source=$1 program=$2
gdb=$(command -v gdb) || { echo "SKIP: no gdb here"; exit 77; }
"$gdb" -q -batch -ex 'python print("python")' 2>&1 | grep -qx python || { echo "SKIP: this gdb has no Python"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The lines between the marks, without fences and the shell's line.
sed -n '/<!-- session: begin -->/,/<!-- session: end -->/p' "$source/docs/emulation.md" |
  sed '/^<!--/d; /^```/d; /^\$ gdb /d' >"$folder/expected"
sed -n 's/^(gdb) //p' "$folder/expected" >"$folder/commands"
[ -s "$folder/commands" ] || { echo "docs/emulation.md holds no session" >&2; exit 1; }

# What differs between machines and compilers: paths, addresses, how arguments are shown, lines of the runtime,
# and what gdb says of libraries.
tidy() {
  sed -E -e 's#[^ "]*/kernels/#kernels/#g' -e 's/0x[0-9a-f]+/0x.../g' -e 's/ \(.*\) at / (...) at /' \
    -e 's#(kernels/emulation/[a-z_.]+):[0-9]+#\1:...#' \
    -e '/^Starting program/d; /^\[Thread debugging/d; /^Using host libthread_db/d; /^warning: /d; /^$/d; /debuginfod/d'
}
# gdb does not echo commands that come from a file; each is printed before it runs.
{
  echo "set pagination off"
  echo "set width 0"
  echo "set confirm off"
  while read -r command; do
    printf 'echo (gdb) %s\\n\n' "$command"
    echo "$command"
  done <"$folder/commands"
} >"$folder/script"
# The program's own arguments, as the page has them.
read -r -a arguments < <(sed -n 's/^\$ gdb .* --args [^ ]* //p' "$source/docs/emulation.md")
cd "$source"
"$gdb" -q -batch -nx -x kernels/emulation/gdb.py -x "$folder/script" --args "$program" "${arguments[@]}" >"$folder/raw" 2>&1 </dev/null || {
  cat "$folder/raw"
  exit 1
}
tidy <"$folder/raw" >"$folder/actual"
if [ "${3:-}" = --print ]; then cat "$folder/actual"; exit; fi
diff -u "$folder/expected" "$folder/actual" && echo "the session of docs/emulation.md runs as written"
