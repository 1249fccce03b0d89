#!/usr/bin/env bash
# Builds the virtual machine of `make test-vm` into .cache/vm (or $NUNCIO_CACHE/vm): a Debian with systemd, udev, BlueZ and
# Avahi, its kernel with the modules of modules.txt, and the guest's half of the driver. Idempotent; quick when all is there.
#
# Parts: base (mmdebstrap), kernel (the .deb, unpacked), python (wheels for the guest), image (disk, initrd, kernel). A part is
# built in a folder of its own and moved into place as a whole; its stamp is a digest of what it is made of.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${NUNCIO_CACHE:-$here/../../.cache}
mkdir -p "$cache/vm"
vm=$(cd "$cache/vm" && pwd)
export PATH=$PATH:/usr/sbin:/sbin

suite=bookworm
packages=systemd,systemd-sysv,udev,dbus,kmod,iproute2,procps,bluez,avahi-daemon,python3,busybox-static,apt

fail() {
  printf 'tests/vm/build.sh: %s\n' "$*" >&2
  exit 1
}

. "$here/../peers/retry.sh"

[ "$(id -u)" = 0 ] || fail "a Debian can only be put together by root: run it as root, or with sudo -E"
for program in mmdebstrap qemu-img qemu-system-x86_64 depmod mke2fs cpio zstd; do
  command -v "$program" >/dev/null || fail "$program is missing; run: tests/peers/install.sh vm"
done

debian() { # once; the folder has to be empty for mmdebstrap
  rm -rf "$1/tree"
  mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$1/tree"
}
base() { retry debian "$1"; }

kernel() {
  local name
  # The guest's own apt knows which kernel is Debian's now.
  mkdir -p "$1/apt/lists/partial" "$1/apt/archives/partial"
  local apt=(-o "Dir=$vm/base/tree" -o "Dir::State::status=$vm/base/tree/var/lib/dpkg/status" -o "Dir::State::lists=$1/apt/lists"
    -o "Dir::Cache=$1/apt" -o "Dir::Etc::trustedparts=$vm/base/tree/etc/apt/trusted.gpg.d" -o Acquire::Languages=none -o APT::Sandbox::User=root)
  retry apt-get -qq "${apt[@]}" update || return 1
  name=$(apt-cache "${apt[@]}" depends linux-image-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
  (cd "$1" && retry apt-get -qq "${apt[@]}" download "$name" && dpkg-deb -x "$name"*.deb tree && rm "$name"*.deb)
  rm -rf "$1/apt"
  # Where / and /usr are one, and where they are not.
  [ -e "$1/tree/lib" ] || ln -s usr/lib "$1/tree/lib"
}

python() { # for the guest's Python, whichever the host's is
  python3 -m venv "$1/venv"
  retry "$1/venv/bin/python" -m pip install --quiet --disable-pip-version-check --target "$1/packages" --no-deps \
    --only-binary=:all: --python-version 3.11 --implementation cp --platform manylinux2014_x86_64 \
    --platform manylinux_2_28_x86_64 -r "$here/requirements.txt"
  rm -rf "$1/venv"
}

files_of() { # module... : their files and those that they depend on, in the order of loading
  local module
  for module in "$@"; do
    modprobe -d "$vm/kernel/tree" -S "$release" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
  done | awk '!seen[$0]++'
}

image() {
  local tree=$1/tree release file
  release=$(ls "$vm/kernel/tree/lib/modules")
  cp -a "$vm/base/tree" "$tree"
  cp "$vm/kernel/tree/boot/vmlinuz-$release" "$1/vmlinuz"
  depmod -b "$vm/kernel/tree" "$release"
  mkdir -p "$tree/lib/modules/$release"
  # shellcheck disable=SC2046 # words are meant
  files_of $(grep -v '^#' "$here/modules.txt") | while read -r file; do
    install -D -m 644 "$file" "$tree/lib/modules/$release/${file#*"/modules/$release/"}"
  done
  cp "$vm/kernel/tree/lib/modules/$release"/modules.{order,builtin,builtin.modinfo} "$tree/lib/modules/$release/"
  depmod -b "$tree" "$release"
  mkdir -p "$tree/opt/python" "$tree/opt/world"
  cp -a "$vm/python/packages/." "$tree/opt/python/"
  cp -a "$here/guest/." "$tree/"
  chroot "$tree" /bin/sh /usr/lib/world/configure
  initrd "$1/initrd" "$tree"
  truncate -s 900M "$1/root.ext4"
  # No journal and no checksums: the disk lives as long as one test.
  mke2fs -q -t ext4 -O '^has_journal,^metadata_csum' -E lazy_itable_init=1 -m 0 -d "$tree" "$1/root.ext4"
  rm -rf "$tree" "$1/initrd"
}

initrd() { # folder root : only what it takes to mount the disk
  local file
  mkdir -p "$1"/{bin,dev,proc,sys,mnt,modules}
  cp "$2/usr/bin/busybox" "$1/bin/busybox" 2>/dev/null || cp "$2/bin/busybox" "$1/bin/busybox"
  ln -s busybox "$1/bin/sh"
  files_of crc32c_generic virtio_pci virtio_blk ext4 | while read -r file; do
    cp "$file" "$1/modules/"
    basename "$file" >>"$1/modules/order"
  done
  install -m 755 "$here/initrd-init" "$1/init"
  (cd "$1" && find . | cpio --quiet -o -H newc | zstd -q -3) >"$1.zst"
}

part() { # name, then what it is made of
  local name=$1 began stamp
  stamp=$(printf '%s\n' "${@:2}" | sha256sum)
  [ "$(cat "$vm/$name/.stamp" 2>/dev/null)" = "$stamp" ] && return 0
  began=$(date +%s)
  rm -rf "${vm:?}/$name.new"
  mkdir "$vm/$name.new"
  # A shell of its own: `set -e` is off inside what stands in a condition.
  (
    "$name" "$vm/$name.new"
    printf '%s\n' "$stamp" >"$vm/$name.new/.stamp"
  )
  rm -rf "${vm:?}/$name"
  mv "$vm/$name.new" "$vm/$name"
  printf 'vm %-7s built (%s s)\n' "$name" "$(($(date +%s) - began))"
}

exec 9>"$vm/.lock"
flock 9
part base "$suite" "$packages"
part kernel "$suite" "$(cat "$vm/base/.stamp")"
part python "$(cat "$here/requirements.txt")"
part image "$(cat "$vm"/{base,kernel,python}/.stamp)" \
  "$(cd "$here" && find build.sh initrd-init modules.txt guest -type f | LC_ALL=C sort | xargs sha256sum)"
