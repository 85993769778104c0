#!/usr/bin/env bash
# Downloads a published data set into the user's cache, where Caltrop looks for it. Each file is checked against
# the SHA-256 of its unpacked content and appears only when it is whole and right; files that are there already
# are checked and kept. Can be repeated.
set -euo pipefail

usage="usage: scripts/fetch_data.sh mnist|fashion-mnist

Puts the four files into \${XDG_CACHE_HOME:-~/.cache}/caltrop/NAME.
CALTROP_MIRROR=URL  is tried first: the address of a directory that holds the files."

fail() { echo "error: $*" >&2; exit 1; }

[ $# = 1 ] || { echo "$usage" >&2; exit 2; }
case "$1" in
  mnist)
    mirrors=(https://ossci-datasets.s3.amazonaws.com/mnist https://storage.googleapis.com/cvdf-datasets/mnist)
    sums=(
      ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db train-images-idx3-ubyte
      65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5 train-labels-idx1-ubyte
      0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7 t10k-images-idx3-ubyte
      ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2 t10k-labels-idx1-ubyte
    ) ;;
  fashion-mnist)
    mirrors=(http://fashion-mnist.s3-website.eu-central-1.amazonaws.com)  # no https there; the sums decide
    sums=(
      c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888 train-images-idx3-ubyte
      bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9 train-labels-idx1-ubyte
      5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b t10k-images-idx3-ubyte
      0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34 t10k-labels-idx1-ubyte
    ) ;;
  -h|--help) echo "$usage"; exit 0 ;;
  *) echo "error: unknown data set '$1'" >&2; echo "$usage" >&2; exit 2 ;;
esac
name=$1
[ -z "${CALTROP_MIRROR:-}" ] || mirrors=("${CALTROP_MIRROR%/}" "${mirrors[@]}")

cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
[ -n "$cache" ] || fail "neither XDG_CACHE_HOME nor HOME is set: where should the data go?"
directory=$cache/caltrop/$name
mkdir -p "$directory" || fail "cannot create $directory"

if command -v curl >/dev/null; then
  download() { curl -fsSL --connect-timeout 15 --speed-limit 1000 --speed-time 30 --max-filesize 200M -o "$2" "$1"; }
elif command -v wget >/dev/null; then
  download() { wget -q --timeout=30 --tries=1 -O "$2" "$1"; }
else
  fail "curl or wget is needed: apt-get install curl"
fi

# Whether the gzipped file $1 unpacks to the SHA-256 $2. Never unpacks more than any of the files holds.
right() {
  [ "$( (gzip -dc "$1" 2>/dev/null || true) | head -c 100000000 | sha256sum | cut -d' ' -f1)" = "$2" ]
}

temporary=
trap '[ -z "$temporary" ] || rm -f "$temporary"' EXIT
trap 'exit 130' INT TERM

for ((i = 0; i < ${#sums[@]}; i += 2)); do
  sum=${sums[i]} file=${sums[i + 1]}.gz
  if [ -f "$directory/$file" ] && right "$directory/$file" "$sum"; then
    echo "have $directory/$file"
    continue
  fi
  temporary=$(mktemp "$directory/.$file.XXXXXX") || fail "cannot write to $directory"
  fetched=
  for mirror in "${mirrors[@]}"; do
    echo "fetching $mirror/$file"
    if ! download "$mirror/$file" "$temporary"; then
      echo "  not available there" >&2
    elif ! right "$temporary" "$sum"; then
      echo "  not the published file (its SHA-256 differs)" >&2
    else
      fetched=yes
      break
    fi
  done
  if [ -z "$fetched" ]; then
    fail "could not get $file from any of: ${mirrors[*]}.
       Without a network, copy the four files of $name to $directory by hand."
  fi
  chmod 644 "$temporary"
  mv "$temporary" "$directory/$file"
  temporary=
done
echo "$name is in $directory"
