#!/usr/bin/env bash
# Unpacks the Debian packages that Caltrop builds with into a folder, for a machine that has a compiler but neither
# these packages nor a network. Nothing is installed, here or there. Run it on a Debian of the same processor.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

usage() {
  cat <<'TEXT'
usage: scripts/carry_packages.sh [FOLDER]

FOLDER (default: carried/ in the checkout, which git ignores) then holds usr/include, usr/lib and env.sh.
Take it along, and there:

  CALTROP_PACKAGES=/path/to/FOLDER scripts/gpu_check.sh

or, to build by hand:

  . /path/to/FOLDER/env.sh && cmake -S . -B build -G Ninja $CALTROP_CMAKE_OPTIONS && cmake --build build

TEXT
}
case ${1:-} in
  -h | --help) usage; exit 0 ;;
  -*) echo "error: unknown option $1" >&2; usage >&2; exit 2 ;;
esac
folder=${1:-$root/carried}

packages=(
  pkgconf-bin libhwy-dev libtbb-dev libfmt-dev libspdlog-dev nlohmann-json3-dev zlib1g-dev libzip-dev libcli11-dev
  libstb-dev libkainjow-mustache-dev doctest-dev libboost-dev
)
# Part of any system that has a C++ compiler; another system's would only do harm.
base='^(libc6|libc6-dev|libc-bin|libgcc.*|libstdc\+\+.*|gcc.*|g\+\+.*|cpp.*|linux-libc-dev|libcrypt.*|libc-dev-bin|dpkg.*|'
base+='perl.*|debconf.*|cdebconf|libnsl.*|libtirpc.*|rpcsvc-proto|install-info|make|binutils.*|manpages.*)$'

command -v apt-get >/dev/null || { echo "error: not a Debian system" >&2; exit 1; }
mapfile -t all < <(
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
    "${packages[@]}" | grep -E '^[a-z0-9]' | sed 's/:.*//' | sort -u | grep -vE "$base"
)
# Names that no package has (virtual ones) are left to apt to refuse one by one.
mapfile -t real < <(apt-cache show --no-all-versions "${all[@]}" 2>/dev/null | sed -n 's/^Package: //p' | sort -u)

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "downloading ${#real[@]} packages" >&2
(cd "$work" && apt-get download -qq "${real[@]}" >/dev/null) ||
  { echo "error: apt-get download failed; 'apt-get update' may help" >&2; exit 1; }
rm -rf "${folder:?}/usr"
for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/root"; done
mkdir -p "$folder/usr"
cp -a "$work/root/usr/include" "$work/root/usr/lib" "$folder/usr/"
mkdir -p "$folder/usr/bin" "$folder/usr/share"
cp -a "$work/root/usr/bin/pkgconf" "$folder/usr/bin/"
ln -sfn pkgconf "$folder/usr/bin/pkg-config"
cp -a "$work/root/usr/share/pkgconfig" "$folder/usr/share/" 2>/dev/null || true
cp -a "$work/root/usr/share/cmake" "$folder/usr/share/" 2>/dev/null || true
# Debian keeps a few libraries in /lib.
if [ -d "$work/root/lib" ]; then cp -a "$work/root/lib/." "$folder/usr/lib/"; fi
# Links to absolute places, and what no build reads.
find "$folder" -xtype l -delete
rm -rf "$folder"/usr/lib/*/{gconv,perl*,krb5,sasl2,p11-kit*} "$folder"/usr/lib/{systemd,python3*,locale}
find "$folder" -name '*.a' ! -name 'libz.a' -delete

cat >"$folder/env.sh" <<'TEXT'
# Sourced by a shell that is going to build Caltrop with the packages beside this file.
CALTROP_PACKAGES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
_triplet=$(cd "$CALTROP_PACKAGES/usr/lib" && ls -d ./*-linux-gnu | head -n 1 | sed 's,^./,,')
_libraries=$CALTROP_PACKAGES/usr/lib/$_triplet
# The system's own pkg-config comes first; ours needs its library, which is in $_libraries.
if ! command -v pkg-config >/dev/null; then
  mkdir -p "$CALTROP_PACKAGES/run"
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$_libraries" "$CALTROP_PACKAGES/usr/bin/pkgconf" \
    >"$CALTROP_PACKAGES/run/pkg-config"
  chmod +x "$CALTROP_PACKAGES/run/pkg-config"
  export PATH=$CALTROP_PACKAGES/run:$PATH
fi
export PKG_CONFIG_SYSROOT_DIR=$CALTROP_PACKAGES
export PKG_CONFIG_LIBDIR=$_libraries/pkgconfig:$CALTROP_PACKAGES/usr/share/pkgconfig
export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
export CMAKE_PREFIX_PATH=$CALTROP_PACKAGES/usr${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
# Old-style run paths reach the libraries of libraries as well, and no environment variable is needed to start.
export CALTROP_CMAKE_OPTIONS="-DCMAKE_LIBRARY_ARCHITECTURE=$_triplet \
-DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags,-rpath,$_libraries,-rpath-link,$_libraries"
unset _triplet _libraries
TEXT
echo "$folder: $(du -sh "$folder" | cut -f1); there: CALTROP_PACKAGES=$folder scripts/gpu_check.sh" >&2
