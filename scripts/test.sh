#!/usr/bin/env bash
# Installs what is missing, builds into build/, and runs every test. Its last line is ctest's summary.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

usage() {
  cat <<'END'
usage: scripts/test.sh [--emulated] [--sanitize] [--tidy] [--fuzz SECONDS] [--browser]

  --emulated       also build the emulated device into build-emulated with clang++ under AddressSanitizer and UBSan,
                   and run the checks of every op and ladder there
  --sanitize       also build everything into build-sanitize under both, and run the suite there
  --tidy           also check the sources with clang-format and clang-tidy
  --fuzz SECONDS   also build into build-fuzz with clang, and run each fuzz target for so long
  --browser        also install Chromium, in which a test looks at the page of 'caltrop demo'

It can be repeated, and works offline once the packages are there.
END
}

emulated=no sanitize=no tidy=no fuzz=0 browser=no
while [ $# -gt 0 ]; do
  case $1 in
    --emulated) emulated=yes ;;
    --sanitize) sanitize=yes ;;
    --tidy) tidy=yes ;;
    --browser) browser=yes ;;
    --fuzz)
      [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || { echo "error: --fuzz wants a number of seconds" >&2; exit 2; }
      fuzz=$2
      shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "error: unknown option $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

extra=()
[ "$tidy" = no ] || extra+=(clang-format clang-tidy)
[ "$emulated$fuzz" = no0 ] || extra+=(clang libclang-rt-14-dev)
[ "$browser" = no ] || extra+=(chromium)
"$root/scripts/install_deps.sh" ${extra[@]+"${extra[@]}"}

section() { printf '\n== %s\n' "$*"; }

# The summary of a ctest run in $1 goes into $2; a failed run ends here, with the failing tests' output.
run_suite() {
  local status=0
  (cd "$1" && ctest --output-on-failure --no-tests=error -j "$(nproc)") | tee "$2" || status=$?
  if [ "$status" != 0 ]; then
    grep 'tests passed' "$2" || true
    exit "$status"
  fi
}

section "build"
# scripts/quickstart.sh may have left CUDA out.
"$root/scripts/build.sh" "$root/build" -DCALTROP_CUDA=AUTO

if [ "$tidy" = yes ]; then
  section "clang-format and clang-tidy"
  cd "$root"
  mapfile -t sources < <(find apps attacks data defense engine kernels tests -name '*.cpp' 2>/dev/null | sort)
  mapfile -t headers < <(find apps attacks data defense engine kernels tests -name '*.h' 2>/dev/null | sort)
  clang-format --dry-run -Werror "${sources[@]}" "${headers[@]}"
  # Only what the build compiles has flags to check it with; clang does not read g++'s precompiled headers.
  cmake -S . -B build-tidy -G Ninja -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON -DCALTROP_UNITY=OFF >/dev/null
  mapfile -t built < <(printf '%s\n' "${sources[@]}" | while read -r source; do
    if grep -qF "\"$root/$source\"" build-tidy/compile_commands.json; then echo "$source"; fi
  done)
  printf '%s\0' "${built[@]}" | xargs -0 -P "$(nproc)" -n 2 clang-tidy --quiet -p build-tidy 2> >(grep -v 'warnings generated' >&2)
  echo "${#sources[@]} sources and ${#headers[@]} headers are formatted, ${#built[@]} sources are clean"
fi

# What runs beside one another, as many at once as there are cores: commands, in the order of the longest first.
commands=()

if [ "$emulated" = yes ]; then
  section "the emulated device by clang++, for AddressSanitizer and UBSan: build"
  "$root/scripts/build.sh" "$root/build-emulated" -DCMAKE_CXX_COMPILER=clang++ -DCALTROP_SANITIZE=ON -DCALTROP_CUDA=OFF \
    -- test_emulation test_emulated_ops
  ops=$root/build-emulated/tests/test_emulated_ops parity="parity of all else*"
  commands+=("run_quietly $ops --test-case-exclude='$parity'" "run_quietly $ops --test-case='$parity'"
             "run_quietly $root/build-emulated/tests/test_emulation")
fi

if [ "$fuzz" != 0 ]; then
  section "fuzzing, $fuzz s for each target: build"
  mapfile -t targets < <(find "$root/tests/fuzz" -name 'fuzz_*.cpp' -exec basename {} .cpp \; | sort)
  "$root/scripts/build.sh" "$root/build-fuzz" -DCMAKE_CXX_COMPILER=clang++ -DCALTROP_FUZZ=ON -DCALTROP_SANITIZE=ON \
    -- "${targets[@]}"
  # Each target alone in a process; findings are kept in build-fuzz/.
  fuzz_one() {
    local target=$1 folder=$root/build-fuzz options log
    log=$folder/$target.log
    mkdir -p "$folder/corpus/$target"
    options=(-max_total_time="$fuzz" -print_final_stats=1 -artifact_prefix="$folder/$target-")
    if [ -f "$root/tests/fuzz/${target#fuzz_}.dict" ]; then options+=(-dict="$root/tests/fuzz/${target#fuzz_}.dict"); fi
    if ! "$folder/tests/$target" "${options[@]}" "$folder/corpus/$target" >"$log" 2>&1; then
      tail -n 60 "$log"
      echo "error: $target has a finding"
      return 1
    fi
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, no finding"
  }
  export -f fuzz_one
  export root fuzz
  for target in "${targets[@]}"; do commands+=("fuzz_one $target"); done
fi

if [ ${#commands[@]} -gt 0 ]; then
  section "the emulated device under the sanitizers, the fuzzers"
  # One whole answer after the other, not line by line.
  run_quietly() {
    local log
    log=$("$@" 2>&1) && { tail -n 3 <<<"$log"; return; }
    echo "$log"
    echo "error: $* failed"
    return 1
  }
  export -f run_quietly
  # shellcheck disable=SC2016
  printf '%s\0' "${commands[@]}" | xargs -0 -n 1 -P "$(nproc)" bash -c 'eval "$1"' run
fi

if [ "$sanitize" = yes ]; then
  section "the suite under AddressSanitizer and UBSan"
  "$root/scripts/build.sh" "$root/build-sanitize" -DCALTROP_SANITIZE=ON
  run_suite "$root/build-sanitize" "$root/build-sanitize/suite.log"
fi

section "the suite"
run_suite "$root/build" "$root/build/suite.log"
echo
grep 'tests passed' "$root/build/suite.log"
